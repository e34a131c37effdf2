//! Primitives of log lines: numbers, addresses, escapes.

use crate::packet::Endpoint;
use memchr::memchr;
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use wide::{CmpEq, i8x16};

/// Where a byte is first found. Fields are short: for these a call of `memchr` costs more.
#[inline(always)]
pub(super) fn find(byte: u8, text: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(chunk) = text.get(at..).and_then(|rest| rest.first_chunk()) {
        let found = same(byte, chunk);
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize);
        }
        at += 16;
    }
    if let Some(last) = text.last_chunk() {
        // What of it was looked at before is other bytes.
        let found = same(byte, last);
        return (found != 0).then(|| text.len() - 16 + found.trailing_zeros() as usize);
    }
    text.iter().position(|it| *it == byte)
}

/// Whether a byte is there an even number of times, or never.
pub(super) fn is_even(byte: u8, text: &[u8]) -> bool {
    let (chunks, rest) = text.as_chunks();
    let odd = chunks.iter().fold(0, |odd, chunk| odd ^ same(byte, chunk));
    let more = rest.iter().filter(|it| **it == byte).count();
    (odd.count_ones() as usize + more).is_multiple_of(2)
}

/// A bit for each of sixteen bytes that is `byte`.
#[inline(always)]
fn same(byte: u8, text: &[u8; 16]) -> u32 {
    let text = i8x16::new(text.map(|byte| byte as i8));
    text.cmp_eq(i8x16::splat(byte as i8)).move_mask() as u32
}

/// Whether a field says that there is nothing.
pub(super) fn is_none(field: &[u8]) -> bool {
    matches!(field, b"" | b"-")
}

/// A whole number without sign.
pub(super) fn number(field: &[u8]) -> Option<u64> {
    if let Some(number) = digits(field) {
        return Some(number);
    }
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// A status code. Logs write 0, 000 or -1 where none was sent.
pub(super) fn status(field: &[u8]) -> Option<u16> {
    match field {
        // As nearly all are.
        [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            let [a, b, c] = [a, b, c].map(|digit| u16::from(digit - b'0'));
            Some(a * 100 + b * 10 + c)
        }
        b"-1" => Some(0),
        b"-" => None,
        _ => number(field).and_then(|status| u16::try_from(status).ok()).filter(|it| *it < 1000),
    }
}

/// Decimal seconds as nanoseconds. `None` for `-`, for negative numbers, by which logs say that the
/// phase was not reached, and for what is more than thirty years.
pub(super) fn seconds(field: &[u8]) -> Option<i64> {
    if let Some(nanos) = plain_seconds(field) {
        return Some(nanos);
    }
    if is_none(field) {
        return None;
    }
    let seconds: f64 = std::str::from_utf8(field).ok()?.parse().ok()?;
    (0.0..1e9).contains(&seconds).then(|| (seconds * 1e9).round() as i64)
}

/// Up to nine digits and nothing else.
fn digits(field: &[u8]) -> Option<u64> {
    if !(1..=9).contains(&field.len()) {
        return None;
    }
    let one = |sum, digit: &u8| digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0'));
    field.iter().try_fold(0, one)
}

/// Less than a million seconds with up to nine decimals, as nearly all are; of these a float gives the
/// same nanoseconds.
fn plain_seconds(field: &[u8]) -> Option<i64> {
    if let [whole @ b'0'..=b'9', b'.', parts @ ..] = field
        && let [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] = parts
    {
        let [whole, a, b, c] = [whole, a, b, c].map(|digit| i64::from(digit - b'0'));
        return Some((whole * 1_000 + a * 100 + b * 10 + c) * 1_000_000);
    }
    let dot = field.iter().take(7).position(|byte| *byte == b'.')?;
    let decimals = &field[dot + 1..];
    let (whole, part) = (digits(&field[..dot])?, digits(decimals)?);
    Some((whole * 1_000_000_000 + part * 10_u64.pow(9 - decimals.len() as u32)) as i64)
}

/// Whole milliseconds as nanoseconds; `None` as in [`seconds`].
pub(super) fn milliseconds(field: &[u8]) -> Option<i64> {
    let field = field.strip_prefix(b"+").unwrap_or(field);
    number(field).filter(|ms| *ms < 1_000_000_000_000).map(|ms| ms as i64 * 1_000_000)
}

/// `address:port`, IPv6 in brackets or bare.
pub(super) fn endpoint(field: &[u8]) -> Option<Endpoint> {
    if let Some(end) = plain_endpoint(field) {
        return Some(end);
    }
    let text = std::str::from_utf8(field).ok()?;
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Some(at(socket.ip(), socket.port()));
    }
    let (ip, port) = text.rsplit_once(':')?;
    Some(at(ip.parse().ok()?, port.parse().ok()?))
}

