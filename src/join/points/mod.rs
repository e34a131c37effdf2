//! Captures of the same connections, taken at several places: what one of them could not decide.
//!
//! Which place is nearer to the target follows from the packets, not from the order in which captures
//! were named: they lose TTL on their way, and a SYN gets there earlier than elsewhere, its answer
//! later.
//!
//! What failed at any of them is told once: of connections that are at several places, as the place
//! nearest to the clients shows it, where more begins than arrives elsewhere.
//!
//! Segments that open or end a connection are compared first: they are the same packet at both places
//! when addresses, ports, sequence and acknowledgment number are; where a NAT lies between them, when
//! sequence number, acknowledgment number and the sender's timestamp are, and no other segment has
//! these. Of connections that failed, all segments are compared then.

mod absent;
mod answer;
mod behind;
mod clocks;
mod known;
mod lost;
mod point;
mod refused;
mod remarks;
mod retell;
#[cfg(test)]
mod testing;
mod unseen;

pub use behind::{tells_both, told_before};
pub use clocks::{Clocks, clocks};
pub use known::{Before, Connections, Known};
pub use lost::{Traffic, tell_losses};
pub use point::{Connection, Point, SEGMENTS_MAX};
pub use refused::refusals;
pub use remarks::{Added, base, compared};
pub use retell::{Elsewhere, nothing_arrived, retell};
pub use unseen::{Closes, close_unseen};
