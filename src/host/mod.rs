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
//! | `watch.rs`, `tracker.rs` | a look every second, and what happened between two |
//! | `event.rs`, `history.rs` | what happened, and what is remembered of it |
//! | `context.rs` | what the history says of a finding |
//! | `texts.rs` | the sentences |
//!
//! Sees the network namespace in which it runs, and no other: containers have their own
//! (`nsenter -t PID -n why502 host` looks into one). Only Linux is read.

mod addresses;
mod census;
mod context;
pub mod counters;
mod event;
pub mod facts;
#[cfg(test)]
pub(crate) mod fixture;
mod history;
#[cfg(target_os = "linux")]
mod linux;
pub mod texts;
#[cfg(any(test, target_os = "linux"))]
mod tracker;
mod triage;
#[cfg(target_os = "linux")]
mod watch;

pub use addresses::Addresses;
pub use census::{Census, Outgoing, State, States};
pub use counters::Counters;
pub use event::{Event, Happening};
pub use facts::{Facts, Listener, Process, Seen};
pub use history::{EVENTS_MAX, History, Port};
#[cfg(test)]
pub(crate) use triage::judge;
pub use triage::{Answer, Grade, PortTriage, Question, Triage};
#[cfg(target_os = "linux")]
pub use watch::{Watch, Watching};

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

/// Tells `each` what happens from now on, of `ports` or of every port that listens: for so many
/// seconds, or until it fails when there are none.
#[cfg(target_os = "linux")]
pub fn follow(
    ports: &[u16],
    seconds: Option<u32>,
    mut each: impl FnMut(&[Event]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut watch = Watch::open(ports);
    let mut left = seconds;
    while left != Some(0) {
        linux::rest_of_a_second(watch.history().seen.map_or_else(linux::now, |(_, last)| last));
        each(&watch.look())?;
        left = left.map(|left| left - 1);
    }
    Ok(())
}

/// Tells what happens from now on.
#[cfg(not(target_os = "linux"))]
pub fn follow(
    _ports: &[u16],
    _seconds: Option<u32>,
    _each: impl FnMut(&[Event]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// Looks at this host.
#[cfg(not(target_os = "linux"))]
pub fn look(_ports: &[u16]) -> Result<Triage, HostError> {
    Err(HostError::NotLinux)
}
