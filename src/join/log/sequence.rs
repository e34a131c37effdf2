//! Connections that a log names by a port of theirs: their lines and their exchanges are in the same
//! order, each line tells of one exchange.

use super::fit::{Leg, apart, same_status, times};
use super::line::is_failure;
use super::pairs::Pair;
use super::seen::Seen;
use super::tie::{By, Taken, Tied, Ties, Tying, asks_the_same, contradicts};
use crate::cause::Confidence;
use crate::packet::Endpoint;

/// Lines times exchanges of one connection that are compared each with each.
const CELLS_MAX: usize = 1 << 22;
/// How far lines and exchanges of longer connections are looked ahead for the next that fits.
const LOOK_AHEAD: usize = 64;

/// What a pair is worth, beside how near its times are, nanoseconds: whatever it says, that both have the
/// same status, that both ask the same.
const ANY: i64 = 500_000_000;
const STATUS: i64 = 2_000_000_000;
const ASKED: i64 = 4_000_000_000;
/// Times that are further apart than this are equally far, nanoseconds.
const FAR: i64 = 1_000_000_000;

/// The lines and exchanges of all connections of one address and port, in the order of time.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) leg: Leg,
    pub(super) entries: Vec<usize>,
    pub(super) seen: Vec<usize>,
}

impl Connection {
    /// Whether all lines and exchanges fit in their order, so that none is missing.
    pub(super) fn is_whole(&self, tying: &Tying<'_>) -> bool {
        self.entries.len() == self.seen.len()
            && self.in_order().all(|pair| {
                let (entry, seen) = (&tying.entries[pair.entry], &tying.capture.seen[pair.seen]);
                asks_the_same(entry, seen) && tying.same_status(pair) && !contradicts(entry, seen)
            })
    }

    /// Each line with the exchange at its place.
    pub(super) fn in_order(&self) -> impl Iterator<Item = Pair> {
        let both = self.entries.iter().zip(&self.seen);
        both.map(|(entry, seen)| Pair { entry: *entry, seen: *seen, leg: self.leg })
    }
}

