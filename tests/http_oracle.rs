//! httparse as the oracle: whatever head it accepts, ours reads the same from it.

mod support;

use httparse::{EMPTY_HEADER, Header};
use proptest::prelude::*;
use why502::http::{RequestHead, ResponseHead};

/// Headers that a generated head has at most, and room for more that breakage adds.
const HEADERS_MAX: usize = 32;

/// Names and values as both sides have to give them.
type Fields = Vec<(String, String)>;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn theirs(headers: &[Header<'_>]) -> Fields {
    // httparse leaves white space at the end of a value only where it folds; RFC 9110, 5.5
    // excludes it on both sides.
    let field = |header: &Header<'_>| (header.name.to_owned(), text(header.value.trim_ascii()));
    headers.iter().map(field).collect()
}

fn token() -> impl Strategy<Value = String> {
    "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}"
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        token(),
        prop::sample::select(vec!["Host", "content-length", "X-Amzn-Trace-Id", "User-Agent"])
            .prop_map(str::to_owned),
    ]
}

/// Visible bytes, spaces, tabs, bytes over 127, colons.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        8 => 0x21_u8..0x7f,
        2 => Just(b' '),
        1 => Just(b'\t'),
        1 => 0x80_u8..=0xff,
        1 => Just(b':'),
    ];
    prop::collection::vec(byte, 0..40)
}

fn fields() -> impl Strategy<Value = Vec<u8>> {
    let padding = prop::sample::select(vec!["", " ", "  ", "\t", " \t "]);
    let line = (name(), padding.clone(), value(), padding, line_end()).prop_map(
        |(name, before, value, after, end)| {
            [name.as_bytes(), b":", before.as_bytes(), &value, after.as_bytes(), end].concat()
        },
    );
    prop::collection::vec(line, 0..10).prop_map(|lines| lines.concat())
}

/// Some senders end lines with LF only (RFC 9112, 2.2).
fn line_end() -> impl Strategy<Value = &'static [u8]> {
    prop_oneof![6 => Just(&b"\r\n"[..]), 1 => Just(&b"\n"[..])]
}

fn version() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["HTTP/1.1", "HTTP/1.0"])
}

/// A target: visible bytes, mostly of a path.
fn request_target() -> impl Strategy<Value = String> {
    prop_oneof![
        "/[a-zA-Z0-9/._~%?=&;,:@-]{0,40}",
        "https?://[a-z.]{1,20}(:[0-9]{1,5})?/[a-z]{0,10}",
        Just("*".to_owned()),
        "[a-z.]{1,20}:[0-9]{1,5}",
        "/[!-~]{0,30}",
    ]
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    (token(), request_target(), version(), line_end(), fields(), line_end()).prop_map(
        |(method, target, version, end, fields, last)| {
            let line = format!("{method} {target} {version}");
            [line.as_bytes(), end, &fields, last].concat()
        },
    )
}

fn reason() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), Just(" ".to_owned()), " [!-~][ -~]{0,20}"]
}

fn response() -> impl Strategy<Value = Vec<u8>> {
    (version(), 100_u16..1000, reason(), line_end(), fields(), line_end()).prop_map(
        |(version, status, reason, end, fields, last)| {
            let line = format!("{version} {status}{reason}");
            [line.as_bytes(), end, &fields, last].concat()
        },
    )
}

/// How a head is slightly broken.
#[derive(Clone, Debug)]
enum Breakage {
    None,
    Replace(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    /// A body, or the next message, follows.
    Append(Vec<u8>),
}

fn breakage() -> impl Strategy<Value = Breakage> {
    let place = any::<prop::sample::Index>();
    let byte = prop_oneof![any::<u8>(), prop::sample::select(b" \t\r\n:/\0".to_vec()),];
    prop_oneof![
        3 => Just(Breakage::None),
        2 => (place.clone(), byte.clone()).prop_map(|(at, byte)| Breakage::Replace(at, byte)),
        2 => (place.clone(), byte).prop_map(|(at, byte)| Breakage::Insert(at, byte)),
        2 => place.prop_map(Breakage::Remove),
        1 => prop::collection::vec(any::<u8>(), 1..30).prop_map(Breakage::Append),
    ]
}

fn broken(mut head: Vec<u8>, breakage: &Breakage) -> Vec<u8> {
    match breakage {
        Breakage::None => {}
        Breakage::Replace(at, byte) => {
            let at = at.index(head.len());
            head[at] = *byte;
        }
        Breakage::Insert(at, byte) => head.insert(at.index(head.len()), *byte),
        Breakage::Remove(at) => {
            head.remove(at.index(head.len()));
        }
        Breakage::Append(bytes) => head.extend(bytes),
    }
    head
}

/// Empty lines before a message are no part of it (RFC 9112, 2.2); the engine takes them off.
fn without_empty_lines(mut bytes: &[u8]) -> &[u8] {
    while let Some(rest) = bytes.strip_prefix(b"\r\n").or_else(|| bytes.strip_prefix(b"\n")) {
        bytes = rest;
    }
    bytes
}

/// Compares; gives whether httparse accepted it.
fn same_request(bytes: &[u8]) -> Result<bool, TestCaseError> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut oracle = httparse::Request::new(&mut headers);
    if !oracle.parse(bytes).is_ok_and(|status| status.is_complete()) {
        return Ok(false);
    }
    let ours = RequestHead::parse(without_empty_lines(bytes));
    prop_assert_eq!(Some(ours.method().into_owned()), oracle.method.map(str::to_owned));
    prop_assert_eq!(Some(ours.target().into_owned()), oracle.path.map(str::to_owned));
    let version = format!("HTTP/1.{}", oracle.version.unwrap_or(9));
    prop_assert_eq!(ours.version().into_owned(), version);
    let fields: Fields =
        ours.headers().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    prop_assert_eq!(fields, theirs(oracle.headers));
    for header in oracle.headers.iter() {
        let first =
            oracle.headers.iter().find(|other| other.name.eq_ignore_ascii_case(header.name));
        let value = first.map(|first| text(first.value.trim_ascii()));
        prop_assert_eq!(ours.header(&header.name.to_uppercase()).map(|v| v.into_owned()), value);
    }
    Ok(true)
}

fn same_response(bytes: &[u8]) -> Result<bool, TestCaseError> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut oracle = httparse::Response::new(&mut headers);
    if !oracle.parse(bytes).is_ok_and(|status| status.is_complete()) {
        return Ok(false);
    }
    let ours = ResponseHead::parse(without_empty_lines(bytes));
    let version = format!("HTTP/1.{}", oracle.version.unwrap_or(9));
    prop_assert_eq!(ours.version().into_owned(), version);
    prop_assert_eq!(ours.status().parse().ok(), oracle.code);
    // httparse gives no reason at all when it is not ASCII.
    if let Some(reason) = oracle.reason.filter(|reason| !reason.is_empty()) {
        prop_assert_eq!(ours.reason().trim().to_owned(), reason.trim());
    }
    let fields: Fields =
        ours.headers().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    prop_assert_eq!(fields, theirs(oracle.headers));
    Ok(true)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn requests_that_httparse_accepts_are_read_alike(head in request(), breakage in breakage()) {
        let accepted = same_request(&broken(head, &breakage))?;
        prop_assert!(accepted || !matches!(breakage, Breakage::None | Breakage::Append(_)));
    }

    #[test]
    fn responses_that_httparse_accepts_are_read_alike(head in response(), breakage in breakage()) {
        let accepted = same_response(&broken(head, &breakage))?;
        prop_assert!(accepted || !matches!(breakage, Breakage::None | Breakage::Append(_)));
    }
}
