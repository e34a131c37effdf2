//! tshark agrees: frame numbers, `tcp.stream`, packets and payload bytes per stream and
//! direction, and which response answers which request, on every capture that ships.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::lab::{analyse, runs};
use why502::http::{Exchange, State};
use why502::report::Report;
use why502::tcp::Side;

fn captures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    runs(&folder).into_iter().flat_map(|run| [run.lb, run.target]).collect()
}

/// What tshark says of one TCP frame.
#[derive(Debug)]
struct Row {
    frame: u64,
    stream: u32,
    sender: String,
    len: u64,
    /// Frame of the request that it answers, and the status.
    answers: Option<(u64, u16)>,
}

/// The TCP frames of a capture, or `None` when tshark is not there and may be missing.
fn tshark(capture: &Path) -> Option<Vec<Row>> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-r"]).arg(capture).args(["-Y", "tcp and not icmp", "-T", "fields"]);
    // The frame of a message is where its head is complete, not where its body is.
    command.args(["-o", "http.desegment_body:FALSE"]);
    let fields = [
        "frame.number",
        "tcp.stream",
        "ip.src",
        "tcp.srcport",
        "tcp.len",
        "http.request_in",
        "http.response.code",
    ];
    command.args(fields.iter().flat_map(|field| ["-e", field]));
    let output = match command.output() {
        Ok(output) => output,
        Err(_) if std::env::var_os("WHY502_SKIP").is_none_or(|skip| skip != "never") => {
            return None;
        }
        Err(error) => panic!("tshark: {error}"),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rows = text.lines().map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        let number = |field: &str| field.parse::<u64>().ok();
        Row {
            frame: number(fields[0]).unwrap(),
            stream: number(fields[1]).unwrap() as u32,
            sender: format!("{}:{}", fields[2], fields[3]),
            len: number(fields[4]).unwrap(),
            answers: number(fields[5]).zip(number(fields[6]).map(|status| status as u16)),
        }
    });
    Some(rows.collect())
}

/// Packets and bytes of each direction of each stream, and its first and last frame.
type Volumes = (BTreeMap<(u32, String), (u64, u64)>, BTreeMap<u32, (u64, u64)>);

fn their_volumes(rows: &[Row]) -> Volumes {
    let (mut volumes, mut spans) = Volumes::default();
    for row in rows {
        let volume = volumes.entry((row.stream, row.sender.clone())).or_default();
        *volume = (volume.0 + 1, volume.1 + row.len);
        spans.entry(row.stream).or_insert((row.frame, row.frame)).1 = row.frame;
    }
    (volumes, spans)
}

fn our_volumes(report: &Report) -> Volumes {
    let (mut volumes, mut spans) = Volumes::default();
    for flow in &report.flows {
        let stream = flow.stream.unwrap();
        for side in [Side::Client, Side::Server] {
            let half = flow.half(side);
            if half.packets > 0 {
                let sender = flow.endpoint(side).socket().to_string();
                let volume = volumes.entry((stream, sender)).or_default();
                *volume = (volume.0 + half.packets, volume.1 + half.payload_bytes);
            }
        }
        let (first, last) = (flow.first.frame.number(), flow.last.frame.number());
        let span = spans.entry(stream).or_insert((first, last));
        *span = (span.0.min(first), span.1.max(last));
    }
    (volumes, spans)
}

/// Response frame to request frame, stream and status, of exchanges that can be compared: tshark
/// pairs a response with the latest request, so pipelined ones are left out, and it knows no
/// unsolicited responses.
fn our_pairs(report: &Report) -> BTreeMap<u64, (u64, u32, u16)> {
    let streams: BTreeMap<u64, u32> =
        report.flows.iter().map(|flow| (flow.id, flow.stream.unwrap())).collect();
    let mut by_flow: BTreeMap<u64, Vec<_>> = BTreeMap::new();
    for (flow, exchange) in &report.exchanges {
        by_flow.entry(*flow).or_default().push(exchange);
    }
    let pipelined = |exchanges: &[&Exchange]| {
        exchanges.windows(2).any(|pair| match (&pair[0].response, &pair[1].request) {
            (Some(answer), Some(next)) => next.first.frame < answer.last.frame,
            _ => false,
        })
    };
    let mut pairs = BTreeMap::new();
    for (flow, exchanges) in by_flow.iter().filter(|(_, exchanges)| !pipelined(exchanges)) {
        for exchange in exchanges {
            if let (Some(request), Some(response), State::Answered) =
                (&exchange.request, &exchange.response, exchange.state)
                && let Some(status) = response.status.filter(|_| !response.unsolicited)
            {
                let (asked, answered) = (request.first.frame, response.first.frame);
                pairs.insert(answered.number(), (asked.number(), streams[flow], status));
            }
        }
    }
    pairs
}

/// Compares one capture; gives the number of responses compared, or `None` without tshark.
fn compare(capture: &Path) -> Option<usize> {
    let rows = tshark(capture)?;
    let report = analyse(capture);
    assert_eq!(our_volumes(&report), their_volumes(&rows), "{}", capture.display());
    let ours = our_pairs(&report);
    let mut compared = 0;
    for row in &rows {
        if let (Some((request, status)), Some(pair)) = (row.answers, ours.get(&row.frame)) {
            assert_eq!(*pair, (request, row.stream, status), "{}", capture.display());
            compared += 1;
        }
    }
    Some(compared)
}

#[test]
fn tshark_agrees_on_every_shipped_capture() {
    let captures = captures();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let counts = std::thread::scope(|scope| {
        let parts = captures.chunks(captures.len().div_ceil(threads));
        let runs: Vec<_> = parts
            .map(|part| scope.spawn(|| part.iter().map(|path| compare(path)).collect::<Vec<_>>()))
            .collect();
        runs.into_iter().flat_map(|run| run.join().unwrap()).collect::<Option<Vec<_>>>()
    });
    match counts {
        None => support::say("skipped: tshark is not installed"),
        Some(counts) => {
            let compared: usize = counts.iter().sum();
            assert!(compared > 2000, "only {compared} responses compared");
        }
    }
}
