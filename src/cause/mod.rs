//! Root causes: one file per cause with its text and its rule, and what they are judged on.
//!
//! Knows finished facts only (a [`Flow`] and an [`Exchange`]); never packets, never formatting.

use crate::blind::BlindSpots;
use crate::flow::{Flow, Vantage};
use crate::http::Exchange;
use crate::packet::Endpoint;
use crate::tcp::Side;
use crate::time::Mark;

/// A root cause: its text for people and its rule. Plain data; the list is `ALL`.
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
    /// RFC sections and vendor pages.
    pub references: &'static [&'static str],
    /// The rule.
    pub detect: fn(&Case<'_>) -> Option<Verdict>,
}

/// What a rule is asked about: one exchange of a flow, or the flow itself when it failed before
/// any request.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The flow.
    pub flow: &'a Flow,
    /// The exchange that failed; `None` when the connection failed before a request.
    pub exchange: Option<&'a Exchange>,
}

/// A rule's answer.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// How sure, before blind spots are weighed.
    pub confidence: Confidence,
    /// The frames that prove it; never empty, the first is the guilty one.
    pub evidence: Vec<Evidence>,
    /// One sentence with the figures of this case.
    pub summary: String,
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
    pub note: String,
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
}

impl Kind {
    /// Stable id.
    pub fn id(self) -> &'static str {
        match self {
            Kind::Request => "request",
            Kind::Connection => "connection",
            Kind::HealthCheck => "health-check",
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
    /// [`Flow::id`].
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
    /// Nanoseconds from the request's first byte to the guilty frame.
    pub outstanding: Option<i64>,
    /// Nanoseconds that the connection had been idle before the request.
    pub idle_before: Option<i64>,
    /// What could hide another truth.
    pub blind_spots: BlindSpots,
    /// One sentence with the figures of this case.
    pub summary: String,
}
