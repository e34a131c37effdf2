//! nobody answered the SYN.

use super::case::span;
use super::{Case, Cause, Confidence, Evidence, Responsible, Verdict, What};
use crate::flow::EndingKind;
use crate::phrase;
use crate::tcp::Side;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "connect-timeout",
    summary: "nobody answered the SYN",
    explanation: "\
        The load balancer sent SYN, repeated it (first after 1 s, later with growing pauses), \
        and got nothing back: neither SYN-ACK nor RST nor an ICMP error. Silence means that \
        somebody drops packets. A host that is up and simply does not listen would have \
        answered RST.\n\n\
        From the load balancer's side three faults look the same. The SYN never reaches the \
        target: security group, network ACL, missing route, wrong address, host down. It \
        reaches the target, and the target does not answer: its firewall drops, or its accept \
        queue is full. Or the answer is lost on the way back. A capture at the target \
        separates them: no SYN at all (connect-timeout-path), SYN and no SYN-ACK \
        (connect-timeout-host), SYN-ACK leaving again and again (return-path-blocked).\n\n\
        With AWS, look first at rules that are easily missed: the load balancer's own security \
        group needs an egress rule to the target's port (Terraform's aws_security_group has \
        none unless it is written down), the target's security group an ingress rule from the \
        load balancer's group, and network ACLs keep no state, so that both directions need a \
        rule.\n\n\
        When the host is missing from the load balancer's own subnet not even a SYN is \
        captured, only ARP requests. A SYN answered by an unexpected ACK is tuple-collision.",
    seen_as: &[
        ("AWS ALB", "504 after 10 s, request_processing_time -1"),
        ("HAProxy", "503 or 504, termination state sC; check status L4TOUT"),
        (
            "nginx",
            "504, upstream timed out (110: Connection timed out) while connecting to upstream",
        ),
        ("Envoy", "503, flag UF, connection timeout"),
        ("Apache", "503, AH00957 attempt to connect failed (70007)"),
        ("GCP", "502 or 503, failed_to_connect_to_backend"),
        ("Azure", "502"),
    ],
    responsible: Responsible::Unknown,
    typical_status: Some(504),
    confirm: &[
        "Capture at the target at the same time: tcpdump -ni any 'tcp port <port> and \
         tcp[tcpflags] & tcp-syn != 0'",
        "If no SYN arrives, check in order: load balancer egress, target ingress, network ACL of \
         both subnets, routes, the registered address and port",
        "If SYNs arrive, look at the host: ss -ltn, nstat -az TcpExtListenOverflows \
         TcpExtListenDrops, nft list ruleset",
        "Look for REJECT in the VPC flow logs of the target's network interface",
    ],
    fix: &[
        "Open the path: load balancer egress rule, target ingress rule, network ACL, route; a \
         capture at the target tells path from host",
        "Add an egress rule from the load balancer's security group to the target's port \
         (Terraform adds none by default)",
        "Allow the target's port from the load balancer's security group in the target's ingress \
         rules",
        "In network ACLs allow the target's port inbound and ports 1024-65535 outbound at the \
         target's subnet, and the reverse at the load balancer's",
        "Deregister targets that are gone, and correct the address or port of those that moved",
    ],
    wireshark: &[
        ("tcp.flags.syn == 1 and tcp.analysis.retransmission", "SYNs that were repeated"),
        ("tcp.completeness == 1", "connections of SYN only"),
    ],
    references: &[
        "RFC 9293, 3.8.3 (connection failures): \
         https://www.rfc-editor.org/rfc/rfc9293#section-3.8.3",
        "RFC 6298, 2 (retransmission time-out): https://www.rfc-editor.org/rfc/rfc6298#section-2",
        "AWS, troubleshoot your ALB: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html",
        "AWS, security groups: \
         https://docs.aws.amazon.com/vpc/latest/userguide/vpc-security-groups.html",
        "AWS, network ACLs: https://docs.aws.amazon.com/vpc/latest/userguide/vpc-network-acls.html",
        "HAProxy, session state at disconnection (8.5): \
         https://docs.haproxy.org/2.6/configuration.html#8.5",
    ],
    detect,
};

/// Silence after a single SYN that shows nobody answers, nanoseconds: the first retransmission of
/// common stacks comes after 1 s (RFC 6298, 2.1).
const PATIENCE: i64 = 1_000_000_000;

