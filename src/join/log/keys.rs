//! What finds a request again in a log: digests of its ids and of what it asked.

use super::line::Line;
use super::text::{find, path_only};
use crate::http::RequestHead;
use foldhash::fast::FixedState;
use std::hash::{BuildHasher, Hasher};

/// Digests of a request's ids, the most particular first; 0: none. `Self` and `Root` of
/// `X-Amzn-Trace-Id`, an id of the request's own, `traceparent`.
pub(super) type Ids = [u64; 4];

/// Headers by which proxies hand on the id that they log. All that are read here begin with `x`, `t` or `r`.
const REQUEST_IDS: [&str; 4] = ["x-request-id", "x-unique-id", "x-correlation-id", "request-id"];

/// What a digest is of: the same bytes of another kind give another digest.
#[derive(Clone, Copy)]
enum Of {
    SelfOfTrace,
    RootOfTrace,
    Id,
    Asked,
}

/// The same bytes give the same digest in every run.
fn digest(of: Of, one: &[u8], other: &[u8]) -> u64 {
    let mut state = FixedState::with_seed(0x77_68_79_35_30_32).build_hasher();
    state.write_u8(of as u8);
    state.write(one);
    state.write(other);
    // Never 0, which stands for nothing.
    state.finish().max(1)
}

/// What was asked: method and target.
pub(super) fn asked(method: &[u8], target: &[u8]) -> u64 {
    if target.is_empty() { 0 } else { digest(Of::Asked, method, target) }
}

/// The same for those who know the target without its query.
pub(super) fn asked_path(method: &[u8], target: &[u8]) -> u64 {
    without_query(asked(method, path_only(target)))
}

/// Both of these, of a request.
pub(super) fn asked_both(method: &[u8], target: &[u8]) -> (u64, u64) {
    let (whole, path) = (asked(method, target), path_only(target));
    // Most have no query.
    let path = if path.len() == target.len() { whole } else { asked(method, path) };
    (whole, without_query(path))
}

/// Of a path that is known to be one, which is not the same as a target that happens to have no query.
fn without_query(path: u64) -> u64 {
    if path == 0 { 0 } else { path.rotate_left(32).max(1) }
}

/// Digests of a log line: of what was asked (0: not known) and of its ids.
pub(super) fn keys(line: &Line<'_>) -> (u64, Ids) {
    let digest = if line.without_query { asked_path } else { asked };
    (digest(&line.method, &line.path), ids(&line.trace, &line.request_id))
}

/// Digests of what a log has of ids.
fn ids(trace: &[u8], request_id: &[u8]) -> Ids {
    let mut ids = [0; 4];
    trace_ids(trace, &mut ids);
    if !request_id.is_empty() {
        let which = if is_traceparent(request_id) { 3 } else { 2 };
        ids[which] = digest(Of::Id, request_id, b"");
    }
    ids
}

/// Digests of what a request's head has of ids.
pub(super) fn ids_of(head: &RequestHead<'_>) -> Ids {
    let mut ids = [0; 4];
    for (name, value) in head.headers().beginning(b"xtr") {
        // The shortest and the longest of the names.
        if !(10..=16).contains(&name.len()) || value.is_empty() {
            continue;
        }
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        if is("x-amzn-trace-id") {
            trace_ids(value, &mut ids);
        } else if is("traceparent") {
            ids[3] = digest(Of::Id, value, b"");
        } else if ids[2] == 0 && REQUEST_IDS.iter().any(|name| is(name)) {
            ids[2] = digest(Of::Id, value, b"");
        }
    }
    ids
}

/// `Self=1-...;Root=1-...;custom=...`
fn trace_ids(trace: &[u8], ids: &mut Ids) {
    let mut rest = trace;
    while !rest.is_empty() {
        let (part, after) = rest.split_at(find(b';', rest).unwrap_or(rest.len()));
        rest = after.get(1..).unwrap_or_default();
        let Some((name, value)) = part.trim_ascii().split_first_chunk() else { continue };
        let (which, of) = match &name.map(|byte: u8| byte.to_ascii_lowercase()) {
            b"self=" => (0, Of::SelfOfTrace),
            b"root=" => (1, Of::RootOfTrace),
            _ => continue,
        };
        if !value.is_empty() {
            ids[which] = digest(of, value, b"");
        }
    }
}

/// `00-<32 hex>-<16 hex>-<2 hex>` (W3C Trace Context, 3.2).
fn is_traceparent(id: &[u8]) -> bool {
    id.len() == 55 && id[2] == b'-' && id[35] == b'-' && id[52] == b'-'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_and_a_request_give_the_same_digests() {
        let head = RequestHead::parse(
            b"GET /a?b HTTP/1.1\r\nHost: a\r\nX-AMZN-Trace-Id: Self=1-67-12;Root=1-67-34\r\nX-Request-ID: q\r\n\
              traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n",
        );
        let seen = ids_of(&head);
        let logged = ids(b"Root=1-67-34;Self=1-67-12;custom=x", b"q");
        assert_eq!(seen[..3], logged[..3]);
        assert_eq!(
            ids(b"", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")[3],
            seen[3]
        );
        assert_ne!(seen[0], seen[1]);
        assert_eq!(ids(b"-", b""), [0; 4]);
    }

    #[test]
    fn methods_and_queries_matter() {
        assert_ne!(asked(b"GET", b"/a?b"), asked(b"PUT", b"/a?b"));
        assert_ne!(asked(b"GET", b"/a?b"), asked(b"GET", b"/a?c"));
        assert_eq!(asked_path(b"GET", b"/a?b"), asked_path(b"GET", b"/a"));
        assert_eq!(asked(b"GET", b""), 0);
        for target in [&b"/a?b"[..], b"/a", b"", b"?"] {
            let both = (asked(b"GET", target), asked_path(b"GET", target));
            assert_eq!(asked_both(b"GET", target), both);
            assert!(both.0 != both.1 || target.is_empty());
        }
    }
}
