//! What is worth knowing of a target's health beside its states.

use super::advice;
use super::outcome::{Effect, Outcome};
use super::settings::time;
use super::state::{ASSUMED, State};
use super::target::{Check, Entry, Node, Note, ProberHealth, Target, Users};
use super::traffic::{Opened, Seen, Traffic};
use super::vendor::SECOND;
use crate::cause::{Confidence, Finding, Kind};
use crate::packet::{Address, Endpoint};
use crate::report::words;
use crate::time::{Mark, Timestamp};
use crate::{phrase, word};
use std::collections::{BTreeMap, BTreeSet};

/// How soon after a target became unhealthy its connections are ended, nanoseconds.
const TAKEN_OUT: i64 = 5 * SECOND;
/// Changes between healthy and unhealthy from which a target flaps.
const FLAPPING: usize = 3;
/// Short runs of failed checks from which they are pointed out although no threshold is met.
const RESTLESS: usize = 3;
/// Silent intervals inside a series that are pointed out.
const PAUSE: f64 = 3.5;
/// Requests that were under way when a target became unhealthy get this long to end, where the
/// interval is not known.
const GRACE: i64 = 5 * SECOND;

/// What other traffic of a target is told from.
pub(super) struct Scene<'a> {
    /// All connections.
    pub(super) traffic: &'a Traffic,
    /// Connections that carry checks, and how many.
    pub(super) checks: &'a BTreeMap<u64, u32>,
    /// Everything that failed; what is a check's says so.
    pub(super) findings: &'a [Finding],
    /// Ports of each host where load balancers check.
    pub(super) checked: &'a BTreeMap<Address, BTreeMap<u16, u64>>,
    /// Time of the last packet.
    pub(super) until: Timestamp,
}

