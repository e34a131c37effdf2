//! The secrets of TLS sessions as programs log them for debugging (RFC 9850, the SSLKEYLOGFILE
//! format, which NSS began): a line per secret with its label, the client's random and the secret.

use super::schedule::{SECRET_MAX, Secret};
use hashbrown::HashMap;
use std::fmt;
use thin_vec::ThinVec;

/// Sessions of which secrets are kept; past it the older half is forgotten. They take up to 250 MB,
/// and a server with 1000 new sessions per second fills it in nine minutes.
pub const SESSIONS_MAX: usize = 1 << 19;

/// Length of a client's random, bytes.
const RANDOM_LEN: usize = 32;
/// Length of a master secret, bytes (RFC 5246, 8.1).
const MASTER_LEN: usize = 48;
/// Lengths of traffic secrets, bytes: those of SHA-256 and SHA-384.
const TRAFFIC_LENS: [usize; 2] = [32, 48];
/// Characters shown of a label that is not known. Whatever follows it may be secret.
const LABEL_SHOWN: usize = 40;

/// Which secret of a session it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Label {
    /// The master secret, TLS 1.2 and before.
    Master,
    /// For early data of the client (0-RTT).
    ClientEarly,
    /// For the client's part of the handshake from its second message on.
    ClientHandshake,
    /// For the server's part of the handshake behind the ServerHello.
    ServerHandshake,
    /// The client's first for application data.
    ClientTraffic,
    /// The server's first for application data.
    ServerTraffic,
}

/// Labels of which the secrets open records, and lengths that they may have.
const LABELS: [(&[u8], Label, &[usize]); 6] = [
    (b"CLIENT_RANDOM", Label::Master, &[MASTER_LEN]),
    (b"CLIENT_EARLY_TRAFFIC_SECRET", Label::ClientEarly, &TRAFFIC_LENS),
    (b"CLIENT_HANDSHAKE_TRAFFIC_SECRET", Label::ClientHandshake, &TRAFFIC_LENS),
    (b"SERVER_HANDSHAKE_TRAFFIC_SECRET", Label::ServerHandshake, &TRAFFIC_LENS),
    (b"CLIENT_TRAFFIC_SECRET_0", Label::ClientTraffic, &TRAFFIC_LENS),
    (b"SERVER_TRAFFIC_SECRET_0", Label::ServerTraffic, &TRAFFIC_LENS),
];

/// Labels that are known and of no use here: exporters, Encrypted ClientHello, and what only an
/// RSA key exchange needs (`RSA` and `PMS_CLIENT_RANDOM` name the secret before the master secret).
const OTHERS: [&[u8]; 6] = [
    b"EXPORTER_SECRET",
    b"EARLY_EXPORTER_SECRET",
    b"ECH_SECRET",
    b"ECH_CONFIG",
    b"RSA",
    b"PMS_CLIENT_RANDOM",
];
/// Beginnings of further ones: later traffic secrets follow from the first, and QUIC is not TCP.
const OTHER_PREFIXES: [&[u8]; 3] = [b"CLIENT_TRAFFIC_SECRET_", b"SERVER_TRAFFIC_SECRET_", b"QUIC_"];

/// What the lines of a key log were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// All of them.
    pub all: u64,
    /// Those with a secret that opens records.
    pub usable: u64,
    /// Those that are no line of a key log, or not a whole one.
    pub unusable: u64,
    /// The first of these.
    pub first_unusable: Option<Unusable>,
}

/// A line that is no line of a key log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// From 1.
    pub line: u64,
    /// What is wrong with it; shows no secret.
    pub why: String,
}

impl Lines {
    /// Adds the lines that follow.
    pub fn add(&mut self, next: Lines) {
        let before = self.all;
        self.all += next.all;
        self.usable += next.usable;
        self.unusable += next.unusable;
        if self.first_unusable.is_none() {
            self.first_unusable = next
                .first_unusable
                .map(|unusable| Unusable { line: before + unusable.line, ..unusable });
        }
    }
}

