//! SYNs reach the target host and no SYN-ACK leaves it.

use super::connect_timeout::unanswered;
use super::{Case, Cause, Confidence, Responsible, Verdict};
use crate::flow::Vantage;
use crate::phrase;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "connect-timeout-host",
    summary: "SYNs reach the target host and no SYN-ACK leaves it",
    explanation: "\
        The capture was taken at the target, SYNs arrive there, and no SYN-ACK leaves. The \
        path and the security groups in front of the host have therefore let them pass; the \
        host itself keeps silent.\n\n\
        Two reasons are common. The host's firewall (iptables, nftables, firewalld) drops the \
        packet: tcpdump sees it because it captures before the firewall. Or the accept queue \
        of the listening socket is full: the program does not call accept() fast enough, and \
        Linux drops new SYNs instead of refusing them. The second shows in the counters of the \
        kernel, comes with load, and goes together with connections whose request was \
        acknowledged and never answered. Rarer: reverse-path filtering, a wrong destination \
        MAC or address, and NAT rules that send the SYN elsewhere.\n\n\
        At the load balancer it cannot be told from connect-timeout. If SYN-ACKs do leave and \
        are repeated, it is return-path-blocked; if RST leaves, connect-refused.",
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
    responsible: Responsible::TargetHost,
    typical_status: Some(504),
    confirm: &[
        "Run nstat -az TcpExtListenOverflows TcpExtListenDrops twice: counters that grow mean a \
         full accept queue",
        "Run ss -ltn: Recv-Q above Send-Q on the listening socket is a full queue at this moment",
        "Look at packet counters of dropping rules: iptables -vnL INPUT, nft list ruleset",
        "Run nstat -az TcpExtIPReversePathFilter, and check that the destination address of the \
         SYN is one of ip addr",
    ],
    fix: &[
        "If nstat shows ListenOverflows, accept faster or queue more (workers, backlog, \
         net.core.somaxconn); otherwise open the host's firewall",
        "Raise both limits together: the program's backlog (nginx listen ... backlog=4096, \
         gunicorn --backlog) and net.core.somaxconn = 4096",
        "Find what blocks the accepting thread: workers all busy, a lock, garbage collection, CPU \
         throttling of the container",
        "Allow the load balancer's subnets to the port in the host's firewall",
        "Set net.ipv4.conf.all.rp_filter = 2 if reverse-path filtering drops the SYN",
    ],
    wireshark: &[
        ("tcp.flags.syn == 1 and tcp.analysis.retransmission", "SYNs that were repeated"),
        ("tcp.completeness == 1", "connections of SYN only"),
    ],
    references: &[
        "RFC 9293, 3.5 (establishing a connection): \
         https://www.rfc-editor.org/rfc/rfc9293#section-3.5",
        "Linux, listen(2): https://man7.org/linux/man-pages/man2/listen.2.html",
        "Linux, IP sysctl: https://docs.kernel.org/networking/ip-sysctl.html",
        "AWS, troubleshoot your ALB: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html",
    ],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    // What a host sends to itself has no path to be lost on.
    let to_itself = case.flow.client.ip == case.flow.server.ip;
    if case.vantage() != Vantage::Server && !to_itself {
        return None;
    }
    let verdict = unanswered(case)?;
    // A time to live alone may as well have been seen at a router on the way.
    let known = [case.flow.vantage, case.wider.vantage(case.flow)].contains(&Vantage::Server);
    let known = known || to_itself;
    Some(Verdict {
        confidence: if known { verdict.confidence } else { Confidence::Possible },
        summary: match to_itself {
            true => phrase!(
                "{summary}; the host asks itself, so they arrived",
                summary = verdict.summary
            ),
            false => phrase!(
                "{summary}; the capture was taken at the target, so they arrived there",
                summary = verdict.summary
            ),
        },
        ..verdict
    })
}

#[cfg(test)]
mod tests {
    use crate::cause::fixture::{S, Scene, mark};
    use crate::flow::Vantage;

    fn silent(vantage: Vantage) -> Scene {
        Scene::syn().with(|scene| {
            scene.flow.vantage = vantage;
            scene.wider.advance(mark(2 * S).at);
        })
    }

    #[test]
    fn a_capture_at_the_target_blames_the_host() {
        assert_eq!(silent(Vantage::Server).cause(), Some("connect-timeout-host"));
    }

    #[test]
    fn a_capture_at_the_load_balancer_cannot() {
        assert_eq!(silent(Vantage::Client).cause(), Some("connect-timeout"));
    }
}
