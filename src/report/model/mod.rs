//! The JSON contract as types: mirrors of the engine's, from which the schema is generated.
//!
//! The engine may change; a field of these may be added, never renamed, removed or given another
//! meaning within version 1.

mod correlation;
mod exchange;
mod finding;
mod flow;
mod host;
mod list;
mod log;
mod target;
mod tls;
mod withdrawn;

pub(super) use correlation::Correlation;
pub(super) use exchange::Exchange;
pub(super) use finding::Finding;
pub use finding::Told;
pub(super) use flow::Flow;
pub(super) use host::{Happened, Host};
use list::List;
pub(super) use log::{FailingLine, LogSource, Logs};
pub(super) use target::{CheckRecord, Target, Transition};
pub(super) use withdrawn::WithdrawnRecord;
pub use withdrawn::{Why, Withdrawn};

use super::json::spill::Key;
use super::json::stream::{Spilled, doubt, key_of};
use super::{Pattern, PatternKind, Report, terms};
use crate::blind::{BlindSpot, BlindSpots};
use crate::capture::CaptureInfo;
use crate::packet::Endpoint;
use crate::time::Timestamp;
use crate::{cause, http, join};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// RFC 3339 in UTC with nanoseconds.
pub(super) struct Time(Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "date-time",
            "description": "RFC 3339 in UTC with nanoseconds."
        })
    }
}

/// The program that wrote the report.
#[derive(Serialize, JsonSchema)]
pub(super) struct Tool {
    name: &'static str,
    version: &'static str,
}

/// This program.
pub(super) const TOOL: Tool = Tool { name: "why502", version: env!("CARGO_PKG_VERSION") };

/// Address and port of one side.
#[derive(Serialize, JsonSchema)]
pub(super) struct Address {
    ip: String,
    port: u16,
}

impl From<Endpoint> for Address {
    fn from(endpoint: Endpoint) -> Address {
        Address { ip: endpoint.addr().to_string(), port: endpoint.port }
    }
}

/// One number per sending side.
#[derive(Serialize, JsonSchema)]
pub(super) struct PerSide {
    client: u64,
    server: u64,
}

/// A capture file that was read.
#[derive(Serialize, JsonSchema)]
pub(super) struct Capture<'a> {
    /// As named on the command line, or as found in a directory named there.
    path: &'a str,
    /// `pcap`, `pcap-ns`, `pcap-modified` or `pcapng`.
    format: &'a str,
    /// `gzip`, `zstd`, `xz`, `lz4`.
    compression: Option<&'a str>,
    packets: u64,
    /// Size as stored.
    bytes: u64,
    /// Earliest packet.
    first: Option<Time>,
    /// Latest packet.
    last: Option<Time>,
    /// `LINKTYPE_` numbers, see <https://www.tcpdump.org/linktypes.html>.
    link_types: Vec<u16>,
    /// Packets that the snap length cut.
    cut_packets: u64,
    /// Packets that the capturing host says it dropped.
    kernel_drops: u64,
    /// Offset in the uncompressed file behind which nothing could be read.
    damaged_at: Option<u64>,
    /// What was odd, in words.
    warnings: &'a [String],
}

impl<'a> Capture<'a> {
    pub(super) fn new(capture: &'a CaptureInfo) -> Capture<'a> {
        Capture {
            path: &capture.path,
            format: capture.format,
            compression: capture.compression,
            packets: capture.packets,
            bytes: capture.bytes,
            first: capture.first.map(Time),
            last: capture.last.map(Time),
            link_types: capture.link_types.iter().map(|link| link.0).collect(),
            cut_packets: capture.cut_frames,
            kernel_drops: capture.kernel_drops,
            damaged_at: capture.damaged_at,
            warnings: &capture.warnings,
        }
    }
}

/// Counts of the whole run.
#[derive(Serialize, JsonSchema)]
pub(super) struct Counts<'a> {
    packets: u64,
    /// TCP flows.
    flows: u64,
    /// HTTP requests.
    exchanges: u64,
    /// Requests inside TLS that could be told by the lengths of its records alone.
    encrypted_requests: u64,
    findings: u64,
    /// Findings by cause id.
    by_cause: &'a BTreeMap<&'static str, u64>,
    failed_requests: u64,
    /// Connections that failed before a request.
    failed_connections: u64,
    /// Requests whose outcome the capture does not show.
    unknown_requests: u64,
    /// Findings of health checks.
    failed_checks: u64,
    /// Attempts of proxies that failed and were followed by another one.
    failed_attempts: u64,
    /// Exchanges that a proxy made for a request of its client that is captured, too.
    back_exchanges: u64,
    /// Requests of which the capture shows both legs, as far as they are listed.
    correlations: u64,
    /// Health checks.
    health_checks: u64,
    /// What may be health checks and is not sure enough to count.
    possible_checks: u64,
    /// Health checks by outcome id.
    by_outcome: BTreeMap<&'static str, u64>,
    /// Flows by what they carry.
    by_protocol: BTreeMap<&'static str, u64>,
    /// Packets that carry nothing to look at, by reason.
    skipped: &'a BTreeMap<String, u64>,
    /// Flows by blind spot.
    blind_spots: BTreeMap<&'static str, u64>,
    /// Memory bounds that were reached, by name, and how often.
    bounds: &'a BTreeMap<&'static str, u64>,
}

