//! What the user named, looked at before anything is read: which inputs there are, and when the first
//! frame of each file was captured.

use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::capture::inputs::{Input, Inputs, Kind, natural_order};
use crate::capture::reader::Reader;
use crate::capture::secrets::Secrets;
use crate::capture::stored::{Counted, Counts, StoredFile};
use crate::capture::{CaptureError, CaptureInfo};
use crate::time::Timestamp;

/// Buffer while only the first frame is looked for, and when many files are open at once.
pub(super) const SMALL_WINDOW: usize = 64 << 10;

/// Where a capture is read from.
pub(super) enum Source {
    File(PathBuf),
    Stream(Box<dyn Read + Send>),
    Named(PathBuf),
    StandardInput,
}

impl Source {
    /// `path` is its name in errors.
    pub(super) fn open(
        self,
        path: &str,
        counts: &Counts,
    ) -> Result<Box<dyn Read + Send>, CaptureError> {
        let io = |error| CaptureError::from_io(path, error);
        Ok(match self {
            Source::File(path) => Box::new(StoredFile::open(path, counts).map_err(io)?),
            Source::Named(path) => Box::new(std::fs::File::open(path).map_err(io)?),
            Source::StandardInput if io::stdin().is_terminal() => {
                return Err(CaptureError::NotACapture {
                    path: path.to_owned(),
                    looks_like: "standard input is a terminal; pipe a capture into it, such as \
                                 tcpdump -U -w - | why502 -"
                        .to_owned(),
                });
            }
            Source::StandardInput => Box::new(io::stdin()),
            Source::Stream(stream) => stream,
        })
    }
}

/// A file of which the first frame is known.
pub(super) struct Scouted {
    pub(super) path: PathBuf,
    pub(super) first: Option<Timestamp>,
    pub(super) size: u64,
    pub(super) info: CaptureInfo,
    /// Of a file without frames: any other is read again.
    pub(super) secrets: Secrets,
}

/// All inputs.
pub(super) struct Scouts {
    /// In the order in which they are due.
    pub(super) files: Vec<Scouted>,
    /// By name.
    pub(super) streams: Vec<(String, Source)>,
    /// What was odd about the set.
    pub(super) warnings: Vec<String>,
    /// Of files without frames.
    pub(super) secrets: Secrets,
}

/// Files, directories and streams, see [`Timeline::open`](super::Timeline::open).
pub(super) fn all<P: AsRef<Path>>(
    named: &[P],
    mut standard_input: Option<Box<dyn Read + Send>>,
) -> Result<Scouts, CaptureError> {
    let inputs = Inputs::collect(named)?;
    let mut warnings = inputs.warnings;
    let mut secrets = Secrets::default();
    let mut in_directory = vec![(0, 0); inputs.directories.len()];
    let mut files = Vec::new();
    let mut streams = Vec::new();
    for Input { path, kind } in inputs.list {
        let found = match kind {
            Kind::StandardInput => {
                let given = standard_input.take();
                let source = given.map_or(Source::StandardInput, Source::Stream);
                streams.push(("-".to_owned(), source));
                continue;
            }
            Kind::Stream => {
                streams.push((path.to_string_lossy().into_owned(), Source::Named(path)));
                continue;
            }
            Kind::Named => None,
            Kind::Found(number) => in_directory.get_mut(number),
        };
        match (scouted(&path), found) {
            (Ok(mut file), found) => {
                secrets.join(&mut file.secrets, &mut warnings);
                files.push(file);
                if let Some((captures, _)) = found {
                    *captures += 1;
                }
            }
            (Err(error), None) => return Err(error),
            (Err(CaptureError::NotACapture { .. }), Some((_, others))) => *others += 1,
            (Err(error), Some(_)) => warnings.push(format!("left out: {error}")),
        }
    }
    for ((captures, others), directory) in in_directory.iter().zip(&inputs.directories) {
        let path = directory.to_string_lossy().into_owned();
        if *captures == 0 && files.is_empty() && streams.is_empty() {
            return Err(CaptureError::NoCaptures { path, others: *others });
        }
        if *captures == 0 {
            warnings.push(format!("{path}: no further capture in this directory"));
        }
        if *others > 0 {
            warnings.push(format!("{path}: left out {others} files that are no captures"));
        }
    }
    // A file without frames comes last, whatever it is called.
    files.sort_by(|a, b| {
        let first = |file: &Scouted| (file.first.is_none(), file.first);
        first(a).cmp(&first(b)).then_with(|| natural_order(&a.info.path, &b.info.path))
    });
    Ok(Scouts { files, streams, warnings, secrets })
}

/// Reads a file up to its first frame.
fn scouted(path: &Path) -> Result<Scouted, CaptureError> {
    let name = path.to_string_lossy().into_owned();
    let io = |error| CaptureError::from_io(&name, error);
    let file = std::fs::File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    let stored = Arc::new(AtomicU64::new(0));
    let counted = Counted { source: file, of_file: Arc::clone(&stored), of_all: Arc::default() };
    let mut reader = Reader::open(&name, Box::new(counted), stored, SMALL_WINDOW)?;
    let first = reader.next().map(|record| record.at);
    let secrets = reader.secrets().filter(|_| first.is_none()).map(std::mem::take);
    let secrets = secrets.unwrap_or_default();
    Ok(Scouted { path: path.to_owned(), first, size, info: reader.finish(), secrets })
}
