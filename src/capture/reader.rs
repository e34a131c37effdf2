//! One capture: what is in front of it (compression), which format it is, and what it held.

use std::io::Read;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::decompress::{self, Opened};
use super::looks_like;
use super::notes::Notes;
use super::original::{Aside, Asides, Original};
use super::pcap::Pcap;
use super::pcapng::Pcapng;
use super::secrets::Secrets;
use super::window::Window;
use super::write::BlockOptions;
use super::{CaptureError, CaptureInfo, Direction, LinkType};
use crate::time::Timestamp;

/// Bytes that are looked at to tell what a file that is not a capture may be.
const SAMPLE: usize = 4096;

/// A frame by its place in the window; the next call of [`Reader::next`] invalidates it.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) at: Timestamp,
    pub(super) link: LinkType,
    pub(super) place: Range<usize>,
    pub(super) wire_len: u32,
    pub(super) direction: Direction,
}

enum Format {
    Pcap(Pcap),
    Pcapng(Box<Pcapng>),
}

/// Reads one capture from its first to its last frame.
pub(super) struct Reader {
    window: Window,
    format: Format,
    notes: Notes,
    info: CaptureInfo,
    last_link: Option<LinkType>,
    stored: Arc<AtomicU64>,
    /// Of a pcap file; a pcapng one has its own.
    asides: Option<Asides>,
}

impl Reader {
    /// Finds out what `source` holds. `stored` counts its bytes as they are read; `path` is for
    /// messages.
    pub(super) fn open(
        path: &str,
        source: Box<dyn Read + Send>,
        stored: Arc<AtomicU64>,
        window: usize,
    ) -> Result<Reader, CaptureError> {
        let Opened { stream, compression } =
            decompress::open(source).map_err(|source| CaptureError::from_io(path, source))?;
        let mut window = Window::new(stream, window);
        let mut notes = Notes::default();
        window.has(4);
        let format = if Pcap::recognises(window.ahead()) {
            Pcap::open(&mut window, &mut notes).map(Format::Pcap)
        } else if Pcapng::recognises(window.ahead()) {
            Some(Format::Pcapng(Box::default()))
        } else {
            None
        };
        let Some(format) = format else {
            window.has(SAMPLE);
            let sample = &window.ahead()[..window.ahead().len().min(SAMPLE)];
            let looks_like = looks_like::describe(sample, compression, window.trouble());
            return Err(CaptureError::NotACapture { path: path.to_owned(), looks_like });
        };
        let name = match &format {
            Format::Pcap(pcap) => pcap.name(),
            Format::Pcapng(_) => "pcapng",
        };
        let info = CaptureInfo {
            path: path.to_owned(),
            format: name,
            compression,
            ..CaptureInfo::default()
        };
        Ok(Reader { window, format, notes, info, last_link: None, stored, asides: None })
    }

