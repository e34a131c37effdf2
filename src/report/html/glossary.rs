//! What `why502 explain` says of every cause and outcome that this report names, and the terms.

use super::data::CONFIDENCES;
use super::words::Words;
use crate::blind::BlindSpot;
use crate::cause::Cause;
use crate::report::text::Group;
use crate::report::{Report, terms, words as w};
use maud::{Markup, html};

pub(super) fn section(report: &Report, groups: &[Group<'_>], words: &Words) -> Markup {
    let mut causes: Vec<&'static Cause> = groups.iter().map(|group| group.cause).collect();
    causes.extend(report.health.by_outcome.keys().map(|outcome| outcome.cause()));
    let mut seen: Vec<&str> = Vec::new();
    causes.retain(|cause| {
        let new = !seen.contains(&cause.id);
        seen.push(cause.id);
        new
    });
    let spots: Vec<BlindSpot> = BlindSpot::ALL
        .into_iter()
        .filter(|spot| report.summary.blind_spots.get(spot).is_some_and(|flows| *flows > 0))
        .collect();
    html! {
        @for cause in causes { (explain(cause, words)) }
        h3 { (words.terms) }
        dl .facts {
            @for confidence in CONFIDENCES {
                dt { (confidence.id()) } dd { (w::sentence(terms::confidence(confidence))) }
            }
            @for spot in spots { dt { (spot.id()) } dd { (w::sentence(spot.meaning())) } }
        }
    }
}

fn explain(cause: &Cause, words: &Words) -> Markup {
    html! {
        details .explain id={ "about-" (cause.id) } {
            summary { strong { (cause.id) } " " span { (cause.summary) } }
            h4 { (words.what_happens) }
            @for paragraph in cause.explanation.split("\n\n") { p { (paragraph) } }
            @if !cause.seen_as.is_empty() {
                h4 { (words.how_it_shows) }
                dl .facts { @for (product, shows) in cause.seen_as { dt { (product) } dd { (shows) } } }
            }
            h4 { (words.who_acts) }
            p {
                (w::sentence(terms::responsible(cause.responsible))) "."
                @if let Some(status) = cause.typical_status { " " (words.typical_status) " " (status) "." }
            }
            (steps(words.confirm, cause.confirm))
            (steps(words.fixes, cause.fix))
            @if !cause.references.is_empty() {
                h4 { (words.references) }
                ul { @for reference in cause.references { li { (linked(reference)) } } }
            }
        }
    }
}

fn steps(title: &str, steps: &[&str]) -> Markup {
    html! {
        @if !steps.is_empty() {
            h4 { (title) }
            ol { @for step in steps { li { (step) } } }
        }
    }
}

/// A reference whose address can be followed.
fn linked(reference: &str) -> Markup {
    let Some(at) = reference.find("https://") else { return html! { (reference) } };
    let (before, rest) = reference.split_at(at);
    let end = rest
        .find(|c: char| c.is_whitespace() || matches!(c, ')' | ',' | ';'))
        .unwrap_or(rest.len());
    let (address, after) = rest.split_at(end);
    html! { (before) a href=(address) rel="noreferrer noopener" { (address) } (after) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_address_is_a_link() {
        assert_eq!(
            linked("AWS (https://a.example/b?c&d), 2024").into_string(),
            "AWS (<a href=\"https://a.example/b?c&amp;d\" rel=\"noreferrer noopener\">\
             https://a.example/b?c&amp;d</a>), 2024"
        );
        assert_eq!(linked("RFC 9112, 9.3.1").into_string(), "RFC 9112, 9.3.1");
    }
}
