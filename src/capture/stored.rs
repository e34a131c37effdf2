//! Bytes as they are stored: counted as they are read, with few files open at a time.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Files kept open; further ones are opened for each read. Systems commonly allow a process 1,024
/// (macOS: 256), and a directory with a capture from every host may hold more that overlap.
const MAX_OPEN: usize = 128;

/// Counts shared by all files of a timeline.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// Bytes read from all of them.
    pub(super) consumed: Arc<AtomicU64>,
    open: Arc<AtomicUsize>,
}

/// A file that gives up its descriptor between reads when many others are open.
#[derive(Debug)]
pub(super) struct StoredFile {
    path: PathBuf,
    file: Option<File>,
    position: u64,
    open: Arc<AtomicUsize>,
}

impl StoredFile {
    pub(super) fn open(path: PathBuf, counts: &Counts) -> io::Result<StoredFile> {
        let open = Arc::clone(&counts.open);
        let mut stored = StoredFile { path, file: None, position: 0, open };
        stored.file()?;
        Ok(stored)
    }

    fn file(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            let mut file = File::open(&self.path)?;
            if self.position > 0 {
                file.seek(SeekFrom::Start(self.position))?;
            }
            self.open.fetch_add(1, Ordering::Relaxed);
            self.file = Some(file);
        }
        self.file.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn close(&mut self) {
        if self.file.take().is_some() {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Read for StoredFile {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file()?.read(into)?;
        self.position += count as u64;
        if self.open.load(Ordering::Relaxed) > MAX_OPEN {
            self.close();
        }
        Ok(count)
    }
}

impl Drop for StoredFile {
    fn drop(&mut self) {
        self.close();
    }
}

/// Counts what is read, for one file and for all.
pub(super) struct Counted<R> {
    pub(super) source: R,
    pub(super) of_file: Arc<AtomicU64>,
    pub(super) of_all: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    #[inline]
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(into)?;
        self.of_file.fetch_add(count as u64, Ordering::Relaxed);
        self.of_all.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_files_read_in_turns_keep_few_descriptors() {
        let directory = tempfile::tempdir().unwrap();
        let counts = Counts::default();
        let mut files: Vec<StoredFile> = (0..MAX_OPEN + 50)
            .map(|number| {
                let path = directory.path().join(number.to_string());
                std::fs::write(&path, number.to_string().repeat(3)).unwrap();
                let mut file = StoredFile::open(path, &counts).unwrap();
                file.read_exact(&mut [0]).unwrap();
                file
            })
            .collect();
        assert!(counts.open.load(Ordering::Relaxed) <= MAX_OPEN);
        for (number, file) in files.iter_mut().enumerate() {
            let mut rest = String::new();
            file.read_to_string(&mut rest).unwrap();
            assert_eq!(rest, number.to_string().repeat(3)[1..]);
        }
        drop(files);
        assert_eq!(counts.open.load(Ordering::Relaxed), 0);
    }
}
