//! Properties of whole conversations, whatever the segments.

use super::script::Script;
use super::{Exchange, FaultKind, State};
use crate::blind::BlindSpot;
use crate::tcp::Side;
use proptest::prelude::*;

/// A valid exchange: what the client says, what the server says.
fn exchange() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let request = prop_oneof![
        Just("GET /a HTTP/1.1\r\nHost: a\r\n\r\n"),
        Just("\r\nGET /b?c HTTP/1.0\nConnection: keep-alive\n\n"),
        Just("BREW /pot HTTP/1.1\r\nX: a\r\n b\r\n\r\n"),
        Just("POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nGET /"),
        Just(
            "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: v\r\n\r\n"
        ),
    ];
    let response = prop_oneof![
        Just("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/"),
        Just("HTTP/1.1 204 None\n\n"),
        Just("\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
        Just("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        Just("HTTP/1.1 500 E\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n"),
        Just(
            "HTTP/1.1 200 OK\r\nX : a\0\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
    ];
    (request, response).prop_map(|(ask, answer)| (ask.into(), answer.into()))
}

/// Ways to cut the bytes of one turn.
fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1usize..20, 0..40)
}

fn say(script: &mut Script, side: Side, bytes: &[u8], cuts: &mut impl Iterator<Item = usize>) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let (part, after) = rest.split_at(cuts.next().unwrap_or(rest.len()).min(rest.len()));
        script.says(side, part);
        rest = after;
    }
}

/// What must not depend on the segments.
fn essence(exchange: &Exchange) -> String {
    let request = exchange.request.as_ref().map(|request| {
        (request.start, request.end, request.head.clone(), request.head_complete, request.complete)
    });
    let response = exchange.response.as_ref().map(|response| {
        let fault = response.fault.as_ref().map(|fault| {
            // Bytes that are no line are shown as far as their segment has them.
            let shown = (fault.kind != FaultKind::NotHttp).then(|| fault.sample.clone());
            (fault.offset, fault.kind, shown)
        });
        (
            (response.start, response.end, response.head.clone(), response.head_len),
            (response.status, response.framing, response.body, response.complete),
            (response.closes, response.interim, response.unsolicited, fault),
        )
    });
    let ordinal = (exchange.ordinal, exchange.state, exchange.blind_spots);
    format!("{ordinal:?} {request:?} {response:?}")
}

#[derive(Clone, Debug)]
enum Act {
    Data(Side, Vec<u8>),
    Gap(Side, u64, BlindSpot),
    Unseen(Side, u64),
    Fin(Side),
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Client), Just(Side::Server)]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => exchange().prop_map(|(ask, _)| ask),
        4 => exchange().prop_map(|(_, answer)| answer),
        2 => (exchange(), 0usize..60).prop_map(|((ask, _), end)| ask[..end.min(ask.len())].to_vec()),
        2 => (exchange(), 0usize..60)
            .prop_map(|((_, answer), end)| answer[..end.min(answer.len())].to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => Just(b"HEAD / HTTP/1.1\r\n\r\nCONNECT a:1 HTTP/1.1\r\n\r\n".to_vec()),
        1 => Just(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => (side(), bytes()).prop_map(|(side, bytes)| Act::Data(side, bytes)),
        2 => (side(), 0u64..100, prop_oneof![Just(BlindSpot::Gap), Just(BlindSpot::Snaplen)])
            .prop_map(|(side, len, why)| Act::Gap(side, len, why)),
        1 => (side(), 1u64..100).prop_map(|(side, len)| Act::Unseen(side, len)),
        1 => side().prop_map(Act::Fin),
    ]
}

/// Every request is given out once, in order, in a final state that its facts support.
fn check(script: &Script) {
    let asked: Vec<_> = script.given.iter().filter(|given| given.request.is_some()).collect();
    assert_eq!(asked.len() as u32, script.conversation.requests());
    assert_eq!(script.conversation.pending().count(), 0);
    for (at, exchange) in asked.iter().enumerate() {
        assert_eq!(exchange.ordinal as usize, at + 1);
    }
    for exchange in &script.given {
        let complete = exchange.response.as_ref().is_some_and(|response| response.complete);
        match exchange.state {
            State::Outstanding => panic!("not final: {exchange:?}"),
            State::Answered => assert!(complete || !exchange.blind_spots.is_empty()),
            State::Cut => assert!(exchange.response.is_some() && !complete),
            State::Unanswered => assert!(exchange.response.is_none()),
            State::Unknown => assert!(!exchange.blind_spots.is_empty(), "{exchange:?}"),
        }
    }
}

proptest! {
    #[test]
    fn any_split_gives_the_same_exchanges(
        talk in prop::collection::vec(exchange(), 1..6),
        cuts in cuts(),
        last in prop::sample::select(vec!["", "HTTP/1.1 200 OK\r\n\r\nrest", "HTTP/1.1 2", "junk junk junk"]),
    ) {
        let mut whole = Script::new();
        let mut split = Script::new();
        let mut cuts = cuts.into_iter();
        for (ask, answer) in &talk {
            whole.says(Side::Client, ask).says(Side::Server, answer);
            say(&mut split, Side::Client, ask, &mut cuts);
            say(&mut split, Side::Server, answer, &mut cuts);
        }
        whole.client("GET /last HTTP/1.1\r\n\r\n").server(last).fin(Side::Server).end();
        say(&mut split, Side::Client, b"GET /last HTTP/1.1\r\n\r\n", &mut cuts);
        say(&mut split, Side::Server, last.as_bytes(), &mut cuts);
        split.fin(Side::Server).end();
        prop_assert_eq!(whole.given.len(), talk.len() + 1);
        let essences = |script: &Script| script.given.iter().map(essence).collect::<Vec<_>>();
        prop_assert_eq!(essences(&whole), essences(&split));
        check(&split);
    }

    #[test]
    fn any_bytes_and_gaps_end_in_final_states(
        acts in prop::collection::vec(act(), 0..40),
        known_start: bool,
        acks: bool,
    ) {
        let mut script = if known_start { Script::new() } else { Script::from_the_middle() };
        script.acks = acks;
        for act in acts {
            match act {
                Act::Data(side, bytes) => script.says(side, &bytes),
                Act::Gap(side, len, why) => script.gap(side, len, why),
                Act::Unseen(side, len) => script.unseen(side, len),
                Act::Fin(side) => script.fin(side),
            };
        }
        script.end();
        check(&script);
        let given = script.given.len();
        prop_assert_eq!(script.end().given.len(), given);
    }

    #[test]
    fn a_mutated_conversation_ends_in_final_states(
        talk in prop::collection::vec(exchange(), 1..5),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cuts in cuts(),
    ) {
        let turns = talk.into_iter().flat_map(|(ask, answer)| [ask, answer]);
        let mut turns: Vec<Vec<u8>> = turns.collect();
        for (place, byte) in changes {
            let turn = place.index(turns.len());
            let at = place.index(turns[turn].len());
            turns[turn][at] = byte;
        }
        let mut script = Script::new();
        let mut cuts = cuts.into_iter();
        for (at, turn) in turns.iter().enumerate() {
            let side = if at % 2 == 0 { Side::Client } else { Side::Server };
            say(&mut script, side, turn, &mut cuts);
        }
        script.fin(Side::Server).end();
        check(&script);
    }
}
