//! Reads logs in a thread of its own while the capture is read, and keeps their lines.
//!
//! Which of them matter is known when all flows are. Where there is no more room before that, reading waits for it;
//! then what was kept is sifted, and only what matters is kept.

use super::copies::drop_copies;
use super::entry::{Entry, Place, times};
use super::follow::{FOLLOWED_MAX, Followed};
use super::index::Index;
use super::keys::{Ids, keys};
use super::kind::{Kind, Lines};
use super::line::Line;
use super::read::{self, LogError, LogFile};
use super::seen::{Capture, Seen};
use super::tie::{Tying, sort};
use crate::huge;
use crate::time::Timestamp;
use foldhash::fast::FixedState;
use hashbrown::HashSet;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

/// Lines that are kept until they are tied, about 170 bytes each. Of more, those that name a request of the
/// capture, and those that failed; further ones of these are counted.
pub const ENTRIES_MAX: usize = 1 << 20;
/// Lines that there is room for at once, 44 MB, of which only what is used becomes memory: blocks above 32 MB grow
/// without being copied.
const ROOM: usize = 1 << 18;
/// How far from the capture's time a line may be to be kept, while its clock is not known,
/// nanoseconds: the clock may be off by a time zone.
const MARGIN: i64 = 26 * 3_600 * 1_000_000_000;
/// The same when it is known.
const NEAR: i64 = 1_000_000_000;
/// Lines of the capture's time of which no request was captured: only their times are kept.
const TIMES_MAX: usize = 1 << 22;
/// Fewest lines of a file that is known as a copy of another by what they say: several proxies may have written
/// fewer that are alike.
const COPY_MIN: u64 = 16;
/// Bytes that are kept of failing lines, to say what they say.
const TEXT_MAX: usize = 64 << 20;

/// What is known when the capture is over.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) capture: Capture,
    /// What exchanges asked and their ids, by which lines are chosen where there is not room for all.
    digests: OnceLock<HashSet<u64, FixedState>>,
}

impl Known {
    pub(super) fn new(capture: Capture) -> Known {
        Known { capture, digests: OnceLock::new() }
    }

    /// Whether an exchange has what a line asks, or an id of it.
    fn has(&self, (asked, ids): (u64, Ids)) -> bool {
        let all = |seen: &Seen| seen.ids.into_iter().chain([seen.asked, seen.path]);
        let digests = || self.capture.seen.iter().flat_map(all).filter(|it| *it != 0).collect();
        let digests = self.digests.get_or_init(digests);
        digests.contains(&asked) || ids.iter().any(|id| digests.contains(id))
    }
}

/// What is read.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// Files, with the index of what the user named.
    pub(super) files: Vec<(u32, PathBuf)>,
    /// Their kind, where the user knows it.
    pub(super) kind: Option<Kind>,
    pub(super) lines: Arc<Lines>,
    /// Room for lines.
    pub(super) most: usize,
    /// The files, opened, when they grow; then they are read when the capture is over.
    pub(super) growing: Option<Arc<Vec<Followed>>>,
}

/// Logs that are being read.
#[derive(Debug)]
pub(super) struct Reading {
    known: Sender<Arc<Known>>,
    work: Work,
}

#[derive(Debug)]
enum Work {
    /// By a thread.
    Started(JoinHandle<Gathered>),
    /// When the capture is over.
    Later(Job, Receiver<Arc<Known>>),
}

