//! What a report says of a request, read from the bytes of its head that were kept.
//!
//! Reads whatever is there: a head may be cut or hold any bytes.

use crate::http::RequestHead;
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

/// Reads a head as far as it goes.
pub(super) fn read(head: &[u8]) -> Head<'_> {
    let head = RequestHead::parse(head);
    Head {
        method: Some(head.method()).filter(|text| !text.is_empty()),
        target: Some(head.target()).filter(|text| !text.is_empty()),
        host: head.header("host"),
        user_agent: head.header("user-agent"),
        trace_id: TRACE_HEADERS.iter().find_map(|name| head.header(name)),
    }
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
    fn what_is_not_there_is_not_known() {
        assert_eq!(read(b""), Head::default());
        assert_eq!(read(b"GET /ha").host, None);
    }
}
