//! Ties lines to whole connections: those that speak of connections or of health checks, and failing
//! ones whose request never got out.

use super::entry::Entry;
use super::fit::{self, Leg, times};
use super::kind::Kind;
use super::line::Tries;
use super::seen::Known;
use super::tie::{By, CANDIDATES_MAX, MARGIN, Tied, Ties, Tying};
use crate::cause::Confidence;

impl Tying<'_> {
    /// Lines about connections: by the client's address and port, or a target and a time.
    pub(super) fn connections(&self, ties: &mut Ties) {
        // The lines of a log are all of one kind.
        if self.entries.first().is_none_or(|entry| entry.kind.has_requests()) {
            return;
        }
        for (n, entry) in self.entries.iter().enumerate() {
            let tied = |flow: u64, seen, leg, certainty, by, distance| Tied {
                entry: n,
                seen,
                flow,
                leg,
                certainty,
                by,
                distance,
            };
            for (end, leg) in [(entry.client_port(), Leg::Front), (entry.local(), Leg::Back)] {
                let Some(end) = end else { continue };
                let fits: Vec<(u64, i64)> = self
                    .index
                    .flows_of(end)
                    .iter()
                    .filter_map(|id| {
                        let flow = self.capture.flows.get(*id)?;
                        let distance = times(entry, leg, flow.first.at, flow.last, &self.clock)
                            .or_else(|| self.is_within(entry, flow).then_some(0))?;
                        Some((*id, distance))
                    })
                    .collect();
                match fits.as_slice() {
                    [] => {}
                    [(id, distance)] => {
                        let sure = self.clock.is_known();
                        let certainty = if sure { Confidence::Certain } else { Confidence::Likely };
                        ties.tied.push(tied(*id, None, leg, certainty, By::Port, *distance));
                    }
                    _ => ties.ambiguous.push(n),
                }
            }
            if entry.client.is_none() && entry.local().is_none() {
                self.check(n, entry, ties);
            }
        }
    }

    /// Whether a line about a connection was written while that was open.
    fn is_within(&self, entry: &Entry, flow: &Known) -> bool {
        let (from, to) = (flow.first.at.0, flow.last.0);
        let at = entry.until().0.saturating_add(self.clock.offset);
        let tolerance = self.clock.tolerance + entry.resolution;
        at >= from.saturating_sub(tolerance) && at <= to.saturating_add(tolerance)
    }

    /// A health check: by its target, the node's address where known, and time.
    fn check(&self, n: usize, entry: &Entry, ties: &mut Ties) {
        let mut fits: Vec<(i64, u64, bool)> = Vec::new();
        for id in self.index.flows_near(entry, &self.clock) {
            let Some(flow) = self.capture.flows.get(*id) else { continue };
            let away = flow.first.at.nanos_since(entry.at().after(self.clock.offset)).abs();
            if entry.names(flow.server)
                && away <= self.clock.tolerance
                && fits.len() < CANDIDATES_MAX
            {
                let node = entry.node().is_some_and(|node| node.ip == flow.client.ip);
                fits.push((away, *id, node));
            }
        }
        if fits.iter().any(|(.., node)| *node) {
            fits.retain(|(.., node)| *node);
        }
        fits.sort_unstable();
        let far = |one: i64, next: i64| next > one.max(10_000_000).saturating_mul(MARGIN);
        let (distance, flow, node, alone) = match fits.as_slice() {
            [] => return,
            [(distance, flow, node)] => (*distance, *flow, *node, true),
            [(one, flow, node), (next, ..), ..] if far(*one, *next) => (*one, *flow, *node, false),
            _ => return ties.ambiguous.push(n),
        };
        let certainty = if alone && node { Confidence::Likely } else { Confidence::Possible };
        let seen = self.index.first_of(flow);
        ties.tied.push(Tied {
            entry: n,
            seen,
            flow,
            leg: Leg::Back,
            certainty,
            by: By::Time,
            distance,
        });
    }

    /// Failing lines whose request never got out: connections that failed before any request.
    pub(super) fn broken(&self, broken: &[u64], ties: &mut Ties) {
        if broken.is_empty() {
            return;
        }
        let mut has_back = vec![false; self.entries.len()];
        let back = ties.tied.iter().filter(|it| it.leg == Leg::Back);
        back.for_each(|it| has_back[it.entry] = true);
        let mut claims: Vec<(usize, u64, i64)> = Vec::new();
        for id in broken {
            let Some(flow) = self.capture.flows.get(*id) else { continue };
            let mut fits: Vec<(i64, usize)> = Vec::new();
            let span = (flow.first.at, flow.last);
            for n in self.index.before(span, self.entries, &self.clock).take(CANDIDATES_MAX) {
                let entry = &self.entries[n];
                let wanted = entry.kind.has_requests()
                    && !entry.undispatched
                    && may_have_tried(entry, flow, has_back[n])
                    && entry.server.is_none_or(|name| ties.servers.may_be(name, flow.server));
                let Some(found) = self.addresses(entry, flow).filter(|_| wanted) else { continue };
                if found.leg == Leg::Back
                    && let Some(distance) = self.during(entry, flow)
                {
                    fits.push((distance, n));
                }
            }
            fits.sort_unstable();
            match fits.as_slice() {
                [] => {}
                [(distance, n)] => claims.push((*n, *id, *distance)),
                [(one, n), (next, _), ..]
                    if *next > (*one).max(self.exactness(*n)).saturating_mul(MARGIN) =>
                {
                    claims.push((*n, *id, *one));
                }
                _ => ties.ambiguous.extend(fits.iter().map(|(_, n)| *n)),
            }
        }
        claims.sort_unstable_by_key(|(n, id, _)| (*n, *id));
        for group in claims.chunk_by_mut(|one, next| one.0 == next.0) {
            // A retried connection: several, one after the other.
            let known = self.clock.is_known();
            let one = self.entries[group[0].0].kind == Kind::NginxError;
            let alone = !one || group.len() == 1;
            let certainty = if known && alone { Confidence::Likely } else { Confidence::Possible };
            // Such a line tells of one attempt; others count theirs.
            let tries = self.entries[group[0].0].tries();
            let most = if one { 1 } else { tries.map_or(usize::MAX, |it| it.failed.into()) };
            group.sort_by_key(|(.., distance)| *distance);
            for (entry, flow, distance) in group.iter().take(most) {
                ties.tied.push(Tied {
                    entry: *entry,
                    seen: None,
                    flow: *flow,
                    leg: Leg::Back,
                    certainty,
                    by: By::Time,
                    distance: *distance,
                });
            }
        }
    }

    /// How far the first packet of a connection is from the time of a line that may tell of it.
    fn during(&self, entry: &Entry, flow: &Known) -> Option<i64> {
        if let Some(tries) = entry.tries() {
            return self.tried(entry, &tries, flow);
        }
        let began = flow.first.at.nanos_since(entry.until()).saturating_sub(entry.resolution);
        let high = flow.first.at.nanos_since(entry.at());
        match entry.began.get().zip(entry.ended.get()).filter(|(began, ended)| began != ended) {
            Some(_) => fit::distance((began.min(high), high.max(began)), &self.clock),
            // Only one moment: that of the failure, or of the request.
            None => times(entry, Leg::Back, flow.first.at, flow.last, &self.clock),
        }
    }

    /// How far it is from the nearest of the tries that failed, by a line that counts them.
    fn tried(&self, entry: &Entry, tries: &Tries, flow: &Known) -> Option<i64> {
        let began = flow.first.at.nanos_since(tries.until).saturating_sub(entry.resolution);
        let since = flow.first.at.nanos_since(tries.from);
        fit::distance((began.min(since), since.max(began)), &self.clock)?;
        let since = since.saturating_sub(self.clock.offset);
        let last = i64::from(tries.failed.saturating_sub(1));
        let half = tries.step / 2;
        let which = (since.saturating_add(half) / tries.step.max(1)).clamp(0, last);
        Some(since.saturating_sub(tries.step.saturating_mul(which)).abs())
    }

    /// Within it one line is not nearer than another to a connection, nanoseconds.
    fn exactness(&self, entry: usize) -> i64 {
        if self.entries[entry].tries().is_some() { TRIES_NEAR } else { 1_000_000 }
    }
}

/// How exact the times of tries are that a line only counts: timers of a busy proxy are late, nanoseconds.
const TRIES_NEAR: i64 = 10_000_000;

/// Whether a line can tell of a connection without a request: whether it `has_back`, a request that a target got.
fn may_have_tried(entry: &Entry, flow: &Known, has_back: bool) -> bool {
    match entry.tries() {
        // As many as it counts failed, whatever became of the request.
        Some(tries) if !flow.made => tries.failed > 0,
        _ => !has_back && (entry.failed || entry.attempts.len() > 1),
    }
}
