//! Compares one look at the host with the one before, and says what happened between them. Reads nothing.

use super::addresses::Addresses;
use super::census::Outgoing;
use super::counters::{COUNTERS, Counters, Kind};
use super::event::{Event, Happening};
use super::facts::{Alive, Listener, Process, Seen};
use super::history::{History, Port};
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

/// Ports that are watched when none is named: as many as listeners are kept.
const PORTS_MAX: usize = super::facts::LISTENERS_MAX;
/// Per cent of the ephemeral ports from which the last free ones are found late or not at all.
const PORTS_OUT: u64 = 98;

/// One look at the host.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at: Timestamp,
    /// With the owners of those that are new.
    pub(super) listeners: Seen<Vec<Listener>>,
    /// Of the owners that are known, those that run.
    pub(super) alive: BTreeMap<i32, Alive>,
    pub(super) counters: Seen<Counters>,
    pub(super) oom_kills: Option<u64>,
    /// Ports used towards each destination, where they were counted, and how many there are.
    pub(super) outgoing: Option<(Vec<Outgoing>, u64)>,
}

/// Remembers the look before.
#[derive(Debug)]
pub(super) struct Tracker {
    pub(super) history: History,
    ephemeral: RangeInclusive<u16>,
    counters: Option<Counters>,
    oom_kills: Option<u64>,
    /// Number and birth of processes that are stopped, and of those without files left.
    stopped: BTreeSet<(i32, u64)>,
    files_full: BTreeSet<(i32, u64)>,
    queue_full: BTreeSet<u16>,
    ports_out: BTreeSet<(IpAddr, SocketAddr)>,
}

impl Tracker {
    /// Of `ports`, or of every port when there are none. Those of the ephemeral range that come
    /// later are not watched then: programs that need any port open and close them all the time.
    pub(super) fn new(ports: &[u16], ephemeral: RangeInclusive<u16>) -> Tracker {
        let history = History {
            every_port: ports.is_empty(),
            ports: ports.iter().map(|port| (*port, Port::default())).collect(),
            passed_over: Some(ephemeral.clone()),
            ..History::default()
        };
        Tracker {
            history,
            ephemeral,
            counters: None,
            oom_kills: None,
            stopped: BTreeSet::new(),
            files_full: BTreeSet::new(),
            queue_full: BTreeSet::new(),
            ports_out: BTreeSet::new(),
        }
    }

    pub(super) fn addresses(&mut self, addresses: Addresses) {
        self.history.addresses = addresses;
    }

    /// Whether a port is watched.
    pub(super) fn wants(&self, port: u16) -> bool {
        let room = self.history.ports.len() < PORTS_MAX;
        let first = self.history.seen.is_none();
        self.history.ports.contains_key(&port)
            || self.history.every_port && room && (first || !self.ephemeral.contains(&port))
    }

    /// The socket as it was at the last look.
    pub(super) fn known(&self, port: u16, inode: u64) -> Option<&Listener> {
        self.history.ports.get(&port)?.listeners.iter().find(|one| one.inode == inode)
    }

    /// Who listened on a port at last.
    pub(super) fn last(&self, port: u16) -> Option<&Process> {
        self.history.ports.get(&port)?.holder()
    }

    /// Every process that is known to hold a socket.
    pub(super) fn pids(&self) -> BTreeSet<i32> {
        let listeners = self.history.ports.values().flat_map(|port| &port.listeners);
        listeners.flat_map(|one| one.owners.iter().flatten()).map(|who| who.pid).collect()
    }

    /// Takes a look in, and tells what happened since the last.
    pub(super) fn step(&mut self, sample: Sample) -> Vec<Event> {
        let Sample { at, listeners, alive, counters, oom_kills, outgoing } = sample;
        let before = self.history.seen;
        let mut happened = Vec::new();
        match listeners {
            Ok(listeners) => {
                self.history.unseen = None;
                self.ports(listeners, &alive, at, before.is_some(), &mut happened);
            }
            Err(why) => self.history.unseen = Some(why),
        }
        self.count(counters, oom_kills, &mut happened);
        if let Some((outgoing, ports)) = outgoing {
            self.outgoing(&outgoing, ports, &mut happened);
        }
        let from = before.map_or(at, |(_, last)| last);
        self.history.seen = Some((before.map_or(at, |(first, _)| first), at));
        let events: Vec<_> =
            happened.into_iter().map(|(port, what)| Event { from, at, port, what }).collect();
        events.iter().for_each(|event| self.history.add(event.clone()));
        events
    }

