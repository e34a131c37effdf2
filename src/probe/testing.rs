//! Candidates for tests, as a capture would give them.

use super::catalogue::Catalogue;
use super::facts::{ProxyCommand, ProxyHeader, ResponseFacts};
use super::file::{Ends, Example, Proxied};
use super::head::{Glance, Heads, digest};
use super::recognise::Recogniser;
use super::sighting::{Scope, Shape, Sighting};
use super::tap::Habit;
use super::verdict::Recognised;
use crate::flow::{Ending, EndingKind};
use crate::http::{Protocol, State};
use crate::packet::Endpoint;
use crate::tcp::Side;
use crate::time::{FrameId, Mark, Timestamp};
use crate::tls::Handshake;
use std::sync::Arc;

pub(super) const MILLISECOND: i64 = 1_000_000;
pub(super) const SECOND: i64 = 1000 * MILLISECOND;

/// The endpoint written as `ip:port` or `ip`.
pub(super) fn endpoint(text: &str) -> Endpoint {
    let socket: std::net::SocketAddr = match text.parse() {
        Ok(socket) => socket,
        Err(_) => std::net::SocketAddr::new(text.parse().unwrap(), 40_000),
    };
    match socket.ip() {
        std::net::IpAddr::V4(ip) => Endpoint::v4(ip.octets(), socket.port()),
        std::net::IpAddr::V6(ip) => Endpoint::v6(ip.octets(), socket.port()),
    }
}

/// Feeds candidates to a recogniser and keeps what comes out.
pub(super) struct Scene {
    heads: Heads,
    recogniser: Recogniser,
    pub(super) out: Vec<Recognised>,
    frames: u64,
    flows: u64,
    /// Nanoseconds for which a client waits for an answer to its SYN.
    pub(super) waits: i64,
    pub(super) source: Endpoint,
    pub(super) target: Endpoint,
}

impl Scene {
    pub(super) fn new() -> Scene {
        Scene::with(Catalogue::built_in().unwrap())
    }

    pub(super) fn with(catalogue: Arc<Catalogue>) -> Scene {
        Scene {
            heads: Heads::new(Arc::clone(&catalogue)),
            recogniser: Recogniser::new(catalogue),
            out: Vec::new(),
            frames: 0,
            flows: 0,
            waits: 0,
            source: endpoint("10.0.0.5"),
            target: endpoint("10.0.0.9:8080"),
        }
    }

    pub(super) fn from(&mut self, source: &str) -> &mut Scene {
        self.source = endpoint(source);
        self
    }

    pub(super) fn to(&mut self, target: &str) -> &mut Scene {
        self.target = endpoint(target);
        self
    }

    fn mark(&mut self, at: i64) -> Mark {
        self.frames += 1;
        Mark { frame: FrameId::new(0, self.frames), at: Timestamp(at) }
    }

    /// A connection of the given shape that begins at `at` and is closed after `lasts`.
    pub(super) fn connection(&mut self, shape: Shape, at: i64, lasts: i64) -> Sighting {
        self.flows += 1;
        let mut sighting = Sighting {
            flow: self.flows,
            source: Endpoint { port: 30_000 + (self.flows % 30_000) as u16, ..self.source },
            target: self.target,
            shape,
            ..Sighting::default()
        };
        let first = self.mark(at);
        sighting.marks.first = first;
        sighting.marks.syn = Some(first);
        sighting.marks.syns = 1;
        if shape == Shape::Unanswered {
            // Repeated after 1 s, 2 s and so on.
            let repeated = |syns: u32| ((1 << syns) - 1) * SECOND;
            let syns = (1..7).take_while(|syns| repeated(*syns) < self.waits).count();
            sighting.marks.syns += syns as u16;
            sighting.marks.last_syn = Some(self.mark(at + repeated(syns as u32)));
        }
        if shape.is_accepted() {
            sighting.marks.syn_ack = Some(self.mark(at + MILLISECOND));
            if !matches!(shape, Shape::HandshakeReset | Shape::HalfOpen) {
                sighting.marks.ack = Some(self.mark(at + MILLISECOND));
            }
        }
        let end = self.mark(at + MILLISECOND + lasts);
        let (side, kind) = match shape {
            Shape::Refused => (Side::Server, EndingKind::Rst),
            Shape::ServerClosed => (Side::Server, EndingKind::Fin),
            Shape::HandshakeReset | Shape::HalfOpen | Shape::ConnectReset => {
                (Side::Client, EndingKind::Rst)
            }
            _ => (Side::Client, EndingKind::Fin),
        };
        sighting.marks.last = end;
        if !matches!(shape, Shape::Unanswered | Shape::ConnectOpen | Shape::Abandoned) {
            close(&mut sighting, end, side, kind);
        }
        sighting
    }

