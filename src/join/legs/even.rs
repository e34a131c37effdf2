//! Errors that are left without an attempt, beside attempts that may as well be theirs.

use super::alike::contradicts;
use super::compare::{SLACK, compare, ends_apart, is_possible, not_the_last};
use super::connections::GOES_ON;
use super::leg::Leg;
use super::routes::Routes;
use super::tie::{Tie, Ties, UNDER_WAY_MAX};
use crate::cause::{Confidence, Tells};
use crate::join::TiedBy;
use hashbrown::HashSet;

/// Gives each error among the first `most` legs without an attempt one that may as well be its own: one that is tied to nobody, or to a
/// request that has others, or can get another one in the same way. How many errors there was no time for.
pub(super) fn even_out(legs: &[Leg], ties: &mut Ties, most: usize, routes: &Routes) -> u64 {
    let attempts = ties.attempts();
    let told: HashSet<usize> = ties.decided.values().map(|it| it.back).collect();
    let mut swap = Swap { legs, ties, attempts, told, looks: LOOKS_MAX, routes };
    let mut unsearched = 0;
    for (front, leg) in legs.iter().enumerate().take(most) {
        let refused = leg.ends.status.is_some_and(|status| status >= 500);
        let asked_nobody = matches!(
            leg.ends.own_page.map(|page| page.tells),
            Some(Tells::Limit | Tells::NoTarget)
        );
        let explained = asked_nobody || swap.ties.decided.contains_key(&front);
        if leg.ends.ordinal == 0 || !refused || explained || !swap.attempts[front].is_empty() {
            continue;
        }
        if swap.looks == 0 {
            unsearched += 1;
            swap.ties.contested[front] = true;
            continue;
        }
        let mut asked = vec![front];
        if !swap.find(front, CHAIN_MAX, &mut asked) && asked.len() > 1 {
            swap.ties.contested[front] = true;
        }
    }
    unsearched
}

/// Requests that hand on an attempt for one that has none.
const CHAIN_MAX: usize = 8;
/// Requests that are asked for theirs.
const ASKED_MAX: usize = 256;

/// Legs looked at for all errors of a list together, about half a second.
const LOOKS_MAX: usize = 1 << 21;

struct Swap<'a> {
    legs: &'a [Leg],
    ties: &'a mut Ties,
    /// Of each request.
    attempts: Vec<Vec<usize>>,
    /// Connections of which error pages tell.
    told: HashSet<usize>,
    /// Legs that may still be looked at.
    looks: usize,
    routes: &'a Routes,
}

impl Swap<'_> {
    /// Finds an attempt for `front`; whether there is one. `asked` are those that were asked for theirs.
    fn find(&mut self, front: usize, deep: usize, asked: &mut Vec<usize>) -> bool {
        let fitting = self.fitting(front);
        let free = fitting.iter().copied().find(|back| match self.ties.of[*back] {
            None => self.ties.strays.contains_key(back),
            Some(tie) => tie.front != front && self.attempts[tie.front].len() > 1,
        });
        if let Some(back) = free {
            self.give(back, front);
            return true;
        }
        for back in fitting {
            let Some(owner) = self.ties.of[back].map(|tie| tie.front) else { continue };
            if asked.contains(&owner) || asked.len() >= ASKED_MAX {
                continue;
            }
            asked.push(owner);
            if deep > 0 && self.find(owner, deep - 1, asked) {
                self.give(back, front);
                return true;
            }
        }
        false
    }

    /// Failed attempts that may be for `front` as well as for who has them, the best first.
    fn fitting(&mut self, front: usize) -> Vec<usize> {
        let request = &self.legs[front];
        let until = request.ends.answered.unwrap_or(request.ends.over).at;
        let within = |leg: &&Leg| leg.ends.asked.at.nanos_since(until) <= SLACK;
        let near = self.legs[front + 1..].iter().take_while(within).take(UNDER_WAY_MAX);
        let near = near.take(self.looks);
        self.looks -= near.clone().count();
        let mut fitting: Vec<(i64, usize)> = (front + 1..)
            .zip(near)
            .filter(|(at, leg)| {
                let tie = self.ties.of[*at];
                leg.is_suspect()
                    && !self.told.contains(at)
                    && tie.is_none_or(|tie| tie.certainty == Confidence::Possible)
                    && fits(request, leg)
                    && !(leg.ends.ordinal == 0 && self.routes.excludes(request, leg.ends.server))
            })
            .map(|(at, leg)| (ends_apart(request, leg), at))
            .filter(|(apart, _)| *apart <= GOES_ON)
            .collect();
        fitting.sort_unstable();
        fitting.into_iter().map(|(_, at)| at).collect()
    }

    fn give(&mut self, back: usize, front: usize) {
        if let Some(owner) = self.ties.of[back] {
            self.attempts[owner.front].retain(|attempt| *attempt != back);
        }
        self.ties.strays.remove(&back);
        let (certainty, by) = (Confidence::Possible, TiedBy::Order);
        self.ties.of[back] = Some(Tie { front, certainty, by, alike: false });
        self.attempts[front].push(back);
    }
}

fn fits(front: &Leg, back: &Leg) -> bool {
    let alike = || back.ends.ordinal == 0 || compare(front, back).is_plausible();
    let last = !contradicts(front, back) && !not_the_last(&front.ends, &back.ends);
    is_possible(front, back) && last && alike()
}
