//! Slices of captures in every form: compressed, piped, in several files, damaged, with several
//! interfaces and clocks; and what `why502 slice` refuses.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use support::capture;
use support::slices::{Place, demo, packets, seen, seen_in, tshark};
use why502::capture::Timeline;

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
    let secrets = b"# keys of nobody\n";
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
        assert!(has(b"KSLT\x11\0\0\0# keys of nobody\n"), "{name}");
        assert!(has(b"\xc0\0\x02\x0abalancer\0") && has(b"from the field") && has(b"dumpcap"));
        assert_eq!(has(b"somebody's"), name == "all.pcapng");
    }
}

/// The frame in two fragments, if it carries enough.
fn fragments(frame: &capture::Frame) -> Vec<capture::Frame> {
    const FIRST: usize = 24;
    let payload = &frame.ip()[20..];
    if payload.len() < 2 * FIRST || frame.ip()[0] != 0x45 {
        return vec![frame.clone()];
    }
    let parts = [(&payload[..FIRST], 0x2000), (&payload[FIRST..], (FIRST / 8) as u16)];
    let fragment = |(part, offset): (&[u8], u16)| {
        let mut bytes = [&frame.bytes[..34], part].concat();
        bytes[16..18].copy_from_slice(&(20 + part.len() as u16).to_be_bytes());
        bytes[20..22].copy_from_slice(&offset.to_be_bytes());
        let wire_len = bytes.len() as u32;
        capture::Frame { at: frame.at, bytes, wire_len }
    };
    parts.map(fragment).to_vec()
}

#[test]
fn a_packet_in_fragments_comes_with_all_of_them() {
    let place = Place::new();
    let frames: Vec<capture::Frame> = capture::read(&demo()).iter().flat_map(fragments).collect();
    place.put("pieces.pcap", &capture::plain(&frames));
    let said = place.run(&["pieces.pcap", "-w", "proof.pcapng"]);
    assert!(said.contains("11 keepalive-race"), "{said}");
    let slice = place.seen("proof.pcapng");
    let segments = slice.iter().filter(|frame| frame.stream.is_some()).count();
    assert!(said.contains(&format!("{segments} of them with comments")), "{segments}: {said}");
    assert!(slice.len() > segments + 11 && slice.len() < frames.len() / 2, "{}", slice.len());
}
