//! What is said of each target when the captures are read.

use super::{Watch, fresh};
use crate::cause::{Confidence, Finding};
use crate::health::absence::{self, Expected};
use crate::health::checker::Checker;
use crate::health::counted::Counted;
use crate::health::outcome::Outcome;
use crate::health::remarks::Scene;
use crate::health::settings::{Protocol, TargetGroup};
use crate::health::state::{State, Thresholds};
use crate::health::target::{Check, Health, ProberHealth, Target, Users};
use crate::health::traffic::Opened;
use crate::health::{advice, series, triage};
use crate::packet::{Address, Endpoint};
use crate::probe::CheckerId;
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

impl Watch {
    /// The captures are read. `findings` are those of all connections; those of checks say so.
    pub fn finish(mut self, findings: &[Finding]) -> Health {
        let span = self.since.map(|since| (since, self.until));
        self.traffic.seal();
        let mut health = Health::default();
        let mut flows: BTreeMap<u64, u32> = BTreeMap::new();
        let mut drafts: BTreeMap<Endpoint, Target> = BTreeMap::new();
        for (server, checkers) in std::mem::take(&mut self.targets) {
            let checkers = self.settle(server, checkers, &mut health);
            let mut checkers: Vec<Checker> =
                checkers.into_iter().flat_map(|checker| self.apart(checker)).collect();
            self.add_tests(server, &mut checkers);
            if checkers.is_empty() {
                continue;
            }
            for check in checkers.iter().flat_map(|checker| checker.series.checks()) {
                *flows.entry(check.flow).or_default() += 1;
            }
            let (at, group) = self.home(server, &checkers);
            let draft = drafts.entry(at).or_insert_with(|| empty(at, group));
            draft.probers.extend(checkers.into_iter().map(Checker::into_health));
        }
        for server in &self.expected {
            let group = self.group_at(*server);
            drafts.entry(*server).or_insert_with(|| empty(*server, group)).expected = true;
        }
        let mut elsewhere: BTreeMap<Address, BTreeMap<u16, u64>> = BTreeMap::new();
        for target in drafts.values() {
            for prober in target.probers.iter().filter(|prober| prober.balances) {
                let port = prober.settings.port.as_ref().map_or(target.server.port, |p| p.value);
                *elsewhere.entry(target.server.ip).or_default().entry(port).or_default() +=
                    prober.total;
            }
        }
        let scene = Scene {
            traffic: &self.traffic,
            checks: &flows,
            findings,
            checked: &elsewhere,
            until: self.until,
        };
        for mut target in drafts.into_values() {
            self.complete(&mut target, &scene, span);
            health.targets.push(target);
        }
        for prober in health.targets.iter().flat_map(|target| &target.probers) {
            health.checks += prober.total;
            health.asked += prober.asked;
            for (outcome, n) in &prober.by_outcome {
                *health.by_outcome.entry(*outcome).or_default() += n;
            }
        }
        // Without checks there is nothing to compare them with.
        if self.traffic.forgotten > 0 && !health.targets.is_empty() {
            let name = "connections not compared with health checks";
            self.bounds.insert(name, self.traffic.forgotten);
        }
        for (name, count) in std::mem::take(&mut self.bounds) {
            *health.bounds.entry(name).or_default() += count;
        }
        health
    }

