//! Log files, line by line: compressed or not, whatever bytes they hold.

use super::kind::{Kind, Lines};
use super::line::Line;
use super::wrapping::Wrapping;
use crate::capture::decompress;
use memchr::memchr;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

/// Longest line that is read, bytes. Load balancers cut request lines and user agents at 8 KiB each
/// and may write both escaped; what is longer is counted as damaged.
pub(super) const LINE_MAX: usize = 128 << 10;
/// Lines by which the kind of a file is recognised.
const SAMPLE: usize = 40;
/// Log files of one run. A day of one load balancer in three zones is below 1,000.
pub(super) const FILES_MAX: usize = 20_000;
/// How deep directories are entered: a bucket of AWS logs has nine levels.
const DEPTH_MAX: usize = 16;

/// What was read of a log file.
#[derive(Clone, Debug, Default)]
pub struct LogFile {
    /// As named by the user, or as found in a directory that was.
    pub path: String,
    /// `None` when it was not recognised; then nothing of it was used.
    pub kind: Option<Kind>,
    /// Lines, blank ones and comments not counted.
    pub lines: u64,
    /// Lines that could not be read as their kind.
    pub bad: u64,
    /// Number of the first of those, from 1.
    pub first_bad: Option<u64>,
    /// It has lines, of whatever kind.
    pub(super) lines_seen: bool,
    /// Lines of an error log among them, and its kind: a container writes both to one stream.
    pub(super) errors: Option<(Kind, u64)>,
    /// Why reading ended early.
    pub error: Option<String>,
}

impl LogFile {
    /// Takes in that a line could not be read.
    fn bad(&mut self, number: u64) {
        self.lines += 1;
        self.bad += 1;
        self.first_bad.get_or_insert(number);
    }

    /// A file that could not be opened.
    pub(super) fn unread(path: &Path, error: &LogError) -> LogFile {
        let error = Some(error.error.to_string());
        LogFile { path: path.display().to_string(), error, ..LogFile::default() }
    }
}

/// Why log files cannot be read at all.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {error}")]
pub struct LogError {
    path: String,
    error: io::Error,
}

impl LogError {
    pub(super) fn new(path: &Path, error: io::Error) -> LogError {
        LogError { path: path.display().to_string(), error }
    }
}

/// The files behind what the user named, directories entered, in the order of their names.
pub(super) fn files(named: &[PathBuf]) -> Result<Vec<(u32, PathBuf)>, LogError> {
    let mut found = Vec::new();
    for (source, path) in (0..).zip(named) {
        collect(path, source, 0, &mut found)
            .map_err(|error| LogError { path: path.display().to_string(), error })?;
    }
    found.truncate(FILES_MAX);
    Ok(found)
}

fn collect(
    path: &Path,
    source: u32,
    depth: usize,
    found: &mut Vec<(u32, PathBuf)>,
) -> io::Result<()> {
    if !fs::metadata(path)?.is_dir() {
        found.push((source, path.to_owned()));
        return Ok(());
    }
    if depth >= DEPTH_MAX {
        return Ok(());
    }
    let mut inside =
        fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>()?;
    inside.sort();
    let hidden = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    };
    for path in inside.iter().filter(|path| !hidden(path) && may_be_log(path)) {
        if found.len() < FILES_MAX {
            collect(path, source, depth + 1, found)?;
        }
    }
    Ok(())
}

/// Whether something in a directory is looked at: links to other directories may lead back, and what is neither file
/// nor directory, as a pipe, may never end.
fn may_be_log(path: &Path) -> bool {
    let is_link = fs::symlink_metadata(path).is_ok_and(|about| about.is_symlink());
    fs::metadata(path).is_ok_and(|about| about.is_file() || (about.is_dir() && !is_link))
}

/// Is given the kind of log, the number of a line, what it says, and the line itself.
pub(super) type Take<'a> = dyn FnMut(Kind, u64, &mut Line<'_>, &[u8]) + 'a;

/// Reads a file and hands over what each line says, with its number.
pub(super) fn file(
    path: &Path,
    lines: &Lines,
    forced: Option<Kind>,
    take: &mut Take<'_>,
) -> Result<LogFile, LogError> {
    let source = File::open(path).map_err(|error| LogError::new(path, error))?;
    opened(path, source, lines, forced, take)
}

