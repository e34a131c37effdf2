//! Words for what a TLS handshake shows: hellos, alerts, certificates.

use super::{Evidence, What};
use crate::flow::{Ending, EndingKind};
use crate::tcp::Side;
use crate::time::Timestamp;
use crate::tls::{
    Certificate, ClientHello, ServerHello, alert_meaning, alert_name, cipher_name, version_name,
};
use crate::words::Phrase;
use crate::{phrase, word};

/// Names of cipher suites that a note lists.
const SUITES_SHOWN: usize = 4;

/// Alerts about the peer's certificate: 41 to 49, those on OCSP, 116 certificate_required.
pub(super) fn is_about_certificates(code: u8) -> bool {
    matches!(code, 41..=49 | 113 | 114 | 116)
}

/// `alert 70, protocol_version: no TLS version in common`.
pub(super) fn phrase(code: u8) -> Phrase {
    let name = alert_name(code);
    match alert_meaning(code) {
        Some(meaning) => phrase!("alert {code}, {name} ({meaning})", code, name, meaning),
        None => name.into_owned().into(),
    }
}

/// `TLS 1.3 and TLS 1.2`, `TLS 1.2 and lower`.
pub(super) fn versions(hello: &ClientHello) -> Phrase {
    let names: Vec<Phrase> =
        hello.versions.iter().map(|version| version_name(*version).into_owned().into()).collect();
    match (hello.versions_listed, names.as_slice()) {
        (false, [highest, ..]) => phrase!("{highest} and lower", highest),
        (_, []) => phrase!("no version"),
        (true, _) => Phrase::all_of(names),
    }
}

pub(super) fn offered(hello: &ClientHello) -> Phrase {
    let suites: Vec<_> =
        hello.suites.iter().take(SUITES_SHOWN).map(|suite| cipher_name(*suite)).collect();
    let more = match hello.suites.len().saturating_sub(SUITES_SHOWN) {
        0 => Phrase::default(),
        n => phrase!(" and {n} more", n),
    };
    let name = match &hello.sni {
        Some(name) => phrase!("asks for {name}", name),
        None => phrase!("names no server (no SNI)"),
    };
    let alpn = match hello.alpn.as_slice() {
        [] => Phrase::default(),
        names => phrase!(", ALPN {join}", join = names.join(", ")),
    };
    phrase!(
        "the ClientHello offers {versions}, {suites}{more}; it {name}{alpn}",
        versions = versions(hello),
        suites = suites.join(", "),
        more,
        name,
        alpn
    )
}

pub(super) fn chosen(hello: &ServerHello) -> Phrase {
    phrase!(
        "the ServerHello chooses {version}, {suite}",
        version = version_name(hello.version),
        suite = cipher_name(hello.suite)
    )
}

pub(super) fn described(certificate: &Certificate) -> Phrase {
    phrase!(
        "the target's certificate: {subject}, issued by {issuer}, valid from {from} to {until}",
        subject = &certificate.subject,
        issuer = &certificate.issuer,
        from = day(certificate.not_before),
        until = day(certificate.not_after)
    )
}

/// `2026-11-21`.
pub(super) fn day(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

/// Whether a name of a certificate is good for this server (RFC 6125, 6.4).
pub(super) fn covers(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(parent) => {
            name.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent))
        }
        None => pattern.eq_ignore_ascii_case(name),
    }
}

pub(super) fn name(side: Side) -> &'static str {
    match side {
        Side::Client => word!("the load balancer"),
        Side::Server => word!("the target"),
    }
}

pub(super) fn kind(close: &Ending) -> &'static str {
    match close.kind {
        EndingKind::Fin => "FIN",
        EndingKind::Rst => "RST",
    }
}

pub(super) fn ending(close: &Ending, note: impl Into<Phrase>) -> Evidence {
    let what = match close.kind {
        EndingKind::Fin => What::Fin,
        EndingKind::Rst => What::Rst,
    };
    Evidence { mark: close.mark, side: close.side, what, note: note.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(versions: &[u16], versions_listed: bool) -> ClientHello {
        ClientHello { versions: versions.to_vec(), versions_listed, ..ClientHello::default() }
    }

    #[test]
    fn versions_are_named_as_they_are_offered() {
        assert_eq!(versions(&hello(&[0x0303], false)), "TLS 1.2 and lower");
        assert_eq!(versions(&hello(&[0x0304], true)), "TLS 1.3");
        assert_eq!(versions(&hello(&[0x0304, 0x0303], true)), "TLS 1.3 and TLS 1.2");
        assert_eq!(versions(&hello(&[], true)), "no version");
    }

    #[test]
    fn a_star_covers_one_label() {
        assert!(covers("app.test", "APP.test"));
        assert!(covers("*.test", "app.test"));
        assert!(!covers("*.test", "a.b.test") && !covers("*.test", "test"));
        assert!(!covers("app.test", "b.test"));
    }
}
