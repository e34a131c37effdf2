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
        let quoted =
            if v6 { IpPacket::v6(quote)?.after_extensions()? } else { IpPacket::v4(quote)? };
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

#[cfg(test)]
mod tests {
    use super::super::samples::*;
    use super::*;

    fn error4(kind: u8, code: u8, mtu: u8, quote: &[u8]) -> Vec<u8> {
        ip4(1, &[&[kind, code, 0, 0, 0, 0, mtu, 0], quote].concat())
    }

    #[test]
    fn an_error_names_the_segment_that_it_quotes() {
        let segment = tcp4(REQUEST);
        let error = see_error(RAW, &error4(3, 4, 5, &segment[..28])).expect("an error");
        assert_eq!(error.src, Endpoint::v4(CLIENT, 40_000));
        assert_eq!(error.dst, Endpoint::v4(SERVER, 80));
        assert_eq!(
            (error.seq, error.mtu, error.flags, error.quoted_tcp),
            (1_000, Some(1280), None, 8)
        );
        assert_eq!((error.kind, error.code, error.v6), (3, 4, false));
        assert_eq!(error.reporter.to_string(), "10.0.0.3");
    }

    #[test]
    fn a_longer_quote_tells_the_flags_but_no_more_than_the_header_counts() {
        let segment = tcp4(REQUEST);
        let error = see_error(RAW, &error4(11, 0, 5, &segment)).expect("an error");
        assert_eq!((error.flags, error.quoted_tcp), (Some(Flags(Flags::ACK)), 32));
        assert_eq!(error.mtu, None);
        let error = see_error(RAW, &error4(3, 4, 0, &segment[..40])).expect("an error");
        assert_eq!((error.mtu, error.quoted_tcp), (None, 20));
    }

    #[test]
    fn padding_of_a_quote_is_not_part_of_it() {
        // RFC 4884, 4: zeros up to 128 bytes, an extension after them.
        let mut segment = tcp4(b"");
        segment[3] = 20 + 8;
        let quote = [&segment[..28], &[0; 120]].concat();
        assert_eq!(see_error(RAW, &error4(3, 1, 0, &quote)).expect("an error").quoted_tcp, 8);
    }

    #[test]
    fn an_icmpv6_error_names_the_segment_that_it_quotes() {
        let message = [&[2, 0, 0, 0, 0, 0, 5, 0][..], &tcp6(REQUEST)[..60]].concat();
        let error = see_error(RAW, &ip6(58, &message)).expect("an error");
        assert_eq!((error.src, error.seq), (Endpoint::v6(CLIENT6, 40_000), 1_000));
        assert_eq!((error.v6, error.mtu, error.quoted_tcp), (true, Some(1280), 20));
    }

    #[test]
    fn what_quotes_no_tcp_is_skipped() {
        let segment = tcp4(REQUEST);
        let mut fragment = segment.clone();
        fragment[7] = 9;
        let skipped = [
            error4(8, 0, 0, &segment),
            error4(3, 3, 0, &udp4(53, b"query")),
            error4(3, 3, 0, &segment[..27]),
            error4(3, 3, 0, &fragment),
        ];
        for bytes in skipped {
            assert_eq!(see_error(RAW, &bytes).expect_err("skipped"), Skip::IpProtocol(1));
        }
        assert_eq!(see_error(RAW, &error4(3, 3, 0, &[])).expect_err("empty"), Skip::Malformed);
        let echo = ip6(58, &[128, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(see_error(RAW, &echo).expect_err("echo"), Skip::IpProtocol(58));
    }

    #[test]
    fn a_quote_that_the_snap_length_cut_is_a_cut_header() {
        let bytes = error4(3, 1, 0, &tcp4(REQUEST)[..28]);
        for length in 20..bytes.len() {
            let mut cut = frame(RAW, &bytes[..length]);
            cut.wire_len = bytes.len() as u32;
            let mut decoder = decoder();
            let packet = decoder.decode(&cut);
            assert!(matches!(packet, Packet::Skip(Skip::CutHeader)), "{length}: {packet:?}");
        }
    }
}
