//! Slices: the packets of a capture that prove its findings, as tshark and as we ourselves read them.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use support::lab::{runs, shipped};
use support::slices::{Seen, seen, seen_in, tshark};
use tempfile::TempDir;
use why502::capture::Timeline;
use why502::cause::Confidence;
use why502::join::{Attempt, Ends};
use why502::report::Report;
use why502::run::{Patient, Settings};
use why502::slice::{Destination, Extent, Sliced, slice};

/// Every how many captures one is given to tshark, unless `WHY502_SLICES=all` asks for all of them:
/// tshark needs a third of a second to start.
const SAMPLE: usize = 20;

fn captures() -> Vec<PathBuf> {
    runs(&shipped()).into_iter().flat_map(|run| [run.lb, run.target]).collect()
}

fn sliced_with(
    captures: &[PathBuf],
    extent: Extent,
    settings: &Settings,
) -> (Report, Sliced, Vec<u8>) {
    let mut out = Vec::new();
    let destination = Destination::Writer(&mut out);
    let (report, sliced) = slice(captures, settings, extent, destination, &mut Patient)
        .unwrap_or_else(|error| panic!("{captures:?}: {error}"));
    (report, sliced, out)
}

fn sliced(capture: &Path, extent: Extent) -> (Report, Sliced, Vec<u8>) {
    sliced_with(&[capture.to_owned()], extent, &Settings::default())
}

/// The frames of the original, one for each frame of the slice.
fn originals<'a>(original: &'a [Seen], slice: &[Seen], name: &Path) -> Vec<&'a Seen> {
    let mut rest = original.iter();
    slice
        .iter()
        .map(|frame| {
            rest.find(|other| other.same_packet(frame))
                .unwrap_or_else(|| panic!("{}: frame {} is new", name.display(), frame.number))
        })
        .collect()
}

/// Each stream of the slice is one of the original, and the other way round.
fn assert_same_grouping(pairs: impl Iterator<Item = (Option<u32>, Option<u32>)>, name: &Path) {
    let (mut forth, mut back) = (BTreeMap::new(), BTreeMap::new());
    for (old, new) in pairs {
        let both = (*forth.entry(old).or_insert(new), *back.entry(new).or_insert(old));
        assert_eq!(both, (new, old), "{}", name.display());
    }
}

/// Frames that prove a finding.
fn evidence(report: &Report) -> BTreeSet<u64> {
    let evidence = report.findings.iter().flat_map(|finding| &finding.evidence);
    evidence.map(|evidence| evidence.mark.frame.number()).collect()
}

/// Runs `check` on every one of `items`, with all processors.
fn in_parallel<T: Sync>(items: &[T], check: impl Fn(&T) + Sync) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let check = &check;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || items.iter().skip(thread).step_by(threads).for_each(check));
        }
    });
}

#[test]
fn slices_of_every_shipped_capture_hold_the_proof_in_the_same_streams() {
    in_parallel(&captures(), |capture| {
        let original = seen(Timeline::open(&[capture]).unwrap());
        for extent in [Extent::Proof, Extent::WholeFlows] {
            let (report, sliced, bytes) = sliced(capture, extent);
            let slice = seen_in(bytes);
            assert_eq!(slice.len() as u64, sliced.packets);
            let old = originals(&original, &slice, capture);
            assert_same_grouping(
                old.iter().zip(&slice).map(|(old, new)| (old.stream, new.stream)),
                capture,
            );
            let copied: BTreeSet<u64> = old.iter().map(|frame| frame.number).collect();
            assert!(evidence(&report).is_subset(&copied), "{}", capture.display());
            let flows: BTreeSet<u32> =
                report.findings.iter().filter_map(|finding| finding.stream).collect();
            for frame in &original {
                let of_finding = frame.stream.is_some_and(|stream| flows.contains(&stream));
                let is_copied = copied.contains(&frame.number);
                if extent == Extent::WholeFlows && of_finding {
                    assert!(is_copied, "{}: frame {}", capture.display(), frame.number);
                } else if !of_finding && !evidence(&report).contains(&frame.number) {
                    assert!(!is_copied, "{}: frame {}", capture.display(), frame.number);
                }
            }
            if extent == Extent::Proof {
                assert_eq!(sliced.commented, sliced.packets, "{}", capture.display());
            }
        }
    });
}

