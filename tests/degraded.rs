//! Captures as they come from production: cut short, damaged, with packets missing, from one
//! direction, with a snap length, begun in the middle; in clear, inside TLS, and inside TLS with
//! keys. Less may be found in them; what is called certain has to be true all the same, and what
//! could not be seen has to be named.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use support::capture::{self, FILE_HEADER, Frame, RECORD_HEADER, Tcp};
use support::lab::{Run, expected, runs, shipped, target};
use support::random::Random;
use support::say;
use why502::blind::BlindSpot;
use why502::cause::{Confidence, Finding};
use why502::report::Report;

/// The snap length of old tools, and of those who fear for disk space.
const SNAPLEN: usize = 96;

/// TCP flags.
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// What was done to a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Degradation {
    Intact,
    /// The file ends after so many per cent of its bytes.
    CutAt(usize),
    /// So many bits of the file are wrong.
    BitFlips(usize),
    EverySecondMissing,
    OneInTwentyMissing,
    OnlyFromBalancer,
    OnlyFromTarget,
    Snaplen,
    FirstThirdMissing,
}

use Degradation::{
    BitFlips, CutAt, EverySecondMissing, FirstThirdMissing, Intact, OneInTwentyMissing,
    OnlyFromBalancer, OnlyFromTarget,
};

const ALL: [Degradation; 13] = [
    Intact,
    CutAt(20),
    CutAt(50),
    CutAt(80),
    CutAt(99),
    BitFlips(3),
    BitFlips(40),
    EverySecondMissing,
    OneInTwentyMissing,
    OnlyFromBalancer,
    OnlyFromTarget,
    Degradation::Snaplen,
    FirstThirdMissing,
];

/// A degraded capture.
struct Degraded {
    bytes: Vec<u8>,
    frames: Vec<Frame>,
    /// Offset of the record that the end of the file cuts.
    cut_record: Option<u64>,
}

impl Degradation {
    /// The same in every run.
    fn apply(self, frames: &[Frame], random: &mut Random) -> Degraded {
        let keep = |kept: Vec<Frame>| Degraded {
            bytes: capture::plain(&kept),
            frames: kept,
            cut_record: None,
        };
        let only = |wanted: &dyn Fn(usize, &Frame) -> bool| {
            let kept = frames.iter().enumerate().filter(|(index, frame)| wanted(*index, frame));
            kept.map(|(_, frame)| frame.clone()).collect()
        };
        match self {
            Intact => keep(frames.to_vec()),
            CutAt(percent) => {
                let mut bytes = capture::plain(frames);
                bytes.truncate(FILE_HEADER + (bytes.len() - FILE_HEADER) * percent / 100);
                let mut whole = 0;
                let mut offset = FILE_HEADER;
                for frame in frames {
                    let end = offset + RECORD_HEADER + frame.bytes.len();
                    if end > bytes.len() {
                        break;
                    }
                    (whole, offset) = (whole + 1, end);
                }
                let cut_record = (offset < bytes.len()).then_some(offset as u64);
                Degraded { bytes, frames: frames[..whole].to_vec(), cut_record }
            }
            BitFlips(count) => {
                let mut degraded = keep(frames.to_vec());
                let length = degraded.bytes.len() - FILE_HEADER;
                for _ in 0..if length > 0 { count } else { 0 } {
                    degraded.bytes[FILE_HEADER + random.below(length)] ^= 1 << random.below(8);
                }
                degraded
            }
            EverySecondMissing => keep(only(&|index, _| index % 2 == 0)),
            OneInTwentyMissing => {
                let lost: Vec<bool> = frames.iter().map(|_| random.below(20) == 0).collect();
                keep(only(&|index, _| !lost[index]))
            }
            OnlyFromBalancer => keep(only(&|_, frame| frame.sent_by_balancer())),
            OnlyFromTarget => keep(only(&|_, frame| !frame.sent_by_balancer())),
            Degradation::Snaplen => keep(frames.iter().map(|frame| frame.cut(SNAPLEN)).collect()),
            FirstThirdMissing => keep(frames[frames.len() / 3..].to_vec()),
        }
    }

