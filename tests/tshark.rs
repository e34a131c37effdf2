//! tshark agrees: frame numbers, `tcp.stream`, packets and payload bytes per stream and
//! direction, and which response answers which request, on every capture that ships.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::lab::{analyse, runs};
use why502::http::State;
use why502::tcp::Side;

fn captures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    runs(&folder).into_iter().flat_map(|run| [run.lb, run.target]).collect()
}

/// Rows of tab-separated fields, or `None` when tshark is not there and may be missing.
fn tshark(capture: &Path, filter: &str, fields: &[&str]) -> Option<Vec<Vec<String>>> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-r"]).arg(capture).args(["-Y", filter, "-T", "fields"]);
    // The frame of a message is where its head is complete, not where its body is.
    command.args(["-o", "http.desegment_body:FALSE"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = match command.output() {
        Ok(output) => output,
        Err(_) if std::env::var_os("WHY502_SKIP").is_none_or(|skip| skip != "never") => {
            eprintln!("skipped: tshark is not installed");
            return None;
        }
        Err(error) => panic!("tshark: {error}"),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
}

/// Frames and payload bytes, and first and last frame, of one direction of one stream.
type Volume = (u64, u64);

#[test]
fn streams_carry_the_same_packets_and_bytes() {
    for capture in captures() {
        let Some(rows) = tshark(
            &capture,
            "tcp and not icmp",
            &["frame.number", "tcp.stream", "ip.src", "tcp.srcport", "tcp.len"],
        ) else {
            return;
        };
        let mut theirs: BTreeMap<(u32, String), Volume> = BTreeMap::new();
        let mut spans: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for row in rows {
            let frame: u64 = row[0].parse().unwrap();
            let stream: u32 = row[1].parse().unwrap();
            let volume = theirs.entry((stream, format!("{}:{}", row[2], row[3]))).or_default();
            volume.0 += 1;
            volume.1 += row[4].parse::<u64>().unwrap();
            let span = spans.entry(stream).or_insert((frame, frame));
            span.1 = frame;
        }
        let report = analyse(&capture);
        let mut ours: BTreeMap<(u32, String), Volume> = BTreeMap::new();
        let mut our_spans: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for flow in &report.flows {
            let stream = flow.stream.unwrap();
            for side in [Side::Client, Side::Server] {
                let half = flow.half(side);
                if half.packets > 0 {
                    let name = flow.endpoint(side).socket().to_string();
                    let volume = ours.entry((stream, name)).or_default();
                    volume.0 += half.packets;
                    volume.1 += half.payload_bytes;
                }
            }
            let (first, last) = (flow.first.frame.number(), flow.last.frame.number());
            let span = our_spans.entry(stream).or_insert((first, last));
            *span = (span.0.min(first), span.1.max(last));
        }
        assert_eq!(ours, theirs, "{}", capture.display());
        assert_eq!(our_spans, spans, "{}", capture.display());
    }
}

#[test]
fn responses_answer_the_same_requests() {
    let mut compared = 0;
    for capture in captures() {
        let Some(rows) = tshark(
            &capture,
            "http.response and http.request_in",
            &["frame.number", "http.request_in", "tcp.stream", "http.response.code"],
        ) else {
            return;
        };
        let report = analyse(&capture);
        let flows: BTreeMap<u64, _> = report.flows.iter().map(|flow| (flow.id, flow)).collect();
        // Pipelined requests are left out: tshark pairs a response with the latest request.
        let mut per_flow: BTreeMap<u64, Vec<_>> = BTreeMap::new();
        for (flow, exchange) in &report.exchanges {
            per_flow.entry(*flow).or_default().push(exchange);
        }
        let mut ours = BTreeMap::new();
        for (flow, exchanges) in &per_flow {
            let pipelined = exchanges.windows(2).any(|pair| {
                let (Some(answer), Some(next)) = (&pair[0].response, &pair[1].request) else {
                    return false;
                };
                next.first.frame < answer.last.frame
            });
            for exchange in exchanges {
                let (Some(request), Some(response)) = (&exchange.request, &exchange.response)
                else {
                    continue;
                };
                if pipelined || exchange.state != State::Answered || response.unsolicited {
                    continue;
                }
                ours.insert(
                    response.first.frame.number(),
                    (
                        request.first.frame.number(),
                        flows[flow].stream.unwrap(),
                        response.status.unwrap(),
                    ),
                );
            }
        }
        for row in rows {
            let codes: Vec<&str> = row[3].split(',').collect();
            let (Ok(frame), [code]) = (row[0].parse::<u64>(), &codes[..]) else { continue };
            let Some((request, stream, status)) = ours.get(&frame) else { continue };
            assert_eq!(
                (row[1].clone(), row[2].clone(), (*code).to_owned()),
                (request.to_string(), stream.to_string(), status.to_string()),
                "{} frame {frame}",
                capture.display()
            );
            compared += 1;
        }
    }
    assert!(compared > 500, "only {compared} responses compared");
}
