//! What the history of this host says of a finding: a sentence beside the verdict, which it never changes.
//!
//! Only where an end of the connection is this host. A sentence never contradicts the packets: it says
//! who listened, what overflowed, who ended, at that time; and which host sent the packet that killed
//! the request.

use super::event::{Event, Happening};
use super::facts::Process;
use super::history::History;
use super::texts::about;
use crate::cause::{Evidence, Finding, What};
use crate::tcp::Side;
use crate::time::Timestamp;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// How far an event may lie from the packets to belong to them, nanoseconds: looks are a second apart,
/// and a process ends some time after it closed its sockets.
const SLACK: i64 = 1_500_000_000;

/// What is asked of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    /// Why was the connection refused?
    WhoListened,
    /// Why did nothing answer?
    Overflow,
    /// Why was the answer late?
    Slow,
    /// Why did it close?
    Ended,
    /// Only who sent it.
    Sender,
}

fn asks(cause: &str) -> Option<Asks> {
    Some(match cause {
        "connect-refused" => Asks::WhoListened,
        "connect-timeout" | "connect-timeout-host" | "request-unacked" => Asks::Overflow,
        "response-timeout"
        | "response-stalled"
        | "target-not-reading"
        | "tls-handshake-timeout" => Asks::Slow,
        "stale-flow-reset"
        | "target-fin-no-response"
        | "target-rst-no-response"
        | "target-closed-during-request"
        | "response-header-truncated"
        | "response-body-truncated" => Asks::Ended,
        "keepalive-race" | "tls-handshake-failed" | "lb-cut" | "client-abort" => Asks::Sender,
        _ => return None,
    })
}

/// When the packets were that prove a finding, and a bit around.
#[derive(Clone, Copy, Debug)]
struct Span {
    from: Timestamp,
    guilty: Timestamp,
    to: Timestamp,
}

impl Span {
    fn of(finding: &Finding) -> Option<Span> {
        let times = || finding.evidence.iter().map(|evidence| evidence.mark.at);
        let guilty = times().next()?;
        let from = times().min()?.after(-SLACK);
        Some(Span { from, guilty, to: times().max()?.after(SLACK) })
    }
}

impl History {
    /// What this host says of a finding; `None` when it is not about this host, or nothing is known.
    pub fn sentence(&self, finding: &Finding) -> Option<String> {
        let asked = asks(finding.cause.id)?;
        let span = Span::of(finding)?;
        let (client, server) = (finding.client.addr(), finding.server.addr());
        let here = self.addresses.contains(server);
        if !here && !self.addresses.contains(client) {
            return None;
        }
        let port = finding.server.port;
        let told = match asked {
            _ if !here => self.ports_out(finding, span),
            Asks::WhoListened => self.who_listened(server, port, span),
            Asks::Overflow => self.overflow(finding.cause.id, port, span),
            Asks::Slow => self.slow(port, span),
            Asks::Ended => self.ended(finding.cause.id, port, span),
            Asks::Sender => None,
        };
        told.or_else(|| self.sender(finding, here, span))
    }

    /// The last change of who listens before a time.
    fn change_before(&self, port: u16, at: Timestamp) -> Option<&Event> {
        let changes = |event: &&Event| {
            event.port == Some(port)
                && event.from <= at
                && matches!(
                    event.what,
                    Happening::Gone { .. }
                        | Happening::Listens { .. }
                        | Happening::Restarted { .. }
                )
        };
        self.events.iter().rev().find(changes)
    }

    fn who_listened(&self, server: IpAddr, port: u16, span: Span) -> Option<String> {
        if !self.watches(port) {
            return None;
        }
        match self.change_before(port, span.guilty.after(SLACK)) {
            Some(Event { at, what: Happening::Gone { who, ended }, .. }) => {
                return Some(about::absent(port, Some(*at), who.as_deref(), *ended));
            }
            Some(Event {
                from,
                at,
                what: Happening::Listens { who: now } | Happening::Restarted { now, .. },
                ..
            }) if from.after(-SLACK) <= span.guilty && span.guilty <= at.after(SLACK) => {
                return Some(about::began(port, *at, now.as_deref()));
            }
            _ => {}
        }
        let later =
            self.events.iter().any(|event| event.port == Some(port) && event.from > span.guilty);
        let (first, last) = self.seen?;
        // What came later, or before the host was watched, says nothing about then.
        if later || span.guilty < first || span.guilty > last.after(SLACK) {
            return None;
        }
        let known = self.ports.get(&port).map(|port| port.listeners.as_slice()).unwrap_or_default();
        if known.is_empty() {
            return Some(about::absent(port, None, None, false));
        }
        if !known.iter().any(|one| one.takes(server)) {
            let addresses: Vec<_> = known.iter().take(4).map(super::texts::address).collect();
            return Some(about::other_address(port, &addresses));
        }
        Some(about::refused_though(port, self.holder(port)))
    }