    /// An exchange with a connection of its own; `None` when the tap would not let it through.
    pub(super) fn exchange(&mut self, head: &str, at: i64, status: u16) -> Option<Sighting> {
        let head = format!("{}\r\n", head.trim_start_matches('\n').replace('\n', "\r\n"));
        let glance =
            self.heads.glance(self.source.ip, head.as_bytes(), digest(head.as_bytes()), true);
        let Glance::Candidate(facts) = glance else {
            self.recogniser.habit(self.source, self.target, Habit::Users);
            return None;
        };
        let mut sighting = self.connection(Shape::Data, at, 5 * MILLISECOND);
        sighting.protocol = Protocol::Http1;
        sighting.request = Some(facts);
        sighting.ordinal = 1;
        sighting.request_len = head.len() as u64;
        sighting.request_complete = true;
        sighting.state = State::Answered;
        sighting.payload = [head.len() as u64, 100];
        sighting.marks.request_first = Some(self.mark(at + MILLISECOND));
        sighting.marks.request_last = sighting.marks.request_first;
        sighting.marks.response_first = Some(self.mark(at + 3 * MILLISECOND));
        sighting.marks.response_last = sighting.marks.response_first;
        sighting.response = Some(Box::new(ResponseFacts {
            status: Some(status),
            body: 2,
            head_len: 98,
            sent: 100,
            head_complete: true,
            complete: true,
            ..ResponseFacts::default()
        }));
        Some(sighting)
    }

    pub(super) fn sight(&mut self, sighting: Sighting) {
        let out = &mut self.out;
        self.recogniser.sight(sighting, &mut |recognised| out.push(recognised));
    }

    /// The same exchange at these times, each on a connection of its own.
    pub(super) fn asks(&mut self, head: &str, times: impl IntoIterator<Item = i64>) -> &mut Scene {
        for at in times {
            if let Some(sighting) = self.exchange(head, at, 200) {
                self.sight(sighting);
            }
        }
        self
    }

    /// The same exchange at these times, all on one connection.
    pub(super) fn asks_on_one(
        &mut self,
        head: &str,
        times: impl IntoIterator<Item = i64>,
    ) -> &mut Scene {
        let flow = self.flows + 1;
        for (turn, at) in times.into_iter().enumerate() {
            if let Some(mut sighting) = self.exchange(head, at, 200) {
                sighting.flow = flow;
                sighting.source.port = 50_000;
                sighting.scope = Scope::Exchange;
                sighting.ordinal = turn as u32 + 1;
                sighting.endings = [None, None];
                sighting.closed_by = None;
                self.sight(sighting);
            }
        }
        self
    }

    pub(super) fn connects(
        &mut self,
        shape: Shape,
        times: impl IntoIterator<Item = i64>,
    ) -> &mut Scene {
        for at in times {
            let sighting = self.connection(shape, at, 0);
            self.sight(sighting);
        }
        self
    }

    pub(super) fn habit(&mut self, habit: Habit) -> &mut Scene {
        self.recogniser.habit(self.source, self.target, habit);
        self
    }

    pub(super) fn failed_request(&mut self, client: Endpoint, asked: Timestamp, over: Timestamp) {
        self.recogniser.failed_request(client, asked, over);
    }

