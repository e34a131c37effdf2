//! Ties the lines of one log to exchanges and flows of a capture.

use super::clock::{Clock, PAIRS_MAX};
use super::entry::Entry;
use super::fit::{Leg, addresses, same_status, span, times};
use super::index::Index;
use super::seen::{Capture, Known, Seen};
use crate::cause::Confidence;

/// Lines that are looked at for one exchange; where more fit its time, none is nearer than others.
const CANDIDATES_MAX: usize = 64;
/// How much nearer the nearest of several lines has to be to be told at all.
const MARGIN: i64 = 4;

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
    distance: i64,
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
struct Tying<'a> {
    entries: &'a [Entry],
    capture: &'a Capture,
    index: Index,
    clock: Clock,
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
    /// What lines and exchanges that surely belong together say of the clock.
    fn pairs(&self) -> Vec<(i64, i64)> {
        let mut spans = Vec::new();
        for seen in &self.capture.seen {
            if spans.len() >= PAIRS_MAX {
                break;
            }
            let Some(flow) = self.capture.flows.get(&seen.flow) else { continue };
            let Some(entry) = self.index.only(seen).map(|n| &self.entries[n]) else { continue };
            if let Some(found) = addresses(entry, flow)
                && (found.by_port || self.index.is_alone(seen))
            {
                spans.push(span(entry, found.leg, seen.first.at, seen.last));
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
            let Some(found_by) = addresses(line, flow) else { continue };
            let times = times(line, found_by.leg, seen.first.at, seen.last, &self.clock);
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
                let Some(found_by) = addresses(line, flow) else { continue };
                if let Some(distance) =
                    times(line, found_by.leg, seen.first.at, seen.last, &self.clock)
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
            if earlier.is_empty() || retried || group.iter().all(sure) {
                ties.tied.extend_from_slice(group);
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

    /// Lines about connections: by the client's address and port, or a target and a time.
    fn connections(&self, ties: &mut Ties) {
        for (n, entry) in self.entries.iter().enumerate() {
            if entry.kind.has_requests() {
                continue;
            }
            let tied = |flow: u64, seen, leg, certainty, by, distance| Tied {
                entry: n,
                seen,
                flow,
                leg,
                certainty,
                by,
                distance,
            };
            for (end, leg) in [(entry.client_port(), Leg::Front), (entry.local, Leg::Back)] {
                let Some(end) = end else { continue };
                let fits: Vec<(u64, i64)> = self
                    .index
                    .flows_of(end)
                    .iter()
                    .filter_map(|id| {
                        let flow = self.capture.flows.get(id)?;
                        let distance = times(entry, leg, flow.first.at, flow.last, &self.clock)
                            .or_else(|| self.is_within(entry, flow).then_some(0))?;
                        Some((*id, distance))
                    })
                    .collect();
                match fits.as_slice() {
                    [] => {}
                    [(id, distance)] => {
                        let sure = self.clock.is_known();
                        let certainty = if sure { Confidence::Certain } else { Confidence::Likely };
                        ties.tied.push(tied(*id, None, leg, certainty, By::Port, *distance));
                    }
                    _ => ties.ambiguous.push(n),
                }
            }
            if entry.client.is_none() && entry.local.is_none() {
                self.check(n, entry, ties);
            }
        }
    }

    /// Whether a line about a connection was written while that was open.
    fn is_within(&self, entry: &Entry, flow: &Known) -> bool {
        let (from, to) = (flow.first.at.0, flow.last.0);
        let at = entry.until().0.saturating_add(self.clock.offset);
        let tolerance = self.clock.tolerance + entry.resolution;
        at >= from.saturating_sub(tolerance) && at <= to.saturating_add(tolerance)
    }

    /// A health check: by its target, the node's address where known, and time.
    fn check(&self, n: usize, entry: &Entry, ties: &mut Ties) {
        let mut fits: Vec<(i64, u64, bool)> = Vec::new();
        for id in self.index.flows_near(entry, &self.clock) {
            let Some(flow) = self.capture.flows.get(id) else { continue };
            let away = flow.first.at.nanos_since(entry.at().after(self.clock.offset)).abs();
            if entry.names(flow.server)
                && away <= self.clock.tolerance
                && fits.len() < CANDIDATES_MAX
            {
                let node = entry.node.is_some_and(|node| node.ip == flow.client.ip);
                fits.push((away, *id, node));
            }
        }
        if fits.iter().any(|(.., node)| *node) {
            fits.retain(|(.., node)| *node);
        }
        fits.sort_unstable();
        let far = |one: i64, next: i64| next > one.max(10_000_000).saturating_mul(MARGIN);
        let (distance, flow, node, alone) = match fits.as_slice() {
            [] => return,
            [(distance, flow, node)] => (*distance, *flow, *node, true),
            [(one, flow, node), (next, ..), ..] if far(*one, *next) => (*one, *flow, *node, false),
            _ => return ties.ambiguous.push(n),
        };
        let certainty = if alone && node { Confidence::Likely } else { Confidence::Possible };
        let seen = self.index.first_of(flow);
        ties.tied.push(Tied {
            entry: n,
            seen,
            flow,
            leg: Leg::Back,
            certainty,
            by: By::Time,
            distance,
        });
    }

    /// Failing lines whose request never got out: connections that failed before any request.
    fn broken(&self, broken: &[u64], ties: &mut Ties) {
        let has_back: hashbrown::HashSet<usize> =
            ties.tied.iter().filter(|it| it.leg == Leg::Back).map(|it| it.entry).collect();
        let mut claims: Vec<(usize, u64, i64)> = Vec::new();
        for id in broken {
            let Some(flow) = self.capture.flows.get(id) else { continue };
            let mut fits: Vec<(i64, usize)> = Vec::new();
            let span = (flow.first.at, flow.last);
            for n in self.index.before(span, self.entries, &self.clock).take(CANDIDATES_MAX) {
                let entry = &self.entries[n];
                let wanted = entry.kind.has_requests()
                    && !entry.undispatched
                    && !has_back.contains(&n)
                    && (entry.failed || entry.attempts.len() > 1);
                let Some(found) = addresses(entry, flow).filter(|_| wanted) else { continue };
                if found.leg == Leg::Back
                    && let Some(distance) = self.during(entry, flow)
                {
                    fits.push((distance, n));
                }
            }
            fits.sort_unstable();
            match fits.as_slice() {
                [] => {}
                [(distance, n)] => claims.push((*n, *id, *distance)),
                [(one, n), (next, _), ..] if *next > one.max(&1_000_000).saturating_mul(MARGIN) => {
                    claims.push((*n, *id, *one));
                }
                _ => ties.ambiguous.extend(fits.iter().map(|(_, n)| *n)),
            }
        }
        claims.sort_unstable_by_key(|(n, id, _)| (*n, *id));
        for group in claims.chunk_by(|one, next| one.0 == next.0) {
            // A retried connection: several, one after the other.
            let known = self.clock.is_known();
            let certainty = if known { Confidence::Likely } else { Confidence::Possible };
            for (entry, flow, distance) in group {
                ties.tied.push(Tied {
                    entry: *entry,
                    seen: None,
                    flow: *flow,
                    leg: Leg::Back,
                    certainty,
                    by: By::Time,
                    distance: *distance,
                });
            }
        }
    }

    /// How far the first packet of a connection is from the time of a line that may tell of it.
    fn during(&self, entry: &Entry, flow: &Known) -> Option<i64> {
        let began = flow.first.at.nanos_since(entry.until()).saturating_sub(entry.resolution);
        let high = flow.first.at.nanos_since(entry.at());
        match entry.began.zip(entry.ended).filter(|(began, ended)| began != ended) {
            Some(_) => super::fit::distance((began.min(high), high.max(began)), &self.clock),
            // Only one moment: that of the failure, or of the request.
            None => times(entry, Leg::Back, flow.first.at, flow.last, &self.clock),
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
