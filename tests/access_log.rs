//! What packets say of a request beside nginx's own log of the same request.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use support::health::{items, report};
use support::lab::{Run, analyse, runs, shipped};
use why502::flow::Flow;
use why502::http::Exchange;

/// nginx counts in whole milliseconds of a clock that it reads once in each turn of its event loop.
/// On a busy machine that may be some milliseconds late; the shipped log is of an idle one.
const MILLISECONDS: f64 = 1.0;
/// nginx logs the kernel's smoothed estimate, which moves by an eighth of each new sample
/// (RFC 6298, 2.3); the path of the lab has a constant delay.
const RTT_TOLERANCE: f64 = 0.1;

fn logged() -> Run {
    let some = |run: &Run| !items(&run.truth["access_log"]).is_empty();
    runs(&shipped()).into_iter().find(some).expect("a run with an access log")
}

/// The log's line for a request: client, port, ordinal.
fn line(run: &Run, ip: &str, port: u64, ordinal: u64) -> Option<Value> {
    let same = |line: &&Value| {
        line["client"] == ip
            && line["client_port"] == port
            && line["connection_requests"] == ordinal
    };
    items(&run.truth["access_log"]).iter().find(same).cloned()
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

/// Seconds from the first byte of the request to the last byte of its answer.
fn took(exchange: &Exchange) -> f64 {
    let (request, response) =
        (exchange.request.as_ref().unwrap(), exchange.response.as_ref().unwrap());
    response.last.at.since(request.first.at)
}

#[track_caller]
fn assert_same_time(seconds: f64, line: &Value) {
    let difference = (seconds - number(&line["request_time"])) * 1e3;
    assert!(difference.abs() <= MILLISECONDS, "{difference} ms: {line}");
}

/// Every request that nginx logged, of users and of checks: the same status, position, bytes and time.
#[test]
fn packets_say_of_each_request_what_nginx_logged() {
    let run = logged();
    let analysed = analyse(&run.target);
    let flows: BTreeMap<u64, &Flow> = analysed.flows.iter().map(|flow| (flow.id, flow)).collect();
    let mut compared = 0;
    for (flow, exchange) in &analysed.exchanges {
        let client = flows[flow].client;
        let ip = client.addr().to_string();
        let Some(line) = line(&run, &ip, u64::from(client.port), u64::from(exchange.ordinal))
        else {
            panic!("nginx logged no request {} of {ip}:{}", exchange.ordinal, client.port);
        };
        let (request, response) =
            (exchange.request.as_ref().unwrap(), exchange.response.as_ref().unwrap());
        let sent = response.end - response.start;
        assert_eq!(line["status"], response.status.unwrap(), "{line}");
        assert_eq!(line["request_length"], request.end - request.start, "{line}");
        assert_eq!(line["bytes_sent"], sent, "{line}");
        assert_eq!(line["body_bytes_sent"], sent - response.head_len, "{line}");
        assert_same_time(took(exchange), &line);
        compared += 1;
    }
    assert_eq!(compared, items(&run.truth["access_log"]).len());
    assert!(compared > 30, "only {compared} requests");
}

/// The record of each check in the report has the same content as nginx's line.
#[test]
fn the_record_of_a_check_is_nginxs_line() {
    let run = logged();
    let report = report(&run.target, &[]);
    let checks = items(&report["targets"])
        .iter()
        .flat_map(|target| items(&target["probers"]).iter().map(move |prober| (target, prober)))
        .filter(|(_, prober)| prober["id"] == "aws-alb")
        .flat_map(|(target, prober)| {
            items(&prober["checks"]).iter().map(move |check| (target, check))
        });
    let mut compared = 0;
    for (target, check) in checks {
        let ip = check["source"]["ip"].as_str().unwrap();
        let port = check["source"]["port"].as_u64().unwrap();
        let line = line(&run, ip, port, check["ordinal"].as_u64().unwrap()).expect("a line");
        let asked = &check["request"];
        let request = format!(
            "{} {} {}",
            asked["method"].as_str().unwrap(),
            asked["target"].as_str().unwrap(),
            asked["version"].as_str().unwrap()
        );
        let same = [
            (&line["server"], &target["server"]["ip"]),
            (&line["server_port"], &target["server"]["port"]),
            (&line["request"], &Value::from(request)),
            (&line["host"], &asked["host"]),
            (&line["user_agent"], &asked["user_agent"]),
            (&line["connection_header"], &asked["connection"]),
            (&line["status"], &check["status"]),
            (&line["request_length"], &check["request_bytes"]),
            (&line["body_bytes_sent"], &check["body_bytes"]),
            (&line["bytes_sent"], &check["sent_bytes"]),
        ];
        for (logged, seen) in same {
            assert_eq!(logged, seen, "{line}\n{check}");
        }
        for name in ["x_forwarded_for", "x_forwarded_proto", "x_forwarded_port"] {
            assert_eq!(line[name], "", "{line}");
            assert!(asked[name].is_null(), "{check}");
        }
        assert_same_time(number(&check["duration_s"]), &line);
        let estimate = number(&line["tcpinfo_rtt"]) / 1e6;
        let rtt = number(&check["rtt_s"]);
        assert!((rtt - estimate).abs() <= RTT_TOLERANCE * estimate, "{rtt} s: {line}");
        compared += 1;
    }
    assert!(compared >= 8, "only {compared} checks");
}
