//! The framing of pcapng: where blocks begin and end, and where they go on after damage.
//!
//! A block whose two lengths agree is believed. After damage we go on at the next block of a
//! known type whose lengths agree.

use std::ops::Range;

use super::bytes::Order;
use super::notes::{Cut, Notes, Odd};
use super::window::{MAX_ITEM, Window};

pub(super) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
pub(super) const INTERFACE_DESCRIPTION: u32 = 1;
/// Obsolete since 2009, still in old files.
pub(super) const PACKET: u32 = 2;
pub(super) const SIMPLE_PACKET: u32 = 3;
pub(super) const INTERFACE_STATISTICS: u32 = 5;
pub(super) const ENHANCED_PACKET: u32 = 6;
pub(super) const NAME_RESOLUTION: u32 = 4;
pub(super) const DECRYPTION_SECRETS: u32 = 10;
/// What Wireshark lists as frames of their own, besides packets: systemd journal entries and
/// custom blocks (to be copied with the file, and not to be).
pub(super) const JOURNAL_EXPORT: u32 = 9;
pub(super) const CUSTOM: u32 = 0x0000_0bad;
pub(super) const CUSTOM_NO_COPY: u32 = 0x4000_0bad;

pub(super) const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

/// Type and length in front, length behind.
const SMALLEST_BLOCK: usize = 12;

/// Longest block that is taken for one while we search after damage; also what a packet may
/// have in options before its length looks wrong.
pub(super) const USUAL_BLOCK: usize = 1 << 20;

/// A block that is in memory as a whole.
pub(super) struct Block {
    pub(super) kind: u32,
    /// Between the two lengths.
    pub(super) body: Range<usize>,
}

/// Finds one block after the other.
#[derive(Debug)]
pub(super) struct Blocks {
    /// Of the section that the last block belongs to.
    pub(super) order: Order,
}

impl Default for Blocks {
    fn default() -> Blocks {
        Blocks { order: Order::Little }
    }
}

impl Blocks {
    /// The next block, or `None` at the end.
    #[inline]
    pub(super) fn next(&mut self, window: &mut Window, notes: &mut Notes) -> Option<Block> {
        loop {
            if !window.has(SMALLEST_BLOCK) {
                return end(window, notes);
            }
            let (kind, length) = match self.block(window) {
                Ok(found) => found,
                Err(problem) => {
                    self.skip_damage(problem, window, notes)?;
                    continue;
                }
            };
            let padded = length.next_multiple_of(4);
            if padded != length {
                notes.odd(Odd::UnpaddedBlock);
            }
            let start = window.take(padded).start;
            return Some(Block { kind, body: start + 8..start + length - 4 });
        }
    }

    /// Type and length of the block ahead, all of which is in memory then.
    #[inline]
    fn block(&mut self, window: &mut Window) -> Result<(u32, usize), Problem> {
        let head = window.ahead();
        let mut kind = self.order.u32(head, 0);
        if kind == SECTION_HEADER {
            // The same in both byte orders; the magic tells which one it is.
            self.order = match (Order::Little.u32(head, 8), Order::Big.u32(head, 8)) {
                (BYTE_ORDER_MAGIC, _) => Order::Little,
                (_, BYTE_ORDER_MAGIC) => Order::Big,
                (other, _) => return Err(Problem::Magic(other)),
            };
            kind = SECTION_HEADER;
        }
        let length = self.order.u32(head, 4) as usize;
        if !(SMALLEST_BLOCK..=MAX_ITEM).contains(&length) {
            return Err(Problem::Length { kind, length });
        }
        let padded = length.next_multiple_of(4);
        if !window.has(padded) {
            let believable = self.believable(kind, length, window.ahead());
            return Err(Problem::Cut { length: padded, believable });
        }
        // Some writers forget to count the padding.
        let again = self.order.u32(window.ahead(), length - 4) as usize;
        if again != length && self.order.u32(window.ahead(), padded - 4) as usize != length {
            return Err(Problem::Disagree { kind, length, again });
        }
        Ok((kind, length))
    }

