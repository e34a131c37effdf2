//! nginx: the events of its error log, and what the status of the upstream in an access log says.

use super::super::line::Line;
use super::{
    Account, CLOSED, CUT, LEFT, MALFORMED, NOT_READ, REFUSED, RESET, SILENT, STALLED, TLS,
    TLS_SILENT, TOO_LARGE, UNANSWERED, UNREACHABLE,
};
use crate::cause::Confidence::{Certain, Likely};
use crate::word;
use memchr::memmem::find;

const ERROR: &str = "error";
const UPSTREAM: &str = "upstream";

/// What the error log says: an event and the phase in which it came, `... while reading response header from
/// upstream` (`src/event/ngx_event_connect.c`, `src/http/ngx_http_upstream.c`).
pub(super) fn error(event: &[u8]) -> Option<Account> {
    let has = |words: &str| find(event, words.as_bytes()).is_some();
    let says = |causes, confidence, what| Some(Account::new(causes, confidence, ERROR, what));
    if let Some(cause) = super::super::nginx_error::own_cause(event) {
        return Account::only_log(cause, ERROR);
    }
    if has("client prematurely closed connection") || has("client closed connection") {
        return says(&LEFT, Certain, word!("the client closed the connection first"));
    }
    if has("while SSL handshaking to upstream") || has("while handshaking to upstream") {
        return match has("timed out") {
            true => says(
                &TLS_SILENT,
                Certain,
                word!("the target did not finish the TLS handshake in time"),
            ),
            false => says(&TLS, Certain, word!("the TLS handshake with the target failed")),
        };
    }
    if has("upstream SSL certificate") {
        return says(&TLS, Certain, word!("the certificate of the target was refused"));
    }
    if has("(111: ") {
        return says(&REFUSED, Certain, word!("the target refused the connection"));
    }
    if has("(113: ") || has("(101: ") {
        return says(&UNREACHABLE, Certain, word!("the target was not reachable"));
    }
    let connecting = has("while connecting to upstream");
    let header = has("while reading response header from upstream");
    let body = has("while reading upstream");
    let sending = has("while sending request to upstream");
    let timed_out = has("timed out") || has("(110: ");
    match () {
        () if timed_out && connecting => {
            says(&UNANSWERED, Certain, word!("the target did not accept the connection in time"))
        }
        () if timed_out && header => {
            says(&SILENT, Likely, word!("the target did not answer within proxy_read_timeout"))
        }
        () if timed_out && body => {
            says(&STALLED, Likely, word!("the response of the target stopped in the middle"))
        }
        () if timed_out && sending => {
            says(&NOT_READ, Likely, word!("the target did not take the request in time"))
        }
        () if has("too big header") => says(
            &TOO_LARGE,
            Certain,
            word!("the header of the response was larger than proxy_buffer_size"),
        ),
        () if has("upstream sent") => {
            says(&MALFORMED, Certain, word!("the response of the target was invalid"))
        }
        () if body && (has("prematurely closed") || has("(104: ")) => says(
            &CUT,
            Certain,
            word!("the target closed or reset the connection in the middle of the response"),
        ),
        () if header && has("prematurely closed") => says(
            &CLOSED,
            Likely,
            word!("the target closed the connection before its response header was complete"),
        ),
        () if has("(104: ") && (header || connecting) => says(
            &RESET,
            Likely,
            word!("the target reset the connection before its response header was complete"),
        ),
        () if sending && (has("(104: ") || has("(32: ")) => says(
            &DURING_REQUEST,
            Likely,
            word!("the target ended the connection while the request was sent"),
        ),
        () => None,
    }
}

const DURING_REQUEST: [&str; 5] = [
    "target-closed-during-request",
    "target-rst-no-response",
    "keepalive-race",
    "injected-reset",
    "stale-flow-reset",
];

/// What an access log with `$upstream_addr` and `$upstream_status` says. nginx makes up 502 and 504 as the
/// status of an upstream that gave none.
pub(super) fn access(line: &Line<'_>) -> Option<Account> {
    let status = line.status?;
    if status == 499 {
        return Some(Account::new(
            &LEFT,
            Certain,
            "status",
            word!("the client closed the connection first"),
        ));
    }
    if status < 500 {
        return None;
    }
    if let Some(cause) = line.own_cause {
        return Account::only_log(cause, UPSTREAM);
    }
    if line.undispatched {
        let what = word!("the proxy made the answer itself and asked no target");
        return Some(Account::proxys_own(UPSTREAM, what));
    }
    let last = line.attempts.last().and_then(|attempt| attempt.status)?;
    (last == status && !matches!(status, 502 | 504))
        .then_some(Account::targets_own(Certain, UPSTREAM))
}
