use super::*;
use crate::cause::{OwnPage, Responsible, Tells};
use crate::join::TiedBy;
use crate::join::legs::testing::{
    MS, PROXY, back, cut, dropped, given_up, leg, mark, refused, silent, told as page,
};
use crate::join::legs::{Leg, Legs};
use crate::packet::Endpoint;
use crate::report::fixture;

/// A finding on this leg.
fn found(leg: &Leg, cause: &str) -> Finding {
    let mut finding = fixture::race(2);
    finding.cause = by_id(cause).unwrap();
    (finding.flow, finding.blind_spots) = (leg.ends.flow, BlindSpots::default());
    (finding.client, finding.server) = (leg.ends.client, leg.ends.server);
    finding.exchange.as_mut().unwrap().ordinal = leg.ends.ordinal;
    finding
}

fn told(legs: &[Leg], findings: Vec<Finding>) -> Vec<Finding> {
    let mut all = Legs::new(false);
    legs.iter().for_each(|leg| all.add(leg.clone()));
    retell(&mut all.settle_all(), findings)
}

#[test]
fn a_client_that_left_and_the_close_behind_it_are_one_failure() {
    // nginx closes the connection to the target, which answers all the same.
    let (mut front, mut made) = (leg(1, 7, 0, 30, 200), back(11, 7, 1, 80, 200));
    (front.ends.answered, front.ends.status) = (None, None);
    (front.ends.state, front.ends.closed_by) = (State::Unanswered, Some(Side::Client));
    (made.ends.over, made.ends.closed_by) = (mark(31 * MS), Some(Side::Client));
    let findings = vec![found(&front, "client-abort"), found(&made, "client-abort")];
    let told = told(&[front, made], findings);
    let [only] = told.as_slice() else { panic!("{}", told.len()) };
    let joined = only.joined.as_ref().unwrap();
    assert_eq!((only.flow, only.confidence), (1, Confidence::Certain));
    assert_eq!((joined.this, joined.attempts.len()), (None, 1));
}

#[test]
fn what_left_on_the_proxys_own_host_may_have_been_another_proxy() {
    let (mut front, ends) = (leg(1, 7, 0, 30, 200).ends, given_up(11, 7, 1, 31).ends);
    front.closed_by = Some(Side::Client);
    let (certainty, by) = (Confidence::Certain, TiedBy::Request);
    let attempt = Attempt { ends, cause: None, certainty, by, own: false };
    let sure = |front: &Ends| {
        let mut finding = found(&leg(1, 7, 0, 30, 200), "client-abort");
        client_left(&mut finding, front, Some(&attempt));
        finding.confidence
    };
    assert_eq!(sure(&front), Confidence::Certain);
    front.client.ip = front.server.ip;
    assert_eq!(sure(&front), Confidence::Likely);
}

#[test]
fn a_target_that_answers_after_the_proxy_gave_up_was_too_slow() {
    let (front, first) = (leg(1, 7, 0, 20, 504), given_up(11, 7, 1, 10));
    let last = given_up(12, 7, 11, 20);
    let findings = vec![
        found(&front, "target-own-5xx"),
        found(&first, "client-abort"),
        found(&last, "client-abort"),
    ];
    let told = told(&[front, first, last], findings);
    let is = |at: usize| (told[at].flow, told[at].kind, told[at].cause.id);
    // Another try followed at once: nobody but the proxy gave up.
    assert_eq!(is(0), (11, Kind::Attempt, "response-timeout"));
    assert_eq!(is(1), (12, Kind::Request, "response-timeout"));
    assert_eq!((told.len(), told[1].responsible), (2, Responsible::TargetApp));
}

