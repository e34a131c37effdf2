//! The part of a file that is in memory: one buffer, refilled and reused.
//!
//! Format readers look at the bytes ahead, ask for more, and step over what they have used. A
//! frame is lent straight from here. The file is not mapped: a file that shrinks while it is
//! mapped (a ring that a running tcpdump overwrites) would kill the process.

use std::io::{ErrorKind, Read};
use std::ops::Range;

use super::read_ahead::{End, ReadAhead};

/// Buffer of a file that is being read, unless one of its items is larger.
pub(super) const WINDOW: usize = 256 << 10;

/// Room before a piece that was read ahead, for the part of an item that the piece before it ended
/// with. An item that is larger is copied together.
const ROOM: usize = 64 << 10;

/// Largest frame accepted. Capture tools stop at 256 KiB (libpcap's `MAXIMUM_SNAPLEN`), Wireshark
/// at 128 MiB for USB; a larger number is damage, and believing it would let a file decide how
/// much memory we take.
pub(super) const MAX_FRAME: usize = 16 << 20;

/// Largest item that must be in memory at once: a frame, its header and its options.
pub(super) const MAX_ITEM: usize = MAX_FRAME + (64 << 10);

/// Bytes of a stream from the current position on.
pub(super) struct Window {
    supply: Supply,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    offset: u64,
    ended: bool,
    trouble: Option<String>,
    /// Whether a thread of its own has been asked for.
    asked: bool,
    /// See [`Window::keep_buffers`].
    kept: Option<Kept>,
}

/// Buffers that are given away whole, instead of being filled anew.
struct Kept {
    /// Bytes read into each, where the source is near.
    piece: usize,
    /// Used up, oldest first; not asked for yet.
    used: Vec<Vec<u8>>,
    /// For the bytes to come.
    spare: Vec<Vec<u8>>,
}

/// Buffers that wait to be filled; more than are in flight at once.
const SPARE_MAX: usize = 8;

/// Where the bytes come from.
enum Supply {
    /// Read here when they are needed.
    Here(Box<dyn Read + Send>),
    /// Read by another thread.
    Ahead(ReadAhead),
}

impl Window {
    pub(super) fn new(source: Box<dyn Read + Send>, size: usize) -> Window {
        Window {
            supply: Supply::Here(source),
            bytes: vec![0; size],
            start: 0,
            end: 0,
            offset: 0,
            ended: false,
            trouble: None,
            asked: false,
            kept: None,
        }
    }

    /// What is in memory from the current position on.
    #[inline]
    pub(super) fn ahead(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Whether at least `want` bytes are ahead, after reading more if needed. Waits for a pipe.
    #[inline]
    pub(super) fn has(&mut self, want: usize) -> bool {
        self.end - self.start >= want || self.fill(want)
    }

    /// Steps over `count` bytes that are ahead and says where they lie; the place stays valid
    /// until the next call of [`has`](Window::has).
    #[inline]
    pub(super) fn take(&mut self, count: usize) -> Range<usize> {
        let from = self.start;
        self.start = (from + count).min(self.end);
        self.offset += (self.start - from) as u64;
        from..self.start
    }

    /// Has the processor fetch the start of what is ahead while the frame before it is analysed:
    /// frames with bodies lie too far apart for it to guess where the next one begins.
    #[inline]
    pub(super) fn warm(&self) {
        /// Bytes fetched at a time, and how many of them hold the headers of a frame.
        const LINE: usize = 64;
        for line in 0..3 {
            std::hint::black_box(self.bytes.get(self.start + line * LINE).copied());
        }
    }

    /// The bytes at a place that [`take`](Window::take) named.
    #[inline]
    pub(super) fn at(&self, place: Range<usize>) -> &[u8] {
        &self.bytes[place]
    }

    /// Position in the (decompressed) stream.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Why reading stopped, if not at a proper end.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Steps forward in search of something readable: one byte, or most of a run of zero bytes
    /// (a header may begin with some). Says whether all that it stepped over was zero.
    pub(super) fn step(&mut self) -> bool {
        const LONGEST_HEADER: usize = 32;
        let zeros = self.ahead().iter().take_while(|byte| **byte == 0).count();
        self.take(zeros.saturating_sub(LONGEST_HEADER).max(1));
        zeros > 0
    }

    /// From now on no byte that was ahead once is overwritten: when more is read, that goes to another
    /// buffer, and the one before waits for [`take_used`](Window::take_used). `near` says that the
    /// source costs no more than a copy, so that it needs no further thread; `piece` bytes of it are read at a
    /// time.
    pub(super) fn keep_buffers(&mut self, near: bool, piece: usize) {
        let piece = if near { piece } else { WINDOW };
        self.kept.get_or_insert(Kept { piece, used: Vec::new(), spare: Vec::new() });
        self.asked |= near;
    }

    /// Whether there are buffers in which no byte is ahead any more.
    #[inline]
    pub(super) fn has_used(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| !kept.used.is_empty())
    }

