//! The `json` format while captures are read: what would fill memory goes to disk as it becomes known.
//!
//! Flows and exchanges are final when they are told. Findings are not: the report keeps
//! [`FINDINGS_MAX`](crate::run::FINDINGS_MAX) of them, which the rest of the capture may change, and the
//! further ones come here. At the end both are put in order.

use super::spill::{Key, Spill};
use super::{Lines, Report, Style};
use crate::blind::BlindSpot;
use crate::cause::{Confidence, Finding};
use crate::flow::Flow;
use crate::health::Check;
use crate::http::Exchange;
use crate::packet::Endpoint;
use crate::report::model::{self, Document};
use crate::report::records::Records;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

/// Begins a report.
pub(super) fn start<'a>(out: &'a mut dyn Write, style: &Style, _: bool) -> Box<dyn Records + 'a> {
    Box::new(Stream { out, all: style.all, spilled: Spilled::default(), error: None })
}

/// Writes everything at the end.
struct Stream<'a> {
    out: &'a mut dyn Write,
    all: bool,
    spilled: Spilled,
    error: Option<io::Error>,
}

/// What waits on disk, as JSON.
#[derive(Debug, Default)]
pub(in crate::report) struct Spilled {
    /// By their ids; each without its prober.
    pub(in crate::report) flows: Spill,
    /// By their guilty packets.
    pub(in crate::report) findings: Spill,
    /// In the order in which they came.
    pub(in crate::report) exchanges: Spill,
    /// Whose health checks flows carry, by their ids.
    probes: BTreeMap<u64, Arc<str>>,
    probers: BTreeMap<String, Arc<str>>,
    count: u64,
}

/// The place of a finding among others: by the time of its guilty packet.
pub(in crate::report) fn key_of(finding: &Finding) -> Key {
    let guilty = finding.evidence.first().map(|evidence| evidence.mark);
    let mut key = Key::default();
    if let Some(mark) = guilty {
        // Times before 1970 come first; 0 is left for findings without a packet.
        let at = (mark.at.0 as u64 ^ 1 << 63).max(1);
        let frame = u64::from(mark.frame.file()) << 40 | mark.frame.number();
        key[..8].copy_from_slice(&at.to_be_bytes());
        key[8..16].copy_from_slice(&frame.to_be_bytes());
    }
    key[16..].copy_from_slice(&finding.flow.to_be_bytes());
    key
}

/// The place of a number among others.
fn key_of_number(number: u64) -> Key {
    let mut key = Key::default();
    key[16..].copy_from_slice(&number.to_be_bytes());
    key
}

impl Stream<'_> {
    fn keep(&mut self, keep: impl FnOnce(&mut Spilled) -> io::Result<()>) {
        if self.error.is_none() {
            self.error = keep(&mut self.spilled).err();
        }
    }
}

impl Records for Stream<'_> {
    fn is_open(&self) -> bool {
        self.error.is_none()
    }

    fn flow(&mut self, flow: &Flow, tunnels: &[String]) {
        self.keep(|spilled| {
            spilled.flows.push(key_of_number(flow.id), |out| {
                Ok(serde_json::to_writer(out, &model::Flow::new(flow, tunnels, None))?)
            })
        });
    }

    fn exchange(&mut self, flow: u64, exchange: &Exchange) {
        if !self.all {
            return;
        }
        self.keep(|spilled| {
            spilled.count += 1;
            let exchange = (flow, exchange.clone());
            spilled.exchanges.push(key_of_number(spilled.count), |out| {
                Ok(serde_json::to_writer(out, &model::Exchange::new(&exchange))?)
            })
        });
    }

    fn unlisted(&mut self, finding: &Finding) -> bool {
        self.keep(|spilled| {
            spilled.findings.push(key_of(finding), |out| {
                Ok(serde_json::to_writer(out, &model::Finding::new(finding, None))?)
            })
        });
        true
    }

    fn check(&mut self, _: Endpoint, prober: &str, check: &Check) {
        let Spilled { probes, probers, .. } = &mut self.spilled;
        let known = probers.entry(prober.to_owned()).or_insert_with(|| prober.into());
        probes.insert(check.flow, Arc::clone(known));
    }

    fn finish(mut self: Box<Self>, report: &Report) -> io::Result<()> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let Spilled { flows, findings, exchanges, .. } = &mut self.spilled;
        [flows, findings, exchanges].into_iter().for_each(Spill::finish);
        let document = Document::new(report, self.all).with(&self.spilled, report);
        let formatter = Lines::default();
        document
            .serialize(&mut serde_json::Serializer::with_formatter(&mut *self.out, formatter))?;
        self.out.write_all(b"\n")
    }
}