#[test]
fn an_outer_proxy_that_gave_up_is_no_client_that_left() {
    let (front, middle) = (leg(1, 7, 0, 20, 504), given_up(11, 7, 1, 20));
    let mut inner = given_up(21, 7, 2, 21);
    inner.ends.client = Endpoint { port: 50_021, ..middle.ends.server };
    inner.ends.server = Endpoint::v4([10, 9, 9, 9], 8080);
    let findings = vec![
        found(&front, "target-own-5xx"),
        found(&middle, "client-abort"),
        found(&inner, "client-abort"),
    ];
    let told = told(&[front, middle, inner], findings);
    let is: Vec<_> = told.iter().map(|it| (it.flow, it.kind, it.cause.id)).collect();
    assert_eq!(is, [(11, Kind::Request, "response-timeout")]);
}

#[test]
fn who_closes_first_tells_a_timer_from_a_client_that_left() {
    let cause = |proxy_closes| {
        let (mut front, mut made) = (leg(1, 7, 0, 30, 200), back(11, 7, 1, 80, 200));
        (front.ends.answered, front.ends.status) = (None, None);
        (front.ends.state, front.ends.closed_by) = (State::Unanswered, Some(Side::Client));
        (made.ends.over, made.ends.closed_by) = (mark(proxy_closes * MS), Some(Side::Client));
        let findings = vec![found(&front, "response-timeout"), found(&made, "client-abort")];
        let told = told(&[front, made], findings);
        told.iter().find(|finding| finding.flow == 1).map(|finding| finding.cause.id)
    };
    assert_eq!(cause(31), Some("client-abort"));
    assert_eq!(cause(29), Some("response-timeout"));
}

/// What an inner proxy makes of `outer`: the leg to it, and the attempts of it.
fn inner(mut leg: Leg) -> Leg {
    leg.ends.client = Endpoint { port: 50_000 + leg.ends.flow as u16, ..leg.ends.server };
    leg.ends.server = Endpoint::v4([10, 9, 9, 9], 8080);
    leg
}

#[test]
fn a_failure_behind_two_proxies_is_told_once() {
    let (front, middle) = (leg(1, 7, 0, 30, 502), back(11, 7, 1, 29, 502));
    let (first, last) = (inner(cut(21, 7, 2, 9)), inner(cut(22, 7, 10, 28)));
    let legs = [front, middle, first, last];
    let findings = || {
        let causes = ["target-own-5xx", "target-own-5xx"];
        let causes = causes.into_iter().chain(["target-fin-no-response"; 2]);
        legs.iter().zip(causes).map(|(leg, cause)| found(leg, cause)).collect()
    };
    let is = |told: &[Finding]| -> Vec<_> {
        let outcome = |it: &Finding| it.joined.as_ref().unwrap().outcome;
        told.iter().map(|it| (it.flow, it.kind, outcome(it))).collect()
    };
    let told_of = told(&legs, findings());
    assert_eq!(
        is(&told_of),
        [(21, Kind::Attempt, Outcome::Retried), (22, Kind::Request, Outcome::Failed)]
    );
    let said = told_of[1].summary.to_string();
    assert!(said.ends_with("the client of the proxy got status 502"), "{said}");
    // The outer proxy tried again, with success.
    let mut legs = legs.to_vec();
    legs[0] = leg(1, 7, 0, 90, 200);
    legs.push(back(12, 7, 31, 89, 200));
    let findings = findings().into_iter().skip(1).collect();
    let masked = told(&legs, findings);
    assert_eq!(
        is(&masked),
        [(21, Kind::Attempt, Outcome::Masked), (22, Kind::Attempt, Outcome::Masked)]
    );
}

