//! The arguments of `why502 slice`.

use super::Input;
use crate::health::HealthFlags;
use crate::slice::Extent;
use clap::{Args, ValueHint};
use std::path::PathBuf;

/// What to cut out of captures.
#[derive(Args, Debug)]
pub struct Slice {
    /// What to read.
    #[command(flatten, next_help_heading = "Input")]
    pub input: Input,
    /// What is known of health checks.
    #[command(flatten, next_help_heading = "Health checks")]
    pub health: HealthFlags,
    /// Write the pcapng to this file, or to standard output (-); it appears when it is complete
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub write: PathBuf,
    /// Keep all packets of the connections with findings, not only those that prove them
    #[arg(long, help_heading = "Output")]
    pub whole_flows: bool,
    /// Keep every packet and only add comments
    #[arg(long, conflicts_with = "whole_flows", help_heading = "Output")]
    pub annotate: bool,
    /// Keep only what proves this cause; can be repeated
    #[arg(long, value_name = "ID", hide_possible_values = true, help_heading = "Selection")]
    pub cause: Vec<String>,
    /// Show no progress and no messages on standard error
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,
    /// Show no progress; without a terminal there is none anyway
    #[arg(long, hide_short_help = true, help_heading = "Output")]
    pub no_progress: bool,
    /// Exit with 1 when there are findings
    #[arg(long, help_heading = "Output")]
    pub exit_code: bool,
}

impl Slice {
    /// How much is kept.
    pub fn extent(&self) -> Extent {
        match (self.annotate, self.whole_flows) {
            (true, _) => Extent::Everything,
            (false, true) => Extent::WholeFlows,
            (false, false) => Extent::Proof,
        }
    }
}

pub(super) const EXAMPLES: &str = "\
Examples:
  why502 slice capture.pcap -w proof.pcapng && wireshark proof.pcapng
  why502 slice --cause keepalive-race --whole-flows capture.pcap -w races.pcapng
  why502 slice --annotate capture.pcap.gz -w capture.pcapng
  tshark -r proof.pcapng -T fields -e frame.comment";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause;
    use crate::cli::{Command, parse};

    fn parsed(args: &str) -> Result<Slice, String> {
        let args = ["why502", "slice"].into_iter().chain(args.split_whitespace());
        match parse(args, cause::ALL).map_err(|error| error.to_string())?.command {
            Some(Command::Slice(slice)) => Ok(*slice),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn it_takes_what_an_analysis_takes() {
        let slice = parsed(
            "a.pcap - -w out.pcapng -f tcp --cause keepalive-race --vantage lb --probers p.toml \
             --lb-type alb --whole-flows -q --exit-code",
        )
        .unwrap();
        assert_eq!(slice.input.captures, ["a.pcap", "-"].map(PathBuf::from));
        assert_eq!(slice.cause, ["keepalive-race"]);
        assert_eq!(slice.extent(), Extent::WholeFlows);
        assert!(slice.quiet && slice.exit_code && slice.input.vantage.given().is_some());
        assert_eq!(parsed("a -w o").unwrap().extent(), Extent::Proof);
        assert_eq!(parsed("a -w o --annotate").unwrap().extent(), Extent::Everything);
    }

    #[test]
    fn what_cannot_work_is_refused() {
        assert!(parsed("a.pcap").unwrap_err().contains("--write <FILE>"));
        assert!(parsed("-w o").unwrap_err().contains("<CAPTURE>"));
        assert!(parsed("a -w o --annotate --whole-flows").unwrap_err().contains("--whole-flows"));
        assert!(parsed("a -w o --cause keepalive-rase").unwrap_err().contains("keepalive-race"));
    }
}
