//! The causes: the table with who has to act and what to change, then each in detail.

use super::histogram;
use super::series::COLOURS;
use super::words::Words;
use crate::blind::BlindSpot;
use crate::cause::{Confidence, Finding};
use crate::phrase;
use crate::report::text::names::Names;
use crate::report::text::{Group, causes, table};
use crate::report::{Report, terms, words as w};
use crate::words::Phrase;
use maud::{Markup, html};
use std::collections::BTreeMap;

/// Causes that are open when the page opens; others one click away.
const OPEN_MAX: usize = 4;
/// Longest display filter, characters: what Wireshark's bar shows without scrolling twice.
const FILTER_MAX: usize = 240;

/// The colour of a cause in chart and list: its class.
pub(super) fn colour(n: usize) -> String {
    format!("c{}", n.min(COLOURS))
}

pub(super) fn table(groups: &[Group<'_>], words: &Words) -> Markup {
    let highest = groups.iter().map(|group| group.count).max().unwrap_or(1);
    html! {
        @if groups.is_empty() {
            p { (words.nothing_failed) }
        } @else {
            table .causes {
                thead {
                    tr {
                        th scope="col" .number { (words.count) }
                        th scope="col" { (words.cause) }
                        th scope="col" { (words.confidence) }
                        th scope="col" { (words.responsible) }
                        th scope="col" { (words.fix) }
                    }
                }
                tbody {
                    @for (n, group) in groups.iter().enumerate() {
                        tr .(colour(n)) {
                            td .number {
                                strong { (words.say(w::count(group.count))) }
                                (histogram::bar(group.count, highest))
                            }
                            td {
                                a .id href={ "#cause-" (n) } { (group.cause.id) }
                                span .tag { (words.say(noun(group))) }
                                p { (words.sentence(group.summary())) }
                            }
                            td data-label=(words.confidence) { (words.say(table::confidences(group))) }
                            td data-label=(words.responsible) { (words.say(table::responsible(group))) }
                            td data-label=(words.fix) { (words.say(fix(group))) }
                        }
                    }
                }
            }
        }
    }
}

/// `requests`
fn noun(group: &Group<'_>) -> Phrase {
    let kind = terms::kind(group.kind);
    if group.count == 1 { Phrase::fixed(kind) } else { phrase!("{kind}s", kind) }
}

fn fix(group: &Group<'_>) -> &'static str {
    terms::fix(group.typical())
}

pub(super) fn details(
    n: usize,
    group: &Group<'_>,
    report: &Report,
    names: &Names,
    words: &Words,
) -> Markup {
    let patterns: Vec<Phrase> = report
        .patterns
        .iter()
        .filter(|pattern| pattern.cause == group.cause.id && pattern.of > 1)
        .map(terms::pattern)
        .collect();
    let typical = group.typical();
    let index = group.findings.iter().position(|finding| std::ptr::eq(*finding, typical));
    let typical_at = typical_index(report, typical).or(index);
    html! {
        details .{ "card " (colour(n)) } id={ "cause-" (n) } open[n < OPEN_MAX] {
            summary {
                h3 { (group.cause.id) span .tag { (words.say(group.what())) } }
                a .button href={ "#group=" (n) } { (words.show_all) }
            }
            p { (words.sentence(group.summary())) (words.stop()) }
            div .columns {
                div {
                    dl .facts {
                        @if !patterns.is_empty() {
                            dt { (words.in_common) }
                            @for text in &patterns { dd { (words.sentence(text)) } }
                        }
                        dt { (words.responsible) } dd { (words.sentence(causes::responsible(group))) }
                        (confidence(group, words))
                        dt { (words.fix) } dd .fix { (words.say(fix(group))) }
                        (filters(group, names, words))
                        dt { (words.what_it_means) }
                        dd { a href={ "#about-" (group.cause.id) } { (words.glossary) } }
                    }
                }
                div {
                    h4 { @if group.count == 1 { (words.the_case) } @else { (words.typical) } }
                    p { (words.sentence(&typical.summary)) (words.stop()) }
                    p .small { (words.in_log) ": " (words.say(causes::log_line(typical))) }
                    @if let Some(at) = typical_at { div .ladder data-finding=(at) {} }
                }
            }
            div .plots { (histogram::plots(group, report, words)) }
        }
    }
}

/// Its place among all findings: where the scripts find its packets.
fn typical_index(report: &Report, typical: &Finding) -> Option<usize> {
    report.findings.iter().position(|finding| std::ptr::eq(finding, typical))
}

fn confidence(group: &Group<'_>, words: &Words) -> Markup {
    let of = |confidence| group.findings.iter().filter(|it| it.confidence == confidence).count();
    let mut spots: BTreeMap<BlindSpot, u64> = BTreeMap::new();
    for spot in group.findings.iter().flat_map(|finding| finding.blind_spots.iter()) {
        *spots.entry(spot).or_default() += 1;
    }
    let all = group.findings.len();
    html! {
        dt { (words.confidence) }
        @for confidence in [Confidence::Certain, Confidence::Likely, Confidence::Possible] {
            @let n = of(confidence);
            @if n > 0 {
                dd {
                    @if n < all { (words.say(w::count(n as u64))) " " }
                    strong { (confidence.id()) } ": " (words.say(terms::confidence(confidence)))
                }
            }
        }
        @if !spots.is_empty() {
            dt { (words.not_seen) }
            @for (spot, n) in &spots {
                dd { (words.say(w::count(*n))) " / " (words.say(w::count(all as u64))) ": " (words.say(spot.meaning())) }
            }
        }
    }
}

/// Wireshark's display filters, one per file.
fn filters(group: &Group<'_>, names: &Names, words: &Words) -> Markup {
    let (filters, more) = causes::display_filters(group, names, FILTER_MAX);
    html! {
        dt { (words.wireshark) }
        @for shown in &filters {
            dd {
                @if let Some(file) = &shown.file { (file) ": " }
                (copied(&shown.filter, words))
                @if shown.left > 0 {
                    span .small { " + " (words.say(w::count(shown.left))) " " (words.and_more) }
                }
            }
        }
        @if more > 0 { dd .small { "+ " (words.say(w::plural(more, "more file"))) } }
        @if let Some(unlisted) = causes::unlisted(group) { dd .small { (words.say(unlisted)) } }
    }
}

/// A text to paste elsewhere.
pub(super) fn copied(text: &str, words: &Words) -> Markup {
    html! {
        code { (text) }
        button .copy type="button" hidden data-copy=(text) { (words.copy) }
    }
}
