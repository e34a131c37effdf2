//! Checks that were expected and are not there: what is missing, told apart, and what to look at.

use super::outcome::Outcome;
use super::settings::{Protocol, time};
use super::target::{Absence, Target};
use super::traffic::{Opened, Seen, Traffic};
use super::vendor::{SECOND, Vendor};
use crate::flow::Vantage;
use crate::packet::{Address, Endpoint};
use crate::report::words;
use crate::time::{Mark, Timestamp};
use crate::words::Phrase;
use crate::{phrase, word};
use std::collections::{BTreeMap, BTreeSet};

/// Silent intervals after which checks count as stopped: two may be lost.
pub(super) const SILENT: f64 = 3.0;
/// Interval where neither the user, the vendor nor the packets say one: that of AWS.
pub(super) const USUAL_INTERVAL: i64 = 30 * SECOND;

/// Attempts to connect without answer from which they are no accident.
const ATTEMPTS: u64 = 2;
/// Sources that a text names.
const SOURCES_MAX: usize = 4;

/// What is known of an expected target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    /// The target, without its absence.
    pub(super) target: &'a Target,
    /// Port that is checked.
    pub(super) port: u16,
    /// Nanoseconds between checks.
    pub(super) interval: i64,
    /// Kind of load balancer.
    pub(super) vendor: Option<&'a Vendor>,
    /// What its checks speak, where the user said it.
    pub(super) protocol: Option<Protocol>,
    /// All connections.
    pub(super) traffic: &'a Traffic,
    /// Ports of the same host where checks arrive.
    pub(super) elsewhere: &'a BTreeMap<u16, u64>,
    /// First and last packet of the captures; `None` without packets.
    pub(super) span: Option<(Timestamp, Timestamp)>,
}

