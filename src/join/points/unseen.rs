//! A target that closed, whose FIN or RST left another place and never came here.

use super::clocks::Clocks;
use super::lost::JUDGED;
use super::point::{Connection, DELAY_MAX, Landmark, Point};
use super::retell::{Elsewhere, NEAR};
use crate::cause::{Evidence, Finding, Responsible, What, span};
use crate::join::Outcome;
use crate::phrase;
use crate::tcp::Side;
use crate::time::{FrameId, Timestamp};
use hashbrown::HashMap;

/// What is told where the target's end of the connection was not seen: it may have closed all the same.
const SILENCE: [&str; 10] = [
    "request-unacked",
    "response-timeout",
    "response-stalled",
    "client-abort",
    "lb-cut",
    "inconclusive",
    // It answers what comes after a FIN with RST.
    "stale-flow-reset",
    "connect-timeout",
    "connect-timeout-host",
    "connect-timeout-path",
];

/// Failures that a place tells by a FIN or RST of the target's.
#[derive(Debug, Default)]
pub struct Closes<'a> {
    of: HashMap<Connection, Vec<&'a Finding>>,
}

impl<'a> Closes<'a> {
    /// Of the findings of one place.
    pub fn of(findings: &'a [Finding]) -> Closes<'a> {
        let mut of: HashMap<Connection, Vec<&Finding>> = HashMap::new();
        for finding in findings.iter().filter(|it| closes(it)) {
            of.entry((finding.client, finding.server)).or_default().push(finding);
        }
        Closes { of }
    }

    /// What is told there of the failure that is this one here, which began at `begin` by the clock there.
    fn find(&self, name: Connection, finding: &Finding, begin: Timestamp) -> Option<&'a Finding> {
        let known = self.of.get(&name)?.iter().copied();
        let apart = |it: &&Finding| began(it).map_or(i64::MAX, |at| at.nanos_since(begin).abs());
        let within = if finding.exchange.is_some() { DELAY_MAX } else { NEAR };
        let same = |it: &&Finding| same_head(it, finding) && apart(it) <= within;
        known.filter(same).min_by_key(apart)
    }
}

fn closes(finding: &Finding) -> bool {
    finding.evidence.first().is_some_and(|guilty| {
        guilty.side == Side::Server && matches!(guilty.what, What::Fin | What::Rst)
    })
}

/// When the failed request was sent; where there was none, when the connection failed.
fn began(finding: &Finding) -> Option<Timestamp> {
    let request = finding.exchange.as_deref().and_then(|it| it.request.as_ref());
    let guilty = finding.evidence.first().map(|guilty| guilty.mark.at);
    request.map(|request| request.first.at).or(guilty)
}

fn same_head(one: &Finding, other: &Finding) -> bool {
    head(one) == head(other)
}

fn head(finding: &Finding) -> Option<&[u8]> {
    let exchange = finding.exchange.as_deref()?;
    Some(exchange.request.as_ref().map_or(&[][..], |request| &request.head[..]))
}

/// A target that closed before anybody here gave up waiting for it, and whose FIN or RST never came: its
/// silence here is none. What the place nearer to it tells is what happened. `back` gives times of that place
/// by the clock here. Gives the frame there that proves it.
pub fn close_unseen(
    finding: &mut Finding,
    here: &Point,
    back: &Clocks,
    place: &Elsewhere<'_>,
    closes: &Closes<'_>,
) -> Option<FrameId> {
    if place.clocks.nearer_server != Some(true) || !SILENCE.contains(&finding.cause.id) {
        return None;
    }
    let (client, server) = (finding.client, finding.server);
    let name = place.point.name((client, server), here, place.clocks).unwrap_or((client, server));
    let begin = began(finding)?;
    let its = closes.find(name, finding, place.clocks.there(begin))?;
    let guilty = its.evidence.first()?;
    let close = place.point.at_frame(guilty.mark.frame)?;
    let left = back.there(close.mark.at);
    let captured = here.span().is_some_and(|(_, last)| left.after(JUDGED) <= last);
    let near = |it: &&Landmark| it.mark.at.nanos_since(left).abs() <= DELAY_MAX;
    let mut its_own = here.between(client, server).filter(|it| it.src == server).filter(near);
    if !captured || its_own.any(|it| it.flags & close.flags & 0x05 != 0) {
        return None;
    }
    let gave_up = here
        .between(client, server)
        .find(|it| it.src == client && it.flags & 0x05 != 0 && it.mark.at >= begin);
    if gave_up.is_some_and(|it| it.mark.at <= left) {
        return None;
    }
    takes_over(finding, its, guilty);
    Some(guilty.mark.frame)
}

/// How long the load balancer seemed to know of a close that it did not heed, because it never heard of it.
/// What an answer had announced, it did hear.
fn unheeded(its: &Finding, guilty: &Evidence) -> Option<i64> {
    let request = its.exchange.as_deref()?.request.as_ref()?;
    let blamed = its.responsible == Responsible::LoadBalancer && !request.after_close;
    blamed.then(|| request.first.at.nanos_since(guilty.mark.at))
}

