//! the new connection's addresses and ports still belong to an older one at the target.

use super::{Case, Cause, Confidence, Evidence, Responsible, Verdict, What};
use crate::phrase;
use crate::tcp::Side;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "tuple-collision",
    summary: "the new connection's addresses and ports still belong to an older one at the target",
    explanation: "\
        The load balancer opened a connection from an address and port that it had used \
        before, and the target still has the older connection on the same four numbers (both \
        addresses, both ports). TCP cannot take the SYN for a new connection; the target \
        answers with a plain ACK of the old one (the challenge ACK of RFC 5961). The other \
        side, which knows no such connection, replies RST; that clears the old one, and the \
        repeated SYN, about a second later, succeeds. If the RST does not get through, the \
        connection fails.\n\n\
        At the target you see SYN in, an ACK out that does not acknowledge it, RST in. The \
        load balancer's capture shows the same. What the user notices is a delay of 1 s or \
        more, or a 504 if it repeats until the time-out.\n\n\
        It comes from fast reuse of source ports: many short connections from few addresses to \
        one target, NAT with a small pool, or an AWS Network Load Balancer with client IP \
        preservation, where one client reaches the same target through two nodes with the same \
        source port. A load balancer that closed without telling the target (lost RST, reboot) \
        leaves such older connections as well.\n\n\
        It must not be taken for connect-timeout, where nothing answers, or connect-refused, \
        where RST does.",
    seen_as: &[
        ("HAProxy", "termination state sC or SC"),
        (
            "nginx",
            "upstream timed out (110) while connecting to upstream, or (104: Connection reset by \
             peer)",
        ),
        ("Envoy", "503, flag UF"),
    ],
    responsible: Responsible::Configuration,
    typical_status: Some(504),
    confirm: &[
        "Run ss -tan | grep <source address>:<source port> at the target: an ESTABLISHED or \
         TIME-WAIT connection on the same ports",
        "Run nstat -az TcpExtTCPChallengeACK TcpExtTWRecycled TcpExtPAWSEstab at the target",
        "Count the connections per source address and compare with sysctl \
         net.ipv4.ip_local_port_range at the proxy",
        "Search the capture for the older connection on the same four numbers (Wireshark marks: \
         TCP Port numbers reused)",
    ],
    fix: &[
        "Reuse source ports later: keep-alive to targets, more source addresses or targets, wider \
         ip_local_port_range, client IP preservation off",
        "Keep connections to targets open (nginx upstream keepalive, HAProxy http-reuse safe), so \
         that fewer are opened",
        "Widen the range with net.ipv4.ip_local_port_range = 1024 65535, or give the proxy more \
         source addresses",
        "On a Network Load Balancer set preserve_client_ip.enabled = false, and pass the client \
         address with proxy protocol v2",
        "Leave TCP timestamps on (net.ipv4.tcp_timestamps = 1), so that a connection in TIME-WAIT \
         can be reopened safely",
    ],
    wireshark: &[
        ("tcp.analysis.reused_ports", "SYNs on ports of an older connection"),
        ("tcp.flags.syn == 1 and tcp.analysis.retransmission", "SYNs that were repeated"),
    ],
    references: &[
        "RFC 5961, 4 (challenge ACK to a SYN): https://www.rfc-editor.org/rfc/rfc5961#section-4",
        "RFC 9293, 3.10.7.4 (segment arrives, other states): \
         https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.4",
        "RFC 6191 (reducing TIME-WAIT with timestamps): https://www.rfc-editor.org/rfc/rfc6191",
        "AWS, troubleshoot your NLB: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/network/load-balancer-troubleshooting.html",
        "Linux, IP sysctl: https://docs.kernel.org/networking/ip-sysctl.html",
    ],
    detect,
};

/// Time in which a second SYN usually succeeds, nanoseconds.
const PATIENCE: i64 = 500_000_000;

fn detect(case: &Case<'_>) -> Option<Verdict> {
    let opening = &case.flow.opening;
    let (challenge, syn) = (opening.odd().challenge_ack?, opening.syn?);
    let client = case.flow.half(Side::Client);
    if case.exchange.is_some() || opening.syn_ack.is_some() || client.payload_bytes > 0 {
        return None; // it was opened after all
    }
    // Its client resets the older connection and tries again: without trouble that works at once.
    if case.wider.now().nanos_since(challenge.at) < PATIENCE {
        return None;
    }
    let mut evidence = vec![
        Evidence {
            mark: challenge,
            side: Side::Server,
            what: What::Ack,
            note: phrase!("an ACK that does not acknowledge the SYN: an older connection is alive"),
        },
        Evidence {
            mark: syn,
            side: Side::Client,
            what: What::Syn,
            note: phrase!("the SYN of the new connection"),
        },
    ];
    if let Some(close) = case.closed_by_client() {
        evidence.push(case.ending(close, phrase!("the client resets the older connection")));
    }
    Some(Verdict {
        confidence: Confidence::Certain,
        evidence,
        summary: phrase!(
            "the target answered the SYN from port {port} with the ACK of an older connection",
            port = case.flow.client.port
        ),
        responsible: None,
    })
}

#[cfg(test)]
mod tests {
    use crate::cause::fixture::{MS, Scene, mark};
    use crate::tcp::Side;

    #[test]
    fn the_ack_of_an_older_connection_answers_the_syn() {
        let scene = Scene::syn().with(|scene| {
            scene.flow.opening.odd_mut().challenge_ack = Some(mark(MS));
            scene.flow.half_mut(Side::Server).packets = 1;
            scene.wider.advance(mark(1_000 * MS).at);
        });
        assert_eq!(scene.cause(), Some("tuple-collision"));
    }

    #[test]
    fn a_reset_is_a_refusal() {
        let scene = Scene::syn().target_rst(MS, 0);
        assert!(scene.rule("tuple-collision").is_none());
        assert_eq!(scene.cause(), Some("connect-refused"));
    }
}
