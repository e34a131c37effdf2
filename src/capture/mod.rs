//! Where frames come from: capture files, directories of them, a pipe.
//!
//! Knows file formats and compression. Knows nothing of what a frame carries.
//!
//! [`Timeline`] is the way in: it takes what the user named and lends the frames of all of it in
//! time order. Behind it, one file at a time:
//!
//! ```text
//! inputs -> stored -> decompress -> read_ahead -> window -> pcap | pcapng -> reader -> timeline
//! which     bytes     gzip, ...     a thread     refilled  records to       numbers,  order of
//! files     on disk                 for it all   buffer    frames           totals    several files
//! ```
//!
//! `read_ahead` is for compressed files, for streams, and where nobody decodes in a thread of its own.
//!
//! What is odd but readable is read and told in [`CaptureInfo::warnings`]; what is damaged is
//! skipped, with its place and size. Only what gives no frame at all is a [`CaptureError`].

mod bytes;
pub(crate) mod decompress;
mod error;
mod filter;
mod gzip;
mod inputs;
mod link_type;
mod looks_like;
mod notes;
mod original;
mod pcap;
mod pcapng;
mod pcapng_blocks;
mod pcapng_interface;
mod pcapng_options;
mod read_ahead;
mod reader;
mod secrets;
mod stored;
#[cfg(test)]
mod testing;
mod timeline;
mod window;
mod write;

pub use error::CaptureError;
pub use filter::{Filter, FilterError};
pub use original::{Aside, Original};
pub use timeline::Timeline;
pub use write::{BlockOptions, PacketBlock, PcapngWriter};

use crate::time::{Mark, Timestamp};

/// A link type as capture files number them
/// (<https://www.tcpdump.org/linktypes.html>, `LINKTYPE_` values).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkType(pub u16);

/// Which way a frame went at the capturing interface, when the capture says so
/// (pcapng `epb_flags`, Linux cooked packet type).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// The capture does not say.
    #[default]
    Unknown,
    /// Received by the capturing host.
    Inbound,
    /// Sent by the capturing host.
    Outbound,
}

/// One captured frame, alive for one turn of the read loop.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// File, number and time.
    pub mark: Mark,
    /// Link type of the interface that it was captured on.
    pub link: LinkType,
    /// The captured bytes.
    pub bytes: &'a [u8],
    /// Length on the wire; larger than `bytes` when the snap length cut the frame.
    pub wire_len: u32,
    /// As the capture file states it.
    pub direction: Direction,
}

/// [`CaptureInfo::format`] of what was captured here and is in no file; its path is the interface.
pub const LIVE: &str = "live";

/// What is known of one capture file; complete once the file has been read.
#[derive(Clone, Debug, Default)]
pub struct CaptureInfo {
    /// As the user named it, or found in a directory that the user named.
    pub path: String,
    /// `pcap`, `pcap-ns`, `pcap-modified`, `pcapng`, [`LIVE`].
    pub format: &'static str,
    /// `gzip`, `zstd`, `xz`, `lz4`.
    pub compression: Option<&'static str>,
    /// Frames read.
    pub packets: u64,
    /// Bytes read from the file, as stored.
    pub bytes: u64,
    /// Earliest frame time.
    pub first: Option<Timestamp>,
    /// Latest frame time.
    pub last: Option<Timestamp>,
    /// Link types met, in order of appearance.
    pub link_types: Vec<LinkType>,
    /// Frames that the snap length cut.
    pub cut_frames: u64,
    /// Offset in the decompressed file at which it stopped making sense.
    pub damaged_at: Option<u64>,
    /// What was odd, for people.
    pub warnings: Vec<String>,
    /// Packets the capturing host says it dropped (pcapng interface statistics).
    pub kernel_drops: u64,
}

impl CaptureInfo {
    /// Whether not even its header is whole, so that nothing in it can be read.
    pub fn is_headless(&self) -> bool {
        self.packets == 0 && self.damaged_at == Some(0)
    }
}
