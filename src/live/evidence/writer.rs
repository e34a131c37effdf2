//! The thread that writes: when a file begins and ends, and what to do when it cannot be written.

use super::file::{CHUNK, EvidenceFile, Moment, Tally};
use super::folder::Folder;
use super::keep::Keeper;
use super::queue::{Batch, Packet, Queue, Record, Remark};
use super::ring::Ring;
use super::room::Room;
use super::{Counters, EvidenceError, Interface, NOTICES_MAX, Notice, Options, Shared};
use crate::time::Timestamp;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest wait for packets; what waits is looked after so often.
const TURN: Duration = Duration::from_millis(200);
/// Blocks are stored at least so often, with a turn in between: within a second.
const STORE_EVERY: Duration = Duration::from_millis(700);
/// Free space is looked at so often while nothing is written for want of it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Space for what ends a file and begins the next, bytes.
const MARGIN: u64 = 16 << 10;

/// Names of the files that hold all packets.
const ALL: &str = "why502-ring-";
/// Names of the files that hold packets of failed flows.
const KEPT: &str = "why502-kept-";

/// Whether packets are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Writing,
    /// There is too little space.
    Paused {
        /// When that was last looked at.
        looked: Instant,
        /// Packets that were not written before.
        before: u64,
    },
    /// Nothing can be written.
    Stopped,
}

/// Why a file cannot be written on.
enum Trouble {
    /// Too little space.
    Space(String),
    /// Anything else.
    Other(String),
}

/// Writes what the queue gives.
pub(super) struct Writer {
    options: Options,
    interfaces: Vec<Interface>,
    shared: Arc<Shared>,
    folder: Folder,
    file: Option<EvidenceFile>,
    /// When the file began.
    began: Instant,
    state: State,
    stored: Instant,
    keeper: Option<Keeper>,
    tallies: Vec<Tally>,
    /// The tallies that the statistics of earlier files account for.
    accounted: Vec<Tally>,
    counters: Counters,
    notices: Vec<Notice>,
}

#[expect(clippy::disallowed_methods, reason = "files are stored and changed by the clock")]
fn instant() -> Instant {
    Instant::now()
}

/// The time of day, as packets have it.
fn time() -> Timestamp {
    Timestamp(i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or_default())
}

impl Writer {
    /// Looks for space and begins the first file.
    pub(super) fn start(
        options: Options,
        interfaces: Vec<Interface>,
        shared: Arc<Shared>,
    ) -> Result<Writer, EvidenceError> {
        let directory: PathBuf = options.directory.clone();
        let prefix = if options.keep_findings.is_some() { KEPT } else { ALL };
        let error = |source| EvidenceError::Directory { directory: directory.clone(), source };
        let folder = Folder::open(&directory, prefix).map_err(error)?;
        let keeper = options
            .keep_findings
            .map(|bytes| Keeper::new(usize::try_from(bytes).unwrap_or(usize::MAX)));
        let now = instant();
        let mut writer = Writer {
            tallies: vec![Tally::default(); interfaces.len()],
            accounted: vec![Tally::default(); interfaces.len()],
            options,
            interfaces,
            shared,
            folder,
            file: None,
            began: now,
            state: State::Writing,
            stored: now,
            keeper,
            counters: Counters::default(),
            notices: Vec::new(),
        };
        // The ring may hold what an earlier run wrote; that makes room first.
        writer.make_room().map_err(error)?;
        let room = writer.room().map_err(error)?;
        if !room.holds(0) {
            return Err(EvidenceError::Space { directory, room: room.to_string() });
        }
        writer.begin().map_err(error)?;
        writer.publish();
        Ok(writer)
    }

    /// Writes until the caller has no more.
    pub(super) fn run(mut self) {
        let mut batch = Queue::batch(self.interfaces.len());
        loop {
            let shared = Arc::clone(&self.shared);
            let more = shared.queue.take(&mut batch, TURN);
            self.batch(&mut batch);
            self.look_after();
            if !more {
                break;
            }
            self.publish();
        }
        if let Err(trouble) = self.store() {
            self.stop(trouble);
        }
        self.end_file();
        self.publish();
    }