impl Reading {
    /// Begins, in a thread of its own where there is another processor.
    pub(super) fn start(job: Job) -> Reading {
        let (known, told) = mpsc::channel();
        let growing = job.growing.is_some();
        let alone = growing || thread::available_parallelism().map_or(1, NonZero::get) < 2;
        if alone {
            return Reading { known, work: Work::Later(job, told) };
        }
        // The job goes in through a channel, so that it is still here if there is no thread.
        let (give, take) = mpsc::channel::<(Job, Receiver<Arc<Known>>)>();
        let run = move || {
            take.recv().map_or_else(|_| Gathered::default(), |(job, told)| gather(&job, told))
        };
        match thread::Builder::new().name("logs".into()).spawn(run) {
            Ok(handle) => match give.send((job, told)) {
                Ok(()) => Reading { known, work: Work::Started(handle) },
                Err(mpsc::SendError((job, told))) => {
                    Reading { known, work: Work::Later(job, told) }
                }
            },
            Err(_) => Reading { known, work: Work::Later(job, told) },
        }
    }

    /// Reads later, when the capture is over, as with a single processor.
    #[cfg(test)]
    fn later(job: Job) -> Reading {
        let (known, told) = mpsc::channel();
        Reading { known, work: Work::Later(job, told) }
    }

    /// The capture is over: waits for the end of the logs.
    pub(super) fn finish(self, known: &Arc<Known>) -> Gathered {
        // A thread that is done does not listen any more.
        let _ = self.known.send(Arc::clone(known));
        match self.work {
            Work::Started(handle) => handle.join().unwrap_or_else(|_| Gathered::broken()),
            Work::Later(job, told) => gather(&job, told),
        }
    }
}

/// What was read, by log.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) sources: BTreeMap<(u32, Kind), Found>,
    pub(super) files: Vec<LogFile>,
    /// Entries that are kept, and their room.
    kept: usize,
    most: usize,
    /// Bytes that are kept of failing lines.
    text: usize,
    /// Times that are kept.
    times: usize,
    /// Lines that were not kept.
    pub(super) dropped: u64,
    /// Failing lines of which only the time and the status are known.
    pub(super) textless: u64,
    /// Times that were not kept.
    pub(super) timeless: u64,
    /// Where there was not room for all lines, by what they were chosen.
    known: Option<Arc<Known>>,
    /// Digest of what the lines of the file say that is being read.
    digest: u64,
    /// Files that were read: of which log, their lines, those that are damaged, and what they say.
    files_read: HashSet<(u32, Kind, u64, u64, u64), FixedState>,
}

/// What was read of one log before a file of it.
#[derive(Clone, Copy, Debug, Default)]
struct Before {
    times: usize,
    failing: u64,
    far_failing: u64,
}

/// What was read of one log.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) entries: Vec<Entry>,
    /// Some of them do not know the query of what was asked.
    pub(super) paths: bool,
    /// Times of lines whose requests were not captured.
    pub(super) times: Vec<Timestamp>,
    pub(super) files: u64,
    pub(super) lines: u64,
    pub(super) bad: u64,
    pub(super) first_bad: Option<Place>,
    pub(super) failing: u64,
    /// Lines that are copies of others.
    pub(super) copies: u64,
    /// Failing lines that are further from the capture than any clock is wrong.
    pub(super) far_failing: u64,
    /// Time of the earliest and of the latest line, by the log's own clock.
    pub(super) range: Option<(Timestamp, Timestamp)>,
    /// The earliest and the latest time that a line may have, by the log's own clock.
    window: Option<(Timestamp, Timestamp)>,
    /// The window was narrowed by what is known of the clock, as far as it can be.
    narrowed: bool,
}

