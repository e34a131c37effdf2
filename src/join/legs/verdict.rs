//! What ties make of verdicts: a failure behind a proxy and the answer that its client got are one.

use super::compare::{SLACK, status_given};
use super::own_answer::{self, OWN};
use super::{Joins, Settled, Stray, Unserved};
use crate::blind::BlindSpots;
use crate::cause::{Cause, Confidence, Finding, Kind, by_id, span};
use crate::http::State;
use crate::join::{Attempt, Correlation, Ends, Joined, Outcome};
use crate::phrase;
use crate::tcp::Side;
use crate::time::Timestamp;
use crate::words::Phrase;
use hashbrown::{HashMap, HashSet};

/// Causes that leave open whether the proxy's own timer or its client ended the wait.
const UNSURE_WHO: [&str; 3] = ["client-abort", "lb-cut", "inconclusive"];
/// Causes that already name the timer of whoever closed.
const TIMERS: [&str; 2] = ["response-timeout", "response-stalled"];
/// Time in which a proxy answers its client after it has given up a target, nanoseconds.
const AT_ONCE: i64 = 100_000_000;

/// The findings of a run's legs, by flow and position of the request on it.
struct Held {
    findings: Vec<Option<Finding>>,
    index: HashMap<(u64, u32), usize>,
    /// Attempts that ended because the client had left: those of an inner proxy for them did, too.
    left: HashSet<(u64, u32)>,
}

impl Held {
    fn at(&self, flow: u64, ordinal: u32) -> Option<usize> {
        let at = self.index.get(&(flow, ordinal)).copied()?;
        self.findings[at].is_some().then_some(at)
    }

    fn get(&mut self, at: Option<usize>) -> Option<&mut Finding> {
        self.findings.get_mut(at?)?.as_mut()
    }

    fn take(&mut self, at: Option<usize>) -> Option<Finding> {
        self.findings.get_mut(at?)?.take()
    }
}

/// Tells the findings of legs anew, each failure once, and names the causes of attempts.
pub fn retell(joins: &mut Joins, findings: Vec<Finding>) -> Vec<Finding> {
    let index = findings.iter().enumerate().map(|(at, finding)| {
        let ordinal = finding.exchange.as_ref().map_or(0, |exchange| exchange.ordinal);
        ((finding.flow, ordinal), at)
    });
    let index = index.collect();
    let findings = findings.into_iter().map(Some).collect();
    let mut held = Held { index, findings, left: HashSet::new() };
    for Settled { correlation, unserved } in &mut joins.settled {
        for attempt in &mut correlation.back {
            let at = held.at(attempt.ends.flow, attempt.ends.ordinal);
            attempt.cause = held.get(at).map(|finding| finding.cause.id);
        }
        tell(correlation, *unserved, &mut held);
    }
    for stray in &joins.strays {
        let at = held.at(stray.flow, stray.ordinal);
        if let Some(finding) = held.get(at) {
            went_astray(finding, stray);
        }
    }
    for doubtful in &joins.doubtful {
        let at = held.at(doubtful.front.flow, doubtful.front.ordinal);
        match held.get(at) {
            Some(finding) if doubtful.is_proxy => {
                own_answer::asked_somebody(finding, &doubtful.front);
            }
            Some(finding) => {
                own_answer::may_be_a_proxys(finding);
                if doubtful.contested {
                    own_answer::may_have_closed_for_others(finding);
                }
            }
            None => {}
        }
    }
    held.findings.into_iter().flatten().collect()
}

/// A failed attempt whose request is not known. Each request that failed is told by itself.
fn went_astray(finding: &mut Finding, stray: &Stray) {
    if finding.kind == Kind::HealthCheck {
        return;
    }
    finding.kind = Kind::Attempt;
    let told = finding.summary.clone();
    let (of, failed) = (stray.fronts, stray.failed);
    finding.summary = match (of, failed) {
        (0, _) => {
            phrase!(
                "{told}; which request of the proxy's clients it was made for is not known any more",
                told
            )
        }
        (1, 0) => phrase!("{told}; the request that it was likely made for did not fail", told),
        (1, _) => phrase!("{told}; the request that it was likely made for failed, too", told),
        (_, 0) => phrase!(
            "{told}; which of {of} requests it was made for does not show, none of them failed",
            told,
            of
        ),
        _ => phrase!(
            "{told}; which of {of} requests it was made for does not show, {failed} of them failed",
            told,
            of,
            failed
        ),
    };
}

