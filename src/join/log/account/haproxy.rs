//! HAProxy's termination states (Configuration Manual, 8.5, "Session state at disconnection").

use super::super::line::Line;
use super::{Account, CLOSED, CUT, LB_CUT, LEFT, MALFORMED, REFUSED, SILENT, STALLED, UNANSWERED};
use crate::cause::Confidence::{Certain, Likely, Possible};
use crate::word;

/// The target ended the connection while the request was being sent.
const CLOSED_UPLOAD: [&str; 8] = [
    "target-closed-during-request",
    "target-fin-no-response",
    "target-rst-no-response",
    "keepalive-race",
    "injected-reset",
    "stale-flow-reset",
    "l4-lb-reset",
    "tuple-collision",
];
const STATE: &str = "termination_state";

/// What the termination state says: who ended the session, and in which phase.
pub(super) fn account(state: &[u8], line: &Line<'_>) -> Option<Account> {
    if let Some(cause) = line.own_cause {
        return Account::only_log(cause, STATE);
    }
    let says = |causes, confidence, what| Some(Account::new(causes, confidence, STATE, what));
    match *state.first_chunk()? {
        [b'-', b'-'] => line
            .attempts
            .iter()
            .any(|attempt| attempt.status.is_some())
            .then_some(Account::targets_own(Certain, STATE)),
        [b'S', b'C'] => says(
            &REFUSED,
            Likely,
            word!("the connection to the target was refused, or the target was not reachable"),
        ),
        [b's', b'C'] => {
            says(&UNANSWERED, Certain, word!("the target did not accept the connection in time"))
        }
        [b'S', b'H'] => says(
            &CLOSED,
            Possible,
            word!(
                "the target closed or reset the connection before its response headers were complete"
            ),
        ),
        [b's', b'H'] => {
            says(&SILENT, Likely, word!("the target did not answer within timeout server"))
        }
        // No answer had begun: it is the data of the request.
        [b'S', b'D'] if line.attempts.iter().all(|attempt| attempt.status.is_none()) => says(
            &CLOSED_UPLOAD,
            Likely,
            word!(
                "the target closed or reset the connection while the request was still being sent"
            ),
        ),
        [b'S', b'D'] => says(
            &CUT,
            Likely,
            word!("the target closed or reset the connection in the middle of the response"),
        ),
        [b's', b'D'] => says(
            &STALLED,
            Likely,
            word!("nothing moved to or from the target within timeout server"),
        ),
        [b'P', b'H'] if line.status == Some(502) => says(
            &MALFORMED,
            Likely,
            word!("the response of the target was invalid, incomplete, or refused by a rule"),
        ),
        [b'P', b'D'] => says(
            &MALFORMED,
            Possible,
            word!("the body of the request or of the response was invalid"),
        ),
        [b'L', _] if line.undispatched => Account::only_log("lb-policy", STATE),
        [b'C', _] => says(&LEFT, Certain, word!("the client closed the connection first")),
        [b'D' | b'K' | b'U', _] => says(
            &LB_CUT,
            Likely,
            word!("the proxy ended the session as the server was marked down or replaced"),
        ),
        [b'I', _] => Some(Account::proxys_own(STATE, word!("the proxy had an error of its own"))),
        _ => None,
    }
}
