//! What HAProxy took an answer for, by when its next check came.
//!
//! What `http-check expect` and `tcp-check expect` look for is not on the wire. But HAProxy goes on `inter` after a
//! check that passes while a server is up, and `fastinter` after one that fails (its manual; `srv_getinter` in
//! src/check.c). So an answer that nothing else speaks against has failed where the next check comes as soon as that.

use super::outcome::Outcome;
use super::series::Series;
use super::target::Check;
use crate::cause::Confidence;
use crate::packet::Address;
use crate::phrase;
use crate::report::words;
use crate::words::Phrase;
use std::collections::{BTreeMap, BTreeSet};

/// Passes in a row after which a server is up: `rise` is 2 unless it is set.
const UP: usize = 3;
/// Steps from which the usual one is known.
const STEPS_MIN: usize = 5;
/// What a timer may be off, nanoseconds, and as one in so many parts of its time.
const WITHIN: i64 = 5_000_000;
const WITHIN_SHARE: i64 = 50;
/// Share of the usual steps that are as exact.
const EXACT: f64 = 0.8;
/// What `fastinter` is at most, as a share of `inter`: it is for checking sooner.
const FAST: f64 = 0.9;

/// What tells one answer from another: its status, and how many bytes it has.
type Answer = (Option<u16>, u64);

/// Answers that HAProxy counted as failed though nothing in their packets says so.
#[derive(Debug, Default)]
pub(super) struct Counted {
    usual: Option<Answer>,
    /// Nanoseconds to the next check after one of the usual ones.
    inter: i64,
    /// The same after those that failed.
    failed: BTreeMap<Answer, i64>,
}

fn answer(check: &Check) -> Answer {
    (check.status, check.body.unwrap_or(check.answered))
}

fn passes(check: &Check) -> bool {
    check.outcome == Some(Outcome::Pass)
}

impl Counted {
    /// What the checks of one HAProxy tell.
    pub(super) fn of(series: &Series) -> Counted {
        let mut nodes: BTreeMap<Address, Vec<&Check>> = BTreeMap::new();
        for check in series.checks() {
            nodes.entry(check.source.ip).or_default().push(check);
        }
        let mut counted = Counted::default();
        for checks in nodes.values().filter(|checks| checks.len() > UP + STEPS_MIN) {
            counted.learn(checks);
        }
        counted
    }

    /// Learns from the checks of one source, in the order of time.
    fn learn(&mut self, checks: &[&Check]) {
        let Some(usual) = usual(checks) else { return };
        let step = |at: usize| checks[at + 1].began.nanos_since(checks[at].over);
        let is_usual = |at: usize| passes(checks[at]) && answer(checks[at]) == usual;
        let is_up = |at: &usize| (at + 1 - UP..=*at).all(is_usual);
        let last = checks.len() - 1;
        let mut steps: Vec<i64> = (UP - 1..last).filter(is_up).map(step).collect();
        if steps.len() < STEPS_MIN {
            return;
        }
        steps.sort_unstable();
        let inter = steps[steps.len() / 2];
        let near = |step: i64, other: i64| {
            step.abs_diff(other) <= WITHIN.max(other / WITHIN_SHARE).unsigned_abs()
        };
        let exact = steps.iter().filter(|step| near(**step, inter)).count();
        if (exact as f64) < EXACT * steps.len() as f64 {
            return;
        }
        let fast = |at: usize| step(at) > 0 && (step(at) as f64) < FAST * inter as f64;
        // One step may be anything: a restart of HAProxy.
        let again = |at: usize| (0..last).any(|other| other != at && near(step(other), step(at)));
        let mut passed = BTreeSet::from([usual]);
        let mut failed = BTreeMap::new();
        for (at, check) in checks.iter().enumerate().take(last).skip(1) {
            if !passes(check) || !is_usual(at - 1) || !near(step(at - 1), inter) {
                continue;
            }
            if near(step(at), inter) {
                passed.insert(answer(check));
            } else if fast(at) && again(at) {
                failed.insert(answer(check), step(at));
            }
        }
        failed.retain(|answer, _| !passed.contains(answer));
        (self.usual, self.inter) = (Some(usual), inter);
        self.failed.extend(failed);
    }

    /// Whether there is any.
    pub(super) fn is_empty(&self) -> bool {
        self.failed.is_empty()
    }

