//! Evidence on disk: rings of files that can be read at any time, full disks, packets of failed flows.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use support::say;
use why502::capture::{CaptureInfo, Direction, Frame, LinkType, Timeline};
use why502::cause::Finding;
use why502::engine::{Engine, Options as EngineOptions, Output};
use why502::flow::Flow;
use why502::http::Exchange;
use why502::live::evidence::{
    Counters, Evidence, EvidenceError, Interface, Kernel, MinFree, Notice, Options, Ring, remarks,
};
use why502::packet::{Decoder, DecoderOptions, Packet};
use why502::probe::Catalogue;
use why502::run::{Patient, Settings, analyse};
use why502::time::{FrameId, Mark, Timestamp};

/// Names the part that a copy of this program plays in another process, and its folder.
const ROLE: &str = "WHY502_TEST_ROLE";
const FOLDER: &str = "WHY502_TEST_FOLDER";
/// Waits for something to happen that takes seconds at most.
const TICK: Duration = Duration::from_millis(20);
const TICKS: usize = 1_500;

fn ethernet(name: &str) -> Vec<Interface> {
    vec![Interface { name: name.to_owned(), link: LinkType(1), snaplen: 262_144 }]
}

/// Everything into this folder, whatever space there is.
fn options(folder: &Path, ring: &str) -> Options {
    let ring: Ring = ring.parse().unwrap();
    Options { ring, min_free: MinFree::Bytes(0), ..Options::new(folder.to_owned()) }
}

fn start(options: Options) -> Evidence {
    Evidence::start(options, ethernet("eth0")).unwrap()
}

/// A frame of `eth0`, `n` nanoseconds after the first second.
fn frame(n: i64, bytes: &[u8]) -> Frame<'_> {
    Frame {
        mark: Mark { frame: FrameId::new(0, 1), at: Timestamp(1_000_000_000 + n) },
        link: LinkType(1),
        bytes,
        wire_len: 1_400,
        direction: Direction::Unknown,
    }
}

/// Gives packets of 1000 bytes, and lets the writer keep pace.
fn give(evidence: &Evidence, packets: std::ops::Range<i64>) {
    for n in packets {
        evidence.packet(&frame(n, &[n as u8; 1_000]), None);
        while evidence.counters().queue_bytes > 4 << 20 {
            std::thread::yield_now();
        }
    }
}

fn wait_for(what: &str, mut happened: impl FnMut() -> bool) {
    for _ in 0..TICKS {
        if happened() {
            return;
        }
        std::thread::sleep(TICK);
    }
    panic!("{what} did not happen");
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The times of all packets, and what is known of each file.
fn read(files: &[PathBuf]) -> (Vec<i64>, Vec<CaptureInfo>) {
    let mut timeline = Timeline::open(files).unwrap();
    let mut times = Vec::new();
    while let Some(frame) = timeline.next_frame().unwrap() {
        times.push(frame.mark.at.0 - 1_000_000_000);
    }
    (times, timeline.captures().to_vec())
}

#[test]
fn a_ring_keeps_the_newest_packets_in_whole_files() {
    let place = tempfile::tempdir().unwrap();
    let evidence = start(options(place.path(), "3x1MiB"));
    give(&evidence, 0..5_000);
    evidence.kernel(0, Kernel { received: 5_007, dropped: 7, dropped_by_interface: 0 });
    let (counters, notices) = evidence.finish();
    assert_eq!((notices, counters.packets, counters.dropped), (vec![], 5_000, 0));
    assert_eq!((counters.files, counters.deleted_files), (5, 2));
    let files = files(place.path());
    assert_eq!(files.len(), 3);
    let (times, infos) = read(&files);
    assert!(times.is_sorted() && times.len() > 2_900 && times.last() == Some(&4_999), "{times:?}");
    assert_eq!(times.len() as i64, 5_000 - times[0], "none is missing");
    for (file, info) in files.iter().zip(&infos) {
        assert!(file.metadata().unwrap().len() <= 1 << 20);
        assert_eq!((info.damaged_at, &info.warnings[..]), (None, &[][..]));
    }
    assert_eq!(infos.iter().map(|info| info.kernel_drops).sum::<u64>(), 7);
    for file in &files {
        let fields = ["frame.interface_name", "frame.cap_len", "frame.len"];
        let Some(rows) = support::slices::tshark(file, &fields, &[]) else {
            say("skipped: there is no tshark to read the files");
            continue;
        };
        assert!(rows.len() > 900 && rows.iter().all(|row| *row == ["eth0", "1000", "1400"]));
    }
}

#[test]
fn a_file_of_a_while_is_followed_by_the_next_and_another_run_goes_on() {
    let place = tempfile::tempdir().unwrap();
    for run in 0..2 {
        let evidence = start(options(place.path(), "3x1s"));
        give(&evidence, 0..10);
        let begun = evidence.counters().files;
        let mut n = 10;
        wait_for("the next file", || {
            give(&evidence, n..n + 1);
            n += 1;
            evidence.counters().files > begun
        });
        let (counters, _) = evidence.finish();
        assert_eq!((counters.files, counters.deleted_files), (2, run), "{run}");
    }
    assert_eq!(files(place.path()).len(), 3);
    // A run in which nothing came leaves nothing behind.
    start(options(place.path(), "9x1s")).finish();
    assert_eq!(files(place.path()).len(), 3);
}

#[test]
fn the_caller_never_waits_and_what_is_dropped_stands_in_the_file() {
    let place = tempfile::tempdir().unwrap();
    let evidence = start(Options { queue: 50_000, ..options(place.path(), "2x10MB") });
    for n in 0..20_000 {
        evidence.packet(&frame(n, &[0; 1_000]), None);
    }
    let (counters, _) = evidence.finish();
    assert!(counters.dropped > 0, "{counters:?}");
    assert_eq!(counters.packets + counters.dropped, 20_000);
    let (times, infos) = read(&files(place.path()));
    assert_eq!(times.len() as u64, counters.packets);
    assert_eq!(infos.iter().map(|info| info.kernel_drops).sum::<u64>(), counters.dropped);
}

#[test]
fn a_directory_that_goes_away_ends_the_evidence_and_nothing_else() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("evidence");
    let evidence = start(options(&folder, "2x1MiB"));
    give(&evidence, 0..10);
    wait_for("the first packets", || evidence.counters().packets == 10);
    std::fs::remove_dir_all(&folder).unwrap();
    let mut notices = Vec::new();
    let mut n = 10;
    wait_for("the end", || {
        give(&evidence, n..n + 10);
        n += 10;
        notices.extend(evidence.notices());
        !notices.is_empty()
    });
    assert!(
        matches!(&notices[..], [Notice::Stopped(why)] if why.contains("No such file")),
        "{notices:?}"
    );
    give(&evidence, n..n + 5_000);
    let (counters, more) = evidence.finish();
    assert!(more.is_empty() && !counters.is_writing && !folder.exists());
    assert!(counters.not_written >= 5_000, "{counters:?}");
}

