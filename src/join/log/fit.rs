//! Whether a line and an exchange can belong together, and what their times say of the clocks.

use super::clock::Clock;
use super::entry::Entry;
use super::seen::{Known, Seen};
use crate::packet::Endpoint;
use crate::time::Timestamp;

/// Which side of the proxy an exchange is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Leg {
    /// Between the client that the log names and the proxy; or the log is that of the target itself.
    Front,
    /// Between the proxy and its target.
    Back,
}

/// How a line and a flow go together by their addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) leg: Leg,
    /// The log has a port that only this connection has.
    pub(super) by_port: bool,
}

/// How an entry and a flow go together by their addresses; `None`: they do not.
pub(super) fn addresses(entry: &Entry, flow: &Known) -> Option<Match> {
    let found = |leg, by_port| Some(Match { leg, by_port });
    if entry.client_port().is_some_and(|client| client == flow.client) {
        return found(Leg::Front, true);
    }
    if let Some(local) = entry.local()
        && !entry.undispatched
    {
        if local == flow.client {
            return found(Leg::Back, true);
        }
        // A proxy that tries again logs the address of its last attempt.
        if entry.names_targets() && !entry.names(flow.server) {
            return None;
        }
    }
    if entry.names_targets() {
        if entry.names(flow.server) {
            return found(Leg::Back, false);
        }
        return client_without_port(entry, flow)
            .then_some(Match { leg: Leg::Front, by_port: false });
    }
    if client_without_port(entry, flow) {
        return found(Leg::Front, false);
    }
    // A line that names neither client nor target is of an answer of the proxy, or of a target.
    match (entry.undispatched, entry.client) {
        (false, _) => found(Leg::Back, false),
        (true, None) => found(Leg::Front, false),
        (true, Some(_)) => None,
    }
}

fn client_without_port(entry: &Entry, flow: &Known) -> bool {
    entry.client.is_some_and(|client| client.port == 0 && client.ip == flow.client.ip)
}

/// The lowest and the highest offset of the clocks at which a line fits what was captured from
/// `first` to `last`.
pub(super) fn span(entry: &Entry, leg: Leg, first: Timestamp, last: Timestamp) -> (i64, i64) {
    let between = |low: i64, high: i64| if low <= high { (low, high) } else { (high, low) };
    let since = |captured: Timestamp, logged: Timestamp| captured.nanos_since(logged);
    let exact = |captured: Timestamp, logged: Timestamp| {
        let apart = since(captured, logged);
        between(apart.saturating_sub(entry.resolution), apart)
    };
    let (began, sent, ended) = (entry.began.get(), entry.sent.get(), entry.ended.get());
    match (began, sent, ended) {
        (_, Some(sent), _) if leg == Leg::Back => exact(first, sent),
        (Some(began), _, _) if leg == Leg::Front && ended != Some(began) => exact(first, began),
        (Some(began), _, Some(ended)) => {
            let latest = if ended == began { first } else { last };
            let low = since(latest, ended).saturating_sub(entry.resolution);
            // A line whose only time may be that of either end lies between them.
            let high = if ended == began { since(last, began) } else { since(first, began) };
            between(low, high)
        }
        (Some(began), ..) => exact(first, began),
        (_, _, Some(ended)) => exact(last, ended),
        (_, Some(sent), _) => exact(first, sent),
        _ => (i64::MIN / 4, i64::MAX / 4),
    }
}

/// How far from what the clock says, nanoseconds; 0 where it fits. `None`: too far.
pub(super) fn distance(span: (i64, i64), clock: &Clock) -> Option<i64> {
    let (low, high) = span;
    let below = low.saturating_sub(clock.offset);
    let outside = below.max(clock.offset.saturating_sub(high)).max(0);
    (outside <= clock.tolerance).then_some(outside)
}

/// How far an exchange is from the time of a line. A later attempt, after one that failed, is
/// anywhere before the proxy was done.
pub(super) fn times(
    entry: &Entry,
    leg: Leg,
    first: Timestamp,
    last: Timestamp,
    clock: &Clock,
) -> Option<i64> {
    distance(span(entry, leg, first, last), clock).or_else(|| {
        let (began, ended) = entry.began.get().zip(entry.ended.get())?;
        let (low, high) =
            (first.nanos_since(ended).saturating_sub(entry.resolution), first.nanos_since(began));
        (leg == Leg::Back && low <= high)
            .then(|| distance((low, high), clock))?
            .map(|outside| outside + LATER)
    })
}

