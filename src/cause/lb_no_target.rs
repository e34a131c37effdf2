//! the load balancer had no target that it may ask.

use super::{Case, Cause, Responsible, Verdict};

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "lb-no-target",
    summary: "the load balancer had no target that it may ask",
    explanation: "\
        The load balancer answered at once, by itself, and sent no packet to any target: its \
        list of targets was empty, or every one on it counted as down. The client sees 503, \
        from nginx 502.\n\n\
        A list is empty when nothing was registered, when the last target is being taken out, \
        or when a service in Kubernetes has no pod that is ready. Targets count as down after \
        failed health checks, or after failed requests for a while (nginx max_fails and \
        fail_timeout, Envoy's outlier detection, Apache's retry time). An ALB sends requests \
        to unhealthy targets when all of them are (fail open), so that its 503 means an empty \
        group; HAProxy, Envoy and nginx do not.\n\n\
        In a capture on the load balancer the front leg shows the answer within a millisecond \
        and no attempt belongs to it. The attempts before it tell why: refused connections, \
        timeouts, failed checks. Their findings are the root cause. Without such attempts only \
        the log can tell an empty list from a limit (lb-overload) or a rule (lb-policy).",
    seen_as: &[
        ("AWS ALB", "503, all three times -1, target:port -"),
        ("HAProxy", "503, termination state SC, server <NOSRV>"),
        ("nginx", "502, no live upstreams while connecting to upstream"),
        ("Envoy", "503, flag UH, no_healthy_upstream"),
        ("Apache", "503, AH01114 or all workers are in error state"),
        ("GCP", "502 or 503, failed_to_pick_backend"),
        ("Azure", "502, ERRORINFO_UPSTREAM_NO_LIVE"),
    ],
    responsible: Responsible::LoadBalancer,
    typical_status: Some(503),
    confirm: &[
        "Look at the load balancer's log for the words above at this time",
        "List the targets and their states at that time: target health, HAProxy's show \
         servers state, Envoy's /clusters, kubectl get endpointslices",
        "Look at the health checks and failed attempts shortly before: they say why the \
         targets counted as down",
    ],
    fix: &[
        "Find out why every target counted as down or was missing at this time: read the \
         failed checks and attempts before it, and mend the first of them",
        "Keep at least two targets in service during deployments: wait for the new ones to be \
         healthy before the old ones are taken out",
        "Make checks fail less easily than the service: a threshold above 1, a timeout above \
         the slowest good answer",
        "With one target only, switch off passive marking: nginx max_fails=0, Apache retry=0",
    ],
    wireshark: &[(
        "http.response.code >= 502 and http.response.code <= 504",
        "answers that a load balancer makes",
    )],
    references: &[
        "AWS, troubleshoot your ALB: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html",
        "AWS, ALB access logs: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html",
        "HAProxy, session state at disconnection (8.5): \
         https://docs.haproxy.org/2.6/configuration.html#8.5",
        "nginx, upstream module: \
         https://nginx.org/en/docs/http/ngx_http_upstream_module.html",
        "Envoy, access log response flags: \
         https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage",
    ],
    detect,
};

/// The packets of one connection never show it: it takes both legs of the proxy, or its log.
fn detect(_: &Case<'_>) -> Option<Verdict> {
    None
}
