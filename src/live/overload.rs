//! What to do when the analysis cannot keep up, or takes too much memory: it leaves out whole
//! connections, by a hash of their addresses, rather than packets of all of them.
//!
//! Each step leaves out half of the new connections that are left. Those that are being followed
//! are followed to their end.

use crate::report::words::{count, plural};
use crate::time::Timestamp;

/// Steps: at the last one, one new connection in 128 is followed.
pub(super) const STEPS: u8 = 7;
/// Part of the queue that is full when a step is taken, in eighths.
const FULL: usize = 6;
/// Part of the queue that is full when the analysis keeps up, in eighths.
const EASY: usize = 1;
/// Between two steps up, nanoseconds: what a step does takes effect with new connections.
const PATIENCE: i64 = 500_000_000;
/// Without trouble until a step is taken back, nanoseconds.
const CALM: i64 = 10_000_000_000;

/// Decides how much is left out.
#[derive(Debug, Default)]
pub(super) struct Overload {
    step: u8,
    changed: Timestamp,
    troubled: Timestamp,
}

/// How full things are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Batches that wait.
    pub(super) waiting: usize,
    /// Batches that may wait.
    pub(super) room: usize,
    /// More memory is in use than allowed.
    pub(super) memory: bool,
}

impl Overload {
    /// The step to take now; `Some` when it has changed.
    pub(super) fn weigh(&mut self, load: Load, now: Timestamp) -> Option<u8> {
        let full = load.waiting * 8 >= load.room * FULL;
        let easy = load.waiting * 8 <= load.room * EASY;
        if full || load.memory {
            self.troubled = now;
            if self.step < STEPS && now.nanos_since(self.changed) >= PATIENCE {
                return self.change(self.step + 1, now);
            }
        } else if easy
            && self.step > 0
            && now.nanos_since(self.troubled) >= CALM
            && now.nanos_since(self.changed) >= CALM
        {
            return self.change(self.step - 1, now);
        }
        None
    }

    fn change(&mut self, step: u8, now: Timestamp) -> Option<u8> {
        (self.step, self.changed) = (step, now);
        Some(step)
    }
}

/// What to say of a step.
pub(super) fn words(step: u8, why: &str) -> String {
    match step {
        0 => "the analysis keeps up again: every new connection is followed".to_owned(),
        _ => format!("{why}: only one new connection in {} is followed", 1_u32 << step),
    }
}

/// What to say of the report, where connections were left out.
pub(super) fn sampled(left_out: u64, followed: u64) -> Option<String> {
    let all = left_out.saturating_add(followed);
    let share = followed as f64 * 100.0 / all.max(1) as f64;
    (left_out > 0).then(|| {
        format!(
            "all counts are those of a sample: to keep up, {} of {} were left out, and {share:.1} % \
             followed",
            count(left_out),
            plural(all, "connection"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    fn load(waiting: usize, memory: bool) -> Load {
        Load { waiting, room: 64, memory }
    }

    #[test]
    fn steps_are_taken_one_by_one_and_taken_back_when_it_is_calm() {
        let mut overload = Overload::default();
        let at = |seconds: i64| Timestamp(100 * S + seconds * S);
        assert_eq!(overload.weigh(load(10, false), at(0)), None);
        assert_eq!(overload.weigh(load(60, false), at(1)), Some(1));
        assert_eq!(overload.weigh(load(60, false), at(1)), None);
        assert_eq!(overload.weigh(load(2, true), at(2)), Some(2));
        assert_eq!(overload.weigh(load(2, false), at(3)), None);
        assert_eq!(overload.weigh(load(20, false), at(30)), None);
        assert_eq!(overload.weigh(load(2, false), at(31)), Some(1));
        assert_eq!(overload.weigh(load(2, false), at(32)), None);
        assert_eq!(overload.weigh(load(2, false), at(42)), Some(0));
        assert_eq!(overload.weigh(load(2, false), at(99)), None);
    }

    #[test]
    fn there_is_a_last_step() {
        let mut overload = Overload::default();
        for second in 0..20 {
            overload.weigh(load(64, true), Timestamp((100 + second) * S));
        }
        assert_eq!(overload.step, STEPS);
    }

    #[test]
    fn a_report_of_a_sample_says_so() {
        assert_eq!(sampled(0, 10), None);
        assert_eq!(
            sampled(1_500, 500).unwrap(),
            "all counts are those of a sample: to keep up, 1 500 of 2 000 connections were left out, \
             and 25.0 % followed"
        );
    }
}
