//! The first five questions about a target whose checks fail, each with the packet that answers it.

use super::outcome::Outcome;
use super::target::{Answer, Check, Point, Target};
use super::traffic::{Opened, Seen, Traffic};
use crate::flow::Vantage;
use crate::packet::Endpoint;
use crate::time::Mark;

/// What the questions are answered from.
struct Scene<'a> {
    target: &'a Target,
    /// Newest check of the probers that decide.
    last: Option<&'a Check>,
    /// Newest connection of anybody to the checked port.
    seen: Option<&'a Seen>,
    port: u16,
    vantage: Vantage,
}

/// Answers the questions for `target`, checked at `port`.
pub(super) fn triage(target: &Target, port: u16, traffic: &Traffic) -> Vec<Point> {
    let last = target
        .deciding()
        .filter_map(|prober| prober.checks.iter().rev().find(|check| check.outcome.is_some()))
        .max_by_key(|check| check.began);
    let checked = Endpoint { port, ..target.server };
    let seen = traffic.to(checked).max_by_key(|seen| seen.first.at);
    let vantage = last.map_or_else(|| traffic.vantage(checked), |check| check.vantage);
    let scene = Scene { target, last, seen, port, vantage };
    vec![scene.app(traffic), scene.port(), scene.path(), scene.ingress(), scene.egress()]
}

type Found = (Answer, String, Option<Mark>);

fn point(id: &'static str, question: &'static str, (answer, why, mark): Found) -> Point {
    Point { id, question, answer, why, mark }
}

fn unseen(why: &str) -> Found {
    (Answer::Unseen, why.to_owned(), None)
}

