//! Pairs the requests and responses of one connection.
//!
//! Holds the state of both directions and the queue between them. What each direction does with its
//! bytes is in `client` and `server`.

use super::body::Body;
use super::pending::Pending;
use super::pool::{Draft, Outlet, Pool};
use super::queue::Queue;
use super::scan::Flaw;
use super::{Exchange, HEAD_MAX, Protocol, Response, State};
use crate::blind::BlindSpot;
use crate::tcp::{At, Side};
use crate::time::{Mark, Timestamp};
use memchr::memchr;

/// Receives exchanges once nothing can change them any more.
pub(super) type Done<'a, 'b> = &'a mut Outlet<'b>;

/// What one connection says, from two ordered byte streams with gaps.
#[derive(Clone, Debug)]
pub struct Conversation {
    pub(super) protocol: Protocol,
    pub(super) proxied: bool,
    /// Why requests may exist that were not seen, since the last request that was.
    pub(super) unseen: Option<BlindSpot>,
    /// A response began since the last request did, or since requests may be missing.
    pub(super) response_since: bool,
    pub(super) client: Reader,
    pub(super) server: Reader,
    /// Requests without a complete answer, oldest first.
    pub(super) queue: Queue,
    /// A response that began while no request waited.
    pub(super) early: Option<Box<Pending>>,
    /// The exchange that was answered last, until its response is known to have arrived or the next
    /// request comes.
    pub(super) last: Option<Box<Pending>>,
    /// The target said with its latest answer that it closes the connection (RFC 9112, 9.6).
    pub(super) closing: bool,
    /// Time of the last byte of either side.
    pub(super) last_byte: Option<Timestamp>,
    pub(super) requests: u32,
    pub(super) responses: u32,
    /// HTTP/1 answered the preface of HTTP/2.
    pub(super) http1_answer: bool,
}

/// One direction.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    pub(super) phase: Phase,
    /// The head being read, or what may become one.
    pub(super) draft: Option<Box<Draft>>,
    /// Offset behind the last byte delivered or known to be missing.
    pub(super) end: u64,
}

/// Where in its messages a direction is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Phase {
    /// Between messages.
    Start,
    /// In a PROXY protocol header of which so many bytes are to come.
    Preface(u64),
    /// In a head.
    Head,
    /// In a body.
    Body(Body),
    /// Behind a CONNECT that is not answered.
    Tunnel,
    /// In bytes whose place in a message is not known, until a segment begins with a start line.
    Lost(BlindSpot),
    /// In bytes that say nothing more.
    Opaque,
}

/// A line of a head.
pub(super) enum Line<'a> {
    /// Without its line end. `carried` bytes of it came in earlier segments.
    Whole { line: &'a [u8], carried: usize, length: usize },
    /// It goes on in the next segment.
    Part,
}

impl Reader {
    fn new(phase: Phase) -> Reader {
        Reader { phase, draft: None, end: 0 }
    }

    /// The head being read.
    pub(super) fn draft(&mut self) -> &mut Draft {
        self.draft.get_or_insert_default()
    }

    /// Begins a head.
    pub(super) fn begin(&mut self, done: Done<'_, '_>) {
        done.pool.keep_draft(self.draft.take());
        self.draft = Some(done.pool.draft());
        self.phase = Phase::Head;
    }

    /// Bytes of a head of which no line is complete; none when there is no such head.
    pub(super) fn undecided(&self) -> Option<&[u8]> {
        let draft = self.draft.as_deref().filter(|_| self.phase == Phase::Head)?;
        (draft.scan.lines == 0).then_some(&draft.carry)
    }
}

impl Draft {
    /// Whether no byte of the head was taken yet.
    pub(super) fn is_blank(&self) -> bool {
        self.scan.lines == 0 && self.carry.is_empty()
    }

