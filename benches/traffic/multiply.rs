//! One capture several times in a row, each time later and from other client addresses, so that a
//! recording of seconds becomes hours of traffic.

use std::io::{self, ErrorKind, Write};

const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
/// Microseconds between the last packet of a copy and the first of the next.
const PAUSE: u64 = 1_000_000;

/// Writes `copies` of a little-endian pcap of IPv4 over Ethernet; returns how many packets.
///
/// The client, which is the side with the higher port, gets an address of its own in each copy:
/// what is added to one half of the address is taken from the other, so that every checksum stays
/// what it was, right or left to the network card.
pub fn multiply(capture: &[u8], copies: u16, out: &mut impl Write) -> io::Result<u64> {
    if capture.get(..4) != Some(&0xa1b2_c3d4_u32.to_le_bytes()) {
        return Err(io::Error::new(ErrorKind::InvalidData, "no little-endian pcap"));
    }
    out.write_all(&capture[..FILE_HEADER])?;
    let (first, last) = span(capture);
    let mut packets = 0;
    let mut copy = Vec::new();
    for number in 0..copies {
        let shift = u64::from(number) * (last - first + PAUSE);
        let mut rest = &capture[FILE_HEADER..];
        while let Some((record, behind)) = split(rest) {
            copy.clear();
            copy.extend(record);
            let at = time(record) + shift;
            copy[..4].copy_from_slice(&((at / 1_000_000) as u32).to_le_bytes());
            copy[4..8].copy_from_slice(&((at % 1_000_000) as u32).to_le_bytes());
            move_client(&mut copy[RECORD_HEADER..], number);
            out.write_all(&copy)?;
            packets += 1;
            rest = behind;
        }
    }
    Ok(packets)
}

/// The first record, and what comes behind it; `None` behind the last whole one.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u32::from_le_bytes(*bytes.get(8..)?.first_chunk()?);
    bytes.split_at_checked(RECORD_HEADER + length as usize)
}

/// Microseconds since the Unix epoch.
fn time(record: &[u8]) -> u64 {
    let field =
        |at: usize| u64::from(u32::from_le_bytes([0, 1, 2, 3].map(|byte| record[at + byte])));
    field(0) * 1_000_000 + field(4)
}

/// Earliest and latest time.
fn span(capture: &[u8]) -> (u64, u64) {
    let (mut first, mut last) = (u64::MAX, 0);
    let mut rest = &capture[FILE_HEADER..];
    while let Some((record, behind)) = split(rest) {
        first = first.min(time(record));
        last = last.max(time(record));
        rest = behind;
    }
    (first.min(last), last)
}

/// Moves the address of the side with the higher port by `number`.
fn move_client(frame: &mut [u8], number: u16) {
    let ip = 14;
    let Some([8, 0, 0x45]) = frame.get(12..15) else { return };
    let Some(&[a, b, c, d]) = frame.get(ip + 20..ip + 24) else { return };
    let address = if (a, b) > (c, d) { ip + 12 } else { ip + 16 };
    for (at, by) in [(address, 0xffff - number), (address + 2, number)] {
        let half = u32::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
        let moved = ((half + u32::from(by)) % 0xffff) as u16;
        frame[at..at + 2].copy_from_slice(&moved.to_be_bytes());
    }
}
