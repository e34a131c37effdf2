//! One connection as an observer sees it.
//!
//! The order of work on a segment: is it a second copy of a packet; handshake; what it
//! acknowledges; its payload; FIN; RST; window. Gaps are given up late (only what the peer has
//! acknowledged is known to have existed), and an acknowledgment number on a RST is recorded but
//! not believed.

use super::history::Seen;
use super::seq::Base;
use super::track::Track;
use super::{At, Side, StreamSink};
use crate::blind::BlindSpot;
use crate::flow::{Ending, EndingKind, Flow, Retransmission, Vantage};
use crate::packet::{Endpoint, Segment, TunnelId};
use crate::time::{Mark, Timestamp};
use std::hint::black_box;
use std::num::NonZeroU64;

/// How long a hole that the peer acknowledged past may still be filled by a packet that the
/// capture holds out of order, nanoseconds.
pub(super) const REORDER_GRACE: i64 = 20_000_000;
/// Bytes past SYN from which the first acknowledgment number of a server belongs to another
/// connection: more than a request that was not captured at all.
pub(super) const FAR: i64 = 1 << 20;
/// Bytes before a FIN, a RST or an acknowledgment that may be missing; a sequence number further off is not believed.
const MISSING_MAX: u64 = 1 << 24;
/// Acknowledgments past a hole after which it is given up.
const REORDER_ACKS: u8 = 3;

/// Tracks one connection.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The facts so far.
    pub flow: Flow,
    pub(super) tracks: [Track; 2],
    pub(super) seen: Seen,
    /// Capture file for which the stream number is settled.
    pub(super) settled: Option<u32>,
    /// Client bytes whose acknowledgment is being timed: their end, and when they were sent.
    pub(super) timing: Option<(NonZeroU64, Timestamp)>,
    /// When both sides had sent FIN, or a RST counted.
    pub(super) closed_at: Option<Timestamp>,
}

impl Connection {
    /// A connection whose first segment is `segment`, sent by `side`.
    pub(crate) fn new(id: u64, segment: &Segment<'_>, side: Side) -> Connection {
        let (client, server) = match side {
            Side::Client => (segment.src, segment.dst),
            Side::Server => (segment.dst, segment.src),
        };
        let ends = (client, server);
        let mut connection = Connection::blank(id, ends, segment.tunnel, segment.mark);
        if !segment.flags.syn() {
            connection.flow.blind_spots.add(BlindSpot::NoHandshake);
        }
        connection
    }

    /// A connection of which nothing is known but this.
    pub(super) fn blank(
        id: u64,
        ends: (Endpoint, Endpoint),
        tunnel: TunnelId,
        first: Mark,
    ) -> Connection {
        let (client, server) = ends;
        Connection {
            flow: Flow { id, client, server, tunnel, first, last: first, ..Flow::default() },
            tracks: Default::default(),
            seen: Seen::default(),
            settled: None,
            timing: None,
            closed_at: None,
        }
    }

    /// Takes over the room of a connection that is over: nearly every one ends with a FIN of each side.
    pub(super) fn take_room(&mut self, over: &mut Connection) {
        over.flow.endings.clear();
        std::mem::swap(&mut self.flow.endings, &mut over.flow.endings);
    }

    /// Has the processor fetch what each segment changes.
    #[inline]
    pub(super) fn warm_live(&self) {
        let [client, server] = &self.flow.halves;
        black_box((self.flow.last.at, client.last, client.sent, server.last, server.sent));
        black_box((self.tracks[0].next, self.tracks[1].next));
    }

    /// Has the processor fetch what is read of a connection when it is over.
    pub(crate) fn warm(&self) {
        let flow = &self.flow;
        black_box((flow.id, flow.first.at, flow.opening.syn, flow.opening.answered));
        black_box((flow.half(Side::Client).sent, flow.half(Side::Server).sent));
        black_box((flow.endings.as_ptr(), flow.rtt, flow.requests, flow.ended));
        black_box((self.tracks[0].next, self.tracks[1].next, self.closed_at));
    }

    /// The same of what lies elsewhere.
    pub(crate) fn warm_beyond(&self) {
        let endings = &self.flow.endings;
        black_box((endings.first().map(|it| it.mark.at), endings.last().map(|it| it.window)));
    }

