//! What health checks found out, and how healthy each target is over time.
//!
//! ```text
//! given     what the user gave, checked against what the vendor allows
//! settings  that, the vendor's defaults, what the packets suggest
//! judge     the facts of one check -> its outcome
//! checker   what is known of the same check of one target from all its sources
//! series    checks in the order of time -> states of each node and of the whole
//! watch     takes in checks and connections, gives out targets
//!           absence, triage, remarks, advice: what to say of a target at the end
//! ```
//!
//! Knows recognised checks and finished connections; never packets, never how they are shown.

mod absence;
mod advice;
mod checker;
pub mod config;
mod counted;
mod dialogue;
mod flags;
pub mod given;
pub mod judge;
mod judge_http;
mod judge_tls;
pub mod matcher;
pub mod outcome;
mod remarks;
mod series;
pub mod settings;
pub mod state;
mod strands;
mod target;
#[cfg(test)]
pub(crate) mod testing;
pub mod texts;
mod traffic;
mod triage;
pub mod vendor;
mod watch;

pub use flags::HealthFlags;
pub use outcome::{Effect, Outcome};
pub use settings::{Origin, Protocol, RawGroup, Setting, SettingError, Settings, TargetGroup};
pub use state::{Change, State};
pub use target::{
    Absence, Answer, Check, Entry, Health, Node, Note, Point, ProberHealth, Target, Users,
};
pub use watch::{Events, Patience, Setup, Silent, Watch};
