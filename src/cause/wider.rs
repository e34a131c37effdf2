//! What one flow cannot tell and the others can: timers of a load balancer, connections cut
//! together, which hosts are local to the capture.

use crate::blind::BlindSpot;
use crate::flow::{EndingKind, Flow, Vantage};
use crate::packet::{Address, Endpoint};
use crate::tcp::Side;
use crate::time::{Mark, Timestamp};
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use std::hash::Hash;

/// Addresses for which something is remembered; past it new ones are not learned.
const HOSTS_MAX: usize = 1 << 16;
/// Cut exchanges remembered per load balancer.
const CUTS_MAX: usize = 4096;
/// Closes remembered per load balancer, and connections per pair of hosts.
const CLOSES_MAX: usize = 1 << 16;
/// All of these together, so that memory does not grow with the number of hosts.
const SAMPLES_MAX: usize = 1 << 20;

/// What a server's port has spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// HTTP/1 in clear.
    Plain = 1,
    /// TLS.
    Tls = 2,
    /// HTTP/1 in clear behind a PROXY protocol header.
    Proxied = 4,
}

impl Language {
    /// In which form HTTP/1 comes in clear on this connection.
    pub fn in_clear(flow: &Flow) -> Language {
        if flow.proxied { Language::Proxied } else { Language::Plain }
    }
}

/// A client close while a request was outstanding.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// Silence before it, nanoseconds.
    silence: i64,
    /// From the end of the request to it, nanoseconds.
    age: i64,
    at: Timestamp,
}

/// What is known by some key. Nothing depends on its order.
type Known<K, V> = HashMap<K, V, RandomState>;
/// Something of each host.
type Hosts<V> = Known<Address, V>;

/// Learned from all flows so far.
#[derive(Clone, Debug, Default)]
pub struct Wider {
    /// Votes that an address belongs to the host that captured; negative: that it does not.
    local: Hosts<i32>,
    /// Servers to which the host that captured has passed connections on.
    forwarded: HashSet<Endpoint, RandomState>,
    cuts: Hosts<Vec<Cut>>,
    /// Closes of idle connections by the client.
    closes: Hosts<Vec<Timestamp>>,
    /// First and last packet of the connections of a client (without its port) to each server;
    /// once sealed, in the order of the first, with the latest last packet so far.
    spans: Known<(Endpoint, Endpoint), Vec<(Timestamp, Timestamp)>>,
    /// Idle times after which a server closed, nanoseconds.
    idle_closes: Known<Endpoint, Vec<i64>>,
    /// What each server's port has spoken, as bits of [`Language`].
    spoken: Known<Endpoint, u8>,
    /// A ServerHello of each server: its frame and the version in it, the latest of those seen.
    versions: Known<Endpoint, (Mark, u16)>,
    /// Times to live of a host's packets, the least and the greatest.
    ttl: Hosts<Option<(u8, u8)>>,
    /// How many SYNs a host has answered with SYN-ACK, and the shortest time that it took, nanoseconds.
    handshakes: Hosts<(u32, i64)>,
    /// Servers that are proxies, by their own error pages, and whose.
    gateways: Known<Endpoint, &'static str>,
    /// Addresses that opened connections.
    clients: HashSet<Address, RandomState>,
    /// Addresses that were asked to open some.
    servers: HashSet<Address, RandomState>,
    /// Flows, and those of which the capture misses packets that existed.
    flows: u64,
    flows_with_gaps: u64,
    /// Samples held in the lists above.
    samples: usize,
    /// What was not remembered because of a bound.
    forgotten: u64,
    /// Everything is known and in order.
    sealed: bool,
    /// The latest capture time.
    now: Timestamp,
    /// Longest silence that a client sat out until bytes came, by client address, nanoseconds.
    longest_wait: Hosts<i64>,
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

