//! What logs say of the same requests: how many lines belong to packets, which failing ones do not and
//! why, and where log and packets differ.

use super::names::Names;
use super::page::Page;
use crate::cause::Confidence;
use crate::join::log::{Failing, Logs, Source, Tie};
use crate::report::{Report, words};
use crate::words::{Phrase, count, plural, seconds};
use crate::{phrase, word};
use std::collections::BTreeMap;
use std::io;

/// Failing lines without packets that are listed without `--all`.
const LISTED: usize = 10;
/// Longest request that is shown.
const REQUEST_MAX: usize = 60;

/// Causes of findings by flow and ordinal.
type Causes = BTreeMap<(u64, u32), &'static str>;

/// Writes nothing without logs.
pub(super) fn logs(
    page: &mut Page<'_>,
    report: &Report,
    names: &Names,
    all: bool,
) -> io::Result<()> {
    let Some(logs) = &report.logs else { return Ok(()) };
    page.blank()?;
    page.heading(word!("Logs"))?;
    for it in &logs.sources {
        page.hanging("  ", source(logs, it))?;
    }
    let unread = || logs.unread();
    let unused = logs.unused.iter().map(|(named, why)| (named.as_str(), why.as_str()));
    let others = unused.filter(|unused| unread().all(|unread| unread.0 != unused.0));
    for (file, why) in unread().chain(others) {
        page.hanging("  ", format!("{file}: {why}"))?;
    }
    failing(page, logs, report, names, all)?;
    let most = if all { usize::MAX } else { LISTED };
    if !logs.disagreements.is_empty() {
        page.blank()?;
        page.heading(word!("Where log and packets differ"))?;
        for it in logs.disagreements.iter().take(most) {
            let tie = logs.at(it.place).find(|tie| tie.flow == it.flow);
            let (line, what) = (place(logs, it.place), it.what.clone());
            let said = match tie.map(|tie| names.frame(tie.mark.frame)) {
                Some(frame) => phrase!("{line}, frame {frame}: {what}", line, frame, what),
                // It is tied to no packet itself: another line of the same request is.
                None => phrase!("{line}: {what}", line, what),
            };
            page.hanging("  ", said)?;
        }
        more(page, logs.disagreements.len(), most)?;
    }
    for (bound, n) in &logs.bounds {
        page.hanging("  ", format!("{bound}: {n}"))?;
    }
    Ok(())
}

/// Lines, joined ones, damaged ones, the clock.
fn source(logs: &Logs, source: &Source) -> Phrase {
    let name = source.kind.map_or("", |kind| kind.name());
    let (path, lines) = (source.path.clone(), plural(source.lines, "line"));
    let damaged = |first| {
        let first = place(logs, first);
        phrase!("{n} damaged (the first: {first})", n = count(source.bad), first)
    };
    // Only the first counts: of what is of another time, nothing else is known.
    if source.in_time == 0
        && let (Some((first, last)), Some((from, to))) = (source.range, logs.span)
    {
        let [first, last, from, to] = [first, last, from, to].map(words::time);
        let mut parts = vec![phrase!(
            "{path} ({name}): {lines}, none from the time of the capture: the log is from {first} to {last}, the capture from {from} to {to}",
            path,
            name,
            lines,
            first,
            last,
            from,
            to,
        )];
        parts.extend(source.first_bad.map(damaged));
        return Phrase::list(parts, ", ");
    }
    let joined = count(source.joined);
    let tied = if source.in_time + source.bad + source.copies >= source.lines {
        phrase!("{path} ({name}): {lines}, {joined} tied to packets", path, name, lines, joined)
    } else {
        phrase!(
            "{path} ({name}): {lines}, {near} of them from the time of the capture: {joined} tied to packets",
            path,
            name,
            lines,
            near = count(source.in_time),
            joined
        )
    };
    let mut parts = vec![tied];
    if source.copies > 0 {
        parts.push(phrase!("{n} copies of others", n = count(source.copies)));
    }
    if source.possible > 0 {
        parts.push(phrase!("{n} perhaps", n = count(source.possible)));
    }
    if source.ambiguous > 0 {
        parts.push(phrase!("{n} fit several requests", n = count(source.ambiguous)));
    }
    let told = source.joined + source.possible + source.ambiguous;
    if let Some(rest) = source.in_time.checked_sub(told).filter(|rest| *rest > 0) {
        parts.push(phrase!("{n} tied to nothing", n = count(rest)));
    }
    parts.extend(source.first_bad.map(damaged));
    let clock = &source.clock;
    let away = seconds(clock.offset.unsigned_abs() as f64 / 1e9);
    let agreeing = count(clock.agreeing);
    let Some(certainty) = clock.certainty else {
        parts.push(phrase!("its clock could not be compared with the capture's"));
        return Phrase::list(parts, ", ");
    };
    parts.push(match clock.offset {
        0.. => {
            phrase!("its clock is {away} behind the capture's, by {agreeing} pairs", away, agreeing)
        }
        _ => phrase!(
            "its clock is {away} ahead of the capture's, by {agreeing} pairs",
            away,
            agreeing
        ),
    });
    if certainty < Confidence::Certain {
        parts.push(phrase!("which is {certainty}", certainty = certainty.id()));
    }
    Phrase::list(parts, ", ")
}

