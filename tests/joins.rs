//! Both legs of proxies, tied by us, against what the proxies and their targets logged.
//!
//! `tests/lab/legs.py` makes the captures. Every request carries `X-Lab`, which we do not know, but the
//! logs do: it says which connection of the proxy was an attempt for which request of its client. Without
//! `WHY502_LEGS` the captures that ship with the source are judged, with it those in that folder.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use support::lab::{analyse, shipped};
use support::say;
use why502::cause::{Confidence, Kind};
use why502::join::{Correlation, Outcome};
use why502::report::Report;

/// One run of the lab.
struct Run {
    name: String,
    proxy: String,
    requests: Vec<Value>,
    /// Which request of a client each request that a target received was for.
    owners: BTreeMap<Target, String>,
    report: Report,
}

fn runs() -> Vec<Run> {
    let folder = std::env::var_os("WHY502_LEGS").map_or(shipped().join("both-legs"), PathBuf::from);
    let mut truths: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    truths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    truths.sort();
    assert!(!truths.is_empty(), "no captures in {}", folder.display());
    truths.iter().map(|path| run(path)).collect()
}

fn run(path: &Path) -> Run {
    let truth: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let stem = path.with_extension("").to_string_lossy().into_owned();
    let requests = truth["requests"].as_array().unwrap().clone();
    let owner = |request: &Value| request["lab"].as_str().unwrap().to_owned();
    let owners = requests.iter().flat_map(|it| received(it).map(move |target| (target, owner(it))));
    Run {
        owners: owners.collect(),
        name: stem.rsplit('/').next().unwrap().to_owned(),
        proxy: truth["proxy"].as_str().unwrap().to_owned(),
        requests,
        report: analyse(Path::new(&format!("{stem}-proxy.pcap.gz"))),
    }
}

/// Port and position of a request on its connection.
type Place = (u16, u32);

/// Port of the target, and port and position of the request on the proxy's connection to it.
type Target = (u16, Place);

/// What the targets have logged of a request.
fn received(request: &Value) -> impl Iterator<Item = Target> {
    let attempts = request["attempts"].as_array().into_iter().flatten();
    attempts.map(|it| (it["port"].as_u64().unwrap() as u16, place(it, "peer")))
}

fn place(value: &Value, port: &str) -> Place {
    (value[port].as_u64().unwrap() as u16, value["number"].as_u64().unwrap() as u32)
}

/// The correlations by client and place of its request. Clients may use the same port.
fn tied(report: &Report) -> BTreeMap<(String, Place), &Correlation> {
    let fronts = report.correlations.iter().filter_map(|correlation| {
        let front = correlation.front.as_ref()?;
        let client = front.client.addr().to_string();
        let place = (client, (front.client.port, front.ordinal));
        (front.server.port == 8000).then_some((place, correlation))
    });
    fronts.collect()
}

/// What was compared.
#[derive(Default)]
struct Score {
    right: usize,
    wrong: usize,
    certain_and_wrong: usize,
    certain: usize,
    of_errors: (usize, usize),
    complaints: Vec<String>,
}

impl Score {
    fn judge(&mut self, run: &Run, request: &Value, found: Option<&Correlation>) {
        let lab = request["lab"].as_str().unwrap();
        let wanted: Vec<Target> = received(request).collect();
        let attempts = found.map_or(&[][..], |found| &found.back);
        let made: Vec<Target> = attempts
            .iter()
            .filter(|attempt| attempt.ends.ordinal > 0)
            .map(|it| (it.ends.server.port, (it.ends.client.port, it.ends.ordinal)))
            // A target that closed before it read a request has not logged it.
            .filter(|made| run.owners.contains_key(made))
            .collect();
        // nginx and HAProxy log how many targets they tried, those that refused included.
        let tries = request["tries"].as_array().map(Vec::len);
        let tries = tries.or(request["tries"].as_u64().map(|tries| tries as usize));
        let in_number = tries.is_none_or(|tries| tries == attempts.len()) || run.proxy == "envoy";
        let right = made == wanted && in_number;
        let certain = found.is_some_and(|found| found.certainty == Confidence::Certain);
        let error = request["status"].as_u64().is_some_and(|status| status >= 500);
        self.right += usize::from(right);
        self.wrong += usize::from(!right);
        self.certain += usize::from(certain && !attempts.is_empty());
        let foreign = |made: &Target| run.owners.get(made).is_some_and(|owner| owner != lab);
        self.certain_and_wrong += usize::from(certain && made.iter().any(foreign));
        self.of_errors.0 += usize::from(error && right);
        self.of_errors.1 += usize::from(error);
        if !right {
            let sure = found.map_or("not tied", |found| found.certainty.id());
            self.complaints.push(format!(
                "{} {lab} {} status {} ({sure}): {made:?}, {} in all, instead of {wanted:?}, {tries:?}",
                run.name,
                request["target"],
                request["status"],
                attempts.len()
            ));
        }
    }
}

