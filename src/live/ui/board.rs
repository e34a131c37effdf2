//! What the view shows, in bounded memory: fed by the analysis, read by the view.

use super::super::{Follower, Standing};
use super::causes::{Causes, Tally};
use super::findings::{Findings, Known, Listed, failure};
use super::rates::Rates;
use super::targets::Targets;
use crate::blind::BlindSpot;
use crate::capture::CaptureInfo;
use crate::cause::{Finding, Kind};
use crate::flow::Flow;
use crate::health::{self, Check, Effect, Entry, State};
use crate::http::Exchange;
use crate::packet::Endpoint;
use crate::probe::Catalogue;
use crate::report::so_far::{self, Counted, Tone};
use crate::report::{Report, Summary, Told, Withdrawn, failed_at};
use crate::run::Listener;
use crate::time::Timestamp;
use crate::words::Lang;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All that can be seen.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// What is captured, in words.
    pub source: String,
    /// Time of the first packet, request or look at how the capture goes on.
    pub since: Option<Timestamp>,
    /// The newest of these.
    pub now: Timestamp,
    /// Counts, as for a report.
    pub summary: Summary,
    /// Requests.
    pub requests: Rates,
    /// Requests and connections that failed, health checks left out.
    pub failures: Rates,
    /// Health checks with a request of their own.
    pub asked: u64,
    /// By cause.
    pub causes: Causes,
    /// By target.
    pub targets: Targets,
    /// The newest.
    pub findings: Findings,
    /// How the capture goes on.
    pub standing: Standing,
    /// The last thing to say beside all that.
    pub notice: Option<String>,
    /// Interfaces, by the file of their frames.
    pub captures: Arc<[CaptureInfo]>,
    /// Probers that decide no traffic.
    onlookers: Arc<BTreeSet<Box<str>>>,
}

/// The state behind the view.
#[derive(Debug, Default)]
pub struct Board {
    shown: Shown,
    known: Known,
    revision: u64,
}

impl Board {
    /// An empty one; `source` says in words what is captured, on which `interfaces`.
    pub fn new(source: String, interfaces: &[String], probers: &Catalogue) -> Board {
        let named = |path: &String| CaptureInfo { path: path.clone(), ..CaptureInfo::default() };
        let captures = interfaces.iter().map(named).collect();
        let onlookers = probers.probers().iter().filter(|prober| !prober.decides());
        let onlookers = Arc::new(onlookers.map(|prober| prober.id.clone()).collect());
        Board {
            shown: Shown { source, captures, onlookers, ..Shown::default() },
            ..Board::default()
        }
    }

    /// Grows with every change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// A copy of what can be seen.
    pub fn shown(&self) -> Shown {
        self.shown.clone()
    }

    /// Findings so far, and requests.
    pub fn totals(&self) -> (u64, u64) {
        (self.shown.findings.total, self.shown.summary.exchanges)
    }

    /// Something to say to the user, such as that the disk is full.
    pub fn notice(&mut self, text: String) {
        self.shown.notice = Some(text);
        self.revision += 1;
    }

    fn reach(&mut self, at: Timestamp) {
        self.revision += 1;
        let shown = &mut self.shown;
        shown.now = shown.now.max(at);
        shown.since = Some(shown.since.map_or(at, |since| since.min(at)));
    }

    fn found(&mut self, finding: &Finding, early: bool) {
        self.revision += 1;
        let old = self.known.get(failure(finding)).cloned();
        if early && old.as_ref().is_some_and(|old| !old.early) {
            return;
        }
        if let Some(old) = &old {
            self.uncount(&old.finding);
        }
        self.list(Arc::new(finding.clone()), early, old.as_deref());
    }

    fn list(&mut self, finding: Arc<Finding>, early: bool, old: Option<&Listed>) {
        let at = failed_at(&finding);
        if let Some(at) = at {
            self.reach(at);
        }
        let shown = &mut self.shown;
        shown.summary.count(&finding);
        shown.causes.add(&finding);
        if finding.kind != Kind::HealthCheck {
            shown.targets.failed(finding.server, at);
            if let Some(at) = at {
                shown.failures.add(at);
            }
        }
        self.known.put(shown.findings.put(finding, early, old));
    }

    fn uncount(&mut self, finding: &Finding) {
        let (shown, at) = (&mut self.shown, failed_at(finding));
        shown.summary.uncount(finding);
        shown.causes.take(finding);
        if finding.kind != Kind::HealthCheck {
            shown.targets.not_failed(finding.server, at);
            if let Some(at) = at {
                shown.failures.take(at);
            }
        }
    }

    /// What was taken for a user's failure is a health check's, which may even have passed.
    fn settle(&mut self, check: &Check) {
        let keys = [(check.flow, check.ordinal), (check.flow, 0), (check.flow, 1)];
        let keys = if check.alone { &keys[..] } else { &keys[..1] };
        let known = keys.iter().find_map(|key| self.known.get(*key));
        let Some(old) = known.filter(|old| old.finding.kind != Kind::HealthCheck).cloned() else {
            return;
        };
        self.uncount(&old.finding);
        if check.outcome.is_none_or(|outcome| outcome.effect() == Effect::Fail) {
            let finding = Finding { kind: Kind::HealthCheck, ..(*old.finding).clone() };
            self.list(Arc::new(finding), old.early, Some(&old));
        } else {
            self.shown.findings.take(&old);
            self.known.forget(old.failure());
        }
    }
}

