//! Pools of connections: which failed connection an error page of a proxy tells of.
//!
//! Envoy opens a connection to a server as soon as a request waits for one, and whichever is up first takes the one that
//! waits longest. When one fails, all that wait for that server fail with it, those, too, for which it has opened others
//! (`ConnPoolImplBase::purgePendingStreams`); while more are being opened than requests wait, the next request gets none
//! of its own. Its page says how the last attempt ended.

use super::compare::{SLACK, is_possible};
use super::connections::{DROPPED, GOES_ON};
use super::leg::Leg;
use super::routes::Routes;
use super::tie::Ties;
use crate::cause::{Confidence, OwnPage, Tells};
use crate::packet::Endpoint;
use crate::time::Timestamp;
use hashbrown::{HashMap, HashSet};
use std::collections::BTreeMap;

/// Time in which a proxy opens a connection for a request that has come, nanoseconds.
pub(super) const OPENS: i64 = 1_500_000;
/// How late a timer of the proxy fires, nanoseconds.
const LATE: i64 = 8_000_000;
/// How exactly timers of one length end, nanoseconds.
const EXACTLY: i64 = 4_000_000;
/// Longest time that a proxy waits for a connection, nanoseconds.
const PATIENCE_MAX: i64 = 130_000_000_000;
/// Different times that proxies of one capture wait for their connections.
const PATIENCES_MAX: usize = 4;
/// Errors, and connections before each of them, from which those times are learned.
const LEARNED_FROM: usize = 64;
/// Connections looked at for all errors together, about half a second.
const LOOKS_MAX: usize = 1 << 21;

/// The connection that failed the last attempt for a request, for the page with which the proxy answered it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decided {
    /// Its position.
    pub(super) back: usize,
    pub(super) certainty: Confidence,
    /// It was opened for this request, as far as shows; otherwise the request waited for that of another one.
    pub(super) own: bool,
    /// Another server, a connection to which failed at the same time and may have been the one as well.
    pub(super) other: Option<Endpoint>,
}

/// Servers whose pages tell how their attempts ended: they keep pools.
#[derive(Debug, Default)]
pub(super) struct Pools {
    /// By server, whether its pages say that it has tried again.
    say: HashMap<Endpoint, bool>,
}

impl Pools {
    pub(super) fn of(legs: &[Leg]) -> Pools {
        let mut pools = Pools::default();
        for ends in legs.iter().map(|leg| &leg.ends) {
            if let Some(page) = ends.own_page.filter(|page| page.tells != Tells::Nothing) {
                *pools.say.entry(ends.server).or_default() |= page.again.is_some();
            }
        }
        pools
    }

    pub(super) fn keeps(&self, server: Endpoint) -> bool {
        self.say.contains_key(&server)
    }

    /// When the attempt was begun, if it was made for this request: pools open connections for others, too.
    pub(super) fn begun(&self, back: &Leg, front: &Leg) -> Timestamp {
        if self.keeps(front.ends.server) { back.ends.asked.at } else { back.begun() }
    }

    /// Whether what this page tells of was the only attempt.
    fn was_only(&self, server: Endpoint, page: OwnPage) -> bool {
        let says = self.say.get(&server) == Some(&true);
        // Whoever finds no server any more says nothing of those before.
        let silent = matches!(page.tells, Tells::Nothing | Tells::NoTarget);
        !page.again.unwrap_or(!says || silent)
    }

    /// Whether this connection may have been an attempt for the request before the one of which the page tells that
    /// answered it, which is this connection if it is known.
    pub(super) fn may_precede(
        &self,
        leg: &Leg,
        front: &Leg,
        last: Option<&Leg>,
        decided: bool,
    ) -> bool {
        let Some(page) = front.ends.own_page else { return true };
        let known = match page.tells {
            // It asked nobody, or it had asked.
            Tells::Limit | Tells::NoTarget | Tells::Ended => true,
            Tells::Refused | Tells::Silent | Tells::Unconnected => decided,
            Tells::Nothing => false,
        };
        let later = last.is_some_and(|last| leg.ends.asked.at >= last.ends.asked.at);
        !(later || (known && self.was_only(front.ends.server, page)))
    }
}

