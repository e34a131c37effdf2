//! Capture time, the only clock of the engine.

use std::fmt;
use std::num::NonZeroU64;

/// Nanoseconds since the Unix epoch, UTC, as the capture recorded them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Seconds from `earlier` to `self`; negative when `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> f64 {
        self.nanos_since(earlier) as f64 / 1e9
    }

    /// Nanoseconds from `earlier` to `self`, saturating.
    pub fn nanos_since(self, earlier: Timestamp) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The time `nanos` later.
    pub fn after(self, nanos: i64) -> Timestamp {
        Timestamp(self.0.saturating_add(nanos))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with nine decimals, the form of every time in a report.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = jiff::Timestamp::from_nanosecond(i128::from(self.0))
            .expect("every i64 of nanoseconds lies within jiff's years -9999 to 9999");
        write!(f, "{at:.9}")
    }
}

/// A frame of one of the captures read: which file, and its number there.
///
/// Packed into eight bytes because every record of the engine carries some of them: 24 bits of
/// file and 40 bits of number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameId(NonZeroU64);

impl FrameId {
    const NUMBER_BITS: u32 = 40;

    /// `file` is the index of the capture in the report, `number` counts from 1 as Wireshark's.
    pub fn new(file: u32, number: u64) -> FrameId {
        let id = (u64::from(file) << Self::NUMBER_BITS) | (number & ((1 << Self::NUMBER_BITS) - 1));
        // One more than the id, so that an optional mark takes no more room than a mark.
        FrameId(NonZeroU64::MIN.saturating_add(id))
    }

    /// Index of the capture file in the report's list.
    pub fn file(self) -> u32 {
        (self.id() >> Self::NUMBER_BITS) as u32
    }

    /// Frame number within its file, from 1, as Wireshark shows it.
    pub fn number(self) -> u64 {
        self.id() & ((1 << Self::NUMBER_BITS) - 1)
    }

    fn id(self) -> u64 {
        self.0.get() - 1
    }
}

impl Default for FrameId {
    fn default() -> FrameId {
        FrameId(NonZeroU64::MIN)
    }
}

/// Where and when something was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The frame.
    pub frame: FrameId,
    /// Its capture time.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_id_keeps_file_and_number() {
        let id = FrameId::new(70_000, 5_000_000_000);
        assert_eq!((id.file(), id.number()), (70_000, 5_000_000_000));
    }

    #[test]
    fn times_print_as_rfc_3339_with_nanoseconds() {
        assert_eq!(
            Timestamp(1_258_577_884_822_720_000).to_string(),
            "2009-11-18T20:58:04.822720000Z"
        );
        assert_eq!(Timestamp(-1).to_string(), "1969-12-31T23:59:59.999999999Z");
        let _ = (Timestamp(i64::MIN).to_string(), Timestamp(i64::MAX).to_string());
    }

    #[test]
    fn differences_do_not_overflow() {
        assert_eq!(Timestamp(i64::MIN).nanos_since(Timestamp(1)), i64::MIN);
    }
}
