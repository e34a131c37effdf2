//! Requests that nothing but their outcome tells apart: which attempt decided which of them.
//!
//! In the order of time each attempt takes the request that fits best by then, and may leave a worse one to
//! the next. Here all of them are known. What is told stays `possible`.

use super::compare::{
    Alike, Likeness, SLACK, compare, ends_apart, is_possible, not_the_last, passes_on, status_given,
};
use super::leg::Leg;
use super::tie::{Stray, Tie, Ties, UNDER_WAY_MAX};
use crate::cause::Confidence;
use crate::http::{State, is_gateway_error};
use crate::join::TiedBy;
use crate::tcp::Side;
use crate::time::Timestamp;

/// Whether the second leg is no attempt for the first, for all that is known of where they were asked.
pub(super) type Parts<'a> = dyn Fn(&Leg, &Leg) -> bool + 'a;

/// Requests that are weighed for one attempt: those whose ends are nearest to its own.
const NEAREST: usize = 8;
/// Time in which a proxy tries again after an attempt has failed, nanoseconds.
const AGAIN: i64 = 20_000_000;

/// Time from a request to the attempt past which others were made before, nanoseconds: how long does not
/// matter then.
const TRIED: i64 = 10_000_000;

/// An attempt that may have been made for several alike requests.
#[derive(Clone, Copy, Debug)]
struct Unsure {
    back: usize,
    /// Requests that it may have been made for.
    stray: Stray,
    /// See [`Tie::alike`].
    alike: bool,
}

/// An attempt that explains what the client of a request saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    fit: Fit,
    /// From the request to the attempt and from the end of the attempt to the answer, nanoseconds.
    apart: i64,
    back: usize,
    front: usize,
    /// See [`Tie::alike`].
    alike: bool,
}

/// How an attempt explains what the client saw, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// The answers are the same.
    Reply,
    /// Their statuses are, or an attempt without an answer and an error of the proxy itself.
    Outcome,
    /// The client did not wait for the answer.
    Left,
}

/// Attempts that are not sure, and what they explain.
#[derive(Clone, Debug, Default)]
pub(super) struct Unsettled {
    attempts: Vec<Unsure>,
    pairs: Vec<Pair>,
}

impl Unsettled {
    /// Takes in an attempt, which is tied to none of these requests for sure.
    pub(super) fn add(
        &mut self,
        back: usize,
        found: &[(usize, Likeness, Timestamp)],
        legs: &[Leg],
    ) {
        let asked =
            |like: &Likeness| (like.id || like.marked, like.client, like.target, like.request);
        let Some(most) = found.iter().map(|(_, like, _)| asked(like)).max() else { return };
        let best = || found.iter().filter(|(_, like, _)| asked(like) == most);
        if most.0 || most.2 < Alike::Part || best().count() < 2 {
            return;
        }
        let fronts = best().map(|(front, ..)| &legs[*front].ends);
        let failed = fronts.clone().filter(|ends| ends.failed()).count() as u64;
        let stray = Stray { fronts: fronts.count() as u64, failed };
        let alike = most.2 == Alike::Same && most.1 != Alike::Other;
        self.attempts.push(Unsure { back, stray, alike });
        let mut pairs: Vec<Pair> = best()
            .filter_map(|(front, like, ready)| {
                let fit = fit(&legs[*front], &legs[back], like)?;
                let begin = legs[back].ends.asked.at.nanos_since(*ready).abs().min(TRIED);
                let apart =
                    begin.saturating_add(ends_apart(&legs[*front], &legs[back]).saturating_mul(2));
                Some(Pair { fit, apart, back, front: *front, alike })
            })
            .collect();
        if pairs.len() > NEAREST {
            pairs.select_nth_unstable(NEAREST);
            pairs.truncate(NEAREST);
        }
        self.pairs.extend(pairs);
    }