    /// Takes the next line from the start of `bytes`. `held` is room for a line that spans segments;
    /// give it back with [`Draft::give_back`].
    pub(super) fn line<'a>(&mut self, bytes: &'a [u8], held: &'a mut Vec<u8>) -> Line<'a> {
        let room = HEAD_MAX.saturating_sub(self.carry.len());
        let Some(end) = memchr(b'\n', bytes) else {
            self.carry.extend_from_slice(&bytes[..bytes.len().min(room)]);
            return Line::Part;
        };
        let carried = self.carry.len();
        let line = if carried == 0 {
            &bytes[..end]
        } else {
            *held = std::mem::take(&mut self.carry);
            held.extend_from_slice(&bytes[..end.min(room)]);
            held
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Line::Whole { line, carried, length: end + 1 }
    }

    /// Takes a whole and legal header line from the start of `bytes`, see [`Scan::plain_header`].
    ///
    /// [`Scan::plain_header`]: super::scan::Scan::plain_header
    #[inline]
    pub(super) fn plain_header(&mut self, bytes: &[u8]) -> Option<(usize, Option<Flaw>)> {
        if self.scan.lines == 0 || !self.carry.is_empty() {
            return None;
        }
        let (length, flaw) = self.scan.plain_header(bytes)?;
        self.scan.lines += 1;
        self.scan.offset += length as u64;
        Some((length, flaw))
    }

    /// Takes the room for the next line back.
    pub(super) fn give_back(&mut self, mut held: Vec<u8>) {
        if held.capacity() > 0 {
            held.clear();
            self.carry = held;
        }
    }
}

impl Conversation {
    /// `opened` is the end of the handshake (or the last packet of it that was captured); `None`
    /// when the streams start somewhere in the middle.
    pub fn new(opened: Option<Mark>) -> Conversation {
        let (phase, unseen) = match opened {
            Some(_) => (Phase::Start, None),
            None => (Phase::Lost(BlindSpot::CaptureStart), Some(BlindSpot::CaptureStart)),
        };
        Conversation {
            protocol: Protocol::Unknown,
            proxied: false,
            unseen,
            response_since: false,
            client: Reader::new(phase),
            server: Reader::new(phase),
            queue: Queue::default(),
            early: None,
            last: None,
            closing: false,
            last_byte: opened.map(|mark| mark.at),
            requests: 0,
            responses: 0,
            http1_answer: false,
        }
    }

    /// The handshake went on: the time before the first request counts from here.
    pub fn opening(&mut self, mark: Mark) {
        if self.requests == 0 && self.client.end == 0 {
            self.last_byte = Some(mark.at);
        }
    }

    /// Takes bytes of `side`, in order and without repetition. `give` receives the exchanges that
    /// are settled by them.
    pub fn data(
        &mut self,
        side: Side,
        at: At,
        bytes: &[u8],
        pool: &mut Pool,
        give: &mut dyn FnMut(&Exchange),
    ) {
        if self.is_opaque() || bytes.is_empty() {
            let begins = side == Side::Server && at.offset == 0;
            if begins && self.protocol == Protocol::Http2 {
                self.http1_answer = bytes.starts_with(b"HTTP/1.");
            }
            return;
        }
        let done = &mut Outlet { pool, give };
        match side {
            Side::Client => self.client_data(at, bytes, done),
            Side::Server => self.server_data(at, bytes, done),
        }
        if self.is_opaque() {
            return;
        }
        self.data_ends(side, at.offset + bytes.len() as u64, at.mark);
    }

    /// Whether the next `len` bytes of `side` only add to the body of a response that succeeds.
    pub fn within_body(&self, side: Side, len: u64) -> bool {
        let Phase::Body(body) = self.server.phase else { return false };
        // There is one that is being answered.
        let of_front = self.early.is_none();
        let front = self.queue.front().and_then(|front| front.exchange.response.as_ref());
        let status = front.filter(|_| of_front).and_then(|response| response.status);
        side == Side::Server && body.goes_on_behind(len) && matches!(status, Some(..500))
    }

