//! What a rule is asked about, and the questions that several rules put to it.

use super::{Confidence, Evidence, What, Wider};
use crate::blind::BlindSpot;
use crate::flow::{Ending, EndingKind, Flow, Grade, Retransmission, Vantage};
use crate::http::{Exchange, Request, Response, ResponseHead, State};
use crate::tcp::Side;
use crate::time::{Mark, Timestamp};
use crate::tls::Handshake;
use crate::words::Phrase;
use crate::{phrase, word};

/// Shortest time-out that anybody but a few configures, nanoseconds.
pub(super) const SHORTEST_TIMER: i64 = 900_000_000;

/// Time for a kernel to answer, nanoseconds.
const AT_ONCE: i64 = 5_000_000;
/// Times to live that common systems start with: Linux and macOS 64, Windows 128, network devices 255.
const INITIAL_TTLS: [u8; 3] = [64, 128, 255];
/// Round trips below this are lost in scheduling noise, nanoseconds.
const CLEAR: i64 = 2_000_000;

/// One exchange of a flow, or the flow itself when it failed before any request.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The flow.
    pub flow: &'a Flow,
    /// The exchange that failed; `None` when the connection failed before a request.
    pub exchange: Option<&'a Exchange>,
    /// What the other flows of the capture tell.
    pub wider: &'a Wider,
}

/// How much of a request its receiver had acknowledged in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// Not its first byte: the sender of the segment had not received the request.
    Nothing,
    /// Some bytes.
    Part,
    /// Every byte that the client had sent.
    All,
    /// The segment does not say (no ACK flag).
    Unknown,
}

