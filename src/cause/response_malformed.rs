//! the response is not valid HTTP.

use super::{Case, Cause, Confidence, Evidence, Responsible, Verdict, What};
use crate::tcp::Side;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "response-malformed",
    summary: "the response is not valid HTTP",
    explanation: "the response is not valid HTTP.",
    seen_as: &[],
    responsible: Responsible::TargetApp,
    typical_status: Some(502),
    confirm: &[],
    fix: &["correct the response that the target writes"],
    references: &[],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    let response = case.response()?;
    let fault = response.fault.as_ref()?;
    let close = case.closed_by_client();
    let rejected = close.is_some_and(|close| case.prompt(close));
    let confidence = match (fault.kind.refused_by_all(), rejected) {
        (true, true) => Confidence::Certain,
        (true, false) => Confidence::Likely,
        (false, true) => Confidence::Likely,
        (false, false) => return None,
    };
    let mut evidence = vec![Evidence {
        mark: fault.mark,
        side: Side::Server,
        what: What::Response,
        note: format!("{} at byte {}: {}", fault.kind.what(), fault.offset, fault.sample),
    }];
    if let Some(close) = close.filter(|_| rejected) {
        evidence.push(case.ending(close, "the load balancer closes at once"));
    }
    evidence.extend(case.asked("the request"));
    Some(Verdict {
        confidence,
        evidence,
        summary: format!(
            "the response has {} at byte {}: {}",
            fault.kind.what(),
            fault.offset,
            fault.sample
        ),
        responsible: None,
    })
}