/// `10.0.0.1:80`, as nearly all are.
fn plain_endpoint(field: &[u8]) -> Option<Endpoint> {
    leading_endpoint(field).filter(|(_, rest)| rest.is_empty()).map(|(end, _)| end)
}

/// `10.0.0.1:80` and what follows it, which is no digit.
pub(super) fn leading_endpoint(text: &[u8]) -> Option<(Endpoint, &[u8])> {
    let (ip, port) = octets(text, b':')?;
    let length = port.iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
    let (port, rest) = port.split_at(length);
    let port = match port {
        // Zeros in front, and what is too long, are left to the whole parser.
        [b'1'..=b'9', ..] | b"0" if length <= 5 => digits(port)?,
        _ => return None,
    };
    Some((Endpoint::v4(ip, u16::try_from(port).ok()?), rest))
}

/// `10.0.0.1`, what stands behind it, and behind that.
#[inline]
fn octets(field: &[u8], end: u8) -> Option<([u8; 4], &[u8])> {
    let (a, rest) = octet(field, b'.')?;
    let (b, rest) = octet(rest, b'.')?;
    let (c, rest) = octet(rest, b'.')?;
    let (d, rest) = octet(rest, end)?;
    Some(([a, b, c, d], rest))
}

/// A number below 256 without zeros in front, the byte `end`, and what follows.
#[inline]
fn octet(text: &[u8], end: u8) -> Option<(u8, &[u8])> {
    let digit = |byte: u8| Some(u32::from(byte.wrapping_sub(b'0'))).filter(|digit| *digit < 10);
    let (number, rest) = match text {
        [a, at, rest @ ..] if *at == end => (digit(*a)?, rest),
        [b'0', ..] => return None,
        [a, b, at, rest @ ..] if *at == end => (digit(*a)? * 10 + digit(*b)?, rest),
        [a, b, c, at, rest @ ..] if *at == end => {
            (digit(*a)? * 100 + digit(*b)? * 10 + digit(*c)?, rest)
        }
        _ => return None,
    };
    Some((u8::try_from(number).ok()?, rest))
}

/// An address without a port, as an endpoint of port 0.
pub(super) fn host(field: &[u8]) -> Option<Endpoint> {
    if let Some(ip) = plain_host(field) {
        return Some(Endpoint::v4(ip, 0));
    }
    if is_none(field) {
        return None;
    }
    Some(at(std::str::from_utf8(field).ok()?.parse().ok()?, 0))
}

/// `10.0.0.1`, as nearly all are.
fn plain_host(field: &[u8]) -> Option<[u8; 4]> {
    let (a, rest) = octet(field, b'.')?;
    let (b, rest) = octet(rest, b'.')?;
    let (c, last) = octet(rest, b'.')?;
    // Zeros in front, and what is too long, are left to the whole parser.
    let plain = last.len() <= 3 && (last.len() == 1 || !last.starts_with(b"0"));
    let d = digits(last).filter(|_| plain)?;
    Some([a, b, c, u8::try_from(d).ok()?])
}

fn at(ip: IpAddr, port: u16) -> Endpoint {
    match ip {
        IpAddr::V4(ip) => Endpoint::v4(ip.octets(), port),
        IpAddr::V6(ip) => Endpoint::v6(ip.octets(), port),
    }
}

/// The bytes that a proxy escaped: `\xHH`, `\"`, `\\`.
pub(super) fn unescape(field: &[u8]) -> Cow<'_, [u8]> {
    if memchr(b'\\', field).is_none() {
        return Cow::Borrowed(field);
    }
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some(at) = memchr(b'\\', rest) {
        bytes.extend_from_slice(&rest[..at]);
        let (byte, taken) = match &rest[at + 1..] {
            [b'x' | b'X', high, low, ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, 4),
                _ => (b'\\', 1),
            },
            [it @ (b'"' | b'\\' | b'/'), ..] => (*it, 2),
            _ => (b'\\', 1),
        };
        bytes.push(byte);
        rest = &rest[at + taken..];
    }
    bytes.extend_from_slice(rest);
    Cow::Owned(bytes)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// Method and target of a request line. What is no request line, such as the `- http://host:80- ` of
