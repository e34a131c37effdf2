//! Makes candidate checks of the flows and exchanges that the engine sees.
//!
//! Users' traffic has to pass here at next to no cost. So a connection is watched by a few bytes
//! until something on it may be a check: its first request is looked at; what repeats it is a
//! candidate like it; a connection on which other requests follow is a user's, and from then on
//! only requests whose User-Agent names a prober count, and those that a forwarding proxy does
//! not forward.

use super::catalogue::Catalogue;
use super::evidence::Evidence;
use super::facts::{ProxyHeader, RequestFacts, ResponseFacts};
use super::head::{Glance, Heads, digest};
use super::opening::proxy_header;
use super::sighting::{ANSWER_KEPT, OPENING_KEPT, Scope, Shape, Sighting};
use super::texts::Texts;
use crate::blind::{BlindSpot, BlindSpots};
use crate::flow::{EndingKind, Flow};
use crate::http::{Exchange, Protocol, State};
use crate::packet::Address;
use crate::tcp::Side;
use crate::time::Mark;
use memchr::memmem::Finder;
use std::hint::black_box;
use std::sync::Arc;

/// Payload bytes `[client, server]` past which a connection without HTTP/1 is no check: a TLS
/// handshake with long certificate chains and a page stay below.
const OPAQUE_MAX: [u64; 2] = [1 << 14, 1 << 18];

/// What traffic tells of its source, whether it is a candidate or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// It sends what users send.
    Users,
    /// It sends requests that it forwards for others.
    Forwards,
}

/// Receives what the tap finds.
pub(crate) trait Sightings {
    /// A candidate check.
    fn sighting(&mut self, sighting: Sighting);
    /// A habit of the client of `flow`; at most once per connection and habit.
    fn habit(&mut self, flow: &Flow, habit: Habit);
}

/// Watches all connections.
#[derive(Debug)]
#[expect(clippy::vec_box, reason = "they are lent as boxes, which must not be made anew")]
pub(crate) struct Tap {
    heads: Heads,
    forwarded: Finder<'static>,
    /// Candidates whose connection has to be looked at before they are given out.
    ready: Vec<Asked>,
    texts: Texts,
    /// Room for what is kept of connections: as many begin as end.
    spare: Vec<Box<Held>>,
    /// Habits of the connection at hand.
    habits: u8,
}

/// What is kept of one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    held: Option<Box<Held>>,
    /// Hash of its first request.
    first: u32,
    /// [`SEEN`] and others.
    flags: u8,
}

/// Requests of one connection from which they may be too fast for checks.
const BUSY_ORDINAL: u32 = 32;
/// A client that asks again so soon, nanoseconds, is no health checker.
const BUSY_IDLE: i64 = 20_000_000;

/// Rooms that wait for the next connection on which something may be a check.
const SPARE_MAX: usize = 16;

/// A request was seen.
const SEEN: u8 = 1;
/// Its requests differ, or are a user's.
const USERS: u8 = 2;
/// A proxy forwards requests on it.
const FORWARDS: u8 = 4;

/// What is kept of a connection on which something may be a check.
#[derive(Clone, Debug, Default)]
struct Held {
    opening: Box<[u8]>,
    answer: Box<[u8]>,
    proxy: Option<ProxyHeader>,
    /// The candidate that waits for what follows it.
    asked: Option<Asked>,
}

/// A candidate without what its connection tells: small, as closed connections wait for a while.
#[derive(Clone, Debug)]
struct Asked {
    ordinal: u32,
    state: State,
    blind_spots: BlindSpots,
    facts: Arc<RequestFacts>,
    /// First and last packet of the request.
    request: (Mark, Mark),
    request_len: u64,
    request_complete: bool,
    /// First and last packet of the response.
    response: Option<(Mark, Mark, ResponseFacts)>,
}

impl Tap {
    pub(crate) fn new(catalogue: Arc<Catalogue>) -> Tap {
        Tap {
            heads: Heads::new(catalogue),
            forwarded: Finder::new(b"orwarded"),
            ready: Vec::new(),
            texts: Texts::default(),
            spare: Vec::new(),
            habits: 0,
        }
    }