    /// Ties them anew: what decided a request first, then what came before.
    pub(super) fn settle(mut self, legs: &[Leg], ties: &mut Ties, parts: &Parts<'_>) {
        let before: Vec<Option<Tie>> =
            self.attempts.iter().map(|unsure| ties.of[unsure.back].take()).collect();
        // The first attempt that each request has for sure, and the last.
        let mut first: Vec<Option<usize>> = vec![None; legs.len()];
        let mut last = first.clone();
        for (back, tie) in ties.of.iter().enumerate() {
            if let Some(tie) = tie {
                first[tie.front].get_or_insert(back);
                last[tie.front] = Some(back);
            }
        }
        let mut decided = vec![false; legs.len()];
        self.pairs.sort_unstable();
        for pair in &self.pairs {
            let follows = last[pair.front]
                .is_none_or(|last| follows(&legs[pair.front], &legs[last], &legs[pair.back]));
            if ties.of[pair.back].is_none() && !decided[pair.front] && follows {
                decided[pair.front] = true;
                first[pair.front].get_or_insert(pair.back);
                ties.of[pair.back] = Some(tie(pair.front, pair.fit, pair.alike));
            }
        }
        for Unsure { back, alike, .. } in self.attempts.iter().rev() {
            let this = &legs[*back];
            if passes_on(this) {
                continue;
            }
            let next = next_attempts(*back, legs, ties, &first, parts);
            for (at, _) in &next {
                if let Some(tie) = ties.of[*at].as_mut().filter(|tie| tie.by != TiedBy::Id) {
                    tie.certainty = tie.certainty.min(Confidence::Likely);
                }
            }
            // The one that waits since shortly before, and whose next attempt followed shortly.
            let wait = |(at, front): &(usize, usize)| {
                let before = this.ends.asked.at.nanos_since(legs[*front].whole.at).abs();
                let after = legs[*at].ends.asked.at.nanos_since(this.ends.over.at);
                (before.saturating_add(after), *at)
            };
            if ties.of[*back].is_none()
                && let Some((_, front)) = next.into_iter().min_by_key(wait)
            {
                first[front] = Some(*back);
                ties.of[*back] = Some(tie(front, Fit::Outcome, *alike));
            }
        }
        // An attempt is missing where the last one cannot have ended so.
        for back in last.into_iter().flatten() {
            if let Some(tie) = &mut ties.of[back]
                && !decided[tie.front]
                && contradicts(&legs[tie.front], &legs[back])
            {
                tie.certainty = tie.certainty.min(Confidence::Likely);
            }
        }
        for (unsure, before) in self.attempts.iter().zip(before) {
            let back = unsure.back;
            if ties.of[back].is_some() {
                ties.strays.remove(&back);
                continue;
            }
            if let Some(tie) = before
                && first[tie.front].is_none()
                && !contradicts(&legs[tie.front], &legs[back])
            {
                first[tie.front] = Some(back);
                ties.of[back] = Some(tie);
            } else {
                if let Some(tie) = before {
                    ties.contested[tie.front] = true;
                }
                if legs[back].is_suspect() {
                    ties.strays.insert(back, unsure.stray);
                }
            }
        }
    }
}

/// Whether an attempt for `front` can be another try after `last`, which is one for sure.
fn follows(front: &Leg, last: &Leg, next: &Leg) -> bool {
    let after = next.ends.asked.at.nanos_since(last.ends.over.at);
    !passes_on(last) && after >= -SLACK && (after <= AGAIN || contradicts(front, last))
}

fn tie(front: usize, fit: Fit, alike: bool) -> Tie {
    let by = if fit == Fit::Reply { TiedBy::Answer } else { TiedBy::Order };
    Tie { front, certainty: Confidence::Possible, by, alike }
}

/// How `back`, if it was the last attempt, explains what the client of `front` saw.
fn fit(front: &Leg, back: &Leg, like: &Likeness) -> Option<Fit> {
    let (asked, made) = (&front.ends, &back.ends);
    let given = status_given(asked, made);
    let answered = match made.state {
        _ if made.status != given => false,
        State::Answered => !back.odd,
        // The end was not captured.
        State::Unknown => made.status.is_some(),
        State::Outstanding | State::Cut | State::Unanswered => false,
    };
    match (asked.status, given) {
        _ if not_the_last(asked, made) => None,
        _ if asked.answered.is_none() && asked.closed_by == Some(Side::Client) => {
            (made.over.at.nanos_since(asked.over.at) >= -SLACK).then_some(Fit::Left)
        }
        (Some(seen), Some(given)) if seen == given && like.answer == Alike::Same => {
            Some(Fit::Reply)
        }
        (Some(seen), Some(given)) if seen == given => Some(Fit::Outcome),
        (Some(seen), _) if !answered && is_gateway_error(seen) => Some(Fit::Outcome),
        (None, _) if !answered => Some(Fit::Outcome),
        _ => None,
    }
}