/// The same of a file that is open, from where it stands.
pub(super) fn opened(
    path: &Path,
    source: File,
    lines: &Lines,
    forced: Option<Kind>,
    take: &mut Take<'_>,
) -> Result<LogFile, LogError> {
    let opened = decompress::open(Box::new(source));
    let stream = opened.map_err(|error| LogError::new(path, error))?.stream;
    let mut input = BufReader::with_capacity(1 << 16, stream);
    let path = path.display().to_string();
    let mut log = LogFile { path, kind: forced, ..LogFile::default() };
    if let Err(error) = through(&mut input, lines, &mut log, take) {
        log.error = Some(error.to_string());
    }
    Ok(log)
}

fn through(
    input: &mut dyn BufRead,
    lines: &Lines,
    log: &mut LogFile,
    take: &mut Take<'_>,
) -> io::Result<()> {
    let mut sample: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut number = 0;
    let mut text = Vec::new();
    let mut outcome = Ok(());
    while sample.len() < SAMPLE {
        match next(input, &mut text) {
            Ok(false) => break,
            Ok(true) => {
                number += 1;
                let text = if number == 1 { without_mark(&text) } else { &text };
                if !is_blank(text) {
                    sample.push((number, text.to_vec()));
                }
            }
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    let texts: Vec<Vec<u8>> = sample.iter().map(|(_, text)| text.clone()).collect();
    let (wrapping, kind) = Wrapping::recognise(lines, &texts, log.kind);
    log.kind = kind;
    log.lines_seen = number > 0 || log.kind.is_some();
    let Some(kind) = kind else { return outcome };
    let mut fields = Vec::new();
    let form = (kind, wrapping, lines);
    for (number, text) in &sample {
        one(form, *number, text, log, &mut fields, take);
    }
    outcome?;
    loop {
        // Most lines lie in the buffer as a whole.
        let bytes = filled(input)?;
        if let Some(end) = memchr(b'\n', bytes) {
            number += 1;
            let text = trimmed(&bytes[..end]);
            if !is_blank(text) {
                one(form, number, text, log, &mut fields, take);
            }
            input.consume(end + 1);
        } else if next(input, &mut text)? {
            number += 1;
            if !is_blank(&text) {
                one(form, number, &text, log, &mut fields, take);
            }
        } else {
            return Ok(());
        }
    }
}

fn one(
    (kind, wrapping, lines): (Kind, Wrapping, &Lines),
    number: u64,
    text: &[u8],
    log: &mut LogFile,
    fields: &mut Vec<&'static [u8]>,
    take: &mut Take<'_>,
) {
    let inside = if text.len() <= LINE_MAX { wrapping.inside(text) } else { None };
    let Some(text) = inside.as_deref() else { return log.bad(number) };
    let mut room: Vec<&[u8]> = std::mem::take(fields);
    if let Some(mut line) = lines.read(kind, text, &mut room) {
        log.lines += 1;
        take(kind, number, &mut line, text);
    } else if let Some((kind, mut line)) = beside(kind, lines, text) {
        log.errors.get_or_insert((kind, 0)).1 += 1;
        take(kind, number, &mut line, text);
    } else {
        log.bad(number);
    }
    // The room, not what was in it, is used again.
    room.clear();
    *fields = room.into_iter().map(|_| &b""[..]).collect();
}

/// A line of the error log of a server whose access log is of this kind.
fn beside<'a>(kind: Kind, lines: &Lines, text: &'a [u8]) -> Option<(Kind, Line<'a>)> {
    let access =
        matches!(kind, Kind::Combined | Kind::Nginx | Kind::Apache | Kind::Json | Kind::Format);
    let errors = [Kind::NginxError, Kind::ApacheError].into_iter().filter(|_| access);
    errors.into_iter().find_map(|kind| Some((kind, lines.read(kind, text, &mut Vec::new())?)))
}

/// The first line without the mark of UTF-8 that some editors and shells write.
fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

/// Empty, or a comment.
fn is_blank(text: &[u8]) -> bool {
    text.first().is_none_or(|first| *first == b'#')
}

/// Reads the next line into `text`, without its end; of one that is too long, a little more than
/// [`LINE_MAX`] bytes. `false` at the end.
fn next(input: &mut dyn BufRead, text: &mut Vec<u8>) -> io::Result<bool> {
    text.clear();
    let mut any = false;
    loop {
        let bytes = filled(input)?;
        if bytes.is_empty() {
            break;
        }
        any = true;
        let end = memchr(b'\n', bytes);
        let part = &bytes[..end.unwrap_or(bytes.len())];
        let room = (LINE_MAX + 1).saturating_sub(text.len());
        text.extend_from_slice(&part[..part.len().min(room)]);
        let used = end.map_or(bytes.len(), |end| end + 1);
        input.consume(used);
        if end.is_some() {
            break;
        }
    }
    text.truncate(trimmed(text).len());
    Ok(any)
}

/// What is there of the input; empty at its end.
fn filled(input: &mut dyn BufRead) -> io::Result<&[u8]> {
    while let Err(error) = input.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    // What is there is not read again, so that this can only fail at the end.
    match input.fill_buf() {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(&[]),
        read => read,
    }
}

/// A line without what ends it.
fn trimmed(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| !matches!(byte, b'\r' | b' '));
    &text[..end.map_or(0, |end| end + 1)]
}

