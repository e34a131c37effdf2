//! The client's direction: requests.

use super::body::{Body, Step};
use super::conversation::{Conversation, Done, Line, Phase};
use super::detect::{self, Opening};
use super::pending::keep;
use super::scan::{Method, is_token, request_line};
use super::{PENDING_MAX, Protocol, State};
use crate::blind::BlindSpot;
use crate::tcp::{At, Side};

/// Requests that may wait while no byte of the server was ever seen and nothing tells whether the
/// capture holds its direction. Clients that pipeline more than this are not known.
const ONE_WAY_MAX: usize = 32;

impl Conversation {
    pub(super) fn client_data(&mut self, at: At, bytes: &[u8], done: Done<'_, '_>) {
        match self.client.phase {
            Phase::Start if self.protocol == Protocol::Unknown => {
                return self.open(at, bytes, done);
            }
            Phase::Lost(_) => {
                if self.protocol == Protocol::Unknown && detect::is_tls_record(bytes) {
                    return self.give_up_tls(Side::Client, at.offset);
                }
                if !detect::is_request(bytes) {
                    return self.client_astray(at, bytes.len() as u64);
                }
                self.protocol = Protocol::Http1;
                self.client.phase = Phase::Start;
            }
            // After a final answer the client need not send the body that it announced
            // (RFC 9110, 10.1.1).
            Phase::Body(_) if self.body_is_refused() && detect::is_request(bytes) => {
                self.client.phase = Phase::Start;
            }
            _ => {}
        }
        self.client_bytes(at, bytes, done);
    }

    /// Finds out what the connection carries.
    fn open(&mut self, at: At, bytes: &[u8], done: Done<'_, '_>) {
        let (mut held, from) = match self.client.draft.as_deref_mut() {
            Some(draft) => (std::mem::take(&mut draft.carry), draft.from.take()),
            None => (Vec::new(), None),
        };
        let bytes = if held.is_empty() {
            bytes
        } else {
            held.extend_from_slice(bytes);
            held.as_slice()
        };
        let here = At { offset: from.as_ref().map_or(at.offset, |from| from.offset), ..at };
        match detect::opening(bytes) {
            Opening::More => {
                let carry = if held.is_empty() { bytes.to_vec() } else { held };
                let draft = self.client.draft();
                (draft.carry, draft.from) = (carry, from.or(Some(at)));
            }
            Opening::Proxy(_) if self.proxied => self.give_up(Protocol::Other),
            Opening::Proxy(length) => {
                self.proxied = true;
                self.client.phase = Phase::Preface(length);
                self.client_bytes(here, bytes, done);
            }
            Opening::Http1 => {
                self.protocol = Protocol::Http1;
                if from.is_some() {
                    self.client.draft().from = from;
                }
                self.client_bytes(here, bytes, done);
            }
            Opening::Tls => self.give_up_tls(Side::Client, here.offset),
            Opening::Http2 => self.give_up(Protocol::Http2),
            Opening::Other => self.give_up(Protocol::Other),
        }
    }

    fn client_bytes(&mut self, at: At, bytes: &[u8], done: Done<'_, '_>) {
        let mut pos = 0;
        while pos < bytes.len() {
            let rest = &bytes[pos..];
            let here = At { offset: at.offset + pos as u64, ..at };
            match self.client.phase {
                Phase::Start if self.protocol == Protocol::Unknown => {
                    return self.open(here, rest, done);
                }
                Phase::Start => match rest[0] {
                    b'\r' | b'\n' => pos += detect::blank(rest),
                    byte if is_token(byte) => self.begin_request(here, done),
                    _ => return self.client_garbage(),
                },
                Phase::Preface(left) => {
                    let taken = left.min(rest.len() as u64);
                    self.client.phase = after_preface(left - taken);
                    pos += taken as usize;
                }
                Phase::Head => {
                    pos += self.request_head(here, rest, done);
                    self.last_byte = Some(at.mark.at);
                }
                Phase::Body(body) => {
                    pos += self.request_body(here, body, rest, done);
                    self.last_byte = Some(at.mark.at);
                }
                Phase::Tunnel | Phase::Lost(_) | Phase::Opaque => return,
            }
        }
    }

    /// The target said with its latest answer that it closes the connection (RFC 9112, 9.6).
    fn announced_close(&self) -> bool {
        let Some(back) = self.queue.back() else { return self.closing };
        let response = back.exchange.response.as_ref();
        response.is_some_and(|response| response.head_complete && response.closes)
    }

