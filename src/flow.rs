//! A TCP flow as verdicts and reports see it: facts only, no behaviour of TCP.

mod rest;

use crate::blind::{BlindSpot, BlindSpots};
use crate::capture::Direction;
use crate::http::Protocol;
use crate::packet::{Endpoint, IcmpError, TunnelId};
use crate::tcp::{History, Side};
use crate::time::{Mark, Timestamp};
use crate::tls::{Alert, Handshake};
use std::sync::Arc;
use thin_vec::ThinVec;

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
    pub endings: ThinVec<Ending>,
    /// ICMP errors that quote this flow, at most [`ICMP_MAX`].
    pub icmp: ThinVec<IcmpError>,
    /// Zeek's connection history: upper case for the client, lower case for the server.
    pub history: History,
    /// Round-trip time from data and its acknowledgments.
    pub rtt: Option<Rtt>,
    /// Where the capture was taken relative to this flow.
    pub vantage: Vantage,
    /// Requests seen.
    pub requests: u32,
    /// Final responses seen.
    pub responses: u32,
    /// What it carries.
    pub protocol: Protocol,
    /// HTTP/1 answered the preface of HTTP/2.
    pub http1_answer: bool,
    /// It began with a PROXY protocol header
    /// (<https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt>).
    pub proxied: bool,
    /// Its TLS, when it carries that; known when it is over.
    pub tls: Option<Arc<Handshake>>,
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

    /// A packet of `side` left the host that captured, or reached it. Where packets of one side do both,
    /// they only passed that host, or both sides are on it.
    pub fn passed(&mut self, side: Side, direction: Direction) {
        let here = match (side, direction) {
            (_, Direction::Unknown) => return,
            (Side::Client, Direction::Outbound) | (Side::Server, Direction::Inbound) => {
                Vantage::Client
            }
            (Side::Client, Direction::Inbound) | (Side::Server, Direction::Outbound) => {
                Vantage::Server
            }
        };
        let known = self.vantage == Vantage::Unknown || self.vantage == here;
        self.vantage = if known { here } else { Vantage::Between };
    }

    /// Whether a SYN that goes this way is one that had reached the host that captured before, and leaves it again:
    /// that host is between. (What both sides on one host send each other leaves before it comes.)
    pub fn is_passed_on(&self, direction: Direction) -> bool {
        self.vantage == Vantage::Server && direction == Direction::Outbound
    }

    /// Bytes of `side` that were repeated more than once and never acknowledged.
    pub fn lost(&self, side: Side) -> Option<Retransmission> {
        let half = self.half(side);
        let last = half.trouble().retransmission;
        last.filter(|last| last.times >= 2 && last.offset >= half.acked)
    }

    /// Where a close began: with the TLS alert that announced it, if there was one. Its receiver
    /// closes at once, often before the FIN behind the alert has come.
    pub fn announced(&self, close: &Ending) -> Mark {
        let Some(tls) = &self.tls else { return close.mark };
        let ends = |alert: &&Alert| {
            alert.side == close.side
                && (alert.said.is_none() || alert.is_close() || alert.is_fatal())
        };
        let alert = tls.alerts.iter().find(ends).map(|alert| alert.mark);
        alert.filter(|alert| alert.at < close.mark.at).unwrap_or(close.mark)
    }

    /// The first FIN or RST; in TLS that of the side whose alert came first.
    pub fn closed_first(&self) -> Option<&Ending> {
        let first = |side| self.endings.iter().find(|ending| ending.side == side);
        let (client, server) = (first(Side::Client), first(Side::Server));
        let began = |ending| {
            let mark = self.announced(ending);
            (mark.at, mark.frame)
        };
        match client.zip(server) {
            Some((client, server)) => {
                Some(if began(server) < began(client) { server } else { client })
            }
            None => client.or(server),
        }
    }

    /// It carries data of which the snap length left too little to tell what it is.
    pub fn hides_what_it_carries(&self) -> bool {
        self.protocol == Protocol::Unknown && self.blind_spots.has(BlindSpot::Snaplen)
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
#[derive(Clone, Debug, Default)]
pub struct Opening {
    /// First SYN.
    pub syn: Option<Mark>,
    /// First SYN-ACK.
    pub syn_ack: Option<Mark>,
    /// First segment by which the client acknowledged the SYN-ACK.
    pub ack: Option<Mark>,
    /// First segment of the client with payload.
    pub asked: Option<Mark>,
    /// First segment of the server with payload.
    pub answered: Option<Mark>,
    /// Number of SYN segments.
    pub syns: u16,
    /// Number of SYN-ACK segments.
    pub syn_acks: u16,
    /// Its three segments came once each, in order, so that the times between them are round trips
    /// (Karn's rule, RFC 6298, 3).
    pub timed: bool,
    /// What few handshakes have.
    odd: Option<Box<OddOpening>>,
}

/// What few handshakes have.
#[derive(Clone, Copy, Debug, Default)]
pub struct OddOpening {
    /// Last SYN, when it was repeated.
    pub last_syn: Option<Mark>,
    /// Last SYN-ACK, when it was repeated.
    pub last_syn_ack: Option<Mark>,
    /// A bare ACK of the server that answers SYN without acknowledging it (RFC 5961 challenge ACK
    /// of an older connection on the same addresses and ports).
    pub challenge_ack: Option<Mark>,
}

impl Opening {
    /// What few handshakes have.
    pub fn odd(&self) -> OddOpening {
        self.odd.as_deref().copied().unwrap_or_default()
    }

    /// What few handshakes have, to add to.
    pub fn odd_mut(&mut self) -> &mut OddOpening {
        self.odd.get_or_insert_default()
    }

    /// Last SYN.
    pub fn last_syn(&self) -> Option<Mark> {
        self.odd().last_syn.or(self.syn)
    }

    /// Last SYN-ACK.
    pub fn last_syn_ack(&self) -> Option<Mark> {
        self.odd().last_syn_ack.or(self.syn_ack)
    }

    /// SYN to ACK: the round-trip time of the whole path wherever the capture was taken,
    /// nanoseconds.
    pub fn round_trip(&self) -> Option<i64> {
        self.timed_between(self.syn, self.ack)
    }

    /// SYN to SYN-ACK: from the capture point to the server and back, nanoseconds.
    pub fn server_side(&self) -> Option<i64> {
        self.timed_between(self.syn, self.syn_ack)
    }

    /// SYN-ACK to ACK: from the capture point to the client and back, nanoseconds.
    pub fn client_side(&self) -> Option<i64> {
        self.timed_between(self.syn_ack, self.ack)
    }

    fn timed_between(&self, from: Option<Mark>, to: Option<Mark>) -> Option<i64> {
        let (from, to) = from.zip(to).filter(|_| self.timed)?;
        Some(to.at.nanos_since(from.at))
    }
}

impl Half {
    /// Segments captured, copies of the same packet not counted.
    pub fn distinct(&self) -> u64 {
        self.packets - u64::from(self.trouble().duplicates)
    }

    /// What disturbed it.
    pub fn trouble(&self) -> &Trouble {
        static NONE: Trouble = Trouble::NONE;
        self.trouble.as_deref().unwrap_or(&NONE)
    }

    /// What it had sent, as an acknowledgment of its own tells, and what neither came nor was acknowledged: the
    /// acknowledgment, and how many sequence numbers.
    pub fn never_came(&self) -> Option<(Mark, u64)> {
        let (mark, offset) = self.trouble().ahead?;
        let missing = offset.checked_sub(self.sent.max(self.acked)).filter(|missing| *missing > 0);
        missing.map(|missing| (mark, missing))
    }

    /// What disturbed it, to add to.
    pub fn trouble_mut(&mut self) -> &mut Trouble {
        self.trouble.get_or_insert_default()
    }
}

impl Grade {
    /// Whether the receiver's TCP obeys such a RST.
    pub fn counts(self) -> bool {
        matches!(self, Grade::Exact | Grade::Closed | Grade::Unknown)
    }
}

/// One direction of a flow, named after its sender.
#[derive(Clone, Debug, Default)]
pub struct Half {
    /// Segments captured.
    pub packets: u64,
    /// TCP payload bytes as sent, retransmissions included.
    pub payload_bytes: u64,
    /// Time of the last segment.
    pub last: Option<Timestamp>,
    /// Last segment with payload that was not a retransmission.
    pub last_data: Option<Mark>,
    /// Offset behind the highest payload byte seen.
    pub sent: u64,
    /// Highest offset that the peer acknowledged.
    pub acked: u64,
    /// Largest payload of one segment, bytes.
    pub largest: u32,
    /// Largest payload of one segment that the peer acknowledged, bytes.
    pub largest_acked: u32,
    /// Time to live of the last segment that was no RST.
    pub ttl: u8,
    /// Its segments carry TCP timestamps (RFC 7323, 3).
    pub stamped: bool,
    trouble: Option<Box<Trouble>>,
}

/// What an undisturbed half does not have.
#[derive(Clone, Debug, Default)]
pub struct Trouble {
    /// Segments that repeat bytes.
    pub retransmissions: u32,
    /// Last retransmission.
    pub retransmission: Option<Retransmission>,
    /// How often its FIN was repeated.
    pub fins_repeated: u16,
    /// The acknowledgment without payload whose sequence number is the furthest beyond what had come, and its
    /// offset: so much its sender had sent by then (RFC 9293, 3.4). Bytes that came since are no more beyond it.
    pub ahead: Option<(Mark, u64)>,
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
}

impl Trouble {
    const NONE: Trouble = Trouble {
        retransmissions: 0,
        retransmission: None,
        fins_repeated: 0,
        ahead: None,
        zero_windows: 0,
        zero_window_since: None,
        missing: 0,
        stranded: 0,
        duplicates: 0,
    };
}

/// A segment that repeats bytes.
#[derive(Clone, Copy, Debug, Default)]
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

/// Round-trip time between the capture point and the server from data and its acknowledgments,
/// nanoseconds (RFC 6298, 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rtt {
    /// Smoothed.
    pub smoothed: i64,
    /// Mean deviation.
    pub variation: i64,
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
    /// The same place when client and server are taken for each other.
    pub(crate) fn of_swapped_roles(self) -> Vantage {
        match self {
            Vantage::Client => Vantage::Server,
            Vantage::Server => Vantage::Client,
            other => other,
        }
    }

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
    /// Bytes of its sender's stream before it, from the first that had not been captured when it came.
    pub missing: u64,
    /// How credible it is.
    pub grade: Grade,
    /// First packet by which the one in whose name a RST came went on behind it, see
    /// [`Connection::on_segment`](crate::tcp::Connection::on_segment). A TCP that has sent RST has forgotten
    /// its connection (RFC 9293, 3.10.7): somebody else sent this one.
    pub belied: Option<Mark>,
    /// It lacks the TCP timestamp that its sender's segments of this connection carry.
    pub unstamped: bool,
    /// Payload bytes.
    pub payload: u32,
    /// Time to live.
    pub ttl: u8,
    /// IPv4 identification.
    pub ip_id: Option<u16>,
    /// Window field.
    pub window: u16,
}

#[cfg(test)]
impl Ending {
    /// One that nothing is odd about, for tests.
    pub(crate) fn example(mark: Mark, side: Side, kind: EndingKind) -> Ending {
        Ending {
            mark,
            side,
            kind,
            ack_flag: true,
            offset: None,
            acked: None,
            missing: 0,
            grade: Grade::Exact,
            belied: None,
            unstamped: false,
            payload: 0,
            ttl: 64,
            ip_id: None,
            window: 0,
        }
    }
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
    /// Its sender went on with new data, and its receiver did not obey: somebody else sent it, or it was not
    /// meant.
    Contradicted,
    /// The sequence space of its sender is not known.
    Unknown,
}
