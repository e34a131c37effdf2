//! The flows that are alive: which connection a segment belongs to, when one begins anew, and
//! when one is over.

mod limits;

pub use limits::{AWAKE_BYTES, AWAKE_MAX, FLOWS_MAX, Limits, REST_BEYOND, RESTING_BYTES};

use super::Side;
use super::connection::Connection;
use super::rest::{Attached, Resting};
use super::stream::Streams;
use crate::flow::Ended;
use crate::packet::{Endpoint, IcmpError, Segment, TunnelId};
use crate::time::Timestamp;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use limits::Rest;
use smallvec::SmallVec;
use std::collections::{BTreeMap, VecDeque};
use std::hash::BuildHasher;

/// How long a closed flow is kept for the packets that follow its end, nanoseconds.
const LINGER: i64 = 10_000_000_000;
/// Closed flows that are kept so long; of more, those that ended first are over [`LINGER_MANY`] after their last packet.
const CLOSED_MAX: usize = 1 << 16;
/// How long a closed flow is kept where there are many, nanoseconds. By then Linux has retransmitted three times (after
/// 0.2 s, 0.4 s, 0.8 s), others once (RFC 6298, 2).
const LINGER_MANY: i64 = 2_000_000_000;
/// How long a SYN waits for an answer: past the fifth retransmission of common stacks (31 s) and
/// the longest connect time-out of common proxies (60 s).
const UNANSWERED: i64 = 70_000_000_000;
/// How long a half-closed connection may be silent: the longest idle time-out of common load
/// balancers' defaults (600 s) has passed.
const HALF_CLOSED: i64 = 660_000_000_000;
/// How long an open connection may be silent: Linux' `tcp_keepalive_time`.
const OPEN: i64 = 7_200_000_000_000;
/// Capture files whose streams are numbered at the same time; more than that hardly overlap.
const FILES_MAX: usize = 16;
/// Rooms of flows kept for the next ones: one flow ends where one begins.
const SPARE_MAX: usize = 16;
/// A pair of endpoints in either order, and the tunnel.
pub(super) type Key = (Endpoint, Endpoint, TunnelId);

/// Whether both are of the same connection.
#[inline]
pub(super) fn same_connection(one: Key, (a, b, tunnel): Key) -> bool {
    let (c, d, other) = one;
    ((a, b) == (c, d) || (a, b) == (d, c)) && tunnel == other
}

/// A connection together with what its owner attaches to it.
#[derive(Clone, Debug)]
pub struct Entry<T> {
    /// The connection.
    pub connection: Connection,
    /// The owner's part.
    pub attached: T,
}

/// All flows that are alive.
#[derive(Debug)]
pub struct Table<T: Attached> {
    slots: Vec<Option<Box<Entry<T>>>>,
    /// Flows that rest, by slot; shorter than `slots` until many do.
    resting: Vec<Option<Box<Resting<T>>>>,
    rest: Rest,
    /// When to look at each slot next: side by side in memory, so that passing a slot by costs
    /// nothing.
    due: Vec<Timestamp>,
    /// The id of the flow that each slot was given to last: side by side, too.
    ids: Vec<u64>,
    free: Vec<u32>,
    /// Closed flows by when each is due, so that they are given out in the order in which they
    /// closed: that time, the slot and the id.
    closed: VecDeque<(Timestamp, u32, u64)>,
    /// Room of flows that are over, for the next ones: the last one used is the one still in the
    /// processor's cache.
    spare: Vec<Box<Entry<T>>>,
    /// The slot of each key, and the key's hash; the key itself is in the slot.
    index: HashTable<(u32, u32)>,
    hasher: RandomState,
    /// Slot of the last segment: segments of one connection come in rows.
    latest: u32,
    streams: BTreeMap<u32, Streams>,
    hand: usize,
    next_id: u64,
    limits: Limits,
    /// Flows dropped to stay within [`FLOWS_MAX`].
    pub evicted: u64,
    /// Pairs that stream numbering forgot, see [`super::PAIRS_MAX`].
    pub forgotten_pairs: u64,
}