    /// Takes the first bytes of a stream of which `protocol` is known so far; `proxied` says that a
    /// PROXY header came.
    #[inline]
    pub(crate) fn bytes(
        &mut self,
        watch: &mut Watch,
        side: Side,
        offset: u64,
        bytes: &[u8],
        (protocol, proxied): (Protocol, bool),
    ) {
        let kept = if side == Side::Client { OPENING_KEPT } else { ANSWER_KEPT } as u64;
        if offset < kept && (protocol != Protocol::Http1 || (proxied && side == Side::Client)) {
            watch.keep(side, offset, &bytes[..bytes.len().min((kept - offset) as usize)]);
        }
    }

    /// Takes an exchange that nothing can change any more. `doubtful` says that the response may
    /// belong to another request.
    pub(crate) fn exchange(
        &mut self,
        watch: &mut Watch,
        source: Address,
        exchange: &Exchange,
        doubtful: bool,
    ) {
        let Some(request) = &exchange.request else { return };
        let head = request.head.as_slice();
        if watch.flags & USERS != 0 {
            let unforwarded = watch.flags & FORWARDS != 0 && self.forwarded.find(head).is_none();
            if !unforwarded && !self.heads.is_named(head) {
                return;
            }
        }
        let digest = digest(head);
        let again = watch.flags & SEEN != 0 && watch.first == digest as u32;
        if watch.flags & SEEN == 0 {
            watch.first = digest as u32;
            watch.flags |= SEEN;
        } else if !again && watch.flags & USERS == 0 {
            self.note_users(watch, false);
            watch.drop_unnamed();
        }
        let busy = exchange.ordinal > BUSY_ORDINAL
            && exchange.idle_before.is_some_and(|idle| idle < BUSY_IDLE)
            && watch.flags & USERS == 0
            && !self.heads.is_named(head);
        if busy {
            self.note_users(watch, false);
            return watch.drop_unnamed();
        }
        match self.heads.glance(source, head, digest, request.head_complete) {
            Glance::User { forwarded } => self.note_users(watch, forwarded),
            Glance::Candidate(facts) => {
                if watch.flags & USERS != 0 && !stands_out(&facts) {
                    return;
                }
                if facts.is_forwarded() {
                    self.note_users(watch, true);
                }
                let response = exchange
                    .response
                    .as_ref()
                    .map(|response| (response.first, response.last, self.texts.facts(response)));
                let mut asked = Asked {
                    ordinal: exchange.ordinal,
                    state: exchange.state,
                    blind_spots: exchange.blind_spots,
                    facts,
                    request: (request.first, request.last),
                    request_len: request.end - request.start,
                    request_complete: request.complete,
                    response,
                };
                if doubtful {
                    asked.state = State::Unknown;
                    asked.blind_spots.add(BlindSpot::Gap);
                }
                let spare = || self.spare.pop().unwrap_or_default();
                let held = watch.held.get_or_insert_with(spare);
                self.ready.extend(held.asked.replace(asked));
            }
        }
    }

    fn note_users(&mut self, watch: &mut Watch, forwarded: bool) {
        let fresh = (USERS | if forwarded { FORWARDS } else { 0 }) & !watch.flags;
        watch.flags |= fresh;
        self.habits |= fresh;
    }

    /// Takes back the room of what was kept of a connection.
    fn recycle(&mut self, held: Option<Box<Held>>) {
        if let Some(mut held) = held.filter(|_| self.spare.len() < SPARE_MAX) {
            *held = Held::default();
            self.spare.push(held);
        }
    }

    /// Whether [`Tap::give`] has something to do.
    #[inline]
    pub(crate) fn is_ready(&self) -> bool {
        !self.ready.is_empty() || self.habits != 0
    }

