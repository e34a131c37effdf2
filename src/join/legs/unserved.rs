//! A request for which a proxy asked no target: what else was going on.

use super::compare::SLACK;
use super::connections::DROPPED;
use super::leg::Leg;
use super::tie::Tie;
use crate::packet::Endpoint;
use crate::time::Timestamp;
use hashbrown::HashMap;

/// How long what happened at a target counts, nanoseconds: common times for which proxies leave a
/// failed target alone (nginx `fail_timeout` 10 s, HAProxy's checks every 2 s, Apache `retry` 60 s).
const LATELY: i64 = 60_000_000_000;
/// Time until a SYN is sent again, nanoseconds (RFC 6298, 2.1).
const SYN_AGAIN: i64 = 1_000_000_000;
/// Legs looked at before one request.
const LOOKED_AT: usize = 1 << 14;

/// Why a proxy may have asked nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unserved {
    /// From the request to the answer, nanoseconds.
    pub waited: i64,
    /// Requests that targets were working on all that time.
    pub busy: u64,
    /// Targets that the proxy had asked lately.
    pub targets: u64,
    /// Those of them of which the latest attempt had failed.
    pub failing: u64,
    /// A target to which a connection failed in the moment of the answer, or that had not answered one by then.
    /// Several requests may wait for one connection, as in Envoy's pool.
    pub just_failed: Option<Endpoint>,
}

impl Unserved {
    pub(super) fn of(front: usize, legs: &[Leg], ties: &[Option<Tie>]) -> Unserved {
        let request = &legs[front].ends;
        let end = request.answered.unwrap_or(request.over).at;
        let mut latest: HashMap<Endpoint, bool> = HashMap::new();
        let mut busy = 0;
        let before = legs[..front].iter().zip(ties).rev().take(LOOKED_AT);
        for (leg, tie) in before {
            let ends = &leg.ends;
            if request.asked.at.nanos_since(ends.asked.at) > LATELY {
                break;
            }
            let checks = || ends.client.ip != request.client.ip && ends.server != request.server;
            if !legs[front].at_the_host_of(leg) || !(tie.is_some() || checks()) {
                continue;
            }
            if ends.over.at > end && ends.ordinal > 0 {
                busy += 1;
            }
            if ends.over.at <= request.asked.at {
                latest.entry(ends.server).or_insert(ends.failed());
            } else {
                // It has not failed yet.
                latest.entry(ends.server).or_insert(false);
            }
        }
        Unserved {
            waited: end.nanos_since(legs[front].whole.at).max(0),
            busy,
            targets: latest.len() as u64,
            failing: latest.values().filter(|failed| **failed).count() as u64,
            just_failed: just_failed(front, legs, end),
        }
    }
}

/// A target to which a connection of the proxy failed at once before `end`, or was being opened in vain, while the
/// request waited.
fn just_failed(front: usize, legs: &[Leg], end: Timestamp) -> Option<Endpoint> {
    let came = legs[front].whole.at;
    let before = legs[..front].iter().rev().take(LOOKED_AT);
    let after = legs[front..].iter().take_while(|leg| leg.ends.asked.at <= end).take(LOOKED_AT);
    let failed = |leg: &&Leg| {
        let (made, since) = (&leg.ends, end.nanos_since(leg.ends.over.at));
        let in_time = match made.closed_by {
            Some(_) => made.over.at >= came && (-SLACK..=DROPPED).contains(&since),
            // Who gives up a connection that nobody answers sends nothing.
            None => end.nanos_since(came) > DROPPED && since <= SYN_AGAIN,
        };
        made.ordinal == 0 && in_time && legs[front].at_the_host_of(leg)
    };
    before.chain(after).find(failed).map(|leg| leg.ends.server)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::legs::testing::{leg, mark, refused};

    #[test]
    fn a_connection_that_fails_when_the_proxy_answers_may_have_been_that_of_several_requests() {
        let failed = |asked_at, failed_at: i64| {
            let mut connection = refused(11, 2);
            connection.ends.over = mark(failed_at * 1_000_000);
            let legs = [connection, leg(1, 7, asked_at, 40, 503)];
            Unserved::of(1, &legs, &[None, None]).just_failed.is_some()
        };
        assert!(failed(3, 39));
        // Long before, or before the request came.
        assert!(!failed(3, 20) && !failed(40, 39));
    }
}
