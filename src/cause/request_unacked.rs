//! the request was sent again and again and never acknowledged.

use super::case::span;
use super::{Case, Cause, Confidence, Evidence, Responsible, Verdict, What};
use crate::tcp::Side;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "request-unacked",
    summary: "the request was sent again and again and never acknowledged",
    explanation: "the request was sent again and again and never acknowledged.",
    seen_as: &[],
    responsible: Responsible::Network,
    typical_status: Some(504),
    confirm: &[],
    fix: &[
        "find what drops packets of this flow (connection tracking, security group change, dead host, stale NAT entry)",
    ],
    references: &[],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    let request = case.unanswered()?;
    if case.closed_by_server().is_some() {
        return None;
    }
    let client = case.flow.half(Side::Client);
    let lost = client.retransmission.filter(|lost| {
        lost.offset >= client.acked && lost.offset >= request.start && lost.offset < request.end
    })?;
    if client.acked > request.start || lost.times < 2 {
        return None;
    }
    let until = case.closed_by_client().map_or(case.flow.last, |close| close.mark);
    let mut evidence = vec![
        Evidence {
            mark: lost.mark,
            side: Side::Client,
            what: What::Retransmission,
            note: format!("sent {} times, never acknowledged", lost.times + 1),
        },
        case.silence(Side::Server, request.first, "nothing came back"),
    ];
    evidence.extend(case.asked("the request"));
    if let Some(close) = case.closed_by_client() {
        evidence.push(case.ending(close, "the load balancer gives up"));
    }
    Some(Verdict {
        confidence: Confidence::Certain,
        evidence,
        summary: format!(
            "the request was sent {} times within {} and never acknowledged",
            lost.times + 1,
            span(case.outstanding(until))
        ),
        responsible: None,
    })
}
