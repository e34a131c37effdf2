//! Capture filters in libpcap's language (`man 7 pcap-filter`), applied to frames from any file.
//!
//! The only user of the `pcap` crate for files. A program is compiled per link type, since
//! offsets differ, and run on the captured bytes. Two limits follow from the crate: primitives
//! about the length (`len`, `greater`, `less`) see the captured length instead of the one on the
//! wire, and `inbound`/`outbound` work only where the bytes themselves tell the direction (Linux
//! cooked captures). A host name in an expression is resolved when it is compiled.

use std::collections::HashMap;

use pcap::{BpfProgram, Capture, Linktype};

use super::{Frame, LinkType};

/// An expression that libpcap does not compile.
#[derive(Debug, thiserror::Error)]
#[error("filter '{expression}': {reason}; the language is that of tcpdump, see man pcap-filter")]
pub struct FilterError {
    /// As the user wrote it.
    pub expression: String,
    /// What libpcap says.
    pub reason: String,
}

/// A capture filter for frames of any link type.
pub struct Filter {
    expression: String,
    /// `None`: does not compile for this link type.
    programs: HashMap<LinkType, Option<BpfProgram>>,
    warnings: Vec<String>,
}

impl Filter {
    /// Takes an expression that compiles for Ethernet.
    pub fn new(expression: &str) -> Result<Filter, FilterError> {
        let program = compile(expression, LinkType::ETHERNET)
            .map_err(|reason| FilterError { expression: expression.to_owned(), reason })?;
        Ok(Filter {
            expression: expression.to_owned(),
            programs: HashMap::from([(LinkType::ETHERNET, Some(program))]),
            warnings: Vec::new(),
        })
    }

    /// Whether the filter lets `frame` pass. Nothing passes whose link type the expression does
    /// not fit, see [`warnings`](Filter::warnings).
    pub fn matches(&mut self, frame: &Frame<'_>) -> bool {
        let Filter { expression, programs, warnings } = self;
        let program = programs.entry(frame.link).or_insert_with(|| {
            compile(expression, frame.link)
                .map_err(|reason| {
                    warnings.push(format!(
                        "filter '{expression}' does not fit {} frames, so none of them passed: \
                         {reason}",
                        frame.link.name()
                    ));
                })
                .ok()
        });
        program.as_ref().is_some_and(|program| program.filter(frame.bytes))
    }

    /// Link types that the expression does not fit, one sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

fn compile(expression: &str, link: LinkType) -> Result<BpfProgram, String> {
    let text = |error: pcap::Error| match error {
        pcap::Error::PcapError(text) => text,
        other => other.to_string(),
    };
    let capture = Capture::dead(Linktype(link.dlt())).map_err(text)?;
    capture.compile(expression, true).map_err(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Direction;
    use crate::time::Mark;

    /// An IPv4 packet from 10.0.0.1:80 to 10.0.0.2:81 without TCP options.
    const IP: [u8; 40] = [
        0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, // IP
        0, 80, 0, 81, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0, // TCP
    ];

    fn frame(link: u16, bytes: &[u8]) -> Frame<'_> {
        Frame {
            mark: Mark::default(),
            link: LinkType(link),
            bytes,
            wire_len: bytes.len() as u32,
            direction: Direction::Unknown,
        }
    }

    #[test]
    fn one_expression_fits_several_link_types() {
        let mut filter = Filter::new("tcp src port 80 and host 10.0.0.2").unwrap();
        let ethernet = [&[0; 12][..], &[8, 0], &IP].concat();
        let cooked = [&[0; 14][..], &[8, 0], &IP].concat();
        let loopback = [&[2, 0, 0, 0][..], &IP].concat();
        for (link, bytes) in [(1, &ethernet), (113, &cooked), (101, &IP.to_vec()), (0, &loopback)] {
            assert!(filter.matches(&frame(link, bytes)), "link type {link}");
        }
        assert!(!filter.matches(&frame(101, &[0; 40])));
        assert!(!filter.matches(&frame(101, &[])));
        assert!(filter.warnings().is_empty());
    }

    #[test]
    fn a_filter_that_does_not_fit_a_link_type_matches_nothing_and_says_so_once() {
        let mut filter = Filter::new("ether host 02:00:00:00:00:01").unwrap();
        assert!(!filter.matches(&frame(101, &IP)));
        assert!(!filter.matches(&frame(101, &IP)));
        assert_eq!(filter.warnings().len(), 1);
        assert!(filter.warnings()[0].contains("raw IP"), "{:?}", filter.warnings());
    }

    #[test]
    fn a_wrong_expression_is_an_error_that_names_it() {
        let error = Filter::new("port eighty").err().unwrap().to_string();
        assert!(error.starts_with("filter 'port eighty': "), "{error}");
        assert!(Filter::new("port 80\0").is_err());
    }
}
