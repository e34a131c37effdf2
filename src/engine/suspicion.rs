//! Which exchanges may have failed, and which of those depend on what comes after them.

use crate::blind::BlindSpot;
use crate::http::{Exchange, State};

/// Whether its outcome is known and may be a failure. What was answered when one side had closed may have
/// come too late.
pub(super) fn worth_a_look(exchange: &Exchange, too_late: bool) -> bool {
    let known = exchange.state != State::Unknown;
    (known && (too_late || suspicious(exchange))) || tells_5xx(exchange)
}

/// The status line tells of a server error, and the snap length of the capture hides the rest.
pub(super) fn tells_5xx(exchange: &Exchange) -> bool {
    let status = exchange.response.as_ref().and_then(|response| response.status);
    exchange.state == State::Unknown
        && exchange.blind_spots.has(BlindSpot::Snaplen)
        && !exchange.blind_spots.has(BlindSpot::Gap)
        && status.is_some_and(|status| status >= 500)
}

/// Something was asked, and the capture leaves open what came of it.
pub(super) fn is_open(exchange: &Exchange) -> bool {
    exchange.state == State::Unknown
        && exchange.request.is_some()
        && !exchange.blind_spots.has(BlindSpot::Encrypted)
        && !tells_5xx(exchange)
}

/// Not plainly answered.
pub(super) fn suspicious(exchange: &Exchange) -> bool {
    unfinished(exchange)
        || waits(exchange)
        || exchange
            .response
            .as_ref()
            .and_then(|response| response.status)
            .is_some_and(|status| status >= 500)
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
