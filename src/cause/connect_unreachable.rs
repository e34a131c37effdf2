//! an ICMP error answered the SYN: the target or its port cannot be reached.

use super::{Case, Cause, Confidence, Evidence, Responsible, Verdict, What};
use crate::packet::IcmpError;
use crate::tcp::Side;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "connect-unreachable",
    summary: "an ICMP error answered the SYN: the target or its port cannot be reached",
    explanation: "an ICMP error answered the SYN: the target or its port cannot be reached.",
    seen_as: &[],
    responsible: Responsible::Network,
    typical_status: Some(502),
    confirm: &[],
    fix: &[
        "look at the host that sent the ICMP error: route, host down, or a firewall rule that rejects",
    ],
    references: &[],
    detect,
};

/// ICMP destination unreachable (RFC 792), ICMPv6 destination unreachable (RFC 4443, 3.1).
const UNREACHABLE: (u8, u8) = (3, 1);
/// Fragmentation needed (RFC 1191): no answer to a SYN.
const FRAGMENTATION_NEEDED: u8 = 4;

fn detect(case: &Case<'_>) -> Option<Verdict> {
    let opening = &case.flow.opening;
    let syn = opening.syn?;
    if opening.syn_ack.is_some() || case.closed_by_server().is_some() {
        return None;
    }
    let icmp = case.flow.icmp.iter().find(|icmp| {
        let (v4, v6) = UNREACHABLE;
        if icmp.v6 { icmp.kind == v6 } else { icmp.kind == v4 && icmp.code != FRAGMENTATION_NEEDED }
    })?;
    Some(Verdict {
        confidence: Confidence::Certain,
        evidence: vec![
            Evidence {
                mark: icmp.mark,
                side: Side::Server,
                what: What::Icmp,
                note: format!("{} from {}", meaning(icmp), icmp.reporter),
            },
            Evidence {
                mark: syn,
                side: Side::Client,
                what: What::Syn,
                note: "the SYN that it quotes".to_owned(),
            },
        ],
        summary: format!("{} answered the SYN: {}", icmp.reporter, meaning(icmp)),
        responsible: None,
    })
}

/// Words of RFC 792, RFC 1122, RFC 1812 and RFC 4443.
fn meaning(icmp: &IcmpError) -> &'static str {
    match (icmp.v6, icmp.code) {
        (false, 0) => "network unreachable",
        (false, 1) => "host unreachable",
        (false, 2) => "protocol unreachable",
        (false, 3) | (true, 4) => "port unreachable",
        (false, 9 | 10 | 13) | (true, 1) => "administratively prohibited",
        (true, 0) => "no route to destination",
        (true, 3) => "address unreachable",
        (true, 5 | 6) => "rejected by policy",
        _ => "destination unreachable",
    }
}
