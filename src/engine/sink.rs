//! Where the bytes of a connection go.

use super::suspicion::{is_unknown, mispaired, worth_a_look};
use super::{Counts, Options, Shared, Talk, leave_open};
use crate::blind::BlindSpot;
use crate::http::{Conversation, Exchange, Pool, State};
use crate::join::legs::{Leg, Roles, speaks_for_others};
use crate::join::log::Seen;
use crate::over_time::OverTime;
use crate::packet::{Address, Endpoint};
use crate::probe::{OPENING_KEPT, Tap};
use crate::tcp::{At, Connection, Side, StreamSink};
use crate::tls::{Inner, KeyLog, Session, Tickets};

/// Hands what TCP has put in order to HTTP, and keeps the exchanges that are worth a look.
pub(super) struct Sink<'a> {
    pub(super) talk: &'a mut Talk,
    fresh: &'a mut Vec<Exchange>,
    pool: &'a mut Pool,
    counts: &'a mut Counts,
    undecided: &'a mut Vec<(u64, u32)>,
    requests: &'a mut OverTime,
    roles: &'a Roles,
    legs: &'a mut Vec<Leg>,
    tap: Option<&'a mut Tap>,
    keys: &'a KeyLog,
    tickets: &'a mut Tickets,
    /// [`Flow::id`](crate::flow::Flow::id) of the connection.
    flow: u64,
    /// Who accepted it.
    server: Endpoint,
    /// Address of the client.
    source: Address,
    options: Options,
    seen: &'a mut Vec<Seen>,
    /// Whatever is answered from now on may come too late.
    pub(super) too_late: bool,
}

impl Shared {
    /// Where the bytes of a connection go.
    pub(super) fn sink<'a>(
        &'a mut self,
        keys: &'a KeyLog,
        options: Options,
        connection: &Connection,
        talk: &'a mut Talk,
    ) -> Sink<'a> {
        Sink {
            too_late: connection.may_be_too_late(),
            options,
            talk,
            seen: &mut self.seen,
            fresh: &mut self.fresh,
            pool: &mut self.pool,
            counts: &mut self.counts,
            undecided: &mut self.undecided,
            flow: connection.flow.id,
            requests: &mut self.requests,
            roles: &self.roles,
            legs: &mut self.legs,
            tap: self.tap.as_mut(),
            keys,
            tickets: &mut self.tickets,
            server: connection.flow.server,
            source: connection.flow.client.ip,
        }
    }
}

