//! The pcapng format: blocks, each with its type and its length at both ends.
//!
//! Layout: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-05.html>. A file may hold
//! several sections, each with its own byte order, and any number of interfaces, each with its
//! own link type, snap length and clock; libpcap gives up on such files. Blocks that say nothing
//! about packets (names, secrets, custom ones) are stepped over.
//!
//! A block whose two lengths agree is believed. After damage we go on at the next block of a
//! known type whose lengths agree.

use std::ops::Range;

use super::Direction;
use super::bytes::Order;
use super::notes::{Cut, Notes, Odd};
use super::pcapng_interface::{Drops, Interface};
use super::pcapng_options::{direction, options};
use super::reader::Record;
use super::window::{MAX_FRAME, MAX_ITEM, Window};
use crate::time::Timestamp;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
/// Obsolete since 2009, still in old files.
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
const DECRYPTION_SECRETS: u32 = 10;

/// What Wireshark lists as frames of their own, besides packets: systemd journal entries and
/// custom blocks (to be copied with the file, and not to be).
const JOURNAL_EXPORT: u32 = 9;
const CUSTOM: u32 = 0x0000_0bad;
const CUSTOM_NO_COPY: u32 = 0x4000_0bad;

const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

/// Type and length in front, length behind.
const SMALLEST_BLOCK: usize = 12;

/// Interfaces kept per section. Container hosts have thousands; 20 bytes in a file must not
/// cost memory without end.
const MAX_INTERFACES: usize = 1 << 16;

/// Longest block that is taken for one while we search after damage; also what a packet may
/// have in options before its length looks wrong.
const USUAL_BLOCK: usize = 1 << 20;

/// Reader of the blocks of one pcapng file.
#[derive(Debug)]
pub(super) struct Pcapng {
    order: Order,
    interfaces: Vec<Interface>,
    last: Option<Timestamp>,
    /// Drops of the sections that have ended.
    drops: Drops,
    others_numbered: u64,
}

impl Default for Pcapng {
    fn default() -> Pcapng {
        Pcapng {
            order: Order::Little,
            interfaces: Vec::new(),
            last: None,
            drops: Drops::default(),
            others_numbered: 0,
        }
    }
}

impl Pcapng {
    /// Whether the first bytes are those of a section header.
    pub(super) fn recognises(head: &[u8]) -> bool {
        head.starts_with(&SECTION_HEADER.to_be_bytes())
    }

    /// Packets that the capturing host says it lost.
    pub(super) fn drops(&self) -> u64 {
        self.interfaces
            .iter()
            .fold(self.drops.count(), |sum, i| sum.saturating_add(i.drops.count()))
    }

    /// Blocks so far that are no packets and have a frame number in Wireshark all the same.
    pub(super) fn others_numbered(&self) -> u64 {
        self.others_numbered
    }

    /// The next packet, or `None` at the end.
    #[inline]
    pub(super) fn next(&mut self, window: &mut Window, notes: &mut Notes) -> Option<Record> {
        loop {
            if !window.has(SMALLEST_BLOCK) {
                return end(window, notes);
            }
            let (kind, length) = match self.block(window) {
                Ok(found) => found,
                Err(problem) => {
                    self.skip_damage(problem, window, notes)?;
                    continue;
                }
            };
            let padded = length.next_multiple_of(4);
            if padded != length {
                notes.odd(Odd::UnpaddedBlock);
            }
            let place = window.take(padded);
            let body = place.start + 8..place.start + length - 4;
            match kind {
                ENHANCED_PACKET => {
                    if let Some(record) = self.enhanced_packet(body, window, notes) {
                        return Some(record);
                    }
                }
                PACKET => {
                    if let Some(record) = self.packet(body, window, notes) {
                        return Some(record);
                    }
                }
                SIMPLE_PACKET => {
                    if let Some(record) = self.simple_packet(body, window, notes) {
                        return Some(record);
                    }
                }
                SECTION_HEADER => self.section(window.at(body), notes),
                INTERFACE_DESCRIPTION => self.interface(window.at(body), notes),
                INTERFACE_STATISTICS => self.statistics(window.at(body), notes),
                JOURNAL_EXPORT | CUSTOM | CUSTOM_NO_COPY => self.others_numbered += 1,
                _ => {}
            }
        }
    }

