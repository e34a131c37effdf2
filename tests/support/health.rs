//! What the program says of health checks, against what the probers themselves logged.

use super::lab::Run;
use super::say;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How far a prober's clock may be from its packets, seconds: less than half of the shortest
/// interval, and more than a busy machine delays a packet between the two capture points.
const SLACK: f64 = 0.3;
/// How long after the end of a check its last packets may come, seconds.
const AFTER: f64 = 0.3;
/// Ids of checks that nothing in the packets tells whose they are.
const ANYBODYS: [&str; 2] = ["tcp", "tls"];

/// How much was compared, and what was wrong.
#[derive(Default)]
pub struct Score {
    /// Checks that are in the capture.
    pub checks: usize,
    /// Of these, those with the right outcome, status and prober.
    pub right: usize,
    /// Changes of state.
    pub transitions: usize,
    /// Of these, those at the right check.
    pub at_the_check: usize,
    /// Sources of traffic that is no check.
    pub bystanders: usize,
    /// What is wrong, in words.
    pub complaints: Vec<String>,
}

impl Score {
    /// Adds another.
    pub fn add(&mut self, other: Score) {
        self.checks += other.checks;
        self.right += other.right;
        self.transitions += other.transitions;
        self.at_the_check += other.at_the_check;
        self.bystanders += other.bystanders;
        self.complaints.extend(other.complaints);
    }

    /// Prints it.
    pub fn print(&self, vantage: &str) {
        say(&format!(
            "\ncaptured at the {vantage}: {} of {} checks right, {} of {} changes of state at the right \
             check, {} bystanders",
            self.right, self.checks, self.at_the_check, self.transitions, self.bystanders
        ));
        for complaint in &self.complaints {
            say(&format!("  {complaint}"));
        }
    }
}

/// The JSON report of the program on a capture.
pub fn report(capture: &Path, arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_why502"))
        .env_clear()
        .args(["--format", "json", "--all"])
        .args(arguments)
        .arg(capture)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}: {}", capture.display(), text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The settings of a run's probers that packets do not show, as a configuration. Intervals and
/// time-outs are shorter in the lab than real load balancers take; they are left to be estimated.
pub fn configuration(truth: &Value) -> String {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    for group in items(&truth["probers"]) {
        let settings = &group["settings"];
        if settings["protocol"] == "none" || settings["lb_type"] == "container" {
            continue; // connection tests and checks inside a host are no target group's
        }
        let server = format!("{}:{}", word(&group["server"]["ip"]), group["server"]["port"]);
        let mut text = format!("[[target-group]]\ntargets = [\"{server}\"]\n");
        let _ = writeln!(text, "lb-type = {}", settings["lb_type"]);
        // That a handshake which never succeeds is a check, only the settings tell.
        if settings["protocol"] == "https" {
            text.push_str("protocol = \"https\"\n");
        }
        for name in ["healthy", "unhealthy", "matcher"] {
            if !settings[name].is_null() {
                let _ = writeln!(text, "{name} = {}", settings[name]);
            }
        }
        known.entry(server).or_insert(text);
    }
    known.into_values().collect()
}

/// The elements of a JSON array; none where there is no array.
pub fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Seconds since 1970 of an RFC 3339 time.
pub fn seconds(value: &Value) -> f64 {
    let number = |from: usize, to: usize| word(value)[from..to].parse::<f64>().expect("a number");
    // Days since 1970 in the Gregorian calendar, the year beginning with March.
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    let (year, month) = if month < 3.0 { (year - 1.0, month + 9.0) } else { (year, month - 3.0) };
    let leap = (year / 4.0).floor() - (year / 100.0).floor() + (year / 400.0).floor();
    let days = 365.0 * year + leap + ((153.0 * month + 2.0) / 5.0).floor() + day - 719_469.0;
    days * 86_400.0 + number(11, 13) * 3_600.0 + number(14, 16) * 60.0 + number(17, 29)
}

/// Compares every check, every change of state and every bystander of these runs with the truth, at
/// both vantages.
pub fn judge_all(runs: &[Run]) {
    let some = |run: &&Run, field: &str| !items(&run.truth[field]).is_empty();
    let runs: Vec<&Run> =
        runs.iter().filter(|run| some(run, "probers") || some(run, "bystanders")).collect();
    assert!(!runs.is_empty(), "no truth of health checks");
    let mut scores = [("lb", Score::default()), ("target", Score::default())];
    for run in &runs {
        for (vantage, score) in &mut scores {
            for keys in run.readings() {
                score.add(judge(run, vantage, keys.first()));
            }
        }
    }
    for (vantage, score) in &scores {
        score.print(vantage);
    }
    for (vantage, score) in &scores {
        let wrong = score.complaints.len();
        assert_eq!(wrong, 0, "complaints at the {vantage}");
        assert!(score.checks > 0 && score.right == score.checks, "checks at the {vantage}");
        let states = (score.transitions, score.at_the_check);
        assert!(states.0 > 0 && states.0 == states.1, "states at the {vantage}");
    }
}

