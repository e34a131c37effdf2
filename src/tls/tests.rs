//! Scripted connections, seen through [`Session`].

use super::Session;
use super::script::{Script, client_hello, message, record, server_hello};
use crate::http::State::{self, Answered, Cut, Unanswered, Unknown};
use crate::packet::Endpoint;
use crate::tcp::Side;
use proptest::prelude::*;

/// A record of application data, long enough for a request.
fn data(length: usize) -> Vec<u8> {
    record(23, &vec![0; length])
}

#[test]
fn hellos_tell_what_was_offered_and_chosen() {
    let mut script = Script::new();
    script.client(&record(22, &client_hello(&[0x0303, 0x0304], &["http/1.1"])));
    let facts = script.server(&record(22, &server_hello(0x0304))).finish();
    let hello = facts.client_hello.as_deref().unwrap();
    assert_eq!(hello.versions, [0x0304, 0x0303]);
    assert_eq!(hello.suites, [0x1301, 0xc02f], "without GREASE");
    assert_eq!(hello.sni.as_deref(), Some("app.test"));
    assert_eq!(*hello.alpn, ["http/1.1".into()]);
    assert_eq!((facts.version(), facts.resumed()), (Some(0x0304), false));
    assert_eq!(facts.established, None);
}

#[test]
fn a_client_without_a_list_offers_its_highest_version_and_every_lower_one() {
    let facts = Script::new().client(&record(22, &client_hello(&[0x0303], &[]))).finish();
    let hello = facts.client_hello.unwrap();
    assert!(hello.offers(0x0303) && hello.offers(0x0301) && !hello.offers(0x0304));
}

#[test]
fn alerts_are_read_until_they_are_encrypted() {
    let mut script = Script::new();
    script.client(&record(22, &client_hello(&[0x0303], &[]))).server(&record(21, &[2, 70]));
    let alert = *script.finish().fatal_alert().unwrap();
    assert_eq!((alert.said, alert.side), (Some((2, 70)), Side::Server));
    assert!(alert.in_handshake && !alert.encrypted);

    let facts = Script::new().handshake(0x0303).client(&record(21, &[0; 26])).finish();
    assert_eq!((facts.alerts[0].said, facts.alerts[0].in_handshake), (None, false));
    assert!(facts.fatal_alert().is_none());
}

#[test]
fn an_alert_of_tls13_is_told_by_its_length_when_nothing_follows() {
    let mut script = Script::new();
    script.handshake(0x0304).client(&data(19)).client(&data(200)).server(&data(300));
    let facts = script.server(&data(19)).finish();
    assert_eq!(facts.alerts.iter().map(|alert| alert.side).collect::<Vec<_>>(), [Side::Server]);
}

#[test]
fn turns_are_requests() {
    for version in [0x0303, 0x0304] {
        let mut script = Script::new();
        script.handshake(version);
        script.client(&data(200)).server(&data(500)).server(&data(90));
        script.client(&data(200)).client(&data(900)).server(&data(500)).client(&data(210));
        assert_eq!(script.states(), [Answered, Answered, Unanswered], "{version:04x}");
        let ordinals: Vec<u32> = script.exchanges.iter().map(|it| it.ordinal).collect();
        assert_eq!(ordinals, [1, 2, 3]);
        let second = script.exchanges[1].request.as_ref().unwrap();
        assert_eq!(second.end - second.start, 205 + 905);
    }
}

#[test]
fn what_the_server_sent_before_it_had_the_request_is_no_answer() {
    let mut script = Script::new();
    script.handshake(0x0303).client(&data(200)).server(&data(300));
    let before = script.client_sent();
    script.client(&data(200)).server_crossing(&data(100), before);
    assert_eq!(script.states(), [Answered, Unanswered]);
}

#[test]
fn two_session_tickets_are_no_answer_and_one_may_be() {
    for (tickets, state) in [(0, Unanswered), (1, Unknown), (2, Unanswered)] {
        let mut script = Script::new();
        script.handshake(0x0304).client(&data(200));
        (0..tickets).for_each(|_| {
            script.server(&data(250));
        });
        assert_eq!(script.states(), [state], "{tickets} tickets");
    }
    // What other connections to the server told makes one sure.
    for (length, state) in [(250, Unanswered), (251, Unknown)] {
        let mut script = Script::new();
        script.tickets.learn(Endpoint::default(), length);
        script.handshake(0x0304).client(&data(200)).server(&data(250));
        assert_eq!(script.states(), [state], "tickets of {length} bytes");
    }
    let mut script = Script::new();
    script.handshake(0x0304).client(&data(200)).server(&data(250)).server(&data(250));
    assert_eq!(script.tickets.length(Endpoint::default()), Some(250));
    assert_eq!(script.server(&data(400)).states(), [Answered]);
    // A third of that length is an answer.
    let mut script = Script::new();
    script.handshake(0x0304).client(&data(200));
    (0..3).for_each(|_| {
        script.server(&data(250));
    });
    assert_eq!(script.states(), [Answered]);
}

#[test]
fn messages_that_nobody_answers_are_no_requests() {
    for (messages, state) in [(4, Unanswered), (5, Unknown)] {
        let mut script = Script::new();
        script.handshake(0x0303);
        for _ in 0..messages {
            script.client(&data(120)).wait(60_000_000);
        }
        assert_eq!(script.states(), [state], "{messages} messages");
    }
}

#[test]
fn a_response_that_stops_inside_a_record_is_cut() {
    let mut script = Script::new();
    script.handshake(0x0303).client(&data(200)).server(&data(5000)[..2000]);
    assert_eq!(script.states(), [Cut]);
}

