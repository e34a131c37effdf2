//! When the members of a group came, and how long they took.

use super::{GROUP, Group};
use crate::cause::Confidence;
use crate::probe::chain::Attempt;
use crate::probe::period::{ARRIVALS_MAX, median};
use crate::probe::sighting::Sighting;

/// An arrival that is nearer than this share of the period takes its place in the rhythm.
const TAKEN: f64 = 0.5;
/// Steps between few members are equal up to this share.
const EQUAL: f64 = 0.05;
/// Members after which a group may be [busy](Group::is_busy).
const BUSY_MEMBERS: u32 = 256;
/// Below this many nanoseconds between two requests no load balancer checks a target: Knative, the
/// fastest known, does so every 25 ms while a container starts.
const BUSY_INTERVAL: i64 = 20_000_000;

/// Members from which a group may be a [flood](Group::is_flood).
const FLOOD: usize = 32;

impl Group {
    /// Whether its members come too fast for checks that nothing but their rhythm would tell: a load
    /// generator's, or a page that polls.
    pub(in crate::probe) fn is_busy(&self) -> bool {
        let fast = |first: i64, last: i64| {
            last.saturating_sub(first) < BUSY_INTERVAL * (self.arrivals.len() as i64 - 1)
        };
        self.members >= BUSY_MEMBERS
            && self.verdict.as_ref().is_none_or(|it| it.confidence == Confidence::Possible)
            && self.arrivals.first().zip(self.arrivals.last()).is_some_and(|(a, b)| fast(*a, *b))
    }

    /// Adds when a failed attempt of it came.
    pub(in crate::probe) fn add_attempt(&mut self, sighting: &Sighting) {
        let attempt = Attempt::of(sighting);
        self.arrive(attempt.at);
        if attempt.silent {
            if self.silent.len() >= ARRIVALS_MAX {
                self.silent.remove(0);
            }
            self.silent.push(attempt.at);
        }
    }

    /// Adds when a member came.
    pub(in crate::probe) fn arrive(&mut self, began: i64) {
        let at = self.arrivals.partition_point(|arrival| *arrival <= began);
        if self.arrivals.len() < ARRIVALS_MAX {
            self.arrivals.insert(at, began);
        } else if at > 0 {
            self.arrivals.remove(0);
            self.arrivals.insert(at - 1, began);
        }
    }

    /// Seconds between its members, where there are three in equal steps at least.
    pub(in crate::probe) fn interval(&self) -> Option<f64> {
        let gaps =
            self.arrivals.windows(2).map(|pair| pair[1].saturating_sub(pair[0]) as f64 / 1e9);
        let gaps: Vec<f64> = gaps.collect();
        let middle = median(gaps.clone()).filter(|_| gaps.len() + 1 >= GROUP as usize)?;
        gaps.iter().all(|gap| (gap - middle).abs() <= EQUAL * middle).then_some(middle)
    }

    /// Whether no member came within this share of its period around `at`.
    pub(in crate::probe) fn is_apart(&self, at: i64, share: f64) -> bool {
        let period = self.verdict.as_ref().and_then(|verdict| verdict.period).unwrap_or(0.0);
        let near = |arrival: &i64| (at.abs_diff(*arrival) as f64) < share * period * 1e9;
        !self.arrivals.iter().any(near)
    }

    /// Whether its members come too fast for any check to be told among them.
    pub(in crate::probe) fn is_flood(&self) -> bool {
        let span = self
            .arrivals
            .last()
            .zip(self.arrivals.first())
            .map_or(0, |(last, first)| last.saturating_sub(*first));
        self.arrivals.len() >= FLOOD && span < BUSY_INTERVAL * FLOOD as i64
    }

    /// Whether a member came in that time.
    pub(in crate::probe) fn came_between(&self, first: i64, last: i64) -> bool {
        self.arrivals.iter().any(|arrival| (first..=last).contains(arrival))
    }

    /// How long its members take, seconds.
    pub(in crate::probe) fn took(&self) -> f64 {
        median(self.durations.clone()).unwrap_or_default()
    }

    /// The longest time that one of its members took, seconds.
    pub(in crate::probe) fn longest(&self) -> f64 {
        self.durations.iter().copied().fold(0.0, f64::max)
    }

    /// Whether `attempt` came a period before or after a member, give or take how long a check takes.
    pub(in crate::probe) fn is_in_rhythm(&self, attempt: Attempt) -> bool {
        let Some(verdict) = &self.verdict else { return false };
        let Some(period) = verdict.period else { return false };
        let at = attempt.at;
        let within = (0.03 * period).max(0.02);
        let next = self.arrivals.partition_point(|arrival| *arrival < at);
        let near = next.saturating_sub(2)..(next + 2).min(self.arrivals.len());
        let taken = |arrival: &i64| at.abs_diff(*arrival) as f64 / 1e9 < TAKEN * period;
        if self.arrivals[near.clone()].iter().any(taken) {
            return false;
        }
        self.arrivals[near].iter().any(|arrival| {
            let apart = at.abs_diff(*arrival) as f64 / 1e9;
            let silent = if *arrival < at { self.silent.contains(arrival) } else { attempt.silent };
            // HAProxy waits for an answer as long as it waits between two checks.
            let waited = silent && verdict.is_from_end() && (apart - 2.0 * period).abs() <= within;
            waited || (apart >= period - within && apart <= period + self.longest() + within)
        })
    }
}
