//! Hand-made checks for the tests of this folder.

use super::outcome::Outcome;
use super::target::Check;
use crate::blind::BlindSpots;
use crate::cause::{Confidence, What};
use crate::flow::Vantage;
use crate::packet::Endpoint;
use crate::time::{FrameId, Mark, Timestamp};

pub(super) const SECOND: i64 = 1_000_000_000;
pub(super) const MS: i64 = SECOND / 1000;

/// A frame of that time; its number is the time in milliseconds.
pub(super) fn mark(nanos: i64) -> Mark {
    Mark { frame: FrameId::new(0, (nanos / MS) as u64), at: Timestamp(nanos) }
}

/// A check at that second by a node; the letter is that of its outcome, `?` one that is not known.
pub(super) fn check(second: i64, node: u8, letter: char) -> Check {
    let at = second * SECOND;
    Check {
        flow: second as u64,
        stream: Some(second as u32),
        ordinal: 1,
        alone: true,
        frame: mark(at),
        began: Timestamp(at),
        source: Endpoint::v4([10, 0, 1, node], 40_000 + second as u16),
        target: Endpoint::v4([10, 0, 2, 9], 8080),
        outcome: Outcome::ALL.into_iter().find(|outcome| outcome.letter() == letter),
        confidence: Confidence::Certain,
        decisive: mark(at),
        what: What::Response,
        note: String::new(),
        status: None,
        latency: None,
        duration: None,
        gave_up_after: None,
        connect: None,
        request: None,
        request_len: 0,
        body: None,
        sent: None,
        location: None,
        server: None,
        content_type: None,
        answered: 0,
        accepted: None,
        syn: None,
        tls: false,
        left_open: None,
        rtt: None,
        rtt_variation: None,
        vantage: Vantage::Unknown,
        blind_spots: BlindSpots::NONE,
    }
}
