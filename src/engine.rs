//! The engine: segments in, flows, exchanges and findings out.
//!
//! One pass, no I/O, no clock but capture time. What is decided is given out at once through
//! [`Output`]; what needs to be weighed against other flows waits in a bounded list for
//! [`Engine::finish`].

mod conclude;
mod early;
mod output;
mod rest;
mod sink;
mod suspicion;
mod translated;

use crate::blind::BlindSpot;
use crate::capture::Direction;
use crate::cause::{Case, Wider, gateway, judge};
use crate::flow::{Flow, ICMP_MAX, Vantage};
use crate::http::{Conversation, Exchange, Pool, likely_side};
use crate::join::legs::{Leg, Roles};
use crate::join::log::Seen;
use crate::over_time::OverTime;
use crate::packet::{Endpoint, IcmpError, Segment, TunnelId};
use crate::probe::{Catalogue, OPENING_KEPT, Tap, Watch};
use crate::tcp::{At, Bodies, Entry, Limits, Side, Table};
use crate::time::Mark;
use crate::tls::{KeyLog, Lines, Session, Tickets};
use early::Early;
use output::Found;
use std::hint::black_box;
use std::sync::Arc;
use suspicion::{is_open, settled, waits, worth_a_look};
use thin_vec::ThinVec;
use translated::{Translations, Unheard};

pub use output::{Belongs, Counts, Output};

/// Exchanges of one flow that wait for its end; further ones are judged when they end.
pub const SUSPECTS_MAX: usize = 64;
/// Cases that wait for the end of the capture; further ones are judged with what is known by then.
pub const DEFERRED_MAX: usize = 1 << 15;
/// Requests without a verdict that are remembered until it is known which of them are health checks: 1 MB.
/// Those beyond count as users'.
const UNDECIDED_MAX: usize = 1 << 16;

/// Bytes of all flows together that wait for earlier bytes, for the rest of their head or for their
/// response. Past it the flow that needs more gives up what it waits for.
pub const BUFFERED_MAX: usize = 256 << 20;

/// What a user can set.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Where the capture was taken, when the user knows better than the packets.
    pub vantage: Option<Vantage>,
    /// Give out every exchange, not only those that failed.
    pub exchanges: bool,
    /// Give out what logs are compared with.
    pub logs: bool,
    /// Bytes of memory for connections, when it is less than the usual [`Limits`] and [`BUFFERED_MAX`]
    /// come to.
    pub memory: Option<u64>,
}

impl Options {
    fn settle_vantage(&self, flow: &mut Flow) {
        if let Some(vantage) = self.vantage {
            flow.vantage = vantage;
        }
    }
}

/// Analyses segments in capture order.
#[derive(Debug)]
pub struct Engine {
    options: Options,
    table: Table<Talk>,
    wider: Wider,
    deferred: Vec<(Flow, Option<Exchange>)>,
    /// Bytes that wait, see [`BUFFERED_MAX`].
    buffered: usize,
    buffered_max: usize,
    shared: Shared,
    /// Keys of TLS sessions.
    keys: KeyLog,
    /// Verdicts before their connection is over.
    early: Option<Early>,
    translations: Translations,
    /// See [`Engine::whole_way`].
    short_way: bool,
}

/// What connections share while their bytes are read.
#[derive(Debug, Default)]
struct Shared {
    counts: Counts,
    /// See [`Engine::undecided`].
    undecided: Vec<(u64, u32)>,
    /// Requests by the time of their first byte.
    requests: OverTime,
    /// Reused between segments.
    fresh: Vec<Exchange>,
    /// What logs are compared with; reused between segments.
    seen: Vec<Seen>,
    pool: Pool,
    /// Which hosts may be proxies, and what their exchanges leave; reused between segments.
    roles: Roles,
    legs: Vec<Leg>,
    /// Looks for health checks.
    tap: Option<Tap>,
    tickets: Tickets,
}

/// What the engine attaches to a connection.
#[derive(Clone, Debug)]
struct Talk {
    conversation: Conversation,
    suspects: ThinVec<Exchange>,
    longest_wait: i64,
    /// Bytes of the client are missing from the capture.
    client_gap: bool,
    /// Its part of [`Engine::buffered`].
    buffered: u32,
    watch: Watch,
    tls: Option<Box<Session>>,
    /// Second copies of the packets of another connection, see [`translated`].
    is_second: bool,
}

impl Talk {
    /// Memory of what is incomplete.
    fn buffered(&self) -> usize {
        self.conversation.buffered() + self.tls.as_ref().map_or(0, |tls| tls.buffered())
    }