/// Whether the client of `front` cannot have seen what it saw if `back` was the last attempt for it.
pub(super) fn contradicts(front: &Leg, back: &Leg) -> bool {
    let Some(seen) = front.ends.status else { return false };
    match status_given(&front.ends, &back.ends) {
        // Sound answers are passed on.
        Some(_) if passes_on(back) && !back.odd => seen >= 500,
        Some(given) => given >= 500 && seen < 500,
        // A proxy that gives up says so.
        None => !is_gateway_error(seen),
    }
}

/// First attempts that began shortly after the end of this one, for requests that it may be for, too: position
/// and request.
fn next_attempts(
    back: usize,
    legs: &[Leg],
    ties: &Ties,
    first: &[Option<usize>],
    parts: &Parts<'_>,
) -> Vec<(usize, usize)> {
    let this = &legs[back];
    let over = this.ends.over.at;
    let from = legs.partition_point(|leg| leg.ends.asked.at.nanos_since(over) < -SLACK);
    let next = legs.iter().enumerate().skip(from.max(back + 1)).take(UNDER_WAY_MAX);
    next.take_while(|(_, leg)| leg.ends.asked.at.nanos_since(over) <= AGAIN)
        .filter_map(|(at, _)| Some((at, ties.of[at]?.front)))
        .filter(|(at, front)| {
            let front_leg = &legs[*front];
            first[*front] == Some(*at) && may_be_for(front_leg, this) && !parts(front_leg, this)
        })
        .collect()
}

fn may_be_for(front: &Leg, back: &Leg) -> bool {
    is_possible(front, back) && compare(front, back).is_plausible()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::legs::testing::{back, cut, leg, ties_of};

    fn fronts(legs: &mut [Leg]) -> Vec<(u64, Option<u64>)> {
        legs.sort_by_key(|leg| leg.ends.asked.at);
        let ties = ties_of(legs);
        let front = |tie: Tie| legs[tie.front].ends.flow;
        let made = legs.iter().zip(&ties.of).filter(|(leg, _)| leg.ends.flow > 10);
        made.map(|(leg, tie)| (leg.ends.flow, tie.map(front))).collect()
    }

    #[test]
    fn each_of_several_alike_requests_gets_what_explains_its_outcome() {
        let mut legs = [
            leg(1, 7, 0, 50, 502),
            leg(2, 7, 1, 40, 200),
            leg(3, 7, 2, 60, 500),
            back(11, 7, 3, 59, 500),
            back(12, 7, 4, 39, 200),
            cut(13, 7, 5, 49),
        ];
        assert_eq!(fronts(&mut legs), [(11, Some(3)), (12, Some(2)), (13, Some(1))]);
    }

    #[test]
    fn an_attempt_before_the_last_one_is_that_of_who_tried_again() {
        let mut legs = [
            leg(1, 7, 0, 50, 200),
            leg(2, 7, 1, 40, 200),
            cut(11, 7, 2, 10),
            back(12, 7, 3, 39, 200),
            back(13, 7, 11, 49, 200),
        ];
        assert_eq!(fronts(&mut legs), [(11, Some(1)), (12, Some(2)), (13, Some(1))]);
    }

    #[test]
    fn what_a_client_saw_cannot_come_from_another_outcome() {
        let answer = |status| leg(1, 7, 0, 50, status);
        let (sound, lost) = (back(11, 7, 2, 49, 200), cut(12, 7, 2, 49));
        assert!(contradicts(&answer(502), &sound) && !contradicts(&answer(200), &sound));
        assert!(contradicts(&answer(200), &lost) && contradicts(&answer(500), &lost));
        assert!(!contradicts(&answer(502), &lost));
        assert!(contradicts(&answer(500), &sound));
        assert!(contradicts(&answer(200), &back(11, 7, 2, 49, 500)));
        // Not every answer is handed on as it came.
        assert!(!contradicts(&answer(304), &sound));
        assert!(!contradicts(&answer(503), &back(11, 7, 2, 49, 500)));
    }
}
