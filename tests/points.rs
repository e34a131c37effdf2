//! Captures at both ends of the same connections: what one end cannot decide, both together do.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use std::path::{Path, PathBuf};
use support::lab::{expected, runs, shipped};
use why502::cause::Confidence;
use why502::report::Report;
use why502::run::{Patient, Settings, analyse};

fn both(capture: &Path, beside: &Path) -> Report {
    let settings = Settings { beside: vec![beside.to_owned()], ..Settings::default() };
    analyse(&[capture.to_owned()], &settings, &mut Patient).unwrap()
}

/// A copy of a capture (pcap, microseconds, of this byte order) with a clock that is `seconds` ahead.
fn shifted(capture: &Path, seconds: u32) -> PathBuf {
    let mut bytes = std::fs::read(capture).unwrap();
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!(word(&bytes, 0), 0xa1b2_c3d4, "{}", capture.display());
    let mut at = 24;
    while at < bytes.len() {
        let time = word(&bytes, at) + seconds;
        bytes[at..at + 4].copy_from_slice(&time.to_le_bytes());
        at += 16 + word(&bytes, at + 8) as usize;
    }
    let name = capture.file_name().unwrap().to_string_lossy().into_owned();
    let path = std::env::temp_dir().join(format!("why502-{}-{seconds}-{name}", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    path
}

/// The causes of connections that failed, at the load balancer with the target's capture beside it.
fn connections(report: &Report) -> Vec<(&'static str, Confidence)> {
    let found = report.findings.iter().filter(|finding| finding.exchange.is_none());
    found.map(|finding| (finding.cause.id, finding.confidence)).collect()
}

#[test]
fn a_connection_timeout_is_split_into_path_host_and_return() {
    for (folder, id) in [
        ("connect-timeout", "connect-timeout"),
        ("connect-timeout-host", "connect-timeout-host"),
        ("return-path-blocked", "return-path-blocked"),
    ] {
        let mut split = 0;
        for run in runs(&shipped().join(folder)) {
            for seconds in [0, 7] {
                let beside = shifted(&run.target, seconds);
                let report = both(&run.lb, &beside);
                std::fs::remove_file(&beside).unwrap();
                for (found, confidence) in connections(&report) {
                    assert_eq!((found, confidence), (id, Confidence::Certain), "{}", run.name);
                    split += 1;
                }
            }
        }
        assert!(split > 0, "{folder}");
    }
}

#[test]
fn a_reset_that_nobody_sent_is_proved() {
    let mut proved = 0;
    for run in runs(&shipped().join("injected-reset")) {
        let report = both(&run.lb, &run.target);
        let wanted = run
            .requests()
            .filter(|it| expected(&it["cause"], "lb").iter().any(|id| id == "injected-reset"));
        let found = report.findings.iter().filter(|finding| finding.cause.id == "injected-reset");
        let certain = found.filter(|finding| finding.confidence == Confidence::Certain).count();
        assert_eq!(certain, wanted.count(), "{}: {:?}", run.name, report.summary.by_cause);
        proved += certain;
    }
    assert!(proved > 0);
}

#[test]
fn a_reset_that_was_sent_stays_what_it_is() {
    for run in runs(&shipped().join("target-rst-no-response")) {
        let report = both(&run.lb, &run.target);
        assert!(
            report.findings.iter().all(|finding| finding.cause.id != "injected-reset"),
            "{}",
            run.name
        );
        assert!(report.correlations.iter().any(|it| !it.other_vantage.is_empty()), "{}", run.name);
    }
}
