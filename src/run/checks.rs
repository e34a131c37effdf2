//! Ties recognition and health to the rest of a run: which connections are checks, what is said of
//! their targets, and which findings are theirs.

use super::{FINDINGS_MAX, Listener, Settings};
use crate::cause::{self, Confidence, Evidence, Finding, Kind, Responsible, What};
use crate::flow::Flow;
use crate::health::{Check, Effect, Entry, Events, Outcome, Watch};
use crate::http::{Exchange, Request, Response};
use crate::join::legs::Leg;
use crate::packet::Endpoint;
use crate::phrase;
use crate::probe::{Catalogue, Habit, Recognised, Recogniser, Shape, Sighting, Verdict};
use crate::report::Report;
use crate::tcp::Side;
use crate::time::{Mark, Timestamp};
use crate::words::Phrase;
use hashbrown::HashSet;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

/// Checks whose findings are told from those of users; with more, the oldest are forgotten.
const CHECKS_MAX: usize = 1 << 17;
/// The whole connection, in place of a request's position on it.
const ALONE: u32 = u32::MAX;
/// Time to the first repetition of a SYN, which doubles with each (RFC 6298, 2.1 and 5.5), nanoseconds.
const SYN_REPEATED: i64 = 1_000_000_000;
/// SYNs after which the next is not waited for: Linux gives up after seven.
const SYNS_MAX: u16 = 7;
/// How late a repetition may be, nanoseconds.
const LATE: i64 = 400_000_000;

/// Causes that leave open whether the load balancer's own timer or its client ended the wait. A
/// check has no client: it was the timer.
const UNSURE_WHO: [&str; 3] = ["client-abort", "lb-cut", "inconclusive"];

/// The checks of a run.
pub(super) struct Checks {
    recogniser: Recogniser,
    watch: Watch,
    known: Known,
}

/// Which connections and exchanges are checks.
struct Known {
    /// By flow and position of the request on it.
    outcomes: BTreeMap<(u64, u32), Found>,
    /// Checks that are not among them.
    lost: u64,
    /// Collect whose checks flows carry.
    probes: bool,
}

/// What a check found out.
struct Found {
    outcome: Option<Outcome>,
    confidence: Confidence,
    /// What is to say of it, if it is a time-out.
    note: Option<Box<Phrase>>,
}

/// Remembers what health has to tell of checks, and passes it on.
struct Teller<'a> {
    known: &'a mut Known,
    report: &'a mut Report,
    listener: &'a mut dyn Listener,
}

impl Events for Teller<'_> {
    fn check(&mut self, server: Endpoint, verdict: &Verdict, check: &Check) {
        let prober = verdict.prober_id().unwrap_or("unknown");
        self.listener.check(server, prober, check);
        let known = &mut *self.known;
        if known.probes {
            self.report.probes.insert(check.flow, prober.into());
        }
        if verdict.relayed {
            return;
        }
        // Flows are numbered in the order of their time: the first is the oldest.
        if known.outcomes.len() >= CHECKS_MAX && known.outcomes.pop_first().is_some() {
            known.lost += 1;
        }
        let ordinal = if check.alone { ALONE } else { check.ordinal };
        let (outcome, confidence) = (check.outcome, check.confidence);
        let timeout = outcome == Some(Outcome::Timeout);
        let note = timeout.then(|| Box::new(check.note.clone()));
        known.outcomes.insert((check.flow, ordinal), Found { outcome, confidence, note });
    }

    fn transition(&mut self, server: Endpoint, prober: &str, entry: &Entry) {
        self.listener.transition(server, prober, entry);
    }
}

impl Known {
    /// Takes in a check that was recognised.
    fn take(
        &mut self,
        watch: &mut Watch,
        recognised: Recognised,
        report: &mut Report,
        listener: &mut dyn Listener,
    ) {
        watch.check(recognised, &mut Teller { known: self, report, listener });
    }
}

impl Checks {
    pub(super) fn new(settings: &Settings, probers: Arc<Catalogue>) -> Checks {
        Checks {
            recogniser: Recogniser::new(probers),
            watch: Watch::new(settings.health.clone()),
            known: Known { outcomes: BTreeMap::new(), lost: 0, probes: settings.flows },
        }
    }

    /// Says of each check at once what is known by then.
    pub(super) fn without_waiting(self) -> Checks {
        Checks { recogniser: self.recogniser.without_waiting(), ..self }
    }

    /// A frame was read.
    pub(super) fn advance(&mut self, at: Timestamp) {
        self.watch.advance(at);
    }

