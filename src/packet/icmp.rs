//! ICMP and ICMPv6 errors, and the TCP segment that they quote.
//!
//! The quoted packet never becomes a segment of its own: it went the other way, earlier.

use super::decoder::{View, Walk, be16, be32};
use super::ip::{ICMP, ICMPV6, Ip, IpPacket, TCP};
use super::{Endpoint, Flags, IcmpError, Packet, Skip};

/// RFC 792: an error quotes at least 64 bits of the datagram's data: ports and sequence number.
const MIN_QUOTE: usize = 8;

impl Walk<'_> {
    /// RFC 792, RFC 4443.
    #[inline(never)]
    pub(super) fn icmp<'a>(&self, ip: Ip<'_>, protocol: u8, view: View<'_>) -> Packet<'a> {
        match self.error(ip, protocol, view) {
            Ok(error) => Packet::Icmp(error),
            Err(skip) => Packet::Skip(skip),
        }
    }

    fn error(&self, ip: Ip<'_>, protocol: u8, view: View<'_>) -> Result<IcmpError, Skip> {
        let header = view.head::<8>()?;
        let (kind, code) = (header[0], header[1]);
        let v6 = protocol == ICMPV6;
        let error = match protocol {
            // Unreachable, source quench, redirect, time exceeded, parameter problem.
            ICMP => matches!(kind, 3 | 4 | 5 | 11 | 12),
            // Unreachable, packet too big, time exceeded, parameter problem.
            _ => matches!(kind, 1..=4),
        };
        if !error {
            return Err(Skip::IpProtocol(protocol));
        }
        let quote = view.after(8)?;
        let quoted = if v6 { IpPacket::v6(quote)? } else { IpPacket::v4(quote)? };
        if quoted.protocol != TCP || quoted.piece.is_some_and(|piece| piece.offset != 0) {
            return Err(Skip::IpProtocol(protocol));
        }
        let tcp = quoted.payload.bytes;
        let Some(start) = tcp.first_chunk::<MIN_QUOTE>() else {
            return Err(if view.bytes.len() < view.wire {
                Skip::CutHeader
            } else {
                Skip::IpProtocol(protocol)
            });
        };
        let mtu = match (v6, kind, code) {
            // RFC 1191, 4: zero from routers that do not know of it.
            (false, 3, 4) => Some(u32::from(be16(header, 6))).filter(|mtu| *mtu != 0),
            (true, 2, _) => Some(be32(header, 4)),
            _ => None,
        };
        let header_len = tcp.get(12).map_or(tcp.len(), |offset| usize::from(offset >> 4) * 4);
        Ok(IcmpError {
            mark: self.mark,
            reporter: Endpoint { ip: ip.src(), port: 0 }.addr(),
            tunnel: self.tunnel,
            v6,
            kind,
            code,
            mtu,
            src: Endpoint { ip: quoted.ip.src(), port: be16(start, 0) },
            dst: Endpoint { ip: quoted.ip.dst(), port: be16(start, 2) },
            seq: be32(start, 4),
            flags: tcp.get(13).map(|flags| Flags(*flags)),
            quoted_tcp: tcp.len().min(header_len.max(20)) as u16,
        })
    }
}
