//! Connections that failed before a request: which request each was opened for.

use super::compare::{SLACK, is_possible, status_given};
use super::leg::Leg;
use super::patience::patience;
use super::pool::{self, Decided, OPENS, Pools};
use super::steady::checks;
use super::tie::{Surroundings, Tie, Ties, UNDER_WAY_MAX};
use crate::cause::{Confidence, Tells};
use crate::http::{State, is_gateway_error};
use crate::join::TiedBy;
use crate::packet::{Address, Endpoint};
use crate::time::Timestamp;
use hashbrown::HashSet;
use std::collections::{BTreeMap, BTreeSet};

/// Time in which a proxy goes on after a request or a failure came, nanoseconds.
pub(super) const GOES_ON: i64 = 20_000_000;

/// Time that HAProxy waits until it tries a server again that has refused it, nanoseconds (Configuration Manual,
/// "retries": the turn-around timer).
const TURN_AROUND: i64 = 1_000_000_000;
/// How exactly it does so.
const DUE: u64 = 10_000_000;

/// How exactly timers of one length end, nanoseconds.
pub(super) const EXACTLY: i64 = 4_000_000;

/// Time in which a proxy drops its client, or answers it with an error, after its last target has refused it,
/// nanoseconds.
pub(super) const DROPPED: i64 = 5_000_000;

/// Steps of [`Wait::apart`] of proxies that take up what comes in turn, as a power of two, nanoseconds: a millisecond.
const IN_TURN: u32 = 20;

