//! a layer-4 load balancer or NAT forgot the connection while it was idle and reset it.

use super::case::span;
use super::stale_flow_reset::stale;
use super::{Case, Cause, Confidence, Responsible, Verdict};

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "l4-lb-reset",
    summary: "a layer-4 load balancer or NAT forgot the connection while it was idle and reset it",
    explanation: "a layer-4 load balancer or NAT forgot the connection while it was idle and reset it.",
    seen_as: &[],
    responsible: Responsible::LoadBalancer,
    typical_status: Some(502),
    confirm: &[],
    fix: &[
        "send TCP keep-alives, or close idle connections, sooner than the idle time-out of the layer-4 load balancer",
    ],
    references: &[],
    detect,
};

/// Idle time-outs after which these devices forget a flow: Azure 240 s, AWS NLB, GWLB and NAT
/// gateway 350 s, GCP and AWS connection tracking 600 s and 432 000 s.
const TIMERS: [(i64, &str); 3] = [
    (600, "GCP's 600 s"),
    (350, "an AWS NLB's, GWLB's or NAT gateway's 350 s"),
    (240, "Azure's 240 s"),
];

fn detect(case: &Case<'_>) -> Option<Verdict> {
    let close = stale(case)?;
    let idle = case.exchange?.idle_before?;
    let (_, whose) = TIMERS.iter().find(|(seconds, _)| idle >= seconds * 1_000_000_000)?;
    let mut evidence = vec![case.ending(close, "answers the request at once; no FIN came before")];
    evidence.extend(case.asked("the first bytes after the idle time"));
    Some(Verdict {
        confidence: Confidence::Likely,
        evidence,
        summary: format!(
            "the request was reset {} after it was sent, on a connection idle for {}, past {whose}",
            span(case.outstanding(close.mark)),
            span(idle)
        ),
        responsible: None,
    })
}
