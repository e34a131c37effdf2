//! How many flows there may be, which of them rest, and which is dropped when there are too many.

use super::{Entry, LINGER, Table, into_room, patience};
use crate::blind::BlindSpot;
use crate::tcp::connection::Connection;
use crate::tcp::rest::{Attached, Resting};
use crate::time::{Mark, Timestamp};

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

/// Flows looked at when one has to be dropped.
const EVICT_SAMPLE: usize = 16;
/// Slots looked at for them: most may hold flows that rest.
const EVICT_SLOTS: usize = 1 << 10;
/// Packets since its last one after which a flow may rest. As many flows are in use meanwhile at most,
/// so that of those awake half are not.
const REST_AFTER: u64 = REST_BEYOND as u64 / 2;
/// Slots passed over when flows that can rest are looked for, and flows looked at: more than come, so that
/// those at hand become fewer.
const REST_SLOTS: usize = 64;
const REST_SAMPLE: usize = 2;
/// Flows opened, at most, without looking for one that can rest when none of the last could: looking
/// must not cost more than a flood does.
const REST_PAUSE: u32 = 64;

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
pub(super) struct Rest {
    /// Flows that rest.
    pub(super) count: usize,
    /// Slot to look at next.
    hand: usize,
    /// Flows to be opened before the next look, and how long the last such pause was.
    pause: u32,
    pauses: u32,
    /// Where flows are written down.
    paper: Vec<u8>,
}

impl<T: Attached> Table<T> {
    /// Lets flows rest once more than so many are awake.
    pub fn rest_beyond(&mut self, awake: usize) {
        self.limits.rest_beyond = awake;
    }

    /// Flows that do not rest.
    pub(super) fn awake(&self) -> usize {
        self.index.len() - self.rest.count
    }

    pub(super) fn is_full(&self) -> bool {
        self.awake() >= self.limits.awake.max(1) || self.index.len() >= self.limits.flows.max(1)
    }

    /// Memory of the flows that rest, bytes, and how many they are.
    #[cfg(test)]
    pub(crate) fn at_rest(&self) -> (usize, usize) {
        let memory = self.resting.iter().flatten().map(|resting| resting.memory()).sum();
        (memory, self.rest.count)
    }

    /// The flow that rests in this slot.
    pub(super) fn resting(&self, slot: usize) -> Option<&Resting<T>> {
        self.resting.get(slot)?.as_deref()
    }

    /// Wakes the flow in `slot`; whether it rested.
    #[inline]
    pub(super) fn wake(&mut self, slot: u32) -> bool {
        self.rest.count > 0 && self.wake_up(slot)
    }

    fn wake_up(&mut self, slot: u32) -> bool {
        let place = self.resting.get_mut(slot as usize);
        let Some(resting) = place.and_then(Option::take) else { return false };
        self.rest.count -= 1;
        let entry = into_room(&mut self.spare, resting.wake());
        self.due[slot as usize] = entry.connection.flow.last.at.after(LINGER);
        self.slots[slot as usize] = Some(entry);
        true
    }

    /// Lets flows rest that had no packet lately, if some are found soon.
    pub(super) fn let_rest(&mut self, now: Mark) {
        let rest = &mut self.rest;
        if rest.pause > 0 {
            rest.pause -= 1;
            return;
        }
        let (mut looks, mut found) = (0, false);
        for _ in 0..REST_SLOTS.min(self.slots.len()) {
            let rest = &mut self.rest;
            rest.hand = if rest.hand + 1 < self.slots.len() { rest.hand + 1 } else { 0 };
            let slot = rest.hand;
            if slot == self.latest as usize {
                continue;
            }
            let Some(entry) = &mut self.slots[slot] else { continue };
            let Entry { connection, attached } = &**entry;
            let can_rest = connection.can_rest() && attached.can_rest();
            if can_rest && is_idle(connection, now, self.limits.rest_beyond) {
                let over = connection.flow.last.at.after(patience(connection));
                let resting = Resting::new(entry, now.at, &mut rest.paper);
                rest.count += 1;
                if self.resting.len() < self.slots.len() {
                    self.resting.resize_with(self.slots.len(), || None);
                }
                self.resting[slot] = Some(Box::new(resting));
                self.due[slot] = over.after(1);
                if let Some(entry) = self.slots[slot].take() {
                    self.recycle(entry);
                }
                found = true;
            }
            looks += 1;
            if looks == REST_SAMPLE {
                break;
            }
        }
        let rest = &mut self.rest;
        let in_vain = looks > 0 && !found;
        rest.pauses = if in_vain { (2 * rest.pauses).clamp(1, REST_PAUSE) } else { 0 };
        rest.pause = rest.pauses;
    }

    /// Drops the flow idle longest among a few; where there are too many that do not rest, one of
    /// those.
    pub(super) fn evict(&mut self, now: Timestamp) -> Option<Box<Entry<T>>> {
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
        entry.connection.flow.blind_spots.add(BlindSpot::Evicted);
        Some(entry)
    }
}

/// Whether a connection had no packet lately. Where every flow shall rest, each is idle at once.
fn is_idle(connection: &Connection, now: Mark, rest_beyond: usize) -> bool {
    let (last, now) = (connection.flow.last.frame, now.frame);
    let since = now.number().saturating_sub(last.number());
    last.file() != now.file() || since >= REST_AFTER.min(rest_beyond as u64)
}