    /// A client that asks again had the end of a response whose end seemed to be the close: its
    /// length was told in a way that was not understood.
    fn doubt_until_close(&mut self, at: At) {
        let begun = self.queue.front().and_then(|front| front.exchange.response.as_ref());
        let had = begun.is_some_and(|begun| at.acked.is_some_and(|acked| acked > begun.start));
        if had && self.server.phase == Phase::Body(Body::UntilClose) {
            self.server.phase = Phase::Lost(BlindSpot::Gap);
            if let Some(front) = self.queue.front_mut() {
                front.exchange.blind_spots.add(BlindSpot::Gap);
                if let Some(response) = &mut front.exchange.response {
                    response.complete = true;
                }
            }
        }
    }

    fn begin_request(&mut self, here: At, done: Done<'_, '_>) {
        // The first byte may have come in an earlier segment that did not tell what it was.
        let at = match self.client.draft.as_mut().and_then(|draft| draft.from.take()) {
            Some(from) => At { offset: here.offset, ..from },
            None => here,
        };
        self.doubt_until_close(at);
        let doubtful = self.settle_older(at, done);
        if self.early.as_ref().is_some_and(|early| !early.answers_later_than(at.offset)) {
            self.drop_awaiting(BlindSpot::Gap);
        }
        let after_close = self.announced_close();
        let mut pending = match self.early.take() {
            // A load balancer takes what lies there for the answer, unless it is no response at all.
            Some(early) if !early.is_garbage() && self.queue.is_empty() => early,
            early => {
                self.early = early;
                self.blank(done)
            }
        };
        pending.ask(at);
        if let Some(request) = &mut pending.exchange.request {
            request.after_close = after_close;
        }
        pending.doubtful = doubtful;
        if let Some(response) = &mut pending.exchange.response {
            // Packets of the two directions may be captured in the wrong order.
            response.unsolicited = response.acked.is_none_or(|acked| acked <= at.offset);
        }
        if let Some(why) = self.unseen.take() {
            if !self.queue.is_empty() {
                pending.unpairable = true;
                pending.exchange.blind_spots.add(why);
            } else {
                pending.doubtful = true;
                if !self.response_since && why != BlindSpot::CaptureStart {
                    pending.exchange.blind_spots.add(why);
                }
            }
        } else if let Some(back) = self.queue.back().filter(|back| back.unpairable) {
            pending.unpairable = true;
            pending.exchange.blind_spots = back.exchange.blind_spots;
        }
        self.requests = self.requests.saturating_add(1);
        pending.exchange.ordinal = self.requests;
        pending.exchange.idle_before =
            self.last_byte.map(|last| at.mark.at.nanos_since(last).max(0));
        self.response_since = false;
        self.queue.push_back(pending);
        self.client.begin(done);
    }

    /// What a new request says of those before it. Returns whether answers to them may still come.
    fn settle_older(&mut self, at: At, done: Done<'_, '_>) -> bool {
        let bound = if self.is_one_way() { ONE_WAY_MAX } else { PENDING_MAX };
        if self.queue.len() >= bound {
            let one_way = bound == ONE_WAY_MAX;
            let why = if one_way { BlindSpot::OneDirection } else { BlindSpot::Evicted };
            self.give_up_pairing(why, done);
            self.server.phase = Phase::Lost(why);
            return true;
        }
        // The client has received more of the server than the capture shows.
        let hidden = at.acked.is_some_and(|acked| acked > self.server.end);
        if hidden
            && self.server.phase == Phase::Start
            && self.queue.front().is_some_and(|front| front.exchange.response.is_none())
        {
            let why = if self.server.end == 0 { BlindSpot::OneDirection } else { BlindSpot::Gap };
            self.queue.iter_mut().for_each(|pending| pending.hide(why));
            self.server.phase = Phase::Lost(why);
        }
        let mut doubtful = false;
        while let Some(front) = self.queue.front() {
            let state = if front.response_complete() {
                State::Answered
            } else if front.hidden {
                front.implied_state()
            } else if front.unpairable && self.response_since {
                State::Unknown
            } else {
                break;
            };
            doubtful |= state == State::Unknown;
            self.give_front(state, done);
        }
        doubtful
    }

    fn request_head(&mut self, at: At, bytes: &[u8], done: Done<'_, '_>) -> usize {
        let whole = self.client.draft().is_blank();
        let known = if whole { done.pool.requests.find(bytes) } else { None };
        let (pos, over) = match known {
            Some((length, (method, scan))) => {
                self.client.draft().scan = scan;
                if let Some(back) = self.queue.back_mut() {
                    back.method = method;
                }
                (length, true)
            }
            None => {
                let Some((pos, over)) = self.request_lines(bytes) else {
                    self.no_request(at, bytes.len() as u64);
                    return bytes.len();
                };
                let method = self.queue.back().map(|back| back.method);
                if let Some(method) = method.filter(|_| whole && over) {
                    done.pool.requests.remember(bytes, pos, (method, self.client.draft().scan));
                }
                (pos, over)
            }
        };
        self.extend_request(at, pos as u64);
        if let Some(request) = self.queue.back_mut().and_then(|back| back.exchange.request.as_mut())
        {
            keep(&mut request.head, &bytes[..pos]);
        }
        if over {
            self.request_head_ends(done);
        }
        pos
    }

