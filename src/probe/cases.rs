//! Whom recognition names, and whom it does not: every known prober by its example, unknown ones by
//! their behaviour, and what looks like a check and is none.

use super::catalogue::Catalogue;
use super::file::{Ends, Example};
use super::sighting::{Shape, Sighting};
use super::tap::Habit;
use super::testing::{SECOND, Scene, endpoint, every, irregular};
use super::verdict::Recognised;
use super::{ProxyCommand, ProxyHeader};
use crate::cause::Confidence::{self, Certain, Likely, Possible};
use crate::flow::EndingKind;
use crate::tcp::Side;
use std::sync::Arc;

/// The best confidence among what was recognised.
fn best(out: &[Recognised]) -> Option<Confidence> {
    out.iter().map(|recognised| recognised.verdict.confidence).max()
}

/// Prober and confidence of the last one.
fn last(out: &[Recognised]) -> Option<(Option<&str>, Confidence)> {
    let verdict = &out.last()?.verdict;
    Some((verdict.prober_id(), verdict.confidence))
}

fn why(out: &[Recognised]) -> String {
    let Some(last) = out.last() else { return "nothing".to_owned() };
    let reasons: Vec<String> = last.verdict.reasons.iter().map(ToString::to_string).collect();
    format!("{:?} {} dB: {}", last.verdict.prober_id(), last.verdict.decibans, reasons.join("; "))
}

#[test]
fn each_example_is_recognised_as_its_own_prober() {
    let catalogue = Catalogue::built_in().unwrap();
    for (number, rule) in catalogue.rules.iter().enumerate() {
        let prober = &catalogue.probers()[rule.prober];
        let Some(example) = &rule.when.example else { panic!("{} has no example", prober.id) };
        let mut scene = Scene::with(Arc::clone(&catalogue));
        scene.play(example);
        let out = scene.finish();
        let what = format!("{} (rule {number}): {}", prober.id, why(out));
        if prober.veto {
            assert!(out.is_empty(), "{what}");
            continue;
        }
        if example.every.is_some() || rule.when.db >= 36 {
            assert!(!out.is_empty(), "{what}");
        }
        for recognised in out {
            let verdict = &recognised.verdict;
            assert_eq!(verdict.prober_id(), Some(&*prober.id), "{what}");
            assert!(!verdict.reasons.is_empty() && !verdict.relayed, "{what}");
            let home = !verdict.unexpected_source;
            assert!(home, "{what}: unexpected source");
            if prober.tool {
                assert_eq!(verdict.confidence, Possible, "{what}");
            } else if rule.when.db >= 36 {
                assert!(verdict.confidence >= Likely, "{what}");
            }
        }
    }
}

const ALB: &str = "GET /health HTTP/1.1\nHost: 10.0.0.9:8080\nConnection: close\n\
    User-Agent: ELB-HealthChecker/2.0\nAccept-Encoding: gzip, compressed\n";

#[test]
fn an_alb_is_told_from_an_nlb_by_host() {
    let named = |host: &str| {
        let mut scene = Scene::new();
        scene.from("10.0.1.17").asks(&ALB.replace("10.0.0.9:8080", host), [0]);
        last(&scene.out).and_then(|(id, _)| id.map(str::to_owned))
    };
    assert_eq!(named("10.0.0.9:8080").as_deref(), Some("aws-alb"));
    assert_eq!(named("10.0.0.9").as_deref(), Some("aws-alb"));
    assert_eq!(named("10.0.1.17:443").as_deref(), Some("aws-nlb"));
    assert_eq!(named("10.0.1.17").as_deref(), Some("aws-nlb"));
    assert_eq!(named("app.example").as_deref(), Some("aws-alb"));
}