#[test]
fn a_slice_holds_both_legs_of_a_failed_request() {
    let capture = shipped().join("both-legs/nginx-two-armed-proxy.pcap.gz");
    let original = seen(Timeline::open(&[&capture]).unwrap());
    let (report, sliced, bytes) = sliced(&capture, Extent::Proof);
    let slice = seen_in(bytes);
    assert_eq!(slice.len() as u64, sliced.packets);
    let old = originals(&original, &slice, &capture);
    let copied: BTreeSet<u64> = old.iter().map(|frame| frame.number).collect();
    let joined: Vec<_> = report.findings.iter().filter_map(|it| it.joined.as_deref()).collect();
    let fronts = joined.iter().map(|joined| &joined.front);
    let sure = |attempt: &&Attempt| attempt.certainty > Confidence::Possible;
    let attempts = joined.iter().flat_map(|joined| joined.attempts.iter().filter(sure));
    let legs: Vec<&Ends> = fronts.chain(attempts.map(|attempt| &attempt.ends)).collect();
    assert!(joined.len() > 10 && legs.len() > joined.len());
    for leg in legs {
        for mark in [Some(leg.asked), leg.answered, Some(leg.over)].into_iter().flatten() {
            assert!(copied.contains(&mark.frame.number()), "{mark:?} of {leg:?}");
        }
    }
}

#[test]
fn an_annotated_capture_is_the_same_capture() {
    in_parallel(&captures(), |capture| {
        let (report, sliced, bytes) = sliced(capture, Extent::Everything);
        let original = seen(Timeline::open(&[capture]).unwrap());
        assert!(seen_in(bytes) == original, "{}", capture.display());
        assert!(sliced.commented >= evidence(&report).len() as u64, "{}", capture.display());
        assert_eq!(report.findings.is_empty(), sliced.commented == 0);
    });
}

/// One capture and its slice as tshark sees them.
fn compare_with_tshark(capture: &Path) -> Option<()> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("slice.pcapng");
    let fields = ["frame.number", "tcp.stream", "frame.time_epoch", "frame.len", "frame.comment"];
    let original = tshark(capture, &fields, &[])?;
    let (report, _, bytes) = sliced(capture, Extent::Proof);
    fs::write(&path, bytes).unwrap();
    let slice = tshark(&path, &fields, &[])?;
    // `why502 flow 2, frame 540 of web.pcap, tcp.stream 2`, of the first comment.
    let of_comment = |row: &[String], word: &str| {
        let place = row[4].split("why502 flow ").nth(1).unwrap_or_else(|| panic!("{row:?}"));
        let rest = place.split(word).nth(1).unwrap_or_else(|| panic!("{row:?}"));
        rest.split([' ', ',']).next().unwrap().to_owned()
    };
    let mut pairs = Vec::new();
    for row in &slice {
        let number = of_comment(row, ", frame ");
        let old = original.iter().find(|old| old[0] == number).unwrap();
        assert_eq!(old[2..4], row[2..4], "{}", capture.display());
        // None of an ICMP error that quotes too little.
        let stream = |row: &[String]| row[1].split(',').next().unwrap().parse::<u32>().ok();
        if let Some(stream) = stream(old) {
            let told = of_comment(row, "tcp.stream ");
            assert_eq!(stream.to_string(), told, "{} {row:?}", capture.display());
        }
        pairs.push((stream(old), stream(row)));
    }
    assert_same_grouping(pairs.into_iter(), capture);
    for finding in &report.findings {
        for (n, evidence) in finding.evidence.iter().enumerate() {
            let frame =
                format!("why502 flow {}, frame {} of ", finding.flow, evidence.mark.frame.number());
            let what = if n == 0 { "guilty packet: " } else { "proof: " };
            let role = format!("{}, {what}", finding.cause.id);
            let found = slice.iter().any(|row| {
                row[4].contains(&role)
                    && row[4].contains(&frame)
                    && row[4].contains(evidence.note.as_str())
            });
            assert!(found, "{}: {role} {frame} {}\n{slice:#?}", capture.display(), evidence.note);
        }
    }
    Some(())
}

#[test]
fn tshark_reads_comments_and_streams_of_slices() {
    let all = std::env::var_os("WHY502_SLICES").is_some_and(|slices| slices == "all");
    let every = if all { 1 } else { SAMPLE };
    let captures: Vec<PathBuf> = captures().into_iter().step_by(every).collect();
    in_parallel(&captures, |capture| {
        if compare_with_tshark(capture).is_none() {
            support::say("skipped: tshark is not installed");
        }
    });
}
