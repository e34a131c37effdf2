//! How a connection ends: FIN, RST, and which RST to believe.

use super::connection::{Connection, FAR, REORDER_GRACE};
use super::{Side, StreamSink};
use crate::flow::{ENDINGS_MAX, Ended, Ending, EndingKind, Grade};
use crate::packet::Segment;

impl Connection {
    pub(super) fn on_fin(
        &mut self,
        side: Side,
        segment: &Segment<'_>,
        start: u32,
        sink: &mut impl StreamSink,
    ) {
        let end = self.offset(side, start.wrapping_add(segment.payload_len));
        let repeated = self.tracks[side as usize].fin.is_some();
        self.note(side, b'f');
        if repeated {
            let trouble = self.flow.half_mut(side).trouble_mut();
            trouble.fins_repeated = trouble.fins_repeated.saturating_add(1);
            return;
        }
        self.push_ending(side, segment, EndingKind::Fin, Grade::Exact, end);
        if let Some(end) = end {
            self.tracks[side as usize].fin = Some(end.max(0) as u64);
        }
        if self.flow.ended == Ended::CaptureEnd {
            (self.flow.ended, self.flow.ended_by) = (Ended::Fin, Some(side));
        }
        if self.tracks.iter().all(|track| track.fin.is_some()) {
            self.closed_at.get_or_insert(segment.mark.at);
        }
        self.end_if_complete(side, sink);
    }

    pub(super) fn end_if_complete(&mut self, side: Side, sink: &mut impl StreamSink) {
        let track = &mut self.tracks[side as usize];
        if let Some(end) = track.fin
            && track.next >= end
            && !track.fin_delivered
        {
            track.fin_delivered = true;
            sink.ended(side);
        }
    }

    pub(super) fn on_rst(&mut self, side: Side, segment: &Segment<'_>) {
        let grade = self.grade(side, segment);
        let end = self.offset(side, segment.seq);
        self.note(side, b'r');
        if grade == Grade::Closed {
            self.obeyed(side);
        }
        self.push_ending(side, segment, EndingKind::Rst, grade, end);
        if grade.counts() {
            if self.flow.ended == Ended::CaptureEnd {
                (self.flow.ended, self.flow.ended_by) = (Ended::Rst, Some(side));
            }
            self.closed_at.get_or_insert(segment.mark.at);
        }
    }

    /// Grades a RST (RFC 9293, 3.10.7; RFC 5961, 3.2).
    fn grade(&self, side: Side, segment: &Segment<'_>) -> Grade {
        let (track, half) = (&self.tracks[side as usize], self.flow.half(side));
        let acks = segment.flags.ack().then(|| self.offset(!side, segment.ack)).flatten();
        let Some(offset) = self.offset(side, segment.seq) else {
            // Nothing else of this sender was seen. An answer to SYN acknowledges it.
            let sent = self.flow.half(!side).sent as i64;
            return match acks {
                Some(acks) if (0..=sent + 1).contains(&acks) => Grade::Exact,
                Some(_) => Grade::Outside,
                None => Grade::Unknown,
            };
        };
        let fin = i64::from(track.fin.is_some());
        let (next, sent, acked) = (track.next as i64, half.sent as i64, half.acked as i64);
        let known = [next, next + fin, sent, sent + fin];
        if !segment.flags.ack()
            && (known.contains(&offset) || offset == acked || offset == acked + 1)
        {
            return Grade::Closed;
        }
        if known.contains(&offset) || (!track.solid && half.sent == 0) {
            return Grade::Exact;
        }
        let window = i64::from(self.tracks[!side as usize].window.max(1));
        if offset > acked && offset < acked + window { Grade::InWindow } else { Grade::Outside }
    }

    fn push_ending(
        &mut self,
        side: Side,
        segment: &Segment<'_>,
        kind: EndingKind,
        grade: Grade,
        end: Option<i64>,
    ) {
        if self.flow.endings.len() >= ENDINGS_MAX {
            return;
        }
        let acked = segment.flags.ack().then(|| self.offset(!side, segment.ack)).flatten();
        if self.flow.endings.is_empty() {
            // Most flows end with a FIN of each side.
            self.flow.endings.reserve_exact(2);
        }
        let offset = end.filter(|end| *end >= 0).map(|end| end as u64);
        let missing = offset.map_or(0, |end| end.saturating_sub(self.tracks[side as usize].next));
        self.flow.endings.push(Ending {
            mark: segment.mark,
            side,
            kind,
            ack_flag: segment.flags.ack(),
            offset,
            acked: acked.filter(|acked| *acked >= 0).map(|acked| acked as u64),
            missing,
            grade,
            belied: None,
            unstamped: self.flow.half(side).stamped && segment.options.timestamp.is_none(),
            payload: segment.payload_len,
            ttl: segment.ttl,
            ip_id: segment.ip_id,
            window: segment.window,
        });
    }

    /// `side` has no such connection any more: it had obeyed the RST that the other's data contradicted.
    fn obeyed(&mut self, side: Side) {
        let acked = self.flow.half(!side).acked;
        let reset = self.flow.endings.iter_mut().find(|ending| {
            ending.side != side
                && ending.grade == Grade::Contradicted
                && ending.offset.is_some_and(|offset| acked <= offset)
        });
        let Some(reset) = reset else { return };
        reset.grade = if reset.ack_flag { Grade::Exact } else { Grade::Closed };
        if self.flow.ended == Ended::CaptureEnd {
            (self.flow.ended, self.flow.ended_by) = (Ended::Rst, Some(!side));
        }
    }

    /// Notes which RSTs in the name of `side` this later segment belies: bytes behind the sequence number of a RST
    /// that ends a connection were sent after it, in whatever order they come. (One without ACK has that of the
    /// acknowledgment which it answers.) Anything else a RST may have overtaken for a moment.
    pub(super) fn belie(&mut self, side: Side, segment: &Segment<'_>) {
        let Some(offset) = self.offset(side, segment.seq) else { return };
        for ending in &mut self.flow.endings {
            let Some(end) = ending.offset.map(|end| end as i64) else { continue };
            let beyond = ending.ack_flag && segment.payload_len > 0 && offset >= end;
            let late = segment.mark.at.nanos_since(ending.mark.at) > REORDER_GRACE;
            if ending.side == side
                && ending.kind == EndingKind::Rst
                && ending.grade.counts()
                && (offset - end).abs() < FAR
                && (beyond || late)
            {
                ending.belied.get_or_insert(segment.mark);
            }
        }
    }

    /// New data from the sender of a RST: that RST did not end the connection.
    pub(super) fn contradict(&mut self, side: Side) {
        if self.closed_at.is_none() && self.flow.ended != Ended::Rst {
            return;
        }
        let mut changed = false;
        for ending in &mut self.flow.endings {
            if ending.side == side && ending.kind == EndingKind::Rst && ending.grade.counts() {
                ending.grade = Grade::Contradicted;
                changed = true;
            }
        }
        if changed {
            self.closed_at = None;
            if self.flow.ended == Ended::Rst {
                (self.flow.ended, self.flow.ended_by) = (Ended::CaptureEnd, None);
            }
        }
    }
}
