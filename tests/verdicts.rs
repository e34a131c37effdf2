//! Verdicts on scripted connections: each signature and its nearest neighbours.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use support::*;
use why502::blind::BlindSpot;
use why502::cause::{Responsible, What};
use why502::engine::Options;
use why502::packet::Flags;
use why502::tcp::Side::{Client, Server};

const POST: &str = "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\nhalf of it";

#[track_caller]
fn healthy(script: Script) {
    let outcome = script.run();
    assert_eq!(outcome.verdicts(), [], "at the client: {:?}", outcome.findings);
    let outcome = script.at_server().run();
    assert_eq!(outcome.verdicts(), [], "at the server: {:?}", outcome.findings);
}

#[track_caller]
fn both(script: Script, cause: &str, confidence: &str) {
    let outcome = script.run();
    assert_eq!(outcome.verdicts(), [(cause, confidence)], "at the client");
    assert!(!outcome.findings[0].evidence.is_empty());
    let outcome = script.at_server().run();
    assert_eq!(outcome.verdicts(), [(cause, confidence)], "at the server");
}

#[test]
fn healthy_connections_give_no_finding() {
    healthy(Script::open().exchange().exchange().close(Client));
    healthy(Script::open().exchange().close(Server));
    healthy(Script::open().exchange().rst_ack(Client));
    healthy(Script::open().exchange().rst_ack(Server));
    healthy(Script::open().exchange().fin(Server).wait(RTT).ack(Client).rst_ack(Client));
    healthy(Script::open().wait(5 * SECOND).close(Client));
    healthy(Script::open().wait(5 * SECOND).close(Server));
    healthy(Script::open().rst_ack(Client));
    healthy(Script::open().ask(GET).wait(50 * SECOND).answer(OK).close(Server));
}

#[test]
fn a_prober_that_resets_after_the_status_line_is_content() {
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart";
    let script = Script::open().ask(GET).answer(half).rst_ack(Client);
    assert_eq!(script.run().verdicts(), []);
}

#[test]
fn an_upgraded_connection_may_end_in_any_way() {
    let upgrade =
        "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let switched = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                    Connection: Upgrade\r\n\r\n";
    let open = Script::open().ask(upgrade).answer(switched).say(Client, "\x01\x02");
    healthy(open.clone().wait(RTT).rst_ack(Server));
    healthy(open.wait(RTT).close(Server));
}

#[test]
fn keep_alive_probes_are_no_retransmissions() {
    let mut script = Script::open().exchange().wait(30 * SECOND);
    let last = script.packets.iter().rev().find(|packet| packet.side == Client).cloned().unwrap();
    script.packets.push(Packet {
        at: script.now,
        seq: last.seq.wrapping_sub(1),
        ip_id: 777,
        ..last
    });
    let outcome = script.wait(RTT).ack(Server).wait(SECOND).close(Client).run();
    assert_eq!(outcome.verdicts(), []);
    assert_eq!(outcome.flows[0].half(Client).trouble().retransmissions, 0);
}

#[test]
fn the_keep_alive_race_is_told_by_the_ack_number_of_the_fin() {
    // At the load balancer the request leaves first, and the FIN that comes does not cover it.
    let mut script = Script::open().exchange().wait(5 * SECOND).say(Client, GET);
    let asked = script.packets.last().unwrap().clone();
    script = script.wait(RTT / 2).fin(Server).tweak(|fin| fin.ack = asked.seq);
    script = script.fin(Client).wait(RTT / 2).bare_rst(Server);
    both(script, "keepalive-race", "certain");
}

#[test]
fn a_fin_that_covers_the_request_is_no_race() {
    let script = Script::open().exchange().wait(5 * SECOND).ask(GET).wait(300 * MS).fin(Server);
    both(script.fin(Client).wait(RTT).ack(Server), "target-fin-no-response", "certain");
}

#[test]
fn a_rst_that_does_not_cover_the_request_is_a_race_too() {
    let script = Script::open().exchange().wait(5 * SECOND).say(Client, GET);
    let seq = script.packets.last().unwrap().seq;
    let script = script.wait(RTT / 2).rst_ack(Server).tweak(|rst| rst.ack = seq);
    both(script, "keepalive-race", "certain");
}

#[test]
fn a_reset_that_covers_the_request_is_the_target_s() {
    both(Script::open().ask(GET).wait(MS).rst_ack(Server), "target-rst-no-response", "certain");
}

