//! Properties over many packets: what the network may do to a conversation changes nothing that
//! is reported, and no input whatever makes the engine panic.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use proptest::prelude::*;
use support::*;
use why502::capture::{Direction, Frame, LinkType};
use why502::engine::{Engine, Options};
use why502::http::State;
use why502::packet::{Decoder, DecoderOptions};
use why502::tcp::Side::{self, Client, Server};
use why502::time::{FrameId, Mark, Timestamp};

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                       4\r\nwiki\r\n5;x=y\r\npedia\r\n0\r\nTrailer: 1\r\n\r\n";
const POST: &str = "POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\nhello world";

/// Conversations of every kind of end.
fn conversations() -> Vec<Script> {
    let open = Script::open;
    let mut race = open().exchange().wait(5 * SECOND).say(Client, POST);
    let seq = race.packets.last().unwrap().seq;
    race = race.wait(RTT / 2).fin(Server).tweak(|fin| fin.ack = seq);
    race = race.fin(Client).wait(RTT / 2).bare_rst(Server);
    vec![
        open().exchange().ask(POST).answer(CHUNKED).close(Client),
        open().ask(GET.repeat(3)).answer([OK, CHUNKED, OK].concat()).close(Server),
        race,
        open().ask(POST).wait(300 * MS).fin(Server).fin(Client),
        open().ask(POST).wait(300 * MS).rst_ack(Server),
        open().exchange().ask(GET).answer(&CHUNKED[..60]).fin(Server),
        open().ask(GET).answer(&OK[..20]).rst_ack(Server),
        open().ask(&POST[..60]).rst_ack(Server),
        open().ask(GET).answer("HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n").fin(Client),
    ]
}

/// Ordinal, state and status of each exchange; cause and confidence of each finding.
type Essence = (Vec<(u32, State, Option<u16>)>, Vec<(&'static str, &'static str)>);

/// What must not change: how each exchange ended, and the verdicts.
fn essence(outcome: &Outcome) -> Essence {
    let exchanges = outcome.exchanges.iter().map(|exchange| {
        let status = exchange.response.as_ref().and_then(|response| response.status);
        (exchange.ordinal, exchange.state, status)
    });
    (exchanges.collect(), outcome.verdicts())
}

/// Cuts the payload of each packet into pieces.
fn split(packets: Vec<Packet>, mut cut: impl FnMut(usize) -> usize) -> Vec<Packet> {
    let mut pieces = Vec::new();
    for packet in packets {
        let mut rest = packet.payload.as_slice();
        let mut seq = packet.seq;
        if rest.is_empty() {
            pieces.push(packet);
            continue;
        }
        while !rest.is_empty() {
            let len = cut(rest.len()).clamp(1, rest.len());
            let id = packet.ip_id.wrapping_add((packet.payload.len() - rest.len()) as u16 * 7 + 9);
            pieces.push(Packet { seq, ip_id: id, payload: rest[..len].to_vec(), ..packet.clone() });
            seq = seq.wrapping_add(len as u32);
            rest = &rest[len..];
        }
    }
    pieces
}

