//! Metrics for Prometheus: what a capture shows, and how the capture itself goes on.
//!
//! ```text
//! Listener, set -> families (registry) <- server: /metrics, /healthz, /
//! ```
//!
//! Each failure counts once, when it is told for the first time: an alert should not wait for the
//! end of a connection. If its cause turns out to be another, that is counted apart.

mod families;
mod labels;
mod server;

pub use server::{ServeError, Server, address};

use super::evidence;
use crate::cause::Finding;
use crate::flow::Flow;
use crate::health::{Check, Entry, State as TargetState};
use crate::http::{Exchange, State};
use crate::packet::Endpoint;
use crate::report::terms::ended_id;
use crate::report::{Told, Withdrawn};
use crate::run::Listener;
use families::Families;
use hashbrown::HashMap;
use labels::Labels;
use prometheus::{Encoder, Error, IntCounter, Registry, TextEncoder};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Targets with metrics of their own when nothing is said; each has some 50 series.
pub const TARGETS: usize = 100;
/// Probers with metrics of their own.
const PROBERS_MAX: usize = 50;
/// Failures remembered from their early verdict to their final one. With more, some count twice.
const EARLY_MAX: usize = 1 << 16;
/// Without a word from the analysis for so long, milliseconds, it is not healthy: it speaks every
/// second.
const SILENCE: i64 = 10_000;

/// How the capture goes on; totals since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capture {
    /// Packets taken in.
    pub packets: u64,
    /// Packets that the kernel dropped.
    pub kernel_drops: u64,
    /// Packets that the interface dropped.
    pub interface_drops: u64,
    /// Packets that the queue to the analysis had no room for.
    pub queue_drops: u64,
    /// Requests that cannot be read without keys.
    pub encrypted_requests: u64,
    /// Connections not analysed.
    pub connections_left_out: u64,
    /// Connections forgotten within the bound of memory.
    pub connections_evicted: u64,
    /// Bytes that wait for the analysis now.
    pub queue_bytes: u64,
    /// Bytes for which that queue has room.
    pub queue_bytes_max: u64,
    /// Resident memory, bytes.
    pub memory: Option<u64>,
}

/// Counts what happens. Copies count the same.
#[derive(Clone, Debug)]
pub struct Metrics {
    families: Families,
    names: Vec<String>,
    exposition: Exposition,
    targets: Labels<Endpoint>,
    probers: Labels<String>,
    /// Failures told before their connection was over: flow and request; their cause.
    early: HashMap<(u64, u32), &'static str>,
}

/// What the server shows.
#[derive(Clone, Debug)]
pub(super) struct Exposition {
    registry: Registry,
    /// When the analysis last said something, milliseconds since 1970.
    heard: Arc<AtomicI64>,
}

impl Exposition {
    /// The metrics in Prometheus' text format.
    fn text(&self) -> Result<Vec<u8>, Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// How long the analysis has been silent, if too long, milliseconds.
    fn silence(&self, now: i64) -> Option<i64> {
        let silence = now.saturating_sub(self.heard.load(Ordering::Relaxed));
        (silence > SILENCE).then_some(silence)
    }

    fn hear(&self) {
        self.heard.store(milliseconds(), Ordering::Relaxed);
    }
}

fn milliseconds() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

impl Metrics {
    /// Nothing happened yet. At most so many targets have metrics of their own.
    pub fn new(targets: usize) -> Result<Metrics, Error> {
        let registry = Registry::new();
        let (families, names) = Families::new(&registry)?;
        let exposition = Exposition { registry, heard: Arc::default() };
        exposition.hear();
        Ok(Metrics {
            families,
            names,
            exposition,
            targets: Labels::new(targets),
            probers: Labels::new(PROBERS_MAX),
            early: HashMap::new(),
        })
    }

    /// The names of all metrics, of those without values too.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The metrics in Prometheus' text format.
    pub fn text(&self) -> Result<Vec<u8>, Error> {
        self.exposition.text()
    }

    /// Serves them until the server is dropped.
    pub fn serve(&self, address: SocketAddr) -> Result<Server, ServeError> {
        Server::start(address, &self.exposition)
    }

    /// States how the capture goes on. To be called about once a second, also when nothing comes:
    /// the health endpoint relies on it.
    pub fn set_capture(&self, capture: &Capture) {
        self.exposition.hear();
        let it = &self.families;
        rise(&it.packets, capture.packets);
        rise(&it.encrypted_requests, capture.encrypted_requests);
        rise(&it.left_out, capture.connections_left_out);
        rise(&it.evicted, capture.connections_evicted);
        for (by, drops) in [
            ("kernel", capture.kernel_drops),
            ("interface", capture.interface_drops),
            ("queue", capture.queue_drops),
        ] {
            rise(&it.dropped.with_label_values(&[by]), drops);
        }
        it.queue.with_label_values(&["analysis"]).set(capture.queue_bytes as f64);
        it.queue_max.with_label_values(&["analysis"]).set(capture.queue_bytes_max as f64);
        if let Some(memory) = capture.memory {
            it.memory.set(memory as f64);
        }
    }

