//! The text report: the answer first, then the causes, each with one case packet by packet, then
//! targets and their health, then what could not be seen.

mod all;
pub(in crate::report) mod causes;
pub(in crate::report) mod headline;
mod host;
pub(in crate::report) mod ladder;
pub(in crate::report) mod lanes;
mod logs;
pub(in crate::report) mod names;
pub(in crate::report) mod page;
pub(in crate::report) mod table;
pub(in crate::report) mod targets;
pub(in crate::report) mod unseen;

use super::{Format, Report, Style, handover, words};
use crate::cause::{Cause, Finding, Kind, Responsible};
use crate::word;
use crate::words::{Lang, Phrase, columns, plural};
use names::Names;
use page::{Ink, Page};
use std::io::{self, Write};

pub(super) const FORMAT: Format = Format {
    name: "text",
    about: "for people: the answer, the causes, the proof, the fix",
    lists_flows: false,
    stream: None,
    write,
};

fn write(report: &Report, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let mut page = Page::new(*style, out);
    let groups = groups(report);
    let names = Names::new(&report.captures);

    let (answer, ink) = headline::headline(report, &groups);
    for line in lines(&answer, style.lang) {
        let line = page.paint(ink, &line);
        page.line(&line)?;
    }
    if !groups.is_empty() {
        page.blank()?;
        table::table(&mut page, &groups, &names)?;
    }
    for group in &groups {
        page.blank()?;
        causes::cause(&mut page, group, report, &names)?;
    }
    targets::hints(&mut page, &report.health)?;
    targets::targets(&mut page, &report.health.targets, style.all, &names)?;
    if style.all {
        all::findings(&mut page, &report.findings, &names)?;
        all::exchanges(&mut page, &report.exchanges, &names)?;
    }
    if let Some(history) = &report.host {
        host::section(&mut page, history, &report.servers)?;
    }
    logs::logs(&mut page, report, &names, style.all)?;
    unseen::unseen(&mut page, report, &names)?;
    page.blank()?;
    unseen::input(&mut page, report)?;
    for (n, command) in (0..).zip(handover::commands(report, page::WIDTH - page::LABEL)) {
        let label = page.paint(Ink::Label, if n == 0 { "Wireshark" } else { "" });
        let pad = page::LABEL - if n == 0 { "Wireshark".len() } else { 0 };
        page.line(&format!("{label}{:pad$}{}", "", words::clean(&command)))?;
    }
    Ok(())
}

/// The first lines: what came out.
pub(super) fn answer(report: &Report) -> Vec<Phrase> {
    headline::headline(report, &groups(report)).0
}

/// All parts on one line if they fit, else each on its own.
fn lines(parts: &[Phrase], lang: Lang) -> Vec<String> {
    let one = Phrase::list(parts.to_vec(), "; ").in_lang(lang).into_owned();
    if columns(&one) <= page::WIDTH {
        return vec![one];
    }
    parts.iter().flat_map(|part| super::words::wrap(&part.in_lang(lang), page::WIDTH)).collect()
}

/// The findings of one cause and kind.
pub(in crate::report) struct Group<'a> {
    pub(in crate::report) cause: &'static Cause,
    pub(in crate::report) kind: Kind,
    /// All of them, also those that were not kept.
    pub(in crate::report) count: u64,
    /// Never empty.
    pub(in crate::report) findings: Vec<&'a Finding>,
}

impl Group<'_> {
    /// `11 requests`.
    pub(in crate::report) fn what(&self) -> Phrase {
        plural(self.count, super::terms::kind(self.kind))
    }

    /// What the cause is; of answers of which it does not show who made them, that.
    pub(in crate::report) fn summary(&self) -> &'static str {
        match self.of_unknown_maker() {
            0 => self.cause.summary,
            n if n < self.count => {
                word!(
                    "a complete 5xx: the target's own, or maybe a proxy's where nobody is known to be responsible"
                )
            }
            _ => word!("a complete 5xx; whether the target or a proxy made it does not show"),
        }
    }

    /// Answers with a 5xx that a target may have made or a proxy.
    pub(in crate::report) fn of_unknown_maker(&self) -> u64 {
        let unknown = |finding: &&&Finding| {
            finding.cause.id == "target-own-5xx" && finding.responsible == Responsible::Unknown
        };
        self.findings.iter().filter(unknown).count() as u64
    }

    /// The case that shows the cause best: sure, little unseen, a request rather than none; the
    /// first of those.
    pub(in crate::report) fn typical(&self) -> &Finding {
        let rank = |finding: &&&Finding| {
            let unsure = std::cmp::Reverse(finding.confidence);
            (unsure, finding.blind_spots.iter().count(), finding.exchange.is_none())
        };
        self.findings.iter().min_by_key(rank).expect("a group has a finding")
    }
}

