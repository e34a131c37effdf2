//! When interfaces gave no packets: what passed meanwhile is not in the capture, and no verdict is
//! sure that rests on it.

use crate::time::Timestamp;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Outages remembered, of all interfaces; of further ones only the count and the last are.
const OUTAGES_MAX: usize = 1000;

/// Why an interface gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// There was no carrier: a cable without the other end.
    NoCarrier,
    /// It was set down.
    Down,
    /// It was deleted, or libpcap could not go on: it has to be opened again.
    Gone,
}

impl Reason {
    fn words(self) -> &'static str {
        match self {
            Reason::NoCarrier => "without carrier",
            Reason::Down => "down",
            Reason::Gone => "gone",
        }
    }
}

/// A while in which an interface gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outage {
    interface: usize,
    /// Which of its links, of `any`; empty: the interface itself.
    link: String,
    reason: Reason,
    from: Timestamp,
    /// `None`: it goes on.
    to: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct State {
    outages: Vec<Outage>,
    /// Those that were not remembered.
    further: u64,
}

/// The outages of all interfaces; shared by all that see them.
#[derive(Clone, Debug, Default)]
pub(super) struct Outages(Arc<Mutex<State>>);

impl Outages {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An interface gives nothing any more. Whether that is news.
    pub(super) fn begin(&self, interface: usize, reason: Reason, from: Timestamp) -> bool {
        self.begin_of(interface, "", reason, from)
    }

    /// The same of one of its links.
    pub(super) fn begin_of(
        &self,
        interface: usize,
        link: &str,
        reason: Reason,
        from: Timestamp,
    ) -> bool {
        let mut state = self.lock();
        if let Some(open) = state.open(interface, link) {
            // An interface that is down can be deleted, too.
            let worse = reason > open.reason;
            open.reason = open.reason.max(reason);
            return worse;
        }
        if state.outages.len() >= OUTAGES_MAX {
            state.further += 1;
            state.outages.pop();
        }
        let link = link.to_owned();
        state.outages.push(Outage { interface, link, reason, from, to: None });
        true
    }

    /// It is up and has a carrier: what only was down gives packets again. `Some`: so long it did not,
    /// nanoseconds.
    pub(super) fn up(&self, interface: usize, link: &str, to: Timestamp) -> Option<i64> {
        self.end(interface, link, to, |reason| reason < Reason::Gone)
    }

    /// It was opened again.
    pub(super) fn opened(&self, interface: usize, to: Timestamp) -> Option<i64> {
        self.end(interface, "", to, |_| true)
    }

    fn end(
        &self,
        interface: usize,
        link: &str,
        to: Timestamp,
        ends: fn(Reason) -> bool,
    ) -> Option<i64> {
        let mut state = self.lock();
        let open = state.open(interface, link).filter(|open| ends(open.reason))?;
        open.to = Some(to);
        Some(to.nanos_since(open.from))
    }

    /// Whether packets of the interface may be missing between two times, both of packets.
    pub(super) fn hides(&self, interface: usize, from: Timestamp, to: Timestamp) -> bool {
        self.lock().outages.iter().any(|outage| {
            let over_before = outage.to.is_some_and(|end| end < from);
            outage.interface == interface && outage.from <= to && !over_before
        })
    }

    /// What to say of an interface in the report.
    pub(super) fn words(&self, interface: usize) -> Vec<String> {
        let state = self.lock();
        let mut said: Vec<String> = state
            .outages
            .iter()
            .filter(|outage| outage.interface == interface)
            .map(Outage::words)
            .collect();
        if state.further > 0 && !said.is_empty() {
            said.push(format!("{} more such times are not listed", state.further));
        }
        said
    }
}

impl State {
    fn open(&mut self, interface: usize, link: &str) -> Option<&mut Outage> {
        let is_it = |outage: &&mut Outage| outage.interface == interface && outage.link == link;
        let mut last = self.outages.iter_mut().rev().filter(is_it);
        last.find(|outage| outage.to.is_none())
    }
}

