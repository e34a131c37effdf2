//! Ties the lines of one log to exchanges and flows of a capture: by an id that both have, by their order
//! on a connection that the log names by its port, by what was asked and when.

use super::clock::Clock;
use super::entry::Entry;
use super::fit::{Leg, Match, addresses};
use super::index::Index;
use super::seen::{Capture, Known, Seen};
use super::servers::ServerNames;
use crate::cause::Confidence;
use crate::huge;

/// Lines that are compared with one exchange; where more fit its time, none is nearer than others.
pub(super) const CANDIDATES_MAX: usize = 64;
/// Lines that are looked at to find these.
pub(super) const LOOKED_MAX: usize = 128;
/// How much nearer the nearest of several lines has to be to be told from them.
pub(super) const MARGIN: i64 = 4;

/// A line and what it tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tied {
    /// Index of the entry.
    pub(super) entry: usize,
    /// Index of the exchange; `None`: the flow as a whole.
    pub(super) seen: Option<usize>,
    pub(super) flow: u64,
    pub(super) leg: Leg,
    pub(super) certainty: Confidence,
    pub(super) by: By,
    pub(super) distance: i64,
}

/// What ties a line to an exchange, the strongest of what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum By {
    /// Addresses and time.
    Time,
    /// Method, target of the request, and time.
    Request,
    /// A port that only this connection has.
    Port,
    /// An id that log and request both have.
    Id,
}

impl By {
    /// Stable id.
    pub fn id(self) -> &'static str {
        match self {
            By::Time => "time",
            By::Request => "request",
            By::Port => "port",
            By::Id => "id",
        }
    }
}

/// What came of one log.
#[derive(Debug, Default)]
pub(super) struct Ties {
    pub(super) clock: Clock,
    pub(super) tied: Vec<Tied>,
    /// Entries that fit an exchange as well as others do.
    pub(super) ambiguous: Vec<usize>,
    /// The addresses of targets that lines name without these.
    pub(super) servers: ServerNames,
}

/// The entries of one log, in the order of their times, and the capture that they are compared with.
pub(super) struct Tying<'a> {
    pub(super) entries: &'a mut [Entry],
    pub(super) capture: &'a Capture,
    pub(super) index: Index<'a>,
    pub(super) clock: Clock,
}

/// What is tied by now: a line tells of one exchange on each side of the proxy, an exchange has one line.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    lines: [Vec<bool>; 2],
    seen: Vec<bool>,
}

impl Taken {
    pub(super) fn nothing(entries: usize, seen: usize) -> Taken {
        Taken { lines: [vec![false; entries], vec![false; entries]], seen: vec![false; seen] }
    }

    /// What else is.
    pub(super) fn add(&mut self, other: &Taken) {
        let all = |it: &Taken| [it.lines[0].len(), it.lines[1].len(), it.seen.len()];
        debug_assert_eq!(all(self), all(other));
        let [front, back] = &mut self.lines;
        for (mine, its) in
            [(front, &other.lines[0]), (back, &other.lines[1]), (&mut self.seen, &other.seen)]
        {
            mine.iter_mut().zip(its).for_each(|(mine, its)| *mine |= its);
        }
    }

    pub(super) fn has_line(&self, entry: usize, leg: Leg) -> bool {
        self.lines[leg as usize][entry]
    }

    pub(super) fn has_seen(&self, seen: usize) -> bool {
        self.seen[seen]
    }

    pub(super) fn take(&mut self, entry: usize, seen: usize, leg: Leg) {
        self.lines[leg as usize][entry] = true;
        self.seen[seen] = true;
    }
}

/// Ties the entries of one log, which are in the order of their times; `paths`: some do not know the query of what was
/// asked. `broken` are flows that failed before any request, by their first packets.
pub(super) fn tie(entries: &mut [Entry], paths: bool, capture: &Capture, broken: &[u64]) -> Ties {
    let index = Index::new(entries, paths, capture);
    let mut tying = Tying::new(entries, capture, index);
    tying.compare_clocks();
    let most = tying.entries.len().min(capture.seen.len());
    let mut ties = Ties { clock: tying.clock, tied: huge::with_room(most), ..Ties::default() };
    let mut taken = Taken::nothing(tying.entries.len(), capture.seen.len());
    tying.ids(&mut taken, &mut ties);
    tying.sequences(&mut taken, &mut ties);
    tying.requests(&mut taken, &mut ties);
    tying.connections(&mut ties);
    ties.servers = ServerNames::of(tying.entries, &ties.tied, capture);
    tying.broken(broken, &mut ties);
    ties.ambiguous.sort_unstable();
    ties.ambiguous.dedup();
    ties.order();
    ties
}