    /// Type and length of the block ahead, all of which is in memory then.
    #[inline]
    fn block(&mut self, window: &mut Window) -> Result<(u32, usize), Problem> {
        let head = window.ahead();
        let mut kind = self.order.u32(head, 0);
        if kind == SECTION_HEADER {
            // The same in both byte orders; the magic tells which one it is.
            self.order = match (Order::Little.u32(head, 8), Order::Big.u32(head, 8)) {
                (BYTE_ORDER_MAGIC, _) => Order::Little,
                (_, BYTE_ORDER_MAGIC) => Order::Big,
                (other, _) => return Err(Problem::Magic(other)),
            };
            kind = SECTION_HEADER;
        }
        let length = self.order.u32(head, 4) as usize;
        if !(SMALLEST_BLOCK..=MAX_ITEM).contains(&length) {
            return Err(Problem::Length { kind, length });
        }
        let padded = length.next_multiple_of(4);
        if !window.has(padded) {
            let believable = self.believable(kind, length, window.ahead());
            return Err(Problem::Cut { length: padded, believable });
        }
        // Some writers forget to count the padding.
        let again = self.order.u32(window.ahead(), length - 4) as usize;
        if again != length && self.order.u32(window.ahead(), padded - 4) as usize != length {
            return Err(Problem::Disagree { kind, length, again });
        }
        Ok((kind, length))
    }

    /// Whether a block whose end is missing is likely to be what its head says.
    fn believable(&self, kind: u32, length: usize, head: &[u8]) -> bool {
        let packet = |captured: u32| {
            let rest = length.saturating_sub(captured as usize);
            captured as usize <= length && rest <= USUAL_BLOCK
        };
        match kind {
            ENHANCED_PACKET | PACKET if head.len() < 28 => true,
            ENHANCED_PACKET | PACKET => packet(self.order.u32(head, 20)),
            SIMPLE_PACKET => packet(self.order.u32(head, 8)),
            _ => known(kind) && length <= USUAL_BLOCK,
        }
    }

    #[inline]
    fn enhanced_packet(
        &mut self,
        body: Range<usize>,
        window: &Window,
        notes: &mut Notes,
    ) -> Option<Record> {
        let bytes = window.at(body.clone());
        let interface = self.order.u32(bytes, 0) as usize;
        self.timed_packet(interface, None, body, bytes, notes)
    }

    fn packet(&mut self, body: Range<usize>, window: &Window, notes: &mut Notes) -> Option<Record> {
        let bytes = window.at(body.clone());
        let interface = usize::from(self.order.u16(bytes, 0));
        // 0xffff says that the number of drops is not known.
        let drops = Some(self.order.u16(bytes, 2)).filter(|drops| *drops != u16::MAX);
        self.timed_packet(interface, drops, body, bytes, notes)
    }

    /// Enhanced Packet Block and Packet Block differ in their first four bytes only.
    #[inline]
    fn timed_packet(
        &mut self,
        interface: usize,
        drops: Option<u16>,
        body: Range<usize>,
        bytes: &[u8],
        notes: &mut Notes,
    ) -> Option<Record> {
        const HEADER: usize = 20;
        let order = self.order;
        let Some(interface) = self.interfaces.get_mut(interface) else {
            notes.odd(Odd::UndeclaredInterface);
            return None;
        };
        let units = u64::from(order.u32(bytes, 4)) << 32 | u64::from(order.u32(bytes, 8));
        let promised = order.u32(bytes, 12) as usize;
        let original = order.u32(bytes, 16);
        let captured = promised.min(bytes.len().saturating_sub(HEADER)).min(MAX_FRAME);
        if captured < promised {
            notes.odd(Odd::LongerThanBlock);
        }
        if (original as usize) < captured {
            notes.odd(Odd::OriginalBelowCaptured);
        }
        let mut way = Direction::Unknown;
        if let Some(drops) = drops {
            interface.drops.add(u64::from(drops));
        }
        let after = HEADER + captured.next_multiple_of(4);
        if after + 4 <= bytes.len() {
            for option in options(&bytes[after..], order) {
                match option {
                    // epb_flags and pack_flags, epb_dropcount.
                    Ok((2, value)) => way = direction(order.u32(value, 0)),
                    Ok((4, value)) => interface.drops.add(order.u64(value, 0)),
                    Ok(_) => {}
                    Err(_) => notes.odd(Odd::BrokenOption),
                }
            }
        }
        let at = interface.clock.time(units);
        self.last = Some(at);
        let start = (body.start + HEADER).min(body.end);
        Some(Record {
            at,
            link: interface.link,
            place: start..start + captured,
            wire_len: original.max(captured as u32),
            direction: way,
        })
    }

