//! The causes, their files, their words, their captures and their documents agree.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::lab::{expected, runs, shipped};
use why502::cause::{ALL, Cause, by_id};
use why502::health::texts::EXPLAINED;
use why502::report::{Style, explain};

/// Causes without a capture of their own, and why.
const WITHOUT_CAPTURE: [(&str, &str); 9] = [
    ("client-request-timeout", "only logs can name it"),
    ("lambda-target", "only logs can name it"),
    ("lb-no-target", "it takes both legs, see tests/joins.rs"),
    ("lb-overload", "it takes both legs, see tests/joins.rs"),
    ("lb-policy", "only logs can name it"),
    ("local-port-exhaustion", "only logs and counters of the host can name it"),
    ("inconclusive", "it says that the packets do not decide"),
    ("connect-timeout-path", "it takes two capture points, see tests/points.rs"),
    ("l4-lb-reset", "the lab has no layer 4 load balancer that resets"),
];
/// Folders of captures that are no cause of `ALL`, and why.
const OTHER_FOLDERS: [(&str, &str); 13] = [
    ("balancer-log", "several causes, for the comparison with logs"),
    ("both-legs", "both legs of proxies, judged by tests/joins.rs"),
    ("healthy", "nothing fails"),
    ("demo", "several causes among healthy requests"),
    ("health-checks", "outcomes of checks, not of requests"),
    ("probers", "outcomes of checks, not of requests"),
    ("absent-checks", "checks that do not arrive"),
    ("checks-and-users", "checks beside requests"),
    ("bystanders", "what only looks like checks"),
    ("access-log", "nothing fails"),
    ("tls-requests", "several causes inside TLS"),
    ("tls-healthy", "nothing fails"),
    ("tls-twins", "the same causes in clear and inside TLS"),
];
/// Longest first step of a fix, which every finding repeats.
const FIX_MAX: usize = 165;
/// Longest line of a text.
const COLUMNS: usize = 100;

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_cause_has_its_file_and_every_file_its_entry() {
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(source("src/cause")).unwrap() {
        let path = entry.unwrap().path();
        if text(&path).lines().any(|line| line.contains("const CAUSE: Cause")) {
            files.insert(path.file_stem().unwrap().to_str().unwrap().to_owned());
        }
    }
    let listed: BTreeSet<String> = ALL.iter().map(|cause| cause.id.replace('-', "_")).collect();
    assert_eq!(listed, files);
    assert_eq!(listed.len(), ALL.len(), "every id once");
}

#[test]
fn ids_are_kebab_case_and_found() {
    for cause in ALL {
        let words: Vec<&str> = cause.id.split('-').collect();
        let fits = |word: &&str| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        assert!(words.iter().all(fits), "{}", cause.id);
        assert_eq!(by_id(cause.id).unwrap().id, cause.id);
        assert_eq!(explain::find(cause.id, ALL).unwrap().id, cause.id);
    }
    assert!(by_id("no-such-cause").is_none());
}

#[test]
fn every_cause_says_what_to_know_and_to_do() {
    for cause in EXPLAINED.iter() {
        let id = cause.id;
        for (name, words) in [("summary", cause.summary), ("explanation", cause.explanation)] {
            assert!(!words.trim().is_empty(), "{id}: no {name}");
        }
        assert!(
            !cause.summary.ends_with('.') && !cause.summary.contains('\n'),
            "{id}: {}",
            cause.summary
        );
        for (name, list) in
            [("confirm", cause.confirm), ("fix", cause.fix), ("references", cause.references)]
        {
            assert!(!list.is_empty(), "{id}: no {name}");
            assert!(list.iter().all(|step| !step.trim().is_empty()), "{id}: an empty {name}");
        }
        assert!(!cause.wireshark.is_empty(), "{id}: no display filter");
        for (filter, shows) in cause.wireshark {
            assert!(filter.len() <= COLUMNS - 4 && !shows.ends_with('.'), "{id}: {filter} {shows}");
        }
        let length = cause.fix[0].chars().count();
        assert!(length <= FIX_MAX, "{id}: the first fix has {length} characters");
        if let Some(status) = cause.typical_status {
            assert!((400..600).contains(&status), "{id}: {status}");
        }
    }
}

/// Whether tshark takes a display filter, and what it says if not; `None` without tshark.
fn refused_by_tshark(filter: &str) -> Option<String> {
    let capture = shipped().join("connect-refused");
    let capture = fs::read_dir(capture).unwrap().map(|entry| entry.unwrap().path());
    let capture = capture.min_by_key(|path| path.extension().is_none_or(|it| it != "pcap"));
    let mut command = Command::new("tshark");
    command.args(["-n", "-r"]).arg(capture.unwrap()).args(["-c", "1", "-Y", filter]);
    match command.output() {
        Ok(output) if output.status.success() => Some(String::new()),
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(_) if std::env::var_os("WHY502_SKIP").is_none_or(|skip| skip != "never") => None,
        Err(error) => panic!("tshark: {error}"),
    }
}

#[test]
fn wireshark_takes_every_display_filter() {
    let filters: BTreeSet<&str> = EXPLAINED
        .iter()
        .flat_map(|cause| cause.wireshark.iter().map(|(filter, _)| *filter))
        .collect();
    // tshark needs a while to start: one by one only to find the wrong one.
    let all: Vec<String> = filters.iter().map(|filter| format!("({filter})")).collect();
    let Some(complaint) = refused_by_tshark(&all.join(" or ")) else {
        return support::say("skipped: tshark is not installed");
    };
    if !complaint.is_empty() {
        for filter in filters {
            assert_eq!(refused_by_tshark(filter).as_deref(), Some(""), "{filter}");
        }
        panic!("{complaint}");
    }
    assert!(!refused_by_tshark("tcp.flags.nonsense == 1").unwrap().is_empty());
}

