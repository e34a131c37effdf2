//! the target received the request and stayed silent until the load balancer gave up.

use super::case::span;
use super::{Case, Cause, Confidence, Responsible, Verdict};
use crate::phrase;
use crate::tcp::Side;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "response-timeout",
    summary: "the target received the request and stayed silent until the load balancer gave up",
    explanation: "\
        The target acknowledged the request and sent no byte of a response until the load \
        balancer's patience ended. The load balancer then closed the connection (HAProxy with \
        RST, nginx, Apache and Envoy with FIN) and answered 504.\n\n\
        An acknowledgment comes from the target's kernel; it does not mean that a program has \
        read the request. So there are two kinds: the program works on it (slow query, a call \
        to another service that hangs, a lock), or the connection waits in the accept queue \
        because every worker is busy. The second kind often hits many requests at once.\n\n\
        What marks a timer is that the silence has the same length again and again: 60 s (ALB \
        idle time-out, nginx proxy_read_timeout), 20 s (Azure Application Gateway), 15 s \
        (Envoy route), the value of timeout server in HAProxy. From the target's side alone a \
        time-out and a client that gave up look alike; without a repeated or round value it is \
        reported as client-abort. If many connections close in one instant it is lb-cut.\n\n\
        If the request was never acknowledged it is request-unacked. If a part of the response \
        came it is response-stalled. If the target's window went to 0, target-not-reading.",
    seen_as: &[
        ("AWS ALB", "504, target_processing_time -1"),
        ("HAProxy", "504, termination state sH"),
        (
            "nginx",
            "504, upstream timed out (110: Connection timed out) while reading response header \
             from upstream",
        ),
        ("Envoy", "504, flag UT, response_timeout"),
        ("Apache", "502, AH01102 (70007)"),
        ("GCP", "502 or 503, backend_timeout"),
        ("Azure", "504 (v1: 502), ERRORINFO_UPSTREAM_TIMED_OUT; Front Door OriginTimeout"),
    ],
    responsible: Responsible::TargetApp,
    typical_status: Some(504),
    confirm: &[
        "Look for the request in the target's log: did it end later (slow), never (hung), or is \
         there no line (never accepted)",
        "Look at what the workers do: thread dump (jstack, py-spy dump --pid, kill -QUIT), slow \
         query log of the database",
        "Run ss -ltn: a growing Recv-Q of the listening socket means that all workers are busy",
        "Compare the silence with the load balancer's time-out: idle_timeout.timeout_seconds, \
         proxy_read_timeout, timeout server, route timeout",
    ],
    fix: &[
        "Find out what the target does for so long (slow query, hung call, lock, all workers \
         busy) and give its own calls shorter time-outs",
        "If the work is meant to take longer, raise the load balancer's limit: ALB \
         idle_timeout.timeout_seconds, nginx proxy_read_timeout, HAProxy timeout server, Envoy \
         route timeout",
        "Answer long work at once with 202, do it in the background, and let clients poll",
        "Add workers or targets if requests wait in the queue",
        "Set the target's own request limit a little below the load balancer's, so that the user \
         gets a proper error and the worker is freed",
    ],
    wireshark: &[
        ("http.request and !http.response_in", "requests without a response"),
        ("http.time > 10", "responses that came late"),
    ],
    references: &[
        "RFC 9110, 15.6.5 (504 Gateway Timeout): \
         https://www.rfc-editor.org/rfc/rfc9110#section-15.6.5",
        "RFC 9112, 9.5 (failures and time-outs): \
         https://www.rfc-editor.org/rfc/rfc9112#section-9.5",
        "AWS, troubleshoot your ALB: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html",
        "HAProxy, session state at disconnection (8.5): \
         https://docs.haproxy.org/2.6/configuration.html#8.5",
        "nginx, proxy module: https://nginx.org/en/docs/http/ngx_http_proxy_module.html",
        "Envoy, time-outs: https://www.envoyproxy.io/docs/envoy/latest/faq/configuration/timeouts",
    ],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    let request = case.unanswered()?;
    let close = case.closed_by_client()?;
    // Otherwise the target may not have received it, or the load balancer's client is the slow one.
    let sent = case.sent_whole()?;
    if case.flow.half(Side::Client).acked < request.end {
        return None;
    }
    let silence = case.silence_before(close.mark);
    let mute = case.closes_unheard(close);
    let known = if mute.is_some() { Confidence::Possible } else { sent };
    let confidence = case.timer(silence)?.min(known);
    let mut evidence = vec![
        case.silence(
            Side::Server,
            request.last,
            phrase!("no byte for {silence}", silence = span(silence)),
        ),
        case.ending(close, phrase!("the load balancer gives up")),
    ];
    evidence.extend(case.asked(phrase!("the request, acknowledged by the target")));
    let told = phrase!(
        "the target acknowledged the {asked} and sent nothing for {silence}, then the load balancer closed",
        asked = case.what_was_asked(),
        silence = span(silence)
    );
    Some(Verdict {
        confidence,
        evidence,
        summary: match mute {
            Some(times) => phrase!(
                "{told}; nothing answered its FIN, sent {times} times: its host is gone, or what it sends does not \
                 arrive (return-path-blocked)",
                told,
                times
            ),
            None => told,
        },
        responsible: None,
    })
}

#[cfg(test)]
mod tests {
    use crate::cause::Confidence;
    use crate::cause::fixture::{ASKED, S, Scene};
    use crate::tcp::Side;
    use crate::time::Timestamp;

    #[test]
    fn the_load_balancer_gives_up_after_a_round_time() {
        let scene = Scene::asked().balancer_fin(ASKED + 60 * S, 60 * S);
        assert_eq!(scene.cause(), Some("response-timeout"));
    }

    #[test]
    fn a_load_balancer_that_waits_longer_elsewhere_has_no_such_timer() {
        let scene = Scene::asked().balancer_fin(ASKED + 30 * S, 30 * S).with(|scene| {
            scene.wider.learn(&scene.flow, 90 * S, false);
        });
        assert_eq!(scene.cause(), Some("client-abort"));
    }

    #[test]
    fn a_host_that_does_not_even_acknowledge_a_fin_may_be_gone() {
        let sure = |repeated: u16, heard: i64| {
            let scene = Scene::asked().balancer_fin(ASKED + 60 * S, 60 * S).with(|scene| {
                scene.wider.learn_cut(scene.flow.client, 60 * S, 60 * S, Timestamp(0));
                scene.wider.learn_cut(scene.flow.client, 60 * S, 60 * S, Timestamp(0));
                scene.flow.half_mut(Side::Client).trouble_mut().fins_repeated = repeated;
                scene.flow.half_mut(Side::Server).last = Some(Timestamp(ASKED + heard));
            });
            let verdict = scene.rule("response-timeout");
            verdict.map(|verdict| verdict.confidence)
        };
        assert_eq!(sure(4, S), Some(Confidence::Possible));
        assert_eq!(sure(4, 61 * S), Some(Confidence::Likely), "it has acknowledged the FIN");
        assert_eq!(sure(2, S), Some(Confidence::Likely));
    }

    #[test]
    fn a_target_that_closes_is_not_waited_for() {
        let scene = Scene::asked().target_fin(ASKED + 60 * S, 300);
        assert!(scene.rule("response-timeout").is_none());
    }
}
