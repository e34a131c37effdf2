//! What an analysis has found so far, and how what the engine gives out gets there.

use super::told::{Told, failure};
use crate::cause::{Case, Finding, Kind};
use crate::engine::Output;
use crate::flow::Flow;
use crate::http::Exchange;
use crate::join::legs::{Leg, Legs};
use crate::join::log;
use crate::packet::Endpoint;
use crate::probe::{Habit, Sighting};
use crate::report::{Report, Why, failed_at};
use crate::run::checks::Checks;
use crate::run::{Listener, Patient, SAME_PACKET, SERVERS_MAX, Settings};
use crate::tcp::Side;
use crate::time::Timestamp;
use hashbrown::HashMap;
use std::collections::{BTreeSet, VecDeque};

/// Flows listed when there is no end to them: about 100 MB.
const FLOWS_LISTED_MAX: usize = 100_000;
/// Early verdicts remembered until their connection is over, so that none is told twice.
pub(super) const EARLY_MAX: usize = 1 << 16;

/// How long a failure that was decided at once waits before it is told, nanoseconds: by then a check is
/// recognised as one, so that it is not told as the failure of a user, and one second is kept.
const RECOGNISED: i64 = 700_000_000;

/// What is known so far.
pub(super) struct Results {
    pub(super) settings: Settings,
    pub(super) report: Report,
    pub(super) servers: BTreeSet<Endpoint>,
    /// File, stream and ordinal of findings, with their flow and time.
    pub(super) found: HashMap<(u32, u32, u32), (u64, Timestamp)>,
    pub(super) checks: Checks,
    pub(super) legs: Legs,
    /// Findings of legs, until it is known what their proxy's clients saw; see [`super::legs`].
    pub(super) held: Vec<Finding>,
    /// Findings of connections that may have been checks, and until when they wait; see [`super::unsure`].
    pub(super) unsure: VecDeque<(Timestamp, Finding)>,
    /// When old legs were tied last.
    pub(super) joined: Timestamp,
    pub(super) early: Option<Early>,
    pub(super) logs: Option<log::Watch>,
}

/// What is told before connections are over.
pub(super) struct Early {
    /// Health checks by what was told early: what the report says of them must not depend on it.
    pub(super) checks: Checks,
    /// Those that are not final.
    pub(super) told: Told,
    /// Flows and ordinals of possible checks that were told.
    pub(super) sighted: HashMap<(u64, u32), ()>,
    /// Capture time.
    pub(super) now: Timestamp,
    /// Failures that were decided at once, and when they are told; at most [`EARLY_MAX`].
    pub(super) fresh: VecDeque<(Timestamp, Finding)>,
}

/// Collects what the engine gives out, and passes it on.
pub(super) struct Collector<'a> {
    pub(super) results: &'a mut Results,
    pub(super) listener: &'a mut dyn Listener,
}

impl Results {
    pub(super) fn advance(&mut self, at: Timestamp) {
        self.checks.advance(at);
        if let Some(early) = &mut self.early {
            early.checks.advance(at);
            early.now = at;
        }
    }

    /// Whether the same failure was found on the same packets inside or outside a tunnel: one
    /// stream to Wireshark, two flows to us.
    pub(super) fn seen_elsewhere(&mut self, finding: &Finding) -> bool {
        let Some((stream, guilty)) = finding.stream.zip(finding.evidence.first()) else {
            return false;
        };
        let key = (guilty.mark.frame.file(), stream, ordinal(finding));
        if self.found.len() >= self.settings.findings_max() && !self.found.contains_key(&key) {
            return false;
        }
        let (flow, at) = *self.found.entry(key).or_insert((finding.flow, guilty.mark.at));
        flow != finding.flow && guilty.mark.at.nanos_since(at).abs() < SAME_PACKET
    }

    pub(super) fn is_wanted(&self, finding: &Finding) -> bool {
        let causes = &self.settings.causes;
        causes.is_empty() || causes.contains(&finding.cause.id)
    }
}

