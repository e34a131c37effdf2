//! Which exchange of a proxy's client each exchange of the proxy is for.
//!
//! A wrong tie is worse than none: what several requests could own, and nothing tells apart, is tied
//! as `possible` only.

use super::alike::Unsettled;
use super::beside::{Beside, lacks_forwarding};
use super::compare::{Alike, Likeness, SLACK, compare, ends_apart, is_possible, passes_on, slack};
use super::leg::Leg;
use super::order::not_behind;
use super::pool::Decided;
use super::routes::Routes;
use crate::cause::Confidence;
use crate::join::TiedBy;
use crate::packet::{Address, Endpoint};
use crate::time::Timestamp;
use hashbrown::HashSet;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Requests under way at the same time that are compared; with more the oldest are left out.
pub(super) const UNDER_WAY_MAX: usize = 1 << 12;

/// What a leg was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tie {
    /// Position of the front leg in the list.
    pub(super) front: usize,
    pub(super) certainty: Confidence,
    pub(super) by: TiedBy,
    /// It speaks for a proxy: both carry the same id, or ask for the same, for no other client; or an error
    /// followed a failed connection.
    pub(super) alike: bool,
}

/// Ties of a list of legs.
#[derive(Clone, Debug, Default)]
pub(super) struct Ties {
    /// By position of the leg that was made for another one.
    pub(super) of: Vec<Option<Tie>>,
    /// Failed legs that were made for some request, and nothing tells for which, by position.
    pub(super) strays: BTreeMap<usize, Stray>,
    /// By position: a leg that is not tied may have been made for it.
    pub(super) contested: Vec<bool>,
    /// Where requests came in for which their host asked itself.
    pub(super) proxies: BTreeSet<Endpoint>,
    /// By position of the request: the connection of which the error page tells that answered it.
    pub(super) decided: BTreeMap<usize, Decided>,
}

/// A failed leg that is not tied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stray {
    /// How many requests it may have been made for.
    pub(super) fronts: u64,
    /// How many of them failed.
    pub(super) failed: u64,
}

impl Ties {
    /// None of these requests is known to be the one.
    pub(super) fn astray(&mut self, back: usize, fronts: &[usize], legs: &[Leg]) {
        fronts.iter().for_each(|front| self.contested[*front] = true);
        if legs[back].is_suspect() && !fronts.is_empty() {
            let failed = fronts.iter().filter(|front| legs[**front].ends.failed()).count() as u64;
            self.strays.insert(back, Stray { fronts: fronts.len() as u64, failed });
        }
    }

    /// The attempts of each request.
    pub(super) fn attempts(&self) -> Vec<Vec<usize>> {
        let mut attempts: Vec<Vec<usize>> = vec![Vec::new(); self.of.len()];
        for (back, tie) in self.of.iter().enumerate() {
            if let Some(tie) = tie {
                attempts[tie.front].push(back);
            }
        }
        attempts
    }
}

/// What is known beside the legs themselves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings<'a> {
    /// Addresses that accepted connections whose requests are not known.
    pub(super) opaque: &'a HashSet<Address>,
    /// Where certain ties have shown a proxy.
    pub(super) proxies: &'a HashSet<Endpoint>,
    /// Proxies that name their client in whatever they ask.
    pub(super) forward: &'a HashSet<Endpoint>,
    /// Which servers are asked for what.
    pub(super) routes: &'a Routes,
}

/// A request that an attempt may be for.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    front: usize,
    likeness: Likeness,
    /// See [`ends_apart`], in steps below which clocks and schedulers decide.
    apart: i64,
    /// Since when its proxy could have made the attempt.
    ready: Timestamp,
}

/// How far the attempts for a front leg have got.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// An attempt was answered in a way that proxies pass on.
    served: bool,
    /// The end of the latest attempt.
    free: Option<Timestamp>,
    /// The latest attempt is not only possible.
    firm: bool,
    /// The latest attempt: its likeness.
    latest: Option<(usize, Likeness)>,
}