#[test]
fn what_ended_behind_an_inner_proxy_as_the_client_had_left_is_no_failure() {
    let (mut front, middle) = (leg(1, 7, 0, 30, 200), given_up(11, 7, 1, 31));
    (front.ends.answered, front.ends.status) = (None, None);
    (front.ends.state, front.ends.closed_by) = (State::Unanswered, Some(Side::Client));
    let behind = inner(given_up(21, 7, 2, 32));
    let legs = [front, middle, behind];
    let findings = legs.iter().map(|leg| found(leg, "client-abort")).collect();
    let told = told(&legs, findings);
    assert_eq!(told.iter().map(|it| it.flow).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_client_that_ended_its_direction_and_took_the_answer_has_not_left() {
    let (mut front, made) = (leg(1, 7, 0, 80, 500), back(11, 7, 1, 79, 500));
    (front.ends.over, front.ends.closed_by) = (mark(MS), Some(Side::Client));
    let legs = [front, made];
    let findings = legs.iter().map(|leg| found(leg, "target-own-5xx")).collect();
    let told = told(&legs, findings);
    let [only] = told.as_slice() else { panic!("{}", told.len()) };
    assert_eq!((only.flow, only.cause.id, only.kind), (11, "target-own-5xx", Kind::Request));
    assert!(!only.joined.as_ref().unwrap().front.left_before_answer());
}

#[test]
fn a_proxy_that_drops_its_client_after_a_sound_answer_is_no_target() {
    let (front, made) = (dropped(1, 7, 1, 80), back(11, 7, 2, 79, 200));
    let findings = vec![found(&front, "target-fin-no-response")];
    let told = told(&[front, made], findings);
    let is = (told[0].cause.id, told[0].confidence, told[0].responsible);
    assert_eq!(is, ("inconclusive", Confidence::Possible, Responsible::LoadBalancer));
    let said = told[0].summary.to_string();
    assert!(said.contains("had answered 200"), "{said}");
}

#[test]
fn an_answer_that_nobody_can_read_is_none_to_tell_of() {
    let said = |answered| {
        let (mut front, made) = (leg(1, 7, 0, 80, 502), cut(11, 7, 1, 79));
        front.ends.status = None;
        front.ends.answered = front.ends.answered.filter(|_| answered);
        let told = told(&[front, made.clone()], vec![found(&made, "target-fin-no-response")]);
        told[0].summary.to_string().contains("got no answer")
    };
    assert_eq!([false, true].map(said), [true, false]);
}

#[test]
fn a_health_check_decides_no_request() {
    let (front, made) = (leg(1, 7, 0, 80, 503), cut(11, 7, 1, 79));
    let kinds = |kind| {
        let mut attempt = found(&made, "target-fin-no-response");
        attempt.kind = kind;
        let findings = vec![found(&front, "target-own-5xx"), attempt];
        let told = told(&[front.clone(), made.clone()], findings);
        told.iter().map(|finding| (finding.flow, finding.kind)).collect::<Vec<_>>()
    };
    assert_eq!(kinds(Kind::Request), [(11, Kind::Request)]);
    assert_eq!(kinds(Kind::HealthCheck), [(1, Kind::Request), (11, Kind::HealthCheck)]);
}

#[test]
fn an_attempt_of_which_no_other_is_known_was_asked_of_a_target() {
    // The proxy gives up; its target may be a proxy itself, for all that is known.
    let (front, made) = (leg(1, 7, 0, 80, 504), given_up(11, 7, 1, 79));
    let mut all = Legs::new(false);
    [&front, &made].into_iter().for_each(|leg| all.add(leg.clone()));
    let mut joins = all.settle_all();
    let mut inner = joins.settled[0].clone();
    (inner.correlation.front, inner.correlation.back) = (Some(made.ends.clone()), Vec::new());
    joins.settled.push(inner);
    let findings = vec![found(&front, "target-own-5xx"), found(&made, "client-abort")];
    let told = retell(&mut joins, findings);
    let [only] = told.as_slice() else { panic!("{}", told.len()) };
    assert_eq!((only.flow, only.cause.id), (11, "response-timeout"));
    assert_eq!(only.joined.as_ref().unwrap().attempts.len(), 1);
}

#[test]
fn a_proxy_that_answers_the_client_that_left_tells_of_it_too() {
    let (mut front, made) = (leg(1, 7, 0, 80, 200), back(11, 7, 1, 79, 200));
    (front.ends.over, front.ends.closed_by) = (mark(30 * MS), Some(Side::Client));
    assert!(front.is_suspect());
    let findings = vec![found(&front, "client-abort")];
    let told = told(&[front, made], findings);
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].cause.id, told[0].confidence), ("client-abort", Confidence::Certain));
    assert_eq!(told[0].joined.as_ref().unwrap().attempts.len(), 1);
}

