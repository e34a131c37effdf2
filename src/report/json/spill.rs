//! Lines that wait on disk for the end of the run, however many, and come back in order.
//!
//! They are sorted in runs, each compressed and written to a file without a name, and merged when
//! they are read. A few lines never leave memory.

use lz4_flex::block::{compress_prepend_size, decompress_size_prepended};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// Bytes of lines in memory; past it they are sorted and written.
const RUN: usize = 8 << 20;
/// Bytes of lines that are compressed together; one such block of each run is in memory while the
/// runs are merged: for a gigabyte of lines 8 MB.
const BLOCK: usize = 64 << 10;

/// What lines are sorted by, as bytes; those with the same key stay in the order in which they came.
pub(in crate::report) type Key = [u8; 24];

/// Lines in the making.
#[derive(Debug, Default)]
pub(in crate::report) struct Spill {
    lines: Vec<u8>,
    /// Key and place in `lines`.
    places: Vec<(Key, usize, usize)>,
    file: Option<File>,
    /// Where each run begins and ends in the file.
    runs: Vec<(u64, u64)>,
}

impl Spill {
    /// Keeps what `write` writes.
    pub(super) fn push(
        &mut self,
        key: Key,
        write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.lines.len() >= RUN {
            self.write_run()?;
        }
        let start = self.lines.len();
        write(&mut self.lines)?;
        self.places.push((key, start, self.lines.len()));
        Ok(())
    }

    /// There are no more lines.
    pub(super) fn finish(&mut self) {
        self.places.sort_unstable();
    }

    fn write_run(&mut self) -> io::Result<()> {
        self.write_sorted().map_err(in_temporary_directory)
    }

    fn write_sorted(&mut self) -> io::Result<()> {
        self.places.sort_unstable();
        if self.file.is_none() {
            self.file = Some(tempfile::tempfile()?);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let begin = self.runs.last().map_or(0, |run| run.1);
        let mut end = begin;
        let mut block = Vec::with_capacity(2 * BLOCK);
        let mut places = self.places.iter().peekable();
        while let Some((key, from, to)) = places.next() {
            block.extend_from_slice(key);
            block.extend_from_slice(&((to - from) as u32).to_le_bytes());
            block.extend_from_slice(&self.lines[*from..*to]);
            if block.len() >= BLOCK || places.peek().is_none() {
                let packed = compress_prepend_size(&block);
                file.write_all(&(packed.len() as u32).to_le_bytes())?;
                file.write_all(&packed)?;
                end += 4 + packed.len() as u64;
                block.clear();
            }
        }
        self.runs.push((begin, end));
        self.lines.clear();
        self.places.clear();
        Ok(())
    }

    /// The lines in order; only after [`Spill::finish`].
    pub(in crate::report) fn read(&self) -> io::Result<Lines<'_>> {
        let runs = self.runs.iter().map(|(at, end)| Run { at: *at, end: *end, ..Run::default() });
        let mut lines =
            Lines { spill: self, runs: runs.collect(), heap: BinaryHeap::new(), next: 0 };
        for run in 0..=lines.runs.len() {
            lines.advance(run)?;
        }
        Ok(lines)
    }
}

/// An error that says where the lines wait and what to do.
fn in_temporary_directory(error: io::Error) -> io::Error {
    let directory = std::env::temp_dir();
    let text = format!(
        "a large JSON report waits in a temporary file in {}: {error}; TMPDIR names another directory, and \
         --format ndjson needs none",
        directory.display()
    );
    io::Error::new(error.kind(), text)
}

/// A run while it is read.
#[derive(Debug, Default)]
struct Run {
    /// Where its next block is in the file, and where the run ends.
    at: u64,
    end: u64,
    /// Lines, of which those before `used` were given out.
    block: Vec<u8>,
    used: usize,
}

/// Bytes in front of a line: its key and its length.
const FRONT: usize = size_of::<Key>() + 4;

impl Run {
    /// Key and place in the block of the next line.
    fn line(&self) -> Option<(Key, usize, usize)> {
        let (key, rest) = self.block.get(self.used..)?.split_first_chunk()?;
        let length = u32::from_le_bytes(*rest.first_chunk()?);
        let start = self.used + FRONT;
        Some((*key, start, start + length as usize))
    }