/// How far an exchange's ends are from those of a line, nanoseconds: among lines that fit, the one it
/// belongs to is nearest.
pub(super) fn apart(entry: &Entry, first: Timestamp, last: Timestamp, clock: &Clock) -> i64 {
    let from = |captured: Timestamp, logged: Option<Timestamp>| {
        let past = captured.nanos_since(logged?.after(clock.offset));
        // What a log cuts off may lie between.
        Some((past.saturating_sub(entry.resolution)).max(-past).max(0))
    };
    let (began, ended) = (entry.began.get().or(entry.sent.get()), entry.ended.get());
    match (from(first, began), from(last, ended)) {
        // Its only time may be that of either end.
        (Some(one), Some(other)) if began == ended => one.min(other),
        (Some(one), Some(other)) => one.saturating_add(other),
        (one, other) => one.or(other).unwrap_or(0),
    }
}

/// What a later attempt counts as further away, nanoseconds: less than any first attempt that fits.
const LATER: i64 = 1_000_000;

/// Whether both give the same answer of the target, as far as both have one.
pub(super) fn same_status(entry: &Entry, leg: Leg, server: Endpoint, seen: &Seen) -> bool {
    let logged = match leg {
        Leg::Front => entry.status.filter(|status| *status > 0),
        Leg::Back => entry.answer_of(server),
    };
    match (logged, seen.status) {
        (Some(logged), Some(seen)) => logged == seen,
        // A target that gave an answer of which the log knows nothing.
        (None, Some(_)) => entry.attempts.is_empty() || leg == Leg::Front || !seen.whole,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{entry, known};
    use super::*;

    const MS: i64 = 1_000_000;

    #[test]
    fn ports_tell_the_leg() {
        let line = entry(|it| it.client = Some(Endpoint::v4([203, 0, 113, 7], 40_001)));
        let front = known([203, 0, 113, 7], 40_001, [10, 0, 0, 5], 80);
        assert_eq!(addresses(&line, &front), Some(Match { leg: Leg::Front, by_port: true }));
        let back = known([10, 0, 0, 5], 50_000, [10, 0, 0, 9], 8080);
        assert_eq!(addresses(&line, &back), Some(Match { leg: Leg::Back, by_port: false }));
        let unsent = entry(|it| {
            it.client = Some(Endpoint::v4([203, 0, 113, 7], 40_001));
            it.undispatched = true;
        });
        assert_eq!(addresses(&unsent, &back), None);
    }

    #[test]
    fn another_target_is_no_match() {
        let line = entry(|it| it.target([10, 0, 0, 9], 8080));
        assert!(addresses(&line, &known([10, 0, 0, 5], 5, [10, 0, 0, 9], 8080)).is_some());
        assert!(addresses(&line, &known([10, 0, 0, 5], 5, [10, 0, 0, 8], 8080)).is_none());
    }

    #[test]
    fn times_give_the_offsets_that_fit() {
        let at = |ms: i64| Timestamp(ms * MS);
        let maybe = |ms: i64| Some(at(ms)).into();
        let precise = entry(|it| {
            (it.began, it.sent, it.ended) = (maybe(0), maybe(2), maybe(100));
        });
        assert_eq!(span(&precise, Leg::Back, at(1002), at(1090)), (999 * MS, 1000 * MS));
        assert_eq!(span(&precise, Leg::Front, at(1000), at(1100)), (999 * MS, 1000 * MS));
        let nested = entry(|it| (it.began, it.ended) = (maybe(0), maybe(100)));
        assert_eq!(span(&nested, Leg::Back, at(1010), at(1090)), (989 * MS, 1010 * MS));
        let clock = Clock { offset: 1000 * MS, tolerance: 4 * MS, ..Clock::default() };
        assert_eq!(times(&nested, Leg::Back, at(1010), at(1090), &clock), Some(0));
        assert_eq!(times(&nested, Leg::Back, at(2010), at(2090), &clock), None);
        // The second attempt of a request whose first was sent at 2.
        assert!(times(&precise, Leg::Back, at(1050), at(1090), &clock) >= Some(LATER));
    }
}
