//! Which exchange of a proxy's client each exchange of the proxy is for.
//!
//! A wrong tie is worse than none: what several requests could own, and nothing tells apart, is tied
//! as `possible` only.

use super::compare::{Alike, Likeness, SLACK, compare, is_possible};
use super::leg::Leg;
use crate::cause::Confidence;
use crate::http::State;
use crate::join::TiedBy;
use crate::packet::{Address, Endpoint};
use crate::time::Timestamp;
use hashbrown::HashSet;

/// Requests under way at the same time that are compared; with more the oldest are left out.
const UNDER_WAY_MAX: usize = 1 << 12;

/// Statuses below 500 after which proxies can be told to ask another target
/// (nginx `proxy_next_upstream`, HAProxy `retry-on`).
const RETRIED: [u16; 5] = [403, 404, 408, 425, 429];

/// What a leg was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tie {
    /// Position of the front leg in the list.
    pub(super) front: usize,
    pub(super) certainty: Confidence,
    pub(super) by: TiedBy,
}

/// What is known beside the legs themselves.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    /// Addresses that accepted connections whose requests are not known.
    pub(super) opaque: &'a HashSet<Address>,
    /// Where certain ties have shown a proxy.
    pub(super) proxies: &'a HashSet<Endpoint>,
}

/// A request that an attempt may be for.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    front: usize,
    likeness: Likeness,
    /// No attempt for it is known so far.
    fresh: bool,
}

/// How far the attempts for a front leg have got.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// An attempt was answered in a way that proxies pass on.
    served: bool,
    /// The end of the latest attempt.
    free: Option<Timestamp>,
    /// The latest attempt: its likeness.
    latest: Option<(usize, Likeness)>,
}

/// Ties of the legs, in the order of `legs`, which are in the order of their requests.
pub(super) fn ties(legs: &[Leg], around: &Surroundings<'_>) -> Vec<Option<Tie>> {
    let mut ties: Vec<Option<Tie>> = vec![None; legs.len()];
    let mut progress = vec![Progress::default(); legs.len()];
    let mut under_way: Vec<usize> = Vec::new();
    for (at, leg) in legs.iter().enumerate().filter(|(_, leg)| leg.ordinal > 0) {
        under_way.retain(|front| leg.asked.at.nanos_since(legs[*front].over.at) <= SLACK);
        let mut found: Vec<Candidate> = under_way
            .iter()
            .filter(|front| is_possible(&legs[**front], leg))
            .map(|front| Candidate {
                front: *front,
                likeness: compare(&legs[*front], leg),
                fresh: progress[*front].latest.is_none(),
            })
            .filter(|candidate| candidate.likeness.is_plausible())
            .collect();
        // Behind a proxy that asks a proxy, the nearest one has asked.
        let outer: Vec<usize> = found.iter().filter_map(|it| Some(ties[it.front]?.front)).collect();
        found.retain(|candidate| !outer.contains(&candidate.front));
        let (open, taken): (Vec<Candidate>, Vec<Candidate>) = found.iter().partition(|candidate| {
            let progress = &progress[candidate.front];
            let free = progress.free.is_none_or(|free| leg.asked.at.nanos_since(free) >= -SLACK);
            free && !progress.served
        });
        let tie = choose(&open, &taken, legs, around);
        if let Some((choice, tie)) = tie {
            ties[at] = Some(tie);
            let passed_on = leg.state == State::Answered
                && leg.status.is_some_and(|status| status < 500 && !RETRIED.contains(&status));
            progress[tie.front] = Progress {
                served: passed_on,
                free: Some(leg.over.at),
                latest: Some((at, choice.likeness)),
            };
        } else {
            contest(&found, &progress, &mut ties);
        }
        if under_way.len() >= UNDER_WAY_MAX {
            under_way.remove(0);
        }
        under_way.push(at);
    }
    ties
}