    /// Gives out what is ready, of the connection `flow`.
    pub(crate) fn give(&mut self, watch: &Watch, flow: &Flow, out: &mut impl Sightings) {
        let habits = std::mem::take(&mut self.habits);
        for (flag, habit) in [(USERS, Habit::Users), (FORWARDS, Habit::Forwards)] {
            if habits & flag != 0 {
                out.habit(flow, habit);
            }
        }
        for asked in self.ready.drain(..) {
            let mut sighting = asked.sighting(Scope::Exchange);
            watch.complete(&mut sighting, flow);
            out.sighting(sighting);
        }
    }

    /// The last candidate of a connection that is still open, as what it is if nothing follows.
    pub(crate) fn peek(&self, watch: &Watch, flow: &Flow, out: &mut impl Sightings) {
        if let Some(asked) = watch.held.as_ref().and_then(|held| held.asked.as_ref()) {
            let mut sighting = asked.clone().sighting(Scope::Exchange);
            watch.complete(&mut sighting, flow);
            out.sighting(sighting);
        }
    }

    /// The connection is over.
    pub(crate) fn conclude(&mut self, mut watch: Watch, flow: &Flow, out: &mut impl Sightings) {
        if self.is_ready() {
            self.give(&watch, flow, out);
        }
        let asked = watch.held.as_mut().and_then(|held| held.asked.take());
        if let Some(asked) = asked {
            let scope = if flow.requests <= 1 { Scope::Connection } else { Scope::Exchange };
            let mut sighting = asked.sighting(scope);
            watch.complete(&mut sighting, flow);
            sighting.close(flow);
            out.sighting(sighting);
            self.recycle(watch.held);
            return;
        }
        // Checks in TLS ask once on a connection, or at least for little.
        let users = flow.tls.as_ref().is_some_and(|tls| tls.turns > 1 || !may_be_check(flow));
        if users && watch.flags & USERS == 0 {
            out.habit(flow, Habit::Users);
        }
        if flow.requests > 0 || flow.opening.syn.is_none() || !may_be_check(flow) {
            return;
        }
        let mut sighting = Sighting::default();
        watch.complete(&mut sighting, flow);
        sighting.marks.request_first = flow.opening.asked;
        sighting.marks.request_last = flow.half(Side::Client).last_data;
        sighting.marks.response_first = flow.opening.answered;
        sighting.marks.response_last = flow.half(Side::Server).last_data;
        sighting.close(flow);
        out.sighting(sighting);
    }
}

/// Whether a connection without HTTP/1 may be a check.
fn may_be_check(flow: &Flow) -> bool {
    let sent = [Side::Client, Side::Server].map(|side| flow.half(side).sent);
    sent[0] <= OPAQUE_MAX[0]
        && sent[1] <= OPAQUE_MAX[1]
        && !matches!(flow.protocol, Protocol::Http2 | Protocol::Upgraded)
        && Shape::of(flow) != Shape::Unseen
}

/// Whether a request counts even among those of users.
fn stands_out(facts: &RequestFacts) -> bool {
    facts.named || facts.signs.has(Evidence::PathStrong) || facts.signs.has(Evidence::OptionsRoot)
}

impl Watch {
    /// Whether something on the connection may be a check.
    pub(crate) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Has the processor fetch what is kept.
    pub(crate) fn warm(&self) {
        if let Some(held) = &self.held {
            let asked = held.asked.as_ref();
            black_box((
                held.proxy.is_some(),
                asked.map(|asked| (asked.ordinal, asked.request_len)),
            ));
        }
    }

    /// Keeps first bytes that are no HTTP/1.
    fn keep(&mut self, side: Side, offset: u64, bytes: &[u8]) {
        let held = self.held.get_or_insert_default();
        let kept = match side {
            Side::Client => &mut held.opening,
            Side::Server => &mut held.answer,
        };
        if kept.len() as u64 == offset {
            *kept = [kept, bytes].concat().into();
        }
        if side == Side::Client && held.proxy.is_none() {
            held.proxy = proxy_header(&held.opening).map(|(header, _)| header);
        }
    }

    /// Forgets the candidate unless it stands out: others follow that are a user's.
    fn drop_unnamed(&mut self) {
        if let Some(held) = &mut self.held
            && let Some(asked) = &held.asked
            && !stands_out(&asked.facts)
        {
            held.asked = None;
        }
    }

