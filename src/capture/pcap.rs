//! The classic pcap format: a file header, then records, with nothing to hold on to in between.
//!
//! Layout: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-06.html>; the variants are
//! those of libpcap's `sf-pcap.c`. Two fixed headers do not need a parser library: reading them
//! here lets the speed stay that of the disk and lets every tolerance be a decision of ours.
//!
//! A record has no mark by which to recognise it. An ordinary one is believed. An unusual one
//! (see [`Pcap::ordinary`]) is believed if what follows it looks like a record, too. After damage
//! we look for consecutive headers that make sense together.

use super::bytes::Order;
use super::notes::{Cut, Joined, Notes, Odd};
use super::original::{Aside, Original, direction_flags};
use super::reader::Record;
use super::window::{MAX_FRAME, Window};
use super::write::BlockOptions;
use super::{Direction, LinkType};
use crate::time::Timestamp;
use std::ops::Range;

/// Length of the file header.
pub(super) const FILE_HEADER: usize = 24;

/// libpcap's `MAXIMUM_SNAPLEN`: no tool that captures from a network writes longer frames.
const USUAL_FRAME: u32 = 262_144;

/// Neighbouring records are rarely further apart.
const USUAL_STEP_SECONDS: u32 = 86_400;

/// Headers in a row that must make sense before a damaged file is believed again.
const CHAIN: usize = 3;

/// Reader of the records of one pcap file.
#[derive(Debug)]
pub(super) struct Pcap {
    order: Order,
    variant: Variant,
    nanoseconds: bool,
    lengths: Lengths,
    link: LinkType,
    snaplen: u32,
    seconds: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Standard,
    /// Alexey Kuznetzov's patch: eight more bytes per record.
    Modified,
}

/// Where a record has its two lengths; libpcap before 0.4 had them the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lengths {
    CapturedFirst,
    OriginalFirst,
    /// Version 2.3 was written both ways: the smaller one is the captured length.
    Unsure,
}

#[derive(Clone, Copy, Debug)]
struct Header {
    seconds: u32,
    fraction: u32,
    captured: u32,
    original: u32,
    direction: Direction,
}

impl Header {
    fn is_zero(&self) -> bool {
        self.seconds == 0 && self.fraction == 0 && self.captured == 0 && self.original == 0
    }
}

impl Pcap {
    /// The variant that the four magic bytes name, if any.
    fn recognise(head: &[u8]) -> Option<(Order, Variant, bool)> {
        let magic = head.first_chunk::<4>()?;
        let (order, magic) = match u32::from_be_bytes(*magic) {
            big @ (0xa1b2_c3d4 | 0xa1b2_3c4d | 0xa1b2_cd34) => (Order::Big, big),
            other => (Order::Little, other.swap_bytes()),
        };
        match magic {
            0xa1b2_c3d4 => Some((order, Variant::Standard, false)),
            0xa1b2_3c4d => Some((order, Variant::Standard, true)),
            0xa1b2_cd34 => Some((order, Variant::Modified, false)),
            _ => None,
        }
    }

    /// Whether the first bytes are those of a pcap file.
    pub(super) fn recognises(head: &[u8]) -> bool {
        Pcap::recognise(head).is_some()
    }

    /// Reads the file header, of which at least the magic is there.
    pub(super) fn open(window: &mut Window, notes: &mut Notes) -> Option<Pcap> {
        let (order, variant, nanoseconds) = Pcap::recognise(window.ahead())?;
        let whole = window.has(FILE_HEADER);
        let header = window.ahead();
        let lengths = match (order.u16(header, 4), order.u16(header, 6)) {
            // 543.0 is what DG/UX tcpdump wrote.
            (543, _) | (2, 0..=2) => Lengths::OriginalFirst,
            (2, 3) => Lengths::Unsure,
            (2, _) => Lengths::CapturedFirst,
            _ => {
                if whole {
                    notes.odd(Odd::UnknownVersion);
                }
                Lengths::CapturedFirst
            }
        };
        // The upper half holds the length of the frame check sequence (bits 28 to 31, valid if
        // bit 26 is set) and reserved bits.
        let link = LinkType((order.u32(header, 20) & 0xffff) as u16);
        let snaplen = order.u32(header, 16);
        if whole {
            window.take(FILE_HEADER);
        } else {
            let found = header.len();
            notes.cut(Cut {
                item: "the file header",
                offset: 0,
                promised: FILE_HEADER as u64,
                found: found as u64,
            });
            window.take(found);
        }
        Some(Pcap { order, variant, nanoseconds, lengths, link, snaplen, seconds: None })
    }