    /// Whether a block whose end is missing is likely to be what its head says.
    fn believable(&self, kind: u32, length: usize, head: &[u8]) -> bool {
        let packet = |captured: u32| {
            let rest = length.saturating_sub(captured as usize);
            captured as usize <= length && rest <= USUAL_BLOCK
        };
        match kind {
            ENHANCED_PACKET | PACKET if head.len() < 28 => true,
            ENHANCED_PACKET | PACKET => packet(self.order.u32(head, 20)),
            SIMPLE_PACKET => packet(self.order.u32(head, 8)),
            _ => known(kind) && length <= USUAL_BLOCK,
        }
    }

    /// Steps over what is no block, to the next place that looks like one.
    #[cold]
    fn skip_damage(
        &mut self,
        problem: Problem,
        window: &mut Window,
        notes: &mut Notes,
    ) -> Option<()> {
        let offset = window.offset();
        // The bytes of a packet that is cut may look like a block by chance, or be one.
        let careful = matches!(problem, Problem::Cut { believable: true, .. });
        let mut zeros = true;
        while window.has(1) {
            zeros &= window.step();
            let found = self.plausible(window, 0).is_some_and(|next| {
                !careful || !window.has(next + 1) || self.plausible(window, next).is_some()
            });
            if found {
                let skipped = window.offset() - offset;
                notes.damage(offset, &problem.to_string(), skipped, true);
                return Some(());
            }
        }
        let skipped = window.offset() - offset;
        match problem {
            Problem::Cut { length, .. } => {
                notes.cut(Cut { item: "block", offset, promised: length as u64, found: skipped })
            }
            _ if zeros => notes.damage(
                offset,
                &format!("{skipped} zero bytes, space that was reserved and never written"),
                skipped,
                false,
            ),
            _ => notes.damage(offset, &problem.to_string(), skipped, false),
        }
        None
    }

    /// Where the block ends that starts `at` bytes ahead, if one of a known type with lengths
    /// that agree does.
    fn plausible(&self, window: &mut Window, at: usize) -> Option<usize> {
        if !window.has(at + SMALLEST_BLOCK) {
            return None;
        }
        let head = &window.ahead()[at..];
        let orders = if head.starts_with(&SECTION_HEADER.to_be_bytes()) {
            [Order::Little, Order::Big].map(|o| (o.u32(head, 8) == BYTE_ORDER_MAGIC).then_some(o))
        } else {
            [Some(self.order).filter(|order| known(order.u32(head, 0))), None]
        };
        orders.into_iter().flatten().find_map(|order| {
            let length = order.u32(&window.ahead()[at..], 4) as usize;
            let end = at + length;
            let plausible = (SMALLEST_BLOCK..=USUAL_BLOCK).contains(&length)
                && length.is_multiple_of(4)
                && window.has(end)
                && order.u32(window.ahead(), end - 4) as usize == length;
            plausible.then_some(end)
        })
    }
}

fn known(kind: u32) -> bool {
    // Between 1 and 6: packets, names and statistics.
    matches!(kind, SECTION_HEADER | INTERFACE_DESCRIPTION..=ENHANCED_PACKET | DECRYPTION_SECRETS)
}

fn end(window: &mut Window, notes: &mut Notes) -> Option<Block> {
    let found = window.ahead().len();
    if found > 0 {
        notes.cut(Cut {
            item: "block",
            offset: window.offset(),
            promised: SMALLEST_BLOCK as u64,
            found: found as u64,
        });
        window.take(found);
    }
    None
}

/// Why a block is not believed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum Problem {
    #[error("expected the byte-order magic 0x1a2b3c4d, found 0x{0:08x}")]
    Magic(u32),
    #[error("expected a block, found one of type {kind} that is {length} bytes long")]
    Length { kind: u32, length: usize },
    #[error(
        "expected a block of type {kind} to end with its length of {length} bytes, found {again}"
    )]
    Disagree { kind: u32, length: usize, again: usize },
    #[error("expected a block of {length} bytes, found the end of the file")]
    Cut { length: usize, believable: bool },
}
