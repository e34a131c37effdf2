//! Every metric: its name, meaning, labels and buckets.
//!
//! Names follow <https://prometheus.io/docs/practices/naming/>: base units, `_total` for counters.

use prometheus::core::Collector;
use prometheus::{
    Error, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, Opts, Registry,
};

/// Upper bounds of round-trip times, seconds: from the same rack to another continent.
const ROUND_TRIPS: &[f64] =
    &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];
/// Upper bounds of the time to an answer, seconds: up to the time-outs of load balancers.
const ANSWERS: &[f64] = &[
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    120.0,
];

/// All metrics, by what they count.
#[derive(Clone, Debug)]
pub(super) struct Families {
    pub(super) requests: IntCounterVec,
    pub(super) responses: IntCounterVec,
    pub(super) latency: Histogram,
    pub(super) connections: IntCounterVec,
    pub(super) rtt: HistogramVec,
    pub(super) findings: IntCounterVec,
    pub(super) revised: IntCounter,
    pub(super) withdrawn: IntCounter,
    pub(super) checks: IntCounterVec,
    pub(super) target_state: GaugeVec,
    pub(super) other_targets: IntCounter,
    pub(super) encrypted_requests: IntCounter,
    pub(super) packets: IntCounter,
    pub(super) dropped: IntCounterVec,
    pub(super) left_out: IntCounter,
    pub(super) evicted: IntCounter,
    pub(super) queue: GaugeVec,
    pub(super) queue_max: GaugeVec,
    pub(super) memory: Gauge,
    pub(super) evidence_packets: IntCounter,
    pub(super) evidence_bytes: IntCounter,
    pub(super) evidence_files: IntCounter,
    pub(super) evidence_deleted: IntCounter,
    pub(super) evidence_dropped: IntCounterVec,
    pub(super) evidence_connections: IntCounter,
    pub(super) evidence_incomplete: IntCounter,
    pub(super) evidence_evicted: IntCounter,
    pub(super) evidence_look_back: Gauge,
    pub(super) evidence_free: Gauge,
    pub(super) evidence_writing: IntGauge,
}

/// Where they are made and remembered.
struct Maker<'a> {
    registry: &'a Registry,
    names: Vec<String>,
}

impl Maker<'_> {
    fn keep<C: Collector + Clone + 'static>(
        &mut self,
        metric: Result<C, Error>,
    ) -> Result<C, Error> {
        let metric = metric?;
        self.names.extend(metric.desc().into_iter().map(|desc| desc.fq_name.clone()));
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counter(&mut self, name: &str, help: &str) -> Result<IntCounter, Error> {
        self.keep(IntCounter::new(name, help))
    }

    fn counters(&mut self, name: &str, help: &str, by: &[&str]) -> Result<IntCounterVec, Error> {
        self.keep(IntCounterVec::new(Opts::new(name, help), by))
    }

    fn gauge(&mut self, name: &str, help: &str) -> Result<Gauge, Error> {
        self.keep(Gauge::new(name, help))
    }

    fn gauges(&mut self, name: &str, help: &str, by: &[&str]) -> Result<GaugeVec, Error> {
        self.keep(GaugeVec::new(Opts::new(name, help), by))
    }
}