/// The failure is told as the other place tells it.
fn takes_over(finding: &mut Finding, its: &Finding, guilty: &Evidence) {
    finding.cause = its.cause;
    finding.responsible = its.responsible;
    finding.confidence = its.confidence;
    if let Some(joined) = finding.joined.as_deref_mut()
        && let Some(attempt) = joined.this.and_then(|this| joined.attempts.get_mut(this))
    {
        attempt.cause = Some(its.cause.id);
        if matches!(joined.outcome, Outcome::Failed | Outcome::PassedOn) {
            finding.confidence = finding.confidence.min(attempt.certainty);
        }
    }
    let what = if guilty.what == What::Fin { "FIN" } else { "RST" };
    finding.summary = match unheeded(its, guilty) {
        Some(before) => {
            finding.responsible = Responsible::Network;
            phrase!(
                "the target closed the connection {before} before the request; this {what} left the other capture point and never came here: lost on the way back",
                before = span(before),
                what
            )
        }
        None => phrase!(
            "{summary}; this {what} left the other capture point and never came here: lost on the way back",
            summary = &its.summary,
            what
        ),
    };
    finding.stream = its.stream;
    finding.outstanding = its.outstanding;
    finding.idle_before = its.idle_before;
    finding.evidence.insert(0, guilty.clone());
    finding.packets.insert(0, its.packets.first().copied().unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::super::clocks::clocks;
    use super::super::testing::{
        FIN, MS, N, Path, Places, RST, SERVER, SYN, SYN_ACK, finding, mark, paths, places,
    };
    use super::*;
    use crate::cause::Confidence;
    use crate::http::{Exchange, Request};
    use crate::time::Mark;

    /// A request sent at 520 ms by the clock of the clients, seen at `at`.
    fn with_request(mut finding: Finding, at: Mark) -> Finding {
        let request = Request { first: at, last: at, ..Request::default() };
        finding.exchange =
            Some(Box::new(Exchange { request: Some(request), ..Exchange::default() }));
        finding
    }

    /// What is told of a request that got no answer, as far as the clients' place shows, if the servers' tells
    /// of a close `what` at `left`; with what `and` adds.
    fn told(path: Path, what: What, left: i64, and: impl Fn(&mut Places)) -> Finding {
        let flags = if what == What::Fin { FIN } else { RST };
        let places = places(path, |it| {
            it.both(N, 500 * MS, true, SYN);
            it.both(N, 506 * MS, false, SYN_ACK);
            it.at_servers(N, left, false, flags);
            and(it);
        });
        let there = |at: i64| mark(1, 99, path.there(at * MS + path.delay));
        let is_it = |it: &&Landmark| it.flags == flags && it.clock == Some((left / MS) as u32);
        let close = places.servers.landmarks.iter().find(is_it).unwrap();
        let server = path.nat.map_or(SERVER, |(_, server)| server);
        let mut its = finding("target-rst-no-response", close.mark, what, server);
        (its.client, its.server) = (close.dst, close.src);
        its.confidence = Confidence::Certain;
        its.responsible = Responsible::LoadBalancer;
        let its = [with_request(its, there(520))];
        let mut mine = with_request(
            finding("response-timeout", mark(0, 99, 540 * MS), What::Silence, SERVER),
            mark(0, 98, 520 * MS),
        );
        let (here, beyond) = (&places.clients, &places.servers);
        let (ahead, back) = (clocks(here, beyond).unwrap(), clocks(beyond, here).unwrap());
        let place = Elsewhere { point: beyond, clocks: &ahead };
        let frame = close_unseen(&mut mine, here, &back, &place, &Closes::of(&its));
        assert_eq!(frame.is_some(), mine.cause.id == "target-rst-no-response", "{path:?}");
        if frame.is_some() {
            assert_eq!(mine.evidence[0].mark, close.mark, "{path:?}");
        }
        mine
    }

    #[test]
    fn a_close_that_never_came_is_told_by_the_place_that_it_left() {
        for path in paths() {
            for what in [What::Rst, What::Fin] {
                let gave_up = |it: &mut Places| it.both(N, 900 * MS, true, RST);
                let found = told(path, what, 530 * MS, gave_up);
                assert_eq!(found.cause.id, "target-rst-no-response", "{path:?} {what:?}");
                assert_eq!(found.confidence, Confidence::Certain);
                assert!(found.summary.contains("never came here"), "{}", found.summary);
            }
        }
    }

    #[test]
    fn a_close_that_came_or_that_nobody_waited_for_tells_nothing() {
        for path in paths() {
            let came = told(path, What::Rst, 530 * MS, |it| {
                it.at_clients(N, 530 * MS, false, RST);
            });
            assert_eq!(came.cause.id, "response-timeout", "{path:?}");
            let late = told(path, What::Rst, 530 * MS, |it| it.both(N, 522 * MS, true, FIN));
            assert_eq!(late.cause.id, "response-timeout", "{path:?}");
        }
    }

    #[test]
    fn nobody_is_blamed_for_not_heeding_what_never_came() {
        for path in paths() {
            let found = told(path, What::Fin, 512 * MS, |_| ());
            assert_eq!(found.responsible, Responsible::Network, "{path:?}");
            assert!(found.summary.contains("before the request"), "{}", found.summary);
        }
    }
}
