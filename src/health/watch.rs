//! Takes in recognised checks and other connections while captures are read, and gives out the
//! health of each target.

use super::absence::{self, Expected};
use super::checker::{Checker, facts};
use super::judge::{self, Context};
use super::outcome::Outcome;
use super::remarks::Scene;
use super::settings::{Origin, Protocol, TargetGroup};
use super::state::{State, Thresholds};
use super::target::{Check, Entry, Health, ProberHealth, Target, Users};
use super::traffic::{Opened, Traffic};
use super::vendor::{self, SECOND};
use super::{series, triage};
use crate::cause::{Confidence, Finding};
use crate::flow::Flow;
use crate::packet::{Address, Endpoint};
use crate::phrase;
use crate::probe::{CheckerId, Reason, Recognised, RequestFacts, Sighting, Verdict};
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Targets that are told apart.
pub(super) const TARGETS_MAX: usize = 4096;
/// Kinds of check that are told apart at one target: protocols, paths, probers.
pub(super) const CHECKERS_MAX: usize = 64;
/// Checks of all targets that are listed one by one, of about 500 bytes each: 16 MB.
pub(super) const ALL_CHECKS_MAX: usize = 1 << 15;
/// Intervals without a check at the start of a capture after which the first check counts as the
/// first ever.
const FRESH: i64 = 2;

/// Is told of checks and changes as they become known.
pub trait Events {
    /// A check that is likely one, judged. Checks of a prober that is recognised late come late.
    /// `verdict` says whose it is, as far as that is known by then.
    fn check(&mut self, server: Endpoint, verdict: &Verdict, check: &Check);
    /// A target changed as a whole. An earlier check that becomes known later may add an earlier
    /// change.
    fn transition(&mut self, server: Endpoint, prober: &str, entry: &Entry);
}

/// Wants to know nothing before the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Events for Silent {
    fn check(&mut self, _: Endpoint, _: &Verdict, _: &Check) {}
    fn transition(&mut self, _: Endpoint, _: &str, _: &Entry) {}
}

/// How long checks wait for an answer, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// At most, as is usual.
    pub usual: i64,
    /// As the user says.
    pub given: Option<i64>,
}

/// What the user knows of health checks.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Target groups; one without targets holds for all that no other group names.
    pub groups: Vec<TargetGroup>,
    /// Targets of which checks are expected, beside those of the groups.
    pub expected: Vec<Endpoint>,
}

/// Watches over the health of targets.
#[derive(Debug, Default)]
pub struct Watch {
    groups: Vec<TargetGroup>,
    expected: Vec<Endpoint>,
    targets: BTreeMap<Endpoint, BTreeMap<CheckerId, Checker>>,
    traffic: Traffic,
    since: Option<Timestamp>,
    until: Timestamp,
    /// Checks listed one by one.
    listed: usize,
    bounds: BTreeMap<&'static str, u64>,
}

impl Watch {
    /// Watches targets with what the user knows of them.
    pub fn new(setup: Setup) -> Watch {
        let Setup { groups, mut expected } = setup;
        expected.extend(groups.iter().flat_map(|group| &group.targets));
        expected.sort_unstable();
        expected.dedup();
        Watch { groups, expected, ..Watch::default() }
    }

    /// A frame was captured at that time, whatever it carries.
    pub fn advance(&mut self, at: Timestamp) {
        self.since = Some(self.since.map_or(at, |since| since.min(at)));
        self.until = self.until.max(at);
    }

    /// A connection is over, check or not.
    pub fn flow(&mut self, flow: &Flow) {
        self.traffic.flow(flow);
    }

