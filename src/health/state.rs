//! The state of a target as one prober node sees it, and of several nodes together.
//!
//! Pure state machine: outcomes in the order of time in, changes out.

use super::outcome::{Effect, Outcome};
use super::settings::{Origin, Settings};
use crate::cause::Confidence;
use crate::time::Mark;
use crate::word;

/// State of a target, in the words of Elastic Load Balancing (`TargetHealth` in its API
/// reference); `unknown` is ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// What it was before the capture is not known, and the checks since do not decide it.
    #[default]
    Unknown,
    /// Its first checks have not decided yet, and the capture shows that they are the first.
    Initial,
    /// It gets traffic.
    Healthy,
    /// It gets none, unless all are unhealthy.
    Unhealthy,
    /// It is being taken out: no new connections, old ones go on.
    Draining,
    /// It became unhealthy, and old connections go on.
    UnhealthyDraining,
    /// It is in no group that is in use any more.
    Unused,
    /// It is not checked any more and still gets traffic.
    Unavailable,
}

impl State {
    /// Every state.
    pub const ALL: [State; 8] = [
        State::Unknown,
        State::Initial,
        State::Healthy,
        State::Unhealthy,
        State::Draining,
        State::UnhealthyDraining,
        State::Unused,
        State::Unavailable,
    ];

    /// Stable id.
    pub fn id(self) -> &'static str {
        match self {
            State::Unknown => "unknown",
            State::Initial => word!("initial"),
            State::Healthy => word!("healthy"),
            State::Unhealthy => word!("unhealthy"),
            State::Draining => word!("draining"),
            State::UnhealthyDraining => word!("unhealthy.draining"),
            State::Unused => word!("unused"),
            State::Unavailable => word!("unavailable"),
        }
    }

    /// Whether checks have decided it.
    pub fn is_decided(self) -> bool {
        matches!(self, State::Healthy | State::Unhealthy)
    }
}

/// How many results in a row change a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Passes that make an unhealthy target healthy.
    pub healthy: u32,
    /// Failures that make a healthy target unhealthy.
    pub unhealthy: u32,
    /// Passes that end `initial`.
    pub first_passes: u32,
    /// Failures that end `initial`.
    pub first_failures: u32,
    /// A wrong status decides alone.
    pub status_is_final: bool,
    /// How sure these numbers are.
    pub confidence: Confidence,
}

/// Where a threshold is neither given nor a documented default: two results in a row, the least
/// that is more than a single one.
pub const ASSUMED: u32 = 2;

impl Thresholds {
    /// Those of `settings`.
    pub fn of(settings: &Settings) -> Thresholds {
        let (healthy, unhealthy) = (&settings.healthy, &settings.unhealthy);
        let origins = [healthy, unhealthy].map(|value| value.as_ref().map(|value| value.origin));
        let confidence = match origins {
            [Some(Origin::Given), Some(Origin::Given)] => Confidence::Certain,
            [Some(_), Some(_)] => Confidence::Likely,
            _ => Confidence::Possible,
        };
        let value = |setting: &Option<super::settings::Setting<u32>>| {
            setting.as_ref().map_or(ASSUMED, |setting| setting.value).max(1)
        };
        let (healthy, unhealthy) = (value(healthy), value(unhealthy));
        let vendor = settings.vendor;
        Thresholds {
            healthy,
            unhealthy,
            first_passes: vendor.and_then(|vendor| vendor.first_passes).unwrap_or(healthy),
            first_failures: vendor.and_then(|vendor| vendor.first_failures).unwrap_or(unhealthy),
            status_is_final: vendor.is_some_and(|vendor| vendor.status_is_final),
            confidence,
        }
    }
}

/// A result as the state machine takes it.
#[derive(Clone, Copy, Debug)]
pub struct Result {
    /// `None`: not known.
    pub outcome: Option<Outcome>,
    /// How sure it is.
    pub confidence: Confidence,
    /// The frame that decided it.
    pub mark: Mark,
}

/// A change of state.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The frame that caused it.
    pub mark: Mark,
    /// Before.
    pub from: State,
    /// After.
    pub state: State,
    /// The outcome that caused it, of the last check.
    pub outcome: Option<Outcome>,
    /// How sure it is.
    pub confidence: Confidence,
}