#[test]
fn a_bare_rst_on_a_reused_connection_is_stale() {
    let script = Script::open().exchange().wait(100 * SECOND).say(Client, GET);
    both(script.wait(RTT).bare_rst(Server), "stale-flow-reset", "likely");
    let script = Script::open().exchange().wait(400 * SECOND).say(Client, GET);
    both(script.wait(RTT).bare_rst(Server), "l4-lb-reset", "likely");
}

#[test]
fn closes_inside_a_response_are_told_by_how_far_it_came() {
    let head = "HTTP/1.1 200 OK\r\nContent-Le";
    both(Script::open().ask(GET).answer(head).fin(Server), "response-header-truncated", "certain");
    let body = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart";
    both(Script::open().ask(GET).answer(body).fin(Server), "response-body-truncated", "certain");
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n";
    both(
        Script::open().ask(GET).answer(chunked).rst_ack(Server),
        "response-body-truncated",
        "certain",
    );
}

#[test]
fn a_close_while_the_request_is_sent_is_its_own_cause() {
    both(Script::open().ask(POST).rst_ack(Server), "target-closed-during-request", "certain");
}

#[test]
fn a_complete_5xx_is_the_target_s_own() {
    let bad = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    both(Script::open().ask(GET).answer(bad).close(Client), "target-own-5xx", "possible");
}

#[test]
fn a_refused_connection_is_refused() {
    let script = Script::new().flags(Client, Flags::SYN).wait(RTT).rst_ack(Server);
    let outcome = script.tweak(|rst| rst.seq = 0).run();
    assert_eq!(outcome.verdicts(), [("connect-refused", "certain")]);
}

#[test]
fn an_icmp_error_to_a_syn_is_unreachable() {
    let script = Script::new().flags(Client, Flags::SYN);
    let outcome = run_with(&script.packets, &[(0, 3, 1)], Options::default());
    assert_eq!(outcome.verdicts(), [("connect-unreachable", "certain")]);
}

fn unanswered_syn() -> Script {
    let syn = Script::from_port(50_000).flags(Client, Flags::SYN);
    syn.wait(SECOND).again(Client).wait(2 * SECOND).again(Client)
}

#[test]
fn an_unanswered_syn_needs_the_vantage_to_name_the_host() {
    let mut alone = unanswered_syn();
    // Another connection goes on, so that time does.
    alone.packets.extend(Script::from_port(50_001).wait(8 * SECOND).exchange().packets);
    let outcome = alone.run();
    assert_eq!(outcome.causes(), ["connect-timeout"]);
    assert_eq!(outcome.findings[0].responsible, Responsible::Unknown, "the way there or the host");
    let mut at_server = unanswered_syn();
    let other = Script::from_port(50_001).wait(8 * SECOND).handshake().exchange().at_server();
    at_server.packets.extend(other.packets);
    assert_eq!(at_server.run().causes(), ["connect-timeout-host"]);
}

#[test]
fn a_syn_just_before_the_end_of_the_capture_is_no_failure() {
    assert_eq!(Script::new().flags(Client, Flags::SYN).run().verdicts(), []);
}

#[test]
fn syn_acks_that_nobody_acknowledges_show_a_blocked_return_path() {
    let script = Script::new().flags(Client, Flags::SYN).flags(Server, Flags::SYN | Flags::ACK);
    let script = script.wait(SECOND);
    let mut again = script.packets[0].clone();
    (again.at, again.ip_id) = (script.now, 555);
    let mut script = script;
    script.packets.push(again);
    assert_eq!(script.again(Server).run().causes(), ["return-path-blocked"]);
}

#[test]
fn a_request_that_is_never_acknowledged_is_unacked() {
    let mut script = Script::open().exchange().wait(20 * SECOND).say(Client, GET);
    for _ in 0..4 {
        script = script.wait(SECOND).again(Client);
    }
    let outcome = script.wait(SECOND).rst_ack(Client).run();
    assert_eq!(outcome.verdicts(), [("request-unacked", "certain")]);
    assert_eq!(outcome.findings[0].responsible, Responsible::Unknown, "the path or a dead host");
}

#[test]
fn full_size_segments_that_vanish_are_a_black_hole() {
    let big = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1400));
    let mut script = Script::open().exchange().say(Client, big);
    for _ in 0..4 {
        script = script.wait(SECOND).again(Client);
    }
    assert_eq!(script.fin(Client).run().verdicts(), [("mtu-blackhole", "likely")]);
}

