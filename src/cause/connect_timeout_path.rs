//! SYNs were lost on their way to the target.

use super::connect_timeout::unanswered;
use super::{Case, Cause, Responsible, Verdict};
use crate::phrase;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "connect-timeout-path",
    summary: "SYNs were lost on their way to the target",
    explanation: "\
        The load balancer sent SYN again and again, and none of them reached the target: the \
        capture taken there at the same time shows other packets of the two and none of these. \
        Something in between drops them. The target's host and its program have no part in it, \
        as they never learned of the connection.\n\n\
        It takes two capture points to prove that, or a capture on a router or NAT host that \
        passes other connections to the target on and keeps these. With the load balancer's \
        capture alone it is connect-timeout.\n\n\
        In a cloud nearly always a rule is missing. The load balancer's own security group \
        needs an egress rule to the target's port, the target's security group an ingress rule \
        from the load balancer's group, and network ACLs keep no state, so that both directions \
        need a rule. Elsewhere look at the firewalls and routes in between, for an address that \
        has moved, and for a NAT that has no free ports. If some SYNs arrive and some do not, \
        there are several ways to the target and one of them is broken, or packets are lost \
        under load.",
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
    responsible: Responsible::Network,
    typical_status: Some(504),
    confirm: &[
        "Capture further points between the two: the last that shows the SYN is before the one \
         that drops it",
        "Look for REJECT in the VPC flow logs of the target's network interface",
        "Look at the packet counters of every firewall in between, and at the routes of both \
         subnets",
    ],
    fix: &[
        "Open the path between the two capture points: load balancer egress rule, target ingress \
         rule, network ACL, route",
        "Add an egress rule from the load balancer's security group to the target's port \
         (Terraform adds none by default)",
        "Allow the target's port from the load balancer's security group in the target's ingress \
         rules",
        "In network ACLs allow the target's port inbound and ports 1024-65535 outbound at the \
         target's subnet, and the reverse at the load balancer's",
    ],
    wireshark: &[
        ("tcp.flags.syn == 1 and tcp.analysis.retransmission", "SYNs that were repeated"),
        ("tcp.completeness == 1", "connections of SYN only"),
    ],
    references: &[
        "RFC 9293, 3.8.3 (connection failures): \
         https://www.rfc-editor.org/rfc/rfc9293#section-3.8.3",
        "AWS, troubleshoot your ALB: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html",
        "AWS, security groups: \
         https://docs.aws.amazon.com/vpc/latest/userguide/vpc-security-groups.html",
        "AWS, network ACLs: https://docs.aws.amazon.com/vpc/latest/userguide/vpc-network-acls.html",
    ],
    detect,
};

/// The host that captured passes other connections to the target on. What two captures prove is told when both are
/// read, see [`crate::join::points`].
fn detect(case: &Case<'_>) -> Option<Verdict> {
    let verdict = unanswered(case).filter(|_| case.not_passed_on())?;
    let told = verdict.summary;
    Some(Verdict {
        summary: phrase!(
            "{told}; the host that captured passes on other connections to it, and these SYN it did not: it dropped them",
            told
        ),
        ..verdict
    })
}

#[cfg(test)]
mod tests {
    use crate::cause::fixture::{S, Scene, mark};
    use crate::flow::Vantage;
    use crate::tcp::Side;

    #[test]
    fn a_host_that_passes_others_on_dropped_what_it_did_not_pass_on() {
        let kept = |others: bool| {
            let mut scene = Scene::syn().with(|scene| {
                scene.flow.opening.syns = 2;
                scene.flow.opening.odd_mut().last_syn = Some(mark(S));
                scene.flow.half_mut(Side::Client).packets = 2;
                scene.flow.vantage = Vantage::Server;
                scene.wider.advance(mark(3 * S).at);
            });
            if others {
                scene.wider.learn_forwarded(scene.flow.server);
            }
            scene.cause()
        };
        assert_eq!(kept(false), Some("connect-timeout-host"));
        assert_eq!(kept(true), Some("connect-timeout-path"));
    }
}
