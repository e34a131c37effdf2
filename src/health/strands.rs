//! Several probers whose checks look the same.
//!
//! A kubelet's probes for liveness and readiness often ask the same of one port. Each has its own timer and its own
//! thresholds, so one failure in a row of the one is none of the other. Where the timer counts from the start of a
//! check, as a kubelet's does, the checks of each keep their own phase.

use super::target::Check;
use std::collections::BTreeMap;

/// Probers that are told apart: liveness, readiness and startup, and one to spare.
const STRANDS_MAX: usize = 4;
/// Checks of a strand, at least.
const CHECKS_MIN: usize = 5;
/// What a check may be off, as a share of the period, and nanoseconds: kubelets are busy at times.
const WITHIN: f64 = 0.03;
const WITHIN_MAX: f64 = 300e6;
/// Share of the times of a strand at which a check has to come.
const KEPT: f64 = 0.9;
/// What steps of one timer may be off, as a share of them, and what share of all steps they are.
const EQUAL: f64 = 0.2;
const ONE: f64 = 0.7;
/// Checks after the first one that may be the second of its strand.
const AHEAD: usize = 24;

/// Which strand each of `checks` (ascending, of one source) belongs to; empty unless there are several.
pub(super) fn strands(checks: &[&Check]) -> Vec<usize> {
    let times: Vec<f64> = checks.iter().map(|check| check.began.0 as f64).collect();
    if is_one(&times) {
        return Vec::new();
    }
    let mut strand = vec![None; times.len()];
    for number in 0..STRANDS_MAX {
        let left: Vec<usize> = (0..times.len()).filter(|at| strand[*at].is_none()).collect();
        let Some(members) = first_strand(&times, &left) else { break };
        members.iter().for_each(|at| strand[*at] = Some(number));
        if members.len() == left.len() {
            let all: Vec<usize> = strand.into_iter().flatten().collect();
            return if number > 0 { all } else { Vec::new() };
        }
    }
    Vec::new()
}

/// Whether most come in equal steps: one timer, of a host that is busy at times.
fn is_one(times: &[f64]) -> bool {
    let mut gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable_by(f64::total_cmp);
    let Some(usual) = gaps.get(gaps.len() / 2).copied() else { return true };
    let equal = gaps.iter().filter(|gap| (*gap - usual).abs() <= EQUAL * usual).count();
    equal as f64 >= ONE * gaps.len() as f64
}

/// The strand of the first of those that are `left`: the one with the most checks.
fn first_strand(times: &[f64], left: &[usize]) -> Option<Vec<usize>> {
    let first = *left.first()?;
    let ahead = left.iter().skip(1).take(AHEAD);
    let found = ahead.filter_map(|next| with_period(times, left, times[*next] - times[first]));
    found.max_by_key(Vec::len)
}

/// Those that come with that period from the first on, if they come nearly always until the capture ends.
fn with_period(times: &[f64], left: &[usize], period: f64) -> Option<Vec<usize>> {
    let within = (WITHIN * period).min(WITHIN_MAX);
    let (mut members, mut missing) = (vec![*left.first()?], 0);
    let mut due = times[members[0]] + period;
    let last = times[*left.last()?];
    // Checks of two probers in the same moment have no period, and of a very short one all are missing.
    while period > 0.0 && due <= last + within && missing <= left.len() {
        let near = left.partition_point(|at| times[*at] < due - within);
        let near = left[near..].iter().take_while(|at| times[**at] <= due + within);
        let nearest =
            near.min_by(|a, b| (times[**a] - due).abs().total_cmp(&(times[**b] - due).abs()));
        match nearest {
            Some(at) => {
                members.push(*at);
                due = times[*at] + period;
            }
            None => {
                missing += 1;
                due += period;
            }
        }
    }
    let kept = members.len() as f64 >= KEPT * (members.len() + missing) as f64;
    (kept && members.len() >= CHECKS_MIN).then_some(members)
}

/// The checks by their strands, where there are several and a single source has all of them.
pub(super) fn split<'a>(checks: impl Iterator<Item = &'a Check>) -> Vec<Vec<Check>> {
    let checks: Vec<&Check> = checks.collect();
    let alone = checks.windows(2).all(|pair| pair[0].source.ip == pair[1].source.ip);
    let mut parts: BTreeMap<usize, Vec<Check>> = BTreeMap::new();
    for (check, strand) in checks.iter().zip(if alone { strands(&checks) } else { Vec::new() }) {
        parts.entry(strand).or_default().push(Check::clone(check));
    }
    parts.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{MS, check};
    use super::*;
    use crate::time::Timestamp;

    /// Checks at these milliseconds.
    fn checks(mut times: Vec<i64>) -> Vec<Check> {
        times.sort_unstable();
        let at = |at: &i64| Check { began: Timestamp(at * MS), ..check(1, 1, '+') };
        times.iter().map(at).collect()
    }

    fn every(from: i64, period: i64, until: i64) -> impl Iterator<Item = i64> {
        (from..until).step_by(period as usize)
    }

    fn parts(times: Vec<i64>) -> Vec<usize> {
        split(checks(times).iter()).iter().map(Vec::len).collect()
    }

    #[test]
    fn probes_with_timers_of_their_own_are_told_apart() {
        let two = |a: i64, b: i64| every(0, a, 120_000).chain(every(1_700, b, 120_000)).collect();
        assert_eq!(parts(two(10_000, 10_000)), [12, 12]);
        assert_eq!(parts(two(5_000, 10_000)), [24, 12]);
        assert_eq!(parts(two(10_000, 3_000)), [12, 40]);
        // In the same moments.
        let same = every(0, 10_000, 120_000).chain(every(0, 10_000, 120_000)).collect();
        assert_eq!(parts(same), [12, 12]);
        let three = every(0, 10_000, 120_000).chain(every(3, 10_000, 120_000));
        assert_eq!(parts(three.chain(every(4_500, 5_000, 120_000)).collect()), [12, 12, 24]);
    }

    #[test]
    fn what_is_one_prober_or_none_stays_together() {
        assert_eq!(parts(every(0, 10_000, 200_000).collect()), [0; 0]);
        // Short steps of a busy host.
        let busy = (0..60).map(|n: i64| n * 500 + n * 7_919 % 40 + n / 20 * 190).collect();
        assert_eq!(parts(busy), [0; 0]);
        // One that is late at times, and one that was away.
        let late = every(0, 10_000, 200_000).map(|at| at + at / 10_000 % 3 * 40).collect();
        assert_eq!(parts(late), [0; 0]);
        let away = every(0, 2_000, 60_000).chain(every(90_700, 2_000, 150_000)).collect();
        assert_eq!(parts(away), [0; 0]);
        let chance = (1..60).map(|n: i64| n * 2_000 + n * n * 7_919 % 1_900).collect();
        assert_eq!(parts(chance), [0; 0]);
    }
}
