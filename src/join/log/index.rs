//! Finds lines and flows by what they have in common.

use super::clock::Clock;
use super::entry::{Entry, Maybe};
use super::fit::Leg;
use super::seen::{Capture, Seen};
use crate::packet::Endpoint;
use crate::time::Timestamp;
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};
use std::sync::OnceLock;

type Map<K, V> = HashMap<K, V, FixedState>;

/// Stands for a key that no exchange has.
const NONE: u32 = u32::MAX;

/// Lines that are looked at behind a cursor before all are searched.
const STEPS: usize = 8;

/// What belongs to each of so many numbered keys, in its order.
#[derive(Debug, Default)]
pub(super) struct Lists<T> {
    /// Where the items of each key begin, and behind the last where they end.
    from: Vec<u32>,
    items: Vec<T>,
}

impl<T: Copy + Default> Lists<T> {
    /// Keys are below `keys`; `item` gives the item of what comes with each.
    fn new<U: Copy>(keys: usize, pairs: &[(u32, U)], item: impl Fn(U) -> T) -> Lists<T> {
        let mut from = vec![0_u32; keys + 1];
        for (key, _) in pairs {
            from[*key as usize] += 1;
        }
        let mut sum = 0;
        for from in &mut from {
            (*from, sum) = (sum, sum + *from);
        }
        let mut items = vec![T::default(); pairs.len()];
        for (key, one) in pairs {
            let place = &mut from[*key as usize];
            items[*place as usize] = item(*one);
            *place += 1;
        }
        // Each now stands where the next one begins.
        from.rotate_right(1);
        from[0] = 0;
        Lists { from, items }
    }

    fn of(&self, key: u32) -> &[T] {
        let end = |key: usize| self.from.get(key).map(|at| *at as usize);
        match (end(key as usize), end((key as usize).saturating_add(1))) {
            (Some(from), Some(to)) => &self.items[from..to],
            _ => &[],
        }
    }

    /// Keys with their items, those without left out; the items may be brought into another order.
    pub(super) fn each(&mut self) -> impl Iterator<Item = (u32, &mut [T])> {
        let ends = self.from.windows(2).map(|two| (two[1] - two[0]) as usize);
        let mut rest = self.items.as_mut_slice();
        let lists = (0..).zip(ends).map(move |(key, many)| {
            let (list, others) = std::mem::take(&mut rest).split_at_mut(many);
            rest = others;
            (key, list)
        });
        lists.filter(|(_, list)| !list.is_empty())
    }
}

/// A line among those that ask the same.
#[derive(Clone, Copy, Debug, Default)]
struct Asking {
    at: Timestamp,
    latest: Timestamp,
    /// The latest time of this line and of those before it.
    reach: Timestamp,
    entry: u32,
}

/// The keys of an exchange by their numbers.
#[derive(Clone, Copy, Debug)]
struct Keys {
    asked: u32,
    path: u32,
    ids: [u32; 4],
}

/// The digests that exchanges have, numbered in their order: lists by number take less than tables by digest.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    numbers: Map<u64, u32>,
    /// By their numbers.
    digests: Vec<u64>,
    /// The numbers of what each exchange has.
    keys: Vec<Keys>,
}

/// Lines of one log, in the order of their times, and flows of a capture, by what ties them.
pub(super) struct Index<'a> {
    /// The numbers of what exchanges have.
    numbers: &'a Numbers,
    /// Of these what lines call what each exchange asked.
    asked: Vec<u32>,
    /// Entries by an id.
    by_id: Lists<u32>,
    /// Entries by what was asked.
    by_asked: Lists<Asking>,
    /// Entries by the port that only one connection has, and its leg; those of no flow are left out.
    by_port: Vec<((Endpoint, Leg), u32)>,
    /// How many exchanges with a server asked the same or have the same id; made when it is asked for.
    seen: OnceLock<Map<(u32, Endpoint), u32>>,
    clients: Map<Endpoint, u32>,
    by_client: Lists<u64>,
    /// Exchanges by their flow, in their order on it, where lines name connections.
    by_flow: Vec<(u64, u32, u32)>,
    /// Flows by their first packet.
    flows: Vec<(Timestamp, u64)>,
    /// Servers to which clients of the log connect: the proxy itself.
    fronts: HashSet<Endpoint, FixedState>,
    /// The least exact time of any line, nanoseconds.
    resolution: i64,
    /// Some lines speak of connections.
    connections: bool,
}

