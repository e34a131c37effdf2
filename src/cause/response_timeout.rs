//! the target received the request and stayed silent until the load balancer gave up.

use super::case::span;
use super::{Case, Cause, Responsible, Verdict};
use crate::tcp::Side;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "response-timeout",
    summary: "the target received the request and stayed silent until the load balancer gave up",
    explanation: "the target received the request and stayed silent until the load balancer gave up.",
    seen_as: &[],
    responsible: Responsible::TargetApp,
    typical_status: Some(504),
    confirm: &[],
    fix: &[
        "find out what the target does for so long (slow query, lock, overload), or raise the load balancer's time-out",
    ],
    references: &[],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    let request = case.unanswered()?;
    let close = case.closed_by_client()?;
    let silence = case.silence_before(close.mark);
    let confidence = case.timer(silence)?;
    let mut evidence = vec![
        case.silence(Side::Server, request.last, format!("no byte for {}", span(silence))),
        case.ending(close, "the load balancer gives up"),
    ];
    evidence.extend(case.asked("the request, acknowledged by the target"));
    Some(Verdict {
        confidence,
        evidence,
        summary: format!(
            "the target acknowledged the request and sent nothing for {}, then the load balancer \
             closed",
            span(silence)
        ),
        responsible: None,
    })
}