    /// A check was recognised. Tells of those that count as checks from now on: of itself, and of
    /// earlier ones of its kind when it is the one that makes them likely.
    pub fn check(&mut self, recognised: Recognised, events: &mut dyn Events) {
        let Recognised { sighting, checker: id, mut verdict, .. } = recognised;
        let server = sighting.target;
        if verdict.confidence == Confidence::Possible && self.is_announced(&sighting, &verdict) {
            let verdict = Arc::make_mut(&mut verdict);
            verdict.confidence = Confidence::Likely;
            let what = phrase!("as the given settings say of this target");
            verdict.reasons.insert(0, Reason { what, decibans: 0 });
        }
        if self.targets.len() >= TARGETS_MAX && !self.targets.contains_key(&server) {
            *self.bounds.entry("targets not told apart").or_default() += 1;
            return;
        }
        let since = self.since.unwrap_or_default();
        let until = self.until;
        let checkers = self.targets.entry(server).or_default();
        if checkers.len() >= CHECKERS_MAX && !checkers.contains_key(&id) {
            *self.bounds.entry("kinds of check not told apart").or_default() += 1;
            return;
        }
        let groups = &self.groups;
        let checker = checkers
            .entry(id)
            .or_insert_with(|| Checker::new(groups, server, Arc::clone(&verdict)));
        let rank = |verdict: &Verdict| (verdict.confidence, verdict.decibans);
        if rank(&verdict) > rank(&checker.verdict) {
            checker.verdict = verdict;
        }
        checker.learn(groups, &sighting);
        let context = Context {
            settings: &checker.settings,
            prober: checker.verdict.prober.as_deref(),
            until,
            period: checker.verdict.period.map(|seconds| (seconds * SECOND as f64) as i64),
            talks: false,
        };
        let judged = context.judge(&sighting);
        let check = facts(sighting, judged);
        let interval = checker.settings.interval.as_ref().map(|value| value.value);
        let full = self.listed >= ALL_CHECKS_MAX;
        let before = checker.series.checks().len();
        checker.add(server, check, fresh(since, interval), full, events);
        self.listed = self.listed + checker.series.checks().len() - before;
    }

    /// How long the checks of that target wait for an answer to their SYN, as far as that is known.
    pub fn patience(&self, server: Endpoint) -> Patience {
        let mut patience = Patience { usual: judge::PATIENCE, given: None };
        for checker in self.targets.get(&server).into_iter().flat_map(BTreeMap::values) {
            let Some(timeout) = &checker.settings.timeout else { continue };
            patience.usual = patience.usual.max(timeout.value);
            if timeout.origin == Origin::Given {
                patience.given = patience.given.max(Some(timeout.value));
            }
        }
        patience
    }

    /// Whether regular connections are what the user says that checks of this target are.
    fn is_announced(&self, sighting: &Sighting, verdict: &Verdict) -> bool {
        let server = sighting.target;
        let known = verdict.prober_id().is_none_or(|id| vendor::of_prober(id).is_some());
        if !known || verdict.relayed || verdict.period.is_none() {
            return false;
        }
        let group = self.groups.iter().find(|group| {
            let here = |target: &Endpoint| {
                *target == server || (group.port == Some(server.port) && target.ip == server.ip)
            };
            let targets = if group.targets.is_empty() { &self.expected } else { &group.targets };
            targets.iter().any(here)
        });
        let Some(given) = group else { return false };
        let tls = sighting.is_tls();
        let on_path = |asked: &RequestFacts| given.path.as_deref() == Some(asked.path());
        match (given.protocol, &sighting.request) {
            (Some(Protocol::Http), Some(asked)) if !tls => on_path(asked),
            (Some(Protocol::Https), Some(asked)) if tls => on_path(asked),
            (Some(Protocol::Https | Protocol::Tls), None) if tls => true,
            (Some(Protocol::Tcp), None) => sighting.opening.is_empty(),
            (Some(_), None) => !sighting.shape.is_accepted(),
            _ => false,
        }
    }

