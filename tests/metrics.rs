//! Metrics: what Prometheus is told about real captures is what the report says.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::say;
use why502::cause::{ALL, Finding};
use why502::health::{Check, Entry};
use why502::live::Asset;
use why502::live::evidence::Counters;
use why502::live::metrics::{Capture, Metrics, TARGETS};
use why502::packet::Endpoint;
use why502::report::Report;
use why502::run::{Listener, Settings, analyse};

fn captures(folder: &str) -> Vec<PathBuf> {
    vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("captures").join(folder)]
}

/// What a capture gives, told to metrics as well.
fn told(folder: &str, targets: usize) -> (Metrics, Report) {
    let mut metrics = Metrics::new(targets).unwrap();
    let settings = Settings { exchanges: true, ..Settings::default() };
    let report = analyse(&captures(folder), &settings, &mut metrics).unwrap();
    (metrics, report)
}

/// The samples: name and labels, and the value.
fn samples(metrics: &Metrics) -> BTreeMap<String, f64> {
    let text = String::from_utf8(metrics.text().unwrap()).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// The sum of the samples of a metric with all these labels.
fn sum(samples: &BTreeMap<String, f64>, name: &str, labels: &[&str]) -> f64 {
    samples
        .iter()
        .filter(|(sample, _)| sample.split('{').next() == Some(name))
        .filter(|(sample, _)| labels.iter().all(|label| sample.contains(label)))
        .map(|(_, value)| value)
        .sum()
}

#[test]
fn counts_are_those_of_the_report() {
    let (metrics, report) = told("demo/nginx-demo-lb.pcap", TARGETS);
    let samples = samples(&metrics);
    assert!(report.summary.by_cause.len() > 2);
    for (cause, count) in &report.summary.by_cause {
        let label = format!("cause=\"{cause}\"");
        let counted = sum(&samples, "why502_findings_total", &[&label]);
        assert_eq!(counted, *count as f64, "{cause}");
    }
    let target = "target=\"198.51.100.20:8080\"";
    let found = sum(&samples, "why502_findings_total", &[target]);
    assert_eq!(found, report.findings.len() as f64);
    let requests = report.exchanges.iter().filter(|(_, exchange)| exchange.request.is_some());
    assert_eq!(sum(&samples, "why502_requests_total", &[]), requests.count() as f64);
    let flows = report.summary.flows as f64;
    assert_eq!(sum(&samples, "why502_connections_total", &[target]), flows);
    let answers = |class: u16| {
        let statuses = report.exchanges.iter().filter_map(|(_, exchange)| {
            exchange.response.as_ref().and_then(|response| response.status)
        });
        statuses.filter(|status| status / 100 == class).count() as f64
    };
    for class in 1..=5 {
        let label = format!("class=\"{class}xx\"");
        assert_eq!(sum(&samples, "why502_responses_total", &[&label]), answers(class), "{label}");
    }
    assert!(answers(2) > 300.0);
    let latencies = samples["why502_response_latency_seconds_count"];
    assert!(latencies > 300.0 && latencies <= requests_answered(&report), "{latencies}");
    let sum_of = samples["why502_response_latency_seconds_sum"];
    assert!(sum_of / latencies > 0.000_1 && sum_of / latencies < 2.0, "{sum_of} / {latencies}");
    assert!(sum(&samples, "why502_connection_rtt_seconds_count", &[target]) > 10.0);
}

fn requests_answered(report: &Report) -> f64 {
    report.exchanges.iter().filter(|(_, exchange)| exchange.response.is_some()).count() as f64
}

/// Counts outcomes beside the metrics.
struct Both {
    metrics: Metrics,
    outcomes: BTreeMap<&'static str, f64>,
}

impl Listener for Both {
    fn check(&mut self, server: Endpoint, prober: &str, check: &Check) {
        self.metrics.check(server, prober, check);
        let outcome = check.outcome.map_or("unknown", |outcome| outcome.id());
        *self.outcomes.entry(outcome).or_default() += 1.0;
    }
    fn transition(&mut self, server: Endpoint, prober: &str, entry: &Entry) {
        self.metrics.transition(server, prober, entry);
    }
}

#[test]
fn checks_and_states_are_those_of_the_report() {
    let mut both = Both { metrics: Metrics::new(TARGETS).unwrap(), outcomes: BTreeMap::new() };
    analyse(&captures("checks-and-users"), &Settings::default(), &mut both).unwrap();
    let samples = samples(&both.metrics);
    assert!(both.outcomes.len() > 1, "{:?}", both.outcomes);
    for (outcome, count) in &both.outcomes {
        let label = format!("outcome=\"{outcome}\"");
        assert_eq!(sum(&samples, "why502_checks_total", &[&label]), *count, "{outcome}");
    }
    for (sample, value) in samples.iter().filter(|(name, _)| name.contains("target_state{")) {
        assert!([0.0, 1.0].contains(value), "{sample} {value}");
    }
    let states: BTreeSet<&str> = samples
        .iter()
        .filter(|(name, value)| name.starts_with("why502_target_state{") && **value == 1.0)
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(sum(&samples, "why502_target_state", &[]), states.len() as f64);
}

#[test]
fn a_failure_counts_once_however_often_it_is_told() {
    let (_, report) = told("demo/nginx-demo-lb.pcap", TARGETS);
    let [first, second] = &report.findings[..2] else { panic!("too few") };
    let mut metrics = Metrics::new(TARGETS).unwrap();
    metrics.early(first);
    metrics.early(first);
    assert_eq!(sum(&samples(&metrics), "why502_findings_total", &[]), 1.0, "at once");
    metrics.finding(first);
    metrics.finding(second);
    assert_eq!(sum(&samples(&metrics), "why502_findings_total", &[]), 2.0);
    let other = ALL.iter().find(|cause| cause.id != first.cause.id).unwrap();
    metrics.early(first);
    metrics.finding(&Finding { cause: other, ..first.clone() });
    let samples = samples(&metrics);
    let label = format!("cause=\"{}\"", other.id);
    assert_eq!(sum(&samples, "why502_findings_total", &[&label]), 0.0, "it was told as another");
    assert_eq!(samples["why502_findings_revised_total"], 1.0);
}

#[test]
fn targets_beyond_the_bound_share_a_label() {
    let (metrics, report) = told("checks-and-users", 1);
    let samples = samples(&metrics);
    let targets: BTreeSet<&str> = samples
        .keys()
        .filter_map(|name| name.split("target=\"").nth(1)?.split('"').next())
        .collect();
    assert!(targets.len() <= 2, "{targets:?}");
    let found = sum(&samples, "why502_connections_total", &[]);
    assert_eq!(found, report.summary.flows as f64, "none is lost");
}

/// Metrics in which each has a value, and totals that were stated twice.
fn full() -> Metrics {
    let (mut metrics, report) = told("demo/nginx-demo-lb.pcap", TARGETS);
    let settings = Settings { exchanges: true, ..Settings::default() };
    analyse(&captures("checks-and-users"), &settings, &mut metrics).unwrap();
    metrics.early(&report.findings[0]);
    let (capture, evidence) = (Capture { packets: 5, ..Capture::default() }, Counters::default());
    for packets in [5, 9] {
        metrics.set_capture(&Capture { packets, memory: Some(7), kernel_drops: 3, ..capture });
        metrics.set_evidence(&Counters { packets, is_writing: true, ..evidence }, 1_000);
    }
    metrics
}

#[test]
fn totals_stated_again_are_no_sums() {
    let samples = samples(&full());
    assert_eq!(samples["why502_packets_total"], 9.0);
    assert_eq!(samples["why502_dropped_packets_total{by=\"kernel\"}"], 3.0);
    assert_eq!(samples["why502_evidence_packets_total"], 9.0);
    assert_eq!(samples["why502_evidence_writing"], 1.0);
    assert_eq!(samples["why502_queue_limit_bytes{queue=\"evidence\"}"], 1_000.0);
}

#[test]
fn every_metric_is_named_and_explained_as_prometheus_asks() {
    let metrics = full();
    let text = String::from_utf8(metrics.text().unwrap()).unwrap();
    let parsed =
        prometheus_parse::Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
    let counters = parsed
        .samples
        .iter()
        .filter(|sample| matches!(sample.value, prometheus_parse::Value::Counter(_)));
    assert!(counters.clone().count() > 30);
    for counter in counters {
        assert!(counter.metric.ends_with("_total"), "{}", counter.metric);
    }
    let histograms = parsed.samples.iter().filter_map(|sample| match &sample.value {
        prometheus_parse::Value::Histogram(buckets) => Some(buckets),
        _ => None,
    });
    for buckets in histograms.clone() {
        assert!(buckets.is_sorted_by_key(|bucket| bucket.count), "cumulative");
        assert!(buckets.last().unwrap().less_than.is_infinite());
    }
    assert!(histograms.count() >= 2);
    for name in metrics.names() {
        assert!(text.contains(&format!("# HELP {name} ")), "{name}");
        let kind = text.split(&format!("# TYPE {name} ")).nth(1).unwrap().lines().next().unwrap();
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
        assert!(!name.contains("_seconds_") && !name.contains("_milliseconds"), "{name}");
    }
    // What Prometheus' own linter says, where it is installed.
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        return say("promtool is not installed: its linter was not asked");
    };
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && words.is_empty(), "{words}");
}