    /// Has the processor fetch what is read of it when its connection is over.
    fn warm(&self) {
        let Talk { suspects, longest_wait, buffered, is_second, .. } = self;
        black_box((suspects.as_ptr(), *longest_wait, *buffered, *is_second));
        black_box((self.conversation.requests(), self.conversation.last().is_some()));
        black_box((self.watch.is_held(), self.tls.is_some()));
    }

    /// What `flow` shall know of the conversation.
    fn describe(&self, flow: &mut Flow) {
        flow.requests = self.conversation.requests();
        flow.responses = self.conversation.responses();
        flow.protocol = self.conversation.protocol();
        flow.http1_answer = self.conversation.http1_answer();
        flow.proxied = self.conversation.proxied();
    }

    /// `opened` as for [`Conversation::new`].
    fn new(opened: Option<Mark>) -> Talk {
        Talk {
            conversation: Conversation::new(opened),
            suspects: ThinVec::new(),
            longest_wait: 0,
            client_gap: false,
            buffered: 0,
            watch: Watch::default(),
            tls: None,
            is_second: false,
        }
    }
}

/// Counts a request as one that the capture leaves open, and remembers where it is.
fn leave_open(counts: &mut Counts, open: &mut Vec<(u64, u32)>, place: (u64, u32)) {
    counts.unknown += 1;
    if open.len() < UNDECIDED_MAX {
        open.push(place);
    }
}

impl Shared {
    /// The first packet of one side of a flow tells which addresses the host has that captured. What it only passes
    /// on comes in before it goes out.
    fn learn_local(&mut self, flow: &Flow, side: Side, segment: &Segment<'_>) {
        let sent = segment.direction == Direction::Outbound;
        match side {
            Side::Client if sent && segment.flags.syn() => self.roles.learn_local(segment.src.ip),
            Side::Server if flow.vantage != Vantage::Between && flow.opening.syns > 0 => {
                self.roles.learn_local(if sent { segment.src.ip } else { segment.dst.ip });
                if flow.vantage == Vantage::Server {
                    self.roles.learn_local(flow.server.ip);
                }
            }
            _ => {}
        }
    }
}

impl Bodies for Talk {
    #[inline]
    fn within_body(&self, side: Side, offset: u64, len: u64) -> bool {
        // What a connection begins with is looked at by others, too.
        offset >= OPENING_KEPT as u64
            && self.tls.is_none()
            && self.conversation.within_body(side, len)
    }

    #[inline]
    fn body(&mut self, at: At, len: u64) {
        self.conversation.body(at, len);
    }
}

impl Engine {
    /// An engine that has seen nothing.
    pub fn new(options: Options) -> Engine {
        // Half for flows, half for what waits.
        let half = options.memory.map_or(u64::MAX, |memory| memory / 2);
        let buffered_max = BUFFERED_MAX.min(usize::try_from(half).unwrap_or(usize::MAX));
        Engine {
            options,
            table: Table::new(Limits::within(half)),
            wider: Wider::default(),
            deferred: Vec::new(),
            buffered: 0,
            buffered_max,
            shared: Shared::default(),
            keys: KeyLog::default(),
            early: None,
            translations: Translations::default(),
            short_way: true,
        }
    }

    /// Gives out what may be health checks, too: [`Output::sighting`].
    #[must_use]
    pub fn watch_probers(mut self, probers: Arc<Catalogue>) -> Engine {
        self.shared.tap = Some(Tap::new(probers));
        self
    }

    /// Knows these keys of TLS sessions from the start.
    #[must_use]
    pub fn with_keys(mut self, keys: KeyLog) -> Engine {
        self.keys = keys;
        self
    }

    /// Takes in further keys of TLS sessions, whole lines of a key log.
    pub fn add_keys(&mut self, text: &[u8]) -> Lines {
        self.keys.add(text)
    }

    /// Lets flows rest once more than so many are awake, instead of
    /// [`REST_BEYOND`](crate::tcp::REST_BEYOND).
    #[must_use]
    pub fn rest_beyond(mut self, awake: usize) -> Engine {
        self.table.rest_beyond(awake);
        self
    }

    /// Takes every segment the whole way, also one that was to be expected
    /// ([`Connection::on_expected`](crate::tcp::Connection::on_expected)).
    #[must_use]
    pub fn whole_way(mut self) -> Engine {
        self.short_way = false;
        self
    }

    /// Flows met so far; one that was captured under several addresses counts once.
    pub fn flows(&self) -> u64 {
        self.table.opened() - self.translations.copies
    }

