//! The TCP checksum (RFC 9293, 3.1; RFC 1071), to notice packets that were damaged in the file.
//!
//! Only where it is cheap: segments of heads and handshakes, not of bulk. A capture on the sending
//! host holds the sum that the network card was to finish, and is not damaged.

/// Longest segment that is summed, bytes; longer ones are bulk, on which no verdict rests.
const SUMMED_MAX: usize = 640;
/// Where the checksum stands in the header.
const FIELD: std::ops::Range<usize> = 16..18;
/// IP protocol number of TCP.
const TCP: u16 = 6;

/// Whether a segment's bytes contradict its checksum; `addresses` are those of its sender and receiver. An
/// IPv4 address adds the same in its mapped form, as 0xffff is nothing in ones' complement.
#[inline]
pub(super) fn is_wrong<const N: usize>(
    addresses: &[[u8; N]; 2],
    bytes: &[u8],
    wire: usize,
) -> bool {
    if bytes.len() != wire || wire > SUMMED_MAX {
        return false;
    }
    let Some(field) = bytes.get(FIELD) else { return false };
    let field = u16::from_ne_bytes([field[0], field[1]]);
    let addresses = sum(addresses.as_flattened());
    let pseudo =
        |len: usize| fold(addresses + u64::from(TCP.to_be()) + u64::from((len as u16).to_be()));
    let whole = pseudo(wire);
    // Left to the card: the sum over addresses, protocol and length only (length 0 by some).
    let left = field == 0 || field == whole || field == pseudo(0);
    !left && fold(u64::from(whole) + sum(bytes)) != 0xffff
}

/// Sum of 32-bit words in the machine's byte order, which a ones' complement sum does not mind.
#[inline]
fn sum(bytes: &[u8]) -> u64 {
    let (pairs, rest) = bytes.as_chunks::<8>();
    let (words, rest) = rest.as_chunks::<4>();
    let halves = |pair: &[u8; 8]| {
        let pair = u64::from_ne_bytes(*pair);
        (pair >> 32) + (pair & 0xffff_ffff)
    };
    let pairs: u64 = pairs.iter().map(halves).sum();
    let words: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    let last = match *rest {
        [a] => [a, 0, 0, 0],
        [a, b] => [a, b, 0, 0],
        [a, b, c] => [a, b, c, 0],
        _ => [0; 4],
    };
    pairs + words + u64::from(u32::from_ne_bytes(last))
}

/// The sum in 16 bits.
#[inline]
fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::super::samples::*;

    #[test]
    fn a_changed_byte_is_noticed_and_an_unfinished_sum_is_not() {
        for packet in [tcp4(REQUEST), tcp6(REQUEST)] {
            let ip = if packet[0] >> 4 == 4 { 20 } else { 40 };
            let wrong = |packet: &[u8]| see(RAW, packet).expect("a segment").segment.corrupt;
            assert!(!wrong(&packet));
            for at in [ip + 4, ip + 9, ip + 13, packet.len() - 1] {
                let mut changed = packet.clone();
                changed[at] ^= 0x20;
                assert!(wrong(&changed), "byte {at}");
            }
            let mut offloaded = packet.clone();
            offloaded[ip + 16..ip + 18].copy_from_slice(&[0, 0]);
            assert!(!wrong(&offloaded));
        }
    }

    #[test]
    fn a_cut_segment_is_not_judged() {
        let packet = tcp4(REQUEST);
        let mut cut = frame(RAW, &packet[..packet.len() - 3]);
        cut.wire_len = packet.len() as u32;
        assert!(!see_frame(&mut decoder(), &cut).expect("a segment").segment.corrupt);
    }
}
