//! Recognises checks among candidates.
//!
//! Candidates come one by one; each joins its group. What has a strong fingerprint is given out at
//! once, the rest when its group is decided. What is decided neither way waits in bounded lists.

mod attempts;
mod fits;
mod key;
mod siblings;
#[cfg(test)]
mod tests;

use super::catalogue::Catalogue;
use super::evidence::{LIKELY, POSSIBLE};
use super::group::{Around, Group, Judgement, Standing};
use super::head::hash;
use super::period::ARRIVALS_MAX;
use super::requests::FailedRequests;
use super::sighting::{Marks, Shape, Sighting};
use super::source::{Different, Habits};
use super::tap::Habit;
use super::verdict::{CheckerId, GroupId, Recognised};
use crate::packet::{Address, Endpoint, TunnelId};
use crate::time::{Mark, Timestamp};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use key::{ATTEMPTS, BARE, HTTP, Key, PAYLOAD, TLS, checker, is_attempt, is_stalled, key, shape};
use std::collections::VecDeque;
use std::sync::Arc;

/// Groups that wait for a decision; the oldest is decided early beyond. Clients that ask each
/// thing once make one each.
const OPEN_MAX: usize = 4096;
/// Groups of checks: a thousand targets with a dozen checks each.
const GIVEN_MAX: usize = 1 << 14;
/// Candidates that wait, of all groups; one takes up to 1 KiB.
const HELD_MAX: usize = 1 << 13;
/// Candidates that wait, of one group.
const HELD_GROUP_MAX: usize = ARRIVALS_MAX;
/// The same of failed attempts, as long as there is room: a target may be down for long before the first
/// check of it tells what they were.
const HELD_ATTEMPTS_MAX: usize = 8 * HELD_GROUP_MAX;
/// Members from which a group is more than one case.
const PAIR: u32 = 2;
/// One source and one target.
type Pair = (TunnelId, Address, Endpoint);

/// What was not weighed to the end because a bound was reached.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unweighed {
    /// Candidates decided before everything about them was known.
    pub early: u64,
    /// Candidates not looked at.
    pub dropped: u64,
    /// Sources, paths and targets that were not remembered.
    pub forgotten: u64,
}

/// Recognises checks.
#[derive(Debug)]
pub struct Recogniser {
    catalogue: Arc<Catalogue>,
    groups: HashMap<Key, Box<Group>, RandomState>,
    /// Open groups, oldest first, and some that are open no more.
    open: VecDeque<(GroupId, Key)>,
    open_count: usize,
    given_count: usize,
    held: usize,
    next_group: u32,
    checkers: HashMap<u64, CheckerId, RandomState>,
    /// Groups that are given out, by source and target.
    pairs: HashMap<Pair, Vec<Key>, RandomState>,
    /// The same by source, at most [`siblings::SIBLINGS_MAX`] each.
    siblings: HashMap<(TunnelId, Address), Vec<Key>, RandomState>,
    failed_requests: FailedRequests,
    habits: Habits,
    /// Sources of requests that were candidates and are no checks.
    others: Habits,
    paths: Different,
    targets: Different,
    sources: Different,
    refused: Different,
    /// Newest packet of a candidate, nanoseconds.
    newest: i64,
    unweighed: Unweighed,
    /// See [`Recogniser::without_waiting`].
    at_once: bool,
}

impl Recogniser {
    /// One that has seen nothing.
    pub fn new(catalogue: Arc<Catalogue>) -> Recogniser {
        Recogniser {
            catalogue,
            groups: HashMap::default(),
            open: VecDeque::new(),
            open_count: 0,
            given_count: 0,
            held: 0,
            next_group: 0,
            checkers: HashMap::default(),
            pairs: HashMap::default(),
            siblings: HashMap::default(),
            failed_requests: FailedRequests::default(),
            habits: Habits::default(),
            others: Habits::default(),
            paths: Different::default(),
            targets: Different::default(),
            sources: Different::default(),
            refused: Different::default(),
            newest: i64::MIN,
            unweighed: Unweighed::default(),
            at_once: false,
        }
    }

