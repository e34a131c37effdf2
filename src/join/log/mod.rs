//! Logs of load balancers and proxies, and what they say of the flows in a capture.
//!
//! ```text
//! files -> read -> kind -> aws | haproxy | envoy | combined | format | json | nginx_error -> Line
//! ```
//!
//! A [`Line`] is what one line says, whatever its format.

mod aws;
mod combined;
mod envoy;
mod format;
mod haproxy;
mod json;
mod kind;
mod line;
mod names;
mod nginx_error;
mod read;
mod text;
mod time;

pub use format::{Format, FormatError};
pub use kind::Kind;
pub use line::{Attempt, Line};
pub use read::{LogError, LogFile};
