//! Speed of each stage by itself and of all together, in packets and bytes per second:
//! `cargo bench --bench stages`, or with a name, `cargo bench --bench stages decoder`.
//!
//! What a stage takes in is made before the clock starts.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run shall stop")]

mod traffic;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use std::io::{self, Cursor};
use std::path::PathBuf;
use std::sync::OnceLock;
use why502::blind::BlindSpot;
use why502::capture::{Frame, Timeline};
use why502::cause::{Case, Wider, judge};
use why502::flow::Flow;
use why502::http::{Conversation, Exchange, Pool};
use why502::packet::{Decoder, DecoderOptions, Packet, Segment};
use why502::report::{Style, format};
use why502::run::{Patient, Settings, analyse};
use why502::tcp::{At, Limits, Side, StreamSink, Table};

/// Kinds of traffic, each about 10 MB or 100 000 packets.
const SCENES: [&str; 4] = ["keep-alive", "checks", "syn-flood", "reordered"];

fn main() {
    divan::main();
}

/// One kind of traffic as each stage takes it in.
struct Input {
    pcap: Vec<u8>,
    frames: Vec<Frame<'static>>,
    segments: Vec<Segment<'static>>,
    streams: Vec<Told>,
    flows: usize,
}

/// What TCP tells HTTP, and of which flow.
struct Told {
    flow: usize,
    side: Side,
    what: What,
}

enum What {
    Data(At, Vec<u8>),
    Gap(At, u64, BlindSpot),
    Ended,
}

/// The input of a scene, made once and kept: a benchmark ends with its process.
fn input(scene: &str) -> &'static Input {
    static INPUTS: [OnceLock<Input>; SCENES.len()] = [const { OnceLock::new() }; SCENES.len()];
    let place = SCENES.iter().position(|name| *name == scene).unwrap();
    INPUTS[place].get_or_init(|| {
        let amount = match scene {
            "keep-alive" => 10_000,
            "checks" => 10_000,
            "reordered" => 200,
            _ => 100_000,
        };
        Input::of(traffic::in_memory(scene, amount).unwrap())
    })
}

impl Input {
    fn of(pcap: Vec<u8>) -> Input {
        let mut frames = Vec::new();
        let mut timeline = timeline(&pcap);
        while let Some(frame) = timeline.next_frame().unwrap() {
            frames.push(Frame { bytes: frame.bytes.to_vec().leak(), ..frame });
        }
        let segments: Vec<Segment<'static>> = frames.iter().filter_map(segment).collect();
        let mut record = Record::default();
        let flows = through_tcp(&segments, &mut record);
        Input { pcap, frames, segments, streams: record.told, flows }
    }

    /// So many packets and captured bytes are worked through.
    fn counters(&self) -> (ItemsCount, BytesCount) {
        let bytes: usize = self.frames.iter().map(|frame| frame.bytes.len()).sum();
        (ItemsCount::new(self.frames.len()), BytesCount::new(bytes))
    }
}

fn timeline(pcap: &[u8]) -> Timeline {
    Timeline::from_reader("memory", Box::new(Cursor::new(pcap.to_vec())))
}

fn decoder() -> Decoder {
    Decoder::new(DecoderOptions { vxlan_ports: vec![4789] })
}

