//! The arguments of `why502 live` where it does not work: whatever they are, it says so.

use super::CauseParser;
use clap::{Args, Command};

/// What would be captured.
#[derive(Args, Debug)]
pub struct Live {
    /// Works on Linux only
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub any: Vec<String>,
}

pub(super) const EXAMPLES: &str = "Works on Linux only; elsewhere read a capture of tcpdump.";

/// There is no `--cause` here.
pub(super) fn with_causes(live: Command, _: CauseParser) -> Command {
    live
}