#[test]
fn closing_is_no_request() {
    let mut script = Script::new();
    script.handshake(0x0304).client(&data(19));
    assert_eq!(script.states(), []);
    let mut script = Script::new();
    script.handshake(0x0303).client(&record(21, &[0; 26]));
    assert_eq!(script.states(), []);
}

#[test]
fn http2_has_no_turns() {
    let mut script = Script::new();
    script.client(&record(22, &client_hello(&[0x0304], &["h2", "http/1.1"])));
    script.server(&[record(22, &server_hello(0x0304)), data(900)].concat());
    script.client(&data(53)).client(&data(200));
    assert_eq!(script.states(), []);
}

#[test]
fn a_gap_hides_the_answer_but_not_the_next_turn() {
    let mut script = Script::new();
    script.handshake(0x0303).client(&data(200)).gap(Side::Server, 700);
    script.client(&data(200)).server(&data(400)).client(&data(200));
    assert_eq!(script.states(), [Unknown, Answered, Unanswered]);
}

#[test]
fn a_gap_inside_a_record_hides_nothing() {
    let mut script = Script::new();
    script.handshake(0x0303).client(&data(200)).server(&data(5000)[..2000]);
    script.gap(Side::Server, 3005).client(&data(200));
    assert_eq!(script.states(), [Answered, Unanswered]);
}

#[test]
fn midway_the_next_record_is_found_and_a_handshake_stops_the_turns() {
    let mut script = Script::of(Session::midway());
    script.client(&[9; 40]).client(&data(200)).server(&data(400)).client(&data(200));
    assert_eq!(script.states(), [Answered, Unanswered]);
    let mut script = Script::of(Session::midway());
    script.server(&record(22, &[0; 90])).client(&record(20, &[1])).client(&data(53));
    assert_eq!(script.states(), []);
}

#[test]
fn a_plain_answer_is_foreign() {
    let mut script = Script::new();
    script.client(&record(22, &client_hello(&[0x0304], &[])));
    let facts = script.server(b"HTTP/1.1 400 Bad Request\r\n").finish();
    let foreign = facts.foreign.unwrap();
    assert!(foreign.first && foreign.http && foreign.side == Side::Server);
    assert!(foreign.sample.starts_with("HTTP/1.1 400"));
}

#[test]
fn a_client_certificate_without_a_certificate_is_empty() {
    let mut script = Script::new();
    script.client(&record(22, &client_hello(&[0x0304], &[])));
    script.server(&[record(22, &server_hello(0x0304)), data(900)].concat());
    let facts = script.client(&[data(25), data(53)].concat()).finish();
    assert_eq!(facts.client_certificate.map(|it| it.empty), Some(true));
    assert!(facts.established.is_some());

    let mut script = Script::new();
    script.client(&record(22, &client_hello(&[0x0303], &[])));
    script.server(&record(22, &[server_hello(0x0303), message(13, &[1, 1, 0, 0])].concat()));
    let facts = script.client(&record(22, &message(11, &[0, 0, 0]))).finish();
    assert_eq!(facts.client_certificate.map(|it| it.empty), Some(true));
    assert!(facts.certificate_request.is_some());
}

/// What comes out, without frames and times, which follow the segments.
fn outcome(script: &mut Script) -> String {
    let facts = script.finish();
    let exchanges: Vec<(u32, State)> =
        script.exchanges.iter().map(|it| (it.ordinal, it.state)).collect();
    let alerts: Vec<Option<(u8, u8)>> = facts.alerts.iter().map(|alert| alert.said).collect();
    format!("{exchanges:?} {alerts:?} {:?}", facts.version())
}

proptest! {
    #[test]
    fn segments_do_not_matter(cuts in prop::collection::vec(1..400_usize, 1..40), version in 0x0303..=0x0304_u16) {
        let client = [record(22, &client_hello(&[version], &[])), record(22, &message(16, &[1])),
            record(20, &[1]), if version == 0x0304 { data(53) } else { record(22, &[0; 40]) }, data(200)].concat();
        let server = [record(22, &server_hello(version)), record(20, &[1]),
            if version == 0x0304 { data(900) } else { record(22, &[0; 40]) }].concat();
        let play = |cuts: &[usize]| {
            let mut script = Script::new();
            let mut cuts = cuts.iter().cycle();
            // The ClientHello, the server's flight, the rest.
            let hello = record(22, &client_hello(&[version], &[])).len();
            for (side, mut bytes) in [(0, &client[..hello]), (1, &server[..]), (0, &client[hello..])] {
                while !bytes.is_empty() {
                    let (now, later) = bytes.split_at((*cuts.next().unwrap()).min(bytes.len()));
                    if side == 0 { script.client(now) } else { script.server(now) };
                    bytes = later;
                }
            }
            outcome(&mut script)
        };
        prop_assert_eq!(play(&cuts), play(&[usize::MAX]));
    }

    #[test]
    fn any_bytes_are_taken(pieces in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..80), 0..3_u8), 0..20), midway in any::<bool>()) {
        let mut script = Script::of(if midway { Session::midway() } else { Session::new() });
        for (client, bytes, how) in pieces {
            let side = if client { Side::Client } else { Side::Server };
            match how {
                0 => { script.gap(side, bytes.len() as u64 + 1); }
                1 => { let bytes = record(20 + bytes.len() as u8 % 5, &bytes);
                    if client { script.client(&bytes) } else { script.server(&bytes) }; }
                _ => { if client { script.client(&bytes) } else { script.server(&bytes) }; }
            }
        }
        script.finish();
    }
}
