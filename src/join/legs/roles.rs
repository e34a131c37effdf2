//! Which hosts of a capture accept connections and open others: only those can be proxies, so that
//! of all other traffic nothing is kept.

use crate::packet::{Address, Endpoint};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// Addresses for which a role is remembered; past it further ones are taken for no proxies.
const HOSTS_MAX: usize = 1 << 16;

const CLIENT: u8 = 1;
const SERVER: u8 = 2;
const LOCAL: u8 = 4;

/// What is known of each address.
#[derive(Clone, Debug, Default)]
pub struct Roles {
    /// Bits of the roles. Nothing depends on the order.
    hosts: HashMap<Address, u8, RandomState>,
    /// Roles that addresses of the capturing host have.
    local: u8,
    /// Addresses that were not remembered.
    forgotten: u64,
}

impl Roles {
    /// A connection was opened.
    pub fn opened(&mut self, client: Endpoint, server: Endpoint) {
        self.add(client.ip, CLIENT);
        self.add(server.ip, SERVER);
    }

    /// The capture tells that this address belongs to the host that captured.
    pub fn learn_local(&mut self, address: Address) {
        self.add(address, LOCAL);
    }

    /// Whether one end of such a connection may be a proxy, as far as is known by now.
    pub fn may_be_leg(&self, client: Address, server: Address) -> bool {
        let of = |address| self.of(address);
        let (asking, accepting) = (of(client), of(server));
        asking & SERVER != 0
            || accepting & CLIENT != 0
            || (asking & LOCAL != 0 && self.local & SERVER != 0)
            || (accepting & LOCAL != 0 && self.local & CLIENT != 0)
    }

    /// Whether this address is known to belong to the host that captured.
    pub fn knows_local(&self, address: Address) -> bool {
        is_loopback(address) || self.of(address) & LOCAL != 0
    }

    /// Addresses that were not remembered to stay within their bound.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn of(&self, address: Address) -> u8 {
        self.hosts.get(&address).copied().unwrap_or_default()
    }

    fn add(&mut self, address: Address, role: u8) {
        if self.hosts.len() >= HOSTS_MAX && !self.hosts.contains_key(&address) {
            self.forgotten += 1;
            return;
        }
        let roles = self.hosts.entry(address).or_default();
        *roles |= role;
        if *roles & LOCAL != 0 || is_loopback(address) {
            self.local |= *roles;
        }
    }
}

/// `127.0.0.0/8` and `::1`: the capturing host's own, wherever it is.
fn is_loopback(address: Address) -> bool {
    Endpoint { ip: address, port: 0 }.addr().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(last: u8) -> Endpoint {
        Endpoint::v4([10, 0, 0, last], 80)
    }

    #[test]
    fn only_what_accepts_and_opens_is_a_proxy() {
        let mut roles = Roles::default();
        roles.opened(host(1), host(2));
        assert!(!roles.may_be_leg(host(1).ip, host(2).ip));
        roles.opened(host(2), host(3));
        assert!(roles.may_be_leg(host(1).ip, host(2).ip));
        assert!(roles.may_be_leg(host(2).ip, host(3).ip));
        assert!(!roles.may_be_leg(host(1).ip, host(3).ip));
    }

    #[test]
    fn addresses_of_one_host_may_differ() {
        let mut roles = Roles::default();
        let loopback = Endpoint::v4([127, 0, 0, 1], 8000);
        roles.opened(loopback, loopback);
        roles.opened(host(2), host(3));
        assert!(!roles.may_be_leg(host(2).ip, host(3).ip));
        roles.learn_local(host(2).ip);
        assert!(roles.may_be_leg(host(2).ip, host(3).ip));
        assert!(roles.knows_local(loopback.ip) && roles.knows_local(host(2).ip));
        assert!(!roles.knows_local(host(3).ip));
    }
}