    fn simple_packet(
        &mut self,
        body: Range<usize>,
        window: &Window,
        notes: &mut Notes,
    ) -> Option<Record> {
        let bytes = window.at(body.clone());
        let Some(interface) = self.interfaces.first() else {
            notes.odd(Odd::UndeclaredInterface);
            return None;
        };
        notes.odd(Odd::NoTime);
        let original = self.order.u32(bytes, 0);
        // The captured length is not stored: it follows from the original and the snap length.
        let snaplen = if interface.snaplen == 0 { u32::MAX } else { interface.snaplen };
        let captured = (original.min(snaplen) as usize).min(bytes.len().saturating_sub(4));
        let start = (body.start + 4).min(body.end);
        Some(Record {
            at: self.last.unwrap_or_default(),
            link: interface.link,
            place: start..start + captured,
            wire_len: original.max(captured as u32),
            direction: Direction::Unknown,
        })
    }

    fn section(&mut self, body: &[u8], notes: &mut Notes) {
        self.drops
            .add(self.interfaces.iter().map(|i| i.drops.count()).fold(0, u64::saturating_add));
        self.interfaces.clear();
        // 1.2 was written by some tools and means the same.
        if !matches!((self.order.u16(body, 4), self.order.u16(body, 6)), (1, 0 | 2)) {
            notes.odd(Odd::UnknownVersion);
        }
    }

    fn interface(&mut self, body: &[u8], notes: &mut Notes) {
        if self.interfaces.len() >= MAX_INTERFACES {
            notes.odd(Odd::TooManyInterfaces);
            return;
        }
        self.interfaces.push(Interface::parse(body, self.order, notes));
    }

    fn statistics(&mut self, body: &[u8], notes: &mut Notes) {
        let index = self.order.u32(body, 0) as usize;
        match self.interfaces.get_mut(index) {
            Some(interface) => interface.drops.statistics(body, self.order, notes),
            None => notes.odd(Odd::UndeclaredInterface),
        }
    }

    /// Steps over what is no block, to the next place that looks like one.
    #[cold]
    fn skip_damage(
        &mut self,
        problem: Problem,
        window: &mut Window,
        notes: &mut Notes,
    ) -> Option<()> {
        let offset = window.offset();
        // The bytes of a packet that is cut may look like a block by chance, or be one.
        let careful = matches!(problem, Problem::Cut { believable: true, .. });
        let mut zeros = true;
        while window.has(1) {
            zeros &= window.step();
            let found = self.plausible(window, 0).is_some_and(|next| {
                !careful || !window.has(next + 1) || self.plausible(window, next).is_some()
            });
            if found {
                let skipped = window.offset() - offset;
                notes.damage(offset, &problem.to_string(), skipped, true);
                return Some(());
            }
        }
        let skipped = window.offset() - offset;
        match problem {
            Problem::Cut { length, .. } => {
                notes.cut(Cut { item: "block", offset, promised: length as u64, found: skipped })
            }
            _ if zeros => notes.damage(
                offset,
                &format!("{skipped} zero bytes, space that was reserved and never written"),
                skipped,
                false,
            ),
            _ => notes.damage(offset, &problem.to_string(), skipped, false),
        }
        None
    }

    /// Where the block ends that starts `at` bytes ahead, if one of a known type with lengths
    /// that agree does.
    fn plausible(&self, window: &mut Window, at: usize) -> Option<usize> {
        if !window.has(at + SMALLEST_BLOCK) {
            return None;
        }
        let head = &window.ahead()[at..];
        let orders = if head.starts_with(&SECTION_HEADER.to_be_bytes()) {
            [Order::Little, Order::Big].map(|o| (o.u32(head, 8) == BYTE_ORDER_MAGIC).then_some(o))
        } else {
            [Some(self.order).filter(|order| known(order.u32(head, 0))), None]
        };
        orders.into_iter().flatten().find_map(|order| {
            let length = order.u32(&window.ahead()[at..], 4) as usize;
            let end = at + length;
            let plausible = (SMALLEST_BLOCK..=USUAL_BLOCK).contains(&length)
                && length.is_multiple_of(4)
                && window.has(end)
                && order.u32(window.ahead(), end - 4) as usize == length;
            plausible.then_some(end)
        })
    }
}

