//! A TCP flow as verdicts and reports see it: facts only, no behaviour of TCP.

use crate::blind::BlindSpots;
use crate::http::Protocol;
use crate::packet::{Endpoint, IcmpError, TunnelId};
use crate::tcp::Side;
use crate::time::Mark;

/// Facts of one flow. Updated while it lives, inert once it is finished.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    /// Ours: counts flows in the order of their first packet, from 0. Flows that differ only in
    /// their tunnel are different flows.
    pub id: u64,
    /// Wireshark's `tcp.stream` in the file of [`Flow::first`].
    pub stream: Option<u32>,
    /// The side that opened the connection, as far as can be told.
    pub client: Endpoint,
    /// The side that accepted.
    pub server: Endpoint,
    /// Encapsulation.
    pub tunnel: TunnelId,
    /// First packet.
    pub first: Mark,
    /// Last packet.
    pub last: Mark,
    /// How it was opened.
    pub opening: Opening,
    /// Per sending side: `[client, server]`.
    pub halves: [Half; 2],
    /// FIN and RST segments in capture order, at most [`ENDINGS_MAX`].
    pub endings: Vec<Ending>,
    /// ICMP errors that quote this flow, at most [`ICMP_MAX`].
    pub icmp: Vec<IcmpError>,
    /// Zeek's connection history: upper case for the client, lower case for the server.
    pub history: String,
    /// Round-trip estimate.
    pub rtt: Rtt,
    /// Where the capture was taken relative to this flow.
    pub vantage: Vantage,
    /// Requests seen.
    pub requests: u32,
    /// Final responses seen.
    pub responses: u32,
    /// What it carries.
    pub protocol: Protocol,
    /// What could hide another truth.
    pub blind_spots: BlindSpots,
    /// How it ended.
    pub ended: Ended,
    /// Who ended it: sender of the first FIN, or of the RST that counted.
    pub ended_by: Option<Side>,
}

/// FIN and RST segments kept per flow; later ones change no verdict.
pub const ENDINGS_MAX: usize = 12;
/// ICMP errors kept per flow.
pub const ICMP_MAX: usize = 4;

impl Flow {
    /// The half that `side` sends.
    pub fn half(&self, side: Side) -> &Half {
        &self.halves[side as usize]
    }

    /// The half that `side` sends.
    pub fn half_mut(&mut self, side: Side) -> &mut Half {
        &mut self.halves[side as usize]
    }

    /// Bytes of `side` that were repeated more than once and never acknowledged.
    pub fn lost(&self, side: Side) -> Option<Retransmission> {
        let half = self.half(side);
        half.retransmission.filter(|last| last.times >= 2 && last.offset >= half.acked)
    }

    /// Address of `side`.
    pub fn endpoint(&self, side: Side) -> Endpoint {
        match side {
            Side::Client => self.client,
            Side::Server => self.server,
        }
    }
}

/// The three-way handshake as captured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Opening {
    /// First SYN.
    pub syn: Option<Mark>,
    /// Last SYN (retransmission).
    pub last_syn: Option<Mark>,
    /// Number of SYN segments.
    pub syns: u16,
    /// First SYN-ACK.
    pub syn_ack: Option<Mark>,
    /// Last SYN-ACK.
    pub last_syn_ack: Option<Mark>,
    /// Number of SYN-ACK segments.
    pub syn_acks: u16,
    /// First segment by which the client acknowledged the SYN-ACK.
    pub ack: Option<Mark>,
    /// A bare ACK of the server that answers SYN without acknowledging it (RFC 5961 challenge ACK
    /// of an older connection on the same addresses and ports).
    pub challenge_ack: Option<Mark>,
}

impl Half {
    /// Segments captured, copies of the same packet not counted.
    pub fn distinct(&self) -> u64 {
        self.packets - u64::from(self.duplicates)
    }
}

impl Grade {
    /// Whether the receiver's TCP obeys such a RST.
    pub fn counts(self) -> bool {
        matches!(self, Grade::Exact | Grade::Closed | Grade::Unknown)
    }
}