    /// What pcapng says in an Interface Description Block.
    pub(super) fn interface(&self) -> Aside {
        let mut options = BlockOptions::default();
        options.resolution(if self.nanoseconds { 9 } else { 6 });
        Aside::Interface { link: self.link, snaplen: self.snaplen, options }
    }

    /// The packet that [`next`](Pcap::next) gave last, as pcapng would hold it.
    pub(super) fn original<'a>(&self, record: &Record, window: &'a Window) -> Original<'a> {
        let mut options = BlockOptions::default();
        if record.direction != Direction::Unknown {
            options.flags(direction_flags(record.direction));
        }
        // The times of pcap begin with 1970.
        let nanos = record.at.0.unsigned_abs();
        Original {
            interface: 0,
            units: if self.nanoseconds { nanos } else { nanos / 1_000 },
            bytes: window.at(record.place.clone()),
            wire_len: record.wire_len,
            options,
        }
    }

    /// Name of the variant in a report.
    pub(super) fn name(&self) -> &'static str {
        match (self.variant, self.nanoseconds) {
            (Variant::Modified, _) => "pcap-modified",
            (Variant::Standard, true) => "pcap-ns",
            (Variant::Standard, false) => "pcap",
        }
    }

    /// The next record, or `None` at the end.
    #[inline]
    pub(super) fn next(&mut self, window: &mut Window, notes: &mut Notes) -> Option<Record> {
        loop {
            let length = self.header_length();
            if !window.has(length) {
                return self.end(window, notes);
            }
            let header = self.header(window.ahead());
            if !self.ordinary(&header) && !self.confirmed(&header, window) {
                self.skip_damage(&header, window, notes)?;
                continue;
            }
            let captured = header.captured as usize;
            if !window.has(length + captured) {
                let found = window.ahead().len();
                notes.cut(cut_record(window.offset(), length + captured, found));
                window.take(found);
                return None;
            }
            let place = window.take(length + captured);
            return Some(self.record(&header, place.start + length..place.end, notes));
        }
    }

    #[inline]
    fn record(&mut self, header: &Header, place: Range<usize>, notes: &mut Notes) -> Record {
        self.seconds = Some(header.seconds);
        if header.original < header.captured {
            notes.odd(Odd::OriginalBelowCaptured);
        }
        if header.fraction >= self.unit() {
            notes.odd(Odd::FractionTooLarge);
        }
        let nanos = u64::from(header.fraction) * if self.nanoseconds { 1 } else { 1_000 };
        Record {
            at: Timestamp((u64::from(header.seconds) * 1_000_000_000 + nanos) as i64),
            link: self.link,
            place,
            wire_len: header.original.max(header.captured),
            direction: header.direction,
        }
    }

    #[inline]
    fn header(&self, bytes: &[u8]) -> Header {
        let [seconds, fraction, first, second] = self.order.four(bytes);
        let (captured, original) = match self.lengths {
            Lengths::CapturedFirst => (first, second),
            Lengths::OriginalFirst => (second, first),
            Lengths::Unsure => (first.min(second), first.max(second)),
        };
        Header {
            seconds,
            fraction,
            captured,
            original,
            direction: match self.variant {
                Variant::Standard => Direction::Unknown,
                Variant::Modified => packet_type(bytes.get(22)),
            },
        }
    }

    #[inline]
    fn header_length(&self) -> usize {
        match self.variant {
            Variant::Standard => 16,
            Variant::Modified => 24,
        }
    }

    fn unit(&self) -> u32 {
        if self.nanoseconds { 1_000_000_000 } else { 1_000_000 }
    }

    /// What nearly every record of a sound file satisfies.
    #[inline]
    fn ordinary(&self, header: &Header) -> bool {
        header.captured > 0
            && header.captured <= USUAL_FRAME
            && header.captured <= header.original
            && header.original <= MAX_FRAME as u32
            && header.fraction < self.unit()
            && self.seconds.is_none_or(|last| last.abs_diff(header.seconds) <= USUAL_STEP_SECONDS)
    }

    /// Whether an unusual record is one all the same: it is not all zero, it is all there, and
    /// the file ends after it or goes on with something that could be a header.
    #[cold]
    fn confirmed(&self, header: &Header, window: &mut Window) -> bool {
        let length = self.header_length();
        let end = length + header.captured as usize;
        if header.is_zero() || header.captured as usize > MAX_FRAME || !window.has(end) {
            return false;
        }
        if header.captured == 0 && Pcap::recognises(window.ahead()) {
            return false;
        }
        if !window.has(end + length) {
            return true;
        }
        let next = self.header(&window.ahead()[end..]);
        !next.is_zero()
            && next.captured as usize <= MAX_FRAME
            && next.original as usize <= MAX_FRAME
            && next.fraction < 1_000_000_000
    }

    /// Steps over what is no record, to the next place that looks like several.
    #[cold]
    fn skip_damage(
        &mut self,
        header: &Header,
        window: &mut Window,
        notes: &mut Notes,
    ) -> Option<()> {
        let offset = window.offset();
        if window.has(FILE_HEADER) && Pcap::recognises(window.ahead()) {
            return self.joined(window, notes);
        }
        let whole = self.header_length() + header.captured as usize;
        let missing = header.captured as usize <= MAX_FRAME && !window.has(whole);
        let mut zeros = true;
        while window.has(1) {
            zeros &= window.step();
            if self.chain(window) {
                let skipped = window.offset() - offset;
                notes.damage(offset, &self.nonsense(header), skipped, true);
                return Some(());
            }
        }
        let skipped = window.offset() - offset;
        if zeros {
            notes.damage(offset, &unwritten(skipped), skipped, false);
        } else if missing {
            notes.cut(cut_record(offset, whole, skipped as usize));
        } else {
            notes.damage(offset, &self.nonsense(header), skipped, false);
        }
        None
    }

    /// Goes on with the file that begins here, if its records are such as before.
    #[cold]
    fn joined(&mut self, window: &mut Window, notes: &mut Notes) -> Option<()> {
        let offset = window.offset();
        let next = Pcap::open(window, &mut Notes::default())?;
        let kind = |pcap: &Pcap| (pcap.link, pcap.nanoseconds);
        if kind(&next) == kind(self) {
            notes.joined(offset, Joined::Alike);
            *self = next;
            return Some(());
        }
        notes.joined(offset, Joined::Unlike);
        while window.has(1) {
            window.take(window.ahead().len());
        }
        None
    }

    /// Whether records that make sense together start here.
    fn chain(&self, window: &mut Window) -> bool {
        let length = self.header_length();
        let mut seconds = self.seconds;
        let mut position = 0;
        for links in 0..CHAIN {
            if !window.has(position + length) {
                // The file ends after, or within the header after, the last one.
                return links > 1 || (links == 1 && window.ahead().len() == position);
            }
            let header = self.header(&window.ahead()[position..]);
            let near = seconds.is_none_or(|s| s.abs_diff(header.seconds) <= USUAL_STEP_SECONDS);
            if !near || !self.ordinary(&header) {
                return false;
            }
            seconds = Some(header.seconds);
            position += length + header.captured as usize;
        }
        window.has(position)
    }

    fn nonsense(&self, header: &Header) -> String {
        let Header { seconds, captured, original, .. } = header;
        format!(
            "expected a packet record, found one of {captured} bytes (of {original}) captured at \
             second {seconds}"
        )
    }

    fn end(&self, window: &mut Window, notes: &mut Notes) -> Option<Record> {
        let rest = window.ahead().len();
        if window.ahead().iter().any(|byte| *byte != 0) {
            notes.cut(cut_record(window.offset(), self.header_length(), rest));
        } else if rest > 0 {
            notes.damage(window.offset(), &unwritten(rest as u64), rest as u64, false);
        }
        window.take(rest);
        None
    }
}

