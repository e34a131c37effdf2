//! Reads a source in a thread of its own, a few pieces ahead of who uses them.
//!
//! Reading (and decompressing) costs about as much as analysing: with a second processor the two
//! go on side by side. What is read is the same; only when differs.

use std::io::{ErrorKind, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Pieces in flight: one in use, one waiting, two being filled or emptied.
const PIECES: usize = 4;

/// Bytes that were read, behind room for what was left of the piece before.
pub(super) struct Piece {
    /// The buffer; the piece lies in `room..end`.
    pub(super) bytes: Vec<u8>,
    /// End of the piece.
    pub(super) end: usize,
}

/// Why there is no further piece: a proper end has no message.
pub(super) type End = Option<String>;

/// A source that is being read by a thread. Dropping it ends the thread when its read returns.
pub(super) struct ReadAhead {
    filled: Receiver<Result<Piece, End>>,
    empty: SyncSender<Vec<u8>>,
}

impl ReadAhead {
    /// Takes the source over; gives it back when there is no processor or no thread for it. Each
    /// piece has at most `size` bytes and `room` bytes before it.
    pub(super) fn start(
        source: Box<dyn Read + Send>,
        room: usize,
        size: usize,
    ) -> Result<ReadAhead, Box<dyn Read + Send>> {
        if thread::available_parallelism().map_or(1, std::num::NonZero::get) < 2 {
            return Err(source);
        }
        let (to_use, filled) = sync_channel(PIECES);
        let (empty, to_fill) = sync_channel::<Vec<u8>>(PIECES);
        for _ in 0..PIECES {
            // There is room for all of them.
            let _ = empty.try_send(Vec::new());
        }
        // The source goes in through a channel, so that it is still here if there is no thread.
        let (hand_over, take_over) = sync_channel::<Box<dyn Read + Send>>(1);
        let started = thread::Builder::new().name("reader".into()).spawn(move || {
            if let Ok(source) = take_over.recv() {
                pump(source, room, size, &to_fill, &to_use);
            }
        });
        if started.is_err() {
            return Err(source);
        }
        // The thread waits for it and holds the other end.
        let _ = hand_over.send(source);
        Ok(ReadAhead { filled, empty })
    }

    /// The next piece; waits for it.
    pub(super) fn next(&mut self) -> Result<Piece, End> {
        let died = || Err(Some("the thread that reads it has died".to_owned()));
        self.filled.recv().unwrap_or_else(|_| died())
    }

    /// Gives a buffer back.
    pub(super) fn give_back(&mut self, bytes: Vec<u8>) {
        // Refused once the source has ended.
        let _ = self.empty.try_send(bytes);
    }
}

fn pump(
    mut source: Box<dyn Read + Send>,
    room: usize,
    size: usize,
    to_fill: &Receiver<Vec<u8>>,
    to_use: &SyncSender<Result<Piece, End>>,
) {
    while let Ok(mut bytes) = to_fill.recv() {
        bytes.resize(room + size, 0);
        let read = loop {
            match source.read(&mut bytes[room..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let piece = match read {
            Ok(0) => Err(None),
            Ok(count) => Ok(Piece { bytes, end: room + count }),
            Err(error) => Err(Some(error.to_string())),
        };
        let over = piece.is_err();
        if to_use.send(piece).is_err() || over {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_comes_in_order_and_then_the_error() {
        let bytes: Vec<u8> = (0..10_000u32).map(|n| n as u8).collect();
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("disk on fire"))
            }
        }
        let source = Box::new(std::io::Cursor::new(bytes.clone()).chain(Broken));
        let Ok(mut ahead) = ReadAhead::start(source, 8, 64) else { return };
        let mut seen = Vec::new();
        let end = loop {
            match ahead.next() {
                Ok(piece) => {
                    seen.extend_from_slice(&piece.bytes[8..piece.end]);
                    ahead.give_back(piece.bytes);
                }
                Err(end) => break end,
            }
        };
        assert_eq!(seen, bytes);
        assert_eq!(end.as_deref(), Some("disk on fire"));
    }
}
