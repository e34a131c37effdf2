//! TLS as tshark and the lab know it: what a handshake shows, what keys open, and that the same
//! requests give the same verdicts whether they come in clear or inside TLS with keys.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use support::health::{items, report};
use support::lab::{Run, analyse_with, runs, shipped, target};
use support::say;
use support::tshark_tls::{self, Connection, Inside};
use why502::http::RequestHead;
use why502::report::Report;

/// The run of a scenario behind a proxy.
fn named(scenario: &str, proxy: &str) -> Run {
    let is = |run: &Run| run.truth["scenario"] == scenario && run.truth["proxy"] == proxy;
    runs(&shipped()).into_iter().find(is).expect(scenario)
}

/// Runs with TLS in them.
fn tls_runs() -> Vec<Run> {
    let mut found = runs(&shipped());
    found.retain(|run| {
        let folder = run.name.split('/').next().unwrap();
        run.is_sealed()
            || folder.starts_with("tls-")
            || run.name.contains("-tls")
            || run.name.contains("https")
    });
    assert!(found.len() > 50, "{}", found.len());
    found
}

/// What our report says of each TLS connection, by Wireshark's stream.
fn ours(report: &Value) -> BTreeMap<u64, Connection> {
    let words = |list: &Value| -> Vec<String> {
        items(list).iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let word = |value: &Value| value.as_str().map(str::to_owned);
    let with_tls = items(&report["flows"]).iter().filter(|flow| flow["tls"].is_object());
    with_tls
        .map(|flow| {
            let tls = &flow["tls"];
            let alerts = items(&tls["alerts"]).iter().filter(|alert| alert["code"].is_u64());
            let connection = Connection {
                offered: words(&tls["offered"]),
                ciphers: words(&tls["ciphers_offered"]),
                sni: word(&tls["sni"]),
                alpn_offered: words(&tls["alpn_offered"]),
                version: word(&tls["version"]),
                cipher: word(&tls["cipher"]),
                alpn: word(&tls["alpn"]),
                alerts: alerts
                    .map(|alert| {
                        let number = |field: &str| alert[field].as_u64().unwrap();
                        let client = alert["side"] == "client";
                        let name = alert["description"].as_str().unwrap().to_owned();
                        (number("frame"), client, number("level"), name)
                    })
                    .collect(),
            };
            (flow["stream"].as_u64().unwrap(), connection)
        })
        .collect()
}

/// Requests and statuses of each stream.
fn ours_inside(report: &Report) -> BTreeMap<u64, Inside> {
    let streams: BTreeMap<u64, u64> =
        report.flows.iter().map(|flow| (flow.id, u64::from(flow.stream.unwrap()))).collect();
    let mut inside: BTreeMap<u64, Inside> = BTreeMap::new();
    for (flow, exchange) in &report.exchanges {
        let found = inside.entry(streams[flow]).or_default();
        if let Some(request) = &exchange.request {
            let head = RequestHead::parse(&request.head);
            found.requests.push(format!("{} {}", head.method(), head.target()));
        }
        let whole = exchange.response.as_ref().filter(|response| response.head_complete);
        found.statuses.extend(whole.and_then(|response| response.status));
    }
    for found in inside.values_mut() {
        found.requests.sort();
        found.statuses.sort();
    }
    inside
}

/// Compares one capture, with keys or without: the number of connections compared, and what differs.
fn compare(run: &Run, vantage: &str, keys: Option<&PathBuf>) -> Option<(usize, Vec<String>)> {
    let capture = run.capture(vantage);
    let port = run.truth["target"]["port"].as_u64().unwrap();
    let (mut theirs, inside) = tshark_tls::read(capture, port, keys.map(PathBuf::as_path))?;
    // tshark was told that this port speaks TLS; without a hello we are not.
    theirs.retain(|_, connection| !connection.offered.is_empty());
    let arguments: Vec<&str> =
        keys.iter().flat_map(|path| ["--keylog", path.to_str().unwrap()]).collect();
    let ours = ours(&report(capture, &arguments));
    let streams: BTreeSet<u64> = ours.keys().chain(theirs.keys()).copied().collect();
    let mut wrong: Vec<String> = streams
        .iter()
        .filter(|stream| ours.get(stream) != theirs.get(stream))
        .map(|stream| {
            format!("stream {stream}: {:?} is {:?}", ours.get(stream), theirs.get(stream))
        })
        .collect();
    if let Some(keys) = keys {
        let ours = ours_inside(&analyse_with(capture, std::slice::from_ref(keys)));
        let streams: BTreeSet<u64> = ours.keys().chain(inside.keys()).copied().collect();
        let agree = |stream: &&u64| match (ours.get(*stream), inside.get(*stream)) {
            (Some(ours), Some(theirs)) => ours.has(theirs),
            _ => false,
        };
        wrong.extend(streams.iter().filter(|stream| !agree(stream)).map(|stream| {
            format!("inside stream {stream}: {:?} is {:?}", ours.get(stream), inside.get(stream))
        }));
    }
    let name = format!("{} {vantage}{}", run.name, if keys.is_some() { " with keys" } else { "" });
    Some((streams.len(), wrong.iter().map(|wrong| format!("{name} {wrong}")).collect()))
}

/// Behind nginx at the load balancer, and what everybody sees; behind others at the target, and with
/// keys where there are any.
#[test]
fn tshark_agrees_on_every_tls_connection() {
    let runs = tls_runs();
    let one = |run: &Run| match run.truth["proxy"].as_str() {
        Some("nginx") => compare(run, "lb", None),
        _ => compare(run, "target", run.keys.as_ref()),
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let results = std::thread::scope(|scope| {
        let parts = runs.chunks(runs.len().div_ceil(threads));
        let parts: Vec<_> =
            parts.map(|part| scope.spawn(|| part.iter().map(one).collect::<Vec<_>>())).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect::<Option<Vec<_>>>()
    });
    let Some(results) = results else { return say("skipped: tshark is not installed") };
    let wrong: Vec<&String> = results.iter().flat_map(|(_, wrong)| wrong).collect();
    for complaint in &wrong {
        say(complaint);
    }
    assert!(wrong.is_empty(), "{} differences", wrong.len());
    let compared: usize = results.iter().map(|(count, _)| count).sum();
    assert!(compared > 200, "only {compared} connections compared");
}

/// Method, target, status and state of each request, and the cause that is found for it; in the
/// order of the targets.
type Essence = BTreeMap<String, (String, Option<u16>, String, Vec<String>)>;

fn essence(report: &Report) -> Essence {
    let mut causes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for finding in &report.findings {
        causes
            .entry(target(finding).unwrap_or_default())
            .or_default()
            .push(finding.cause.id.to_owned());
    }
    let requests = report.exchanges.iter().filter_map(|(_, exchange)| {
        let request = exchange.request.as_ref()?;
        let head = RequestHead::parse(&request.head);
        let target = head.target().into_owned();
        let status = exchange.response.as_ref().and_then(|response| response.status);
        let causes = causes.get(&target).cloned().unwrap_or_default();
        let state = format!("{:?}", exchange.state);
        Some((target, (head.method().into_owned(), status, state, causes)))
    });
    requests.collect()
}

/// The same 51 requests in clear, in TLS 1.2 and in TLS 1.3.
#[test]
fn requests_inside_tls_are_told_as_those_in_clear() {
    let plain = named("twin-plain", "nginx");
    for vantage in ["lb", "target"] {
        let clear = essence(&analyse_with(plain.capture(vantage), &[]));
        assert_eq!(clear.len(), plain.requests().count());
        assert_eq!(clear.len(), 51);
        for scenario in ["twin-tls12", "twin-tls13"] {
            let twin = named(scenario, "nginx");
            let keys = twin.keys.as_slice();
            let mut readings = vec![(twin.capture(vantage).to_owned(), keys)];
            if vantage == "lb" {
                readings.push((twin.secrets().unwrap(), &[]));
            }
            for (capture, keys) in readings {
                let sealed = essence(&analyse_with(&capture, keys));
                for (target, wanted) in &clear {
                    assert_eq!(sealed.get(target), Some(wanted), "{} {target}", capture.display());
                }
                assert_eq!(sealed.len(), clear.len(), "{}", capture.display());
            }
            let closed = analyse_with(twin.capture(vantage), &[]);
            assert!(closed.exchanges.iter().all(|(_, exchange)| {
                exchange.request.as_ref().is_none_or(|request| request.head.is_empty())
            }));
        }
    }
}

/// Whether the keys come in a file or in the capture makes no difference.
#[test]
fn keys_in_the_capture_are_as_good_as_a_key_log() {
    let mut compared = 0;
    for run in tls_runs() {
        let Some(secrets) = run.secrets() else { continue };
        let outside = analyse_with(&run.lb, run.keys.as_slice());
        let inside = analyse_with(&secrets, &[]);
        assert_eq!(essence(&inside), essence(&outside), "{}", run.name);
        assert!(inside.exchanges.len() >= run.requests().count(), "{}", run.name);
        compared += 1;
    }
    assert!(compared >= 4, "{compared}");
}

/// Nothing is found where nothing fails, and keys open every request that the truth has.
#[test]
fn healthy_tls_has_no_finding() {
    let (mut sealed, mut opened) = (0, 0);
    for run in tls_runs().iter().filter(|run| run.name.contains("healthy")) {
        for vantage in ["lb", "target"] {
            for keys in run.readings() {
                let report = analyse_with(run.capture(vantage), keys);
                let found: Vec<_> = report.findings.iter().map(|found| &found.summary).collect();
                assert!(found.is_empty(), "{} {vantage} {keys:?}: {found:?}", run.name);
                sealed += usize::from(keys.is_empty());
                if keys.is_empty() {
                    continue;
                }
                let known = essence(&report);
                for request in run.requests() {
                    let target = request["target"].as_str().unwrap();
                    let found =
                        known.get(target).map(|(method, status, ..)| (method.as_str(), *status));
                    let status = request["status"].as_u64().map(|status| status as u16);
                    let wanted = (request["method"].as_str().unwrap(), status);
                    assert_eq!(found, Some(wanted), "{} {vantage} {target}", run.name);
                    opened += 1;
                }
            }
        }
    }
    assert!(sealed > 40 && opened > 400, "{sealed} captures, {opened} requests");
}
