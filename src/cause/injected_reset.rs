//! a RST in the target's name that the target did not send.

use super::{Case, Cause, Confidence, Responsible, Verdict};
use crate::flow::EndingKind;
use crate::tcp::Side;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "injected-reset",
    summary: "a RST in the target's name that the target did not send",
    explanation: "a RST in the target's name that the target did not send.",
    seen_as: &[],
    responsible: Responsible::Network,
    typical_status: Some(502),
    confirm: &[],
    fix: &[
        "find the device between (firewall, IDS, proxy) that resets this flow; capture at the target to prove that it never left there",
    ],
    references: &[],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    case.failed()?;
    let close = case.closed_by_server().filter(|close| close.kind == EndingKind::Rst)?;
    let server = case.flow.half(Side::Server);
    let usual = server.ttl;
    let alien = usual != 0 && close.ttl.abs_diff(usual) > 1 && server.packets > 1;
    let fast = case.too_fast(close);
    if !(alien || fast) {
        return None;
    }
    let mut note = Vec::new();
    if alien {
        note.push(format!("time to live {} where the target's packets have {usual}", close.ttl));
    }
    if fast {
        note.push("sooner than the target could answer".to_owned());
    }
    let mut evidence = vec![case.ending(close, note.join("; "))];
    evidence.extend(case.asked("the request"));
    Some(Verdict {
        confidence: if alien && fast { Confidence::Likely } else { Confidence::Possible },
        evidence,
        summary: format!("the RST does not fit the target: {}", note.join("; ")),
        responsible: None,
    })
}
