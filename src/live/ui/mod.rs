//! A full-screen view of what is found while it is found.
//!
//! ```text
//! board     what can be seen, in bounded memory; fed as a live::Follower
//!           rates, causes, targets, findings: its parts
//! view      what the user looks at: pane, selection, filter, pause; keys
//! draw      both on a terminal of any size
//! input     keys, read from the terminal
//! screen    the terminal: taken and given back, whatever happens
//! ```
//!
//! [`run()`] draws at most five times a second, and only when something has changed. The board is locked
//! to be copied and at no other time.

pub mod board;
pub mod causes;
mod draw;
pub mod findings;
mod input;
mod keys;
mod look;
pub mod rates;
mod run;
pub mod screen;
pub mod targets;
#[cfg(test)]
mod tests;
mod view;

pub use board::{Board, SharedBoard};
pub use run::run;
pub use screen::{Screen, ScreenError};