/// The target as one node sees it.
#[derive(Clone, Debug)]
pub struct Machine {
    thresholds: Thresholds,
    state: State,
    /// Results of the same kind in a row.
    passes: u32,
    failures: u32,
    /// Checks in a row whose outcome is not known.
    undecided: u32,
    /// How sure the results in a row are.
    confidence: Confidence,
}

impl Machine {
    /// A target whose past is not known, or, with `first`, one that has not been checked before.
    pub fn new(thresholds: Thresholds, first: bool) -> Machine {
        let state = if first { State::Initial } else { State::Unknown };
        let confidence = Confidence::Certain;
        Machine { thresholds, state, passes: 0, failures: 0, undecided: 0, confidence }
    }

    /// The state now.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether the last results speak against the state.
    pub(super) fn is_wavering(&self) -> bool {
        match self.state {
            State::Healthy => self.failures > 0,
            State::Unhealthy => self.passes > 0,
            _ => false,
        }
    }

    /// Passes and failures in a row so far, one of them 0.
    pub fn in_a_row(&self) -> (u32, u32) {
        (self.passes, self.failures)
    }

    /// Checks were missing for so long that it may have changed: its state is not known any more.
    pub fn forget(&mut self, mark: Mark) -> Option<Change> {
        (self.passes, self.failures) = (0, 0);
        if !self.state.is_decided() {
            return None;
        }
        let from = std::mem::replace(&mut self.state, State::Unknown);
        let confidence = Confidence::Likely;
        Some(Change { mark, from, state: State::Unknown, outcome: None, confidence })
    }

    /// Takes in the next result.
    pub fn feed(&mut self, result: &Result) -> Option<Change> {
        let outcome = match result.outcome {
            Some(outcome) if outcome.effect() != Effect::None => outcome,
            Some(_) => return None,
            // It may have been of the other kind.
            None => {
                self.confidence = self.confidence.min(Confidence::Likely);
                self.undecided = self.undecided.saturating_add(1);
                // So many may have changed the state unseen.
                let enough = match self.state {
                    State::Unhealthy => self.thresholds.healthy,
                    _ => self.thresholds.unhealthy,
                };
                return if self.undecided >= enough { self.forget(result.mark) } else { None };
            }
        };
        self.undecided = 0;
        let passed = outcome.effect() == Effect::Pass;
        let (same, other) = if passed {
            (&mut self.passes, &mut self.failures)
        } else {
            (&mut self.failures, &mut self.passes)
        };
        if *other > 0 || *same == 0 {
            self.confidence = Confidence::Certain;
        }
        *other = 0;
        *same = same.saturating_add(1);
        self.confidence = self.confidence.min(result.confidence);
        let next = self.next(passed, outcome)?;
        let confidence = self.confidence.min(self.thresholds.confidence);
        let from = std::mem::replace(&mut self.state, next);
        Some(Change { mark: result.mark, from, state: next, outcome: Some(outcome), confidence })
    }

    fn next(&self, passed: bool, outcome: Outcome) -> Option<State> {
        let limits = &self.thresholds;
        let initial = self.state == State::Initial;
        if passed {
            let needed = if initial { limits.first_passes } else { limits.healthy };
            return (self.state != State::Healthy && self.passes >= needed)
                .then_some(State::Healthy);
        }
        let at_once = limits.status_is_final && outcome.is_answer();
        let needed = if initial { limits.first_failures } else { limits.unhealthy };
        (self.state != State::Unhealthy && (at_once || self.failures >= needed))
            .then_some(State::Unhealthy)
    }
}

/// The target as a whole: what more than half of the nodes with an opinion hold; while they are
/// split in halves, what it was before. One node alone decides alone. No vendor documents how its
/// nodes agree, so with several nodes nothing is surer than likely.
#[derive(Clone, Debug, Default)]
pub struct Whole {
    state: State,
}

impl Whole {
    /// The state now.
    pub fn state(&self) -> State {
        self.state
    }