fn known(kind: u32) -> bool {
    // Between 1 and 6: packets, names and statistics.
    matches!(kind, SECTION_HEADER | INTERFACE_DESCRIPTION..=ENHANCED_PACKET | DECRYPTION_SECRETS)
}

fn end(window: &mut Window, notes: &mut Notes) -> Option<Record> {
    let found = window.ahead().len();
    if found > 0 {
        notes.cut(Cut {
            item: "block",
            offset: window.offset(),
            promised: SMALLEST_BLOCK as u64,
            found: found as u64,
        });
        window.take(found);
    }
    None
}

/// Why a block is not believed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum Problem {
    #[error("expected the byte-order magic 0x1a2b3c4d, found 0x{0:08x}")]
    Magic(u32),
    #[error("expected a block, found one of type {kind} that is {length} bytes long")]
    Length { kind: u32, length: usize },
    #[error(
        "expected a block of type {kind} to end with its length of {length} bytes, found {again}"
    )]
    Disagree { kind: u32, length: usize, again: usize },
    #[error("expected a block of {length} bytes, found the end of the file")]
    Cut { length: usize, believable: bool },
}

#[cfg(test)]
mod tests {
    use super::super::LinkType;
    use super::super::testing::{PcapngFile, Seen, read};
    use super::*;

    const ORDERS: [Order; 2] = [Order::Little, Order::Big];

    fn plain(order: Order) -> PcapngFile {
        PcapngFile::new(order)
            .interface(1, 0, &[])
            .packet(0, 1_000_000, b"first")
            .packet(0, 2_000_000, b"second")
    }

    fn payloads(frames: &[Seen]) -> Vec<&[u8]> {
        frames.iter().map(|frame| &frame.bytes[..]).collect()
    }

    #[test]
    fn interfaces_with_their_own_link_type_clock_and_options() {
        for order in ORDERS {
            let file = PcapngFile::new(order);
            let nanoseconds = [file.option(9, &[9]), file.option64(14, -1i64 as u64)].concat();
            let halves = file.option(9, &[0x81]);
            let flags = [file.option(1, b"\xff comment"), file.option32(2, 2)].concat();
            let file = file
                .interface(1, 65_535, &nanoseconds)
                .interface(113, 100, &halves)
                .block(0x0bad_beef, b"unknown")
                .packet(1, 3, b"cooked")
                .packet_with(0, 5, b"ethernet", &flags);
            let (frames, info) = read(file.bytes);
            assert_eq!(payloads(&frames), [&b"cooked"[..], b"ethernet"]);
            assert_eq!(frames[0].at, Timestamp(1_500_000_000));
            assert_eq!(frames[1].at, Timestamp(5 - 1_000_000_000));
            assert_eq!(frames[1].direction, Direction::Outbound);
            assert_eq!(info.link_types, [LinkType(113), LinkType(1)]);
            assert_eq!((info.warnings, info.format), (vec![], "pcapng"));
        }
    }

    #[test]
    fn sections_have_their_own_byte_order_and_interfaces() {
        let file = plain(Order::Little).section(Order::Big).interface(101, 0, &[]);
        let (frames, info) = read(file.packet(0, 7, b"third").packet(1, 8, b"lost").bytes);
        assert_eq!(payloads(&frames), [&b"first"[..], b"second", b"third"]);
        assert_eq!(frames[2].link, LinkType(101));
        assert_eq!(info.warnings.len(), 1);
    }

    #[test]
    fn old_and_simple_packets() {
        for order in ORDERS {
            let file = PcapngFile::new(order)
                .interface(1, 4, &[])
                .old_packet(0, 3, 1_000_000, b"old")
                .old_packet(0, u16::MAX, 2_000_000, b"older")
                .simple_packet(9, b"simp");
            let (frames, info) = read(file.bytes);
            assert_eq!(payloads(&frames), [&b"old"[..], b"older", b"simp"]);
            assert_eq!((frames[2].at, frames[2].wire_len), (frames[1].at, 9));
            assert_eq!((info.kernel_drops, info.cut_frames), (3, 1));
            assert_eq!(info.warnings.len(), 1);
        }
    }

