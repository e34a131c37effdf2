//! the target closed an idle keep-alive connection in the moment the load balancer reused it.

use super::case::span;
use super::{Case, Cause, Confidence, Coverage, Responsible, Verdict};
use crate::tcp::Side;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "keepalive-race",
    summary: "the target closed an idle keep-alive connection in the moment the load balancer reused it",
    explanation: "the target closed an idle keep-alive connection in the moment the load balancer reused it.",
    seen_as: &[],
    responsible: Responsible::TargetApp,
    typical_status: Some(502),
    confirm: &[],
    fix: &[
        "set the target's keep-alive (idle) time-out longer than the load balancer's idle time-out",
    ],
    references: &[],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    let request = case.unanswered()?;
    let close = case.close_of(Side::Server)?;
    if !case.reused() || case.coverage(close) != Coverage::Nothing {
        return None;
    }
    if let Some(client) = case.closed_by_client()
        && client.mark.at < request.first.at
    {
        return None; // the client had closed its side itself
    }
    let name = case.name(close);
    let order = if close.mark.at < request.first.at {
        format!("left {} before the request came", span(-case.outstanding(close.mark)))
    } else {
        format!("came {} after the request left", span(case.outstanding(close.mark)))
    };
    let mut evidence =
        vec![case.ending(
            close,
            format!("{name} of the target: its ACK number does not cover the request"),
        )];
    evidence.extend(case.asked("the request that the target had not received when it closed"));
    if let Some(reset) = case.bare_reset_after(close) {
        evidence.push(case.ending(reset, "RST without ACK: the target's socket was already gone"));
    }
    let idle = case.exchange?.idle_before.map_or(String::new(), |idle| {
        format!(" after {} of idle", span(idle.min(idle + case.outstanding(close.mark))))
    });
    Some(Verdict {
        confidence: if case.exchange?.ordinal > 1 {
            Confidence::Certain
        } else {
            Confidence::Likely
        },
        evidence,
        summary: format!("the target closed the idle connection{idle}; its {name} {order}"),
        responsible: None,
    })
}
