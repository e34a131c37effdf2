//! Logs that grow while a capture goes on.
//!
//! They are opened when it begins, with the rights that there are then, and read when it is over: from where
//! they ended at its beginning, or whole when they are small or compressed. A log that is renamed meanwhile
//! (logrotate's default) is read to its end under its new name, and then the new file in its place, if the
//! process may open it; one that is cut to nothing (copytruncate) from its beginning.

use super::read::LogError;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Logs up to this size are read from their beginning: what is older than the capture tells the
/// kind of the log, and costs little.
const WHOLE_MAX: u64 = 16 << 20;
/// Logs of one live capture; each is an open file.
pub(super) const FOLLOWED_MAX: usize = 256;

/// An open log.
#[derive(Debug)]
pub(super) struct Followed {
    file: File,
    /// Where it ended.
    end: u64,
    inode: u64,
}

/// What there is to read of a log when the capture is over.
pub(super) struct Grown {
    pub(super) file: File,
    /// The file that took its place, or why it cannot be read.
    pub(super) next: Option<io::Result<File>>,
}

impl Followed {
    /// Opens a log.
    pub(super) fn open(path: &Path) -> Result<Followed, LogError> {
        let fail = |error| LogError::new(path, error);
        let file = File::open(path).map_err(fail)?;
        let about = file.metadata().map_err(fail)?;
        Ok(Followed { end: about.len(), inode: about.ino(), file })
    }

    /// What was written to it, and to its successor.
    pub(super) fn grown(&self, path: &Path) -> io::Result<Grown> {
        let mut file = self.file.try_clone()?;
        let now = file.metadata()?.len();
        let packed = path
            .extension()
            .is_some_and(|it| matches!(it.as_encoded_bytes(), b"gz" | b"zst" | b"xz" | b"lz4"));
        let whole = self.end <= WHOLE_MAX || packed || now < self.end;
        file.seek(SeekFrom::Start(if whole { 0 } else { self.end }))?;
        // Where it was renamed there may be nothing in its place.
        let replaced = std::fs::metadata(path).is_ok_and(|about| about.ino() != self.inode);
        Ok(Grown { file, next: replaced.then(|| File::open(path)) })
    }
}

/// Opens all logs of a live capture.
pub(super) fn open(files: &[(u32, PathBuf)]) -> Result<Vec<Followed>, LogError> {
    files.iter().take(FOLLOWED_MAX).map(|(_, path)| Followed::open(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::{Read, Write};

    fn text(mut file: File) -> String {
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn what_is_written_meanwhile_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        fs::write(&path, "old\n").unwrap();
        let followed = Followed::open(&path).unwrap();
        let mut log = fs::OpenOptions::new().append(true).open(&path).unwrap();
        log.write_all(b"new\n").unwrap();
        let grown = followed.grown(&path).unwrap();
        assert_eq!((text(grown.file).as_str(), grown.next.is_none()), ("old\nnew\n", true));
        // Renamed: both files are read.
        fs::rename(&path, folder.path().join("a.log.1")).unwrap();
        log.write_all(b"late\n").unwrap();
        fs::write(&path, "next\n").unwrap();
        let grown = followed.grown(&path).unwrap();
        assert_eq!(text(grown.file), "old\nnew\nlate\n");
        assert_eq!(text(grown.next.unwrap().unwrap()), "next\n");
    }

    #[test]
    fn of_a_large_log_only_what_is_new_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        fs::write(&path, vec![b'\n'; WHOLE_MAX as usize + 1]).unwrap();
        let followed = Followed::open(&path).unwrap();
        let mut log = fs::OpenOptions::new().append(true).open(&path).unwrap();
        log.write_all(b"new\n").unwrap();
        assert_eq!(text(followed.grown(&path).unwrap().file), "new\n");
        // Cut to nothing: from the beginning.
        fs::write(&path, "short\n").unwrap();
        assert_eq!(text(followed.grown(&path).unwrap().file), "short\n");
        assert!(Followed::open(&folder.path().join("none")).is_err());
    }
}
