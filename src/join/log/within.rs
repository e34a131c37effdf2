//! Which request of a connection a line about that connection tells of: the one that was under way.

use super::entry::Entry;
use super::fit::Leg;
use super::kind::Kind;
use super::seen::{Capture, Seen};
use super::tie::{By, Tied, Ties};
use crate::cause::Confidence;
use crate::http::State;
use crate::packet::Endpoint;
use crate::time::Timestamp;
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

/// Apache's error log names its client with the port, and no request.
pub(super) fn find_requests(entries: &[Entry], ties: &mut Ties, capture: &Capture) {
    let wanted = |tied: &Tied| {
        tied.seen.is_none()
            && tied.leg == Leg::Front
            && entries[tied.entry].kind == Kind::ApacheError
    };
    let mut of_flow: HashMap<u64, Vec<usize>, FixedState> = HashMap::default();
    of_flow.extend(ties.tied.iter().filter(|tied| wanted(tied)).map(|it| (it.flow, Vec::new())));
    if of_flow.is_empty() {
        return;
    }
    for (n, seen) in capture.seen.iter().enumerate() {
        if let Some(list) = of_flow.get_mut(&seen.flow) {
            list.push(n);
        }
    }
    let (offset, slack) = (ties.clock.offset, ties.clock.tolerance);
    for tied in ties.tied.iter_mut().filter(|tied| wanted(tied)) {
        let at = entries[tied.entry].at().after(offset);
        let until = at.after(entries[tied.entry].resolution);
        let list = of_flow.get(&tied.flow).map_or(&[][..], Vec::as_slice);
        tied.seen = only(list, capture, |seen| during(seen, at, until, 0))
            .or_else(|| only(list, capture, |seen| during(seen, at, until, slack)))
            .or_else(|| {
                let failed = |seen: &Seen| during(seen, at, until, slack) && has_failed(seen);
                only(list, capture, failed)
            });
    }
}

/// The longest that a connection is tried, nanoseconds: six repetitions of a SYN.
const TRIED: i64 = 130_000_000_000;

/// Lines that a connection to a target could not be made, and that name no client: the connection without a request
/// that was tried last.
pub(super) fn find_connections(entries: &[Entry], ties: &mut Ties, capture: &Capture) {
    // The lines of a log are all of one kind.
    if entries.first().is_none_or(|entry| entry.kind != Kind::ApacheError) {
        return;
    }
    let tied: HashSet<usize, FixedState> = ties.tied.iter().map(|tied| tied.entry).collect();
    let wanted = |(n, entry): &(usize, &Entry)| {
        entry.failed && entry.names_targets() && entry.client.is_none() && !tied.contains(n)
    };
    let wanted: Vec<(usize, &Entry)> = entries.iter().enumerate().filter(wanted).collect();
    if wanted.is_empty() {
        return;
    }
    let used: HashSet<u64, FixedState> = capture.seen.iter().map(|seen| seen.flow).collect();
    let mut unused: Vec<(Timestamp, u64, Endpoint)> = capture
        .flows
        .iter()
        .filter(|(id, _)| !used.contains(id))
        .map(|(id, flow)| (flow.first.at, id, flow.server))
        .collect();
    unused.sort_unstable_by_key(|(first, id, _)| (*first, *id));
    let mut given: HashSet<u64, FixedState> = HashSet::default();
    for (n, entry) in wanted {
        let at = entry.at().after(ties.clock.offset);
        let until = at.after(ties.clock.tolerance.saturating_add(entry.resolution));
        let before = unused.partition_point(|(first, ..)| *first <= until);
        let tried = unused[..before].iter().rev();
        let mut tried = tried
            .take_while(|(first, ..)| at.nanos_since(*first) <= TRIED)
            .filter(|(_, id, server)| entry.names(*server) && !given.contains(id));
        let Some((first, flow, _)) = tried.next().copied() else { continue };
        given.insert(flow);
        ties.tied.push(Tied {
            entry: n,
            seen: None,
            flow,
            leg: Leg::Back,
            certainty: Confidence::Possible,
            by: By::Time,
            distance: at.nanos_since(first).abs(),
        });
    }
    ties.tied.sort_by_key(|tied| (tied.entry, tied.leg, tied.flow, tied.seen));
}