#[test]
fn ties_are_those_of_the_logs() {
    let mut score = Score::default();
    for run in &runs() {
        let tied = tied(&run.report);
        for request in &run.requests {
            let ip = request["ip"].as_str().unwrap().to_owned();
            let client = (ip, place(request, "port"));
            score.judge(run, request, tied.get(&client).copied());
        }
    }
    let all = score.right + score.wrong;
    say(&format!(
        "{} of {all} requests tied as logged, of those answered 5xx {} of {}; {} certain, {} of them wrong",
        score.right, score.of_errors.0, score.of_errors.1, score.certain, score.certain_and_wrong
    ));
    let shown = score.complaints.iter().take(40).cloned().collect::<Vec<_>>().join("\n");
    assert_eq!(score.certain_and_wrong, 0, "{shown}");
    assert!(score.right * 100 >= all * 99, "{shown}");
    assert!(score.of_errors.0 * 100 >= score.of_errors.1 * 99, "{shown}");
    assert!(score.certain * 2 >= all, "{} of {all} certain", score.certain);
}

#[test]
fn each_failure_that_a_client_saw_is_told_once() {
    for run in &runs() {
        let failed = run.requests.iter().filter(|request| {
            let status = request["seen"].as_u64();
            status.is_none_or(|status| status >= 500)
        });
        let failed = failed.count();
        let told =
            run.report.findings.iter().filter(|finding| finding.kind == Kind::Request).count();
        let causes = &run.report.summary.by_cause;
        assert_eq!(told, failed, "{}: {causes:?}", run.name);
        assert_eq!(run.report.summary.failed_requests, failed as u64, "{}", run.name);
    }
}

/// nginx logs 499 where the client left, HAProxy C, Envoy DC.
#[test]
fn who_left_is_told_as_a_client_that_left() {
    let (mut told, mut other) = (0, Vec::new());
    for run in runs() {
        let findings: BTreeMap<(u64, u32), &str> = (run.report.findings.iter())
            .filter(|finding| finding.kind == Kind::Request)
            .filter_map(|finding| {
                let front = finding.joined.as_ref().map(|joined| &joined.front)?;
                Some(((front.flow, front.ordinal), finding.cause.id))
            })
            .collect();
        let ties = tied(&run.report);
        for request in run.requests.iter().filter(|request| request["left"] == true) {
            let client = request["ip"].as_str().unwrap().to_owned();
            let front =
                ties.get(&(client, place(request, "port"))).and_then(|it| it.front.as_ref());
            let Some(front) = front else { continue };
            match findings.get(&(front.flow, front.ordinal)) {
                Some(&"client-abort") => told += 1,
                cause => other.push(format!("{} {}: {cause:?}", run.name, request["lab"])),
            }
        }
    }
    assert!(told >= 20, "{told}");
    assert!(other.is_empty(), "{}", other.join("\n"));
}

#[test]
fn what_a_retry_hid_is_shown_as_such() {
    for run in &runs() {
        let served = |request: &&Value| request["seen"] == 200;
        let hidden: usize = run
            .requests
            .iter()
            .filter(served)
            .map(|request| received(request).count().saturating_sub(1))
            .sum();
        let masked = run.report.findings.iter().filter(|finding| {
            let joined = finding.joined.as_ref();
            joined.is_some_and(|joined| {
                let this = joined.this.map(|this| &joined.attempts[this]);
                let target =
                    this.map(|it| (it.ends.server.port, (it.ends.client.port, it.ends.ordinal)));
                let known = target.is_some_and(|target| run.owners.contains_key(&target));
                known && joined.outcome == Outcome::Masked
            })
        });
        assert_eq!(masked.count(), hidden, "{}", run.name);
    }
}

/// HAProxy checks a server that is down, all the while answering 503 to requests for which it asks nobody: its
/// log says `<NOSRV>` of each. None of the checks is an attempt for one of them.
#[test]
fn checks_that_fail_beside_requests_are_attempts_for_none_of_them() {
    let folder = shipped().join("balancer-log");
    let log = std::fs::read_to_string(folder.join("haproxy-unserved.log")).unwrap();
    let unserved = log.lines().filter(|line| line.contains("/<NOSRV>")).count();
    let report = analyse(&folder.join("haproxy-unserved-proxy.pcap.gz"));
    let failed = |it: &&Correlation| it.front.as_ref().is_some_and(|it| it.status == Some(503));
    let mut seen = 0;
    for correlation in report.correlations.iter().filter(failed) {
        assert!(correlation.back.is_empty(), "{correlation:#?}");
        seen += 1;
    }
    assert_eq!(seen, unserved);
    assert!(report.findings.iter().all(|finding| finding.kind != Kind::Attempt));
}

/// A host between HAProxy and its target translates both addresses, and all its interfaces were captured: each packet
/// is there before and after it. That is no proxy with two legs.
#[test]
fn connections_before_and_after_a_translation_are_one() {
    let report = analyse(&shipped().join("balancer-log/haproxy-translated-router.pcap.gz"));
    let told: Vec<_> = report.findings.iter().map(|it| (it.cause.id, it.client.port)).collect();
    assert_eq!(told, [("response-timeout", 41_800), ("response-timeout", 37_712)]);
    assert!(report.correlations.is_empty());
    assert_eq!((report.summary.exchanges, report.summary.flows), (2, 72));
    assert!(report.flows.iter().all(|flow| flow.vantage == why502::flow::Vantage::Between));
}
