//! Parts of the text report, for those who show what is found while it is found.

use super::text::causes;
use super::text::headline::headline;
use super::text::names::Names;
use super::text::page::{Ink, Page};
use super::text::{Group, table};
use super::{Report, Style, words};
use crate::capture::CaptureInfo;
use crate::cause::Finding;
use crate::http::Exchange;
use crate::phrase;
use crate::words::Phrase;
use std::io;

/// How many findings there are of the cause and kind of one of them.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'a> {
    /// How many.
    pub count: u64,
    /// One of them.
    pub finding: &'a Finding,
}

/// What the answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Something failed.
    Bad,
    /// Nothing failed.
    Good,
    /// There is nothing to judge yet.
    Neutral,
}

/// The first line of the text report as it would be now, in parts that may each stand on a line of
/// their own. Of `report` it takes the counts and the targets, of the findings what is `counted`, the
/// most frequent first.
pub fn answer(report: &Report, counted: &[Counted<'_>]) -> (Vec<Phrase>, Tone) {
    let groups: Vec<Group<'_>> = counted
        .iter()
        .map(|counted| Group {
            cause: counted.finding.cause,
            kind: counted.finding.kind,
            count: counted.count,
            findings: vec![counted.finding],
        })
        .collect();
    let summary = &report.summary;
    let (mut parts, ink) = headline(report, &groups);
    // What there is instead of requests is known when connections are over.
    if summary.exchanges + summary.encrypted_requests + summary.failed_requests == 0 {
        parts.pop();
        let packets = words::plural(summary.packets, "packet");
        parts.push(phrase!("no request so far in {packets}", packets));
    }
    let tone = match ink {
        Ink::Bad => Tone::Bad,
        Ink::Good => Tone::Good,
        _ => Tone::Neutral,
    };
    (parts, tone)
}

/// What the text report says of a cause with this finding alone: the case, its packets as a ladder,
/// who has to act, how sure that is, the fix and a display filter. Lines of at most `width` columns
/// where that is possible. `captures` are the interfaces by the file of their frames.
pub fn case(
    finding: &Finding,
    captures: &[CaptureInfo],
    width: usize,
    style: &Style,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let (cause, kind) = (finding.cause, finding.kind);
    let group = Group { cause, kind, count: 1, findings: vec![finding] };
    let mut page = Page::live(width, *style, out);
    causes::cause(&mut page, &group, &Report::default(), &Names::new(captures))
}

/// `POST /api/orders`; empty when the request's head was not captured.
pub fn asked(exchange: &Exchange) -> String {
    table::request_line(exchange).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn the_answer_is_that_of_the_report() {
        let report = fixture::report();
        let groups = super::super::text::groups(&report);
        let counted: Vec<Counted<'_>> = groups
            .iter()
            .map(|group| Counted { count: group.count, finding: group.findings[0] })
            .collect();
        let (parts, tone) = answer(&report, &counted);
        let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
        assert_eq!((parts, tone), (crate::report::answer(&report), Tone::Bad));
    }

    #[test]
    fn before_the_first_request_nothing_is_judged() {
        let mut report = Report::default();
        report.summary.packets = 1_204;
        let (parts, tone) = answer(&report, &[]);
        assert_eq!(parts[0].as_str(), "no request so far in 1 204 packets");
        assert_eq!((parts.len(), tone), (1, Tone::Neutral));
    }

    #[test]
    fn a_case_is_told_as_in_the_report() {
        let mut out = Vec::new();
        case(&fixture::race(2), &[], 100, &Style::default(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("keepalive-race: 1 request\n"), "{text}");
        for label in ["The case", "<== guilty", "Responsible", "Fix", "ip.addr eq 10.0.1.7"] {
            assert!(text.contains(label), "{label}: {text}");
        }
        // No file has that number, and it would be another one in each.
        assert!(!text.contains("tcp.stream"), "{text}");
    }
}
