//! Encapsulations that carry whole packets: their headers, and which of them is which.
//!
//! Outer addresses are not part of a tunnel's identity: the two directions of a connection differ
//! in them, and so do the sessions of two mirrors. Nor are numbers that belong to one direction or
//! to the mirror alone (GTP-U endpoint, ERSPAN session).

use super::decoder::{Found, MAX_NESTING, View, Walk, be16, be32};
use super::ip::UDP;
use super::link::{ETHER_BRIDGED, MIN_ETHER_TYPE};
use super::{Skip, TunnelId};
use hashbrown::HashMap;
use std::fmt;

/// Tunnels told apart. Far more than the networks that one capture mirrors; the bound is there
/// because a stranger can choose the numbers.
const MAX_TUNNELS: usize = 4096;

/// Extension headers of one GTP-U packet; 3GPP defines fewer.
const MAX_GTP_EXTENSIONS: usize = 8;

const VXLAN_GPE_PORT: u16 = 4790;
const GENEVE_PORT: u16 = 6081;
const GTP_U_PORT: u16 = 2152;
/// Of VXLAN where none is set: <https://docs.kernel.org/networking/vxlan.html>.
const LINUX_VXLAN_PORT: u16 = 8472;
const HTTPS_PORT: u16 = 443;

/// An encapsulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Vxlan,
    Geneve,
    Gre,
    GreWithKey,
    Erspan,
    IpInIp,
    SixInFour,
    SixInSix,
    GtpU,
}

/// One encapsulation in its path, written as its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Layer {
    outer: TunnelId,
    kind: Kind,
    key: u32,
}

impl fmt::Display for Layer {
    fn fmt<'a>(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Vxlan => write!(f, "vxlan vni {}", self.key),
            Kind::Geneve => write!(f, "geneve vni {}", self.key),
            Kind::Gre => f.write_str("gre"),
            Kind::GreWithKey => write!(f, "gre key {}", self.key),
            Kind::Erspan => f.write_str("erspan"),
            Kind::IpInIp => f.write_str("ip-in-ip"),
            Kind::SixInFour => f.write_str("6in4"),
            Kind::SixInSix => f.write_str("6in6"),
            Kind::GtpU => f.write_str("gtp-u"),
        }
    }
}

/// The tunnels met so far.
pub(super) struct Tunnels {
    known: HashMap<Layer, TunnelId, foldhash::fast::FixedState>,
    /// By number; the first is no tunnel at all.
    names: Vec<String>,
    shared: u64,
}

impl Default for Tunnels {
    fn default() -> Tunnels {
        Tunnels { known: HashMap::default(), names: vec![String::new()], shared: 0 }
    }
}

impl Tunnels {
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// How often a tunnel got the identity that all share once the table is full.
    pub(super) fn shared(&self) -> u64 {
        self.shared
    }

    /// The identity of an encapsulation within another.
    fn intern(&mut self, layer: Layer) -> TunnelId {
        if let Some(id) = self.known.get(&layer) {
            return *id;
        }
        if self.known.len() == MAX_TUNNELS {
            self.shared += 1;
            if self.names.len() == MAX_TUNNELS + 1 {
                self.names.push("other".to_owned());
            }
            return TunnelId(MAX_TUNNELS as u32 + 1);
        }
        let id = TunnelId(self.names.len() as u32);
        let name = match self.names[layer.outer.0 as usize].as_str() {
            "" => layer.to_string(),
            outer => format!("{outer} / {layer}"),
        };
        self.names.push(name);
        self.known.insert(layer, id);
        id
    }
}