fn gather(job: &Job, told: Receiver<Arc<Known>>) -> Gathered {
    let mut gathered = Gathered { most: job.most, ..Gathered::default() };
    let mut parts = parts(job);
    for (number, (named, path, file)) in (0..).zip(parts.drain(..)) {
        let path = path.as_path();
        let (before, was_known) = (gathered.before(), gathered.known.is_some());
        let mut take = |kind: Kind, line: u64, said: &mut Line<'_>, text: &[u8]| {
            let place = Place { file: number, line };
            gathered.take((named, kind), place, said, text, &told);
        };
        let log = match file {
            None => read::file(path, &job.lines, job.kind, &mut take),
            Some(Ok(file)) => read::opened(path, file, &job.lines, job.kind, &mut take),
            Some(Err(error)) => Err(LogError::new(path, error)),
        };
        let log = match log {
            Ok(log) => log,
            Err(error) => LogFile::unread(path, &error),
        };
        if let Some(kind) = log.kind {
            let found = gathered.sources.entry((named, kind)).or_default();
            found.files += 1;
            found.lines += log.lines;
            found.bad += log.bad;
            let first = log.first_bad.map(|line| Place { file: number, line });
            found.first_bad = found.first_bad.or(first);
            let file = (named, kind, log.lines, log.bad, gathered.digest);
            // What was sifted meanwhile was not of this file alone: then its lines are told as copies one by one.
            let sifted = gathered.known.is_some() != was_known;
            if log.lines >= COPY_MIN && !gathered.files_read.insert(file) && !sifted {
                gathered.take_back((named, kind), number, log.lines - log.bad, before);
            }
        }
        if let Some((kind, lines)) = log.errors {
            let found = gathered.sources.entry((named, kind)).or_default();
            found.files += 1;
            found.lines += lines;
        }
        gathered.files.push(log);
    }
    gathered.sources.values_mut().for_each(Found::complete);
    gathered
}

/// Adds to a digest what a line says.
fn digest(
    digest: u64,
    times: (Timestamp, Timestamp),
    keys: (u64, Ids),
    status: Option<u16>,
) -> u64 {
    // Any odd number with as many ones as zeros does.
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    let said = [times.0.0 as u64, times.1.0 as u64, keys.0, keys.1[2], status.map_or(0, u64::from)];
    said.into_iter().fold(digest, |sum, one| (sum.rotate_left(5) ^ one).wrapping_mul(MIX))
}

/// Files to read, with what the user named, and opened where they were followed.
type Part = (u32, PathBuf, Option<io::Result<File>>);

fn parts(job: &Job) -> Vec<Part> {
    let whole = |(named, path): &(u32, PathBuf)| (*named, path.clone(), None);
    let Some(growing) = &job.growing else { return job.files.iter().map(whole).collect() };
    let mut parts = Vec::new();
    for ((named, path), followed) in job.files.iter().zip(growing.iter()) {
        match followed.grown(path) {
            Ok(grown) => {
                parts.push((*named, path.clone(), Some(Ok(grown.file))));
                parts.extend(grown.next.map(|next| (*named, path.clone(), Some(next))));
            }
            Err(error) => parts.push((*named, path.clone(), Some(Err(error)))),
        }
    }
    let left = job.files.iter().skip(growing.len());
    let why = || io::Error::other(format!("only {FOLLOWED_MAX} logs are followed"));
    parts.extend(left.map(|(named, path)| (*named, path.clone(), Some(Err(why())))));
    parts
}

impl Gathered {
    /// The thread has died.
    fn broken() -> Gathered {
        let error = Some("the thread that reads it has died".to_owned());
        Gathered { files: vec![LogFile { error, ..LogFile::default() }], ..Gathered::default() }
    }

    /// What is there of each log before a file is read.
    fn before(&mut self) -> BTreeMap<(u32, Kind), Before> {
        self.digest = 0;
        let before = |found: &Found| Before {
            times: found.times.len(),
            failing: found.failing,
            far_failing: found.far_failing,
        };
        self.sources.iter().map(|(source, found)| (*source, before(found))).collect()
    }

