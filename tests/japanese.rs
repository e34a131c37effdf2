//! Reports of real captures in Japanese: no sentence of English is left in them, and they fit the page.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

use regex::Regex;
use std::fs;
use std::path::{Path, PathBuf};
use why502::report::{Style, format};
use why502::run::{Listener, Settings, analyse};
use why502::words::{Lang, columns};

/// Columns of the text report.
const WIDTH: usize = 100;

struct Nothing;

impl Listener for Nothing {}

fn captures(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(captures(&path));
        } else if path.extension().is_some_and(|it| it == "pcap" || it == "pcapng") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Four words of English in a row, which no id, command or header is.
fn english() -> Regex {
    Regex::new(r"\b[a-z]{2,}(?: [a-z]{2,}){3,}\b").unwrap()
}

#[test]
fn no_english_sentence_is_left() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    let captures = captures(&shipped);
    assert!(captures.len() > 50, "{} captures", captures.len());
    let english = english();
    let style = Style { lang: Lang::Ja, ..Style::default() };
    let mut left = Vec::new();
    for path in captures {
        let name = path.strip_prefix(&shipped).unwrap().display().to_string();
        let settings = Settings::default();
        let report = analyse(&[path], &settings, &mut Nothing).unwrap();
        for form in ["text", "markdown"] {
            let mut out = Vec::new();
            (format(form).unwrap().write)(&report, &style, &mut out).unwrap();
            for line in String::from_utf8(out).unwrap().lines() {
                if english.is_match(line) {
                    left.push(format!("{name}: {line}"));
                }
                // A display filter and a path are never broken.
                let whole = line.contains("tcp.stream") || line.contains("why502 slice");
                let fits = form != "text" || columns(line) <= WIDTH || whole;
                if !fits {
                    left.push(format!("{name}, too wide: {line}"));
                }
            }
        }
    }
    left.sort();
    left.dedup();
    assert!(left.is_empty(), "{} lines:\n{}", left.len(), left.join("\n"));
}