#[test]
fn a_target_that_does_not_read_shows_a_zero_window() {
    let script = Script::open().ask(POST).tweak(|ack| ack.window = 0).wait(3 * SECOND);
    assert_eq!(script.rst_ack(Client).run().verdicts(), [("target-not-reading", "certain")]);
}

#[test]
fn a_reset_long_after_the_window_shut_is_not_what_broke_the_request() {
    let shut = Script::open().ask(POST).tweak(|ack| ack.window = 0);
    // The RST has a window of its own, which opens nothing.
    let reset = |after| shut.clone().wait(after).rst_ack(Server).tweak(|rst| rst.window = 8_000);
    both(reset(9 * SECOND), "target-not-reading", "likely");
    both(reset(100 * MS), "target-closed-during-request", "certain");
}

#[test]
fn what_waits_for_a_shut_window_says_nothing_of_patience() {
    let shut = Script::from_port(1003).wait(9 * SECOND).handshake().ask(POST);
    let shut = shut.tweak(|ack| ack.window = 0).wait(7 * SECOND).rst_ack(Client).packets;
    let outcome =
        merged(vec![silent(1001, 0, 2 * SECOND), silent(1002, 5 * SECOND, 2 * SECOND), shut]);
    let mut verdicts = outcome.verdicts();
    verdicts.sort_unstable();
    assert_eq!(
        verdicts,
        [
            ("response-timeout", "likely"),
            ("response-timeout", "likely"),
            ("target-not-reading", "certain"),
        ]
    );
}

fn silent(port: u16, start: i64, silence: i64) -> Vec<Packet> {
    let script = Script::from_port(port).wait(start).handshake().ask(GET);
    script.wait(silence - RTT).rst_ack(Client).packets
}

fn merged(mut scripts: Vec<Vec<Packet>>) -> Outcome {
    let mut packets: Vec<_> = scripts.drain(..).flatten().collect();
    packets.sort_by_key(|packet| packet.at);
    run(&packets)
}

#[test]
fn the_same_silence_each_time_is_a_timer_and_a_shorter_one_an_abort() {
    let outcome = merged(vec![
        silent(1001, 0, 3 * SECOND),
        silent(1002, 5 * SECOND, 3 * SECOND),
        silent(1003, 9 * SECOND, 1_370 * MS),
    ]);
    let mut verdicts = outcome.verdicts();
    verdicts.sort_unstable();
    assert_eq!(
        verdicts,
        [
            ("client-abort", "likely"),
            ("response-timeout", "likely"),
            ("response-timeout", "likely")
        ]
    );
}

#[test]
fn a_timer_below_a_second_is_told_by_three() {
    let cuts = |count: u16| {
        let cut = |n: u16| silent(1001 + n, i64::from(n) * 5 * SECOND, 500 * MS);
        merged((0..count).map(cut).collect()).causes().join(" ")
    };
    assert_eq!(cuts(2), "client-abort client-abort");
    assert_eq!(cuts(3), "response-timeout response-timeout response-timeout");
}

#[test]
fn one_silence_of_no_round_length_is_a_possible_abort() {
    assert_eq!(
        merged(vec![silent(1001, 0, 1_370 * MS)]).verdicts(),
        [("client-abort", "possible")]
    );
}

#[test]
fn connections_closed_together_are_cut_by_the_load_balancer() {
    let outcome = merged(vec![
        silent(1001, 0, 3_300 * MS),
        silent(1002, SECOND, 2_300 * MS),
        silent(1003, 2 * SECOND, 1_300 * MS),
    ]);
    assert_eq!(outcome.causes(), ["lb-cut"; 3]);
}

/// The PROXY protocol header alone has reached the target when it objects: by a 400 (nginx, Apache,
/// HAProxy), or by FIN.
#[test]
fn a_proxy_protocol_header_that_the_target_refuses_is_a_mismatch() {
    let header = "PROXY TCP4 203.0.113.9 10.0.2.9 40000 80\r\n";
    let refusal = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let crossed = |status: &str| {
        let mut script = Script::open().say(Client, header).wait(RTT / 2).say(Client, GET);
        let seq = script.packets.last().unwrap().seq;
        let answer = refusal.replace("400 Bad Request", status);
        script = script.wait(3 * RTT / 4).say(Server, &answer).tweak(|answer| answer.ack = seq);
        script.fin(Server).tweak(|fin| fin.ack = seq).wait(RTT / 2).bare_rst(Server)
    };
    both(crossed("400 Bad Request"), "protocol-mismatch", "certain");
    // The header was taken, and what follows it did not come in time.
    both(crossed("408 Request Timeout"), "unsolicited-response", "certain");

    let mut closed = Script::open().say(Client, header).wait(RTT / 2).say(Client, GET);
    let seq = closed.packets.last().unwrap().seq;
    closed = closed.wait(3 * RTT / 4).fin(Server).tweak(|fin| fin.ack = seq);
    both(closed.wait(RTT / 2).bare_rst(Server), "protocol-mismatch", "likely");
}

