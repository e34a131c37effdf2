//! PROXY headers in the first bytes of a connection.

use super::facts::{ProxyCommand, ProxyHeader};
use crate::packet::{Address, Endpoint};
use memchr::memchr;
use std::net::IpAddr;

/// Signature of PROXY protocol version 2.
const PROXY_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Two bytes of a number.
fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Reads a PROXY header, and its length in bytes; `None` when there is none or it is not whole.
pub(super) fn proxy_header(bytes: &[u8]) -> Option<(ProxyHeader, usize)> {
    if bytes.starts_with(PROXY_V2) {
        let length = usize::from(u16_at(bytes, 14)?);
        let addresses = bytes.get(16..)?;
        let command = match (bytes.get(12)? & 0x0f, bytes.get(13)? >> 4) {
            (0, _) => ProxyCommand::Local,
            (_, 1) => two(addresses, 4).unwrap_or(ProxyCommand::Unknown),
            (_, 2) => two(addresses, 16).unwrap_or(ProxyCommand::Unknown),
            _ => ProxyCommand::Unknown,
        };
        return Some((ProxyHeader { version: 2, command }, 16 + length));
    }
    let line = bytes.strip_prefix(b"PROXY ".as_slice())?;
    let end = memchr(b'\n', line)?;
    let text = std::str::from_utf8(&line[..end]).ok()?.trim_end();
    let mut words = text.split(' ').skip(1);
    let mut word = || words.next();
    let (source, target, from, to) = (word(), word(), word(), word());
    let endpoint = |ip: Option<&str>, port: Option<&str>| {
        let port = port?.parse().ok()?;
        Some(match ip?.parse().ok()? {
            IpAddr::V4(ip) => Endpoint::v4(ip.octets(), port),
            IpAddr::V6(ip) => Endpoint::v6(ip.octets(), port),
        })
    };
    let command = match (endpoint(source, from), endpoint(target, to)) {
        (Some(source), Some(target)) => ProxyCommand::Proxy(source, target),
        _ => ProxyCommand::Unknown,
    };
    Some((ProxyHeader { version: 1, command }, 6 + end + 1))
}

/// Two addresses of `len` bytes and their ports.
fn two(bytes: &[u8], len: usize) -> Option<ProxyCommand> {
    let ip = |at: usize| -> Option<Address> {
        let bytes = bytes.get(at..at + len)?;
        Some(match <[u8; 4]>::try_from(bytes) {
            Ok(v4) => Endpoint::v4(v4, 0).ip,
            Err(_) => bytes.try_into().ok()?,
        })
    };
    let endpoint = |ip: Address, at: usize| Some(Endpoint { ip, port: u16_at(bytes, at)? });
    let source = endpoint(ip(0)?, 2 * len)?;
    let target = endpoint(ip(len)?, 2 * len + 2)?;
    Some(ProxyCommand::Proxy(source, target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_headers_are_read() {
        let read =
            |bytes: &[u8]| proxy_header(bytes).map(|(header, length)| (header.command, length));
        let ends = (Endpoint::v4([10, 0, 0, 1], 4660), Endpoint::v4([10, 0, 0, 2], 80));
        let v1 = b"PROXY TCP4 10.0.0.1 10.0.0.2 4660 80\r\nGET / HTTP/1.1\r\n";
        assert_eq!(read(v1), Some((ProxyCommand::Proxy(ends.0, ends.1), 38)));
        assert_eq!(read(b"PROXY UNKNOWN\r\n"), Some((ProxyCommand::Unknown, 15)));
        let mut v2 = PROXY_V2.to_vec();
        v2.extend([0x20, 0, 0, 0]);
        assert_eq!(read(&v2), Some((ProxyCommand::Local, 16)));
        v2 = PROXY_V2.to_vec();
        v2.extend([0x21, 0x11, 0, 12, 10, 0, 0, 1, 10, 0, 0, 2, 0x12, 0x34, 0, 80]);
        assert_eq!(read(&v2), Some((ProxyCommand::Proxy(ends.0, ends.1), 28)));
        for cut in 0..16 {
            assert_eq!(read(&v2[..cut]), None);
        }
        assert_eq!(read(b"PROXY TCP4 10.0.0.1"), None);
    }
}
