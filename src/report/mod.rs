//! Words and layout: the same facts as text, JSON and other formats.
//!
//! Knows no rule; never says more than a [`Finding`] does. Serialised formats mirror the engine's
//! types (`model.rs`), so that these can change and the formats stay.
//!
//! To add a format: one file here with `pub(super) const FORMAT: Format`, its `mod` line and its
//! entry in [`FORMATS`]. The command line takes its values from that list.

mod csv;
pub mod explain;
mod filter;
#[cfg(test)]
pub(crate) mod fixture;
mod handover;
pub mod host;
mod html;
mod json;
mod markdown;
mod model;
pub mod ndjson;
pub mod output;
pub mod probers;
mod records;
mod request;
pub mod so_far;
pub mod terms;
mod text;
pub mod words;

use crate::blind::BlindSpot;
use crate::capture::CaptureInfo;
use crate::cause::{Finding, Kind};
use crate::flow::Flow;
use crate::health::Health;
use crate::http::Exchange;
use crate::join::Correlation;
use crate::join::log::Logs;
use crate::over_time::OverTime;
use crate::packet::Endpoint;
use crate::words::Lang;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::Arc;

pub use json::{RECORD_SCHEMA, REPORT_SCHEMA, SCHEMA};
pub use model::{Told, Why, Withdrawn};
pub use records::{Records, Start};

/// How a report is written.
#[derive(Debug)]
pub struct Format {
    /// What `--format` calls it.
    pub name: &'static str,
    /// What it is for, one line.
    pub about: &'static str,
    /// Whether it prints every flow, so that [`Report::flows`] has to be collected.
    pub lists_flows: bool,
    /// Begins it where it is written record by record while captures are read.
    pub stream: Option<Start>,
    /// Writes the whole report. An error is the writer's own; nothing else can fail.
    pub write: fn(&Report, &Style, &mut dyn Write) -> io::Result<()>,
}

/// Every format; the first is the default.
pub static FORMATS: [Format; 6] =
    [text::FORMAT, json::FORMAT, ndjson::FORMAT, html::FORMAT, csv::FORMAT, markdown::FORMAT];

/// The format of that name.
pub fn format(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

/// What came out, in one or a few sentences: the first lines of the text report.
pub fn answer(report: &Report) -> Vec<String> {
    text::answer(report).iter().map(ToString::to_string).collect()
}

/// How a report shall look; decided at the edge of the program, where the terminal is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// Write ANSI colours.
    pub color: bool,
    /// Write ASCII only.
    pub ascii: bool,
    /// The language of texts for people.
    pub lang: Lang,
    /// Write every finding and every exchange.
    pub all: bool,
    /// What the `csv` format writes.
    pub csv_table: CsvTable,
}

/// Tables of the `csv` format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CsvTable {
    /// What failed.
    #[default]
    Findings,
    /// Every TCP flow.
    Flows,
    /// Every health check.
    Checks,
}

/// Everything that a run found out.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The files, in the order of their index in a [`crate::time::FrameId`].
    pub captures: Vec<CaptureInfo>,
    /// Counts.
    pub summary: Summary,
    /// Every TCP flow, in the order of their ids; collected only for formats that print them.
    pub flows: Vec<Flow>,
    /// Every exchange with the id of its flow; collected only with `--all`.
    pub exchanges: Vec<(u64, Exchange)>,
    /// The failures, in the order of their guilty frames' times.
    pub findings: Vec<Finding>,
    /// What the findings have in common.
    pub patterns: Vec<Pattern>,
    /// Ids of the causes that were asked for, and nothing else; empty: all.
    pub causes: Vec<&'static str>,
    /// What was odd about the input as a whole, for people.
    pub warnings: Vec<crate::words::Phrase>,
    /// Targets and their health checks.
    pub health: Health,
    /// Whose health checks flows carry, by the flow's id; collected only for formats that print
    /// flows.
    pub probes: BTreeMap<u64, Arc<str>>,
    /// What happened on the host that captured; only live.
    pub host: Option<crate::host::History>,
    /// Names of tunnels by [`crate::packet::TunnelId`].
    pub tunnels: Vec<String>,
    /// Who accepts connections or was asked to, in a run's bound.
    pub servers: BTreeSet<Endpoint>,
    /// Requests by the time of their first byte.
    pub requests: OverTime,
    /// What logs say of the same requests.
    pub logs: Option<Logs>,
    /// What belongs to the same request of a proxy's client; those without any failure only with
    /// `--all`.
    pub correlations: Vec<Correlation>,
    /// Failures that are not among the findings because there were too many: by cause
    /// and kind.
    pub unlisted: BTreeMap<(&'static str, &'static str), OverTime>,
}

impl Report {
    /// Whether the capturing host dropped packets.
    pub fn had_kernel_drops(&self) -> bool {
        self.captures.iter().any(|capture| capture.kernel_drops > 0)
    }
}

