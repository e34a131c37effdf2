//! The life of a flow in a few letters, as Zeek writes it.
//!
//! Letters (upper case: client, lower case: server) follow Zeek's `conn.log` field `history`:
//! `s` SYN, `h` SYN-ACK, `a` pure ACK, `d` payload, `f` FIN, `r` RST, `t` retransmitted payload,
//! `w` zero window, `g` content gap, `c` a packet that does not count: a second copy in the capture,
//! or one with a wrong checksum (Zeek's meaning). A letter is written once a side, the noisy ones (`t`, `w`,
//! `g`, `c`) again at 10 and 100 occurrences. `^` in front: the first packet came from the side
//! that turned out to be the server.

use super::Side;
use crate::shorthand::Shorthand;
use std::fmt;

/// Letters that are written once a side.
const ONCE: &[u8] = b"shadfr";
/// Letters that are written again as they pile up.
const NOISY: &[u8] = b"twgc";
/// At how many occurrences they are.
const AGAIN: [u8; 3] = [1, 10, 100];
/// Longest history: every letter of both sides, and `^`.
const LETTERS_MAX: usize = 2 * (ONCE.len() + NOISY.len() * AGAIN.len()) + 1;

/// A history, held in place: most flows have eight letters, and every flow has a history.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct History {
    letters: [u8; LETTERS_MAX],
    count: u8,
}

impl Default for History {
    fn default() -> History {
        History { letters: [0; LETTERS_MAX], count: 0 }
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl From<&str> for History {
    /// What goes beyond the longest history is dropped.
    fn from(letters: &str) -> History {
        let mut history = History::default();
        letters.bytes().for_each(|letter| history.push(letter));
        history
    }
}

impl History {
    /// The letters.
    pub fn as_str(&self) -> &str {
        // All that is pushed is ASCII.
        std::str::from_utf8(&self.letters[..usize::from(self.count)]).unwrap_or_default()
    }

    /// Its fields, in shorthand.
    pub(crate) fn fields(&mut self, shorthand: &mut impl Shorthand) {
        let History { letters, count } = self;
        shorthand.u8(count);
        letters.iter_mut().take(usize::from(*count)).for_each(|letter| shorthand.u8(letter));
    }

    fn push(&mut self, letter: u8) {
        if let Some(place) = self.letters.get_mut(usize::from(self.count)) {
            *place = letter;
            self.count += 1;
        }
    }

    /// The sides turned out to be the other way round.
    pub(super) fn flip(&mut self) {
        let before = *self;
        *self = History::default();
        self.push(b'^');
        let flip = |letter: u8| match letter {
            b'a'..=b'z' => letter.to_ascii_uppercase(),
            other => other.to_ascii_lowercase(),
        };
        before.as_str().bytes().for_each(|letter| self.push(flip(letter)));
    }
}

/// Which letters a history has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    once: [u8; 2],
    noisy: [[u8; NOISY.len()]; 2],
}

impl Seen {
    pub(super) fn note(&mut self, history: &mut History, side: Side, letter: u8) {
        let of = side as usize;
        if let Some(index) = ONCE.iter().position(|&known| known == letter) {
            if self.once[of] & (1 << index) != 0 {
                return;
            }
            self.once[of] |= 1 << index;
        } else if let Some(index) = NOISY.iter().position(|&known| known == letter) {
            let count = &mut self.noisy[of][index];
            // Beyond the last occurrence that is written the number does not matter.
            if *count > AGAIN[AGAIN.len() - 1] {
                return;
            }
            *count += 1;
            if !AGAIN.contains(count) {
                return;
            }
        }
        history.push(match side {
            Side::Client => letter.to_ascii_uppercase(),
            Side::Server => letter,
        });
    }

    /// Its fields, in shorthand.
    pub(super) fn fields(&mut self, shorthand: &mut impl Shorthand) {
        let Seen { once, noisy } = self;
        once.iter_mut().chain(noisy.as_flattened_mut()).for_each(|count| shorthand.u8(count));
    }

    pub(super) fn flip(&mut self) {
        self.once.swap(0, 1);
        self.noisy.swap(0, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_letters_once_and_noisy_ones_at_powers_of_ten() {
        let (mut seen, mut history) = (Seen::default(), History::default());
        for _ in 0..3 {
            seen.note(&mut history, Side::Client, b's');
            seen.note(&mut history, Side::Server, b'h');
        }
        for _ in 0..12 {
            seen.note(&mut history, Side::Server, b't');
        }
        assert_eq!(history.as_str(), "Shtt");
        history.flip();
        assert_eq!(history.as_str(), "^sHTT");
    }
    #[test]
    fn every_letter_has_room() {
        let (mut seen, mut history) = (Seen::default(), History::default());
        history.push(b'^');
        for _ in 0..300 {
            for letter in ONCE.iter().chain(NOISY) {
                seen.note(&mut history, Side::Client, *letter);
                seen.note(&mut history, Side::Server, *letter);
            }
        }
        assert_eq!(history.as_str().len(), LETTERS_MAX);
        assert!(history.as_str().ends_with("tTwWgGcC") || history.as_str().ends_with("TtWwGgCc"));
    }
}