/// The segment of a frame, for good: its decoder is never given back.
fn segment(frame: &Frame<'static>) -> Option<Segment<'static>> {
    match Box::leak(Box::new(decoder())).decode(frame) {
        Packet::Tcp(segment) => Some(segment),
        Packet::Icmp(_) | Packet::Skip(_) => None,
    }
}

/// Gives segments to TCP; returns how many flows there were.
fn through_tcp(segments: &[Segment<'_>], record: &mut impl Listen) -> usize {
    let mut table: Table<()> = Table::new(Limits::default());
    for segment in segments {
        let first = |segment: &Segment<'_>| match segment.src.port < segment.dst.port {
            true => Side::Server,
            false => Side::Client,
        };
        let turn = table.turn(segment, None, first, || ());
        record.flow(turn.entry.connection.flow.id);
        turn.entry.connection.on_segment(segment, record);
    }
    table.opened() as usize
}

/// Takes what TCP tells, and of which flow.
trait Listen: StreamSink {
    fn flow(&mut self, id: u64);
}

/// Keeps it.
#[derive(Default)]
struct Record {
    flow: usize,
    told: Vec<Told>,
}

impl Record {
    fn tell(&mut self, side: Side, what: What) {
        self.told.push(Told { flow: self.flow, side, what });
    }
}

impl Listen for Record {
    fn flow(&mut self, id: u64) {
        self.flow = id as usize;
    }
}

impl StreamSink for Record {
    fn data(&mut self, side: Side, at: At, bytes: &[u8]) {
        self.tell(side, What::Data(at, bytes.to_vec()));
    }
    fn gap(&mut self, side: Side, at: At, len: u64, why: BlindSpot) {
        self.tell(side, What::Gap(at, len, why));
    }
    fn ended(&mut self, side: Side) {
        self.tell(side, What::Ended);
    }
}

/// Forgets it.
struct Forget;

impl Listen for Forget {
    fn flow(&mut self, id: u64) {
        black_box(id);
    }
}

impl StreamSink for Forget {
    fn data(&mut self, side: Side, at: At, bytes: &[u8]) {
        black_box((side, at, bytes));
    }
    fn gap(&mut self, side: Side, at: At, len: u64, why: BlindSpot) {
        black_box((side, at, len, why));
    }
    fn ended(&mut self, side: Side) {
        black_box(side);
    }
}

#[divan::bench(args = SCENES)]
fn reader(bencher: Bencher<'_, '_>, scene: &str) {
    let input = input(scene);
    let (packets, bytes) = input.counters();
    bencher.counter(packets).counter(bytes).with_inputs(|| timeline(&input.pcap)).bench_refs(
        |timeline| {
            while let Some(frame) = timeline.next_frame().unwrap() {
                black_box(frame);
            }
        },
    );
}

#[divan::bench(name = "decoder", args = SCENES)]
fn decoding(bencher: Bencher<'_, '_>, scene: &str) {
    let input = input(scene);
    let (packets, bytes) = input.counters();
    bencher.counter(packets).counter(bytes).with_inputs(decoder).bench_refs(|decoder| {
        for frame in &input.frames {
            black_box(decoder.decode(frame));
        }
    });
}

#[divan::bench(args = SCENES)]
fn tcp(bencher: Bencher<'_, '_>, scene: &str) {
    let input = input(scene);
    let (packets, bytes) = input.counters();
    bencher
        .counter(packets)
        .counter(bytes)
        .bench(|| through_tcp(black_box(&input.segments), &mut Forget));
}

/// Counts the packets of the whole scene, also those that carry nothing for HTTP.
#[divan::bench(args = ["keep-alive", "checks", "reordered"])]
fn http(bencher: Bencher<'_, '_>, scene: &str) {
    let input = input(scene);
    let (packets, bytes) = input.counters();
    bencher.counter(packets).counter(bytes).bench(|| {
        let mut conversations: Vec<Conversation> =
            (0..input.flows).map(|_| Conversation::new(None)).collect();
        let mut pool = Pool::default();
        for told in &input.streams {
            let conversation = &mut conversations[told.flow];
            let mut done = |exchange: &Exchange| _ = black_box(exchange.ordinal);
            match &told.what {
                What::Data(at, bytes) => {
                    conversation.data(told.side, *at, bytes, &mut pool, &mut done)
                }
                What::Gap(at, len, why) => {
                    conversation.gap(told.side, *at, *len, *why, &mut pool, &mut done);
                }
                What::Ended => conversation.ended(told.side, &mut pool, &mut done),
            }
        }
        conversations.len()
    });
}

/// Judges every exchange and every flow of the captures that ship; items are cases.
#[divan::bench]
fn causes(bencher: Bencher<'_, '_>) {
    let captures = [PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("captures")];
    let settings = Settings { flows: true, exchanges: true, ..Settings::default() };
    let report = analyse(&captures, &settings, &mut Patient).unwrap();
    let flow = |id: u64| report.flows.iter().find(|flow| flow.id == id).unwrap();
    let asked = report.exchanges.iter().map(|(id, exchange)| (flow(*id), Some(exchange)));
    let unused = report.flows.iter().filter(|flow| flow.requests == 0).map(|flow| (flow, None));
    let cases: Vec<(&Flow, Option<&Exchange>)> = asked.chain(unused).collect();
    let wider = Wider::default();
    bencher.counter(ItemsCount::new(cases.len())).bench(|| {
        let found = cases.iter().filter_map(|(flow, exchange)| {
            judge(&Case { flow, exchange: *exchange, wider: &wider })
        });
        found.count()
    });
}

/// From the file to the text report.
#[divan::bench(args = SCENES)]
fn whole(bencher: Bencher<'_, '_>, scene: &str) {
    let input = input(scene);
    let (packets, bytes) = input.counters();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &input.pcap).unwrap();
    let captures = [file.path().to_path_buf()];
    let text = format("text").unwrap();
    bencher.counter(packets).counter(bytes).bench(|| {
        let report = analyse(&captures, &Settings::default(), &mut Patient).unwrap();
        (text.write)(&report, &Style::default(), &mut io::sink()).unwrap();
    });
}