    /// Takes what a source has not asked for by now for what it never asks for: for those who watch as
    /// it happens. Attempts that fail where only checks came so far are checks, in rhythm or not.
    #[must_use]
    pub fn without_waiting(self) -> Recogniser {
        Recogniser { at_once: true, ..self }
    }

    /// What was not weighed to the end.
    pub fn unweighed(&self) -> Unweighed {
        let different = [&self.paths, &self.targets, &self.sources, &self.refused];
        let forgotten: u64 = different.iter().map(|different| different.forgotten).sum();
        let forgotten = forgotten + self.habits.forgotten + self.failed_requests.forgotten;
        Unweighed { forgotten, ..self.unweighed }
    }

    /// Takes in what a source uses to send to a target.
    pub fn habit(&mut self, source: Endpoint, target: Endpoint, habit: Habit) {
        self.habits.note(source.ip, target, habit);
    }

    /// A request of `client` failed, from its first byte until it was over: what a proxy tries for it
    /// is no check.
    pub fn failed_request(&mut self, client: Endpoint, asked: Timestamp, over: Timestamp) {
        self.failed_requests.note(client.ip, asked.0, over.0);
    }

    /// Whether an attempt of `source` at `target` that fails at `at` would be taken for a check.
    pub fn expects(&self, source: Endpoint, target: Endpoint, at: Mark) -> bool {
        let marks = Marks { first: at, ..Marks::default() };
        let attempt = Sighting { source, target, marks, ..Sighting::default() };
        self.host_of(&attempt, self.so_far()).is_some()
    }

    /// Takes in a candidate, and gives out what is recognised by now.
    pub fn sight(&mut self, sighting: Sighting, out: &mut impl FnMut(Recognised)) {
        let attempt = is_attempt(&sighting);
        self.newest = self.newest.max(sighting.marks.last.at.0);
        if attempt {
            let host = hash((sighting.source.ip, sighting.target.ip, "refused"));
            if sighting.shape == Shape::Refused {
                self.refused.add(host, u64::from(sighting.target.port));
            }
        }
        if (attempt || is_stalled(&sighting))
            && let Some(key) = self.host_of(&sighting, self.so_far())
            && (sighting.shape != Shape::HalfOpen || key.on < ATTEMPTS)
        {
            self.adopt(&key, sighting, out);
            return self.place_among_users(&key, out);
        }
        let key = key(&sighting, attempt);
        if !self.groups.contains_key(&key) && !self.open_group(key, &sighting, attempt, out) {
            self.unweighed.dropped += 1;
            return;
        }
        let Some(group) = self.groups.get_mut(&key) else { return };
        group.add(&sighting, &self.catalogue);
        if group.is_busy() {
            return;
        }
        let due = group.is_due(&self.catalogue);
        if key.on == PAYLOAD && group.standing == Standing::Open {
            self.note_talker(&key);
        }
        let Some(group) = self.groups.get_mut(&key) else { return };
        match group.standing {
            Standing::Vetoed => return,
            Standing::Given => {
                if due {
                    self.judge_again(&key, &sighting);
                }
                let Some(group) = self.groups.get_mut(&key) else { return };
                if due {
                    group.measure();
                }
                give(group, sighting, out);
                return self.place_among_users(&key, out);
            }
            Standing::Open => {}
        }
        let room =
            if attempt && 2 * self.held < HELD_MAX { HELD_ATTEMPTS_MAX } else { HELD_GROUP_MAX };
        let full = group.held.len() + 1 >= room;
        group.held.push(sighting);
        self.held += 1;
        if attempt {
            let siblings = self.siblings_of(key.tunnel, key.source);
            let Some(group) = self.groups.get_mut(&key) else { return };
            // Held are not in the order of time only when many come at once.
            if std::mem::replace(&mut group.siblings, siblings) != siblings || due {
                self.join_siblings(&key, out);
            }
        }
        if due || full {
            self.decide(&key, full, out);
        }
        while self.held > HELD_MAX && self.decide_oldest(out) {}
    }

