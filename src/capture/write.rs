//! Writes pcapng: a section, its interfaces, packets with comments, secrets to decrypt them.
//!
//! Layout: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-05.html>. Always little-endian,
//! one section. The crates that write pcapng either round times, want a newer compiler or lose
//! options that Wireshark shows; the blocks are simple enough.

use super::pcapng_blocks::{
    BYTE_ORDER_MAGIC, DECRYPTION_SECRETS, ENHANCED_PACKET, INTERFACE_DESCRIPTION,
    INTERFACE_STATISTICS, SECTION_HEADER,
};
use super::{Direction, LinkType};
use std::io::{self, Write};

/// `opt_comment`, in every block.
const COMMENT: u16 = 1;
/// `shb_userappl`.
const USER_APPLICATION: u16 = 4;
/// `if_name`.
const NAME: u16 = 2;
/// `if_description`.
const DESCRIPTION: u16 = 3;
/// `if_tsresol`.
const RESOLUTION: u16 = 9;
/// `epb_flags`.
const FLAGS: u16 = 2;
/// `epb_dropcount`.
const DROPS: u16 = 4;
/// `isb_starttime`.
const STARTED: u16 = 2;
/// `isb_endtime`.
const ENDED: u16 = 3;
/// `isb_ifrecv`.
const RECEIVED: u16 = 4;
/// `isb_ifdrop`.
const INTERFACE_DROPS: u16 = 5;
/// `isb_osdrop`.
const SYSTEM_DROPS: u16 = 7;

/// Options of a block, in the order in which they were added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockOptions(Vec<u8>);

