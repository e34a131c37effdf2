//! the target reset (RST) after the whole request without one byte of response.

use super::case::span;
use super::{Case, Cause, Confidence, Coverage, Responsible, Verdict};
use crate::flow::EndingKind;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "target-rst-no-response",
    summary: "the target reset (RST) after the whole request without one byte of response",
    explanation: "the target reset (RST) after the whole request without one byte of response.",
    seen_as: &[],
    responsible: Responsible::TargetApp,
    typical_status: Some(502),
    confirm: &[],
    fix: &[
        "read the target's log at this time: the process closed the socket with the request unread (crash, full accept queue, SO_LINGER 0)",
    ],
    references: &[],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    case.unanswered()?;
    let close = case.closed_by_server().filter(|close| close.kind == EndingKind::Rst)?;
    let coverage = case.coverage(close);
    let mut evidence = vec![case.ending(
        close,
        match coverage {
            Coverage::All => "its ACK number covers the whole request: the target had received it",
            Coverage::Nothing => "its ACK number does not cover the request: closed before it came",
            _ => "answers the request",
        },
    )];
    evidence.extend(case.asked("the request"));
    Some(Verdict {
        confidence: if coverage == Coverage::All {
            Confidence::Certain
        } else {
            Confidence::Likely
        },
        evidence,
        summary: format!(
            "the target sent RST {} after the request, and no byte of a response",
            span(case.outstanding(close.mark))
        ),
        responsible: None,
    })
}
