//! Reads a message head line by line: what decides the length of the body, and what is wrong.
//!
//! Keeps no bytes. Lenient: it says what is wrong and reads on (RFC 9112, 2.2 and 5).

use super::{FaultKind, Framing};
use memchr::memchr;

/// What is wrong with a line, and where in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) kind: FaultKind,
    pub(super) at: usize,
}

/// What the head says so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scan {
    /// Complete lines, start line included.
    pub(super) lines: u32,
    /// Bytes of the complete lines.
    pub(super) offset: u64,
    /// The last valid `Content-Length`.
    length: Option<u64>,
    coding: Coding,
    close: bool,
    keep_alive: bool,
    /// The version is below 1.1.
    pub(super) http10: bool,
    /// `Expect: 100-continue`.
    pub(super) expects: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Coding {
    #[default]
    Absent,
    Chunked,
    Other,
}

impl Scan {
    /// Length of a response body; the caller has dealt with the statuses and methods that have none
    /// (RFC 9112, 6.3). `Transfer-Encoding` wins over `Content-Length`.
    pub(super) fn response_framing(&self) -> Framing {
        match (self.coding, self.length) {
            (Coding::Chunked, _) => Framing::Chunked,
            (Coding::Absent, Some(length)) => Framing::Length(length),
            _ => Framing::UntilClose,
        }
    }

    /// Length of a request body: without a length there is none.
    pub(super) fn request_framing(&self) -> Framing {
        match (self.coding, self.length) {
            (Coding::Chunked, _) => Framing::Chunked,
            (_, Some(length)) if length > 0 => Framing::Length(length),
            _ => Framing::None,
        }
    }

    /// Whether the sender closes the connection after the message (RFC 9112, 9.3).
    pub(super) fn closes(&self) -> bool {
        self.close || (self.http10 && !self.keep_alive)
    }

    /// Takes a header line without its line end. `strict` also looks for illegal bytes.
    pub(super) fn header(&mut self, line: &[u8], strict: bool) -> Option<Flaw> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            let kind = if self.lines > 1 { FaultKind::Folded } else { FaultKind::HeaderName };
            return Some(Flaw { kind, at: 0 });
        }
        let Some(colon) = memchr(b':', line) else {
            return Some(Flaw { kind: FaultKind::NoColon, at: 0 });
        };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        let flaw = if strict { illegal_byte(name, value) } else { None };
        let meaning = self.field(name.trim_ascii(), value);
        flaw.or(meaning)
    }

    /// Takes the header line that `bytes` begin with when it is complete and all its bytes are
    /// legal, as most are: in one pass. Its length, line end included, and what is wrong with what
    /// it says.
    #[inline]
    pub(super) fn plain_header(&mut self, bytes: &[u8]) -> Option<(usize, Option<Flaw>)> {
        let plain = plain_name(bytes);
        let colon = plain + bytes[plain..].iter().position(|byte| !is_token(*byte))?;
        if colon == 0 {
            return None;
        }
        let value = bytes[colon..].strip_prefix(b":")?;
        let end = value_end(value)?;
        let line_end = match value[end..] {
            [b'\r', b'\n', ..] => 2,
            [b'\n', ..] => 1,
            _ => return None,
        };
        let flaw = self.field(&bytes[..colon], &value[..end]);
        Some((colon + 1 + end + line_end, flaw))
    }

    /// What a field says that matters here.
    fn field(&mut self, name: &[u8], value: &[u8]) -> Option<Flaw> {
        // The length tells most names apart before any comparison.
        let wrong = match name.len() {
            6 if name.eq_ignore_ascii_case(b"expect") => {
                self.expects |= value.trim_ascii().eq_ignore_ascii_case(b"100-continue");
                None
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.connection(value);
                None
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.transfer_coding(value),
            _ => None,
        };
        wrong.map(|kind| Flaw { kind, at: 0 })
    }

    fn connection(&mut self, value: &[u8]) {
        for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// A list of equal numbers is one number (RFC 9110, 8.6).
    fn content_length(&mut self, value: &[u8]) -> Option<FaultKind> {
        let mut flaw = None;
        for number in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            match decimal(number) {
                Some(length) => {
                    if self.length.is_some_and(|before| before != length) {
                        flaw = flaw.or(Some(FaultKind::ContentLengths));
                    }
                    self.length = Some(length);
                }
                None => flaw = flaw.or(Some(FaultKind::ContentLength)),
            }
        }
        if self.coding != Coding::Absent {
            flaw = flaw.or(Some(FaultKind::LengthAndCoding));
        }
        flaw
    }

    /// `chunked` must be the last coding of a response (RFC 9112, 6.1). `identity` is obsolete and
    /// means nothing.
    fn transfer_coding(&mut self, value: &[u8]) -> Option<FaultKind> {
        const KNOWN: [&[u8]; 5] = [b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress"];
        let mut flaw = None;
        for coding in value.split(|byte| *byte == b',') {
            let coding = coding.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            if coding.is_empty() || coding.eq_ignore_ascii_case(b"identity") {
                continue;
            }
            if coding.eq_ignore_ascii_case(b"chunked") {
                self.coding = Coding::Chunked;
            } else {
                self.coding = Coding::Other;
                if !KNOWN.iter().any(|known| coding.eq_ignore_ascii_case(known)) {
                    flaw = Some(FaultKind::Coding);
                }
            }
        }
        if self.coding == Coding::Other {
            flaw = Some(FaultKind::Coding);
        }
        if self.length.is_some() && self.coding != Coding::Absent {
            flaw = flaw.or(Some(FaultKind::LengthAndCoding));
        }
        flaw
    }
}

/// A status line as far as it can be read (RFC 9112, 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StatusLine {
    pub(super) http10: bool,
    pub(super) status: Option<u16>,
    pub(super) flaw: Option<Flaw>,
}

