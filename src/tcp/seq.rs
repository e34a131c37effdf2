//! Sequence numbers as offsets in a stream.
//!
//! A sequence number is 32 bits and wraps; a stream of this tool counts bytes in 64 bits from the
//! first byte after SYN. [`Base`] translates between the two around a known position.

use crate::shorthand::Shorthand;

/// Sequence number of a stream's byte 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Base(u32);

impl Base {
    /// `seq` is the sequence number of the first byte of the stream.
    pub(crate) fn new(seq: u32) -> Base {
        Base(seq)
    }

    /// Its field, in shorthand.
    pub(crate) fn fields(&mut self, shorthand: &mut impl Shorthand) {
        shorthand.u32(&mut self.0);
    }

    /// The stream's byte 0 follows a SYN with this sequence number.
    pub(crate) fn after_syn(isn: u32) -> Base {
        Base(isn.wrapping_add(1))
    }

    /// Signed offset of `seq`, taken as the one nearest to offset `near` (RFC 7323, 5.2: a
    /// difference of less than 2^31 either way). Negative: before byte 0.
    pub(crate) fn offset(self, seq: u32, near: u64) -> i64 {
        let here = self.0.wrapping_add(near as u32);
        near as i64 + i64::from(seq.wrapping_sub(here) as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn offsets_wrap_with_the_sequence_space() {
        let base = Base::after_syn(u32::MAX - 1);
        assert_eq!(base.offset(u32::MAX, 0), 0);
        assert_eq!(base.offset(0, 0), 1);
        assert_eq!(base.offset(u32::MAX - 1, 0), -1);
    }

    proptest! {
        #[test]
        fn an_offset_survives_the_way_to_a_sequence_number_and_back(
            isn: u32, near in 0_u64..1 << 40, delta in -(1_i64 << 30)..1 << 30
        ) {
            let base = Base::after_syn(isn);
            let offset = near as i64 + delta;
            let seq = isn.wrapping_add(1).wrapping_add(offset as u32);
            prop_assert_eq!(base.offset(seq, near), offset);
        }
    }
}
