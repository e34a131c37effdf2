//! Captures of health checks as they would be on the wire, packet by packet: several load
//! balancer nodes, users, and a target that answers or does not.

use super::capture::Frame;
use why502::packet::Flags;

pub const MS: i64 = 1_000_000;
pub const SECOND: i64 = 1_000 * MS;
/// Time to live of the load balancer's packets and of the target's own, captured at the target.
const TTL: [u8; 2] = [61, 64];
const START: i64 = 1_763_719_200 * SECOND;

pub type Address = ([u8; 4], u16);

/// A capture in the making.
#[derive(Default)]
pub struct Wire {
    frames: Vec<Frame>,
    next_port: u16,
}

/// One connection of it: who, to whom, and what each side has sent.
pub struct Connection<'a> {
    wire: &'a mut Wire,
    pub client: Address,
    server: Address,
    at: i64,
    next: [u32; 2],
}

/// The answer to a health check.
pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
pub const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

/// What an Application Load Balancer asks.
pub fn asks(server: Address, path: &str) -> String {
    let ([a, b, c, d], port) = server;
    format!(
        "GET {path} HTTP/1.1\r\nHost: {a}.{b}.{c}.{d}:{port}\r\nConnection: close\r\n\
         User-Agent: ELB-HealthChecker/2.0\r\nAccept-Encoding: gzip, compressed\r\n\r\n"
    )
}

impl Wire {
    /// A connection from `client` that begins `ms` after the start of the capture.
    pub fn connect(&mut self, ms: i64, client: [u8; 4], server: Address) -> Connection<'_> {
        self.next_port += 1;
        let client = (client, 20_000 + self.next_port);
        Connection { wire: self, client, server, at: START + ms * MS, next: [1_000, 9_000] }
    }

    /// A packet that has nothing to do with anything, to say that the capture was running.
    pub fn alive(&mut self, ms: i64) {
        let other = ([10, 9, 9, 9], 22);
        self.connect(ms, [10, 9, 9, 8], other).flags(0, Flags::ACK);
    }

    /// A check that gets `answer`.
    pub fn check(&mut self, ms: i64, node: [u8; 4], server: Address, answer: &str) {
        let asked = asks(server, "/health");
        self.connect(ms, node, server).open().say(0, &asked).wait(5).say(1, answer).close();
    }

    /// The frames in the order of time, as a pcap file.
    pub fn pcap(mut self) -> Vec<u8> {
        self.frames.sort_by_key(|frame| frame.at);
        super::capture::plain(&self.frames)
    }
}

impl Connection<'_> {
    pub fn wait(mut self, ms: i64) -> Self {
        self.at += ms * MS;
        self
    }

    pub fn flags(self, side: usize, flags: u8) -> Self {
        self.send(side, flags, b"")
    }

    pub fn say(self, side: usize, text: impl AsRef<[u8]>) -> Self {
        self.send(side, Flags::ACK | Flags::PSH, text.as_ref())
    }

    pub fn open(self) -> Self {
        self.flags(0, Flags::SYN).flags(1, Flags::SYN | Flags::ACK).wait(1).flags(0, Flags::ACK)
    }

    /// The client repeats its SYN after so long.
    pub fn again(mut self, ms: i64) -> Self {
        self.next[0] -= 1;
        self.wait(ms).flags(0, Flags::SYN)
    }

    /// The target closes, as it does after `Connection: close`.
    pub fn close(self) -> Self {
        self.flags(1, Flags::FIN | Flags::ACK)
            .wait(1)
            .flags(0, Flags::FIN | Flags::ACK)
            .flags(1, Flags::ACK)
    }

    /// Nothing more comes on it.
    pub fn end(self) {}

    /// `side`: 0 the client, 1 the server.
    fn send(mut self, side: usize, flags: u8, payload: &[u8]) -> Self {
        let (from, to) =
            if side == 0 { (self.client, self.server) } else { (self.server, self.client) };
        let ack = if flags & Flags::ACK != 0 { self.next[1 - side] } else { 0 };
        let mut tcp = Vec::new();
        tcp.extend(from.1.to_be_bytes());
        tcp.extend(to.1.to_be_bytes());
        tcp.extend(self.next[side].to_be_bytes());
        tcp.extend(ack.to_be_bytes());
        tcp.extend([0x50, flags, 0x20, 0, 0, 0, 0, 0]);
        tcp.extend(payload);
        let mut pseudo = [&from.0[..], &to.0, &[0, 6]].concat();
        pseudo.extend((tcp.len() as u16).to_be_bytes());
        let sum = checksum(&[&pseudo[..], &tcp].concat());
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        let length = 20 + tcp.len() as u16;
        let mut ip = vec![0x45, 0];
        ip.extend(length.to_be_bytes());
        ip.extend([0, 1, 0x40, 0, TTL[side], 6, 0, 0]);
        ip.extend(from.0);
        ip.extend(to.0);
        let sum = checksum(&ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        let bytes = [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0][..], &ip, &tcp].concat();
        let wire_len = bytes.len() as u32;
        self.wire.frames.push(Frame { at: self.at, bytes, wire_len });
        let control = u32::from(flags & (Flags::SYN | Flags::FIN) != 0);
        self.next[side] += payload.len() as u32 + control;
        self.at += MS / 50;
        self
    }
}

/// Of the Internet protocols (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let pairs = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)));
    let mut sum: u32 = pairs.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
