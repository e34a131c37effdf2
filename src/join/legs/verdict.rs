//! What ties make of verdicts: a failure behind a proxy and the answer that its client got are one.

use super::compare::{SLACK, not_the_last, status_given, wrote_its_own};
use super::connections::GOES_ON;
use super::own_answer::{self, OWN};
use super::{Joins, Settled, Stray, Unserved};
use crate::blind::BlindSpots;
use crate::cause::{Cause, Confidence, Finding, Kind, Tells, by_id, span};
use crate::http::{State, is_gateway_error};
use crate::join::{Attempt, Correlation, Ends, Joined, Outcome};
use crate::packet::Endpoint;
use crate::phrase;
use crate::tcp::Side;
use crate::time::{Mark, Timestamp};
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
    /// What is said of connections for which several requests waited.
    shared: HashMap<(u64, u32), Finding>,
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

    /// Keeps what is said of connections for which several requests waited, as it is before any of them is told.
    fn copy_shared(&mut self, settled: &[Settled]) {
        let shared = settled.iter().filter(|it| it.shared);
        for connection in shared.filter_map(|it| it.correlation.back.last()) {
            let key = (connection.ends.flow, connection.ends.ordinal);
            if let Some(finding) = self.at(key.0, key.1).and_then(|at| self.findings[at].clone()) {
                self.shared.insert(key, finding);
            }
        }
    }

    /// Puts a finding of its own for this request in the place of that of the connection, whose place is given back.
    fn share(&mut self, correlation: &Correlation) -> Option<((u64, u32), usize)> {
        let ends = &correlation.back.last()?.ends;
        let key = (ends.flow, ends.ordinal);
        let copy = self.shared.get(&key)?.clone();
        self.findings.push(Some(copy));
        Some((key, self.index.insert(key, self.findings.len() - 1)?))
    }

    fn give_back(&mut self, shared: Option<((u64, u32), usize)>) {
        self.index.extend(shared);
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
    let mut held = Held { index, findings, left: HashSet::new(), shared: HashMap::new() };
    held.copy_shared(&joins.settled);
    for Settled { correlation, unserved, shared, other } in &mut joins.settled {
        let copied = if *shared { held.share(correlation) } else { None };
        for attempt in &mut correlation.back {
            let at = held.at(attempt.ends.flow, attempt.ends.ordinal);
            attempt.cause = held.get(at).map(|finding| finding.cause.id);
        }
        tell(correlation, *unserved, *other, &mut held);
        held.give_back(copied);
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
fn tell(
    correlation: &mut Correlation,
    unserved: Option<Unserved>,
    other: Option<Endpoint>,
    held: &mut Held,
) {
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
    let made = || correlation.back.iter().zip(&checks);
    let last = made().rposition(|it| for_it(it) && !not_the_last(&front, &it.0.ends));
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
            another_decided(found, &front, attempt);
            if waited_with_others(&front, attempt) {
                failed_with_others(found, attempt);
            }
            if let Some(other) = other {
                or_at_another(found, other);
            }
            attempt.cause = Some(found.cause.id);
        }
    } else if let Some(finding) = held.get(front_at) {
        role = Role::Proxy;
        match (unserved, last.map(|last| &correlation.back[last])) {
            (Some(unserved), _) => own_answer::asked_nobody(finding, &front, unserved),
            (None, Some(attempt)) => own_answer::refused_answer(finding, &front, attempt),
            (None, None) => own_answer::asked_others(finding, &front),
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

/// What a target had answered at `when`.
fn how_far(ends: &Ends, when: Timestamp) -> Phrase {
    let target = ends.server.socket();
    if ends.answered.is_none_or(|answered| answered.at > when) {
        phrase!("{target} had not answered the proxy", target)
    } else if ends.state == State::Answered && ends.over.at <= when {
        phrase!("{target} had answered the proxy", target)
    } else {
        phrase!("{target} had begun to answer the proxy", target)
    }
}

/// The front leg shows that the client closed before it had its answer.
fn client_left(finding: &mut Finding, front: &Ends, attempt: Option<&Attempt>) {
    let timer = TIMERS.contains(&finding.cause.id);
    // On the proxy's own host the client may be another proxy, whose timer it was.
    let beside = front.client.ip == front.server.ip;
    let (asked, confidence) = match attempt {
        Some(Attempt { ends, .. }) => (
            how_far(ends, front.over.at),
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
    } else if finding.cause.id == "client-abort" && ended_by_proxy(front, attempt) {
        not_its_client(finding, &attempt.ends);
    }
    if next_may_have_failed(front, attempt) {
        finding.confidence = finding.confidence.min(Confidence::Likely);
    }
}

/// The proxy has ended the attempt, and the request of its client, who still waited.
fn ended_by_proxy(front: &Ends, attempt: &Attempt) -> bool {
    attempt.ends.closed_by == Some(Side::Client)
        && (front.closed_by == Some(Side::Server) || front.status.is_some_and(is_gateway_error))
        && front.over.at >= attempt.ends.over.at
}

/// Whoever closed had a timer of its own: with what came by then it is known for what. That of a whole request counts
/// from its first attempt (the `timeout` of a route in Envoy).
fn not_its_client(finding: &mut Finding, made: &Ends) {
    /// Silences from which on it was that which the proxy did not like, nanoseconds.
    const SILENT: i64 = 500_000_000;
    let response = finding.exchange.as_ref().and_then(|exchange| exchange.response.as_ref());
    let came = response.map(|response| (response.end - response.start, response.last.at));
    let silence = made.over.at.nanos_since(came.map_or(made.asked.at, |(_, last)| last));
    if silence < SILENT {
        return;
    }
    let silence = span(silence);
    let (cause, summary) = match came {
        None => (
            "response-timeout",
            phrase!("no answer to the proxy within {waited}", waited = silence),
        ),
        Some((bytes, _)) => (
            "response-stalled",
            phrase!(
                "the response stopped after {bytes} bytes; {silence} later the load balancer closed",
                bytes,
                silence
            ),
        ),
    };
    becomes(finding, cause, Confidence::Likely, summary);
}

/// The target ended the last attempt that is known, or answered it with a gateway error, and the proxy waited before it
/// answered: who tries again after a while (Envoy's `retry_back_off`, HAProxy at the same server) may have done so, in vain.
fn next_may_have_failed(front: &Ends, attempt: &Attempt) -> bool {
    let waited = |answered: Mark| answered.at.nanos_since(attempt.ends.over.at) > GOES_ON;
    let failed = match attempt.ends.state {
        State::Answered => attempt.ends.status.is_some_and(is_gateway_error),
        _ => attempt.ends.closed_by == Some(Side::Server),
    };
    failed && front.status.is_some_and(is_gateway_error) && front.answered.is_some_and(waited)
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

/// The proxy had answered before this connection had failed, with a page that tells of one that had.
fn waited_with_others(front: &Ends, attempt: &Attempt) -> bool {
    let before = |answered: Mark| attempt.ends.over.at.nanos_since(answered.at) > SLACK;
    front.own_page.is_some_and(|page| page.tells != Tells::Nothing)
        && attempt.ends.ordinal == 0
        && front.answered.is_some_and(before)
}

/// Where one connection fails, Envoy gives up all requests that wait for that server.
fn failed_with_others(finding: &mut Finding, attempt: &Attempt) {
    let told = finding.summary.clone();
    finding.summary = phrase!(
        "{told}; the proxy gave up earlier, when another connection to {server} failed",
        told,
        server = attempt.ends.server.socket()
    );
}

/// Connections to several servers failed in the same moment, and the last attempt was one of them.
fn or_at_another(finding: &mut Finding, other: Endpoint) {
    let told = finding.summary.clone();
    finding.summary = phrase!(
        "{told}; or the last attempt was at {other}, a connection to which failed at the same time",
        told,
        other = other.socket()
    );
}

/// The last attempt that is known was answered, and the proxy has not handed that answer on, but written a page of
/// its own with the same status, or told of another gateway error: it tried once more, and that attempt is not known.
fn another_decided(finding: &mut Finding, front: &Ends, attempt: &Attempt) {
    if attempt.ends.state != State::Answered {
        return;
    }
    let told = finding.summary.clone();
    let given = status_given(front, &attempt.ends);
    let other = front.status.is_some_and(is_gateway_error) && given.is_some_and(is_gateway_error);
    let summary = if wrote_its_own(front, &attempt.ends) {
        phrase!(
            "{told}; on a page of the proxy itself: an attempt after this one, which is not known, may have failed",
            told
        )
    } else if finding.cause.id == OWN && other && given != front.status {
        phrase!("{told}; an attempt after this one, which is not known, may have failed", told)
    } else {
        return;
    };
    finding.confidence = finding.confidence.min(Confidence::Possible);
    finding.summary = summary;
}

#[cfg(test)]
mod tests;
