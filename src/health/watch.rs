//! Takes in recognised checks and other connections while captures are read, and gives out the
//! health of each target.

mod finish;
#[cfg(test)]
mod tests;

use super::checker::{Checker, facts};
use super::judge::{self, Context};
use super::settings::{Origin, Protocol, TargetGroup};
use super::target::{Check, Entry};
use super::traffic::Traffic;
use super::vendor::{self, SECOND};
use crate::cause::Confidence;
use crate::flow::Flow;
use crate::packet::Endpoint;
use crate::phrase;
use crate::probe::{CheckerId, Reason, Recognised, RequestFacts, Sighting, Verdict};
use crate::time::Timestamp;
use std::collections::BTreeMap;
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

/// Kinds of load balancer whose TCP checks can send bytes and expect some: HAProxy's `tcp-check send`, Envoy's
/// `TcpHealthCheck.send`, the `match` of NGINX Plus, the `request` of a TCP health check of Google Cloud.
const TCP_TALKS: [&str; 4] = ["haproxy", "envoy", "nginx", "gcp"];

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
            one_way: self.traffic.is_one_way(server.ip),
            body: checker.usual_body(),
        };
        let judged = context.judge(&sighting);
        checker.learn_body(&sighting, &judged);
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
        let on_path = |asked: &RequestFacts| {
            given
                .path
                .as_deref()
                .is_some_and(|path| [asked.path(), asked.configured()].contains(&path))
        };
        match (given.protocol, &sighting.request) {
            (Some(Protocol::Http), Some(asked)) if !tls => on_path(asked),
            (Some(Protocol::Https), Some(asked)) if tls => on_path(asked),
            (Some(Protocol::Https | Protocol::Tls), None) if tls => true,
            (Some(Protocol::Tcp), None) => {
                let talks = |vendor: &vendor::Vendor| TCP_TALKS.contains(&vendor.id);
                sighting.opening.is_empty() || (!tls && given.vendor.is_none_or(talks))
            }
            (Some(_), None) => !sighting.shape.is_accepted(),
            _ => false,
        }
    }
}

/// Says of the time of a first check whether that can be the first check ever.
fn fresh(since: Timestamp, interval: Option<i64>) -> impl Fn(Timestamp) -> bool + Copy {
    move |began| {
        interval.is_some_and(|interval| began.nanos_since(since) > interval.saturating_mul(FRESH))
    }
}
