//! The checks of one prober at one target as a series, and the state that follows from it.
//!
//! Checks become known out of order (one without an answer long after a later one), so the series
//! is kept sorted and the states are worked out again where an earlier check comes late.

use super::outcome::Outcome;
use super::state::{Change, Machine, Result, State, Thresholds, Whole};
use super::target::Check;
use crate::flow::Vantage;
use crate::packet::Address;
use crate::time::Timestamp;
use std::collections::{BTreeMap, VecDeque};

/// Checks of one prober at one target that are listed one by one; older ones are counts. A node
/// that checks every 5 s fills it in almost 6 hours.
pub(super) const CHECKS_MAX: usize = 4096;
/// Changes of state that are kept of one prober at one target.
pub(super) const CHANGES_MAX: usize = 1024;
/// Sources of checks that are told apart of one prober at one target; Route 53 uses about 16, a
/// large load balancer some dozens of nodes.
pub(super) const NODES_MAX: usize = 256;

/// States that follow from a series of checks.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// By the source's address.
    pub(super) nodes: BTreeMap<Address, NodeProgress>,
    /// All nodes together.
    pub(super) whole: Whole,
    /// Changes of the whole.
    pub(super) changes: Vec<Change>,
    /// Changes that were not kept.
    pub(super) changes_lost: u64,
    /// Checks of sources that were not told apart.
    pub(super) strangers: u64,
}

/// One source.
#[derive(Clone, Debug)]
pub(super) struct NodeProgress {
    /// Its state machine.
    pub(super) machine: Machine,
    /// Changes it made.
    pub(super) changes: Vec<Change>,
    /// Its checks.
    pub(super) checks: u64,
    /// When its last check began.
    last: Timestamp,
    /// Nanoseconds between its last checks, newest last, at most [`GAPS_MAX`].
    gaps: VecDeque<i64>,
    /// The shortest of them.
    shortest: i64,
    /// How many of them came since the prober may have changed its rhythm.
    even: usize,
}

/// One in so many checks may wait to be put in order, so that working out the states again costs the
/// same for each whatever their number.
const LATE_SHARE: usize = 4;
/// Checks by which one may be late and need no working out again.
const RUN_MAX: usize = 64;
/// Usual intervals without a check after which the state is not known any more: two thresholds of
/// failures may have gone by unseen.
const PAUSE: f64 = 2.5;
/// Intervals between checks that are kept to tell the usual one.
const GAPS_MAX: usize = 31;

impl NodeProgress {
    fn change(&mut self, change: &Change, lost: &mut u64) {
        if self.changes.len() < CHANGES_MAX {
            self.changes.push(change.clone());
        } else {
            *lost += 1;
        }
    }

    /// So much time has passed between two checks.
    fn note(&mut self, gap: i64) {
        self.even = (self.even + 1).min(GAPS_MAX);
        let oldest = if self.gaps.len() == GAPS_MAX { self.gaps.pop_front() } else { None };
        self.gaps.push_back(gap);
        self.shortest = if oldest == Some(self.shortest) {
            self.gaps.iter().copied().min().unwrap_or(gap)
        } else {
            self.shortest.min(gap)
        };
    }

    /// Usual nanoseconds between two checks: the median, once there are two intervals.
    pub(super) fn interval(&self) -> Option<i64> {
        self.usual(self.gaps.len())
    }

    /// The same of the `last` intervals only.
    fn usual(&self, last: usize) -> Option<i64> {
        let mut gaps = [0; GAPS_MAX];
        let gaps = &mut gaps[..last.min(self.gaps.len())];
        gaps.iter_mut().zip(self.gaps.iter().rev()).for_each(|(place, gap)| *place = *gap);
        let middle = gaps.len() / 2;
        (gaps.len() >= 2).then(|| *gaps.select_nth_unstable(middle).1)
    }
}

