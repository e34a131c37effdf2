//! the load balancer cut several connections at once, with requests outstanding.

use super::case::span;
use super::{Case, Cause, Confidence, Responsible, Verdict};
use crate::phrase;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "lb-cut",
    summary: "the load balancer cut several connections at once, with requests outstanding",
    explanation: "\
        The load balancer ended several connections in one instant, and requests were \
        outstanding on some of them. No single request caused it: the load balancer took the \
        target out, reloaded its configuration, was scaled in or restarted.\n\n\
        Typical triggers: a deregistration delay that ran out with a request still in flight \
        (AWS, 300 s by default), a target that a health check marked down while the proxy is \
        set to close its sessions, an administrator who disabled the server, a reload in which \
        old worker processes are ended after a limit, a Kubernetes pod of the proxy that was \
        terminated.\n\n\
        At the load balancer many FINs or RSTs leave within a fraction of a second, without a \
        close from the client side; at the target they all arrive together. If the node itself \
        went away, its health checks stop too.\n\n\
        A single close at a constant silence is response-timeout; several that started \
        together and timed out together are as well. A single close at an odd moment is \
        client-abort. If the target closes them together, it was a restart of the target: \
        target-fin-no-response.",
    seen_as: &[
        ("AWS ALB", "502 (deregistration delay ended with the request in flight)"),
        (
            "HAProxy",
            "termination states beginning with D (server marked down), K (killed by an \
             administrator) or U (back from backup)",
        ),
        ("Envoy", "flag LR or UC"),
    ],
    responsible: Responsible::LoadBalancer,
    typical_status: Some(502),
    confirm: &[
        "Compare the time with deployments, scaling and reloads (AWS: deregistration events, \
         CloudTrail DeregisterTargets)",
        "Look in the proxy's log for a reload, a server marked DOWN or a worker that was ended \
         (nginx: gracefully shutting down)",
        "See in the capture whether this node's health checks stop or its addresses change at the \
         same time",
        "Compare the age of the cut requests with the deregistration delay (300 s)",
    ],
    fix: &[
        "Give requests time to finish: a deregistration delay longer than the slowest request, \
         connection draining, graceful reload",
        "On AWS raise deregistration_delay.timeout_seconds (300 s by default, up to 3600 s) above \
         the longest request",
        "In HAProxy drain (set server ... state drain) before disabling, avoid on-marked-down \
         shutdown-sessions, raise hard-stop-after",
        "In nginx raise worker_shutdown_timeout; in Kubernetes set a preStop delay, and \
         terminationGracePeriodSeconds above the longest request",
        "Steady the health check if targets flap: longer time-out, higher unhealthy threshold, a \
         lighter path",
    ],
    wireshark: &[
        ("tcp.flags.fin == 1 or tcp.flags.reset == 1", "closes: many of one side at once"),
        ("http.request and !http.response_in", "requests without a response"),
    ],
    references: &[
        "AWS, target group attributes: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-target-group-attributes.html",
        "AWS, troubleshoot your ALB: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html",
        "HAProxy, session state at disconnection (8.5): \
         https://docs.haproxy.org/2.6/configuration.html#8.5",
        "nginx, worker_shutdown_timeout: \
         https://nginx.org/en/docs/ngx_core_module.html#worker_shutdown_timeout",
        "Kubernetes, pod termination: \
         https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/",
    ],
    detect,
};

/// Closes within this time belong together, nanoseconds.
const TOGETHER: i64 = 100_000_000;
/// Connections of one load balancer that close together by more than chance.
const MANY: usize = 3;

fn detect(case: &Case<'_>) -> Option<Verdict> {
    case.failed()?;
    let close = case.closed_by_client()?;
    let (client, server) = (case.flow.client, case.flow.server);
    let (idle, cuts) = case.wider.closed_together(client, close.mark.at, TOGETHER);
    let silence = case.silence_before(close.mark);
    // Requests sent together also time out together: then the silence is the same, or the time since the
    // request where a timer runs for the whole response. And a load balancer that stops leaves no connection
    // behind.
    let several = if cuts > 1 { idle + cuts >= MANY } else { idle > MANY };
    if !several
        || case.wider.same_silence(client, silence) >= cuts.max(2)
        || case.wider.same_age(client, case.age_at(close.mark)) >= cuts.max(2)
        || case.wider.went_on(client, server, close.mark.at)
    {
        return None;
    }
    let mut evidence = vec![case.ending(
        close,
        phrase!(
            "closed within 0.1 s of {others} others with requests outstanding and {idle} idle ones",
            others = cuts.saturating_sub(1),
            idle
        ),
    )];
    evidence.extend(case.asked(phrase!("the request, outstanding")));
    Some(Verdict {
        // A person who leaves a page with several requests cuts them together too.
        confidence: if idle > 0 && cuts > 1 { Confidence::Likely } else { Confidence::Possible },
        evidence,
        summary: phrase!(
            "the load balancer closed {cuts} connections together, this one with a request \
             outstanding for {wait}",
            cuts = idle + cuts,
            wait = span(case.outstanding(close.mark))
        ),
        responsible: None,
    })
}

#[cfg(test)]
mod tests {
    use crate::cause::fixture::{ASKED, MS, S, Scene};
    use crate::time::Timestamp;

    /// One of three connections closed within 20 ms, the others after `silence`.
    fn three(silence: i64) -> Scene {
        let waited = S + 300 * MS;
        Scene::asked().balancer_fin(ASKED + waited, waited).with(|scene| {
            let client = scene.flow.client;
            for after in [10 * MS, 20 * MS] {
                let at = Timestamp(ASKED + waited + after);
                scene.wider.learn_cut(client, silence, silence, at);
            }
            scene.wider.seal();
        })
    }

    #[test]
    fn connections_of_different_age_that_end_together_are_cut() {
        assert_eq!(three(200 * MS).cause(), Some("lb-cut"));
    }

    #[test]
    fn requests_sent_together_time_out_together() {
        assert_eq!(three(S + 300 * MS).cause(), Some("response-timeout"));
    }

    #[test]
    fn a_single_close_is_no_cut() {
        let scene = Scene::asked().balancer_fin(ASKED + S, S);
        assert!(scene.rule("lb-cut").is_none());
    }
}
