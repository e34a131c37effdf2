//! A proxy behind a proxy, captured at another place: what failed behind it is why its client, the proxy
//! before it, was refused.

use super::clocks::Clocks;
use super::known::{Before, Known};
use super::point::Point;
use crate::cause::{Confidence, Finding, Kind, Responsible};
use crate::http::State;
use crate::join::{Ends, Outcome};
use crate::phrase;

/// What the place of `known` tells of a request that failed behind a proxy, as `there` shows it.
pub fn told_before(
    finding: &Finding,
    known: &Known<'_>,
    there: &Point,
    clocks: Option<&Clocks>,
) -> Option<Before> {
    let joined = finding.joined.as_deref()?;
    let failed = joined.outcome == Outcome::Failed && finding.kind == Kind::Request;
    joined.this.filter(|_| failed)?;
    known.failed(&joined.front, there, clocks)
}

/// One failure, told by a finding of the place before a proxy, and by this one of what is behind it. Whether this
/// one tells both: the other comes of it. Else it decided nothing.
/// `clocks` gives its times by the clock of this one's place.
pub fn tells_both(
    finding: &mut Finding,
    before: &Finding,
    is_it: bool,
    clocks: Option<&Clocks>,
) -> bool {
    let elsewhere = matches!(before.responsible, Responsible::Network | Responsible::Client);
    if !is_it || elsewhere || before.kind == Kind::HealthCheck {
        finding.kind = Kind::Attempt;
        return false;
    }
    finding.kind = before.kind;
    let (Some(joined), Some(outer)) = (finding.joined.as_deref_mut(), before.joined.as_deref())
    else {
        return true;
    };
    if got(&joined.front) != got(&outer.front) && outer.outcome == Outcome::Failed {
        let told = finding.summary.clone();
        finding.summary = match outer.front.status {
            Some(status) => phrase!(
                "{told}; the client of the proxy before that one got status {status}",
                told,
                status
            ),
            None => phrase!("{told}; the client of the proxy before that one got no answer", told),
        };
    }
    joined.front = outer.front.clone();
    let front = &mut joined.front;
    for mark in [Some(&mut front.asked), front.answered.as_mut(), Some(&mut front.over)] {
        if let Some((mark, clocks)) = mark.zip(clocks) {
            mark.at = clocks.told(mark.at);
        }
    }
    joined.exchange.clone_from(&outer.exchange);
    joined.outcome = outer.outcome;
    let attempt = outer.this.and_then(|this| outer.attempts.get(this));
    let tied = attempt.map_or(Confidence::Certain, |attempt| attempt.certainty);
    joined.certainty = joined.certainty.min(outer.certainty);
    if finding.kind == Kind::Request {
        finding.confidence = finding.confidence.min(tied);
    }
    true
}

/// What its client got.
fn got(front: &Ends) -> (Option<u16>, bool) {
    (front.status, front.state == State::Answered)
}
