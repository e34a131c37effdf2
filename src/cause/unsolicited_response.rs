//! a response was already on the wire when the request was sent, and is taken for its answer.

use super::{Case, Cause, Confidence, Evidence, Responsible, Verdict, What};
use crate::tcp::Side;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "unsolicited-response",
    summary: "a response was already on the wire when the request was sent, and is taken for its answer",
    explanation: "a response was already on the wire when the request was sent, and is taken for its answer.",
    seen_as: &[],
    responsible: Responsible::TargetApp,
    typical_status: Some(502),
    confirm: &[],
    fix: &[
        "keep the target's idle time-out longer than the load balancer's, so that it never speaks on an idle connection",
    ],
    references: &[],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    let (request, response) = (case.request()?, case.response()?);
    let status = response.status?;
    let crossed = response.acked.is_some_and(|acked| acked <= request.start);
    if !(response.unsolicited || crossed) {
        return None;
    }
    Some(Verdict {
        confidence: if crossed { Confidence::Certain } else { Confidence::Likely },
        evidence: [
            Some(Evidence {
                mark: response.first,
                side: Side::Server,
                what: What::Response,
                note: format!("{status}, sent before the target had received the request"),
            }),
            case.asked("the request that it is taken to answer"),
        ]
        .into_iter()
        .flatten()
        .collect(),
        summary: format!(
            "a {status} that crossed the request on the wire was taken for its answer"
        ),
        responsible: None,
    })
}
