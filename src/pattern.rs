//! What findings of one cause have in common: the same idle time, the same outstanding time, a
//! burst, one target among many, a request cap.

mod pace;

pub use pace::{PACES, Pace, ROW, paces, steadiest};

use crate::blind::BlindSpot;
use crate::cause::{Finding, What};
use crate::packet::Endpoint;
use crate::report::{Pattern, PatternKind};
use crate::tcp::Side;
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Fewer findings make no pattern.
const FEW: usize = 3;
/// Length of a burst, nanoseconds.
const BURST: i64 = 1_000_000_000;
/// Shortest time that is a timer rather than latency, nanoseconds.
const TIMER: i64 = 400_000_000;
/// Fewest requests on a connection that look like a cap.
const CAP: u32 = 10;
/// What people set as a cap is a multiple of it (the default of nginx is 1000, of Apache 100).
const ROUND: u32 = 50;

/// What the end of a target's process or host does to connections.
const GOES_AWAY: [&str; 8] = [
    "connect-refused",
    "keepalive-race",
    "stale-flow-reset",
    "target-fin-no-response",
    "target-rst-no-response",
    "target-closed-during-request",
    "response-header-truncated",
    "response-body-truncated",
];

/// Patterns over `findings`; `servers` are all that the capture shows.
pub fn patterns(findings: &[Finding], servers: &BTreeSet<Endpoint>) -> Vec<Pattern> {
    let mut by_cause: BTreeMap<&'static str, Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        by_cause.entry(finding.cause.id).or_default().push(finding);
    }
    let mut patterns = Vec::new();
    for (cause, findings) in by_cause.into_iter().filter(|(_, findings)| findings.len() >= FEW) {
        let of = findings.len() as u64;
        let kinds = [idle_time, outstanding_time, burst, request_cap];
        let mut found: Vec<_> = kinds.iter().filter_map(|kind| kind(&findings)).collect();
        found.extend(one_target(&findings, servers));
        patterns.extend(found.into_iter().map(|(findings, kind)| Pattern {
            cause,
            kind,
            findings,
            of,
        }));
    }
    patterns
}

type Found = Option<(u64, PatternKind)>;

/// How long the connection lay idle until the guilty packet ended it: for a close that crosses the
/// request this is the closer's own timer, whichever of the two came first in the capture.
fn idle_time(findings: &[&Finding]) -> Found {
    let values = findings
        .iter()
        .filter_map(|finding| Some(finding.idle_before? + finding.outstanding?))
        .filter(|idle| *idle >= TIMER);
    let (count, median_s, range_s) = cluster(values.collect(), findings.len())?;
    Some((count, PatternKind::IdleTime { median_s, range_s }))
}

/// How long the request had been outstanding when it ended.
fn outstanding_time(findings: &[&Finding]) -> Found {
    let values = findings.iter().filter_map(|finding| {
        let end = finding
            .evidence
            .iter()
            .find(|evidence| matches!(evidence.what, What::Fin | What::Rst))?;
        let request = finding.exchange.as_ref()?.request.as_ref()?;
        Some(end.mark.at.nanos_since(request.last.at))
    });
    let values = values.filter(|outstanding| *outstanding >= TIMER).collect();
    let (count, median_s, range_s) = cluster(values, findings.len())?;
    Some((count, PatternKind::OutstandingTime { median_s, range_s }))
}

/// The values near their median, when most of all `of` are: how many, the median and the range in
/// seconds.
fn cluster(mut values: Vec<i64>, of: usize) -> Option<(u64, f64, (f64, f64))> {
    values.sort_unstable();
    let median = *values.get(values.len() / 2)?;
    let tolerance = (median / 20).max(60_000_000);
    let near: Vec<i64> =
        values.into_iter().filter(|value| (value - median).abs() <= tolerance).collect();
    if near.len() < FEW || near.len() * 10 < of * 6 {
        return None;
    }
    let seconds = |nanos: &i64| *nanos as f64 / 1e9;
    Some((near.len() as u64, seconds(&median), (seconds(near.first()?), seconds(near.last()?))))
}