/// For each request, by its position, that was answered with a page on a failed connection: which one. `checks` are no
/// attempts for any request.
pub(super) fn decide(
    legs: &[Leg],
    ties: &Ties,
    checks: &[bool],
    routes: &Routes,
) -> BTreeMap<usize, Decided> {
    let attempts = ties.attempts();
    let failed = Failed::of(legs, checks, routes);
    let mut fronts: Vec<Told> =
        (0..legs.len()).filter_map(|front| Told::of(front, legs, &attempts[front])).collect();
    let mut decided = Decisions { legs, taken: HashSet::new(), made: BTreeMap::new() };
    if fronts.is_empty() || failed.all.is_empty() {
        return decided.made;
    }
    let patiences = failed.patiences(&fronts, legs);
    // What came last took what failed last: so each gets its own, in the order of time.
    fronts.sort_by_key(|told| (std::cmp::Reverse(told.answered), told.front));
    let mut looks = LOOKS_MAX;
    let events: Vec<(Told, Vec<Event>)> = fronts
        .into_iter()
        .map(|mut told| {
            let events = failed.events(&mut told, &patiences, legs, &mut looks);
            (told, events)
        })
        .filter(|(_, events)| !events.is_empty())
        .collect();
    // What was opened when the request came is its own, in the order in which they came.
    let (mut first, later): (Vec<_>, Vec<_>) =
        events.into_iter().partition(|(told, _)| told.page.again != Some(true));
    first.sort_by_key(|(told, _)| (legs[told.front].whole.at, told.front));
    let opened: Vec<Vec<usize>> =
        first.iter().map(|(told, events)| opened_for(told, events, &failed, legs)).collect();
    let came = |nth: usize| legs[first[nth].0.front].whole.at;
    let lag = |nth: usize, back: usize| legs[back].ends.asked.at.nanos_since(came(nth)).max(0);
    let own = in_order(&opened, lag);
    for (nth, (told, events)) in first.iter().enumerate() {
        let Some(back) = own[nth] else { continue };
        let others = opened[nth].iter().any(|at| !same_server(*at, back, legs));
        let prompt = lag(nth, back) <= OPENS;
        let unsure = others || (!prompt && failed.elsewhere(told, back, legs).is_some());
        let most = match () {
            () if unsure => Confidence::Possible,
            () if !prompt && failed.lately(told, back, legs).next().is_some() => Confidence::Likely,
            () => Confidence::Certain,
        };
        let sure = failed.sure(told, back, prompt, events, legs).min(most);
        decided.give(told, back, sure, failed.other(told, back, events, legs));
    }
    for (told, events) in first.iter().zip(&own).filter(|(_, own)| own.is_none()).map(|it| it.0) {
        decided.choose(told, events, &failed);
    }
    for (told, events) in &later {
        decided.choose(told, events, &failed);
    }
    decided.made
}

/// A request whose error page tells of a connection.
#[derive(Clone, Copy, Debug)]
struct Told {
    front: usize,
    page: OwnPage,
    answered: Timestamp,
    /// What failed for others was left out, for the path that was asked.
    routed: bool,
}

impl Told {
    fn of(front: usize, legs: &[Leg], attempts: &[usize]) -> Option<Told> {
        let ends = &legs[front].ends;
        let page = ends.own_page.filter(|page| {
            matches!(page.tells, Tells::Refused | Tells::Silent | Tells::Unconnected)
        })?;
        // A proxy behind it has written that.
        let handed_on = |back: &usize| legs[*back].ends.own_page == Some(page);
        let answered = ends.answered.filter(|_| !attempts.iter().any(handed_on))?.at;
        Some(Told { front, page, answered, routed: false })
    }
}

