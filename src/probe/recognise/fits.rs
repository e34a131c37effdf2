//! Which of the attempts at one target come when the checks of a prober would.

use crate::probe::chain::{Attempt, Steps, chain};
use crate::probe::group::Beat;
use crate::probe::period::{Rhythm, Strength, median, rhythm};
use crate::probe::requests::RETRY;
use std::ops::RangeInclusive;

/// Attempts in the rhythm of checks from which they are checks.
pub(super) const ATTEMPTS_MIN: usize = 4;
/// The same where a proxy may try so for its users: more than one request that HAProxy tries four times, or
/// than two where its users' requests are seen.
const ATTEMPTS_RETRY_MIN: [usize; 2] = [6, 9];
/// What a proxy may be late when it tries again, nanoseconds.
const RETRY_WITHIN: i64 = 20_000_000;
/// By how much a rhythm is finer than another, at least.
const FINER: f64 = 0.2;
/// What the rhythm may be off, as a share of the period.
const WITHIN: f64 = 0.02;
/// The same in nanoseconds, where that is more: timers of a busy host.
const WITHIN_MIN: f64 = 10e6;
/// Share of steps that have to fit a rhythm that no other check has: the rest are outages that end and
/// moments in which the prober had no time.
const FITTING: f64 = 0.9;

/// What the checks of a prober tell of when others of its checks come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Timing {
    /// Seconds from one to the next.
    pub(super) period: f64,
    /// How long they take, seconds.
    pub(super) took: f64,
    /// The period counts from the end of a check, so that one that nobody answers delays the next.
    pub(super) from_end: bool,
    /// How exact they are, where that is known.
    pub(super) beat: Option<Beat>,
    /// By how many seconds they are off, where that is much.
    pub(super) spread: Option<f64>,
    /// Where they are made.
    pub(super) place: Place,
}

/// Where checks are that are known, seen from the target whose attempts are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At that target.
    Here,
    /// At the same port of another host.
    SamePort,
    /// At another port of the same host.
    SameHost,
    /// At another port of another host.
    Elsewhere,
}

impl Timing {
    /// Whether both expect attempts at the same times.
    pub(super) fn says_the_same(&self, other: &Timing) -> bool {
        (self.place, self.from_end) == (other.place, other.from_end)
            && (self.period - other.period).abs() <= WITHIN / 4.0 * self.period
    }
}

/// Attempts of one source at one target that failed.
#[derive(Clone, Debug)]
pub(super) struct Attempts {
    /// All of them, ascending.
    all: Vec<Attempt>,
    /// Its own rhythm.
    own: Option<Rhythm>,
    /// Most were not answered.
    silent: bool,
    /// Its source sends what users send.
    users: bool,
    /// It does so to this target.
    users_here: bool,
}

impl Attempts {
    pub(super) fn new(mut all: Vec<Attempt>, users: bool, users_here: bool) -> Attempts {
        all.sort_unstable();
        let times: Vec<i64> = all.iter().map(|attempt| attempt.at).collect();
        let silent = 2 * all.iter().filter(|attempt| attempt.silent).count() > all.len();
        Attempts { own: rhythm(&times, 0.0), all, silent, users, users_here }
    }