    /// The next frame, or `None` at the end.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Record> {
        let record = match &mut self.format {
            Format::Pcap(pcap) => pcap.next(&mut self.window, &mut self.notes),
            Format::Pcapng(pcapng) => pcapng.next(&mut self.window, &mut self.notes),
        };
        self.window.warm();
        record
    }

    /// Counts the record that [`next`](Reader::next) gave last, which may not be used if reading
    /// ends early.
    #[inline]
    pub(super) fn count(&mut self, record: &Record) {
        let info = &mut self.info;
        info.packets += 1;
        info.first = Some(info.first.map_or(record.at, |first| first.min(record.at)));
        info.last = Some(info.last.map_or(record.at, |last| last.max(record.at)));
        info.cut_frames += u64::from((record.place.len() as u64) < u64::from(record.wire_len));
        if self.last_link != Some(record.link) {
            self.last_link = Some(record.link);
            if !info.link_types.contains(&record.link) {
                info.link_types.push(record.link);
            }
        }
    }

    /// The captured bytes of the record that [`next`](Reader::next) gave last.
    #[inline]
    pub(super) fn bytes(&self, record: &Record) -> &[u8] {
        self.window.at(record.place.clone())
    }

    /// See [`Window::keep_buffers`]; asked when nothing but the first buffer has been read.
    pub(super) fn keep_buffers(&mut self, piece: usize) {
        self.window.keep_buffers(self.info.compression.is_none(), piece);
    }

    /// Where frames lie.
    pub(super) fn window(&mut self) -> &mut Window {
        &mut self.window
    }

    /// Keeps from now on what is not a frame; asked before the first one is read.
    pub(super) fn keep_asides(&mut self) {
        match &mut self.format {
            Format::Pcap(pcap) => {
                let asides = self.asides.insert(Asides::default());
                asides.push(Aside::Section { options: BlockOptions::default() });
                asides.push(pcap.interface());
            }
            Format::Pcapng(pcapng) => pcapng.keep_asides(),
        }
    }

    /// What came before the next frame and was not taken yet.
    pub(super) fn asides(&mut self) -> Option<&mut Asides> {
        match &mut self.format {
            Format::Pcap(_) => self.asides.as_mut(),
            Format::Pcapng(pcapng) => pcapng.asides(),
        }
    }

    /// The record that [`next`](Reader::next) gave last, as the file holds it.
    pub(super) fn original(&self, record: &Record) -> Original<'_> {
        match &self.format {
            Format::Pcap(pcap) => pcap.original(record, &self.window),
            Format::Pcapng(pcapng) => pcapng.original(record, &self.window),
        }
    }

    /// Number of the record that was counted last, as Wireshark counts.
    #[inline]
    pub(super) fn number(&self) -> u64 {
        match &self.format {
            Format::Pcap(_) => self.info.packets,
            Format::Pcapng(pcapng) => self.info.packets + pcapng.others_numbered(),
        }
    }

    /// Keys that were met up to the record that [`next`](Reader::next) gave last, and not taken yet.
    #[inline]
    pub(super) fn secrets(&mut self) -> Option<&mut Secrets> {
        match &mut self.format {
            Format::Pcap(_) => None,
            Format::Pcapng(pcapng) => Some(pcapng.secrets()),
        }
    }

    /// Ends reading, at the end of the file or before.
    pub(super) fn finish(mut self) -> CaptureInfo {
        let warnings = self.notes.finish(self.window.offset(), self.window.trouble());
        self.info.warnings = warnings;
        self.info.damaged_at = self.notes.damaged_at();
        self.info.bytes = self.stored.load(Ordering::Relaxed);
        if let Format::Pcapng(pcapng) = &self.format {
            self.info.kernel_drops = pcapng.drops();
        }
        self.info
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::bytes::Order;
    use super::super::testing::{PcapFile, PcapngFile, read, try_read};

    type Packets = Vec<(u32, u32, Vec<u8>)>;

    fn packets() -> impl Strategy<Value = Packets> {
        let bytes = proptest::collection::vec(any::<u8>(), 1..80);
        proptest::collection::vec((1_000..2_000u32, 0..1_000_000u32, bytes), 0..12)
    }

    fn order() -> impl Strategy<Value = Order> {
        prop_oneof![Just(Order::Little), Just(Order::Big)]
    }

    fn pcap(order: Order, magic: u32, packets: &Packets) -> Vec<u8> {
        packets
            .iter()
            .fold(PcapFile::new(magic, order, 1), |file, (s, f, bytes)| file.record(*s, *f, bytes))
            .bytes
    }

    fn pcapng(order: Order, packets: &Packets) -> Vec<u8> {
        let file = PcapngFile::new(order).interface(1, 0, &[]).interface(113, 0, &[]);
        packets
            .iter()
            .fold(file, |file, (s, f, bytes)| {
                file.packet(f % 2, u64::from(*s) * 1_000_000 + u64::from(*f), bytes)
            })
            .bytes
    }

    fn files() -> impl Strategy<Value = (Vec<u8>, usize)> {
        let magic = prop_oneof![Just(0xa1b2_c3d4), Just(0xa1b2_3c4d), Just(0xa1b2_cd34), Just(0)];
        (order(), magic, packets()).prop_map(|(order, magic, packets)| {
            let file =
                if magic == 0 { pcapng(order, &packets) } else { pcap(order, magic, &packets) };
            (file, packets.len())
        })
    }

    proptest! {
        #[test]
        fn every_packet_of_a_sound_file_comes_back((file, count) in files()) {
            let size = file.len() as u64;
            let (frames, info) = read(file);
            prop_assert_eq!(frames.len(), count);
            prop_assert_eq!((info.packets, info.bytes), (count as u64, size));
            prop_assert_eq!(info.damaged_at, None);
            prop_assert!(info.warnings.is_empty());
        }

        #[test]
        fn a_cut_file_gives_a_prefix((file, _) in files(), cut in any::<prop::sample::Index>()) {
            let (all, _) = read(file.clone());
            let at = cut.index(file.len());
            if let Ok((frames, info)) = try_read(file[..at].to_vec()) {
                prop_assert!(all.starts_with(&frames));
                prop_assert!(info.warnings.len() < 2);
                let complete = read(file).0.len() == frames.len();
                prop_assert!(complete || info.damaged_at.is_some() || frames.len() < all.len());
            } else {
                prop_assert!(at < 4);
            }
        }

        #[test]
        fn changed_bytes_never_panic(
            (mut file, _) in files(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..9),
        ) {
            for (at, byte) in changes {
                let at = at.index(file.len());
                file[at] = byte;
            }
            if let Ok((frames, info)) = try_read(file) {
                prop_assert_eq!(frames.len() as u64, info.packets);
                for frame in frames {
                    prop_assert!(frame.bytes.len() as u64 <= u64::from(frame.wire_len));
                }
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            head in prop_oneof![
                Just(&b""[..]),
                Just(&b"\xd4\xc3\xb2\xa1\x02\x00\x04\x00"[..]),
                Just(&b"\xa1\xb2\x3c\x4d"[..]),
                Just(&b"\x0a\x0d\x0d\x0a\x1c\x00\x00\x00\x4d\x3c\x2b\x1a"[..]),
                Just(&b"\x1f\x8b\x08"[..]),
                Just(&b"\x28\xb5\x2f\xfd"[..]),
                Just(&b"\xfd7zXZ\x00"[..]),
                Just(&b"\x04\x22\x4d\x18"[..]),
            ],
            tail in proptest::collection::vec(any::<u8>(), 0..2_000),
        ) {
            let _ = try_read([head, &tail].concat());
        }

        #[test]
        fn one_wrong_byte_loses_few_packets(
            order in order(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let packets: Packets = (0..50).map(|n| (1_000 + n, 7, vec![n as u8; 60])).collect();
            let mut files = [pcap(order, 0xa1b2_c3d4, &packets), pcapng(order, &packets)];
            for (file, header) in files.iter_mut().zip([24, 28 + 2 * 20]) {
                let at = header + at.index(file.len() - header);
                file[at] = byte;
                let frames = read(file.clone()).0;
                prop_assert!(frames.len() >= 46, "{} of 50, changed at {at}", frames.len());
            }
        }
    }

    #[test]
    fn a_capture_with_nothing_but_its_magic_is_an_empty_capture() {
        let (frames, info) = read(vec![0xd4, 0xc3, 0xb2, 0xa1, 2]);
        assert_eq!((frames.len(), info.damaged_at), (0, Some(0)));
        assert!(info.warnings[0].contains("file header at offset 0 promises 24 bytes"));
    }

    #[test]
    fn what_is_no_capture_says_what_it_is() {
        let error = try_read(b"<html><title>404</title>".to_vec()).unwrap_err().to_string();
        assert!(
            error.starts_with("test: not a pcap or pcapng capture: it looks like an HTML page")
        );
    }
}