/// Compares what the program says of one capture with the truth, with its keys or without.
fn judge(run: &Run, vantage: &str, keys: Option<&PathBuf>) -> Score {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("why502.toml");
    std::fs::write(&config, configuration(&run.truth)).unwrap();
    let mut arguments = vec!["--config", config.to_str().unwrap()];
    arguments.extend(keys.iter().flat_map(|keys| ["--keylog", keys.to_str().unwrap()]));
    let report = report(run.capture(vantage), &arguments);
    let mut judge = Judge {
        name: format!("{} {vantage}{}", run.name, if keys.is_some() { " with keys" } else { "" }),
        vantage,
        sealed: keys.is_none(),
        expects: run.truth["expect"].is_object(),
        report: &report,
        score: Score::default(),
    };
    for group in items(&run.truth["probers"]) {
        judge.checks(group);
        judge.states(group);
    }
    for bystander in items(&run.truth["bystanders"]) {
        judge.bystander(bystander);
    }
    judge.score
}

struct Judge<'a> {
    name: String,
    vantage: &'a str,
    /// What is inside TLS cannot be read.
    sealed: bool,
    /// The truth says what should be missing of a target.
    expects: bool,
    report: &'a Value,
    score: Score,
}

impl<'a> Judge<'a> {
    fn complain(&mut self, what: &str) {
        self.score.complaints.push(format!("{}: {what}", self.name));
    }

