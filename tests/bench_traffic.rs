//! The benchmarks measure what they say: their traffic is read as what it is meant to be.
#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

#[allow(dead_code, reason = "its main is that of the program")]
#[path = "../benches/access_log.rs"]
mod access_log;
#[path = "../benches/traffic/mod.rs"]
mod traffic;

use why502::report::Report;
use why502::run::{Patient, Settings, analyse};

fn report(pcap: &[u8]) -> Report {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pcap).unwrap();
    analyse(&[file.path().to_path_buf()], &Settings::default(), &mut Patient).unwrap()
}

#[test]
fn every_scene_is_read_as_meant() {
    // Name, amount; packets, flows, requests.
    let expected = [
        ("keep-alive", 128, [64 * 6 + 128 * 11, 64, 128]),
        ("checks", 100, [1_000, 100, 100]),
        ("reordered", 10, [10 * (3 + 1 + 45 + 1 + 3), 10, 10]),
        ("live-flows", 100, [1_100, 100, 200]),
        ("live-checks", 100, [1_100, 100, 200]),
        ("failures", 100, [600, 100, 100]),
        ("refused", 100, [200, 100, 0]),
        ("nothing", 0, [0; 3]),
        ("syn-flood", 1_000, [1_000, 1_000, 0]),
        ("holes", 1_000, [64 * 5 + 1_000, 64, 64]),
        ("endless-heads", 1_000, [64 * 4 + 1_000, 64, 64]),
        ("pipelined", 500, [3 + 1_000 + 3, 1, 500]),
    ];
    assert_eq!(expected.map(|scene| scene.0), traffic::scenes::<Vec<u8>>().map(|scene| scene.name));
    for (name, amount, counts) in expected {
        let summary = report(&traffic::in_memory(name, amount).unwrap()).summary;
        assert_eq!([summary.packets, summary.flows, summary.exchanges], counts, "{name}");
        let failures: u64 = summary.by_cause.values().sum();
        match name {
            "failures" | "refused" => assert_eq!(failures, amount),
            // What fails under a flood is not for this test to say.
            "syn-flood" | "holes" | "endless-heads" | "pipelined" => {}
            _ => assert_eq!(failures, 0, "{name}"),
        }
    }
}

#[test]
fn a_health_check_has_ten_packets_of_80_bytes() {
    let pcap = traffic::in_memory("checks", 1_000).unwrap();
    let average = (pcap.len() - 24) / 10_000 - 16;
    assert!((75..=85).contains(&average), "{average}");
}

#[test]
fn copies_are_flows_of_their_own_with_checksums_that_hold() {
    let once = traffic::in_memory("checks", 50).unwrap();
    let mut copied = Vec::new();
    assert_eq!(traffic::multiply::multiply(&once, 3, &mut copied).unwrap(), 1_500);
    let summary = report(&copied).summary;
    assert_eq!([summary.packets, summary.flows, summary.exchanges], [1_500, 150, 150]);
    assert_eq!(summary.unknown_requests, 0);
    assert_eq!(summary.by_cause.len(), 0);
    assert_eq!(copied.len(), 24 + 3 * (once.len() - 24));
}

/// A log beside a capture is of its requests: each of its lines is tied to one, the others to none.
#[test]
fn a_log_beside_traffic_tells_of_its_requests() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, log) = (folder.path().join("a.pcap"), folder.path().join("alb.log"));
    let scene = traffic::scenes().into_iter().find(|scene| scene.name == "keep-alive").unwrap();
    let mut made = traffic::capture::Capture::new(Vec::new()).unwrap();
    (scene.make)(&mut made, 128).unwrap();
    std::fs::write(&capture, made.into_inner()).unwrap();
    let mut text = Vec::new();
    access_log::log(&capture, 400, &mut text).unwrap();
    std::fs::write(&log, text).unwrap();
    let mut settings = Settings::default();
    settings.logs.files = vec![log];
    let report = analyse(&[capture], &settings, &mut Patient).unwrap();
    let source = &report.logs.unwrap().sources[0];
    assert_eq!((source.lines, source.bad), (400, 0));
    assert_eq!(source.joined + source.possible, 128, "{source:?}");
    assert_eq!(source.failing, 0);
}
