//! Frames for the tests of this module.

use super::{Decoder, DecoderOptions, Endpoint, IcmpError, Packet, Segment, Skip};
use crate::capture::{Direction, Frame, LinkType};
use crate::time::{FrameId, Mark, Timestamp};
use etherparse::PacketBuilder;

pub(super) const ETHERNET: u16 = 1;
pub(super) const RAW: u16 = 101;
pub(super) const CLIENT: [u8; 4] = [192, 0, 2, 1];
pub(super) const SERVER: [u8; 4] = [198, 51, 100, 2];
pub(super) const CLIENT6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub(super) const SERVER6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
pub(super) const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n";

/// An IPv4 packet with a segment that has options.
pub(super) fn tcp4(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ipv4(CLIENT, SERVER, 63)
        .tcp(40_000, 80, 1_000, 500)
        .ack(77)
        .options_raw(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2])
        .expect("twelve bytes of options are allowed")
        .write(&mut bytes, payload)
        .expect("the payload fits");
    bytes
}

/// The same over IPv6.
pub(super) fn tcp6(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ipv6(CLIENT6, SERVER6, 63)
        .tcp(40_000, 80, 1_000, 500)
        .ack(77)
        .write(&mut bytes, payload)
        .expect("the payload fits");
    bytes
}

/// A UDP datagram between two other hosts, as of a tunnel.
pub(super) fn udp4(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9)
        .udp(55_555, port)
        .write(&mut bytes, payload)
        .expect("the payload fits");
    bytes
}

/// An IPv4 packet of any protocol.
pub(super) fn ip4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len()) as u16;
    let mut bytes = vec![0x45, 0, 0, 0, 0, 7, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 3, 10, 0, 0, 4];
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    [&bytes, payload].concat()
}

/// An IPv6 packet of any next header.
pub(super) fn ip6(next: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u16).to_be_bytes();
    let fixed = [0x60, 0, 0, 0, length[0], length[1], next, 64];
    [&fixed, &CLIENT6[..], &SERVER6, payload].concat()
}

/// An Ethernet frame.
pub(super) fn ether(kind: u16, payload: &[u8]) -> Vec<u8> {
    [&[2; 12], &kind.to_be_bytes()[..], payload].concat()
}

/// The IPv4 packet in fragments of at most `size` bytes, a multiple of eight.
pub(super) fn fragments4(packet: &[u8], size: usize) -> Vec<Vec<u8>> {
    let (header, payload) = packet.split_at(20);
    let count = payload.len().div_ceil(size);
    let fragment = |(index, part): (usize, &[u8])| {
        let mut bytes = [header, part].concat();
        let length = bytes.len() as u16;
        let more = if index + 1 < count { 0x2000 } else { 0 };
        let place = (index * size / 8) as u16 | more;
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        bytes[6..8].copy_from_slice(&place.to_be_bytes());
        bytes
    };
    payload.chunks(size).enumerate().map(fragment).collect()
}

pub(super) fn frame(link: u16, bytes: &[u8]) -> Frame<'_> {
    Frame {
        mark: Mark { frame: FrameId::new(0, 1), at: Timestamp(0) },
        link: LinkType(link),
        bytes,
        wire_len: bytes.len() as u32,
        direction: Direction::Unknown,
    }
}

pub(super) fn decoder() -> Decoder {
    Decoder::new(DecoderOptions::default())
}

/// A segment and the name of its tunnel, out of the decoder's hands.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) segment: Segment<'static>,
    pub(super) payload: Vec<u8>,
    pub(super) tunnel: String,
}

impl Seen {
    /// Checks that it is the segment of [`tcp4`] or [`tcp6`].
    pub(super) fn is_request(&self, tunnel: &str) {
        let Segment { src, dst, seq, payload_len, .. } = self.segment;
        let v4 = (Endpoint::v4(CLIENT, 40_000), Endpoint::v4(SERVER, 80));
        let v6 = (Endpoint::v6(CLIENT6, 40_000), Endpoint::v6(SERVER6, 80));
        assert!((src, dst) == v4 || (src, dst) == v6, "{self:?}");
        assert_eq!((seq, payload_len as usize), (1_000, REQUEST.len()));
        assert_eq!((self.payload.as_slice(), self.tunnel.as_str()), (REQUEST, tunnel));
    }
}

pub(super) fn see_frame(decoder: &mut Decoder, frame: &Frame<'_>) -> Result<Seen, Skip> {
    let (segment, payload) = match decoder.decode(frame) {
        Packet::Tcp(segment) => (Segment { payload: &[], ..segment }, segment.payload.to_vec()),
        Packet::Icmp(error) => panic!("an ICMP error: {error:?}"),
        Packet::Skip(skip) => return Err(skip),
    };
    let tunnel = decoder.tunnel_name(segment.tunnel).to_owned();
    Ok(Seen { segment, payload, tunnel })
}

pub(super) fn see(link: u16, bytes: &[u8]) -> Result<Seen, Skip> {
    see_frame(&mut decoder(), &frame(link, bytes))
}

pub(super) fn see_error(link: u16, bytes: &[u8]) -> Result<IcmpError, Skip> {
    match decoder().decode(&frame(link, bytes)) {
        Packet::Icmp(error) => Ok(error),
        Packet::Tcp(segment) => panic!("a segment: {segment:?}"),
        Packet::Skip(skip) => Err(skip),
    }
}
