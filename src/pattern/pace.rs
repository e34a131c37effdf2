//! Connections that fail at a steady pace: nobody's user does that, but a health check does, or a program that
//! connects again and again.

use crate::cause::{Finding, Kind, What};
use crate::packet::{Address, Endpoint};
use crate::time::Timestamp;
use std::collections::BTreeMap;

/// Connections in a row that make a pace: proxies give up a request after fewer tries (HAProxy `retries` 3,
/// one second apart).
pub const ROW: usize = 6;
/// Paces looked for at one target: another one while it is down, and while that is not sure yet.
pub const PACES: usize = 3;
/// Connections ahead whose distance is taken for a pace: several workers may check by turns.
const AHEAD: usize = 3;
/// How much of its pace a check may be early or late: a twentieth.
const EARLY: i64 = 20;
/// Where connections are dense some follow at that pace by chance: no more than one in four may.
const DENSE: i64 = 8;

/// Failed connections of one client to one server at a steady pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Address of the client.
    pub client: Address,
    /// What it connects to.
    pub server: Endpoint,
    /// Between two of them, nanoseconds.
    pub every: i64,
    /// How many there are.
    pub connections: u64,
}

/// Paces of connections that failed before a request, the one with the most of them first.
pub fn paces<'a>(findings: impl Iterator<Item = &'a Finding>) -> Vec<Pace> {
    let mut by_ends: BTreeMap<(Address, Endpoint), Vec<Timestamp>> = BTreeMap::new();
    for finding in findings.filter(|finding| finding.kind == Kind::Connection) {
        let syn = finding.evidence.iter().find(|evidence| evidence.what == What::Syn);
        let began = syn.map(|syn| syn.mark.at);
        let began = began.or_else(|| finding.evidence.iter().map(|it| it.mark.at).min());
        by_ends.entry((finding.client.ip, finding.server)).or_default().extend(began);
    }
    let mut paces = Vec::new();
    for ((client, server), mut left) in by_ends.into_iter().filter(|(_, list)| list.len() >= ROW) {
        left.sort_unstable();
        for _ in 0..PACES {
            let Some((every, rows)) = steadiest(&left) else { break };
            paces.push(Pace { client, server, every, connections: rows.len() as u64 });
            let mut at = 0..;
            left.retain(|_| at.next().is_some_and(|at| rows.binary_search(&at).is_err()));
        }
    }
    paces.sort_by_key(|pace| std::cmp::Reverse(pace.connections));
    paces
}

/// The pace that most of these times keep, and which of them do, in rows long enough.
pub fn steadiest(times: &[Timestamp]) -> Option<(i64, Vec<usize>)> {
    let mut apart: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
    for ahead in 1..=AHEAD {
        for (from, to) in times.iter().zip(times.iter().skip(ahead)) {
            let nanos = to.nanos_since(*from);
            apart.entry(magnitude(nanos)).or_default().push(nanos);
        }
    }
    apart.remove(&0);
    let mut lists: Vec<Vec<i64>> = apart.into_values().collect();
    lists.sort_by_key(|list| std::cmp::Reverse(list.len()));
    let kept = lists.into_iter().take(PACES).map(|mut list| {
        list.sort_unstable();
        let pace = list[list.len() / 2];
        (pace, rows(times, pace))
    });
    kept.filter(|(_, rows)| !rows.is_empty()).max_by_key(|(pace, rows)| (rows.len(), -pace))
}

/// Steps of one sixteenth of a power of two; 0 for what is too short to be a pace.
fn magnitude(nanos: i64) -> u32 {
    let short = u64::try_from(nanos).unwrap_or(0) >> 20;
    match short {
        0..16 => 0,
        _ => (short.ilog2() << 4) | ((short >> (short.ilog2() - 4)) & 15) as u32,
    }
}

/// The times that follow each other at this pace, in rows long enough.
fn rows(times: &[Timestamp], pace: i64) -> Vec<usize> {
    let span = times.first().zip(times.last()).map_or(0, |(from, to)| to.nanos_since(*from));
    let slack = (pace / EARLY).min(span / DENSE / times.len().max(1) as i64);
    let mut next: Vec<Option<usize>> = vec![None; times.len()];
    let mut follows = vec![false; times.len()];
    for (at, time) in times.iter().enumerate() {
        let due = time.after(pace);
        let from = times.partition_point(|other| other.nanos_since(due) < -slack);
        let near = times[from..].iter().take_while(|other| other.nanos_since(due) <= slack);
        let best = (from..)
            .zip(near)
            .filter(|(other, _)| *other > at && !follows[*other])
            .min_by_key(|(_, other)| other.nanos_since(due).abs());
        if let Some((other, _)) = best {
            (next[at], follows[other]) = (Some(other), true);
        }
    }
    let mut kept = Vec::new();
    for first in (0..times.len()).filter(|at| !follows[*at]) {
        let row: Vec<usize> = std::iter::successors(Some(first), |at| next[*at]).collect();
        if row.len() >= ROW {
            kept.extend(row);
        }
    }
    kept.sort_unstable();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    /// Connections refused at these seconds.
    fn paces_of(seconds: &[i64]) -> Vec<(i64, u64)> {
        let refused = |second: &i64| {
            let mut finding = fixture::refused(0, 3);
            let first = finding.evidence[0].mark.at;
            for evidence in &mut finding.evidence {
                evidence.mark.at = evidence.mark.at.after(second * 1_000_000_000 - first.0);
            }
            finding
        };
        let findings: Vec<Finding> = seconds.iter().map(refused).collect();
        let found = paces(findings.iter());
        found.iter().map(|pace| (pace.every / 1_000_000_000, pace.connections)).collect()
    }

    #[test]
    fn only_what_comes_again_and_again_has_a_pace() {
        assert_eq!(paces_of(&[0, 5, 10, 15, 20, 25, 30, 35]), [(5, 8)]);
        assert_eq!(paces_of(&[0, 5, 10, 13, 15, 20, 25, 30, 35]), [(5, 8)]);
        assert_eq!(paces_of(&[0, 5, 10, 15]), []);
        assert_eq!(paces_of(&[0, 3, 4, 11, 19, 20, 33, 41, 42, 60]), []);
    }
}
