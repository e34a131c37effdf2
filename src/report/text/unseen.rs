//! What could not be seen, and what was read.

use super::names::Names;
use super::page::Page;
use crate::report::{Report, terms, words};
use crate::time::Timestamp;
use std::cmp::Reverse;
use std::io;

/// Lists what limits the verdicts; writes nothing when all was seen.
pub(super) fn unseen(page: &mut Page<'_>, report: &Report, names: &Names) -> io::Result<()> {
    let lines = lines(report, names);
    if lines.is_empty() {
        return Ok(());
    }
    page.blank()?;
    page.heading("What could not be seen")?;
    for line in lines {
        page.hanging("  ", &line)?;
    }
    Ok(())
}

pub(in crate::report) fn lines(report: &Report, names: &Names) -> Vec<String> {
    let summary = &report.summary;
    let mut lines = Vec::new();
    if summary.unknown_requests > 0 {
        let requests = words::plural(summary.unknown_requests, "request");
        lines.push(format!("{requests} whose outcome the capture does not show"));
    }
    for (spot, n) in summary.blind_spots.iter().filter(|(_, n)| **n > 0) {
        lines.push(format!("{}: {} ({})", words::plural(*n, "flow"), spot.meaning(), spot.id()));
    }
    for (file, capture) in (0..).zip(&report.captures) {
        let name = if names.several() { format!("{}: ", names.file(file)) } else { String::new() };
        if let Some(offset) = capture.damaged_at {
            let at = words::count(offset);
            lines
                .push(format!("{name}the file is damaged at byte {at}; what follows was not read"));
        }
        if capture.kernel_drops > 0 {
            let drops = words::plural(capture.kernel_drops, "packet");
            lines.push(format!("{name}the capturing host dropped {drops}"));
        }
        if capture.cut_frames > 0 {
            let cut = words::plural(capture.cut_frames, "packet");
            lines.push(format!("{name}{cut} cut by the snap length (capture with -s 0)"));
        }
        lines.extend(capture.warnings.iter().map(|warning| format!("{name}{warning}")));
    }
    lines.extend(report.warnings.iter().cloned());
    for (bound, n) in summary.bounds.iter().filter(|(_, n)| **n > 0) {
        lines.push(format!("{bound}: {} (a memory bound was reached)", words::count(*n)));
    }
    let mut skipped: Vec<(&String, &u64)> =
        summary.skipped.iter().filter(|(_, n)| **n > 0).collect();
    if !skipped.is_empty() {
        skipped.sort_by_key(|(id, n)| (Reverse(**n), *id));
        let total = words::plural(skipped.iter().map(|(_, n)| **n).sum(), "packet");
        let reasons: Vec<String> = skipped
            .iter()
            .map(|(id, n)| format!("{} {}", words::count(**n), terms::skipped(id)))
            .collect();
        lines.push(format!("{total} without TCP to look at: {}", reasons.join(", ")));
    }
    lines
}

/// File names in the last line; a rotated set can have thousands.
const FILES_MAX: usize = 3;

/// The last line: files, packets, requests, time span.
pub(in crate::report) fn input(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    let captures = &report.captures;
    if captures.is_empty() {
        return page.line("Read nothing.");
    }
    let mut files: Vec<&str> =
        captures.iter().take(FILES_MAX).map(|capture| capture.path.as_str()).collect();
    let more = captures.len().saturating_sub(FILES_MAX);
    let more = format!("{} more", words::count(more as u64));
    if captures.len() > FILES_MAX {
        files.push(&more);
    }
    let summary = &report.summary;
    let span = match (
        captures.iter().filter_map(|capture| capture.first).min(),
        captures.iter().filter_map(|capture| capture.last).max(),
    ) {
        (Some(first), Some(last)) => span(first, last),
        _ => String::new(),
    };
    let read = format!(
        "Read {}: {}, {}, {}{span}",
        files.join(", "),
        words::plural(summary.packets, "packet"),
        words::plural(summary.flows, "TCP flow"),
        words::plural(summary.exchanges, "request")
    );
    page.hanging("", &read)
}

/// `, 2026-11-21 10:00:00 to 10:10:00 UTC (10 min 0 s)`
pub(in crate::report) fn span(first: Timestamp, last: Timestamp) -> String {
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
    let length = words::seconds(last.since(first));
    format!(", {first_day} {first_time} to {day}{last_time} UTC ({length})")
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
        assert_eq!(lines(&report, &Names::new(&report.captures)), [] as [&str; 0]);
    }

    #[test]
    fn all_that_limits_a_verdict_is_listed() {
        let report = fixture::several_files();
        let text = lines(&report, &Names::new(&report.captures)).join("\n");
        for part in [
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
