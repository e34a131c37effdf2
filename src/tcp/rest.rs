//! Flows that rest: written down in a quarter of the bytes that they take otherwise, until a packet,
//! their age or the end of the capture asks for them. Resting loses nothing.

use super::connection::Connection;
use super::table::{Entry, Key};
use crate::packet::{Endpoint, TunnelId};
use crate::shorthand::{Reader, Shorthand, Writer};
use crate::time::{Mark, Timestamp};
use std::fmt::Debug;
use std::num::NonZeroU64;

/// What the owner of a table attaches to a connection.
pub trait Attached: Sized {
    /// What is left of it while its flow rests, beside its fields in shorthand.
    type Resting: Debug;

    /// Whether both together say everything.
    fn can_rest(&self) -> bool;
    /// Writes its fields down, and gives the rest.
    fn rest(&mut self, writer: &mut Writer<'_>) -> Self::Resting;
    /// What it was.
    fn wake(resting: Self::Resting, reader: &mut Reader<'_>) -> Self;
}

impl Attached for () {
    type Resting = ();

    fn can_rest(&self) -> bool {
        true
    }

    fn rest(&mut self, _: &mut Writer<'_>) {}

    fn wake((): (), _: &mut Reader<'_>) {}
}

/// A flow that rests.
#[derive(Debug)]
pub(super) struct Resting<T: Attached> {
    pub(super) id: u64,
    client: Endpoint,
    server: Endpoint,
    tunnel: TunnelId,
    first: Mark,
    /// Time of its last packet.
    pub(super) last: Timestamp,
    notes: Box<[u8]>,
    attached: T::Resting,
}

impl<T: Attached> Resting<T> {
    /// Writes `entry` down, with the help of `paper`. What is left in it is of no use.
    pub(super) fn new(entry: &mut Entry<T>, now: Timestamp, paper: &mut Vec<u8>) -> Resting<T> {
        entry.connection.lie_down(now);
        paper.clear();
        let mut writer = Writer::new(paper, entry.connection.flow.first);
        entry.connection.fields(&mut writer);
        let attached = entry.attached.rest(&mut writer);
        let flow = &entry.connection.flow;
        Resting {
            id: flow.id,
            client: flow.client,
            server: flow.server,
            tunnel: flow.tunnel,
            first: flow.first,
            last: flow.last.at,
            notes: paper.as_slice().into(),
            attached,
        }
    }

    /// The flow as it was.
    pub(super) fn wake(self) -> Entry<T> {
        let ends = (self.client, self.server);
        let mut connection = Connection::blank(self.id, ends, self.tunnel, self.first);
        let mut reader = Reader::new(&self.notes, self.first);
        connection.fields(&mut reader);
        let attached = T::wake(self.attached, &mut reader);
        Entry { connection, attached }
    }

    /// Its memory, bytes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        size_of::<Resting<T>>() + self.notes.len()
    }

    pub(super) fn key(&self) -> Key {
        (self.client, self.server, self.tunnel)
    }
}

impl Connection {
    /// Whether its fields in shorthand say everything: it is open, and nothing is under way.
    pub(super) fn can_rest(&self) -> bool {
        self.flow.can_rest()
            && self.closed_at.is_none()
            && self.tracks.iter().all(|track| track.can_rest())
    }

    /// Its fields, in shorthand; not those of [`Connection::blank`].
    pub(super) fn fields(&mut self, shorthand: &mut impl Shorthand) {
        let Connection { flow, tracks, seen, settled, timing, closed_at: _ } = self;
        flow.fields(shorthand);
        tracks.iter_mut().for_each(|track| track.fields(shorthand));
        seen.fields(shorthand);
        shorthand.option(settled, Shorthand::u32);
        let (mut end, mut at) = timing.map_or((0, flow.first.at), |(end, at)| (end.get(), at));
        shorthand.u64(&mut end);
        shorthand.time(&mut at);
        *timing = NonZeroU64::new(end).map(|end| (end, at));
    }

    /// It is left alone for a while at `now`: forgets what only the next packets could need.
    pub(super) fn lie_down(&mut self, now: Timestamp) {
        self.tracks.iter_mut().for_each(|track| track.forget_copies(now));
    }
}
