//! Finds lines and flows by what they have in common.

use super::clock::Clock;
use super::common::{Common, Keys, NONE};
use super::entry::{Entry, Maybe};
use super::fit::Leg;
use super::seen::{Capture, Flows};
use crate::packet::Endpoint;
use crate::time::Timestamp;
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};
use std::sync::OnceLock;

type Map<K, V> = HashMap<K, V, FixedState>;

/// Lines that are looked at behind a cursor before all are searched.
const STEPS: usize = 8;

/// Times that are cut off to this or more, nanoseconds, may be those of many lines.
const COARSE: i64 = 1_000_000_000;
/// Of so many lines that ask the same, more than [`AT_ONCE`] of one time are a crowd.
const MANY: usize = 512;
const AT_ONCE: usize = 16;
/// How many before and behind the one of which it is the turn are looked at as well.
const BESIDE: usize = 1;

/// Where a search among the lines that ask one thing is.
pub(super) struct Cursor<'a> {
    /// Where the search before ended.
    pub(super) end: &'a mut u32,
    /// Which of a crowd comes next; `None`: all of it are looked at.
    pub(super) turn: Option<&'a mut u32>,
}

/// What belongs to each of so many numbered keys, in its order.
#[derive(Clone, Debug, Default)]
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

/// What several exchanges may have, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum What {
    Asked(u32),
    Id(u32),
}

/// Flows of a capture by their clients.
#[derive(Clone, Debug, Default)]
pub(super) struct ByClient {
    clients: Map<Endpoint, u32>,
    flows: Lists<u64>,
    /// The clients without their ports.
    hosts: HashSet<Endpoint, FixedState>,
    /// By their first packets.
    by_time: Vec<(Timestamp, u64)>,
}

/// Lines of one log, in the order of their times, and flows of a capture, by what ties them.
pub(super) struct Index<'a> {
    /// What lines and exchanges have in common.
    common: Common,
    /// Of this what lines call what each exchange asked.
    asked: Vec<u32>,
    /// Entries by an id.
    by_id: Lists<u32>,
    /// Entries by what was asked.
    by_asked: Lists<Asking>,
    /// Entries by the port that only one connection has, and its leg; those of no flow are left out.
    by_port: Vec<((Endpoint, Leg), u32)>,
    /// How many exchanges with a server asked the same or have the same id, of what several exchanges did; made when
    /// it is asked for.
    seen: OnceLock<Map<(What, Endpoint), u32>>,
    /// Flows by their clients.
    flows: &'a ByClient,
    /// Exchanges by their flow, in their order on it, where lines name connections.
    by_flow: Vec<(u64, u32, u32)>,
    /// Servers to which clients of the log connect: the proxy itself.
    fronts: HashSet<Endpoint, FixedState>,
    /// The least exact time of any line, nanoseconds.
    resolution: i64,
    /// Some lines speak of connections.
    connections: bool,
}

