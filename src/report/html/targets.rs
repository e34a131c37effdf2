//! Targets and their health: what the text report says of each, with every check to open.

use super::words::Words;
use crate::health::{Note, State, Target};
use crate::report::text::names::Names;
use crate::report::text::targets as text;
use crate::report::{Report, words as w};
use crate::time::Mark;
use crate::words::Phrase;
use crate::{phrase, word};
use maud::{Markup, html};

/// Targets in full; of others the page has one line.
pub(super) const FULL_MAX: usize = 200;
/// Of these, open when the page opens; others one click away.
const OPEN_MAX: usize = 3;
/// One-line targets; further ones are counted.
const BRIEF_MAX: usize = 1000;
/// Changes of state that are listed, the first and the last ones.
const STATES_MAX: usize = 40;

pub(super) fn section(report: &Report, order: &[&Target], names: &Names, words: &Words) -> Markup {
    let full = order.len().min(FULL_MAX);
    html! {
        @for hint in text::hint_texts(&report.health) { p .notice { (words.say(hint)) } }
        @if order.is_empty() { p { (words.no_targets) } }
        @for (n, target) in order.iter().take(full).enumerate() { (one(n, target, names, words)) }
        @if full < order.len() {
            h3 { (words.more_targets) }
            ul {
                @for target in order.iter().skip(full).take(BRIEF_MAX) {
                    li { (target.server.socket()) ": " (words.say(text::brief(target))) }
                }
            }
            @if order.len() - full > BRIEF_MAX {
                p .small { (words.say(w::count((order.len() - full - BRIEF_MAX) as u64))) " " (words.left_out) }
            }
        }
    }
}

fn tone(target: &Target) -> &'static str {
    match (text::is_bad(target), target.state) {
        (true, _) => "bad",
        (_, State::Healthy) => "good",
        _ => "plain",
    }
}

fn one(n: usize, target: &Target, names: &Names, words: &Words) -> Markup {
    html! {
        details .{ "card target " (tone(target)) } id={ "target-" (n) } open[n < OPEN_MAX] {
            summary {
                h3 {
                    (target.server.socket())
                    @if let Some(group) = &target.group { " (" (w::clean(group)) ")" }
                }
                span .state { (words.say(text::brief(target))) }
            }
            div .strip data-target=(n) {}
            dl .facts {
                @if let Some(absence) = &target.absence {
                    dt { (words.missing) }
                    dd {
                        (words.sentence(&absence.text)) (frame(absence.mark, names, words))
                        ol { @for step in &absence.steps { li { (words.say(step)) } } }
                    }
                }
                @for prober in &target.probers {
                    dt .part { (words.checked_by) } dd .part { (words.say(text::checked_by(prober))) }
                    dt { (words.outcomes) }
                    dd { (words.say(outcomes(prober))) }
                    @if let Some(took) = text::took(prober) {
                        dt { (words.latency) } dd { (words.sentence(took)) }
                    }
                    @let settings = text::settings(&prober.settings);
                    dt { (words.settings) } dd { (words.sentence(settings)) }
                }
                (states(target, names, words))
                @if let Some(others) = text::others(target) { dt { (words.others) } dd { (words.say(others)) } }
                (notes(words.notes, &target.remarks, names, words))
            }
            @if !target.triage.is_empty() {
                h4 { (words.triage) }
                table .triage {
                    @for point in &target.triage {
                        tr {
                            th scope="row" { (words.say(point.question)) }
                            td .{ "answer-" (point.answer.id()) } { (words.sentence(point.answer.words())) }
                            td { (words.sentence(&point.why)) (frame(point.mark, names, words)) }
                        }
                    }
                }
            }
            @if !target.advice.is_empty() {
                dl .facts { (notes(words.advice, &target.advice, names, words)) }
            }
            @if target.probers.iter().any(|prober| !prober.checks.is_empty()) {
                details .checks data-target=(n) { summary { (words.checks) } }
            }
        }
    }
}

fn outcomes(prober: &crate::health::ProberHealth) -> Phrase {
    let counts: Vec<(u64, &'static str)> =
        prober.by_outcome.iter().map(|(outcome, n)| (*n, outcome.id())).collect();
    let known: u64 = counts.iter().map(|(n, _)| n).sum();
    let hidden = prober.total.saturating_sub(known);
    let hidden = (hidden > 0).then_some((hidden, word!("not decidable")));
    w::counted(counts.into_iter().chain(hidden), usize::MAX)
}

fn frame(mark: Option<Mark>, names: &Names, words: &Words) -> String {
    mark.map_or(String::new(), |mark| {
        words.say(phrase!(" (frame {n})", n = names.frame(mark.frame)))
    })
}

fn notes(label: &str, notes: &[Note], names: &Names, words: &Words) -> Markup {
    html! {
        @if !notes.is_empty() {
            dt { (label) }
            @for note in notes { dd { (words.sentence(&note.text)) (frame(note.mark, names, words)) } }
        }
    }
}

fn states(target: &Target, names: &Names, words: &Words) -> Markup {
    let entries = &target.timeline;
    let several = target.probers.len() > 1;
    let left = entries.len().saturating_sub(STATES_MAX);
    let shown = entries.iter().enumerate();
    let shown = shown.filter(|(n, _)| *n < STATES_MAX / 2 || *n >= STATES_MAX / 2 + left);
    let leaning = (entries.len() == 1 && target.state == State::Unknown)
        .then(|| text::leaning(target))
        .flatten();
    html! {
        @if !entries.is_empty() {
            dt { (words.states) }
            @for (n, entry) in shown {
                @let first = entries[..n].iter().all(|before| before.prober != entry.prober);
                dd { (words.say(text::state(entry, target, first, several, names))) }
            }
            @if left > 0 { dd .small { (words.say(w::count(left as u64))) " " (words.left_out) } }
            @if let Some(text) = leaning { dd { (words.sentence(text)) } }
        }
    }
}
