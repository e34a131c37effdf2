//! What is to say of several places as a whole.

use super::clocks::Clocks;
use crate::phrase;
use crate::words::{Phrase, plural, seconds};

/// Further apart than this, one of two clocks is wrong, not only inexact, nanoseconds: hosts that keep
/// time at all differ by less than a minute.
const WRONG: i64 = 60 * 1_000_000_000;
/// Nanoseconds in a second that clocks drift apart which keep time: quartz runs within 100 ppm of
/// true time (RFC 5905, 4 and 11.3 allow 500 ppm), each to its own side.
const DRIFT_MAX: f64 = 1_000_000.0;

/// How another place compares with the one that findings are told of. `files` are its own.
pub fn compared(files: &Phrase, clocks: Option<&Clocks>) -> Vec<Phrase> {
    let Some(clocks) = clocks else {
        return vec![phrase!(
            "{files}: no packet of the other capture point is in it; nothing was compared",
            files
        )];
    };
    let place = match clocks.nearer_server {
        Some(true) => crate::word!("nearer to the targets"),
        Some(false) => crate::word!("nearer to the clients"),
        None => crate::word!("on which side does not show"),
    };
    let pairs = plural(clocks.pairs as u64, "packet");
    let apart = format!("{:+.3}", clocks.offset as f64 / 1e6);
    let mut said = vec![match clocks.drift {
        None => phrase!(
            "{files}: another capture point of the same connections, {place}, {pairs} found at both, its clock {apart} ms apart",
            files,
            place,
            pairs,
            apart
        ),
        Some(drift) => phrase!(
            "{files}: another capture point of the same connections, {place}, {pairs} found at both, its clock {apart} ms apart, drift {drift} µs/s",
            files,
            place,
            pairs,
            apart,
            drift = format!("{:.1}", drift / 1e3)
        ),
    }];
    if clocks.jumps {
        said.push(phrase!(
            "{files}: times of one of the captures jump against those of the other: one of them was changed or is damaged, and nothing was compared",
            files
        ));
    }
    if clocks.offset.saturating_abs() > WRONG {
        said.push(phrase!(
            "{files}: its clock is {apart} from that of the other capture; one of the two is wrong, and which one does not show: compare times with logs only after checking",
            files,
            apart = seconds(clocks.offset as f64 / 1e9)
        ));
    }
    if let Some(drift) = clocks.drift.filter(|drift| drift.abs() > DRIFT_MAX) {
        said.push(phrase!(
            "{files}: the two clocks drift apart by {percent} %, more than clocks do: times of one of the captures were changed or are damaged, and durations in it are wrong",
            files,
            percent = format!("{:.2}", drift / 1e7)
        ));
    }
    said
}

/// Which place findings are told of, where it is not the one that was named first.
pub fn base(files: &Phrase) -> Phrase {
    phrase!(
        "{files}: told as seen there, nearest to the clients; what only other captures show is added",
        files
    )
}

/// What a place adds to that.
#[derive(Clone, Copy, Debug, Default)]
pub struct Added {
    /// Failures that no other place tells of.
    pub findings: u64,
    /// Flows that are at no other place.
    pub flows: u64,
    /// Requests in them.
    pub requests: u64,
    /// Health checks of targets that other places show as well, but not these checks.
    pub checks: u64,
    /// Failures of which nothing shows whether another place tells of them.
    pub unclear: u64,
}

impl Added {
    /// In words.
    pub fn remarks(&self, files: &Phrase) -> Vec<Phrase> {
        let mut said = Vec::new();
        if self.findings + self.flows > 0 {
            said.push(phrase!(
                "{files}: only here are {findings}, {flows} and {requests}; they are counted",
                files,
                findings = plural(self.findings, "failure"),
                flows = plural(self.flows, "connection"),
                requests = plural(self.requests, "request")
            ));
        }
        if self.checks > 0 {
            said.push(phrase!(
                "{files}: only here are {checks} of targets that are told as seen elsewhere; these are not in their timelines",
                files,
                checks = plural(self.checks, "health check")
            ));
        }
        if self.unclear > 0 {
            said.push(phrase!(
                "{files}: {failures} left out, as nothing shows whether the other capture tells them already",
                files,
                failures = plural(self.unclear, "failure")
            ));
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn apart(offset: i64, drift: Option<f64>) -> Clocks {
        Clocks {
            offset,
            since: Timestamp(0),
            drift,
            pairs: 9,
            nearer_server: Some(true),
            renamed: false,
            misses: false,
            jumps: false,
        }
    }

    fn said(offset_s: i64, drift: Option<f64>) -> usize {
        let clocks = apart(offset_s * 1_000_000_000, drift);
        compared(&"a.pcap".into(), Some(&clocks)).len()
    }

    #[test]
    fn times_are_told_anew_only_where_clocks_are_apart_for_sure() {
        let at = Timestamp(7);
        assert_eq!(apart(-26_000_000, None).told(at), at);
        assert_eq!(apart(3_000_000_000, None).told(at), Timestamp(3_000_000_007));
    }

    #[test]
    fn a_clock_that_is_wrong_is_told() {
        // Some seconds and 300 ppm are usual; then clocks that were never set, or run a third too fast.
        assert_eq!(said(14, Some(300_000.0)), 1);
        assert_eq!(said(-83 * 86_400, None), 2);
        assert_eq!(said(0, Some(-3e8)), 2);
        assert_eq!(said(1_700_000_000, Some(3e8)), 3);
    }
}
