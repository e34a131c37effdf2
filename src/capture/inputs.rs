//! From what the user named to the files that are meant.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::CaptureError;

/// Directories inside directories that are followed; deeper ones are a mistake or a loop.
const MAX_DEPTH: usize = 32;

/// Something to read.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
}

/// How an input is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file that the user named.
    Named,
    /// A file in a directory that the user named, by the number of that directory.
    Found(usize),
    /// A pipe or a device: can be read once only, and from its beginning only.
    Stream,
    /// `-`.
    StandardInput,
}

/// All inputs, in the order given; files of a directory in natural order.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    pub(super) list: Vec<Input>,
    pub(super) directories: Vec<PathBuf>,
    pub(super) warnings: Vec<String>,
    /// Index in `list` of each file, by the path without links.
    known: HashMap<PathBuf, usize>,
}

impl Inputs {
    pub(super) fn collect<P: AsRef<Path>>(named: &[P]) -> Result<Inputs, CaptureError> {
        let mut inputs = Inputs::default();
        for path in named {
            inputs.add_named(path.as_ref())?;
        }
        Ok(inputs)
    }

    fn add_named(&mut self, path: &Path) -> Result<(), CaptureError> {
        if path == Path::new("-") {
            if self.list.iter().any(|input| input.kind == Kind::StandardInput) {
                self.warnings.push("- was given twice; standard input is read once".to_owned());
            } else {
                self.list.push(Input { path: path.to_owned(), kind: Kind::StandardInput });
            }
            return Ok(());
        }
        let shown = path.to_string_lossy();
        let about = fs::metadata(path).map_err(|error| CaptureError::from_io(&shown, error))?;
        if about.is_dir() {
            let number = self.directories.len();
            self.directories.push(path.to_owned());
            fs::read_dir(path).map_err(|error| CaptureError::from_io(&shown, error))?;
            self.add_directory(path, number, 0);
        } else if about.is_file() {
            self.add_file(path.to_owned(), Kind::Named);
        } else {
            self.list.push(Input { path: path.to_owned(), kind: Kind::Stream });
        }
        Ok(())
    }

    fn add_file(&mut self, path: PathBuf, kind: Kind) {
        let real = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        if let Some(index) = self.known.get(&real) {
            let Some(first) = self.list.get_mut(*index) else { return };
            let also = if path == first.path {
                String::new()
            } else {
                format!(" (also as {})", first.path.display())
            };
            self.warnings
                .push(format!("{} was given twice{also}; it is read once", path.display()));
            if kind == Kind::Named {
                first.kind = kind;
            }
            return;
        }
        self.known.insert(real, self.list.len());
        self.list.push(Input { path, kind });
    }

    /// Hidden files are left out, as `ls` does; links to directories are not followed.
    fn add_directory(&mut self, path: &Path, number: usize, depth: usize) {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) => {
                self.warnings.push(format!("{}: left out: {error}", path.display()));
                return;
            }
        };
        let mut paths: Vec<PathBuf> = entries
            .filter_map(Result::ok)
            .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
            .map(|entry| entry.path())
            .collect();
        paths.sort_by(|a, b| natural_order(&a.to_string_lossy(), &b.to_string_lossy()));
        for path in paths {
            let is_link = fs::symlink_metadata(&path).is_ok_and(|about| about.is_symlink());
            match fs::metadata(&path) {
                Ok(about) if about.is_file() => self.add_file(path, Kind::Found(number)),
                Ok(about) if about.is_dir() && !is_link && depth < MAX_DEPTH => {
                    self.add_directory(&path, number, depth + 1);
                }
                Ok(_) => {}
                Err(error) => {
                    self.warnings.push(format!("{}: left out: {error}", path.display()));
                }
            }
        }
    }
}

/// Order of names in which numbers count as numbers: `x.pcap`, `x.pcap2`, `x.pcap10`.
pub(super) fn natural_order(a: &str, b: &str) -> std::cmp::Ordering {
    let (mut a_rest, mut b_rest) = (a.as_bytes(), b.as_bytes());
    while let (Some(x), Some(y)) = (a_rest.first(), b_rest.first()) {
        if x.is_ascii_digit() && y.is_ascii_digit() {
            let (p, q) = (number(&mut a_rest), number(&mut b_rest));
            match p.len().cmp(&q.len()).then(p.cmp(q)) {
                std::cmp::Ordering::Equal => {}
                other => return other,
            }
        } else if x == y {
            (a_rest, b_rest) = (&a_rest[1..], &b_rest[1..]);
        } else {
            return x.cmp(y);
        }
    }
    a_rest.len().cmp(&b_rest.len()).then(a.cmp(b))
}

/// Takes the digits in front, and gives them without leading zeros.
fn number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(length);
    *text = rest;
    let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
    &digits[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_count_as_numbers() {
        let mut names = ["x.pcap10", "x.pcap2", "x.pcap", "x.pcap1", "w_00010_b", "w_9_a"];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(names, ["w_9_a", "w_00010_b", "x.pcap", "x.pcap1", "x.pcap2", "x.pcap10"]);
    }

    #[test]
    fn a_directory_gives_its_files_and_a_file_named_twice_is_there_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("sub")).unwrap();
        for name in ["b", "a", "sub/c", ".hidden"] {
            fs::write(path(name), name).unwrap();
        }
        let inputs = Inputs::collect(&[directory.path().to_owned(), path("a")]).unwrap();
        let names: Vec<_> = inputs.list.iter().map(|input| input.path.clone()).collect();
        assert_eq!(names, [path("a"), path("b"), path("sub/c")]);
        assert_eq!(inputs.list[0].kind, Kind::Named);
        assert_eq!(inputs.list[1].kind, Kind::Found(0));
        assert_eq!(inputs.warnings.len(), 1);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Inputs::collect(&["/nonexistent/x.pcap"]).unwrap_err();
        assert!(matches!(&error, CaptureError::NotFound { path } if path.ends_with("x.pcap")));
    }
}
