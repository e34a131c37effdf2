//! What one flow cannot tell and the others can: timers of a load balancer, connections cut
//! together, which hosts are local to the capture.

use crate::blind::BlindSpot;
use crate::flow::{Flow, Vantage};
use crate::packet::Endpoint;
use crate::tcp::Side;
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Addresses for which something is remembered; past it new ones are not learned.
const HOSTS_MAX: usize = 1 << 16;
/// Cut exchanges remembered per load balancer.
const CUTS_MAX: usize = 4096;
/// Closes remembered per load balancer.
const CLOSES_MAX: usize = 1 << 16;

/// A client close while a request was outstanding.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// Silence before it, nanoseconds.
    silence: i64,
    at: Timestamp,
}

/// Learned from all flows so far.
#[derive(Clone, Debug, Default)]
pub struct Wider {
    /// Votes that an address belongs to the host that captured; negative: that it does not.
    local: BTreeMap<u128, i32>,
    cuts: BTreeMap<u128, Vec<Cut>>,
    /// Closes of idle connections by the client.
    closes: BTreeMap<u128, Vec<Timestamp>>,
    /// First and last packet of the client's connections to each server.
    spans: BTreeMap<(u128, Endpoint), Vec<(Timestamp, Timestamp)>>,
    /// Idle times after which a server closed, nanoseconds.
    idle_closes: BTreeMap<Endpoint, Vec<i64>>,
    /// Time to live of a host's packets.
    ttl: BTreeMap<u128, u8>,
    /// Addresses that opened connections.
    clients: BTreeSet<u128>,
    /// Flows, and those of which the capture misses packets that existed.
    flows: u64,
    flows_with_gaps: u64,
    /// The latest capture time.
    now: Timestamp,
    /// Longest silence that a client sat out until bytes came, by client address, nanoseconds.
    longest_wait: BTreeMap<u128, i64>,
}

impl Wider {
    /// The latest capture time: how long nothing has answered so far.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Time goes on to `now`.
    pub fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    /// Votes for the ends of a flow whose vantage is known.
    pub fn learn_vantage(&mut self, flow: &Flow) {
        let (client, server) = match flow.vantage {
            Vantage::Client => (1, -1),
            Vantage::Server => (-1, 1),
            Vantage::Between | Vantage::Unknown => return,
        };
        self.vote(flow.client.ip, client);
        self.vote(flow.server.ip, server);
    }

    /// A host opens a connection.
    pub fn learn_client(&mut self, client: Endpoint) {
        if self.clients.len() < HOSTS_MAX {
            self.clients.insert(client.ip);
        }
    }

    /// Whether a server is itself a client of others: a proxy, whose answers may not be its own.
    pub fn is_proxy(&self, server: Endpoint, client: Endpoint) -> bool {
        server.ip != client.ip && self.clients.contains(&server.ip)
    }

    /// Time to live of this host's packets in other flows.
    pub fn ttl(&self, host: Endpoint) -> Option<u8> {
        self.ttl.get(&host.ip).copied()
    }

    /// Whether packets of this flow are missing from the capture.
    pub fn learn_loss(&mut self, flow: &Flow) {
        self.flows += 1;
        for side in [Side::Client, Side::Server] {
            let (ip, ttl) = (flow.endpoint(side).ip, flow.half(side).ttl);
            if ttl != 0 && self.ttl.len() < HOSTS_MAX {
                self.ttl.insert(ip, ttl);
            }
        }
        self.flows_with_gaps += u64::from(flow.blind_spots.has(BlindSpot::Gap));
    }

    /// The capture misses packets so often that the absence of an answer may be its own fault.
    pub fn lossy(&self) -> bool {
        /// One flow in so many with a gap: rarer ones hardly hit the few packets of a handshake.
        const ONE_IN: u64 = 200;
        self.flows_with_gaps * ONE_IN > self.flows
    }

    /// The capture says that a packet of this address left (`sent`) or reached the capturing host.
    pub fn learn_direction(&mut self, src: Endpoint, dst: Endpoint, sent: bool) {
        let weight = if sent { 4 } else { -4 };
        self.vote(src.ip, weight);
        self.vote(dst.ip, -weight);
    }

    fn vote(&mut self, ip: u128, weight: i32) {
        if self.local.len() < HOSTS_MAX || self.local.contains_key(&ip) {
            let score = self.local.entry(ip).or_default();
            *score = score.saturating_add(weight);
        }
    }

    /// Where the capture was taken relative to a flow that does not show it itself.
    pub fn vantage(&self, flow: &Flow) -> Vantage {
        if flow.client.ip == flow.server.ip {
            return Vantage::Between;
        }
        let score = |ip| self.local.get(&ip).copied().unwrap_or_default();
        match (score(flow.client.ip), score(flow.server.ip)) {
            (client, server) if client > 0 && server <= 0 => Vantage::Client,
            (client, server) if server > 0 && client <= 0 => Vantage::Server,
            _ => Vantage::Unknown,
        }
    }

