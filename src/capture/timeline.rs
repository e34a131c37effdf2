//! One timeline out of everything the user named.
//!
//! Files are ordered by their first frame, which is all that is read of them in advance: names
//! and modification times of rotated captures say little (a ring starts anywhere, copies get new
//! times). A file is opened when the timeline reaches its first frame and closed after its last,
//! so a thousand files of a rotation are open one at a time; files that overlap are merged.
//! Frames of one file keep their order, whatever their times.

mod next;
mod scout;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::original::{Aside, Original};
use super::reader::Reader;
use super::secrets::Secrets;
use super::stored::{Counted, Counts};
use super::window::WINDOW;
use super::{CaptureError, CaptureInfo, Frame};
use crate::time::{FrameId, Mark};
use next::{Next, Open, Turn};
use scout::{SMALL_WINDOW, Scouted, Scouts, Source};

/// Files open at once that each get a large buffer.
const MANY_OPEN: usize = 32;

/// The frames of all captures, in time order.
pub struct Timeline {
    captures: Vec<CaptureInfo>,
    sources: Vec<Option<Source>>,
    /// Files not opened yet, by their first frame.
    waiting: VecDeque<Turn>,
    /// Streams; started at the first frame, since a pipe may have nothing to give yet.
    streams: VecDeque<u32>,
    /// Every open file but the current one, by its next frame.
    open: BinaryHeap<Reverse<Next>>,
    current: Option<Box<Open>>,
    /// When another file than the current one is due.
    other: Option<Turn>,
    /// Keys of other files than the current one.
    secrets: Secrets,
    warnings: Vec<String>,
    counts: Counts,
    total: Option<u64>,
    /// What is not a frame, of files that are read; `None`: nobody wants it.
    asides: Option<KeptAsides>,
    /// Buffers that frames were lent from, see [`Timeline::keep_buffers`].
    used: Option<Vec<Vec<u8>>>,
    /// Bytes read at a time into each of them.
    piece: usize,
    /// Number of the first file in its frames' ids, see [`Timeline::number_from`].
    first: u32,
}

/// By index of the file, and how many did not fit.
#[derive(Default)]
struct KeptAsides {
    list: Vec<(u32, Aside)>,
    lost: u64,
}

impl KeptAsides {
    fn take_from(&mut self, open: &mut Open) {
        if let Some(asides) = open.reader.asides().filter(|asides| !asides.is_empty()) {
            let (list, lost) = asides.take();
            self.list.extend(list.into_iter().map(|aside| (open.index, aside)));
            self.lost += lost;
        }
    }
}

impl Timeline {
    /// Files, directories (with those inside), and `-` for standard input.
    ///
    /// A file that is named must be a capture; of a directory, other files are left out with a
    /// warning. Standard input and pipes are not touched before the first frame is asked for.
    pub fn open<P: AsRef<Path>>(named: &[P]) -> Result<Timeline, CaptureError> {
        Timeline::open_with(named, None)
    }

    /// The same with something else in the place of standard input.
    pub fn open_with<P: AsRef<Path>>(
        named: &[P],
        standard_input: Option<Box<dyn Read + Send>>,
    ) -> Result<Timeline, CaptureError> {
        let Scouts { files, streams, warnings, secrets } = scout::all(named, standard_input)?;
        let mut timeline = Timeline { warnings, secrets, ..Timeline::empty() };
        for file in files {
            timeline.add_file(file);
        }
        for (name, source) in streams {
            timeline.add_stream(name, source);
        }
        timeline.update_other();
        Ok(timeline)
    }

    /// A capture from anywhere, such as a program's output. `name` is for reports.
    pub fn from_reader(name: &str, reader: Box<dyn Read + Send>) -> Timeline {
        let mut timeline = Timeline::empty();
        timeline.add_stream(name.to_owned(), Source::Stream(reader));
        timeline
    }

