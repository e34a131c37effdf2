//! an ICMP error answered the SYN: the target or its port cannot be reached.

use super::{Case, Cause, Confidence, Evidence, Responsible, Verdict, What};
use crate::flow::Flow;
use crate::packet::IcmpError;
use crate::tcp::Side;
use crate::{phrase, word};

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "connect-unreachable",
    summary: "an ICMP error answered the SYN: the target or its port cannot be reached",
    explanation: "\
        The load balancer's SYN was answered by an ICMP error: no TCP came back, but a router \
        or the target's own host says why. Host unreachable means that the last router got no \
        answer to ARP or neighbour discovery: the host is down or the address is not in use. \
        Network unreachable means that a router has no route. Administratively prohibited and \
        port unreachable are mostly a firewall rule that rejects instead of dropping; on a \
        Kubernetes node port unreachable is also how kube-proxy answers for a Service that has \
        no ready endpoint.\n\n\
        The evidence names the sender of the ICMP message. If that is the target's own \
        address, look at the target's firewall; if it is another, at that router or firewall. \
        At the target you see the SYN and the ICMP error leave, or nothing at all if it came \
        from a router before it.\n\n\
        If the missing host would be in the load balancer's own subnet there is no ICMP \
        message on the wire: the kernel sends ARP requests, gives up after about 3 s, and the \
        proxy logs \"No route to host\" (113) while the capture holds no IP packet. ICMP \
        fragmentation needed is no answer to a SYN; it belongs to mtu-blackhole. With neither \
        ICMP nor RST it is connect-timeout, with a RST connect-refused.",
    seen_as: &[
        ("AWS ALB", "502, target_status_code -"),
        ("HAProxy", "503, termination state SC; check status L4CON"),
        (
            "nginx",
            "502, connect() failed (113: No route to host) or (101: Network is unreachable) while \
             connecting to upstream",
        ),
        ("Envoy", "503, flag UF"),
        ("Apache", "503, AH00957 attempt to connect failed (113)"),
        ("GCP", "502 or 503, failed_to_connect_to_backend"),
        ("Azure", "502; Front Door OriginConnectionError"),
    ],
    responsible: Responsible::Network,
    typical_status: Some(502),
    confirm: &[
        "Look at who sent the ICMP error and its code (Wireshark: icmp.type == 3 or icmpv6.type \
         == 1)",
        "Check that the target exists and has this address: ip addr there, ip neigh show <target> \
         at the sender of the ICMP error",
        "Follow the way from the load balancer: ip route get <target>, traceroute -T -p <port> \
         <target>",
        "On a Kubernetes node: kubectl get endpointslices -l kubernetes.io/service-name=<service> \
         shows whether any endpoint is ready",
        "List rejecting rules at the target: nft list ruleset | grep -i reject, iptables -S | \
         grep -i reject, firewall-cmd --list-all",
    ],
    fix: &[
        "Look at the host that sent the ICMP error: a firewall rule that rejects, a missing \
         route, or a target that is down",
        "Remove or narrow the rejecting rule, so that the load balancer's addresses reach the \
         target's port",
        "Take targets that no longer exist out of the target group (terminated instances, moved \
         pods)",
        "Add the missing route, also the one back, in the subnet's route table",
    ],
    wireshark: &[
        ("icmp.type == 3 or icmpv6.type == 1", "ICMP errors and the packets that they quote"),
        ("tcp.completeness == 1", "connections of SYN only"),
    ],
    references: &[
        "RFC 792 (ICMP, destination unreachable): https://www.rfc-editor.org/rfc/rfc792",
        "RFC 4443, 3.1 (ICMPv6 destination unreachable): \
         https://www.rfc-editor.org/rfc/rfc4443#section-3.1",
        "RFC 9293, 3.9.2.2 (ICMP messages and TCP): \
         https://www.rfc-editor.org/rfc/rfc9293#section-3.9.2.2",
        "AWS, troubleshoot your ALB: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html",
        "HAProxy, session state at disconnection (8.5): \
         https://docs.haproxy.org/2.6/configuration.html#8.5",
    ],
    detect,
};