impl Tying<'_> {
    /// Connections of which both the log and the capture know requests.
    pub(super) fn connections_by_port(&self) -> impl Iterator<Item = Connection> {
        self.index.by_port().filter_map(|(end, leg, mut entries)| {
            entries.retain(|n| {
                let entry = &self.entries[*n];
                entry.kind.has_requests() && !(leg == Leg::Back && entry.undispatched)
            });
            let seen = self.seen_from(end);
            (!entries.is_empty() && !seen.is_empty()).then_some(Connection { leg, entries, seen })
        })
    }

    /// Exchanges that this side asked for, on all its connections.
    fn seen_from(&self, client: Endpoint) -> Vec<usize> {
        let flows = self.index.flows_of(client);
        flows.iter().flat_map(|flow| self.index.seen_of(*flow)).collect()
    }

    pub(super) fn same_status(&self, pair: Pair) -> bool {
        let seen = &self.capture.seen[pair.seen];
        let server = self.capture.flows.get(seen.flow).map(|flow| flow.server);
        same_status(&self.entries[pair.entry], pair.leg, server.unwrap_or_default(), seen)
    }

    /// Ties the lines of connections that the log names by their port.
    pub(super) fn sequences(&self, taken: &mut Taken, ties: &mut Ties) {
        for mut connection in self.connections_by_port() {
            let leg = connection.leg;
            connection.entries.retain(|n| !taken.has_line(*n, leg));
            connection.seen.retain(|n| !taken.has_seen(*n));
            let whole = connection.is_whole(self) && self.is_in_time(&connection);
            if !whole {
                self.keep_near(&mut connection);
            }
            let pairs = match whole {
                true => connection.in_order().collect(),
                false => self.align(&connection),
            };
            for pair in &pairs {
                let (entry, seen) = (&self.entries[pair.entry], &self.capture.seen[pair.seen]);
                let sure = asks_the_same(entry, seen)
                    && self.clock.is_known()
                    && (whole || self.is_only(pair, &connection));
                taken.take(pair.entry, pair.seen, leg);
                ties.tied.push(Tied {
                    entry: pair.entry,
                    seen: Some(pair.seen),
                    flow: seen.flow,
                    leg,
                    certainty: if sure { Confidence::Certain } else { Confidence::Likely },
                    by: By::Port,
                    distance: apart(entry, seen.first.at, seen.last(), &self.clock),
                });
            }
        }
    }

    /// Whether nearly all lines of a whole connection are of the time of their exchanges. Of others
    /// the order tells enough: a busy proxy writes some of its lines late.
    fn is_in_time(&self, connection: &Connection) -> bool {
        let fits = connection.in_order().filter(|pair| self.worth(*pair).is_some()).count();
        fits * 10 >= connection.entries.len() * 9
    }

    /// Drops the lines that are of another time than the exchanges: ports are used again.
    fn keep_near(&self, connection: &mut Connection) {
        if !self.clock.is_known() {
            return;
        }
        let all = connection.seen.iter().map(|n| &self.capture.seen[*n]);
        let times = all.map(|seen| (seen.first.at, seen.last()));
        let Some((from, to)) = times.reduce(|one, next| (one.0.min(next.0), one.1.max(next.1)))
        else {
            return;
        };
        let slack = self.clock.tolerance;
        connection.entries.retain(|n| {
            let entry = &self.entries[*n];
            let slack = slack.saturating_add(entry.resolution);
            entry.until().after(self.clock.offset) >= from.after(-slack)
                && entry.at().after(self.clock.offset) <= to.after(slack)
        });
    }

    /// What it is worth to tie these; `None`: they cannot belong together.
    fn worth(&self, pair: Pair) -> Option<i64> {
        let (entry, seen) = (&self.entries[pair.entry], &self.capture.seen[pair.seen]);
        if contradicts(entry, seen) {
            return None;
        }
        let same = asks_the_same(entry, seen);
        // What a proxy's client asked is what the log has; a target may be asked for another path.
        if !same && pair.leg == Leg::Front {
            return None;
        }
        let mut worth = ANY + if same { ASKED } else { 0 };
        if self.same_status(pair) {
            worth += STATUS;
        }
        if self.clock.is_known() {
            let (first, last) = (seen.first.at, seen.last());
            times(entry, pair.leg, first, last, &self.clock)?;
            let apart = apart(entry, first, last, &self.clock).min(FAR);
            worth += FAR - apart;
        }
        Some(worth)
    }

    /// Pairs lines and exchanges in their order, so that what they are worth is most.
    fn align(&self, connection: &Connection) -> Vec<Pair> {
        let Connection { leg, entries, seen } = connection;
        let worth =
            |e: usize, s: usize| self.worth(Pair { entry: entries[e], seen: seen[s], leg: *leg });
        let pairs = match entries.len().saturating_mul(seen.len()) <= CELLS_MAX {
            true => best_alignment(entries.len(), seen.len(), worth),
            false => first_alignment(entries.len(), seen.len(), worth),
        };
        let pair = |(e, s): (usize, usize)| Pair { entry: entries[e], seen: seen[s], leg: *leg };
        let fits = |e: usize, s: usize| {
            let pair = pair((e, s));
            let (entry, seen) = (&self.entries[pair.entry], &self.capture.seen[pair.seen]);
            asks_the_same(entry, seen) && self.same_status(pair) && !contradicts(entry, seen)
        };
        fill(pairs, (entries.len(), seen.len()), fits).into_iter().map(pair).collect()
    }

    /// Whether no neighbour on the connection would do as well.
    fn is_only(&self, pair: &Pair, connection: &Connection) -> bool {
        let beside = |list: &[usize], this: usize| {
            let at = list.iter().position(|n| *n == this).unwrap_or(0);
            let near = [at.checked_sub(1), at.checked_add(1)];
            near.map(|n| n.and_then(|n| list.get(n).copied()))
        };
        let fits = |pair: Pair| {
            let (entry, seen) = (&self.entries[pair.entry], &self.capture.seen[pair.seen]);
            let alike = asks_the_same(entry, seen) && self.same_status(pair);
            alike && self.worth(pair).is_some()
        };
        let entries = beside(&connection.entries, pair.entry).into_iter().flatten();
        let seen = beside(&connection.seen, pair.seen).into_iter().flatten();
        self.same_status(*pair)
            && !entries.map(|entry| Pair { entry, ..*pair }).any(fits)
            && !seen.map(|seen| Pair { seen, ..*pair }).any(fits)
    }

    /// Whether an exchange failed, as far as it shows.
    pub(super) fn has_failed(seen: &Seen) -> bool {
        !seen.whole || seen.status.is_none_or(is_failure)
    }
}