impl<'a> Index<'a> {
    /// `entries` are in the order of their times; `paths`: some do not know the query of what was asked.
    pub(super) fn new(entries: &mut [Entry], paths: bool, capture: &'a Capture) -> Index<'a> {
        let mut index = Index {
            common: Common::new(entries, paths, &capture.seen),
            asked: Vec::new(),
            by_id: Lists::default(),
            by_asked: Lists::default(),
            by_port: Vec::new(),
            seen: OnceLock::new(),
            flows: capture.by_client(),
            by_flow: Vec::new(),
            fronts: HashSet::default(),
            resolution: 0,
            connections: false,
        };
        let named = index.take_lines(entries);
        if !named.is_empty() {
            let is_named = |it: &Endpoint| named.contains(it) || named.contains(&anywhere(*it));
            let fronts = capture.flows.values().filter(|flow| is_named(&flow.client));
            index.fronts = fronts.map(|flow| flow.server).collect();
        }
        let asked = |[asked, path]: &[u32; 2]| if *asked == NONE { *path } else { *asked };
        index.asked = index.common.asked.seen.iter().map(asked).collect();
        if index.connections || !index.by_port.is_empty() {
            let known = (0..).zip(&capture.seen);
            let known = known.filter(|(_, seen)| capture.flows.get(seen.flow).is_some());
            index.by_flow = known.map(|(n, seen)| (seen.flow, seen.ordinal, n)).collect();
            index.by_flow.sort_unstable();
        }
        index
    }

    /// Lines by what they ask, by their ids and by the ports that they name, as far as capture has these.
    /// The clients that lines name.
    fn take_lines(&mut self, entries: &mut [Entry]) -> HashSet<Endpoint, FixedState> {
        let mut named: HashSet<Endpoint, FixedState> = HashSet::default();
        for ((n, entry), has) in (0..).zip(&mut *entries).zip(self.common.lines()) {
            let retried = || entry.tries().is_some_and(|tries| tries.failed > 0);
            entry.wanted = has || entry.failed || !entry.kind.has_requests() || retried();
            if !entry.wanted {
                continue;
            }
            self.resolution = self.resolution.max(entry.resolution);
            self.connections |= !entry.kind.has_requests();
            if let Some(client) = entry.client {
                if self.flows.has(client) {
                    named.insert(client);
                    if client.port > 0 {
                        self.by_port.push(((client, Leg::Front), n));
                    }
                } else if client.port == 0 && self.flows.hosts.contains(&client) {
                    named.insert(client);
                }
            }
            if let Some(local) = entry.local().filter(|local| self.flows.has(*local)) {
                self.by_port.push(((local, Leg::Back), n));
            }
        }
        self.by_id = Lists::new(self.common.ids.many.len(), &self.common.ids.lines, |n| n);
        let line = |n: u32| {
            let entry = &entries[n as usize];
            let (at, latest) = (entry.at(), entry.latest());
            Asking { at, latest, reach: latest, entry: n }
        };
        let asked = (0..).zip(&self.common.asked.lines).map(|(n, asked)| (*asked, n));
        let asked: Vec<(u32, u32)> = asked.filter(|(asked, _)| *asked != NONE).collect();
        self.by_asked = Lists::new(self.common.asked.many.len(), &asked, line);
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
        let keys = self.common.of(seen);
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
        let Keys { asked, path, ids } = self.common.of(seen);
        let alone = |what: What| match self.many(what) {
            0 => false,
            1 => true,
            _ => self.seen.get_or_init(|| self.count(capture)).get(&(what, server)) == Some(&1),
        };
        ids.into_iter().any(|id| alone(What::Id(id)))
            || alone(What::Asked(asked))
            || (asked == NONE && alone(What::Asked(path)))
    }

    /// How many exchanges have this.
    fn many(&self, what: What) -> u32 {
        let (What::Asked(number) | What::Id(number)) = what;
        let many = match what {
            What::Asked(_) => &self.common.asked.many,
            What::Id(_) => &self.common.ids.many,
        };
        many.get(number as usize).copied().unwrap_or(0)
    }

    fn count(&self, capture: &Capture) -> Map<(What, Endpoint), u32> {
        let mut known: Map<(What, Endpoint), u32> = Map::default();
        for (n, seen) in capture.seen.iter().enumerate() {
            let Keys { asked, path, ids } = self.common.of(n);
            let Some(flow) = capture.flows.get(seen.flow) else { continue };
            let all = ids.map(What::Id).into_iter().chain([asked, path].map(What::Asked));
            for what in all.filter(|what| self.many(*what) > 1) {
                *known.entry((what, flow.server)).or_default() += 1;
            }
        }
        known
    }

    /// The most particular id of this exchange that a line has.
    pub(super) fn id_of(&self, seen: usize) -> Option<u32> {
        self.common.of(seen).ids.into_iter().find(|id| !self.by_id.of(*id).is_empty())
    }

    /// The only line that has this id, where only one exchange has it.
    pub(super) fn only_with_id(&self, id: u32) -> Option<usize> {
        match self.by_id.of(id) {
            [line] if self.common.ids.is_of_one_line(id) => Some(*line as usize),
            _ => None,
        }
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
        self.common.asked.many.len()
    }

    /// The lines that ask this, in the order of their times.
    pub(super) fn asking(&self, asked: u32) -> impl ExactSizeIterator<Item = usize> {
        self.by_asked.of(asked).iter().map(|line| line.entry as usize)
    }

    /// Whether many lines may have the same time.
    pub(super) fn is_coarse(&self) -> bool {
        self.resolution >= COARSE
    }

    /// Those of them that may have begun before what was captured between two times, the latest
    /// first, as far back as any of them lasted; at most `most` are looked at. Lines that were over by then are
    /// left out. `cursor` is where the search before ended: the next often ends near it. Of a crowd of lines of one time
    /// those are looked at of which it is the turn, as they were written in the order of the exchanges, or nearly;
    /// whether there is one.
    pub(super) fn asking_before<'b>(
        &'b self,
        asked: u32,
        (first, last): (Timestamp, Timestamp),
        entries: &'b [Entry],
        clock: &Clock,
        (most, cursor): (usize, Cursor<'_>),
    ) -> (impl Iterator<Item = usize> + 'b, bool) {
        let found = self.by_asked.of(asked);
        let until = latest((first, last), entries, clock);
        let slack = clock.tolerance.saturating_add(self.resolution);
        let own = first.min(last).after(-clock.offset);
        let over = Timestamp(own.0.saturating_sub(slack));
        let near = (*cursor.end as usize).min(found.len());
        let steps = found[near..].iter().take(STEPS).take_while(|line| line.at <= until).count();
        let is_behind = near.checked_sub(1).is_none_or(|last| found[last].at <= until);
        let end = match is_behind && steps < STEPS {
            true => near + steps,
            false => found.partition_point(|line| line.at <= until),
        };
        *cursor.end = end as u32;
        let many = found.len();
        let (mut found, mut crowded) = (&found[..end], false);
        if let Some(turn) = cursor.turn {
            let from = found.partition_point(|line| line.reach < over);
            crowded = many >= MANY && end - from > AT_ONCE;
            if crowded {
                let now = (*turn as usize).clamp(from, end - 1);
                *turn = now as u32 + 1;
                found = &found[from.max(now.saturating_sub(BESIDE))..end.min(now + BESIDE + 1)];
            }
        }
        let found = found.iter().rev().take(most);
        let found = found.take_while(move |line| line.reach >= over);
        (found.filter(move |line| line.latest >= over).map(|line| line.entry as usize), crowded)
    }

    /// The lines that may have begun before what was captured between two times, the latest first.
    pub(super) fn before<'b>(
        &'b self,
        times: (Timestamp, Timestamp),
        entries: &'b [Entry],
        clock: &Clock,
    ) -> impl Iterator<Item = usize> + 'b {
        let until = latest(times, entries, clock);
        let before = 0..entries.partition_point(|entry| entry.at() <= until);
        before.rev().filter(|n| entries[*n].wanted)
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
        self.flows.of(client)
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
        self.flows.between(at.after(-clock.tolerance), at.after(clock.tolerance))
    }

    /// The first exchange of a flow.
    pub(super) fn first_of(&self, flow: u64) -> Option<usize> {
        self.seen_of(flow).next()
    }
}

