//! Which exchanges may have failed, and which of those depend on what comes after them.

use crate::blind::BlindSpot;
use crate::cause::wants_tls;
use crate::http::{Exchange, State};

/// Whether its outcome is known and may be a failure. What was answered when one side had closed may have
/// come too late.
pub(super) fn worth_a_look(exchange: &Exchange, too_late: bool) -> bool {
    !is_unknown(exchange, too_late) && (too_late || suspicious(exchange))
}

/// Nothing tells what came of it.
pub(super) fn is_unknown(exchange: &Exchange, too_late: bool) -> bool {
    exchange.state == State::Unknown && !tells_failure(exchange, too_late)
}

/// The snap length hides the end of a response that may be a failure all the same: by its status, because it is
/// none, or because it came too late.
fn tells_failure(exchange: &Exchange, too_late: bool) -> bool {
    let spots = exchange.blind_spots;
    let Some(response) = &exchange.response else { return false };
    let is_error = response.status.is_some_and(|status| status >= 500);
    let is_none = response.fault.as_ref().is_some_and(|fault| fault.kind.is_no_response());
    let may_be_late = too_late && exchange.request.is_some() && !spots.has(BlindSpot::Encrypted);
    spots.has(BlindSpot::Snaplen)
        && !spots.has(BlindSpot::Gap)
        && (is_error || is_none || may_be_late)
}

/// Something was asked, and the capture leaves open what came of it.
pub(super) fn is_open(exchange: &Exchange, too_late: bool) -> bool {
    is_unknown(exchange, too_late)
        && exchange.request.is_some()
        && !exchange.blind_spots.has(BlindSpot::Encrypted)
}

/// Not plainly answered.
pub(super) fn suspicious(exchange: &Exchange) -> bool {
    unfinished(exchange)
        || waits(exchange)
        || exchange.response.as_ref().is_some_and(|response| {
            response.status.is_some_and(|status| status >= 500) || wants_tls(response)
        })
}

pub(super) fn unfinished(exchange: &Exchange) -> bool {
    exchange.state != State::Answered
}

/// Whether its verdict depends on what comes after it on the connection.
pub(super) fn waits(exchange: &Exchange) -> bool {
    let (Some(request), Some(response)) = (&exchange.request, &exchange.response) else {
        return true;
    };
    unfinished(exchange)
        || !request.complete
        || request.first.frame != request.last.frame
        || response.unsolicited
        || response.fault.is_some()
        || response.head_len > 32 * 1024
        || response.acked.is_some_and(|acked| acked <= request.start)
}

/// After loss: the response acknowledges more than its request, so it may answer a later one that
/// the capture does not show.
pub(super) fn mispaired(exchange: &Exchange) -> bool {
    exchange.request.as_ref().zip(exchange.response.as_ref()).is_some_and(|(request, response)| {
        request.complete && response.acked.is_some_and(|acked| acked > request.end)
    })
}

/// Whether only a close right behind it could still have harmed it: settled once another exchange
/// follows on its connection.
pub(super) fn settled(exchange: &Exchange) -> bool {
    match (&exchange.request, &exchange.response) {
        (Some(request), Some(response)) => {
            exchange.state == State::Answered
                && request.complete
                && !response.unsolicited
                && response.fault.is_none()
                && response.status.is_none_or(|status| status < 500)
                && response.acked.is_none_or(|acked| acked > request.start)
        }
        _ => false,
    }
}
