//! Which listeners of a proxy's host are asked by programs of that host and not by the proxy: their requests lie
//! within alike ones of the proxy's clients by chance.
//!
//! A proxy's own attempts lie within the requests that they are for. Moved by some time they do so no more, but
//! what lies within by chance does so as often. And a proxy that adds `X-Forwarded-For` to whatever it asks has not
//! asked what lacks it.

use super::compare::{Alike, SLACK, compare};
use super::leg::Leg;
use super::tie::Ties;
use crate::cause::Confidence;
use crate::packet::{Address, Endpoint};
use crate::time::Timestamp;
use hashbrown::{HashMap, HashSet};
use std::collections::{BTreeMap, BTreeSet};

/// Requests of a host to itself that are looked at; more of them tell no more.
const REQUESTS_MAX: usize = 1 << 13;
/// Pairs of listeners that are looked at; a host has few.
const PAIRS_MAX: usize = 1 << 8;
/// Requests of the proxy's clients that are looked at for one of them, those that began last.
const LOOK_BACK: usize = 64;
/// Requests to a listener that lie within none of the proxy's, from which on others ask there for sure.
const SOME: usize = 8;
/// By how much requests are moved to see what chance does, nanoseconds. None is a multiple of another.
const MOVES: [i64; 6] =
    [-7_310_000_000, -2_930_000_000, -610_000_000, 610_000_000, 2_930_000_000, 7_310_000_000];

/// A listener, whatever the address of its host by which it was asked.
type Listener = (Option<Address>, u16);

/// What the requests of hosts to themselves tell.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// Pairs of listeners of which the second is not asked for requests at the first.
    parted: HashSet<(Listener, Listener)>,
    /// Where requests came in for which another listener was asked.
    pub(super) proxies: BTreeSet<Endpoint>,
}

fn listener(leg: &Leg) -> Listener {
    let server = leg.ends.server;
    (Some(server.ip).filter(|_| !leg.local[1]), server.port)
}

/// The host asks itself.
fn is_own(leg: &Leg) -> bool {
    leg.ends.client.ip == leg.ends.server.ip || leg.local == [true; 2]
}

impl Beside {
    /// By all requests that are known.
    pub(super) fn of(legs: &[Leg]) -> Beside {
        let asked = |leg: &&Leg| leg.ends.ordinal > 0 && leg.is_readable();
        let mut backs: BTreeMap<Listener, Vec<&Leg>> = BTreeMap::new();
        for leg in legs.iter().filter(asked).filter(|leg| is_own(leg)).take(REQUESTS_MAX) {
            backs.entry(listener(leg)).or_default().push(leg);
        }
        backs.retain(|_, list| list.len() > SOME);
        let mut beside = Beside::default();
        if backs.is_empty() {
            return beside;
        }
        let mut fronts: BTreeMap<Listener, Vec<&Leg>> = BTreeMap::new();
        for leg in legs.iter().filter(asked) {
            fronts.entry(listener(leg)).or_default().push(leg);
        }
        let pairs = fronts.iter().flat_map(|front| backs.iter().map(move |back| (front, back)));
        for ((front, asked), (back, made)) in pairs.take(PAIRS_MAX) {
            let same = asked.first().zip(made.first());
            if !same.is_some_and(|(front, back)| front.at_the_host_of(back)) {
                continue;
            }
            let found = within(asked, made, 0);
            let chance = || MOVES.iter().any(|moved| 3 * within(asked, made, *moved) >= 2 * found);
            if made.len() - found >= SOME && chance() {
                beside.parted.insert((*front, *back));
            } else if found * 10 >= made.len() * 9 && !chance() {
                beside.proxies.extend(made.iter().filter_map(|it| around(asked, it, 0)));
            }
        }
        beside
    }

    /// Whether what `back` asks is none of what was asked with `front`.
    pub(super) fn parts(&self, front: &Leg, back: &Leg) -> bool {
        !self.parted.is_empty() && self.parted.contains(&(listener(front), listener(back)))
    }
}

/// How many of `made`, moved by so much, lie within an alike one of `asked`. Both are in the order of time.
fn within(asked: &[&Leg], made: &[&Leg], moved: i64) -> usize {
    made.iter().filter(|back| around(asked, back, moved).is_some()).count()
}

