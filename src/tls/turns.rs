//! Requests that cannot be read: who sent application data, and whether anything came back.
//!
//! An HTTP/1 connection is a row of turns: the client sends, then the server. The length, direction
//! and time of encrypted records show each turn, and one that was never answered.

use super::record::Record;
use crate::blind::BlindSpot;
use crate::http::{Exchange, Request, Response, State};
use crate::tcp::Side;
use crate::time::Timestamp;

/// Shortest request that is believed: `GET / HTTP/1.0` and two line ends. What is shorter when
/// nothing is outstanding is an alert, a key update or the beginning of a record that was split.
const REQUEST_MIN: usize = 18;
/// Session tickets that are believed after a handshake, each in a record of its own and all of one
/// length. Servers that send more of them seem to answer what they do not.
const TICKETS_MAX: u8 = 2;
/// Lengths of a session ticket's record (measured: 74 to 300 with OpenSSL, Go, rustls; more with
/// client certificates).
const TICKET: std::ops::RangeInclusive<usize> = 60..=4096;

/// A request longer than this has a body, bytes.
const HEAD_LIKELY: u64 = 16 << 10;
/// A pause in a body, nanoseconds; what comes later is another request.
const SAME_REQUEST: i64 = 1_000_000_000;

/// A pause after which a client that has no answer sends another message rather than the rest of
/// its request, nanoseconds.
const NEW_MESSAGE: i64 = 50_000_000;
/// So many of them, and what it speaks needs no answers: it is no HTTP/1.
const ONE_WAY: u8 = 4;

/// Follows the turns of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns {
    current: Option<Box<Exchange>>,
    /// How the one before it ended.
    last: Option<State>,
    ordinal: u32,
    last_byte: Option<Timestamp>,
    /// Bytes that encryption adds to a record, at least.
    overhead: usize,
    expect: Expect,
    /// Length of the server's tickets, as other connections told.
    known: Option<usize>,
    /// Where the server's answer to the current request begins, or what may be one.
    answer: Option<u64>,
    /// That answer is one record, which may be a session ticket.
    doubt: bool,
    /// What seems to be the current request may be the rest of the one before.
    rest: bool,
    /// Messages that the client has sent one after the other without an answer.
    messages: u8,
    /// Part of the connection was not captured, or what it carries is no HTTP/1.
    off: bool,
}

/// Whether records of the server may be session tickets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Expect {
    /// Not, or not any more.
    #[default]
    No,
    /// So many so far, of this length (TLS 1.3, behind the handshake).
    Tickets { length: usize, count: u8 },
}

impl Turns {
    /// The handshake is over at `now`; encryption adds `overhead` bytes to each record.
    pub(super) fn begin(&mut self, now: Timestamp, overhead: usize) {
        self.last_byte = Some(now);
        self.overhead = overhead;
    }

    /// Session tickets may come, of the length that other connections told.
    pub(super) fn expect_tickets(&mut self, known: Option<usize>) {
        self.expect = Expect::Tickets { length: 0, count: 0 };
        self.known = known;
    }

    /// Length of the tickets that came, when it is sure that they are tickets.
    pub(super) fn tickets(&self) -> Option<usize> {
        match self.expect {
            Expect::Tickets { length, count: TICKETS_MAX } => Some(length),
            _ => None,
        }
    }

    /// What follows is not to be read as turns.
    pub(super) fn stop(&mut self) {
        self.off = true;
        self.current = None;
    }

    /// Bytes are missing: what was outstanding may have been answered.
    pub(super) fn gap(&mut self, side: Side, why: BlindSpot, give: &mut dyn FnMut(&Exchange)) {
        self.expect = Expect::No;
        match (&mut self.current, side) {
            // The rest of what has begun.
            (Some(current), Side::Server) if current.response.is_some() => {
                current.blind_spots.add(why);
            }
            (Some(current), _) => {
                current.blind_spots.add(why);
                self.give(State::Unknown, give);
            }
            (None, _) => {}
        }
        self.last_byte = None;
    }

    /// A record of application data of `side`, or more of one; `whole` when it is complete.
    pub(super) fn record(
        &mut self,
        side: Side,
        record: &Record<'_>,
        whole: bool,
        give: &mut dyn FnMut(&Exchange),
    ) {
        if self.off {
            return;
        }
        match side {
            Side::Client => self.asks(record, whole, give),
            Side::Server => self.answers(record, whole),
        }
    }

