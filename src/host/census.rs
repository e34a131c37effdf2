//! Sockets by state, and how many ports are used towards each destination.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

/// Pairs of a source address and a destination that are counted; connections of further ones are
/// counted as left out. One entry has 72 bytes; a proxy has as many as it has targets.
const DESTINATIONS_MAX: usize = 1 << 16;
/// Destinations that are kept for the report, those with the most ports.
const BUSIEST: usize = 10;

/// State of a TCP socket, with the numbers of the kernel (`include/net/tcp_states.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum State {
    Established = 1,
    SynSent,
    SynReceived,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
}

impl State {
    /// Every state.
    pub const ALL: [State; 11] = [
        State::Established,
        State::SynSent,
        State::SynReceived,
        State::FinWait1,
        State::FinWait2,
        State::TimeWait,
        State::Close,
        State::CloseWait,
        State::LastAck,
        State::Listen,
        State::Closing,
    ];

    /// The state of that number. 12 is a socket of a handshake, SYN_RECV as well.
    pub fn from_number(number: u8) -> Option<State> {
        match number {
            12 => Some(State::SynReceived),
            _ => State::ALL.into_iter().find(|state| *state as u8 == number),
        }
    }

    /// Its name in the words of `netstat` and the kernel.
    pub fn id(self) -> &'static str {
        match self {
            State::Established => "ESTABLISHED",
            State::SynSent => "SYN_SENT",
            State::SynReceived => "SYN_RECV",
            State::FinWait1 => "FIN_WAIT1",
            State::FinWait2 => "FIN_WAIT2",
            State::TimeWait => "TIME_WAIT",
            State::Close => "CLOSE",
            State::CloseWait => "CLOSE_WAIT",
            State::LastAck => "LAST_ACK",
            State::Listen => "LISTEN",
            State::Closing => "CLOSING",
        }
    }
}

/// How many sockets are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct States([u64; 12]);

impl States {
    /// Counts one.
    pub fn add(&mut self, state: State) {
        self.0[state as usize] += 1;
    }

    /// How many are in `state`.
    pub fn get(&self, state: State) -> u64 {
        self.0[state as usize]
    }

    /// Those of which there are any.
    pub fn iter(&self) -> impl Iterator<Item = (State, u64)> {
        State::ALL.into_iter().map(|state| (state, self.get(state))).filter(|(_, count)| *count > 0)
    }
}

/// Connections from one address of this host to one destination: each has its own local port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Address of this host.
    pub source: IpAddr,
    /// Where they go.
    pub destination: SocketAddr,
    /// Ports of the ephemeral range that they use.
    pub used: u64,
    /// Those of them in TIME_WAIT.
    pub time_wait: u64,
}

/// What a count of all sockets found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Sockets of this network namespace.
    pub states: States,
    /// Sockets of each port that listens.
    pub of_port: BTreeMap<u16, States>,
    /// Destinations towards which the most ports are used.
    pub busiest: Vec<Outgoing>,
    /// Connections that were not counted by destination, because there were too many destinations.
    pub left_out: u64,
}

/// Counts sockets one by one, so that a million of them need no memory.
#[derive(Debug)]
pub(super) struct Counting {
    ephemeral: RangeInclusive<u16>,
    census: Census,
    outgoing: HashMap<(IpAddr, SocketAddr), (u64, u64), RandomState>,
}

impl Counting {
    /// `listening` are the ports that listen: their sockets were accepted, not opened.
    pub(super) fn new(ephemeral: RangeInclusive<u16>, listening: &BTreeSet<u16>) -> Counting {
        let of_port = listening.iter().map(|port| (*port, States::default())).collect();
        Counting {
            ephemeral,
            census: Census { of_port, ..Census::default() },
            outgoing: HashMap::default(),
        }
    }

    pub(super) fn add(&mut self, state: State, local: SocketAddr, remote: SocketAddr) {
        self.census.states.add(state);
        if let Some(states) = self.census.of_port.get_mut(&local.port()) {
            states.add(state);
            return;
        }
        let bound = !matches!(state, State::Listen | State::Close);
        if !bound || remote.port() == 0 || !self.ephemeral.contains(&local.port()) {
            return;
        }
        let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
        let key = (local.ip().to_canonical(), remote);
        if self.outgoing.len() >= DESTINATIONS_MAX && !self.outgoing.contains_key(&key) {
            self.census.left_out += 1;
            return;
        }
        let (used, time_wait) = self.outgoing.entry(key).or_default();
        *used += 1;
        *time_wait += u64::from(state == State::TimeWait);
    }

    pub(super) fn finish(self) -> Census {
        let mut busiest: Vec<_> = self
            .outgoing
            .into_iter()
            .map(|((source, destination), (used, time_wait))| Outgoing {
                source,
                destination,
                used,
                time_wait,
            })
            .collect();
        busiest
            .sort_unstable_by_key(|one| (std::cmp::Reverse(one.used), one.destination, one.source));
        busiest.truncate(BUSIEST);
        Census { busiest, ..self.census }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn numbers_of_the_kernel_become_states() {
        assert_eq!(State::from_number(10), Some(State::Listen));
        assert_eq!(State::from_number(12), Some(State::SynReceived));
        assert_eq!((State::from_number(0), State::from_number(13)), (None, None));
        assert!(State::ALL.iter().all(|state| State::from_number(*state as u8) == Some(*state)));
    }

    #[test]
    fn accepted_and_opened_connections_are_told_apart() {
        let mut counting = Counting::new(32_768..=60_999, &BTreeSet::from([8080, 40_000]));
        let target = "10.0.0.5:8080";
        for port in 50_000..50_010 {
            counting.add(State::Established, address(&format!("10.0.0.2:{port}")), address(target));
        }
        counting.add(
            State::TimeWait,
            address("[::ffff:10.0.0.2]:51000"),
            address("[::ffff:10.0.0.5]:8080"),
        );
        // Accepted here, although its port lies in the range.
        counting.add(State::Established, address("10.0.0.2:40000"), address("10.0.0.9:50001"));
        counting.add(State::Listen, address("0.0.0.0:8080"), address("0.0.0.0:0"));
        // A port that a program chose.
        counting.add(State::Established, address("10.0.0.2:1234"), address(target));
        let census = counting.finish();
        let busiest = Outgoing {
            source: "10.0.0.2".parse().unwrap(),
            destination: address(target),
            used: 11,
            time_wait: 1,
        };
        assert_eq!(census.busiest, [busiest]);
        assert_eq!(census.states.get(State::Established), 12);
        assert_eq!(census.of_port[&40_000].get(State::Established), 1);
        assert_eq!(census.of_port[&8080].iter().collect::<Vec<_>>(), [(State::Listen, 1)]);
    }

    #[test]
    fn too_many_destinations_are_counted_as_left_out() {
        let mut counting = Counting::new(1..=65_535, &BTreeSet::new());
        let local = address("10.0.0.2:5000");
        for n in 0..DESTINATIONS_MAX as u32 + 5 {
            let remote = SocketAddr::new(IpAddr::V4((0x0b00_0000 + n).into()), 80);
            counting.add(State::SynSent, local, remote);
        }
        let census = counting.finish();
        assert_eq!((census.left_out, census.busiest.len()), (5, BUSIEST));
    }
}