impl Output for Collector<'_> {
    fn flow(&mut self, flow: &Flow) {
        let Results { report, servers, checks, legs, early, settings, logs, .. } =
            &mut *self.results;
        legs.hides(flow.server, flow.protocol);
        for spot in flow.blind_spots.iter() {
            *report.summary.blind_spots.entry(spot).or_default() += 1;
        }
        if servers.len() < SERVERS_MAX {
            servers.insert(flow.server);
        }
        *report.summary.protocols.entry(flow.protocol).or_default() += 1;
        report.summary.cut_flows += u64::from(flow.hides_what_it_carries());
        self.listener.flow(flow, &report.tunnels);
        checks.flow(flow);
        if let Some(early) = early {
            early.checks.flow(flow);
        }
        if let Some(logs) = logs {
            logs.flow(flow);
        }
        let flows_max =
            settings.flows_max.map_or(FLOWS_LISTED_MAX, |max| max.min(FLOWS_LISTED_MAX));
        if settings.flows && (early.is_none() || report.flows.len() < flows_max) {
            report.flows.push(flow.clone());
        } else if settings.flows {
            *report.summary.bounds.entry("flows not listed").or_default() += 1;
        }
    }

    fn exchange(&mut self, flow: u64, exchange: &Exchange) {
        self.listener.exchange(flow, exchange);
        if !self.results.settings.streamed {
            self.results.report.exchanges.push((flow, exchange.clone()));
        }
    }

    fn seen(&mut self, seen: log::Seen) {
        if let Some(logs) = &mut self.results.logs {
            logs.seen(seen);
        }
    }

    fn undecided(&mut self, case: &Case<'_>) {
        if let Some(logs) = &mut self.results.logs {
            logs.undecided(case);
        }
    }

    fn sighting(&mut self, sighting: Sighting) {
        let Results { report, checks, early, .. } = &mut *self.results;
        match early {
            Some(early) => {
                if early.sighted.remove(&(sighting.flow, sighting.ordinal)).is_none() {
                    early.checks.sighting(sighting.clone(), &mut Report::default(), self.listener);
                }
                checks.sighting(sighting, report, &mut Patient);
            }
            None => checks.sighting(sighting, report, self.listener),
        }
    }

    fn early_sighting(&mut self, sighting: Sighting) -> Option<Timestamp> {
        let early = self.results.early.as_mut()?;
        let silent = early.checks.may_be_answered_until(&sighting);
        if silent.is_some_and(|until| until > early.now) {
            return silent;
        }
        if early.sighted.len() < EARLY_MAX
            && early.sighted.insert((sighting.flow, sighting.ordinal), ()).is_none()
        {
            early.checks.sighting(sighting, &mut Report::default(), self.listener);
        }
        None
    }

    fn leg(&mut self, leg: Leg) {
        self.results.checks.leg(&leg);
        if let Some(early) = &mut self.results.early {
            early.checks.leg(&leg);
        }
        self.add_leg(leg);
    }

    fn habit(&mut self, flow: &Flow, habit: Habit) {
        self.results.checks.habit(flow, habit);
        if let Some(early) = &mut self.results.early {
            early.checks.habit(flow, habit);
        }
    }

    fn early(&mut self, mut finding: Finding) {
        let is_wanted = self.results.is_wanted(&finding);
        let Some(early) = &mut self.results.early else { return };
        if !early.told.is_news(&finding) || !early.checks.settle(&mut finding) || !is_wanted {
            return;
        }
        if early.checks.expects(&finding) {
            finding.kind = Kind::HealthCheck;
        }
        early.told.tell(&finding);
        self.listener.early(&finding);
    }

    fn refuted(&mut self, flow: &Flow, ordinal: u32) {
        self.withdraw((flow.id, ordinal), why(flow, ordinal));
    }

    fn finding(&mut self, finding: Finding) {
        if let Some(early) = &mut self.results.early
            && !early.told.knows(failure(&finding))
            && early.fresh.len() < EARLY_MAX.min(self.results.settings.findings_max())
        {
            early.fresh.push_back((early.now.after(RECOGNISED), finding));
            return;
        }
        if let Some(finding) = self.is_unsure(finding) {
            self.settle(finding);
        }
    }
}

