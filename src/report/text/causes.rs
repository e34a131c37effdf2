//! One cause: what its findings share, a typical case, who has to act, how sure, what to change.

use super::Group;
use super::names::Names;
use super::page::{Ink, LABEL, Page};
use super::{ladder, lanes, logs, table};
use crate::blind::BlindSpot;
use crate::cause::{Confidence, Finding};
use crate::report::{Report, filter, request, terms, words};
use crate::words::{Phrase, columns, plural};
use crate::{phrase, word};
use std::collections::BTreeMap;
use std::io;

pub(in crate::report) fn cause(
    page: &mut Page<'_>,
    group: &Group<'_>,
    report: &Report,
    names: &Names,
) -> io::Result<()> {
    let id = page.paint(Ink::Cause, group.cause.id);
    let what = page.say(group.what());
    page.line(&format!("{id}: {what}"))?;
    page.paragraph("  ", words::full_sentence(group.summary(), page.lang()))?;
    page.blank()?;
    let mut label = word!("In common");
    for pattern in
        report.patterns.iter().filter(|pattern| pattern.cause == group.cause.id && pattern.of > 1)
    {
        page.field(label, terms::pattern(pattern))?;
        label = "";
    }
    let typical = group.typical();
    let label = if group.count == 1 { word!("The case") } else { word!("Typical case") };
    page.field(label, &typical.summary)?;
    let ties = report
        .logs
        .iter()
        .flat_map(|logs| logs.of_finding(typical).into_iter().map(move |tie| (logs, tie)));
    let lines: Vec<Phrase> = ties.map(|(logs, tie)| logs::of_tie(logs, tie)).collect();
    if lines.is_empty() {
        page.field(word!("In the log"), log_line(typical))?;
    }
    for line in lines {
        page.field(word!("In the log"), line)?;
    }
    page.blank()?;
    match &typical.joined {
        Some(joined) => lanes::lanes(page, typical, joined, names)?,
        None => ladder::ladder(page, typical, names)?,
    }
    page.blank()?;
    page.field(word!("Responsible"), responsible(group))?;
    let told = || group.findings.iter().find_map(|finding| finding.host.as_deref());
    if let Some(host) = typical.host.as_deref().or_else(told) {
        page.field("This host", host)?;
    }
    confidence(page, group)?;
    page.field(word!("Fix"), terms::fix(typical))?;
    display_filter(page, group, names)?;
    page.field(word!("More"), format!("why502 explain {}", group.cause.id))
}

/// What finds the case again in an access log.
pub(in crate::report) fn log_line(finding: &Finding) -> Phrase {
    let exchange = finding.exchange.as_deref();
    let Some(request) = exchange.and_then(|exchange| exchange.request.as_ref()) else {
        let time =
            finding.evidence.first().map_or(String::new(), |first| words::time(first.mark.at));
        return phrase!("{time}, {server}", time, server = finding.server.socket());
    };
    let head = request::read(&request.head);
    let mut parts: Vec<Phrase> = vec![words::time(request.first.at).into()];
    if let Some(host) = head.host {
        parts.push(phrase!("host {host}", host = words::shorten(&host, PART_MAX)));
    }
    if let Some(trace) = head.trace_id {
        parts.push(phrase!("trace id {trace}", trace = words::shorten(&trace, PART_MAX)));
    }
    parts.push(phrase!(
        "request {ordinal} of its connection",
        ordinal = exchange.map_or(0, |it| it.ordinal)
    ));
    Phrase::list(parts, ", ")
}

/// Longest header value that is shown; a trace id of AWS has 35 characters and a fixed prefix.
const PART_MAX: usize = 60;

pub(in crate::report) fn responsible(group: &Group<'_>) -> Phrase {
    let first = group.findings[0].responsible;
    if group.findings.iter().all(|finding| finding.responsible == first) {
        Phrase::fixed(terms::responsible(first))
    } else {
        table::responsible(group)
    }
}

/// How sure, and what could hide another truth.
fn confidence(page: &mut Page<'_>, group: &Group<'_>) -> io::Result<()> {
    let mut label = word!("Confidence");
    for confidence in [Confidence::Certain, Confidence::Likely, Confidence::Possible] {
        let n = group.findings.iter().filter(|finding| finding.confidence == confidence).count();
        if n == 0 {
            continue;
        }
        let how_many =
            if n == group.findings.len() { Phrase::default() } else { phrase!("{n} ", n) };
        page.field(
            label,
            phrase!(
                "{how_many}{confidence}: {meaning}",
                how_many,
                confidence = confidence.id(),
                meaning = terms::confidence(confidence)
            ),
        )?;
        label = "";
    }
    let mut spots: BTreeMap<BlindSpot, u64> = BTreeMap::new();
    for spot in group.findings.iter().flat_map(|finding| finding.blind_spots.iter()) {
        *spots.entry(spot).or_default() += 1;
    }
    let mut label = word!("Not seen");
    for (spot, n) in spots {
        let text = phrase!(
            "in {n} of {all}: {meaning}",
            n = words::count(n),
            all = group.findings.len(),
            meaning = spot.meaning()
        );
        page.field(label, text)?;
        label = "";
    }
    Ok(())
}

