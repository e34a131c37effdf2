//! What to change about the checks of a target.

use super::outcome::Outcome;
use super::settings::{Origin, time};
use super::target::{Note, ProberHealth, Target};
use super::traffic::{Opened, Traffic};
use super::vendor::SECOND;
use crate::probe::Class;
use crate::report::words;
use crate::words::Phrase;
use crate::{phrase, word};

/// Body bytes from which a check's answer is called big: Linux begins a connection with 10 segments
/// of 1460 bytes (RFC 6928), so that a longer answer costs another round trip.
pub(super) const BIG_BODY: u64 = 14_600;
/// Share of the time-out from which a passed check is called slow.
pub(super) const SLOW: f64 = 0.5;
/// A connection that stays open longer than this after the answer was not closed by the check.
const LEFT_OPEN: i64 = SECOND;

/// Advice for each prober of a target.
pub(super) fn advise(target: &Target, traffic: &Traffic) -> Vec<Note> {
    let mut notes = Vec::new();
    for prober in target.deciding() {
        path_and_body(prober, &mut notes);
        redirect(prober, &mut notes);
        left_open(prober, &mut notes);
        shallow(prober, &mut notes);
        for text in &prober.settings.notes {
            notes.push(Note { id: "settings", text: text.clone(), mark: None });
        }
    }
    behind(target, traffic, &mut notes);
    notes
}

fn path_and_body(prober: &ProberHealth, notes: &mut Vec<Note>) {
    let asked =
        prober.checks.iter().rev().find_map(|check| Some((check, check.request.as_deref()?)));
    let Some((check, request)) = asked else { return };
    let heaviest = prober.checks.iter().max_by_key(|check| check.body);
    let body = heaviest.and_then(|check| check.body).unwrap_or(0);
    let big = body >= BIG_BODY;
    if request.path() == "/" && request.method.as_ref() == "GET" {
        let page = check
            .text(|texts| &texts.content_type)
            .is_some_and(|kind| kind.starts_with("text/html"));
        let heavy = match (big, page) {
            (true, _) => phrase!("; it is a page of {bytes} bytes", bytes = words::count(body)),
            (false, true) => phrase!("; it is a page for people"),
            _ => Phrase::default(),
        };
        notes.push(Note {
            id: "root-path",
            text: phrase!("the check asks for /, which users ask for too: their requests and the checks cannot be told apart in \
                 a log, and the page may change without anybody thinking of the check{heavy}. Give it a path of its \
                 own", heavy),
            mark: Some(check.frame),
        });
    }
    if big {
        notes.push(Note {
            id: "big-body",
            text: phrase!("the answer to a check has {bytes} bytes of body; a short one is quicker and cheaper, as probers hardly \
                 look at it", bytes = words::count(body)),
            mark: heaviest.map(|check| check.decisive),
        });
    }
}

fn redirect(prober: &ProberHealth, notes: &mut Vec<Note>) {
    let Some(check) = prober
        .checks
        .iter()
        .rev()
        .find(|check| check.status.is_some_and(|status| (300..400).contains(&status)))
    else {
        return;
    };
    let to = check
        .text(|texts| &texts.location)
        .map_or(Phrase::default(), |to| phrase!(" to {to}", to = to.to_owned()));
    let what = match check.outcome {
        Some(Outcome::Pass) => {
            word!("which passes here, so that the page behind the redirect is never checked")
        }
        _ => word!("which does not pass"),
    };
    notes.push(Note {
        id: "redirect",
        text: phrase!("the check is redirected{to} ({status}), {what}. Check the final path, or exempt the check from the redirect", to, status = check.status.unwrap_or_default(), what),
        mark: Some(check.decisive),
    });
}

fn left_open(prober: &ProberHealth, notes: &mut Vec<Note>) {
    let open: Vec<_> = prober
        .checks
        .iter()
        .filter(|check| check.alone && check.left_open.is_some_and(|open| open > LEFT_OPEN))
        .collect();
    let Some(check) = open.last() else { return };
    if open.len() * 2 <= prober.checks.len() {
        return;
    }
    notes.push(Note {
        id: "kept-open",
        text: phrase!("the connections of checks stay open after the answer until the target closes them ({open} here): each check \
             occupies a connection for nothing. Let the answer say Connection: close, or the prober close", open = words::seconds(check.left_open.unwrap_or(0) as f64 / SECOND as f64)),
        mark: Some(check.frame),
    });
}

fn shallow(prober: &ProberHealth, notes: &mut Vec<Note>) {
    let Some(check) = prober.checks.iter().rev().find(|check| check.outcome.is_some()) else {
        return;
    };
    // One that expects an answer is answered by the program.
    let silent = check.request.is_none() && check.answered == 0;
    let tcp = silent && !check.tls && check.outcome == Some(Outcome::Pass);
    if tcp && check.accepted.is_some() {
        notes.push(Note {
            id: "tcp-only",
            text: word!("a TCP check passes as soon as the host's kernel accepts: a program that hangs stays healthy. Check \
                   over HTTP if it speaks HTTP")
                .into(),
            mark: check.accepted,
        });
    }
}

/// The target answers its checks while what it connects to itself fails.
fn behind(target: &Target, traffic: &Traffic, notes: &mut Vec<Note>) {
    let passes = target.deciding().any(|prober| {
        prober.checks.last().is_some_and(|check| check.outcome == Some(Outcome::Pass))
    });
    let local = target.probers.iter().any(|prober| {
        prober.verdict.prober.as_ref().is_some_and(|known| known.class == Class::Local)
    });
    if !passes || local {
        return;
    }
    let (mut failed, mut accepted, mut first) = (0_u64, false, None);
    let mut server = None;
    for (at, seen) in traffic.from(target.server.ip).filter(|(at, _)| at.ip != target.server.ip) {
        match seen.opened {
            Opened::Refused | Opened::Unanswered => {
                failed += 1;
                first = first.or(Some(seen.first));
                server = server.or(Some(at));
            }
            Opened::Accepted if Some(at) == server => accepted = true,
            _ => {}
        }
    }
    if let (Some(at), false) = (server, accepted) {
        notes.push(Note {
            id: "proxy-answers",
            text: phrase!("the checks pass while {connections} of the target to {at} fail: the proxy in front answers the check, and the \
                 program behind is down. Let the check reach that program", connections = words::plural(failed, "connection"), at = at.socket()),
            mark: first,
        });
    }
}

/// Passed checks that took more than half of the time-out.
pub(super) fn slow(prober: &ProberHealth) -> Option<Note> {
    let timeout = prober.settings.timeout.as_ref()?;
    let limit = (timeout.value as f64 * SLOW) as i64;
    let slow = prober
        .checks
        .iter()
        .filter(|check| check.outcome == Some(Outcome::Pass))
        .filter(|check| check.latency.is_some_and(|latency| latency > limit));
    let slowest = slow.clone().max_by_key(|check| check.latency)?;
    let origin = match timeout.origin {
        Origin::Given => Phrase::default(),
        origin => phrase!(" ({origin})", origin = origin.id()),
    };
    Some(Note {
        id: "slow-checks",
        text: phrase!(
            "{checks} took more than half of the time-out of {timeout}{origin}, the slowest {slowest}: a little slower and the target is \
             unhealthy",
            checks = words::plural(slow.count() as u64, "passed check"),
            timeout = time(timeout.value),
            origin,
            slowest = words::seconds(slowest.latency.unwrap_or(0) as f64 / SECOND as f64)
        ),
        mark: Some(slowest.decisive),
    })
}
