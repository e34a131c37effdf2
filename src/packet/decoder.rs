//! One frame in, one packet out.
//!
//! Owns what outlives a frame: the names of tunnels and the fragments that wait. The layers are
//! methods of [`Walk`], one file per subject, each calling the next.

use super::fragments::{Fragments, Joined};
use super::ip::{self, Ip};
use super::tunnel::Tunnels;
use super::{Packet, Skip, TunnelId};
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
    fragments: Fragments,
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