#[test]
fn a_named_check_is_given_out_at_once_and_others_when_they_are_decided() {
    let mut scene = Scene::new();
    scene.asks(ALB, [0]);
    assert_eq!(scene.out.len(), 1);
    assert_eq!(last(&scene.out), Some((Some("aws-alb"), Certain)), "{}", why(&scene.out));
    let mut scene = Scene::new();
    scene.connects(Shape::HandshakeReset, every(2.0, 4));
    assert!(scene.out.is_empty());
    scene.connects(Shape::HandshakeReset, every(2.0, 9).skip(4));
    assert_eq!(scene.out.len(), 9);
    assert_eq!(last(&scene.out), Some((Some("haproxy"), Certain)), "{}", why(&scene.out));
    let times: Vec<_> = scene.out.iter().map(|one| one.sighting.began().0 / SECOND).collect();
    assert_eq!(times, (0..9).map(|turn| 2 * turn).collect::<Vec<_>>());
}

#[test]
fn a_known_agent_from_where_it_does_not_live_is_pointed_out() {
    let mut scene = Scene::new();
    scene.from("203.0.113.9").asks(ALB, [0]);
    assert!(scene.out[0].verdict.unexpected_source);
}

#[test]
fn forwarded_checks_are_not_the_load_balancers_own() {
    let mut scene = Scene::new();
    scene.asks(&format!("{ALB}X-Forwarded-For: 10.9.9.9\n"), every(30.0, 10));
    let out = scene.finish();
    assert_eq!(last(out), Some((Some("aws-alb"), Possible)), "{}", why(out));
    assert!(out.iter().all(|one| one.verdict.relayed));
    let mut scene = Scene::new();
    let kuma =
        "GET / HTTP/1.1\nHost: a\nUser-Agent: Uptime-Kuma/1.23\nX-Forwarded-For: 192.0.2.1\n";
    scene.asks(kuma, every(60.0, 3));
    scene.finish();
    assert_eq!(last(&scene.out), Some((Some("uptime-kuma"), Certain)));
    assert!(scene.out.iter().all(|one| one.verdict.relayed));
}

#[test]
fn an_unknown_prober_is_found_by_what_it_does() {
    let bare = "GET /health HTTP/1.1\nHost: 10.0.0.9:8080\nConnection: close\n";
    let mut scene = Scene::new();
    scene.asks(bare, every(10.0, 10));
    scene.finish();
    assert_eq!(last(&scene.out), Some((None, Certain)), "{}", why(&scene.out));
    assert_eq!(scene.out[0].verdict.period, Some(10.0));
    // One that keeps its connection.
    let mut scene = Scene::new();
    scene.asks_on_one("GET /status HTTP/1.1\nHost: app\nAccept: */*\n", every(5.0, 12));
    scene.finish();
    assert_eq!(last(&scene.out).map(|(_, sure)| sure), Some(Certain), "{}", why(&scene.out));
    // A program for any purpose, from a proxy that forwards users' requests.
    let mut scene = Scene::new();
    scene.habit(Habit::Users).habit(Habit::Forwards);
    let go = "GET /health HTTP/1.1\nHost: 10.0.0.9:8080\nUser-Agent: Go-http-client/1.1\n\
        Accept-Encoding: gzip\n";
    scene.asks(go, every(30.0, 10));
    scene.finish();
    assert_eq!(last(&scene.out), Some((Some("go-http-client"), Certain)), "{}", why(&scene.out));
    // A poller on the host of such a proxy.
    for path in ["/u/status", "/health"] {
        let mut scene = Scene::new();
        scene.habit(Habit::Users).habit(Habit::Forwards);
        let curl = "Host: 10.0.0.9:8080\nUser-Agent: curl/8.5.0\nAccept: */*\n";
        scene.asks(&format!("GET {path} HTTP/1.1\n{curl}"), every(1.5, 40));
        assert!(best(scene.finish()) <= Some(Possible), "{}", why(&scene.out));
    }
    // A connection check.
    let mut scene = Scene::new();
    scene.connects(Shape::ConnectFin, every(10.0, 10));
    scene.finish();
    assert_eq!(last(&scene.out), Some((None, Likely)), "{}", why(&scene.out));
}

