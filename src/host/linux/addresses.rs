//! Addresses of this host: those that the kernel delivers to itself.

use super::files;
use crate::host::addresses::Addresses;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Reads them from `/proc/net/fib_trie` and `if_inet6`, which needs no right and no netlink.
pub(super) fn read() -> Addresses {
    let text = |path| files::read(path).unwrap_or_default();
    let mut nets = v4(&text("/proc/net/fib_trie"));
    nets.extend(v6(&text("/proc/net/if_inet6")));
    Addresses::new(nets)
}

/// Routes to this host, such as `/32 host LOCAL` below `|-- 10.0.0.5`.
fn v4(trie: &str) -> Vec<(IpAddr, u8)> {
    let mut nets = Vec::new();
    let mut address = None;
    for line in trie.lines() {
        let line = line.trim_start();
        if let Some(leaf) = line.strip_prefix("|-- ") {
            address = leaf.trim().parse::<Ipv4Addr>().ok();
        } else if let (Some(address), Some(length)) =
            (address, line.strip_prefix('/').and_then(|line| line.strip_suffix(" host LOCAL")))
        {
            nets.extend(length.parse().ok().map(|length| (IpAddr::V4(address), length)));
        }
    }
    nets
}

/// Thirty-two digits at the begin of each line.
fn v6(table: &str) -> Vec<(IpAddr, u8)> {
    let address = |line: &str| {
        let bits = u128::from_str_radix(line.split_ascii_whitespace().next()?, 16).ok()?;
        Some((IpAddr::V6(Ipv6Addr::from(bits)), 128))
    };
    table.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families() {
        let trie = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     |-- 10.0.0.0
        /24 link UNICAST
     |-- 10.0.0.5
        /32 host LOCAL
     |-- 10.0.0.255
        /32 link BROADCAST
     |-- 127.0.0.0
        /8 host LOCAL
";
        let wanted = ["10.0.0.5/32", "127.0.0.0/8"];
        let found: Vec<_> =
            v4(trie).iter().map(|(net, length)| format!("{net}/{length}")).collect();
        assert_eq!(found, wanted);
        let table = "fd000000000000000000000000000002 04 40 00 82     eth0\nbroken\n";
        assert_eq!(v6(table), [("fd00::2".parse().unwrap(), 128)]);
    }

    #[test]
    fn this_host_has_its_loopback() {
        assert!(read().contains("127.0.0.1".parse().unwrap()));
    }
}
