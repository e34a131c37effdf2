//! Outages of a target that is checked, as captures of HAProxy 2.6 show them.

use crate::cause::Confidence;
use crate::packet::Endpoint;
use crate::probe::sighting::Shape;
use crate::probe::tap::Habit;
use crate::probe::testing::{MILLISECOND, SECOND, Scene, endpoint, every, irregular};

const OPTIONS: &str = "OPTIONS / HTTP/1.0\n";
const NONE: [i64; 0] = [];
const OTHER: &str = "10.0.0.9:9001";
const DOWN: &str = "10.0.0.9:9103";

/// When the attempts at `target` came that are recognised as checks likely, milliseconds.
fn recognised(scene: &mut Scene, target: &str) -> Vec<i64> {
    scene.finish();
    let target: Endpoint = endpoint(target);
    let checks = scene.out.iter().filter(|one| {
        let failed = matches!(one.sighting.shape, Shape::Refused | Shape::Unanswered);
        failed && one.sighting.target == target && one.verdict.confidence >= Confidence::Likely
    });
    let mut times: Vec<i64> = checks.map(|one| one.sighting.began().0 / MILLISECOND).collect();
    times.sort_unstable();
    times
}

fn millis(times: &[i64]) -> Vec<i64> {
    times.iter().map(|at| at * MILLISECOND).collect()
}

/// A target is checked every 2 s, dropped from 31 s to 73 s, and has users. HAProxy waits 2 s for a
/// connection and tries four times, for its checks it waits as long once, and pauses 2 s.
#[test]
fn users_whose_proxy_tries_again_in_the_rhythm_of_its_checks_stay_users() {
    let checks =
        [32_041, 36_044, 40_047, 44_049, 48_053, 52_055, 56_058, 60_061, 64_063, 68_066, 72_068];
    let users = [31_763, 33_764, 35_764, 37_766, 40_431];
    let mut all = [&checks[..], &users].concat();
    all.sort_unstable();
    for other_targets in [false, true] {
        let mut scene = Scene::new();
        scene.waits = 2 * SECOND;
        if other_targets {
            scene.to(OTHER).habit(Habit::Users).asks(OPTIONS, every(2.002, 50));
        }
        scene.to(DOWN).habit(Habit::Users).asks(OPTIONS, every(2.0025, 16));
        scene.connects(Shape::Unanswered, millis(&all));
        scene.asks(OPTIONS, every(2.0025, 12).map(|at| at + 74_074 * MILLISECOND));
        assert_eq!(recognised(&mut scene, DOWN), checks, "{other_targets}");
    }
}

/// Users of an Application Load Balancer come from the addresses of its nodes, and are refused with its checks.
#[test]
fn checks_are_as_exact_while_they_fail_as_they_were_before() {
    let head = "GET /health HTTP/1.1\nHost: 10.0.0.9:9103\nConnection: close\n\
        User-Agent: ELB-HealthChecker/2.0\nAccept-Encoding: gzip, compressed\n";
    let (mut found, mut taken) = (0, 0);
    for (seed, pause) in [(1, 0.3), (2, 0.3), (3, 0.3), (4, 1.0), (5, 1.0), (6, 5.0)] {
        // One comes late, when its host has no time.
        let late = |at: i64| at + if at == 75 * SECOND { 40 * MILLISECOND } else { at % 7 };
        let checks: Vec<i64> = every(5.0, 26).skip(10).take(8).map(late).collect();
        let users = irregular(pause, (40.0 / pause) as usize, seed).into_iter();
        let users: Vec<i64> = users.map(|at| at + 50 * SECOND).collect();
        let mut all = [checks.clone(), users].concat();
        all.sort_unstable();
        let mut scene = Scene::new();
        scene.to(DOWN).habit(Habit::Users).asks(head, every(5.0, 10));
        scene.connects(Shape::Refused, all);
        scene.asks(head, every(5.0, 26).skip(18));
        let told = recognised(&mut scene, DOWN);
        let checks: Vec<i64> = checks.iter().map(|at| at / MILLISECOND).collect();
        let right = told.iter().filter(|at| checks.contains(at)).count();
        (found, taken) = (found + right, taken + told.len() - right);
    }
    assert!(found >= 44 && taken <= 2, "{found} of 48 found and {taken} users taken");
}

