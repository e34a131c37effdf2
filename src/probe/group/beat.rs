//! When the next check of a group is due, as its own checks tell.
//!
//! A prober's timer is exact: HAProxy's runs out `inter` milliseconds after the end of a check (its
//! `process_chk_conn` in src/check.c), that of others every so many seconds after the start of one. What
//! the host adds to it shows in those checks that can be known by what they say. So an attempt that says
//! nothing is a check when it is as exact as those are.

use super::Group;
use crate::probe::chain::Attempt;
use crate::probe::period::median;
use std::ops::RangeInclusive;

/// An arrival that is nearer than this share of the period takes its place in the rhythm.
const TAKEN: f64 = 0.5;
/// What an attempt may be off where nothing more is known of the timer, as a share of the period.
const NEAR: f64 = 0.03;
/// The same in seconds, where that is more: timers of a busy host.
const NEAR_MIN: f64 = 0.02;
/// By how much of it timers are off that are off on purpose, at most: HAProxy's `spread-checks` takes up to
/// 50 % and its manual advises 2 to 5 %.
const SPREAD: f64 = 0.15;
/// Steps of a timer from which it is known how exact it is.
const STEPS_MIN: usize = 4;
/// Share of the steps that are as exact as the timer; the rest are moments in which its host had no time.
const EXACT: f64 = 0.9;
/// By how much more than those another step may be off.
const MORE: i64 = 2;
/// What is exact enough for any timer, nanoseconds: hosts wake in ticks of up to 4 ms, and
/// do something else first.
const EXACT_MIN: i64 = 5_000_000;
/// Checks that may be missing between two in an exact rhythm, and one.
const MULTIPLES: i64 = 3;
/// Attempts of others that may be expected where one is rare.
const RARE: f64 = 0.05;
/// Members on each side that are looked at.
const AROUND: usize = 3;

/// A timer as far as checks show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::probe) struct Beat {
    /// Nanoseconds from one check to the next.
    pub(in crate::probe) step: i64,
    /// What they may be off.
    pub(in crate::probe) within: i64,
    /// The time counts from the end of a check.
    from_end: bool,
    /// How long one waits for an answer, nanoseconds.
    patience: i64,
}

/// Whether a check was due when an attempt came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::probe) enum Due {
    /// None was.
    No,
    /// One was due about then.
    Near,
    /// As exactly as the timer tells.
    Exact,
}

impl Beat {
    /// Nanoseconds from one check to the next.
    pub(in crate::probe) fn steps(&self) -> RangeInclusive<i64> {
        self.step - self.within..=self.step + self.within
    }

    /// Whether checks may come so far apart.
    fn fits(&self, apart: i64) -> bool {
        (1..=MULTIPLES)
            .any(|times| apart.abs_diff(self.step.saturating_mul(times)) <= self.within as u64)
    }
}

impl Group {
    /// Learns how exact the timer is from those members that are known by what they say.
    pub(in crate::probe) fn measure(&mut self) {
        let most = |beat: &Beat, share: f64| (beat.step as f64 * share) as i64;
        self.beat = self.measured(NEAR).filter(|beat| beat.within <= most(beat, NEAR));
        let spread = || self.measured(SPREAD).map(|beat| beat.within.min(most(&beat, SPREAD)));
        self.spread = if self.beat.is_none() { spread() } else { None };
    }

    /// The timer as steps tell that are off by so much of the period at most.
    fn measured(&self, most: f64) -> Option<Beat> {
        let verdict = self.verdict.as_ref()?;
        let from_end = verdict.is_from_end();
        let usual = verdict.period? - if from_end { self.took() } else { 0.0 };
        let mut steps: Vec<i64> = Vec::new();
        for (began, over) in self.arrivals.iter().zip(&self.overs) {
            let base = if from_end { *over } else { *began };
            let due = base.saturating_add((usual * 1e9) as i64);
            let next = self.arrivals.partition_point(|arrival| *arrival < due);
            let near = &self.arrivals[next.saturating_sub(1)..(next + 1).min(self.arrivals.len())];
            let next = near.iter().filter(|next| *next > began && self.tried(**next).is_none());
            let next =
                next.min_by_key(|next| next.abs_diff(due)).filter(|_| self.tried(*began).is_none());
            let step = next.map(|next| next.saturating_sub(base));
            steps.extend(step.filter(|step| (*step as f64 / 1e9 - usual).abs() <= most * usual));
        }
        if steps.len() < STEPS_MIN.max(self.arrivals.len().saturating_sub(self.tried.len()) / 2) {
            return None;
        }
        let step = (median(steps.iter().map(|step| *step as f64).collect())?) as i64;
        let mut off: Vec<i64> = steps.iter().map(|one| (one - step).abs()).collect();
        off.sort_unstable();
        let most = off.get(((off.len() - 1) as f64 * EXACT) as usize)?;
        let within = (MORE * most).max(EXACT_MIN);
        let patience = self.patience(step, within);
        Some(Beat { step, within, from_end, patience })
    }

