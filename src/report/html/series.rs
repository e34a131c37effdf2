//! Requests and failures over time, one count per span: what the timeline stacks.

use super::data;
use crate::over_time::OverTime;
use crate::report::text::Group;
use crate::report::{Report, failed_at};
use crate::time::Timestamp;
use serde::Serialize;

/// Causes with a colour of their own; the rest are drawn as one.
pub(super) const COLOURS: usize = 7;
/// More spans than this only where enough happened to fill them.
const FEW_SPANS: usize = 150;

/// Counts on one axis.
#[derive(Serialize)]
pub(super) struct Series {
    /// Start of the first span, nanoseconds since the base.
    start: i64,
    /// Length of a span, nanoseconds.
    width: i64,
    /// First and last packet, nanoseconds since the base.
    reach: (i64, i64),
    /// Requests that did not fail.
    sound: Vec<u64>,
    /// Failures of each group of findings, as many as there are colours; the last is the rest.
    failures: Vec<Failures>,
}

/// Failures of one cause.
#[derive(Serialize)]
struct Failures {
    /// Index in `groups`; null for the rest.
    group: Option<usize>,
    counts: Vec<u64>,
}

/// Counts them; `None` when nothing happened.
pub(super) fn series(report: &Report, groups: &[Group<'_>], base: Timestamp) -> Option<Series> {
    let mut asked = OverTime::default();
    let mut failed = vec![OverTime::default(); groups.len().min(COLOURS) + 1];
    let rest = failed.len() - 1;
    let place = |cause: &str, kind: &str| {
        groups
            .iter()
            .take(COLOURS)
            .position(|group| group.cause.id == cause && group.kind.id() == kind)
            .unwrap_or(rest)
    };
    for finding in &report.findings {
        let Some(at) = failed_at(finding) else { continue };
        failed[place(finding.cause.id, finding.kind.id())].add(at);
        if data::is_request(finding) {
            asked.add(at);
        }
    }
    for ((cause, kind), unlisted) in &report.unlisted {
        failed[place(cause, kind)].merge(unlisted);
        if *kind == "request" {
            asked.merge(unlisted);
        }
    }
    let mut all = vec![report.requests.clone(), asked];
    all.append(&mut failed);
    for at in report.captures.iter().flat_map(|capture| [capture.first, capture.last]).flatten() {
        all[0].reach(at);
    }
    OverTime::align(&mut all);
    let events = |all: &[OverTime]| -> u64 { all.iter().flat_map(OverTime::counts).sum() };
    while all[0].counts().len() > FEW_SPANS && events(&all) < all[0].counts().len() as u64 {
        all.iter_mut().for_each(OverTime::coarsen);
    }
    let [requests, asked, failed @ ..] = all.as_slice() else { return None };
    let start = requests.start()?;
    let sound = requests.counts().zip(asked.counts());
    let sound: Vec<u64> = sound.map(|(all, failed)| all.saturating_sub(failed)).collect();
    let ends = |at: Option<Timestamp>| at.unwrap_or(start).nanos_since(base);
    let reach = (
        ends(report.captures.iter().filter_map(|capture| capture.first).min()),
        ends(report.captures.iter().filter_map(|capture| capture.last).max()),
    );
    let failures = failed.iter().enumerate().map(|(n, counts)| Failures {
        group: (n < rest).then_some(n),
        counts: counts.counts().collect(),
    });
    Some(Series {
        start: start.nanos_since(base),
        width: requests.width(),
        reach,
        sound,
        failures: failures.filter(|failures| failures.counts.iter().any(|n| *n > 0)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{fixture, text};

    #[test]
    fn a_failed_request_is_counted_once_and_only_as_failed() {
        let mut report = fixture::report();
        for _ in 0..10 {
            report.requests.add(failed_at(&report.findings[0]).unwrap());
        }
        let groups = text::groups(&report);
        let series = series(&report, &groups, report.captures[0].first.unwrap()).unwrap();
        let of = |n: usize| series.failures[n].counts.iter().sum::<u64>();
        assert_eq!(series.sound.iter().sum::<u64>(), 6);
        assert_eq!(series.failures[0].group, Some(0));
        assert_eq!(of(0), 4);
        assert!(series.sound.len() == series.failures[0].counts.len());
        assert_eq!(series.reach, (0, 600_250_000_000));
    }

    #[test]
    fn what_was_too_much_to_list_is_in_the_picture() {
        let mut report = fixture::report();
        let late = report.captures[0].last.unwrap();
        for _ in 0..7 {
            report.unlisted.entry(("connect-refused", "connection")).or_default().add(late);
            report.unlisted.entry(("lb-cut", "request")).or_default().add(late);
        }
        let groups = text::groups(&report);
        let series = series(&report, &groups, Timestamp(0)).unwrap();
        let last: Vec<u64> =
            series.failures.iter().map(|failures| *failures.counts.last().unwrap()).collect();
        assert_eq!(last, [0, 7, 7]);
        assert_eq!(series.failures[2].group, None);
    }

    #[test]
    fn nothing_has_no_axis() {
        assert!(series(&Report::default(), &[], Timestamp(0)).is_none());
    }
}
