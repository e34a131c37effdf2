//! Packets on their way from a capture thread to the analysis, many at a time.

use crate::capture::LinkType;
use crate::time::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One packet of a [`Batch`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    /// When it was captured.
    pub(super) at: Timestamp,
    /// Where its bytes begin in [`Batch::bytes`].
    pub(super) begin: u32,
    /// Bytes captured.
    pub(super) len: u32,
    /// Bytes on the wire.
    pub(super) wire_len: u32,
}

/// Memory that packets take on their way to the analysis, and for how much there is room.
#[derive(Clone, Debug)]
pub(super) struct Room {
    used: Arc<AtomicUsize>,
    max: usize,
}

/// A part of a [`Room`], given back when it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    used: Arc<AtomicUsize>,
    bytes: usize,
}

impl Room {
    /// For so many bytes.
    pub(super) fn new(max: usize) -> Room {
        Room { used: Arc::default(), max }
    }

    /// Takes so many bytes; `None` when there is no room for them. One batch always has room.
    pub(super) fn take(&self, bytes: usize) -> Option<Held> {
        let fits = |used: usize| {
            let used_then = used.saturating_add(bytes);
            (used == 0 || used_then <= self.max).then_some(used_then)
        };
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Held { used: Arc::clone(&self.used), bytes })
    }

    /// Bytes taken, and bytes that can be.
    pub(super) fn filled(&self) -> (usize, usize) {
        (self.used.load(Ordering::Relaxed), self.max)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Packets of one interface in the order of capture.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Index of the interface.
    pub(super) interface: usize,
    /// Of all its packets.
    pub(super) link: Option<LinkType>,
    /// The packets.
    pub(super) packets: Vec<Packet>,
    /// The bytes of all of them.
    pub(super) bytes: Vec<u8>,
    /// No packet from before this time is to come from the interface.
    pub(super) upto: Timestamp,
    /// Packets of earlier batches that the queue had no room for.
    pub(super) lost: u64,
    /// Packets that were dropped before we could have them, since the capture began.
    pub(super) drops: Option<Drops>,
    /// The interface gives nothing any more.
    pub(super) over: bool,
    /// Its part of the room.
    pub(super) held: Option<Held>,
}

/// What the system says it dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Drops {
    /// By the kernel, as its buffer was full.
    pub(super) kernel: u64,
    /// By the interface or its driver.
    pub(super) interface: u64,
}

impl Batch {
    /// Adds a packet.
    pub(super) fn push(&mut self, at: Timestamp, wire_len: u32, bytes: &[u8]) {
        let (begin, len) = (self.bytes.len() as u32, bytes.len() as u32);
        self.bytes.extend_from_slice(bytes);
        self.packets.push(Packet { at, begin, len, wire_len });
        self.upto = self.upto.max(at);
    }

    /// The bytes of a packet.
    pub(super) fn bytes_of(&self, packet: &Packet) -> &[u8] {
        let begin = packet.begin as usize;
        self.bytes.get(begin..begin + packet.len as usize).unwrap_or_default()
    }

    /// Gives back memory that it does not need, where that is much.
    pub(super) fn fit(&mut self) {
        if self.bytes.capacity() > 2 * self.bytes.len() {
            self.bytes.shrink_to_fit();
        }
    }

    /// Bytes of memory that its packets take.
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity() + self.packets.capacity() * size_of::<Packet>()
    }

    /// Whether it tells anything but the time.
    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_given_back_and_one_batch_always_has_it() {
        let room = Room::new(100);
        let first = room.take(90).unwrap();
        assert!(room.take(11).is_none());
        let second = room.take(10).unwrap();
        assert_eq!(room.filled(), (100, 100));
        drop((first, second));
        assert_eq!(room.filled(), (0, 100));
        let _large = room.take(1_000).unwrap();
        assert!(room.take(1).is_none());
    }
}
