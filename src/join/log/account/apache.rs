//! Apache: the messages of `mod_proxy` in its error log, and the error of the system before them.

use super::super::apache_error::{Event, event};
use super::{
    Account, CLOSED, CUT, MALFORMED, NOT_READ, REFUSED, RESET, SILENT, STALLED, UNANSWERED,
    UNREACHABLE,
};
use crate::cause::Confidence::{Certain, Likely, Possible};
use crate::word;
use memchr::memmem::find;

const ERROR: &str = "error";

/// What the error log says. Numbers of the portable runtime: 70007 is a time-out, 70014 the end of file, 20014 an
/// error without a number, 70008 a response that is shorter than it said.
pub(super) fn error(message: &[u8]) -> Option<Account> {
    let has = |number: &str| find(message, number.as_bytes()).is_some();
    let says = |causes, confidence, what| Some(Account::new(causes, confidence, ERROR, what));
    let timed_out = has("(70007)") || has("(110)");
    match event(message)? {
        Event::NotConnected if has("(111)") => {
            says(&REFUSED, Certain, word!("the target refused the connection"))
        }
        Event::NotConnected if has("(113)") || has("(101)") => {
            says(&UNREACHABLE, Certain, word!("the target was not reachable"))
        }
        Event::NotConnected if timed_out => {
            says(&UNANSWERED, Certain, word!("the target did not accept the connection in time"))
        }
        Event::NotConnected if has("(99)") => Account::only_log("local-port-exhaustion", ERROR),
        Event::NotConnected | Event::NoBackend => {
            says(&NOT_CONNECTED, Possible, word!("no connection to the target could be made"))
        }
        Event::NoStatusLine if timed_out => {
            says(&SILENT, Likely, word!("the target did not answer within ProxyTimeout"))
        }
        Event::NoStatusLine if has("(104)") => says(
            &RESET,
            Likely,
            word!("the target reset the connection before its response header was complete"),
        ),
        Event::NoStatusLine => says(
            &CLOSED,
            Likely,
            word!("the target closed the connection before its response header was complete"),
        ),
        Event::BrokenResponse if timed_out => {
            says(&STALLED, Likely, word!("the response of the target stopped in the middle"))
        }
        Event::BrokenResponse => says(
            &CUT,
            Likely,
            word!("the target closed or reset the connection in the middle of the response"),
        ),
        Event::Malformed => {
            says(&MALFORMED, Likely, word!("the response of the target was invalid"))
        }
        Event::NotSent if timed_out => {
            says(&NOT_READ, Likely, word!("the target did not take the request in time"))
        }
        Event::NotSent => None,
        Event::NoTarget => Account::only_log("lb-no-target", ERROR),
        Event::Forbidden => Account::only_log("lb-policy", ERROR),
    }
}

const NOT_CONNECTED: [&str; 9] = [
    "connect-refused",
    "connect-timeout",
    "connect-unreachable",
    "connect-timeout-host",
    "connect-timeout-path",
    "return-path-blocked",
    "injected-reset",
    "stale-flow-reset",
    "tuple-collision",
];