    /// A file was a copy of another: so many of its lines count nowhere.
    fn take_back(
        &mut self,
        source: (u32, Kind),
        file: u32,
        lines: u64,
        before: BTreeMap<(u32, Kind), Before>,
    ) {
        let Some(found) = self.sources.get_mut(&source) else { return };
        let before = before.get(&source).copied().unwrap_or_default();
        let of_file = |entry: &Entry| entry.place.file == file;
        // They came last, unless what was kept was brought into another order since.
        if found.narrowed {
            found.entries.sort_by_key(|entry| of_file(entry));
        }
        while let Some(entry) = found.entries.pop_if(|entry| of_file(entry)) {
            self.kept -= 1;
            self.text -= entry.text().map_or(0, <[u8]>::len);
        }
        self.times -= found.times.len().saturating_sub(before.times);
        found.times.truncate(before.times);
        (found.failing, found.far_failing) = (before.failing, before.far_failing);
        found.copies += lines;
    }

    /// Takes in a line. Where there is no room, waits until it is known what can matter.
    fn take(
        &mut self,
        source: (u32, Kind),
        place: Place,
        line: &mut Line<'_>,
        text: &[u8],
        told: &Receiver<Arc<Known>>,
    ) {
        let full = self.kept >= self.most || (line.failed && self.text + text.len() > TEXT_MAX);
        if full && self.known.is_none() {
            // Nobody will tell: the run has ended early.
            let Ok(known) = told.recv() else { return };
            self.sift(&known);
            self.known = Some(known);
        }
        let (at, until) = times(line);
        let found = self.sources.entry(source).or_default();
        let range = found.range.get_or_insert((at, until));
        *range = (range.0.min(at), range.1.max(until));
        found.failing += u64::from(line.failed);
        found.paths |= line.without_query;
        let keys = keys(line);
        self.digest = digest(self.digest, (at, until), keys, line.status);
        if let Some(known) = &self.known {
            if !found.is_near(at, until, &known.capture) {
                found.far_failing += u64::from(line.failed);
                return;
            }
            if !(line.failed || !source.1.has_requests() || known.has(keys)) {
                match self.times < TIMES_MAX {
                    true => found.times.push(at),
                    false => self.timeless += 1,
                }
                self.times += 1;
                return;
            }
            if self.kept >= self.most {
                let known = Arc::clone(known);
                if !self.narrow(source, &known) {
                    self.dropped += 1;
                    return;
                }
            }
        }
        let mut entry = Entry::keyed(place, source.1, keys, line);
        if entry.failed {
            match self.text + text.len() <= TEXT_MAX {
                true => entry.keep_text(text),
                false => self.textless += 1,
            }
            self.text += entry.text().map_or(0, <[u8]>::len);
        }
        self.kept += 1;
        let entries = &mut self.sources.entry(source).or_default().entries;
        if self.kept == 1 {
            *entries = huge::with_room(ROOM.min(self.most));
        }
        entries.push(entry);
    }

    /// It is known what can matter: drops the rest of what was kept.
    fn sift(&mut self, known: &Known) {
        for found in self.sources.values_mut() {
            let mut entries = std::mem::take(&mut found.entries);
            self.kept -= entries.len();
            entries.retain(|entry| {
                if !found.is_near(entry.at(), entry.until(), &known.capture) {
                    found.far_failing += u64::from(entry.failed);
                    self.text -= entry.text().map_or(0, <[u8]>::len);
                } else if entry.failed
                    || !entry.kind.has_requests()
                    || known.has((entry.asked, entry.ids))
                {
                    return true;
                } else if self.times < TIMES_MAX {
                    found.times.push(entry.at());
                    self.times += 1;
                } else {
                    self.timeless += 1;
                }
                false
            });
            self.kept += entries.len();
            found.entries = entries;
        }
    }