impl BlockOptions {
    /// Adds an option. Its length is a 16-bit number: what is longer is cut there.
    pub(super) fn add(&mut self, code: u16, value: &[u8]) {
        let value = &value[..value.len().min(usize::from(u16::MAX))];
        self.0.extend(code.to_le_bytes());
        self.0.extend((value.len() as u16).to_le_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn text(&mut self, code: u16, text: &str) {
        let mut end = text.len().min(usize::from(u16::MAX));
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.add(code, &text.as_bytes()[..end]);
    }

    /// Adds a comment; a block may have several.
    pub fn comment(&mut self, text: &str) {
        self.text(COMMENT, text);
    }

    /// Names the program that wrote the section.
    pub fn application(&mut self, name: &str) {
        self.text(USER_APPLICATION, name);
    }

    /// Names an interface, as the operating system does.
    pub fn name(&mut self, text: &str) {
        self.text(NAME, text);
    }

    /// Describes an interface, unless it has a description.
    pub fn describe(&mut self, text: &str) {
        if !self.has(DESCRIPTION) {
            self.text(DESCRIPTION, text);
        }
    }

    /// States the resolution of an interface's times as a power of ten: 9 for nanoseconds.
    pub fn resolution(&mut self, digits: u8) {
        self.add(RESOLUTION, &[digits]);
    }

    pub(super) fn flags(&mut self, flags: u32) {
        self.add(FLAGS, &flags.to_le_bytes());
    }

    /// States which way a packet went, if that is known.
    pub fn direction(&mut self, direction: Direction) {
        match direction {
            Direction::Unknown => {}
            Direction::Inbound => self.flags(1),
            Direction::Outbound => self.flags(2),
        }
    }

    pub(super) fn drops(&mut self, drops: u64) {
        self.add(DROPS, &drops.to_le_bytes());
    }

    /// States from when to when the counters of statistics count, in units of the interface's
    /// resolution.
    pub fn counted(&mut self, started: u64, ended: u64) {
        self.add(STARTED, &time(started));
        self.add(ENDED, &time(ended));
    }

    /// States counters of an interface: packets received, dropped by it, dropped behind it.
    pub fn counters(&mut self, received: u64, interface_drops: u64, system_drops: u64) {
        self.add(RECEIVED, &received.to_le_bytes());
        self.add(INTERFACE_DROPS, &interface_drops.to_le_bytes());
        self.add(SYSTEM_DROPS, &system_drops.to_le_bytes());
    }

    /// Adds all of `others`.
    pub fn extend(&mut self, others: &BlockOptions) {
        self.0.extend(&others.0);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn has(&self, code: u16) -> bool {
        let order = super::bytes::Order::Little;
        super::pcapng_options::options(&self.0, order)
            .any(|option| option.is_ok_and(|(found, _)| found == code))
    }
}

/// A packet to be written.
#[derive(Clone, Debug, Default)]
pub struct PacketBlock<'a> {
    /// As [`PcapngWriter::interface`] numbered it.
    pub interface: u32,
    /// Time since 1970 in units of the interface's resolution.
    pub units: u64,
    /// Length on the wire.
    pub wire_len: u32,
    /// What was captured of it.
    pub bytes: &'a [u8],
    /// Comments, direction and the like.
    pub options: BlockOptions,
}

/// Writes the blocks of one pcapng file.
#[derive(Debug)]
pub struct PcapngWriter<W> {
    out: W,
    interfaces: u32,
    /// Reused between blocks.
    body: Vec<u8>,
}

impl<W: Write> PcapngWriter<W> {
    /// Starts a file with a section header.
    pub fn new(out: W, options: &BlockOptions) -> io::Result<PcapngWriter<W>> {
        let mut writer = PcapngWriter { out, interfaces: 0, body: Vec::new() };
        writer.put(&BYTE_ORDER_MAGIC.to_le_bytes());
        writer.put(&1_u16.to_le_bytes());
        writer.put(&0_u16.to_le_bytes());
        // The length of the section is not known yet.
        writer.put(&u64::MAX.to_le_bytes());
        writer.options(options);
        writer.block(SECTION_HEADER)?;
        Ok(writer)
    }

    /// Declares an interface; 0 as `snaplen` is no limit. Gives its number.
    pub fn interface(
        &mut self,
        link: LinkType,
        snaplen: u32,
        options: &BlockOptions,
    ) -> io::Result<u32> {
        self.put(&link.0.to_le_bytes());
        self.put(&[0; 2]);
        self.put(&snaplen.to_le_bytes());
        self.options(options);
        self.block(INTERFACE_DESCRIPTION)?;
        self.interfaces += 1;
        Ok(self.interfaces - 1)
    }

    /// Writes a packet.
    pub fn packet(&mut self, packet: &PacketBlock<'_>) -> io::Result<()> {
        self.put(&packet.interface.to_le_bytes());
        self.time(packet.units);
        self.put(&(packet.bytes.len() as u32).to_le_bytes());
        self.put(&packet.wire_len.to_le_bytes());
        self.put(packet.bytes);
        self.pad();
        self.options(&packet.options);
        self.block(ENHANCED_PACKET)
    }

    /// Writes what packets behind it are decrypted with; `kind` as in the registry of
    /// Decryption Secrets Blocks.
    pub fn secrets(&mut self, kind: u32, data: &[u8]) -> io::Result<()> {
        self.put(&kind.to_le_bytes());
        self.put(&(data.len() as u32).to_le_bytes());
        self.put(data);
        self.pad();
        self.block(DECRYPTION_SECRETS)
    }

    /// Writes counters of an interface.
    pub fn statistics(
        &mut self,
        interface: u32,
        units: u64,
        options: &BlockOptions,
    ) -> io::Result<()> {
        self.put(&interface.to_le_bytes());
        self.time(units);
        self.options(options);
        self.block(INTERFACE_STATISTICS)
    }

    /// Writes a block of any other type; its body is little-endian.
    pub fn other(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        self.put(body);
        self.pad();
        self.block(kind)
    }

    /// What the blocks are written to; between two calls it holds whole blocks.
    pub fn out(&self) -> &W {
        &self.out
    }

    /// The same, to be changed between two blocks.
    pub fn out_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// Hands on what is buffered.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn put(&mut self, bytes: &[u8]) {
        self.body.extend_from_slice(bytes);
    }

    fn time(&mut self, units: u64) {
        self.put(&time(units));
    }

    fn pad(&mut self) {
        self.body.resize(self.body.len().next_multiple_of(4), 0);
    }

    fn options(&mut self, options: &BlockOptions) {
        if !options.0.is_empty() {
            self.put(&options.0);
            // The end of the options.
            self.put(&[0; 4]);
        }
    }

    /// Writes the body that was put together as a block of this type.
    fn block(&mut self, kind: u32) -> io::Result<()> {
        let length = (self.body.len() as u32 + 12).to_le_bytes();
        self.out.write_all(&kind.to_le_bytes())?;
        self.out.write_all(&length)?;
        self.out.write_all(&self.body)?;
        self.body.clear();
        self.out.write_all(&length)
    }
}

/// A time: its upper half comes first.
fn time(units: u64) -> [u8; 8] {
    units.rotate_left(32).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::testing::read;
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn what_is_written_is_read_back() {
        let mut section = BlockOptions::default();
        section.comment("all of it");
        let mut file = Vec::new();
        let mut writer = PcapngWriter::new(&mut file, &section).unwrap();
        let mut nanoseconds = BlockOptions::default();
        nanoseconds.resolution(9);
        let first = writer.interface(LinkType(1), 96, &nanoseconds).unwrap();
        let second = writer.interface(LinkType(113), 0, &BlockOptions::default()).unwrap();
        writer.secrets(0x544c_534b, b"CLIENT_RANDOM 00 11").unwrap();
        let mut options = BlockOptions::default();
        options.comment("guilty");
        options.comment("and again");
        options.flags(1);
        let units = 1_700_000_000_123_456_789;
        let packet =
            PacketBlock { interface: first, units, wire_len: 99, bytes: b"12345", options };
        writer.packet(&packet).unwrap();
        let packet =
            PacketBlock { interface: second, units: 7, wire_len: 3, bytes: b"678", ..packet };
        writer.packet(&packet).unwrap();
        let mut lost = BlockOptions::default();
        lost.add(5, &17_u64.to_le_bytes());
        writer.statistics(first, units, &lost).unwrap();
        let (frames, info) = read(file);
        assert_eq!((info.warnings, info.damaged_at), (vec![], None));
        assert_eq!(info.kernel_drops, 17);
        assert_eq!(frames.len(), 2);
        assert_eq!((frames[0].at, frames[1].at), (Timestamp(units as i64), Timestamp(7_000)));
        assert_eq!((&frames[0].bytes[..], frames[0].wire_len), (&b"12345"[..], 99));
        assert_eq!((frames[1].link, frames[1].wire_len), (LinkType(113), 3));
        assert_eq!(frames[0].direction, super::super::Direction::Inbound);
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_between_characters() {
        let mut options = BlockOptions::default();
        options.comment(&"é".repeat(40_000));
        assert_eq!(options.0.len(), 4 + 65_534_usize.next_multiple_of(4));
        assert_eq!(&options.0[..4], [1, 0, 0xfe, 0xff]);
    }

    #[test]
    fn an_interface_is_described_once() {
        let mut options = BlockOptions::default();
        options.describe("first");
        let once = options.clone();
        options.describe("second");
        assert_eq!(options, once);
    }
}
