//! One file of the ring: a whole pcapng, written in whole blocks.

use super::Interface;
use super::folder::UNFINISHED;
use super::queue::{Kernel, Packet};
use crate::capture::{BlockOptions, PacketBlock, PcapngWriter};
use crate::time::Timestamp;
use std::fs::{File, OpenOptions, remove_file, rename};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Blocks collected before they go to the file, bytes.
pub(super) const CHUNK: usize = 256 << 10;
/// Room kept for the statistics of an interface at the end of a file, bytes; they need 128 and
/// their comment.
const STATISTICS: u64 = 256;
/// Bytes of a packet's block beside the packet and its comments.
const PACKET_BLOCK: u64 = 32;
/// Bytes of the option that says which way a packet went.
const DIRECTION: u64 = 8;
/// Packets of a file that is put into the order of time when it is complete; each takes 24 bytes of
/// memory until then. Files with more stay in the order of writing.
pub const SORTED_MAX: usize = 1 << 20;

/// Whole blocks on their way to a file.
#[derive(Debug)]
struct Blocks {
    file: File,
    waiting: Vec<u8>,
    /// Bytes of whole blocks in the file.
    stored: u64,
}

impl Write for Blocks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.file.write_all(&self.waiting);
        match result {
            Ok(()) => self.stored += self.waiting.len() as u64,
            // Part of it may be there; the end of a file stays the end of a block.
            Err(_) => {
                drop(self.file.set_len(self.stored));
                drop(self.file.seek(SeekFrom::Start(self.stored)));
            }
        }
        self.waiting.clear();
        result
    }
}

/// Where the block of a packet is in the file.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: Timestamp,
    begins: u64,
    length: u32,
}

/// What is known of an interface, for its statistics.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    /// As the kernel counts now.
    pub(super) kernel: Kernel,
    /// Packets that the queue or a pause kept out of the files.
    pub(super) left_out: u64,
}

/// What was stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

/// What is known when a file ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment<'a> {
    pub(super) now: Timestamp,
    /// Of each interface, when the file before this one ended.
    pub(super) before: &'a [Tally],
    /// The same now.
    pub(super) tallies: &'a [Tally],
    /// There is space for a second copy of it.
    pub(super) may_sort: bool,
}

/// A file being written.
#[derive(Debug)]
pub(super) struct EvidenceFile {
    writer: PcapngWriter<Blocks>,
    path: PathBuf,
    /// When it began.
    began: Timestamp,
    packets: u64,
    /// Packets among the blocks that are not stored yet, of each interface.
    waiting: Vec<u64>,
    /// Packets do not come in the order of time.
    in_disorder: bool,
    /// Packets that are put in order at most.
    sorted_max: usize,
    /// The packets so far, if they are to be put in order.
    places: Option<Vec<Place>>,
}

impl EvidenceFile {
    /// Writes what wrote it, and its interfaces. `in_disorder`: packets do not come in the order of
    /// time, and so many of them are put in order at most.
    pub(super) fn begin(
        (path, file): (PathBuf, File),
        interfaces: &[Interface],
        began: Timestamp,
        in_disorder: Option<usize>,
    ) -> io::Result<EvidenceFile> {
        let blocks = Blocks { file, waiting: Vec::with_capacity(CHUNK), stored: 0 };
        let mut section = BlockOptions::default();
        section.application(concat!("why502 ", env!("CARGO_PKG_VERSION")));
        let mut writer = PcapngWriter::new(blocks, &section)?;
        for interface in interfaces {
            let mut options = BlockOptions::default();
            options.name(&interface.name);
            options.resolution(9);
            writer.interface(interface.link, interface.snaplen, &options)?;
        }
        writer.flush()?;
        Ok(EvidenceFile {
            writer,
            path,
            began,
            packets: 0,
            waiting: vec![0; interfaces.len()],
            in_disorder: in_disorder.is_some(),
            sorted_max: in_disorder.unwrap_or_default(),
            places: in_disorder.map(|_| Vec::new()),
        })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Packets in it, those that wait included.
    pub(super) fn packets(&self) -> u64 {
        self.packets
    }

    /// Bytes of blocks that wait to be stored.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.writer.out().waiting.len()
    }

    /// Bytes of it, those that wait included.
    pub(super) fn length(&self) -> u64 {
        let blocks = self.writer.out();
        blocks.stored + blocks.waiting.len() as u64
    }

    /// How long it would be, complete, with this packet.
    pub(super) fn length_with(&self, packet: &Packet, comments: &[String]) -> u64 {
        // An option is 4 bytes longer than its text, and filled up to a multiple of 4.
        let comments: u64 = comments.iter().map(|text| text.len() as u64 + 7).sum();
        let packet = PACKET_BLOCK + u64::from(packet.len) + 3 + 4 + DIRECTION + comments;
        self.length() + packet + STATISTICS * self.waiting.len() as u64
    }

