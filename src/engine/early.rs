//! Verdicts before a connection is over, for those who watch as it happens.
//!
//! A closed connection lingers for late packets, and some verdicts wait for what other connections
//! tell. Who watches an incident cannot wait. So a connection on which something may have failed is
//! looked at half a second later: a copy of it is concluded as if it were over, and judged by the
//! same rules with what is known by then. The connection itself is left as it is, so that what is
//! given out at its end is the same with and without this.

use super::conclude::is_bare;
use super::{Engine, Options, Output, Shared, Talk};
use crate::cause::{Case, Confidence, Finding, What, judge};
use crate::flow::{Ending, EndingKind, Flow};
use crate::http::{Exchange, State};
use crate::packet::Segment;
use crate::probe::{Catalogue, Habit, Sighting, Sightings, Tap};
use crate::tcp::{Connection, Entry, Side};
use crate::time::Timestamp;
use hashbrown::HashMap;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

/// From the packet that may have decided to the look, nanoseconds: the packets that follow a close
/// come within a round trip, and one second is promised.
const SETTLE: i64 = 500_000_000;
/// From a repeated SYN to the look, nanoseconds: by then an answer that was only lost once has come,
/// and so has the next SYN of a client that goes on (RFC 6298, 5.5: 2 s after the first repetition).
const SYN_REPEATED: i64 = 2_500_000_000;
/// From a SYN that stays alone to the look, nanoseconds: past its first repetition after 1 s.
const SYN_ALONE: i64 = 2_000_000_000;
/// A close follows the other side's so soon that one look, half a second after the first, sees
/// both, nanoseconds.
const FOLLOWED: i64 = 100_000_000;
/// From a repeated SYN-ACK to the look, nanoseconds: by then its acknowledgment would have come.
const SYN_ACK_REPEATED: i64 = 600_000_000;
/// SYNs after which the path has had chances enough: 0, 1 and 3 s after the start.
const SYNS_ENOUGH: u16 = 3;
/// Looks that wait, each of 24 bytes; what comes beyond is told at its connection's end only.
pub(super) const LOOKS_MAX: usize = 1 << 16;
/// Connections of which it is remembered what was told, about 60 bytes each; with more, nothing is told early.
const TOLD_MAX: usize = 1 << 16;
/// Flows looked at for age in one tick.
const AGED: usize = 512;

/// What to look at, and when.
#[derive(Debug, Default)]
pub(super) struct Early {
    /// Time, slot and id of connections.
    looks: BinaryHeap<Reverse<(Timestamp, u32, u64)>>,
    /// The same for what was opened and has not been heard of since.
    opened: VecDeque<(Timestamp, u32, u64)>,
    /// Stands in for the engine's own, which a look must not change.
    shared: Shared,
    /// What was told, by the id of its connection: what comes later may refute it.
    told: HashMap<u64, Told>,
    /// Looks that [`LOOKS_MAX`] or [`TOLD_MAX`] left no room for.
    missed: u64,
}

/// What was told of a connection.
#[derive(Debug, Default)]
struct Told {
    /// Positions of the requests on it, 0 for the connection itself.
    ordinals: Vec<u32>,
    /// A look is due.
    due: bool,
}

impl Early {
    /// Notes that a failure is told; `false`: there is no room to take it back.
    fn tell(&mut self, flow: u64, ordinal: u32) -> bool {
        if self.told.len() >= TOLD_MAX && !self.told.contains_key(&flow) {
            self.missed += 1;
            return false;
        }
        let told = self.told.entry(flow).or_default();
        if !told.ordinals.contains(&ordinal) {
            told.ordinals.push(ordinal);
        }
        true
    }

    /// Its verdict is final; whether one was told.
    pub(super) fn settle(&mut self, flow: u64, ordinal: u32) -> bool {
        let Some(told) = self.told.get_mut(&flow) else { return false };
        let before = told.ordinals.len();
        told.ordinals.retain(|known| *known != ordinal);
        let found = told.ordinals.len() < before;
        if told.ordinals.is_empty() {
            self.told.remove(&flow);
        }
        found
    }

    /// Those of the failures told that are none of these any more, in the order in which they were told.
    pub(super) fn refute(&mut self, flow: u64, failures: &[u32]) -> Vec<u32> {
        let Some(told) = self.told.get_mut(&flow) else { return Vec::new() };
        let (left, refuted) =
            std::mem::take(&mut told.ordinals).into_iter().partition(|it| failures.contains(it));
        told.ordinals = left;
        if told.ordinals.is_empty() {
            self.told.remove(&flow);
        }
        refuted
    }

