//! Targets that were down all the time: what else their prober checks tells that these are checks.
//!
//! A check that is refused carries nothing by which it could be known. But probers check all their
//! targets in the same way: attempts that come from where checks of another target come, in the
//! rhythm of those, are checks of the same kind.

use super::attempts::Strays;
use super::fits::{ATTEMPTS_MIN, Attempts, Place, Timing};
use super::key::{ATTEMPTS, Key, checker};
use super::{GIVEN_MAX, Recogniser, sorted};
use crate::cause::Confidence;
use crate::packet::{Address, Endpoint, TunnelId};
use crate::phrase;
use crate::probe::chain::Attempt;
use crate::probe::evidence::{CERTAIN, LIKELY};
use crate::probe::group::{Due, Group, Standing};
use crate::probe::sighting::Sighting;
use crate::probe::verdict::{Reason, Recognised, Verdict};
use crate::time::Timestamp;
use std::sync::Arc;

/// [`Key::on`] of attempts that are known by the checks of other targets.
pub(super) const BY_SIBLING: u8 = 7;
/// Groups of checks of one source that are compared with its failed attempts; those of one prober are
/// alike.
pub(super) const SIBLINGS_MAX: usize = 64;
/// What comes between two checks is nearer to one of them than this share of their period.
const APART: f64 = 0.75;
/// Attempts after which those that keep a rhythm are known as checks, or for nobody's.
const UNSURE_MAX: usize = 16;
/// Time in which a check of a common interval, such as 2 s, is known as one, nanoseconds.
const PATIENCE: i64 = 20_000_000_000;

/// By what attempts are known as checks.
#[derive(Clone, Copy, Debug)]
struct InRhythm {
    /// Checks of the same prober.
    of: Key,
    /// Seconds between them.
    period: f64,
    /// Those that are known come in another rhythm.
    other: bool,
}

impl Recogniser {
    /// A group of checks is known, so that attempts at other targets can be compared with it.
    pub(super) fn add_sibling(&mut self, key: Key) {
        let known = self.siblings.entry((key.tunnel, key.source)).or_default();
        if known.len() < SIBLINGS_MAX {
            known.push(key);
        }
    }

    /// How many groups of checks of that source are known.
    pub(super) fn siblings_of(&self, tunnel: TunnelId, source: Address) -> usize {
        self.siblings.get(&(tunnel, source)).map_or(0, Vec::len)
    }

    /// Gives out those among the failed attempts of `key` that come in the rhythm in which their source
    /// checks another target.
    pub(super) fn join_siblings(&mut self, key: &Key, out: &mut impl FnMut(Recognised)) {
        while self.join_chain(key, out) {}
    }

    /// Gives out the longest chain of them; `false` when there is none.
    fn join_chain(&mut self, key: &Key, out: &mut impl FnMut(Recognised)) -> bool {
        let known = self.timings(key);
        let Some(group) = self.groups.get(key).filter(|_| key.on == ATTEMPTS) else { return false };
        if known.is_empty() || group.is_flood() {
            return false;
        }
        let free = |held: &&Sighting| !self.failed_requests.explain(key.source, held.began().0);
        let free = group.held.iter().filter(free);
        let users_here = self.has_users_at(key.source, key.target);
        let attempts = Attempts::new(
            free.map(|one| self.attempt(one)).collect(),
            self.has_users(key.source),
            users_here,
        );
        // Those of others may be as regular: checks go on when the timer says.
        let goes_on = |sibling: &Key, checks: &[Attempt]| {
            let due = |group: &Group, attempt| group.due(attempt, users_here) != Due::No;
            let ends = checks.first().zip(checks.last());
            let group = self.groups.get(sibling).zip(ends);
            group.is_some_and(|(group, (first, last))| due(group, *first) || due(group, *last))
        };
        let alike = known.iter().find_map(|(timing, sibling)| {
            let (period, checks) = attempts.in_rhythm(timing)?;
            if timing.place == Place::Here && !goes_on(sibling, &checks) {
                return None;
            }
            let own = (timing.place == Place::Here).then_some(*sibling);
            let how = InRhythm { of: *sibling, period, other: false };
            Some((checks, own, how))
        });
        let found = alike.or_else(|| {
            known.iter().find_map(|(timing, sibling)| {
                let (period, checks) = attempts.in_other_rhythm(timing)?;
                let alone = timing.place != Place::Here || self.are_alone(sibling, &checks);
                let how = InRhythm { of: *sibling, period, other: true };
                alone.then_some((checks, None, how))
            })
        });
        let found = found.or_else(|| {
            known.iter().find_map(|(timing, sibling)| {
                let (period, checks) = attempts.in_a_run(timing)?;
                let how = InRhythm { of: *sibling, period, other: true };
                self.are_alone(sibling, &checks).then_some((checks, None, how))
            })
        });
        let Some((checks, own, how)) = found else { return false };
        let Some(host) = own.or_else(|| self.open_by_sibling(key, &how)) else { return false };
        let Some(group) = self.groups.get_mut(key) else { return false };
        let held = std::mem::take(&mut group.held);
        let until = self.newest;
        let is_check = |held: &Sighting| checks.binary_search(&Attempt::of(held, until)).is_ok();
        let (checks, others): (Vec<_>, Vec<_>) = held.into_iter().partition(is_check);
        group.held = others;
        self.held -= checks.len();
        for sighting in sorted(checks) {
            self.adopt(&host, sighting, out);
        }
        if let Some(group) = self.groups.get_mut(&host) {
            group.measure();
        }
        true
    }

