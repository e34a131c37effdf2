//! Our verdicts against what the proxies themselves logged.
//!
//! Every capture of the lab carries a truth file made from the proxy's log: which requests failed,
//! and the cause that the injected fault has at each vantage. Without `WHY502_LAB` the captures
//! that ship with the source are judged, with it those in that folder.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::lab::{Run, expected, runs, shipped, target};
use support::say;
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
    /// Expected id, found id, count.
    matrix: BTreeMap<(String, String), usize>,
    complaints: Vec<String>,
}

impl Score {
    fn failed(&self) -> usize {
        self.right + self.inconclusive + self.missed + self.wrong
    }

    fn judge(&mut self, what: &str, right: &[String], found: Option<(&str, Confidence)>) {
        let name = found.map_or("-", |(id, _)| id);
        let wanted = right.first().map_or("-", String::as_str);
        *self.matrix.entry((wanted.to_owned(), name.to_owned())).or_default() += 1;
        match found {
            None if right.is_empty() => self.answered += 1,
            None => {
                self.missed += 1;
                self.complaints.push(format!("missed    {what}: {wanted}"));
            }
            Some((id, _)) if right.iter().any(|known| known == id) => self.right += 1,
            Some((id, confidence)) if right.is_empty() => {
                self.false_alarms += 1;
                self.complaints.push(format!("false     {what}: {id} ({})", confidence.id()));
            }
            Some(("inconclusive", _)) => {
                self.inconclusive += 1;
                self.complaints.push(format!("unsure    {what}: {wanted}"));
            }
            Some((id, confidence)) => {
                self.wrong += 1;
                self.complaints.push(format!(
                    "wrong     {what}: {id} ({}) instead of {wanted}",
                    confidence.id()
                ));
            }
        }
    }
}

fn judge_run(run: &Run, vantage: &str, capture: &Path, score: &mut Score) {
    let report: Report = support::lab::analyse(capture);
    let mut by_target: BTreeMap<String, Vec<&Finding>> = BTreeMap::new();
    let mut connections: BTreeMap<&str, usize> = BTreeMap::new();
    for finding in &report.findings {
        match finding.kind {
            Kind::Connection => *connections.entry(finding.cause.id).or_default() += 1,
            _ => by_target.entry(target(finding).unwrap_or_default()).or_default().push(finding),
        }
    }
    let name = format!("{} {vantage}", run.name);
    let mut known = BTreeSet::new();
    for request in run.truth["requests"].as_array().into_iter().flatten() {
        let target = request["target"].as_str().unwrap_or_default();
        known.insert(target.to_owned());
        if request["visible"][vantage] == Value::Bool(false) {
            continue;
        }
        let right = expected(&request["cause"], vantage);
        let found = by_target
            .get(target)
            .and_then(|found| found.first())
            .map(|finding| (finding.cause.id, finding.confidence));
        // The packets show it, and the proxy passed it on or tried again with success.
        let tolerated = request["tolerated"].as_str();
        if right.is_empty() && tolerated.is_some() && tolerated == found.map(|(id, _)| id) {
            continue;
        }
        score.judge(&format!("{name} {target}"), &right, found);
    }
    // Health checks fail on purpose there, and are no requests of the truth; tests/health.rs judges them.
    let some =
        |field| run.truth[field].as_array().is_some_and(|items: &Vec<Value>| !items.is_empty());
    if some("checks") || some("probers") {
        return;
    }
    for (target, findings) in by_target.iter().filter(|(target, _)| !known.contains(*target)) {
        for finding in findings {
            score.judge(
                &format!("{name} {target} (not in the truth)"),
                &[],
                Some((finding.cause.id, finding.confidence)),
            );
        }
    }
    for attempt in run.truth["connections"].as_array().into_iter().flatten() {
        let right = expected(&attempt["cause"], vantage);
        let count = attempt["count"].as_u64().unwrap_or_default() as usize;
        for number in 0..if right.is_empty() { 0 } else { count } {
            let id = right.iter().find_map(|id| {
                let left = connections.get_mut(id.as_str()).filter(|left| **left > 0)?;
                *left -= 1;
                Some(id.as_str())
            });
            score.judge(
                &format!("{name} connection {number}"),
                &right,
                id.map(|id| (id, Confidence::Certain)),
            );
        }
    }
    for (id, left) in connections {
        for _ in 0..left {
            score.judge(&format!("{name} connection"), &[], Some((id, Confidence::Certain)));
        }
    }
}

fn print(vantage: &str, score: &Score) {
    say(&format!(
        "\ncaptured at the {vantage}: {} failed, {} answered",
        score.failed(),
        score.answered
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
        for (vantage, capture) in [("lb", &run.lb), ("target", &run.target)] {
            judge_run(run, vantage, capture, scores.entry(vantage).or_insert_with(Score::default));
        }
    }
    for (vantage, score) in &scores {
        print(vantage, score);
    }
    for (vantage, score) in &scores {
        assert_eq!(score.false_alarms, 0, "false findings at the {vantage}");
        assert_eq!(score.wrong, 0, "wrong causes at the {vantage}");
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
