//! The attempts of one prober among those of others: a chain of equal steps.
//!
//! A target that refuses its checks refuses users, too, and both look alike. What tells a check is that it
//! comes when the prober's timer says.

use std::ops::RangeInclusive;

/// How many chains as long as this one may be expected by chance.
const BY_CHANCE: f64 = 0.01;

/// The longest run of `arrivals` (nanoseconds, ascending) each of which comes one of `steps` after the
/// one before, without those that are so close to others that it is chance which fits; empty when chance
/// may have made it.
pub(super) fn chain(arrivals: &[i64], steps: &RangeInclusive<i64>) -> Vec<i64> {
    let near = steps.end().saturating_sub(*steps.start());
    let alone: Vec<i64> = arrivals
        .iter()
        .enumerate()
        .filter(|(at, arrival)| {
            let apart = |other: &i64| other.saturating_sub(**arrival).saturating_abs() >= near;
            at.checked_sub(1).is_none_or(|before| apart(&arrivals[before]))
                && arrivals.get(at + 1).is_none_or(apart)
        })
        .map(|(_, arrival)| *arrival)
        .collect();
    // For each the longest chain that ends there, and where that comes from.
    let mut ends: Vec<(usize, Option<usize>)> = Vec::with_capacity(alone.len());
    for (at, arrival) in alone.iter().enumerate() {
        let before =
            (0..at).filter(|before| steps.contains(&arrival.saturating_sub(alone[*before])));
        let longest = before.max_by_key(|before| ends[*before].0);
        ends.push((longest.map_or(1, |before| ends[before].0 + 1), longest));
    }
    let mut last = (0..alone.len()).max_by_key(|at| ends[*at].0);
    let mut found = Vec::new();
    while let Some(at) = last {
        found.push(alone[at]);
        last = ends[at].1;
    }
    found.reverse();
    if is_chance(arrivals, found.len(), steps) { Vec::new() } else { found }
}

/// Whether attempts that come at any time, as many as there are beside the chain, may well make one
/// of that `length`.
fn is_chance(arrivals: &[i64], length: usize, steps: &RangeInclusive<i64>) -> bool {
    let (Some(first), Some(last)) = (arrivals.first(), arrivals.last()) else { return true };
    let others = (arrivals.len() - length) as f64;
    let width = steps.end().saturating_sub(*steps.start()) as f64;
    let span = last.saturating_sub(*first).max(1) as f64;
    let hit = 1.0 - (-others * width / span).exp();
    let expected = arrivals.len() as f64 * hit.powi(length.saturating_sub(1) as i32);
    length < 2 || expected > BY_CHANCE
}

#[cfg(test)]
mod tests {
    use super::super::testing::{SECOND, every, irregular};
    use super::*;

    const STEPS: RangeInclusive<i64> = SECOND * 98 / 100..=SECOND * 102 / 100;

    fn mixed(lists: &[&[i64]]) -> Vec<i64> {
        let mut all = lists.concat();
        all.sort_unstable();
        all
    }

    #[test]
    fn checks_are_found_among_attempts_that_come_at_any_time() {
        let checks: Vec<i64> = every(1.002, 20).map(|at| at + SECOND / 3).collect();
        assert_eq!(chain(&checks, &STEPS), checks);
        for seed in 0..20 {
            let users = irregular(1.0, 20, seed);
            let found = chain(&mixed(&[&checks, &users]), &STEPS);
            let wrong = found.iter().filter(|at| !checks.contains(at)).count();
            assert!(wrong <= 1, "{seed}: {wrong} users among {}", found.len());
        }
    }

    #[test]
    fn attempts_that_come_at_any_time_make_no_chain() {
        let longest = (0..200)
            .flat_map(|seed| [0.1, 0.5, 1.0].map(|pause| irregular(pause, 40, seed)))
            .map(|users| chain(&users, &STEPS).len())
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
        assert!(chain(&tries, &STEPS).len() <= 4);
    }

    #[test]
    fn nothing_makes_nothing() {
        assert!(chain(&[], &STEPS).is_empty() && chain(&[5], &STEPS).is_empty());
        assert!(chain(&[7; 10], &STEPS).is_empty());
        assert!(chain(&[i64::MIN, -1, 0, i64::MAX], &(i64::MIN..=i64::MAX)).is_empty());
    }
}
