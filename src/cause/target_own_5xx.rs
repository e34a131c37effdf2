//! the target itself answered with a complete 5xx.

use super::author::Author;
use super::case::span;
use super::{Case, Cause, Confidence, Evidence, Responsible, Verdict, What};
use crate::blind::BlindSpot;
use crate::http::State;
use crate::tcp::Side;
use crate::{phrase, word};

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "target-own-5xx",
    summary: "the target itself answered with a complete 5xx",
    explanation: "\
        The target itself sent a complete, valid response with a 5xx status, and the load \
        balancer passed it on. On the network nothing is wrong; the packets show that the \
        program decided it. This settles the first question of every such incident: it was not \
        the load balancer.\n\n\
        A 500 is a fault in the program. A 502, 503 or 504 from a target means mostly that the \
        target is a proxy itself (nginx in front of an application server, a service mesh \
        sidecar, an API gateway) and had trouble with what is behind it; or that it sheds load \
        (503, often with Retry-After). The same question then repeats one hop further on: \
        capture there.\n\n\
        In a capture at either end the response comes from the target's address, acknowledges \
        the request and is complete. On the front side of the load balancer alone it cannot be \
        told from one that the load balancer made: the Server header and the body are hints \
        (an ALB's own errors say awselb/2.0), two equal status codes in the access log are \
        better, the packets of the target are proof.\n\n\
        If the response left before the request arrived, it is unsolicited-response. If it \
        breaks off, it is response-body-truncated.",
    seen_as: &[
        ("AWS ALB", "the same code in elb_status_code and target_status_code, for example 502 502"),
        ("HAProxy", "the target's code, termination state ----"),
        ("nginx", "the target's code, no line in the error log"),
        ("Envoy", "the target's code, via_upstream, no response flag"),
        ("Apache", "the target's code"),
        ("Azure", "the target's code in serverStatus"),
    ],
    responsible: Responsible::TargetApp,
    typical_status: None,
    confirm: &[
        "Read the target's application log at the time of the response, by request line or trace \
         id",
        "Compare elb_status_code with target_status_code in the access log (nginx: $status with \
         $upstream_status)",
        "Look at the Server header and body of the response: do they come from the application or \
         from a proxy in front of it",
        "If it is a 502, 503 or 504, capture between the target and what it calls (often on the \
         loopback interface)",
    ],
    fix: &[
        "Read the target's application log for this request: the program decided on this status, \
         the load balancer only passed it on",
        "If the target is a proxy, look at its own upstream: run why502 on a capture of that leg \
         (loopback: -i lo)",
        "For 503 under load add workers or targets, or raise the limit that sheds it",
        "Let the target add a request id to its log and response, so that the two can be joined",
    ],
    wireshark: &[
        ("http.response.code >= 500", "server errors of the target"),
        ("http.response.code >= 500 and http.time > 1", "those that took long"),
    ],
    references: &[
        "RFC 9110, 15.6 (server errors): https://www.rfc-editor.org/rfc/rfc9110#section-15.6",
        "AWS, ALB access logs: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html",
        "AWS, troubleshoot your ALB: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html",
        "Envoy, response code details: \
         https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/response_code_details",
        "HAProxy, session state at disconnection (8.5): \
         https://docs.haproxy.org/2.6/configuration.html#8.5",
    ],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    let exchange = case.exchange?;
    // The status line is there, and the snap length hides the rest.
    let cut = matches!(exchange.state, State::Unknown | State::Answered)
        && case.response().is_some_and(|response| !response.complete)
        && exchange.blind_spots.has(BlindSpot::Snaplen)
        && !exchange.blind_spots.has(BlindSpot::Gap);
    let response = case.response().filter(|response| response.complete || cut)?;
    let status = response.status.filter(|status| (500..=599).contains(status))?;
    let crossed = response.acked.zip(case.request()).is_some_and(|(acked, r)| acked <= r.start);
    if response.unsolicited || crossed || !(exchange.state == State::Answered || cut) {
        return None;
    }
    let proxy = case.wider.is_proxy(case.flow.server, case.flow.client);
    let author = Author::of(case, response, status);
    let after = span(case.outstanding(response.first));
    let (confidence, summary) = match author {
        Author::Proxy(maker) => (
            Confidence::Possible,
            phrase!(
                "a proxy answered {status} after {after} with an error page of its own ({maker}); why shows \
                 between it and what is behind it",
                status,
                after,
                maker
            ),
        ),
        _ if proxy => (
            Confidence::Possible,
            phrase!(
                "{who} answered {status} after {after}",
                who = word!("a proxy, which itself asks others in this capture,"),
                status,
                after
            ),
        ),
        Author::Unknown => (
            Confidence::Possible,
            phrase!(
                "the server answered {status} after {after}; whether it is the target or a proxy that answered \
                 for it does not show",
                status,
                after
            ),
        ),
        Author::Target | Author::LikelyTarget => (
            match author {
                Author::Target if !cut => Confidence::Certain,
                _ => Confidence::Likely,
            },
            phrase!(
                "{who} answered {status} after {after}",
                who = word!("the target"),
                status,
                after
            ),
        ),
    };
    let known = !proxy && matches!(author, Author::Target | Author::LikelyTarget);
    let note = if cut {
        phrase!("the status line of the {status}; the rest was not captured", status)
    } else if known {
        phrase!("the target's own {status}, complete", status)
    } else {
        phrase!("the {status}, complete", status)
    };
    Some(Verdict {
        confidence,
        evidence: [
            Some(Evidence { mark: response.first, side: Side::Server, what: What::Response, note }),
            case.asked(phrase!("the request that it answers")),
        ]
        .into_iter()
        .flatten()
        .collect(),
        summary,
        responsible: (!known).then_some(Responsible::Unknown),
    })
}