    /// How many flows were captured a second time, behind a translation of their addresses (NAT), and client and
    /// server of the first of them before and after it.
    pub fn translated(&self) -> Option<(u64, [(Endpoint, Endpoint); 2])> {
        Some((self.translations.count, self.translations.first?))
    }

    /// Requests so far, by the time of their first byte.
    pub fn requests(&self) -> &OverTime {
        &self.shared.requests
    }

    /// Flow and position on it of requests of [`Counts::unknown`], as far as there is room for them.
    pub fn undecided(&self) -> &[(u64, u32)] {
        &self.shared.undecided
    }

    /// Counts so far.
    pub fn counts(&self) -> Counts {
        Counts {
            evicted_flows: self.table.evicted,
            forgotten_pairs: self.table.forgotten_pairs,
            forgotten_lessons: self.wider.forgotten(),
            forgotten_keys: self.keys.forgotten(),
            forgotten_roles: self.shared.roles.forgotten(),
            ..self.shared.counts
        }
    }

    /// Where the connection of a segment is that is soon to come in, as far as it is known by now. The
    /// processor fetches it from memory meanwhile. `before` is where that of the segment before it is.
    #[inline]
    pub fn look_up(&self, segment: &Segment<'_>, before: Option<u32>) -> Option<u32> {
        self.table.look_up(segment, before)
    }

    /// Has the processor fetch the flows that SYNs from one endpoint to another put an end to which are soon to
    /// come in.
    pub fn look_out(&self, opened: impl Iterator<Item = (Endpoint, Endpoint, TunnelId)>) {
        let replaced = self.table.replaced_by(opened);
        for entry in &replaced {
            entry.connection.warm();
            entry.attached.warm();
        }
        for entry in &replaced {
            entry.connection.warm_beyond();
            entry.attached.watch.warm();
        }
    }

    /// Takes in one segment and says whose it is.
    pub fn segment(&mut self, segment: &Segment<'_>, out: &mut impl Output) -> Belongs {
        self.segment_at(segment, None, out)
    }