impl Collector<'_> {
    /// Tells the failures whose time has come.
    pub(super) fn settle_fresh(&mut self, now: Timestamp) {
        while let Some(early) = &mut self.results.early
            && early.fresh.front().is_some_and(|fresh| fresh.0 <= now)
            && let Some((_, finding)) = early.fresh.pop_front()
        {
            let mut told = finding.clone();
            let failed = early.checks.settle(&mut told) && self.results.is_wanted(&told);
            // Its other leg, or what makes it a check, may be long in coming.
            let waits = self.results.legs.concerns(finding.flow, ordinal(&finding))
                || self.may_wait(&finding);
            if let Some(early) = &mut self.results.early
                && failed
                && waits
                && early.told.is_news(&told)
            {
                early.told.tell(&told);
                self.listener.early(&told);
            }
            if let Some(finding) = self.is_unsure(finding) {
                self.settle(finding);
            }
        }
    }

    /// All connections are known.
    pub(super) fn recognise_rest(&mut self) {
        let Results { report, checks, early, .. } = &mut *self.results;
        match early {
            // Those that were not told yet, then those of the report.
            Some(early) => {
                early.checks.recognise_rest(&mut Report::default(), self.listener);
                checks.recognise_rest(report, &mut Patient);
            }
            None => checks.recognise_rest(report, self.listener),
        }
    }

    pub(super) fn settle(&mut self, mut finding: Finding) {
        if self.results.seen_elsewhere(&finding) {
            self.withdraw(failure(&finding), Why::Elsewhere);
            return;
        }
        if !self.results.checks.settle(&mut finding) {
            self.withdraw(failure(&finding), Why::Check);
            return;
        }
        if self.results.legs.concerns(finding.flow, ordinal(&finding)) {
            self.hold(finding);
        } else {
            self.is_alone(&mut finding);
            self.give(finding);
        }
    }

    /// Everything about this finding is known.
    pub(super) fn give(&mut self, finding: Finding) {
        let listed = self.results.report.findings.len() < self.results.settings.findings_max();
        // Its log line may give it another cause.
        let waits = listed && self.results.logs.is_some() && !self.results.settings.early;
        if !waits && !self.results.is_wanted(&finding) {
            self.withdraw(failure(&finding), Why::OtherCause);
            return;
        }
        match &mut self.results.early {
            // It may be known as that of a check by what was told early.
            Some(early) => {
                let mut told = finding.clone();
                if early.checks.settle(&mut told) {
                    early.told.give(&told);
                    self.listener.finding(&told);
                } else {
                    self.withdraw(failure(&finding), Why::Check);
                }
            }
            None if waits => {}
            None => self.listener.finding(&finding),
        }
        let Results { report, .. } = &mut *self.results;
        report.summary.count(&finding);
        if listed {
            report.findings.push(finding);
        } else if !self.listener.unlisted(&finding) {
            *report.summary.bounds.entry("findings not listed").or_default() += 1;
            if let Some(at) = failed_at(&finding) {
                let key = (finding.cause.id, finding.kind.id());
                report.unlisted.entry(key).or_default().add(at);
            }
        }
    }
}

/// What came of a request of the connection, or of the connection itself.
fn why(flow: &Flow, ordinal: u32) -> Why {
    let connected = flow.opening.ack.is_some() || flow.half(Side::Client).payload_bytes > 0;
    match ordinal {
        0 if connected => Why::Connected,
        1.. if flow.responses >= ordinal => Why::Answered,
        _ => Why::Open,
    }
}

/// Position of the failed request on its connection, 0 without one.
pub(super) fn ordinal(finding: &Finding) -> u32 {
    finding.exchange.as_ref().map_or(0, |exchange| exchange.ordinal)
}
