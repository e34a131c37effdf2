//! full-size packets vanish while small ones pass.

use super::{Case, Cause, Confidence, Evidence, Responsible, Verdict, What};
use crate::tcp::Side;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "mtu-blackhole",
    summary: "full-size packets vanish while small ones pass",
    explanation: "full-size packets vanish while small ones pass.",
    seen_as: &[],
    responsible: Responsible::Network,
    typical_status: Some(504),
    confirm: &[],
    fix: &[
        "allow ICMP fragmentation needed (type 3 code 4) through, or lower the MTU or MSS on this path",
    ],
    references: &[],
    detect,
};

/// Payload that hardly any path with a broken MTU carries; below it size is not the reason.
const LARGE: u32 = 1000;
/// Repetitions that show a hole is not chance.
const REPEATED: u16 = 2;

fn detect(case: &Case<'_>) -> Option<Verdict> {
    case.failed()?;
    if case.closed_by_server().is_some() {
        return None;
    }
    let (side, lost) = [Side::Client, Side::Server].into_iter().find_map(|side| {
        let half = case.flow.half(side);
        let lost = half.retransmission.filter(|lost| {
            lost.len >= LARGE
                && lost.times >= REPEATED
                && lost.offset >= half.acked
                && half.largest_acked < lost.len
        })?;
        Some((side, lost))
    })?;
    let told = case.flow.icmp.iter().find(|icmp| icmp.mtu.is_some());
    let small = case.flow.half(side).largest_acked > 0 || case.flow.opening.ack.is_some();
    if told.is_none() && !small {
        return None;
    }
    let mut evidence = vec![Evidence {
        mark: lost.mark,
        side,
        what: What::Retransmission,
        note: format!("{} bytes, sent {} times, never acknowledged", lost.len, lost.times + 1),
    }];
    evidence.extend(told.map(|icmp| Evidence {
        mark: icmp.mark,
        side: !side,
        what: What::Icmp,
        note: format!("{} says the path carries {} bytes", icmp.reporter, icmp.mtu.unwrap_or(0)),
    }));
    evidence.extend(case.asked("the request"));
    Some(Verdict {
        confidence: if told.is_some() { Confidence::Certain } else { Confidence::Likely },
        evidence,
        summary: format!(
            "segments of {} bytes were repeated {} times and never acknowledged; smaller ones pass",
            lost.len, lost.times
        ),
        responsible: None,
    })
}
