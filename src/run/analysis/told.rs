//! What was told before it was final: each failure comes once more, or is withdrawn.

use super::Collector;
use super::collect::{EARLY_MAX, Early, ordinal};
use crate::cause::{Confidence, Finding, Kind, Responsible};
use crate::report::{self, Why, Withdrawn};
use hashbrown::{HashMap, HashSet};

/// What tells a failure from others: its connection, and the position of its request on it.
pub(super) type Failure = (u64, u32);

/// What tells a finding from others.
pub(super) fn failure(finding: &Finding) -> Failure {
    (finding.flow, ordinal(finding))
}

type Verdict = (&'static str, Responsible, Confidence);

fn verdict(finding: &Finding) -> Verdict {
    (finding.cause.id, finding.responsible, finding.confidence)
}

/// What was told; at most [`EARLY_MAX`] of each, about 300 and 60 bytes.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Early verdicts that have not become final.
    early: HashMap<Failure, (Verdict, Withdrawn)>,
    /// Final ones of connections: what comes later may show that they were health checks, or were not.
    given: HashMap<Failure, (Kind, report::Told)>,
}

impl Told {
    /// Whether this is news. `false` also where there is no room to remember it.
    pub(super) fn is_news(&self, finding: &Finding) -> bool {
        match self.early.get(&failure(finding)) {
            Some((known, _)) => *known != verdict(finding),
            None => self.early.len() < EARLY_MAX,
        }
    }

    /// It is told.
    pub(super) fn tell(&mut self, finding: &Finding) {
        self.early.insert(failure(finding), (verdict(finding), Withdrawn::of(finding)));
    }

    /// Whether it was told.
    pub(super) fn knows(&self, failure: Failure) -> bool {
        self.early.contains_key(&failure)
    }

    /// It is told as final.
    pub(super) fn give(&mut self, finding: &Finding) {
        self.end(failure(finding));
        let may_change = finding.exchange.is_none() && finding.kind != Kind::Attempt;
        if may_change && self.given.len() < EARLY_MAX {
            self.given.insert(failure(finding), (finding.kind, report::Told::of(finding)));
        }
    }

    /// What was told last of a finding, where that was a health check's and is not now, or the reverse.
    pub(super) fn otherwise(&self, finding: &Finding) -> Option<report::Told> {
        let (kind, told) = self.given.get(&failure(finding))?;
        (*kind != finding.kind).then_some(*told)
    }

    /// It is final.
    pub(super) fn end(&mut self, failure: Failure) -> Option<Withdrawn> {
        self.early.remove(&failure).map(|(_, withdrawn)| withdrawn)
    }
}

impl Collector<'_> {
    /// A failure is none, or is told as another one.
    pub(super) fn withdraw(&mut self, failure: Failure, why: Why) {
        let told = self.results.early.as_mut().and_then(|early| early.told.end(failure));
        if let Some(mut withdrawn) = told {
            withdrawn.why = why;
            self.listener.withdrawn(&withdrawn);
        }
    }

    /// Withdraws those of `before` that are not among `after`.
    pub(super) fn withdraw_merged(&mut self, before: &[Failure], after: &[Finding]) {
        if before.is_empty() || self.results.early.is_none() {
            return;
        }
        let after: HashSet<Failure> = after.iter().map(failure).collect();
        for gone in before.iter().filter(|failure| !after.contains(*failure)) {
            self.withdraw(*gone, Why::Elsewhere);
        }
    }

    /// Everything is final: what was told and did not come again is none.
    pub(super) fn withdraw_rest(&mut self) {
        let Some(Early { told, .. }) = &mut self.results.early else { return };
        let mut left: Vec<Failure> = told.early.keys().copied().collect();
        left.sort_unstable();
        left.into_iter().for_each(|failure| self.withdraw(failure, Why::Open));
    }
}
