//! The keys of one connection, as far as a key log holds them: which of them is in use when.

use super::names::{TLS12, TLS13};
use super::record::{Record, content};
use super::{ClientHello, KeyLog, Label, OpenError, Opener, ServerHello};
use crate::tcp::Side;

/// Records in a row that do not open, after which a direction is given up: trying costs up to
/// [`GAP_RECORDS_MAX`](super::GAP_RECORDS_MAX) times the opening of one.
const REFUSED_MAX: u8 = 3;

/// Keys of both directions.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    halves: [Half; 2],
    is_13: bool,
    /// What opens the client's part of the handshake, while early data is sent.
    behind_early: Option<Opener>,
}

/// Keys of one direction.
#[derive(Clone, Debug, Default)]
struct Half {
    /// In use.
    now: Option<Opener>,
    /// For application data, while the handshake lasts (TLS 1.3).
    next: Option<Opener>,
    /// An unknown number of records was not seen.
    behind_gap: bool,
    /// Records in a row that did not open.
    refused: u8,
}

impl Keys {
    /// The keys of a connection that began with these hellos; `None` when the log holds none that
    /// open its records.
    pub(super) fn of(log: &KeyLog, offer: &ClientHello, hello: &ServerHello) -> Option<Keys> {
        if log.is_empty() {
            return None;
        }
        let is_13 = hello.version == TLS13;
        let half = |side: Side| {
            let (handshake, traffic) = match side {
                Side::Client => (Label::ClientHandshake, Label::ClientTraffic),
                Side::Server => (Label::ServerHandshake, Label::ServerTraffic),
            };
            let secret = |label| log.secret(&offer.random, label);
            let opener = |label| Opener::tls13(hello.suite, secret(label)?);
            if is_13 {
                let (now, next) = (opener(handshake), opener(traffic));
                return Half { now, next, ..Half::default() };
            }
            let master: Option<&[u8; 48]> =
                secret(Label::Master).and_then(|bytes| bytes.try_into().ok());
            let now = master.and_then(|master| {
                Opener::tls12(hello.suite, master, &offer.random, &hello.random, side)
            });
            Half { now, ..Half::default() }
        };
        let halves = [half(Side::Client), half(Side::Server)];
        // What only one side says would look like requests without answers.
        let both = halves.iter().all(|half| if is_13 { &half.next } else { &half.now }.is_some());
        (both && (is_13 || hello.version == TLS12)).then_some(Keys {
            halves,
            is_13,
            behind_early: None,
        })
    }

    /// Whether `record` of `side` is one that these keys open; `encrypted` says that the side has
    /// sent ChangeCipherSpec, which in TLS 1.3 means nothing.
    pub(super) fn fit(&self, side: Side, record: &Record<'_>, encrypted: bool) -> bool {
        let protected = match record.kind() {
            content::APPLICATION_DATA => true,
            content::HANDSHAKE | content::ALERT => !self.is_13 && encrypted,
            _ => false,
        };
        protected && self.halves[side as usize].now.is_some()
    }

    /// Opens a whole record: the type of its content.
    pub(super) fn open(
        &mut self,
        side: Side,
        record: &Record<'_>,
        plain: &mut Vec<u8>,
    ) -> Result<u8, OpenError> {
        let half = &mut self.halves[side as usize];
        let (Some(opener), Some(body)) = (&mut half.now, record.body) else {
            return Err(OpenError::Refused);
        };
        let opened = if half.behind_gap {
            opener.open_after_gap(record.header, body, plain)
        } else {
            opener.open(record.header, body, plain)
        };
        half.behind_gap &= opened.is_err();
        half.refused = if opened.is_ok() { 0 } else { half.refused + 1 };
        if half.refused == REFUSED_MAX {
            half.now = None;
        }
        opened
    }

    /// A record of `side` cannot be opened.
    pub(super) fn skip(&mut self, side: Side) {
        if let Some(opener) = &mut self.halves[side as usize].now {
            opener.skip();
        }
    }

    /// Records of `side` are missing.
    pub(super) fn lose(&mut self, side: Side) {
        self.halves[side as usize].behind_gap = true;
    }

    /// `side` has sent Finished: from now on it uses its keys for application data.
    pub(super) fn finished(&mut self, side: Side) {
        let half = &mut self.halves[side as usize];
        if let Some(next) = half.next.take() {
            *half = Half { now: Some(next), ..Half::default() };
        }
    }

    /// The client sends early data first, which `opener` opens.
    pub(super) fn early(&mut self, opener: Opener) {
        let half = &mut self.halves[Side::Client as usize];
        self.behind_early = half.now.replace(opener);
    }

    /// The early data is over (EndOfEarlyData).
    pub(super) fn early_is_over(&mut self) {
        if let Some(handshake) = self.behind_early.take() {
            self.halves[Side::Client as usize].now = Some(handshake);
        }
    }

    /// `side` goes on with new keys (KeyUpdate).
    pub(super) fn update(&mut self, side: Side) {
        if let Some(opener) = &mut self.halves[side as usize].now {
            opener.update();
        }
    }
}
