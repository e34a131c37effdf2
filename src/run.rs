//! Wires the stages: captures, decoder, engine, report. The only module that knows them all.

mod checks;
mod keys;

use crate::blind::BlindSpot;
use crate::capture::{CaptureError, Filter, FilterError, Timeline};
use crate::cause::{Confidence, Finding};
use crate::engine::{Engine, Options, Output};
use crate::flow::{Flow, Vantage};
use crate::health::{Check, Entry, Setup};
use crate::http::Exchange;
use crate::packet::{Decoder, DecoderOptions, Endpoint, Packet, Skip};
use crate::pattern::patterns;
use crate::probe::{Catalogue, FileError, Habit, Sighting};
use crate::report::{Report, failed_at};
use crate::time::Timestamp;
use crate::tls::Lines;
use checks::Checks;
use hashbrown::HashMap;
use keys::KeysError;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// Findings kept for the report; further ones are counted only.
pub const FINDINGS_MAX: usize = 100_000;
/// Servers remembered to compare targets with each other.
const SERVERS_MAX: usize = 1 << 16;
/// UDP port of VXLAN (RFC 7348, 5).
const VXLAN_PORT: u16 = 4789;
/// Time between two copies of a packet, inside and outside a tunnel, nanoseconds.
const SAME_PACKET: i64 = 100_000_000;
/// Frames between two progress calls.
pub(crate) const PROGRESS_EVERY: u64 = 1 << 14;

/// What a run should do.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Where the captures were taken, when the user knows.
    pub vantage: Option<Vantage>,
    /// Collect every flow.
    pub flows: bool,
    /// Collect every exchange.
    pub exchanges: bool,
    /// The listener has all it needs of exchanges: do not collect them for the report.
    pub streamed: bool,
    /// Only these causes; empty: all.
    pub causes: Vec<&'static str>,
    /// libpcap filter expression.
    pub filter: Option<String>,
    /// UDP ports of VXLAN beside 4789.
    pub vxlan_ports: Vec<u16>,
    /// What is known of health checks.
    pub health: Setup,
    /// The known probers; `None`: those built in.
    pub probers: Option<Arc<Catalogue>>,
    /// Key log files of TLS sessions.
    pub keylogs: Vec<PathBuf>,
}

impl Settings {
    /// The filter, compiled.
    pub(crate) fn filter(&self) -> Result<Option<Filter>, FilterError> {
        self.filter.as_deref().map(Filter::new).transpose()
    }

    /// A decoder that reads what the user asks for.
    pub(crate) fn decoder(&self) -> Decoder {
        let vxlan_ports = self.vxlan_ports.iter().copied().chain([VXLAN_PORT]).collect();
        Decoder::new(DecoderOptions { vxlan_ports })
    }

    /// What the engine is told.
    pub(crate) fn engine_options(&self) -> Options {
        Options { vantage: self.vantage, exchanges: self.exchanges }
    }
}

/// Why a run gave no report.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no capture to read.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The filter expression is none.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The probers cannot be read.
    #[error(transparent)]
    Probers(#[from] FileError),
    /// A key log file is none.
    #[error(transparent)]
    Keys(#[from] KeysError),
}

/// Is told what becomes known while captures are read.
pub trait Listener {
    /// Stored bytes read so far and, where known, how many there are. `false` ends the reading.
    fn progress(&mut self, read: u64, total: Option<u64>) -> bool {
        let _ = (read, total);
        true
    }
    /// A flow is over; `tunnels` are their names by number.
    fn flow(&mut self, flow: &Flow, tunnels: &[String]) {
        let _ = (flow, tunnels);
    }
    /// An exchange of a flow is final; only with [`Settings::exchanges`].
    fn exchange(&mut self, flow: u64, exchange: &Exchange) {
        let _ = (flow, exchange);
    }
    /// Something failed. A health check that is recognised as one only later is told as an
    /// ordinary failure.
    fn finding(&mut self, finding: &Finding) {
        let _ = finding;
    }
    /// The outcome of a health check of `server` is known.
    fn check(&mut self, server: Endpoint, prober: &str, check: &Check) {
        let _ = (server, prober, check);
    }
    /// The state of `server` has changed.
    fn transition(&mut self, server: Endpoint, prober: &str, entry: &Entry) {
        let _ = (server, prober, entry);
    }
}

/// Wants to know nothing before the report.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patient;

impl Listener for Patient {}

/// Collects what the engine gives out, and passes it on.
struct Collector<'a> {
    settings: &'a Settings,
    listener: &'a mut dyn Listener,
    report: Report,
    servers: BTreeSet<Endpoint>,
    /// File, stream and ordinal of findings, with their flow and time.
    found: HashMap<(u32, u32, u32), (u64, Timestamp)>,
    checks: Checks,
}

