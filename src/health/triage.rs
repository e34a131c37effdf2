//! The first five questions about a target whose checks fail, each with the packet that answers it.

use super::outcome::Outcome;
use super::target::{Answer, Check, Point, Target};
use super::traffic::{Opened, Seen, Traffic};
use crate::flow::Vantage;
use crate::packet::Endpoint;
use crate::time::Mark;
use crate::words::Phrase;
use crate::{phrase, word};

/// What the questions are answered from.
struct Scene<'a> {
    target: &'a Target,
    /// Newest check of the probers that decide.
    last: Option<&'a Check>,
    /// Newest check of theirs where the outcome of none is known.
    undecided: Option<&'a Check>,
    /// Newest connection of anybody to the checked port.
    seen: Option<&'a Seen>,
    port: u16,
    vantage: Vantage,
}

/// Answers the questions for `target`, checked at `port`.
pub(super) fn triage(target: &Target, port: u16, traffic: &Traffic) -> Vec<Point> {
    let newest = |decided: bool| {
        let of = |check: &&Check| check.outcome.is_some() == decided;
        let last = target.deciding().filter_map(|prober| prober.checks.iter().rev().find(of));
        last.max_by_key(|check| check.began)
    };
    let last = newest(true);
    let undecided = newest(false).filter(|_| last.is_none());
    let checked = Endpoint { port, ..target.server };
    let seen = traffic.to(checked).max_by_key(|seen| seen.first.at);
    let vantage = last.map_or_else(|| traffic.vantage(checked), |check| check.vantage);
    let scene = Scene { target, last, undecided, seen, port, vantage };
    vec![scene.app(traffic), scene.port(), scene.path(), scene.ingress(), scene.egress()]
}

type Found = (Answer, Phrase, Option<Mark>);

fn point(id: &'static str, question: &'static str, (answer, why, mark): Found) -> Point {
    Point { id, question, answer, why, mark }
}

fn no_answers() -> Found {
    unseen(phrase!("checks arrive; how they were answered is not in the capture"))
}

