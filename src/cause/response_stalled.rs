//! the response began, stopped, and the load balancer gave up.

use super::case::span;
use super::{Case, Cause, Responsible, Verdict};
use crate::tcp::Side;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "response-stalled",
    summary: "the response began, stopped, and the load balancer gave up",
    explanation: "the response began, stopped, and the load balancer gave up.",
    seen_as: &[],
    responsible: Responsible::TargetApp,
    typical_status: Some(504),
    confirm: &[],
    fix: &[
        "find out what the target waits for in the middle of its response (its own upstream, a lock, a wrong Content-Length)",
    ],
    references: &[],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    case.failed()?;
    let response = case.response()?;
    let close = case.closed_by_client()?;
    let silence = case.silence_before(close.mark);
    let confidence = case.timer(silence)?;
    let mut evidence = vec![
        case.silence(Side::Server, response.last, format!("no byte for {}", span(silence))),
        case.ending(close, "the load balancer gives up"),
    ];
    evidence.extend(case.asked("the request"));
    Some(Verdict {
        confidence,
        evidence,
        summary: format!(
            "the response stopped after {} bytes; {} later the load balancer closed",
            response.end - response.start,
            span(silence)
        ),
        responsible: None,
    })
}