fn explained(cause: &'static Cause, style: Style) -> String {
    let mut out = Vec::new();
    explain::explain(cause, &style, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn explanations_fit_the_width_and_lose_no_word() {
    for cause in EXPLAINED.iter() {
        for ascii in [false, true] {
            let text = explained(cause, Style { ascii, ..Style::default() });
            for line in text.lines().filter(|line| !line.contains("://")) {
                assert!(line.chars().count() <= COLUMNS, "{}: {line}", cause.id);
            }
            assert!(!ascii || text.is_ascii(), "{}", cause.id);
        }
        let text = explained(cause, Style::default());
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let (shown, steps) = (words(&text), [cause.confirm, cause.fix, cause.references].concat());
        for wanted in steps.into_iter().chain([cause.explanation]) {
            assert!(shown.contains(&words(wanted)), "{}: {wanted}", cause.id);
        }
    }
}

/// Ids that the truth files below a folder name.
fn truths(folder: &Path) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for run in runs(folder) {
        for list in ["requests", "connections"] {
            for item in run.truth[list].as_array().into_iter().flatten() {
                for vantage in ["lb", "target"] {
                    ids.extend(expected(&item["cause"], vantage));
                }
            }
        }
    }
    ids
}

fn folders() -> BTreeSet<String> {
    let entries = fs::read_dir(shipped()).unwrap().map(|entry| entry.unwrap());
    entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

#[test]
fn every_cause_has_captures_that_show_it() {
    let without: BTreeMap<_, _> = WITHOUT_CAPTURE.into();
    for cause in ALL {
        let folder = shipped().join(cause.id);
        if without.contains_key(cause.id) {
            assert!(!folder.exists(), "{} has captures after all", cause.id);
            continue;
        }
        assert!(folder.is_dir(), "no captures of {}", cause.id);
        assert!(truths(&folder).contains(cause.id), "no truth of {0} in {0}/", cause.id);
    }
    for id in without.keys() {
        assert!(by_id(id).is_some(), "{id} is no cause");
    }
}

/// Runs of tests/lab/legs.py: captures of the proxy alone.
fn both_legs() -> Vec<String> {
    let names = fs::read_dir(shipped().join("both-legs")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| Some(name.strip_suffix(".json")?.to_owned())).collect()
}

#[test]
fn every_folder_of_captures_is_known_and_described() {
    let readme = text(&shipped().join("README.md"));
    let described: BTreeSet<(&str, &str)> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" | "))
        .filter_map(|(folder, rest)| Some((folder, rest.split_once(" | ")?.0)))
        .filter(|(folder, _)| *folder != "Folder" && !folder.starts_with('-'))
        .collect();
    let mut scenarios = BTreeSet::new();
    for run in runs(&shipped()) {
        let folder = run.name.split('/').next().unwrap().to_owned();
        scenarios.insert((folder, run.truth["scenario"].as_str().unwrap().to_owned()));
    }
    scenarios.extend(both_legs().into_iter().map(|name| ("both-legs".to_owned(), name)));
    let scenarios: BTreeSet<(&str, &str)> =
        scenarios.iter().map(|(folder, name)| (folder.as_str(), name.as_str())).collect();
    assert_eq!(described, scenarios, "captures/README.md and the captures");
    let others: BTreeMap<_, _> = OTHER_FOLDERS.into();
    for folder in folders() {
        let known = by_id(&folder).is_some() != others.contains_key(folder.as_str());
        assert!(known, "{folder} is neither a cause nor a known exception, or both");
        assert!(described.iter().any(|(name, _)| *name == folder), "{folder} is not described");
    }
    for folder in others.keys() {
        assert!(folders().contains(*folder), "{folder} is gone");
    }
}

#[test]
fn every_capture_has_its_truth() {
    let mut known = BTreeSet::new();
    for run in runs(&shipped()) {
        let stem = run.lb.to_string_lossy().replace("-lb.pcap", "");
        let others = ["keys.log", "lb-secrets.pcapng"].map(|name| format!("{stem}-{name}").into());
        known.extend(others.into_iter().filter(|path: &PathBuf| path.exists()));
        known.extend([run.lb, run.target]);
    }
    let legs = both_legs().into_iter().map(|name| format!("both-legs/{name}-proxy.pcap.gz"));
    known.extend(legs.map(|path| shipped().join(path)));
    // Their truth is the proxies' own logs.
    let unserved = [
        "haproxy-translated-router.pcap.gz",
        "haproxy-unserved-proxy.pcap.gz",
        "haproxy-unserved.log",
        "nginx-unserved-proxy.pcap.gz",
        "nginx-unserved-access.log",
        "nginx-unserved-error.log",
    ];
    known.extend(unserved.map(|name| shipped().join("balancer-log").join(name)));
    for folder in folders() {
        for entry in fs::read_dir(shipped().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let is_truth = path.extension().is_some_and(|extension| extension == "json");
            assert!(is_truth || known.contains(&path), "{}", path.display());
        }
    }
    assert!(known.iter().all(|path| path.exists()));
}

/// When the README lists causes, in the first column of a table, it lists each exactly once.
#[test]
fn the_readme_lists_every_cause_once_or_none() {
    let readme = text(&source("README.md"));
    let rows = |id: &str| {
        let cells =
            readme.lines().filter_map(|line| line.trim().strip_prefix('|')?.split('|').next());
        cells.filter(|cell| cell.trim().trim_matches('`') == id).count()
    };
    let counts: BTreeMap<&str, usize> =
        ALL.iter().map(|cause| (cause.id, rows(cause.id))).collect();
    if counts.values().any(|count| *count > 0) {
        let wrong: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}
