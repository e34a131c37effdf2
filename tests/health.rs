//! What the program says of health checks against what the probers themselves logged.
//!
//! The lab's probers keep a log of each check: HAProxy through its statistics, Envoy through its
//! event log, curl, wget and nc through their exit codes, and the lab's own ALB-, NLB- and
//! kubelet-like ones through theirs. Without `WHY502_LAB` the captures that ship with the source are
//! judged, with it those in that folder.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use support::health::{configuration, items, judge_all, report, seconds};
use support::lab::{Run, runs, shipped};

fn all_runs() -> Vec<Run> {
    runs(&std::env::var_os("WHY502_LAB").map_or_else(shipped, PathBuf::from))
}

fn named(scenario: &str) -> Run {
    runs(&shipped()).into_iter().find(|run| run.truth["scenario"] == scenario).expect(scenario)
}

/// Every check, every change of state, every bystander, at both vantages.
#[test]
fn checks_and_states_agree_with_the_probers_logs() {
    judge_all(&all_runs());
}

/// Captures of HAProxy whose truth has only phases: the outcomes follow each other as the phases do.
#[test]
fn outcomes_follow_the_phases() {
    let mut compared = 0;
    for run in all_runs().iter().filter(|run| !items(&run.truth["checks"]).is_empty()) {
        for (vantage, capture) in [("lb", &run.lb), ("target", &run.target)] {
            let mut wanted: Vec<&Value> = items(&run.truth["checks"])
                .iter()
                .map(|phase| &phase["outcome"][vantage])
                .filter(|outcome| !outcome.is_null())
                .collect();
            wanted.dedup();
            let report = report(capture, &[]);
            let mut checks: Vec<&Value> = items(&report["targets"])
                .iter()
                .flat_map(|target| items(&target["probers"]))
                .flat_map(|prober| items(&prober["checks"]))
                .filter(|check| !check["outcome"].is_null())
                .collect();
            checks.sort_by(|one, other| seconds(&one["time"]).total_cmp(&seconds(&other["time"])));
            let mut found: Vec<&Value> = checks.iter().map(|check| &check["outcome"]).collect();
            found.dedup();
            assert_eq!(found, wanted, "{} {vantage}", run.name);
            compared += 1;
        }
    }
    assert!(compared > 0, "no truth with phases");
}

/// What is said to be missing of the target that a run's truth expects.
fn absence(run: &Run, vantage: &str) -> String {
    let target = run.truth["expect"]["target"].as_str().unwrap();
    let capture = if vantage == "lb" { &run.lb } else { &run.target };
    let arguments = ["--expect-target", target, "--hc-interval", "500ms", "--vantage", vantage];
    let report = report(capture, &arguments);
    let (ip, port) = target.split_once(':').unwrap();
    items(&report["targets"])
        .iter()
        .find(|known| {
            known["server"]["ip"] == ip && known["server"]["port"] == port.parse::<u16>().unwrap()
        })
        .map_or(String::new(), |known| {
            known["absence"]["id"].as_str().unwrap_or_default().to_owned()
        })
}

/// The load balancer cannot reach the target: nothing of it arrives there, and at the load balancer
/// there are SYNs without an answer. Other traffic to the target does not hide that.
#[test]
fn checks_that_never_arrive_are_missed() {
    let runs: Vec<Run> = all_runs();
    let expecting = |run: &&Run| run.truth["expect"].is_object();
    assert!(runs.iter().any(|run| expecting(&run)), "no truth expects a target");
    let mut wrong = Vec::new();
    for run in runs.iter().filter(expecting) {
        for vantage in ["lb", "target"] {
            let found = absence(run, vantage);
            let right: &[&str] = match run.truth["expect"]["found"][vantage].as_str().unwrap() {
                "nothing-arrives" => &["no-check-arrived", "nothing-captured"],
                "unanswered" if vantage == "lb" => &["syn-leaves-unanswered"],
                "unanswered" => &["syn-arrives-unanswered"],
                "other-port" => &["other-port", "other-port-refused"],
                other => panic!("unknown word {other}"),
            };
            if !right.contains(&found.as_str()) {
                wrong.push(format!("{} {vantage}: {found:?} instead of {right:?}", run.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What is remarked of targets and said to be missing of them, with the frame that shows it.
fn remarks(scenario: &str, vantage: &str) -> Vec<(String, Option<u64>)> {
    let run = named(scenario);
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("why502.toml");
    std::fs::write(&config, configuration(&run.truth)).unwrap();
    let capture = if vantage == "lb" { &run.lb } else { &run.target };
    let report = report(capture, &["--config", config.to_str().unwrap()]);
    items(&report["targets"])
        .iter()
        .flat_map(|target| items(&target["remarks"]).iter().chain([&target["absence"]]))
        .filter_map(|remark| Some((remark["id"].as_str()?.to_owned(), remark["frame"].as_u64())))
        .collect()
}

#[test]
fn what_users_meet_is_set_beside_the_checks() {
    for vantage in ["lb", "target"] {
        for (scenario, id) in [
            ("fail-open", "fail-open"),
            ("passive-lead", "passive-lead"),
            ("checks-stop", "checks-stopped"),
        ] {
            let found = remarks(scenario, vantage);
            assert!(found.iter().any(|(known, _)| known == id), "{scenario} {vantage}: {found:?}");
        }
        let found = remarks("alb-with-users", vantage);
        let alarming =
            ["fail-open", "passive-lead", "checks-stopped", "flapping", "no-check-passed"];
        assert!(!found.iter().any(|(known, _)| alarming.contains(&known.as_str())), "{found:?}");
    }
}

/// Without settings a handshake that never succeeds may be anybody's: the report says what to ask.
#[test]
fn handshakes_that_never_succeed_are_pointed_out() {
    let capture = shipped().join("probers/direct-nlb-https-tls13-only-target.pcap");
    let text = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_why502"));
        let output = command.args(arguments).arg(&capture).output().unwrap();
        String::from_utf8(output.stdout).unwrap().replace('\n', " ")
    };
    let plain = text(&[]);
    assert!(
        plain.contains("16 connections to 198.51.100.20:8080 at a steady pace all failed"),
        "{plain}"
    );
    let told = text(&["--expect-target", "198.51.100.20:8080", "--hc-protocol", "https"]);
    assert!(!told.contains("at a steady pace") && told.contains("16 hc-tls-failed"), "{told}");
    assert!(told.contains("alert 70, protocol_version"), "{told}");
}
