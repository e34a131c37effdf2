//! The `ndjson` format: one record per line, each with its kind in `record`.
//!
//! The functions write single records, so that a run can give them out as soon as they are final.

use super::model::{self, Record};
use super::records::Records;
use super::{Format, Report, Style, Told, Withdrawn};
use crate::capture::CaptureInfo;
use crate::cause;
use crate::flow;
use crate::health;
use crate::http;
use crate::join;
use crate::join::log::Logs;
use crate::packet::Endpoint;
use std::io::{self, Write};

pub(super) const FORMAT: Format = Format {
    name: "ndjson",
    about: "one JSON record per line: flows, findings, health checks, the summary last",
    lists_flows: true,
    stream: Some(start),
    write,
};

fn write(report: &Report, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    for capture in &report.captures {
        write_capture(capture, out)?;
    }
    for flow in &report.flows {
        write_flow(flow, &report.tunnels, out)?;
    }
    for exchange in report.exchanges.iter().filter(|_| style.all) {
        write_exchange(exchange, out)?;
    }
    for finding in &report.findings {
        line(&Record::Finding(model::Finding::new(finding, report.logs.as_ref())), out)?;
    }
    for correlation in &report.correlations {
        write_correlation(correlation, out)?;
    }
    for target in &report.health.targets {
        for prober in &target.probers {
            for check in &prober.checks {
                write_check(target.server, &prober.id, check, out)?;
            }
        }
        for entry in &target.timeline {
            let prober = target.probers.get(entry.prober).map_or("unknown", |it| &it.id);
            write_transition(target.server, prober, entry, out)?;
        }
        write_target(target, out)?;
    }
    write_logs(report, out)?;
    write_summary(report, out)
}

fn start<'a>(out: &'a mut dyn Write, _: &Style, prompt: bool) -> Box<dyn Records + 'a> {
    Box::new(Stream { out, prompt, error: None })
}

/// Writes each record when it becomes known, and the rest at the end: captures and the summary.
struct Stream<'a> {
    out: &'a mut dyn Write,
    /// Somebody waits at the other end: nothing stays in a buffer.
    prompt: bool,
    error: Option<io::Error>,
}

impl Stream<'_> {
    fn write(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
        if self.error.is_some() {
            return;
        }
        let written = write(self.out);
        let written = if self.prompt { written.and_then(|()| self.out.flush()) } else { written };
        self.error = written.err();
    }
}

impl Records for Stream<'_> {
    fn is_open(&self) -> bool {
        self.error.is_none()
    }

    fn flow(&mut self, flow: &flow::Flow, tunnels: &[String]) {
        self.write(|out| write_flow(flow, tunnels, out));
    }

    fn exchange(&mut self, flow: u64, exchange: &http::Exchange) {
        self.write(|out| write_exchange(&(flow, exchange.clone()), out));
    }

    fn finding(&mut self, finding: &cause::Finding) {
        self.write(|out| write_finding(finding, out));
    }

    fn explained(&mut self, finding: &cause::Finding, logs: &Logs) {
        self.write(|out| write_explained(finding, None, logs, out));
    }

    fn check(&mut self, server: Endpoint, prober: &str, check: &health::Check) {
        self.write(|out| write_check(server, prober, check, out));
    }

    fn transition(&mut self, server: Endpoint, prober: &str, entry: &health::Entry) {
        self.write(|out| write_transition(server, prober, entry, out));
    }

    fn finish(mut self: Box<Self>, report: &Report) -> io::Result<()> {
        self.write(|out| write_rest(report, out));
        self.error.map_or(Ok(()), Err)
    }
}

/// Writes what is known only at the end: correlations, targets, captures and the summary.
pub fn write_rest(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for correlation in &report.correlations {
        write_correlation(correlation, out)?;
    }
    for target in &report.health.targets {
        write_target(target, out)?;
    }
    for capture in &report.captures {
        write_capture(capture, out)?;
    }
    write_logs(report, out)?;
    write_summary(report, out)
}

/// Writes a capture file, once it has been read.
pub fn write_capture(capture: &CaptureInfo, out: &mut dyn Write) -> io::Result<()> {
    line(&Record::Capture(model::Capture::new(capture)), out)
}

/// Writes a flow, once it is finished; `tunnels` as in [`Report::tunnels`].
pub fn write_flow(flow: &flow::Flow, tunnels: &[String], out: &mut dyn Write) -> io::Result<()> {
    line(&Record::Flow(model::Flow::new(flow, tunnels, None)), out)
}

/// Writes an exchange with the id of its flow.
pub fn write_exchange(exchange: &(u64, http::Exchange), out: &mut dyn Write) -> io::Result<()> {
    line(&Record::Exchange(model::Exchange::new(exchange)), out)
}

/// Writes a finding.
pub fn write_finding(finding: &cause::Finding, out: &mut dyn Write) -> io::Result<()> {
    line(&Record::Finding(model::Finding::new(finding, None)), out)
}

/// Writes a finding as it is told live: `early`, before its connection is over, or when it is; `before` is
/// what was told last of the same failure.
pub fn write_live(
    finding: &cause::Finding,
    early: bool,
    before: Option<Told>,
    out: &mut dyn Write,
) -> io::Result<()> {
    line(&Record::Finding(model::Finding::new(finding, None).live(early, before)), out)
}