type Random = [u8; RANDOM_LEN];
type Sessions = HashMap<Random, ThinVec<(Label, Secret)>>;

/// Secrets of TLS sessions, by the random of their ClientHello.
///
/// They come in any order, at any time, and more than once.
#[derive(Clone, Debug)]
pub struct KeyLog {
    recent: Sessions,
    /// Was `recent` until that had half of what may be kept.
    older: Sessions,
    sessions_max: usize,
    forgotten: u64,
}

impl Default for KeyLog {
    fn default() -> KeyLog {
        KeyLog {
            recent: Sessions::new(),
            older: Sessions::new(),
            sessions_max: SESSIONS_MAX,
            forgotten: 0,
        }
    }
}

impl KeyLog {
    /// Takes in whole lines of a key log; the last may lack its line end.
    pub fn add(&mut self, text: &[u8]) -> Lines {
        let mut lines = Lines::default();
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            lines.all += 1;
            match parse(line) {
                Ok(Some((random, label, secret))) => {
                    lines.usable += 1;
                    self.keep(random, label, secret);
                }
                Ok(None) => {}
                Err(wrong) => {
                    lines.unusable += 1;
                    lines.first_unusable.get_or_insert_with(|| Unusable {
                        line: lines.all,
                        why: wrong.to_string(),
                    });
                }
            }
        }
        lines
    }

    /// A secret of the session whose ClientHello has this random. The one that came last, if there
    /// were several.
    pub fn secret(&self, client_random: &[u8; 32], label: Label) -> Option<&[u8]> {
        [&self.recent, &self.older].into_iter().find_map(|sessions| {
            let secrets = sessions.get(client_random)?;
            let (_, secret) = secrets.iter().find(|(of, _)| *of == label)?;
            Some(secret.as_bytes())
        })
    }

    /// Whether any secret of this session is there.
    pub fn knows(&self, client_random: &[u8; 32]) -> bool {
        self.recent.contains_key(client_random) || self.older.contains_key(client_random)
    }

    /// Whether there is none at all.
    pub fn is_empty(&self) -> bool {
        self.recent.is_empty() && self.older.is_empty()
    }

    /// Sessions that were forgotten to stay within [`SESSIONS_MAX`].
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn keep(&mut self, random: Random, label: Label, secret: Secret) {
        if self.recent.len() >= self.sessions_max / 2 && !self.recent.contains_key(&random) {
            self.forgotten += self.older.len() as u64;
            self.older = std::mem::take(&mut self.recent);
        }
        let secrets = self.recent.entry(random).or_default();
        match secrets.iter_mut().find(|(of, _)| *of == label) {
            Some((_, known)) => *known = secret,
            None => secrets.push((label, secret)),
        }
    }
}

/// Why a line is none of a key log.
enum Wrong<'a> {
    Label(&'a [u8]),
    Random(&'a [u8]),
    Secret(&'a [u8], &'static [usize]),
    More(&'a [u8]),
}

impl fmt::Display for Wrong<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Label(word) if word.iter().all(u8::is_ascii_hexdigit) => {
                formatter.write_str("hexadecimal digits without a label")
            }
            Wrong::Label(word) => {
                let shown = &word[..word.len().min(LABEL_SHOWN)];
                let more = if shown.len() < word.len() { "..." } else { "" };
                write!(formatter, "\"{}{more}\" is no label of a key log", shown.escape_ascii())
            }
            Wrong::Random(label) => write!(
                formatter,
                "{} is not followed by a random of {RANDOM_LEN} bytes in hexadecimal digits",
                label.escape_ascii()
            ),
            Wrong::Secret(label, lengths) => {
                let lengths: Vec<String> = lengths.iter().map(usize::to_string).collect();
                write!(
                    formatter,
                    "the secret of {} does not have {} bytes in hexadecimal digits",
                    label.escape_ascii(),
                    lengths.join(" or ")
                )
            }
            Wrong::More(label) => {
                write!(formatter, "more than a secret behind {}", label.escape_ascii())
            }
        }
    }
}