impl<'a> Counts<'a> {
    pub(super) fn new(report: &'a Report) -> Counts<'a> {
        let (summary, health) = (&report.summary, &report.health);
        let findings = report.findings.len();
        Counts {
            packets: summary.packets,
            flows: summary.flows,
            exchanges: summary.exchanges,
            encrypted_requests: summary.encrypted_requests,
            findings: (findings as u64).max(summary.by_cause.values().sum()),
            by_cause: &summary.by_cause,
            failed_requests: summary.failed_requests,
            failed_connections: summary.failed_connections,
            unknown_requests: summary.unknown_requests,
            failed_checks: summary.failed_checks,
            failed_attempts: summary.failed_attempts,
            back_exchanges: summary.back_exchanges,
            correlations: report.correlations.len() as u64,
            health_checks: health.checks,
            possible_checks: health.possible,
            by_outcome: health.by_outcome.iter().map(|(it, n)| (it.id(), *n)).collect(),
            by_protocol: summary
                .protocols
                .iter()
                .map(|(protocol, n)| (terms::protocol_id(*protocol), *n))
                .collect(),
            skipped: &summary.skipped,
            blind_spots: summary.blind_spots.iter().map(|(spot, n)| (spot.id(), *n)).collect(),
            bounds: &summary.bounds,
        }
    }
}

/// A reason why the capture may hide another truth.
#[derive(Serialize, JsonSchema)]
#[serde(transparent)]
struct BlindSpotId(#[schemars(extend("enum" = BlindSpot::ALL.map(BlindSpot::id)))] &'static str);

fn blind_spots(spots: BlindSpots) -> Vec<BlindSpotId> {
    spots.iter().map(|spot| BlindSpotId(spot.id())).collect()
}

fn nanos_as_s(nanos: i64) -> f64 {
    nanos as f64 / 1e9
}

/// Something that findings of one cause have in common. Fields that do not belong to its kind are
/// null.
#[derive(Serialize, JsonSchema)]
pub(super) struct Shared {
    cause: &'static str,
    #[schemars(extend("enum" = ["idle-time", "outstanding-time", "burst", "one-target", "request-cap"]))]
    kind: &'static str,
    /// Findings of the cause that fit.
    findings: u64,
    /// Findings of the cause.
    of: u64,
    median_s: Option<f64>,
    min_s: Option<f64>,
    max_s: Option<f64>,
    /// Time of the first of a burst.
    from: Option<Time>,
    /// Length of a burst.
    within_s: Option<f64>,
    server: Option<Address>,
    /// Other targets of the same port, without such findings.
    others: Option<u64>,
    /// Requests on the connection when it was closed.
    ordinal: Option<u32>,
    /// In words.
    summary: String,
}

impl Shared {
    pub(super) fn new(pattern: &Pattern) -> Shared {
        let mut shared = Shared {
            cause: pattern.cause,
            kind: "",
            findings: pattern.findings,
            of: pattern.of,
            median_s: None,
            min_s: None,
            max_s: None,
            from: None,
            within_s: None,
            server: None,
            others: None,
            ordinal: None,
            summary: terms::pattern(pattern).to_string(),
        };
        match &pattern.kind {
            PatternKind::IdleTime { median_s, range_s }
            | PatternKind::OutstandingTime { median_s, range_s } => {
                let idle = matches!(pattern.kind, PatternKind::IdleTime { .. });
                shared.kind = if idle { "idle-time" } else { "outstanding-time" };
                shared.median_s = Some(*median_s);
                (shared.min_s, shared.max_s) = (Some(range_s.0), Some(range_s.1));
            }
            PatternKind::Burst { from, within_s, .. } => {
                shared.kind = "burst";
                (shared.from, shared.within_s) = (Some(Time(*from)), Some(*within_s));
            }
            PatternKind::OneTarget { server, others } => {
                shared.kind = "one-target";
                (shared.server, shared.others) = (Some((*server).into()), Some(*others));
            }
            PatternKind::RequestCap { ordinal } => {
                shared.kind = "request-cap";
                shared.ordinal = Some(*ordinal);
            }
        }
        shared
    }
}

/// What why502 found in packet captures: which HTTP requests failed, which packet killed each one,
/// who sent it, and why. Durations are in seconds; what is not known is null; `file` is an index
/// in `captures`. Fields may be added within this version.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "why502.report/1")]
pub(super) struct Document<'a> {
    #[schemars(extend("const" = super::SCHEMA))]
    schema: &'static str,
    tool: Tool,
    captures: List<'a, CaptureInfo, Capture<'a>>,
    summary: Counts<'a>,
    /// What was odd about the input as a whole, in words.
    warnings: Vec<&'a str>,
    /// What findings of one cause have in common.
    patterns: List<'a, Pattern, Shared>,
    /// The failures, by the time of their guilty packets.
    findings: List<'a, cause::Finding, Finding<'a>>,
    /// Every TCP flow.
    flows: List<'a, crate::flow::Flow, Flow<'a>>,
    /// Every exchange; null without `--all`.
    exchanges: Option<List<'a, (u64, http::Exchange), Exchange<'a>>>,
    /// Targets and their health.
    targets: List<'a, crate::health::Target, Target<'a>>,
    /// What happened on the host that captured; only live.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Host>,
    /// What the logs given with `--log` say; not there without.
    #[serde(skip_serializing_if = "Option::is_none")]
    logs: Option<Logs<'a>>,
    /// Connections and log lines that belong together.
    correlations: List<'a, join::Correlation, Correlation<'a>>,
}

impl<'a> Document<'a> {
    pub(super) fn new(report: &'a Report, all: bool) -> Document<'a> {
        Document {
            schema: super::SCHEMA,
            tool: TOOL,
            captures: List::new(&report.captures, |_, capture| Capture::new(capture), report),
            summary: Counts::new(report),
            warnings: report.warnings.iter().map(|it| it.as_str()).collect(),
            patterns: List::new(&report.patterns, |_, pattern| Shared::new(pattern), report),
            findings: List::new(
                &report.findings,
                |report, finding| Finding::new(finding, report.logs.as_ref()),
                report,
            ),
            flows: List::new(
                &report.flows,
                |report, flow| {
                    Flow::new(flow, &report.tunnels, report.probes.get(&flow.id).map(|id| &**id))
                },
                report,
            ),
            exchanges: all.then(|| {
                List::new(&report.exchanges, |_, exchange| Exchange::new(exchange), report)
            }),
            targets: List::new(
                &report.health.targets,
                |_, target| Target::new(target, true),
                report,
            ),
            host: report.host.as_ref().map(Host::new),
            logs: report.logs.as_ref().map(Logs::new),
            correlations: List::new(
                &report.correlations,
                |_, correlation| Correlation::new(correlation),
                report,
            ),
        }
    }
}

impl<'a> Document<'a> {
    /// Adds what waits on disk.
    pub(super) fn with(mut self, spilled: &'a Spilled, report: &'a Report) -> Document<'a> {
        let dropped = report.had_kernel_drops();
        self.findings.and(&spilled.findings, key_of, move |_, json| {
            if dropped {
                doubt(json);
            }
            Ok(())
        });
        self.flows.and(
            &spilled.flows,
            |_| Key::default(),
            |key, json| spilled.complete_flow(key, json),
        );
        if let Some(exchanges) = &mut self.exchanges {
            exchanges.and(&spilled.exchanges, |_| Key::default(), |_, _| Ok(()));
        }
        self
    }
}

/// One line of the `ndjson` format.
#[expect(clippy::large_enum_variant, reason = "one is made at a time, and written at once")]
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "why502.report/1 record")]
#[serde(tag = "record", rename_all = "kebab-case")]
pub(super) enum Record<'a> {
    Capture(Capture<'a>),
    Flow(Flow<'a>),
    Exchange(Exchange<'a>),
    Finding(Finding<'a>),
    Withdrawn(WithdrawnRecord<'a>),
    Correlation(Correlation<'a>),
    Check(CheckRecord<'a>),
    Transition(Transition<'a>),
    /// Something happened on the host that captures; only live.
    Host(Happened),
    /// A log, or the files of one kind of it.
    Log(LogSource<'a>),
    /// A log line that tells of a failure.
    LogLine(FailingLine<'a>),
    /// A target at the end of the run, its checks not repeated.
    Target(Target<'a>),
    Summary(Total<'a>),
}

/// The last line of the `ndjson` format.
#[derive(Serialize, JsonSchema)]
pub(super) struct Total<'a> {
    #[schemars(extend("const" = super::SCHEMA))]
    schema: &'static str,
    tool: Tool,
    #[serde(flatten)]
    counts: Counts<'a>,
    /// What was odd about the input as a whole, in words.
    warnings: Vec<&'a str>,
    /// What findings of one cause have in common.
    patterns: Vec<Shared>,
}

impl<'a> Total<'a> {
    pub(super) fn new(report: &'a Report) -> Total<'a> {
        Total {
            schema: super::SCHEMA,
            tool: TOOL,
            counts: Counts::new(report),
            warnings: report.warnings.iter().map(|it| it.as_str()).collect(),
            patterns: report.patterns.iter().map(Shared::new).collect(),
        }
    }
}
