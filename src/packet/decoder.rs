//! One frame in, one packet out.
//!
//! Owns what outlives a frame: the names of tunnels and the fragments that wait. The layers are
//! methods of [`Walk`], one file per subject, each calling the next.

use super::fragments::{Fragments, Joined};
use super::ip::{self, Ip};
use super::tunnel::Tunnels;
use super::{Address, Packet, Skip, TunnelId, plain};
use crate::capture::{Direction, Frame};
use crate::time::Mark;
use std::mem;

/// Encapsulations within each other. Overlays seen in practice need two (a VXLAN fabric that is
/// mirrored through GRE or VXLAN), with one more for IP-in-IP behind a load balancer.
pub(super) const MAX_NESTING: u8 = 4;

/// What a user may change about decoding.
#[derive(Clone, Debug)]
pub struct DecoderOptions {
    /// UDP destination ports that carry VXLAN; 4789 (RFC 7348, 5) unless told. Old Linux hosts
    /// use 8472, some mirrors a port of their own.
    pub vxlan_ports: Vec<u16>,
}

impl Default for DecoderOptions {
    fn default() -> DecoderOptions {
        DecoderOptions { vxlan_ports: vec![4789] }
    }
}

/// How often a bound or an odd fragment cost us something; for the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecoderCounters {
    /// Datagrams put together from fragments.
    pub datagrams_joined: u64,
    /// Datagrams given up because their fragments did not come in time.
    pub datagrams_expired: u64,
    /// Datagrams given up because too many others were waiting.
    pub datagrams_evicted: u64,
    /// Datagrams given up because their fragments overlap or contradict each other.
    pub datagrams_contradictory: u64,
    /// Tunnel headers whose tunnel is not told apart any more because there are too many.
    pub tunnels_shared: u64,
}

/// Reads frames. Keeps the names of tunnels and the fragments that wait for others.
pub struct Decoder {
    options: DecoderOptions,
    tunnels: Tunnels,
    pub(super) fragments: Fragments,
    /// What the last frame completed, a place per layer of IP; a packet's payload is lent from here.
    joined: [Joined; MAX_NESTING as usize + 1],
}

impl Decoder {
    /// A decoder that has seen nothing yet.
    pub fn new(options: DecoderOptions) -> Decoder {
        Decoder {
            options,
            tunnels: Tunnels::default(),
            fragments: Fragments::default(),
            joined: Default::default(),
        }
    }

    /// What the frame carries. The payload is borrowed from the frame, or from the decoder when
    /// the frame is the last missing fragment of a datagram.
    #[inline]
    pub fn decode<'a>(&'a mut self, frame: &Frame<'a>) -> Packet<'a> {
        match plain::segment(frame) {
            Some(segment) => Packet::Tcp(segment),
            None => self.decode_layers(frame),
        }
    }

    /// The same of a frame that may be anything.
    #[inline(never)]
    pub(super) fn decode_layers<'a>(&'a mut self, frame: &Frame<'a>) -> Packet<'a> {
        let Decoder { options, tunnels, fragments, joined } = self;
        let mut walk = Walk {
            mark: frame.mark,
            direction: frame.direction,
            tunnel: TunnelId::default(),
            nesting: 0,
            vxlan_ports: &options.vxlan_ports,
            tunnels,
            fragments,
            joined: None,
        };
        let wire = frame.bytes.len().max(frame.wire_len as usize);
        let mut found = walk.link(frame.link, View { bytes: frame.bytes, wire });
        // One place per layer of IP, so every datagram completed by this frame finds one.
        for place in joined {
            let Some(whole) = walk.joined.take() else { break };
            walk.fragments.recycle(mem::replace(place, whole).bytes);
            let place: &'a Joined = place;
            found = Ip::from_header(&place.header).and_then(|ip| {
                walk.protocol(ip, place.protocol, View { bytes: &place.bytes, wire: place.wire })
            });
        }
        match found {
            Ok(Carried { ip, protocol: ip::TCP, view }) => walk.tcp(ip, view),
            Ok(Carried { ip, protocol, view }) => walk.icmp(ip, protocol, view),
            Err(skip) => Packet::Skip(skip),
        }
    }

    /// Sender and receiver of the fragment for which [`decode`](Decoder::decode) gave
    /// [`Skip::Fragment`] last, unless it carries something else than TCP.
    pub fn fragment_of_tcp(&self) -> Option<[Address; 2]> {
        self.fragments.last_of_tcp()
    }

    /// Path of encapsulations, outermost first, such as `gre / vxlan vni 7`; empty without one.
    pub fn tunnel_name(&self, tunnel: TunnelId) -> &str {
        self.tunnels.names().get(tunnel.0 as usize).map_or("", String::as_str)
    }

    /// Names of all tunnels met, by the number in their [`TunnelId`].
    pub fn tunnel_names(&self) -> &[String] {
        self.tunnels.names()
    }