    fn batch(&mut self, batch: &mut Batch) {
        self.counters.dropped_words += batch.dropped_words;
        let mut rest = &batch.bytes[..];
        for record in &mut batch.records {
            match record {
                Record::Packet(packet) => {
                    let Some((bytes, behind)) = rest.split_at_checked(packet.len as usize) else {
                        break;
                    };
                    rest = behind;
                    let is_wanted =
                        self.keeper.as_mut().is_none_or(|keeper| keeper.wants(*packet, bytes));
                    if is_wanted {
                        self.packet(packet, bytes, &[]);
                    }
                }
                Record::Failed(flow, remarks) => self.failed(*flow, std::mem::take(remarks)),
                Record::Over(flow) => {
                    if let Some(keeper) = &mut self.keeper {
                        keeper.over(*flow);
                    }
                }
            }
        }
        // The queue drops what comes behind the packets that it holds, and the kernel counted last.
        for (tally, dropped) in self.tallies.iter_mut().zip(&batch.dropped) {
            tally.left_out += dropped;
        }
        for (tally, kernel) in self.tallies.iter_mut().zip(&batch.kernel) {
            tally.kernel = kernel.unwrap_or(tally.kernel);
        }
    }

    fn failed(&mut self, flow: u64, remarks: Vec<Remark>) {
        // Taken out, so that it can give to the file.
        let Some(mut keeper) = self.keeper.take() else { return };
        let taken = keeper.failed(flow, remarks, |packet, bytes, comments| {
            self.packet(packet, bytes, comments);
        });
        if let Some(taken) = taken {
            self.counters.kept_flows += 1;
            if taken.is_incomplete {
                self.counters.incomplete_flows += 1;
                self.notices.push(Notice::Incomplete { flow });
            }
        }
        self.keeper = Some(keeper);
    }

    /// Writes a packet, or counts that it is not.
    fn packet(&mut self, packet: &Packet, bytes: &[u8], comments: &[String]) {
        let result = match self.state {
            State::Writing => self.try_packet(packet, bytes, comments),
            State::Paused { .. } | State::Stopped => {
                self.left_out(packet.interface, 1);
                return;
            }
        };
        if let Err(trouble) = result {
            self.stop(trouble);
            self.left_out(packet.interface, 1);
        }
    }

    fn left_out(&mut self, interface: u32, packets: u64) {
        self.counters.not_written += packets;
        if let Some(tally) = self.tallies.get_mut(interface as usize) {
            tally.left_out += packets;
        }
    }

    fn try_packet(
        &mut self,
        packet: &Packet,
        bytes: &[u8],
        comments: &[String],
    ) -> Result<(), Trouble> {
        if self.file.as_ref().is_some_and(|file| file.waiting_bytes() >= CHUNK) {
            self.store()?;
        }
        if self.file.as_ref().is_some_and(|file| self.is_full(file, packet, comments)) {
            self.store()?;
            self.end_file();
        }
        if self.file.is_none() {
            self.make_room()?;
            self.begin()?;
        }
        if let Some(file) = &mut self.file {
            file.packet(packet, bytes, comments)?;
        }
        Ok(())
    }

    fn is_full(&self, file: &EvidenceFile, packet: &Packet, comments: &[String]) -> bool {
        let Ring { size, time, .. } = self.options.ring;
        let is_long = size.is_some_and(|size| file.length_with(packet, comments) > size);
        let is_old = || time.is_some_and(|time| self.began.elapsed() >= time);
        file.packets() > 0 && (is_long || is_old())
    }