    /// The capture is over: gives out what is left and recognised.
    pub fn finish(&mut self, out: &mut impl FnMut(Recognised)) {
        let open: Vec<Key> =
            std::mem::take(&mut self.open).into_iter().map(|(_, key)| key).collect();
        let is_attempts = |group: &Group| group.attempts;
        for attempts in [false, true] {
            for key in &open {
                if self.groups.get(key).is_some_and(|group| is_attempts(group) == attempts) {
                    self.decide(key, true, out);
                }
            }
        }
    }

    /// Who checks a target in one way and says something else to it besides has users.
    fn note_talker(&mut self, key: &Key) {
        let pair = (key.tunnel, key.source, key.target);
        let mut checks = self.pairs.get(&pair).into_iter().flatten();
        if checks.any(|check| check.on == PAYLOAD) {
            self.others.note(key.source, key.target, Habit::Users);
        }
    }

    /// Opens a group, if there is room.
    fn open_group(
        &mut self,
        key: Key,
        sighting: &Sighting,
        attempts: bool,
        out: &mut impl FnMut(Recognised),
    ) -> bool {
        if self.given_count >= GIVEN_MAX {
            return false;
        }
        if self.open_count >= OPEN_MAX {
            self.decide_oldest(out);
        }
        let shape = shape(&key, sighting);
        let agent = sighting.request.as_ref().map_or(0, |facts| hash(&facts.user_agent));
        let asks = (hash((key.source, agent)), hash((key.source, key.on, shape)));
        let checker = checker(&key, shape);
        let checker_id = self.checker_id(checker);
        let id = self.next_id();
        let group = Group::new(id, checker_id, asks, shape, attempts);
        self.groups.insert(key, Box::new(group));
        self.open.push_back((id, key));
        self.open_count += 1;
        if key.on == HTTP {
            self.paths.add(asks.0, key.asked);
        }
        if !attempts {
            self.targets.add(asks.1, hash(key.target));
            self.sources.add(checker, hash(key.source));
        }
        true
    }

    fn next_id(&mut self) -> GroupId {
        let id = GroupId(self.next_group);
        self.next_group = self.next_group.wrapping_add(1);
        id
    }

    /// The number of a [`checker`].
    fn checker_id(&mut self, checker: u64) -> CheckerId {
        let next = CheckerId(self.checkers.len() as u32);
        let known = self.checkers.len() < 2 * GIVEN_MAX || self.checkers.contains_key(&checker);
        if known { *self.checkers.entry(checker).or_insert(next) } else { CheckerId(u32::MAX) }
    }

    fn around(&self, key: &Key, group: &Group, sighting: &Sighting) -> Around {
        let checker = checker(key, shape(key, sighting));
        Around {
            users: self.habits.has_users(key.source),
            forwards: self.habits.forwards(key.source),
            paths: self.paths.count(group.asks.0),
            targets: self.targets.count(group.asks.1),
            sources: self.sources.count(checker),
            refused: self.refused.count(hash((key.source, key.target.ip, "refused"))),
            checks: self
                .pairs
                .get(&(key.tunnel, key.source, key.target))
                .is_some_and(|known| known.iter().any(|other| other != key)),
        }
    }

    fn judge(&self, key: &Key, sighting: &Sighting) -> Option<Judgement> {
        let group = self.groups.get(key)?;
        let around = self.around(key, group, sighting);
        let attempts = self.groups.get(&Key { on: ATTEMPTS, asked: 0, ..*key });
        let failed: Vec<i64> = attempts
            .filter(|attempts| !attempts.held.is_empty() && !group.attempts)
            .map(|attempts| attempts.held.iter().map(|held| held.began().0).collect())
            .unwrap_or_default();
        Some(group.judge(&self.catalogue, key.source, around, &failed))
    }

    /// A group that is given out has grown: its verdict may be better now.
    fn judge_again(&mut self, key: &Key, sighting: &Sighting) {
        let Some(judgement) = self.judge(key, sighting) else { return };
        let verdict = judgement.verdict(&self.catalogue, sighting);
        let Some(group) = self.groups.get_mut(key) else { return };
        let before = group.verdict.as_ref().map_or(i32::MIN, |verdict| verdict.decibans);
        if let Some(verdict) = verdict.filter(|verdict| verdict.decibans >= before) {
            group.verdict = Some(Arc::new(verdict));
        }
    }

