//! Both legs of a proxy in one capture: which attempts it made for each request of its clients.
//!
//! [`Roles`] says, while packets are read, which connections may be legs; of their exchanges a
//! [`Leg`] is kept. [`Legs`] ties them when all are known, or in parts where there are too many.

mod alike;
mod beside;
mod compare;
mod connections;
mod even;
mod leg;
mod one_host;
mod order;
mod own_answer;
mod patience;
mod pool;
mod roles;
mod routes;
mod sketch;
mod steady;
#[cfg(test)]
mod testing;
mod tie;
mod unserved;
mod verdict;

pub(in crate::join) use compare::SLACK;
pub use leg::{Leg, speaks_for_others};
pub use one_host::{OneHost, Pair};
pub use own_answer::may_be_a_proxys;
pub use roles::Roles;
pub use unserved::Unserved;
pub use verdict::retell;

use super::{ATTEMPTS_MAX, Attempt, Correlation, Ends, TiedBy};
use crate::cause::Confidence;
use crate::http::Protocol;
use crate::packet::{Address, Endpoint};
use crate::time::Timestamp;
use hashbrown::{HashMap, HashSet};
use pool::Decided;
use routes::Routes;
use tie::{Surroundings, Ties};

/// Legs kept to be tied; a leg takes about 500 bytes. Past it the older half is tied with what is
/// known by then.
pub const LEGS_MAX: usize = 1 << 17;
/// Addresses behind which requests are hidden that are remembered.
const OPAQUE_MAX: usize = 1 << 12;
/// Addresses of proxies that are remembered.
const PROXIES_MAX: usize = 1 << 12;
/// Times that a leg without its counterpart is left for later when room has to be made.
const WAITS_MAX: u8 = 6;
/// Exchanges with the same path at the right time that prove a proxy, although none of them is certain to
/// belong to one request: checks of the same path may fall together once.
const ALIKE: u32 = 8;

/// The legs of a run.
#[derive(Debug, Default)]
pub struct Legs {
    /// Keep also what is of no interest to those who look for failures.
    all: bool,
    pending: Vec<Leg>,
    /// Flow and ordinal of those that may have a finding.
    suspects: HashSet<(u64, u32)>,
    /// See [`Surroundings::opaque`].
    opaque: HashSet<Address>,
    /// Where exchanges have shown a proxy, see [`Surroundings::proxies`].
    proxies: HashSet<Endpoint>,
    /// Where exchanges have shown a target of a proxy.
    targets: HashSet<Endpoint>,
    /// Exchanges that speak for a proxy so far.
    alike: HashMap<Endpoint, u32>,
    /// Who asks whom, by legs alone.
    roles: Roles,
    /// Which servers are asked for what, of what is settled.
    routes: Routes,
    /// Legs tied before all were known, to make room.
    early: u64,
    /// See [`Legs::unsearched`].
    unsearched: u64,
}

/// What belongs together, and what is left over.
#[derive(Debug, Default)]
pub struct Joins {
    /// In the order of their requests.
    pub settled: Vec<Settled>,
    /// Failed attempts for a request that is not known.
    pub strays: Vec<Stray>,
    /// Failed requests for which no attempt is known, at hosts that ask others.
    pub doubtful: Vec<Doubtful>,
    /// Exchanges that a proxy made for an exchange of its client.
    pub back_exchanges: u64,
}

/// A correlation, and what was going on where the proxy asked nobody.
#[derive(Clone, Debug)]
pub struct Settled {
    /// What belongs together.
    pub correlation: Correlation,
    /// The proxy asked no target for it.
    pub unserved: Option<Unserved>,
    /// The last attempt is a connection that was opened for another request, for which this one waited, too.
    pub shared: bool,
    /// Another server that may have failed the last attempt instead, at the same time.
    pub other: Option<Endpoint>,
}

/// A failed request without an attempt that is known to be for it.
#[derive(Clone, Debug)]
pub struct Doubtful {
    /// The request.
    pub front: Ends,
    /// Its host is a proxy for sure.
    pub is_proxy: bool,
    /// An attempt that is like it was made for it or for another one.
    pub contested: bool,
}

/// A failed attempt for one of several requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stray {
    /// [`Flow::id`](crate::flow::Flow::id).
    pub flow: u64,
    /// Position on its connection, 0 for a connection without a request.
    pub ordinal: u32,
    /// How many requests it may have been made for.
    pub fronts: u64,
    /// How many of them failed.
    pub failed: u64,
}

