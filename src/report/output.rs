//! The file that `--output` names: its name appears, or its content changes, only when the report
//! is complete.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Files in the making, which a program that is ended has to remove.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes all files in the making. Only for a program that ends at once: none can be finished any more.
pub fn remove_unfinished() {
    for path in unfinished().iter() {
        // Nobody is left to tell.
        let _ = fs::remove_file(path);
    }
}

/// An output file in the making. Dropped without [`Output::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct Output {
    file: BufWriter<File>,
    /// Where it is written, and its name once it is complete; `None` for pipes and devices, which
    /// are written directly.
    rename: Option<(PathBuf, PathBuf)>,
}

impl Output {
    /// Opens `path` for writing, so that a path that cannot work fails before a long run.
    pub fn create(path: &Path) -> io::Result<Output> {
        let existing = fs::metadata(path).ok();
        if existing.as_ref().is_some_and(fs::Metadata::is_dir) {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory"));
        }
        if existing.as_ref().is_some_and(|found| !found.is_file()) {
            let file = OpenOptions::new().write(true).open(path)?;
            return Ok(Output { file: BufWriter::new(file), rename: None });
        }
        // A link stays a link: the file behind it is replaced.
        let target = if existing.is_some() { fs::canonicalize(path)? } else { path.to_owned() };
        let Some(name) = target.file_name() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not the name of a file"));
        };
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.tmp", std::process::id()));
        let temporary = target.with_file_name(hidden);
        if existing.is_some() {
            // Replacing a file that must not be written would get around its permissions.
            OpenOptions::new().write(true).open(&target)?;
        }
        let file = {
            let mut unfinished = unfinished();
            let file = File::create(&temporary)?;
            unfinished.insert(temporary.clone());
            file
        };
        let output = Output { file: BufWriter::new(file), rename: Some((temporary, target)) };
        if let Some(existing) = &existing {
            output.file.get_ref().set_permissions(existing.permissions())?;
        }
        Ok(output)
    }

    /// Fails when the file would replace one of these, from which it is made.
    pub fn refuse_inputs<'a>(
        path: &Path,
        inputs: impl IntoIterator<Item = &'a Path>,
    ) -> io::Result<()> {
        match inputs.into_iter().any(|input| is_same_file(path, input)) {
            true => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "is read for this report, which never replaces its input; name another file",
            )),
            false => Ok(()),
        }
    }

    /// Writes out what is buffered and gives the file its name.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.flush()?;
        if let Some((temporary, target)) = &self.rename {
            fs::rename(temporary, target)?;
            unfinished().remove(temporary);
            self.rename = None;
        }
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some((temporary, _)) = &self.rename {
            // Nobody is left to tell: the run has already failed for another reason.
            let _ = fs::remove_file(temporary);
            unfinished().remove(temporary);
        }
    }
}

/// Whether both are one regular file, by whatever names.
pub(crate) fn is_same_file(one: &Path, other: &Path) -> bool {
    let (Ok(one_about), Ok(other_about)) = (fs::metadata(one), fs::metadata(other)) else {
        return false;
    };
    let same_path = fs::canonicalize(one).ok() == fs::canonicalize(other).ok();
    one_about.is_file()
        && other_about.is_file()
        && (same_path || same_inode(&one_about, &other_about))
}

#[cfg(unix)]
fn same_inode(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn same_inode(_: &fs::Metadata, _: &fs::Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_appears_only_when_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        let mut output = Output::create(&path).unwrap();
        output.write_all(b"{}").unwrap();
        assert!(!path.exists());
        output.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"{}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn a_run_that_fails_keeps_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        fs::write(&path, "old").unwrap();
        let mut output = Output::create(&path).unwrap();
        output.write_all(b"half").unwrap();
        drop(output);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn a_path_that_cannot_work_fails_at_once() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Output::create(folder.path()).is_err());
        assert!(Output::create(&folder.path().join("no/such/folder")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link_and_a_device_is_written_directly() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let mut output = Output::create(&link).unwrap();
        output.write_all(b"new").unwrap();
        output.finish().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&real).unwrap(), b"new");
        assert!(Output::create(Path::new("/dev/null")).unwrap().rename.is_none());
    }
}
