//! What is known of sources: their habits, and how many different things they do.

use super::tap::Habit;
use crate::packet::{Address, Endpoint};
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

/// Sources whose habits are remembered; what is not remembered counts as unknown.
const SOURCES_MAX: usize = 1 << 14;
/// Things of which different ones are counted, of each kind.
const COUNTED_MAX: usize = 1 << 14;
/// Different ones that are told apart; more than any rule asks for.
const DIFFERENT_MAX: usize = 8;

/// Habits of sources.
#[derive(Debug, Default)]
pub(super) struct Habits {
    users: HashSet<Address, RandomState>,
    /// The same with where they send it.
    users_at: HashSet<(Address, Endpoint), RandomState>,
    forwards: HashSet<Address, RandomState>,
    /// Sources that were not remembered.
    pub(super) forgotten: u64,
}

impl Habits {
    pub(super) fn note(&mut self, source: Address, target: Endpoint, habit: Habit) {
        if habit == Habit::Users && self.users_at.len() < SOURCES_MAX {
            self.users_at.insert((source, target));
        }
        let of = match habit {
            Habit::Users => &mut self.users,
            Habit::Forwards => &mut self.forwards,
        };
        if of.len() < SOURCES_MAX {
            of.insert(source);
        } else if !of.contains(&source) {
            self.forgotten += 1;
        }
    }

    /// Whether it sends what users send.
    pub(super) fn has_users(&self, source: Address) -> bool {
        self.users.contains(&source) || self.users.len() >= SOURCES_MAX
    }

    /// Whether it sends what users send to that target.
    pub(super) fn has_users_at(&self, source: Address, target: Endpoint) -> bool {
        self.users_at.contains(&(source, target)) || self.users_at.len() >= SOURCES_MAX
    }

    /// Whether it forwards requests of others.
    pub(super) fn forwards(&self, source: Address) -> bool {
        self.forwards.contains(&source)
    }
}

/// Counts different things by what they belong to, both by their hashes.
#[derive(Debug, Default)]
pub(super) struct Different {
    of: HashMap<u64, Seen, RandomState>,
    /// What was not counted.
    pub(super) forgotten: u64,
}

#[derive(Debug, Default)]
struct Seen {
    what: [u64; DIFFERENT_MAX],
    count: u8,
}

impl Different {
    /// Adds `what` to those of `of`; returns how many different ones there are, at most
    /// [`DIFFERENT_MAX`].
    pub(super) fn add(&mut self, of: u64, what: u64) -> usize {
        if self.of.len() >= COUNTED_MAX && !self.of.contains_key(&of) {
            self.forgotten += 1;
            return 0;
        }
        let seen = self.of.entry(of).or_default();
        let count = usize::from(seen.count);
        if count < DIFFERENT_MAX && !seen.what[..count].contains(&what) {
            seen.what[count] = what;
            seen.count += 1;
        }
        usize::from(seen.count)
    }

    pub(super) fn count(&self, of: u64) -> usize {
        self.of.get(&of).map_or(0, |seen| usize::from(seen.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_things_are_counted_once() {
        let mut different = Different::default();
        for what in [1, 2, 1, 2, 3] {
            different.add(7, what);
        }
        assert_eq!((different.count(7), different.count(8)), (3, 0));
        for what in 0..100 {
            different.add(7, what);
        }
        assert_eq!(different.count(7), DIFFERENT_MAX);
    }

    #[test]
    fn what_is_not_remembered_is_counted() {
        let (mut different, mut habits) = (Different::default(), Habits::default());
        for of in 0..COUNTED_MAX as u64 + 5 {
            different.add(of, 1);
            habits.note(u128::from(of).to_be_bytes(), Endpoint::default(), Habit::Users);
        }
        assert_eq!((different.forgotten, habits.forgotten), (5, 5));
        assert!(habits.has_users([0xff; 16]), "unknown counts as a user's");
        assert!(habits.has_users_at([0xff; 16], Endpoint::default()), "there, too");
        assert!(!habits.forwards([1; 16]));
    }
}
