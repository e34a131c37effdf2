//! One TLS connection: what each record means, given those before it.

use super::hello::Answer;
use super::keys::Keys;
use super::messages::{Message, Messages};
use super::names::{TLS12, TLS13};
use super::protected::Early;
use super::record::{Reader, Record, Step, content};
use super::turns::Turns;
use super::{
    ALERTS_MAX, Alert, Certificate, ClientCertificate, ClientHello, Foreign, Handshake, KeyLog,
    ServerHello, Tickets,
};
use crate::blind::BlindSpot;
use crate::http::{Conversation, Exchange, Pool};
use crate::packet::Endpoint;
use crate::tcp::{At, Side};
use crate::time::Mark;

/// Handshake message types (RFC 8446, 4).
mod message {
    pub(super) const CLIENT_HELLO: u8 = 1;
    pub(super) const SERVER_HELLO: u8 = 2;
    pub(super) const END_OF_EARLY_DATA: u8 = 5;
    pub(super) const ENCRYPTED_EXTENSIONS: u8 = 8;
    pub(super) const CERTIFICATE: u8 = 11;
    pub(super) const CERTIFICATE_REQUEST: u8 = 13;
    pub(super) const FINISHED: u8 = 20;
    pub(super) const KEY_UPDATE: u8 = 24;
}

/// Encrypted records in which a TLS 1.3 client may send its certificate and Finished; past them the
/// handshake is taken to be over.
const FLIGHT_MAX: u8 = 4;

/// What is inside, and where what is found there goes.
pub struct Inner<'a> {
    /// Keys.
    pub log: &'a KeyLog,
    /// What is known of session tickets.
    pub tickets: &'a mut Tickets,
    /// Who accepted the connection.
    pub server: Endpoint,
    /// Reads what keys open.
    pub conversation: &'a mut Conversation,
    /// Buffers for it.
    pub pool: &'a mut Pool,
    /// Receives requests that are over.
    pub give: &'a mut dyn FnMut(&Exchange),
}

/// Follows one TLS connection.
#[derive(Clone, Debug, Default)]
pub struct Session {
    pub(super) facts: Handshake,
    pub(super) halves: [Half; 2],
    pub(super) turns: Turns,
    pub(super) keys: Option<Box<Keys>>,
    /// Early data that waits for the server's decision.
    pub(super) early: Vec<Early>,
    pub(super) early_accepted: Option<bool>,
    /// Encrypted records of a TLS 1.3 client so far.
    flight: u8,
}

/// What is known of one direction.
#[derive(Clone, Debug, Default)]
pub(super) struct Half {
    records: Reader,
    messages: Messages,
    /// ChangeCipherSpec has come (TLS 1.2), or the handshake is over.
    pub(super) encrypted: bool,
    /// The last record has the length of a TLS 1.3 alert.
    alert: Option<At>,
}

impl Session {
    /// A connection whose first TLS byte comes next.
    pub fn new() -> Session {
        Session::default()
    }

    /// A connection of which the beginning was not captured.
    pub fn midway() -> Session {
        let mut session = Session::default();
        session.facts.midway = true;
        for half in &mut session.halves {
            (half.records, half.encrypted) = (Reader::lost(), true);
        }
        session
    }

    /// Takes bytes of `side`, in order and without repetition.
    pub fn data(&mut self, side: Side, at: At, bytes: &[u8], inner: &mut Inner<'_>) {
        let mut reader = std::mem::take(&mut self.half(side).records);
        let (mut at, mut bytes) = (at, bytes);
        while !bytes.is_empty() {
            let first = !reader.any;
            reader.keep_data = self.keys.is_some() || self.awaits_early_decision(inner.log);
            let (used, step) = reader.step(at, bytes);
            match step {
                Step::More => {}
                Step::Part(record) => self.part(side, &record, inner),
                Step::Whole(record) => self.record(side, &record, inner),
                Step::Foreign => self.foreign(side, at.mark, first, bytes),
            }
            if reader.is_lost() {
                // Whatever is in these bytes, it was said.
                self.skip(side, at, used as u64, BlindSpot::Gap, inner);
            }
            at.offset += used as u64;
            bytes = &bytes[used..];
        }
        self.half(side).records = reader;
    }

