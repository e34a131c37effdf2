//! ClientHello and ServerHello (RFC 8446, 4.1; RFC 5246, 7.4.1).

use super::certificate::kept;
use super::names::{TLS12, TLS13};
use crate::time::Mark;
use std::hash::{BuildHasher, Hasher};
use tls_parser::{
    TlsClientHelloContents, TlsExtension, parse_tls_client_hello_extensions,
    parse_tls_handshake_client_hello, parse_tls_handshake_server_hello,
    parse_tls_server_hello_extensions,
};

/// Cipher suites kept of a ClientHello; the longest lists in use have about 100.
const SUITES_MAX: usize = 128;
/// Versions and ALPN protocols kept of a ClientHello.
const LIST_MAX: usize = 16;
/// The random of a ServerHello that is a HelloRetryRequest (RFC 8446, 4.1.3).
const RETRY: [u8; 32] = [
    0xCF, 0x21, 0xAD, 0x74, 0xE5, 0x9A, 0x61, 0x11, 0xBE, 0x1D, 0x8C, 0x02, 0x1E, 0x65, 0xB8, 0x91,
    0xC2, 0xA2, 0x11, 0x16, 0x7A, 0xBB, 0x8C, 0x5E, 0x07, 0x9E, 0x09, 0xE2, 0xC8, 0xA8, 0x33, 0x9C,
];

/// What a client offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The frame of its first byte.
    pub mark: Mark,
    /// Versions offered, highest first. Before TLS 1.3 a client names its highest only, and offers
    /// every lower one.
    pub versions: Vec<u16>,
    /// The versions were listed (`supported_versions`, RFC 8446, 4.2.1), so that there are no others.
    pub versions_listed: bool,
    /// Cipher suites offered, at most 128.
    pub suites: Vec<u16>,
    /// The name of the server that is asked for (SNI, RFC 6066, 3).
    pub sni: Option<Box<str>>,
    /// Application protocols offered (RFC 7301).
    pub alpn: Vec<Box<str>>,
    /// It offers a session to resume: a pre-shared key, a ticket or a session id.
    pub offers_session: bool,
    /// It announces data before the handshake is over (RFC 8446, 4.2.10).
    pub early_data: bool,
    /// Hash of what is the same in every hello of one program: version, cipher suites, extensions.
    pub digest: u64,
    /// The client's random: the name under which key logs hold its secrets.
    pub random: [u8; 32],
    /// Session id.
    pub session: Box<[u8]>,
}

/// What a server chose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerHello {
    /// The frame of its first byte.
    pub mark: Mark,
    /// Version in use.
    pub version: u16,
    /// Cipher suite in use.
    pub suite: u16,
    /// Application protocol in use; TLS 1.3 encrypts it.
    pub alpn: Option<Box<str>>,
    /// The session is one that the client had before.
    pub resumed: bool,
    /// The server's random.
    pub random: [u8; 32],
}

/// A ServerHello or the HelloRetryRequest that has its shape.
pub(super) enum Answer {
    Hello(ServerHello),
    Retry,
}

/// Values that are drawn anew for each hello (GREASE, RFC 8701).
fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}

fn random(bytes: &[u8]) -> [u8; 32] {
    bytes.try_into().unwrap_or_default()
}