    /// Takes bytes of which [`Conversation::within_body`] told so.
    pub fn body(&mut self, at: At, len: u64) {
        let Phase::Body(mut body) = self.server.phase else { return };
        let end = at.offset + len;
        if let Some(response) =
            self.queue.front_mut().and_then(|front| front.exchange.response.as_mut())
        {
            body.skip(len, &mut response.body);
            response.extend(at.mark, end);
        }
        self.server.phase = Phase::Body(body);
        self.data_ends(Side::Server, end, at.mark);
    }

    /// Bytes of `side` up to `end` have been taken.
    fn data_ends(&mut self, side: Side, end: u64, mark: Mark) {
        let reader = self.reader(side);
        reader.end = reader.end.max(end);
        if self.client.draft.as_ref().is_none_or(|draft| draft.from.is_none()) {
            self.last_byte = Some(mark.at);
        }
    }

    /// Takes note of `len` bytes of `side` that exist and were not captured.
    pub fn gap(
        &mut self,
        side: Side,
        at: At,
        len: u64,
        why: BlindSpot,
        pool: &mut Pool,
        give: &mut dyn FnMut(&Exchange),
    ) {
        if self.is_opaque() || len == 0 {
            return;
        }
        let done = &mut Outlet { pool, give };
        match side {
            Side::Client => self.client_gap(at, len, why, done),
            Side::Server => self.server_gap(at, len, why, done),
        }
        let reader = self.reader(side);
        reader.end = reader.end.max(at.offset.saturating_add(len));
    }

    /// `side` sends no more (its FIN, in order).
    pub fn ended(&mut self, side: Side, pool: &mut Pool, give: &mut dyn FnMut(&Exchange)) {
        match side {
            Side::Client => self.client.phase = Phase::Opaque,
            Side::Server => self.server_ended(&mut Outlet { pool, give }),
        }
    }

    /// The connection is over: gives out what is left, each request in its final state.
    pub fn finish(&mut self, pool: &mut Pool, give: &mut dyn FnMut(&Exchange)) {
        let done = &mut Outlet { pool, give };
        self.resolve_answer();
        self.client.phase = Phase::Opaque;
        self.server.phase = Phase::Opaque;
        if self.queue.len() > 1 && self.is_one_way() {
            self.queue.iter_mut().for_each(|pending| pending.hide(BlindSpot::OneDirection));
        }
        self.join_garbage();
        while let Some(pending) = self.queue.pop_front() {
            let state = pending.final_state();
            self.give(pending, state, done);
        }
        self.give_early(done);
    }

    /// Requests that wait, oldest first.
    pub fn pending(&self) -> impl Iterator<Item = &Exchange> {
        self.queue.iter().map(|pending| &pending.exchange)
    }

    /// The exchange that was answered last, unless another request came since or
    /// [`Conversation::received`] says that its response arrived.
    pub fn last(&self) -> Option<&Exchange> {
        self.last.as_deref().map(|last| &last.exchange)
    }

    /// The client has received the server's stream up to `end`.
    pub fn received(&mut self, end: u64, pool: &mut Pool) {
        let response = self.last().and_then(|last| last.response.as_ref());
        if response.is_some_and(|response| response.end <= end)
            && let Some(last) = self.last.take()
        {
            pool.keep_pending(last);
        }
    }

    /// Memory of what is incomplete: heads, and requests that wait.
    pub(crate) fn buffered(&self) -> usize {
        let line =
            |reader: &Reader| reader.draft.as_ref().map_or(0, |draft| draft.carry.capacity());
        let lines = line(&self.client) + line(&self.server);
        // Requests of one connection are much alike.
        let waiting = self.queue.front().map_or(0, |front| front.memory() * self.queue.len());
        lines + waiting
    }

    /// Gives up what is incomplete, as if it had not been captured.
    pub(crate) fn release(&mut self, pool: &mut Pool, give: &mut dyn FnMut(&Exchange)) {
        if self.is_opaque() {
            return;
        }
        self.early = None;
        self.give_up_pairing(BlindSpot::Evicted, &mut Outlet { pool, give });
        for reader in [&mut self.client, &mut self.server] {
            reader.draft = None;
            reader.phase = Phase::Lost(BlindSpot::Evicted);
        }
    }

