//! The last packets of every flow, in case it fails: one ring of bytes, the oldest leave first.

use super::queue::Packet;
use hashbrown::HashMap;
use std::collections::VecDeque;

/// Bytes that holding a packet costs beside its own: its entry, and its flow's in the table.
const ENTRY: usize = size_of::<Held>() + 40;

#[derive(Clone, Copy, Debug)]
struct Held {
    packet: Packet,
    /// Number of the packet of the same flow before it.
    previous: Option<u64>,
    /// Nothing of its flow came before it.
    is_first: bool,
    /// It has been handed out.
    is_taken: bool,
    /// Where its bytes begin, counted from the first byte ever held.
    begins: u64,
}

/// Packets by flow, within a bound.
#[derive(Debug)]
pub(super) struct LookBack {
    bytes: VecDeque<u8>,
    /// Bytes that have left, which are those before the first of `bytes`.
    bytes_left: u64,
    held: VecDeque<Held>,
    /// Packets that have left.
    left: u64,
    /// Number of the last packet of each flow of which there are any.
    last: HashMap<u64, u64>,
    /// Flows are numbered as they begin: one with a higher number is new.
    newest_flow: Option<u64>,
    bound: usize,
    /// Packets that left without being asked for.
    evicted: u64,
    /// Reused: the bytes of a packet that is handed out.
    scratch: Vec<u8>,
}

/// Makes room for `more` in steps of an eighth: doubling would take up to twice the bound.
fn make_room<T>(queue: &mut VecDeque<T>, more: usize) {
    if queue.len() + more > queue.capacity() {
        queue.reserve_exact(more.max(queue.capacity() / 8));
    }
}

/// What was found of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Packets handed out.
    pub(super) packets: u64,
    /// Earlier packets of the flow had left already.
    pub(super) is_incomplete: bool,
}

impl LookBack {
    /// Holds packets in at most `bound` bytes.
    pub(super) fn new(bound: usize) -> LookBack {
        LookBack {
            bytes: VecDeque::new(),
            bytes_left: 0,
            held: VecDeque::new(),
            left: 0,
            last: HashMap::new(),
            newest_flow: None,
            bound,
            evicted: 0,
            scratch: Vec::new(),
        }
    }

    /// Bytes in use.
    pub(super) fn used(&self) -> usize {
        self.bytes.len() + self.held.len() * ENTRY
    }

    /// Packets that left before anybody asked for them.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Holds a packet of a flow.
    pub(super) fn hold(&mut self, flow: u64, packet: Packet, bytes: &[u8]) {
        let is_first = self.newest_flow.is_none_or(|newest| flow > newest);
        self.newest_flow = self.newest_flow.max(Some(flow));
        let cost = bytes.len() + ENTRY;
        while self.used() + cost > self.bound {
            if !self.evict() {
                // Larger than all there is.
                self.evicted += 1;
                return;
            }
        }
        let number = self.left + self.held.len() as u64;
        let previous = self.last.insert(flow, number);
        let begins = self.bytes_left + self.bytes.len() as u64;
        make_room(&mut self.bytes, bytes.len());
        self.bytes.extend(bytes);
        make_room(&mut self.held, 1);
        self.held.push_back(Held { packet, previous, is_first, is_taken: false, begins });
    }

    /// Lets the oldest packet go; `false` when there is none.
    fn evict(&mut self) -> bool {
        let Some(oldest) = self.held.pop_front() else { return false };
        self.bytes.drain(..self.bytes.len().min(oldest.packet.len as usize));
        self.bytes_left += u64::from(oldest.packet.len);
        if !oldest.is_taken {
            self.evicted += 1;
            if let Some(flow) = oldest.packet.flow
                && self.last.get(&flow) == Some(&self.left)
            {
                self.last.remove(&flow);
            }
        }
        self.left += 1;
        true
    }