    #[test]
    fn frame_numbers_are_those_of_wireshark() {
        let file = PcapngFile::new(Order::Big).interface(1, 0, &[]).block(0xbad, b"PEN.");
        let file = file.packet(0, 1, b"2").block(77, b"").block(9, b"").packet(0, 2, b"4");
        let (frames, info) = read(file.bytes);
        assert_eq!((frames[0].number, frames[1].number, info.packets), (2, 4, 2));
    }

    #[test]
    fn drops_are_summed_over_interfaces_and_sections() {
        let file = PcapngFile::new(Order::Big).interface(1, 0, &[]).interface(1, 0, &[]);
        let (drops, count) = (file.option64(5, 10), file.option64(4, 2));
        let file = file.statistics(0, &drops).packet_with(1, 1, b"x", &count);
        let file = file.section(Order::Little).interface(1, 0, &[]);
        let drops = file.option64(7, 100);
        assert_eq!(read(file.statistics(0, &drops).bytes).1.kernel_drops, 112);
    }

    #[test]
    fn tolerates_what_other_tools_read() {
        let file = PcapngFile::new(Order::Little).interface(1, 2, &[]);
        let mut broken = file.option(1, b"abcd");
        broken[2] = 200;
        let file = file.packet_with(0, 1, b"longer than the snap length", &broken);
        let mut file = file.packet(0, 2, b"promises more");
        let at = file.bytes.len() - 12 - 16;
        file.bytes[at] = 90;
        let (frames, info) = read(file.packet(3, 0, b"undeclared").packet(0, 3, b"end").bytes);
        assert_eq!(frames.len(), 3);
        assert_eq!(frames[0].bytes, b"longer than the snap length");
        assert!(frames[1].bytes.starts_with(b"promises more"));
        assert_eq!((info.damaged_at, info.warnings.len()), (None, 4), "{:?}", info.warnings);
    }

    #[test]
    fn a_cut_file_says_where() {
        let bytes = plain(Order::Big).bytes;
        let whole = bytes.len();
        let (frames, info) = read(bytes[..whole - 10].to_vec());
        assert_eq!(payloads(&frames), [b"first"]);
        assert_eq!(info.damaged_at, Some(whole as u64 - 40));
        assert_eq!(
            info.warnings,
            ["block at offset 88 promises 40 bytes, the file ends after 30: cut short, probably \
              still being written"]
        );
    }

    #[test]
    fn goes_on_after_damage() {
        for order in ORDERS {
            for garbage in [vec![0xff; 1_001], vec![0; 70], b"text between blocks\n".to_vec()] {
                let file = plain(order);
                let at = file.bytes.len() as u64;
                let file = file.raw(&garbage).packet(0, 3, b"third").section(Order::Little);
                let (frames, info) = read(file.interface(1, 0, &[]).packet(0, 4, b"4").bytes);
                assert_eq!(payloads(&frames), [&b"first"[..], b"second", b"third", b"4"]);
                assert_eq!(info.damaged_at, Some(at));
                let skipped = format!("skipped {} bytes", garbage.len());
                assert!(info.warnings[0].contains(&skipped), "{:?}", info.warnings);
            }
        }
    }

    #[test]
    fn a_wrong_length_loses_one_block() {
        for length in [0u8, 13, 200] {
            let mut file = plain(Order::Little);
            let at = file.bytes.len() - 40 + 4;
            file.bytes[at] = length;
            let (frames, info) = read(file.packet(0, 3, b"third").bytes);
            assert_eq!(payloads(&frames), [b"first", b"third"], "{length}");
            assert_eq!(info.damaged_at, Some(88));
        }
    }

    #[test]
    fn hostile_lengths_take_linear_time() {
        let mut file = plain(Order::Little);
        for _ in 0..20_000 {
            let length = (USUAL_BLOCK as u32).to_le_bytes();
            file = file.raw(&[6, 0, 0, 0]).raw(&length).packet(0, 1, b"x");
        }
        let (frames, info) = read(file.raw(&vec![1; 2 * USUAL_BLOCK]).bytes);
        assert_eq!(frames.len(), 20_002);
        assert!(info.warnings.len() < 20);
    }

    #[test]
    fn memory_does_not_follow_the_number_of_interfaces() {
        let mut file = PcapngFile::new(Order::Big);
        for _ in 0..MAX_INTERFACES + 5 {
            file = file.interface(1, 0, &[]);
        }
        let (frames, info) = read(file.packet(MAX_INTERFACES as u32, 1, b"x").bytes);
        assert_eq!((frames.len(), info.warnings.len()), (0, 2));
    }
}
