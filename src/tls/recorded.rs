//! Tests: real connections that were recorded with their keys (`tests/tls/record.py`), one per
//! cipher suite, opened from the first record to the last.

use super::script::Script;
use super::testing::hex;
use super::*;
use crate::blind::BlindSpot;
use crate::http::State;
use crate::tcp::Side;

const REQUEST: &str =
    "GET /health HTTP/1.1\r\nHost: target.example\r\nUser-Agent: ELB-HealthChecker/2.0\r\n\r\n";
const RESPONSE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";

/// Content types (RFC 8446, B.1).
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
/// Handshake types (RFC 8446, B.3).
const NEW_SESSION_TICKET: u8 = 4;
const END_OF_EARLY_DATA: u8 = 5;
const ENCRYPTED_EXTENSIONS: u8 = 8;
const FINISHED: u8 = 20;
const KEY_UPDATE: u8 = 24;

macro_rules! recorded {
    ($name:literal) => {
        ($name, include_str!(concat!("../../tests/tls/", $name, ".txt")))
    };
}

const TLS12: [(&str, &str); 7] = [
    recorded!("tls12-aes128-gcm-sha256"),
    recorded!("tls12-ecdhe-ecdsa-aes256-gcm-sha384"),
    recorded!("tls12-ecdhe-rsa-chacha20-poly1305"),
    recorded!("tls12-ecdhe-ecdsa-aes128-ccm"),
    recorded!("tls12-ecdhe-ecdsa-aes256-ccm"),
    recorded!("tls12-ecdhe-ecdsa-aes128-ccm8"),
    recorded!("tls12-ecdhe-ecdsa-aes256-ccm8"),
];
const TLS13: [(&str, &str); 6] = [
    recorded!("tls13-aes-128-gcm-sha256"),
    recorded!("tls13-aes-256-gcm-sha384"),
    recorded!("tls13-chacha20-poly1305-sha256"),
    recorded!("tls13-aes-128-ccm-sha256"),
    recorded!("tls13-aes-128-ccm-8-sha256"),
    recorded!("tls13-padding"),
];

/// A connection that was recorded.
struct Recorded {
    keys: KeyLog,
    lines: Lines,
    text: &'static str,
    records: Vec<(Side, Vec<u8>)>,
    client_random: [u8; 32],
    server_random: [u8; 32],
    suite: u16,
}

impl Recorded {
    fn new(text: &'static str) -> Recorded {
        let mut keys = KeyLog::default();
        let (log, rest) = text.split_at(text.find("\nclient ").unwrap() + 1);
        let lines = keys.add(log.as_bytes());
        let records: Vec<_> = rest
            .lines()
            .map(|line| match line.split_once(' ').unwrap() {
                ("client", record) => (Side::Client, hex(record)),
                (_, record) => (Side::Server, hex(record)),
            })
            .collect();
        // Record header, message header, version; then random and session id.
        let random = |hello: &[u8]| hello[11..43].try_into().unwrap();
        let client_random = random(&records[0].1);
        let server_hello = &records.iter().find(|(side, _)| *side == Side::Server).unwrap().1;
        let server_random = random(server_hello);
        let behind = 44 + usize::from(server_hello[43]);
        let suite = u16::from_be_bytes(server_hello[behind..behind + 2].try_into().unwrap());
        Recorded { keys, lines, text, records, client_random, server_random, suite }
    }

    fn sent_by(&self, side: Side) -> impl Iterator<Item = &[u8]> {
        self.records
            .iter()
            .filter(move |(sender, _)| *sender == side)
            .map(|(_, record)| &record[..])
    }

    fn tls13(&self, label: Label) -> Opener {
        let secret = self.keys.secret(&self.client_random, label).expect("a secret");
        Opener::tls13(self.suite, secret).expect("a suite that can be opened")
    }

    /// Everything protected that `side` sent: type and content.
    fn opened(&self, side: Side) -> Vec<(u8, Vec<u8>)> {
        if self.suite >> 8 == 0x13 { self.opened_tls13(side) } else { self.opened_tls12(side) }
    }

