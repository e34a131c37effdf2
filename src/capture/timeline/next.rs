//! Which open capture gives the next frame.

use std::cmp::Ordering;

use crate::capture::reader::{Reader, Record};
use crate::time::Timestamp;

/// When a file is due: time of its next frame, then its index, so that equal times have an order.
pub(super) type Turn = (Timestamp, u32);

/// An open capture.
pub(super) struct Open {
    pub(super) index: u32,
    pub(super) reader: Reader,
    /// The frame that is next, or that was lent last.
    pub(super) record: Record,
    pub(super) lent: bool,
}

/// By its next frame.
pub(super) struct Next(pub(super) Box<Open>);

impl Next {
    pub(super) fn turn(&self) -> Turn {
        (self.0.record.at, self.0.index)
    }
}

impl PartialEq for Next {
    fn eq(&self, other: &Next) -> bool {
        self.turn() == other.turn()
    }
}

impl Eq for Next {}

impl PartialOrd for Next {
    fn partial_cmp(&self, other: &Next) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Next {
    fn cmp(&self, other: &Next) -> Ordering {
        self.turn().cmp(&other.turn())
    }
}