    /// There is no more room: drops what is of another time by what is known of the clock of this log.
    /// Whether there is room then.
    fn narrow(&mut self, source: (u32, Kind), known: &Known) -> bool {
        let Some(found) = self.sources.get_mut(&source).filter(|found| !found.narrowed) else {
            return false;
        };
        found.narrowed = true;
        let before = found.entries.len();
        sort(&mut found.entries);
        let index = Index::new(&mut found.entries, found.paths, &known.capture);
        let mut tying = Tying::new(&mut found.entries, &known.capture, index);
        tying.compare_clocks();
        let clock = tying.clock;
        // Were the lines of the capture's time still to come, others would agree only by chance.
        let sure = clock.is_likely() && clock.agreeing * 10 >= clock.pairs * 8;
        let Some((from, to)) = known.capture.span.filter(|_| sure) else { return false };
        let slack = clock.tolerance.saturating_add(NEAR);
        let own = |at: Timestamp, more: i64| at.after(-clock.offset).after(more);
        found.window = Some((own(from, -slack), own(to, slack)));
        let far = |found: &Found, it: &Entry| !found.is_near(it.at(), it.until(), &known.capture);
        let entries = std::mem::take(&mut found.entries);
        for entry in entries {
            if far(found, &entry) {
                found.far_failing += u64::from(entry.failed);
                self.text -= entry.text().map_or(0, <[u8]>::len);
            } else {
                found.entries.push(entry);
            }
        }
        let found_now = found.entries.len();
        self.kept -= before - found_now;
        self.kept < self.most
    }
}

impl Found {
    /// All lines are there: drops those that are copies of others, and brings the rest into the order of their times.
    fn complete(&mut self) {
        let (copies, failed) = drop_copies(&mut self.entries);
        (self.copies, self.failing) = (self.copies + copies, self.failing - failed);
    }

    /// Drops what is further from the capture than any clock is wrong.
    pub(super) fn keep_near(&mut self, capture: &Capture) {
        let near = |found: &Found, (at, until)| found.is_near(at, until, capture);
        let Some((from, to)) = self.range else { return };
        if near(self, (from, from)) && near(self, (to, to)) {
            return;
        }
        for entry in std::mem::take(&mut self.entries) {
            match near(self, (entry.at(), entry.until())) {
                true => self.entries.push(entry),
                false => self.far_failing += u64::from(entry.failed),
            }
        }
    }

