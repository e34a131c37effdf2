//! the target speaks another protocol on this port.

use super::handshake::Attempt;
use super::wider::Language;
use super::{Case, Cause, Confidence, Coverage, Evidence, Responsible, Verdict, What};
use crate::http::{FaultKind, RequestHead, Response};
use crate::tcp::Side;
use crate::{phrase, word};
use memchr::memmem;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "protocol-mismatch",
    summary: "the target speaks another protocol on this port",
    explanation: "\
        The load balancer spoke one language and the target answered in another: plain HTTP/1 \
        was answered by a TLS record (mostly the 7 bytes of an alert) or HTTP/2 frames, a TLS \
        ClientHello by plain text (\"HTTP/1.1 400 Bad Request\"), the preface of HTTP/2 by \
        HTTP/1, or a PROXY protocol header (which a load balancer writes before the first \
        request to tell the client's address) by a 400 or a close. The port is right and something listens, but the protocol set in the load \
        balancer does not fit it.\n\n\
        A TLS server reads \"GET /\" as a TLS record that makes no sense and sends a \
        clear-text alert, or resets. A server that speaks only HTTP/2 with prior knowledge \
        (many gRPC servers) starts with its own SETTINGS frame. The bytes prove it and look \
        the same at both ends: 15 03 is a TLS alert, 00 00 .. 04 the beginning of SETTINGS.\n\n\
        nginx, Apache, Tomcat and Go programs reply to plain HTTP on a TLS port with a valid 400 that says so (\"The \
        plain HTTP request was sent to HTTPS port\") and close, which load balancers pass on: likely, as a server behind the \
        target may have written it. Not every server answers so clearly: OpenSSL-based ones may just \
        reset, which looks like target-rst-no-response \
        on every single request, or tls-handshake-failed the other way round. Then other \
        connections decide: if the same port speaks TLS there and nothing else, this is likely \
        the cause. A PROXY header that is missing or not \
        known may also end as a 400 after the request, which is passed on, or as \
        target-fin-no-response on the first request of every connection (nginx logs a broken \
        header); where others are answered only with, or only without, that header, it is likely \
        this. \
        Other junk instead of HTTP is response-malformed.",
    seen_as: &[
        ("AWS ALB", "502"),
        (
            "HAProxy",
            "502, termination state PH (SH when the target resets); check status L6RSP or L7RSP",
        ),
        (
            "nginx",
            "009, the alert passed on as HTTP/0.9; or 502, recv() failed (104: Connection reset \
             by peer); TLS to a plain port: 502, SSL_do_handshake() failed, wrong version number",
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
        "Set the target group's protocol to what the port speaks (HTTP, HTTPS, HTTP2 or \
         gRPC; with or without the PROXY protocol), or point it at the port that speaks HTTP",
        "In nginx use proxy_pass https://..., or grpc_pass grpc:// for gRPC; in HAProxy add ssl \
         (or proto h2) to the server line; in Envoy add a TLS transport_socket",
        "Turn the PROXY protocol on at both ends or at neither: the target group's \
         proxy_protocol_v2.enabled on a Network Load Balancer, send-proxy in HAProxy; listen ... \
         proxy_protocol in nginx, accept-proxy in HAProxy, RemoteIPProxyProtocol in Apache",
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
        "HAProxy, the PROXY protocol: https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt",
        "RFC 8446, 6 (TLS alert protocol): https://www.rfc-editor.org/rfc/rfc8446#section-6",
        "RFC 9112, 4 (status line): https://www.rfc-editor.org/rfc/rfc9112#section-4",
        "AWS, troubleshoot your ALB: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html",
        "nginx, proxy module: https://nginx.org/en/docs/http/ngx_http_proxy_module.html",
    ],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    match case.exchange {
        Some(_) => by_answer(case)
            .or_else(|| by_page(case))
            .or_else(|| by_refused_header(case))
            .or_else(|| closed_on_form(case))
            .or_else(|| closed_on_plain(case)),
        None => by_clear_text(case).or_else(|| by_http1(case)).or_else(|| closed_on_tls(case)),
    }
}