    fn opened_tls12(&self, side: Side) -> Vec<(u8, Vec<u8>)> {
        let master =
            self.keys.secret(&self.client_random, Label::Master).unwrap().try_into().unwrap();
        let mut opener =
            Opener::tls12(self.suite, master, &self.client_random, &self.server_random, side)
                .unwrap();
        let plain_until = |record: &&[u8]| record[0] != CHANGE_CIPHER_SPEC;
        let protected = self.sent_by(side).skip_while(plain_until).skip(1);
        protected.map(|record| open(&mut opener, record)).collect()
    }

    fn opened_tls13(&self, side: Side) -> Vec<(u8, Vec<u8>)> {
        let (handshake, traffic) = match side {
            Side::Client => (Label::ClientHandshake, Label::ClientTraffic),
            Side::Server => (Label::ServerHandshake, Label::ServerTraffic),
        };
        let early = side == Side::Client
            && self.keys.secret(&self.client_random, Label::ClientEarly).is_some();
        let mut opener = self.tls13(if early { Label::ClientEarly } else { handshake });
        let mut opened = Vec::new();
        for record in self.sent_by(side).filter(|record| record[0] == APPLICATION_DATA) {
            let content = open(&mut opener, record);
            if content.0 == HANDSHAKE {
                match content.1[0] {
                    END_OF_EARLY_DATA => opener = self.tls13(handshake),
                    FINISHED => opener = self.tls13(traffic),
                    KEY_UPDATE => opener.update(),
                    _ => {}
                }
            }
            opened.push(content);
        }
        opened
    }

    fn data(&self, side: Side) -> String {
        let data = self.opened(side).into_iter().filter(|(of, _)| *of == APPLICATION_DATA);
        data.map(|(_, content)| String::from_utf8(content).unwrap()).collect()
    }
}

fn open(opener: &mut Opener, record: &[u8]) -> (u8, Vec<u8>) {
    let mut plain = Vec::new();
    let (header, rest) = record.split_at(5);
    let content_type = opener.open(header.try_into().unwrap(), rest, &mut plain);
    (content_type.expect("a record of this place"), plain)
}

/// Type, and for handshake messages theirs.
fn kinds(opened: &[(u8, Vec<u8>)]) -> Vec<(u8, Option<u8>)> {
    let kind = |(of, content): &(u8, Vec<u8>)| (*of, (*of == HANDSHAKE).then(|| content[0]));
    opened.iter().map(kind).collect()
}

#[test]
fn every_suite_of_tls12() {
    let suites = TLS12.map(|(name, text)| {
        let recorded = Recorded::new(text);
        assert_eq!(recorded.data(Side::Client), REQUEST, "{name}");
        assert_eq!(recorded.data(Side::Server), RESPONSE, "{name}");
        let all = [(HANDSHAKE, Some(FINISHED)), (APPLICATION_DATA, None), (ALERT, None)].to_vec();
        for side in [Side::Client, Side::Server] {
            assert_eq!(kinds(&recorded.opened(side)), all, "{name}");
        }
        recorded.suite
    });
    assert_eq!(suites, [0x009c, 0xc02c, 0xcca8, 0xc0ac, 0xc0ad, 0xc0ae, 0xc0af]);
}

#[test]
fn every_suite_of_tls13() {
    let suites = TLS13.map(|(name, text)| {
        let recorded = Recorded::new(text);
        assert_eq!(recorded.data(Side::Client), REQUEST, "{name}");
        assert_eq!(recorded.data(Side::Server), RESPONSE, "{name}");
        let server = kinds(&recorded.opened(Side::Server));
        assert_eq!(server[0], (HANDSHAKE, Some(ENCRYPTED_EXTENSIONS)), "{name}");
        assert!(server.contains(&(HANDSHAKE, Some(NEW_SESSION_TICKET))), "{name}");
        assert_eq!(server.last(), Some(&(ALERT, None)), "{name}");
        recorded.suite
    });
    assert_eq!(suites, [0x1301, 0x1302, 0x1303, 0x1304, 0x1305, 0x1303]);
}

#[test]
fn padding_is_taken_off() {
    let recorded = Recorded::new(TLS13[5].1);
    let padded = recorded.sent_by(Side::Server).last().unwrap();
    assert_eq!(
        (padded.len(), recorded.opened(Side::Server).last().unwrap().1.len()),
        (5 + 128 + 16, 2)
    );
}