/// When something failed: the time of its request, else of the guilty packet.
pub fn failed_at(finding: &Finding) -> Option<crate::time::Timestamp> {
    let exchange = finding.exchange.as_deref();
    let request = exchange.and_then(|exchange| exchange.request.as_ref());
    request
        .map(|request| request.first.at)
        .or(finding.evidence.first().map(|guilty| guilty.mark.at))
}

/// Counts of a run.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Frames read.
    pub packets: u64,
    /// TCP flows.
    pub flows: u64,
    /// HTTP exchanges (requests).
    pub exchanges: u64,
    /// Requests inside TLS that could be told by the lengths of its records alone; not counted as
    /// exchanges.
    pub encrypted_requests: u64,
    /// Requests that failed.
    pub failed_requests: u64,
    /// Connections that failed before any request.
    pub failed_connections: u64,
    /// Health checks that failed with a finding.
    pub failed_checks: u64,
    /// Attempts of proxies that failed and were followed by another one.
    pub failed_attempts: u64,
    /// Exchanges that a proxy made for a request of its client that is captured, too.
    pub back_exchanges: u64,
    /// Requests whose outcome a blind spot hides.
    pub unknown_requests: u64,
    /// Findings by cause id.
    pub by_cause: BTreeMap<&'static str, u64>,
    /// Frames that carry nothing for us, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// Flows by what they carry.
    pub protocols: BTreeMap<crate::http::Protocol, u64>,
    /// Flows that carry data of which the snap length left too little to tell what they carry.
    pub cut_flows: u64,
    /// Flows by blind spot.
    pub blind_spots: BTreeMap<BlindSpot, u64>,
    /// Bounds that were reached, by name, and how often.
    pub bounds: BTreeMap<&'static str, u64>,
}

impl Summary {
    /// Counts a finding.
    pub fn count(&mut self, finding: &Finding) {
        *self.by_cause.entry(finding.cause.id).or_default() += 1;
        *self.failures(finding) += 1;
    }

    /// Takes back what was counted of a finding.
    pub fn uncount(&mut self, finding: &Finding) {
        let id = finding.cause.id;
        if let Some(count) = self.by_cause.get_mut(id) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_cause.remove(id);
            }
        }
        let count = self.failures(finding);
        *count = count.saturating_sub(1);
    }

    fn failures(&mut self, finding: &Finding) -> &mut u64 {
        match (finding.kind, &finding.exchange) {
            (Kind::HealthCheck, _) => &mut self.failed_checks,
            (Kind::Attempt, _) => &mut self.failed_attempts,
            // Of a request whose proxy could not even connect, the exchange is on the other leg.
            (Kind::Request, _) | (_, Some(_)) => &mut self.failed_requests,
            (_, None) => &mut self.failed_connections,
        }
    }
}

/// Something that findings of one cause have in common.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// Cause id.
    pub cause: &'static str,
    /// What they share.
    pub kind: PatternKind,
    /// How many findings of the cause fit.
    pub findings: u64,
    /// Of how many.
    pub of: u64,
}

/// Kinds of pattern.
#[derive(Clone, Debug)]
pub enum PatternKind {
    /// The connection had been idle for the same time: the server's keep-alive time-out.
    IdleTime {
        /// Median, seconds.
        median_s: f64,
        /// Smallest and largest, seconds.
        range_s: (f64, f64),
    },
    /// The request had been outstanding for the same time: a worker's or load balancer's time-out.
    OutstandingTime {
        /// Median, seconds.
        median_s: f64,
        /// Smallest and largest, seconds.
        range_s: (f64, f64),
    },
    /// Many within a short time.
    Burst {
        /// The target goes away from several connections at once: a restart, a deployment.
        goes_away: bool,
        /// Time of the first.
        from: crate::time::Timestamp,
        /// Length, seconds.
        within_s: f64,
    },
    /// All at one target, while others of the same port are fine.
    OneTarget {
        /// That target.
        server: Endpoint,
        /// How many other targets there are.
        others: u64,
    },
    /// The same number of requests on the connection before the close: a request cap.
    RequestCap {
        /// Requests on the connection when it was closed.
        ordinal: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes some bytes, then is closed.
    struct Pipe(usize);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_format_passes_on_that_the_pipe_was_closed() {
        let report = fixture::report();
        for format in &FORMATS {
            for room in [0, 1, 50, 3000] {
                let style = Style { all: true, ..Style::default() };
                // A short report fits a large pipe.
                if fixture::written(format.name, &report, &style).len() <= room {
                    continue;
                }
                let error = (format.write)(&report, &style, &mut Pipe(room)).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "{} {room}", format.name);
            }
        }
    }

    #[test]
    fn every_format_has_its_own_name() {
        for found in &FORMATS {
            assert!(std::ptr::eq(format(found.name).unwrap(), found), "{}", found.name);
        }
        assert!(format("xml").is_none());
    }
}
