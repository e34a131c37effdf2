//! What a failing line says of why its request failed, in the words of the product that wrote it.
//!
//! A line names a cause where its product has a word for it. Where the word covers several causes (HAProxy's
//! `SH`: the target closed or reset), packets that show one of them agree with it.

mod apache;
mod aws;
mod envoy;
mod haproxy;
mod nginx;

use super::kind::Kind;
use super::line::Line;
use crate::cause::{Confidence, Responsible};
use crate::word;

/// What a line says of the failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Account {
    /// Ids of the causes that it allows; the first is the one that it names by itself.
    pub(super) causes: &'static [&'static str],
    /// How sure the first is by the line alone.
    pub(super) confidence: Confidence,
    /// What happened, in words: a clause without full stop.
    pub(super) what: &'static str,
    /// The field that says it, as in [`Line::said`].
    pub(super) field: &'static str,
    /// Who has to act, where that is known and the cause leaves it open.
    pub(super) responsible: Option<Responsible>,
}

/// The target ended the connection before its response was complete.
pub(super) const CLOSED: [&str; 13] = [
    "target-fin-no-response",
    "target-rst-no-response",
    "keepalive-race",
    "response-header-truncated",
    "target-closed-during-request",
    "injected-reset",
    "stale-flow-reset",
    "l4-lb-reset",
    "protocol-mismatch",
    "response-malformed",
    "response-body-truncated",
    "tls-handshake-failed",
    "tuple-collision",
];
/// The same, by a reset.
const RESET: [&str; 11] = [
    "target-rst-no-response",
    "keepalive-race",
    "response-header-truncated",
    "target-closed-during-request",
    "injected-reset",
    "stale-flow-reset",
    "l4-lb-reset",
    "protocol-mismatch",
    "response-body-truncated",
    "tls-handshake-failed",
    "tuple-collision",
];
/// The response broke off in its body.
const CUT: [&str; 5] = [
    "response-body-truncated",
    "injected-reset",
    "stale-flow-reset",
    "l4-lb-reset",
    "response-malformed",
];
/// No answer came to a request.
pub(super) const SILENT: [&str; 7] = [
    "response-timeout",
    "request-unacked",
    "response-stalled",
    "target-not-reading",
    "mtu-blackhole",
    "return-path-blocked",
    "tls-handshake-timeout",
];
/// The response stopped.
const STALLED: [&str; 4] =
    ["response-stalled", "mtu-blackhole", "return-path-blocked", "target-not-reading"];
/// The target did not take the request.
const NOT_READ: [&str; 4] =
    ["target-not-reading", "request-unacked", "mtu-blackhole", "response-timeout"];
/// No connection could be made: refused or not reachable.
pub(super) const REFUSED: [&str; 6] = [
    "connect-refused",
    "connect-unreachable",
    "injected-reset",
    "stale-flow-reset",
    "l4-lb-reset",
    "tuple-collision",
];
const UNREACHABLE: [&str; 3] = ["connect-unreachable", "connect-timeout", "connect-timeout-path"];
/// Nobody answered the SYN.
pub(super) const UNANSWERED: [&str; 5] = [
    "connect-timeout",
    "connect-timeout-path",
    "connect-timeout-host",
    "return-path-blocked",
    "tuple-collision",
];
const TLS: [&str; 6] = [
    "tls-handshake-failed",
    "protocol-mismatch",
    "tls-handshake-timeout",
    "target-fin-no-response",
    "target-rst-no-response",
    "injected-reset",
];
const TLS_SILENT: [&str; 4] =
    ["tls-handshake-timeout", "mtu-blackhole", "return-path-blocked", "protocol-mismatch"];
const MALFORMED: [&str; 5] = [
    "response-malformed",
    "response-header-too-large",
    "protocol-mismatch",
    "unsolicited-response",
    "response-body-truncated",
];
const TOO_LARGE: [&str; 1] = ["response-header-too-large"];
/// The target's own answer.
pub(super) const OWN: [&str; 1] = ["target-own-5xx"];
pub(super) const LEFT: [&str; 1] = ["client-abort"];
const SLOW_CLIENT: [&str; 1] = ["client-request-timeout"];
pub(super) const NO_TARGET: [&str; 1] = ["lb-no-target"];
const OVERLOAD: [&str; 1] = ["lb-overload"];
const POLICY: [&str; 1] = ["lb-policy"];
const NO_PORT: [&str; 1] = ["local-port-exhaustion"];
const LAMBDA: [&str; 1] = ["lambda-target"];
const LB_CUT: [&str; 1] = ["lb-cut"];
/// It was not the target's answer; which of several faults it was, it does not say.
pub(super) const OPEN: [&str; 1] = ["inconclusive"];

