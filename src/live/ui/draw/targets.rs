//! Targets: state, failures, and a strip of health checks for each prober.

use super::super::look::Look;
use super::super::targets::Strip;
use super::super::view::{Pane, TargetRow, View};
use super::{first_row, row};
use crate::health::{Effect, Outcome, State};
use crate::report::words;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use std::collections::BTreeMap;

/// Columns of an address at most: that of an IPv6 address in a narrow terminal is cut.
const SERVER_MAX: usize = 28;
/// Columns from which on a row says how many connections were fine.
const QUIET: u16 = 100;
/// Columns that a strip gets at least.
const STRIP_MIN: usize = 12;

pub(super) fn title(view: &View, room: Rect) -> String {
    let legend = legend(view);
    let titled =
        if legend.is_empty() { "Targets".to_owned() } else { format!("Targets: {legend}") };
    let left_out = match view.shown.targets.left_out {
        0 => String::new(),
        n => format!(" ({} left out)", words::count(n)),
    };
    words::shorten(&format!("{titled}{left_out}"), usize::from(room.width).saturating_sub(6))
}

/// Lines that all targets need.
pub(super) fn rows(view: &View) -> usize {
    view.targets().len()
}

pub(super) fn lines(view: &View, look: Look, room: Rect) -> Vec<Line<'static>> {
    let targets = view.targets();
    if targets.is_empty() {
        return vec![Line::from(
            look.span("no connection is over and no check seen", look.faint()),
        )];
    }
    let width = usize::from(room.width);
    let cells: Vec<[String; 3]> =
        targets.iter().map(|target| cells(view, target, room.width)).collect();
    let widest = |column: usize, bound: usize| {
        let cells = cells.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or_default().min(bound)
    };
    let server = widest(0, SERVER_MAX.max(width / 4));
    let failed = widest(2, 24);
    let state = widest(1, width.saturating_sub(server + failed + STRIP_MIN + 6).max(9));
    let (selected, count) = view.selected(Pane::Targets);
    let first = first_row(selected, count, usize::from(room.height));
    targets
        .iter()
        .zip(&cells)
        .enumerate()
        .skip(first)
        .map(|(at, (target, [name, says, fails]))| {
            let name = words::shorten(if target.first { name } else { "" }, server);
            let says = words::shorten(says, state);
            let fails = words::shorten(fails, failed);
            let used = server + state + failed + 6;
            let mut spans = vec![
                look.span(&format!("{name:server$}  "), look.label()),
                look.span(&format!("{says:state$}  "), state_style(target, look)),
                look.plain(&format!("{fails:failed$}  ")),
            ];
            if let Some((_, strip)) = target.prober {
                spans.extend(signs(strip, width.saturating_sub(used), look));
            }
            row(spans, view.focus == Pane::Targets && at == selected, look, room.width)
        })
        .collect()
}

/// Address, state, and what failed.
fn cells(view: &View, row: &TargetRow<'_>, width: u16) -> [String; 3] {
    let server = row.server.socket().to_string();
    let failed = match (row.first, row.target.failed, row.target.connections) {
        (false, ..) => String::new(),
        (true, 0, n) if n > 0 && width >= QUIET => words::plural(n, "connection").to_string(),
        (true, 0, _) => String::new(),
        (true, n, _) => match row.target.rates.recent(view.shown.now, 60) {
            0 => format!("{} failed", words::count(n)),
            recent => format!("{} failed, +{}", words::count(n), words::count(recent)),
        },
    };
    let state = match row.prober {
        None => "not checked".to_owned(),
        Some((prober, strip)) => {
            let reason = strip.state.as_ref().and_then(|entry| entry.reason);
            let reason = reason.map_or(String::new(), |reason| format!(" ({reason})"));
            let by = if prober == "unknown" { String::new() } else { format!(", {prober}") };
            let state = match strip.state() {
                State::Unknown => "not known",
                state => state.id(),
            };
            format!("{state}{}{reason}{by}", share(strip))
        }
    };
    [server, state, failed]
}

/// `, 22 of 55 checks failed`
fn share(strip: &Strip) -> String {
    let checks = words::plural(strip.total, "check");
    match strip.failed {
        0 => format!(", {checks}"),
        failed => format!(", {} of {checks} failed", words::count(failed)),
    }
}

fn state_style(row: &TargetRow<'_>, look: Look) -> Style {
    match row.prober.map(|(_, strip)| strip.state()) {
        None | Some(State::Unknown) => look.faint(),
        Some(State::Healthy) => look.good(),
        Some(_) => look.bad(),
    }
}

/// The newest checks, one sign each, the newest at the right.
fn signs(strip: &Strip, room: usize, look: Look) -> Vec<Span<'static>> {
    let skipped = strip.checks.len().saturating_sub(room);
    strip
        .checks
        .iter()
        .skip(skipped)
        .map(|(_, outcome)| {
            let style = match outcome.map(Outcome::effect) {
                Some(Effect::Pass) => look.good(),
                Some(Effect::Fail) => look.bad(),
                Some(Effect::None) | None => look.faint(),
            };
            look.span(&outcome.map_or('?', Outcome::letter).to_string(), style)
        })
        .collect()
}

/// What the signs of failed checks stand for.
fn legend(view: &View) -> String {
    let mut signs: BTreeMap<char, &'static str> = BTreeMap::new();
    for row in view.targets() {
        let checks = row.prober.iter().flat_map(|(_, strip)| &strip.checks);
        for outcome in checks.filter_map(|(_, outcome)| *outcome) {
            signs.insert(outcome.letter(), outcome.id());
        }
    }
    let signs: Vec<String> = signs.iter().map(|(sign, id)| format!("{sign} {id}")).collect();
    signs.join(", ")
}
