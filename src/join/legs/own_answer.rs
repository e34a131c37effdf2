//! A proxy that answered by itself: with what it had heard of a target, or without having asked any.

use super::Unserved;
use super::compare::not_the_last;
use super::verdict::becomes;
use crate::cause::{CLOSED, Confidence, Finding, Responsible, Tells, span};
use crate::http::State;
use crate::join::{Attempt, Ends};
use crate::phrase;
use crate::words::Phrase;

/// Smallest limit of a common proxy for the header of a response, bytes: nginx' `proxy_buffer_size` on a page of
/// 4 KiB.
const SMALLEST_LIMIT: u64 = 4096;
/// What most of them do not take by default, bytes: HAProxy's `tune.bufsize` without `tune.maxrewrite`.
const COMMON_LIMIT: u64 = 15 * 1024;

/// What one leg alone makes of a 5xx.
pub(super) const OWN: &str = "target-own-5xx";
/// A connection that was closed as it was used once more.
const RACE: &str = "keepalive-race";

/// The host asks others, too, and which of them it asked for this request is not known.
///
/// Whether that changed anything.
pub fn may_be_a_proxys(finding: &mut Finding) -> bool {
    if finding.cause.id != OWN {
        return false;
    }
    finding.confidence = finding.confidence.min(Confidence::Possible);
    let told = finding.summary.clone();
    finding.summary = phrase!(
        "{told}; or it answered for others: it asks servers itself, and which attempt was for this request does not show",
        told
    );
    true
}

/// It asks servers itself, and one that it has asked for the same may be the reason of its close.
pub(super) fn may_have_closed_for_others(finding: &mut Finding) {
    if CLOSED.contains(&finding.cause.id) {
        finding.confidence = finding.confidence.min(Confidence::Possible);
        let told = finding.summary.clone();
        finding.summary = phrase!(
            "{told}; or it closed for others: it asks servers itself, and which attempt was for this request does not show",
            told
        );
    }
}

/// It is a proxy, and which of several attempts was for this request is not known.
pub(super) fn asked_somebody(finding: &mut Finding, front: &Ends) {
    closed_itself(finding, front, || {
        phrase!("several of its attempts may have been for this request")
    });
    let Some(status) = front.status.filter(|_| finding.cause.id == OWN) else { return };
    let waited = front.answered.map_or(0, |answered| answered.at.nanos_since(front.asked.at));
    let summary = phrase!(
        "the proxy answered {status} after {waited}; several of its attempts may have been for this request",
        status,
        waited = span(waited)
    );
    becomes(finding, "inconclusive", Confidence::Possible, summary);
    finding.responsible = Responsible::LoadBalancer;
}

/// The proxy is the server here, and its client the one that used a connection which was being closed.
fn one_hop_nearer(finding: &mut Finding) {
    finding.responsible = match finding.responsible {
        Responsible::TargetApp | Responsible::TargetHost => Responsible::LoadBalancer,
        Responsible::LoadBalancer => Responsible::Client,
        other => other,
    };
    finding.confidence = finding.confidence.min(Confidence::Likely);
    let told = finding.summary.clone();
    finding.summary = phrase!(
        "{told}; the server is the proxy here, and who used the connection its own client",
        told
    );
}

/// A proxy closed the connection to its client, and no failure behind it is known that would be the reason. An early
/// answer that it has given in full is its target's, where it has one.
fn closed_itself(finding: &mut Finding, front: &Ends, asked: impl FnOnce() -> Phrase) {
    if finding.cause.id == RACE {
        one_hop_nearer(finding);
    }
    if !CLOSED.contains(&finding.cause.id) || front.state == State::Answered {
        return;
    }
    let summary = phrase!(
        "the proxy closed the connection to its client {waited} after the request; {asked}; its log has the reason",
        waited = span(front.over.at.nanos_since(front.asked.at)),
        asked = asked()
    );
    becomes(finding, "inconclusive", Confidence::Possible, summary);
    finding.responsible = Responsible::LoadBalancer;
}