    /// What was not remembered to stay within a bound.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Learns from a flow that is over; `wait` is the longest time, nanoseconds, after which its
    /// client still got an answer, and `cut` says that its end broke a response off.
    pub fn learn(&mut self, flow: &Flow, wait: i64, cut: bool) {
        self.flows += 1;
        self.flows_with_gaps += u64::from(flow.blind_spots.has(BlindSpot::Gap));
        if let Some(longest) = place(&mut self.longest_wait, flow.client.ip) {
            *longest = (*longest).max(wait);
        }
        for side in [Side::Client, Side::Server] {
            let ttl = flow.half(side).ttl;
            if ttl != 0
                && let Some(known) = place(&mut self.ttl, flow.endpoint(side).ip)
            {
                let (least, greatest) = known.unwrap_or((ttl, ttl));
                *known = Some((least.min(ttl), greatest.max(ttl)));
            }
        }
        if let Some(took) = flow.opening.server_side()
            && let Some((times, shortest)) = place(&mut self.handshakes, flow.server.ip)
        {
            *shortest = if *times == 0 { took } else { took.min(*shortest) };
            *times = times.saturating_add(1);
        }
        self.learn_language(flow);
        self.learn_vantage(flow);
        self.learn_life(flow, cut);
    }

    /// In which language the server answered.
    fn learn_language(&mut self, flow: &Flow) {
        let hello = flow.tls.as_ref().and_then(|tls| tls.server_hello.as_ref());
        if let Some(hello) = hello
            && (self.versions.len() < HOSTS_MAX || self.versions.contains_key(&flow.server))
        {
            self.versions.insert(flow.server, (hello.mark, hello.version));
        }
        let language = match &flow.tls {
            Some(_) if hello.is_some() => Language::Tls,
            None if flow.responses > 0 => Language::in_clear(flow),
            _ => return,
        };
        let known = self.spoken.len() < HOSTS_MAX || self.spoken.contains_key(&flow.server);
        if known {
            *self.spoken.entry(flow.server).or_default() |= language as u8;
        } else {
            self.forgotten += 1;
        }
    }

    /// A ServerHello of this server on another connection: its frame, and the version in it.
    pub fn version(&self, server: Endpoint) -> Option<(Mark, u16)> {
        self.versions.get(&server).copied()
    }

    /// Whether this server's port has answered in `language`.
    pub fn speaks(&self, server: Endpoint, language: Language) -> bool {
        self.spoken.get(&server).is_some_and(|spoken| spoken & language as u8 != 0)
    }

    /// Whether this server's port has answered HTTP/1 in clear, with or without a PROXY header before it.
    pub fn speaks_in_clear(&self, server: Endpoint) -> bool {
        self.speaks(server, Language::Plain) || self.speaks(server, Language::Proxied)
    }

    /// Votes for the ends of a flow whose vantage is known.
    fn learn_vantage(&mut self, flow: &Flow) {
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

    /// A host is asked for a connection.
    pub fn learn_server(&mut self, server: Endpoint) {
        if self.servers.len() < HOSTS_MAX {
            self.servers.insert(server.ip);
        }
    }

    /// Whether a client is itself asked by others: a proxy, whose server is a target.
    pub fn is_behind_proxy(&self, server: Endpoint, client: Endpoint) -> bool {
        server.ip != client.ip && self.servers.contains(&client.ip)
    }

    /// A server has answered with a proxy's own page that what it asked has failed.
    pub fn learn_gateway(&mut self, server: Endpoint, proxy: &'static str) {
        if self.gateways.len() < HOSTS_MAX || self.gateways.contains_key(&server) {
            self.gateways.insert(server, proxy);
        }
    }

    /// The proxy that this server is, if it has told so.
    pub fn gateway(&self, server: Endpoint) -> Option<&'static str> {
        self.gateways.get(&server).copied()
    }

    /// Whether a server is itself a client of others: a proxy, whose answers may not be its own.
    pub fn is_proxy(&self, server: Endpoint, client: Endpoint) -> bool {
        server.ip != client.ip && self.clients.contains(&server.ip)
    }

    /// Times to live of this host's packets in other flows, the least and the greatest; RSTs do not count.
    pub fn ttl(&self, host: Endpoint) -> Option<(u8, u8)> {
        self.ttl.get(&host.ip).copied().flatten()
    }