/// What became of the table when a segment came.
#[derive(Debug)]
pub struct Turn<'a, T> {
    /// The flow that the segment belongs to.
    pub entry: &'a mut Entry<T>,
    /// Where it is, for [`Table::closed`].
    pub slot: u32,
    /// The segment is its first.
    pub opened: bool,
    /// A flow that ended by this: reuse of its addresses and ports, age, or eviction.
    pub over: [Option<Box<Entry<T>>>; 2],
}

impl<T: Attached> Table<T> {
    /// An empty table.
    pub fn new(limits: Limits) -> Table<T> {
        Table {
            slots: Vec::new(),
            resting: Vec::new(),
            rest: Rest::default(),
            due: Vec::new(),
            ids: Vec::new(),
            free: Vec::new(),
            closed: VecDeque::new(),
            spare: Vec::new(),
            index: HashTable::new(),
            hasher: RandomState::default(),
            latest: 0,
            streams: BTreeMap::new(),
            hand: 0,
            next_id: 0,
            limits,
            evicted: 0,
            forgotten_pairs: 0,
        }
    }

    /// Flows met so far.
    pub fn opened(&self) -> u64 {
        self.next_id
    }

    /// The slot of the flow of a segment that is soon to come in, as far as there is one by now; often that of
    /// the segment `before`. Has the processor fetch the flow.
    #[inline]
    pub fn look_up(&self, segment: &Segment<'_>, before: Option<u32>) -> Option<u32> {
        let key = key_of_segment(segment);
        let slot = before.filter(|slot| self.is_at(*slot, key)).or_else(|| self.find(key))?;
        self.slots[slot as usize].as_ref()?.connection.warm_live();
        Some(slot)
    }

    /// The flows that SYNs between these endpoints will put an end to. They have lain still for long, as what
    /// their streams were numbered by has, which the processor is made to fetch.
    pub fn replaced_by(
        &self,
        opened: impl Iterator<Item = (Endpoint, Endpoint, TunnelId)>,
    ) -> SmallVec<[&Entry<T>; 16]> {
        let streams = self.streams.last_key_value().map(|(_, newest)| newest);
        let pair = |key: Key| streams.map(|streams| streams.key(key.0, key.1));
        // One step for all before the next one, so that none waits for the memory of another.
        let keys: SmallVec<[_; 16]> = opened.map(|key| (self.hash(key), pair(key))).collect();
        for (streams, pair) in keys.iter().filter_map(|(_, pair)| streams.zip(*pair)) {
            streams.warm(pair);
        }
        let slot = |hash: u32| self.index.find(spread(hash), |known| known.1 == hash);
        let slots: SmallVec<[_; 16]> = keys.iter().filter_map(|(hash, _)| slot(*hash)).collect();
        slots.iter().filter_map(|(slot, _)| self.slots[*slot as usize].as_deref()).collect()
    }