#[test]
fn a_prober_whose_targets_on_one_host_refuse_it_is_no_port_scanner() {
    // Many backends of one HAProxy that are down: those that answer are checked all the same.
    let down =
        ["10.0.0.9:9001", "10.0.0.9:9002", "10.0.0.9:9003", "10.0.0.9:9004", "10.0.0.9:9005"];
    for (shape, ask) in [(Shape::HandshakeReset, None), (Shape::Data, Some("OPTIONS / HTTP/1.0\n"))]
    {
        let mut scene = Scene::new();
        for at in every(2.0, 20) {
            for (nth, target) in down.iter().enumerate() {
                scene.to(target).connects(Shape::Refused, [at + nth as i64 * SECOND / 6]);
            }
            scene.to("10.0.0.9:9006");
            match ask {
                Some(head) => _ = scene.asks(head, [at]),
                None => _ = scene.connects(shape, [at]),
            }
        }
        scene.finish();
        let count = |target: &str| {
            let at = endpoint(target);
            let sure = |one: &&Recognised| one.verdict.confidence >= Likely;
            scene.out.iter().filter(sure).filter(|one| one.sighting.target == at).count()
        };
        assert_eq!(count("10.0.0.9:9006"), 20, "{shape:?}: {}", why(&scene.out));
        assert!(down.iter().all(|target| count(target) == 20), "{shape:?}");
    }
    // A scanner meets one port that answers, as often as it comes.
    let mut scene = Scene::new();
    for turn in every(60.0, 10) {
        for port in 9001..9020 {
            let shape = if port == 9006 { Shape::HalfOpen } else { Shape::Refused };
            scene.to(&format!("10.0.0.9:{port}")).connects(shape, [turn + i64::from(port)]);
        }
    }
    assert!(best(scene.finish()).is_none_or(|sure| sure == Possible), "{}", why(&scene.out));
}

#[test]
fn nodes_of_one_load_balancer_are_one_checker() {
    let mut scene = Scene::new();
    for (node, offset) in [("10.0.1.1", 0), ("10.0.2.1", 7), ("10.0.3.1", 11)] {
        scene.from(node).asks(ALB, every(30.0, 3).map(|at| at + offset * SECOND));
    }
    let groups: std::collections::BTreeSet<_> = scene.out.iter().map(|one| one.group).collect();
    let checkers: std::collections::BTreeSet<_> = scene.out.iter().map(|one| one.checker).collect();
    assert_eq!((groups.len(), checkers.len(), scene.out.len()), (3, 1, 9));
}

#[test]
fn failed_attempts_in_the_rhythm_of_checks_are_checks() {
    let failing = |users: bool| {
        let mut scene = Scene::new();
        if users {
            scene.habit(Habit::Users);
        }
        scene.connects(Shape::HandshakeReset, every(2.0, 10));
        scene.connects(Shape::Refused, every(2.0, 13).skip(10));
        let unanswered = scene.connection(Shape::Unanswered, 26 * SECOND, 0);
        scene.sight(unanswered);
        // A user's.
        let stray = scene.connection(Shape::Refused, 23 * SECOND, 0);
        scene.sight(stray);
        scene.finish();
        scene.out.iter().filter(|one| !one.sighting.shape.is_accepted()).count()
    };
    assert_eq!(failing(true), 4, "what is out of step may be a user's");
    assert_eq!(failing(false), 5, "this source does nothing but check");
}

