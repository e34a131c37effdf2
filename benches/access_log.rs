//! Writes the access log of an Application Load Balancer beside a capture: its requests, and before and
//! after them others, so that it is as long as wanted: `cargo bench --bench access_log -- LINES CAPTURE FILE`.

use jiff::Timestamp;
use std::fs::File;
use std::io::{BufWriter, Error, Result, Write};
use std::path::Path;
use why502::flow::Flow;
use why502::http::{Exchange, RequestHead};
use why502::run::{Patient, Settings, analyse};

fn main() -> Result<()> {
    // `cargo bench` adds `--bench` of its own, and runs every target without more.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Ok(()),
        [lines, capture, file] => {
            let mut out = BufWriter::with_capacity(1 << 20, File::create(file)?);
            log(Path::new(capture), lines.parse().map_err(Error::other)?, &mut out)?;
            out.flush()
        }
        _ => Err(Error::other("access_log LINES CAPTURE FILE")),
    }
}

/// Writes `lines` lines about what was sent to targets in `capture`.
pub(crate) fn log(capture: &Path, lines: u64, out: &mut impl Write) -> Result<()> {
    let settings = Settings { exchanges: true, flows: true, ..Settings::default() };
    let report = analyse(&[capture.to_owned()], &settings, &mut Patient).map_err(Error::other)?;
    let mut known: Vec<(&Exchange, &Flow)> = Vec::new();
    for (id, exchange) in &report.exchanges {
        let at = report.flows.binary_search_by_key(id, |flow| flow.id);
        known.extend(at.ok().map(|at| (exchange, &report.flows[at])));
    }
    // Lines are written when the client has its answer.
    known.sort_by_key(|(exchange, _)| exchange.response.as_ref().map(|it| it.last.frame));
    let more = lines.saturating_sub(known.len() as u64);
    let first = known.first().and_then(|it| it.0.request.as_ref()).map_or(0, |it| it.first.at.0);
    for n in (1..=more / 2).rev() {
        other(first - n as i64 * 1_000_000, n, out)?;
    }
    for (n, (exchange, flow)) in (0..).zip(&known) {
        line(n, exchange, flow, out)?;
    }
    let last = report.captures.iter().filter_map(|it| it.last).max().map_or(0, |it| it.0);
    for n in 1..=more - more / 2 {
        other(last + n as i64 * 1_000_000, n, out)?;
    }
    Ok(())
}

fn line(n: u64, exchange: &Exchange, flow: &Flow, out: &mut impl Write) -> Result<()> {
    let Some(request) = &exchange.request else { return Ok(()) };
    let head = RequestHead::parse(&request.head);
    let (method, target) = (head.method(), head.target());
    let seconds = |from: i64, to: i64| (to - from) as f64 / 1e9;
    let (began, sent) = (request.first.at.0 - 400_000, request.first.at.0);
    let (answered, status, done) = match &exchange.response {
        Some(response) => {
            let status = response.status.map_or("-".to_owned(), |status| status.to_string());
            (seconds(sent, response.first.at.0), status, response.last.at.0)
        }
        None => (-1.0, "-".to_owned(), request.last.at.0),
    };
    let given = if status == "-" { "502" } else { &status };
    writeln!(
        out,
        "http {} app/bench/0123456789abcdef 203.0.113.{}:{} {} 0.000 {answered:.3} {:.3} {given} {status} 120 4096 \
         \"{method} http://shop.example:80{target} HTTP/1.1\" \"Mozilla/5.0 (X11; Linux x86_64)\" - - \
         arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/bench/0123456789abcdef \
         \"Root=1-6a20c001-{n:024x}\" \"-\" \"-\" 0 {} \"forward\" \"-\" \"-\" \"{}\" \"{status}\" \"-\" \"-\" TID_{n:032x}",
        iso(done + 100_000)?,
        n % 251 + 1,
        10_000 + n % 50_000,
        flow.server.socket(),
        0.0,
        iso(began)?,
        flow.server.socket(),
    )
}

/// A request that was not captured.
fn other(at: i64, n: u64, out: &mut impl Write) -> Result<()> {
    writeln!(
        out,
        "http {} app/bench/0123456789abcdef 198.51.100.{}:{} 10.9.0.{}:8080 0.000 0.012 0.000 200 200 120 4096 \
         \"GET http://shop.example:80/other/{n} HTTP/1.1\" \"Mozilla/5.0 (X11; Linux x86_64)\" - - \
         arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/bench/0123456789abcdef \
         \"Root=1-6a20c002-{n:024x}\" \"-\" \"-\" 0 {} \"forward\" \"-\" \"-\" \"10.9.0.{}:8080\" \"200\" \"-\" \"-\" TID_{n:032x}",
        iso(at)?,
        n % 251 + 1,
        10_000 + n % 50_000,
        n % 7 + 1,
        iso(at - 12_000_000)?,
        n % 7 + 1,
    )
}

fn iso(nanos: i64) -> Result<String> {
    let at = Timestamp::from_nanosecond(i128::from(nanos)).map_err(Error::other)?;
    Ok(at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
}