    fn holder(&self, port: u16) -> Option<&Process> {
        self.ports.get(&port)?.listeners.iter().find_map(|one| one.owners.as_ref().ok()?.first())
    }

    fn overflow(&self, cause: &str, port: u16, span: Span) -> Option<String> {
        let counted = self.between(span.from, span.to, port).find_map(|event| match &event.what {
            Happening::Counted { grown } => {
                let queues: Vec<_> = grown
                    .iter()
                    .filter(|(name, _)| name.starts_with("Listen") || name.starts_with("TCPReqQ"))
                    .copied()
                    .collect();
                (!queues.is_empty()).then_some((queues, [event.from, event.at]))
            }
            _ => None,
        });
        if let Some((grown, when)) = counted {
            return Some(about::overflow(&grown, when, &self.full(port, span)));
        }
        let sure = self.counts && self.covers(span.from, span.to);
        sure.then(|| match cause {
            "connect-timeout-host" => about::no_overflow_but(port),
            _ => about::NO_OVERFLOW.to_owned(),
        })
    }

    /// Whose accept queue was full at some time of the span.
    fn full(&self, port: u16, span: Span) -> about::Full {
        if self.queue_full(port, span).is_some() {
            return about::Full::Own;
        }
        let of_queues =
            self.events.iter().filter(|event| matches!(event.what, Happening::QueueFull { .. }));
        let ports: BTreeSet<u16> = of_queues.filter_map(|event| event.port).collect();
        let mut others = ports.into_iter().filter(|other| self.queue_full(*other, span).is_some());
        let others: Vec<u16> = others.by_ref().take(4).collect();
        match others.is_empty() {
            false => about::Full::Others(others),
            true if self.watches(port) => about::Full::None,
            true => about::Full::Unseen,
        }
    }

    /// The event since which the accept queue was full at some time of the span.
    fn queue_full(&self, port: u16, span: Span) -> Option<&Event> {
        self.holds(
            port,
            span,
            |what| matches!(what, Happening::QueueFull { .. }),
            |what| matches!(what, Happening::QueueFree | Happening::Gone { .. }),
        )
    }

    /// The event that began a condition which held at some time of the span.
    fn holds(
        &self,
        port: u16,
        span: Span,
        begins: impl Fn(&Happening) -> bool,
        ends: impl Fn(&Happening) -> bool,
    ) -> Option<&Event> {
        let mut began = None;
        for event in self.events.iter().filter(|event| event.port == Some(port)) {
            if event.from > span.to {
                break;
            }
            if begins(&event.what) {
                began = began.or(Some(event));
            } else if ends(&event.what) && event.at < span.from {
                began = None;
            }
        }
        began
    }

    fn slow(&self, port: u16, span: Span) -> Option<String> {
        let stopped = self.holds(
            port,
            span,
            |what| matches!(what, Happening::Stopped { .. }),
            |what| {
                matches!(
                    what,
                    Happening::Continued { .. }
                        | Happening::Restarted { .. }
                        | Happening::Gone { .. }
                )
            },
        );
        let files = || {
            self.holds(
                port,
                span,
                |what| matches!(what, Happening::FilesFull { .. }),
                |what| {
                    matches!(
                        what,
                        Happening::FilesFree { .. }
                            | Happening::Restarted { .. }
                            | Happening::Gone { .. }
                    )
                },
            )
        };
        let condition = stopped.or_else(files).or_else(|| self.queue_full(port, span));
        condition.map(|event| about::since(&event.text(), event.at))
    }