    /// The client closed while a request was outstanding, after `silence` nanoseconds without a
    /// byte.
    pub fn learn_cut(&mut self, client: Endpoint, silence: i64, at: Timestamp) {
        let cuts = self.cuts.entry(client.ip).or_default();
        if cuts.len() < CUTS_MAX {
            cuts.push(Cut { silence, at });
        }
    }

    /// A flow from its first to its last packet, and who closed it after which idle time.
    pub fn learn_life(&mut self, flow: &Flow) {
        /// Silence from which a connection was idle rather than between two packets, nanoseconds.
        const IDLE: i64 = 500_000_000;
        let key = (flow.client.ip, flow.server);
        if self.spans.len() < HOSTS_MAX || self.spans.contains_key(&key) {
            let spans = self.spans.entry(key).or_default();
            if spans.len() < CLOSES_MAX {
                spans.push((flow.first.at, flow.last.at));
            }
        }
        let (Some(close), Some(by)) = (flow.endings.first(), flow.ended_by) else { return };
        // Its timer began when it had sent its last answer, whatever crossed its close since.
        let Some(quiet) = flow.half(Side::Server).last_data else { return };
        let idle = close.mark.at.nanos_since(quiet.at);
        if idle < IDLE {
            return;
        }
        let outstanding = flow.requests > flow.responses;
        if by == Side::Client && !outstanding && self.closes.len() < HOSTS_MAX {
            let closes = self.closes.entry(flow.client.ip).or_default();
            if closes.len() < CLOSES_MAX {
                closes.push(close.mark.at);
            }
        }
        if by == Side::Server && self.idle_closes.len() < HOSTS_MAX {
            let idles = self.idle_closes.entry(flow.server).or_default();
            if idles.len() < CUTS_MAX {
                idles.push(idle);
            }
        }
    }

    /// Whether this server has closed at least two other connections after the same idle time.
    pub fn closes_after(&self, server: Endpoint, idle: i64) -> bool {
        let tolerance = (idle / 50).max(20_000_000);
        self.idle_closes.get(&server).is_some_and(|idles| {
            idles.iter().filter(|other| (**other - idle).abs() <= tolerance).count() >= 2
        })
    }

    /// Whether a connection of this client to this server was open before `at` and went on after
    /// it, so that the client did not close all of them then.
    pub fn went_on(&self, client: Endpoint, server: Endpoint, at: Timestamp) -> bool {
        /// Packets this close to `at` are part of the same closing, nanoseconds.
        const AROUND: i64 = 500_000_000;
        self.spans.get(&(client.ip, server)).is_some_and(|spans| {
            spans.iter().any(|(first, last)| {
                at.nanos_since(*first) > AROUND && last.nanos_since(at) > AROUND
            })
        })
    }

    /// All flows are known: puts in order what was learned as they ended.
    pub fn seal(&mut self) {
        self.closes.values_mut().for_each(|closes| closes.sort_unstable());
    }

    /// The client waited this long, nanoseconds, and got its answer.
    pub fn learn_wait(&mut self, client: Endpoint, wait: i64) {
        if self.longest_wait.len() < HOSTS_MAX || self.longest_wait.contains_key(&client.ip) {
            let longest = self.longest_wait.entry(client.ip).or_default();
            *longest = (*longest).max(wait);
        }
    }

    /// How many cuts of this client came after the same silence, this one included; 1 when so many
    /// came after other silences nearby that chance explains it.
    pub fn same_silence(&self, client: Endpoint, silence: i64) -> usize {
        let tolerance = 20_000_000 + silence / 1000;
        let within = |range: i64| {
            self.cuts.get(&client.ip).map_or(0, |cuts| {
                cuts.iter().filter(|cut| (cut.silence - silence).abs() <= range).count()
            })
        };
        let (near, around) = (within(tolerance), within(5 * tolerance));
        if near * 10 >= around * 6 { near } else { near.min(1) }
    }

    /// Whether this client has waited clearly longer elsewhere, so that `silence` is not its timer.
    pub fn waited_longer(&self, client: Endpoint, silence: i64) -> bool {
        let bar = silence + (silence / 20).max(50_000_000);
        self.longest_wait.get(&client.ip).is_some_and(|longest| *longest > bar)
            || self
                .cuts
                .get(&client.ip)
                .is_some_and(|cuts| cuts.iter().any(|cut| cut.silence > bar))
    }

    /// Idle connections that this client closed within `window` nanoseconds of `at`, and exchanges
    /// that it cut then.
    pub fn closed_together(&self, client: Endpoint, at: Timestamp, window: i64) -> (usize, usize) {
        let near = |other: Timestamp| other.nanos_since(at).abs() <= window;
        let closes = self.closes.get(&client.ip).map_or(0, |closes| {
            // In order as far as flows end in order: look around the place where `at` would be.
            let from = closes.partition_point(|other| other.0 < at.0.saturating_sub(window));
            closes[from..].iter().take_while(|other| near(**other)).count()
        });
        let cuts = self
            .cuts
            .get(&client.ip)
            .map_or(0, |cuts| cuts.iter().filter(|cut| near(cut.at)).count());
        (closes, cuts)
    }
}
