//! Blind spots: the named reasons why we may not know.

use crate::shorthand::Shorthand;
use std::fmt;

/// Why the packets at hand could hide another truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum BlindSpot {
    /// The connection was open before the capture began, or its handshake was not captured.
    NoHandshake,
    /// Segments that existed are not in the capture.
    Gap,
    /// The snap length cut bytes off.
    Snaplen,
    /// Only one direction of the connection was captured.
    OneDirection,
    /// The bytes are encrypted.
    Encrypted,
    /// The capture began in the middle of this.
    CaptureStart,
    /// The capture ended before this was decided.
    CaptureEnd,
    /// The capturing host reports that it dropped packets.
    KernelDrops,
    /// State was dropped to stay within a memory bound.
    Evicted,
}

impl BlindSpot {
    /// Every blind spot, in the order of the report.
    pub const ALL: [BlindSpot; 9] = [
        BlindSpot::NoHandshake,
        BlindSpot::Gap,
        BlindSpot::Snaplen,
        BlindSpot::OneDirection,
        BlindSpot::Encrypted,
        BlindSpot::CaptureStart,
        BlindSpot::CaptureEnd,
        BlindSpot::KernelDrops,
        BlindSpot::Evicted,
    ];

    /// Stable id, as JSON and text print it.
    pub fn id(self) -> &'static str {
        match self {
            BlindSpot::NoHandshake => "no-handshake",
            BlindSpot::Gap => "gap",
            BlindSpot::Snaplen => "snaplen",
            BlindSpot::OneDirection => "one-direction",
            BlindSpot::Encrypted => "encrypted",
            BlindSpot::CaptureStart => "capture-start",
            BlindSpot::CaptureEnd => "capture-end",
            BlindSpot::KernelDrops => "kernel-drops",
            BlindSpot::Evicted => "evicted",
        }
    }

    /// What it means for the reader of a report.
    pub fn meaning(self) -> &'static str {
        match self {
            BlindSpot::NoHandshake => "the start of the connection is not in the capture",
            BlindSpot::Gap => "packets that existed are missing from the capture",
            BlindSpot::Snaplen => "packets were cut by the snap length (capture with -s 0)",
            BlindSpot::OneDirection => "only one direction of the connection was captured",
            BlindSpot::Encrypted => "the bytes are encrypted",
            BlindSpot::CaptureStart => "it began before the capture did",
            BlindSpot::CaptureEnd => "the capture ended before it was decided",
            BlindSpot::KernelDrops => "the capturing host dropped packets",
            BlindSpot::Evicted => "state was dropped to stay within the memory bound",
        }
    }
}

/// A set of blind spots.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct BlindSpots(u16);

impl BlindSpots {
    /// No blind spot.
    pub const NONE: BlindSpots = BlindSpots(0);

    /// Adds one.
    pub fn add(&mut self, spot: BlindSpot) {
        self.0 |= 1 << spot as u8;
    }

    /// The union of both.
    #[must_use]
    pub fn with(self, other: BlindSpots) -> BlindSpots {
        BlindSpots(self.0 | other.0)
    }

    /// Whether `spot` is among them.
    pub fn has(self, spot: BlindSpot) -> bool {
        self.0 & (1 << spot as u8) != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those present, in the order of [`BlindSpot::ALL`].
    pub fn iter(self) -> impl Iterator<Item = BlindSpot> {
        BlindSpot::ALL.into_iter().filter(move |spot| self.has(*spot))
    }
}

impl BlindSpots {
    /// Its fields, in shorthand.
    pub(crate) fn fields(&mut self, shorthand: &mut impl Shorthand) {
        shorthand.u16(&mut self.0);
    }
}

impl From<BlindSpot> for BlindSpots {
    fn from(spot: BlindSpot) -> BlindSpots {
        BlindSpots(1 << spot as u8)
    }
}

impl FromIterator<BlindSpot> for BlindSpots {
    fn from_iter<I: IntoIterator<Item = BlindSpot>>(spots: I) -> BlindSpots {
        spots.into_iter().fold(BlindSpots::NONE, |set, spot| set.with(spot.into()))
    }
}

impl fmt::Debug for BlindSpots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(BlindSpot::id)).finish()
    }
}