impl Walk<'_> {
    /// One layer further in that is no tunnel by name, but could repeat without end.
    pub(super) fn nest(&mut self) -> Result<(), Skip> {
        if self.nesting == MAX_NESTING {
            return Err(Skip::TooDeep);
        }
        self.nesting += 1;
        Ok(())
    }

    /// One tunnel further in.
    pub(super) fn enter(&mut self, kind: Kind, key: u32) -> Result<(), Skip> {
        self.nest()?;
        self.tunnel = self.tunnels.intern(Layer { outer: self.tunnel, kind, key });
        Ok(())
    }

    /// UDP (RFC 768), by the destination port, which is what these tunnels fix.
    pub(super) fn udp<'a>(&mut self, view: View<'a>) -> Found<'a> {
        let header = view.head::<8>()?;
        let (from, to) = (be16(header, 0), be16(header, 2));
        let rest = view.after(8)?;
        match to {
            GENEVE_PORT => self.geneve(rest),
            GTP_U_PORT => self.gtp_u(rest),
            VXLAN_GPE_PORT => self.vxlan_gpe(rest),
            port if self.vxlan_ports.contains(&port) => self.vxlan(rest),
            _ if (from == HTTPS_PORT || to == HTTPS_PORT) && is_quic(rest.bytes) => Err(Skip::Quic),
            _ if is_dtls(rest.bytes) => Err(Skip::Dtls),
            LINUX_VXLAN_PORT if is_vxlan(rest.bytes) => Err(Skip::LinuxVxlan),
            _ => Err(Skip::IpProtocol(UDP)),
        }
    }

    /// RFC 7348, 5. Without the flag that the network identifier is valid it is something else.
    fn vxlan<'a>(&mut self, view: View<'a>) -> Found<'a> {
        let header = view.head::<8>()?;
        if header[0] & 0x08 == 0 {
            return Err(Skip::IpProtocol(UDP));
        }
        self.enter(Kind::Vxlan, be32(header, 4) >> 8)?;
        self.ethernet(view.after(8)?)
    }

    /// draft-ietf-nvo3-vxlan-gpe-13, 3: a VXLAN header that may name what follows.
    fn vxlan_gpe<'a>(&mut self, view: View<'a>) -> Found<'a> {
        let header = view.head::<8>()?;
        let named = header[0] & 0x04 != 0;
        if !named {
            return self.vxlan(view);
        }
        if header[0] & 0xc8 != 0x08 {
            return Err(Skip::IpProtocol(UDP));
        }
        self.enter(Kind::Vxlan, be32(header, 4) >> 8)?;
        let rest = view.after(8)?;
        match header[3] {
            1 => self.ipv4(rest),
            2 => self.ipv6(rest),
            3 => self.ethernet(rest),
            _ => Err(Skip::IpProtocol(UDP)),
        }
    }

    /// RFC 8926, 3.4. Options, such as those of the AWS gateway load balancer (class 0x0108), say
    /// nothing that a connection's identity may rest on, and are stepped over.
    fn geneve<'a>(&mut self, view: View<'a>) -> Found<'a> {
        let header = view.head::<8>()?;
        if header[0] >> 6 != 0 {
            return Err(Skip::IpProtocol(UDP));
        }
        let options = usize::from(header[0] & 0x3f) * 4;
        self.enter(Kind::Geneve, be32(header, 4) >> 8)?;
        self.carried(be16(header, 2), view.after(8 + options)?)
    }

    /// RFC 2784, 2 and RFC 2890, 2. Version 1 (PPTP) and source routes are not read.
    pub(super) fn gre<'a>(&mut self, view: View<'a>) -> Found<'a> {
        const CHECKSUM: u16 = 0x8000;
        const ROUTING: u16 = 0x4000;
        const KEY: u16 = 0x2000;
        const SEQUENCE: u16 = 0x1000;
        const VERSION: u16 = 0x0007;
        const ERSPAN: u16 = 0x88be;
        const ERSPAN_III: u16 = 0x22eb;

        let header = view.head::<4>()?;
        let (flags, protocol) = (be16(header, 0), be16(header, 2));
        if flags & (ROUTING | VERSION) != 0 {
            return Err(Skip::IpProtocol(47));
        }
        let mut rest = view.after(if flags & CHECKSUM != 0 { 8 } else { 4 })?;
        let mut key = None;
        if flags & KEY != 0 {
            key = Some(be32(rest.head::<4>()?, 0));
            rest = rest.after(4)?;
        }
        if flags & SEQUENCE != 0 {
            rest = rest.after(4)?;
        }
        match (protocol, key) {
            (ERSPAN | ERSPAN_III, _) => {
                self.enter(Kind::Erspan, 0)?;
                self.erspan(protocol == ERSPAN_III, flags & SEQUENCE != 0, rest)
            }
            (_, Some(key)) => {
                self.enter(Kind::GreWithKey, key)?;
                self.carried(protocol, rest)
            }
            (_, None) => {
                self.enter(Kind::Gre, 0)?;
                self.carried(protocol, rest)
            }
        }
    }

    /// draft-foschiano-erspan-03, 4: type I has no header and no GRE sequence number, type II has
    /// eight bytes, type III twelve and perhaps eight more.
    fn erspan<'a>(&mut self, third: bool, sequence: bool, view: View<'a>) -> Found<'a> {
        if !third {
            return self.ethernet(view.after(if sequence { 8 } else { 0 })?);
        }
        let header = view.head::<12>()?;
        let subheader = if header[11] & 1 == 1 { 8 } else { 0 };
        let rest = view.after(12 + subheader)?;
        match (header[10] >> 2) & 0x1f {
            0 => self.ethernet(rest),
            2 => self.ip(rest),
            _ => Err(Skip::IpProtocol(47)),
        }
    }

    /// 3GPP TS 29.281, 5: version 1, a user packet (255), an IP packet within.
    fn gtp_u<'a>(&mut self, view: View<'a>) -> Found<'a> {
        let header = view.head::<8>()?;
        if header[0] & 0xf0 != 0x30 || header[1] != 255 {
            return Err(Skip::IpProtocol(UDP));
        }
        self.enter(Kind::GtpU, 0)?;
        let mut rest = view.after(8)?;
        if header[0] & 0x07 == 0 {
            return self.ip(rest);
        }
        let mut next = rest.head::<4>()?[3];
        rest = rest.after(4)?;
        for _ in 0..MAX_GTP_EXTENSIONS {
            if next == 0 {
                return self.ip(rest);
            }
            let length = usize::from(rest.head::<1>()?[0]) * 4;
            if length == 0 {
                return Err(Skip::Malformed);
            }
            let after = rest.after(length)?;
            next = rest.bytes[length - 1];
            rest = after;
        }
        Err(Skip::TooDeep)
    }

    /// By EtherType; Ethernet itself has one here.
    fn carried<'a>(&mut self, kind: u16, view: View<'a>) -> Found<'a> {
        match kind {
            ETHER_BRIDGED => self.ethernet(view),
            // Not a length as in 802.3: a keepalive of Cisco GRE, for one.
            small if small < MIN_ETHER_TYPE => Err(Skip::EtherType(small)),
            other => self.ether_type(other, view),
        }
    }
}