    /// Whether a finding that is certain has to be true, where `right` are the causes of its
    /// request, empty when it was answered.
    ///
    /// A bit that is wrong in the file makes packets say what nobody sent. Where single packets or
    /// a whole direction are missing, only requests that were answered are judged: what is certain
    /// about a failed one may name a neighbour of the cause.
    fn is_judged(self, right: Option<&[String]>) -> bool {
        match self {
            BitFlips(_) => false,
            EverySecondMissing | OneInTwentyMissing | OnlyFromBalancer => {
                right.is_some_and(<[String]>::is_empty)
            }
            _ => true,
        }
    }
}

/// What the truth says of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Judgement {
    Right,
    Other,
    WrongNotCertain,
    CertainlyWrong,
}

/// What the proxy's log says of one capture.
struct Truth<'a> {
    run: &'a Run,
    vantage: &'static str,
    /// The keys that the reader of the capture has.
    keys: &'a [PathBuf],
}

impl Truth<'_> {
    fn requests(&self) -> impl Iterator<Item = &Value> {
        self.run.requests()
    }

    /// Ids that are right for a request.
    fn expected(&self, request: &Value) -> Vec<String> {
        let sealed = self.run.is_sealed() && self.keys.is_empty();
        expected(&request[if sealed { "sealed" } else { "cause" }], self.vantage)
    }

    /// Every truth of a run: at both vantages, with keys and without.
    fn all(run: &Run) -> Vec<Truth<'_>> {
        let vantages = ["lb", "target"].into_iter();
        let truths = vantages.flat_map(|vantage| {
            run.readings().into_iter().map(move |keys| Truth { run, vantage, keys })
        });
        truths.collect()
    }

    /// The only request whose target begins like this; a snap length cuts targets.
    fn request(&self, target: &str) -> Option<&Value> {
        let is = |request: &&Value| request["target"].as_str() == Some(target);
        let begins = |request: &&Value| {
            let known = request["target"].as_str().unwrap_or_default();
            target.len() > 1 && known.starts_with(target)
        };
        self.requests().find(is).or_else(|| {
            let mut found = self.requests().filter(begins);
            found.next().filter(|_| found.next().is_none())
        })
    }

    /// Ids that are right for something that failed in this capture.
    fn any(&self) -> Vec<String> {
        let connections = self.run.truth["connections"].as_array().into_iter().flatten();
        let mut ids: Vec<String> = self
            .requests()
            .flat_map(|request| {
                let tolerated = request["tolerated"].as_str().map(str::to_owned);
                self.expected(request).into_iter().chain(tolerated)
            })
            .chain(connections.flat_map(|attempt| expected(&attempt["cause"], self.vantage)))
            .collect();
        ids.sort();
        ids
    }

    fn judge(&self, finding: &Finding) -> Judgement {
        let id = finding.cause.id;
        if id == "inconclusive" {
            return Judgement::Other;
        }
        let request = target(finding).and_then(|target| self.request(&target));
        let right = match request {
            Some(request) => {
                let mut right = self.expected(request);
                right.extend(request["tolerated"].as_str().map(str::to_owned));
                right
            }
            None => self.any(),
        };
        if right.iter().any(|known| known == id) {
            Judgement::Right
        } else if finding.confidence == Confidence::Certain {
            Judgement::CertainlyWrong
        } else {
            Judgement::WrongNotCertain
        }
    }
}

/// How often what was said, of all captures with the same degradation.
#[derive(Default)]
struct Row {
    captures: usize,
    counts: BTreeMap<Judgement, usize>,
    /// Failed requests of the truth about which nothing is said.
    silent: usize,
    certain: usize,
}

/// Bytes of a stream that are missing between bytes that are there, and that the other side has
/// acknowledged: they were there, and the capture has lost them.
fn has_hole(frames: &[Frame]) -> bool {
    let mut streams: BTreeMap<_, Vec<(u32, u32)>> = BTreeMap::new();
    let mut acked: BTreeMap<_, u32> = BTreeMap::new();
    for Tcp { from, to, seq, ack, flags, payload_len } in frames.iter().filter_map(Frame::tcp) {
        let stream = streams.entry((from, to)).or_default();
        if flags & SYN != 0 {
            // Another connection of the same addresses, or the same SYN again.
            (*stream, _) = (vec![(seq, 1)], acked.remove(&(from, to)));
        } else if payload_len > 0 && !stream.is_empty() {
            stream.push((seq, payload_len));
        }
        if flags & (ACK | RST) == ACK {
            let highest = acked.entry((to, from)).or_insert(ack);
            if ack.wrapping_sub(*highest) < 1 << 31 {
                *highest = ack;
            }
        }
    }
    streams.into_iter().any(|(stream, mut ranges)| {
        let Some(&(start, _)) = ranges.first() else { return false };
        let Some(acked) = acked.get(&stream).map(|ack| ack.wrapping_sub(start)) else {
            return false;
        };
        ranges.sort_by_key(|(seq, _)| seq.wrapping_sub(start));
        let mut end = 0;
        ranges.iter().any(|(seq, len)| {
            let from = seq.wrapping_sub(start);
            let hole = from > end && from <= acked;
            end = end.max(from.wrapping_add(*len));
            hole
        })
    })
}

