//! Proxies' own logs beside the captures of the lab.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use support::lab::{Run, runs, shipped};
use why502::cause::{Confidence, Finding, What};
use why502::http::RequestHead;
use why502::join::log::{Kind, LogSettings, Logs, Place, WhyNot};
use why502::report::Report;
use why502::run::{Patient, Settings, analyse};

/// The formats that `tests/lab/proxies.py` gives nginx and Envoy.
const FORMATS: [&str; 2] = [
    "$msec $remote_addr:$remote_port $status upstream=$upstream_status time=$request_time \
     bytes=$bytes_sent \"$request\"",
    "%START_TIME% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% \
     %UPSTREAM_TRANSPORT_FAILURE_REASON% %REQ(:METHOD)% %REQ(:PATH)%",
];

/// The report on a capture beside logs.
fn beside(capture: &Path, keys: Option<&Path>, log: &Path) -> Report {
    beside_some(capture, keys, log, None)
}

/// The same of some of its packets.
fn beside_some(capture: &Path, keys: Option<&Path>, log: &Path, filter: Option<&str>) -> Report {
    let settings = Settings {
        filter: filter.map(str::to_owned),
        exchanges: true,
        flows: true,
        keylogs: keys.iter().map(|keys| keys.to_path_buf()).collect(),
        logs: LogSettings {
            files: vec![log.to_owned()],
            formats: FORMATS.map(str::to_owned).to_vec(),
            all: true,
            ..LogSettings::default()
        },
        ..Settings::default()
    };
    analyse(&[capture.to_owned()], &settings, &mut Patient)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// The access log and the error log that a run's truth quotes, in a folder; and by the id of each
/// request its line in the access log.
fn write_logs(run: &Run, folder: &Path) -> BTreeMap<String, u64> {
    let connections = run.truth["connections"].as_array().into_iter().flatten();
    let unsent = connections.flat_map(|it| it["requests"].as_array().into_iter().flatten());
    let (mut access, mut errors, mut lines) = (String::new(), String::new(), BTreeMap::new());
    for request in run.requests().chain(unsent) {
        let mut text = request["log"].as_str().unwrap_or_default().lines();
        let Some(line) = text.next().filter(|line| is_of_proxy(line)) else { continue };
        access += &format!("{line}\n");
        lines.insert(request["id"].as_str().unwrap().to_owned(), access.lines().count() as u64);
        text.for_each(|line| errors += &format!("{line}\n"));
    }
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("access.log"), access).unwrap();
    fs::write(folder.join("error.log"), errors).unwrap();
    lines
}

/// Targets of the requests that a line is tied to, with how sure that is; empty for connections
/// without a request.
fn tied(report: &Report, logs: &Logs, file: &str, line: u64) -> Vec<(String, Confidence)> {
    let file = logs.files.iter().position(|it| it.path.ends_with(file)).unwrap() as u32;
    let target = |flow: u64, ordinal: u32| {
        let exchange =
            report.exchanges.iter().find(|(id, it)| (*id, it.ordinal) == (flow, ordinal));
        let request = exchange.and_then(|(_, it)| it.request.as_ref());
        request.map_or(String::new(), |it| RequestHead::parse(&it.head).target().into_owned())
    };
    logs.at(Place { file, line })
        .map(|tie| (target(tie.flow, tie.ordinal), tie.certainty))
        .collect()
}

/// Where a proxy logged nothing, the truth quotes the client.
fn is_of_proxy(line: &str) -> bool {
    !line.starts_with("client: ") && !line.contains(" logged nothing; ")
}

fn is_visible(request: &Value, vantage: &str) -> bool {
    request["visible"][vantage] == true
}

