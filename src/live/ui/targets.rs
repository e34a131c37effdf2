//! Targets: what their health checks say, and how often requests to them failed.

use super::rates::Rates;
use crate::health::{Check, Effect, Entry, Outcome, State};
use crate::packet::Endpoint;
use crate::time::Timestamp;
use std::collections::{BTreeMap, VecDeque};

/// Servers that are told apart: more rows than anybody reads. A host that is watched on all ports
/// talks to many servers; those without failure or check give way.
pub const SERVERS_MAX: usize = 256;
/// Probers that are told apart at one server.
const PROBERS_MAX: usize = 16;
/// Checks in a strip: the columns of a wide terminal.
pub const STRIP_KEPT: usize = 128;

/// What one prober says of a server.
#[derive(Clone, Debug, Default)]
pub struct Strip {
    /// The newest outcomes with the time when they began, the oldest first.
    pub checks: VecDeque<(Timestamp, Option<Outcome>)>,
    /// All checks.
    pub total: u64,
    /// Those that failed.
    pub failed: u64,
    /// The latest change of state.
    pub state: Option<Entry>,
}

impl Strip {
    /// The state by its checks.
    pub fn state(&self) -> State {
        self.state.as_ref().map_or(State::Unknown, |entry| entry.state)
    }

    fn add(&mut self, check: &Check) {
        self.total += 1;
        let failed = check.outcome.is_some_and(|outcome| outcome.effect() == Effect::Fail);
        self.failed += u64::from(failed);
        // One without an answer is known later than those that began after it.
        let later = self.checks.iter().rev().take_while(|(began, _)| *began > check.began).count();
        self.checks.insert(self.checks.len() - later, (check.began, check.outcome));
        if self.checks.len() > STRIP_KEPT {
            self.checks.pop_front();
        }
    }
}

/// A server.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// Connections that are over.
    pub connections: u64,
    /// Requests and connections that failed, health checks left out.
    pub failed: u64,
    /// When they failed.
    pub rates: Rates,
    /// What its probers say, by their id.
    pub probers: BTreeMap<String, Strip>,
}

impl Target {
    /// Whether any check says that it is in trouble.
    pub fn is_down(&self) -> bool {
        let down = |strip: &Strip| !matches!(strip.state(), State::Healthy | State::Unknown);
        self.probers.values().any(down)
    }

    fn is_quiet(&self) -> bool {
        self.failed == 0 && self.probers.is_empty()
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    servers: BTreeMap<Endpoint, Target>,
    /// How often a server found no place.
    pub left_out: u64,
}

impl Targets {
    /// The server's row; a quiet one gives way to one that matters.
    fn at(&mut self, server: Endpoint, matters: bool) -> Option<&mut Target> {
        if self.servers.len() >= SERVERS_MAX && !self.servers.contains_key(&server) {
            let quiet = self.servers.iter().find(|(_, target)| target.is_quiet());
            match quiet.map(|(server, _)| *server).filter(|_| matters) {
                Some(quiet) => {
                    self.servers.remove(&quiet);
                    self.left_out += 1;
                }
                None => {
                    self.left_out += 1;
                    return None;
                }
            }
        }
        Some(self.servers.entry(server).or_default())
    }

    /// A connection is over.
    pub fn connection(&mut self, server: Endpoint) {
        if let Some(target) = self.at(server, false) {
            target.connections += 1;
        }
    }

    /// A request or connection failed.
    pub fn failed(&mut self, server: Endpoint, at: Option<Timestamp>) {
        if let Some(target) = self.at(server, true) {
            target.failed += 1;
            if let Some(at) = at {
                target.rates.add(at);
            }
        }
    }

    /// It was none.
    pub fn not_failed(&mut self, server: Endpoint, at: Option<Timestamp>) {
        if let Some(target) = self.servers.get_mut(&server) {
            target.failed = target.failed.saturating_sub(1);
            if let Some(at) = at {
                target.rates.take(at);
            }
        }
    }

    /// The outcome of a health check is known.
    pub fn check(&mut self, server: Endpoint, prober: &str, check: &Check) {
        if let Some(strip) = self.strip(server, prober) {
            strip.add(check);
        }
    }

    /// The state has changed. What is told late of an earlier time changes nothing.
    pub fn transition(&mut self, server: Endpoint, prober: &str, entry: &Entry) {
        if let Some(strip) = self.strip(server, prober)
            && strip.state.as_ref().is_none_or(|known| known.mark.at <= entry.mark.at)
        {
            strip.state = Some(entry.clone());
        }
    }

    fn strip(&mut self, server: Endpoint, prober: &str) -> Option<&mut Strip> {
        let known = self.servers.get(&server).map(|target| &target.probers);
        if known.is_some_and(|it| it.len() >= PROBERS_MAX && !it.contains_key(prober)) {
            self.left_out += 1;
            return None;
        }
        Some(self.at(server, true)?.probers.entry(prober.to_owned()).or_default())
    }

    /// Those in trouble first, then by failures, then by address.
    pub fn sorted(&self) -> Vec<(Endpoint, &Target)> {
        let mut targets: Vec<_> = self.servers.iter().map(|(at, target)| (*at, target)).collect();
        targets.sort_by_key(|(at, target)| {
            (
                !target.is_down(),
                std::cmp::Reverse(target.failed),
                target.probers.is_empty(),
                std::cmp::Reverse(target.connections.min(1)),
                *at,
            )
        });
        targets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(n: u16) -> Endpoint {
        Endpoint::v4([10, 0, (n >> 8) as u8, n as u8], 8080)
    }

    #[test]
    fn quiet_servers_give_way_to_those_that_fail() {
        let mut targets = Targets::default();
        (0..SERVERS_MAX as u16 + 5).for_each(|n| targets.connection(server(n)));
        assert_eq!((targets.sorted().len(), targets.left_out), (SERVERS_MAX, 5));
        let late = server(9_000);
        targets.failed(late, Some(Timestamp(1)));
        assert_eq!((targets.sorted().len(), targets.left_out), (SERVERS_MAX, 6));
        assert_eq!(targets.sorted()[0].0, late);
        (0..SERVERS_MAX as u16).for_each(|n| targets.failed(server(20_000 + n), None));
        assert_eq!((targets.sorted().len(), targets.left_out), (SERVERS_MAX, 6 + 256));
    }

    #[test]
    fn a_failure_can_be_taken_back() {
        let mut targets = Targets::default();
        targets.failed(server(1), Some(Timestamp(1)));
        targets.not_failed(server(1), Some(Timestamp(1)));
        targets.not_failed(server(2), None);
        assert_eq!(targets.sorted()[0].1.failed, 0);
        assert_eq!(targets.sorted().len(), 1);
    }
}