/// Ties of the legs, in the order of `legs`, which are in the order of their requests.
pub(super) fn ties(legs: &[Leg], around: &Surroundings<'_>) -> Ties {
    /// Steps of [`Candidate::apart`] as a power of two, nanoseconds: 131 microseconds.
    const STEP: u32 = 17;
    let (apart, beside) = (not_behind(legs), Beside::of(legs));
    let mut ties = Ties {
        of: vec![None; legs.len()],
        strays: BTreeMap::new(),
        contested: vec![false; legs.len()],
        proxies: beside.proxies.clone(),
        decided: BTreeMap::new(),
    };
    let parts = |front: &Leg, back: &Leg| {
        beside.parts(front, back) || lacks_forwarding(front, back, around.forward)
    };
    let mut progress = vec![Progress::default(); legs.len()];
    let mut under_way: Vec<usize> = Vec::new();
    let mut unsettled = Unsettled::default();
    for (at, leg) in legs.iter().enumerate().filter(|(_, leg)| leg.ends.ordinal > 0) {
        let asked = leg.ends.asked.at;
        under_way.retain(|front| asked.nanos_since(legs[*front].until()) <= slack(&legs[*front]));
        let mut found: Vec<Candidate> = under_way
            .iter()
            .filter(|front| {
                !apart.contains(&(legs[**front].ends.server, leg.ends.server))
                    && is_possible(&legs[**front], leg)
            })
            .map(|front| Candidate {
                front: *front,
                likeness: compare(&legs[*front], leg),
                apart: ends_apart(&legs[*front], leg) >> STEP,
                ready: progress[*front].free.unwrap_or(legs[*front].whole.at),
            })
            .filter(|candidate| {
                let like = &candidate.likeness;
                like.is_plausible() && (like.id || !parts(&legs[candidate.front], leg))
            })
            .collect();
        // An attempt that is over has asked nobody for the request that it was made for.
        let ended =
            |it: &Candidate| ties.of[it.front].is_some() && legs[it.front].ends.over.at <= asked;
        found.retain(|candidate| !ended(candidate));
        // Behind a proxy that asks a proxy, the nearest one has asked.
        let outer: Vec<usize> =
            found.iter().filter_map(|it| Some(ties.of[it.front]?.front)).collect();
        found.retain(|candidate| !outer.contains(&candidate.front));
        let (open, taken): (Vec<Candidate>, Vec<Candidate>) = found.iter().partition(|candidate| {
            let progress = &progress[candidate.front];
            let free = progress.free.is_none_or(|free| asked.nanos_since(free) >= -SLACK);
            free && !progress.served
        });
        let tie = choose(&open, &taken, legs, around);
        if tie.is_none_or(|(_, tie)| tie.certainty == Confidence::Possible) {
            let ready = |front: usize| match progress[front] {
                // Whoever has an attempt for sure tries again when that has failed.
                Progress { free: Some(free), firm: true, .. } => free,
                _ => legs[front].whole.at,
            };
            let found =
                found.iter().filter(|it| !(progress[it.front].firm && progress[it.front].served));
            let found: Vec<(usize, Likeness, Timestamp)> =
                found.map(|it| (it.front, it.likeness, ready(it.front))).collect();
            unsettled.add(at, &found, legs);
        }
        if let Some((choice, tie)) = tie {
            ties.of[at] = Some(tie);
            progress[tie.front] = Progress {
                served: passes_on(leg),
                free: Some(leg.ends.over.at),
                firm: tie.certainty > Confidence::Possible,
                latest: Some((at, choice.likeness)),
            };
        } else {
            contest(&found, &progress, &mut ties.of);
            let fronts: Vec<usize> = found.iter().map(|candidate| candidate.front).collect();
            ties.astray(at, &fronts, legs);
        }
        if under_way.len() >= UNDER_WAY_MAX {
            under_way.remove(0);
        }
        under_way.push(at);
    }
    unsettled.settle(legs, &mut ties, &parts);
    ties
}

