//! Out-of-order bytes of one side, held until the bytes before them come or are given up.
//!
//! Invariants: `held` is sorted by offset, its ranges do not overlap, and it stays within
//! [`HELD_SEGMENTS`] and [`HELD_BYTES`]. The bytes that came first win an overlap; peers that
//! disagree with themselves are rare and no verdict rests on which copy was right.

use super::At;
use std::collections::VecDeque;

/// Segments held per side. A window of 4 MiB in segments of 16 KiB.
pub(crate) const HELD_SEGMENTS: usize = 256;
/// Bytes held per side.
pub(crate) const HELD_BYTES: usize = 1 << 20;

/// A segment that waits.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// Its place.
    pub(crate) at: At,
    /// Captured bytes.
    pub(crate) bytes: Box<[u8]>,
    /// Length in the stream; more than `bytes` when the snap length cut it.
    pub(crate) len: u64,
}

impl Held {
    fn end(&self) -> u64 {
        self.at.offset + self.len
    }
}

/// Holds out-of-order segments.
#[derive(Clone, Debug, Default)]
pub(crate) struct Assembler(Option<Box<Store>>);

#[derive(Clone, Debug, Default)]
struct Store {
    held: VecDeque<Held>,
    bytes: usize,
}

impl Assembler {
    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a bound is reached, so that the next insertion must be preceded by giving up a gap.
    pub(crate) fn is_full(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|store| store.held.len() >= HELD_SEGMENTS || store.bytes >= HELD_BYTES)
    }

    /// Memory that the waiting bytes take.
    pub(crate) fn memory(&self) -> usize {
        self.0.as_ref().map_or(0, |store| store.bytes + store.held.len() * size_of::<Held>())
    }

    /// Bytes of the stream that wait.
    pub(crate) fn stranded(&self) -> u64 {
        self.0.iter().flat_map(|store| &store.held).map(|held| held.len).sum()
    }

    /// Offset of the first byte held.
    pub(crate) fn first(&self) -> Option<u64> {
        Some(self.0.as_ref()?.held.front()?.at.offset)
    }

    /// Holds the part of a segment that is not held yet. `bytes` may be shorter than `len`.
    pub(crate) fn insert(&mut self, at: At, bytes: &[u8], len: u64) {
        let store = self.0.get_or_insert_default();
        let (mut start, end) = (at.offset, at.offset + len);
        let mut index = store.held.partition_point(|held| held.end() <= start);
        while start < end {
            let next = store.held.get(index).map_or(u64::MAX, |held| held.at.offset);
            let stop = end.min(next);
            if start < stop {
                let skip = ((start - at.offset) as usize).min(bytes.len());
                let take = ((stop - at.offset) as usize).min(bytes.len());
                let part = Held {
                    at: At { offset: start, ..at },
                    bytes: bytes[skip..take].into(),
                    len: stop - start,
                };
                store.bytes += part.bytes.len();
                store.held.insert(index, part);
                index += 1;
            }
            start = match store.held.get(index) {
                Some(held) if stop == held.at.offset => held.end(),
                _ => end,
            };
            index += 1;
        }
    }

    /// Takes out the first segment if it starts at or before `next`.
    pub(crate) fn pop_ready(&mut self, next: u64) -> Option<Held> {
        self.first().filter(|first| *first <= next)?;
        let store = self.0.as_mut()?;
        let held = store.held.pop_front()?;
        store.bytes -= held.bytes.len();
        if store.held.is_empty() {
            self.0 = None;
        }
        Some(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(offset: u64) -> At {
        At { offset, ..At::default() }
    }

    fn drain(assembler: &mut Assembler, mut next: u64) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(held) = assembler.pop_ready(next) {
            assert_eq!(held.at.offset, next);
            next = held.end();
            out.extend_from_slice(&held.bytes);
        }
        out
    }

    #[test]
    fn a_segment_that_bridges_two_holes_is_split() {
        let mut assembler = Assembler::default();
        assembler.insert(at(2), b"CD", 2);
        assembler.insert(at(6), b"GH", 2);
        assembler.insert(at(0), b"abcdefghij", 10);
        assert_eq!(drain(&mut assembler, 0), b"abCDefGHij");
        assert!(assembler.is_empty());
    }

    #[test]
    fn cut_bytes_keep_their_length() {
        let mut assembler = Assembler::default();
        assembler.insert(at(0), b"ab", 5);
        let held = assembler.pop_ready(0).expect("held");
        assert_eq!((held.len, &*held.bytes), (5, &b"ab"[..]));
    }

    proptest! {
        #[test]
        fn any_cover_of_a_range_gives_its_bytes(
            mut pieces in proptest::collection::vec((0_u64..40, 1_u64..12), 0..30), seed: u64
        ) {
            let text: Vec<u8> = (0..60).collect();
            pieces.extend((0..52).map(|start| (start, 1)));
            let turn = seed as usize % pieces.len();
            pieces.rotate_left(turn);
            let mut assembler = Assembler::default();
            for (start, len) in pieces {
                let range = start as usize..(start + len) as usize;
                assembler.insert(at(start), &text[range], len);
            }
            let out = drain(&mut assembler, 0);
            prop_assert!(out.len() >= 52);
            prop_assert_eq!(&out[..], &text[..out.len()]);
            prop_assert_eq!(assembler.memory(), 0);
        }
    }
}