/// Of the lines that nginx and HAProxy wrote in all scenarios, those whose request is in the capture are
/// tied to it; none to another.
#[test]
fn proxies_own_logs_are_tied_to_their_requests() {
    let folder = tempfile::tempdir().unwrap();
    let (mut visible, mut right, mut wrong, mut missed) = (0, 0, Vec::new(), Vec::new());
    for run in runs(&shipped()) {
        let lines = write_logs(&run, &folder.path().join(&run.name));
        if lines.is_empty() {
            continue;
        }
        for vantage in ["lb", "target"] {
            let report =
                beside(run.capture(vantage), run.keys.as_deref(), &folder.path().join(&run.name));
            let logs = report.logs.as_ref().unwrap();
            for request in run.requests() {
                let Some(line) = lines.get(request["id"].as_str().unwrap()) else { continue };
                let found = tied(&report, logs, "access.log", *line);
                let asked = request["target"].as_str().unwrap();
                let name = || format!("{} {vantage} {line}: {asked} {found:?}", run.name);
                if found
                    .iter()
                    .any(|(it, sure)| it != asked && !it.is_empty() && *sure > Confidence::Possible)
                {
                    wrong.push(name());
                }
                // Without keys nothing of a request inside TLS is known.
                let readable = !request["sealed"].is_object() || run.keys.is_some();
                if is_visible(request, vantage) && readable {
                    visible += 1;
                    let sure = |(it, sure): &(String, Confidence)| {
                        it == asked && *sure > Confidence::Possible
                    };
                    match found.iter().any(sure) {
                        true => right += 1,
                        false => missed.push(name()),
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(visible > 2_000, "only {visible}");
    assert!(right * 1000 >= visible * 995, "{right} of {visible}:\n{}", missed.join("\n"));
}

/// Paths of the requests that findings of a report are about.
fn findings_by_path(report: &Report) -> BTreeMap<String, usize> {
    let named = report.findings.iter().enumerate();
    named.filter_map(|(n, finding)| Some((support::lab::target(finding)?, n))).collect()
}

/// A balancer's log with trace ids, 3.2 s behind and one line in a hundred damaged: at least 995 of
/// 1000 lines are tied to their request, none to another, and the clock is right to 50 ms.
#[test]
fn a_balancers_log_with_another_clock_and_damaged_lines() {
    let run = runs(&shipped()).into_iter().find(|run| run.truth["alb_log"].is_array()).unwrap();
    let texts: Vec<&str> =
        run.truth["alb_log"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("alb.log.gz");
    let mut packed =
        flate2::write::GzEncoder::new(fs::File::create(&log).unwrap(), flate2::Compression::fast());
    packed.write_all((texts.join("\n") + "\n").as_bytes()).unwrap();
    packed.finish().unwrap();
    for vantage in ["lb", "target"] {
        let report = beside(run.capture(vantage), None, &log);
        let logs = report.logs.as_ref().unwrap();
        let [source] = logs.sources.as_slice() else { panic!("{:?}", logs.sources) };
        assert_eq!(source.kind, Some(Kind::Alb));
        assert_eq!((source.lines, source.bad > 0), (texts.len() as u64, true));
        let whole = source.lines - source.bad;
        assert!(source.bad <= whole / 50, "{} damaged", source.bad);
        assert!(source.joined * 1000 >= whole * 995, "{} of {whole}", source.joined);
        // The way from the balancer to the target takes 25 ms.
        let way = if vantage == "lb" { 0.0 } else { 0.025 };
        let offset = source.clock.offset as f64 / 1e9;
        assert!((offset - 3.2 - way).abs() < 0.05, "{offset} s at {vantage}");
        let found = findings_by_path(&report);
        let mut failing = 0;
        for (number, text) in (1..).zip(&texts) {
            let tied = tied(&report, logs, "alb.log.gz", number);
            for (target, certainty) in &tied {
                let right = text.contains(&format!(":80{target} "));
                assert!(
                    right || *certainty == Confidence::Possible,
                    "{vantage} {number}: {target}"
                );
            }
            // Each finding names the line of its request.
            if let Some((path, _)) = tied.first()
                && let Some(n) = found.get(path)
            {
                failing += 1;
                let lines = logs.of_finding(&report.findings[*n]);
                assert!(lines.iter().any(|tie| tie.place.line == number), "{path}");
                let said = report.correlations.iter().any(|it| {
                    it.log.iter().any(|line| line.line == number)
                        && it.back.iter().any(|back| back.cause.is_some())
                });
                assert!(said, "no correlation of {path}");
            }
        }
        assert!(failing > 20, "{failing} findings with a line");
        assert!(logs.disagreements.is_empty(), "{:?}", logs.disagreements);
        // All that failed was dispatched and captured.
        assert!(logs.failing.iter().all(|it| it.why_not.is_none()), "{:?}", logs.failing);
    }
}

/// With only what arrives at the target no packet shows what came of a request. The failing lines that are tied to
/// requests do, and no other request counts as failed.
#[test]
fn where_packets_leave_the_outcome_open_the_log_tells() {
    let run = runs(&shipped()).into_iter().find(|run| run.truth["alb_log"].is_array()).unwrap();
    let texts = run.truth["alb_log"].as_array().unwrap();
    let texts: Vec<&str> = texts.iter().map(|it| it.as_str().unwrap()).collect();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("alb.log");
    fs::write(&log, texts.join("\n")).unwrap();
    let capture = run.capture("target");
    let report = beside_some(capture, None, &log, Some("dst port 8080"));
    let logs = report.logs.as_ref().unwrap();
    // The lines of some are damaged.
    let whole = beside(capture, None, &log);
    let has_line = |it: &&Finding| !whole.logs.as_ref().unwrap().of_finding(it).is_empty();
    let told = whole.findings.iter().filter(has_line).count() as u64;
    let failed: Vec<_> = report.findings.iter().filter(|it| it.exchange.is_some()).collect();
    assert!(failed.len() > 20, "{} failed", failed.len());
    assert_eq!(failed.len() as u64, told);
    assert_eq!(report.summary.failed_requests, told);
    for finding in failed {
        let lines = logs.of_finding(finding);
        assert!(lines.iter().any(|tie| tie.status.is_some_and(|status| status >= 500)));
        assert!(finding.evidence.iter().any(|evidence| evidence.what == What::LogLine));
        assert!(finding.confidence <= Confidence::Likely);
    }
    let left = report.summary.exchanges - report.health.asked - told;
    assert_eq!(report.summary.unknown_requests, left);
}

/// The report names for failing lines why no packets belong to them.
#[test]
fn failing_lines_without_packets_say_why() {
    let run = runs(&shipped()).into_iter().find(|run| run.truth["alb_log"].is_array()).unwrap();
    let texts: Vec<&str> =
        run.truth["alb_log"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    let failed = texts.iter().find(|text| text.contains(" 502 - ")).unwrap();
    let other = |target: &str, status: &str, age: &str| {
        let day = failed.replace("198.51.100.20:8080", target).replace(" 502 - ", status);
        day.replace("2026-11-21T", age)
            .replace("Root=1-6a20c001-", "Root=1-6a20c002-")
            .replace("/f/", "/other/")
    };
    let today = "2026-11-21T";
    let mut lines: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    let first = lines.len() as u64 + 1;
    lines.push(other("-", " 503 - ", today));
    lines.push(other("198.51.100.99:8080", " 502 - ", today));
    lines.push(other("198.51.100.20:8080", " 502 - ", today));
    lines.push(other("198.51.100.20:8080", " 502 - ", "2026-11-20T"));
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("alb.log");
    fs::write(&log, lines.join("\n")).unwrap();
    let report = beside(&run.lb, None, &log);
    let logs = report.logs.as_ref().unwrap();
    let of = |line: u64| logs.failing.iter().find(|it| it.place.line == line);
    assert_eq!(of(first).unwrap().why_not, Some(WhyNot::Undispatched));
    assert_eq!(of(first).unwrap().own_cause, Some("lb-no-target"));
    assert_eq!(of(first + 1).unwrap().why_not, Some(WhyNot::OtherTarget));
    assert_eq!(of(first + 2).unwrap().why_not, Some(WhyNot::NotCaptured));
    assert!(of(first + 3).is_none());
    assert_eq!(logs.sources[0].failing_other_time, 1);
}

/// Why a proxy served a request with no target, as its own log says it: HAProxy's termination state,
/// nginx's error log.
fn own_causes(proxy: &str) -> BTreeMap<String, &'static str> {
    let name = if proxy == "haproxy" { "haproxy-unserved.log" } else { "nginx-unserved-error.log" };
    let text = fs::read_to_string(shipped().join("balancer-log").join(name)).unwrap();
    let mut causes = BTreeMap::new();
    for line in text.lines() {
        let path = line.split("\"GET ").nth(1).and_then(|it| it.split(' ').next());
        let cause = if line.contains("<NOSRV>") && line.contains(" SC-- ")
            || line.contains("no live upstreams")
        {
            "lb-no-target"
        } else if line.contains(" sQ-- ") {
            "lb-overload"
        } else {
            continue;
        };
        causes.insert(path.unwrap().to_owned(), cause);
    }
    causes
}

/// Requests that HAProxy and nginx answered themselves: their logs name the cause, which no packet to a
/// target could, each line is tied to its request of a client, and nothing is contradicted.
#[test]
fn requests_that_went_to_no_target_have_the_cause_that_the_log_names() {
    for (proxy, causes, fewest) in [
        ("haproxy", ["lb-no-target", "lb-overload"].as_slice(), 30),
        ("nginx", &["lb-no-target"], 20),
    ] {
        let folder = shipped().join("balancer-log");
        let logs = ["unserved.log", "unserved-access.log", "unserved-error.log"];
        let logs = logs.map(|name| folder.join(format!("{proxy}-{name}")));
        let settings = Settings {
            exchanges: true,
            logs: LogSettings {
                files: logs.into_iter().filter(|path| path.exists()).collect(),
                all: true,
                ..LogSettings::default()
            },
            ..Settings::default()
        };
        let capture = folder.join(format!("{proxy}-unserved-proxy.pcap.gz"));
        let report = analyse(&[capture], &settings, &mut Patient).unwrap();
        let logs = report.logs.as_ref().unwrap();
        assert!(logs.disagreements.is_empty(), "{:?}", logs.disagreements);
        for source in &logs.sources {
            assert_eq!(source.bad * 10, 0, "{source:?}");
            let access = source.kind != Some(Kind::NginxError);
            assert!(!access || source.joined == source.lines, "{source:?}");
        }
        let wanted = own_causes(proxy);
        assert!(wanted.len() >= fewest, "{}", wanted.len());
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for (path, cause) in &wanted {
            let of = |it: &&why502::join::log::Failing| {
                it.own_cause.is_some() && it.words.request.ends_with(path.as_str())
            };
            let failing = logs.failing.iter().find(of);
            let failing = failing.unwrap_or_else(|| panic!("{proxy}: no line of {path}"));
            assert_eq!(failing.own_cause, Some(*cause), "{path}");
            *seen.entry(cause).or_default() += 1;
            let file = logs.path(failing.place).rsplit('/').next().unwrap();
            let tied = tied(&report, logs, file, failing.place.line);
            assert_eq!(tied.len(), 1, "{path}: {tied:?}");
            assert!(tied[0].0 == *path && tied[0].1 >= Confidence::Likely, "{path}: {tied:?}");
            // The finding takes over what the log says, and names the line.
            let found = findings_by_path(&report);
            let finding = &report.findings[found[path]];
            assert_eq!((finding.cause.id, finding.confidence), (*cause, tied[0].1), "{path}");
            let named = finding.evidence.iter().find(|it| it.what == What::LogLine);
            let named = named.unwrap_or_else(|| panic!("no line of {path}"));
            assert!(named.note.contains(".log: "), "{}", named.note);
        }
        assert_eq!(seen.into_keys().collect::<Vec<_>>(), causes);
    }
}
