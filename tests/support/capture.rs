//! Captures as lists of Ethernet frames: a reader for those that ship, writers for other forms,
//! and wrappings as networks and capturing tools apply them.

use std::path::Path;

/// One Ethernet frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Nanoseconds since the Unix epoch.
    pub at: i64,
    pub bytes: Vec<u8>,
    /// Length on the wire.
    pub wire_len: u32,
}

pub const FILE_HEADER: usize = 24;
pub const RECORD_HEADER: usize = 16;
/// `LINKTYPE_` numbers (<https://www.tcpdump.org/linktypes.html>).
pub const ETHERNET: u32 = 1;
pub const LINUX_SLL: u32 = 113;

/// The frames of a shipped capture: little-endian pcap, microseconds, Ethernet.
pub fn read(path: &Path) -> Vec<Frame> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(bytes[..4], 0xa1b2_c3d4_u32.to_le_bytes(), "{}", path.display());
    let mut frames = Vec::new();
    let mut rest = &bytes[FILE_HEADER..];
    while !rest.is_empty() {
        let field = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
        let end = RECORD_HEADER + field(8) as usize;
        frames.push(Frame {
            at: i64::from(field(0)) * 1_000_000_000 + i64::from(field(4)) * 1_000,
            bytes: rest[RECORD_HEADER..end].to_vec(),
            wire_len: field(12),
        });
        rest = &rest[end..];
    }
    frames
}

/// The sides' addresses in the lab: the load balancer opens connections.
const LOAD_BALANCER: [u8; 4] = [192, 0, 2, 10];

impl Frame {
    /// The IP packet.
    pub fn ip(&self) -> &[u8] {
        &self.bytes[14..]
    }

    pub fn is_tcp(&self) -> bool {
        self.bytes[12..14] == [8, 0] && self.ip()[9] == 6
    }

    /// Sent by the load balancer.
    pub fn sent_by_balancer(&self) -> bool {
        self.bytes[12..14] == [8, 0] && self.ip()[12..16] == LOAD_BALANCER
    }

    /// The same with `bytes` on the wire and in the capture.
    fn carrying(&self, bytes: Vec<u8>) -> Frame {
        let wire_len = self.wire_len + bytes.len() as u32 - self.bytes.len() as u32;
        Frame { at: self.at, bytes, wire_len }
    }

    /// With two VLAN tags (IEEE 802.1ad outside, 802.1Q inside).
    pub fn tagged(&self) -> Frame {
        let tags = [0x88, 0xa8, 0, 100, 0x81, 0, 0, 7];
        self.carrying([&self.bytes[..12], &tags, &self.bytes[12..]].concat())
    }

    /// As `tcpdump -i any` writes it: Linux cooked, with the direction at the load balancer.
    pub fn cooked(&self) -> Frame {
        let kind = if self.sent_by_balancer() { 4 } else { 0 };
        let header = [0, kind, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0];
        self.carrying([&header, &self.bytes[12..]].concat())
    }

    /// In VXLAN (RFC 7348) with network id 77 to UDP port `port`, as AWS mirrors traffic.
    pub fn in_vxlan(&self, port: u16) -> Frame {
        let length = 20 + 8 + 8 + self.bytes.len() as u16;
        let mut outer = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 8, 0];
        outer.extend([0x45, 0]);
        outer.extend(length.to_be_bytes());
        outer.extend([0, 1, 0, 0, 64, 17, 0, 0, 203, 0, 113, 1, 203, 0, 113, 2]);
        outer.extend(61_000_u16.to_be_bytes());
        outer.extend(port.to_be_bytes());
        outer.extend((length - 20).to_be_bytes());
        outer.extend([0, 0, 8, 0, 0, 0, 0, 0, 77, 0]);
        self.carrying([&outer[..], &self.bytes].concat())
    }

    /// Cut to `snaplen` bytes.
    pub fn cut(&self, snaplen: usize) -> Frame {
        let bytes = self.bytes[..self.bytes.len().min(snaplen)].to_vec();
        Frame { at: self.at, bytes, wire_len: self.wire_len }
    }

    /// The TCP segment of an IPv4 packet.
    pub fn tcp(&self) -> Option<Tcp> {
        let ip = self.ip();
        let header = usize::from(ip[0] & 15) * 4;
        let tcp = ip.get(header..).filter(|_| self.is_tcp())?;
        let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
        Some(Tcp {
            from: (ip[12..16].try_into().unwrap(), u16::from_be_bytes([tcp[0], tcp[1]])),
            to: (ip[16..20].try_into().unwrap(), u16::from_be_bytes([tcp[2], tcp[3]])),
            seq: u32::from_be_bytes(tcp[4..8].try_into().unwrap()),
            ack: u32::from_be_bytes(tcp[8..12].try_into().unwrap()),
            flags: tcp[13],
            payload_len: (total - header - usize::from(tcp[12] >> 4) * 4) as u32,
        })
    }
}

