//! A flow in few bytes, while nothing happens on it.

use super::{Ended, Flow, Half, OddOpening, Opening, Retransmission, Rtt, Trouble, Vantage};
use crate::http::Protocol;
use crate::shorthand::Shorthand;

const VANTAGES: [Vantage; 4] =
    [Vantage::Unknown, Vantage::Client, Vantage::Server, Vantage::Between];

impl Flow {
    /// Whether [`Flow::fields`] say everything: nothing has ended it. Of what has only been opened by
    /// SYNs there is hardly more to write down than to keep, and floods are made of it.
    pub(crate) fn can_rest(&self) -> bool {
        self.halves.iter().map(|half| half.packets).sum::<u64>() > u64::from(self.opening.syns)
            && self.endings.is_empty()
            && self.icmp.is_empty()
            && self.tls.is_none()
            && self.ended == Ended::CaptureEnd
            && self.ended_by.is_none()
    }

    /// Its fields in shorthand; not its id, its ends, its tunnel and its first packet.
    pub(crate) fn fields(&mut self, shorthand: &mut impl Shorthand) {
        let Flow {
            id: _,
            stream,
            client: _,
            server: _,
            tunnel: _,
            first: _,
            last,
            opening,
            halves,
            endings: _,
            icmp: _,
            history,
            rtt,
            vantage,
            requests,
            responses,
            protocol,
            http1_answer,
            proxied,
            tls: _,
            blind_spots,
            ended: _,
            ended_by: _,
        } = self;
        shorthand.option(stream, Shorthand::u32);
        shorthand.mark(last);
        opening.fields(shorthand);
        halves.iter_mut().for_each(|half| half.fields(shorthand));
        history.fields(shorthand);
        shorthand.option(rtt, |shorthand, Rtt { smoothed, variation }| {
            shorthand.i64(smoothed);
            shorthand.i64(variation);
        });
        shorthand.one_of(&VANTAGES, vantage);
        shorthand.u32(requests);
        shorthand.u32(responses);
        shorthand.one_of(&Protocol::ALL, protocol);
        shorthand.flag(http1_answer);
        shorthand.flag(proxied);
        blind_spots.fields(shorthand);
    }
}

impl Opening {
    fn fields(&mut self, shorthand: &mut impl Shorthand) {
        let Opening { syn, syn_ack, ack, asked, answered, syns, syn_acks, timed, odd } = self;
        for mark in [syn, syn_ack, ack, asked, answered] {
            shorthand.option(mark, Shorthand::mark);
        }
        shorthand.u16(syns);
        shorthand.u16(syn_acks);
        shorthand.flag(timed);
        shorthand.option(odd, |shorthand, odd| {
            let OddOpening { last_syn, last_syn_ack, challenge_ack } = &mut **odd;
            for mark in [last_syn, last_syn_ack, challenge_ack] {
                shorthand.option(mark, Shorthand::mark);
            }
        });
    }
}

impl Half {
    fn fields(&mut self, shorthand: &mut impl Shorthand) {
        let Half {
            packets,
            payload_bytes,
            last,
            last_data,
            sent,
            acked,
            largest,
            largest_acked,
            ttl,
            stamped,
            trouble,
        } = self;
        shorthand.u64(packets);
        shorthand.u64(payload_bytes);
        shorthand.option(last, Shorthand::time);
        shorthand.option(last_data, Shorthand::mark);
        shorthand.u64(sent);
        shorthand.u64(acked);
        shorthand.u32(largest);
        shorthand.u32(largest_acked);
        shorthand.u8(ttl);
        shorthand.flag(stamped);
        shorthand.option(trouble, |shorthand, trouble| trouble.fields(shorthand));
    }
}

impl Trouble {
    fn fields(&mut self, shorthand: &mut impl Shorthand) {
        let Trouble {
            retransmissions,
            retransmission,
            fins_repeated,
            ahead,
            zero_windows,
            zero_window_since,
            missing,
            stranded,
            duplicates,
        } = self;
        shorthand.u32(retransmissions);
        shorthand.option(retransmission, |shorthand, repeated| {
            let Retransmission { mark, offset, len, times } = repeated;
            shorthand.mark(mark);
            shorthand.u64(offset);
            shorthand.u32(len);
            shorthand.u16(times);
        });
        shorthand.u16(fins_repeated);
        shorthand.option(ahead, |shorthand, (mark, offset)| {
            shorthand.mark(mark);
            shorthand.u64(offset);
        });
        shorthand.u32(zero_windows);
        shorthand.option(zero_window_since, Shorthand::mark);
        shorthand.u64(missing);
        shorthand.u64(stranded);
        shorthand.u32(duplicates);
    }
}
