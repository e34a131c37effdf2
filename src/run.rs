//! Wires the stages: captures, decoder, engine, report. The only module that knows them all.

mod ahead;
mod analysis;
mod checks;
mod direction;
mod keys;
mod one_host;
mod points;
mod turns;
mod two_places;

pub use analysis::{Analysis, Totals};
pub use two_places::two_places;

use crate::capture::{CaptureError, Filter, FilterError, Timeline};
use crate::cause::Finding;
use crate::engine::Options;
use crate::flow::{Flow, Vantage};
use crate::health::{Check, Entry, Setup};
use crate::host::Addresses;
use crate::http::Exchange;
use crate::join::log::{LogSettings, Logs, LogsError};
use crate::packet::{Decoder, DecoderOptions, Endpoint};
use crate::probe::{Catalogue, FileError};
use crate::report::{Report, Told, Withdrawn};
use keys::KeysError;
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
    /// Addresses of the host that captured, as far as they are known: its own packets tell their
    /// direction.
    pub local: Addresses,
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
    /// Captures of the same connections, taken at another place. What they show may change every finding, so
    /// that [`Listener::finding`] is told none.
    pub beside: Vec<PathBuf>,
    /// Logs to compare with.
    pub logs: LogSettings,
    /// Bytes of memory for connections, see [`Options::memory`].
    pub memory: Option<u64>,
    /// Findings kept for the report, when it is less than [`FINDINGS_MAX`].
    pub findings_max: Option<usize>,
    /// Flows listed in the report; only with [`Settings::early`].
    pub flows_max: Option<usize>,
    /// Tell verdicts and health checks as soon as they can be had, with [`Analysis::tick`].
    pub early: bool,
}

impl Settings {
    /// Findings kept for the report; further ones are counted only.
    fn findings_max(&self) -> usize {
        self.findings_max.map_or(FINDINGS_MAX, |max| max.min(FINDINGS_MAX))
    }

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
        let logs = !self.logs.files.is_empty();
        let Settings { vantage, exchanges, memory, .. } = *self;
        Options { vantage, exchanges, logs, memory }
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
    /// Captures of several places are read more than once.
    #[error("{0}: not a file; captures are read more than once with --beside")]
    Pipe(String),
    /// The logs cannot be read.
    #[error(transparent)]
    Logs(#[from] LogsError),
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
    /// Something failed that the report does not list as there is too much; whether the listener does.
    fn unlisted(&mut self, finding: &Finding) -> bool {
        let _ = finding;
        false
    }
    /// Something failed, told before its connection is over; only with [`Settings::early`]. It comes
    /// again as a finding, then final; a second time before that only with another verdict.
    fn early(&mut self, finding: &Finding) {
        let _ = finding;
    }
    /// A finding was told as that of a health check and is none, or the reverse, as what came later shows; only with
    /// [`Settings::early`]. `before` is what was told.
    fn revised(&mut self, finding: &Finding, before: Told) {
        let _ = before;
        self.finding(finding);
    }
    /// What was told early is no failure, or it is told as another one; only with [`Settings::early`].
    fn withdrawn(&mut self, withdrawn: &Withdrawn) {
        let _ = withdrawn;
    }
    /// Something failed, and its log lines are known. Without [`Settings::early`] this comes in place of
    /// [`Listener::finding`]; with it, after it, and `before` is what that told.
    fn explained(&mut self, finding: &Finding, before: Option<Told>, logs: &Logs) {
        let _ = logs;
        if before.is_none() {
            self.finding(finding);
        }
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

/// Analyses captures as one timeline.
pub fn analyse(
    captures: &[PathBuf],
    settings: &Settings,
    listener: &mut dyn Listener,
) -> Result<Report, RunError> {
    let Some((local, said)) = one_host::find(captures, settings)? else {
        return analyse_places(captures, settings, listener);
    };
    let settings = &Settings { local, ..settings.clone() };
    let mut report = analyse_places(captures, settings, listener)?;
    report.warnings.push(said);
    Ok(report)
}

fn analyse_places(
    captures: &[PathBuf],
    settings: &Settings,
    listener: &mut dyn Listener,
) -> Result<Report, RunError> {
    if !settings.beside.is_empty() {
        return points::analyse(captures, settings, listener);
    }
    let timeline = &mut Timeline::open(captures)?;
    analyse_timeline(timeline, settings.filter()?, settings, listener)
}

/// Analyses a timeline of which no frame has been read; `filter` is that of the settings.
pub(crate) fn analyse_timeline(
    timeline: &mut Timeline,
    filter: Option<Filter>,
    settings: &Settings,
    listener: &mut dyn Listener,
) -> Result<Report, RunError> {
    let filtered = filter.is_some();
    let mut analysis = Analysis::new(settings.clone(), filter)?;
    if !filtered && ahead::is_worth_it(timeline) {
        ahead::read(timeline, &mut analysis, listener)?;
    } else if !filtered && timeline.stored_bytes().is_some() {
        turns::read(timeline, &mut analysis, listener)?;
    }
    // A pipe may have nothing to give for long.
    while timeline.step()? {
        if let Some(secrets) = timeline.take_secrets() {
            analysis.secrets(&secrets);
        }
        let Some(frame) = timeline.frame() else { break };
        analysis.frame(&frame, listener);
        if analysis.packets().is_multiple_of(PROGRESS_EVERY) {
            let (read, total) = timeline.progress();
            if !listener.progress(read, total) {
                timeline.stop();
                break;
            }
        }
    }
    // Those behind the last packet.
    if let Some(secrets) = timeline.take_secrets() {
        analysis.secrets(&secrets);
    }
    let (read, total) = timeline.progress();
    listener.progress(read, total);
    Ok(analysis.finish(timeline.captures().to_vec(), timeline.warnings().to_vec(), listener))
}
