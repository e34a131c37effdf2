//! Which hosts of a capture are asked at one endpoint and ask others: only those can be proxies, so
//! that of all other traffic nothing is kept.

use crate::packet::{Address, Endpoint};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// Addresses for which a role is remembered, about 100 bytes each; past it further ones are taken
/// for no proxies.
const HOSTS_MAX: usize = 1 << 16;

/// What is known of each host.
#[derive(Clone, Debug, Default)]
pub struct Roles {
    /// By address. Nothing depends on the order.
    hosts: HashMap<Address, Host, RandomState>,
    /// The host that captured, with all its addresses.
    own: Host,
    /// Some host may be a proxy.
    any: bool,
    /// See [`Roles::forgotten`].
    forgotten: u64,
    /// Client and server of the latest connection, when both are remembered.
    latest: Option<(Address, Endpoint)>,
}

/// Where a host is asked and what it asks.
#[derive(Clone, Copy, Debug, Default)]
struct Host {
    /// Where it accepts connections.
    served: Ends,
    /// Where it opens connections to.
    asked: Ends,
    /// It is the one that captured.
    local: bool,
}

/// A set of endpoints, as far as [`Ends::beside`] needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ends {
    #[default]
    None,
    One(Endpoint),
    Several,
}

impl Ends {
    fn add(&mut self, other: Ends) {
        *self = match (*self, other) {
            (Ends::None, it) | (it, Ends::None) => it,
            (it, other) if it == other => it,
            _ => Ends::Several,
        };
    }

    /// Whether one is in it beside `this`.
    fn beside(self, this: Endpoint) -> bool {
        match self {
            Ends::None => false,
            Ends::One(only) => only != this,
            Ends::Several => true,
        }
    }
}

impl Host {
    fn add(&mut self, served: Ends, asked: Ends) {
        self.served.add(served);
        self.asked.add(asked);
    }

    /// Whether it is asked at one endpoint and asks another one.
    fn may_be_proxy(&self) -> bool {
        match self.served {
            Ends::None => false,
            Ends::One(served) => self.asked.beside(served),
            Ends::Several => self.asked != Ends::None,
        }
    }
}

impl Roles {
    /// A connection was opened.
    pub fn opened(&mut self, client: Endpoint, server: Endpoint) {
        let latest = Some((client.ip, server));
        if self.latest == latest {
            return;
        }
        let end = Ends::One(server);
        let client = self.add(client.ip, |host| host.asked.add(end));
        let server = self.add(server.ip, |host| host.served.add(end));
        self.latest = latest.filter(|_| client && server);
    }

    /// The capture tells that this address belongs to the host that captured.
    pub fn learn_local(&mut self, address: Address) {
        self.add(address, |host| host.local = true);
    }

    /// Whether one end of such a connection may be a proxy, as far as is known by now.
    pub fn may_be_leg(&self, client: Address, server: Endpoint) -> bool {
        self.any
            && (self.of(server.ip).asked.beside(server) || self.of(client).served.beside(server))
    }

    /// Whether the host that is asked at `server` asks anything else.
    pub fn asks_beside(&self, server: Endpoint) -> bool {
        self.any && self.of(server.ip).asked.beside(server)
    }

    /// Whether this address is known to belong to the host that captured.
    pub fn knows_local(&self, address: Address) -> bool {
        is_loopback(address) || self.hosts.get(&address).is_some_and(|host| host.local)
    }

    /// Times that what an address did was not remembered, as there were too many addresses.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The host with this address.
    fn of(&self, address: Address) -> Host {
        let known = self.hosts.get(&address).copied().unwrap_or_default();
        if known.local { self.own } else { known }
    }

    /// Whether there is room to remember it.
    fn add(&mut self, address: Address, learn: impl Fn(&mut Host)) -> bool {
        if self.hosts.len() >= HOSTS_MAX && !self.hosts.contains_key(&address) {
            self.forgotten += 1;
            return false;
        }
        let host = self.hosts.entry(address).or_default();
        learn(host);
        host.local |= is_loopback(address);
        if host.local {
            self.own.add(host.served, host.asked);
        }
        self.any |= host.may_be_proxy() || self.own.may_be_proxy();
        true
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

    fn loopback(port: u16) -> Endpoint {
        Endpoint::v4([127, 0, 0, 1], port)
    }

    #[test]
    fn only_what_accepts_and_opens_is_a_proxy() {
        let mut roles = Roles::default();
        roles.opened(host(1), host(2));
        assert!(!roles.may_be_leg(host(1).ip, host(2)));
        roles.opened(host(2), host(3));
        assert!(roles.may_be_leg(host(1).ip, host(2)));
        assert!(roles.may_be_leg(host(2).ip, host(3)));
        assert!(!roles.may_be_leg(host(1).ip, host(3)));
    }

    #[test]
    fn a_host_that_only_asks_itself_where_it_is_asked_is_no_proxy() {
        let mut roles = Roles::default();
        roles.opened(loopback(40_000), loopback(8080));
        roles.opened(host(2), host(2));
        assert!(!roles.any);
        assert!(!roles.may_be_leg(loopback(0).ip, loopback(8080)));
        assert!(!roles.may_be_leg(host(2).ip, host(2)));
        // Another port of the same host may be the target of the first.
        roles.opened(loopback(40_001), loopback(80));
        assert!(roles.may_be_leg(loopback(0).ip, loopback(80)));
        assert!(roles.may_be_leg(loopback(0).ip, loopback(8080)));
        assert!(!roles.may_be_leg(host(2).ip, host(2)));
    }

    #[test]
    fn a_second_port_that_is_served_is_not_one_that_is_asked() {
        let mut roles = Roles::default();
        roles.opened(host(2), host(2));
        roles.opened(host(1), Endpoint { port: 81, ..host(2) });
        // It is asked at port 81 and asks port 80 of itself.
        assert!(roles.may_be_leg(host(1).ip, Endpoint { port: 81, ..host(2) }));
        assert!(roles.may_be_leg(host(2).ip, host(2)));
        assert!(!roles.may_be_leg(host(1).ip, host(2)));
    }

    #[test]
    fn addresses_of_one_host_may_differ() {
        let mut roles = Roles::default();
        roles.opened(loopback(40_000), loopback(8000));
        roles.opened(host(2), host(3));
        assert!(!roles.may_be_leg(host(2).ip, host(3)));
        roles.learn_local(host(2).ip);
        assert!(roles.may_be_leg(host(2).ip, host(3)));
        assert!(roles.knows_local(loopback(0).ip) && roles.knows_local(host(2).ip));
        assert!(!roles.knows_local(host(3).ip));
    }
}
