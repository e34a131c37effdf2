//! The last lines: what was captured and what was not, the pause, the keys.

use super::super::keys::HELP;
use super::super::look::Look;
use super::super::view::View;
use super::findings::clock;
use crate::live::Standing;
use crate::report::words;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// Rows from which on there is a second line.
const HIGH: u16 = 20;

pub(super) fn lines(view: &View, look: Look, area: Rect) -> Vec<Line<'static>> {
    let width = usize::from(area.width);
    if view.help {
        return help(look, width);
    }
    if view.typing.is_some() {
        let text = format!("filter: {}_", words::clean(&view.filter.text));
        let hint = "   Enter keeps it, Esc not";
        let line = vec![look.span(&text, look.label()), look.span(hint, look.faint())];
        return vec![Line::from(line)];
    }
    let mut lines = Vec::new();
    if let Some(notice) = &view.shown.notice {
        let notice = words::shorten(&words::clean(notice), width);
        lines.push(Line::from(look.span(&notice, look.bad())));
    }
    if let Some(text) = paused(view) {
        lines.push(Line::from(look.span(&words::shorten(&text, width), look.selected())));
    }
    let counters = counters(&view.shown.standing, look);
    if area.height >= HIGH {
        lines.push(ends(fitted(counters, width), Vec::new(), width, look));
        lines.push(ends(about(view, look, width.saturating_sub(17)), keys(look), width, look));
    } else {
        let keys = keys(look);
        let room = width.saturating_sub(keys.iter().map(Span::width).sum::<usize>() + 2);
        lines.push(ends(fitted(counters, room), keys, width, look));
    }
    lines
}

fn keys(look: Look) -> Vec<Span<'static>> {
    vec![look.span("? keys  q end", look.faint())]
}

fn paused(view: &View) -> Option<String> {
    view.paused?;
    let (findings, requests) = view.missed;
    Some(format!(
        "paused: {} and {} since; space goes on",
        words::plural(findings, "finding"),
        words::plural(requests, "request")
    ))
}

/// What is captured, for how long, and the time.
fn about(view: &View, look: Look, room: usize) -> Vec<Span<'static>> {
    let shown = &view.shown;
    let mut parts = Vec::new();
    if !shown.source.is_empty() {
        parts.push(words::clean(&shown.source));
    }
    if let Some(since) = shown.since {
        parts.push(format!("for {}", whole_seconds(shown.now.since(since).floor())));
        parts.push(format!("{} UTC", clock(Some(shown.now), false)));
    }
    vec![look.span(&words::shorten(&parts.join(", "), room), look.faint())]
}

/// One text on the left, one on the right.
fn ends(
    left: Vec<Span<'static>>,
    right: Vec<Span<'static>>,
    width: usize,
    look: Look,
) -> Line<'static> {
    let used: usize = left.iter().chain(&right).map(Span::width).sum();
    let gap = look.plain(&" ".repeat(width.saturating_sub(used)));
    Line::from_iter(left.into_iter().chain([gap]).chain(right))
}

/// Counts of what was captured; what could hide a truth stands out and comes first.
fn counters(standing: &Standing, look: Look) -> Vec<Span<'static>> {
    let mut parts = Vec::new();
    let mut bad = |n: u64, what: String| {
        if n > 0 {
            parts.push(look.span(&what, look.bad()));
        }
    };
    let Standing { kernel_drops, interface_drops, queue_drops, flows_left_out, .. } = *standing;
    let packets = |n| words::plural(n, "packet");
    bad(kernel_drops, format!("{} dropped by the kernel", packets(kernel_drops)));
    bad(interface_drops, format!("{} by the interface", packets(interface_drops)));
    bad(queue_drops, format!("{} by our queue", packets(queue_drops)));
    let left_out = words::plural(flows_left_out, "connection");
    bad(flows_left_out, format!("{left_out} not analysed"));
    let evidence = standing.evidence.as_ref();
    let stopped = evidence.is_some_and(|evidence| !evidence.is_writing);
    bad(u64::from(stopped), "evidence is not written".to_owned());
    let mut good = |text: String| parts.push(look.plain(&text));
    good(packets(standing.packets).to_string());
    if standing.lost() == 0 {
        good("none dropped".to_owned());
    }
    let (waiting, room) = standing.queue;
    if room > 0 {
        good(format!("queue {} %", (waiting as f64 / room as f64 * 100.0).ceil()));
    }
    if let Some(evidence) = evidence.filter(|evidence| evidence.is_writing) {
        good(format!("evidence {}", bytes(evidence.bytes)));
    }
    match standing.memory {
        (Some(used), Some(limit)) => good(format!("memory {} of {}", bytes(used), bytes(limit))),
        (Some(used), None) => good(format!("memory {}", bytes(used))),
        _ => {}
    }
    parts
}

/// As many parts as fit, with commas.
fn fitted(parts: Vec<Span<'static>>, width: usize) -> Vec<Span<'static>> {
    let mut line: Vec<Span<'static>> = Vec::new();
    let mut used = 0;
    for part in parts {
        let comma = if line.is_empty() { 0 } else { 2 };
        if used + comma + part.width() > width && !line.is_empty() {
            continue;
        }
        used += comma + part.width();
        if comma > 0 {
            line.push(Span::raw(", "));
        }
        line.push(part);
    }
    line
}

/// `53 s`, `4 min 12 s`
pub(super) fn whole_seconds(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 119.0 => format!("{seconds:.0} s"),
        seconds => words::seconds(seconds).to_string(),
    }
}

/// `3.2 MB`
fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1e3;
        unit += 1;
    }
    let decimals = usize::from(unit > 0 && value < 9.95);
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// All keys, on as many lines as they need.
fn help(look: Look, width: usize) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> = vec![Line::default()];
    let mut used = 0;
    for (key, what) in HELP {
        let gap = if used > 0 { 3 } else { 0 };
        let length = key.len() + 1 + what.len();
        if used > 0 && used + gap + length > width {
            lines.push(Line::default());
            used = 0;
        }
        if let Some(line) = lines.last_mut() {
            if used > 0 {
                line.push_span(Span::raw("   "));
                used += 3;
            }
            line.push_span(look.span(key, look.label()));
            line.push_span(look.plain(&format!(" {what}")));
            used += length;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::evidence::Counters;

    #[test]
    fn bytes_have_two_digits_at_least() {
        let expected = [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (3_240_000, "3.2 MB"),
            (999_600_000, "1.0 GB"),
        ];
        for (n, text) in expected {
            assert_eq!(bytes(n), text);
        }
        assert_eq!(bytes(u64::MAX), "18446744 TB");
    }

    #[test]
    fn what_could_hide_a_truth_comes_first() {
        let standing = Standing {
            packets: 12,
            kernel_drops: 1,
            queue_drops: 7,
            flows_left_out: 2,
            evidence: Some(Counters { is_writing: false, bytes: 5, ..Counters::default() }),
            queue: (1, 1_000),
            ..Standing::default()
        };
        let counters = counters(&standing, Look::default());
        let text: Vec<String> = counters.iter().map(|span| span.content.to_string()).collect();
        assert_eq!(
            text,
            [
                "1 packet dropped by the kernel",
                "7 packets by our queue",
                "2 connections not analysed",
                "evidence is not written",
                "12 packets",
                "queue 1 %",
            ]
        );
    }
}
