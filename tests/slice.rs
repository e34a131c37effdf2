//! Slices: the packets of a capture that prove its findings, as tshark and as we ourselves read them.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::capture;
use support::lab::{runs, shipped};
use tempfile::TempDir;
use why502::capture::Timeline;
use why502::cause::Finding;
use why502::engine::{Engine, Options, Output};
use why502::flow::Flow;
use why502::http::Exchange;
use why502::packet::{Decoder, DecoderOptions, Packet};
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

/// A frame as it was read, and the stream that it belongs to.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    number: u64,
    at: i64,
    link: u16,
    wire_len: u32,
    bytes: Vec<u8>,
    stream: Option<u32>,
}

impl Seen {
    fn same_packet(&self, other: &Seen) -> bool {
        (self.at, self.link, self.wire_len, &self.bytes)
            == (other.at, other.link, other.wire_len, &other.bytes)
    }
}

struct Nobody;

impl Output for Nobody {
    fn flow(&mut self, _: &Flow) {}
    fn exchange(&mut self, _: u64, _: &Exchange) {}
    fn finding(&mut self, _: Finding) {}
}

fn seen(mut timeline: Timeline) -> Vec<Seen> {
    let mut decoder = Decoder::new(DecoderOptions::default());
    let mut engine = Engine::new(Options::default());
    let mut frames = Vec::new();
    while let Some(frame) = timeline.next_frame().unwrap() {
        let belongs = match decoder.decode(&frame) {
            Packet::Tcp(segment) => Some(engine.segment(&segment, &mut Nobody)),
            _ => None,
        };
        frames.push(Seen {
            number: frame.mark.frame.number(),
            at: frame.mark.at.0,
            link: frame.link.0,
            wire_len: frame.wire_len,
            bytes: frame.bytes.to_vec(),
            stream: belongs.and_then(|belongs| belongs.stream),
        });
    }
    assert!(timeline.captures().iter().all(|capture| capture.warnings.is_empty()));
    frames
}

fn seen_in(bytes: Vec<u8>) -> Vec<Seen> {
    seen(Timeline::from_reader("slice", Box::new(std::io::Cursor::new(bytes))))
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
fn an_annotated_capture_is_the_same_capture() {
    in_parallel(&captures(), |capture| {
        let (report, sliced, bytes) = sliced(capture, Extent::Everything);
        let original = seen(Timeline::open(&[capture]).unwrap());
        assert!(seen_in(bytes) == original, "{}", capture.display());
        assert!(sliced.commented >= evidence(&report).len() as u64, "{}", capture.display());
        assert_eq!(report.findings.is_empty(), sliced.commented == 0);
    });
}

/// Rows of tshark: the fields of each frame, or `None` when tshark is not there and may be missing.
fn tshark(capture: &Path, fields: &[&str], more: &[&str]) -> Option<Vec<Vec<String>>> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-r"]).arg(capture).args(["-T", "fields"]).args(more);
    command.args(fields.iter().flat_map(|field| ["-e", field]));
    let output = match command.output() {
        Ok(output) => output,
        Err(_) if std::env::var_os("WHY502_SKIP").is_none_or(|skip| skip != "never") => {
            return None;
        }
        Err(error) => panic!("tshark: {error}"),
    };
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    let complaints: Vec<&str> =
        complaints.lines().filter(|line| !line.starts_with("Running as user")).collect();
    assert!(output.status.success() && complaints.is_empty(), "{complaints:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
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
                row[4].contains(&role) && row[4].contains(&frame) && row[4].contains(&evidence.note)
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

/// A folder of its own, and the program in it.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> &Place {
        fs::write(self.path(name), bytes).unwrap();
        self
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_why502"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LANG", "C.UTF-8");
        command.current_dir(self.0.path()).arg("slice").args(args).stdin(Stdio::null());
        command
    }

    /// What it says on standard error when it has done it.
    #[track_caller]
    fn run(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert_eq!(output.stdout, b"");
        said
    }

    /// What it says when it cannot.
    #[track_caller]
    fn refusal(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(2), &b""[..]));
        String::from_utf8(output.stderr).unwrap()
    }

    fn seen(&self, name: &str) -> Vec<Seen> {
        seen(Timeline::open(&[self.path(name)]).unwrap())
    }
}