/// What the target answers elsewhere tells that it closes for a PROXY protocol header, or for want of
/// one; a target that has answered both closes for another reason.
#[test]
fn a_target_that_answers_only_behind_a_proxy_protocol_header_closes_for_want_of_it() {
    let header = "PROXY TCP4 203.0.113.9 10.0.2.9 40000 80\r\n";
    let opened = |port, proxied: bool| {
        let script = Script::from_port(port).handshake();
        if proxied { script.say(Client, header).wait(RTT).ack(Server) } else { script }
    };
    let answered = |port, proxied| opened(port, proxied).exchange().close(Client).packets;
    let closed = |port, proxied| opened(port, proxied).ask(GET).close(Server).packets;
    let verdicts = |here: bool, elsewhere: &[bool]| {
        let others = elsewhere.iter().zip(1002..).map(|(proxied, port)| answered(port, *proxied));
        merged([closed(1001, here)].into_iter().chain(others).collect()).verdicts()
    };
    for here in [true, false] {
        assert_eq!(verdicts(here, &[!here]), [("protocol-mismatch", "likely")], "{here}");
        for others in [&[][..], &[here], &[here, !here]] {
            let crash = [("target-fin-no-response", "certain")];
            assert_eq!(verdicts(here, others), crash, "{here} {others:?}");
        }
    }
}

#[test]
fn a_response_that_crossed_the_request_is_unsolicited() {
    let timeout = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let mut script = Script::open().exchange().wait(5 * SECOND).say(Client, GET);
    let seq = script.packets.last().unwrap().seq;
    script = script.wait(RTT / 2).say(Server, timeout).tweak(|answer| answer.ack = seq);
    script = script.fin(Server).tweak(|fin| fin.ack = seq);
    both(script.wait(RTT / 2).bare_rst(Server), "unsolicited-response", "certain");
}

#[test]
fn a_malformed_response_names_its_byte() {
    let bad = "HTTP/1.1 200 OK\r\nBad Name: x\r\nContent-Length: 0\r\n\r\n";
    let outcome = Script::open().ask(GET).answer(bad).fin(Client).run();
    assert_eq!(outcome.verdicts(), [("response-malformed", "certain")]);
    assert!(outcome.findings[0].summary.contains("header name"), "{}", outcome.findings[0].summary);
}

#[test]
fn a_tls_alert_to_a_plain_request_is_the_wrong_protocol() {
    let script = Script::open().ask(GET).answer(b"\x15\x03\x01\x00\x02\x02\x46").fin(Server);
    both(script, "protocol-mismatch", "certain");
}

#[test]
fn a_reset_with_another_time_to_live_may_be_injected() {
    let script = Script::open().ask(GET).answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab");
    let script = script.wait(RTT).rst_ack(Server).tweak(|rst| rst.ttl = 57);
    assert_eq!(script.run().causes(), ["injected-reset"]);
}

#[test]
fn a_reset_is_not_the_target_s_that_answers_behind_it() {
    // The load balancer has no such connection any more when the answer comes.
    let script = Script::open().exchange().ask(GET).rst_ack(Server).wait(MS).say(Server, OK);
    let outcome = script.clone().bare_rst(Client).run();
    assert_eq!(outcome.verdicts(), [("injected-reset", "certain")]);
    let answered = outcome.findings[0].evidence.iter().find(|it| it.what == What::Response);
    assert!(answered.is_some(), "{:?}", outcome.findings[0].evidence);
    // Where the load balancer takes the answer, the RST did nothing.
    assert_eq!(script.ack(Client).close(Client).run().verdicts(), []);
}

#[test]
fn a_reset_is_not_the_target_s_that_acknowledges_behind_it() {
    let script = Script::open().say(Client, GET).wait(MS).rst_ack(Server);
    let late = script.clone().wait(40 * MS).ack(Server).bare_rst(Client);
    assert_eq!(late.run().verdicts(), [("injected-reset", "likely")]);
    // Packets overtake each other for a moment.
    let soon = script.wait(MS).ack(Server).bare_rst(Client);
    assert_eq!(soon.run().verdicts(), [("target-rst-no-response", "certain")]);
}

