//! Which servers proxies ask for which requests: a path that is served by some of them is no reason for a connection
//! to another one.

use super::leg::Leg;
use super::sketch::ROUTES;
use super::tie::Ties;
use crate::packet::Endpoint;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// Routes of each kind that are remembered.
const ROUTES_MAX: usize = 1 << 10;
/// Servers of one route that are told apart; whoever asks more asks any.
const SERVERS_MAX: usize = 1 << 6;
/// Requests after which a route counts as one; names of things are in other paths each time.
const SEEN: u32 = 5;
/// Attempts that a server would have had if it served the route as it serves others, past which it is known not to: none
/// of five is less than one in a hundred by chance (a Poisson distribution). And how many more for each that it had.
const EXPECTED: (u32, u32) = (5, 4);
/// One of so many attempts may be tied to a wrong request.
const WRONG: u32 = 10;

/// Where requests of one route went.
#[derive(Clone, Debug, Default)]
struct Route {
    requests: u32,
    /// Attempts that are tied, surely or not: those that fail are less sure than others.
    attempts: u32,
    /// The same, of each server.
    at: Vec<(Endpoint, u32)>,
    /// There are more of them.
    more: bool,
}

impl Route {
    fn attempts_at(&self, server: Endpoint) -> u32 {
        self.at.iter().find(|(at, _)| *at == server).map_or(0, |(_, times)| *times)
    }

    /// Whether `server`, which has this share of another route, does not serve this one.
    fn lacks(&self, server: Endpoint, share: f64) -> bool {
        let (none, each) = EXPECTED;
        let made = self.attempts_at(server);
        let least = none.saturating_add(each.saturating_mul(made));
        let expected = f64::from(self.attempts) * share;
        !self.more && made <= self.attempts / WRONG && expected >= f64::from(least)
    }
}

/// The routes of proxies.
#[derive(Clone, Debug, Default)]
pub(super) struct Routes {
    /// By proxy and route, from the widest to the narrowest kind.
    of: [HashMap<(Endpoint, u32), Route, FixedState>; ROUTES],
    /// The greatest share of a route that each server has.
    share: HashMap<Endpoint, f64, FixedState>,
}

impl Routes {
    /// Takes in those of `legs` that count.
    pub(super) fn learn(&mut self, legs: &[Leg], ties: &Ties, counts: impl Fn(usize) -> bool) {
        let counted = || legs.iter().zip(&ties.of).enumerate().filter(|(at, _)| counts(*at));
        for (_, (leg, _)) in counted().filter(|(_, (leg, _))| leg.ends.ordinal > 0) {
            self.each(leg, |route| route.requests = route.requests.saturating_add(1));
        }
        for (_, (back, tie)) in counted() {
            let Some(tie) = tie else { continue };
            let server = back.ends.server;
            self.each(&legs[tie.front], |route| {
                route.attempts = route.attempts.saturating_add(1);
                match route.at.iter().position(|(at, _)| *at == server) {
                    Some(at) => route.at[at].1 = route.at[at].1.saturating_add(1),
                    None if route.at.len() < SERVERS_MAX => route.at.push((server, 1)),
                    None => route.more = true,
                }
            });
        }
        self.share.clear();
        let enough = |route: &&Route| route.requests >= SEEN && route.attempts >= SEEN;
        for route in self.of.iter().flat_map(HashMap::values).filter(enough) {
            for (server, times) in &route.at {
                if self.share.len() >= ROUTES_MAX && !self.share.contains_key(server) {
                    continue;
                }
                let share = self.share.entry(*server).or_default();
                *share = share.max(f64::from(*times) / f64::from(route.attempts));
            }
        }
    }

    /// Some server is known not to be asked for something.
    pub(super) fn tell_apart(&self) -> bool {
        let mut routes = self.of.iter().flat_map(HashMap::values);
        routes.any(|route| self.share.iter().any(|(server, share)| route.lacks(*server, *share)))
    }

    fn each(&mut self, leg: &Leg, mut change: impl FnMut(&mut Route)) {
        for (routes, route) in self.of.iter_mut().zip(leg.sketch.routes) {
            let key = (leg.ends.server, route);
            if route != 0 && (routes.len() < ROUTES_MAX || routes.contains_key(&key)) {
                change(routes.entry(key).or_default());
            }
        }
    }