    /// Says so of a check that had such an answer.
    pub(super) fn revise(&self, check: &mut Check) {
        let (Some(fast), Some(usual)) = (self.failed.get(&answer(check)), self.usual) else {
            return;
        };
        if !passes(check) {
            return;
        }
        let other_status = check.status != usual.0;
        check.outcome = Some(if other_status || check.tls {
            Outcome::StatusMismatch
        } else {
            Outcome::BodyMismatch
        });
        check.confidence = if check.tls { Confidence::Possible } else { Confidence::Likely };
        check.note = phrase!(
            "{what}; HAProxy came again after {fast}, not after {inter} as usual, as it does when a check has failed",
            what = self.what(check, usual),
            fast = words::seconds(*fast as f64 / 1e9),
            inter = words::seconds(self.inter as f64 / 1e9)
        );
    }

    /// How its answer differs from the usual one.
    fn what(&self, check: &Check, usual: Answer) -> Phrase {
        match (check.status, check.tls) {
            (_, true) => phrase!("the answer inside TLS has another length than usual"),
            (Some(status), _) if Some(status) != usual.0 => phrase!("status {status}", status),
            (Some(_), _) => phrase!(
                "the body has {bytes} bytes, not {usual} as before",
                bytes = answer(check).1,
                usual = usual.1
            ),
            (None, _) => phrase!(
                "the answer has {bytes} bytes, not {usual} as before",
                bytes = check.answered,
                usual = usual.1
            ),
        }
    }
}

/// The answer with which most checks pass.
fn usual(checks: &[&Check]) -> Option<Answer> {
    let mut count: BTreeMap<Answer, usize> = BTreeMap::new();
    for check in checks.iter().filter(|check| passes(check)) {
        *count.entry(answer(check)).or_default() += 1;
    }
    count.into_iter().max_by_key(|(_, count)| *count).map(|(answer, _)| answer)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{MS, check};
    use super::*;
    use crate::time::Timestamp;

    /// Checks that pass with bodies of so many bytes, each so many milliseconds after the end of the one before.
    fn series(checks: &[(u64, i64)]) -> Series {
        let limits = crate::health::state::Thresholds::of(&Default::default());
        let (mut series, mut at) = (Series::default(), 0);
        for (number, (body, step)) in checks.iter().enumerate() {
            let mut check = check(number as i64, 1, '+');
            (check.began, check.over) = (Timestamp(at), Timestamp(at + 2 * MS));
            (check.status, check.body) = (Some(200), Some(*body));
            series.add(check, limits, |_| false);
            at += (2 + step) * MS;
        }
        series
    }

    fn failed(checks: &[(u64, i64)]) -> Vec<u64> {
        Counted::of(&series(checks)).failed.keys().map(|(_, body)| *body).collect()
    }

    const UP_FOR: [(u64, i64); 9] = [(13, 1001); 9];

    #[test]
    fn a_body_after_which_haproxy_comes_sooner_has_failed() {
        let outage = [(5, 401), (5, 402), (5, 701), (5, 700), (13, 400)];
        let checks = [&UP_FOR[..], &outage, &UP_FOR].concat();
        assert_eq!(failed(&checks), [5]);
        let mut series = series(&checks);
        let counted = Counted::of(&series);
        let limits = crate::health::state::Thresholds::of(&Default::default());
        series.revise(limits, |_| false, |check| counted.revise(check));
        assert_eq!(series.by_outcome.get(&Outcome::BodyMismatch), Some(&4));
        let told = series.checks().nth(9).unwrap();
        assert_eq!(told.confidence, Confidence::Likely);
        assert!(told.note.to_string().contains("5 bytes, not 13"), "{}", told.note);
    }

    #[test]
    fn what_proves_nothing_changes_nothing() {
        let cases: [(&str, &[(u64, i64)]); 5] = [
            ("passed", &[(5, 1001), (5, 1002), (5, 1001)]),
            ("no fastinter", &[(5, 1001), (5, 1001), (5, 1001), (13, 1001)]),
            ("a restart", &[(5, 317), (13, 1001)]),
            ("a check lost", &[(5, 2003), (5, 2003)]),
            ("both", &[(5, 1001), (13, 1001), (5, 401), (13, 401), (13, 1001)]),
        ];
        for (name, odd) in cases {
            assert_eq!(failed(&[&UP_FOR[..], odd, &UP_FOR].concat()), [0; 0], "{name}");
        }
        // A timer that is off on purpose.
        let spread: Vec<(u64, i64)> = (0..40).map(|n| (13, 700 + n * 37 % 600)).collect();
        let outage = [(5, 400), (5, 400), (13, 400)];
        assert_eq!(failed(&[&spread[..], &outage, &spread].concat()), [0; 0]);
    }
}