impl Legs {
    /// Keeps correlations of requests that did not fail, too, if `all`.
    pub fn new(all: bool) -> Legs {
        Legs { all, ..Legs::default() }
    }

    /// Takes in a leg. When [`Legs::are_full`], some are to be settled.
    pub fn add(&mut self, leg: Leg) {
        let ends = &leg.ends;
        if leg.is_suspect() {
            self.suspects.insert((ends.flow, ends.ordinal));
        }
        self.roles.opened(ends.client, ends.server);
        for (end, local) in [ends.client, ends.server].into_iter().zip(leg.local) {
            if local {
                self.roles.learn_local(end.ip);
            }
        }
        self.pending.push(leg);
    }

    /// A connection accepted at `server` carries what cannot be told apart as requests.
    pub fn hides(&mut self, server: Endpoint, protocol: Protocol) {
        if matches!(protocol, Protocol::Http2 | Protocol::Upgraded)
            && self.opaque.len() < OPAQUE_MAX
        {
            self.opaque.insert(server.ip);
        }
    }

    /// There is no room for another leg.
    pub fn are_full(&self) -> bool {
        self.pending.len() >= LEGS_MAX
    }

    /// Whether this exchange is a leg that may have failed, so that its finding should wait.
    pub fn concerns(&self, flow: u64, ordinal: u32) -> bool {
        self.suspects.contains(&(flow, ordinal))
    }

    /// Whether a failure at `server` came too late to be tied: its host asks others, and some legs had to be
    /// tied before all were known.
    pub fn has_lost(&self, server: Endpoint) -> bool {
        self.early > 0 && self.roles.asks_beside(server)
    }

    /// Ties the legs that began before `cut` with what is known by now.
    pub fn settle_before(&mut self, cut: Timestamp) -> Joins {
        let most = self.pending.iter().filter(|leg| leg.ends.asked.at < cut).count();
        self.settle(most, false)
    }

    /// Makes room: ties the older half of the legs with what is known by now.
    pub fn settle_half(&mut self) -> Joins {
        let most = self.pending.len().div_ceil(2);
        let left = self.pending.len();
        let joins = self.settle(most, true);
        self.early += (left - self.pending.len()).min(most) as u64;
        joins
    }

    /// All legs are known.
    pub fn settle_all(&mut self) -> Joins {
        self.settle(self.pending.len(), false)
    }

    /// Legs tied before all were known, to make room.
    pub fn settled_early(&self) -> u64 {
        self.early
    }

    /// Errors of proxies for which no attempt was looked for among those of others any more.
    pub fn unsearched(&self) -> u64 {
        self.unsearched
    }