impl Scene<'_> {
    /// Connections of others to the target; where there are none on the checked port, those to
    /// other ports of its host that come from its probers' addresses. Where several ports of the
    /// host are checked, each is a target of its own, with its own users.
    fn users<'a>(&'a self, target: &'a Target) -> Vec<&'a Seen> {
        let user =
            |seen: &&Seen| self.checks.get(&seen.flow).is_none_or(|checks| seen.requests > *checks);
        let here: Vec<&Seen> = self.traffic.to(target.server).filter(user).collect();
        let several = self.checked.get(&target.server.ip).is_some_and(|ports| ports.len() > 1);
        if several || here.iter().any(|seen| seen.asked.is_some()) {
            return here;
        }
        let sources: BTreeSet<Address> = target
            .deciding()
            .flat_map(|prober| &prober.checks)
            .map(|check| check.source.ip)
            .collect();
        let beside = self.traffic.beside(target.server).map(|(_, seen)| seen).filter(user);
        here.into_iter().chain(beside.filter(|seen| sources.contains(&seen.client))).collect()
    }

    /// Failures of others at the target.
    fn failures(&self, server: Endpoint) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(move |finding| finding.server == server && finding.kind != Kind::HealthCheck)
    }

    /// Counts the target's other traffic.
    pub(super) fn count(&self, target: &Target) -> Users {
        let forgotten = self.traffic.forgotten(target.server);
        let mut users = Users { forgotten, ..Users::default() };
        for seen in self.users(target) {
            users.connections += 1;
            users.requests += u64::from(seen.requests);
        }
        for finding in self.failures(target.server) {
            users.failed += 1;
            let at = finding.evidence.first().map(|guilty| guilty.mark.at);
            match at.map(|at| state_at(&target.timeline, at)) {
                Some(State::Healthy) => users.failed_while_healthy += 1,
                Some(State::Unhealthy) => users.failed_while_unhealthy += 1,
                _ => {}
            }
        }
        users
    }

    /// All remarks.
    pub(super) fn remarks(&self, target: &Target) -> Vec<Note> {
        let mut notes = Vec::new();
        notes.extend(self.fail_open(target));
        notes.extend(self.lead(target));
        notes.extend(self.taken_out(target));
        notes.extend(flapping(target));
        for prober in target.deciding() {
            notes.extend(never_passed(prober, &target.timeline));
            notes.extend(advice::slow(prober));
            notes.extend(pause(prober));
        }
        for prober in &target.probers {
            notes.extend(apart(prober, self.until));
            notes.extend(nodes(prober));
            notes.extend(odd_source(prober));
        }
        notes
    }

    /// Requests that still arrive at a target that its checks call unhealthy.
    fn fail_open(&self, target: &Target) -> Option<Note> {
        let users = self.users(target);
        let grace = target
            .deciding()
            .find_map(|prober| prober.settings.interval.as_ref())
            .map_or(GRACE, |interval| interval.value);
        for (start, end) in periods(&target.timeline, State::Unhealthy, self.until) {
            let from = Timestamp(start.0.saturating_add(grace));
            let inside = |at: Timestamp| at > from && at <= end;
            let late: Vec<&&Seen> = users
                .iter()
                .filter(|seen| {
                    let asked = seen.asked.is_some_and(|mark| inside(mark.at));
                    asked || (seen.asked.is_some() && inside(seen.first.at))
                })
                .collect();
            let Some(first) = late.iter().min_by_key(|seen| seen.first.at) else { continue };
            let mark = first.asked.filter(|mark| !inside(first.first.at) && inside(mark.at));
            return Some(Note {
                id: "fail-open",
                text: phrase!(
                    "{connections} of others still {bring} requests more than {grace} after the target became unhealthy: the load balancer \
                     fails open (it sends to all targets when all are unhealthy), or they do not come through it",
                    connections = words::plural(late.len() as u64, "connection"),
                    bring = if late.len() == 1 { word!("brings") } else { word!("bring") },
                    grace = time(grace)
                ),
                mark: mark.or(Some(first.first)),
            });
        }
        None
    }

    /// Connections that were reset from the load balancer's side when the target became unhealthy: a
    /// Network Load Balancer does so by its target group attribute
    /// `target_health_state.unhealthy.connection_termination.enabled`.
    fn taken_out(&self, target: &Target) -> Option<Note> {
        let users = self.users(target);
        for (start, end) in periods(&target.timeline, State::Unhealthy, self.until) {
            let soon = Timestamp(start.0.saturating_add(TAKEN_OUT).min(end.0));
            let cut = users.iter().filter_map(|seen| seen.reset);
            let cut: Vec<Mark> = cut.filter(|mark| mark.at > start && mark.at <= soon).collect();
            let Some(first) = cut.iter().min_by_key(|mark| mark.at).filter(|_| cut.len() > 1)
            else {
                continue;
            };
            return Some(Note {
                id: "taken-out",
                text: phrase!(
                    "{connections} of others were reset from the load balancer's side within {time} after the target became \
                     unhealthy: it ends the connections of a target that it takes out of service; these RSTs are not \
                     the target's",
                    connections = words::plural(cut.len() as u64, "connection"),
                    time = time(TAKEN_OUT)
                ),
                mark: Some(*first),
            });
        }
        None
    }

    /// Requests of users that failed before the checks noticed.
    fn lead(&self, target: &Target) -> Option<Note> {
        let down = target.timeline.iter().find(|entry| entry.state == State::Unhealthy)?;
        let prober = target.probers.get(down.prober)?;
        let before: Vec<&Check> =
            prober.checks.iter().filter(|check| check.decisive.at <= down.mark.at).collect();
        let effect = |check: &Check| check.outcome.map(Outcome::effect);
        let last_pass = before.iter().rposition(|check| effect(check) == Some(Effect::Pass))?;
        let first_fail =
            before[last_pass..].iter().find(|check| effect(check) == Some(Effect::Fail))?;
        let good_until = before[last_pass].decisive.at;
        let mark = self
            .failures(target.server)
            .filter_map(|finding| finding.evidence.first())
            .map(|guilty| guilty.mark)
            .filter(|mark| mark.at > good_until && mark.at < first_fail.decisive.at)
            .min_by_key(|mark| mark.at)?;
        let seconds = |later: Timestamp| words::seconds(later.since(mark.at));
        Some(Note {
            id: "passive-lead",
            text: phrase!(
                "the first request of a user failed {before} before the first failed check, and {earlier} before the target became \
                 unhealthy",
                before = seconds(first_fail.decisive.at),
                earlier = seconds(down.mark.at)
            ),
            mark: Some(mark),
        })
    }

    /// What the end of the checks says of the target's membership, as a last entry of its timeline.
    pub(super) fn ending(&self, target: &Target, prober: usize) -> Option<Entry> {
        let checks = target.probers.get(prober)?;
        let interval = checks.settings.interval.as_ref()?.value;
        let last = checks.checks.last()?;
        let silent = self.until.nanos_since(last.began) as f64;
        if !checks.balances || checks.total < 3 || silent < interval as f64 * super::absence::SILENT
        {
            return None;
        }
        let sources = checks.checks.iter().map(|check| check.source.ip).collect();
        if let Some(vain) = self.traffic.tried_in_vain(last.target, &sources, last.began) {
            let note =
                word!("attempts that failed came after the last known check; they may be checks");
            return (target.state == State::Healthy).then(|| Entry {
                mark: vain.first,
                state: State::Unknown,
                reason: None,
                confidence: Confidence::Possible,
                prober,
                note: note.into(),
            });
        }
        let from = Timestamp(last.began.0.saturating_add(interval));
        let users = self.users(target);
        let opened =
            users.iter().any(|seen| seen.first.at > from && seen.opened == Opened::Accepted);
        let running = users.iter().any(|seen| {
            seen.first.at <= from && seen.last.at > from && seen.opened == Opened::Accepted
        });
        let tried = users.iter().any(|seen| seen.last.at > from);
        let codes = checks.settings.vendor.is_some_and(|vendor| vendor.reason_codes);
        let (state, reason, note) = match (opened, running) {
            _ if tried && !opened && !running => (
                State::Unused,
                "Target.NotRegistered",
                word!("the checks stop and nothing else is accepted any more"),
            ),
            (true, _) => (
                State::Unavailable,
                "Target.HealthCheckDisabled",
                word!("the checks stop and new connections still come"),
            ),
            (false, true) => {
                let state = match target.state {
                    State::Unhealthy => State::UnhealthyDraining,
                    _ => State::Draining,
                };
                let note = word!("the checks stop, no new connection comes, old ones go on");
                (state, "Target.DeregistrationInProgress", note)
            }
            (false, false) => (
                State::Unused,
                "Target.NotRegistered",
                word!("the checks stop and nothing else comes any more"),
            ),
        };
        Some(Entry {
            mark: last.frame,
            state,
            reason: codes.then_some(reason),
            confidence: Confidence::Possible,
            prober,
            note: note.into(),
        })
    }
}

