//! the target closed in the middle of the response header.

use super::{Case, Cause, Confidence, Responsible, Verdict};

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "response-header-truncated",
    summary: "the target closed in the middle of the response header",
    explanation: "the target closed in the middle of the response header.",
    seen_as: &[],
    responsible: Responsible::TargetApp,
    typical_status: Some(502),
    confirm: &[],
    fix: &[
        "find out why the target process stopped while it wrote the header (crash, kill, write time-out)",
    ],
    references: &[],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    case.failed()?;
    let response = case.response().filter(|response| !response.head_complete)?;
    let close = case.closed_by_server()?;
    let name = case.name(close);
    let mut evidence = vec![case.ending(close, format!("{name} inside the response header"))];
    evidence.extend(case.answered("the last header bytes"));
    evidence.extend(case.asked("the request"));
    Some(Verdict {
        confidence: Confidence::Certain,
        evidence,
        summary: format!(
            "the target sent {} bytes of response header and then {name}",
            response.head_len
        ),
        responsible: None,
    })
}