/// Whatever a file holds of lines, for tests and measurements without files.
#[cfg(test)]
pub(super) fn bytes(bytes: &[u8], lines: &Lines, take: &mut Take<'_>) -> LogFile {
    let mut log = LogFile { path: "test".into(), ..LogFile::default() };
    let mut input = BufReader::new(bytes);
    if let Err(error) = through(&mut input, lines, &mut log, take) {
        log.error = Some(error.to_string());
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const GOOD: &str = "203.0.113.7 - - [21/Nov/2026:10:35:40 +0000] \"GET / HTTP/1.1\" 200 15\n";

    #[test]
    fn damaged_lines_are_counted_and_the_first_is_named() {
        let mut text = GOOD.as_bytes().to_vec();
        text.extend_from_slice(b"\n# comment\n\xff\xfe damaged\n");
        text.extend_from_slice(GOOD.as_bytes());
        text.extend_from_slice(&vec![b'x'; 3 * LINE_MAX]);
        text.extend_from_slice(b"\n");
        text.extend_from_slice(GOOD.trim_end().as_bytes());
        let mut numbers = Vec::new();
        let log = bytes(&text, &Lines::default(), &mut |_, number, _, _| numbers.push(number));
        assert_eq!((log.kind, log.lines, log.bad), (Some(Kind::Combined), 5, 2));
        assert_eq!((log.first_bad, numbers), (Some(4), vec![1, 5, 7]));
    }

    #[test]
    fn directories_and_compression() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        fs::write(folder.path().join("a.log"), GOOD).unwrap();
        fs::write(folder.path().join(".hidden"), GOOD).unwrap();
        let packed = File::create(folder.path().join("b/c.gz")).unwrap();
        let mut packed = flate2::write::GzEncoder::new(packed, flate2::Compression::fast());
        packed.write_all(GOOD.repeat(50).as_bytes()).unwrap();
        packed.finish().unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("b/again")).unwrap();
        std::os::unix::fs::symlink("nothing", folder.path().join("gone.log")).unwrap();
        let pipe = std::process::Command::new("mkfifo").arg(folder.path().join("pipe")).status();
        assert!(pipe.unwrap().success());
        let found = files(&[folder.path().to_owned()]).unwrap();
        assert_eq!(found.len(), 2);
        let mut taken = 0;
        for (_, path) in &found {
            let log = file(path, &Lines::default(), None, &mut |_, _, _, _| taken += 1).unwrap();
            assert_eq!((log.bad, log.error), (0, None));
        }
        assert_eq!(taken, 51);
        assert!(files(&[folder.path().join("none")]).is_err());
    }

    #[test]
    fn an_error_log_in_the_same_stream_is_one_beside() {
        let cri = |stream, line| format!("2026-11-21T10:35:40.1Z {stream} F {line}\n");
        let error =
            "2026/11/21 10:35:40 [error] 42#42: *7 no live upstreams while connecting to upstream";
        let text = [
            cri("stdout", "/docker-entrypoint.sh: ready for start up"),
            cri("stdout", GOOD.trim_end()),
            cri("stderr", error),
            cri("stdout", GOOD.trim_end()),
        ];
        let mut kinds = Vec::new();
        let log =
            bytes(text.concat().as_bytes(), &Lines::default(), &mut |kind, number, _, text| {
                assert!(!text.starts_with(b"2026-11-21T"));
                kinds.push((kind, number));
            });
        assert_eq!(kinds, [(Kind::Combined, 2), (Kind::NginxError, 3), (Kind::Combined, 4)]);
        assert_eq!((log.kind, log.lines, log.bad), (Some(Kind::Combined), 3, 1));
        assert_eq!((log.first_bad, log.errors), (Some(1), Some((Kind::NginxError, 1))));
    }

    #[test]
    fn what_is_no_log_is_not_read() {
        let log = bytes(b"hello\nworld\n", &Lines::default(), &mut |_, _, _, _| panic!("a line"));
        assert_eq!(log.kind, None);
        assert_eq!(bytes(b"", &Lines::default(), &mut |_, _, _, _| {}).lines, 0);
    }
}
