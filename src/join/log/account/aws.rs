//! AWS: the statuses of the load balancer and of the target beside each other ("Access logs for your Application
//! Load Balancer", "Troubleshoot your Application Load Balancers").

use super::super::kind::Kind;
use super::super::line::Line;
use super::{Account, LEFT, OPEN, SILENT, UNANSWERED};
use crate::cause::Confidence::{Certain, Likely, Possible};
use crate::word;

const GIVEN: &str = "elb_status_code";
const REQUEST_TIME: &str = "request_processing_time";

/// What both statuses and the three times say.
pub(super) fn account(kind: Kind, line: &Line<'_>) -> Option<Account> {
    let answered = if kind == Kind::Clb { "backend_status_code" } else { "target_status_code" };
    if let Some(cause) = line.own_cause {
        let reason =
            line.said.iter().any(|(name, value)| *name == "error_reason" && **value != *b"-");
        return Account::only_log(cause, if reason { "error_reason" } else { GIVEN });
    }
    let status = line.status?;
    let target = line.attempts.iter().find_map(|attempt| attempt.status);
    let unsent =
        line.said.iter().any(|(name, value)| *name == REQUEST_TIME && value.starts_with(b"-1"));
    match (status, target) {
        (460, _) => Some(Account::new(
            &LEFT,
            Certain,
            GIVEN,
            word!("the client closed the connection first"),
        )),
        (500.., Some(target)) if target == status => Some(Account::targets_own(Certain, answered)),
        (504, None) if unsent && !line.undispatched => Some(Account::new(
            &UNANSWERED,
            Likely,
            REQUEST_TIME,
            word!("the connection to the target was not made in time"),
        )),
        // A Classic Load Balancer answers so, too, when the target closed.
        (504, None) if kind == Kind::Clb => Some(Account::new(
            &SILENT_OR_CLOSED,
            Possible,
            answered,
            word!("the target closed the connection or did not answer within the idle time-out"),
        )),
        (504, None) if !line.undispatched => Some(Account::new(
            &SILENT,
            Likely,
            answered,
            word!("the target did not answer within the idle time-out"),
        )),
        (502..=504, _) => Some(Account::new(
            &OPEN,
            Possible,
            answered,
            word!("the load balancer made the answer itself"),
        )),
        _ => None,
    }
}

const SILENT_OR_CLOSED: [&str; 13] = [
    "response-timeout",
    "request-unacked",
    "response-stalled",
    "target-not-reading",
    "mtu-blackhole",
    "return-path-blocked",
    "target-fin-no-response",
    "target-rst-no-response",
    "keepalive-race",
    "target-closed-during-request",
    "connect-timeout",
    "connect-timeout-host",
    "connect-timeout-path",
];
