//! Attempts that failed: which of them are checks of a group that is known.

use super::key::{ATTEMPTS, Key, checker, key, shape};
use super::{Recogniser, sorted};
use crate::cause::Confidence;
use crate::phrase;
use crate::probe::chain::Attempt;
use crate::probe::group::{Due, Group};
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
        self.place(&key, out);
    }

    /// A check of `key` is known that came where users go, too: more can be said of attempts before it.
    pub(super) fn place_among_users(&mut self, key: &Key, out: &mut impl FnMut(Recognised)) {
        if self.has_users_at(key.source, key.target) {
            self.place(key, out);
        }
    }

    /// Looks again at the attempts of the same pair that wait.
    fn place(&mut self, key: &Key, out: &mut impl FnMut(Recognised)) {
        let attempts = Key { on: ATTEMPTS, asked: 0, ..*key };
        let group = self.groups.get_mut(&attempts).filter(|group| !group.held.is_empty());
        let Some(group) = group.filter(|group| !group.is_flood()) else { return };
        let held = std::mem::take(&mut group.held);
        self.held -= held.len();
        let left = self.adopt_those_due(sorted(held), Strays::Wait, out);
        self.held += left.len();
        if let Some(group) = self.groups.get_mut(&attempts) {
            group.held = left;
        }
    }

    /// Counts those among the checks that come when one is due, and gives back the others. The nearest to a
    /// known check first: each makes a place for the next.
    fn adopt_those_due(
        &mut self,
        mut left: Vec<Sighting>,
        strays: Strays,
        out: &mut impl FnMut(Recognised),
    ) -> Vec<Sighting> {
        let pair = left.first().map(|first| (first.tunnel, first.source.ip, first.target));
        if pair.is_none_or(|pair| !self.pairs.contains_key(&pair)) {
            // No check of theirs is known.
            return sorted(left);
        }
        left = self.adopt_in_outages(left, out);
        let mut in_vain = 0;
        while in_vain < 2 && !left.is_empty() {
            let mut all: Vec<Attempt> = left.iter().map(|one| self.attempt(one)).collect();
            all.sort_unstable();
            let count = left.len();
            left.reverse();
            let mut others = Vec::with_capacity(count);
            for sighting in left {
                match self.host_among(&sighting, strays, Some(&all)) {
                    Some(host) => self.adopt(&host, sighting, out),
                    None => others.push(sighting),
                }
            }
            left = others;
            in_vain = if left.len() < count { 0 } else { in_vain + 1 };
        }
        sorted(left)
    }

    /// Counts those among the checks that lead from one check that was answered to the next one, and gives back
    /// the others.
    fn adopt_in_outages(
        &mut self,
        mut left: Vec<Sighting>,
        out: &mut impl FnMut(Recognised),
    ) -> Vec<Sighting> {
        let Some(first) = left.first() else { return left };
        let pair = (first.tunnel, first.source.ip, first.target);
        for key in self.pairs.get(&pair).cloned().unwrap_or_default() {
            let mut all: Vec<Attempt> = left.iter().map(|one| self.attempt(one)).collect();
            all.sort_unstable();
            // Some may be known as checks by the rhythm of other targets.
            let keys = self.pairs.get(&pair).into_iter().flatten();
            let known = keys.filter_map(|key| self.groups.get(key));
            let known: Vec<Attempt> = known.flat_map(|group| group.tried_all()).copied().collect();
            let Some(group) = self.groups.get_mut(&key) else { continue };
            group.learn_paces();
            let checks = group.in_outages(&all, &known);
            let mut others = Vec::with_capacity(left.len());
            for sighting in left {
                if checks.contains(&self.attempt(&sighting)) {
                    self.adopt(&key, sighting, out);
                } else {
                    others.push(sighting);
                }
            }
            left = others;
        }
        left
    }

    /// The group of checks that a failed attempt belongs to.
    pub(super) fn host_of(&self, sighting: &Sighting, strays: Strays) -> Option<Key> {
        self.host_among(sighting, strays, None)
    }

    /// The same of one of `all` (ascending) that belong to none yet; without them it is not known what else
    /// will come when that check is due.
    fn host_among(
        &self,
        sighting: &Sighting,
        strays: Strays,
        all: Option<&[Attempt]>,
    ) -> Option<Key> {
        let pair = (sighting.tunnel, sighting.source.ip, sighting.target);
        let keys = self.pairs.get(&pair)?;
        let attempt = self.attempt(sighting);
        let users = self.has_users_at(pair.1, pair.2);
        let host = keys.iter().find(|key| {
            let group = self.groups.get(*key);
            group.is_some_and(|group| self.is_due(key, group, attempt, users, all))
        });
        // Probers change their rhythm when a check fails. What is out of it can be told only of a
        // source that has never asked for anything else, which is known at the end.
        let source = sighting.source.ip;
        let alone = strays != Strays::Wait
            && !self.has_users(source)
            && !self.failed_requests.explain(source, attempt.at);
        host.or(keys.first().filter(|key| alone && self.takes_stray(key, attempt.at, strays)))
            .copied()
    }

    /// A candidate that failed.
    pub(super) fn attempt(&self, sighting: &Sighting) -> Attempt {
        Attempt::of(sighting, self.newest)
    }

    pub(super) fn so_far(&self) -> Strays {
        if self.at_once { Strays::SoFar } else { Strays::Wait }
    }

    /// Whether `attempt` is the check of `group` that was due, and no other may be that.
    fn is_due(
        &self,
        key: &Key,
        group: &Group,
        attempt: Attempt,
        users: bool,
        all: Option<&[Attempt]>,
    ) -> bool {
        let period = group.verdict.as_ref().and_then(|verdict| verdict.period).unwrap_or(0.0);
        let period = (period * 1e9) as i64;
        let within = |share: f64| {
            let apart = (share * period as f64) as i64;
            let all = all.unwrap_or_default();
            let first = all.partition_point(|other| other.at < attempt.at.saturating_sub(apart));
            let near = all[first..].iter();
            near.take_while(move |other| other.at <= attempt.at.saturating_add(apart))
                .filter(move |other| other.at != attempt.at)
        };
        let may_be = |due: Due| within(EITHER).any(|other| group.due(*other, users) >= due);
        match (group.due(attempt, users), group.beat) {
            (Due::No, _) => false,
            (Due::Exact, Some(_)) if users => !may_be(Due::Exact),
            // Users are not as exact, but one may well come about then: only where a check is missing between
            // two others, or where others hardly come, it was that check, and late.
            (Due::Near, Some(_)) if users => {
                all.is_some_and(|all| group.is_between(attempt.at) || group.is_rare_beside(all))
                    && !may_be(Due::Near)
            }
            _ => {
                let attempts = self.groups.get(&Key { on: ATTEMPTS, asked: 0, ..*key });
                let mut held = attempts.into_iter().flat_map(|attempts| &attempts.held);
                let crowds = |at: i64| {
                    let apart = at.abs_diff(attempt.at);
                    apart > 0 && (apart as f64) < CROWDED * period as f64
                };
                !held.any(|other| crowds(other.began().0)) && !may_be(Due::Near)
            }
        }
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
        let left = self.adopt_those_due(sorted(held), Strays::AtEnd, out);
        let Some(verdict) = verdict else { return };
        for sighting in left {
            let key = key(&sighting, true);
            let checker = checker(&key, shape(&key, &sighting));
            let checker = self.checkers.get(&checker).copied().unwrap_or_default();
            out(Recognised { sighting, group, checker, verdict: Arc::clone(&verdict) });
        }
    }
}
