//! IPv4 and IPv6 headers, and who comes after them.

use super::decoder::{Carried, Found, View, Walk, be16, be32};
use super::tunnel::Kind;
use super::{Address, Skip, mapped};
use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice, err};

pub(super) const TCP: u8 = 6;
pub(super) const ICMP: u8 = 1;
pub(super) const ICMPV6: u8 = 58;
pub(super) const UDP: u8 = 17;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;

/// Extension headers in a row; RFC 8200, 4.1 allows seven.
const MAX_EXTENSIONS: usize = 8;

/// An IP header.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ip<'a> {
    V4(Ipv4HeaderSlice<'a>),
    V6(Ipv6HeaderSlice<'a>),
}

impl<'a> Ip<'a> {
    /// From its bytes, as [`Ip::header`] gave them.
    pub(super) fn from_header(header: &'a [u8]) -> Result<Ip<'a>, Skip> {
        let v4 = Ipv4HeaderSlice::from_slice(header).map(Ip::V4);
        v4.or_else(|_| Ipv6HeaderSlice::from_slice(header).map(Ip::V6)).or(Err(Skip::Malformed))
    }

    pub(super) fn header(self) -> &'a [u8] {
        match self {
            Ip::V4(header) => header.slice(),
            Ip::V6(header) => header.slice(),
        }
    }

    /// IPv6, or IPv4-mapped, as in [`super::Endpoint`].
    #[inline]
    pub(super) fn src(self) -> Address {
        match self {
            Ip::V4(header) => mapped(header.source()),
            Ip::V6(header) => header.source(),
        }
    }

    #[inline]
    pub(super) fn dst(self) -> Address {
        match self {
            Ip::V4(header) => mapped(header.destination()),
            Ip::V6(header) => header.destination(),
        }
    }

    /// Time to live, hop limit.
    #[inline]
    pub(super) fn ttl(self) -> u8 {
        match self {
            Ip::V4(header) => header.ttl(),
            Ip::V6(header) => header.hop_limit(),
        }
    }

    /// IPv4 identification.
    #[inline]
    pub(super) fn id(self) -> Option<u16> {
        match self {
            Ip::V4(header) => Some(header.identification()),
            Ip::V6(_) => None,
        }
    }
}

/// The place of a fragment in its datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) id: u32,
    /// In bytes.
    pub(super) offset: u16,
    pub(super) more: bool,
}

/// One IP packet.
pub(super) struct IpPacket<'a> {
    pub(super) ip: Ip<'a>,
    pub(super) protocol: u8,
    pub(super) piece: Option<Piece>,
    pub(super) payload: View<'a>,
}

