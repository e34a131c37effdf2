//! The `markdown` format: for an incident ticket, short. The answer, the causes, one case packet by
//! packet, filters for Wireshark, and what could not be seen.

use super::text::causes::FileFilter;
use super::text::names::Names;
use super::text::page::Page;
use super::text::{Group, causes, groups, ladder, table, unseen};
use super::{Format, Report, Style, handover, terms, words};
use crate::words::{Lang, Say};
use crate::{phrase, word};
use std::io::{self, Write};

pub(super) const FORMAT: Format = Format {
    name: "markdown",
    about: "for an incident ticket: the answer, the causes, one case, filters",
    lists_flows: false,
    stream: None,
    write,
};

/// Causes in the table; a ticket is read on one screen.
const CAUSES_MAX: usize = 12;
/// Reasons listed below what could not be seen.
const UNSEEN_MAX: usize = 8;
/// Longest display filter and command, characters.
const FILTER_MAX: usize = 160;

fn write(report: &Report, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let groups = groups(report);
    let names = Names::new(&report.captures);
    let answer = super::text::answer(report);
    for (n, part) in answer.iter().enumerate() {
        let heading = if n == 0 { "## why502: " } else { "\n" };
        writeln!(out, "{heading}{}", inline(&part.in_lang(style.lang), style))?;
    }
    if let Some(first) = groups.first() {
        writeln!(out)?;
        causes_table(&groups, &names, style, out)?;
        writeln!(out)?;
        case(first, report, &names, style, out)?;
        writeln!(out)?;
        wireshark(&groups, report, &names, style, out)?;
    }
    let unseen = unseen::lines(report, &names);
    if !unseen.is_empty() {
        writeln!(out, "\n### {}\n", say(word!("What could not be seen"), style))?;
        for line in unseen.iter().take(UNSEEN_MAX) {
            writeln!(out, "- {}", inline(&line.in_lang(style.lang), style))?;
        }
        if let Some(more @ 1..) = unseen.len().checked_sub(UNSEEN_MAX) {
            let more = phrase!("and {more}", more = words::plural(more as u64, "more reason"));
            writeln!(out, "- {}", say(more, style))?;
        }
    }
    let read = shown(style, |page| unseen::input(page, report))?;
    writeln!(out, "\n{}", inline(&read.split_whitespace().collect::<Vec<_>>().join(" "), style))
}