    /// Takes note of `len` bytes of `side` that exist and were not captured.
    pub fn gap(&mut self, side: Side, at: At, len: u64, why: BlindSpot, inner: &mut Inner<'_>) {
        let mut reader = std::mem::take(&mut self.half(side).records);
        match reader.gap(at, len) {
            Step::Part(record) => self.part(side, &record, inner),
            Step::Whole(record) => self.record(side, &record, inner),
            Step::More | Step::Foreign => self.lose(side, at, len, why, inner),
        }
        self.half(side).records = reader;
    }

    /// Bytes of `side` cannot be read: they may be what is waited for.
    fn skip(&mut self, side: Side, at: At, len: u64, why: BlindSpot, inner: &mut Inner<'_>) {
        if self.keys.is_some() {
            inner.conversation.gap(side, at, len, why, inner.pool, inner.give);
        }
        self.turns.gap(side, why, inner.give);
    }

    /// Where the records of `side` begin is not known any more.
    fn lose(&mut self, side: Side, at: At, len: u64, why: BlindSpot, inner: &mut Inner<'_>) {
        let established = self.facts.established.is_some();
        let half = &mut self.halves[side as usize];
        (half.encrypted, half.alert) = (true, None);
        match &mut self.keys {
            Some(keys) => {
                keys.lose(side);
                // Behind the handshake, messages are rare and fit a record.
                half.messages.restart();
            }
            None => half.messages.lose(),
        }
        if !established && !self.facts.midway {
            self.facts.midway = true;
            self.turns.stop();
        }
        self.skip(side, at, len, why, inner);
    }

    /// `side` sends no more.
    pub fn ended(&mut self, side: Side, inner: &mut Inner<'_>) {
        self.conclude_alert(side);
        if self.keys.is_some() {
            if side == Side::Server {
                self.torn_answer(inner);
            }
            inner.conversation.ended(side, inner.pool, inner.give);
        }
    }

    /// The connection is over.
    pub fn finish(&mut self, inner: &mut Inner<'_>) {
        self.conclude_alert(Side::Client);
        self.conclude_alert(Side::Server);
        self.facts.alerts.sort_by_key(|alert| alert.mark.at);
        let torn = self.halves[Side::Server as usize].records.unfinished().is_some();
        self.turns.finish(torn, inner.give);
        if self.keys.is_some() {
            self.torn_answer(inner);
            inner.conversation.finish(inner.pool, inner.give);
        }
        self.facts.turns = self.turns.count();
        self.facts.last_turn = self.turns.last();
        self.facts.last_data = self.turns.last_byte();
    }

    /// The server's stream may stop inside a record, which nobody can read: then an answer has begun.
    fn torn_answer(&mut self, inner: &mut Inner<'_>) {
        if let Some((from, end)) = self.halves[Side::Server as usize].records.unfinished() {
            inner.conversation.answer_begun(from, end);
        }
    }

    /// What was found out.
    pub fn facts(&mut self) -> Handshake {
        std::mem::take(&mut self.facts)
    }

    /// Memory of what is incomplete.
    pub(crate) fn buffered(&self) -> usize {
        let early: usize = self.early.iter().map(|early| early.body_len()).sum();
        let halves = self.halves.iter();
        early + halves.map(|half| half.records.buffered() + half.messages.buffered()).sum::<usize>()
    }

    /// Gives up what is incomplete, as if it had not been captured.
    pub(crate) fn release(&mut self, inner: &mut Inner<'_>) {
        for half in &mut self.halves {
            half.records.release();
            half.messages.lose();
        }
        self.early = Vec::new();
        if self.keys.take().is_some() {
            inner.conversation.release(inner.pool, inner.give);
            inner.conversation.cannot_read();
        }
        self.turns.gap(Side::Client, BlindSpot::Evicted, inner.give);
    }

    fn half(&mut self, side: Side) -> &mut Half {
        &mut self.halves[side as usize]
    }

