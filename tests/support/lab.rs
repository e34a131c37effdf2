//! The lab's captures and their truth.

use serde_json::Value;
use std::collections::BTreeMap;
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
    /// The keys of its TLS connections, where the truth knows what is inside.
    pub keys: Option<PathBuf>,
}

impl Run {
    /// What was captured at `lb` or `target`.
    pub fn capture(&self, vantage: &str) -> &Path {
        if vantage == "lb" { &self.lb } else { &self.target }
    }

    /// The capture at the load balancer with the keys inside.
    pub fn secrets(&self) -> Option<PathBuf> {
        let path = self.lb.to_string_lossy().replace("lb.pcap", "lb-secrets.pcapng");
        Some(PathBuf::from(path)).filter(|path| path.exists())
    }

    /// The requests of the truth.
    pub fn requests(&self) -> impl Iterator<Item = &Value> {
        self.truth["requests"].as_array().into_iter().flatten()
    }

    /// Its requests, if it has any, go to the target inside TLS.
    pub fn is_sealed(&self) -> bool {
        self.requests().any(|request| request["sealed"].is_object())
    }

    /// The ways to read it: with no key log, and with the one that it has.
    pub fn readings(&self) -> Vec<&[PathBuf]> {
        let none: &[PathBuf] = &[];
        std::iter::once(none).chain(self.keys.as_ref().map(std::slice::from_ref)).collect()
    }
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
        let keys = Some(PathBuf::from(format!("{prefix}keys.log"))).filter(|keys| has_keys(keys));
        found.push(Run { name, lb: lb.into(), target: target.into(), truth, keys });
    }
}

/// Whether there is a key log; one of handshakes that all failed holds only comments.
fn has_keys(path: &Path) -> bool {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().any(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The report on one capture, with every flow and exchange.
pub fn analyse(capture: &Path) -> Report {
    analyse_with(capture, &[])
}

/// The same with key log files.
pub fn analyse_with(capture: &Path, keylogs: &[PathBuf]) -> Report {
    let settings = why502::run::Settings {
        flows: true,
        exchanges: true,
        keylogs: keylogs.to_vec(),
        ..why502::run::Settings::default()
    };
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

/// Whether it is right to find nothing: the packets of that vantage do not show the failure, or
/// need not.
pub fn may_be_silent(cause: &Value, vantage: &str) -> bool {
    cause[vantage].as_array().is_some_and(|ids| ids.iter().any(Value::is_null))
}

/// Target of the request that failed, as far as it can be read.
pub fn target(finding: &Finding) -> Option<String> {
    let request = finding.exchange.as_ref()?.request.as_ref()?;
    Some(RequestHead::parse(&request.head).target().into_owned()).filter(|name| !name.is_empty())
}

/// Where the requests of a capture begin, for those who cannot read their targets: flow, frame.
#[derive(Default)]
pub struct Names(BTreeMap<(u64, u64), String>);

impl Names {
    /// From the report of one who has the keys.
    pub fn of(report: &Report) -> Names {
        let requests = report.exchanges.iter().filter_map(|(flow, exchange)| {
            let request = exchange.request.as_ref()?;
            let name = RequestHead::parse(&request.head).target().into_owned();
            Some(((*flow, request.first.frame.number()), name))
        });
        Names(requests.collect())
    }

    /// The target of the request that failed: the last of its connection that had begun by then.
    pub fn target(&self, finding: &Finding) -> Option<String> {
        target(finding).or_else(|| {
            let request = finding.exchange.as_ref()?.request.as_ref()?;
            let frame = request.first.frame.number();
            let known = self.0.range((finding.flow, 0)..=(finding.flow, frame));
            known.last().map(|(_, name)| name.clone())
        })
    }
}