fn unseen(why: Phrase) -> Found {
    (Answer::Unseen, why, None)
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
                    Some(Outcome::Timeout) => phrase!("it answers {status}, but too late", status),
                    _ => phrase!("it answers {status}", status),
                };
                let no = status >= 500;
                let why = if no {
                    phrase!("{text}: it says itself that it is not well", text)
                } else {
                    text
                };
                (if no { Answer::No } else { Answer::Yes }, why, Some(check.decisive))
            }
            (Some(check), Some(Outcome::Refused)) => {
                (Answer::No, phrase!("the connection is refused"), Some(check.decisive))
            }
            (Some(check), Some(Outcome::Timeout | Outcome::TlsTimeout)) => (
                Answer::No,
                phrase!("the host accepts the connection, and the program does not answer"),
                Some(check.decisive),
            ),
            (Some(check), Some(Outcome::Closed)) => {
                (Answer::No, phrase!("it closes instead of answering"), Some(check.decisive))
            }
            (Some(check), Some(Outcome::Malformed)) => {
                (Answer::Yes, phrase!("something answers, but no valid HTTP"), Some(check.decisive))
            }
            (Some(check), Some(Outcome::TlsFailed)) => {
                (Answer::Yes, phrase!("something answers the TLS hello"), Some(check.decisive))
            }
            (Some(check), Some(Outcome::StatusMismatch)) => {
                let text = &check.note;
                (
                    Answer::No,
                    phrase!("{text}: it says itself that it is not well", text),
                    Some(check.decisive),
                )
            }
            (Some(check), Some(Outcome::Pass)) if check.answered > 0 => {
                (Answer::Yes, phrase!("it answers what the check sends"), Some(check.decisive))
            }
            (Some(_), Some(Outcome::Pass | Outcome::ProbeNoData)) => unseen(phrase!(
                "a handshake is answered by the host's kernel, whatever the program does"
            )),
            _ => match answered {
                Some(seen) => {
                    (Answer::Yes, phrase!("it answers requests of others"), Some(seen.last))
                }
                None if self.undecided.is_some() => no_answers(),
                None => unseen(phrase!("no request reached it")),
            },
        };
        point("app-up", word!("Application up?"), found)
    }

    fn port(&self) -> Point {
        let port = self.port;
        let found = match (self.last, self.outcome(), self.seen) {
            (Some(check), Some(Outcome::Refused), _) => {
                (Answer::No, phrase!("RST for port {port}", port), Some(check.decisive))
            }
            (Some(check), _, _) if check.accepted.is_some() => {
                (Answer::Yes, phrase!("SYN-ACK from port {port}", port), check.accepted)
            }
            (_, _, Some(seen)) if seen.opened == Opened::Accepted => (
                Answer::Yes,
                phrase!("port {port} accepts connections of others", port),
                seen.answer,
            ),
            (_, _, Some(seen)) if seen.opened == Opened::Refused => {
                (Answer::No, phrase!("RST for port {port}", port), seen.answer)
            }
            (Some(check), Some(Outcome::ConnectTimeout), _) => (
                Answer::Unseen,
                phrase!("the SYN is not answered, neither by an acceptance nor by a refusal"),
                Some(check.decisive),
            ),
            (_, _, Some(seen)) if seen.opened == Opened::Unanswered => (
                Answer::Unseen,
                phrase!("the SYN is not answered, neither by an acceptance nor by a refusal"),
                Some(seen.first),
            ),
            _ => unseen(phrase!("no SYN to it is in the capture")),
        };
        point("port-listening", word!("Port listening?"), found)
    }

    fn path(&self) -> Point {
        let path = self
            .last
            .and_then(|check| check.request.as_deref())
            .map(|request| request.path().to_owned());
        let what = path.map_or_else(
            || phrase!("port {port}", port = self.port),
            |path| phrase!("{path} on port {port}", path, port = self.port),
        );
        let found = match (self.last, self.outcome()) {
            (Some(check), Some(Outcome::Pass))
                if check.status.is_some() || check.request.is_none() =>
            {
                (Answer::Yes, phrase!("{what} passes", what), Some(check.decisive))
            }
            (Some(check), Some(Outcome::StatusMismatch)) if check.status.is_none() => (
                Answer::Yes,
                phrase!("{what} speaks the check's protocol", what),
                Some(check.decisive),
            ),
            (Some(check), Some(Outcome::StatusMismatch)) => {
                let status = check.status.unwrap_or_default();
                let why = match status {
                    300..=399 => {
                        phrase!(
                            "{what} redirects ({status}) and the matcher wants no redirect",
                            what,
                            status
                        )
                    }
                    401 | 403 => phrase!("{what} wants credentials ({status})", what, status),
                    404 | 410 => phrase!("{what} does not exist ({status})", what, status),
                    405 | 501 => {
                        phrase!("{what} does not take this method ({status})", what, status)
                    }
                    400..=499 => phrase!("{what} refuses the request ({status})", what, status),
                    _ => phrase!(
                        "{what} answers {status}: the path is served, the program is not well",
                        what,
                        status
                    ),
                };
                let answer = if status >= 500 && status != 501 { Answer::Yes } else { Answer::No };
                (answer, why, Some(check.decisive))
            }
            (Some(check), Some(Outcome::TlsFailed)) => (
                Answer::No,
                phrase!(
                    "the TLS of port {port} and that of the check do not fit",
                    port = self.port
                ),
                Some(check.decisive),
            ),
            (Some(check), Some(Outcome::Malformed)) => (
                Answer::No,
                phrase!("port {port} speaks another protocol than the check", port = self.port),
                Some(check.decisive),
            ),
            (Some(check), Some(Outcome::Refused)) => (
                Answer::Unseen,
                phrase!(
                    "nothing listens on port {port}: compare it with the program's port",
                    port = self.port
                ),
                Some(check.decisive),
            ),
            (Some(_), _) => unseen(phrase!("no answer that would tell")),
            (None, _) if self.undecided.is_some() => no_answers(),
            (None, _) => unseen(phrase!("no check arrived")),
        };
        point("path-and-port", word!("Check path and port right?"), found)
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
                (Answer::Yes, phrase!("the SYN arrives and is answered"), Some(mark))
            }
            (Some(mark), false, Vantage::Server) => (
                Answer::Yes,
                phrase!(
                    "the SYN arrives at this host; a firewall of the host itself may still drop it"
                ),
                Some(mark),
            ),
            (Some(mark), false, Vantage::Client) => (
                Answer::Unseen,
                phrase!("the SYN leaves the load balancer and nothing comes back"),
                Some(mark),
            ),
            (Some(mark), false, _) => {
                (Answer::Unseen, phrase!("the SYN is not answered"), Some(mark))
            }
            (None, ..) => match self.last {
                Some(check) if check.answered > 0 => {
                    (Answer::Yes, phrase!("the check is answered"), Some(check.decisive))
                }
                _ => unseen(phrase!(
                    "nothing arrives: ingress, the load balancer's egress or no checks at all"
                )),
            },
        };
        point("target-ingress", word!("Target ingress open?"), found)
    }

    fn egress(&self) -> Point {
        let found = match (self.last.or(self.undecided), self.vantage) {
            (Some(check), Vantage::Client) if check.accepted.is_none() && check.answered == 0 => (
                Answer::Unseen,
                phrase!("the SYN leaves this host; a security group around it may still drop it"),
                Some(check.frame),
            ),
            (Some(check), _) => {
                (Answer::Yes, phrase!("its checks come through"), Some(check.frame))
            }
            (None, Vantage::Server) if self.unanswered() => (
                Answer::Unseen,
                phrase!(
                    "SYNs arrive at this host; whether they are the load balancer's is not known"
                ),
                self.seen.map(|seen| seen.first),
            ),
            (None, _) if self.unanswered() => (
                Answer::Unseen,
                phrase!(
                    "SYNs without answer are all there is; a capture at the target tells whether they leave"
                ),
                self.seen.map(|seen| seen.first),
            ),
            (None, _) => {
                unseen(phrase!("no check is in the capture: this is the first thing to look at"))
            }
        };
        point("lb-egress", word!("Load balancer egress open?"), found)
    }
}