impl<'a> IpPacket<'a> {
    /// RFC 791, 3.1.
    #[inline]
    pub(super) fn v4(view: View<'a>) -> Result<IpPacket<'a>, Skip> {
        let header = Ipv4HeaderSlice::from_slice(view.bytes).map_err(|error| match error {
            err::ipv4::HeaderSliceError::Len(error) => view.short(error.required_len),
            err::ipv4::HeaderSliceError::Content(_) => Skip::Malformed,
        })?;
        let header_len = header.slice().len();
        let packet = match usize::from(header.total_len()) {
            // A segment that the network card or GRO made too long for the field.
            0 => view,
            stated if stated < header_len => return Err(Skip::Malformed),
            stated => view.stated(stated),
        };
        let more = header.more_fragments();
        let offset = header.fragments_offset().byte_offset();
        Ok(IpPacket {
            ip: Ip::V4(header),
            protocol: header.protocol().0,
            piece: (more || offset != 0).then(|| Piece {
                id: u32::from(header.identification()),
                offset,
                more,
            }),
            payload: packet.after(header_len)?,
        })
    }

    /// RFC 8200, 3; the fixed header only.
    #[inline]
    pub(super) fn v6(view: View<'a>) -> Result<IpPacket<'a>, Skip> {
        let header = Ipv6HeaderSlice::from_slice(view.bytes).map_err(|error| match error {
            err::ipv6::HeaderSliceError::Len(error) => view.short(error.required_len),
            err::ipv6::HeaderSliceError::Content(_) => Skip::Malformed,
        })?;
        let rest = view.after(header.slice().len())?;
        let payload = match usize::from(header.payload_length()) {
            // A jumbogram (RFC 2675, 3; Linux "BIG TCP"): to the end of the frame.
            0 => rest,
            stated => rest.stated(stated),
        };
        Ok(IpPacket { ip: Ip::V6(header), protocol: header.next_header().0, piece: None, payload })
    }

    /// RFC 8200, 4. Not by `etherparse::Ipv6ExtensionsSlice`, which reads on beyond the fragment
    /// header of a later fragment, where there are no headers, and refuses a misplaced hop-by-hop
    /// header.
    pub(super) fn after_extensions(mut self) -> Result<IpPacket<'a>, Skip> {
        for _ in 0..MAX_EXTENSIONS {
            let length = match self.protocol {
                // Hop-by-hop, routing, destination options, mobility, host identity, shim6.
                0 | 43 | 60 | 135 | 139 | 140 => {
                    (usize::from(self.payload.head::<2>()?[1]) + 1) * 8
                }
                // RFC 4302, 2.2.
                AUTHENTICATION => (usize::from(self.payload.head::<2>()?[1]) + 2) * 4,
                FRAGMENT => 8,
                _ => return Ok(self),
            };
            let header = self.payload.head::<8>()?;
            let fragment = self.protocol == FRAGMENT;
            self.protocol = header[0];
            self.payload = self.payload.after(length)?;
            if fragment {
                let (offset, more) = (be16(header, 2) & !7, header[3] & 1 == 1);
                // Neither: a datagram in a single fragment (RFC 6946), read as if whole.
                if more || offset != 0 {
                    self.piece = Some(Piece { id: be32(header, 4), offset, more });
                    return Ok(self);
                }
            }
        }
        Err(Skip::TooDeep)
    }
}

impl Walk<'_> {
    /// By the version in the header itself.
    pub(super) fn ip<'a>(&mut self, view: View<'a>) -> Found<'a> {
        match view.head::<1>()?[0] >> 4 {
            4 => self.ipv4(view),
            6 => self.ipv6(view),
            _ => Err(Skip::Malformed),
        }
    }

    /// IPv4.
    #[inline]
    pub(super) fn ipv4<'a>(&mut self, view: View<'a>) -> Found<'a> {
        // Taken apart, so that the packet need not be in memory unless it is an unusual one.
        let IpPacket { ip, protocol, piece, payload } = IpPacket::v4(view)?;
        if protocol == TCP && piece.is_none() {
            return Ok(Carried { ip, protocol, view: payload });
        }
        self.not_plain_tcp(&IpPacket { ip, protocol, piece, payload })
    }

    /// IPv6.
    #[inline]
    pub(super) fn ipv6<'a>(&mut self, view: View<'a>) -> Found<'a> {
        let IpPacket { ip, protocol, piece, payload } = IpPacket::v6(view)?;
        if protocol == TCP {
            return Ok(Carried { ip, protocol, view: payload });
        }
        self.other_ipv6(IpPacket { ip, protocol, piece, payload })
    }

    #[inline(never)]
    fn other_ipv6<'a>(&mut self, packet: IpPacket<'a>) -> Found<'a> {
        self.not_plain_tcp(&packet.after_extensions()?)
    }

    #[inline(never)]
    fn not_plain_tcp<'a>(&mut self, packet: &IpPacket<'a>) -> Found<'a> {
        let Some(piece) = packet.piece else {
            return self.protocol(packet.ip, packet.protocol, packet.payload);
        };
        self.joined = self.fragments.add(self.mark.at, self.tunnel, packet, piece)?;
        Err(Skip::Fragment)
    }

    /// By IP protocol number (<https://www.iana.org/assignments/protocol-numbers>).
    pub(super) fn protocol<'a>(&mut self, ip: Ip<'a>, protocol: u8, view: View<'a>) -> Found<'a> {
        match protocol {
            TCP | ICMP | ICMPV6 => Ok(Carried { ip, protocol, view }),
            UDP => self.udp(view),
            4 => {
                self.enter(Kind::IpInIp, 0)?;
                self.ipv4(view)
            }
            41 => {
                self.enter(
                    if matches!(ip, Ip::V4(_)) { Kind::SixInFour } else { Kind::SixInSix },
                    0,
                )?;
                self.ipv6(view)
            }
            47 => self.gre(view),
            AUTHENTICATION => {
                self.nest()?;
                let [next, length] = *view.head::<2>()?;
                self.protocol(ip, next, view.after((usize::from(length) + 2) * 4)?)
            }
            other => Err(Skip::IpProtocol(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::*;
    use super::*;

    #[test]
    fn ipv4_options_are_stepped_over() {
        let mut bytes = tcp4(REQUEST);
        bytes[0] = 0x46;
        bytes[3] += 4;
        bytes.splice(20..20, [1, 1, 1, 0]);
        see(RAW, &bytes).expect("a segment").is_request("");
    }

    #[test]
    fn a_total_length_of_zero_means_to_the_end_of_the_frame() {
        let payload = vec![b'x'; 65_000];
        let mut v4 = tcp4(&payload);
        v4[2..4].fill(0);
        let mut v6 = tcp6(&payload);
        v6[4..6].fill(0);
        for bytes in [v4, v6] {
            let mut cut = frame(RAW, &bytes[..100]);
            cut.wire_len = bytes.len() as u32;
            let seen = see_frame(&mut decoder(), &cut).expect("a segment");
            assert_eq!(seen.segment.payload_len, 65_000);
        }
    }

    #[test]
    fn a_length_beyond_the_frame_is_believed() {
        // What a mirror that truncates leaves behind.
        let bytes = tcp4(REQUEST);
        let seen = see(RAW, &bytes[..60]).expect("a segment");
        assert_eq!((seen.payload.len(), seen.segment.payload_len as usize), (8, REQUEST.len()));
    }

    #[test]
    fn a_length_shorter_than_the_header_is_malformed() {
        let mut bytes = tcp4(REQUEST);
        bytes[3] = 19;
        assert_eq!(see(RAW, &bytes).expect_err("malformed"), Skip::Malformed);
        bytes[0] = 0x44;
        assert_eq!(see(RAW, &bytes).expect_err("malformed"), Skip::Malformed);
        assert_eq!(see(229, &tcp4(REQUEST)).expect_err("not IPv6"), Skip::Malformed);
    }

    #[test]
    fn extension_headers_are_stepped_over() {
        let tcp = &tcp6(REQUEST)[40..];
        let hop = [60, 0, 1, 4, 0, 0, 0, 0];
        let destination = [43, 0, 1, 4, 0, 0, 0, 0];
        let routing = [44, 2, 4, 0].into_iter().chain([0; 20]).collect::<Vec<u8>>();
        let atomic = [51, 0, 0, 0, 0, 0, 0, 1];
        let authentication = [6, 4, 0, 0, 0, 0, 0, 0].into_iter().chain([0; 16]);
        let authentication = authentication.collect::<Vec<u8>>();
        let chain = [&hop[..], &destination, &routing, &atomic, &authentication, tcp].concat();
        see(RAW, &ip6(0, &chain)).expect("a segment").is_request("");
        let endless = [60, 0, 1, 4, 0, 0, 0, 0].repeat(30);
        assert_eq!(see(RAW, &ip6(60, &endless)).expect_err("endless"), Skip::TooDeep);
    }

    #[test]
    fn authentication_headers_are_stepped_over_in_ipv4() {
        let header = [6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let bytes = ip4(51, &[&header[..], &tcp4(REQUEST)[20..]].concat());
        assert_eq!(see(RAW, &bytes).expect("a segment").payload, REQUEST);
    }

    #[test]
    fn other_protocols_are_named() {
        assert_eq!(see(RAW, &ip4(132, &[0; 8])).expect_err("SCTP"), Skip::IpProtocol(132));
        assert_eq!(see(RAW, &ip6(59, &[])).expect_err("nothing"), Skip::IpProtocol(59));
        assert_eq!(see(RAW, &udp4(53, b"query")).expect_err("UDP"), Skip::IpProtocol(UDP));
    }
}
