//! The checks of one outage: probers change their rhythm when a check fails.
//!
//! HAProxy waits `inter` between two checks of a server that is up, `fastinter` while that may change and
//! `downinter` while it is down (its manual; `srv_getinter` in src/checks.c); Envoy has `unhealthy_interval` and
//! its edges. So the checks of an outage come in steps that no check before it shows. What tells them from
//! users is that they lead in few different steps and without a break from the last check that was answered
//! to the next one.

use super::chain::Attempt;

/// Steps that may be known only from the attempts: HAProxy's `fastinter` and `downinter`.
const NEW_MAX: usize = 2;
/// By how much more than usual a step may be off, in turn: its host may be busy, and a check that is refused takes a
/// round trip.
const SLACKS: [i64; 2] = [1, 4];
/// A step that is taken once only is none of the timer's.
const ONCE: usize = 1;
/// Attempts that are looked at to find the one after a check.
const AHEAD: usize = 24;
/// What a new step may be at most, as a multiple of the usual one.
const LONGEST: i64 = 10;
/// What part of the usual step a new one is at least.
const SHORTEST: i64 = 20;
/// Ways that are tried in one outage.
const WAYS_MAX: usize = 1 << 12;
/// How many ways through the attempts of others may be expected by chance.
const BY_CHANCE: f64 = 0.002;

/// The time from one check that was answered to the next one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outage<'a> {
    /// From when the timer ran after the check that was answered last, nanoseconds.
    pub(super) from: i64,
    /// When the next one came.
    pub(super) until: i64,
    /// Nanoseconds that the timer usually takes.
    pub(super) usual: i64,
    /// What else it takes, as far as it is known.
    pub(super) paces: &'a [i64],
    /// What it may be off.
    pub(super) within: i64,
    /// How long a check waits for an answer where the timer counts from its end.
    pub(super) patience: i64,
}

/// A way from the one check to the other.
#[derive(Clone, Debug, Default)]
struct Way {
    /// Places of its attempts.
    places: Vec<usize>,
    /// Steps that are as long as one that was known before.
    same: usize,
    /// New ones.
    new: Vec<i64>,
}

/// The search for ways with a given number of new steps.
struct Search<'a> {
    outage: &'a Outage<'a>,
    /// All attempts, ascending, and whether they are known as checks.
    attempts: &'a [(Attempt, bool)],
    /// Steps that are known, the new ones last, and how often the way takes them.
    paces: Vec<(i64, usize)>,
    /// New ones that may yet be added.
    new: usize,
    way: Way,
    /// The longest ways.
    best: Vec<Way>,
    /// How many were tried, and may be.
    tried: usize,
    most: usize,
}