/// Bytes of TLS or HTTP/2 answer plain HTTP/1.
fn by_answer(case: &Case<'_>) -> Option<Verdict> {
    let fault = case.response()?.fault.as_ref()?;
    if !matches!(fault.kind, FaultKind::Tls | FaultKind::Http2) {
        return None;
    }
    let mut evidence = vec![Evidence {
        mark: fault.mark,
        side: Side::Server,
        what: if fault.kind == FaultKind::Tls { What::TlsAlert } else { What::Response },
        note: phrase!("{what}: {sample}", what = fault.kind.what(), sample = &fault.sample),
    }];
    evidence.extend(case.asked(phrase!("the request in plain HTTP/1")));
    Some(Verdict {
        confidence: Confidence::Certain,
        evidence,
        summary: phrase!(
            "the target answered a plain HTTP/1 request with {what}",
            what = fault.kind.what()
        ),
        responsible: None,
    })
}

/// What servers say on a 400 when they are asked in clear on a port for TLS. As nginx 1.22, Apache 2.4, Go's `net/http` and
/// Tomcat 10 have it in their programs.
const IN_CLEAR: [&str; 4] = [
    "The plain HTTP request was sent to HTTPS port",
    "speaking plain HTTP to an SSL-enabled server port",
    "Client sent an HTTP request to an HTTPS server.",
    "This combination of host and port requires TLS.",
];

/// Whether a response says that its port is one for TLS.
pub(crate) fn wants_tls(response: &Response) -> bool {
    let says = |words: &&str| memmem::find(&response.body_start, words.as_bytes()).is_some();
    response.status == Some(400) && IN_CLEAR.iter().any(says)
}

/// The target says that it wants TLS, and closes: so it answers the first bytes of a connection that are no TLS. A proxy
/// hands on the page of a server behind it, also inside TLS, and goes on; where the client asked for the close, either
/// may have written it.
fn by_page(case: &Case<'_>) -> Option<Verdict> {
    let response = case.response().filter(|it| wants_tls(it) && it.closes)?;
    let first = case.exchange?.ordinal == 1 && case.flow.tls.is_none();
    let asked = RequestHead::parse(&case.request().filter(|_| first)?.head);
    let last = asked.header("connection").map_or_else(
        || asked.version().ends_with("1.0"),
        |value| value.to_ascii_lowercase().contains("close"),
    );
    let mut evidence = vec![Evidence {
        mark: response.first,
        side: Side::Server,
        what: What::Response,
        note: phrase!("400, whose page says that this port is one for TLS"),
    }];
    evidence.extend(case.asked(phrase!("the request in plain HTTP/1")));
    Some(Verdict {
        confidence: if last { Confidence::Possible } else { Confidence::Likely },
        evidence,
        summary: phrase!(
            "the target answered a plain HTTP/1 request with 400: the port is one for TLS"
        ),
        responsible: None,
    })
}

/// The target answers a PROXY protocol header, or closes on it, before any of the request behind it
/// has reached it: a program that knows the header waits for what follows. A 408 says that nothing
/// followed in time.
pub(super) fn by_refused_header(case: &Case<'_>) -> Option<Verdict> {
    const REQUEST_TIMEOUT: u16 = 408;
    let request = case.request()?;
    if !case.flow.proxied || case.exchange?.ordinal != 1 || request.start == 0 {
        return None;
    }
    let only_header = Some(request.start);
    let status = case
        .response()
        .filter(|response| response.acked == only_header)
        .and_then(|response| response.status)
        .filter(|status| (400..600).contains(status) && *status != REQUEST_TIMEOUT);
    let close = case
        .unanswered()
        .and_then(|_| case.cut_by_server())
        .filter(|close| close.acked == only_header && !case.reused() && !case.foreign(close));
    let (confidence, guilty, answer) = match (status, close) {
        (Some(status), _) => {
            let guilty = Evidence {
                mark: case.response()?.first,
                side: Side::Server,
                what: What::Response,
                note: phrase!("{status}, sent before the target had received the request", status),
            };
            (Confidence::Certain, guilty, status.to_string())
        }
        // A target that accepts no more for another reason closes so, too.
        (None, Some(close)) => {
            let note = phrase!("its ACK number covers the PROXY protocol header and nothing more");
            (Confidence::Likely, case.ending(close, note), case.name(close).to_owned())
        }
        (None, None) => return None,
    };
    let mut evidence = vec![guilty];
    evidence.extend(case.flow.opening.asked.map(|mark| Evidence {
        mark,
        side: Side::Client,
        what: What::Request,
        note: phrase!("the PROXY protocol header of the load balancer"),
    }));
    evidence.extend(case.asked(phrase!("the request")));
    Some(Verdict {
        confidence,
        evidence,
        summary: phrase!(
            "the load balancer began with a PROXY protocol header and the target answered that with \
             {answer}, before the request reached it",
            answer
        ),
        responsible: None,
    })
}

