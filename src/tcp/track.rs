//! What is tracked of one direction of a connection.

use super::assembler::Assembler;
use super::seq::Base;
use crate::packet::{Flags, Segment};
use crate::shorthand::Shorthand;
use crate::time::Timestamp;

/// A second copy of a packet without IP identification comes within this time, nanoseconds; the
/// shortest retransmission time-out of common stacks is 200 ms, their tail loss probe 10 ms.
const COPY_WITHIN: i64 = 5_000_000;
/// A second copy of a packet with the same IP identification comes within this time, nanoseconds.
const COPY_WITHIN_ID: i64 = 1_000_000_000;

/// Unit of the times of fingerprints, nanoseconds: fine enough for the limits above, and coarse
/// enough for three days in 32 bits.
const TICK: i64 = 1 << 16;

/// What only tracking needs of one direction.
#[derive(Clone, Debug, Default)]
pub(super) struct Track {
    /// Sequence number of byte 0, once known.
    pub(super) base: Option<Base>,
    /// The base comes from the handshake, not from the first segment that was captured.
    pub(super) solid: bool,
    /// Offset up to which bytes (or gaps) have been delivered.
    pub(super) next: u64,
    /// Where the stream ends, once FIN was seen.
    pub(super) fin: Option<u64>,
    pub(super) fin_delivered: bool,
    pub(super) held: Assembler,
    /// Hole that the peer acknowledged past: since when, and how many acknowledgments.
    pub(super) hole: Option<Box<(Timestamp, u8)>>,
    /// Window scale offered on SYN.
    pub(super) scale: u8,
    /// Last advertised window, bytes.
    pub(super) window: u32,
    /// End offset of the largest segment.
    pub(super) largest_end: u64,
    /// Fingerprints of the latest packets: hash (0 for none) and time in [`TICK`]s.
    recent: [(u32, u32); 4],
    turn: u8,
    /// Segments with a good checksum, and with a wrong one.
    sound: u32,
    corrupt: u32,
}

impl Track {
    /// Whether its fields in shorthand say everything: nothing waits.
    pub(super) fn can_rest(&self) -> bool {
        self.held.is_empty() && self.hole.is_none()
    }

    /// Its fields, in shorthand.
    pub(super) fn fields(&mut self, shorthand: &mut impl Shorthand) {
        let Track {
            base,
            solid,
            next,
            fin,
            fin_delivered,
            held: _,
            hole: _,
            scale,
            window,
            largest_end,
            recent,
            turn,
            sound,
            corrupt,
        } = self;
        shorthand.option(base, |shorthand, base| base.fields(shorthand));
        shorthand.flag(solid);
        shorthand.u64(next);
        shorthand.option(fin, Shorthand::u64);
        shorthand.flag(fin_delivered);
        shorthand.u8(scale);
        shorthand.u32(window);
        shorthand.u64(largest_end);
        for (hash, at) in recent {
            shorthand.u32(hash);
            shorthand.u32(at);
        }
        shorthand.u8(turn);
        shorthand.u32(sound);
        shorthand.u32(corrupt);
    }

    /// Its sender has room for so much.
    pub(super) fn set_window(&mut self, segment: &Segment<'_>) {
        let scale = if segment.flags.syn() { 0 } else { self.scale };
        self.window = u32::from(segment.window) << scale;
    }

    /// Forgets packets of which no second copy can come any more at `now`.
    pub(super) fn forget_copies(&mut self, now: Timestamp) {
        let now = (now.0 / TICK) as u32;
        for known in &mut self.recent {
            if (now.wrapping_sub(known.1) as i32) > (COPY_WITHIN_ID / TICK) as i32 {
                *known = (0, 0);
            }
        }
    }

    /// Whether a segment is damaged: its checksum is wrong while those of its sender are right
    /// otherwise. Where they are mostly wrong, addresses were rewritten or a card sums them.
    pub(super) fn is_damaged(&mut self, segment: &Segment<'_>) -> bool {
        if segment.corrupt {
            self.corrupt += 1;
        } else {
            self.sound += 1;
        }
        segment.corrupt && self.sound > 8 * (self.corrupt - 1)
    }

    /// Whether this very packet was captured before (`-i any`, mirror ports): the same headers,
    /// and the same IP identification where there is one.
    pub(super) fn is_copy(&mut self, segment: &Segment<'_>) -> bool {
        let id = segment.ip_id.filter(|id| *id != 0);
        let Flags(flags) = segment.flags;
        let (tsval, tsecr) = segment.options.timestamp.unwrap_or_default();
        let mut hash = u64::from(segment.seq) << 32 | u64::from(segment.ack);
        for word in [
            u64::from(tsval) << 32 | u64::from(tsecr),
            u64::from(segment.payload_len) << 32 | u64::from(segment.window) << 16,
            u64::from(flags) << 32 | u64::from(id.unwrap_or_default()),
        ] {
            hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
        let hash = ((hash >> 16) as u32).max(1);
        let now = (segment.mark.at.0 / TICK) as u32;
        let within = (if id.is_some() { COPY_WITHIN_ID } else { COPY_WITHIN } / TICK) as u32;
        let copy = self.recent.iter().any(|&(known, at)| {
            known == hash && (now.wrapping_sub(at) as i32).unsigned_abs() <= within
        });
        if !copy {
            self.recent[usize::from(self.turn % 4)] = (hash, now);
            self.turn = self.turn.wrapping_add(1);
        }
        copy
    }
}
