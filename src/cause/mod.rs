//! Root causes: one file per cause with its text and its rule, and what they are judged on.
//!
//! Knows finished facts only (a [`Flow`](crate::flow::Flow) and an [`Exchange`]); never packets, never formatting.

mod author;
mod case;
mod handshake;
mod handshake_alert;
mod handshake_words;
mod judge;
mod wider;

#[cfg(test)]
mod fixture;

mod client_abort;
mod client_request_timeout;
mod connect_refused;
mod connect_timeout;
mod connect_timeout_host;
mod connect_timeout_path;
mod connect_unreachable;
mod inconclusive;
mod injected_reset;
mod keepalive_race;
mod l4_lb_reset;
mod lambda_target;
mod lb_cut;
mod lb_no_target;
mod lb_overload;
mod lb_policy;
mod local_port_exhaustion;
mod mtu_blackhole;
mod protocol_mismatch;
mod request_unacked;
mod response_body_truncated;
mod response_header_too_large;
mod response_header_truncated;
mod response_malformed;
mod response_stalled;
mod response_timeout;
mod return_path_blocked;
mod stale_flow_reset;
mod target_closed_during_request;
mod target_fin_no_response;
mod target_not_reading;
mod target_own_5xx;
mod target_rst_no_response;
mod tls_handshake_failed;
mod tls_handshake_timeout;
mod tuple_collision;
mod unsolicited_response;

pub(crate) use author::{CLOSED, gateway, own_page};
pub use author::{OwnPage, Tells};
pub(crate) use case::span;
pub use case::{Case, Coverage};
pub(crate) use connect_unreachable::refusal;
pub use handshake::{Attempt, Failure, in_time};
pub use judge::{judge, needs_wider, undecided};
pub(crate) use protocol_mismatch::wants_tls;
pub use wider::Wider;

use crate::blind::BlindSpots;
use crate::flow::Vantage;
use crate::http::Exchange;
use crate::join::Joined;
use crate::packet::Endpoint;
use crate::tcp::Side;
use crate::time::Mark;
use crate::words::Phrase;

/// A root cause: its text for people and its rule. Plain data; the list is [`ALL`].
#[derive(Debug)]
pub struct Cause {
    /// Stable kebab-case id, equal to its file's name. Never reused.
    pub id: &'static str,
    /// What happened, one line, no full stop.
    pub summary: &'static str,
    /// What happens on the wire and why, for someone who meets it for the first time.
    pub explanation: &'static str,
    /// What a client of the load balancer, or its log, shows: (product, words).
    pub seen_as: &'static [(&'static str, &'static str)],
    /// Who has to act.
    pub responsible: Responsible,
    /// Status that an AWS Application Load Balancer typically answers with.
    pub typical_status: Option<u16>,
    /// How to make sure, one step each.
    pub confirm: &'static [&'static str],
    /// What to change, most effective first; the first is the finding's `fix`.
    pub fix: &'static [&'static str],
    /// Wireshark display filters that lead to it, and what each shows. They fit Wireshark 4.0.
    pub wireshark: &'static [(&'static str, &'static str)],
    /// RFC sections and vendor pages.
    pub references: &'static [&'static str],
    /// The rule.
    pub detect: fn(&Case<'_>) -> Option<Verdict>,
}

/// A rule's answer.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// How sure, before blind spots are weighed.
    pub confidence: Confidence,
    /// The frames that prove it; never empty, the first is the guilty one.
    pub evidence: Vec<Evidence>,
    /// One sentence with the figures of this case.
    pub summary: Phrase,
    /// When this case points at somebody else than the cause usually does.
    pub responsible: Option<Responsible>,
}

/// How sure a finding is. Below `Possible` the cause is `inconclusive`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// The packets allow it; others fit as well.
    Possible,
    /// It fits best; another truth would need a coincidence.
    Likely,
    /// The packets show it and no blind spot could hide another truth.
    Certain,
}

impl Confidence {
    /// Stable id.
    pub fn id(self) -> &'static str {
        match self {
            Confidence::Possible => "possible",
            Confidence::Likely => "likely",
            Confidence::Certain => "certain",
        }
    }
}

/// Who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Responsible {
    /// The program that serves requests on the target.
    TargetApp,
    /// The target's operating system, firewall or host.
    TargetHost,
    /// Something between the two.
    Network,
    /// The load balancer or proxy.
    LoadBalancer,
    /// The client of the load balancer.
    Client,
    /// Settings of either side that do not fit.
    Configuration,
    /// The packets do not say.
    Unknown,
}

impl Responsible {
    /// Stable id.
    pub fn id(self) -> &'static str {
        match self {
            Responsible::TargetApp => "target-app",
            Responsible::TargetHost => "target-host",
            Responsible::Network => "network",
            Responsible::LoadBalancer => "load-balancer",
            Responsible::Client => "client",
            Responsible::Configuration => "configuration",
            Responsible::Unknown => "unknown",
        }
    }
}

/// A frame that proves something.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The frame; for [`What::Silence`] the last packet before it.
    pub mark: Mark,
    /// Who sent it, or who kept silent.
    pub side: Side,
    /// What it is.
    pub what: What,
    /// What it proves.
    pub note: Phrase,
}

