//! IP fragments, until their datagram is whole (RFC 791, 3.2; RFC 8200, 4.5).
//!
//! Not by `etherparse::defrag`: its pool grows without bound and knows nothing of fragments that
//! the snap length cut. Those still add up to a datagram here, captured up to the first cut.

use super::decoder::DecoderCounters;
use super::ip::{IpPacket, Piece, TCP};
use super::{Address, Skip, TunnelId};
use crate::time::Timestamp;

/// Datagrams that wait at once. TCP is seldom fragmented and a datagram completes within
/// milliseconds, so a few would do; the bound keeps the search below short.
const MAX_DATAGRAMS: usize = 256;

/// Bytes that wait at once, 64 of the largest datagrams.
const MAX_HELD: usize = 64 * MAX_DATAGRAM;

/// RFC 791: the length of a datagram is a 16-bit number.
const MAX_DATAGRAM: usize = 65_535;

/// How long fragments wait, in capture time: Linux's `ipfrag_time`, thirty seconds. Identification
/// numbers come round again, so old fragments must not meet new ones.
const MAX_AGE_NANOS: u64 = 30_000_000_000;

/// Buffers kept for later datagrams.
const MAX_SPARE: usize = 8;

/// A datagram that is whole.
#[derive(Default)]
pub(super) struct Joined {
    /// The IP header of the last fragment to arrive.
    pub(super) header: Vec<u8>,
    pub(super) protocol: u8,
    /// Length on the wire.
    pub(super) wire: usize,
    /// What was captured of it without a gap.
    pub(super) bytes: Vec<u8>,
}

/// What makes fragments belong together. The protocol is part of it in IPv4 only: in IPv6 just the
/// first fragment knows it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    id: u32,
    src: Address,
    dst: Address,
    tunnel: TunnelId,
    v4_protocol: Option<u8>,
}

/// A fragment that arrived: bytes `start..end` of the datagram, captured up to `held`.
struct Part {
    start: usize,
    end: usize,
    held: usize,
}

struct Datagram {
    key: Key,
    since: Timestamp,
    /// Of the first fragment by offset.
    protocol: u8,
    bytes: Vec<u8>,
    /// By start; they do not overlap.
    parts: Vec<Part>,
    /// Sum of the lengths of the parts.
    filled: usize,
    /// Known once the last fragment is here.
    end: Option<usize>,
}

/// What became of a fragment.
enum Added {
    Waiting,
    Complete,
    Contradiction,
}

impl Datagram {
    fn new(key: Key, since: Timestamp, bytes: Vec<u8>) -> Datagram {
        Datagram { key, since, protocol: 0, bytes, parts: Vec::new(), filled: 0, end: None }
    }

    /// Overlaps other than plain repetition make the datagram void, as in Linux (RFC 5722, 4 for
    /// IPv6): which bytes win differs by system, and no honest sender makes them.
    fn add(&mut self, part: Part, last: bool, captured: &[u8]) -> Added {
        if last && self.end.is_some_and(|end| end != part.end)
            || self.end.is_some_and(|end| part.end > end)
            || last && self.parts.last().is_some_and(|other| other.end > part.end)
        {
            return Added::Contradiction;
        }
        let at = self.parts.partition_point(|other| other.end <= part.start);
        if let Some(other) = self.parts.get(at)
            && other.start < part.end
        {
            let repeated = other.start <= part.start && part.end <= other.end;
            return if repeated { Added::Waiting } else { Added::Contradiction };
        }
        if self.bytes.len() < part.held {
            self.bytes.resize(part.held, 0);
        }
        self.bytes[part.start..part.held].copy_from_slice(captured);
        self.filled += part.end - part.start;
        if last {
            self.end = Some(part.end);
        }
        self.parts.insert(at, part);
        if self.end == Some(self.filled) { Added::Complete } else { Added::Waiting }
    }

    /// Captured bytes from the start up to the first cut.
    fn held(&self) -> usize {
        let cut = self.parts.iter().find(|part| part.held < part.end);
        cut.or(self.parts.last()).map_or(0, |part| part.held)
    }
}

/// Fragments that wait for others.
#[derive(Default)]
pub(super) struct Fragments {
    /// In order of arrival, so the oldest comes first.
    waiting: Vec<Datagram>,
    /// Sum of the buffers in `waiting`.
    held: usize,
    spare: Vec<Vec<u8>>,
    counters: DecoderCounters,
    /// Sender and receiver of the last fragment that may carry TCP.
    last_of_tcp: Option<[Address; 2]>,
}

