//! The same check of one target from all its sources: what is known of it and what followed.

use super::judge::{HALF_CLOSE, Judged};
use super::matcher::Matcher;
use super::outcome::Outcome;
use super::series::{CHECKS_MAX, Series};
use super::settings::{Defaults, Estimates, Protocol, Settings, TargetGroup};
use super::state::{Change, State, Thresholds};
use super::strands;
use super::target::{Check, Entry, Node, ProberHealth};
use super::vendor::{self, SECOND};
use super::watch::Events;
use crate::cause::Confidence;
use crate::packet::Endpoint;
use crate::probe::{Scope, Sighting, Timer, Verdict};
use crate::tcp::Side;
use crate::time::Timestamp;
use crate::words::Phrase;
use std::collections::VecDeque;
use std::sync::Arc;

/// Times after which a prober gave up that are kept to tell its time-out.
const GIVE_UPS_MAX: usize = 15;
/// Checks that passed with as many bytes from which that is usual.
const BODIES_MIN: u32 = 5;
/// One in so many may have had another number: a program that says something else every time expects nothing.
const OTHER_BODIES: u32 = 2;

/// The same check of one target, from all its sources.
#[derive(Debug)]
pub(super) struct Checker {
    pub(super) verdict: Arc<Verdict>,
    pub(super) given: Option<usize>,
    known: Defaults,
    pub(super) seen: Estimates,
    gave_up: VecDeque<i64>,
    /// Bytes of the body of the first check that passed, and of how many they were the same and not.
    body: (u64, u32, u32),
    pub(super) settings: Settings,
    pub(super) series: Series,
    /// Checks and changes have been given out.
    told: bool,
    told_changes: Vec<Change>,
}

/// Nanoseconds from the start of a check until the prober gave it up: until it closed while no
/// answer had come. What closes right behind its request only says that it asks no more.
fn gave_up_after(check: &Sighting) -> Option<i64> {
    let end = check.ending(Side::Client).filter(|_| check.closed_by == Some(Side::Client))?;
    let asked = check.marks.request_last?;
    let first = check.marks.response_first.is_none_or(|answer| end.mark.at < answer.at)
        || check.crossed_by().is_some();
    let waited = end.mark.at.nanos_since(asked.at);
    (first && (check.gone || waited >= HALF_CLOSE)).then(|| end.mark.at.nanos_since(check.began()))
}

/// What is kept of a sighting.
pub(super) fn facts(sighting: Sighting, judged: Judged) -> Check {
    let response = sighting.response.as_deref();
    let marks = &sighting.marks;
    let closed = sighting.ending(Side::Server).filter(|_| sighting.closed_by == Some(Side::Server));
    let answered = marks.response_last.filter(|_| response.is_some_and(|it| it.complete));
    Check {
        flow: sighting.flow,
        stream: sighting.stream,
        ordinal: sighting.ordinal,
        alone: sighting.scope == Scope::Connection,
        frame: sighting.frame(),
        began: sighting.began(),
        over: marks.response_last.unwrap_or(marks.last).at,
        source: sighting.source,
        target: sighting.target,
        outcome: judged.outcome,
        confidence: judged.confidence,
        decisive: judged.decisive,
        what: judged.what,
        note: judged.note,
        status: sighting.status(),
        latency: match sighting.request {
            Some(_) => sighting.latency(),
            None => sighting.connect_time(),
        },
        duration: sighting.duration(),
        gave_up_after: gave_up_after(&sighting),
        connect: sighting.connect_time(),
        request: sighting.request.as_ref().map(Arc::clone),
        request_len: sighting.request_len,
        body: response.map(|response| response.body),
        sent: response.map(|response| response.sent),
        texts: response.map(|response| Arc::clone(&response.texts)),
        answered: sighting.payload[Side::Server as usize],
        accepted: marks.syn_ack,
        syn: marks.syn,
        tls: sighting.is_tls(),
        left_open: closed.zip(answered).map(|(end, last)| end.mark.at.nanos_since(last.at)),
        rtt: sighting.round_trip.or(sighting.rtt.map(|rtt| rtt.smoothed)),
        rtt_variation: sighting.rtt.map(|rtt| rtt.variation),
        vantage: sighting.vantage,
        blind_spots: sighting.blind_spots,
    }
}

