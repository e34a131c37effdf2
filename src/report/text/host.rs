//! What happened on the host that captured.

use super::page::{LABEL, Page};
use crate::host::History;
use crate::host::texts::clock;
use crate::packet::Endpoint;
use crate::report::words;
use std::collections::BTreeSet;
use std::io;

/// Events that are listed, the latest; JSON has more.
const EVENTS_SHOWN: usize = 20;
/// Ports that are named.
const PORTS_SHOWN: usize = 8;

/// Whether it says something that nothing listens on `port` here: not where all who asked it asked other
/// hosts, as a load balancer does.
fn concerns(port: u16, history: &History, servers: &BTreeSet<Endpoint>) -> bool {
    let mut asked = servers.iter().filter(|server| server.port == port).peekable();
    asked.peek().is_none() || asked.any(|server| history.addresses.contains(server.addr()))
}

/// `servers`: who accepted connections, or was asked to.
pub(super) fn section(
    page: &mut Page<'_>,
    history: &History,
    servers: &BTreeSet<Endpoint>,
) -> io::Result<()> {
    page.blank()?;
    page.heading("This host")?;
    if let Some((first, last)) = history.seen {
        let ports: Vec<_> = history.ports.keys().take(PORTS_SHOWN).map(u16::to_string).collect();
        let more = match history.ports.len().saturating_sub(PORTS_SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let ports = match ports.as_slice() {
            [] => "no port listens".to_owned(),
            ports => format!("ports {}{more}", ports.join(", ")),
        };
        page.field("Watched", format!("{} to {}, {ports}", clock(first), clock(last)))?;
    }
    if let Some(why) = &history.unseen {
        page.field("Not seen", why.as_str())?;
    }
    for (number, port) in history.ports.iter().filter(|_| !history.every_port) {
        let never = port.listeners.is_empty() && port.gone.is_none();
        if never && concerns(*number, history, servers) {
            page.field("", format!("nothing ever listened on port {number}"))?;
        }
    }
    let hidden = history.events.len().saturating_sub(EVENTS_SHOWN);
    let earlier = hidden as u64 + history.forgotten;
    if earlier > 0 {
        page.field("", format!("{} before these", words::plural(earlier, "event")))?;
    } else if history.events.is_empty() {
        page.field("", "nothing happened that explains failures")?;
    }
    for event in history.events.iter().skip(hidden) {
        page.hanging(&format!("  {:width$}", clock(event.at), width = LABEL - 2), event.text())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Addresses;
    use std::net::IpAddr;

    #[test]
    fn at_a_load_balancer_the_ports_of_its_targets_are_not_its_own() {
        let own: IpAddr = [10, 0, 1, 5].into();
        let history = History { addresses: Addresses::new(vec![(own, 32)]), ..History::default() };
        let (here, there) = (Endpoint::v4([10, 0, 1, 5], 8080), Endpoint::v4([10, 0, 2, 9], 8080));
        let asked =
            |servers: &[Endpoint]| concerns(8080, &history, &servers.iter().copied().collect());
        assert!(!asked(&[there]), "others listen there");
        assert!(asked(&[here, there]) && asked(&[here]), "asked here, too");
        assert!(asked(&[]) && asked(&[Endpoint::v4([10, 0, 2, 9], 80)]), "nobody asked");
    }
}
