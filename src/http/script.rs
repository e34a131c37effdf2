//! Lets a test write down what both sides say, and gives the exchanges.

use super::{Conversation, Exchange, Pool, Protocol, State};
use crate::blind::BlindSpot;
use crate::tcp::{At, Side};
use crate::time::{FrameId, Mark, Timestamp};

/// A conversation and what came out of it. Each call is one frame, one millisecond after the last.
pub(super) struct Script {
    pub(super) conversation: Conversation,
    pub(super) given: Vec<Exchange>,
    pool: Pool,
    /// Whether the packets tell what their sender has received.
    pub(super) acks: bool,
    offsets: [u64; 2],
    frame: u64,
    now: i64,
}

impl Script {
    pub(super) fn new() -> Script {
        Script::with(Conversation::new(Some(Mark::default())))
    }

    pub(super) fn from_the_middle() -> Script {
        Script::with(Conversation::new(None))
    }

    fn with(conversation: Conversation) -> Script {
        let (given, pool) = (Vec::new(), Pool::default());
        Script { conversation, given, pool, acks: true, offsets: [0, 0], frame: 0, now: 0 }
    }

    fn at(&mut self, side: Side) -> At {
        self.frame += 1;
        self.now += 1_000_000;
        At {
            mark: Mark { frame: FrameId::new(0, self.frame), at: Timestamp(self.now) },
            offset: self.offsets[side as usize],
            acked: self.acks.then_some(self.offsets[!side as usize]),
        }
    }

    pub(super) fn says(&mut self, side: Side, bytes: &[u8]) -> &mut Script {
        let at = self.at(side);
        let given = &mut self.given;
        let mut give = |exchange: &Exchange| given.push(exchange.clone());
        self.conversation.data(side, at, bytes, &mut self.pool, &mut give);
        self.offsets[side as usize] += bytes.len() as u64;
        self
    }

    pub(super) fn client(&mut self, text: &str) -> &mut Script {
        self.says(Side::Client, text.as_bytes())
    }

    pub(super) fn server(&mut self, text: &str) -> &mut Script {
        self.says(Side::Server, text.as_bytes())
    }

    /// Sent before the peer's last bytes arrived.
    pub(super) fn crossing(&mut self, side: Side, text: &str, unread: u64) -> &mut Script {
        let mut at = self.at(side);
        at.acked = at.acked.map(|acked| acked - unread);
        let bytes = text.as_bytes();
        let given = &mut self.given;
        let mut give = |exchange: &Exchange| given.push(exchange.clone());
        self.conversation.data(side, at, bytes, &mut self.pool, &mut give);
        self.offsets[side as usize] += bytes.len() as u64;
        self
    }

    pub(super) fn gap(&mut self, side: Side, len: u64, why: BlindSpot) -> &mut Script {
        let at = self.at(side);
        self.conversation.gap(side, at, len, why, &mut self.pool, &mut |exchange| {
            self.given.push(exchange.clone());
        });
        self.offsets[side as usize] += len;
        self
    }

    /// Bytes that were sent, and that the capture does not even show to be missing.
    pub(super) fn unseen(&mut self, side: Side, len: u64) -> &mut Script {
        self.offsets[side as usize] += len;
        self
    }

    pub(super) fn fin(&mut self, side: Side) -> &mut Script {
        self.conversation.ended(side, &mut self.pool, &mut |exchange| {
            self.given.push(exchange.clone());
        });
        self
    }

    pub(super) fn wait(&mut self, nanos: i64) -> &mut Script {
        self.now += nanos;
        self
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.conversation.protocol()
    }

    pub(super) fn end(&mut self) -> &mut Script {
        let given = &mut self.given;
        self.conversation.finish(&mut self.pool, &mut |exchange| given.push(exchange.clone()));
        self
    }

    /// Status (0 without) and state of what was given out.
    pub(super) fn outcomes(&self) -> Vec<(u16, State)> {
        let status = |exchange: &Exchange| {
            exchange.response.as_ref().and_then(|response| response.status).unwrap_or_default()
        };
        self.given.iter().map(|exchange| (status(exchange), exchange.state)).collect()
    }
}

pub(super) const GET: &str = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
pub(super) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
