//! Reads and decodes in a thread of its own, a few batches ahead of the analysis.
//!
//! Reading, finding the frames and decoding their headers cost about as much as the analysis: with a
//! second processor the two go on side by side. The analysis gets the same packets in the same order,
//! so that what it says is the same. It looks a few of them ahead, so that the processor fetches their
//! connections and heads from memory together instead of one after another.
//!
//! A batch is one buffer of the file and what was decoded of the frames that begin in it. Payloads stay
//! where they were read; only those that lie elsewhere (put together from fragments, or of files that
//! take turns) are copied.

use super::{Analysis, Listener, PROGRESS_EVERY, RunError};
use crate::capture::{CaptureError, Timeline};
use crate::packet::{Decoder, Packet, Segment};
use crate::time::Timestamp;
use std::hint::black_box;
use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Batches in flight: one being analysed, one being made, the others full or empty, so that neither thread often
/// sleeps until the other is done. To wake one takes as long as a part of a batch.
const BATCHES: usize = 6;
/// Bytes read into the buffer of a batch.
const BUFFER: usize = 256 << 10;
/// Stored bytes from which on a thread is worth its start.
const WORTH_A_THREAD: u64 = BUFFER as u64;
/// Bytes copied from files that take turns after which a batch is handed on.
const COPIED_MAX: usize = 256 << 10;

/// Packets looked ahead at together.
const TOGETHER: usize = 8;
/// The same for the connections that SYNs among them put an end to.
const FURTHER: usize = 64;

/// Where a payload lies.
#[derive(Clone, Copy)]
enum Place {
    /// In the buffer of the batch, from here on.
    Buffer(usize),
    /// In its copies, from here on.
    Copied(usize),
}

/// What the analysis takes in.
enum Item {
    /// A packet without its payload, and the time of its frame.
    Packet {
        at: Timestamp,
        packet: Packet<'static>,
        place: Place,
        length: usize,
        /// A head may begin here.
        begins: bool,
    },
    /// Keys of TLS sessions.
    Secrets(Vec<u8>),
}

impl Item {
    fn segment(&self) -> Option<&Segment<'static>> {
        match self {
            Item::Packet { packet: Packet::Tcp(segment), .. } => Some(segment),
            _ => None,
        }
    }
}

/// Frames of one buffer.
#[derive(Default)]
struct Batch {
    buffer: Vec<u8>,
    copied: Vec<u8>,
    items: Vec<Item>,
    /// Some payload lies in the buffer.
    in_place: bool,
    /// Names of tunnels, when further ones were met.
    tunnels: Option<Vec<String>>,
    /// See [`Timeline::progress`].
    progress: (u64, Option<u64>),
}

impl Batch {
    /// Takes up what `decoder` found in the frame that `timeline` lends.
    fn add(&mut self, timeline: &mut Timeline, decoder: &mut Decoder) {
        let frame_place = timeline.place();
        let Some(frame) = timeline.frame() else { return };
        let at = frame.mark.at;
        let packet = decoder.decode(&frame);
        let payload = packet.payload();
        // A payload that was put together lies outside the frame.
        let within = (payload.as_ptr() as usize).wrapping_sub(frame.bytes.as_ptr() as usize);
        let in_frame = within <= frame.bytes.len();
        let place = match frame_place.filter(|_| in_frame || payload.is_empty()) {
            _ if payload.is_empty() => Place::Copied(0),
            Some(start) => {
                self.in_place = true;
                Place::Buffer(start + within)
            }
            None => {
                self.copied.extend_from_slice(payload);
                Place::Copied(self.copied.len() - payload.len())
            }
        };
        let (length, begins) = (payload.len(), begins_a_head(payload));
        let packet = packet.without_payload();
        self.items.push(Item::Packet { at, packet, place, length, begins });
    }

    /// Whether it should be handed on although its buffer is not used up.
    fn is_full(&self) -> bool {
        !self.in_place && self.copied.len() >= COPIED_MAX
    }

    fn payload(&self, place: Place, length: usize) -> &[u8] {
        let (bytes, start) = match place {
            Place::Buffer(start) => (&self.buffer, start),
            Place::Copied(start) => (&self.copied, start),
        };
        bytes.get(start..start + length).unwrap_or_default()
    }

    fn clear(&mut self) {
        self.items.clear();
        self.copied.clear();
        self.in_place = false;
        self.tunnels = None;
    }
}

/// Whether reading ahead pays.
pub(super) fn is_worth_it(timeline: &Timeline) -> bool {
    timeline.stored_bytes().is_some_and(|bytes| bytes >= WORTH_A_THREAD)
        && thread::available_parallelism().map_or(1, NonZero::get) > 1
}