/// Failing lines: those without packets one by one, the others with `--all`.
fn failing(
    page: &mut Page<'_>,
    logs: &Logs,
    report: &Report,
    names: &Names,
    all: bool,
) -> io::Result<()> {
    let total: u64 = logs.sources.iter().map(|source| source.failing).sum();
    if total == 0 {
        return Ok(());
    }
    let joined: u64 = logs.sources.iter().map(|source| source.failing_joined).sum();
    let other: u64 = logs.sources.iter().map(|source| source.failing_other_time).sum();
    let mut reasons: BTreeMap<_, u64> = BTreeMap::new();
    for why in logs.failing.iter().filter_map(|failing| failing.why_not) {
        *reasons.entry(why).or_default() += 1;
    }
    let mut parts = vec![phrase!("{joined} tied to packets", joined = count(joined))];
    if other > 0 {
        parts.push(phrase!("{n} of another time", n = count(other)));
    }
    for (why, n) in &reasons {
        parts.push(phrase!("{n} not: {why}", n = count(*n), why = why.what()));
    }
    let lines = plural(total, "failing line");
    page.hanging("  ", phrase!("{lines}: {reasons}", lines, reasons = Phrase::list(parts, "; ")))?;
    let most = if all { usize::MAX } else { LISTED };
    let shown: Vec<&Failing> =
        logs.failing.iter().filter(|it| all || it.why_not.is_some()).collect();
    let causes: Causes = report
        .findings
        .iter()
        .map(|it| ((it.flow, it.exchange.as_ref().map_or(0, |it| it.ordinal)), it.cause.id))
        .collect();
    for it in shown.iter().take(most) {
        page.hanging("    ", line(logs, it, &causes, names))?;
    }
    more(page, shown.len(), most)
}

fn more(page: &mut Page<'_>, total: usize, most: usize) -> io::Result<()> {
    match total.checked_sub(most) {
        None | Some(0) => Ok(()),
        Some(left) => {
            page.hanging("    ", phrase!("and {n} more (--all lists them)", n = count(left as u64)))
        }
    }
}

/// One failing line: where it is, what it says, what it belongs to or why nothing.
fn line(logs: &Logs, failing: &Failing, causes: &Causes, names: &Names) -> Phrase {
    let mut parts = vec![place(logs, failing.place).into()];
    if !failing.words.request.is_empty() {
        parts.push(words::shorten(&failing.words.request, REQUEST_MAX).into());
    }
    parts.push(failing.words.said().into());
    let flow = failing.ties(logs).next();
    if let Some(tie) = flow {
        let frame = names.frame(tie.mark.frame);
        let cause = causes.get(&(tie.flow, tie.ordinal)).copied().unwrap_or(word!("no finding"));
        parts.push(phrase!("frame {frame} ({cause})", frame, cause));
    }
    if let Some(why) = failing.why_not {
        parts.push(Phrase::fixed(why.what()));
    }
    if let Some(cause) = failing.own_cause {
        parts.push(Phrase::fixed(cause));
    }
    Phrase::list(parts, ": ")
}

fn place(logs: &Logs, place: crate::join::log::Place) -> String {
    format!("{}:{}", logs.path(place), place.line)
}

/// The log line of a finding, in place of what would find it.
pub(super) fn of_tie(logs: &Logs, tie: &Tie) -> Phrase {
    let mut said = match &tie.words {
        Some(words) => words.said(),
        None => {
            let text = |status: Option<u16>| status.map_or("-".to_owned(), |it| it.to_string());
            format!("status {}, upstream {}", text(tie.status), text(tie.target_status))
        }
    };
    if let Some(it) = tie.disagreement.and_then(|n| logs.disagreements.get(n)) {
        said = format!("{said}; {}", it.what);
    }
    phrase!(
        "{place}: {said} ({certainty})",
        place = place(logs, tie.place),
        said,
        certainty = tie.certainty.id(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Style, fixture};
    use crate::time::Timestamp;

    #[test]
    fn lines_their_packets_and_what_they_lack_are_told() {
        let mut report = fixture::report();
        let typical = super::super::groups(&report)[0].typical().clone();
        report.logs = Some(Logs::sample(&typical));
        let all = Style { all: true, ..Style::default() };
        let cause = typical.cause.id;
        let text = fixture::written("text", &report, &all)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        for part in [
            "logs (ALB access log): 20 lines, 17 tied to packets, 1 perhaps, 1 fit several requests, 1 damaged (the first: logs/alb.gz:3), its clock is 3.20 s ahead of the \
             capture's, by 11 pairs",
            "logs/alb.gz: cut short",
            "3 failing lines: 1 tied to packets; 1 of another time; 1 not: sent to no target",
            "logs/alb.gz:7: GET /a: elb_status_code 502, error_reason -: frame",
            &format!("({cause})"),
            "error_reason -: sent to no target: lb-no-target",
            "the log says 502, the packets show 200",
            "In the log logs/alb.gz:7: elb_status_code 502, error_reason -; the log says 502",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let logs = report.logs.as_mut().unwrap();
        logs.span = Some((Timestamp(3_600_000_000_000), Timestamp(3_601_000_000_000)));
        logs.sources[0].in_time = 0;
        let other = source(logs, &logs.sources[0]).to_string();
        assert!(
            other.starts_with(
                "logs (ALB access log): 20 lines, none from the time of the capture: the log is from \
                 1970-01-01T00:00:00.000000Z to 1970-01-01T00:01:00.000000Z, the capture from 1970-01-01T01:00:00.0"
            ),
            "{other}"
        );
        (logs.sources[0].lines, logs.sources[0].in_time) = (90, 23);
        let some = source(logs, &logs.sources[0]).to_string();
        assert!(
            some.contains(
                "90 lines, 23 of them from the time of the capture: 17 tied to packets, 1 perhaps, 1 fit several \
                 requests, 4 tied to nothing, 1 damaged"
            ),
            "{some}"
        );
        let short = fixture::written("text", &report, &Style::default());
        assert!(!short.contains("logs/alb.gz:7: GET"), "{short}");
        report.logs = None;
        assert!(!fixture::written("text", &report, &all).contains("\nLogs"));
    }
}
