//! What `why502 explain` says of every cause and outcome that this report names, and the terms.

use super::data::CONFIDENCES;
use super::words::Words;
use crate::blind::BlindSpot;
use crate::cause::Cause;
use crate::report::text::Group;
use crate::report::{Report, terms};
use crate::words::Say;
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
                dt { (confidence.id()) } dd { (words.sentence(terms::confidence(confidence))) }
            }
            @for spot in spots { dt { (spot.id()) } dd { (words.sentence(spot.meaning())) } }
        }
    }
}

fn explain(cause: &Cause, words: &Words) -> Markup {
    html! {
        details .explain id={ "about-" (cause.id) } {
            summary { strong { (cause.id) } " " span { (words.say(cause.summary)) } }
            h4 { (words.what_happens) }
            @let explanation = cause.explanation.say(words.lang);
            @for paragraph in explanation.split("\n\n") { p { (paragraph) } }
            @if !cause.seen_as.is_empty() {
                h4 { (words.how_it_shows) }
                dl .facts { @for (product, shows) in cause.seen_as { dt { (words.say(product)) } dd { (words.say(shows)) } } }
            }
            h4 { (words.who_acts) }
            p {
                (words.sentence(terms::responsible(cause.responsible))) (words.stop())
                @if let Some(status) = cause.typical_status { " " (words.typical_status) " " (status) (words.stop()) }
            }
            (steps(words.confirm, cause.confirm, words))
            (steps(words.fixes, cause.fix, words))
            @if !cause.references.is_empty() {
                h4 { (words.references) }
                ul { @for reference in cause.references { li { (linked(reference)) } } }
            }
        }
    }
}

fn steps(title: &str, steps: &[&str], words: &Words) -> Markup {
    html! {
        @if !steps.is_empty() {
            h4 { (title) }
            ol { @for step in steps { li { (words.say(step)) } } }
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