    /// Whether none of the checks that are known comes between these.
    fn are_alone(&self, known: &Key, checks: &[Attempt]) -> bool {
        let ends = checks.first().zip(checks.last());
        let group = self.groups.get(known).zip(ends);
        group.is_some_and(|(group, (first, last))| !group.came_between(first.at, last.at))
    }

    /// What the checks that are known tell of when the attempts of `key` come if they are checks, too:
    /// those of the same target, or else of others.
    fn timings(&self, key: &Key) -> Vec<(Timing, Key)> {
        let mut known: Vec<(Timing, Key)> = Vec::new();
        let here = self.pairs.get(&(key.tunnel, key.source, key.target)).into_iter().flatten();
        let others = self.siblings.get(&(key.tunnel, key.source)).into_iter().flatten();
        for sibling in here.filter(|here| here.on != BY_SIBLING).chain(others) {
            let Some(timing) = self.timing(key, sibling) else { continue };
            if !known.iter().any(|(other, _)| other.says_the_same(&timing)) {
                known.push((timing, *sibling));
            }
        }
        if known.iter().any(|(timing, _)| timing.place == Place::Here) {
            known.retain(|(timing, _)| timing.place == Place::Here);
        }
        known
    }

    fn timing(&self, key: &Key, sibling: &Key) -> Option<Timing> {
        let group = self.groups.get(sibling)?;
        let verdict = group.verdict.as_ref().filter(|verdict| !verdict.relayed)?;
        let same_host = sibling.target.ip == key.target.ip;
        let place = match (same_host, sibling.target.port == key.target.port) {
            (true, true) => Place::Here,
            (false, true) => Place::SamePort,
            (true, false) => Place::SameHost,
            (false, false) => Place::Elsewhere,
        };
        // Who may be a script vouches only for what a target group has in common.
        let known = verdict.prober.is_some() || matches!(place, Place::Here | Place::SamePort);
        let least = if known { Confidence::Likely } else { Confidence::Certain };
        let period = verdict.period.or_else(|| group.interval());
        let period = period.filter(|_| verdict.confidence >= least)?;
        let (took, from_end) = (group.took(), verdict.is_from_end());
        let spread = group.spread.map(|spread| spread as f64 / 1e9);
        Some(Timing { period, took, from_end, beat: group.beat, spread, place })
    }

    /// Nanoseconds after which an attempt of `source` that failed hardly turns out to be a check.
    pub fn patience(&self, source: Endpoint) -> i64 {
        let siblings = self.siblings.get(&(TunnelId::default(), source.ip)).into_iter().flatten();
        let groups = siblings.filter_map(|sibling| self.groups.get(sibling));
        let periods = groups.filter_map(|group| {
            let verdict = group.verdict.as_ref()?;
            verdict.period.or_else(|| verdict.prober.as_ref()?.defaults.interval)
        });
        let longest = periods.fold(0.0, f64::max);
        let enough = longest * 1e9 * (ATTEMPTS_MIN as f64 + 1.0);
        PATIENCE.max(enough as i64)
    }

    /// Whether attempts of `source` at `target` that failed keep a rhythm by which they may yet turn out to be
    /// checks: it is known for sure after more of them than [`Recogniser::patience`] has time for where they
    /// come in steps of their own.
    pub fn may_yet_be_checks(&self, source: Endpoint, target: Endpoint, now: Timestamp) -> bool {
        let tunnel = TunnelId::default();
        let key = Key { tunnel, source: source.ip, target, on: ATTEMPTS, asked: 0 };
        let group = self.groups.get(&key).filter(|_| self.siblings_of(tunnel, source.ip) > 0);
        group.is_some_and(|group| {
            let goes_on = |step: f64| {
                group.came_between(now.0.saturating_sub((2.0 * step * 1e9) as i64), now.0)
            };
            group.held.len() <= UNSURE_MAX && group.interval().is_some_and(goes_on)
        })
    }

    pub(super) fn has_users(&self, source: Address) -> bool {
        self.habits.has_users(source) || self.others.has_users(source)
    }