    /// Finds or opens the flow of `segment`. `likely` is where [`Table::look_up`] saw it, `sender`
    /// says who sent the first segment of a flow whose handshake was not captured, `attach` makes the
    /// owner's part of a new flow.
    pub fn turn(
        &mut self,
        segment: &Segment<'_>,
        likely: Option<u32>,
        sender: impl FnOnce(&Segment<'_>) -> Side,
        attach: impl FnOnce() -> T,
    ) -> Turn<'_, T> {
        let now = segment.mark.at;
        let aged = self.age(now);
        let key = key_of_segment(segment);
        let likely = likely.unwrap_or(self.latest);
        let mut found = self.is_at(likely, key).then_some(likely).or_else(|| self.find(key));
        let mut replaced = None;
        let mut fewer_at_rest = false;
        if let Some(slot) = found {
            fewer_at_rest = self.wake(slot);
        }
        let anew = found.filter(|slot| self.begins_anew(*slot, segment));
        if anew.is_some() {
            found = None;
        }
        let opened = found.is_none();
        let slot = match found {
            Some(slot) => slot,
            None => {
                if anew.is_none() && self.is_full() {
                    replaced = self.evict(now);
                }
                let entry = self.begin(segment, sender, attach());
                match anew {
                    // The index has the slot under the same key.
                    Some(slot) => {
                        replaced = self.put(slot, entry);
                        slot
                    }
                    None => self.open(key, entry),
                }
            }
        };
        self.latest = slot;
        if (opened || fewer_at_rest) && self.awake() > self.limits.rest_beyond {
            self.let_rest(segment.mark);
        }
        let file = segment.mark.frame.file();
        let known = self.slots[slot as usize].as_ref();
        let settled = known.is_some_and(|entry| entry.connection.settled == Some(file));
        let number =
            (!settled || segment.flags.syn()).then(|| self.streams_of(file).number(segment));
        let entry = self.slots[slot as usize].as_mut().expect("the index holds slots in use only");
        if let Some((stream, stays)) = number {
            entry.connection.settled = stays.then_some(file);
            entry.connection.flow.stream = Some(stream);
        }
        Turn { entry, slot, opened, over: [aged, replaced] }
    }

    /// Whether the flow of `segment` is among those that are alive.
    pub fn knows(&self, segment: &Segment<'_>) -> bool {
        self.find(key_of_segment(segment)).is_some()
    }

    /// The flow with this id, if it is still in `slot`.
    pub fn at(&mut self, slot: u32, id: u64) -> Option<&Entry<T>> {
        if self.resting(slot as usize).is_some_and(|resting| resting.id == id) {
            self.wake(slot);
        }
        let entry = self.slots.get(slot as usize)?.as_deref()?;
        (entry.connection.flow.id == id).then_some(entry)
    }

    /// Time has come to `now`, maybe without a packet: a flow that is over by it, if the one looked
    /// at is. Each call looks at another.
    pub fn age(&mut self, now: Timestamp) -> Option<Box<Entry<T>>> {
        self.linger_over(now).or_else(|| self.sweep(now))
    }

    /// The flow that an ICMP error quotes, if it is known, and its slot.
    pub fn icmp(&mut self, error: &IcmpError) -> Option<(u32, &mut Entry<T>)> {
        /// Bytes of the fixed TCP header: what Wireshark reads before it numbers a quote.
        const FIXED: u16 = 20;
        if error.quoted_tcp >= FIXED {
            self.streams_of(error.mark.frame.file()).quoted(error.src, error.dst);
        }
        let slot = self.find((error.src, error.dst, error.tunnel))?;
        self.wake(slot);
        Some((slot, self.slots[slot as usize].as_deref_mut()?))
    }

    /// The flow between two ends.
    pub fn between(
        &mut self,
        (one, other): (Endpoint, Endpoint),
        tunnel: TunnelId,
    ) -> Option<&mut Entry<T>> {
        let slot = self.find((one, other, tunnel))?;
        self.wake(slot);
        self.slots[slot as usize].as_deref_mut()
    }

    /// The closed flow that is given out after `others` further ones, as far as is known by now.
    pub fn over_after(&self, others: usize) -> Option<&Entry<T>> {
        let (_, slot, id) = *self.closed.get(others)?;
        if self.ids.get(slot as usize) != Some(&id) {
            return None;
        }
        self.slots.get(slot as usize)?.as_deref()
    }

    /// The connection in `slot` has just been closed at `now`.
    pub fn closed(&mut self, slot: u32, now: Timestamp) {
        if let Some(entry) = &self.slots[slot as usize] {
            self.closed.push_back((now.after(LINGER), slot, entry.connection.flow.id));
        }
    }