    /// Looks at the nodes' states after one of them took in a result.
    pub fn look(&mut self, nodes: impl Iterator<Item = State>, change: &Change) -> Option<Change> {
        let (mut healthy, mut unhealthy, mut initial, mut all) = (0_u32, 0_u32, 0_u32, 0_u32);
        for state in nodes {
            all += 1;
            match state {
                State::Healthy => healthy += 1,
                State::Unhealthy => unhealthy += 1,
                State::Initial => initial += 1,
                _ => {}
            }
        }
        let next = match healthy.cmp(&unhealthy) {
            std::cmp::Ordering::Greater => State::Healthy,
            std::cmp::Ordering::Less => State::Unhealthy,
            std::cmp::Ordering::Equal if healthy > 0 => self.state,
            std::cmp::Ordering::Equal if initial == all && all > 0 => State::Initial,
            std::cmp::Ordering::Equal => State::Unknown,
        };
        // That one node's opinion is not known any more says nothing for that of the others.
        let lost = change.outcome.is_none() && self.state.is_decided() && next.is_decided();
        let next = if lost && next != self.state { State::Unknown } else { next };
        if next == self.state {
            return None;
        }
        let most = if all > 1 { Confidence::Likely } else { Confidence::Certain };
        let from = std::mem::replace(&mut self.state, next);
        let confidence = change.confidence.min(most);
        Some(Change { from, state: next, confidence, ..change.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{FrameId, Timestamp};

    const AWS: Thresholds = Thresholds {
        healthy: 3,
        unhealthy: 2,
        first_passes: 1,
        first_failures: 2,
        status_is_final: false,
        confidence: Confidence::Certain,
    };

    /// `+` pass, `R` refused, `M` wrong status, `.` without data, `?` not known.
    fn results(series: &str) -> Vec<Result> {
        (1..)
            .zip(series.chars())
            .map(|(n, letter)| Result {
                outcome: Outcome::ALL.into_iter().find(|outcome| outcome.letter() == letter),
                confidence: Confidence::Certain,
                mark: Mark { frame: FrameId::new(0, n), at: Timestamp(n as i64) },
            })
            .collect()
    }

    /// Frame and state of each change.
    fn changes(machine: &mut Machine, series: &str) -> Vec<(u64, &'static str)> {
        results(series)
            .iter()
            .filter_map(|result| machine.feed(result))
            .map(|change| (change.mark.frame.number(), change.state.id()))
            .collect()
    }

    #[test]
    fn one_pass_ends_initial_and_thresholds_move_it_afterwards() {
        let mut machine = Machine::new(AWS, true);
        assert_eq!(
            changes(&mut machine, "+R+RR++R+++R"),
            [(1, "healthy"), (5, "unhealthy"), (11, "healthy")]
        );
        assert_eq!(machine.state(), State::Healthy);
        assert_eq!(changes(&mut Machine::new(AWS, true), "RR"), [(2, "unhealthy")]);
        assert_eq!(changes(&mut Machine::new(AWS, true), "R+"), [(2, "healthy")]);
    }

    #[test]
    fn a_capture_that_begins_mid_life_claims_no_initial() {
        let mut machine = Machine::new(AWS, false);
        assert_eq!(changes(&mut machine, "++"), []);
        assert_eq!((machine.state(), machine.in_a_row()), (State::Unknown, (2, 0)));
        assert_eq!(changes(&mut machine, "+"), [(1, "healthy")]);
        assert_eq!(changes(&mut Machine::new(AWS, false), "++R+R"), []);
        assert_eq!(changes(&mut Machine::new(AWS, false), "RR"), [(2, "unhealthy")]);
    }

    #[test]
    fn as_many_unknown_results_as_a_change_takes_leave_the_state_unknown() {
        let of = |series| changes(&mut Machine::new(AWS, true), series);
        assert_eq!(of("+?R"), [(1, "healthy")]);
        assert_eq!(of("+??+++"), [(1, "healthy"), (3, "unknown"), (6, "healthy")]);
        assert_eq!(of("RR??"), [(2, "unhealthy")]);
        assert_eq!(of("RR???"), [(2, "unhealthy"), (5, "unknown")]);
    }

    #[test]
    fn tests_without_data_and_unknown_results_count_for_nothing() {
        assert_eq!(
            changes(&mut Machine::new(AWS, true), "..+R.R"),
            [(3, "healthy"), (6, "unhealthy")]
        );
        let mut machine = Machine::new(AWS, true);
        assert_eq!(changes(&mut machine, "+R?"), [(1, "healthy")]);
        let last = machine.feed(&results("R")[0]).unwrap();
        assert_eq!((last.state, last.confidence), (State::Unhealthy, Confidence::Likely));
        let mut machine = Machine::new(AWS, true);
        changes(&mut machine, "+?RR");
        let back = results("+++").iter().find_map(|result| machine.feed(result)).unwrap();
        assert_eq!(back.confidence, Confidence::Certain);
    }

    #[test]
    fn after_a_pause_the_state_is_not_known() {
        let mut machine = Machine::new(AWS, true);
        changes(&mut machine, "++");
        let forgotten = machine.forget(Mark::default()).unwrap();
        assert_eq!((forgotten.from, forgotten.state), (State::Healthy, State::Unknown));
        assert_eq!(changes(&mut machine, "+++"), [(3, "healthy")], "by the threshold, not by one");
        assert_eq!(Machine::new(AWS, true).forget(Mark::default()), None);
    }

    #[test]
    fn a_wrong_status_decides_alone_where_the_vendor_says_so() {
        let envoy = Thresholds { status_is_final: true, unhealthy: 3, ..AWS };
        assert_eq!(
            changes(&mut Machine::new(envoy, true), "+M"),
            [(1, "healthy"), (2, "unhealthy")]
        );
        assert_eq!(changes(&mut Machine::new(envoy, true), "+RR"), [(1, "healthy")]);
    }

    #[test]
    fn flapping_results_that_never_reach_a_threshold_change_nothing() {
        let mut machine = Machine::new(AWS, true);
        assert_eq!(changes(&mut machine, "+R+R+R+R+R"), [(1, "healthy")]);
    }

    #[test]
    fn the_whole_is_what_most_nodes_hold() {
        let change = |state| Change {
            mark: Mark::default(),
            from: State::Unknown,
            state,
            outcome: Some(Outcome::Refused),
            confidence: Confidence::Certain,
        };
        let mut whole = Whole::default();
        let mut look = |nodes: &[State]| {
            whole.look(nodes.iter().copied(), &change(State::Unknown)).map(|change| change.state)
        };
        use State::{Healthy as H, Initial as I, Unhealthy as U, Unknown as N};
        assert_eq!(look(&[I]), Some(I));
        assert_eq!(look(&[H]), Some(H));
        assert_eq!(look(&[H, N]), None);
        assert_eq!(look(&[H, U]), None, "split in halves: as before");
        assert_eq!(look(&[H, U, U]), Some(U));
        assert_eq!(look(&[H, H, U]), Some(H));
        assert_eq!(look(&[N, N, N]), Some(N));
        let several = Whole::default().look([U, U].into_iter(), &change(U)).unwrap();
        assert_eq!(several.confidence, Confidence::Likely);
        let alone = Whole::default().look([U].into_iter(), &change(U)).unwrap();
        assert_eq!(alone.confidence, Confidence::Certain);
    }

    #[test]
    fn thresholds_that_are_guessed_make_no_sure_state() {
        let settings = Settings::default();
        let guessed = Thresholds::of(&settings);
        assert_eq!((guessed.healthy, guessed.confidence), (ASSUMED, Confidence::Possible));
        let change = results("RR").iter().fold(None, |last, result| {
            let mut machine = Machine::new(guessed, false);
            machine.feed(result);
            machine.feed(result).or(last)
        });
        assert_eq!(change.unwrap().confidence, Confidence::Possible);
    }

    #[test]
    fn an_opinion_that_is_lost_turns_nobodys() {
        let (healthy, unhealthy) = (State::Healthy, State::Unhealthy);
        let change = |outcome| Change {
            mark: Mark { frame: FrameId::new(0, 7), at: Timestamp(7) },
            from: State::Unknown,
            state: State::Unknown,
            outcome,
            confidence: Confidence::Likely,
        };
        let mut whole = Whole::default();
        let passed = change(Some(Outcome::Pass));
        let seen = whole.look([healthy, healthy, unhealthy].into_iter(), &passed);
        assert_eq!(seen.map(|change| change.state), Some(healthy));
        let seen = whole.look([healthy, unhealthy].into_iter(), &change(None));
        assert_eq!(seen, None, "the others are of two minds");
        let seen = whole.look([unhealthy, State::Unknown].into_iter(), &change(None));
        assert_eq!(seen.map(|change| change.state), Some(State::Unknown));
        let failed = change(Some(Outcome::Refused));
        let seen = whole.look([unhealthy, unhealthy].into_iter(), &failed);
        assert_eq!(seen.map(|change| change.state), Some(unhealthy));
    }
}
