//! Verdicts before connections are over, on recorded faults: they come within a second, are those of
//! the report, and the report does not depend on them.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]
#![allow(clippy::print_stdout, reason = "what differs is shown where the bounds below are broken")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use support::lab::shipped;
use support::wire::{OK, Wire};
use why502::cause::{Confidence, Finding, Kind};
use why502::health::config::Config;
use why502::health::{Entry, HealthFlags};
use why502::host::Addresses;
use why502::packet::{Endpoint, Flags};
use why502::report::{Report, Style, Withdrawn, format};
use why502::run::{Analysis, Listener, Settings};
use why502::time::Timestamp;

/// Capture time between two ticks, nanoseconds.
const TICK: i64 = 100_000_000;

/// What was told, and when in capture time.
#[derive(Default)]
struct Told {
    now: Timestamp,
    early: Vec<(Timestamp, Finding)>,
    finals: Vec<(Timestamp, Finding)>,
    states: Vec<(Timestamp, &'static str)>,
    withdrawn: Vec<(Timestamp, Withdrawn)>,
}

impl Listener for Told {
    fn early(&mut self, finding: &Finding) {
        self.early.push((self.now, finding.clone()));
    }
    fn finding(&mut self, finding: &Finding) {
        self.finals.push((self.now, finding.clone()));
    }
    fn withdrawn(&mut self, withdrawn: &Withdrawn) {
        self.withdrawn.push((self.now, withdrawn.clone()));
    }
    fn transition(&mut self, _: Endpoint, _: &str, entry: &Entry) {
        self.states.push((self.now, entry.state.id()));
    }
}

/// What is told and not withdrawn.
fn standing(told: &Told) -> BTreeSet<(u64, u32)> {
    let findings = told.early.iter().chain(&told.finals).map(|(at, it)| (*at, key(it), true));
    let withdrawn = told.withdrawn.iter().map(|(at, it)| (*at, (it.flow, it.ordinal), false));
    let mut all: Vec<_> = findings.chain(withdrawn).collect();
    // Of the same tick a withdrawal comes after what it withdraws.
    all.sort_by_key(|(at, failure, holds)| (*at, *failure, !holds));
    let last: BTreeMap<(u64, u32), bool> =
        all.into_iter().map(|(_, failure, holds)| (failure, holds)).collect();
    last.into_iter().filter(|(_, holds)| *holds).map(|(failure, _)| failure).collect()
}

/// Those that were told as something: findings of checks that failed by their answer alone come with the report.
fn failures(report: &Report) -> BTreeSet<(u64, u32)> {
    report.findings.iter().map(key).collect()
}

fn key(finding: &Finding) -> (u64, u32) {
    (finding.flow, finding.exchange.as_ref().map_or(0, |exchange| exchange.ordinal))
}

fn captures(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            captures(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "pcap") {
            found.push(path);
        }
    }
}

/// Runs the frames of `path` through an analysis with early verdicts, a tick every [`TICK`]
/// and for `after` nanoseconds behind the last.
fn watch(path: &Path, after: i64) -> (Report, Told) {
    watch_with(path, after, Settings::default())
}

fn watch_with(path: &Path, after: i64, settings: Settings) -> (Report, Told) {
    let settings = Settings { early: true, flows: true, ..settings };
    let mut analysis = Analysis::new(settings, None).unwrap();
    let mut told = Told::default();
    let mut timeline = why502::capture::Timeline::open(&[path.to_owned()]).unwrap();
    let mut next = None;
    while timeline.step().unwrap() {
        let Some(frame) = timeline.frame() else { break };
        let at = frame.mark.at;
        let mut due = *next.get_or_insert(at);
        while due < at {
            told.now = due;
            analysis.tick(due, &mut told);
            due = due.after(TICK);
        }
        next = Some(due);
        analysis.frame(&frame, &mut told);
    }
    let end = next.unwrap_or_default().after(after);
    while told.now < end && after > 0 {
        told.now = told.now.after(TICK);
        analysis.tick(told.now, &mut told);
    }
    told.now = Timestamp(i64::MAX);
    let captures = timeline.captures().to_vec();
    let warnings = timeline.warnings().to_vec();
    (analysis.finish(captures, warnings, &mut told), told)
}

