//! Causes: how often, how often in the last minute, who has to act, how sure.

use super::super::look::Look;
use super::super::view::{Pane, View};
use super::{first_row, row};
use crate::cause::{Cause, Kind};
use crate::report::{terms, words};
use ratatui::layout::Rect;
use ratatui::text::Line;

/// Columns from which on a row says how sure.
const SURE: u16 = 76;

pub(super) fn title(view: &View, room: Rect) -> String {
    let sure = if room.width >= SURE { ", confidence" } else { "" };
    match view.causes().is_empty() {
        true => "Causes".to_owned(),
        false => format!("Causes: count, in the last minute, cause, responsible{sure}"),
    }
}

pub(super) fn lines(view: &View, look: Look, room: Rect) -> Vec<Line<'static>> {
    let causes = view.causes();
    if causes.is_empty() {
        return vec![Line::from(look.span("nothing has failed", look.faint()))];
    }
    let now = view.shown.now;
    let cells: Vec<[String; 5]> = causes
        .iter()
        .map(|tally| {
            let recent = tally.rates.recent(now, 60);
            [
                words::count(tally.count).to_string(),
                if recent > 0 { format!("+{}", words::count(recent)) } else { "-".to_owned() },
                name(tally.cause, tally.kind),
                most(tally.responsible()),
                most(tally.confidence()),
            ]
        })
        .collect();
    let width = |column: usize| {
        cells.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let (count, recent, cause, who) = (width(0), width(1), width(2), width(3));
    let (selected, rows) = view.selected(Pane::Causes);
    let first = first_row(selected, rows, usize::from(room.height));
    cells
        .iter()
        .enumerate()
        .skip(first)
        .map(|(at, [n, lately, name, responsible, sure])| {
            let fresh = if lately == "-" { look.faint() } else { look.bad() };
            let mut spans = vec![
                look.plain(&format!("{n:>count$}  ")),
                look.span(&format!("{lately:>recent$}"), fresh),
                look.span(&format!("  {name:cause$}"), look.cause()),
                look.plain(&format!("  {responsible:who$}")),
            ];
            if room.width >= SURE {
                spans.push(look.span(&format!("  {sure}"), look.faint()));
            }
            row(spans, view.focus == Pane::Causes && at == selected, look, room.width)
        })
        .collect()
}

/// The cause, and what failed where that is no request.
pub(super) fn name(cause: &Cause, kind: Kind) -> String {
    match kind {
        Kind::Request => cause.id.to_owned(),
        kind => format!("{} ({})", cause.id, terms::kind(kind)),
    }
}

/// The only one, or all with their counts.
fn most(parts: Vec<(u64, &'static str)>) -> String {
    match parts.as_slice() {
        [(_, only)] => (*only).to_owned(),
        _ => words::counted(parts, usize::MAX).to_string(),
    }
}