#[test]
fn what_cannot_begin_says_why() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Evidence::start(options(&file, "2x1h"), ethernet("lo")).unwrap_err();
    assert!(error.to_string().starts_with(&format!("{}: no evidence", file.display())), "{error}");
    let greedy = Options { min_free: MinFree::Percent(99.9), ..options(place.path(), "2x1h") };
    let error = Evidence::start(greedy, ethernet("lo")).unwrap_err();
    assert!(
        matches!(error, EvidenceError::Space { .. }) && error.to_string().contains("--min-free")
    );
    let _first = start(options(place.path(), "2x1h"));
    let error = Evidence::start(options(place.path(), "2x1h"), ethernet("lo")).unwrap_err();
    assert!(error.to_string().contains("another why502"), "{error}");
}

/// Gives the packets of a capture to the evidence as the engine says whose they are.
struct Feed<'a>(&'a Evidence);

impl Output for Feed<'_> {
    fn flow(&mut self, flow: &Flow) {
        self.0.over(flow.id);
    }
    fn exchange(&mut self, _: u64, _: &Exchange) {}
    fn finding(&mut self, finding: Finding) {
        self.0.failed(finding.flow, remarks(&finding));
    }
}

fn keep(capture: &Path, folder: &Path, look_back: u64) -> (Counters, Vec<Notice>) {
    let keep_findings = Some(look_back);
    let options = Options { keep_findings, ..options(folder, "4x100MB") };
    let evidence = Evidence::start(options, ethernet("demo")).unwrap();
    let mut timeline = Timeline::open(&[capture.to_owned()]).unwrap();
    let mut decoder = Decoder::new(DecoderOptions { vxlan_ports: vec![4789] });
    let probers = Catalogue::built_in().unwrap();
    let options = EngineOptions::default();
    let mut engine = Engine::new(options).watch_probers(Arc::clone(&probers));
    let mut feed = Feed(&evidence);
    while let Some(frame) = timeline.next_frame().unwrap() {
        assert_eq!(frame.link, LinkType(1));
        let flow = match decoder.decode(&frame) {
            Packet::Tcp(segment) => Some(engine.segment(&segment, &mut feed).flow),
            Packet::Icmp(error) => engine.icmp(&error).map(|belongs| belongs.flow),
            Packet::Skip(_) => None,
        };
        evidence.packet(&frame, flow);
    }
    engine.finish(&mut feed);
    evidence.finish()
}

