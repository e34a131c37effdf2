//! From a frame to a TCP segment, an ICMP error about one, or a named reason to skip it.
//!
//! Owns link types, headers, tunnels, IP fragments and what the snap length cut. Knows nothing of
//! connections, and of time only what a [`Mark`] says. Never fails: what it cannot read is a
//! [`Skip`].
//!
//! ```text
//! decoder  one frame in, one packet out; reassembled datagrams come round again
//!   plain    the short way for what nearly every frame is
//!   link     Ethernet, VLAN, Linux cooked, loopback, PPP, MPLS ... down to IP
//!     ip       IPv4, IPv6, extension headers         fragments  reassembly
//!       tcp      the segment
//!       icmp     the error and the segment it quotes
//!       tunnel   VXLAN, GENEVE, GRE, ERSPAN ... back up to link or ip
//! ```

mod checksum;
mod decoder;
mod fragments;
mod icmp;
mod ip;
mod link;
mod plain;
#[cfg(test)]
mod samples;
mod tcp;
mod tunnel;

pub use decoder::{Decoder, DecoderCounters, DecoderOptions};
pub(crate) use plain::opening;

use crate::capture::Direction;
use crate::time::Mark;
use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// An IPv6 address, or an IPv4-mapped one (RFC 4291, 2.5.5.2), in network byte order.
pub type Address = [u8; 16];

/// `octets` as an IPv4-mapped address.
#[inline]
const fn mapped([a, b, c, d]: [u8; 4]) -> Address {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// An address and a port; IPv4 is held as an IPv4-mapped IPv6 address so that both are one type.
#[derive(Clone, Copy, Debug, Default, Eq)]
pub struct Endpoint {
    /// IPv6 address, or IPv4-mapped (`::ffff:a.b.c.d`).
    pub ip: Address,
    /// TCP port.
    pub port: u16,
}

impl PartialEq for Endpoint {
    /// The port first: connections of the same hosts differ in it.
    #[inline]
    fn eq(&self, other: &Endpoint) -> bool {
        self.port == other.port && self.ip == other.ip
    }
}

impl Ord for Endpoint {
    /// By address, then by port. As numbers, which compare faster than bytes.
    #[inline]
    fn cmp(&self, other: &Endpoint) -> std::cmp::Ordering {
        let number = |of: &Endpoint| (u128::from_be_bytes(of.ip), of.port);
        number(self).cmp(&number(other))
    }
}

impl PartialOrd for Endpoint {
    #[inline]
    fn partial_cmp(&self, other: &Endpoint) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl std::hash::Hash for Endpoint {
    /// As two words, which hashers take faster than bytes.
    #[inline]
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let ip = u128::from_ne_bytes(self.ip);
        state.write_u64(ip as u64);
        state.write_u64((ip >> 64) as u64);
        state.write_u16(self.port);
    }
}

impl Endpoint {
    /// From IPv4 octets.
    pub const fn v4(octets: [u8; 4], port: u16) -> Endpoint {
        Endpoint { ip: mapped(octets), port }
    }

    /// From IPv6 octets.
    pub fn v6(octets: [u8; 16], port: u16) -> Endpoint {
        Endpoint { ip: octets, port }
    }

    /// The address, IPv4 where it is one.
    pub fn addr(self) -> IpAddr {
        Ipv6Addr::from(self.ip).to_canonical()
    }

    /// Address and port.
    pub fn socket(self) -> SocketAddr {
        SocketAddr::new(self.addr(), self.port)
    }
}

/// TCP control bits (RFC 9293, 3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

#[allow(missing_docs)]
impl Flags {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;

    pub fn fin(self) -> bool {
        self.0 & Self::FIN != 0
    }
    pub fn syn(self) -> bool {
        self.0 & Self::SYN != 0
    }
    pub fn rst(self) -> bool {
        self.0 & Self::RST != 0
    }
    pub fn ack(self) -> bool {
        self.0 & Self::ACK != 0
    }
}

/// TCP options that verdicts rest on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpOptions {
    /// Maximum segment size (RFC 9293, 3.7.1), bytes.
    pub mss: Option<u16>,
    /// Window scale shift (RFC 7323, 2).
    pub window_scale: Option<u8>,
    /// Timestamp value and echo reply (RFC 7323, 3).
    pub timestamp: Option<(u32, u32)>,
}