impl Progress {
    /// Takes in the next check. `first`: the target had not been checked before.
    fn step(&mut self, check: &Check, thresholds: Thresholds, first: bool) {
        let full = self.nodes.len() >= NODES_MAX;
        if full && !self.nodes.contains_key(&check.source.ip) {
            self.strangers += 1;
            return;
        }
        let began = !self.nodes.is_empty();
        let node = self.nodes.entry(check.source.ip).or_insert_with(|| NodeProgress {
            machine: Machine::new(thresholds, first),
            changes: Vec::new(),
            checks: 0,
            last: check.began,
            gaps: VecDeque::new(),
            shortest: i64::MAX,
            even: 0,
        });
        let mut missed = None;
        if node.checks > 0 {
            let gap = check.began.nanos_since(node.last);
            // At the prober a pause is its own; elsewhere checks may have been lost on the way.
            let long = |usual: i64| gap as f64 > usual as f64 * PAUSE;
            // What is not long against the shortest is not long against the usual one.
            let lost = check.vantage != Vantage::Client
                && long(node.shortest)
                && node.usual(node.even).is_some_and(long);
            missed = if lost { node.machine.forget(check.frame) } else { None };
            if gap >= 0 {
                node.note(gap);
            }
        }
        node.last = node.last.max(check.began);
        node.checks += 1;
        let opening = Change {
            mark: check.frame,
            from: State::Unknown,
            state: node.machine.state(),
            outcome: None,
            confidence: crate::cause::Confidence::Certain,
        };
        if node.checks == 1 {
            node.changes.push(opening.clone());
        }
        if let Some(change) = missed {
            node.change(&change, &mut self.changes_lost);
            self.look(&change);
        }
        if !began {
            self.look(&opening);
            if self.changes.is_empty() {
                self.changes.push(opening.clone());
            }
        }
        let result =
            Result { outcome: check.outcome, confidence: check.confidence, mark: check.decisive };
        let node = self.nodes.get_mut(&check.source.ip).expect("inserted above");
        let change = node.machine.feed(&result);
        // Probers check more often while a state is about to change, and more often or less while a target is
        // down: HAProxy's `fastinter` and `downinter` (configuration.txt), Envoy's
        // `unhealthy_interval` and the like (core.v3.HealthCheck).
        if change.as_ref().is_some_and(|it| it.from.is_decided()) || node.machine.is_wavering() {
            node.even = 0;
        }
        if let Some(change) = change {
            node.change(&change, &mut self.changes_lost);
            self.look(&change);
        }
    }

    fn look(&mut self, change: &Change) {
        let states = self.nodes.values().map(|node| node.machine.state());
        if let Some(change) = self.whole.look(states, change) {
            if self.changes.len() < CHANGES_MAX {
                self.changes.push(change);
            } else {
                self.changes_lost += 1;
            }
        }
    }
}

/// Sorted checks and what follows from them.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    /// The newest, sorted by when they began. Boxed: one that comes late moves the others.
    checks: VecDeque<Box<Check>>,
    /// What followed from those that are not kept.
    base: Progress,
    /// What follows from all, but for those that came since and are not put in order.
    now: Progress,
    /// Checks since then.
    unplaced: usize,
    /// Checks that are counts only.
    pub(super) folded: u64,
    /// Checks that came too late to be put in order.
    pub(super) disordered: u64,
    /// All checks by outcome.
    pub(super) by_outcome: BTreeMap<Outcome, u64>,
    /// All checks.
    pub(super) total: u64,
    /// Of these, with a request.
    pub(super) asked: u64,
    /// When the first of all began.
    pub(super) first: Option<Timestamp>,
}

impl Series {
    /// Takes in a check. `first` says whether a check that began then would be the first ever.
    pub(super) fn add(
        &mut self,
        check: Check,
        thresholds: Thresholds,
        first: impl Fn(Timestamp) -> bool,
    ) {
        self.total += 1;
        self.asked += u64::from(check.ordinal > 0);
        if let Some(outcome) = check.outcome {
            *self.by_outcome.entry(outcome).or_default() += 1;
        }
        let earliest = self.first.is_none_or(|first| check.began < first);
        if earliest {
            self.first = Some(check.began);
        }
        // Most come in the order of time; to look at others means to fetch them from memory.
        let newest = self.checks.back().is_none_or(|known| known.began <= check.began);
        let at = if newest {
            self.checks.len()
        } else {
            self.checks.partition_point(|known| known.began <= check.began)
        };
        if at == 0 && self.folded > 0 {
            self.disordered += 1;
        }
        self.checks.insert(at, Box::new(check));
        if self.unplaced == 0 && (newest || self.is_of_a_run(at)) {
            let check = &self.checks[at];
            self.now.step(check, thresholds, first(self.first.unwrap_or_default()));
            return;
        }
        self.unplaced += 1;
        if self.unplaced > self.checks.len() / LATE_SHARE {
            self.replay(thresholds, first);
        }
    }

