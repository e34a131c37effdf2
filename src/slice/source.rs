//! Captures that can be read twice, and what a slice may not replace.

use super::SliceError;
use crate::capture::{CaptureError, CaptureInfo, Timeline};
use crate::report::output::is_same_file;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Bytes of standard input that are kept in a temporary file to be read again. What is larger is
/// better saved where its owner has room for it.
pub const SPOOL_MAX: u64 = 4 << 30;
/// Bytes copied at a time.
const PIECE: usize = 1 << 20;

/// Why captures cannot be read twice.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A pipe or a device.
    #[error(
        "{path}: can be read only once, and a slice needs two readings; save it to a file, or pipe \
         it into standard input (-)"
    )]
    ReadOnce {
        /// As the user named it.
        path: String,
    },
    /// Standard input goes on for too long.
    #[error(
        "standard input is longer than {} GiB, the most that is kept to be read twice; save it to \
         a file and slice that",
        SPOOL_MAX >> 30
    )]
    TooLong,
    /// Standard input cannot be kept.
    #[error("standard input cannot be kept in {folder} to be read twice: {source}")]
    Spool {
        /// Where temporary files go.
        folder: String,
        /// What the system says.
        source: io::Error,
    },
}

/// What the user named; standard input as a temporary file.
pub(super) struct Sources<'a> {
    captures: &'a [PathBuf],
    spooled: Option<File>,
}

impl<'a> Sources<'a> {
    pub(super) fn new(captures: &'a [PathBuf]) -> Result<Sources<'a>, SourceError> {
        let is_standard_input = |path: &&PathBuf| path.as_os_str() == "-";
        for path in captures.iter().filter(|path| !is_standard_input(path)) {
            // What is not there at all is told by who opens it.
            if fs::metadata(path).is_ok_and(|about| !about.is_file() && !about.is_dir()) {
                return Err(SourceError::ReadOnce { path: path.display().to_string() });
            }
        }
        let spooled = match captures.iter().any(|path| is_standard_input(&path)) {
            // A terminal is refused by the timeline.
            true if !io::stdin().is_terminal() => Some(spool(io::stdin().lock(), SPOOL_MAX)?),
            _ => None,
        };
        Ok(Sources { captures, spooled })
    }

    /// Everything from the beginning. One timeline at a time.
    pub(super) fn timeline(&mut self) -> Result<Timeline, CaptureError> {
        let standard_input = match &mut self.spooled {
            Some(file) => {
                let again = file.rewind().and_then(|()| file.try_clone());
                let io = |source| CaptureError::Io { path: "-".to_owned(), source };
                Some(Box::new(again.map_err(io)?) as Box<dyn Read + Send>)
            }
            None => None,
        };
        Timeline::open_with(self.captures, standard_input)
    }
}

/// Copies all of `from` into a temporary file without a name.
fn spool(mut from: impl Read, limit: u64) -> Result<File, SourceError> {
    let folder = std::env::temp_dir().display().to_string();
    let failed = |source| SourceError::Spool { folder: folder.clone(), source };
    let mut file = tempfile::tempfile().map_err(failed)?;
    let mut piece = vec![0; PIECE];
    let mut length = 0;
    loop {
        let count = match from.read(&mut piece) {
            Ok(0) => return Ok(file),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        length += count as u64;
        if length > limit {
            return Err(SourceError::TooLong);
        }
        file.write_all(&piece[..count]).map_err(failed)?;
    }
}

/// Refuses an output that is one of the captures, by whatever name.
pub(super) fn refuse_input(output: &Path, captures: &[CaptureInfo]) -> Result<(), SliceError> {
    let same = |capture: &&CaptureInfo| is_same_file(output, Path::new(&capture.path));
    match captures.iter().find(same) {
        Some(_) => Err(SliceError::OutputIsInput { path: output.display().to_string() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_from_its_beginning_and_has_a_bound() {
        let mut file = spool(&b"0123456789"[..], 10).unwrap();
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "0123456789");
        assert!(matches!(spool(&b"0123456789"[..], 9), Err(SourceError::TooLong)));
    }

    #[test]
    fn an_input_is_recognised_by_other_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a"), "").unwrap();
        fs::write(path("b"), "").unwrap();
        fs::hard_link(path("a"), path("hard")).unwrap();
        let capture =
            CaptureInfo { path: path("a").display().to_string(), ..CaptureInfo::default() };
        let refused =
            |name: &str| refuse_input(&path(name), std::slice::from_ref(&capture)).is_err();
        assert!(refused("a") && refused("./a") && !refused("b") && !refused("c"));
        assert!(refused("hard") || cfg!(not(unix)));
    }
}
