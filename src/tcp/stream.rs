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
use hashbrown::HashMap;

/// Pairs of addresses and ports remembered per capture file. Past it the pair met first is
/// forgotten, and a late packet of it would be numbered differently from Wireshark.
pub const PAIRS_MAX: usize = 1 << 19;

type Pair = (Endpoint, Endpoint);

#[derive(Clone, Copy, Debug)]
struct Conversation {
    stream: u32,
    /// Base sequence number by direction: sent by the smaller endpoint, by the larger.
    base: [Option<u32>; 2],
}

/// Gives out stream numbers for one capture file.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    pairs: HashMap<Pair, Conversation, RandomState>,
    order: std::collections::VecDeque<Pair>,
    next: u32,
    /// Pairs forgotten to stay within the bound.
    pub(crate) forgotten: u64,
}

/// A pair in a fixed order, and whether `src` is the larger.
fn pair(src: Endpoint, dst: Endpoint) -> (Pair, usize) {
    if src <= dst { ((src, dst), 0) } else { ((dst, src), 1) }
}

impl Streams {
    fn entry(&mut self, key: Pair) -> &mut Conversation {
        if !self.pairs.contains_key(&key) {
            if self.pairs.len() >= PAIRS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.pairs.remove(&oldest);
                self.forgotten += 1;
            }
            self.order.push_back(key);
        }
        let next = &mut self.next;
        self.pairs.entry(key).or_insert_with(|| {
            *next += 1;
            Conversation { stream: *next - 1, base: [None; 2] }
        })
    }

    /// The number of a segment, and whether it will stay so for segments that are no SYN.
    pub(crate) fn number(&mut self, segment: &Segment<'_>) -> (u32, bool) {
        let (key, way) = pair(segment.src, segment.dst);
        let flags = segment.flags;
        let mut reused = false;
        let entry = self.entry(key);
        if flags.syn() && !flags.ack() {
            reused = entry.base[way].is_some_and(|base| base != segment.seq);
        }
        if reused {
            self.next += 1;
            let stream = self.next - 1;
            let fresh = Conversation { stream, base: [None; 2] };
            self.pairs.insert(key, fresh);
        }
        let entry = self.entry(key);
        if entry.base[way].is_none() {
            entry.base[way] =
                Some(if flags.syn() { segment.seq } else { segment.seq.wrapping_sub(1) });
        }
        if entry.base[1 - way].is_none() && flags.ack() {
            entry.base[1 - way] = Some(segment.ack.wrapping_sub(1));
        }
        (entry.stream, entry.base.iter().all(Option::is_some))
    }

    /// A TCP header quoted whole in an ICMP error takes a number too, but sets no base.
    pub(crate) fn quoted(&mut self, src: Endpoint, dst: Endpoint) -> u32 {
        self.entry(pair(src, dst).0).stream
    }
}
