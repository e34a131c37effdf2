//! Finds lines and flows by what they have in common.

use super::clock::Clock;
use super::entry::Entry;
use super::seen::{Capture, Seen};
use crate::packet::Endpoint;
use crate::time::Timestamp;
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

type Map<K, V> = HashMap<K, V, FixedState>;

/// Lines of one log and flows of a capture, by what ties them.
pub(super) struct Index {
    /// Entries by the digest of an id, in their order.
    by_id: Map<u64, Vec<usize>>,
    /// Entries by the digest of what was asked, by the time at which they began.
    by_asked: Map<u64, Vec<usize>>,
    /// How many exchanges asked the same or have the same id.
    seen: Map<u64, u32>,
    by_client: Map<Endpoint, Vec<u64>>,
    /// First exchange of flows.
    first: Map<u64, usize>,
    /// Entries by the time at which they began.
    in_time: Vec<usize>,
    /// Flows by their first packet.
    flows: Vec<(Timestamp, u64)>,
    /// Servers to which clients of the log connect: the proxy itself.
    fronts: HashSet<Endpoint, FixedState>,
}

impl Index {
    pub(super) fn new(entries: &[Entry], capture: &Capture) -> Index {
        let mut index = Index {
            by_id: Map::default(),
            by_asked: Map::default(),
            seen: Map::default(),
            by_client: Map::default(),
            first: Map::default(),
            in_time: (0..entries.len()).collect(),
            flows: Vec::new(),
            fronts: HashSet::default(),
        };
        let clients: HashSet<Endpoint, FixedState> =
            entries.iter().filter_map(|entry| entry.client).collect();
        index.in_time.sort_by_key(|n| (entries[*n].at(), *n));
        for n in &index.in_time {
            let entry = &entries[*n];
            for id in entry.ids.iter().filter(|id| **id != 0) {
                index.by_id.entry(*id).or_default().push(*n);
            }
            if entry.asked != 0 {
                index.by_asked.entry(entry.asked).or_default().push(*n);
            }
        }
        for (n, seen) in capture.seen.iter().enumerate() {
            for key in seen.ids.iter().chain([&seen.asked, &seen.path]).filter(|key| **key != 0) {
                if index.by_id.contains_key(key) || index.by_asked.contains_key(key) {
                    *index.seen.entry(*key).or_default() += 1;
                }
            }
            index.first.entry(seen.flow).or_insert(n);
        }
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
        let only = |found: Option<&Vec<usize>>| found.filter(|it| it.len() == 1).map(|it| it[0]);
        let ids = seen.ids.iter().filter(|id| **id != 0);
        ids.filter_map(|id| only(self.by_id.get(id)))
            .next()
            .or_else(|| only(self.by_asked.get(&seen.asked)))
            .or_else(|| only(self.by_asked.get(&seen.path)))
    }

    /// Whether no other exchange has an id of this one, or asked the same.
    pub(super) fn is_alone(&self, seen: &Seen) -> bool {
        let alone = |key: &u64| self.seen.get(key) == Some(&1);
        seen.ids.iter().chain([&seen.asked]).any(alone)
            || (!self.by_asked.contains_key(&seen.asked) && alone(&seen.path))
    }

    /// The lines that have the most particular id of this exchange that any has.
    pub(super) fn with_ids_of(&self, seen: &Seen) -> &[usize] {
        let ids = seen.ids.iter().filter(|id| **id != 0);
        ids.filter_map(|id| self.by_id.get(id)).next().map_or(&[], Vec::as_slice)
    }

    /// The lines that ask the same, the latest that may have begun before the exchange was over
    /// first.
    pub(super) fn asked_like<'a>(
        &'a self,
        seen: &Seen,
        entries: &'a [Entry],
        clock: &Clock,
    ) -> impl Iterator<Item = usize> + 'a {
        let found = self.by_asked.get(&seen.asked).or_else(|| self.by_asked.get(&seen.path));
        let times = (seen.first.at, seen.last());
        before(found.map_or(&[], Vec::as_slice), times, entries, clock)
    }

    /// The lines that may have begun before what was captured between two times, the latest first.
    pub(super) fn before<'a>(
        &'a self,
        times: (Timestamp, Timestamp),
        entries: &'a [Entry],
        clock: &Clock,
    ) -> impl Iterator<Item = usize> + 'a {
        before(&self.in_time, times, entries, clock)
    }

    /// Whether this is the proxy itself, so that what is asked of it is no attempt at a target.
    pub(super) fn is_front(&self, server: Endpoint) -> bool {
        self.fronts.contains(&server)
    }

    /// Flows that this side opened, by their first packets.
    pub(super) fn flows_of(&self, client: Endpoint) -> &[u64] {
        self.by_client.get(&client).map_or(&[], Vec::as_slice)
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
        self.first.get(&flow).copied()
    }
}

fn before<'a>(
    sorted: &'a [usize],
    (first, last): (Timestamp, Timestamp),
    entries: &'a [Entry],
    clock: &Clock,
) -> impl Iterator<Item = usize> + 'a {
    // Lines of one log have the same times: those with only the time of the end are behind it.
    let begins = sorted.first().is_some_and(|n| entries[*n].began.is_some());
    let latest = if begins { first } else { last };
    let until = latest.after(-clock.offset).after(clock.tolerance);
    let end = sorted.partition_point(|n| entries[*n].at() <= until);
    sorted[..end].iter().rev().copied()
}
