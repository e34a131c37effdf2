//! Link layers, down to IP.
//!
//! Link types are those of <https://www.tcpdump.org/linktypes.html>. VLAN tags, MPLS labels and
//! PPPoE sessions are stepped over: they are not part of a connection's identity, since the two
//! directions of one connection often differ in them.

use super::Skip;
use super::decoder::{Found, View, Walk, be16, be32};
use crate::capture::{Direction, LinkType};

/// `LINKTYPE_ETHERNET`.
pub(super) const ETHERNET: u16 = 1;

/// VLAN tags in a row. Two are common; the bound only keeps a hostile frame short.
const MAX_TAGS: usize = 8;

/// Labels in an MPLS stack, service chains included.
const MAX_LABELS: usize = 16;

/// IEEE 802.3: smaller values of the EtherType field are the length of an 802.2 frame.
pub(super) const MIN_ETHER_TYPE: u16 = 0x0600;

pub(super) const ETHER_IPV4: u16 = 0x0800;
const ETHER_IPV6: u16 = 0x86dd;
/// Transparent Ethernet bridging (RFC 1701).
pub(super) const ETHER_BRIDGED: u16 = 0x6558;
const ETHER_ARP: u16 = 0x0806;
const ETHER_VLAN: u16 = 0x8100;
const ETHER_QINQ: u16 = 0x88a8;
/// QinQ before IEEE 802.1ad.
const ETHER_OLD_QINQ: u16 = 0x9100;
const ETHER_MPLS: u16 = 0x8847;
const ETHER_MPLS_UPSTREAM: u16 = 0x8848;
const ETHER_PPPOE_SESSION: u16 = 0x8864;

