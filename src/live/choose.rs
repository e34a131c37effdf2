//! Which interfaces, and which packets of them.

use super::run::LiveError;
use procfs::net::TcpState;
use std::collections::BTreeSet;

/// All interfaces at once, by libpcap's name for them.
pub(super) const ANY: &str = "any";
/// Ports in a filter; with more, all ports are captured: the kernel runs at most 4096 instructions
/// a packet, and a port takes a handful.
const PORTS_MAX: usize = 256;

/// What the user says of interfaces and packets.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Interfaces by name; none: that of the default route.
    pub interfaces: Vec<String>,
    /// TCP ports; none: those that something listens on.
    pub ports: Vec<u16>,
    /// Every TCP port.
    pub all_ports: bool,
    /// A libpcap filter in place of ports.
    pub filter: Option<String>,
    /// TCP ports of our own, never captured unless the user filters.
    pub own_ports: Vec<u16>,
}

/// What is captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Interfaces by name.
    pub interfaces: Vec<String>,
    /// libpcap filter.
    pub filter: String,
    /// In words, for people.
    pub what: String,
}

impl Selection {
    /// Settles what is left open.
    pub fn choose(&self) -> Result<Chosen, LiveError> {
        let interfaces = match self.interfaces.as_slice() {
            [] => vec![default_interface().ok_or(LiveError::NoRoute)?],
            given if given.iter().any(|name| name == ANY) => vec![ANY.to_owned()],
            given => given.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect(),
        };
        let listening = if self.ports.is_empty() && !self.all_ports && self.filter.is_none() {
            listening_ports()
        } else {
            BTreeSet::new()
        };
        let (filter, what) = self.packets(&listening);
        Ok(Chosen { interfaces, filter, what })
    }

    /// The filter and what it lets through, in words.
    fn packets(&self, listening: &BTreeSet<u16>) -> (String, String) {
        if let Some(filter) = &self.filter {
            return (filter.clone(), format!("packets that '{filter}' lets through"));
        }
        let own: BTreeSet<u16> = self.own_ports.iter().copied().collect();
        let given: BTreeSet<u16> = self.ports.iter().copied().collect();
        let chosen = if given.is_empty() { listening } else { &given };
        let ports: Vec<String> = chosen.difference(&own).map(u16::to_string).collect();
        let every = self.all_ports || ports.is_empty() || ports.len() > PORTS_MAX;
        let tcp = if every {
            let own = own.iter().map(|port| format!(" and not port {port}"));
            format!("tcp{}", own.collect::<String>())
        } else {
            format!("tcp and (port {})", ports.join(" or port "))
        };
        let what = match (every, given.is_empty()) {
            (true, _) => "TCP on all ports".to_owned(),
            (false, true) => {
                format!("TCP on the ports that are listened on ({})", ports.join(", "))
            }
            (false, false) => format!("TCP on port {}", ports.join(", ")),
        };
        (format!("({tcp}) or {MORE}"), what)
    }
}

/// ICMP errors that quote a packet (RFC 792: unreachable, source quench, redirect, time exceeded,
/// parameter problem; RFC 4443: types 1 to 4), and later fragments of TCP, which have no ports.
/// libpcap cannot index the header behind that of IPv6 by name.
const MORE: &str = "(icmp and (icmp[0] = 3 or icmp[0] = 4 or icmp[0] = 5 or icmp[0] = 11 or \
     icmp[0] = 12)) or (icmp6 and ip6[40] >= 1 and ip6[40] <= 4) or \
     (ip proto 6 and ip[6:2] & 0x1fff != 0)";

/// The interface of the IPv4 default route with the lowest metric, else of the IPv6 one.
fn default_interface() -> Option<String> {
    let routes = procfs::net::route().unwrap_or_default();
    let default = routes.iter().filter(|route| {
        route.destination.is_unspecified() && route.mask.is_unspecified() && route.iface != "lo"
    });
    default.min_by_key(|route| route.metrics).map(|route| route.iface.clone()).or_else(default_v6)
}

