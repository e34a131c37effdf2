//! the TLS handshake between load balancer and target was broken off.

use super::handshake::Attempt;
use super::{Case, Cause, Evidence, Responsible, Verdict, What};
use crate::flow::EndingKind;
use crate::phrase;
use crate::tcp::Side;
use crate::tls::version_name;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "tls-handshake-failed",
    summary: "the TLS handshake between load balancer and target was broken off",
    explanation: "\
        The TCP connection was open, the load balancer sent its ClientHello, and before the \
        handshake was over one of the two ended it: with an alert that says why, or just with \
        FIN or RST. No request was sent on it.\n\n\
        Who ended it, and with which alert, tells most. Alerts of the target: 70 \
        protocol_version (no TLS version in common: compare what both hellos offer), 40 \
        handshake_failure (no cipher suite, curve or signature in common; older servers also \
        say it for a missing client certificate), 112 unrecognized_name (it serves no such name, \
        or wants one), 116 certificate_required. Alerts of the load balancer are about the \
        target's certificate: 45 certificate_expired, 48 unknown_ca, 42 bad_certificate (often \
        a name that does not fit), 46 certificate_unknown. Alert 80 internal_error and a bare \
        FIN or RST come from a program in trouble, or from a port that speaks no TLS at all.\n\n\
        TLS 1.3 encrypts everything behind the hellos, alerts included. A load balancer that \
        refuses the certificate then shows as one short encrypted record instead of its \
        Finished. A target that demands a client certificate even lets the load balancer \
        complete the handshake and send its request: the answer to it is the encrypted alert.\n\n\
        If nobody ended it and time ran out, it is tls-handshake-timeout; if the answer to the \
        ClientHello is plain text, protocol-mismatch; if the ClientHello or the certificate \
        never arrives, request-unacked or mtu-blackhole.",
    seen_as: &[
        ("AWS ALB", "502"),
        (
            "HAProxy",
            "503, termination state SC (SH when the request had been sent); check status L6RSP",
        ),
        (
            "nginx",
            "502, SSL_do_handshake() failed; peer closed connection in SSL handshake; upstream SSL \
             certificate verify error; SSL_read() failed for a missing client certificate",
        ),
        ("Envoy", "503, flag UF, TLS_error"),
        ("Apache", "500 (AH00898), 502 for a missing client certificate"),
        (
            "GCP",
            "502, ssl_certificate_san_verification_failed, ssl_certificate_chain_verification_failed, \
             failed_to_negotiate_alpn",
        ),
        ("Azure", "502; Front Door SSLHandshakeError, CertificateNameCheckFailed"),
        ("Cloudflare", "525; 526 for the certificate"),
    ],
    responsible: Responsible::Configuration,
    typical_status: Some(502),
    confirm: &[
        "Make the same handshake by hand: openssl s_client -connect <target>:<port> -servername \
         <name>; add -tls1_2 or -tls1_3 to compare versions",
        "Without -servername: does the target answer a client that names no server",
        "Look at the certificate: openssl s_client ... | openssl x509 -noout -subject -issuer -dates",
        "Read the load balancer's error log at that time: it says what its own alert meant",
    ],
    fix: &[
        "Make both sides agree: a TLS version and cipher suite in common, a certificate that is valid \
         and trusted, the name that the target serves",
        "Versions and ciphers: ssl_protocols and ssl_ciphers in nginx (proxy_ssl_* for its own \
         hello), ssl-min-ver and ciphers in HAProxy; the target side of AWS load balancers is fixed, \
         so the target has to offer what they speak",
        "Renew an expired certificate; add the issuing authority where the load balancer verifies \
         (proxy_ssl_trusted_certificate, ca-file, trusted_ca). AWS load balancers do not verify",
        "Send the name: proxy_ssl_server_name on and proxy_ssl_name in nginx, sni in HAProxy and Envoy",
        "Where the target wants a client certificate, give the load balancer one, or do not demand it \
         from it: an ALB can present none",
    ],
    wireshark: &[
        ("tls.alert_message", "alerts in clear: level and description"),
        ("tls.handshake.type == 1 or tls.handshake.type == 2", "what the hellos offer and choose"),
        ("tcp.flags.reset == 1 or tcp.flags.fin == 1", "who closed, and when"),
    ],
    references: &[
        "RFC 8446, 6 (alert protocol): https://www.rfc-editor.org/rfc/rfc8446#section-6",
        "RFC 8446, 4.4.2.4 (what follows an empty client certificate): \
         https://www.rfc-editor.org/rfc/rfc8446#section-4.4.2.4",
        "RFC 5246, 7.4 (handshake of TLS 1.2): https://www.rfc-editor.org/rfc/rfc5246#section-7.4",
        "AWS, troubleshoot your ALB: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html",
        "nginx, proxy module: https://nginx.org/en/docs/http/ngx_http_proxy_module.html",
    ],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    let attempt = Attempt::of(case)?;
    let failure = match case.exchange {
        Some(exchange) => {
            // Only the very first request tells of the handshake before it.
            let first = exchange.ordinal == 1 && case.flow.responses == 0;
            let request = case.unanswered().filter(|_| first)?;
            attempt.refused().or_else(|| attempt.crossed(request.start))?
        }
        None => {
            let close = case.close();
            if close.is_some_and(|close| close.kind == EndingKind::Rst && case.foreign(close)) {
                return None; // injected-reset
            }
            attempt.broken().or_else(|| attempt.refused().filter(|_| attempt.tls.turns == 0))?
        }
    };
    let mut verdict = Verdict::from(failure);
    verdict.evidence.extend(spoken_elsewhere(case));
    Some(verdict)
}