/// Brings entries, which are in the order of their places, into that of their times.
pub(super) fn sort(entries: &mut [Entry]) {
    if !entries.is_sorted_by_key(Entry::at) {
        entries.sort_by_cached_key(Entry::at);
    }
}

impl Ties {
    /// Brings ties into the order of their lines.
    fn order(&mut self) {
        // Whole ties are moved once only: there are as many as requests.
        let place = |(tied, n): (&Tied, u64)| (tied.entry as u64) << 32 | n;
        let mut order: Vec<u64> = self.tied.iter().zip(0..).map(place).collect();
        // Those that were tied first are in order, which this sort makes use of.
        order.sort();
        self.tied = order.into_iter().map(|place| self.tied[place as u32 as usize]).collect();
        for group in self.tied.chunk_by_mut(|one, next| one.entry == next.entry) {
            group.sort_by_key(|tied| (tied.leg, tied.flow, tied.seen));
        }
    }
}

impl<'a> Tying<'a> {
    /// Nothing is known of the clock yet; `index` is that of both.
    pub(super) fn new(
        entries: &'a mut [Entry],
        capture: &'a Capture,
        index: Index<'a>,
    ) -> Tying<'a> {
        Tying { entries, capture, index, clock: Clock::unknown() }
    }

    /// How a line and a flow go together by their addresses; `None`: they do not.
    pub(super) fn addresses(&self, entry: &Entry, flow: &Known) -> Option<Match> {
        let found = addresses(entry, flow)?;
        let other_client = found.leg == Leg::Back
            && !found.by_port
            && !entry.names(flow.server)
            && self.index.is_front(flow.server);
        (!other_client).then_some(found)
    }
}

/// Whether log and request name different ids of the same kind.
pub(super) fn contradicts(entry: &Entry, seen: &Seen) -> bool {
    let differ = |n: usize| entry.ids[n] != 0 && seen.ids[n] != 0 && entry.ids[n] != seen.ids[n];
    // A proxy may give its target another id of the request than it logs, but not another trace.
    (0..2).any(differ)
}

pub(super) fn asks_the_same(entry: &Entry, seen: &Seen) -> bool {
    entry.asked == 0 || entry.asked == seen.asked || entry.asked == seen.path
}

#[cfg(test)]
mod tests {
    use super::super::line::Tries;
    use super::super::servers::ServerName;
    use super::super::testing::{Made, logged, ms, tie};
    use super::*;
    use crate::packet::Endpoint;
    use crate::time::Mark;

    const T: ([u8; 4], u16) = ([10, 0, 0, 9], 8080);

    /// Which line each exchange is tied to, and how surely.
    fn lines(entries: &[Entry], ties: &Ties) -> Vec<(usize, u64, Confidence)> {
        let line = |it: &Tied| (it.seen.unwrap(), entries[it.entry].place.line, it.certainty);
        let mut lines: Vec<_> = ties.tied.iter().map(line).collect();
        lines.sort();
        lines
    }

    #[test]
    fn requests_that_are_alike_are_told_by_their_time() {
        let (mut made, mut entries) = (Made::default(), Vec::new());
        for n in 0..20 {
            let at = n * 1_000 + n % 7 * 50;
            // One in two can be told by itself; the clock is 500 ms behind.
            let path = if n % 2 == 0 { format!("/{n}") } else { "/".to_owned() };
            made.request(&path, T, (at + 501, at + 540), Some(200));
            entries.push(logged(n as u64, &path, (at, at + 42), 200, T));
        }
        let ties = tie(&mut entries, &made.0, &[]);
        assert!((ties.clock.offset - 500_000_000).abs() < 5_000_000, "{:?}", ties.clock);
        assert_eq!(ties.tied.len(), 20);
        for (seen, line, certainty) in lines(&entries, &ties) {
            assert_eq!((seen as u64, certainty), (line, Confidence::Likely));
        }
    }

