//! What follows from packets that another place does not show.

use super::clocks::Clocks;
use super::point::{Connection, Landmark, Point};
use super::retell::Elsewhere;
use crate::time::Timestamp;

/// How far from what a place captured for sure it may have captured, too, nanoseconds: who captures at two
/// places begins and ends at both within minutes.
const NEAR: i64 = 120_000_000_000;
/// How much later than elsewhere a host may seem to begin to send: clocks are compared no better,
/// nanoseconds.
const SLACK: i64 = 50_000_000;
/// Packets of the same two hosts before a packet, and after it, that are looked for at the other place.
const OTHERS_MAX: usize = 64;

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

/// What of other packets between the same two hosts, around that time, is at the other place as well.
#[derive(Clone, Copy, Debug)]
enum Others {
    /// None of them is known.
    None,
    /// All.
    Shown,
    /// All, with another address of the server: there may be more servers behind the one that is here.
    Renamed,
    /// Some that came through are not: of several paths, or several servers behind one address, it shows
    /// some only, or it is a capture of other ports or hosts.
    Missing,
}

/// Whether the capture of `there` lacks packets that came from there: a capture that loses some may have lost
/// any. Resets are forged and do not count.
pub(super) fn misses(here: &Point, there: &Point, clocks: &Clocks) -> bool {
    let (Some((first, last)), Some(nearer_server)) = (there.span(), clocks.nearer_server) else {
        return false;
    };
    let (first, last) = (first.after(SLACK), last.after(-SLACK));
    let captured = |it: &&Landmark| {
        let at = clocks.there(it.mark.at);
        first <= at && at <= last
    };
    let missing = |it: &&Landmark| {
        let (client, server) = it.connection();
        let from_there = it.src == if nearer_server { server } else { client };
        from_there
            && there.same(it).is_empty()
            && there.name((client, server), here, clocks).is_some()
    };
    let mut sent = here.landmarks.iter().filter(|it| !it.is_rst()).filter(captured);
    sent.any(|it| missing(&it))
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
        let server = self.others(of, &here.of_server(of.1, from, OTHERS_MAX));
        let host = self.others(of, &here.of_host(of.1.ip, from, OTHERS_MAX));
        let shown = match (server, host) {
            _ if there.lost > 0 => Absence::Nothing,
            (Others::Missing, _) | (Others::None, Others::Missing) => Absence::Nothing,
            (Others::Shown, _) => Absence::Proof,
            (Others::Renamed, _) | (Others::None, Others::Renamed) => Absence::Hint,
            // It may be a capture of other ports only.
            (Others::None, Others::Shown)
                if there.knows_server(of.1) || there.knows_ports_around(of.1) =>
            {
                Absence::Proof
            }
            (Others::None, Others::Shown) => Absence::Hint,
            (Others::None, Others::None) if there.knows(of.1.ip) => Absence::Hint,
            (Others::None, Others::None) => Absence::Nothing,
        };
        let (from, to) = (self.clocks.there(from), self.clocks.there(to));
        let captured = if first <= from && to <= last {
            let whole = !there.dropped && !self.clocks.misses;
            if whole { Absence::Proof } else { Absence::Hint }
        } else {
            // What the server sent before it was captured there, or after: then it was not captured.
            let missed = here.sender(of.1.ip).is_some_and(|server| {
                let began = self.clocks.there(server.first).after(SLACK);
                let ended = self.clocks.there(server.last).after(-SLACK);
                (from < first && began < first) || (to > last && ended > last)
            });
            let near = first.after(-NEAR) <= from && to <= last.after(NEAR);
            if near && !missed { Absence::Hint } else { Absence::Nothing }
        };
        shown.min(captured)
    }

    fn others(&self, of: Connection, landmarks: &[&Landmark]) -> Others {
        let there = self.point;
        let captured = |it: &&&Landmark| {
            let at = self.clocks.there(it.mark.at);
            there.span().is_some_and(|(first, last)| first <= at && at <= last)
        };
        let same = |it: &&&Landmark| it.src.ip == of.0.ip || it.dst.ip == of.0.ip;
        let mut others = Others::None;
        for it in landmarks.iter().filter(same).filter(captured) {
            match there.find(it, self.clocks) {
                Some(found) => {
                    let up = it.src.ip == of.0.ip;
                    let server = if up { found.dst } else { found.src };
                    let renamed = server.ip != of.1.ip;
                    others = if renamed { Others::Renamed } else { Others::Shown };
                }
                // Its answer came through: the handshake was complete.
                None if it.is_syn_ack() => return Others::Missing,
                None => {}
            }
        }
        others
    }
}
