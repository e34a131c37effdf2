//! What a report says of a request, read from the bytes of its head that were kept.
//!
//! Reads whatever is there: a head may be cut or hold any bytes.

use std::borrow::Cow;

/// The parts of a request's head that find it again in a log.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Head<'a> {
    pub(super) method: Option<Cow<'a, str>>,
    pub(super) target: Option<Cow<'a, str>>,
    pub(super) host: Option<Cow<'a, str>>,
    pub(super) user_agent: Option<Cow<'a, str>>,
    pub(super) trace_id: Option<Cow<'a, str>>,
}

/// Headers that carry the id under which a log knows the request, the best first.
const TRACE_HEADERS: [&str; 3] = ["x-amzn-trace-id", "x-request-id", "traceparent"];

/// Reads a head. The last line counts only when its end was kept.
pub(super) fn read(head: &[u8]) -> Head<'_> {
    let mut lines = head
        .split_inclusive(|byte| *byte == b'\n')
        .skip_while(|line| line.trim_ascii().is_empty())
        .filter_map(|line| line.strip_suffix(b"\n"));
    let Some(first) = lines.next() else { return Head::default() };
    let mut words = first.trim_ascii().splitn(3, |byte| *byte == b' ');
    let mut found =
        Head { method: words.next().map(text), target: words.next().map(text), ..Head::default() };
    let mut trace_rank = TRACE_HEADERS.len();
    for line in lines.take_while(|line| !line.trim_ascii().is_empty()) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"host") {
            found.host.get_or_insert_with(|| text(value));
        } else if name.eq_ignore_ascii_case(b"user-agent") {
            found.user_agent.get_or_insert_with(|| text(value));
        } else if let Some(rank) =
            TRACE_HEADERS.iter().position(|header| name.eq_ignore_ascii_case(header.as_bytes()))
            && rank < trace_rank
        {
            trace_rank = rank;
            found.trace_id = Some(text(value));
        }
    }
    found
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_case_insensitive_and_the_first_value_counts() {
        let head = read(
            b"POST /a?b=1 HTTP/1.1\r\nHOST:  one \r\nhost: two\r\nUser-agent: x\r\n\r\nHost: body",
        );
        assert_eq!(head.method.as_deref(), Some("POST"));
        assert_eq!(head.target.as_deref(), Some("/a?b=1"));
        assert_eq!(head.host.as_deref(), Some("one"));
        assert_eq!(head.user_agent.as_deref(), Some("x"));
        assert_eq!(head.trace_id, None);
    }

    #[test]
    fn the_load_balancers_own_trace_id_wins() {
        let head = read(b"GET / HTTP/1.1\r\ntraceparent: c\r\nX-Request-Id: b\r\nX-Amzn-Trace-Id: a\r\nx-request-id: d\r\n\r\n");
        assert_eq!(head.trace_id.as_deref(), Some("a"));
    }

    #[test]
    fn a_cut_head_gives_what_is_whole() {
        let head = read(b"GET /x HTTP/1.1\r\nHost: a\r\nUser-Agent: half");
        assert_eq!((head.host.as_deref(), head.user_agent), (Some("a"), None));
        assert_eq!(read(b"GET /ha"), Head::default());
        assert_eq!(read(b"\r\n\r\n"), Head::default());
    }

    #[test]
    fn any_bytes_are_read() {
        let head = read(b"\xff\xfe /\x00\n:\nno colon\nhost:\n");
        assert_eq!(head.method.as_deref(), Some("\u{fffd}\u{fffd}"));
        assert_eq!(head.host.as_deref(), Some(""));
    }
}