impl Outage {
    fn words(&self) -> String {
        let Outage { link, reason, from, to, .. } = self;
        let until = match to {
            Some(to) => format!("to {to} ({})", seconds(to.nanos_since(*from))),
            None => "on, until the capture ended".to_owned(),
        };
        let reason = reason.words();
        let link = if link.is_empty() { String::new() } else { format!("{link}: ") };
        format!("{link}{reason} from {from} {until}: what passed meanwhile is not in the capture")
    }
}

/// A length of time in words.
pub(super) fn seconds(nanos: i64) -> String {
    format!("{:.1} s", nanos as f64 / 1e9)
}

/// What to say as an outage begins.
pub(super) fn begins(name: &str, reason: Reason) -> String {
    let reason = reason.words();
    format!("{name}: is {reason}: no packets; what spans this time is told less surely")
}

/// What to say as it ends.
pub(super) fn ends(name: &str, lasted: i64) -> String {
    format!("{name}: gives packets again, after {}", seconds(lasted))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * S)
    }

    #[test]
    fn what_spans_an_outage_is_hidden_and_what_does_not_is_not() {
        let outages = Outages::default();
        assert!(outages.begin(0, Reason::Down, at(10)));
        assert!(!outages.begin(0, Reason::Down, at(11)), "it is known");
        assert!(outages.hides(0, at(5), at(12)) && !outages.hides(0, at(5), at(9)));
        assert!(!outages.hides(1, at(5), at(12)), "another interface");
        assert_eq!(outages.up(0, "", at(13)), Some(3 * S));
        assert_eq!(outages.up(0, "", at(14)), None);
        assert!(outages.hides(0, at(9), at(20)) && outages.hides(0, at(11), at(12)));
        assert!(!outages.hides(0, at(14), at(20)));
        assert_eq!(
            outages.words(0),
            [
                "down from 1970-01-01T00:00:10.000000000Z to 1970-01-01T00:00:13.000000000Z (3.0 s): \
              what passed meanwhile is not in the capture"
            ]
        );
        assert!(outages.words(1).is_empty());
    }

    #[test]
    fn what_is_gone_has_to_be_opened_again() {
        let outages = Outages::default();
        assert!(outages.begin(0, Reason::Down, at(10)));
        assert!(outages.begin(0, Reason::Gone, at(11)), "it became worse");
        assert_eq!(outages.up(0, "", at(12)), None);
        assert_eq!(outages.opened(0, at(13)), Some(3 * S));
        outages.begin(0, Reason::NoCarrier, at(20));
        assert!(outages.words(0)[1].starts_with("without carrier from "), "{:?}", outages.words(0));
        assert!(outages.words(0)[1].contains("on, until the capture ended"));
    }

    #[test]
    fn links_of_any_go_down_one_by_one() {
        let outages = Outages::default();
        assert!(outages.begin_of(0, "eth0", Reason::Down, at(10)));
        assert!(outages.begin_of(0, "eth1", Reason::NoCarrier, at(11)));
        assert_eq!(outages.up(0, "eth0", at(13)), Some(3 * S));
        assert!(outages.hides(0, at(20), at(30)), "the other is still down");
        assert_eq!(outages.up(0, "eth1", at(40)), Some(29 * S));
        assert!(!outages.hides(0, at(41), at(42)));
        let said = outages.words(0);
        assert!(said[0].starts_with("eth0: down from "), "{said:?}");
        assert!(said[1].starts_with("eth1: without carrier from "), "{said:?}");
    }

    #[test]
    fn they_are_bounded_and_the_last_is_always_there() {
        let outages = Outages::default();
        for second in 0..OUTAGES_MAX as i64 + 5 {
            outages.begin(0, Reason::Down, at(2 * second));
            outages.up(0, "", at(2 * second + 1));
        }
        let said = outages.words(0);
        assert_eq!(said.len(), OUTAGES_MAX + 1);
        assert_eq!(said[OUTAGES_MAX], "5 more such times are not listed");
        assert!(outages.hides(0, at(2 * (OUTAGES_MAX as i64 + 4)), at(100_000)));
    }
}
