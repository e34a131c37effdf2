//! What waits to be written: two buffers that caller and writer exchange.
//!
//! The caller fills one while the writer empties the other, so a packet is copied once into memory
//! that is used again and again. Nothing waits for the disk: what has no room is dropped and
//! counted.

use crate::capture::Direction;
use crate::time::Timestamp;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Packets that wait at most, whatever their size; each has a record of 48 bytes.
const PACKETS_MAX: usize = 1 << 17;
/// The same of a queue for few bytes: a packet for each so many of them.
const PACKET: usize = 128;
/// Words about flows that wait at most.
const WORDS_MAX: usize = 1 << 16;
/// Comments of one failure.
const REMARKS_MAX: usize = 8;
/// The writer is woken when so many bytes wait; less than that waits for its next turn.
const WAKE_BYTES: usize = 1 << 20;
/// The writer is woken when so many records wait.
const WAKE_RECORDS: usize = 1 << 13;

/// A comment on a packet of a flow, found by its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Time of the packet.
    pub at: Timestamp,
    /// The comment.
    pub text: String,
}

/// One packet; its bytes lie in the batch, those of one record behind those of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) interface: u32,
    pub(super) at: Timestamp,
    pub(super) wire_len: u32,
    /// Bytes captured.
    pub(super) len: u32,
    /// The connection that it is part of.
    pub(super) flow: Option<u64>,
    /// Which way it went.
    pub(super) direction: Direction,
}

/// What the caller says, in its order.
#[derive(Debug)]
pub(super) enum Record {
    Packet(Packet),
    /// A flow failed; comments on its packets.
    Failed(u64, Vec<Remark>),
    /// A flow is over.
    Over(u64),
}

/// What is handed over at once.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) records: Vec<Record>,
    pub(super) bytes: Vec<u8>,
    packets: usize,
    /// Packets dropped since the last batch, by interface.
    pub(super) dropped: Vec<u64>,
    /// Words about flows dropped since the last batch.
    pub(super) dropped_words: u64,
    /// What the kernel says of each interface, once it said something.
    pub(super) kernel: Vec<Option<Kernel>>,
}

/// The counters of an interface since the capture began, as libpcap gives them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Packets that passed the filter.
    pub received: u64,
    /// Packets dropped for want of buffer.
    pub dropped: u64,
    /// Packets dropped by the interface or its driver.
    pub dropped_by_interface: u64,
}

impl Batch {
    /// Forgets what it holds and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.records.clear();
        self.bytes.clear();
        self.dropped.fill(0);
        self.kernel.fill(None);
        (self.packets, self.dropped_words) = (0, 0);
    }

    fn is_worth_waking(&self) -> bool {
        self.bytes.len() >= WAKE_BYTES || self.records.len() >= WAKE_RECORDS
    }
}

/// Makes room for `more` bytes in steps of an eighth: doubling would take up to twice the bound.
fn make_room(bytes: &mut Vec<u8>, more: usize) {
    if bytes.len() + more > bytes.capacity() {
        bytes.reserve_exact(more.max(bytes.capacity() / 8));
    }
}

#[derive(Debug, Default)]
struct State {
    batch: Batch,
    /// Packets dropped in all.
    dropped: u64,
    /// The caller has no more.
    closed: bool,
}

/// Both ends of the queue.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    ready: Condvar,
    /// Bytes of packets that wait at most.
    bytes_max: usize,
    /// Packets that wait at most.
    packets_max: usize,
}

impl Queue {
    /// A queue for packets of so many interfaces that takes `bytes_max` bytes of them.
    pub(super) fn new(interfaces: usize, bytes_max: usize) -> Queue {
        let state = Mutex::new(State { batch: Queue::batch(interfaces), ..State::default() });
        let packets_max = (bytes_max / PACKET).clamp(WAKE_RECORDS, PACKETS_MAX);
        Queue { state, ready: Condvar::new(), bytes_max, packets_max }
    }

    /// An empty batch for the writer to begin with.
    pub(super) fn batch(interfaces: usize) -> Batch {
        Batch { dropped: vec![0; interfaces], kernel: vec![None; interfaces], ..Batch::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under the lock leaves half a record behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        let before = state.batch.is_worth_waking();
        change(&mut state);
        let wake = !before && state.batch.is_worth_waking();
        drop(state);
        if wake {
            self.ready.notify_one();
        }
    }

    /// Puts in a packet, or counts it as dropped. Its `len` is that of `bytes`.
    pub(super) fn packet(&self, packet: Packet, bytes: &[u8]) {
        self.change(|state| {
            let batch = &mut state.batch;
            if batch.bytes.len().saturating_add(bytes.len()) > self.bytes_max
                || batch.packets >= self.packets_max
            {
                state.dropped += 1;
                if let Some(dropped) = batch.dropped.get_mut(packet.interface as usize) {
                    *dropped += 1;
                }
                return;
            }
            batch.packets += 1;
            make_room(&mut batch.bytes, bytes.len());
            batch.bytes.extend_from_slice(bytes);
            batch.records.push(Record::Packet(packet));
        });
    }

    /// Puts in a word about a flow, or counts it as dropped.
    pub(super) fn word(&self, mut record: Record) {
        if let Record::Failed(_, remarks) = &mut record {
            remarks.truncate(REMARKS_MAX);
        }
        self.change(|state| {
            let batch = &mut state.batch;
            if batch.records.len().saturating_sub(batch.packets) >= WORDS_MAX {
                batch.dropped_words += 1;
            } else {
                batch.records.push(record);
            }
        });
    }

    /// Notes what the kernel counts.
    pub(super) fn kernel(&self, interface: u32, counters: Kernel) {
        if let Some(kernel) = self.lock().batch.kernel.get_mut(interface as usize) {
            *kernel = Some(counters);
        }
    }

    /// Bytes that wait, and packets dropped so far.
    pub(super) fn depth(&self) -> (u64, u64) {
        let state = self.lock();
        (state.batch.bytes.len() as u64, state.dropped)
    }

    /// There will be no more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_one();
    }