/// A snap length of 96 bytes leaves about 30 of the request.
#[test]
fn what_is_not_captured_of_a_head_speaks_for_nothing() {
    let cut = |path: &str| {
        let mut scene = Scene::new();
        let head = format!("GET {path} HTTP/1.1\nHost: 10.0.0.9:8080\n");
        for at in every(5.0, 20) {
            let mut sighting = scene.exchange(&head, at, 200).unwrap();
            let facts = Arc::make_mut(sighting.request.as_mut().unwrap());
            *facts = super::head::facts(head.replace('\n', "\r\n").as_bytes());
            facts.asked = 7;
            facts.signs = scene.signs(facts);
            sighting.response = None;
            scene.sight(sighting);
        }
        best(scene.finish())
    };
    assert_eq!(cut("/healthz"), Some(Likely));
    for path in ["/server-status?auto", "/orders", "/"] {
        assert!(cut(path).is_none_or(|confidence| confidence == Possible), "{path}");
    }
    // Nothing at all of what was sent: a client that polls looks the same.
    let mut scene = Scene::new();
    for at in every(1.0, 40) {
        let mut sighting = scene.connection(Shape::Data, at, 5_000_000);
        sighting.payload = [120, 300];
        scene.sight(sighting);
    }
    assert!(best(scene.finish()).is_none_or(|confidence| confidence == Possible));
}

/// HAProxy checks with `send-proxy-v2` beside users whose requests look the same.
#[test]
fn what_a_proxy_asks_for_itself_is_told_from_what_it_asks_for_others() {
    let mut scene = Scene::new();
    let header = |scene: &mut Scene, at, command| {
        let mut sighting = scene.exchange("GET /orders HTTP/1.0\n", at, 200).unwrap();
        sighting.proxy = Some(ProxyHeader { version: 2, command });
        scene.sight(sighting);
    };
    let user = ProxyCommand::Proxy(endpoint("203.0.113.9:4000"), endpoint("10.0.0.9:80"));
    for (own, other) in every(2.0, 20).zip(irregular(2.0, 20, 3)) {
        header(&mut scene, own, ProxyCommand::Local);
        header(&mut scene, other, user);
    }
    let out = scene.finish();
    let named = |it: &&Recognised| it.verdict.prober_id() == Some("proxy-local");
    let checks: Vec<_> = out.iter().filter(named).map(|it| it.verdict.confidence).collect();
    assert_eq!(checks, [Certain; 20]);
    let others = out.iter().filter(|it| !named(it)).map(|it| it.verdict.confidence).max();
    assert!(others.is_none_or(|confidence| confidence == Possible), "{}", why(out));
}

#[test]
fn what_a_tcp_check_sends_is_known_by_how_it_comes_and_goes() {
    let ping = |rides: bool, ends: Ends| {
        let mut scene = Scene::new();
        scene.play(&Example {
            payload: Some("50494e470d0a".to_owned().try_into().unwrap()),
            every: Some(2.0),
            rides,
            ends: Some(ends),
            ..Example::default()
        });
        last(scene.finish()).map(|(prober, confidence)| (prober == Some("haproxy"), confidence))
    };
    assert_eq!(ping(true, Ends::Rst), Some((true, Likely)));
    assert_eq!(ping(true, Ends::ServerFirst), Some((true, Likely)), "the target closes first");
    // Clients that poll do neither.
    assert!(ping(false, Ends::Rst).is_none_or(|(_, confidence)| confidence == Possible));
    assert!(ping(true, Ends::Fin).is_none_or(|(_, confidence)| confidence == Possible));
}

