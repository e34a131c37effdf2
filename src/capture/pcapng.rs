//! The pcapng format: blocks, each with its type and its length at both ends.
//!
//! Layout: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-05.html>. A file may hold
//! several sections, each with its own byte order, and any number of interfaces, each with its
//! own link type, snap length and clock; libpcap gives up on such files. Blocks that say nothing
//! about packets or keys (names, custom ones) are stepped over.

use std::ops::Range;

use super::Direction;
use super::notes::{Notes, Odd};
use super::original::{Aside, Asides, Original, may_be_copied, of_block, units};
use super::pcapng_blocks::{
    Block, Blocks, CUSTOM, CUSTOM_NO_COPY, DECRYPTION_SECRETS, ENHANCED_PACKET,
    INTERFACE_DESCRIPTION, INTERFACE_STATISTICS, JOURNAL_EXPORT, NAME_RESOLUTION, PACKET,
    SECTION_HEADER, SIMPLE_PACKET,
};
use super::pcapng_interface::{Drops, Interface};
use super::pcapng_options::{direction, options};
use super::reader::Record;
use super::secrets::Secrets;
use super::window::{MAX_FRAME, Window};
use super::write::BlockOptions;
use crate::time::Timestamp;

/// Interfaces kept per section. Container hosts have thousands; 20 bytes in a file must not
/// cost memory without end.
const MAX_INTERFACES: usize = 1 << 16;

/// Reader of the blocks of one pcapng file.
#[derive(Debug, Default)]
pub(super) struct Pcapng {
    blocks: Blocks,
    interfaces: Vec<Interface>,
    last: Option<Timestamp>,
    /// Drops of the sections that have ended.
    drops: Drops,
    others_numbered: u64,
    secrets: Secrets,
    /// The block of the last packet.
    packet: Option<(u32, Range<usize>)>,
    /// What is not a packet, for those who want it.
    asides: Option<Asides>,
}

