//! Which addresses are this host's.

use std::net::IpAddr;

/// Nets that this host delivers to itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses(Vec<(IpAddr, u8)>);

/// Nets that are kept: a host with a thousand containers has some thousand addresses.
const NETS_MAX: usize = 1 << 16;

impl Addresses {
    /// Nets by address and length of their prefix.
    pub fn new(mut nets: Vec<(IpAddr, u8)>) -> Addresses {
        nets.sort_unstable();
        nets.dedup();
        nets.truncate(NETS_MAX);
        Addresses(nets)
    }

    /// Single addresses.
    pub fn of_hosts(hosts: &[IpAddr]) -> Addresses {
        let whole = |host: &IpAddr| {
            let host = host.to_canonical();
            (host, if host.is_ipv4() { 32 } else { 128 })
        };
        Addresses::new(hosts.iter().map(whole).collect())
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an address is this host's.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_loopback() || self.0.iter().any(|(net, length)| within(address, *net, *length))
    }
}

fn within(address: IpAddr, net: IpAddr, length: u8) -> bool {
    match (address, net) {
        (IpAddr::V4(address), IpAddr::V4(net)) => {
            let differ = address.to_bits() ^ net.to_bits();
            differ.leading_zeros() >= u32::from(length)
        }
        (IpAddr::V6(address), IpAddr::V6(net)) => {
            let differ = address.to_bits() ^ net.to_bits();
            differ.leading_zeros() >= u32::from(length)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_or_a_whole_net_is_local() {
        let net = |text: &str, length| (text.parse().unwrap(), length);
        let own =
            Addresses::new(vec![net("10.0.0.5", 32), net("192.0.2.0", 24), net("fd00::2", 128)]);
        let has = |text: &str| own.contains(text.parse().unwrap());
        assert!(has("10.0.0.5") && has("::ffff:10.0.0.5") && has("192.0.2.77") && has("fd00::2"));
        assert!(has("127.0.0.9") && has("::1"));
        assert!(!has("10.0.0.6") && !has("192.0.3.1") && !has("fd00::3"));
    }
}
