//! the request was sent again and again and never acknowledged.

use super::case::span;
use super::{Case, Cause, Confidence, Evidence, Responsible, Verdict, What};
use crate::flow::{EndingKind, Vantage};
use crate::tcp::Side;
use crate::{phrase, word};

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "request-unacked",
    summary: "the request was sent again and again and never acknowledged",
    explanation: "\
        The connection was open, the load balancer sent the request, and no acknowledgment \
        ever came. It repeated the segment with growing pauses until its time-out and gave up. \
        A live target acknowledges within a round trip and a fraction of a second, even if its \
        program is busy, so here packets are lost or the host is gone.\n\n\
        Captured at the load balancer there are the request and its repetitions and silence. \
        The target's capture decides: if nothing arrives, something on the path drops this \
        flow (an idle NAT or connection-tracking entry that expired without a RST, a changed \
        security group or firewall rule, a broken route); if the request arrives and no ACK \
        leaves, the host drops it (firewall rule for invalid packets, wrong checksum) or its \
        answer is lost later (return-path-blocked).\n\n\
        If the same idle device answers with RST it is stale-flow-reset or l4-lb-reset. If \
        small segments pass and only full-size ones are repeated, it is mtu-blackhole. If the \
        request was acknowledged and the answer does not come, it is response-timeout. If the \
        window is 0, target-not-reading.",
    seen_as: &[
        ("AWS ALB", "504"),
        ("HAProxy", "504, termination state sH"),
        (
            "nginx",
            "504, upstream timed out (110: Connection timed out) while reading response header \
             from upstream",
        ),
        ("Envoy", "504, flag UT"),
        ("Apache", "502 (70007)"),
        ("GCP", "502 or 503, backend_timeout"),
        ("Azure", "504 (v1: 502), ERRORINFO_UPSTREAM_TIMED_OUT"),
    ],
    responsible: Responsible::Unknown,
    typical_status: Some(504),
    confirm: &[
        "Capture at the target: does the request arrive there, and does an ACK leave",
        "Compare the idle time before the request: all above one value means an entry that \
         expired (350 s: NAT gateway or NLB)",
        "Look for a full table or invalid packets: journalctl -k | grep nf_conntrack, conntrack \
         -S, nstat -az TcpInCsumErrors",
        "Compare the time with changes of security groups, network ACLs and routes, and with the \
         death of the host",
    ],
    fix: &[
        "Find what drops packets of this flow (expired NAT or conntrack entry, changed rule or \
         route, dead host) with a capture at the target",
        "Close idle connections, or send TCP keep-alives, sooner than the shortest idle time-out \
         on the path",
        "Raise net.netfilter.nf_conntrack_max where the table was full",
        "Set the proxy's connect and read time-outs so that a dead host is noticed in seconds, \
         and let health checks take it out",
        "Change firewall rules in a way that keeps established connections (AWS security groups: \
         some changes end tracked flows)",
    ],
    wireshark: &[
        ("tcp.analysis.retransmission", "what was repeated"),
        ("tcp.analysis.rto > 1", "long waits for an acknowledgment"),
    ],
    references: &[
        "RFC 9293, 3.8.1 (retransmission time-out): \
         https://www.rfc-editor.org/rfc/rfc9293#section-3.8.1",
        "RFC 9293, 3.8.3 (connection failures): \
         https://www.rfc-editor.org/rfc/rfc9293#section-3.8.3",
        "RFC 6298, 5 (managing the timer): https://www.rfc-editor.org/rfc/rfc6298#section-5",
        "AWS, security group connection tracking: \
         https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/security-group-connection-tracking.html",
        "AWS, troubleshoot your ALB: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html",
    ],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    // A ClientHello that is never acknowledged shows the same.
    let (first, bytes, what) = match (case.handshaking(), case.unanswered()) {
        (Some(_), _) => {
            let sent = case.flow.half(Side::Client).sent;
            (case.flow.opening.asked?, 0..sent, word!("ClientHello"))
        }
        (None, Some(request)) => (request.first, request.start..request.end, case.what_was_asked()),
        (None, None) => return None,
    };
    if case.closed_by_server().is_some() {
        return None;
    }
    // One repetition is enough when the load balancer gives up on it.
    let client = case.flow.half(Side::Client);
    let lost = case.flow.lost(Side::Client).or_else(|| {
        let lost = client.trouble().retransmission.filter(|lost| lost.offset >= client.acked);
        lost.filter(|_| case.closed_by_client().is_some())
    });
    let unheard = case.unheard();
    let lost = lost.or_else(|| client.trouble().retransmission.filter(|_| unheard))?;
    // What came before the request and was lost with it may be repeated in the same segment.
    let within = lost.offset < bytes.end && lost.offset + u64::from(lost.len) > bytes.start;
    if !within || (client.acked > bytes.start && !unheard) {
        return None;
    }
    let until = case.closed_by_client().map_or(case.flow.last, |close| close.mark);
    let times = lost.times + 1;
    let mut evidence = vec![
        Evidence {
            mark: lost.mark,
            side: Side::Client,
            what: What::Retransmission,
            note: if unheard {
                phrase!("sent {times} times without an acknowledgment", times)
            } else {
                phrase!("sent {times} times, never acknowledged", times)
            },
        },
        case.silence(
            Side::Server,
            first,
            if unheard { word!("nothing came back in time") } else { word!("nothing came back") },
        ),
    ];
    evidence.extend(
        case.asked(phrase!("the request")).or_else(|| case.greeted(phrase!("the ClientHello"))),
    );
    if let Some(close) = case.closed_by_client() {
        evidence.push(case.ending(
            close,
            match (unheard, close.kind) {
                (true, EndingKind::Rst) => {
                    word!("answers what came at last: the load balancer has no such connection any more")
                }
                (true, EndingKind::Fin) => {
                    word!("had to wait for the acknowledgment: the load balancer had given up before")
                }
                (false, _) => word!("the load balancer gives up"),
            },
        ));
    }
    let waited = span(until.at.nanos_since(first.at).max(0));
    Some(Verdict {
        confidence: if lost.times > 1 && !unheard {
            Confidence::Certain
        } else {
            Confidence::Likely
        },
        evidence,
        summary: if unheard {
            phrase!(
                "the {what} was sent {times} times and received after {waited}, when the load balancer had \
                 given up",
                what,
                times,
                waited
            )
        } else {
            phrase!(
                "the {what} was sent {times} times within {waited} and never acknowledged",
                what,
                times,
                waited
            )
        },
        responsible: (case.vantage() == Vantage::Server).then_some(Responsible::TargetHost),
    })
}