#[test]
fn an_attempt_that_one_of_several_requests_made_is_no_failure_of_its_own() {
    let lost = cut(13, 7, 4, 9);
    let legs = [
        leg(1, 7, 0, 50, 200),
        leg(2, 7, 1, 60, 200),
        back(11, 7, 2, 49, 200),
        back(12, 7, 3, 59, 200),
        lost.clone(),
    ];
    let told = told(&legs, vec![found(&lost, "target-fin-no-response")]);
    assert_eq!((told.len(), told[0].kind), (1, Kind::Attempt));
    assert!(told[0].summary.to_string().ends_with("none of them failed"), "{}", told[0].summary);
}

#[test]
fn what_a_client_on_the_host_of_the_proxy_asked_itself_stays_a_failure_of_its_own() {
    // Two endpoints of one host, asked by its own clients; nobody asks the second one for the first.
    let local = |mut leg: Leg, port| {
        (leg.local, leg.ends.server) = ([true; 2], Endpoint::v4(PROXY, port));
        leg.ends.client.ip = leg.ends.server.ip;
        leg.sketch.reply = 99;
        leg
    };
    let front = local(leg(1, 7, 0, 3000, 503), 80);
    let (beside, other) =
        (local(leg(2, 8, 2900, 2999, 503), 81), local(leg(3, 8, 5000, 5100, 503), 81));
    let findings: Vec<Finding> =
        [&front, &beside, &other].into_iter().map(|leg| found(leg, "target-own-5xx")).collect();
    let told = told(&[front, beside, other], findings);
    assert_eq!(told.len(), 3);
    assert!(told.iter().all(|finding| finding.kind == Kind::Request), "{told:?}");
    let said = told[1].summary.to_string();
    assert!(said.contains("; or a proxy asked for another request, that of"), "{said}");
}

#[test]
fn of_one_request_that_failed_it_is_said_that_it_did() {
    let lost = cut(12, 7, 4, 9);
    let mut finding = found(&lost, "target-fin-no-response");
    let stray = Stray { flow: 12, ordinal: 1, fronts: 1, failed: 1 };
    went_astray(&mut finding, &stray);
    assert!(finding.summary.to_string().ends_with("likely made for failed, too"));
}

#[test]
fn another_answer_than_that_of_the_last_attempt_was_not_passed_on() {
    let (front, made) = (leg(1, 7, 0, 50, 200), back(11, 7, 2, 49, 500));
    let told = told(&[front, made.clone()], vec![found(&made, "target-own-5xx")]);
    assert_eq!(told[0].kind, Kind::Attempt);
    assert_eq!(told[0].joined.as_ref().unwrap().outcome, Outcome::Masked);
}

#[test]
fn another_gateway_error_than_that_of_the_last_attempt_has_another_reason() {
    let sure = |status| {
        let (front, made) = (leg(1, 7, 0, 50, status), back(11, 7, 2, 49, 503));
        told(&[front, made.clone()], vec![found(&made, "target-own-5xx")])[0].confidence
    };
    assert_eq!((sure(503), sure(502)), (Confidence::Certain, Confidence::Possible));
}

#[test]
fn an_early_answer_that_the_proxy_handed_on_was_not_lost() {
    let (front, mut made) = (leg(1, 7, 0, 50, 413), back(11, 7, 2, 49, 413));
    made.odd = true;
    let finding = || {
        let mut finding = found(&made, "target-closed-during-request");
        let exchange = crate::http::Exchange { state: State::Answered, ..Default::default() };
        finding.exchange = Some(Box::new(crate::http::Exchange { ordinal: 1, ..exchange }));
        finding
    };
    assert_eq!(told(&[front.clone(), made.clone()], vec![finding()]).len(), 0);
    // Its client got something else.
    let other = leg(1, 7, 0, 50, 502);
    let told = told(&[other, made.clone()], vec![finding()]);
    assert_eq!((told.len(), told[0].kind), (1, Kind::Request));
}

