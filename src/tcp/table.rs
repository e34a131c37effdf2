//! The flows that are alive: which connection a segment belongs to, when one begins anew, and
//! when one is over.

use super::Side;
use super::connection::Connection;
use super::rest::{Attached, Resting};
use super::stream::Streams;
use crate::flow::Ended;
use crate::packet::{Endpoint, IcmpError, Segment, TunnelId};
use crate::time::{Mark, Timestamp};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::collections::{BTreeMap, VecDeque};
use std::hash::BuildHasher;

/// Flows alive at once, most of which rest; past it the one idle longest among a few is judged and
/// dropped. A million that rest take [`RESTING_BYTES`] each.
pub const FLOWS_MAX: usize = 1 << 20;
/// Flows alive at once that do not rest, as something is under way on them or they have only been
/// opened; past it the one idle longest among a few is judged and dropped. A flood of SYNs costs a
/// quarter of a gigabyte.
pub const AWAKE_MAX: usize = 1 << 18;
/// Flows awake at once past which those that are idle rest. More than that are in use at once on few
/// captures, and each packet of one that rests costs half a microsecond.
pub const REST_BEYOND: usize = 1 << 15;
/// Memory for a flow that does not rest, with its request and what is kept to recognise a health
/// check, bytes. Measured: 3.7 kB; one on which nothing is under way takes 1 kB.
pub const AWAKE_BYTES: u64 = 4096;
/// Memory for a flow that rests, with what is kept to recognise a health check, bytes.
pub const RESTING_BYTES: u64 = 700;

/// How long a closed flow is kept for the packets that follow its end, nanoseconds.
const LINGER: i64 = 10_000_000_000;
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
/// Flows looked at when one has to be dropped.
const EVICT_SAMPLE: usize = 16;
/// Slots looked at for them: most may hold flows that rest.
const EVICT_SLOTS: usize = 1 << 10;
/// Packets since its last one after which a flow may rest. As many flows are in use meanwhile at most,
/// so that of those awake half are not.
const REST_AFTER: u64 = REST_BEYOND as u64 / 2;
/// Slots passed over when a flow that can rest is looked for, and flows looked at.
const REST_SLOTS: usize = 64;
const REST_SAMPLE: usize = 2;
/// Flows opened, at most, without looking for one that can rest when none of the last could: looking
/// must not cost more than a flood does.
const REST_PAUSE: u32 = 64;

/// A pair of endpoints in fixed order, and the tunnel.
pub(super) type Key = (Endpoint, Endpoint, TunnelId);

pub(super) fn key(a: Endpoint, b: Endpoint, tunnel: TunnelId) -> Key {
    if a <= b { (a, b, tunnel) } else { (b, a, tunnel) }
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
    free: Vec<u32>,
    /// Closed flows by when each is due, so that they are given out in the order in which they
    /// closed: that time, the slot and the id.
    closed: VecDeque<(Timestamp, u32, u64)>,
    /// Room of flows that are over, for the next ones: the last one used is the one still in the
    /// processor's cache.
    spare: Vec<Box<Entry<T>>>,
    /// The slot of each key; the key itself is in the slot.
    index: HashTable<u32>,
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

/// How many flows there may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// In all, see [`FLOWS_MAX`].
    pub flows: usize,
    /// Awake, see [`AWAKE_MAX`].
    pub awake: usize,
    /// Awake before those that are idle rest, see [`REST_BEYOND`].
    pub rest_beyond: usize,
}

impl Limits {
    /// What fits into so many bytes: most of it for flows that are awake.
    pub fn within(bytes: u64) -> Limits {
        let count = |bytes: u64, each| usize::try_from(bytes / each).unwrap_or(usize::MAX);
        let awake = AWAKE_MAX.min(count(bytes / 4 * 3, AWAKE_BYTES));
        let flows = FLOWS_MAX.min(count(bytes / 4, RESTING_BYTES).saturating_add(awake));
        Limits { flows, awake, rest_beyond: REST_BEYOND.min(awake / 2) }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { flows: FLOWS_MAX, awake: AWAKE_MAX, rest_beyond: REST_BEYOND }
    }
}

/// How flows that can rest are found.
#[derive(Debug, Default)]
struct Rest {
    /// Flows that rest.
    count: usize,
    /// Slot to look at next.
    hand: usize,
    /// Flows to be opened before the next look, and how long the last such pause was.
    pause: u32,
    pauses: u32,
    /// Where flows are written down.
    paper: Vec<u8>,
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

    /// Lets flows rest once more than so many are awake.
    pub fn rest_beyond(&mut self, awake: usize) {
        self.limits.rest_beyond = awake;
    }

    /// Flows met so far.
    pub fn opened(&self) -> u64 {
        self.next_id
    }