    /// Where TLS begins in the stream of `side`, when the latest bytes of `side` told that it does.
    pub fn tls_from(&self, side: Side) -> Option<u64> {
        let reader = if side == Side::Client { &self.client } else { &self.server };
        (self.protocol == Protocol::Tls).then_some(reader.end)
    }

    /// `side` sent bytes up to `end` that are no part of any message.
    pub fn passed(&mut self, side: Side, end: u64) {
        let reader = self.reader(side);
        reader.end = reader.end.max(end);
    }

    /// What the connection carries is TLS that nobody can read.
    pub fn cannot_read(&mut self) {
        self.give_up(Protocol::Tls);
    }

    /// The server's answer has begun at `at`, and what came of it up to `end` cannot be read.
    pub fn answer_begun(&mut self, at: At, end: u64) {
        if let Some(front) = self.queue.front_mut() {
            front.exchange.response.get_or_insert_with(|| Response {
                first: at.mark,
                last: at.mark,
                start: at.offset,
                end,
                acked: at.acked,
                ..Response::default()
            });
        }
    }

    /// What came before was not captured.
    pub fn is_midway(&self) -> bool {
        self.unseen.is_some()
    }

    /// What the connection carries.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether a PROXY protocol header came before the first request.
    pub fn proxied(&self) -> bool {
        self.proxied
    }

    /// Whether HTTP/1 answered the preface of HTTP/2.
    pub fn http1_answer(&self) -> bool {
        self.http1_answer
    }

    /// Requests seen, at least their first byte.
    pub fn requests(&self) -> u32 {
        self.requests
    }

    /// Final responses seen, those to requests that were not seen included.
    pub fn responses(&self) -> u32 {
        self.responses
    }