    /// The next frame, or `None` at the end of the last capture. Waits for a pipe that has
    /// nothing to give.
    ///
    /// An error is that of a stream that turns out not to be a capture; the others go on if the
    /// caller asks again.
    #[inline]
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        self.step()?;
        Ok(self.frame())
    }

    /// Goes to the next frame, which [`frame`](Timeline::frame) lends, and says whether there is
    /// one: [`next_frame`](Timeline::next_frame) for those who want the
    /// [keys](Timeline::take_secrets) that come before it.
    #[inline]
    pub fn step(&mut self) -> Result<bool, CaptureError> {
        if !self.advance() {
            self.choose()?;
        }
        Ok(self.current.is_some())
    }

    /// Key log lines that the captures carry up to the frame that [`step`](Timeline::step) went to,
    /// or to their end, and that were not taken yet (pcapng decryption secrets of TLS).
    #[inline]
    pub fn take_secrets(&mut self) -> Option<Vec<u8>> {
        let of_current = self.current.as_deref_mut().and_then(|open| open.reader.secrets());
        if self.secrets.is_empty() && of_current.is_none_or(|secrets| secrets.is_empty()) {
            return None;
        }
        Some(self.all_secrets())
    }

    #[cold]
    fn all_secrets(&mut self) -> Vec<u8> {
        let of_current = self.current.as_deref_mut().and_then(|open| open.reader.secrets());
        let of_current = of_current.and_then(Secrets::take).unwrap_or_default();
        [self.secrets.take().unwrap_or_default(), of_current].concat()
    }

    /// The frame that [`step`](Timeline::step) went to.
    #[inline(always)]
    pub fn frame(&mut self) -> Option<Frame<'_>> {
        let open = self.current.as_deref_mut()?;
        let record = &open.record;
        if !open.lent {
            open.lent = true;
            open.reader.count(record);
        }
        let frame = FrameId::new(self.first.saturating_add(open.index), open.reader.number());
        Some(Frame {
            mark: Mark { frame, at: record.at },
            link: record.link,
            bytes: open.reader.bytes(record),
            wire_len: record.wire_len,
            direction: record.direction,
        })
    }

    /// Numbers the files in [`FrameId::file`] from `first`, for captures beside others. Asked before the
    /// first frame.
    pub(crate) fn number_from(&mut self, first: u32) {
        self.first = first;
    }

    /// Has [`asides`](Timeline::asides) collected. Asked before the first frame.
    pub fn keep_asides(&mut self) {
        self.asides.get_or_insert_default();
    }

    /// What stands in each file before the frame that was lent last, or behind its last one, and was
    /// not given yet, by the file's index; and how many of it a bound kept out.
    pub fn asides(&mut self) -> (Vec<(u32, Aside)>, u64) {
        let Some(asides) = &mut self.asides else { return Default::default() };
        if let Some(open) = self.current.as_deref_mut() {
            asides.take_from(open);
        }
        (std::mem::take(&mut asides.list), std::mem::take(&mut asides.lost))
    }

    /// Bytes of all files, when nothing but files is read.
    pub(crate) fn stored_bytes(&self) -> Option<u64> {
        self.total
    }

    /// From now on a buffer that frames were lent from is not filled anew, but given away by
    /// [`take_used`](Timeline::take_used). Of files that are not compressed `piece` bytes are read into each.
    /// Asked before the first frame.
    pub(crate) fn keep_buffers(&mut self, piece: usize) {
        self.used.get_or_insert_default();
        self.piece = piece;
    }

    /// Where in its buffer the frame begins that [`step`](Timeline::step) went to; `None` when other
    /// files lend frames in between, from buffers of their own.
    pub(crate) fn place(&self) -> Option<usize> {
        let open = self.current.as_deref().filter(|_| self.open.is_empty())?;
        Some(open.record.place.start)
    }

    /// Whether [`take_used`](Timeline::take_used) has something to give.
    #[inline]
    pub(crate) fn has_used(&mut self) -> bool {
        self.used.as_ref().is_some_and(|used| !used.is_empty())
            || self.current.as_deref_mut().is_some_and(|open| open.reader.window().has_used())
    }

    /// The buffer in which the [places](Timeline::place) lie that were told since the last buffer was
    /// [used](Timeline::take_used).
    pub(crate) fn buffer(&mut self) -> &[u8] {
        match self.current.as_deref_mut() {
            Some(open) => open.reader.window().buffer(),
            None => &[],
        }
    }

    /// Buffers that no further frame is lent from. The first of them is the one in which the
    /// [places](Timeline::place) lie that were told since the last call; the others hold no such place.
    #[inline]
    pub(crate) fn take_used(&mut self) -> Vec<Vec<u8>> {
        let Some(used) = &mut self.used else { return Vec::new() };
        if let Some(open) = self.current.as_deref_mut() {
            open.reader.window().take_used(used);
        }
        std::mem::take(used)
    }

    /// Takes a buffer back, to be filled anew.
    pub(crate) fn give_buffer(&mut self, buffer: Vec<u8>) {
        if let Some(open) = self.current.as_deref_mut() {
            open.reader.window().give_buffer(buffer);
        }
    }

    /// The current file is done with, or others come before it: gives away what frames lie in.
    fn leave(used: &mut Vec<Vec<u8>>, open: &mut Open, alone: bool) {
        let window = open.reader.window();
        window.take_used(used);
        if open.lent {
            used.push(window.take_buffer());
        } else if alone {
            used.push(window.buffer().to_vec());
        }
    }

    /// The frame that was lent last, as its file holds it.
    pub fn original(&self) -> Option<Original<'_>> {
        let open = self.current.as_deref().filter(|open| open.lent)?;
        Some(open.reader.original(&open.record))
    }

    /// What is known of each capture, in the order of [`FrameId::file`]. Complete for a capture
    /// that has been read to its end, and for all after [`stop`](Timeline::stop).
    pub fn captures(&self) -> &[CaptureInfo] {
        &self.captures
    }

    /// What was odd about the set of captures rather than about one of them.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Bytes read so far and in all, as stored; the latter is not known of a stream. Cheap.
    pub fn progress(&self) -> (u64, Option<u64>) {
        let consumed = self.counts.consumed.load(Ordering::Relaxed);
        // A file that is being written has grown since it was first seen.
        (consumed, self.total.map(|total| total.max(consumed)))
    }

    /// Ends reading early: [`captures`](Timeline::captures) then tells what was read so far.
    pub fn stop(&mut self) {
        let open = self.open.drain().map(|Reverse(Next(open))| open);
        for mut open in open.chain(self.current.take()) {
            keep_secrets(&mut self.secrets, &mut open.reader, &mut self.warnings);
            self.captures[open.index as usize] = open.reader.finish();
        }
        self.waiting.clear();
        self.streams.clear();
        self.other = None;
    }

    fn empty() -> Timeline {
        Timeline {
            captures: Vec::new(),
            sources: Vec::new(),
            waiting: VecDeque::new(),
            streams: VecDeque::new(),
            open: BinaryHeap::new(),
            current: None,
            other: None,
            secrets: Secrets::default(),
            warnings: Vec::new(),
            counts: Counts::default(),
            total: Some(0),
            asides: None,
            used: None,
            piece: WINDOW,
            first: 0,
        }
    }

    fn add_file(&mut self, file: Scouted) {
        let index = self.captures.len() as u32;
        self.total = self.total.map(|total| total + file.size);
        match file.first {
            Some(first) => {
                self.waiting.push_back((first, index));
                self.sources.push(Some(Source::File(file.path)));
                // Counted anew when it is read.
                let info = file.info;
                self.captures.push(CaptureInfo {
                    path: info.path,
                    format: info.format,
                    compression: info.compression,
                    ..CaptureInfo::default()
                });
            }
            None => {
                self.counts.consumed.fetch_add(file.size, Ordering::Relaxed);
                self.sources.push(None);
                self.captures.push(file.info);
            }
        }
    }

    fn add_stream(&mut self, path: String, source: Source) {
        self.streams.push_back(self.captures.len() as u32);
        self.captures.push(CaptureInfo { path, ..CaptureInfo::default() });
        self.sources.push(Some(source));
        self.total = None;
    }

    /// Moves the current file to its next frame. Says whether that one is due.
    #[inline]
    fn advance(&mut self) -> bool {
        let Some(open) = self.current.as_deref_mut() else { return false };
        if open.lent {
            let Some(record) = open.reader.next() else { return false };
            open.record = record;
            open.lent = false;
        }
        self.streams.is_empty()
            && self.other.is_none_or(|other| (open.record.at, open.index) < other)
    }

    /// Puts the file that is due in front, opening those that have become due.
    #[cold]
    fn choose(&mut self) -> Result<(), CaptureError> {
        if let Some(mut open) = self.current.take() {
            keep_secrets(&mut self.secrets, &mut open.reader, &mut self.warnings);
            if let Some(used) = &mut self.used {
                Timeline::leave(used, &mut open, self.open.is_empty());
            }
            if open.lent {
                if let Some(asides) = &mut self.asides {
                    asides.take_from(&mut open);
                }
                self.captures[open.index as usize] = open.reader.finish();
            } else {
                self.open.push(Reverse(Next(open)));
            }
        }
        while let Some(index) = self.streams.pop_front() {
            self.start(index)?;
        }
        while let Some(first) = self.waiting.front().copied() {
            if self.open.peek().is_some_and(|Reverse(next)| next.turn() < first) {
                break;
            }
            self.waiting.pop_front();
            if let Err(error) = self.start(first.1) {
                // It could be read when we started: it was removed or replaced since.
                self.captures[first.1 as usize].warnings.push(format!("not read: {error}"));
            }
        }
        self.current = self.open.pop().map(|Reverse(Next(open))| open);
        if let Some(open) = self.current.as_deref_mut().filter(|_| self.used.is_some()) {
            // No frame that was lent lies in those.
            open.reader.window().take_used(&mut Vec::new());
        }
        self.update_other();
        Ok(())
    }

    fn update_other(&mut self) {
        let open = self.open.peek().map(|Reverse(next)| next.turn());
        let waiting = self.waiting.front().copied();
        self.other = open.into_iter().chain(waiting).min();
    }

    /// Opens a capture and goes to its first frame.
    fn start(&mut self, index: u32) -> Result<(), CaptureError> {
        let Some(source) = self.sources[index as usize].take() else { return Ok(()) };
        let path = self.captures[index as usize].path.clone();
        let source = source.open(&path, &self.counts)?;
        let stored = Arc::new(AtomicU64::new(0));
        let counted = Counted {
            source,
            of_file: Arc::clone(&stored),
            of_all: Arc::clone(&self.counts.consumed),
        };
        let window = if self.open.len() < MANY_OPEN { WINDOW } else { SMALL_WINDOW };
        let mut reader = Reader::open(&path, Box::new(counted), stored, window)?;
        if self.asides.is_some() {
            reader.keep_asides();
        }
        if self.used.is_some() {
            reader.keep_buffers(self.piece);
        }
        let first = reader.next();
        keep_secrets(&mut self.secrets, &mut reader, &mut self.warnings);
        match first {
            Some(record) => {
                let open = Box::new(Open { index, reader, record, lent: false });
                self.open.push(Reverse(Next(open)));
            }
            None => self.captures[index as usize] = reader.finish(),
        }
        Ok(())
    }
}