#[test]
fn a_reset_without_the_timestamp_of_its_sender_is_not_surely_its_own() {
    let mut script = Script::open().ask(GET).rst_ack(Server);
    script.packets.iter_mut().for_each(|packet| packet.stamped = true);
    assert_eq!(script.run().verdicts(), [("target-rst-no-response", "certain")]);
    let outcome = script.tweak(|rst| rst.stamped = false).run();
    assert_eq!(outcome.verdicts(), [("target-rst-no-response", "possible")]);
    assert!(outcome.findings[0].summary.contains("or a device on the way"));
}

#[test]
fn a_fin_behind_a_response_that_was_lost_is_no_close_without_one() {
    let script = Script::open().exchange().ask(GET).say(Server, OK);
    let lost = script.packets.len() - 1;
    let mut script = script.fin(Server);
    script.packets.remove(lost);
    // The load balancer acknowledges what came before the hole, and gives up.
    let received = script.packets[lost - 1].seq;
    let script = script.ack(Client).tweak(|ack| ack.ack = received);
    let gives_up = script.wait(2 * SECOND).fin(Client).tweak(|fin| fin.ack = received);
    assert_eq!(gives_up.run().verdicts(), [("return-path-blocked", "likely")]);
}

#[test]
fn an_answer_that_comes_when_the_load_balancer_has_gone_is_none() {
    let mut script = Script::open().exchange().say(Client, GET);
    for _ in 0..3 {
        script = script.wait(SECOND).again(Client);
    }
    let gone = script.clone().wait(RTT).say(Server, OK).bare_rst(Client);
    assert_eq!(gone.run().verdicts(), [("request-unacked", "likely")]);
    let waits = script.wait(RTT).answer(OK).close(Client);
    assert_eq!(waits.run().verdicts(), []);
}

#[test]
fn a_fin_that_loss_held_back_tells_nothing_of_patience() {
    // Two give up after 1.7 s. The request of a third was lost, and so its FIN left after 3 s only.
    let mut packets = Vec::new();
    for port in [1, 2] {
        let script = Script::from_port(port).handshake().ask(GET);
        packets.extend(script.wait(1_700 * MS).fin(Client).packets);
    }
    let mut lost = Script::from_port(3).handshake().say(Client, GET);
    for _ in 0..3 {
        lost = lost.wait(SECOND).again(Client);
    }
    packets.extend(lost.wait(RTT).ack(Server).fin(Client).packets);
    packets.sort_by_key(|packet| packet.at);
    let mut verdicts = run(&packets).verdicts();
    verdicts.sort_unstable();
    let timeout = ("response-timeout", "likely");
    assert_eq!(verdicts, [("request-unacked", "likely"), timeout, timeout]);
}

#[test]
fn a_refusal_is_compared_with_what_the_server_answers_elsewhere() {
    let mut packets = Vec::new();
    for port in 1..=3 {
        let healthy = Script::from_port(port).handshake().exchange().close(Client);
        packets.extend(healthy.packets);
    }
    for packet in packets.iter_mut().filter(|packet| packet.side == Server) {
        packet.ttl = 63;
    }
    packets.sort_by_key(|packet| packet.at);
    let refused = |after: i64, ttl: u8| {
        let script = Script::from_port(9).wait(SECOND).flags(Client, Flags::SYN).wait(after);
        let script = script.rst_ack(Server).tweak(|rst| rst.ttl = ttl);
        run(&[packets.as_slice(), &script.packets].concat()).verdicts()
    };
    assert_eq!(refused(RTT, 63), [("connect-refused", "certain")]);
    assert_eq!(refused(RTT, 64), [("connect-refused", "likely")]);
    assert_eq!(refused(MS, 64), [("injected-reset", "likely")]);
}

#[test]
fn a_rst_outside_the_window_is_ignored() {
    let script = Script::open().ask(GET).rst_ack(Server).tweak(|rst| {
        rst.seq = rst.seq.wrapping_add(1 << 20);
    });
    let outcome = script.answer(OK).close(Client).run();
    assert_eq!(outcome.verdicts(), []);
    assert_eq!(outcome.exchanges.len(), 1);
}

#[test]
fn a_rst_whose_sender_goes_on_did_not_end_the_flow() {
    let script = Script::open().ask(GET).rst_ack(Server).answer(OK).close(Client);
    assert_eq!(script.run().verdicts(), []);
}