impl<'a> Case<'a> {
    /// The request.
    pub fn request(&self) -> Option<&'a Request> {
        self.exchange.and_then(|exchange| exchange.request.as_ref())
    }

    /// The final response as far as it came before the client closed.
    pub fn response(&self) -> Option<&'a Response> {
        self.sent().filter(|_| !self.late())
    }

    /// The final response as the target sent it.
    fn sent(&self) -> Option<&'a Response> {
        self.exchange.and_then(|exchange| exchange.response.as_ref())
    }

    /// A response that crossed its request reaches the client's program only when its TCP takes it:
    /// before a RST, and acknowledged.
    fn delivered(&self, response: &Response) -> bool {
        let reset = self.flow.endings.iter().any(|ending| {
            ending.kind == EndingKind::Rst
                && ending.grade.counts()
                && ending.mark.at <= response.first.at
        });
        let crossed = response.unsolicited
            || self
                .request()
                .zip(response.acked)
                .is_some_and(|(request, acked)| acked <= request.start);
        !(crossed && reset && self.flow.half(Side::Server).acked <= response.start)
    }

    /// The response came when the client had closed and answered it with RST, or had obeyed a RST in the
    /// target's name. (A client that only shut down its sending side still takes it.)
    fn late(&self) -> bool {
        let Some(response) = self.sent() else { return false };
        let before = |ending: &Ending| ending.mark.at < response.first.at;
        if !self.delivered(response) || self.overtaken() || self.met_nobody() {
            return true;
        }
        let closed = self.close_of(Side::Client).is_some_and(|close| {
            before(close) && self.request().is_some_and(|request| close.mark.at >= request.first.at)
        });
        closed
            && self
                .flow
                .endings
                .iter()
                .any(|ending| ending.side == Side::Client && ending.kind == EndingKind::Rst)
    }

    /// The request of an exchange that did not end well: cut or unanswered.
    ///
    /// In a capture of one direction the other side's silence means nothing.
    pub fn failed(&self) -> Option<&'a Request> {
        let exchange = self.exchange?;
        if self.flow.blind_spots.has(BlindSpot::OneDirection) {
            return None;
        }
        let failed = matches!(exchange.state, State::Cut | State::Unanswered) || self.late();
        let failed = failed && !self.satisfied() && !self.may_be_message();
        failed.then_some(exchange.request.as_ref()).flatten()
    }

    /// How sure it is that the whole request was sent: its end was read, or the snap length hides it and its method
    /// gives content no meaning (RFC 9110, 9.3), so that the head, in these segments, is all of it.
    pub fn sent_whole(&self) -> Option<Confidence> {
        const WITHOUT_CONTENT: [&[u8]; 5] = [b"GET ", b"HEAD ", b"OPTIONS ", b"DELETE ", b"TRACE "];
        let (request, spots) = (self.request()?, self.exchange?.blind_spots);
        let cut = spots.has(BlindSpot::Snaplen) && !spots.has(BlindSpot::Gap);
        match WITHOUT_CONTENT.iter().any(|method| request.head.starts_with(method)) {
            _ if request.complete => Some(Confidence::Certain),
            true if cut => Some(Confidence::Likely),
            false if cut => Some(Confidence::Possible),
            _ => None,
        }
    }

    /// Its bytes cannot be read.
    pub fn is_encrypted(&self) -> bool {
        self.exchange.is_some_and(|exchange| exchange.blind_spots.has(BlindSpot::Encrypted))
    }

    /// `request`, or `encrypted request` where nobody could read it.
    pub fn what_was_asked(&self) -> &'static str {
        if self.is_encrypted() { word!("encrypted request") } else { word!("request") }
    }

    /// What cannot be read may ask for no answer: a message on an upgraded connection. When its
    /// client closes, only a first request, or a wait that looks like a timer, counts as unanswered.
    fn may_be_message(&self) -> bool {
        let later = self.exchange.is_some_and(|exchange| exchange.ordinal > 1);
        let untimed = |close: &Ending| self.timer(self.silence_before(close.mark)).is_none();
        self.is_encrypted() && later && self.closed_by_client().is_some_and(untimed)
    }

    /// The TLS handshake that was going on when the connection ended, before any request.
    pub fn handshaking(&self) -> Option<&'a Handshake> {
        let tls = self.flow.tls.as_deref().filter(|_| self.exchange.is_none())?;
        (tls.established.is_none() && !tls.midway && !tls.unread).then_some(tls)
    }

    /// Evidence: the client's first bytes on a connection that never got to a request.
    pub fn greeted(&self, note: impl Into<Phrase>) -> Option<Evidence> {
        let mark = self.handshaking().and(self.flow.opening.asked)?;
        Some(Evidence { mark, side: Side::Client, what: What::TlsHello, note: note.into() })
    }

    /// The response came behind a RST in the target's name that the client had obeyed.
    pub fn overtaken(&self) -> bool {
        self.sent().is_some_and(|response| {
            self.flow.endings.iter().any(|ending| {
                ending.side == Side::Server
                    && ending.belied.is_some()
                    && ending.grade.counts()
                    && ending.mark.at < response.first.at
            })
        })
    }

    /// The request was sent again and again, and when it was received at last, the client had given up before,
    /// nobody knows when: its FIN had to wait for the request's acknowledgment and follows that at once, or it
    /// has no connection any more.
    pub fn unheard(&self) -> bool {
        let Some(repeated) = self.repeated_request() else { return false };
        let released = |close: &Ending| {
            let after = close.mark.at.nanos_since(repeated.mark.at);
            close.kind == EndingKind::Fin && (0..=self.round_trip() + AT_ONCE).contains(&after)
        };
        self.met_nobody()
            || (self.unanswered().is_some() && self.closed_by_client().is_some_and(released))
    }

    /// The response to a request that had been sent again and again meets no connection any more: a RST without
    /// ACK answers it.
    fn met_nobody(&self) -> bool {
        let Some(response) = self.sent().filter(|_| self.repeated_request().is_some()) else {
            return false;
        };
        let unread = self.flow.half(Side::Server).acked <= response.start;
        self.flow.endings.first().filter(|_| unread).is_some_and(|first| {
            first.side == Side::Client
                && (first.kind, first.ack_flag) == (EndingKind::Rst, false)
                && first.mark.at >= response.first.at
        })
    }

    /// The last repetition of a request that was sent more than twice.
    fn repeated_request(&self) -> Option<Retransmission> {
        let bytes = self.request().map(|request| request.start..request.end)?;
        let last = self.flow.half(Side::Client).trouble().retransmission;
        last.filter(|last| last.times >= 2 && bytes.contains(&last.offset))
    }

    /// Evidence: the SYN.
    pub fn called(&self, note: impl Into<Phrase>) -> Option<Evidence> {
        let mark = self.flow.opening.syn?;
        Some(Evidence { mark, side: Side::Client, what: What::Syn, note: note.into() })
    }

    /// The client had the status it wanted and closed at once: how probers end a check.
    fn satisfied(&self) -> bool {
        /// Time for a program to act on what it read, nanoseconds.
        const REACTION: i64 = 50_000_000;
        let (Some(close), Some(response)) = (self.closed_by_client(), self.response()) else {
            return false;
        };
        let round_trip = self.round_trip();
        response.head_complete
            && response.fault.is_none()
            && close.mark.at.nanos_since(response.first.at) <= round_trip + REACTION
    }

    /// Like [`Case::failed`], and no byte of a response came.
    pub fn unanswered(&self) -> Option<&'a Request> {
        self.failed().filter(|_| self.response().is_none())
    }

    /// The request of an exchange whose response left the target whole, was repeated, and never
    /// acknowledged: answered as seen here, not as seen by the client.
    pub fn undelivered(&self) -> Option<&'a Request> {
        let (request, response) = (self.request()?, self.response()?);
        let lost = self.flow.lost(Side::Server)?;
        (self.exchange?.state == State::Answered && lost.offset < response.end).then_some(request)
    }

    /// `side` sent the same bytes again and again at the end.
    pub fn repeats(&self, side: Side) -> bool {
        self.flow.half(side).trouble().retransmission.is_some_and(|last| {
            last.times >= 2 && last.offset + u64::from(last.len) >= self.flow.half(side).sent
        })
    }

    /// The first FIN or RST of `side` that its peer obeys.
    pub fn close_of(&self, side: Side) -> Option<&'a Ending> {
        self.flow.endings.iter().find(|ending| {
            ending.side == side && (ending.kind == EndingKind::Fin || ending.grade.counts())
        })
    }

    /// What says that bytes were sent before `close` which had not come by then and which their receiver has not
    /// acknowledged since: lost on the way, and not only to the capture. A FIN takes the sequence number behind the
    /// last of them (RFC 9293, 3.4); so does a RST, which their receiver takes only when asked again (RFC 5961, 3.2).
    pub fn lost_before(&self, close: &Ending) -> Option<&'a Ending> {
        let acked = self.flow.half(close.side).acked;
        self.flow.endings.iter().find(|it| {
            let own = it.kind == EndingKind::Fin
                || (it.ack_flag && !it.unstamped && it.grade != Grade::Outside);
            (it.side, own) == (close.side, true)
                && it.mark.at <= close.mark.at
                && it.missing > 0
                && it.offset.is_some_and(|end| acked < end)
        })
    }

    /// The server's close, when it came first and nothing that was sent before it was lost on the way: it
    /// says that no more was to come than did.
    pub fn cut_by_server(&self) -> Option<&'a Ending> {
        self.closed_by_server().filter(|close| self.lost_before(close).is_none())
    }

    /// How often the client sent its FIN when nothing answered it: a host acknowledges it whatever its programs do.
    pub fn closes_unheard(&self, close: &Ending) -> Option<u16> {
        /// Fewer may be lost by chance.
        const REPEATED: u16 = 3;
        let repeated = self.flow.half(close.side).trouble().fins_repeated;
        let since = |at: Timestamp| at.nanos_since(close.mark.at) >= 0;
        let heard = self.flow.half(!close.side).last.is_some_and(since);
        (close.kind == EndingKind::Fin && !heard && repeated >= REPEATED).then(|| repeated + 1)
    }

    /// The first FIN or RST of either side; in TLS that of the side whose alert came first.
    pub fn close(&self) -> Option<&'a Ending> {
        match (self.close_of(Side::Client), self.close_of(Side::Server)) {
            (Some(client), Some(server)) => {
                let (asked, answered) = (self.flow.announced(client), self.flow.announced(server));
                // Numbers of frames are those of their file.
                let first = (answered.at, answered.frame) < (asked.at, asked.frame);
                Some(if first { server } else { client })
            }
            (one, other) => one.or(other),
        }
    }

    /// The server's close, when it came first.
    pub fn closed_by_server(&self) -> Option<&'a Ending> {
        self.close().filter(|ending| ending.side == Side::Server)
    }

    /// The client's close, when it came first.
    pub fn closed_by_client(&self) -> Option<&'a Ending> {
        self.close().filter(|ending| ending.side == Side::Client)
    }

    /// The server closed a reused connection in the moment that the request arrived, although it
    /// had received it: a coincidence, unless its idle timer made it so.
    pub fn closes_on_arrival(&self, close: &Ending) -> bool {
        /// From the end of an idle time until a busy program closes, nanoseconds.
        const SOON: i64 = 10_000_000;
        let round_trip = self.round_trip();
        self.unanswered().is_some()
            && self.exchange.is_some_and(|exchange| exchange.ordinal > 1)
            && matches!(self.coverage(close), Coverage::All | Coverage::Unknown)
            && (0..=round_trip + SOON).contains(&self.since_request(close.mark))
    }

    /// How much of the request the sender of `ending` had received.
    pub fn coverage(&self, ending: &Ending) -> Coverage {
        let (Some(request), Some(acked)) = (self.request(), ending.acked) else {
            return Coverage::Unknown;
        };
        if acked <= request.start {
            Coverage::Nothing
        } else if acked < request.end {
            Coverage::Part
        } else {
            Coverage::All
        }
    }

    /// The connection had carried an exchange before, or lay idle long enough that the server's
    /// idle timer is what ended it.
    pub fn reused(&self) -> bool {
        /// A connection opened ahead of need; no program closes one sooner on purpose.
        const IDLE: i64 = 1_000_000_000;
        let Some(exchange) = self.exchange else { return false };
        let unseen =
            self.flow.blind_spots.has(BlindSpot::NoHandshake) && self.flow.opening.syn.is_none();
        unseen || exchange.ordinal > 1 || exchange.idle_before.is_some_and(|idle| idle >= IDLE)
    }

    /// `FIN` or `RST`.
    pub fn name(&self, ending: &Ending) -> &'static str {
        match ending.kind {
            EndingKind::Fin => "FIN",
            EndingKind::Rst => "RST",
        }
    }

    /// Where the capture was taken: as the user or this flow says, else as others of the same
    /// hosts show, else as times to live suggest.
    pub fn vantage(&self) -> Vantage {
        if self.not_passed_on() {
            return Vantage::Between;
        }
        [self.flow.vantage, self.wider.vantage(self.flow), self.by_ttl()]
            .into_iter()
            .find(|vantage| *vantage != Vantage::Unknown)
            .unwrap_or_default()
    }

    /// SYN came to the host that captured and did not leave it again, while that host passes other connections to
    /// the same server on: a router, or a host that translates addresses, kept it.
    pub fn not_passed_on(&self) -> bool {
        self.flow.vantage == Vantage::Server
            && self.flow.opening.syn_ack.is_none()
            && self.wider.forwards(self.flow.server)
    }

    /// A host's own packets still have the time to live that its system starts with; those of the
    /// other side have passed routers.
    fn by_ttl(&self) -> Vantage {
        let ttl = |side| Some(self.flow.half(side).ttl).filter(|ttl| *ttl != 0);
        let fresh = |ttl: Option<u8>| ttl.map(|ttl| INITIAL_TTLS.contains(&ttl));
        match (fresh(ttl(Side::Client)), fresh(ttl(Side::Server))) {
            (Some(true), Some(false)) => Vantage::Client,
            (Some(false), Some(true) | None) => Vantage::Server,
            (Some(false), Some(false)) => Vantage::Between,
            _ => Vantage::Unknown,
        }
    }

    /// Round-trip time of the whole path, nanoseconds; 0 when it is not known. Without an ACK of its
    /// own the first request ends the handshake.
    pub fn round_trip(&self) -> i64 {
        /// Longer than this the client had paused, nanoseconds.
        const PAUSE: i64 = 500_000_000;
        let opening = &self.flow.opening;
        let bound =
            opening.last_syn().zip(opening.asked).map(|(syn, asked)| asked.at.nanos_since(syn.at));
        opening.round_trip().or(bound.filter(|bound| *bound < PAUSE)).unwrap_or(0)
    }

    /// The close follows the last byte so closely that it is a reaction to it, not a timer.
    pub fn prompt(&self, close: &Ending) -> bool {
        let round_trip = self.round_trip();
        self.silence_before(close.mark) <= 2 * round_trip + 300_000_000
    }

    /// The RST came sooner after the request than the target can have answered: in less than half
    /// the shortest round trip between the capture point and the target.
    pub fn too_fast(&self, close: &Ending) -> bool {
        let smoothed = self.flow.rtt.map(|rtt| rtt.smoothed);
        let handshake = self.flow.opening.server_side();
        let shortest = handshake.into_iter().chain(smoothed).min().unwrap_or(0);
        self.vantage() != Vantage::Server
            // It was under way before the request was.
            && self.coverage(close) != Coverage::Nothing
            && self.request().is_some_and(|request| {
                let after = close.mark.at.nanos_since(request.first.at);
                shortest >= CLEAR && (0..shortest / 2).contains(&after)
            })
    }

    /// The RST that answered the SYN, on a connection that never opened.
    pub fn refusal(&self) -> Option<&'a Ending> {
        let opening = &self.flow.opening;
        let only_syn = self.flow.half(Side::Client).distinct() == u64::from(opening.syns);
        let refused = opening.syn.is_some() && opening.syn_ack.is_none() && only_syn;
        self.closed_by_server().filter(|close| refused && close.kind == EndingKind::Rst)
    }

    /// The SYN was refused in so small a part of the time in which this host answers SYNs that the RST is not of
    /// that host; tells that time, nanoseconds.
    pub fn refused_too_fast(&self) -> Option<i64> {
        /// One in so many: twice what a path's jitter may be.
        const PART: i64 = 4;
        let (reset, syn) = (self.refusal()?, self.flow.opening.last_syn()?);
        let usual = self.wider.answers_in(self.flow.server).filter(|usual| *usual >= CLEAR)?;
        let fast = (0..usual / PART).contains(&reset.mark.at.nanos_since(syn.at));
        (fast && self.vantage() != Vantage::Server).then_some(usual)
    }

    /// Times to live of the other packets of the one who sent `close`, in this flow or others, the least and
    /// the greatest.
    pub fn usual_ttl(&self, close: &Ending) -> Option<(u8, u8)> {
        let here = Some(self.flow.half(close.side).ttl).filter(|ttl| *ttl != 0);
        here.map(|ttl| (ttl, ttl)).or_else(|| self.wider.ttl(self.flow.endpoint(close.side)))
    }

    /// The RST has another time to live than its sender's other packets. Routes change by a hop now
    /// and then, and a host sends RST as it sends everything else. But what has passed no router at all does not
    /// come from where everything else has passed one.
    pub fn alien(&self, close: &Ending) -> bool {
        let Some((least, greatest)) = self.usual_ttl(close) else { return false };
        let elsewhere = self.wider.ttl(self.flow.endpoint(close.side));
        let known = elsewhere.is_some_and(|(from, to)| (from..=to).contains(&close.ttl));
        let unrouted = INITIAL_TTLS.contains(&close.ttl) && close.ttl > greatest && !known;
        let far = close.ttl.saturating_add(1) < least || close.ttl > greatest.saturating_add(1);
        close.kind == EndingKind::Rst && (far || unrouted)
    }

    /// A RST in the target's name that its receiver has to ignore and that does not look like the target's other
    /// segments: somebody else sends RSTs on this connection.
    pub fn forged(&self) -> Option<&'a Ending> {
        self.flow.endings.iter().find(|it| {
            (it.side, it.kind, it.ack_flag) == (Side::Server, EndingKind::Rst, true)
                && matches!(it.grade, Grade::Outside | Grade::Contradicted)
                && (it.unstamped || self.alien(it))
        })
    }

    /// The RST is not of the host in whose name it came.
    pub fn foreign(&self, close: &Ending) -> bool {
        close.belied.is_some() || self.alien(close)
    }

    /// Whether `silence` before the client's close looks like a timer of the load balancer, and
    /// how sure that is.
    pub fn timer(&self, silence: i64) -> Option<Confidence> {
        /// The shortest that three closes and more tell, nanoseconds. Below it they lie as close together by
        /// chance.
        const SHORTEST_OF_MANY: i64 = 200_000_000;
        const SECOND: i64 = 1_000_000_000;
        let client = self.flow.client;
        if silence < SHORTEST_OF_MANY {
            return None;
        }
        let same = self.wider.same_silence(client, silence);
        if silence < SHORTEST_TIMER && same < 3 {
            return None;
        }
        if self.wider.waited_longer(client, silence) {
            // It has other patience elsewhere: a timer of this route alone, or its client's.
            return (same >= 3).then_some(Confidence::Possible);
        }
        if same >= 2 {
            return Some(Confidence::Likely);
        }
        let off = (silence + SECOND / 2).rem_euclid(SECOND) - SECOND / 2;
        (off.abs() <= (silence / 200).max(SECOND / 20)).then_some(Confidence::Possible)
    }

    /// The load balancer waited until a timer of its own ended: what was lost on the way has been repeated by then.
    pub fn gave_up(&self) -> bool {
        let timed = |close: &Ending| self.timer(self.silence_before(close.mark)).is_some();
        self.closed_by_client().is_some_and(timed)
    }

    /// Whether the time from the request to the client's close looks like a timer of the load balancer for the
    /// whole response, which bytes do not wind up: others were cut after the same time. A stream that never is
    /// whole says nothing of one.
    pub fn whole_timer(&self, close: &Ending) -> Option<Confidence> {
        let (client, age) = (self.flow.client, self.age_at(close.mark));
        let is_timer = age >= SHORTEST_TIMER
            && !self.is_event_stream()
            && self.wider.same_age(client, age) >= 2
            && !self.wider.cut_later(client, age);
        is_timer.then_some(Confidence::Likely)
    }

    /// Since when the server's window is zero, if it still is at the end. What the client closes then ends behind
    /// the bytes that wait for the window (RFC 9293, 3.8.6.1): its FIN or RST says nothing of when it gave up.
    pub fn window_shut(&self) -> Option<Mark> {
        self.flow.half(Side::Server).trouble().zero_window_since
    }

    /// The reader of a stream of events closed it, at no moment that is known as a timer's: such a stream has no
    /// other end, and nothing failed.
    pub fn had_enough(&self) -> bool {
        let untimed = |close: &Ending| {
            self.timer(self.silence_before(close.mark))
                .is_none_or(|sure| sure == Confidence::Possible)
        };
        self.is_event_stream() && self.closed_by_client().is_some_and(untimed)
    }

    /// The response is a stream of events (`text/event-stream`, WHATWG HTML 9.2): it ends when its reader has
    /// enough of it.
    fn is_event_stream(&self) -> bool {
        const EVENTS: &str = "text/event-stream";
        self.response().is_some_and(|response| {
            let media = ResponseHead::parse(&response.head).header("content-type");
            let media = media.as_deref().map(|media| media.split(';').next().unwrap_or_default());
            media.is_some_and(|media| media.trim().eq_ignore_ascii_case(EVENTS))
        })
    }

    /// Nanoseconds from the request's last byte to `mark`.
    pub fn age_at(&self, mark: Mark) -> i64 {
        self.request().map_or(0, |request| mark.at.nanos_since(request.last.at))
    }

    /// Nanoseconds from the request's first byte to `mark`; negative when `mark` came first.
    pub fn since_request(&self, mark: Mark) -> i64 {
        self.request().map_or(0, |request| mark.at.nanos_since(request.first.at))
    }

    /// Nanoseconds that the request had been out at `mark`.
    pub fn outstanding(&self, mark: Mark) -> i64 {
        self.since_request(mark).max(0)
    }

    /// Nanoseconds from the last byte that either side contributed to the exchange to `mark`.
    pub fn silence_before(&self, mark: Mark) -> i64 {
        let request = self.request().map(|request| request.last.at);
        let response = self.response().map(|response| response.last.at);
        let last = request.max(response).unwrap_or(self.flow.first.at);
        mark.at.nanos_since(last)
    }

    /// Evidence: a FIN or RST.
    pub fn ending(&self, ending: &Ending, note: impl Into<Phrase>) -> Evidence {
        let what = match ending.kind {
            EndingKind::Fin => What::Fin,
            EndingKind::Rst => What::Rst,
        };
        Evidence { mark: ending.mark, side: ending.side, what, note: note.into() }
    }

    /// Evidence: the request.
    pub fn asked(&self, note: impl Into<Phrase>) -> Option<Evidence> {
        let request = self.request()?;
        Some(Evidence {
            mark: request.first,
            side: Side::Client,
            what: What::Request,
            note: note.into(),
        })
    }

    /// Evidence: the last byte of the response.
    pub fn answered(&self, note: impl Into<Phrase>) -> Option<Evidence> {
        let response = self.response()?;
        Some(Evidence {
            mark: response.last,
            side: Side::Server,
            what: What::Response,
            note: note.into(),
        })
    }

    /// Evidence: `side` kept silent after `mark`.
    pub fn silence(&self, side: Side, mark: Mark, note: impl Into<Phrase>) -> Evidence {
        Evidence { mark, side, what: What::Silence, note: note.into() }
    }

    /// What followed the close and confirms it: the server's bare RST to a late request.
    pub fn bare_reset_after(&self, close: &Ending) -> Option<&'a Ending> {
        self.flow.endings.iter().find(|ending| {
            ending.side == Side::Server
                && ending.kind == EndingKind::Rst
                && !ending.ack_flag
                && ending.mark.frame != close.mark.frame
        })
    }
}

/// A duration for a sentence: `350 ms`, `5.00 s`, `2.3 ms`.
pub(crate) fn span(nanos: i64) -> Phrase {
    let seconds = nanos as f64 / 1e9;
    match seconds.abs() {
        s if s >= 1.0 => phrase!("{n} s", n = format!("{seconds:.2}")),
        s if s >= 0.01 => phrase!("{n} ms", n = format!("{:.0}", seconds * 1e3)),
        s if s >= 0.000_1 => phrase!("{n} ms", n = format!("{:.1}", seconds * 1e3)),
        _ => phrase!("{n} µs", n = format!("{:.0}", seconds * 1e6)),
    }
}
