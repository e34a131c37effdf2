//! Ties the lines of one log to exchanges and flows of a capture.

use super::clock::{Clock, PAIRS_MAX};
use super::entry::Entry;
use super::fit::{Leg, Match, addresses, same_status, span, times};
use super::index::Index;
use super::seen::{Capture, Known, Seen};
use crate::cause::Confidence;

/// Lines that are looked at for one exchange; where more fit its time, none is nearer than others.
pub(super) const CANDIDATES_MAX: usize = 64;
/// How much nearer the nearest of several lines has to be to be told at all.
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
}

/// The entries of one log and the capture that they are compared with.
pub(super) struct Tying<'a> {
    pub(super) entries: &'a [Entry],
    pub(super) capture: &'a Capture,
    pub(super) index: Index,
    pub(super) clock: Clock,
}

/// Ties the entries of one log; `broken` are flows that failed before any request, by their first
/// packets.
pub(super) fn tie(entries: &[Entry], capture: &Capture, broken: &[u64]) -> Ties {
    let mut tying =
        Tying { entries, capture, index: Index::new(entries, capture), clock: Clock::unknown() };
    let pairs = tying.pairs();
    tying.clock = Clock::estimate(&pairs);
    let mut ties = Ties { clock: tying.clock, ..Ties::default() };
    for (n, seen) in capture.seen.iter().enumerate() {
        if let Some(flow) = capture.flows.get(&seen.flow) {
            tying.exchange(n, seen, flow, &mut ties);
        }
    }
    tying.settle(&mut ties);
    tying.connections(&mut ties);
    tying.broken(broken, &mut ties);
    ties.ambiguous.sort_unstable();
    ties.ambiguous.dedup();
    ties.tied.sort_by_key(|tied| (tied.entry, tied.leg, tied.flow, tied.seen));
    ties
}

