//! Packets of connections at two places, for tests.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

use super::clocks::clocks;
use super::point::{Landmark, Point};
use super::refused::refusals;
use super::retell::{Elsewhere, retell};
use crate::blind::BlindSpots;
use crate::cause::{Confidence, Evidence, Finding, Kind, Responsible, What, by_id};
use crate::flow::Vantage;
use crate::packet::Endpoint;
use crate::tcp::Side;
use crate::time::{FrameId, Mark, Timestamp};
use crate::words::Phrase;

/// What lies between two places: the one at the clients, the other nearer to the servers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    /// Nanoseconds that a packet takes.
    pub(super) delay: i64,
    /// What the clock at the servers is ahead, nanoseconds.
    pub(super) ahead: i64,
    /// By how much that changes, nanoseconds in a second.
    pub(super) drift: f64,
    /// Routers.
    pub(super) hops: u8,
    /// The server's address at the servers, where it is translated, and the client's.
    pub(super) nat: Option<(Endpoint, Endpoint)>,
}

impl Path {
    pub(super) fn new(delay: i64, ahead: i64) -> Path {
        Path { delay, ahead, drift: 0.0, hops: 0, nat: None }
    }

    /// The clock at the servers.
    pub(super) fn there(&self, at: i64) -> i64 {
        at + self.ahead + (self.drift * at as f64 / 1e9) as i64
    }
}

/// Two places and what was captured at them.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) path: Path,
    pub(super) clients: Point,
    pub(super) servers: Point,
    frames: [u64; 2],
}

pub(super) const SYN: u8 = 0x02;
pub(super) const SYN_ACK: u8 = 0x12;
pub(super) const RST: u8 = 0x14;
pub(super) const FIN: u8 = 0x11;

impl Places {
    pub(super) fn new(path: Path) -> Places {
        Places { path, clients: Point::default(), servers: Point::default(), frames: [0; 2] }
    }

    /// A packet at the clients' place at `at`; `up`: from the client.
    pub(super) fn at_clients(&mut self, n: u16, at: i64, up: bool, flags: u8) -> Mark {
        let ttl = if up { 64 } else { 64 - self.path.hops };
        self.frames[0] += 1;
        let mark = mark(0, self.frames[0], at);
        let ends = (client(n), SERVER);
        self.clients.add(landmark(mark, ends, up, flags, ttl, at));
        mark
    }

    /// A packet at the servers' place, which at the clients' is at `at`.
    pub(super) fn at_servers(&mut self, n: u16, at: i64, up: bool, flags: u8) -> Mark {
        let ttl = if up { 64 - self.path.hops } else { 64 };
        let moved = if up { at + self.path.delay } else { at - self.path.delay };
        self.frames[1] += 1;
        let mark = mark(1, self.frames[1], self.path.there(moved));
        let ends = match self.path.nat {
            Some((source, server)) => (Endpoint { port: 20_000 + n, ..source }, server),
            None => (client(n), SERVER),
        };
        self.servers.add(landmark(mark, ends, up, flags, ttl, at));
        mark
    }

    pub(super) fn both(&mut self, n: u16, at: i64, up: bool, flags: u8) {
        self.at_clients(n, at, up, flags);
        self.at_servers(n, at, up, flags);
    }

    /// A connection that opens and ends.
    pub(super) fn whole(&mut self, n: u16, at: i64) {
        let answered = at + 3 * self.path.delay;
        self.both(n, at, true, SYN);
        self.both(n, answered, false, SYN_ACK);
        self.both(n, answered + 1_000_000, true, FIN);
        self.both(n, answered + 2_000_000 + 3 * self.path.delay, false, FIN);
    }
}

pub(super) const SERVER: Endpoint =
    Endpoint { ip: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 2], port: 80 };

pub(super) fn client(n: u16) -> Endpoint {
    Endpoint::v4([10, 0, 0, 1], 40_000 + n)
}

pub(super) fn mark(file: u32, number: u64, at: i64) -> Mark {
    Mark { frame: FrameId::new(file, number), at: Timestamp(at) }
}

/// Sequence numbers follow from the connection, so that no two packets are alike.
fn landmark(
    mark: Mark,
    (client, server): (Endpoint, Endpoint),
    up: bool,
    flags: u8,
    ttl: u8,
    at: i64,
) -> Landmark {
    let seed = u32::from(client.port % 20_000).wrapping_mul(0x9e37_79b1);
    let (mine, its) = (seed, seed.rotate_left(16) ^ 0x5bd1);
    let syn = u32::from(flags & 0x02 == 0);
    let (src, dst, seq, ack) = match up {
        true => (client, server, mine + syn, its.wrapping_add(1)),
        false => (server, client, its.wrapping_add(syn), mine.wrapping_add(1)),
    };
    let ack = if flags & 0x10 == 0 { 0 } else { ack };
    Landmark { mark, src, dst, seq, ack, flags, clock: Some((at / 1_000_000) as u32), ttl }
}

pub(super) const MS: i64 = 1_000_000;
/// The connection that fails, among others.
pub(super) const N: u16 = 7;

/// Ten connections that work, around one that is made by `with` at 500 ms.
pub(super) fn places(path: Path, with: impl Fn(&mut Places)) -> Places {
    let mut places = Places::new(path);
    for n in 0..5 {
        places.whole(n, i64::from(n) * 90 * MS);
    }
    with(&mut places);
    for n in 10..15 {
        places.whole(n, i64::from(n) * 90 * MS);
    }
    places
}

pub(super) fn finding(id: &str, at: Mark, what: What, server: Endpoint) -> Finding {
    let side = if what == What::Syn { Side::Client } else { Side::Server };
    Finding {
        cause: by_id(id).unwrap(),
        kind: Kind::Connection,
        flow: 1,
        stream: None,
        client: client(N),
        server,
        responsible: Responsible::Unknown,
        confidence: Confidence::Likely,
        vantage: Vantage::Unknown,
        exchange: None,
        evidence: vec![Evidence { mark: at, side, what, note: Phrase::default() }],
        packets: Vec::new(),
        outstanding: None,
        idle_before: None,
        blind_spots: BlindSpots::default(),
        summary: Phrase::default(),
        host: None,
        joined: None,
    }
}

/// What becomes of a finding at one place with the other beside it.
pub(super) fn told(
    finding: &Finding,
    here: &Point,
    there: &Point,
) -> (&'static str, Confidence, usize) {
    let mut finding = finding.clone();
    let clocks = clocks(here, there).unwrap();
    let place = Elsewhere { point: there, clocks: &clocks };
    let frames = retell(&mut finding, here, &[place]);
    refusals(std::slice::from_mut(&mut finding), here, &[place]);
    let own = finding.evidence[0].mark.frame.file();
    assert!(frames.iter().all(|frame| frame.file() != own));
    (finding.cause.id, finding.confidence, frames.len())
}

pub(super) fn paths() -> Vec<Path> {
    let nat = Some((Endpoint::v4([192, 0, 2, 1], 0), Endpoint::v4([10, 9, 9, 9], 8080)));
    let plain = Path::new(2 * MS, 3_000 * MS);
    vec![plain, Path { hops: 2, ..plain }, Path { nat, ..plain }, Path { nat, hops: 1, ..plain }]
}
