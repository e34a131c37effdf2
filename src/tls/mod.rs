//! TLS of one connection (RFC 8446, RFC 5246), from two ordered byte streams with gaps.
//!
//! Reads handshakes; follows what is encrypted by the length, direction and time of its records.
//! Knows offsets in a stream, not sequence numbers; knows nothing of causes.

mod aead;
mod alert;
mod certificate;
mod cipher;
mod hello;
mod keylog;
mod keys;
mod messages;
mod names;
mod protected;
mod record;
#[cfg(test)]
mod recorded;
mod schedule;
#[cfg(test)]
mod script;
mod session;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tickets;
mod turns;

pub use aead::is_aead;
pub use alert::Alert;
pub use certificate::Certificate;
pub use cipher::{GAP_RECORDS_MAX, OpenError, Opener};
pub use hello::{ClientHello, ServerHello};
pub use keylog::{KeyLog, Label, Lines, SESSIONS_MAX, Unusable};
pub use names::{alert_meaning, alert_name, cipher_name, version_name};
pub use session::{Inner, Session};
pub use tickets::Tickets;

use crate::http::State;
use crate::tcp::Side;
use crate::time::{Mark, Timestamp};
use thin_vec::ThinVec;

/// What a connection shows of its TLS handshake and of its end. Facts only.
#[derive(Clone, Debug, Default)]
pub struct Handshake {
    /// The last ClientHello.
    pub client_hello: Option<Box<ClientHello>>,
    /// The server asked for another ClientHello (HelloRetryRequest, RFC 8446, 4.1.4).
    pub retry: Option<Mark>,
    /// The ServerHello.
    pub server_hello: Option<ServerHello>,
    /// The server's own certificate; in TLS 1.3 only with keys.
    pub certificate: Option<Box<Certificate>>,
    /// The server demanded a certificate of the client; in TLS 1.3 only with keys.
    pub certificate_request: Option<Mark>,
    /// The client's Certificate message.
    pub client_certificate: Option<ClientCertificate>,
    /// Finished of `[client, server]`; the server's in TLS 1.3 only with keys.
    pub finished: [Option<Mark>; 2],
    /// The client may send application data: both Finished are there (TLS 1.2), or the client's
    /// own (TLS 1.3).
    pub established: Option<Mark>,
    /// First application data of `[client, server]`. A session ticket of TLS 1.3 looks the same.
    pub data: [Option<Mark>; 2],
    /// Alerts in capture order, at most [`ALERTS_MAX`].
    pub alerts: ThinVec<Alert>,
    /// Bytes that are no TLS record where one has to begin.
    pub foreign: Option<Box<Foreign>>,
    /// The capture does not show the beginning of the handshake.
    pub midway: bool,
    /// Application data came before the end of the handshake could be seen (0-RTT, a version that is
    /// not known): what the handshake came to is not known.
    pub unread: bool,
    /// Requests that were followed by the length of encrypted records alone.
    pub turns: u32,
    /// How the last of them ended.
    pub last_turn: Option<State>,
    /// When the last application data came, where requests are followed.
    pub last_data: Option<Timestamp>,
    /// Keys were at hand, and what they open was read.
    pub decrypted: bool,
}

/// Alerts kept per connection; further ones change nothing.
pub const ALERTS_MAX: usize = 8;

/// A Certificate message of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its frame.
    pub mark: Mark,
    /// It holds no certificate: the client has none for this server.
    pub empty: bool,
}

/// Something else where a TLS record has to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// The frame that carries it.
    pub mark: Mark,
    /// Who sent it.
    pub side: Side,
    /// It is an HTTP/1 status line or request line.
    pub http: bool,
    /// It came before any record of this side.
    pub first: bool,
    /// The bytes, escaped, at most 60 characters.
    pub sample: String,
}

impl Handshake {
    /// The version in use, as two bytes ([`version_name`]).
    pub fn version(&self) -> Option<u16> {
        self.server_hello.as_ref().map(|hello| hello.version)
    }

    /// TLS 1.3 is in use, which encrypts what follows the hellos.
    pub fn is_13(&self) -> bool {
        self.version() == Some(names::TLS13)
    }

    /// The server refused every version that the client offers.
    pub fn has_no_version_in_common(&self) -> bool {
        let refused = |alert: &Alert| {
            alert.side == Side::Server
                && alert.said.is_some_and(|(_, code)| code == names::PROTOCOL_VERSION)
        };
        self.fatal_alert().is_some_and(refused)
    }

    /// The session was resumed: there was no need for a certificate.
    pub fn resumed(&self) -> bool {
        self.server_hello.as_ref().is_some_and(|hello| hello.resumed)
    }

    /// The first alert that ends the handshake or the connection with an error. What an encrypted
    /// alert says is not known.
    pub fn fatal_alert(&self) -> Option<&Alert> {
        self.alerts.iter().find(|alert| alert.is_fatal())
    }
}