/// The header of RFC 7348, 5, with an IP packet in the Ethernet frame behind it.
fn is_vxlan(bytes: &[u8]) -> bool {
    matches!(bytes, [0x08, 0, 0, 0, _, _, _, 0, frame @ ..]
        if matches!(frame.get(12..14), Some([0x08, 0x00] | [0x86, 0xdd])))
}

/// A DTLS record: content type, version 1.0 or 1.2, epoch and sequence number, and a length that a
/// record can have (RFC 6347, 4.1).
fn is_dtls(datagram: &[u8]) -> bool {
    let [20..=23, 0xfe, 0xff | 0xfd, rest @ ..] = datagram else { return false };
    let length = rest.get(8..10).map(|field| usize::from(be16(&[field[0], field[1]], 0)));
    length.is_some_and(|length| length > 0 && length <= (1 << 14) + 2048)
}

/// RFC 9000, 17.2: a long header, of version 1 or 2 (RFC 9369). The rest of a connection has short
/// headers, which nothing tells apart from other UDP.
fn is_quic(datagram: &[u8]) -> bool {
    let Some([first, version @ ..]) = datagram.first_chunk::<5>() else { return false };
    *first >= 0xc0 && matches!(u32::from_be_bytes(*version), 1 | 0x6b33_43cf)
}

#[cfg(test)]
mod tests {
    use super::super::samples::*;
    use super::super::{Decoder, DecoderOptions};
    use super::*;

    fn vxlan(vni: u8, inner: &[u8]) -> Vec<u8> {
        udp4(4789, &[&[8, 0, 0, 0, 0, 0, vni, 0], inner].concat())
    }