impl Expected<'_> {
    /// What is missing; `None` when checks arrive and are answered.
    pub(super) fn absence(&self) -> Option<Absence> {
        let checked = Endpoint { port: self.port, ..self.target.server };
        if let Some(stopped) = self.target.deciding().find_map(|_| self.stopped(checked)) {
            return Some(stopped);
        }
        if self.target.deciding().next().is_some() {
            let unanswered = self.target.deciding().all(|prober| {
                prober.by_outcome.keys().all(|outcome| *outcome == Outcome::ConnectTimeout)
                    && !prober.by_outcome.is_empty()
            });
            return unanswered.then(|| self.unanswered(checked)).flatten();
        }
        self.unanswered(checked)
            .or_else(|| self.refused(checked))
            .or_else(|| self.elsewhere(checked))
            .or_else(|| self.unread(checked))
            .or_else(|| Some(self.nothing(checked)))
    }

    /// How long was captured, in words.
    fn captured(&self) -> (i64, Phrase) {
        let length = self.span.map_or(0, |(first, last)| last.nanos_since(first));
        (length, words::seconds(length as f64 / SECOND as f64))
    }

    fn intervals(&self) -> Phrase {
        let n = (self.captured().0 / self.interval.max(1)).max(0) as u64;
        phrase!(
            "{n} of {interval}",
            n = words::plural(n, "interval"),
            interval = time(self.interval)
        )
    }

    /// Connections of one source that may be its checks, as they come as often, and of which nobody can say: a
    /// check that sends bytes of its own (HAProxy's `tcp-check send`) or speaks TLS looks like any client.
    fn unread(&self, checked: Endpoint) -> Option<Absence> {
        let mut sources: BTreeMap<Address, (u64, Mark)> = BTreeMap::new();
        let unread =
            |seen: &&Seen| seen.opened == Opened::Accepted && seen.spoke && seen.requests == 0;
        for seen in self.traffic.to(checked).filter(unread) {
            let (count, last) = sources.entry(seen.client).or_insert((0, seen.first));
            *count += 1;
            if seen.first.at > last.at {
                *last = seen.first;
            }
        }
        let (source, (count, last)) = sources.into_iter().max_by_key(|(_, (count, _))| *count)?;
        let due = self.captured().0 / self.interval.max(1);
        let may_be = self.protocol != Some(Protocol::Http) && 2 * count as i64 >= due.max(2);
        let (at, source) = (checked.socket(), Endpoint { ip: source, port: 0 }.addr());
        may_be.then(|| Absence {
            id: "no-check-recognised",
            text: phrase!(
                "no connection to {at} is recognised as a health check in {intervals}; {connections} of {source} \
                 may be checks, whose bytes are not read (the last in frame {frame})",
                at,
                intervals = self.intervals(),
                connections = words::plural(count, "connection"),
                source,
                frame = last.frame.number()
            ),
            steps: vec![
                phrase!(
                    "Does {source} check this target? Checks that send bytes of their own (HAProxy's tcp-check send) or \
                     speak TLS look like those of any client: see the load balancer's own log for their outcome",
                    source
                ),
                phrase!("If they are no checks: is the check enabled, and for this address and port?"),
            ],
            mark: Some(last),
        })
    }

    fn nothing(&self, checked: Endpoint) -> Absence {
        let at = checked.socket();
        let (length, captured) = self.captured();
        if self.span.is_none() {
            return Absence {
                id: "nothing-captured",
                text: phrase!("no health check of {at} arrived, nor anything else: the capture is empty", at),
                steps: [
                    phrase!("Is this the right interface and filter? Capture without a filter: does anything arrive?"),
                ]
                .into_iter()
                .chain(self.path(false))
                .collect(),
                mark: None,
            };
        }
        if length < self.interval {
            return Absence {
                id: "capture-too-short",
                text: phrase!(
                    "no health check of {at} arrived, but only {captured} were captured, less than one interval \
                     of {interval}",
                    at,
                    captured,
                    interval = time(self.interval)
                ),
                steps: vec![phrase!(
                    "Capture for at least {interval}",
                    interval = time(3 * self.interval)
                )],
                mark: None,
            };
        }
        let other = self.users(checked);
        let seen = match (&other, self.traffic.knows_host(checked)) {
            (Some(seen), _) => phrase!(
                ", while other connections do arrive there (the last in frame {frame})",
                frame = seen.first.frame.number()
            ),
            (None, true) => phrase!(", although the capture sees the host"),
            (None, false) => Phrase::default(),
        };
        let mut steps = Vec::new();
        if !self.traffic.knows_host(checked) {
            steps.push(phrase!("Is this the right host, interface and filter? The capture shows no connection of {host} at all", host = checked.addr()));
        }
        steps.extend(self.path(other.is_some()));
        Absence {
            id: "no-check-arrived",
            text: phrase!(
                "no health check from any load balancer arrived at {at} in {intervals} ({captured} captured){seen}",
                at,
                intervals = self.intervals(),
                captured,
                seen
            ),
            steps,
            mark: other.map(|seen| seen.first),
        }
    }

    /// What lies between a load balancer and its target, in the order of likelihood and cost.
    fn path(&self, traffic_arrives: bool) -> Vec<Phrase> {
        let port = self.port;
        let aws = self.vendor.is_none_or(|vendor| vendor.reason_codes || vendor.id == "clb");
        if !aws {
            let proxy = self.vendor.map_or(word!("load balancer"), |vendor| vendor.name);
            return vec![
                phrase!(
                    "{proxy}: is the check enabled, and does its log or statistics page list this target?",
                    proxy
                ),
                phrase!(
                    "Firewall of the load balancer's host, outgoing: TCP {port} to the target",
                    port
                ),
                phrase!(
                    "Firewall of the target's host, incoming: TCP {port} from the load balancer",
                    port
                ),
                phrase!("Routes and network policies between the two, in both directions"),
                phrase!("Port of the check: is it {port}?", port),
                phrase!(
                    "Address of the target in the load balancer's configuration or service discovery"
                ),
            ];
        }
        let mut steps = vec![
            phrase!("Load balancer's security group, egress: TCP {port} to the target must be allowed. Terraform's \
                 aws_security_group removes the default egress rule when it declares none; the console adds it", port),
            phrase!("Target's security group, ingress: TCP {port} from the load balancer's security group (for a \
                 Network Load Balancer without one: from its addresses)", port),
            phrase!("Network ACLs of both subnets: TCP {port} to the target and 1024-65535 back, they know no \
                 connections", port),
            phrase!("Port: is {port} the check's port (traffic-port or an override) and the port that was registered?", port),
            word!("Registration: is this address registered, in a target group that a listener uses, in an enabled \
             Availability Zone?")
                .into(),
        ];
        if traffic_arrives {
            steps.insert(
                0,
                word!("Traffic does arrive: does it come from this load balancer at all, and are its checks on the same \
                 port?")
                    .into(),
            );
        }
        steps
    }

    /// Connections that are nobody's check.
    fn users(&self, checked: Endpoint) -> Option<Seen> {
        let served = self.target.server;
        let ports = [Some(checked), (served != checked).then_some(served)];
        let all = ports.into_iter().flatten().flat_map(|server| self.traffic.to(server));
        all.filter(|seen| seen.opened == Opened::Accepted).max_by_key(|seen| seen.first.at).copied()
    }

    /// Sources that get no answer at all, whatever others get.
    fn unanswered(&self, checked: Endpoint) -> Option<Absence> {
        let mut sources: BTreeMap<Address, (u64, bool)> = BTreeMap::new();
        let (mut first, mut others) = (None, false);
        for seen in self.traffic.to(checked) {
            let (unanswered, answered) = sources.entry(seen.client).or_default();
            match seen.opened {
                Opened::Unanswered => *unanswered += 1,
                Opened::Accepted | Opened::Refused => *answered = true,
                Opened::Unseen => {}
            }
            others |= seen.opened == Opened::Accepted;
        }
        sources.retain(|_, (unanswered, answered)| *unanswered > 0 && !*answered);
        let count: u64 = sources.values().map(|(unanswered, _)| unanswered).sum();
        for seen in self.traffic.to(checked).filter(|seen| sources.contains_key(&seen.client)) {
            first = first.or(Some(*seen));
        }
        let seen = first.filter(|_| count >= ATTEMPTS)?;
        let names: Vec<Phrase> = sources
            .keys()
            .take(SOURCES_MAX)
            .map(|ip| Endpoint { ip: *ip, port: 0 }.addr().to_string().into())
            .collect();
        let more = sources.len().saturating_sub(SOURCES_MAX);
        let more = if more > 0 { phrase!(" and {n} more", n = more) } else { Phrase::default() };
        let from = phrase!(" of {sources}{more}", sources = Phrase::list(names, ", "), more);
        let but = if others { word!(", while those of others are accepted") } else { "" };
        let (at, port) = (checked.socket(), self.port);
        let attempts = words::plural(count, "connection attempt");
        let (id, text, steps) = match self.traffic.vantage(checked) {
            Vantage::Client => (
                "syn-leaves-unanswered",
                phrase!(
                    "{attempts}{from} to {at} left the load balancer and nothing came back{but}",
                    attempts,
                    from,
                    at,
                    but
                ),
                self.path(false),
            ),
            Vantage::Server => (
                "syn-arrives-unanswered",
                phrase!(
                    "{attempts}{from} arrived at {at} and the host answered none{but}",
                    attempts,
                    from,
                    at,
                    but
                ),
                vec![
                    phrase!(
                        "Firewall of this host, incoming: nft list ruleset or iptables -L -n, TCP {port}",
                        port
                    ),
                    phrase!(
                        "Listen queue: ss -ltn (Recv-Q at its Send-Q) and nstat TcpExtListenDrops"
                    ),
                    phrase!("Route back to the load balancer: ip route get its address; rp_filter"),
                    phrase!(
                        "Whether the capture itself lost the answers: capture on the interface the route names"
                    ),
                ],
            ),
            _ => (
                "syn-unanswered",
                phrase!(
                    "{attempts}{from} to {at} got no answer{but}; where the capture was taken is not known (--vantage lb or \
                     target tells)",
                    attempts,
                    from,
                    at,
                    but
                ),
                self.path(false),
            ),
        };
        Some(Absence { id, text, steps, mark: Some(seen.first) })
    }

    fn refused(&self, checked: Endpoint) -> Option<Absence> {
        let all: Vec<&Seen> = self.traffic.to(checked).collect();
        let count = |opened| all.iter().filter(|seen| seen.opened == opened).count();
        let first = all.iter().find(|seen| seen.opened == Opened::Refused)?;
        // A program that accepts now and then is starting, or keeps ending.
        if count(Opened::Accepted) >= count(Opened::Refused) {
            return None;
        }
        Some(Absence {
            id: "refused",
            text: phrase!(
                "connections to {checked} were refused; none of them is known to be a health check",
                checked = checked.socket()
            ),
            steps: vec![
                phrase!(
                    "Does the program listen on port {port} of this address (ss -ltn)?",
                    port = self.port
                ),
                phrase!("Then the path: see the other targets of the group"),
            ],
            mark: Some(first.first),
        })
    }

    fn elsewhere(&self, checked: Endpoint) -> Option<Absence> {
        let ports: Vec<Phrase> = self
            .elsewhere
            .keys()
            .filter(|port| **port != self.port)
            .map(|port| port.to_string().into())
            .collect();
        let Some(first) = ports.first() else { return self.refused_beside(checked) };
        Some(Absence {
            id: "other-port",
            text: phrase!(
                "no health check arrived at {checked}; they arrive at port {ports} of the same host",
                checked = checked.socket(),
                ports = Phrase::list(ports.clone(), ", ")
            ),
            steps: vec![
                phrase!(
                    "Which port is meant? Give --hc-port {port} if the checks are right, else correct the check's \
                     port in the target group",
                    port = first
                ),
                phrase!("Is the target registered with the port that it serves?"),
            ],
            mark: None,
        })
    }

    /// Attempts that another port of the same host refuses: checks of the wrong port look so.
    fn refused_beside(&self, checked: Endpoint) -> Option<Absence> {
        let mut ports: BTreeMap<u16, (u64, bool, Option<Seen>)> = BTreeMap::new();
        for (port, seen) in self.traffic.beside(checked) {
            let (refused, accepted, first) = ports.entry(port).or_default();
            *refused += u64::from(seen.opened == Opened::Refused);
            *accepted |= seen.opened == Opened::Accepted;
            *first = first.or(Some(*seen));
        }
        let (port, (count, _, first)) = ports
            .into_iter()
            .filter(|(_, (refused, accepted, _))| *refused > ATTEMPTS && !accepted)
            .max_by_key(|(_, (refused, ..))| *refused)?;
        Some(Absence {
            id: "other-port-refused",
            text: phrase!(
                "no health check arrived at {checked}; {count} to port {port} of the same host were refused",
                checked = checked.socket(),
                count = words::plural(count, "connection attempt"),
                port
            ),
            steps: vec![
                phrase!(
                    "Are these the checks? Then the check's port is {port}, where nothing listens",
                    port
                ),
                phrase!(
                    "Set the check's port to the program's, or let the program listen on {port}",
                    port
                ),
            ],
            mark: first.map(|seen| seen.first),
        })
    }

    /// Checks that came and then came no more.
    fn stopped(&self, checked: Endpoint) -> Option<Absence> {
        let (_, until) = self.span?;
        let last = self
            .target
            .deciding()
            .filter_map(|prober| prober.checks.last())
            .max_by_key(|check| check.began)?;
        let silent = until.nanos_since(last.began);
        if (silent as f64) < self.interval as f64 * SILENT {
            return None;
        }
        // Whether attempts that fail are checks cannot be seen: maybe they go on.
        let checks = self.target.deciding().flat_map(|prober| &prober.checks);
        let sources: BTreeSet<Address> = checks.map(|check| check.source.ip).collect();
        if self.traffic.tried_in_vain(checked, &sources, last.began).is_some() {
            return None;
        }
        // What came with the last check has ended with it.
        let missed = Timestamp(last.began.0.saturating_add((self.interval as f64 * SILENT) as i64));
        let after = self.users(checked).filter(|seen| seen.last.at > missed);
        let (traffic, steps) = match after {
            Some(seen) => (
                phrase!(
                    " while other traffic goes on (frame {frame})",
                    frame = seen.first.frame.number()
                ),
                vec![
                    phrase!(
                        "Was the check's port, path or protocol changed, or health checking disabled, then?"
                    ),
                    phrase!(
                        "Was the path of the load balancer's own addresses closed (security group, ACL)?"
                    ),
                    phrase!("Does that traffic come through this load balancer?"),
                ],
            ),
            None => (
                phrase!(" and no new connection of others arrives either"),
                vec![
                    phrase!("Was the target deregistered or the target group detached then?"),
                    phrase!("Was the load balancer's node replaced or its zone disabled?"),
                    phrase!("Did the path to this host break (security group, ACL, route)?"),
                ],
            ),
        };
        Some(Absence {
            id: "checks-stopped",
            text: phrase!(
                "health checks of {checked} stop at {began}, {silent} before the capture ends{traffic}",
                checked = checked.socket(),
                began = words::time(last.began),
                silent = words::seconds(silent as f64 / SECOND as f64),
                traffic
            ),
            steps,
            mark: Some(last.frame),
        })
    }
}