#[test]
fn a_proxy_that_refuses_an_answer_with_a_large_header_did_so_for_that() {
    let told = |head_len| {
        let (front, mut made) = (leg(1, 7, 0, 50, 502), back(11, 7, 2, 49, 200));
        made.ends.head_len = head_len;
        let finding = found(&front, "target-own-5xx");
        let told = told(&[front, made], vec![finding]);
        (told[0].cause.id, told[0].confidence)
    };
    assert_eq!(told(20_150), ("response-header-too-large", Confidence::Likely));
    assert_eq!(told(5_000), ("response-header-too-large", Confidence::Possible));
    assert_eq!(told(300), ("inconclusive", Confidence::Possible));
}

#[test]
fn a_host_that_asks_others_may_have_answered_for_them() {
    let (refused, later) = (leg(1, 7, 0, 2, 503), back(11, 9, 60, 70, 200));
    let finding = || vec![found(&refused, "target-own-5xx")];
    let confidence = |legs: &[Leg]| told(legs, finding())[0].confidence;
    assert_eq!(confidence(std::slice::from_ref(&refused)), Confidence::Certain);
    assert_eq!(confidence(&[refused.clone(), later]), Confidence::Possible);
}

#[test]
fn who_still_waits_did_not_leave() {
    // Envoy's timer of a whole request, after another attempt.
    let (mut front, mut made) = (leg(1, 7, 0, 3_000, 200), back(11, 7, 60, 70, 200));
    (front.ends.state, front.ends.closed_by) = (State::Cut, Some(Side::Server));
    (made.ends.state, made.ends.closed_by) = (State::Cut, Some(Side::Client));
    made.ends.over = mark(2_000 * MS);
    let abort = |bytes| {
        let mut finding = found(&made, "client-abort");
        let response = crate::http::Response {
            start: 0,
            end: bytes,
            last: mark(70 * MS),
            ..Default::default()
        };
        finding.exchange.as_mut().unwrap().response = Some(response);
        finding
    };
    let stalled = told(&[front.clone(), made.clone()], vec![abort(100)]);
    assert_eq!(
        (stalled[0].cause.id, stalled[0].confidence),
        ("response-stalled", Confidence::Likely)
    );
    // Its client closed before.
    (front.ends.closed_by, front.ends.over) = (Some(Side::Client), mark(1_999 * MS));
    let left = told(&[front, made.clone()], vec![abort(100)]);
    assert_eq!(left[0].cause.id, "client-abort");
}

#[test]
fn the_same_status_on_a_page_of_the_proxy_itself_was_not_handed_on() {
    let (mut front, made) = (leg(1, 7, 0, 50, 503), back(11, 7, 1, 20, 503));
    front.ends.own_page = Some(OwnPage::default());
    let findings = || vec![found(&made, "target-own-5xx")];
    let told = |front: &Leg| told(&[front.clone(), made.clone()], findings())[0].confidence;
    assert_eq!(told(&front), Confidence::Possible);
    front.ends.own_page = None;
    assert_ne!(told(&front), Confidence::Possible);
}

#[test]
fn a_pause_before_the_proxys_error_has_room_for_another_attempt() {
    let sure = |answered: i64, closed_by| {
        let (front, mut made) = (leg(1, 7, 0, answered, 503), cut(11, 7, 1, 20));
        made.ends.closed_by = closed_by;
        let findings = vec![found(&made, "target-fin-no-response")];
        told(&[front, made], findings)[0].confidence
    };
    let target = Some(Side::Server);
    assert_eq!((sure(21, target), sure(60, target)), (Confidence::Certain, Confidence::Likely));
    // When the proxy gave up a target that says nothing does not show.
    assert_eq!(sure(60, None), Confidence::Certain);
    let handed_on = |answered: i64| {
        let (front, made) = (leg(1, 7, 0, answered, 503), back(11, 7, 1, 20, 503));
        let findings = vec![found(&made, "target-own-5xx")];
        told(&[front, made], findings)[0].confidence
    };
    assert_eq!((handed_on(21), handed_on(60)), (Confidence::Certain, Confidence::Likely));
}