/// Ties connections that failed before a request to the requests that waited for them.
pub(super) fn tie_connections(legs: &[Leg], ties: &mut Ties, around: &Surroundings<'_>) {
    let checks = checks(legs);
    ties.decided = pool::decide(legs, ties, &checks, around.routes);
    for (front, decided) in &mut ties.decided {
        // What cannot be read may have opened it.
        if around.opaque.contains(&legs[*front].ends.server.ip) {
            decided.certainty = decided.certainty.min(Confidence::Likely);
        }
    }
    for (front, decided) in ties.decided.iter().filter(|(_, it)| it.own) {
        ties.of[decided.back] = Some(told(*front, decided));
    }
    untie_later(legs, ties);
    let mut attempts = ties.attempts();
    let pools = Pools::of(legs);
    let in_turn = legs.iter().filter(|leg| leg.ends.own_page.is_some_and(|page| page.in_turn));
    let in_turn: HashSet<Endpoint> = in_turn.map(|leg| leg.ends.server).collect();
    let refused = Refused::of(legs);
    let patience = patience(legs, &attempts, &checks);
    let mut doubts: Vec<(usize, usize)> = Vec::new();
    let mut under_way: Vec<usize> = Vec::new();
    for at in by_beginning(legs) {
        let leg = &legs[at];
        under_way.retain(|front| leg.ends.asked.at.nanos_since(legs[*front].until()) <= SLACK);
        if leg.ends.ordinal > 0 {
            if under_way.len() >= UNDER_WAY_MAX {
                under_way.remove(0);
            }
            under_way.push(at);
            continue;
        }
        if checks[at] || ties.of[at].is_some() {
            continue;
        }
        let mut waits: Vec<Wait> = under_way
            .iter()
            .filter(|front| is_possible(&legs[**front], leg))
            .filter(|front| {
                let decided = ties.decided.get(*front);
                let last = decided.filter(|it| it.own).map(|it| &legs[it.back]);
                pools.may_precede(leg, &legs[**front], last, decided.is_some())
            })
            .filter_map(|front| {
                waited(*front, leg, legs, &attempts[*front], around, patience, &pools)
            })
            .collect();
        // Those of another route only where nobody else waits.
        let all = waits.len();
        let serves = |wait: &Wait| !around.routes.excludes(&legs[wait.front], leg.ends.server);
        if all > 1 && waits.iter().any(serves) {
            waits.retain(serves);
        }
        let routed = waits.len() < all;
        // Of several that wait for nothing else the one that ends first: so each finds its attempt.
        waits.sort_by_key(|wait| {
            let until = (wait.need == Need::Unserved).then_some(wait.until);
            // Who does not go on at once waits for a timer, which is the same for all: first come, first served.
            let timer = wait.timer.then_some((wait.elsewhere, wait.since));
            // Pools open a connection when a request comes.
            let server = legs[wait.front].ends.server;
            let fresh =
                wait.before <= OPENS && attempts[wait.front].is_empty() && pools.keeps(server);
            // Whoever takes up what comes in turn is late for all of it alike.
            let apart = if in_turn.contains(&server) { wait.apart >> IN_TURN } else { wait.apart };
            (wait.late, !wait.due, !fresh, wait.need, until, timer, apart, wait.since)
        });
        let Some(best) = waits.first().copied() else {
            // Others have the attempts that would show who waited.
            let known = |front: &usize| around.proxies.contains(&legs[*front].ends.server);
            let fronts: Vec<usize> = under_way
                .iter()
                .copied()
                .filter(|front| known(front) && is_possible(&legs[*front], leg))
                .collect();
            ties.astray(at, &fronts, legs);
            continue;
        };
        let server = legs[best.front].ends.server;
        let (certainty, by) = match waits.get(1) {
            None if best.apart > GOES_ON || best.need == Need::Explained => {
                (Confidence::Possible, TiedBy::Time)
            }
            None if routed => (Confidence::Likely, TiedBy::Request),
            None if around.proxies.contains(&server) && !around.opaque.contains(&server.ip) => {
                (Confidence::Certain, TiedBy::Time)
            }
            None => (Confidence::Likely, TiedBy::Time),
            Some(_)
                if !best.timer
                    && !refused.is_due(leg)
                    && waits[1..].iter().all(|other| best.is_nearer(other)) =>
            {
                (Confidence::Likely, TiedBy::Time)
            }
            Some(_) => (Confidence::Possible, TiedBy::Order),
        };
        // Pools open connections for whoever comes next, too.
        let certainty =
            if pools.keeps(server) { certainty.min(Confidence::Likely) } else { certainty };
        let alike = certainty >= Confidence::Likely;
        if !alike {
            let others = waits[1..].iter().filter(|it| !it.late && it.apart <= GOES_ON);
            doubts.extend(others.map(|other| (other.front, at)));
        }
        ties.of[at] = Some(Tie { front: best.front, certainty, by, alike });
        attempts[best.front].push(at);
    }
    doubt_last(doubts, legs, &attempts, ties);
    // What no other request has opened is the attempt of the first that waited for it.
    for (front, decided) in &mut ties.decided {
        let tie = &mut ties.of[decided.back];
        if tie.is_none() && !decided.own {
            decided.own = true;
            *tie = Some(told(*front, decided));
            ties.strays.remove(&decided.back);
        }
    }
    doubt_checks(legs, ties);
}

/// What may be an attempt for a request, and began after the connection of which the page tells that answered it, is
/// one for another request.
fn untie_later(legs: &[Leg], ties: &mut Ties) {
    for at in 0..legs.len() {
        let Some(tie) = ties.of[at].filter(|tie| tie.certainty == Confidence::Possible) else {
            continue;
        };
        let last = ties.decided.get(&tie.front).filter(|it| it.own).map(|it| &legs[it.back].ends);
        if last.is_some_and(|last| {
            legs[at].ends.ordinal > 0 && legs[at].ends.asked.at >= last.asked.at
        }) {
            ties.of[at] = None;
            ties.astray(at, &[tie.front], legs);
        }
    }
}

fn told(front: usize, Decided { certainty, .. }: &Decided) -> Tie {
    let (certainty, alike) = (*certainty, *certainty >= Confidence::Likely);
    Tie { front, certainty, by: TiedBy::Time, alike }
}

/// Where connections were refused, and when they ended.
struct Refused(BTreeSet<(Endpoint, Timestamp)>);

