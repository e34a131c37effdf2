//! Reads a kept message head for reports: start line and headers, as far as they go.
//!
//! The bytes may be cut or invalid; every accessor answers with what is there.

use memchr::{memchr, memchr_iter};
use std::borrow::Cow;

/// A request head (RFC 9112, 3).
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    method: &'a [u8],
    target: &'a [u8],
    version: &'a [u8],
    fields: &'a [u8],
}

impl<'a> RequestHead<'a> {
    /// A view of `head`, the bytes from the start line on.
    pub fn parse(head: &'a [u8]) -> RequestHead<'a> {
        let (line, fields) = first_line(head);
        let (method, rest) = first_word(line);
        // The target may contain spaces when its sender does not escape them.
        let (target, version) = match rest.iter().rposition(|byte| *byte == b' ') {
            Some(space) if rest[space + 1..].starts_with(b"HTTP/") => {
                (rest[..space].trim_ascii(), &rest[space + 1..])
            }
            _ => (rest, b"".as_slice()),
        };
        RequestHead { method, target, version, fields }
    }

    /// The method; empty when there is none.
    pub fn method(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.method)
    }

    /// The target, as sent.
    pub fn target(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.target)
    }

    /// Method and target as bytes.
    pub fn asked(&self) -> (&'a [u8], &'a [u8]) {
        (self.method, self.target)
    }

    /// `HTTP/1.1`; empty without one.
    pub fn version(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.version)
    }

    /// Value of the first header called `name`, in any case.
    pub fn header(&self, name: &str) -> Option<Cow<'a, str>> {
        self.headers().find(name)
    }

    /// All headers in their order.
    pub fn headers(&self) -> Headers<'a> {
        Headers { rest: self.fields }
    }
}

/// A response head (RFC 9112, 4).
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    version: &'a [u8],
    status: &'a [u8],
    reason: &'a [u8],
    fields: &'a [u8],
}

impl<'a> ResponseHead<'a> {
    /// A view of `head`, the bytes from the status line on.
    pub fn parse(head: &'a [u8]) -> ResponseHead<'a> {
        let (line, fields) = first_line(head);
        let (version, rest) = first_word(line);
        let (status, reason) = first_word(rest);
        ResponseHead { version, status, reason, fields }
    }

    /// `HTTP/1.1`; empty without one.
    pub fn version(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.version)
    }

    /// The status, as sent.
    pub fn status(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.status)
    }

    /// The words behind the status; often empty.
    pub fn reason(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.reason)
    }

    /// Value of the first header called `name`, in any case.
    pub fn header(&self, name: &str) -> Option<Cow<'a, str>> {
        self.headers().find(name)
    }

    /// All headers in their order.
    pub fn headers(&self) -> Headers<'a> {
        Headers { rest: self.fields }
    }
}

/// Headers as name and value, both trimmed. A line without a colon has an empty value; the lines of
/// a folded value come as headers without a name.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    rest: &'a [u8],
}

impl<'a> Headers<'a> {
    /// The same as bytes.
    pub fn raw(mut self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        std::iter::from_fn(move || self.next_line())
    }

    /// The same of those whose names begin with one of these small letters, in any case: quicker where they are few.
    pub fn beginning(self, letters: &[u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let ends = memchr_iter(b'\n', self.rest).chain([self.rest.len()]);
        let mut from = 0;
        let lines = ends.map(move |end| {
            let line = self.rest.get(from..end).unwrap_or_default();
            from = end + 1;
            line
        });
        let lines = lines.take_while(|line| !matches!(line, [] | [b'\r']));
        let wanted = lines.filter(|line| letters.contains(&line[0].to_ascii_lowercase()));
        wanted.filter_map(|line| Headers { rest: line }.next_line())
    }

    fn find(self, name: &str) -> Option<Cow<'a, str>> {
        self.raw()
            .find(|(field, _)| field.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| String::from_utf8_lossy(value))
    }

