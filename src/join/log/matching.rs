//! Lines and exchanges of which several fit each other: each line is given to one exchange, the nearest
//! in time first.

use super::both::{both, pays};
use super::fit::{Leg, apart, same_status, times};
use super::given::{Candidate, Given};
use super::index::Cursor;
use super::tie::{
    By, CANDIDATES_MAX, LOOKED_MAX, Taken, Tied, Ties, Tying, asks_the_same, contradicts,
};
use crate::cause::Confidence;
use crate::packet::Endpoint;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// Exchanges that ask the same, past which fewer lines are compared with each.
const MANY: u32 = 1 << 12;
/// How many then, 32 bytes each.
const FEW: usize = 8;
/// How many lines are compared with each of fewer exchanges. They come in the order of their times, so
/// that what is further away fits less.
const NEAREST: usize = 16;
/// A group that takes more than one in so many of the whole work is large.
const LARGE: u64 = 16;
/// Candidates that are kept to be given, 32 bytes each; those of further exchanges are looked for once more.
const KEPT_MAX: usize = 1 << 20;

/// Where the searches for the lines that ask each thing are.
struct Cursors {
    ends: Vec<u32>,
    /// Where many lines have the same time, which of them comes next for a server.
    turns: HashMap<(u32, Endpoint), u32, FixedState>,
}

impl Cursors {
    fn new(asked: usize) -> Cursors {
        Cursors { ends: vec![0; asked], turns: HashMap::default() }
    }
}

