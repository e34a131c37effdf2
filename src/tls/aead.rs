//! The AEAD algorithms of TLS cipher suites: AES-GCM (RFC 5288), AES-CCM (RFC 6655, RFC 7251) and
//! ChaCha20-Poly1305 (RFC 7905).

use super::schedule::Hash;
use aes_gcm::aes::{Aes128, Aes256};
use aes_gcm::{AeadInOut, Aes128Gcm, Aes256Gcm, KeyInit};
use ccm::Ccm;
use ccm::consts::{U8, U12, U16};
use chacha20poly1305::ChaCha20Poly1305;

/// Longest key, bytes.
pub(super) const KEY_MAX: usize = 32;
/// Length of a nonce, bytes, and of the initialisation vector that it is made from.
pub(super) const NONCE_LEN: usize = 12;
/// Bytes of the nonce that come from the keys in AES suites of TLS 1.2; the record carries the rest.
pub(super) const SALT_LEN: usize = 4;
/// Bytes of the nonce that a record of such a suite carries.
pub(super) const EXPLICIT_LEN: usize = NONCE_LEN - SALT_LEN;
/// Longest additional data, bytes (RFC 5246, 6.2.3.3).
const ADDITIONAL_MAX: usize = 13;

/// An algorithm with its key and tag length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aead {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
    Aes128Ccm,
    Aes256Ccm,
    Aes128Ccm8,
    Aes256Ccm8,
}

/// What the number of a cipher suite stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Suite {
    /// It is one of TLS 1.3, otherwise of TLS 1.2.
    pub(super) tls13: bool,
    pub(super) aead: Aead,
    pub(super) hash: Hash,
}

/// Nonce and additional data that may be those of a record.
pub(super) struct Attempt {
    pub(super) nonce: [u8; NONCE_LEN],
    additional: [u8; ADDITIONAL_MAX],
    additional_len: usize,
}

impl Attempt {
    /// `additional` has at most 13 bytes.
    pub(super) fn new(nonce: [u8; NONCE_LEN], additional: &[u8]) -> Attempt {
        let mut kept = [0; ADDITIONAL_MAX];
        let additional_len = additional.len().min(ADDITIONAL_MAX);
        kept[..additional_len].copy_from_slice(&additional[..additional_len]);
        Attempt { nonce, additional: kept, additional_len }
    }

    fn additional(&self) -> &[u8] {
        &self.additional[..self.additional_len]
    }
}

/// Whether the records of a cipher suite can be opened, with its keys. Those of suites that encrypt
/// and authenticate separately (CBC, RC4, NULL) and of ARIA and Camellia cannot.
pub fn is_aead(suite: u16) -> bool {
    Suite::find(suite).is_some()
}

impl Suite {
    /// By its number (<https://www.iana.org/assignments/tls-parameters>, TLS Cipher Suites).
    pub(super) fn find(number: u16) -> Option<Suite> {
        use Aead::*;
        let (tls13, aead) = match number {
            0x1301 => (true, Aes128Gcm),
            0x1302 => (true, Aes256Gcm),
            0x1303 => (true, ChaCha20Poly1305),
            0x1304 => (true, Aes128Ccm),
            0x1305 => (true, Aes128Ccm8),
            // RFC 5288 (RSA, DHE, DH), RFC 5487 (PSK), RFC 5289 (ECDHE, ECDH).
            0x009c | 0x009e | 0x00a0 | 0x00a2 | 0x00a4 | 0x00a6 => (false, Aes128Gcm),
            0x009d | 0x009f | 0x00a1 | 0x00a3 | 0x00a5 | 0x00a7 => (false, Aes256Gcm),
            0x00a8 | 0x00aa | 0x00ac | 0xc02b | 0xc02d | 0xc02f | 0xc031 => (false, Aes128Gcm),
            0x00a9 | 0x00ab | 0x00ad | 0xc02c | 0xc02e | 0xc030 | 0xc032 => (false, Aes256Gcm),
            // RFC 6655 (RSA, DHE, PSK), RFC 7251 (ECDHE).
            0xc09c | 0xc09e | 0xc0a4 | 0xc0a6 | 0xc0ac => (false, Aes128Ccm),
            0xc09d | 0xc09f | 0xc0a5 | 0xc0a7 | 0xc0ad => (false, Aes256Ccm),
            0xc0a0 | 0xc0a2 | 0xc0a8 | 0xc0aa | 0xc0ae => (false, Aes128Ccm8),
            0xc0a1 | 0xc0a3 | 0xc0a9 | 0xc0ab | 0xc0af => (false, Aes256Ccm8),
            // RFC 7905.
            0xcca8..=0xccae => (false, ChaCha20Poly1305),
            // RFC 8442 (ECDHE with PSK).
            0xd001 => (false, Aes128Gcm),
            0xd002 => (false, Aes256Gcm),
            0xd003 => (false, Aes128Ccm8),
            0xd005 => (false, Aes128Ccm),
            _ => return None,
        };
        let hash = if aead == Aes256Gcm { Hash::Sha384 } else { Hash::Sha256 };
        Some(Suite { tls13, aead, hash })
    }
}

