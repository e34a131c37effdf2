//! Connections per server, so that checks can be seen beside what else arrives there.

use crate::blind::BlindSpot;
use crate::flow::{EndingKind, Flow, Vantage};
use crate::packet::{Address, Endpoint};
use crate::tcp::Side;
use crate::time::{Mark, Timestamp};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Servers that are remembered.
pub(super) const SERVERS_MAX: usize = 8192;
/// Connections remembered per server, the newest.
pub(super) const CONNECTIONS_MAX: usize = 2048;
/// Connections remembered of all servers: with 104 bytes each less than 7 MB.
pub(super) const ALL_MAX: usize = 1 << 16;

/// How an attempt to connect ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// SYN-ACK, or data.
    Accepted,
    /// RST.
    Refused,
    /// Nothing came back.
    Unanswered,
    /// The capture does not show it.
    Unseen,
}

/// A connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// [`Flow::id`].
    pub(super) flow: u64,
    /// Wireshark's stream number.
    pub(super) stream: Option<u32>,
    /// Address of the side that opened it.
    pub(super) client: Address,
    /// Its port.
    pub(super) port: u16,
    /// First packet.
    pub(super) first: Mark,
    /// Last packet.
    pub(super) last: Mark,
    /// Last data of the client.
    pub(super) asked: Option<Mark>,
    /// The client sent data.
    pub(super) spoke: bool,
    /// First packet of the server.
    pub(super) answer: Option<Mark>,
    /// The RST by which its client's side ended it.
    pub(super) reset: Option<Mark>,
    /// Requests on it.
    pub(super) requests: u32,
    /// Responses on it.
    pub(super) responses: u32,
    /// How it began.
    pub(super) opened: Opened,
    /// Where the capture was taken.
    pub(super) vantage: Vantage,
}

/// The connections of one server.
#[derive(Clone, Debug, Default)]
pub(super) struct Server {
    /// The newest, in the order in which they ended.
    pub(super) seen: VecDeque<Seen>,
    /// Connections that are not remembered any more.
    pub(super) forgotten: u64,
}

/// All servers.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic {
    servers: BTreeMap<Endpoint, Server>,
    held: usize,
    /// Hosts of servers: whether one of their packets was captured, and whether one was missing that must
    /// have been sent.
    sent: HashMap<Address, [bool; 2], RandomState>,
    /// Hosts that opened connections, once [sealed](Traffic::seal).
    clients: Option<BTreeSet<Address>>,
    /// Connections that were not remembered.
    pub(super) forgotten: u64,
}

impl Seen {
    fn of(flow: &Flow) -> Seen {
        let server = flow.half(Side::Server);
        let refusal = flow.endings.iter().find(|ending| {
            ending.side == Side::Server && ending.kind == EndingKind::Rst && ending.grade.counts()
        });
        let opened = match flow.opening.syn_ack {
            Some(_) => Opened::Accepted,
            None if server.sent > 0 => Opened::Accepted,
            None if flow.opening.syn.is_none() => Opened::Unseen,
            None if refusal.is_some() => Opened::Refused,
            // What follows a SYN that nobody answered is another SYN: the answer was not captured.
            None if flow.blind_spots.has(BlindSpot::OneDirection) => Opened::Accepted,
            None if server.packets == 0 => Opened::Unanswered,
            None => Opened::Unseen,
        };
        Seen {
            flow: flow.id,
            stream: flow.stream,
            client: flow.client.ip,
            port: flow.client.port,
            first: flow.first,
            last: flow.last,
            asked: flow.half(Side::Client).last_data,
            reset: flow
                .endings
                .iter()
                .find(|ending| ending.grade.counts())
                .filter(|ending| ending.side == Side::Client && ending.kind == EndingKind::Rst)
                .map(|ending| ending.mark),
            spoke: flow.half(Side::Client).sent > 0,
            answer: flow
                .opening
                .syn_ack
                .or(refusal.map(|ending| ending.mark))
                .or(flow.opening.answered),
            requests: flow.requests,
            responses: flow.responses,
            opened,
            vantage: flow.vantage,
        }
    }
}

impl Traffic {
    /// Connections to a server that are not remembered any more.
    pub(super) fn forgotten(&self, server: Endpoint) -> u64 {
        self.servers.get(&server).map_or(0, |server| server.forgotten)
    }

