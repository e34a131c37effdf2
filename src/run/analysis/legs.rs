//! Ties both legs of proxies: at the end, live for what is long over, and before where there are too many.

use super::told::{Failure, failure};
use super::{Collector, ordinal};
use crate::blind::BlindSpot;
use crate::cause::Finding;
use crate::join::CORRELATIONS_MAX;
use crate::join::legs::{Joins, Leg, may_be_a_proxys, retell};
use crate::report::Why;
use crate::time::Timestamp;

/// How long legs wait live for others, nanoseconds: the time after which a SYN without an answer is
/// over (70 s) and common time-outs of proxies (60 s) have passed.
const WAIT: i64 = 120_000_000_000;
/// Time between two looks, nanoseconds.
const EVERY: i64 = 30_000_000_000;
/// Findings that wait for the other leg, about 100 MB. Past it the older half of the legs is tied.
const HELD_MAX: usize = 1 << 16;

impl Collector<'_> {
    /// Takes in a leg.
    pub(super) fn add_leg(&mut self, leg: Leg) {
        self.results.legs.add(leg);
        if self.results.legs.are_full() {
            let joins = self.results.legs.settle_half();
            self.tell_ready(joins);
        }
    }

    /// A finding of one leg waits until it is known what the other one shows.
    pub(super) fn hold(&mut self, finding: Finding) {
        self.results.held.push(finding);
        let most = self.results.settings.findings_max().clamp(1, HELD_MAX);
        while self.results.held.len() >= most {
            let joins = self.results.legs.settle_half();
            self.tell_ready(joins);
        }
    }

    /// The other leg of this one was dropped, or came too late.
    pub(super) fn is_alone(&self, finding: &mut Finding) {
        if self.results.legs.has_lost(finding.server) && may_be_a_proxys(finding) {
            finding.blind_spots.add(BlindSpot::Evicted);
        }
    }

    /// Live: ties what is long over, so that nothing waits for the end of the capture.
    pub(super) fn join_old_legs(&mut self, now: Timestamp) {
        let results = &mut *self.results;
        if !results.settings.early || now.nanos_since(results.joined) < EVERY {
            return;
        }
        results.joined = now;
        let joins = results.legs.settle_before(Timestamp(now.0.saturating_sub(WAIT)));
        self.tell_ready(joins);
    }

    /// All flows are known: ties what is left.
    pub(super) fn join_legs(&mut self) {
        let joins = self.results.legs.settle_all();
        let held = std::mem::take(&mut self.results.held);
        self.tell_legs(joins, held);
        let early = self.results.legs.settled_early();
        self.reached("legs of proxies tied before all were known", early);
        let unsearched = self.results.legs.unsearched();
        self.reached("errors of proxies without a search for their attempt", unsearched);
    }

    /// Tells the findings whose legs wait no longer.
    fn tell_ready(&mut self, joins: Joins) {
        let held = std::mem::take(&mut self.results.held);
        let legs = &self.results.legs;
        let (waiting, ready): (Vec<Finding>, Vec<Finding>) =
            held.into_iter().partition(|held| legs.concerns(held.flow, ordinal(held)));
        self.results.held = waiting;
        self.tell_legs(joins, ready);
    }

    fn tell_legs(&mut self, mut joins: Joins, mut findings: Vec<Finding>) {
        // Checks have been recognised while these were held: they decide no user's request.
        findings.retain_mut(|finding| {
            let failed = self.results.checks.settle(finding);
            if !failed {
                self.withdraw(failure(finding), Why::Check);
            }
            failed
        });
        let before: Vec<Failure> = findings.iter().map(failure).collect();
        let findings = retell(&mut joins, findings);
        self.withdraw_merged(&before, &findings);
        for finding in findings {
            self.give(finding);
        }
        let summary = &mut self.results.report.summary;
        summary.back_exchanges += joins.back_exchanges;
        let listed = &mut self.results.report.correlations;
        let room = CORRELATIONS_MAX.saturating_sub(listed.len());
        let surplus = joins.settled.len().saturating_sub(room) as u64;
        listed.extend(joins.settled.into_iter().map(|it| it.correlation).take(room));
        self.reached("correlations not listed", surplus);
    }

    /// A bound was reached so many times.
    fn reached(&mut self, name: &'static str, count: u64) {
        if count > 0 {
            *self.results.report.summary.bounds.entry(name).or_default() += count;
        }
    }
}
