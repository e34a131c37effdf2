//! the target closed before the response body was complete.

use super::{Case, Cause, Confidence, Responsible, Verdict};
use crate::http::Framing;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "response-body-truncated",
    summary: "the target closed before the response body was complete",
    explanation: "the target closed before the response body was complete.",
    seen_as: &[],
    responsible: Responsible::TargetApp,
    typical_status: None,
    confirm: &[],
    fix: &[
        "find out why the target process stopped while it wrote the body (crash, kill, write time-out, wrong Content-Length)",
    ],
    references: &[],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    case.failed()?;
    let response = case.response().filter(|response| response.head_complete)?;
    let close = case.closed_by_server()?;
    let name = case.name(close);
    let missing = match response.framing {
        Framing::Length(length) => format!("{} of {length} body bytes", response.body),
        Framing::Chunked => format!("{} body bytes and no last chunk", response.body),
        _ => format!("{} body bytes", response.body),
    };
    let mut evidence = vec![case.ending(close, format!("{name} after {missing}"))];
    evidence.extend(case.answered("the last body bytes"));
    evidence.extend(case.asked("the request"));
    Some(Verdict {
        confidence: Confidence::Certain,
        evidence,
        summary: format!("the target sent {missing} and then {name}"),
        responsible: None,
    })
}