/// Reads a line that begins with `HTTP/`. Several spaces and a missing reason are accepted, as
/// HAProxy and nginx do.
pub(super) fn status_line(line: &[u8]) -> StatusLine {
    let version_end = memchr(b' ', line).unwrap_or(line.len());
    let version = &line[..version_end];
    let known = version == b"HTTP/1.1" || version == b"HTTP/1.0";
    let mut flaw = (!known).then_some(Flaw { kind: FaultKind::Version, at: 0 });
    let spaces = line[version_end..].iter().take_while(|byte| **byte == b' ').count();
    let code = version_end + spaces;
    let digits = line[code..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let ends = matches!(line.get(code + digits), None | Some(b' ' | b'\t' | b'\r'));
    let status = (digits >= 3)
        .then(|| line[code..code + 3].iter().fold(0, |n, digit| n * 10 + u16::from(digit - b'0')));
    let valid = digits == 3 && ends && status.is_some_and(|n| (100..600).contains(&n));
    if !valid {
        flaw = flaw.or(Some(Flaw { kind: FaultKind::Status, at: code.min(line.len()) }));
    }
    StatusLine { http10: version == b"HTTP/1.0", status, flaw }
}

/// A request line as far as it can be read (RFC 9112, 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestLine {
    pub(super) method: Method,
    /// The minor version of HTTP/1; `None` without a version (HTTP/0.9).
    pub(super) minor: Option<u8>,
}

/// The methods that change how a response is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Method {
    #[default]
    Other,
    Head,
    Connect,
    /// HTTP/0.9: one line, and the answer is a body.
    Simple,
}

/// Reads a request line; `None` when it is none: no token, space and target, or control bytes.
pub(super) fn request_line(line: &[u8]) -> Option<RequestLine> {
    let space = memchr(b' ', line)?;
    let (method, rest) = (&line[..space], line[space..].trim_ascii());
    let printable = rest.iter().all(|byte| *byte >= 0x20 && *byte != 0x7f);
    if method.is_empty()
        || !method.iter().all(|byte| is_token(*byte))
        || rest.is_empty()
        || !printable
    {
        return None;
    }
    let last = rest.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    let minor = last.strip_prefix(b"HTTP/1.").and_then(|minor| match minor {
        [digit @ b'0'..=b'9'] => Some(digit - b'0'),
        _ => None,
    });
    let method = match method {
        b"HEAD" => Method::Head,
        b"CONNECT" => Method::Connect,
        b"GET" if minor.is_none() && rest.first() == Some(&b'/') => Method::Simple,
        _ => Method::Other,
    };
    Some(RequestLine { method, minor })
}

/// RFC 9110, 5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let marks = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < marks.len() {
        table[marks[at] as usize] = true;
        at += 1;
    }
    table
};

/// RFC 9110, 5.5, and bytes beyond ASCII, which pass everywhere.
const IN_VALUE: [bool; 256] = {
    let mut table = [true; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = byte == b'\t' as usize;
        byte += 1;
    }
    table[0x7f] = false;
    table
};

/// A byte in each place of a word, and the high bit of each.
const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x80 * ONES;

/// Letters and hyphens at the start of `bytes`, of which most names of fields are made; looked at in words
/// of eight.
#[inline]
fn plain_name(bytes: &[u8]) -> usize {
    let (words, _) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // Without their high bits, so that no byte carries into the next. Letters in lower case.
        let low = word & !HIGHS;
        let lower = low | (0x20 * ONES);
        let letter = (lower + (0x80 - u64::from(b'a')) * ONES)
            & !(lower + (0x80 - u64::from(b'z') - 1) * ONES);
        let hyphen = !((low ^ (u64::from(b'-') * ONES)) + 0x7f * ONES);
        let other = !(letter | hyphen) | word;
        if other & HIGHS != 0 {
            return 8 * number + (other & HIGHS).trailing_zeros() as usize / 8;
        }
    }
    8 * words.len()
}