fn cut_record(offset: u64, promised: usize, found: usize) -> Cut {
    Cut { item: "record", offset, promised: promised as u64, found: found as u64 }
}

fn unwritten(zeros: u64) -> String {
    format!("{zeros} zero bytes, space that was reserved and never written")
}

/// Linux `PACKET_HOST` (0) to `PACKET_OUTGOING` (4), as the modified format stores it.
fn packet_type(kind: Option<&u8>) -> Direction {
    match kind {
        Some(0..=2) => Direction::Inbound,
        Some(4) => Direction::Outbound,
        _ => Direction::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::super::CaptureInfo;
    use super::super::testing::{PcapFile, read};
    use super::*;

    fn three(file: PcapFile) -> PcapFile {
        file.record(10, 1, b"first").record(10, 2, b"second").record(11, 3, b"third")
    }

    #[test]
    fn reads_every_variant_in_both_orders() {
        for order in [Order::Little, Order::Big] {
            for (magic, name, unit) in [
                (0xa1b2_c3d4, "pcap", 1_000),
                (0xa1b2_3c4d, "pcap-ns", 1),
                (0xa1b2_cd34, "pcap-modified", 1_000),
            ] {
                let (frames, info) = read(three(PcapFile::new(magic, order, 1)).bytes);
                assert_eq!(info.format, name);
                assert_eq!(info.warnings, [""; 0]);
                assert_eq!(frames.len(), 3);
                assert_eq!(frames[1].bytes, b"second");
                assert_eq!(frames[1].at, Timestamp(10_000_000_000 + 2 * unit));
                assert_eq!((frames[2].number, frames[2].wire_len), (3, 5));
                assert_eq!(info.last, Some(Timestamp(11_000_000_000 + 3 * unit)));
            }
        }
    }

    #[test]
    fn the_link_type_is_freed_of_the_bits_about_the_frame_check_sequence() {
        let file = PcapFile::new(0xa1b2_c3d4, Order::Little, 0x4400_0001).record(1, 0, b"x");
        assert_eq!(read(file.bytes).0[0].link, LinkType(1));
    }

    #[test]
    fn the_oldest_versions_have_the_lengths_the_other_way_round() {
        for minor in [2, 3] {
            let mut file = PcapFile::new(0xa1b2_c3d4, Order::Big, 1).record(1, 0, b"four");
            file.bytes[7] = minor;
            file.bytes[32..40].copy_from_slice(&[0, 0, 0, 9, 0, 0, 0, 4]);
            let (frames, _) = read(file.bytes);
            assert_eq!((frames[0].bytes.len(), frames[0].wire_len), (4, 9));
        }
    }

    #[test]
    fn tolerates_what_other_tools_read() {
        let mut file = PcapFile::new(0xa1b2_c3d4, Order::Little, 1).record(1, 0, b"ok");
        file = file.header(1, 0, 3, 2).raw(b"abc"); // original below captured
        file = file.record(1, 1_500_000, b"late"); // more than a second of microseconds
        file = file.record(2, 0, &vec![7; 300_000]).record(2, 1, b"end"); // above any snap length
        let (frames, info) = read(file.bytes);
        assert_eq!(frames.len(), 5);
        assert_eq!(frames[1].wire_len, 3);
        assert_eq!(frames[2].at, Timestamp(2_500_000_000));
        assert_eq!(info.damaged_at, None);
        assert_eq!(info.warnings.len(), 2);
    }

    #[test]
    fn a_day_without_packets_is_no_damage() {
        let file = PcapFile::new(0xa1b2_c3d4, Order::Little, 1)
            .record(1_000, 0, b"a")
            .record(1_000_000, 0, b"b")
            .record(2_000, 0, b"c");
        let (frames, info) = read(file.bytes);
        assert_eq!((frames.len(), info.warnings.len()), (3, 0));
    }

    #[test]
    fn a_cut_file_says_where_and_how_much_is_missing() {
        let mut bytes = three(PcapFile::new(0xa1b2_c3d4, Order::Little, 1)).bytes;
        bytes.truncate(bytes.len() - 2);
        let (frames, info) = read(bytes);
        assert_eq!(frames.len(), 2);
        assert_eq!(info.damaged_at, Some(67));
        assert_eq!(
            info.warnings,
            ["record at offset 67 promises 21 bytes, the file ends after 19: cut short, probably \
              still being written"]
        );
    }

    #[test]
    fn files_joined_end_to_end_are_read_on_and_said() {
        let one = || three(PcapFile::new(0xa1b2_c3d4, Order::Little, 1)).bytes;
        let end = one().len() as u64;
        let joined = |next: Vec<u8>| read([one(), next].concat());
        let said = |info: &CaptureInfo, what: &str| {
            let start =
                format!("another pcap begins at offset {end}: files were joined end to end");
            assert_eq!((info.damaged_at, info.warnings.len()), (Some(end), 1));
            let warning = &info.warnings[0];
            assert!(warning.starts_with(&start) && warning.contains(what), "{warning}");
        };
        let (frames, info) = joined(one());
        assert_eq!(frames.len(), 6);
        said(&info, "it was read on");
        let (frames, info) = joined(three(PcapFile::new(0xa1b2_c3d4, Order::Big, 1)).bytes);
        assert_eq!(frames.len(), 6);
        said(&info, "it was read on");
        // Nothing but a header.
        let (frames, info) = joined(PcapFile::new(0xa1b2_c3d4, Order::Little, 1).bytes);
        assert_eq!(frames.len(), 3);
        said(&info, "it was read on");
        // Nanoseconds, and another link type.
        for next in [
            PcapFile::new(0xa1b2_3c4d, Order::Little, 1),
            PcapFile::new(0xa1b2_c3d4, Order::Little, 113),
        ] {
            let (frames, info) = joined(three(next).bytes);
            assert_eq!(frames.len(), 3);
            said(&info, "cut the file there");
        }
    }

    #[test]
    fn zeros_at_the_end_are_no_packets() {
        for zeros in [5, 100, 3 << 20] {
            let mut bytes = three(PcapFile::new(0xa1b2_c3d4, Order::Little, 1)).bytes;
            let end = bytes.len() as u64;
            bytes.resize(bytes.len() + zeros, 0);
            let (frames, info) = read(bytes);
            assert_eq!((frames.len(), info.damaged_at), (3, Some(end)));
            assert!(info.warnings[0].contains("never written"), "{:?}", info.warnings);
        }
    }

    #[test]
    fn goes_on_after_damage() {
        for garbage in [vec![0xff; 1_000], vec![0; 999], b"kernel: hello\n".repeat(9)] {
            let mut file = three(PcapFile::new(0xa1b2_c3d4, Order::Big, 1));
            let at = file.bytes.len() as u64;
            file = three(file.raw(&garbage));
            let (frames, info) = read(file.bytes);
            assert_eq!(frames.len(), 6, "{:?}", info.warnings);
            assert_eq!(info.damaged_at, Some(at));
            let skipped = format!("skipped {} bytes", garbage.len());
            assert!(info.warnings[0].contains(&skipped), "{:?}", info.warnings);
        }
    }

    #[test]
    fn hostile_lengths_take_linear_time() {
        // Every header promises 2 MiB, none is confirmed, and a chain starts after each.
        let mut file = PcapFile::new(0xa1b2_c3d4, Order::Little, 1).record(5, 0, b"x");
        for _ in 0..5_000 {
            file = file.header(900_000, 0, 2 << 20, 0);
            file = three(file);
        }
        let (frames, info) = read(file.raw(&vec![0xff; 3 << 20]).bytes);
        assert!(frames.len() > 5_000);
        assert!(info.warnings.len() < 20);
    }
}