/// The state that a timeline gives for that time.
pub(super) fn state_at(timeline: &[Entry], at: Timestamp) -> State {
    timeline
        .iter()
        .take_while(|entry| entry.mark.at <= at)
        .last()
        .map_or(State::Unknown, |entry| entry.state)
}

/// When a timeline is in `state`: from and to.
fn periods(timeline: &[Entry], state: State, until: Timestamp) -> Vec<(Timestamp, Timestamp)> {
    let ends = timeline.iter().skip(1).map(|entry| entry.mark.at).chain([until]);
    timeline
        .iter()
        .zip(ends)
        .filter(|(entry, _)| entry.state == state)
        .map(|(entry, end)| (entry.mark.at, end))
        .collect()
}

fn flapping(target: &Target) -> Option<Note> {
    let decided: Vec<&Entry> =
        target.timeline.iter().filter(|entry| entry.state.is_decided()).collect();
    let changes = decided.windows(2).filter(|pair| pair[0].state != pair[1].state).count();
    if changes >= FLAPPING {
        let span = decided[decided.len() - 1].mark.at.since(decided[0].mark.at);
        return Some(Note {
            id: "flapping",
            text: phrase!(
                "the target flaps: {changes} changes between healthy and unhealthy in {span}. Look for what recurs (a \
                 restart loop, a full pool, garbage collection); higher thresholds only hide it",
                changes,
                span = words::seconds(span)
            ),
            mark: decided.last().map(|entry| entry.mark),
        });
    }
    target.deciding().find_map(restless)
}

/// Failed checks that are too few in a row, again and again. Each node counts its own.
fn restless(prober: &ProberHealth) -> Option<Note> {
    let threshold = prober.settings.unhealthy.as_ref().map_or(ASSUMED, |setting| setting.value);
    let mut nodes: BTreeMap<Address, Vec<(Effect, &Check)>> = BTreeMap::new();
    for check in &prober.checks {
        let effect = check.outcome.map_or(Effect::None, Outcome::effect);
        if effect != Effect::None {
            nodes.entry(check.source.ip).or_default().push((effect, check));
        }
    }
    let runs = nodes.values().flat_map(|checks| checks.chunk_by(|a, b| a.0 == b.0));
    let short = runs.filter(|run| run[0].0 == Effect::Fail && run.len() < threshold as usize);
    let firsts: Vec<Mark> = short.map(|run| run[0].1.decisive).collect();
    (firsts.len() >= RESTLESS).then(|| Note {
        id: "restless",
        text: phrase!("checks failed {count} times without enough failures in a row to change the state: users may meet the \
             same failures", count = firsts.len()),
        mark: firsts.into_iter().min_by_key(|mark| (mark.at, mark.frame)),
    })
}

