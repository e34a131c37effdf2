//! Which way a segment went, told by the addresses of the host that captured it.

use crate::capture::Direction;
use crate::host::Addresses;
use crate::packet::{Segment, TunnelId};

/// The direction of `segment` when the host that captured has the addresses `local`; as the capture
/// states it where these tell nothing.
///
/// Between two addresses of this host it has arrived: of what passes the loopback interface the
/// received copy is captured. Addresses inside a tunnel may be those of another net.
#[inline]
pub(super) fn of(segment: &Segment<'_>, local: &Addresses) -> Direction {
    if local.is_empty() || segment.tunnel != TunnelId::default() {
        return segment.direction;
    }
    by_addresses(segment, local)
}

fn by_addresses(segment: &Segment<'_>, local: &Addresses) -> Direction {
    let (from, to) = (local.contains(segment.src.addr()), local.contains(segment.dst.addr()));
    match (from, to) {
        (_, true) => Direction::Inbound,
        (true, false) => Direction::Outbound,
        (false, false) => segment.direction,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::LinkType;
    use crate::packet::{Decoder, DecoderOptions, Packet};

    /// The direction of a segment from one address to another at the host 10.0.0.5.
    fn seen(from: [u8; 4], to: [u8; 4], stated: Direction) -> Direction {
        let mut ip = [&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0][..], &from, &to].concat();
        ip.extend([0, 80, 0, 81, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]);
        let frame = crate::capture::Frame {
            mark: Default::default(),
            link: LinkType(101),
            bytes: &ip,
            wire_len: 40,
            direction: stated,
        };
        let mut decoder = Decoder::new(DecoderOptions::default());
        let Packet::Tcp(segment) = decoder.decode(&frame) else { panic!("no segment") };
        of(&segment, &Addresses::new(vec![([10, 0, 0, 5].into(), 32)]))
    }

    #[test]
    fn what_bears_an_address_of_the_host_comes_or_goes() {
        let (own, other, third) = ([10, 0, 0, 5], [10, 0, 0, 9], [10, 0, 0, 8]);
        let loopback = [127, 0, 0, 1];
        assert_eq!(seen(other, own, Direction::Unknown), Direction::Inbound);
        assert_eq!(seen(own, other, Direction::Unknown), Direction::Outbound);
        assert_eq!(seen(own, loopback, Direction::Unknown), Direction::Inbound);
        assert_eq!(seen(other, third, Direction::Unknown), Direction::Unknown);
        // What the capture states counts only for what passes.
        assert_eq!(seen(other, own, Direction::Outbound), Direction::Inbound);
        assert_eq!(seen(other, third, Direction::Outbound), Direction::Outbound);
    }
}
