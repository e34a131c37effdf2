//! Names of what TLS numbers: versions, cipher suites, alerts.

use std::borrow::Cow;
use tls_parser::TlsCipherSuite;

/// TLS 1.3, as `supported_versions` says it (RFC 8446, 4.2.1).
pub(super) const TLS13: u16 = 0x0304;
/// TLS 1.2.
pub(super) const TLS12: u16 = 0x0303;
/// SSL 3.0.
pub(super) const SSL3: u16 = 0x0300;
/// `protocol_version` (RFC 8446, 6.2).
pub(super) const PROTOCOL_VERSION: u8 = 70;
/// `close_notify` (RFC 8446, 6.1).
pub(super) const CLOSE_NOTIFY: u8 = 0;

/// `TLS 1.2` for 0x0303, and so on.
pub fn version_name(version: u16) -> Cow<'static, str> {
    match version {
        0x0002 => "SSL 2.0".into(),
        SSL3 => "SSL 3.0".into(),
        0x0301 => "TLS 1.0".into(),
        0x0302 => "TLS 1.1".into(),
        TLS12 => "TLS 1.2".into(),
        TLS13 => "TLS 1.3".into(),
        0x7f00..=0x7fff => format!("TLS 1.3 draft {}", version & 0xff).into(),
        _ => format!("0x{version:04x}").into(),
    }
}

/// IANA's name of a cipher suite.
pub fn cipher_name(suite: u16) -> Cow<'static, str> {
    match TlsCipherSuite::from_id(suite) {
        Some(known) => known.name.into(),
        None => format!("0x{suite:04x}").into(),
    }
}

/// Alerts: number, IANA's name, what it says to somebody who has to repair it.
const ALERTS: [(u8, &str, &str); 34] = [
    (CLOSE_NOTIFY, "close_notify", "closes the connection, no error"),
    (10, "unexpected_message", "a message came out of turn"),
    (20, "bad_record_mac", "a record could not be decrypted"),
    (21, "decryption_failed", "a record could not be decrypted"),
    (22, "record_overflow", "a record was too long"),
    (30, "decompression_failure", "a record could not be decompressed"),
    (40, "handshake_failure", "no cipher suite, curve or other parameter in common"),
    (41, "no_certificate", "the client has no certificate"),
    (42, "bad_certificate", "the certificate is damaged or does not fit the name"),
    (43, "unsupported_certificate", "the certificate is of a kind that is not supported"),
    (44, "certificate_revoked", "the certificate was revoked"),
    (45, "certificate_expired", "the certificate has expired or is not valid yet"),
    (46, "certificate_unknown", "the certificate was not accepted"),
    (47, "illegal_parameter", "a field of the handshake makes no sense"),
    (48, "unknown_ca", "the certificate's issuer is not trusted"),
    (49, "access_denied", "the certificate is valid, but access is denied"),
    (50, "decode_error", "a message could not be decoded"),
    (51, "decrypt_error", "a signature or Finished could not be verified"),
    (60, "export_restriction", "an export restriction was violated"),
    (PROTOCOL_VERSION, "protocol_version", "no TLS version in common"),
    (71, "insufficient_security", "the ciphers offered are too weak"),
    (80, "internal_error", "an internal error"),
    (86, "inappropriate_fallback", "a retry with a lower version was refused"),
    (90, "user_canceled", "the handshake was cancelled"),
    (100, "no_renegotiation", "renegotiation is refused"),
    (109, "missing_extension", "the hello lacks a mandatory extension"),
    (110, "unsupported_extension", "an extension came that was not asked for"),
    (111, "certificate_unobtainable", "the certificate could not be fetched"),
    (112, "unrecognized_name", "no server with the name that SNI asks for"),
    (113, "bad_certificate_status_response", "the OCSP response is invalid"),
    (114, "bad_certificate_hash_value", "the certificate's hash does not fit"),
    (115, "unknown_psk_identity", "the pre-shared key is not known"),
    (116, "certificate_required", "a client certificate is demanded and none was sent"),
    (120, "no_application_protocol", "no ALPN protocol in common"),
];

fn alert(description: u8) -> Option<&'static (u8, &'static str, &'static str)> {
    ALERTS.iter().find(|(number, ..)| *number == description)
}

/// IANA's name of an alert.
pub fn alert_name(description: u8) -> Cow<'static, str> {
    match alert(description) {
        Some((_, name, _)) => (*name).into(),
        None => format!("alert {description}").into(),
    }
}

/// What an alert says, in plain words; `None` for numbers that nobody has assigned.
pub fn alert_meaning(description: u8) -> Option<&'static str> {
    alert(description).map(|(.., meaning)| *meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_names() {
        assert_eq!(version_name(0x0304), "TLS 1.3");
        assert_eq!(version_name(0x0a0a), "0x0a0a");
        assert_eq!(cipher_name(0x1301), "TLS_AES_128_GCM_SHA256");
        assert_eq!(cipher_name(0xc02f), "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256");
        assert_eq!(alert_name(112), "unrecognized_name");
        assert_eq!(alert_name(250), "alert 250");
        assert!(ALERTS.is_sorted_by_key(|(number, ..)| *number));
    }
}