impl Refused {
    fn of(legs: &[Leg]) -> Refused {
        let is_it = |leg: &&Leg| leg.ends.ordinal == 0 && leg.ends.closed_by.is_some();
        let refused = legs.iter().filter(is_it);
        Refused(refused.map(|leg| (leg.ends.server, leg.ends.over.at)).collect())
    }

    /// The same server refused another one just so long before as HAProxy waits until it tries it again: whoever
    /// waited since then may have opened this one.
    fn is_due(&self, leg: &Leg) -> bool {
        let at = |before: i64| (leg.ends.server, leg.ends.asked.at.after(-before));
        let exactly = DUE.cast_signed();
        self.0.range(at(TURN_AROUND + exactly)..=at(TURN_AROUND - exactly)).next().is_some()
    }
}

/// The legs in the order in which they count: requests from when on their proxy may have asked for them.
fn by_beginning(legs: &[Leg]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..legs.len()).collect();
    order.sort_by_key(|at| (legs[*at].since(), legs[*at].ends.ordinal == 0));
    order
}

/// A connection was refused, and at once the server that may have opened it for this request dropped the request.
fn dropped_for(front: &Leg, connection: &Leg) -> bool {
    let after = front.ends.over.at.nanos_since(connection.ends.over.at);
    front.was_dropped()
        && connection.ends.closed_by.is_some()
        && (-SLACK..=DROPPED).contains(&after)
        && is_possible(front, connection)
}

/// Servers that drop requests, most of them at once after a connection of their host was refused, each after another
/// one: proxies that hand on bytes cannot answer themselves.
pub(super) fn that_drop(legs: &[Leg]) -> Vec<Endpoint> {
    /// One may fall together by chance.
    const FEW: usize = 2;
    let mut fronts: Vec<&Leg> =
        legs.iter().filter(|leg| leg.ends.ordinal > 0 && leg.was_dropped()).collect();
    if fronts.len() < FEW {
        return Vec::new();
    }
    let checks = checks(legs);
    let refused = |(leg, check): &(&Leg, &bool)| {
        leg.ends.ordinal == 0 && leg.ends.closed_by.is_some() && !**check
    };
    let mut refused: Vec<&Leg> =
        legs.iter().zip(&checks).filter(refused).map(|(leg, _)| leg).collect();
    fronts.sort_by_key(|leg| leg.ends.over.at);
    refused.sort_by_key(|leg| leg.ends.over.at);
    let mut used = vec![false; refused.len()];
    let mut dropped: BTreeMap<Endpoint, (usize, usize)> = BTreeMap::new();
    for front in fronts {
        let over = front.ends.over.at;
        let from = refused.partition_point(|leg| over.nanos_since(leg.ends.over.at) > DROPPED);
        let near = (from..refused.len())
            .take_while(|n| refused[*n].ends.over.at.nanos_since(over) <= SLACK)
            .find(|n| !used[*n] && dropped_for(front, refused[*n]));
        let (all, explained) = dropped.entry(front.ends.server).or_default();
        *all += 1;
        if let Some(near) = near {
            used[near] = true;
            *explained += 1;
        }
    }
    let proxies = dropped
        .into_iter()
        .filter(|(_, (all, explained))| *explained >= FEW && explained * 2 >= *all);
    proxies.map(|(server, _)| server).collect()
}

/// Servers that answered with a page that only proxies write, at once after a connection of their host had failed
/// that was opened after the request: they ask others, and those can be seen.
pub(super) fn that_answer_for(legs: &[Leg]) -> BTreeSet<Endpoint> {
    let mut fronts = legs.iter().filter(|leg| leg.ends.own_page.is_some()).peekable();
    if fronts.peek().is_none() {
        return BTreeSet::new();
    }
    let checks = checks(legs);
    let failed = |(leg, check): &(&Leg, &bool)| leg.ends.ordinal == 0 && !**check;
    let mut failed: Vec<&Leg> =
        legs.iter().zip(&checks).filter(failed).map(|(leg, _)| leg).collect();
    failed.sort_by_key(|leg| leg.ends.over.at);
    let follows = |front: &&Leg| {
        let Some(answered) = front.ends.answered else { return false };
        let from = failed.partition_point(|it| answered.at.nanos_since(it.ends.over.at) > DROPPED);
        failed[from..]
            .iter()
            .take_while(|it| it.ends.over.at.nanos_since(answered.at) <= SLACK)
            .any(|it| is_possible(front, it))
    };
    fronts.filter(follows).map(|leg| leg.ends.server).collect()
}

