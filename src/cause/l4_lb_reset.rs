//! a layer-4 load balancer or NAT forgot the connection while it was idle and reset it.

use super::case::span;
use super::stale_flow_reset::stale;
use super::{Case, Cause, Confidence, Responsible, Verdict};
use crate::phrase;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "l4-lb-reset",
    summary: "a layer-4 load balancer or NAT forgot the connection while it was idle and reset it",
    explanation: "\
        Between the proxy and the target (or between two proxies) sits a device that works on \
        connections, not on requests: a network load balancer, a NAT gateway, a stateful \
        firewall. It keeps a table entry for each connection and forgets it after a fixed idle \
        time: 350 s on AWS Network and Gateway Load Balancers and NAT gateways, 4 minutes by \
        default in Azure, 600 s in Google Cloud. Neither end is told. The next segment meets a \
        device that does not know the connection and answers RST in the name of the other end.\n\n\
        In the capture the connection is idle for longer than that limit, the request goes \
        out, and the RST comes back at once, without FIN before. The target's capture shows \
        nothing at this time, or a RST sent by the device to the target as well. The target, \
        which was never asked, keeps the connection open.\n\n\
        It is the same picture as stale-flow-reset; what sets it apart is an idle time just \
        beyond a limit that is known for such devices. An idle time that short-lived servers \
        use (5, 60, 75 s) with a FIN before is keepalive-race. An AWS NLB also resets \
        connections when their target becomes unhealthy; then no idle time comes before the \
        RST and many connections end together.",
    seen_as: &[
        (
            "AWS ALB",
            "502, target_status_code -, when a layer-4 device stands behind it; an NLB itself \
             counts TCP_ELB_Reset_Count",
        ),
        ("HAProxy", "502, termination state SH; SD in the middle of a response"),
        (
            "nginx",
            "502, recv() failed (104: Connection reset by peer) while reading response header \
             from upstream",
        ),
        ("Envoy", "503, flag UC"),
    ],
    responsible: Responsible::LoadBalancer,
    typical_status: Some(502),
    confirm: &[
        "Compare the idle times of all such findings: none below the limit, all above it",
        "For an NLB look at the CloudWatch metric TCP_ELB_Reset_Count at this time, for a NAT \
         gateway at IdleTimeoutCount",
        "Capture at the target: it neither receives the request nor sends the RST",
        "Read the idle time-out of every device on the path (NLB listener attribute \
         tcp.idle_timeout.seconds)",
    ],
    fix: &[
        "Send TCP keep-alives, or close idle connections, sooner than the idle time-out of the \
         layer-4 device (350 s for an NLB or NAT gateway)",
        "Set net.ipv4.tcp_keepalive_time = 120 and switch keep-alives on: nginx \
         proxy_socket_keepalive on, HAProxy option srvtcpka, Envoy tcp_keepalive, Apache \
         keepalive=On",
        "Drop idle connections early at the proxy: keepalive_timeout 60s in the nginx upstream \
         block, idle_timeout of the Envoy cluster",
        "Raise the device's own limit: NLB listener attribute tcp.idle_timeout.seconds (60 to \
         6000)",
    ],
    wireshark: &[
        ("tcp.flags.reset == 1", "RSTs"),
        ("tcp.time_delta > 60", "packets after a long pause on their connection"),
    ],
    references: &[
        "RFC 9293, 3.8.4 (keep-alives): https://www.rfc-editor.org/rfc/rfc9293#section-3.8.4",
        "RFC 5382, 5 (NAT time-outs for TCP): https://www.rfc-editor.org/rfc/rfc5382#section-5",
        "AWS, troubleshoot your NLB: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/network/load-balancer-troubleshooting.html",
        "AWS, Network Load Balancers: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/network/network-load-balancers.html",
        "AWS, troubleshoot NAT gateways: \
         https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-troubleshooting.html",
        "Azure, Load Balancer TCP reset and idle time-out: \
         https://learn.microsoft.com/azure/load-balancer/load-balancer-tcp-reset",
    ],
    detect,
};

/// Idle time after which an AWS Network Load Balancer, Gateway Load Balancer or NAT gateway forgets
/// a flow and answers its next packet with RST, nanoseconds.
const FORGETS: i64 = 350_000_000_000;

fn detect(case: &Case<'_>) -> Option<Verdict> {
    let close = stale(case)?;
    let idle = case.exchange?.idle_before?;
    if idle < FORGETS {
        return None;
    }
    let mut evidence =
        vec![case.ending(close, phrase!("answers the request at once; no FIN came before"))];
    evidence.extend(case.asked(phrase!("the first bytes after the idle time")));
    Some(Verdict {
        confidence: Confidence::Likely,
        evidence,
        summary: phrase!(
            "the request was reset {after} after it was sent, on a connection idle for {idle}, longer than \
             the 350 s of AWS layer-4 load balancers and NAT gateways",
            after = span(case.outstanding(close.mark)),
            idle = span(idle)
        ),
        responsible: None,
    })
}

#[cfg(test)]
mod tests {
    use crate::cause::fixture::{ASKED, END, MS, S, Scene};

    fn idle(seconds: i64) -> Scene {
        Scene::asked().with(|scene| scene.exchange().idle_before = Some(seconds * S))
    }

    #[test]
    fn a_reset_past_the_idle_limit_of_a_network_load_balancer() {
        assert_eq!(idle(351).bare_rst(ASKED + MS).cause(), Some("l4-lb-reset"));
    }

    #[test]
    fn a_short_idle_time_is_not_its_limit() {
        assert_eq!(idle(5).bare_rst(ASKED + MS).cause(), Some("stale-flow-reset"));
    }

    #[test]
    fn a_target_that_knew_the_connection_is_not_it() {
        assert_eq!(idle(351).target_rst(ASKED + MS, END).cause(), Some("target-rst-no-response"));
    }
}
