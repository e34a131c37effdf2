//! the target reset (RST) after the whole request without one byte of response.

use super::target_fin_no_response::closed_without_a_byte;
use super::{Case, Cause, Responsible, Verdict};
use crate::flow::EndingKind;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "target-rst-no-response",
    summary: "the target reset (RST) after the whole request without one byte of response",
    explanation: "\
        The request reached the target and was answered with RST instead of a response. A RST \
        with ACK flag that covers the request means that a live socket was aborted: either its \
        owner or the kernel on the owner's behalf threw the connection away.\n\n\
        On Linux there are three usual ways to get there. The program closed the socket while \
        request bytes were still unread in it: TCP must report that data was lost, so the \
        kernel sends RST in place of FIN. The process died while the connection waited in its \
        accept queue, request and all: the kernel had acknowledged the request, but no program \
        ever saw it. Or the program closed with SO_LINGER set to 0 seconds, which asks for \
        RST. All three send the same RST,ACK.\n\n\
        Captures at the load balancer and at the target look alike, with one trap: a RST is \
        sent once and is never repeated. If it is lost, the target's capture shows RST and the \
        load balancer's shows silence and a time-out.\n\n\
        Neighbours: with FIN instead of RST it is target-fin-no-response. A RST without ACK \
        flag on a reused connection comes from a host that knows no such connection: \
        stale-flow-reset, or keepalive-race when a FIN came before it. A RST whose time to \
        live does not fit the target is injected-reset. When request bytes were still on their \
        way, it is target-closed-during-request.",
    seen_as: &[
        ("AWS ALB", "502, target_status_code -"),
        ("HAProxy", "502, termination state SH"),
        (
            "nginx",
            "502, recv() failed (104: Connection reset by peer) while reading response header \
             from upstream; over TLS it says prematurely closed instead",
        ),
        ("Envoy", "503, flag UC"),
        ("Apache", "502, AH01102 (104)"),
        ("GCP", "502 or 503, backend_connection_closed_before_data_sent_to_client"),
        ("Azure", "502, ERRORINFO_UPSTREAM_CLOSED_CONNECTION; Front Door OriginConnectionAborted"),
    ],
    responsible: Responsible::TargetApp,
    typical_status: Some(502),
    confirm: &[
        "Look for the request in the application's log: no line at all means that it was never \
         accepted or read",
        "Run nstat -az TcpExtListenOverflows TcpExtListenDrops TcpExtTCPAbortOnData \
         TcpExtTCPAbortOnClose twice and compare",
        "Run ss -ltn and compare Recv-Q (waiting) with Send-Q (limit) of the listening socket",
        "Run journalctl -k | grep -iE 'oom|killed process|segfault' for the time of the RST",
    ],
    fix: &[
        "Read the target's log at this time: the process closed the socket with the request \
         unread (crash, restart, accept queue, SO_LINGER 0)",
        "If connections die in the accept queue, add workers, and let a stopping process accept \
         and answer what is queued before it closes its listening socket",
        "If the program rejects requests early, let it read the whole request, or shut down its \
         sending side and drain, before it closes",
        "Remove SO_LINGER with time 0 from the server's sockets",
        "Restart gracefully: stop the load balancer from sending first (deregister, fail the \
         readiness check), then stop the process",
    ],
    wireshark: &[
        ("http.request and !http.response_in", "requests without a response"),
        ("tcp.flags.reset == 1", "RSTs"),
    ],
    references: &[
        "RFC 9293, 3.6.1 (close with unread data sends RST): \
         https://www.rfc-editor.org/rfc/rfc9293#section-3.6.1",
        "RFC 9293, 3.5.3 (reset processing): https://www.rfc-editor.org/rfc/rfc9293#section-3.5.3",
        "RFC 9112, 9.6 (tear-down): https://www.rfc-editor.org/rfc/rfc9112#section-9.6",
        "Linux, listen(2): https://man7.org/linux/man-pages/man2/listen.2.html",
        "AWS, troubleshoot your ALB: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html",
        "HAProxy, session state at disconnection (8.5): \
         https://docs.haproxy.org/2.6/configuration.html#8.5",
    ],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    closed_without_a_byte(case, EndingKind::Rst)
}

#[cfg(test)]
mod tests {
    use crate::cause::Confidence;
    use crate::cause::fixture::{ASKED, END, MS, Scene};
    use crate::flow::Grade;

    #[test]
    fn a_reset_that_covers_the_request() {
        let scene = Scene::asked().target_rst(ASKED + 5 * MS, END);
        assert_eq!(scene.cause(), Some("target-rst-no-response"));
        let verdict = scene.rule("target-rst-no-response").expect("it fits");
        assert_eq!(verdict.confidence, Confidence::Certain);
    }

    #[test]
    fn a_reset_without_ack_on_a_reused_connection_is_stale() {
        assert_eq!(Scene::asked().bare_rst(ASKED + 5 * MS).cause(), Some("stale-flow-reset"));
    }

    #[test]
    fn a_reset_that_the_load_balancer_ignores_ends_nothing() {
        let scene = Scene::asked()
            .target_rst(ASKED + 5 * MS, END)
            .with(|scene| scene.flow.endings[0].grade = Grade::Outside);
        assert!(scene.rule("target-rst-no-response").is_none());
    }
}