    fn reader(&mut self, side: Side) -> &mut Reader {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    fn is_opaque(&self) -> bool {
        !matches!(self.protocol, Protocol::Unknown | Protocol::Http1)
    }

    /// The connection carries TLS, `side` from `from` on.
    pub(super) fn give_up_tls(&mut self, side: Side, from: u64) {
        self.give_up(Protocol::Tls);
        self.reader(side).end = from;
    }

    /// The connection carries something that is not read.
    pub(super) fn give_up(&mut self, protocol: Protocol) {
        self.protocol = protocol;
        self.client.phase = Phase::Opaque;
        self.server.phase = Phase::Opaque;
        self.client.draft = None;
        self.server.draft = None;
    }

    /// No byte of the server was seen, and the client's packets do not say that there was none.
    pub(super) fn is_one_way(&self) -> bool {
        let acked = |exchange: &Exchange| {
            exchange.request.as_ref().is_some_and(|request| request.acked.is_some())
        };
        self.server.end == 0 && !self.pending().any(acked)
    }

    /// The exchange whose response is being read.
    pub(super) fn answering(&mut self) -> Option<&mut Pending> {
        match &mut self.early {
            Some(early) if !early.response_complete() => Some(early),
            _ => self.queue.front_mut(),
        }
    }

    /// A new exchange on this connection.
    pub(super) fn blank(&mut self, done: Done<'_, '_>) -> Box<Pending> {
        if let Some(last) = self.last.take() {
            done.pool.keep_pending(last);
        }
        done.pool.pending()
    }

    /// Gives out the exchanges at the front that are complete on both sides. A request that another
    /// follows does not go on, whether its end was seen or not.
    pub(super) fn settle(&mut self, done: Done<'_, '_>) {
        while let Some(front) = self.queue.front() {
            let asked = front.request_complete() || self.queue.len() > 1;
            if !(front.response_complete() && asked) {
                return;
            }
            self.give_front(State::Answered, done);
        }
    }

    pub(super) fn give_front(&mut self, state: State, done: Done<'_, '_>) {
        if let Some(pending) = self.queue.pop_front() {
            self.give(pending, state, done);
        }
    }

    /// Every pending exchange becomes unknown, for the reason given; answers to them may come.
    pub(super) fn give_up_pairing(&mut self, why: BlindSpot, done: Done<'_, '_>) {
        while let Some(mut pending) = self.queue.pop_front() {
            let state = if pending.response_complete() { State::Answered } else { State::Unknown };
            pending.exchange.blind_spots.add(why);
            self.give(pending, state, done);
        }
        self.unseen = Some(why);
        self.response_since = false;
    }

    pub(super) fn give(&mut self, mut pending: Box<Pending>, state: State, done: Done<'_, '_>) {
        pending.exchange.state = state;
        (done.give)(&pending.exchange);
        let answered = state == State::Answered && pending.exchange.request.is_some();
        let response = pending.exchange.response.as_ref().filter(|_| answered);
        self.closing = response.is_some_and(|response| response.head_complete && response.closes);
        let earlier = if answered { self.last.replace(pending) } else { Some(pending) };
        if let Some(unneeded) = earlier {
            done.pool.keep_pending(unneeded);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::script::{GET, OK, Script};
    use State::{Answered, Cut, Unanswered, Unknown};

    #[test]
    fn an_idle_conversation_is_small() {
        let size = size_of::<Conversation>();
        assert!(size <= 152, "{size}");
    }

    #[test]
    fn keep_alive_exchanges_are_given_out_as_they_complete() {
        let mut script = Script::new();
        script.client(GET).server(OK);
        assert_eq!(script.outcomes(), [(200, Answered)]);
        script.client(GET);
        assert_eq!(script.conversation.pending().count(), 1);
        script.server(OK).end();
        assert_eq!(script.outcomes(), [(200, Answered), (200, Answered)]);
        let second = &script.given[1];
        assert_eq!(second.ordinal, 2);
        assert_eq!(second.request.as_ref().map(|request| request.start), Some(GET.len() as u64));
        assert!(second.blind_spots.is_empty());
        assert_eq!((script.conversation.requests(), script.conversation.responses()), (2, 2));
    }

    #[test]
    fn idle_time_is_from_the_last_byte_of_either_side() {
        let mut script = Script::new();
        script.wait(4_000_000).client(GET).server(OK).wait(9_000_000).client(GET).end();
        let idle: Vec<_> = script.given.iter().map(|exchange| exchange.idle_before).collect();
        assert_eq!(idle, [Some(5_000_000), Some(10_000_000)]);
        let mut script = Script::from_the_middle();
        script.client(GET).end();
        assert_eq!(script.given[0].idle_before, None);
    }

    #[test]
    fn pipelined_requests_are_answered_in_order() {
        let mut script = Script::new();
        script.client(&GET.repeat(3)).server(&OK.replace("200", "201")).server(OK).end();
        assert_eq!(script.outcomes(), [(201, Answered), (200, Answered), (0, Unanswered)]);
        assert_eq!(script.given[1].idle_before, Some(0));
    }

    #[test]
    fn too_many_pipelined_requests_become_unknown() {
        let mut script = Script::new();
        script.client(&GET.repeat(super::super::PENDING_MAX + 1));
        assert_eq!(script.given.len(), super::super::PENDING_MAX);
        assert!(script.given.iter().all(|exchange| exchange.state == Unknown));
        assert!(script.given[0].blind_spots.has(BlindSpot::Evicted));
    }

    #[test]
    fn what_remains_at_the_end_has_a_final_state() {
        let mut script = Script::new();
        script.client(GET).server("HTTP/1.1 200 OK\r\nContent-Le").end();
        assert_eq!(script.outcomes(), [(200, Cut)]);
        let mut script = Script::new();
        script.client(GET).server("HT").end();
        assert_eq!(script.outcomes(), [(0, Cut)]);
        let mut script = Script::new();
        script.client("POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc").end();
        assert_eq!(script.outcomes(), [(0, Unanswered)]);
    }
}
