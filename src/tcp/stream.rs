//! Wireshark's `tcp.stream`, so that our numbers work in its filters.
//!
//! The rules are those of Wireshark 4.0 (`epan/dissectors/packet-tcp.c`), found by reading and by
//! comparing with tshark 4.0.17: a number is taken when a pair of addresses and ports is first met;
//! a SYN takes a new one when its sequence number differs from the base of its direction; a base
//! is the first sequence number of a direction (less one unless it is a SYN), or the first
//! acknowledgment number of the other (less one). Tunnels and VLANs are not part of the identity.
//! Later Wireshark also takes a new number for a repeated SYN after FIN or RST.
//! Wireshark remembers every pair for ever; we remember [`PAIRS_MAX`].

use crate::packet::{Endpoint, Segment};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::hint::black_box;

/// Pairs of addresses and ports remembered per capture file. Past it the pair met first is
/// forgotten, and a late packet of it would be numbered differently from Wireshark.
pub const PAIRS_MAX: usize = 1 << 19;

/// Both endpoints of a pair in 64 bits: a million pairs, each met once, have one chance in 30
/// million that two of them are taken for one, for 40 bytes less a pair.
pub(super) type Pair = u64;

#[derive(Clone, Copy, Debug)]
struct Conversation {
    pair: Pair,
    stream: u32,
    /// Base sequence number by direction: sent by the smaller endpoint, by the larger.
    base: [u32; 2],
    /// Which bases are known.
    known: [bool; 2],
}

impl Conversation {
    fn new(pair: Pair, stream: u32) -> Conversation {
        Conversation { pair, stream, base: [0; 2], known: [false; 2] }
    }

    fn learn(&mut self, way: usize, base: u32) {
        if !self.known[way] {
            (self.base[way], self.known[way]) = (base, true);
        }
    }
}

/// Gives out stream numbers for one capture file.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    pairs: HashTable<Conversation>,
    hasher: RandomState,
    /// The pairs in the order in which they were met.
    order: VecDeque<Pair>,
    next: u32,
    /// Pairs forgotten to stay within the bound.
    pub(crate) forgotten: u64,
}

impl Streams {
    /// A pair in a fixed order, and whether `src` is the larger.
    fn pair(&self, src: Endpoint, dst: Endpoint) -> (Pair, usize) {
        if src <= dst {
            (self.hasher.hash_one((src, dst)), 0)
        } else {
            (self.hasher.hash_one((dst, src)), 1)
        }
    }

    /// The key of what is known of two endpoints, for [`Streams::warm`].
    pub(super) fn key(&self, src: Endpoint, dst: Endpoint) -> Pair {
        self.pair(src, dst).0
    }

    /// Has the processor fetch what is known of a pair.
    pub(super) fn warm(&self, pair: Pair) {
        black_box(self.pairs.find(pair, |known| known.pair == pair).is_some());
    }

    fn entry(&mut self, pair: Pair) -> &mut Conversation {
        if self.pairs.len() >= PAIRS_MAX
            && self.pairs.find(pair, |known| known.pair == pair).is_none()
        {
            self.forget_oldest();
        }
        let (order, next) = (&mut self.order, &mut self.next);
        let same = |known: &Conversation| known.pair == pair;
        self.pairs
            .entry(pair, same, |known| known.pair)
            .or_insert_with(|| {
                order.push_back(pair);
                *next += 1;
                Conversation::new(pair, *next - 1)
            })
            .into_mut()
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.order.pop_front() else { return };
        if let Ok(entry) = self.pairs.find_entry(oldest, |known| known.pair == oldest) {
            entry.remove();
            self.forgotten += 1;
        }
    }

    /// The number of a segment, and whether it will stay so for segments that are no SYN.
    pub(crate) fn number(&mut self, segment: &Segment<'_>) -> (u32, bool) {
        let (pair, way) = self.pair(segment.src, segment.dst);
        let flags = segment.flags;
        let fresh = self.next;
        let entry = self.entry(pair);
        let opens = flags.syn() && !flags.ack();
        let reused = opens && entry.known[way] && entry.base[way] != segment.seq;
        if reused {
            *entry = Conversation::new(pair, fresh);
        }
        entry.learn(way, if flags.syn() { segment.seq } else { segment.seq.wrapping_sub(1) });
        if flags.ack() {
            entry.learn(1 - way, segment.ack.wrapping_sub(1));
        }
        let told = (entry.stream, entry.known[0] && entry.known[1]);
        self.next += u32::from(reused);
        told
    }

    /// A TCP header quoted whole in an ICMP error takes a number too, but sets no base.
    pub(crate) fn quoted(&mut self, src: Endpoint, dst: Endpoint) -> u32 {
        let (pair, _) = self.pair(src, dst);
        self.entry(pair).stream
    }
}
