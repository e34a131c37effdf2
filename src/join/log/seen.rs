//! What is kept of the capture until the logs are read.

use super::index::ByClient;
use super::keys::{Ids, asked_both, ids_of};
use crate::blind::BlindSpot;
use crate::flow::Flow;
use crate::http::{Exchange, RequestHead, State};
use crate::huge;
use crate::packet::Endpoint;
use crate::time::{Mark, Timestamp};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::sync::OnceLock;

/// Exchanges that are kept, about 130 bytes each. A capture of 1 GB has fewer.
pub const SEEN_MAX: usize = 1 << 21;
/// Exchanges that there is room for at once, 34 MB, of which only what is used becomes memory: blocks above 32 MB
/// grow without being copied.
const ROOM: usize = 1 << 18;
/// The same of flows, 9 MB.
const FLOWS_ROOM: usize = 1 << 16;
/// Flows that are kept, about 130 bytes each.
pub const FLOWS_MAX: usize = 1 << 20;

/// What is kept of an exchange until logs are read.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub(super) flow: u64,
    pub(super) ordinal: u32,
    /// First byte of the request.
    pub(super) first: Mark,
    /// First byte of the response.
    pub(super) answered: Option<Mark>,
    /// Last byte of the response, or of the request when none came.
    pub(super) over: Mark,
    /// When it was over: its last byte, or the close of its connection where the response is not complete.
    pub(super) until: Timestamp,
    pub(super) state: State,
    pub(super) status: Option<u16>,
    /// The response is complete.
    pub(super) whole: bool,
    pub(super) asked: u64,
    pub(super) path: u64,
    pub(super) ids: Ids,
}

/// A flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) client: Endpoint,
    pub(super) server: Endpoint,
    pub(super) stream: Option<u32>,
    pub(super) first: Mark,
    /// Last packet.
    pub(super) over: Mark,
    pub(super) last: Timestamp,
    /// The first close, or the last packet of a connection without one.
    pub(super) closed: Timestamp,
    /// It was answered, or carried something: it was no attempt that failed.
    pub(super) made: bool,
    /// What can be read of it.
    pub(super) shows: Shows,
}

/// What can be read of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shows {
    /// It carried nothing, or what says nothing of requests.
    #[default]
    Nothing,
    /// The bytes of its requests were cut off when they were captured.
    Cut,
    /// It is encrypted.
    Sealed,
    /// Requests.
    Requests,
}

impl Shows {
    fn of(flow: &Flow) -> Shows {
        let sealed = flow.tls.as_ref().is_some_and(|tls| !tls.decrypted);
        match flow.requests {
            _ if sealed => Shows::Sealed,
            1.. => Shows::Requests,
            0 if flow.halves.iter().all(|half| half.payload_bytes == 0) => Shows::Nothing,
            0 if flow.blind_spots.has(BlindSpot::Snaplen) => Shows::Cut,
            0 => Shows::Nothing,
        }
    }
}

/// Flows with their ids, in the order of these once they are [settled](Capture::settle).
#[derive(Clone, Debug, Default)]
pub(super) struct Flows(pub(super) Vec<(u64, Known)>);

impl Flows {
    pub(super) fn get(&self, id: u64) -> Option<&Known> {
        self.place(id).map(|place| &self.0[place].1)
    }

    pub(super) fn place(&self, id: u64) -> Option<usize> {
        // Where none is missing, each is as far from the first as its id is.
        let first = self.0.first()?.0;
        let guess = usize::try_from(id.checked_sub(first)?).ok()?;
        match self.0.get(guess) {
            Some(flow) if flow.0 == id => Some(guess),
            _ => self.0.binary_search_by_key(&id, |flow| flow.0).ok(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Known)> {
        self.0.iter().map(|(id, flow)| (*id, flow))
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Known> {
        self.iter().map(|(_, flow)| flow)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Brings them into their order, in which most are already.
    pub(super) fn settle(&mut self) {
        self.0.sort_by_key(|flow| flow.0);
    }
}

/// Exchanges and flows of a capture.
#[derive(Clone, Debug, Default)]
pub(super) struct Capture {
    pub(super) seen: Vec<Seen>,
    pub(super) flows: Flows,
    /// Time of the first and the last packet of any flow.
    pub(super) span: Option<(Timestamp, Timestamp)>,
    /// Exchanges and flows that were not kept.
    pub(super) lost: u64,
    by_client: OnceLock<ByClient>,
}

impl Seen {
    /// Of an exchange of the flow with this id, if it has a request; `state`: what is known of its outcome.
    pub fn of(flow: u64, exchange: &Exchange, state: State) -> Option<Seen> {
        let request = exchange.request.as_ref()?;
        let head = RequestHead::parse(&request.head);
        let (method, target) = head.asked();
        let target = super::text::origin_form(target);
        let response = exchange.response.as_ref();
        let over = response.map_or(request.last, |response| response.last);
        let (asked, path) = asked_both(method, target);
        Some(Seen {
            flow,
            ordinal: exchange.ordinal,
            first: request.first,
            answered: response.map(|response| response.first),
            over,
            until: over.at,
            state,
            status: response.and_then(|response| response.status),
            whole: response.is_some_and(|response| response.complete),
            asked,
            path,
            ids: ids_of(&head),
        })
    }

    /// When it was over.
    pub(super) fn last(&self) -> Timestamp {
        self.until
    }
}

impl Capture {
    /// Nothing yet, with room for what a capture has.
    pub(super) fn with_room() -> Capture {
        let flows = Flows(huge::with_room(FLOWS_ROOM));
        Capture { seen: huge::with_room(ROOM), flows, ..Capture::default() }
    }

    /// The flows by their clients; made when it is asked for.
    pub(super) fn by_client(&self) -> &ByClient {
        self.by_client.get_or_init(|| ByClient::new(&self.flows))
    }

    pub(super) fn add(&mut self, seen: Seen) {
        match self.seen.len() < SEEN_MAX {
            true => self.seen.push(seen),
            false => self.lost += 1,
        }
    }

    /// All flows are known. What has no whole response lasted until its connection was closed.
    pub(super) fn settle(&mut self) {
        self.flows.settle();
        let mut open: HashMap<u64, u32, FixedState> = HashMap::default();
        open.extend(self.seen.iter().filter(|seen| !seen.whole).map(|seen| (seen.flow, 0)));
        if open.is_empty() {
            return;
        }
        for seen in &self.seen {
            if let Some(last) = open.get_mut(&seen.flow) {
                *last = seen.ordinal.max(*last);
            }
        }
        for seen in self.seen.iter_mut().filter(|seen| !seen.whole) {
            let is_last = open.get(&seen.flow) == Some(&seen.ordinal);
            if let Some(flow) = self.flows.get(seen.flow).filter(|_| is_last) {
                seen.until = seen.until.max(flow.closed);
            }
        }
    }

    pub(super) fn flow(&mut self, flow: &Flow) {
        let (first, last) = (flow.first.at, flow.last.at);
        let span = self.span.get_or_insert((first, last));
        *span = (span.0.min(first), span.1.max(last));
        if self.flows.len() >= FLOWS_MAX {
            self.lost += 1;
            return;
        }
        let carried = flow.halves.iter().any(|half| half.payload_bytes > 0);
        self.flows.0.push((
            flow.id,
            Known {
                client: flow.client,
                server: flow.server,
                stream: flow.stream,
                first: flow.first,
                over: flow.last,
                last,
                closed: flow.closed_first().map_or(last, |close| close.mark.at),
                made: carried || flow.opening.syn_ack.is_some(),
                shows: Shows::of(flow),
            },
        ));
    }
}