    /// A connection was opened by `SYN` at `at`. These wait in the order of their time.
    fn opened(&mut self, slot: u32, id: u64, at: Timestamp) {
        if self.opened.len() < LOOKS_MAX {
            self.opened.push_back((at.after(SYN_ALONE), slot, id));
        } else {
            self.missed += 1;
        }
    }

    /// Something on this connection may have failed at `at`.
    pub(super) fn look_soon(&mut self, slot: u32, id: u64, at: Timestamp) {
        self.look_at(slot, id, at.after(SETTLE));
    }

    fn look_at(&mut self, slot: u32, id: u64, due: Timestamp) {
        if self.looks.len() < LOOKS_MAX {
            self.looks.push(Reverse((due, slot, id)));
        } else {
            self.missed += 1;
        }
    }

    /// A segment was taken in; `closed` says that it closed its connection.
    #[inline]
    pub(super) fn after(&mut self, segment: &Segment<'_>, slot: u32, flow: &Flow, closed: bool) {
        let (at, flags) = (segment.mark.at, segment.flags);
        if !self.told.is_empty()
            && let Some(told) = self.told.get_mut(&flow.id)
            && !std::mem::replace(&mut told.due, true)
        {
            // Whether it still holds.
            self.look_soon(slot, flow.id, at);
        }
        if flags.fin() || flags.rst() {
            // Who closes, and once more when the other side has followed late.
            let began = flow.endings.first().map(|first| at.nanos_since(first.mark.at));
            if began == Some(0) || (closed && began.is_some_and(|began| began > FOLLOWED)) {
                self.look_soon(slot, flow.id, at);
            }
        } else if closed {
            self.look_soon(slot, flow.id, at);
        } else if flags.syn() && flow.opening.syn_ack.is_none() {
            match flow.opening.syns {
                ..=1 => self.opened(slot, flow.id, at),
                SYNS_ENOUGH.. => self.look_soon(slot, flow.id, at),
                _ => self.look_at(slot, flow.id, at.after(SYN_REPEATED)),
            }
        } else if flags.syn() && flags.ack() && flow.opening.syn_acks > 1 && unacknowledged(flow) {
            self.look_at(slot, flow.id, at.after(SYN_ACK_REPEATED));
        }
    }

    fn next(&mut self, now: Timestamp) -> Option<(u32, u64)> {
        if self.opened.front().is_some_and(|look| look.0 <= now)
            && let Some((_, slot, id)) = self.opened.pop_front()
        {
            return Some((slot, id));
        }
        let Reverse((_, slot, id)) = *self.looks.peek().filter(|look| look.0.0 <= now)?;
        self.looks.pop();
        Some((slot, id))
    }
}

/// Hands on the checks of connections that are not over, and notes when to look at them again. Their
/// habits are told when they are.
struct Sighted<'a, O>(&'a mut O, Option<Timestamp>);

impl<O: Output> Sightings for Sighted<'_, O> {
    fn sighting(&mut self, sighting: Sighting) {
        self.1 = self.0.early_sighting(sighting);
    }
    fn habit(&mut self, _: &Flow, _: Habit) {}
}

impl Engine {
    /// Gives out verdicts as soon as they can be had, too: [`Output::early`]. They come with
    /// [`Engine::tick`]. `probers` as in [`Engine::watch_probers`].
    #[must_use]
    pub fn give_early(mut self, probers: Arc<Catalogue>) -> Engine {
        let shared = Shared { tap: Some(Tap::new(probers)), ..Shared::default() };
        self.early = Some(Early { shared, ..Early::default() });
        self
    }

    /// Connections whose verdict is told at their end only, as too many wait for their look.
    pub fn looks_missed(&self) -> u64 {
        self.early.as_ref().map_or(0, |early| early.missed)
    }

    /// Time has come to `now`, maybe without a packet: no packet from before it is to come.
    pub fn tick(&mut self, now: Timestamp, out: &mut impl Output) {
        self.wider.advance(now);
        while let Some((slot, id)) = self.early.as_mut().and_then(|early| early.next(now)) {
            self.look(slot, id, out);
        }
        for _ in 0..AGED {
            if let Some(entry) = self.table.age(now) {
                self.conclude(entry, out);
            }
        }
    }