impl Outage<'_> {
    /// Those of `attempts` (ascending, with whether it is known already) that are the checks of this outage,
    /// and the steps that only they show; empty when chance may have made them.
    pub(super) fn checks(&self, attempts: &[(Attempt, bool)]) -> (Vec<Attempt>, Vec<i64>) {
        let others = attempts.iter().filter(|(_, known)| !known).count() as f64;
        let span = self.until.saturating_sub(self.from).max(1) as f64;
        let known = [&[self.usual], self.paces].concat();
        let waits = self.patiences(attempts, &known);
        let mut most = WAYS_MAX;
        for (new, slack) in (0..=NEW_MAX).flat_map(|new| SLACKS.map(|slack| (new, slack))) {
            let within = slack * self.within;
            let hit = 1.0 - (-others * 2.0 * within as f64 / span).exp();
            for (at, patience) in waits.iter().enumerate() {
                let outage = Outage { within, patience: *patience, ..*self };
                let mut search = Search {
                    outage: &outage,
                    attempts,
                    paces: known.iter().map(|pace| (*pace, ONCE)).collect(),
                    new,
                    way: Way::default(),
                    best: Vec::new(),
                    tried: 0,
                    most,
                };
                search.follow(None);
                most = most.saturating_sub(search.tried);
                if most == 0 {
                    return (Vec::new(), Vec::new());
                }
                let Some(first) = search.best.first() else { continue };
                // A wait that is not known fits one step by itself.
                let same = first.same.saturating_sub(usize::from(at > 0));
                let ways = (search.tried * waits.len()) as f64;
                if ways * hit.powi(same as i32) > BY_CHANCE {
                    continue;
                }
                // Where either of two may be the check it is neither.
                let in_all =
                    |place: &&usize| search.best.iter().all(|way| way.places.contains(*place));
                let places = first.places.iter().filter(in_all);
                let checks = places.map(|place| attempts[*place].0).collect();
                let new = if slack == 1 { first.new.clone() } else { Vec::new() };
                return (checks, new);
            }
        }
        (Vec::new(), Vec::new())
    }

    /// How long a check may wait for an answer: as long as was known before, or as the step after one that got
    /// none tells.
    fn patiences(&self, attempts: &[(Attempt, bool)], known: &[i64]) -> Vec<i64> {
        let mut waits = vec![self.patience];
        let Some(first) = attempts.iter().position(|(attempt, _)| attempt.silent) else {
            return waits;
        };
        let next = attempts[first + 1..].iter().take(AHEAD / 4).map(|(next, _)| next.at);
        for at in next.chain([self.until]) {
            for pace in known {
                let wait = at.saturating_sub(attempts[first].0.at).saturating_sub(*pace);
                let near = |other: &i64| wait.abs_diff(*other) <= self.within as u64;
                if wait > self.within
                    && attempts[first].0.may_wait(wait)
                    && !waits.iter().any(near)
                    && waits.len() < AHEAD
                {
                    waits.push(wait);
                }
            }
        }
        waits
    }

    /// From when the timer runs after `attempt`.
    fn base(&self, attempt: Attempt) -> i64 {
        attempt.at.saturating_add(if attempt.silent { self.patience } else { 0 })
    }
}

