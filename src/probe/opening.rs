//! What the first bytes of a connection say when they are no HTTP/1 request: TLS, PROXY headers.

use super::facts::{ProxyCommand, ProxyHeader, TlsOpening};
use super::head::hash;
use crate::packet::{Address, Endpoint};
use memchr::memchr;
use std::net::IpAddr;

/// TLS content type of a handshake (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;
/// TLS content type of an alert.
const ALERT: u8 = 21;
/// Signature of PROXY protocol version 2.
const PROXY_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Two bytes of a number.
fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Reads the start of a ClientHello; `None` when the bytes begin no TLS handshake.
pub(super) fn client_hello(bytes: &[u8]) -> Option<TlsOpening> {
    /// Record header, handshake header, version, random: what comes before the session id.
    const FIXED: usize = 5 + 4 + 2 + 32;
    if bytes.first() != Some(&HANDSHAKE) || bytes.get(1) != Some(&3) {
        return None;
    }
    let record_version = u16_at(bytes, 1)?;
    let hello_len = u16_at(bytes, 3)?;
    let session = usize::from(*bytes.get(FIXED).unwrap_or(&0));
    let suites_at = FIXED + 1 + session;
    let suites_len = usize::from(u16_at(bytes, suites_at).unwrap_or(0));
    let suites: Vec<u16> = bytes
        .get(suites_at + 2..)
        .unwrap_or_default()
        .chunks_exact(2)
        .take(suites_len / 2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
        // Values that are drawn anew for each hello (RFC 8701).
        .filter(|suite| suite & 0x0f0f != 0x0a0a)
        .collect();
    let hello_version = u16_at(bytes, 9).unwrap_or(0);
    Some(TlsOpening {
        hello: bytes.get(5) == Some(&1),
        record_version,
        hello_version,
        hello_len,
        digest: hash((record_version, hello_version, hello_len, suites)),
        ..TlsOpening::default()
    })
}

impl TlsOpening {
    /// Adds what the first bytes of the target say.
    pub(super) fn answered(&mut self, bytes: &[u8]) {
        self.answer_type = bytes.first().copied();
        match self.answer_type {
            Some(HANDSHAKE) if bytes.get(5) == Some(&2) => {
                self.server_version = u16_at(bytes, 9);
            }
            Some(ALERT) => {
                self.alert = bytes.get(5).copied().zip(bytes.get(6).copied());
            }
            _ => {}
        }
    }
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

    fn hello(random: u8, grease: u16) -> Vec<u8> {
        let mut bytes = vec![22, 3, 1, 0, 47, 1, 0, 0, 43, 3, 3];
        bytes.extend([random; 32]);
        bytes.extend([2, random, random]);
        bytes.extend([0, 4]);
        bytes.extend(grease.to_be_bytes());
        bytes.extend([0x13, 0x01]);
        bytes
    }

    #[test]
    fn hellos_of_one_program_have_one_digest() {
        let first = client_hello(&hello(1, 0x0a0a)).unwrap();
        assert!(first.hello);
        assert_eq!(
            (first.record_version, first.hello_version, first.hello_len),
            (0x301, 0x303, 47)
        );
        assert_eq!(first, client_hello(&hello(2, 0x1a1a)).unwrap());
        assert_ne!(first.digest, client_hello(&hello(1, 0x1302)).unwrap().digest);
        assert_eq!(client_hello(b"GET / HTTP/1.1"), None);
        assert!(client_hello(&[22, 3, 1, 0, 47]).is_some());
    }

    #[test]
    fn alerts_and_server_hellos_are_read() {
        let mut tls = TlsOpening::default();
        tls.answered(&[21, 3, 1, 0, 2, 2, 40]);
        assert_eq!(
            (tls.answer_type, tls.alert, tls.server_version),
            (Some(21), Some((2, 40)), None)
        );
        tls = TlsOpening::default();
        tls.answered(&[22, 3, 3, 0, 90, 2, 0, 0, 86, 3, 3, 1]);
        assert_eq!((tls.alert, tls.server_version), (None, Some(0x303)));
    }

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
