//! When the next check of a group is due, as its own checks tell.
//!
//! A prober's timer is exact: HAProxy's runs out `inter` milliseconds after the end of a check (its
//! `process_chk_conn` in src/check.c), that of others every so many seconds after the start of one. What
//! the host adds to it shows in those checks that can be known by what they say. So an attempt that says
//! nothing is a check when it is as exact as those are.

use super::Group;
use crate::probe::chain::Attempt;
use crate::probe::outage::Outage;
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
/// Steps of one length from which it is one of the timer's.
const PACE_MIN: usize = 3;
/// Gaps that are remembered: what nobody answered is known late.
const GAPS_MAX: usize = 32;
/// Different steps of a timer that are remembered: HAProxy has three, Envoy four.
const PACES_MAX: usize = 4;

/// The time between two members that were answered, in which others may be missing, nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    /// From when the timer ran after the first one.
    from: i64,
    /// When the second one began.
    until: i64,
}

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

    /// Whether checks may come so far apart, so many of them at most missing in between, and one.
    fn fits(&self, apart: i64, multiples: i64) -> bool {
        (1..=multiples)
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
        let answered = self.arrivals.len().saturating_sub(self.tried.len());
        let least = if verdict.may_change_rhythm() { answered / 3 } else { answered / 2 };
        if steps.len() < STEPS_MIN.max(least) {
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

    /// Learns what steps its timer makes beside the usual one, from members that were answered: checks that
    /// fail by their answer, and those that pass again after an outage.
    pub(in crate::probe) fn learn_paces(&mut self) {
        let Some(beat) = self.beat else { return };
        let mut steps: Vec<i64> = Vec::new();
        for (at, next) in self.arrivals.iter().enumerate().skip(1) {
            if self.tried(*next).is_none() && self.tried(self.arrivals[at - 1]).is_none() {
                steps.push(next.saturating_sub(self.base(at - 1, &beat)));
            }
        }
        steps.retain(|step| *step > 4 * beat.within && !beat.fits(*step, MULTIPLES));
        steps.retain(|step| *step < beat.step);
        steps.sort_unstable();
        for same in steps.chunk_by(|one, next| next - one <= beat.within) {
            if same.len() >= PACE_MIN {
                self.add_pace(same[same.len() / 2], beat.within);
            }
        }
    }

    fn add_pace(&mut self, pace: i64, within: i64) {
        let is_known = |known: &i64| known.abs_diff(pace) <= 2 * within as u64;
        if self.paces.len() < PACES_MAX && !self.paces.iter().any(is_known) {
            self.paces.push(pace);
        }
    }

    /// From when the timer ran after the member at that place.
    fn base(&self, member: usize, beat: &Beat) -> i64 {
        if beat.from_end { self.overs[member] } else { self.arrivals[member] }
    }

    /// The time from the member at that place to the next one that was answered, if checks may have failed in it.
    fn gap_after(&self, member: usize) -> Option<Gap> {
        let beat = self.beat?;
        let is_answered = |at: &usize| self.tried(self.arrivals[*at]).is_none();
        let next = (member + 1..self.arrivals.len()).find(is_answered)?;
        let gap = Gap { from: self.base(member, &beat), until: self.arrivals[next] };
        let long = gap.until.saturating_sub(gap.from) > beat.step.saturating_add(beat.within);
        (is_answered(&member) && long).then_some(gap)
    }

    /// Remembers the gap after the oldest member, which is about to be forgotten.
    pub(super) fn keep_gap(&mut self) {
        let Some(gap) = self.gap_after(0) else { return };
        if self.gaps.len() >= GAPS_MAX {
            self.gaps.pop_front();
        }
        self.gaps.push_back(gap);
    }

    /// The checks among `attempts` that failed between two members that were answered, where its prober may
    /// change its rhythm then; `known` are those that are known as checks already.
    pub(in crate::probe) fn in_outages(
        &mut self,
        attempts: &[Attempt],
        known: &[Attempt],
    ) -> Vec<Attempt> {
        let (Some(beat), Some(verdict)) = (self.beat, &self.verdict) else { return Vec::new() };
        if !verdict.may_change_rhythm() {
            return Vec::new();
        }
        let gaps = (0..self.arrivals.len()).filter_map(|member| self.gap_after(member));
        let gaps: Vec<Gap> = self.gaps.iter().copied().chain(gaps).collect();
        let mut found = Vec::new();
        for Gap { from, until } in gaps {
            let inside = |attempt: &&Attempt| (from..until).contains(&attempt.at);
            let others = attempts.iter().filter(inside).map(|attempt| (*attempt, false));
            let mut all: Vec<(Attempt, bool)> = others.collect();
            if all.is_empty() {
                continue;
            }
            all.extend(known.iter().filter(inside).map(|attempt| (*attempt, true)));
            all.sort_unstable();
            let Beat { step: usual, within, patience, .. } = beat;
            let outage = Outage { from, until, usual, paces: &self.paces, within, patience };
            let (checks, new) = outage.checks(&all);
            new.iter().for_each(|pace| self.add_pace(*pace, within));
            found.extend(checks);
        }
        found.retain(|attempt| !known.contains(attempt));
        found
    }

    /// Its members that are failed attempts.
    pub(in crate::probe) fn tried_all(&self) -> &[Attempt] {
        &self.tried
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
            // Each that is missing would have waited, too.
            let multiples = if waited { 1 } else { MULTIPLES };
            beat.fits(began.max(at).saturating_sub(first).saturating_sub(wait), multiples)
        };
        let may_be = |beat: &Beat| match beat.from_end {
            true => attempt.may_wait(beat.patience),
            false => attempt.may_end_in(beat.step),
        };
        if self.beat.is_some_and(|beat| !may_be(&beat)) {
            return Due::No;
        }
        // What counts from the end of a check has no phase that outlasts the next one.
        let most = |beat: &Beat| if beat.from_end { 1 } else { AROUND };
        if self.beat.is_some_and(|beat| around(most(&beat)).any(|member| meets(&beat, member))) {
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
            let took = if *arrival < at { self.took_at(*arrival) } else { 0.0 };
            waited || (apart >= period - within && apart <= period + took + within)
        });
        if near { Due::Near } else { Due::No }
    }
}
