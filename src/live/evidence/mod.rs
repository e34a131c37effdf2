//! Evidence on disk: a ring of pcapng files with all packets, or with those of failed flows.
//!
//! ```text
//! caller -> queue -> writer thread -> keep (look-back) -> file, file, ... in a folder
//!           bounded                   failed flows only   ring, free space
//! ```
//!
//! The caller never waits for the disk. What the queue has no room for is dropped and counted, and
//! stands in the statistics of the file. Every file is a whole pcapng; blocks are written whole,
//! once a second at least, so that it can be opened at any time. A process that is killed leaves a
//! file without statistics. Nothing is synchronised to the disk: what a crash of the whole machine
//! loses is up to the file system.
//!
//! When there is too little free space, writing stops until there is clearly more
//! ([`MinFree`]: a quarter more than has to stay free, and the size of a file); when the directory cannot be written to for another reason, it stops for good.
//! Either is a [`Notice`], and the analysis goes on.

mod file;
mod folder;
mod keep;
mod look_back;
mod queue;
mod ring;
mod room;
mod writer;

pub use file::SORTED_MAX;
pub use queue::{Kernel, Remark};
pub use ring::{Ring, RingError, bytes};
pub use room::{MinFree, MinFreeError};

use crate::capture::{Frame, LinkType};
use crate::cause::Finding;
use crate::phrase;
use crate::words::{Phrase, plural};
use queue::{Packet, Queue, Record};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use writer::Writer;

/// Memory for looking back when nothing is said, bytes.
pub const LOOK_BACK: u64 = 64_000_000;
/// Bytes that wait to be written when nothing is said; as many are being written meanwhile.
pub const QUEUE: u64 = 16 << 20;
/// Notices that wait for the caller; with more, flows are no longer named.
const NOTICES_MAX: usize = 1_000;

/// What is written, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory; it is made if need be.
    pub directory: PathBuf,
    /// Files.
    pub ring: Ring,
    /// Free space that is left to others.
    pub min_free: MinFree,
    /// Only packets of flows that failed, with so much memory to look back, bytes.
    pub keep_findings: Option<u64>,
    /// Bytes of packets that wait to be written at most.
    pub queue: u64,
    /// Packets of a file that is put into the order of time when it is complete.
    pub sorted: usize,
}

impl Options {
    /// All packets into `directory`, everything else as usual.
    pub fn new(directory: PathBuf) -> Options {
        Options {
            directory,
            ring: Ring::default(),
            min_free: MinFree::Usual,
            keep_findings: None,
            queue: QUEUE,
            sorted: SORTED_MAX,
        }
    }
}

/// An interface of which packets are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// As the operating system names it.
    pub name: String,
    /// What its packets begin with.
    pub link: LinkType,
    /// Bytes that are captured of a packet at most; 0 is no limit.
    pub snaplen: u32,
}

/// Why nothing is written.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The directory cannot be used.
    #[error("{}: no evidence can be written here: {source}", directory.display())]
    Directory {
        /// As the user named it.
        directory: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The user that this process changed to may not write there.
    #[error(
        "{}: no evidence can be written here: why502 writes as {user} once it captures, and {user} may not; \
         chown {user} {}, name a directory that is not there yet, or say --user with a name that may",
        directory.display(), directory.display()
    )]
    Denied {
        /// As it was named on the command line.
        directory: PathBuf,
        /// Its name.
        user: String,
    },
    /// There is too little space.
    #[error(
        "{}: too little space for evidence: {room}; free some, name another directory, or say \
         --min-free",
        directory.display()
    )]
    Space {
        /// As the user named it.
        directory: PathBuf,
        /// How much there is, and has to be.
        room: String,
    },
}

impl EvidenceError {
    /// The same, where this process has changed to the user of that name.
    pub(super) fn for_user(self, name: Option<&str>) -> EvidenceError {
        match (self, name) {
            (EvidenceError::Directory { directory, source }, Some(name))
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                EvidenceError::Denied { directory, user: name.to_owned() }
            }
            (error, _) => error,
        }
    }
}

/// What the user should know, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Nothing is written until there is more space.
    Paused(String),
    /// It is written again.
    Resumed {
        /// Packets that were wanted in between.
        not_written: u64,
    },
    /// Nothing is written any more.
    Stopped(String),
    /// Earlier packets of a failed flow were no longer there.
    Incomplete {
        /// The flow.
        flow: u64,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Paused(why) => {
                write!(f, "evidence is not written until there is more space: {why}")
            }
            Notice::Resumed { not_written } => {
                let packets = plural(*not_written, "packet");
                write!(f, "evidence is written again; {packets} that came meanwhile are not in it")
            }
            Notice::Stopped(why) => {
                write!(f, "evidence is not written any more: {why}; the analysis goes on")
            }
            Notice::Incomplete { flow } => write!(
                f,
                "the evidence of flow {flow} is incomplete: its first packets were no longer \
                 there (see --look-back)"
            ),
        }
    }
}

