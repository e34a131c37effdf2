//! Watches the host over time: a cheap look every second, and a bounded history of what happened.
//!
//! A look reads a few small files and asks the kernel for the sockets that listen: some tenths of a
//! millisecond. Who holds a socket is searched only when a socket is new.
//!
//! What it needs: nothing after [`Watch::open`]. Opened while the process is root it knows the owners
//! of the sockets that listen then; when it has become another user meanwhile, it still sees that
//! they end, and guesses who comes after them by the name of the process. `/proc`, and
//! `/sys/fs/cgroup` for memory limits, have to stay readable.

use super::addresses::Addresses;
use super::census::Outgoing;
use super::event::Event;
use super::facts::{Listener, Seen};
use super::history::History;
use super::linux::{self, Reader};
use super::tracker::{Sample, Tracker};
use crate::cause::Finding;
use crate::time::Timestamp;
use std::collections::BTreeSet;
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Between two looks.
const SECOND: Duration = Duration::from_secs(1);
/// Events that wait to be taken; further ones are in the history only.
const EVENTS_WAITING: usize = 256;
/// Looks between two counts of ports by destination, which goes through every socket.
const CENSUS_EVERY: u64 = 10;
/// The same on a host with many sockets.
const CENSUS_RARELY: u64 = 60;
/// How many sockets are many: they take about a tenth of a second.
const MANY_SOCKETS: u64 = 100_000;
/// Looks between two searches for the owners of a socket that lost some: with workers that come and
/// go all the time every look would be a search.
const SEARCH_EVERY: u64 = 10;
/// Looks between two readings of the addresses of this host.
const ADDRESSES_EVERY: u64 = 30;

/// Watches.
#[derive(Debug)]
pub struct Watch {
    reader: Reader,
    tracker: Tracker,
    looks: u64,
    searched: u64,
}

impl Watch {
    /// Begins to watch `ports`, or every port that listens when there are none, with a first look.
    pub fn open(ports: &[u16]) -> Watch {
        let reader = Reader::new();
        let range = reader.limits().ephemeral.unwrap_or(linux::EPHEMERAL);
        let mut watch =
            Watch { reader, tracker: Tracker::new(ports, range), looks: 0, searched: 0 };
        watch.look();
        watch
    }

    /// What is known so far.
    pub fn history(&self) -> &History {
        &self.tracker.history
    }

    /// Looks at the host and tells what happened since the last look. To be called every second.
    pub fn look(&mut self) -> Vec<Event> {
        if self.looks.is_multiple_of(ADDRESSES_EVERY) {
            self.tracker.addresses(self.reader.addresses());
        }
        let at = linux::now();
        let listeners = self.listeners(at);
        let mut pids = self.tracker.pids();
        let owners = listeners.iter().flatten().flat_map(|one| one.owners.iter().flatten());
        pids.extend(owners.map(|who| who.pid));
        let alive =
            pids.into_iter().filter_map(|pid| Some((pid, self.reader.alive(pid)?))).collect();
        let sample = Sample {
            at,
            outgoing: self.outgoing(&listeners),
            listeners,
            alive,
            counters: self.reader.counters(),
            oom_kills: self.reader.oom_kills().ok(),
        };
        self.looks += 1;
        self.tracker.step(sample)
    }

    /// Sockets that listen, with the owners that are known and those of new sockets.
    fn listeners(&mut self, at: Timestamp) -> Seen<Vec<Listener>> {
        let mut listeners = self.reader.listeners().0?;
        listeners.retain(|one| self.tracker.wants(one.port));
        let may_search = self.looks >= self.searched + SEARCH_EVERY;
        let mut unnamed = Vec::new();
        for one in &mut listeners {
            let known = self.tracker.known(one.port, one.inode);
            if let Some(known) = known {
                one.owners.clone_from(&known.owners);
                one.owners_left_out = known.owners_left_out;
            }
            let lost = known.is_some_and(|known| known.owners.as_ref().is_ok_and(Vec::is_empty));
            if known.is_none() || lost && may_search {
                self.searched = if lost { self.looks } else { self.searched };
                unnamed.push(one);
            }
        }
        if unnamed.is_empty() {
            return Ok(listeners);
        }
        let booted = self.reader.booted(at);
        self.reader.name_owners(unnamed, booted);
        for one in listeners.iter_mut().filter(|one| one.owners.is_err()) {
            let before = self.tracker.last(one.port);
            let after = before.filter(|_| self.tracker.known(one.port, one.inode).is_none());
            if let Some(who) = after.and_then(|before| self.reader.successor(before, booted)) {
                one.owners = Ok(vec![who]);
            }
        }
        Ok(listeners)
    }

