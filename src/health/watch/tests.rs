//! Tests of [`Watch`](super::Watch): checks in, targets out.

use super::*;
use crate::health::outcome::Outcome;
use crate::health::series;
use crate::health::settings::{Place, Raw, RawGroup};
use crate::health::state::State;
use crate::health::target::Target;
use crate::health::testing::{SECOND, attempt, mark, recognised, sighting};
use crate::health::traffic;
use crate::probe::Shape;
use crate::tcp::Side;

/// Notes what it is told.
#[derive(Default)]
struct Told(Vec<String>);

impl Events for Told {
    fn check(&mut self, _: Endpoint, verdict: &Verdict, check: &Check) {
        let prober = verdict.prober_id().unwrap_or("none");
        let outcome = check.outcome.map_or("none", Outcome::id);
        self.0.push(format!("{prober} {} {outcome}", check.began.0 / SECOND));
    }
    fn transition(&mut self, _: Endpoint, _: &str, entry: &Entry) {
        self.0.push(format!("{} {}", entry.state.id(), entry.reason.unwrap_or("-")));
    }
}

fn watch(from: i64, to: i64) -> Watch {
    let raw = |text: &str| Some(Raw { text: text.into(), place: Place::Flag("--hc") });
    let group = RawGroup {
        interval: raw("10"),
        healthy: raw("2"),
        unhealthy: raw("2"),
        ..RawGroup::default()
    };
    let groups = vec![group.check().unwrap()];
    let mut watch = Watch::new(Setup { groups, expected: Vec::new() });
    watch.advance(Timestamp(from * SECOND));
    watch.advance(Timestamp(to * SECOND));
    watch
}

fn states(target: &Target) -> Vec<(i64, &'static str)> {
    target.timeline.iter().map(|it| (it.mark.at.0 / SECOND, it.state.id())).collect()
}

#[test]
fn checks_and_changes_are_told_as_they_become_known() {
    let mut told = Told::default();
    let mut watch = watch(0, 60);
    for (at, status) in [(10, 200), (20, 200), (30, 503), (40, 503)] {
        watch.check(recognised(sighting(at, status)), &mut told);
    }
    assert_eq!(
        told.0,
        [
            "aws-alb 10 hc-pass",
            "unknown -",
            "aws-alb 20 hc-pass",
            "healthy -",
            "aws-alb 30 hc-status-mismatch",
            "aws-alb 40 hc-status-mismatch",
            "unhealthy Target.ResponseCodeMismatch",
        ]
    );
    let health = watch.finish(&[]);
    assert_eq!(states(&health.targets[0]), [(10, "unknown"), (20, "healthy"), (40, "unhealthy")]);
    assert_eq!((health.checks, health.by_outcome[&Outcome::StatusMismatch]), (4, 2));
}

#[test]
fn the_first_check_after_silence_is_the_first_ever() {
    let mut watch = watch(0, 60);
    watch.check(recognised(sighting(35, 200)), &mut Silent);
    let target = &watch.finish(&[]).targets[0];
    let reasons: Vec<_> = target.timeline.iter().map(|it| (it.state.id(), it.reason)).collect();
    assert_eq!(reasons, [("initial", Some("Elb.InitialHealthChecking")), ("healthy", None)]);
}

#[test]
fn a_kind_of_check_that_becomes_likely_later_is_told_from_the_start() {
    let mut told = Told::default();
    let mut watch = watch(0, 60);
    for at in [10, 20] {
        let mut check = recognised(sighting(at, 200));
        let verdict = Arc::make_mut(&mut check.verdict);
        (verdict.confidence, verdict.decibans) = (Confidence::Possible, 5);
        watch.check(check, &mut told);
    }
    assert_eq!(told.0, [] as [&str; 0]);
    watch.check(recognised(sighting(30, 200)), &mut told);
    assert_eq!(told.0.len(), 5, "{:?}", told.0);
}

#[test]
fn what_is_only_possible_is_counted_and_not_reported() {
    let mut watch = watch(0, 60);
    let mut check = recognised(sighting(10, 503));
    let verdict = Arc::make_mut(&mut check.verdict);
    verdict.confidence = Confidence::Possible;
    verdict.reasons = vec![Reason { what: "a rhythm".into(), decibans: 3 }];
    watch.check(check, &mut Silent);
    let health = watch.finish(&[]);
    assert_eq!((health.targets.len(), health.checks, health.possible), (0, 0, 1));
}

