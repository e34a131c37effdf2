//! What the first bytes of a stream or of a segment are.

use super::FaultKind;
use super::scan::{is_token, request_line};
use crate::tcp::Side;
use memchr::memchr;

/// What the first bytes of a client are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// Too few bytes to tell.
    More,
    /// An HTTP/1 request.
    Http1,
    /// A PROXY protocol header of so many bytes, which may reach beyond the bytes at hand.
    Proxy(u64),
    /// A TLS record.
    Tls,
    /// The HTTP/2 connection preface (RFC 9113, 3.4).
    Http2,
    /// Something else.
    Other,
}

/// Signature of PROXY protocol version 2.
const PROXY_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Longest header of PROXY protocol version 1, line end included.
const PROXY_V1_MAX: usize = 107;
/// Longest method that is believed; the longest registered one has 17 letters.
const METHOD_MAX: usize = 32;
/// Longest request line of an unknown method that is waited for.
const LINE_MAX: usize = 8192;
/// Methods after which a target is believed before the line has ended.
const METHODS: [&[u8]; 16] = [
    b"GET",
    b"POST",
    b"HEAD",
    b"PUT",
    b"DELETE",
    b"OPTIONS",
    b"PATCH",
    b"CONNECT",
    b"TRACE",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"LOCK",
    b"REPORT",
];

/// Tells what a client opens its stream with.
pub(super) fn opening(bytes: &[u8]) -> Opening {
    if let Some(opening) = proxy_header(bytes) {
        return opening;
    }
    let bytes = &bytes[blank(bytes)..];
    match bytes {
        [] | [0x16] => return Opening::More,
        [0x16, 0x03, ..] => return Opening::Tls,
        _ => {}
    }
    match begins(bytes, b"PRI * HTTP/2.0\r\n") {
        Match::Whole => return Opening::Http2,
        Match::Part => return Opening::More,
        Match::No => {}
    }
    let method = bytes.iter().take_while(|byte| is_token(**byte)).count();
    match bytes.get(method) {
        _ if method > METHOD_MAX => return Opening::Other,
        None => return Opening::More,
        Some(b' ') if method > 0 => {}
        Some(_) => return Opening::Other,
    }
    if METHODS.contains(&&bytes[..method]) {
        match bytes.get(method + 1) {
            None => return Opening::More,
            Some(b'/' | b'*') => return Opening::Http1,
            Some(_) => {}
        }
    }
    match memchr(b'\n', bytes) {
        Some(end) if has_version(&bytes[..end]) => Opening::Http1,
        None if bytes.len() <= LINE_MAX && !bytes.iter().any(u8::is_ascii_control) => Opening::More,
        None if bytes.len() <= LINE_MAX && is_cr_last(bytes) => Opening::More,
        _ => Opening::Other,
    }
}

/// The only control byte is a CR at the end.
fn is_cr_last(bytes: &[u8]) -> bool {
    bytes.strip_suffix(b"\r").is_some_and(|line| !line.iter().any(u8::is_ascii_control))
}

/// `None` when the bytes cannot be a PROXY protocol header.
fn proxy_header(bytes: &[u8]) -> Option<Opening> {
    match begins(bytes, PROXY_V2) {
        Match::Whole => {
            return Some(match (bytes.get(12), bytes.get(14..16)) {
                (Some(version), _) if version >> 4 != 2 => Opening::Other,
                (_, Some(&[high, low])) => {
                    Opening::Proxy(16 + u64::from(u16::from_be_bytes([high, low])))
                }
                _ => Opening::More,
            });
        }
        Match::Part if !bytes.is_empty() => return Some(Opening::More),
        _ => {}
    }
    match begins(bytes, b"PROXY ") {
        Match::Whole => Some(match memchr(b'\n', &bytes[..bytes.len().min(PROXY_V1_MAX)]) {
            Some(end) => Opening::Proxy(end as u64 + 1),
            None if bytes.len() < PROXY_V1_MAX => Opening::More,
            None => Opening::Other,
        }),
        Match::Part if !bytes.is_empty() => Some(Opening::More),
        _ => None,
    }
}