    /// Reads the next block if this one is used up.
    fn fill(&mut self, mut file: &File) -> io::Result<()> {
        if self.used < self.block.len() || self.at >= self.end {
            return Ok(());
        }
        file.seek(SeekFrom::Start(self.at))?;
        let mut length = [0; 4];
        file.read_exact(&mut length)?;
        let mut packed = vec![0; u32::from_le_bytes(length) as usize];
        file.read_exact(&mut packed)?;
        self.at += 4 + packed.len() as u64;
        self.block = decompress_size_prepended(&packed).map_err(io::Error::other)?;
        self.used = 0;
        Ok(())
    }
}

/// All lines of a [`Spill`] in order.
#[derive(Debug)]
pub(in crate::report) struct Lines<'a> {
    spill: &'a Spill,
    runs: Vec<Run>,
    /// The next key of each run; the last run is the one in memory.
    heap: BinaryHeap<Reverse<(Key, usize)>>,
    /// Lines of the run in memory that were given out.
    next: usize,
}

impl Lines<'_> {
    /// The key of the next line.
    pub(in crate::report) fn peek(&self) -> Option<Key> {
        self.heap.peek().map(|Reverse((key, _))| *key)
    }

    /// Appends the next line to `line`; whether there was one.
    pub(in crate::report) fn next(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        let Some(Reverse((_, number))) = self.heap.pop() else { return Ok(false) };
        match self.runs.get_mut(number) {
            Some(run) => {
                let Some((_, start, end)) = run.line() else { return Ok(false) };
                line.extend_from_slice(&run.block[start..end]);
                run.used = end;
            }
            None => {
                let (_, start, end) = self.spill.places[self.next];
                line.extend_from_slice(&self.spill.lines[start..end]);
                self.next += 1;
            }
        }
        self.advance(number)?;
        Ok(true)
    }

    /// Puts the next key of a run into the heap.
    fn advance(&mut self, number: usize) -> io::Result<()> {
        let key = match (self.runs.get_mut(number), &self.spill.file) {
            (Some(run), Some(file)) => {
                run.fill(file)?;
                run.line().map(|line| line.0)
            }
            _ => self.spill.places.get(self.next).map(|place| place.0),
        };
        self.heap.extend(key.map(|key| Reverse((key, number))));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> Key {
        let mut key = Key::default();
        key[16..].copy_from_slice(&number.to_be_bytes());
        key
    }

    /// Lines of 100 bytes whose keys go up and down, and come in pairs.
    fn spill(count: u64) -> Spill {
        let mut spill = Spill::default();
        for number in 0..count {
            let place = (number / 2).wrapping_mul(7919) % count;
            let line = format!("{place:020} {number:078}\n");
            spill.push(key(place), |out| out.write_all(line.as_bytes())).unwrap();
        }
        spill.finish();
        spill
    }

    fn lines(spill: &Spill) -> Vec<String> {
        let mut read = spill.read().unwrap();
        let (mut found, mut line) = (Vec::new(), Vec::new());
        while let Some(key) = read.peek() {
            line.clear();
            assert!(read.next(&mut line).unwrap());
            let text = String::from_utf8(line.clone()).unwrap();
            assert_eq!(key, self::key(text[..20].parse().unwrap()));
            found.push(text);
        }
        assert!(!read.next(&mut line).unwrap());
        found
    }

    #[test]
    fn lines_come_back_in_order_from_memory_and_from_disk() {
        for (count, runs) in [(0, 0), (1, 0), (1000, 0), (300_000, 3)] {
            let spill = spill(count);
            assert_eq!(spill.runs.len(), runs);
            let found = lines(&spill);
            assert_eq!(found.len() as u64, count);
            // Those with the same key in the order in which they came: by their second number.
            assert!(found.is_sorted());
            assert_eq!(lines(&spill), found);
        }
    }

    #[test]
    fn a_long_line_is_no_trouble() {
        let mut spill = Spill::default();
        for number in [3, 1, 2] {
            let line = vec![b'0' + number as u8; RUN + 1];
            spill.push(key(number), |out| out.write_all(&line)).unwrap();
        }
        spill.finish();
        let mut read = spill.read().unwrap();
        for number in 1..=3_u8 {
            let mut line = Vec::new();
            assert!(read.next(&mut line).unwrap());
            assert!(line.len() == RUN + 1 && line.iter().all(|byte| *byte == b'0' + number));
        }
    }
}
