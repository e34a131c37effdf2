//! The TCP header (RFC 9293, 3.1), also where the snap length cuts it.

use super::decoder::{View, Walk, be16, be32};
use super::ip::Ip;
use super::{Endpoint, Flags, Packet, Segment, Skip, TcpOptions, checksum};

/// Length of the header without options.
pub(super) const FIXED: usize = 20;

impl Walk<'_> {
    /// A segment. Read by hand, not with `etherparse::TcpHeaderSlice`, which wants all options to
    /// be there: a short snap length often cuts them, and the rest is still worth having.
    #[inline]
    pub(super) fn tcp<'a>(&self, ip: Ip<'a>, view: View<'a>) -> Packet<'a> {
        let fixed = match view.head::<FIXED>() {
            Ok(fixed) => fixed,
            Err(skip) => return Packet::Skip(skip),
        };
        let header_len = usize::from(fixed[12] >> 4) * 4;
        if header_len < FIXED || header_len > view.wire {
            return Packet::Skip(Skip::Malformed);
        }
        let (options, payload) = match view.bytes.split_at_checked(header_len) {
            Some((header, payload)) => (&header[FIXED..], payload),
            None => (&view.bytes[FIXED..], &[][..]),
        };
        Packet::Tcp(Segment {
            mark: self.mark,
            src: Endpoint { ip: ip.src(), port: be16(fixed, 0) },
            dst: Endpoint { ip: ip.dst(), port: be16(fixed, 2) },
            tunnel: self.tunnel,
            seq: be32(fixed, 4),
            ack: be32(fixed, 8),
            flags: Flags(fixed[13]),
            window: be16(fixed, 14),
            options: tcp_options(options),
            payload,
            payload_len: (view.wire - header_len) as u32,
            ttl: ip.ttl(),
            ip_id: ip.id(),
            direction: self.direction,
            corrupt: is_wrong(&ip, view),
        })
    }
}

/// Whether the segment's bytes contradict its checksum.
#[inline]
fn is_wrong(ip: &Ip<'_>, view: View<'_>) -> bool {
    checksum::is_wrong(&[ip.src(), ip.dst()], view.bytes, view.wire)
}

/// RFC 9293, 3.1 and RFC 7323, 2.2 and 3.2. Not by `etherparse::TcpOptionsIterator`, which stops
/// at the first kind that it does not know (multipath TCP, fast open). An option of a wrong length
/// is stepped over, and reading ends where lengths stop making sense.
#[inline]
pub(super) fn tcp_options(mut rest: &[u8]) -> TcpOptions {
    let mut options = TcpOptions::default();
    // What nearly every segment of a connection carries: two paddings and the timestamps.
    if let [1, 1, 8, 10, v0, v1, v2, v3, e0, e1, e2, e3] = *rest {
        options.timestamp =
            Some((u32::from_be_bytes([v0, v1, v2, v3]), u32::from_be_bytes([e0, e1, e2, e3])));
        return options;
    }
    loop {
        match *rest {
            [] | [0, ..] => return options,
            [1, ..] => {
                rest = &rest[1..];
                continue;
            }
            [2, 4, m0, m1, ..] => options.mss = Some(u16::from_be_bytes([m0, m1])),
            [3, 3, shift, ..] => options.window_scale = Some(shift),
            [8, 10, v0, v1, v2, v3, e0, e1, e2, e3, ..] => {
                let value = u32::from_be_bytes([v0, v1, v2, v3]);
                options.timestamp = Some((value, u32::from_be_bytes([e0, e1, e2, e3])));
            }
            _ => {}
        }
        match rest.get(1).map(|length| usize::from(*length)) {
            Some(length) if length >= 2 && length <= rest.len() => rest = &rest[length..],
            _ => return options,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::*;
    use super::*;

    #[test]
    fn a_segment_has_all_of_its_header() {
        let seen = see(RAW, &tcp4(REQUEST)).expect("a segment");
        seen.is_request("");
        let Segment { ack, flags, window, options, ttl, ip_id, .. } = seen.segment;
        assert_eq!((ack, flags, window, ttl, ip_id), (77, Flags(Flags::ACK), 500, 63, Some(0)));
        assert_eq!(options.timestamp, Some((1, 2)));
        assert_eq!(see(RAW, &tcp6(REQUEST)).expect("a segment").segment.ip_id, None);
    }

    #[test]
    fn options_are_read_in_any_order_and_around_unknown_ones() {
        let syn = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7];
        let expected =
            TcpOptions { mss: Some(1460), window_scale: Some(7), timestamp: Some((9, 0)) };
        assert_eq!(tcp_options(&syn), expected);
        let multipath = [&[30, 4, 0, 0, 254, 3, 1][..], &syn].concat();
        assert_eq!(tcp_options(&multipath), expected);
    }

    #[test]
    fn malformed_options_end_the_reading() {
        assert_eq!(tcp_options(&[2, 4, 5, 0xb4, 8, 0]).mss, Some(1460));
        assert_eq!(tcp_options(&[2, 4, 5, 0xb4, 8]).mss, Some(1460));
        assert_eq!(tcp_options(&[0, 2, 4, 5, 0xb4]), TcpOptions::default());
        assert_eq!(tcp_options(&[2, 3, 5, 3, 3, 7]).window_scale, Some(7));
        assert_eq!(tcp_options(&[3, 200, 5]), TcpOptions::default());
    }

    #[test]
    fn a_data_offset_that_cannot_be_is_malformed() {
        for offset in [0x40, 0xf0] {
            let mut bytes = tcp4(b"");
            bytes[32] = offset;
            assert_eq!(see(RAW, &bytes).expect_err("malformed"), Skip::Malformed);
        }
    }

    #[test]
    fn a_cut_in_the_options_still_gives_the_segment() {
        let bytes = tcp4(REQUEST);
        let mut cut = frame(RAW, &bytes[..42]);
        cut.wire_len = bytes.len() as u32;
        let seen = see_frame(&mut decoder(), &cut).expect("a segment");
        assert_eq!((seen.payload.len(), seen.segment.payload_len as usize), (0, REQUEST.len()));
        cut.bytes = &bytes[..39];
        assert_eq!(see_frame(&mut decoder(), &cut).expect_err("cut"), Skip::CutHeader);
    }
}