    /// Part of a long record.
    fn part(&mut self, side: Side, record: &Record<'_>, inner: &mut Inner<'_>) {
        if record.kind() == content::APPLICATION_DATA
            && self.is_application(side)
            && self.keys.is_none()
        {
            self.application(side, record, false, inner);
        }
    }

    fn record(&mut self, side: Side, record: &Record<'_>, inner: &mut Inner<'_>) {
        self.half(side).alert = None;
        if self.is_protected(side, record) {
            let early = side == Side::Client && self.awaits_early_decision(inner.log);
            if early {
                return self.hold_early(record);
            }
            if self.unlock(side, record, inner) {
                return;
            }
        }
        let was = (self.facts.server_hello.is_some(), self.facts.established.is_some());
        match record.kind() {
            content::HANDSHAKE if self.half(side).encrypted => {
                self.encrypted_handshake(side, record);
            }
            content::HANDSHAKE => {
                self.messages(side, (record.from.mark, record.last), record.body);
            }
            content::CHANGE_CIPHER_SPEC => self.change_cipher(side),
            content::ALERT => self.alert(side, record),
            // One side of a conversation that keys open cannot be followed by its records alone.
            content::APPLICATION_DATA if self.is_application(side) && self.keys.is_some() => {
                let len = record.end - record.from.offset;
                self.skip(side, record.from, len, BlindSpot::Encrypted, inner);
            }
            content::APPLICATION_DATA if self.is_application(side) => {
                self.application(side, record, true, inner);
            }
            content::APPLICATION_DATA if self.awaits_early_decision(inner.log) => {
                self.hold_early(record);
            }
            content::APPLICATION_DATA => self.hidden_handshake(side, record),
            _ => {}
        }
        let is = (self.facts.server_hello.is_some(), self.facts.established.is_some());
        if is == was {
            return;
        }
        if is.1 && self.facts.version() == Some(TLS13) {
            self.turns.expect_tickets(inner.tickets.length(inner.server));
        }
        if self.keys.is_none() {
            self.find_keys(is.0 != was.0, record.last, inner);
        }
    }

    /// Takes the content of a handshake record; `None` when it is not known.
    pub(super) fn messages(&mut self, side: Side, marks: (Mark, Mark), content: Option<&[u8]>) {
        let mut messages = std::mem::take(&mut self.half(side).messages);
        match content {
            Some(content) => messages.add(marks, content, |message| self.message(side, &message)),
            None => messages.lose(),
        }
        self.half(side).messages = messages;
    }

    fn message(&mut self, side: Side, message: &Message<'_>) {
        let facts = &mut self.facts;
        match (side, message.kind) {
            (Side::Client, message::CLIENT_HELLO) => {
                if let Some(hello) = ClientHello::read(message.first, message.body) {
                    facts.client_hello = Some(Box::new(hello));
                }
            }
            (Side::Server, message::SERVER_HELLO) => {
                let offer = facts.client_hello.as_deref();
                match ServerHello::read(message.first, message.body, offer) {
                    Some(Answer::Hello(hello)) => facts.server_hello = Some(hello),
                    Some(Answer::Retry) => facts.retry = Some(message.first),
                    None => {}
                }
            }
            (Side::Server, message::CERTIFICATE) => {
                let is_13 = facts.version() == Some(TLS13);
                facts.certificate = own_certificate(message.body, is_13)
                    .and_then(|der| Certificate::read(message.last, der))
                    .map(Box::new);
            }
            (Side::Server, message::CERTIFICATE_REQUEST) => {
                facts.certificate_request = Some(message.first);
            }
            (Side::Client, message::CERTIFICATE) => {
                let empty = message.body.iter().all(|byte| *byte == 0);
                facts.client_certificate = Some(ClientCertificate { mark: message.first, empty });
            }
            (Side::Server, message::ENCRYPTED_EXTENSIONS) => {
                self.early_accepted =
                    Some(facts.server_hello.as_mut().is_some_and(|hello| hello.add(message.body)));
            }
            (Side::Client, message::END_OF_EARLY_DATA) => {
                self.keys.iter_mut().for_each(|keys| keys.early_is_over());
            }
            (_, message::KEY_UPDATE) => self.keys.iter_mut().for_each(|keys| keys.update(side)),
            (_, message::FINISHED) => {
                self.keys.iter_mut().for_each(|keys| keys.finished(side));
                self.finished(side, message.last);
            }
            _ => {}
        }
    }

