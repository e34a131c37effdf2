//! Which traffic is health checks, and whose.
//!
//! ```text
//! tap         flows and exchanges in, candidate checks (Sighting) out; runs inside the engine
//! recognise   candidates in, recognised checks (Recognised) out; holds what is not decided yet
//! catalogue   the known probers, from data files
//! ```

#[cfg(test)]
mod cases;
mod catalogue;
mod chain;
mod evidence;
mod facts;
mod file;
mod group;
mod head;
mod opening;
mod outage;
mod pattern;
mod period;
mod prober;
mod recognise;
mod requests;
mod rule;
mod sighting;
mod source;
mod tap;
#[cfg(test)]
mod testing;
mod texts;
mod verdict;

pub use catalogue::Catalogue;
pub use evidence::{Evidence, EvidenceSet};
pub use facts::{
    HeaderCase, NAMES_MAX, ProxyCommand, ProxyHeader, RequestFacts, ResponseFacts, ResponseTexts,
    VALUE_KEPT,
};
pub use file::FileError;
pub use prober::{Basis, Class, Close, Defaults, Keeps, Prober, Timer};
pub use recognise::{Recogniser, Unweighed};
pub use sighting::{ANSWER_KEPT, Marks, OPENING_KEPT, Scope, Shape, Sighting};
pub use tap::Habit;
pub(crate) use tap::{Sightings, Tap, Watch};
pub use verdict::{CheckerId, GroupId, Reason, Recognised, Verdict};
