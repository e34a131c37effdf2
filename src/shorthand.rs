//! Records in few bytes: for what has to be kept a million times and is hardly ever looked at.
//!
//! A record lists its fields once, in a function that takes a [`Shorthand`]. A [`Writer`] notes them
//! down one by one, a [`Reader`] puts back what was noted. A zero takes one bit, as most fields of a record say that
//! something did not happen; other numbers take as many bytes as they need beside that (LEB128). Times and frames are
//! told relative to those before them, which are near and often the same.

use crate::time::{FrameId, Mark, Timestamp};

/// Takes the fields of a record in their order.
pub(crate) trait Shorthand {
    /// Notes `value` down and gives it back, or gives back what was noted in its place.
    fn word(&mut self, value: u64) -> u64;

    /// What times and frames are told relative to: those that were told last.
    fn near(&mut self) -> &mut Mark;

    /// A number.
    fn u64(&mut self, value: &mut u64) {
        *value = self.word(*value);
    }

    /// A number.
    fn u32(&mut self, value: &mut u32) {
        *value = self.word(u64::from(*value)) as u32;
    }

    /// A number.
    fn u16(&mut self, value: &mut u16) {
        *value = self.word(u64::from(*value)) as u16;
    }

    /// A number.
    fn u8(&mut self, value: &mut u8) {
        *value = self.word(u64::from(*value)) as u8;
    }

    /// Yes or no.
    fn flag(&mut self, value: &mut bool) {
        *value = self.word(u64::from(*value)) != 0;
    }

    /// A number of either sign: near zero, it is short.
    fn i64(&mut self, value: &mut i64) {
        let zigzag = self.word(((*value << 1) ^ (*value >> 63)) as u64);
        *value = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
    }

    /// A time.
    fn time(&mut self, value: &mut Timestamp) {
        let near = self.near().at.0;
        let mut since = value.0.wrapping_sub(near);
        self.i64(&mut since);
        *value = Timestamp(near.wrapping_add(since));
        self.near().at = *value;
    }

    /// A frame and its time.
    fn mark(&mut self, value: &mut Mark) {
        let near = self.near().frame;
        let mut file = value.frame.file() ^ near.file();
        let mut further = value.frame.number().wrapping_sub(near.number()) as i64;
        self.u32(&mut file);
        self.i64(&mut further);
        self.time(&mut value.at);
        let number = near.number().wrapping_add(further as u64);
        value.frame = FrameId::new(file ^ near.file(), number);
        self.near().frame = value.frame;
    }

    /// What may be missing; `field` takes it where it is not.
    fn option<T: Default>(&mut self, value: &mut Option<T>, field: impl FnOnce(&mut Self, &mut T))
    where
        Self: Sized,
    {
        let mut is_there = value.is_some();
        self.flag(&mut is_there);
        if is_there {
            field(self, value.get_or_insert_default());
        } else {
            *value = None;
        }
    }

    /// One of `all`. Anything else becomes the first of them.
    fn one_of<T: Copy + PartialEq>(&mut self, all: &[T], value: &mut T) {
        let place = all.iter().position(|known| known == value).unwrap_or(0);
        if let Some(known) = all.get(self.word(place as u64) as usize) {
            *value = *known;
        }
    }
}

/// Numbers of which one byte says which are not zero.
const GROUP: u8 = 8;

/// Notes fields down.
#[derive(Debug)]
pub struct Writer<'a> {
    /// Where to.
    notes: &'a mut Vec<u8>,
    near: Mark,
    /// Where it is noted which numbers of this group are not zero, and how many it has.
    group: (usize, u8),
}

impl Writer<'_> {
    /// Writes behind what stands in `notes`; the first time is near `origin`.
    pub(crate) fn new(notes: &mut Vec<u8>, origin: Mark) -> Writer<'_> {
        Writer { notes, near: origin, group: (0, GROUP) }
    }
}