    /// The same of one that [`Engine::look_up`] saw at `likely`.
    pub fn segment_at(
        &mut self,
        segment: &Segment<'_>,
        likely: Option<u32>,
        out: &mut impl Output,
    ) -> Belongs {
        self.wider.advance(segment.mark.at);
        let opens = segment.opens();
        let original = if opens { self.translations.original(segment) } else { None };
        let answered_before = self.translations.answered_before(segment);
        if segment.flags.syn() && segment.direction != Direction::Unknown {
            let sent = segment.direction == Direction::Outbound;
            let (src, dst) = original.map_or((segment.src, segment.dst), |known| known.told);
            self.wider.learn_direction(src, dst, sent);
        }
        let told = original.and_then(|known| self.table.between(known.told, segment.tunnel));
        if let Some(entry) = told {
            let flow = &mut entry.connection.flow;
            if flow.is_passed_on(segment.direction) {
                self.wider.learn_forwarded(flow.server);
            }
            flow.vantage = Vantage::Between;
        }
        let attach = || Talk::new(segment.flags.syn().then_some(segment.mark));
        let turn = self.table.turn(segment, likely, first_sender, attach);
        let Entry { connection, attached: talk } = turn.entry;
        let belongs = Belongs::from(&connection.flow);
        if turn.opened && (original.is_some() || answered_before) {
            talk.is_second = true;
            self.translations.copies += 1;
            if let Some(known) = original {
                self.translations.count += 1;
                self.translations.first.get_or_insert(known.translation);
            }
        }
        if self.short_way && connection.on_expected(segment, talk) {
            let received = connection.flow.half(Side::Server).acked;
            talk.conversation.received(received, &mut self.shared.pool);
            if let [Some(aged), _] = turn.over {
                self.conclude(aged, out);
            }
            return belongs;
        }
        if talk.is_second {
            let was_closed = connection.is_closed();
            connection.on_segment(segment, &mut Unheard);
            if connection.buffered() > 0 {
                connection.release(&mut Unheard);
            }
            let closed = connection.is_closed() && !was_closed;
            let (slot, over) = (turn.slot, turn.over);
            if closed {
                self.table.closed(slot, segment.mark.at);
            }
            over.into_iter().flatten().for_each(|entry| self.conclude(entry, out));
            return belongs;
        }
        if !turn.opened
            && segment.payload_len > 0
            && connection.roles_open()
            && likely_side(segment.payload)
                .is_some_and(|sender| sender != connection.side_of(segment))
        {
            connection.swap_roles();
            self.shared.roles.opened(connection.flow.client, connection.flow.server);
        }
        if turn.opened {
            self.shared.roles.opened(connection.flow.client, connection.flow.server);
        }
        let side = connection.side_of(segment);
        if segment.direction != Direction::Unknown && connection.flow.half(side).packets == 0 {
            self.shared.learn_local(&connection.flow, side, segment);
        }
        if opens && side == Side::Client && connection.flow.is_passed_on(segment.direction) {
            self.wider.learn_forwarded(connection.flow.server);
        }
        if turn.opened || segment.flags.syn() {
            connection.flow.passed(side, segment.direction);
        }
        if segment.flags.syn() {
            talk.conversation.opening(segment.mark);
        }
        let mut sink = self.shared.sink(&self.keys, self.options, connection, talk);
        let was_closed = connection.is_closed();
        let was_too_late = sink.too_late;
        connection.on_segment(segment, &mut sink);
        let buffered = connection.buffered() + sink.talk.buffered();
        self.buffered = self.buffered + buffered - sink.talk.buffered as usize;
        sink.talk.buffered = buffered as u32;
        if self.buffered > self.buffered_max && buffered > 0 {
            connection.release(&mut sink);
            sink.release();
            sink.talk.buffered = 0;
            self.buffered -= buffered;
            self.shared.counts.released_flows += 1;
        }
        let received = connection.flow.half(Side::Server).acked;
        talk.conversation.received(received, &mut self.shared.pool);
        if connection.flow.opening.ack == Some(segment.mark) {
            talk.conversation.opening(segment.mark);
        }
        if turn.opened && segment.flags.syn() && !segment.flags.ack() {
            self.wider.learn_client(segment.src);
            self.wider.learn_server(segment.dst);
        }
        let [aged, replaced] = turn.over;
        let closed = (connection.is_closed() && !was_closed).then_some(turn.slot);
        if let Some(early) = &mut self.early {
            early.after(segment, turn.slot, &connection.flow, closed.is_some());
        }
        if let Some(tap) = &mut self.shared.tap
            && tap.is_ready()
        {
            tap.give(&talk.watch, &connection.flow, &mut Found(out));
        }
        if !self.shared.legs.is_empty() {
            self.shared.give_legs(&connection.flow, out);
        }
        self.shared.seen.drain(..).for_each(|seen| out.seen(seen));
        if !self.shared.fresh.is_empty() {
            for exchange in self.shared.fresh.drain(..) {
                let open = is_open(&exchange, was_too_late);
                if self.options.exchanges && !exchange.blind_spots.has(BlindSpot::Encrypted) {
                    out.exchange(belongs.flow, &exchange);
                }
                if open {
                    let (flow, exchange) = (&connection.flow, Some(&exchange));
                    out.undecided(&Case { flow, exchange, wider: &self.wider });
                    continue;
                }
                let closed = connection.may_be_too_late();
                if !worth_a_look(&exchange, closed) {
                    continue;
                }
                if let Some(proxy) = gateway(&exchange) {
                    self.wider.learn_gateway(connection.flow.server, proxy);
                }
                let waits = closed || waits(&exchange);
                talk.suspects.retain(|earlier| !settled(earlier));
                if waits && talk.suspects.len() < SUSPECTS_MAX {
                    talk.suspects.push(exchange);
                    if let Some(early) = &mut self.early {
                        early.look_soon(turn.slot, belongs.flow, segment.mark.at);
                    }
                    continue;
                }
                self.shared.counts.judged_early += u64::from(waits);
                let case =
                    Case { flow: &connection.flow, exchange: Some(&exchange), wider: &self.wider };
                if let Some(finding) = judge(&case) {
                    if let Some(early) = &mut self.early {
                        early.settle(belongs.flow, exchange.ordinal);
                        if talk.watch.is_held() {
                            early.look_soon(turn.slot, belongs.flow, segment.mark.at);
                        }
                    }
                    out.finding(finding);
                }
            }
        }
        if let Some(slot) = closed {
            self.table.closed(slot, segment.mark.at);
        }
        if let Some(entry) = aged {
            self.conclude(entry, out);
        }
        if let Some(entry) = replaced {
            self.conclude(entry, out);
        }
        belongs
    }

    /// Whether the connection of `segment` is being followed.
    pub fn follows(&self, segment: &Segment<'_>) -> bool {
        self.table.knows(segment)
    }

    /// Takes in an ICMP error and says whose packet it quotes.
    pub fn icmp(&mut self, error: &IcmpError) -> Option<Belongs> {
        self.wider.advance(error.mark.at);
        let (slot, entry) = self.table.icmp(error)?;
        let flow = &mut entry.connection.flow;
        if flow.icmp.len() < ICMP_MAX {
            flow.icmp.push(*error);
        }
        if let Some(early) = &mut self.early
            && flow.opening.syn_ack.is_none()
            && !entry.attached.is_second
        {
            early.look_soon(slot, flow.id, error.mark.at);
        }
        Some(Belongs::from(&*flow))
    }
}