/// Bytes in clear answer a ClientHello.
fn by_clear_text(case: &Case<'_>) -> Option<Verdict> {
    let tls = case.flow.tls.as_deref()?;
    let foreign = tls.foreign.as_deref()?;
    if foreign.side != Side::Server || !foreign.first {
        return None;
    }
    let what = if foreign.http { word!("plain HTTP/1") } else { word!("bytes that are no TLS") };
    let mut evidence = vec![Evidence {
        mark: foreign.mark,
        side: Side::Server,
        what: What::Response,
        note: phrase!("{what}: {sample}", what, sample = &foreign.sample),
    }];
    evidence.extend(case.greeted(phrase!("the ClientHello of the load balancer")));
    Some(Verdict {
        confidence: Confidence::Certain,
        evidence,
        summary: phrase!(
            "the load balancer began TLS and the target answered with {what}: {sample}",
            what,
            sample = &foreign.sample
        ),
        responsible: None,
    })
}

/// HTTP/1 answers the preface of HTTP/2.
fn by_http1(case: &Case<'_>) -> Option<Verdict> {
    let answer = case.flow.opening.answered.filter(|_| case.flow.http1_answer)?;
    let mut evidence = vec![Evidence {
        mark: answer,
        side: Side::Server,
        what: What::Response,
        note: phrase!("a status line of HTTP/1"),
    }];
    evidence.extend(case.flow.opening.asked.map(|mark| Evidence {
        mark,
        side: Side::Client,
        what: What::Request,
        note: phrase!("the connection preface of HTTP/2"),
    }));
    Some(Verdict {
        confidence: Confidence::Certain,
        evidence,
        summary: phrase!("the load balancer began HTTP/2 and the target answered in HTTP/1"),
        responsible: None,
    })
}

/// The target closes instead of answering the first request, and answers other connections only where
/// a PROXY protocol header comes first and this has none, or the other way round: it reads the one as
/// the other, and closes.
fn closed_on_form(case: &Case<'_>) -> Option<Verdict> {
    case.unanswered()?;
    let close = case.cut_by_server()?;
    let (server, here) = (case.flow.server, Language::in_clear(case.flow));
    let other = match here {
        Language::Proxied => Language::Plain,
        _ => Language::Proxied,
    };
    let other_only = case.wider.speaks(server, other) && !case.wider.speaks(server, here);
    let first = case.exchange?.ordinal == 1 && case.coverage(close) != Coverage::Nothing;
    if !other_only || !first || case.flow.tls.is_some() || !case.prompt(close) {
        return None;
    }
    let (note, summary) = if case.flow.proxied {
        (
            phrase!(
                "in answer to a request behind a PROXY protocol header; connections without one are \
                 answered"
            ),
            phrase!(
                "the target closed instead of answering a request behind a PROXY protocol header; it \
                 answers connections without that header only"
            ),
        )
    } else {
        (
            phrase!(
                "in answer to a request without a PROXY protocol header; connections with one are \
                 answered"
            ),
            phrase!(
                "the target closed instead of answering a request without a PROXY protocol header; it \
                 answers connections with that header only"
            ),
        )
    };
    let mut evidence = vec![case.ending(close, note)];
    evidence.extend(case.asked(phrase!("the request")));
    Some(Verdict { confidence: Confidence::Likely, evidence, summary, responsible: None })
}