/// Where an alike one of `asked` was asked within which `back`, moved by so much, lies.
fn around(asked: &[&Leg], back: &Leg, moved: i64) -> Option<Endpoint> {
    let (from, over) = (back.ends.asked.at.after(moved), back.ends.over.at.after(moved));
    let began = asked.partition_point(|front| front.ends.asked.at <= from);
    let around = |front: &&&Leg| {
        until(front).nanos_since(from) >= -SLACK
            && front.ends.over.at.nanos_since(over) >= -SLACK
            && front.ends.flow != back.ends.flow
            && compare(front, back).is_plausible()
    };
    let found = asked[..began].iter().rev().take(LOOK_BACK).find(around);
    found.map(|front| front.ends.server)
}

fn until(front: &Leg) -> Timestamp {
    front.ends.answered.unwrap_or(front.ends.over).at
}

/// Proxies that name their client in whatever they ask for it, by ties that are sure.
pub(super) fn that_forward(legs: &[Leg], ties: &Ties) -> HashSet<Endpoint> {
    let mut named: HashMap<Endpoint, (usize, usize)> = HashMap::new();
    let sure = |tie: &&super::tie::Tie| tie.certainty == Confidence::Certain;
    for (leg, tie) in legs.iter().zip(&ties.of).filter(|(leg, _)| !is_own(leg)) {
        let Some(tie) = tie.as_ref().filter(sure).filter(|_| leg.ends.ordinal > 0) else {
            continue;
        };
        let front = &legs[tie.front];
        let (with, without) = named.entry(front.ends.server).or_default();
        match compare(front, leg).client {
            Alike::Same => *with += 1,
            _ => *without += 1,
        }
    }
    let always = named.into_iter().filter(|(_, (with, without))| *with >= SOME && *without == 0);
    always.map(|(server, _)| server).collect()
}

/// Whether `back` lacks what the proxy that was asked with `front` adds to all that it asks.
pub(super) fn lacks_forwarding(front: &Leg, back: &Leg, forward: &HashSet<Endpoint>) -> bool {
    is_own(back) && back.sketch.forwarded.is_none() && forward.contains(&front.ends.server)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::legs::testing::{PROXY, leg};

    fn at(port: u16, flow: u64, path: u64, asked: i64, over: i64) -> Leg {
        let mut leg = leg(flow, path, asked, over, 200);
        leg.ends.server = Endpoint::v4(PROXY, port);
        if port != 80 {
            leg.ends.client = Endpoint::v4(PROXY, 50_000 + flow as u16);
        }
        leg.local = [port != 80, true];
        leg
    }

    /// Requests at port 80, each of which takes 40 ms, and those of port 81 that begin `later`, every `each`th of
    /// them, of few paths.
    fn parts(later: i64, each: i64) -> bool {
        let mut legs = Vec::new();
        for n in 0..200 {
            let from = n * 50 + n * n % 17 * 5;
            legs.push(at(80, n as u64, 1 + n as u64 % 3, from, from + 40));
            if n % each == 0 {
                let own = from + later;
                legs.push(at(81, 1000 + n as u64, 1 + n as u64 % 3, own, own + 20));
            }
        }
        legs.sort_by_key(|leg| leg.ends.asked.at);
        let beside = Beside::of(&legs);
        let [front, back] =
            [80, 81].map(|port| legs.iter().find(|leg| leg.ends.server.port == port));
        beside.parts(front.unwrap(), back.unwrap())
    }

    #[test]
    fn what_lies_within_by_chance_is_for_nobody() {
        assert!(!parts(3, 1) && !parts(3, 5));
        // Whoever asks does so at other times.
        assert!(parts(333, 1) && parts(777, 3));
    }

    #[test]
    fn a_proxy_that_always_names_its_client_did_not_ask_what_names_nobody() {
        let mut legs = Vec::new();
        let mut ties = Ties::default();
        for n in 0..9 {
            let front = at(80, n, 1, 0, 50);
            let mut back = super::super::testing::back(100 + n, 1, 5, 40, 200);
            back.sketch.forwarded = Some(front.ends.client.ip);
            ties.of.push(None);
            ties.of.push(Some(super::super::tie::Tie {
                front: legs.len(),
                certainty: Confidence::Certain,
                by: crate::join::TiedBy::Request,
                alike: true,
            }));
            legs.extend([front, back]);
        }
        let forward = that_forward(&legs, &ties);
        let own = at(81, 200, 1, 7, 30);
        assert!(lacks_forwarding(&legs[0], &own, &forward));
        // Some of its attempts do not.
        legs[1].sketch.forwarded = None;
        assert!(!lacks_forwarding(&legs[0], &own, &that_forward(&legs, &ties)));
    }
}