impl Output for Collector<'_> {
    fn flow(&mut self, flow: &Flow) {
        for spot in flow.blind_spots.iter() {
            *self.report.summary.blind_spots.entry(spot).or_default() += 1;
        }
        if self.servers.len() < SERVERS_MAX {
            self.servers.insert(flow.server);
        }
        *self.report.summary.protocols.entry(flow.protocol).or_default() += 1;
        self.listener.flow(flow, &self.report.tunnels);
        self.checks.flow(flow);
        if self.settings.flows {
            self.report.flows.push(flow.clone());
        }
    }

    fn exchange(&mut self, flow: u64, exchange: &Exchange) {
        self.listener.exchange(flow, exchange);
        if !self.settings.streamed {
            self.report.exchanges.push((flow, exchange.clone()));
        }
    }

    fn sighting(&mut self, sighting: Sighting) {
        self.checks.sighting(sighting, &mut self.report, self.listener);
    }

    fn habit(&mut self, flow: &Flow, habit: Habit) {
        self.checks.habit(flow, habit);
    }

    fn finding(&mut self, mut finding: Finding) {
        if self.seen_elsewhere(&finding) || !self.checks.settle(&mut finding) {
            return;
        }
        let causes = &self.settings.causes;
        if !causes.is_empty() && !causes.contains(&finding.cause.id) {
            return;
        }
        self.listener.finding(&finding);
        let summary = &mut self.report.summary;
        summary.count(&finding);
        if self.report.findings.len() < FINDINGS_MAX {
            self.report.findings.push(finding);
        } else {
            *summary.bounds.entry("findings not listed").or_default() += 1;
            if let Some(at) = failed_at(&finding) {
                let key = (finding.cause.id, finding.kind.id());
                self.report.unlisted.entry(key).or_default().add(at);
            }
        }
    }
}

impl Collector<'_> {
    /// Whether the same failure was found on the same packets inside or outside a tunnel: one
    /// stream to Wireshark, two flows to us.
    fn seen_elsewhere(&mut self, finding: &Finding) -> bool {
        let Some((stream, guilty)) = finding.stream.zip(finding.evidence.first()) else {
            return false;
        };
        let ordinal = finding.exchange.as_ref().map_or(0, |exchange| exchange.ordinal);
        let key = (guilty.mark.frame.file(), stream, ordinal);
        if self.found.len() >= FINDINGS_MAX && !self.found.contains_key(&key) {
            return false;
        }
        let (flow, at) = *self.found.entry(key).or_insert((finding.flow, guilty.mark.at));
        flow != finding.flow && guilty.mark.at.nanos_since(at).abs() < SAME_PACKET
    }
}

/// Analyses captures as one timeline.
pub fn analyse(
    captures: &[PathBuf],
    settings: &Settings,
    listener: &mut dyn Listener,
) -> Result<Report, RunError> {
    let filter = settings.filter()?;
    analyse_timeline(&mut Timeline::open(captures)?, filter, settings, listener)
}