#[cfg(test)]
mod tests {
    use super::EndingKind;
    use crate::cause::fixture::{ASKED, END, MS, S, START, Scene};
    use crate::tcp::Side;

    #[test]
    fn a_request_repeated_in_vain() {
        let scene = Scene::asked()
            .repeated(Side::Client, START, 200, 5)
            .balancer_fin(ASKED + 60 * S, 60 * S);
        assert_eq!(scene.cause(), Some("request-unacked"));
    }

    #[test]
    fn an_answer_that_meets_no_connection_any_more_came_too_late() {
        let scene = |times| {
            Scene::answered(200)
                .repeated(Side::Client, START, 200, times)
                .close(Side::Client, EndingKind::Rst, ASKED + 11 * MS, None)
                .with(|scene| scene.flow.half_mut(Side::Client).acked = END)
        };
        assert_eq!(scene(7).cause(), Some("request-unacked"));
        assert_eq!(scene(1).cause(), None, "one repetition is common");
        let heard = scene(7).with(|scene| scene.flow.half_mut(Side::Server).acked = 680);
        assert_eq!(heard.cause(), None, "the load balancer has taken some of it");
    }

    #[test]
    fn a_fin_that_waited_for_the_acknowledgment_tells_no_patience() {
        // The repetition that got through left a second after the request.
        let scene = |after| {
            Scene::asked()
                .repeated(Side::Client, START, 200, 3)
                .close(Side::Client, EndingKind::Fin, ASKED + S + after, Some(500))
                .with(|scene| scene.flow.half_mut(Side::Client).acked = END)
        };
        assert_eq!(scene(3 * MS).cause(), Some("request-unacked"));
        assert_ne!(scene(300 * MS).cause(), Some("request-unacked"));
    }

    #[test]
    fn an_acknowledged_request_is_waited_for() {
        let scene = Scene::asked().balancer_fin(ASKED + 60 * S, 60 * S);
        assert!(scene.rule("request-unacked").is_none());
        assert_eq!(scene.cause(), Some("response-timeout"));
    }
}
