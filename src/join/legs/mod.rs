//! Both legs of a proxy in one capture: which attempts it made for each request of its clients.
//!
//! [`Roles`] says, while packets are read, which connections may be legs; of their exchanges a
//! [`Leg`] is kept. [`Legs`] ties them when all are known, or in parts where there are too many.

mod compare;
mod leg;
mod roles;
mod tie;
mod unserved;
mod verdict;

pub use leg::Leg;
pub use roles::Roles;
pub use unserved::Unserved;
pub use verdict::retell;

use super::{ATTEMPTS_MAX, Attempt, CORRELATIONS_MAX, Correlation, Front};
use crate::cause::Confidence;
use crate::http::Protocol;
use crate::packet::{Address, Endpoint};
use crate::time::Timestamp;
use hashbrown::HashSet;
use tie::{Surroundings, Tie};

/// Legs kept to be tied; a leg takes about 350 bytes. Past it the older half is tied with what is
/// known by then.
pub const LEGS_MAX: usize = 1 << 17;
/// Addresses behind which requests are hidden that are remembered.
const OPAQUE_MAX: usize = 1 << 12;
/// Addresses of proxies that are remembered.
const PROXIES_MAX: usize = 1 << 12;

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
    /// Where certain ties have shown a proxy.
    proxies: HashSet<Endpoint>,
    settled: Vec<Settled>,
    counts: Counts,
}

/// A correlation, and what was going on where the proxy asked nobody.
#[derive(Clone, Debug)]
pub struct Settled {
    /// What belongs together.
    pub correlation: Correlation,
    /// The proxy asked no target for it.
    pub unserved: Option<Unserved>,
}

/// What came out beside the correlations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Exchanges that a proxy made for an exchange of its client.
    pub back_exchanges: u64,
    /// Legs tied before all were known.
    pub early: u64,
    /// Correlations that were not kept.
    pub dropped: u64,
}

impl Legs {
    /// Keeps correlations of requests that did not fail, too, if `all`.
    pub fn new(all: bool) -> Legs {
        Legs { all, ..Legs::default() }
    }

    /// Takes in a leg.
    pub fn add(&mut self, leg: Leg) {
        if leg.is_suspect() {
            self.suspects.insert((leg.flow, leg.ordinal));
        }
        self.pending.push(leg);
        if self.pending.len() >= LEGS_MAX {
            self.settle(LEGS_MAX / 2);
            self.counts.early += (LEGS_MAX / 2) as u64;
        }
    }

    /// A connection accepted at `server` carries what cannot be told apart as requests.
    pub fn hides(&mut self, server: Endpoint, protocol: Protocol) {
        if matches!(protocol, Protocol::Http2 | Protocol::Upgraded)
            && self.opaque.len() < OPAQUE_MAX
        {
            self.opaque.insert(server.ip);
        }
    }

    /// Whether this exchange is a leg that may have failed, so that its finding should wait.
    pub fn concerns(&self, flow: u64, ordinal: u32) -> bool {
        self.suspects.contains(&(flow, ordinal))
    }

    /// Ties the legs that began before `cut` with what is known by now, and gives the correlations.
    pub fn settle_before(&mut self, cut: Timestamp) -> Vec<Settled> {
        let old = self.pending.iter().filter(|leg| leg.asked.at < cut).count();
        if old > 0 {
            self.settle(old);
        }
        std::mem::take(&mut self.settled)
    }

    /// All legs are known: the correlations, in the order of their requests.
    pub fn finish(mut self) -> (Vec<Settled>, Counts) {
        self.settle(usize::MAX);
        (self.settled, self.counts)
    }

    /// Ties the `most` oldest legs.
    fn settle(&mut self, most: usize) {
        self.pending.sort_by_key(|leg| (leg.asked.at, leg.asked.frame, leg.ordinal == 0));
        let early = most < self.pending.len();
        let rest = self.pending.split_off(most.min(self.pending.len()));
        let legs = std::mem::replace(&mut self.pending, rest);
        let around = Surroundings { opaque: &self.opaque, proxies: &self.proxies };
        let mut ties = tie::ties(&legs, &around);
        for tie in ties.iter().flatten().filter(|tie| tie.certainty == Confidence::Certain) {
            if self.proxies.len() < PROXIES_MAX {
                self.proxies.insert(legs[tie.front].server);
            }
        }
        let around = Surroundings { opaque: &self.opaque, proxies: &self.proxies };
        tie::tie_connections(&legs, &mut ties, &around);
        if early {
            // Legs that are not known yet may fit better.
            for tie in ties.iter_mut().flatten().filter(|tie| tie.by != super::TiedBy::Id) {
                tie.certainty = tie.certainty.min(Confidence::Likely);
            }
        }
        self.collect(&legs, &ties);
    }

    fn collect(&mut self, legs: &[Leg], ties: &[Option<Tie>]) {
        let mut attempts: Vec<Vec<usize>> = vec![Vec::new(); legs.len()];
        for (at, tie) in ties.iter().enumerate() {
            let Some(tie) = tie else { continue };
            self.counts.back_exchanges += u64::from(legs[at].ordinal > 0);
            attempts[tie.front].push(at);
        }
        for (at, front) in legs.iter().enumerate().filter(|(_, leg)| leg.ordinal > 0) {
            let made = &attempts[at];
            let suspect = front.is_suspect() || made.iter().any(|at| legs[*at].is_suspect());
            let is_proxy = self.proxies.contains(&front.server);
            let unserved = (made.is_empty() && is_proxy && front.is_suspect())
                .then(|| Unserved::of(at, legs, ties));
            if (made.is_empty() && unserved.is_none()) || !(suspect || made.len() > 1 || self.all) {
                continue;
            }
            if self.settled.len() >= CORRELATIONS_MAX {
                self.counts.dropped += 1;
                continue;
            }
            let mut back: Vec<Attempt> = made
                .iter()
                .filter_map(|at| Some(attempt(&legs[*at], ties[*at].as_ref()?)))
                .collect();
            back.sort_by_key(|attempt| (attempt.asked.at, attempt.asked.frame));
            let surplus = back.len().saturating_sub(ATTEMPTS_MAX);
            back.drain(..surplus);
            let certainty = back.iter().map(|attempt| attempt.certainty).min();
            self.settled.push(Settled {
                correlation: Correlation {
                    front: Some(seen(front)),
                    back,
                    log: Vec::new(),
                    other_vantage: Vec::new(),
                    certainty: certainty.unwrap_or(Confidence::Likely),
                },
                unserved,
            });
        }
        for leg in legs {
            self.suspects.remove(&(leg.flow, leg.ordinal));
        }
    }
}

fn seen(leg: &Leg) -> Front {
    Front {
        flow: leg.flow,
        stream: leg.stream,
        ordinal: leg.ordinal,
        client: leg.client,
        server: leg.server,
        asked: leg.asked,
        answered: leg.answered,
        over: leg.over,
        closed_by: leg.closed_by,
        status: leg.status,
        state: leg.state,
    }
}

fn attempt(leg: &Leg, tie: &Tie) -> Attempt {
    Attempt {
        flow: leg.flow,
        stream: leg.stream,
        ordinal: leg.ordinal,
        client: leg.client,
        server: leg.server,
        asked: leg.asked,
        answered: leg.answered,
        over: leg.over,
        closed_by: leg.closed_by,
        status: leg.status,
        state: leg.state,
        cause: None,
        certainty: tie.certainty,
        by: tie.by,
    }
}