    /// Checkers that are likely ones, judged again with what all of them together show.
    fn settle(
        &self,
        server: Endpoint,
        checkers: BTreeMap<CheckerId, Checker>,
        health: &mut Health,
    ) -> Vec<Checker> {
        let (mut sure, unsure): (Vec<Checker>, Vec<Checker>) = checkers
            .into_values()
            .partition(|checker| checker.verdict.confidence >= Confidence::Likely);
        let talkers: BTreeSet<Address> = sure
            .iter()
            .filter(|checker| checker.speaks() && checker.tests_connections())
            .flat_map(|checker| checker.series.progress().nodes.keys().copied())
            .collect();
        for checker in unsure {
            // Who checks with data and also connects without tests connections.
            let tests = checker.seen.protocol == Some(Protocol::Tcp)
                && checker.series.progress().nodes.keys().all(|source| talkers.contains(source));
            if tests {
                sure.push(checker);
            } else {
                health.possible += checker.series.total;
                if !checker.series.by_outcome.contains_key(&Outcome::Pass) {
                    let failed = match checker.seen.protocol {
                        Some(Protocol::Https) => &mut health.failed_handshakes,
                        None => &mut health.failed_attempts,
                        _ => continue,
                    };
                    *failed.entry(server).or_default() += checker.series.total;
                }
            }
        }
        let named = sure.iter().any(|checker| {
            let vendor = checker.settings.vendor.is_some() || checker.verdict.prober.is_some();
            vendor && checker.speaks() && checker.tests_connections()
        });
        for checker in &mut sure {
            let mut bound = |name: &'static str, count: u64| {
                if count > 0 {
                    *health.bounds.entry(name).or_default() += count;
                }
            };
            bound("health checks counted and not listed", checker.series.folded);
            bound("health checks out of order", checker.series.disordered);
            bound("sources of health checks not told apart", checker.series.progress().strangers);
            bound("changes of state not listed", checker.series.progress().changes_lost);
            let limits = Thresholds::of(&checker.settings);
            checker.refresh(&self.groups);
            let interval = checker.settings.interval.as_ref().map(|value| value.value);
            let first = fresh(self.since.unwrap_or_default(), interval);
            if checker.settings.vendor.is_some_and(|vendor| vendor.id == "haproxy") {
                let counted = Counted::of(&checker.series);
                if !counted.is_empty() {
                    checker.series.revise(limits, first, |check| counted.revise(check));
                }
            }
            // Regular ones of their own are checks, unless a load balancer asks that is known to test.
            let tests = named || checker.verdict.confidence < Confidence::Likely;
            if tests && !checker.speaks() && checker.tests_connections() {
                checker.series.revise(limits, first, |check| {
                    if check.outcome == Some(Outcome::Pass) && talkers.contains(&check.source.ip) {
                        check.outcome = Some(Outcome::ProbeNoData);
                    }
                });
            }
            checker.series.replay(limits, first);
        }
        sure
    }

    /// The same checker, or one for each of several timers.
    fn apart(&self, checker: Checker) -> Vec<Checker> {
        let mut parts = checker.strands();
        if parts.is_empty() {
            return vec![checker];
        }
        for part in &mut parts {
            part.refresh(&self.groups);
            let limits = Thresholds::of(&part.settings);
            let interval = part.settings.interval.as_ref().map(|value| value.value);
            part.series.replay(limits, fresh(self.since.unwrap_or_default(), interval));
        }
        parts
    }

    /// Connections without data from where a load balancer checks that is known to test
    /// connections so.
    fn add_tests(&self, server: Endpoint, checkers: &mut [Checker]) {
        let known: BTreeSet<u64> = checkers
            .iter()
            .flat_map(|checker| checker.series.checks().map(|check| check.flow))
            .collect();
        let Some(checker) = checkers.iter_mut().find(|checker| {
            checker.speaks() && checker.settings.vendor.is_some() && checker.tests_connections()
        }) else {
            return;
        };
        let limits = Thresholds::of(&checker.settings);
        let interval = checker.settings.interval.as_ref().map(|value| value.value);
        let first = fresh(self.since.unwrap_or_default(), interval);
        for seen in self.traffic.to(server) {
            let quiet = seen.opened == Opened::Accepted && !seen.spoke && seen.requests == 0;
            let ours = checker.series.progress().nodes.contains_key(&seen.client);
            if quiet && ours && !known.contains(&seen.flow) {
                checker.series.add(Check::test(seen, server), limits, first);
                if checker.series.checks().len() > series::CHECKS_MAX {
                    checker.series.fold(limits, first);
                }
            }
        }
        checker.series.settle(limits, first);
    }

    /// Where the target of these checks gets its traffic, and its group.
    fn home(&self, server: Endpoint, checkers: &[Checker]) -> (Endpoint, Option<&TargetGroup>) {
        let group = checkers.iter().find_map(|checker| self.groups.get(checker.given?));
        let named = match group {
            Some(group) if !group.targets.is_empty() => &group.targets,
            _ => &self.expected,
        };
        let port = group.and_then(|group| group.port);
        let moved = |target: &&Endpoint| port == Some(server.port) && target.ip == server.ip;
        let at = named.iter().find(|target| **target == server);
        (at.or_else(|| named.iter().find(moved)).copied().unwrap_or(server), group)
    }

    /// The group of a target that nobody may check: one that names it, else one that names none.
    fn group_at(&self, server: Endpoint) -> Option<&TargetGroup> {
        let named = self.groups.iter().find(|group| group.targets.contains(&server));
        named.or_else(|| self.groups.iter().find(|group| group.targets.is_empty()))
    }

    fn complete(
        &self,
        target: &mut Target,
        scene: &Scene<'_>,
        span: Option<(Timestamp, Timestamp)>,
    ) {
        target.probers.sort_by(|a, b| {
            let first = |prober: &ProberHealth| prober.checks.first().map(|check| check.began);
            (!a.balances, &a.id, first(a)).cmp(&(!b.balances, &b.id, first(b)))
        });
        leave_out_strangers(&mut target.probers);
        let none = target.probers.iter().all(|prober| !prober.balances);
        for index in 0..target.probers.len() {
            let prober = &target.probers[index];
            if !prober.balances && !none {
                continue;
            }
            let entries = prober.entries(index);
            target.timeline.extend(entries);
        }
        target.timeline.sort_by_key(|entry| (entry.mark.at, entry.mark.frame, entry.prober));
        target.state = worst(target.deciding().map(|prober| prober.state));
        for index in 0..target.probers.len() {
            if let Some(entry) = scene.ending(target, index) {
                if entry.state == State::Unknown {
                    target.state = State::Unknown;
                }
                target.probers[index].state = entry.state;
                target.timeline.push(entry);
            }
        }
        target.timeline.sort_by_key(|entry| (entry.mark.at, entry.mark.frame));
        target.users = scene.count(target);
        let group = self.group_at(target.server);
        let settings = target.deciding().map(|prober| &prober.settings).next();
        let port = group
            .and_then(|group| group.port)
            .or(settings.and_then(|settings| settings.port.as_ref()).map(|port| port.value))
            .unwrap_or(target.server.port);
        let vendor =
            group.and_then(|group| group.vendor).or(settings.and_then(|settings| settings.vendor));
        let interval = group
            .and_then(|group| group.interval)
            .or(settings.and_then(|settings| settings.interval.as_ref()).map(|value| value.value))
            .or(vendor.and_then(|vendor| vendor.interval.default))
            .unwrap_or(absence::USUAL_INTERVAL);
        let none = BTreeMap::new();
        let expected = Expected {
            target,
            port,
            interval,
            vendor,
            protocol: group.and_then(|group| group.protocol),
            traffic: scene.traffic,
            elsewhere: scene.checked.get(&target.server.ip).unwrap_or(&none),
            span,
        };
        let (absence, points) = (expected.absence(), triage::triage(target, port, scene.traffic));
        target.absence = absence;
        target.triage = points;
        target.remarks = scene.remarks(target);
        target.advice = advice::advise(target, scene.traffic);
    }
}