/// One request of a proxy's client and the attempts for it.
fn tell(correlation: &mut Correlation, unserved: Option<Unserved>, held: &mut Held) {
    let Some(mut front) = correlation.front.clone() else { return };
    let front_at = held.at(front.flow, front.ordinal);
    let gone = held.left.contains(&(front.flow, front.ordinal));
    let took_it = |it: &mut Finding| it.cause.id == OWN;
    if front.left_before_answer() && !gone && held.get(front_at).is_none_or(took_it) {
        // It ended one direction only, and took the answer.
        front.closed_by = None;
        correlation.front = Some(front.clone());
    }
    let back_at: Vec<Option<usize>> =
        correlation.back.iter().map(|it| held.at(it.ends.flow, it.ends.ordinal)).collect();
    if back_at.is_empty() && held.get(front_at).is_some_and(|finding| finding.joined.is_some()) {
        // An attempt for another request, and none is known for itself: what was asked is a target.
        return;
    }
    let left = front.closed_by == Some(Side::Client);
    // What the client of an outer proxy saw decides, if there is one.
    let outer = held.get(front_at).and_then(|finding| finding.joined.clone());
    let failed = front_at.is_some() || front.failed();
    // What clients may have asked themselves took no answer from this one, nor did health checks.
    let is_check =
        |at: &Option<usize>| held.get(*at).is_some_and(|finding| finding.kind == Kind::HealthCheck);
    let checks: Vec<bool> = back_at.iter().map(is_check).collect();
    let for_it = |(attempt, check): (&Attempt, &bool)| !attempt.own && !check;
    let last = correlation.back.iter().zip(&checks).rposition(for_it);
    let last_at = last.and_then(|last| back_at[last]);
    if let Some(attempt) = last.map(|last| &mut correlation.back[last])
        && handed_on(&front, attempt)
        && held.get(last_at).is_some_and(|finding| may_be_lost(finding))
    {
        // It was not: nothing failed.
        attempt.cause = None;
        held.take(last_at);
    }
    let mut role = Role::Attempts;
    if left && (front_at.is_some() || gone) {
        role = Role::Client;
        // An outer proxy whose own client got an answer did not leave: it gave up, which is told already.
        let gave_up = outer.as_ref().is_some_and(|outer| outer.front.status.is_some());
        if let Some(finding) = held.get(front_at).filter(|_| !gave_up) {
            client_left(finding, &front, last.map(|last| &correlation.back[last]));
        }
    } else if let Some(found) = held.get(last_at) {
        role = Role::Target;
        if let Some(attempt) = last.map(|last| &mut correlation.back[last]) {
            proxy_gave_up(found, &front, attempt);
            match &outer {
                None => client_got(found, &front),
                Some(outer) if outer.outcome == Outcome::Failed => client_got(found, &outer.front),
                // Another attempt of the outer proxy decided what its client got.
                Some(_) => {}
            }
            attempt.cause = Some(found.cause.id);
        }
    } else if let Some(finding) = held.get(front_at) {
        role = Role::Proxy;
        match (unserved, last.map(|last| &correlation.back[last])) {
            (Some(unserved), _) => own_answer::asked_nobody(finding, &front, unserved),
            (None, Some(attempt)) => own_answer::refused_answer(finding, &front, attempt),
            (None, None) => {}
        }
    }
    tried_again(correlation, &back_at, held);
    let exchange = held.get(front_at).and_then(|finding| finding.exchange.clone());
    let joined = |this: Option<usize>, outcome| match &outer {
        Some(outer) => Joined {
            attempts: correlation.back.clone(),
            this,
            outcome: behind(outer.outcome, outcome),
            certainty: outer.certainty.min(correlation.certainty),
            ..(**outer).clone()
        },
        None => Joined {
            front: front.clone(),
            exchange: exchange.clone().filter(|_| this.is_some()),
            attempts: correlation.back.clone(),
            this,
            outcome,
            certainty: correlation.certainty,
        },
    };
    for (this, at) in back_at.iter().enumerate() {
        let is_last = Some(this) == last;
        let Some(finding) = held.get(*at) else { continue };
        let attempt = &correlation.back[this];
        if attempt.own {
            maybe_an_attempt(finding, &front);
            continue;
        }
        if checks[this] {
            continue;
        }
        if role == Role::Client && attempt.ends.over.at.nanos_since(front.over.at) >= -SLACK {
            // It ended because the client had left.
            held.left.insert((attempt.ends.flow, attempt.ends.ordinal));
            held.take(*at);
            continue;
        }
        let passed_on =
            front.status.is_some() && status_given(&front, &attempt.ends) == front.status;
        let outcome = match (failed, is_last && role == Role::Target) {
            (true, true) => Outcome::Failed,
            // Another answer than the one that the client got, or none: that came from elsewhere.
            (false, true) if !passed_on => Outcome::Masked,
            (false, true) => Outcome::PassedOn,
            (true, false) => Outcome::Retried,
            (false, false) => Outcome::Masked,
        };
        let joined = joined(Some(this), outcome);
        match joined.outcome {
            Outcome::Retried | Outcome::Masked => finding.kind = Kind::Attempt,
            Outcome::PassedOn if attempt.certainty == Confidence::Possible => {
                finding.kind = Kind::Attempt;
            }
            Outcome::Failed | Outcome::PassedOn => {
                // That this attempt failed may be certain; that it failed this request is no surer than the tie.
                finding.kind = Kind::Request;
                finding.confidence = finding.confidence.min(attempt.certainty);
            }
        }
        finding.joined = Some(Box::new(joined));
    }
    if role == Role::Target {
        // The answer that the client got is the consequence.
        held.take(front_at);
    } else if let Some(finding) = held.get(front_at) {
        finding.joined = Some(Box::new(joined(None, Outcome::Failed)));
    }
}

