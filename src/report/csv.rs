//! The `csv` format: one table for a spreadsheet (RFC 4180, in UTF-8).
//!
//! Findings are written at the end, when it is known which of them are health checks; flows and
//! checks while captures are read.

use super::records::Records;
use super::{CsvTable, Format, Report, Style, filter, request, terms, words};
use crate::blind::BlindSpots;
use crate::capture::CaptureInfo;
use crate::cause::Finding;
use crate::flow::{self, Flow};
use crate::health::Check;
use crate::packet::Endpoint;
use crate::tcp::Side;
use crate::time::FrameId;
use csv::{Terminator, Writer, WriterBuilder};
use std::io::{self, Write};

pub(super) const FORMAT: Format = Format {
    name: "csv",
    about: "a table for spreadsheets: the findings, or what --csv-table names",
    lists_flows: true,
    stream: Some(start),
    write,
};

const FINDINGS: [&str; 35] = [
    "time",
    "cause",
    "kind",
    "confidence",
    "responsible",
    "client_ip",
    "client_port",
    "server_ip",
    "server_port",
    "method",
    "target",
    "host",
    "user_agent",
    "trace_id",
    "ordinal",
    "request_time",
    "request_frame",
    "status",
    "typical_status",
    "outstanding_s",
    "idle_before_s",
    "guilty_frame",
    "guilty_what",
    "guilty_side",
    "guilty_note",
    "evidence_frames",
    "capture",
    "file",
    "stream",
    "flow",
    "vantage",
    "blind_spots",
    "display_filter",
    "summary",
    "fix",
];

const FLOWS: [&str; 31] = [
    "flow",
    "file",
    "stream",
    "client_ip",
    "client_port",
    "server_ip",
    "server_port",
    "tunnel",
    "start",
    "duration_s",
    "first_frame",
    "last_frame",
    "last_file",
    "client_packets",
    "server_packets",
    "client_payload_bytes",
    "server_payload_bytes",
    "client_retransmissions",
    "server_retransmissions",
    "client_missing_bytes",
    "server_missing_bytes",
    "client_zero_windows",
    "server_zero_windows",
    "history",
    "rtt_s",
    "vantage",
    "protocol",
    "requests",
    "responses",
    "ended",
    "blind_spots",
];

const CHECKS: [&str; 25] = [
    "target_ip",
    "target_port",
    "prober",
    "time",
    "outcome",
    "confidence",
    "status",
    "latency_s",
    "duration_s",
    "source_ip",
    "source_port",
    "method",
    "path",
    "host",
    "user_agent",
    "note",
    "file",
    "frame",
    "decided_at",
    "decided_file",
    "decided_frame",
    "stream",
    "flow",
    "ordinal",
    "blind_spots",
];

fn write(report: &Report, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(style.csv_table, out);
    match style.csv_table {
        CsvTable::Findings => {}
        CsvTable::Flows => {
            report.flows.iter().for_each(|flow| table.flow(flow, &report.tunnels));
        }
        CsvTable::Checks => {
            for target in &report.health.targets {
                for prober in &target.probers {
                    let checks = prober.checks.iter();
                    checks.for_each(|check| table.check(target.server, &prober.id, check));
                }
            }
        }
    }
    Box::new(table).finish(report)
}

fn start<'a>(out: &'a mut dyn Write, style: &Style, prompt: bool) -> Box<dyn Records + 'a> {
    Box::new(Table { prompt, ..Table::new(style.csv_table, out) })
}

/// One table in the making.
struct Table<'a> {
    table: CsvTable,
    writer: Writer<&'a mut dyn Write>,
    /// Somebody waits at the other end: no row stays in a buffer.
    prompt: bool,
    error: Option<io::Error>,
}

