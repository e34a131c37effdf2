//! the load balancer cut several connections at once, with requests outstanding.

use super::case::span;
use super::{Case, Cause, Confidence, Responsible, Verdict};

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "lb-cut",
    summary: "the load balancer cut several connections at once, with requests outstanding",
    explanation: "the load balancer cut several connections at once, with requests outstanding.",
    seen_as: &[],
    responsible: Responsible::LoadBalancer,
    typical_status: Some(502),
    confirm: &[],
    fix: &[
        "give requests time to finish: deregistration delay, connection draining, graceful reload",
    ],
    references: &[],
    detect,
};

/// Closes within this time belong together, nanoseconds.
const TOGETHER: i64 = 100_000_000;
/// Connections of one load balancer that close together by more than chance.
const MANY: usize = 3;

fn detect(case: &Case<'_>) -> Option<Verdict> {
    case.failed()?;
    let close = case.closed_by_client()?;
    let (closes, cuts) = case.wider.closed_together(case.flow.client, close.mark.at, TOGETHER);
    let silence = case.silence_before(close.mark);
    // Requests sent together also time out together: then the silence is the same.
    if closes < MANY || case.wider.same_silence(case.flow.client, silence) >= cuts.max(2) {
        return None;
    }
    let mut evidence = vec![case.ending(
        close,
        format!("one of {closes} connections that the load balancer closed within 0.1 s"),
    )];
    evidence.extend(case.asked("the request, outstanding"));
    Some(Verdict {
        confidence: Confidence::Likely,
        evidence,
        summary: format!(
            "the load balancer closed {closes} connections together, this one with a request \
             outstanding for {}",
            span(case.outstanding(close.mark))
        ),
        responsible: None,
    })
}