    /// Adds what the connection tells.
    fn complete(&self, sighting: &mut Sighting, flow: &Flow) {
        sighting.flow = flow.id;
        sighting.stream = flow.stream;
        sighting.source = flow.client;
        sighting.target = flow.server;
        sighting.tunnel = flow.tunnel;
        sighting.shape = Shape::of(flow);
        sighting.icmp = flow.icmp.first().copied();
        sighting.payload = [Side::Client, Side::Server].map(|side| flow.half(side).sent);
        sighting.protocol = flow.protocol;
        sighting.tls.clone_from(&flow.tls);
        if sighting.request.is_some() {
            sighting.protocol = Protocol::Http1;
        }
        sighting.rtt = flow.rtt;
        sighting.round_trip = flow.opening.round_trip();
        sighting.vantage = flow.vantage;
        sighting.blind_spots = sighting.blind_spots.with(flow.blind_spots);
        let marks = &mut sighting.marks;
        let opening = &flow.opening;
        (marks.syn, marks.last_syn, marks.syns) = (opening.syn, opening.last_syn(), opening.syns);
        (marks.syn_ack, marks.ack) = (opening.syn_ack, opening.ack);
        marks.last = flow.last;
        marks.first = match sighting.scope {
            Scope::Connection => flow.first,
            Scope::Exchange => marks.request_first.unwrap_or(flow.first),
        };
        if let Some(held) = &self.held {
            if sighting.request.is_none() {
                let skip = proxy_header(&held.opening).map_or(0, |(_, length)| length);
                sighting.opening = held.opening.get(skip..).unwrap_or_default().into();
                sighting.answer = held.answer.clone();
            }
            sighting.proxy = held.proxy;
        }
    }
}

impl Sighting {
    /// Adds how the connection ended.
    fn close(&mut self, flow: &Flow) {
        let last = self.marks.response_last.or(self.marks.request_last);
        for side in [Side::Client, Side::Server] {
            // What closes the connection long after a kept-alive exchange is no part of it.
            self.endings[side as usize] =
                flow.endings.iter().find(|ending| ending.side == side).copied();
        }
        self.closed_by = flow.closed_first().map(|first| first.side);
        self.gone = self.endings[Side::Client as usize]
            .is_some_and(|end| end.kind == EndingKind::Fin)
            && flow.endings.iter().any(|ending| {
                ending.side == Side::Client && ending.kind == EndingKind::Rst && !ending.ack_flag
            });
        self.marks.last = flow.last;
        if self.scope == Scope::Exchange && self.response_complete() {
            let after = |at: i64| last.is_none_or(|last| at > last.at.0.saturating_add(LINGER));
            for ending in &mut self.endings {
                *ending = ending.filter(|ending| !after(ending.mark.at.0));
            }
            let first = self
                .endings
                .iter()
                .flatten()
                .min_by_key(|ending| (ending.mark.at, ending.mark.frame));
            self.closed_by = first.map(|first| first.side);
        }
    }

    fn response_complete(&self) -> bool {
        self.response.as_ref().is_some_and(|response| response.complete)
    }
}

/// Time after a complete answer on a kept connection within which its close belongs to it,
/// nanoseconds.
const LINGER: i64 = 1_000_000_000;

impl Asked {
    fn sighting(self, scope: Scope) -> Sighting {
        let mut sighting = Sighting {
            scope,
            ordinal: self.ordinal,
            state: self.state,
            blind_spots: self.blind_spots,
            request: Some(self.facts),
            request_len: self.request_len,
            request_complete: self.request_complete,
            ..Sighting::default()
        };
        let marks = &mut sighting.marks;
        (marks.request_first, marks.request_last) = (Some(self.request.0), Some(self.request.1));
        if let Some((first, last, facts)) = self.response {
            (marks.response_first, marks.response_last) = (Some(first), Some(last));
            sighting.response = Some(Box::new(facts));
        }
        sighting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_costs_sixteen_bytes() {
        assert!(size_of::<Watch>() <= 16, "{}", size_of::<Watch>());
    }
}
