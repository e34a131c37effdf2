//! The lab's captures and their truth.

use serde_json::Value;
use std::path::{Path, PathBuf};
use why502::cause::Finding;
use why502::http::RequestHead;
use why502::report::Report;

/// One scenario behind one proxy: two captures and what the proxy logged.
pub struct Run {
    pub name: String,
    pub lb: PathBuf,
    pub target: PathBuf,
    pub truth: Value,
}

/// Every run below `folder`: `truth.json` beside `lb.pcap` and `target.pcap`, or `NAME.json` beside
/// `NAME-lb.pcap` and `NAME-target.pcap`.
pub fn runs(folder: &Path) -> Vec<Run> {
    let mut found = Vec::new();
    collect(folder, &mut found);
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

fn collect(folder: &Path, found: &mut Vec<Run>) {
    for entry in std::fs::read_dir(folder).expect("a folder of captures") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, found);
            continue;
        }
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let stem = path.with_extension("").to_string_lossy().into_owned();
        let prefix = match stem.strip_suffix("/truth") {
            Some(folder) => format!("{folder}/"),
            None => format!("{stem}-"),
        };
        let (lb, target) = (format!("{prefix}lb.pcap"), format!("{prefix}target.pcap"));
        if !Path::new(&lb).exists() {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a truth file");
        let truth = serde_json::from_str(&text).expect("JSON");
        let name = stem.trim_end_matches("/truth").rsplit('/').take(2).collect::<Vec<_>>();
        let name = name.into_iter().rev().collect::<Vec<_>>().join("/");
        found.push(Run { name, lb: lb.into(), target: target.into(), truth });
    }
}

/// The report on one capture, with every flow and exchange.
pub fn analyse(capture: &Path) -> Report {
    let settings =
        why502::run::Settings { flows: true, exchanges: true, ..why502::run::Settings::default() };
    why502::run::analyse(&[capture.to_owned()], &settings, &mut why502::run::Patient)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Folder of the captures that ship.
pub fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("captures")
}

/// Ids that are right for something at one vantage: none when the packets show no failure there.
pub fn expected(cause: &Value, vantage: &str) -> Vec<String> {
    match &cause[vantage] {
        Value::String(id) => vec![id.clone()],
        Value::Array(ids) => ids.iter().filter_map(|id| Some(id.as_str()?.to_owned())).collect(),
        _ => Vec::new(),
    }
}

/// Target of the request that failed.
pub fn target(finding: &Finding) -> Option<String> {
    let request = finding.exchange.as_ref()?.request.as_ref()?;
    Some(RequestHead::parse(&request.head).target().into_owned())
}