    /// Hands out the packets of a flow in their order. They are not given again.
    pub(super) fn take(&mut self, flow: u64, mut each: impl FnMut(&Packet, &[u8])) -> Taken {
        let mut numbers = Vec::new();
        let mut next = self.last.remove(&flow);
        let mut is_incomplete = true;
        while let Some(number) = next {
            let index = number.checked_sub(self.left).and_then(|n| usize::try_from(n).ok());
            let Some(held) = index.and_then(|index| self.held.get_mut(index)) else { break };
            held.is_taken = true;
            is_incomplete = !held.is_first;
            next = held.previous;
            numbers.push(index.unwrap_or_default());
        }
        for index in numbers.iter().rev() {
            let Some(held) = self.held.get(*index) else { continue };
            let begins = held.begins.saturating_sub(self.bytes_left) as usize;
            let ends = begins + held.packet.len as usize;
            self.scratch.clear();
            if ends <= self.bytes.len() {
                self.scratch.extend(self.bytes.range(begins..ends));
            }
            each(&held.packet, &self.scratch);
        }
        Taken { packets: numbers.len() as u64, is_incomplete }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Direction;
    use crate::time::Timestamp;

    fn hold(look_back: &mut LookBack, flow: u64, bytes: &[u8]) {
        let len = bytes.len() as u32;
        let packet = Packet {
            interface: 0,
            at: Timestamp(1),
            wire_len: len,
            len,
            flow: Some(flow),
            direction: Direction::Unknown,
        };
        look_back.hold(flow, packet, bytes);
    }

    fn take(look_back: &mut LookBack, flow: u64) -> (Vec<Vec<u8>>, Taken) {
        let mut all = Vec::new();
        let taken = look_back.take(flow, |packet, bytes| {
            assert_eq!(packet.flow, Some(flow));
            all.push(bytes.to_vec());
        });
        (all, taken)
    }

    #[test]
    fn packets_of_one_flow_come_back_in_their_order() {
        let mut look_back = LookBack::new(10_000);
        for (flow, bytes) in [(1, b"a1"), (2, b"b1"), (1, b"a2"), (3, b"c1"), (1, b"a3")] {
            hold(&mut look_back, flow, bytes);
        }
        let (all, taken) = take(&mut look_back, 1);
        assert_eq!(all, [b"a1", b"a2", b"a3"]);
        assert_eq!(taken, Taken { packets: 3, is_incomplete: false });
        assert_eq!(take(&mut look_back, 1).0.len(), 0, "given once");
        assert_eq!(take(&mut look_back, 2).0, [b"b1"]);
    }

    #[test]
    fn the_oldest_leave_and_their_flow_is_incomplete() {
        let mut look_back = LookBack::new(3 * (ENTRY + 2));
        for (flow, bytes) in [(1, b"a1"), (2, b"b1"), (1, b"a2"), (2, b"b2")] {
            hold(&mut look_back, flow, bytes);
            assert!(look_back.used() <= look_back.bound);
        }
        assert_eq!(look_back.evicted(), 1);
        assert_eq!(
            take(&mut look_back, 1),
            (vec![b"a2".to_vec()], Taken { packets: 1, is_incomplete: true })
        );
        let whole = Taken { packets: 2, is_incomplete: false };
        assert_eq!(take(&mut look_back, 2), (vec![b"b1".to_vec(), b"b2".to_vec()], whole));
    }

    #[test]
    fn a_flow_of_which_all_left_is_incomplete_when_more_comes() {
        let mut look_back = LookBack::new(ENTRY + 2);
        hold(&mut look_back, 1, b"a1");
        hold(&mut look_back, 2, b"b1");
        assert_eq!(take(&mut look_back, 1), (vec![], Taken { packets: 0, is_incomplete: true }));
        hold(&mut look_back, 1, b"a2");
        assert!(take(&mut look_back, 1).1.is_incomplete);
        assert!(look_back.last.is_empty());
    }

    #[test]
    fn what_was_handed_out_is_not_counted_as_lost() {
        let mut look_back = LookBack::new(2 * (ENTRY + 2));
        hold(&mut look_back, 1, b"a1");
        take(&mut look_back, 1);
        for flow in 2..5 {
            hold(&mut look_back, flow, b"xx");
        }
        assert_eq!(look_back.evicted(), 1, "flow 2 alone");
    }

    #[test]
    fn a_packet_larger_than_the_bound_is_not_held() {
        let mut look_back = LookBack::new(ENTRY + 10);
        hold(&mut look_back, 1, b"a1");
        hold(&mut look_back, 2, &[0; 11]);
        assert_eq!((look_back.used(), look_back.evicted()), (0, 2));
    }

    #[test]
    fn it_stays_right_over_many_turns_of_the_ring() {
        let mut look_back = LookBack::new(50 * (ENTRY + 40));
        let mut held: VecDeque<(u64, Vec<u8>)> = VecDeque::new();
        for n in 0..5_000_u64 {
            let bytes = vec![n as u8; (n % 83) as usize];
            hold(&mut look_back, n / 3, &bytes);
            held.push_back((n / 3, bytes));
            while held.len() > look_back.held.len() {
                held.pop_front();
            }
            if n % 7 == 0 {
                let flow = n / 3 - (n / 3).min(5);
                let (all, _) = take(&mut look_back, flow);
                let expected: Vec<Vec<u8>> = held
                    .iter_mut()
                    .filter(|(of, _)| *of == flow)
                    .map(|(of, bytes)| {
                        *of = u64::MAX;
                        bytes.clone()
                    })
                    .collect();
                assert_eq!(all, expected, "packet {n}");
            }
        }
        assert!(look_back.evicted() > 1_000);
    }
}