    /// Both sides have sent FIN, or a RST counted.
    pub fn is_closed(&self) -> bool {
        self.closed_at.is_some()
    }

    /// Whether `side` has sent FIN or RST.
    pub fn closed_by(&self, side: Side) -> bool {
        self.flow.endings.iter().any(|ending| ending.side == side)
    }

    /// Whether what the server sends from now on may come too late: the client has closed, or a RST in the
    /// server's name came.
    pub fn may_be_too_late(&self) -> bool {
        let ends = |ending: &Ending| ending.side == Side::Client || ending.kind == EndingKind::Rst;
        self.flow.endings.iter().any(ends)
    }

    /// Who sent `segment`.
    pub fn side_of(&self, segment: &Segment<'_>) -> Side {
        if segment.src == self.flow.client { Side::Client } else { Side::Server }
    }

    /// Whether the SYN of the side that opened the connection, or the SYN-ACK, was captured.
    pub fn handshake_seen(&self) -> bool {
        self.flow.opening.syn.is_some() || self.flow.opening.syn_ack.is_some()
    }

    /// Whether no payload has been delivered yet, so that the roles may still be corrected.
    pub fn roles_open(&self) -> bool {
        !self.handshake_seen() && self.tracks.iter().all(|track| track.next == 0)
    }

    /// Swaps the roles. Only while [`Connection::roles_open`].
    pub fn swap_roles(&mut self) {
        std::mem::swap(&mut self.flow.client, &mut self.flow.server);
        self.flow.halves.swap(0, 1);
        self.flow.vantage = self.flow.vantage.of_swapped_roles();
        self.tracks.swap(0, 1);
        self.seen.flip();
        self.flow.history.flip();
        for ending in &mut self.flow.endings {
            ending.side = !ending.side;
        }
        self.flow.ended_by = self.flow.ended_by.map(|side| !side);
        self.timing = None;
    }

    /// Whether a SYN with this sequence number repeats the one that opened this connection.
    pub(super) fn same_syn(&self, segment: &Segment<'_>) -> bool {
        let side = self.side_of(segment);
        let base = Base::after_syn(segment.seq);
        side == Side::Client && self.tracks[side as usize].base.is_some_and(|known| known == base)
    }

    /// Whether `segment` is of a later connection with the same addresses and ports, whose SYN is not in
    /// the capture: it carries data and acknowledges what the other side of this one cannot have sent,
    /// bytes behind its FIN (RFC 9293, 3.4: FIN takes the last sequence number of a stream).
    pub(super) fn is_over_for(&self, segment: &Segment<'_>) -> bool {
        let sender = !self.side_of(segment);
        let end = self.flow.endings.iter().find_map(|ending| {
            let fin = ending.side == sender && ending.kind == EndingKind::Fin;
            ending.offset.filter(|_| fin)
        });
        let acked = self.offset(sender, segment.ack);
        segment.payload_len > 0
            && segment.flags.ack()
            && !segment.flags.rst()
            && end.zip(acked).is_some_and(|(end, acked)| acked < -FAR || acked > end as i64 + 1)
    }

    pub(super) fn note(&mut self, side: Side, letter: u8) {
        self.seen.note(&mut self.flow.history, side, letter);
    }

    /// What every segment of its sender has, but for RSTs in its name.
    pub(super) fn know_sender(&mut self, side: Side, segment: &Segment<'_>) {
        let half = self.flow.half_mut(side);
        half.ttl = segment.ttl;
        half.stamped |= segment.options.timestamp.is_some();
    }

    /// Takes in one segment of this connection.
    pub fn on_segment(&mut self, segment: &Segment<'_>, sink: &mut impl StreamSink) {
        let side = self.side_of(segment);
        let flags = segment.flags;
        if !self.count(side, segment) {
            return;
        }
        if !flags.rst() {
            self.know_sender(side, segment);
        }
        if flags.syn() {
            self.on_syn(side, segment);
        } else {
            self.learn_base(side, segment);
        }
        if flags.ack() && !flags.syn() && !flags.rst() && !self.flow.endings.is_empty() {
            self.belie(side, segment);
        }
        if flags.ack() && !flags.rst() {
            self.on_ack(side, segment, sink);
        }
        let start = segment.seq.wrapping_add(u32::from(flags.syn()));
        if flags.rst() {
            self.on_rst(side, segment);
        } else if segment.payload_len > 0 {
            self.on_payload(side, segment, start, sink);
        }
        if flags.fin() && !flags.rst() {
            self.on_fin(side, segment, start, sink);
        }
        if !flags.rst() {
            self.on_window(side, segment);
        }
    }

