//! nothing listens on the target's port: it answered SYN with RST.

use super::case::span;
use super::injected_reset::other_ttl;
use super::{Case, Cause, Confidence, Responsible, Verdict};
use crate::phrase;

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
        not even see the SYN, a firewall between them answers. One hint is a time to live that \
        the other packets of that host do not have; but a host that forwards to a container \
        refuses with another one, too. A RST in a fraction of the round trip is not the \
        target's: injected-reset.\n\n\
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
    let reset = case.refusal()?;
    let syn = case.flow.opening.syn?;
    let (server, after) = (case.flow.server.socket(), span(reset.mark.at.nanos_since(syn.at)));
    let mut verdict = Verdict {
        confidence: Confidence::Certain,
        evidence: vec![case.ending(reset, phrase!("RST in answer to SYN"))],
        summary: phrase!("{server} refused the connection {after} after SYN", server, after),
        responsible: None,
    };
    if case.not_passed_on() {
        verdict.confidence = Confidence::Likely;
        verdict.summary = phrase!(
            "{told}; the host that captured passes on other connections to it, and answered this one itself",
            told = verdict.summary
        );
        verdict.responsible = Some(Responsible::Network);
    } else if case.alien(reset) {
        let note = other_ttl(case, reset);
        verdict.confidence = Confidence::Likely;
        verdict.evidence[0].note = phrase!("RST in answer to SYN, {note}", note);
        verdict.summary = phrase!(
            "{told}; perhaps a device on the way did, or the host that forwards to the target: {note}",
            told = verdict.summary,
            note = other_ttl(case, reset)
        );
        verdict.responsible = Some(Responsible::Unknown);
    }
    verdict.evidence.extend(case.called(phrase!("the load balancer tries to connect")));
    Some(verdict)
}

#[cfg(test)]
mod tests {
    use crate::cause::fixture::{MS, Scene, TTL, mark};
    use crate::cause::{Confidence, Responsible};
    use crate::flow::Vantage;
    use crate::tcp::Side;

    #[test]
    fn a_reset_answers_the_syn() {
        assert_eq!(Scene::syn().target_rst(MS, 0).cause(), Some("connect-refused"));
    }

    /// A refusal after other connections, whose SYN-ACKs took 10 ms each.
    fn refused(after: i64, ttl: u8) -> Scene {
        let mut scene = Scene::syn().target_rst(after, 0);
        scene.flow.endings[0].ttl = ttl;
        for _ in 0..3 {
            let mut flow = Scene::asked().flow;
            flow.opening.syn_ack = Some(mark(10 * MS));
            flow.half_mut(Side::Server).ttl = TTL - 1;
            scene.wider.learn(&flow, 0, false);
        }
        scene
    }

    #[test]
    fn a_reset_that_has_passed_no_router_may_be_of_a_device_on_the_way() {
        let verdict = |ttl| refused(10 * MS, ttl).rule("connect-refused").unwrap();
        let (same, nearer) = (verdict(TTL - 1), verdict(TTL));
        assert_eq!((same.confidence, same.responsible), (Confidence::Certain, None));
        assert_eq!(nearer.confidence, Confidence::Likely);
        assert_eq!(nearer.responsible, Some(Responsible::Unknown));
        assert_eq!(verdict(TTL - 2).confidence, Confidence::Certain, "routes differ by a hop");
    }

    #[test]
    fn a_host_that_passes_others_on_refused_this_one_itself() {
        let mut scene = Scene::syn().target_rst(MS, 0);
        scene.flow.vantage = Vantage::Server;
        scene.wider.learn_forwarded(scene.flow.server);
        let verdict = scene.rule("connect-refused").unwrap();
        assert_eq!(verdict.responsible, Some(Responsible::Network));
        assert_eq!(verdict.confidence, Confidence::Likely);
    }

    #[test]
    fn a_reset_in_a_part_of_the_round_trip_is_not_the_target_s() {
        assert_eq!(refused(MS, TTL - 1).cause(), Some("injected-reset"));
        assert_eq!(refused(6 * MS, TTL - 1).cause(), Some("connect-refused"));
    }

    #[test]
    fn a_reset_after_syn_ack_is_no_refusal() {
        let scene = Scene::syn()
            .with(|scene| scene.flow.opening.syn_ack = Some(mark(MS)))
            .target_rst(2 * MS, 0);
        assert!(scene.rule("connect-refused").is_none());
    }
}
