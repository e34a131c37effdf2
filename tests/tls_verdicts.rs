//! Verdicts on scripted connections in TLS: each signature and its nearest neighbours.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use support::*;
use why502::cause::{Kind, What};
use why502::tcp::Side::{Client, Server};

const TLS10: u16 = 0x0301;
const TLS12: u16 = 0x0303;
/// Content types of records (RFC 8446, 5.1).
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3][..], &(body.len() as u16).to_be_bytes(), body].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_be_bytes();
    record(HANDSHAKE, &[&[kind][..], &length[1..], body].concat())
}

fn client_hello(version: u16) -> Vec<u8> {
    let suites = [0, 4, 0xc0, 0x2f, 0xc0, 0x30];
    message(1, &[&version.to_be_bytes()[..], &[7; 32], &[0], &suites, &[1, 0]].concat())
}

fn server_hello(version: u16) -> Vec<u8> {
    message(2, &[&version.to_be_bytes()[..], &[8; 32], &[0, 0xc0, 0x2f, 0]].concat())
}

fn alert(level: u8, code: u8) -> Vec<u8> {
    record(ALERT, &[level, code])
}

/// ChangeCipherSpec and an encrypted Finished.
fn finished() -> Vec<u8> {
    [record(CHANGE_CIPHER_SPEC, &[1]), record(HANDSHAKE, &[9; 40])].concat()
}

fn data(length: usize) -> Vec<u8> {
    record(DATA, &vec![5; length])
}

/// As encryption leaves it.
fn close_notify() -> Vec<u8> {
    record(ALERT, &[6; 26])
}

/// A ClientHello that was acknowledged.
fn greeted() -> Script {
    Script::open().ask(client_hello(TLS12))
}

/// A whole handshake of TLS 1.2.
fn made() -> Script {
    made_from(CLIENT.1)
}

fn made_from(port: u16) -> Script {
    let script = Script::from_port(port).handshake().ask(client_hello(TLS12));
    script.answer(server_hello(TLS12)).ask(finished()).answer(finished())
}

#[track_caller]
fn both(script: &Script, cause: &str, confidence: &str) {
    assert_eq!(script.run().verdicts(), [(cause, confidence)], "at the client");
    let server = script.clone().at_server().run();
    assert_eq!(server.verdicts(), [(cause, confidence)], "at the server");
}

#[track_caller]
fn healthy(script: &Script) {
    assert_eq!(script.run().verdicts(), [], "at the client");
    assert_eq!(script.clone().at_server().run().verdicts(), [], "at the server");
}

/// Two connections in one capture.
fn together(one: &Script, other: &Script) -> Outcome {
    let mut packets = [one.packets.clone(), other.packets.clone()].concat();
    packets.sort_by_key(|packet| packet.at);
    run(&packets)
}

#[test]
fn what_ends_a_handshake_is_the_proof() {
    let script = greeted().answer(alert(2, 70)).fin(Server);
    both(&script, "tls-handshake-failed", "certain");
    let found = script.run().findings.remove(0);
    assert_eq!(found.kind, Kind::Connection);
    let what: Vec<What> = found.evidence.iter().map(|evidence| evidence.what).collect();
    assert_eq!(what, [What::TlsAlert, What::TlsHello]);
    assert!(found.summary.contains("TLS 1.2 and lower"), "{}", found.summary);
    both(&greeted().fin(Server).fin(Client), "tls-handshake-failed", "certain");
    both(&greeted().rst_ack(Server), "tls-handshake-failed", "certain");
    let refused = greeted().answer(server_hello(TLS10)).say(Client, alert(2, 70)).fin(Client);
    both(&refused, "tls-handshake-failed", "certain");
    let left = greeted().answer(server_hello(TLS12)).wait(MS).rst_ack(Client);
    both(&left, "tls-handshake-failed", "possible");
}

#[test]
fn silence_until_somebody_gives_up() {
    both(&greeted().wait(10 * SECOND).fin(Client), "tls-handshake-timeout", "likely");
    both(&greeted().wait(1_370 * MS).rst_ack(Client), "tls-handshake-timeout", "possible");
    let half = greeted().answer(server_hello(TLS12)).ask(finished());
    both(&half.wait(5 * SECOND).rst_ack(Client), "tls-handshake-timeout", "likely");
    healthy(&greeted().wait(10 * SECOND));
}

#[test]
fn a_hello_that_is_repeated_in_vain_was_lost() {
    let mut script = Script::open().say(Client, client_hello(TLS12));
    for turn in 0..5 {
        script = script.wait(SECOND << turn).again(Client);
    }
    assert_eq!(script.rst_ack(Client).run().verdicts(), [("request-unacked", "certain")]);
}