#[test]
fn regular_connections_of_a_nameless_prober_are_checks_beside_its_requests() {
    let nameless = |check, id, confidence| {
        let mut check = recognised(check);
        let verdict = Arc::make_mut(&mut check.verdict);
        (verdict.prober, verdict.confidence) = (None, confidence);
        check.checker = CheckerId(id);
        check
    };
    let outcomes = |confidence| {
        let mut watch = watch(0, 60);
        for second in [10, 20, 30] {
            watch.check(nameless(sighting(second, 200), 1, Confidence::Likely), &mut Silent);
            let bare = attempt(second + 3, Shape::ConnectFin);
            watch.check(nameless(bare, 2, confidence), &mut Silent);
        }
        watch.finish(&[]).by_outcome
    };
    assert_eq!(outcomes(Confidence::Likely), [(Outcome::Pass, 6)].into());
    let tests = [(Outcome::Pass, 3), (Outcome::ProbeNoData, 3)].into();
    assert_eq!(outcomes(Confidence::Possible), tests, "known by their source only");
}

#[test]
fn what_the_user_announces_needs_less_to_be_a_check() {
    let raw = |text: &str| Raw { text: text.into(), place: Place::Flag("--hc") };
    let mut seen = Vec::new();
    for (protocol, expected) in [("https", true), ("https", false), ("http", true)] {
        let group = RawGroup { protocol: Some(raw(protocol)), ..RawGroup::default() };
        let target = Endpoint::v4([10, 0, 2, if expected { 9 } else { 10 }], 8080);
        let groups = vec![group.check().unwrap()];
        let mut watch = Watch::new(Setup { groups, expected: vec![target] });
        watch.advance(Timestamp(0));
        let mut check = crate::health::testing::silent(10);
        check.tls = Some(Arc::default());
        let mut check = recognised(check);
        let verdict = Arc::make_mut(&mut check.verdict);
        (verdict.confidence, verdict.prober) = (Confidence::Possible, None);
        watch.check(check, &mut Silent);
        seen.push(watch.finish(&[]).checks);
    }
    assert_eq!(seen, [1, 0, 0]);
}

#[test]
fn an_expected_target_without_checks_says_what_to_look_at() {
    let mut watch = watch(0, 305);
    watch.expected = vec![Endpoint::v4([10, 0, 2, 9], 8080)];
    let target = watch.finish(&[]).targets.remove(0);
    let absence = target.absence.unwrap();
    assert_eq!(absence.id, "no-check-arrived");
    assert!(absence.text.contains("in 30 intervals of 10 s"), "{}", absence.text);
    let order = ["right host", "egress", "ingress", "ACL", "Port", "Registration"];
    assert_eq!(absence.steps.len(), order.len());
    for (step, word) in absence.steps.iter().zip(order) {
        assert!(step.contains(word), "{word} in {step}");
    }
    assert!(target.triage.iter().all(|point| point.answer == crate::health::Answer::Unseen));
}

#[test]
fn a_node_that_fails_alone_is_pointed_out() {
    let notes = |failing: &[u8], broken: std::ops::Range<i64>| {
        let mut watch = watch(0, 200);
        for at in (10..200).step_by(10) {
            for node in [7, 8] {
                let failed = failing.contains(&node) && broken.contains(&at);
                let mut check = sighting(at + i64::from(node), if failed { 503 } else { 200 });
                check.source = Endpoint::v4([10, 0, 1, node], check.source.port);
                watch.check(recognised(check), &mut Silent);
            }
        }
        let target = watch.finish(&[]).targets.remove(0);
        let notes: Vec<_> = target.remarks.iter().map(|note| note.id).collect();
        let about_nodes = ["one-node-apart", "restless"];
        about_nodes.map(|id| notes.contains(&id))
    };
    assert_eq!(notes(&[8], 60..120), [true, false], "six in a row of one");
    assert_eq!(notes(&[7, 8], 60..120), [false, false], "the target");
    assert_eq!(notes(&[8], 60..65), [false, false], "one check");
}

