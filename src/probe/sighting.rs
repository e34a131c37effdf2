//! One candidate check, as everything that deals with checks sees it.
//!
//! A candidate is what may have been a health check: a whole connection, or one exchange of a
//! connection that carries several. It holds facts only. Whether it is a check, and whose, is said
//! by a [`Recognised`](super::Recognised); what the check found out is for others to say.

use super::facts::{ProxyHeader, RequestFacts, ResponseFacts};
use crate::blind::{BlindSpot, BlindSpots};
use crate::flow::{Ending, EndingKind, Flow, Rtt, Vantage};
use crate::http::{Protocol, State};
use crate::packet::{Endpoint, IcmpError, TunnelId};
use crate::tcp::Side;
use crate::time::{Mark, Timestamp};
use crate::tls::Handshake;
use serde::Deserialize;
use std::sync::Arc;

/// One candidate check.
///
/// Sightings are given out when nothing can change them any more, so not in the order of time: a
/// check without an answer comes long after a later one that was answered. Sort by
/// [`Sighting::began`] where order matters.
#[derive(Clone, Debug, Default)]
pub struct Sighting {
    /// [`Flow::id`] of its connection.
    pub flow: u64,
    /// Wireshark's stream number of its connection.
    pub stream: Option<u32>,
    /// Who checks: the side that opened the connection.
    pub source: Endpoint,
    /// Who is checked.
    pub target: Endpoint,
    /// Encapsulation.
    pub tunnel: TunnelId,
    /// How much of its connection it is.
    pub scope: Scope,
    /// Position of the request on its connection, from 1; 0 without a request.
    pub ordinal: u32,
    /// When its parts were seen.
    pub marks: Marks,
    /// What its connection looks like at the level of TCP.
    pub shape: Shape,
    /// First FIN or RST of the prober and of the target: `[client, server]`. For
    /// [`Scope::Exchange`] only if it came before the next request, so at most on the last one.
    /// An answer to SYN by RST is one of the server.
    pub endings: [Option<Ending>; 2],
    /// Who closed first, see [`Sighting::endings`].
    pub closed_by: Option<Side>,
    /// What came after the prober's FIN was answered with RST without ACK flag: no socket was left to read
    /// it (RFC 9293, 3.10.7.1), where one that is closed for sending only would have taken it.
    pub gone: bool,
    /// First ICMP error about its connection.
    pub icmp: Option<IcmpError>,
    /// What its connection carries.
    pub protocol: Protocol,
    /// First payload bytes of the prober when they are no HTTP/1 request, a PROXY header not
    /// included: at most [`OPENING_KEPT`].
    pub opening: Box<[u8]>,
    /// First payload bytes of the target when the prober sent no HTTP/1 request: at most
    /// [`ANSWER_KEPT`].
    pub answer: Box<[u8]>,
    /// Payload bytes of the connection so far, each counted once: `[client, server]`.
    pub payload: [u64; 2],
    /// The TLS of its connection.
    pub tls: Option<Arc<Handshake>>,
    /// The PROXY protocol header before everything else.
    pub proxy: Option<ProxyHeader>,
    /// The request. Shared between checks whose heads are the same bytes.
    pub request: Option<Arc<RequestFacts>>,
    /// Bytes of the request, head and body (nginx `$request_length`).
    pub request_len: u64,
    /// The request is complete.
    pub request_complete: bool,
    /// The response, or as much of it as came.
    pub response: Option<Box<ResponseFacts>>,
    /// How the exchange stands; [`State::Outstanding`] without one.
    pub state: State,
    /// Round-trip time of its connection.
    pub rtt: Option<Rtt>,
    /// Round-trip time of the handshake, nanoseconds.
    pub round_trip: Option<i64>,
    /// Where the capture was taken relative to its connection.
    pub vantage: Vantage,
    /// What could hide another truth: of the connection and of the exchange.
    pub blind_spots: BlindSpots,
}

/// First payload bytes of the prober that are kept: the longest signature of a known prober.
pub const OPENING_KEPT: usize = 256;
/// First payload bytes of the target that are kept: a TLS alert, the start of a banner.
pub const ANSWER_KEPT: usize = 64;

