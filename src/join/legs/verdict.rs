//! What ties make of verdicts: a failure behind a proxy and the answer that its client got are one.

use super::{Settled, Unserved};
use crate::blind::BlindSpots;
use crate::cause::{Cause, Confidence, Finding, Kind, Responsible, by_id, span};
use crate::http::State;
use crate::join::{Attempt, Correlation, Front, Joined, Outcome};
use crate::phrase;
use crate::tcp::Side;
use crate::words::Phrase;
use hashbrown::HashMap;

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
pub fn retell(settled: &mut [Settled], findings: Vec<Finding>) -> Vec<Finding> {
    let index = findings.iter().enumerate().map(|(at, finding)| {
        let ordinal = finding.exchange.as_ref().map_or(0, |exchange| exchange.ordinal);
        ((finding.flow, ordinal), at)
    });
    let mut held =
        Held { index: index.collect(), findings: findings.into_iter().map(Some).collect() };
    for Settled { correlation, unserved } in settled {
        for attempt in &mut correlation.back {
            let at = held.at(attempt.flow, attempt.ordinal);
            attempt.cause = held.get(at).map(|finding| finding.cause.id);
        }
        tell(correlation, *unserved, &mut held);
    }
    held.findings.into_iter().flatten().collect()
}

/// One request of a proxy's client and the attempts for it.
fn tell(correlation: &mut Correlation, unserved: Option<Unserved>, held: &mut Held) {
    let Some(front) = correlation.front.clone() else { return };
    let front_at = held.at(front.flow, front.ordinal);
    let back_at: Vec<Option<usize>> =
        correlation.back.iter().map(|it| held.at(it.flow, it.ordinal)).collect();
    let left = front.state != State::Answered && front.closed_by == Some(Side::Client);
    let failed = front_at.is_some()
        || front.state != State::Answered
        || front.status.is_none_or(|status| status >= 500);
    let last = correlation.back.len().checked_sub(1);
    let last_at = last.and_then(|last| back_at[last]);
    let mut role = Role::Attempts;
    if left && front_at.is_some() {
        role = Role::Client;
        if let Some(finding) = held.get(front_at) {
            client_left(finding, &front, correlation.back.last());
        }
    } else if let Some(found) = held.get(last_at) {
        role = Role::Target;
        if let Some(attempt) = correlation.back.last_mut() {
            proxy_gave_up(found, &front, attempt);
            attempt.cause = Some(found.cause.id);
        }
    } else if let Some(finding) = held.get(front_at) {
        role = Role::Proxy;
        match (unserved, correlation.back.last()) {
            (Some(unserved), _) => asked_nobody(finding, &front, unserved),
            (None, Some(attempt)) => refused_answer(finding, &front, attempt),
            (None, None) => {}
        }
    }
    // What the client of an outer proxy saw decides, if there is one.
    let outer = held.get(front_at).and_then(|finding| finding.joined.clone());
    let exchange = held.get(front_at).and_then(|finding| finding.exchange.clone());
    let joined = |this: Option<usize>, outcome| match &outer {
        Some(outer) => Joined {
            attempts: correlation.back.clone(),
            this,
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
        if role == Role::Client && correlation.back[this].over.at >= front.over.at {
            // It ended because the client had left.
            held.take(*at);
            continue;
        }
        let outcome = match (failed, is_last && role == Role::Target) {
            (true, true) => Outcome::Failed,
            // Without a response there was nothing to pass on: the answer came from elsewhere.
            (false, true) if correlation.back[this].status.is_none() => Outcome::Masked,
            (false, true) => Outcome::PassedOn,
            (true, false) => Outcome::Retried,
            (false, false) => Outcome::Masked,
        };
        if finding.kind != Kind::HealthCheck {
            finding.kind = match outcome {
                Outcome::Failed | Outcome::PassedOn => Kind::Request,
                Outcome::Retried | Outcome::Masked => Kind::Attempt,
            };
        }
        let joined = joined(Some(this), outcome);
        if matches!(joined.outcome, Outcome::Retried | Outcome::Masked) {
            finding.kind = Kind::Attempt;
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
fn becomes(finding: &mut Finding, id: &str, confidence: Confidence, summary: Phrase) {
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
fn client_left(finding: &mut Finding, front: &Front, attempt: Option<&Attempt>) {
    let asked = match attempt {
        Some(attempt) => {
            phrase!("{target} had not answered the proxy", target = attempt.server.socket())
        }
        None => phrase!("the proxy had asked no target"),
    };
    if TIMERS.contains(&finding.cause.id) && finding.confidence > Confidence::Possible {
        let told = finding.summary.clone();
        finding.summary = phrase!("{told}; {asked} by then", told, asked);
        return;
    }
    let waited = span(front.over.at.nanos_since(front.asked.at));
    let told = phrase!("the client of the proxy closed {waited} after its request", waited);
    let summary = phrase!("{told}; {asked} by then", told, asked);
    becomes(finding, "client-abort", Confidence::Certain, summary);
}

/// The last attempt failed: what the proxy's answer tells of it.
fn proxy_gave_up(finding: &mut Finding, front: &Front, attempt: &Attempt) {
    let gave_up = attempt.closed_by == Some(Side::Client)
        && attempt.answered.is_none()
        && front.answered.is_some_and(|it| {
            it.at.nanos_since(attempt.over.at).abs() <= AT_ONCE && front.status == Some(504)
        });
    if gave_up && UNSURE_WHO.contains(&finding.cause.id) {
        let waited = span(attempt.over.at.nanos_since(attempt.asked.at));
        let summary = phrase!("no answer to the proxy within {waited}", waited);
        becomes(finding, "response-timeout", attempt.certainty, summary);
    }
    let saw = match (front.status, front.state) {
        (Some(status), State::Answered) => phrase!("status {status}", status),
        (Some(status), _) => phrase!("status {status} and a response that breaks off", status),
        (None, _) => phrase!("no answer"),
    };
    let told = finding.summary.clone();
    finding.summary = phrase!("{told}; the client of the proxy got {saw}", told, saw);
}

/// The proxy answered by itself although the target's answer was sound.
fn refused_answer(finding: &mut Finding, front: &Front, attempt: &Attempt) {
    if finding.cause.id != "target-own-5xx" {
        return;
    }
    let (Some(saw), Some(given)) = (front.status, attempt.status) else { return };
    let summary = phrase!(
        "the proxy answered {saw}, although {target} had answered {given}; its log has the reason",
        saw,
        target = attempt.server.socket(),
        given
    );
    becomes(finding, "inconclusive", Confidence::Possible, summary);
    finding.responsible = Responsible::LoadBalancer;
}

/// The proxy answered by itself and asked no target.
fn asked_nobody(finding: &mut Finding, front: &Front, unserved: Unserved) {
    /// Waits from which a proxy kept the request in a queue, nanoseconds.
    const QUEUED: i64 = 100_000_000;
    if finding.cause.id != "target-own-5xx" {
        return;
    }
    let Some(status) = front.status else { return };
    let waited = span(unserved.waited);
    let told = phrase!(
        "the proxy answered {status} after {waited} without asking a target",
        status,
        waited
    );
    if unserved.waited >= QUEUED && unserved.busy > 0 && status == 503 {
        let summary = phrase!(
            "{told}, while {busy} requests kept its targets busy all that time: it waited in the proxy's queue",
            told,
            busy = unserved.busy
        );
        becomes(finding, "lb-overload", Confidence::Likely, summary);
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
