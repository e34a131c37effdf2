//! What could not be seen, what was read, and the bounds of the page.

use super::words::Words;
use crate::report::text::names::Names;
use crate::report::text::unseen;
use crate::report::{Report, words as w};
use maud::{Markup, html};

/// Files that are listed; a rotated set can have thousands.
const FILES_MAX: usize = 500;
/// As many files are shown without a click.
const OPEN_MAX: usize = 8;

/// `2026-11-21 10:00:00 to 10:10:00 UTC` and `10 min 0 s`.
pub(super) fn span(report: &Report, words: &Words) -> Option<(String, String)> {
    let first = report.captures.iter().filter_map(|capture| capture.first).min()?;
    let last = report.captures.iter().filter_map(|capture| capture.last).max()?;
    let text = words.say(unseen::span(first, last));
    let (times, _) = text.trim_start_matches([',', ' ', '、']).split_once(['(', '（'])?;
    Some((times.trim_end().to_owned(), words.say(w::seconds(last.since(first)))))
}

/// The name of the file, or of the first and how many more there are.
pub(super) fn files(report: &Report, words: &Words) -> String {
    let first = report.captures.first().map_or(String::new(), |capture| w::clean(&capture.path));
    match report.captures.len() {
        0 | 1 => first,
        n => format!("{first}, {}", words.say(w::plural(n as u64 - 1, "more file"))),
    }
}

pub(super) fn section(report: &Report, names: &Names, words: &Words) -> Markup {
    let lines = unseen::lines(report, names);
    html! {
        @if lines.is_empty() {
            p { (words.all_seen) }
        } @else {
            ul { @for line in &lines { li { (words.sentence(line)) } } }
        }
        @if !report.captures.is_empty() {
            details .files open[report.captures.len() <= OPEN_MAX] {
                summary { h3 { (words.files) } " " span .small { (words.say(w::count(report.captures.len() as u64))) } }
            div .scroll tabindex="0" role="group" aria-label=(words.files) {
                table {
                    thead { tr {
                        th scope="col" { (words.file) }
                        th scope="col" { (words.format) }
                        th scope="col" .number { (words.packets) }
                        th scope="col" { (words.first_packet) }
                        th scope="col" .number { (words.length) }
                    } }
                    tbody {
                        @for capture in report.captures.iter().take(FILES_MAX) {
                            tr {
                                td .path { (w::clean(&capture.path)) }
                                td { (capture.format) @if let Some(how) = capture.compression { ", " (how) } }
                                td .number { (words.say(w::count(capture.packets))) }
                                td { @if let Some(first) = capture.first { (w::time(first)) } }
                                td .number {
                                    @if let Some((first, last)) = capture.first.zip(capture.last) {
                                        (words.say(w::seconds(last.since(first))))
                                    }
                                }
                            }
                        }
                    }
                }
            }
            @if report.captures.len() > FILES_MAX {
                p .small { (words.say(w::count((report.captures.len() - FILES_MAX) as u64))) " " (words.left_out) }
            }
            }
        }
        h3 { (words.limits) }
        p .small { (words.limits_text) }
        p #left-out .small hidden {}
    }
}
