//! What log lines and exchanges have in common: what was asked, and ids.
//!
//! There may be a million of each, and most digests may be of one line and one exchange. So both sides are sorted by
//! their digests and then walked through together: in tables of that size every look would miss the cache.

use super::both::both;
use super::entry::Entry;
use super::keys::Ids;
use super::seen::Seen;
use crate::huge;
use std::cmp::Ordering;

/// Stands for what lines and exchanges have not in common.
pub(super) const NONE: u32 = u32::MAX;
/// Ids of one line or exchange.
const IDS: usize = size_of::<Ids>() / size_of::<u64>();

/// Digests and whose they are, in the order of both.
#[derive(Debug, Default)]
struct Sorted(Vec<(u64, u32)>);

/// What an exchange has in common with lines, by numbers; else [`NONE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) asked: u32,
    /// For lines that do not know the query.
    pub(super) path: u32,
    pub(super) ids: [u32; IDS],
}

/// What the lines of one log and exchanges have in common. Numbers are in the order of the exchanges.
#[derive(Debug, Default)]
pub(super) struct Common {
    pub(super) asked: Asked,
    pub(super) ids: HaveIds,
}

/// What was asked, by exchanges that do not find their line by an id already.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// By exchange: with its query, and without.
    pub(super) seen: Vec<[u32; 2]>,
    /// By line.
    pub(super) lines: Vec<u32>,
    /// How many exchanges asked what has a number.
    pub(super) many: Vec<u32>,
}

/// Ids.
#[derive(Debug, Default)]
pub(super) struct HaveIds {
    /// By exchange; empty where no exchange has an id.
    pub(super) seen: Vec<[u32; IDS]>,
    /// Lines that have one, and its number.
    pub(super) lines: Vec<(u32, u32)>,
    /// How many exchanges have the id with a number.
    pub(super) many: Vec<u32>,
    /// Whether one line and one exchange have it.
    one_each: Vec<bool>,
}

impl Sorted {
    /// Of so many at most; 0 stands for no digest.
    fn new(most: usize, all: impl Iterator<Item = (u64, u32)>) -> Sorted {
        let mut sorted = huge::with_room(most);
        all.filter(|(digest, _)| *digest != 0).for_each(|one| sorted.push(one));
        sorted.sort_unstable();
        Sorted(sorted)
    }

    /// Numbers from `next` for what both have: which is told of each that has it. The number after the last.
    fn share(
        &self,
        other: &Sorted,
        mut next: u32,
        mut mine: impl FnMut(u32, u32),
        mut its: impl FnMut(u32, u32),
    ) -> u32 {
        let (mut one, mut two) = (&self.0[..], &other.0[..]);
        while let (Some((digest, _)), Some((its_digest, _))) = (one.first(), two.first()) {
            match digest.cmp(its_digest) {
                Ordering::Less => one = &one[1..],
                Ordering::Greater => two = &two[1..],
                Ordering::Equal => {
                    let digest = *digest;
                    while let Some((_, whose)) = one.first().filter(|it| it.0 == digest) {
                        mine(*whose, next);
                        one = &one[1..];
                    }
                    while let Some((_, whose)) = two.first().filter(|it| it.0 == digest) {
                        its(*whose, next);
                        two = &two[1..];
                    }
                    next += 1;
                }
            }
        }
        next
    }
}

/// All ids, with whose they are and which of its ids.
fn ids<'a>(
    all: impl Iterator<Item = (u32, &'a Ids)> + Clone,
) -> impl Iterator<Item = (u64, u32)> + Clone {
    all.flat_map(|(n, ids)| (n * IDS as u32..).zip(ids).map(|(n, id)| (*id, n)))
}

impl Common {
    /// `paths`: some lines do not know the query of what was asked.
    pub(super) fn new(entries: &[Entry], paths: bool, seen: &[Seen]) -> Common {
        let ids = HaveIds::new(entries, seen);
        let asked = Asked::new(entries, paths, seen, &ids);
        Common { asked, ids }
    }