/// Proxies that made more than one attempt for some request.
fn that_try_again(legs: &[Leg], ties: &Ties, attempts: &[Vec<usize>]) -> HashSet<Endpoint> {
    let sure =
        |back: &&usize| ties.of[**back].is_some_and(|tie| tie.certainty >= Confidence::Likely);
    let again = |made: &[usize]| made.iter().filter(sure).count() > 1;
    let fronts = attempts.iter().zip(legs).filter(|(made, _)| again(made));
    fronts.map(|(_, front)| front.ends.server).collect()
}

/// A request that may as well have waited for a connection of another one after its last attempt that is known: that
/// one did not decide for sure what its client saw.
fn doubt_last(doubts: Vec<(usize, usize)>, legs: &[Leg], attempts: &[Vec<usize>], ties: &mut Ties) {
    let try_again = that_try_again(legs, ties, attempts);
    let again = doubts.into_iter().filter(|(at, _)| try_again.contains(&legs[*at].ends.server));
    for (front, connection) in again {
        let ends = |at: &usize| &legs[*at].ends;
        let last = attempts[front].iter().max_by_key(|at| ends(at).asked.at);
        let before = |at: &&usize| ends(at).over.at <= ends(&connection).asked.at;
        let Some(last) = last.filter(before) else { continue };
        let (request, made) = (ends(&front), ends(last));
        if made.state == State::Answered && status_given(request, made) == request.status {
            continue;
        }
        if let Some(tie) = ties.of[*last].as_mut() {
            tie.certainty = tie.certainty.min(Confidence::Likely);
        }
    }
}

/// Where connections of one host to one server fail for nobody, too, it checks that server: one that failed
/// beside a request is not its attempt for sure.
fn doubt_checks(legs: &[Leg], ties: &mut Ties) {
    let connections = || (0..legs.len()).filter(|at| legs[*at].ends.ordinal == 0);
    let between = |at: usize| (legs[at].ends.client.ip, legs[at].ends.server);
    let checked: HashSet<(Address, Endpoint)> =
        connections().filter(|at| ties.of[*at].is_none()).map(between).collect();
    let told: HashSet<usize> = ties.decided.values().map(|it| it.back).collect();
    for at in connections().filter(|at| checked.contains(&between(*at)) && !told.contains(at)) {
        if let Some(tie) = &mut ties.of[at] {
            tie.certainty = tie.certainty.min(Confidence::Likely);
        }
    }
}

/// A request that waited for an attempt when a connection was opened.
#[derive(Clone, Copy, Debug)]
struct Wait {
    front: usize,
    /// It went on before the connection had failed, or had not got so far when that was opened: only where packets are
    /// out of order.
    late: bool,
    /// How much it lacks an explanation.
    need: Need,
    /// The attempt before was made at another server.
    elsewhere: bool,
    /// Since when: what came before the connection.
    since: Timestamp,
    /// When it went on.
    until: Timestamp,
    /// It did not go on at once, or where it had been refused, which proxies try anew after some time.
    timer: bool,
    /// It was refused there just so long ago as HAProxy waits until it tries the same server again.
    due: bool,
    /// From what came before the connection to its opening, nanoseconds.
    before: i64,
    /// The same, and from its end to what came next, nanoseconds.
    apart: i64,
}

impl Wait {
    /// Whether it fits much better than `other`: of two that had both just begun to wait, neither. What came
    /// afterwards does not tell them apart, a proxy may as well wait before it tries again.
    fn is_nearer(&self, other: &Wait) -> bool {
        let much = |near: i64, far: i64| near.saturating_mul(10) <= far;
        much(self.apart, other.apart) && much(self.before.max(SLACK), other.before)
    }
}