    /// Counts a segment, and says whether it is one that its receiver took.
    pub(super) fn count(&mut self, side: Side, segment: &Segment<'_>) -> bool {
        self.flow.last = segment.mark;
        let half = self.flow.half_mut(side);
        half.packets += 1;
        half.payload_bytes += u64::from(segment.payload_len);
        half.last = Some(segment.mark.at);
        if self.tracks[side as usize].is_copy(segment) {
            self.flow.half_mut(side).trouble_mut().duplicates += 1;
            self.note(side, b'c');
            return false;
        }
        if self.tracks[side as usize].is_damaged(segment) {
            // Its receiver drops it, or it was damaged in the file: what it says is not known.
            self.flow.blind_spots.add(BlindSpot::Gap);
            self.note(side, b'c');
            return false;
        }
        true
    }

    fn on_syn(&mut self, side: Side, segment: &Segment<'_>) {
        let track = &mut self.tracks[side as usize];
        if !track.solid {
            track.base = Some(Base::after_syn(segment.seq));
            track.solid = true;
        }
        track.scale = segment.options.window_scale.unwrap_or(0).min(14);
        let opening = &mut self.flow.opening;
        if segment.flags.ack() {
            if opening.syn_ack.is_some() {
                opening.odd_mut().last_syn_ack = Some(segment.mark);
            } else {
                opening.syn_ack = Some(segment.mark);
            }
            opening.syn_acks = opening.syn_acks.saturating_add(1);
            self.note(side, b'h');
            // The acknowledgment number of a SYN-ACK tells the other side's base as surely as its
            // SYN does.
            let other = &mut self.tracks[!side as usize];
            if !other.solid {
                other.base = Some(Base::new(segment.ack));
                other.solid = true;
            }
        } else {
            if opening.syn.is_some() {
                opening.odd_mut().last_syn = Some(segment.mark);
            } else {
                opening.syn = Some(segment.mark);
            }
            opening.syns = opening.syns.saturating_add(1);
            self.note(side, b's');
        }
    }

    /// Bases of a connection whose handshake was not captured: the first data of a side begins its
    /// stream, and until then the first acknowledgment of the other side does.
    fn learn_base(&mut self, side: Side, segment: &Segment<'_>) {
        if self.tracks.iter().all(|track| track.solid) {
            return;
        }
        let challenged = side == Side::Server
            && segment.flags.ack()
            && !segment.flags.rst()
            && self.flow.opening.syn_ack.is_none()
            && self.tracks[Side::Client as usize].solid
            && self.tracks[Side::Server as usize].base.is_none()
            && self.offset(Side::Client, segment.ack).is_some_and(|offset| {
                // A little ahead it acknowledges bytes of this connection that were not captured.
                !(0..FAR).contains(&offset)
            });
        if challenged {
            self.flow.opening.odd_mut().challenge_ack.get_or_insert(segment.mark);
            return;
        }
        let track = &mut self.tracks[side as usize];
        if !track.solid && !segment.flags.rst() {
            let begins = segment.payload_len > 0 && track.next == 0 && track.held.is_empty();
            if track.base.is_none() || begins {
                track.base = Some(Base::new(segment.seq));
                if segment.payload_len > 0 {
                    self.flow.half_mut(side).acked = 0;
                }
            }
        }
        // The first segment of a client after its SYN acknowledges the SYN-ACK, captured or not.
        let first = side == Side::Client
            && self.flow.opening.syn.is_some()
            && self.flow.half(side).distinct() == u64::from(self.flow.opening.syns) + 1;
        let other = &mut self.tracks[!side as usize];
        if other.base.is_none() && segment.flags.ack() && !segment.flags.rst() {
            other.base = Some(Base::new(segment.ack));
            other.solid = first;
        }
    }

    /// Offset of `seq` in the stream of `side`.
    pub(super) fn offset(&self, side: Side, seq: u32) -> Option<i64> {
        let track = &self.tracks[side as usize];
        track.base.map(|base| base.offset(seq, track.next))
    }