/// Analyses a timeline of which no frame has been read; `filter` is that of the settings.
pub(crate) fn analyse_timeline(
    timeline: &mut Timeline,
    mut filter: Option<Filter>,
    settings: &Settings,
    listener: &mut dyn Listener,
) -> Result<Report, RunError> {
    let mut decoder = settings.decoder();
    let options = settings.engine_options();
    let (keys, mut odd_keys) = keys::read(&settings.keylogs)?;
    let probers = match &settings.probers {
        Some(probers) => Arc::clone(probers),
        None => Catalogue::built_in()?,
    };
    let mut engine = Engine::new(options).watch_probers(Arc::clone(&probers)).with_keys(keys);
    let mut collector = Collector {
        settings,
        listener,
        report: Report::default(),
        servers: BTreeSet::new(),
        found: HashMap::new(),
        checks: Checks::new(settings, probers),
    };
    let mut skipped: HashMap<Skip, u64> = HashMap::new();
    let mut packets = 0_u64;
    let mut carried = Lines::default();
    while timeline.step()? {
        if let Some(secrets) = timeline.take_secrets() {
            carried.add(engine.add_keys(&secrets));
        }
        let Some(frame) = timeline.frame() else { break };
        packets += 1;
        if filter.as_mut().is_some_and(|filter| !filter.matches(&frame)) {
            *collector.report.summary.skipped.entry("filtered".to_owned()).or_default() += 1;
        } else {
            collector.checks.advance(frame.mark.at);
            match decoder.decode(&frame) {
                Packet::Tcp(segment) => {
                    engine.segment(&segment, &mut collector);
                }
                Packet::Icmp(error) => {
                    engine.icmp(&error);
                }
                Packet::Skip(skip) => *skipped.entry(skip).or_default() += 1,
            }
            if collector.report.tunnels.len() != decoder.tunnel_names().len() {
                collector.report.tunnels = decoder.tunnel_names().to_vec();
            }
        }
        if packets.is_multiple_of(PROGRESS_EVERY) {
            let (read, total) = timeline.progress();
            if !collector.listener.progress(read, total) {
                timeline.stop();
                break;
            }
        }
    }
    // Those behind the last packet.
    if let Some(secrets) = timeline.take_secrets() {
        carried.add(engine.add_keys(&secrets));
    }
    odd_keys.extend(keys::odd("decryption secrets in the captures", &carried));
    engine.finish(&mut collector);
    let (read, total) = timeline.progress();
    collector.listener.progress(read, total);

    let Collector { mut report, servers, checks, listener, .. } = collector;
    checks.finish(&mut report, listener);
    for finding in checks::missing(&report, &settings.causes) {
        listener.finding(&finding);
        report.summary.count(&finding);
        report.findings.push(finding);
    }
    report.captures = timeline.captures().to_vec();
    report.warnings = timeline.warnings().to_vec();
    let counts = engine.counts();
    if !settings.keylogs.is_empty() {
        odd_keys.extend(keys::unused(counts.tls_flows, counts.opened_flows));
    }
    report.warnings.append(&mut odd_keys);
    report.warnings.extend(filter.iter().flat_map(|filter| filter.warnings().to_vec()));
    report.requests = engine.requests().clone();
    let summary = &mut report.summary;
    summary.packets = packets;
    summary.flows = engine.flows();
    summary.exchanges = counts.exchanges;
    summary.encrypted_requests = counts.encrypted;
    summary.unknown_requests = counts.unknown;
    for (skip, count) in skipped {
        *summary.skipped.entry(skip.name().into_owned()).or_default() += count;
    }
    let decoded = decoder.counters();
    for (name, count) in [
        ("tunnels counted as one", decoded.tunnels_shared),
        ("fragments dropped", decoded.datagrams_evicted),
        ("flows dropped", counts.evicted_flows),
        ("stream numbers uncertain", counts.forgotten_pairs),
        ("connections not compared with others", counts.forgotten_lessons),
        ("flows that gave up what they waited for", counts.released_flows),
        ("TLS sessions whose keys were forgotten", counts.forgotten_keys),
        ("verdicts without the rest of the capture", counts.judged_early),
    ] {
        if count > 0 {
            *summary.bounds.entry(name).or_default() += count;
        }
    }
    if report.captures.iter().any(|capture| capture.kernel_drops > 0) {
        for finding in &mut report.findings {
            finding.blind_spots.add(BlindSpot::KernelDrops);
            finding.confidence = finding.confidence.min(Confidence::Likely);
        }
    }
    report.flows.sort_unstable_by_key(|flow| flow.id);
    report.findings.sort_by_key(|finding| {
        let guilty = finding.evidence.first().map(|evidence| evidence.mark);
        (guilty.map(|mark| (mark.at, mark.frame)), finding.flow)
    });
    report.patterns = patterns(&report.findings, &servers);
    Ok(report)
}