impl Fragments {
    /// Sender and receiver of the fragment that came last, if it may carry TCP.
    pub(super) fn last_of_tcp(&self) -> Option<[Address; 2]> {
        self.last_of_tcp
    }

    pub(super) fn counters(&self) -> DecoderCounters {
        self.counters
    }

    /// Takes back a buffer that is not needed any more.
    pub(super) fn recycle(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() > 0 && self.spare.len() < MAX_SPARE {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    /// The datagram, when this fragment was the last one missing.
    pub(super) fn add(
        &mut self,
        now: Timestamp,
        tunnel: TunnelId,
        packet: &IpPacket<'_>,
        piece: Piece,
    ) -> Result<Option<Joined>, Skip> {
        let IpPacket { ip, protocol, payload, .. } = packet;
        let start = usize::from(piece.offset);
        let part = Part { start, end: start + payload.wire, held: start + payload.bytes.len() };
        let ragged = payload.wire == 0 || piece.more && payload.wire % 8 != 0;
        if ragged || part.end > MAX_DATAGRAM {
            return Err(Skip::Malformed);
        }

        self.expire(now);
        let key = Key {
            id: piece.id,
            src: ip.src(),
            dst: ip.dst(),
            tunnel,
            v4_protocol: ip.id().map(|_| *protocol),
        };
        let of_tcp = key.v4_protocol.is_none_or(|protocol| protocol == TCP);
        self.last_of_tcp = of_tcp.then_some([key.src, key.dst]);
        let at = self.waiting.iter().position(|datagram| datagram.key == key);
        let at = at.unwrap_or_else(|| {
            let bytes = self.spare.pop().unwrap_or_default();
            self.waiting.push(Datagram::new(key, now, bytes));
            self.waiting.len() - 1
        });
        let datagram = &mut self.waiting[at];
        if start == 0 {
            datagram.protocol = *protocol;
        }
        let before = datagram.bytes.len();
        let added = datagram.add(part, !piece.more, payload.bytes);
        self.held += datagram.bytes.len() - before;

        match added {
            Added::Waiting => {
                self.make_room();
                Ok(None)
            }
            Added::Complete => {
                let mut datagram = self.remove(at);
                self.counters.datagrams_joined += 1;
                datagram.bytes.truncate(datagram.held());
                Ok(Some(Joined {
                    header: ip.header().to_vec(),
                    protocol: datagram.protocol,
                    wire: datagram.filled,
                    bytes: datagram.bytes,
                }))
            }
            Added::Contradiction => {
                let datagram = self.remove(at);
                self.recycle(datagram.bytes);
                self.counters.datagrams_contradictory += 1;
                Ok(None)
            }
        }
    }

    /// Gives up what has waited too long, or is from another time altogether: captures may be read
    /// one after the other that lie years apart.
    fn expire(&mut self, now: Timestamp) {
        while let Some(at) = self
            .waiting
            .iter()
            .position(|datagram| now.0.abs_diff(datagram.since.0) > MAX_AGE_NANOS)
        {
            let datagram = self.remove(at);
            self.recycle(datagram.bytes);
            self.counters.datagrams_expired += 1;
        }
    }

    /// Gives up the oldest until the bounds hold.
    fn make_room(&mut self) {
        while self.waiting.len() > MAX_DATAGRAMS || self.held > MAX_HELD {
            let datagram = self.remove(0);
            self.recycle(datagram.bytes);
            self.counters.datagrams_evicted += 1;
        }
    }

    fn remove(&mut self, at: usize) -> Datagram {
        let datagram = self.waiting.remove(at);
        self.held -= datagram.bytes.len();
        datagram
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::*;
    use super::super::{Decoder, Packet};
    use super::*;
    use proptest::prelude::*;

    /// What each frame gives, in order.
    fn feed(decoder: &mut Decoder, packets: &[Vec<u8>]) -> Vec<Result<Seen, Skip>> {
        packets.iter().map(|bytes| see_frame(decoder, &frame(RAW, bytes))).collect()
    }

    fn fragment6(offset: u16, more: bool, next: u8, payload: &[u8]) -> Vec<u8> {
        let place = (offset | u16::from(more)).to_be_bytes();
        ip6(44, &[&[next, 0, place[0], place[1], 0, 0, 0, 9], payload].concat())
    }

    #[test]
    fn fragments_join_in_any_order() {
        let parts = fragments4(&tcp4(REQUEST), 24);
        assert_eq!(parts.len(), 3);
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut decoder = decoder();
            let seen = feed(&mut decoder, &order.map(|at| parts[at].clone()));
            assert_eq!(seen[0].as_ref().expect_err("waits"), &Skip::Fragment);
            assert_eq!(seen[1].as_ref().expect_err("waits"), &Skip::Fragment);
            seen[2].as_ref().expect("a segment").is_request("");
            assert_eq!(decoder.counters().datagrams_joined, 1);
        }
    }

    #[test]
    fn ipv6_fragments_join_and_the_first_one_names_the_protocol() {
        let tcp = &tcp6(REQUEST)[40..];
        let parts = [fragment6(24, false, 59, &tcp[24..]), fragment6(0, true, 6, &tcp[..24])];
        feed(&mut decoder(), &parts)[1].as_ref().expect("a segment").is_request("");
    }

    #[test]
    fn the_segment_has_the_mark_of_the_last_fragment() {
        let parts = fragments4(&tcp4(REQUEST), 40);
        let mut decoder = decoder();
        let _ = see_frame(&mut decoder, &frame(RAW, &parts[0]));
        let mut last = frame(RAW, &parts[1]);
        last.mark.at.0 = 55;
        let seen = see_frame(&mut decoder, &last).expect("a segment");
        assert_eq!(seen.segment.mark, last.mark);
    }

    #[test]
    fn a_repeated_fragment_changes_nothing() {
        let parts = fragments4(&tcp4(REQUEST), 24);
        let again = [&parts[0], &parts[0], &parts[1], &parts[0], &parts[1], &parts[2]];
        let seen = feed(&mut decoder(), &again.map(Clone::clone));
        seen[5].as_ref().expect("a segment").is_request("");
    }

    #[test]
    fn overlaps_and_contradictions_void_the_datagram() {
        let packet = tcp4(REQUEST);
        let parts = fragments4(&packet, 24);
        // The second one starts eight bytes early.
        let mut early = fragments4(&packet, 16)[1].clone();
        early.extend([0; 8]);
        early[3] += 8;
        let mut other_end = parts[2].clone();
        other_end.truncate(30);
        other_end[3] = 30;
        for bad in [early, other_end] {
            let mut decoder = decoder();
            let sent = [&parts[0], &parts[2], &bad, &parts[1]].map(Clone::clone);
            assert!(feed(&mut decoder, &sent).iter().all(Result::is_err));
            assert_eq!(decoder.counters().datagrams_contradictory, 1);
        }
    }

    #[test]
    fn impossible_fragments_are_malformed() {
        let parts = fragments4(&tcp4(REQUEST), 24);
        let mut ragged = parts[0].clone();
        ragged[3] -= 1;
        let mut beyond = parts[2].clone();
        beyond[6..8].copy_from_slice(&[0x1f, 0xff]);
        for bytes in [ragged, beyond, parts[0][..20].to_vec()] {
            let mut bytes = bytes;
            if bytes.len() == 20 {
                bytes[3] = 20;
            }
            assert_eq!(see(RAW, &bytes).expect_err("malformed"), Skip::Malformed);
        }
    }

    #[test]
    fn cut_fragments_join_up_to_the_first_cut() {
        let packet = tcp4(REQUEST);
        let parts = fragments4(&packet, 48);
        let mut decoder = decoder();
        let mut first = frame(RAW, &parts[0][..60]);
        first.wire_len = parts[0].len() as u32;
        assert!(see_frame(&mut decoder, &first).is_err());
        let seen = see_frame(&mut decoder, &frame(RAW, &parts[1])).expect("a segment");
        assert_eq!(seen.payload, REQUEST[..8]);
        assert_eq!(seen.segment.payload_len as usize, REQUEST.len());
    }

    #[test]
    fn a_tunnel_in_fragments_may_carry_fragments() {
        let inner = fragments4(&tcp4(REQUEST), 40);
        let mut sent = Vec::new();
        for (id, part) in inner.iter().enumerate() {
            let mut outer = ip4(4, part);
            outer[5] = id as u8;
            sent.extend(fragments4(&outer, 32));
        }
        let mut decoder = decoder();
        let seen = feed(&mut decoder, &sent);
        let (last, others) = seen.split_last().expect("frames");
        assert!(others.iter().all(|seen| matches!(seen, Err(Skip::Fragment))));
        last.as_ref().expect("a segment").is_request("ip-in-ip");
        assert_eq!(decoder.counters().datagrams_joined, 3);
    }

    #[test]
    fn fragments_of_different_tunnels_do_not_mix() {
        let parts = fragments4(&tcp4(REQUEST), 40);
        let sent = [parts[0].clone(), ip4(4, &parts[1])];
        assert!(feed(&mut decoder(), &sent).iter().all(Result::is_err));
    }

    #[test]
    fn old_fragments_do_not_meet_new_ones() {
        let parts = fragments4(&tcp4(REQUEST), 40);
        let mut decoder = decoder();
        let _ = see_frame(&mut decoder, &frame(RAW, &parts[0]));
        let mut late = frame(RAW, &parts[1]);
        late.mark.at.0 = MAX_AGE_NANOS as i64 + 1;
        assert_eq!(see_frame(&mut decoder, &late).expect_err("waits"), Skip::Fragment);
        assert_eq!(decoder.counters().datagrams_expired, 1);
    }

    #[test]
    fn waiting_datagrams_are_bounded_in_number_and_bytes() {
        let mut fragment = fragments4(&tcp4(REQUEST), 40)[0].clone();
        let mut decoder = decoder();
        for id in 0..MAX_DATAGRAMS as u16 + 5 {
            fragment[4..6].copy_from_slice(&id.to_be_bytes());
            let _ = see_frame(&mut decoder, &frame(RAW, &fragment));
        }
        assert_eq!(decoder.counters().datagrams_evicted, 5);

        let mut fragments = Fragments::default();
        // At the far end of the datagram, so that each takes a whole buffer.
        fragment[6..8].copy_from_slice(&[0x3f, 0xf0]);
        for id in 0..100 {
            let packet = IpPacket::v4(super::super::decoder::View {
                bytes: &fragment,
                wire: fragment.len(),
            });
            let packet = packet.expect("a fragment");
            let piece = Piece { id, ..packet.piece.expect("a fragment") };
            let added = fragments.add(Timestamp(0), TunnelId(0), &packet, piece);
            assert!(added.expect("a fragment").is_none());
            assert!(fragments.held <= MAX_HELD);
        }
        assert!(fragments.counters.datagrams_evicted > 30);
    }

    proptest! {
        #[test]
        fn any_fragments_at_all_are_survived(
            sent in prop::collection::vec((0u8..3, 0u8..6, 0u8..40, any::<bool>()), 0..40),
        ) {
            let mut decoder = decoder();
            for (id, offset, length, more) in sent {
                let mut bytes = ip4(6, &vec![0x55; usize::from(length)]);
                bytes[5] = id;
                (bytes[6], bytes[7]) = (u8::from(more) << 5, offset);
                let _ = see_frame(&mut decoder, &frame(RAW, &bytes));
                let held = decoder.fragments.waiting.iter().map(|datagram| datagram.bytes.len());
                prop_assert_eq!(held.sum::<usize>(), decoder.fragments.held);
            }
        }

        #[test]
        fn a_datagram_joins_whatever_the_order_and_size_of_its_fragments(
            eighths in 1usize..12,
            order in Just((0..64).collect::<Vec<usize>>()).prop_shuffle(),
            repeat in any::<bool>(),
        ) {
            let parts = fragments4(&tcp4(&REQUEST.repeat(9)), eighths * 8);
            let mut decoder = decoder();
            let mut segments = Vec::new();
            for part in order.iter().filter_map(|at| parts.get(*at)) {
                if repeat && decoder.counters().datagrams_joined == 0 && part != &parts[0] {
                    let _ = see_frame(&mut decoder, &frame(RAW, &parts[0]));
                }
                segments.extend(see_frame(&mut decoder, &frame(RAW, part)).ok());
            }
            let payloads = segments.iter().map(|seen| seen.payload.clone()).collect::<Vec<_>>();
            prop_assert_eq!(payloads, [REQUEST.repeat(9)]);
        }
    }

    #[test]
    fn an_icmp_error_in_fragments_is_read_too() {
        let message = [&[3, 1, 0, 0, 0, 0, 0, 0], &tcp4(REQUEST)[..40]].concat();
        let parts = fragments4(&ip4(1, &message), 24);
        let mut decoder = decoder();
        let _ = see_frame(&mut decoder, &frame(RAW, &parts[0]));
        let last = frame(RAW, &parts[1]);
        assert!(matches!(decoder.decode(&last), Packet::Icmp(error) if error.seq == 1_000));
    }
}
