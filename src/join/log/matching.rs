//! Lines and exchanges of which several fit each other: each line is given to one exchange, the nearest
//! in time first.

use super::fit::{Leg, apart, same_status, times};
use super::tie::{
    By, CANDIDATES_MAX, LOOKED_MAX, MARGIN, Taken, Tied, Ties, Tying, asks_the_same, contradicts,
};
use crate::cause::Confidence;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// Exchanges that ask the same, past which fewer lines are compared with each.
const MANY: usize = 1 << 12;
/// How many then, 20 bytes each.
const FEW: usize = 8;
/// How many lines are compared with each of fewer exchanges. They come in the order of their times, so
/// that what is further away fits less.
const NEAREST: usize = 16;
/// Within it one of two lines is not nearer than the other, microseconds.
const NEAR: u32 = 1_000;

/// A line that an exchange may belong to.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    seen: u32,
    entry: u32,
    /// How far their times are apart, microseconds.
    apart: u32,
    leg: Leg,
    by_port: bool,
    /// Both ask the same and have the same status.
    same: bool,
}

type By32<V> = HashMap<u32, V, FixedState>;

/// Which line each exchange was given.
#[derive(Debug, Default)]
struct Given {
    /// Places in the list of candidates, by exchange.
    by_seen: By32<usize>,
    /// The same by line; several only for attempts that followed each other.
    by_entry: HashMap<(u32, Leg), Vec<usize>, FixedState>,
}

impl Tying<'_> {
    /// Ties lines and exchanges that have the same id.
    pub(super) fn ids(&self, taken: &mut Taken, ties: &mut Ties) {
        let seen = self.capture.seen.iter().enumerate();
        let mut with: Vec<(u64, usize)> =
            seen.filter_map(|(n, seen)| Some((self.index.id_of(seen)?, n))).collect();
        with.sort_unstable();
        for group in with.chunk_by(|one, next| one.0 == next.0) {
            let mut candidates = Vec::new();
            for (id, n) in group {
                let lines = self.index.with_id(*id).take(LOOKED_MAX);
                self.candidates(*n, lines, (By::Id, FEW), taken, &mut candidates);
            }
            self.give(candidates, By::Id, taken, ties);
        }
    }

    /// Ties lines and exchanges that ask the same, of those that are left.
    pub(super) fn requests(&self, taken: &mut Taken, ties: &mut Ties) {
        for (asked, group) in self.by_asked() {
            let most = if group.len() > MANY { FEW } else { NEAREST };
            let mut candidates = Vec::new();
            for n in group.into_iter().filter(|n| !taken.has_seen(*n)) {
                let seen = &self.capture.seen[n];
                let during = (seen.first.at, seen.last());
                let lines = self.index.asking_before(asked, during, self.entries, &self.clock);
                let lines = lines.take(LOOKED_MAX);
                self.candidates(n, lines, (By::Request, most), taken, &mut candidates);
            }
            self.give(candidates, By::Request, taken, ties);
        }
    }

    /// The nearest of those lines that an exchange may belong to, at most `most`. Where some ask and
    /// answer the same, only those.
    fn candidates(
        &self,
        n: usize,
        lines: impl Iterator<Item = usize>,
        (by, most): (By, usize),
        taken: &Taken,
        candidates: &mut Vec<Candidate>,
    ) {
        let seen = &self.capture.seen[n];
        let Some(flow) = self.capture.flows.get(&seen.flow) else { return };
        let from = candidates.len();
        let mut alike = 0;
        for line in lines {
            if alike >= most {
                break;
            }
            let entry = &self.entries[line];
            let Some(found) = self.addresses(entry, flow) else { continue };
            if taken.has_line(line, found.leg) || (by < By::Id && contradicts(entry, seen)) {
                continue;
            }
            let distance = times(entry, found.leg, seen.first.at, seen.last(), &self.clock);
            let apart = match distance {
                Some(distance) => {
                    distance.saturating_add(apart(entry, seen.first.at, seen.last(), &self.clock))
                        / 1_000
                }
                // With an unknown clock, an id is enough.
                None if by == By::Id && !self.clock.is_known() => i64::MAX,
                None => continue,
            };
            let same =
                asks_the_same(entry, seen) && same_status(entry, found.leg, flow.server, seen);
            alike += usize::from(same);
            candidates.push(Candidate {
                seen: n as u32,
                entry: line as u32,
                apart: u32::try_from(apart).unwrap_or(u32::MAX),
                leg: found.leg,
                by_port: found.by_port,
                same,
            });
        }
        if alike > 0 {
            let same: Vec<Candidate> = candidates.drain(from..).filter(|it| it.same).collect();
            candidates.extend(same);
        }
        candidates[from..].sort_unstable_by_key(|it| (it.apart, it.entry));
        candidates.truncate(from + most);
    }

    /// Gives each line to the nearest exchange, and ties them.
    fn give(&self, mut candidates: Vec<Candidate>, by: By, taken: &mut Taken, ties: &mut Ties) {
        candidates.sort_unstable_by_key(|it| {
            let seen = &self.capture.seen[it.seen as usize];
            let failed_otherwise =
                Self::has_failed(seen) && !self.entries[it.entry as usize].failed;
            (!it.same, failed_otherwise, it.apart, seen.first.at, it.entry, it.seen)
        });
        let mut given = Given::default();
        for (place, it) in candidates.iter().enumerate() {
            let lines = given.by_entry.entry((it.entry, it.leg)).or_default();
            if lines.is_empty() && !given.by_seen.contains_key(&it.seen) {
                lines.push(place);
                given.by_seen.insert(it.seen, place);
            }
        }
        self.give_attempts(&candidates, by, &mut given);
        let doubtful = doubtful(&candidates, &given);
        let mut several: By32<u32> = By32::default();
        for it in &candidates {
            *several.entry(it.seen).or_default() += 1;
        }
        for (place, it) in candidates.iter().enumerate() {
            if given.by_seen.get(&it.seen) != Some(&place) {
                continue;
            }
            let (line, n) = (it.entry as usize, it.seen as usize);
            let (entry, seen) = (&self.entries[line], &self.capture.seen[n]);
            let by = if by == By::Request && it.by_port { By::Port } else { by };
            let known = self.clock.is_known();
            let alone = several.get(&it.seen) == Some(&1);
            let certainty = if doubtful[place] {
                Confidence::Possible
            } else if by >= By::Port && known && alone && asks_the_same(entry, seen) {
                Confidence::Certain
            } else if by >= By::Port || self.clock.is_likely() {
                Confidence::Likely
            } else {
                Confidence::Possible
            };
            taken.take(line, n, it.leg);
            ties.tied.push(Tied {
                entry: line,
                seen: Some(n),
                flow: seen.flow,
                leg: it.leg,
                certainty,
                by,
                distance: i64::from(it.apart).saturating_mul(1_000),
            });
        }
        let left = candidates.iter().filter(|it| {
            !given.by_seen.contains_key(&it.seen)
                && given.by_entry.get(&(it.entry, it.leg)).is_none_or(Vec::is_empty)
        });
        ties.ambiguous.extend(left.map(|it| it.entry as usize));
    }

    /// A proxy tries again after a failure: further attempts of a line that has one. All but the last
    /// have failed, and without an id the log has as many addresses, or none.
    fn give_attempts(&self, candidates: &[Candidate], by: By, given: &mut Given) {
        let seen = |place: usize| &self.capture.seen[candidates[place].seen as usize];
        for (place, it) in candidates.iter().enumerate() {
            if it.leg != Leg::Back || given.by_seen.contains_key(&it.seen) {
                continue;
            }
            let Some(lines) = given.by_entry.get_mut(&(it.entry, it.leg)) else { continue };
            let entry = &self.entries[it.entry as usize];
            let room = match entry.names_targets() && by < By::Id {
                true => entry.attempts.len(),
                false => CANDIDATES_MAX,
            };
            let mut tried: Vec<usize> = lines.iter().copied().chain([place]).collect();
            tried.sort_by_key(|place| (seen(*place).first.at, seen(*place).first.frame));
            let failed = |place: &usize| Self::has_failed(seen(*place));
            let follows = tried.windows(2).all(|two| {
                seen(two[0]).flow != seen(two[1]).flow
                    && seen(two[0]).first.at <= seen(two[1]).first.at
            });
            if tried.len() <= room && follows && tried[..tried.len() - 1].iter().all(failed) {
                lines.push(place);
                given.by_seen.insert(it.seen, place);
            }
        }
    }
}