/// Identity of the encapsulation that a segment came in: 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TunnelId(pub u32);

/// One TCP segment, its payload borrowed from the frame.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// File, number and time of its frame.
    pub mark: Mark,
    /// Sender.
    pub src: Endpoint,
    /// Receiver.
    pub dst: Endpoint,
    /// Encapsulation.
    pub tunnel: TunnelId,
    /// Sequence number of the first payload byte (of SYN, when set).
    pub seq: u32,
    /// Acknowledgment number; meaningful only with the ACK flag.
    pub ack: u32,
    /// Control bits.
    pub flags: Flags,
    /// Window field, unscaled.
    pub window: u16,
    /// Options.
    pub options: TcpOptions,
    /// Payload bytes captured.
    pub payload: &'a [u8],
    /// Payload length on the wire; more than `payload.len()` when the snap length cut it.
    pub payload_len: u32,
    /// IPv4 time to live or IPv6 hop limit.
    pub ttl: u8,
    /// IPv4 identification; `None` for IPv6.
    pub ip_id: Option<u16>,
    /// As the capture states it.
    pub direction: Direction,
    /// Its checksum is wrong, and not merely unfinished: damaged on the way or in the file.
    pub corrupt: bool,
}

impl Segment<'_> {
    /// Whether it is a SYN, and no answer to one.
    pub fn opens(&self) -> bool {
        self.flags.syn() && !self.flags.ack()
    }

    /// Payload bytes that the snap length cut off.
    pub fn cut(&self) -> u32 {
        self.payload_len - self.payload.len() as u32
    }
}

/// An ICMP or ICMPv6 error and the TCP segment that it quotes (RFC 792, RFC 4443).
#[derive(Clone, Copy, Debug)]
pub struct IcmpError {
    /// File, number and time of its frame.
    pub mark: Mark,
    /// Who sent the error.
    pub reporter: IpAddr,
    /// Encapsulation of the ICMP packet.
    pub tunnel: TunnelId,
    /// True for ICMPv6.
    pub v6: bool,
    /// ICMP type.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// Next-hop MTU, when the error carries one (fragmentation needed, packet too big).
    pub mtu: Option<u32>,
    /// Sender of the quoted segment.
    pub src: Endpoint,
    /// Receiver of the quoted segment.
    pub dst: Endpoint,
    /// Sequence number of the quoted segment.
    pub seq: u32,
    /// Flags of the quoted segment, when the quote reaches that far.
    pub flags: Option<Flags>,
    /// Bytes of the TCP header that are quoted. Wireshark numbers a stream from a quote only when
    /// it can read the whole fixed header.
    pub quoted_tcp: u16,
}

/// Why a frame carries nothing for us; counted by name in the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Skip {
    /// Link type that we do not read.
    LinkType(u16),
    /// ARP.
    Arp,
    /// Some other EtherType.
    EtherType(u16),
    /// IEEE 802.2 without SNAP; the destination service access point (0x42 is spanning tree).
    Llc(u8),
    /// Not IP; the PPP protocol number.
    PppProtocol(u16),
    /// Not IP; the address family in the header of a BSD loopback capture.
    AddressFamily(u32),
    /// Not TCP; the IP protocol number.
    IpProtocol(u8),
    /// A QUIC long header to or from UDP port 443: HTTP/3 is about, and we cannot see into it.
    Quic,
    /// A DTLS record: TLS over UDP (RFC 6347), which we do not read.
    Dtls,
    /// VXLAN on the port that Linux takes where none is set (Flannel, Cilium), which is not read without being
    /// told: the registered one is another.
    LinuxVxlan,
    /// A fragment that waits for the others, or never completed.
    Fragment,
    /// The snap length cut a header.
    CutHeader,
    /// A header that contradicts itself.
    Malformed,
    /// More encapsulation than the bound.
    TooDeep,
}