    /// Those in the rhythm of checks that are known, and the seconds from one that is answered to the next.
    pub(super) fn in_rhythm(&self, known: &Timing) -> Option<(f64, Vec<Attempt>)> {
        let Timing { period, took, from_end, beat, spread, .. } = *known;
        let own = self.own.map(|own| own.period);
        // HAProxy waits for an answer as long as it waits between two checks, unless it is told otherwise.
        let longest = if from_end { 2.0 * period } else { period };
        let shorter = own.filter(|own| (period * (1.0 + 2.0 * WITHIN)..longest).contains(own));
        let usually = steps(period, if from_end { took } else { 0.0 });
        let widely = spread.map(|spread| {
            let nanos = |seconds: f64| (seconds * 1e9) as i64;
            usually.start() - nanos(spread)..=usually.end() + nanos(spread)
        });
        // Among users only what is as exact as the checks is known from them.
        let exactly = beat.filter(|_| self.users_here).map(|beat| beat.steps());
        let waits = [Some(longest), shorter];
        let ways = exactly.into_iter().chain([usually]).chain(widely);
        let mut ways =
            ways.flat_map(|step| waits.into_iter().flatten().map(move |wait| (step.clone(), wait)));
        ways.find_map(|(answered, wait)| {
            // A step of theirs may be two of others who are as regular.
            let usual = if self.silent { wait } else { period };
            let finer = own.is_some_and(|own| own < usual * (1.0 - FINER));
            // A check waits for what is left of a step without the pause; users of a proxy for as long as
            // that waits for any connection.
            let patience = ((wait - if from_end { period } else { 0.0 }) * 1e9) as i64;
            let all: Vec<Attempt> = match from_end {
                true => self.all.iter().filter(|it| it.may_wait(patience)).copied().collect(),
                false => self.all.iter().filter(|it| it.may_end_in(patience)).copied().collect(),
            };
            let found = chain(&all, &Steps { answered, silent: steps(wait, 0.0) });
            let pairs = found.windows(2).filter(|pair| !pair[0].silent);
            let answered =
                median(pairs.map(|pair| (pair[1].at - pair[0].at) as f64 / 1e9).collect());
            let checks = !finer && self.are_checks(&found) && !self.are_tried_again(&found, period);
            checks.then_some((answered.unwrap_or(period), found))
        })
    }

    /// Whether a chain is more than what a proxy tries for a user.
    fn are_checks(&self, found: &[Attempt]) -> bool {
        let is_clear = |pair: &&[Attempt]| {
            !pair[0].silent && !is_retry(pair[1].at.saturating_sub(pair[0].at) as f64 / 1e9)
        };
        found.windows(2).filter(is_clear).count() + 1 >= ATTEMPTS_MIN
            || found.len() >= ATTEMPTS_RETRY_MIN[usize::from(self.users)]
    }

    /// Whether most of a chain are followed by another attempt when a proxy tries again: nobody does so
    /// after a check.
    fn are_tried_again(&self, found: &[Attempt], period: f64) -> bool {
        let again = |attempt: &&Attempt| {
            let from = attempt.at.saturating_add(RETRY - RETRY_WITHIN);
            let next = self.all.partition_point(|next| next.at < from);
            self.all.get(next).is_some_and(|next| next.at.saturating_sub(from) <= 2 * RETRY_WITHIN)
        };
        period * 1e9 > 1.5 * RETRY as f64 && 2 * found.iter().filter(again).count() >= found.len()
    }

    /// The longest run of equal steps at a target that is checked, and the seconds of a step: no other
    /// attempt comes in between, so that these are the checks where no other is known.
    pub(super) fn in_a_run(&self, known: &Timing) -> Option<(f64, Vec<Attempt>)> {
        let gap = |at: usize| (self.all[at + 1].at.saturating_sub(self.all[at].at)) as f64 / 1e9;
        let (mut longest, mut start) = (0..0, 0);
        for at in 0..self.all.len().saturating_sub(1) {
            if !steps(gap(start), 0.0).contains(&((gap(at) * 1e9) as i64)) {
                start = at;
            }
            if at + 1 - start > longest.len() {
                longest = start..at + 1;
            }
        }
        let run =
            self.all.get(longest.start..=longest.end).filter(|_| known.place == Place::Here)?;
        let step = median(longest.clone().map(gap).collect())?;
        let retries = is_retry(step) || run.iter().any(|attempt| attempt.silent);
        let least = if retries { ATTEMPTS_RETRY_MIN[0] } else { ATTEMPTS_MIN };
        let long = step * (run.len() - 1) as f64 >= 2.0 * known.period;
        (run.len() >= least && long && !(retries && self.users_here)).then(|| (step, run.to_vec()))
    }

