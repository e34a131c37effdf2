//! `why502 explain`: the whole text of a cause, and the list of causes.

use super::text::page::{Ink, Page};
use super::{Style, terms, words};
use crate::cause::Cause;
use crate::words::{columns, left};
use crate::{phrase, word};
use std::fmt;
use std::io::{self, Write};

/// Writes everything that is known of a cause.
pub fn explain(cause: &Cause, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let mut page = Page::new(*style, out);
    let id = page.paint(Ink::Cause, cause.id);
    page.line(&id)?;
    page.paragraph("", words::full_sentence(cause.summary, page.lang()))?;
    page.blank()?;
    page.heading(word!("What happens"))?;
    page.paragraphs("  ", cause.explanation)?;
    if !cause.seen_as.is_empty() {
        page.blank()?;
        page.heading(word!("How it shows"))?;
        let products: Vec<String> =
            cause.seen_as.iter().map(|(product, _)| page.say(product)).collect();
        let width = products.iter().map(|product| columns(product)).max().unwrap_or(0);
        for (product, (_, shows)) in products.iter().zip(cause.seen_as) {
            page.hanging(&format!("  {}  ", left(product, width)), shows)?;
        }
    }
    page.blank()?;
    page.heading(word!("Who has to act"))?;
    let (id, who) = (cause.responsible.id(), terms::responsible(cause.responsible));
    page.paragraph("  ", phrase!("{id}: {who}", id, who))?;
    if let Some(status) = cause.typical_status {
        page.paragraph(
            "  ",
            phrase!("An AWS Application Load Balancer typically answers {status}.", status),
        )?;
    }
    numbered(&mut page, word!("How to make sure"), cause.confirm)?;
    numbered(&mut page, word!("How to fix it"), cause.fix)?;
    if !cause.wireshark.is_empty() {
        page.blank()?;
        page.heading(word!("In Wireshark"))?;
        for (filter, shows) in cause.wireshark {
            page.paragraph("  ", words::sentence(shows, page.lang()))?;
            // Never wrapped, so that it can be copied.
            page.line(&format!("    {filter}"))?;
        }
    }
    if !cause.references.is_empty() {
        page.blank()?;
        page.heading(word!("References"))?;
        for reference in cause.references {
            page.paragraph("  ", reference)?;
        }
    }
    Ok(())
}

fn numbered(page: &mut Page<'_>, heading: &str, steps: &[&str]) -> io::Result<()> {
    if steps.is_empty() {
        return Ok(());
    }
    page.blank()?;
    page.heading(heading)?;
    for (n, step) in (1..).zip(steps) {
        page.hanging(&format!("  {n}. "), step)?;
    }
    Ok(())
}

/// Writes the list of causes: id and what happened.
pub fn list(causes: &[&'static Cause], style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let mut page = Page::new(*style, out);
    let width = causes.iter().map(|cause| cause.id.len()).max().unwrap_or(0);
    for cause in causes {
        page.hanging_painted(Ink::Cause, cause.id, width + 2, cause.summary)?;
    }
    page.blank()?;
    page.paragraph(
        "",
        word!(
            "why502 explain CAUSE tells what happens on the wire, who has to act and how to fix it."
        ),
    )
}

/// No cause has that id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownCause {
    /// As asked for.
    pub id: String,
    /// Ids that are close to it, the closest first.
    pub similar: Vec<&'static str>,
}

impl std::error::Error for UnknownCause {}

impl fmt::Display for UnknownCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no cause `{}`", words::clean(&self.id))?;
        if !self.similar.is_empty() {
            let names: Vec<String> = self.similar.iter().map(|id| format!("`{id}`")).collect();
            write!(f, "; did you mean {}?", names.join(" or "))?;
        }
        f.write_str(" (`why502 explain` lists them all)")
    }
}

/// The cause of that id, in any case and with `_` for `-`.
pub fn find(id: &str, causes: &[&'static Cause]) -> Result<&'static Cause, UnknownCause> {
    let asked = id.trim().to_ascii_lowercase().replace('_', "-");
    if let Some(cause) = causes.iter().find(|cause| cause.id == asked) {
        return Ok(cause);
    }
    let mut ranked: Vec<(usize, &'static str)> = causes
        .iter()
        .map(|cause| (distance(&asked, cause.id), cause.id))
        .filter(|(distance, id)| *distance <= 1 + id.len() / 4)
        .collect();
    ranked.sort_unstable();
    Err(UnknownCause {
        id: id.to_owned(),
        similar: ranked.into_iter().map(|(_, id)| id).take(SIMILAR_MAX).collect(),
    })
}

/// Suggestions for an unknown id; more would be a list to read.
const SIMILAR_MAX: usize = 3;

/// Levenshtein's distance; a word of the id alone (`race`) counts as close.
fn distance(asked: &str, id: &str) -> usize {
    if asked.len() >= 3 && id.contains(asked) {
        return 1;
    }
    let mut row: Vec<usize> = (0..=id.len()).collect();
    for (i, a) in asked.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in id.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[id.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::{self, CAUSES};
    use crate::words::Lang;

    fn shown(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_cause_is_explained_in_full() {
        let text = shown(|out| explain(&fixture::RACE, &Style::default(), out));
        fixture::same_as_file("snapshots/explain.txt", &text);
    }

    #[test]
    fn a_cause_is_explained_in_japanese() {
        let cause = crate::cause::by_id("keepalive-race").unwrap();
        let style = Style { lang: Lang::Ja, ..Style::default() };
        let text = shown(|out| explain(cause, &style, out));
        fixture::same_as_file("snapshots/explain.ja.txt", &text);
        assert!(text.lines().all(|line| line.contains("http") || columns(line) <= 100), "{text}");
    }

    #[test]
    fn headings_without_content_are_left_out() {
        let text = shown(|out| explain(&fixture::REFUSED, &Style::default(), out));
        assert!(!text.contains("References") && text.contains("How to fix it"));
    }

    #[test]
    fn the_list_names_every_cause() {
        let text = shown(|out| list(&CAUSES, &Style::default(), out));
        assert!(text.starts_with("connect-refused  the server refused"), "{text}");
        assert!(CAUSES.iter().all(|cause| text.contains(cause.summary.split(' ').next().unwrap())));
        assert!(text.lines().all(|line| line.chars().count() <= 100));
    }

    #[test]
    fn near_names_are_suggested() {
        let similar = |id| find(id, &CAUSES).unwrap_err().similar;
        assert_eq!(similar("keepalive-rase"), ["keepalive-race"]);
        assert_eq!(similar("refused"), ["connect-refused"]);
        assert_eq!(similar("zzz"), [] as [&str; 0]);
        assert_eq!(find("Keepalive_Race", &CAUSES).unwrap().id, "keepalive-race");
        assert_eq!(
            find("conect-refused", &CAUSES).unwrap_err().to_string(),
            "there is no cause `conect-refused`; did you mean `connect-refused`? (`why502 explain` lists them all)"
        );
    }
}