impl<'a> Index<'a> {
    /// `entries` are in the order of their times.
    pub(super) fn new(entries: &[Entry], capture: &'a Capture) -> Index<'a> {
        let mut index = Index {
            numbers: capture.numbers(),
            asked: Vec::new(),
            by_id: Lists::default(),
            by_asked: Lists::default(),
            by_port: Vec::new(),
            seen: OnceLock::new(),
            clients: Map::default(),
            by_client: Lists::default(),
            by_flow: Vec::new(),
            flows: Vec::with_capacity(capture.flows.len()),
            fronts: HashSet::default(),
            resolution: 0,
            connections: false,
        };
        let hosts = index.take_flows(capture);
        let named = index.take_lines(entries, &hosts);
        if !named.is_empty() {
            let is_named = |it: &Endpoint| named.contains(it) || named.contains(&anywhere(*it));
            let fronts = capture.flows.values().filter(|flow| is_named(&flow.client));
            index.fronts = fronts.map(|flow| flow.server).collect();
        }
        let known = |key: &u32| !index.by_asked.of(*key).is_empty();
        let asked = |keys: &Keys| [keys.asked, keys.path].into_iter().find(known).unwrap_or(NONE);
        index.asked = index.numbers.keys.iter().map(asked).collect();
        if index.connections || !index.by_port.is_empty() {
            let known = (0..).zip(&capture.seen);
            let known = known.filter(|(_, seen)| capture.flows.contains_key(&seen.flow));
            index.by_flow = known.map(|(n, seen)| (seen.flow, seen.ordinal, n)).collect();
            index.by_flow.sort_unstable();
        }
        index
    }

    /// Flows by their clients; the addresses of these without their ports.
    fn take_flows(&mut self, capture: &Capture) -> HashSet<Endpoint, FixedState> {
        let mut hosts: HashSet<Endpoint, FixedState> = HashSet::default();
        // The order of a hash table must not show.
        let mut flows: Vec<_> = capture.flows.iter().collect();
        flows.sort_unstable_by_key(|(id, flow)| (flow.first.at, **id));
        let mut by_client = Vec::with_capacity(flows.len());
        for (id, flow) in flows {
            let next = self.clients.len() as u32;
            by_client.push((*self.clients.entry(flow.client).or_insert(next), *id));
            hosts.insert(anywhere(flow.client));
            self.flows.push((flow.first.at, *id));
        }
        self.by_client = Lists::new(self.clients.len(), &by_client, |flow| flow);
        hosts
    }

    /// Lines by what they ask, by their ids and by the ports that they name, as far as capture has these.
    /// The clients that lines name.
    fn take_lines(
        &mut self,
        entries: &[Entry],
        hosts: &HashSet<Endpoint, FixedState>,
    ) -> HashSet<Endpoint, FixedState> {
        let numbers = self.numbers;
        let mut named: HashSet<Endpoint, FixedState> = HashSet::default();
        let mut ids: Vec<(u32, u32)> = Vec::new();
        let mut asked: Vec<(u32, u32)> = Vec::with_capacity(entries.len());
        for (n, entry) in (0..).zip(entries) {
            if let Some(number) = numbers.of(entry.asked) {
                asked.push((number, n));
            }
            let known = entry.ids.iter().filter(|id| **id != 0);
            ids.extend(known.filter_map(|id| Some((numbers.of(*id)?, n))));
            self.resolution = self.resolution.max(entry.resolution);
            self.connections |= !entry.kind.has_requests();
            if let Some(client) = entry.client {
                if self.clients.contains_key(&client) {
                    named.insert(client);
                    if client.port > 0 {
                        self.by_port.push(((client, Leg::Front), n));
                    }
                } else if client.port == 0 && hosts.contains(&client) {
                    named.insert(client);
                }
            }
            if let Some(local) = entry.local().filter(|local| self.clients.contains_key(local)) {
                self.by_port.push(((local, Leg::Back), n));
            }
        }
        self.by_id = Lists::new(numbers.digests.len(), &ids, |n| n);
        let line = |n: u32| {
            let entry = &entries[n as usize];
            let (at, latest) = (entry.at(), entry.latest());
            Asking { at, latest, reach: latest, entry: n }
        };
        self.by_asked = Lists::new(numbers.digests.len(), &asked, line);
        for (_, lines) in self.by_asked.each() {
            let mut reach = Timestamp(i64::MIN);
            for line in lines {
                reach = reach.max(line.latest);
                line.reach = reach;
            }
        }
        self.by_port.sort_unstable();
        named
    }

    /// The only line that has an id of this exchange, else the only one that asks the same.
    pub(super) fn only(&self, seen: usize) -> Option<usize> {
        let keys = &self.numbers.keys[seen];
        let id = |id: &u32| match self.by_id.of(*id) {
            [n] => Some(*n as usize),
            _ => None,
        };
        let asking = |asked: u32| match self.by_asked.of(asked) {
            [line] => Some(line.entry as usize),
            _ => None,
        };
        let by_id = keys.ids.iter().find_map(id);
        by_id.or_else(|| asking(keys.asked)).or_else(|| asking(keys.path))
    }

    /// Whether no other exchange with its server has an id of this one, or asked the same.
    pub(super) fn is_alone(&self, seen: usize, server: Endpoint, capture: &Capture) -> bool {
        let known = self.seen.get_or_init(|| self.count(capture));
        let keys = &self.numbers.keys[seen];
        let alone = |key: &u32| known.get(&(*key, server)) == Some(&1);
        keys.ids.iter().chain([&keys.asked]).any(alone)
            || (self.by_asked.of(keys.asked).is_empty() && alone(&keys.path))
    }

    fn count(&self, capture: &Capture) -> Map<(u32, Endpoint), u32> {
        let mut known: Map<(u32, Endpoint), u32> = Map::default();
        for (seen, keys) in capture.seen.iter().zip(&self.numbers.keys) {
            let Some(flow) = capture.flows.get(&seen.flow) else { continue };
            for key in keys.all().filter(|key| *key != NONE) {
                *known.entry((key, flow.server)).or_default() += 1;
            }
        }
        known
    }

    /// The most particular id of this exchange that a line has.
    pub(super) fn id_of(&self, seen: usize) -> Option<u32> {
        self.numbers.keys[seen].ids.into_iter().find(|id| !self.by_id.of(*id).is_empty())
    }

    /// The lines that have this id.
    pub(super) fn with_id(&self, id: u32) -> impl DoubleEndedIterator<Item = usize> {
        self.by_id.of(id).iter().map(|n| *n as usize)
    }

    /// The number of what lines call what this exchange asked.
    pub(super) fn asked_of(&self, seen: usize) -> Option<u32> {
        Some(self.asked[seen]).filter(|asked| *asked != NONE)
    }

    /// Some exchanges by these numbers.
    pub(super) fn asked(&self, mut which: impl FnMut(usize) -> bool) -> Lists<u32> {
        let all = self.asked.iter().zip(0..);
        let some = all.filter(|(asked, n)| **asked != NONE && which(*n as usize));
        let some: Vec<(u32, u32)> = some.map(|(asked, n)| (*asked, n)).collect();
        Lists::new(self.numbers(), &some, |n| n)
    }

    /// How many numbers there are.
    pub(super) fn numbers(&self) -> usize {
        self.numbers.digests.len()
    }

    /// The digest of a number.
    pub(super) fn digest(&self, asked: u32) -> u64 {
        self.numbers.digests.get(asked as usize).copied().unwrap_or(0)
    }

    /// The lines that ask this, in the order of their times.
    pub(super) fn asking(&self, asked: u32) -> impl ExactSizeIterator<Item = usize> {
        self.by_asked.of(asked).iter().map(|line| line.entry as usize)
    }

    /// Those of them that may have begun before what was captured between two times, the latest
    /// first, as far back as any of them lasted; at most `most` are looked at. Lines that were over by then are
    /// left out. `cursor` is where the search before ended: the next often ends near it.
    pub(super) fn asking_before<'b>(
        &'b self,
        asked: u32,
        (first, last): (Timestamp, Timestamp),
        entries: &'b [Entry],
        clock: &Clock,
        (most, cursor): (usize, &mut u32),
    ) -> impl Iterator<Item = usize> + 'b {
        let found = self.by_asked.of(asked);
        let until = latest((first, last), entries, clock);
        let slack = clock.tolerance.saturating_add(self.resolution);
        let own = first.min(last).after(-clock.offset);
        let over = Timestamp(own.0.saturating_sub(slack));
        let near = (*cursor as usize).min(found.len());
        let steps = found[near..].iter().take(STEPS).take_while(|line| line.at <= until).count();
        let is_behind = near.checked_sub(1).is_none_or(|last| found[last].at <= until);
        let end = match is_behind && steps < STEPS {
            true => near + steps,
            false => found.partition_point(|line| line.at <= until),
        };
        *cursor = end as u32;
        let found = found[..end].iter().rev().take(most);
        let found = found.take_while(move |line| line.reach >= over);
        found.filter(move |line| line.latest >= over).map(|line| line.entry as usize)
    }

    /// The lines that may have begun before what was captured between two times, the latest first.
    pub(super) fn before<'b>(
        &'b self,
        times: (Timestamp, Timestamp),
        entries: &'b [Entry],
        clock: &Clock,
    ) -> impl Iterator<Item = usize> + 'b {
        let until = latest(times, entries, clock);
        (0..entries.partition_point(|entry| entry.at() <= until)).rev()
    }

    /// Connections that the log names by a port of theirs, with the lines of each.
    pub(super) fn by_port(&self) -> impl Iterator<Item = (Endpoint, Leg, Vec<usize>)> {
        self.by_port.chunk_by(|one, next| one.0 == next.0).map(|lines| {
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
        self.clients.get(&client).map_or(&[], |client| self.by_client.of(*client))
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

impl Keys {
    fn all(&self) -> impl Iterator<Item = u32> {
        self.ids.into_iter().chain([self.asked, self.path])
    }
}

/// An address with any port.
fn anywhere(end: Endpoint) -> Endpoint {
    Endpoint { port: 0, ..end }
}

impl Numbers {
    /// Of all these exchanges.
    pub(super) fn of_all(all: &[Seen]) -> Numbers {
        let mut numbers = Numbers::default();
        all.iter().for_each(|seen| numbers.add(seen));
        numbers
    }

    /// One exchange more.
    pub(super) fn add(&mut self, seen: &Seen) {
        let mut number = |digest: u64| match digest {
            0 => NONE,
            _ => *self.numbers.entry(digest).or_insert_with(|| {
                self.digests.push(digest);
                self.digests.len() as u32 - 1
            }),
        };
        let (asked, path) = (number(seen.asked), number(seen.path));
        let ids = seen.ids.map(number);
        self.keys.push(Keys { asked, path, ids });
    }

    /// The number of a digest that some exchange has.
    pub(super) fn of(&self, digest: u64) -> Option<u32> {
        self.numbers.get(&digest).copied()
    }
}

/// The latest time at which a line of what was captured between two times can have begun.
fn latest((first, last): (Timestamp, Timestamp), entries: &[Entry], clock: &Clock) -> Timestamp {
    // Lines of one log have the same times: those with only the time of the end are behind it.
    let begins = entries.first().is_some_and(|it| it.began != Maybe::NONE && it.began != it.ended);
    let latest = if begins { first } else { last };
    latest.after(-clock.offset).after(clock.tolerance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_keep_the_order_of_each_key() {
        let mut lists = Lists::new(4, &[(2, 7), (0, 1), (2, 5), (3, 9), (2, 6)], |item| item);
        assert_eq!((lists.of(0), lists.of(1), lists.of(2)), (&[1][..], &[][..], &[7, 5, 6][..]));
        assert_eq!((lists.of(3), lists.of(4), lists.of(NONE)), (&[9][..], &[][..], &[][..]));
        lists.each().for_each(|(_, list)| list.sort_unstable());
        let keys: Vec<u32> = lists.each().map(|(key, _)| key).collect();
        assert_eq!((keys, lists.of(2)), (vec![0, 2, 3], &[5, 6, 7][..]));
        assert!(Lists::<u32>::new(0, &[], |item| item).of(0).is_empty());
    }
}
