//! the response's header section is larger than the load balancer accepts.

use super::{Case, Cause, Confidence, Responsible, Verdict};

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "response-header-too-large",
    summary: "the response's header section is larger than the load balancer accepts",
    explanation: "the response's header section is larger than the load balancer accepts.",
    seen_as: &[],
    responsible: Responsible::TargetApp,
    typical_status: Some(502),
    confirm: &[],
    fix: &["shrink the response headers (cookies, tokens, debug headers)"],
    references: &[],
    detect,
};

/// Smallest limit of a common proxy: nginx' `proxy_buffer_size` on a 4 KiB page.
const SMALLEST_LIMIT: u64 = 4096;
/// AWS Application Load Balancer: 32 KiB for the whole header section.
const ALB_LIMIT: u64 = 32 * 1024;

fn detect(case: &Case<'_>) -> Option<Verdict> {
    let response = case.response()?;
    let over = response.head_len > ALB_LIMIT;
    let rejected = case
        .closed_by_client()
        .is_some_and(|close| case.prompt(close) && close.mark.at >= response.first.at);
    let too_large = if response.head_complete {
        over && rejected
    } else {
        case.failed().is_some() && rejected && response.head_len > SMALLEST_LIMIT
    };
    if !too_large {
        return None;
    }
    let close = case.closed_by_client()?;
    Some(Verdict {
        confidence: if over { Confidence::Certain } else { Confidence::Likely },
        evidence: [
            case.answered(format!("{} bytes of header so far", response.head_len)),
            Some(case.ending(close, "the load balancer gives up while the header still comes")),
            case.asked("the request"),
        ]
        .into_iter()
        .flatten()
        .collect(),
        summary: format!(
            "the load balancer closed after {} bytes of response header",
            response.head_len
        ),
        responsible: None,
    })
}