    fn ports(
        &mut self,
        listeners: Vec<Listener>,
        alive: &BTreeMap<i32, Alive>,
        at: Timestamp,
        compare: bool,
        happened: &mut Vec<(Option<u16>, Happening)>,
    ) {
        let mut now: BTreeMap<u16, Vec<Listener>> =
            self.history.ports.keys().map(|port| (*port, Vec::new())).collect();
        for listener in listeners {
            if self.wants(listener.port) {
                now.entry(listener.port).or_default().push(listener);
            }
        }
        for (number, mut sockets) in now {
            let mut port = self.history.ports.remove(&number).unwrap_or_default();
            let mut what = Vec::new();
            if compare {
                changes(&port, &sockets, alive, &mut what);
            }
            self.conditions(number, &sockets, alive, &mut what);
            if let Some(who) = first_owner(&port.listeners) {
                port.last = Some((who.clone(), !runs(who, alive)));
            }
            port.gone = match (sockets.is_empty(), port.listeners.is_empty()) {
                (false, _) => None,
                (true, false) => Some(at),
                (true, true) => port.gone,
            };
            for socket in &mut sockets {
                if let Ok(owners) = &mut socket.owners {
                    owners.retain(|who| runs(who, alive));
                }
            }
            port.listeners = sockets;
            self.history.ports.insert(number, port);
            happened.extend(what.into_iter().map(|what| (Some(number), what)));
        }
    }

    /// What holds for a while: a full queue, a process that is stopped or has no files left.
    fn conditions(
        &mut self,
        port: u16,
        sockets: &[Listener],
        alive: &BTreeMap<i32, Alive>,
        happened: &mut Vec<Happening>,
    ) {
        let full = sockets.iter().find(|one| one.is_full());
        if let Some((one, backlog)) = full.and_then(|one| Some((one, one.backlog?))) {
            if self.queue_full.insert(port) {
                happened.push(Happening::QueueFull { waiting: one.waiting, backlog });
            }
        } else if self.queue_full.remove(&port) {
            happened.push(Happening::QueueFree);
        }
        for who in each_owner(sockets) {
            let Some(now) = alive.get(&who.pid).filter(|now| now.birth == who.birth) else {
                self.stopped.remove(&(who.pid, who.birth));
                self.files_full.remove(&(who.pid, who.birth));
                continue;
            };
            let key = (who.pid, who.birth);
            let boxed = || Box::new(who.clone());
            if matches!(now.state, 'T' | 't') {
                if self.stopped.insert(key) {
                    happened.push(Happening::Stopped { who: boxed() });
                }
            } else if self.stopped.remove(&key) {
                happened.push(Happening::Continued { who: boxed() });
            }
            let max = who.files_max.as_ref().ok().copied().flatten();
            let full = now.files.zip(max).filter(|(files, max)| files >= max);
            if let Some((files, _)) = full {
                if self.files_full.insert(key) {
                    happened.push(Happening::FilesFull { who: boxed(), files });
                }
            } else if self.files_full.remove(&key) {
                happened.push(Happening::FilesFree { who: boxed() });
            }
        }
    }

    fn count(
        &mut self,
        counters: Seen<Counters>,
        oom_kills: Option<u64>,
        happened: &mut Vec<(Option<u16>, Happening)>,
    ) {
        let counters = counters.ok();
        self.history.counts = counters.is_some();
        if let (Some(before), Some(now)) = (&self.counters, &counters) {
            let grown: Vec<_> = COUNTERS
                .iter()
                .filter(|counter| counter.kind != Kind::Usual)
                .filter_map(|counter| Some((counter.name, now.grown(before, counter.name)?)))
                .filter(|(_, grown)| *grown > 0)
                .collect();
            if !grown.is_empty() {
                happened.push((None, Happening::Counted { grown }));
            }
        }
        self.counters = counters.or(self.counters.take());
        if let (Some(before), Some(now)) = (self.oom_kills, oom_kills)
            && now > before
        {
            happened.push((None, Happening::OomKills { killed: now - before }));
        }
        self.oom_kills = oom_kills.or(self.oom_kills);
    }

