//! Lines of nginx's error log, each about one attempt: tied to that attempt by the URL of the upstream, which
//! is what the target was asked where the proxy writes paths anew, and to the request of the client, of
//! which several lines may tell.

use super::entry::Entry;
use super::fit::{Leg, apart, times};
use super::keys::asked;
use super::kind::{Kind, Lines};
use super::nginx_error::target_of;
use super::seen::{Capture, Known, Seen};
use super::tie::{By, Tied, Ties};
use crate::cause::Confidence;
use crate::packet::Endpoint;
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

/// Exchanges that are compared for the lines that ask one thing; where more ask it, none is tied.
const ALIKE_MAX: usize = 1 << 10;

/// A line that lacks a tie on one side of the proxy.
#[derive(Clone, Copy, Debug)]
struct Open {
    entry: usize,
    leg: Leg,
    /// Nothing is tied to it there, not even possibly.
    lacks: bool,
}

/// A line and an exchange that it may tell of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    apart: i64,
    entry: usize,
    seen: usize,
}

/// Ties what [`tie`](super::tie::tie) left of such lines. `lines` read them.
pub(super) fn tie_errors(entries: &[Entry], ties: &mut Ties, capture: &Capture, lines: &Lines) {
    let wanted = open(entries, ties, lines);
    if wanted.is_empty() {
        return;
    }
    let mut by_asked: HashMap<u64, Vec<usize>, FixedState> = HashMap::default();
    for (n, seen) in
        capture.seen.iter().enumerate().filter(|(_, it)| wanted.contains_key(&it.asked))
    {
        by_asked.entry(seen.asked).or_default().push(n);
    }
    // Each attempt has one line.
    let has_line = |tied: &&Tied| tied.leg == Leg::Back;
    let taken: HashSet<usize, FixedState> =
        ties.tied.iter().filter(has_line).filter_map(|tied| tied.seen).collect();
    let mut groups: Vec<(u64, Vec<Open>)> = wanted.into_iter().collect();
    groups.sort_unstable_by_key(|(_, open)| open.first().map(|it| (it.entry, it.leg)));
    let known = ties.clock.is_likely();
    let mut added: Vec<Tied> = Vec::new();
    let mut add = |it: Candidate, leg, alone: bool| {
        let certainty = if alone && known { Confidence::Likely } else { Confidence::Possible };
        let flow = capture.seen[it.seen].flow;
        let by = By::Request;
        let (entry, seen, distance) = (it.entry, Some(it.seen), it.apart);
        added.push(Tied { entry, seen, flow, leg, certainty, by, distance });
    };
    for (asked, open) in groups {
        let alike = by_asked.get(&asked).map_or(&[][..], Vec::as_slice);
        if alike.len() > ALIKE_MAX {
            continue;
        }
        let fitting = |it: &Open| -> Vec<Candidate> {
            let (entry, open) = (&entries[it.entry], *it);
            let seen = alike.iter().copied().filter_map(|n| {
                let seen = &capture.seen[n];
                let flow = capture.flows.get(seen.flow)?;
                let apart = fits(entry, open.leg, seen, flow, &ties.clock)?;
                Some(Candidate { apart, entry: open.entry, seen: n })
            });
            seen.collect()
        };
        // Several lines may tell of the request of a client.
        for it in open.iter().filter(|it| it.leg == Leg::Front) {
            let mut fits = fitting(it);
            fits.sort_unstable();
            match fits.as_slice() {
                [] => {}
                // Where lines of other requests did not fit as well, it is sure enough.
                [only] => add(*only, Leg::Front, true),
                [best, ..] if it.lacks => add(*best, Leg::Front, false),
                _ => {}
            }
        }
        let back: Vec<Candidate> =
            open.iter().filter(|it| it.leg == Leg::Back).flat_map(fitting).collect();
        for (it, alone) in one_each(back, &taken) {
            add(it, Leg::Back, alone);
        }
    }
    let anew: HashSet<(usize, Leg), FixedState> =
        added.iter().map(|tied| (tied.entry, tied.leg)).collect();
    ties.tied.retain(|tied| !anew.contains(&(tied.entry, tied.leg)));
    ties.tied.append(&mut added);
    ties.tied.sort_by_key(|tied| (tied.entry, tied.leg, tied.flow, tied.seen));
    let tied: HashSet<usize, FixedState> = ties.tied.iter().map(|tied| tied.entry).collect();
    ties.ambiguous.retain(|entry| !tied.contains(entry));
}