    /// Whether a line is of the time of the capture, as far as that is known.
    fn is_near(&self, at: Timestamp, until: Timestamp, capture: &Capture) -> bool {
        let (from, to) = self.window.unwrap_or_else(|| {
            let (from, to) = capture.span.unwrap_or_default();
            (from.after(-MARGIN), to.after(MARGIN))
        });
        until >= from && at <= to
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Made;
    use super::super::tie::tie;
    use super::*;
    use std::fmt::Write as _;

    /// 2026-11-21 10:00:00.
    const HOUR: i64 = 1_795_255_200_000;
    const T: ([u8; 4], u16) = ([10, 0, 0, 9], 8080);

    /// A log of a day, a line a minute, of which the capture has ten minutes. Its requests are those of
    /// all the day, `others` are not.
    fn day(others: bool) -> (tempfile::TempDir, Job, Made) {
        let (mut made, mut text) = (Made::default(), String::new());
        for minute in 0..1_440_i64 {
            let at = HOUR + minute * 60_000 + minute * minute * 31 % 53 * 1_000;
            let ten = (700..710).contains(&minute);
            let which = (minute * minute * 7_919 + minute * 13) % 1_009 % 10;
            let path = if ten || !others { format!("/{which}") } else { "/other".to_owned() };
            let seconds = at / 1_000 % 86_400;
            let clock = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
            let day = 21 + (at / 1_000 - HOUR / 1_000 + 36_000) / 86_400;
            writeln!(
                text,
                "http 2026-11-{day}T{:02}:{:02}:{:02}.040000Z app/a/1 203.0.113.7:{} 10.0.0.9:8080 0.000 0.030 0.010 \
                 200 200 1 1 \"GET http://a:80{path} HTTP/1.1\" \"-\" - - arn \"-\"",
                clock.0, clock.1, clock.2, 10_000 + minute,
            )
            .unwrap();
            if ten {
                made.request(&path, T, (at + 3_201, at + 3_220), Some(200));
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alb.log");
        std::fs::write(&path, text).unwrap();
        let lines = Arc::new(Lines::default());
        (
            folder,
            Job { files: vec![(0, path)], kind: None, lines, most: 10_000, growing: None },
            made,
        )
    }

    fn read(job: Job, made: Made) -> (Gathered, Arc<Known>) {
        let known = Arc::new(Known::new(made.0));
        (Reading::start(job).finish(&known), known)
    }

    #[test]
    fn with_and_without_a_thread_the_same_is_kept() {
        let (_folder, job, made) = day(true);
        let known = Arc::new(Known::new(made.0));
        let places = |gathered: Gathered| {
            let found = &gathered.sources[&(0, Kind::Alb)];
            let places: Vec<Place> = found.entries.iter().map(|entry| entry.place).collect();
            (places, found.times.clone(), gathered.dropped)
        };
        for most in [1, 9, 100, 705, 10_000] {
            let job = Job { most, ..job.clone() };
            assert_eq!(
                places(Reading::start(job.clone()).finish(&known)),
                places(Reading::later(job).finish(&known))
            );
        }
        // What is not of the capture's requests takes no room.
        let few = places(Reading::later(Job { most: 10, ..job }).finish(&known));
        assert_eq!((few.0.len(), few.1.len(), few.2), (10, 1_430, 0));
    }

    #[test]
    fn lines_of_another_time_make_room_once_the_clock_is_known() {
        let (_folder, job, made) = day(false);
        // Each request is some 150 times in the log: by the time there is no more room, the lines of the
        // capture's minutes are among them.
        let (mut gathered, known) = read(Job { most: 700, ..job }, made);
        assert_eq!(gathered.dropped, 0);
        let found = gathered.sources.get_mut(&(0, Kind::Alb)).unwrap();
        assert!(found.entries.len() < 20, "{}", found.entries.len());
        let ties = tie(&mut found.entries, found.paths, &known.capture, &[]);
        assert!((ties.clock.offset - 3_180_000_000).abs() < 100_000_000, "{:?}", ties.clock);
        assert_eq!(ties.tied.len(), 10);
    }

    #[test]
    fn a_file_beside_its_copy_counts_once() {
        let (folder, job, made) = day(true);
        let copy = folder.path().join("alb.log.1");
        std::fs::copy(&job.files[0].1, &copy).unwrap();
        let known = Arc::new(Known::new(made.0));
        let found = |mut gathered: Gathered| gathered.sources.remove(&(0, Kind::Alb)).unwrap();
        let one = found(Reading::later(job.clone()).finish(&known));
        let files = vec![job.files[0].clone(), (0, copy)];
        for reading in [Reading::start, Reading::later] {
            let both = found(reading(Job { files: files.clone(), ..job.clone() }).finish(&known));
            assert_eq!((both.lines, both.copies), (2 * one.lines, one.lines));
            assert_eq!((both.entries.len(), both.failing), (one.entries.len(), one.failing));
            assert_eq!((both.times.len(), both.far_failing), (one.times.len(), one.far_failing));
        }
        // There is no more room in the midst of the copy: what of the first file is sifted then stays.
        let reading = Reading::start(Job { files, most: 2_000, ..job });
        // The capture is over only when it has begun to read.
        thread::sleep(std::time::Duration::from_millis(200));
        let full = found(reading.finish(&known));
        assert!(full.times.len() >= one.times.len(), "{}", full.times.len());
    }

    #[test]
    fn what_there_is_no_room_for_is_counted() {
        let (_folder, job, made) = day(false);
        // None of the lines that fit is of the capture's time.
        let (gathered, _) = read(Job { most: 200, ..job }, made);
        let found = &gathered.sources[&(0, Kind::Alb)];
        assert_eq!(found.entries.len(), 200);
        assert_eq!(gathered.dropped as usize, 1_440 - 200 - found.times.len());
        assert!(gathered.dropped > 700, "{}", gathered.dropped);
    }
}
