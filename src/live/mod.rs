//! `why502 live`: analyses what passes on this host as it happens.
//!
//! ```text
//! capture threads -> bounded queue -> analysis thread: run::Analysis -> listeners
//! one an interface                    merged by time                    lines -> bounded queue -> output thread
//! ```
//!
//! The same engine as offline: the report at the end is what an analysis of the same packets in a
//! file says. Beside it, verdicts are told as soon as they can be had
//! ([`Listener::early`](crate::run::Listener::early)).
//!
//! Nothing waits for what comes behind it: what a queue has no room for is dropped and counted. When
//! the analysis cannot keep up, whole connections are left out (`overload`). The clock is read
//! here and nowhere else; it is what ends silence.

mod analyse;
mod assets;
mod batch;
mod budget;
mod capture;
mod choose;
mod clock;
mod command;
pub mod evidence;
mod keeper;
mod keys;
mod lines;
mod link;
mod measure;
mod merge;
pub mod metrics;
mod outage;
mod overload;
mod privileges;
mod run;
mod seccomp;
pub mod ui;
mod view;

pub use analyse::{Follower, Standing};
pub use assets::Asset;
pub use budget::MEMORY_MIN;
pub use capture::How;
pub use choose::{Chosen, Selection, list};
pub use command::command;
pub use lines::Form;
pub use privileges::User;
pub use run::{LiveError, Options, Outcome, run};