/// How much the outcome of a request lacks an attempt that explains it, the most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    /// Its proxy answered an error, and no attempt is known.
    Unserved,
    /// Other attempts came before or after.
    Between,
    /// No attempt is known, and none was made when it came.
    Idle,
    /// The attempt before has given the very answer.
    Explained,
}

/// Whether the request `front` can have waited for the connection `leg`. `patience`: see [`patience`].
fn waited(
    front: usize,
    leg: &Leg,
    legs: &[Leg],
    attempts: &[usize],
    around: &Surroundings<'_>,
    patience: Option<i64>,
    pools: &Pools,
) -> Option<Wait> {
    let dropped = dropped_for(&legs[front], leg);
    let soft = leg.soft;
    let (request, leg) = (&legs[front].ends, &leg.ends);
    let mut since = legs[front].whole.at.min(leg.asked.at);
    let mut next = legs[front].asked_until();
    let (mut later, mut explained) = (false, false);
    let mut latest: Option<(Timestamp, &Leg)> = None;
    for made in attempts.iter().map(|attempt| &legs[*attempt]) {
        let attempt = &made.ends;
        let begun = pools.begun(made, &legs[front]);
        if begun >= leg.asked.at {
            later = true;
            next = next.min(begun);
        } else if leg.asked.at.nanos_since(attempt.over.at) < -SLACK {
            return None;
        } else {
            since = since.max(attempt.over.at);
            // Connections that failed come behind the others.
            if latest.is_none_or(|(asked, _)| asked < attempt.asked.at) {
                latest = Some((attempt.asked.at, made));
            }
            let given = status_given(request, attempt);
            explained |= attempt.state == State::Answered && given == request.status;
        }
    }
    // Somebody refused it: the proxy goes on when it knows.
    if leg.closed_by.is_some() && leg.over.at.nanos_since(next) > SLACK {
        return None;
    }
    // A page that tells of the end of another attempt lacks that one.
    let ended = request.own_page.is_some_and(|page| page.tells == Tells::Ended);
    let gateway = request.status.is_some_and(is_gateway_error) && !ended;
    let known = around.proxies.contains(&request.server);
    let silent = request.status.is_none() && (known || dropped);
    let before = leg.asked.at.nanos_since(since);
    let early = before < 0;
    let before = before.max(0);
    // When the proxy knows that it failed.
    let given_up = patience.map(|patience| leg.asked.at.after(patience));
    let heard = leg.closed_by.map(|_| leg.over.at);
    // Of an ICMP error that changed nothing at once nobody may have heard.
    let over = heard.filter(|at| !soft || next.nanos_since(*at) <= GOES_ON).or(given_up);
    let over = over.filter(|at| !soft || next.nanos_since(*at).abs() <= GOES_ON);
    let after = over.map_or(0, |over| next.nanos_since(over).max(0));
    let apart = before.saturating_add(after);
    let again = latest.filter(|(_, latest)| latest.ends.server == leg.server);
    // The turn-around timer follows an error that was heard of.
    let due = again.is_some_and(|(_, it)| !it.soft && before.abs_diff(TURN_AROUND) <= DUE);
    (later || gateway || silent).then_some(Wait {
        front,
        late: early
            || leg.over.at > next
            || over.is_some_and(|over| over.nanos_since(next) > EXACTLY),
        elsewhere: latest.is_some() && again.is_none(),
        since,
        until: next,
        need: match attempts.is_empty() {
            true if before <= GOES_ON => Need::Unserved,
            true => Need::Idle,
            false if explained && !later => Need::Explained,
            false => Need::Between,
        },
        timer: apart > GOES_ON || again.is_some(),
        due,
        before,
        apart,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::OwnPage;
    use crate::join::legs::testing::{
        PROXY, back, cut, dropped, leg, mark, refused, silent, ties_of, told,
    };

    #[test]
    fn who_writes_a_gateways_page_when_it_was_refused_is_a_proxy() {
        let asked = |own_page, refused_at| {
            let mut front = leg(1, 7, 0, 10, 502);
            let page = OwnPage::default();
            front.ends.own_page = Some(page).filter(|_| own_page);
            that_answer_for(&[front, refused(11, refused_at)]).len()
        };
        assert_eq!((asked(true, 9), asked(false, 9)), (1, 0));
        // What failed long before is not the reason.
        assert_eq!(asked(true, 2), 0);
    }

    #[test]
    fn who_waits_too_short_for_a_connection_that_nobody_answers_waited_for_another() {
        let silence = |n: i64| {
            [leg(n as u64, 7, n * 300, n * 300 + 1000, 504), silent(10 + n as u64, n * 300)]
        };
        let of = |learned: i64| {
            let mut legs: Vec<Leg> = (0..learned).flat_map(silence).collect();
            // One is refused, and nobody answers the other, which was opened before that.
            legs.extend([leg(21, 7, 2000, 2004, 502), leg(22, 7, 2000, 3001, 504)]);
            legs.extend([silent(31, 2001), refused(32, 2002)]);
            let ties = ties_of(&legs);
            let flow = |back: usize| ties.of[back].map(|tie| legs[tie.front].ends.flow);
            (flow(legs.len() - 2), flow(legs.len() - 1))
        };
        assert_eq!(of(3), (Some(22), Some(21)));
        // How long the proxy waits does not show.
        assert_eq!(of(0), (Some(21), Some(22)));
    }

    #[test]
    fn whoever_tries_again_may_have_been_refused_after_the_last_attempt_that_is_known() {
        let cut = |flow, asked, over| cut(flow, flow % 10, asked, over);
        let sure = |again: bool| {
            // Either may have gone on to the server that refuses.
            let mut legs = vec![leg(1, 1, 100, 130, 502), leg(2, 2, 101, 131, 502)];
            legs.extend([cut(11, 102, 120), cut(12, 103, 121), refused(13, 125)]);
            if again {
                legs.extend([leg(3, 3, 0, 50, 502), cut(23, 2, 20), cut(33, 21, 40)]);
            }
            legs.sort_by_key(|leg| leg.ends.asked.at);
            let ties = ties_of(&legs);
            let of = |flow| legs.iter().position(|leg| leg.ends.flow == flow).unwrap();
            [11, 12].map(|flow| ties.of[of(flow)].unwrap().certainty).into_iter().min()
        };
        assert_eq!(sure(true), Some(Confidence::Likely));
        assert_eq!(sure(false), Some(Confidence::Certain));
    }

    #[test]
    fn whoever_takes_up_what_comes_in_turn_goes_on_first_for_what_failed_first() {
        let owner = |in_turn| {
            let page = OwnPage { in_turn, ..OwnPage::default() };
            let us = |mut leg: Leg, asked: i64, over: i64| {
                (leg.ends.asked, leg.whole) = (mark(asked * 1000), mark(asked * 1000));
                leg.ends.answered = leg.ends.answered.map(|_| mark(over * 1000));
                leg.ends.over = mark(over * 1000);
                leg
            };
            let mut legs = vec![us(leg(1, 1, 0, 0, 502), 0, 700), us(leg(2, 2, 0, 0, 200), 1, 610)];
            legs[0].ends.own_page = Some(page);
            legs.extend([us(cut(11, 1, 0, 0), 10, 100), us(cut(12, 2, 0, 0), 20, 200)]);
            // The second is nearer, and goes on at another server.
            legs.extend([us(refused(13, 0), 300, 310), us(back(14, 2, 0, 0, 200), 500, 600)]);
            legs[4].ends.server.port = 9;
            let ties = ties_of(&legs);
            ties.of[4].map(|tie| (tie.front, tie.certainty))
        };
        assert_eq!(owner(true), Some((0, Confidence::Possible)));
        assert_eq!(owner(false), Some((1, Confidence::Possible)));
    }

    #[test]
    fn whoever_opens_a_connection_waits_for_no_other_one() {
        let owner = |fresh: bool| {
            // The first attempt of one is on a connection that it opens when that of the other is refused.
            let mut legs = vec![leg(1, 1, 0, 20, 200), leg(2, 2, 1, 21, 200), refused(11, 3)];
            legs.extend([back(12, 1, 4, 20, 200), back(13, 2, 7, 21, 200)]);
            legs[2].ends.server.port = 9;
            legs[3].fresh = Some(Timestamp(2_000_000)).filter(|_| fresh);
            let ties = ties_of(&legs);
            ties.of[2].map(|tie| (legs[tie.front].ends.flow, tie.certainty))
        };
        assert_eq!(owner(true), Some((2, Confidence::Certain)));
        assert_eq!(owner(false), Some((1, Confidence::Possible)));
    }

    #[test]
    fn a_pool_may_have_opened_the_connection_that_a_retry_hid_for_somebody_else() {
        let sure = |tells| {
            let mut legs = vec![told(1, 0, 4, tells, false), refused(11, 2)];
            legs.extend([leg(2, 7, 100, 140, 200), refused(12, 102), back(13, 7, 105, 139, 200)]);
            ties_of(&legs).of[3].map(|tie| (legs[tie.front].ends.flow, tie.certainty))
        };
        assert_eq!(sure(Tells::Nothing), Some((2, Confidence::Certain)));
        assert_eq!(sure(Tells::Refused), Some((2, Confidence::Likely)));
    }

    #[test]
    fn whoever_has_its_answer_is_no_sure_owner_of_another_attempt() {
        let sure = |status| {
            let mut legs = vec![leg(1, 7, 0, 30, 503), back(11, 7, 1, 20, status)];
            legs.push(refused(12, 25));
            ties_of(&legs).of[2].map(|tie| tie.certainty)
        };
        assert_eq!((sure(503), sure(500)), (Some(Confidence::Possible), Some(Confidence::Certain)));
    }

    #[test]
    fn an_error_that_nobody_heard_of_starts_no_turn_around_timer() {
        // The first was refused a second ago, and is given up now; the second has just come.
        let owner = |soft| {
            let mut legs = vec![leg(1, 1, 0, 1004, 503), refused(11, 1)];
            legs.extend([leg(2, 2, 1000, 2001, 503), refused(12, 1001)]);
            (legs[1].soft, legs[3].soft) = (soft, soft);
            let ties = ties_of(&legs);
            ties.of[3].map(|tie| legs[tie.front].ends.flow)
        };
        assert_eq!((owner(true), owner(false)), (Some(2), Some(1)));
    }

    #[test]
    fn a_soft_error_may_be_heard_of_at_the_time_out_only() {
        let opened = |n: i64, soft| {
            let mut connection =
                if soft { refused(10 + n as u64, n * 300) } else { silent(10 + n as u64, n * 300) };
            connection.soft = soft;
            [leg(n as u64, 7, n * 300, n * 300 + 1000, 503), connection]
        };
        let sure = |soft| {
            let legs: Vec<Leg> = (0..4).flat_map(|n| opened(n, soft && n == 3)).collect();
            let ties = ties_of(&legs);
            ties.of[7].map(|tie| (tie.front, tie.certainty))
        };
        assert_eq!(sure(true), sure(false));
    }

    #[test]
    fn servers_that_drop_requests_when_they_are_refused_are_proxies() {
        let proxy = [Endpoint::v4(PROXY, 80)];
        let two = [dropped(1, 7, 0, 9), dropped(2, 7, 1, 10), refused(11, 8), refused(12, 9)];
        assert_eq!(that_drop(&two), proxy);
        // One connection is the reason of one close.
        assert_eq!(that_drop(&two[..3]), []);
        // Most were dropped for another reason.
        let crash: Vec<Leg> = (3..9).map(|flow| dropped(flow, 7, 20, 30)).collect();
        assert_eq!(that_drop(&[crash, two.to_vec()].concat()), []);
    }
}
