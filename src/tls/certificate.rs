//! What a certificate says of itself (RFC 5280). It is read, never verified.

use crate::time::{Mark, Timestamp};
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;
use x509_cert::time::Time;

/// Longest name kept, characters.
const NAME_MAX: usize = 200;
/// Names kept of one certificate.
const NAMES_MAX: usize = 32;

/// A certificate of the server: the first of its chain, which is its own (RFC 8446, 4.4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The frame of its last byte.
    pub mark: Mark,
    /// Subject, as RFC 4514 writes it.
    pub subject: Box<str>,
    /// Issuer.
    pub issuer: Box<str>,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
    /// DNS names that it is good for, at most 32.
    pub names: Vec<Box<str>>,
}

impl Certificate {
    /// Reads one certificate in DER.
    pub(super) fn read(mark: Mark, der: &[u8]) -> Option<Certificate> {
        // Public authorities' rules on serial numbers are not everybody's.
        let certificate = CertificateInner::<Raw>::from_der(der).ok()?;
        let content = certificate.tbs_certificate();
        let names = match content.get_extension::<SubjectAltName>() {
            Ok(Some((_, SubjectAltName(names)))) => names,
            _ => Vec::new(),
        };
        let names = names.iter().filter_map(|name| match name {
            GeneralName::DnsName(name) => Some(kept(name.as_str())),
            _ => None,
        });
        let validity = content.validity();
        Some(Certificate {
            mark,
            subject: text(content.subject()),
            issuer: text(content.issuer()),
            not_before: timestamp(validity.not_before),
            not_after: timestamp(validity.not_after),
            names: names.take(NAMES_MAX).collect(),
        })
    }

    /// It had expired, or was not valid yet, at `now`.
    pub fn is_out_of_time(&self, now: Timestamp) -> bool {
        now < self.not_before || now > self.not_after
    }
}

fn text(name: &Name) -> Box<str> {
    kept(&name.to_string())
}

/// Printable, and not too long.
pub(super) fn kept(text: &str) -> Box<str> {
    let printable = |c: char| if c.is_control() { '?' } else { c };
    text.chars().take(NAME_MAX).map(printable).collect()
}

/// Saturates far outside of what captures hold: year 2262.
fn timestamp(time: Time) -> Timestamp {
    let seconds = time.to_unix_duration().as_secs();
    Timestamp(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000_000))
}