#[test]
fn one_connection_fails_each_of_the_requests_that_waited_for_it() {
    let gone = |flow, asked, over| page(flow, asked, over, Tells::Silent, false);
    let (first, later, mut connection) = (gone(1, 0, 1000), gone(2, 900, 1000), silent(11, 0));
    // A SYN was sent once more when both had their answer, as far as the clock of the capture tells.
    connection.ends.over = mark(1001 * MS);
    let mut on_it = found(&connection, "connect-timeout");
    on_it.exchange = None;
    let findings = vec![found(&first, OWN), found(&later, OWN), on_it];
    let told = told(&[first, later, connection], findings);
    let of = |finding: &Finding| {
        let joined = finding.joined.as_ref().unwrap();
        (finding.cause.id, finding.flow, joined.front.flow, joined.outcome)
    };
    let of: Vec<_> = told.iter().map(of).collect();
    let failed = |front| ("connect-timeout", 11, front, Outcome::Failed);
    assert_eq!(of, [failed(1), failed(2)]);
    assert!(told[1].summary.to_string().contains("another connection to 10.0.1.1:8080 failed"));
}

#[test]
fn what_a_page_tells_is_told_where_no_attempt_shows_it() {
    let verdict = |tells, legs: &[Leg]| {
        let front = page(1, 0, 40, tells, None);
        let findings = vec![found(&front, OWN)];
        let told = told(&[&[front], legs].concat(), findings);
        let request = told.iter().find(|it| it.kind == Kind::Request).unwrap();
        (request.cause.id, request.confidence)
    };
    // The proxy is known by another request.
    let others = [leg(3, 8, 1, 30, 200), back(13, 8, 2, 29, 200)];
    let (likely, possible) = (Confidence::Likely, Confidence::Possible);
    assert_eq!(verdict(Tells::Limit, &others), ("lb-overload", likely));
    assert_eq!(verdict(Tells::NoTarget, &others), ("lb-no-target", likely));
    assert_eq!(verdict(Tells::Refused, &others), ("connect-refused", possible));
    assert_eq!(verdict(Tells::Silent, &others), ("connect-timeout", possible));
    assert_eq!(verdict(Tells::Ended, &others), ("inconclusive", possible));
    // The capture ended before the connection had failed for sure.
    let open = [&others[..], &[silent(14, 1)]].concat();
    assert_eq!(verdict(Tells::Silent, &open), ("connect-timeout", likely));
    // An attempt before is not the one of which the page tells.
    let before = [&others[..], &[refused(14, 2)]].concat();
    assert_eq!(verdict(Tells::Limit, &before), ("lb-overload", likely));
}

#[test]
fn which_of_two_servers_it_was_is_left_open_where_both_refused_at_once() {
    let front = page(1, 0, 60, Tells::Refused, true);
    let (one, mut other) = (refused(11, 58), refused(12, 58));
    other.ends.server.port += 1;
    let mut on_it: Vec<Finding> =
        [&one, &other].map(|leg| found(leg, "connect-refused")).into_iter().collect();
    on_it.iter_mut().for_each(|finding| finding.exchange = None);
    let told = told(&[front, one, other], on_it);
    let request = told.iter().find(|it| it.kind == Kind::Request).unwrap();
    assert_eq!(request.confidence, Confidence::Possible);
    let other = if request.server.port == 8080 { ":8081," } else { ":8080," };
    let summary = request.summary.to_string();
    assert!(summary.contains(other), "{summary}");
}
