//! Finds lines and flows by what they have in common.

use super::clock::Clock;
use super::entry::Entry;
use super::fit::Leg;
use super::seen::{Capture, Seen};
use crate::packet::Endpoint;
use crate::time::Timestamp;
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};
use std::hash::BuildHasher;

type Map<K, V> = HashMap<K, V, FixedState>;

/// Numbers by a key, those of a key in their order.
#[derive(Debug, Default)]
struct Lists<K>(Vec<(K, u32)>);

impl<K: Ord + Copy> Lists<K> {
    fn new(pairs: impl Iterator<Item = (K, u32)>) -> Lists<K> {
        let mut pairs: Vec<(K, u32)> = pairs.collect();
        pairs.sort_unstable();
        Lists(pairs)
    }

    fn of(&self, key: K) -> &[(K, u32)] {
        let from = self.0.partition_point(|(it, _)| *it < key);
        let many = self.0[from..].partition_point(|(it, _)| *it == key);
        &self.0[from..from + many]
    }
}

/// Lines of one log, in the order of their times, and flows of a capture, by what ties them.
pub(super) struct Index {
    /// Entries by the digest of an id.
    by_id: Lists<u64>,
    /// Entries by the digest of what was asked.
    by_asked: Lists<u64>,
    /// Entries by the port that only one connection has, and its leg.
    by_port: Lists<(Endpoint, Leg)>,
    /// How many exchanges with a server asked the same or have the same id.
    seen: Map<u64, u32>,
    by_client: Map<Endpoint, Vec<u64>>,
    /// Exchanges by their flow, in their order on it.
    by_flow: Vec<(u64, u32, u32)>,
    /// Flows by their first packet.
    flows: Vec<(Timestamp, u64)>,
    /// Servers to which clients of the log connect: the proxy itself.
    fronts: HashSet<Endpoint, FixedState>,
    /// How long the longest line takes, nanoseconds.
    longest: i64,
}

impl Index {
    /// `entries` are in the order of their times.
    pub(super) fn new(entries: &[Entry], capture: &Capture) -> Index {
        let numbered = || (0..).zip(entries);
        let ids = numbered().flat_map(|(n, entry)| entry.ids.map(|id| (id, n)));
        let ports = numbered().flat_map(|(n, entry)| {
            let ends = [(entry.client_port(), Leg::Front), (entry.local, Leg::Back)];
            ends.into_iter().filter_map(move |(end, leg)| Some(((end?, leg), n)))
        });
        let asked = numbered().map(|(n, entry)| (entry.asked, n));
        let mut index = Index {
            by_id: Lists::new(ids.filter(|(id, _)| *id != 0)),
            by_asked: Lists::new(asked.filter(|(asked, _)| *asked != 0)),
            by_port: Lists::new(ports),
            seen: Map::default(),
            by_client: Map::default(),
            by_flow: Vec::with_capacity(capture.seen.len()),
            flows: Vec::with_capacity(capture.flows.len()),
            fronts: HashSet::default(),
            longest: 0,
        };
        let lasts = |entry: &Entry| entry.until().nanos_since(entry.at());
        index.longest = entries.iter().map(lasts).max().unwrap_or(0);
        let clients: HashSet<Endpoint, FixedState> =
            entries.iter().filter_map(|entry| entry.client).collect();
        for (n, seen) in (0..).zip(&capture.seen) {
            let Some(flow) = capture.flows.get(&seen.flow) else { continue };
            for key in seen.ids.iter().chain([&seen.asked, &seen.path]).filter(|key| **key != 0) {
                *index.seen.entry(at(*key, flow.server)).or_default() += 1;
            }
            index.by_flow.push((seen.flow, seen.ordinal, n));
        }
        index.by_flow.sort_unstable();
        // The order of a hash table must not show.
        let mut flows: Vec<_> = capture.flows.iter().collect();
        flows.sort_unstable_by_key(|(id, flow)| (flow.first.at, **id));
        for (id, flow) in flows {
            let anywhere = Endpoint { port: 0, ..flow.client };
            if clients.contains(&flow.client) || clients.contains(&anywhere) {
                index.fronts.insert(flow.server);
            }
            index.by_client.entry(flow.client).or_default().push(*id);
            index.flows.push((flow.first.at, *id));
        }
        index
    }

    /// The only line that has an id of this exchange, else the only one that asks the same.
    pub(super) fn only(&self, seen: &Seen) -> Option<usize> {
        let only = |found: &[(u64, u32)]| match found {
            [(_, n)] => Some(*n as usize),
            _ => None,
        };
        let ids = seen.ids.iter().filter(|id| **id != 0);
        ids.filter_map(|id| only(self.by_id.of(*id)))
            .next()
            .or_else(|| only(self.by_asked.of(seen.asked)))
            .or_else(|| only(self.by_asked.of(seen.path)))
    }

    /// Whether no other exchange with its server has an id of this one, or asked the same.
    pub(super) fn is_alone(&self, seen: &Seen, server: Endpoint) -> bool {
        let alone = |key: &u64| self.seen.get(&at(*key, server)) == Some(&1);
        seen.ids.iter().chain([&seen.asked]).any(alone)
            || (self.by_asked.of(seen.asked).is_empty() && alone(&seen.path))
    }

