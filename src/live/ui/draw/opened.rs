//! A finding in full, as the text report tells it.

use super::super::findings::Listed;
use super::super::look::Look;
use super::super::view::{Opened, View};
use crate::capture::CaptureInfo;
use crate::report::so_far::case;
use crate::report::{Style as Wanted, words};
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

/// Its heading, and the lines that fit.
pub(super) fn lines(view: &mut View, look: Look, room: Rect) -> (String, Vec<Line<'static>>) {
    let (row, count) = view.selected(super::super::view::Pane::Findings);
    let total = words::count(count as u64);
    let Some(Opened { listed, scroll, .. }) = &mut view.opened else {
        return (String::new(), Vec::new());
    };
    let captures = &view.shown.captures;
    let mut text = told(listed, captures, usize::from(room.width), look);
    if listed.early {
        let so_far = "The connection is not over: the verdict may still change.";
        let so_far = words::wrap(so_far, usize::from(room.width));
        text.splice(1..1, so_far.iter().map(|line| Line::from(look.span(line, look.bad()))));
    }
    let most = text.len().saturating_sub(usize::from(room.height));
    *scroll = (*scroll).min(most);
    let more = match most - *scroll {
        0 => String::new(),
        n => format!(", {} below", words::plural(n as u64, "line")),
    };
    let title = format!("Finding {} of {total}{more}; Esc back, n next", row + 1);
    (title, text.into_iter().skip(*scroll).collect())
}

fn told(listed: &Listed, captures: &[CaptureInfo], width: usize, look: Look) -> Vec<Line<'static>> {
    let wanted = Wanted { color: true, ascii: look.ascii, lang: look.lang, ..Wanted::default() };
    let mut out = Vec::new();
    // Writing into memory does not fail.
    let _ = case(&listed.finding, captures, width, &wanted, &mut out);
    String::from_utf8_lossy(&out).lines().map(|line| styled(line, look)).collect()
}

/// A line with the escape sequences of the text report, which has few of them (ECMA-48, 8.3.117).
fn styled(text: &str, look: Look) -> Line<'static> {
    let mut spans = Vec::new();
    let mut style = Style::new();
    let mut parts = text.split("\u{1b}[");
    spans.extend(
        parts.next().filter(|text| !text.is_empty()).map(|text| Span::raw(text.to_owned())),
    );
    for part in parts {
        let (codes, text) = part.split_once('m').unwrap_or(("", part));
        for code in codes.split(';') {
            style = match code {
                "1" => style.add_modifier(Modifier::BOLD),
                "2" => style.patch(look.faint()),
                "31" => style.patch(look.bad()),
                "32" => style.patch(look.good()),
                "33" => style.patch(look.cause()),
                _ => Style::new(),
            };
        }
        if !text.is_empty() {
            spans.push(Span::styled(text.to_owned(), style));
        }
    }
    Line::from(spans)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_of_the_report_are_those_of_the_view() {
        let look = Look { color: true, ..Look::default() };
        let line = styled("a \u{1b}[1m\u{1b}[33mrace\u{1b}[0m: b\u{1b}[2mc\u{1b}[0m", look);
        let texts: Vec<&str> = line.spans.iter().map(|span| span.content.as_ref()).collect();
        assert_eq!(texts, ["a ", "race", ": b", "c"]);
        assert_eq!(line.spans[1].style, look.cause());
        assert_eq!(line.spans[2].style, Style::new());
        assert_eq!(line.spans[3].style, look.faint());
    }
}
