//! Lines that name the port of their client: where the capture has that connection, attempts of other clients are
//! none of theirs, however alike the requests and their times are.

use super::entry::Entry;
use super::fit::Leg;
use super::seen::{Capture, Known};
use super::tie::{By, Tied, Ties};
use crate::join::Correlation;
use crate::join::legs::SLACK;
use crate::packet::Endpoint;
use crate::time::Timestamp;
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

/// An exchange, or with ordinal 0 a connection that failed before any: its flow and its position on it.
type Exchange = (u64, u32);

/// Which attempts were made for which requests, by the packets of both legs.
#[derive(Debug, Default)]
pub(super) struct Fronts {
    of: HashMap<Exchange, Exchange, FixedState>,
    /// Requests of which the attempts are known.
    known: HashSet<Exchange, FixedState>,
}

impl Fronts {
    pub(super) fn new(correlations: &[Correlation]) -> Fronts {
        let mut fronts = Fronts::default();
        for correlation in correlations.iter().filter(|it| !it.back.is_empty()) {
            let Some(front) = correlation.front.as_ref().map(|it| (it.flow, it.ordinal)) else {
                continue;
            };
            fronts.known.insert(front);
            let back = correlation.back.iter().map(|it| (it.ends.flow, it.ends.ordinal));
            fronts.of.extend(back.map(|back| (back, front)));
        }
        fronts
    }

    /// Whether packets do not say otherwise than that `back` was made for `front`.
    fn allow(&self, front: Exchange, back: Exchange) -> bool {
        match self.of.get(&back) {
            Some(known) => *known == front,
            None => !self.known.contains(&front),
        }
    }
}

/// Connections of the clients that some lines name.
type Connections = HashMap<Endpoint, Vec<u64>, FixedState>;

/// Drops ties to attempts that were not made for the client that the line names.
pub(super) fn drop_others(
    entries: &[Entry],
    ties: &mut Ties,
    capture: &Capture,
    correlations: &[Correlation],
) {
    let guessed = |tied: &Tied| tied.leg == Leg::Back && tied.by <= By::Request;
    let client = |tied: &Tied| entries[tied.entry].client_port();
    // A log of a load balancer names thousands of clients, and the capture at its targets has none of them.
    let mut connections = Connections::default();
    let named = ties.tied.iter().filter(|tied| guessed(tied)).filter_map(client);
    let named = named.filter(|client| capture.by_client().has(*client));
    connections.extend(named.map(|client| (client, Vec::new())));
    if connections.is_empty() {
        return;
    }
    for (id, flow) in capture.flows.iter() {
        if let Some(flows) = connections.get_mut(&flow.client) {
            flows.push(id);
        }
    }
    let fronts = Fronts::new(correlations);
    let exchange = |tied: &Tied| (tied.flow, tied.seen.map_or(0, |n| capture.seen[n].ordinal));
    let begins = |tied: &Tied| match tied.seen {
        Some(n) => Some(capture.seen[n].first.at),
        None => capture.flows.get(tied.flow).map(|flow| flow.first.at),
    };
    let within =
        |from: Timestamp, to: Timestamp, at: Timestamp| at >= from && at.nanos_since(to) <= SLACK;
    let mut kept = Vec::with_capacity(ties.tied.len());
    for group in ties.tied.chunk_by(|one, next| one.entry == next.entry) {
        let own = group.iter().find(|it| it.leg == Leg::Front && it.by >= By::Port);
        let request = own.and_then(|own| Some((exchange(own), &capture.seen[own.seen?])));
        let is_own = |tied: &Tied| {
            let flows = client(tied).and_then(|client| connections.get(&client));
            let Some(flows) = flows.filter(|flows| !flows.is_empty()) else { return true };
            let Some(at) = begins(tied) else { return false };
            match request {
                Some((front, seen)) => {
                    within(seen.first.at, seen.last(), at) && fronts.allow(front, exchange(tied))
                }
                // Its request cannot be read, or is not tied: what its connection carried then.
                None => flows.iter().any(|id| {
                    let during = |flow: &Known| within(flow.first.at, flow.last, at);
                    let of = fronts.of.get(&exchange(tied));
                    capture.flows.get(*id).is_some_and(during)
                        && of.is_none_or(|front| front.0 == *id)
                }),
            }
        };
        kept.extend(group.iter().filter(|tied| !guessed(tied) || is_own(tied)).copied());
    }
    ties.tied = kept;
}

