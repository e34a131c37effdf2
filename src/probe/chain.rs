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
    /// How long its client waited, as far as its SYNs tell, nanoseconds: at least and at most.
    pub(super) waited: (i64, i64),
}

/// Time to the second SYN, nanoseconds; it doubles with each (RFC 6298, 2.1 and 5.5).
const SYN_REPEATED: i64 = 1_000_000_000;
/// SYNs after which there is no next one: Linux sends seven.
const SYNS_MAX: u16 = 7;
/// What a SYN may come late, as a share of the time since the first, and nanoseconds.
const SYN_LATE: (f64, f64) = (0.05, 50e6);

/// Nanoseconds from a check to the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Steps {
    /// After one that was answered, if only by RST.
    pub(super) answered: RangeInclusive<i64>,
    /// After one that nobody answered.
    pub(super) silent: RangeInclusive<i64>,
}

impl Attempt {
    /// A candidate that failed. What it did after `until`, nanoseconds, is not known.
    pub(super) fn of(sighting: &Sighting, until: i64) -> Attempt {
        let at = sighting.began().0;
        let silent = sighting.shape != Shape::Refused;
        let unanswered = sighting.shape == Shape::Unanswered && sighting.icmp.is_none();
        let (least, most) = if unanswered { waited(sighting) } else { (0, i64::MAX) };
        let known = at.saturating_add(most) <= until;
        Attempt { at, silent, waited: (least, if known { most } else { i64::MAX }) }
    }

    /// Whether its client may have given up after so many nanoseconds: with one who waits for longer, another
    /// SYN comes.
    pub(super) fn may_wait(&self, patience: i64) -> bool {
        let late = |nanos: i64| nanos as f64 * SYN_LATE.0 + SYN_LATE.1;
        let (least, most) = self.waited;
        !self.silent
            || (least as f64 - late(least) <= patience as f64
                && patience as f64 <= most as f64 + late(most))
    }
}

impl Attempt {
    /// Whether its client may have given up within so many nanoseconds.
    pub(super) fn may_end_in(&self, patience: i64) -> bool {
        !self.silent || self.waited.0 <= patience
    }
}

/// How long the client of an attempt that nobody answered waited, nanoseconds: until its last SYN at least, and
/// until its next one would have come at most.
fn waited(sighting: &Sighting) -> (i64, i64) {
    let marks = &sighting.marks;
    let last = marks.last_syn.or(marks.syn).unwrap_or(marks.first).at;
    let least = last.nanos_since(marks.syn.unwrap_or(marks.first).at).max(0);
    let most = match marks.syns {
        0 | 1 => SYN_REPEATED,
        SYNS_MAX.. => i64::MAX,
        syns => least / ((1 << (syns - 1)) - 1) * ((1 << syns) - 1),
    };
    (least, most)
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
        times.iter().map(|at| Attempt { at: *at, silent: false, waited: (0, i64::MAX) }).collect()
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
                let check = Attempt { at, silent: turn % 12 >= 6, waited: (0, i64::MAX) };
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