    fn next_line(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let (line, rest) = first_line(self.rest);
        self.rest = rest;
        match memchr(b':', line) {
            _ if line.is_empty() => None,
            _ if matches!(line[0], b' ' | b'\t') => Some((b"", line.trim_ascii())),
            Some(colon) => Some((line[..colon].trim_ascii(), line[colon + 1..].trim_ascii())),
            None => Some((line.trim_ascii(), b"")),
        }
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (Cow<'a, str>, Cow<'a, str>);

    fn next(&mut self) -> Option<Self::Item> {
        self.next_line()
            .map(|(name, value)| (String::from_utf8_lossy(name), String::from_utf8_lossy(value)))
    }
}

/// The first line without its end, and what follows it.
fn first_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (line, rest) = match memchr_iter(b'\n', bytes).next() {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, b"".as_slice()),
    };
    (line.strip_suffix(b"\r").unwrap_or(line), rest)
}

/// The bytes before the first space, and what follows the spaces.
fn first_word(line: &[u8]) -> (&[u8], &[u8]) {
    match memchr(b' ', line) {
        Some(space) => (&line[..space], line[space..].trim_ascii()),
        None => (line, b""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_head_is_read() {
        let head = RequestHead::parse(
            b"GET /a b?c HTTP/1.1\r\nHost:  example.org \r\nUser-Agent: x\xff\r\nHOST: two\r\n\r\nbody: no",
        );
        assert_eq!(head.method(), "GET");
        assert_eq!(head.target(), "/a b?c");
        assert_eq!(head.version(), "HTTP/1.1");
        assert_eq!(head.header("host").as_deref(), Some("example.org"));
        assert_eq!(head.header("user-agent").as_deref(), Some("x\u{fffd}"));
        assert_eq!(head.header("body"), None);
        let names: Vec<_> = head.headers().map(|(name, _)| name.into_owned()).collect();
        assert_eq!(names, ["Host", "User-Agent", "HOST"]);
    }

    #[test]
    fn a_response_head_is_read() {
        let head = ResponseHead::parse(b"HTTP/1.1 503 Slow Down\nServer: a\nX: b\n c\n\n");
        assert_eq!((head.version(), head.status()), ("HTTP/1.1".into(), "503".into()));
        assert_eq!(head.reason(), "Slow Down");
        assert_eq!(head.header("Server").as_deref(), Some("a"));
        assert_eq!(head.headers().count(), 3);
    }

    #[test]
    fn a_cut_head_gives_what_is_there() {
        let head = RequestHead::parse(b"POST /upl");
        assert_eq!((head.method(), head.target()), ("POST".into(), "/upl".into()));
        assert_eq!(head.version(), "");
        assert_eq!(ResponseHead::parse(b"HTTP/1.1 200").status(), "200");
        assert_eq!(ResponseHead::parse(b"").headers().count(), 0);
    }

    proptest! {
        #[test]
        fn those_that_begin_with_a_letter_are_those_of_all(
            fields in "([xXtTa][a-z-]{0,3}:? ?[a-z]?(\r)?\n| folded\r\n){0,6}((\r)?\n)?[x:\n]{0,4}",
        ) {
            let headers = Headers { rest: fields.as_bytes() };
            let begins = |(name, _): &(&[u8], &[u8])| {
                name.first().is_some_and(|first| b"xt".contains(&first.to_ascii_lowercase()))
            };
            let all: Vec<_> = headers.clone().raw().filter(begins).collect();
            prop_assert_eq!(headers.beginning(b"xt").collect::<Vec<_>>(), all);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, name: String) {
            let request = RequestHead::parse(&bytes);
            let _ = (request.method(), request.target(), request.version(), request.header(&name));
            let response = ResponseHead::parse(&bytes);
            let _ = (response.version(), response.status(), response.reason());
            let _ = response.headers().count();
        }
    }
}