/// By the page of the proxy none of the attempts that are known was the last one.
pub(super) fn asked_others(finding: &mut Finding, front: &Ends) {
    if finding.cause.id == OWN {
        told_by_page(finding, front, None);
    }
}

/// The page of the proxy says why it has no answer; `attempt` is the last one that is known. Whether anything was told.
fn told_by_page(finding: &mut Finding, front: &Ends, attempt: Option<&Attempt>) -> bool {
    let (Some(page), Some(status)) = (front.own_page, front.status) else { return false };
    let waited = front.answered.map_or(0, |answered| answered.at.nanos_since(front.asked.at));
    let told = phrase!("the proxy answered {status} after {waited}", status, waited = span(waited));
    let failed = attempt.filter(|attempt| !not_the_last(front, &attempt.ends));
    let target = failed.map(|attempt| attempt.ends.server.socket());
    let sure = failed.map_or(Confidence::Possible, |attempt| attempt.certainty);
    let (cause, confidence, summary) = match (page.tells, target) {
        (Tells::Limit, _) => (
            "lb-overload",
            Confidence::Likely,
            phrase!("{told}: its page says that a limit of its own was reached", told),
        ),
        (Tells::NoTarget, _) => (
            "lb-no-target",
            Confidence::Likely,
            phrase!("{told}: its page says that it had no target that it may ask", told),
        ),
        (Tells::Silent, Some(target)) => (
            "connect-timeout",
            sure.min(Confidence::Likely),
            phrase!(
                "{told}: its page says that nobody answered its connection, as {target} did not",
                told,
                target
            ),
        ),
        (Tells::Silent, None) => (
            "connect-timeout",
            sure,
            phrase!(
                "{told}: its page says that nobody answered its connection; to whom does not show",
                told
            ),
        ),
        (Tells::Refused, None) => (
            "connect-refused",
            sure,
            phrase!(
                "{told}: its page says that its connection was refused or cut; by whom does not show",
                told
            ),
        ),
        (Tells::Ended, None) => (
            "inconclusive",
            sure,
            phrase!(
                "{told}: its page says that a server ended the connection before its answer; which one does not show",
                told
            ),
        ),
        _ => return false,
    };
    becomes(finding, cause, confidence, summary);
    true
}

/// The proxy answered by itself although the target's answer was sound.
pub(super) fn refused_answer(finding: &mut Finding, front: &Ends, attempt: &Attempt) {
    closed_itself(finding, front, || {
        let target = attempt.ends.server.socket();
        match attempt.ends.status {
            Some(given) => phrase!("{target} had answered {given}", target, given),
            None => phrase!("{target} had not answered the proxy", target),
        }
    });
    if finding.cause.id != OWN || told_by_page(finding, front, Some(attempt)) {
        return;
    }
    let (Some(saw), Some(given)) = (front.status, attempt.ends.status) else { return };
    let head_len = attempt.ends.head_len;
    if head_len > SMALLEST_LIMIT && given < 500 && (502..=503).contains(&saw) {
        let summary = phrase!(
            "the proxy answered {saw}, although {target} had answered {given} with {head_len} bytes of header: nginx takes 4 or 8 KB by default, HAProxy 15 KB, Apache 8 KB in one line, Envoy 60 KB",
            saw,
            target = attempt.ends.server.socket(),
            given,
            head_len
        );
        let sure = head_len > COMMON_LIMIT && attempt.certainty >= Confidence::Likely;
        let sure = if sure { Confidence::Likely } else { Confidence::Possible };
        becomes(finding, "response-header-too-large", sure, summary);
        return;
    }
    let summary = phrase!(
        "the proxy answered {saw}, although {target} had answered {given}; its log has the reason",
        saw,
        target = attempt.ends.server.socket(),
        given
    );
    becomes(finding, "inconclusive", Confidence::Possible, summary);
    finding.responsible = Responsible::LoadBalancer;
}

