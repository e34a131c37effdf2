//! Connections of a proxy that fail at a steady pace: it checks its target, and no request waits for them.

use super::leg::Leg;
use crate::packet::{Address, Endpoint};
use crate::pattern::{PACES, ROW, steadiest};
use crate::time::Timestamp;
use hashbrown::HashMap;
use std::collections::BTreeMap;

/// Time in which a proxy opens a connection for a request that came, nanoseconds.
const AT_ONCE: i64 = 1_000_000;

/// Which of the legs, by position, are such connections.
pub(super) fn checks(legs: &[Leg]) -> Vec<bool> {
    let mut checks = vec![false; legs.len()];
    let mut of_target: BTreeMap<(Address, Endpoint), Vec<usize>> = BTreeMap::new();
    for (at, leg) in legs.iter().enumerate().filter(|(_, leg)| leg.ends.ordinal == 0) {
        of_target.entry((leg.ends.client.ip, leg.ends.server)).or_default().push(at);
    }
    of_target.retain(|_, list| list.len() >= ROW);
    if of_target.is_empty() {
        return checks;
    }
    let requests = Requests::of(legs);
    for mut left in of_target.into_values() {
        for _ in 0..PACES {
            let times: Vec<Timestamp> = left.iter().map(|at| legs[*at].ends.asked.at).collect();
            let Some((pace, rows)) = steadiest(&times) else { break };
            let members: Vec<usize> = rows.into_iter().map(|nth| left[nth]).collect();
            if !requests.call_for(&members, pace, legs) {
                members.iter().for_each(|at| checks[*at] = true);
            }
            left.retain(|at| members.binary_search(at).is_err());
        }
    }
    checks
}

/// When the requests at each host were complete.
struct Requests {
    at: HashMap<Address, Vec<Timestamp>>,
    /// At any address of the host that captured.
    local: Vec<Timestamp>,
}

impl Requests {
    fn of(legs: &[Leg]) -> Requests {
        let mut requests = Requests { at: HashMap::new(), local: Vec::new() };
        for leg in legs.iter().filter(|leg| leg.ends.ordinal > 0) {
            requests.at.entry(leg.ends.server.ip).or_default().push(leg.whole.at);
            if leg.local[1] {
                requests.local.push(leg.whole.at);
            }
        }
        requests.at.values_mut().for_each(|times| times.sort_unstable());
        requests.local.sort_unstable();
        requests
    }

    /// Whether these connections were opened for requests: they begin at once after some, and not by chance.
    fn call_for(&self, members: &[usize], pace: i64, legs: &[Leg]) -> bool {
        let follows = |moved: i64| {
            let begins = |at: &&usize| {
                let leg = &legs[**at];
                let from = leg.ends.asked.at.after(moved);
                let one = self.at.get(&leg.ends.client.ip).map_or(&[][..], Vec::as_slice);
                let other = if leg.local[0] { self.local.as_slice() } else { &[] };
                [one, other].into_iter().any(|times| {
                    let before = times.partition_point(|time| *time <= from);
                    let last = before.checked_sub(1).map(|last| times[last]);
                    last.is_some_and(|last| from.nanos_since(last) <= AT_ONCE)
                })
            };
            members.iter().filter(begins).count()
        };
        let found = follows(0);
        let moves = [3, 5, 8, 10].map(|part| pace * part / 13);
        let by_chance: usize = moves.into_iter().map(follows).sum();
        found * 8 >= members.len() && found * moves.len() > 2 * by_chance
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::legs::testing::{leg, refused};

    /// Connections at these times, milliseconds, and requests.
    fn of(connections: &[i64], requests: &[i64]) -> Vec<(i64, bool)> {
        let mut legs: Vec<Leg> = connections.iter().map(|at| refused(11, *at)).collect();
        legs.extend(requests.iter().map(|at| leg(1, 7, *at, *at + 90, 502)));
        legs.sort_by_key(|leg| leg.ends.asked.at);
        let checks = checks(&legs);
        let made = legs.iter().zip(checks).filter(|(leg, _)| leg.ends.ordinal == 0);
        made.map(|(leg, check)| (leg.ends.asked.at.0 / 1_000_000, check)).collect()
    }

    #[test]
    fn a_steady_pace_is_that_of_checks_and_what_lies_between_is_not() {
        let mut connections: Vec<i64> = (0..12).map(|n| n * 300 + n % 3).collect();
        connections.push(1003);
        let found = of(&connections, &[1000]);
        let other: Vec<i64> = found.iter().filter(|(_, check)| !check).map(|(at, _)| *at).collect();
        assert_eq!((found.len(), other), (13, vec![1003]));
    }

    #[test]
    fn another_pace_while_it_is_down_is_one_too() {
        let mut connections: Vec<i64> = (0..7).map(|n| n * 2000).collect();
        connections.extend((1..8).map(|n| 12_000 + n * 500));
        assert!(of(&connections, &[]).iter().all(|(_, check)| *check));
        // Few of them are none.
        assert!(of(&connections[..5], &[]).iter().all(|(_, check)| !check));
    }

    #[test]
    fn tries_for_one_request_after_the_other_are_no_checks() {
        // Four tries, one second apart, an error, and the next request.
        let requests: Vec<i64> = (0..5).map(|n| n * 4000 + 1).collect();
        let connections: Vec<i64> = (0..20).map(|n| n * 1000 + 2).collect();
        assert!(of(&connections, &requests).iter().all(|(_, check)| !check));
        // The same at other times.
        let requests: Vec<i64> = (0..5).map(|n| n * 3777 + 100).collect();
        assert!(of(&connections, &requests).iter().all(|(_, check)| *check));
    }
}