#[test]
fn keys_are_updated_in_both_directions() {
    let recorded = Recorded::new(recorded!("tls13-key-update").1);
    assert_eq!(recorded.data(Side::Client), "first\nsecond\nthird\n");
    assert_eq!(recorded.data(Side::Server), "tsrif\ndnoces\ndriht\n");
    let updates = |side| {
        let kinds = kinds(&recorded.opened(side));
        kinds.iter().filter(|kind| **kind == (HANDSHAKE, Some(KEY_UPDATE))).count()
    };
    assert_eq!((updates(Side::Client), updates(Side::Server)), (2, 1));
}

#[test]
fn early_data_has_its_own_keys() {
    let recorded = Recorded::new(recorded!("tls13-early-data").1);
    assert_eq!(recorded.data(Side::Client), format!("{REQUEST}later\n"));
    let client = kinds(&recorded.opened(Side::Client));
    assert_eq!(client[..2], [(APPLICATION_DATA, None), (HANDSHAKE, Some(END_OF_EARLY_DATA))]);
}

#[test]
fn every_line_of_a_real_key_log_is_known() {
    let special = [recorded!("tls13-key-update"), recorded!("tls13-early-data")];
    for (name, text) in TLS12.into_iter().chain(TLS13).chain(special) {
        let Recorded { lines, text, .. } = Recorded::new(text);
        assert_eq!(lines.unusable, 0, "{name}: {:?}", lines.first_unusable);
        let secrets = text.lines().filter(|line| {
            line.starts_with("CLIENT_RANDOM")
                || line.contains("_TRAFFIC_SECRET_0 ")
                || line.contains("_TRAFFIC_SECRET ")
        });
        assert_eq!(lines.usable, secrets.count() as u64, "{name}");
    }
}

#[test]
fn records_that_are_missing_are_found_out_in_every_suite() {
    for (name, text) in TLS12.into_iter().chain(TLS13) {
        let recorded = Recorded::new(text);
        // The alert, without what came before it under the same keys.
        let last = recorded.sent_by(Side::Server).last().unwrap();
        let mut opener = if name.starts_with("tls12") {
            let master = recorded.keys.secret(&recorded.client_random, Label::Master).unwrap();
            let (client, server) = (&recorded.client_random, &recorded.server_random);
            let master = master.try_into().unwrap();
            Opener::tls12(recorded.suite, master, client, server, Side::Server).unwrap()
        } else {
            recorded.tls13(Label::ServerTraffic)
        };
        let mut plain = Vec::new();
        let (header, rest) = last.split_at(5);
        let header = header.try_into().unwrap();
        assert_eq!(opener.open(header, rest, &mut plain), Err(OpenError::Refused), "{name}");
        assert_eq!(opener.open_after_gap(header, rest, &mut plain), Ok(ALERT), "{name}");
        assert!(opener.sequence() >= 2, "{name}");
    }
}

/// Plays a recorded connection, a segment per record.
fn played(text: &'static str, keys: bool) -> (Script, Handshake) {
    let Recorded { keys: log, records, .. } = Recorded::new(text);
    let mut script = Script::new();
    if keys {
        script = script.with_keys(log);
    }
    for (side, record) in &records {
        match side {
            Side::Client => script.client(record),
            Side::Server => script.server(record),
        };
    }
    let facts = script.finish();
    (script, facts)
}

#[test]
fn keys_make_the_http_inside_an_ordinary_exchange() {
    for (name, text) in TLS12.into_iter().chain(TLS13).chain([recorded!("tls13-early-data")]) {
        let (script, facts) = played(text, true);
        assert!(facts.decrypted && facts.turns == 0, "{name}");
        let exchange = script.exchanges.first().unwrap_or_else(|| panic!("{name}: nothing"));
        let (request, response) = (exchange.request.as_ref(), exchange.response.as_ref());
        assert_eq!(String::from_utf8_lossy(&request.unwrap().head), REQUEST, "{name}");
        if name != "tls13-early-data" {
            // There the server only listens.
            assert_eq!(exchange.state, State::Answered, "{name}");
            assert_eq!(response.unwrap().status, Some(200), "{name}");
        }
        assert!(!exchange.blind_spots.has(BlindSpot::Encrypted), "{name}");
        // Offsets are those of the bytes on the wire.
        let record = request.unwrap().end - request.unwrap().start;
        assert!(record >= REQUEST.len() as u64, "{name}");
        // Each side closes with an alert, which is read, too.
        let closes = facts.alerts.iter().filter(|alert| alert.is_close()).count();
        assert_eq!(closes, 2, "{name}");
        assert!(facts.finished.iter().all(Option::is_some), "{name}");
        if !facts.resumed() {
            let certificate = facts.certificate.as_deref().unwrap();
            assert!(certificate.subject.contains("CN="), "{name}: {}", certificate.subject);
        }
    }
}