impl Tying<'_> {
    /// How a line and a flow go together by their addresses; `None`: they do not.
    pub(super) fn addresses(&self, entry: &Entry, flow: &Known) -> Option<Match> {
        let found = addresses(entry, flow)?;
        let other_client = found.leg == Leg::Back
            && !found.by_port
            && !entry.names(flow.server)
            && self.index.is_front(flow.server);
        (!other_client).then_some(found)
    }

    /// What lines and exchanges that surely belong together say of the clock.
    fn pairs(&self) -> Vec<(i64, i64)> {
        let mut spans = Vec::new();
        for seen in &self.capture.seen {
            if spans.len() >= PAIRS_MAX {
                break;
            }
            let Some(flow) = self.capture.flows.get(&seen.flow) else { continue };
            let Some(entry) = self.index.only(seen).map(|n| &self.entries[n]) else { continue };
            if let Some(found) = self.addresses(entry, flow)
                && (found.by_port || self.index.is_alone(seen))
            {
                spans.push(span(entry, found.leg, seen.first.at, seen.last()));
            }
        }
        for (entry, flow) in self.by_client() {
            if spans.len() < PAIRS_MAX {
                spans.push(span(entry, Leg::Front, flow.1.first.at, flow.1.last));
            }
        }
        spans
    }

    /// Lines about connections, with the only flow of their client's address and port.
    fn by_client(&self) -> impl Iterator<Item = (&Entry, (u64, &Known))> {
        self.entries.iter().filter(|entry| !entry.kind.has_requests()).filter_map(|entry| {
            let client = entry.client_port().or(entry.local)?;
            let &[id] = self.index.flows_of(client) else { return None };
            Some((entry, (id, self.capture.flows.get(&id)?)))
        })
    }

    /// Ties the lines that tell of an exchange.
    fn exchange(&self, n: usize, seen: &Seen, flow: &Known, ties: &mut Ties) {
        let mut found: Vec<Tied> = Vec::new();
        let tied = |entry, leg, by, distance| Tied {
            entry,
            seen: Some(n),
            flow: seen.flow,
            leg,
            certainty: Confidence::Likely,
            by,
            distance,
        };
        for &entry in self.index.with_ids_of(seen) {
            let line = &self.entries[entry];
            let Some(found_by) = self.addresses(line, flow) else { continue };
            let times = times(line, found_by.leg, seen.first.at, seen.last(), &self.clock);
            match times {
                Some(distance) => found.push(tied(entry, found_by.leg, By::Id, distance)),
                None if !self.clock.is_known() => {
                    found.push(tied(entry, found_by.leg, By::Id, i64::MAX / 8));
                }
                None => {}
            }
        }
        if found.is_empty() {
            let mut looked = 0;
            for entry in self.index.asked_like(seen, self.entries, &self.clock) {
                looked += 1;
                if looked > CANDIDATES_MAX {
                    break;
                }
                let line = &self.entries[entry];
                if contradicts(line, seen) {
                    continue;
                }
                let Some(found_by) = self.addresses(line, flow) else { continue };
                if let Some(distance) =
                    times(line, found_by.leg, seen.first.at, seen.last(), &self.clock)
                {
                    let by = if found_by.by_port { By::Port } else { By::Request };
                    found.push(tied(entry, found_by.leg, by, distance));
                }
            }
        }
        self.choose(found, seen, flow, ties);
    }

    /// The one of several lines that an exchange belongs to, if there is one.
    fn choose(&self, mut found: Vec<Tied>, seen: &Seen, flow: &Known, ties: &mut Ties) {
        let Some(strongest) = found.iter().map(|tied| tied.by).max() else { return };
        found.retain(|tied| tied.by == strongest);
        let same = |tied: &Tied| {
            let entry = &self.entries[tied.entry];
            (entry.asked == 0 || entry.asked == seen.asked || entry.asked == seen.path)
                && same_status(entry, tied.leg, flow.server, seen)
        };
        let several = found.len() > 1;
        if several && found.iter().any(same) {
            found.retain(same);
        }
        found.sort_by_key(|tied| (tied.distance, tied.entry));
        match found.as_mut_slice() {
            [] => {}
            [only] => {
                let strong = only.by >= By::Port && !several && self.clock.is_known();
                only.certainty = if strong && asks_the_same(&self.entries[only.entry], seen) {
                    Confidence::Certain
                } else if self.clock.is_known() || only.by >= By::Port {
                    Confidence::Likely
                } else {
                    Confidence::Possible
                };
                ties.tied.push(*only);
            }
            [nearest, next, ..] => {
                if next.distance > nearest.distance.max(1_000_000).saturating_mul(MARGIN) {
                    nearest.certainty = Confidence::Possible;
                    ties.tied.push(*nearest);
                } else {
                    ties.ambiguous.extend(found.iter().map(|tied| tied.entry));
                }
            }
        }
    }

    /// A line tells of one exchange with each side, and of further ones only after failed ones:
    /// of those that only look alike the nearest is kept, as no more than possible.
    fn settle(&self, ties: &mut Ties) {
        let server = |tied: &Tied| {
            self.capture.flows.get(&tied.flow).map(|flow| flow.server).unwrap_or_default()
        };
        let first = |tied: &Tied| tied.seen.map(|n| self.capture.seen[n].first);
        let mut tied = std::mem::take(&mut ties.tied);
        tied.sort_by_key(|it| {
            let mark = first(it).unwrap_or_default();
            (it.entry, it.leg, server(it), mark.at, mark.frame)
        });
        for group in tied.chunk_by(|one, next| {
            (one.entry, one.leg, server(one)) == (next.entry, next.leg, server(next))
        }) {
            let failed = |it: &Tied| {
                it.seen.map(|n| &self.capture.seen[n]).is_some_and(|seen| {
                    !seen.whole || seen.status.is_none_or(super::line::is_failure)
                })
            };
            let (last, earlier) = match group {
                [earlier @ .., last] => (last, earlier),
                [] => continue,
            };
            let retried = last.leg == Leg::Back && earlier.iter().all(failed);
            let sure = |it: &Tied| it.by >= By::Port;
            if earlier.is_empty() || retried {
                ties.tied.extend_from_slice(group);
                continue;
            }
            if group.iter().all(sure) {
                // An id or a connection that is used again: one of them is the line's.
                let likely =
                    |it: &Tied| Tied { certainty: it.certainty.min(Confidence::Likely), ..*it };
                ties.tied.extend(group.iter().map(likely));
                continue;
            }
            let Some(nearest) =
                group.iter().min_by_key(|it| (it.distance, first(it).map(|it| it.at)))
            else {
                continue;
            };
            ties.tied.push(Tied { certainty: Confidence::Possible, ..*nearest });
        }
    }
}