    fn outgoing(&mut self, listeners: &Seen<Vec<Listener>>) -> Option<(Vec<Outgoing>, u64)> {
        let many = self.reader.how_many().is_ok_and(|sockets| sockets > MANY_SOCKETS);
        let every = if many { CENSUS_RARELY } else { CENSUS_EVERY };
        if !self.looks.is_multiple_of(every) {
            return None;
        }
        let limits = self.reader.limits();
        let ports = limits.ephemeral_ports()?;
        let listening: BTreeSet<u16> =
            listeners.as_ref().ok()?.iter().map(|one| one.port).collect();
        let census = self.reader.census(limits.ephemeral.ok()?, &listening).ok()?;
        Some((census.busiest, ports))
    }

    /// Goes on by itself, in a thread of its own. Start it after rights were given up: threads that
    /// run already keep theirs.
    pub fn start(mut self) -> io::Result<Watching> {
        let (stop, stopped) = mpsc::channel::<()>();
        let (tell, events) = mpsc::sync_channel(EVENTS_WAITING);
        let history = Arc::new(Mutex::new(self.history().clone()));
        let shared = Arc::clone(&history);
        let thread = thread::Builder::new().name("host".to_owned()).spawn(move || {
            loop {
                let over = stopped.recv_timeout(SECOND) != Err(RecvTimeoutError::Timeout);
                for event in self.look() {
                    // Nobody takes them: the history has them all the same.
                    let _ = tell.try_send(event);
                }
                let now = self.history().clone();
                *shared.lock().unwrap_or_else(PoisonError::into_inner) = now;
                if over {
                    break;
                }
            }
        })?;
        Ok(Watching { stop, events, history, thread })
    }
}

/// A watch that goes on by itself until this is dropped.
#[derive(Debug)]
pub struct Watching {
    stop: Sender<()>,
    events: Receiver<Event>,
    history: Arc<Mutex<History>>,
    thread: JoinHandle<()>,
}

impl Watching {
    /// What happened and was not taken yet.
    pub fn events(&self) -> impl Iterator<Item = Event> {
        self.events.try_iter()
    }

    /// Addresses of this host.
    pub fn addresses(&self) -> Addresses {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).addresses.clone()
    }

    /// What the host says of a finding, as far as it is known now.
    pub fn sentence(&self, finding: &Finding) -> Option<String> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).sentence(finding)
    }

    /// Ends it with a last look.
    pub fn finish(self) -> History {
        drop(self.stop);
        // A thread that broke down leaves what it knew.
        let _ = self.thread.join();
        self.history.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_listener_of_this_process_comes_and_goes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = i32::try_from(std::process::id()).unwrap();
        let mut watch = Watch::open(&[port]);
        let named = |watch: &Watch| watch.tracker.last(port).map(|who| who.pid);
        assert_eq!(named(&watch), Some(own));
        drop(listener);
        let ids = |events: Vec<Event>| {
            let of_port = events.into_iter().filter(|event| event.port == Some(port));
            of_port.map(|event| (event.what.id(), event.text())).collect::<Vec<_>>()
        };
        let gone = ids(watch.look());
        assert_eq!(gone.len(), 1, "{gone:?}");
        assert!(gone[0].0 == "gone" && gone[0].1.contains("still runs"), "{gone:?}");
        let again = TcpListener::bind(("127.0.0.1", port)).unwrap();
        assert_eq!(ids(watch.look())[0].0, "listens");
        drop(again);
    }
}