impl Listener for Board {
    fn flow(&mut self, flow: &Flow, _: &[String]) {
        self.reach(flow.last.at);
        let summary = &mut self.shown.summary;
        summary.flows += 1;
        *summary.protocols.entry(flow.protocol).or_default() += 1;
        for spot in flow.blind_spots.iter() {
            *summary.blind_spots.entry(spot).or_default() += 1;
        }
        self.shown.targets.connection(flow.server);
    }

    fn exchange(&mut self, _: u64, exchange: &Exchange) {
        let Some(request) = &exchange.request else { return };
        self.reach(request.first.at);
        self.shown.requests.add(request.first.at);
        if !exchange.blind_spots.has(BlindSpot::Encrypted) {
            self.shown.summary.exchanges += 1;
        }
    }

    fn finding(&mut self, finding: &Finding) {
        self.found(finding, false);
    }

    fn early(&mut self, finding: &Finding) {
        self.found(finding, true);
    }

    fn withdrawn(&mut self, withdrawn: &Withdrawn) {
        let Some(old) = self.known.get((withdrawn.flow, withdrawn.ordinal)).cloned() else {
            return;
        };
        self.revision += 1;
        self.uncount(&old.finding);
        self.shown.findings.take(&old);
        self.known.forget(old.failure());
    }

    fn check(&mut self, server: Endpoint, prober: &str, check: &Check) {
        self.reach(check.began);
        self.shown.asked += u64::from(check.ordinal > 0);
        self.shown.targets.check(server, prober, check);
        self.settle(check);
    }

    fn transition(&mut self, server: Endpoint, prober: &str, entry: &Entry) {
        self.reach(entry.mark.at);
        self.shown.targets.transition(server, prober, entry);
    }
}

impl Follower for Board {
    fn standing(&mut self, standing: &Standing) {
        self.reach(standing.now);
        let summary = &mut self.shown.summary;
        summary.packets = standing.packets;
        summary.encrypted_requests = standing.encrypted_requests;
        summary.unknown_requests = standing.unknown_requests;
        self.shown.standing = standing.clone();
    }
}

impl Shown {
    /// The first line of the report as it would be now.
    pub fn answer(&self, lang: Lang) -> (Vec<String>, Tone) {
        let mut report = Report { summary: self.summary.clone(), ..Report::default() };
        report.health.asked = self.asked;
        report.health.targets = self
            .targets
            .sorted()
            .into_iter()
            .filter_map(|(server, target)| self.health(server, &target.probers))
            .collect();
        let tallies = self.causes.sorted();
        let counted = tallies
            .iter()
            .map(|Tally { count, newest, .. }| Counted { count: *count, finding: newest });
        let (parts, tone) = so_far::answer(&report, &counted.collect::<Vec<_>>());
        (parts.iter().map(|part| part.in_lang(lang).into_owned()).collect(), tone)
    }

    /// As much of a target's health as the answer tells.
    fn health(
        &self,
        server: Endpoint,
        probers: &BTreeMap<String, super::targets::Strip>,
    ) -> Option<health::Target> {
        let decides = |id: &String| !self.onlookers.contains(id.as_str());
        let any = probers.keys().any(decides);
        let deciding = probers.iter().filter(|(id, _)| !any || decides(id));
        let entries = deciding.filter_map(|(_, strip)| strip.state.clone());
        let worst = entries.max_by_key(|entry| match entry.state {
            State::Healthy => 0,
            State::Unknown => 1,
            State::Initial => 2,
            _ => 3,
        })?;
        Some(health::Target {
            server,
            group: None,
            expected: false,
            probers: Vec::new(),
            state: worst.state,
            timeline: vec![worst],
            absence: None,
            triage: Vec::new(),
            remarks: Vec::new(),
            advice: Vec::new(),
            users: health::Users::default(),
        })
    }
}

/// A board that the analysis feeds while the view reads it.
#[derive(Clone, Debug)]
pub struct SharedBoard(Arc<Mutex<Board>>);

impl SharedBoard {
    /// Shares a board.
    pub fn new(board: Board) -> SharedBoard {
        SharedBoard(Arc::new(Mutex::new(board)))
    }

    /// The board, for as short as possible. A thread that panicked has left whole counts behind,
    /// of which some may be missing.
    pub fn lock(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for SharedBoard {
    fn flow(&mut self, flow: &Flow, tunnels: &[String]) {
        self.lock().flow(flow, tunnels);
    }

    fn exchange(&mut self, flow: u64, exchange: &Exchange) {
        self.lock().exchange(flow, exchange);
    }

    fn finding(&mut self, finding: &Finding) {
        self.lock().finding(finding);
    }

    fn early(&mut self, finding: &Finding) {
        self.lock().early(finding);
    }

    fn revised(&mut self, finding: &Finding, before: Told) {
        self.lock().revised(finding, before);
    }

    fn withdrawn(&mut self, withdrawn: &Withdrawn) {
        self.lock().withdrawn(withdrawn);
    }

    fn check(&mut self, server: Endpoint, prober: &str, check: &Check) {
        self.lock().check(server, prober, check);
    }

    fn transition(&mut self, server: Endpoint, prober: &str, entry: &Entry) {
        self.lock().transition(server, prober, entry);
    }
}

impl Follower for SharedBoard {
    fn standing(&mut self, standing: &Standing) {
        self.lock().standing(standing);
    }
}