impl Aead {
    /// Length of the key, bytes.
    pub(super) fn key_len(self) -> usize {
        match self {
            Aead::Aes128Gcm | Aead::Aes128Ccm | Aead::Aes128Ccm8 => 16,
            Aead::Aes256Gcm | Aead::Aes256Ccm | Aead::Aes256Ccm8 | Aead::ChaCha20Poly1305 => 32,
        }
    }

    /// Length of the tag behind the ciphertext, bytes.
    pub(super) fn tag_len(self) -> usize {
        match self {
            Aead::Aes128Ccm8 | Aead::Aes256Ccm8 => 8,
            _ => 16,
        }
    }

    /// In TLS 1.2 a record carries a part of its nonce.
    pub(super) fn explicit_nonce(self) -> bool {
        self != Aead::ChaCha20Poly1305
    }

    /// Opens `sealed`, ciphertext and tag, into `plain` with the first attempt that fits, and says
    /// which one. `plain` holds nothing of use when none does.
    pub(super) fn open(
        self,
        key: &[u8],
        sealed: &[u8],
        plain: &mut Vec<u8>,
        attempts: impl Iterator<Item = Attempt>,
    ) -> Option<u64> {
        let (text, tag) = sealed.split_at_checked(sealed.len().checked_sub(self.tag_len())?)?;
        match self {
            Aead::Aes128Gcm => try_all::<Aes128Gcm>(key, text, tag, plain, attempts),
            Aead::Aes256Gcm => try_all::<Aes256Gcm>(key, text, tag, plain, attempts),
            Aead::ChaCha20Poly1305 => try_all::<ChaCha20Poly1305>(key, text, tag, plain, attempts),
            Aead::Aes128Ccm => try_all::<Ccm<Aes128, U16, U12>>(key, text, tag, plain, attempts),
            Aead::Aes256Ccm => try_all::<Ccm<Aes256, U16, U12>>(key, text, tag, plain, attempts),
            Aead::Aes128Ccm8 => try_all::<Ccm<Aes128, U8, U12>>(key, text, tag, plain, attempts),
            Aead::Aes256Ccm8 => try_all::<Ccm<Aes256, U8, U12>>(key, text, tag, plain, attempts),
        }
    }
}

fn try_all<A: AeadInOut + KeyInit>(
    key: &[u8],
    text: &[u8],
    tag: &[u8],
    plain: &mut Vec<u8>,
    attempts: impl Iterator<Item = Attempt>,
) -> Option<u64> {
    let cipher = A::new_from_slice(key).ok()?;
    let tag = tag.try_into().ok()?;
    for (number, attempt) in (0..).zip(attempts) {
        // A failed attempt may have changed it.
        plain.clear();
        plain.extend_from_slice(text);
        let nonce = attempt.nonce.as_slice().try_into().ok()?;
        let opened = cipher.decrypt_inout_detached(
            nonce,
            attempt.additional(),
            plain.as_mut_slice().into(),
            tag,
        );
        if opened.is_ok() {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_by_number() {
        let find = |number| Suite::find(number).map(|suite| (suite.tls13, suite.aead, suite.hash));
        assert_eq!(find(0x1302), Some((true, Aead::Aes256Gcm, Hash::Sha384)));
        assert_eq!(find(0xc02f), Some((false, Aead::Aes128Gcm, Hash::Sha256)));
        assert_eq!(find(0xc0af), Some((false, Aead::Aes256Ccm8, Hash::Sha256)));
        // TLS_RSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, ARIA, none at all.
        assert!([0x002f, 0xc027, 0xc050, 0x0000].into_iter().all(|suite| !is_aead(suite)));
        // RFC 8446, B.4, and the numbers of the RFCs above.
        assert_eq!((0..=u16::MAX).filter(|suite| is_aead(*suite)).count(), 5 + 18 + 8 + 20 + 7 + 4);
    }
}
