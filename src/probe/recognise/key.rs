//! Which group a candidate belongs to.

use crate::http::State;
use crate::packet::{Address, Endpoint, TunnelId};
use crate::probe::file::{On, Proxied};
use crate::probe::head::hash;
use crate::probe::rule::host_shape;
use crate::probe::sighting::{Shape, Sighting};
use crate::tls::Handshake;

/// What one group has in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) tunnel: TunnelId,
    pub(super) source: Address,
    pub(super) target: Endpoint,
    pub(super) on: u8,
    pub(super) asked: u64,
}

/// [`Key::on`] of HTTP requests.
pub(super) const HTTP: u8 = 1;
/// [`Key::on`] of TLS handshakes.
pub(super) const TLS: u8 = 2;
/// [`Key::on`] of bytes of other protocols.
pub(super) const PAYLOAD: u8 = 3;
/// [`Key::on`] of connections without payload.
pub(super) const BARE: u8 = 5;
/// [`Key::on`] of failed attempts, of which nothing else is known.
pub(super) const ATTEMPTS: u8 = 4;

/// Sets apart the requests behind a PROXY header that says LOCAL.
const LOCAL: u8 = 1;

/// Where a candidate belongs.
pub(super) fn key(sighting: &Sighting, attempt: bool) -> Key {
    let Sighting { tunnel, source, target, .. } = *sighting;
    let (on, asked) = match (&sighting.request, sighting.on()) {
        // What a proxy asks for itself is not what it asks for others.
        (Some(facts), _) if sighting.is_proxied(Proxied::Local) => {
            (HTTP, hash((facts.asked, LOCAL)))
        }
        (Some(facts), _) => (HTTP, facts.asked),
        (None, On::Tls) => {
            let hello = sighting.tls.as_ref().and_then(|tls| tls.client_hello.as_ref());
            let hello = hello.map_or(0, |hello| hello.digest);
            (TLS, hash((hello, sent_after_hello(sighting))))
        }
        (None, On::Payload) => {
            let start = &sighting.opening[..sighting.opening.len().min(12)];
            let proxied = sighting.proxy.map(|proxy| proxy.version);
            (PAYLOAD, hash((start, proxied)))
        }
        _ if attempt => (ATTEMPTS, 0),
        // Whether FIN or RST ends it is chance.
        _ if matches!(sighting.shape, Shape::ConnectFin | Shape::ConnectReset) => (BARE, 0),
        _ => (6, sighting.shape as u64),
    };
    Key { tunnel, source: source.ip, target, on, asked }
}

/// Bytes of the client behind its hello, which is longer when it offers to resume a session.
fn sent_after_hello(sighting: &Sighting) -> u64 {
    // Type, version and length of the record (RFC 8446, 5.1).
    let length = sighting
        .opening
        .get(3..5)
        .map_or(0, |length| 5 + u64::from(u16::from_be_bytes([length[0], length[1]])));
    sighting.payload[0].saturating_sub(length)
}

/// What is asked, without what differs between the sources and targets of one checker.
pub(super) fn shape(key: &Key, sighting: &Sighting) -> u64 {
    let Some(facts) = &sighting.request else { return key.asked };
    hash((facts.topic, host_shape(facts, sighting.source, sighting.target)))
}

/// Whose check it is: that of all sources that ask the target the same.
pub(super) fn checker(key: &Key, shape: u64) -> u64 {
    hash((key.tunnel, key.target, key.on, shape))
}

/// A connection attempt that failed.
pub(super) fn is_attempt(sighting: &Sighting) -> bool {
    matches!(sighting.shape, Shape::Refused | Shape::Unanswered | Shape::Abandoned)
}

/// A TLS handshake that came to nothing, a request in TLS that was not answered, a SYN-ACK that came
/// when its client had given up, or a connection that the server reset before its client said or
/// closed anything.
pub(super) fn is_stalled(sighting: &Sighting) -> bool {
    let failed = |tls: &Handshake| {
        let unanswered = matches!(tls.last_turn, Some(State::Unanswered | State::Cut));
        !tls.unread && (tls.established.is_none() || unanswered)
    };
    (sighting.on() == On::Tls && sighting.tls.as_deref().is_some_and(failed))
        || matches!(sighting.shape, Shape::HalfOpen | Shape::ServerClosed)
}