    /// What an exchange has in common with lines.
    pub(super) fn of(&self, seen: usize) -> Keys {
        let [asked, path] = self.asked.seen[seen];
        Keys { asked, path, ids: self.ids.of(seen) }
    }

    /// For each line, whether some exchange has what it asks or an id of it.
    pub(super) fn lines(&self) -> Vec<bool> {
        let mut lines: Vec<bool> = self.asked.lines.iter().map(|asked| *asked != NONE).collect();
        self.ids.lines.iter().for_each(|(_, line)| lines[*line as usize] = true);
        lines
    }
}

impl Asked {
    fn new(entries: &[Entry], paths: bool, seen: &[Seen], ids: &HaveIds) -> Asked {
        // A line may tell of a request without an id as well: that of the client of a proxy that makes one.
        let of_lines = || (0..).zip(entries).map(|(n, entry)| (entry.asked, n));
        let left = || (0..).zip(seen).filter(|(n, _)| !ids.found(*n as usize));
        let (lines, asked) = both(
            entries.len(),
            || Sorted::new(entries.len(), of_lines()),
            || Sorted::new(seen.len(), left().map(|(n, seen)| (seen.asked, n))),
        );
        let paths = match paths {
            true => Sorted::new(seen.len(), left().map(|(n, seen)| (seen.path, n))),
            false => Sorted::default(),
        };
        let mut it = Asked { seen: vec![[NONE; 2]; seen.len()], ..Asked::default() };
        it.lines = vec![NONE; entries.len()];
        let mut next = 0;
        for (which, of_seen) in [asked, paths].iter().enumerate() {
            let mine = |line: u32, number| it.lines[line as usize] = number;
            let its = |n: u32, number| it.seen[n as usize][which] = number;
            next = lines.share(of_seen, next, mine, its);
        }
        let lines = it.lines.iter_mut().filter(|number| **number != NONE);
        it.many = in_order(next, it.seen.as_flattened_mut(), lines);
        it
    }
}

impl HaveIds {
    fn new(entries: &[Entry], seen: &[Seen]) -> HaveIds {
        let mut it = HaveIds::default();
        if seen.iter().all(|seen| seen.ids == [0; IDS]) {
            return it;
        }
        // Most have one at most; room that is not used takes no memory.
        let of_lines = ids((0..).zip(entries.iter().map(|entry| &entry.ids)));
        let of_seen = ids((0..).zip(seen.iter().map(|seen| &seen.ids)));
        let (of_lines, of_seen) = both(
            entries.len(),
            || Sorted::new(IDS * entries.len(), of_lines.clone()),
            || Sorted::new(IDS * seen.len(), of_seen),
        );
        it.seen = vec![[NONE; IDS]; seen.len()];
        let numbers = it.seen.as_flattened_mut();
        let mine = |id: u32, number| it.lines.push((number, id / IDS as u32));
        let next = of_lines.share(&of_seen, 0, mine, |id, number| numbers[id as usize] = number);
        it.many = in_order(next, numbers, it.lines.iter_mut().map(|(number, _)| number));
        let mut having = vec![0_u32; it.many.len()];
        it.lines.iter().for_each(|(id, _)| having[*id as usize] += 1);
        it.one_each = having.iter().zip(&it.many).map(|both| both == (&1, &1)).collect();
        it
    }

    fn of(&self, seen: usize) -> [u32; IDS] {
        self.seen.get(seen).copied().unwrap_or([NONE; IDS])
    }

    /// Whether one line and one exchange have this id.
    pub(super) fn is_of_one_line(&self, id: u32) -> bool {
        self.one_each.get(id as usize).copied().unwrap_or(false)
    }

    /// Whether an exchange has such an id.
    fn found(&self, seen: usize) -> bool {
        self.of(seen).into_iter().any(|id| self.is_of_one_line(id))
    }
}

