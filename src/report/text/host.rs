//! What happened on the host that captured.

use super::page::{LABEL, Page};
use crate::host::History;
use crate::host::texts::clock;
use crate::report::words;
use std::io;

/// Events that are listed, the latest; JSON has more.
const EVENTS_SHOWN: usize = 20;
/// Ports that are named.
const PORTS_SHOWN: usize = 8;

pub(super) fn section(page: &mut Page<'_>, history: &History) -> io::Result<()> {
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
        if port.listeners.is_empty() && port.gone.is_none() {
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