#[test]
fn checks_of_another_port_belong_to_the_target_that_the_group_names() {
    let raw = |text: &str| Raw { text: text.into(), place: Place::Flag("--hc") };
    let group = RawGroup {
        port: Some(raw("8080")),
        targets: vec![raw("10.0.2.9:443")],
        ..RawGroup::default()
    };
    let setup = Setup { groups: vec![group.check().unwrap()], expected: Vec::new() };
    let mut watch = Watch::new(setup);
    watch.advance(Timestamp(0));
    watch.check(recognised(sighting(10, 200)), &mut Silent);
    let health = watch.finish(&[]);
    assert_eq!(health.targets.len(), 1);
    assert_eq!((health.targets[0].server.port, health.targets[0].checks()), (443, 1));
    assert!(health.targets[0].expected && health.targets[0].absence.is_none());
}

#[test]
fn checks_that_stop_leave_a_sign_of_why() {
    let mut watch = watch(0, 200);
    for at in [10, 20, 30, 40] {
        watch.check(recognised(sighting(at, 200)), &mut Silent);
    }
    let target = watch.finish(&[]).targets.remove(0);
    assert_eq!(target.absence.as_ref().unwrap().id, "checks-stopped");
    let last = target.timeline.last().unwrap();
    assert_eq!((last.state, last.confidence), (State::Unused, Confidence::Possible));
    assert_eq!(last.reason, Some("Target.NotRegistered"));
}

/// A connection of a user at that second, through the load balancer, with one request.
fn user(second: i64, port: u16) -> Flow {
    let mut user = Flow {
        id: 77 + u64::from(port),
        client: Endpoint::v4([10, 0, 1, 7], 50_000),
        server: Endpoint::v4([10, 0, 2, 9], port),
        first: mark(second * SECOND),
        last: mark(second * SECOND),
        requests: 1,
        responses: 1,
        ..Flow::default()
    };
    user.opening.syn = Some(user.first);
    user.opening.syn_ack = Some(user.first);
    user.half_mut(Side::Client).sent = 100;
    user.half_mut(Side::Client).last_data = Some(user.first);
    user
}

#[test]
fn requests_to_an_unhealthy_target_mean_that_the_load_balancer_fails_open() {
    let mut watch = watch(0, 80);
    for (at, status) in [(10, 200), (20, 200), (30, 503), (40, 503), (50, 503), (60, 503)] {
        watch.check(recognised(sighting(at, status)), &mut Silent);
    }
    watch.flow(&user(55, 8080));
    let target = watch.finish(&[]).targets.remove(0);
    let ids: Vec<&str> = target.remarks.iter().map(|note| note.id).collect();
    assert!(ids.contains(&"fail-open"), "{ids:?}");
    assert_eq!(target.users.requests, 1);
}

#[test]
fn users_of_another_target_of_the_host_are_not_those_of_one_that_is_down() {
    let users = |both: bool| {
        let mut watch = watch(0, 80);
        for at in [10, 20, 30, 40, 50, 60] {
            watch.check(recognised(attempt(at, Shape::Refused)), &mut Silent);
            let mut up = sighting(at + 1, 200);
            up.target.port = 8081;
            if both {
                watch.check(recognised(up), &mut Silent);
            }
        }
        watch.flow(&user(55, 8081));
        let targets = watch.finish(&[]).targets;
        let fails_open = targets[0].remarks.iter().any(|note| note.id == "fail-open");
        (targets.iter().map(|target| target.users.requests).collect::<Vec<u64>>(), fails_open)
    };
    assert_eq!(users(true), (vec![0, 1], false));
    assert_eq!(users(false), (vec![1], true), "a port of its own for checks");
}

#[test]
fn attempts_that_fail_after_the_last_known_check_leave_open_whether_checks_go_on() {
    let mut watch = watch(0, 200);
    for at in [10, 20, 30, 40] {
        watch.check(recognised(sighting(at, 200)), &mut Silent);
    }
    let mut vain = user(60, 8080);
    vain.opening.syn_ack = None;
    watch.flow(&Flow { requests: 0, responses: 0, halves: Default::default(), ..vain });
    let target = watch.finish(&[]).targets.remove(0);
    assert!(target.absence.is_none() && target.state == State::Unknown);
    assert_eq!(states(&target), [(10, "unknown"), (20, "healthy"), (60, "unknown")]);
}

#[test]
fn bounds_hold_and_are_counted() {
    let mut watch = watch(0, 50_000);
    let many = series::CHECKS_MAX as i64 + 7;
    for n in 0..many {
        watch.check(recognised(sighting(n * 10, 200)), &mut Silent);
    }
    let health = watch.finish(&[]);
    let prober = &health.targets[0].probers[0];
    assert_eq!((prober.total, prober.checks.len()), (many as u64, series::CHECKS_MAX));
    assert_eq!(health.bounds["health checks counted and not listed"], 7);
    assert_eq!(health.by_outcome[&Outcome::Pass], many as u64);
}

