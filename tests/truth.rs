//! Our verdicts against what the proxies themselves logged.
//!
//! Every capture of the lab carries a truth file made from the proxy's log: which requests failed,
//! and the cause that the injected fault has at each vantage. Without `WHY502_LAB` the captures
//! that ship with the source are judged, with it the fresh ones in that folder.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use support::lab::{Run, runs};
use support::say;
use why502::cause::{Confidence, Finding, Kind, by_id};
use why502::http::RequestHead;
use why502::report::Report;

/// Ids that are right for something at one vantage: none when the packets show no failure there.
fn expected(cause: &Value, vantage: &str) -> Vec<String> {
    match &cause[vantage] {
        Value::String(id) => vec![id.clone()],
        Value::Array(ids) => ids.iter().filter_map(|id| Some(id.as_str()?.to_owned())).collect(),
        _ => Vec::new(),
    }
}

fn target(finding: &Finding) -> Option<String> {
    let request = finding.exchange.as_ref()?.request.as_ref()?;
    Some(RequestHead::parse(&request.head).target().into_owned())
}

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
    // The proxy's own health checks fail on purpose there, and are no requests of the truth.
    if run.truth["checks"].as_array().is_some_and(|checks| !checks.is_empty()) {
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
        if right.iter().any(|id| by_id(id).is_none()) {
            continue; // what TLS handshakes show is not judged
        }
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

#[test]
fn verdicts_agree_with_the_proxies_logs() {
    let folder = std::env::var_os("WHY502_LAB")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("captures"), PathBuf::from);
    let runs = runs(&folder);
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