/// Nodes that held the target to be unhealthy while no other did and checks of others passed: what they
/// have apart is their way to the target.
fn apart(prober: &ProberHealth, until: Timestamp) -> Option<Note> {
    let down: Vec<(&Node, Vec<(Timestamp, Timestamp)>)> = prober
        .nodes
        .iter()
        .map(|node| (node, periods(&node.timeline, State::Unhealthy, until)))
        .collect();
    let alone = |node: &Node, (from, to): (Timestamp, Timestamp)| {
        let joined = down.iter().any(|(other, periods)| {
            other.source != node.source && periods.iter().any(|(a, b)| *a < to && from < *b)
        });
        let passed = |check: &Check| {
            check.outcome == Some(Outcome::Pass)
                && check.source.addr() != node.source
                && (from..to).contains(&check.began)
        };
        !joined && prober.checks.iter().any(passed)
    };
    let cases = down.iter().flat_map(|(node, periods)| {
        periods.iter().filter(|period| alone(node, **period)).map(|(from, _)| (*node, *from))
    });
    let cases: Vec<(&Node, Timestamp)> = cases.collect();
    let (first, from) = *cases.iter().min_by_key(|(_, from)| *from)?;
    let others = cases.iter().any(|(node, _)| node.source != first.source);
    let entry = first.timeline.iter().find(|entry| entry.mark.at == from);
    let node = first.source;
    let text = if others {
        phrase!(
            "the checks of single addresses, {node} and others, failed while those of the others passed: look at the way \
             between each of them and the target (security groups, network ACLs, routes)",
            node
        )
    } else {
        phrase!(
            "the checks of {node} alone failed while those of the others passed: look at the way between it and the target \
             (security groups, network ACLs, routes)",
            node
        )
    };
    Some(Note { id: "one-node-apart", text, mark: entry.map(|entry| entry.mark) })
}

/// A target that has not passed a single check.
fn never_passed(prober: &ProberHealth, timeline: &[Entry]) -> Option<Note> {
    let passed = prober.by_outcome.contains_key(&Outcome::Pass);
    let failed = prober.by_outcome.keys().any(|outcome| outcome.effect() == Effect::Fail);
    if passed || !failed {
        return None;
    }
    let first = timeline.first().is_some_and(|entry| entry.state == State::Initial);
    let text = if first {
        word!(
            "the target has not passed its first check yet: until it does, it gets no traffic, and a group that has no \
         other target answers 503 (502 at some load balancers)"
        )
    } else {
        word!(
            "no check has passed since the capture began: if the target group is new, its targets are still initial and \
         get no traffic"
        )
    };
    Some(Note {
        id: "no-check-passed",
        text: text.into(),
        mark: prober.checks.first().map(|check| check.frame),
    })
}

fn pause(prober: &ProberHealth) -> Option<Note> {
    let interval = prober.settings.interval.as_ref()?.value;
    let gap = prober
        .checks
        .windows(2)
        .map(|pair| (pair[1].began.nanos_since(pair[0].began), &pair[0], &pair[1]))
        .max_by_key(|(gap, ..)| *gap)?;
    (gap.0 as f64 > interval as f64 * PAUSE).then(|| Note {
        id: "checks-paused",
        text: phrase!(
            "no check for {gap} (interval {interval}) between frames {from} and {to}",
            gap = words::seconds(gap.0 as f64 / SECOND as f64),
            interval = time(interval),
            from = gap.1.frame.frame.number(),
            to = gap.2.frame.frame.number()
        ),
        mark: Some(gap.1.frame),
    })
}

fn nodes(prober: &ProberHealth) -> Option<Note> {
    let n = prober.nodes.len();
    if n < 2 {
        return None;
    }
    let how = match prober.settings.vendor {
        Some(vendor) if vendor.consensus => word!("and agree among themselves"),
        _ => word!("each on its own"),
    };
    Some(Note {
        id: "several-nodes",
        text: phrase!(
            "{n} addresses check it, {how}: {n} times as many checks as the interval says are normal",
            n,
            how
        ),
        mark: None,
    })
}

fn odd_source(prober: &ProberHealth) -> Option<Note> {
    prober.verdict.unexpected_source.then(|| Note {
        id: "unexpected-source",
        text: phrase!("the checks say that they come from {prober}, but not from an address it has: somebody else may have copied them", prober = crate::words::Phrase::listed(&prober.name)),
        mark: prober.checks.first().map(|check| check.frame),
    })
}
