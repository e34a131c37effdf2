//! Header prediction: a short way for what nearly every segment of a busy connection is, the next bytes
//! within a message body or an acknowledgment and nothing else.
//!
//! TCPs have had such a way around their state machine since 4.3BSD-Reno. Here, too, it comes to the same
//! as the whole way, [`Connection::on_segment`], which is left with whatever is not plain.

use super::connection::Connection;
use super::{At, Side};
use crate::packet::{Flags, Segment};

/// Takes bytes that are counted and not read.
pub trait Bodies {
    /// Whether the next `len` bytes of `side`, from `offset` on, lie within a message body, and its end
    /// does not.
    fn within_body(&self, side: Side, offset: u64, len: u64) -> bool;
    /// Takes them.
    fn body(&mut self, at: At, len: u64);
}

impl Connection {
    /// Takes in a segment that was to be expected. Of any other it says `false`, and changes nothing.
    pub fn on_expected(&mut self, segment: &Segment<'_>, bodies: &mut impl Bodies) -> bool {
        const PUSHED: u8 = Flags::ACK | Flags::PSH;
        if !matches!(segment.flags.0, Flags::ACK | PUSHED)
            || segment.corrupt
            || segment.window == 0
            || segment.payload_len as usize != segment.payload.len()
        {
            return false;
        }
        let side = self.side_of(segment);
        if !self.is_plain(side) {
            return false;
        }
        let (Some(offset), Some(acked)) =
            (self.offset(side, segment.seq), self.offset(!side, segment.ack))
        else {
            return false;
        };
        let (next, received) = (self.tracks[side as usize].next, self.tracks[!side as usize].next);
        let len = u64::from(segment.payload_len);
        if offset != next as i64
            || !(0..=received as i64).contains(&acked)
            || (len > 0 && !bodies.within_body(side, next, len))
        {
            return false;
        }
        if !self.count(side, segment) {
            return true;
        }
        let (mark, acked) = (segment.mark, acked as u64);
        self.know_sender(side, segment);
        if len == 0 {
            self.note(side, b'a');
        }
        self.advance_acked(side, acked, mark.at);
        if len > 0 {
            let end = next + len;
            self.note_payload(side, mark);
            self.measure(side, segment.payload_len, end);
            self.advance_sent(side, end, mark);
            self.tracks[side as usize].next = end;
            bodies.body(At { mark, offset: next, acked: Some(acked) }, len);
        }
        self.tracks[side as usize].set_window(segment);
        true
    }

    /// Whether the connection is open and nothing is under way that the next segment of `side` could
    /// change, beyond what it says itself.
    fn is_plain(&self, side: Side) -> bool {
        let half = self.flow.half(side);
        self.flow.opening.ack.is_some()
            && self.flow.endings.is_empty()
            && self
                .tracks
                .iter()
                .all(|track| track.solid && track.fin.is_none() && track.can_rest())
            && half.sent == self.tracks[side as usize].next
            && half.trouble().zero_windows == 0
    }
}
