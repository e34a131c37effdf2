//! Lines that a log has more than once: a file beside its compressed copy, shippers that deliver at least once. Each
//! would fit the request of the other as well.

use super::entry::Entry;
use super::tie::sort;

/// Times that are more exact tell requests of one connection from each other, nanoseconds.
const EXACT: i64 = 1_000_000;

/// Brings entries into the order of their times and drops what is a copy of another: how many, and how many of these
/// failed.
pub(super) fn drop_copies(entries: &mut Vec<Entry>) -> (u64, u64) {
    sort(entries);
    let mut copies: Vec<usize> = Vec::new();
    let mut alike: Vec<(u64, usize)> = Vec::new();
    let mut from = 0;
    let known: &[Entry] = entries;
    for group in known.chunk_by(|one, next| one.at() == next.at()) {
        if group.len() > 1 {
            let digests = (from..).zip(group).map(|(n, entry)| (entry.digest(), n));
            alike.extend(digests);
            alike.sort_unstable();
            // Those that are the same follow each other.
            let same = |one: &Entry, next: &Entry| one.is_same(next) && is_particular(one);
            for all in alike.chunk_by(|one, next| one.0 == next.0).filter(|all| all.len() > 1) {
                for two in all.chunk_by(|one, next| same(&known[one.1], &known[next.1])) {
                    copies.extend(two[1..].iter().map(|(_, n)| *n));
                }
            }
            alike.clear();
        }
        from += group.len();
    }
    let failed = copies.iter().filter(|n| entries[**n].failed).count();
    copies.sort_unstable();
    let (mut n, mut rest) = (0, copies.iter().peekable());
    if !copies.is_empty() {
        entries.retain(|_| {
            let copy = rest.next_if_eq(&&n).is_some();
            n += 1;
            !copy
        });
    }
    (copies.len() as u64, failed as u64)
}

/// Whether no other request can have the same line: it has an id of its own, or its connection was busy with it for
/// all of a time that is told exactly.
fn is_particular(entry: &Entry) -> bool {
    let lasted = entry.until().nanos_since(entry.at()) > entry.resolution;
    let by_port = entry.client_port().is_some() && lasted;
    let exact = entry.resolution <= EXACT;
    entry.ids[2] != 0 || (exact && (by_port || entry.ids.iter().any(|id| *id != 0)))
}

#[cfg(test)]
mod tests {
    use super::super::testing::logged;
    use super::*;
    use crate::packet::Endpoint;

    const T: ([u8; 4], u16) = ([10, 0, 0, 9], 8080);

    fn line(number: u64, with: impl FnOnce(&mut Entry)) -> Entry {
        let mut entry = logged(number, "/", (0, 41), 502, T);
        entry.client = Some(Endpoint::v4([203, 0, 113, 7], 40_001));
        with(&mut entry);
        entry
    }

    /// The numbers of the lines that are left, and how many failing ones are not.
    fn left(mut entries: Vec<Entry>) -> (Vec<u64>, u64) {
        let (copies, failed) = drop_copies(&mut entries);
        let left: Vec<u64> = entries.iter().map(|entry| entry.place.line).collect();
        assert!(copies >= failed);
        (left, failed)
    }

    #[test]
    fn a_line_that_stands_there_twice_is_one() {
        let other = |it: &mut Entry| it.asked = 1;
        let lines = vec![line(1, |_| {}), line(2, other), line(3, |_| {}), line(4, other)];
        assert_eq!(left(lines), (vec![1, 2], 2));
        let text = |it: &mut Entry| it.keep_text(b"other");
        assert_eq!(left(vec![line(1, |_| {}), line(2, text)]), (vec![1, 2], 0));
    }

    #[test]
    fn requests_that_are_alike_are_none_of_each_other() {
        // The same client asked the same within a second.
        let second = |it: &mut Entry| it.resolution = 1_000_000_000;
        assert_eq!(left(vec![line(1, second), line(2, second)]), (vec![1, 2], 0));
        let nameless = |it: &mut Entry| it.client = None;
        assert_eq!(left(vec![line(1, nameless), line(2, nameless)]), (vec![1, 2], 0));
        // An id of its own tells.
        let id = |it: &mut Entry| (it.ids[2], it.resolution) = (7, 1_000_000_000);
        assert_eq!(left(vec![line(1, id), line(2, id)]), (vec![1], 1));
        // Done within a tick of the clock.
        let quick = |it: &mut Entry| it.ended = it.began;
        assert_eq!(left(vec![line(1, quick), line(2, quick)]), (vec![1, 2], 0));
    }
}