impl Tying<'_> {
    /// Ties lines and exchanges that have the same id.
    pub(super) fn ids(&self, taken: &mut Taken, ties: &mut Ties) {
        let (mut with, mut candidates) = (Vec::new(), Vec::new());
        for n in 0..self.capture.seen.len() {
            let Some(id) = self.index.id_of(n) else { continue };
            let Some(line) = self.index.only_with_id(id) else {
                with.push((id, n as u32));
                continue;
            };
            self.candidates(n, std::iter::once(line), (By::Id, 1), taken, &mut candidates);
            if let Some(it) = candidates.pop() {
                self.tie(&it, By::Id, (true, false), taken, ties);
            }
        }
        // Lines and exchanges have about the same order, which this sort makes use of.
        with.sort();
        let mut given = Given::nothing(self);
        for group in with.chunk_by(|one, next| one.0 == next.0) {
            for (id, n) in group {
                let lines = self.index.with_id(*id).take(LOOKED_MAX);
                self.candidates(*n as usize, lines, (By::Id, FEW), taken, &mut candidates);
            }
            self.give(&mut candidates, By::Id, &mut given, taken, ties);
        }
    }

    /// Ties lines and exchanges that ask the same, of those that are left. What asks one thing has nothing in common
    /// with what asks another: with two processors each takes one half of these groups.
    pub(super) fn requests(&self, taken: &mut Taken, ties: &mut Ties) {
        let many = self.capture.seen.len();
        let mut asking = vec![0_u32; self.index.numbers()];
        let asked = (0..many).filter_map(|n| self.index.asked_of(n));
        asked.for_each(|asked| asking[asked as usize] += 1);
        let is_left = |n: &usize| !taken.has_seen(*n) && self.index.asked_of(*n).is_some();
        if !pays((0..many).filter(is_left).count()) {
            return self.requests_of(&asking, |_| true, taken, ties);
        }
        let (known, second) = (&*taken, self.second_half(&asking));
        let half = |which: bool| {
            let (mut taken, mut ties) = (known.clone(), Ties::default());
            let is_mine = |asked: u32| second[asked as usize] == which;
            self.requests_of(&asking, is_mine, &mut taken, &mut ties);
            (taken, ties)
        };
        let (one, other) = both(many, || half(false), || half(true));
        for (of_half, found) in [one, other] {
            taken.add(&of_half);
            ties.tied.extend(found.tied);
        }
    }

    /// Which of the groups, by what they ask, are in the second of two halves that take about as long: the few large
    /// ones are dealt out first.
    fn second_half(&self, asking: &[u32]) -> Vec<bool> {
        let lines = |asked: u32| self.index.asking(asked).len().min(NEAREST) as u64;
        let cost: Vec<u64> =
            (0..).zip(asking).map(|(asked, many)| u64::from(*many) * lines(asked)).collect();
        let large = cost.iter().sum::<u64>() / LARGE;
        let (mut second, mut sums) = (vec![false; asking.len()], [0_u64; 2]);
        for which in [true, false] {
            for (n, cost) in cost.iter().enumerate().filter(|(_, cost)| (**cost > large) == which) {
                second[n] = sums[1] < sums[0];
                sums[usize::from(second[n])] += cost;
            }
        }
        second
    }

    /// The same for the groups that ask one of these things; `asking` says how many exchanges ask each.
    fn requests_of(
        &self,
        asking: &[u32],
        which: impl Fn(u32) -> bool,
        taken: &mut Taken,
        ties: &mut Ties,
    ) {
        let seen = || 0..self.capture.seen.len();
        let asked_of = |n: usize| self.index.asked_of(n).filter(|asked| which(*asked));
        // Looked for in the order of the exchanges: like that of the lines it is about that of time, so that
        // what belongs together is near each other in memory.
        let (mut kept, mut ends) = (Vec::<Candidate>::new(), Vec::new());
        let mut cursors = Cursors::new(asking.len());
        for n in seen() {
            if kept.len() >= KEPT_MAX {
                break;
            }
            if let Some(asked) = asked_of(n).filter(|_| !taken.has_seen(n)) {
                let many = asking[asked as usize];
                self.candidates_asking(n, (asked, many), &mut cursors, taken, &mut kept);
            }
            ends.push(kept.len());
        }
        if ends.len() == self.capture.seen.len() {
            self.give_alone(&kept, &ends, taken, ties);
        }
        let (mut candidates, mut given) = (Vec::new(), Given::nothing(self));
        let left = |n: usize| asked_of(n).is_some() && !taken.has_seen(n);
        for (asked, group) in self.index.asked(left).each() {
            for n in group.iter().map(|n| *n as usize) {
                if let Some(end) = ends.get(n) {
                    let from = n.checked_sub(1).map_or(0, |before| ends[before]);
                    candidates.extend_from_slice(&kept[from..*end]);
                } else {
                    let many = asking[asked as usize];
                    self.candidates_asking(n, (asked, many), &mut cursors, taken, &mut candidates);
                }
            }
            self.give(&mut candidates, By::Request, &mut given, taken, ties);
        }
    }

    /// Ties what has no other candidate on either side, as most have. `ends` is where those of each exchange end.
    fn give_alone(
        &self,
        candidates: &[Candidate],
        ends: &[usize],
        taken: &mut Taken,
        ties: &mut Ties,
    ) {
        let mut fitting = [vec![0_u8; self.entries.len()], vec![0_u8; self.entries.len()]];
        for it in candidates {
            let many = &mut fitting[it.leg as usize][it.entry as usize];
            *many = many.saturating_add(1);
        }
        let mut from = 0;
        for end in ends {
            if let [it] = &candidates[from..*end]
                && fitting[it.leg as usize][it.entry as usize] == 1
            {
                self.tie(it, By::Request, (true, false), taken, ties);
            }
            from = *end;
        }
    }

    /// The nearest of the lines that ask what an exchange asks, which `many` do.
    fn candidates_asking(
        &self,
        n: usize,
        (asked, many): (u32, u32),
        cursors: &mut Cursors,
        taken: &Taken,
        candidates: &mut Vec<Candidate>,
    ) {
        let most = if many > MANY { FEW } else { NEAREST };
        let seen = &self.capture.seen[n];
        let during = (seen.first.at, seen.last());
        let (entries, clock) = (&*self.entries, &self.clock);
        let Some(flow) = self.capture.flows.get(seen.flow) else { return };
        // What failed is worth a look at all lines: theirs are few among those of a crowd. Each server has a turn of its
        // own, as the two legs of a proxy have.
        let turn = (self.index.is_coarse() && !Self::has_failed(seen))
            .then(|| cursors.turns.entry((asked, flow.server)).or_default());
        let end = &mut cursors.ends[asked as usize];
        let look = (LOOKED_MAX, Cursor { end, turn });
        let (lines, crowded) = self.index.asking_before(asked, during, entries, clock, look);
        let from = candidates.len();
        self.candidates(n, lines, (By::Request, most), taken, candidates);
        if crowded && candidates[from..].iter().any(|it| !it.same) {
            // None of the few that were looked at says the same; another of the crowd does.
            candidates.truncate(from);
        }
        candidates[from..].iter_mut().for_each(|it| it.crowded = crowded);
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
        let Some(flow) = self.capture.flows.get(seen.flow) else { return };
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
                crowded: false,
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
        let seen = &self.capture.seen[n];
        let by = if by == By::Request && it.by_port { By::Port } else { by };
        let certainty = if doubtful || it.crowded {
            Confidence::Possible
        } else if by >= By::Port
            && self.clock.is_known()
            && alone
            && asks_the_same(&self.entries[line], seen)
        {
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

#[cfg(test)]
mod tests {
    use super::super::clock::Clock;
    use super::super::entry::Maybe;
    use super::super::index::Index;
    use super::super::kind::Kind;
    use super::super::line::Attempts;
    use super::super::testing::{Made, logged};
    use super::super::tie::sort;
    use super::*;

    const T: ([u8; 4], u16) = ([10, 0, 0, 9], 8080);

    #[test]
    fn a_crowd_of_one_second_is_tied_in_its_order_and_no_more_than_possibly() {
        // 200 requests a second for the same, one in fifty fails; the log has whole seconds only. Of the few lines that
        // are looked at, one has the same status.
        let (mut made, mut entries) = (Made::default(), Vec::new());
        for n in 0..600_i64 {
            let status = if n % 50 == 7 { 502 } else { 200 + (n % 3) as u16 };
            made.request("/", T, (n * 5, n * 5 + 2), Some(status));
            let second = (n * 5 + 2) / 1_000 * 1_000;
            let mut line = logged(n as u64, "/", (second, second), status, T);
            (line.kind, line.resolution) = (Kind::Combined, 1_000_000_000);
            (line.began, line.attempts) = (Maybe::NONE, Attempts::new());
            line.client = Some(Endpoint::v4([10, 0, 0, 5], 0));
            entries.push(line);
        }
        let index = Index::new(&mut entries, false, &made.0);
        let mut tying = Tying::new(&mut entries, &made.0, index);
        tying.clock = Clock { tolerance: 4_000_000, pairs: 9, agreeing: 9, ..Clock::default() };
        tying.clock.certainty = Some(Confidence::Likely);
        let mut ties = Ties::default();
        tying.requests(&mut Taken::nothing(600, 600), &mut ties);
        assert!(ties.tied.len() > 570, "{}", ties.tied.len());
        let well = |it: &&Tied| made.0.seen[it.seen.unwrap()].status < Some(500);
        for it in ties.tied.iter().filter(well) {
            assert_eq!(it.certainty, Confidence::Possible);
            assert_eq!(entries[it.entry].status, made.0.seen[it.seen.unwrap()].status);
        }
    }

    #[test]
    fn two_threads_tie_what_one_does() {
        // One in three asks the same; requests overlap, so that several lines fit each.
        let (mut made, mut entries) = (Made::default(), Vec::new());
        for n in 0..12_000_i64 {
            let path = if n % 3 == 0 { "/health".to_owned() } else { format!("/{}", n % 701) };
            made.request(&path, T, (n + 1, n + 7 + n % 5), Some(200));
            entries.push(logged(n as u64, &path, (n, n + 8 + n % 5), 200, T));
        }
        sort(&mut entries);
        let index = Index::new(&mut entries, false, &made.0);
        let mut tying = Tying::new(&mut entries, &made.0, index);
        tying.clock = Clock { tolerance: 4_000_000, pairs: 9, agreeing: 9, ..Clock::default() };
        let nothing = || Taken::nothing(12_000, 12_000);
        let (mut two, mut one) = (Ties::default(), Ties::default());
        tying.requests(&mut nothing(), &mut two);
        let mut asking = vec![0; tying.index.numbers()];
        (0..12_000).for_each(|n| asking[tying.index.asked_of(n).unwrap() as usize] += 1);
        tying.requests_of(&asking, |_| true, &mut nothing(), &mut one);
        let key = |it: &Tied| (it.entry, it.seen);
        two.tied.sort_by_key(key);
        one.tied.sort_by_key(key);
        assert!(one.tied.len() > 11_000, "{}", one.tied.len());
        assert_eq!(two.tied, one.tied);
        let second = tying.second_half(&asking);
        let shares = [true, false].map(|which| {
            let mine = asking.iter().zip(&second).filter(|(_, second)| **second == which);
            mine.map(|(many, _)| many).sum::<u32>()
        });
        assert!(shares.iter().all(|many| *many > 4_800), "{shares:?}");
    }
}
