//! What one log line says, borrowed from it.

use super::text::{self, endpoint, host, is_none, milliseconds, seconds, status};
use super::time::{self, Moment};
use crate::packet::Endpoint;
use crate::time::Timestamp;
use smallvec::SmallVec;
use std::borrow::Cow;

/// Attempts at targets that are kept of one line; a proxy that retries more often is not known.
pub(super) const ATTEMPTS_MAX: usize = 16;

/// A request that was sent to a target, or a connection that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The target; `None` where the log names none, or not by its address.
    pub target: Option<Endpoint>,
    /// What the target answered; `None` when it did not.
    pub status: Option<u16>,
}

/// The connections that a proxy tried for a request, where its log counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tries {
    /// When it tried the first.
    pub from: Timestamp,
    /// When one was made, or it gave up.
    pub until: Timestamp,
    /// How many failed at most; a request that was sent once more counts as well.
    pub failed: u16,
    /// How long after one failed try the next one began, nanoseconds.
    pub step: i64,
}

/// The attempts of a line; most have one.
pub type Attempts = SmallVec<[Attempt; 1]>;

/// What a log line says.
#[derive(Debug, Default)]
pub struct Line<'a> {
    /// When the proxy had the request.
    pub began: Option<Timestamp>,
    /// When it was sent to the (first) target.
    pub sent: Option<Timestamp>,
    /// When the proxy was done with it.
    pub ended: Option<Timestamp>,
    /// From the first to the last, nanoseconds, where the log says that instead.
    pub duration: Option<i64>,
    /// How much later these may really have been, nanoseconds.
    pub resolution: i64,
    /// Who asked; port 0 where the log does not have it.
    pub client: Option<Endpoint>,
    /// The proxy's own address.
    pub node: Option<Endpoint>,
    /// Address and port from which the proxy connected to the target.
    pub local: Option<Endpoint>,
    /// Where it was sent, in order.
    pub attempts: Attempts,
    /// The connections to targets that it counts.
    pub tries: Option<Tries>,
    /// Group and name of its last target, where the log names that so.
    pub server: Option<(&'a [u8], &'a [u8])>,
    /// The log says that it was sent to no target at all.
    pub undispatched: bool,
    /// Status given to the client; 0 where the log says that none was.
    pub status: Option<u16>,
    /// Method; empty when unknown.
    pub method: Cow<'a, [u8]>,
    /// Target of the request in origin form; empty when unknown.
    pub path: Cow<'a, [u8]>,
    /// `path` lacks the query.
    pub without_query: bool,
    /// Value of `X-Amzn-Trace-Id`.
    pub trace: Cow<'a, [u8]>,
    /// Another id of the request that its headers carry as well.
    pub request_id: Cow<'a, [u8]>,
    /// The line tells of a failure.
    pub failed: bool,
    /// The cause that only a log can tell, if the line does: its id.
    pub own_cause: Option<&'static str>,
    /// The fields that matter for a failure, under the names that the log's documentation gives them.
    pub said: Vec<(&'static str, Cow<'a, [u8]>)>,
}

/// What a field of a log with named fields means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// Of no use here.
    Other,
    Began,
    Ended,
    /// Seconds from `began` to `ended`.
    Duration,
    DurationMs,
    DurationUs,
    Client,
    /// `X-Forwarded-For` as the proxy sends it on: its own client comes last.
    ForwardedFor,
    ClientPort,
    Node,
    Local,
    /// One or several, separated by `, ` or ` : `.
    Targets,
    TargetStatuses,
    Status,
    Request,
    Method,
    Path,
    PathOnly,
    Query,
    Trace,
    RequestId,
    /// What went wrong: response flags and details.
    Words(&'static str),
}

impl Field {
    /// Whether its value may hold spaces that separate list members.
    pub(super) fn is_list(self) -> bool {
        matches!(self, Field::Targets | Field::TargetStatuses)
    }
}

impl<'a> Line<'a> {
    /// Takes in the value of a field. `false` when it cannot be one.
    pub(super) fn take(&mut self, field: Field, value: Cow<'a, [u8]>) -> bool {
        if is_none(&value) {
            return true;
        }
        match field {
            Field::Other => {}
            Field::Began | Field::Ended => {
                let Some(Moment { at, resolution }) = time::any(&value) else { return false };
                let which = if field == Field::Began { &mut self.began } else { &mut self.ended };
                // The most exact of several.
                if which.is_none() || resolution < self.resolution {
                    *which = Some(at);
                    self.resolution = resolution;
                }
            }
            Field::Duration | Field::DurationMs | Field::DurationUs => {
                let nanos = match field {
                    Field::Duration => seconds(&value),
                    Field::DurationMs => milliseconds(&value),
                    _ => milliseconds(&value).map(|nanos| nanos / 1_000),
                };
                self.duration = nanos.or(self.duration);
            }
            Field::Client => {
                let port = self.client.map_or(0, |client| client.port);
                let client = endpoint(&value).or_else(|| host(&value));
                self.client = client
                    .map(|it| Endpoint { port: if it.port == 0 { port } else { it.port }, ..it });
            }
            Field::ForwardedFor => {
                let last = members(&value).last().and_then(host);
                self.client = self.client.or(last);
            }
            Field::ClientPort => {
                let port = text::number(&value).and_then(|port| u16::try_from(port).ok());
                self.client =
                    Some(Endpoint { port: port.unwrap_or(0), ..self.client.unwrap_or_default() });
            }
            Field::Node => self.node = host(&value).or_else(|| endpoint(&value)),
            Field::Local => self.local = endpoint(&value),
            Field::Targets => {
                for (n, target) in members(&value).enumerate() {
                    self.attempt(n, |attempt| attempt.target = endpoint(target));
                }
            }
            Field::TargetStatuses => {
                for (n, code) in members(&value).enumerate() {
                    self.attempt(n, |attempt| attempt.status = status(code).filter(|it| *it > 0));
                }
            }
            Field::Status => match status(&value) {
                Some(code) => self.status = Some(code),
                None => return false,
            },
            Field::Request => self.request(value),
            Field::Method => self.method = value,
            Field::Path | Field::PathOnly => {
                self.without_query = field == Field::PathOnly && !value.contains(&b'?');
                self.path = in_origin_form(value);
            }
            Field::Query => {
                let mut path = std::mem::take(&mut self.path).into_owned();
                if !path.is_empty() {
                    path.push(b'?');
                    path.extend_from_slice(value.strip_prefix(b"?").unwrap_or(&value));
                    self.without_query = false;
                    self.path = Cow::Owned(path);
                }
            }
            Field::Trace => self.trace = value,
            Field::RequestId => self.request_id = value,
            Field::Words(name) => self.said.push((name, value)),
        }
        true
    }