    /// Takes in a connection that is over.
    pub(super) fn flow(&mut self, flow: &Flow) {
        let full = self.servers.len() >= SERVERS_MAX;
        let server = match self.servers.entry(flow.server) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) if !full => new.insert(Server::default()),
            Entry::Vacant(_) => {
                self.forgotten += 1;
                return;
            }
        };
        if server.seen.len() >= CONNECTIONS_MAX || self.held >= ALL_MAX {
            self.forgotten += 1;
            server.forgotten += 1;
            if server.seen.pop_front().is_none() {
                return;
            }
            self.held -= 1;
        }
        server.seen.push_back(Seen::of(flow));
        self.held += 1;
        let captured = flow.half(Side::Server).packets > 0;
        let missing = !captured && flow.blind_spots.has(BlindSpot::OneDirection);
        let host = self.sent.entry(flow.server.ip).or_default();
        *host = [host[0] || captured, host[1] || missing];
    }

    /// Whether connections to that host are captured, and none of what it sends.
    pub(super) fn is_one_way(&self, host: Address) -> bool {
        self.sent.get(&host) == Some(&[false, true])
    }

    /// No more connections come. From now on it is known at once which hosts opened none.
    pub(super) fn seal(&mut self) {
        let seen = self.servers.values().flat_map(|server| &server.seen);
        self.clients = Some(seen.map(|seen| seen.client).collect());
    }

    /// Connections to `server`.
    pub(super) fn to(&self, server: Endpoint) -> impl Iterator<Item = &Seen> {
        self.servers.get(&server).into_iter().flat_map(|server| &server.seen)
    }

    /// The first connection to `server` after `after` that one of `sources` tried in vain.
    pub(super) fn tried_in_vain(
        &self,
        server: Endpoint,
        sources: &BTreeSet<Address>,
        after: Timestamp,
    ) -> Option<&Seen> {
        let vain = |seen: &&Seen| matches!(seen.opened, Opened::Refused | Opened::Unanswered);
        self.to(server)
            .filter(|seen| seen.first.at > after && sources.contains(&seen.client))
            .filter(vain)
            .min_by_key(|seen| seen.first.at)
    }

    /// Connections to other ports of the host of `server`, with their ports.
    pub(super) fn beside(&self, server: Endpoint) -> impl Iterator<Item = (u16, &Seen)> {
        let all = Endpoint { port: 0, ..server }..=Endpoint { port: u16::MAX, ..server };
        self.servers
            .range(all)
            .filter(move |(at, _)| at.port != server.port)
            .flat_map(|(at, server)| server.seen.iter().map(|seen| (at.port, seen)))
    }

    /// Connections that the host `ip` opened, with the servers it opened them to.
    pub(super) fn from(&self, ip: Address) -> impl Iterator<Item = (Endpoint, &Seen)> {
        let none = self.clients.as_ref().is_some_and(|clients| !clients.contains(&ip));
        let servers = (!none).then_some(&self.servers).into_iter().flatten();
        servers.flat_map(move |(at, server)| {
            server.seen.iter().filter(move |seen| seen.client == ip).map(|seen| (*at, seen))
        })
    }

    /// Where the capture was taken, as far as any connection to `server` tells.
    pub(super) fn vantage(&self, server: Endpoint) -> Vantage {
        let mut known = self.to(server).map(|seen| seen.vantage);
        known.find(|vantage| *vantage != Vantage::Unknown).unwrap_or_default()
    }

    /// Whether any packet of the host of `server` is in a connection that is remembered.
    pub(super) fn knows_host(&self, server: Endpoint) -> bool {
        self.to(server).next().is_some()
            || self.beside(server).next().is_some()
            || self.from(server.ip).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::mark;
    use super::*;

    fn flow(id: u64, port: u16) -> Flow {
        let mut flow = Flow {
            id,
            client: Endpoint::v4([10, 0, 0, 1], 1000),
            server: Endpoint::v4([10, 0, 0, 2], port),
            first: mark(0),
            ..Flow::default()
        };
        flow.opening.syn = Some(mark(0));
        flow
    }

    #[test]
    fn connections_are_found_by_server_host_and_client() {
        let mut traffic = Traffic::default();
        traffic.flow(&flow(1, 80));
        let mut accepted = flow(2, 8080);
        accepted.opening.syn_ack = Some(mark(1));
        traffic.flow(&accepted);
        let server = Endpoint::v4([10, 0, 0, 2], 80);
        let opened: Vec<Opened> = traffic.to(server).map(|seen| seen.opened).collect();
        assert_eq!(opened, [Opened::Unanswered]);
        let beside: Vec<(u16, u64)> =
            traffic.beside(server).map(|(port, seen)| (port, seen.flow)).collect();
        assert_eq!(beside, [(8080, 2)]);
        for _ in 0..2 {
            assert_eq!(traffic.from(Endpoint::v4([10, 0, 0, 1], 0).ip).count(), 2);
            assert_eq!(traffic.from(Endpoint::v4([10, 0, 0, 2], 0).ip).count(), 0);
            traffic.seal();
        }
        assert!(traffic.knows_host(server));
        assert!(!traffic.is_one_way(server.ip), "nobody answered, or nothing of it was captured");
        let mut talks = flow(3, 80);
        talks.blind_spots.add(BlindSpot::OneDirection);
        traffic.flow(&talks);
        assert!(traffic.is_one_way(server.ip));
        let opened: Vec<Opened> = traffic.to(server).map(|seen| seen.opened).collect();
        assert_eq!(opened, [Opened::Unanswered, Opened::Accepted], "its client went on");
        accepted.halves[Side::Server as usize].packets = 1;
        traffic.flow(&accepted);
        assert!(!traffic.is_one_way(server.ip));
        assert!(!traffic.knows_host(Endpoint::v4([10, 0, 0, 3], 80)));
    }

    #[test]
    fn bounds_hold_and_count_what_they_drop() {
        let mut traffic = Traffic::default();
        for id in 0..CONNECTIONS_MAX as u64 + 5 {
            traffic.flow(&flow(id, 80));
        }
        let server = Endpoint::v4([10, 0, 0, 2], 80);
        assert_eq!(traffic.to(server).count(), CONNECTIONS_MAX);
        assert_eq!((traffic.forgotten, traffic.forgotten(server)), (5, 5));
        assert_eq!(traffic.to(server).next().unwrap().flow, 5, "the oldest goes first");
    }
}