    fn asks(&mut self, record: &Record<'_>, whole: bool, give: &mut dyn FnMut(&Exchange)) {
        // What its sender sends without having seen the answer belongs to the same request.
        let seen = |start: u64| record.from.acked.is_none_or(|acked| acked > start);
        let answered = self.answer.is_some_and(seen);
        if self.current.is_none() || answered {
            if record.length().saturating_sub(self.overhead) < REQUEST_MIN {
                return;
            }
            let rest = self.may_go_on(record);
            self.give(State::Answered, give);
            self.open(record);
            self.rest = rest;
        }
        let answered = self.answer.is_some();
        if let Some(request) = self.current.as_mut().and_then(|current| current.request.as_mut()) {
            let pause = record.from.mark.at.nanos_since(request.last.at);
            let more = request.end > request.start;
            self.messages +=
                u8::from(more && !answered && pause > NEW_MESSAGE && self.messages < u8::MAX);
            (request.last, request.end, request.complete) = (record.last, record.end, whole);
            self.last_byte = Some(record.last.at);
        }
    }

    /// Whether `record` may be more of a long body that is answered already: a server need not
    /// wait for its end.
    fn may_go_on(&self, record: &Record<'_>) -> bool {
        let request = self.current.as_ref().and_then(|current| current.request.as_ref());
        request.is_some_and(|request| {
            let long = request.end - request.start > HEAD_LIKELY || self.rest;
            long && record.from.mark.at.nanos_since(request.last.at) < SAME_REQUEST
        })
    }

    fn open(&mut self, record: &Record<'_>) {
        self.ordinal += 1;
        self.answer = None;
        (self.doubt, self.messages) = (false, 0);
        let mut exchange = Box::new(Exchange {
            ordinal: self.ordinal,
            idle_before: self.last_byte.map(|last| record.from.mark.at.nanos_since(last)),
            ..Exchange::default()
        });
        exchange.blind_spots.add(BlindSpot::Encrypted);
        exchange.request = Some(Request {
            first: record.from.mark,
            start: record.from.offset,
            acked: record.from.acked,
            head_complete: true,
            ..Request::default()
        });
        self.current = Some(exchange);
    }

    fn answers(&mut self, record: &Record<'_>, whole: bool) {
        let ticket = self.is_ticket(record.length());
        let Some(current) = &mut self.current else {
            self.last_byte = Some(record.last.at);
            return;
        };
        let asked = current.request.as_ref().map_or(0, |request| request.start);
        if record.from.acked.is_some_and(|acked| acked <= asked) {
            // It was sent before the request arrived.
            return;
        }
        self.last_byte = Some(record.last.at);
        self.answer.get_or_insert(record.from.offset);
        self.doubt = current.response.is_none() && ticket;
        if self.doubt {
            return;
        }
        let response = current.response.get_or_insert_with(|| Response {
            first: record.from.mark,
            start: record.from.offset,
            acked: record.from.acked,
            ..Response::default()
        });
        (response.last, response.end, response.complete) = (record.last, record.end, whole);
        // Nobody can read part of a record: until one is whole, the client has no byte of a header.
        response.head_complete |= whole;
    }

    /// Whether a record of the server may be a session ticket.
    fn is_ticket(&mut self, length: usize) -> bool {
        let Expect::Tickets { length: so_far, count } = self.expect else { return false };
        let fits = TICKET.contains(&length) && (count == 0 || so_far == length);
        self.expect = if fits && count < TICKETS_MAX {
            Expect::Tickets { length, count: count + 1 }
        } else {
            Expect::No
        };
        self.expect != Expect::No
    }

    /// The connection is over. `torn` says that the server's stream stops inside a record.
    pub(super) fn finish(&mut self, torn: bool, give: &mut dyn FnMut(&Exchange)) {
        let Some(current) = &self.current else { return };
        let sure = match self.expect {
            Expect::Tickets { length, .. } => {
                self.tickets().is_some() || self.known == Some(length)
            }
            Expect::No => false,
        };
        let state = match (&current.response, self.doubt) {
            (Some(_), _) if torn => State::Cut,
            (Some(_), _) => State::Answered,
            // A single record that nothing tells to be a ticket may be the answer.
            (None, true) if !sure => State::Unknown,
            (None, _) if self.rest || self.messages >= ONE_WAY => State::Unknown,
            (None, _) => State::Unanswered,
        };
        self.give(state, give);
    }

    /// Requests so far.
    pub(super) fn count(&self) -> u32 {
        self.ordinal
    }

    /// How the last request ended.
    pub(super) fn last(&self) -> Option<State> {
        self.last
    }

    /// When the last byte came that belongs to a request or an answer.
    pub(super) fn last_byte(&self) -> Option<Timestamp> {
        self.last_byte.filter(|_| !self.off)
    }

    fn give(&mut self, state: State, give: &mut dyn FnMut(&Exchange)) {
        if let Some(mut exchange) = self.current.take() {
            exchange.state = state;
            self.last = Some(state);
            give(&exchange);
        }
    }
}