fn data_of(packet: &Packet, side: Side) -> bool {
    packet.side == side && !packet.payload.is_empty()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn splits_repeats_overlaps_and_reordering_change_nothing(
        which in 0_usize..9,
        cuts in proptest::collection::vec(1_usize..40, 64),
        repeats in proptest::collection::vec(any::<u8>(), 64),
        swaps in proptest::collection::vec(any::<bool>(), 64),
    ) {
        let script = &conversations()[which];
        let expected = essence(&script.run());
        let mut cuts = cuts.into_iter().cycle();
        let mut packets = split(script.packets.clone(), |_| cuts.next().unwrap());
        for (index, swap) in swaps.iter().enumerate() {
            if index + 1 < packets.len() && *swap {
                let side = packets[index].side;
                if data_of(&packets[index], side) && data_of(&packets[index + 1], side) {
                    let (first, second) = (packets[index].at, packets[index + 1].at);
                    packets.swap(index, index + 1);
                    (packets[index].at, packets[index + 1].at) = (first, second);
                }
            }
        }
        let mut noisy: Vec<Packet> = Vec::new();
        for (index, packet) in packets.into_iter().enumerate() {
            let kind = repeats.get(index).copied().unwrap_or(0);
            noisy.push(packet.clone());
            if packet.payload.is_empty() {
                continue;
            }
            if kind % 5 == 1 {
                // The same packet captured twice.
                noisy.push(Packet { at: packet.at + 1_000, ..packet.clone() });
            }
            if kind % 5 == 2 {
                // A retransmission that begins one segment earlier: an overlap.
                let before = noisy.iter().rev().find(|other| {
                    data_of(other, packet.side)
                        && other.seq.wrapping_add(other.payload.len() as u32) == packet.seq
                });
                if let Some(before) = before.cloned() {
                    let payload = [before.payload, packet.payload.clone()].concat();
                    let ip_id = packet.ip_id.wrapping_add(3_000);
                    noisy.push(Packet { seq: before.seq, payload, ip_id, ..packet });
                }
            }
        }
        prop_assert_eq!(essence(&run(&noisy)), expected);
    }

    #[test]
    fn a_missing_packet_never_makes_a_certain_verdict_wrong(which in 0_usize..2, missing in 0_usize..40) {
        // Healthy conversations: whatever is lost from the capture, nothing failed for certain.
        let mut packets = conversations()[which].packets.clone();
        let missing = missing % packets.len();
        packets.remove(missing);
        for (cause, confidence) in run(&packets).verdicts() {
            prop_assert_ne!(confidence, "certain", "{}", cause);
        }
    }

    #[test]
    fn any_times_are_survived(
        which in 0_usize..2,
        // Clocks are set while a capture goes on, and damaged records have any time.
        times in proptest::collection::vec(proptest::option::of(any::<i64>()), 64),
    ) {
        let mut packets = conversations()[which].packets.clone();
        for (packet, at) in packets.iter_mut().zip(times) {
            packet.at = at.unwrap_or(packet.at);
        }
        let outcome = run(&packets);
        let total: u64 = outcome.flows.iter().flat_map(|flow| [flow.half(Client), flow.half(Server)])
            .map(|half| half.packets).sum();
        prop_assert_eq!(total, packets.len() as u64);
    }

    #[test]
    fn any_segments_are_survived(
        packets in proptest::collection::vec(
            (any::<bool>(), any::<u32>(), any::<u32>(), any::<u8>(), 0_usize..18, 0_u32..400_000_000),
            0..60,
        ),
        near in any::<bool>(),
    ) {
        let texts: [&[u8]; 18] = [
            b"", b"", b"", GET.as_bytes(), OK.as_bytes(), POST.as_bytes(), CHUNKED.as_bytes(),
            b"HTTP/1.1 ", b"\x16\x03\x01\x02", b"\r\n\r\n", b"PRI * HTTP/2.0\r\n", b"\0\xff",
            // TLS: the beginning of a ClientHello, a ServerHello, an alert, ChangeCipherSpec, data.
            &[22, 3, 1, 0, 60, 1, 0, 0, 56, 3, 3, 9, 9], &[22, 3, 3, 0, 60, 2, 0, 0, 56, 3, 3, 7],
            &[21, 3, 3, 0, 2, 2, 40], &[20, 3, 3, 0, 1, 1], &[23, 3, 3, 0, 5, 1, 2, 3, 4, 5],
            &[23, 3, 3, 0xff, 0xff],
        ];
        let mut now = 0_i64;
        let packets: Vec<Packet> = packets
            .into_iter()
            .enumerate()
            .map(|(index, (client, seq, ack, flags, text, wait))| {
                now += i64::from(wait);
                let (seq, ack) = if near { (seq % 300, ack % 300) } else { (seq, ack) };
                Packet {
                    at: now,
                    side: if client { Client } else { Server },
                    seq,
                    ack,
                    flags: flags & 0x3f,
                    window: (seq % 3) as u16,
                    payload: texts[text].to_vec(),
                    wire_len: (flags & 0x80 != 0).then_some(texts[text].len() as u32 + 100),
                    ttl: 64,
                    ip_id: index as u16,
                    client_port: CLIENT.1,
                    corrupt: flags & 0x40 != 0,
                    stamped: seq % 2 == 0,
                    from_server: false,
                }
            })
            .collect();
        let outcome = run(&packets);
        let total: u64 = outcome
            .flows
            .iter()
            .map(|flow| flow.half(Client).packets + flow.half(Server).packets)
            .sum();
        prop_assert_eq!(total, packets.len() as u64);
        for exchange in &outcome.exchanges {
            prop_assert_ne!(exchange.state, State::Outstanding);
        }
    }

    #[test]
    fn any_frames_are_survived(
        frames in proptest::collection::vec(
            (0_u16..300, proptest::collection::vec(any::<u8>(), 0..120)), 0..20
        ),
    ) {
        let mut decoder = Decoder::new(DecoderOptions::default());
        let mut engine = Engine::new(Options::default());
        let mut outcome = Outcome::default();
        for (number, (link, bytes)) in frames.iter().enumerate() {
            let mark = Mark { frame: FrameId::new(0, number as u64 + 1), at: Timestamp(number as i64) };
            let frame = Frame {
                mark,
                link: LinkType(*link),
                bytes,
                wire_len: bytes.len() as u32,
                direction: Direction::Unknown,
            };
            match decoder.decode(&frame) {
                why502::packet::Packet::Tcp(segment) => {
                    engine.segment(&segment, &mut outcome);
                }
                why502::packet::Packet::Icmp(error) => {
                    engine.icmp(&error);
                }
                why502::packet::Packet::Skip(_) => {}
            }
        }
        engine.finish(&mut outcome);
    }
}
