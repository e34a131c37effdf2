//! nginx's error log: what it says of upstreams and of clients.
//!
//! ```text
//! 2026/11/21 10:35:40 [error] 20#20: *2 connect() failed (111: Connection refused) while connecting to upstream,
//!   client: 203.0.113.7, server: shop, request: "GET / HTTP/1.1", upstream: "http://10.0.0.9:80/", host: "shop"
//! ```

use super::line::{Attempt, Line};
use super::text::{endpoint, host, unescape};
use super::time::nginx_error;
use memchr::memmem::find;
use std::borrow::Cow;

const LEVELS: [&[u8]; 8] =
    [b"debug", b"info", b"notice", b"warn", b"error", b"crit", b"alert", b"emerg"];

/// An entry. Those that speak of no request are read and tell nothing.
pub(super) fn error(text: &[u8]) -> Option<Line<'_>> {
    let time = nginx_error(text.get(..19)?)?;
    let rest = text[19..].strip_prefix(b" [")?;
    let close = find(rest, b"] ")?;
    if !LEVELS.contains(&&rest[..close]) {
        return None;
    }
    let rest = &rest[close + 2..];
    let message = &rest[find(rest, b": ")? + 2..];
    // The number of nginx's connection.
    let message = match message.strip_prefix(b"*") {
        Some(numbered) => &numbered[numbered.iter().position(|byte| *byte == b' ')? + 1..],
        None => message,
    };
    let (event, facts) = match find(message, b", client: ") {
        Some(end) => (&message[..end], &message[end..]),
        None => (message, &b""[..]),
    };
    let mut line = Line {
        began: Some(time.at),
        ended: Some(time.at),
        resolution: time.resolution,
        client: fact(facts, b", client: ", b",").and_then(|it| host(it).or_else(|| endpoint(it))),
        ..Line::default()
    };
    if let Some(request) = fact(facts, b", request: \"", b"\"") {
        line.request(unescape(request));
    }
    let upstream = fact(facts, b", upstream: \"", b"\"");
    if let Some(upstream) = upstream {
        let target = authority(upstream).and_then(endpoint);
        line.undispatched = target.is_none() && !upstream.windows(5).any(|it| it == b"unix:");
        if !line.undispatched {
            line.attempts.push(Attempt { target, status: None });
        }
    }
    line.own_cause = own_cause(event);
    // Errors of their own come before these.
    let remarks: [&[u8]; 2] = [b"buffered to a temporary", b"server temporarily disabled"];
    let upstream_failed =
        upstream.is_some() && remarks.iter().all(|remark| find(event, remark).is_none());
    line.failed = line.own_cause.is_some() || upstream_failed;
    if line.failed {
        line.says("error", event);
        if let Some(upstream) = upstream {
            line.says("upstream", upstream);
        }
    }
    Some(line)
}

fn fact<'a>(facts: &'a [u8], name: &[u8], end: &[u8]) -> Option<&'a [u8]> {
    let value = &facts[find(facts, name)? + name.len()..];
    Some(&value[..find(value, end).unwrap_or(value.len())])
}

/// `10.0.0.9:80` of `http://10.0.0.9:80/path`.
fn authority(upstream: &[u8]) -> Option<&[u8]> {
    let rest = &upstream[find(upstream, b"://")? + 3..];
    Some(&rest[..rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len())])
}

/// `/path?a` of `http://10.0.0.9:80/path?a`; `None` where nginx names no address.
pub(super) fn target_of(upstream: &[u8]) -> Option<Cow<'_, [u8]>> {
    endpoint(authority(upstream)?)?;
    let rest = &upstream[find(upstream, b"://")? + 3..];
    let from = rest.iter().position(|byte| *byte == b'/')?;
    Some(unescape(&rest[from..]))
}

/// The cause that only nginx knows: its id.
pub(super) fn own_cause(event: &[u8]) -> Option<&'static str> {
    let says = |words: &str| find(event, words.as_bytes()).is_some();
    if says("no live upstreams") {
        Some("lb-no-target")
    } else if says("(99: ") && says("upstream") {
        Some("local-port-exhaustion")
    } else if says("worker_connections are not enough")
        || says("limiting requests, excess")
        || says("limiting connections by zone")
    {
        Some("lb-overload")
    } else if says("access forbidden by rule") || says("intended to send too large body") {
        Some("lb-policy")
    } else if says("client timed out") {
        Some("client-request-timeout")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Endpoint;

    #[test]
    fn a_refused_connection() {
        let text = b"2026/11/21 10:35:40 [error] 20#20: *2 connect() failed (111: Connection refused) while \
            connecting to upstream, client: 127.0.0.1, server: , request: \"GET /a HTTP/1.1\", upstream: \
            \"http://198.51.100.20:8080/a\", host: \"shop.example\"";
        let line = error(text).unwrap();
        assert_eq!(line.attempts[0].target, Some(Endpoint::v4([198, 51, 100, 20], 8080)));
        assert_eq!((&*line.path, line.failed, line.own_cause), (&b"/a"[..], true, None));
        assert!(line.said[0].1.starts_with(b"connect() failed (111"));
    }

    #[test]
    fn what_only_nginx_knows() {
        for (event, upstream, wanted) in [
            (
                "no live upstreams while connecting to upstream",
                "http://backend/a",
                Some("lb-no-target"),
            ),
            (
                "connect() to 10.0.0.9:80 failed (99: Cannot assign requested address) while connecting to upstream",
                "http://10.0.0.9:80/a",
                Some("local-port-exhaustion"),
            ),
            (
                "upstream prematurely closed connection while reading response header from upstream",
                "http://10.0.0.9:80/a",
                None,
            ),
        ] {
            let text = format!(
                "2026/11/21 10:35:40 [error] 20#20: *2 {event}, client: 127.0.0.1, server: , \
                 request: \"GET /a HTTP/1.1\", upstream: \"{upstream}\", host: \"shop\""
            );
            let line = error(text.as_bytes()).unwrap();
            assert_eq!((line.own_cause, line.failed), (wanted, true), "{event}");
            assert_eq!(line.undispatched, upstream.contains("backend"));
        }
    }

    #[test]
    fn notices_are_read_and_tell_nothing() {
        let line = error(b"2026/11/21 10:35:40 [notice] 20#20: start worker processes").unwrap();
        assert!(!line.failed && line.path.is_empty());
        for bad in [
            "",
            "2026/11/21 10:35:40",
            "2026/11/21 10:35:40 [odd] 1#1: x",
            "2026/11/99 10:35:40 [error] 1#1: *1 x",
        ] {
            assert!(error(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
