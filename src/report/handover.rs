//! From a report to Wireshark: the commands that cut out the packets and open them.

use super::Report;
use super::words;
use crate::capture::{CaptureInfo, LIVE};

/// Capture names in a command; of more the reader has the list at hand.
const FILES_MAX: usize = 4;

/// Commands that write the proof of the findings and open it, each at most `width` characters; none
/// when nothing was found or the input is gone.
pub(super) fn commands(report: &Report, width: usize) -> Vec<String> {
    // Standard input, an interface and the like cannot be read again.
    let gone = |capture: &CaptureInfo| {
        let path = &capture.path;
        let pipe = path == "-" || path.starts_with("/dev/") || path.starts_with("/proc/");
        pipe || capture.format == LIVE
    };
    let captures = &report.captures;
    if report.findings.is_empty() || captures.iter().any(gone) {
        return Vec::new();
    }
    let command = |captures: &str| format!("why502 slice {captures} -w proof.pcapng");
    let paths: Vec<String> = captures.iter().map(|capture| words::shell(&capture.path)).collect();
    let mut first = command(&paths.join(" "));
    if paths.len() > FILES_MAX || first.chars().count() > width {
        first = command(if paths.len() == 1 { "CAPTURE" } else { "CAPTURE..." });
    }
    vec![
        first,
        "wireshark -r proof.pcapng -Y 'frame.comment contains \"guilty packet\"'".to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn the_first_command_names_the_captures_where_there_is_room() {
        let mut report = fixture::report();
        report.captures[0].path = "two words.pcap".into();
        let first = |report: &Report, width| commands(report, width).swap_remove(0);
        assert_eq!(first(&report, 80), "why502 slice 'two words.pcap' -w proof.pcapng");
        assert_eq!(first(&report, 40), "why502 slice CAPTURE -w proof.pcapng");
        let several = fixture::several_files();
        assert!(first(&several, 90).contains(" a/web.pcap b/web.pcap db.pcap -w "));
    }

    #[test]
    fn there_is_none_without_findings_or_for_what_is_gone() {
        let mut report = fixture::report();
        report.captures[0].path = "-".into();
        assert!(commands(&report, 80).is_empty());
        report.captures[0].path = "eth0".into();
        report.captures[0].format = LIVE;
        assert!(commands(&report, 80).is_empty());
        report.captures[0] = CaptureInfo { path: "a.pcap".into(), ..CaptureInfo::default() };
        assert!(!commands(&report, 80).is_empty());
        report.findings.clear();
        assert!(commands(&report, 80).is_empty());
    }
}