#[test]
fn an_older_connection_that_answers_a_syn_is_a_collision() {
    let mut script = Script::new().flags(Client, Flags::SYN).wait(RTT).ack(Server);
    script = script.tweak(|ack| {
        ack.ack = 1_234_567_890;
        ack.seq = 99;
    });
    let alone = script.clone().bare_rst(Client);
    assert_eq!(alone.run().verdicts(), [], "the capture ends before a second SYN could help");
    let outcome = script.bare_rst(Client).wait(SECOND).flags(Client, Flags::RST).run();
    assert_eq!(outcome.causes(), ["tuple-collision"]);
}

#[test]
fn an_open_request_at_the_end_of_the_capture_is_unknown() {
    let outcome = Script::open().ask(GET).run();
    assert_eq!(outcome.verdicts(), []);
    assert_eq!(outcome.counts.unknown, 1);
    assert!(outcome.flows[0].blind_spots.has(BlindSpot::CaptureEnd));
}

#[test]
fn one_direction_alone_claims_nothing_certain() {
    for side in [Client, Server] {
        let race = Script::open().exchange().ask(GET).wait(SECOND).fin(Server).fin(Client);
        let mut packets = race.packets;
        packets.retain(|packet| packet.side == side);
        let outcome = run(&packets);
        assert_eq!(outcome.verdicts(), [], "{side:?}");
        assert!(outcome.flows[0].blind_spots.has(BlindSpot::OneDirection));
    }
}

#[test]
fn a_capture_gap_lowers_confidence() {
    let body = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart";
    let script = Script::open().ask(GET).answer(body).say(Server, "more").ack(Client).fin(Server);
    let mut packets = script.packets;
    let missing = packets.iter().position(|packet| packet.payload == b"more").unwrap();
    packets.remove(missing);
    let outcome = run(&packets);
    assert_eq!(outcome.verdicts(), [("response-body-truncated", "likely")]);
    assert!(outcome.findings[0].blind_spots.has(BlindSpot::Gap));
}

#[test]
fn port_reuse_makes_a_new_flow() {
    let mut packets = Script::open().exchange().close(Server).packets;
    let mut second = Script::open().wait(SECOND).exchange().packets;
    for packet in &mut second {
        packet.at += 60 * SECOND;
        let shift = if packet.side == Client { 90_000 } else { 80_000 };
        let other = if packet.side == Client { 80_000 } else { 90_000 };
        packet.seq = packet.seq.wrapping_add(shift);
        packet.ack = packet.ack.wrapping_add(other);
        packet.ip_id += 100;
    }
    packets.extend(second);
    let outcome = run(&packets);
    assert_eq!(outcome.flows.len(), 2);
    assert_eq!(
        outcome.flows.iter().map(|flow| flow.stream).collect::<Vec<_>>(),
        [Some(0), Some(1)]
    );
    assert_eq!(outcome.verdicts(), []);
}

#[test]
fn a_reused_port_whose_handshake_was_lost_is_no_race() {
    let mut packets = Script::open().exchange().close(Server).packets;
    let fin = packets.iter().position(|packet| packet.side == Server && packet.flags & 0x01 != 0);
    packets.truncate(fin.expect("a FIN") + 1);
    let mut second = Script::open().wait(SECOND).exchange().packets.split_off(3);
    for packet in &mut second {
        packet.at += 2 * SECOND;
        let shift = if packet.side == Client { 23_000_000 } else { 80_000 };
        let other = if packet.side == Client { 80_000 } else { 23_000_000 };
        packet.seq = packet.seq.wrapping_add(shift);
        packet.ack = packet.ack.wrapping_add(other);
        packet.ip_id += 100;
    }
    packets.extend(second);
    let outcome = run(&packets);
    assert_eq!(outcome.verdicts(), []);
    assert_eq!(outcome.flows.len(), 2);
    assert_eq!(outcome.flows.iter().map(|flow| flow.responses).sum::<u32>(), 2);
}

#[test]
fn copies_of_a_packet_are_no_retransmissions() {
    let script = Script::open().exchange().close(Client);
    let mut packets = Vec::new();
    for packet in script.packets {
        packets.extend([packet.clone(), Packet { at: packet.at + 5_000, ttl: 63, ..packet }]);
    }
    let outcome = run(&packets);
    assert_eq!(outcome.verdicts(), []);
    let flow = &outcome.flows[0];
    assert_eq!(
        flow.half(Client).trouble().retransmissions + flow.half(Server).trouble().retransmissions,
        0
    );
    assert!(flow.half(Client).trouble().duplicates > 0);
}

