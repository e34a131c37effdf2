//! The last findings, the newest first.

use super::super::findings::Listed;
use super::super::look::Look;
use super::super::view::{Pane, View};
use super::{causes, first_row, row};
use crate::report::{failed_at, words};
use crate::time::Timestamp;
use ratatui::layout::Rect;
use ratatui::text::Line;

/// Columns from which on a row has the client's address, the milliseconds, and how sure.
const CLIENT: u16 = 110;
const MILLIS: u16 = 76;
const SURE: u16 = 92;
/// Columns of a request below which it gets the place of the target, too.
const ASKED_MIN: usize = 16;

pub(super) fn title(view: &View) -> String {
    let (total, listed) = (view.shown.findings.total, view.findings().len() as u64);
    let mut title = match (total, listed == total) {
        (0, _) => "Findings".to_owned(),
        (_, true) => format!("Findings: {}, newest first", words::count(total)),
        (_, false) => format!("Findings: {} of {}", words::count(listed), words::count(total)),
    };
    if let Some(cause) = view.filter.cause {
        title.push_str(&format!(", cause {cause}"));
    }
    if view.typing.is_some() || !view.filter.text.is_empty() {
        title.push_str(&format!(", with \"{}\"", words::clean(&view.filter.text)));
    }
    if listed < total && view.filter.is_empty() {
        title.push_str(", the newest of each cause");
    }
    title
}

pub(super) fn lines(view: &View, look: Look, room: Rect) -> Vec<Line<'static>> {
    let findings = view.findings();
    if findings.is_empty() {
        let text = match (view.shown.findings.total, view.filter.is_empty()) {
            (0, _) => "nothing has failed",
            (_, false) => "none that the filter lets through; Esc lifts it",
            (_, true) => "none",
        };
        return vec![Line::from(look.span(text, look.faint()))];
    }
    let (selected, count) = view.selected(Pane::Findings);
    let height = usize::from(room.height);
    let first = first_row(selected, count, height);
    let seen: Vec<&Listed> =
        findings.iter().skip(first).take(height).map(|listed| &***listed).collect();
    let widest = |text: &dyn Fn(&Listed) -> String| {
        seen.iter().map(|listed| text(listed).chars().count()).max().unwrap_or_default()
    };
    let width = usize::from(room.width);
    let cause_width = widest(&cause).min(width / 2);
    let routes = widest(&|listed| route(listed, room.width));
    let time = if room.width >= MILLIS { 12 } else { 8 };
    let sure = if room.width >= SURE { 10 } else { 0 };
    let left = width.saturating_sub(time + 2 + cause_width + 2 + sure);
    // The request says more than the target, of which there is often just one.
    let asked = left.checked_sub(routes + 2).filter(|room| *room >= ASKED_MIN);
    (first..)
        .zip(seen)
        .map(|(at, listed)| {
            let finding = &listed.finding;
            let clock = clock(failed_at(finding), room.width >= MILLIS);
            let mut spans = vec![
                look.span(&format!("{clock:time$}  "), look.faint()),
                look.span(
                    &format!("{:cause_width$}  ", words::shorten(&cause(listed), cause_width)),
                    look.cause(),
                ),
            ];
            if sure > 0 {
                spans.push(look.span(&format!("{:8}  ", finding.confidence.id()), look.faint()));
            }
            match (asked, listed.asked.as_str()) {
                (Some(room_for), text) => {
                    let text = if text.is_empty() { "no request" } else { text };
                    let text = words::shorten(text, room_for);
                    spans.push(look.plain(&format!("{text:room_for$}  ")));
                    spans.push(look.span(&route(listed, room.width), look.faint()));
                }
                (None, "") => spans.push(look.plain(&finding.server.socket().to_string())),
                (None, text) => spans.push(look.plain(&words::shorten(text, left))),
            }
            row(spans, view.focus == Pane::Findings && at == selected, look, room.width)
        })
        .collect()
}

fn cause(listed: &Listed) -> String {
    causes::name(listed.finding.cause, listed.finding.kind)
}

fn route(listed: &Listed, width: u16) -> String {
    let (client, server) = (listed.finding.client.socket(), listed.finding.server.socket());
    match width >= CLIENT {
        true => format!("{client} → {server}"),
        false => server.to_string(),
    }
}

/// `10:34:10.538` in UTC.
pub(super) fn clock(at: Option<Timestamp>, millis: bool) -> String {
    let Some(at) = at else { return String::new() };
    let time = words::time(at);
    let time = time.split_once('T').map_or("", |(_, time)| time);
    time.chars().take(if millis { 12 } else { 8 }).collect()
}
