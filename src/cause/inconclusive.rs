//! the request failed and the packets do not say why.

use super::case::span;
use super::{Case, Cause, Confidence, Responsible, Verdict};

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "inconclusive",
    summary: "the request failed and the packets do not say why",
    explanation: "the request failed and the packets do not say why.",
    seen_as: &[],
    responsible: Responsible::Unknown,
    typical_status: Some(502),
    confirm: &[],
    fix: &["capture again without the blind spots named here"],
    references: &[],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    case.failed()?;
    let close = case.close()?;
    let mut evidence = vec![case.ending(close, "the connection ends with the request outstanding")];
    evidence.extend(case.asked("the request"));
    Some(Verdict {
        confidence: Confidence::Possible,
        evidence,
        summary: format!(
            "the connection ended {} after the request; no rule fits what was seen",
            span(case.outstanding(close.mark))
        ),
        responsible: None,
    })
}
