//! Entries and flows for tests.

use super::entry::{Entry, Place};
use super::keys::{asked, asked_path, keys};
use super::kind::Kind;
use super::line::{Attempt, Line, is_failure};
use super::seen::{Capture, Flows, Known, Seen, Shows};
use super::tie::{Ties, sort};
use crate::http::State;
use crate::packet::Endpoint;
use crate::time::{FrameId, Mark, Timestamp};

impl Entry {
    pub(super) fn new(place: Place, kind: Kind, mut line: Line<'_>) -> Entry {
        Entry::keyed(place, kind, keys(&line), &mut line)
    }

    pub(super) fn target(&mut self, ip: [u8; 4], port: u16) {
        self.attempts.push(Attempt { target: Some(Endpoint::v4(ip, port)), status: None });
    }
}

pub(super) fn entry(with: impl FnOnce(&mut Entry)) -> Entry {
    let line = Line { resolution: 1_000_000, ..Line::default() };
    let mut entry = Entry::new(Place { file: 0, line: 1 }, Kind::Format, line);
    with(&mut entry);
    entry
}

pub(super) fn known(client: [u8; 4], port: u16, server: [u8; 4], to: u16) -> Known {
    Known {
        client: Endpoint::v4(client, port),
        server: Endpoint::v4(server, to),
        stream: Some(0),
        first: Mark { frame: FrameId::new(0, 1), at: Timestamp(0) },
        over: Mark::default(),
        last: Timestamp(0),
        closed: Timestamp(0),
        made: true,
        shows: Shows::Requests,
    }
}

impl Flows {
    pub(super) fn insert(&mut self, id: u64, flow: Known) {
        match self.place(id) {
            Some(place) => self.0[place].1 = flow,
            None => self.0.push((id, flow)),
        }
        self.settle();
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Known> {
        self.place(id).map(|place| &mut self.0[place].1)
    }

    pub(super) fn retain(&mut self, which: impl Fn(u64) -> bool) {
        self.0.retain(|flow| which(flow.0));
    }
}

/// A capture of requests, each with its flow.
#[derive(Default)]
pub(super) struct Made(pub(super) Capture);

impl Made {
    /// A request on a connection of its own, from `first` to `last` in milliseconds.
    pub(super) fn request(
        &mut self,
        target: &str,
        server: ([u8; 4], u16),
        (first, last): (i64, i64),
        status: Option<u16>,
    ) -> &mut Seen {
        let number = self.0.seen.len() as u64;
        let mark = Mark { frame: FrameId::new(0, number * 10 + 4), at: ms(first) };
        let client = 40_000 + number as u16;
        let flow = Known {
            first: mark,
            last: ms(last),
            ..known([10, 0, 0, 5], client, server.0, server.1)
        };
        self.0.flows.insert(number, flow);
        let span = self.0.span.get_or_insert((ms(first), ms(last)));
        *span = (span.0.min(ms(first)), span.1.max(ms(last)));
        self.0.seen.push(Seen {
            flow: number,
            ordinal: 1,
            first: mark,
            answered: None,
            over: Mark { at: ms(last), ..mark },
            until: ms(last),
            state: State::Answered,
            status,
            whole: status.is_some(),
            asked: asked(b"GET", target.as_bytes()),
            path: asked_path(b"GET", target.as_bytes()),
            ids: [0; 4],
        });
        let last = self.0.seen.len() - 1;
        &mut self.0.seen[last]
    }
}

/// Ties lines to a capture.
pub(super) fn tie(entries: &mut [Entry], capture: &Capture, broken: &[u64]) -> Ties {
    sort(entries);
    super::tie::tie(entries, true, capture, broken)
}

/// So many milliseconds after the beginning.
pub(super) fn ms(ms: i64) -> Timestamp {
    Timestamp(ms * 1_000_000)
}

/// Line `number`: a request that the proxy had from `began` to `ended`, in milliseconds.
pub(super) fn logged(
    number: u64,
    target: &str,
    (began, ended): (i64, i64),
    status: u16,
    server: ([u8; 4], u16),
) -> Entry {
    entry(|it| {
        it.place.line = number;
        it.asked = asked(b"GET", target.as_bytes());
        (it.began, it.ended) = (Some(ms(began)).into(), Some(ms(ended)).into());
        it.status = Some(status);
        it.failed = is_failure(status);
        let answered = Some(status).filter(|_| !it.failed);
        it.attempts
            .push(Attempt { target: Some(Endpoint::v4(server.0, server.1)), status: answered });
    })
}