    /// Whether a late check, now at `at`, tells what all those after it tell, and they have changed
    /// no state: then it makes no difference which of them came first.
    fn is_of_a_run(&self, at: usize) -> bool {
        let late = &self.checks[at];
        let same =
            |other: &Check| (other.outcome, other.confidence) == (late.outcome, late.confidence);
        let before =
            |changes: &[Change]| changes.last().is_none_or(|change| change.mark.at < late.began);
        let node = self.now.nodes.get(&late.source.ip);
        self.checks.len() - at <= RUN_MAX
            && before(&self.now.changes)
            && node.is_none_or(|node| before(&node.changes))
            && self.checks.range(at..).map(|check| &**check).all(same)
    }

    /// Makes the states follow from all checks, also from those that came late.
    pub(super) fn settle(&mut self, thresholds: Thresholds, first: impl Fn(Timestamp) -> bool) {
        if self.unplaced > 0 {
            self.replay(thresholds, first);
        }
    }

    /// Drops the oldest check from the list; it stays in the counts and the state.
    pub(super) fn fold(
        &mut self,
        thresholds: Thresholds,
        first: impl Fn(Timestamp) -> bool,
    ) -> bool {
        let Some(check) = self.checks.pop_front() else { return false };
        self.base.step(&check, thresholds, first(self.first.unwrap_or_default()));
        self.folded += 1;
        true
    }

    /// Works out all states again.
    pub(super) fn replay(&mut self, thresholds: Thresholds, first: impl Fn(Timestamp) -> bool) {
        self.unplaced = 0;
        self.now = self.base.clone();
        let first = first(self.first.unwrap_or_default());
        for check in &self.checks {
            self.now.step(check, thresholds, first);
        }
    }

    /// Changes outcomes, and works out all states again when any did.
    pub(super) fn revise(
        &mut self,
        thresholds: Thresholds,
        first: impl Fn(Timestamp) -> bool,
        mut revise: impl FnMut(&mut Check),
    ) {
        let mut changed = false;
        for check in &mut self.checks {
            let before = check.outcome;
            revise(check);
            if check.outcome != before {
                changed = true;
                for (outcome, step) in [(before, -1_i64), (check.outcome, 1)] {
                    if let Some(outcome) = outcome {
                        let count = self.by_outcome.entry(outcome).or_default();
                        *count = count.saturating_add_signed(step);
                    }
                }
            }
        }
        self.by_outcome.retain(|_, count| *count > 0);
        if changed {
            self.replay(thresholds, first);
        }
    }

    /// The checks that are listed, in the order of time.
    pub(super) fn checks(&self) -> impl ExactSizeIterator<Item = &Check> + DoubleEndedIterator {
        self.checks.iter().map(|check| &**check)
    }

    /// The checks that are listed, in the order of time.
    pub(super) fn into_checks(self) -> Vec<Check> {
        self.checks.into_iter().map(|check| *check).collect()
    }

