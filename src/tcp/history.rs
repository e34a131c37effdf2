//! The life of a flow in a few letters, as Zeek writes it.
//!
//! Letters (upper case: client, lower case: server) follow Zeek's `conn.log` field `history`:
//! `s` SYN, `h` SYN-ACK, `a` pure ACK, `d` payload, `f` FIN, `r` RST, `t` retransmitted payload,
//! `w` zero window, `g` content gap, `c` a packet that does not count: a second copy in the capture,
//! or one with a wrong checksum (Zeek's meaning). A letter is written once a side, the noisy ones (`t`, `w`,
//! `g`, `c`) again at 10 and 100 occurrences. `^` in front: the first packet came from the side
//! that turned out to be the server.

use super::Side;

/// Letters seen, as two bit sets, and the string itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    once: [u16; 2],
    noisy: [[u16; 4]; 2],
}

const ONCE: &[u8] = b"shadfr";
const NOISY: &[u8] = b"twgc";

impl Seen {
    /// Adds `letter` (lower case) for `side` when it is due.
    pub(crate) fn note(&mut self, history: &mut String, side: Side, letter: u8) {
        let of = side as usize;
        if let Some(index) = ONCE.iter().position(|&known| known == letter) {
            if self.once[of] & (1 << index) != 0 {
                return;
            }
            self.once[of] |= 1 << index;
        } else if let Some(index) = NOISY.iter().position(|&known| known == letter) {
            let count = &mut self.noisy[of][index];
            *count = count.saturating_add(1);
            if !matches!(*count, 1 | 10 | 100) {
                return;
            }
        }
        history.push(char::from(match side {
            Side::Client => letter.to_ascii_uppercase(),
            Side::Server => letter,
        }));
    }
}

/// Swaps the sides of a history, when the roles turn out to be the other way round.
pub(crate) fn flip(history: &mut String) {
    let flipped =
        history
            .chars()
            .map(|c| {
                if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }
            })
            .collect::<String>();
    *history = format!("^{flipped}");
}

impl Seen {
    /// Swaps the sides.
    pub(crate) fn flip(&mut self) {
        self.once.swap(0, 1);
        self.noisy.swap(0, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_letters_once_and_noisy_ones_at_powers_of_ten() {
        let (mut seen, mut history) = (Seen::default(), String::new());
        for _ in 0..3 {
            seen.note(&mut history, Side::Client, b's');
            seen.note(&mut history, Side::Server, b'h');
        }
        for _ in 0..12 {
            seen.note(&mut history, Side::Server, b't');
        }
        assert_eq!(history, "Shtt");
        flip(&mut history);
        assert_eq!(history, "^sHTT");
    }
}
