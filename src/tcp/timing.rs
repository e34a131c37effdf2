//! Round-trip times, and what they tell of the place of the capture.

use super::connection::Connection;
use crate::flow::{Rtt, Vantage};
use crate::tcp::Side;
use crate::time::Timestamp;

/// No round trip takes longer, nanoseconds: Linux gives up what nobody acknowledges after about 15 minutes.
const LONGEST: i64 = 3_600_000_000_000;

impl Connection {
    /// The client has acknowledged the SYN-ACK; `pure` without saying anything else.
    pub(super) fn time_handshake(&mut self, pure: bool) {
        // With a repetition it is not known which one was answered; a later ACK is not the first,
        // which was missed or captured before the SYN-ACK.
        let first = pure && self.flow.half(Side::Client).distinct() == 2;
        let opening = &mut self.flow.opening;
        opening.timed = first && opening.syns == 1 && opening.syn_acks == 1;
    }

    /// RFC 6298, 2.2 and 2.3.
    pub(super) fn time_ack(&mut self, acked: u64, at: Timestamp) {
        let Some((end, sent_at)) = self.timing else { return };
        if acked < end.get() {
            return;
        }
        self.timing = None;
        // The clock may be set while the capture goes on.
        let sample = at.nanos_since(sent_at).clamp(0, LONGEST);
        self.flow.rtt = Some(match self.flow.rtt {
            Some(Rtt { smoothed, variation }) => Rtt {
                variation: (3 * variation + (smoothed - sample).abs()) / 4,
                smoothed: (7 * smoothed + sample) / 8,
            },
            None => Rtt { smoothed: sample, variation: sample / 2 },
        });
    }

    /// Where the capture was taken, from the two halves of the handshake: at the client the
    /// SYN-ACK takes the whole round trip and the ACK none of it, at the server the reverse.
    pub(super) fn vantage(&self) -> Vantage {
        /// Shortest round trip that tells the halves apart from scheduling noise, nanoseconds.
        const CLEAR: i64 = 400_000;
        let opening = &self.flow.opening;
        let (Some(server), Some(client)) = (opening.server_side(), opening.client_side()) else {
            return Vantage::Unknown;
        };
        let whole = server.saturating_add(client);
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
