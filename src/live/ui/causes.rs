//! How often each cause was found.

use super::rates::Rates;
use crate::cause::{Cause, Confidence, Finding, Kind, Responsible};
use crate::report::failed_at;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which findings are counted together: those of one cause and kind.
pub type Key = (&'static str, &'static str);

/// The findings of one cause and kind.
#[derive(Clone, Debug)]
pub struct Tally {
    /// The cause.
    pub cause: &'static Cause,
    /// What failed.
    pub kind: Kind,
    /// How many.
    pub count: u64,
    /// The newest of them.
    pub newest: Arc<Finding>,
    /// Who has to act: how many of them say so.
    responsible: BTreeMap<Responsible, u64>,
    /// How many are how sure.
    confidence: BTreeMap<Confidence, u64>,
    /// When they failed.
    pub rates: Rates,
}

impl Tally {
    /// Who has to act, the most frequent first.
    pub fn responsible(&self) -> Vec<(u64, &'static str)> {
        let mut who: Vec<_> = self.responsible.iter().map(|(who, n)| (*n, who.id())).collect();
        who.sort_by_key(|(n, id)| (std::cmp::Reverse(*n), *id));
        who
    }

    /// How sure, the surest first.
    pub fn confidence(&self) -> Vec<(u64, &'static str)> {
        self.confidence.iter().rev().map(|(sure, n)| (*n, sure.id())).collect()
    }
}

/// Every cause that was found. Bounded by the number of causes.
#[derive(Clone, Debug, Default)]
pub struct Causes(BTreeMap<Key, Tally>);

impl Causes {
    /// Counts a finding.
    pub fn add(&mut self, finding: &Arc<Finding>) {
        let tally = self.0.entry(key(finding)).or_insert_with(|| Tally {
            cause: finding.cause,
            kind: finding.kind,
            count: 0,
            newest: Arc::clone(finding),
            responsible: BTreeMap::new(),
            confidence: BTreeMap::new(),
            rates: Rates::default(),
        });
        tally.count += 1;
        tally.newest = Arc::clone(finding);
        *tally.responsible.entry(finding.responsible).or_default() += 1;
        *tally.confidence.entry(finding.confidence).or_default() += 1;
        if let Some(at) = failed_at(finding) {
            tally.rates.add(at);
        }
    }

    /// Takes a finding back.
    pub fn take(&mut self, finding: &Finding) {
        let Some(tally) = self.0.get_mut(&key(finding)) else { return };
        tally.count = tally.count.saturating_sub(1);
        less(&mut tally.responsible, finding.responsible);
        less(&mut tally.confidence, finding.confidence);
        if let Some(at) = failed_at(finding) {
            tally.rates.take(at);
        }
        if tally.count == 0 {
            self.0.remove(&key(finding));
        }
    }

    /// The most frequent first.
    pub fn sorted(&self) -> Vec<&Tally> {
        let mut tallies: Vec<&Tally> = self.0.values().collect();
        tallies.sort_by_key(|tally| std::cmp::Reverse(tally.count));
        tallies
    }
}

impl Tally {
    /// What tells it from others.
    pub fn key(&self) -> Key {
        (self.cause.id, self.kind.id())
    }
}

fn key(finding: &Finding) -> Key {
    (finding.cause.id, finding.kind.id())
}

fn less<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&key);
        }
    }
}