/// The names of metrics in a text, without what histograms add.
fn named(text: &str) -> BTreeSet<String> {
    let name = regex::Regex::new(r"\b(?:why502|process)_[a-z0-9_]+").unwrap();
    let plain = |name: &str| {
        let histogram = name.strip_suffix("_bucket").unwrap_or(name);
        histogram.to_owned()
    };
    name.find_iter(text).map(|name| plain(name.as_str())).collect()
}

#[test]
fn dashboard_and_alerts_ask_for_what_there_is() {
    let metrics = full();
    let names: BTreeSet<String> = metrics.names().iter().cloned().collect();
    let text = String::from_utf8(metrics.text().unwrap()).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(Asset::Dashboard.text()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let asked: Vec<&str> = targets.map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(asked.len() > 20);
    // Labels that are asked for by value: kind="request".
    let label = regex::Regex::new(r#"\b([a-z]+)="([a-z0-9-]+)""#).unwrap();
    for expression in asked.iter().copied().chain([Asset::Alerts.text()]) {
        assert!(!expression.is_empty());
        let unknown: Vec<_> = named(expression).difference(&names).cloned().collect();
        assert!(unknown.is_empty(), "{unknown:?} in {expression}");
        for found in label.captures_iter(expression) {
            let (label, all) = (&found[1], &found[0]);
            let exists = match label {
                "job" | "severity" => true,
                "state" | "kind" => text.contains(all),
                "cause" => ALL.iter().any(|cause| cause.id == &found[2]),
                _ => false,
            };
            assert!(exists, "{all} in {expression}");
        }
    }
    let shown = named(Asset::Dashboard.text());
    assert!(shown.len() > 20, "{shown:?}");
    // Rows of panels do not overlap, and each is as wide as the page.
    let mut places = BTreeMap::<u64, u64>::new();
    for panel in panels {
        let place = &panel["gridPos"];
        *places.entry(place["y"].as_u64().unwrap()).or_default() += place["w"].as_u64().unwrap();
    }
    assert!(places.values().all(|width| *width == 24), "{places:?}");
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("alerts.yml");
    std::fs::write(&rules, Asset::Alerts.text()).unwrap();
    match Command::new("promtool").args(["check", "rules"]).arg(&rules).output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        Err(_) => say("promtool is not installed: it was not asked about the alerts"),
    }
}

#[test]
fn the_unit_runs_a_command_line_that_is_understood() {
    let unit = Asset::Unit.text();
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let words = start
        .replace("${STATE_DIRECTORY}", "/var/lib/why502")
        .replace("$WHY502_LIVE", "--port 8080 --lb-type alb");
    let cli = why502::cli::parse(words.split_whitespace(), ALL).unwrap();
    let Some(why502::cli::Command::Live(live)) = cli.command else { panic!("another command") };
    assert_eq!(live.metrics.unwrap().to_string(), "127.0.0.1:9502");
    assert!(live.evidence().unwrap().keep_findings.is_some());
    match Command::new("systemd-analyze").arg("--version").output() {
        Ok(output) if output.status.success() => {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("why502-live.service");
            std::fs::write(&path, unit.replace("/usr/local/bin/why502", "/bin/true")).unwrap();
            let output = Command::new("systemd-analyze").arg("verify").arg(&path).output().unwrap();
            let words = String::from_utf8_lossy(&output.stderr);
            assert!(!words.contains("why502-live.service"), "{words}");
        }
        _ => say("there is no systemd-analyze to verify the unit"),
    }
}

#[test]
fn what_is_served_is_what_is_counted() {
    let metrics = full();
    let server = metrics.serve("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(body.as_bytes(), metrics.text().unwrap());
}