/// What a failed attempt of an inner proxy meant for the client of the outer one, which got the outcome of the
/// inner proxy's request.
fn behind(outer: Outcome, inner: Outcome) -> Outcome {
    match inner {
        Outcome::Failed | Outcome::PassedOn => outer,
        Outcome::Retried | Outcome::Masked if outer == Outcome::Masked => outer,
        Outcome::Retried | Outcome::Masked => Outcome::Retried,
    }
}

/// The client of the proxy got the answer of this attempt, whole.
fn handed_on(front: &Ends, attempt: &Attempt) -> bool {
    front.state == State::Answered
        && front.status.is_some()
        && status_given(front, &attempt.ends) == front.status
        && attempt.certainty >= Confidence::Likely
}

/// All that is wrong is that the answer, which came early, may have been overtaken by a reset.
fn may_be_lost(finding: &Finding) -> bool {
    finding.cause.id == "target-closed-during-request"
        && finding.exchange.as_ref().is_some_and(|exchange| exchange.state == State::Answered)
}

/// A failed request that its client may have made itself, or the proxy for the request of another one.
fn maybe_an_attempt(finding: &mut Finding, front: &Ends) {
    let told = finding.summary.clone();
    finding.summary = phrase!(
        "{told}; or a proxy asked for another request, that of {client} at {server}: nothing but the time speaks for it",
        told,
        client = front.client.socket(),
        server = front.server.socket()
    );
}

/// Where the failure of a request lies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Its client left.
    Client,
    /// The last attempt failed.
    Target,
    /// The proxy answered by itself.
    Proxy,
    /// Nowhere: attempts failed, the request did not.
    Attempts,
}

/// Changes the verdict to this cause.
pub(super) fn becomes(finding: &mut Finding, id: &str, confidence: Confidence, summary: Phrase) {
    let Some(cause): Option<&'static Cause> = by_id(id) else { return };
    finding.cause = cause;
    finding.responsible = cause.responsible;
    finding.confidence = match finding.blind_spots == BlindSpots::default() {
        true => confidence,
        false => confidence.min(Confidence::Likely),
    };
    finding.summary = summary;
}

