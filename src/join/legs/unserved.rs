//! A request for which a proxy asked no target: what else was going on.

use super::leg::Leg;
use super::tie::Tie;
use crate::http::State;
use crate::packet::Endpoint;
use hashbrown::HashMap;

/// How long what happened at a target counts, nanoseconds: common times for which proxies leave a
/// failed target alone (nginx `fail_timeout` 10 s, HAProxy's checks every 2 s, Apache `retry` 60 s).
const LATELY: i64 = 60_000_000_000;
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
}

impl Unserved {
    pub(super) fn of(front: usize, legs: &[Leg], ties: &[Option<Tie>]) -> Unserved {
        let request = &legs[front];
        let end = request.answered.unwrap_or(request.over).at;
        let mut latest: HashMap<Endpoint, bool> = HashMap::new();
        let mut busy = 0;
        let before = legs[..front].iter().zip(ties).rev().take(LOOKED_AT);
        for (leg, tie) in before {
            if request.asked.at.nanos_since(leg.asked.at) > LATELY {
                break;
            }
            let checks = || leg.client.ip != request.client.ip && leg.server != request.server;
            if !request.at_the_host_of(leg) || !(tie.is_some() || checks()) {
                continue;
            }
            if leg.over.at > end {
                busy += 1;
            }
            let failed = leg.state != State::Answered || leg.status.is_none_or(|it| it >= 500);
            if leg.over.at <= request.asked.at {
                latest.entry(leg.server).or_insert(failed);
            } else {
                // It has not failed yet.
                latest.entry(leg.server).or_insert(false);
            }
        }
        Unserved {
            waited: end.nanos_since(request.whole.at).max(0),
            busy,
            targets: latest.len() as u64,
            failing: latest.values().filter(|failed| **failed).count() as u64,
        }
    }
}
