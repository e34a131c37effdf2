//! Our verdicts against what the proxies themselves logged.
//!
//! Every capture of the lab carries a truth file made from the proxy's log: which requests failed,
//! and the cause that the injected fault has at each vantage. Captures of TLS are judged as they are
//! and, where there are keys, with these. Without `WHY502_LAB` the captures
//! that ship with the source are judged, with it those in that folder.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::lab::{Names, Run, analyse_with, expected, may_be_silent, runs, shipped};
use support::{handshake, say};
use why502::cause::{Confidence, Finding, Kind};
use why502::report::Report;

/// Exit code of `lab.py` on a machine that lacks something it needs.
const LAB_CANNOT_RUN: i32 = 2;

/// What one vantage amounts to.
#[derive(Default)]
struct Score {
    right: usize,
    inconclusive: usize,
    missed: usize,
    wrong: usize,
    false_alarms: usize,
    answered: usize,
    /// Failed, but the packets need not show it, and nothing was said.
    unshown: usize,
    /// Handshakes whose end is told as the truth has it, and all that were told.
    reasons: (usize, usize),
    /// Expected id, found id, count.
    matrix: BTreeMap<(String, String), usize>,
    complaints: Vec<String>,
}

impl Score {
    fn failed(&self) -> usize {
        self.right + self.inconclusive + self.missed + self.wrong
    }

    fn judge(&mut self, what: &str, wanted: &Wanted, found: Option<(&str, Confidence)>) {
        let name = found.map_or("-", |(id, _)| id);
        let right = &wanted.ids;
        let wanted_name = right.first().map_or("-", String::as_str);
        *self.matrix.entry((wanted_name.to_owned(), name.to_owned())).or_default() += 1;
        match found {
            None if wanted.may_be_silent => self.unshown += 1,
            None if right.is_empty() => self.answered += 1,
            None => {
                self.missed += 1;
                self.complaints.push(format!("missed    {what}: {wanted_name}"));
            }
            Some((id, _)) if right.iter().any(|known| known == id) => self.right += 1,
            Some((id, confidence)) if right.is_empty() => {
                self.false_alarms += 1;
                self.complaints.push(format!("false     {what}: {id} ({})", confidence.id()));
            }
            Some(("inconclusive", _)) => {
                self.inconclusive += 1;
                self.complaints.push(format!("unsure    {what}: {wanted_name}"));
            }
            Some((id, confidence)) => {
                self.wrong += 1;
                self.complaints.push(format!(
                    "wrong     {what}: {id} ({}) instead of {wanted_name}",
                    confidence.id()
                ));
            }
        }
    }

    /// Compares how a handshake ended with what is said of it.
    fn reason(&mut self, what: &str, truth: &Value, finding: &Finding, report: &Report) {
        if truth["tls"].is_null() || !finding.cause.id.starts_with("tls-") {
            return;
        }
        let wrong = handshake::complaints(&truth["tls"], finding, report);
        self.reasons.0 += usize::from(wrong.is_empty());
        self.reasons.1 += 1;
        self.complaints.extend(wrong.iter().map(|wrong| format!("reason    {what}: {wrong}")));
    }
}

/// What is right for something at one vantage.
#[derive(Default)]
struct Wanted {
    ids: Vec<String>,
    may_be_silent: bool,
}

impl Wanted {
    fn of(label: &Value, vantage: &str) -> Wanted {
        Wanted { ids: expected(label, vantage), may_be_silent: may_be_silent(label, vantage) }
    }
}

/// What was found in a capture.
#[derive(Default)]
struct Found<'a> {
    by_target: BTreeMap<String, Vec<&'a Finding>>,
    /// Of requests that nobody can read.
    nameless: Vec<&'a Finding>,
    connections: Vec<&'a Finding>,
}

impl<'a> Found<'a> {
    fn of(report: &'a Report, names: &Names) -> Found<'a> {
        let mut found = Found::default();
        for finding in &report.findings {
            match (finding.kind, names.target(finding)) {
                (Kind::Connection, _) => found.connections.push(finding),
                (_, Some(target)) => found.by_target.entry(target).or_default().push(finding),
                (_, None) => found.nameless.push(finding),
            }
        }
        found
    }

    /// The finding of a request, by its name or, where nobody can read that, by what is wanted.
    fn request(&mut self, target: &str, wanted: &Wanted, sealed: bool) -> Option<&'a Finding> {
        let named = self.by_target.get(target).and_then(|found| found.first().copied());
        named
            .or_else(|| take(&mut self.nameless, wanted))
            .or_else(|| take(&mut self.connections, wanted).filter(|_| sealed))
    }
}

/// Takes the first finding that is wanted most.
fn take<'a>(findings: &mut Vec<&'a Finding>, wanted: &Wanted) -> Option<&'a Finding> {
    let best = |id: &String| findings.iter().position(|finding| finding.cause.id == id);
    let index = wanted.ids.iter().find_map(best)?;
    Some(findings.remove(index))
}