    fn on_ack(&mut self, side: Side, segment: &Segment<'_>, sink: &mut impl StreamSink) {
        let sender = !side;
        let Some(offset) = self.offset(sender, segment.ack).filter(|offset| *offset >= 0) else {
            return;
        };
        let mut acked = offset as u64;
        let track = &self.tracks[sender as usize];
        if let Some(fin) = track.fin {
            acked = acked.min(fin);
        }
        let opening = &mut self.flow.opening;
        if side == Side::Client && opening.syn_ack.is_some() && opening.ack.is_none() {
            opening.ack = Some(segment.mark);
            let pure = segment.payload_len == 0 && !segment.flags.fin();
            self.time_handshake(pure);
        }
        let pure = segment.payload_len == 0 && !segment.flags.syn() && !segment.flags.fin();
        if pure {
            self.note(side, b'a');
            self.note_ahead(side, segment);
        }
        self.advance_acked(side, acked, segment.mark.at);
        if acked > self.tracks[sender as usize].next {
            let track = &mut self.tracks[sender as usize];
            let (since, count) = track.hole.as_deref().copied().unwrap_or((segment.mark.at, 0));
            track.hole = Some(Box::new((since, count + 1)));
            let patient = pure
                && count + 1 < REORDER_ACKS
                && segment.mark.at.nanos_since(since) < REORDER_GRACE;
            if !patient {
                self.give_up(sender, acked, segment.mark, sink);
            }
        }
    }

    /// An acknowledgment has the sequence number behind all that its sender has sent.
    fn note_ahead(&mut self, side: Side, segment: &Segment<'_>) {
        let track = &self.tracks[side as usize];
        if !track.solid || track.fin.is_some() {
            return;
        }
        let offset = self.offset(side, segment.seq).and_then(|offset| u64::try_from(offset).ok());
        let half = self.flow.half_mut(side);
        let known = half.trouble().ahead.map_or(half.sent, |(_, offset)| half.sent.max(offset));
        if let Some(offset) = offset
            && offset > known
            && offset - half.sent < MISSING_MAX
        {
            half.trouble_mut().ahead = Some((segment.mark, offset));
        }
    }

    /// `side` has received the other's stream up to `acked`.
    pub(super) fn advance_acked(&mut self, side: Side, acked: u64, at: Timestamp) {
        let half = self.flow.half_mut(!side);
        if acked > half.acked {
            half.acked = acked;
            if acked >= self.tracks[!side as usize].largest_end {
                half.largest_acked = half.largest;
            }
            if side == Side::Server {
                self.time_ack(acked, at);
            }
        }
    }

    /// Declares what is missing of `side` up to `until` as a gap and goes on behind it.
    fn give_up(&mut self, side: Side, until: u64, mark: Mark, sink: &mut impl StreamSink) {
        loop {
            let track = &mut self.tracks[side as usize];
            track.hole = None;
            let stop = track.held.first().map_or(until, |first| first.min(until));
            if stop <= track.next {
                break;
            }
            let (offset, len) = (track.next, stop - track.next);
            track.next = stop;
            self.flow.half_mut(side).trouble_mut().missing += len;
            self.flow.blind_spots.add(BlindSpot::Gap);
            self.note(side, b'g');
            sink.gap(side, At { mark, offset, acked: None }, len, BlindSpot::Gap);
            self.drain(side, sink);
        }
        self.end_if_complete(side, sink);
    }

    /// Memory of the bytes that wait for earlier ones.
    pub(crate) fn buffered(&self) -> usize {
        let [client, server] = &self.tracks;
        client.held.memory() + server.held.memory()
    }

    /// Goes on without what is missing, so that no byte waits.
    pub(crate) fn release(&mut self, sink: &mut impl StreamSink) {
        self.flow.blind_spots.add(BlindSpot::Evicted);
        for side in [Side::Client, Side::Server] {
            while let Some(first) = self.tracks[side as usize].held.first() {
                self.give_up(side, first, self.flow.last, sink);
            }
        }
    }