impl Sink<'_> {
    /// The TLS and the conversation of the connection, and where exchanges go.
    fn parts(
        &mut self,
    ) -> (
        &mut Option<Box<Session>>,
        &mut Tickets,
        &mut Conversation,
        &mut Pool,
        impl FnMut(&Exchange),
    ) {
        let Sink {
            talk,
            fresh,
            pool,
            counts,
            undecided,
            flow,
            requests,
            roles,
            legs,
            tap,
            source,
            server,
            options,
            seen,
            too_late,
            tickets,
            ..
        } = self;
        let Talk { conversation, longest_wait, client_gap, watch, tls, .. } = &mut **talk;
        let mut tap = tap.as_deref_mut();
        let keep = move |exchange: &Exchange| {
            let readable = !exchange.blind_spots.has(BlindSpot::Encrypted);
            let asked = u64::from(readable && exchange.request.is_some());
            counts.exchanges += asked;
            counts.encrypted += u64::from(!readable);
            if let Some(request) = &exchange.request {
                requests.add(request.first.at);
            }
            let mispaired = *client_gap && mispaired(exchange);
            if !mispaired && (roles.may_be_leg(*source, *server) || speaks_for_others(exchange)) {
                legs.extend(Leg::of(exchange));
            }
            if let Some(tap) = &mut tap
                && readable
            {
                tap.exchange(watch, *source, exchange, mispaired);
            }
            if mispaired || is_unknown(exchange, *too_late) {
                if asked > 0 {
                    leave_open(counts, undecided, (*flow, exchange.ordinal));
                }
            } else if let (Some(request), Some(response), false) =
                (&exchange.request, &exchange.response, *too_late)
            {
                let wait = response.first.at.nanos_since(request.last.at);
                *longest_wait = (*longest_wait).max(wait);
            }
            let unknown = mispaired || exchange.state == State::Unknown;
            if options.logs && readable {
                let state = if mispaired { State::Unknown } else { exchange.state };
                seen.extend(Seen::of(*flow, exchange, state));
            }
            // Of a request that is left open a line may tell what came of it.
            let all = readable && (options.exchanges || (options.logs && unknown));
            if all || (!mispaired && worth_a_look(exchange, *too_late)) {
                let mut exchange = exchange.clone();
                if mispaired {
                    exchange.state = State::Unknown;
                    exchange.blind_spots.add(BlindSpot::Gap);
                }
                fresh.push(exchange);
            }
        };
        (tls, tickets, conversation, pool, keep)
    }

    /// Calls `tls` where the connection carries TLS, else `plain`.
    fn with(
        &mut self,
        tls: impl FnOnce(&mut Session, &mut Inner<'_>),
        plain: impl FnOnce(&mut Conversation, &mut Pool, &mut dyn FnMut(&Exchange)),
    ) {
        let (log, server) = (self.keys, self.server);
        let (session, tickets, conversation, pool, mut keep) = self.parts();
        match session {
            Some(session) => {
                tls(
                    session,
                    &mut Inner { log, tickets, server, conversation, pool, give: &mut keep },
                );
            }
            None => plain(conversation, pool, &mut keep),
        }
    }

    /// Gives up what the flow waits for.
    pub(super) fn release(&mut self) {
        self.with(
            |tls, inner| tls.release(inner),
            |conversation, pool, keep| conversation.release(pool, keep),
        );
    }

    pub(super) fn finish(&mut self) {
        self.with(
            |tls, inner| tls.finish(inner),
            |conversation, pool, keep| conversation.finish(pool, keep),
        );
    }

    /// The latest bytes of `side` told that the connection carries TLS: begins to read it.
    #[cold]
    fn begin_tls(&mut self, side: Side, at: At, bytes: &[u8], from: u64) {
        let hello = side == Side::Client && matches!(bytes, [HANDSHAKE, _, _, _, _, 1, ..]);
        let midway = self.talk.conversation.is_midway() && !hello;
        let session = if midway { Session::midway() } else { Session::new() };
        self.talk.tls = Some(Box::new(session));
        match from.checked_sub(at.offset) {
            Some(skip) => {
                let rest = bytes.get(skip as usize..).unwrap_or_default();
                self.data(side, At { offset: from, ..at }, rest);
            }
            // The first byte of the first record came alone, in an earlier segment.
            None => {
                self.data(side, At { offset: from, ..at }, &[HANDSHAKE]);
                self.data(side, at, bytes);
            }
        }
    }
}

/// Content type of a TLS handshake record (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;

impl StreamSink for Sink<'_> {
    fn data(&mut self, side: Side, at: At, bytes: &[u8]) {
        self.with(
            |tls, inner| tls.data(side, at, bytes, inner),
            |conversation, pool, keep| conversation.data(side, at, bytes, pool, keep),
        );
        let talk = &mut *self.talk;
        if talk.tls.is_none()
            && let Some(from) = talk.conversation.tls_from(side)
        {
            return self.begin_tls(side, at, bytes, from);
        }
        if at.offset < OPENING_KEPT as u64
            && let Some(tap) = &mut self.tap
        {
            let known = (self.talk.conversation.protocol(), self.talk.conversation.proxied());
            tap.bytes(&mut self.talk.watch, side, at.offset, bytes, known);
        }
    }

    fn gap(&mut self, side: Side, at: At, len: u64, why: BlindSpot) {
        self.talk.client_gap |= side == Side::Client && why == BlindSpot::Gap;
        self.with(
            |tls, inner| tls.gap(side, at, len, why, inner),
            |conversation, pool, keep| conversation.gap(side, at, len, why, pool, keep),
        );
    }

    fn ended(&mut self, side: Side) {
        self.with(
            |tls, inner| tls.ended(side, inner),
            |conversation, pool, keep| conversation.ended(side, pool, keep),
        );
    }
}
