//! IP fragments, until their datagram is whole (RFC 791, 3.2; RFC 8200, 4.5).
//!
//! Not by `etherparse::defrag`: its pool grows without bound and knows nothing of fragments that
//! the snap length cut. Those still add up to a datagram here, captured up to the first cut.

use super::decoder::DecoderCounters;
use super::ip::{IpPacket, Piece};
use super::{Skip, TunnelId};
use crate::time::Timestamp;

/// Datagrams that wait at once. TCP is seldom fragmented and a datagram completes within
/// milliseconds, so a few would do; the bound keeps the search below short.
const MAX_DATAGRAMS: usize = 256;

/// Bytes that wait at once, 64 of the largest datagrams.
const MAX_HELD: usize = 64 * MAX_DATAGRAM;

/// RFC 791: the length of a datagram is a 16-bit number.
const MAX_DATAGRAM: usize = 65_535;

/// How long fragments wait, in capture time: Linux's `ipfrag_time`, thirty seconds. Identification
/// numbers come round again, so old fragments must not meet new ones.
const MAX_AGE_NANOS: u64 = 30_000_000_000;

/// Buffers kept for later datagrams.
const MAX_SPARE: usize = 8;

/// A datagram that is whole.
#[derive(Default)]
pub(super) struct Joined {
    /// The IP header of the last fragment to arrive.
    pub(super) header: Vec<u8>,
    pub(super) protocol: u8,
    /// Length on the wire.
    pub(super) wire: usize,
    /// What was captured of it without a gap.
    pub(super) bytes: Vec<u8>,
}

/// What makes fragments belong together. The protocol is part of it in IPv4 only: in IPv6 just the
/// first fragment knows it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    id: u32,
    src: u128,
    dst: u128,
    tunnel: TunnelId,
    v4_protocol: Option<u8>,
}

/// A fragment that arrived: bytes `start..end` of the datagram, captured up to `held`.
struct Part {
    start: usize,
    end: usize,
    held: usize,
}

struct Datagram {
    key: Key,
    since: Timestamp,
    /// Of the first fragment by offset.
    protocol: u8,
    bytes: Vec<u8>,
    /// By start; they do not overlap.
    parts: Vec<Part>,
    /// Sum of the lengths of the parts.
    filled: usize,
    /// Known once the last fragment is here.
    end: Option<usize>,
}

/// What became of a fragment.
enum Added {
    Waiting,
    Complete,
    Contradiction,
}

impl Datagram {
    fn new(key: Key, since: Timestamp, bytes: Vec<u8>) -> Datagram {
        Datagram { key, since, protocol: 0, bytes, parts: Vec::new(), filled: 0, end: None }
    }

    /// Overlaps other than plain repetition make the datagram void, as in Linux (RFC 5722, 4 for
    /// IPv6): which bytes win differs by system, and no honest sender makes them.
    fn add(&mut self, part: Part, last: bool, captured: &[u8]) -> Added {
        if last && self.end.is_some_and(|end| end != part.end)
            || self.end.is_some_and(|end| part.end > end)
            || last && self.parts.last().is_some_and(|other| other.end > part.end)
        {
            return Added::Contradiction;
        }
        let at = self.parts.partition_point(|other| other.end <= part.start);
        if let Some(other) = self.parts.get(at)
            && other.start < part.end
        {
            let repeated = other.start <= part.start && part.end <= other.end;
            return if repeated { Added::Waiting } else { Added::Contradiction };
        }
        if self.bytes.len() < part.held {
            self.bytes.resize(part.held, 0);
        }
        self.bytes[part.start..part.held].copy_from_slice(captured);
        self.filled += part.end - part.start;
        if last {
            self.end = Some(part.end);
        }
        self.parts.insert(at, part);
        if self.end == Some(self.filled) { Added::Complete } else { Added::Waiting }
    }

    /// Captured bytes from the start up to the first cut.
    fn held(&self) -> usize {
        let cut = self.parts.iter().find(|part| part.held < part.end);
        cut.or(self.parts.last()).map_or(0, |part| part.held)
    }
}

/// Fragments that wait for others.
#[derive(Default)]
pub(super) struct Fragments {
    /// In order of arrival, so the oldest comes first.
    waiting: Vec<Datagram>,
    /// Sum of the buffers in `waiting`.
    held: usize,
    spare: Vec<Vec<u8>>,
    counters: DecoderCounters,
}

impl Fragments {
    pub(super) fn counters(&self) -> DecoderCounters {
        self.counters
    }

    /// Takes back a buffer that is not needed any more.
    pub(super) fn recycle(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() > 0 && self.spare.len() < MAX_SPARE {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    /// The datagram, when this fragment was the last one missing.
    pub(super) fn add(
        &mut self,
        now: Timestamp,
        tunnel: TunnelId,
        packet: &IpPacket<'_>,
        piece: Piece,
    ) -> Result<Option<Joined>, Skip> {
        let IpPacket { ip, protocol, payload, .. } = packet;
        let start = usize::from(piece.offset);
        let part = Part { start, end: start + payload.wire, held: start + payload.bytes.len() };
        let ragged = payload.wire == 0 || piece.more && payload.wire % 8 != 0;
        if ragged || part.end > MAX_DATAGRAM {
            return Err(Skip::Malformed);
        }

        self.expire(now);
        let key = Key {
            id: piece.id,
            src: ip.src(),
            dst: ip.dst(),
            tunnel,
            v4_protocol: ip.id().map(|_| *protocol),
        };
        let at = self.waiting.iter().position(|datagram| datagram.key == key);
        let at = at.unwrap_or_else(|| {
            let bytes = self.spare.pop().unwrap_or_default();
            self.waiting.push(Datagram::new(key, now, bytes));
            self.waiting.len() - 1
        });
        let datagram = &mut self.waiting[at];
        if start == 0 {
            datagram.protocol = *protocol;
        }
        let before = datagram.bytes.len();
        let added = datagram.add(part, !piece.more, payload.bytes);
        self.held += datagram.bytes.len() - before;

        match added {
            Added::Waiting => {
                self.make_room();
                Ok(None)
            }
            Added::Complete => {
                let mut datagram = self.remove(at);
                self.counters.datagrams_joined += 1;
                datagram.bytes.truncate(datagram.held());
                Ok(Some(Joined {
                    header: ip.header().to_vec(),
                    protocol: datagram.protocol,
                    wire: datagram.filled,
                    bytes: datagram.bytes,
                }))
            }
            Added::Contradiction => {
                let datagram = self.remove(at);
                self.recycle(datagram.bytes);
                self.counters.datagrams_contradictory += 1;
                Ok(None)
            }
        }
    }

    /// Gives up what has waited too long, or is from another time altogether: captures may be read
    /// one after the other that lie years apart.
    fn expire(&mut self, now: Timestamp) {
        while let Some(at) = self
            .waiting
            .iter()
            .position(|datagram| now.0.abs_diff(datagram.since.0) > MAX_AGE_NANOS)
        {
            let datagram = self.remove(at);
            self.recycle(datagram.bytes);
            self.counters.datagrams_expired += 1;
        }
    }

    /// Gives up the oldest until the bounds hold.
    fn make_room(&mut self) {
        while self.waiting.len() > MAX_DATAGRAMS || self.held > MAX_HELD {
            let datagram = self.remove(0);
            self.recycle(datagram.bytes);
            self.counters.datagrams_evicted += 1;
        }
    }

    fn remove(&mut self, at: usize) -> Datagram {
        let datagram = self.waiting.remove(at);
        self.held -= datagram.bytes.len();
        datagram
    }
}