#[cfg(test)]
mod tests {
    use crate::cause::fixture::{ASKED, END, MS, Scene};
    use crate::cause::{Confidence, Responsible};

    #[test]
    fn a_complete_5xx_is_the_targets_own() {
        assert_eq!(Scene::answered(503).cause(), Some("target-own-5xx"));
    }

    #[test]
    fn a_gateway_error_of_nobody_known_is_not_certain() {
        let bare = || Scene::answered(502).with(|scene| scene.response().body = 0);
        let verdict = bare().rule("target-own-5xx").expect("it fits");
        assert_eq!(verdict.confidence, Confidence::Possible);
        assert_eq!(verdict.responsible, Some(Responsible::Unknown));
        // A proxy of this capture asked: whoever is behind it answered.
        let scene = bare().with(|scene| scene.wider.learn_server(scene.flow.client));
        let verdict = scene.rule("target-own-5xx").expect("it fits");
        assert_eq!((verdict.confidence, verdict.responsible), (Confidence::Certain, None));
    }

    #[test]
    fn a_status_line_tells_where_the_rest_was_not_captured() {
        let scene = Scene::answered(500).with(|scene| {
            scene.response().complete = false;
            let exchange = scene.exchange.as_mut().expect("it has one");
            exchange.state = crate::http::State::Unknown;
            exchange.blind_spots.add(crate::blind::BlindSpot::Snaplen);
        });
        let verdict = scene.rule("target-own-5xx").expect("it fits");
        assert_eq!(verdict.confidence, Confidence::Likely);
        // Bytes that got lost may have been another response.
        let lost = scene.with(|scene| {
            let exchange = scene.exchange.as_mut().expect("it has one");
            exchange.blind_spots.add(crate::blind::BlindSpot::Gap);
        });
        assert!(lost.rule("target-own-5xx").is_none());
    }

    #[test]
    fn other_statuses_are_answers() {
        assert_eq!(Scene::answered(404).cause(), None);
    }

    #[test]
    fn a_5xx_that_breaks_off_is_truncated() {
        let scene = Scene::answered_in_part()
            .with(|scene| scene.response().status = Some(503))
            .target_fin(ASKED + 20 * MS, END);
        assert_eq!(scene.cause(), Some("response-body-truncated"));
    }
}
