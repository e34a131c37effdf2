//! Requests and failures per second over the last minutes.

use super::super::look::Look;
use super::super::rates::{Rates, WINDOW, span};
use super::super::view::View;
use super::bars::bars;
use super::status::whole_seconds;
use crate::report::words;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;

/// Columns of the name in front.
const NAME: usize = 9;
/// Columns of the figures behind.
const FIGURE: usize = 12;
/// Seconds over which the rate of now is the mean.
const MEAN: i64 = 10;

pub(super) fn title(view: &View, room: Rect) -> String {
    let scale = Scale::of(view, room);
    format!(
        "Requests and failures: last {}, a column is {} s",
        whole_seconds(scale.watched.min(WINDOW) as f64),
        scale.span
    )
}

/// What the chart shows.
struct Scale {
    /// Seconds since the start.
    watched: usize,
    /// Seconds of a column.
    span: usize,
    /// Columns.
    columns: usize,
}

impl Scale {
    fn of(view: &View, room: Rect) -> Scale {
        let columns = usize::from(room.width).saturating_sub(NAME + FIGURE);
        let since = view.shown.since.unwrap_or(view.shown.now);
        let watched = view.shown.now.since(since).ceil() as usize;
        let span = span(watched.min(WINDOW), columns);
        Scale { watched, span, columns: columns.min(WINDOW / span) }
    }

    /// Columns of the time before the start.
    fn before(&self) -> usize {
        self.columns.saturating_sub(self.watched / self.span + 1)
    }
}

pub(super) fn lines(view: &View, look: Look, room: Rect) -> Vec<Line<'static>> {
    let rows = usize::from(room.height / 2).max(1);
    let shown = &view.shown;
    let failing = shown.failures.recent(shown.now, WINDOW as i64) > 0;
    let style = if failing { look.bad() } else { look.good() };
    let mut lines = chart(view, "requests", &shown.requests, Style::new(), look, room, rows);
    lines.extend(chart(view, "failures", &shown.failures, style, look, room, rows));
    lines
}

fn chart(
    view: &View,
    name: &str,
    rates: &Rates,
    style: Style,
    look: Look,
    room: Rect,
    rows: usize,
) -> Vec<Line<'static>> {
    let scale = Scale::of(view, room);
    let values = rates.columns(view.shown.now, scale.span, scale.columns);
    let peak = values.iter().copied().fold(0.0, f64::max);
    let drawn = bars(&values, rows, look.ascii);
    let last = drawn.len() - 1;
    // The right end is now: what was not watched stays empty at the left.
    let before = scale.before();
    let width = usize::from(room.width).saturating_sub(NAME + FIGURE);
    (0..rows)
        .map(|row| {
            let name = if row == last { name } else { "" };
            let figure = match (row == last, row == 0) {
                (true, _) => per_second(rates.per_second(view.shown.now, MEAN)),
                (false, true) if peak > 0.0 => format!("max {}", per_second(peak)),
                _ => String::new(),
            };
            let mut bar = drawn[row].clone();
            if row == last && !look.ascii {
                // A line under the time that was watched: nothing there is no lack of knowledge.
                let ground =
                    |(at, c): (usize, char)| if c == ' ' && at >= before { '·' } else { c };
                bar = bar.chars().enumerate().map(ground).collect();
            }
            Line::from(vec![
                look.span(&format!("{name:NAME$}"), look.label()),
                look.span(&format!("{bar:>width$}"), style),
                look.span(&format!("{figure:>FIGURE$}"), look.label()),
            ])
        })
        .collect()
}

/// `3.2/s`, `1 204/s`.
fn per_second(rate: f64) -> String {
    match rate {
        rate if rate > 0.0 && rate < 9.95 => format!("{rate:.1}/s"),
        rate => format!("{}/s", words::count(rate.round() as u64)),
    }
}