/// How often each cause was found at which client and request.
fn verdicts(captures: &[PathBuf]) -> BTreeMap<String, usize> {
    let report = analyse(captures, &Settings::default(), &mut Patient).unwrap();
    let mut verdicts = BTreeMap::new();
    for finding in &report.findings {
        let Finding { cause, client, evidence, confidence, .. } = finding;
        let verdict = format!("{} {client:?} {:?} {confidence:?}", cause.id, evidence[0].mark.at);
        *verdicts.entry(verdict).or_default() += 1;
    }
    verdicts
}

#[test]
fn kept_packets_give_the_same_verdicts() {
    let place = tempfile::tempdir().unwrap();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures/demo/nginx-demo-lb.pcap");
    let (counters, notices) = keep(&demo, place.path(), 64_000_000);
    let expected = verdicts(std::slice::from_ref(&demo));
    assert!(expected.len() > 10);
    assert_eq!(counters.kept_flows, 13, "as the report counts failed requests and connections");
    assert_eq!((notices, counters.incomplete_flows, counters.evicted), (vec![], 0, 0));
    let files = files(place.path());
    assert_eq!(verdicts(&files), expected);
    let (times, infos) = read(&files);
    assert!(times.is_sorted(), "in the order of time");
    assert_eq!((times.len() as u64, infos[0].damaged_at), (counters.packets, None));
    let all = demo.metadata().unwrap().len();
    assert!(counters.bytes < all / 2, "{counters:?} of {all}");
    let guilty = ["-Y", "frame.comment contains \"guilty packet\""];
    match support::slices::tshark(&files[0], &["frame.comment"], &guilty) {
        Some(rows) => {
            assert_eq!(rows.len(), 13, "one of each finding");
            assert!(rows.iter().all(|row| !row[0].contains("context")), "nothing is said twice");
            assert!(rows.iter().any(|row| row[0].contains("keepalive-race, guilty packet: FIN")));
        }
        None => say("skipped: there is no tshark to read the comments"),
    }
}

#[test]
fn what_left_the_look_back_is_told() {
    let place = tempfile::tempdir().unwrap();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures/demo/nginx-demo-lb.pcap");
    let (counters, notices) = keep(&demo, place.path(), 20_000);
    assert!(counters.evicted > 0 && counters.incomplete_flows > 0, "{counters:?}");
    assert_eq!(notices.len() as u64, counters.incomplete_flows);
    assert!(notices[0].to_string().contains("is incomplete"), "{notices:?}");
    let (times, _) = read(&files(place.path()));
    assert_eq!(times.len() as u64, counters.packets);
}

/// This program again, to run the test that plays a role in another process.
fn play(role: &str, folder: &Path, through: &[&str]) -> Command {
    let me = std::env::current_exe().unwrap();
    let me = me.to_str().unwrap();
    let words: Vec<&str> =
        through.iter().copied().chain([me, "--exact", "a_role", "--nocapture"]).collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env(ROLE, role).env(FOLDER, folder);
    command.stdin(Stdio::null());
    command
}

/// Plays its role, if it has one.
#[test]
fn a_role() {
    let folder = std::env::var_os(FOLDER).map(PathBuf::from).unwrap_or_default();
    match std::env::var(ROLE).as_deref() {
        Ok("to be killed") => {
            let evidence = start(options(&folder, "100x1MiB"));
            for n in 0.. {
                give(&evidence, n..n + 1);
            }
        }
        Ok("small disk") => on_a_small_disk(&folder),
        _ => {}
    }
}

/// A process that does not outlive the test.
struct Killed(Child);