#[cfg(test)]
mod tests {
    use super::super::seen::Shows;
    use super::super::testing::{Made, entry, known, ms};
    use super::*;
    use crate::cause::Confidence;

    /// Two clients ask the same at one time, and the proxy asks its target for each; one line, of the first client.
    fn left(change: impl FnOnce(&mut Made)) -> Vec<u64> {
        const TARGET: ([u8; 4], u16) = ([10, 0, 1, 1], 8080);
        let mut made = Made::default();
        for (from, to) in [(0, 50), (1, 60)] {
            made.request("/", ([10, 0, 0, 9], 80), (from, to), Some(502));
        }
        for (from, to) in [(2, 49), (3, 59), (70, 80)] {
            made.request("/", TARGET, (from, to), None);
        }
        let client = made.0.flows.get(0).unwrap().client;
        change(&mut made);
        let entries = [entry(|it| it.client = Some(client))];
        let tie = |seen: usize, leg, by| Tied {
            entry: 0,
            seen: Some(seen),
            flow: seen as u64,
            leg,
            certainty: Confidence::Likely,
            by,
            distance: 0,
        };
        let mut ties = Ties::default();
        if made.0.flows.get(0).unwrap().client == client {
            ties.tied.push(tie(0, Leg::Front, By::Port));
        }
        ties.tied.extend((2..5).map(|seen| tie(seen, Leg::Back, By::Request)));
        let correlation = |front: usize, back: usize| {
            let ends = |n: usize| {
                let leg = crate::join::legs::Leg::of(&crate::http::Exchange {
                    ordinal: 1,
                    request: Some(crate::http::Request::default()),
                    ..Default::default()
                });
                crate::join::Ends { flow: n as u64, ..leg.unwrap().ends }
            };
            let attempt = crate::join::Attempt {
                ends: ends(back),
                cause: None,
                certainty: Confidence::Certain,
                by: crate::join::TiedBy::Request,
                own: false,
            };
            Correlation {
                front: Some(ends(front)),
                back: vec![attempt],
                log: Vec::new(),
                other_vantage: Vec::new(),
                certainty: Confidence::Certain,
            }
        };
        drop_others(&entries, &mut ties, &made.0, &[correlation(1, 3)]);
        ties.tied.iter().filter(|tied| tied.leg == Leg::Back).map(|tied| tied.flow).collect()
    }

    #[test]
    fn a_line_that_names_its_client_tells_of_no_attempt_for_another_one() {
        // The second attempt is another client's, by the packets; the third came when this one had its answer.
        assert_eq!(left(|_| {}), [2]);
    }

    #[test]
    fn a_line_whose_client_is_not_in_the_capture_keeps_what_it_has() {
        let moved = |made: &mut Made| {
            made.0.flows.insert(0, known([10, 0, 0, 6], 1, [10, 0, 0, 9], 80));
        };
        assert_eq!(left(moved), [2, 3, 4]);
    }

    #[test]
    fn a_connection_that_cannot_be_read_had_what_was_asked_while_it_lasted() {
        let mut made = Made::default();
        made.request("/", ([10, 0, 1, 1], 8080), (10, 40), Some(200));
        made.request("/", ([10, 0, 1, 1], 8080), (90, 95), Some(200));
        let mut front = known([203, 0, 113, 7], 40_001, [10, 0, 0, 9], 443);
        (front.first.at, front.last, front.shows) = (ms(0), ms(50), Shows::Sealed);
        made.0.flows.insert(9, front);
        let entries = [entry(|it| it.client = Some(front.client))];
        let tie = |seen: usize| Tied {
            entry: 0,
            seen: Some(seen),
            flow: seen as u64,
            leg: Leg::Back,
            certainty: Confidence::Likely,
            by: By::Request,
            distance: 0,
        };
        let mut ties = Ties { tied: vec![tie(0), tie(1)], ..Ties::default() };
        drop_others(&entries, &mut ties, &made.0, &[]);
        assert_eq!(ties.tied.iter().map(|it| it.flow).collect::<Vec<_>>(), [0]);
    }
}