/// Pairs in order with the greatest sum (Needleman and Wunsch 1970); what stays alone costs nothing.
fn best_alignment(
    lines: usize,
    exchanges: usize,
    worth: impl Fn(usize, usize) -> Option<i64>,
) -> Vec<(usize, usize)> {
    const PAIR: u8 = 1;
    const LINE: u8 = 2;
    let mut from = vec![0_u8; lines * exchanges];
    let mut above = vec![0_i64; exchanges + 1];
    let mut row = above.clone();
    for line in 0..lines {
        for exchange in 0..exchanges {
            let paired = worth(line, exchange).map(|worth| worth + above[exchange]);
            let alone = above[exchange + 1].max(row[exchange]);
            let step = match paired {
                Some(sum) if sum >= alone => (sum, PAIR),
                _ if above[exchange + 1] == alone => (alone, LINE),
                _ => (alone, 0),
            };
            (row[exchange + 1], from[line * exchanges + exchange]) = step;
        }
        std::mem::swap(&mut above, &mut row);
    }
    let (mut line, mut exchange) = (lines, exchanges);
    let mut pairs = Vec::new();
    while line > 0 && exchange > 0 {
        match from[(line - 1) * exchanges + exchange - 1] {
            PAIR => {
                line -= 1;
                exchange -= 1;
                pairs.push((line, exchange));
            }
            LINE => line -= 1,
            _ => exchange -= 1,
        }
    }
    pairs.reverse();
    pairs
}

/// Adds what lies between pairs, where that is as many lines as exchanges and all of them fit in their
/// order: their times are further apart than those of others.
fn fill(
    pairs: Vec<(usize, usize)>,
    (lines, exchanges): (usize, usize),
    fits: impl Fn(usize, usize) -> bool,
) -> Vec<(usize, usize)> {
    let mut filled = Vec::with_capacity(pairs.len());
    let (mut line, mut exchange) = (0, 0);
    // What is before the first pair or behind the last may be missing from capture or log.
    let inside = |line: usize, to: usize| line > 0 && to < lines;
    for (e, s) in pairs.into_iter().chain([(lines, exchanges)]) {
        let between = || (line..e).zip(exchange..s);
        if inside(line, e) && e - line == s - exchange && between().all(|(e, s)| fits(e, s)) {
            filled.extend(between());
        }
        if e < lines {
            filled.push((e, s));
        }
        (line, exchange) = (e + 1, s + 1);
    }
    filled
}

