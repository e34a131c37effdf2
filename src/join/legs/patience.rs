//! How long proxies wait for a connection that nobody answers.

use super::compare::is_possible;
use super::connections::{EXACTLY, GOES_ON};
use super::leg::Leg;
use crate::http::is_gateway_error;
use hashbrown::HashMap;

/// Connections after each request from which it is learned.
const LEARNED_FROM: usize = 64;

/// How long proxies wait for a connection that nobody answers: the time from such SYNs to the errors of requests
/// without any attempt that most of those errors have in common.
pub(super) fn patience(legs: &[Leg], attempts: &[Vec<usize>], checks: &[bool]) -> Option<i64> {
    /// Two may fall together by chance.
    const FEW: usize = 3;
    let is_silent = |at: &usize| {
        let leg = &legs[*at];
        leg.ends.ordinal == 0 && (leg.ends.closed_by.is_none() || leg.soft) && !checks[*at]
    };
    let silent: Vec<usize> = (0..legs.len()).filter(is_silent).collect();
    let mut waits: Vec<(i64, usize)> = Vec::new();
    let mut errors = 0;
    for (front, leg) in legs.iter().enumerate() {
        let gateway = leg.ends.status.is_some_and(is_gateway_error) || leg.was_dropped();
        let (since, until) = (leg.since(), leg.asked_until());
        // What took no time was refused.
        if leg.ends.ordinal == 0
            || !gateway
            || !attempts[front].is_empty()
            || until.nanos_since(since) <= GOES_ON
        {
            continue;
        }
        let from = silent.partition_point(|at| legs[*at].ends.asked.at < since);
        let opened = silent[from..]
            .iter()
            .filter(|at| is_possible(leg, &legs[**at]))
            .map(|at| until.nanos_since(legs[*at].ends.asked.at))
            .take_while(|wait| *wait >= 0)
            .take(LEARNED_FROM);
        let before = waits.len();
        waits.extend(opened.map(|wait| (wait, front)));
        errors += usize::from(waits.len() > before);
    }
    waits.sort_unstable();
    let mut best = (0, 0);
    let mut to = 0;
    let mut within: HashMap<usize, usize> = HashMap::new();
    for from in 0..waits.len() {
        while to < waits.len() && waits[to].0 - waits[from].0 <= EXACTLY {
            *within.entry(waits[to].1).or_default() += 1;
            to += 1;
        }
        best = best.max((within.len(), waits[from].0));
        let front = waits[from].1;
        if within.get_mut(&front).is_some_and(|times| {
            *times -= 1;
            *times == 0
        }) {
            within.remove(&front);
        }
    }
    (best.0 >= FEW && best.0 * 2 > errors).then_some(best.1)
}
