//! What the engine gives out as candidate health checks, from scripted connections.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use std::sync::Arc;
use support::{OK, Packet, RTT, SECOND, Script};
use why502::blind::BlindSpot;
use why502::cause::Finding;
use why502::engine::{Engine, Options, Output};
use why502::flow::{EndingKind, Flow};
use why502::http::{Exchange, State};
use why502::packet::Flags;
use why502::probe::{Catalogue, Habit, HeaderCase, ProxyCommand, Scope, Shape, Sighting};
use why502::tcp::Side::{Client, Server};

#[derive(Default)]
struct Candidates {
    found: Vec<Sighting>,
    habits: Vec<Habit>,
}

impl Output for Candidates {
    fn flow(&mut self, _: &Flow) {}
    fn exchange(&mut self, _: u64, _: &Exchange) {}
    fn finding(&mut self, _: Finding) {}
    fn sighting(&mut self, sighting: Sighting) {
        self.found.push(sighting);
    }
    fn habit(&mut self, _: &Flow, habit: Habit) {
        self.habits.push(habit);
    }
}

fn candidates(script: Script) -> Candidates {
    let probers = Catalogue::built_in().unwrap();
    let mut engine = Engine::new(Options::default()).watch_probers(probers);
    let mut found = Candidates::default();
    support::play(&mut engine, &script.packets, &[], &mut found);
    found
}

fn only(script: Script) -> Sighting {
    let mut found = candidates(script).found;
    assert_eq!(found.len(), 1);
    found.remove(0)
}

fn get(target: &str, more: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: 198.51.100.7:8080\r\n{more}\r\n")
}

#[test]
fn a_check_on_a_connection_of_its_own_is_told_whole() {
    let request = get("/health", "User-Agent: ELB-HealthChecker/2.0\r\nConnection: close\r\n");
    let script = Script::open().ask(&request).wait(7_000_000).answer(OK).close(Server);
    let check = only(script);
    assert_eq!((check.scope, check.ordinal, check.shape), (Scope::Connection, 1, Shape::Data));
    assert_eq!((check.status(), check.state), (Some(200), State::Answered));
    assert_eq!(check.request_len, request.len() as u64);
    let response = check.response.as_ref().unwrap();
    assert_eq!((response.body, response.sent), (2, OK.len() as u64));
    let latency = check.latency().unwrap();
    assert!((7_000_000..RTT + 8_000_000).contains(&latency), "{latency}");
    assert_eq!(check.closed_by, Some(Server));
    assert!(check.endings.iter().flatten().all(|ending| ending.kind == EndingKind::Fin));
    assert!(check.marks.syn.is_some() && check.marks.syn_ack.is_some());
    let facts = check.request.as_ref().unwrap();
    assert_eq!(facts.user_agent.as_deref(), Some("ELB-HealthChecker/2.0"));
    assert_eq!((facts.case, facts.names.len()), (HeaderCase::Canonical, 3));
    assert!(check.given_up_after().is_none());
}

#[test]
fn a_prober_that_gives_up_is_told_with_its_time() {
    let script = Script::open().ask(get("/health", "")).wait(2 * SECOND).rst_ack(Client);
    let check = only(script);
    assert_eq!((check.status(), check.state), (None, State::Unanswered));
    let after = check.given_up_after().unwrap();
    assert!((2 * SECOND..2 * SECOND + 4 * RTT).contains(&after), "{after}");
}

#[test]
fn checks_on_one_connection_are_told_one_by_one() {
    let mut script = Script::open();
    for _ in 0..6 {
        script = script.ask(get("/status", "")).answer(OK).wait(5 * SECOND);
    }
    let found = candidates(script.close(Client)).found;
    let ordinals: Vec<_> = found.iter().map(|check| (check.scope, check.ordinal)).collect();
    assert_eq!(ordinals, (1..=6).map(|turn| (Scope::Exchange, turn)).collect::<Vec<_>>());
    let apart = found[1].began().0 - found[0].began().0;
    assert!((5 * SECOND..5 * SECOND + 2 * RTT).contains(&apart), "{apart}");
    // The close comes too late to be part of the last one.
    assert!(found.iter().all(|check| check.closed_by.is_none()));
    // All share what was said.
    let first = found[0].request.as_ref().unwrap();
    assert!(found.iter().all(|check| Arc::ptr_eq(check.request.as_ref().unwrap(), first)));
}

#[test]
fn users_leave_nothing_but_their_habit() {
    let mut script = Script::open();
    for number in 0..5 {
        script = script.ask(get(&format!("/items/{number}"), "")).answer(OK);
    }
    let found = candidates(script.close(Client));
    assert_eq!((found.found.len(), found.habits), (0, vec![Habit::Users]));
    let forwarded = "X-Forwarded-For: 203.0.113.1\r\n";
    let script = Script::open().ask(get("/a", forwarded)).answer(OK).close(Client);
    let found = candidates(script);
    assert_eq!((found.found.len(), found.habits), (0, vec![Habit::Users, Habit::Forwards]));
}

