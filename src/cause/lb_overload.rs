//! the load balancer refused or kept waiting because a limit of its own was reached.

use super::{Case, Cause, Responsible, Verdict};

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "lb-overload",
    summary: "a limit of the load balancer was reached before any target was asked",
    explanation: "\
        The load balancer had targets, and did not ask them: a limit on connections or waiting \
        requests was reached. Either it refused at once (Envoy's circuit breakers, nginx \
        max_conns, a full queue), or it kept the request in a queue until a timeout (HAProxy's \
        timeout queue, the surge queue of a Classic Load Balancer).\n\n\
        The limit protects the targets. It is reached when they are slower than usual, when \
        there are fewer of them, or when it is set too low. Look at the response times of the \
        requests that were under way: most often a slow target is what fills the queue.\n\n\
        In a capture on the load balancer the front leg shows 503 after a constant wait, or at \
        once, while other requests are under way on the back legs and no attempt belongs to \
        this one. That no target was asked is proved by the packets; which limit it was, only \
        the log says.",
    seen_as: &[
        ("AWS ALB", "503; a Classic Load Balancer counts SpilloverCount"),
        ("HAProxy", "503, termination state sQ; PC or RC at the limits of the process"),
        ("nginx", "502 or 503, no live upstreams with max_conns"),
        ("Envoy", "503, flag UO, overflow"),
        ("Apache", "503, AH01114 or all workers busy"),
    ],
    responsible: Responsible::LoadBalancer,
    typical_status: Some(503),
    confirm: &[
        "Look at the load balancer's log: termination state sQ or flag UO at this time",
        "Compare the wait of these requests with timeout queue, and the requests under way \
         with maxconn or max_requests",
        "Look at the response times of the targets just before: did they grow",
    ],
    fix: &[
        "Find out what kept the targets busy: compare the response times before and during \
         the refusals; add targets or make the slow path faster",
        "Raise the limit if the targets can take more: HAProxy maxconn and timeout queue, \
         Envoy circuit_breakers, nginx max_conns",
        "Let clients wait before they try again (Retry-After), so that they do not add to the \
         load",
    ],
    wireshark: &[(
        "http.response.code >= 502 and http.response.code <= 504",
        "answers that a load balancer makes",
    )],
    references: &[
        "HAProxy, session state at disconnection (8.5): \
         https://docs.haproxy.org/2.6/configuration.html#8.5",
        "Envoy, access log response flags: \
         https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage",
        "nginx, upstream module: \
         https://nginx.org/en/docs/http/ngx_http_upstream_module.html",
        "AWS, Classic Load Balancer metrics: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/classic/elb-cloudwatch-metrics.html",
    ],
    detect,
};

/// The packets of one connection never show it: it takes both legs of the proxy, or its log.
fn detect(_: &Case<'_>) -> Option<Verdict> {
    None
}