impl Checker {
    pub(super) fn new(groups: &[TargetGroup], server: Endpoint, verdict: Arc<Verdict>) -> Checker {
        let seconds = |s: Option<f64>| s.map(|s| (s * SECOND as f64) as i64);
        let known = verdict.prober.as_ref().map_or_else(Defaults::default, |prober| Defaults {
            interval: seconds(prober.defaults.interval),
            timeout: seconds(prober.defaults.timeout),
            healthy: prober.defaults.rise,
            unhealthy: prober.defaults.fall,
            matcher: prober.defaults.ok_http.as_deref().and_then(|ok| Matcher::parse(ok).ok()),
        });
        Checker {
            given: group_of(groups, server, &verdict),
            known,
            seen: Estimates { port: Some(server.port), ..Estimates::default() },
            gave_up: VecDeque::new(),
            body: (0, 0, 0),
            settings: Settings::default(),
            series: Series::default(),
            told: false,
            told_changes: Vec::new(),
            verdict,
        }
    }

    /// Whether its checks carry data.
    pub(super) fn speaks(&self) -> bool {
        self.seen.protocol.is_some_and(|protocol| protocol != Protocol::Tcp)
    }

    /// Whether its load balancer also tests connections without data.
    pub(super) fn tests_connections(&self) -> bool {
        let prober = self.verdict.prober_id().and_then(vendor::of_prober);
        let vendor = self.settings.vendor.or(prober);
        balances(&self.verdict) && vendor.is_none_or(|vendor| matches!(vendor.id, "nlb" | "clb"))
    }

    /// Learns what the check shows of the settings.
    pub(super) fn learn(&mut self, groups: &[TargetGroup], check: &Sighting) {
        let mut learned = self.series.total == 0;
        let speaks = if check.is_tls() {
            Some(Protocol::Https)
        } else if check.request.is_some() {
            Some(Protocol::Http)
        } else if check.protocol == crate::http::Protocol::Http2 {
            Some(Protocol::Grpc)
        } else if check.shape.is_accepted() && check.opening.is_empty() {
            Some(Protocol::Tcp)
        } else {
            None
        };
        // What carries data says more than what does not.
        if speaks.is_some_and(|speaks| self.seen.protocol.is_none_or(|old| old < speaks)) {
            self.seen.protocol = speaks;
            learned = true;
        }
        if let Some(request) = &check.request
            && self.seen.path.as_deref() != Some(request.configured())
        {
            self.seen.path = Some(request.configured().to_owned());
            learned = true;
        }
        if let Some(after) = gave_up_after(check) {
            if self.gave_up.len() == GIVE_UPS_MAX {
                self.gave_up.pop_front();
            } else {
                learned = true;
            }
            self.gave_up.push_back(after);
        }
        if learned {
            self.refresh(groups);
        }
    }

    /// Bytes of the body with which checks have passed so far, where they were nearly always as many.
    pub(super) fn usual_body(&self) -> Option<u64> {
        let (bytes, same, others) = self.body;
        (same >= BODIES_MIN && others <= same / OTHER_BODIES).then_some(bytes)
    }

    /// Learns from the body of a check that passed.
    pub(super) fn learn_body(&mut self, check: &Sighting, judged: &Judged) {
        let Some(response) = check.response.as_ref().filter(|response| response.complete) else {
            return;
        };
        let (bytes, same, others) = &mut self.body;
        if judged.outcome != Some(Outcome::Pass) {
            return;
        }
        if *same == 0 {
            *bytes = response.body;
        }
        let count = if *bytes == response.body { same } else { others };
        *count = count.saturating_add(1);
    }

    /// Works out the settings again.
    pub(super) fn refresh(&mut self, groups: &[TargetGroup]) {
        let mut gaps: Vec<i64> =
            self.series.progress().nodes.values().filter_map(|node| node.interval()).collect();
        gaps.sort_unstable();
        self.seen.interval = gaps.get(gaps.len() / 2).copied();
        let mut given_up: Vec<i64> =
            self.gave_up.iter().copied().filter(|_| self.speaks()).collect();
        given_up.sort_unstable();
        self.seen.timeout = given_up.get(given_up.len() / 2).copied();
        let given = self.given.and_then(|index| groups.get(index));
        let prober = self.verdict.prober_id().unwrap_or_default();
        self.settings = Settings::new(given, prober, &self.known, &self.seen);
    }

    fn id(&self) -> &str {
        self.verdict.prober_id().unwrap_or("unknown")
    }

    /// Takes in a check, and tells of it and of what it changes once it is likely one; then also of
    /// all that came before.
    pub(super) fn add(
        &mut self,
        server: Endpoint,
        check: Check,
        first: impl Fn(Timestamp) -> bool + Copy,
        full: bool,
        events: &mut dyn Events,
    ) {
        let likely = self.verdict.confidence >= Confidence::Likely;
        let limits = Thresholds::of(&self.settings);
        if likely && self.told {
            events.check(server, &self.verdict, &check);
        }
        self.series.add(check, limits, first);
        if full || self.series.checks().len() > CHECKS_MAX {
            self.series.fold(limits, first);
        }
        if !likely {
            return;
        }
        if !std::mem::replace(&mut self.told, true) {
            for earlier in self.series.checks() {
                events.check(server, &self.verdict, earlier);
            }
        }
        self.tell_changes(server, events);
    }