fn only(list: &[usize], capture: &Capture, fits: impl Fn(&Seen) -> bool) -> Option<usize> {
    let mut fitting = list.iter().copied().filter(|n| fits(&capture.seen[*n]));
    fitting.next().filter(|_| fitting.next().is_none())
}

/// Whether it was under way then, give or take so many nanoseconds.
fn during(seen: &Seen, from: Timestamp, to: Timestamp, slack: i64) -> bool {
    seen.first.at <= to.after(slack) && seen.last() >= from.after(-slack)
}

fn has_failed(seen: &Seen) -> bool {
    seen.state != State::Answered || seen.status.is_none_or(|status| status >= 500)
}

#[cfg(test)]
mod tests {
    use super::super::entry::Place;
    use super::super::testing::{Made, ms, tie};
    use super::*;

    const PROXY: ([u8; 4], u16) = ([10, 0, 0, 1], 80);

    #[test]
    fn a_connection_that_nobody_accepted_is_the_last_one_that_was_tried() {
        const T: ([u8; 4], u16) = ([10, 0, 0, 9], 8080);
        let mut made = Made::default();
        made.request("/a", T, (0, 40), Some(200));
        made.request("/", T, (100, 100), None);
        made.request("/", T, (700, 700), None);
        made.request("/", T, (2_700, 2_700), None);
        made.0.seen.truncate(1);
        let text = "[Thu Jan 01 00:00:01.700000 1970] [proxy:error] [pid 1:tid 2] (70007)The timeout specified has \
            expired: AH00957: http: attempt to connect to 10.0.0.9:8080 (10.0.0.9:8080) failed";
        let line = super::super::apache_error::error(text.as_bytes()).unwrap();
        let mut entries = [Entry::new(Place { file: 0, line: 1 }, Kind::ApacheError, line)];
        let mut ties = tie(&mut entries, &made.0, &[]);
        ties.tied.clear();
        ties.clock.tolerance = 50_000_000;
        find_connections(&entries, &mut ties, &made.0);
        let found: Vec<_> = ties.tied.iter().map(|it| (it.flow, it.leg, it.certainty)).collect();
        assert_eq!(found, [(2, Leg::Back, Confidence::Possible)]);
    }

    #[test]
    fn the_request_that_was_under_way_is_the_one() {
        let mut made = Made::default();
        for (n, (from, to, status)) in
            [(0, 40, 200), (1_000, 1_700, 502), (2_000, 2_040, 200)].into_iter().enumerate()
        {
            let seen = made.request("/a", PROXY, (from, to), Some(status));
            (seen.flow, seen.ordinal) = (0, n as u32 + 1);
        }
        let flow = made.0.flows.get_mut(0).unwrap();
        (flow.last, flow.closed) = (ms(2_040), ms(2_040));
        made.0.flows.retain(|id| id == 0);
        let text = "[Thu Jan 01 00:00:01.700000 1970] [proxy_http:error] [pid 1:tid 2] (70007)The timeout specified has \
            expired: [client 10.0.0.5:40000] AH01102: error reading status line from remote server 10.0.0.9:8080";
        let line = super::super::apache_error::error(text.as_bytes()).unwrap();
        let mut entries = [Entry::new(Place { file: 0, line: 1 }, Kind::ApacheError, line)];
        let mut ties = tie(&mut entries, &made.0, &[]);
        ties.clock.offset = 0;
        find_requests(&entries, &mut ties, &made.0);
        let found: Vec<_> = ties.tied.iter().map(|it| (it.flow, it.leg, it.seen)).collect();
        assert_eq!(found, [(0, Leg::Front, Some(1))]);
    }
}