/// Pairs in order, each line with the first exchange that fits; of what does not fit, as little as can
/// be is left alone.
fn first_alignment(
    lines: usize,
    exchanges: usize,
    worth: impl Fn(usize, usize) -> Option<i64>,
) -> Vec<(usize, usize)> {
    let (mut line, mut exchange) = (0, 0);
    let mut pairs = Vec::new();
    while line < lines && exchange < exchanges {
        let ahead = (0..LOOK_AHEAD).find_map(|steps| {
            let ways = (0..=steps).map(|n| (line + n, exchange + steps - n));
            let mut ways = ways.filter(|(e, s)| *e < lines && *s < exchanges);
            ways.find(|(e, s)| worth(*e, *s).is_some())
        });
        match ahead {
            Some((e, s)) => {
                pairs.push((e, s));
                (line, exchange) = (e + 1, s + 1);
            }
            None => (line, exchange) = (line + 1, exchange + 1),
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::super::entry::Entry;
    use super::super::testing::{Made, logged, ms, tie};
    use super::*;
    use proptest::prelude::*;

    const PROXY: ([u8; 4], u16) = ([10, 0, 0, 5], 80);

    /// A keep-alive connection of a client with these statuses, 2 ms apart, all asking the same; and the
    /// lines of it.
    fn kept_alive(statuses: &[u16]) -> (Made, Vec<Entry>) {
        let (mut made, mut entries) = (Made::default(), Vec::new());
        for (n, status) in (0..).zip(statuses) {
            let at = 1_000 + 2 * n;
            let seen = made.request("/", PROXY, (at, at + 1), Some(*status));
            (seen.flow, seen.ordinal) = (0, n as u32 + 1);
            let mut line = logged(n as u64, "/", (at, at + 1), *status, PROXY);
            line.attempts.clear();
            line.client = Some(Endpoint::v4([10, 0, 0, 5], 40_000));
            entries.push(line);
        }
        made.0.flows.retain(|id| id == 0);
        made.0.flows.get_mut(0).unwrap().last = ms(1_000 + 2 * statuses.len() as i64);
        (made, entries)
    }

    fn lines(entries: &[Entry], ties: &Ties) -> Vec<(usize, u64)> {
        let line = |it: &Tied| (it.seen.unwrap(), entries[it.entry].place.line);
        let mut lines: Vec<_> = ties.tied.iter().map(line).collect();
        lines.sort_unstable();
        lines
    }

    #[test]
    fn each_line_of_a_connection_tells_of_one_exchange() {
        let mut statuses = [200; 400];
        statuses[399] = 499;
        let (made, mut entries) = kept_alive(&statuses);
        let ties = tie(&mut entries, &made.0, &[]);
        assert_eq!(ties.clock.certainty, Some(Confidence::Certain));
        assert_eq!(lines(&entries, &ties), (0..400).map(|n| (n, n as u64)).collect::<Vec<_>>());
        assert!(ties.tied.iter().all(|it| it.certainty == Confidence::Certain));
    }

    #[test]
    fn a_missing_line_moves_no_other() {
        let (made, mut entries) = kept_alive(&[200; 300]);
        entries.remove(100);
        entries.remove(200);
        // Another connection, whole, tells the clock.
        let mut made = made;
        for n in 0..8 {
            let at = 5_000 + n * 100;
            made.request("/", PROXY, (at, at + 1), Some(200)).flow = 1;
            let mut line = logged(1_000 + n as u64, "/", (at, at + 1), 200, PROXY);
            line.attempts.clear();
            line.client = Some(Endpoint::v4([10, 0, 0, 5], 40_300));
            entries.push(line);
        }
        let first = *made.0.flows.get(300).unwrap();
        made.0.flows.retain(|id| id == 0);
        made.0.flows.insert(1, first);
        let ties = tie(&mut entries, &made.0, &[]);
        let moved = lines(&entries, &ties)
            .into_iter()
            .filter(|(seen, line)| *line < 1_000 && *seen as u64 != *line);
        assert_eq!(moved.collect::<Vec<_>>(), []);
        assert_eq!(ties.tied.len(), 306);
    }

    #[test]
    fn what_is_missing_on_either_side_stays_alone() {
        let same = |lines: &'static str, exchanges: &'static str| {
            move |e: usize, s: usize| (lines.as_bytes()[e] == exchanges.as_bytes()[s]).then_some(1)
        };
        let best = best_alignment(5, 5, same("abcde", "abxde"));
        assert_eq!(best, [(0, 0), (1, 1), (3, 3), (4, 4)]);
        let first = first_alignment(5, 4, same("abcde", "acde"));
        assert_eq!(first, [(0, 0), (2, 1), (3, 2), (4, 3)]);
        let filled = fill(vec![(1, 1), (3, 3)], (5, 6), |_, _| true);
        assert_eq!(filled, [(1, 1), (2, 2), (3, 3)]);
        assert_eq!(fill(vec![(1, 1), (3, 3)], (5, 5), |_, _| false), [(1, 1), (3, 3)]);
    }

    proptest! {
        #[test]
        fn pairs_are_in_order_and_fit(
            lines in prop::collection::vec(0..4_u8, 0..30),
            exchanges in prop::collection::vec(0..4_u8, 0..30),
        ) {
            let worth = |e: usize, s: usize| (lines[e] == exchanges[s]).then_some(1);
            let best = best_alignment(lines.len(), exchanges.len(), worth);
            let first = first_alignment(lines.len(), exchanges.len(), worth);
            prop_assert!(first.len() <= best.len());
            for pairs in [best, first] {
                prop_assert!(pairs.iter().all(|(e, s)| lines[*e] == exchanges[*s]));
                prop_assert!(pairs.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 < two[1].1));
            }
        }
    }
}
