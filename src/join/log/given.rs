//! Which of the lines that may belong to an exchange it was given, and whether another would do as well.

use super::fit::Leg;
use super::tie::{MARGIN, Tying};
use crate::time::Timestamp;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// Within it one of two lines is not nearer than the other, microseconds.
const NEAR: u32 = 1_000;
/// Stands for no place.
const NONE: u32 = u32::MAX;

/// A line that an exchange may belong to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) seen: u32,
    pub(super) entry: u32,
    /// How far their times are apart, microseconds.
    pub(super) apart: u32,
    /// First byte of the request.
    pub(super) first: Timestamp,
    pub(super) leg: Leg,
    pub(super) by_port: bool,
    /// Both ask the same and have the same status.
    pub(super) same: bool,
    /// The exchange failed.
    pub(super) failed: bool,
    /// The line says that it failed.
    pub(super) line_failed: bool,
    /// There were more lines than were looked at.
    pub(super) crowded: bool,
}

impl Candidate {
    /// The first are those that say the same, then those of which the line does not hide a failure, then the
    /// nearest. 34 bits.
    fn rank(&self) -> u64 {
        let kind = u64::from(!self.same) << 1 | u64::from(self.failed && !self.line_failed);
        kind << 32 | u64::from(self.apart)
    }
}

/// Places among the candidates of one group, by exchange and by line. Tables as long as there are exchanges
/// and lines: hash tables of a group take several times as long.
pub(super) struct Given {
    by_seen: Vec<u32>,
    /// By line, of each leg.
    by_line: [Vec<u32>; 2],
    /// Further attempts of a line, which are rare.
    attempts: HashMap<(u32, Leg), Vec<usize>, FixedState>,
    /// The candidates by exchange, and where those of each begin.
    by_exchange: Vec<Candidate>,
    from: Vec<u32>,
    /// The candidates by their rank and place, which sort faster than they do.
    order: Vec<u64>,
}

impl Given {
    pub(super) fn nothing(tying: &Tying<'_>) -> Given {
        let (seen, lines) = (tying.capture.seen.len(), tying.entries.len());
        Given {
            by_seen: vec![NONE; seen],
            by_line: [vec![NONE; lines], vec![NONE; lines]],
            attempts: HashMap::default(),
            by_exchange: Vec::new(),
            from: vec![NONE; seen],
            order: Vec::new(),
        }
    }

    /// Takes in the candidates of a group, those of an exchange one after the other, and brings them into the order
    /// in which lines are given.
    pub(super) fn know(&mut self, candidates: &mut Vec<Candidate>) {
        self.by_exchange.clear();
        self.by_exchange.append(candidates);
        for (place, it) in self.by_exchange.iter().enumerate().rev() {
            self.from[it.seen as usize] = place as u32;
        }
        // Of each exchange there are at most `NEAREST`, so that places are below 2^30.
        let ranked = self.by_exchange.iter().zip(0..);
        self.order.clear();
        self.order.extend(ranked.map(|(it, place)| it.rank() << 30 | place));
        self.order.sort_unstable();
        let place = |ranked: &u64| (*ranked & ((1 << 30) - 1)) as usize;
        candidates.extend(self.order.iter().map(|ranked| self.by_exchange[place(ranked)]));
        for alike in candidates.chunk_by_mut(|one, next| one.rank() == next.rank()) {
            alike.sort_unstable_by_key(|it| (it.first, it.entry, it.seen));
        }
    }

    /// Forgets the group.
    pub(super) fn forget(&mut self, candidates: &[Candidate]) {
        for it in candidates {
            self.by_seen[it.seen as usize] = NONE;
            self.by_line[it.leg as usize][it.entry as usize] = NONE;
        }
        self.attempts.clear();
    }

    /// Gives the line of the candidate at a place to its exchange.
    pub(super) fn give(&mut self, place: usize, it: &Candidate) {
        self.by_seen[it.seen as usize] = place as u32;
        self.by_line[it.leg as usize][it.entry as usize] = place as u32;
    }

    /// The same for a further attempt of a line.
    pub(super) fn try_again(&mut self, place: usize, it: &Candidate) {
        self.by_seen[it.seen as usize] = place as u32;
        self.attempts.entry((it.entry, it.leg)).or_default().push(place);
    }

    pub(super) fn of_seen(&self, seen: u32) -> Option<usize> {
        known(self.by_seen[seen as usize])
    }

    /// Where the line of a candidate was given first.
    pub(super) fn of_line(&self, it: &Candidate) -> Option<usize> {
        known(self.by_line[it.leg as usize][it.entry as usize])
    }

    pub(super) fn attempts_of(&self, it: &Candidate) -> &[usize] {
        self.attempts.get(&(it.entry, it.leg)).map_or(&[], Vec::as_slice)
    }

    /// Whether an exchange has no other candidate.
    pub(super) fn is_alone(&self, it: &Candidate) -> bool {
        self.of_exchange(it.seen).nth(1).is_none()
    }

    fn of_exchange(&self, seen: u32) -> impl Iterator<Item = &Candidate> {
        let from = known(self.from[seen as usize]).unwrap_or(self.by_exchange.len());
        self.by_exchange[from..].iter().take_while(move |it| it.seen == seen)
    }

    /// How far a line is from an exchange, if it is one of its candidates.
    fn apart(&self, seen: u32, entry: u32) -> Option<u32> {
        self.of_exchange(seen).find(|it| it.entry == entry).map(|it| it.apart)
    }

    /// For each candidate that was given: whether another would do about as well.
    pub(super) fn doubtful(&self, candidates: &[Candidate]) -> Vec<bool> {
        let near = |other: u32, this: u32| i64::from(other) <= i64::from(this.max(NEAR)) * MARGIN;
        let mut doubtful = vec![false; candidates.len()];
        for it in candidates {
            let mine = self.of_seen(it.seen).map(|place| &candidates[place]);
            if mine.is_some_and(|mine| mine.entry == it.entry) {
                continue;
            }
            let its = self.of_line(it).map(|place| &candidates[place]);
            let doubted = match (mine, its) {
                // The exchange could have this line, which nobody has.
                (Some(mine), None) => near(it.apart, mine.apart),
                // The line could be of this exchange, which has none.
                (None, Some(its)) => near(it.apart, its.apart),
                // They could be exchanged.
                (Some(mine), Some(its)) => {
                    self.apart(its.seen, mine.entry).is_some_and(|crossed| {
                        let both = mine.apart.saturating_add(its.apart);
                        near(it.apart.saturating_add(crossed), both)
                    })
                }
                (None, None) => false,
            };
            if doubted {
                for one in [mine, its].into_iter().flatten() {
                    if let Some(place) = self.of_seen(one.seen) {
                        doubtful[place] = true;
                    }
                }
            }
        }
        doubtful
    }
}

fn known(place: u32) -> Option<usize> {
    (place != NONE).then_some(place as usize)
}
