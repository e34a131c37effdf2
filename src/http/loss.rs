//! What bytes that nobody captured do to the pairing.
//!
//! Inside a body whose end is known they are counted. Elsewhere the direction is lost until a
//! segment begins with a start line, and what cannot be told apart any more is marked, not guessed.

use super::body::Skip;
use super::client::after_preface;
use super::conversation::{Conversation, Done, Phase};
use super::{Protocol, State, detect};
use crate::blind::BlindSpot;
use crate::tcp::At;

/// The client's direction.
impl Conversation {
    /// Bytes behind a gap: of the last request, if that is not complete.
    pub(super) fn client_astray(&mut self, at: At, len: u64) {
        if self.queue.back().is_some_and(|back| !back.request_complete()) {
            self.extend_request(at, len);
        }
    }

    pub(super) fn client_gap(&mut self, at: At, len: u64, why: BlindSpot, done: Done<'_, '_>) {
        let incomplete = self.queue.back_mut().filter(|back| !back.request_complete());
        if let (Some(back), Phase::Head | Phase::Body(_)) = (incomplete, self.client.phase) {
            back.exchange.blind_spots.add(why);
            if let Some(request) = &mut back.exchange.request {
                request.end = at.offset.saturating_add(len);
            }
        }
        match self.client.phase {
            Phase::Body(mut body) => {
                let skip = body.skip(len, &mut 0);
                self.client.phase = Phase::Body(body);
                match skip {
                    Skip::Within => {}
                    Skip::Ends => self.request_ends(Phase::Start, done),
                    Skip::Beyond => {
                        self.request_ends(Phase::Start, done);
                        self.lose_client(why);
                    }
                    Skip::Lost => self.lose_client(why),
                }
            }
            Phase::Preface(left) if len <= left => self.client.phase = after_preface(left - len),
            Phase::Start | Phase::Head | Phase::Preface(_) => self.lose_client(why),
            Phase::Tunnel | Phase::Lost(_) | Phase::Opaque => {}
        }
    }

    fn lose_client(&mut self, why: BlindSpot) {
        self.client.phase = Phase::Lost(why);
        self.drop_awaiting(why);
        self.client.draft = None;
        self.unseen = Some(why);
        self.response_since = false;
    }
}

/// The server's direction.
impl Conversation {
    /// Bytes behind a gap: more of the response, or of one not seen.
    pub(super) fn server_astray(&mut self, at: At, len: u64, why: BlindSpot) {
        self.server_hidden(at.offset + len, why);
        if let Some(response) =
            self.answering().and_then(|pending| pending.exchange.response.as_mut())
            && !response.complete
        {
            response.extend(at.mark, at.offset + len);
        }
    }

    /// A segment begins with a status line: what was being read has ended.
    pub(super) fn resync_server(&mut self, done: Done<'_, '_>) {
        self.server.phase = Phase::Start;
        if self.early_is_read() {
            self.give_early(done);
        }
        let Some(front) = self.queue.front_mut() else { return };
        let Some(response) = &front.exchange.response else { return };
        match response.status {
            _ if response.complete => {}
            Some(100 | 102..200) => {
                front.exchange.interim = front.exchange.interim.saturating_add(1);
                front.drop_response();
            }
            Some(_) => self.give_front(State::Answered, done),
            None => self.give_front(State::Unknown, done),
        }
    }

    pub(super) fn server_gap(&mut self, at: At, len: u64, why: BlindSpot, done: Done<'_, '_>) {
        let end = at.offset.saturating_add(len);
        match self.server.phase {
            Phase::Body(mut body) => {
                let Some(answering) = self.answering() else { return };
                answering.exchange.blind_spots.add(why);
                let Some(response) = &mut answering.exchange.response else { return };
                let before = response.body;
                let skip = body.skip(len, &mut response.body);
                response.end = match skip {
                    Skip::Beyond => response.end + (response.body - before),
                    _ => end,
                };
                self.server.phase = Phase::Body(body);
                match skip {
                    Skip::Within => {}
                    Skip::Ends => self.response_ends(done),
                    Skip::Beyond => {
                        self.response_ends(done);
                        self.lose_server(end, why, done);
                    }
                    Skip::Lost => self.lose_server(end, why, done),
                }
            }
            Phase::Head => {
                if let Some(status) = self.server.undecided().and_then(detect::status) {
                    self.status(Some(status));
                    self.protocol = Protocol::Http1;
                }
                self.lose_server(end, why, done);
            }
            Phase::Start => self.lose_server(end, why, done),
            Phase::Lost(_) => self.server_hidden(end, why),
            Phase::Preface(_) | Phase::Tunnel | Phase::Opaque => {}
        }
    }

