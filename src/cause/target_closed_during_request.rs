//! the target closed before it had received the whole request.

use super::{Case, Cause, Confidence, Coverage, Responsible, Verdict};

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "target-closed-during-request",
    summary: "the target closed before it had received the whole request",
    explanation: "the target closed before it had received the whole request.",
    seen_as: &[],
    responsible: Responsible::TargetApp,
    typical_status: Some(502),
    confirm: &[],
    fix: &[
        "raise the target's body size limit or read time-out, or let it read the body before it answers",
    ],
    references: &[],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    let request = case.failed()?;
    let close = case.closed_by_server()?;
    let coverage = case.coverage(close);
    let early = !request.complete || coverage == Coverage::Part;
    if !early || coverage == Coverage::Nothing {
        return None;
    }
    let name = case.name(close);
    let mut evidence = vec![case.ending(close, format!("{name} while the request was still sent"))];
    evidence.extend(case.asked("the request"));
    evidence.extend(case.answered("what the target answered before"));
    let received = close.acked.map_or(0, |acked| acked.saturating_sub(request.start));
    Some(Verdict {
        confidence: Confidence::Certain,
        evidence,
        summary: format!(
            "the target closed ({name}) after {received} bytes of a request of which {} were sent",
            request.end - request.start
        ),
        responsible: None,
    })
}