    fn ended(&self, cause: &str, port: u16, span: Span) -> Option<String> {
        let near = || self.between(span.guilty.after(-SLACK), span.guilty.after(SLACK), port);
        let killed = near().find(|event| matches!(event.what, Happening::OomKills { .. }));
        let ended = near().find(|event| {
            matches!(
                event.what,
                Happening::Gone { .. } | Happening::Restarted { .. } | Happening::Ended { .. }
            )
        });
        match (ended, killed) {
            (Some(ended), Some(killed)) => {
                let text = format!("{}; {}", ended.text(), killed.text());
                Some(about::at(&text, ended.at))
            }
            (Some(event), None) | (None, Some(event)) => Some(about::at(&event.text(), event.at)),
            // A process that was started after the connection knows nothing of it.
            (None, None) if cause == "stale-flow-reset" => {
                let change = self.change_before(port, span.guilty)?;
                Some(about::restarted_before(&change.text(), change.at))
            }
            (None, None) => None,
        }
    }

    fn ports_out(&self, finding: &Finding, span: Span) -> Option<String> {
        let to = finding.server.socket();
        self.events.iter().rev().find_map(|event| match &event.what {
            Happening::PortsOut { outgoing, ports }
                if outgoing.destination == to && event.overlaps(span.from, span.to) =>
            {
                Some(about::ports_out(outgoing, *ports, event.at))
            }
            _ => None,
        })
    }