enum Match {
    Whole,
    Part,
    No,
}

fn begins(bytes: &[u8], pattern: &[u8]) -> Match {
    let common = bytes.len().min(pattern.len());
    match bytes[..common] == pattern[..common] {
        true if common == pattern.len() => Match::Whole,
        true => Match::Part,
        false => Match::No,
    }
}

/// Number of CR and LF bytes at the start (RFC 9112, 2.2: ignore empty lines before a message).
pub(super) fn blank(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()
}

fn has_version(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    request_line(line).is_some_and(|line| line.minor.is_some())
}

/// Whether a segment begins with a request line, as far as it can be told from the segment alone.
pub(super) fn is_request(bytes: &[u8]) -> bool {
    let Some(space) = memchr(b' ', &bytes[..bytes.len().min(METHOD_MAX + 1)]) else { return false };
    if !bytes[..space].iter().all(|byte| is_token(*byte)) {
        return false;
    }
    match memchr(b'\n', bytes) {
        Some(end) => has_version(&bytes[..end]),
        // A long target, or a line cut by the snap length.
        None => {
            METHODS.contains(&&bytes[..space])
                && matches!(bytes.get(space + 1), Some(b'/' | b'*' | b'h'))
        }
    }
}

/// Whether a segment begins with a status line.
pub(super) fn is_status(bytes: &[u8]) -> bool {
    match bytes {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1', b' ', code @ ..] => {
            code.len() >= 3 && code[..3].iter().all(u8::is_ascii_digit)
        }
        _ => false,
    }
}

/// The status of a segment that begins with a status line.
pub(super) fn status(bytes: &[u8]) -> Option<u16> {
    is_status(bytes)
        .then(|| bytes[9..12].iter().fold(0, |n, digit| n * 10 + u16::from(digit - b'0')))
}

/// What the first bytes of an answer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Too few bytes to tell.
    More,
    /// The start of a status line.
    Status,
    /// Something else.
    Not(FaultKind),
}

/// Most bytes that [`answer`] needs: a frame header of HTTP/2.
pub(super) const ANSWER_BYTES: usize = 9;

/// Tells what a server answers with.
pub(super) fn answer(bytes: &[u8]) -> Answer {
    match begins(bytes, b"HTTP/") {
        Match::Whole => return Answer::Status,
        Match::Part => return Answer::More,
        Match::No => {}
    }
    match *bytes {
        [0x14..=0x17] => Answer::More,
        [0x14..=0x17, 0x03, ..] => Answer::Not(FaultKind::Tls),
        // A frame on stream 0: SETTINGS, as a server's preface, or GOAWAY (RFC 9113, 4.1).
        [0, _, _, 4 | 7, _, 0, 0, 0, 0, ..] => Answer::Not(FaultKind::Http2),
        [0, ..] if bytes.len() < ANSWER_BYTES => Answer::More,
        _ => Answer::Not(FaultKind::NotHttp),
    }
}

/// Which side sends a stream that begins with `bytes`, for connections whose handshake was not
/// captured; `None` when the bytes do not tell.
pub fn likely_side(bytes: &[u8]) -> Option<Side> {
    match bytes {
        _ if is_status(bytes) => Some(Side::Server),
        // Records of a TLS handshake: ClientHello and ServerHello (RFC 8446, 4).
        [0x16, 0x03, _, _, _, 1, ..] => Some(Side::Client),
        [0x16, 0x03, _, _, _, 2, ..] => Some(Side::Server),
        _ if is_request(bytes) => Some(Side::Client),
        _ => match opening(bytes) {
            Opening::Proxy(_) | Opening::Http2 | Opening::Http1 => Some(Side::Client),
            _ => None,
        },
    }
}