    /// Ties the `most` oldest legs. Younger ones may be attempts for them. With `some_wait` those without their
    /// counterpart are left for later where there is room: what a connection that failed came to is known only
    /// when it is over for good.
    fn settle(&mut self, most: usize, some_wait: bool) -> Joins {
        if most == 0 {
            return Joins::default();
        }
        let mut legs = std::mem::take(&mut self.pending);
        legs.sort_by_key(|leg| {
            let ends = &leg.ends;
            (ends.asked.at, ends.asked.frame, ends.ordinal == 0)
        });
        leg::find_unique(&mut legs);
        let none = HashSet::new();
        let around = self.around(&none, &self.routes);
        let mut ties = tie::ties(&legs, &around);
        let forward = beside::that_forward(&legs, &ties);
        let wrong = |(leg, tie): (&Leg, &Option<tie::Tie>)| {
            tie.is_some_and(|tie| beside::lacks_forwarding(&legs[tie.front], leg, &forward))
        };
        if legs.iter().zip(&ties.of).any(wrong) {
            ties = tie::ties(&legs, &Surroundings { forward: &forward, ..around });
        }
        let room = PROXIES_MAX.saturating_sub(self.proxies.len());
        self.proxies.extend(ties.proxies.iter().copied().take(room));
        let room = PROXIES_MAX.saturating_sub(self.proxies.len());
        let others = connections::that_answer_for(&legs);
        self.proxies.extend(connections::that_drop(&legs).into_iter().chain(others).take(room));
        self.learn_proxies(&legs, &ties);
        let requests = ties.clone();
        connections::tie_connections(&legs, &mut ties, &self.around(&none, &self.routes));
        // Where nothing but refused connections tells of a proxy.
        if self.learn_proxies(&legs, &ties) {
            ties = requests.clone();
            connections::tie_connections(&legs, &mut ties, &self.around(&none, &self.routes));
        }
        let mut routes = self.routes.clone();
        routes.learn(&legs, &ties, |_| true);
        let around = self.around(&none, &routes);
        if routes.tell_apart() {
            ties = requests;
            connections::tie_connections(&legs, &mut ties, &around);
        }
        self.unsearched += even::even_out(&legs, &mut ties, most, &routes);
        for tie in legs.iter().zip(&mut ties.of).filter_map(|(leg, tie)| {
            tie.as_mut().filter(|tie| leg.waited > 0 || legs[tie.front].waited > 0)
        }) {
            // Others have gone that may have fitted as well.
            if tie.by != TiedBy::Id {
                tie.certainty = Confidence::Possible;
            }
        }
        if most < legs.len() {
            // Legs that are not known yet may fit better.
            for tie in ties.of.iter_mut().flatten().filter(|tie| tie.by != TiedBy::Id) {
                tie.certainty = tie.certainty.min(Confidence::Likely);
            }
        }
        let waits = if some_wait { self.waiting(&legs, &ties, most) } else { HashSet::new() };
        let joins = self.collect(&legs, &ties, most, &waits);
        let is_settled = |at: usize| {
            !waits.contains(&at) && (at < most || ties.of[at].is_some_and(|tie| tie.front < most))
        };
        self.routes.learn(&legs, &ties, is_settled);
        for (at, mut leg) in legs.into_iter().enumerate() {
            if is_settled(at) {
                self.suspects.remove(&(leg.ends.flow, leg.ends.ordinal));
            } else {
                leg.waited = leg.waited.saturating_add(u8::from(at < most));
                self.pending.push(leg);
            }
        }
        if self.pending.is_empty() {
            self.suspects.clear();
        }
        joins
    }

    /// Those of the first `most` legs whose counterpart may still come: errors of proxies without an attempt,
    /// and connections that failed for nobody.
    fn waiting(&self, legs: &[Leg], ties: &Ties, most: usize) -> HashSet<usize> {
        let attempts = ties.attempts();
        let waits = |at: &usize| {
            let leg = &legs[*at];
            let server = leg.ends.server;
            let untied = ties.of[*at].is_none() && attempts[*at].is_empty();
            let alone = untied && !ties.decided.contains_key(at) && leg.is_suspect();
            let asks = || self.proxies.contains(&server) || self.roles.asks_beside(server);
            alone && leg.waited < WAITS_MAX && (leg.ends.ordinal == 0 || asks())
        };
        (0..most).filter(waits).take(most / 2).collect()
    }