    /// Tells of changes that have not been told.
    fn tell_changes(&mut self, server: Endpoint, events: &mut dyn Events) {
        let changes = &self.series.progress().changes;
        if changes.len() == self.told_changes.len() && changes.last() == self.told_changes.last() {
            return;
        }
        for change in changes {
            let same =
                |told: &Change| (told.mark.frame, told.state) == (change.mark.frame, change.state);
            if !self.told_changes.iter().any(same) {
                events.transition(server, self.id(), &entry(change, &self.settings, 0));
            }
        }
        self.told_changes.clone_from(changes);
    }

    /// One for each of several timers that keep their own phase; empty when there is one.
    pub(super) fn strands(&self) -> Vec<Checker> {
        let timer = self.verdict.prober.as_ref().and_then(|prober| prober.defaults.timer);
        let whole = self.series.folded == 0 && self.series.disordered == 0;
        if timer != Some(Timer::Start) || !whole {
            return Vec::new();
        }
        let limits = Thresholds::of(&self.settings);
        let part = |checks: Vec<Check>| {
            let mut series = Series::default();
            checks.into_iter().for_each(|check| series.add(check, limits, |_| false));
            Checker {
                verdict: Arc::clone(&self.verdict),
                known: self.known.clone(),
                seen: self.seen.clone(),
                gave_up: self.gave_up.clone(),
                settings: self.settings.clone(),
                series,
                told_changes: Vec::new(),
                ..*self
            }
        };
        strands::split(self.series.checks()).into_iter().map(part).collect()
    }

    pub(super) fn into_health(self) -> ProberHealth {
        let progress = self.series.progress();
        let nodes = progress
            .nodes
            .iter()
            .map(|(ip, node)| Node {
                source: Endpoint { ip: *ip, port: 0 }.addr(),
                checks: node.checks,
                state: node.machine.state(),
                in_a_row: node.machine.in_a_row(),
                interval: node.interval(),
                timeline: node.changes.iter().map(|it| entry(it, &self.settings, 0)).collect(),
            })
            .collect();
        ProberHealth {
            id: self.id().to_owned(),
            name: self
                .verdict
                .prober
                .as_ref()
                .map_or(crate::word!("unknown prober").to_owned(), |prober| {
                    prober.name.to_string()
                }),
            balances: balances(&self.verdict),
            nodes,
            total: self.series.total,
            asked: self.series.asked,
            by_outcome: self.series.by_outcome.clone(),
            state: progress.whole.state(),
            changes: progress.changes.clone(),
            verdict: self.verdict,
            settings: self.settings,
            checks: self.series.into_checks(),
        }
    }
}

impl ProberHealth {
    /// The target as a whole by its checks, over time.
    pub(super) fn entries(&self, prober: usize) -> Vec<Entry> {
        self.changes.iter().map(|change| entry(change, &self.settings, prober)).collect()
    }
}

/// Whether such a prober decides what traffic a target gets.
fn balances(verdict: &Verdict) -> bool {
    verdict.prober.as_ref().is_none_or(|prober| prober.decides()) && !verdict.relayed
}

/// The group of the user that says something of these checks: one that names the target, else one
/// that names no target and fits the prober.
fn group_of(groups: &[TargetGroup], server: Endpoint, verdict: &Verdict) -> Option<usize> {
    if !balances(verdict) {
        return None;
    }
    let own = verdict.prober_id().and_then(vendor::of_prober);
    let fits = |group: &TargetGroup| match (group.vendor, own) {
        (Some(given), Some(own)) => given.id == own.id,
        _ => true,
    };
    let names = |group: &TargetGroup| {
        group.targets.contains(&server)
            || (group.port == Some(server.port)
                && group.targets.iter().any(|target| target.ip == server.ip))
    };
    let named = groups.iter().position(|group| fits(group) && names(group));
    named.or_else(|| groups.iter().position(|group| fits(group) && group.targets.is_empty()))
}

fn entry(change: &Change, settings: &Settings, prober: usize) -> Entry {
    let codes = settings.vendor.is_some_and(|vendor| vendor.reason_codes);
    let reason = match change.state {
        State::Initial if codes => Some("Elb.InitialHealthChecking"),
        State::Unhealthy => change
            .outcome
            .and_then(|outcome| outcome.reason(settings.vendor).or(Some(outcome.id()))),
        _ => None,
    };
    Entry {
        mark: change.mark,
        state: change.state,
        reason,
        confidence: change.confidence,
        prober,
        note: Phrase::default(),
    }
}