/// Takes the keys over that a file has given so far.
fn keep_secrets(kept: &mut Secrets, reader: &mut Reader, warnings: &mut Vec<String>) {
    if let Some(secrets) = reader.secrets() {
        kept.join(secrets, warnings);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Cursor;
    use std::path::PathBuf;

    use super::super::bytes::Order;
    use super::super::testing::PcapFile;
    use super::*;
    use crate::time::Timestamp;
    use std::io;

    fn pcap(seconds: &[u32]) -> Vec<u8> {
        let file = PcapFile::new(0xa1b2_c3d4, Order::Little, 1);
        seconds.iter().fold(file, |file, s| file.record(*s, 0, &s.to_be_bytes())).bytes
    }

    struct Files(tempfile::TempDir);

    impl Files {
        fn new(files: &[(&str, &[u8])]) -> Files {
            let directory = tempfile::tempdir().unwrap();
            for (name, bytes) in files {
                fs::write(directory.path().join(name), bytes).unwrap();
            }
            Files(directory)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn all(&self) -> [PathBuf; 1] {
            [self.0.path().to_owned()]
        }
    }

    /// File and second of each frame.
    fn frames(timeline: &mut Timeline) -> Vec<(u32, u64, i64)> {
        let mut seen = Vec::new();
        while let Some(frame) = timeline.next_frame().unwrap() {
            let seconds = frame.mark.at.0 / 1_000_000_000;
            assert_eq!(frame.bytes, (seconds as u32).to_be_bytes());
            seen.push((frame.mark.frame.file(), frame.mark.frame.number(), seconds));
        }
        seen
    }

    fn name(timeline: &Timeline, index: usize) -> String {
        let path = Path::new(&timeline.captures()[index].path);
        path.file_name().unwrap().to_string_lossy().into_owned()
    }

    #[test]
    fn rotated_files_follow_each_other_by_their_packets() {
        let files = Files::new(&[
            ("x.pcap", &pcap(&[50, 51])),
            ("x.pcap1", &pcap(&[10, 11])),
            ("x.pcap10", &pcap(&[20, 21])),
            ("x.pcap2", &pcap(&[20, 22])),
        ]);
        let mut timeline = Timeline::open(&files.all()).unwrap();
        let seen = frames(&mut timeline);
        assert_eq!(
            seen,
            [
                (0, 1, 10),
                (0, 2, 11),
                (1, 1, 20),
                (2, 1, 20),
                (2, 2, 21),
                (1, 2, 22),
                (3, 1, 50),
                (3, 2, 51)
            ]
        );
        assert_eq!((name(&timeline, 1), name(&timeline, 3)), ("x.pcap2".into(), "x.pcap".into()));
        assert_eq!(timeline.captures()[2].packets, 2);
        assert_eq!(timeline.progress(), (4 * 64, Some(4 * 64)));
        assert_eq!(timeline.next_frame().unwrap().map(|frame| frame.wire_len), None);
    }

    #[test]
    fn a_file_keeps_its_order_even_when_its_times_go_back() {
        let files = Files::new(&[("a", &pcap(&[10, 30, 5, 40])), ("b", &pcap(&[20, 35]))]);
        let mut timeline = Timeline::open(&files.all()).unwrap();
        let seconds: Vec<_> = frames(&mut timeline).into_iter().map(|seen| seen.2).collect();
        assert_eq!(seconds, [10, 20, 30, 5, 35, 40]);
        let info = &timeline.captures()[0];
        assert_eq!(info.first, Some(Timestamp(5_000_000_000)));
    }

    #[test]
    fn many_files_that_overlap_are_merged() {
        let directory = tempfile::tempdir().unwrap();
        for file in 0..300u32 {
            let seconds: Vec<u32> = (0..20).map(|n| 1_000 + file % 7 + n * 13).collect();
            fs::write(directory.path().join(file.to_string()), pcap(&seconds)).unwrap();
        }
        let mut timeline = Timeline::open(&[directory.path()]).unwrap();
        let seen = frames(&mut timeline);
        assert_eq!(seen.len(), 6_000);
        assert!(seen.is_sorted_by_key(|(file, _, second)| (*second, *file)));
    }

    #[test]
    fn a_named_file_must_be_a_capture_and_one_in_a_directory_need_not() {
        let files = Files::new(&[("a", &pcap(&[1])), ("notes.txt", b"hello"), ("empty", b"")]);
        let error = Timeline::open(&[files.path("a"), files.path("notes.txt")]).err().unwrap();
        assert!(matches!(error, CaptureError::NotACapture { .. }));
        let mut timeline = Timeline::open(&files.all()).unwrap();
        assert_eq!(frames(&mut timeline).len(), 1);
        assert!(timeline.warnings()[0].contains("left out 2 files"), "{:?}", timeline.warnings());
        fs::remove_file(files.path("a")).unwrap();
        let error = Timeline::open(&files.all()).err().unwrap();
        assert!(matches!(error, CaptureError::NoCaptures { others: 2, .. }));
    }

    #[test]
    fn a_file_without_packets_is_listed_and_costs_nothing() {
        let files = Files::new(&[("a", &pcap(&[])), ("b", &pcap(&[7]))]);
        let mut timeline = Timeline::open(&files.all()).unwrap();
        assert_eq!(frames(&mut timeline), [(0, 1, 7)]);
        assert_eq!((name(&timeline, 1), timeline.captures()[1].packets), ("a".into(), 0));
        assert_eq!(timeline.captures()[1].bytes, 24);
    }

    #[test]
    fn a_file_that_vanishes_is_a_warning() {
        let files = Files::new(&[("a", &pcap(&[1])), ("b", &pcap(&[2]))]);
        let mut timeline = Timeline::open(&files.all()).unwrap();
        assert!(timeline.next_frame().unwrap().is_some());
        fs::remove_file(files.path("b")).unwrap();
        assert!(timeline.next_frame().unwrap().is_none());
        assert!(timeline.captures()[1].warnings[0].contains("no such file"));
    }

    #[test]
    fn stopping_early_tells_what_was_read() {
        let files = Files::new(&[("a", &pcap(&[1, 2, 3])), ("b", &pcap(&[9]))]);
        fs::write(files.path("b"), pcap(&[1, 9])).unwrap();
        let mut timeline = Timeline::open(&files.all()).unwrap();
        timeline.next_frame().unwrap();
        timeline.stop();
        assert!(timeline.next_frame().unwrap().is_none());
        let packets: Vec<_> = timeline.captures().iter().map(|info| info.packets).collect();
        assert_eq!(packets, [1, 0]);
    }

    #[test]
    fn a_stream_that_is_no_capture_is_an_error_at_the_first_frame() {
        let mut timeline = Timeline::from_reader("-", Box::new(Cursor::new(b"GET / HTTP/1.1")));
        assert_eq!(timeline.progress(), (0, None));
        assert!(timeline.next_frame().is_err());
        assert!(timeline.next_frame().unwrap().is_none());
    }

    /// Hands out one piece per read, as a pipe does, and counts them.
    struct Pipe(VecDeque<Vec<u8>>, Arc<AtomicU64>);

    impl Read for Pipe {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let Some(piece) = self.0.front_mut() else { return Ok(0) };
            let count = piece.len().min(into.len());
            into[..count].copy_from_slice(&piece[..count]);
            piece.drain(..count);
            if piece.is_empty() {
                self.0.pop_front();
                self.1.fetch_add(1, Ordering::Relaxed);
            }
            Ok(count)
        }
    }

    #[test]
    fn a_pipe_gives_each_frame_as_soon_as_it_is_there() {
        let bytes = pcap(&[1, 2, 3]);
        let pieces = [&bytes[..24], &bytes[24..44], &bytes[44..64], &bytes[64..]];
        let used = Arc::new(AtomicU64::new(0));
        let pipe = Pipe(pieces.iter().map(|piece| piece.to_vec()).collect(), Arc::clone(&used));
        let mut timeline = Timeline::from_reader("-", Box::new(pipe));
        for count in 2..=4 {
            assert!(timeline.next_frame().unwrap().is_some());
            assert_eq!(used.load(Ordering::Relaxed), count);
        }
    }
}
