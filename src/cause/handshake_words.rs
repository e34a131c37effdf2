//! Words for what a TLS handshake shows: hellos, alerts, certificates.

use super::{Evidence, What};
use crate::flow::{Ending, EndingKind};
use crate::tcp::Side;
use crate::time::Timestamp;
use crate::tls::{
    Certificate, ClientHello, ServerHello, alert_meaning, alert_name, cipher_name, version_name,
};

/// Names of cipher suites that a note lists.
const SUITES_SHOWN: usize = 4;

/// Alerts about the peer's certificate: 41 to 49, those on OCSP, 116 certificate_required.
pub(super) fn is_about_certificates(code: u8) -> bool {
    matches!(code, 41..=49 | 113 | 114 | 116)
}

/// `alert 70, protocol_version: no TLS version in common`.
pub(super) fn phrase(code: u8) -> String {
    let name = alert_name(code);
    match alert_meaning(code) {
        Some(meaning) => format!("alert {code}, {name} ({meaning})"),
        None => name.into_owned(),
    }
}

/// `TLS 1.3 and TLS 1.2`, `TLS 1.2 and lower`.
pub(super) fn versions(hello: &ClientHello) -> String {
    let names: Vec<_> = hello.versions.iter().map(|version| version_name(*version)).collect();
    match (hello.versions_listed, names.as_slice()) {
        (false, [highest, ..]) => format!("{highest} and lower"),
        (true, [others @ .., last]) if !others.is_empty() => {
            format!("{} and {last}", others.join(", "))
        }
        (_, []) => "no version".to_owned(),
        _ => names.join(", "),
    }
}

pub(super) fn offered(hello: &ClientHello) -> String {
    let suites: Vec<_> =
        hello.suites.iter().take(SUITES_SHOWN).map(|suite| cipher_name(*suite)).collect();
    let more = match hello.suites.len().saturating_sub(SUITES_SHOWN) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let name = match &hello.sni {
        Some(name) => format!("asks for {name}"),
        None => "names no server (no SNI)".to_owned(),
    };
    let alpn = match hello.alpn.as_slice() {
        [] => String::new(),
        names => format!(", ALPN {}", names.join(", ")),
    };
    format!(
        "the ClientHello offers {}, {}{more}; it {name}{alpn}",
        versions(hello),
        suites.join(", ")
    )
}

pub(super) fn chosen(hello: &ServerHello) -> String {
    format!("the ServerHello chooses {}, {}", version_name(hello.version), cipher_name(hello.suite))
}

pub(super) fn described(certificate: &Certificate) -> String {
    format!(
        "the target's certificate: {}, issued by {}, valid from {} to {}",
        certificate.subject,
        certificate.issuer,
        day(certificate.not_before),
        day(certificate.not_after)
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
        Side::Client => "the load balancer",
        Side::Server => "the target",
    }
}

pub(super) fn kind(close: &Ending) -> &'static str {
    match close.kind {
        EndingKind::Fin => "FIN",
        EndingKind::Rst => "RST",
    }
}

pub(super) fn ending(close: &Ending, note: impl Into<String>) -> Evidence {
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