/// The target closes instead of answering the first request, and on other connections speaks TLS
/// only.
fn closed_on_plain(case: &Case<'_>) -> Option<Verdict> {
    case.unanswered()?;
    let close = case.cut_by_server()?;
    let server = case.flow.server;
    let tls_only = case.wider.speaks(server, Language::Tls) && !case.wider.speaks_in_clear(server);
    let first = case.exchange?.ordinal == 1 && case.coverage(close) != Coverage::Nothing;
    if !tls_only || !first || case.flow.tls.is_some() || !case.prompt(close) {
        return None;
    }
    let name = case.name(close);
    let mut evidence =
        vec![case.ending(
            close,
            phrase!("in answer to a plain request; other connections speak TLS here"),
        )];
    evidence.extend(case.asked(phrase!("the request in plain HTTP/1")));
    Some(Verdict {
        confidence: Confidence::Likely,
        evidence,
        summary: phrase!(
            "the target answered a plain HTTP/1 request with {name}; on other connections its port \
             speaks TLS",
            name
        ),
        responsible: None,
    })
}

/// The target closes instead of answering a ClientHello, and on other connections speaks plain HTTP
/// only.
fn closed_on_tls(case: &Case<'_>) -> Option<Verdict> {
    let attempt = Attempt::of(case)?;
    let close = case.cut_by_server()?;
    let server = case.flow.server;
    let plain_only =
        case.wider.speaks_in_clear(server) && !case.wider.speaks(server, Language::Tls);
    let mute = attempt.said[Side::Server as usize].is_none() && !attempt.hidden;
    let early = case.handshaking().is_some() && attempt.tls.alerts.is_empty();
    if !plain_only || !mute || !early || case.foreign(close) {
        return None;
    }
    let name = case.name(close);
    let mut evidence = vec![case.ending(
        close,
        phrase!("in answer to a ClientHello; other connections speak plain HTTP here"),
    )];
    evidence.extend(case.greeted(phrase!("the ClientHello of the load balancer")));
    Some(Verdict {
        confidence: Confidence::Likely,
        evidence,
        summary: phrase!(
            "the target answered a ClientHello with {name}; on other connections its port speaks \
             plain HTTP",
            name
        ),
        responsible: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::fixture::Scene;

    #[test]
    fn tls_or_http2_bytes_answer_plain_http() {
        for kind in [FaultKind::Tls, FaultKind::Http2] {
            assert_eq!(Scene::answered_in_part().fault(kind).cause(), Some("protocol-mismatch"));
        }
    }

    #[test]
    fn a_page_says_that_the_port_is_one_for_tls() {
        let told = |status, page: &str, change: fn(&mut Scene)| {
            let mut scene = Scene::answered(status);
            (scene.response().body_start, scene.response().closes) =
                (page.as_bytes().to_vec(), true);
            (scene.exchange().ordinal, scene.request().head) =
                (1, b"GET / HTTP/1.1\r\n\r\n".to_vec());
            change(&mut scene);
            scene.rule("protocol-mismatch").map(|verdict| verdict.confidence)
        };
        for words in IN_CLEAR {
            let page = format!("<p>{words}</p>");
            assert_eq!(told(400, &page, |_| {}), Some(Confidence::Likely), "{words}");
        }
        assert_eq!(told(400, "no such field", |_| {}), None);
        assert_eq!(told(404, IN_CLEAR[0], |_| {}), None);
        // Handed on by who goes on, on a connection that was of use before, or inside TLS.
        assert_eq!(told(400, IN_CLEAR[0], |it| it.response().closes = false), None);
        assert_eq!(told(400, IN_CLEAR[0], |it| it.exchange().ordinal = 2), None);
        assert_eq!(told(400, IN_CLEAR[0], |it| _ = it.tls()), None);
        for asked in ["GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nConnection: close\r\n\r\n"] {
            let mut scene = Scene::answered(400);
            scene.response().body_start = IN_CLEAR[0].as_bytes().to_vec();
            (scene.response().closes, scene.exchange().ordinal) = (true, 1);
            scene.request().head = asked.as_bytes().to_vec();
            let told = scene.rule("protocol-mismatch").map(|verdict| verdict.confidence);
            assert_eq!(told, Some(Confidence::Possible), "{asked}");
        }
    }

    #[test]
    fn other_junk_is_no_protocol() {
        let scene = Scene::answered_in_part().fault(FaultKind::NotHttp);
        assert!(scene.rule("protocol-mismatch").is_none());
    }
}