    /// Whether requests of this kind are known not to be asked at `server`, to which others are.
    pub(super) fn excludes(&self, front: &Leg, server: Endpoint) -> bool {
        let Some(share) = self.share.get(&server) else { return false };
        let key = |route: &u32| (front.ends.server, *route);
        let mut narrowest = self.of.iter().zip(&front.sketch.routes).rev();
        let route = narrowest
            .find_map(|(routes, route)| routes.get(&key(route)).filter(|it| it.requests >= SEEN));
        route.is_some_and(|route| route.lacks(server, *share))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::{Confidence, Tells};
    use crate::join::legs::Legs;
    use crate::join::legs::testing::{back, leg, refused, told};
    use crate::join::{TiedBy, legs::tie::Tie};

    /// Requests of a first route that are answered by one server, and of a second that another one refuses.
    fn two_routes(times: u64) -> Vec<Leg> {
        let of_route = |n: u64| {
            // Not as steadily as checks come.
            let at = n as i64 * (300 + 11 * n as i64);
            let [mut first, mut second] =
                [leg(n, n, at, at + 50, 200), leg(100 + n, 100 + n, at + 100, at + 104, 502)];
            (first.sketch.routes[0], second.sketch.routes[0]) = (1, 2);
            let mut dead = refused(300 + n, at + 102);
            dead.ends.server.port = 9;
            [first, back(200 + n, n, at + 5, at + 49, 200), second, dead]
        };
        (1..=times).flat_map(of_route).collect()
    }

    /// Each second leg is an attempt for the one before it.
    fn learned(legs: &[Leg]) -> Routes {
        let tie = |at: usize| Tie {
            front: at - 1,
            certainty: Confidence::Likely,
            by: TiedBy::Time,
            alike: true,
        };
        let of = (0..legs.len()).map(|at| (at % 2 == 1).then(|| tie(at))).collect();
        let mut routes = Routes::default();
        routes.learn(legs, &Ties { of, ..Ties::default() }, |_| true);
        routes
    }

    #[test]
    fn a_route_that_others_serve_excludes_a_server() {
        let of = |times: u64, wrong: usize| {
            let mut legs = two_routes(times);
            (0..wrong).for_each(|n| legs[4 * n + 1].ends.server.port = 9);
            let routes = learned(&legs);
            let (alive, dead) = (legs[4 * wrong + 1].ends.server, legs[3].ends.server);
            let excludes = |at: usize, server| routes.excludes(&legs[at], server);
            let told = [(0, alive), (0, dead), (2, alive), (2, dead)];
            (told.map(|(at, server)| excludes(at, server)), routes.tell_apart())
        };
        assert_eq!(of(5, 0), ([false, true, true, false], true));
        // Chance.
        assert_eq!(of(4, 0), ([false; 4], false));
        // Whoever asks very many asks any.
        let mut many = two_routes(SERVERS_MAX as u64 + 1);
        (0..many.len() / 4).for_each(|n| many[4 * n + 1].ends.server.port = 100 + n as u16);
        assert!(!learned(&many).excludes(&many[0], many[3].ends.server));
        // One may be a wrong tie, more are not.
        assert_eq!(of(20, 1), ([false, true, true, false], true));
        assert_eq!(of(20, 3), ([false, false, true, false], true));
    }

    #[test]
    fn a_path_that_was_not_seen_before_excludes_nothing() {
        let mut legs = two_routes(9);
        let mut all = Legs::default();
        legs.drain(..).for_each(|leg| all.add(leg));
        all.settle_all();
        let mut other = leg(1, 1, 0, 1, 502);
        let mut dead = refused(2, 0).ends.server;
        dead.port = 9;
        other.sketch.routes[0] = 1;
        assert!(all.routes.excludes(&other, dead));
        other.sketch.routes[0] = 3;
        assert!(!all.routes.excludes(&other, dead));
        // The narrower one decides, once it was asked for a few times.
        (other.sketch.routes[0], other.sketch.routes[1]) = (1, 4);
        assert!(all.routes.excludes(&other, dead));
        (0..SEEN).for_each(|_| all.add(other.clone()));
        all.settle_all();
        assert!(!all.routes.excludes(&other, dead));
    }

    #[test]
    fn a_refused_connection_is_of_a_request_that_its_server_serves() {
        let owner = |routes: bool| {
            let mut legs = two_routes(9);
            // The nearer one is of the other route.
            let [mut far, mut near] = [leg(91, 91, 9000, 9010, 502), leg(92, 92, 9001, 9009, 502)];
            (far.sketch.routes[0], near.sketch.routes[0]) = (2, 1);
            let mut dead = refused(93, 9002);
            dead.ends.server.port = 9;
            legs.extend([far, near, dead, refused(94, 9003)]);
            let mut all = Legs::default();
            for mut leg in legs {
                leg.sketch.routes = leg.sketch.routes.map(|route| if routes { route } else { 0 });
                all.add(leg);
            }
            let joins = all.settle_all();
            let has = |settled: &&crate::join::legs::Settled| {
                settled.correlation.back.iter().any(|attempt| attempt.ends.flow == 93)
            };
            let settled = joins.settled.iter().find(has).unwrap();
            let tie = settled.correlation.back.iter().find(|it| it.ends.flow == 93).unwrap();
            (settled.correlation.front.as_ref().unwrap().flow, tie.certainty)
        };
        assert_eq!(owner(true), (91, Confidence::Likely));
        assert_eq!(owner(false), (92, Confidence::Possible));
    }

    #[test]
    fn a_page_tells_of_a_connection_of_its_own_route() {
        let decided = |routes: bool, [dead, other, answered]: [i64; 3]| {
            let mut legs = two_routes(9);
            let mut front = told(91, 9000, answered, Tells::Refused, false);
            front.sketch.routes[0] = if routes { 2 } else { 0 };
            let mut dead = refused(93, dead);
            dead.ends.server.port = 9;
            legs.extend([front, refused(92, other), dead]);
            let mut all = Legs::default();
            legs.into_iter().for_each(|leg| all.add(leg));
            let joins = all.settle_all();
            let of = |settled: &&crate::join::legs::Settled| {
                settled.correlation.front.as_ref().is_some_and(|front| front.flow == 91)
            };
            let back = &joins.settled.iter().find(of).unwrap().correlation.back;
            back.last().map(|it| (it.ends.flow, it.certainty)).unwrap()
        };
        assert_eq!(decided(true, [9003, 9001, 9004]), (93, Confidence::Likely));
        assert_eq!(decided(false, [9003, 9001, 9004]).0, 92);
        // Whoever is slow may have meant the other one; that it did not is known from the routes.
        assert_eq!(decided(true, [9009, 9002, 9012]), (93, Confidence::Likely));
        assert_eq!(decided(false, [9009, 9002, 9012]), (93, Confidence::Possible));
    }
}