/// Reads `timeline` to its end into `analysis`, or until `listener` wants no more.
pub(super) fn read(
    timeline: &mut Timeline,
    analysis: &mut Analysis,
    listener: &mut dyn Listener,
) -> Result<(), RunError> {
    let Some(mut decoder) = analysis.lend_decoder() else { return Ok(()) };
    let (filled, to_use) = sync_channel(BATCHES);
    let (empty, to_fill) = sync_channel(BATCHES);
    let decoder = thread::scope(|scope| {
        let ahead = scope.spawn(move || {
            let end = fill(timeline, &mut decoder, &to_fill, &filled);
            (end, decoder)
        });
        for _ in 0..BATCHES {
            // There is room for all of them.
            let _ = empty.try_send(Batch::default());
        }
        take(&to_use, &empty, analysis, listener);
        drop(to_use);
        drop(empty);
        ahead.join()
    });
    let (end, decoder) = match decoder {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    analysis.take_decoder_back(decoder);
    Ok(end?)
}

/// Makes batches of all frames.
fn fill(
    timeline: &mut Timeline,
    decoder: &mut Decoder,
    to_fill: &Receiver<Batch>,
    filled: &SyncSender<Batch>,
) -> Result<(), CaptureError> {
    timeline.keep_buffers(BUFFER);
    let mut tunnels = 0;
    let Ok(mut batch) = to_fill.recv() else { return Ok(()) };
    loop {
        let step = timeline.step();
        let used = timeline.take_used();
        if !used.is_empty() || batch.is_full() || !matches!(step, Ok(true)) {
            for (number, buffer) in used.into_iter().enumerate() {
                match number {
                    0 => timeline.give_buffer(std::mem::replace(&mut batch.buffer, buffer)),
                    _ => timeline.give_buffer(buffer),
                }
            }
            let names = decoder.tunnel_names();
            if names.len() != tunnels {
                tunnels = names.len();
                batch.tunnels = Some(names.to_vec());
            }
            batch.progress = timeline.progress();
            let next = filled.send(batch).ok().and_then(|()| to_fill.recv().ok());
            let Some(next) = next else {
                timeline.stop();
                return step.map(|_| ());
            };
            batch = next;
            batch.clear();
        }
        if !step? {
            return Ok(());
        }
        if let Some(secrets) = timeline.take_secrets() {
            batch.items.push(Item::Secrets(secrets));
        }
        batch.add(timeline, decoder);
    }
}

/// Analyses batches as they come.
fn take(
    filled: &Receiver<Batch>,
    empty: &SyncSender<Batch>,
    analysis: &mut Analysis,
    listener: &mut dyn Listener,
) {
    let mut told = 0;
    while let Ok(mut batch) = filled.recv() {
        if let Some(tunnels) = batch.tunnels.take() {
            analysis.name_tunnels(tunnels);
        }
        // Segments of one connection come in rows.
        let mut latest = None;
        for further in batch.items.chunks(FURTHER) {
            let opened = further.iter().filter_map(Item::segment).filter(|it| it.opens());
            analysis.look_out(opened.map(|segment| (segment.src, segment.dst, segment.tunnel)));
            for group in further.chunks(TOGETHER) {
                let mut places = [None; TOGETHER];
                for (item, slot) in group.iter().zip(&mut places) {
                    let Item::Packet { place, length, begins, .. } = item else { continue };
                    let Some(segment) = item.segment() else { continue };
                    *slot = analysis.look_up(segment, latest);
                    latest = slot.or(latest);
                    if *begins {
                        warm(batch.payload(*place, *length));
                    }
                }
                for (item, slot) in group.iter().zip(places) {
                    match item {
                        Item::Packet { at, packet, place, length, .. } => {
                            let mut packet = packet.with_payload(batch.payload(*place, *length));
                            analysis.packet(*at, &mut packet, slot, listener);
                        }
                        Item::Secrets(secrets) => analysis.secrets(secrets),
                    }
                }
            }
        }
        let (read, total) = batch.progress;
        if analysis.packets() / PROGRESS_EVERY != told {
            told = analysis.packets() / PROGRESS_EVERY;
            if !listener.progress(read, total) {
                return;
            }
        }
        // Refused once all is read.
        let _ = empty.try_send(batch);
    }
}

/// Whether a payload may begin with a head: a method (RFC 9110, 9.1) or `HTTP/`, or a record of TLS
/// (RFC 8446, 5.1). What else is in bodies is not looked at.
fn begins_a_head(payload: &[u8]) -> bool {
    matches!(payload.first(), Some(b'A'..=b'Z' | 20..=23))
}

/// Has the processor fetch the start of a payload, where a head may be.
fn warm(payload: &[u8]) {
    /// Bytes fetched at a time, and how many of them most heads have.
    const LINE: usize = 64;
    for line in 0..4 {
        black_box(payload.get(line * LINE).copied());
    }
}
