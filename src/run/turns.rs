//! Reads and analyses by turns: a few frames are found before they are analysed, so that the processor fetches
//! together what their connections need from memory instead of one after another.
//!
//! Frames stay in the buffer they were read into, and are decoded when it is their turn. Where they are long, each
//! is analysed at once: they lie too far apart for the processor to guess where the next one begins, and it is
//! fetched while the one before it is analysed.

use super::{Analysis, Listener, PROGRESS_EVERY};
use crate::capture::{CaptureError, Direction, Frame, LinkType, Timeline};
use crate::packet::{TunnelId, opening};
use crate::time::Mark;

/// Frames of a turn: few, as all that is fetched shall stay in the processor's cache.
const TURN: usize = 64;
/// Bytes read at a time, for the same reason.
const PIECE: usize = 64 << 10;
/// Mean length from which on frames are long, bytes: a few lines of the processor's cache.
const LONG: usize = 256;

/// A frame by its place in its buffer.
struct Found {
    mark: Mark,
    start: usize,
    length: usize,
    link: LinkType,
    wire_len: u32,
    direction: Direction,
}

impl Found {
    #[inline]
    fn frame<'a>(&self, buffer: &'a [u8]) -> Frame<'a> {
        Frame {
            mark: self.mark,
            link: self.link,
            bytes: buffer.get(self.start..self.start + self.length).unwrap_or_default(),
            wire_len: self.wire_len,
            direction: self.direction,
        }
    }
}

/// Reads `timeline`, which is of files, to its end into `analysis`, or until `listener` wants no more.
pub(super) fn read(
    timeline: &mut Timeline,
    analysis: &mut Analysis,
    listener: &mut dyn Listener,
) -> Result<(), CaptureError> {
    timeline.keep_buffers(PIECE);
    let mut turn: Vec<Found> = Vec::with_capacity(TURN);
    let mut opened = Vec::with_capacity(TURN);
    let mut told = 0;
    // Of the latest as many frames as make a turn.
    let mut length = 0;
    loop {
        let step = timeline.step();
        let secrets = timeline.take_secrets();
        let is_over = timeline.has_used() || secrets.is_some() || !matches!(step, Ok(true));
        if is_over || turn.len() == TURN {
            analysis.look_out(opened.drain(..));
            let used = timeline.take_used();
            // The first of those that are used up has the places, see `Timeline::take_used`.
            let buffer = used.first().map_or_else(|| timeline.buffer(), Vec::as_slice);
            for found in turn.drain(..) {
                analysis.frame(&found.frame(buffer), listener);
            }
            used.into_iter().for_each(|buffer| timeline.give_buffer(buffer));
            let due = analysis.packets() / PROGRESS_EVERY;
            let (read, total) = timeline.progress();
            if std::mem::replace(&mut told, due) != due && !listener.progress(read, total) {
                timeline.stop();
                return Ok(());
            }
        }
        if let Some(secrets) = secrets {
            analysis.secrets(&secrets);
        }
        if !step? {
            return Ok(());
        }
        // Files that take turns each have a buffer of their own.
        let place = timeline.place().filter(|_| length < TURN * LONG || !turn.is_empty());
        let Some(frame) = timeline.frame() else { continue };
        length = length - length / TURN + frame.bytes.len();
        let Some(start) = place else {
            analysis.frame(&frame, listener);
            continue;
        };
        opened.extend(opening(&frame).map(|(from, to)| (from, to, TunnelId::default())));
        turn.push(Found {
            mark: frame.mark,
            start,
            length: frame.bytes.len(),
            link: frame.link,
            wire_len: frame.wire_len,
            direction: frame.direction,
        });
    }
}