/// A SYN that nobody answered, repeated or waited for long enough.
pub(super) fn unanswered(case: &Case<'_>) -> Option<Verdict> {
    let opening = &case.flow.opening;
    let (syn, last) = (opening.syn?, opening.last_syn()?);
    let asked = case.flow.half(Side::Client).distinct() == u64::from(opening.syns);
    let silent = case.flow.half(Side::Server).packets == 0 && case.flow.icmp.is_empty();
    let waited = case.wider.now().nanos_since(syn.at);
    if case.exchange.is_some() || !silent || !asked || waited < PATIENCE {
        return None;
    }
    let mut evidence = vec![case.silence(Side::Server, last, phrase!("no answer, of any kind"))];
    evidence.push(Evidence {
        mark: syn,
        side: Side::Client,
        what: What::Syn,
        note: phrase!("SYN, sent {syns} times", syns = opening.syns),
    });
    Some(Verdict {
        // Common stacks repeat SYN after a second: one alone is odd by itself.
        confidence: if opening.syns > 1 { Confidence::Certain } else { Confidence::Possible },
        evidence,
        summary: phrase!(
            "{server} did not answer {syns} SYN within {waited}",
            server = case.flow.server.socket(),
            syns = opening.syns,
            waited = span(waited.min(last.at.nanos_since(syn.at) + PATIENCE))
        ),
        responsible: None,
    })
}

/// The SYN-ACK came when the load balancer had given up: it answers with RST without ACK, as a host
/// does that has no such connection. (A probe that only tests the port resets its own connection,
/// with ACK.)
fn too_late(case: &Case<'_>) -> Option<Verdict> {
    /// Latency that no handshake has unless something is wrong, nanoseconds.
    const SLOW: i64 = 500_000_000;
    let opening = &case.flow.opening;
    let (syn, syn_ack) = (opening.syn?, opening.syn_ack?);
    let waited = syn_ack.at.nanos_since(syn.at);
    let reset = case.closed_by_client()?;
    let gone = reset.kind == EndingKind::Rst && !reset.ack_flag && opening.ack.is_none();
    if case.exchange.is_some() || !gone || waited < SLOW {
        return None;
    }
    Some(Verdict {
        confidence: Confidence::Likely,
        evidence: vec![
            Evidence {
                mark: syn_ack,
                side: Side::Server,
                what: What::SynAck,
                note: phrase!("{waited} after SYN", waited = span(waited)),
            },
            case.ending(reset, phrase!("RST without ACK: the load balancer had given up")),
            Evidence {
                mark: syn,
                side: Side::Client,
                what: What::Syn,
                note: phrase!("the load balancer tries to connect"),
            },
        ],
        summary: phrase!(
            "{server} answered SYN after {waited}, when the load balancer had given up",
            server = case.flow.server.socket(),
            waited = span(waited)
        ),
        responsible: None,
    })
}

fn detect(case: &Case<'_>) -> Option<Verdict> {
    unanswered(case).or_else(|| too_late(case))
}

#[cfg(test)]
mod tests {
    use crate::cause::Confidence;
    use crate::cause::fixture::{MS, S, Scene, mark};
    use crate::tcp::Side;

    fn two_syns(waited: i64) -> Scene {
        Scene::syn().with(|scene| {
            scene.flow.opening.syns = 2;
            scene.flow.opening.odd_mut().last_syn = Some(mark(S));
            scene.flow.half_mut(Side::Client).packets = 2;
            scene.wider.advance(mark(S + waited).at);
        })
    }

    #[test]
    fn repeated_syns_without_any_answer() {
        let scene = two_syns(2 * S);
        assert_eq!(scene.cause(), Some("connect-timeout"));
        let verdict = scene.rule("connect-timeout").expect("it fits");
        assert_eq!(verdict.confidence, Confidence::Certain);
    }

    #[test]
    fn a_syn_just_before_the_end_of_the_capture_says_nothing() {
        let scene = Scene::syn().with(|scene| scene.wider.advance(mark(500 * MS).at));
        assert_eq!(scene.cause(), None);
    }

    #[test]
    fn an_answer_of_any_kind_is_no_silence() {
        let scene = two_syns(2 * S).with(|scene| scene.flow.half_mut(Side::Server).packets = 1);
        assert!(scene.rule("connect-timeout").is_none());
    }
}