#[test]
fn an_answer_after_the_load_balancer_gave_up_is_no_answer() {
    let late = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
    let script = Script::open().ask(GET).wait(3 * SECOND - RTT).fin(Client).wait(SECOND);
    let script = script.say(Server, late).bare_rst(Client);
    both(script, "response-timeout", "possible");
    // A client that only shut down its sending side takes the answer.
    healthy(Script::open().ask(GET).fin(Client).wait(SECOND).answer(OK).fin(Server));
}

#[test]
fn a_race_that_was_announced_is_the_load_balancer_s() {
    let closing = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    for (answer, wait, side) in [
        (closing, RTT, Responsible::LoadBalancer),
        (OK, 1_500 * MS, Responsible::LoadBalancer),
        (OK, RTT, Responsible::TargetApp),
    ] {
        let script = Script::open().ask(GET).answer(answer).wait(5 * SECOND).fin(Server);
        let ack = script.packets.last().unwrap().ack;
        let script = script.ack(Client).wait(wait).say(Client, GET).bare_rst(Server);
        let outcome = script.run();
        assert_eq!(outcome.verdicts(), [("keepalive-race", "certain")]);
        assert_eq!(outcome.findings[0].responsible, side, "{answer} {wait} {ack}");
    }
}

#[test]
fn an_early_answer_that_ends_in_a_reset_may_be_lost() {
    let head = "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n";
    let script = Script::open().say(Client, head).say(Client, "all of i").wait(RTT).ack(Server);
    let reset = script.clone().answer(OK).fin(Server).rst_ack(Server);
    assert_eq!(reset.run().verdicts(), [("target-closed-during-request", "possible")]);
    healthy(script.answer(OK).close(Server));
}

#[test]
fn a_syn_ack_after_the_load_balancer_gave_up_is_a_time_out() {
    let late = |wait| {
        let script = Script::new().flags(Client, Flags::SYN).wait(wait);
        script.flags(Server, Flags::SYN | Flags::ACK)
    };
    assert_eq!(late(SECOND).bare_rst(Client).run().causes(), ["connect-timeout"]);
    // A probe of the port resets its own connection, and at once.
    assert_eq!(late(SECOND).rst_ack(Client).run().verdicts(), []);
    assert_eq!(late(RTT).bare_rst(Client).run().verdicts(), []);
}

/// A connection that the server closes after `idle` without anything outstanding.
fn idles_out(port: u16, start: i64, idle: i64) -> Vec<Packet> {
    Script::from_port(port).wait(start).handshake().exchange().wait(idle).close(Server).packets
}

#[test]
fn a_reset_at_the_end_of_a_known_idle_time_is_the_race() {
    let unread = Script::from_port(1003).handshake().exchange().wait(2 * SECOND - RTT);
    let unread = unread.ask(GET).rst_ack(Server).packets;
    assert_eq!(run(&unread).causes(), ["target-rst-no-response"]);
    let idle = |port, start| idles_out(port, start, 2 * SECOND);
    let known = merged(vec![unread, idle(1001, 0), idle(1002, SECOND)]);
    assert_eq!(known.verdicts(), [("keepalive-race", "likely")]);
}

#[test]
fn resets_that_answer_requests_tell_no_idle_time() {
    // The client decides when it asks again; nobody has heard of the connection by then.
    let forgotten = |port: u16, idle: i64| {
        let script = Script::from_port(port).handshake().exchange().wait(idle);
        script.ask(GET).bare_rst(Server).packets
    };
    let runs = (0..6).map(|n| forgotten(1001 + n, 61 * SECOND)).collect();
    let causes = merged(runs).causes();
    assert!(!causes.contains(&"keepalive-race"), "{causes:?}");
}

#[test]
fn a_load_balancer_that_keeps_other_connections_did_not_cut_them_all() {
    let cuts = || {
        vec![
            silent(1001, 0, 3_300 * MS),
            silent(1002, SECOND, 2_300 * MS),
            silent(1003, 2 * SECOND, 1_300 * MS),
        ]
    };
    assert_eq!(merged(cuts()).causes(), ["lb-cut"; 3]);
    let mut with_survivor = cuts();
    with_survivor
        .push(Script::from_port(1004).handshake().exchange().wait(9 * SECOND).exchange().packets);
    assert!(!merged(with_survivor).causes().contains(&"lb-cut"));
}

