//! Ties lines to whole connections: those that speak of connections or of health checks, and failing
//! ones whose request never got out.

use super::entry::Entry;
use super::fit::{self, Leg, times};
use super::kind::Kind;
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
            for (end, leg) in [(entry.client_port(), Leg::Front), (entry.local, Leg::Back)] {
                let Some(end) = end else { continue };
                let fits: Vec<(u64, i64)> = self
                    .index
                    .flows_of(end)
                    .iter()
                    .filter_map(|id| {
                        let flow = self.capture.flows.get(id)?;
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
            if entry.client.is_none() && entry.local.is_none() {
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
            let Some(flow) = self.capture.flows.get(id) else { continue };
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
            let Some(flow) = self.capture.flows.get(id) else { continue };
            let mut fits: Vec<(i64, usize)> = Vec::new();
            let span = (flow.first.at, flow.last);
            for n in self.index.before(span, self.entries, &self.clock).take(CANDIDATES_MAX) {
                let entry = &self.entries[n];
                let wanted = entry.kind.has_requests()
                    && !entry.undispatched
                    && !has_back[n]
                    && (entry.failed || entry.attempts.len() > 1);
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
                [(one, n), (next, _), ..] if *next > one.max(&1_000_000).saturating_mul(MARGIN) => {
                    claims.push((*n, *id, *one));
                }
                _ => ties.ambiguous.extend(fits.iter().map(|(_, n)| *n)),
            }
        }
        claims.sort_unstable_by_key(|(n, id, _)| (*n, *id));
        for group in claims.chunk_by(|one, next| one.0 == next.0) {
            // A retried connection: several, one after the other.
            let known = self.clock.is_known();
            let one = self.entries[group[0].0].kind == Kind::NginxError;
            let alone = !one || group.len() == 1;
            let certainty = if known && alone { Confidence::Likely } else { Confidence::Possible };
            // Such a line tells of one attempt.
            let nearest = group.iter().map(|(.., distance)| *distance).min();
            let most = if one { 1 } else { group.len() };
            let group = group.iter().filter(|(.., it)| !one || Some(*it) == nearest).take(most);
            for (entry, flow, distance) in group {
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
        let began = flow.first.at.nanos_since(entry.until()).saturating_sub(entry.resolution);
        let high = flow.first.at.nanos_since(entry.at());
        match entry.began.zip(entry.ended).filter(|(began, ended)| began != ended) {
            Some(_) => fit::distance((began.min(high), high.max(began)), &self.clock),
            // Only one moment: that of the failure, or of the request.
            None => times(entry, Leg::Back, flow.first.at, flow.last, &self.clock),
        }
    }
}
