//! A conversation as a script: who says what, with which delays, as owned packets that a test can
//! drop, repeat, split and reorder before the engine sees them.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

pub mod capture;
pub mod contract;
pub mod handshake;
pub mod health;
pub mod lab;
pub mod random;
pub mod slices;
pub mod space;
pub mod tshark_tls;
pub mod wire;

use why502::cause::Finding;
use why502::engine::{Counts, Engine, Options, Output};
use why502::flow::Flow;
use why502::http::Exchange;
use why502::packet::{Endpoint, Flags, IcmpError, Segment, TcpOptions, TunnelId};
use why502::tcp::Side::{self, Client, Server};
use why502::time::{FrameId, Mark, Timestamp};

/// Prints a line of a test that people should see.
#[expect(clippy::print_stderr, reason = "tests talk to the person who runs them")]
pub fn say(line: &str) {
    eprintln!("{line}");
}

pub const MS: i64 = 1_000_000;
pub const SECOND: i64 = 1_000 * MS;
/// Half the round trip: the capture is taken at the client unless a test says otherwise.
pub const RTT: i64 = 20 * MS;

pub const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 1], 40_000);
pub const SERVER: ([u8; 4], u16) = ([10, 0, 0, 2], 80);
pub const ISN: [u32; 2] = [u32::MAX - 20, 7_000];

#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    pub at: i64,
    pub side: Side,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    pub payload: Vec<u8>,
    /// Payload length on the wire, when the snap length cut it.
    pub wire_len: Option<u32>,
    pub ttl: u8,
    pub ip_id: u16,
    pub client_port: u16,
    pub corrupt: bool,
    /// Carries a TCP timestamp.
    pub stamped: bool,
    /// Sent by the server's address to a third host.
    pub from_server: bool,
}

/// Writes packets as two well-behaved TCPs would send them.
#[derive(Clone, Debug)]
pub struct Script {
    pub packets: Vec<Packet>,
    pub now: i64,
    next: [u32; 2],
    ids: [u16; 2],
    port: u16,
}

impl Script {
    pub fn new() -> Script {
        let next = [ISN[0], ISN[1]];
        Script { packets: Vec::new(), now: SECOND, next, ids: [100, 9_000], port: CLIENT.1 }
    }

    /// The same two hosts, from another port of the client.
    pub fn from_port(port: u16) -> Script {
        Script { port, ..Script::new() }
    }

    /// SYN, SYN-ACK a round trip later, ACK: captured at the client.
    pub fn open() -> Script {
        Script::new().handshake()
    }

    pub fn handshake(self) -> Script {
        self.flags(Client, Flags::SYN).wait(RTT).flags(Server, Flags::SYN | Flags::ACK).ack(Client)
    }

    pub fn wait(mut self, nanos: i64) -> Script {
        self.now += nanos;
        self
    }

    fn push(&mut self, side: Side, flags: u8, payload: &[u8]) {
        self.ids[side as usize] += 1;
        self.packets.push(Packet {
            at: self.now,
            side,
            seq: self.next[side as usize],
            ack: if flags & Flags::ACK != 0 { self.next[!side as usize] } else { 0 },
            flags,
            window: 500,
            payload: payload.to_vec(),
            wire_len: None,
            ttl: 64,
            ip_id: self.ids[side as usize],
            client_port: self.port,
            corrupt: false,
            stamped: false,
            from_server: false,
        });
        let control = u32::from(flags & Flags::SYN != 0) + u32::from(flags & Flags::FIN != 0);
        let next = &mut self.next[side as usize];
        *next = next.wrapping_add(payload.len() as u32 + control);
        self.now += 10_000;
    }

    pub fn flags(mut self, side: Side, flags: u8) -> Script {
        self.push(side, flags, b"");
        self
    }

    pub fn ack(self, side: Side) -> Script {
        self.flags(side, Flags::ACK)
    }

    pub fn say(mut self, side: Side, text: impl AsRef<[u8]>) -> Script {
        self.push(side, Flags::ACK | Flags::PSH, text.as_ref());
        self
    }

    /// A request, acknowledged a round trip later.
    pub fn ask(self, text: impl AsRef<[u8]>) -> Script {
        self.say(Client, text).wait(RTT).ack(Server)
    }

    /// A response, acknowledged at once.
    pub fn answer(self, text: impl AsRef<[u8]>) -> Script {
        self.say(Server, text).ack(Client)
    }

    /// A whole healthy exchange.
    pub fn exchange(self) -> Script {
        self.ask(GET).answer(OK)
    }

    pub fn fin(self, side: Side) -> Script {
        self.flags(side, Flags::FIN | Flags::ACK)
    }

    pub fn rst_ack(self, side: Side) -> Script {
        self.flags(side, Flags::RST | Flags::ACK)
    }

    /// RST without ACK, as a host sends it for a connection that it does not know.
    pub fn bare_rst(self, side: Side) -> Script {
        self.flags(side, Flags::RST)
    }