impl<'a> Table<'a> {
    /// The table with its header.
    fn new(table: CsvTable, out: &'a mut dyn Write) -> Table<'a> {
        let writer = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(out);
        let mut table = Table { table, writer, prompt: false, error: None };
        let header: &[&str] = match table.table {
            CsvTable::Findings => &FINDINGS,
            CsvTable::Flows => &FLOWS,
            CsvTable::Checks => &CHECKS,
        };
        table.row(&header.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        table
    }

    fn row(&mut self, cells: &[String]) {
        if self.error.is_some() {
            return;
        }
        let written = self.writer.write_record(cells).map_err(io::Error::from);
        let flush = |()| if self.prompt { self.writer.flush() } else { Ok(()) };
        self.error = written.and_then(flush).err();
    }
}

impl Records for Table<'_> {
    fn is_open(&self) -> bool {
        self.error.is_none()
    }

    fn flow(&mut self, flow: &Flow, tunnels: &[String]) {
        if self.table == CsvTable::Flows {
            self.row(&of_flow(flow, tunnels));
        }
    }

    fn check(&mut self, server: Endpoint, prober: &str, check: &Check) {
        if self.table == CsvTable::Checks {
            self.row(&of_check(server, prober, check));
        }
    }

    fn finish(mut self: Box<Self>, report: &Report) -> io::Result<()> {
        if self.table == CsvTable::Findings {
            for finding in &report.findings {
                self.row(&of_finding(finding, &report.captures));
            }
        }
        match self.error.take() {
            Some(error) => Err(error),
            None => self.writer.flush(),
        }
    }
}

/// Text that may come from a packet. A spreadsheet would run what looks like a formula; an
/// apostrophe in front keeps it text (OWASP, CSV Injection).
fn text(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    format!("{}{}", if formula { "'" } else { "" }, words::clean(text))
}

/// Nothing for what is not known.
fn known<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn seconds(nanos: i64) -> f64 {
    nanos as f64 / 1e9
}

fn spots(spots: BlindSpots) -> String {
    spots.iter().map(|spot| spot.id()).collect::<Vec<_>>().join(" ")
}

fn endpoint(endpoint: Endpoint) -> [String; 2] {
    [endpoint.addr().to_string(), endpoint.port.to_string()]
}

fn of_finding(finding: &Finding, captures: &[CaptureInfo]) -> Vec<String> {
    let exchange = finding.exchange.as_deref();
    let request = exchange.and_then(|exchange| exchange.request.as_ref());
    let response = exchange.and_then(|exchange| exchange.response.as_ref());
    let head = request.map(|request| request::read(&request.head)).unwrap_or_default();
    let part = |part: Option<std::borrow::Cow<'_, str>>| text(&part.unwrap_or_default());
    let guilty = finding.evidence.first();
    let file = guilty.map_or(0, |guilty| guilty.mark.frame.file());
    let frames: Vec<String> =
        finding.evidence.iter().map(|evidence| evidence.mark.frame.number().to_string()).collect();
    let [client_ip, client_port] = endpoint(finding.client);
    let [server_ip, server_port] = endpoint(finding.server);
    let number = |frame: FrameId| frame.number();
    vec![
        known(guilty.map(|guilty| guilty.mark.at)),
        finding.cause.id.to_owned(),
        finding.kind.id().to_owned(),
        finding.confidence.id().to_owned(),
        finding.responsible.id().to_owned(),
        client_ip,
        client_port,
        server_ip,
        server_port,
        part(head.method),
        part(head.target),
        part(head.host),
        part(head.user_agent),
        part(head.trace_id),
        known(exchange.map(|exchange| exchange.ordinal)),
        known(request.map(|request| request.first.at)),
        known(request.map(|request| number(request.first.frame))),
        known(response.and_then(|response| response.status)),
        known(finding.cause.typical_status),
        known(finding.outstanding.map(seconds)),
        known(finding.idle_before.map(seconds)),
        known(guilty.map(|guilty| number(guilty.mark.frame))),
        known(guilty.map(|guilty| guilty.what.id())),
        known(guilty.map(|guilty| terms::side(guilty.side))),
        text(guilty.map_or("", |guilty| &guilty.note)),
        frames.join(" "),
        text(captures.get(file as usize).map_or("", |capture| &capture.path)),
        file.to_string(),
        known(finding.stream),
        finding.flow.to_string(),
        finding.vantage.id().to_owned(),
        spots(finding.blind_spots),
        filter::of_finding(finding),
        text(&finding.summary),
        terms::fix(finding).to_owned(),
    ]
}

fn of_flow(flow: &Flow, tunnels: &[String]) -> Vec<String> {
    let both = |read: fn(&flow::Half) -> u64| {
        [Side::Client, Side::Server].map(|side| read(flow.half(side)).to_string())
    };
    let rtt = flow.opening.round_trip().or(flow.rtt.map(|rtt| rtt.smoothed));
    let mut cells =
        vec![flow.id.to_string(), flow.first.frame.file().to_string(), known(flow.stream)];
    cells.extend(endpoint(flow.client));
    cells.extend(endpoint(flow.server));
    cells.extend([
        text(tunnels.get(flow.tunnel.0 as usize).map_or("", String::as_str)),
        flow.first.at.to_string(),
        seconds(flow.last.at.nanos_since(flow.first.at)).to_string(),
        flow.first.frame.number().to_string(),
        flow.last.frame.number().to_string(),
        flow.last.frame.file().to_string(),
    ]);
    cells.extend(both(|half| half.packets));
    cells.extend(both(|half| half.payload_bytes));
    cells.extend(both(|half| u64::from(half.trouble().retransmissions)));
    cells.extend(both(|half| half.trouble().missing));
    cells.extend(both(|half| u64::from(half.trouble().zero_windows)));
    cells.extend([
        flow.history.as_str().to_owned(),
        known(rtt.map(seconds)),
        flow.vantage.id().to_owned(),
        terms::protocol_id(flow.protocol).to_owned(),
        flow.requests.to_string(),
        flow.responses.to_string(),
        match flow.ended_by {
            Some(side) => format!("{} by {}", terms::ended_id(flow.ended), terms::side(side)),
            None => terms::ended_id(flow.ended).to_owned(),
        },
        spots(flow.blind_spots),
    ]);
    cells
}

fn of_check(server: Endpoint, prober: &str, check: &Check) -> Vec<String> {
    let asked = check.request.as_deref();
    let mut cells = endpoint(server).to_vec();
    cells.extend([
        text(prober),
        check.began.to_string(),
        known(check.outcome.map(|outcome| outcome.id())),
        check.confidence.id().to_owned(),
        known(check.status),
        known(check.latency.map(seconds)),
        known(check.duration.map(seconds)),
    ]);
    cells.extend(endpoint(check.source));
    cells.extend([
        text(asked.map_or("", |asked| &asked.method)),
        text(asked.map_or("", |asked| &asked.target)),
        text(asked.and_then(|asked| asked.host.as_deref()).unwrap_or_default()),
        text(asked.and_then(|asked| asked.user_agent.as_deref()).unwrap_or_default()),
        text(&check.note),
        check.frame.frame.file().to_string(),
        check.frame.frame.number().to_string(),
        check.decisive.at.to_string(),
        check.decisive.frame.file().to_string(),
        check.decisive.frame.number().to_string(),
        known(check.stream),
        check.flow.to_string(),
        check.ordinal.to_string(),
        spots(check.blind_spots),
    ]);
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    fn written(report: &Report, csv_table: CsvTable) -> String {
        fixture::written("csv", report, &Style { csv_table, ..Style::default() })
    }

    fn rows(text: &str) -> Vec<Vec<String>> {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
        let rows = reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect());
        rows.collect()
    }