/// Numbers below `next`, in the order in which exchanges have them; how many of these have each.
fn in_order<'a>(next: u32, seen: &mut [u32], lines: impl Iterator<Item = &'a mut u32>) -> Vec<u32> {
    let (mut anew, mut many) = (vec![NONE; next as usize], Vec::new());
    for number in seen.iter_mut().filter(|number| **number != NONE) {
        let anew = &mut anew[*number as usize];
        if *anew == NONE {
            *anew = many.len() as u32;
            many.push(0);
        }
        many[*anew as usize] += 1;
        *number = *anew;
    }
    lines.for_each(|number| *number = anew[*number as usize]);
    many
}

#[cfg(test)]
mod tests {
    use super::super::keys::{asked, asked_path};
    use super::super::testing::{Made, logged};
    use super::*;

    const T: ([u8; 4], u16) = ([10, 0, 0, 9], 80);

    /// Lines and exchanges that ask so, with these ids (0: none).
    fn common(lines: &[(&str, u64)], requests: &[(&str, u64)], paths: bool) -> Common {
        let mut made = Made::default();
        for (target, id) in requests {
            made.request(target, T, (0, 1), Some(200)).ids[1] = *id;
        }
        let entries: Vec<Entry> = lines
            .iter()
            .map(|(target, id)| {
                let mut line = logged(1, target, (0, 1), 200, T);
                (line.ids[1], line.failed) = (*id, false);
                line
            })
            .collect();
        Common::new(&entries, paths, &made.0.seen)
    }

    #[test]
    fn numbers_are_those_of_what_both_have_in_the_order_of_the_exchanges() {
        let lines = [("/b", 0), ("/only-logged", 0), ("/a", 0), ("/b", 0)];
        let requests = [("/only-asked", 0), ("/a", 0), ("/b", 0), ("/a", 0)];
        let it = common(&lines, &requests, false);
        assert_eq!(it.asked.lines, [1, NONE, 0, 1]);
        let asked: Vec<u32> = (0..4).map(|n| it.of(n).asked).collect();
        assert_eq!((asked, &it.asked.many[..]), (vec![NONE, 0, 1, 0], &[2, 1][..]));
        assert_eq!(it.lines(), [true, false, true, true]);
        assert!((0..4).all(|n| it.of(n).ids == [NONE; IDS]) && it.ids.seen.is_empty());
    }

    #[test]
    fn what_has_found_its_line_by_an_id_is_not_looked_for_by_what_it_asked() {
        // The second and the third have an id that one line has, which two attempts share.
        let lines = [("/", 7), ("/", 8), ("/", 9)];
        let it = common(&lines, &[("/", 7), ("/", 8), ("/", 8), ("/", 0)], false);
        let asked: Vec<u32> = (0..4).map(|n| it.of(n).asked).collect();
        assert_eq!(asked, [NONE, 0, 0, 0]);
        assert_eq!((0..3).map(|n| it.of(n).ids[1]).collect::<Vec<_>>(), [0, 1, 1]);
        assert_eq!((0..2).map(|id| it.ids.is_of_one_line(id)).collect::<Vec<_>>(), [true, false]);
        let mut lines = it.ids.lines.clone();
        lines.sort_unstable();
        assert_eq!((lines, it.ids.many), (vec![(0, 0), (1, 1)], vec![1, 2]));
    }

    #[test]
    fn lines_without_a_query_are_those_of_paths() {
        let mut made = Made::default();
        for target in ["/a?b", "/a"] {
            let seen = made.request(target, T, (0, 1), Some(200));
            (seen.asked, seen.path) = (asked(b"GET", target.as_bytes()), asked_path(b"GET", b"/a"));
        }
        let mut line = logged(1, "/a", (0, 1), 200, T);
        line.asked = asked_path(b"GET", b"/a");
        for (paths, path) in [(true, 0), (false, NONE)] {
            let it = Common::new(std::slice::from_ref(&line), paths, &made.0.seen);
            assert_eq!([it.of(0), it.of(1)].map(|it| (it.asked, it.path)), [(NONE, path); 2]);
        }
    }
}