#[test]
fn a_proxys_own_check_among_forwarded_requests_is_found() {
    let forwarded = "X-Forwarded-For: 203.0.113.1\r\n";
    let mut script = Script::open();
    for number in 0..3 {
        script = script.ask(get(&format!("/items/{number}"), forwarded)).answer(OK);
    }
    let go = "User-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\n";
    let script = script.ask(get("/health", go)).answer(OK).ask(get("/b", forwarded)).answer(OK);
    let found = candidates(script.close(Client)).found;
    let targets: Vec<_> =
        found.iter().map(|check| check.request.as_ref().unwrap().target.to_string()).collect();
    assert_eq!(targets, ["/health"]);
    assert_eq!((found[0].scope, found[0].ordinal), (Scope::Exchange, 4));
}

#[test]
fn a_monitors_request_among_users_is_found() {
    let mut script = Script::open();
    for number in 0..3 {
        script = script.ask(get(&format!("/items/{number}"), "")).answer(OK);
    }
    let kuma = "User-Agent: Uptime-Kuma/1.23.11\r\nX-Forwarded-For: 203.0.113.1\r\n";
    let found = candidates(script.ask(get("/", kuma)).answer(OK).close(Client)).found;
    assert_eq!(found.len(), 1);
    assert!(found[0].request.as_ref().unwrap().is_forwarded());
}

#[test]
fn connections_without_data_are_told_by_their_shape() {
    let syn = || Script::new().flags(Client, Flags::SYN);
    let syn_ack = || syn().wait(RTT).flags(Server, Flags::SYN | Flags::ACK);
    let cases = [
        (syn().wait(RTT).rst_ack(Server), Shape::Refused),
        (syn(), Shape::Unanswered),
        // What the server said is not captured, only what answers it.
        (syn().wait(RTT).rst_ack(Client), Shape::HandshakeReset),
        (syn().wait(RTT).ack(Client).fin(Client), Shape::ConnectFin),
        (syn_ack().rst_ack(Client), Shape::HandshakeReset),
        (syn_ack().bare_rst(Client), Shape::HalfOpen),
        (syn_ack(), Shape::Abandoned),
        (Script::open().close(Client), Shape::ConnectFin),
        (Script::open().rst_ack(Client), Shape::ConnectReset),
        (Script::open(), Shape::ConnectOpen),
        (Script::open().close(Server), Shape::ServerClosed),
    ];
    for (script, shape) in cases {
        let check = only(script);
        assert_eq!((check.shape, check.scope), (shape, Scope::Connection));
        assert!(check.request.is_none() && check.opening.is_empty());
    }
    let open_already = Script::new().ack(Client).ack(Server).close(Client);
    assert_eq!(candidates(open_already).found.len(), 0);
}

#[test]
fn other_first_bytes_are_kept() {
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    let check = only(Script::open().say(Client, local).close(Client));
    assert_eq!(check.proxy.map(|header| header.command), Some(ProxyCommand::Local));
    let hello = [&[22, 3, 1, 0, 50, 1, 0, 0, 46, 3, 3][..], &[7; 44]].concat();
    let alert = [21, 3, 3, 0, 2, 2, 70];
    let check = only(Script::open().ask(&hello).answer(alert).close(Server));
    let said: Vec<_> = check.tls.as_ref().unwrap().alerts.iter().map(|alert| alert.said).collect();
    assert!(check.is_tls());
    assert_eq!(said, [Some((2, 70))]);
    assert_eq!(check.payload, [hello.len() as u64, 7]);
    let check = only(Script::open().answer("220 mail\r\n").ask("QUIT\r\n").close(Client));
    assert_eq!((&*check.opening, &*check.answer), (&b"QUIT\r\n"[..], &b"220 mail\r\n"[..]));
}

#[test]
fn a_proxy_header_before_a_request_is_kept_with_it() {
    let line = "PROXY TCP4 203.0.113.5 198.51.100.7 4000 80\r\n";
    let script = Script::open().ask(format!("{line}{}", get("/health", ""))).answer(OK);
    let check = only(script.close(Client));
    assert!(matches!(check.proxy.unwrap().command, ProxyCommand::Proxy(..)));
    assert_eq!(check.request.as_ref().unwrap().path(), "/health");
    assert_eq!(check.request_len, get("/health", "").len() as u64);
}

#[test]
fn what_was_not_seen_is_passed_on() {
    let mut script = Script::open().ask(get("/health", "")).answer(OK).answer("more");
    // The answer is missing from the capture.
    script.packets.retain(|packet: &Packet| packet.payload != OK.as_bytes());
    let check = only(script.close(Client));
    assert!(check.blind_spots.has(BlindSpot::Gap), "{:?}", check.blind_spots);
}