    #[test]
    fn lines_that_fit_equally_well_are_possible_in_their_order() {
        let mut made = Made::default();
        made.request("/one", T, (0, 40), Some(200));
        made.request("/", T, (1_000, 1_040), Some(200));
        made.request("/", T, (1_001, 1_041), Some(200));
        let mut entries = [
            logged(1, "/one", (0, 41), 200, T),
            logged(2, "/", (1_000, 1_041), 200, T),
            logged(3, "/", (1_000, 1_042), 200, T),
        ];
        let ties = tie(&mut entries, &made.0, &[]);
        let possible = Confidence::Possible;
        assert_eq!(
            lines(&entries, &ties),
            [(0, 1, Confidence::Likely), (1, 2, possible), (2, 3, possible)]
        );
    }

    #[test]
    fn the_line_of_another_request_is_not_taken_for_a_missing_one() {
        let mut made = Made::default();
        made.request("/one", T, (0, 40), Some(200));
        // The line of the first of these is damaged.
        made.request("/", T, (1_000, 1_040), Some(200));
        made.request("/", T, (1_500, 1_540), Some(200));
        let mut entries =
            [logged(1, "/one", (0, 41), 200, T), logged(2, "/", (1_500, 1_541), 200, T)];
        let ties = tie(&mut entries, &made.0, &[]);
        assert_eq!(
            lines(&entries, &ties),
            [(0, 1, Confidence::Likely), (2, 2, Confidence::Likely)]
        );
    }

    #[test]
    fn another_client_of_the_proxy_is_no_attempt_at_a_target() {
        let mut made = Made::default();
        let client = |n: u16| Endpoint::v4([10, 0, 0, 5], 40_000 + n);
        made.request("/", T, (0, 40), Some(200));
        made.request("/", T, (3, 44), Some(200));
        made.request("/one", T, (1_000, 1_040), Some(200));
        let mut entries =
            [logged(1, "/", (0, 41), 200, T), logged(3, "/one", (1_000, 1_041), 200, T)];
        // The line of the second client is damaged.
        for (entry, n) in entries.iter_mut().zip([0, 2]) {
            entry.client = Some(client(n));
            entry.attempts[0].target = None;
        }
        let ties = tie(&mut entries, &made.0, &[]);
        let certain = Confidence::Certain;
        assert_eq!(lines(&entries, &ties), [(0, 1, certain), (2, 3, certain)]);
    }

    #[test]
    fn an_id_that_is_used_again_is_not_certain() {
        let mut made = Made::default();
        for n in 0..2 {
            made.request("/", T, (n * 3, n * 3 + 40), Some(200)).ids[1] = 9;
        }
        made.request("/one", T, (1_000, 1_040), Some(200));
        let mut entries =
            [logged(1, "/", (0, 44), 200, T), logged(2, "/one", (1_000, 1_041), 200, T)];
        entries[0].ids[1] = 9;
        let ties = tie(&mut entries, &made.0, &[]);
        assert!(lines(&entries, &ties).iter().all(|(.., sure)| *sure < Confidence::Certain));
    }

    #[test]
    fn without_a_clock_nothing_is_more_than_possible() {
        let mut made = Made::default();
        made.request("/", T, (1_000, 1_040), Some(200));
        made.request("/", T, (9_000, 9_040), Some(200));
        let mut entries =
            [logged(1, "/", (1_100, 1_150), 200, T), logged(2, "/", (9_100, 9_150), 200, T)];
        let ties = tie(&mut entries, &made.0, &[]);
        assert!(!ties.clock.is_known());
        let sure =
            lines(&entries, &ties).iter().filter(|(.., sure)| *sure > Confidence::Possible).count();
        assert_eq!((ties.tied.len(), sure), (2, 0));
    }

    #[test]
    fn an_id_that_both_have_is_certain_and_one_line_may_have_two_attempts() {
        let mut made = Made::default();
        for (n, status) in [(0, None), (1, Some(200))] {
            let seen = made.request("/", T, (n * 100, n * 100 + 40), status);
            seen.ids[2] = 77;
        }
        made.request("/", T, (50, 90), Some(200)).ids[2] = 78;
        let mut entries = [logged(1, "/", (0, 145), 200, T), logged(2, "/", (49, 92), 200, T)];
        (entries[0].ids[2], entries[1].ids[2]) = (77, 78);
        let ties = tie(&mut entries, &made.0, &[]);
        let certain = Confidence::Certain;
        assert_eq!(lines(&entries, &ties), [(0, 1, certain), (1, 1, certain), (2, 2, certain)]);
    }