/// HAProxy's `spread-checks 10`, where users go to other targets only.
#[test]
fn a_timer_that_is_off_on_purpose_is_so_while_checks_fail() {
    let step = |turn: i64| 2_000 + (turn * 7_919 % 400) - 200;
    let times =
        |count: i64| (0..count).scan(0, |at, turn| Some(std::mem::replace(at, *at + step(turn))));
    let all = millis(&times(60).collect::<Vec<i64>>());
    let mut scene = Scene::new();
    scene.to(OTHER).habit(Habit::Users);
    scene.to(DOWN).asks(OPTIONS, all[..20].iter().copied());
    scene.connects(Shape::Refused, all[20..40].iter().copied());
    scene.asks(OPTIONS, all[40..].iter().copied());
    let refused: Vec<i64> = all[20..40].iter().map(|at| at / MILLISECOND).collect();
    assert_eq!(recognised(&mut scene, DOWN), refused);
}

/// `timeout connect 5s` of the users' proxy, which checks with `inter 2s`: its users' SYNs are repeated once more.
#[test]
fn who_waits_longer_than_checks_do_is_no_check() {
    let checks = millis(&[32_041, 36_044, 40_047, 44_049, 48_053, 52_055, 56_058]);
    let user = 34_043 * MILLISECOND;
    for waits in [2, 5] {
        let mut scene = Scene::new();
        scene.to(DOWN).habit(Habit::Users).asks(OPTIONS, every(2.0025, 16));
        scene.waits = waits * SECOND;
        scene.connects(Shape::Unanswered, [user, 43_000 * MILLISECOND]);
        scene.waits = 2 * SECOND;
        scene.connects(Shape::Unanswered, checks.clone());
        scene.asks(OPTIONS, every(2.0025, 12).map(|at| at + 60_060 * MILLISECOND));
        let told = recognised(&mut scene, DOWN);
        assert_eq!(told.contains(&(user / MILLISECOND)), waits == 2, "{waits} {told:?}");
        assert!(waits == 2 || told.len() == checks.len(), "{told:?}");
    }
}

/// `inter 1s fastinter 400ms downinter 700ms fall 3`, refused with its users, whom it tries again after a second.
#[test]
fn checks_at_fastinter_and_downinter_are_found_among_users() {
    let outage = [0, 401, 803, 1_504, 2_206, 2_907, 3_609];
    let (mut scene, mut checks) = (Scene::new(), Vec::new());
    for turn in 0..3_i64 {
        let from = 20_000 * turn;
        let passed = every(1.0015, 10).map(|at| at + from * MILLISECOND);
        scene.to(DOWN).habit(Habit::Users).asks(OPTIONS, passed);
        let failed = outage.map(|at| from + 10_015 + at);
        let user = from + 10_240;
        let mut all = [&failed[..], &[user, user + 1_001, user + 2_002]].concat();
        all.sort_unstable();
        scene.connects(Shape::Refused, millis(&all));
        // `rise 2`: one that passes, and the next after `fastinter`.
        let up = from + 10_015 + 4_311;
        scene.asks(OPTIONS, millis(&[up, up + 401]));
        checks.extend(failed);
    }
    scene.asks(OPTIONS, every(1.0015, 5).map(|at| at + 60_000 * MILLISECOND));
    assert_eq!(recognised(&mut scene, DOWN), checks);
}

