//! What happened on the host, and when.

use super::census::Outgoing;
use super::facts::Process;
use super::texts;
use crate::time::Timestamp;

/// Something that happened between two looks at the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The last look before it.
    pub from: Timestamp,
    /// The look that found it.
    pub at: Timestamp,
    /// The port that it concerns; `None`: the whole host.
    pub port: Option<u16>,
    /// What it was.
    pub what: Happening,
}

impl Event {
    /// One sentence, without its time.
    pub fn text(&self) -> String {
        texts::event(self)
    }

    /// Whether it can have happened from `from` to `to`.
    pub fn overlaps(&self, from: Timestamp, to: Timestamp) -> bool {
        self.from <= to && self.at >= from
    }
}

/// What can happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// Nothing listens any more.
    Gone {
        /// Who listened, where it was known.
        who: Option<Box<Process>>,
        /// Whether that process has ended.
        ended: bool,
    },
    /// Something listens where nothing did.
    Listens {
        /// Who.
        who: Option<Box<Process>>,
    },
    /// Another socket listens than before.
    Restarted {
        /// Who listened.
        before: Option<Box<Process>>,
        /// Who does now.
        now: Option<Box<Process>>,
    },
    /// A process that held the socket has ended, and the socket is still there.
    Ended {
        /// Which.
        who: Box<Process>,
        /// How many others hold it.
        left: usize,
    },
    /// A process that holds the socket was stopped.
    Stopped {
        /// Which.
        who: Box<Process>,
    },
    /// It runs again.
    Continued {
        /// Which.
        who: Box<Process>,
    },
    /// The accept queue became full.
    QueueFull {
        /// Connections that wait.
        waiting: u32,
        /// How many may.
        backlog: u32,
    },
    /// It has room again.
    QueueFree,
    /// A process that holds the socket has as many files open as it may.
    FilesFull {
        /// Which.
        who: Box<Process>,
        /// How many.
        files: u64,
    },
    /// It has room for more files again.
    FilesFree {
        /// Which.
        who: Box<Process>,
    },
    /// Counters of overflow or of want of memory moved.
    Counted {
        /// Name and growth.
        grown: Vec<(&'static str, u64)>,
    },
    /// Processes were killed for want of memory.
    OomKills {
        /// How many.
        killed: u64,
    },
    /// No port is left, or hardly one, for connections to a destination.
    PortsOut {
        /// Which, and how many it uses.
        outgoing: Outgoing,
        /// How many there are.
        ports: u64,
    },
}

impl Happening {
    /// Stable id.
    pub fn id(&self) -> &'static str {
        match self {
            Happening::Gone { .. } => "gone",
            Happening::Listens { .. } => "listens",
            Happening::Restarted { .. } => "restarted",
            Happening::Ended { .. } => "process-ended",
            Happening::Stopped { .. } => "process-stopped",
            Happening::Continued { .. } => "process-continued",
            Happening::QueueFull { .. } => "queue-full",
            Happening::QueueFree => "queue-free",
            Happening::FilesFull { .. } => "files-full",
            Happening::FilesFree { .. } => "files-free",
            Happening::Counted { .. } => "overflow",
            Happening::OomKills { .. } => "oom-kill",
            Happening::PortsOut { .. } => "ports-out",
        }
    }
}