/// For each candidate that was given: whether another would do about as well.
fn doubtful(candidates: &[Candidate], given: &Given) -> Vec<bool> {
    let apart = |seen: u32, entry: u32, known: &HashMap<(u32, u32), u32, FixedState>| {
        known.get(&(seen, entry)).copied()
    };
    let known: HashMap<(u32, u32), u32, FixedState> =
        candidates.iter().map(|it| ((it.seen, it.entry), it.apart)).collect();
    let near = |other: u32, this: u32| i64::from(other) <= i64::from(this.max(NEAR)) * MARGIN;
    let mut doubtful = vec![false; candidates.len()];
    for it in candidates {
        let mine = given.by_seen.get(&it.seen).map(|place| &candidates[*place]);
        let its = given.by_entry.get(&(it.entry, it.leg)).and_then(|lines| lines.first());
        let is_given = mine.is_some_and(|mine| mine.entry == it.entry);
        if is_given {
            continue;
        }
        let its = its.map(|place| &candidates[*place]);
        let doubted = match (mine, its) {
            // The exchange could have this line, which nobody has.
            (Some(mine), None) => near(it.apart, mine.apart),
            // The line could be of this exchange, which has none.
            (None, Some(its)) => near(it.apart, its.apart),
            // They could be exchanged.
            (Some(mine), Some(its)) => {
                let crossed = apart(its.seen, mine.entry, &known);
                crossed.is_some_and(|crossed| {
                    near(it.apart.saturating_add(crossed), mine.apart.saturating_add(its.apart))
                })
            }
            (None, None) => false,
        };
        if doubted {
            for one in [mine, its].into_iter().flatten() {
                if let Some(place) = given.by_seen.get(&one.seen) {
                    doubtful[*place] = true;
                }
            }
        }
    }
    doubtful
}