    /// The handshake of TLS 1.2 ends in the record behind ChangeCipherSpec: Finished.
    fn encrypted_handshake(&mut self, side: Side, record: &Record<'_>) {
        let facts = &mut self.facts;
        if facts.established.is_some() {
            return;
        }
        if facts.midway {
            return self.turns.stop();
        }
        self.finished(side, record.last);
    }

    /// Finished of `side` has come.
    fn finished(&mut self, side: Side, mark: Mark) {
        let facts = &mut self.facts;
        facts.finished[side as usize].get_or_insert(mark);
        let done = match facts.version() {
            Some(TLS13) => side == Side::Client,
            _ => facts.finished.iter().all(Option::is_some),
        };
        if done && facts.established.is_none() {
            self.establish(mark);
        }
    }

    fn change_cipher(&mut self, side: Side) {
        if self.facts.midway {
            // In the middle of a handshake, of which version is not known.
            return self.turns.stop();
        }
        // In TLS 1.3 it means nothing (RFC 8446, D.4).
        if self.facts.version().is_some_and(|version| version <= TLS12) {
            self.half(side).encrypted = true;
        }
    }

    fn alert(&mut self, side: Side, record: &Record<'_>) {
        let encrypted = self.half(side).encrypted || record.length() != 2;
        let said = match record.body {
            Some(&[level, description]) if !encrypted => Some((level, description)),
            _ => None,
        };
        self.note_alert(record.at(), side, said, encrypted);
    }

    pub(super) fn note_alert(
        &mut self,
        at: At,
        side: Side,
        said: Option<(u8, u8)>,
        encrypted: bool,
    ) {
        let At { mark, acked, .. } = at;
        let facts = &mut self.facts;
        if facts.alerts.len() < ALERTS_MAX {
            let in_handshake =
                facts.established.is_none_or(|done| done.at > mark.at) && !facts.midway;
            facts.alerts.push(Alert { mark, side, said, encrypted, in_handshake, acked });
        }
    }

    /// Nothing follows the last record of `side`, which looks like an alert.
    fn conclude_alert(&mut self, side: Side) {
        if let Some(at) = self.half(side).alert.take() {
            self.note_alert(at, side, None, true);
        }
    }

    /// Whether encrypted records of `side` carry application data.
    fn is_application(&self, side: Side) -> bool {
        let facts = &self.facts;
        facts.midway
            || facts.established.is_some()
            || (facts.version().is_some_and(|version| version <= TLS12)
                && self.halves[side as usize].encrypted)
    }

    /// Records of TLS 1.3 that hide the rest of the handshake.
    fn hidden_handshake(&mut self, side: Side, record: &Record<'_>) {
        if self.facts.version() != Some(TLS13) {
            // Data before the handshake is over: what it is cannot be told from the outside.
            self.facts.unread = true;
            self.turns.stop();
            return;
        }
        let tag = self.tag();
        if record.length() == ALERT_LENGTH + tag {
            self.half(side).alert = Some(record.at());
        }
        if side == Side::Server {
            return;
        }
        let finished = record.length() == self.finished_length() + tag;
        let empty = record.length() == EMPTY_CERTIFICATE + tag;
        self.flight += 1;
        // BoringSSL puts both into one record.
        let both = record.length() == EMPTY_CERTIFICATE - 1 + self.finished_length() + tag;
        if self.flight == 1 && both {
            let mark = record.from.mark;
            self.facts.client_certificate = Some(ClientCertificate { mark, empty: true });
        }
        let finished = finished || (self.flight == 1 && both);
        if finished || self.flight >= FLIGHT_MAX {
            self.facts.finished[side as usize] = Some(record.last);
            self.establish(record.last);
        } else if self.flight == 1 && record.length() > ALERT_LENGTH + tag {
            self.facts.client_certificate =
                Some(ClientCertificate { mark: record.from.mark, empty });
        }
    }