#[test]
fn completed_handshakes_may_end_in_any_way() {
    for side in [Client, Server] {
        healthy(&made().close(side));
        healthy(&made().rst_ack(side));
        healthy(&made().wait(10 * SECOND).rst_ack(side));
        healthy(&made().answer(close_notify()).fin(side).rst_ack(!side));
        let asked = made().ask(data(200)).answer(data(900));
        healthy(&asked.clone().close(side));
        healthy(&asked.clone().wait(5 * SECOND).say(side, close_notify()).close(side));
        healthy(&asked.say(side, close_notify()).fin(side).wait(RTT).rst_ack(!side));
    }
    healthy(&made().wait(20 * SECOND));
}

#[test]
fn the_race_is_found_by_records_alone() {
    let idle = made().ask(data(200)).answer(data(900)).wait(5 * SECOND).say(Client, data(200));
    let asked = idle.packets.last().unwrap().seq;
    let crossing = |packet: &mut Packet| packet.ack = asked;
    let bare = idle.clone().wait(RTT / 2).fin(Server).tweak(crossing);
    both(&bare.fin(Client).wait(RTT / 2).bare_rst(Server), "keepalive-race", "likely");
    // The load balancer answers the alert before it has the FIN behind it.
    let polite = idle.wait(RTT / 2).say(Server, close_notify()).tweak(crossing).fin(Client);
    let polite = polite.fin(Server).tweak(crossing).wait(RTT / 2).bare_rst(Server);
    assert_eq!(polite.run().verdicts(), [("keepalive-race", "likely")]);
}

#[test]
fn requests_that_cannot_be_read_fail_as_others_do() {
    let asked = || made().ask(data(200));
    both(&asked().wait(300 * MS).fin(Server).fin(Client), "target-fin-no-response", "likely");
    both(&asked().wait(300 * MS).rst_ack(Server), "target-rst-no-response", "likely");
    let torn = &data(900)[..500];
    both(&asked().answer(torn).rst_ack(Server), "response-header-truncated", "likely");
    let more = asked().answer(data(900)).answer(torn).rst_ack(Server);
    both(&more, "response-body-truncated", "likely");
    let summary = &asked().wait(300 * MS).rst_ack(Server).run().findings[0].summary.clone();
    assert!(summary.contains("after the encrypted request"), "{summary}");
}

#[test]
fn a_message_of_an_upgraded_connection_needs_no_answer() {
    let open = || made().ask(data(200)).answer(data(150)).wait(3 * SECOND).ask(data(90));
    healthy(&open().wait(1_370 * MS).close(Client));
    both(&open().wait(60 * SECOND).close(Client), "response-timeout", "possible");
}

#[test]
fn another_language_is_told_by_its_bytes() {
    let plain = greeted().answer("HTTP/1.1 400 Bad Request\r\n\r\n").fin(Server);
    both(&plain, "protocol-mismatch", "certain");
    both(&greeted().answer("SSH-2.0-x\r\n").close(Client), "protocol-mismatch", "certain");
    let preface = Script::open().ask("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    let old = preface.clone().answer("HTTP/1.1 400 Bad Request\r\n\r\n").fin(Server);
    both(&old, "protocol-mismatch", "certain");
    healthy(&preface.answer([0, 0, 0, 4, 0, 0, 0, 0, 0]).close(Client));
}

#[test]
fn another_language_is_told_by_other_connections() {
    let http = Script::from_port(50_000).handshake().exchange().close(Client);
    let tls = made_from(50_000).close(Client);
    let reset = greeted().wait(MS).rst_ack(Server);
    assert_eq!(together(&http, &reset).verdicts(), [("protocol-mismatch", "likely")]);
    assert_eq!(together(&tls, &reset).verdicts(), [("tls-handshake-failed", "certain")]);
    let asked = Script::open().ask(GET).wait(MS).rst_ack(Server);
    assert_eq!(together(&tls, &asked).verdicts(), [("protocol-mismatch", "likely")]);
    assert_eq!(together(&http, &asked).verdicts(), [("target-rst-no-response", "certain")]);
}

#[test]
fn a_version_that_nobody_shares_is_proved_by_both_hellos() {
    let refused = greeted().answer(alert(2, 70)).close(Server);
    let outcome = together(&made_from(50_000).close(Client), &refused);
    let notes: Vec<&str> =
        outcome.findings[0].evidence.iter().map(|evidence| evidence.note.as_str()).collect();
    assert!(notes.iter().any(|note| note.contains("ClientHello offers TLS 1.2")), "{notes:?}");
    let other = "on another connection the target chooses TLS 1.2";
    assert!(notes.contains(&other), "{notes:?}");
}

#[test]
fn what_the_capture_misses_is_no_failure() {
    let mut script = greeted().answer(server_hello(TLS12)).ask(finished()).answer(finished());
    // The client's Finished is missing.
    let finished = finished();
    script.packets.retain(|packet| packet.side == Server || packet.payload != finished);
    healthy(&script.ask(data(200)).answer(data(900)).close(Client));
    let mut one_way = greeted().answer(server_hello(TLS12)).rst_ack(Client);
    one_way.packets.retain(|packet| packet.side == Client);
    assert_eq!(one_way.run().verdicts(), []);
}