    /// Takes back the room of a flow that is over and done with.
    pub fn recycle(&mut self, entry: Box<Entry<T>>) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(entry);
        }
    }

    /// Whether the flow of `key` is in `slot` and does not rest.
    #[inline]
    fn is_at(&self, slot: u32, key: Key) -> bool {
        let entry = self.slots.get(slot as usize).and_then(Option::as_deref);
        entry.is_some_and(|entry| same_connection(entry.key(), key))
    }

    fn find(&self, key: Key) -> Option<u32> {
        let hash = self.hash(key);
        let same = |(slot, known): &(u32, u32)| {
            let rests = || {
                let resting = self.resting(*slot as usize);
                resting.is_some_and(|resting| same_connection(resting.key(), key))
            };
            *known == hash && (self.is_at(*slot, key) || rests())
        };
        self.index.find(spread(hash), same).map(|(slot, _)| *slot)
    }

    /// The same for both orders of a pair.
    #[inline]
    fn hash(&self, (a, b, tunnel): Key) -> u32 {
        let both = self.hasher.hash_one(a).wrapping_add(self.hasher.hash_one(b));
        (both >> 32) as u32 ^ tunnel.0
    }

    /// The stream numbers of a capture file.
    fn streams_of(&mut self, file: u32) -> &mut Streams {
        if self.streams.len() >= FILES_MAX && !self.streams.contains_key(&file) {
            // Files are numbered in the order of their first packets: the first is the oldest.
            if let Some((_, streams)) = self.streams.pop_first() {
                self.forgotten_pairs += streams.forgotten;
            }
        }
        self.streams.entry(file).or_default()
    }

    /// Whether `segment` opens a new connection on the addresses and ports of an older one
    /// (RFC 9293, 3.10.7.4; RFC 6191).
    fn begins_anew(&self, slot: u32, segment: &Segment<'_>) -> bool {
        let Some(entry) = &self.slots[slot as usize] else { return true };
        let connection = &entry.connection;
        let anew = if segment.flags.syn() {
            !segment.flags.ack() && !connection.same_syn(segment)
        } else {
            !connection.flow.endings.is_empty() && connection.is_over_for(segment)
        };
        anew && !segment.corrupt && connection.flow.last != segment.mark
    }

    /// A new flow.
    fn begin(
        &mut self,
        segment: &Segment<'_>,
        sender: impl FnOnce(&Segment<'_>) -> Side,
        attached: T,
    ) -> Box<Entry<T>> {
        let side = match (segment.flags.syn(), segment.flags.ack()) {
            (true, false) => Side::Client,
            (true, true) => Side::Server,
            _ => sender(segment),
        };
        let mut connection = Connection::new(self.next_id, segment, side);
        if let Some(room) = self.spare.last_mut() {
            connection.take_room(&mut room.connection);
        }
        self.next_id += 1;
        into_room(&mut self.spare, Entry { connection, attached })
    }

    /// Gives a new flow a slot.
    fn open(&mut self, key: Key, entry: Box<Entry<T>>) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.due.push(Timestamp::default());
            self.ids.push(0);
            (self.slots.len() - 1) as u32
        });
        self.put(slot, entry);
        let hash = self.hash(key);
        self.index.insert_unique(spread(hash), (slot, hash), |(_, hash)| spread(*hash));
        slot
    }

    /// Puts a new flow into a slot, and gives the one that was there.
    fn put(&mut self, slot: u32, entry: Box<Entry<T>>) -> Option<Box<Entry<T>>> {
        let flow = &entry.connection.flow;
        self.due[slot as usize] = flow.first.at.after(LINGER);
        self.ids[slot as usize] = flow.id;
        self.slots[slot as usize].replace(entry)
    }

    fn remove(&mut self, slot: u32) -> Option<Box<Entry<T>>> {
        let entry = self.slots[slot as usize].take()?;
        let hash = self.hash(entry.key());
        if let Ok(found) = self.index.find_entry(spread(hash), |known| known.0 == slot) {
            found.remove();
        }
        self.free.push(slot);
        Some(entry)
    }

    /// The closed flow that has lingered longest, when it is over.
    fn linger_over(&mut self, now: Timestamp) -> Option<Box<Entry<T>>> {
        let sooner = if self.closed.len() > CLOSED_MAX { LINGER - LINGER_MANY } else { 0 };
        let then = now.after(sooner);
        let (_, slot, id) = *self.closed.front().filter(|(due, ..)| *due < then)?;
        self.closed.pop_front();
        if self.ids[slot as usize] != id {
            return None;
        }
        let connection = &self.slots[slot as usize].as_deref()?.connection;
        let over = connection.flow.last.at.after(patience(connection));
        if over < then {
            return self.remove(slot);
        }
        if connection.is_closed() {
            let place = self.closed.partition_point(|(due, ..)| *due <= over);
            self.closed.insert(place, (over, slot, id));
        }
        None
    }

    /// Looks at one slot a segment, so that age costs the same whatever the number of flows. A
    /// flow that is not over is left alone for [`LINGER`], the shortest patience.
    fn sweep(&mut self, now: Timestamp) -> Option<Box<Entry<T>>> {
        self.hand += 1;
        if self.hand >= self.due.len() {
            self.hand = 0;
        }
        if now < *self.due.get(self.hand)? {
            return None;
        }
        self.due[self.hand] = now.after(LINGER);
        // One that rests is due when it is over.
        self.wake(self.hand as u32);
        let connection = &self.slots[self.hand].as_ref()?.connection;
        let over = connection.flow.last.at.after(patience(connection));
        if now <= over || connection.is_closed() {
            self.due[self.hand] = over.min(now).after(LINGER);
            return None;
        }
        let mut entry = self.remove(self.hand as u32)?;
        if entry.connection.flow.ended == Ended::CaptureEnd {
            entry.connection.flow.ended = Ended::Timeout;
        }
        Some(entry)
    }

    /// The capture is over: gives out every flow in the order of their ids.
    pub fn drain(&mut self) -> impl Iterator<Item = Box<Entry<T>>> + use<T> {
        self.index.clear();
        self.free.clear();
        self.closed.clear();
        self.due.clear();
        self.ids.clear();
        self.rest.count = 0;
        self.forgotten_pairs += self.streams.values().map(|streams| streams.forgotten).sum::<u64>();
        self.streams.clear();
        let mut slots = std::mem::take(&mut self.slots);
        let mut resting = std::mem::take(&mut self.resting);
        let awake = slots
            .iter()
            .enumerate()
            .filter_map(|(slot, entry)| Some((entry.as_ref()?.connection.flow.id, slot)));
        let asleep =
            resting.iter().enumerate().filter_map(|(slot, it)| Some((it.as_ref()?.id, slot)));
        let mut order: Vec<(u64, usize)> = awake.chain(asleep).collect();
        order.sort_unstable();
        order.into_iter().filter_map(move |(_, slot)| {
            let awake = slots[slot].take();
            awake.or_else(|| Some(Box::new(resting.get_mut(slot)?.take()?.wake())))
        })
    }
}

/// Puts a flow into a room that is spare, if there is one.
fn into_room<T>(spare: &mut Vec<Box<Entry<T>>>, entry: Entry<T>) -> Box<Entry<T>> {
    match spare.pop() {
        Some(mut room) => {
            *room = entry;
            room
        }
        None => Box::new(entry),
    }
}

impl<T> Entry<T> {
    fn key(&self) -> Key {
        let flow = &self.connection.flow;
        (flow.client, flow.server, flow.tunnel)
    }
}

fn key_of_segment(segment: &Segment<'_>) -> Key {
    (segment.src, segment.dst, segment.tunnel)
}

/// A hash as the index wants it: different in its upper bits and in its lower ones.
#[inline]
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// How long a connection in its present state may be silent, nanoseconds.
fn patience(connection: &Connection) -> i64 {
    let flow = &connection.flow;
    if connection.is_closed() {
        LINGER
    } else if flow.opening.syn.is_some() && flow.opening.syn_ack.is_none() {
        UNANSWERED
    } else if flow.ended == Ended::Fin {
        HALF_CLOSED
    } else {
        OPEN
    }
}