    /// Gives the members of an open group out if it is likely to be checks; at the `end` if it is
    /// possible, and drops them otherwise.
    fn decide(&mut self, key: &Key, end: bool, out: &mut impl FnMut(Recognised)) {
        if end && key.on == ATTEMPTS {
            // Who its users are may be known only now.
            self.place_among_users(key, out);
            self.join_siblings(key, out);
            if self.groups.get(key).is_some_and(|group| group.held.is_empty()) {
                self.groups.remove(key);
                self.open_count -= 1;
                return;
            }
        }
        let example = match self.groups.get(key) {
            Some(group) if group.standing == Standing::Open => group.held.last().cloned(),
            _ => None,
        };
        let Some(example) = example else { return };
        let Some(judgement) = self.judge(key, &example) else { return };
        let verdict = judgement.verdict(&self.catalogue, &example);
        let veto = judgement.is_veto(&self.catalogue);
        let Some(group) = self.groups.get_mut(key) else { return };
        if judgement.decibans < LIKELY && !end && !veto {
            return;
        }
        let held = std::mem::take(&mut group.held);
        self.held -= held.len();
        self.open_count -= 1;
        if group.attempts {
            let id = group.id;
            self.groups.remove(key);
            self.sort_attempts(held, verdict, id, out);
            return;
        }
        match verdict {
            Some(verdict) if judgement.decibans >= POSSIBLE => {
                group.standing = Standing::Given;
                self.given_count += 1;
                group.verdict = Some(Arc::new(verdict));
                group.measure();
                let likely = judgement.decibans >= LIKELY;
                // Settings may yet say that these are checks, and then what failed among them is.
                let hosts =
                    likely || (matches!(key.on, TLS | BARE | PAYLOAD) && judgement.has_period());
                if says_something(key) && !likely {
                    self.others.note(key.source, key.target, Habit::Users);
                }
                for sighting in sorted(held) {
                    give(group, sighting, out);
                }
                if hosts {
                    self.settle(*key, out);
                }
            }
            _ if veto => {
                group.standing = Standing::Vetoed;
                self.given_count += 1;
            }
            _ => {
                if says_something(key) {
                    self.others.note(key.source, key.target, Habit::Users);
                }
                let id = group.id;
                self.groups.remove(key);
                let stalled = held.into_iter().filter(is_stalled).collect();
                self.sort_attempts(stalled, None, id, out);
            }
        }
    }

    /// Decides the group that has waited longest with what is known. `false` when none waits.
    fn decide_oldest(&mut self, out: &mut impl FnMut(Recognised)) -> bool {
        while let Some((id, key)) = self.open.pop_front() {
            let group = self.groups.get(&key);
            let waits = |group: &Group| group.id == id && group.standing == Standing::Open;
            if let Some(group) = group.filter(|group| waits(group)) {
                let held = group.held.len();
                if group.members < PAIR || held == 0 {
                    // What comes once is no check, and users make many of these.
                    if says_something(&key) {
                        self.others.note(key.source, key.target, Habit::Users);
                    }
                    self.groups.remove(&key);
                    self.open_count -= 1;
                    self.held -= held;
                } else {
                    self.unweighed.early += held as u64;
                    self.decide(&key, true, out);
                }
                return true;
            }
        }
        false
    }
}

/// Whether those of a group that are no checks are somebody's who wants something: users of a proxy for TCP do not
/// speak HTTP. Handshakes of TLS may be checks that failed.
fn says_something(key: &Key) -> bool {
    matches!(key.on, HTTP | PAYLOAD)
}

fn sorted(mut held: Vec<Sighting>) -> Vec<Sighting> {
    held.sort_by_key(|sighting| (sighting.began(), sighting.flow, sighting.ordinal));
    held
}

fn give(group: &Group, sighting: Sighting, out: &mut impl FnMut(Recognised)) {
    if let Some(verdict) = &group.verdict {
        let verdict = Arc::clone(verdict);
        out(Recognised { sighting, group: group.id, checker: group.checker, verdict });
    }
}
