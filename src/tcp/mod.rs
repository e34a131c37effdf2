//! TCP as an observer sees it: two halves of a connection, any packet of which may be missing.
//!
//! Turns segments into ordered bytes, gaps and endings. Knows nothing of HTTP.

mod assembler;
mod connection;
mod ending;
mod expected;
mod history;
mod rest;
mod seq;
mod stream;
mod table;
mod timing;
mod track;

pub use connection::Connection;
pub use expected::Bodies;
pub use history::History;
pub use rest::Attached;
pub use stream::PAIRS_MAX;
pub use table::{
    AWAKE_BYTES, AWAKE_MAX, Entry, FLOWS_MAX, Limits, REST_BEYOND, RESTING_BYTES, Table, Turn,
};

use crate::blind::BlindSpot;
use crate::time::Mark;

/// One side of a connection. `Client` opened it (load balancer, proxy, prober), `Server` accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Opened the connection.
    Client,
    /// Accepted it.
    Server,
}

impl std::ops::Not for Side {
    type Output = Side;
    fn not(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }
}

/// Place of some bytes in the stream of one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct At {
    /// The frame that carried them.
    pub mark: Mark,
    /// Offset of their first byte in the stream of their side; the first byte is 0.
    pub offset: u64,
    /// How many bytes of the peer's stream the sender had received when it sent them (its
    /// acknowledgment number as an offset); `None` without an ACK flag or a known base.
    pub acked: Option<u64>,
}

/// Receives what TCP has put in order.
///
/// Push rather than pull: the segment's bytes are lent for the length of the call, so in-order
/// data is never copied.
pub trait StreamSink {
    /// Bytes of `side`'s stream, in order and without repetition.
    fn data(&mut self, side: Side, at: At, bytes: &[u8]);
    /// `len` bytes of `side`'s stream exist but were not captured, for the reason given
    /// ([`BlindSpot::Gap`] or [`BlindSpot::Snaplen`]).
    fn gap(&mut self, side: Side, at: At, len: u64, why: BlindSpot);
    /// `side` sent FIN and all its bytes have been delivered.
    fn ended(&mut self, side: Side);
}