/// A connection that failed when the proxy gave up a request.
#[derive(Clone, Copy, Debug)]
struct Event {
    back: usize,
    /// From its end to the answer, nanoseconds.
    apart: i64,
    /// Its end is known: it was refused, or the proxy waited as long as it does.
    exact: bool,
}

/// The connections that failed before they were of use.
struct Failed<'a> {
    routes: &'a Routes,
    /// In the order in which they were begun.
    all: Vec<usize>,
    /// Those that somebody refused, in the order of their ends.
    refused: Vec<usize>,
    /// Those that nobody answered, in the order in which they were begun.
    silent: Vec<usize>,
}

impl<'a> Failed<'a> {
    fn of(legs: &[Leg], checks: &[bool], routes: &'a Routes) -> Failed<'a> {
        let all: Vec<usize> =
            (0..legs.len()).filter(|at| legs[*at].ends.ordinal == 0 && !checks[*at]).collect();
        let (mut refused, silent): (Vec<usize>, Vec<usize>) =
            all.iter().partition(|at| legs[**at].ends.closed_by.is_some());
        refused.sort_by_key(|at| legs[*at].ends.over.at);
        Failed { routes, all, refused, silent }
    }

    /// This request may have been asked at the server of this connection, as far as its path tells.
    fn serves(&self, told: &Told, back: usize, legs: &[Leg]) -> bool {
        !self.routes.excludes(&legs[told.front], legs[back].ends.server)
    }

    /// How long proxies wait for a connection: the times after SYNs that nobody answered at which most of the errors
    /// that tell of it came.
    fn patiences(&self, fronts: &[Told], legs: &[Leg]) -> Vec<i64> {
        let told = fronts.iter().filter(|told| told.page.tells != Tells::Refused);
        let mut times: Vec<Timestamp> = told.map(|told| told.answered).collect();
        times.sort_unstable();
        // Several of one moment are one.
        times.dedup_by(|next, first| next.nanos_since(*first) <= EXACTLY);
        times.truncate(LEARNED_FROM);
        let mut found = Vec::new();
        while times.len() > 1 && found.len() < PATIENCES_MAX {
            let mut waits: Vec<(i64, usize)> = Vec::new();
            for (nth, at) in times.iter().enumerate() {
                let until = self.silent.partition_point(|back| legs[*back].ends.asked.at < *at);
                let before = self.silent[..until].iter().rev().take(LEARNED_FROM);
                let waited = before.map(|back| at.nanos_since(legs[*back].ends.asked.at));
                waits.extend(waited.filter(|it| *it <= PATIENCE_MAX).map(|it| (it, nth)));
            }
            waits.sort_unstable();
            let of = |from: usize| {
                let near = waits[from..].iter().take_while(|it| it.0 - waits[from].0 <= EXACTLY);
                near.map(|it| it.1).collect::<HashSet<usize>>()
            };
            let best = (0..waits.len()).map(|from| (of(from).len(), from)).max();
            // The rest has other reasons, or others before them that are not in the capture.
            let best = best.filter(|(most, _)| *most > 1 && most * 5 >= times.len() * 3);
            let Some((_, from)) = best else { break };
            let explained = of(from);
            found.push(waits[from].0);
            let mut nth = 0..;
            times.retain(|_| !nth.next().is_some_and(|nth| explained.contains(&nth)));
        }
        found
    }

    /// The connections of its proxy that failed when this request was given up, the latest last.
    fn events(
        &self,
        told: &mut Told,
        patiences: &[i64],
        legs: &[Leg],
        looks: &mut usize,
    ) -> Vec<Event> {
        let all = self.events_of(told, patiences, legs, looks, |_| true);
        let other_route = |event: &Event| !self.serves(told, event.back, legs);
        if !all.iter().any(other_route) {
            return all;
        }
        let serves = |back| self.serves(told, back, legs);
        let served = self.events_of(told, patiences, legs, looks, serves);
        if served.is_empty() {
            return all;
        }
        told.routed = true;
        served
    }

    /// Those of the connections that are `wanted`.
    fn events_of(
        &self,
        told: &Told,
        patiences: &[i64],
        legs: &[Leg],
        looks: &mut usize,
        wanted: impl Fn(usize) -> bool,
    ) -> Vec<Event> {
        let (front, answered) = (&legs[told.front], told.answered);
        let came = front.since().after(-SLACK);
        let fits = |back: usize| {
            let made = &legs[back].ends;
            front.at_the_host_of(&legs[back])
                && made.server != front.ends.server
                && made.flow != front.ends.flow
                && wanted(back)
        };
        let over = |at: usize| legs[at].ends.over.at;
        let asked = |at: usize| legs[at].ends.asked.at;
        let mut events = Vec::new();
        // Those of a list of which the time lies so much before `at` and after it.
        let mut near = |list: &[usize], time: &dyn Fn(usize) -> Timestamp, at, around: [i64; 2]| {
            let [before, after] = around;
            let from = list.partition_point(|it| time(*it).nanos_since(at) < -before);
            let to = list.partition_point(|it| time(*it).nanos_since(at) <= after);
            let latest = list[from.min(to)..to].iter().rev().copied();
            let found: Vec<usize> = latest.take(LEARNED_FROM.min(*looks)).collect();
            *looks -= found.len();
            found.into_iter().filter(|it| fits(*it)).collect::<Vec<usize>>()
        };
        let tells = told.page.tells;
        if tells != Tells::Silent {
            let failed = near(&self.refused, &over, answered, [DROPPED, SLACK]);
            let failed = failed.into_iter().filter(|at| over(*at) >= came);
            events.extend(failed.map(|back| Event {
                back,
                apart: answered.nanos_since(over(back)),
                exact: true,
            }));
        }
        for patience in patiences.iter().filter(|_| tells != Tells::Refused) {
            let expected = answered.after(-patience);
            let failed = near(&self.silent, &asked, expected, [LATE, EXACTLY]);
            let failed = failed.into_iter().filter(|at| asked(*at).after(*patience) >= came);
            events.extend(failed.map(|back| Event {
                back,
                apart: expected.nanos_since(asked(back)).abs(),
                exact: true,
            }));
        }
        if !events.is_empty() {
            return events;
        }
        // It is slow, or how long it waits does not show: any that had failed, or that nobody had answered by then.
        let failed = match tells {
            Tells::Silent => near(&self.silent, &asked, answered, [PATIENCE_MAX, SLACK]),
            _ => near(&self.refused, &over, answered, [answered.nanos_since(came), SLACK]),
        };
        let apart = |back| {
            answered.nanos_since(if tells == Tells::Silent { asked(back) } else { over(back) })
        };
        failed.into_iter().map(|back| Event { back, apart: apart(back), exact: false }).collect()
    }

    /// How sure it is that this connection, or one to the same server, was the reason. `prompt`: it was opened just when
    /// the request came.
    fn sure(
        &self,
        told: &Told,
        back: usize,
        prompt: bool,
        events: &[Event],
        legs: &[Leg],
    ) -> Confidence {
        let same = |event: &&Event| same_server(event.back, back, legs);
        let Some(nearest) = events.iter().filter(same).min_by_key(|event| event.apart) else {
            return Confidence::Possible;
        };
        let late = nearest.apart > OPENS;
        let only = events.iter().all(|event| same(&event));
        let once = told.page.again == Some(false);
        let slow = late && nearest.exact;
        // The path alone speaks against another one.
        let routed = told.routed || (slow && self.lately(told, back, legs).next().is_some());
        if (slow && self.elsewhere(told, back, legs).is_some()) || !(only || prompt && once) {
            Confidence::Possible
        } else if !routed && nearest.exact && only && (once || (!late && events.len() == 1)) {
            Confidence::Certain
        } else {
            Confidence::Likely
        }
    }

    /// The server of another connection that failed when this request was given up, the nearest.
    fn other(&self, told: &Told, back: usize, events: &[Event], legs: &[Leg]) -> Option<Endpoint> {
        let others = events.iter().filter(|event| !same_server(event.back, back, legs));
        let nearest = others.min_by_key(|event| event.apart).map(|event| event.back);
        nearest.or_else(|| self.elsewhere(told, back, legs)).map(|at| legs[at].ends.server)
    }

    /// Another server that the path is asked at refused this connection lately: who is slow may have meant that one.
    fn elsewhere(&self, told: &Told, back: usize, legs: &[Leg]) -> Option<usize> {
        self.lately(told, back, legs).find(|at| self.serves(told, *at, legs))
    }

    /// The same of any path, the latest first.
    fn lately(&self, told: &Told, back: usize, legs: &[Leg]) -> impl Iterator<Item = usize> {
        let over = |at: usize| legs[at].ends.over.at;
        let until = self.refused.partition_point(|at| over(*at) <= told.answered);
        let lately = self.refused[..until].iter().rev().take(LEARNED_FROM);
        lately
            .take_while(move |at| told.answered.nanos_since(over(**at)) <= GOES_ON)
            .copied()
            .filter(|at| legs[told.front].at_the_host_of(&legs[*at]))
            .filter(move |at| !same_server(*at, back, legs))
    }
}

/// The connections that were opened when this request came, to servers of which one failed when it was given up.
fn opened_for(told: &Told, events: &[Event], failed: &Failed<'_>, legs: &[Leg]) -> Vec<usize> {
    let came = legs[told.front].whole.at;
    let after = |at: &usize| legs[*at].ends.asked.at.nanos_since(came);
    let from = failed.all.partition_point(|at| after(at) < -SLACK);
    let near = failed.all[from..].iter().copied().take_while(|at| after(at) <= LATE);
    let fails = |at: &usize| {
        events.iter().any(|event| same_server(event.back, *at, legs))
            && is_possible(&legs[told.front], &legs[*at])
    };
    near.filter(fails).take(LEARNED_FROM).collect()
}

/// Gives as many requests as can be one of the connections opened for them, in the order of both, so that they waited
/// as short as can be for that: whoever reads requests one after the other opens in their order. `opened` are those
/// that come into question for each request, `lag` how long it waited for one.
fn in_order(opened: &[Vec<usize>], lag: impl Fn(usize, usize) -> i64) -> Vec<Option<usize>> {
    let mut own = vec![None; opened.len()];
    let mut from = 0;
    while from < opened.len() {
        // Requests that have nothing in common with those before them are another matter.
        let mut last = opened[from].last().copied();
        let apart = |nth: &usize, last: &mut Option<usize>| {
            let first = opened[*nth].first();
            let apart = first.zip(*last).is_some_and(|(first, last)| *first > last);
            *last = (*last).max(opened[*nth].last().copied());
            apart
        };
        let to = (from + 1..opened.len())
            .find(|nth| *nth - from >= LEARNED_FROM || apart(nth, &mut last))
            .unwrap_or(opened.len());
        let mut backs: Vec<usize> = opened[from..to].concat();
        backs.sort_unstable();
        backs.dedup();
        // The cost of the best way for the requests from here on with the connections from there on.
        let width = backs.len() + 1;
        let mut cost = vec![0; (to - from + 1) * width];
        let with = |nth: usize, place: usize, cost: &[i64]| {
            let fits = opened[from + nth].binary_search(&backs[place]).is_ok();
            fits.then(|| lag(from + nth, backs[place]) + cost[(nth + 1) * width + place + 1])
        };
        for nth in (0..to - from).rev() {
            for place in (0..width).rev() {
                let mut best = 2 * LATE + cost[(nth + 1) * width + place];
                if place < backs.len() {
                    best = best.min(cost[nth * width + place + 1]);
                    best = with(nth, place, &cost).map_or(best, |this| best.min(this));
                }
                cost[nth * width + place] = best;
            }
        }
        let (mut nth, mut place) = (0, 0);
        while nth < to - from && place < backs.len() {
            let best = cost[nth * width + place];
            if with(nth, place, &cost) == Some(best) {
                own[from + nth] = Some(backs[place]);
                (nth, place) = (nth + 1, place + 1);
            } else if cost[nth * width + place + 1] == best {
                place += 1;
            } else {
                nth += 1;
            }
        }
        from = to;
    }
    own
}

fn same_server(one: usize, other: usize, legs: &[Leg]) -> bool {
    legs[one].ends.server == legs[other].ends.server
}

struct Decisions<'a> {
    legs: &'a [Leg],
    taken: HashSet<usize>,
    made: BTreeMap<usize, Decided>,
}