impl Families {
    /// Makes them all known to the registry. Also gives their names.
    pub(super) fn new(registry: &Registry) -> Result<(Families, Vec<String>), Error> {
        let mut make = Maker { registry, names: Vec::new() };
        let build = make.gauges("why502_build_info", "Always 1; the version.", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        let started =
            make.gauge("why502_start_time_seconds", "When the capture began, seconds since 1970.")?;
        started.set(jiff::Timestamp::now().as_millisecond() as f64 / 1e3);
        let latency = HistogramOpts::new(
            "why502_response_latency_seconds",
            "From the last byte of a request to the first byte of its response.",
        );
        let rtt = HistogramOpts::new(
            "why502_connection_rtt_seconds",
            "Round-trip time of a connection at its handshake.",
        );
        let evidence_dropped = make.counters(
            "why502_evidence_dropped_packets_total",
            "Packets missing in the evidence: the queue was full, or nothing could be written.",
            &["reason"],
        )?;
        let families = Families {
            requests: make.counters(
                "why502_requests_total",
                "Requests by their end: answered, cut, unanswered, unknown.",
                &["state"],
            )?,
            responses: make.counters(
                "why502_responses_total",
                "Final responses by class of their status.",
                &["class"],
            )?,
            latency: make.keep(Histogram::with_opts(latency.buckets(ANSWERS.to_vec())))?,
            connections: make.counters(
                "why502_connections_total",
                "Connections that are over, by how they ended.",
                &["target", "ended"],
            )?,
            rtt: make.keep(HistogramVec::new(rtt.buckets(ROUND_TRIPS.to_vec()), &["target"]))?,
            findings: make.counters(
                "why502_findings_total",
                "Requests, connections and health checks that failed, each counted once, with the \
                 cause that was told first.",
                &["cause", "target", "responsible", "kind"],
            )?,
            revised: make.counter(
                "why502_findings_revised_total",
                "Failures whose cause turned out to be another when their connection was over.",
            )?,
            withdrawn: make.counter(
                "why502_findings_withdrawn_total",
                "Failures counted before their connection was over that turned out to be none, or to be told elsewhere.",
            )?,
            checks: make.counters(
                "why502_checks_total",
                "Health checks by outcome; unknown: the capture does not show it.",
                &["target", "prober", "outcome"],
            )?,
            target_state: make.gauges(
                "why502_target_state",
                "1 for the state that a target has by its health checks, 0 for the others.",
                &["target", "prober", "state"],
            )?,
            other_targets: make.counter(
                "why502_other_targets_total",
                "What was counted under target=\"other\", as the bound on targets was reached.",
            )?,
            encrypted_requests: make.counter(
                "why502_encrypted_requests_total",
                "Requests that cannot be read without keys; they are in no other metric.",
            )?,
            packets: make.counter("why502_packets_total", "Packets taken in.")?,
            dropped: make.counters(
                "why502_dropped_packets_total",
                "Packets that existed and were not seen, by who dropped them: kernel, interface, \
                 queue.",
                &["by"],
            )?,
            left_out: make.counter(
                "why502_left_out_connections_total",
                "Connections not analysed as the analysis could not keep up.",
            )?,
            evicted: make.counter(
                "why502_evicted_connections_total",
                "Connections forgotten to stay within the bound of memory.",
            )?,
            queue: make.gauges("why502_queue_bytes", "Bytes that wait.", &["queue"])?,
            queue_max: make.gauges(
                "why502_queue_limit_bytes",
                "Bytes for which there is room.",
                &["queue"],
            )?,
            memory: make
                .gauge("process_resident_memory_bytes", "Resident memory size in bytes.")?,
            evidence_packets: make.counter("why502_evidence_packets_total", "Packets in files.")?,
            evidence_bytes: make.counter("why502_evidence_bytes_total", "Bytes of files.")?,
            evidence_files: make.counter("why502_evidence_files_total", "Files begun.")?,
            evidence_deleted: make.counter(
                "why502_evidence_deleted_files_total",
                "Files deleted because the ring was full.",
            )?,
            evidence_dropped,
            evidence_connections: make.counter(
                "why502_evidence_connections_total",
                "Failed connections whose packets were kept.",
            )?,
            evidence_incomplete: make.counter(
                "why502_evidence_incomplete_connections_total",
                "Those among them of which earlier packets had left the look-back.",
            )?,
            evidence_evicted: make.counter(
                "why502_evidence_evicted_packets_total",
                "Packets that left the look-back before their connection failed.",
            )?,
            evidence_look_back: make
                .gauge("why502_evidence_look_back_bytes", "Memory in use for looking back.")?,
            evidence_free: make.gauge(
                "why502_evidence_free_bytes",
                "Bytes free in the file system of the evidence.",
            )?,
            evidence_writing: make.keep(IntGauge::new(
                "why502_evidence_writing",
                "1 while evidence is written, 0 when writing stopped or none is wanted.",
            ))?,
        };
        families.begin();
        Ok((families, make.names))
    }

    /// Gives what will be asked for a value before it happens for the first time: a rate needs two.
    fn begin(&self) {
        for state in ["answered", "cut", "unanswered", "unknown"] {
            self.requests.with_label_values(&[state]);
        }
        for class in ["1xx", "2xx", "3xx", "4xx", "5xx"] {
            self.responses.with_label_values(&[class]);
        }
        for by in ["kernel", "interface", "queue"] {
            self.dropped.with_label_values(&[by]);
        }
        for reason in ["queue", "not-written"] {
            self.evidence_dropped.with_label_values(&[reason]);
        }
    }
}
