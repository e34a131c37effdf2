//! Bytes of the server that are no answer to a request at hand: responses that nobody asked for,
//! answers to requests that were not seen, and what is no response at all.

use super::body::Body;
use super::conversation::{Conversation, Done, Phase};
use super::detect::{self, ANSWER_BYTES, Answer};
use super::scan::{Method, sample};
use super::{Fault, FaultKind, Framing, Protocol, State};
use crate::blind::BlindSpot;
use crate::tcp::At;
use crate::time::Mark;

impl Conversation {
    /// The server has received bytes that the capture does not show.
    pub(super) fn asks_unseen(&self, at: At) -> bool {
        at.acked.map_or(self.client.end == 0, |acked| acked > self.client.end)
    }

    /// The request may come yet: captures mix up the order of the two directions.
    pub(super) fn may_be_reordered(&self, at: At) -> bool {
        at.acked.is_some() && self.client.end > 0 && self.client.phase == Phase::Start
    }

    /// Forgets a response that came before its request when the request turns out not to come.
    pub(super) fn drop_awaiting(&mut self, why: BlindSpot) {
        if let Some(early) = self.early.take_if(|early| early.doubtful)
            && !early.response_complete()
        {
            self.server.phase = Phase::Lost(why);
            self.server.draft = None;
        }
    }

    /// Passes over the answer to a request that was not seen. Without the method its length is not
    /// known.
    pub(super) fn skip_response(&mut self, bytes: &[u8]) {
        self.response_since = true;
        let why = self.unseen.unwrap_or(BlindSpot::Gap);
        self.server.phase = Phase::Lost(why);
        self.server.draft = None;
        match detect::status(bytes) {
            Some(status) => {
                self.protocol = Protocol::Http1;
                self.responses = self.responses.saturating_add(u32::from(status >= 200));
            }
            None if self.protocol == Protocol::Unknown => self.give_up(Protocol::Other),
            None => {}
        }
    }

    /// Whether the head is or may become one; if not, the phase is no longer `Head`. When it takes
    /// more bytes to tell, those at hand are put aside.
    pub(super) fn begins_as_response(&mut self, at: At, bytes: &[u8]) -> bool {
        let draft = self.server.draft();
        let carried = draft.carry.len();
        if carried >= ANSWER_BYTES {
            return true;
        }
        let mut first = [0; ANSWER_BYTES];
        let new = bytes.len().min(ANSWER_BYTES - carried);
        first[..carried].copy_from_slice(&draft.carry);
        first[carried..carried + new].copy_from_slice(&bytes[..new]);
        match detect::answer(&first[..carried + new]) {
            Answer::Status => true,
            Answer::More => {
                draft.carry.extend_from_slice(bytes);
                self.extend_head(at, bytes);
                false
            }
            Answer::Not(kind) => {
                let mut shown = std::mem::take(&mut draft.carry);
                shown.extend_from_slice(&bytes[..bytes.len().min(64)]);
                self.not_a_response(at.mark, kind, &shown);
                false
            }
        }
    }

    /// The bytes are no response. As HTTP/0.9 they are the body; some proxies pass that on.
    fn not_a_response(&mut self, mark: Mark, kind: FaultKind, shown: &[u8]) {
        if self.protocol == Protocol::Unknown {
            // The server speaks first, and not HTTP.
            self.early = None;
            return self.give_up(Protocol::Other);
        }
        let unasked = self.early_is_read();
        let Some(answering) = self.answering() else { return };
        let simple = answering.method == Method::Simple && kind == FaultKind::NotHttp;
        let Some(response) = &mut answering.exchange.response else { return };
        let mark = if response.end > response.start { response.first } else { mark };
        response.framing = Framing::UntilClose;
        response.closes = true;
        // What waited in the head is content now.
        response.head.clear();
        response.head_len = 0;
        response.body = response.end - response.start;
        if !simple {
            response.fault = Some(Fault { mark, offset: 0, kind, sample: sample(shown, 0) });
        }
        let body = match kind {
            FaultKind::NotHttp if !unasked => Body::UntilClose,
            _ => Body::Rest,
        };
        self.server.phase = Phase::Body(body);
        self.responses = self.responses.saturating_add(u32::from(simple));
    }

    /// The stream ended before the first bytes told what they are.
    pub(super) fn resolve_answer(&mut self) {
        if let Some(shown) = self.server.undecided() {
            let shown = shown.to_vec();
            if detect::answer(&shown) == Answer::More && !b"HTTP/".starts_with(&shown) {
                self.not_a_response(Mark::default(), FaultKind::NotHttp, &shown);
            }
        }
    }

    /// A response that nobody asked for is being read.
    pub(super) fn early_is_read(&self) -> bool {
        self.early.as_ref().is_some_and(|early| !early.response_complete())
    }

    /// Garbage that lay there before the request is its answer when no other came.
    pub(super) fn join_garbage(&mut self) {
        if let Some(front) =
            self.queue.front_mut().filter(|front| front.exchange.response.is_none())
            && let Some(mut early) = self.early.take_if(|early| early.is_garbage())
        {
            front.exchange.response = early.exchange.response.take();
        }
    }

    /// A response that nobody asked for is given out as one.
    pub(super) fn give_early(&mut self, done: Done<'_, '_>) {
        self.early = self.early.take_if(|early| !early.doubtful);
        if let Some(mut early) = self.early.take() {
            early.exchange.ordinal = self.requests.saturating_add(1);
            let state = early.final_state();
            self.give(early, state, done);
        }
    }