    pub(super) fn flow(&mut self, flow: &Flow) {
        self.watch.flow(flow);
    }

    pub(super) fn habit(&mut self, flow: &Flow, habit: Habit) {
        self.recogniser.habit(flow.client, flow.server, habit);
    }

    /// A request came, of a user or of a proxy; what a proxy tries for those that fail is no check.
    pub(super) fn leg(&mut self, leg: &Leg) {
        let ends = &leg.ends;
        if ends.ordinal > 0 && ends.failed() {
            self.recogniser.failed_request(ends.client, ends.asked.at, ends.over.at);
        }
    }

    pub(super) fn sighting(
        &mut self,
        sighting: Sighting,
        report: &mut Report,
        listener: &mut dyn Listener,
    ) {
        let Checks { recogniser, watch, known } = self;
        recogniser.sight(sighting, &mut |check| known.take(watch, check, report, listener));
    }

    /// Whether a connection that fails before any request would be a health check, were it over.
    pub(super) fn expects(&self, finding: &Finding) -> bool {
        let began = finding.evidence.iter().map(|evidence| evidence.mark).min_by_key(|it| it.at);
        finding.kind == Kind::Connection
            && began.is_some_and(|at| self.recogniser.expects(finding.client, finding.server, at))
    }

    /// Until when an answer may come to an attempt that has none: until the prober's time-out, or until
    /// the time of its next SYN has passed without one.
    pub(super) fn may_be_answered_until(&self, sighting: &Sighting) -> Option<Timestamp> {
        if sighting.shape != Shape::Unanswered || sighting.icmp.is_some() {
            return None;
        }
        let marks = &sighting.marks;
        let last = marks.last_syn.or(marks.syn).unwrap_or(marks.first).at;
        let next = SYN_REPEATED << marks.syns.clamp(1, SYNS_MAX).saturating_sub(1);
        let patience = self.watch.patience(sighting.target);
        let silent = last.after(next + LATE).max(sighting.began().after(patience.usual));
        let timeout = patience.given.map(|timeout| sighting.began().after(timeout));
        Some(timeout.map_or(silent, |timeout| timeout.min(silent)))
    }

    /// How long to wait until it is known whether a connection that failed was a check, nanoseconds.
    pub(super) fn patience(&self, finding: &Finding) -> i64 {
        self.recogniser.patience(finding.client)
    }

    /// Whether that may take longer.
    pub(super) fn may_yet_be_check(&self, finding: &Finding, now: Timestamp) -> bool {
        self.recogniser.may_yet_be_checks(finding.client, finding.server, now)
    }

    /// Names the finding a health check's if it is one. `false`: the check passed, so that nothing
    /// failed.
    pub(super) fn settle(&self, finding: &mut Finding) -> bool {
        let ordinal = finding.exchange.as_ref().map_or(0, |exchange| exchange.ordinal);
        let outcomes = &self.known.outcomes;
        let alone = outcomes.get(&(finding.flow, ALONE));
        let Some(found) = alone.or_else(|| outcomes.get(&(finding.flow, ordinal))) else {
            return true;
        };
        finding.kind = Kind::HealthCheck;
        let Some(outcome) = found.outcome else { return true };
        if outcome == Outcome::Timeout
            && UNSURE_WHO.contains(&finding.cause.id)
            && let Some(cause) = cause::by_id("response-timeout")
        {
            finding.cause = cause;
            finding.responsible = cause.responsible;
            finding.confidence = found.confidence;
            finding.summary = found.note.as_deref().cloned().unwrap_or_default();
        }
        outcome.effect() == Effect::Fail
    }

    /// Whether that request is a health check.
    pub(super) fn knows(&self, flow: u64, ordinal: u32) -> bool {
        [ALONE, ordinal].iter().any(|which| self.known.outcomes.contains_key(&(flow, *which)))
    }

    /// The captures are read: recognises what is left, so that what a proxy tried for its users is told
    /// from its checks.
    pub(super) fn recognise_rest(&mut self, report: &mut Report, listener: &mut dyn Listener) {
        let Checks { recogniser, watch, known } = self;
        recogniser.finish(&mut |check| known.take(watch, check, report, listener));
    }

