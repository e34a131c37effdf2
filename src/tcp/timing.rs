//! Round-trip times, and what they tell of the place of the capture.

use super::connection::Connection;
use crate::flow::Vantage;
use crate::tcp::Side;
use crate::time::Timestamp;

impl Connection {
    pub(super) fn time_handshake(&mut self, pure: bool) {
        let opening = &self.flow.opening;
        let (Some(syn), Some(syn_ack), Some(ack)) =
            (opening.last_syn, opening.syn_ack, opening.ack)
        else {
            return;
        };
        if opening.syns != 1 || opening.syn_acks != 1 {
            return; // Karn: which one was answered is not known
        }
        if !pure || self.flow.half(Side::Client).distinct() != 2 {
            return; // this is not the first ACK, which was missed or captured before the SYN-ACK
        }
        let rtt = &mut self.flow.rtt;
        rtt.handshake = Some(ack.at.nanos_since(syn.at));
        rtt.server_side = Some(syn_ack.at.nanos_since(syn.at));
        rtt.client_side = Some(ack.at.nanos_since(syn_ack.at));
    }

    /// RFC 6298, 2.2 and 2.3.
    pub(super) fn time_ack(&mut self, acked: u64, at: Timestamp) {
        let Some((end, sent_at)) = self.timing else { return };
        if acked < end {
            return;
        }
        self.timing = None;
        let sample = at.nanos_since(sent_at);
        let rtt = &mut self.flow.rtt;
        match (rtt.smoothed, rtt.variation) {
            (Some(smoothed), Some(variation)) => {
                rtt.variation = Some((3 * variation + (smoothed - sample).abs()) / 4);
                rtt.smoothed = Some((7 * smoothed + sample) / 8);
            }
            _ => (rtt.smoothed, rtt.variation) = (Some(sample), Some(sample / 2)),
        }
    }

    /// Where the capture was taken, from the two halves of the handshake: at the client the
    /// SYN-ACK takes the whole round trip and the ACK none of it, at the server the reverse.
    pub(super) fn vantage(&self) -> Vantage {
        /// Shortest round trip that tells the halves apart from scheduling noise, nanoseconds.
        const CLEAR: i64 = 400_000;
        let rtt = &self.flow.rtt;
        let (Some(server), Some(client)) = (rtt.server_side, rtt.client_side) else {
            return Vantage::Unknown;
        };
        let whole = server + client;
        if server < 0 || client < 0 || whole < CLEAR {
            Vantage::Unknown
        } else if server >= whole / 10 * 9 {
            Vantage::Client
        } else if client >= whole / 10 * 9 {
            Vantage::Server
        } else if server > whole / 4 && client > whole / 4 {
            Vantage::Between
        } else {
            Vantage::Unknown
        }
    }
}