    /// A status line at the start of a segment behind bytes that could not be read: when a request
    /// waits for it or nobody asked for those bytes, reading resumes.
    pub(super) fn resume_server(&mut self, done: Done<'_, '_>) {
        if self.early_is_read() {
            self.give_early(done);
            self.server.phase = Phase::Start;
        } else if self.queue.len() > 1 {
            let state = self.queue.front().map_or(State::Unknown, |front| front.final_state());
            self.give_front(state, done);
            self.server.phase = Phase::Start;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::{GET, OK, Script};
    use super::super::{Exchange, Pool, Response};
    use super::*;
    use crate::tcp::Side::{Client, Server};
    use State::{Answered, Cut};

    /// What comes of `bytes` as the answer to a request, and then the end of the connection.
    fn answer(bytes: &[u8]) -> (Response, State) {
        let mut script = Script::new();
        script.client(GET).says(Server, bytes).fin(Server).end();
        assert_eq!(script.given.len(), 1);
        (script.given[0].response.clone().unwrap_or_default(), script.given[0].state)
    }

    fn fault(bytes: &[u8]) -> Option<FaultKind> {
        answer(bytes).0.fault.map(|fault| fault.kind)
    }

    #[test]
    fn an_unsolicited_response_is_paired_with_the_next_request() {
        let late = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n";
        let mut script = Script::new();
        script.client(GET).server(OK).server(late).crossing(Client, GET, late.len() as u64).end();
        assert_eq!(script.outcomes(), [(200, Answered), (408, Answered)]);
        let unsolicited = |script: &Script| {
            script.given.last().and_then(|e| e.response.as_ref().map(|r| r.unsolicited))
        };
        assert_eq!(unsolicited(&script), Some(true));
        let mut script = Script::new();
        script.server(late).end();
        assert_eq!(script.outcomes(), [(408, Answered)]);
        assert!(script.given[0].request.is_none());
        assert_eq!(unsolicited(&script), Some(true));
    }

    #[test]
    fn a_response_captured_before_its_request_is_not_unsolicited() {
        let mut script = Script::new();
        let at = |offset, acked| At { offset, acked: Some(acked), ..At::default() };
        let Script { conversation, given, .. } = &mut script;
        let mut done = |exchange: &Exchange| given.push(exchange.clone());
        // The server acknowledges a request that the capture shows only later.
        conversation.data(Client, at(0, 0), GET.as_bytes(), &mut Pool::default(), &mut done);
        conversation.data(Server, at(0, 28), OK.as_bytes(), &mut Pool::default(), &mut done);
        conversation.data(Server, at(40, 56), OK.as_bytes(), &mut Pool::default(), &mut done);
        conversation.data(Client, at(28, 40), GET.as_bytes(), &mut Pool::default(), &mut done);
        conversation.finish(&mut Pool::default(), &mut done);
        assert!(script.given.iter().all(|e| e.response.as_ref().is_some_and(|r| !r.unsolicited)));
        assert_eq!(script.outcomes(), [(200, Answered), (200, Answered)]);
    }

    #[test]
    fn garbage_between_responses_is_nobodys_answer_when_a_real_one_follows() {
        let mut script = Script::new();
        script.client(GET).server(&format!("{OK}0junk")).client(GET).server(OK).end();
        assert_eq!(script.outcomes(), [(200, Answered), (0, Cut), (200, Answered)]);
        assert!(script.given[1].request.is_none());
        let mut script = Script::new();
        script.client(GET).server(&format!("{OK}0junk")).client(GET).end();
        assert_eq!(script.outcomes(), [(200, Answered), (0, Cut)]);
        assert!(script.given[1].request.is_some());
    }

    #[test]
    fn what_is_no_response_is_named() {
        assert_eq!(fault(b"<html>hello</html>"), Some(FaultKind::NotHttp));
        assert_eq!(fault(b"\x15\x03\x01\0\x02\x02\x46"), Some(FaultKind::Tls));
        assert_eq!(fault(b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64"), Some(FaultKind::Http2));
        assert_eq!(fault(b"\0\0"), Some(FaultKind::NotHttp));
        assert_eq!(answer(b"<html>").1, Answered);
        assert_eq!(answer(b"\x15\x03\x01\0\x02\x02\x46").1, Cut);
    }

    #[test]
    fn an_answer_to_http_0_9_needs_no_status_line() {
        let mut script = Script::new();
        script.client("GET /old\r\n").server("<html>").fin(Server).end();
        let response = script.given[0].response.clone().unwrap_or_default();
        assert_eq!((script.given[0].state, response.fault, response.body), (Answered, None, 6));
    }

    #[test]
    fn a_server_that_speaks_first_is_another_protocol() {
        for banner in ["220 mail.example.org ESMTP\r\n", "SSH-2.0-OpenSSH\r\n", "J\0\0\0\n8.0\0"] {
            let mut script = Script::new();
            script.server(banner).client("EHLO a\r\n").end();
            assert_eq!((script.protocol(), script.given.len()), (Protocol::Other, 0), "{banner}");
        }
    }

    #[test]
    fn a_broken_response_that_the_client_accepts_does_not_spoil_the_next() {
        let mut script = Script::new();
        script.client(GET).server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
        script.client(GET).server(OK).end();
        assert_eq!(script.outcomes(), [(200, Cut), (200, Answered)]);
    }
}
