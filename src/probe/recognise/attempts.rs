//! Attempts that failed: which of them are checks of a group that is known.

use super::key::{ATTEMPTS, Key, checker, key, shape};
use super::{Recogniser, sorted};
use crate::cause::Confidence;
use crate::phrase;
use crate::probe::chain::Attempt;
use crate::probe::sighting::Sighting;
use crate::probe::verdict::{GroupId, Reason, Recognised, Verdict};
use std::sync::Arc;

/// Two attempts this close to each other, as a share of the period, cannot be told apart.
const CROWDED: f64 = 0.1;

/// Of two attempts this close to each other, as a share of the period, one is the check that was due.
const EITHER: f64 = 0.5;

/// Whose attempts out of rhythm are, of a source that sends nothing but checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strays {
    /// It may yet send something else.
    Wait,
    /// It has not by now.
    SoFar,
    /// It never did.
    AtEnd,
}

impl Recogniser {
    /// A group of checks is known: failed attempts of the same pair may be its.
    pub(super) fn settle(&mut self, key: Key, out: &mut impl FnMut(Recognised)) {
        let pair = (key.tunnel, key.source, key.target);
        self.pairs.entry(pair).or_default().push(key);
        self.add_sibling(key);
        let attempts = Key { on: ATTEMPTS, asked: 0, ..key };
        let Some(group) = self.groups.get_mut(&attempts) else { return };
        let held = std::mem::take(&mut group.held);
        self.held -= held.len();
        // The nearest to a known check first: each makes a place for the next.
        for sighting in sorted(held).into_iter().rev() {
            match self.host_of(&sighting, Strays::Wait) {
                Some(host) => self.adopt(&host, sighting, out),
                None => {
                    if let Some(group) = self.groups.get_mut(&attempts) {
                        group.held.push(sighting);
                        self.held += 1;
                    }
                }
            }
        }
    }

    /// The group of checks that a failed attempt belongs to.
    pub(super) fn host_of(&self, sighting: &Sighting, strays: Strays) -> Option<Key> {
        self.host_among(sighting, strays, &[])
    }

    /// The same of one that came among `others`, which belong to none yet.
    fn host_among(&self, sighting: &Sighting, strays: Strays, others: &[Attempt]) -> Option<Key> {
        let pair = (sighting.tunnel, sighting.source.ip, sighting.target);
        let keys = self.pairs.get(&pair)?;
        let attempt = Attempt::of(sighting);
        let at = attempt.at;
        let in_rhythm = keys
            .iter()
            .find(|key| self.groups.get(*key).is_some_and(|group| group.is_in_rhythm(attempt)));
        let host = in_rhythm.filter(|key| !self.is_crowded(key, at, others));
        // Probers change their rhythm when a check fails. What is out of it can be told only of a
        // source that has never asked for anything else, which is known at the end.
        let source = sighting.source.ip;
        let alone = strays != Strays::Wait
            && !self.has_users(source)
            && !self.failed_requests.explain(source, at);
        host.or(keys.first().filter(|key| alone && self.takes_stray(key, at, strays))).copied()
    }

    pub(super) fn so_far(&self) -> Strays {
        if self.at_once { Strays::SoFar } else { Strays::Wait }
    }

    /// Whether other attempts came about the same time, or `others` when that check was due, so that it is
    /// chance which fits.
    fn is_crowded(&self, key: &Key, at: i64, others: &[Attempt]) -> bool {
        let Some(group) = self.groups.get(key) else { return false };
        let period = group.verdict.as_ref().and_then(|verdict| verdict.period).unwrap_or(0.0);
        let attempts = self.groups.get(&Key { on: ATTEMPTS, asked: 0, ..*key });
        let mut held = attempts.into_iter().flat_map(|attempts| &attempts.held);
        let within = |other: i64, share: f64| {
            let apart = other.abs_diff(at) as f64 / 1e9;
            apart > 0.0 && apart < share * period
        };
        held.any(|other| within(other.began().0, CROWDED))
            || others.iter().any(|other| within(other.at, EITHER) && group.is_in_rhythm(*other))
    }

    /// Counts a failed attempt among the checks of `key`.
    pub(super) fn adopt(
        &mut self,
        key: &Key,
        sighting: Sighting,
        out: &mut impl FnMut(Recognised),
    ) {
        let Some(group) = self.groups.get_mut(key) else { return };
        group.add_attempt(&sighting);
        let Some(verdict) = &group.verdict else { return };
        let what = phrase!("an attempt that failed, where a check of this source was due");
        let mut verdict = Verdict::clone(verdict);
        verdict.confidence = verdict.confidence.min(Confidence::Likely);
        verdict.reasons.insert(0, Reason { what, decibans: 0 });
        let (group, checker) = (group.id, group.checker);
        out(Recognised { sighting, group, checker, verdict: Arc::new(verdict) });
    }

    /// What becomes of failed attempts that no group of checks took.
    pub(super) fn sort_attempts(
        &mut self,
        held: Vec<Sighting>,
        verdict: Option<Verdict>,
        group: GroupId,
        out: &mut impl FnMut(Recognised),
    ) {
        let verdict = verdict.map(Arc::new);
        let held = sorted(held);
        let attempts: Vec<Attempt> = held.iter().map(Attempt::of).collect();
        for (at, sighting) in held.into_iter().enumerate() {
            let others = &attempts[at.saturating_sub(1)..(at + 2).min(attempts.len())];
            if let Some(host) = self.host_among(&sighting, Strays::AtEnd, others) {
                self.adopt(&host, sighting, out);
            } else if let Some(verdict) = &verdict {
                let key = key(&sighting, true);
                let checker = checker(&key, shape(&key, &sighting));
                let checker = self.checkers.get(&checker).copied().unwrap_or_default();
                out(Recognised { sighting, group, checker, verdict: Arc::clone(verdict) });
            }
        }
    }
}