impl ClientHello {
    /// Reads the body of a ClientHello that began in `mark`.
    pub(super) fn read(mark: Mark, body: &[u8]) -> Option<ClientHello> {
        let (_, hello) = parse_tls_handshake_client_hello(body).ok()?;
        let mut found = ClientHello {
            mark,
            random: random(hello.random),
            session: hello.session_id.unwrap_or_default().into(),
            ..ClientHello::default()
        };
        found.suites = suites(&hello);
        found.offers_session = !found.session.is_empty();
        let mut digest = foldhash::fast::FixedState::default().build_hasher();
        digest.write_u16(hello.version.0);
        found.suites.iter().for_each(|suite| digest.write_u16(*suite));
        let extensions = hello.ext.and_then(|bytes| parse_tls_client_hello_extensions(bytes).ok());
        let mut pre_shared = false;
        for extension in extensions.map_or_else(Vec::new, |(_, list)| list) {
            if !matches!(extension, TlsExtension::Grease(..) | TlsExtension::PreSharedKey(_)) {
                digest.write_u16(tls_parser::TlsExtensionType::from(&extension).0);
            }
            match extension {
                TlsExtension::SNI(names) => {
                    found.sni = names.first().map(|(_, name)| kept(&String::from_utf8_lossy(name)));
                }
                TlsExtension::ALPN(protocols) => {
                    let texts = protocols.iter().map(|name| kept(&String::from_utf8_lossy(name)));
                    found.alpn = texts.take(LIST_MAX).collect();
                }
                TlsExtension::SupportedVersions(versions) => {
                    let real = versions.iter().map(|version| version.0);
                    found.versions = real.filter(|v| !is_grease(*v)).take(LIST_MAX).collect();
                    found.versions.sort_unstable_by(|a, b| b.cmp(a));
                    found.versions_listed = true;
                }
                TlsExtension::PreSharedKey(_) => pre_shared = true,
                TlsExtension::SessionTicket(ticket) => found.offers_session |= !ticket.is_empty(),
                TlsExtension::EarlyData(_) => found.early_data = true,
                _ => {}
            }
        }
        if !found.versions_listed {
            found.versions = vec![hello.version.0];
        }
        // A TLS 1.3 client sends a session id that means nothing (RFC 8446, D.4).
        if found.versions.contains(&TLS13) && found.versions_listed {
            found.offers_session = pre_shared;
        }
        found.digest = digest.finish();
        Some(found)
    }

    /// Whether it offers `version`.
    pub fn offers(&self, version: u16) -> bool {
        match (self.versions_listed, self.versions.first()) {
            (false, Some(highest)) => version <= *highest,
            _ => self.versions.contains(&version),
        }
    }
}

fn suites(hello: &TlsClientHelloContents<'_>) -> Vec<u16> {
    let all = hello.ciphers.iter().map(|suite| suite.0);
    all.filter(|suite| !is_grease(*suite)).take(SUITES_MAX).collect()
}

impl ServerHello {
    /// Reads the body of a ServerHello that began in `mark` and answers `offer`.
    pub(super) fn read(mark: Mark, body: &[u8], offer: Option<&ClientHello>) -> Option<Answer> {
        let (_, hello) = parse_tls_handshake_server_hello(body).ok()?;
        if hello.random == RETRY {
            return Some(Answer::Retry);
        }
        let mut found = ServerHello {
            mark,
            version: hello.version.0,
            suite: hello.cipher.0,
            random: random(hello.random),
            ..ServerHello::default()
        };
        found.extensions(hello.ext.unwrap_or_default());
        if found.version <= TLS12 {
            // With tickets, too, a resuming server repeats the id (RFC 5077, 3.4).
            let id = hello.session_id.unwrap_or_default();
            found.resumed = !id.is_empty() && offer.is_some_and(|offer| *offer.session == *id);
        }
        Some(Answer::Hello(found))
    }

    /// Adds what EncryptedExtensions says (RFC 8446, 4.3.1); says whether early data is accepted.
    pub(super) fn add(&mut self, body: &[u8]) -> bool {
        self.extensions(body.get(2..).unwrap_or_default())
    }

    /// Says whether early data is accepted.
    fn extensions(&mut self, bytes: &[u8]) -> bool {
        let mut early = false;
        let extensions = parse_tls_server_hello_extensions(bytes).ok();
        for extension in extensions.map_or_else(Vec::new, |(_, list)| list) {
            match extension {
                TlsExtension::SupportedVersions(versions) => {
                    self.version = versions.first().map_or(self.version, |version| version.0);
                }
                TlsExtension::ALPN(names) => {
                    self.alpn = names.first().map(|name| kept(&String::from_utf8_lossy(name)));
                }
                TlsExtension::PreSharedKey(_) => self.resumed = true,
                TlsExtension::EarlyData(_) => early = true,
                _ => {}
            }
        }
        early
    }
}
