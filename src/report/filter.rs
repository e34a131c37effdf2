//! Wireshark display filters that show a finding.
//!
//! Wireshark numbers streams per file, so that a filter is good for one file only.

use crate::cause::{Finding, What};
use std::fmt::Write as _;

/// Shows the finding's whole connection, and ICMP errors about it that Wireshark may not count
/// to the stream. The guilty frame is named in the evidence, in its context it says more.
pub(super) fn of_finding(finding: &Finding) -> String {
    let mut filter = match finding.stream {
        Some(stream) => format!("tcp.stream eq {stream}"),
        None => conversation(finding),
    };
    for evidence in finding.evidence.iter().filter(|evidence| evidence.what == What::Icmp) {
        let _ = write!(filter, " or frame.number eq {}", evidence.mark.frame.number());
    }
    filter
}

/// As Wireshark's own "Conversation Filter" writes it; good for any file.
pub(super) fn conversation(finding: &Finding) -> String {
    let (client, server) = (finding.client.socket(), finding.server.socket());
    let ip = if client.is_ipv4() { "ip" } else { "ipv6" };
    format!(
        "({ip}.addr eq {} and {ip}.addr eq {}) and (tcp.port eq {} and tcp.port eq {})",
        client.ip(),
        server.ip(),
        client.port(),
        server.port()
    )
}

/// Most streams that one filter names: what a person would paste.
const STREAMS_MAX: usize = 20;

/// One filter for many findings of one file, at most `width` characters when that is possible,
/// and how many of their streams it leaves out.
pub(super) fn of_many(findings: &[&Finding], width: usize) -> (String, u64) {
    let mut streams: Vec<u32> = findings.iter().filter_map(|finding| finding.stream).collect();
    streams.sort_unstable();
    streams.dedup();
    let without = findings.iter().filter(|finding| finding.stream.is_none()).count();
    if streams.len() <= 1 {
        let Some(first) = findings.iter().max_by_key(|finding| finding.stream.is_some()) else {
            return (String::new(), 0);
        };
        let left = if streams.is_empty() { without.saturating_sub(1) } else { without };
        return (of_finding(first), left as u64);
    }
    let mut taken = streams.len().min(STREAMS_MAX);
    loop {
        let filter = format!("tcp.stream in {{{}}}", ranges(&streams[..taken]));
        if taken == 1 || filter.len() <= width {
            return (filter, (streams.len() - taken + without) as u64);
        }
        taken -= 1;
    }
}

/// `3, 7..9, 12`
fn ranges(sorted: &[u32]) -> String {
    let mut out = String::new();
    let mut rest = sorted;
    while let Some(first) = rest.first() {
        let run = rest.iter().zip(0..).take_while(|(stream, n)| **stream - first == *n).count();
        let last = rest[run - 1];
        if !out.is_empty() {
            out.push_str(", ");
        }
        let _ = match run {
            1 => write!(out, "{first}"),
            2 => write!(out, "{first}, {last}"),
            _ => write!(out, "{first}..{last}"),
        };
        rest = &rest[run..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn a_stream_is_enough() {
        assert_eq!(of_finding(&fixture::race(7)), "tcp.stream eq 7");
    }

    #[test]
    fn without_a_stream_addresses_and_ports_name_it() {
        let finding = Finding { stream: None, ..fixture::race(7) };
        assert_eq!(
            of_finding(&finding),
            "(ip.addr eq 10.0.1.7 and ip.addr eq 10.0.2.9) and (tcp.port eq 40007 and tcp.port eq 8080)"
        );
    }

    #[test]
    fn an_icmp_error_is_shown_too() {
        let mut finding = fixture::race(7);
        finding.evidence[0].what = What::Icmp;
        let frame = finding.evidence[0].mark.frame.number();
        assert_eq!(of_finding(&finding), format!("tcp.stream eq 7 or frame.number eq {frame}"));
    }

    #[test]
    fn neighbouring_streams_become_ranges() {
        assert_eq!(ranges(&[1, 2, 3, 7, 9, 10, u32::MAX]), "1..3, 7, 9, 10, 4294967295");
    }

    #[test]
    fn a_filter_for_many_is_bounded() {
        let findings: Vec<Finding> = (0..50).map(|n| fixture::race(2 * n)).collect();
        let all: Vec<&Finding> = findings.iter().collect();
        let (filter, left) = of_many(&all, 1000);
        assert!(filter.starts_with("tcp.stream in {0, 2, 4,"), "{filter}");
        assert_eq!((filter.matches(',').count(), left), (19, 30));
        let (narrow, left) = of_many(&all, 30);
        assert!(narrow.len() <= 30 && left > 30, "{narrow} {left}");
        assert_eq!(of_many(&all[..1], 80), ("tcp.stream eq 0".to_owned(), 0));
    }
}