#[test]
fn users_of_a_proxy_for_tcp_are_users_when_their_connections_are_refused() {
    let mut scene = Scene::new();
    let ping = |scene: &mut Scene, at: i64| {
        let mut check = scene.connection(Shape::Data, at, 5_000_000);
        check.marks.request_first = check.marks.ack;
        (check.opening, check.payload) = (b"PING\r\n".as_slice().into(), [6, 7]);
        let end = crate::flow::Ending::example(check.marks.last, Side::Client, EndingKind::Rst);
        check.endings[Side::Client as usize] = Some(end);
        scene.sight(check);
    };
    every(2.0, 20).for_each(|at| ping(&mut scene, at));
    for at in irregular(1.3, 20, 3) {
        let mut get = scene.connection(Shape::Data, at, 5_000_000);
        (get.opening, get.payload) = (b"GET key:81\r\n".as_slice().into(), [12, 11]);
        scene.sight(get);
    }
    let checks = [40, 42, 44].map(|second| second * SECOND);
    let user = [40_700, 41_700, 42_700, 43_700].map(|at| at * SECOND / 1000);
    let mut all = [&checks[..], &user].concat();
    all.sort_unstable();
    scene.connects(Shape::Refused, all);
    every(2.0, 10).for_each(|at| ping(&mut scene, at + 46 * SECOND));
    let out = scene.finish();
    let refused = out.iter().filter(|one| one.sighting.shape == Shape::Refused);
    let told: Vec<i64> = refused.map(|one| one.sighting.began().0).collect();
    assert!(!told.is_empty() && told.iter().all(|at| checks.contains(at)), "{told:?}");
}

#[test]
fn what_a_proxy_sends_ahead_of_its_users_bytes_is_no_sign_of_a_check() {
    let mut scene = Scene::new();
    for at in every(2.0, 12) {
        let mut sighting = scene.connection(Shape::Data, at, 5_000_000);
        sighting.payload = [30, 10];
        sighting.marks.request_first = sighting.marks.ack;
        let client = endpoint("192.0.2.9:40000");
        let command = ProxyCommand::Proxy(client, sighting.target);
        sighting.proxy = Some(ProxyHeader { version: 2, command });
        scene.sight(sighting);
    }
    assert!(best(scene.finish()).is_none_or(|confidence| confidence == Possible));
}

#[test]
fn probes_that_differ_in_their_query_only_are_two() {
    let mut scene = Scene::new();
    for (query, at) in [("live", 0), ("ready", SECOND / 2)] {
        let head = format!(
            "GET /healthz?{query} HTTP/1.1\nHost: 10.0.0.9:8080\nUser-Agent: kube-probe/1.30\n\
             Accept: */*\nConnection: close\n"
        );
        scene.asks(&head, every(10.0, 6).map(|turn| turn + at));
    }
    let checkers = |scene: &mut Scene| {
        let out = scene.finish();
        out.iter().map(|one| one.checker).collect::<std::collections::BTreeSet<_>>().len()
    };
    assert_eq!(checkers(&mut scene), 2);
    // A number against caches says nothing of what is asked.
    let mut scene = Scene::new();
    for (turn, at) in every(10.0, 12).enumerate() {
        let head = format!(
            "GET /healthz?full&t=17{turn:08} HTTP/1.1\nHost: 10.0.0.9:8080\nUser-Agent: kube-probe/1.30\n"
        );
        scene.asks(&head, [at]);
    }
    assert_eq!(checkers(&mut scene), 1);
}

#[test]
fn attempts_before_the_first_success_are_checks_too() {
    let mut scene = Scene::new();
    scene.habit(Habit::Users);
    scene.connects(Shape::Refused, every(2.0, 4));
    scene.connects(Shape::HandshakeReset, every(2.0, 14).skip(4));
    let out = scene.finish();
    let failed = out.iter().filter(|one| one.sighting.shape == Shape::Refused);
    assert!(failed.clone().all(|one| one.verdict.prober_id() == Some("haproxy")));
    assert_eq!((failed.count(), out.len()), (4, 14));
}