/// Bytes before the packet itself in an Enhanced Packet Block and in a Packet Block.
const HEADER: usize = 20;

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

    /// Keys that were met and not taken yet.
    #[inline]
    pub(super) fn secrets(&mut self) -> &mut Secrets {
        &mut self.secrets
    }

    /// The next packet, or `None` at the end.
    #[inline]
    pub(super) fn next(&mut self, window: &mut Window, notes: &mut Notes) -> Option<Record> {
        loop {
            let Block { kind, body } = self.blocks.next(window, notes)?;
            match kind {
                ENHANCED_PACKET => {
                    if let Some(record) = self.enhanced_packet(body.clone(), window, notes) {
                        self.packet = Some((kind, body));
                        return Some(record);
                    }
                }
                PACKET => {
                    if let Some(record) = self.packet(body.clone(), window, notes) {
                        self.packet = Some((kind, body));
                        return Some(record);
                    }
                }
                SIMPLE_PACKET => {
                    if let Some(record) = self.simple_packet(body.clone(), window, notes) {
                        self.packet = Some((kind, body));
                        return Some(record);
                    }
                }
                SECTION_HEADER => self.section(window.at(body), notes),
                INTERFACE_DESCRIPTION => self.interface(window.at(body), notes),
                DECRYPTION_SECRETS => {
                    self.secrets.block(window.at(body.clone()), self.blocks.order, notes);
                    self.aside(|order| Aside::secrets(window.at(body), order));
                }
                INTERFACE_STATISTICS => self.statistics(window.at(body), notes),
                JOURNAL_EXPORT | CUSTOM | CUSTOM_NO_COPY => self.numbered(kind, window.at(body)),
                NAME_RESOLUTION => self.aside(|order| Aside::names(window.at(body), order)),
                _ => {}
            }
        }
    }

    /// Keeps from now on what is not a packet.
    pub(super) fn keep_asides(&mut self) {
        self.asides.get_or_insert_default();
    }

    pub(super) fn asides(&mut self) -> Option<&mut Asides> {
        self.asides.as_mut()
    }

    #[cold]
    fn aside(&mut self, make: impl FnOnce(super::bytes::Order) -> Aside) {
        if let Some(asides) = &mut self.asides {
            asides.push(make(self.blocks.order));
        }
    }

    #[cold]
    fn numbered(&mut self, kind: u32, body: &[u8]) {
        self.others_numbered += 1;
        if may_be_copied(kind) {
            self.aside(|order| Aside::numbered(kind, body, order));
        }
    }

    /// The packet that [`next`](Pcapng::next) gave last, as the file holds it.
    pub(super) fn original<'a>(&self, record: &Record, window: &'a Window) -> Original<'a> {
        let order = self.blocks.order;
        let packet = self.packet.clone();
        let (kind, body) = packet.map_or((0, &[][..]), |(kind, body)| (kind, window.at(body)));
        let mut original = Original {
            interface: 0,
            units: units(body, 4, order),
            bytes: window.at(record.place.clone()),
            wire_len: record.wire_len,
            options: BlockOptions::default(),
        };
        match kind {
            ENHANCED_PACKET => original.interface = order.u32(body, 0),
            PACKET => {
                original.interface = u32::from(order.u16(body, 0));
                // What it has in its header is an option by now.
                let drops = order.u16(body, 2);
                if drops != 0 && drops != u16::MAX {
                    original.options.drops(u64::from(drops));
                }
            }
            _ => {
                let clock = self.interfaces.first().map(|interface| interface.clock);
                original.units = clock.map_or(0, |clock| clock.units(record.at));
                return original;
            }
        }
        let after = HEADER + record.place.len().next_multiple_of(4);
        original.options.extend(&of_block(ENHANCED_PACKET, body.get(after..), order));
        original
    }

    #[inline]
    fn enhanced_packet(
        &mut self,
        body: Range<usize>,
        window: &Window,
        notes: &mut Notes,
    ) -> Option<Record> {
        let bytes = window.at(body.clone());
        let interface = self.blocks.order.u32(bytes, 0) as usize;
        self.timed_packet(interface, None, body, bytes, notes)
    }

    fn packet(&mut self, body: Range<usize>, window: &Window, notes: &mut Notes) -> Option<Record> {
        let bytes = window.at(body.clone());
        let interface = usize::from(self.blocks.order.u16(bytes, 0));
        // 0xffff says that the number of drops is not known.
        let drops = Some(self.blocks.order.u16(bytes, 2)).filter(|drops| *drops != u16::MAX);
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
        let order = self.blocks.order;
        let Some(interface) = self.interfaces.get_mut(interface) else {
            notes.odd(Odd::UndeclaredInterface);
            return None;
        };
        let units = units(bytes, 4, order);
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
        let original = self.blocks.order.u32(bytes, 0);
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
        self.aside(|order| Aside::section(body, order));
        self.drops
            .add(self.interfaces.iter().map(|i| i.drops.count()).fold(0, u64::saturating_add));
        self.interfaces.clear();
        // 1.2 was written by some tools and means the same.
        if !matches!((self.blocks.order.u16(body, 4), self.blocks.order.u16(body, 6)), (1, 0 | 2)) {
            notes.odd(Odd::UnknownVersion);
        }
    }

    fn interface(&mut self, body: &[u8], notes: &mut Notes) {
        if self.interfaces.len() >= MAX_INTERFACES {
            notes.odd(Odd::TooManyInterfaces);
            return;
        }
        let interface = Interface::parse(body, self.blocks.order, notes);
        let (link, snaplen) = (interface.link, interface.snaplen);
        self.aside(|order| Aside::interface(link, snaplen, body, order));
        self.interfaces.push(interface);
    }

    fn statistics(&mut self, body: &[u8], notes: &mut Notes) {
        let index = self.blocks.order.u32(body, 0) as usize;
        match self.interfaces.get_mut(index) {
            Some(interface) => {
                interface.drops.statistics(body, self.blocks.order, notes);
                self.aside(|order| Aside::statistics(body, order));
            }
            None => notes.odd(Odd::UndeclaredInterface),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::LinkType;
    use super::super::bytes::Order;
    use super::super::pcapng_blocks::USUAL_BLOCK;
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
