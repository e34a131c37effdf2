//! Legs for tests: a proxy at 10.0.0.9:80 and its target at 10.0.1.1:8080.

use super::connections::tie_connections;
use super::leg::Leg;
use super::routes::Routes;
use super::sketch::{OWN_MAX, Sketch};
use super::tie::{self, Surroundings, Ties};
use crate::cause::{OwnPage, Tells};
use crate::http::State;
use crate::join::Ends;
use crate::packet::Endpoint;
use crate::tcp::Side;
use crate::time::{FrameId, Mark, Timestamp};
use hashbrown::HashSet;

pub(super) const PROXY: [u8; 4] = [10, 0, 0, 9];
pub(super) const MS: i64 = 1_000_000;

pub(super) fn mark(at: i64) -> Mark {
    Mark { frame: FrameId::new(0, (at / 1000) as u64), at: Timestamp(at) }
}

/// What is tied of legs, which are in the order of their beginnings, at the known [`PROXY`].
pub(super) fn ties_of(legs: &[Leg]) -> Ties {
    let (opaque, forward, routes) = (HashSet::new(), HashSet::new(), Routes::default());
    let proxies = [Endpoint::v4(PROXY, 80)].into();
    let around =
        Surroundings { opaque: &opaque, proxies: &proxies, forward: &forward, routes: &routes };
    let mut ties = tie::ties(legs, &around);
    tie_connections(legs, &mut ties, &around);
    ties
}

/// An exchange from `asked` to `over`, milliseconds.
pub(super) fn leg(flow: u64, target: u64, asked: i64, over: i64, status: u16) -> Leg {
    Leg {
        ends: Ends {
            flow,
            stream: None,
            ordinal: 1,
            client: Endpoint::v4([203, 0, 113, flow as u8], 40_000),
            server: Endpoint::v4(PROXY, 80),
            asked: mark(asked * MS),
            answered: Some(mark(over * MS)),
            over: mark(over * MS),
            closed_by: None,
            status: Some(status),
            head_len: 200,
            state: State::Answered,
            own_page: None,
        },
        whole: mark(asked * MS),
        odd: false,
        local: [false; 2],
        sketch: Sketch { method: 1, target, tail: target, print: 5, ..Sketch::default() },
        waited: 0,
        opened: None,
        fresh: None,
        kept: None,
        soft: false,
        unique: [0; OWN_MAX],
    }
}

/// The same towards a target.
pub(super) fn back(flow: u64, target: u64, asked: i64, over: i64, status: u16) -> Leg {
    let mut leg = leg(flow, target, asked, over, status);
    leg.ends.client = Endpoint::v4(PROXY, 50_000 + flow as u16);
    leg.ends.server = Endpoint::v4([10, 0, 1, 1], 8080);
    leg
}

/// An attempt that its target ended without an answer.
pub(super) fn cut(flow: u64, target: u64, asked: i64, over: i64) -> Leg {
    let mut leg = back(flow, target, asked, over, 0);
    (leg.ends.answered, leg.ends.status) = (None, None);
    (leg.ends.state, leg.ends.closed_by) = (State::Unanswered, Some(Side::Server));
    leg
}

/// An attempt that the proxy gave up at `over`, and that was answered 100 ms later all the same.
pub(super) fn given_up(flow: u64, target: u64, asked: i64, over: i64) -> Leg {
    let mut leg = back(flow, target, asked, over + 100, 200);
    (leg.ends.over, leg.ends.closed_by) = (mark(over * MS), Some(Side::Client));
    leg
}

/// A request that the proxy dropped without an answer, on a connection opened 1 ms before it.
pub(super) fn dropped(flow: u64, target: u64, asked: i64, over: i64) -> Leg {
    let mut leg = leg(flow, target, asked, over, 0);
    (leg.ends.answered, leg.ends.status) = (None, None);
    (leg.ends.state, leg.ends.closed_by) = (State::Unanswered, Some(Side::Server));
    leg.opened = Some(Timestamp((asked - 1) * MS));
    leg
}

/// A connection that was refused.
pub(super) fn refused(flow: u64, asked: i64) -> Leg {
    let mut leg = Leg { sketch: Sketch::default(), ..cut(flow, 0, asked, asked) };
    leg.ends.ordinal = 0;
    leg
}

/// A connection that nobody answered.
pub(super) fn silent(flow: u64, asked: i64) -> Leg {
    let mut leg = refused(flow, asked);
    leg.ends.closed_by = None;
    leg
}

/// An error of the proxy on its own page, which tells so of the last attempt.
pub(super) fn told(
    flow: u64,
    asked: i64,
    over: i64,
    tells: Tells,
    again: impl Into<Option<bool>>,
) -> Leg {
    let mut leg = leg(flow, 7, asked, over, 503);
    leg.ends.own_page = Some(OwnPage { tells, again: again.into(), in_turn: false });
    leg
}
