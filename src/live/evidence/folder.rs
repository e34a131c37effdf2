//! The directory of the files: their names, and which one has to go.

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions, read_dir, remove_file};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Files whose name is taken already, tried before giving up; each is a microsecond later.
const NAMES_MAX: u32 = 1_000;
/// Length of the time in a name.
const TIME_LEN: usize = "20261121T184523.123456Z".len();
/// What a file in the making is called at the end.
pub(super) const UNFINISHED: &str = ".unfinished";

/// A directory with the files of one ring.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Begins each name.
    prefix: &'static str,
    /// The files of the ring, the oldest first: those found, and those of this run.
    files: VecDeque<PathBuf>,
    /// Held open, and locked, for as long as files are written.
    _lock: File,
}

impl Folder {
    /// Opens a directory, which is made if need be: readable for its owner alone, as captures hold
    /// what users sent. It is locked against a second ring, which would delete files of this one.
    pub(super) fn open(path: &Path, prefix: &'static str) -> io::Result<Folder> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let lock = File::open(path)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let words =
                    "another why502 writes its files here; give each a directory of its own";
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, words));
            }
            // Some network file systems know no locks.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOLCK) => {}
            Err(error) => return Err(error.into()),
        }
        let mut files = Vec::new();
        for entry in read_dir(path)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|_| entry.file_type().is_ok_and(|t| t.is_file()))
            else {
                continue;
            };
            if is_own(name, prefix) {
                files.push(entry.path());
            } else if name.strip_suffix(UNFINISHED).is_some_and(|name| is_own(name, prefix)) {
                // Left behind by a run that was killed; its packets are in the file itself.
                remove_file(entry.path())?;
            }
        }
        // The names begin with their time.
        files.sort();
        Ok(Folder { path: path.to_owned(), prefix, files: files.into(), _lock: lock })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Deletes the oldest files until no more than `stay` are left. How many it deleted.
    pub(super) fn make_room(&mut self, stay: usize) -> io::Result<u64> {
        let mut deleted = 0;
        while self.files.len() > stay {
            let Some(oldest) = self.files.front() else { break };
            match remove_file(oldest) {
                Ok(()) => deleted += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            self.files.pop_front();
        }
        Ok(deleted)
    }

    /// Begins a file that is named after `now`. It can be read by its owner alone.
    pub(super) fn create(&mut self, now: Timestamp) -> io::Result<(PathBuf, File)> {
        let mut microsecond = now.as_microsecond();
        for _ in 0..NAMES_MAX {
            let at = Timestamp::from_microsecond(microsecond).unwrap_or(now);
            let path = self.path.join(name(self.prefix, at));
            match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)
            {
                Ok(file) => {
                    self.files.push_back(path.clone());
                    return Ok((path, file));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => microsecond += 1,
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Takes back a file that holds nothing.
    pub(super) fn discard(&mut self, path: &Path) {
        if remove_file(path).is_ok() {
            self.files.retain(|file| file != path);
        }
    }
}

/// `why502-ring-20261121T184523.123456Z.pcapng`: sorted by name is sorted by time.
fn name(prefix: &str, at: Timestamp) -> String {
    format!("{prefix}{}.pcapng", at.strftime("%Y%m%dT%H%M%S.%6fZ"))
}

/// Whether a file is one of this ring's, to be deleted when it is the oldest.
fn is_own(name: &str, prefix: &str) -> bool {
    let time = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(".pcapng"));
    time.is_some_and(|time| {
        time.len() == TIME_LEN
            && time.bytes().enumerate().all(|(n, byte)| match n {
                8 => byte == b'T',
                15 => byte == b'.',
                22 => byte == b'Z',
                _ => byte.is_ascii_digit(),
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const PREFIX: &str = "why502-ring-";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_286_723 + second).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn names_sort_with_time_and_are_known_again() {
        let name = name(PREFIX, at(0));
        assert_eq!(name, "why502-ring-20261121T184523.000000Z.pcapng");
        assert!(is_own(&name, PREFIX) && !is_own(&name, "why502-kept-"));
        for other in [
            "why502-ring-.pcapng",
            "why502-ring-20261121T184523.000000Z.pcapng.gz",
            "why502-ring-20261121T184523.00000xZ.pcapng",
            "why502-ring-20261121T184523.0000000Z.pcapng",
            "why502-ring-important.pcapng",
            "a.pcapng",
        ] {
            assert!(!is_own(other, PREFIX), "{other}");
        }
    }

    #[test]
    fn only_the_oldest_of_its_own_are_deleted() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("made/for/it");
        let mut folder = Folder::open(&path, PREFIX).unwrap();
        for second in 0..3 {
            folder.create(at(second)).unwrap();
        }
        drop(folder);
        for other in
            ["why502-ring-mine.pcapng", "a.pcap", "why502-kept-20261121T184523.000000Z.pcapng"]
        {
            std::fs::write(path.join(other), "").unwrap();
        }
        let dangling = path.join(name(PREFIX, at(-5)));
        std::os::unix::fs::symlink("/nowhere", &dangling).unwrap();
        let left = format!("{}{UNFINISHED}", name(PREFIX, at(0)));
        std::fs::write(path.join(&left), "").unwrap();
        let mut folder = Folder::open(&path, PREFIX).unwrap();
        assert_eq!(folder.make_room(1).unwrap(), 2);
        // The clock may have been set back.
        let (newest, _) = folder.create(at(-100)).unwrap();
        assert_eq!(folder.make_room(1).unwrap(), 1);
        let all = names(&path);
        assert!(newest.exists() && all.len() == 5, "{all:?}");
        assert_eq!(newest.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        folder.discard(&newest);
        assert!(!newest.exists() && folder.files.is_empty());
    }

    #[test]
    fn names_of_one_moment_differ() {
        let place = tempfile::tempdir().unwrap();
        let mut folder = Folder::open(place.path(), PREFIX).unwrap();
        let (one, _) = folder.create(at(0)).unwrap();
        let (other, _) = folder.create(at(0)).unwrap();
        assert!(one < other, "{one:?} {other:?}");
    }

    #[test]
    fn a_directory_has_one_ring_at_a_time() {
        let place = tempfile::tempdir().unwrap();
        let first = Folder::open(place.path(), PREFIX).unwrap();
        let error = Folder::open(place.path(), PREFIX).unwrap_err();
        assert!(error.to_string().contains("another why502"), "{error}");
        drop(first);
        Folder::open(place.path(), PREFIX).unwrap();
        assert!(Folder::open(&place.path().join("x\0y"), PREFIX).is_err());
    }
}
