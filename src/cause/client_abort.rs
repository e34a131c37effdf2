//! the client of the load balancer went away, and the load balancer closed the connection to the target.

use super::case::span;
use super::{Case, Cause, Confidence, Responsible, Verdict};
use crate::flow::EndingKind;
use crate::{phrase, word};

/// Time after its request in which a client sends FIN that waits for its answer all the same, nanoseconds.
const AT_ONCE: i64 = 10_000_000;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "client-abort",
    summary: "the client of the load balancer went away, and the load balancer closed the connection to the target",
    explanation: "\
        The load balancer closed the connection to the target while a request was outstanding, \
        at a moment that is no timer of its own. The likely reason is that its own client went \
        away: a user who left the page, a mobile device out of reach, a program with a shorter \
        time-out than the load balancer's. Nobody is left to answer, so it drops the request.\n\n\
        HAProxy ends the connection with RST, nginx, Apache and Envoy with FIN; the target \
        often still sends its answer later and gets RST for it. At the target that is all that \
        can be seen, and it cannot be told with certainty from a time-out of the load \
        balancer. Hints are used: the silence before the close is not a round or repeated \
        value, or the load balancer has waited longer for other requests.\n\n\
        The front side proves it: a FIN or RST of the client right before, or a log line with \
        460 (ALB), 499 (nginx), C in HAProxy's termination state, DC in Envoy. A client that \
        always gives up after the same 5 or 10 s looks like a time-out of the load balancer: \
        then compare with its settings. A client that closes a stream of events \
        (text/event-stream) has had enough of it: that is no failure, and not told.\n\n\
        Slow responses make clients leave: many aborts with long waiting times are a sign of a \
        slow target, even though no 5xx appears. Neighbours: response-timeout and \
        response-stalled (constant silence), lb-cut (many connections in one instant).",
    seen_as: &[
        ("AWS ALB", "460"),
        ("HAProxy", "termination state CC, CH or CD"),
        (
            "nginx",
            "499, client prematurely closed connection, so upstream connection is closed too",
        ),
        ("Envoy", "0, flag DC, downstream_remote_disconnect"),
        ("Apache", "the target's status, as if nothing had happened"),
        ("GCP", "0, client_disconnected_before_any_response"),
        ("Azure", "499 (v1: 0), ERRORINFO_CLIENT_CLOSED_REQUEST; Front Door ClientDisconnected"),
    ],
    responsible: Responsible::Client,
    typical_status: Some(460),
    confirm: &[
        "Look for the request in the load balancer's log: 460, 499, C-- or DC confirm it, 504 or \
         sH is a time-out instead",
        "Capture on the client side of the load balancer as well: a FIN or RST of the client \
         comes right before",
        "Group the aborts by client and by the time waited: one program with one value has its \
         own time-out",
        "Compare the waiting time with the usual response time of this path",
    ],
    fix: &[
        "Look up the request in the load balancer's log (ALB 460, nginx 499, HAProxy C-, Envoy \
         DC), and make slow paths faster: clients leave when they wait",
        "Give programs that call this service a time-out longer than its slowest answer, or let \
         them retry with care",
        "If work must be finished although the client is gone, let the proxy keep the connection \
         to the target: nginx proxy_ignore_client_abort on",
        "Leave single aborts of browsers alone: they are normal",
    ],
    wireshark: &[
        ("tcp.flags.reset == 1 or tcp.flags.fin == 1", "who closed, and when"),
        ("http.request and !http.response_in", "requests without a response"),
    ],
    references: &[
        "RFC 9112, 9.5 (failures and time-outs): \
         https://www.rfc-editor.org/rfc/rfc9112#section-9.5",
        "AWS, troubleshoot your ALB: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html",
        "AWS, ALB access logs: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html",
        "HAProxy, session state at disconnection (8.5): \
         https://docs.haproxy.org/2.6/configuration.html#8.5",
        "Envoy, access log response flags: \
         https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage",
        "Google Cloud, load balancer logging: \
         https://cloud.google.com/load-balancing/docs/https/https-logging-monitoring",
    ],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    case.failed().filter(|_| !case.had_enough())?;
    let close = case.closed_by_client()?;
    let silence = case.silence_before(close.mark);
    // A client that only says that it sends no more does so at once (RFC 9293, 3.6), and waits for its answer.
    let half_close = close.kind == EndingKind::Fin && silence < AT_ONCE;
    // Who closes by itself sends FIN, or RST with ACK: this one answers a packet and has no such connection.
    let gone = close.kind == EndingKind::Rst && !close.ack_flag;
    let longer = !half_close && !gone && case.wider.waited_longer(case.flow.client, silence);
    let mut evidence = vec![case.ending(
        close,
        if gone {
            word!(
                "RST without ACK: the load balancer has no such connection any more, and what ended it did not \
                 come by here"
            )
        } else if longer {
            word!("the load balancer closes sooner than it has waited for other requests")
        } else {
            word!("the load balancer closes, at no time that looks like a timer")
        },
    )];
    evidence.extend(case.asked(phrase!("the request, outstanding")));
    Some(Verdict {
        confidence: if longer { Confidence::Likely } else { Confidence::Possible },
        evidence,
        summary: phrase!(
            "the load balancer closed {after} after the {asked}, before its answer was complete",
            after = span(case.outstanding(close.mark)),
            asked = case.what_was_asked()
        ),
        responsible: None,
    })
}

