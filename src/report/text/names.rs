//! How frames are named: by number, and by file when there are several.

use crate::capture::CaptureInfo;
use crate::report::words;
use crate::time::{FrameId, Mark};
use std::collections::BTreeMap;

/// Longest file name in front of a frame number.
const NAME_MAX: usize = 18;

/// Short names of the capture files.
pub(in crate::report) struct Names(Vec<String>);

impl Names {
    pub(in crate::report) fn new(captures: &[CaptureInfo]) -> Names {
        let base: Vec<&str> = captures.iter().map(|capture| last_parts(&capture.path, 1)).collect();
        let longer: Vec<&str> =
            captures.iter().map(|capture| last_parts(&capture.path, 2)).collect();
        let (bases, longers) = (occurrences(&base), occurrences(&longer));
        let short = base.iter().zip(&longer).enumerate().map(|(n, (name, longer))| {
            if bases[name] == 1 {
                end_of(&words::clean(name))
            } else if longers[longer] == 1 && longer.chars().count() <= NAME_MAX {
                words::clean(longer)
            } else {
                format!("{}#{}", words::shorten(&words::clean(name), NAME_MAX - 5), n + 1)
            }
        });
        Names(short.collect())
    }

    /// Whether file names are needed.
    pub(in crate::report) fn several(&self) -> bool {
        self.0.len() > 1
    }

    /// The file's short name.
    pub(in crate::report) fn file(&self, file: u32) -> &str {
        self.0.get(file as usize).map_or("?", String::as_str)
    }

    /// `1207`, or `web.pcap:1207`.
    pub(in crate::report) fn frame(&self, frame: FrameId) -> String {
        if self.several() {
            format!("{}:{}", self.file(frame.file()), frame.number())
        } else {
            frame.number().to_string()
        }
    }

    /// Columns of the longest of these names.
    pub(in crate::report) fn widest(&self, marks: impl Iterator<Item = Mark>) -> usize {
        marks.map(|mark| self.frame(mark.frame).chars().count()).max().unwrap_or(0).max(5)
    }
}

fn occurrences<'a>(names: &[&'a str]) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(*name).or_default() += 1;
    }
    counts
}

/// The last `count` parts of a path.
fn last_parts(path: &str, count: usize) -> &str {
    let path = path.trim_end_matches(['/', '\\']);
    let cut = path.rmatch_indices(['/', '\\']).nth(count - 1);
    cut.map_or(path, |(at, _)| &path[at + 1..])
}

/// The end of a long name is what differs in a rotated set.
fn end_of(name: &str) -> String {
    match name.chars().count().checked_sub(NAME_MAX) {
        None | Some(0) => name.to_owned(),
        Some(over) => format!("…{}", name.chars().skip(over + 1).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(paths: &[&str]) -> Names {
        let captures: Vec<CaptureInfo> = paths
            .iter()
            .map(|path| CaptureInfo { path: (*path).to_owned(), ..CaptureInfo::default() })
            .collect();
        Names::new(&captures)
    }

    #[test]
    fn one_file_needs_no_name() {
        assert_eq!(names(&["/a/b.pcap"]).frame(FrameId::new(0, 7)), "7");
    }

    #[test]
    fn several_files_are_told_apart() {
        let names = names(&[
            "/d/x/a.pcap",
            "y/a.pcap",
            "production-edge-2026-11-21T10.pcap",
            "/d/c.pcap",
            "-",
            "1/same/b.pcap",
            "2/same/b.pcap",
        ]);
        let shown: Vec<String> = (0..8).map(|file| names.frame(FrameId::new(file, 7))).collect();
        assert_eq!(
            shown,
            [
                "x/a.pcap:7",
                "y/a.pcap:7",
                "…026-11-21T10.pcap:7",
                "c.pcap:7",
                "-:7",
                "b.pcap#6:7",
                "b.pcap#7:7",
                "?:7"
            ]
        );
    }
}
