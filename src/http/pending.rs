//! One exchange in the making, with buffers that serve the next one too.

use super::scan::Method;
use super::{Exchange, HEAD_KEPT, Request, Response, State};
use crate::blind::BlindSpot;
use crate::tcp::At;

/// An exchange that is not settled.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending {
    pub(super) exchange: Exchange,
    pub(super) method: Method,
    /// Where the head of the request ends in the client's stream, once it is complete.
    pub(super) head_end: u64,
    /// `Expect: 100-continue`.
    pub(super) expects: bool,
    /// Bytes of the server that may belong to it were not seen or not understood.
    pub(super) hidden: bool,
    /// An answer to an earlier request that was not seen may come first; of a response without
    /// request: the server had received a request that was not seen.
    pub(super) doubtful: bool,
    /// Requests before it are missing while others wait, so that no response can be told to be its.
    pub(super) unpairable: bool,
    /// Buffers for the heads while there is no request or response.
    request_head: Vec<u8>,
    response_head: Vec<u8>,
}

impl Pending {
    /// Makes it a blank one again. Keeps the buffers.
    pub(super) fn clear(&mut self) {
        self.drop_response();
        if let Some(request) = self.exchange.request.take() {
            self.request_head = request.head;
            self.request_head.clear();
        }
        *self = Pending {
            request_head: std::mem::take(&mut self.request_head),
            response_head: std::mem::take(&mut self.response_head),
            ..Pending::default()
        };
    }

    /// Begins the request.
    pub(super) fn ask(&mut self, at: At) {
        self.exchange.request = Some(Request {
            first: at.mark,
            last: at.mark,
            start: at.offset,
            end: at.offset,
            acked: at.acked,
            head: std::mem::take(&mut self.request_head),
            ..Request::default()
        });
    }

    /// Begins the response.
    pub(super) fn answer(&mut self, at: At) {
        self.hidden = false;
        self.exchange.response = Some(Response {
            first: at.mark,
            last: at.mark,
            start: at.offset,
            end: at.offset,
            acked: at.acked,
            head: std::mem::take(&mut self.response_head),
            interim: self.exchange.interim,
            ..Response::default()
        });
    }

    /// Bytes that it takes.
    pub(super) fn memory(&self) -> usize {
        let heads = [
            self.exchange.request.as_ref().map(|request| request.head.capacity()),
            self.exchange.response.as_ref().map(|response| response.head.capacity()),
        ];
        size_of::<Pending>() + heads.into_iter().flatten().sum::<usize>()
    }

    /// Forgets the response. Keeps its buffer.
    pub(super) fn drop_response(&mut self) {
        if let Some(response) = self.exchange.response.take() {
            self.response_head = response.head;
            self.response_head.clear();
        }
    }

    /// Takes it for no longer decidable from the server's bytes alone.
    pub(super) fn hide(&mut self, why: BlindSpot) {
        self.hidden = true;
        self.exchange.blind_spots.add(why);
    }

    pub(super) fn request_complete(&self) -> bool {
        self.exchange.request.as_ref().is_some_and(|request| request.complete)
    }

    pub(super) fn response_complete(&self) -> bool {
        self.exchange.response.as_ref().is_some_and(|response| response.complete)
    }

    /// The client had received the server's stream up to `end` when it asked.
    pub(super) fn asked_after(&self, end: u64) -> bool {
        let acked = self.exchange.request.as_ref().and_then(|request| request.acked);
        acked.is_some_and(|acked| acked >= end)
    }

    /// The server had received more than the first `start` bytes of the client when it answered.
    pub(super) fn answers_later_than(&self, start: u64) -> bool {
        let acked = self.exchange.response.as_ref().and_then(|response| response.acked);
        acked.is_some_and(|acked| acked > start)
    }

    /// How it stands when the client goes on although the end of the answer was not seen: a client
    /// that does not pipeline has had its answer before it asks again.
    pub(super) fn implied_state(&self) -> State {
        match &self.exchange.response {
            Some(response) if response.complete || response.status.is_some() => State::Answered,
            _ => State::Unknown,
        }
    }

    /// The response is no HTTP/1 at all.
    pub(super) fn is_garbage(&self) -> bool {
        let fault = self.exchange.response.as_ref().and_then(|response| response.fault.as_ref());
        fault.is_some_and(|fault| fault.kind.is_no_response())
    }

    /// How it stands when nothing more comes.
    pub(super) fn final_state(&self) -> State {
        match &self.exchange.response {
            Some(response) if response.complete => State::Answered,
            _ if self.hidden || self.unpairable => State::Unknown,
            None => State::Unanswered,
            Some(_) => State::Cut,
        }
    }
}

/// Appends `bytes` to a head up to the number that is kept.
pub(super) fn keep(head: &mut Vec<u8>, bytes: &[u8]) {
    let room = HEAD_KEPT.saturating_sub(head.len()).min(bytes.len());
    head.extend_from_slice(&bytes[..room]);
}
