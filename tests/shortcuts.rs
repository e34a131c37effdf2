//! What saves memory or time changes nothing of what is told: a flow that was written down and read again
//! is the flow that it was, and the short way of a segment that was to be expected comes to the same as the
//! whole way.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use proptest::prelude::*;
use std::path::Path;
use support::lab::{runs, shipped};
use support::{Packet as Sent, Script, play};
use why502::capture::Timeline;
use why502::cause::Finding;
use why502::engine::{Engine, Options, Output};
use why502::flow::Flow;
use why502::http::Exchange;
use why502::packet::{Decoder, DecoderOptions, Flags, Packet};
use why502::probe::{Catalogue, Habit, Sighting};
use why502::tcp::REST_BEYOND;
use why502::tcp::Side::{Client, Server};

/// All that an engine gives out, in order.
#[derive(Default)]
struct Told(Vec<String>);

impl Output for Told {
    fn flow(&mut self, flow: &Flow) {
        self.0.push(format!("{flow:?}"));
    }
    fn exchange(&mut self, flow: u64, exchange: &Exchange) {
        self.0.push(format!("{flow} {exchange:?}"));
    }
    fn finding(&mut self, finding: Finding) {
        self.0.push(format!("{finding:?}"));
    }
    fn sighting(&mut self, sighting: Sighting) {
        self.0.push(format!("{sighting:?}"));
    }
    fn habit(&mut self, flow: &Flow, habit: Habit) {
        self.0.push(format!("{} {habit:?}", flow.id));
    }
}

fn engine() -> Engine {
    let options = Options { exchanges: true, ..Options::default() };
    Engine::new(options).watch_probers(Catalogue::built_in().unwrap())
}

fn told(capture: &Path, mut engine: Engine) -> Vec<String> {
    let mut timeline = Timeline::open(&[capture.to_owned()]).unwrap();
    let mut decoder = Decoder::new(DecoderOptions::default());
    let mut told = Told::default();
    while let Some(frame) = timeline.next_frame().unwrap() {
        match decoder.decode(&frame) {
            Packet::Tcp(segment) => _ = engine.segment(&segment, &mut told),
            Packet::Icmp(error) => _ = engine.icmp(&error),
            Packet::Skip(_) => {}
        }
    }
    engine.finish(&mut told);
    told.0
}

/// Both tell the same of every capture of the lab that ships.
fn compare(one: impl Fn() -> Engine, other: impl Fn() -> Engine) {
    for run in runs(&shipped()) {
        for capture in [&run.lb, &run.target] {
            let (one, other) = (told(capture, one()), told(capture, other()));
            let differs = one.iter().zip(&other).find(|(one, other)| one != other);
            assert_eq!(differs, None, "{}", capture.display());
            assert_eq!(one.len(), other.len(), "{}", capture.display());
        }
    }
}

#[test]
fn flows_that_rest_after_every_packet_tell_the_same() {
    compare(|| engine().rest_beyond(0), || engine().rest_beyond(REST_BEYOND));
}

#[test]
fn the_short_way_tells_the_same_as_the_whole_way() {
    compare(engine, || engine().whole_way());
}

/// Responses with long bodies of every framing, in segments that the client acknowledges now and then.
fn downloads() -> Vec<Sent> {
    let body = "0123456789abcdef".repeat(300);
    let chunked = "chunked\r\n\r\n1000\r\n";
    let heads = [
        ("200", "Content-Length: 4800\r\n\r\n", ""),
        ("503", "Content-Length: 4800\r\n\r\n", ""),
        ("206", &format!("Transfer-Encoding: {chunked}"), "\r\n0\r\n\r\n"),
        ("200", "Connection: close\r\n\r\n", ""),
    ];
    let mut script = Script::open();
    for (status, head, tail) in heads {
        let ask = "GET /download HTTP/1.1\r\nUser-Agent: a-client-that-is-no-prober/1.0\r\n\r\n";
        script = script.ask(ask);
        let length = if tail.is_empty() { 4800 } else { 0x1000 };
        let answer = format!("HTTP/1.1 {status} x\r\n{head}{}{tail}", &body[..length]);
        // Pieces grow where they take the short way, so that the largest is one of those; and the client's
        // window changes.
        let grows = if status == "503" { 0 } else { 50 };
        let mut rest = answer.as_bytes();
        for number in 0.. {
            let (piece, more) = rest.split_at(rest.len().min(250 + grows * number));
            script = script.say(Server, piece);
            if number % 3 == 0 {
                script = script.ack(Client).tweak(|ack| ack.window = 100 + 150 * number as u16);
            }
            rest = more;
            if rest.is_empty() {
                break;
            }
        }
        script = script.ack(Client).tweak(|ack| ack.window = 700);
    }
    script.close(Server).packets
}

/// What a network or a capture does to a packet.
fn disturb(packets: &mut Vec<Sent>, place: usize, how: u8) {
    let place = place % packets.len();
    let packet = &mut packets[place];
    match how {
        0 => _ = packets.remove(place),
        1 => {
            let mut again = packet.clone();
            again.ip_id ^= 0x4000;
            packets.insert(place + 1, again);
        }
        2 => packets.insert(place, packets[place].clone()),
        3 if place > 0 => packets.swap(place - 1, place),
        4 => packet.window = 0,
        5 => packet.corrupt = true,
        6 if packet.payload.len() > 9 => {
            packet.wire_len = Some(packet.payload.len() as u32);
            packet.payload.truncate(9);
        }
        7 => packet.ack = packet.ack.wrapping_add(700),
        8 => packet.seq = packet.seq.wrapping_sub(1),
        // A RST that counts where it lies within the window of its receiver.
        9 => {
            packet.flags = Flags::RST | Flags::ACK;
            packet.seq = packet.seq.wrapping_add(400);
            packet.payload.clear();
        }
        _ => packet.at += 300 * support::MS,
    }
}

proptest! {
    #[test]
    fn the_short_way_of_disturbed_downloads_tells_the_same(
        disturbances in proptest::collection::vec((0_usize..100, 0_u8..11), 0..6),
    ) {
        let mut packets = downloads();
        for (place, how) in disturbances {
            disturb(&mut packets, place, how);
        }
        let told = |mut engine: Engine| {
            let mut told = Told::default();
            play(&mut engine, &packets, &[], &mut told);
            told.0
        };
        prop_assert_eq!(told(engine()), told(engine().whole_way()));
    }
}
