//! The server's direction: responses.

use super::body::{Body, Step};
use super::conversation::{Conversation, Done, Line, Phase};
use super::detect;
use super::pending::keep;
use super::scan::{Flaw, Method, sample, status_line};
use super::{BODY_KEPT, Fault, FaultKind, Framing, HEAD_MAX, Protocol, State};
use crate::tcp::{At, Side};
use crate::time::Mark;

impl Conversation {
    pub(super) fn server_data(&mut self, at: At, bytes: &[u8], done: Done<'_, '_>) {
        match self.server.phase {
            Phase::Lost(why) => {
                if self.protocol == Protocol::Unknown && detect::is_tls_record(bytes) {
                    return self.give_up_tls(Side::Server, at.offset);
                }
                if !detect::is_status(bytes) {
                    return self.server_astray(at, bytes.len() as u64, why);
                }
                self.resync_server(done);
            }
            Phase::Body(Body::Rest) if detect::is_status(bytes) => self.resume_server(done),
            _ => {}
        }
        let mut pos = 0;
        while pos < bytes.len() {
            let rest = &bytes[pos..];
            let here = At { offset: at.offset + pos as u64, ..at };
            match self.server.phase {
                Phase::Start => match rest[0] {
                    b'\r' | b'\n' => pos += detect::blank(rest),
                    _ => self.begin_response(here, rest, done),
                },
                Phase::Head => pos += self.response_head(here, rest, done),
                Phase::Body(body) => pos += self.response_body(here, body, rest, done),
                Phase::Preface(_) | Phase::Tunnel | Phase::Lost(_) | Phase::Opaque => return,
            }
        }
    }

    fn begin_response(&mut self, at: At, bytes: &[u8], done: Done<'_, '_>) {
        self.server.begin(done);
        let waits = self.queue.front().filter(|front| !front.response_complete());
        match waits {
            Some(front) => {
                let start = front.exchange.request.as_ref().map_or(0, |request| request.start);
                let older = front.doubtful && at.acked.is_some_and(|acked| acked <= start);
                if older || front.unpairable {
                    return self.skip_response(bytes);
                }
            }
            None if self.unseen.is_some()
                || (self.asks_unseen(at) && !self.may_be_reordered(at)) =>
            {
                return self.skip_response(bytes);
            }
            None => {
                self.give_early(done);
                let awaited = self.asks_unseen(at);
                let mut early = self.blank(done);
                early.answer(at);
                early.doubtful = awaited;
                if let Some(response) = &mut early.exchange.response {
                    response.unsolicited = !awaited;
                }
                self.early = Some(early);
                return;
            }
        }
        // While requests behind it cannot be paired, this answer says nothing of them.
        self.response_since |= self.queue.back().is_none_or(|back| !back.unpairable);
        if let Some(front) = self.queue.front_mut() {
            front.answer(at);
        }
    }

    fn response_head(&mut self, at: At, bytes: &[u8], done: Done<'_, '_>) -> usize {
        let whole = self.server.draft().is_blank();
        let known = if whole { done.pool.responses.find(bytes) } else { None };
        let (pos, over) = match known {
            Some((length, (status, scan))) => {
                self.server.draft().scan = scan;
                self.protocol = Protocol::Http1;
                self.status(status);
                (length, true)
            }
            None => {
                if self.server.undecided().is_some() && !self.begins_as_response(at, bytes) {
                    return if self.server.phase == Phase::Head { bytes.len() } else { 0 };
                }
                let (pos, over, sound) = self.response_lines(at, bytes);
                let response = self.answering().and_then(|of| of.exchange.response.as_ref());
                let status = response.map(|response| response.status);
                if let Some(status) = status.filter(|_| whole && over && sound) {
                    done.pool.responses.remember(bytes, pos, (status, self.server.draft().scan));
                }
                (pos, over)
            }
        };
        self.extend_head(at, &bytes[..pos]);
        if over {
            self.response_head_ends(done);
        }
        pos
    }

