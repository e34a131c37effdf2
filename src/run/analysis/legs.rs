//! Ties both legs of proxies: at the end, and live for what is long over.

use super::{Collector, ordinal};
use crate::cause::Finding;
use crate::join::CORRELATIONS_MAX;
use crate::join::legs::{Settled, retell};
use crate::time::Timestamp;

/// How long legs wait live for others, nanoseconds: the time after which a SYN without an answer is
/// over (70 s) and common time-outs of proxies (60 s) have passed.
const WAIT: i64 = 120_000_000_000;
/// Time between two looks, nanoseconds.
const EVERY: i64 = 30_000_000_000;

impl Collector<'_> {
    /// Live: ties what is long over, so that nothing waits for the end of the capture.
    pub(super) fn join_old_legs(&mut self, now: Timestamp) {
        let results = &mut *self.results;
        if !results.settings.early || now.nanos_since(results.joined) < EVERY {
            return;
        }
        results.joined = now;
        let settled = results.legs.settle_before(Timestamp(now.0.saturating_sub(WAIT)));
        let held = std::mem::take(&mut results.held);
        let legs = &results.legs;
        let (waiting, ready): (Vec<Finding>, Vec<Finding>) =
            held.into_iter().partition(|held| legs.concerns(held.flow, ordinal(held)));
        results.held = waiting;
        self.tell_legs(settled, ready);
    }

    /// All flows are known: ties what is left.
    pub(super) fn join_legs(&mut self) {
        let (settled, counts) = std::mem::take(&mut self.results.legs).finish();
        let held = std::mem::take(&mut self.results.held);
        self.tell_legs(settled, held);
        self.results.report.summary.back_exchanges = counts.back_exchanges;
        self.reached("legs of proxies tied before all were known", counts.early);
        self.reached("correlations not listed", counts.dropped);
    }

    fn tell_legs(&mut self, mut settled: Vec<Settled>, findings: Vec<Finding>) {
        for finding in retell(&mut settled, findings) {
            self.give(finding);
        }
        let listed = &mut self.results.report.correlations;
        let room = CORRELATIONS_MAX.saturating_sub(listed.len());
        let surplus = settled.len().saturating_sub(room) as u64;
        listed.extend(settled.into_iter().map(|it| it.correlation).take(room));
        self.reached("correlations not listed", surplus);
    }

    /// A bound was reached so many times.
    fn reached(&mut self, name: &'static str, count: u64) {
        if count > 0 {
            *self.results.report.summary.bounds.entry(name).or_default() += count;
        }
    }
}