/// The request that an attempt is for, when something tells.
fn choose(
    open: &[Candidate],
    taken: &[Candidate],
    legs: &[Leg],
    around: &Surroundings<'_>,
) -> Option<(Candidate, Tie)> {
    // The first of those that are equally alike, and rather one that has not been tried yet.
    let rank = |candidate: &Candidate| (candidate.likeness, candidate.fresh);
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
        None => alone(&like, around.proxies.contains(&legs[best.front].server))?,
        Some(second) => among(&like, &second.likeness),
    };
    let front = &legs[best.front];
    // Requests that nobody could read may be the ones.
    let unseen = around.opaque.contains(&front.server.ip)
        || rest().chain(taken).any(|other| !legs[other.front].is_readable());
    if !like.id && unseen {
        certainty = certainty.min(Confidence::Likely);
    }
    // The same was asked several times at once, maybe by one that has an attempt already.
    let as_good = |other: &Candidate| {
        other.likeness.target >= like.target && other.likeness.client >= like.client
    };
    if !like.id && rest().chain(taken).any(as_good) {
        certainty = certainty.min(Confidence::Possible);
    }
    Some((best, Tie { front: best.front, certainty, by }))
}

/// No other request of the proxy could have caused it.
fn alone(like: &Likeness, known: bool) -> Option<(Confidence, TiedBy)> {
    Some(match like.target {
        _ if like.id => (Confidence::Certain, TiedBy::Id),
        Alike::Same if like.client == Alike::Other => (Confidence::Possible, TiedBy::Request),
        Alike::Same => (Confidence::Certain, TiedBy::Request),
        Alike::Part if like.client == Alike::Other => return None,
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
    if best.request == Alike::Same && second.request < best.request {
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

/// Ties connections that failed before a request to the requests that waited for them.
pub(super) fn tie_connections(legs: &[Leg], ties: &mut [Option<Tie>], around: &Surroundings<'_>) {
    /// Time in which a proxy goes on after a request or a failure came, nanoseconds.
    const AT_ONCE: i64 = 20_000_000;
    let mut attempts: Vec<Vec<usize>> = vec![Vec::new(); legs.len()];
    for (back, tie) in ties.iter().enumerate() {
        if let Some(tie) = tie {
            attempts[tie.front].push(back);
        }
    }
    let mut under_way: Vec<usize> = Vec::new();
    for (at, leg) in legs.iter().enumerate() {
        under_way.retain(|front| leg.asked.at.nanos_since(legs[*front].over.at) <= SLACK);
        if leg.ordinal > 0 {
            if under_way.len() >= UNDER_WAY_MAX {
                under_way.remove(0);
            }
            under_way.push(at);
            continue;
        }
        let mut waits: Vec<Wait> = under_way
            .iter()
            .filter(|front| is_possible(&legs[**front], leg))
            .filter_map(|front| waited(*front, leg, legs, &attempts[*front], around))
            .collect();
        waits.sort_by_key(|wait| (wait.need, wait.apart));
        let Some(best) = waits.first().copied() else { continue };
        let server = legs[best.front].server;
        let (certainty, by) = match waits.get(1) {
            None if best.apart > AT_ONCE => (Confidence::Possible, TiedBy::Time),
            None if around.proxies.contains(&server) && !around.opaque.contains(&server.ip) => {
                (Confidence::Certain, TiedBy::Time)
            }
            None => (Confidence::Likely, TiedBy::Time),
            Some(second) if best.apart.saturating_mul(10) <= second.apart => {
                (Confidence::Likely, TiedBy::Time)
            }
            Some(_) => (Confidence::Possible, TiedBy::Order),
        };
        ties[at] = Some(Tie { front: best.front, certainty, by });
        attempts[best.front].push(at);
    }
}

/// A request that waited for an attempt when a connection was opened.
#[derive(Clone, Copy, Debug)]
struct Wait {
    front: usize,
    /// How much it lacks an explanation.
    need: Need,
    /// From what came before the connection to its opening, and from its end to what came next,
    /// nanoseconds.
    apart: i64,
}

/// How much the outcome of a request lacks an attempt that explains it, the most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    /// Its proxy answered an error, and no attempt is known.
    Unserved,
    /// Other attempts came before or after.
    Between,
    /// The attempt before has given the very answer.
    Explained,
}

/// Whether the request `front` can have waited for the connection `leg`.
fn waited(
    front: usize,
    leg: &Leg,
    legs: &[Leg],
    attempts: &[usize],
    around: &Surroundings<'_>,
) -> Option<Wait> {
    let request = &legs[front];
    let mut since = request.whole.at.min(leg.asked.at);
    let mut next = request.answered.unwrap_or(request.over).at;
    let (mut later, mut explained) = (false, false);
    for attempt in attempts.iter().map(|attempt| &legs[*attempt]) {
        if attempt.asked.at >= leg.asked.at {
            later = true;
            next = next.min(attempt.asked.at);
        } else if leg.asked.at.nanos_since(attempt.over.at) < -SLACK {
            return None;
        } else {
            since = since.max(attempt.over.at);
            explained |= attempt.state == State::Answered && attempt.status == request.status;
        }
    }
    // Somebody refused it: the proxy goes on when it knows.
    if leg.closed_by.is_some() && leg.over.at.nanos_since(next) > SLACK {
        return None;
    }
    let gateway = request.status.is_some_and(|status| (502..=504).contains(&status));
    let silent = request.status.is_none() && around.proxies.contains(&request.server);
    let before = leg.asked.at.nanos_since(since).max(0);
    let after = if leg.closed_by.is_some() { next.nanos_since(leg.over.at).max(0) } else { 0 };
    (later || gateway || silent).then_some(Wait {
        front,
        need: match attempts.is_empty() {
            true => Need::Unserved,
            false if explained && !later => Need::Explained,
            false => Need::Between,
        },
        apart: before.saturating_add(after),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::legs::leg::Sketch;
    use crate::time::{FrameId, Mark};

    const PROXY: [u8; 4] = [10, 0, 0, 9];
    const MS: i64 = 1_000_000;

    fn mark(at: i64) -> Mark {
        Mark { frame: FrameId::new(0, (at / 1000) as u64), at: Timestamp(at) }
    }

    /// An exchange from `asked` to `over`, milliseconds.
    fn leg(flow: u64, target: u64, asked: i64, over: i64, status: u16) -> Leg {
        Leg {
            flow,
            stream: None,
            ordinal: 1,
            client: Endpoint::v4([203, 0, 113, flow as u8], 40_000),
            server: Endpoint::v4(PROXY, 80),
            asked: mark(asked * MS),
            whole: mark(asked * MS),
            answered: Some(mark(over * MS)),
            over: mark(over * MS),
            closed_by: None,
            status: Some(status),
            state: State::Answered,
            odd: false,
            local: [false; 2],
            sketch: Sketch { method: 1, target, tail: target, print: 5, ..Sketch::default() },
        }
    }

    /// The same towards a target.
    fn back(flow: u64, target: u64, asked: i64, over: i64, status: u16) -> Leg {
        Leg {
            client: Endpoint::v4(PROXY, 50_000 + flow as u16),
            server: Endpoint::v4([10, 0, 1, 1], 8080),
            ..leg(flow, target, asked, over, status)
        }
    }

    /// A connection that was refused.
    fn refused(flow: u64, asked: i64) -> Leg {
        Leg {
            ordinal: 0,
            answered: None,
            status: None,
            state: State::Unanswered,
            closed_by: Some(crate::tcp::Side::Server),
            sketch: Sketch::default(),
            ..back(flow, 0, asked, asked, 0)
        }
    }

    fn tied(legs: &mut [Leg]) -> Vec<Option<(u64, Confidence)>> {
        legs.sort_by_key(|leg| leg.asked.at);
        let (opaque, proxies) = (HashSet::new(), HashSet::new());
        let around = Surroundings { opaque: &opaque, proxies: &proxies };
        let mut ties = ties(legs, &around);
        tie_connections(legs, &mut ties, &around);
        ties.iter().map(|tie| tie.map(|tie| (legs[tie.front].flow, tie.certainty))).collect()
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
    fn a_request_outside_its_time_or_at_another_host_is_not_it() {
        let late = back(11, 7, 70, 80, 200);
        let mut elsewhere = back(12, 7, 5, 6, 200);
        elsewhere.client.ip = Endpoint::v4([10, 0, 0, 8], 0).ip;
        assert_eq!(tied(&mut [leg(1, 7, 0, 50, 200), elsewhere, late]), [None; 3]);
    }

    #[test]
    fn a_retry_follows_a_failed_attempt_only() {
        let mut legs = [leg(1, 7, 0, 50, 200), back(11, 7, 5, 10, 503), back(12, 7, 11, 40, 200)];
        assert!(tied(&mut legs)[1..].iter().all(Option::is_some));
        // The first was good: whoever asked again, it was not this request.
        legs[1].status = Some(200);
        assert_eq!(tied(&mut legs)[2], None);
    }

    #[test]
    fn a_refused_connection_belongs_to_the_error_without_an_attempt() {
        let mut legs =
            [leg(1, 7, 0, 50, 200), leg(2, 8, 1, 4, 502), back(11, 7, 2, 40, 200), refused(12, 3)];
        assert_eq!(tied(&mut legs)[3].map(|(flow, _)| flow), Some(2));
    }
}