    /// Reads lines up to the end of the head. How many bytes were read, whether the head ends with them, and
    /// whether nothing is wrong with them.
    fn response_lines(&mut self, at: At, bytes: &[u8]) -> (usize, bool, bool) {
        let mut pos = 0;
        let mut over = false;
        let mut sound = true;
        while !over && pos < bytes.len() {
            let mut held = Vec::new();
            let draft = self.server.draft();
            if let Some((length, flaw)) = draft.plain_header(&bytes[pos..]) {
                let offset = draft.scan.offset - length as u64;
                if let Some(flaw) = flaw {
                    let line = bytes[pos..pos + length].trim_ascii_end();
                    self.flaw(at.mark, flaw, false, offset, line);
                    sound = false;
                }
                pos += length;
                continue;
            }
            let Line::Whole { line, carried, length } = draft.line(&bytes[pos..], &mut held) else {
                pos = bytes.len();
                break;
            };
            let flaw = if draft.scan.lines == 0 {
                let start = status_line(line);
                draft.scan.http10 = start.http10;
                let offset = draft.scan.offset;
                self.protocol = Protocol::Http1;
                self.status(start.status);
                start.flaw.map(|flaw| (flaw, offset))
            } else if line.is_empty() {
                over = true;
                None
            } else {
                let flaw = draft.scan.header(line, true);
                flaw.map(|flaw| (flaw, draft.scan.offset))
            };
            if let Some((flaw, offset)) = flaw {
                self.flaw(at.mark, flaw, flaw.at < carried, offset, line);
                sound = false;
            }
            let draft = self.server.draft();
            draft.scan.lines += 1;
            draft.scan.offset += (carried + length) as u64;
            draft.give_back(held);
            pos += length;
        }
        (pos, over, sound)
    }

    pub(super) fn status(&mut self, status: Option<u16>) {
        let Some(response) =
            self.answering().and_then(|pending| pending.exchange.response.as_mut())
        else {
            return;
        };
        response.status = status;
        if !is_interim(status) {
            self.responses = self.responses.saturating_add(1);
        }
    }

    /// Keeps the first flaw. `before` says that the byte came with an earlier segment.
    fn flaw(&mut self, mark: Mark, flaw: Flaw, before: bool, line_start: u64, line: &[u8]) {
        if let Some(response) =
            self.answering().and_then(|pending| pending.exchange.response.as_mut())
            && response.fault.is_none()
        {
            response.fault = Some(Fault {
                mark: if before { response.last } else { mark },
                offset: line_start + flaw.at as u64,
                kind: flaw.kind,
                sample: sample(line, flaw.at),
            });
        }
    }

    pub(super) fn extend_head(&mut self, at: At, bytes: &[u8]) {
        let Some(response) =
            self.answering().and_then(|pending| pending.exchange.response.as_mut())
        else {
            return;
        };
        response.extend(at.mark, at.offset + bytes.len() as u64);
        response.head_len += bytes.len() as u64;
        keep(&mut response.head, bytes);
        if response.head_len > HEAD_MAX as u64 && response.fault.is_none() {
            response.fault = Some(Fault {
                mark: at.mark,
                offset: HEAD_MAX as u64,
                kind: FaultKind::HeadTooLarge,
                sample: sample(&response.head, 0),
            });
        }
    }

    fn response_head_ends(&mut self, done: Done<'_, '_>) {
        let scan = self.server.draft().scan;
        done.pool.keep_draft(self.server.draft.take());
        let unasked = self.early_is_read();
        let Some(answering) = self.answering() else { return };
        let method = answering.method;
        let exchange = &mut answering.exchange;
        let Some(response) = &mut exchange.response else { return };
        if is_interim(response.status) {
            exchange.interim = exchange.interim.saturating_add(1);
            answering.drop_response();
            if unasked {
                self.early = None;
            }
            self.server.phase = Phase::Start;
            return;
        }
        let switches = response.status == Some(101)
            || (method == Method::Connect && matches!(response.status, Some(200..300)));
        response.head_complete = true;
        response.framing = match response.status {
            _ if switches || method == Method::Head => Framing::None,
            Some(204 | 304) => Framing::None,
            _ => scan.response_framing(),
        };
        response.closes = scan.closes() || response.framing == Framing::UntilClose;
        match Body::new(response.framing) {
            Some(body) => self.server.phase = Phase::Body(body),
            None => self.response_ends(done),
        }
        if switches {
            self.switch(done);
        } else if method == Method::Connect && self.client.phase == Phase::Tunnel {
            // Refused, so that what follows are requests again.
            self.client.phase = Phase::Start;
        }
    }

    /// The connection is no HTTP from here on (RFC 9110, 7.8 and 9.3.6).
    fn switch(&mut self, done: Done<'_, '_>) {
        if self.queue.front().is_some_and(|front| front.response_complete()) {
            self.give_front(State::Answered, done);
        }
        // What the client sent behind the request was no HTTP either.
        while self.queue.pop_back().is_some() {
            self.requests = self.requests.saturating_sub(1);
        }
        self.give_up(Protocol::Upgraded);
    }