/// The request that an attempt is for, when something tells.
fn choose(
    open: &[Candidate],
    taken: &[Candidate],
    legs: &[Leg],
    around: &Surroundings<'_>,
) -> Option<(Candidate, Tie)> {
    // Of those that are equally alike the one whose end fits best, then the one that waits longest.
    let rank = |it: &Candidate| (it.likeness, Reverse(it.apart), Reverse(it.ready));
    let best =
        *open.iter().reduce(|best, next| if rank(next) > rank(best) { next } else { best })?;
    let rest = || open.iter().filter(|other| other.front != best.front);
    let second = rest().max_by_key(|other| other.likeness);
    let like = best.likeness;
    // A copy of a request that has its answer belongs to nobody else.
    if taken.iter().any(|other| other.likeness.id) && !like.id {
        return None;
    }
    let (mut certainty, by) = match second {
        None => alone(&like, around.proxies.contains(&legs[best.front].ends.server))?,
        Some(second) => among(&like, &second.likeness),
    };
    let front = &legs[best.front];
    // Requests that nobody could read may be the ones.
    let unseen = around.opaque.contains(&front.ends.server.ip)
        || rest().chain(taken).any(|other| !legs[other.front].is_readable());
    if !like.id && unseen {
        certainty = certainty.min(Confidence::Likely);
    }
    // The same was asked several times at once, maybe by one that has an attempt already.
    let as_good = |other: &Candidate| {
        other.likeness.marked >= like.marked
            && other.likeness.target >= like.target
            && other.likeness.client >= like.client
    };
    if !like.id && rest().chain(taken).any(as_good) {
        certainty = certainty.min(Confidence::Possible);
    }
    let alike =
        like.id || like.marked || (like.target == Alike::Same && like.client != Alike::Other);
    Some((best, Tie { front: best.front, certainty, by, alike }))
}

/// No other request of the proxy could have caused it.
fn alone(like: &Likeness, known: bool) -> Option<(Confidence, TiedBy)> {
    Some(match like.target {
        _ if like.id => (Confidence::Certain, TiedBy::Id),
        Alike::Same if like.client == Alike::Other => (Confidence::Possible, TiedBy::Request),
        Alike::Same => (Confidence::Certain, TiedBy::Request),
        Alike::Part if like.client == Alike::Other => return None,
        _ if like.marked => (Confidence::Likely, TiedBy::Request),
        Alike::Part if like.client >= Alike::Part || like.request == Alike::Same => {
            (Confidence::Likely, TiedBy::Request)
        }
        Alike::Part => (Confidence::Possible, TiedBy::Request),
        Alike::Other if known || like.answer == Alike::Same => (Confidence::Likely, TiedBy::Time),
        Alike::Other => (Confidence::Possible, TiedBy::Time),
        Alike::Unknown if like.client == Alike::Same => (Confidence::Likely, TiedBy::Time),
        Alike::Unknown => (Confidence::Possible, TiedBy::Time),
    })
}

/// Others could have caused it, too: what speaks for the best one and not for the second.
fn among(best: &Likeness, second: &Likeness) -> (Confidence, TiedBy) {
    if best.id && !second.id {
        return (Confidence::Certain, TiedBy::Id);
    }
    let marked = best.marked && !second.marked;
    if marked && best.target != Alike::Same {
        return (Confidence::Likely, TiedBy::Request);
    }
    if best.target > second.target {
        let sure = best.target == Alike::Same && best.client != Alike::Other;
        let different = second.target == Alike::Other || second.target == Alike::Part;
        let certainty = match (sure, different) {
            (true, true) => Confidence::Certain,
            (true, false) => Confidence::Likely,
            _ => Confidence::Possible,
        };
        return (certainty, TiedBy::Request);
    }
    if best.client > second.client && best.target >= Alike::Part {
        let named = best.client == Alike::Same && second.client == Alike::Other;
        let certainty = if named { Confidence::Certain } else { Confidence::Likely };
        return (certainty, TiedBy::Request);
    }
    if marked || (best.request == Alike::Same && second.request < best.request) {
        return (Confidence::Likely, TiedBy::Request);
    }
    if best.answer == Alike::Same && second.answer < best.answer {
        return (Confidence::Likely, TiedBy::Answer);
    }
    (Confidence::Possible, TiedBy::Order)
}