#[cfg(test)]
mod tests {
    use crate::cause::Confidence;
    use crate::cause::fixture::{ASKED, MS, S, Scene};
    use crate::flow::EndingKind;
    use crate::tcp::Side;
    use crate::time::Timestamp;

    #[test]
    fn a_close_at_an_odd_moment_is_the_client() {
        let waited = 3 * S + 370 * MS;
        let scene = Scene::asked().balancer_fin(ASKED + waited, waited);
        assert_eq!(scene.cause(), Some("client-abort"));
    }

    #[test]
    fn a_fin_right_behind_the_request_may_only_end_its_direction() {
        let confidence = |after| {
            let mut scene = Scene::asked().balancer_fin(ASKED + after, after);
            scene.wider.learn(&scene.flow.clone(), 60 * S, false);
            scene.rule("client-abort").map(|verdict| verdict.confidence)
        };
        assert_eq!(confidence(14_000), Some(Confidence::Possible));
        assert_eq!(confidence(370 * MS), Some(Confidence::Likely));
    }

    #[test]
    fn a_load_balancer_that_has_no_such_connection_may_have_lost_it_otherwise() {
        let confidence = |acked| {
            let at = ASKED + 370 * MS;
            let mut scene = Scene::asked().close(Side::Client, EndingKind::Rst, at, acked);
            scene.wider.learn(&scene.flow.clone(), 60 * S, false);
            scene.rule("client-abort").map(|verdict| verdict.confidence)
        };
        assert_eq!(confidence(Some(500)), Some(Confidence::Likely));
        assert_eq!(confidence(None), Some(Confidence::Possible));
    }

    #[test]
    fn a_close_after_a_round_time_is_a_timer() {
        let scene = Scene::asked().balancer_fin(ASKED + 60 * S, 60 * S);
        assert_eq!(scene.cause(), Some("response-timeout"));
    }

    #[test]
    fn the_reader_of_a_stream_of_events_ends_it() {
        let cause = |media: &str, others: usize| {
            let mut scene = Scene::answered_in_part().balancer_fin(ASKED + 10 * MS + S, S);
            scene.response().head =
                format!("HTTP/1.1 200 OK\r\nContent-Type: {media}\r\n\r\n").into();
            for _ in 0..others {
                scene.wider.learn_cut(scene.flow.client, S, S, Timestamp(0));
            }
            scene.cause()
        };
        assert_eq!(cause("text/event-stream", 0), None);
        assert_eq!(
            cause("text/event-stream", 2),
            Some("response-stalled"),
            "a timer ends all of them"
        );
        assert_eq!(cause("text/html", 0), Some("response-stalled"));
    }

    #[test]
    fn a_close_of_the_target_is_not_the_client() {
        let scene = Scene::asked().target_fin(ASKED + S, 300).balancer_fin(ASKED + 2 * S, 2 * S);
        assert!(scene.rule("client-abort").is_none());
    }
}