    /// What was lost to bounds so far.
    pub fn counters(&self) -> DecoderCounters {
        let mut counters = self.fragments.counters();
        counters.tunnels_shared = self.tunnels.shared();
        counters
    }
}

/// What the walk ends at: TCP or ICMP in some IP packet.
///
/// A segment is large, so it is made once, where [`Decoder::decode`] returns it, and not handed up
/// through the layers.
#[derive(Clone, Copy)]
pub(super) struct Carried<'a> {
    pub(super) ip: Ip<'a>,
    pub(super) protocol: u8,
    pub(super) view: View<'a>,
}

/// TCP or ICMP, or why there is neither.
pub(super) type Found<'a> = Result<Carried<'a>, Skip>;

/// One pass down the layers of one frame.
pub(super) struct Walk<'d> {
    pub(super) mark: Mark,
    pub(super) direction: Direction,
    /// Encapsulation that the walk is in by now.
    pub(super) tunnel: TunnelId,
    /// How many encapsulations that is.
    pub(super) nesting: u8,
    pub(super) vxlan_ports: &'d [u16],
    pub(super) tunnels: &'d mut Tunnels,
    pub(super) fragments: &'d mut Fragments,
    /// Set together with `Err(Skip::Fragment)` when the fragment was the last one missing.
    pub(super) joined: Option<Joined>,
}

/// The rest of a packet from some header on: what was captured of it, and its length on the wire.
///
/// `wire` is the length that the innermost header read so far states, so it may be more than the
/// frame's: a mirror that truncates packets (ERSPAN, VPC traffic mirroring) leaves their IP
/// headers as they were.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) wire: usize,
}

impl<'a> View<'a> {
    /// Why there are fewer than `needed` bytes.
    pub(super) fn short(self, needed: usize) -> Skip {
        if needed <= self.wire { Skip::CutHeader } else { Skip::Malformed }
    }

    /// The first `N` bytes.
    #[inline]
    pub(super) fn head<const N: usize>(self) -> Result<&'a [u8; N], Skip> {
        self.bytes.first_chunk().ok_or_else(|| self.short(N))
    }

    /// Without its first `length` bytes.
    #[inline]
    pub(super) fn after(self, length: usize) -> Result<View<'a>, Skip> {
        match self.bytes.get(length..) {
            Some(bytes) => Ok(View { bytes, wire: self.wire - length }),
            None => Err(self.short(length)),
        }
    }

    /// As long as a header states; what follows is padding.
    #[inline]
    pub(super) fn stated(self, length: usize) -> View<'a> {
        View { bytes: &self.bytes[..self.bytes.len().min(length)], wire: length }
    }
}

/// Two bytes of a header, big-endian.
#[inline]
pub(super) fn be16<const N: usize>(header: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([header[at], header[at + 1]])
}