    /// How long a check waits for an answer: as steps between those that got none tell, or else as long as
    /// HAProxy does, from one check to the next, unless `timeout check` says otherwise.
    fn patience(&self, step: i64, within: i64) -> i64 {
        let longer = |pair: &[Attempt]| {
            let wait = pair[1].at.saturating_sub(pair[0].at).saturating_sub(step);
            (pair[0].silent && (within..=step).contains(&wait)).then_some(wait as f64)
        };
        median(self.tried.windows(2).filter_map(longer).collect()).map_or(step, |wait| wait as i64)
    }

    /// The failed attempt that began then.
    fn tried(&self, began: i64) -> Option<&Attempt> {
        self.tried.iter().find(|attempt| attempt.at == began)
    }

    /// Whether an attempt that began then was not answered.
    fn was_silent(&self, began: i64) -> bool {
        self.tried(began).is_some_and(|attempt| attempt.silent)
    }

    /// Whether any of `others`, which come at any time, is hardly to be expected about the time when one
    /// check is due.
    pub(in crate::probe) fn is_rare_beside(&self, others: &[Attempt]) -> bool {
        let all = || self.arrivals.iter().copied().chain(others.iter().map(|other| other.at));
        let span =
            all().max().zip(all().min()).map_or(0, |(last, first)| last.saturating_sub(first));
        let period = self.verdict.as_ref().and_then(|verdict| verdict.period).unwrap_or(0.0) * 1e9;
        others.len() as f64 * 2.0 * NEAR * period <= RARE * span as f64
    }

    /// Whether a check was due when `attempt` came.
    pub(in crate::probe) fn due(&self, attempt: Attempt, users: bool) -> Due {
        let Some(verdict) = &self.verdict else { return Due::No };
        let Some(period) = verdict.period else { return Due::No };
        let at = attempt.at;
        let next = self.arrivals.partition_point(|arrival| *arrival < at);
        let around =
            |most: usize| next.saturating_sub(most)..(next + most).min(self.arrivals.len());
        let taken = |arrival: &i64| at.abs_diff(*arrival) as f64 / 1e9 < TAKEN * period;
        if self.arrivals[around(2)].iter().any(taken) {
            return Due::No;
        }
        let meets = |beat: &Beat, member: usize| {
            let (began, over) = (self.arrivals[member], self.overs[member]);
            let silent = |attempt: &Attempt| attempt.silent && beat.from_end;
            let (first, waited) = match self.tried(began) {
                _ if began > at => (at, silent(&attempt)),
                Some(before) if silent(before) => (began, true),
                _ => (if beat.from_end { over } else { began }, false),
            };
            let wait = if waited { beat.patience } else { 0 };
            beat.fits(began.max(at).saturating_sub(first).saturating_sub(wait))
        };
        let may_be = |beat: &Beat| match beat.from_end {
            true => attempt.may_wait(beat.patience),
            false => attempt.may_end_in(beat.step),
        };
        if self.beat.is_some_and(|beat| !may_be(&beat)) {
            return Due::No;
        }
        if self.beat.is_some_and(|beat| around(AROUND).any(|member| meets(&beat, member))) {
            return Due::Exact;
        }
        // Only where nobody else comes, what the timer is off on purpose tells enough.
        let spread = self.spread.filter(|_| !users).map_or(0.0, |spread| spread as f64 / 1e9);
        let within = (NEAR * period).max(NEAR_MIN).max(spread);
        let near = self.arrivals[around(2)].iter().any(|arrival| {
            let apart = at.abs_diff(*arrival) as f64 / 1e9;
            let silent = if *arrival < at { self.was_silent(*arrival) } else { attempt.silent };
            // HAProxy waits for an answer as long as it waits between two checks.
            let waited = silent && verdict.is_from_end() && (apart - 2.0 * period).abs() <= within;
            waited || (apart >= period - within && apart <= period + self.longest() + within)
        });
        if near { Due::Near } else { Due::No }
    }
}
