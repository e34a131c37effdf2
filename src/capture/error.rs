//! What can keep a capture from being read at all.

use std::io;

/// Why there is nothing to analyse. Damage inside a capture is not among these: it is a warning
/// in [`CaptureInfo`](super::CaptureInfo), and what comes before it is read.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// There is no such file.
    #[error("{path}: no such file or directory; check the name")]
    NotFound {
        /// As the user named it.
        path: String,
    },
    /// The file may not be read.
    #[error("{path}: permission denied; run why502 as a user who may read it, or copy the file")]
    Denied {
        /// As the user named it.
        path: String,
    },
    /// Reading failed before the first byte of the capture.
    #[error("{path}: cannot be read: {source}")]
    Io {
        /// As the user named it.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{path}: not a pcap or pcapng capture: {looks_like}")]
    NotACapture {
        /// As the user named it.
        path: String,
        /// What it looks like instead, and what to do about it.
        looks_like: String,
    },
    /// A directory holds nothing to read.
    #[error(
        "{path}: no capture in this directory ({others} other files); name a file or another \
             directory"
    )]
    NoCaptures {
        /// As the user named it.
        path: String,
        /// Files in it that are not captures.
        others: usize,
    },
}

impl CaptureError {
    pub(super) fn from_io(path: &str, source: io::Error) -> CaptureError {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => CaptureError::NotFound { path },
            io::ErrorKind::PermissionDenied => CaptureError::Denied { path },
            _ => CaptureError::Io { path, source },
        }
    }
}
