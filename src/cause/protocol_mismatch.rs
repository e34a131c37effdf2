//! the target speaks another protocol on this port.

use super::{Case, Cause, Confidence, Evidence, Responsible, Verdict, What};
use crate::http::FaultKind;
use crate::tcp::Side;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "protocol-mismatch",
    summary: "the target speaks another protocol on this port",
    explanation: "\
        The load balancer sent a plain HTTP/1 request, and the target answered in another \
        language: a TLS record (mostly the 7 bytes of an alert) or HTTP/2 frames. The port is \
        right and something listens, but the protocol set in the load balancer does not fit \
        it.\n\n\
        A TLS server reads \"GET /\" as a TLS record that makes no sense and sends a \
        clear-text alert, or resets. A server that speaks only HTTP/2 with prior knowledge \
        (many gRPC servers) starts with its own SETTINGS frame. The bytes prove it and look \
        the same at both ends: 15 03 is a TLS alert, 00 00 .. 04 the beginning of SETTINGS.\n\n\
        Not every server answers so clearly. nginx replies to plain HTTP on a TLS port with a \
        valid 400 (\"The plain HTTP request was sent to HTTPS port\"), which load balancers \
        pass on; OpenSSL-based servers may just reset, which looks like target-rst-no-response \
        on every single request. Other junk instead of HTTP is response-malformed.",
    seen_as: &[
        ("AWS ALB", "502"),
        (
            "HAProxy",
            "502, termination state PH (SH when the target resets); check status L6RSP or L7RSP",
        ),
        (
            "nginx",
            "009, the alert passed on as HTTP/0.9; or 502, recv() failed (104: Connection reset \
             by peer)",
        ),
        ("Envoy", "502, flag UPE; 503, flag UC when the target resets"),
        ("Apache", "502"),
        ("Azure", "Front Door OriginInvalidResponse"),
    ],
    responsible: Responsible::Configuration,
    typical_status: Some(502),
    confirm: &[
        "Ask the port in both ways: curl -v http://<target>:<port>/ and curl -vk \
         https://<target>:<port>/",
        "For HTTP/2 and gRPC: curl -v --http2-prior-knowledge http://<target>:<port>/",
        "Run openssl s_client -connect <target>:<port>: it prints a certificate if the port \
         speaks TLS",
        "Compare with the target group's protocol, protocol version and port",
    ],
    fix: &[
        "Set the target group's protocol to what the port speaks (HTTP, HTTPS, HTTP2 or gRPC), or \
         point it at the port that speaks HTTP",
        "In nginx use proxy_pass https://..., or grpc_pass grpc:// for gRPC; in HAProxy add ssl \
         (or proto h2) to the server line; in Envoy add a TLS transport_socket",
        "On an ALB choose the target group's protocol version (HTTP1, HTTP2, GRPC) to fit: it \
         cannot be changed later, create a new group",
        "Give the health check the same protocol as the traffic, so that the mismatch shows \
         before users see it",
    ],
    wireshark: &[
        ("tls.handshake.type == 1 or http.request", "what the client speaks"),
        ("tls.alert_message or http.response.code == 400", "how the server objects"),
    ],
    references: &[
        "RFC 9113, 3.4 (HTTP/2 connection preface): \
         https://www.rfc-editor.org/rfc/rfc9113#section-3.4",
        "RFC 8446, 6 (TLS alert protocol): https://www.rfc-editor.org/rfc/rfc8446#section-6",
        "RFC 9112, 4 (status line): https://www.rfc-editor.org/rfc/rfc9112#section-4",
        "AWS, troubleshoot your ALB: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html",
        "nginx, proxy module: https://nginx.org/en/docs/http/ngx_http_proxy_module.html",
    ],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    let fault = case.response()?.fault.as_ref()?;
    if !matches!(fault.kind, FaultKind::Tls | FaultKind::Http2) {
        return None;
    }
    Some(Verdict {
        confidence: Confidence::Certain,
        evidence: [
            Some(Evidence {
                mark: fault.mark,
                side: Side::Server,
                what: if fault.kind == FaultKind::Tls { What::TlsAlert } else { What::Response },
                note: format!("{}: {}", fault.kind.what(), fault.sample),
            }),
            case.asked("the request in plain HTTP/1"),
        ]
        .into_iter()
        .flatten()
        .collect(),
        summary: format!("the target answered a plain HTTP/1 request with {}", fault.kind.what()),
        responsible: None,
    })
}

#[cfg(test)]
mod tests {
    use crate::cause::fixture::Scene;
    use crate::http::FaultKind;

    #[test]
    fn tls_or_http2_bytes_answer_plain_http() {
        for kind in [FaultKind::Tls, FaultKind::Http2] {
            assert_eq!(Scene::answered_in_part().fault(kind).cause(), Some("protocol-mismatch"));
        }
    }

    #[test]
    fn other_junk_is_no_protocol() {
        let scene = Scene::answered_in_part().fault(FaultKind::NotHttp);
        assert!(scene.rule("protocol-mismatch").is_none());
    }
}
