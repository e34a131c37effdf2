//! nobody answered the SYN.

use super::case::span;
use super::{Case, Cause, Confidence, Evidence, Responsible, Verdict, What};
use crate::tcp::Side;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "connect-timeout",
    summary: "nobody answered the SYN",
    explanation: "nobody answered the SYN.",
    seen_as: &[],
    responsible: Responsible::Network,
    typical_status: Some(504),
    confirm: &[],
    fix: &[
        "check in this order: security groups, network ACLs, route, host up, host firewall, listen queue; a capture at the target tells the path from the host",
    ],
    references: &[],
    detect,
};

/// Silence after a single SYN that shows nobody answers, nanoseconds: the first retransmission of
/// common stacks comes after 1 s (RFC 6298, 2.1).
const PATIENCE: i64 = 1_000_000_000;

/// A SYN that nobody answered, repeated or waited for long enough.
pub(super) fn unanswered(case: &Case<'_>) -> Option<Verdict> {
    let opening = &case.flow.opening;
    let (syn, last) = (opening.syn?, opening.last_syn?);
    let asked = case.flow.half(Side::Client).packets == u64::from(opening.syns);
    let silent = case.flow.half(Side::Server).packets == 0 && case.flow.icmp.is_empty();
    let waited = case.wider.now().nanos_since(last.at);
    if case.exchange.is_some() || !silent || !asked || waited < PATIENCE {
        return None;
    }
    let mut evidence = vec![case.silence(Side::Server, last, "no answer, of any kind")];
    evidence.push(Evidence {
        mark: syn,
        side: Side::Client,
        what: What::Syn,
        note: format!("SYN, sent {} times", opening.syns),
    });
    Some(Verdict {
        confidence: if opening.syns > 1 { Confidence::Certain } else { Confidence::Likely },
        evidence,
        summary: format!(
            "{} did not answer {} SYN within {}",
            case.flow.server.socket(),
            opening.syns,
            span(last.at.nanos_since(syn.at) + waited.min(PATIENCE))
        ),
        responsible: None,
    })
}

fn detect(case: &Case<'_>) -> Option<Verdict> {
    unanswered(case)
}