/// A connection of which data comes first.
fn begins_in_the_middle(frames: &[Frame]) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    frames.iter().filter_map(Frame::tcp).any(|tcp| {
        let (one, other) = (tcp.from.min(tcp.to), tcp.from.max(tcp.to));
        seen.insert((one, other)) && tcp.flags & SYN == 0 && tcp.payload_len > 0
    })
}

fn has_payload(frames: &[Frame]) -> bool {
    frames.iter().filter_map(Frame::tcp).any(|tcp| tcp.payload_len > 0)
}

fn payload_is_cut(frames: &[Frame]) -> bool {
    frames.iter().any(|frame| {
        frame.bytes.len() < frame.wire_len as usize
            && frame.tcp().is_some_and(|tcp| tcp.payload_len > 0)
    })
}

/// What the report has to name as unseen.
fn complaints(degradation: Degradation, degraded: &Degraded, report: &Report) -> Vec<String> {
    let frames = &degraded.frames;
    let named = |spots: &[BlindSpot]| {
        spots.iter().any(|spot| report.summary.blind_spots.contains_key(spot))
    };
    let mut complaints = Vec::new();
    let mut need = |when: bool, spots: &[BlindSpot]| {
        if when && !named(spots) {
            complaints.push(format!("does not name {spots:?}"));
        }
    };
    match degradation {
        BitFlips(_) => {}
        OnlyFromTarget => need(frames.iter().any(Frame::is_tcp), &[BlindSpot::OneDirection]),
        // Nothing but SYNs is also what a target that does not answer leaves.
        OnlyFromBalancer => need(has_payload(frames), &[BlindSpot::OneDirection]),
        Degradation::Snaplen => need(payload_is_cut(frames), &[BlindSpot::Snaplen]),
        FirstThirdMissing => {
            need(begins_in_the_middle(frames), &[BlindSpot::NoHandshake, BlindSpot::CaptureStart])
        }
        _ => need(has_hole(frames), &[BlindSpot::Gap]),
    }
    let info = &report.captures[0];
    if degraded.cut_record != info.damaged_at && !matches!(degradation, BitFlips(_)) {
        complaints.push(format!("damaged at {:?}, not {:?}", info.damaged_at, degraded.cut_record));
    }
    if info.damaged_at.is_some_and(|at| at > degraded.bytes.len() as u64) {
        complaints.push(format!("damaged at {:?}, behind its end", info.damaged_at));
    }
    if info.damaged_at.is_some() && info.warnings.is_empty() {
        complaints.push("damaged without a word".to_owned());
    }
    if !matches!(degradation, BitFlips(_)) && report.summary.packets != frames.len() as u64 {
        complaints.push(format!("{} of {} packets", report.summary.packets, frames.len()));
    }
    complaints
}

fn analyse(capture: &[u8], keys: &[PathBuf]) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("degraded.pcap");
    fs::write(&path, capture).unwrap();
    support::lab::analyse_with(&path, keys)
}