fn demo() -> PathBuf {
    shipped().join("demo/nginx-demo-lb.pcap")
}

/// The frames without their numbers.
fn packets(frames: &[Seen]) -> Vec<(i64, u32, Vec<u8>)> {
    frames.iter().map(|frame| (frame.at, frame.wire_len, frame.bytes.clone())).collect()
}

#[test]
fn the_form_of_the_input_does_not_matter() {
    let place = Place::new();
    let bytes = fs::read(demo()).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&bytes).unwrap();
    place.put("a.pcap", &bytes).put("a.pcap.gz", &gzip.finish().unwrap());
    place.put("a.pcap.zst", &zstd::encode_all(&bytes[..], 1).unwrap());
    place.put("big.pcapng", &capture::pcapng(&capture::read(&demo()), capture::Order::Big));
    let said = place.run(&["a.pcap", "-w", "plain.pcapng"]);
    assert!(
        said.starts_with("12 of 411 requests failed") && said.contains("wireshark -r plain.pcapng")
    );
    let plain = packets(&place.seen("plain.pcapng"));
    for name in ["a.pcap.gz", "a.pcap.zst", "big.pcapng"] {
        place.run(&["-q", name, "-w", "other.pcapng"]);
        assert_eq!(packets(&place.seen("other.pcapng")), plain, "{name}");
    }
    // Standard input is kept for the second reading, and standard output is a place to write to.
    let mut command = place.command(&["-q", "-", "-w", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert_eq!(packets(&seen_in(output.stdout)), plain);
}

#[test]
fn filters_and_causes_narrow_it() {
    let place = Place::new();
    let demo = demo().to_str().unwrap().to_owned();
    let said = place.run(&["--cause", "response-timeout", &demo, "-w", "one.pcapng"]);
    assert!(said.contains(" on 1 finding\n"), "{said}");
    let one = place.seen("one.pcapng");
    assert!((4..12).contains(&one.len()), "{}", one.len());
    place.run(&["-f", "tcp port 1", "--annotate", &demo, "-w", "none.pcapng"]);
    assert_eq!(place.seen("none.pcapng"), []);
    place.run(&["-f", "src host 192.0.2.10", "--annotate", &demo, "-w", "half.pcapng"]);
    let half = place.seen("half.pcapng").len();
    assert!(half > 500 && half < capture::read(Path::new(&demo)).len(), "{half}");
}

#[test]
fn several_files_become_one_with_the_place_of_each_packet() {
    let place = Place::new();
    let frames = capture::read(&demo());
    let (early, late) = frames.split_at(frames.len() / 3);
    place.put("1.pcap", &capture::plain(early));
    // The rest as another tool would write it.
    place.put("2.pcapng", &capture::pcapng(late, capture::Order::Little));
    place.run(&["--annotate", "1.pcap", "2.pcapng", "-w", "all.pcapng"]);
    let whole = seen(Timeline::open(&[demo()]).unwrap());
    assert_eq!(packets(&place.seen("all.pcapng")), packets(&whole));
    let fields = ["frame.number", "tcp.stream", "frame.comment"];
    let Some(rows) = tshark(&place.path("all.pcapng"), &fields, &["-Y", "frame.comment"]) else {
        return support::say("skipped: tshark is not installed");
    };
    assert!(rows.len() > 20);
    for row in rows {
        let number: usize = row[0].parse().unwrap();
        let (file, number) = match number.checked_sub(early.len()) {
            None | Some(0) => ("1.pcap", number),
            Some(number) => ("2.pcapng", number),
        };
        assert!(row[2].contains(&format!(" frame {number} of {file}, tcp.stream ")), "{row:?}");
    }
}

#[test]
fn a_damaged_capture_gives_what_can_be_read() {
    let place = Place::new();
    let mut bytes = fs::read(demo()).unwrap();
    bytes.truncate(bytes.len() - 7);
    let middle = bytes.len() / 2;
    bytes[middle..middle + 500].fill(0xee);
    place.put("bad.pcap", &bytes);
    let said = place.run(&["--annotate", "bad.pcap", "-w", "good.pcapng"]);
    assert!(said.starts_with("why502: bad.pcap: "), "{said}");
    let mut damaged = Timeline::open(&[place.path("bad.pcap")]).unwrap();
    let mut readable = 0;
    while damaged.next_frame().unwrap().is_some() {
        readable += 1;
    }
    assert!(readable > 1700, "{readable}");
    assert_eq!(place.seen("good.pcapng").len(), readable);
}

#[test]
fn an_input_is_never_replaced_and_other_files_are() {
    let place = Place::new();
    let bytes = fs::read(demo()).unwrap();
    place.put("a.pcap", &bytes).put("old.pcapng", b"something else");
    fs::create_dir(place.path("set")).unwrap();
    place.put("set/b.pcap", &bytes);
    for (args, output) in [
        (&["a.pcap", "-w", "a.pcap"][..], "a.pcap"),
        (&["a.pcap", "-w", "./set/../a.pcap"], "a.pcap"),
        (&["set", "-w", "set/b.pcap"], "set/b.pcap"),
    ] {
        assert!(place.refusal(args).contains("is one of the captures"), "{args:?}");
        assert_eq!(fs::read(place.path(output)).unwrap(), bytes);
    }
    place.refusal(&["gone.pcap", "-w", "old.pcapng"]);
    assert_eq!(fs::read(place.path("old.pcapng")).unwrap(), b"something else");
    assert!(place.refusal(&["a.pcap", "-w", "no/such/folder"]).contains("cannot be written"));
    let once = place.refusal(&["/dev/zero", "-w", "old.pcapng"]);
    assert!(once.contains("/dev/zero: can be read only once"), "{once}");
    place.run(&["a.pcap", "-w", "old.pcapng"]);
    assert!(!place.seen("old.pcapng").is_empty());
    assert_eq!(fs::read_dir(&place.0).unwrap().count(), 3, "nothing is left behind");
}

/// A block of a big-endian pcapng.
fn block(kind: u32, parts: &[&[u8]]) -> Vec<u8> {
    let mut body = parts.concat();
    body.resize(body.len().next_multiple_of(4), 0);
    let length = (12 + body.len() as u32).to_be_bytes();
    [&kind.to_be_bytes()[..], &length, &body, &length].concat()
}

fn option(code: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = [code.to_be_bytes(), (value.len() as u16).to_be_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An enhanced packet, captured as a whole.
fn packet(interface: u32, units: u64, bytes: &[u8], options: &[Vec<u8>]) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(4), 0);
    let length = (bytes.len() as u32).to_be_bytes();
    let options = options.concat();
    block(6, &[&interface.to_be_bytes(), &units.to_be_bytes(), &length, &length, &padded, &options])
}

/// Two interfaces with different link types and clocks, options of all sorts, secrets, names, counters
/// and a block of somebody else, in big-endian order.
fn mixed() -> Vec<u8> {
    let section = [&0x1a2b_3c4d_u32.to_be_bytes()[..], &1_u16.to_be_bytes(), &[0; 2], &[0xff; 8]];
    let ethernet = [option(2, b"eth0"), option(9, &[6]), option(14, &3_i64.to_be_bytes())].concat();
    let cooked =
        [option(2, b"any"), option(9, &[9]), option(8, &1_000_000_u64.to_be_bytes())].concat();
    let names = [option(1, b"\xc0\0\x02\x0abalancer\0"), vec![0; 4]].concat();
    let frames: Vec<capture::Frame> = capture::read(&demo());
    let secrets = b"CLIENT_RANDOM 00 01\n";
    let mut file = [
        block(
            0x0a0d_0d0a,
            &[&section.concat(), &option(1, b"from the field"), &option(4, b"dumpcap")],
        ),
        block(1, &[&1_u16.to_be_bytes(), &[0; 2], &96_000_u32.to_be_bytes(), &ethernet]),
        block(1, &[&113_u16.to_be_bytes(), &[0; 2], &[0; 4], &cooked]),
        block(
            10,
            &[&0x544c_534b_u32.to_be_bytes(), &(secrets.len() as u32).to_be_bytes(), secrets],
        ),
        block(4, &[&names]),
        block(0xbad, &[&32_473_u32.to_be_bytes(), b"somebody's"]),
    ]
    .concat();
    for (n, frame) in frames.iter().enumerate() {
        let options = match n % 3 {
            0 => vec![option(1, b"seen before"), option(2, &(1 + n as u32 % 2).to_be_bytes())],
            1 => vec![option(4, &0_u64.to_be_bytes())],
            _ => Vec::new(),
        };
        // Hosts with two interfaces capture some connections here and some there.
        let port = frame.tcp().map_or(0, |tcp| tcp.from.1.max(tcp.to.1));
        file.extend(match port / 2 % 2 {
            0 => packet(0, frame.at as u64 / 1_000 - 3_000_000, &frame.bytes, &options),
            _ => packet(1, frame.at as u64, &frame.cooked().bytes, &options),
        });
    }
    let counters = [option(4, &5_000_u64.to_be_bytes()), option(5, &7_u64.to_be_bytes())].concat();
    file.extend(block(5, &[&0_u32.to_be_bytes(), &[0; 8], &counters]));
    file
}

#[test]
fn interfaces_clocks_comments_and_secrets_are_kept() {
    let place = Place::new();
    place.put("mixed.pcapng", &mixed());
    let said = place.run(&["--annotate", "mixed.pcapng", "-w", "all.pcapng"]);
    assert!(said.starts_with("12 of 411 requests failed"), "{said}");
    assert!(place.seen("all.pcapng") == place.seen("mixed.pcapng"));
    place.run(&["mixed.pcapng", "-w", "proof.pcapng"]);
    let fields = [
        "frame.number",
        "frame.time_epoch",
        "frame.interface_id",
        "frame.interface_name",
        "frame.encap_type",
        "frame.len",
        "frame.packet_flags_direction",
        "tcp.stream",
        "frame.comment",
    ];
    let rows = |name: &str| tshark(&place.path(name), &fields, &[]);
    let (Some(original), Some(all), Some(proof)) =
        (rows("mixed.pcapng"), rows("all.pcapng"), rows("proof.pcapng"))
    else {
        return support::say("skipped: tshark is not installed");
    };
    assert_eq!(original.len(), all.len());
    for (old, new) in original.iter().zip(&all) {
        assert_eq!(old[..8], new[..8]);
        assert!(new[8].starts_with(&old[8]), "{old:?} {new:?}");
    }
    assert!(proof.iter().all(|row| row[8].contains("why502 flow ")));
    let interfaces: BTreeSet<&str> = proof.iter().map(|row| row[3].as_str()).collect();
    assert_eq!(interfaces, BTreeSet::from(["any", "eth0"]));
    // Both readings of the capture decrypt with the same secrets and know the same names.
    for name in ["all.pcapng", "proof.pcapng"] {
        let bytes = fs::read(place.path(name)).unwrap();
        let has = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        assert!(has(b"KSLT\x14\0\0\0CLIENT_RANDOM 00 01\n"), "{name}");
        assert!(has(b"\xc0\0\x02\x0abalancer\0") && has(b"from the field") && has(b"dumpcap"));
        assert_eq!(has(b"somebody's"), name == "all.pcapng");
    }
}
