//! Ethernet, IPv4 and TCP into a pcap file: little-endian, microseconds, as tcpdump writes it.

use std::io::{self, Write};

/// Address and port.
pub type Host = ([u8; 4], u16);

/// TCP control bits (RFC 9293, 3.1).
pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;

/// Bytes before the TCP header: Ethernet and IPv4 without options.
const LOWER: usize = 14 + 20;
/// Options of a SYN: maximum segment size 1460, SACK permitted, window scale 7.
const SYN_OPTIONS: [u8; 12] = [2, 4, 0x05, 0xb4, 1, 1, 4, 2, 1, 3, 3, 7];
/// Microseconds since the Unix epoch at which every capture starts: 2026-01-01.
const START: u64 = 1_767_225_600_000_000;

/// One segment.
#[derive(Clone, Copy)]
pub struct Segment<'a> {
    pub from: Host,
    pub to: Host,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub payload: &'a [u8],
}

/// Writes packets and the time they come at.
pub struct Capture<W> {
    out: W,
    /// Microseconds since the start of the capture.
    pub now: u64,
    record: Vec<u8>,
    id: u16,
}

impl<W: Write> Capture<W> {
    /// A capture without packets.
    pub fn new(mut out: W) -> io::Result<Capture<W>> {
        out.write_all(&0xa1b2_c3d4_u32.to_le_bytes())?;
        out.write_all(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
        out.write_all(&262_144_u32.to_le_bytes())?;
        out.write_all(&1_u32.to_le_bytes())?;
        Ok(Capture { out, now: 0, record: Vec::new(), id: 0 })
    }

    /// What was written to.
    pub fn into_inner(self) -> W {
        self.out
    }

    /// Captures one segment now, and lets 5 µs pass.
    pub fn segment(&mut self, segment: &Segment<'_>) -> io::Result<()> {
        let options: &[u8] = if segment.flags & SYN != 0 { &SYN_OPTIONS } else { &[] };
        let header = 20 + options.len();
        let length = LOWER + header + segment.payload.len();
        let at = START + self.now;
        let record = &mut self.record;
        record.clear();
        for field in
            [(at / 1_000_000) as u32, (at % 1_000_000) as u32, length as u32, length as u32]
        {
            record.extend(field.to_le_bytes());
        }
        record.extend([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
        self.id = self.id.wrapping_add(1);
        let ip = record.len();
        record.extend([0x45, 0]);
        record.extend(((length - 14) as u16).to_be_bytes());
        record.extend(self.id.to_be_bytes());
        record.extend([0x40, 0, 64, 6, 0, 0]);
        record.extend(segment.from.0);
        record.extend(segment.to.0);
        let check = !fold(sum(&record[ip..]));
        record[ip + 10..ip + 12].copy_from_slice(&check.to_be_bytes());
        let tcp = record.len();
        record.extend(segment.from.1.to_be_bytes());
        record.extend(segment.to.1.to_be_bytes());
        record.extend(segment.seq.to_be_bytes());
        record.extend(segment.ack.to_be_bytes());
        record.extend([(header as u8 / 4) << 4, segment.flags]);
        record.extend(502_u16.to_be_bytes());
        record.extend([0; 4]);
        record.extend(options);
        record.extend(segment.payload);
        let pseudo = sum(&record[ip + 12..ip + 20]) + 6 + (length - LOWER) as u64;
        let checksum = !fold(pseudo + sum(&record[tcp..]));
        record[tcp + 16..tcp + 18].copy_from_slice(&checksum.to_be_bytes());
        self.now += 5;
        self.out.write_all(record)
    }
}

/// Sum of 16-bit words (RFC 1071), not folded.
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |last| u64::from(*last) << 8);
    words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum::<u64>() + last
}

/// The sum in 16 bits.
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
