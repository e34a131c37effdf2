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

const GENEVE_PORT: u16 = 6081;
const GTP_U_PORT: u16 = 2152;
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
            port if self.vxlan_ports.contains(&port) => self.vxlan(rest),
            _ if (from == HTTPS_PORT || to == HTTPS_PORT) && is_quic(rest.bytes) => Err(Skip::Quic),
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

/// RFC 9000, 17.2: a long header, of version 1 or 2 (RFC 9369). The rest of a connection has short
/// headers, which nothing tells apart from other UDP.
fn is_quic(datagram: &[u8]) -> bool {
    let Some([first, version @ ..]) = datagram.first_chunk::<5>() else { return false };
    *first >= 0xc0 && matches!(u32::from_be_bytes(*version), 1 | 0x6b33_43cf)
}
