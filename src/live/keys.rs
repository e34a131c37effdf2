//! Key log files of TLS sessions that grow while we capture: programs write into them as
//! connections begin.

use super::run::LiveError;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes that are read of a file at once; the rest comes with the next turn.
const PIECE: usize = 1 << 20;
/// Longest line that is kept until its end comes, bytes. Real ones have less than 250.
const LINE_MAX: usize = 1 << 16;

/// A file, and what of it is known.
#[derive(Debug)]
struct Growing {
    file: File,
    /// Where the next read begins.
    at: u64,
    /// The beginning of a line.
    rest: Vec<u8>,
}

/// Files that are open, so that they can be read when rights have been given up.
#[derive(Debug, Default)]
pub(super) struct KeyFiles(Vec<Growing>);

impl KeyFiles {
    /// Opens them. What is in them already is left to the analysis; those that are empty leave
    /// `paths`, as it would call them useless.
    pub(super) fn open(paths: &mut Vec<PathBuf>) -> Result<KeyFiles, LiveError> {
        let mut files = Vec::new();
        let mut empty = Vec::new();
        for path in paths.iter() {
            let growing = Growing::open(path)
                .map_err(|why| LiveError::Keys(path.display().to_string(), why))?;
            if growing.at == 0 && growing.file.metadata().is_ok_and(|it| it.len() == 0) {
                empty.push(path.clone());
            }
            files.push(growing);
        }
        paths.retain(|path| !empty.contains(path));
        Ok(KeyFiles(files))
    }

    /// Gives the whole lines that came since.
    pub(super) fn read(&mut self, mut give: impl FnMut(&[u8])) {
        for growing in &mut self.0 {
            growing.read(&mut give);
        }
    }
}

impl Growing {
    /// Begins behind the last whole line.
    fn open(path: &Path) -> io::Result<Growing> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let begin = length.saturating_sub(LINE_MAX as u64);
        let mut tail = vec![0; usize::try_from(length - begin).unwrap_or(LINE_MAX)];
        let read = file.read_at(&mut tail, begin)?;
        let whole = tail[..read].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        Ok(Growing { file, at: begin + whole as u64, rest: Vec::new() })
    }

    fn read(&mut self, give: &mut impl FnMut(&[u8])) {
        // A pipe has no length, and is not followed.
        let Ok(length) = self.file.metadata().map(|it| it.len()) else { return };
        if length < self.at {
            // It was begun anew.
            self.at = 0;
            self.rest.clear();
        }
        let more = usize::try_from(length - self.at).unwrap_or(PIECE).min(PIECE);
        if more == 0 {
            return;
        }
        let before = self.rest.len();
        self.rest.resize(before + more, 0);
        let read = self.file.read_at(&mut self.rest[before..], self.at).unwrap_or(0);
        self.rest.truncate(before + read);
        self.at += read as u64;
        if let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') {
            give(&self.rest[..=end]);
            self.rest.drain(..=end);
        }
        if self.rest.len() > LINE_MAX {
            self.rest.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::io::Write;

    fn more(files: &mut KeyFiles) -> String {
        let mut all = Vec::new();
        files.read(|lines| all.extend_from_slice(lines));
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn what_is_added_is_given_in_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let [old, fresh] = ["old", "fresh"].map(|name| folder.path().join(name));
        std::fs::write(&old, "a 1\nb 2\nc").unwrap();
        std::fs::write(&fresh, "").unwrap();
        let mut paths = vec![old.clone(), fresh.clone()];
        let mut files = KeyFiles::open(&mut paths).unwrap();
        assert_eq!(paths, std::slice::from_ref(&old), "the empty one is not read at the start");
        assert_eq!(more(&mut files), "");
        let append = |path: &Path, text: &str| {
            OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
        };
        append(&old, " 3\nd 4\ne");
        append(&fresh, "f 6\n");
        assert_eq!(more(&mut files), "c 3\nd 4\nf 6\n");
        append(&old, " 5\n");
        assert_eq!(more(&mut files), "e 5\n");
        assert_eq!(more(&mut files), "");
        // Begun anew.
        std::fs::write(&old, "g 7\n").unwrap();
        assert_eq!(more(&mut files), "g 7\n");
        // A line without end is given up.
        append(&old, &"x".repeat(LINE_MAX + 1));
        assert_eq!(more(&mut files), "");
        append(&old, "\nh 8\n");
        assert_eq!(more(&mut files), "\nh 8\n");
        let missing = KeyFiles::open(&mut vec![folder.path().join("none")]).unwrap_err();
        assert!(missing.to_string().contains("none: cannot be read"), "{missing}");
    }
}
