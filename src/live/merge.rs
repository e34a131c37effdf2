//! Brings the packets of several interfaces into the order of their time.

use super::batch::{Batch, Packet};
use crate::time::Timestamp;
use std::collections::VecDeque;

/// Batches of one interface that wait for packets of another; past it they are given out without
/// waiting. An interface tells every tenth of a second how far it is.
const WAITING_MAX: usize = 64;
/// Part of the room for packets that may be taken by those that wait for each other; past it they are
/// given out without waiting, too. One half, so that the other is for what comes.
const ROOM_PART: usize = 2;

/// What is in line of one interface.
#[derive(Debug, Default)]
struct Line {
    batches: VecDeque<Batch>,
    /// Packets of the first batch that were given out.
    taken: usize,
    /// No packet from before this is to come.
    upto: Timestamp,
    over: bool,
}

impl Line {
    fn first(&self) -> Option<&Packet> {
        self.batches.front()?.packets.get(self.taken)
    }
}

/// Merges.
#[derive(Debug)]
pub(super) struct Merge {
    lines: Vec<Line>,
    /// Bytes of memory that wait, and that may.
    waiting: usize,
    waiting_max: usize,
}

impl Merge {
    /// For so many interfaces, with room for packets of so many bytes.
    pub(super) fn new(interfaces: usize, room: usize) -> Merge {
        let lines = (0..interfaces).map(|_| Line::default()).collect();
        Merge { lines, waiting: 0, waiting_max: room / ROOM_PART }
    }

    /// Takes in a batch.
    pub(super) fn push(&mut self, batch: Batch) {
        let Some(line) = self.lines.get_mut(batch.interface) else { return };
        line.upto = line.upto.max(batch.upto);
        line.over |= batch.over;
        if !batch.is_empty() {
            self.waiting += batch.memory();
            line.batches.push_back(batch);
        }
    }

    /// Up to when the packets of all interfaces are known.
    pub(super) fn upto(&self) -> Timestamp {
        let going = self.lines.iter().filter(|line| !line.over || line.first().is_some());
        let latest = self.lines.iter().map(|line| line.upto).max().unwrap_or_default();
        going.map(|line| line.upto).min().unwrap_or(latest)
    }

    /// Gives out what is in order, each packet with the index of its interface and of its batch's.
    pub(super) fn drain(&mut self, all: bool, mut give: impl FnMut(&Batch, &Packet)) {
        let many = |line: &Line| line.batches.len() > WAITING_MAX;
        let upto = if all || self.waiting > self.waiting_max || self.lines.iter().any(many) {
            Timestamp(i64::MAX)
        } else {
            self.upto()
        };
        loop {
            let firsts = self.lines.iter().enumerate();
            let firsts = firsts.filter_map(|(index, line)| Some((line.first()?.at, index)));
            let Some((at, index)) = firsts.min() else { return };
            if at > upto {
                return;
            }
            let line = &mut self.lines[index];
            let Some(batch) = line.batches.front() else { return };
            if let Some(packet) = batch.packets.get(line.taken) {
                give(batch, packet);
            }
            line.taken += 1;
            if line.taken >= batch.packets.len() {
                self.waiting = self.waiting.saturating_sub(batch.memory());
                line.batches.pop_front();
                line.taken = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(interface: usize, times: &[i64]) -> Batch {
        let mut batch = Batch { interface, ..Batch::default() };
        for at in times {
            batch.push(Timestamp(*at), 1, &[interface as u8]);
        }
        batch
    }

    fn drained(merge: &mut Merge, all: bool) -> Vec<(usize, i64)> {
        let mut given = Vec::new();
        merge.drain(all, |batch, packet| given.push((batch.interface, packet.at.0)));
        given
    }

    #[test]
    fn packets_of_two_interfaces_come_in_the_order_of_their_time() {
        let mut merge = Merge::new(2, 1 << 20);
        merge.push(batch(0, &[1, 4, 6]));
        assert_eq!(drained(&mut merge, false), []);
        merge.push(batch(1, &[2, 3, 5]));
        assert_eq!(drained(&mut merge, false), [(0, 1), (1, 2), (1, 3), (0, 4), (1, 5)]);
        // Nothing came from the second, and it says so.
        merge.push(Batch { interface: 1, upto: Timestamp(7), ..Batch::default() });
        assert_eq!(drained(&mut merge, false), [(0, 6)]);
        assert_eq!(merge.upto(), Timestamp(6));
    }

    #[test]
    fn one_that_is_over_is_not_waited_for() {
        let mut merge = Merge::new(2, 1 << 20);
        merge.push(Batch { interface: 1, over: true, ..Batch::default() });
        merge.push(batch(0, &[1]));
        assert_eq!(drained(&mut merge, false), [(0, 1)]);
        assert_eq!(merge.upto(), Timestamp(1));
    }

    #[test]
    fn one_that_is_mute_is_not_waited_for_without_bound() {
        let mut merge = Merge::new(2, 1 << 20);
        for at in 0..=WAITING_MAX as i64 {
            merge.push(batch(0, &[at]));
        }
        assert_eq!(drained(&mut merge, false).len(), WAITING_MAX + 1);
        merge.push(batch(0, &[100]));
        assert_eq!(drained(&mut merge, false), []);
        assert_eq!(drained(&mut merge, true), [(0, 100)]);
    }

    #[test]
    fn what_waits_takes_half_of_the_room_at_most() {
        let room = 4 * batch(0, &[1]).memory();
        let mut merge = Merge::new(2, room);
        for at in 1..=2 {
            merge.push(batch(0, &[at]));
            assert_eq!(drained(&mut merge, false), []);
        }
        merge.push(batch(0, &[3]));
        assert_eq!(drained(&mut merge, false), [(0, 1), (0, 2), (0, 3)]);
        assert_eq!(merge.waiting, 0);
    }
}