    /// The shortest time in which this host has answered a SYN with SYN-ACK, nanoseconds, when it did so often
    /// enough that this was not a slow one.
    pub fn answers_in(&self, host: Endpoint) -> Option<i64> {
        const ENOUGH: u32 = 3;
        let (_, shortest) = self.handshakes.get(&host.ip).filter(|(times, _)| *times >= ENOUGH)?;
        Some(*shortest)
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

    /// A SYN for this server reached the capturing host and left it again.
    pub fn learn_forwarded(&mut self, server: Endpoint) {
        if self.forwarded.len() < HOSTS_MAX {
            self.forwarded.insert(server);
        }
    }

    /// Whether the capturing host only passes connections to this server on, as far as it shows.
    pub fn forwards(&self, server: Endpoint) -> bool {
        self.forwarded.contains(&server)
    }

    fn vote(&mut self, ip: Address, weight: i32) {
        if let Some(score) = place(&mut self.local, ip) {
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
    pub fn learn_cut(&mut self, client: Endpoint, silence: i64, age: i64, at: Timestamp) {
        let cut = Cut { silence, age, at };
        let kept = sample(&mut self.cuts, client.ip, cut, CUTS_MAX, &mut self.samples);
        self.forgotten += u64::from(!kept);
    }

    /// A flow from its first to its last packet, and who closed it after which idle time.
    fn learn_life(&mut self, flow: &Flow, cut: bool) {
        /// Silence from which a connection was idle rather than between two packets, nanoseconds.
        const IDLE: i64 = 500_000_000;
        /// The same for a server, which closes behind its answer at once unless a timer does it, nanoseconds.
        const RESTED: i64 = 20_000_000;
        let key = (host(flow.client), flow.server);
        let span = (flow.first.at, flow.last.at);
        let mut kept = sample(&mut self.spans, key, span, CLOSES_MAX, &mut self.samples);
        self.forgotten += u64::from(!kept);
        let Some(close) = flow.closed_first().filter(|_| flow.ended_by.is_some()) else { return };
        let by = close.side;
        // Its timer began when it had sent its last answer, whatever crossed its close since. In TLS
        // its last bytes are no answer.
        let quiet = match flow.tls.as_deref() {
            Some(tls) => tls.last_data,
            None => flow.half(Side::Server).last_data.map(|mark| mark.at),
        };
        let Some(quiet) = quiet else { return };
        let idle = close.mark.at.nanos_since(quiet);
        if idle < (if by == Side::Client { IDLE } else { RESTED }) {
            return;
        }
        let outstanding = flow.requests > flow.responses;
        let had_it = close.acked.is_some_and(|acked| acked >= flow.half(Side::Client).sent);
        kept = match by {
            Side::Client if outstanding => true,
            Side::Client => {
                let (at, ip) = (close.mark.at, flow.client.ip);
                sample(&mut self.closes, ip, at, CLOSES_MAX, &mut self.samples)
            }
            // It was busy, not idle.
            Side::Server if cut => true,
            // It answers the request: when that came, the client decided.
            Side::Server if outstanding && (had_it || close.kind == EndingKind::Rst) => true,
            Side::Server => {
                sample(&mut self.idle_closes, flow.server, idle, CUTS_MAX, &mut self.samples)
            }
        };
        self.forgotten += u64::from(!kept);
    }

    /// Whether this server has closed at least two other connections after the same idle time, and not so
    /// many after other times nearby that chance explains it.
    pub fn closes_after(&self, server: Endpoint, idle: i64) -> bool {
        /// Below it the time that a program takes to act on its timer counts, nanoseconds.
        const SHORT: i64 = 500_000_000;
        let Some(idles) = self.idle_closes.get(&server) else { return false };
        if idle < SHORT {
            let short = idles.iter().copied().filter(|other| *other < SHORT);
            return is_late(short.collect(), idle);
        }
        let tolerance = (idle / 50).max(20_000_000);
        let within =
            |range: i64| idles.iter().filter(|other| (**other - idle).abs() <= range).count();
        let (near, around) = (within(tolerance), within(5 * tolerance));
        near >= 2 && is_gathered(near, around)
    }

    /// Whether a connection of this client to this server was open before `at` and went on after
    /// it, so that the client did not close all of them then; true while that is not known.
    pub fn went_on(&self, client: Endpoint, server: Endpoint, at: Timestamp) -> bool {
        /// Packets this close to `at` are part of the same closing, nanoseconds.
        const AROUND: i64 = 500_000_000;
        let Some(spans) = self.spans.get(&(host(client), server)) else { return !self.sealed };
        let earlier = spans.partition_point(|(first, _)| at.nanos_since(*first) > AROUND);
        let latest = spans[..earlier].last();
        !self.sealed || latest.is_some_and(|(_, last)| last.nanos_since(at) > AROUND)
    }

    /// All flows are known: puts in order what was learned as they ended.
    pub fn seal(&mut self) {
        self.closes.values_mut().for_each(|closes| closes.sort_unstable());
        for spans in self.spans.values_mut() {
            spans.sort_unstable();
            let mut latest = Timestamp(i64::MIN);
            for (_, last) in spans {
                latest = latest.max(*last);
                *last = latest;
            }
        }
        self.sealed = true;
    }

    /// How many cuts of this client came after the same silence, this one included; 1 when so many
    /// came after other silences nearby that chance explains it.
    pub fn same_silence(&self, client: Endpoint, silence: i64) -> usize {
        self.same(client, silence, |cut| cut.silence)
    }

    /// The same for the time since the request: a timer for the whole response, which bytes do not wind up.
    pub fn same_age(&self, client: Endpoint, age: i64) -> usize {
        self.same(client, age, |cut| cut.age)
    }

    fn same(&self, client: Endpoint, wanted: i64, of: impl Fn(&Cut) -> i64) -> usize {
        let tolerance = 20_000_000 + wanted / 1000;
        let within = |range: i64| {
            self.cuts.get(&client.ip).map_or(0, |cuts| {
                cuts.iter().filter(|cut| (of(cut) - wanted).abs() <= range).count()
            })
        };
        let (near, around) = (within(tolerance), within(5 * tolerance));
        if is_gathered(near, around) { near } else { near.min(1) }
    }

    /// Whether an exchange of this client was cut clearly longer after its request, so that `age` is not its timer.
    pub fn cut_later(&self, client: Endpoint, age: i64) -> bool {
        let bar = clearly_over(age);
        let later = |cuts: &Vec<Cut>| cuts.iter().any(|cut| cut.age > bar);
        self.cuts.get(&client.ip).is_some_and(later)
    }

    /// Whether this client has waited clearly longer elsewhere, so that `silence` is not its timer.
    pub fn waited_longer(&self, client: Endpoint, silence: i64) -> bool {
        let bar = clearly_over(silence);
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

/// Whether those `near` are more than chance puts there, of those within five times as far.
fn is_gathered(near: usize, around: usize) -> bool {
    near * 10 >= around * 6
}

/// Whether a timer made these closes after short idle times, and may have made one after `idle`. None fires too
/// soon, and a busy host acts on it late: most times are little more than the least, and a few up to twice as much.
fn is_late(mut idles: Vec<i64>, idle: i64) -> bool {
    /// Fewer lie close together by chance.
    const ENOUGH: usize = 5;
    /// One in so many was closed for another reason, or in a moment in which the host did nothing else.
    const STRAY: usize = 20;
    if idles.len() < ENOUGH {
        return false;
    }
    idles.sort_unstable();
    let (least, most) = (idles[idles.len() / STRAY], idles[idles.len() / 2]);
    most - least <= least / 4 && (least - least / 50..=2 * least).contains(&idle)
}

/// From where on a time is clearly longer than `nanos`, nanoseconds.
pub(super) fn clearly_over(nanos: i64) -> i64 {
    nanos + (nanos / 20).max(50_000_000)
}

/// An endpoint without its port.
fn host(endpoint: Endpoint) -> Endpoint {
    Endpoint { port: 0, ..endpoint }
}

/// The place of `key`, unless that were one host too many.
fn place<V: Default>(map: &mut Hosts<V>, key: Address) -> Option<&mut V> {
    (map.len() < HOSTS_MAX || map.contains_key(&key)).then(|| map.entry(key).or_default())
}

/// Adds to the samples of `key` while `most` of it and all [`SAMPLES_MAX`] are not reached; says
/// whether it did.
fn sample<K: Eq + Hash, V>(
    map: &mut Known<K, Vec<V>>,
    key: K,
    value: V,
    most: usize,
    samples: &mut usize,
) -> bool {
    if *samples >= SAMPLES_MAX {
        return false;
    }
    let list = map.entry(key).or_default();
    let room = list.len() < most;
    if room {
        list.push(value);
        *samples += 1;
    }
    room
}