/// Whether a segment in the middle of a stream begins with a TLS record (RFC 8446, 5.1).
pub(super) fn is_tls_record(bytes: &[u8]) -> bool {
    matches!(bytes, [0x14..=0x17, 0x03, 0..=4, high, _, ..] if *high <= 0x48)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_requests_are_known_by_method_and_target() {
        for bytes in [
            b"GET / HTTP/1.1\r\n".as_slice(),
            b"GET /",
            b"\r\n\r\nGET / HTTP/1.1\r\n",
            b"OPTIONS * HTTP/1.1\r\n",
            b"GET http://a/ HTTP/1.0\r\n",
            b"CONNECT a:443 HTTP/1.1\r\n",
            b"purge-all x HTTP/1.1\n",
            b"PROPOSE /a HTTP/1.1\r\n",
            b"POST /a",
            b"GET /\r\n",
        ] {
            assert_eq!(opening(bytes), Opening::Http1, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn other_protocols_are_not_taken_for_http() {
        for bytes in [
            b"get key\r\n".as_slice(),
            b"GET key\r\n",
            b"*1\r\n$4\r\nPING\r\n",
            b"EHLO example.org\r\n",
            b"SSH-2.0-OpenSSH_9.6\r\n",
            b"\x00\x00\x00\x01",
            b"USER anonymous\r\n",
            b"GET \x00\x01\x02",
            b" / HTTP/1.1\r\n",
            &[b'A'; 100],
        ] {
            assert_eq!(opening(bytes), Opening::Other, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn tls_and_http2_are_known() {
        assert_eq!(opening(b"\x16\x03\x01\x02"), Opening::Tls);
        assert_eq!(opening(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Opening::Http2);
    }

    #[test]
    fn every_part_of_an_opening_waits_for_more() {
        for whole in [
            b"purge-all x HTTP/1.1\r\n".as_slice(),
            b"PRI * HTTP/2.0\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c",
            b"\x16\x03",
        ] {
            for end in 0..whole.len() {
                let part = &whole[..end];
                assert_eq!(opening(part), Opening::More, "{}", part.escape_ascii());
            }
            assert_ne!(opening(whole), Opening::More);
        }
    }

    #[test]
    fn proxy_headers_have_a_length() {
        assert_eq!(opening(b"PROXY UNKNOWN\r\nGET / HTTP/1.1\r\n"), Opening::Proxy(15));
        assert_eq!(opening(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x01\x00"), Opening::Proxy(272));
        assert_eq!(opening(&[b"PROXY ".as_slice(), &[b'x'; 200]].concat()), Opening::Other);
    }

    #[test]
    fn answers() {
        assert_eq!(answer(b"HTTP/1.1 200"), Answer::Status);
        assert_eq!(answer(b"HT"), Answer::More);
        assert_eq!(answer(b"<html>"), Answer::Not(FaultKind::NotHttp));
        assert_eq!(answer(b"HT\n"), Answer::Not(FaultKind::NotHttp));
        assert_eq!(answer(b"\x15\x03\x01\x00\x02\x02\x46"), Answer::Not(FaultKind::Tls));
        assert_eq!(answer(b"\0\0\x06\x04\0\0\0\0\0"), Answer::Not(FaultKind::Http2));
        assert_eq!(answer(b"\0\0\x06\x04"), Answer::More);
    }

    #[test]
    fn sides_of_a_stream_from_the_middle() {
        assert_eq!(likely_side(b"HTTP/1.1 200 OK\r\n"), Some(Side::Server));
        assert_eq!(likely_side(b"GET / HTTP/1.1\r\n"), Some(Side::Client));
        assert_eq!(likely_side(b"\x16\x03\x01\x00\x50\x01"), Some(Side::Client));
        assert_eq!(likely_side(b"\x16\x03\x03\x00\x50\x02"), Some(Side::Server));
        assert_eq!(likely_side(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"), Some(Side::Client));
        assert_eq!(likely_side(b"some body text"), None);
    }
}