/// A script asks from the prober's own address as often as that checks, and both are refused.
#[test]
fn users_as_regular_as_checks_are_not_taken_for_them() {
    let head = "GET /health HTTP/1.1\nHost: 10.0.0.9:9103\nConnection: close\n\
        User-Agent: ELB-HealthChecker/2.0\nAccept-Encoding: gzip, compressed\n";
    for (period, phase, step) in [(1.5, 0.75, 1.5), (1.5, 0.5, 1.5), (2.0, 0.3, 1.0)] {
        let failed = every(period, 18).skip(10).collect::<Vec<i64>>();
        let (first, last) = (failed[0], failed[failed.len() - 1]);
        let users = every(step, 60).map(|at| at + (phase * SECOND as f64) as i64);
        let users = users.filter(|at| (first..last).contains(at));
        let mut all: Vec<i64> = failed.iter().copied().chain(users).collect();
        all.sort_unstable();
        let mut scene = Scene::new();
        scene.to(DOWN).asks(head, every(period, 10));
        scene.connects(Shape::Refused, all);
        scene.asks(head, every(period, 24).skip(18));
        let checks: Vec<i64> = failed.iter().map(|at| at / MILLISECOND).collect();
        // Whose the others are is known at the end, when it is known that users come here.
        scene.habit(Habit::Users);
        assert_eq!(recognised(&mut scene, DOWN), checks, "{period} {phase}");
    }
}

/// `inter 5s fastinter 500ms downinter 1s`: the rhythm changes with the outcome.
#[test]
fn a_rhythm_that_changes_while_the_target_is_down_is_the_probers() {
    let down = every(1.0015, 120).map(|at| at + SECOND);
    let mut scene = Scene::new();
    scene.to(OTHER).habit(Habit::Users).asks(OPTIONS, every(2.002, 100));
    scene.to(DOWN).connects(Shape::Refused, down.clone());
    scene.asks(OPTIONS, [120_767 * MILLISECOND]);
    scene.asks(OPTIONS, every(5.003, 20).map(|at| at + 125_770 * MILLISECOND));
    assert_eq!(recognised(&mut scene, DOWN).len(), 120);
    // The same attempts where users go, too, may be theirs: HAProxy tries again after a second.
    let mut scene = Scene::new();
    scene.to(DOWN).habit(Habit::Users).connects(Shape::Refused, down);
    scene.asks(OPTIONS, every(5.003, 20).map(|at| at + 125_770 * MILLISECOND));
    assert_eq!(recognised(&mut scene, DOWN), NONE);
}

/// Of two attempts that come when one check is due, one is a user's.
#[test]
fn when_it_can_be_either_it_is_neither() {
    let mut scene = Scene::new();
    scene.to(OTHER).asks(OPTIONS, every(5.001, 20));
    let checks: Vec<i64> = every(5.001, 10).map(|at| at + 9_396 * MILLISECOND).collect();
    let all = [millis(&[2_258, 3_260, 4_261, 4_289, 5_262]), checks.clone()].concat();
    scene.to(DOWN).habit(Habit::Users).connects(Shape::Refused, all);
    let expected: Vec<i64> = checks.iter().map(|at| at / MILLISECOND).collect();
    assert_eq!(recognised(&mut scene, DOWN), expected);
}

/// A script that opens a connection every second is no health checker that vouches for others.
#[test]
fn who_is_not_known_as_a_prober_vouches_for_nobody() {
    let mut scene = Scene::new();
    scene.to(OTHER).connects(Shape::ConnectFin, every(1.001, 60));
    scene.to(DOWN).connects(Shape::Refused, every(1.0005, 60).map(|at| at + SECOND / 3));
    assert_eq!(recognised(&mut scene, DOWN), NONE);
    // Targets of one group have the same port.
    let mut scene = Scene::new();
    scene.to(OTHER).connects(Shape::ConnectFin, every(1.001, 60));
    let same = "10.0.0.10:9001";
    scene.to(same).connects(Shape::Refused, every(1.0005, 60).map(|at| at + SECOND / 3));
    assert_eq!(recognised(&mut scene, same).len(), 60);
}
