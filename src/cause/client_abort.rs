//! the client of the load balancer went away, and the load balancer closed the connection to the target.

use super::case::span;
use crate::flow::Ending;
use super::{Case, Cause, Confidence, Responsible, Verdict};

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "client-abort",
    summary: "the client of the load balancer went away, and the load balancer closed the connection to the target",
    explanation: "the client of the load balancer went away, and the load balancer closed the connection to the target.",
    seen_as: &[],
    responsible: Responsible::Client,
    typical_status: Some(460),
    confirm: &[],
    fix: &[
        "compare with the load balancer's log (ALB 460, nginx 499, HAProxy C-): the client did not wait",
    ],
    references: &[],
    detect,
};

/// The client had the status it wanted and closed at once: how probers end a check.
fn satisfied(case: &Case<'_>, close: &Ending) -> bool {
    /// Time for a program to act on what it read, nanoseconds.
    const REACTION: i64 = 50_000_000;
    let round_trip = case.flow.rtt.handshake.unwrap_or(0);
    case.response().is_some_and(|response| {
        response.head_complete
            && close.mark.at.nanos_since(response.first.at) <= round_trip + REACTION
    })
}

fn detect(case: &Case<'_>) -> Option<Verdict> {
    case.failed()?;
    let close = case.closed_by_client()?;
    if satisfied(case, close) {
        return None;
    }
    let silence = case.silence_before(close.mark);
    let longer = case.wider.waited_longer(case.flow.client, silence);
    let mut evidence = vec![case.ending(
        close,
        if longer {
            "the load balancer closes sooner than it has waited for other requests"
        } else {
            "the load balancer closes, at no time that looks like a timer"
        },
    )];
    evidence.extend(case.asked("the request, outstanding"));
    Some(Verdict {
        confidence: if longer { Confidence::Likely } else { Confidence::Possible },
        evidence,
        summary: format!(
            "the load balancer closed {} after the request, before its answer was complete",
            span(case.outstanding(close.mark))
        ),
        responsible: None,
    })
}
