//! the target closed in the middle of the response header.

use super::{Case, Cause, Confidence, Responsible, Verdict};
use crate::{phrase, word};

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "response-header-truncated",
    summary: "the target closed in the middle of the response header",
    explanation: "\
        The target began its response, sent part of the status line or of the header fields, \
        and closed before the empty line that ends the header section. Without that line there \
        is no response to pass on, and the load balancer answers 502.\n\n\
        The capture, at either end, shows response bytes, no blank line (CRLF CRLF), then FIN \
        or RST of the target. FIN is what a close() or the death of the process gives. RST \
        means that request bytes were unread, or that the socket was aborted. Reasons: the \
        process died or was killed in the middle of writing, a handler raised after it had \
        flushed part of the header, a script (CGI) printed an incomplete header, or an inner \
        proxy lost its own upstream.\n\n\
        If not one byte came it is target-fin-no-response or target-rst-no-response. If the \
        header is complete and the body is short it is response-body-truncated: then the \
        status has usually gone out already. If the load balancer closes first, look at \
        response-header-too-large (at once) and response-stalled (after its time-out).",
    seen_as: &[
        ("AWS ALB", "502, target_status_code -"),
        ("HAProxy", "502, termination state SH"),
        (
            "nginx",
            "502, upstream prematurely closed connection, or recv() failed (104: Connection reset \
             by peer), while reading response header from upstream",
        ),
        ("Envoy", "502, flag UPE"),
        ("Apache", "502, AH01106, AH10404"),
        ("GCP", "status 0, backend_connection_closed_after_partial_response_sent"),
        ("Azure", "Front Door OriginInvalidResponse"),
    ],
    responsible: Responsible::TargetApp,
    typical_status: Some(502),
    confirm: &[
        "Follow the stream in Wireshark: the last bytes show which header line was being written",
        "Look in the target's log for a crash, an exception or a killed worker at this time \
         (journalctl -k | grep -i oom)",
        "Ask the target directly, without the load balancer: curl -sv --raw \
         http://<target>:<port><path>",
    ],
    fix: &[
        "Find out why the target process stopped while it wrote the header (crash, kill, \
         exception after a partial flush)",
        "Build the whole header before the first write, so that an error can still become a clean \
         500",
        "If the target is itself a proxy or runs scripts (CGI, FastCGI), read the log of what \
         stands behind it",
        "Stop workers gracefully, so that a response in progress is finished first",
    ],
    wireshark: &[
        ("tcp.len > 0 and tcp.flags.fin == 1", "closes with the last bytes of a response"),
        ("tcp.flags.fin == 1 or tcp.flags.reset == 1", "who closed, and when"),
    ],
    references: &[
        "RFC 9112, 8 (incomplete messages): https://www.rfc-editor.org/rfc/rfc9112#section-8",
        "RFC 9110, 15.6.3 (502 Bad Gateway): https://www.rfc-editor.org/rfc/rfc9110#section-15.6.3",
        "AWS, troubleshoot your ALB: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html",
        "HAProxy, session state at disconnection (8.5): \
         https://docs.haproxy.org/2.6/configuration.html#8.5",
        "nginx, proxy module: https://nginx.org/en/docs/http/ngx_http_proxy_module.html",
    ],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    case.failed()?;
    let response = case.response().filter(|response| !response.head_complete)?;
    let close = case.cut_by_server()?;
    let name = case.name(close);
    let (inside, last, summary) = if case.is_encrypted() {
        let bytes = response.end - response.start;
        (
            word!("the first encrypted record of the response"),
            word!("the last bytes of that record"),
            phrase!(
                "the target sent {bytes} bytes of an encrypted record and then {name}: the load \
                 balancer cannot decrypt part of a record, so it has nothing of the header",
                bytes,
                name
            ),
        )
    } else {
        let bytes = response.head_len;
        (
            word!("the response header"),
            word!("the last header bytes"),
            phrase!(
                "the target sent {bytes} bytes of response header and then {name}",
                bytes,
                name
            ),
        )
    };
    let mut evidence = vec![case.ending(close, phrase!("{name} inside {inside}", name, inside))];
    evidence.extend(case.answered(last));
    evidence.extend(case.asked(phrase!("the request")));
    Some(Verdict { confidence: Confidence::Certain, evidence, summary, responsible: None })
}

#[cfg(test)]
mod tests {
    use crate::cause::fixture::{ASKED, END, MS, S, Scene};

    fn half_a_header() -> Scene {
        Scene::answered_in_part().with(|scene| scene.response().head_complete = false)
    }

    #[test]
    fn the_target_closes_inside_the_header() {
        let scene = half_a_header().target_fin(ASKED + 20 * MS, END);
        assert_eq!(scene.cause(), Some("response-header-truncated"));
    }

    #[test]
    fn behind_a_complete_header_it_is_the_body() {
        let scene = Scene::answered_in_part().target_fin(ASKED + 20 * MS, END);
        assert!(scene.rule("response-header-truncated").is_none());
    }

    #[test]
    fn the_load_balancer_that_gives_up_is_not_the_target() {
        let scene = half_a_header().balancer_fin(ASKED + 10 * MS + 60 * S, 60 * S);
        assert!(scene.rule("response-header-truncated").is_none());
    }
}
