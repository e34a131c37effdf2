//! What is remembered of a host that is watched: how it stands, and what happened.

use super::addresses::Addresses;
use super::event::{Event, Happening};
use super::facts::{Listener, Process};
use crate::time::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

/// Events that are remembered; older ones are counted only. Those of a bad hour, at one every few
/// seconds.
pub const EVENTS_MAX: usize = 1000;

/// How a port stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Port {
    /// Sockets that listen on it.
    pub listeners: Vec<Listener>,
    /// Since when nothing listens; `None` while something does, and where nothing ever did.
    pub gone: Option<Timestamp>,
    /// Who listened last, and whether that process has ended.
    pub last: Option<(Process, bool)>,
}

impl Port {
    /// The process that holds its sockets, the oldest, or did last.
    pub fn holder(&self) -> Option<&Process> {
        let now = self.listeners.iter().find_map(|one| one.owners.as_ref().ok()?.first());
        now.or(self.last.as_ref().map(|(who, _)| who))
    }
}

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// The first and the last look.
    pub seen: Option<(Timestamp, Timestamp)>,
    /// Addresses of this host.
    pub addresses: Addresses,
    /// The ports that are watched.
    pub ports: BTreeMap<u16, Port>,
    /// Whether every port is watched, or only those of `ports`.
    pub every_port: bool,
    /// Ports that are not watched unless they are in `ports`.
    pub passed_over: Option<RangeInclusive<u16>>,
    /// What happened, the oldest first.
    pub events: VecDeque<Event>,
    /// Events that are not remembered any more.
    pub forgotten: u64,
    /// Whether the counters can be read.
    pub counts: bool,
    /// Why listeners cannot be seen.
    pub unseen: Option<String>,
}

impl History {
    /// Adds an event. Counters that go on moving are one event, so that a long overflow does not
    /// drive out everything else.
    pub(super) fn add(&mut self, event: Event) {
        if let (Happening::Counted { grown }, Some(last)) = (&event.what, self.events.back_mut())
            && last.at == event.from
            && let Happening::Counted { grown: sum } = &mut last.what
        {
            for (name, by) in grown {
                match sum.iter_mut().find(|known| known.0 == *name) {
                    Some(known) => known.1 = known.1.saturating_add(*by),
                    None => sum.push((*name, *by)),
                }
            }
            last.at = event.at;
            return;
        }
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
            self.forgotten += 1;
        }
        self.events.push_back(event);
    }

    /// Whether what listens on a port is known.
    pub fn watches(&self, port: u16) -> bool {
        let passed_over = self.passed_over.as_ref().is_some_and(|range| range.contains(&port));
        self.unseen.is_none() && (self.ports.contains_key(&port) || self.every_port && !passed_over)
    }

    /// Events that can have happened from `from` to `to`, of a port or of the whole host.
    pub fn between(
        &self,
        from: Timestamp,
        to: Timestamp,
        port: u16,
    ) -> impl DoubleEndedIterator<Item = &Event> {
        self.events.iter().filter(move |event| {
            event.overlaps(from, to) && event.port.is_none_or(|own| own == port)
        })
    }

    /// Whether the host was watched from `from` to `to`, and everything that happened is remembered.
    pub fn covers(&self, from: Timestamp, to: Timestamp) -> bool {
        let remembered = match self.events.front() {
            Some(oldest) if self.forgotten > 0 => oldest.at < from,
            _ => true,
        };
        remembered && self.seen.is_some_and(|(first, last)| first <= from && to <= last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(from: i64, at: i64, by: u64) -> Event {
        let what = Happening::Counted { grown: vec![("ListenOverflows", by)] };
        Event { from: Timestamp(from), at: Timestamp(at), port: None, what }
    }

    fn oom(at: i64) -> Event {
        let what = Happening::OomKills { killed: 1 };
        Event { from: Timestamp(at - 1), at: Timestamp(at), port: None, what }
    }

    #[test]
    fn counters_that_go_on_moving_are_one_event() {
        let mut history = History::default();
        history.add(counted(0, 1, 5));
        history.add(counted(1, 2, 7));
        history.add(counted(3, 4, 1));
        let found: Vec<_> =
            history.events.iter().map(|event| (event.at.0, event.what.clone())).collect();
        let sum = |by| Happening::Counted { grown: vec![("ListenOverflows", by)] };
        assert_eq!(found, [(2, sum(12)), (4, sum(1))]);
    }

    #[test]
    fn the_oldest_events_are_forgotten_and_counted() {
        let mut history =
            History { seen: Some((Timestamp(0), Timestamp(5000))), ..History::default() };
        for at in 1..=EVENTS_MAX as i64 + 3 {
            history.add(oom(at));
        }
        assert_eq!((history.events.len(), history.forgotten), (EVENTS_MAX, 3));
        assert!(
            !history.covers(Timestamp(2), Timestamp(3))
                && history.covers(Timestamp(10), Timestamp(20))
        );
        assert!(!history.covers(Timestamp(10), Timestamp(6000)));
        assert_eq!(history.between(Timestamp(10), Timestamp(11), 80).count(), 3);
    }
}
