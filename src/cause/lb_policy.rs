//! a rule of the load balancer refused the request.

use super::{Case, Cause, Responsible, Verdict};

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "lb-policy",
    summary: "a rule of the load balancer answered the request",
    explanation: "\
        The load balancer answered by rule: a fixed response, an access rule, a firewall for \
        web applications, a rate limit, a failed login, an authentication service that could \
        not be reached, or a request that it does not take. No target was asked, and the \
        targets have nothing to do with it.\n\n\
        The status tells little: 403 and 429 are usual, an ALB says 500 or 503 when the web \
        application firewall or an identity provider fails, and a fixed response may have any \
        status. The log names the rule.\n\n\
        In a capture on the load balancer the front leg shows the answer and no attempt \
        belongs to it, while other requests are served. That alone cannot be told from a limit \
        or an empty list of targets, so that packets alone never give this verdict.",
    seen_as: &[
        ("AWS ALB", "actions_executed and error_reason name the rule; 403 WAF, 561 login"),
        ("HAProxy", "termination state PR, LR or LH"),
        ("nginx", "status of limit_req, deny or return; upstream -"),
        ("Envoy", "flag RL, UAEX or DI; direct_response"),
        ("Cloudflare", "403 or 429 with its own page"),
    ],
    responsible: Responsible::Configuration,
    typical_status: None,
    confirm: &[
        "Read the log line of the request: actions_executed and error_reason (ALB), \
         termination state (HAProxy), flags (Envoy)",
        "Send the same request again from another address and without cookies: does the rule \
         still fit",
    ],
    fix: &[
        "Read in the log which rule answered, and change that rule or the request that it \
         refuses",
        "Give answers by rule a status of their own (403, 429), so that nobody takes them for \
         failures of targets",
        "Watch the service that the rule depends on: identity provider, web application \
         firewall, rate limit service",
    ],
    wireshark: &[("http.response.code == 403 or http.response.code == 429", "refusals")],
    references: &[
        "AWS, troubleshoot your ALB: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html",
        "AWS, ALB access logs: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html",
        "HAProxy, session state at disconnection (8.5): \
         https://docs.haproxy.org/2.6/configuration.html#8.5",
        "Envoy, access log response flags: \
         https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage",
    ],
    detect,
};

/// The packets of one connection never show it: it takes both legs of the proxy, or its log.
fn detect(_: &Case<'_>) -> Option<Verdict> {
    None
}