    /// The place in the server's stream is lost; what is missing or not understood ends at `end`.
    fn lose_server(&mut self, end: u64, why: BlindSpot, done: Done<'_, '_>) {
        self.server.phase = Phase::Lost(why);
        self.server.draft = None;
        if let Some(early) = self.early.as_mut().filter(|early| !early.response_complete()) {
            early.hide(why);
        }
        self.server_hidden(end, why);
        // Missing bytes may become known only after the client, who had them, has asked again.
        while self.queue.second().is_some_and(|next| next.asked_after(end)) {
            let state = self.queue.front().map_or(State::Unknown, |front| front.implied_state());
            self.give_front(state, done);
        }
        if self.queue.len() > 1 && self.queue.front().is_some_and(|front| !front.asked_after(end)) {
            // Any of them may have been answered there.
            self.give_up_pairing(why, done);
        }
    }

    /// Bytes before `end` that are missing or not understood may answer the requests that wait.
    fn server_hidden(&mut self, end: u64, why: BlindSpot) {
        for pending in self.queue.iter_mut() {
            if !pending.response_complete() && !pending.asked_after(end) {
                pending.hide(why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::{GET, OK, Script};
    use super::super::{Framing, Pool};
    use super::*;
    use crate::blind::BlindSpot::{CaptureStart, Gap, OneDirection, Snaplen};
    use crate::tcp::Side::{Client, Server};
    use State::{Answered, Unanswered, Unknown};

    #[test]
    fn a_gap_in_a_body_of_known_length_is_counted() {
        let mut script = Script::new();
        script.client(GET).server("HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n");
        script.gap(Server, 2000, Gap).says(Server, &[b'x'; 1000]);
        assert_eq!(script.outcomes(), [(200, Answered)]);
        assert!(script.given[0].blind_spots.has(Gap));
        assert_eq!(script.given[0].response.as_ref().map(|response| response.body), Some(3000));
        script.client(GET).server(OK);
        assert!(script.given[1].blind_spots.is_empty());
    }

    #[test]
    fn a_gap_over_the_end_of_a_body_completes_it() {
        let mut script = Script::new();
        script.client(GET).server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
        script.gap(Server, 10 + OK.len() as u64, Gap);
        assert_eq!(script.outcomes(), [(200, Answered)]);
        script.client(GET).server(OK).end();
        assert_eq!(script.outcomes(), [(200, Answered), (200, Answered)]);
    }

    #[test]
    fn a_lost_response_leaves_its_request_unknown_and_the_next_pair_whole() {
        let mut script = Script::new();
        script.client(GET).gap(Server, 500, Gap).client(GET);
        assert_eq!(script.outcomes(), [(0, Unknown)]);
        script.server(&OK.replace("200", "204 x").replace("ok", "")).end();
        assert_eq!(script.outcomes(), [(0, Unknown), (204, Answered)]);
        assert!(script.given[0].blind_spots.has(Gap) && script.given[1].blind_spots.is_empty());
    }

    #[test]
    fn after_loss_the_only_request_gets_the_next_status_line() {
        let mut script = Script::new();
        script.client(GET).gap(Server, 25, Gap).server(OK).end();
        assert_eq!(script.outcomes(), [(200, Answered)]);
        assert!(script.given[0].blind_spots.has(Gap));
    }

    #[test]
    fn loss_while_several_wait_makes_all_unknown() {
        let mut script = Script::new();
        script.client(&GET.repeat(2)).gap(Server, 50, Gap).server(OK).client(GET).server(OK).end();
        assert_eq!(script.outcomes(), [(0, Unknown), (0, Unknown), (200, Answered)]);
    }

    #[test]
    fn response_bytes_that_only_the_client_saw_make_the_request_unknown() {
        let mut script = Script::new();
        script.client(GET).server(OK).client(GET).unseen(Server, 100).client(GET).server(OK).end();
        assert_eq!(script.outcomes(), [(200, Answered), (0, Unknown), (200, Answered)]);
        assert!(script.given[1].blind_spots.has(Gap));
        let mut script = Script::new();
        script.client(GET).unseen(Server, 100).client(GET).end();
        assert_eq!(script.outcomes(), [(0, Unknown), (0, Unanswered)]);
        assert!(script.given[0].blind_spots.has(OneDirection));
    }

    #[test]
    fn a_gap_found_after_the_next_request_concerns_only_what_was_asked_before() {
        let mut script = Script::new();
        let at = |offset, acked| At { offset, acked: Some(acked), ..At::default() };
        let mut done = |exchange: &super::super::Exchange| script.given.push(exchange.clone());
        let conversation = &mut script.conversation;
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        conversation.data(Client, at(0, 0), GET.as_bytes(), &mut Pool::default(), &mut done);
        conversation.data(Server, at(0, 28), chunked.as_bytes(), &mut Pool::default(), &mut done);
        // The client has had 148 bytes, of which the capture shows 48.
        conversation.data(Client, at(28, 148), GET.as_bytes(), &mut Pool::default(), &mut done);
        conversation.gap(Server, at(48, 28), 100, Gap, &mut Pool::default(), &mut done);
        conversation.data(Server, at(148, 56), OK.as_bytes(), &mut Pool::default(), &mut done);
        assert_eq!(script.outcomes(), [(200, Answered), (200, Answered)]);
        assert!(script.given[0].blind_spots.has(Gap) && script.given[1].blind_spots.is_empty());
    }

    #[test]
    fn a_capture_of_one_direction_leaves_requests_unknown() {
        let mut script = Script::from_the_middle();
        script.acks = false;
        script.client(GET).client(GET).client(GET).end();
        assert!(script.given.iter().all(|e| e.state == Unknown && e.blind_spots.has(OneDirection)));
        assert_eq!(script.given.len(), 3);
        let mut script = Script::from_the_middle();
        script.acks = false;
        script.server(OK).server(OK).end();
        assert!(script.given.is_empty());
        assert_eq!(script.conversation.responses(), 2);
    }

    #[test]
    fn a_lost_request_makes_its_response_neither_unsolicited_nor_the_next_ones() {
        let mut script = Script::new();
        script.client(GET).server(OK).gap(Client, 28, Gap).server(OK).client(GET).server(OK).end();
        assert_eq!(script.outcomes(), [(200, Answered), (200, Answered)]);
        assert!(script.given[1].blind_spots.is_empty());
        // The response to the lost one comes after the next request was sent.
        let mut script = Script::new();
        script.gap(Client, 28, Gap).client(GET).crossing(Server, OK, GET.len() as u64);
        script.server(&OK.replace("200", "203")).end();
        assert_eq!(script.outcomes(), [(203, Answered)]);
        assert!(script.given[0].blind_spots.has(Gap));
    }

    #[test]
    fn a_request_after_loss_behind_a_waiting_one_is_not_paired() {
        let mut script = Script::new();
        script.client("POST /a HTTP/1.1\r\nConte").gap(Client, 100, Gap).client(GET);
        script.server(&OK.replace("200", "201")).server(OK).client(GET).server(OK).end();
        assert_eq!(script.outcomes(), [(201, Answered), (0, Unknown), (200, Answered)]);
        assert!(script.given[1].blind_spots.has(Gap));
    }

    #[test]
    fn heads_cut_by_the_snap_length_are_answered_when_the_client_goes_on() {
        let mut script = Script::new();
        for _ in 0..2 {
            script.client("GET /long HTTP/1.1\r\nHost: exa").gap(Client, 200, Snaplen);
            script.server("HTTP/1.1 200 OK\r\nServer: ng").gap(Server, 900, Snaplen);
            script.says(Server, &[b'x'; 40]).gap(Server, 1000, Snaplen);
        }
        script.fin(Server).end();
        assert_eq!(script.outcomes(), [(200, Answered), (200, Unknown)]);
        let response = script.given[0].response.as_ref();
        assert!(response.is_some_and(|response| response.framing == Framing::Unknown));
        assert!(script.given.iter().all(|exchange| exchange.blind_spots.has(Snaplen)));
    }

    #[test]
    fn a_cut_status_line_still_tells_the_status() {
        let mut script = Script::new();
        script.client(GET).server("HTTP/1.1 503 Serv").gap(Server, 300, Snaplen).client(GET).end();
        assert_eq!(script.outcomes(), [(503, Answered), (0, Unanswered)]);
    }

    #[test]
    fn a_stream_from_the_middle_is_joined_at_start_lines() {
        let mut script = Script::from_the_middle();
        script.server("rest of a body").server("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
        script.client("rest of a form").client(GET).server(OK).end();
        assert_eq!(script.outcomes(), [(200, Answered)]);
        assert_eq!(script.conversation.responses(), 2);
        assert_eq!(script.protocol(), Protocol::Http1);
    }

    #[test]
    fn server_bytes_without_status_line_from_the_middle_leave_the_request_unknown() {
        let mut script = Script::from_the_middle();
        script.client(GET).server("rest of a body").end();
        assert_eq!(script.outcomes(), [(0, Unknown)]);
        assert!(script.given[0].blind_spots.has(CaptureStart));
        let mut script = Script::from_the_middle();
        script.server("rest of a body").client(GET).end();
        assert_eq!(script.outcomes(), [(0, Unanswered)]);
    }
}
