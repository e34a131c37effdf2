//! Captures of the same connections, taken at several places: what one of them could not decide.
//!
//! Which place is nearer to the target follows from the packets, not from the order in which captures
//! were named: they lose TTL on their way, and a SYN gets there earlier than elsewhere, its answer
//! later.
//!
//! Segments that open or end a connection are compared first: they are the same packet at both places
//! when addresses, ports, sequence and acknowledgment number are; where a NAT lies between them, when
//! sequence number, acknowledgment number and the sender's timestamp are, and no other segment has
//! these. Of connections that failed, all segments are compared then.

mod clocks;
mod lost;
mod point;
mod retell;
#[cfg(test)]
mod testing;

pub use clocks::{Clocks, clocks};
pub use lost::{Traffic, tell_losses};
pub use point::{Connection, Point, SEGMENTS_MAX};
pub use retell::{Elsewhere, retell};

use crate::capture::CaptureInfo;

/// What is to say of the other captures as a whole.
pub fn remark(clocks: Option<&Clocks>, captures: &[CaptureInfo]) -> String {
    let names: Vec<&str> = captures.iter().map(|capture| capture.path.as_str()).collect();
    let names = names.join(", ");
    let Some(clocks) = clocks else {
        return format!(
            "{names}: no packet of the other capture point is in it; nothing was compared"
        );
    };
    let drift =
        clocks.drift.map_or(String::new(), |drift| format!(", drift {:.1} µs/s", drift / 1e3));
    let place = match clocks.nearer_server {
        Some(true) => "nearer to the targets",
        Some(false) => "nearer to the clients",
        None => "on which side does not show",
    };
    format!(
        "{names}: another capture point of the same connections, {place}, {pairs} packets found at both, its \
         clock {:+.3} ms apart{drift}",
        clocks.offset as f64 / 1e6,
        pairs = clocks.pairs,
    )
}