    /// Buffers in which no byte is ahead any more, oldest first.
    pub(super) fn take_used(&mut self, into: &mut Vec<Vec<u8>>) {
        if let Some(kept) = &mut self.kept {
            into.append(&mut kept.used);
        }
    }

    /// The buffer in which places are now.
    pub(super) fn buffer(&self) -> &[u8] {
        &self.bytes
    }

    /// The buffer itself; nothing is ahead afterwards.
    pub(super) fn take_buffer(&mut self) -> Vec<u8> {
        (self.start, self.end) = (0, 0);
        std::mem::take(&mut self.bytes)
    }

    /// Takes a buffer for the bytes to come.
    pub(super) fn give_buffer(&mut self, buffer: Vec<u8>) {
        if let Some(kept) = &mut self.kept
            && kept.spare.len() < SPARE_MAX
        {
            kept.spare.push(buffer);
        }
    }

    #[cold]
    fn fill(&mut self, want: usize) -> bool {
        if want > MAX_ITEM {
            return false;
        }
        // A source that is longer than one large buffer is worth a thread.
        if !self.asked && self.offset >= WINDOW as u64 && self.bytes.len() >= WINDOW {
            self.asked = true;
            self.read_ahead();
        }
        if self.kept.is_some() && !self.ended {
            self.renew(want);
        }
        while self.end - self.start < want && !self.ended {
            let end = match &mut self.supply {
                Supply::Here(_) => self.read(want),
                Supply::Ahead(_) => self.receive(want),
            };
            if let Err(trouble) = end {
                self.ended = true;
                self.trouble = trouble;
            }
        }
        self.end - self.start >= want
    }

    /// Hands the source over to a thread of its own.
    fn read_ahead(&mut self) {
        let nothing = Supply::Here(Box::new(std::io::empty()));
        self.supply = match std::mem::replace(&mut self.supply, nothing) {
            Supply::Here(source) => match ReadAhead::start(source, ROOM, WINDOW) {
                Ok(ahead) => Supply::Ahead(ahead),
                Err(source) => Supply::Here(source),
            },
            ahead => ahead,
        };
    }

    /// Goes on in another buffer, in which the bytes that are ahead have room before them to be joined
    /// with the next piece, and behind them for `want` bytes and a piece.
    fn renew(&mut self, want: usize) {
        let Some(kept) = &mut self.kept else { return };
        let held = self.end - self.start;
        let room = ROOM.max(held);
        let mut fresh = kept.spare.pop().unwrap_or_default();
        let length = room - held + want + kept.piece;
        if fresh.len() < length {
            fresh.resize(length, 0);
        }
        let start = room - held;
        fresh[start..room].copy_from_slice(&self.bytes[self.start..self.end]);
        kept.used.push(std::mem::replace(&mut self.bytes, fresh));
        (self.start, self.end) = (start, room);
    }