    /// Adds a packet to the blocks that wait.
    pub(super) fn packet(
        &mut self,
        packet: &Packet,
        bytes: &[u8],
        comments: &[String],
    ) -> io::Result<()> {
        let begins = self.length();
        let mut options = BlockOptions::default();
        options.direction(packet.direction);
        for comment in comments {
            options.comment(comment);
        }
        let units = units(packet.at);
        let (interface, wire_len) = (packet.interface, packet.wire_len);
        self.writer.packet(&PacketBlock { interface, units, wire_len, bytes, options })?;
        self.packets += 1;
        if let Some(waiting) = self.waiting.get_mut(packet.interface as usize) {
            *waiting += 1;
        }
        let length = (self.length() - begins) as u32;
        if let Some(places) = &mut self.places {
            places.push(Place { at: packet.at, begins, length });
            if places.len() > self.sorted_max {
                self.places = None;
            }
        }
        Ok(())
    }

    /// Stores what waits. Whatever of it cannot be stored still counts as waiting.
    pub(super) fn store(&mut self) -> io::Result<Stored> {
        let bytes = self.waiting_bytes() as u64;
        self.writer.flush()?;
        let packets = self.waiting.iter().sum();
        self.waiting.fill(0);
        Ok(Stored { packets, bytes })
    }

    /// Gives up what waits. How many packets of each interface that were.
    pub(super) fn give_up(&mut self) -> Vec<u64> {
        self.writer.out_mut().waiting.clear();
        let given_up: u64 = self.waiting.iter().sum();
        if let Some(places) = &mut self.places {
            places.truncate(places.len().saturating_sub(given_up as usize));
        }
        self.packets -= given_up.min(self.packets);
        let none = vec![0; self.waiting.len()];
        std::mem::replace(&mut self.waiting, none)
    }

    /// Whether nobody can find it any more: it was deleted.
    pub(super) fn is_deleted(&self) -> bool {
        self.writer.out().file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
    }

    /// Ends it with the statistics of its interfaces, and puts its packets into the order of time.
    /// What was stored at last, and whether the packets are in order.
    pub(super) fn end(mut self, moment: Moment<'_>) -> io::Result<(Stored, bool)> {
        let packets_end = self.length();
        let now = units(moment.now);
        for (number, (before, after)) in (0..).zip(moment.before.iter().zip(moment.tallies)) {
            let since = |count: fn(&Tally) -> u64| count(after).saturating_sub(count(before));
            let left_out = since(|tally| tally.left_out);
            let mut options = BlockOptions::default();
            options.counted(units(self.began), now);
            options.counters(
                since(|tally| tally.kernel.received),
                since(|tally| tally.kernel.dropped_by_interface),
                since(|tally| tally.kernel.dropped) + left_out,
            );
            if left_out > 0 {
                options.comment(&format!("why502 could not write {left_out} of the packets"));
            }
            self.writer.statistics(number, now, &options)?;
        }
        let stored = self.store()?;
        // Those that were too many are not known to be in order.
        let Some(places) = self.places.take() else { return Ok((stored, !self.in_disorder)) };
        if places.is_sorted_by_key(|place| place.at) {
            return Ok((stored, true));
        }
        let sorted = moment.may_sort
            && put_in_order(&self.path, &self.writer.out().file, places, packets_end).is_ok();
        Ok((stored, sorted))
    }
}

/// Time in the resolution of our interfaces.
fn units(at: Timestamp) -> u64 {
    u64::try_from(at.0).unwrap_or_default()
}