/// Plays records with these keys.
fn told(keys: KeyLog, records: &[(Side, Vec<u8>)]) -> (Script, Handshake) {
    let mut script = Script::new().with_keys(keys);
    for (side, record) in records {
        match side {
            Side::Client => script.client(record),
            Side::Server => script.server(record),
        };
    }
    let facts = script.finish();
    (script, facts)
}

#[test]
fn early_data_behind_the_servers_decision_is_read_too() {
    let Recorded { keys, mut records, .. } = Recorded::new(recorded!("tls13-early-data").1);
    let early = records.iter().position(|(_, record)| record[0] == APPLICATION_DATA).unwrap();
    let early = records.remove(early);
    let server = records.iter().position(|(side, _)| *side == Side::Server).unwrap();
    let flight = records[server..].iter().take_while(|(side, _)| *side == Side::Server).count();
    records.insert(server + flight, early);
    let (script, _) = told(keys, &records);
    let request = script.exchanges[0].request.as_ref().unwrap();
    assert_eq!(String::from_utf8_lossy(&request.head), REQUEST);
}

#[test]
fn secrets_of_the_application_data_alone_are_enough() {
    let Recorded { records, text, .. } = Recorded::new(TLS13[0].1);
    let log = text.split("\nclient ").next().unwrap();
    let lines: Vec<&str> = log.lines().filter(|line| !line.contains("HANDSHAKE")).collect();
    let mut keys = KeyLog::default();
    keys.add((lines.join("\n") + "\n").as_bytes());
    let (script, facts) = told(keys, &records);
    assert!(facts.decrypted);
    assert_eq!(script.exchanges[0].response.as_ref().unwrap().status, Some(200));
}

#[test]
fn with_keys_a_record_in_two_segments_is_one_request() {
    let Recorded { keys, records, .. } = Recorded::new(TLS13[0].1);
    let mut script = Script::new().with_keys(keys);
    for (side, record) in &records {
        for half in [&record[..record.len() / 2], &record[record.len() / 2..]] {
            match side {
                Side::Client => script.client(half),
                Side::Server => script.server(half),
            };
        }
    }
    let facts = script.finish();
    assert!(facts.decrypted);
    assert_eq!((script.exchanges.len(), facts.turns), (1, 0));
}

#[test]
fn without_keys_a_request_is_told_by_its_records() {
    for (name, text) in TLS12.into_iter().chain(TLS13) {
        if name == "tls13-padding" {
            continue; // Padding hides the lengths by which the end of the handshake is told.
        }
        let (script, facts) = played(text, false);
        assert!(!facts.decrypted && facts.established.is_some(), "{name}");
        let states: Vec<(u32, State)> =
            script.exchanges.iter().map(|it| (it.ordinal, it.state)).collect();
        assert_eq!(states, [(1, State::Answered)], "{name}");
        assert_eq!(facts.alerts.len(), 2, "{name}");
        assert!(facts.alerts.iter().all(|alert| alert.said.is_none()), "{name}");
    }
}

#[test]
fn the_keys_of_another_connection_open_nothing_and_spoil_nothing() {
    let (name, text) = TLS13[0];
    let other = Recorded::new(TLS13[1].1);
    let recorded = Recorded::new(text);
    let random = |bytes: &[u8; 32]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let (own, foreign): (String, String) =
        (random(&recorded.client_random), random(&other.client_random));
    let log = other.text.replace(&foreign, &own);
    let mut keys = KeyLog::default();
    keys.add(log.split("\nclient ").next().unwrap().as_bytes());
    let mut script = Script::new().with_keys(keys);
    for (side, record) in &recorded.records {
        match side {
            Side::Client => script.client(record),
            Side::Server => script.server(record),
        };
    }
    let facts = script.finish();
    assert!(!facts.decrypted, "{name}");
    let states: Vec<State> = script.exchanges.iter().map(|it| it.state).collect();
    assert_eq!(states, [State::Answered]);
}