impl Killed {
    /// SIGKILL.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

#[test]
fn files_of_a_killed_process_can_be_read() {
    let place = tempfile::tempdir().unwrap();
    let mut child = Killed(play("to be killed", place.path(), &[]).spawn().unwrap());
    wait_for("the third file", || {
        let files = files(place.path());
        // The file that is being written is read like any other.
        if let Some(newest) = files.last()
            && newest.metadata().unwrap().len() > 0
        {
            assert!(read(std::slice::from_ref(newest)).0.is_sorted());
        }
        files.len() >= 3
    });
    child.kill();
    let mut files = files(place.path());
    // One that was only just begun.
    files.retain(|file| file.metadata().unwrap().len() > 0);
    let (times, infos) = read(&files);
    assert_eq!(times.len() as i64, times[times.len() - 1] + 1, "none is missing");
    assert!(times.is_sorted());
    for info in &infos[..infos.len() - 1] {
        assert_eq!((info.damaged_at, info.warnings.len()), (None, 0));
    }
    // The next run takes over.
    start(options(place.path(), "2x1MiB")).finish();
    assert_eq!(self::files(place.path()).len(), 1, "room was made for the file of this run");
}

/// A file system of 8 MiB is mounted at the folder, in a mount namespace of its own.
#[test]
fn a_full_disk_stops_the_evidence_until_there_is_room() {
    let place = tempfile::tempdir().unwrap();
    let namespace = ["unshare", "--map-root-user", "--mount"];
    let mount = "mount -t tmpfs -o size=8m,mode=700 none \"$WHY502_TEST_FOLDER\"";
    let possible = Command::new(namespace[0])
        .args(&namespace[1..])
        .args(["sh", "-c", mount])
        .env(FOLDER, place.path())
        .output();
    if !possible.is_ok_and(|output| output.status.success()) {
        let required = std::env::var_os("WHY502_SKIP").is_some_and(|skip| skip == "never");
        assert!(!required, "no file system can be mounted in a namespace here");
        say("skipped: no file system can be mounted in a namespace here");
        return;
    }
    let then = format!("{mount} && exec \"$@\"");
    let through: Vec<&str> = namespace.into_iter().chain(["sh", "-c", &then, "sh"]).collect();
    let output = play("small disk", place.path(), &through).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{text}");
}

fn on_a_small_disk(folder: &Path) {
    // A quarter has to stay free.
    let quarter = Options { min_free: MinFree::Percent(25.0), ..options(folder, "100x1MiB") };
    let evidence = start(quarter.clone());
    give(&evidence, 0..20_000);
    wait_for("the pause", || !evidence.counters().is_writing);
    let notices = evidence.notices();
    assert!(
        matches!(&notices[..], [Notice::Paused(why)] if why.contains("have to stay free")),
        "{notices:?}"
    );
    let counters = evidence.counters();
    assert!(counters.free_bytes >= 2 << 20 && counters.not_written > 0, "{counters:?}");
    assert!(counters.bytes > 5 << 20, "{counters:?}");
    // Packets keep coming while there is no room, and when there is room again.
    give(&evidence, 20_000..21_000);
    for file in files(folder) {
        std::fs::remove_file(file).unwrap();
    }
    wait_for("writing again", || evidence.counters().is_writing);
    let not_written = evidence.counters().not_written;
    assert_eq!(evidence.notices(), [Notice::Resumed { not_written }]);
    assert!(not_written >= 1_000, "{not_written}");
    assert!(evidence.counters().missing()[0].contains("for want of space"));
    give(&evidence, 21_000..21_010);
    let (counters, notices) = evidence.finish();
    assert_eq!((notices, counters.files), (vec![], 7), "{counters:?}");
    let left = files(folder);
    let (times, infos) = read(&left);
    assert_eq!((times.len(), infos.len()), (10, 1));
    assert!(infos[0].kernel_drops >= 1_000, "what was not written stands in the file");

    // Nothing has to stay free: the system says that the disk is full.
    let evidence = start(options(folder, "100x1MiB"));
    give(&evidence, 0..20_000);
    wait_for("the pause", || !evidence.counters().is_writing);
    let notices = evidence.notices();
    assert!(matches!(&notices[..], [Notice::Paused(_)]), "{notices:?}");
    let (counters, _) = evidence.finish();
    assert_eq!(counters.packets + counters.not_written, 20_000);
    let (times, infos) = read(&files(folder));
    assert_eq!(times.len() as u64, counters.packets + 10, "{counters:?}");
    assert!(infos.iter().all(|info| info.damaged_at.is_none()), "whole blocks: {infos:?}");

    // Too little to begin with.
    let error = Evidence::start(quarter, ethernet("lo")).unwrap_err();
    assert!(error.to_string().contains("too little space"), "{error}");

    // There is space, and no room for the name of another file: nobody tells when there is.
    for file in files(folder) {
        std::fs::remove_file(file).unwrap();
    }
    mount(folder, "remount,nr_inodes=4");
    let evidence = start(options(folder, "100x1MiB"));
    give(&evidence, 0..5_000);
    wait_for("the end", || !evidence.counters().is_writing);
    let notices = evidence.notices();
    assert!(
        matches!(&notices[..], [Notice::Stopped(why)] if why.contains("No space left")),
        "{notices:?}"
    );
    let (counters, _) = evidence.finish();
    assert_eq!((counters.files, counters.packets + counters.not_written), (3, 5_000));
    let (times, _) = read(&files(folder));
    assert_eq!(times.len() as u64, counters.packets);

    mount(folder, "remount,ro");
    let error = Evidence::start(options(folder, "9x1h"), ethernet("lo")).unwrap_err();
    assert!(error.to_string().contains("Read-only"), "{error}");
}

fn mount(folder: &Path, how: &str) {
    assert!(Command::new("mount").args(["-o", how]).arg(folder).status().unwrap().success());
}