    fn outgoing(
        &mut self,
        outgoing: &[Outgoing],
        ports: u64,
        happened: &mut Vec<(Option<u16>, Happening)>,
    ) {
        let out = |one: &&Outgoing| one.used.saturating_mul(100) / ports.max(1) >= PORTS_OUT;
        let mut still = BTreeSet::new();
        for one in outgoing.iter().filter(out) {
            let key = (one.source, one.destination);
            still.insert(key);
            if !self.ports_out.contains(&key) {
                happened.push((None, Happening::PortsOut { outgoing: *one, ports }));
            }
        }
        self.ports_out = still;
    }
}

fn runs(who: &Process, alive: &BTreeMap<i32, Alive>) -> bool {
    alive.get(&who.pid).is_some_and(|now| now.birth == who.birth)
}

fn first_owner(sockets: &[Listener]) -> Option<&Process> {
    sockets.iter().find_map(|one| one.owners.as_ref().ok()?.first())
}

/// Each process that holds one of the sockets, once.
fn each_owner(sockets: &[Listener]) -> Vec<&Process> {
    let mut seen = BTreeSet::new();
    let all = sockets.iter().flat_map(|one| one.owners.iter().flatten());
    all.filter(|who| seen.insert((who.pid, who.birth))).collect()
}

/// What changed about the sockets of a port.
fn changes(
    before: &Port,
    now: &[Listener],
    alive: &BTreeMap<i32, Alive>,
    happened: &mut Vec<Happening>,
) {
    let who = || first_owner(&before.listeners);
    let boxed = |who: Option<&Process>| who.map(|who| Box::new(who.clone()));
    let same = |one: &&Listener| before.listeners.iter().any(|old| old.inode == one.inode);
    match (before.listeners.is_empty(), now.is_empty()) {
        (true, true) => {}
        (false, true) => happened.push(Happening::Gone {
            who: boxed(who()),
            ended: who().is_some_and(|who| !runs(who, alive)),
        }),
        (true, false) => happened.push(Happening::Listens { who: boxed(first_owner(now)) }),
        (false, false) if !now.iter().any(|one| same(&one)) => {
            happened
                .push(Happening::Restarted { before: boxed(who()), now: boxed(first_owner(now)) });
        }
        (false, false) => {
            let owners = each_owner(&before.listeners);
            let left = owners.iter().filter(|who| runs(who, alive)).count();
            let ended = owners.iter().filter(|who| !runs(who, alive));
            happened
                .extend(ended.map(|who| Happening::Ended { who: Box::new((*who).clone()), left }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixture::{counters, listener, process};

    const SECOND: i64 = 1_000_000_000;

    fn nginx(pid: i32) -> Process {
        Process { pid, birth: pid as u64, ..process() }
    }

    fn socket(inode: u64, owners: &[i32]) -> Listener {
        Listener {
            inode,
            owners: Ok(owners.iter().map(|pid| nginx(*pid)).collect()),
            ..listener("0.0.0.0")
        }
    }

    fn look(second: i64, listeners: Vec<Listener>, alive: &[i32]) -> Sample {
        let now = |pid: &i32| (*pid, Alive { birth: *pid as u64, state: 'S', files: Some(20) });
        Sample {
            at: Timestamp(second * SECOND),
            listeners: Ok(listeners),
            alive: alive.iter().map(now).collect(),
            counters: Ok(counters(&[])),
            oom_kills: Some(0),
            outgoing: None,
        }
    }

    fn tracker() -> Tracker {
        Tracker::new(&[8080], 32_768..=60_999)
    }

    fn ids(events: &[Event]) -> Vec<&'static str> {
        events.iter().map(|event| event.what.id()).collect()
    }

    #[test]
    fn a_listener_that_ends_and_comes_back() {
        let mut tracker = tracker();
        assert_eq!(ids(&tracker.step(look(1, vec![socket(1, &[812])], &[812]))), [""; 0]);
        let gone = tracker.step(look(2, Vec::new(), &[]));
        let who = Some(Box::new(nginx(812)));
        assert_eq!(gone[0].what, Happening::Gone { who, ended: true });
        assert_eq!((gone[0].from, gone[0].at), (Timestamp(SECOND), Timestamp(2 * SECOND)));
        assert_eq!(tracker.history.ports[&8080].gone, Some(Timestamp(2 * SECOND)));
        assert!(tracker.step(look(3, Vec::new(), &[])).is_empty(), "told once");
        assert_eq!(ids(&tracker.step(look(4, vec![socket(2, &[900])], &[900]))), ["listens"]);
        assert_eq!(tracker.history.ports[&8080].gone, None);
    }

    #[test]
    fn a_quick_restart_is_a_new_socket() {
        let mut tracker = tracker();
        tracker.step(look(1, vec![socket(1, &[812])], &[812]));
        let events = tracker.step(look(2, vec![socket(2, &[900])], &[900]));
        assert_eq!(ids(&events), ["restarted"]);
        assert_eq!(
            events[0].text(),
            "nginx (pid 900) listens on port 8080 in place of nginx (pid 812)"
        );
    }

    #[test]
    fn a_worker_that_ends_leaves_the_socket() {
        let mut tracker = tracker();
        tracker.step(look(1, vec![socket(1, &[812, 815])], &[812, 815]));
        let events = tracker.step(look(2, vec![socket(1, &[812, 815])], &[812]));
        assert_eq!(ids(&events), ["process-ended"]);
        assert!(events[0].text().contains("(pid 815)"), "{}", events[0].text());
        assert!(tracker.step(look(3, vec![socket(1, &[812])], &[812])).is_empty());
    }

    #[test]
    fn a_process_with_the_number_of_another_is_another() {
        let mut tracker = tracker();
        tracker.step(look(1, vec![socket(1, &[812])], &[812]));
        let mut later = look(2, vec![socket(1, &[812])], &[812]);
        later.alive.get_mut(&812).unwrap().birth = 5000;
        assert_eq!(ids(&tracker.step(later)), ["process-ended"]);
    }

    #[test]
    fn conditions_are_told_when_they_begin_and_end() {
        let mut tracker = tracker();
        let full = || vec![Listener { waiting: 129, ..socket(1, &[812]) }];
        assert_eq!(ids(&tracker.step(look(1, full(), &[812]))), ["queue-full"]);
        assert!(tracker.step(look(2, full(), &[812])).is_empty());
        let mut stopped = look(3, vec![socket(1, &[812])], &[812]);
        stopped.alive.get_mut(&812).unwrap().state = 'T';
        stopped.alive.get_mut(&812).unwrap().files = Some(1024);
        assert_eq!(ids(&tracker.step(stopped)), ["queue-free", "process-stopped", "files-full"]);
        let events = tracker.step(look(4, vec![socket(1, &[812])], &[812]));
        assert_eq!(ids(&events), ["process-continued", "files-free"]);
    }

    #[test]
    fn counters_and_kills_are_told_by_how_much() {
        let mut tracker = tracker();
        tracker.step(look(1, Vec::new(), &[]));
        let mut next = look(2, Vec::new(), &[]);
        next.counters = Ok(counters(&[("ListenOverflows", 37), ("OutRsts", 5)]));
        next.oom_kills = Some(2);
        let events = tracker.step(next);
        let texts: Vec<_> = events.iter().map(Event::text).collect();
        assert!(
            texts[0].contains("ListenOverflows +37") && !texts[0].contains("OutRsts"),
            "{texts:?}"
        );
        assert!(texts[1].contains("2 processes"), "{texts:?}");
        let mut blind = look(3, Vec::new(), &[]);
        (blind.counters, blind.oom_kills) = (Err("gone".to_owned()), None);
        assert!(tracker.step(blind).is_empty());
        assert!(!tracker.history.counts);
    }

    #[test]
    fn ports_that_run_out_are_told_once() {
        let mut tracker = tracker();
        let one = Outgoing {
            source: "10.0.0.2".parse().unwrap(),
            destination: "10.0.0.5:8080".parse().unwrap(),
            used: 99,
            time_wait: 9,
        };
        let mut out = |second, used| {
            let outgoing = Some((vec![Outgoing { used, ..one }], 100));
            ids(&tracker.step(Sample { outgoing, ..look(second, Vec::new(), &[]) }))
        };
        assert_eq!(out(1, 99), ["ports-out"]);
        assert_eq!(out(2, 100), [""; 0]);
        assert_eq!(out(3, 50), [""; 0]);
        assert_eq!(out(4, 98), ["ports-out"]);
    }

    #[test]
    fn without_ports_all_but_short_lived_ones_are_watched() {
        let mut tracker = Tracker::new(&[], 32_768..=60_999);
        assert!(tracker.wants(40_000), "it listened before");
        tracker.step(look(1, vec![Listener { port: 40_000, ..socket(1, &[1]) }], &[1]));
        assert!(tracker.wants(40_000) && tracker.wants(9000) && !tracker.wants(40_001));
        assert_eq!(
            ids(&tracker.step(look(2, vec![socket(2, &[2])], &[1, 2]))),
            ["listens", "gone"]
        );
    }
}