/// a load balancer for a request that never came, gives empty ones.
pub(super) fn request_line(line: &[u8]) -> (&[u8], &[u8]) {
    let Some(space) = find(b' ', line) else { return (b"", b"") };
    let (method, rest) = (&line[..space], line[space + 1..].trim_ascii());
    if method.is_empty() || !method.iter().all(|byte| byte.is_ascii_alphabetic() || *byte == b'-') {
        return (b"", b"");
    }
    let target = match rest.strip_suffix(b" HTTP/1.1") {
        Some(target) => target.trim_ascii(),
        None => match rest.iter().rposition(|byte| *byte == b' ') {
            Some(end) if rest[end + 1..].starts_with(b"HTTP/") => rest[..end].trim_ascii(),
            _ => rest,
        },
    };
    if method == b"-" { (b"", b"") } else { (method, target) }
}

/// The target in origin form: without scheme and authority, never empty.
pub(super) fn origin_form(target: &[u8]) -> &[u8] {
    if target.first() == Some(&b'/') {
        return target;
    }
    let other = || {
        let scheme = target.iter().position(|byte| !byte.is_ascii_alphanumeric())?;
        target[scheme..].strip_prefix(b"://")
    };
    let authority = target.strip_prefix(b"http://").or_else(|| target.strip_prefix(b"https://"));
    let Some(authority) = authority.or_else(other) else { return target };
    let path = find(b'/', authority).unwrap_or(authority.len());
    match find(b'?', &authority[..path]) {
        Some(query) => &authority[query..],
        None if path < authority.len() => &authority[path..],
        None => b"/",
    }
}

/// The target without its query.
pub(super) fn path_only(target: &[u8]) -> &[u8] {
    &target[..memchr(b'?', target).unwrap_or(target.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_and_addresses() {
        assert_eq!(seconds(b"0.125"), Some(125_000_000));
        assert_eq!((seconds(b"-1"), seconds(b"-"), seconds(b"1e300")), (None, None, None));
        assert_eq!(status(b"502"), Some(502));
        assert_eq!((status(b"-1"), status(b"000"), status(b"-")), (Some(0), Some(0), None));
        let v4 = endpoint(b"10.0.0.1:80").unwrap();
        assert_eq!(v4, Endpoint::v4([10, 0, 0, 1], 80));
        assert_eq!(endpoint(b"[2001:db8::1]:80"), endpoint(b"2001:db8::1:80"));
        assert_eq!((endpoint(b"-"), endpoint(b"unix:/run/php.sock")), (None, None));
        assert_eq!(host(b"10.0.0.1").unwrap().ip, v4.ip);
    }

    #[test]
    fn targets_are_read_as_they_were_sent() {
        assert_eq!(request_line(b"GET /a b HTTP/1.1"), (&b"GET"[..], &b"/a b"[..]));
        assert_eq!(request_line(b"- http://a:80- -"), (&b""[..], &b""[..]));
        assert_eq!(request_line(b"\x16\x03\x01"), (&b""[..], &b""[..]));
        for (target, wanted) in [
            ("https://a.example:443/x?u=http://b", "/x?u=http://b"),
            ("http://a", "/"),
            ("/x?u=http://b", "/x?u=http://b"),
            ("*", "*"),
        ] {
            assert_eq!(origin_form(target.as_bytes()), wanted.as_bytes());
        }
        assert_eq!(unescape(br#"/\x22a\"\\\q"#).as_ref(), br#"/"a"\\q"#);
        assert_eq!(path_only(b"/a?b?c"), b"/a");
    }

    proptest! {
        /// What is read by hand says the same as the library.
        #[test]
        fn plain_numbers_and_addresses_are_those_of_the_library(
            seconds in "[0-9]{0,8}[.]?[0-9]{0,10}",
            end in "[0-9]{0,4}[.][0-9]{1,3}[.][0-9]{1,3}[.][0-9]{1,3}:[0-9]{0,6}",
            text in "[ab\\\\\" ]{0,70}",
        ) {
            let float = seconds.parse::<f64>().ok().map(|it| (it * 1e9).round() as i64);
            if let Some(plain) = plain_seconds(seconds.as_bytes()) {
                prop_assert_eq!(Some(plain), float);
            }
            let socket = end.parse::<SocketAddr>().ok();
            if let Some(plain) = plain_endpoint(end.as_bytes()) {
                prop_assert_eq!(Some(plain), socket.map(|it| at(it.ip(), it.port())));
            }
            let host = end.split(':').next().unwrap_or_default();
            if let Some(plain) = plain_host(host.as_bytes()) {
                prop_assert_eq!(Some(IpAddr::from(plain)), host.parse().ok());
            }
            for byte in *b"ab\" " {
                prop_assert_eq!(find(byte, text.as_bytes()), memchr(byte, text.as_bytes()));
            }
            let quotes = text.bytes().filter(|byte| *byte == b'"').count();
            prop_assert_eq!(is_even(b'"', text.as_bytes()), quotes % 2 == 0);
        }
    }
}