/// Who sent the first segment of a flow whose handshake was not captured: what its bytes are
/// tells best, then the port, as servers have the lower one.
fn first_sender(segment: &Segment<'_>) -> Side {
    likely_side(segment.payload).unwrap_or(if segment.src.port < segment.dst.port {
        Side::Server
    } else {
        Side::Client
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::Finding;
    use crate::packet::{Flags, TcpOptions};
    use crate::time::{FrameId, Mark, Timestamp};

    #[derive(Default)]
    pub(super) struct Flows(pub(super) Vec<Flow>);

    impl Output for Flows {
        fn flow(&mut self, flow: &Flow) {
            self.0.push(flow.clone());
        }
        fn exchange(&mut self, _: u64, _: &Exchange) {}
        fn finding(&mut self, finding: Finding) {
            panic!("{finding:?}");
        }
    }

    /// A segment of the client of connection `port`.
    pub(super) fn says(port: u16, number: u64, seq: u32, flags: u8, payload: &[u8]) -> Segment<'_> {
        Segment {
            mark: Mark { frame: FrameId::new(0, number), at: Timestamp(number as i64 * 1000) },
            src: Endpoint::v4([10, 0, 0, 1], port),
            dst: Endpoint::v4([10, 0, 0, 2], 80),
            tunnel: TunnelId(0),
            seq,
            ack: 0,
            flags: Flags(flags),
            window: 1000,
            options: TcpOptions::default(),
            payload,
            payload_len: payload.len() as u32,
            ttl: 64,
            ip_id: None,
            direction: Direction::Unknown,
            corrupt: false,
        }
    }

    #[test]
    fn a_flow_is_small() {
        let size = size_of::<Entry<Talk>>();
        assert!(size <= 904, "{size}");
    }

    #[test]
    fn what_waits_stays_within_its_bound_over_all_flows() {
        let (mut engine, mut out) = (Engine::new(Options::default()), Flows::default());
        engine.buffered_max = 100_000;
        let mut number = 0;
        let mut say = |port, seq, flags, payload: &[u8]| {
            number += 1;
            engine.segment(&says(port, number, seq, flags, payload), &mut out);
            assert!(engine.buffered <= engine.buffered_max);
        };
        let endless = [b'a'; 1000];
        for port in 1..=50 {
            say(port, 0, Flags::SYN, b"");
        }
        for turn in 0..10 {
            for port in 1..=50 {
                if port % 2 == 0 {
                    // Behind a hole.
                    say(port, 2 + turn * 1000, Flags::ACK, &endless);
                } else {
                    // A request line without an end.
                    let first = if turn == 0 { b"GET /".as_slice() } else { &endless };
                    let at = turn.checked_sub(1).map_or(1, |turn| 6 + turn * 1000);
                    say(port, at, Flags::ACK, first);
                }
            }
        }
        assert!(engine.counts().released_flows > 20);
        engine.finish(&mut out);
        assert_eq!(engine.buffered, 0);
        let evicted = out.0.iter().filter(|flow| flow.blind_spots.has(BlindSpot::Evicted));
        assert!(evicted.count() > 20);
    }

    #[test]
    fn of_many_closed_flows_the_first_are_over_sooner() {
        let given = |closed: u64| {
            let (mut engine, mut out) = (Engine::new(Options::default()), Flows::default());
            let mut number = 0;
            let mut say = |client: u64, ours: bool, flags, later: i64| {
                number += 1;
                let mut segment = says((client % 50_000) as u16, number, 0, flags, b"");
                segment.src.ip = Endpoint::v4([10, 0, 1, (client / 50_000) as u8], 0).ip;
                (segment.seq, segment.ack) = (u32::from(flags != Flags::SYN), 1);
                segment.mark.at = segment.mark.at.after(later);
                if !ours {
                    (segment.seq, segment.ack) = (0, 1);
                    std::mem::swap(&mut segment.src, &mut segment.dst);
                }
                engine.segment(&segment, &mut out);
            };
            for client in 0..closed {
                say(client, true, Flags::SYN, 0);
                say(client, false, Flags::SYN | Flags::ACK, 0);
                say(client, true, Flags::RST, 0);
            }
            for _ in 0..100 {
                say(closed, true, Flags::SYN, 3_000_000_000);
            }
            out.0.len()
        };
        assert_eq!(given((1 << 16) + 40), 40);
        assert_eq!(given(1_000), 0);
    }
}
