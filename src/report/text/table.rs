//! The table of causes: how often, how sure, who, and one example each.

use super::Group;
use super::names::Names;
use super::page::{Ink, Page, WIDTH};
use crate::blind::BlindSpot;
use crate::cause::{Confidence, Finding};
use crate::http::Exchange;
use crate::report::{request, words};
use std::collections::BTreeMap;
use std::io;

pub(super) fn table(page: &mut Page<'_>, groups: &[Group<'_>], names: &Names) -> io::Result<()> {
    let rows: Vec<[String; 4]> = groups
        .iter()
        .map(|group| {
            [
                words::count(group.count),
                group.cause.id.to_owned(),
                confidences(group),
                responsible(group),
            ]
        })
        .collect();
    let header = ["count", "cause", "confidence", "responsible"];
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([header[column].len()]).max().unwrap_or(0)
    };
    let (count, cause, sure) = (width(0), width(1), width(2));
    let [head_count, head_cause, head_sure, head_who] = header;
    page.heading(&format!(
        "{head_count:>count$}  {head_cause:cause$}  {head_sure:sure$}  {head_who}"
    ))?;
    for (group, [n, id, confidence, who]) in groups.iter().zip(&rows) {
        let id = page.paint(Ink::Cause, id) + &" ".repeat(cause - id.chars().count());
        page.line(&format!("{n:>count$}  {id}  {confidence:sure$}  {who}"))?;
        let indent = " ".repeat(count + 2);
        for line in example(group.typical(), names, WIDTH - indent.len()) {
            let line = page.paint(Ink::Faint, &line);
            page.line(&format!("{indent}{line}"))?;
        }
    }
    Ok(())
}

/// `9 certain, 2 likely`
pub(in crate::report) fn confidences(group: &Group<'_>) -> String {
    mix([Confidence::Certain, Confidence::Likely, Confidence::Possible].into_iter().map(
        |confidence| {
            let n =
                group.findings.iter().filter(|finding| finding.confidence == confidence).count();
            (n as u64, confidence.id())
        },
    ))
}

/// `target-app`, or with numbers when they differ.
pub(in crate::report) fn responsible(group: &Group<'_>) -> String {
    let mut who: BTreeMap<&str, u64> = BTreeMap::new();
    for finding in &group.findings {
        *who.entry(finding.responsible.id()).or_default() += 1;
    }
    let mut who: Vec<(u64, &str)> = who.into_iter().map(|(id, n)| (n, id)).collect();
    who.sort_by_key(|(n, id)| (std::cmp::Reverse(*n), *id));
    mix(who)
}

fn mix<'a>(parts: impl IntoIterator<Item = (u64, &'a str)>) -> String {
    let parts: Vec<(u64, &str)> = parts.into_iter().filter(|(n, _)| *n > 0).collect();
    match parts.as_slice() {
        [(_, only)] => (*only).to_owned(),
        _ => words::counted(parts, usize::MAX),
    }
}

/// What is left of a request line at least before the addresses move to the next line.
const SHORTEST: usize = 24;

/// `frame 1207  POST /api  10.0.1.7:40312 → 10.0.2.9:8080`, on two lines if it must.
fn example(finding: &Finding, names: &Names, width: usize) -> Vec<String> {
    let frame = finding
        .evidence
        .first()
        .map_or(String::new(), |guilty| format!("frame {}", names.frame(guilty.mark.frame)));
    let route = format!("{} → {}", finding.client.socket(), finding.server.socket());
    let left = width.saturating_sub(frame.chars().count() + 4);
    let asked = finding.exchange.as_deref().map(request_line).unwrap_or_default();
    let asked_len = asked.chars().count();
    match left.checked_sub(route.chars().count()) {
        Some(_) if asked.is_empty() => vec![format!("{frame}  {route}")],
        Some(room) if room >= asked_len.min(SHORTEST) => {
            vec![format!("{frame}  {}  {route}", words::shorten(&asked, room))]
        }
        _ => {
            let first = format!("{frame}  {}", words::shorten(&asked, left));
            let mut lines = vec![first.trim_end().to_owned()];
            lines.extend(words::wrap(&route, width));
            lines
        }
    }
}

/// `POST /api/orders`; empty when the request's head was not captured.
pub(in crate::report) fn request_line(exchange: &Exchange) -> String {
    let Some(request) = &exchange.request else { return String::new() };
    if exchange.blind_spots.has(BlindSpot::Encrypted) && request.head.is_empty() {
        return "encrypted request".to_owned();
    }
    let head = request::read(&request.head);
    match (head.method, head.target) {
        (Some(method), Some(target)) => words::clean(&format!("{method} {target}")),
        (Some(method), None) => words::clean(&method),
        _ => String::new(),
    }
}
