//! the target closed before the response body was complete.

use super::{Case, Cause, Confidence, Responsible, Verdict};
use crate::http::Framing;
use crate::phrase;
use crate::tcp::Side;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "response-body-truncated",
    summary: "the target closed before the response body was complete",
    explanation: "\
        The header of the response is complete, the body is not: the target announced a \
        Content-Length and sent less, or used chunked coding and never sent the last chunk \
        (size 0), and then closed. A body whose end is marked only by the close is known to be \
        cut when the close is a RST.\n\n\
        By then the load balancer has usually passed the status and part of the body to its \
        client, so no 502 can be sent any more: the client sees a 200 and a broken download, \
        and logs that look only at the status show nothing. If the load balancer buffered the \
        response, it may still answer 502.\n\n\
        In the capture the target sends FIN or RST with body bytes missing; at both ends it \
        looks the same. FIN: the process died, closed on an error, or set a Content-Length \
        larger than what it wrote. RST: it aborted the socket, often because a write time-out \
        expired or because request bytes were left unread.\n\n\
        If the load balancer closes first it is not this: after a silence it is \
        response-stalled, at once it is client-abort or lb-cut. A header that ends early is \
        response-header-truncated. Broken chunk sizes are response-malformed.",
    seen_as: &[
        ("HAProxy", "the target's status, termination state SD"),
        (
            "nginx",
            "the target's status, upstream prematurely closed connection while reading upstream; \
             or readv() failed (104: Connection reset by peer)",
        ),
        (
            "Envoy",
            "the target's status, flag UPE (UC or UR, upstream_reset_after_response_started)",
        ),
        ("Apache", "the target's status, AH01110 network error reading response"),
        ("GCP", "the target's status, backend_connection_closed_after_partial_response_sent"),
    ],
    responsible: Responsible::TargetApp,
    typical_status: None,
    confirm: &[
        "Compare Content-Length with the body bytes in the finding: always the same difference \
         means a wrong length, not a crash",
        "Ask the target directly: curl -so /dev/null http://<target>:<port><path> ends with error \
         18 when the transfer is short",
        "Look in the target's log for an exception, a write time-out or a killed worker at this \
         time",
        "See whether the cuts come after the same number of bytes or the same time: a limit, or a \
         time-out",
    ],
    fix: &[
        "Find out why the target stopped while it wrote the body (crash, kill, write time-out, \
         wrong Content-Length)",
        "Let the framework compute Content-Length, after compression and in bytes, not characters",
        "Raise the target's write or worker time-out for long transfers (gunicorn --timeout, Go \
         WriteTimeout)",
        "If the target is itself a proxy, look at its upstream and its disk: nginx \
         proxy_read_timeout, proxy_max_temp_file_size",
        "Drain targets for longer than the longest download before stopping them",
    ],
    wireshark: &[
        ("http.content_length_header", "lengths that were promised"),
        ("tcp.flags.fin == 1 or tcp.flags.reset == 1", "who closed, and when"),
    ],
    references: &[
        "RFC 9112, 8 (incomplete messages): https://www.rfc-editor.org/rfc/rfc9112#section-8",
        "RFC 9112, 6.3 (message body length): https://www.rfc-editor.org/rfc/rfc9112#section-6.3",
        "RFC 9112, 7.1 (chunked coding): https://www.rfc-editor.org/rfc/rfc9112#section-7.1",
        "HAProxy, session state at disconnection (8.5): \
         https://docs.haproxy.org/2.6/configuration.html#8.5",
        "Google Cloud, load balancer logging: \
         https://cloud.google.com/load-balancing/docs/https/https-logging-monitoring",
    ],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    case.failed()?;
    let response = case.response().filter(|response| response.head_complete)?;
    let close = case.cut_by_server()?;
    let name = case.name(close);
    let sent = response.end - response.start;
    let missing = match response.framing {
        _ if case.is_encrypted() => {
            phrase!("{sent} bytes of encrypted response, the last record cut off,", sent)
        }
        Framing::Length(length) => {
            phrase!("{body} of {length} body bytes", body = response.body, length)
        }
        Framing::Chunked => phrase!("{body} body bytes and no last chunk", body = response.body),
        _ => phrase!("{body} body bytes", body = response.body),
    };
    let mut evidence =
        vec![case.ending(close, phrase!("{name} after {missing}", name, missing = &missing))];
    evidence.extend(case.answered(phrase!("the last body bytes")));
    evidence.extend(case.asked(phrase!("the request")));
    Some(Verdict {
        confidence: Confidence::Certain,
        evidence,
        summary: phrase!("the target sent {missing} and then {name}", missing, name),
        // The client's window at zero: it is the one that did not read.
        responsible: case
            .flow
            .half(Side::Client)
            .trouble()
            .zero_window_since
            .map(|_| Responsible::LoadBalancer),
    })
}

#[cfg(test)]
mod tests {
    use crate::cause::fixture::{ASKED, END, MS, Scene};

    #[test]
    fn the_target_closes_inside_the_body() {
        let at = ASKED + 20 * MS;
        let fin = Scene::answered_in_part().target_fin(at, END);
        let rst = Scene::answered_in_part().target_rst(at, END);
        assert_eq!(fin.cause(), Some("response-body-truncated"));
        assert_eq!(rst.cause(), Some("response-body-truncated"));
    }

    #[test]
    fn a_close_of_the_load_balancer_is_not_the_target() {
        let scene = Scene::answered_in_part().balancer_fin(ASKED + 200 * MS, 190 * MS);
        assert!(scene.rule("response-body-truncated").is_none());
    }

    #[test]
    fn a_complete_body_is_not_cut() {
        let scene = Scene::answered(200).target_fin(ASKED + 20 * MS, END);
        assert_eq!(scene.cause(), None);
    }
}