    /// Exchanges `emptied` for what waits, after at most `patience`. `false` when that was the
    /// last.
    pub(super) fn take(&self, emptied: &mut Batch, patience: Duration) -> bool {
        emptied.clear();
        let quiet = |state: &mut State| !state.closed && !state.batch.is_worth_waking();
        let (mut state, _) = self
            .ready
            .wait_timeout_while(self.lock(), patience, quiet)
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(emptied, &mut state.batch);
        !state.closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn packet(interface: u32, len: u32) -> Packet {
        Packet {
            interface,
            at: Timestamp(7),
            wire_len: len,
            len,
            flow: None,
            direction: Direction::Unknown,
        }
    }

    #[test]
    fn what_goes_in_comes_out_in_its_order() {
        let queue = Queue::new(2, 1_000);
        queue.packet(packet(0, 3), b"abc");
        queue.word(Record::Failed(4, vec![Remark { at: Timestamp(1), text: String::new() }; 20]));
        queue.packet(packet(1, 2), b"de");
        queue.word(Record::Over(4));
        let kernel = Kernel { received: 9, dropped: 1, dropped_by_interface: 2 };
        queue.kernel(1, kernel);
        queue.kernel(7, kernel);
        assert_eq!(queue.depth(), (5, 0));
        let mut batch = Queue::batch(2);
        assert!(queue.take(&mut batch, NOW));
        assert_eq!(batch.bytes, b"abcde");
        assert!(matches!(batch.records[0], Record::Packet(Packet { len: 3, .. })));
        assert!(matches!(&batch.records[1], Record::Failed(4, remarks) if remarks.len() == 8));
        assert!(matches!(batch.records[3], Record::Over(4)));
        assert_eq!(batch.kernel, [None, Some(kernel)]);
        queue.close();
        assert!(!queue.take(&mut batch, NOW));
        assert!(batch.records.is_empty() && batch.bytes.is_empty());
    }

    #[test]
    fn what_has_no_room_is_dropped_and_counted_by_interface() {
        let queue = Queue::new(2, 10);
        queue.packet(packet(1, 8), b"12345678");
        queue.packet(packet(1, 3), b"abc");
        queue.packet(packet(0, 2), b"ab");
        queue.packet(packet(1, 0), b"");
        let mut batch = Queue::batch(2);
        queue.take(&mut batch, NOW);
        assert_eq!((batch.records.len(), &batch.dropped[..]), (3, &[0, 1][..]));
        assert_eq!(queue.depth(), (0, 1));
        // There is room again.
        queue.packet(packet(1, 3), b"abc");
        queue.take(&mut batch, NOW);
        assert_eq!((batch.records.len(), &batch.dropped[..]), (1, &[0, 0][..]));
    }

    #[test]
    fn packets_without_bytes_and_words_have_bounds_too() {
        let queue = Queue::new(1, PACKETS_MAX * PACKET);
        for _ in 0..=PACKETS_MAX {
            queue.packet(packet(0, 0), b"");
        }
        for flow in 0..=WORDS_MAX as u64 {
            queue.word(Record::Over(flow));
        }
        let mut batch = Queue::batch(1);
        queue.take(&mut batch, NOW);
        assert_eq!(batch.records.len(), PACKETS_MAX + WORDS_MAX);
        assert_eq!((batch.dropped[0], batch.dropped_words), (1, 1));
    }

    #[test]
    fn the_writer_is_woken_when_enough_waits() {
        let queue = std::sync::Arc::new(Queue::new(1, 4 << 20));
        let writer = std::thread::spawn({
            let queue = queue.clone();
            move || {
                let mut batch = Queue::batch(1);
                queue.take(&mut batch, Duration::from_secs(600));
                batch.bytes.len()
            }
        });
        while !writer.is_finished() {
            queue.packet(packet(0, 1_000), &[0; 1_000]);
            std::thread::yield_now();
        }
        assert!(writer.join().unwrap() >= WAKE_BYTES);
    }
}
