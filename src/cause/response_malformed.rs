//! the response is not valid HTTP.

use super::{Case, Cause, Confidence, Evidence, Responsible, Verdict, What};
use crate::blind::BlindSpot;
use crate::phrase;
use crate::tcp::Side;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "response-malformed",
    summary: "the response is not valid HTTP",
    explanation: "\
        The target answered, but its bytes are not valid HTTP/1: something that is no status \
        line, a header line without a colon, white space before the colon, a control \
        character, a Content-Length that is no number or that contradicts another one, a chunk \
        size that is not hexadecimal. The finding names the byte and the frame that carries \
        it.\n\n\
        A proxy must not guess where such a message ends: what it takes for the end decides \
        which bytes belong to the next response, and attackers use that. Strict proxies close \
        and answer 502. How strict they are differs: two different Content-Length values are \
        refused by HAProxy and Envoy and accepted by nginx 1.22 and Apache 2.4; nginx passes \
        bytes without a status line on as HTTP/0.9 and logs status 009. A switch from one \
        proxy to another, or an upgrade, therefore brings out faults that have been there for \
        years.\n\n\
        In the capture the target's bytes arrive and the load balancer closes within a moment, \
        mostly while the target believes that all is well. The target's log shows a normal \
        200. That prompt close after response bytes tells it from response-stalled and \
        response-timeout, where silence comes before it.\n\n\
        Neighbours: TLS or HTTP/2 bytes instead of an answer are protocol-mismatch; a valid \
        but huge header is response-header-too-large; an answer that ends early is \
        response-header-truncated or response-body-truncated.",
    seen_as: &[
        ("AWS ALB", "502"),
        (
            "HAProxy",
            "502, termination state PH; PD with the target's status after the header has been sent",
        ),
        (
            "nginx",
            "502, upstream sent invalid header, duplicate header line, invalid \
             \"Content-Length\", or invalid chunked response; 009 when there is no status line",
        ),
        ("Envoy", "502, flag UPE"),
        ("Apache", "502, AH01106; 500, AH02429; 200 with (20014) for broken chunks"),
        ("GCP", "502 or 503, backend_response_corrupted"),
        ("Azure", "Front Door OriginInvalidResponse"),
    ],
    responsible: Responsible::TargetApp,
    typical_status: Some(502),
    confirm: &[
        "Look at the bytes that the finding names: in Wireshark go to the frame and follow the \
         TCP stream",
        "Ask the target directly and show control characters: curl -s --raw -i \
         http://<target>:<port><path> | cat -A | head -40",
        "Read the proxy's own words: nginx error log, HAProxy show errors on the admin socket, \
         Envoy response_code_details (http1.codec_error)",
    ],
    fix: &[
        "Correct the response that the target writes: the finding shows the offending bytes and \
         where they are",
        "Reject line breaks and control characters in header values that come from input \
         (redirect targets, file names, cookies)",
        "Let one layer only set Content-Length or Transfer-Encoding, never both, and never by hand",
        "Update the server library, or the inner proxy, that writes the response",
        "Loosen the proxy only as a stopgap (HAProxy option accept-invalid-http-response): it \
         opens the door to response smuggling",
    ],
    wireshark: &[
        ("_ws.malformed or _ws.expert.severity == \"Error\"", "what Wireshark cannot read"),
        ("http.transfer_encoding and http.content_length_header", "two lengths at once"),
    ],
    references: &[
        "RFC 9112, 4 (status line): https://www.rfc-editor.org/rfc/rfc9112#section-4",
        "RFC 9112, 5 (field syntax): https://www.rfc-editor.org/rfc/rfc9112#section-5",
        "RFC 9112, 6.3 (message body length): https://www.rfc-editor.org/rfc/rfc9112#section-6.3",
        "RFC 9112, 7.1 (chunked coding): https://www.rfc-editor.org/rfc/rfc9112#section-7.1",
        "AWS, troubleshoot your ALB: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html",
        "Envoy, response code details: \
         https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/response_code_details",
    ],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    case.request()?; // surplus bytes on an idle connection hurt no request
    let response = case.response()?;
    let fault = response.fault.as_ref()?;
    if case.exchange?.blind_spots.has(BlindSpot::Gap) {
        return None; // bytes that were not captured may make sense of these
    }
    let close = case.closed_by_client();
    let rejected = close.is_some_and(|close| case.prompt(close));
    let refused = fault.kind.refused_by_all();
    let confidence = match (refused, rejected) {
        (true, true) => Confidence::Certain,
        (true, false) | (false, true) => Confidence::Likely,
        (false, false) if case.failed().is_some() || fault.kind.hides_status() => {
            Confidence::Likely
        }
        (false, false) => return None,
    };
    let mut evidence = vec![Evidence {
        mark: fault.mark,
        side: Side::Server,
        what: What::Response,
        note: phrase!(
            "{what} at byte {offset}: {sample}",
            what = fault.kind.what(),
            offset = fault.offset,
            sample = &fault.sample
        ),
    }];
    if let Some(close) = close.filter(|_| rejected) {
        evidence.push(case.ending(close, phrase!("the load balancer closes at once")));
    }
    evidence.extend(case.asked(phrase!("the request")));
    Some(Verdict {
        confidence,
        evidence,
        summary: phrase!(
            "the response has {what} at byte {offset}: {sample}",
            what = fault.kind.what(),
            offset = fault.offset,
            sample = &fault.sample
        ),
        responsible: None,
    })
}

#[cfg(test)]
mod tests {
    use crate::cause::Confidence;
    use crate::cause::fixture::{ASKED, MS, Scene};
    use crate::http::FaultKind;

    #[test]
    fn what_every_proxy_refuses_fails_without_a_reaction() {
        let scene = Scene::answered_in_part().fault(FaultKind::HeaderName);
        let verdict = scene.rule("response-malformed").expect("it fits");
        assert_eq!(verdict.confidence, Confidence::Likely);
    }

    #[test]
    fn what_some_proxies_pass_fails_only_when_this_one_closes_at_once() {
        let scene = Scene::answered(200).fault(FaultKind::ContentLengths);
        assert!(scene.rule("response-malformed").is_none());
        let scene = scene.balancer_fin(ASKED + 15 * MS, 5 * MS);
        assert_eq!(scene.cause(), Some("response-malformed"));
    }

    #[test]
    fn valid_bytes_are_not_malformed() {
        assert!(Scene::answered_in_part().rule("response-malformed").is_none());
    }
}