/// The most findings within one [`BURST`], when they are at least half and the rest lies far off.
fn burst(findings: &[&Finding]) -> Found {
    let mut guilty: Vec<_> = findings
        .iter()
        .filter_map(|finding| Some((finding.evidence.first()?.mark.at, *finding)))
        .collect();
    guilty.sort_by_key(|(at, finding)| (*at, finding.flow));
    let times: Vec<_> = guilty.iter().map(|(at, _)| *at).collect();
    let (mut from, mut best) = (0, 0..0);
    for to in 0..times.len() {
        while times[to].nanos_since(times[from]) > BURST {
            from += 1;
        }
        if to + 1 - from > best.len() {
            best = from..to + 1;
        }
    }
    if best.len() < FEW || best.len() * 2 < findings.len() {
        return None;
    }
    let (first, last) = (*times.get(best.start)?, *times.get(best.end - 1)?);
    let goes_away = goes_away(guilty.get(best.clone())?);
    let within_s = last.since(first);
    Some((best.len() as u64, PatternKind::Burst { from: first, within_s, goes_away }))
}

/// Whether these are what a target leaves behind that goes away: several of its connections end, or are
/// refused, and it is one target.
fn goes_away(burst: &[(Timestamp, &Finding)]) -> bool {
    let flows: BTreeSet<u64> = burst.iter().map(|(_, finding)| finding.flow).collect();
    let servers: BTreeSet<Endpoint> = burst.iter().map(|(_, finding)| finding.server).collect();
    flows.len() >= FEW
        && servers.len() == 1
        && burst.iter().all(|(_, finding)| GOES_AWAY.contains(&finding.cause.id))
}

/// Whether the server ended the connection, and no packet of it may be missing.
fn closed_by_server(finding: &Finding) -> bool {
    let guilty = finding.evidence.iter().find(|it| matches!(it.what, What::Fin | What::Rst));
    guilty.is_some_and(|it| it.side == Side::Server) && !finding.blind_spots.has(BlindSpot::Gap)
}

fn request_cap(findings: &[&Finding]) -> Found {
    let mut by_ordinal: BTreeMap<u32, Vec<Timestamp>> = BTreeMap::new();
    for finding in findings.iter().filter(|finding| closed_by_server(finding)) {
        let ended = finding.evidence.first().map(|guilty| guilty.mark.at);
        if let Some((exchange, ended)) = finding.exchange.as_ref().zip(ended) {
            by_ordinal.entry(exchange.ordinal).or_default().push(ended);
        }
    }
    let (ordinal, ends) = by_ordinal.into_iter().max_by_key(|(_, ends)| ends.len())?;
    let count = ends.len();
    // The request that failed is the one after the last that was allowed.
    let allowed = ordinal.checked_sub(1).filter(|allowed| *allowed >= CAP)?;
    // Connections that keep step come to the same number when something ends them all at once.
    let at_once = ends.iter().max()?.nanos_since(*ends.iter().min()?) <= BURST;
    if at_once && allowed % ROUND != 0 {
        return None;
    }
    (count >= FEW && count * 10 >= findings.len() * 6)
        .then_some((count as u64, PatternKind::RequestCap { ordinal: allowed }))
}