    /// Takes in a request line.
    pub(super) fn request(&mut self, line: Cow<'a, [u8]>) {
        match unescaped(line) {
            Cow::Borrowed(line) => {
                let (method, target) = text::request_line(line);
                self.method = method.into();
                self.path = text::origin_form(target).into();
            }
            Cow::Owned(line) => {
                let (method, target) = text::request_line(&line);
                self.method = method.to_vec().into();
                self.path = text::origin_form(target).to_vec().into();
            }
        }
    }

    fn attempt(&mut self, n: usize, with: impl FnOnce(&mut Attempt)) {
        if n < ATTEMPTS_MAX {
            while self.attempts.len() <= n {
                self.attempts.push(Attempt { target: None, status: None });
            }
            with(&mut self.attempts[n]);
        }
    }

    /// All fields of a log with named fields are in: what follows from them.
    pub(super) fn complete(&mut self) {
        if let Some(duration) = self.duration {
            match (self.began, self.ended) {
                (Some(began), None) => self.ended = Some(began.after(duration)),
                (None, Some(ended)) => self.began = Some(ended.after(-duration)),
                _ => {}
            }
        }
        self.failed |= self.status.is_some_and(is_failure);
    }

    /// Says that there is a field that matters.
    pub(super) fn says(&mut self, name: &'static str, value: impl Into<Cow<'a, [u8]>>) {
        let value = value.into();
        self.said.push((name, if value.is_empty() { Cow::Borrowed(b"-") } else { value }));
    }

    /// Whether anything ties it to a request or a connection.
    pub(super) fn is_useful(&self) -> bool {
        self.began.or(self.ended).is_some()
    }
}

/// Statuses that tell of a failure behind the proxy or on the way to its client: 5xx, 000 where none was
/// sent, nginx's and Azure's 499, the 460 of an Application Load Balancer, 408.
pub(super) fn is_failure(status: u16) -> bool {
    status >= 500 || matches!(status, 0 | 9 | 408 | 460 | 499)
}

/// Unescapes what is still as the log has it.
fn unescaped(value: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    match value {
        Cow::Borrowed(value) => text::unescape(value),
        Cow::Owned(value) => Cow::Owned(text::unescape(&value).into_owned()),
    }
}

fn in_origin_form(value: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    match unescaped(value) {
        Cow::Borrowed(target) => text::origin_form(target).into(),
        Cow::Owned(target) => text::origin_form(&target).to_vec().into(),
    }
}

/// The members of a list that nginx writes with `, ` and, after an internal redirect, ` : `; of one
/// that load balancers write with spaces.
fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| matches!(byte, b',' | b' ')).filter(|member| !matches!(*member, b"" | b":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_gives_the_other_end() {
        let mut line = Line::default();
        assert!(line.take(Field::Duration, b"0.250"[..].into()));
        assert!(line.take(Field::Ended, b"1795257333.750"[..].into()));
        line.complete();
        assert_eq!(line.began, Some(Timestamp(1_795_257_333_500_000_000)));
        assert_eq!((line.sent, line.resolution), (None, 1_000_000));
    }

    #[test]
    fn attempts_are_addresses_with_statuses() {
        let mut line = Line::default();
        line.take(Field::Targets, b"10.0.0.1:80, 10.0.0.2:80 : unix:/a"[..].into());
        line.take(Field::TargetStatuses, b"502, 200 : -"[..].into());
        let ports: Vec<_> =
            line.attempts.iter().map(|it| (it.target.map(|it| it.ip[15]), it.status)).collect();
        assert_eq!(ports, [(Some(1), Some(502)), (Some(2), Some(200)), (None, None)]);
        line.take(Field::Targets, vec![b','; 1 << 16].into());
        line.take(Field::TargetStatuses, b"1 ".repeat(1 << 10).into());
        assert_eq!(line.attempts.len(), ATTEMPTS_MAX);
    }

    #[test]
    fn address_and_port_may_come_in_any_order() {
        for fields in [
            [(Field::Client, "10.0.0.9"), (Field::ClientPort, "81")],
            [(Field::ClientPort, "81"), (Field::Client, "10.0.0.9")],
        ] {
            let mut line = Line::default();
            for (field, value) in fields {
                assert!(line.take(field, value.as_bytes().into()));
            }
            assert_eq!(line.client, Some(Endpoint::v4([10, 0, 0, 9], 81)));
        }
    }

    #[test]
    fn a_status_that_is_none_makes_a_line_bad() {
        assert!(!Line::default().take(Field::Status, b"two"[..].into()));
        assert!(!Line::default().take(Field::Ended, b"noon"[..].into()));
        assert!(Line::default().take(Field::Status, b"-"[..].into()));
    }
}