    fn on_payload(
        &mut self,
        side: Side,
        segment: &Segment<'_>,
        start: u32,
        sink: &mut impl StreamSink,
    ) {
        let Some(offset) = self.offset(side, start) else { return };
        let (len, mark) = (u64::from(segment.payload_len), segment.mark);
        self.note_payload(side, mark);
        let Some(end) = offset.checked_add_unsigned(len).filter(|end| *end > 0) else {
            return; // wholly before the first byte known
        };
        let end = end as u64;
        let skip = if offset < 0 { offset.unsigned_abs() } else { 0 };
        let begin = offset.max(0) as u64;
        self.measure(side, segment.payload_len, end);
        let next = self.tracks[side as usize].next;
        if end <= next {
            self.on_repeat(side, segment, begin, end);
            return;
        }
        self.advance_sent(side, end, mark);
        if len > segment.payload.len() as u64 {
            self.flow.blind_spots.add(BlindSpot::Snaplen);
        }
        self.contradict(side);
        let acked = segment.flags.ack().then(|| self.offset(!side, segment.ack)).flatten();
        let at = At { mark, offset: begin, acked: acked.map(|acked| acked.max(0) as u64) };
        let bytes = segment.payload.get(skip as usize..).unwrap_or_default();
        if begin <= next {
            self.deliver(side, at, bytes, end, sink);
            self.drain(side, sink);
            self.end_if_complete(side, sink);
            return;
        }
        let track = &mut self.tracks[side as usize];
        if track.held.is_full() {
            let first = track.held.first().unwrap_or(begin).min(begin);
            self.give_up(side, first, mark, sink);
            if begin <= self.tracks[side as usize].next {
                self.deliver(side, at, bytes, end, sink);
                self.drain(side, sink);
                return;
            }
        }
        self.tracks[side as usize].held.insert(at, bytes, end - begin);
        if self.flow.half(!side).packets == 0 {
            // Nobody acknowledges in a one-sided capture: wait for the grace only.
            let track = &mut self.tracks[side as usize];
            let (since, _) = **track.hole.get_or_insert_with(|| Box::new((mark.at, 0)));
            if mark.at.nanos_since(since) > REORDER_GRACE {
                self.give_up(side, begin, mark, sink);
            }
        }
    }

    /// `side` sends bytes.
    pub(super) fn note_payload(&mut self, side: Side, mark: Mark) {
        let opening = &mut self.flow.opening;
        match side {
            Side::Client => opening.asked.get_or_insert(mark),
            Side::Server => opening.answered.get_or_insert(mark),
        };
    }

    /// The bytes of a segment end at `end`.
    pub(super) fn measure(&mut self, side: Side, len: u32, end: u64) {
        let half = self.flow.half_mut(side);
        if len > half.largest {
            half.largest = len;
            self.tracks[side as usize].largest_end = end;
        }
    }

    /// Bytes of `side` up to `end` that were not captured before.
    pub(super) fn advance_sent(&mut self, side: Side, end: u64, mark: Mark) {
        self.note(side, b'd');
        let half = self.flow.half_mut(side);
        half.last_data = Some(mark);
        if end <= half.sent {
            // Fills a hole: a retransmission for its sender, new to us.
            half.trouble_mut().retransmissions += 1;
        } else if side == Side::Client && self.timing.is_none() {
            self.timing = NonZeroU64::new(end).map(|end| (end, mark.at));
        }
        let half = self.flow.half_mut(side);
        half.sent = half.sent.max(end);
    }

    /// A segment without a new byte.
    fn on_repeat(&mut self, side: Side, segment: &Segment<'_>, begin: u64, end: u64) {
        let keep_alive = segment.payload_len == 1 && end == self.flow.half(side).sent;
        if keep_alive && self.flow.half(side).acked >= end {
            return; // RFC 9293, 3.8.4: a probe with the last byte, already acknowledged
        }
        if side == Side::Client {
            self.timing = None; // Karn: a repeated segment cannot be timed
        }
        let trouble = self.flow.half_mut(side).trouble_mut();
        trouble.retransmissions += 1;
        let times = match trouble.retransmission {
            Some(last) if last.offset == begin => last.times.saturating_add(1),
            _ => 1,
        };
        trouble.retransmission = Some(Retransmission {
            mark: segment.mark,
            offset: begin,
            len: segment.payload_len,
            times,
        });
        self.note(side, b't');
    }

    fn deliver(&mut self, side: Side, at: At, bytes: &[u8], end: u64, sink: &mut impl StreamSink) {
        let track = &mut self.tracks[side as usize];
        let skip = track.next - at.offset;
        let fresh = bytes.get(skip as usize..).unwrap_or_default();
        let offset = track.next;
        track.next = end;
        if !fresh.is_empty() {
            sink.data(side, At { offset, ..at }, fresh);
        }
        let cut = end - offset - fresh.len() as u64;
        if cut > 0 {
            let offset = end - cut;
            sink.gap(side, At { offset, ..at }, cut, BlindSpot::Snaplen);
        }
    }