fn one_target(findings: &[&Finding], servers: &BTreeSet<Endpoint>) -> Found {
    let mut by_server: BTreeMap<Endpoint, usize> = BTreeMap::new();
    for finding in findings {
        *by_server.entry(finding.server).or_default() += 1;
    }
    let (server, count) = by_server.into_iter().max_by_key(|(_, count)| *count)?;
    let others =
        servers.iter().filter(|other| other.port == server.port && other.ip != server.ip).count()
            as u64;
    (others > 0 && count * 10 >= findings.len() * 8)
        .then_some((count as u64, PatternKind::OneTarget { server, others }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::{Confidence, Evidence, Kind, Responsible, by_id};
    use crate::flow::Vantage;
    use crate::http::{Exchange, Request};
    use crate::time::{FrameId, Mark};

    const SECOND: i64 = 1_000_000_000;

    fn finding(at: i64, idle: i64, ordinal: u32, server: u8) -> Finding {
        let mark = |at| Mark { frame: FrameId::new(0, 1), at: Timestamp(at) };
        let request = Request { first: mark(at), last: mark(at), ..Request::default() };
        Finding {
            cause: by_id("keepalive-race").expect("a cause"),
            kind: Kind::Request,
            joined: None,
            flow: 0,
            stream: None,
            client: Endpoint::default(),
            server: Endpoint::v4([10, 0, 0, server], 80),
            responsible: Responsible::TargetApp,
            confidence: Confidence::Certain,
            vantage: Vantage::Unknown,
            exchange: Some(Box::new(Exchange {
                ordinal,
                request: Some(request),
                ..Exchange::default()
            })),
            evidence: vec![Evidence {
                mark: mark(at),
                side: Side::Server,
                what: What::Fin,
                note: Default::default(),
            }],
            packets: Vec::new(),
            outstanding: Some(0),
            idle_before: Some(idle),
            blind_spots: crate::blind::BlindSpots::NONE,
            summary: Default::default(),
            host: None,
        }
    }

    fn kinds(findings: &[Finding], servers: &[u8]) -> Vec<String> {
        let servers = servers.iter().map(|last| Endpoint::v4([10, 0, 0, *last], 80)).collect();
        patterns(findings, &servers)
            .into_iter()
            .map(|pattern| {
                let name = format!("{:?}", pattern.kind);
                format!(
                    "{} {}/{}",
                    name.split([' ', '{']).next().unwrap_or(""),
                    pattern.findings,
                    pattern.of
                )
            })
            .collect()
    }

    #[test]
    fn the_same_idle_time_is_a_keep_alive_time_out() {
        let findings: Vec<_> = (0..5)
            .map(|i| finding(i * 60 * SECOND, 5 * SECOND + i * 10_000_000, i as u32 + 2, 1))
            .collect();
        assert_eq!(kinds(&findings, &[1]), ["IdleTime 5/5"]);
    }

    #[test]
    fn scattered_idle_times_are_no_pattern() {
        let findings: Vec<_> =
            (0..5).map(|i| finding(i * 60 * SECOND, (i + 1) * SECOND, i as u32 + 2, 1)).collect();
        assert!(kinds(&findings, &[1]).is_empty());
    }

    #[test]
    fn a_burst_one_target_and_a_request_cap_are_told() {
        let findings: Vec<_> =
            (0..4).map(|i| finding(i * SECOND / 10, i * 7 * SECOND, 101, 3)).collect();
        assert_eq!(kinds(&findings, &[1, 2, 3]), ["Burst 4/4", "RequestCap 4/4", "OneTarget 4/4"]);
    }

    #[test]
    fn what_ends_connections_that_keep_step_is_no_request_cap() {
        let of = |ordinal: u32, change: fn(&mut Finding)| {
            let mut findings: Vec<_> =
                (0..4).map(|i| finding(i * SECOND / 10, i * 7 * SECOND, ordinal, 1)).collect();
            findings.iter_mut().for_each(change);
            kinds(&findings, &[1]).contains(&"RequestCap 4/4".to_owned())
        };
        assert!(of(101, |_| ()));
        assert!(!of(38, |_| ()), "an outage ended them");
        assert!(!of(101, |it| it.evidence[0].side = Side::Client), "who closed is no server");
        assert!(!of(101, |it| it.evidence[0].what = What::Silence));
        assert!(!of(101, |it| it.blind_spots.add(BlindSpot::Gap)), "packets may be missing");
        let spread: Vec<_> =
            (0..4).map(|i| finding(i * 5 * SECOND, i * 7 * SECOND, 38, 1)).collect();
        assert!(kinds(&spread, &[1]).contains(&"RequestCap 4/4".to_owned()));
    }

    #[test]
    fn two_findings_are_no_pattern() {
        let findings: Vec<_> = (0..2).map(|i| finding(i, 5 * SECOND, 101, 1)).collect();
        assert!(kinds(&findings, &[1, 2]).is_empty());
    }

    /// Whether a burst of findings with these causes, flows and targets is said to be a restart.
    fn restarts(burst: &[(&str, u64, u8)]) -> bool {
        let one = |(n, (cause, flow, server)): (i64, &(&str, u64, u8))| Finding {
            cause: by_id(cause).expect("a cause"),
            flow: *flow,
            ..finding(n * SECOND / 10, 0, 1, *server)
        };
        let findings: Vec<_> = (0..).zip(burst).map(one).collect();
        let found = patterns(&findings, &BTreeSet::new());
        found.iter().any(|it| matches!(it.kind, PatternKind::Burst { goes_away: true, .. }))
    }

    #[test]
    fn only_a_target_that_goes_away_from_several_connections_may_have_been_restarted() {
        let refused = "connect-refused";
        assert!(restarts(&[(refused, 1, 1), (refused, 2, 1), (refused, 3, 1)]));
        assert!(!restarts(&[(refused, 1, 1), (refused, 2, 1), (refused, 3, 2)]));
        let reset = "target-rst-no-response";
        assert!(!restarts(&[(reset, 1, 1), (reset, 1, 1), (reset, 2, 1)]));
        for other in ["target-own-5xx", "response-timeout", "client-abort", "lb-cut"] {
            assert!(!restarts(&[(other, 1, 1), (other, 2, 1), (other, 3, 1)]), "{other}");
        }
    }
}