    #[test]
    fn tables_look_as_agreed() {
        let report = fixture::several_files();
        for (table, name) in [
            (CsvTable::Findings, "findings"),
            (CsvTable::Flows, "flows"),
            (CsvTable::Checks, "checks"),
        ] {
            fixture::same_as_file(&format!("snapshots/{name}.csv"), &written(&report, table));
        }
    }

    #[test]
    fn every_row_has_the_cells_of_the_header_and_ends_as_the_rfc_says() {
        for table in [CsvTable::Findings, CsvTable::Flows, CsvTable::Checks] {
            // The reader refuses rows of different lengths.
            let text = written(&fixture::several_files(), table);
            assert!(rows(&text).len() > 2 && text.ends_with("\r\n"), "{text}");
            assert_eq!(rows(&written(&Report::default(), table)).len(), 1);
        }
    }

    #[test]
    fn a_packet_cannot_put_a_formula_into_a_spreadsheet() {
        let mut report = fixture::report();
        let exchange = report.findings[0].exchange.as_mut().unwrap();
        exchange.request.as_mut().unwrap().head =
            b"GET =cmd|'/c,calc' HTTP/1.1\r\nHost: a\"b\x1b\r\nUser-Agent: @x\r\n\r\n".to_vec();
        let rows = rows(&written(&report, CsvTable::Findings));
        let cell = |name| &rows[1][FINDINGS.iter().position(|it| *it == name).unwrap()];
        assert_eq!(cell("target"), "'=cmd|'/c,calc'");
        assert_eq!(cell("host"), "a\"b\\u{1b}");
        assert_eq!(cell("user_agent"), "'@x");
        // A number may be negative.
        assert_eq!(cell("outstanding_s"), "-0.001");
    }

    #[test]
    fn what_is_written_on_the_way_is_the_same() {
        let report = fixture::report();
        let style = Style { csv_table: CsvTable::Flows, ..Style::default() };
        let mut out = Vec::new();
        let mut table = start(&mut out, &style, true);
        for flow in &report.flows {
            table.flow(flow, &report.tunnels);
            table.finding(&report.findings[0]);
        }
        table.finish(&report).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), written(&report, CsvTable::Flows));
    }
}
