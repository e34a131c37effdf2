//! When the members of a group came, and how long they took.

use super::{GROUP, Group};
use crate::cause::Confidence;
use crate::probe::chain::Attempt;
use crate::probe::period::{ARRIVALS_MAX, median};
use crate::probe::sighting::Sighting;

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
        let attempt = Attempt::of(sighting, i64::MAX);
        self.arrive(attempt.at, attempt.at);
        if self.tried.len() >= ARRIVALS_MAX {
            self.tried.remove(0);
        }
        let place = self.tried.partition_point(|tried| *tried <= attempt);
        self.tried.insert(place, attempt);
    }

    /// Adds when a member came and when it was over.
    pub(in crate::probe) fn arrive(&mut self, began: i64, over: i64) {
        let mut at = self.arrivals.partition_point(|arrival| *arrival <= began);
        if self.arrivals.len() >= ARRIVALS_MAX {
            if at == 0 {
                return;
            }
            self.keep_gap();
            self.arrivals.remove(0);
            self.overs.remove(0);
            at -= 1;
        }
        self.arrivals.insert(at, began);
        self.overs.insert(at, over);
    }

    /// Seconds between its members, where there are three in equal steps at least.
    pub(in crate::probe) fn interval(&self) -> Option<f64> {
        let gaps =
            self.arrivals.windows(2).map(|pair| pair[1].saturating_sub(pair[0]) as f64 / 1e9);
        let gaps: Vec<f64> = gaps.collect();
        let middle = median(gaps.clone()).filter(|_| gaps.len() + 1 >= GROUP as usize)?;
        gaps.iter().all(|gap| (gap - middle).abs() <= EQUAL * middle).then_some(middle)
    }

    /// Whether members came a period before `at` and a period after it.
    pub(in crate::probe) fn is_between(&self, at: i64) -> bool {
        let period = self.verdict.as_ref().and_then(|verdict| verdict.period).unwrap_or(0.0) * 1e9;
        let apart = (period * (1.0 - EQUAL)) as u64..=(period * (1.0 + EQUAL)) as u64;
        let meets = |arrival: &i64| apart.contains(&at.abs_diff(*arrival));
        let (before, after) = self.arrivals.split_at(self.arrivals.partition_point(|it| *it < at));
        before.iter().any(meets) && after.iter().any(meets)
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

    /// How long the member took that began then, seconds.
    pub(in crate::probe) fn took_at(&self, began: i64) -> f64 {
        let member = self.arrivals.iter().position(|arrival| *arrival == began);
        member.map_or(0.0, |member| self.overs[member].saturating_sub(began) as f64 / 1e9)
    }
}
