//! The first line: the answer.

use super::Group;
use super::page::{Ink, WIDTH};
use super::targets;
use crate::cause::{Kind, span};
use crate::health::{State, Target};
use crate::http::Protocol;
use crate::packet::Endpoint;
use crate::pattern::paces;
use crate::report::{Report, terms, words};
use crate::words::{Phrase, plural};
use crate::{phrase, word};

/// The answer in one or more parts, each of which may stand on a line of its own, and its colour.
pub(in crate::report) fn headline(report: &Report, groups: &[Group<'_>]) -> (Vec<Phrase>, Ink) {
    let summary = &report.summary;
    let requests = failed(groups, Kind::Request, summary.failed_requests);
    let connections = failed(groups, Kind::Connection, summary.failed_connections);
    let checks = failed(groups, Kind::HealthCheck, summary.failed_checks);
    let mut parts = Vec::new();
    let health = health(&report.health.targets);
    if requests.0 == 0 {
        parts.extend(health.clone());
    }
    if requests.0 > 0 {
        let all = plural(of_users(report).max(requests.0), "request");
        let which = match (summary.encrypted_requests, summary.exchanges) {
            (0, _) => Phrase::default(),
            (_, 0) => phrase!(" (encrypted)"),
            (n, _) => phrase!(" ({n} encrypted)", n = words::count(n)),
        };
        parts.push(phrase!(
            "{n} of {all}{which} failed: {causes}",
            n = words::count(requests.0),
            all,
            which,
            causes = requests.1
        ));
    }
    for (found, what, when) in [
        (connections, word!("connection"), word!(" before a request")),
        (checks, word!("health check"), ""),
    ] {
        if found.0 > 0 {
            let and = if parts.is_empty() { "" } else { word!("and ") };
            let pace = if when.is_empty() { None } else { paced(groups) };
            let what = plural(found.0, what);
            parts.push(phrase!(
                "{and}{what} failed{when}: {causes}",
                and,
                what,
                when,
                causes = found.1
            ));
            parts.extend(pace);
        }
    }
    let attempts = failed(groups, Kind::Attempt, summary.failed_attempts);
    if attempts.0 > 0 {
        parts.push(phrase!(
            "{what} of a proxy failed that decided no request: {causes}",
            what = plural(attempts.0, "attempt"),
            causes = attempts.1
        ));
    }
    if requests.0 > 0 {
        parts.extend(health);
    }
    let ink = match (parts.is_empty(), summary.exchanges + summary.encrypted_requests) {
        (false, _) => Ink::Bad,
        (true, 0) => Ink::Label,
        // What was not asked for may have failed.
        (true, _) if !report.causes.is_empty() => Ink::Label,
        (true, _) => Ink::Good,
    };
    if requests.0 == 0 {
        parts.push(without_failed_request(report));
    } else if summary.unknown_requests > 0 {
        let unknown = plural(summary.unknown_requests, "more request");
        parts.push(phrase!("{unknown} not decidable{why}", unknown, why = only_reason(report)));
    }
    (parts, ink)
}

/// How many of a kind failed, and their causes. What was counted and is not in the list (a bound
/// was reached) is named too.
fn failed(groups: &[Group<'_>], kind: Kind, counted: u64) -> (u64, Phrase) {
    let mut of_kind: Vec<(u64, &'static str)> = groups
        .iter()
        .filter(|group| group.kind == kind)
        .flat_map(|group| {
            let unknown = group.of_unknown_maker();
            let maker = word!("5xx of the target or a proxy");
            [(group.count.saturating_sub(unknown), group.cause.id), (unknown, maker)]
        })
        .filter(|(count, _)| *count > 0)
        .collect();
    of_kind.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    let listed = of_kind.iter().map(|(n, _)| n).sum::<u64>();
    if counted > listed {
        of_kind.push((counted - listed, word!("not listed")));
    }
    (counted.max(listed), words::counted(of_kind, WIDTH - 30))
}

/// Of connections that failed before a request, those at a steady pace: they may be health checks that nothing else
/// tells of, as where the target was down all the time.
fn paced(groups: &[Group<'_>]) -> Option<Phrase> {
    let connections = groups.iter().filter(|group| group.kind == Kind::Connection);
    let paces = paces(connections.flat_map(|group| group.findings.iter().copied()));
    let first = paces.first()?;
    let n = paces.iter().map(|pace| pace.connections).sum::<u64>();
    let client = Endpoint { ip: first.client, port: 0 }.addr().to_string();
    let (every, server) = (span(first.every), first.server.socket());
    Some(match paces.len() {
        1 => phrase!(
            "{n} of these every {every} from {client} to {server}: perhaps health checks, or a program that tries again",
            n = words::count(n),
            every,
            client,
            server
        ),
        _ => phrase!(
            "{n} of these at a steady pace, as every {every} from {client} to {server}: perhaps health checks, or programs that try again",
            n = words::count(n),
            every,
            client,
            server
        ),
    })
}

/// Targets that are not as they should be: one by name, several counted.
fn health(targets: &[Target]) -> Option<Phrase> {
    let is_told = |target: &&Target| targets::is_bad(target) || target.is_lost();
    let mut bad: Vec<&Target> = targets.iter().filter(is_told).collect();
    // What is known to be wrong comes before what the capture is too short for.
    bad.sort_by_key(|target| {
        let short = target.absence.as_ref().is_some_and(|it| it.id == "capture-too-short");
        (target.is_lost(), short)
    });
    let [first, others @ ..] = bad.as_slice() else { return None };
    let more = match others.len() {
        0 => Phrase::default(),
        n => phrase!(", and {n}", n = plural(n as u64, "more target")),
    };
    let what = match (&first.absence, first.checks()) {
        (Some(absence), _) => absence.text.shortened(WIDTH * 2),
        (None, _) => {
            let entry = first.decisive();
            let reason = entry.and_then(|entry| entry.reason);
            let reason = reason.map_or(Phrase::default(), |reason| phrase!(" ({reason})", reason));
            let at = entry.map_or(Phrase::default(), |entry| {
                phrase!(" since {at}", at = words::time(entry.mark.at))
            });
            let server = first.server.socket();
            match first.state {
                State::Unknown => {
                    phrase!("the state of target {server} is not known{at}", server, at)
                }
                state => {
                    let state = state.id();
                    phrase!("target {server} is {state}{reason}{at}", server, state, reason, at)
                }
            }
        }
    };
    Some(phrase!("{what}{more}", what, more))
}

/// Requests that are neither health checks nor what a proxy asked for its clients.
pub(in crate::report) fn of_users(report: &Report) -> u64 {
    let summary = &report.summary;
    (summary.exchanges + summary.encrypted_requests)
        .saturating_sub(summary.back_exchanges)
        .saturating_sub(report.health.asked)
}

fn without_failed_request(report: &Report) -> Phrase {
    let summary = &report.summary;
    match (summary.exchanges, summary.encrypted_requests) {
        (0, 0) => return without_http(report),
        (0, 1) => {
            return phrase!("the only request was answered; it cannot be read without keys");
        }
        (0, n) => {
            let n = words::count(n);
            return phrase!(
                "no request without an answer among {n} that cannot be read without keys",
                n
            );
        }
        _ => {}
    }
    let unknown = match summary.unknown_requests {
        0 => Phrase::default(),
        n => phrase!(" ({n} not decidable{why})", n = words::count(n), why = only_reason(report)),
    };
    let encrypted = match summary.encrypted_requests {
        0 => Phrase::default(),
        n => phrase!(", nor among {n} that cannot be read without keys", n = words::count(n)),
    };
    let users = of_users(report).saturating_sub(summary.encrypted_requests);
    if !report.causes.is_empty() && users > 0 {
        // Others are not counted.
        let cause = Phrase::from(report.causes.join(", "));
        return match users {
            1 => phrase!(
                "the only request did not fail by {cause}, and nothing else was asked for{unknown}",
                cause,
                unknown
            ),
            n => phrase!(
                "none of {n} requests failed by {cause}, and nothing else was asked for{unknown}",
                n = words::count(n),
                cause,
                unknown
            ),
        };
    }
    match users {
        0 => phrase!("no request but health checks{unknown}{encrypted}", unknown, encrypted),
        1 => phrase!("the only request did not fail{unknown}{encrypted}", unknown, encrypted),
        n => phrase!(
            "no failed request among {n}{unknown}{encrypted}",
            n = words::count(n),
            unknown,
            encrypted
        ),
    }
}

/// Named only where there is just one blind spot, so that it must be that one.
fn only_reason(report: &Report) -> Phrase {
    let mut spots = report.summary.blind_spots.iter().filter(|(_, flows)| **flows > 0);
    match (spots.next(), spots.next()) {
        (Some((spot, _)), None) => phrase!(": {meaning}", meaning = spot.meaning()),
        _ => Phrase::default(),
    }
}

/// What there is instead of HTTP.
fn without_http(report: &Report) -> Phrase {
    let summary = &report.summary;
    let packets = plural(summary.packets, "packet");
    if summary.packets == 0 {
        return phrase!("no packets, so nothing to judge");
    }
    if summary.flows == 0 {
        let mut reasons: Vec<(&String, &u64)> = summary.skipped.iter().collect();
        reasons.sort_by_key(|(id, n)| (std::cmp::Reverse(**n), *id));
        let reasons: Vec<Phrase> = reasons
            .iter()
            .take(3)
            .map(|(id, n)| {
                phrase!("{n} {skipped}", n = words::count(**n), skipped = terms::skipped(id))
            })
            .collect();
        let instead = if reasons.is_empty() {
            Phrase::default()
        } else {
            phrase!(": {reasons}", reasons = Phrase::list(reasons, ", "))
        };
        return phrase!("no TCP in {packets}{instead}", packets, instead);
    }
    let cut = summary.cut_flows;
    let mut flows: Vec<(u64, &str)> = summary
        .protocols
        .iter()
        .map(|(protocol, n)| match protocol {
            Protocol::Unknown => (n.saturating_sub(cut), terms::protocol(*protocol)),
            _ => (*n, terms::protocol(*protocol)),
        })
        .chain([(cut, word!("whose data the snap length cut away"))])
        .filter(|(n, _)| *n > 0)
        .collect();
    flows.sort_by_key(|(n, _)| std::cmp::Reverse(*n));
    let mut flows = flows.into_iter();
    let instead = match flows.next() {
        None => plural(summary.flows, "TCP flow"),
        Some((n, what)) => {
            let first = phrase!("{flows} {what}", flows = plural(n, "flow"), what);
            let others =
                flows.map(|(n, protocol)| phrase!("{n} {protocol}", n = words::count(n), protocol));
            Phrase::list([first].into_iter().chain(others).collect(), ", ")
        }
    };
    phrase!("no HTTP/1 requests in {packets}: {instead}", packets, instead)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blind::BlindSpot;
    use crate::health::Health;
    use crate::report::{fixture, text};

    fn first_line(report: &Report) -> String {
        Phrase::list(headline(report, &text::groups(report)).0, "; ").to_string()
    }

    #[test]
    fn failures_are_counted_by_cause() {
        let mut report = Report { health: Health::default(), ..fixture::report() };
        assert_eq!(
            first_line(&report),
            "4 of 4 310 requests failed: 4 keepalive-race; and 1 connection failed before a request: \
             1 connect-refused; 3 more requests not decidable"
        );
        report.summary.unknown_requests = 0;
        report.findings.pop();
        (report.summary.failed_connections, report.summary.exchanges) = (0, 4);
        report.summary.by_cause.remove("connect-refused");
        assert_eq!(first_line(&report), "4 of 4 requests failed: 4 keepalive-race");
    }

    #[test]
    fn failures_that_are_not_listed_still_count() {
        let mut report = Report { health: Health::default(), ..fixture::report() };
        (report.summary.unknown_requests, report.summary.failed_requests) = (0, 6);
        report.findings.pop();
        report.summary.by_cause.remove("connect-refused");
        assert_eq!(
            first_line(&report),
            "6 of 4 310 requests failed: 4 keepalive-race, 2 not listed; and 1 connection failed \
             before a request: 1 not listed"
        );
    }

    #[test]
    fn an_unhealthy_target_is_the_answer_when_no_request_failed() {
        let mut report = Report { findings: Vec::new(), ..fixture::report() };
        report.summary = crate::report::Summary { packets: 9, ..Default::default() };
        assert!(
            first_line(&report).starts_with(
                "target 10.0.2.9:8080 is unhealthy (Target.ResponseCodeMismatch) since 1970-"
            ),
            "{}",
            first_line(&report)
        );
        report.health.targets.retain(|target| target.absence.is_some());
        let unchecked = first_line(&report);
        assert!(unchecked.starts_with("no health check from any load balancer"), "{unchecked}");
    }

    #[test]
    fn connections_alone() {
        let mut report = Report { health: Health::default(), ..fixture::report() };
        report.findings = vec![fixture::refused(0, 3)];
        report.summary.by_cause = [("connect-refused", 1)].into();
        (report.summary.failed_requests, report.summary.unknown_requests) = (0, 0);
        assert_eq!(
            first_line(&report),
            "1 connection failed before a request: 1 connect-refused; no failed request among 4 310"
        );
    }

    #[test]
    fn connections_at_a_steady_pace_may_be_checks() {
        let mut report = Report { health: Health::default(), ..fixture::report() };
        let refused = |n: i64| {
            let mut finding = fixture::refused(n as u32, 3);
            for evidence in &mut finding.evidence {
                evidence.mark.at = evidence.mark.at.after(n * 5_000_000_000);
            }
            finding
        };
        report.findings = (0..8).map(refused).collect();
        (report.summary.failed_requests, report.summary.unknown_requests) = (0, 0);
        report.summary.failed_connections = 8;
        let said = first_line(&report);
        assert!(
            said.contains("8 connect-refused; 8 of these every 5.00 s from 10.0.1.7 to 10.0.2.9:"),
            "{said}"
        );
        assert!(said.contains("perhaps health checks"), "{said}");
        report.findings.truncate(4);
        assert!(!first_line(&report).contains("perhaps"));
    }

    #[test]
    fn nothing_failed_of_what_was_asked_for() {
        let mut report = Report::default();
        (report.summary.packets, report.summary.flows, report.summary.exchanges) = (9, 2, 430);
        report.causes = vec!["lb-cut"];
        assert_eq!(
            first_line(&report),
            "none of 430 requests failed by lb-cut, and nothing else was asked for"
        );
    }

    #[test]
    fn nothing_failed() {
        let mut report = Report::default();
        report.summary.packets = 9;
        report.summary.flows = 2;
        report.summary.exchanges = 4310;
        report.summary.unknown_requests = 3;
        report.summary.blind_spots = [(BlindSpot::CaptureEnd, 1)].into();
        assert_eq!(
            first_line(&report),
            "no failed request among 4 310 (3 not decidable: the capture ended before it was decided)"
        );
        report.summary.blind_spots.insert(BlindSpot::Gap, 1);
        assert_eq!(first_line(&report), "no failed request among 4 310 (3 not decidable)");
    }

    #[test]
    fn no_http_says_what_there_is() {
        let mut report = Report::default();
        assert_eq!(first_line(&report), "no packets, so nothing to judge");
        report.summary.packets = 12_000;
        report.summary.skipped = [("udp".to_owned(), 11_990), ("arp".to_owned(), 10)].into();
        assert_eq!(first_line(&report), "no TCP in 12 000 packets: 11 990 UDP, 10 ARP");
        report.summary.flows = 43;
        report.summary.protocols = [(Protocol::Tls, 40), (Protocol::Unknown, 3)].into();
        assert_eq!(
            first_line(&report),
            "no HTTP/1 requests in 12 000 packets: 40 flows of TLS, 3 without data"
        );
        report.summary.cut_flows = 2;
        assert_eq!(
            first_line(&report),
            "no HTTP/1 requests in 12 000 packets: 40 flows of TLS, 2 whose data the snap length cut away, \
             1 without data"
        );
    }
}
