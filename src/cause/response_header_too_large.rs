//! the response's header section is larger than the load balancer accepts.

use super::{Case, Cause, Confidence, Responsible, Verdict};
use crate::flow::EndingKind;
use crate::phrase;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "response-header-too-large",
    summary: "the response's header section is larger than the load balancer accepts",
    explanation: "\
        The header section of the response is longer than the load balancer reads. It gives up \
        in the middle, closes the connection and answers 502, while the target believes that \
        it sent a good response.\n\n\
        The limits differ widely: AWS ALB 32 KB for the whole section, nginx one \
        proxy_buffer_size (4 or 8 KB), HAProxy one buffer (tune.bufsize 16384 minus \
        tune.maxrewrite), Envoy 60 KB (80 KB for HTTP/1) and 100 header fields. A response \
        that one proxy passes fails behind another, and one more cookie can tip it over. \
        Growing cookies, access tokens, Content-Security-Policy and debug headers are the \
        usual content; since cookies belong to a user, often only some users are hit.\n\n\
        In the capture many bytes of header arrive and then the load balancer sends FIN or \
        RST, at once and not after a time-out; at the target the RST may arrive while it is \
        still writing. If the target closes first it is response-header-truncated; if silence \
        comes before the load balancer's close, response-stalled.",
    seen_as: &[
        ("AWS ALB", "502 (header section over 32 KB)"),
        ("HAProxy", "502, termination state PH"),
        ("nginx", "502, upstream sent too big header while reading response header from upstream"),
        ("Envoy", "502, flag UPE"),
        ("Apache", "502, AH10124"),
        ("GCP", "502 or 503, backend_response_headers_too_long"),
        ("Azure", "Front Door ResponseHeaderTooBig"),
    ],
    responsible: Responsible::TargetApp,
    typical_status: Some(502),
    confirm: &[
        "Measure the header: curl -so /dev/null -D - http://<target>:<port><path> | wc -c, with \
         the user's cookies",
        "Find the big field: the same with | awk '{print length, $1}' | sort -n | tail",
        "Compare with the limit: proxy_buffer_size in nginx, tune.bufsize in HAProxy, 60 KB in \
         Envoy, 32 KB for an ALB",
        "Look for the words of the proxy's log (nginx: too big header, Apache: AH10124)",
    ],
    fix: &[
        "Shrink the response header: fewer and smaller cookies, no tokens or debug data in \
         headers, at most 32 KB behind an ALB",
        "In nginx raise proxy_buffer_size to 16k or 32k, with proxy_buffers 8 32k and \
         proxy_busy_buffers_size 64k",
        "In HAProxy raise tune.bufsize to 32768 (it costs memory per connection)",
        "Keep session data on the server, and put only its key into the cookie",
        "Look for a handler that sets the same cookie or header again and again",
    ],
    wireshark: &[
        ("http.response and tcp.reassembled.length > 4096", "long responses"),
        ("http.set_cookie", "cookies, the usual reason"),
    ],
    references: &[
        "RFC 9110, 5.4 (field limits): https://www.rfc-editor.org/rfc/rfc9110#section-5.4",
        "RFC 9209, 2.3 (http_response_header_section_size): \
         https://www.rfc-editor.org/rfc/rfc9209#section-2.3",
        "AWS, troubleshoot your ALB: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html",
        "AWS, how Elastic Load Balancing works: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/userguide/how-elastic-load-balancing-works.html",
        "nginx, proxy module: https://nginx.org/en/docs/http/ngx_http_proxy_module.html",
        "Envoy, response code details: \
         https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/response_code_details",
    ],
    detect,
};

/// Smallest limit of a common proxy: nginx' `proxy_buffer_size` on a 4 KiB page.
const SMALLEST_LIMIT: u64 = 4096;
/// AWS Application Load Balancer: 32 KiB for the whole header section.
const ALB_LIMIT: u64 = 32 * 1024;

/// HAProxy's `tune.bufsize`, nginx' usual `proxy_buffer_size` being smaller.
const COMMON_LIMIT: u64 = 16 * 1024;

/// The client asked for more on the same connection: it was content with the answer.
fn went_on(case: &Case<'_>) -> bool {
    case.exchange.is_some_and(|exchange| case.flow.requests > exchange.ordinal)
}

fn detect(case: &Case<'_>) -> Option<Verdict> {
    let response = case.response()?;
    let over = response.head_len > ALB_LIMIT;
    let rejected = case
        .closed_by_client()
        .is_some_and(|close| case.prompt(close) && close.mark.at >= response.first.at);
    let too_large = if response.head_complete {
        over && rejected && !went_on(case)
    } else {
        case.failed().is_some() && rejected && response.head_len > SMALLEST_LIMIT
    };
    if !too_large {
        return None;
    }
    let close = case.closed_by_client()?;
    Some(Verdict {
        confidence: match response.head_len {
            // A client with one request closes so, too.
            _ if response.complete && close.kind == EndingKind::Fin => Confidence::Possible,
            _ if over => Confidence::Certain,
            length if length > COMMON_LIMIT => Confidence::Likely,
            _ => Confidence::Possible,
        },
        evidence: [
            case.answered(phrase!(
                "{head_len} bytes of header so far",
                head_len = response.head_len
            )),
            Some(case.ending(
                close,
                if response.head_complete {
                    phrase!("the load balancer closes at once; the header is complete")
                } else {
                    phrase!("the load balancer gives up while the header still comes")
                },
            )),
            case.asked(phrase!("the request")),
        ]
        .into_iter()
        .flatten()
        .collect(),
        summary: phrase!(
            "the load balancer closed after {head_len} bytes of response header",
            head_len = response.head_len
        ),
        responsible: None,
    })
}

#[cfg(test)]
mod tests {
    use crate::cause::Confidence;
    use crate::cause::fixture::{ASKED, MS, S, Scene};

    fn header(len: u64) -> Scene {
        Scene::answered_in_part().with(|scene| {
            let response = scene.response();
            response.head_complete = false;
            response.head_len = len;
        })
    }

    #[test]
    fn the_load_balancer_closes_at_once_in_a_large_header() {
        let scene = header(40_000).balancer_fin(ASKED + 15 * MS, 5 * MS);
        assert_eq!(scene.cause(), Some("response-header-too-large"));
    }

    #[test]
    fn who_asks_for_more_had_the_large_header() {
        let whole = |requests| {
            let scene = Scene::answered(200).balancer_fin(ASKED + 15 * MS, 5 * MS);
            scene.with(|scene| {
                scene.response().head_len = 40_000;
                scene.flow.requests = requests;
            })
        };
        let confidence = |requests| {
            whole(requests).rule("response-header-too-large").map(|verdict| verdict.confidence)
        };
        let this = whole(0).exchange().ordinal;
        // One that closes in order may have been content as well.
        assert_eq!(confidence(this), Some(Confidence::Possible));
        assert_eq!(confidence(this + 1), None);
        let verdict = whole(0).rule("response-header-too-large").unwrap();
        assert!(verdict.evidence[1].note.contains("the header is complete"), "{verdict:?}");
    }

    #[test]
    fn a_small_header_is_not_the_reason() {
        let scene = header(300).balancer_fin(ASKED + 15 * MS, 5 * MS);
        assert!(scene.rule("response-header-too-large").is_none());
    }

    #[test]
    fn after_a_silence_it_is_a_timer() {
        let scene = header(40_000).balancer_fin(ASKED + 10 * MS + 60 * S, 60 * S);
        assert_eq!(scene.cause(), Some("response-stalled"));
    }
}
