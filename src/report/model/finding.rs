//! Mirror of a finding.

use super::correlation::Joined;
use super::exchange::{Request, Response, request, response};
use super::log::LogLine;
use super::{Address, BlindSpotId, Time, blind_spots, nanos_as_s};
use crate::cause;
use crate::join::log::Logs;
use crate::report::{filter, terms};
use schemars::JsonSchema;
use serde::Serialize;

/// A packet that proves something.
#[derive(Serialize, JsonSchema)]
struct Evidence<'a> {
    /// As in Wireshark.
    frame: u64,
    /// Index in `captures`.
    file: u32,
    /// By the clock of the capture point that the finding is told of.
    time: Time,
    /// Who sent it, or who kept silent.
    #[schemars(extend("enum" = ["client", "server"]))]
    side: &'static str,
    /// `silence` names the last packet before it, `log-line` the packet that a line of a log is about.
    #[schemars(extend("enum" = ["syn", "syn-ack", "rst", "fin", "ack", "request", "response",
        "retransmission", "zero-window", "icmp", "tls-alert", "tls-hello", "silence", "log-line"]))]
    what: &'static str,
    /// What it proves.
    note: &'a str,
}

/// How long what took.
#[derive(Serialize, JsonSchema)]
struct Timing {
    /// From the request's first byte to the guilty packet; negative when the packet came first.
    outstanding_s: Option<f64>,
    /// How long the connection had been idle before the request.
    idle_before_s: Option<f64>,
}

/// A verdict that was told before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Told {
    /// Id of the root cause.
    pub cause: &'static str,
    /// Who had to act.
    pub responsible: &'static str,
    /// How sure it was.
    pub confidence: &'static str,
}

impl Told {
    /// What is told with this finding.
    pub fn of(finding: &cause::Finding) -> Told {
        let (responsible, confidence) = (finding.responsible.id(), finding.confidence.id());
        Told { cause: finding.cause.id, responsible, confidence }
    }
}

/// One failure with its root cause and its proof.
#[derive(Serialize, JsonSchema)]
pub(in crate::report) struct Finding<'a> {
    /// Id of the root cause; `why502 explain` has the text.
    cause: &'static str,
    /// What failed.
    #[schemars(extend("enum" = ["request", "connection", "health-check", "attempt"]))]
    kind: &'static str,
    /// Id of its flow.
    flow: u64,
    /// Index in `captures` of the guilty packet.
    file: u32,
    /// Wireshark's `tcp.stream` in that file.
    stream: Option<u32>,
    client: Address,
    server: Address,
    /// Who has to act.
    #[schemars(extend("enum" = ["target-app", "target-host", "network", "load-balancer",
        "client", "configuration", "unknown"]))]
    responsible: &'static str,
    #[schemars(extend("enum" = ["certain", "likely", "possible"]))]
    confidence: &'static str,
    /// Where the capture was taken.
    #[schemars(extend("enum" = ["client", "server", "between", "unknown"]))]
    vantage: &'static str,
    /// Status that a load balancer typically answers with.
    typical_status: Option<u16>,
    request: Option<Request<'a>>,
    response: Option<Response<'a>>,
    /// The packets that prove it; the first is the guilty one.
    evidence: Vec<Evidence<'a>>,
    timing: Timing,
    /// What could hide another truth.
    blind_spots: Vec<BlindSpotId>,
    /// Wireshark display filter that shows it.
    display_filter: String,
    /// What happened, with the figures of this case.
    summary: &'a str,
    /// What to change first.
    fix: &'static str,
    /// Told by `why502 live` before the connection is over; the same failure comes again without
    /// this when it is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    early: bool,
    /// What `why502 live` told last of the same failure; not there when this is the first that it tells
    /// of it. Where it says the same, this record is no news.
    #[serde(skip_serializing_if = "Option::is_none")]
    told_before: Option<Told>,
    /// What the host says of it on which it was captured; only live.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    /// The log lines that tell of it; not there without `--log`, and in records that are written before
    /// the logs are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<Vec<LogLine<'a>>>,
    /// What it meant for the client of a proxy; null unless the capture shows both legs.
    joined: Option<Joined<'a>>,
}

impl<'a> Finding<'a> {
    pub(in crate::report) fn new(
        finding: &'a cause::Finding,
        logs: Option<&'a Logs>,
    ) -> Finding<'a> {
        let line = |logs: &'a Logs| {
            logs.of_finding(finding).into_iter().map(|tie| LogLine::new(logs, tie)).collect()
        };
        Finding {
            cause: finding.cause.id,
            kind: finding.kind.id(),
            flow: finding.flow,
            file: finding.evidence.first().map_or(0, |evidence| evidence.mark.frame.file()),
            stream: finding.stream,
            client: finding.client.into(),
            server: finding.server.into(),
            responsible: finding.responsible.id(),
            confidence: finding.confidence.id(),
            vantage: finding.vantage.id(),
            typical_status: finding.cause.typical_status,
            request: finding.exchange.as_deref().and_then(request),
            response: finding.exchange.as_deref().and_then(response),
            evidence: finding
                .evidence
                .iter()
                .map(|evidence| Evidence {
                    frame: evidence.mark.frame.number(),
                    file: evidence.mark.frame.file(),
                    time: Time(evidence.mark.at),
                    side: terms::side(evidence.side),
                    what: evidence.what.id(),
                    note: &evidence.note,
                })
                .collect(),
            timing: Timing {
                outstanding_s: finding.outstanding.map(nanos_as_s),
                idle_before_s: finding.idle_before.map(nanos_as_s),
            },
            blind_spots: blind_spots(finding.blind_spots),
            display_filter: filter::of_finding(finding),
            summary: &finding.summary,
            fix: terms::fix(finding),
            early: false,
            told_before: None,
            host: finding.host.as_deref(),
            log: logs.map(line),
            joined: finding.joined.as_deref().map(Joined::new),
        }
    }

    /// The same as it is told live.
    pub(in crate::report) fn live(self, early: bool, before: Option<Told>) -> Finding<'a> {
        Finding { early, told_before: before, ..self }
    }
}