    fn response_body(&mut self, at: At, mut body: Body, bytes: &[u8], done: Done<'_, '_>) -> usize {
        let Some(response) =
            self.answering().and_then(|pending| pending.exchange.response.as_mut())
        else {
            self.server.phase = Phase::Opaque;
            return bytes.len();
        };
        let step = body.feed(bytes, &mut response.body);
        let taken = match step {
            Step::Done(taken) => taken,
            Step::More | Step::Broken(_) => bytes.len(),
        };
        response.extend(at.mark, at.offset + taken as u64);
        if response.status.is_some_and(|status| status == 400 || status >= 500) {
            let room = BODY_KEPT.saturating_sub(response.body_start.len());
            response.body_start.extend_from_slice(&bytes[..taken.min(room)]);
        }
        if let Step::Broken(place) = step {
            response.fault.get_or_insert_with(|| Fault {
                mark: at.mark,
                offset: at.offset + place as u64 - response.start,
                kind: FaultKind::Chunk,
                sample: sample(&bytes[place..], 0),
            });
            body = Body::Rest;
        }
        self.server.phase = Phase::Body(body);
        if let Step::Done(_) = step {
            self.response_ends(done);
        }
        taken
    }

    pub(super) fn response_ends(&mut self, done: Done<'_, '_>) {
        self.server.phase = Phase::Start;
        if let Some(response) =
            self.answering().and_then(|pending| pending.exchange.response.as_mut())
        {
            response.complete = true;
        }
        self.settle(done);
    }

    pub(super) fn server_ended(&mut self, done: Done<'_, '_>) {
        self.resolve_answer();
        let until_close = self.server.phase == Phase::Body(Body::UntilClose);
        if until_close {
            self.response_ends(done);
        }
        self.server.phase = Phase::Opaque;
    }
}

fn is_interim(status: Option<u16>) -> bool {
    matches!(status, Some(100 | 102..200))
}

#[cfg(test)]
mod tests {
    use super::super::HEAD_KEPT;
    use super::super::Response;
    use super::super::script::{GET, OK, Script};
    use super::*;
    use crate::tcp::Side::Server;
    use State::{Answered, Cut, Unanswered};

    /// What comes of `bytes` as the answer to a request, and then the end of the connection.
    fn answer(bytes: &[u8]) -> (Response, State) {
        let mut script = Script::new();
        script.client(GET).says(Server, bytes).fin(Server).end();
        assert_eq!(script.given.len(), 1);
        (script.given[0].response.clone().unwrap_or_default(), script.given[0].state)
    }