    /// Stores what waits, if there is space.
    fn store(&mut self) -> Result<(), Trouble> {
        self.stored = instant();
        let Some(file) = &mut self.file else { return Ok(()) };
        let waiting = file.waiting_bytes() as u64;
        if waiting == 0 {
            return Ok(());
        }
        let room = self.room()?;
        if !room.holds(waiting + MARGIN) {
            return Err(Trouble::Space(room.to_string()));
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let stored = file.store()?;
        self.counters.packets += stored.packets;
        self.counters.bytes += stored.bytes;
        Ok(())
    }

    /// What has to be done now and then.
    fn look_after(&mut self) {
        match self.state {
            State::Writing if self.stored.elapsed() >= STORE_EVERY => {
                if self.file.as_ref().is_some_and(EvidenceFile::is_deleted) {
                    // The next packet begins a new file, or finds that it cannot.
                    self.give_up();
                }
                if let Err(trouble) = self.store() {
                    self.stop(trouble);
                }
            }
            State::Paused { looked, before } if looked.elapsed() >= LOOK_EVERY => {
                let file = self.options.ring.size.unwrap_or_default();
                match self.room() {
                    Ok(room) if room.holds_again(file) => {
                        self.state = State::Writing;
                        let not_written = self.counters.not_written - before;
                        self.notices.push(Notice::Resumed { not_written });
                    }
                    Ok(_) => self.state = State::Paused { looked: instant(), before },
                    Err(error) => self.stop(error.into()),
                }
            }
            State::Writing | State::Paused { .. } | State::Stopped => {}
        }
    }

    /// Ends the file, as it cannot be written on.
    fn stop(&mut self, trouble: Trouble) {
        let before = self.counters.not_written;
        self.give_up();
        let file = self.options.ring.size.unwrap_or_default();
        let has_room = self.room().is_ok_and(|room| room.holds_again(file));
        match trouble {
            // Of a quota, or a file system without room for another name, nobody tells when it has
            // space again.
            Trouble::Space(why) if !has_room => {
                self.state = State::Paused { looked: instant(), before };
                self.notices.push(Notice::Paused(why));
            }
            Trouble::Space(why) | Trouble::Other(why) => {
                self.state = State::Stopped;
                let directory = self.options.directory.display();
                self.notices.push(Notice::Stopped(format!("{directory}: {why}")));
            }
        }
    }

    /// Ends the file without what waits.
    fn give_up(&mut self) {
        let given_up = self.file.as_mut().map(EvidenceFile::give_up).unwrap_or_default();
        for (interface, packets) in (0..).zip(given_up) {
            self.left_out(interface, packets);
        }
        self.end_file();
    }

    /// Ends the file, if there is one, as well as it goes; nothing waits any more.
    fn end_file(&mut self) {
        let Some(file) = self.file.take() else { return };
        if file.packets() == 0 {
            self.folder.discard(file.path());
            return;
        }
        let may_sort = self.room().is_ok_and(|room| room.holds(file.length()));
        let (before, tallies) = (&self.accounted[..], &self.tallies[..]);
        // A full disk has no room for statistics either; the packets are there without them.
        let (stored, in_order) =
            file.end(Moment { now: time(), before, tallies, may_sort }).unwrap_or_default();
        self.counters.bytes += stored.bytes;
        self.counters.unfinished_files += u64::from(!in_order);
        self.accounted.clone_from(&self.tallies);
    }

    fn make_room(&mut self) -> io::Result<()> {
        let others = self.options.ring.files.saturating_sub(1) as usize;
        self.counters.deleted_files += self.folder.make_room(others)?;
        Ok(())
    }

    /// Begins a file.
    fn begin(&mut self) -> io::Result<()> {
        let (path, file) = self.folder.create(jiff::Timestamp::now())?;
        let in_disorder = self.keeper.is_some().then_some(self.options.sorted);
        let created = (path.clone(), file);
        let file = EvidenceFile::begin(created, &self.interfaces, time(), in_disorder)
            .inspect_err(|_| self.folder.discard(&path))?;
        self.counters.files += 1;
        self.began = instant();
        self.file = Some(file);
        Ok(())
    }

    fn room(&mut self) -> io::Result<Room> {
        let room = Room::of(self.folder.path(), self.options.min_free)?;
        self.counters.free_bytes = room.free;
        Ok(room)
    }

    /// Lets the caller see how far it is.
    fn publish(&mut self) {
        self.counters.is_writing = self.state == State::Writing;
        if let Some(keeper) = &self.keeper {
            (self.counters.look_back_bytes, self.counters.evicted) = keeper.look_back();
            self.counters.not_followed_flows = keeper.not_followed();
        }
        let mut told = self.shared.told();
        told.counters = self.counters;
        let room = NOTICES_MAX.saturating_sub(told.notices.len());
        let is_flow = |notice: &Notice| matches!(notice, Notice::Incomplete { .. });
        let mut flows = 0;
        self.notices.retain(|notice| {
            flows += usize::from(is_flow(notice));
            !is_flow(notice) || flows <= room
        });
        told.notices.append(&mut self.notices);
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        match error.kind() {
            io::ErrorKind::StorageFull => Trouble::Space(error.to_string()),
            _ => Trouble::Other(error.to_string()),
        }
    }
}