/// What only its behaviour makes a prober is no load balancer for sure: where a known one checks the target, the
/// state is that one's, unless both come from the same address.
fn leave_out_strangers(probers: &mut [ProberHealth]) {
    let sources = |prober: &ProberHealth| -> BTreeSet<IpAddr> {
        prober.nodes.iter().map(|node| node.source).collect()
    };
    let known: BTreeSet<IpAddr> = probers
        .iter()
        .filter(|prober| prober.balances && prober.verdict.prober.is_some())
        .flat_map(sources)
        .collect();
    for prober in probers.iter_mut().filter(|prober| prober.verdict.prober.is_none()) {
        prober.balances &= known.is_empty() || !sources(prober).is_disjoint(&known);
    }
}

fn empty(server: Endpoint, group: Option<&TargetGroup>) -> Target {
    Target {
        server,
        group: group.and_then(|group| group.name.clone()),
        expected: false,
        probers: Vec::new(),
        timeline: Vec::new(),
        state: State::Unknown,
        absence: None,
        triage: Vec::new(),
        remarks: Vec::new(),
        advice: Vec::new(),
        users: Users::default(),
    }
}

/// The state that a target is in when several probers decide: the worst.
fn worst(states: impl Iterator<Item = State>) -> State {
    let rank = |state: &State| match state {
        State::Healthy => 0,
        State::Unknown => 1,
        State::Initial => 2,
        _ => 3,
    };
    states.max_by_key(rank).unwrap_or_default()
}