/// An attempt that found no request: where another attempt of a request is no more alike than this
/// one, that one is not certain either.
fn contest(found: &[Candidate], progress: &[Progress], ties: &mut [Option<Tie>]) {
    for candidate in found {
        if let Some((owner, likeness)) = progress[candidate.front].latest
            && !likeness.id
            && candidate.likeness >= likeness
            && let Some(tie) = &mut ties[owner]
        {
            tie.certainty = tie.certainty.min(Confidence::Likely);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::legs::even::even_out;
    use crate::join::legs::leg::find_unique;
    use crate::join::legs::sketch::Sketch;
    use crate::join::legs::testing::{MS, back, cut, dropped, given_up, leg, refused, ties_of};
    use crate::tcp::Side;
    use crate::time::Mark;

    fn evened(legs: &mut [Leg]) -> Ties {
        legs.sort_by_key(|leg| leg.ends.asked.at);
        let mut ties = ties_of(legs);
        even_out(legs, &mut ties, legs.len(), &Routes::default());
        ties
    }

    fn tied(legs: &mut [Leg]) -> Vec<Option<(u64, Confidence)>> {
        let ties = evened(legs).of;
        let front = |tie: Tie| (legs[tie.front].ends.flow, tie.certainty);
        ties.iter().map(|tie| tie.map(front)).collect()
    }

    #[test]
    fn the_only_request_of_that_path_is_the_one() {
        let mut legs = [
            leg(1, 7, 0, 50, 200),
            leg(2, 8, 1, 60, 200),
            back(11, 8, 5, 40, 200),
            back(12, 7, 6, 41, 200),
        ];
        let certain = |flow| Some((flow, Confidence::Certain));
        assert_eq!(tied(&mut legs), [None, None, certain(2), certain(1)]);
    }

    #[test]
    fn what_two_alike_requests_could_own_is_never_certain() {
        let mut legs = [leg(1, 7, 0, 50, 200), leg(2, 7, 1, 60, 200), back(11, 7, 5, 40, 200)];
        let sure = tied(&mut legs)[2].map(|(_, certainty)| certainty);
        assert_eq!(sure, Some(Confidence::Possible));
        // An id decides.
        (legs[1].sketch.ids[0], legs[2].sketch.ids[0]) = (77, 77);
        assert_eq!(tied(&mut legs)[2], Some((2, Confidence::Certain)));
    }

    #[test]
    fn a_header_that_only_one_request_has_ties_a_path_that_was_written_anew() {
        let with = |mut leg: Leg, own: u64| {
            leg.sketch.own[1] = own;
            leg
        };
        let legs = |other: u64| {
            let mut legs = [
                with(leg(1, 7, 0, 50, 502), 70),
                with(leg(2, 8, 1, 60, 502), other),
                with(cut(11, 9, 5, 40), 70),
            ];
            find_unique(&mut legs);
            legs
        };
        assert_eq!(tied(&mut legs(80))[2], Some((1, Confidence::Likely)));
        // Both have it: it names a program or a tenant.
        assert_eq!(tied(&mut legs(70))[2], None);
    }

    #[test]
    fn a_request_outside_its_time_or_at_another_host_is_not_it() {
        let late = back(11, 7, 70, 80, 200);
        let mut elsewhere = back(12, 7, 5, 6, 200);
        elsewhere.ends.client.ip = Endpoint::v4([10, 0, 0, 8], 0).ip;
        assert_eq!(tied(&mut [leg(1, 7, 0, 50, 200), elsewhere, late]), [None; 3]);
    }

    #[test]
    fn a_retry_follows_a_failed_attempt_only() {
        let mut legs = [leg(1, 7, 0, 50, 200), back(11, 7, 5, 10, 503), back(12, 7, 11, 40, 200)];
        assert!(tied(&mut legs)[1..].iter().all(Option::is_some));
        // The first was good: whoever asked again, it was not this request.
        legs[1].ends.status = Some(200);
        assert_eq!(tied(&mut legs)[2], None);
    }

    #[test]
    fn an_answer_after_the_proxy_had_closed_is_no_success() {
        let certain = Some((1, Confidence::Certain));
        for status in [504, 200] {
            let last =
                if status == 504 { given_up(12, 7, 11, 20) } else { back(12, 7, 11, 20, 200) };
            let mut legs = [leg(1, 7, 0, 20, status), given_up(11, 7, 1, 10), last];
            assert_eq!(tied(&mut legs), [None, certain, certain], "{status}");
        }
        // Who closes only the sending direction hands the answer on.
        let mut legs = [leg(1, 7, 0, 110, 200), given_up(11, 7, 1, 10)];
        assert_eq!(tied(&mut legs)[1], certain);
    }

    #[test]
    fn a_refused_connection_belongs_to_the_error_without_an_attempt() {
        let mut legs =
            [leg(1, 7, 0, 50, 200), leg(2, 8, 1, 4, 502), back(11, 7, 2, 40, 200), refused(12, 3)];
        assert_eq!(tied(&mut legs)[3].map(|(flow, _)| flow), Some(2));
    }

    #[test]
    fn of_two_requests_that_came_together_neither_is_likely_the_one_that_was_refused() {
        // One goes on to another target at once, one waits a second before it tries again.
        let certainty = |second_came: i64| {
            let mut legs = [
                leg(1, 8, 0, 1_050, 503),
                leg(2, 7, 38, 50, 200),
                refused(11, 39),
                back(12, 7, 40, 49, 200),
                refused(13, 1_049),
            ];
            let came = Mark { at: Timestamp(second_came), ..legs[0].whole };
            (legs[0].ends.asked, legs[0].whole) = (came, came);
            let refused = legs.iter().position(|leg| leg.ends.flow == 11);
            tied(&mut legs)[refused.unwrap()].map(|(_, certainty)| certainty)
        };
        assert_eq!(certainty(38 * MS), Some(Confidence::Possible));
        assert_eq!(certainty(0), Some(Confidence::Likely));
    }

    #[test]
    fn a_refused_connection_like_those_of_checks_is_an_attempt_not_for_sure() {
        let mut legs = vec![leg(1, 8, 100, 104, 502), refused(11, 102)];
        assert_eq!(tied(&mut legs)[1], Some((1, Confidence::Certain)));
        // The same without any request.
        legs.push(refused(12, 600));
        assert_eq!(tied(&mut legs)[1..], [Some((1, Confidence::Likely)), None]);
        // At another server it tells nothing.
        legs[2].ends.server.port += 1;
        assert_eq!(tied(&mut legs)[1], Some((1, Confidence::Certain)));
    }

    #[test]
    fn a_proxy_that_hands_on_bytes_asks_before_the_request_has_come() {
        let certain = Some((1, Confidence::Certain));
        let mut legs = [dropped(1, 7, 10, 14), refused(11, 9)];
        assert_eq!(tied(&mut legs), [certain, None]);
        // Whoever answers reads requests first.
        let mut legs = [refused(11, 9), leg(1, 7, 10, 14, 502)];
        assert_eq!(tied(&mut legs), [None, None]);
    }

    #[test]
    fn a_timer_that_is_over_just_now_opened_the_connection() {
        // The second request is answered by another server at once.
        let mut legs = [
            leg(1, 7, 0, 2001, 503),
            refused(11, 1),
            leg(2, 8, 1000, 1060, 200),
            refused(12, 1001),
            back(13, 8, 1002, 1055, 200),
        ];
        legs[4].ends.server.port = 8081;
        let fronts: Vec<Option<u64>> =
            tied(&mut legs).iter().map(|tie| tie.map(|(flow, _)| flow)).collect();
        assert_eq!(fronts, [None, Some(1), None, Some(1), Some(2)]);
    }

    #[test]
    fn a_proxy_may_try_again_after_a_fin_of_its_client() {
        let mut front = dropped(1, 7, 0, 10);
        (front.ends.closed_by, front.kept) = (Some(Side::Client), Some(Timestamp(90_000_000)));
        let mut legs = [front, cut(11, 7, 1, 40), cut(12, 7, 41, 89), cut(13, 7, 95, 99)];
        let ties: Vec<bool> = tied(&mut legs).iter().map(Option::is_some).collect();
        assert_eq!(ties, [false, true, true, false]);
        // One that it had decided on when it answered the FIN.
        let begins = |after: i64| {
            let (mut front, mut back) = (dropped(1, 7, 0, 1), cut(11, 7, 1, 9));
            (front.ends.closed_by, front.kept) = (Some(Side::Client), Some(front.ends.over.at));
            back.ends.asked.at = Timestamp(MS + after);
            tied(&mut [front, back])[1].is_some()
        };
        assert_eq!([begins(170_000), begins(2 * MS)], [true, false]);
    }

    #[test]
    fn a_proxy_goes_on_for_a_client_that_closed_its_direction() {
        let mut front = leg(1, 7, 0, 500, 504);
        (front.ends.over, front.ends.closed_by) =
            (crate::join::legs::testing::mark(100_000_000), Some(Side::Client));
        let mut legs = [front, given_up(11, 7, 1, 200), given_up(12, 7, 201, 500)];
        assert!(tied(&mut legs)[1..].iter().all(Option::is_some));
    }

    #[test]
    fn tries_after_a_timer_belong_to_requests_in_the_order_of_their_waits() {
        // Two requests, each tried three times with a second between: the tries come by turns.
        let mut legs = vec![leg(1, 7, 0, 3000, 503), leg(2, 8, 400, 3400, 503)];
        for n in 0..3 {
            legs.extend([
                refused(11 + n, n as i64 * 1000 + 1),
                refused(21 + n, n as i64 * 1000 + 402),
            ]);
        }
        let ties = evened(&mut legs).of;
        let of = |from: u64| -> Vec<Option<u64>> {
            let made = legs.iter().zip(&ties).filter(|(leg, _)| leg.ends.flow / 10 == from);
            made.map(|(_, tie)| tie.map(|tie| legs[tie.front].ends.flow)).collect()
        };
        assert_eq!((of(1), of(2)), (vec![Some(1); 3], vec![Some(2); 3]));
    }

    #[test]
    fn checks_that_fail_while_a_request_waits_are_no_attempts_for_it() {
        let mut legs = vec![leg(1, 8, 100, 3050, 503), refused(11, 101)];
        legs.extend((0..12).map(|n| {
            let mut check = refused(20 + n, n as i64 * 300 + 17);
            check.ends.server.port = 9;
            check
        }));
        let tied: Vec<Option<u64>> =
            tied(&mut legs).iter().map(|tie| tie.map(|(flow, _)| flow)).collect();
        assert_eq!(tied.iter().flatten().collect::<Vec<_>>(), [&1]);
    }

    #[test]
    fn an_answer_long_before_does_not_tie_other_paths() {
        // A proxy's own page is the same for all.
        let page = |mut leg: Leg| {
            leg.sketch.reply = 99;
            leg
        };
        let mut legs = [page(leg(1, 7, 0, 3000, 503)), page(back(11, 8, 500, 900, 503))];
        assert_eq!(tied(&mut legs)[1], None);
        legs[1].ends.over = crate::join::legs::testing::mark(2_999_000_000);
        legs[1].ends.answered = Some(legs[1].ends.over);
        assert!(tied(&mut legs)[1].is_some());
    }

    #[test]
    fn a_failed_attempt_that_every_request_could_own_belongs_to_one_of_them() {
        // Both requests have their answers already.
        let mut legs = [
            leg(1, 7, 0, 50, 200),
            leg(2, 7, 1, 60, 200),
            back(11, 7, 2, 49, 200),
            back(12, 7, 3, 59, 200),
            cut(13, 7, 4, 9),
        ];
        let ties = evened(&mut legs);
        assert_eq!(ties.strays, [(4, Stray { fronts: 2, failed: 0 })].into());
        assert_eq!(ties.contested, [true, true, false, false, false]);
        // Another path: nobody asked for it.
        legs[4].sketch = Sketch { target: 9, tail: 9, ..legs[4].sketch };
        assert_eq!(evened(&mut legs).strays, BTreeMap::new());
    }

    #[test]
    fn a_header_that_no_other_request_has_tells_alike_requests_apart() {
        // Both are tried again, crosswise in time.
        let mut legs = [
            leg(1, 7, 0, 50, 502),
            leg(2, 7, 1, 60, 502),
            cut(11, 7, 5, 20),
            cut(12, 7, 6, 21),
            cut(13, 7, 22, 50),
            cut(14, 7, 24, 60),
        ];
        for (at, own) in [(0, 8), (1, 9), (2, 9), (3, 8), (4, 9), (5, 8)] {
            legs[at].sketch.own[0] = own;
        }
        find_unique(&mut legs);
        let ties = tied(&mut legs);
        let sure = |tie: &Option<(u64, Confidence)>| tie.filter(|it| it.1 > Confidence::Possible);
        let fronts: Vec<Option<u64>> =
            ties[2..].iter().map(|tie| sure(tie).map(|it| it.0)).collect();
        assert_eq!(fronts, [Some(2), Some(1), Some(2), Some(1)]);
    }

    #[test]
    fn of_alike_requests_the_one_that_ends_with_the_attempt_is_it() {
        let mut legs = [
            leg(1, 7, 0, 50, 200),
            leg(2, 7, 1, 20, 200),
            back(11, 7, 2, 20, 200),
            back(12, 7, 3, 50, 200),
        ];
        let fronts = |legs: &mut [Leg]| -> Vec<Option<u64>> {
            tied(legs).iter().skip(2).map(|tie| tie.map(|(flow, _)| flow)).collect()
        };
        assert_eq!(fronts(&mut legs), [Some(2), Some(1)]);
        // A failed attempt is that of the error that follows at once.
        let mut legs = [
            leg(1, 7, 0, 50, 200),
            leg(2, 7, 1, 9, 502),
            cut(11, 7, 2, 9),
            back(12, 7, 3, 50, 200),
        ];
        assert_eq!(fronts(&mut legs), [Some(2), Some(1)]);
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_that_of_the_attempt_which_was_answered_then() {
        let unread = |flow: u64, from: i64, to: i64| {
            let mut leg = leg(flow, 0, from, to, 200);
            (leg.sketch, leg.ends.status) = (Sketch::default(), None);
            leg
        };
        // One of them waits longer, and goes on to wait.
        let mut legs = [unread(1, 0, 2000), unread(2, 5, 20), back(11, 7, 6, 19, 200)];
        assert_eq!(tied(&mut legs)[2].map(|(flow, _)| flow), Some(2));
        // A target's close that comes later is of another request.
        let mut legs = [unread(1, 0, 2000), unread(2, 5, 20), cut(11, 7, 6, 25)];
        assert_eq!(tied(&mut legs)[2].map(|(flow, _)| flow), Some(1));
    }

    #[test]
    fn an_error_without_an_attempt_gets_one_of_those_that_had_two() {
        let mut legs =
            [leg(1, 7, 0, 9, 502), leg(2, 7, 1, 40, 502), refused(11, 2), refused(12, 4)];
        let fronts: Vec<Option<u64>> =
            tied(&mut legs).iter().skip(2).map(|tie| tie.map(|(flow, _)| flow)).collect();
        assert!(fronts.contains(&Some(1)) && fronts.contains(&Some(2)), "{fronts:?}");
    }
}
