//! Lines and exchanges of which several fit each other: each line is given to one exchange, the nearest
//! in time first.

use super::fit::{Leg, apart, same_status, times};
use super::given::{Candidate, Given};
use super::tie::{
    By, CANDIDATES_MAX, LOOKED_MAX, Taken, Tied, Ties, Tying, asks_the_same, contradicts,
};
use crate::cause::Confidence;

/// Exchanges that ask the same, past which fewer lines are compared with each.
const MANY: u32 = 1 << 12;
/// How many then, 32 bytes each.
const FEW: usize = 8;
/// How many lines are compared with each of fewer exchanges. They come in the order of their times, so
/// that what is further away fits less.
const NEAREST: usize = 16;
/// Candidates that are kept to be given, 32 bytes each; those of further exchanges are looked for once more.
const KEPT_MAX: usize = 1 << 20;

impl Tying<'_> {
    /// Ties lines and exchanges that have the same id.
    pub(super) fn ids(&self, taken: &mut Taken, ties: &mut Ties) {
        let mut with: Vec<(u32, u32)> = (0..self.capture.seen.len())
            .filter_map(|n| Some((self.index.id_of(n)?, n as u32)))
            .collect();
        with.sort_unstable();
        let (mut candidates, mut given) = (Vec::new(), Given::nothing(self));
        for group in with.chunk_by(|one, next| one.0 == next.0) {
            for (id, n) in group {
                let lines = self.index.with_id(*id).take(LOOKED_MAX);
                self.candidates(*n as usize, lines, (By::Id, FEW), taken, &mut candidates);
            }
            self.give(&mut candidates, By::Id, &mut given, taken, ties);
        }
    }

    /// Ties lines and exchanges that ask the same, of those that are left.
    pub(super) fn requests(&self, taken: &mut Taken, ties: &mut Ties) {
        let mut asking = vec![0_u32; self.index.numbers()];
        let seen = || 0..self.capture.seen.len();
        seen().filter_map(|n| self.index.asked_of(n)).for_each(|asked| asking[asked as usize] += 1);
        // Looked for in the order of the exchanges: like that of the lines it is about that of time, so that
        // what belongs together is near each other in memory.
        let (mut kept, mut ends) = (Vec::<Candidate>::new(), Vec::new());
        let mut cursors = vec![0_u32; asking.len()];
        for n in seen() {
            if kept.len() >= KEPT_MAX {
                break;
            }
            if let Some(asked) = self.index.asked_of(n).filter(|_| !taken.has_seen(n)) {
                let (many, cursor) = (asking[asked as usize], &mut cursors[asked as usize]);
                self.candidates_asking(n, (asked, many), cursor, taken, &mut kept);
            }
            ends.push(kept.len());
        }
        let (mut candidates, mut given) = (Vec::new(), Given::nothing(self));
        for (asked, group) in self.index.asked(|n| !taken.has_seen(n)).each() {
            for n in group.iter().map(|n| *n as usize) {
                if let Some(end) = ends.get(n) {
                    let from = n.checked_sub(1).map_or(0, |before| ends[before]);
                    candidates.extend_from_slice(&kept[from..*end]);
                } else {
                    let many = asking[asked as usize];
                    self.candidates_asking(n, (asked, many), &mut 0, taken, &mut candidates);
                }
            }
            self.give(&mut candidates, By::Request, &mut given, taken, ties);
        }
    }

    /// The nearest of the lines that ask what an exchange asks, which `many` do.
    fn candidates_asking(
        &self,
        n: usize,
        (asked, many): (u32, u32),
        cursor: &mut u32,
        taken: &Taken,
        candidates: &mut Vec<Candidate>,
    ) {
        let most = if many > MANY { FEW } else { NEAREST };
        let seen = &self.capture.seen[n];
        let during = (seen.first.at, seen.last());
        let (entries, clock) = (&*self.entries, &self.clock);
        let look = (LOOKED_MAX, cursor);
        let lines = self.index.asking_before(asked, during, entries, clock, look);
        self.candidates(n, lines, (By::Request, most), taken, candidates);
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
                first: seen.first.at,
                leg: found.leg,
                by_port: found.by_port,
                same,
                failed: Self::has_failed(seen),
                line_failed: entry.failed,
            });
        }
        if alike > 0 {
            let mut kept = from;
            for n in from..candidates.len() {
                candidates.swap(kept, n);
                kept += usize::from(candidates[kept].same);
            }
            candidates.truncate(kept);
        }
        candidates[from..].sort_unstable_by_key(|it| (it.apart, it.entry));
        candidates.truncate(from + most);
    }

    /// Gives each line to the nearest exchange, and ties them; leaves no candidates, which come by exchange.
    fn give(
        &self,
        candidates: &mut Vec<Candidate>,
        by: By,
        given: &mut Given,
        taken: &mut Taken,
        ties: &mut Ties,
    ) {
        if let [it] = candidates[..] {
            self.tie(&it, by, (true, false), taken, ties);
            candidates.clear();
            return;
        }
        given.know(candidates);
        for (place, it) in candidates.iter().enumerate() {
            if given.of_line(it).is_none() && given.of_seen(it.seen).is_none() {
                given.give(place, it);
            }
        }
        self.give_attempts(candidates, by, given);
        let doubtful = given.doubtful(candidates);
        for (place, it) in candidates.iter().enumerate() {
            if given.of_seen(it.seen) == Some(place) {
                self.tie(it, by, (given.is_alone(it), doubtful[place]), taken, ties);
            }
        }
        given.forget(candidates);
        candidates.clear();
    }

    /// Ties a line to its exchange: whether no other line fits that, whether another would do as well.
    fn tie(
        &self,
        it: &Candidate,
        by: By,
        (alone, doubtful): (bool, bool),
        taken: &mut Taken,
        ties: &mut Ties,
    ) {
        let (line, n) = (it.entry as usize, it.seen as usize);
        let (entry, seen) = (&self.entries[line], &self.capture.seen[n]);
        let by = if by == By::Request && it.by_port { By::Port } else { by };
        let certainty = if doubtful {
            Confidence::Possible
        } else if by >= By::Port && self.clock.is_known() && alone && asks_the_same(entry, seen) {
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

    /// A proxy tries again after a failure: further attempts of a line that has one. All but the last
    /// have failed, and without an id the log has as many addresses, or none.
    fn give_attempts(&self, candidates: &[Candidate], by: By, given: &mut Given) {
        let seen = |place: usize| &self.capture.seen[candidates[place].seen as usize];
        let failed = |place: &usize| candidates[*place].failed;
        for (place, it) in candidates.iter().enumerate() {
            if it.leg != Leg::Back || given.of_seen(it.seen).is_some() {
                continue;
            }
            let Some(first) = given.of_line(it).filter(|first| it.failed || failed(first)) else {
                continue;
            };
            let entry = &self.entries[it.entry as usize];
            let room = match entry.names_targets() && by < By::Id {
                true => entry.attempts.len(),
                false => CANDIDATES_MAX,
            };
            let mut tried = vec![first, place];
            tried.extend_from_slice(given.attempts_of(it));
            tried.sort_by_key(|place| (seen(*place).first.at, seen(*place).first.frame));
            let follows = tried.windows(2).all(|two| {
                seen(two[0]).flow != seen(two[1]).flow
                    && seen(two[0]).first.at <= seen(two[1]).first.at
            });
            if tried.len() <= room && follows && tried[..tried.len() - 1].iter().all(failed) {
                given.try_again(place, it);
            }
        }
    }
}