/// What was done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets in files.
    pub packets: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// Files begun.
    pub files: u64,
    /// Files deleted because the ring was full.
    pub deleted_files: u64,
    /// Packets dropped because the queue was full.
    pub dropped: u64,
    /// Packets that were wanted and not written: no space, or an error.
    pub not_written: u64,
    /// Words about flows dropped because the queue was full: packets of failed flows may be missing.
    pub dropped_words: u64,
    /// Packets that left the look-back before their flow failed; of most flows nobody will ask.
    pub evicted: u64,
    /// Flows that failed.
    pub kept_flows: u64,
    /// Those among them of which earlier packets had left the look-back.
    pub incomplete_flows: u64,
    /// Those of which only the look-back was kept, as too many failed at the same time.
    pub not_followed_flows: u64,
    /// Files that could not be ended as they should: without statistics, or in the order of writing
    /// instead of that of time.
    pub unfinished_files: u64,
    /// Bytes that wait in the queue now.
    pub queue_bytes: u64,
    /// Memory in use for looking back now, bytes.
    pub look_back_bytes: u64,
    /// Bytes free in the file system of the directory when it was last looked at.
    pub free_bytes: u64,
    /// Whether packets that are wanted are written now.
    pub is_writing: bool,
}

impl Counters {
    /// What of the evidence is missing, for the report.
    pub fn missing(&self) -> Vec<Phrase> {
        let mut said = Vec::new();
        if self.not_written > 0 {
            said.push(phrase!(
                "evidence: {packets} were not written for want of space or an error",
                packets = plural(self.not_written, "packet")
            ));
        }
        if self.dropped > 0 {
            said.push(phrase!(
                "evidence: {packets} were not written as the disk was too slow",
                packets = plural(self.dropped, "packet")
            ));
        }
        said
    }
}

/// What the writer tells.
#[derive(Debug, Default)]
struct Told {
    counters: Counters,
    notices: Vec<Notice>,
}

/// What caller and writer share.
#[derive(Debug)]
struct Shared {
    queue: Queue,
    told: Mutex<Told>,
}

impl Shared {
    fn told(&self) -> MutexGuard<'_, Told> {
        // Numbers and texts, each of them whole.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes evidence until it is finished or dropped. May be used from several threads.
#[derive(Debug)]
pub struct Evidence {
    shared: Arc<Shared>,
    /// Only what failed: words about flows matter.
    keeps: bool,
    writer: Option<JoinHandle<()>>,
}

impl Evidence {
    /// Opens the directory, looks for free space, begins the first file and starts the writer.
    pub fn start(options: Options, interfaces: Vec<Interface>) -> Result<Evidence, EvidenceError> {
        let directory = options.directory.clone();
        let keeps = options.keep_findings.is_some();
        let bytes_max = usize::try_from(options.queue).unwrap_or(usize::MAX);
        let queue = Queue::new(interfaces.len(), bytes_max);
        let shared = Arc::new(Shared { queue, told: Mutex::default() });
        let writer = Writer::start(options, interfaces, Arc::clone(&shared))?;
        let thread = thread::Builder::new().name("evidence".to_owned());
        let writer = thread
            .spawn(move || writer.run())
            .map_err(|source| EvidenceError::Directory { directory, source })?;
        Ok(Evidence { shared, keeps, writer: Some(writer) })
    }

    /// A packet of the interface whose number in the list is that of its file; `flow` if it is known.
    /// With [`Options::keep_findings`] packets without a flow are not kept.
    pub fn packet(&self, frame: &Frame<'_>, flow: Option<u64>) {
        let Ok(len) = u32::try_from(frame.bytes.len()) else { return };
        let (interface, at) = (frame.mark.frame.file(), frame.mark.at);
        let (wire_len, direction) = (frame.wire_len, frame.direction);
        let packet = Packet { interface, at, wire_len, len, flow, direction };
        self.shared.queue.packet(packet, frame.bytes);
    }

    /// A flow has failed: its packets are kept, those so far and those to come. `remarks` become
    /// comments of the packets that are there, see [`remarks`].
    pub fn failed(&self, flow: u64, remarks: Vec<Remark>) {
        if self.keeps {
            self.shared.queue.word(Record::Failed(flow, remarks));
        }
    }

    /// A flow is over. May come before its [`Evidence::failed`].
    pub fn over(&self, flow: u64) {
        if self.keeps {
            self.shared.queue.word(Record::Over(flow));
        }
    }

    /// What the kernel counts at an interface, since the capture began.
    pub fn kernel(&self, interface: u32, counters: Kernel) {
        self.shared.queue.kernel(interface, counters);
    }

    /// What was done so far.
    pub fn counters(&self) -> Counters {
        let (queue_bytes, dropped) = self.shared.queue.depth();
        Counters { queue_bytes, dropped, ..self.shared.told().counters }
    }

    /// What the user should know; each is given once.
    pub fn notices(&self) -> Vec<Notice> {
        std::mem::take(&mut self.shared.told().notices)
    }

    /// Writes what waits and ends the file. Also what the user should know that was not asked for.
    pub fn finish(mut self) -> (Counters, Vec<Notice>) {
        self.stop();
        (self.counters(), self.notices())
    }

    fn stop(&mut self) {
        self.shared.queue.close();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            let notice = Notice::Stopped("the writer failed".to_owned());
            self.shared.told().notices.push(notice);
        }
    }
}

impl Drop for Evidence {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The comments on the packets of a finding.
pub fn remarks(finding: &Finding) -> Vec<Remark> {
    let comments = crate::slice::of_packets(finding).into_iter();
    comments.map(|(at, text)| Remark { at, text }).collect()
}