    /// The captures are read. `findings` are those of all connections; those of checks say so.
    pub fn finish(mut self, findings: &[Finding]) -> Health {
        let span = self.since.map(|since| (since, self.until));
        self.traffic.seal();
        let mut health = Health::default();
        let mut flows: BTreeMap<u64, u32> = BTreeMap::new();
        let mut drafts: BTreeMap<Endpoint, Target> = BTreeMap::new();
        for (server, checkers) in std::mem::take(&mut self.targets) {
            let mut checkers = self.settle(server, checkers, &mut health);
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
        let scene = Scene { traffic: &self.traffic, checks: &flows, findings, until: self.until };
        for mut target in drafts.into_values() {
            self.complete(&mut target, &scene, span, &elsewhere);
            health.targets.push(target);
        }
        for prober in health.targets.iter().flat_map(|target| &target.probers) {
            health.checks += prober.total;
            health.asked += prober.asked;
            for (outcome, n) in &prober.by_outcome {
                *health.by_outcome.entry(*outcome).or_default() += n;
            }
        }
        if self.traffic.forgotten > 0 {
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
            if !checker.speaks() && checker.tests_connections() {
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
        elsewhere: &BTreeMap<Address, BTreeMap<u16, u64>>,
    ) {
        target.probers.sort_by(|a, b| {
            let first = |prober: &ProberHealth| prober.checks.first().map(|check| check.began);
            (!a.balances, &a.id, first(a)).cmp(&(!b.balances, &b.id, first(b)))
        });
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
            traffic: scene.traffic,
            elsewhere: elsewhere.get(&target.server.ip).unwrap_or(&none),
            span,
        };
        let (absence, points) = (expected.absence(), triage::triage(target, port, scene.traffic));
        target.absence = absence;
        target.triage = points;
        target.remarks = scene.remarks(target);
        target.advice = super::advice::advise(target, scene.traffic);
    }
}

/// Says of the time of a first check whether that can be the first check ever.
fn fresh(since: Timestamp, interval: Option<i64>) -> impl Fn(Timestamp) -> bool + Copy {
    move |began| {
        interval.is_some_and(|interval| began.nanos_since(since) > interval.saturating_mul(FRESH))
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

#[cfg(test)]
mod tests {
    use super::super::settings::{Place, Raw, RawGroup};
    use super::super::testing::{SECOND, attempt, recognised, sighting};
    use super::*;
    use crate::probe::Shape;
    use crate::tcp::Side;

    /// Notes what it is told.
    #[derive(Default)]
    struct Told(Vec<String>);

    impl Events for Told {
        fn check(&mut self, _: Endpoint, verdict: &Verdict, check: &Check) {
            let prober = verdict.prober_id().unwrap_or("none");
            let outcome = check.outcome.map_or("none", Outcome::id);
            self.0.push(format!("{prober} {} {outcome}", check.began.0 / SECOND));
        }
        fn transition(&mut self, _: Endpoint, _: &str, entry: &Entry) {
            self.0.push(format!("{} {}", entry.state.id(), entry.reason.unwrap_or("-")));
        }
    }

    fn watch(from: i64, to: i64) -> Watch {
        let raw = |text: &str| Some(Raw { text: text.into(), place: Place::Flag("--hc") });
        let group = RawGroup {
            interval: raw("10"),
            healthy: raw("2"),
            unhealthy: raw("2"),
            ..RawGroup::default()
        };
        let groups = vec![group.check().unwrap()];
        let mut watch = Watch::new(Setup { groups, expected: Vec::new() });
        watch.advance(Timestamp(from * SECOND));
        watch.advance(Timestamp(to * SECOND));
        watch
    }

    fn states(target: &Target) -> Vec<(i64, &'static str)> {
        target.timeline.iter().map(|it| (it.mark.at.0 / SECOND, it.state.id())).collect()
    }

    #[test]
    fn checks_and_changes_are_told_as_they_become_known() {
        let mut told = Told::default();
        let mut watch = watch(0, 60);
        for (at, status) in [(10, 200), (20, 200), (30, 503), (40, 503)] {
            watch.check(recognised(sighting(at, status)), &mut told);
        }
        assert_eq!(
            told.0,
            [
                "aws-alb 10 hc-pass",
                "unknown -",
                "aws-alb 20 hc-pass",
                "healthy -",
                "aws-alb 30 hc-status-mismatch",
                "aws-alb 40 hc-status-mismatch",
                "unhealthy Target.ResponseCodeMismatch",
            ]
        );
        let health = watch.finish(&[]);
        assert_eq!(
            states(&health.targets[0]),
            [(10, "unknown"), (20, "healthy"), (40, "unhealthy")]
        );
        assert_eq!((health.checks, health.by_outcome[&Outcome::StatusMismatch]), (4, 2));
    }

    #[test]
    fn the_first_check_after_silence_is_the_first_ever() {
        let mut watch = watch(0, 60);
        watch.check(recognised(sighting(35, 200)), &mut Silent);
        let target = &watch.finish(&[]).targets[0];
        let reasons: Vec<_> = target.timeline.iter().map(|it| (it.state.id(), it.reason)).collect();
        assert_eq!(reasons, [("initial", Some("Elb.InitialHealthChecking")), ("healthy", None)]);
    }

    #[test]
    fn a_kind_of_check_that_becomes_likely_later_is_told_from_the_start() {
        let mut told = Told::default();
        let mut watch = watch(0, 60);
        for at in [10, 20] {
            let mut check = recognised(sighting(at, 200));
            let verdict = Arc::make_mut(&mut check.verdict);
            (verdict.confidence, verdict.decibans) = (Confidence::Possible, 5);
            watch.check(check, &mut told);
        }
        assert_eq!(told.0, [] as [&str; 0]);
        watch.check(recognised(sighting(30, 200)), &mut told);
        assert_eq!(told.0.len(), 5, "{:?}", told.0);
    }

    #[test]
    fn what_is_only_possible_is_counted_and_not_reported() {
        let mut watch = watch(0, 60);
        let mut check = recognised(sighting(10, 503));
        let verdict = Arc::make_mut(&mut check.verdict);
        verdict.confidence = Confidence::Possible;
        verdict.reasons = vec![Reason { what: "a rhythm".into(), decibans: 3 }];
        watch.check(check, &mut Silent);
        let health = watch.finish(&[]);
        assert_eq!((health.targets.len(), health.checks, health.possible), (0, 0, 1));
    }

    #[test]
    fn what_the_user_announces_needs_less_to_be_a_check() {
        let raw = |text: &str| Raw { text: text.into(), place: Place::Flag("--hc") };
        let mut seen = Vec::new();
        for (protocol, expected) in [("https", true), ("https", false), ("http", true)] {
            let group = RawGroup { protocol: Some(raw(protocol)), ..RawGroup::default() };
            let target = Endpoint::v4([10, 0, 2, if expected { 9 } else { 10 }], 8080);
            let groups = vec![group.check().unwrap()];
            let mut watch = Watch::new(Setup { groups, expected: vec![target] });
            watch.advance(Timestamp(0));
            let mut check = super::super::testing::silent(10);
            check.tls = Some(Arc::default());
            let mut check = recognised(check);
            let verdict = Arc::make_mut(&mut check.verdict);
            (verdict.confidence, verdict.prober) = (Confidence::Possible, None);
            watch.check(check, &mut Silent);
            seen.push(watch.finish(&[]).checks);
        }
        assert_eq!(seen, [1, 0, 0]);
    }

    #[test]
    fn an_expected_target_without_checks_says_what_to_look_at() {
        let mut watch = watch(0, 305);
        watch.expected = vec![Endpoint::v4([10, 0, 2, 9], 8080)];
        let target = watch.finish(&[]).targets.remove(0);
        let absence = target.absence.unwrap();
        assert_eq!(absence.id, "no-check-arrived");
        assert!(absence.text.contains("in 30 intervals of 10 s"), "{}", absence.text);
        let order = ["right host", "egress", "ingress", "ACL", "Port", "Registration"];
        assert_eq!(absence.steps.len(), order.len());
        for (step, word) in absence.steps.iter().zip(order) {
            assert!(step.contains(word), "{word} in {step}");
        }
        assert!(target.triage.iter().all(|point| point.answer == super::super::Answer::Unseen));
    }

    #[test]
    fn checks_of_another_port_belong_to_the_target_that_the_group_names() {
        let raw = |text: &str| Raw { text: text.into(), place: Place::Flag("--hc") };
        let group = RawGroup {
            port: Some(raw("8080")),
            targets: vec![raw("10.0.2.9:443")],
            ..RawGroup::default()
        };
        let setup = Setup { groups: vec![group.check().unwrap()], expected: Vec::new() };
        let mut watch = Watch::new(setup);
        watch.advance(Timestamp(0));
        watch.check(recognised(sighting(10, 200)), &mut Silent);
        let health = watch.finish(&[]);
        assert_eq!(health.targets.len(), 1);
        assert_eq!((health.targets[0].server.port, health.targets[0].checks()), (443, 1));
        assert!(health.targets[0].expected && health.targets[0].absence.is_none());
    }

    #[test]
    fn checks_that_stop_leave_a_sign_of_why() {
        let mut watch = watch(0, 200);
        for at in [10, 20, 30, 40] {
            watch.check(recognised(sighting(at, 200)), &mut Silent);
        }
        let target = watch.finish(&[]).targets.remove(0);
        assert_eq!(target.absence.as_ref().unwrap().id, "checks-stopped");
        let last = target.timeline.last().unwrap();
        assert_eq!((last.state, last.confidence), (State::Unused, Confidence::Possible));
        assert_eq!(last.reason, Some("Target.NotRegistered"));
    }

    #[test]
    fn requests_to_an_unhealthy_target_mean_that_the_load_balancer_fails_open() {
        let mut watch = watch(0, 80);
        for (at, status) in [(10, 200), (20, 200), (30, 503), (40, 503), (50, 503), (60, 503)] {
            watch.check(recognised(sighting(at, status)), &mut Silent);
        }
        let mut user = crate::flow::Flow {
            id: 77,
            client: Endpoint::v4([10, 0, 1, 7], 50_000),
            server: Endpoint::v4([10, 0, 2, 9], 8080),
            first: super::super::testing::mark(55 * SECOND),
            requests: 1,
            responses: 1,
            ..crate::flow::Flow::default()
        };
        user.opening.syn = Some(user.first);
        user.opening.syn_ack = Some(user.first);
        user.half_mut(Side::Client).sent = 100;
        user.half_mut(Side::Client).last_data = Some(user.first);
        watch.flow(&user);
        let target = watch.finish(&[]).targets.remove(0);
        let ids: Vec<&str> = target.remarks.iter().map(|note| note.id).collect();
        assert!(ids.contains(&"fail-open"), "{ids:?}");
        assert_eq!(target.users.requests, 1);
    }

    #[test]
    fn bounds_hold_and_are_counted() {
        let mut watch = watch(0, 50_000);
        let many = series::CHECKS_MAX as i64 + 7;
        for n in 0..many {
            watch.check(recognised(sighting(n * 10, 200)), &mut Silent);
        }
        let health = watch.finish(&[]);
        let prober = &health.targets[0].probers[0];
        assert_eq!((prober.total, prober.checks.len()), (many as u64, series::CHECKS_MAX));
        assert_eq!(health.bounds["health checks counted and not listed"], 7);
        assert_eq!(health.by_outcome[&Outcome::Pass], many as u64);
    }

    #[test]
    fn an_unanswered_check_that_comes_last_is_judged_in_its_place() {
        let mut watch = watch(0, 75);
        for at in [10, 20, 50, 60] {
            watch.check(recognised(sighting(at, 200)), &mut Silent);
        }
        for at in [30, 40] {
            watch.check(recognised(attempt(at, Shape::Unanswered)), &mut Silent);
        }
        let target = watch.finish(&[]).targets.remove(0);
        let wanted = [(10, "unknown"), (20, "healthy"), (40, "unhealthy"), (60, "healthy")];
        assert_eq!(states(&target), wanted);
    }
}
