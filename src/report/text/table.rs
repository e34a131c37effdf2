//! The table of causes: how often, how sure, who, and one example each.

use super::Group;
use super::names::Names;
use super::page::{Ink, Page, WIDTH};
use crate::blind::BlindSpot;
use crate::cause::{Confidence, Finding, Kind};
use crate::http::Exchange;
use crate::report::{request, terms, words};
use crate::words::{Phrase, columns, left, right};
use crate::{phrase, word};
use std::collections::BTreeMap;
use std::io;

pub(super) fn table(page: &mut Page<'_>, groups: &[Group<'_>], names: &Names) -> io::Result<()> {
    let rows: Vec<[String; 4]> = groups
        .iter()
        .map(|group| {
            [
                page.say(words::count(group.count)),
                group.cause.id.to_owned(),
                page.say(confidences(group)),
                page.say(responsible(group)),
            ]
        })
        .collect();
    let header = [word!("count"), word!("cause"), word!("confidence"), word!("responsible")]
        .map(|it| page.say(it));
    let width = |column: usize| {
        let cells = rows.iter().map(|row| columns(&row[column]));
        cells.chain([columns(&header[column])]).max().unwrap_or(0)
    };
    let (count, cause, sure) = (width(0), width(1), width(2));
    let row = |n: &str, id: &str, confidence: &str, who: &str| {
        format!("{}  {id}  {}  {who}", right(n, count), left(confidence, sure))
    };
    let [n, id, confidence, who] = &header;
    page.heading(row(n, &left(id, cause), confidence, who))?;
    let mut attempts = false;
    for (group, [n, id, confidence, who]) in groups.iter().zip(&rows) {
        if group.kind == Kind::Attempt && !attempts {
            attempts = true;
            page.heading(phrase!("attempts of a proxy that failed and decided no request"))?;
        }
        let id = page.paint(Ink::Cause, id) + &" ".repeat(cause - columns(id));
        page.line(&row(n, &id, confidence, who))?;
        let indent = " ".repeat(count + 2);
        for line in example(page, group.typical(), names, WIDTH - indent.len()) {
            let line = page.paint(Ink::Faint, &line);
            page.line(&format!("{indent}{line}"))?;
        }
    }
    Ok(())
}

/// `9 certain, 2 likely`
pub(in crate::report) fn confidences(group: &Group<'_>) -> Phrase {
    mix([Confidence::Certain, Confidence::Likely, Confidence::Possible].into_iter().map(
        |confidence| {
            let n =
                group.findings.iter().filter(|finding| finding.confidence == confidence).count();
            (n as u64, confidence.id())
        },
    ))
}

/// `target-app`, or with numbers when they differ.
pub(in crate::report) fn responsible(group: &Group<'_>) -> Phrase {
    let mut who: BTreeMap<&'static str, u64> = BTreeMap::new();
    for finding in &group.findings {
        *who.entry(terms::who(finding.responsible)).or_default() += 1;
    }
    let mut who: Vec<(u64, &'static str)> = who.into_iter().map(|(id, n)| (n, id)).collect();
    who.sort_by_key(|(n, id)| (std::cmp::Reverse(*n), *id));
    mix(who)
}

fn mix(parts: impl IntoIterator<Item = (u64, &'static str)>) -> Phrase {
    let parts: Vec<(u64, &'static str)> = parts.into_iter().filter(|(n, _)| *n > 0).collect();
    match parts.as_slice() {
        [(_, only)] => Phrase::fixed(only),
        _ => words::counted(parts, usize::MAX),
    }
}

/// What is left of a request line at least before the addresses move to the next line.
const SHORTEST: usize = 24;

/// `frame 1207  POST /api  10.0.1.7:40312 → 10.0.2.9:8080`, on two lines if it must.
fn example(page: &Page<'_>, finding: &Finding, names: &Names, width: usize) -> Vec<String> {
    let frame = finding.evidence.first().map_or(Phrase::default(), |guilty| {
        phrase!("frame {n}", n = names.frame(guilty.mark.frame))
    });
    let frame = page.say(frame);
    let route = format!("{} → {}", finding.client.socket(), finding.server.socket());
    let room_left = width.saturating_sub(columns(&frame) + 4);
    let asked = page.say(finding.exchange.as_deref().map(request_line).unwrap_or_default());
    let asked_len = columns(&asked);
    match room_left.checked_sub(columns(&route)) {
        Some(_) if asked.is_empty() => vec![format!("{frame}  {route}")],
        Some(room) if room >= asked_len.min(SHORTEST) => {
            vec![format!("{frame}  {}  {route}", words::shorten(&asked, room))]
        }
        _ => {
            let first = format!("{frame}  {}", words::shorten(&asked, room_left));
            let mut lines = vec![first.trim_end().to_owned()];
            lines.extend(words::wrap(&route, width));
            lines
        }
    }
}

/// `POST /api/orders`; empty when the request's head was not captured.
pub(in crate::report) fn request_line(exchange: &Exchange) -> Phrase {
    let Some(request) = &exchange.request else { return Phrase::default() };
    if exchange.blind_spots.has(BlindSpot::Encrypted) && request.head.is_empty() {
        return phrase!("encrypted request");
    }
    let head = request::read(&request.head);
    match (head.method, head.target) {
        (Some(method), Some(target)) => words::clean(&format!("{method} {target}")).into(),
        (Some(method), None) => words::clean(&method).into(),
        _ => Phrase::default(),
    }
}
