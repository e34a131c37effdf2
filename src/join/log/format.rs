//! Logs whose form the user gives: an nginx `log_format` with `$variables`, an Envoy text format with
//! `%OPERATORS%`, a `log-format` of HAProxy, or a `LogFormat` of Apache.

use super::apache_format;
use super::haproxy_format::Layout;
use super::line::{Field, Line};
use super::names::field;
use super::text::{endpoint, is_none};
use memchr::memmem;
use std::borrow::Cow;

/// Why a format cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Nothing in it tells one request from another.
    #[error(
        "the log format '{0}' names no time; it needs $time_local, $time_iso8601, $msec, %t or %START_TIME%"
    )]
    NoTime(String),
    /// Nothing stands between two values.
    #[error("in the log format, nothing separates ${0} from ${1}")]
    Adjacent(String, String),
}

/// A form of lines: literal text and fields in turn.
#[derive(Clone, Debug)]
pub struct Format {
    parts: Vec<Part>,
    /// Of HAProxy; then there are no parts.
    haproxy: Option<Layout>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Literal(Vec<u8>),
    Value(Field),
}

impl Format {
    /// Reads a format as it stands in the proxy's configuration.
    pub fn new(text: &str) -> Result<Format, FormatError> {
        let mut parts = Vec::new();
        let haproxy = Layout::new(text);
        if haproxy.is_some() {
            return Ok(Format { parts, haproxy });
        }
        let apache = apache_format::in_variables(text);
        let mut names: Vec<String> = Vec::new();
        let mut literal = String::new();
        let mut rest = apache.as_deref().unwrap_or(text);
        while !rest.is_empty() {
            let Some((name, after)) = variable(rest) else {
                let first = rest.chars().next().map_or(1, char::len_utf8);
                literal.push_str(&rest[..first]);
                rest = &rest[first..];
                continue;
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal).into_bytes()));
            } else if let (Some(Part::Value(_)), Some(before)) = (parts.last(), names.last()) {
                return Err(FormatError::Adjacent(before.clone(), name.to_owned()));
            }
            parts.push(Part::Value(field(operator(name))));
            names.push(name.to_owned());
            rest = after;
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.into_bytes()));
        }
        let timed = |part: &Part| matches!(part, Part::Value(Field::Began | Field::Ended));
        if !parts.iter().any(timed) {
            return Err(FormatError::NoTime(text.to_owned()));
        }
        Ok(Format { parts, haproxy })
    }

    /// What a line of this form says.
    pub(super) fn read<'a>(&self, text: &'a [u8]) -> Option<Line<'a>> {
        if let Some(layout) = &self.haproxy {
            return layout.read(text);
        }
        let mut line = Line::default();
        let mut rest = text;
        let mut parts = self.parts.iter().peekable();
        let (mut unsent, mut named) = (false, false);
        while let Some(part) = parts.next() {
            match part {
                Part::Literal(literal) => rest = rest.strip_prefix(literal.as_slice())?,
                Part::Value(field) => {
                    let end = match parts.peek() {
                        Some(Part::Literal(literal)) => end_of(rest, literal, *field)?,
                        _ => rest.len(),
                    };
                    let (value, after) = rest.split_at(end);
                    unsent |= *field == Field::Targets && is_undispatched(value);
                    named |= *field == Field::Targets && is_only_a_name(value);
                    if !line.take(*field, Cow::Borrowed(value)) {
                        return None;
                    }
                    rest = after;
                }
            }
        }
        line.undispatched = unsent && line.attempts.iter().all(|it| it.target.is_none());
        line.complete();
        no_live_upstream(&mut line, named);
        proxy_words(&mut line);
        line.is_useful().then_some(line)
    }
}

/// What the name of an upstream, in place of an address, says: nginx had no server to try.
fn is_undispatched(targets: &[u8]) -> bool {
    is_none(targets) || is_only_a_name(targets)
}

/// Whether this is the name of an upstream in place of an address.
pub(super) fn is_only_a_name(targets: &[u8]) -> bool {
    !is_none(targets) && endpoint(targets).is_none() && !targets.contains(&b':')
}

/// nginx names the upstream itself when it had no server to try, and answers 502.
pub(super) fn no_live_upstream(line: &mut Line<'_>, named: bool) {
    if named && line.undispatched && line.status == Some(502) {
        line.own_cause = Some("lb-no-target");
    }
}

/// A variable at the start of `text`, and what follows it.
fn variable(text: &str) -> Option<(&str, &str)> {
    if let Some(after) = text.strip_prefix("${") {
        return after.split_once('}');
    }
    if let Some(after) = text.strip_prefix('$') {
        let word = |it: char| it.is_ascii_alphanumeric() || it == '_';
        let end = after.find(|it| !word(it)).unwrap_or(after.len());
        return (end > 0).then(|| after.split_at(end));
    }
    let after = text.strip_prefix('%')?;
    let (name, after) = after.split_once('%')?;
    name.starts_with(|it: char| it.is_ascii_uppercase()).then_some((name, after))
}