#[test]
fn what_people_and_programs_do_is_no_load_balancers_check() {
    type Play = fn(&mut Scene);
    let cases: [(&str, Play); 15] = [
        ("connections that a browser opens ahead", |scene| {
            for (turn, at) in irregular(4.0, 30, 1).into_iter().enumerate() {
                let idle = (1 + turn as i64 % 7) * 9 * SECOND / 4;
                let sighting = scene.connection(Shape::ConnectFin, at, idle);
                scene.sight(sighting);
            }
        }),
        ("a browser's preflights", |scene| {
            scene.asks(
                "OPTIONS / HTTP/1.1\nHost: a\nOrigin: https://b\nAccess-Control-Request-Method: PUT\n",
                every(10.0, 12),
            );
        }),
        ("a cron job with curl", |scene| {
            scene.asks(
                "GET /health HTTP/1.1\nHost: 10.0.0.9:8080\nUser-Agent: curl/8.5.0\nAccept: */*\n",
                every(60.0, 40),
            );
        }),
        ("a page that polls", |scene| {
            scene.asks_on_one(
                "GET /health HTTP/1.1\nHost: a\nUser-Agent: Mozilla/5.0\nReferer: https://a/\n\
                 Cookie: s=1\n",
                every(5.0, 40),
            );
        }),
        ("a program that polls", |scene| {
            scene.asks_on_one(
                "GET /api/jobs HTTP/1.1\nHost: a\nUser-Agent: worker/3\nAccept: */*\n",
                every(5.0, 40),
            );
        }),
        ("a script that asks again and again", |scene| {
            scene.asks(
                "GET /api/orders HTTP/1.1\nHost: 10.0.0.9:8080\nAccept-Encoding: identity\n",
                every(4.0, 40),
            );
        }),
        ("many phones that poll", |scene| {
            for phone in 0..20 {
                let times = every(30.0, 12).map(|at| at + phone * 1_370 * SECOND / 1000);
                scene.from(&format!("198.51.100.{phone}")).asks_on_one(
                    "GET /api/news HTTP/1.1\nHost: a\nUser-Agent: okhttp/4.12\nAccept: */*\n",
                    times,
                );
            }
        }),
        ("Prometheus", |scene| {
            scene.asks_on_one(
                "GET /metrics HTTP/1.1\nHost: 10.0.0.9:8080\nUser-Agent: Prometheus/2.48.1\n",
                every(15.0, 40),
            );
        }),
        ("an unnamed collector of metrics", |scene| {
            scene.asks("GET /metrics HTTP/1.1\nHost: 10.0.0.9:8080\n", every(15.0, 40));
        }),
        ("a half-open port scan", |scene| {
            for port in 1..200 {
                scene.target = endpoint(&format!("10.0.0.9:{port}"));
                let at = i64::from(port) * SECOND;
                let open =
                    matches!(port, 22 | 80 | 81 | 82 | 83 | 84 | 85 | 86 | 87 | 88 | 89 | 90);
                scene.connects(if open { Shape::HalfOpen } else { Shape::Refused }, [at]);
            }
        }),
        ("nmap's questions", |scene| {
            for head in ["OPTIONS / HTTP/1.0\n", "GET / HTTP/1.0\n", "OPTIONS / RTSP/1.0\n"] {
                scene.asks(head, [0, SECOND]);
            }
        }),
        ("a log shipper before a closed port", |scene| {
            scene.connects(Shape::Refused, every(5.0, 60));
        }),
        ("a client whose SYNs are lost", |scene| {
            scene.connects(Shape::Unanswered, every(10.0, 30));
        }),
        ("users of an API", |scene| {
            for (turn, at) in irregular(0.2, 300, 5).into_iter().enumerate() {
                let head = format!(
                    "GET /items/{turn} HTTP/1.1\nHost: 10.0.0.9:8080\nUser-Agent: app/1\nAccept: */*\n"
                );
                scene.asks(&head, [at]);
            }
        }),
        ("users of a landing page behind a proxy that says nothing", |scene| {
            let head = "GET / HTTP/1.0\nHost: backend\nConnection: close\nUser-Agent: Mozilla/5.0\n\
                Accept: text/html\n";
            scene.asks(head, irregular(0.7, 200, 9));
        }),
    ];
    for (what, play) in cases {
        let mut scene = Scene::new();
        play(&mut scene);
        let sure = best(scene.finish());
        assert!(sure <= Some(Possible), "{what}: {sure:?} {}", why(&scene.out));
    }
}