/// Lines that are not tied on a side, by what was asked there.
fn open(entries: &[Entry], ties: &Ties, lines: &Lines) -> HashMap<u64, Vec<Open>, FixedState> {
    let mut wanted: HashMap<u64, Vec<Open>, FixedState> = HashMap::default();
    let has = |entry: usize, leg: Leg| {
        let from = ties.tied.partition_point(|tied| (tied.entry, tied.leg) < (entry, leg));
        let tied = ties.tied.get(from).filter(|tied| (tied.entry, tied.leg) == (entry, leg));
        tied.map(|tied| tied.certainty)
    };
    let is_error =
        |entry: &Entry| entry.failed && entry.kind == Kind::NginxError && entry.asked != 0;
    // The lines of a log are all of one kind.
    let errors = entries.first().is_some_and(|entry| entry.kind == Kind::NginxError);
    let entries = if errors { entries } else { &[] };
    for (n, entry) in entries.iter().enumerate().filter(|(_, entry)| is_error(entry)) {
        let front = has(n, Leg::Front);
        if entry.client.is_some() && front.is_none_or(|sure| sure == Confidence::Possible) {
            let open = Open { entry: n, leg: Leg::Front, lacks: front.is_none() };
            wanted.entry(entry.asked).or_default().push(open);
        }
        if entry.names_targets() && has(n, Leg::Back).is_none() {
            let mut fields = Vec::new();
            let line = entry.text().and_then(|it| lines.read(entry.kind, it, &mut fields));
            let said = line
                .as_ref()
                .and_then(|line| line.said.iter().find(|(name, _)| *name == "upstream"));
            if let (Some(line), Some((_, url))) = (&line, said)
                && let Some(target) = target_of(url)
            {
                let asked = asked(&line.method, &target);
                wanted.entry(asked).or_default().push(Open {
                    entry: n,
                    leg: Leg::Back,
                    lacks: true,
                });
            }
        }
    }
    wanted
}

/// How far an exchange is from what the line tells of; `None`: it is another one.
fn fits(entry: &Entry, leg: Leg, seen: &Seen, flow: &Known, clock: &super::Clock) -> Option<i64> {
    let is_client = |client: Endpoint| {
        client.ip == flow.client.ip && (client.port == 0 || client.port == flow.client.port)
    };
    let fits = match leg {
        Leg::Front => entry.client.is_some_and(is_client) && !entry.names(flow.server),
        Leg::Back => entry.names(flow.server),
    };
    let last = seen.last();
    let distance = fits.then(|| times(entry, leg, seen.first.at, last, clock)).flatten()?;
    Some(distance.saturating_add(apart(entry, last, last, clock)))
}

/// Gives each line one exchange and each exchange one line, the nearest first; whether neither had another.
fn one_each(
    mut candidates: Vec<Candidate>,
    taken: &HashSet<usize, FixedState>,
) -> Vec<(Candidate, bool)> {
    candidates.retain(|it| !taken.contains(&it.seen));
    candidates.sort_unstable();
    let mut of_entry: HashMap<usize, u32, FixedState> = HashMap::default();
    let mut of_seen: HashMap<usize, u32, FixedState> = HashMap::default();
    for it in &candidates {
        *of_entry.entry(it.entry).or_default() += 1;
        *of_seen.entry(it.seen).or_default() += 1;
    }
    let (mut lines, mut exchanges): (HashSet<usize, FixedState>, HashSet<usize, FixedState>) =
        Default::default();
    let mut given = Vec::new();
    for it in candidates {
        if lines.contains(&it.entry) || exchanges.contains(&it.seen) {
            continue;
        }
        lines.insert(it.entry);
        exchanges.insert(it.seen);
        given.push((it, of_entry[&it.entry] == 1 && of_seen[&it.seen] == 1));
    }
    given
}

#[cfg(test)]
mod tests {
    use super::super::entry::Place;
    use super::super::testing::{Made, tie};
    use super::*;
    use crate::time::Timestamp;