    /// All of them and the seconds between them, if they have a rhythm of their own: probers may check
    /// more often, or less, while a target is down.
    pub(super) fn in_other_rhythm(&self, known: &Timing) -> Option<(f64, Vec<Attempt>)> {
        let own = self.own.filter(|own| own.strength == Strength::Strong)?;
        let retries = is_retry(own.period);
        let waits = self.all.iter().any(|attempt| attempt.silent);
        let may_be_checks = match known.place {
            // They must be somewhere among them.
            Place::Here => !self.users_here || !(retries || waits),
            Place::SamePort => !(retries || waits && self.users),
            // What belongs to the backend next to it, of a prober that tries again when users ask.
            Place::SameHost => known.from_end && !retries && !waits,
            Place::Elsewhere => false,
        };
        let step = steps(own.period, 0.0);
        let fits = |pair: &&[Attempt]| step.contains(&pair[1].at.saturating_sub(pair[0].at));
        let fitting = self.all.windows(2).filter(fits).count() as f64;
        if !may_be_checks || fitting < FITTING * (self.all.len() - 1) as f64 {
            return None;
        }
        let is_between = |at: usize| {
            let around =
                at.checked_sub(1).and_then(|before| self.all.get(before)).zip(self.all.get(at + 1));
            around.is_some_and(|(before, after)| step.contains(&after.at.saturating_sub(before.at)))
        };
        let checks = (0..self.all.len()).filter(|at| !is_between(*at)).map(|at| self.all[at]);
        Some((own.period, checks.collect()))
    }
}

/// Whether a proxy may try again in that rhythm, seconds, what it tries for its users.
fn is_retry(period: f64) -> bool {
    let retry = RETRY as f64 / 1e9;
    (period - retry).abs() <= retry / 10.0
}