    /// Reads more behind the bytes that are ahead. An error is the end.
    fn read(&mut self, want: usize) -> Result<(), End> {
        if self.kept.is_none() {
            self.make_room(want);
        }
        let Supply::Here(source) = &mut self.supply else { return Ok(()) };
        let room = match &self.kept {
            Some(kept) => self.end..self.bytes.len().min(self.end + kept.piece),
            None => self.end..self.bytes.len(),
        };
        match source.read(&mut self.bytes[room]) {
            Ok(0) => return Err(None),
            Ok(count) => self.end += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Some(error.to_string())),
        }
        Ok(())
    }

    /// Makes the next piece that was read ahead follow the bytes that are ahead: they move in front
    /// of it when they are few, and it moves behind them otherwise.
    fn receive(&mut self, want: usize) -> Result<(), End> {
        let Supply::Ahead(ahead) = &mut self.supply else { return Ok(()) };
        let mut piece = ahead.next()?;
        let (held, new) = (self.end - self.start, piece.end - ROOM);
        let enough = self.kept.is_none() || held + new >= want;
        let unused = if held <= ROOM.min(new) && enough {
            let start = ROOM - held;
            piece.bytes[start..ROOM].copy_from_slice(&self.bytes[self.start..self.end]);
            (self.start, self.end) = (start, piece.end);
            std::mem::replace(&mut self.bytes, piece.bytes)
        } else {
            if self.kept.is_none() {
                self.make_room(held + new);
            }
            self.bytes[self.end..][..new].copy_from_slice(&piece.bytes[ROOM..piece.end]);
            self.end += new;
            piece.bytes
        };
        let Supply::Ahead(ahead) = &mut self.supply else { return Ok(()) };
        ahead.give_back(unused);
        Ok(())
    }

    /// Makes room for `want` bytes from the current position on. Bytes move to the front only when
    /// that many have been used since the last move, or when the buffer (then at least twice what
    /// is wanted) is used up: a byte moves a bounded number of times, whatever the sizes that a
    /// hostile file makes us ask for.
    fn make_room(&mut self, want: usize) {
        let held = self.end - self.start;
        if self.bytes.len() - self.start < want || self.start >= held {
            self.bytes.copy_within(self.start..self.end, 0);
            self.start = 0;
            self.end = held;
            if self.bytes.len() < 2 * want {
                self.bytes.resize(2 * want, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte per read, as a slow pipe does.
    struct Drip(Vec<u8>);

    impl Read for Drip {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            into[0] = self.0.remove(0);
            Ok(1)
        }
    }

    #[test]
    fn gives_every_byte_once_and_grows_for_a_large_item() {
        let all: Vec<u8> = (0..1000u32).map(|n| n as u8).collect();
        let mut window = Window::new(Box::new(Drip(all.clone())), 16);
        let mut seen = Vec::new();
        for step in (1..40).cycle() {
            if !window.has(step) {
                break;
            }
            let place = window.take(step);
            seen.extend_from_slice(window.at(place));
        }
        seen.extend_from_slice(window.ahead());
        assert_eq!(seen, all);
    }

    #[test]
    fn a_long_source_is_read_ahead_and_gives_the_same_bytes() {
        let all: Vec<u8> = (0..4 * WINDOW).map(|n| (n / 7) as u8).collect();
        let mut window = Window::new(Box::new(std::io::Cursor::new(all.clone())), WINDOW);
        let mut seen = Vec::new();
        for step in [1, 40, 60_000, 100_000, 3, 700_000].into_iter().cycle() {
            if !window.has(step) {
                break;
            }
            let place = window.take(step);
            seen.extend_from_slice(window.at(place));
            assert_eq!(window.offset(), seen.len() as u64);
        }
        seen.extend_from_slice(window.ahead());
        assert!(seen == all);
        if std::thread::available_parallelism().is_ok_and(|count| count.get() > 1) {
            assert!(matches!(window.supply, Supply::Ahead(_)));
        }
    }

    #[test]
    fn kept_buffers_still_hold_what_was_taken_from_them() {
        let all: Vec<u8> = (0..4 * WINDOW).map(|n| (n / 7) as u8).collect();
        for near in [true, false] {
            let mut window = Window::new(Box::new(std::io::Cursor::new(all.clone())), WINDOW);
            window.keep_buffers(near, WINDOW / 2);
            let (mut used, mut places, mut seen) = (Vec::new(), Vec::new(), Vec::new());
            for step in [1, 40, 60_000, 100_000, 3, 700_000].into_iter().cycle() {
                if !window.has(step) {
                    break;
                }
                let before = used.len();
                window.take_used(&mut used);
                if used.len() > before {
                    let buffer = &used[before];
                    places.drain(..).for_each(|place| seen.extend_from_slice(&buffer[place]));
                    window.give_buffer(Vec::new());
                }
                places.push(window.take(step));
            }
            let before = used.len();
            let count = window.ahead().len();
            let rest = window.take(count);
            window.take_used(&mut used);
            let last = window.take_buffer();
            let buffer = used.get(before).unwrap_or(&last);
            places.drain(..).for_each(|place| seen.extend_from_slice(&buffer[place]));
            seen.extend_from_slice(&last[rest]);
            assert!(seen == all, "{near}");
        }
    }

    #[test]
    fn an_error_ends_the_stream_and_is_kept() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("disk on fire"))
            }
        }
        let mut window = Window::new(Box::new(Broken), 16);
        assert!(!window.has(1));
        assert_eq!(window.trouble(), Some("disk on fire"));
    }

    #[test]
    fn a_size_beyond_the_bound_is_refused_without_memory() {
        let mut window = Window::new(Box::new(std::io::repeat(1)), 16);
        assert!(!window.has(usize::MAX));
        assert_eq!(window.bytes.len(), 16);
    }
}
