//! Heads that came before, byte for byte: what they say need not be read again.
//!
//! A prober sends the same request each time, and what answers it differs by the second at most. To compare
//! a head costs a tenth of reading it.

/// Heads remembered: those of the latest few probers and targets.
const REMEMBERED: usize = 8;
/// Longest head that is remembered, bytes: those of probers are short, and a copy costs, too.
const LONGEST: usize = 512;

/// The latest heads of a kind, with what each says.
#[derive(Debug)]
pub(crate) struct Recurring<T> {
    known: Vec<Known<T>>,
    /// The one that makes room for the next.
    oldest: usize,
}

#[derive(Debug)]
struct Known<T> {
    /// Length of the bytes that it was the beginning of: tells most of them apart.
    within: usize,
    head: Vec<u8>,
    says: T,
}

impl<T> Default for Recurring<T> {
    fn default() -> Recurring<T> {
        Recurring { known: Vec::new(), oldest: 0 }
    }
}

impl<T: Clone> Recurring<T> {
    /// The head that `bytes` begin with, if it is known: its length and what it says.
    #[inline]
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<(usize, T)> {
        let same =
            |known: &&Known<T>| known.within == bytes.len() && bytes.starts_with(&known.head);
        let known = self.known.iter().find(same)?;
        Some((known.head.len(), known.says.clone()))
    }

    /// Remembers what the first `length` of `bytes` say, which are a whole head.
    pub(crate) fn remember(&mut self, bytes: &[u8], length: usize, says: T) {
        let Some(head) = bytes.get(..length).filter(|head| head.len() <= LONGEST) else { return };
        let within = bytes.len();
        if self.known.len() < REMEMBERED {
            self.known.push(Known { within, head: head.to_vec(), says });
            return;
        }
        let known = &mut self.known[self.oldest];
        (known.within, known.says) = (within, says);
        known.head.clear();
        known.head.extend_from_slice(head);
        self.oldest = (self.oldest + 1) % REMEMBERED;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_known_until_others_have_come() {
        let mut heads = Recurring::default();
        heads.remember(b"head body", 4, 1);
        assert_eq!(heads.find(b"head bodx"), Some((4, 1)));
        assert_eq!(heads.find(b"heat body"), None);
        assert_eq!(heads.find(b"head"), None);
        for number in 0..REMEMBERED {
            heads.remember(&[number as u8; 3], 3, number);
        }
        assert_eq!(heads.find(b"head body"), None);
        assert_eq!(heads.find(&[2; 3]), Some((3, 2)));
        assert_eq!(heads.known.len(), REMEMBERED);
    }

    #[test]
    fn a_long_head_is_not_kept() {
        let mut heads = Recurring::default();
        heads.remember(&[b'x'; LONGEST + 1], LONGEST + 1, ());
        assert!(heads.known.is_empty());
    }
}