    /// Reads lines up to the end of the head. How many bytes were read, and whether the head ends with them;
    /// `None` when it is no request.
    fn request_lines(&mut self, bytes: &[u8]) -> Option<(usize, bool)> {
        let mut pos = 0;
        let mut over = false;
        while !over && pos < bytes.len() {
            let mut held = Vec::new();
            let draft = self.client.draft();
            if let Some((length, _)) = draft.plain_header(&bytes[pos..]) {
                pos += length;
                continue;
            }
            let Line::Whole { line, carried, length } = draft.line(&bytes[pos..], &mut held) else {
                pos = bytes.len();
                break;
            };
            if draft.scan.lines == 0 {
                let start = request_line(line)?;
                draft.scan.http10 = start.minor == Some(0);
                over = start.method == Method::Simple;
                if let Some(back) = self.queue.back_mut() {
                    back.method = start.method;
                }
            } else if line.is_empty() {
                over = true;
            } else {
                draft.scan.header(line, false);
            }
            draft.scan.lines += 1;
            draft.scan.offset += (carried + length) as u64;
            draft.give_back(held);
            pos += length;
        }
        Some((pos, over))
    }

    fn request_head_ends(&mut self, done: Done<'_, '_>) {
        let scan = self.client.draft().scan;
        done.pool.keep_draft(self.client.draft.take());
        let Some(back) = self.queue.back_mut() else { return };
        back.expects = scan.expects;
        if let Some(request) = &mut back.exchange.request {
            request.head_complete = true;
            back.head_end = request.end;
        }
        match Body::new(scan.request_framing()) {
            _ if back.method == Method::Connect => self.request_ends(Phase::Tunnel, done),
            Some(body) => self.client.phase = Phase::Body(body),
            None => self.request_ends(Phase::Start, done),
        }
    }

    fn request_body(&mut self, at: At, mut body: Body, bytes: &[u8], done: Done<'_, '_>) -> usize {
        let step = body.feed(bytes, &mut 0);
        self.client.phase = Phase::Body(body);
        let taken = match step {
            Step::Done(taken) => taken,
            Step::More | Step::Broken(_) => bytes.len(),
        };
        self.extend_request(at, taken as u64);
        match step {
            Step::More => {}
            Step::Done(_) => self.request_ends(Phase::Start, done),
            Step::Broken(_) => self.client_garbage(),
        }
        taken
    }

    pub(super) fn request_ends(&mut self, next: Phase, done: Done<'_, '_>) {
        self.client.phase = next;
        if let Some(request) = self.queue.back_mut().and_then(|back| back.exchange.request.as_mut())
        {
            request.complete = true;
        }
        self.settle(done);
    }

    /// What began as a request is none. It stays one if the server answers it.
    fn no_request(&mut self, at: At, len: u64) {
        if self.queue.back().is_some_and(|back| back.exchange.response.is_none()) {
            self.queue.pop_back();
            self.requests = self.requests.saturating_sub(1);
        } else {
            self.extend_request(at, len);
        }
        self.client_garbage();
    }

    /// The client sends what is no HTTP: the server may answer that.
    fn client_garbage(&mut self) {
        self.client.phase = Phase::Opaque;
        self.client.draft = None;
        self.unseen = Some(BlindSpot::Gap);
    }

    /// The announced body is not sent because the final answer came first.
    fn body_is_refused(&self) -> bool {
        self.queue.back().is_some_and(|back| {
            back.expects
                && back.exchange.interim == 0
                && back.response_complete()
                && back
                    .exchange
                    .request
                    .as_ref()
                    .is_some_and(|request| request.end == back.head_end)
        })
    }

    pub(super) fn extend_request(&mut self, at: At, len: u64) {
        if let Some(request) = self.queue.back_mut().and_then(|back| back.exchange.request.as_mut())
        {
            request.last = at.mark;
            request.end = at.offset + len;
        }
    }
}

pub(super) fn after_preface(left: u64) -> Phase {
    if left == 0 { Phase::Start } else { Phase::Preface(left) }
}

#[cfg(test)]
mod tests {
    use super::super::script::{GET, OK, Script};
    use super::*;
    use crate::tcp::Side::{self, Client};

    fn request(script: &Script, at: usize) -> super::super::Request {
        script.given[at].request.clone().unwrap_or_default()
    }

