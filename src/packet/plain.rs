//! A short way for what nearly every frame is: Ethernet, IPv4 without options, TCP, all of it captured.
//!
//! It comes to the same as the way through the layers, which is left with whatever is not plain.

use super::decoder::{be16, be32};
use super::tcp::{FIXED, tcp_options};
use super::{Endpoint, Flags, Segment, TunnelId, checksum, ip, link};
use crate::capture::Frame;

/// Where the headers of IPv4 and TCP begin, and the length of all three.
const IP: usize = 14;
const TCP: usize = IP + 20;
const HEADERS: usize = TCP + FIXED;
/// Version 4, a header of five words.
const NO_OPTIONS: u8 = 0x45;
/// More fragments, and the offset of one.
const FRAGMENT: u16 = 0x3fff;

/// The headers of a plain frame.
#[inline]
fn headers<'a>(frame: &Frame<'a>) -> Option<&'a [u8; HEADERS]> {
    let head = frame.bytes.first_chunk::<HEADERS>()?;
    let plain = frame.link.0 == link::ETHERNET
        && be16(head, 12) == link::ETHER_IPV4
        && head[IP] == NO_OPTIONS
        && head[IP + 9] == ip::TCP
        && be16(head, IP + 6) & FRAGMENT == 0;
    plain.then_some(head)
}

/// Addresses of sender and receiver.
#[inline]
fn addresses(head: &[u8; HEADERS]) -> [[u8; 4]; 2] {
    let address = |at: usize| [head[at], head[at + 1], head[at + 2], head[at + 3]];
    [address(IP + 12), address(IP + 16)]
}

/// Sender and receiver.
#[inline]
fn ends(head: &[u8; HEADERS]) -> (Endpoint, Endpoint) {
    let [from, to] = addresses(head);
    (Endpoint::v4(from, be16(head, TCP)), Endpoint::v4(to, be16(head, TCP + 2)))
}

/// Sender and receiver of a SYN in a plain frame.
#[inline]
pub(crate) fn opening(frame: &Frame<'_>) -> Option<(Endpoint, Endpoint)> {
    let head = headers(frame)?;
    let flags = Flags(head[TCP + 13]);
    (flags.syn() && !flags.ack()).then(|| ends(head))
}

/// The segment in a plain frame.
#[inline]
pub(super) fn segment<'a>(frame: &Frame<'a>) -> Option<Segment<'a>> {
    let head = headers(frame)?;
    let packet = frame.bytes.get(IP..IP + usize::from(be16(head, IP + 2)))?;
    let segment = packet.get(TCP - IP..)?;
    let header_len = usize::from(head[TCP + 12] >> 4) * 4;
    if header_len < FIXED {
        return None;
    }
    let (header, payload) = segment.split_at_checked(header_len)?;
    let (src, dst) = ends(head);
    Some(Segment {
        mark: frame.mark,
        src,
        dst,
        tunnel: TunnelId::default(),
        seq: be32(head, TCP + 4),
        ack: be32(head, TCP + 8),
        flags: Flags(head[TCP + 13]),
        window: be16(head, TCP + 14),
        options: tcp_options(&header[FIXED..]),
        payload,
        payload_len: payload.len() as u32,
        ttl: head[IP + 8],
        ip_id: Some(be16(head, IP + 4)),
        direction: frame.direction,
        corrupt: checksum::is_wrong(&addresses(head), segment, segment.len()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples::*;
    use super::super::{Packet, decoder::Decoder};
    use super::*;
    use crate::capture::{Direction, LinkType};
    use proptest::prelude::*;

    /// What the short way and the way through the layers make of the same bytes.
    fn both(link: u16, bytes: &[u8], wire_len: u32) -> Option<[String; 2]> {
        let frame = Frame { wire_len, direction: Direction::Inbound, ..frame(link, bytes) };
        let short = segment(&frame)?;
        let mut decoder: Decoder = decoder();
        let long = match decoder.decode_layers(&frame) {
            Packet::Tcp(segment) => format!("{segment:?}"),
            other => format!("{other:?}"),
        };
        Some([format!("{short:?}"), long])
    }

    #[test]
    fn a_plain_frame_goes_the_short_way() {
        for payload in [b"".as_slice(), REQUEST] {
            let bytes = ether(0x0800, &tcp4(payload));
            let [short, long] = both(ETHERNET, &bytes, bytes.len() as u32).expect("plain");
            assert_eq!(short, long);
        }
        let others = [
            (101, tcp4(REQUEST)),
            (ETHERNET, ether(0x86dd, &tcp6(REQUEST))),
            (ETHERNET, ether(0x8100, &[&[0, 5, 8, 0], &tcp4(REQUEST)[..]].concat())),
            (ETHERNET, ether(0x0800, &tcp4(REQUEST)[..60])),
        ];
        for (link, bytes) in others {
            assert!(segment(&Frame { link: LinkType(link), ..frame(link, &bytes) }).is_none());
        }
    }

    proptest! {
        #[test]
        fn the_short_way_comes_to_the_same(
            payload in prop::collection::vec(any::<u8>(), 0..700),
            damage in prop::collection::vec((0usize..70, any::<u8>()), 0..6),
            keep in any::<prop::sample::Index>(),
            padding in 0usize..8,
            more in 0u32..3,
        ) {
            let mut bytes = ether(0x0800, &tcp4(&payload));
            bytes.extend(vec![0; padding]);
            let length = bytes.len();
            for (at, value) in damage {
                bytes[at % length] = value;
            }
            let wire_len = length as u32 + more;
            for kept in [length, keep.index(length + 1)] {
                if let Some([short, long]) = both(ETHERNET, &bytes[..kept], wire_len) {
                    prop_assert_eq!(short, long);
                }
                let frame = Frame { wire_len, ..frame(ETHERNET, &bytes[..kept]) };
                if let Some(segment) = segment(&frame) {
                    let ends = segment.opens().then_some((segment.src, segment.dst));
                    prop_assert_eq!(opening(&frame), ends);
                }
            }
        }
    }
}