    /// Length of the authentication tag.
    fn tag(&self) -> usize {
        const AES_128_CCM_8: u16 = 0x1305;
        match self.facts.server_hello.as_ref().map(|hello| hello.suite) {
            Some(AES_128_CCM_8) => 8,
            _ => 16,
        }
    }

    /// Length of Finished of TLS 1.3 and its content type: a hash (RFC 8446, 4.4.4).
    fn finished_length(&self) -> usize {
        const AES_256_GCM_SHA384: u16 = 0x1302;
        let hash = match self.facts.server_hello.as_ref().map(|hello| hello.suite) {
            Some(AES_256_GCM_SHA384) => 48,
            _ => 32,
        };
        4 + hash + 1
    }

    fn establish(&mut self, mark: Mark) {
        self.facts.established = Some(mark);
        // A log may hold no secrets of the handshake, so that nobody saw Finished.
        for side in [Side::Client, Side::Server] {
            self.keys.iter_mut().for_each(|keys| keys.finished(side));
        }
        for half in &mut self.halves {
            half.encrypted = true;
            // With keys, messages go on behind Finished.
            if self.keys.is_none() {
                half.messages.restart();
            }
        }
        let is_13 = self.facts.version() == Some(TLS13);
        let overhead = if is_13 { 1 + self.tag() } else { OVERHEAD_MIN };
        self.turns.begin(mark.at, overhead);
        if !self.may_be_http1() {
            self.turns.stop();
        }
    }

    /// Whether the application protocol may be HTTP/1, as far as ALPN tells. TLS 1.3 encrypts the
    /// server's choice.
    fn may_be_http1(&self) -> bool {
        let one = |name: &str| name.starts_with("http/1.") || name == "http/0.9";
        match (&self.facts.server_hello, &self.facts.client_hello) {
            (Some(ServerHello { alpn: Some(chosen), .. }), _) => one(chosen),
            (Some(ServerHello { version: TLS13, .. }), Some(offer)) => {
                offer.alpn.iter().all(|name| one(name))
            }
            _ => true,
        }
    }

    fn application(&mut self, side: Side, record: &Record<'_>, whole: bool, inner: &mut Inner<'_>) {
        let is_13 = self.facts.version() == Some(TLS13);
        if is_13 && whole && record.length() == ALERT_LENGTH + self.tag() {
            // An alert, unless more follows.
            self.half(side).alert = Some(record.at());
            return;
        }
        self.facts.data[side as usize].get_or_insert(record.from.mark);
        self.turns.record(side, record, whole, inner.give);
        if side == Side::Server
            && let Some(length) = self.turns.tickets()
        {
            inner.tickets.learn(inner.server, length);
        }
    }

    fn foreign(&mut self, side: Side, mark: Mark, first: bool, bytes: &[u8]) {
        self.turns.stop();
        if self.facts.foreign.is_none() {
            self.facts.foreign = Some(Box::new(Foreign {
                mark,
                side,
                http: bytes.starts_with(b"HTTP/"),
                first,
                sample: crate::http::sample(bytes, 0),
            }));
        }
    }
}

/// Level, description and content type of a TLS 1.3 alert.
const ALERT_LENGTH: usize = 3;
/// A Certificate message of TLS 1.3 without certificates, and its content type (RFC 8446, 4.4.2).
const EMPTY_CERTIFICATE: usize = 9;
/// What encryption adds to a record of TLS 1.2 at least: the tag of ChaCha20-Poly1305.
const OVERHEAD_MIN: usize = 16;

/// The first certificate of a Certificate message (RFC 5246, 7.4.2; RFC 8446, 4.4.2, where a
/// context comes before the list).
fn own_certificate(body: &[u8], is_13: bool) -> Option<&[u8]> {
    let context = if is_13 { 1 + usize::from(*body.first()?) } else { 0 };
    let [_, _, _, a, b, c, rest @ ..] = body.get(context..)? else { return None };
    rest.get(..u32::from_be_bytes([0, *a, *b, *c]) as usize)
}