/// Nanoseconds between two checks of the same prober every `period` seconds, the same less what a check
/// `took` where its timer counts from the end of a check.
fn steps(period: f64, took: f64) -> RangeInclusive<i64> {
    let within = (period * 1e9 * WITHIN).max(WITHIN_MIN);
    let shortest = (period - took).max(period / 2.0) * 1e9 - within;
    shortest as i64..=(period * 1e9 + within) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::testing::{SECOND, every, irregular};

    const KNOWN: Timing = Timing {
        period: 2.0,
        took: 0.001,
        from_end: true,
        beat: None,
        spread: None,
        place: Place::SameHost,
    };

    fn refused(times: impl IntoIterator<Item = i64>) -> Vec<Attempt> {
        times.into_iter().map(|at| Attempt { at, silent: false, waited: (0, i64::MAX) }).collect()
    }

    fn silent(times: impl IntoIterator<Item = i64>) -> Vec<Attempt> {
        times.into_iter().map(|at| Attempt { at, silent: true, waited: (0, i64::MAX) }).collect()
    }

    /// Attempts beside users elsewhere.
    fn attempts(all: Vec<Attempt>) -> Attempts {
        Attempts::new(all, true, false)
    }

    /// What HAProxy tries for requests that come `pause` seconds after the answer to the one before.
    fn retries(pause: f64, step: f64, requests: i64) -> Vec<i64> {
        let turn = 3.0 * step + pause;
        let at = |request: i64, retry: i64| (request as f64 * turn + retry as f64 * step) * 1e9;
        (0..requests)
            .flat_map(|request| (0..4).map(move |retry| at(request, retry) as i64))
            .collect()
    }

    #[test]
    fn a_prober_that_waits_for_an_answer_comes_later() {
        // Refused for a while, then dropped.
        let mut all = refused(every(2.001, 20));
        all.extend(silent(every(4.003, 20).map(|at| at + 40 * SECOND)));
        let (period, found) = attempts(all.clone()).in_rhythm(&KNOWN).unwrap();
        assert_eq!(found, all);
        assert!((period - 2.001).abs() < 0.001, "{period}");
        // Dropped all the time; the period is that of the known checks, and the time-out may be shorter.
        for step in [4.003, 3.002] {
            let all = silent(every(step, 20));
            assert_eq!(attempts(all.clone()).in_rhythm(&KNOWN), Some((2.0, all)), "{step}");
        }
        // A timer that counts from the start does not.
        let on_time = Timing { from_end: false, ..KNOWN };
        assert_eq!(attempts(silent(every(4.003, 20))).in_rhythm(&on_time), None);
        assert!(attempts(silent(every(2.0, 20))).in_rhythm(&on_time).is_some());
    }

    #[test]
    fn what_a_proxy_tries_for_a_user_is_no_check_though_it_comes_in_the_same_rhythm() {
        // Its time-out to connect is as long as the time between two checks, or twice that.
        for (step, requests) in [(2.001, 1), (4.002, 1), (4.002, 2)] {
            let tried = silent(retries(0.01, step, requests));
            assert_eq!(attempts(tried).in_rhythm(&KNOWN), None, "{step} {requests}");
        }
        let second = Timing { period: 1.0, ..KNOWN };
        for pause in [0.003, 0.7, 4.0] {
            for requests in [1, 2, 8] {
                let tried = attempts(refused(retries(pause, 1.001, requests)));
                assert_eq!(tried.in_rhythm(&second), None, "{pause} {requests}");
                assert_eq!(tried.in_other_rhythm(&KNOWN), None, "{pause} {requests}");
            }
        }
    }

    #[test]
    fn a_rhythm_of_its_own_counts_where_nothing_else_can_be_the_checks() {
        let other = |all: &[Attempt], place, from_end| {
            let known = Timing { place, from_end, ..KNOWN };
            attempts(all.to_vec()).in_other_rhythm(&known).map(|(_, found)| found)
        };
        let slower = refused(every(5.001, 12));
        assert_eq!(other(&slower, Place::SameHost, true).as_deref(), Some(&*slower));
        assert_eq!(other(&slower, Place::SamePort, false).as_deref(), Some(&*slower));
        assert_eq!(
            other(&slower, Place::SameHost, false),
            None,
            "a prober that does not try again"
        );
        assert_eq!(other(&slower, Place::Elsewhere, true), None, "another service");
        assert_eq!(other(&slower[..8], Place::SameHost, true), None, "too few");
        let second = refused(every(1.001, 40));
        assert_eq!(other(&second, Place::SameHost, true), None, "a client that asks every 4 s");
        assert_eq!(other(&second, Place::Here, true).as_deref(), Some(&*second));
        let known = Timing { place: Place::Here, ..KNOWN };
        let with_users = Attempts::new(second, true, true);
        assert_eq!(with_users.in_other_rhythm(&known), None, "users come here, too");
        for seed in 0..20 {
            let users = refused(irregular(5.0, 30, seed));
            assert_eq!(other(&users, Place::Here, true), None, "{seed}");
        }
    }

    #[test]
    fn a_client_that_asks_again_at_once_makes_no_checks_of_every_second_retry() {
        for turn in 4..40 {
            let tried = attempts(refused(retries(0.001, 1.001, 40).into_iter().take(turn)));
            assert_eq!(tried.in_rhythm(&KNOWN), None, "{turn}");
        }
    }

    #[test]
    fn a_short_run_counts_where_its_target_is_checked() {
        // A user, the first checks that fail, and then `downinter 4s`.
        let mut all =
            refused([30_450, 31_460, 32_462, 33_463, 34_280, 35_281].map(|at| at * SECOND / 1000));
        let run = refused(every(4.002, 6).map(|at| at + 39 * SECOND));
        all.extend(&run);
        let here = Timing { period: 3.0, place: Place::Here, ..KNOWN };
        let with_users = Attempts::new(all.clone(), true, true);
        let (step, found) = with_users.in_a_run(&here).unwrap();
        assert_eq!((found.len(), (step - 4.002).abs() < 0.001), (6, true));
        assert_eq!(with_users.in_a_run(&Timing { place: Place::SameHost, ..here }), None);
        let tried = Attempts::new(refused(retries(1.0, 1.001, 9)), true, true);
        assert_eq!(tried.in_a_run(&here), None, "users that are tried again");
        assert_eq!(Attempts::new(Vec::new(), true, true).in_a_run(&here), None);
        assert_eq!(Attempts::new(all[..1].to_vec(), true, true).in_a_run(&here), None);
    }

    #[test]
    fn who_comes_between_two_checks_is_none() {
        let checks = refused(every(5.001, 40));
        let mut all = checks.clone();
        all.extend(refused([52 * SECOND]));
        assert_eq!(attempts(all).in_other_rhythm(&KNOWN).map(|(_, found)| found), Some(checks));
    }
}