impl Walk<'_> {
    /// By link type.
    #[inline]
    pub(super) fn link<'a>(&mut self, link: LinkType, view: View<'a>) -> Found<'a> {
        if link.0 == ETHERNET { self.ethernet(view) } else { self.other_link(link, view) }
    }

    fn other_link<'a>(&mut self, link: LinkType, view: View<'a>) -> Found<'a> {
        match link.0 {
            0 | 108 => self.loopback(view),
            9 | 50 => self.ppp(view),
            12 | 14 | 101 => self.ip(view),
            51 => self.pppoe(view),
            104 => self.cisco_hdlc(view),
            113 => self.cooked(view),
            228 => self.ipv4(view),
            229 => self.ipv6(view),
            276 => self.cooked2(view),
            other => Err(Skip::LinkType(other)),
        }
    }

    /// IEEE 802.3.
    #[inline]
    pub(super) fn ethernet<'a>(&mut self, view: View<'a>) -> Found<'a> {
        let header = view.head::<14>()?;
        self.ether_type(be16(header, 12), view.after(14)?)
    }

    /// By EtherType (<https://www.iana.org/assignments/ieee-802-numbers>).
    #[inline]
    pub(super) fn ether_type<'a>(&mut self, mut kind: u16, mut view: View<'a>) -> Found<'a> {
        for _ in 0..=MAX_TAGS {
            match kind {
                ETHER_IPV4 => return self.ipv4(view),
                ETHER_IPV6 => return self.ipv6(view),
                ETHER_VLAN | ETHER_QINQ | ETHER_OLD_QINQ => {
                    kind = be16(view.head::<4>()?, 2);
                    view = view.after(4)?;
                }
                other => return self.other_ether_type(other, view),
            }
        }
        Err(Skip::TooDeep)
    }

    #[inline(never)]
    fn other_ether_type<'a>(&mut self, kind: u16, view: View<'a>) -> Found<'a> {
        match kind {
            ETHER_ARP => Err(Skip::Arp),
            ETHER_MPLS | ETHER_MPLS_UPSTREAM => self.mpls(view),
            ETHER_PPPOE_SESSION => self.pppoe(view),
            ETHER_BRIDGED => {
                self.nest()?;
                self.ethernet(view)
            }
            // 802.3 ends at 1500; what is between the two ranges is undefined.
            length if length <= 1500 => self.llc(view.stated(usize::from(length))),
            other => Err(Skip::EtherType(other)),
        }
    }

    /// IEEE 802.2, with a subnetwork access protocol header (RFC 1042) or IPv4 by itself.
    fn llc<'a>(&mut self, view: View<'a>) -> Found<'a> {
        match view.head::<3>()? {
            [0xaa, 0xaa, 0x03] => {
                let kind = be16(view.head::<8>()?, 6);
                if kind < MIN_ETHER_TYPE {
                    return Err(Skip::EtherType(kind));
                }
                self.ether_type(kind, view.after(8)?)
            }
            [0x06, 0x06, 0x03] => self.ipv4(view.after(3)?),
            [service, ..] => Err(Skip::Llc(*service)),
        }
    }

    /// `LINKTYPE_LINUX_SLL` (<https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL.html>).
    fn cooked<'a>(&mut self, view: View<'a>) -> Found<'a> {
        let header = view.head::<16>()?;
        self.cooked_direction(be16(header, 0));
        self.cooked_protocol(be16(header, 14), view.after(16)?)
    }

    /// `LINKTYPE_LINUX_SLL2` (<https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html>).
    fn cooked2<'a>(&mut self, view: View<'a>) -> Found<'a> {
        let header = view.head::<20>()?;
        self.cooked_direction(u16::from(header[10]));
        self.cooked_protocol(be16(header, 0), view.after(20)?)
    }

    /// What the capture file itself says comes first.
    fn cooked_direction(&mut self, packet_type: u16) {
        if self.direction == Direction::Unknown {
            self.direction = match packet_type {
                // To us, broadcast, multicast.
                0..=2 => Direction::Inbound,
                4 => Direction::Outbound,
                // 3 is to somebody else, seen in promiscuous mode.
                _ => Direction::Unknown,
            };
        }
    }

    fn cooked_protocol<'a>(&mut self, protocol: u16, view: View<'a>) -> Found<'a> {
        const ETH_P_802_2: u16 = 0x0004;
        match protocol {
            ETH_P_802_2 => self.llc(view),
            // Linux's numbers for frames without an EtherType; netlink families look like them.
            small if small < MIN_ETHER_TYPE => Err(Skip::EtherType(small)),
            other => self.ether_type(other, view),
        }
    }

    /// `LINKTYPE_NULL` in either byte order, `LINKTYPE_LOOP`: an address family, whose numbers for
    /// IPv6 differ by system: Linux and Windows 10 and 23, NetBSD 24, FreeBSD 28, macOS 30.
    fn loopback<'a>(&mut self, view: View<'a>) -> Found<'a> {
        let family = be32(view.head::<4>()?, 0);
        let family = if family > 0xffff { family.swap_bytes() } else { family };
        let rest = view.after(4)?;
        match family {
            2 => self.ipv4(rest),
            10 | 23 | 24 | 28 | 30 => self.ipv6(rest),
            other => Err(Skip::AddressFamily(other)),
        }
    }

    /// PPP in whatever framing is left of it: after the address and control bytes of RFC 1662, or
    /// without them (RFC 1661, 2); or not PPP at all but Cisco HDLC, which `LINKTYPE_PPP_HDLC`
    /// allows, and which lands in `LINKTYPE_PPP` when a tool rewrites the file.
    fn ppp<'a>(&mut self, view: View<'a>) -> Found<'a> {
        match view.bytes {
            [0xff, 0x03, ..] => self.ppp_protocol(view.after(2)?),
            [0x0f | 0x8f, 0x00, ..] => self.cisco_hdlc(view),
            _ => self.ppp_protocol(view),
        }
    }

    fn ppp_protocol<'a>(&mut self, view: View<'a>) -> Found<'a> {
        // RFC 1661, 6.5: a protocol below 256 may be sent as one byte, which is then odd.
        let [first] = *view.head::<1>()?;
        let (protocol, length) = match first & 1 {
            1 => (u16::from(first), 1),
            _ => (be16(view.head::<2>()?, 0), 2),
        };
        let rest = view.after(length)?;
        match protocol {
            0x0021 => self.ipv4(rest),
            0x0057 => self.ipv6(rest),
            0x0281 | 0x0283 => self.mpls(rest),
            other => Err(Skip::PppProtocol(other)),
        }
    }

    /// Address, control, EtherType (RFC 1547, 4.3.1).
    fn cisco_hdlc<'a>(&mut self, view: View<'a>) -> Found<'a> {
        let kind = be16(view.head::<4>()?, 2);
        self.ether_type(kind, view.after(4)?)
    }

    /// RFC 2516, 4: version and type 1, code 0 for session data.
    fn pppoe<'a>(&mut self, view: View<'a>) -> Found<'a> {
        match view.head::<6>()? {
            [0x11, 0, ..] => self.ppp_protocol(view.after(6)?),
            [0x11, ..] => Err(Skip::EtherType(0x8863)),
            _ => Err(Skip::Malformed),
        }
    }

    /// RFC 3032, 2.1. Nothing says what follows the labels; IP tells itself apart from a
    /// pseudowire by its first nibble (RFC 4385, 3; RFC 4928, 3).
    fn mpls<'a>(&mut self, mut view: View<'a>) -> Found<'a> {
        for _ in 0..MAX_LABELS {
            let bottom = view.head::<4>()?[2] & 1 == 1;
            view = view.after(4)?;
            if bottom {
                return self.mpls_payload(view);
            }
        }
        Err(Skip::TooDeep)
    }

    fn mpls_payload<'a>(&mut self, view: View<'a>) -> Found<'a> {
        match view.head::<1>()?[0] >> 4 {
            4 => return self.ipv4(view),
            6 => return self.ipv6(view),
            _ => self.nest()?,
        }
        // A control word on Ethernet starts with sixteen zeros (RFC 4448, 4.6), an address in
        // practice does not. Without one, only a familiar EtherType makes it Ethernet.
        if view.head::<2>()? == &[0, 0] {
            return self.ethernet(view.after(4)?);
        }
        match be16(view.head::<14>()?, 12) {
            ETHER_IPV4 | ETHER_IPV6 | ETHER_VLAN => self.ethernet(view),
            _ => Err(Skip::EtherType(ETHER_MPLS)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::*;
    use super::{Direction, Skip};

    fn joined(header: &[u8], rest: &[u8]) -> Vec<u8> {
        [header, rest].concat()
    }

    #[test]
    fn every_link_type_leads_to_the_segment() {
        let (v4, v6) = (tcp4(REQUEST), tcp6(REQUEST));
        let frames = [
            (1, ether(0x0800, &v4)),
            (1, ether(0x86dd, &v6)),
            (12, v4.clone()),
            (14, v6.clone()),
            (101, v4.clone()),
            (101, v6.clone()),
            (228, v4.clone()),
            (229, v6.clone()),
            // Loopback, both byte orders, several systems.
            (0, joined(&[2, 0, 0, 0], &v4)),
            (0, joined(&[0, 0, 0, 2], &v4)),
            (0, joined(&[30, 0, 0, 0], &v6)),
            (0, joined(&[0, 0, 0, 24], &v6)),
            (108, joined(&[0, 0, 0, 2], &v4)),
            (108, joined(&[0, 0, 0, 28], &v6)),
            // PPP with and without address and control, and with a short protocol field.
            (9, joined(&[0xff, 3, 0, 0x21], &v4)),
            (9, joined(&[0, 0x57], &v6)),
            (9, joined(&[0x21], &v4)),
            (50, joined(&[0xff, 3, 0, 0x21], &v4)),
            (50, joined(&[0x0f, 0, 8, 0], &v4)),
            (9, joined(&[0x8f, 0, 8, 0], &v4)),
            (104, joined(&[0x8f, 0, 0x86, 0xdd], &v6)),
            (51, joined(&[0x11, 0, 0, 1, 0, 99, 0, 0x21], &v4)),
            (9, joined(&[2, 0x81, 0, 1, 1, 9], &v4)),
        ];
        for (link, bytes) in frames {
            see(link, &bytes).unwrap_or_else(|skip| panic!("{link}: {skip:?}")).is_request("");
        }
    }

    #[test]
    fn every_ether_type_leads_to_the_segment() {
        let (v4, v6) = (tcp4(REQUEST), tcp6(REQUEST));
        let snap = joined(&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &v4);
        let pseudowire = ether(0x0800, &v4);
        let frames = [
            (0x8100, joined(&[0, 5, 8, 0], &v4)),
            (0x8100, joined(&[0, 5, 0x86, 0xdd], &v6)),
            (0x88a8, joined(&[0, 5, 0x81, 0, 0, 6, 8, 0], &v4)),
            (0x9100, joined(&[0, 5, 0x91, 0, 0, 6, 0x81, 0, 0, 7, 8, 0], &v4)),
            (0x8864, joined(&[0x11, 0, 0, 1, 0, 99, 0, 0x57], &v6)),
            (0x8847, joined(&[0, 1, 1, 64], &v4)),
            (0x8848, joined(&[0, 1, 0, 64, 0, 2, 1, 64], &v6)),
            (0x8847, joined(&[0, 1, 1, 64, 0, 0, 0, 0], &pseudowire)),
            (0x8847, joined(&[0, 1, 1, 64], &pseudowire)),
            (snap.len() as u16, snap),
            (v4.len() as u16 + 3, joined(&[6, 6, 3], &v4)),
        ];
        for (kind, bytes) in frames {
            see(ETHERNET, &ether(kind, &bytes))
                .unwrap_or_else(|skip| panic!("{kind:#x}: {skip:?}"))
                .is_request("");
        }
    }

    #[test]
    fn cooked_captures_tell_the_direction() {
        let directions = [
            (0, Direction::Inbound),
            (1, Direction::Inbound),
            (3, Direction::Unknown),
            (4, Direction::Outbound),
        ];
        for (packet_type, direction) in directions {
            let mut first = vec![0; 16];
            (first[1], first[14]) = (packet_type, 8);
            let mut second = vec![0; 20];
            (second[10], second[0]) = (packet_type, 8);
            for (link, header) in [(113, first), (276, second)] {
                let seen = see(link, &joined(&header, &tcp4(REQUEST))).expect("a segment");
                seen.is_request("");
                assert_eq!(seen.segment.direction, direction);
            }
        }
    }

    #[test]
    fn what_is_not_ip_is_named() {
        let frames = [
            (127, vec![0; 40], Skip::LinkType(127)),
            (1, ether(0x0806, &[0; 28]), Skip::Arp),
            (1, ether(0x88cc, &[0; 28]), Skip::EtherType(0x88cc)),
            (1, ether(38, &[0x42, 0x42, 3, 0, 0]), Skip::Llc(0x42)),
            (1, ether(0x05ff, &[0; 40]), Skip::EtherType(0x05ff)),
            (1, ether(0x8864, &[0x11, 9, 0, 0, 0, 0]), Skip::EtherType(0x8863)),
            (9, vec![0xff, 3, 0xc0, 0x21, 1], Skip::PppProtocol(0xc021)),
            (0, vec![7, 0, 0, 0, 1], Skip::AddressFamily(7)),
            (101, vec![0x20; 40], Skip::Malformed),
            (1, ether(0x8100, &[0, 1, 0x81, 0].repeat(20)), Skip::TooDeep),
            (1, ether(0x8847, &[0; 100]), Skip::TooDeep),
            (1, vec![0; 3], Skip::Malformed),
        ];
        for (link, bytes, skip) in frames {
            assert_eq!(see(link, &bytes).expect_err("nothing for us"), skip);
        }
    }
}