    pub(super) fn may_yet_be_checks(&self, now: Timestamp) -> bool {
        self.recogniser.may_yet_be_checks(self.source, self.target, now)
    }

    /// What in a head speaks for a check and against one.
    pub(super) fn signs(&self, facts: &super::facts::RequestFacts) -> super::evidence::EvidenceSet {
        self.heads.signs(facts)
    }

    pub(super) fn unweighed(&self) -> super::Unweighed {
        self.recogniser.unweighed()
    }

    pub(super) fn finish(&mut self) -> &[Recognised] {
        let out = &mut self.out;
        self.recogniser.finish(&mut |recognised| out.push(recognised));
        &self.out
    }

    /// Plays an example of a file of probers.
    pub(super) fn play(&mut self, example: &Example) {
        if let Some(source) = &example.source {
            self.from(source);
        }
        if let Some(target) = &example.target {
            self.to(target);
        }
        let times: Vec<f64> = match example.every {
            Some(every) => (0..12).map(|turn| f64::from(turn) * every).collect(),
            None => std::iter::once(0.0)
                .chain(example.steps.iter().scan(0.0, |at, step| {
                    *at += step;
                    Some(*at)
                }))
                .collect(),
        };
        for at in times {
            let at = (at * 1e9) as i64;
            let mut sighting = match (&example.request, &example.payload) {
                (Some(request), _) => self.exchange(request, at, 200).expect("a user's head"),
                (None, Some(payload)) => {
                    let mut sighting = self.connection(Shape::Data, at, 5 * MILLISECOND);
                    let bytes = payload.bytes();
                    let data = [example.data.then_some(sighting.marks.first), None];
                    let tls = || Arc::new(Handshake { data, ..Handshake::default() });
                    sighting.tls = bytes.starts_with(&[22, 3]).then(tls);
                    sighting.payload = [bytes.len() as u64, 10];
                    sighting.opening = bytes.into();
                    sighting.marks.request_first = Some(self.mark(at + MILLISECOND));
                    sighting
                }
                (None, None) => {
                    let shape = example.shape.expect("an example says what it shows");
                    self.connection(shape, at, 0)
                }
            };
            if example.rides {
                sighting.marks.ack = sighting.marks.request_first;
            }
            let end = sighting.marks.last;
            match example.ends {
                Some(Ends::Rst) => close(&mut sighting, end, Side::Client, EndingKind::Rst),
                Some(Ends::ServerFirst) => close(&mut sighting, end, Side::Server, EndingKind::Fin),
                _ => {}
            }
            let own = sighting.source;
            sighting.proxy = example.proxy.map(|how| ProxyHeader {
                version: if how == Proxied::Local { 2 } else { 1 },
                command: match how {
                    Proxied::Local => ProxyCommand::Local,
                    Proxied::SameTwice => ProxyCommand::Proxy(own, own),
                    _ => ProxyCommand::Proxy(own, sighting.target),
                },
            });
            if sighting.proxy.is_some() && sighting.request.is_none() {
                sighting.opening = Box::default();
            }
            self.sight(sighting);
        }
    }
}

fn close(sighting: &mut Sighting, mark: Mark, side: Side, kind: EndingKind) {
    sighting.closed_by = Some(side);
    sighting.endings[side as usize] = Some(Ending::example(mark, side, kind));
}

/// Times from zero on, this many seconds apart.
pub(super) fn every(seconds: f64, count: i64) -> impl Iterator<Item = i64> + Clone {
    (0..count).map(move |turn| (turn as f64 * seconds * 1e9) as i64)
}

/// Times with gaps that look random, around this many seconds.
pub(super) fn irregular(seconds: f64, count: usize, seed: u64) -> Vec<i64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut at = 0.0;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let random = (state >> 11) as f64 / (1_u64 << 53) as f64;
            at += -(1.0 - random).ln() * seconds;
            (at * 1e9) as i64
        })
        .collect()
}