#[test]
fn connections_that_are_not_remembered_matter_where_there_are_checks() {
    let bounds = |checks: &[i64]| {
        let mut watch = watch(0, 3_000);
        for at in checks {
            watch.check(recognised(sighting(*at, 200)), &mut Silent);
        }
        for at in 0..traffic::CONNECTIONS_MAX as i64 + 3 {
            watch.flow(&user(at, 8080));
        }
        watch.finish(&[]).bounds
    };
    assert_eq!(bounds(&[10, 20])["connections not compared with health checks"], 3);
    assert!(bounds(&[]).is_empty());
}

#[test]
fn an_unanswered_check_that_comes_last_is_judged_in_its_place() {
    let mut watch = watch(0, 75);
    for at in [10, 20, 50, 60] {
        watch.check(recognised(sighting(at, 200)), &mut Silent);
    }
    for at in [30, 40] {
        watch.check(recognised(attempt(at, Shape::Unanswered)), &mut Silent);
    }
    let target = watch.finish(&[]).targets.remove(0);
    let wanted = [(10, "unknown"), (20, "healthy"), (40, "unhealthy"), (60, "healthy")];
    assert_eq!(states(&target), wanted);
}

/// Regular connections that say six bytes and are answered with seven.
fn pinged(watch: &mut Watch) {
    for at in (10..60).step_by(10) {
        let mut ping = attempt(at, Shape::Data);
        (ping.opening, ping.payload) = (b"PING\r\n".as_slice().into(), [6, 7]);
        (ping.answer, ping.marks.response_first) = (b"+PONG\r\n".as_slice().into(), Some(mark(0)));
        let mut one = recognised(ping);
        let verdict = Arc::make_mut(&mut one.verdict);
        (verdict.prober, verdict.confidence) = (None, Confidence::Possible);
        watch.check(one, &mut Silent);
    }
}

#[test]
fn a_database_that_refuses_is_reached_on_the_right_port_and_is_not_well() {
    let mut watch = watch(0, 75);
    for at in (10..60).step_by(10) {
        let mut check = attempt(at, Shape::Data);
        check.opening = b"\x25\0\0\x01\0\x82\0\0\0\x80\0\x01\x21".as_slice().into();
        check.answer = b"\x17\0\0\0\xff\x10\x04Too many".as_slice().into();
        (check.payload, check.marks.response_first) = ([13, 15], Some(mark(0)));
        watch.check(recognised(check), &mut Silent);
    }
    let target = watch.finish(&[]).targets.remove(0);
    let said = |id: &str| {
        let point = target.triage.iter().find(|point| point.id == id).unwrap();
        (point.answer.id(), point.why.to_string())
    };
    let refused = "MySQL answers with error 1040: it says itself that it is not well";
    assert_eq!(said("app-up"), ("no", refused.to_owned()));
    let reached = "port 8080 speaks the check's protocol";
    assert_eq!(said("path-and-port"), ("yes", reached.to_owned()));
}

#[test]
fn bytes_of_another_protocol_are_a_tcp_check_where_such_a_check_can_send_some() {
    let checks = |lb: &str, protocol: &str| {
        let raw = |text: &str| Some(Raw { text: text.into(), place: Place::Flag("--hc") });
        let target = raw("10.0.2.9:8080").into_iter().collect();
        let group = RawGroup {
            lb_type: raw(lb),
            protocol: raw(protocol),
            targets: target,
            ..RawGroup::default()
        };
        let groups = vec![group.check().unwrap()];
        let mut watch = Watch::new(Setup { groups, expected: Vec::new() });
        watch.advance(Timestamp(0));
        watch.advance(Timestamp(60 * SECOND));
        pinged(&mut watch);
        watch.finish(&[])
    };
    let health = checks("haproxy", "tcp");
    assert_eq!(health.checks, 5);
    let target = &health.targets[0];
    assert!(!target.advice.iter().any(|note| note.id == "tcp-only"), "its program answers");
    assert_eq!(target.triage[0].answer.id(), "yes");
    assert_eq!(checks("nlb", "tcp").checks, 0);
    assert_eq!(checks("haproxy", "http").checks, 0);
}
