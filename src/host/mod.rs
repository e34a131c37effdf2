//! What the host itself says beside the packets: who listens, queues, counters, limits, what was killed.
//!
//! `why502 host` prints it alone; a capture on this host joins it to its findings. It explains, and never decides:
//! a verdict rests on packets, what the host adds stands beside it with its own origin.
//!
//! | file | holds |
//! |---|---|
//! | `facts.rs` | one reading of the host, plain data |
//! | `linux/` | how it is read: procfs, sock_diag, control groups |
//! | `census.rs` | sockets by state, and the ports used towards each destination |
//! | `triage.rs` | the questions and how each is judged |
//! | `texts.rs` | the sentences |
//!
//! Sees the network namespace in which it runs, and no other: containers have their own
//! (`nsenter -t PID -n why502 host` looks into one). Only Linux is read.

mod census;
pub mod counters;
pub mod facts;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(target_os = "linux")]
mod linux;
pub mod texts;
mod triage;

pub use census::{Census, Outgoing, State, States};
pub use counters::Counters;
pub use facts::{Facts, Listener, Process, Seen};
#[cfg(test)]
pub(crate) use triage::judge;
pub use triage::{Answer, Grade, PortTriage, Question, Triage};

/// Why there is nothing to tell.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Not Linux.
    #[error("why502 host reads /proc and sock_diag of Linux, which this system does not have")]
    NotLinux,
}

/// Looks at this host and judges what it sees: of `ports`, or of every port that listens when none is given.
/// Takes a second, between the two readings of the counters.
#[cfg(target_os = "linux")]
pub fn look(ports: &[u16]) -> Result<Triage, HostError> {
    let mut reader = linux::Reader::new();
    let before = reader.counters();
    let begun = linux::now();
    let mut facts = reader.facts(ports);
    linux::rest_of_a_second(begun);
    facts.before = before;
    facts.counters = reader.counters();
    facts.between = linux::now().since(begun);
    Ok(triage::judge(facts, ports))
}

/// Looks at this host.
#[cfg(not(target_os = "linux"))]
pub fn look(_ports: &[u16]) -> Result<Triage, HostError> {
    Err(HostError::NotLinux)
}