/// Files for which a filter is shown; the others' are in the JSON report.
const FILTERS_MAX: usize = 4;

/// Each on a line of its own and never wrapped, so that it can be copied.
fn display_filter(page: &mut Page<'_>, group: &Group<'_>, names: &Names) -> io::Result<()> {
    let label = page.paint(Ink::Label, "  Wireshark");
    if page.is_live() {
        return page.field("Wireshark", filter::conversation(group.typical()));
    }
    let mut first = format!("{label}{}", " ".repeat(LABEL - "  Wireshark".len()));
    let (filters, more) = display_filters(group, names, page.width().saturating_sub(LABEL));
    let indent = " ".repeat(LABEL);
    for FileFilter { file, filter, left } in filters {
        let file = file.map_or(String::new(), |file| format!("{file}: "));
        let left = match left {
            0 => String::new(),
            n => page.say(phrase!("  and {n} more", n = words::count(n))),
        };
        page.line(&format!("{first}{file}{filter}{left}"))?;
        first.clone_from(&indent);
    }
    if more > 0 {
        let more = page.say(phrase!("and in {files}", files = plural(more, "more file")));
        page.line(&format!("{indent}{more}"))?;
    }
    if let Some(unlisted) = unlisted(group) {
        let unlisted = page.say(unlisted);
        page.line(&format!("{indent}{unlisted}"))?;
    }
    Ok(())
}

/// What no filter names, as it is only counted.
pub(in crate::report) fn unlisted(group: &Group<'_>) -> Option<Phrase> {
    let n = group.count.saturating_sub(group.findings.len() as u64);
    (n > 0).then(|| phrase!("and {n} more that are not listed", n = words::count(n)))
}

/// A display filter for the findings of one file.
pub(in crate::report) struct FileFilter {
    /// Short name of the file, where there are several.
    pub(in crate::report) file: Option<String>,
    pub(in crate::report) filter: String,
    /// Findings that it does not show.
    pub(in crate::report) left: u64,
}

/// Display filters of a cause, one for each file, at most `width` characters with the file's name
/// where that is possible; and how many more files there are.
pub(in crate::report) fn display_filters(
    group: &Group<'_>,
    names: &Names,
    width: usize,
) -> (Vec<FileFilter>, u64) {
    let mut by_file: BTreeMap<u32, Vec<&Finding>> = BTreeMap::new();
    for finding in &group.findings {
        let file = finding.evidence.first().map_or(0, |guilty| guilty.mark.frame.file());
        by_file.entry(file).or_default().push(finding);
    }
    let filters = by_file.iter().take(FILTERS_MAX).map(|(file, findings)| {
        let file = names.several().then(|| names.file(*file).to_owned());
        let room = width.saturating_sub(file.as_ref().map_or(0, |file| columns(file) + 2));
        let mut shown = filter::of_many(findings, room);
        if shown.1 > 0 {
            shown = filter::of_many(findings, room.saturating_sub(AND_MORE));
        }
        FileFilter { file, filter: shown.0, left: shown.1 }
    });
    (filters.collect(), by_file.len().saturating_sub(FILTERS_MAX) as u64)
}

/// Columns of `  and 123 456 more`.
const AND_MORE: usize = 18;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Style, fixture, text};

    fn shown(findings: Vec<Finding>) -> String {
        let report = crate::report::Report { findings, ..fixture::report() };
        let mut out = Vec::new();
        let groups = text::groups(&report);
        let names = Names::new(&report.captures);
        cause(&mut Page::new(Style::default(), &mut out), &groups[0], &report, &names).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn many_streams_are_bounded_and_counted() {
        let text = shown((0..100).map(|n| fixture::race(n * 3)).collect());
        let line = text.lines().find(|line| line.contains("tcp.stream in")).unwrap();
        assert!(
            line.contains("} ")
                && line.ends_with(" more")
                && line.len() <= crate::report::text::page::WIDTH,
            "{line}"
        );
        let named = line.matches(',').count() + 1;
        assert!(line.contains(&format!("and {} more", 100 - named)), "{line}");
    }

    #[test]
    fn what_is_not_listed_is_counted_beside_the_filter() {
        let mut report = fixture::report();
        report.findings = (0..100).map(|n| fixture::race(n * 3)).collect();
        assert!(unlisted(&text::groups(&report)[0]).is_none());
        report.summary.by_cause.insert("keepalive-race", 250_100);
        let said = unlisted(&text::groups(&report)[0]).unwrap();
        assert_eq!(said.to_string(), "and 250 000 more that are not listed");
    }

    #[test]
    fn mixed_verdicts_are_counted() {
        let mut findings: Vec<Finding> = (1..4).map(fixture::race).collect();
        findings[0].responsible = crate::cause::Responsible::Network;
        let text = shown(findings);
        assert!(text.contains("2 certain: ") && text.contains("1 likely: "), "{text}");
        assert!(text.contains("Responsible   2 configuration, 1 network"), "{text}");
        assert!(text.contains("Not seen      in 1 of 3: the start"), "{text}");
    }
}
