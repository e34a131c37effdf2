//! Which traffic of the lab's captures is recognised as health checks.
//!
//! HAProxy checks its backends in some captures and nobody does in the others. With
//! `WHY502_CAPTURES` those below that folder are shown instead (`-- --nocapture`).

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use support::lab::{Run, runs, shipped};
use support::say;
use why502::capture::Timeline;
use why502::cause::{Confidence, Finding};
use why502::engine::{Engine, Options, Output};
use why502::flow::Flow;
use why502::http::Exchange;
use why502::packet::{Decoder, DecoderOptions, Packet};
use why502::probe::{Catalogue, Habit, Recognised, Recogniser, Sighting};

/// What the proxy's own checks begin with in the lab.
const CHECKS: [&str; 4] =
    ["check-", "healthy-http-check", "healthy-tcp-check", "healthy-check-reset"];

struct Checks {
    recogniser: Recogniser,
    found: Vec<Recognised>,
    flows: BTreeMap<u64, Flow>,
}

impl Output for Checks {
    fn flow(&mut self, flow: &Flow) {
        self.flows.insert(flow.id, flow.clone());
    }
    fn exchange(&mut self, _: u64, _: &Exchange) {}
    fn finding(&mut self, _: Finding) {}
    fn sighting(&mut self, sighting: Sighting) {
        let found = &mut self.found;
        self.recogniser.sight(sighting, &mut |one| found.push(one));
    }
    fn habit(&mut self, flow: &Flow, habit: Habit) {
        self.recogniser.habit(flow.client, flow.server, habit);
    }
}

fn recognise(capture: &Path) -> Checks {
    let catalogue = Catalogue::built_in().unwrap();
    let mut timeline = Timeline::open(&[capture.to_owned()]).unwrap();
    let mut decoder = Decoder::new(DecoderOptions::default());
    let mut engine = Engine::new(Options::default()).watch_probers(Arc::clone(&catalogue));
    let recogniser = Recogniser::new(catalogue);
    let mut checks = Checks { recogniser, found: Vec::new(), flows: BTreeMap::new() };
    while let Some(frame) = timeline.next_frame().unwrap() {
        if let Packet::Tcp(segment) = decoder.decode(&frame) {
            engine.segment(&segment, &mut checks);
        }
    }
    engine.finish(&mut checks);
    let Checks { recogniser, found, .. } = &mut checks;
    recogniser.finish(&mut |one| found.push(one));
    checks
}

/// Groups as a table: how many, how sure, whose, and why.
fn table(found: &[Recognised]) -> Vec<String> {
    let mut groups: BTreeMap<_, Vec<&Recognised>> = BTreeMap::new();
    for one in found {
        groups.entry(one.group).or_default().push(one);
    }
    let line = |members: &Vec<&Recognised>| {
        let last = members.last().unwrap();
        let shapes: BTreeSet<&str> = members.iter().map(|one| one.sighting.shape.id()).collect();
        let reasons: Vec<String> = last.verdict.reasons.iter().map(ToString::to_string).collect();
        format!(
            "{} x {} {} ({} dB) {} -> {} {:?}: {}",
            members.len(),
            last.verdict.confidence.id(),
            last.verdict.prober_id().unwrap_or("?"),
            last.verdict.decibans,
            last.sighting.source.addr(),
            last.sighting.target.socket(),
            shapes,
            reasons.join("; ")
        )
    };
    groups.values().map(line).collect()
}

fn has(run: &Run, list: &str) -> bool {
    run.truth[list].as_array().is_some_and(|list| !list.is_empty())
}