/// Where the first byte is that no value has, looked for in words of eight.
#[inline]
fn value_end(value: &[u8]) -> Option<usize> {
    let (words, _) = value.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let deleted = word ^ (0x7f * ONES);
        // A borrow out of a byte below 0x20 (or, for the second, equal to 0x7f) sets its high bit. It may
        // go on into the bytes behind, so that only the first is sure.
        let below = word.wrapping_sub(0x20 * ONES) & !word;
        let equal = deleted.wrapping_sub(ONES) & !deleted;
        let controls = (below | equal) & HIGHS;
        if controls != 0 {
            let at = 8 * number + controls.trailing_zeros() as usize / 8;
            return if value[at] == b'\t' { control_from(value, at + 1) } else { Some(at) };
        }
    }
    control_from(value, 8 * words.len())
}

fn control_from(value: &[u8], from: usize) -> Option<usize> {
    let at = value[from..].iter().position(|byte| !IN_VALUE[usize::from(*byte)])?;
    Some(from + at)
}

/// A control byte, space or nothing as a name is refused everywhere; other bytes that are no token
/// pass nginx. Values: RFC 9110, 5.5.
fn illegal_byte(name: &[u8], value: &[u8]) -> Option<Flaw> {
    let clean = name.iter().fold(true, |clean, byte| clean & is_token(*byte));
    if !clean || name.is_empty() {
        let refused = |byte: &u8| *byte <= 0x20 || *byte == 0x7f;
        return Some(match name.iter().position(refused) {
            Some(at) => Flaw { kind: FaultKind::HeaderName, at },
            None if name.is_empty() => Flaw { kind: FaultKind::HeaderName, at: 0 },
            None => {
                let at = name.iter().position(|byte| !is_token(*byte)).unwrap_or_default();
                Flaw { kind: FaultKind::HeaderToken, at }
            }
        });
    }
    let control = |byte: u8| !IN_VALUE[usize::from(byte)];
    // Without an early exit, so that the compiler can look at many bytes at once.
    if value.iter().fold(false, |found, byte| found | control(*byte)) {
        let at = value.iter().position(|byte| control(*byte)).unwrap_or_default();
        return Some(Flaw { kind: FaultKind::HeaderValue, at: name.len() + 1 + at });
    }
    None
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, byte| match byte {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// The bytes around `at`, escaped, at most 60 characters.
pub(crate) fn sample(bytes: &[u8], at: usize) -> String {
    let from = if at < 30 { 0 } else { (at - 20).min(bytes.len()) };
    let mut text = String::new();
    for byte in &bytes[from..] {
        let escaped = byte.escape_ascii();
        if text.len() + escaped.len() > 60 {
            break;
        }
        text.extend(escaped.map(char::from));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&[u8]]) -> (Scan, Option<FaultKind>) {
        let mut scan = Scan { lines: 1, ..Scan::default() };
        let mut flaw = None;
        for line in lines {
            flaw = flaw.or(scan.header(line, true).map(|flaw| flaw.kind));
            scan.lines += 1;
        }
        (scan, flaw)
    }

    fn flaw(line: &[u8]) -> Option<FaultKind> {
        headers(&[b"A: b", line]).1
    }

    #[test]
    fn each_bad_header_line_has_its_kind() {
        assert_eq!(flaw(b"X-Name : v"), Some(FaultKind::HeaderName));
        assert_eq!(flaw(b"X\x01: v"), Some(FaultKind::HeaderName));
        assert_eq!(flaw(b": v"), Some(FaultKind::HeaderName));
        assert_eq!(flaw(b"X(y): v"), Some(FaultKind::HeaderToken));
        assert_eq!(flaw(b"no colon here"), Some(FaultKind::NoColon));
        assert_eq!(flaw(b"X: a\0b"), Some(FaultKind::HeaderValue));
        assert_eq!(flaw(b"X: a\rb"), Some(FaultKind::HeaderValue));
        assert_eq!(flaw(b" folded"), Some(FaultKind::Folded));
        assert_eq!(flaw(b"Content-Length: -1"), Some(FaultKind::ContentLength));
        assert_eq!(flaw(b"Content-Length: 5, 6"), Some(FaultKind::ContentLengths));
        assert_eq!(flaw(b"Transfer-Encoding: weird"), Some(FaultKind::Coding));
        assert_eq!(flaw(b"Transfer-Encoding: gzip"), Some(FaultKind::Coding));
    }

    #[test]
    fn a_plain_name_ends_where_something_else_than_letters_and_hyphens_comes() {
        for byte in 0..=255u8 {
            for before in 0..20 {
                let bytes = [&b"Strict-Transport-Sec"[..before], &[byte], b": a-letter"].concat();
                let more = byte.is_ascii_alphabetic() || byte == b'-';
                let names = before + usize::from(more);
                assert_eq!(plain_name(&bytes), names, "{}", bytes.escape_ascii());
            }
        }
        assert_eq!(plain_name(b"Host"), 0);
    }

    #[test]
    fn a_value_ends_at_the_first_control_byte_but_a_tab() {
        for byte in 0..=255u8 {
            for before in 0..20 {
                let bytes =
                    [&b"caf\xc3\xa9, a-b/c;\td\x80 \xff!"[..before], &[byte], b"x\r\n"].concat();
                let ends = (byte < 0x20 && byte != b'\t') || byte == 0x7f;
                let end = if ends { before } else { before + 2 };
                assert_eq!(value_end(&bytes), Some(end), "{}", bytes.escape_ascii());
            }
        }
        assert_eq!(
            (value_end(b""), value_end(b"12345678"), value_end(b"1\r2345678")),
            (None, None, Some(1))
        );
    }

    #[test]
    fn valid_headers_have_no_flaw() {
        for line in [
            b"X-Name:v".as_slice(),
            b"x_y: caf\xc3\xa9\t\xff",
            b"Empty:",
            b"Content-Length: 5, 5",
            b"Transfer-Encoding: gzip, chunked",
            b"Transfer-Encoding: identity",
        ] {
            assert_eq!(flaw(line), None, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn the_last_of_two_lengths_counts() {
        let (scan, flaw) = headers(&[b"Content-Length: 5", b"content-length: 7"]);
        assert_eq!(flaw, Some(FaultKind::ContentLengths));
        assert_eq!(scan.response_framing(), Framing::Length(7));
    }

    #[test]
    fn a_coding_wins_over_a_length() {
        let (scan, flaw) = headers(&[b"Content-Length: 5", b"Transfer-Encoding: chunked"]);
        assert_eq!(flaw, Some(FaultKind::LengthAndCoding));
        assert_eq!(scan.response_framing(), Framing::Chunked);
        assert_eq!(scan.request_framing(), Framing::Chunked);
    }

    #[test]
    fn a_response_without_length_lasts_until_the_close() {
        assert_eq!(headers(&[]).0.response_framing(), Framing::UntilClose);
        assert_eq!(headers(&[b"Content-Length: x"]).0.response_framing(), Framing::UntilClose);
        assert_eq!(headers(&[]).0.request_framing(), Framing::None);
    }

    #[test]
    fn status_lines() {
        let read = |line: &[u8]| {
            let line = status_line(line);
            (line.status, line.flaw.map(|flaw| flaw.kind))
        };
        assert_eq!(read(b"HTTP/1.1 200 OK"), (Some(200), None));
        assert_eq!(read(b"HTTP/1.1 200"), (Some(200), None));
        assert_eq!(read(b"HTTP/1.0  404 caf\xe9"), (Some(404), None));
        assert_eq!(read(b"HTTP/3.7 200 OK"), (Some(200), Some(FaultKind::Version)));
        assert_eq!(read(b"HTTP/2 200"), (Some(200), Some(FaultKind::Version)));
        assert_eq!(read(b"HTTP/1.1 abc"), (None, Some(FaultKind::Status)));
        assert_eq!(read(b"HTTP/1.1 999 x"), (Some(999), Some(FaultKind::Status)));
        assert_eq!(read(b"HTTP/1.1 2000 x"), (Some(200), Some(FaultKind::Status)));
        assert_eq!(read(b"HTTP/1.1"), (None, Some(FaultKind::Status)));
    }

    #[test]
    fn request_lines() {
        let read = |line: &[u8]| request_line(line).map(|line| (line.method, line.minor));
        assert_eq!(read(b"GET / HTTP/1.1"), Some((Method::Other, Some(1))));
        assert_eq!(read(b"HEAD http://a/b HTTP/1.0"), Some((Method::Head, Some(0))));
        assert_eq!(read(b"OPTIONS * HTTP/1.1"), Some((Method::Other, Some(1))));
        assert_eq!(read(b"CONNECT a:1 HTTP/1.1"), Some((Method::Connect, Some(1))));
        assert_eq!(read(b"GET /"), Some((Method::Simple, None)));
        assert_eq!(read(b"GET / x HTTP/1.1"), Some((Method::Other, Some(1))));
        assert_eq!(read(b"GET"), None);
        assert_eq!(read(b"G\x01T / HTTP/1.1"), None);
        assert_eq!(read(b"GET /\x02 HTTP/1.1"), None);
    }

    #[test]
    fn a_sample_is_escaped_and_short() {
        assert_eq!(sample(b"a\0b", 1), "a\\x00b");
        let long = sample(&[0u8; 500], 400);
        assert!(long.len() <= 60 && !long.is_empty());
    }
}
