//! Entries and flows for tests.

use super::entry::{Entry, Place};
use super::kind::Kind;
use super::line::{Attempt, Line};
use super::seen::Known;
use crate::packet::Endpoint;
use crate::time::{FrameId, Mark, Timestamp};

impl Entry {
    pub(super) fn target(&mut self, ip: [u8; 4], port: u16) {
        self.attempts.push(Attempt { target: Some(Endpoint::v4(ip, port)), status: None });
    }
}

pub(super) fn entry(with: impl FnOnce(&mut Entry)) -> Entry {
    let line = Line { resolution: 1_000_000, ..Line::default() };
    let mut entry = Entry::new(Place { file: 0, line: 1 }, Kind::Format, &line);
    with(&mut entry);
    entry
}

pub(super) fn known(client: [u8; 4], port: u16, server: [u8; 4], to: u16) -> Known {
    Known {
        client: Endpoint::v4(client, port),
        server: Endpoint::v4(server, to),
        stream: Some(0),
        first: Mark { frame: FrameId::new(0, 1), at: Timestamp(0) },
        last: Timestamp(0),
        requests: 1,
        sealed: false,
    }
}