    /// The most particular id of this exchange that a line has.
    pub(super) fn id_of(&self, seen: &Seen) -> Option<u64> {
        let mut ids = seen.ids.iter().filter(|id| **id != 0);
        ids.find(|id| !self.by_id.of(**id).is_empty()).copied()
    }

    /// The lines that have this id.
    pub(super) fn with_id(&self, id: u64) -> impl DoubleEndedIterator<Item = usize> {
        self.by_id.of(id).iter().map(|(_, n)| *n as usize)
    }

    /// What lines call what this exchange asked.
    pub(super) fn asked_of(&self, seen: &Seen) -> Option<u64> {
        let known = |key: &u64| *key != 0 && !self.by_asked.of(*key).is_empty();
        [seen.asked, seen.path].into_iter().find(known)
    }

    /// The lines that ask this, in the order of their times.
    pub(super) fn asking(&self, asked: u64) -> impl ExactSizeIterator<Item = usize> {
        self.by_asked.of(asked).iter().map(|(_, n)| *n as usize)
    }

    /// Those of them that may have begun before what was captured between two times, the latest
    /// first, as far back as any line takes.
    pub(super) fn asking_before<'a>(
        &'a self,
        asked: u64,
        times: (Timestamp, Timestamp),
        entries: &'a [Entry],
        clock: &Clock,
    ) -> impl Iterator<Item = usize> + 'a {
        let found = self.by_asked.of(asked);
        let until = latest(times, entries, clock);
        let from = self.earliest(times, clock);
        let end = found.partition_point(|(_, n)| entries[*n as usize].at() <= until);
        let found = found[..end].iter().rev().map(|(_, n)| *n as usize);
        found.take_while(move |n| entries[*n].at() >= from)
    }

    /// The lines that may have begun before what was captured between two times, the latest first.
    pub(super) fn before<'a>(
        &'a self,
        times: (Timestamp, Timestamp),
        entries: &'a [Entry],
        clock: &Clock,
    ) -> impl Iterator<Item = usize> + 'a {
        let until = latest(times, entries, clock);
        (0..entries.partition_point(|entry| entry.at() <= until)).rev()
    }

    /// The earliest that a line of what was captured then can have begun.
    fn earliest(&self, (first, _): (Timestamp, Timestamp), clock: &Clock) -> Timestamp {
        // Resolutions are a second at most.
        let before = self.longest.saturating_add(clock.tolerance).saturating_add(1_000_000_000);
        Timestamp(first.after(-clock.offset).0.saturating_sub(before))
    }

    /// Connections that the log names by a port of theirs, with the lines of each.
    pub(super) fn by_port(&self) -> impl Iterator<Item = (Endpoint, Leg, Vec<usize>)> {
        self.by_port.0.chunk_by(|one, next| one.0 == next.0).map(|lines| {
            let ((end, leg), _) = lines[0];
            (end, leg, lines.iter().map(|(_, n)| *n as usize).collect())
        })
    }

    /// Whether this is the proxy itself, so that what is asked of it is no attempt at a target.
    pub(super) fn is_front(&self, server: Endpoint) -> bool {
        self.fronts.contains(&server)
    }

    /// Flows that this side opened, by their first packets.
    pub(super) fn flows_of(&self, client: Endpoint) -> &[u64] {
        self.by_client.get(&client).map_or(&[], Vec::as_slice)
    }

    /// Exchanges of a flow, in their order on it.
    pub(super) fn seen_of(&self, flow: u64) -> impl Iterator<Item = usize> {
        let from = self.by_flow.partition_point(|(it, ..)| *it < flow);
        self.by_flow[from..]
            .iter()
            .take_while(move |(it, ..)| *it == flow)
            .map(|(.., n)| *n as usize)
    }

    /// Flows that began about when a line did.
    pub(super) fn flows_near(&self, entry: &Entry, clock: &Clock) -> impl Iterator<Item = &u64> {
        let at = entry.at().after(clock.offset);
        let from = self.flows.partition_point(|(first, _)| *first < at.after(-clock.tolerance));
        let to = self.flows.partition_point(|(first, _)| *first <= at.after(clock.tolerance));
        self.flows[from..to.max(from)].iter().map(|(_, id)| id)
    }

    /// The first exchange of a flow.
    pub(super) fn first_of(&self, flow: u64) -> Option<usize> {
        self.seen_of(flow).next()
    }
}

/// A key among exchanges with one server.
fn at(key: u64, server: Endpoint) -> u64 {
    FixedState::with_seed(key).hash_one(server)
}

/// The latest time at which a line of what was captured between two times can have begun.
fn latest((first, last): (Timestamp, Timestamp), entries: &[Entry], clock: &Clock) -> Timestamp {
    // Lines of one log have the same times: those with only the time of the end are behind it.
    let begins = entries.first().is_some_and(|it| it.began.is_some() && it.began != it.ended);
    let latest = if begins { first } else { last };
    latest.after(-clock.offset).after(clock.tolerance)
}