    const ONE: ([u8; 4], u16) = ([10, 0, 0, 9], 8080);
    const TWO: ([u8; 4], u16) = ([10, 0, 0, 8], 8080);
    const PROXY: ([u8; 4], u16) = ([10, 0, 0, 1], 80);

    /// An error of the second at which the capture begins.
    fn error(n: u64, event: &str, target: ([u8; 4], u16), paths: (&str, &str)) -> Entry {
        let ([a, b, c, d], port) = target;
        let text = format!(
            "1970/01/01 00:00:00 [error] 1#1: *2 {event}, client: 10.0.0.5, server: , request: \"GET {} HTTP/1.1\", \
             upstream: \"http://{a}.{b}.{c}.{d}:{port}{}\", host: \"a\"",
            paths.0, paths.1
        );
        let line = super::super::nginx_error::error(text.as_bytes()).unwrap();
        let mut entry = Entry::new(Place { file: 0, line: n }, Kind::NginxError, line);
        entry.keep_text(text.as_bytes());
        entry
    }

    /// Line, flow, side and certainty of the ties.
    fn tied(entries: &mut [Entry], made: &Made) -> Vec<(u64, u64, Leg, Confidence)> {
        let mut ties = tie(entries, &made.0, &[]);
        ties.clock = super::super::Clock {
            certainty: Some(Confidence::Likely),
            tolerance: 50_000_000,
            ..ties.clock
        };
        ties.clock.offset = 0;
        ties.tied.clear();
        tie_errors(entries, &mut ties, &made.0, &Lines::default());
        ties.tied
            .iter()
            .map(|it| (entries[it.entry].place.line, it.flow, it.leg, it.certainty))
            .collect()
    }

    #[test]
    fn each_error_of_a_request_is_tied_to_its_attempt_and_to_the_request() {
        let mut made = Made::default();
        made.request("/shop/a", PROXY, (10, 400), Some(502));
        made.request("/v2/a", ONE, (11, 200), None);
        made.request("/v2/a", TWO, (201, 399), None);
        let reset = "recv() failed (104: Connection reset by peer) while reading response header from upstream";
        let paths = ("/shop/a", "/v2/a");
        let mut entries = [error(1, reset, ONE, paths), error(2, reset, TWO, paths)];
        use Confidence::Likely;
        assert_eq!(
            tied(&mut entries, &made),
            [
                (1, 0, Leg::Front, Likely),
                (1, 1, Leg::Back, Likely),
                (2, 0, Leg::Front, Likely),
                (2, 2, Leg::Back, Likely)
            ]
        );
    }

    #[test]
    fn an_attempt_without_an_answer_lasts_until_its_connection_ends() {
        let mut made = Made::default();
        made.request("/v2/a", ONE, (-700, -700), None);
        // The proxy gave up.
        made.0.flows.get_mut(0).unwrap().closed = Timestamp(10_000_000);
        made.0.settle();
        let late = "upstream timed out (110: Connection timed out) while reading response header from upstream";
        let mut entries = [error(1, late, ONE, ("/shop/a", "/v2/a"))];
        assert_eq!(tied(&mut entries, &made), [(1, 0, Leg::Back, Confidence::Likely)]);
        // Another path, another target.
        for (target, path) in [(ONE, "/v2/b"), (TWO, "/v2/a")] {
            let mut entries = [error(1, late, target, ("/shop/a", path))];
            assert_eq!(tied(&mut entries, &made), []);
        }
    }

    #[test]
    fn of_alike_attempts_each_has_one_line_and_none_is_likely() {
        let mut made = Made::default();
        made.request("/v2/a", ONE, (100, 200), None);
        made.request("/v2/a", ONE, (300, 400), None);
        let reset = "recv() failed (104: Connection reset by peer) while reading response header from upstream";
        let paths = ("/shop/a", "/v2/a");
        let mut entries =
            [error(1, reset, ONE, paths), error(2, reset, ONE, paths), error(3, reset, ONE, paths)];
        let ties = tied(&mut entries, &made);
        assert_eq!(ties.len(), 2);
        assert!(ties.iter().all(|(.., sure)| *sure == Confidence::Possible), "{ties:?}");
        assert_ne!((ties[0].0, ties[0].1), (ties[1].0, ties[1].1));
    }
}