    fn request() -> Vec<u8> {
        ether(0x0800, &tcp4(REQUEST))
    }

    #[test]
    fn every_tunnel_leads_to_the_segment() {
        let (v4, v6, inner) = (tcp4(REQUEST), tcp6(REQUEST), request());
        let with = |header: &[u8], rest: &[u8]| [header, rest].concat();
        let mut third = vec![0x10, 0, 0x22, 0xeb, 0, 0, 0, 1];
        third.extend([0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8]);
        let mut third_ip = vec![0, 0, 0x22, 0xeb];
        third_ip.extend([0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2 << 2, 0]);
        // The gateway load balancer's options: class 0x0108, types 1 to 3.
        let mut gateway = vec![8, 0, 8, 0, 0, 0, 0, 0];
        gateway.extend([1, 8, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
        gateway.extend([1, 8, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 8, 3, 1, 0, 0, 0, 0]);
        let packets = [
            (vxlan(42, &inner), "vxlan vni 42"),
            (udp4(6081, &with(&[0, 0, 0x65, 0x58, 0, 1, 0, 0], &inner)), "geneve vni 256"),
            (udp4(6081, &with(&gateway, &v4)), "geneve vni 0"),
            (udp4(6081, &with(&[0, 0, 0x86, 0xdd, 0, 0, 3, 0], &v6)), "geneve vni 3"),
            (udp4(4790, &with(&[8, 0, 0, 0, 0, 0, 42, 0], &inner)), "vxlan vni 42"),
            (udp4(4790, &with(&[12, 0, 0, 3, 0, 0, 42, 0], &inner)), "vxlan vni 42"),
            (udp4(4790, &with(&[12, 0, 0, 1, 0, 0, 42, 0], &v4)), "vxlan vni 42"),
            (udp4(4790, &with(&[12, 0, 0, 2, 0, 0, 42, 0], &v6)), "vxlan vni 42"),
            (ip4(47, &with(&[0, 0, 8, 0], &v4)), "gre"),
            (ip4(47, &with(&[0x20, 0, 0x65, 0x58, 0, 0, 0, 5], &inner)), "gre key 5"),
            (
                ip4(47, &with(&[0xb0, 0, 0x86, 0xdd, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1], &v6)),
                "gre key 5",
            ),
            (ip6(47, &with(&[0, 0, 8, 0], &v4)), "gre"),
            (ip4(47, &with(&[0, 0, 0x88, 0xbe], &inner)), "erspan"),
            (
                ip4(
                    47,
                    &with(&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 0, 0, 9, 0, 0, 0, 0], &inner),
                ),
                "erspan",
            ),
            (ip4(47, &with(&third, &inner)), "erspan"),
            (ip4(47, &with(&third_ip, &v6)), "erspan"),
            (ip4(4, &v4), "ip-in-ip"),
            (ip4(41, &v6), "6in4"),
            (ip6(41, &v6), "6in6"),
            (ip6(4, &v4), "ip-in-ip"),
            (udp4(2152, &with(&[0x30, 255, 0, 0, 0, 0, 0, 9], &v4)), "gtp-u"),
            (
                udp4(2152, &with(&[0x34, 255, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0x85, 1, 0, 0, 0], &v6)),
                "gtp-u",
            ),
        ];
        for (bytes, name) in packets {
            see(RAW, &bytes).unwrap_or_else(|skip| panic!("{name}: {skip:?}")).is_request(name);
        }
    }

    #[test]
    fn nested_tunnels_are_named_from_the_outside_in() {
        let gre =
            ip4(47, &[&[0, 0, 0x65, 0x58], &ether(0x0800, &vxlan(7, &request()))[..]].concat());
        see(RAW, &gre).expect("a segment").is_request("gre / vxlan vni 7");
    }

    #[test]
    fn nesting_has_a_bound() {
        let mut bytes = tcp4(REQUEST);
        for _ in 0..MAX_NESTING {
            bytes = ip4(4, &bytes);
        }
        let name = ["ip-in-ip"; MAX_NESTING as usize].join(" / ");
        see(RAW, &bytes).expect("a segment").is_request(&name);
        assert_eq!(see(RAW, &ip4(4, &bytes)).expect_err("too deep"), Skip::TooDeep);
    }

    #[test]
    fn identity_is_the_path_and_its_numbers_and_nothing_else() {
        let mut decoder = decoder();
        let mut id = |bytes: &[u8]| {
            see_frame(&mut decoder, &frame(RAW, bytes)).expect("a segment").segment.tunnel
        };
        let first = id(&vxlan(1, &request()));
        let mut other_way = vxlan(1, &request());
        other_way[12..20].rotate_left(4);
        assert_eq!(id(&other_way), first);
        let tagged = ether(0x8100, &[&[0, 9, 8, 0], &tcp4(REQUEST)[..]].concat());
        assert_eq!(id(&vxlan(1, &tagged)), first);
        assert_ne!(id(&vxlan(2, &request())), first);
        assert_eq!(id(&tcp4(REQUEST)), TunnelId(0));
    }

    #[test]
    fn tunnels_beyond_the_bound_share_one_identity() {
        let mut decoder = decoder();
        let mut ids = Vec::new();
        for key in 0..MAX_TUNNELS as u32 + 3 {
            let header = [&[0x20, 0, 8, 0][..], &key.to_be_bytes(), &tcp4(REQUEST)].concat();
            let seen = see_frame(&mut decoder, &frame(RAW, &ip4(47, &header)));
            ids.push(seen.expect("a segment").segment.tunnel);
        }
        assert_eq!(ids[MAX_TUNNELS], ids[MAX_TUNNELS + 2]);
        assert_eq!(decoder.tunnel_name(ids[MAX_TUNNELS]), "other");
        assert_eq!(decoder.tunnel_name(ids[0]), "gre key 0");
        assert_eq!(decoder.tunnel_names().len(), MAX_TUNNELS + 2);
        assert_eq!(decoder.counters().tunnels_shared, 3);
    }

    #[test]
    fn vxlan_ports_are_an_option() {
        let mut bytes = vxlan(1, &request());
        bytes[22..24].copy_from_slice(&8472u16.to_be_bytes());
        // Nobody else reads it unasked, but what it is can be said.
        assert_eq!(see(RAW, &bytes).expect_err("UDP"), Skip::LinuxVxlan);
        let mut decoder = Decoder::new(DecoderOptions { vxlan_ports: vec![8472] });
        see_frame(&mut decoder, &frame(RAW, &bytes)).expect("a segment").is_request("vxlan vni 1");
    }

    #[test]
    fn what_only_looks_like_a_tunnel_stays_what_it_is() {
        let packets = [
            (udp4(4789, &[0; 60]), Skip::IpProtocol(UDP)),
            (udp4(8472, &[8, 0, 0, 0, 0, 0, 1, 0]), Skip::IpProtocol(UDP)),
            (udp4(8472, &[0; 60]), Skip::IpProtocol(UDP)),
            (udp4(4790, &[12, 0, 0, 4, 0, 0, 0, 0]), Skip::IpProtocol(UDP)),
            (udp4(6081, &[0xff; 60]), Skip::IpProtocol(UDP)),
            (udp4(2152, &[0x32, 1, 0, 4, 0, 0, 0, 0]), Skip::IpProtocol(UDP)),
            (ip4(47, &[0x30, 0x81, 0x88, 0x0b, 0, 0, 0, 0]), Skip::IpProtocol(47)),
            (ip4(47, &[0; 4]), Skip::EtherType(0)),
            (udp4(443, &[0xc3, 0, 0, 0, 1, 8, 9]), Skip::Quic),
            (udp4(5684, &[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 9]), Skip::Dtls),
            (udp4(5684, &[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0]), Skip::IpProtocol(UDP)),
            (udp4(443, &[0x43, 0, 0, 0, 1, 8, 9]), Skip::IpProtocol(UDP)),
            (udp4(444, &[0xc3, 0, 0, 0, 1, 8, 9]), Skip::IpProtocol(UDP)),
        ];
        for (bytes, skip) in packets {
            assert_eq!(see(RAW, &bytes).expect_err("nothing for us"), skip);
        }
    }
}