impl Shorthand for Writer<'_> {
    fn word(&mut self, value: u64) -> u64 {
        if self.group.1 == GROUP {
            self.group = (self.notes.len(), 0);
            self.notes.push(0);
        }
        let (group, place) = self.group;
        self.group.1 += 1;
        if value > 0 {
            self.notes[group] |= 1 << place;
            let mut rest = value;
            while rest >= 0x80 {
                self.notes.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            self.notes.push(rest as u8);
        }
        value
    }

    fn near(&mut self) -> &mut Mark {
        &mut self.near
    }
}

/// Puts back what a [`Writer`] with the same origin noted down, into fields that may hold anything.
#[derive(Debug)]
pub struct Reader<'a> {
    /// What is not read yet. Behind its end everything is zero.
    notes: &'a [u8],
    near: Mark,
    /// Which of the next numbers of this group are not zero, and how many of it were read.
    group: (u8, u8),
}

impl Reader<'_> {
    /// Reads `notes` of a [`Writer`] with this `origin`.
    pub(crate) fn new(notes: &[u8], origin: Mark) -> Reader<'_> {
        Reader { notes, near: origin, group: (0, GROUP) }
    }

    fn byte(&mut self) -> u8 {
        self.notes.split_off_first().copied().unwrap_or(0)
    }
}

impl Shorthand for Reader<'_> {
    fn word(&mut self, _: u64) -> u64 {
        if self.group.1 == GROUP {
            self.group = (self.byte(), 0);
        }
        let is_zero = self.group.0 & 1 == 0;
        self.group = (self.group.0 >> 1, self.group.1 + 1);
        if is_zero {
            return 0;
        }
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    }

    fn near(&mut self) -> &mut Mark {
        &mut self.near
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A field of each kind.
    #[derive(Clone, Debug, Default, PartialEq)]
    struct Record {
        long: u64,
        signed: i64,
        flag: bool,
        mark: Mark,
        maybe: Option<Timestamp>,
        choice: char,
    }

    impl Record {
        fn fields(&mut self, shorthand: &mut impl Shorthand) {
            shorthand.u64(&mut self.long);
            shorthand.i64(&mut self.signed);
            shorthand.flag(&mut self.flag);
            shorthand.mark(&mut self.mark);
            shorthand.option(&mut self.maybe, Shorthand::time);
            shorthand.one_of(&['a', 'b', 'c'], &mut self.choice);
        }
    }

    proptest! {
        #[test]
        fn what_was_noted_comes_back(
            long: u64, signed: i64, flag: bool, at: i64, maybe: Option<i64>, choice in 0_usize..3,
            origin: i64, frames in (0_u64..1 << 40, 0_u64..1 << 40), files in (0_u32..1 << 24, 0_u32..1 << 24),
        ) {
            let origin = Mark { frame: FrameId::new(files.0, frames.0), at: Timestamp(origin) };
            let mark = Mark { frame: FrameId::new(files.1, frames.1), at: Timestamp(at) };
            let choice = ['a', 'b', 'c'][choice];
            let record = Record { long, signed, flag, mark, maybe: maybe.map(Timestamp), choice };
            let (mut notes, mut same) = (Vec::new(), record.clone());
            same.fields(&mut Writer::new(&mut notes, origin));
            prop_assert_eq!(&same, &record);
            let mut read = Record { maybe: Some(Timestamp(7)), ..Record::default() };
            let reader = &mut Reader::new(&notes, origin);
            read.fields(reader);
            prop_assert!(reader.notes.is_empty());
            prop_assert_eq!(read, record);
        }
    }

    #[test]
    fn near_its_origin_a_mark_is_short() {
        let origin = Mark { frame: FrameId::new(3, 1_000_000), at: Timestamp(1_700_000_000 << 30) };
        let mut mark = Mark { frame: FrameId::new(3, 1_000_050), at: origin.at.after(250_000) };
        let mut notes = Vec::new();
        Writer::new(&mut notes, origin).mark(&mut mark);
        assert!(notes.len() <= 6, "{notes:?}");
    }
}