/// Where no version is in common: which one the target speaks on another connection.
fn spoken_elsewhere(case: &Case<'_>) -> Option<Evidence> {
    case.handshaking().filter(|tls| tls.has_no_version_in_common())?;
    let (mark, version) = case.wider.version(case.flow.server)?;
    let note = phrase!(
        "on another connection the target chooses {version}",
        version = version_name(version)
    );
    Some(Evidence { mark, side: Side::Server, what: What::TlsHello, note })
}

#[cfg(test)]
mod tests {
    use crate::blind::BlindSpot;
    use crate::cause::Confidence;
    use crate::cause::fixture::{ASKED, HELLO, MS, S, Scene, mark};
    use crate::flow::EndingKind::{Fin, Rst};
    use crate::tcp::Side::Server;
    use crate::tls::ClientCertificate;

    /// A first request in TLS 1.3, behind a handshake that the load balancer took for complete.
    fn asked(empty: bool) -> Scene {
        Scene::asked_first().with(|scene| {
            scene.exchange().blind_spots.add(BlindSpot::Encrypted);
            let done = mark(ASKED - MS);
            let hello = crate::tls::ServerHello { version: 0x0304, ..Default::default() };
            let tls = scene.tls();
            (tls.established, tls.server_hello, tls.turns) = (Some(done), Some(hello), 1);
            tls.client_certificate = Some(ClientCertificate { mark: done, empty });
        })
    }

    #[test]
    fn a_server_that_answers_the_request_with_an_alert_wants_a_client_certificate() {
        for (empty, words) in [(true, "demands a client certificate"), (false, "refuses")] {
            let scene = asked(empty).secret_alert(Server, ASKED + 50 * MS);
            let scene = scene.target_rst(ASKED + 51 * MS, 300);
            assert_eq!(scene.cause(), Some("tls-handshake-failed"));
            let verdict = scene.rule("tls-handshake-failed").expect("it fits");
            assert_eq!(verdict.confidence, Confidence::Likely);
            assert!(verdict.summary.contains(words), "{}", verdict.summary);
        }
        let idle = asked(true).secret_alert(Server, ASKED + 5 * S).target_fin(ASKED + 5 * S, 300);
        assert_eq!(idle.cause(), Some("target-fin-no-response"), "it had time to think");
        let plain = asked(true)
            .with(|scene| scene.tls().client_certificate = None)
            .secret_alert(Server, ASKED + 50 * MS)
            .target_rst(ASKED + 51 * MS, 300);
        assert_eq!(plain.cause(), Some("target-rst-no-response"));
    }

    #[test]
    fn a_close_that_crosses_the_end_of_the_handshake_and_the_request() {
        let scene = asked(true).with(|scene| scene.tls().client_certificate = None);
        let crossed = scene.target_fin(ASKED + MS, 20);
        assert_eq!(crossed.cause(), Some("tls-handshake-failed"));
    }

    #[test]
    fn a_reset_of_another_host_is_injected() {
        let alien = |scene: Scene| scene.with(|scene| scene.flow.endings[0].ttl = 250);
        let scene = alien(Scene::hello().close(Server, Rst, HELLO + 50 * MS, Some(300)));
        assert_eq!(scene.cause(), Some("injected-reset"));
        let own = alien(Scene::hello().close(Server, Fin, HELLO + 50 * MS, Some(300)));
        assert_eq!(own.cause(), Some("tls-handshake-failed"));
    }
}