    #[test]
    fn bodies_end_as_their_framing_says() {
        let cases: [(&str, Framing, u64, State); 7] = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", Framing::Length(3), 3, Answered),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", Framing::Length(3), 2, Cut),
            ("HTTP/1.1 200 OK\r\n\r\nabc", Framing::UntilClose, 3, Answered),
            ("HTTP/1.1 204 x\r\n\r\n", Framing::None, 0, Answered),
            ("HTTP/1.1 304 x\r\nContent-Length: 9\r\n\r\n", Framing::None, 0, Answered),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX: y\r\n\r\n",
                Framing::Chunked,
                2,
                Answered,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n",
                Framing::Chunked,
                2,
                Cut,
            ),
        ];
        for (text, framing, body, state) in cases {
            let (response, ended) = answer(text.as_bytes());
            assert_eq!((response.framing, response.body, ended), (framing, body, state), "{text}");
            assert_eq!(response.fault, None, "{text}");
        }
    }

    #[test]
    fn without_the_close_a_body_until_close_is_cut() {
        let mut script = Script::new();
        script.client(GET).server("HTTP/1.1 200 OK\r\n\r\nabc").end();
        assert_eq!(script.outcomes(), [(200, Cut)]);
    }

    #[test]
    fn of_the_body_of_an_error_the_beginning_is_kept() {
        let whole = |status: u16, length: usize| {
            let body = "x".repeat(length);
            answer(
                format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes(),
            )
        };
        assert_eq!(whole(502, 3).0.body_start, b"xxx");
        assert_eq!(whole(503, 5000).0.body_start.len(), BODY_KEPT);
        assert_eq!(whole(400, 3).0.body_start, b"xxx");
        assert_eq!((whole(200, 3).0.body_start.len(), whole(404, 3).0.body_start.len()), (0, 0));
    }

    #[test]
    fn an_answer_to_head_has_no_body() {
        let mut script = Script::new();
        script
            .client("HEAD / HTTP/1.1\r\n\r\n")
            .server("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
        assert_eq!(script.outcomes(), [(200, Answered)]);
    }

    #[test]
    fn interim_responses_are_counted_and_dropped() {
        let mut script = Script::new();
        script
            .client(GET)
            .server("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 102 P\r\n\r\n");
        script.server(OK).client(GET).server("HTTP/1.1 100 Continue\r\n\r\n").end();
        assert_eq!(script.outcomes(), [(200, Answered), (0, Unanswered)]);
        let response = script.given[0].response.clone().unwrap_or_default();
        assert_eq!((response.interim, response.first.frame.number()), (2, 3));
        assert_eq!(response.head_len as usize, OK.len() - 2);
        assert_eq!(script.given[1].interim, 1);
    }

    #[test]
    fn a_switched_protocol_is_answered_and_opaque() {
        let mut script = Script::new();
        script.client("GET /ws HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
        script.server("HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n\x01\x02");
        assert_eq!(script.outcomes(), [(101, Answered)]);
        script.client(GET).server("junk").end();
        assert_eq!((script.given.len(), script.protocol()), (1, Protocol::Upgraded));
        let mut script = Script::new();
        script
            .client("CONNECT a:443 HTTP/1.1\r\n\r\n")
            .client("early")
            .server("HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(script.outcomes(), [(200, Answered)]);
        assert_eq!(script.protocol(), Protocol::Upgraded);
    }

    #[test]
    fn who_closes_is_told_by_head_and_version() {
        let closes = |head: &str| answer(format!("{head}\r\n\r\n").as_bytes()).0.closes;
        assert!(!closes("HTTP/1.1 204 x"));
        assert!(closes("HTTP/1.1 204 x\r\nConnection: x, Close"));
        assert!(closes("HTTP/1.0 204 x"));
        assert!(!closes("HTTP/1.0 204 x\r\nConnection: Keep-Alive"));
        assert!(closes("HTTP/1.1 200 x"));
    }

    #[test]
    fn a_faulty_head_is_read_on_where_its_end_is_clear() {
        let cases: [(&str, FaultKind); 9] = [
            ("HTTP/1.3 200 OK\r\nContent-Length: 2", FaultKind::Version),
            ("HTTP/1.1 700 OK\r\nContent-Length: 2", FaultKind::Status),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX : y", FaultKind::HeaderName),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX(: y", FaultKind::HeaderToken),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nnonsense", FaultKind::NoColon),
            ("HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2", FaultKind::HeaderValue),
            ("HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2", FaultKind::Folded),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nContent-Length: 2",
                FaultKind::ContentLengths,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: -1\r\nContent-Length: 2",
                FaultKind::ContentLength,
            ),
        ];
        for (head, kind) in cases {
            let mut script = Script::new();
            script.client(GET).server(&format!("{head}\r\n\r\nok")).client(GET).server(OK);
            assert_eq!(script.given.len(), 2, "{head}");
            let fault = script.given[0].response.as_ref().and_then(|r| r.fault.clone());
            assert_eq!(fault.map(|fault| fault.kind), Some(kind), "{head}");
            assert!(script.given[1].response.as_ref().is_some_and(|r| r.fault.is_none()));
        }
    }

    #[test]
    fn a_fault_tells_frame_place_and_bytes() {
        let mut script = Script::new();
        script
            .client(GET)
            .server("HTTP/1.1 200 OK\r\nX: a")
            .server("b\0c\r\n\r\n")
            .fin(Server)
            .end();
        let fault = script.given[0].response.clone().and_then(|response| response.fault);
        let Some(fault) = fault else { panic!("no fault") };
        assert_eq!((fault.mark.frame.number(), fault.offset), (3, 22));
        assert_eq!((fault.kind, fault.sample.as_str()), (FaultKind::HeaderValue, "X: ab\\x00c"));
    }

    #[test]
    fn a_fault_in_a_line_over_two_frames_names_the_frame_that_carries_it() {
        let mut script = Script::new();
        script
            .client(GET)
            .server("HTTP/1.1 200 OK\r\nX: a\0")
            .server("b\r\n\r\n")
            .fin(Server)
            .end();
        let fault = script.given[0].response.clone().and_then(|response| response.fault);
        assert_eq!(fault.map(|fault| fault.mark.frame.number()), Some(2));
    }

    #[test]
    fn a_broken_chunk_ends_what_can_be_read() {
        let bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n";
        let (response, state) = answer(bytes);
        let fault = response.fault.as_ref();
        assert_eq!((state, fault.map(|fault| fault.kind)), (Cut, Some(FaultKind::Chunk)));
        assert_eq!(fault.map(|fault| fault.offset), Some(bytes.len() as u64 - 4));
    }

    #[test]
    fn a_head_over_the_limit_is_a_fault_and_still_counted() {
        let head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n", "x".repeat(HEAD_MAX));
        let mut script = Script::new();
        script.client(GET);
        for part in head.as_bytes().chunks(1400) {
            script.says(Server, part);
        }
        script.server("Content-Length: 0\r\n\r\n").end();
        let response = script.given[0].response.clone().unwrap_or_default();
        assert_eq!(response.fault.map(|fault| fault.kind), Some(FaultKind::HeadTooLarge));
        assert_eq!(response.head_len, head.len() as u64 + 21);
        assert_eq!((response.head.len(), script.given[0].state), (HEAD_KEPT, Answered));
    }
}
