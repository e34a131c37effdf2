//! The frame of the page: head, navigation, the answer with its figures, and the order of sections.

use super::words::Words;
use super::{causes, glossary, policy, quality, targets};
use crate::health::Target;
use crate::report::text::names::Names;
use crate::report::text::page::Ink;
use crate::report::text::{Group, headline};
use crate::report::{Report, handover, words as w};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Longest command that is shown with the names of its captures, characters.
const COMMAND_MAX: usize = 160;

/// Everything up to and with `<body>`.
pub(super) fn head(report: &Report, groups: &[Group<'_>], words: &Words) -> Markup {
    let answer = headline::headline(report, groups).0.into_iter().next();
    let title = answer.map_or(words.title.to_owned(), |it| words.sentence(it));
    html! {
        (DOCTYPE)
        (PreEscaped(format!("<html lang=\"{}\">\n", words.lang.id())))
        head {
            meta charset="utf-8";
            meta http-equiv="Content-Security-Policy" content=(policy::policy());
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="referrer" content="no-referrer";
            meta name="color-scheme" content="light dark";
            title { (title) " – why502" }
            @for style in policy::STYLES {
                style { (PreEscaped(style)) }
            }
        }
        (PreEscaped("\n<body>\n"))
    }
}

/// Everything that is not data or script.
pub(super) fn body(
    report: &Report,
    groups: &[Group<'_>],
    order: &[&Target],
    names: &Names,
    words: &Words,
) -> Markup {
    let sections = [
        ("causes", words.causes, !groups.is_empty()),
        ("over-time", words.over_time, true),
        ("details", words.details, !groups.is_empty()),
        ("findings", words.findings, !groups.is_empty()),
        ("targets", words.targets, true),
        ("quality", words.quality, true),
        ("glossary", words.glossary, !groups.is_empty() || !order.is_empty()),
    ];
    html! {
        a .skip href="#answer" { (words.skip) }
        header .top {
            span .brand { "why502" }
            nav aria-label=(words.sections) {
                @for (id, name, _) in sections.iter().filter(|(_, _, there)| *there) {
                    a href={ "#" (id) } { (name) }
                }
            }
            span .tools {
                button #theme type="button" hidden aria-label=(words.theme) {}
                button #print type="button" hidden { (words.print) }
            }
        }
        main {
            (answer(report, groups, words))
            noscript { p .notice { (words.no_script) } }
            section #causes aria-labelledby="causes-title" {
                h2 #causes-title { (words.causes) }
                (causes::table(groups, words))
            }
            section #over-time aria-labelledby="over-time-title" hidden {
                h2 #over-time-title { (words.over_time) }
                div #timeline tabindex="0" role="group" aria-labelledby="over-time-title"
                    aria-describedby="timeline-help" {}
                div #strips {}
                p #strip-key .small hidden { (words.strip_help) }
                p #timeline-help .small { (words.over_time_help) span .keys { " " (words.over_time_keys) } }
            }
            @if !groups.is_empty() {
                section #details aria-labelledby="details-title" {
                    h2 #details-title { (words.details) }
                    @for (n, group) in groups.iter().enumerate() {
                        (causes::details(n, group, report, names, words))
                    }
                }
                (findings(report, groups, words))
            }
            section #targets aria-labelledby="targets-title" {
                h2 #targets-title { (words.targets) }
                (targets::section(report, order, names, words))
            }
            section #quality aria-labelledby="quality-title" {
                h2 #quality-title { (words.quality) }
                (quality::section(report, names, words))
            }
            @if !groups.is_empty() || !order.is_empty() {
                section #glossary aria-labelledby="glossary-title" {
                    h2 #glossary-title { (words.glossary) }
                    (glossary::section(report, groups, words))
                }
            }
        }
        footer { p .small { (words.written_by) " why502 " (env!("CARGO_PKG_VERSION")) } }
        (PreEscaped("\n"))
    }
}

/// The first line of the text report, and the figures behind it.
fn answer(report: &Report, groups: &[Group<'_>], words: &Words) -> Markup {
    let (parts, ink) = headline::headline(report, groups);
    let tone = match ink {
        Ink::Bad => "bad",
        Ink::Good => "good",
        _ => "plain",
    };
    let summary = &report.summary;
    let checks: u64 = report.health.checks;
    let seen = headline::of_users(report).max(summary.failed_requests);
    let figures = [
        (words.requests, seen, true, ""),
        (words.encrypted, summary.encrypted_requests, summary.encrypted_requests > 0, ""),
        (words.failed_requests, summary.failed_requests, seen > 0, "bad"),
        (
            words.failed_connections,
            summary.failed_connections,
            summary.failed_connections > 0,
            "bad",
        ),
        (words.not_decidable, summary.unknown_requests, summary.unknown_requests > 0, ""),
        (words.health_checks, checks, checks > 0, ""),
        (words.failed_checks, summary.failed_checks, checks > 0, "bad"),
    ];
    html! {
        section #answer .{ "answer " (tone) } {
            @for (n, part) in parts.iter().enumerate() {
                @let text = words.say(part);
                @let text = text.strip_prefix(words.say("and ").as_str()).unwrap_or(&text);
                @if n == 0 { h1 { (words.sentence(text)) } } @else { p .lead { (words.sentence(text)) } }
            }
            dl .figures {
                @for (name, n, _, tone) in figures.iter().filter(|(_, _, shown, _)| *shown) {
                    div .{ @if *n > 0 { (tone) } } { dt { (name) } dd { (words.say(w::count(*n))) } }
                }
                @if let Some((span, length)) = quality::span(report, words) {
                    div .wide {
                        dt { (words.captured) }
                        dd {
                            (length)
                            span .small { (span) }
                            span .small.path { (quality::files(report, words)) }
                        }
                    }
                }
            }
        }
    }
}

/// The frame of the list; its rows come from the data.
fn findings(report: &Report, groups: &[Group<'_>], words: &Words) -> Markup {
    let commands = handover::commands(report, COMMAND_MAX);
    let mut kinds: Vec<(&str, &str)> = groups
        .iter()
        .map(|group| (group.kind.id(), crate::report::terms::kind(group.kind)))
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    html! {
        section #findings aria-labelledby="findings-title" {
            h2 #findings-title { (words.findings) }
            form #filters role="search" {
                label .grow {
                    span { (words.search) }
                    input #f-text type="search" placeholder=(words.search_hint) autocomplete="off";
                }
                @for (id, name, any) in [
                    ("f-group", words.cause, words.any_cause),
                    ("f-server", words.target, words.any_target),
                    ("f-confidence", words.confidence, words.any_confidence),
                ] {
                    label { span { (name) } select id=(id) { option value="" { (any) } } }
                }
                @if kinds.len() > 1 {
                    label { span { (words.kind) } select #f-kind {
                        option value="" { (words.any_kind) }
                        @for (id, noun) in &kinds { option value=(id) { (words.sentence(*noun)) } }
                    } }
                }
                button #f-clear type="button" { (words.clear) }
            }
            p #shown role="status" aria-live="polite" {}
            ol #list {}
            div .pager {
                button #previous type="button" { (words.previous) }
                span #page-number {}
                button #next type="button" { (words.next) }
            }
            @if !commands.is_empty() {
                p .small { (words.in_wireshark) }
                @for command in &commands { p .command { (causes::copied(&w::clean(command), words)) } }
            }
            p .keys .small {
                @for (key, what) in words.keys { span { kbd { (key) } " " (what) } " " }
            }
        }
    }
}
