//! The view on a terminal of any size.

mod answer;
mod bars;
mod causes;
mod findings;
mod opened;
mod place;
mod rates;
mod status;
mod targets;

use super::look::Look;
use super::view::{Pane, View};
use place::Places;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// Draws the view, and bounds how far an opened finding is scrolled.
pub(super) fn draw(frame: &mut Frame<'_>, view: &mut View, look: Look) {
    let area = frame.area();
    let answer = answer::lines(view, look, area);
    let status = status::lines(view, look, area);
    let places = Places::of(area, answer.len(), status.len(), view);
    lines(frame, places.answer, answer);
    lines(frame, places.status, status);
    for (pane, place) in Pane::ALL.into_iter().zip(places.panes) {
        if place.is_empty() {
            continue;
        }
        let room = Rect { y: place.y + 1, height: place.height - 1, ..place };
        let content = match pane {
            Pane::Rates => rates::lines(view, look, room),
            Pane::Causes => causes::lines(view, look, room),
            Pane::Targets => targets::lines(view, look, room),
            Pane::Findings => findings::lines(view, look, room),
        };
        let title = match pane {
            Pane::Rates => rates::title(view, room),
            Pane::Causes => causes::title(view, room),
            Pane::Targets => targets::title(view, room),
            Pane::Findings => findings::title(view),
        };
        let number = Pane::ALL.iter().position(|it| *it == pane).map_or(0, |at| at + 1);
        let focus = view.focus == pane && view.opened.is_none();
        rule(frame, place, &format!("{number} {title}"), focus, look);
        lines(frame, room, content);
    }
    if !places.opened.is_empty() {
        let place = places.opened;
        let room = Rect { y: place.y + 1, height: place.height - 1, ..place };
        let (title, content) = opened::lines(view, look, room);
        rule(frame, place, &title, true, look);
        lines(frame, room, content);
    }
}

/// A heading in a line across; that of the pane that keys act on stands out.
fn rule(frame: &mut Frame<'_>, place: Rect, title: &str, focus: bool, look: Look) {
    let width = usize::from(place.width);
    let title = crate::report::words::shorten(&format!(" {title} "), width.saturating_sub(2));
    let rest = width.saturating_sub(title.chars().count() + 1);
    let style = if focus { look.label() } else { look.faint() };
    let heading = if focus { look.selected() } else { look.label() };
    let line = Line::from(vec![
        look.span("─", style),
        look.span(&title, heading),
        look.span(&"─".repeat(rest), style),
    ]);
    lines(frame, Rect { height: 1, ..place }, vec![line]);
}

/// Writes lines into their place; what does not fit is cut.
fn lines(frame: &mut Frame<'_>, place: Rect, lines: Vec<Line<'static>>) {
    let place = place.intersection(frame.area());
    for (row, line) in (place.y..place.bottom()).zip(lines) {
        frame.buffer_mut().set_line(place.x, row, &line, place.width);
    }
}

/// The first of so many rows to show in so few lines, so that the selected one is among them.
fn first_row(selected: usize, rows: usize, room: usize) -> usize {
    let first = (selected + 1).saturating_sub(room);
    first.min(rows.saturating_sub(room))
}

/// A row of a list, inverted when it is selected and its pane has the focus.
fn row(spans: Vec<Span<'static>>, selected: bool, look: Look, width: u16) -> Line<'static> {
    let mut line = Line::from(spans);
    if selected {
        let missing = usize::from(width).saturating_sub(line.width());
        line.push_span(look.plain(&" ".repeat(missing)));
        line = line.patch_style(look.selected());
    }
    line
}