/// Writes that a failure that was told live is none.
pub fn write_withdrawn(withdrawn: &Withdrawn, out: &mut dyn Write) -> io::Result<()> {
    line(&Record::Withdrawn(model::WithdrawnRecord::new(withdrawn)), out)
}

/// Writes a finding with its log lines; `before` is what was told of it live without them.
pub fn write_explained(
    finding: &cause::Finding,
    before: Option<Told>,
    logs: &Logs,
    out: &mut dyn Write,
) -> io::Result<()> {
    line(&Record::Finding(model::Finding::new(finding, Some(logs)).live(false, before)), out)
}

/// Writes what belongs to one request of a proxy's client.
pub fn write_correlation(correlation: &join::Correlation, out: &mut dyn Write) -> io::Result<()> {
    line(&Record::Correlation(model::Correlation::new(correlation)), out)
}

/// Writes a health check of `server`.
pub fn write_check(
    server: Endpoint,
    prober: &str,
    check: &health::Check,
    out: &mut dyn Write,
) -> io::Result<()> {
    line(&Record::Check(model::CheckRecord::new(server, prober, check)), out)
}

/// Writes a change of a target's state.
pub fn write_transition(
    server: Endpoint,
    prober: &str,
    entry: &health::Entry,
    out: &mut dyn Write,
) -> io::Result<()> {
    line(&Record::Transition(model::Transition::new(server, prober, entry)), out)
}

/// Writes something that happened on the host that captures.
pub fn write_host(event: &crate::host::Event, out: &mut dyn Write) -> io::Result<()> {
    line(&Record::Host(model::Happened::new(event)), out)
}

/// Writes a target at the end of a run.
pub fn write_target(target: &health::Target, out: &mut dyn Write) -> io::Result<()> {
    line(&Record::Target(model::Target::new(target, false)), out)
}

/// Writes the logs that were read, and their failing lines.
pub fn write_logs(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let Some(logs) = &report.logs else { return Ok(()) };
    for source in &logs.sources {
        line(&Record::Log(model::LogSource::new(logs, source)), out)?;
    }
    for failing in &logs.failing {
        line(&Record::LogLine(model::FailingLine::new(logs, failing)), out)?;
    }
    Ok(())
}

/// Writes the summary, the last record. Of the report it needs the summary, the patterns, the
/// warnings and, where findings were kept, their number.
pub fn write_summary(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    line(&Record::Summary(model::Total::new(report)), out)
}

fn line(record: &Record<'_>, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, record)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{RECORD_SCHEMA, fixture};
    use serde_json::Value;

    fn records(all: bool) -> Vec<Value> {
        let style = Style { all, ..Style::default() };
        let text = fixture::written("ndjson", &fixture::report(), &style);
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn every_line_names_its_record_and_the_summary_is_last() {
        let names = |all| -> Vec<String> {
            let mut names: Vec<String> = records(all)
                .iter()
                .map(|record| record["record"].as_str().unwrap().to_owned())
                .collect();
            names.dedup();
            names
        };
        let health = ["check", "transition", "target", "target", "summary"];
        let wanted = |first: &[&'static str]| [first, &health].concat();
        let deduplicated = |mut names: Vec<&'static str>| {
            names.dedup();
            names
        };
        assert_eq!(names(false), deduplicated(wanted(&["capture", "flow", "finding"])));
        assert_eq!(names(true), deduplicated(wanted(&["capture", "flow", "exchange", "finding"])));
    }

    #[test]
    fn records_look_as_agreed() {
        let style = Style { all: true, ..Style::default() };
        let text = fixture::written("ndjson", &fixture::report(), &style);
        fixture::same_as_file("snapshots/report.ndjson", &text);
    }

    #[test]
    fn every_line_obeys_the_schema() {
        let schema: Value = serde_json::from_str(RECORD_SCHEMA).unwrap();
        for record in records(true) {
            fixture::obeys(&record, &schema, &schema, "record");
        }
    }

    #[test]
    fn logs_and_their_failing_lines_are_records() {
        let mut report = fixture::report();
        report.logs = Some(crate::join::log::Logs::sample(&report.findings[0]));
        let schema: Value = serde_json::from_str(RECORD_SCHEMA).unwrap();
        let text = fixture::written("ndjson", &report, &Style::default());
        let records: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of = |kind: &str| -> Vec<&Value> {
            records.iter().filter(|record| record["record"] == kind).collect()
        };
        for record in [of("log"), of("log-line"), of("finding")].concat() {
            fixture::obeys(record, &schema, &schema, "record");
        }
        assert_eq!((of("log").len(), of("log-line").len()), (1, 2));
        assert_eq!(of("log-line")[0]["flows"][0]["flow"], of("finding")[0]["flow"]);
        assert_eq!(of("finding")[0]["log"][0]["line"], 7);
    }

    #[test]
    fn records_are_those_of_the_json_format() {
        let json = fixture::written("json", &fixture::report(), &Style::default());
        let json: Value = serde_json::from_str(&json).unwrap();
        let mut finding = records(false).into_iter().find(|r| r["record"] == "finding").unwrap();
        finding.as_object_mut().unwrap().remove("record");
        assert_eq!(finding, json["findings"][0]);
        assert_eq!(records(false).last().unwrap()["by_cause"], json["summary"]["by_cause"]);
    }
}
