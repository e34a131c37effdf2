//! the target was a Lambda function that failed.

use super::{Case, Cause, Responsible, Verdict};

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "lambda-target",
    summary: "the target was a Lambda function, and calling it failed",
    explanation: "\
        An ALB can have a Lambda function as target. It is called through the Lambda service, \
        not over a connection of yours, so that no capture of yours shows it. The ALB answers \
        502 when the function fails, takes too long, is throttled or returns something that is \
        no response, and 504 when it could not connect to the service.\n\n\
        The access log names the reason in error_reason: LambdaUnhandled, \
        LambdaInvalidResponse, LambdaResponseTooLarge (over 1 MB), LambdaThrottling, \
        LambdaConnectionTimeout and others.\n\n\
        Other serverless targets behave alike: the failure is in the platform's own log.",
    seen_as: &[("AWS ALB", "502 or 504, target:port -, error_reason Lambda...")],
    responsible: Responsible::TargetApp,
    typical_status: Some(502),
    confirm: &[
        "Read error_reason in the access log",
        "Read the function's log and its metrics Errors, Throttles and Duration at this time",
    ],
    fix: &[
        "Read error_reason in the access log and the function's own log at this time: it \
         failed, was throttled, or returned no valid response",
        "Return statusCode, headers and a body below 1 MB",
        "Raise the function's time and its reserved concurrency",
    ],
    wireshark: &[(
        "http.response.code >= 502 and http.response.code <= 504",
        "answers that a load balancer makes",
    )],
    references: &[
        "AWS, Lambda functions as targets: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html",
        "AWS, ALB access logs: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html",
    ],
    detect,
};

/// The packets of one connection never show it: it takes both legs of the proxy, or its log.
fn detect(_: &Case<'_>) -> Option<Verdict> {
    None
}