/// How much of a connection a candidate is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scope {
    /// A connection of its own, with one exchange or none.
    #[default]
    Connection,
    /// One of several exchanges of a connection.
    Exchange,
}

/// When the parts of a candidate were seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marks {
    /// First packet: of the connection, or of the request for [`Scope::Exchange`].
    pub first: Mark,
    /// Last packet of the connection when the candidate was given out.
    pub last: Mark,
    /// First SYN; as all of the handshake, also for [`Scope::Exchange`].
    pub syn: Option<Mark>,
    /// Last SYN.
    pub last_syn: Option<Mark>,
    /// SYN segments.
    pub syns: u16,
    /// First SYN-ACK.
    pub syn_ack: Option<Mark>,
    /// First acknowledgment of the SYN-ACK.
    pub ack: Option<Mark>,
    /// First byte of the request, or of the payload where that is no HTTP/1.
    pub request_first: Option<Mark>,
    /// Last byte of the request.
    pub request_last: Option<Mark>,
    /// First byte of the response, or of the target's payload where that is no HTTP/1.
    pub response_first: Option<Mark>,
    /// Last byte of the response.
    pub response_last: Option<Mark>,
}

/// What a connection looks like at the level of TCP. Letters as in the rules of fingerprints:
/// what the client (C) and the server (S) sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// The capture does not show the handshake, or shows one direction only.
    #[default]
    Unseen,
    /// C:SYN S:RST.
    Refused,
    /// C:SYN, and nothing that answers it, ICMP errors excepted.
    Unanswered,
    /// C:SYN S:SYN-ACK C:RST-ACK without an acknowledgment between: the server's process never
    /// gets to see the connection.
    HandshakeReset,
    /// C:SYN S:SYN-ACK C:RST without ACK flag: no socket of the client's stack opened it.
    HalfOpen,
    /// C:SYN S:SYN-ACK and nothing more of the client.
    Abandoned,
    /// Handshake, no payload of the client, C:FIN first.
    ConnectFin,
    /// Handshake, no payload of the client, C:RST first.
    ConnectReset,
    /// Handshake, no payload of the client, nobody closes while the capture lasts.
    ConnectOpen,
    /// Handshake, no payload of the client, S:FIN or S:RST first.
    ServerClosed,
    /// Payload of the client.
    Data,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Shape; 11] = [
        Shape::Unseen,
        Shape::Refused,
        Shape::Unanswered,
        Shape::HandshakeReset,
        Shape::HalfOpen,
        Shape::Abandoned,
        Shape::ConnectFin,
        Shape::ConnectReset,
        Shape::ConnectOpen,
        Shape::ServerClosed,
        Shape::Data,
    ];

    /// Stable id, as files of probers spell it.
    pub fn id(self) -> &'static str {
        match self {
            Shape::Unseen => "unseen",
            Shape::Refused => "refused",
            Shape::Unanswered => "unanswered",
            Shape::HandshakeReset => "handshake-reset",
            Shape::HalfOpen => "half-open",
            Shape::Abandoned => "abandoned",
            Shape::ConnectFin => "connect-fin",
            Shape::ConnectReset => "connect-reset",
            Shape::ConnectOpen => "connect-open",
            Shape::ServerClosed => "server-closed",
            Shape::Data => "data",
        }
    }

    /// Whether the target's stack accepted the connection: what a TCP check asks for.
    pub fn is_accepted(self) -> bool {
        !matches!(self, Shape::Unseen | Shape::Refused | Shape::Unanswered)
    }

    /// The shape of a finished flow.
    pub fn of(flow: &Flow) -> Shape {
        let client = flow.half(Side::Client);
        let opening = &flow.opening;
        if client.sent > 0 {
            return Shape::Data;
        }
        if opening.syn.is_none() {
            return Shape::Unseen;
        }
        let first = |side| flow.endings.iter().find(|ending| ending.side == side);
        let counted = flow.endings.iter().find(|ending| ending.grade.counts());
        if opening.syn_ack.is_none() {
            let refusal = flow.endings.iter().find(|ending| {
                ending.side == Side::Server
                    && ending.kind == EndingKind::Rst
                    && ending.grade.counts()
            });
            return match refusal {
                Some(_) => Shape::Refused,
                // What follows a SYN that nobody answered is another SYN: the answer was not captured.
                None if flow.blind_spots.has(BlindSpot::OneDirection) => {
                    match first(Side::Client) {
                        Some(Ending { kind: EndingKind::Rst, ack_flag: true, .. }) => {
                            Shape::HandshakeReset
                        }
                        Some(Ending { kind: EndingKind::Rst, .. }) => Shape::HalfOpen,
                        Some(_) => Shape::ConnectFin,
                        None => Shape::ConnectOpen,
                    }
                }
                None if flow.half(Side::Server).packets == 0 => Shape::Unanswered,
                None if opening.odd().challenge_ack.is_some() => Shape::Unanswered,
                None => Shape::Unseen,
            };
        }
        if opening.ack.is_none() {
            return match first(Side::Client) {
                Some(Ending { kind: EndingKind::Rst, ack_flag: true, .. }) => Shape::HandshakeReset,
                Some(Ending { kind: EndingKind::Rst, .. }) => Shape::HalfOpen,
                Some(_) => Shape::ConnectFin,
                None => Shape::Abandoned,
            };
        }
        match counted {
            None => Shape::ConnectOpen,
            Some(Ending { side: Side::Server, .. }) => Shape::ServerClosed,
            Some(Ending { kind: EndingKind::Fin, .. }) => Shape::ConnectFin,
            Some(Ending { kind: EndingKind::Rst, .. }) => Shape::ConnectReset,
        }
    }
}