/// The front leg shows that the client closed before it had its answer.
fn client_left(finding: &mut Finding, front: &Ends, attempt: Option<&Attempt>) {
    let timer = TIMERS.contains(&finding.cause.id);
    // On the proxy's own host the client may be another proxy, whose timer it was.
    let beside = front.client.ip == front.server.ip;
    let (asked, confidence) = match attempt {
        Some(Attempt { ends, .. }) => (
            phrase!("{target} had not answered the proxy", target = ends.server.socket()),
            if beside { Confidence::Likely } else { Confidence::Certain },
        ),
        // What waits for a timer may be a proxy's own, of which the other leg is not captured.
        None if timer => return,
        None => (phrase!("the proxy had asked no target"), Confidence::Likely),
    };
    // Who closed first tells a timer of the proxy from a client that left.
    let gave_up = attempt.is_some_and(|attempt| attempt.ends.over.at < front.over.at);
    if timer && gave_up && finding.confidence > Confidence::Possible {
        let told = finding.summary.clone();
        finding.summary = phrase!("{told}; {asked} by then", told, asked);
        return;
    }
    let waited = span(front.over.at.nanos_since(front.asked.at));
    let told = phrase!("the client of the proxy closed {waited} after its request", waited);
    let summary = phrase!("{told}; {asked} by then", told, asked);
    becomes(finding, "client-abort", confidence, summary);
}

/// Attempts that the proxy ended itself and that it followed by another one at once: its client still waited, so
/// that its own timer ended them.
fn tried_again(correlation: &mut Correlation, back_at: &[Option<usize>], held: &mut Held) {
    let Correlation { front: Some(front), back, .. } = correlation else { return };
    let begins: Vec<Timestamp> = back.iter().map(|attempt| attempt.ends.asked.at).collect();
    for (this, attempt) in back.iter_mut().enumerate() {
        let ends = &attempt.ends;
        let silent = ends.answered.is_none() || ends.left_before_answer();
        let gave_up = ends.closed_by == Some(Side::Client) && silent && ends.ordinal > 0;
        let next = begins[this + 1..].iter().any(|next| {
            let after = next.nanos_since(ends.over.at);
            (-SLACK..=AT_ONCE).contains(&after) && front.over.at > *next
        });
        if !gave_up || !next || attempt.own || attempt.certainty < Confidence::Likely {
            continue;
        }
        let Some(finding) = held.get(back_at[this]) else { continue };
        if UNSURE_WHO.contains(&finding.cause.id) {
            let waited = span(ends.over.at.nanos_since(ends.asked.at));
            let summary = phrase!("no answer to the proxy within {waited}", waited);
            becomes(finding, "response-timeout", Confidence::Likely, summary);
            attempt.cause = Some(finding.cause.id);
        }
    }
}

/// The last attempt failed: what the proxy's answer tells of it.
fn proxy_gave_up(finding: &mut Finding, front: &Ends, attempt: &Attempt) {
    let gave_up = attempt.ends.closed_by == Some(Side::Client)
        && (attempt.ends.answered.is_none() || attempt.ends.left_before_answer())
        && front.answered.is_some_and(|it| {
            it.at.nanos_since(attempt.ends.over.at).abs() <= AT_ONCE && front.status == Some(504)
        });
    if gave_up && UNSURE_WHO.contains(&finding.cause.id) {
        let waited = span(attempt.ends.over.at.nanos_since(attempt.ends.asked.at));
        let summary = phrase!("no answer to the proxy within {waited}", waited);
        becomes(finding, "response-timeout", attempt.certainty, summary);
    }
}

/// What the client of the proxy, of the outermost one that is known, got of a failed attempt.
fn client_got(finding: &mut Finding, front: &Ends) {
    if front.left_before_answer() {
        return;
    }
    let saw = match (front.status, front.state) {
        // It cannot be read.
        (None, _) if front.answered.is_some() => return,
        (Some(status), State::Answered) => phrase!("status {status}", status),
        (Some(status), _) => phrase!("status {status} and a response that breaks off", status),
        (None, _) => phrase!("no answer"),
    };
    let told = finding.summary.clone();
    finding.summary = phrase!("{told}; the client of the proxy got {saw}", told, saw);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::Responsible;
    use crate::join::TiedBy;
    use crate::join::legs::testing::{MS, PROXY, back, cut, dropped, given_up, leg, mark};
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
        assert!(
            told[0].summary.to_string().ends_with("none of them failed"),
            "{}",
            told[0].summary
        );
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
}
