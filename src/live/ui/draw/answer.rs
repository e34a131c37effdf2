//! The first lines: the answer, as in the text report.

use super::super::look::Look;
use super::super::view::View;
use crate::report::words;
use crate::words::columns;
use ratatui::layout::Rect;
use ratatui::text::Line;

/// One in so many rows of the terminal may hold the answer.
const SHARE: u16 = 6;

pub(super) fn lines(view: &View, look: Look, area: Rect) -> Vec<Line<'static>> {
    let (parts, tone) = view.shown.answer(look.lang);
    let width = usize::from(area.width).max(1);
    let most = usize::from(area.height / SHARE).max(1);
    fitted(&parts, width, most)
        .iter()
        .map(|line| Line::from(look.span(line, look.tone(tone))))
        .collect()
}

/// The parts in one line, or one below the other, or each cut to a line.
fn fitted(parts: &[String], width: usize, most: usize) -> Vec<String> {
    let one = parts.join("; ");
    if columns(&one) <= width {
        return vec![one];
    }
    let wrapped: Vec<String> = parts.iter().flat_map(|part| words::wrap(part, width)).collect();
    if wrapped.len() <= most {
        return wrapped;
    }
    // The first part says most.
    let mut lines = parts.first().map_or(Vec::new(), |first| words::wrap(first, width));
    let others = parts.len().saturating_sub(1).min(most.saturating_sub(1));
    cut(&mut lines, most.saturating_sub(others).max(1), width);
    let room = most.saturating_sub(lines.len());
    let mut rest: Vec<String> =
        parts.iter().skip(1).map(|part| words::shorten(part, width)).collect();
    cut(&mut rest, room, width);
    lines.extend(rest);
    lines
}

/// Keeps so many lines; the last says that there is more.
fn cut(lines: &mut Vec<String>, most: usize, width: usize) {
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            *last = words::shorten(&format!("{last} …"), width);
            if !last.ends_with('…') {
                last.push('…');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_fits_what_there_is() {
        let parts = [
            "12 of 411 requests failed: 11 keepalive-race, 1 response-timeout".to_owned(),
            "and 1 connection failed before a request: 1 connect-refused".to_owned(),
        ];
        assert_eq!(fitted(&parts, 200, 1).len(), 1);
        assert_eq!(fitted(&parts, 80, 4), parts);
        for (width, most) in [(60, 2), (60, 1), (30, 3), (10, 2)] {
            let lines = fitted(&parts, width, most);
            assert!(lines.len() <= most, "{lines:?}");
            assert!(lines[0].starts_with("12"), "{lines:?}");
            assert!(lines.iter().any(|line| line.ends_with('…')), "{lines:?}");
        }
        assert_eq!(
            fitted(&parts, 60, 2)[1],
            "and 1 connection failed before a request: 1 connect-refused"
        );
    }
}
