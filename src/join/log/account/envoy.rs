//! Envoy's response flags, response code details and transport failure reasons (Envoy documentation, "Access
//! logging" and "Response code details").

use super::super::line::Line;
use super::super::text::is_none;
use super::{
    Account, CLOSED, CUT, LEFT, MALFORMED, OPEN, POLICY, REFUSED, SILENT, TLS, UNANSWERED,
    UNREACHABLE,
};
use crate::cause::Confidence::{Certain, Likely, Possible};
use crate::word;
use memchr::memmem::find;

const FLAGS: &str = "response_flags";
const DETAILS: &str = "response_code_details";
const REASON: &str = "upstream_transport_failure_reason";

/// What flags, details and the reason of a transport failure say together.
pub(super) fn account(
    flags: &[u8],
    details: &[u8],
    reason: &[u8],
    line: &Line<'_>,
) -> Option<Account> {
    let has = |flag: &[u8]| flags.split(|byte| *byte == b',').any(|it| it == flag);
    let detail = |words: &str| find(details, words.as_bytes()).is_some();
    let says =
        |causes, confidence, field, what| Some(Account::new(causes, confidence, field, what));
    if has(b"DC") || has(b"DR") || detail("downstream_remote_disconnect") {
        let field = if is_none(flags) { DETAILS } else { FLAGS };
        return says(&LEFT, Certain, field, word!("the client closed the connection first"));
    }
    if has(b"UF") || detail("connection_failure") || detail("connection_timeout") {
        return Some(unconnected(flags, details, reason));
    }
    if has(b"UT") || detail("response_timeout") || detail("per_try_timeout") {
        let field = if has(b"UT") { FLAGS } else { DETAILS };
        return says(
            &SILENT,
            Likely,
            field,
            word!("the target did not answer within the time-out of the route"),
        );
    }
    if has(b"UPE") {
        return says(
            &MALFORMED,
            Likely,
            FLAGS,
            word!("the response of the target was invalid, or its header was too large"),
        );
    }
    if has(b"UC") || has(b"UR") || detail("connection_termination") {
        let field = if has(b"UC") || has(b"UR") { FLAGS } else { DETAILS };
        if detail("reset_after_response_started") {
            return says(
                &CUT,
                Likely,
                DETAILS,
                word!("the target closed or reset the connection in the middle of the response"),
            );
        }
        return says(
            &CLOSED,
            Possible,
            field,
            word!("the target closed or reset the connection before its response was complete"),
        );
    }
    if let Some(cause) = line.own_cause {
        return Account::only_log(cause, FLAGS);
    }
    let is_5xx = line.status.is_some_and(|status| status >= 500);
    if is_5xx && detail("via_upstream") {
        return Some(Account::targets_own(Certain, DETAILS));
    }
    if is_5xx && (detail("direct_response") || detail("ext_authz")) {
        return Account::only_log("lb-policy", DETAILS);
    }
    // Envoy's own answers have a flag that says why; these say that it asked no further target.
    let no_further = |flag: &[u8]| is_none(flag) || matches!(flag, b"URX" | b"UO");
    if is_5xx
        && flags.split(|byte| *byte == b',').all(no_further)
        && line.attempts.iter().any(|attempt| attempt.target.is_some())
    {
        return Some(Account::targets_own(Likely, FLAGS));
    }
    if is_5xx && is_none(flags) && line.undispatched {
        return says(&POLICY, Likely, FLAGS, word!("a rule of the proxy made the answer"));
    }
    if has(b"URX") {
        return says(&OPEN, Possible, FLAGS, word!("all attempts failed that the proxy may make"));
    }
    None
}

/// No connection could be made. The reason has the number of the system's error.
fn unconnected(flags: &[u8], details: &[u8], reason: &[u8]) -> Account {
    let (field, text) = match (is_none(reason), is_none(details)) {
        (false, _) => (REASON, reason),
        (true, false) => (DETAILS, details),
        (true, true) => (FLAGS, flags),
    };
    let says = |words: &str| find(text, words.as_bytes()).is_some();
    if says("TLS_error") || says("CERTIFICATE_VERIFY") || says("SSL") {
        return Account::new(
            &TLS,
            Certain,
            field,
            word!("the TLS handshake with the target failed"),
        );
    }
    if says("_111") || says("refused") {
        return Account::new(&REFUSED, Certain, field, word!("the target refused the connection"));
    }
    if says("_113") || says("_101") || says("_112") {
        return Account::new(&UNREACHABLE, Certain, field, word!("the target was not reachable"));
    }
    if says("connection_timeout") || says("connection timeout") {
        let what = word!("the target did not accept the connection in time");
        return Account::new(&UNANSWERED, Certain, field, what);
    }
    Account::new(
        &UNCONNECTED,
        Possible,
        field,
        word!("no connection to the target could be made: refused, no answer, or TLS"),
    )
}

/// A failed connection of which the line has no reason.
const UNCONNECTED: [&str; 11] = [
    "connect-refused",
    "connect-timeout",
    "connect-timeout-host",
    "connect-timeout-path",
    "connect-unreachable",
    "tls-handshake-failed",
    "tls-handshake-timeout",
    "protocol-mismatch",
    "return-path-blocked",
    "injected-reset",
    "tuple-collision",
];