    #[test]
    fn a_request_with_a_body_ends_with_it() {
        let mut script = Script::new();
        script.client("POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nab").server(OK);
        assert!(script.given.is_empty());
        script.client("cde").client(GET).server(OK).end();
        assert_eq!(script.outcomes(), [(200, State::Answered), (200, State::Answered)]);
        assert!(request(&script, 0).complete);
        let mut script = Script::new();
        script.client("PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
        script.client(GET).server(OK).server(OK);
        assert_eq!(script.given.len(), 2);
    }

    #[test]
    fn an_early_final_answer_counts_when_the_connection_ends() {
        let mut script = Script::new();
        script.client("POST /a HTTP/1.1\r\nContent-Length: 500\r\n\r\nab");
        script
            .server("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            .fin(Side::Server)
            .end();
        assert_eq!(script.outcomes(), [(413, State::Answered)]);
        assert!(request(&script, 0).head_complete && !request(&script, 0).complete);
    }

    #[test]
    fn a_body_that_a_final_answer_refused_is_not_waited_for() {
        let head = "POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
        let mut script = Script::new();
        script.client(head).server("HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n");
        script.client(GET).server(OK).end();
        assert_eq!(script.outcomes(), [(401, State::Answered), (200, State::Answered)]);
        assert!(!request(&script, 0).complete);
        let mut script = Script::new();
        script
            .client(head)
            .server("HTTP/1.1 100 Continue\r\n\r\n")
            .client("abcde")
            .server(OK)
            .end();
        assert_eq!(script.outcomes(), [(200, State::Answered)]);
        assert_eq!((script.given[0].interim, request(&script, 0).complete), (1, true));
    }

    #[test]
    fn odd_but_accepted_requests_are_read() {
        for text in [
            "\r\n\nGET / HTTP/1.1\nHost: a\n\n",
            "GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            "BREW /pot HTTP/1.0\r\n\r\n",
            "GET /a HTTP/1.1\r\nX: a\r\n  folded\r\n\r\n",
            "POST /a HTTP/1.1\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ] {
            let mut script = Script::new();
            script.client(text).server(OK).end();
            assert_eq!(script.outcomes(), [(200, State::Answered)], "{text}");
            assert!(request(&script, 0).complete);
        }
    }

    #[test]
    fn a_proxy_header_is_passed_over() {
        let v1 = b"PROXY TCP4 10.0.0.1 10.0.0.2 1234 80\r\n".as_slice();
        let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\x0a\0\0\x01\x0a\0\0\x02\x04\xd2\0\x50";
        for header in [v1, v2] {
            for split in [1, 5, 15, 20, header.len()] {
                let mut script = Script::new();
                script.says(Client, &header[..split]).says(Client, &header[split..]);
                script.client(GET).server(OK).end();
                assert_eq!(script.outcomes(), [(200, State::Answered)], "{split}");
                assert!(script.conversation.proxied());
                assert_eq!(request(&script, 0).start, header.len() as u64);
                assert_eq!(request(&script, 0).head, GET.as_bytes());
            }
        }
    }

    #[test]
    fn other_protocols_are_left_alone() {
        let cases = [
            (b"\x16\x03\x01\x02\x00\x01".as_slice(), Protocol::Tls),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Protocol::Http2),
            (b"*1\r\n$4\r\nPING\r\n", Protocol::Other),
        ];
        for (bytes, protocol) in cases {
            let mut script = Script::new();
            script.says(Client, bytes).server("+PONG\r\n").client(GET).end();
            assert_eq!((script.protocol(), script.given.len()), (protocol, 0));
        }
    }

    #[test]
    fn a_split_method_has_the_mark_of_its_first_byte() {
        let mut script = Script::new();
        script.wait(6_000_000).client("GE").client("T / HTTP/1.1\r\n\r\n").server(OK).end();
        let request = request(&script, 0);
        assert_eq!((request.first.frame.number(), request.last.frame.number()), (1, 2));
        assert_eq!(script.given[0].idle_before, Some(7_000_000));
    }

    #[test]
    fn a_refused_tunnel_goes_back_to_requests() {
        let mut script = Script::new();
        script.client("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n");
        script.server("HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n").client(GET).server(OK).end();
        assert_eq!(script.outcomes(), [(407, State::Answered), (200, State::Answered)]);
    }

    #[test]
    fn garbage_behind_a_request_is_no_request() {
        let mut script = Script::new();
        script.client(GET).server(OK).client("some: thing\r\n").server(OK).end();
        assert_eq!(script.outcomes(), [(200, State::Answered)]);
        assert_eq!(script.conversation.requests(), 1);
    }
}
