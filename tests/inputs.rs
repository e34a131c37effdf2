//! The form of a capture changes nothing: byte order, resolution, container, compression, tunnels,
//! rotation and pipes give the findings of the file that ships.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use serde_json::Value;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::capture::{self, Frame, Order};
use support::lab::{runs, shipped};
use support::random::Random;
use tempfile::TempDir;
use why502::report::Report;
use why502::run::{Settings, analyse};
use why502::time::FrameId;

/// Captures with races and time-outs, with ICMP errors, and with broken answers.
const CAPTURES: [&str; 3] = [
    "demo/nginx-demo-lb.pcap",
    "connect-unreachable/haproxy-router-icmp-lb.pcap",
    "response-malformed/nginx-chunked-bad-target.pcap",
];

/// What a finding says, apart from where its frames are.
#[derive(Clone, Debug, PartialEq)]
struct Facts {
    cause: &'static str,
    confidence: &'static str,
    responsible: &'static str,
    target: Option<String>,
    sides: [String; 2],
    request: Option<(u64, i64)>,
    response: Option<(u64, i64, Option<u16>)>,
    /// Frame, time, what, note.
    evidence: Vec<(u64, i64, &'static str, String)>,
    outstanding: Option<i64>,
    idle_before: Option<i64>,
    blind_spots: String,
    summary: String,
}

/// The findings; `number` gives the frame's number in the whole capture.
fn facts(report: &Report, number: impl Fn(FrameId) -> u64) -> Vec<Facts> {
    let facts = report.findings.iter().map(|finding| {
        let exchange = finding.exchange.as_deref();
        let request = exchange.and_then(|exchange| exchange.request.as_ref());
        let response = exchange.and_then(|exchange| exchange.response.as_ref());
        Facts {
            cause: finding.cause.id,
            confidence: finding.confidence.id(),
            responsible: finding.responsible.id(),
            target: support::lab::target(finding),
            sides: [finding.client, finding.server].map(|side| side.socket().to_string()),
            request: request.map(|request| (number(request.first.frame), request.first.at.0)),
            response: response.map(|response| {
                (number(response.first.frame), response.first.at.0, response.status)
            }),
            evidence: finding
                .evidence
                .iter()
                .map(|evidence| {
                    let mark = evidence.mark;
                    (number(mark.frame), mark.at.0, evidence.what.id(), evidence.note.to_string())
                })
                .collect(),
            outstanding: finding.outstanding,
            idle_before: finding.idle_before,
            blind_spots: format!("{:?}", finding.blind_spots),
            summary: finding.summary.to_string(),
        }
    });
    facts.collect()
}

fn report(paths: &[PathBuf], settings: &Settings) -> Report {
    analyse(paths, settings, &mut why502::run::Patient).unwrap_or_else(|error| panic!("{error}"))
}

fn settings() -> Settings {
    Settings { flows: true, ..Settings::default() }
}

/// A capture that ships, and what is said of it.
struct Original {
    path: PathBuf,
    frames: Vec<Frame>,
    facts: Vec<Facts>,
}

impl Original {
    fn all() -> Vec<Original> {
        CAPTURES.iter().map(|name| Original::new(name)).collect()
    }

    fn new(name: &str) -> Original {
        let path = shipped().join(name);
        let facts = facts(&report(std::slice::from_ref(&path), &settings()), FrameId::number);
        assert!(facts.len() >= 2, "{name} has findings");
        Original { frames: capture::read(&path), facts, path }
    }

    /// Another form of it has the same findings.
    #[track_caller]
    fn is_also(&self, name: &str, bytes: &[u8]) -> Report {
        self.is_also_with(name, bytes, &settings())
    }

    #[track_caller]
    fn is_also_with(&self, name: &str, bytes: &[u8], settings: &Settings) -> Report {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let report = report(&[path], settings);
        assert_eq!(facts(&report, FrameId::number), self.facts, "{name}: {}", self.path.display());
        assert_eq!(report.captures[0].damaged_at, None, "{name}");
        assert_eq!(report.captures[0].warnings, [] as [String; 0], "{name}");
        assert_eq!(report.summary.packets, self.frames.len() as u64, "{name}");
        report
    }