/// The proxy answered by itself and asked no target.
pub(super) fn asked_nobody(finding: &mut Finding, front: &Ends, unserved: Unserved) {
    /// Waits from which a proxy kept the request in a queue, nanoseconds.
    const QUEUED: i64 = 100_000_000;
    closed_itself(finding, front, || phrase!("no attempt at a target is known"));
    if finding.cause.id != OWN || told_by_page(finding, front, None) {
        return;
    }
    let Some(status) = front.status else { return };
    let waited = span(unserved.waited);
    let told = phrase!(
        "the proxy answered {status} after {waited} without asking a target",
        status,
        waited
    );
    if let Some(target) = unserved.just_failed.filter(|_| status != 504) {
        let summary = phrase!(
            "{told}, while a connection to {target} failed: several requests may have waited for that one",
            told,
            target = target.socket()
        );
        becomes(finding, "lb-no-target", Confidence::Possible, summary);
    } else if unserved.waited >= QUEUED && unserved.busy > 0 && status == 503 {
        let summary = phrase!(
            "{told}, while {busy} requests kept its targets busy all that time: it waited in the proxy's queue",
            told,
            busy = unserved.busy
        );
        becomes(finding, "lb-overload", Confidence::Likely, summary);
    } else if status == 504 {
        // It waited for somebody (RFC 9110, 15.6.5).
        let summary = phrase!(
            "the proxy answered 504 after {waited}: whom it waited for is not in the capture; its log has the target",
            waited = span(unserved.waited)
        );
        becomes(finding, "inconclusive", Confidence::Possible, summary);
        finding.responsible = Responsible::LoadBalancer;
    } else if unserved.targets > 0 && unserved.failing == unserved.targets {
        let summary = phrase!(
            "{told}: the latest attempt at each of the targets asked before ({n}) had failed",
            told,
            n = unserved.targets
        );
        becomes(finding, "lb-no-target", Confidence::Likely, summary);
    } else {
        let summary = phrase!(
            "{told}: it had none that it may ask, reached a limit or a rule of its own, had no free local port, or could not send a packet; its log has the reason",
            told
        );
        becomes(finding, "inconclusive", Confidence::Possible, summary);
        finding.responsible = Responsible::LoadBalancer;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::by_id;
    use crate::join::legs::testing::leg;
    use crate::report::fixture;

    #[test]
    fn a_time_out_has_waited_for_a_target() {
        let all_failed =
            Unserved { waited: 1_500_000_000, busy: 0, targets: 1, failing: 1, just_failed: None };
        let told = |status| {
            let mut finding = fixture::race(2);
            finding.cause = by_id(OWN).unwrap();
            asked_nobody(&mut finding, &leg(1, 7, 0, 1_500, status).ends, all_failed);
            finding.cause.id
        };
        assert_eq!((told(503), told(504)), ("lb-no-target", "inconclusive"));
    }

    #[test]
    fn one_failed_connection_may_be_the_reason_of_several_errors() {
        let target = leg(1, 7, 0, 5, 200).ends.server;
        let told = |just_failed| {
            let mut finding = fixture::race(2);
            finding.cause = by_id(OWN).unwrap();
            let unserved = Unserved {
                waited: 5_000_000,
                targets: 1,
                failing: 1,
                just_failed,
                ..Unserved::default()
            };
            asked_nobody(&mut finding, &leg(1, 7, 0, 5, 503).ends, unserved);
            finding.confidence
        };
        assert_eq!((told(None), told(Some(target))), (Confidence::Likely, Confidence::Possible));
    }

    #[test]
    fn a_race_with_the_proxy_is_its_clients() {
        let mut finding = fixture::race(2);
        finding.responsible = Responsible::LoadBalancer;
        let nobody = Unserved { waited: 0, busy: 0, targets: 1, failing: 0, just_failed: None };
        asked_nobody(&mut finding, &leg(1, 7, 0, 1_500, 0).ends, nobody);
        assert_eq!((finding.cause.id, finding.responsible), (RACE, Responsible::Client));
        assert_eq!(finding.confidence, Confidence::Likely);
    }
}