impl Decisions<'_> {
    fn give(&mut self, told: &Told, back: usize, certainty: Confidence, other: Option<Endpoint>) {
        let opened = self.legs[back].ends.asked.at >= self.legs[told.front].since();
        let own = opened && self.taken.insert(back);
        let other = other.filter(|_| certainty == Confidence::Possible);
        self.made.insert(told.front, Decided { back, certainty, own, other });
    }

    /// The nearest that nobody has, one of the same server that was being opened, or the nearest.
    fn choose(&mut self, told: &Told, events: &[Event], failed: &Failed<'_>) {
        let legs = self.legs;
        let front = &legs[told.front];
        let free = |at: usize| !self.taken.contains(&at) && is_possible(front, &legs[at]);
        let by_apart = |event: &&Event| (!event.exact, event.apart);
        let nearest = events.iter().min_by_key(by_apart);
        let unowned = events.iter().filter(|event| free(event.back)).min_by_key(by_apart);
        let Some(nearest) = unowned.or(nearest) else { return };
        let mut back = nearest.back;
        if unowned.is_none() {
            // It waited for that one, and for another one that had not failed yet.
            let until = failed.all.partition_point(|at| legs[*at].ends.asked.at <= told.answered);
            let opened = failed.all[..until]
                .iter()
                .rev()
                .take_while(|at| legs[**at].ends.asked.at >= front.since())
                .take(LEARNED_FROM);
            let same = |at: &&usize| same_server(**at, nearest.back, legs) && free(**at);
            back = opened.copied().find(|at| same(&at)).unwrap_or(back);
        }
        let sure = failed.sure(told, back, false, events, legs);
        let most = if self.taken.contains(&back) { Confidence::Likely } else { sure };
        self.give(told, back, sure.min(most), failed.other(told, back, events, legs));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::legs::even::even_out;
    use crate::join::legs::testing::{back, cut, leg, refused, silent, ties_of, told};

    fn evened(legs: &mut [Leg]) -> Ties {
        legs.sort_by_key(|leg| leg.ends.asked.at);
        let mut ties = ties_of(legs);
        even_out(legs, &mut ties, legs.len(), &Routes::default());
        ties
    }

    /// Of each request the connection of which its page tells, how sure that is, and whether it is its own.
    fn decided(legs: &mut [Leg]) -> Vec<(u64, u64, Confidence, bool)> {
        let ties = evened(legs);
        let flow = |at: usize| legs[at].ends.flow;
        let of =
            |(front, it): (&usize, &Decided)| (flow(*front), flow(it.back), it.certainty, it.own);
        let mut decided: Vec<_> = ties.decided.iter().map(of).collect();
        decided.sort_unstable_by_key(|it| it.0);
        decided
    }

    fn at(port: u16, mut leg: Leg) -> Leg {
        leg.ends.server.port = port;
        leg
    }

    #[test]
    fn one_connection_that_nobody_answers_fails_all_that_wait_for_its_server() {
        // The second waits for one of its own, too; the third comes when one more is being opened than wait.
        let gone = |flow, asked, over| told(flow, asked, over, Tells::Silent, false);
        let mut legs = [
            gone(1, 0, 1000),
            silent(11, 0),
            gone(2, 400, 1000),
            silent(12, 400),
            gone(3, 1100, 1400),
        ];
        let certain = Confidence::Certain;
        let all = [(1, 11, certain, true), (2, 12, certain, true)];
        assert_eq!(decided(&mut legs)[..2], all);
        assert_eq!(decided(&mut legs)[2], (3, 12, Confidence::Likely, false));
    }

    #[test]
    fn how_long_a_proxy_waits_tells_which_of_two_silent_servers_it_was() {
        let mut legs = Vec::new();
        for n in 0..6 {
            let from = n * 700;
            let flow = n as u64;
            // Requests that another connection serves in the end open some as well.
            legs.extend([
                told(1 + flow, from, from + 500, Tells::Silent, true),
                at(1 + n as u16 % 2, silent(100 + flow, from)),
                at(2 - n as u16 % 2, silent(200 + flow, from + 130 + n * n * 7)),
            ]);
        }
        for (front, back, certainty, own) in decided(&mut legs) {
            assert_eq!((back, own), (front + 99, true), "{certainty:?}");
        }
        assert_eq!(decided(&mut legs).len(), 6);
    }

    #[test]
    fn who_reads_requests_late_opens_connections_in_their_order() {
        let failed = |flow, asked, over| told(flow, asked, over, Tells::Refused, false);
        let mut legs = [
            failed(1, 0, 9),
            failed(2, 1, 9),
            failed(3, 2, 9),
            at(1, refused(11, 5)),
            at(2, refused(12, 6)),
            at(1, refused(13, 7)),
        ];
        let backs: Vec<(u64, u64)> = decided(&mut legs).iter().map(|it| (it.0, it.1)).collect();
        assert_eq!(backs, [(1, 11), (2, 12), (3, 13)]);
        // Any of two servers may be the one.
        assert!(decided(&mut legs).iter().all(|it| it.2 == Confidence::Possible));
    }

    #[test]
    fn a_page_tells_which_kind_of_failure_was_the_last() {
        let mut legs = [
            told(1, 0, 60, Tells::Refused, true),
            cut(11, 7, 1, 20),
            refused(12, 59),
            leg(2, 8, 30, 200, 200),
            at(1, silent(13, 31)),
            back(14, 8, 40, 199, 200),
        ];
        let ties = evened(&mut legs);
        let fronts: Vec<(u64, Option<u64>)> = legs
            .iter()
            .zip(&ties.of)
            .filter(|(leg, _)| leg.ends.flow > 10)
            .map(|(leg, tie)| (leg.ends.flow, tie.map(|tie| legs[tie.front].ends.flow)))
            .collect();
        assert_eq!(fronts, [(11, Some(1)), (13, Some(2)), (14, Some(2)), (12, Some(1))]);
        // Its only attempt was no request.
        legs[0].ends.own_page =
            Some(OwnPage { tells: Tells::Refused, again: Some(false), ..OwnPage::default() });
        assert_eq!(evened(&mut legs).of[1], None);
    }

    #[test]
    fn a_request_that_met_a_limit_has_no_connection() {
        let mut legs = [
            told(1, 0, 3, Tells::Limit, None),
            told(2, 1, 9, Tells::Refused, false),
            refused(11, 2),
            refused(12, 8),
        ];
        let ties = evened(&mut legs);
        assert!(ties.of.iter().flatten().all(|tie| legs[tie.front].ends.flow == 2), "{ties:?}");
    }

    #[test]
    fn as_many_as_can_be_get_one_and_all_wait_as_short_as_can_be() {
        let opened = [vec![1, 2], vec![1, 2, 3], vec![], vec![3], vec![9]];
        let lag = |nth: usize, back: usize| (back as i64 - nth as i64).abs() * 1000;
        let own = in_order(&opened, lag);
        assert_eq!(own, [Some(1), Some(2), None, Some(3), Some(9)]);
        // There is one less than requests.
        let own = in_order(&[vec![5, 6], vec![5, 6], vec![6]], lag);
        assert_eq!(own.iter().flatten().count(), 2);
    }
}