impl Search<'_> {
    /// Goes on from the attempt at that place, or from the start.
    fn follow(&mut self, from: Option<usize>) {
        self.tried += 1;
        if self.tried >= self.most {
            return;
        }
        let base = from.map_or(self.outage.from, |place| self.outage.base(self.attempts[place].0));
        let next = from.map_or(0, |place| place + 1);
        if from.is_some()
            && !self.attempts[next..].iter().any(|(_, known)| *known)
            && let Some(pace) = self.known(self.outage.until.saturating_sub(base))
        {
            self.take(pace);
            self.arrive();
            self.give_back(pace);
        }
        for place in next..self.attempts.len().min(next + AHEAD) {
            let (attempt, known) = self.attempts[place];
            let step = attempt.at.saturating_sub(base);
            // The first one that fails comes when the timer of one that passed runs out.
            let pace = self.known(step);
            let may_wait = !attempt.silent || attempt.may_wait(self.outage.patience);
            self.way.places.push(place);
            if let Some(pace) = pace.filter(|_| may_wait) {
                self.take(pace);
                self.follow(Some(place));
                self.give_back(pace);
            } else if may_wait && from.is_some() && self.new > 0 && self.may_be_new(step) {
                self.new -= 1;
                self.paces.push((step, ONCE));
                self.follow(Some(place));
                self.paces.pop();
                self.new += 1;
            }
            self.way.places.pop();
            if known {
                break;
            }
        }
    }

    /// Which of the known steps it is.
    fn known(&self, step: i64) -> Option<usize> {
        let within = self.outage.within as u64;
        self.paces.iter().position(|(pace, _)| step.abs_diff(*pace) <= within)
    }

    fn take(&mut self, pace: usize) {
        self.paces[pace].1 += 1;
        self.way.same += 1;
    }

    fn give_back(&mut self, pace: usize) {
        self.paces[pace].1 -= 1;
        self.way.same -= 1;
    }

    /// Whether the timer may make that step; two of them at once it does not.
    fn may_be_new(&self, step: i64) -> bool {
        let within = 2 * self.outage.within as u64;
        let two = |(pace, _): &(i64, usize)| step.abs_diff(2 * pace) <= within;
        if self.paces.iter().any(two) {
            return false;
        }
        (self.outage.usual / SHORTEST..=self.outage.usual.saturating_mul(LONGEST)).contains(&step)
    }

    /// The way is complete.
    fn arrive(&mut self) {
        let new = &self.paces[self.outage.paces.len() + 1..];
        if new.iter().any(|(_, taken)| *taken == ONCE) {
            return;
        }
        self.way.new = new.iter().map(|(pace, _)| *pace).collect();
        let longest = self.best.first().map_or(0, |best| best.same);
        if self.way.same > longest {
            self.best.clear();
        }
        if self.way.same >= longest.max(1) {
            self.best.push(self.way.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{MILLISECOND, irregular};
    use super::*;

    /// `inter 1s fastinter 400ms downinter 700ms`, refused for five checks after the one at 0.
    const CHECKS: [i64; 5] = [1_000, 1_401, 1_803, 2_504, 3_206];
    const UNTIL: i64 = 3_907;

    fn attempts(times: &[i64], silent: bool) -> Vec<(Attempt, bool)> {
        let one = |at: &i64| Attempt { at: at * MILLISECOND, silent, waited: (0, i64::MAX) };
        let mut all: Vec<_> = times.iter().map(|at| (one(at), false)).collect();
        all.sort_unstable();
        all
    }

    fn found(times: &[i64], silent: bool, until: i64, paces: &[i64]) -> Vec<i64> {
        let paces: Vec<i64> = paces.iter().map(|pace| pace * MILLISECOND).collect();
        let outage = Outage {
            from: 0,
            until: until * MILLISECOND,
            usual: 1_000 * MILLISECOND,
            paces: &paces,
            within: 5 * MILLISECOND,
            patience: 1_000 * MILLISECOND,
        };
        let (checks, _) = outage.checks(&attempts(times, silent));
        checks.iter().map(|check| check.at / MILLISECOND).collect()
    }

    #[test]
    fn steps_that_no_other_check_shows_lead_from_one_answer_to_the_next() {
        assert_eq!(found(&CHECKS, false, UNTIL, &[]), CHECKS);
        for seed in 1..20 {
            let users = irregular(1.0, 4, seed).into_iter().map(|at| at / MILLISECOND);
            let users: Vec<i64> = users.filter(|at| *at < UNTIL).collect();
            let told = found(&[&CHECKS[..], &users].concat(), false, UNTIL, &[]);
            assert!(told.iter().all(|at| CHECKS.contains(at)), "{seed} {told:?}");
            assert!(told.len() >= 3, "{seed} {told:?} {users:?}");
        }
    }

    #[test]
    fn users_alone_make_no_way() {
        for seed in 1..200 {
            let users = irregular(0.7, 12, seed).into_iter().map(|at| at / MILLISECOND);
            let users: Vec<i64> = users.filter(|at| *at < 5_000).collect();
            assert_eq!(found(&users, false, 5_000, &[400, 700]), Vec::<i64>::new(), "{seed}");
        }
    }

    #[test]
    fn a_check_that_nobody_answers_waits_before_the_next_step() {
        let silent = [1_000, 2_402, 3_805];
        assert_eq!(found(&silent, true, 5_507, &[400, 700]), silent, "timeout connect 1s");
        let sooner = [1_000, 2_001, 3_003];
        assert_eq!(found(&sooner, true, 4_305, &[400, 700]), sooner, "timeout connect 600ms");
    }

    #[test]
    fn of_two_that_come_when_a_check_is_due_neither_is_it() {
        let all = [&CHECKS[..], &[1_402]].concat();
        assert_eq!(found(&all, false, UNTIL, &[400, 700]), [1_000, 1_803, 2_504, 3_206]);
    }
}