    /// Settles what is left and gives out the health of targets.
    pub(super) fn finish(mut self, report: &mut Report, listener: &mut dyn Listener) {
        self.recognise_rest(report, listener);
        let mut findings = std::mem::take(&mut report.findings);
        findings.retain_mut(|finding| {
            report.summary.uncount(finding);
            let keep = self.settle(finding);
            if keep {
                report.summary.count(finding);
            }
            keep
        });
        report.findings = findings;
        let unweighed = self.recogniser.unweighed();
        let health = self.watch.finish(&report.findings);
        let bounds = [
            ("health checks decided early", unweighed.early),
            ("possible health checks not looked at", unweighed.dropped),
            ("sources not compared with health checks", unweighed.forgotten),
            ("health checks whose failures count as users'", self.known.lost),
        ];
        let of_health = health.bounds.iter().map(|(name, count)| (*name, *count));
        for (name, count) in bounds.into_iter().chain(of_health).filter(|(_, count)| *count > 0) {
            *report.summary.bounds.entry(name).or_default() += count;
        }
        report.health = health;
    }
}

/// Findings for checks that failed without one: what the target answered was sound, only the check
/// does not take it.
pub(super) fn missing(report: &Report, causes: &[&'static str]) -> Vec<Finding> {
    let mut found: HashSet<(u64, u32)> = HashSet::new();
    for finding in report.findings.iter().filter(|finding| finding.kind == Kind::HealthCheck) {
        let ordinal = finding.exchange.as_ref().map_or(0, |exchange| exchange.ordinal);
        found.extend([(finding.flow, ordinal), (finding.flow, ALONE)]);
    }
    let probers = report.health.targets.iter().flat_map(|target| &target.probers);
    let checks = probers.filter(|prober| !prober.verdict.relayed).flat_map(|prober| &prober.checks);
    checks
        .filter_map(|check| Some((check, check.outcome?)))
        .filter(|(_, outcome)| outcome.effect() == Effect::Fail)
        .filter(|(_, outcome)| causes.is_empty() || causes.contains(&outcome.id()))
        .filter(|(check, _)| {
            let ordinal = if check.alone { ALONE } else { check.ordinal };
            !found.contains(&(check.flow, ordinal))
        })
        .map(|(check, outcome)| finding(check, outcome))
        .take(FINDINGS_MAX.saturating_sub(report.findings.len()))
        .collect()
}

fn finding(check: &Check, outcome: Outcome) -> Finding {
    let cause = outcome.cause();
    let note =
        if check.note.is_empty() { Phrase::fixed(cause.summary) } else { check.note.clone() };
    // Every outcome is proved by what the target sent, or by its silence.
    let guilty =
        Evidence { mark: check.decisive, side: Side::Server, what: check.what, note: note.clone() };
    let mut evidence = vec![guilty];
    if check.frame.frame != check.decisive.frame {
        let what = match (check.request.is_some(), check.tls) {
            (true, _) => What::Request,
            (false, true) => What::TlsHello,
            (false, false) => What::Syn,
        };
        let note = phrase!("the health check");
        evidence.push(Evidence { mark: check.frame, side: Side::Client, what, note });
    }
    Finding {
        cause,
        kind: Kind::HealthCheck,
        joined: None,
        flow: check.flow,
        stream: check.stream,
        client: check.source,
        server: check.target,
        responsible: match check.status {
            Some(500..) => Responsible::TargetApp,
            _ => cause.responsible,
        },
        confidence: check.confidence,
        vantage: check.vantage,
        exchange: exchange(check).map(Box::new),
        evidence,
        packets: Vec::new(),
        outstanding: check.request.as_ref().map(|_| check.decisive.at.nanos_since(check.frame.at)),
        idle_before: None,
        blind_spots: check.blind_spots,
        summary: note,
        host: None,
    }
}

/// As much of the exchange as was kept. The request's head is put together again from its parts.
fn exchange(check: &Check) -> Option<Exchange> {
    let asked = check.request.as_deref()?;
    let mut head = format!("{} {} {}\r\n", asked.method, asked.target, asked.version);
    for (name, value) in asked.names.iter().zip(&asked.values) {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("\r\n");
    let request = Request {
        first: check.frame,
        last: check.frame,
        end: check.request_len,
        head: head.into_bytes(),
        head_complete: asked.whole,
        complete: true,
        ..Request::default()
    };
    let answered = check.status.map(|status| (status, answer(check)));
    let response = answered.map(|(status, mark)| Response {
        first: mark,
        last: mark,
        end: check.sent.unwrap_or(0),
        status: Some(status),
        body: check.body.unwrap_or(0),
        ..Response::default()
    });
    let (ordinal, request) = (check.ordinal, Some(request));
    Some(Exchange { ordinal, request, response, ..Exchange::default() })
}

fn answer(check: &Check) -> Mark {
    if check.what == What::Response { check.decisive } else { check.frame }
}