/// What `line` says of why its request failed.
pub(super) fn of(kind: Kind, line: &Line<'_>) -> Option<Account> {
    if !line.failed {
        return None;
    }
    let says =
        |name: &str| line.said.iter().find(|(field, _)| *field == name).map(|(_, value)| &**value);
    match kind {
        Kind::Alb | Kind::Clb => aws::account(kind, line),
        Kind::NginxError => says("error").and_then(nginx::error),
        Kind::ApacheError => says("error").and_then(apache::error),
        _ => {
            if let Some(state) = says("termination_state") {
                return haproxy::account(state, line);
            }
            let flags = says("response_flags");
            let details = says("response_code_details");
            match kind == Kind::Envoy || flags.is_some() || details.is_some() {
                true => envoy::account(
                    flags.unwrap_or_default(),
                    details.unwrap_or_default(),
                    says("upstream_transport_failure_reason").unwrap_or_default(),
                    line,
                ),
                false => nginx::access(line),
            }
        }
    }
}

impl Account {
    const fn new(
        causes: &'static [&'static str],
        confidence: Confidence,
        field: &'static str,
        what: &'static str,
    ) -> Account {
        Account { causes, confidence, what, field, responsible: None }
    }

    /// The proxy made the answer, and its line does not say why.
    const fn proxys_own(field: &'static str, what: &'static str) -> Account {
        let who = Some(Responsible::LoadBalancer);
        Account { responsible: who, ..Account::new(&OPEN, Confidence::Possible, field, what) }
    }

    /// The target answered so itself.
    const fn targets_own(confidence: Confidence, field: &'static str) -> Account {
        Account::new(&OWN, confidence, field, word!("the target itself gave this answer"))
    }

    /// The cause that the line names by itself.
    pub(super) fn cause(&self) -> &'static str {
        self.causes.first().copied().unwrap_or("inconclusive")
    }

    /// What only a log can tell: the cause by its id.
    fn only_log(cause: &str, field: &'static str) -> Option<Account> {
        let (causes, what): (&'static [&'static str], &'static str) = match cause {
            "lb-no-target" => (&NO_TARGET, word!("it had no target that it may ask")),
            "lb-overload" => (&OVERLOAD, word!("a limit of the proxy was reached")),
            "lb-policy" => (&POLICY, word!("a rule of the proxy made the answer")),
            "client-request-timeout" => {
                (&SLOW_CLIENT, word!("the client did not send its whole request in time"))
            }
            "lambda-target" => (&LAMBDA, word!("the Lambda function failed")),
            "local-port-exhaustion" => {
                (&NO_PORT, word!("the proxy had no free local port or socket to connect with"))
            }
            _ => return None,
        };
        Some(Account::new(causes, Confidence::Certain, field, what))
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::Format;
    use super::super::kind::Lines;
    use super::*;
    use crate::cause::by_id;

    fn told(kind: Kind, text: &str) -> Option<(&'static str, &'static str, Confidence)> {
        let format = "$msec $status $upstream_addr $upstream_status $request";
        let lines = Lines { formats: vec![Format::new(format).unwrap()] };
        let mut fields = Vec::new();
        let line =
            lines.read(kind, text.as_bytes(), &mut fields).unwrap_or_else(|| panic!("{text}"));
        let account = of(kind, &line)?;
        assert!(account.causes.iter().all(|id| by_id(id).is_some()), "{:?}", account.causes);
        Some((account.cause(), account.field, account.confidence))
    }

    #[test]
    fn haproxys_termination_states() {
        use Confidence::{Certain, Likely, Possible};
        for (state, server, status, times, wanted) in [
            ("SH--", "b/t1", 502, "0/0/1/-1/50", Some(("target-fin-no-response", Possible))),
            ("sH--", "b/t1", 504, "0/0/1/-1/50", Some(("response-timeout", Likely))),
            ("SC--", "b/t1", 503, "0/0/-1/-1/50", Some(("connect-refused", Likely))),
            ("SC--", "b/<NOSRV>", 503, "0/0/-1/-1/0", Some(("lb-no-target", Certain))),
            ("sC--", "b/t1", 503, "0/0/-1/-1/50", Some(("connect-timeout", Certain))),
            ("SD--", "b/t1", 200, "0/0/1/3/50", Some(("response-body-truncated", Likely))),
            ("SD--", "b/t1", 0, "0/0/1/-1/50", Some(("target-closed-during-request", Likely))),
            ("PH--", "b/t1", 502, "0/0/1/-1/50", Some(("response-malformed", Likely))),
            ("sQ--", "b/<NOSRV>", 503, "0/50/-1/-1/50", Some(("lb-overload", Certain))),
            ("LR--", "f/<NOSRV>", 503, "0/-1/-1/-1/0", Some(("lb-policy", Certain))),
            ("CD--", "b/t1", 200, "0/0/1/3/50", Some(("client-abort", Certain))),
            ("----", "b/t1", 503, "0/0/1/3/50", Some(("target-own-5xx", Certain))),
            ("PR--", "f/<NOSRV>", 403, "0/-1/-1/-1/0", None),
            ("----", "b/t1", 200, "0/0/1/3/50", None),
        ] {
            let text = format!(
                "203.0.113.7:53504 [21/Nov/2026:10:35:40.876] f {server} {times} {status} 217 - - {state} \
                 1/1/0/0/0 0/0 \"GET /a HTTP/1.1\""
            );
            let wanted = wanted.map(|(cause, sure)| (cause, "termination_state", sure));
            assert_eq!(told(Kind::HaproxyHttp, &text), wanted, "{state} {server}");
        }
    }

    #[test]
    fn envoys_flags_and_details() {
        use Confidence::{Certain, Likely, Possible};
        const FLAGS: &str = "response_flags";
        const DETAILS: &str = "response_code_details";
        const REASON: &str = "upstream_transport_failure_reason";
        for (status, flags, details, reason, target, wanted) in [
            (503, "UH", "no_healthy_upstream", "-", "-", Some(("lb-no-target", FLAGS, Certain))),
            (
                503,
                "UF",
                "-",
                "delayed_connect_error:_111",
                "T",
                Some(("connect-refused", REASON, Certain)),
            ),
            (503, "UF", "-", "TLS_error:|x", "T", Some(("tls-handshake-failed", REASON, Certain))),
            (503, "UF", "-", "-", "T", Some(("connect-refused", FLAGS, Possible))),
            (503, "UC", "-", "-", "T", Some(("target-fin-no-response", FLAGS, Possible))),
            (503, "UO,UC", "-", "-", "T", Some(("target-fin-no-response", FLAGS, Possible))),
            (503, "UO", "overflow", "-", "-", Some(("lb-overload", FLAGS, Certain))),
            (504, "UT", "response_timeout", "-", "T", Some(("response-timeout", FLAGS, Likely))),
            (500, "-", "via_upstream", "-", "T", Some(("target-own-5xx", DETAILS, Certain))),
            (500, "URX", "-", "-", "T", Some(("target-own-5xx", FLAGS, Likely))),
            (503, "-", "direct_response", "-", "-", Some(("lb-policy", DETAILS, Certain))),
            (0, "DC", "-", "-", "T", Some(("client-abort", FLAGS, Certain))),
            (503, "-", "-", "-", "-", Some(("lb-policy", FLAGS, Likely))),
            (404, "NR", "route_not_found", "-", "-", None),
        ] {
            let target = if target == "T" { "10.0.0.9:8080" } else { "-" };
            let text = format!(
                "[2026-11-21T10:35:40.565Z] \"GET / HTTP/1.1\" {status} {flags} {details} - \"{reason}\" 0 91 12 \
                 11 \"-\" \"curl\" \"id\" \"shop\" \"{target}\" outbound - 10.0.0.6:80 203.0.113.7:50000 - default"
            );
            assert_eq!(told(Kind::Envoy, &text), wanted, "{flags} {details} {reason}");
        }
    }

    #[test]
    fn nginxs_errors_and_statuses_of_upstreams() {
        use Confidence::{Certain, Likely, Possible};
        for (event, wanted) in [
            (
                "connect() failed (111: Connection refused) while connecting to upstream",
                ("connect-refused", Certain),
            ),
            (
                "upstream timed out (110: Connection timed out) while connecting to upstream",
                ("connect-timeout", Certain),
            ),
            (
                "upstream timed out (110: Connection timed out) while reading response header from upstream",
                ("response-timeout", Likely),
            ),
            (
                "upstream prematurely closed connection while reading response header from upstream",
                ("target-fin-no-response", Likely),
            ),
            (
                "recv() failed (104: Connection reset by peer) while reading response header from upstream",
                ("target-rst-no-response", Likely),
            ),
            (
                "upstream prematurely closed connection while reading upstream",
                ("response-body-truncated", Certain),
            ),
            (
                "upstream sent too big header while reading response header from upstream",
                ("response-header-too-large", Certain),
            ),
            (
                "SSL_do_handshake() failed (SSL: error:0A00010B) while SSL handshaking to upstream",
                ("tls-handshake-failed", Certain),
            ),
            (
                "upstream SSL certificate verify error: (18:self-signed certificate) while SSL handshaking to upstream",
                ("tls-handshake-failed", Certain),
            ),
            ("no live upstreams while connecting to upstream", ("lb-no-target", Certain)),
        ] {
            let text = format!(
                "2026/11/21 10:35:40 [error] 20#20: *2 {event}, client: 127.0.0.1, server: , \
                 request: \"GET /a HTTP/1.1\", upstream: \"http://10.0.0.9:80/a\", host: \"shop\""
            );
            let wanted = Some((wanted.0, "error", wanted.1));
            assert_eq!(told(Kind::NginxError, &text), wanted, "{event}");
        }
        for (said, wanted) in [
            ("500 10.0.0.9:80 500", Some(("target-own-5xx", "upstream", Certain))),
            ("502 10.0.0.9:80 502", None),
            ("502 shop 502", Some(("lb-no-target", "upstream", Certain))),
            ("503 - -", Some(("inconclusive", "upstream", Possible))),
            ("499 10.0.0.9:80 -", Some(("client-abort", "status", Certain))),
        ] {
            let text = format!("1795257340.5 {said} GET / HTTP/1.1");
            assert_eq!(told(Kind::Format, &text), wanted, "{said}");
        }
    }

    #[test]
    fn apaches_errors() {
        use Confidence::{Certain, Likely, Possible};
        for (event, wanted) in [
            (
                "(104)Connection reset by peer: [client 10.0.0.5:4] AH01102: error reading status line from remote \
                 server 10.0.0.9:80",
                ("target-rst-no-response", Likely),
            ),
            (
                "(20014)Internal error (specific information not available): [client 10.0.0.5:4] AH01102: error \
                 reading status line from remote server 10.0.0.9:80",
                ("target-fin-no-response", Likely),
            ),
            (
                "(70007)The timeout specified has expired: [client 10.0.0.5:4] AH01102: error reading status line \
                 from remote server 10.0.0.9:80",
                ("response-timeout", Likely),
            ),
            (
                "(111)Connection refused: AH00957: http: attempt to connect to 10.0.0.9:80 (10.0.0.9) failed",
                ("connect-refused", Certain),
            ),
            (
                "(70007)The timeout specified has expired: AH00957: http: attempt to connect to 10.0.0.9:80 \
                 (10.0.0.9) failed",
                ("connect-timeout", Certain),
            ),
            (
                "[client 10.0.0.5:4] AH01114: HTTP: failed to make connection to backend: 10.0.0.9",
                ("connect-refused", Possible),
            ),
            (
                "(70008)Partial results are valid but processing is incomplete: [client 10.0.0.5:4] AH01110: error \
                 reading response",
                ("response-body-truncated", Likely),
            ),
            (
                "[client 10.0.0.5:4] AH01167: balancer://b: All workers are in error state",
                ("lb-no-target", Certain),
            ),
        ] {
            let text =
                format!("[Sat Nov 21 10:35:40.087285 2026] [proxy:error] [pid 1:tid 2] {event}");
            let wanted = Some((wanted.0, "error", wanted.1));
            assert_eq!(told(Kind::ApacheError, &text), wanted, "{event}");
        }
    }

    #[test]
    fn statuses_of_aws_load_balancers() {
        use Confidence::{Certain, Likely, Possible};
        for (target, times, statuses, wanted) in [
            (
                "10.0.0.9:80",
                "0.0 0.1 0.0",
                "503 503",
                ("target-own-5xx", "target_status_code", Certain),
            ),
            (
                "10.0.0.9:80",
                "0.0 -1 -1",
                "504 -",
                ("response-timeout", "target_status_code", Likely),
            ),
            (
                "10.0.0.9:80",
                "-1 -1 -1",
                "504 -",
                ("connect-timeout", "request_processing_time", Likely),
            ),
            ("10.0.0.9:80", "0.0 -1 -1", "502 -", ("inconclusive", "target_status_code", Possible)),
            ("10.0.0.9:80", "0.0 -1 -1", "460 -", ("client-abort", "elb_status_code", Certain)),
            ("-", "-1 -1 -1", "503 -", ("lb-no-target", "elb_status_code", Certain)),
        ] {
            let text = format!(
                "http 2026-11-21T10:35:35.25Z app/shop/0123 203.0.113.7:40001 {target} {times} {statuses} 21 33 \
                 \"GET http://a:80/ HTTP/1.1\" \"-\" - - arn \"Root=1-2-3\""
            );
            assert_eq!(told(Kind::Alb, &text), Some(wanted), "{statuses}");
        }
    }
}