    fn changed(&self, change: impl Fn(&Frame) -> Frame) -> Vec<Frame> {
        self.frames.iter().map(change).collect()
    }
}

#[test]
fn the_reader_and_the_writer_of_these_tests_agree_with_tcpdump() {
    for original in Original::all() {
        assert_eq!(capture::plain(&original.frames), fs::read(&original.path).unwrap());
    }
}

#[test]
fn byte_order_resolution_and_container_do_not_matter() {
    for original in Original::all() {
        let frames = &original.frames;
        for order in [Order::Little, Order::Big] {
            for (nanoseconds, format) in [(false, "pcap"), (true, "pcap-ns")] {
                let bytes = capture::pcap(frames, order, nanoseconds, capture::ETHERNET);
                assert_eq!(original.is_also("a.pcap", &bytes).captures[0].format, format);
            }
            let bytes = capture::pcapng(frames, order);
            assert_eq!(original.is_also("a.pcapng", &bytes).captures[0].format, "pcapng");
        }
    }
}

fn compressed(bytes: &[u8], how: &str) -> Vec<u8> {
    match how {
        "gzip" => {
            let level = flate2::Compression::default();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        "zstd" => zstd::encode_all(bytes, 0).unwrap(),
        "xz" => {
            let options = lzma_rust2::XzOptions::with_preset(1);
            let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        "lz4" => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        other => panic!("{other}"),
    }
}

#[test]
fn compression_does_not_matter_and_is_told_from_the_bytes() {
    for original in Original::all() {
        let plain = fs::read(&original.path).unwrap();
        let pcapng = capture::pcapng(&original.frames, Order::Big);
        for how in ["gzip", "zstd", "xz", "lz4"] {
            for bytes in [&plain, &pcapng] {
                let packed = compressed(bytes, how);
                assert!(packed.len() < bytes.len(), "{how}");
                let report = original.is_also("no-extension", &packed);
                assert_eq!(report.captures[0].compression, Some(how));
                assert_eq!(report.captures[0].bytes, packed.len() as u64, "{how}");
            }
        }
        // Members behind each other, as `cat a.gz b.gz` or a compressor with threads makes them.
        let (one, other) = plain.split_at(plain.len() / 3);
        for how in ["gzip", "zstd", "xz", "lz4"] {
            let packed = [compressed(one, how), compressed(other, how)].concat();
            original.is_also("members", &packed);
        }
    }
}

#[test]
fn tags_tunnels_and_cooked_headers_do_not_matter() {
    for original in Original::all() {
        let tagged = original.changed(Frame::tagged);
        original.is_also("vlan.pcap", &capture::plain(&tagged));
        let cooked = original.changed(Frame::cooked);
        let bytes = capture::pcap(&cooked, Order::Big, false, capture::LINUX_SLL);
        original.is_also("any.pcap", &bytes);
        let mirrored = original.changed(|frame| frame.in_vxlan(4789));
        let report = original.is_also("vxlan.pcap", &capture::plain(&mirrored));
        assert!(report.flows.iter().all(|flow| flow.tunnel.0 > 0));
        assert!(report.tunnels.iter().any(|name| name.contains("77")), "{:?}", report.tunnels);
        let both = original.changed(|frame| frame.in_vxlan(4789).tagged());
        original.is_also("vxlan-in-vlan.pcap", &capture::plain(&both));
    }
}

#[test]
fn a_vxlan_port_of_ones_own_has_to_be_named() {
    let original = Original::new(CAPTURES[0]);
    let bytes = capture::plain(&original.changed(|frame| frame.in_vxlan(5555)));
    let named = Settings { vxlan_ports: vec![5555], ..settings() };
    original.is_also_with("vxlan.pcap", &bytes, &named);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vxlan.pcap");
    fs::write(&path, bytes).unwrap();
    let report = report(&[path], &settings());
    assert_eq!((report.findings.len(), report.flows.len()), (0, 0));
    assert_eq!(report.summary.skipped.values().sum::<u64>(), report.summary.packets);
}

/// A rotated set in a folder: parts of a capture under names that tell nothing of their order.
struct Rotated {
    folder: TempDir,
    /// Path, and how many frames are in the parts before.
    parts: Vec<(PathBuf, u64)>,
}

impl Rotated {
    fn new(frames: &[Frame], count: usize, seed: u64) -> Rotated {
        let folder = tempfile::tempdir().unwrap();
        let mut names: Vec<usize> = (0..count).collect();
        Random::new(seed).shuffle(&mut names);
        let length = frames.len().div_ceil(count);
        let mut parts = Vec::new();
        for (index, (part, name)) in frames.chunks(length).zip(names).enumerate() {
            let (bytes, ending) = match index % 3 {
                0 => (capture::plain(part), "pcap"),
                1 => (capture::pcapng(part, Order::Big), "pcapng"),
                _ => (compressed(&capture::plain(part), "gzip"), "pcap.gz"),
            };
            let path = folder.path().join(format!("trace-{name}.{ending}"));
            fs::write(&path, bytes).unwrap();
            parts.push((path, (index * length) as u64));
        }
        Rotated { folder, parts }
    }

    /// The findings, with frames numbered as in the whole capture.
    #[track_caller]
    fn facts(&self, paths: &[PathBuf]) -> (Report, Vec<Facts>) {
        let report = report(paths, &settings());
        assert_eq!(report.captures.len(), self.parts.len());
        let before: Vec<u64> = report
            .captures
            .iter()
            .map(|info| {
                let name = Path::new(&info.path).file_name();
                self.parts.iter().find(|(path, _)| path.file_name() == name).unwrap().1
            })
            .collect();
        let facts = facts(&report, |frame| before[frame.file() as usize] + frame.number());
        (report, facts)
    }
}

#[test]
fn a_rotated_set_is_one_capture() {
    for original in Original::all() {
        for (count, seed) in [(2, 1), (3, 2), (7, 3)] {
            let set = Rotated::new(&original.frames, count, seed);
            let mut shuffled: Vec<_> = set.parts.iter().map(|(path, _)| path.clone()).collect();
            Random::new(seed + 10).shuffle(&mut shuffled);
            for paths in [shuffled, vec![set.folder.path().to_owned()]] {
                let (report, facts) = set.facts(&paths);
                assert_eq!(facts, original.facts, "{count} files of {}", original.path.display());
                assert_eq!(report.summary.packets, original.frames.len() as u64);
            }
        }
    }
}

#[test]
fn connections_go_on_from_one_file_to_the_next() {
    let original = Original::new(CAPTURES[0]);
    let whole = report(std::slice::from_ref(&original.path), &settings());
    let set = Rotated::new(&original.frames, 7, 4);
    let (report, _) = set.facts(&[set.folder.path().to_owned()]);
    assert_eq!(report.flows.len(), whole.flows.len(), "no flow is counted twice");
    let crossing =
        report.flows.iter().filter(|flow| flow.first.frame.file() != flow.last.frame.file());
    assert!(crossing.count() >= 7);
    for (flow, same) in report.flows.iter().zip(&whole.flows) {
        assert_eq!(
            (flow.client, &flow.history, flow.requests, flow.first.at, flow.last.at),
            (same.client, &same.history, same.requests, same.first.at, same.last.at)
        );
    }
    let files: std::collections::BTreeSet<u32> =
        report.findings.iter().map(|finding| finding.evidence[0].mark.frame.file()).collect();
    assert!(files.len() > 2, "findings lie in several files: {files:?}");
    // One file alone begins in the middle of its connections, and says so.
    let middle = self::report(&[set.parts[3].0.clone()], &settings());
    assert!(middle.summary.blind_spots.contains_key(&why502::blind::BlindSpot::NoHandshake));
}

/// The report of the program that reads `feed` from a pipe.
fn piped(args: &[&str], feed: impl FnOnce(&mut dyn Write) + Send) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_why502"));
    command.args(args).args(["--format", "json", "--quiet"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program");
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || feed(&mut stdin));
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Everything but the name of the capture.
fn without_path(mut report: Value) -> Value {
    report["captures"][0]["path"].take();
    report
}

#[test]
fn a_pipe_gives_the_report_of_the_file() {
    for original in Original::all() {
        let bytes = fs::read(&original.path).unwrap();
        let file = without_path(piped(&[original.path.to_str().unwrap()], |_| ()));
        assert_eq!(file["findings"].as_array().unwrap().len(), original.facts.len());
        for bytes in [bytes.clone(), compressed(&bytes, "zstd"), compressed(&bytes, "gzip")] {
            let mut report = without_path(piped(&["-"], |pipe| pipe.write_all(&bytes).unwrap()));
            for field in ["bytes", "compression"] {
                report["captures"][0][field] = file["captures"][0][field].clone();
            }
            assert_eq!(report, file);
        }
    }
}

/// A capture that is still growing: its bytes come in small pieces that end in the middle of
/// records, some later than others.
#[test]
fn a_slow_pipe_gives_the_report_of_the_file() {
    let original = Original::new(CAPTURES[1]);
    let bytes = fs::read(&original.path).unwrap();
    let file = without_path(piped(&[original.path.to_str().unwrap()], |_| ()));
    let report = piped(&["-"], |pipe| {
        let mut random = Random::new(5);
        let mut rest = &bytes[..];
        for pause in 0.. {
            let (piece, later) = rest.split_at(rest.len().min(1 + random.below(400)));
            pipe.write_all(piece).unwrap();
            rest = later;
            if rest.is_empty() {
                break;
            }
            if pause < 20 {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        }
    });
    assert_eq!(without_path(report), file);
}

/// The writer goes away in the middle of a record.
#[test]
fn half_a_pipe_gives_a_report_on_that_half() {
    let original = Original::new(CAPTURES[0]);
    let bytes = fs::read(&original.path).unwrap();
    let half = &bytes[..bytes.len() / 2];
    let report = piped(&["-"], |pipe| {
        for piece in half.chunks(3_001) {
            pipe.write_all(piece).unwrap();
        }
    });
    let damaged_at = report["captures"][0]["damaged_at"].as_u64().unwrap() as usize;
    assert!(damaged_at < half.len() && damaged_at + 2_000 > half.len(), "{damaged_at}");
    let findings = report["findings"].as_array().unwrap();
    assert!(!findings.is_empty() && findings.len() < original.facts.len());
    let end = original.frames[report["summary"]["packets"].as_u64().unwrap() as usize].at;
    let known = original.facts.iter().filter(|facts| facts.evidence.iter().all(|e| e.1 < end));
    assert_eq!(
        findings.iter().filter(|finding| finding["confidence"] == "certain").count(),
        known.count()
    );
}

/// A pipe that is named like a file, as in `why502 <(tcpdump -w -)`.
#[cfg(target_os = "linux")]
#[test]
fn a_pipe_can_be_named() {
    let original = Original::new(CAPTURES[2]);
    let bytes = fs::read(&original.path).unwrap();
    let file = without_path(piped(&[original.path.to_str().unwrap()], |_| ()));
    let report = piped(&["/dev/stdin"], |pipe| pipe.write_all(&bytes).unwrap());
    assert_eq!(without_path(report), file);
}

#[test]
fn an_empty_capture_has_an_empty_report() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in
        [("a.pcap", capture::plain(&[])), ("a.pcapng", capture::pcapng(&[], Order::Little))]
    {
        let path = folder.path().join(name);
        File::create(&path).unwrap().write_all(&bytes).unwrap();
        let report = report(&[path], &settings());
        assert_eq!((report.summary.packets, report.findings.len()), (0, 0), "{name}");
        assert_eq!(report.captures[0].damaged_at, None, "{name}");
    }
}

/// A capture longer than one buffer is read and decoded by a thread of its own where there is a processor
/// for it; of files that overlap, too.
#[test]
fn the_number_of_processors_does_not_matter() {
    const WINDOW: u64 = 256 << 10;
    let long = |path: &PathBuf| fs::metadata(path).unwrap().len() > WINDOW;
    let all = runs(&shipped()).into_iter().flat_map(|run| [run.lb, run.target]);
    let captures: Vec<PathBuf> = all.filter(long).collect();
    assert!(captures.len() >= 5, "few captures are long enough");
    let directory = TempDir::new().unwrap();
    let processor = first_processor();
    let on_one = ["-c", &processor];
    for capture in captures {
        let packed = directory.path().join("packed.pcap.gz");
        fs::write(&packed, compressed(&fs::read(&capture).unwrap(), "gzip")).unwrap();
        let twice = [capture.clone(), directory.path().join("again.pcap")];
        fs::copy(&capture, &twice[1]).unwrap();
        let (once, packed) = (std::slice::from_ref(&capture), std::slice::from_ref(&packed));
        for (files, format) in
            [(once, "text"), (once, "json"), (once, "ndjson"), (packed, "json"), (&twice, "json")]
        {
            let why502 = env!("CARGO_BIN_EXE_why502");
            let run = |command: &mut Command| {
                command.args(["--all", "--format", format]).args(files).output().unwrap().stdout
            };
            let all = run(&mut Command::new(why502));
            let one = run(Command::new("taskset").args(on_one).arg(why502));
            assert!(!all.is_empty() && all == one, "{files:?} as {format}");
        }
    }
}

/// One of the processors that this process may use.
fn first_processor() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let end = |c: char| !c.is_ascii_digit();
    allowed.trim().split(end).next().unwrap().to_owned()
}
