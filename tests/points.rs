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

/// Which file is which place follows from the packets: named in the other order, nothing becomes
/// another verdict.
#[test]
fn the_order_of_the_files_does_not_matter() {
    let mut told = 0;
    for folder in ["return-path-blocked", "connect-timeout-host", "connect-timeout"] {
        for run in runs(&shipped().join(folder)) {
            let alone =
                analyse(std::slice::from_ref(&run.target), &Settings::default(), &mut Patient)
                    .unwrap();
            let report = both(&run.target, &run.lb);
            for (before, after) in connections(&alone).iter().zip(connections(&report)) {
                assert_eq!((before.0, Confidence::Certain), after, "{}", run.name);
                told += 1;
            }
            let said = |part: &str| report.warnings.iter().any(|it| it.contains(part));
            // Where nothing got through, there is nothing to compare.
            if !said("nothing was compared") {
                assert!(said("nearer to the clients"), "{}: {:?}", run.name, report.warnings);
                assert_eq!(said("never got here"), folder == "connect-timeout", "{}", run.name);
            }
        }
    }
    assert!(told > 0);
}

/// A request that was never acknowledged: on which way it was lost, with a frame of each place.
#[test]
fn lost_segments_are_told_with_frames_of_both_places() {
    let mut told = 0;
    for run in runs(&shipped().join("request-unacked")) {
        let report = both(&run.lb, &run.target);
        for finding in report.findings.iter().filter(|it| it.cause.id == "request-unacked") {
            let files: Vec<u32> = finding.evidence.iter().map(|it| it.mark.frame.file()).collect();
            assert!(files.contains(&0) && files.contains(&1), "{}: {files:?}", run.name);
            let notes: Vec<String> =
                finding.evidence.iter().map(|it| it.note.to_string()).collect();
            assert!(
                notes.iter().any(|it| it.contains("lost on the way to the target")),
                "{notes:?}"
            );
            assert_eq!(finding.confidence, Confidence::Certain, "{}", run.name);
            assert!(finding.summary.to_string().contains("lost between the two capture points"));
            told += 1;
        }
    }
    assert!(told > 4, "{told}");
}

/// Large segments that a smaller MTU on the path swallows are missing at the other side, and only
/// these.
#[test]
fn segments_that_the_path_swallowed_are_missing_at_the_other_side() {
    let mut told = 0;
    for run in runs(&shipped().join("mtu-blackhole")) {
        for (here, beside) in [(&run.lb, &run.target), (&run.target, &run.lb)] {
            let report = both(here, beside);
            for finding in report.findings.iter().filter(|it| it.cause.id == "mtu-blackhole") {
                let lost = |it: &why502::cause::Evidence| {
                    it.note.to_string().contains(": lost on the way")
                };
                assert!(finding.evidence.iter().any(lost), "{}: {:?}", run.name, finding.evidence);
                told += 1;
            }
        }
    }
    assert!(told > 4, "{told}");
}

/// What arrived was not lost, whatever network cards make of packets.
#[test]
fn of_requests_that_failed_otherwise_nothing_was_lost() {
    for folder in
        ["target-fin-no-response", "target-rst-no-response", "response-timeout", "target-own-5xx"]
    {
        for run in runs(&shipped().join(folder)) {
            let report = both(&run.lb, &run.target);
            for finding in &report.findings {
                let lost = finding
                    .evidence
                    .iter()
                    .find(|it| it.note.to_string().contains("lost on the way"));
                assert!(lost.is_none(), "{}: {lost:?}", run.name);
            }
        }
    }
}
