//! Pairs of lines and exchanges by which the clock of a log is compared with the capture's.

use super::clock::{Clock, Guess, PAIRS_MAX, most};
use super::entry::{Entry, Maybe};
use super::fit::{Leg, same_status, span};
use super::index::Lists;
use super::kind::Kind;
use super::seen::Known;
use super::tie::{Tying, contradicts};
use crate::time::Timestamp;

/// Pairs of which only some belong together, for one estimate.
const GUESSES_MAX: usize = 1 << 17;
/// Of lines and exchanges that are all alike, how many neighbours of each are compared.
const NEIGHBOURS: usize = 32;
/// Slack at which the meaning of a line's only time is told, nanoseconds.
const MEANING: i64 = 50_000_000;

/// A line and an exchange that surely belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) entry: usize,
    pub(super) seen: usize,
    pub(super) leg: Leg,
}

impl Tying<'_> {
    /// The clock of the log, by what surely belongs together, else by what may.
    pub(super) fn compare_clocks(&mut self) {
        let pairs = self.pairs();
        self.settle_meaning(&pairs);
        let mut spans: Vec<(i64, i64)> = pairs.iter().map(|pair| self.span_of(*pair)).collect();
        let flows = self
            .by_client()
            .map(|(entry, (_, flow))| span(entry, Leg::Front, flow.first.at, flow.last));
        spans.extend(flows.take(PAIRS_MAX));
        self.clock = Clock::estimate(&spans);
        if !self.clock.is_known() {
            self.clock = Clock::guess(&self.guesses());
        }
    }

    fn span_of(&self, pair: Pair) -> (i64, i64) {
        let seen = &self.capture.seen[pair.seen];
        span(&self.entries[pair.entry], pair.leg, seen.first.at, seen.last())
    }

    /// Lines and exchanges that surely belong together: the only ones with an id or with what they
    /// ask, and those of a connection that the log knows as a whole.
    fn pairs(&self) -> Vec<Pair> {
        let mut pairs = Vec::new();
        // Those of all the time of the capture, should there be more than enough.
        let many = self.capture.seen.len();
        let step = many.div_ceil(PAIRS_MAX).max(1);
        for n in (0..step).flat_map(|from| (from..many).step_by(step)) {
            if pairs.len() >= PAIRS_MAX {
                break;
            }
            let seen = &self.capture.seen[n];
            let Some(entry) = self.index.only(n) else { continue };
            let Some(flow) = self.capture.flows.get(seen.flow) else { continue };
            if let Some(found) = self.addresses(&self.entries[entry], flow)
                && (found.by_port || self.index.is_alone(n, flow.server, self.capture))
            {
                pairs.push(Pair { entry, seen: n, leg: found.leg });
            }
        }
        for connection in self.connections_by_port() {
            if pairs.len() >= PAIRS_MAX {
                break;
            }
            if connection.is_whole(self) {
                pairs.extend(connection.in_order());
            }
        }
        pairs
    }

    /// Lines about connections, with the only flow of their client's address and port.
    fn by_client(&self) -> impl Iterator<Item = (&Entry, (u64, &Known))> {
        // The lines of a log are all of one kind.
        let requests = self.entries.first().is_none_or(|entry| entry.kind.has_requests());
        let entries = if requests { &[] } else { &*self.entries };
        entries.iter().filter_map(|entry| {
            let client = entry.client_port().or(entry.local())?;
            let &[id] = self.index.flows_of(client) else { return None };
            Some((entry, (id, self.capture.flows.get(id)?)))
        })
    }

    /// Apache's lines have the time of the request, nginx's that of the end of its answer: requests
    /// that take longer than the times' resolution tell which.
    fn settle_meaning(&mut self, pairs: &[Pair]) {
        if self.entries.first().is_none_or(|entry| entry.kind != Kind::Combined) {
            return;
        }
        let agreeing = |ends: bool| {
            let span = |pair: &Pair| {
                let (entry, seen) = (&self.entries[pair.entry], &self.capture.seen[pair.seen]);
                let at = if ends { seen.last() } else { seen.first.at };
                let apart = at.nanos_since(entry.at());
                (apart.saturating_sub(entry.resolution), apart)
            };
            let spans: Vec<(i64, i64)> = pairs.iter().map(span).collect();
            most(&spans, MEANING).map_or(0, |(.., agreeing)| agreeing)
        };
        let (begins, ends) = (agreeing(false), agreeing(true));
        let more = |one: usize, other: usize| one > other + (pairs.len() / 50).max(1);
        if more(ends, begins) {
            self.entries.iter_mut().for_each(|entry| entry.began = Maybe::NONE);
        } else if more(begins, ends) {
            self.entries.iter_mut().for_each(|entry| entry.ended = Maybe::NONE);
        }
    }

    /// Lines and exchanges that may belong together, of what was asked least often first.
    fn guesses(&self) -> Vec<Guess> {
        let mut asked = self.by_asked();
        let pairs = |asked: u32, seen: &[u32]| self.index.asking(asked).len() * seen.len();
        let mut groups: Vec<(usize, u32, &[u32])> =
            asked.each().map(|(asked, seen)| (pairs(asked, seen), asked, &*seen)).collect();
        groups.sort_unstable();
        let mut guesses = Vec::new();
        for (pairs, asked, seen) in groups {
            let lines: Vec<usize> = self.index.asking(asked).collect();
            if guesses.len() + pairs <= GUESSES_MAX {
                for one in seen {
                    self.guess(lines.iter().copied(), *one, &mut guesses);
                }
                continue;
            }
            let room = GUESSES_MAX.saturating_sub(guesses.len()) / (NEIGHBOURS * 2);
            if room == 0 {
                break;
            }
            let step = seen.len().div_ceil(room).max(1);
            for (rank, one) in seen.iter().enumerate().step_by(step).take(room) {
                let at: Timestamp = self.capture.seen[*one as usize].first.at;
                let near = lines.partition_point(|line| self.entries[*line].at() < at);
                let around = |middle: usize| {
                    let from = middle.saturating_sub(NEIGHBOURS / 2);
                    from.min(lines.len())..(from + NEIGHBOURS).min(lines.len())
                };
                let (near, ranked) = (around(near), around(rank));
                let both = near.clone().chain(ranked.filter(|n| !near.contains(n)));
                self.guess(both.map(|n| lines[n]), *one, &mut guesses);
            }
        }
        guesses
    }

    /// Adds those of some lines that may be of an exchange.
    fn guess(&self, lines: impl Iterator<Item = usize>, n: u32, guesses: &mut Vec<Guess>) {
        let seen = &self.capture.seen[n as usize];
        let Some(flow) = self.capture.flows.get(seen.flow) else { return };
        for line in lines {
            let entry = &self.entries[line];
            if let Some(found) = self.addresses(entry, flow)
                && !contradicts(entry, seen)
                && same_status(entry, found.leg, flow.server, seen)
            {
                let (low, high) = span(entry, found.leg, seen.first.at, seen.last());
                guesses.push(Guess { seen: n, low, high });
            }
        }
    }

    /// Exchanges by what lines call what they ask, in the order of their times.
    fn by_asked(&self) -> Lists<u32> {
        let mut asked = self.index.asked(|_| true);
        for (_, seen) in asked.each() {
            seen.sort_unstable_by_key(|n| (self.capture.seen[*n as usize].first.at, *n));
        }
        asked
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Entry;
    use super::super::testing::{Made, logged, tie};
    use super::super::tie::Tied;
    use super::*;
    use crate::cause::Confidence;

    const T: ([u8; 4], u16) = ([10, 0, 0, 9], 8080);

    /// Requests with their lines, which have one time only, in whole seconds: that of the end, or of
    /// the beginning.
    fn in_seconds(ends: bool) -> (Made, Vec<Entry>) {
        let (mut made, mut entries) = (Made::default(), Vec::new());
        for n in 0..30 {
            let (first, last) = (n * 1_370, n * 1_370 + if n % 3 == 0 { 4_000 } else { 30 });
            made.request(&format!("/{n}"), T, (first, last), Some(200));
            let at = if ends { last } else { first } / 1_000 * 1_000;
            let mut line = logged(n as u64, &format!("/{n}"), (at, at), 200, T);
            (line.kind, line.resolution) = (Kind::Combined, 1_000_000_000);
            entries.push(line);
        }
        (made, entries)
    }

    #[test]
    fn slow_requests_tell_what_the_only_time_of_a_line_stands_for() {
        for ends in [true, false] {
            let (made, mut entries) = in_seconds(ends);
            let ties = tie(&mut entries, &made.0, &[]);
            assert!(
                entries
                    .iter()
                    .all(|it| [it.began, it.ended].map(|it| it.get().is_none()) == [ends, !ends])
            );
            assert!(ties.clock.offset.abs() < 100_000_000, "{:?}", ties.clock);
            assert_eq!(ties.tied.len(), 30);
        }
        // Quick ones do not, and need not.
        let (mut made, mut entries) = in_seconds(true);
        made.0.seen.iter_mut().for_each(|seen| seen.over.at = seen.first.at.after(10));
        made.0.seen.retain(|seen| seen.flow % 3 != 0);
        entries.retain(|line| line.place.line % 3 != 0);
        assert_eq!(tie(&mut entries, &made.0, &[]).tied.len(), 20);
        assert!(entries.iter().all(|it| it.began == it.ended));
    }

    #[test]
    fn requests_that_are_all_alike_still_tell_the_clock() {
        let (mut made, mut entries) = (Made::default(), Vec::new());
        for n in 0..200 {
            let at = n * 400 + n * n * 7_919 % 1_009 % 370;
            made.request("/", T, (at + 3_200, at + 3_210), Some(200));
            entries.push(logged(n as u64, "/", (at, at + 11), 200, T));
        }
        let ties = tie(&mut entries, &made.0, &[]);
        assert!((ties.clock.offset - 3_200_000_000).abs() < 5_000_000, "{:?}", ties.clock);
        assert_eq!(ties.clock.certainty, Some(Confidence::Likely));
        let right = |it: &&Tied| it.seen == Some(entries[it.entry].place.line as usize);
        assert_eq!(ties.tied.iter().filter(right).count(), 200);
    }

    #[test]
    fn of_many_alike_only_neighbours_are_compared() {
        let (mut made, mut entries) = (Made::default(), Vec::new());
        for n in 0..3_000_i64 {
            let at = n * 7 + n * n * 31 % 5;
            let seen = made.request("/", T, (at, at + 1), Some(200));
            seen.flow = 0;
            entries.push(logged(n as u64, "/", (at + 50, at + 51), 200, T));
        }
        let ties = tie(&mut entries, &made.0, &[]);
        assert!((ties.clock.offset + 50_000_000).abs() < 5_000_000, "{:?}", ties.clock);
        assert!(3_000 * 3_000 > GUESSES_MAX && ties.clock.pairs > 1_000);
    }
}
