//! what the target sends does not reach the load balancer.

use super::{Case, Cause, Confidence, Evidence, Responsible, Verdict, What};
use crate::tcp::Side;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "return-path-blocked",
    summary: "what the target sends does not reach the load balancer",
    explanation: "what the target sends does not reach the load balancer.",
    seen_as: &[],
    responsible: Responsible::Network,
    typical_status: Some(504),
    confirm: &[],
    fix: &[
        "allow the way back: network ACL outbound rules for ports 1024-65535, security group, routing of the target's subnet",
    ],
    references: &[],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    match case.exchange {
        Some(_) => response_lost(case),
        None => handshake_lost(case),
    }
}

/// SYN-ACKs repeated, and SYN as well: the first way works, the way back does not.
fn handshake_lost(case: &Case<'_>) -> Option<Verdict> {
    let opening = &case.flow.opening;
    let (syn, syn_ack, last) = (opening.syn?, opening.syn_ack?, opening.last_syn_ack?);
    let answered = opening.ack.is_some()
        || case.flow.half(Side::Client).payload_bytes > 0
        || case.flow.endings.iter().any(|ending| ending.side == Side::Client);
    if answered || opening.syn_acks < 2 {
        return None;
    }
    Some(Verdict {
        confidence: if opening.syns > 1 { Confidence::Certain } else { Confidence::Possible },
        evidence: vec![
            Evidence {
                mark: syn_ack,
                side: Side::Server,
                what: What::SynAck,
                note: format!("SYN-ACK, sent {} times", opening.syn_acks),
            },
            case.silence(Side::Client, last, "no ACK ever came back"),
            Evidence {
                mark: syn,
                side: Side::Client,
                what: What::Syn,
                note: format!("SYN, sent {} times", opening.syns),
            },
        ],
        summary: format!(
            "the target answered {} SYN with {} SYN-ACK, and none was acknowledged",
            opening.syns, opening.syn_acks
        ),
        responsible: None,
    })
}

/// The response was sent, repeated, and never acknowledged.
fn response_lost(case: &Case<'_>) -> Option<Verdict> {
    let response = case.response()?;
    let server = case.flow.half(Side::Server);
    let lost = server.retransmission.filter(|lost| {
        lost.times >= 2 && lost.offset >= server.acked && lost.offset < response.end
    })?;
    if server.acked > response.start || case.flow.half(Side::Client).packets == 0 {
        return None;
    }
    let mut evidence = vec![Evidence {
        mark: lost.mark,
        side: Side::Server,
        what: What::Retransmission,
        note: format!("the response, sent {} times, never acknowledged", lost.times + 1),
    }];
    evidence.extend(case.asked("the request"));
    Some(Verdict {
        confidence: Confidence::Likely,
        evidence,
        summary: format!(
            "the target sent its response {} times and none was acknowledged",
            lost.times + 1
        ),
        responsible: None,
    })
}