    /// Delivers what is held and has become contiguous.
    fn drain(&mut self, side: Side, sink: &mut impl StreamSink) {
        while let Some(held) = {
            let track = &mut self.tracks[side as usize];
            track.held.pop_ready(track.next)
        } {
            let end = held.at.offset + held.len;
            if end > self.tracks[side as usize].next {
                self.deliver(side, held.at, &held.bytes, end, sink);
            }
        }
        let track = &mut self.tracks[side as usize];
        if track.held.is_empty() {
            track.hole = None;
        }
    }

    /// A RST is obeyed or dropped before anybody looks at its window (RFC 9293, 3.10.7.4).
    fn on_window(&mut self, side: Side, segment: &Segment<'_>) {
        if segment.flags.rst() {
            return;
        }
        self.tracks[side as usize].set_window(segment);
        let half = self.flow.half_mut(side);
        if segment.window > 0 || segment.flags.syn() {
            if half.trouble().zero_windows > 0 {
                half.trouble_mut().zero_window_since = None;
            }
        } else {
            let trouble = half.trouble_mut();
            trouble.zero_windows += 1;
            trouble.zero_window_since.get_or_insert(segment.mark);
            self.note(side, b'w');
        }
    }

    /// Up to where the stream of `side` is known to have existed and to have been received, so that
    /// what is missing of it is missing from the capture only: what the peer acknowledged, and,
    /// unless the peer went on to acknowledge less, what came before the FIN or RST of `side`.
    fn existed(&self, side: Side) -> u64 {
        let (half, track) = (self.flow.half(side), &self.tracks[side as usize]);
        // A FIN takes a sequence number, and no byte.
        let bytes = |end: u64| track.fin.map_or(end, |fin| end.min(fin));
        let missing = |end: &u64| *end > track.next && *end - track.next < MISSING_MAX;
        let (mut acked, mut ended) = (None, None);
        for ending in &self.flow.endings {
            if ending.side != side {
                acked = acked.max(ending.acked.map(bytes).filter(missing));
            } else if let Some(end) = ending.offset.map(bytes).filter(missing) {
                ended = ended.max(Some((end, ending.mark.at)));
            }
        }
        if let Some(acked) = acked {
            return half.acked.max(acked);
        }
        let Some((end, last)) = ended else { return half.acked };
        let peer = self.flow.half(!side).last;
        let lacks = half.acked <= track.next && peer.is_some_and(|at| at > last);
        let dropped =
            half.trouble().retransmission.is_some_and(|repeated| repeated.offset >= half.acked);
        if lacks || dropped || !track.held.is_empty() { half.acked } else { half.acked.max(end) }
    }

    /// The connection is over, or the capture is: delivers what can still be decided.
    pub(crate) fn finish(&mut self, sink: &mut impl StreamSink) {
        for side in [Side::Client, Side::Server] {
            let until = self.existed(side);
            self.give_up(side, until, self.flow.last, sink);
            let one_sided = self.flow.half(!side).packets == 0;
            if one_sided && let Some(first) = self.tracks[side as usize].held.first() {
                self.give_up(side, first, self.flow.last, sink);
            }
            let stranded = self.tracks[side as usize].held.stranded();
            if stranded > 0 {
                self.flow.half_mut(side).trouble_mut().stranded = stranded;
            }
        }
        let [client, server] = &self.flow.halves;
        let only_syn = client.distinct() == u64::from(self.flow.opening.syns);
        if client.packets == 0 || (server.packets == 0 && !only_syn) {
            self.flow.blind_spots.add(BlindSpot::OneDirection);
        }
        if self.flow.opening.syn.is_none() || self.flow.opening.syn_ack.is_none() {
            let opened =
                server.packets > 0 && !only_syn && self.flow.opening.odd().challenge_ack.is_none();
            if self.flow.opening.syn.is_none() || opened {
                self.flow.blind_spots.add(BlindSpot::NoHandshake);
            }
        } else if self.flow.vantage == Vantage::Unknown {
            self.flow.vantage = self.vantage();
        }
    }
}