    fn around<'a>(
        &'a self,
        forward: &'a HashSet<Endpoint>,
        routes: &'a Routes,
    ) -> Surroundings<'a> {
        Surroundings { opaque: &self.opaque, proxies: &self.proxies, forward, routes }
    }

    /// Whether there are new ones.
    fn learn_proxies(&mut self, legs: &[Leg], ties: &Ties) -> bool {
        let known = self.proxies.len();
        for (at, tie) in ties.of.iter().enumerate() {
            let Some(tie) = tie else { continue };
            if tie.certainty == Confidence::Certain && self.targets.len() < PROXIES_MAX {
                self.targets.insert(legs[at].ends.server);
            }
            let server = legs[tie.front].ends.server;
            if self.proxies.len() >= PROXIES_MAX || self.proxies.contains(&server) {
                continue;
            }
            let room = self.alike.len() < PROXIES_MAX || self.alike.contains_key(&server);
            if tie.certainty == Confidence::Certain {
                self.proxies.insert(server);
            } else if tie.alike && room {
                let times = self.alike.entry(server).or_default();
                *times += 1;
                if *times >= ALIKE {
                    self.proxies.insert(server);
                }
            }
        }
        self.proxies.len() > known
    }

    /// Endpoints that clients ask themselves, for all that is known: no tie is sure, and some requests were for
    /// nobody.
    fn asked_itself(&self, legs: &[Leg], ties: &Ties) -> HashSet<Endpoint> {
        let alone = legs.iter().zip(&ties.of).filter(|(leg, tie)| {
            leg.ends.ordinal > 0 && tie.is_none() && !self.targets.contains(&leg.ends.server)
        });
        alone.map(|(leg, _)| leg.ends.server).collect()
    }

    /// What is known of the first `most` legs and of the attempts for them.
    fn collect(&mut self, legs: &[Leg], ties: &Ties, most: usize, waits: &HashSet<usize>) -> Joins {
        let mut joins = Joins::default();
        let attempts = ties.attempts();
        let asked_itself = self.asked_itself(legs, ties);
        for (at, front) in legs[..most].iter().enumerate().filter(|(_, leg)| leg.ends.ordinal > 0) {
            if waits.contains(&at) {
                continue;
            }
            let made = &attempts[at];
            joins.back_exchanges +=
                made.iter().filter(|at| legs[**at].ends.ordinal > 0).count() as u64;
            let suspect = front.is_suspect() || made.iter().any(|at| legs[*at].is_suspect());
            let server = front.ends.server;
            let shared = ties.decided.get(&at).filter(|it| !it.own);
            let alone = made.is_empty() && shared.is_none() && front.is_suspect();
            let page = front.ends.own_page.is_some() && self.roles.asks_beside(server);
            let is_proxy = page || self.proxies.contains(&server);
            // What it was asked with may have been tied to others by then.
            let late = front.waited > 0 && is_proxy;
            if alone
                && (late || ties.contested[at] || (!is_proxy && self.roles.asks_beside(server)))
            {
                let contested = ties.contested[at];
                joins.doubtful.push(Doubtful { front: front.ends.clone(), is_proxy, contested });
                continue;
            }
            let unserved = (alone && is_proxy).then(|| Unserved::of(at, legs, &ties.of));
            let nothing = made.is_empty() && unserved.is_none() && shared.is_none();
            if nothing || !(suspect || made.len() > 1 || self.all) {
                continue;
            }
            let tied = made.iter().filter_map(|at| Some((&legs[*at], ties.of[*at].as_ref()?)));
            let mut back: Vec<Attempt> = tied
                .map(|(leg, tie)| {
                    let own = tie.by <= TiedBy::Time
                        && asked_itself.contains(&leg.ends.server)
                        && same_host(front, leg);
                    let certainty = if own { Confidence::Possible } else { tie.certainty };
                    Attempt { ends: leg.ends.clone(), cause: None, certainty, by: tie.by, own }
                })
                .collect();
            back.sort_by_key(|attempt| (attempt.ends.asked.at, attempt.ends.asked.frame));
            if let Some(Decided { back: at, certainty, .. }) = shared {
                let certainty = match () {
                    () if front.waited > 0 => Confidence::Possible,
                    () if most < legs.len() => Confidence::Likely.min(*certainty),
                    () => *certainty,
                };
                let (ends, by) = (legs[*at].ends.clone(), TiedBy::Time);
                back.push(Attempt { ends, cause: None, certainty, by, own: false });
            }
            let surplus = back.len().saturating_sub(ATTEMPTS_MAX);
            back.drain(..surplus);
            let certainty = back.iter().map(|attempt| attempt.certainty).min();
            joins.settled.push(Settled {
                correlation: Correlation {
                    front: Some(front.ends.clone()),
                    back,
                    log: Vec::new(),
                    other_vantage: Vec::new(),
                    certainty: certainty.unwrap_or(Confidence::Likely),
                },
                unserved,
                shared: shared.is_some(),
                other: ties.decided.get(&at).and_then(|it| it.other),
            });
        }
        let strays = ties.strays.iter().filter(|(at, _)| **at < most && !waits.contains(*at));
        joins.strays.extend(strays.map(|(at, stray)| Stray {
            flow: legs[*at].ends.flow,
            ordinal: legs[*at].ends.ordinal,
            fronts: stray.fronts,
            failed: stray.failed,
        }));
        // The requests of its time are told already.
        let late = legs[..most].iter().enumerate().filter(|(at, leg)| {
            leg.ends.ordinal == 0
                && leg.waited > 0
                && ties.of[*at].is_none()
                && !ties.strays.contains_key(at)
                && !waits.contains(at)
        });
        joins.strays.extend(late.map(|(_, leg)| Stray {
            flow: leg.ends.flow,
            ordinal: 0,
            fronts: 0,
            failed: 0,
        }));
        joins
    }
}

/// Whether the clients of both are on one host.
fn same_host(front: &Leg, back: &Leg) -> bool {
    front.ends.client.ip == back.ends.client.ip || (front.local[0] && back.local[0])
}