impl ByClient {
    pub(super) fn new(flows: &Flows) -> ByClient {
        let by_time = flows.iter().map(|(id, flow)| (flow.first.at, id)).collect();
        let mut by_client = ByClient { by_time, ..ByClient::default() };
        by_client.by_time.sort_unstable();
        let mut clients = Vec::with_capacity(flows.len());
        for (_, id) in &by_client.by_time {
            let Some(flow) = flows.get(*id) else { continue };
            let next = by_client.clients.len() as u32;
            clients.push((*by_client.clients.entry(flow.client).or_insert(next), *id));
            by_client.hosts.insert(anywhere(flow.client));
        }
        by_client.flows = Lists::new(by_client.clients.len(), &clients, |flow| flow);
        by_client
    }

    /// Whether this side opened any.
    pub(super) fn has(&self, client: Endpoint) -> bool {
        // Most lines name a host that opened none.
        self.hosts.contains(&anywhere(client)) && self.clients.contains_key(&client)
    }

    /// Those that this side opened, by their first packets.
    fn of(&self, client: Endpoint) -> &[u64] {
        self.clients.get(&client).map_or(&[], |client| self.flows.of(*client))
    }

    /// Those of which the first packet came between two times.
    fn between(&self, from: Timestamp, to: Timestamp) -> impl Iterator<Item = &u64> {
        let from = self.by_time.partition_point(|(first, _)| *first < from);
        let to = self.by_time.partition_point(|(first, _)| *first <= to);
        self.by_time[from..to.max(from)].iter().map(|(_, id)| id)
    }
}

/// An address with any port.
fn anywhere(end: Endpoint) -> Endpoint {
    Endpoint { port: 0, ..end }
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