/// One capture, degraded in one way.
fn check(
    truth: &Truth<'_>,
    capture: &Path,
    degradation: Degradation,
    row: &mut Row,
) -> Vec<String> {
    let frames = capture::read(capture);
    let seed = frames.iter().map(|frame| u64::from(frame.wire_len)).sum::<u64>();
    let degraded = degradation.apply(&frames, &mut Random::new(seed));
    let report = analyse(&degraded.bytes, truth.keys);
    row.captures += 1;
    let mut complaints = complaints(degradation, &degraded, &report);
    for finding in &report.findings {
        let judgement = truth.judge(finding);
        let target = target(finding).unwrap_or_default();
        let known = truth.request(&target).map(|known| truth.expected(known));
        // Where nothing fails, a request that cannot be read was answered, too.
        let known = known.or_else(|| truth.any().is_empty().then(Vec::new));
        *row.counts.entry(judgement).or_default() += 1;
        row.certain += usize::from(finding.confidence == Confidence::Certain);
        if judgement == Judgement::CertainlyWrong && degradation.is_judged(known.as_deref()) {
            complaints.push(format!(
                "{target}: certainly {} instead of {known:?}: frame {}, {}",
                finding.cause.id,
                finding.evidence[0].mark.frame.number(),
                finding.summary
            ));
        }
    }
    let said: Vec<String> = report.findings.iter().filter_map(target).collect();
    row.silent += truth
        .requests()
        .filter(|request| !truth.expected(request).is_empty())
        .filter(|request| request["visible"][truth.vantage] != Value::Bool(false))
        .filter(|request| !said.iter().any(|said| request["target"] == **said))
        .count();
    let name = format!("{} {} {degradation:?}", truth.run.name, truth.vantage);
    complaints.iter().map(|complaint| format!("{name}: {complaint}")).collect()
}

fn print(table: &BTreeMap<Degradation, Row>) {
    say(
        "degradation          captures  right  inconclusive  none  wrong  certainly wrong  certain",
    );
    for (degradation, row) in table {
        let count = |judgement| row.counts.get(&judgement).copied().unwrap_or_default();
        say(&format!(
            "{:20} {:8} {:6} {:13} {:5} {:6} {:16} {:8}",
            format!("{degradation:?}"),
            row.captures,
            count(Judgement::Right),
            count(Judgement::Other),
            row.silent,
            count(Judgement::WrongNotCertain),
            count(Judgement::CertainlyWrong),
            row.certain
        ));
    }
}

/// All but health checks, which fail on purpose and are no requests of the truth, and bystanders.
fn judged_runs() -> Vec<Run> {
    let mut runs = runs(&shipped());
    runs.retain(|run| {
        let none = |field| run.truth[field].as_array().is_none_or(Vec::is_empty);
        none("checks") && none("probers") && none("bystanders")
    });
    assert!(runs.len() > 100);
    runs
}

#[test]
fn what_is_certain_is_true_in_degraded_captures_too() {
    let runs = judged_runs();
    let mut table: BTreeMap<Degradation, Row> = BTreeMap::new();
    let mut complaints = Vec::new();
    for run in &runs {
        for truth in Truth::all(run) {
            for degradation in ALL {
                let row = table.entry(degradation).or_default();
                let capture = run.capture(truth.vantage);
                complaints.extend(check(&truth, capture, degradation, row));
            }
        }
    }
    print(&table);
    for complaint in &complaints {
        say(complaint);
    }
    assert!(complaints.is_empty(), "{} complaints", complaints.len());
}

/// Longest capture of which every packet is left out in turn.
const SHORT: usize = 70;

#[test]
fn no_single_missing_packet_makes_a_certain_verdict_wrong() {
    let mut counts: BTreeMap<Judgement, usize> = BTreeMap::new();
    let (mut captures, mut complaints) = (0, Vec::new());
    for run in &judged_runs() {
        for truth in Truth::all(run) {
            let vantage = truth.vantage;
            let frames = capture::read(run.capture(vantage));
            for lost in 0..if frames.len() <= SHORT { frames.len() } else { 0 } {
                captures += 1;
                let (before, after) = frames.split_at(lost);
                let report = analyse(&capture::plain(&[before, &after[1..]].concat()), truth.keys);
                for finding in &report.findings {
                    let judgement = truth.judge(finding);
                    *counts.entry(judgement).or_default() += 1;
                    let target = target(finding).unwrap_or_default();
                    if judgement == Judgement::CertainlyWrong {
                        let place = format!("{} {vantage} without frame {}", run.name, lost + 1);
                        complaints.push(format!("{place}: {target}: {}", finding.cause.id));
                    }
                }
            }
        }
    }
    say(&format!("{captures} captures with one packet missing: {counts:?}"));
    assert!(captures > 5_000, "{captures}");
    assert!(complaints.is_empty(), "{complaints:#?}");
}