    /// States how the evidence goes on; `queue_max`: bytes for which its queue has room.
    pub fn set_evidence(&self, counters: &evidence::Counters, queue_max: u64) {
        let it = &self.families;
        rise(&it.evidence_packets, counters.packets);
        rise(&it.evidence_bytes, counters.bytes);
        rise(&it.evidence_files, counters.files);
        rise(&it.evidence_deleted, counters.deleted_files);
        rise(&it.evidence_dropped.with_label_values(&["queue"]), counters.dropped);
        rise(&it.evidence_dropped.with_label_values(&["not-written"]), counters.not_written);
        rise(&it.evidence_connections, counters.kept_flows);
        rise(&it.evidence_incomplete, counters.incomplete_flows);
        rise(&it.evidence_evicted, counters.evicted);
        it.evidence_look_back.set(counters.look_back_bytes as f64);
        it.evidence_free.set(counters.free_bytes as f64);
        it.evidence_writing.set(i64::from(counters.is_writing));
        it.queue.with_label_values(&["evidence"]).set(counters.queue_bytes as f64);
        it.queue_max.with_label_values(&["evidence"]).set(queue_max as f64);
    }

    fn target(&mut self, target: Endpoint) -> String {
        let (name, is_own) = self.targets.of(target, || target.socket().to_string());
        if !is_own {
            self.families.other_targets.inc();
        }
        name.to_owned()
    }

    fn prober(&mut self, prober: &str) -> String {
        self.probers.of(prober.to_owned(), || prober.to_owned()).0.to_owned()
    }

    fn count(&mut self, finding: &Finding) {
        let target = self.target(finding.server);
        let labels = [finding.cause.id, &target, finding.responsible.id(), finding.kind.id()];
        self.families.findings.with_label_values(&labels).inc();
    }
}

/// Brings a counter to a total that is counted elsewhere.
fn rise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

/// What failed: a flow, and the number of its request, or 0.
fn failure(finding: &Finding) -> (u64, u32) {
    (finding.flow, finding.exchange.as_ref().map_or(0, |exchange| exchange.ordinal))
}

impl Listener for Metrics {
    fn flow(&mut self, flow: &Flow, _: &[String]) {
        let target = self.target(flow.server);
        let it = &self.families;
        it.connections.with_label_values(&[target.as_str(), ended_id(flow.ended)]).inc();
        if let Some(rtt) = flow.opening.round_trip() {
            it.rtt.with_label_values(&[&target]).observe(rtt.max(0) as f64 / 1e9);
        }
    }

    fn exchange(&mut self, _: u64, exchange: &Exchange) {
        let it = &self.families;
        if exchange.request.is_some() {
            let state = match exchange.state {
                State::Answered => "answered",
                State::Cut => "cut",
                State::Unanswered => "unanswered",
                State::Outstanding | State::Unknown => "unknown",
            };
            it.requests.with_label_values(&[state]).inc();
        }
        let Some(response) = &exchange.response else { return };
        if let Some(status @ 100..=599) = response.status {
            it.responses.with_label_values(&[&format!("{}xx", status / 100)]).inc();
        }
        if let Some(request) = exchange.request.as_ref().filter(|request| request.complete) {
            let latency = response.first.at.since(request.last.at);
            if latency >= 0.0 {
                it.latency.observe(latency);
            }
        }
    }

    fn early(&mut self, finding: &Finding) {
        let key = failure(finding);
        if self.early.contains_key(&key) {
            // Told again, as the verdict is another; the final one decides.
            return;
        }
        if self.early.len() < EARLY_MAX {
            self.early.insert(key, finding.cause.id);
            self.count(finding);
        }
    }

    fn finding(&mut self, finding: &Finding) {
        match self.early.remove(&failure(finding)) {
            Some(told) if told == finding.cause.id => {}
            Some(_) => self.families.revised.inc(),
            None => self.count(finding),
        }
    }

    fn revised(&mut self, _: &Finding, _: Told) {
        // It is counted, and a counter does not fall.
        self.families.revised.inc();
    }

    fn withdrawn(&mut self, withdrawn: &Withdrawn) {
        // A counter does not fall.
        if self.early.remove(&(withdrawn.flow, withdrawn.ordinal)).is_some() {
            self.families.withdrawn.inc();
        }
    }

    fn check(&mut self, server: Endpoint, prober: &str, check: &Check) {
        let (target, prober) = (self.target(server), self.prober(prober));
        let outcome = check.outcome.map_or("unknown", |outcome| outcome.id());
        self.families.checks.with_label_values(&[target.as_str(), &prober, outcome]).inc();
    }

    fn transition(&mut self, server: Endpoint, prober: &str, entry: &Entry) {
        let (name, is_own) = self.targets.of(server, || server.socket().to_string());
        if !is_own {
            // The states of several targets are no state.
            self.families.other_targets.inc();
            return;
        }
        let target = name.to_owned();
        let prober = self.prober(prober);
        for state in TargetState::ALL {
            let labels = [target.as_str(), &prober, state.id()];
            let is = f64::from(u8::from(state == entry.state));
            self.families.target_state.with_label_values(&labels).set(is);
        }
    }
}