impl Skip {
    /// Stable name for reports. ICMP that is no error about TCP is `icmp` or `icmpv6`.
    pub fn name(self) -> Cow<'static, str> {
        match self {
            Skip::LinkType(number) => format!("link-type-{number}").into(),
            Skip::Arp => "arp".into(),
            Skip::EtherType(number) => format!("ethertype-{number:#06x}").into(),
            Skip::Llc(service) => format!("llc-{service:#04x}").into(),
            Skip::PppProtocol(number) => format!("ppp-protocol-{number:#06x}").into(),
            Skip::AddressFamily(number) => format!("address-family-{number}").into(),
            Skip::IpProtocol(1) => "icmp".into(),
            Skip::IpProtocol(17) => "udp".into(),
            Skip::IpProtocol(58) => "icmpv6".into(),
            Skip::IpProtocol(number) => format!("ip-protocol-{number}").into(),
            Skip::Quic => "quic".into(),
            Skip::Dtls => "dtls".into(),
            Skip::LinuxVxlan => "vxlan-8472".into(),
            Skip::Fragment => "fragment".into(),
            Skip::CutHeader => "cut-header".into(),
            Skip::Malformed => "malformed".into(),
            Skip::TooDeep => "too-deep".into(),
        }
    }
}

/// What a frame carries.
#[derive(Clone, Copy, Debug)]
pub enum Packet<'a> {
    /// A TCP segment.
    Tcp(Segment<'a>),
    /// An ICMP error about a TCP segment.
    Icmp(IcmpError),
    /// Nothing for us.
    Skip(Skip),
}

impl<'a> Packet<'a> {
    /// Payload of a segment; empty for anything else.
    pub fn payload(&self) -> &'a [u8] {
        match self {
            Packet::Tcp(segment) => segment.payload,
            Packet::Icmp(_) | Packet::Skip(_) => &[],
        }
    }

    /// The same without its payload, which may be kept elsewhere.
    pub fn without_payload(&self) -> Packet<'static> {
        self.with_payload(&[])
    }

    /// The same with its payload at another place.
    #[inline]
    pub fn with_payload<'b>(&self, payload: &'b [u8]) -> Packet<'b> {
        match *self {
            Packet::Tcp(Segment {
                mark,
                src,
                dst,
                tunnel,
                seq,
                ack,
                flags,
                window,
                options,
                payload: _,
                payload_len,
                ttl,
                ip_id,
                direction,
                corrupt,
            }) => Packet::Tcp(Segment {
                mark,
                src,
                dst,
                tunnel,
                seq,
                ack,
                flags,
                window,
                options,
                payload,
                payload_len,
                ttl,
                ip_id,
                direction,
                corrupt,
            }),
            Packet::Icmp(error) => Packet::Icmp(error),
            Packet::Skip(skip) => Packet::Skip(skip),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_to_skip_have_stable_names() {
        let names = [
            (Skip::LinkType(127), "link-type-127"),
            (Skip::Arp, "arp"),
            (Skip::EtherType(0x88cc), "ethertype-0x88cc"),
            (Skip::EtherType(0), "ethertype-0x0000"),
            (Skip::Llc(0x42), "llc-0x42"),
            (Skip::PppProtocol(0xc021), "ppp-protocol-0xc021"),
            (Skip::AddressFamily(7), "address-family-7"),
            (Skip::IpProtocol(1), "icmp"),
            (Skip::IpProtocol(17), "udp"),
            (Skip::IpProtocol(47), "ip-protocol-47"),
            (Skip::IpProtocol(58), "icmpv6"),
            (Skip::Quic, "quic"),
            (Skip::Dtls, "dtls"),
            (Skip::LinuxVxlan, "vxlan-8472"),
            (Skip::Fragment, "fragment"),
            (Skip::CutHeader, "cut-header"),
            (Skip::Malformed, "malformed"),
            (Skip::TooDeep, "too-deep"),
        ];
        for (skip, name) in names {
            assert_eq!(skip.name(), name);
        }
    }

    #[test]
    fn an_ipv4_endpoint_shows_as_ipv4() {
        let endpoint = Endpoint::v4([192, 0, 2, 1], 80);
        assert_eq!(endpoint.socket().to_string(), "192.0.2.1:80");
    }
}
