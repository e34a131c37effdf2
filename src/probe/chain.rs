//! The attempts of one prober among those of others: a chain of equal steps.
//!
//! A target that refuses its checks refuses users, too, and both look alike. What tells a check is that it
//! comes when the prober's timer says.

use super::sighting::{Shape, Sighting};
use std::ops::RangeInclusive;

/// How many chains as long as this one may be expected by chance.
const BY_CHANCE: f64 = 0.01;

/// An attempt that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Attempt {
    /// When it came, nanoseconds.
    pub(super) at: i64,
    /// Nobody answered it, so that its prober waited until its time-out.
    pub(super) silent: bool,
}

/// Nanoseconds from a check to the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Steps {
    /// After one that was answered, if only by RST.
    pub(super) answered: RangeInclusive<i64>,
    /// After one that nobody answered.
    pub(super) silent: RangeInclusive<i64>,
}

impl Attempt {
    /// A candidate that failed.
    pub(super) fn of(sighting: &Sighting) -> Attempt {
        Attempt { at: sighting.began().0, silent: sighting.shape != Shape::Refused }
    }
}

impl Steps {
    fn after(&self, attempt: Attempt) -> &RangeInclusive<i64> {
        if attempt.silent { &self.silent } else { &self.answered }
    }

    /// Nanoseconds between the earliest and the latest time of the check after one of `attempts`.
    fn width(&self, attempts: &[Attempt]) -> i64 {
        let width = |step: &RangeInclusive<i64>| step.end().saturating_sub(*step.start());
        attempts.iter().map(|attempt| width(self.after(*attempt))).max().unwrap_or(0)
    }
}

/// The longest run of `attempts` (ascending) each of which comes one of `steps` after the one before,
/// without those that are so close to others that it is chance which fits; empty when chance may have
/// made it.
pub(super) fn chain(attempts: &[Attempt], steps: &Steps) -> Vec<Attempt> {
    let near = steps.width(attempts);
    let apart = |one: Attempt, other: &Attempt| other.at.abs_diff(one.at) >= near.unsigned_abs();
    let alone: Vec<Attempt> = attempts
        .iter()
        .enumerate()
        .filter(|(at, attempt)| {
            at.checked_sub(1).is_none_or(|before| apart(**attempt, &attempts[before]))
                && attempts.get(at + 1).is_none_or(|after| apart(**attempt, after))
        })
        .map(|(_, attempt)| *attempt)
        .collect();
    // For each how long the longest chain is that ends there, and where that comes from.
    let mut ends: Vec<(usize, Option<usize>)> = vec![(1, None); alone.len()];
    for (before, attempt) in alone.iter().enumerate() {
        let step = steps.after(*attempt);
        let from = attempt.at.saturating_add(*step.start());
        let first = alone.partition_point(|next| next.at < from).max(before + 1);
        let length = ends[before].0 + 1;
        for next in first..alone.len() {
            if !step.contains(&alone[next].at.saturating_sub(attempt.at)) {
                break;
            }
            if length > ends[next].0 {
                ends[next] = (length, Some(before));
            }
        }
    }
    let mut last = (0..alone.len()).max_by_key(|at| ends[*at].0);
    let mut found = Vec::new();
    while let Some(at) = last {
        found.push(alone[at]);
        last = ends[at].1;
    }
    found.reverse();
    if is_chance(attempts, found.len(), near) { Vec::new() } else { found }
}

/// Whether attempts that come at any time, as many as there are beside the chain, may well make one
/// of that `length` with steps of that `width`.
fn is_chance(attempts: &[Attempt], length: usize, width: i64) -> bool {
    let (Some(first), Some(last)) = (attempts.first(), attempts.last()) else { return true };
    let others = (attempts.len() - length) as f64;
    let span = last.at.saturating_sub(first.at).max(1) as f64;
    let hit = 1.0 - (-others * width as f64 / span).exp();
    let expected = attempts.len() as f64 * hit.powi(length.saturating_sub(1) as i32);
    length < 2 || expected > BY_CHANCE
}

#[cfg(test)]
mod tests {
    use super::super::testing::{SECOND, every, irregular};
    use super::*;

    const STEP: RangeInclusive<i64> = SECOND * 98 / 100..=SECOND * 102 / 100;
    const STEPS: Steps = Steps { answered: STEP, silent: STEP };

    fn refused(times: &[i64]) -> Vec<Attempt> {
        times.iter().map(|at| Attempt { at: *at, silent: false }).collect()
    }

    fn mixed(lists: &[&[i64]]) -> Vec<Attempt> {
        let mut all = refused(&lists.concat());
        all.sort_unstable();
        all
    }

    #[test]
    fn checks_are_found_among_attempts_that_come_at_any_time() {
        let checks: Vec<i64> = every(1.002, 20).map(|at| at + SECOND / 3).collect();
        assert_eq!(chain(&refused(&checks), &STEPS), refused(&checks));
        for seed in 0..20 {
            let users = irregular(1.0, 20, seed);
            let found = chain(&mixed(&[&checks, &users]), &STEPS);
            let wrong = found.iter().filter(|it| !checks.contains(&it.at)).count();
            assert!(wrong <= 1, "{seed}: {wrong} users among {}", found.len());
        }
    }

    #[test]
    fn the_step_depends_on_whether_the_check_before_was_answered() {
        let steps = Steps { silent: 2 * STEP.start()..=2 * STEP.end(), ..STEPS };
        let mut at = 0;
        let checks: Vec<Attempt> = (0..24)
            .map(|turn| {
                let check = Attempt { at, silent: turn % 12 >= 6 };
                at += if check.silent { 2 * SECOND } else { SECOND };
                check
            })
            .collect();
        assert_eq!(chain(&checks, &steps), checks);
        assert!(chain(&checks, &STEPS).len() < checks.len());
    }

    #[test]
    fn attempts_that_come_at_any_time_make_no_chain() {
        let longest = (0..200)
            .flat_map(|seed| [0.1, 0.5, 1.0].map(|pause| irregular(pause, 40, seed)))
            .map(|users| chain(&refused(&users), &STEPS).len())
            .filter(|length| *length >= 3)
            .count();
        assert!(longest <= 6, "{longest} of 600");
    }

    #[test]
    fn a_client_that_asks_again_at_once_breaks_the_chain_of_its_proxys_retries() {
        // Three retries a second apart each time, the next request right after.
        let tries: Vec<i64> = (0..10)
            .flat_map(|turn| (0..4).map(move |retry| turn * 3_003_000_000 + retry * 1_001_000_000))
            .collect();
        assert!(chain(&refused(&tries), &STEPS).len() <= 4);
    }

    #[test]
    fn nothing_makes_nothing() {
        let all = |step: RangeInclusive<i64>| Steps { answered: step.clone(), silent: step };
        assert!(chain(&[], &STEPS).is_empty() && chain(&refused(&[5]), &STEPS).is_empty());
        assert!(chain(&refused(&[7; 10]), &STEPS).is_empty());
        let far = refused(&[i64::MIN, -1, 0, i64::MAX]);
        assert!(chain(&far, &all(i64::MIN..=i64::MAX)).is_empty());
        assert!(chain(&far, &all(0..=i64::MAX)).is_empty());
    }
}
