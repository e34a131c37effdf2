//! Logs of load balancers and proxies, and what they say of the flows in a capture.
//!
//! ```text
//! files -> read -> wrapping -> kind -> aws | haproxy | envoy | combined | format | json | nginx_error | apache_error -> Line
//! ```
//!
//! A [`Line`] is what one line says, whatever its format. What is kept of it, an entry, is tied when all flows
//! are known:
//!
//! ```text
//! flows, exchanges -> seen `-> common -> index -> clock (offset) -> tie -> explain -> Logs
//! Line -> entry ----------'
//! ```

mod account;
mod apache_error;
mod apache_format;
mod aws;
mod both;
mod clients;
mod clock;
mod combined;
mod common;
mod connections;
mod copies;
mod correlate;
mod entry;
mod envoy;
mod explain;
mod fields;
mod fit;
mod follow;
mod format;
mod gather;
mod given;
mod haproxy;
mod haproxy_format;
mod index;
mod json;
mod keys;
mod kind;
mod line;
mod logs;
mod matching;
mod names;
mod nginx_error;
mod pairs;
mod read;
mod revise;
mod seen;
mod sequence;
mod servers;
#[cfg(test)]
mod testing;
mod text;
mod tie;
mod time;
mod upstream;
mod within;
mod wrapping;

pub use clock::Clock;
pub(crate) use correlate::correlate;
pub use entry::{Place, Words};
pub use explain::{DISAGREEMENTS_MAX, Disagreement, FAILING_MAX, Failing, WhyNot};
pub use fit::Leg;
pub use format::{Format, FormatError};
pub use gather::ENTRIES_MAX;
pub use kind::Kind;
pub use line::{Attempt, Attempts, Line, Tries};
pub use logs::{LogSettings, Logs, LogsError, Source, TIES_MAX, Tie, Watch};
pub use read::{LogError, LogFile};
pub use seen::{FLOWS_MAX, SEEN_MAX, Seen};
pub use tie::By;
