//! a response was already on the wire when the request was sent, and is taken for its answer.

use super::{Case, Cause, Confidence, Evidence, Responsible, Verdict, What, protocol_mismatch};
use crate::phrase;
use crate::tcp::Side;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "unsolicited-response",
    summary: "a response was already on the wire when the request was sent, and is taken for its answer",
    explanation: "\
        The target spoke without being asked: a response was on its way before the target had \
        received the request, the two crossed on the wire, and the load balancer took the one \
        for the answer to the other. The user gets a status that has nothing to do with the \
        request.\n\n\
        The classic is 408 Request Timeout. Some servers announce the end of an idle \
        connection with a 408 and then close; if a request crosses it, the client of the load \
        balancer sees a 408 although it did nothing wrong. All proxies that were measured \
        (HAProxy, nginx, Apache, Envoy) passed such a 408 on as if it were the answer. The \
        other kind is more dangerous: bytes that remained from the response before (a body \
        after HEAD or 304, more bytes than Content-Length says), so that each answer goes to \
        the wrong request.\n\n\
        The proof is the acknowledgment number on the first segment of the response: it does \
        not reach the first byte of the request. At the target the response leaves before the \
        request arrives; at the load balancer it arrives less than one round trip after the \
        request left.\n\n\
        Without a response it would be keepalive-race: same timer, same cure. A 5xx that \
        acknowledges the request is target-own-5xx.",
    seen_as: &[
        ("HAProxy", "408, termination state ----"),
        ("nginx", "408, no error line"),
        ("Apache", "408"),
        ("Envoy", "408"),
    ],
    responsible: Responsible::TargetApp,
    typical_status: None,
    confirm: &[
        "Look at the acknowledgment number of the response's first segment: it is not above the \
         request's first byte",
        "Compare the idle time before with the target's keep-alive or header time-out: a constant \
         value is its timer",
        "Look for the request in the target's access log: there is no line for it, or a 408 \
         without a request line",
        "If the status is not 408, look at the response before on the same connection: does its \
         length fit its Content-Length",
    ],
    fix: &[
        "Keep the target's idle time-out longer than the load balancer's (75 s against 60 s), so \
         that it never speaks on an idle connection",
        "Let the target close idle connections silently instead of sending 408",
        "If bytes remained from the response before, correct its Content-Length, or the body that \
         was sent after HEAD, 204 or 304",
        "Shorten reuse at the proxy (keepalive_timeout in the nginx upstream block, idle_timeout \
         in Envoy) until the target is changed",
    ],
    wireshark: &[
        ("http.response and !http.request_in", "responses that belong to no request"),
        ("http.response.code == 408", "the usual one: a time-out while idle"),
    ],
    references: &[
        "RFC 9112, 9.2 (associating a response to a request): \
         https://www.rfc-editor.org/rfc/rfc9112#section-9.2",
        "RFC 9110, 15.5.9 (408 Request Timeout): \
         https://www.rfc-editor.org/rfc/rfc9110#section-15.5.9",
        "RFC 9112, 9.5 (failures and time-outs): \
         https://www.rfc-editor.org/rfc/rfc9112#section-9.5",
    ],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    let (request, response) = (case.request()?, case.response()?);
    let status = response.status?;
    let crossed = response.acked.is_some_and(|acked| acked <= request.start);
    // What answers the PROXY protocol header is no answer to the request either, nor unasked.
    if !(response.unsolicited || crossed) || protocol_mismatch::by_refused_header(case).is_some() {
        return None;
    }
    Some(Verdict {
        confidence: if crossed { Confidence::Certain } else { Confidence::Likely },
        evidence: [
            Some(Evidence {
                mark: response.first,
                side: Side::Server,
                what: What::Response,
                note: phrase!("{status}, sent before the target had received the request", status),
            }),
            case.asked(phrase!("the request that it is taken to answer")),
        ]
        .into_iter()
        .flatten()
        .collect(),
        summary: phrase!(
            "a {status} that crossed the request on the wire was taken for its answer",
            status
        ),
        responsible: None,
    })
}

#[cfg(test)]
mod tests {
    use crate::cause::fixture::{END, START, Scene};

    fn acked(acked: u64) -> Scene {
        Scene::answered(408).with(|scene| scene.response().acked = Some(acked))
    }

    #[test]
    fn a_408_that_had_not_seen_the_request() {
        assert_eq!(acked(START).cause(), Some("unsolicited-response"));
    }

    #[test]
    fn a_408_that_had_seen_the_request_is_an_answer() {
        assert_eq!(acked(END).cause(), None);
    }
}
