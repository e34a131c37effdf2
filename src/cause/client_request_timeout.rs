//! the client of the load balancer did not send its whole request in time.

use super::{Case, Cause, Responsible, Verdict};

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "client-request-timeout",
    summary: "the client of the load balancer did not send its whole request in time",
    explanation: "\
        The load balancer waited for a request or the rest of one and gave up. On its front \
        leg the request is not complete, or no byte of one came. The client sees 408, or \
        nothing if it has long left.\n\n\
        Usual reasons are connections that browsers open in advance and never use (harmless), \
        slow or interrupted uploads, a client on a bad network, a Content-Length larger than \
        what is sent, and attacks that send a request byte by byte.\n\n\
        Behind a load balancer that waits for the whole request before it asks a target \
        nothing of it reaches the targets. Others ask at once, and the target sees a request \
        that stops in the middle and then a close.",
    seen_as: &[
        ("AWS ALB", "408; 400 if the client closed before the whole request had come"),
        ("HAProxy", "408, termination state cR or cD"),
        ("nginx", "408, client timed out while reading client request"),
        ("Envoy", "408, flag SI, or request_timeout"),
        ("Apache", "408, AH01382"),
        ("GCP", "408, client_timed_out"),
    ],
    responsible: Responsible::Client,
    typical_status: Some(408),
    confirm: &[
        "Look for the log line: 408, cR or cD",
        "Capture on the client side of the load balancer: which part of the request came, and \
         when the last byte",
        "Look at the user agent and address: browsers opening connections in advance, one \
         client with a bad network, or many",
    ],
    fix: &[
        "Leave 408 on connections without any request alone; for cut uploads look at the \
         client's network and at the time that the load balancer allows",
        "Raise the time for uploads: HAProxy timeout http-request and timeout client, nginx \
         client_body_timeout, ALB idle timeout",
        "Correct clients that announce a longer body than they send",
    ],
    wireshark: &[("http.response.code == 408", "answers of this kind")],
    references: &[
        "AWS, troubleshoot your ALB: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html",
        "HAProxy, session state at disconnection (8.5): \
         https://docs.haproxy.org/2.6/configuration.html#8.5",
        "RFC 9110, 15.5.9 (408): \
         https://www.rfc-editor.org/rfc/rfc9110#section-15.5.9",
    ],
    detect,
};

/// The packets of one connection never show it: it takes both legs of the proxy, or its log.
fn detect(_: &Case<'_>) -> Option<Verdict> {
    None
}