/// How a packet that proves something looked, as far as its flow remembers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketFacts {
    /// Whether a FIN or RST had the ACK flag.
    pub ack: Option<bool>,
    /// Payload bytes.
    pub payload: Option<u32>,
}

/// What a piece of evidence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum What {
    Syn,
    SynAck,
    Rst,
    Fin,
    Ack,
    Request,
    Response,
    Retransmission,
    ZeroWindow,
    Icmp,
    TlsAlert,
    TlsHello,
    Silence,
    /// A line of a log about this packet.
    LogLine,
}

impl What {
    /// Stable id.
    pub fn id(self) -> &'static str {
        match self {
            What::Syn => "syn",
            What::SynAck => "syn-ack",
            What::Rst => "rst",
            What::Fin => "fin",
            What::Ack => "ack",
            What::Request => "request",
            What::Response => "response",
            What::Retransmission => "retransmission",
            What::ZeroWindow => "zero-window",
            What::Icmp => "icmp",
            What::TlsAlert => "tls-alert",
            What::TlsHello => "tls-hello",
            What::Silence => "silence",
            What::LogLine => "log-line",
        }
    }
}

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An HTTP exchange.
    Request,
    /// A connection, before any request.
    Connection,
    /// A health check.
    HealthCheck,
    /// One attempt of a proxy that asked again: the request of its client went on.
    Attempt,
}

impl Kind {
    /// Stable id.
    pub fn id(self) -> &'static str {
        match self {
            Kind::Request => "request",
            Kind::Connection => "connection",
            Kind::HealthCheck => "health-check",
            Kind::Attempt => "attempt",
        }
    }
}

/// One failure with its verdict.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The root cause.
    pub cause: &'static Cause,
    /// What failed.
    pub kind: Kind,
    /// [`Flow::id`](crate::flow::Flow::id).
    pub flow: u64,
    /// Wireshark's `tcp.stream` in the file of the guilty frame.
    pub stream: Option<u32>,
    /// Side that opened the connection.
    pub client: Endpoint,
    /// Side that accepted it.
    pub server: Endpoint,
    /// Who has to act.
    pub responsible: Responsible,
    /// How sure.
    pub confidence: Confidence,
    /// Where the capture was taken.
    pub vantage: Vantage,
    /// The exchange, when one failed.
    pub exchange: Option<Box<Exchange>>,
    /// The frames that prove it; the first is the guilty one.
    pub evidence: Vec<Evidence>,
    /// How those frames looked, one for each; none where nothing is known.
    pub packets: Vec<PacketFacts>,
    /// Nanoseconds from the request's first byte to the guilty frame.
    pub outstanding: Option<i64>,
    /// Nanoseconds that the connection had been idle before the request.
    pub idle_before: Option<i64>,
    /// What could hide another truth.
    pub blind_spots: BlindSpots,
    /// One sentence with the figures of this case.
    pub summary: Phrase,
    /// What the host says of it on which it was captured; it stands beside the verdict, which it never
    /// changes.
    pub host: Option<String>,
    /// What it meant for the client of a proxy, where the capture shows both legs.
    pub joined: Option<Box<Joined>>,
}

/// Every cause. The order decides: the first whose rule fits is the finding's cause.
pub const ALL: &[&Cause] = &[
    &target_own_5xx::CAUSE,
    &unsolicited_response::CAUSE,
    &protocol_mismatch::CAUSE,
    &tls_handshake_failed::CAUSE,
    &response_header_too_large::CAUSE,
    &response_malformed::CAUSE,
    &keepalive_race::CAUSE,
    &l4_lb_reset::CAUSE,
    &stale_flow_reset::CAUSE,
    &injected_reset::CAUSE,
    &target_not_reading::CAUSE,
    &target_closed_during_request::CAUSE,
    &response_header_truncated::CAUSE,
    &response_body_truncated::CAUSE,
    &target_fin_no_response::CAUSE,
    &target_rst_no_response::CAUSE,
    &mtu_blackhole::CAUSE,
    &return_path_blocked::CAUSE,
    &request_unacked::CAUSE,
    &tls_handshake_timeout::CAUSE,
    &lb_cut::CAUSE,
    &response_stalled::CAUSE,
    &response_timeout::CAUSE,
    &client_abort::CAUSE,
    &tuple_collision::CAUSE,
    &connect_refused::CAUSE,
    &connect_unreachable::CAUSE,
    &connect_timeout_path::CAUSE,
    &connect_timeout_host::CAUSE,
    &connect_timeout::CAUSE,
    // Only both legs of a proxy, logs or counters of the host show these.
    &lb_no_target::CAUSE,
    &lb_overload::CAUSE,
    &lb_policy::CAUSE,
    &client_request_timeout::CAUSE,
    &lambda_target::CAUSE,
    &local_port_exhaustion::CAUSE,
    &inconclusive::CAUSE,
];

/// The cause with this id.
pub fn by_id(id: &str) -> Option<&'static Cause> {
    ALL.iter().copied().find(|cause| cause.id == id)
}