#[test]
fn a_damaged_packet_is_a_missing_one() {
    let script = Script::open().exchange().exchange().exchange().ask(GET).answer(OK).close(Client);
    let mut packets = script.packets;
    let last = packets.iter().rposition(|packet| packet.payload == OK.as_bytes()).unwrap();
    packets[last].payload = vec![b'x'; OK.len()];
    assert_ne!(run(&packets).verdicts(), [], "believed, it is a failure");
    packets[last].corrupt = true;
    let outcome = run(&packets);
    assert_eq!(outcome.verdicts(), []);
    assert!(outcome.flows[0].blind_spots.has(BlindSpot::Gap));
}

#[test]
fn a_proxy_s_5xx_may_not_be_its_own() {
    let bad = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n";
    let front = Script::open().ask(GET).answer(bad).close(Client).packets;
    let mut packets = Script::from_port(SERVER.1).flags(Client, Flags::SYN).packets;
    // The server's own address opens a connection to a third host.
    packets[0].from_server = true;
    packets.extend(front);
    let outcome = run(&packets);
    assert_eq!(outcome.verdicts(), [("target-own-5xx", "possible")]);
    assert_eq!(outcome.findings[0].responsible, Responsible::Unknown);
}

#[test]
fn a_client_that_asks_again_had_the_end_of_the_answer() {
    let endless = "HTTP/1.1 200 OK\r\n\r\nno length";
    let script = Script::open().ask(GET).answer(endless).exchange().exchange().close(Client);
    healthy(script);
}

/// What a snap length leaves of the latest packet: so many bytes of its payload.
fn cut(script: Script, left: usize) -> Script {
    script.tweak(|packet| {
        packet.wire_len = Some(packet.payload.len() as u32);
        packet.payload.truncate(left);
    })
}

/// A request that the snap length cut, acknowledged.
fn ask_cut(script: Script, text: &str) -> Script {
    cut(script.say(Client, text), 10).wait(RTT).ack(Server)
}

/// A response whose head the snap length cut.
fn answer_cut(script: Script) -> Script {
    cut(script.say(Server, OK), 20).ack(Client)
}

/// Its method says that the head is all of it. Of a request with content the rest may never have been sent.
#[test]
fn a_request_that_the_snap_length_cut_times_out_as_well() {
    let timed_out = |text| {
        let first = answer_cut(ask_cut(Script::open(), text));
        let connections = [40_000, 40_001, 40_002].map(|port| {
            let mut script = ask_cut(first.clone(), text).wait(3 * SECOND - RTT).fin(Client);
            script.packets.iter_mut().for_each(|packet| packet.client_port = port);
            script.packets.iter_mut().for_each(|packet| packet.at += i64::from(port) * SECOND);
            script
        });
        let outcome = run(&connections.map(|script| script.packets).concat());
        assert_eq!(outcome.counts.unknown, 0);
        outcome.verdicts()
    };
    assert_eq!(timed_out(GET), [("response-timeout", "likely"); 3]);
    assert_eq!(timed_out(POST), [("inconclusive", "possible"); 3]);
}

/// A late answer is one that came after the close, and was refused: a head cut by the snap length says as much.
#[test]
fn an_answer_that_the_snap_length_cut_may_have_come_too_late() {
    let gave_up = ask_cut(Script::open().exchange(), GET).wait(3 * SECOND - RTT).fin(Client);
    let answered = cut(gave_up.wait(SECOND).say(Server, OK), 20);
    let late = answered.clone().wait(RTT).bare_rst(Client).run();
    assert_eq!((late.causes(), late.counts.unknown), (vec!["inconclusive"], 0));
    // Who only sends no more takes it.
    let taken = answered.wait(RTT).ack(Client).run();
    assert_eq!((taken.causes(), taken.counts.unknown), (vec![], 1));
    // And what a client answers with RST when it has taken the status is no failure.
    let content = answer_cut(ask_cut(Script::open(), GET)).rst_ack(Client).run();
    assert_eq!((content.causes(), content.counts.unknown), (vec![], 1));
}

/// The end of the capture hides what was to come, and nothing of what came before.
#[test]
fn a_request_that_is_open_when_the_capture_ends_hides_no_failure_before_it() {
    let bad = "HTTP/1.1 503 Service Unavailable\r\nServer: x\r\nContent-Length: 0\r\n\r\n";
    let script = ask_cut(Script::open(), GET);
    let failed = cut(script.say(Server, bad), 34).ack(Client);
    let (open, whole) = (ask_cut(failed.clone(), GET).run(), failed.run());
    assert_eq!(whole.causes(), ["target-own-5xx"]);
    assert_eq!(open.verdicts(), whole.verdicts());
    assert_eq!(open.counts.unknown, 1);
}