    /// Repeats the last packet of `side` as a retransmission: same bytes, new IP identification.
    pub fn again(mut self, side: Side) -> Script {
        let mut last =
            self.packets.iter().rev().find(|packet| packet.side == side).expect("sent").clone();
        self.ids[side as usize] += 1;
        (last.at, last.ip_id) = (self.now, self.ids[side as usize]);
        self.packets.push(last);
        self.now += 10_000;
        self
    }

    /// Changes the last packet.
    pub fn tweak(mut self, change: impl FnOnce(&mut Packet)) -> Script {
        change(self.packets.last_mut().expect("a packet"));
        self
    }

    /// FIN from both sides, acknowledged.
    pub fn close(self, first: Side) -> Script {
        self.fin(first).wait(RTT).fin(!first).ack(first)
    }

    /// As captured at the server: what the client sends arrives half a round trip later than it
    /// left, what the server sends is seen half a round trip earlier than it arrives.
    pub fn at_server(mut self) -> Script {
        for packet in &mut self.packets {
            packet.at += if packet.side == Client { RTT / 2 } else { -RTT / 2 };
        }
        self.packets.sort_by_key(|packet| packet.at);
        self
    }

    pub fn run(&self) -> Outcome {
        run(&self.packets)
    }
}

pub const GET: &str = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What the engine made of some packets.
#[derive(Default)]
pub struct Outcome {
    pub flows: Vec<Flow>,
    pub exchanges: Vec<Exchange>,
    pub findings: Vec<Finding>,
    pub counts: Counts,
}

impl Outcome {
    /// Ids of the causes found, in order.
    pub fn causes(&self) -> Vec<&'static str> {
        self.findings.iter().map(|finding| finding.cause.id).collect()
    }

    /// Cause and confidence.
    pub fn verdicts(&self) -> Vec<(&'static str, &'static str)> {
        self.findings.iter().map(|finding| (finding.cause.id, finding.confidence.id())).collect()
    }
}

impl Output for Outcome {
    fn flow(&mut self, flow: &Flow) {
        self.flows.push(flow.clone());
    }
    fn exchange(&mut self, _: u64, exchange: &Exchange) {
        self.exchanges.push(exchange.clone());
    }
    fn finding(&mut self, finding: Finding) {
        self.findings.push(finding);
    }
}

pub fn endpoint(side: Side, client_port: u16) -> Endpoint {
    match side {
        Client => Endpoint::v4(CLIENT.0, client_port),
        Server => Endpoint::v4(SERVER.0, SERVER.1),
    }
}

/// Runs the engine over packets in the order given; frame numbers count from 1.
pub fn run(packets: &[Packet]) -> Outcome {
    run_with(packets, &[], Options { exchanges: true, ..Options::default() })
}

pub fn run_with(packets: &[Packet], icmp: &[(usize, u8, u8)], options: Options) -> Outcome {
    let mut engine = Engine::new(options);
    let mut outcome = Outcome::default();
    play(&mut engine, packets, icmp, &mut outcome);
    outcome.counts = engine.counts();
    outcome
}

/// Plays packets to `engine`, and the end of the capture.
pub fn play(
    engine: &mut Engine,
    packets: &[Packet],
    icmp: &[(usize, u8, u8)],
    outcome: &mut impl Output,
) {
    let mut frame = 0;
    for (index, packet) in packets.iter().enumerate() {
        frame += 1;
        let mark = Mark { frame: FrameId::new(0, frame), at: Timestamp(packet.at) };
        let timestamp = packet.stamped.then_some(((packet.at / MS) as u32, 0));
        let options = TcpOptions { mss: None, window_scale: None, timestamp };
        engine.segment(
            &Segment {
                mark,
                src: if packet.from_server {
                    endpoint(Server, 0)
                } else {
                    endpoint(packet.side, packet.client_port)
                },
                dst: if packet.from_server {
                    Endpoint::v4([10, 0, 0, 3], 80)
                } else {
                    endpoint(!packet.side, packet.client_port)
                },
                tunnel: TunnelId::default(),
                seq: packet.seq,
                ack: packet.ack,
                flags: Flags(packet.flags),
                window: packet.window,
                options,
                payload: &packet.payload,
                payload_len: packet.wire_len.unwrap_or(packet.payload.len() as u32),
                ttl: packet.ttl,
                ip_id: Some(packet.ip_id),
                direction: why502::capture::Direction::Unknown,
                corrupt: packet.corrupt,
            },
            outcome,
        );
        for &(_, kind, code) in icmp.iter().filter(|(after, ..)| *after == index) {
            frame += 1;
            engine.icmp(&IcmpError {
                mark: Mark { frame: FrameId::new(0, frame), at: Timestamp(packet.at + MS) },
                reporter: std::net::IpAddr::from([10, 0, 0, 254]),
                tunnel: TunnelId::default(),
                v6: false,
                kind,
                code,
                mtu: (code == 4).then_some(1400),
                src: endpoint(packet.side, packet.client_port),
                dst: endpoint(!packet.side, packet.client_port),
                seq: packet.seq,
                flags: Some(Flags(packet.flags)),
                quoted_tcp: 8,
            });
        }
    }
    engine.finish(outcome);
}