fn json(report: &Report) -> String {
    let mut out = Vec::new();
    (format("json").unwrap().write)(report, &Style::default(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn the_report_does_not_depend_on_early_verdicts_and_these_are_its_own() {
    let mut paths = Vec::new();
    captures(&shipped(), &mut paths);
    paths.sort();
    assert!(paths.len() > 100);
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for path in &paths {
        let (report, _) = watch(path, 0);
        let settings = Settings { flows: true, ..Settings::default() };
        let mut patient = why502::run::Patient;
        let offline = why502::run::analyse(std::slice::from_ref(path), &settings, &mut patient);
        let name = path.strip_prefix(shipped()).unwrap().display();
        assert_eq!(json(&report), json(&offline.unwrap()), "{name}");

        let (report, told) = watch(path, 3_000_000_000);
        let mut first: BTreeMap<(u64, u32), Timestamp> = BTreeMap::new();
        let mut last: BTreeMap<(u64, u32), &Finding> = BTreeMap::new();
        for (at, finding) in told.early.iter().chain(&told.finals) {
            let known = first.entry(key(finding)).or_insert(*at);
            *known = (*known).min(*at);
        }
        for (_, finding) in &told.early {
            last.insert(key(finding), finding);
        }
        for (_, finding) in told.finals.iter().filter(|told| told.1.kind != Kind::HealthCheck) {
            *counts.entry("findings").or_default() += 1;
            let guilty = finding.evidence[0].mark.at;
            let proof = finding.evidence.iter().map(|evidence| evidence.mark.at).max().unwrap();
            let delay = first[&key(finding)].nanos_since(proof.max(guilty));
            if delay > 1_000_000_000 {
                *counts.entry("late").or_default() += 1;
                println!("{name}: {} {:?} late: {}", finding.cause.id, delay, finding.summary);
            }
            let early = last.get(&key(finding));
            if early.is_some_and(|early| {
                early.cause.id == finding.cause.id && early.confidence != finding.confidence
            }) {
                let early = early.unwrap().confidence.id();
                *counts.entry("weighed anew").or_default() += 1;
                println!("{name}: {early} {} {}", finding.confidence.id(), finding.cause.id);
            }
            if early.is_some_and(|early| {
                early.cause.id != finding.cause.id || early.responsible != finding.responsible
            }) {
                *counts.entry("revised").or_default() += 1;
                println!("{name}: {} became {}", early.unwrap().cause.id, finding.cause.id);
            }
        }
        let checks = report.findings.iter().filter(|finding| finding.kind == Kind::HealthCheck);
        let checks: BTreeSet<(u64, u32)> = checks.map(key).collect();
        for (at, finding) in told.early.iter().chain(&told.finals) {
            let known = *at < Timestamp(i64::MAX) && checks.contains(&key(finding));
            *counts.entry("failed checks told").or_default() += u64::from(known);
            if finding.kind == Kind::HealthCheck && !checks.contains(&key(finding)) {
                *counts.entry("failures of users told as checks").or_default() += 1;
                println!("{name}: {at} {} told as a check", finding.cause.id);
            }
            if known && finding.kind != Kind::HealthCheck {
                *counts.entry("as failures of users").or_default() += 1;
                println!("{name}: {at} a check told as {}", finding.cause.id);
            }
        }
        for (at, withdrawn) in &told.withdrawn {
            *counts.entry("withdrawn").or_default() += u64::from(!withdrawn.is_check);
            println!("{name}: {at} {withdrawn:?}");
        }
        assert_eq!(standing(&told), failures(&report), "{name}");
    }
    println!("{counts:?}");
    let count = |name| counts.get(name).copied().unwrap_or_default();
    // Late are those that silence alone decides. Revised are those that other connections decide.
    assert!(count("findings") > 1000);
    assert!(count("late") * 8 < count("findings"), "{counts:?}");
    assert!(count("revised") * 20 < count("findings"), "{counts:?}");
    assert_eq!(count("withdrawn"), 0, "{counts:?}");
    // Those at the start: a prober is recognised by what it repeats.
    assert!(count("failed checks told") > 900, "{counts:?}");
    assert!(count("as failures of users") * 10 < count("failed checks told"), "{counts:?}");
    assert_eq!(count("failures of users told as checks"), 0, "{counts:?}");
}

/// Causes and confidences of those that were told early, then of the report.
fn causes_of_syns(local: &[&str]) -> [Vec<(&'static str, Confidence)>; 2] {
    let path = shipped().join("connect-timeout/nginx-net-drop-lb.pcap");
    let local: Vec<_> = local.iter().map(|address| address.parse().unwrap()).collect();
    let settings = Settings { local: Addresses::of_hosts(&local), ..Settings::default() };
    let (report, told) = watch_with(&path, 3_000_000_000, settings);
    let verdict = |finding: &Finding| (finding.cause.id, finding.confidence);
    let mut both = [
        told.early.iter().map(|told| verdict(&told.1)).collect::<Vec<_>>(),
        report.findings.iter().map(verdict).collect(),
    ];
    both.iter_mut().for_each(|verdicts| {
        verdicts.sort();
        verdicts.dedup();
    });
    both
}

#[test]
fn syns_that_come_to_an_address_of_this_host_have_arrived() {
    let (balancer, target) = ("192.0.2.10", "198.51.100.20");
    let path = ("connect-timeout", Confidence::Certain);
    let host = ("connect-timeout-host", Confidence::Certain);
    // As long as an answer may come it is not certain.
    let both = |(cause, finally)| [vec![(cause, Confidence::Likely)], vec![(cause, finally)]];
    assert_eq!(causes_of_syns(&[balancer]), both(path));
    assert_eq!(causes_of_syns(&[]), both(path));
    assert_eq!(causes_of_syns(&[target]), both(host));
    // Both on one host: nothing was lost on the way.
    assert_eq!(causes_of_syns(&[balancer, target]), both(host));
}

/// What is told of connections drawn with `draw`, in a capture that goes on for 20 s.
fn told_of(draw: impl FnOnce(&mut Wire)) -> (Report, Told) {
    let mut wire = Wire::default();
    draw(&mut wire);
    for second in 0..20 {
        wire.alive(second * 1_000 + 500);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pcap");
    std::fs::write(&path, wire.pcap()).unwrap();
    watch(&path, 0)
}

const USER: [u8; 4] = [10, 0, 1, 7];
const TARGET: ([u8; 4], u16) = ([10, 0, 2, 9], 8080);
const ASKS: &str = "GET /report HTTP/1.1\r\nHost: shop.example\r\n\r\n";

#[test]
fn a_client_that_closes_its_direction_and_is_answered_is_taken_back() {
    let (report, told) = told_of(|wire| {
        let asked = wire.connect(1_000, USER, TARGET).open().say(0, ASKS);
        asked
            .flags(0, Flags::FIN | Flags::ACK)
            .wait(4_000)
            .say(1, OK)
            .flags(1, Flags::FIN | Flags::ACK)
            .flags(0, Flags::ACK)
            .end();
    });
    assert_eq!(report.findings.len(), 0);
    let early: Vec<_> = told.early.iter().map(|it| (it.1.cause.id, it.1.confidence)).collect();
    assert_eq!(early, [("client-abort", Confidence::Possible)]);
    let [(at, withdrawn)] = &told.withdrawn[..] else { panic!("{:?}", told.withdrawn) };
    assert_eq!((withdrawn.told.cause, withdrawn.ordinal), ("client-abort", 1));
    assert_eq!(withdrawn.asked, "GET /report");
    // Half a second after the answer, with the next tick.
    let late = at.nanos_since(told.early[0].0);
    assert!((3_900_000_000..4_700_000_000).contains(&late), "{late}");
}

#[test]
fn syns_that_are_answered_late_are_taken_back_while_the_connection_goes_on() {
    let (report, told) = told_of(|wire| {
        let tries =
            wire.connect(1_000, USER, TARGET).flags(0, Flags::SYN).again(1_000).again(2_000);
        let answered = tries.wait(1_500).flags(1, Flags::SYN | Flags::ACK).flags(0, Flags::ACK);
        answered.say(0, ASKS).say(1, OK).wait(8_000).say(0, ASKS).say(1, OK).close().end();
    });
    assert_eq!(report.findings.len(), 0);
    let early: Vec<_> = told.early.iter().map(|it| (it.1.cause.id, it.1.confidence)).collect();
    assert!(!early.is_empty(), "{early:?}");
    assert!(
        early.iter().all(|it| it.0.starts_with("connect-timeout") && it.1 < Confidence::Certain),
        "{early:?}"
    );
    let [(at, withdrawn)] = &told.withdrawn[..] else { panic!("{:?}", told.withdrawn) };
    assert_eq!((withdrawn.told.cause, withdrawn.ordinal), (early[0].0, 0));
    let known = told.early.last().unwrap().0;
    assert!(at.nanos_since(known) < 4_000_000_000, "{at} {known}");
}

/// What is told within a second of the packet that proves each failure of `capture`, when nothing comes
/// behind that packet.
fn told_at_once(capture: &str) -> Vec<(&'static str, Option<&'static str>)> {
    let path = shipped().join(capture);
    let report = why502::run::analyse(
        std::slice::from_ref(&path),
        &Settings::default(),
        &mut why502::run::Patient,
    );
    let verdict = |finding: &Finding| {
        let proof = finding.evidence.iter().map(|evidence| evidence.mark).max_by_key(|it| it.frame);
        let proof = proof.unwrap();
        let settings = Settings { early: true, ..Settings::default() };
        let mut analysis = Analysis::new(settings, None).unwrap();
        let mut told = Told::default();
        let mut timeline = why502::capture::Timeline::open(std::slice::from_ref(&path)).unwrap();
        while let Some(frame) =
            timeline.next_frame().unwrap().filter(|it| it.mark.frame <= proof.frame)
        {
            analysis.frame(&frame, &mut told);
        }
        for tenth in 1..10 {
            analysis.tick(proof.at.after(tenth * TICK), &mut told);
        }
        let told = told.early.iter().rev().find(|told| key(&told.1) == key(finding));
        (finding.cause.id, told.map(|told| told.1.cause.id))
    };
    report.unwrap().findings.iter().map(verdict).collect()
}

#[test]
fn when_the_target_says_that_nothing_more_comes_it_is_told_without_waiting_for_the_client() {
    for capture in [
        "target-fin-no-response/nginx-read-fin-lb.pcap",
        "response-body-truncated/haproxy-body-fin-lb.pcap",
    ] {
        let told = told_at_once(capture);
        assert!(!told.is_empty(), "{capture}");
        assert!(told.iter().all(|(finally, early)| *early == Some(finally)), "{capture}: {told:?}");
    }
}

#[test]
fn a_syn_ack_that_nobody_acknowledges_is_told_when_it_is_repeated() {
    let told = told_at_once("return-path-blocked/haproxy-synack-lost-target.pcap");
    let blocked = "return-path-blocked";
    assert!(told.contains(&(blocked, Some(blocked))), "{told:?}");
    assert!(told.iter().all(|(finally, early)| *early == Some(finally)), "{told:?}");
}

#[test]
fn a_check_on_a_connection_that_stays_open_is_no_failure_of_users() {
    // Ten times slower, so that nothing follows a check within the second in which it is told.
    const SLOWER: i64 = 10;
    let path = shipped().join("probers/envoy-envoy-http-target.pcap");
    let settings = Settings { early: true, ..Settings::default() };
    let mut analysis = Analysis::new(settings, None).unwrap();
    let mut told = Told::default();
    let mut timeline = why502::capture::Timeline::open(&[path]).unwrap();
    let mut first = None;
    while let Some(mut frame) = timeline.next_frame().unwrap() {
        let first = *first.get_or_insert(frame.mark.at);
        frame.mark.at = first.after(frame.mark.at.nanos_since(first) * SLOWER);
        told.now = told.now.max(first);
        while told.now.after(TICK) < frame.mark.at {
            told.now = told.now.after(TICK);
            analysis.tick(told.now, &mut told);
        }
        analysis.frame(&frame, &mut told);
    }
    let own: Vec<&Finding> = told.early.iter().chain(&told.finals).map(|told| &told.1).collect();
    let own = own.into_iter().filter(|finding| finding.cause.id == "target-own-5xx");
    let (checks, users): (Vec<_>, Vec<_>) = own.partition(|it| it.kind == Kind::HealthCheck);
    // What is told early comes again at the end.
    let checks: std::collections::BTreeSet<_> = checks.into_iter().map(key).collect();
    assert_eq!((checks.len(), users.len()), (4, 0));
}

/// Checks of an ALB node every 10 s, three that pass and then three whose SYN nobody answers; when the states were
/// told, in tenths of a second of the capture.
fn states_of_silence(timeout: Option<&str>) -> Vec<(i64, &'static str)> {
    const TARGET: ([u8; 4], u16) = ([10, 0, 2, 9], 8080);
    const NODE: [u8; 4] = [10, 0, 1, 7];
    let mut wire = Wire::default();
    for turn in 0..3 {
        wire.check(turn * 10_000, NODE, TARGET, OK);
    }
    for turn in 3..6 {
        let attempt = wire.connect(turn * 10_000, NODE, TARGET).flags(0, Flags::SYN);
        attempt.again(1_000).again(2_000).end();
    }
    for second in 0..63 {
        wire.alive(second * 1_000 + 500);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pcap");
    std::fs::write(&path, wire.pcap()).unwrap();
    let flags = HealthFlags {
        hc_healthy: Some("2".into()),
        hc_unhealthy: Some("2".into()),
        hc_timeout: timeout.map(Into::into),
        ..HealthFlags::default()
    };
    let health = flags.setup(&Config::default()).unwrap();
    let (report, told) = watch_with(&path, 0, Settings { health, ..Settings::default() });
    let target = &report.health.targets[0];
    let known: Vec<&str> = target.timeline.iter().map(|entry| entry.state.id()).collect();
    assert_eq!(known, ["unknown", "healthy", "unhealthy"]);
    let began = target.timeline[0].mark.at;
    let told = told.states.iter();
    told.map(|(at, state)| (at.nanos_since(began) / TICK, *state)).collect()
}

#[test]
fn a_check_whose_syn_nobody_answers_is_told_when_the_prober_gives_up() {
    // SYNs after 0, 1 and 3 s, and none after 7 s.
    let told = states_of_silence(None);
    assert!(matches!(told[..], [_, _, (474..=476, "unhealthy")]), "{told:?}");
    let told = states_of_silence(Some("5"));
    assert!(matches!(told[..], [_, _, (449..=451, "unhealthy")]), "{told:?}");
}
