//! Reads key log files of TLS sessions.

use crate::tls::{KeyLog, Lines};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Bytes of a file that are read at once, and then up to the next line end.
const PIECE: u64 = 1 << 20;
/// Longest line that is kept together, bytes. Real ones have less than 250.
const LINE_MAX: u64 = 1 << 16;

/// Why a key log file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It cannot be read.
    #[error("{path}: cannot be read")]
    Io {
        /// As the user named it.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// There is no key in it.
    #[error("{path}: no TLS session key in it: {why}")]
    NoKeys {
        /// As the user named it.
        path: String,
        /// What is in it instead.
        why: String,
    },
}

/// The keys of all files, and what was odd about these.
pub(super) fn read(files: &[PathBuf]) -> Result<(KeyLog, Vec<String>), KeysError> {
    let mut log = KeyLog::default();
    let mut warnings = Vec::new();
    for path in files {
        let name = || path.display().to_string();
        let (lines, pem) =
            add(&mut log, path).map_err(|source| KeysError::Io { path: name(), source })?;
        if lines.usable == 0 {
            return Err(KeysError::NoKeys { path: name(), why: why(&lines, pem) });
        }
        warnings.extend(odd(&name(), &lines));
    }
    Ok((log, warnings))
}

/// What to say of lines that were left out, if any were.
pub(super) fn odd(name: &str, lines: &Lines) -> Option<String> {
    let first = lines.first_unusable.as_ref()?;
    Some(format!(
        "{name}: {} of {} lines are no lines of a TLS key log and were left out; the first is line {}: {}",
        lines.unusable, lines.all, first.line, first.why
    ))
}

/// What to say when the keys that were given opened nothing.
pub(super) fn unused(tls_flows: u64, opened: u64) -> Option<String> {
    (tls_flows > 0 && opened == 0).then(|| {
        format!(
            "--keylog: its keys open none of the {tls_flows} TLS connections; they are of other \
             connections, or the suites are not AEAD, or the handshakes are not in the capture"
        )
    })
}

/// Adds the keys of a file. Also says whether it begins as a PEM file does.
fn add(log: &mut KeyLog, path: &Path) -> io::Result<(Lines, bool)> {
    let mut file = BufReader::new(File::open(path)?);
    let pem = file.fill_buf()?.starts_with(b"-----BEGIN ");
    let mut lines = Lines::default();
    let mut text = Vec::new();
    while file.by_ref().take(PIECE).read_to_end(&mut text)? > 0 {
        if !text.ends_with(b"\n") {
            file.by_ref().take(LINE_MAX).read_until(b'\n', &mut text)?;
        }
        lines.add(log.add(&text));
        text.clear();
    }
    Ok((lines, pem))
}

/// Why there is no key in a file of such lines.
fn why(lines: &Lines, pem: bool) -> String {
    match &lines.first_unusable {
        _ if pem => {
            "it is a PEM file; the key of a certificate does not open today's TLS, so let one \
                     of the two programs write a key log (SSLKEYLOGFILE)"
                .to_owned()
        }
        Some(first) => format!(
            "line {}: {}; lines begin with CLIENT_RANDOM or, in TLS 1.3, with \
             CLIENT_TRAFFIC_SECRET_0 and the like",
            first.line, first.why
        ),
        None if lines.all == 0 => {
            "it is empty; programs write into it when a connection begins".to_owned()
        }
        None => "only comments and keys of other uses".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn key(session: usize) -> String {
        format!("CLIENT_RANDOM {session:064x} {:096x}\n", session + 1)
    }

    fn file(directory: &tempfile::TempDir, name: &str, text: &[u8]) -> PathBuf {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn files_of_any_length_are_read_line_by_line() {
        let directory = tempfile::tempdir().unwrap();
        // More than one piece, with a line across its end, and no line end at the last.
        let count = 2 * PIECE as usize / key(0).len();
        let long: String = (0..count).map(key).collect();
        let odd = format!("# comment\n{}oops\n{}oops again", key(count), key(count + 1));
        let files = [
            file(&directory, "long", long.trim_end().as_bytes()),
            file(&directory, "odd", odd.as_bytes()),
        ];
        let (log, warnings) = read(&files).unwrap();
        for session in 0..count + 2 {
            let mut random = [0; 32];
            random[24..].copy_from_slice(&(session as u64).to_be_bytes());
            assert!(log.knows(&random), "{session} of {count}");
        }
        let expected = "odd: 2 of 5 lines are no lines of a TLS key log and were left out; the first is \
                        line 3: \"oops\" is no label of a key log";
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].ends_with(expected), "{warnings:?}");
        assert!(read(&[]).unwrap().0.is_empty());
    }

    #[test]
    fn a_file_without_a_key_is_an_error_that_says_why() {
        let directory = tempfile::tempdir().unwrap();
        let error = |text: &[u8]| {
            let path = file(&directory, "keys", text);
            let error = read(std::slice::from_ref(&path)).unwrap_err().to_string();
            let error = error.strip_prefix(&*path.to_string_lossy()).unwrap().to_owned();
            error.strip_prefix(": no TLS session key in it: ").unwrap().to_owned()
        };
        assert!(error(b"").starts_with("it is empty"));
        assert!(error(b"# nothing\n\n").starts_with("only comments"));
        assert!(error(b"-----BEGIN PRIVATE KEY-----\nMIIE\n").starts_with("it is a PEM file"));
        assert!(error(b"\n[section]\n").starts_with("line 2: \"[section]\" is no label"));
        let binary: Vec<u8> = (0..200_000u32).map(|n| (n % 9) as u8).collect();
        assert!(error(&binary).starts_with("line 1: \"\\x00\\x01"));

        let missing = directory.path().join("missing");
        let error = anyhow::Error::from(read(&[missing]).unwrap_err());
        assert!(
            format!("{error:#}")
                .ends_with("missing: cannot be read: No such file or directory (os error 2)")
        );
        assert!(read(&[directory.path().to_owned()]).is_err());
    }
}
