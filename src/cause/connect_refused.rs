//! nothing listens on the target's port: it answered SYN with RST.

use super::case::span;
use super::{Case, Cause, Confidence, Evidence, Responsible, Verdict, What};
use crate::flow::EndingKind;
use crate::tcp::Side;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "connect-refused",
    summary: "nothing listens on the target's port: it answered SYN with RST",
    explanation: "nothing listens on the target's port: it answered SYN with RST.",
    seen_as: &[],
    responsible: Responsible::TargetApp,
    typical_status: Some(502),
    confirm: &[],
    fix: &["start the target's program, or correct the port of the target group"],
    references: &[],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    let opening = &case.flow.opening;
    let syn = opening.syn?;
    if opening.syn_ack.is_some() {
        return None;
    }
    let reset = case.closed_by_server().filter(|close| close.kind == EndingKind::Rst)?;
    Some(Verdict {
        confidence: Confidence::Certain,
        evidence: vec![
            case.ending(reset, "RST in answer to SYN"),
            Evidence {
                mark: syn,
                side: Side::Client,
                what: What::Syn,
                note: "the load balancer tries to connect".to_owned(),
            },
        ],
        summary: format!(
            "{} refused the connection {} after SYN",
            case.flow.server.socket(),
            span(reset.mark.at.nanos_since(syn.at))
        ),
        responsible: None,
    })
}
