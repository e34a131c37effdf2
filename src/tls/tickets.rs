//! Session tickets of TLS 1.3: how long those of a server are.
//!
//! They come unasked behind the handshake and look like data. Two of one length in a row are
//! tickets (what OpenSSL, BoringSSL and rustls send after a full handshake); a resumed connection
//! mostly gets one, which only what was learned before tells from a short answer.

use crate::packet::Endpoint;
use hashbrown::HashMap;

/// Servers of which the length is kept; those met later are not learned.
const SERVERS_MAX: usize = 1 << 12;

/// What is known of the tickets of servers.
#[derive(Debug, Default)]
pub struct Tickets {
    lengths: HashMap<Endpoint, u16>,
}

impl Tickets {
    /// Length of the records in which `server` sends tickets.
    pub(super) fn length(&self, server: Endpoint) -> Option<usize> {
        self.lengths.get(&server).map(|length| usize::from(*length))
    }

    /// `server` sends tickets in records of this length.
    pub(super) fn learn(&mut self, server: Endpoint, length: usize) {
        let room = self.lengths.len() < SERVERS_MAX || self.lengths.contains_key(&server);
        if let (true, Ok(length)) = (room, u16::try_from(length)) {
            self.lengths.insert(server, length);
        }
    }
}