/// By cause and kind: first what clients saw, then failed attempts of proxies; the most frequent first.
pub(in crate::report) fn groups(report: &Report) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for finding in &report.findings {
        let same = |group: &&mut Group<'_>| {
            group.cause.id == finding.cause.id && group.kind == finding.kind
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.findings.push(finding),
            None => groups.push(Group {
                cause: finding.cause,
                kind: finding.kind,
                count: 0,
                findings: vec![finding],
            }),
        }
    }
    for group in &mut groups {
        group.count = group.findings.len() as u64;
        // Findings that a bound kept out are counted where it is clear whose they are.
        let kinds = report.findings.iter().filter(|finding| finding.cause.id == group.cause.id);
        if kinds.clone().all(|finding| finding.kind == group.kind) {
            let counted = report.summary.by_cause.get(group.cause.id).copied().unwrap_or(0);
            group.count = group.count.max(counted);
        }
    }
    groups.sort_by_key(|group| {
        (group.kind == Kind::Attempt, std::cmp::Reverse(group.count), group.cause.id)
    });
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    fn text(report: &Report, style: Style) -> String {
        fixture::written("text", report, &style)
    }

    #[test]
    fn a_report_looks_as_agreed() {
        fixture::same_as_file("snapshots/report.txt", &text(&fixture::report(), Style::default()));
    }

    #[test]
    fn a_japanese_report_looks_as_agreed() {
        let style = Style { lang: Lang::Ja, ..Style::default() };
        let shown = text(&fixture::report(), style);
        fixture::same_as_file("snapshots/report.ja.txt", &shown);
        for line in shown.lines() {
            assert!(columns(line) <= page::WIDTH, "{line}");
        }
    }

    #[test]
    fn ascii_keeps_japanese_words() {
        let style = Style { lang: Lang::Ja, ascii: true, ..Style::default() };
        let shown = text(&fixture::report(), style);
        assert!(shown.contains("原因") && !shown.contains(['│', '▶', '─', '→', '–']), "{shown}");
    }

    #[test]
    fn several_files_with_everything_in_ascii() {
        let style = Style { all: true, ascii: true, ..Style::default() };
        let text = text(&fixture::several_files(), style);
        assert!(text.is_ascii());
        fixture::same_as_file("snapshots/several-files-all-ascii.txt", &text);
    }

    #[test]
    fn an_empty_report_is_short() {
        assert_eq!(
            text(&Report::default(), Style::default()),
            "no packets, so nothing to judge\n\nRead nothing.\n"
        );
    }

    #[test]
    fn it_fits_and_colour_changes_no_letter() {
        let mut report = fixture::several_files();
        for finding in &mut report.findings {
            finding.client = crate::packet::Endpoint::v6([0xfd; 16], 65_535);
            finding.server = crate::packet::Endpoint::v6([0xfe; 16], 65_535);
            if let Some(request) = finding.exchange.as_mut().and_then(|e| e.request.as_mut()) {
                request.head = format!("GET /{} HTTP/1.1\r\n\r\n", "long".repeat(99)).into_bytes();
            }
        }
        let all = Style { all: true, ..Style::default() };
        let plain = text(&report, all);
        for line in plain.lines() {
            assert!(line.chars().count() <= page::WIDTH, "{line}");
        }
        let colour = text(&report, Style { color: true, ..all });
        assert_ne!(plain, colour);
        assert_eq!(plain, anstream::adapter::strip_str(&colour).to_string());
    }

    #[test]
    fn the_typical_case_is_a_sure_one() {
        let mut report = fixture::report();
        report.findings.swap(0, 2);
        assert_eq!(groups(&report)[0].findings[0].stream, Some(3));
        assert_eq!(groups(&report)[0].typical().stream, Some(2));
    }

    #[test]
    fn a_request_cannot_drive_the_terminal() {
        let mut report = fixture::report();
        for finding in &mut report.findings {
            finding.summary = "a\x1b[31m".into();
            finding.evidence[0].note = "b\x07".into();
            if let Some(request) = finding.exchange.as_mut().and_then(|e| e.request.as_mut()) {
                request.head = b"GET /\x1b]0;x HTTP/1.1\r\n\r\n".to_vec();
            }
        }
        report.captures[0].path = "\x1b[2J".into();
        report.captures[0].warnings = vec!["\x1b[2J".into()];
        assert!(!text(&report, Style { all: true, ..Style::default() }).contains(['\x1b', '\x07']));
    }
}
