//! the TLS handshake between load balancer and target did not end in time.

use super::handshake::Attempt;
use super::{Case, Cause, Responsible, Verdict};

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "tls-handshake-timeout",
    summary: "the TLS handshake between load balancer and target did not end in time",
    explanation: "\
        The TCP connection was open and the load balancer's ClientHello was acknowledged. Then \
        the handshake stopped: nothing came, or not all of it, until one side gave up, mostly \
        the load balancer after its connect time-out (10 s at an ALB).\n\n\
        The acknowledgment comes from the target's kernel, so the host is up and the path works. \
        The program behind it did not answer: it is stuck or overloaded, all its workers are \
        busy, the connection waits in the accept queue, or it speaks a protocol in which the \
        server waits for the client to say more.\n\n\
        If the ClientHello or the target's certificate was repeated and never acknowledged, it is \
        request-unacked or mtu-blackhole. If somebody ended the handshake at once, it is \
        tls-handshake-failed.",
    seen_as: &[
        ("AWS ALB", "504 (the TLS handshake counts into its connect time of 10 s)"),
        ("HAProxy", "503, termination state sC; check status L6TOUT"),
        (
            "nginx",
            "504, upstream timed out (110: Connection timed out) while SSL handshaking to upstream",
        ),
        ("Envoy", "503, flag UF, connection_timeout"),
        ("Apache", "500"),
        ("GCP", "502, failed_to_connect_to_backend"),
    ],
    responsible: Responsible::TargetApp,
    typical_status: Some(504),
    confirm: &[
        "Time a handshake on the target itself: curl -vk -w '%{time_appconnect}' \
         https://127.0.0.1:<port>/",
        "Look whether the program accepts at all: ss -ltn (Recv-Q is the length of the accept queue)",
        "Look at what its workers did at that time, and at the processor: handshakes cost more than \
         requests",
        "Ask the port in clear, too: curl -v http://<target>:<port>/ answers if it speaks no TLS",
    ],
    fix: &[
        "Find out why the program does not answer hellos: stuck or too few workers, a full accept \
         queue, a port that speaks no TLS",
        "Give it processor time for handshakes, or fewer of them: keep-alive to the target and session \
         resumption",
        "If it is only slow, lengthen the load balancer's connect time-out (timeout connect in \
         HAProxy, proxy_connect_timeout in nginx, connect_timeout in Envoy; an ALB's is fixed)",
    ],
    wireshark: &[
        ("tls.handshake.type == 1", "ClientHellos: does an answer follow in the stream?"),
        ("tcp.flags.reset == 1 or tcp.flags.fin == 1", "who gave up, and when"),
    ],
    references: &[
        "RFC 8446, 4.1 (the hellos): https://www.rfc-editor.org/rfc/rfc8446#section-4.1",
        "AWS, troubleshoot your ALB: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html",
        "nginx, proxy module: https://nginx.org/en/docs/http/ngx_http_proxy_module.html",
        "HAProxy configuration manual, timeout connect: \
         https://docs.haproxy.org/2.6/configuration.html",
    ],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    if case.exchange.is_some() {
        return None;
    }
    Some(Attempt::of(case)?.stalled()?.into())
}

#[cfg(test)]
mod tests {
    use crate::cause::fixture::{ASKED, HELLO, S, Scene};
    use crate::flow::EndingKind::Rst;
    use crate::tcp::Side::{Client, Server};

    #[test]
    fn a_target_that_never_answers_the_hello() {
        let scene = Scene::hello().close(Client, Rst, HELLO + 3 * S, Some(0));
        assert_eq!(scene.cause(), Some("tls-handshake-timeout"));
        let verdict = scene.rule("tls-handshake-timeout").expect("it fits");
        assert!(verdict.summary.contains("gave up after 3.00 s"), "{}", verdict.summary);
    }

    #[test]
    fn only_a_close_shows_that_somebody_gave_up() {
        assert_eq!(Scene::hello().cause(), None);
        let target = Scene::hello().close(Server, Rst, HELLO + 3 * S, Some(300));
        assert_eq!(target.cause(), Some("tls-handshake-failed"));
        let request = Scene::asked().balancer_fin(ASKED + 60 * S, 60 * S);
        assert!(request.rule("tls-handshake-timeout").is_none());
    }
}