/// Four bytes of a header, big-endian.
#[inline]
pub(super) fn be32<const N: usize>(header: &[u8; N], at: usize) -> u32 {
    u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::super::samples::*;
    use super::*;
    use crate::capture::LinkType;
    use proptest::prelude::*;

    const LINKS: [u16; 16] =
        [0, 1, 9, 12, 14, 50, 51, 101, 104, 108, 113, 127, 228, 229, 276, 9999];

    /// One frame of every shape, all of them with the same request within.
    fn corpus() -> Vec<(u16, Vec<u8>)> {
        let (v4, v6) = (tcp4(REQUEST), tcp6(REQUEST));
        let inner = ether(0x0800, &v4);
        let vxlan = [&[8, 0, 0, 0, 0, 0, 42, 0], &inner[..]].concat();
        let geneve = [&[2, 0, 0x65, 0x58, 0, 0, 7, 0], &[1; 8][..], &inner].concat();
        let gre = [&[0x20, 0, 0x86, 0xdd, 0, 0, 0, 5], &v6[..]].concat();
        let mut endless = v4.clone();
        endless[2..4].fill(0);
        vec![
            (ETHERNET, ether(0x0800, &v4)),
            (ETHERNET, ether(0x86dd, &v6)),
            (ETHERNET, ether(0x0800, &[&v4[..], &[0xee; 9]].concat())),
            (ETHERNET, ether(0x0800, &endless)),
            (ETHERNET, ether(0x8100, &[&[0, 5, 8, 0], &v4[..]].concat())),
            (ETHERNET, ether(0x8847, &[&[0, 1, 1, 64], &v4[..]].concat())),
            (ETHERNET, ether(0x0800, &udp4(4789, &vxlan))),
            (ETHERNET, ether(0x0800, &udp4(6081, &geneve))),
            (ETHERNET, ether(0x0800, &ip4(47, &gre))),
            (ETHERNET, ether(0x0800, &ip4(4, &v4))),
            (ETHERNET, ether(0x86dd, &ip6(0, &[&[6, 0, 1, 4, 0, 0, 0, 0], &v6[40..]].concat()))),
            (113, [&[0; 14], &[8, 0][..], &v4].concat()),
            (276, [&[8, 0], &[0; 18][..], &v4].concat()),
            (0, [&[2, 0, 0, 0], &v4[..]].concat()),
            (RAW, v6),
        ]
    }

    #[test]
    fn every_shape_in_the_corpus_is_a_segment() {
        for (link, bytes) in corpus() {
            let seen = see(link, &bytes).expect("a segment");
            assert!(seen.payload.starts_with(REQUEST));
        }
    }

    #[test]
    fn a_snap_length_never_changes_what_is_still_seen() {
        for (link, bytes) in corpus() {
            let whole = see(link, &bytes).expect("a segment");
            let mut segments = 0;
            for length in 0..bytes.len() {
                let mut cut = frame(link, &bytes[..length]);
                cut.wire_len = bytes.len() as u32;
                match see_frame(&mut decoder(), &cut) {
                    Ok(seen) => {
                        segments += 1;
                        let key = |seen: &Seen| {
                            let s = seen.segment;
                            (s.src, s.dst, s.seq, s.ack, s.payload_len, seen.tunnel.clone())
                        };
                        assert_eq!(key(&seen), key(&whole));
                        assert!(whole.payload.starts_with(&seen.payload));
                    }
                    Err(skip) => assert_eq!(skip, Skip::CutHeader, "link {link}, {length} bytes"),
                }
            }
            // From the last byte of the fixed TCP header on.
            assert!(segments >= REQUEST.len(), "{segments}");
        }
    }

    #[test]
    fn a_cut_segment_tells_how_much_is_missing() {
        let bytes = ether(0x0800, &tcp4(REQUEST));
        let mut cut = frame(ETHERNET, &bytes[..bytes.len() - 10]);
        cut.wire_len = bytes.len() as u32;
        let mut decoder = decoder();
        let Packet::Tcp(segment) = decoder.decode(&cut) else { panic!("no segment") };
        assert_eq!((segment.cut(), segment.payload), (10, &REQUEST[..REQUEST.len() - 10]));
    }

    #[test]
    fn padding_is_not_payload() {
        let bytes = ether(0x0800, &[&tcp4(b"")[..], &[0; 6]].concat());
        let seen = see(ETHERNET, &bytes).expect("a segment");
        assert_eq!((seen.segment.payload_len, seen.payload.len()), (0, 0));
    }

    #[test]
    fn a_capture_that_understates_the_wire_length_is_read_by_its_headers() {
        let bytes = ether(0x0800, &tcp4(REQUEST));
        let mut odd = frame(ETHERNET, &bytes);
        odd.wire_len = 3;
        see_frame(&mut decoder(), &odd).expect("a segment").is_request("");
    }

    #[test]
    fn a_file_that_states_the_direction_is_believed_over_the_cooked_header() {
        let mut bytes = vec![0; 16];
        (bytes[1], bytes[14]) = (4, 8);
        bytes.extend(tcp4(REQUEST));
        let mut stated = frame(113, &bytes);
        let direction = |frame: &Frame<'_>| {
            see_frame(&mut decoder(), frame).expect("a segment").segment.direction
        };
        assert_eq!(direction(&stated), Direction::Outbound);
        stated.direction = Direction::Inbound;
        assert_eq!(direction(&stated), Direction::Inbound);
    }

    #[test]
    fn the_mark_of_the_frame_stays_with_the_segment() {
        let bytes = tcp4(REQUEST);
        let mut later = frame(RAW, &bytes);
        later.mark.at.0 = 99;
        let seen = see_frame(&mut decoder(), &later).expect("a segment");
        assert_eq!(seen.segment.mark, later.mark);
    }

    proptest! {
        #[test]
        fn no_bytes_on_any_link_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            more in 0u32..100,
        ) {
            let mut decoder = decoder();
            for link in LINKS {
                let mut frame = frame(link, &bytes);
                frame.wire_len += more;
                if let Packet::Tcp(segment) = decoder.decode(&frame) {
                    prop_assert!(segment.payload.len() <= segment.payload_len as usize);
                }
            }
        }

        #[test]
        fn no_damage_to_a_good_frame_panics(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            keep in any::<prop::sample::Index>(),
        ) {
            let mut decoder = decoder();
            for (link, mut bytes) in corpus() {
                for (at, value) in &damage {
                    let at = at.index(bytes.len());
                    bytes[at] = *value;
                }
                let kept = keep.index(bytes.len() + 1);
                let wire_len = bytes.len() as u32;
                let frame = Frame { wire_len, link: LinkType(link), ..frame(link, &bytes[..kept]) };
                if let Packet::Tcp(segment) = decoder.decode(&frame) {
                    prop_assert!(segment.payload.len() <= segment.payload_len as usize);
                }
            }
        }
    }
}