impl Sighting {
    /// When the check began: its SYN, or its request on a connection that was open already.
    pub fn began(&self) -> Timestamp {
        match self.scope {
            Scope::Connection => self.marks.first.at,
            Scope::Exchange => self.marks.request_first.unwrap_or(self.marks.first).at,
        }
    }

    /// Whether it is made in TLS, from the ClientHello on.
    pub fn is_tls(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| !tls.midway)
    }

    /// Nanoseconds from the last byte of the request to the first byte of the response.
    pub fn latency(&self) -> Option<i64> {
        self.between(self.marks.request_last, self.marks.response_first)
    }

    /// Nanoseconds from the first byte of the request to the last byte of a complete response
    /// (nginx `$request_time` as far as packets show it).
    pub fn duration(&self) -> Option<i64> {
        let complete = self.response.as_ref().is_some_and(|response| response.complete);
        self.between(self.marks.request_first, self.marks.response_last).filter(|_| complete)
    }

    /// Nanoseconds from SYN to SYN-ACK; for a repeated SYN from its first copy.
    pub fn connect_time(&self) -> Option<i64> {
        self.between(self.marks.syn, self.marks.syn_ack)
    }

    /// Nanoseconds after which the prober gave up: from the start of the check to its FIN or RST,
    /// when that came before a complete response and before the target closed.
    pub fn given_up_after(&self) -> Option<i64> {
        let complete = self.response.as_ref().is_some_and(|response| response.complete);
        let end = self.ending(Side::Client).filter(|_| !complete)?;
        (self.closed_by == Some(Side::Client)).then(|| end.mark.at.nanos_since(self.began()))
    }

    /// First FIN or RST of `side`.
    pub fn ending(&self, side: Side) -> Option<&Ending> {
        self.endings[side as usize].as_ref()
    }

    /// The prober's close, where it left before any byte of an answer had reached it, which was then on its way: it
    /// acknowledges nothing, and no socket was left behind it to read on (a FIN may close the sending side only).
    pub fn crossed_by(&self) -> Option<&Ending> {
        let end = self.ending(Side::Client).filter(|end| end.acked == Some(0))?;
        (self.ordinal <= 1 && (self.gone || end.kind == EndingKind::Rst)).then_some(end)
    }

    /// Status of the response.
    pub fn status(&self) -> Option<u16> {
        self.response.as_ref().and_then(|response| response.status)
    }

    /// The frame that a report points at: the request, or else the first packet.
    pub fn frame(&self) -> Mark {
        self.marks.request_first.unwrap_or(self.marks.first)
    }

    fn between(&self, from: Option<Mark>, to: Option<Mark>) -> Option<i64> {
        from.zip(to).map(|(from, to)| to.at.nanos_since(from.at))
    }
}
