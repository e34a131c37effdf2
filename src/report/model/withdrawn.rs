//! A failure that was told early and is none.

use super::{Address, Time, Told};
use crate::cause::{Finding, Kind};
use crate::packet::Endpoint;
use crate::report::so_far;
use crate::time::Mark;
use schemars::JsonSchema;
use serde::Serialize;

/// Why a failure is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The connection came about, or was closed as usual.
    Connected,
    /// The request was answered, or what was missing came.
    Answered,
    /// What came since leaves it open, as at the end of the capture.
    Open,
    /// It was a health check, and is told as one.
    Check,
    /// It is told as that of the other connection of its proxy, or with the same packets in a tunnel.
    Elsewhere,
    /// It has another cause, which is not asked for.
    OtherCause,
}

impl Why {
    fn id(self) -> &'static str {
        match self {
            Why::Connected => "connected",
            Why::Answered => "answered",
            Why::Open => "open",
            Why::Check => "health-check",
            Why::Elsewhere => "told-elsewhere",
            Why::OtherCause => "other-cause",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Why::Connected => "the connection came about after all",
            Why::Answered => "the answer came after all",
            Why::Open => "what came since leaves open whether it failed",
            Why::Check => "it was a health check, which is told by itself",
            Why::Elsewhere => "it is told with the other connection that the same request took",
            Why::OtherCause => "its cause is another one, which is not asked for",
        }
    }
}

/// A failure that was told before its connection was over, and that is none.
#[derive(Clone, Debug)]
pub struct Withdrawn {
    /// [`Flow::id`](crate::flow::Flow::id).
    pub flow: u64,
    /// Position of the request on its connection, 0 for the connection itself.
    pub ordinal: u32,
    /// Wireshark's `tcp.stream`.
    pub stream: Option<u32>,
    /// Who opened the connection.
    pub client: Endpoint,
    /// Who accepted it.
    pub server: Endpoint,
    /// What was told last.
    pub told: Told,
    /// It was told as that of a health check.
    pub is_check: bool,
    /// The packet that was called guilty.
    pub guilty: Mark,
    /// Method and target of the request.
    pub asked: String,
    /// Why it is none.
    pub why: Why,
}

impl Withdrawn {
    /// As it would be withdrawn.
    pub fn of(finding: &Finding) -> Withdrawn {
        let ordinal = finding.exchange.as_ref().map_or(0, |exchange| exchange.ordinal);
        Withdrawn {
            flow: finding.flow,
            ordinal,
            stream: finding.stream,
            client: finding.client,
            server: finding.server,
            told: Told::of(finding),
            is_check: finding.kind == Kind::HealthCheck,
            guilty: finding.evidence.first().map(|guilty| guilty.mark).unwrap_or_default(),
            asked: finding.exchange.as_deref().map(so_far::asked).unwrap_or_default(),
            why: Why::Open,
        }
    }

    /// Why it is none, in words.
    pub fn reason(&self) -> &'static str {
        self.why.text()
    }
}

/// A failure that `why502 live` told early and that is none, as later packets show; only live. It stands for the last
/// `finding` record of the same `flow` and request, which is void.
#[derive(Serialize, JsonSchema)]
pub(in crate::report) struct WithdrawnRecord<'a> {
    /// Id of its flow.
    flow: u64,
    /// Position of the request on its connection, as in `request.ordinal` of the finding; null for the connection
    /// itself.
    ordinal: Option<u32>,
    /// Index in `captures` of the packet that was called guilty.
    file: u32,
    /// The packet that was called guilty.
    frame: u64,
    /// Its time.
    time: Time,
    /// Wireshark's `tcp.stream` in that file.
    stream: Option<u32>,
    client: Address,
    server: Address,
    /// What was told last.
    told_before: Told,
    #[schemars(extend("enum" = ["connected", "answered", "open", "health-check", "told-elsewhere", "other-cause"]))]
    why: &'static str,
    /// The same in words.
    summary: &'a str,
}

impl WithdrawnRecord<'_> {
    pub(in crate::report) fn new(withdrawn: &Withdrawn) -> WithdrawnRecord<'static> {
        let frame = withdrawn.guilty.frame;
        WithdrawnRecord {
            flow: withdrawn.flow,
            ordinal: Some(withdrawn.ordinal).filter(|ordinal| *ordinal > 0),
            file: frame.file(),
            frame: frame.number(),
            time: Time(withdrawn.guilty.at),
            stream: withdrawn.stream,
            client: withdrawn.client.into(),
            server: withdrawn.server.into(),
            told_before: withdrawn.told,
            why: withdrawn.why.id(),
            summary: withdrawn.why.text(),
        }
    }
}