    #[test]
    fn a_failing_line_is_tied_to_the_connection_that_failed() {
        let mut made = Made::default();
        made.request("/one", T, (0, 40), Some(200));
        made.request("/gone", T, (1_001, 1_003), None);
        made.0.seen.pop();
        let mut entries =
            [logged(1, "/one", (0, 41), 200, T), logged(2, "/two", (1_000, 1_004), 502, T)];
        let ties = tie(&mut entries, &made.0, &[1]);
        let broken = ties.tied.iter().find(|it| it.entry == 1).unwrap();
        assert_eq!((broken.flow, broken.seen, broken.by), (1, None, By::Time));
        // Another time: none.
        let mut entries =
            [logged(1, "/one", (0, 41), 200, T), logged(2, "/two", (5_000, 5_004), 502, T)];
        assert_eq!(tie(&mut entries, &made.0, &[1]).tied.len(), 1);
    }

    /// A proxy with two targets, named by their lines: only the first is in the capture, and proved to be by ten
    /// lines; then it refuses connections at these times.
    fn refused(lines: &mut Vec<Entry>, at: &[i64]) -> (Made, Vec<u64>) {
        let mut made = Made::default();
        for n in 0..10 {
            let (at, path) = (n * 100, format!("/{n}"));
            made.request(&path, T, (at + 1, at + 40), Some(200));
            lines.push(named(n as u64, "s1", &path, (at, at + 42), 200));
        }
        let broken: Vec<u64> = (10..).take(at.len()).collect();
        for (id, at) in broken.iter().zip(at) {
            let known = *made.0.flows.get(0).unwrap();
            let (client, first) = (Endpoint { port: 50_000 + *id as u16, ..known.client }, ms(*at));
            let first_packet = Mark { at: first, ..known.first };
            let flow = Known { client, first: first_packet, last: first, made: false, ..known };
            made.0.flows.insert(*id, flow);
        }
        (made, broken)
    }

    fn named(line: u64, server: &str, path: &str, times: (i64, i64), status: u16) -> Entry {
        let mut entry = logged(line, path, times, status, T);
        entry.attempts[0].target = None;
        entry.server = Some(ServerName::new((b"b", server.as_bytes())));
        entry
    }

    #[test]
    fn refused_connections_belong_to_the_lines_that_count_them() {
        let (mut entries, failed) = (Vec::new(), |(from, until): (i64, i64), failed: u16| {
            let step = (until - from) * 1_000_000 / i64::from(failed.max(1));
            Some(Tries { from: ms(from), until: ms(until), failed, step })
        });
        let (made, broken) = refused(&mut entries, &[5_001, 5_101, 6_001, 6_101]);
        // Two that got their answer at the third try, and one that failed after its connection was made.
        for (line, from) in [(20, 5_000), (21, 5_100)] {
            let mut entry = named(line, "s1", "/late", (from, from + 2_040), 200);
            entry.set_tries(failed((from, from + 2_002), 2));
            entries.push(entry);
        }
        let mut slow = named(22, "s1", "/slow", (4_900, 6_500), 504);
        slow.set_tries(failed((4_900, 4_901), 0));
        entries.push(slow);
        // Another target: it is not in the capture.
        let mut other = named(23, "s2", "/other", (4_990, 6_990), 503);
        other.set_tries(failed((4_990, 6_990), 3));
        entries.push(other);
        let ties = tie(&mut entries, &made.0, &broken);
        let whole = ties.tied.iter().filter(|it| it.seen.is_none());
        let mut found: Vec<_> =
            whole.map(|it| (it.flow, entries[it.entry].place.line, it.certainty)).collect();
        found.sort();
        let likely = Confidence::Likely;
        assert_eq!(found, [(10, 20, likely), (11, 21, likely), (12, 20, likely), (13, 21, likely)]);
        assert!(!ties.servers.may_be(ServerName::new((b"b", b"s2")), Endpoint::v4(T.0, T.1)));
        assert!(ties.servers.may_be(ServerName::new((b"c", b"s2")), Endpoint::v4(T.0, T.1)));
    }
}