/// What the tests need of a segment.
#[derive(Clone, Copy, Debug)]
pub struct Tcp {
    pub from: ([u8; 4], u16),
    pub to: ([u8; 4], u16),
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub payload_len: u32,
}

/// Byte order of a file.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    Little,
    Big,
}

impl Order {
    fn put16(self, value: u16) -> [u8; 2] {
        match self {
            Order::Little => value.to_le_bytes(),
            Order::Big => value.to_be_bytes(),
        }
    }

    fn put32(self, value: u32) -> [u8; 4] {
        match self {
            Order::Little => value.to_le_bytes(),
            Order::Big => value.to_be_bytes(),
        }
    }
}

/// A pcap file as tcpdump writes it on this kind of machine.
pub fn plain(frames: &[Frame]) -> Vec<u8> {
    pcap(frames, Order::Little, false, ETHERNET)
}

pub fn pcap(frames: &[Frame], order: Order, nanoseconds: bool, link: u32) -> Vec<u8> {
    let (magic, unit) = if nanoseconds { (0xa1b2_3c4d, 1) } else { (0xa1b2_c3d4, 1_000) };
    let mut file = order.put32(magic).to_vec();
    file.extend(order.put16(2));
    file.extend(order.put16(4));
    for field in [0, 0, 262_144, link] {
        file.extend(order.put32(field));
    }
    for frame in frames {
        let (seconds, rest) = (frame.at / 1_000_000_000, frame.at % 1_000_000_000 / unit);
        let lengths = [frame.bytes.len() as u32, frame.wire_len];
        for field in [seconds as u32, rest as u32, lengths[0], lengths[1]] {
            file.extend(order.put32(field));
        }
        file.extend(&frame.bytes);
    }
    file
}

/// A pcapng file with one interface that counts nanoseconds, and a block of a kind nobody knows
/// between the packets.
pub fn pcapng(frames: &[Frame], order: Order) -> Vec<u8> {
    let mut file = Vec::new();
    let mut block = |kind: u32, body: &[u8]| {
        let padded = body.len().next_multiple_of(4);
        let length = order.put32(12 + padded as u32);
        file.extend(order.put32(kind));
        file.extend(length);
        file.extend(body);
        file.extend(&[0; 4][..padded - body.len()]);
        file.extend(length);
    };
    let section =
        [&order.put32(0x1a2b_3c4d)[..], &order.put16(1), &order.put16(0), &[0xff; 8]].concat();
    block(0x0a0d_0d0a, &section);
    // if_tsresol (option 9): 10^-9 s.
    let resolution = [&order.put16(9)[..], &order.put16(1), &[9, 0, 0, 0]].concat();
    let interface = [&order.put16(ETHERNET as u16)[..], &[0, 0], &order.put32(0), &resolution];
    block(1, &interface.concat());
    for (index, frame) in frames.iter().enumerate() {
        let mut body = Vec::new();
        let lengths = [frame.bytes.len() as u32, frame.wire_len];
        for field in [0, (frame.at >> 32) as u32, frame.at as u32, lengths[0], lengths[1]] {
            body.extend(order.put32(field));
        }
        body.extend(&frame.bytes);
        block(6, &body);
        if index % 50 == 0 {
            block(0x0bad_cafe, b"what");
        }
    }
    file
}
