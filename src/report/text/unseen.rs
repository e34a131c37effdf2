//! What could not be seen, and what was read.

use super::names::Names;
use super::page::Page;
use crate::http::Protocol;
use crate::report::{Report, terms};
use crate::time::Timestamp;
use crate::words::{Phrase, count, plural};
use crate::{phrase, word};
use std::cmp::Reverse;
use std::io;

/// Lists what limits the verdicts; writes nothing when all was seen.
pub(super) fn unseen(page: &mut Page<'_>, report: &Report, names: &Names) -> io::Result<()> {
    let lines = lines(report, names);
    if lines.is_empty() {
        return Ok(());
    }
    page.blank()?;
    page.heading(word!("What could not be seen"))?;
    for line in lines {
        page.hanging("  ", &line)?;
    }
    Ok(())
}

pub(in crate::report) fn lines(report: &Report, names: &Names) -> Vec<Phrase> {
    let summary = &report.summary;
    let mut lines = Vec::new();
    if summary.unknown_requests > 0 {
        let requests = plural(summary.unknown_requests, "request");
        lines.push(phrase!("{requests} whose outcome the capture does not show", requests));
    }
    for (spot, n) in summary.blind_spots.iter().filter(|(_, n)| **n > 0) {
        lines.push(phrase!(
            "{n}: {meaning} ({spot})",
            n = plural(*n, "flow"),
            meaning = spot.meaning(),
            spot = spot.id()
        ));
    }
    let http2 = summary.protocols.get(&Protocol::Http2).copied().unwrap_or_default();
    if http2 > 0 {
        let flows = plural(http2, "flow");
        lines.push(phrase!(
            "{flows} of HTTP/2, which is not looked into: what failed on it is not told",
            flows
        ));
    }
    for (file, capture) in (0..).zip(&report.captures) {
        let name = if names.several() { format!("{}: ", names.file(file)) } else { String::new() };
        if let Some(offset) = capture.damaged_at {
            let at = count(offset);
            lines.push(phrase!(
                "{name}the file is damaged at byte {at}; what follows may not be all there",
                name = &name,
                at
            ));
        }
        if capture.kernel_drops > 0 {
            let drops = plural(capture.kernel_drops, "packet");
            lines.push(phrase!("{name}the capturing host dropped {drops}", name = &name, drops));
        }
        if capture.cut_frames > 0 {
            let cut = plural(capture.cut_frames, "packet");
            lines.push(phrase!(
                "{name}{cut} cut by the snap length (capture with -s 0)",
                name = &name,
                cut
            ));
        }
        lines.extend(
            capture
                .warnings
                .iter()
                .map(|warning| phrase!("{name}{warning}", name = &name, warning)),
        );
    }
    lines.extend(report.warnings.iter().cloned());
    for (bound, n) in summary.bounds.iter().filter(|(_, n)| **n > 0) {
        lines.push(phrase!(
            "{bound}: {n} (a memory bound was reached)",
            bound = *bound,
            n = count(*n)
        ));
    }
    let mut skipped: Vec<(&String, &u64)> =
        summary.skipped.iter().filter(|(_, n)| **n > 0).collect();
    if !skipped.is_empty() {
        skipped.sort_by_key(|(id, n)| (Reverse(**n), *id));
        let total = plural(skipped.iter().map(|(_, n)| **n).sum(), "packet");
        let reasons: Vec<Phrase> = skipped
            .iter()
            .map(|(id, n)| phrase!("{n} {skipped}", n = count(**n), skipped = terms::skipped(id)))
            .collect();
        lines.push(phrase!(
            "{total} without TCP to look at: {reasons}",
            total,
            reasons = Phrase::list(reasons, ", ")
        ));
    }
    lines
}

/// File names in the last line; a rotated set can have thousands.
const FILES_MAX: usize = 3;

/// The last line: files, packets, requests, time span.
pub(in crate::report) fn input(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    let captures = &report.captures;
    if captures.is_empty() {
        return page.paragraph("", word!("Read nothing."));
    }
    let mut files: Vec<Phrase> =
        captures.iter().take(FILES_MAX).map(|capture| capture.path.clone().into()).collect();
    let more = captures.len().saturating_sub(FILES_MAX);
    if more > 0 {
        files.push(phrase!("{n} more", n = count(more as u64)));
    }
    let summary = &report.summary;
    let span = match (
        captures.iter().filter_map(|capture| capture.first).min(),
        captures.iter().filter_map(|capture| capture.last).max(),
    ) {
        (Some(first), Some(last)) => span(first, last),
        _ => Phrase::default(),
    };
    let read = phrase!(
        "Read {files}: {packets}, {flows}, {requests}{span}",
        files = Phrase::list(files, ", "),
        packets = plural(summary.packets, "packet"),
        flows = plural(summary.flows, "TCP flow"),
        requests = plural(summary.exchanges, "request"),
        span
    );
    page.paragraph("", &read)
}

/// `, 2026-11-21 10:00:00 to 10:10:00 UTC (10 min 0 s)`
pub(in crate::report) fn span(first: Timestamp, last: Timestamp) -> Phrase {
    let parts = |at: Timestamp| {
        let text = at.to_string();
        let seconds = text.split('.').next().unwrap_or_default();
        seconds
            .split_once('T')
            .map(|(day, time)| (day.to_owned(), time.to_owned()))
            .unwrap_or_default()
    };
    let ((first_day, first_time), (last_day, last_time)) = (parts(first), parts(last));
    let day = if first_day == last_day { String::new() } else { format!("{last_day} ") };
    let length = crate::words::seconds(last.since(first));
    phrase!(
        ", {first_day} {first_time} to {day}{last_time} UTC ({length})",
        first_day,
        first_time,
        day,
        last_time,
        length
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn a_clean_capture_hides_nothing() {
        let mut report = fixture::report();
        report.summary.unknown_requests = 0;
        report.summary.blind_spots.clear();
        report.summary.skipped.clear();
        assert!(lines(&report, &Names::new(&report.captures)).is_empty());
    }

    #[test]
    fn all_that_limits_a_verdict_is_listed() {
        let mut report = fixture::several_files();
        report.summary.protocols.insert(Protocol::Http2, 2);
        let text = Phrase::list(lines(&report, &Names::new(&report.captures)), "\n").to_string();
        for part in [
            "2 flows of HTTP/2, which is not looked into",
            "3 requests whose outcome",
            "9 flows: the start of the connection is not in the capture (no-handshake)",
            "b/web.pcap: the file is damaged at byte 1 234 567",
            "b/web.pcap: the capturing host dropped 17 packets",
            "db.pcap: 40 packets cut",
            "db.pcap: the last packet is cut off",
            "findings kept: 3 (a memory bound was reached)",
            "a/web.pcap and b/web.pcap overlap in time",
            "2 443 packets without TCP to look at: 2 431 UDP, 12 ARP",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn the_span_names_a_second_day() {
        let day = 86_400_000_000_000;
        assert_eq!(
            span(Timestamp(0), Timestamp(day + 1_000_000_000)),
            ", 1970-01-01 00:00:00 to 1970-01-02 00:00:01 UTC (1 d 0 h)"
        );
    }
}
