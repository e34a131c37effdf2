//! Alerts (RFC 8446, 6; RFC 5246, 7.2).

use super::names::CLOSE_NOTIFY;
use crate::tcp::Side;
use crate::time::Mark;

/// An alert record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert {
    /// The frame that carries it.
    pub mark: Mark,
    /// Who sent it.
    pub side: Side,
    /// Level and description ([`alert_name`](super::alert_name)); `None` when they are encrypted.
    pub said: Option<(u8, u8)>,
    /// Its record is encrypted, whether keys opened it or not.
    pub encrypted: bool,
    /// It came before the handshake was over, as far as the capture shows.
    pub in_handshake: bool,
    /// How much of the peer's stream its sender had received; `None` when that is not known.
    pub acked: Option<u64>,
}

impl Alert {
    /// It is known to report an error: a fatal alert, or one of TLS 1.3, where the level counts for
    /// nothing. Close and cancellation report none.
    pub fn is_fatal(&self) -> bool {
        const USER_CANCELED: u8 = 90;
        const NO_RENEGOTIATION: u8 = 100;
        const FATAL: u8 = 2;
        match self.said {
            Some((_, CLOSE_NOTIFY | USER_CANCELED | NO_RENEGOTIATION)) | None => false,
            Some((level, _)) => level == FATAL || self.encrypted,
        }
    }

    /// It is known to be the regular close.
    pub fn is_close(&self) -> bool {
        self.said.is_some_and(|(_, description)| description == CLOSE_NOTIFY)
    }
}
