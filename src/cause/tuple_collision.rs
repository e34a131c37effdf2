//! the new connection's addresses and ports still belong to an older one at the target.

use super::{Case, Cause, Confidence, Evidence, Responsible, Verdict, What};
use crate::tcp::Side;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "tuple-collision",
    summary: "the new connection's addresses and ports still belong to an older one at the target",
    explanation: "the new connection's addresses and ports still belong to an older one at the target.",
    seen_as: &[],
    responsible: Responsible::Configuration,
    typical_status: Some(504),
    confirm: &[],
    fix: &[
        "avoid reuse of the same source port within the target's memory: more source addresses, client IP preservation off, longer port ranges",
    ],
    references: &[],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    let opening = &case.flow.opening;
    let (challenge, syn) = (opening.challenge_ack?, opening.syn?);
    if case.exchange.is_some() {
        return None;
    }
    let mut evidence = vec![
        Evidence {
            mark: challenge,
            side: Side::Server,
            what: What::Ack,
            note: "an ACK that does not acknowledge the SYN: an older connection is alive"
                .to_owned(),
        },
        Evidence {
            mark: syn,
            side: Side::Client,
            what: What::Syn,
            note: "the SYN of the new connection".to_owned(),
        },
    ];
    if let Some(close) = case.closed_by_client() {
        evidence.push(case.ending(close, "the client resets the older connection"));
    }
    Some(Verdict {
        confidence: Confidence::Certain,
        evidence,
        summary: format!(
            "the target answered the SYN from port {} with the ACK of an older connection",
            case.flow.client.port
        ),
        responsible: None,
    })
}