/// An operator without its format and its longest length: `START_TIME(%s.%3f)`, `REQ(X):10`.
fn operator(name: &str) -> &str {
    match name.split_once('(') {
        Some((time @ "START_TIME", _)) => time,
        Some(_) => &name[..name.rfind(')').map_or(name.len(), |end| end + 1)],
        None => name,
    }
}

/// Where a value ends: before the next literal text, but not inside a list.
fn end_of(text: &[u8], literal: &[u8], field: Field) -> Option<usize> {
    memmem::find_iter(text, literal).find(|at| {
        let (before, after) = text.split_at(*at);
        let inside = before.ends_with(b",") || before.ends_with(b" :") || after.starts_with(b" : ");
        !(field.is_list() && inside)
    })
}

/// What nginx's statuses say without an error log, and Envoy's flags.
pub(super) fn proxy_words(line: &mut Line<'_>) {
    let flags = line.said.iter().find(|(name, _)| *name == "response_flags");
    if let Some((_, flags)) = flags {
        line.own_cause = super::envoy::own_cause(flags, !line.attempts.is_empty());
        line.failed |= super::envoy::tells_of_failure(flags, line.status);
    }
    if line.failed && line.undispatched && line.own_cause.is_none() {
        line.own_cause = match line.status {
            Some(408) => Some("client-request-timeout"),
            _ => None,
        };
    }
    if !line.failed {
        line.said.clear();
        return;
    }
    let mut said = Vec::new();
    if let Some(status) = line.status {
        said.push(("status", Cow::Owned(status.to_string().into_bytes())));
    }
    for attempt in &line.attempts {
        let target = attempt.target.map_or_else(|| "-".into(), |it| it.socket().to_string());
        let status = attempt.status.map_or_else(|| "-".into(), |it| it.to_string());
        said.push(("upstream", Cow::Owned(format!("{target} {status}").into_bytes())));
    }
    said.append(&mut line.said);
    line.said = said;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Endpoint;
    use crate::time::Timestamp;

    #[test]
    fn an_nginx_format_with_retries() {
        let format = Format::new(
            "$msec $remote_addr:$remote_port $status up=$upstream_addr $upstream_status \
             time=${request_time} \"$request\"",
        )
        .unwrap();
        let text = b"1795257340.565 203.0.113.7:53456 200 up=10.0.0.1:80, 10.0.0.2:80 502, 200 \
            time=0.065 \"GET /a?b=\\x22 HTTP/1.1\"";
        let line = format.read(text).unwrap();
        assert_eq!(line.client, Some(Endpoint::v4([203, 0, 113, 7], 53_456)));
        assert_eq!(line.began, Some(Timestamp(1_795_257_340_500_000_000)));
        assert_eq!(line.attempts.len(), 2);
        assert_eq!(line.attempts[0].status, Some(502));
        assert_eq!((&*line.path, line.failed), (&b"/a?b=\""[..], false));
        assert!(format.read(b"1795257340.565 203.0.113.7:53456 OK up=- - time=- \"\"").is_none());
        assert!(format.read(b"1795257340.565 203.0").is_none());
    }

    #[test]
    fn an_upstream_that_is_only_a_name_was_never_asked() {
        let format =
            Format::new("$time_iso8601 $status $upstream_addr $upstream_status $request").unwrap();
        let line =
            format.read(b"2026-11-21T10:35:40+00:00 502 backend 502 GET / HTTP/1.1").unwrap();
        assert!(line.undispatched && line.failed);
        let line =
            format.read(b"2026-11-21T10:35:40+00:00 502 10.0.0.1:80 502 GET / HTTP/1.1").unwrap();
        assert!(!line.undispatched);
    }

    #[test]
    fn an_envoy_format() {
        let format = Format::new(
            "%START_TIME% %RESPONSE_CODE% %RESPONSE_FLAGS% %REQ(X-REQUEST-ID):36% %REQ(:METHOD)% %REQ(:PATH)%",
        )
        .unwrap();
        let line = format.read(b"2026-11-21T10:35:40.565Z 503 UF abc GET /x").unwrap();
        assert_eq!((line.status, line.failed), (Some(503), true));
        assert_eq!((&*line.path, &*line.request_id), (&b"/x"[..], &b"abc"[..]));
        assert_eq!(line.said[1], ("response_flags", b"UF"[..].into()));
    }

    #[test]
    fn formats_that_cannot_work_are_refused() {
        assert!(matches!(Format::new("$remote_addr $status"), Err(FormatError::NoTime(_))));
        assert!(matches!(Format::new("$msec$status"), Err(FormatError::Adjacent(..))));
    }
}