    /// Finds or opens the flow of `segment`. `sender` says who sent the first segment of a flow
    /// whose handshake was not captured, `attach` makes the owner's part of a new flow.
    pub fn turn(
        &mut self,
        segment: &Segment<'_>,
        sender: impl FnOnce(&Segment<'_>) -> Side,
        attach: impl FnOnce() -> T,
    ) -> Turn<'_, T> {
        let now = segment.mark.at;
        let aged = self.age(now);
        let mut found = self.again(segment).or_else(|| self.slot_of(segment));
        let mut replaced = None;
        let mut fewer_at_rest = false;
        if let Some(slot) = found {
            fewer_at_rest = self.wake(slot);
        }
        if let Some(slot) = found
            && self.begins_anew(slot, segment)
        {
            replaced = self.remove(slot);
            found = None;
        }
        let opened = found.is_none();
        let slot = match found {
            Some(slot) => slot,
            None => {
                if replaced.is_none() && self.is_full() {
                    replaced = self.evict(now);
                }
                self.open(segment, sender, attach())
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
        self.slot_of(segment).is_some()
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
        let key = key(error.src, error.dst, error.tunnel);
        let slot = self.find(self.hasher.hash_one(key), key)?;
        self.wake(slot);
        Some((slot, self.slots[slot as usize].as_deref_mut()?))
    }

    /// The closed flow that is given out after `others` further ones, as far as is known by now.
    pub fn over_after(&self, others: usize) -> Option<&Entry<T>> {
        let (_, slot, _) = *self.closed.get(others)?;
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

    /// The slot of the last segment, if this one is of the same connection.
    #[inline]
    fn again(&self, segment: &Segment<'_>) -> Option<u32> {
        let flow = &self.slots.get(self.latest as usize)?.as_deref()?.connection.flow;
        let ends = (flow.client, flow.server);
        let same = ends == (segment.src, segment.dst) || ends == (segment.dst, segment.src);
        (same && flow.tunnel == segment.tunnel).then_some(self.latest)
    }

    fn slot_of(&self, segment: &Segment<'_>) -> Option<u32> {
        let key = key(segment.src, segment.dst, segment.tunnel);
        self.find(self.hasher.hash_one(key), key)
    }

    fn find(&self, hash: u64, key: Key) -> Option<u32> {
        let same = |slot: &u32| key_at(&self.slots, &self.resting, *slot) == Some(key);
        self.index.find(hash, same).copied()
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

    fn open(
        &mut self,
        segment: &Segment<'_>,
        sender: impl FnOnce(&Segment<'_>) -> Side,
        attached: T,
    ) -> u32 {
        let side = match (segment.flags.syn(), segment.flags.ack()) {
            (true, false) => Side::Client,
            (true, true) => Side::Server,
            _ => sender(segment),
        };
        let connection = Connection::new(self.next_id, segment, side);
        self.next_id += 1;
        let entry = Some(into_room(&mut self.spare, Entry { connection, attached }));
        let due = segment.mark.at.after(LINGER);
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = entry;
                self.due[slot as usize] = due;
                slot
            }
            None => {
                self.slots.push(entry);
                self.due.push(due);
                (self.slots.len() - 1) as u32
            }
        };
        // The hash of the key in a slot that is in use.
        let (slots, resting) = (&self.slots, &self.resting);
        let rehash =
            |slot: &u32| key_at(slots, resting, *slot).map_or(0, |key| self.hasher.hash_one(key));
        let key = key(segment.src, segment.dst, segment.tunnel);
        self.index.insert_unique(self.hasher.hash_one(key), slot, rehash);
        slot
    }

    fn remove(&mut self, slot: u32) -> Option<Box<Entry<T>>> {
        let entry = self.slots[slot as usize].take()?;
        let hash = self.hasher.hash_one(key_of(&entry));
        if let Ok(found) = self.index.find_entry(hash, |known| *known == slot) {
            found.remove();
        }
        self.free.push(slot);
        Some(entry)
    }

    /// The closed flow that has lingered longest, when it is over.
    fn linger_over(&mut self, now: Timestamp) -> Option<Box<Entry<T>>> {
        let (_, slot, id) = *self.closed.front().filter(|(due, ..)| *due < now)?;
        self.closed.pop_front();
        let entry = self.slots[slot as usize].as_deref()?;
        let connection = &entry.connection;
        if connection.flow.id != id {
            return None;
        }
        let over = connection.flow.last.at.after(patience(connection));
        if over < now {
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

    /// Flows that do not rest.
    fn awake(&self) -> usize {
        self.index.len() - self.rest.count
    }

    fn is_full(&self) -> bool {
        self.awake() >= self.limits.awake.max(1) || self.index.len() >= self.limits.flows.max(1)
    }

    /// Memory of the flows that rest, bytes, and how many they are.
    #[cfg(test)]
    pub(crate) fn at_rest(&self) -> (usize, usize) {
        let memory = self.resting.iter().flatten().map(|resting| resting.memory()).sum();
        (memory, self.rest.count)
    }

    /// The flow that rests in this slot.
    fn resting(&self, slot: usize) -> Option<&Resting<T>> {
        self.resting.get(slot)?.as_deref()
    }

    /// Wakes the flow in `slot`; whether it rested.
    #[inline]
    fn wake(&mut self, slot: u32) -> bool {
        if self.rest.count == 0 {
            return false;
        }
        let place = self.resting.get_mut(slot as usize);
        let Some(resting) = place.and_then(Option::take) else { return false };
        self.rest.count -= 1;
        let entry = into_room(&mut self.spare, resting.wake());
        self.due[slot as usize] = entry.connection.flow.last.at.after(LINGER);
        self.slots[slot as usize] = Some(entry);
        true
    }

    /// Lets a flow rest that had no packet lately, if one is found soon.
    fn let_rest(&mut self, now: Mark) {
        let rest = &mut self.rest;
        if rest.pause > 0 {
            rest.pause -= 1;
            return;
        }
        let mut looks = 0;
        for _ in 0..REST_SLOTS.min(self.slots.len()) {
            rest.hand = if rest.hand + 1 < self.slots.len() { rest.hand + 1 } else { 0 };
            let Some(entry) = &mut self.slots[rest.hand] else { continue };
            if rest.hand == self.latest as usize {
                continue;
            }
            let Entry { connection, attached } = &**entry;
            if is_idle(connection, now, self.limits.rest_beyond)
                && connection.can_rest()
                && attached.can_rest()
            {
                let over = connection.flow.last.at.after(patience(connection));
                let resting = Resting::new(entry, now.at, &mut rest.paper);
                if self.resting.len() < self.slots.len() {
                    self.resting.resize_with(self.slots.len(), || None);
                }
                self.resting[rest.hand] = Some(Box::new(resting));
                self.due[rest.hand] = over.after(1);
                rest.count += 1;
                rest.pauses = 0;
                if let Some(entry) = self.slots[rest.hand].take() {
                    self.recycle(entry);
                }
                return;
            }
            looks += 1;
            if looks == REST_SAMPLE {
                break;
            }
        }
        rest.pauses = (2 * rest.pauses).clamp(1, REST_PAUSE);
        rest.pause = rest.pauses;
    }

    /// Drops the flow idle longest among a few; where there are too many that do not rest, one of
    /// those.
    fn evict(&mut self, now: Timestamp) -> Option<Box<Entry<T>>> {
        let count = self.slots.len();
        let any = self.awake() < self.limits.awake.max(1);
        let last = |slot: usize| match &self.slots[slot] {
            Some(entry) => Some(entry.connection.flow.last.at),
            None => self.resting(slot).filter(|_| any).map(|resting| resting.last),
        };
        let oldest = (0..EVICT_SLOTS.min(count))
            .map(|step| (self.rest.hand + step) % count)
            .filter_map(|slot| Some((now.nanos_since(last(slot)?), slot)))
            .take(EVICT_SAMPLE)
            .max();
        let Some((_, slot)) = oldest else {
            // All of these rest: the next time others are looked at.
            self.rest.hand = (self.rest.hand + EVICT_SLOTS) % count.max(1);
            return None;
        };
        self.rest.hand = (self.rest.hand + 1) % count;
        self.evicted += 1;
        self.wake(slot as u32);
        let mut entry = self.remove(slot as u32)?;
        entry.connection.flow.blind_spots.add(crate::blind::BlindSpot::Evicted);
        Some(entry)
    }

    /// The capture is over: gives out every flow in the order of their ids.
    pub fn drain(&mut self) -> impl Iterator<Item = Box<Entry<T>>> + use<T> {
        self.index.clear();
        self.free.clear();
        self.closed.clear();
        self.due.clear();
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

fn key_of<T>(entry: &Entry<T>) -> Key {
    let flow = &entry.connection.flow;
    key(flow.client, flow.server, flow.tunnel)
}

/// The key of the flow in a slot.
#[inline]
fn key_at<T: Attached>(
    slots: &[Option<Box<Entry<T>>>],
    resting: &[Option<Box<Resting<T>>>],
    slot: u32,
) -> Option<Key> {
    match &slots[slot as usize] {
        Some(entry) => Some(key_of(entry)),
        None => resting.get(slot as usize)?.as_deref().map(Resting::key),
    }
}

/// Whether a connection had no packet lately. Where every flow shall rest, each is idle at once.
fn is_idle(connection: &Connection, now: Mark, rest_beyond: usize) -> bool {
    let (last, now) = (connection.flow.last.frame, now.frame);
    let since = now.number().saturating_sub(last.number());
    last.file() != now.file() || since >= REST_AFTER.min(rest_beyond as u64)
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