/// The secret of a line; `None` if it has none that is of use.
fn parse(line: &[u8]) -> Result<Option<(Random, Label, Secret)>, Wrong<'_>> {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let Some(name) = words.next().filter(|word| word[0] != b'#') else { return Ok(None) };
    let Some((_, label, lengths)) = LABELS.iter().find(|(known, ..)| *known == name) else {
        let other =
            OTHERS.contains(&name) || OTHER_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        return if other { Ok(None) } else { Err(Wrong::Label(name)) };
    };
    let mut random = [0; RANDOM_LEN];
    let digits = words.next().unwrap_or_default();
    if from_hex(digits, &mut random) != Some(RANDOM_LEN) {
        return Err(Wrong::Random(name));
    }
    let mut secret = [0; SECRET_MAX];
    let length = from_hex(words.next().unwrap_or_default(), &mut secret);
    let secret = length
        .filter(|length| lengths.contains(length))
        .and_then(|length| Secret::new(&secret[..length]))
        .ok_or(Wrong::Secret(name, lengths))?;
    match words.next() {
        Some(_) => Err(Wrong::More(name)),
        None => Ok(Some((random, *label, secret))),
    }
}

/// Bytes written from hexadecimal digits of either case; `None` if they are no such digits, or too
/// many of them.
fn from_hex(digits: &[u8], bytes: &mut [u8]) -> Option<usize> {
    let value = |digit: u8| Some(char::from(digit).to_digit(16)? as u8);
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() || pairs.len() > bytes.len() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = value(*high)? << 4 | value(*low)?;
    }
    Some(pairs.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RANDOM: &str = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";

    fn random(session: u32) -> Random {
        let mut random = [0; RANDOM_LEN];
        random[28..].copy_from_slice(&session.to_be_bytes());
        random
    }

    fn line(label: &str, session: u32, secret: u8, len: usize) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        format!("{label} {} {}\n", hex(&random(session)), hex(&vec![secret; len]))
    }

    #[test]
    fn every_label_comes_back_under_its_random() {
        let mut log = KeyLog::default();
        assert!(log.is_empty());
        for (number, (name, label, lengths)) in LABELS.iter().enumerate() {
            let name = std::str::from_utf8(name).unwrap();
            for len in *lengths {
                let lines = log.add(line(name, 7, number as u8, *len).as_bytes());
                assert_eq!((lines.all, lines.usable, lines.unusable), (1, 1, 0));
                let secret = vec![number as u8; *len];
                assert_eq!(log.secret(&random(7), *label), Some(&secret[..]));
            }
        }
        assert_eq!(log.secret(&random(8), Label::Master), None);
        assert!(log.knows(&random(7)) && !log.knows(&random(8)) && !log.is_empty());
    }

    #[test]
    fn comments_line_ends_cases_and_labels_of_other_use_are_no_matter() {
        let mut log = KeyLog::default();
        let secret = "aB".repeat(48);
        let text = format!(
            "# SSL/TLS secrets log file, generated by NSS\r\n\r\n\n  CLIENT_RANDOM  {RANDOM}\t{secret}\r\n\
             EXPORTER_SECRET {RANDOM} {secret}\nCLIENT_TRAFFIC_SECRET_1 {RANDOM} {secret}\n\
             QUIC_SERVER_TRAFFIC_SECRET_0 x\nRSA 0011 2233\nECH_SECRET {RANDOM} 00\n\
             RSA Session-ID:00 Master-Key:11"
        );
        let lines = log.add(text.as_bytes());
        assert_eq!(lines, Lines { all: 10, usable: 1, ..Lines::default() });
        let random = super::super::testing::hex(RANDOM).try_into().unwrap();
        assert_eq!(log.secret(&random, Label::Master), Some(&[0xab; 48][..]));
        assert_eq!(log.add(b""), Lines::default());
    }

    #[test]
    fn the_first_line_that_is_none_is_told_with_its_number_and_without_secrets() {
        let why = |text: &str| {
            let lines = KeyLog::default().add(text.as_bytes());
            assert_eq!((lines.usable, lines.unusable), (0, 1), "{text}");
            lines.first_unusable.unwrap().why
        };
        let secret = "cd".repeat(48);
        assert_eq!(
            why(&format!("CLIENT_RANDOMS {RANDOM} {secret}")),
            "\"CLIENT_RANDOMS\" is no label of a key log"
        );
        assert_eq!(
            why(&"x".repeat(50)),
            format!("\"{}...\" is no label of a key log", "x".repeat(40))
        );
        assert_eq!(why(&secret), "hexadecimal digits without a label");
        let random = "CLIENT_RANDOM is not followed by a random of 32 bytes in hexadecimal digits";
        assert_eq!(why("CLIENT_RANDOM"), random);
        assert_eq!(why(&format!("CLIENT_RANDOM {}x {secret}", &RANDOM[1..])), random);
        assert_eq!(why(&format!("CLIENT_RANDOM {RANDOM}00 {secret}")), random);
        let length = "the secret of CLIENT_RANDOM does not have 48 bytes in hexadecimal digits";
        assert_eq!(why(&format!("CLIENT_RANDOM {RANDOM} {}", &secret[2..])), length);
        assert_eq!(why(&format!("CLIENT_RANDOM {RANDOM}")), length);
        assert_eq!(
            why(&format!("SERVER_TRAFFIC_SECRET_0 {RANDOM} 00")),
            "the secret of SERVER_TRAFFIC_SECRET_0 does not have 32 or 48 bytes in hexadecimal digits"
        );
        assert_eq!(
            why(&format!("CLIENT_RANDOM {RANDOM} {secret} 00")),
            "more than a secret behind CLIENT_RANDOM"
        );

        let mut log = KeyLog::default();
        let mut lines = log.add(line("CLIENT_RANDOM", 1, 1, 48).as_bytes());
        lines.add(log.add(b"# none\nFIRST x\nSECOND y\n"));
        lines.add(log.add(b"THIRD z\n"));
        assert_eq!((lines.all, lines.usable, lines.unusable), (5, 1, 3));
        let first = lines.first_unusable.unwrap();
        assert_eq!((first.line, first.why.contains("FIRST")), (3, true));
    }

    #[test]
    fn the_oldest_sessions_are_forgotten_past_the_bound() {
        let mut log = KeyLog { sessions_max: 10, ..KeyLog::default() };
        for session in 0..14 {
            log.add(line("CLIENT_TRAFFIC_SECRET_0", session, 1, 32).as_bytes());
        }
        // A session whose lines lie on both sides of the turn keeps all of them.
        log.add(line("SERVER_TRAFFIC_SECRET_0", 9, 2, 32).as_bytes());
        assert_eq!(log.forgotten(), 5);
        assert!((0..5).all(|session| !log.knows(&random(session))));
        assert!(
            (5..14).all(|session| log.secret(&random(session), Label::ClientTraffic).is_some())
        );
        assert_eq!(log.secret(&random(9), Label::ServerTraffic), Some(&[2; 32][..]));
    }

    proptest! {
        #[test]
        fn arbitrary_lines_never_panic(text in prop::collection::vec(any::<u8>(), 0..300)) {
            let lines = KeyLog::default().add(&text);
            prop_assert!(lines.usable + lines.unusable <= lines.all);
        }

        #[test]
        fn broken_lines_never_panic(
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut text = line("CLIENT_RANDOM", 3, 3, 48).into_bytes();
            let at = at.index(text.len());
            text[at] = byte;
            let lines = KeyLog::default().add(&text);
            prop_assert!(lines.usable + lines.unusable <= lines.all);
        }
    }
}
