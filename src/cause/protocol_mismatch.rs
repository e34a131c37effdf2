//! the target speaks another protocol on this port.

use super::{Case, Cause, Confidence, Evidence, Responsible, Verdict, What};
use crate::http::FaultKind;
use crate::tcp::Side;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "protocol-mismatch",
    summary: "the target speaks another protocol on this port",
    explanation: "the target speaks another protocol on this port.",
    seen_as: &[],
    responsible: Responsible::Configuration,
    typical_status: Some(502),
    confirm: &[],
    fix: &["set the target group's protocol to what the port speaks (HTTP or HTTPS)"],
    references: &[],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    let fault = case.response()?.fault.as_ref()?;
    if !matches!(fault.kind, FaultKind::Tls | FaultKind::Http2) {
        return None;
    }
    Some(Verdict {
        confidence: Confidence::Certain,
        evidence: [
            Some(Evidence {
                mark: fault.mark,
                side: Side::Server,
                what: if fault.kind == FaultKind::Tls { What::TlsAlert } else { What::Response },
                note: format!("{}: {}", fault.kind.what(), fault.sample),
            }),
            case.asked("the request in plain HTTP/1"),
        ]
        .into_iter()
        .flatten()
        .collect(),
        summary: format!("the target answered a plain HTTP/1 request with {}", fault.kind.what()),
        responsible: None,
    })
}