#[test]
fn checks_inside_the_host_are_named_as_such() {
    let mut scene = Scene::new();
    scene.from("127.0.0.1").to("127.0.0.1:8080");
    scene.asks(
        "GET /health HTTP/1.1\nHost: localhost:8080\nUser-Agent: curl/8.5.0\nAccept: */*\n",
        every(30.0, 10),
    );
    scene.finish();
    assert_eq!(last(&scene.out), Some((Some("container-healthcheck"), Certain)));
    let mut scene = Scene::new();
    scene.from("127.0.0.1").to("127.0.0.1:8080").connects(Shape::ConnectFin, every(10.0, 10));
    assert_eq!(last(scene.finish()).and_then(|(id, _)| id), Some("container-healthcheck"));
}

#[test]
fn users_that_are_refused_beside_checks_stay_users() {
    // A proxy checks and forwards from one address; its users' clients call themselves curl.
    let mut scene = Scene::new();
    scene.asks(ALB, every(10.0, 10));
    for (n, at) in irregular(3.0, 30, 7).into_iter().enumerate() {
        let head = format!("GET /api/{n} HTTP/1.1\nHost: shop.example\nUser-Agent: curl/8.5.0\n");
        scene.asks(&head, [at]);
    }
    let checks = [100, 110, 120].map(|second| second * SECOND);
    let users = [101, 103, 104, 107, 112, 113, 117, 118].map(|second| second * SECOND);
    let mut all: Vec<i64> = checks.iter().chain(&users).copied().collect();
    all.sort_unstable();
    scene.connects(Shape::Refused, all);
    let out = scene.finish();
    let refused = out.iter().filter(|one| one.sighting.shape == Shape::Refused);
    let taken: Vec<i64> = refused.map(|one| one.sighting.began().0).collect();
    assert_eq!(taken, checks);
}

#[test]
fn encrypted_checks_of_nobody_known_are_possible_at_most() {
    let hello = [22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3];
    let mut scene = Scene::new();
    for at in every(10.0, 12) {
        let mut sighting: Sighting = scene.connection(Shape::Data, at, 30_000_000);
        sighting.tls = Some(Arc::default());
        sighting.opening = hello.as_slice().into();
        sighting.payload = [600, 4200];
        scene.sight(sighting);
    }
    scene.finish();
    assert_eq!(last(&scene.out), Some((None, Possible)), "{}", why(&scene.out));
}

#[test]
fn bounds_hold_and_reaching_them_is_counted() {
    let mut scene = Scene::new();
    for turn in 0..30_000_u32 {
        let head = format!("GET /items/{turn} HTTP/1.1\nHost: a\nUser-Agent: app/{turn}\n");
        scene.asks(&head, [i64::from(turn) * SECOND]);
    }
    scene.asks(ALB, [40_000 * SECOND]);
    assert_eq!(last(scene.finish()), Some((Some("aws-alb"), Certain)));
    assert!(scene.unweighed().forgotten > 0);
}

#[test]
fn the_same_candidates_give_the_same_result() {
    let run = || {
        let mut scene = Scene::new();
        for (turn, at) in irregular(0.2, 400, 5).into_iter().enumerate() {
            scene.asks(&format!("GET /{} HTTP/1.0\n", turn % 37), [at]);
            scene.from(&format!("10.0.0.{}", turn % 5)).connects(Shape::ConnectFin, [at]);
        }
        scene.asks(ALB, every(30.0, 5)).connects(Shape::HandshakeReset, every(2.0, 20));
        scene.finish();
        let line =
            |one: &Recognised| (one.sighting.flow, one.group, one.checker, one.verdict.decibans);
        scene.out.iter().map(line).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}