fn causes_table(
    groups: &[Group<'_>],
    names: &Names,
    style: &Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    let head = [
        word!("Count"),
        word!("Cause"),
        word!("What happened"),
        word!("Confidence"),
        word!("Who has to act"),
        word!("Example"),
    ];
    writeln!(out, "| {} |", head.map(|it| say(it, style)).join(" | "))?;
    writeln!(out, "|---:|---|---|---|---|---|")?;
    for group in groups.iter().take(CAUSES_MAX) {
        let typical = group.typical();
        let frame = typical.evidence.first().map(|guilty| names.frame(guilty.mark.frame));
        let asked = typical.exchange.as_deref().map(table::request_line).unwrap_or_default();
        let asked = match asked.is_empty() {
            true => String::new(),
            false => {
                let asked = asked.in_lang(style.lang);
                format!(", {}", code(&words::shorten(&asked, 60), style))
            }
        };
        writeln!(
            out,
            "| {} | `{}` | {} | {} | {} | {}{asked} |",
            say(group.what(), style),
            group.cause.id,
            inline(&say(group.summary(), style), style),
            say(table::confidences(group), style),
            say(table::responsible(group), style),
            inline(&say(phrase!("frame {n}", n = frame.unwrap_or_default()), style), style),
        )?;
    }
    if let Some(more @ 1..) = groups.len().checked_sub(CAUSES_MAX) {
        let more = phrase!("and {more}", more = words::plural(more as u64, "more cause"));
        let stop = if style.lang == Lang::Ja { "。" } else { "." };
        writeln!(out, "\n{}{stop}", say(more, style))?;
    }
    Ok(())
}

/// The most frequent cause: what its findings share, one of them packet by packet, what to change.
fn case(
    group: &Group<'_>,
    report: &Report,
    names: &Names,
    style: &Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    let typical = group.typical();
    writeln!(out, "### {}\n", say(phrase!("{id}: a typical case", id = group.cause.id), style))?;
    writeln!(out, "{}\n", inline(&words::full_sentence(&typical.summary, style.lang), style))?;
    let shared = report.patterns.iter();
    for pattern in shared.filter(|it| it.cause == group.cause.id && it.of > 1) {
        writeln!(out, "- {}", inline(&say(terms::pattern(pattern), style), style))?;
    }
    let drawn = shown(style, |page| ladder::ladder(page, typical, names))?;
    // A fence is longer than any run of its sign inside.
    let longest = drawn.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    writeln!(out, "\n{fence}text\n{drawn}{fence}\n")?;
    let fix = terms::fix(group.typical()).trim_end_matches('.');
    let fix = inline(&say(fix, style), style);
    let id = group.cause.id;
    writeln!(out, "{}", say(phrase!("**Fix:** {fix}. More: `why502 explain {id}`", fix, id), style))
}

fn wireshark(
    groups: &[Group<'_>],
    report: &Report,
    names: &Names,
    style: &Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(out, "### {}\n", say(word!("In Wireshark"), style))?;
    for group in groups.iter().take(CAUSES_MAX) {
        let (filters, more) = causes::display_filters(group, names, FILTER_MAX);
        for FileFilter { file, filter, left } in filters {
            let file = file.map_or(String::new(), |file| {
                say(phrase!(" in {file}", file = code(&file, style)), style)
            });
            let left = match left {
                0 => String::new(),
                n => say(phrase!(" and {n} more", n = words::count(n)), style),
            };
            writeln!(out, "- {}{file}: {}{left}", group.cause.id, code(&filter, style))?;
        }
        if more > 0 {
            let files = words::plural(more, "more file");
            let more = phrase!("{id} in {files}", id = group.cause.id, files);
            writeln!(out, "- {}", say(more, style))?;
        }
        if let Some(unlisted) = causes::unlisted(group) {
            let unlisted = phrase!("{id}: {unlisted}", id = group.cause.id, unlisted);
            writeln!(out, "- {}", say(unlisted, style))?;
        }
    }
    let commands = handover::commands(report, FILTER_MAX);
    if !commands.is_empty() {
        let lines: Vec<String> = commands.iter().map(|command| words::clean(command)).collect();
        writeln!(out, "\n```sh\n{}\n```", lines.join("\n"))?;
    }
    Ok(())
}

/// A text in the language of the report.
fn say(text: impl Say, style: &Style) -> String {
    text.say(style.lang).into_owned()
}

/// What `write` draws for a text report, without colours.
fn shown(style: &Style, write: impl FnOnce(&mut Page<'_>) -> io::Result<()>) -> io::Result<String> {
    let mut drawn = Vec::new();
    write(&mut Page::new(Style { color: false, ..*style }, &mut drawn))?;
    Ok(String::from_utf8_lossy(&drawn).into_owned())
}

/// Text in which nothing is markup.
fn inline(text: &str, style: &Style) -> String {
    let text = if style.ascii { words::ascii(text, style.lang) } else { text.to_owned() };
    let mut out = String::with_capacity(text.len());
    for c in words::clean(&text).chars() {
        if matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '~') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Text as it is, in a cell of a table or elsewhere.
fn code(text: &str, style: &Style) -> String {
    let text = if style.ascii { words::ascii(text, style.lang) } else { text.to_owned() };
    let text = words::clean(&text).replace('`', "'").replace('|', "\\|");
    format!("`{text}`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn a_ticket_looks_as_agreed() {
        for (report, name) in
            [(fixture::report(), "report"), (fixture::several_files(), "several-files")]
        {
            let text = fixture::written("markdown", &report, &Style::default());
            fixture::same_as_file(&format!("snapshots/{name}.md"), &text);
        }
    }

    #[test]
    fn nothing_found_is_a_line_and_what_was_read() {
        let text = fixture::written("markdown", &Report::default(), &Style::default());
        assert_eq!(text, "## why502: no packets, so nothing to judge\n\nRead nothing.\n");
    }

    #[test]
    fn a_packet_cannot_write_markup() {
        let mut report = fixture::report();
        for finding in &mut report.findings {
            finding.summary = "<img src=x> [a](b) | c".into();
            finding.evidence[0].note = "````\n# heading".into();
            if let Some(request) = finding.exchange.as_mut().and_then(|it| it.request.as_mut()) {
                request.head = b"GET /`|``` HTTP/1.1\r\n\r\n".to_vec();
            }
        }
        let text = fixture::written("markdown", &report, &Style::default());
        assert!(text.contains(r"\<img src=x\> \[a\](b) \| c"), "{text}");
        assert!(text.contains("`GET /'\\|'''`") && text.contains("\n`````text\n"), "{text}");
        assert!(!text.contains("\n# heading") && !text.contains("\n```text"), "{text}");
        let ascii = Style { ascii: true, ..Style::default() };
        assert!(fixture::written("markdown", &report, &ascii).is_ascii());
    }
}