    fn look(&mut self, slot: u32, id: u64, out: &mut impl Output) {
        let (Some(early), Some(entry)) = (&mut self.early, self.table.at(slot, id)) else {
            return;
        };
        let told = early.told.get_mut(&id).map(|told| told.due = false).is_some();
        if !told && !may_have_failed(entry) {
            return;
        }
        let shared = &mut early.shared;
        let Entry { mut connection, attached: mut talk } = entry.clone();
        let closed = is_over(&connection, &talk);
        if closed {
            // Exchanges are told at the end.
            let options = Options { exchanges: false, logs: false, ..self.options };
            shared.complete(&self.keys, options, &mut connection, &mut talk);
        } else {
            talk.describe(&mut connection.flow);
            self.options.settle_vantage(&mut connection.flow);
        }
        let cases = shared.cases(&connection, &mut talk);
        let Connection { flow, .. } = &connection;
        let mut sighted = Sighted(out, None);
        match &mut shared.tap {
            Some(tap) if closed || flow.opening.syn_ack.is_none() => {
                tap.conclude(std::mem::take(&mut talk.watch), flow, &mut sighted);
            }
            Some(tap) => tap.peek(&talk.watch, flow, &mut sighted),
            None => {}
        }
        if let Sighted(_, Some(again)) = sighted {
            early.look_at(slot, id, again);
        }
        let wider = &self.wider;
        let handshake = flow.opening.syn_ack.is_none() || unacknowledged(flow);
        let bare = is_bare(flow, &cases) && (closed || handshake);
        let alone = bare.then_some(None);
        let mut failures = Vec::new();
        for exchange in alone.into_iter().chain(cases.iter().map(Some)) {
            let Some(mut finding) = judge(&Case { flow, exchange, wider }) else { continue };
            let ordinal = exchange.map_or(0, |exchange| exchange.ordinal);
            failures.push(ordinal);
            if early.tell(id, ordinal) {
                if may_recover(&connection, exchange, &finding) {
                    finding.confidence = finding.confidence.min(Confidence::Likely);
                }
                out.early(finding);
            }
        }
        for ordinal in early.refute(id, &failures) {
            out.refuted(&connection.flow, ordinal);
        }
    }
}

/// Whether packets to come may show that nothing failed: what rests on an answer that has not come yet, while
/// both can still speak.
fn may_recover(connection: &Connection, exchange: Option<&Exchange>, finding: &Finding) -> bool {
    let answered = exchange.is_some_and(|exchange| exchange.state == State::Answered);
    let guilty = finding.evidence.first().map(|guilty| guilty.what);
    let proved = matches!(guilty, Some(What::Rst | What::Icmp | What::Response));
    !answered && !proved && !connection.is_closed() && !connection.closed_by(Side::Server)
}

/// Whether nothing that decides is to come. The other side may never follow. When the client has closed,
/// nothing that the server sends is of use; when the server has said with FIN that nothing more comes,
/// what was asked stays without an answer.
fn is_over(connection: &Connection, talk: &Talk) -> bool {
    let server_ended = || {
        let ends = |end: &Ending| end.side == Side::Server && end.kind == EndingKind::Fin;
        connection.flow.endings.iter().any(ends)
    };
    let outstanding = talk.conversation.pending().next().is_some() || talk.tls.is_some();
    connection.is_closed() || connection.closed_by(Side::Client) || (outstanding && server_ended())
}

/// The target has answered the SYN, and nothing of the client has come since.
fn unacknowledged(flow: &Flow) -> bool {
    flow.opening.syn_ack.is_some()
        && flow.opening.ack.is_none()
        && flow.half(Side::Client).payload_bytes == 0
}

/// Whether looking may show anything: all that went well does not.
fn may_have_failed(entry: &Entry<Talk>) -> bool {
    let Entry { connection, attached: talk } = entry;
    if unacknowledged(&connection.flow) {
        return true;
    }
    if connection.flow.opening.syn_ack.is_some() && !is_over(connection, talk) {
        return !talk.suspects.is_empty() || talk.watch.is_held();
    }
    let open = talk.conversation.pending().next().is_some() || talk.tls.is_some();
    !talk.suspects.is_empty() || talk.conversation.requests() == 0 || open || talk.watch.is_held()
}