/// ICMP destination unreachable (RFC 792), ICMPv6 destination unreachable (RFC 4443, 3.1).
const UNREACHABLE: (u8, u8) = (3, 1);
/// Fragmentation needed (RFC 1191): no answer to a SYN.
const FRAGMENTATION_NEEDED: u8 = 4;

/// The ICMP error that ends a connection which is being opened, if there is one: every "destination unreachable" does so
/// at once (RFC 9293, 3.9.2.2; Linux, `tcp_v4_err` in SYN-SENT).
pub(crate) fn refusal(flow: &Flow) -> Option<&IcmpError> {
    let (v4, v6) = UNREACHABLE;
    flow.icmp.iter().find(|icmp| match icmp.v6 {
        true => icmp.kind == v6,
        false => icmp.kind == v4 && icmp.code != FRAGMENTATION_NEEDED,
    })
}

fn detect(case: &Case<'_>) -> Option<Verdict> {
    let opening = &case.flow.opening;
    let syn = opening.syn?;
    if opening.syn_ack.is_some() || case.closed_by_server().is_some() {
        return None;
    }
    let icmp = refusal(case.flow)?;
    Some(Verdict {
        confidence: Confidence::Certain,
        evidence: vec![
            Evidence {
                mark: icmp.mark,
                side: Side::Server,
                what: What::Icmp,
                note: phrase!(
                    "{icmp} from {reporter}",
                    icmp = meaning(icmp),
                    reporter = icmp.reporter
                ),
            },
            Evidence {
                mark: syn,
                side: Side::Client,
                what: What::Syn,
                note: phrase!("the SYN that it quotes"),
            },
        ],
        summary: phrase!(
            "{reporter} answered the SYN: {icmp}",
            reporter = icmp.reporter,
            icmp = meaning(icmp)
        ),
        // It was not lost on the way: a rule, or no listener, there.
        responsible: (icmp.reporter == case.flow.server.addr()).then_some(Responsible::TargetHost),
    })
}

/// Words of RFC 792, RFC 1122, RFC 1812 and RFC 4443.
fn meaning(icmp: &IcmpError) -> &'static str {
    match (icmp.v6, icmp.code) {
        (false, 0) => word!("network unreachable"),
        (false, 1) => word!("host unreachable"),
        (false, 2) => word!("protocol unreachable"),
        (false, 3) | (true, 4) => word!("port unreachable"),
        (false, 9 | 10 | 13) | (true, 1) => word!("administratively prohibited"),
        (true, 0) => word!("no route to destination"),
        (true, 3) => word!("address unreachable"),
        (true, 5 | 6) => word!("rejected by policy"),
        _ => word!("destination unreachable"),
    }
}

#[cfg(test)]
mod tests {
    use crate::cause::Responsible;
    use crate::cause::fixture::Scene;

    #[test]
    fn an_icmp_error_answers_the_syn() {
        assert_eq!(Scene::syn().icmp(3, 1, None).cause(), Some("connect-unreachable"));
    }

    #[test]
    fn the_target_itself_says_that_it_lets_nobody_in() {
        let by = |reporter| {
            let scene = Scene::syn().icmp(3, 13, None);
            let scene = scene.with(|scene| scene.flow.icmp[0].reporter = reporter);
            scene.rule("connect-unreachable").unwrap().responsible
        };
        assert_eq!(by([10, 0, 2, 9].into()), Some(Responsible::TargetHost));
        assert_eq!(by([10, 0, 2, 1].into()), None);
    }

    #[test]
    fn fragmentation_needed_is_no_answer_to_a_syn() {
        assert!(Scene::syn().icmp(3, 4, Some(1400)).rule("connect-unreachable").is_none());
    }
}