    /// Which host sent the packet that killed the request.
    fn sender(&self, finding: &Finding, server_here: bool, span: Span) -> Option<String> {
        let guilty: &Evidence = finding.evidence.first()?;
        let what = match guilty.what {
            What::Rst => "RST",
            What::Fin => "FIN",
            _ => return None,
        };
        let address = match guilty.side {
            Side::Server => finding.server.addr(),
            Side::Client => finding.client.addr(),
        };
        if !self.addresses.contains(address) {
            return Some(about::sent_elsewhere(what, address));
        }
        match guilty.side {
            Side::Client => Some(about::sent_by_client(what)),
            Side::Server if server_here => {
                let port = finding.server.port;
                let quiet = asks(finding.cause.id) == Some(Asks::Ended)
                    && self.covers(span.guilty.after(-SLACK), span.guilty.after(SLACK));
                let who = self.holder(port).filter(|_| quiet);
                Some(about::sent_here(what, port, who))
            }
            Side::Server => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::by_id;
    use crate::host::addresses::Addresses;
    use crate::host::fixture::{listener, process};
    use crate::host::history::Port;
    use crate::packet::Endpoint;
    use crate::report::fixture;
    use crate::time::Mark;

    const SECOND: i64 = 1_000_000_000;
    const OWN: [u8; 4] = [10, 0, 2, 9];

    fn at(second: i64) -> Timestamp {
        Timestamp(second * SECOND)
    }

    /// Watched from second 0 to 100; nginx listens on 8080 at the end.
    fn history(events: Vec<(i64, Happening)>) -> History {
        let own = Port { listeners: vec![listener("0.0.0.0")], ..Port::default() };
        let happened = |(second, what): (i64, Happening)| {
            let whole = matches!(what, Happening::Counted { .. } | Happening::OomKills { .. });
            let port = (!whole).then_some(8080);
            Event { from: at(second - 1), at: at(second), port, what }
        };
        History {
            seen: Some((at(0), at(100))),
            addresses: Addresses::new(vec![(IpAddr::from(OWN), 32)]),
            ports: [(8080, own)].into(),
            counts: true,
            events: events.into_iter().map(happened).collect(),
            ..History::default()
        }
    }

    /// A finding whose packets were all in that second.
    fn finding(cause: &str, second: i64) -> Finding {
        let mut finding = match cause {
            "connect-refused" => fixture::refused(0, 5),
            _ => fixture::race(1),
        };
        finding.cause = by_id(cause).unwrap();
        finding.server = Endpoint::v4(OWN, 8080);
        for evidence in &mut finding.evidence {
            evidence.mark = Mark { at: at(second), ..evidence.mark };
        }
        finding
    }

    fn says(history: &History, cause: &str, second: i64) -> String {
        history.sentence(&finding(cause, second)).unwrap_or_default()
    }

    fn gone() -> Happening {
        Happening::Gone { who: Some(Box::new(process())), ended: true }
    }

    #[test]
    fn refused_since_who_listened_has_ended() {
        let mut absent = history(vec![(10, gone())]);
        absent.ports.insert(8080, Port { gone: Some(at(10)), ..Port::default() });
        let text = says(&absent, "connect-refused", 40);
        assert_eq!(
            text,
            "nothing listened on port 8080 since 00:00:10 UTC; nginx (pid 812) has ended"
        );
        let again = history(vec![(10, gone()), (50, Happening::Listens { who: None })]);
        assert!(says(&again, "connect-refused", 40).starts_with("nothing listened"));
        assert!(says(&again, "connect-refused", 50).contains("began to listen"));
        assert!(says(&again, "connect-refused", 80).contains("firewall rule that rejects"));
        assert_eq!(
            says(&again, "connect-refused", 3),
            "this host sent the RST: look at the log of what serves port 8080"
        );
    }

    #[test]
    fn refused_by_a_port_that_listens_elsewhere_or_never_did() {
        let mut other = history(Vec::new());
        let listeners = vec![listener("127.0.0.1")];
        other.ports.insert(8080, Port { listeners, ..Port::default() });
        assert_eq!(says(&other, "connect-refused", 40), "port 8080 listens on 127.0.0.1:8080 only");
        other.ports.insert(8080, Port::default());
        assert!(says(&other, "connect-refused", 40).contains("since before the capture"));
    }

    fn overflow() -> Happening {
        Happening::Counted { grown: vec![("ListenOverflows", 37), ("TCPAbortOnMemory", 1)] }
    }

    #[test]
    fn unanswered_since_a_queue_overflowed_or_not() {
        let full = Happening::QueueFull { waiting: 129, backlog: 128 };
        let both = history(vec![(39, full), (40, overflow())]);
        let text = says(&both, "connect-timeout-host", 40);
        assert_eq!(
            text,
            "ListenOverflows +37 at 00:00:40 UTC: the accept queue of this port was full"
        );
        let other = says(&history(vec![(40, overflow())]), "connect-timeout-host", 40);
        assert!(other.contains("of all ports together"), "{other}");
        let far = says(&history(vec![(40, overflow())]), "connect-timeout-host", 60);
        assert!(far.contains("ListenOverflows did not move"), "{far}");
        let mut blind = history(Vec::new());
        blind.counts = false;
        assert_eq!(
            blind
                .sentence(&finding("connect-timeout-host", 60))
                .filter(|text| text.contains("move")),
            None
        );
        assert!(
            !says(&history(Vec::new()), "connect-timeout-host", 99).contains("move"),
            "the last look was too early"
        );
    }

    #[test]
    fn silent_since_the_process_is_stopped() {
        let stopped = || Happening::Stopped { who: Box::new(process()) };
        let continued = Happening::Continued { who: Box::new(process()) };
        let text = says(&history(vec![(10, stopped())]), "response-timeout", 40);
        assert!(text.starts_with("nginx (pid 812) was stopped"), "{text}");
        let over = history(vec![(10, stopped()), (20, continued)]);
        assert!(!says(&over, "response-timeout", 40).contains("stopped"));
    }

    #[test]
    fn closed_as_the_process_ended() {
        let text = says(&history(vec![(40, gone())]), "target-rst-no-response", 40);
        assert_eq!(
            text,
            "nothing listens on port 8080 any more; nginx (pid 812) has ended, at 00:00:40 UTC"
        );
        let killed = history(vec![(40, gone()), (40, Happening::OomKills { killed: 1 })]);
        assert!(
            says(&killed, "target-fin-no-response", 41)
                .contains("1 process killed for want of memory")
        );
        let quiet = says(&history(vec![(10, gone())]), "target-fin-no-response", 40);
        assert!(quiet.contains("this host sent the FIN; nginx (pid 812)"), "{quiet}");
        assert!(quiet.contains("did not end then"), "{quiet}");
    }

    #[test]
    fn who_sent_the_packet_that_killed_it() {
        let history = history(Vec::new());
        let mut elsewhere = finding("target-rst-no-response", 40);
        elsewhere.server = Endpoint::v4([10, 9, 9, 9], 8080);
        assert_eq!(history.sentence(&elsewhere), None, "neither end is this host");
        elsewhere.client = Endpoint::v4(OWN, 40_000);
        assert_eq!(
            history.sentence(&elsewhere).unwrap(),
            "the FIN came from 10.9.9.9, not from this host"
        );
        let race = says(&history, "keepalive-race", 40);
        assert_eq!(race, "this host sent the FIN: look at the log of what serves port 8080");
        assert_eq!(history.sentence(&finding("target-own-5xx", 40)), None);
    }
}