#[test]
fn haproxys_checks_are_recognised_and_users_requests_are_not() {
    let mut wrong = Vec::new();
    for run in runs(&shipped()) {
        if has(&run, "probers") || has(&run, "bystanders") {
            continue; // `tests/health.rs` compares these with the probers' own logs
        }
        let checked = CHECKS.iter().any(|name| run.name.contains(name));
        for capture in [&run.lb, &run.target] {
            let checks = recognise(capture);
            let sure: Vec<&Recognised> = checks
                .found
                .iter()
                .filter(|one| one.verdict.confidence > Confidence::Possible)
                .collect();
            let known: BTreeSet<u64> = sure.iter().map(|one| one.sighting.flow).collect();
            let what = capture.strip_prefix(shipped()).unwrap().display();
            if checked {
                // Beside checks there are connections of users with many requests, and one that the
                // end of the capture cut in its handshake.
                let check = |flow: &&Flow| flow.requests <= 1 && !flow.endings.is_empty();
                let flows = checks.flows.values().filter(check);
                let missed = flows.filter(|flow| !known.contains(&flow.id)).count();
                let others = sure.iter().filter(|one| one.verdict.prober_id() != Some("haproxy"));
                if missed > 0 || others.count() > 0 {
                    wrong.push(format!("{what}: {missed} of {} missed", checks.flows.len()));
                    wrong.extend(table(&checks.found));
                }
            } else if !sure.is_empty() {
                wrong.push(format!("{what}: recognised"));
                wrong.extend(table(&checks.found));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every check that a truth file lists has been recognised, and nothing else.
fn judge(run: &Run, vantage: &str, capture: &Path) -> Vec<String> {
    let checks = recognise(capture);
    let mut wrong = Vec::new();
    let mut listed = BTreeSet::new();
    for prober in run.truth["probers"].as_array().unwrap() {
        let ids: Vec<&str> =
            prober["prober"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let (mut missed, mut unsure, mut misnamed, mut of) = (0, 0, 0, 0);
        for check in prober["checks"].as_array().unwrap() {
            let port = check["source"]["port"].as_u64();
            let Some(port) = port.filter(|_| !check["outcome"][vantage].is_null()) else {
                continue;
            };
            let ip = check["source"]["ip"].as_str().unwrap();
            let source = (ip.to_owned(), port as u16);
            let at = check["time"].as_f64().unwrap();
            let found = checks.found.iter().find(|one| {
                let socket = one.sighting.source.socket();
                let began = one.sighting.began().0 as f64 / 1e9;
                (socket.ip().to_string(), socket.port()) == source && (began - at).abs() < 5.0
            });
            of += 1;
            listed.insert(source);
            match found {
                None => missed += 1,
                Some(one) => {
                    unsure += u64::from(one.verdict.confidence == Confidence::Possible);
                    let id = one.verdict.prober_id().unwrap_or("tcp");
                    let unnamed = one.verdict.prober.is_none();
                    misnamed += u64::from(!(ids.contains(&id) || unnamed && ids == ["tls"]));
                }
            }
        }
        if missed + unsure + misnamed > 0 {
            wrong.push(format!(
                "{} {vantage}: {ids:?} {missed} missed, {unsure} unsure, {misnamed} misnamed of {of}",
                run.name
            ));
        }
    }
    let keepalive = |one: &&Recognised| one.sighting.ordinal <= 1;
    for one in checks.found.iter().filter(keepalive) {
        let socket = one.sighting.source.socket();
        let known = listed.contains(&(socket.ip().to_string(), socket.port()));
        if !known && one.verdict.confidence > Confidence::Possible {
            wrong.push(format!("{} {vantage}: {socket} {}", run.name, one.verdict.confidence.id()));
        }
    }
    wrong
}

#[test]
fn what_other_captures_hold_is_shown() {
    let Some(folder) = std::env::var_os("WHY502_CAPTURES") else { return };
    let mut captures: Vec<PathBuf> = walk(Path::new(&folder));
    captures.sort();
    for capture in captures {
        let checks = recognise(&capture);
        say(&format!("{}: {} flows\n", capture.display(), checks.flows.len()));
        for line in table(&checks.found) {
            say(&format!("    {line}\n"));
        }
    }
    for run in runs(Path::new(&folder)) {
        if run.truth["probers"].is_array() {
            for (vantage, capture) in [("lb", &run.lb), ("target", &run.target)] {
                judge(&run, vantage, capture)
                    .iter()
                    .for_each(|line| say(&format!("WRONG {line}\n")));
            }
        }
    }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let is_capture =
        |path: &PathBuf| path.extension().is_some_and(|kind| kind == "pcap" || kind == "pcapng");
    let below = folders.iter().flat_map(|folder| walk(folder));
    files.into_iter().filter(is_capture).chain(below).collect()
}
