//! `why502 host`.

use super::ListFormat;
use clap::Args;

pub(super) const EXAMPLES: &str = "\
Examples:
  why502 host                        every port that listens, the worst first
  why502 host --port 8080            one port, question by question
  why502 host --port 8080 --watch    and then what happens, as it happens
  nsenter -t PID -n why502 host      the network namespace of a container

Every answer is ok, look, bad or 'cannot be seen', with the reason. Without root it does not see which
process of another user listens.";

/// What to look at on this host.
#[derive(Args, Debug)]
pub struct HostArgs {
    /// Port to look at; can be repeated
    #[arg(short, long, value_name = "PORT", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Vec<u16>,
    /// Form of the table
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub format: ListFormat,
    /// Then tell what happens, for this many seconds, or until interrupted
    ///
    /// Restarts of what listens, full queues, overflows, OOM kills, ports that run out. With json, one
    /// object a line.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "0")]
    pub watch: Option<u32>,
}