    /// What follows from all checks.
    pub(super) fn progress(&self) -> &Progress {
        &self.now
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{SECOND, check};
    use super::*;
    use crate::cause::Confidence;

    const RULES: Thresholds = Thresholds {
        healthy: 2,
        unhealthy: 2,
        first_passes: 1,
        first_failures: 2,
        status_is_final: false,
        confidence: Confidence::Certain,
    };

    fn states(series: &Series) -> Vec<(i64, &'static str)> {
        let at = |change: &Change| change.mark.at.0 / SECOND;
        series.progress().changes.iter().map(|change| (at(change), change.state.id())).collect()
    }

    #[test]
    fn a_check_that_comes_late_is_put_in_its_place() {
        let mut series = Series::default();
        for (at, letter) in [(10, '+'), (20, '+'), (50, '+'), (60, '+'), (30, 'C'), (40, 'C')] {
            series.add(check(at, 1, letter), RULES, |_| false);
        }
        let wanted = [(10, "unknown"), (20, "healthy"), (40, "unhealthy"), (60, "healthy")];
        assert_eq!(states(&series), wanted);
        let order: Vec<i64> = series.checks().map(|check| check.began.0 / SECOND).collect();
        assert_eq!(order, [10, 20, 30, 40, 50, 60]);
        assert_eq!(series.progress().nodes.values().next().unwrap().interval(), Some(10 * SECOND));
    }

    #[test]
    fn folded_checks_stay_in_state_and_counts() {
        let mut series = Series::default();
        for (at, letter) in [(10, '+'), (20, 'R'), (30, 'R'), (40, '+')] {
            series.add(check(at, 1, letter), RULES, |_| true);
        }
        while series.checks().len() > 1 {
            assert!(series.fold(RULES, |_| true));
        }
        series.replay(RULES, |_| true);
        series.add(check(50, 1, '+'), RULES, |_| true);
        let wanted = [(10, "initial"), (10, "healthy"), (30, "unhealthy"), (50, "healthy")];
        assert_eq!(states(&series), wanted);
        assert_eq!((series.total, series.folded), (5, 3));
        assert_eq!(series.by_outcome[&Outcome::Refused], 2);
        series.add(check(5, 1, '+'), RULES, |_| true);
        assert_eq!(series.disordered, 1);
    }

    #[test]
    fn a_long_pause_makes_the_state_unknown_unless_it_is_the_probers_own() {
        let at = [10, 20, 30, 70, 80];
        let mut seen = Vec::new();
        for vantage in [Vantage::Unknown, Vantage::Client] {
            let mut series = Series::default();
            for second in at {
                let check = Check { vantage, ..check(second, 1, '+') };
                series.add(check, RULES, |_| false);
            }
            seen.push(states(&series));
        }
        let paused = [(10, "unknown"), (20, "healthy"), (70, "unknown"), (80, "healthy")];
        assert_eq!(seen, [paused.to_vec(), paused[..2].to_vec()]);
    }

    #[test]
    fn a_prober_that_checks_less_often_while_the_target_is_down_says_so_all_the_time() {
        // `inter 1s fastinter 300ms downinter 3s`, in tenths of a second, at the target.
        let mut at = 0;
        let mut series = Series::default();
        let turns =
            [(10, '+', 8), (10, 'C', 1), (3, 'C', 2), (30, 'C', 5), (30, '+', 1), (3, '+', 1)];
        for (step, letter, times) in turns.into_iter().chain([(10, '+', 8), (80, '+', 2)]) {
            for _ in 0..times {
                at += step;
                let check = check(at, 1, letter);
                series.add(Check { vantage: Vantage::Server, ..check }, RULES, |_| false);
            }
        }
        let down = 10 * 8 + 10 + 3;
        let up = down + 3 + 5 * 30 + 30 + 3;
        let lost = up + 8 * 10 + 80;
        let wanted = [(10, "unknown"), (20, "healthy"), (down, "unhealthy"), (up, "healthy")];
        assert_eq!(states(&series), [&wanted[..], &[(lost, "unknown")]].concat());
    }

    #[test]
    fn several_nodes_check_on_their_own() {
        let mut series = Series::default();
        for at in 1..4 {
            for node in 1..4 {
                series.add(check(at * 10 + i64::from(node), node, '+'), RULES, |_| false);
            }
        }
        for node in 1..4 {
            series.add(check(40 + i64::from(node), node, 'R'), RULES, |_| false);
            series.add(check(50 + i64::from(node), node, 'R'), RULES, |_| false);
        }
        assert_eq!(states(&series), [(11, "unknown"), (21, "healthy"), (52, "unhealthy")]);
        assert_eq!(series.progress().nodes.len(), 3);
    }
}
