//! Packets on their way from a capture thread to the analysis, many at a time.

use crate::capture::LinkType;
use crate::time::Timestamp;

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

/// Packets of one interface in the order of capture.
#[derive(Clone, Debug, Default)]
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

    /// Whether it tells anything but the time.
    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }
}