/// One direction of a flow, named after its sender.
#[derive(Clone, Copy, Debug, Default)]
pub struct Half {
    /// Segments captured.
    pub packets: u64,
    /// TCP payload bytes as sent, retransmissions included.
    pub payload_bytes: u64,
    /// First segment.
    pub first: Option<Mark>,
    /// Last segment.
    pub last: Option<Mark>,
    /// First segment with payload.
    pub first_data: Option<Mark>,
    /// Last segment with payload that was not a retransmission.
    pub last_data: Option<Mark>,
    /// Offset behind the highest payload byte seen.
    pub sent: u64,
    /// Highest offset that the peer acknowledged.
    pub acked: u64,
    /// The acknowledgment that raised [`Half::acked`] last.
    pub acked_at: Option<Mark>,
    /// Segments that repeat bytes.
    pub retransmissions: u32,
    /// Last retransmission.
    pub retransmission: Option<Retransmission>,
    /// Largest payload of one segment, bytes.
    pub largest: u32,
    /// Largest payload of one segment that the peer acknowledged, bytes.
    pub largest_acked: u32,
    /// Segments by which this side advertised a zero window.
    pub zero_windows: u32,
    /// First zero-window segment of the current run; `None` while the window is open.
    pub zero_window_since: Option<Mark>,
    /// Bytes known to exist and not captured.
    pub missing: u64,
    /// Bytes that came behind a hole which was never filled.
    pub stranded: u64,
    /// Copies of the same packet in the capture.
    pub duplicates: u32,
    /// Time to live of the last segment that was no RST.
    pub ttl: u8,
}

/// A segment that repeats bytes.
#[derive(Clone, Copy, Debug)]
pub struct Retransmission {
    /// The latest repetition.
    pub mark: Mark,
    /// Offset of its first byte.
    pub offset: u64,
    /// Its payload length.
    pub len: u32,
    /// How often these bytes were repeated in a row.
    pub times: u16,
}

/// Round-trip time as seen in the capture, nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rtt {
    /// SYN to SYN-ACK plus SYN-ACK to ACK: the whole path wherever the capture was taken.
    pub handshake: Option<i64>,
    /// SYN to SYN-ACK: from the capture point to the server and back.
    pub server_side: Option<i64>,
    /// SYN-ACK to ACK: from the capture point to the client and back.
    pub client_side: Option<i64>,
    /// Smoothed round-trip time between the capture point and the server from data and its
    /// acknowledgments (RFC 6298, 2).
    pub smoothed: Option<i64>,
    /// Its mean deviation.
    pub variation: Option<i64>,
}

/// Where the capture was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Vantage {
    /// Not known.
    #[default]
    Unknown,
    /// At the side that opened the connection (load balancer).
    Client,
    /// At the side that accepted (target).
    Server,
    /// In between, or both at once (loopback).
    Between,
}

impl Vantage {
    /// Stable id.
    pub fn id(self) -> &'static str {
        match self {
            Vantage::Unknown => "unknown",
            Vantage::Client => "client",
            Vantage::Server => "server",
            Vantage::Between => "between",
        }
    }
}

/// How a flow ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ended {
    /// The capture ended first.
    #[default]
    CaptureEnd,
    /// FIN of at least one side.
    Fin,
    /// A RST that counted.
    Rst,
    /// Nothing more came.
    Timeout,
}

/// A FIN or a RST.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    /// Its frame.
    pub mark: Mark,
    /// Who sent it.
    pub side: Side,
    /// Which.
    pub kind: EndingKind,
    /// The ACK flag is set. A RST without it comes from a host that has no such connection.
    pub ack_flag: bool,
    /// Offset in its sender's stream behind its payload: where that stream ends.
    pub offset: Option<u64>,
    /// How much of the peer's stream its sender had received; `None` without an ACK flag.
    pub acked: Option<u64>,
    /// How credible it is.
    pub grade: Grade,
    /// Payload bytes.
    pub payload: u32,
    /// Time to live.
    pub ttl: u8,
    /// IPv4 identification.
    pub ip_id: Option<u16>,
    /// Window field.
    pub window: u16,
}

/// Which segment ends a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndingKind {
    /// FIN.
    Fin,
    /// RST.
    Rst,
}

/// How credible a RST is (RFC 9293, 3.5.3; RFC 5961, 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// Its sequence number is the next one of its sender: every stack obeys it.
    Exact,
    /// It answers a segment for which there is no connection: no ACK flag, and its sequence number
    /// is that segment's acknowledgment number.
    Closed,
    /// Inside the receiver's window but not exact: RFC 5961 stacks send a challenge ACK instead.
    InWindow,
    /// Outside the window: ignored by its receiver.
    Outside,
    /// Its sender went on with new data: somebody else sent it, or it was not meant.
    Contradicted,
    /// The sequence space of its sender is not known.
    Unknown,
}