    /// The report's entry for a server.
    fn target(&self, server: &Value) -> Option<&'a Value> {
        items(&self.report["targets"]).iter().find(|target| target["server"] == *server)
    }

    /// The report's check with that source and about that start, and its prober.
    fn find(&self, server: &Value, wanted: &Value) -> Option<(&'a Value, &'a Value)> {
        let start = wanted["time"].as_f64()?;
        let probers = items(&self.target(server)?["probers"]).iter();
        probers
            .flat_map(|prober| items(&prober["checks"]).iter().map(move |check| (prober, check)))
            .filter(|(_, check)| check["source"] == wanted["source"])
            .map(|found| ((seconds(&found.1["time"]) - start).abs(), found))
            .filter(|(apart, _)| *apart < SLACK)
            .min_by(|(one, _), (other, _)| one.total_cmp(other))
            .map(|(_, found)| found)
    }

    /// Whether only the keys tell what came of a check.
    fn is_undecided(&self, check: &Value) -> bool {
        self.sealed && check["sealed"][self.vantage] == "undecided"
    }

    fn checks(&mut self, group: &Value) {
        let ids: Vec<&str> = items(&group["prober"]).iter().map(word).collect();
        for check in items(&group["checks"]) {
            let outcome = &check["outcome"][self.vantage];
            let what =
                format!("check {} of {} ({})", check["number"], word(&check["node"]), check["log"]);
            let found = self.find(&group["server"], check);
            // The answer would have to be read: no word about it, or the right one.
            let undecided = self.is_undecided(check);
            let Some((prober, found)) = found else {
                if undecided {
                    continue;
                }
                // Attempts that were never answered look like anything that tries again and again;
                // what is said of the expected target is judged instead.
                if !outcome.is_null() && !self.expects {
                    self.score.checks += 1;
                    self.complain(&format!("missed {what}: {outcome}"));
                }
                continue;
            };
            self.score.checks += 1;
            let id = word(&prober["id"]);
            let right = outcome == &found["outcome"]
                || (undecided && found["outcome"].is_null())
                || items(outcome).iter().any(|accepted| accepted == &found["outcome"]);
            // Whose they are, the request inside tells.
            let secret = self.sealed && check["sealed"].is_object();
            let anybody = secret || ids.iter().any(|id| ANYBODYS.contains(id));
            if !right {
                self.complain(&format!("{} instead of {outcome}: {what}", found["outcome"]));
            } else if !check["status"].is_null()
                && group["settings"]["protocol"] == "http"
                && check["status"] != found["status"]
            {
                self.complain(&format!("status {}: {what}", found["status"]));
            } else if !anybody && !ids.contains(&id) {
                self.complain(&format!("said to be of {id}: {what}"));
            } else if !anybody && prober["confidence"] == "possible" {
                self.complain(&format!("only possibly of {id}: {what}"));
            } else {
                self.score.right += 1;
            }
        }
    }

    /// Compares the states that each node and all together hold of the target, where all checks
    /// are in the capture.
    fn states(&mut self, group: &Value) {
        if self.expects {
            return;
        }
        let invisible =
            |check: &Value| check["outcome"][self.vantage].is_null() || self.is_undecided(check);
        if items(&group["checks"]).iter().any(invisible) {
            return;
        }
        let Some(target) = self.target(&group["server"]) else { return };
        let probers = items(&target["probers"]);
        let own = |node: &Value| {
            probers
                .iter()
                .filter(|prober| is_of(prober, group))
                .flat_map(|prober| items(&prober["nodes"]))
                .find(|found| &found["source"] == node)
        };
        for node in items(&group["nodes"]) {
            let truth: Vec<&Value> = items(&group["transitions"])
                .iter()
                .filter(|change| &change["node"] == node)
                .collect();
            let found = own(node).map_or(Vec::new(), |node| decided(&node["timeline"]));
            let spans = truth.iter().map(|change| {
                let check = |number: u64| {
                    items(&group["checks"])
                        .iter()
                        .find(|check| &check["node"] == node && check["number"] == number)
                };
                let number = change["check"].as_u64().unwrap_or_default();
                let check = check(number).expect("the check of a transition");
                let span = |field: &str| check[field].as_f64().unwrap_or_default();
                (span("time"), span("end"))
            });
            let spans: Vec<(f64, f64)> = spans.collect();
            self.compare(&format!("node {}", word(node)), &truth, &spans, &found, group);
        }
        let whole: Vec<&Value> = items(&group["whole"]).iter().collect();
        let moment = |value: &Value| value.as_f64().unwrap_or_default();
        let longest = items(&group["checks"])
            .iter()
            .map(|check| moment(&check["end"]) - moment(&check["time"]))
            .fold(0.0, f64::max);
        let spans: Vec<(f64, f64)> = whole
            .iter()
            .map(|row| (moment(&row["first"]) - longest, moment(&row["last"])))
            .collect();
        let index = probers.iter().position(|prober| is_of(prober, group));
        let found: Vec<&Value> = decided(&target["timeline"])
            .into_iter()
            .filter(|entry| entry["prober"].as_u64().map(|index| index as usize) == index)
            .collect();
        self.compare("all nodes", &whole, &spans, &found, group);
    }

    /// The first state may be known later than the prober knew it: only enough results in a row
    /// tell what it was before the capture.
    fn compare(
        &mut self,
        who: &str,
        truth: &[&Value],
        spans: &[(f64, f64)],
        found: &[&Value],
        group: &Value,
    ) {
        self.score.transitions += truth.len();
        let states = |list: &[&Value]| -> Vec<String> {
            list.iter().map(|change| word(&change["state"]).to_owned()).collect()
        };
        if states(truth) != states(found) {
            self.complain(&format!("{who}: {:?} instead of {:?}", states(found), states(truth)));
            return;
        }
        let interval = group["settings"]["interval_s"].as_f64().unwrap_or_default();
        let thresholds = ["healthy", "unhealthy"].map(|name| group["settings"][name].as_f64());
        let undecided =
            thresholds.iter().flatten().fold(0.0, |sum: f64, n| sum.max(*n)) * 2.0 * interval;
        for (number, (change, (begin, end))) in found.iter().zip(spans).enumerate() {
            let at = seconds(&change["time"]);
            let late = if number == 0 { undecided } else { 0.0 };
            if (begin - SLACK..end + AFTER + late).contains(&at) {
                self.score.at_the_check += 1;
            } else {
                let (before, after) = (at - begin, at - end);
                self.complain(&format!(
                    "{who}: {} #{number} in frame {}, {before:.3} s after the start and {after:.3} s \
                     after the end of its check",
                    change["state"], change["frame"]
                ));
            }
        }
    }

    fn bystander(&mut self, bystander: &Value) {
        let what = word(&bystander["what"]);
        for source in items(&bystander["sources"]) {
            self.score.bystanders += 1;
            for target in items(&self.report["targets"]) {
                for prober in items(&target["probers"]) {
                    let theirs = items(&prober["sources"]).contains(source);
                    let sure = prober["confidence"] != "possible";
                    if theirs && sure && prober["balances"] != Value::Bool(false) {
                        let (id, sure) = (&prober["id"], &prober["confidence"]);
                        self.complain(&format!("{what} is taken for checks of {id} ({sure})"));
                    }
                }
            }
        }
    }
}

/// Whether a prober of the report is the one of this group: it has the group's first check.
fn is_of(prober: &Value, group: &Value) -> bool {
    let Some(first) = items(&group["checks"]).first() else { return false };
    items(&prober["checks"]).iter().any(|check| check["source"] == first["source"])
}

/// The entries of a timeline in which the target is healthy or unhealthy.
fn decided(timeline: &Value) -> Vec<&Value> {
    let decided = |entry: &&Value| entry["state"] == "healthy" || entry["state"] == "unhealthy";
    items(timeline).iter().filter(decided).collect()
}