/// Whether log and request name different ids of the same kind.
fn contradicts(entry: &Entry, seen: &Seen) -> bool {
    let differ = |n: usize| entry.ids[n] != 0 && seen.ids[n] != 0 && entry.ids[n] != seen.ids[n];
    // A proxy may give its target another id of the request than it logs, but not another trace.
    (0..2).any(differ)
}

fn asks_the_same(entry: &Entry, seen: &Seen) -> bool {
    entry.asked == 0 || entry.asked == seen.asked || entry.asked == seen.path
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Made, logged};
    use super::*;
    use crate::packet::Endpoint;

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
        let ties = tie(&entries, &made.0, &[]);
        assert!((ties.clock.offset - 500_000_000).abs() < 5_000_000, "{:?}", ties.clock);
        assert_eq!(ties.tied.len(), 20);
        for (seen, line, certainty) in lines(&entries, &ties) {
            assert_eq!((seen as u64, certainty), (line, Confidence::Likely));
        }
    }

    #[test]
    fn lines_that_fit_equally_well_are_not_tied() {
        let mut made = Made::default();
        made.request("/one", T, (0, 40), Some(200));
        made.request("/", T, (1_000, 1_040), Some(200));
        made.request("/", T, (1_001, 1_041), Some(200));
        let entries = [
            logged(1, "/one", (0, 41), 200, T),
            logged(2, "/", (1_000, 1_041), 200, T),
            logged(3, "/", (1_000, 1_042), 200, T),
        ];
        let ties = tie(&entries, &made.0, &[]);
        assert_eq!(lines(&entries, &ties), [(0, 1, Confidence::Likely)]);
        assert_eq!(ties.ambiguous, [1, 2]);
    }

    #[test]
    fn the_line_of_another_request_is_not_taken_for_a_missing_one() {
        let mut made = Made::default();
        made.request("/one", T, (0, 40), Some(200));
        // The line of the first of these is damaged.
        made.request("/", T, (1_000, 1_040), Some(200));
        made.request("/", T, (1_500, 1_540), Some(200));
        let entries = [logged(1, "/one", (0, 41), 200, T), logged(2, "/", (1_500, 1_541), 200, T)];
        let ties = tie(&entries, &made.0, &[]);
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
        let ties = tie(&entries, &made.0, &[]);
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
        let ties = tie(&entries, &made.0, &[]);
        assert!(lines(&entries, &ties).iter().all(|(.., sure)| *sure < Confidence::Certain));
    }

    #[test]
    fn without_a_clock_nothing_is_more_than_possible() {
        let mut made = Made::default();
        made.request("/", T, (1_000, 1_040), Some(200));
        made.request("/", T, (9_000, 9_040), Some(200));
        let entries =
            [logged(1, "/", (1_100, 1_150), 200, T), logged(2, "/", (9_100, 9_150), 200, T)];
        let ties = tie(&entries, &made.0, &[]);
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
        let ties = tie(&entries, &made.0, &[]);
        let certain = Confidence::Certain;
        assert_eq!(lines(&entries, &ties), [(0, 1, certain), (1, 1, certain), (2, 2, certain)]);
    }

    #[test]
    fn a_failing_line_is_tied_to_the_connection_that_failed() {
        let mut made = Made::default();
        made.request("/one", T, (0, 40), Some(200));
        made.request("/gone", T, (1_001, 1_003), None);
        made.0.seen.pop();
        let entries =
            [logged(1, "/one", (0, 41), 200, T), logged(2, "/two", (1_000, 1_004), 502, T)];
        let ties = tie(&entries, &made.0, &[1]);
        let broken = ties.tied.iter().find(|it| it.entry == 1).unwrap();
        assert_eq!((broken.flow, broken.seen, broken.by), (1, None, By::Time));
        // Another time: none.
        let entries =
            [logged(1, "/one", (0, 41), 200, T), logged(2, "/two", (5_000, 5_004), 502, T)];
        assert_eq!(tie(&entries, &made.0, &[1]).tied.len(), 1);
    }
}