    /// Whether that source sends that target what users send.
    pub(super) fn has_users_at(&self, source: Address, target: Endpoint) -> bool {
        self.habits.has_users_at(source, target) || self.others.has_users_at(source, target)
    }

    /// Whether an attempt at `at`, out of the rhythm of the checks `key`, is one of them. Where nothing but
    /// their rhythm made them checks, only one that came late is.
    pub(super) fn takes_stray(&self, key: &Key, at: i64, strays: Strays) -> bool {
        let is_late = || self.groups.get(key).is_some_and(|group| group.is_apart(at, APART));
        key.on != BY_SIBLING || (strays == Strays::AtEnd && is_late())
    }

    /// The group of the attempts at the target of `key` that are checks.
    fn open_by_sibling(&mut self, key: &Key, how: &InRhythm) -> Option<Key> {
        let InRhythm { of: sibling, period, other } = *how;
        let host = Key { on: BY_SIBLING, asked: 0, ..*key };
        if let Some(group) = self.groups.get_mut(&host) {
            if let Some(verdict) = &mut group.verdict {
                Arc::make_mut(verdict).period = Some(period);
            }
            return Some(host);
        }
        let group = self.groups.get(&sibling).filter(|_| self.given_count < GIVEN_MAX)?;
        let (shape, verdict) = (group.shape, Verdict::clone(group.verdict.as_ref()?));
        let target = sibling.target.socket().to_string();
        let what = if other {
            let period = format!("{period:.3}");
            phrase!("attempts every {period} s of the source that checks {target}", period, target)
        } else {
            phrase!("attempts in the rhythm of this source's checks of {target}", target)
        };
        let reasons = [Reason { what, decibans: LIKELY }];
        let verdict = Verdict {
            confidence: verdict.confidence.min(Confidence::Likely),
            decibans: verdict.decibans.min(CERTAIN - 1),
            reasons: reasons.into_iter().chain(verdict.reasons).collect(),
            period: Some(period),
            ..verdict
        };
        // When the target answers one day, its checks are the same kind.
        let checker = self.checker_id(checker(&Key { on: sibling.on, ..*key }, shape));
        let mut group = Group::new(self.next_id(), checker, (0, 0), shape, false);
        (group.standing, group.verdict) = (Standing::Given, Some(Arc::new(verdict)));
        self.groups.insert(host, Box::new(group));
        self.given_count += 1;
        self.pairs.entry((key.tunnel, key.source, key.target)).or_default().push(host);
        Some(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::sighting::Shape;
    use crate::probe::tap::Habit;
    use crate::probe::testing::{SECOND, Scene, every, irregular};

    const OPTIONS: &str = "OPTIONS / HTTP/1.0\n";
    const UP: &str = "10.0.0.9:8080";
    const DOWN: &str = "10.0.0.10:8080";
    const NONE: [i64; 0] = [];

    /// Attempts at [`DOWN`] that are recognised as checks likely: when they came.
    fn recognised(scene: &mut Scene) -> Vec<i64> {
        scene.finish();
        let down = scene.out.iter().filter(|one| one.sighting.target.port == scene.target.port);
        let down = down.filter(|one| one.sighting.target == scene.target);
        let sure = down.filter(|one| one.verdict.confidence >= Confidence::Likely);
        let mut times: Vec<i64> = sure.map(|one| one.sighting.began().0).collect();
        times.sort_unstable();
        times
    }

    /// HAProxy checks one target every `period` seconds with success, and tries the other at `times`.
    fn haproxy(period: f64, shape: Shape, times: &[i64]) -> Scene {
        let mut scene = Scene::new();
        scene.to(UP).asks(OPTIONS, every(period, 20));
        scene.to(DOWN).connects(shape, times.iter().copied());
        scene
    }

    fn shifted(period: f64, count: i64) -> Vec<i64> {
        every(period, count).map(|at| at + SECOND / 3).collect()
    }

    #[test]
    fn attempts_in_the_rhythm_of_checks_of_another_target_are_checks() {
        for (period, shape, count) in [
            (2.0, Shape::Refused, 4),
            (5.0, Shape::Refused, 4),
            (0.5, Shape::Refused, 8),
            (1.0, Shape::Refused, 6),
        ] {
            let times = shifted(period, count);
            let mut scene = haproxy(period, shape, &times);
            assert_eq!(recognised(&mut scene), times, "{period}");
            let last = scene.out.last().unwrap();
            assert_eq!(last.verdict.prober_id(), Some("haproxy"));
            assert_eq!(last.verdict.confidence, Confidence::Likely);
        }
    }

    #[test]
    fn they_are_given_out_while_packets_are_read() {
        let mut scene = Scene::new();
        for at in every(2.0, 20) {
            scene.to(UP).asks(OPTIONS, [at]);
            scene.to(DOWN).connects(Shape::Refused, [at + SECOND]);
        }
        let down = scene.out.iter().filter(|one| one.sighting.target == scene.target).count();
        assert_eq!(down, 20);
    }

    #[test]
    fn attempts_that_keep_a_rhythm_of_their_own_may_yet_be_checks() {
        let mut scene = Scene::new();
        scene.to(UP).asks(OPTIONS, every(1.0, 20));
        let may_be = |scene: &Scene, at| scene.may_yet_be_checks(Timestamp(at * SECOND));
        scene.to(DOWN).connects(Shape::Refused, every(5.0, 4));
        assert!(may_be(&scene, 20) && !may_be(&scene, 40), "they have stopped");
        scene.connects(Shape::Refused, [22 * SECOND]);
        assert!(!may_be(&scene, 23), "others come between");
        scene.from("10.0.0.77").connects(Shape::Refused, every(5.0, 5));
        assert!(!may_be(&scene, 24), "nobody who checks");
    }

    #[test]
    fn a_target_that_comes_up_is_checked_by_the_same() {
        let mut scene = haproxy(2.0, Shape::Refused, &shifted(2.0, 8));
        scene.asks(OPTIONS, shifted(2.0, 16).into_iter().skip(8));
        scene.connects(Shape::Refused, shifted(2.0, 20).into_iter().skip(16));
        assert_eq!(recognised(&mut scene).len(), 20);
        let down = scene.out.iter().filter(|one| one.sighting.target == scene.target);
        let checkers: std::collections::BTreeSet<_> = down.map(|one| one.checker).collect();
        assert_eq!(checkers.len(), 1);
    }

    #[test]
    fn haproxy_waits_and_then_pauses_where_nobody_answers() {
        let times = shifted(2.0, 6);
        assert_eq!(recognised(&mut haproxy(1.0, Shape::Unanswered, &times)), times);
        assert_eq!(recognised(&mut haproxy(1.0, Shape::Refused, &times)), NONE);
    }

    #[test]
    fn another_rhythm_counts_at_the_same_port() {
        let times = shifted(1.5, 10);
        assert_eq!(recognised(&mut haproxy(2.0, Shape::Refused, &times)), times, "downinter");
        let mut scene = Scene::new();
        scene.to(UP).asks(OPTIONS, every(2.0, 20));
        scene.to("10.0.0.10:5044").connects(Shape::Refused, times.clone());
        assert_eq!(recognised(&mut scene), NONE, "a log shipper beside HAProxy");
        let mut retries = haproxy(2.0, Shape::Refused, &shifted(1.0, 20));
        assert_eq!(recognised(&mut retries), NONE, "a client whose proxy tries again");
    }

    #[test]
    fn users_between_the_checks_stay_users() {
        let (mut wrong, mut right) = (0, 0);
        for seed in 0..10 {
            let checks = shifted(2.0, 20);
            let users = irregular(1.7, 20, seed);
            let mut all = [checks.clone(), users].concat();
            all.sort_unstable();
            let mut scene = haproxy(2.0, Shape::Refused, &all);
            scene.habit(Habit::Users);
            let found = recognised(&mut scene);
            wrong += found.iter().filter(|at| !checks.contains(at)).count();
            right += found.iter().filter(|at| checks.contains(at)).count();
        }
        assert!(wrong <= 8 && right >= 150, "{wrong} users taken and {right} checks found of 200");
        let mut alone = haproxy(2.0, Shape::Refused, &irregular(1.7, 30, 3));
        assert_eq!(recognised(&mut alone), NONE);
    }

    #[test]
    fn what_a_proxy_tries_for_a_failed_request_is_no_check() {
        // A client asks, is refused after four attempts and three seconds, and asks again a second later.
        let times = shifted(1.0, 20);
        let mut scene = Scene::new();
        scene.to(UP).asks(OPTIONS, every(1.0, 20));
        for asked in times.iter().step_by(4) {
            let client = crate::probe::testing::endpoint("192.0.2.9:40000");
            scene.failed_request(
                client,
                Timestamp(*asked - 300_000),
                Timestamp(*asked + 3 * SECOND),
            );
        }
        scene.to(DOWN).connects(Shape::Refused, times.clone());
        assert_eq!(recognised(&mut scene), NONE);
        assert_eq!(recognised(&mut haproxy(1.0, Shape::Refused, &times)), times);
    }

    #[test]
    fn without_a_target_that_answers_it_may_be_anybody() {
        let mut scene = Scene::new();
        for target in ["10.0.0.11:8080", "10.0.0.12:8080", DOWN] {
            scene.to(target).connects(Shape::Refused, shifted(2.0, 30));
        }
        assert_eq!(recognised(&mut scene), NONE);
        let possible =
            scene.out.iter().filter(|one| one.verdict.confidence == Confidence::Possible);
        assert_eq!(possible.count(), 90);
    }
}