/// From `/proc/net/ipv6_route`: destination, prefix length, four other fields of which the last is
/// the metric, references, use, flags, interface.
fn default_v6() -> Option<String> {
    let text = std::fs::read_to_string("/proc/net/ipv6_route").ok()?;
    let routes = text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [destination, length, _, _, _, metric, .., interface] = fields.as_slice() else {
            return None;
        };
        let default = *length == "00" && destination.bytes().all(|digit| digit == b'0');
        (default && *interface != "lo")
            .then(|| (u32::from_str_radix(metric, 16).unwrap_or(u32::MAX), (*interface).to_owned()))
    });
    routes.min().map(|(_, interface)| interface)
}

/// TCP ports that something listens on, on any address.
fn listening_ports() -> BTreeSet<u16> {
    let tables = [procfs::net::tcp(), procfs::net::tcp6()];
    let sockets = tables.into_iter().flatten().flatten();
    sockets
        .filter(|socket| socket.state == TcpState::Listen)
        .map(|socket| socket.local_address.port())
        .collect()
}

/// The interfaces that can be captured on: name and what is to say of each.
pub fn list() -> Result<Vec<(String, String)>, LiveError> {
    let devices = pcap::Device::list().map_err(|error| LiveError::List(error.to_string()))?;
    let default = default_interface();
    let lines = devices.into_iter().map(|device| {
        let mut says: Vec<String> = Vec::new();
        if Some(&device.name) == default.as_ref() {
            says.push("default route".to_owned());
        }
        says.extend(device.desc);
        says.extend(device.addresses.iter().map(|address| address.addr.to_string()));
        if device.name != ANY && !device.flags.is_up() {
            says.push("down".to_owned());
        }
        (device.name, says.join(", "))
    });
    Ok(lines.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(selection: &Selection, listening: &[u16]) -> (String, String) {
        selection.packets(&listening.iter().copied().collect())
    }

    #[test]
    fn what_is_listened_on_is_captured_but_not_our_own_port() {
        let selection = Selection { own_ports: vec![9502], ..Selection::default() };
        let (filter, what) = packets(&selection, &[80, 9502]);
        assert!(filter.starts_with("(tcp and (port 80)) or (icmp"), "{filter}");
        assert_eq!(what, "TCP on the ports that are listened on (80)");
        let (filter, what) = packets(&Selection { all_ports: true, ..selection }, &[]);
        assert!(filter.starts_with("(tcp and not port 9502) or "), "{filter}");
        assert_eq!(what, "TCP on all ports");
    }

    #[test]
    fn the_filters_compile_and_let_icmp_errors_through() {
        let capture = pcap::Capture::dead(pcap::Linktype::ETHERNET).unwrap();
        let many = (1..=PORTS_MAX as u16).collect::<Vec<_>>();
        for ports in [vec![], vec![80], many] {
            let (filter, _) = packets(&Selection { ports, ..Selection::default() }, &[]);
            let program = capture.compile(&filter, true).unwrap();
            assert!(program.get_instructions().len() < 4096);
            let mut icmp = [0_u8; 60];
            (icmp[12], icmp[14], icmp[23], icmp[34]) = (0x08, 0x45, 1, 3);
            assert!(program.filter(&icmp));
            icmp[34] = 8;
            assert!(!program.filter(&icmp), "an echo request is no error");
        }
    }

    #[test]
    fn any_stands_for_all_and_names_count_once() {
        let choose = |names: &[&str]| {
            let interfaces = names.iter().map(|name| (*name).to_owned()).collect();
            Selection { interfaces, all_ports: true, ..Selection::default() }.choose().unwrap()
        };
        assert_eq!(choose(&["lo", "any"]).interfaces, ["any"]);
        assert_eq!(choose(&["lo", "lo"]).interfaces, ["lo"]);
    }
}
