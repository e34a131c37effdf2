//! the request met a connection that nobody at the other end knew any more.

use super::case::span;
use super::{Case, Cause, Confidence, Responsible, Verdict};
use crate::flow::{Ending, EndingKind};

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "stale-flow-reset",
    summary: "the request met a connection that nobody at the other end knew any more",
    explanation: "the request met a connection that nobody at the other end knew any more.",
    seen_as: &[],
    responsible: Responsible::TargetHost,
    typical_status: Some(502),
    confirm: &[],
    fix: &[
        "find what forgot the connection (target restart, NAT, connection tracking, firewall) and make the load balancer's idle time shorter than that",
    ],
    references: &[],
    detect,
};

/// The RST that answers a request on a reused connection which its receiver does not know: it
/// carries no ACK, or came sooner than the target could have answered; and no FIN came before.
pub(super) fn stale<'a>(case: &Case<'a>) -> Option<&'a Ending> {
    case.unanswered()?;
    let close = case.closed_by_server()?;
    let reset = close.kind == EndingKind::Rst;
    let nobody = !close.ack_flag || case.too_fast(close);
    (reset && nobody && case.reused()).then_some(close)
}

fn detect(case: &Case<'_>) -> Option<Verdict> {
    let close = stale(case)?;
    let fast = case.too_fast(close);
    let mut evidence = vec![case.ending(
        close,
        if close.ack_flag {
            "RST sooner than the target could answer"
        } else {
            "RST without ACK: its sender has no such connection, and no FIN came before"
        },
    )];
    evidence.extend(case.asked("the request on the reused connection"));
    let near = if fast { "; nearer than the target: its round trip is longer" } else { "" };
    Some(Verdict {
        confidence: Confidence::Certain,
        evidence,
        summary: format!(
            "the request on an idle connection was reset {} later, without any FIN before{near}",
            span(case.outstanding(close.mark))
        ),
        responsible: fast.then_some(Responsible::Network),
    })
}
