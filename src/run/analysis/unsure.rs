//! Connections that failed, in what is told while packets come: they wait until it is known whether they were
//! health checks. Live they are told before that, too.

use super::Collector;
use crate::cause::{Finding, Kind};
use crate::time::Timestamp;

/// Findings that wait, about 4 MB; past it the oldest is given out.
const UNSURE_MAX: usize = 1 << 11;

impl Collector<'_> {
    /// Whether [`Collector::is_unsure`] may take it in.
    pub(super) fn may_wait(&self, finding: &Finding) -> bool {
        self.results.settings.streamed && finding.kind == Kind::Connection
    }

    /// Takes `finding` in if it has to wait, and gives it back otherwise.
    pub(super) fn is_unsure(&mut self, finding: Finding) -> Option<Finding> {
        let waits = self.may_wait(&finding);
        let results = &mut *self.results;
        let at = finding.evidence.first().map(|guilty| guilty.mark.at).filter(|_| waits);
        let Some(at) = at else { return Some(finding) };
        let due = at.after(results.checks.patience(&finding));
        results.unsure.push_back((due, finding));
        let full = results.unsure.len() > UNSURE_MAX;
        if full { results.unsure.pop_front().map(|(_, finding)| finding) } else { None }
    }

    /// Gives out those whose time has come.
    pub(super) fn settle_unsure(&mut self, now: Timestamp) {
        while self.results.unsure.front().is_some_and(|unsure| unsure.0 <= now)
            && let Some((_, finding)) = self.results.unsure.pop_front()
        {
            let results = &mut *self.results;
            if now.0 < i64::MAX && results.checks.may_yet_be_check(&finding, now) {
                let due = now.after(results.checks.patience(&finding));
                results.unsure.push_back((due, finding));
                continue;
            }
            self.settle(finding);
        }
    }
}
