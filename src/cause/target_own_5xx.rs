//! the target itself answered with a complete 5xx.

use super::case::span;
use super::{Case, Cause, Confidence, Evidence, Responsible, Verdict, What};
use crate::http::State;
use crate::tcp::Side;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "target-own-5xx",
    summary: "the target itself answered with a complete 5xx",
    explanation: "the target itself answered with a complete 5xx.",
    seen_as: &[],
    responsible: Responsible::TargetApp,
    typical_status: Some(502),
    confirm: &[],
    fix: &["read the target's application log for this request"],
    references: &[],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    let response = case.response().filter(|response| response.complete)?;
    let status = response.status.filter(|status| (500..=599).contains(status))?;
    if response.unsolicited || case.exchange?.state != State::Answered {
        return None;
    }
    Some(Verdict {
        confidence: Confidence::Certain,
        evidence: [
            Some(Evidence {
                mark: response.first,
                side: Side::Server,
                what: What::Response,
                note: format!("the target's own {status}, complete"),
            }),
            case.asked("the request that it answers"),
        ]
        .into_iter()
        .flatten()
        .collect(),
        summary: format!(
            "the target answered {status} after {}",
            span(case.outstanding(response.first))
        ),
        responsible: None,
    })
}