fn judge_run(run: &Run, vantage: &str, keys: &[PathBuf], score: &mut Score) {
    let capture = run.capture(vantage);
    let report: Report = analyse_with(capture, keys);
    let sealed = run.is_sealed() && keys.is_empty();
    let names = match &run.keys {
        Some(log) if sealed => Names::of(&analyse_with(capture, std::slice::from_ref(log))),
        _ => Names::default(),
    };
    let mut found = Found::of(&report, &names);
    let name = format!("{} {vantage}{}", run.name, if keys.is_empty() { "" } else { " with keys" });
    let mut known = BTreeSet::new();
    let mut left = Vec::new();
    for request in run.requests() {
        let target = request["target"].as_str().unwrap_or_default();
        known.insert(target.to_owned());
        let label = if sealed { &request["sealed"] } else { &request["cause"] };
        let wanted = Wanted::of(label, vantage);
        let unseen = !run.is_sealed() && request["visible"][vantage] == Value::Bool(false);
        if unseen {
            continue;
        }
        let what = format!("{name} {target}");
        let finding = found.request(target, &wanted, run.is_sealed());
        // The packets show it, and the proxy passed it on or tried again with success.
        let tolerated = request["tolerated"].as_str();
        if wanted.ids.is_empty()
            && tolerated.is_some()
            && tolerated == finding.map(|found| found.cause.id)
        {
            continue;
        }
        if finding.is_none() && !wanted.ids.is_empty() && !wanted.may_be_silent {
            left.push((what, wanted));
            continue;
        }
        score.judge(&what, &wanted, finding.map(|found| (found.cause.id, found.confidence)));
        if let Some(finding) = finding {
            score.reason(&what, request, finding, &report);
        }
    }
    for (what, wanted) in left {
        let finding = found.nameless.pop().map(|found| (found.cause.id, found.confidence));
        score.judge(&what, &wanted, finding);
    }
    // Health checks fail on purpose there, and are no requests of the truth; tests/health.rs judges them.
    let some =
        |field| run.truth[field].as_array().is_some_and(|items: &Vec<Value>| !items.is_empty());
    if some("checks") || some("probers") {
        return;
    }
    let others = found.by_target.iter().filter(|(target, _)| !known.contains(*target));
    for finding in others.flat_map(|(_, findings)| findings).chain(&found.nameless) {
        let target = names.target(finding).unwrap_or_default();
        let frame = finding.evidence[0].mark.frame.number();
        score.judge(
            &format!("{name} frame {frame} {target} (not in the truth)"),
            &Wanted::default(),
            Some((finding.cause.id, finding.confidence)),
        );
    }
    for attempt in run.truth["connections"].as_array().into_iter().flatten() {
        let wanted = Wanted::of(&attempt["cause"], vantage);
        let count = attempt["count"].as_u64().unwrap_or_default() as usize;
        for number in 0..if wanted.ids.is_empty() { 0 } else { count } {
            let what = format!("{name} connection {number}");
            let finding = take(&mut found.connections, &wanted);
            score.judge(&what, &wanted, finding.map(|found| (found.cause.id, found.confidence)));
            if let Some(finding) = finding {
                score.reason(&what, attempt, finding, &report);
            }
        }
    }
    for finding in found.connections {
        score.judge(
            &format!("{name} connection, frame {}", finding.evidence[0].mark.frame.number()),
            &Wanted::default(),
            Some((finding.cause.id, finding.confidence)),
        );
    }
}

fn print(vantage: &str, score: &Score) {
    say(&format!(
        "\ncaptured at the {vantage}: {} failed, {} answered, {} that need not show and were not \
         said; {} of {} handshakes end as told",
        score.failed(),
        score.answered,
        score.unshown,
        score.reasons.0,
        score.reasons.1
    ));
    for ((wanted, found), count) in &score.matrix {
        let mark = if wanted == found { ' ' } else { '*' };
        say(&format!("  {count:5} {mark} {wanted:30} -> {found}"));
    }
    for complaint in &score.complaints {
        say(&format!("  {complaint}"));
    }
}

/// Judges every run below `folder`.
fn judge(folder: &Path) {
    let runs = runs(folder);
    assert!(!runs.is_empty(), "no truth files below {}", folder.display());
    let mut scores = BTreeMap::new();
    for run in &runs {
        for vantage in ["lb", "target"] {
            let score = scores.entry(vantage).or_insert_with(Score::default);
            for keys in run.readings() {
                judge_run(run, vantage, keys, score);
            }
        }
    }
    for (vantage, score) in &scores {
        print(vantage, score);
    }
    for (vantage, score) in &scores {
        assert_eq!(score.false_alarms, 0, "false findings at the {vantage}");
        assert_eq!(score.wrong, 0, "wrong causes at the {vantage}");
        assert_eq!(score.reasons.0, score.reasons.1, "ends of handshakes at the {vantage}");
        assert!(
            score.right * 100 >= score.failed() * 98,
            "{} of {} right at the {vantage}",
            score.right,
            score.failed()
        );
    }
}

#[test]
fn verdicts_agree_with_the_proxies_logs() {
    judge(&std::env::var_os("WHY502_LAB").map_or_else(shipped, PathBuf::from));
}

/// Makes captures of a part of the scenarios on this machine, with its proxies and its kernel.
#[test]
fn a_fresh_lab_agrees() {
    let folder = tempfile::tempdir().unwrap();
    let lab = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/lab.py");
    let mut command = Command::new("python3");
    command.arg(&lab).arg("--quick").arg("--out").arg(folder.path());
    let why_not = match command.env("PYTHONDONTWRITEBYTECODE", "1").output() {
        Ok(output) => {
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            match output.status.code() {
                Some(0) => None,
                Some(LAB_CANNOT_RUN) => Some(words),
                _ => panic!("{}\n{words}", String::from_utf8_lossy(&output.stdout)),
            }
        }
        Err(error) => Some(format!("python3: {error}")),
    };
    match why_not {
        None => {
            judge(folder.path());
            support::health::judge_all(&runs(folder.path()));
        }
        Some(words) => {
            let required = std::env::var_os("WHY502_SKIP").is_some_and(|skip| skip == "never");
            assert!(!required, "{words}");
            say(&format!("skipped: {}", words.trim_end()));
        }
    }
    folder.close().unwrap();
}
