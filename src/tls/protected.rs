//! What keys open: the rest of the handshake, alerts, and the HTTP inside, which then is an
//! ordinary conversation.

use super::keys::Keys;
use super::record::{Record, content};
use super::session::{Inner, Session};
use super::{KeyLog, Label, Opener};
use crate::blind::BlindSpot;
use crate::http::Conversation;
use crate::tcp::{At, Side};
use crate::time::Mark;

/// Bytes of early data that wait until the server accepts them; nginx takes 16 KiB.
const EARLY_MAX: usize = 1 << 16;

/// A record of early data (RFC 8446, 4.2.10) that waits for the server's decision.
#[derive(Clone, Debug)]
pub(super) struct Early {
    header: [u8; 5],
    from: At,
    last: Mark,
    end: u64,
    body: Box<[u8]>,
}

impl Early {
    /// Memory held.
    pub(super) fn body_len(&self) -> usize {
        self.body.len()
    }
}

impl Session {
    /// Looks for the keys of this connection. `at_hello` says that no protected record has passed
    /// since the ServerHello.
    pub(super) fn find_keys(&mut self, at_hello: bool, mark: Mark, inner: &mut Inner<'_>) {
        let (Some(offer), Some(hello)) = (&self.facts.client_hello, &self.facts.server_hello)
        else {
            return;
        };
        let Some(mut keys) = Keys::of(inner.log, offer, hello) else { return };
        for side in [Side::Client, Side::Server] {
            if self.facts.established.is_some() {
                keys.finished(side);
            }
            if !at_hello {
                keys.lose(side);
            }
        }
        self.keys = Some(Box::new(keys));
        *inner.conversation = Conversation::new(Some(mark));
    }

    /// Whether `record` is to be opened with the keys at hand.
    pub(super) fn is_protected(&self, side: Side, record: &Record<'_>) -> bool {
        let encrypted = self.halves[side as usize].encrypted;
        self.keys.as_ref().is_some_and(|keys| keys.fit(side, record, encrypted))
    }

    /// Opens a record; `false` when the keys turn out to be those of another connection.
    pub(super) fn unlock(
        &mut self,
        side: Side,
        record: &Record<'_>,
        inner: &mut Inner<'_>,
    ) -> bool {
        let rejects_early = side == Side::Client && self.rejects_early();
        let Some(keys) = &mut self.keys else { return false };
        let mut plain = Vec::new();
        match keys.open(side, record, &mut plain) {
            Ok(kind) => {
                self.facts.decrypted = true;
                self.content(side, kind, record, &plain, inner);
            }
            Err(_) if !self.facts.decrypted && record.body.is_some() => {
                self.keys = None;
                inner.conversation.cannot_read();
                return false;
            }
            // Early data that the server does not take, either.
            Err(_) if rejects_early => {}
            Err(_) => {
                let why = match record.body {
                    Some(_) => BlindSpot::Encrypted,
                    None => BlindSpot::Gap,
                };
                keys.skip(side);
                let len = record.end - record.from.offset;
                inner.conversation.gap(side, record.from, len, why, inner.pool, inner.give);
            }
        }
        true
    }

    fn content(
        &mut self,
        side: Side,
        kind: u8,
        record: &Record<'_>,
        plain: &[u8],
        inner: &mut Inner<'_>,
    ) {
        if kind == content::APPLICATION_DATA {
            self.facts.data[side as usize].get_or_insert(record.from.mark);
            // Nobody can read a record before its last byte has come.
            let offset = record.end - plain.len() as u64;
            let at = At { mark: record.last, offset, acked: record.from.acked };
            return inner.conversation.data(side, at, plain, inner.pool, inner.give);
        }
        inner.conversation.passed(side, record.end);
        match kind {
            content::HANDSHAKE => {
                let undecided = self.early_accepted.is_none();
                self.messages(side, (record.from.mark, record.last), Some(plain));
                if undecided && self.early_accepted == Some(true) {
                    self.read_early(inner);
                }
            }
            content::ALERT => {
                let said = plain.first().copied().zip(plain.get(1).copied());
                self.note_alert(record.at(), side, said, true);
            }
            _ => {}
        }
        if self.facts.established == Some(record.last) {
            inner.conversation.opening(record.last);
        }
    }

    /// Keeps early data until the server's decision is known.
    pub(super) fn hold_early(&mut self, record: &Record<'_>) {
        let held: usize = self.early.iter().map(|early| early.body.len()).sum();
        if let Some(body) = record.body
            && held + body.len() <= EARLY_MAX
        {
            self.early.push(Early {
                header: record.header,
                from: record.from,
                last: record.last,
                end: record.end,
                body: body.into(),
            });
        }
    }

    fn rejects_early(&self) -> bool {
        self.early_accepted == Some(false)
            && self.facts.established.is_none()
            && self.facts.client_hello.as_ref().is_some_and(|hello| hello.early_data)
    }

    /// Whether the server's decision on early data, and the keys to it, are to come.
    pub(super) fn awaits_early_decision(&self, log: &KeyLog) -> bool {
        let facts = &self.facts;
        facts.client_hello.as_ref().is_some_and(|hello| {
            hello.early_data && log.secret(&hello.random, Label::ClientEarly).is_some()
        }) && self.early_accepted.is_none()
            && facts.established.is_none()
            && (self.keys.is_some() || facts.server_hello.is_none())
    }

    /// The server accepts early data: reads what has come of it, and what is still to come.
    fn read_early(&mut self, inner: &mut Inner<'_>) {
        let early = std::mem::take(&mut self.early);
        let (Some(offer), Some(hello)) = (&self.facts.client_hello, &self.facts.server_hello)
        else {
            return;
        };
        // A server that accepts early data has chosen the suite of the session that it resumes.
        let secret = inner.log.secret(&offer.random, Label::ClientEarly);
        let Some(opener) = secret.and_then(|secret| Opener::tls13(hello.suite, secret)) else {
            return;
        };
        if let Some(keys) = &mut self.keys {
            keys.early(opener);
        }
        for early in &early {
            let record = Record {
                header: early.header,
                from: early.from,
                last: early.last,
                end: early.end,
                body: Some(&early.body),
            };
            self.unlock(Side::Client, &record, inner);
        }
    }
}
