//! What follows from packets that another place does not show.

use super::point::{Connection, Landmark, Point};
use super::retell::Elsewhere;
use crate::packet::Endpoint;
use crate::time::Timestamp;

/// How far from what a place captured for sure it may have captured, too, nanoseconds: who captures at two
/// places begins and ends at both within minutes.
const NEAR: i64 = 120_000_000_000;
/// How much later than elsewhere a host may seem to begin to send: clocks are compared no better,
/// nanoseconds.
const SLACK: i64 = 50_000_000;
/// SYNs and their answers before a packet, and after it, that are looked for at the other place as well.
const OTHERS_MAX: usize = 32;

/// What follows from packets that a place does not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Absence {
    /// Nothing: it does not show all packets of this server, or was not captured then.
    Nothing,
    /// It may not have been captured then, or not such packets: nothing shows that it was, and nothing that
    /// it was not.
    Hint,
    /// They were not there.
    Proof,
}

impl Elsewhere<'_> {
    /// What follows if packets that `of` exchanged here between two times, on their way to or from the
    /// server, are not at this place.
    pub(super) fn absence(
        &self,
        here: &Point,
        of: Connection,
        (from, to): (Timestamp, Timestamp),
    ) -> Absence {
        let there = self.point;
        let Some((first, last)) = there.span() else { return Absence::Nothing };
        if there.lost > 0 || !self.shows_others(here, of.1, from) {
            return Absence::Nothing;
        }
        let renamed = self.knows_by_another_name(here, of.1, from);
        if !renamed && !there.knows(of.1.ip) {
            return Absence::Nothing;
        }
        let (from, to) = (self.clocks.there(from), self.clocks.there(to));
        if first <= from && to <= last {
            // It may be a capture of other ports or clients only.
            let server = renamed || there.knows_server(of.1);
            let client = self.clocks.renamed || there.knows(of.0.ip);
            let proof = server && client && !there.dropped;
            return if proof { Absence::Proof } else { Absence::Hint };
        }
        // What the server sent before it was captured there, or after: then it was not captured.
        let missed = here.sender(of.1.ip).is_some_and(|server| {
            let (began, ended) = (self.clocks.there(server.first), self.clocks.there(server.last));
            (from < first && began.after(SLACK) < first) || (to > last && ended > last.after(SLACK))
        });
        let near = first.after(-NEAR) <= from && to <= last.after(NEAR);
        if near && !missed { Absence::Hint } else { Absence::Nothing }
    }

    /// Whether other connections to this server, around that time, are there under another address.
    fn knows_by_another_name(&self, here: &Point, server: Endpoint, at: Timestamp) -> bool {
        let mut others = here.opening(server, at, OTHERS_MAX);
        self.clocks.renamed && others.any(|it| self.point.find(it, self.clocks).is_some())
    }

    /// Whether handshakes that this server answered around that time are all there, as far as it was
    /// captured: with several paths to a server, or several servers behind one address, they are not.
    fn shows_others(&self, here: &Point, server: Endpoint, at: Timestamp) -> bool {
        let captured = |it: &&Landmark| {
            let at = self.clocks.there(it.mark.at);
            self.point.span().is_some_and(|(first, last)| first <= at && at <= last)
        };
        let answers = here.opening(server, at, OTHERS_MAX).filter(|it| it.is_syn_ack());
        answers.filter(captured).all(|it| self.point.find(it, self.clocks).is_some())
    }
}