impl Scene<'_> {
    fn unanswered(&self) -> bool {
        self.seen.is_some_and(|seen| seen.opened == Opened::Unanswered)
    }

    fn outcome(&self) -> Option<Outcome> {
        self.last.and_then(|check| check.outcome)
    }

    fn app(&self, traffic: &Traffic) -> Point {
        let answered = traffic
            .to(self.target.server)
            .filter(|seen| seen.responses > 0)
            .max_by_key(|seen| seen.last.at);
        let found = match (self.last, self.outcome()) {
            (Some(check), Some(_)) if check.status.is_some() => {
                let status = check.status.unwrap_or_default();
                let text = match check.outcome {
                    Some(Outcome::Timeout) => format!("it answers {status}, but too late"),
                    _ => format!("it answers {status}"),
                };
                let no = status >= 500;
                let why =
                    if no { format!("{text}: it says itself that it is not well") } else { text };
                (if no { Answer::No } else { Answer::Yes }, why, Some(check.decisive))
            }
            (Some(check), Some(Outcome::Refused)) => {
                (Answer::No, "the connection is refused".into(), Some(check.decisive))
            }
            (Some(check), Some(Outcome::Timeout | Outcome::TlsTimeout)) => (
                Answer::No,
                "the host accepts the connection, and the program does not answer".into(),
                Some(check.decisive),
            ),
            (Some(check), Some(Outcome::Closed)) => {
                (Answer::No, "it closes instead of answering".into(), Some(check.decisive))
            }
            (Some(check), Some(Outcome::Malformed)) => {
                (Answer::Yes, "something answers, but no valid HTTP".into(), Some(check.decisive))
            }
            (Some(check), Some(Outcome::TlsFailed)) => {
                (Answer::Yes, "something answers the TLS hello".into(), Some(check.decisive))
            }
            (Some(_), Some(Outcome::Pass | Outcome::ProbeNoData)) => {
                unseen("a handshake is answered by the host's kernel, whatever the program does")
            }
            _ => match answered {
                Some(seen) => {
                    (Answer::Yes, "it answers requests of others".into(), Some(seen.last))
                }
                None => unseen("no request reached it"),
            },
        };
        point("app-up", "Application up?", found)
    }

    fn port(&self) -> Point {
        let port = self.port;
        let found = match (self.last, self.outcome(), self.seen) {
            (Some(check), Some(Outcome::Refused), _) => {
                (Answer::No, format!("RST for port {port}"), Some(check.decisive))
            }
            (Some(check), _, _) if check.accepted.is_some() => {
                (Answer::Yes, format!("SYN-ACK from port {port}"), check.accepted)
            }
            (_, _, Some(seen)) if seen.opened == Opened::Accepted => {
                (Answer::Yes, format!("port {port} accepts connections of others"), seen.answer)
            }
            (_, _, Some(seen)) if seen.opened == Opened::Refused => {
                (Answer::No, format!("RST for port {port}"), seen.answer)
            }
            (Some(check), Some(Outcome::ConnectTimeout), _) => (
                Answer::Unseen,
                "the SYN is not answered, neither by an acceptance nor by a refusal".into(),
                Some(check.decisive),
            ),
            (_, _, Some(seen)) if seen.opened == Opened::Unanswered => (
                Answer::Unseen,
                "the SYN is not answered, neither by an acceptance nor by a refusal".into(),
                Some(seen.first),
            ),
            _ => unseen("no SYN to it is in the capture"),
        };
        point("port-listening", "Port listening?", found)
    }

    fn path(&self) -> Point {
        let path = self
            .last
            .and_then(|check| check.request.as_deref())
            .map(|request| request.path().to_owned());
        let what = path.map_or_else(
            || format!("port {}", self.port),
            |path| format!("{path} on port {}", self.port),
        );
        let found = match (self.last, self.outcome()) {
            (Some(check), Some(Outcome::Pass))
                if check.status.is_some() || check.request.is_none() =>
            {
                (Answer::Yes, format!("{what} passes"), Some(check.decisive))
            }
            (Some(check), Some(Outcome::StatusMismatch)) => {
                let status = check.status.unwrap_or_default();
                let why = match status {
                    300..=399 => {
                        format!("{what} redirects ({status}) and the matcher wants no redirect")
                    }
                    401 | 403 => format!("{what} wants credentials ({status})"),
                    404 | 410 => format!("{what} does not exist ({status})"),
                    405 | 501 => format!("{what} does not take this method ({status})"),
                    400..=499 => format!("{what} refuses the request ({status})"),
                    _ => format!(
                        "{what} answers {status}: the path is served, the program is not well"
                    ),
                };
                let answer = if status >= 500 && status != 501 { Answer::Yes } else { Answer::No };
                (answer, why, Some(check.decisive))
            }
            (Some(check), Some(Outcome::TlsFailed)) => (
                Answer::No,
                format!("the TLS of port {} and that of the check do not fit", self.port),
                Some(check.decisive),
            ),
            (Some(check), Some(Outcome::Malformed)) => (
                Answer::No,
                format!("port {} speaks another protocol than the check", self.port),
                Some(check.decisive),
            ),
            (Some(check), Some(Outcome::Refused)) => (
                Answer::Unseen,
                format!(
                    "nothing listens on port {}: compare it with the program's port",
                    self.port
                ),
                Some(check.decisive),
            ),
            (Some(_), _) => unseen("no answer that would tell"),
            (None, _) => unseen("no check arrived"),
        };
        point("path-and-port", "Check path and port right?", found)
    }

    fn ingress(&self) -> Point {
        let arrived = self.last.and_then(|check| check.syn).or(self.seen.map(|seen| seen.first));
        let answered = self.last.is_some_and(|check| {
            check.accepted.is_some() || matches!(check.outcome, Some(Outcome::Refused))
        }) || self
            .seen
            .is_some_and(|seen| matches!(seen.opened, Opened::Accepted | Opened::Refused));
        let found = match (arrived, answered, self.vantage) {
            (Some(mark), true, _) => {
                (Answer::Yes, "the SYN arrives and is answered".into(), Some(mark))
            }
            (Some(mark), false, Vantage::Server) => (
                Answer::Yes,
                "the SYN arrives at this host; a firewall of the host itself may still drop it"
                    .into(),
                Some(mark),
            ),
            (Some(mark), false, Vantage::Client) => (
                Answer::Unseen,
                "the SYN leaves the load balancer and nothing comes back".into(),
                Some(mark),
            ),
            (Some(mark), false, _) => {
                (Answer::Unseen, "the SYN is not answered".into(), Some(mark))
            }
            (None, ..) => match self.last {
                Some(check) if check.answered > 0 => {
                    (Answer::Yes, "the check is answered".into(), Some(check.decisive))
                }
                _ => unseen(
                    "nothing arrives: ingress, the load balancer's egress or no checks at all",
                ),
            },
        };
        point("target-ingress", "Target ingress open?", found)
    }

    fn egress(&self) -> Point {
        let found = match (self.last, self.vantage) {
            (Some(check), Vantage::Client) if check.accepted.is_none() && check.answered == 0 => (
                Answer::Unseen,
                "the SYN leaves this host; a security group around it may still drop it".into(),
                Some(check.frame),
            ),
            (Some(check), _) => (Answer::Yes, "its checks come through".into(), Some(check.frame)),
            (None, Vantage::Server) if self.unanswered() => (
                Answer::Unseen,
                "SYNs arrive at this host; whether they are the load balancer's is not known".into(),
                self.seen.map(|seen| seen.first),
            ),
            (None, _) if self.unanswered() => (
                Answer::Unseen,
                "SYNs without answer are all there is; a capture at the target tells whether they leave".into(),
                self.seen.map(|seen| seen.first),
            ),
            (None, _) => unseen("no check is in the capture: this is the first thing to look at"),
        };
        point("lb-egress", "Load balancer egress open?", found)
    }
}
