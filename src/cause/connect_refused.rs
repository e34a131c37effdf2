//! nothing listens on the target's port: it answered SYN with RST.

use super::case::span;
use super::{Case, Cause, Confidence, Evidence, Responsible, Verdict, What};
use crate::flow::EndingKind;
use crate::phrase;
use crate::tcp::Side;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "connect-refused",
    summary: "nothing listens on the target's port: it answered SYN with RST",
    explanation: "\
        The load balancer sent SYN, and the target's address answered RST,ACK at once. TCP \
        says so when no socket listens on that port: the program is not running, still \
        starting, listens on another port, or listens only on 127.0.0.1 while the load \
        balancer comes by the host's other address. A firewall rule that rejects with TCP \
        reset sends the same packet.\n\n\
        The capture shows the same at both ends: SYN, RST,ACK, nothing else. At the target the \
        RST leaves within microseconds. If only the load balancer sees it and the target does \
        not even see the SYN, a firewall between them answers.\n\n\
        An ICMP error instead of the RST is connect-unreachable; no answer at all is \
        connect-timeout. A RST after SYN-ACK is none of these: something listens, and the \
        connection was thrown away later (for example because the accept queue was full and \
        net.ipv4.tcp_abort_on_overflow is 1).",
    seen_as: &[
        ("AWS ALB", "502, target_status_code -, the three processing times -1"),
        ("HAProxy", "503, termination state SC; check status L4CON"),
        ("nginx", "502, connect() failed (111: Connection refused) while connecting to upstream"),
        ("Envoy", "503, flag UF, reset reason: remote connection failure"),
        ("Apache", "503, AH00957 attempt to connect failed (111)"),
        ("GCP", "502 or 503, failed_to_connect_to_backend"),
        ("Azure", "502; Front Door OriginConnectionRefused"),
    ],
    responsible: Responsible::TargetApp,
    typical_status: Some(502),
    confirm: &[
        "Run ss -ltnp at the target: does the port of the target group appear, and on 0.0.0.0, \
         [::] or the right address",
        "Connect from another host in the load balancer's network: nc -vz <target> <port>",
        "Look at the service's start time and log: systemctl status, journalctl -u <unit>, docker \
         ps, kubectl get pods",
        "List rejecting rules: iptables -S | grep -i reject, nft list ruleset | grep -i reject",
    ],
    fix: &[
        "Start the target's program, or make the target group's port the one that it listens on",
        "Let the program listen on all addresses (0.0.0.0 or [::]) instead of 127.0.0.1, and \
         publish the container's port",
        "During deployments register the target only when it listens, and deregister it before it \
         stops (readiness probe, deregistration delay)",
        "Restart the program automatically when it dies (systemd Restart=on-failure, a restart \
         policy), and find out why it died",
        "Remove the firewall rule that rejects with TCP reset, if the capture at the target shows \
         no SYN",
    ],
    wireshark: &[
        ("tcp.flags.reset == 1 and tcp.seq == 1 and tcp.ack == 1", "RST in answer to a SYN"),
        ("tcp.completeness == 33", "connections of SYN and RST only"),
    ],
    references: &[
        "RFC 9293, 3.5.2 (reset generation): https://www.rfc-editor.org/rfc/rfc9293#section-3.5.2",
        "RFC 9209, 2.3 (proxy error types, connection_refused): \
         https://www.rfc-editor.org/rfc/rfc9209#section-2.3",
        "AWS, troubleshoot your ALB: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html",
        "HAProxy, session state at disconnection (8.5): \
         https://docs.haproxy.org/2.6/configuration.html#8.5",
    ],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    let opening = &case.flow.opening;
    let syn = opening.syn?;
    let only_syn = case.flow.half(Side::Client).distinct() == u64::from(opening.syns);
    if opening.syn_ack.is_some() || !only_syn {
        return None; // it had been open
    }
    let reset = case.closed_by_server().filter(|close| close.kind == EndingKind::Rst)?;
    Some(Verdict {
        confidence: Confidence::Certain,
        evidence: vec![
            case.ending(reset, phrase!("RST in answer to SYN")),
            Evidence {
                mark: syn,
                side: Side::Client,
                what: What::Syn,
                note: phrase!("the load balancer tries to connect"),
            },
        ],
        summary: phrase!(
            "{server} refused the connection {after} after SYN",
            server = case.flow.server.socket(),
            after = span(reset.mark.at.nanos_since(syn.at))
        ),
        responsible: None,
    })
}

#[cfg(test)]
mod tests {
    use crate::cause::fixture::{MS, Scene, mark};

    #[test]
    fn a_reset_answers_the_syn() {
        assert_eq!(Scene::syn().target_rst(MS, 0).cause(), Some("connect-refused"));
    }

    #[test]
    fn a_reset_after_syn_ack_is_no_refusal() {
        let scene = Scene::syn()
            .with(|scene| scene.flow.opening.syn_ack = Some(mark(MS)))
            .target_rst(2 * MS, 0);
        assert!(scene.rule("connect-refused").is_none());
    }
}