/// Replaces a file by one with its packets in the order of time, which takes its place when it is
/// complete.
fn put_in_order(
    path: &Path,
    file: &File,
    mut places: Vec<Place>,
    packets_end: u64,
) -> io::Result<()> {
    let headers = places.first().map_or(packets_end, |place| place.begins);
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(UNFINISHED);
    let unfinished = PathBuf::from(unfinished);
    let out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    places.sort_by_key(|place| place.at);
    let all = places.iter().map(|place| (place.begins, u64::from(place.length)));
    let end = file.metadata()?.len().saturating_sub(packets_end);
    let spans = std::iter::once((0, headers)).chain(all).chain([(packets_end, end)]);
    let copy = || {
        let mut out = io::BufWriter::with_capacity(CHUNK, out);
        let mut bytes = Vec::new();
        for (begins, length) in spans {
            bytes.resize(length as usize, 0);
            file.read_exact_at(&mut bytes, begins)?;
            out.write_all(&bytes)?;
        }
        out.flush()?;
        rename(&unfinished, path)
    };
    copy().inspect_err(|_| {
        // The file in the order of writing stays, and is as good for most readers.
        let _ = remove_file(&unfinished);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{Direction, LinkType, Timeline};

    fn interfaces() -> Vec<Interface> {
        ["eth0", "lo"]
            .map(|name| Interface { name: name.to_owned(), link: LinkType(1), snaplen: 0 })
            .to_vec()
    }

    fn begin(path: &Path, in_disorder: bool) -> EvidenceFile {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .unwrap();
        let created = (path.to_owned(), file);
        let in_disorder = in_disorder.then_some(SORTED_MAX);
        EvidenceFile::begin(created, &interfaces(), Timestamp(5), in_disorder).unwrap()
    }

    fn end(tallies: &[Tally], may_sort: bool) -> Moment<'_> {
        const NOTHING: Tally = Tally {
            kernel: Kernel { received: 0, dropped: 0, dropped_by_interface: 0 },
            left_out: 0,
        };
        Moment { now: Timestamp(40), before: &[NOTHING; 2], tallies, may_sort }
    }

    fn packet(at: i64) -> Packet {
        let direction = Direction::Inbound;
        Packet { interface: 0, at: Timestamp(at), wire_len: 9, len: 5, flow: None, direction }
    }

    /// Times and bytes, drops, warnings.
    fn read(path: &Path) -> (Vec<(i64, Vec<u8>)>, u64, usize) {
        let mut timeline = Timeline::open(&[path.to_owned()]).unwrap();
        let mut frames = Vec::new();
        while let Some(frame) = timeline.next_frame().unwrap() {
            assert_eq!(frame.direction, Direction::Inbound);
            frames.push((frame.mark.at.0, frame.bytes.to_vec()));
        }
        let info = &timeline.captures()[0];
        assert_eq!(info.damaged_at, None);
        (frames, info.kernel_drops, info.warnings.len())
    }

    #[test]
    fn a_file_is_whole_at_the_end_and_can_be_read_before() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a");
        let mut file = begin(&path, false);
        assert_eq!(read(&path), (vec![], 0, 0));
        file.packet(&packet(10), b"first", &["why".to_owned()]).unwrap();
        assert_eq!((file.packets(), read(&path).0.len()), (1, 0));
        let expected = file.length_with(&packet(11), &[]);
        assert_eq!(file.store().unwrap().packets, 1);
        assert_eq!(read(&path).0, [(10, b"first".to_vec())]);
        file.packet(&packet(11), b"other", &[]).unwrap();
        let kernel = Kernel { received: 9, dropped: 3, dropped_by_interface: 2 };
        let after = [Tally { kernel, left_out: 4 }, Tally::default()];
        let (stored, is_sorted) = file.end(end(&after, false)).unwrap();
        assert_eq!((stored.packets, is_sorted), (1, true));
        let (frames, drops, warnings) = read(&path);
        assert_eq!((frames.len(), drops, warnings), (2, 9, 0));
        let length = path.metadata().unwrap().len();
        assert!(length <= expected && expected < length + 400, "{length} {expected}");
    }

    #[test]
    fn packets_out_of_order_are_put_in_order_at_the_end() {
        let place = tempfile::tempdir().unwrap();
        for (may_sort, expected) in [(true, b"abcd"), (false, b"cadb")] {
            let path = place.path().join("a");
            let mut file = begin(&path, true);
            for (at, bytes) in [(30, b"ccccc"), (10, b"aaaaa"), (30, b"ddddd"), (20, b"bbbbb")] {
                file.packet(&packet(at), bytes, &["a comment".to_owned()]).unwrap();
                file.store().unwrap();
            }
            file.packet(&packet(1), b"never", &[]).unwrap();
            assert_eq!(file.give_up(), [1, 0]);
            let before = file.length();
            let (_, is_sorted) = file.end(end(&[Tally::default(); 2], may_sort)).unwrap();
            assert_eq!(is_sorted, may_sort);
            let (frames, ..) = read(&path);
            let order: Vec<u8> = frames.iter().map(|(_, bytes)| bytes[0]).collect();
            assert_eq!(order, expected, "those of one time stay in the order of writing");
            assert!(path.metadata().unwrap().len() > before);
            assert_eq!(place.path().read_dir().unwrap().count(), 1);
            remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_file_that_was_deleted_is_noticed() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a");
        let file = begin(&path, false);
        assert!(!file.is_deleted());
        remove_file(&path).unwrap();
        assert!(file.is_deleted());
    }

    #[test]
    fn a_full_disk_leaves_whole_blocks() {
        // /dev/full takes nothing; it has no length to be cut.
        let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut blocks = Blocks { file, waiting: b"block".to_vec(), stored: 0 };
        assert!(blocks.flush().is_err());
        assert!(blocks.waiting.is_empty() && blocks.stored == 0);
    }
}