impl Spilled {
    /// Names in the JSON of a flow whose health check it carries.
    pub(in crate::report) fn complete_flow(&self, key: Key, json: &mut String) -> io::Result<()> {
        let [.., a, b, c, d, e, f, g, h] = key;
        let id = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        if let Some(prober) = self.probes.get(&id) {
            let prober = serde_json::to_string(&**prober)?;
            replace(json, r#""probe":null"#, &format!(r#""probe":{prober}"#));
        }
        Ok(())
    }
}

/// Makes the JSON of a finding as unsure as all are where packets were dropped.
pub(in crate::report) fn doubt(json: &mut String) {
    let [certain, likely] = [Confidence::Certain, Confidence::Likely].map(Confidence::id);
    let confidence = |id| format!(r#""confidence":"{id}""#);
    replace(json, &confidence(certain), &confidence(likely));
    let spot = format!(r#""{}""#, BlindSpot::KernelDrops.id());
    const SPOTS: &str = r#","blind_spots":["#;
    let Some(begin) = json.find(SPOTS).map(|at| at + SPOTS.len()) else { return };
    let Some(length) = json[begin..].find(']') else { return };
    let listed = &json[begin..begin + length];
    if listed.contains(&spot) {
        return;
    }
    let evicted = listed.find(BlindSpot::Evicted.id()).map(|at| begin + at - 1);
    let (at, text) = match evicted {
        Some(at) => (at, format!("{spot},")),
        None if listed.is_empty() => (begin, spot),
        None => (begin + length, format!(",{spot}")),
    };
    json.insert_str(at, &text);
}

/// Replaces the first `old`, a key with its value, by `new`. Inside the strings of JSON there are no
/// such quotes.
fn replace(json: &mut String, old: &str, new: &str) {
    if let Some(at) = json.find(old) {
        json.replace_range(at..at + old.len(), new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use serde_json::Value;

    /// The report as it comes from a run: all but `kept` findings told on the way.
    fn streamed(report: &Report, kept: usize) -> String {
        let mut out = Vec::new();
        let style = Style { all: true, ..Style::default() };
        let mut stream = start(&mut out, &style, false);
        for flow in report.flows.iter().rev() {
            stream.flow(flow, &report.tunnels);
        }
        for (flow, exchange) in &report.exchanges {
            stream.exchange(*flow, exchange);
        }
        let target = &report.health.targets[0];
        for (flow, prober) in &report.probes {
            let check = Check { flow: *flow, ..target.probers[0].checks[0].clone() };
            stream.check(target.server, prober, &check);
        }
        let mut rest = report.clone();
        (rest.flows, rest.exchanges) = (Vec::new(), Vec::new());
        for finding in rest.findings.split_off(kept).iter().rev() {
            assert!(stream.unlisted(finding));
        }
        rest.findings.reverse();
        rest.findings.sort_by_key(key_of);
        stream.finish(&rest).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_streamed_report_is_the_same() {
        let mut report = fixture::report();
        report.findings.sort_by_key(key_of);
        let style = Style { all: true, ..Style::default() };
        let wanted = fixture::written("json", &report, &style);
        for kept in [0, 1, report.findings.len()] {
            assert!(streamed(&report, kept) == wanted, "{kept}");
        }
    }

    fn json(finding: &Finding) -> String {
        serde_json::to_string(&model::Finding::new(finding, None)).unwrap()
    }

    #[test]
    fn dropped_packets_make_findings_that_were_told_before_less_sure() {
        for finding in fixture::report().findings {
            let mut doubted = finding.clone();
            doubted.blind_spots.add(BlindSpot::KernelDrops);
            doubted.confidence = doubted.confidence.min(Confidence::Likely);
            for spots in [vec![], vec![BlindSpot::Gap], vec![BlindSpot::Gap, BlindSpot::Evicted]] {
                let (mut sure, mut unsure) = (finding.clone(), doubted.clone());
                for spot in spots {
                    sure.blind_spots.add(spot);
                    unsure.blind_spots.add(spot);
                }
                let mut text = json(&sure);
                doubt(&mut text);
                assert_eq!(text, json(&unsure));
                let _: Value = serde_json::from_str(&text).unwrap();
            }
        }
    }
}
