//! From a secret to keys: the key schedule of TLS 1.3 (RFC 8446, 7.1) and the pseudorandom function
//! of TLS 1.2 (RFC 5246, 5), as far as opening records needs them.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha384};
use std::fmt;

/// Longest secret, bytes: the master secret of TLS 1.2 and a SHA-384 traffic secret.
pub(super) const SECRET_MAX: usize = 48;

/// Hash function of a cipher suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
}

impl Hash {
    /// Length of its output, bytes.
    pub(super) fn len(self) -> usize {
        match self {
            Hash::Sha256 => 32,
            Hash::Sha384 => 48,
        }
    }
}

/// A secret of at most [`SECRET_MAX`] bytes. Its debug form does not show them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Secret {
    len: u8,
    bytes: [u8; SECRET_MAX],
}

impl Secret {
    /// `len` zero bytes, or as many as there is room for.
    pub(super) fn zeros(len: usize) -> Secret {
        Secret { len: len.min(SECRET_MAX) as u8, bytes: [0; SECRET_MAX] }
    }

    /// `None` if it is too long.
    pub(super) fn new(bytes: &[u8]) -> Option<Secret> {
        let mut secret = Secret::zeros(bytes.len());
        secret.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(secret)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    pub(super) fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Secret({} bytes)", self.len)
    }
}

/// HKDF-Expand-Label with an empty context (RFC 8446, 7.1). `None` if the secret is shorter than
/// the hash.
pub(super) fn expand_label(hash: Hash, secret: &[u8], label: &str, out: &mut [u8]) -> Option<()> {
    const PREFIX: &str = "tls13 ";
    let length = u16::try_from(out.len()).ok()?.to_be_bytes();
    let label_length = u8::try_from(PREFIX.len() + label.len()).ok()?;
    let info = [&length[..], &[label_length], PREFIX.as_bytes(), label.as_bytes(), &[0]];
    match hash {
        Hash::Sha256 => Hkdf::<Sha256>::from_prk(secret).ok()?.expand_multi_info(&info, out).ok(),
        Hash::Sha384 => Hkdf::<Sha384>::from_prk(secret).ok()?.expand_multi_info(&info, out).ok(),
    }
}

/// The pseudorandom function of TLS 1.2: fills `out` from a secret, a label and the parts of a seed.
pub(super) fn prf(hash: Hash, secret: &[u8], label: &str, seed: [&[u8]; 2], out: &mut [u8]) {
    let seed = [label.as_bytes(), seed[0], seed[1]];
    match hash {
        Hash::Sha256 => p_hash::<Hmac<Sha256>>(secret, seed, out),
        Hash::Sha384 => p_hash::<Hmac<Sha384>>(secret, seed, out),
    }
}

/// P_hash (RFC 5246, 5): each block of output hashes the seed behind its own link of a chain of
/// hashes of the seed.
fn p_hash<M: Mac + KeyInit + Clone>(secret: &[u8], seed: [&[u8]; 3], out: &mut [u8]) {
    // HMAC takes a key of any length.
    let Ok(keyed) = <M as KeyInit>::new_from_slice(secret) else { return };
    let seeded = |mut mac: M| {
        seed.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes()
    };
    let mut link = seeded(keyed.clone());
    for block in out.chunks_mut(link.len()) {
        let output = seeded(keyed.clone().chain_update(&link));
        block.copy_from_slice(&output[..block.len()]);
        link = keyed.clone().chain_update(&link).finalize().into_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::hex;
    use super::*;

    /// RFC 8448, 3: "derive write traffic keys for handshake data" of both sides.
    #[test]
    fn traffic_keys_of_the_example_handshake() {
        for (secret, key, iv) in [
            (
                "b3eddb126e067f35a780b3abf45e2d8f3b1a950738f52e9600746a0e27a55a21",
                "dbfaa693d1762c5b666af5d950258d01",
                "5bd3c71b836e0b76bb73265f",
            ),
            (
                "b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38",
                "3fce516009c21727d0f2e4e86ee403bc",
                "5d313eb2671276ee13000b30",
            ),
        ] {
            let (mut got_key, mut got_iv) = ([0; 16], [0; 12]);
            expand_label(Hash::Sha256, &hex(secret), "key", &mut got_key).unwrap();
            expand_label(Hash::Sha256, &hex(secret), "iv", &mut got_iv).unwrap();
            assert_eq!((got_key.to_vec(), got_iv.to_vec()), (hex(key), hex(iv)));
        }
    }

    /// Vectors that were posted to the TLS working group's list, "TLS 1.2 PRF test vectors".
    #[test]
    fn pseudorandom_function() {
        for (hash, secret, seed, output) in [
            (
                Hash::Sha256,
                "9bbe436ba940f017b17652849a71db35",
                "a0ba9f936cda311827a6f796ffd5198c",
                "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9\
                 c9a46b4e14baf9af0fa022f7077def17abfd3797c0564bab4fbc91666e9def9b97fce34f796789ba\
                 a48082d122ee42c5a72e5a5110fff70187347b66",
            ),
            (
                Hash::Sha384,
                "b80b733d6ceefcdc71566ea48e5567df",
                "cd665cf6a8447dd6ff8b27555edb7465",
                "7b0c18e9ced410ed1804f2cfa34a336a1c14dffb4900bb5fd7942107e81c83cde9ca0faa60be9fe3\
                 4f82b1233c9146a0e534cb400fed2700884f9dc236f80edd8bfa961144c9e8d792eca722a7b32fc3\
                 d416d473ebc2c5fd4abfdad05d9184259b5bf8cd4d90fa0d31e2dec479e4f1a26066f2eea9a69236\
                 a3e52655c9e9aee691c8f3a26854308d5eaa3be85e0990703d73e56f",
            ),
        ] {
            let mut got = vec![0; output.len() / 2];
            let seed = hex(seed);
            let (first, second) = seed.split_at(5);
            prf(hash, &hex(secret), "test label", [first, second], &mut got);
            assert_eq!(got, hex(output));
        }
    }

    #[test]
    fn a_secret_stays_out_of_debug_output_and_within_its_bound() {
        let secret = Secret::new(&[0xab; 32]).unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(32 bytes)");
        assert_eq!(Secret::new(&[0; SECRET_MAX + 1]), None);
        assert_eq!(expand_label(Hash::Sha384, secret.as_bytes(), "key", &mut [0; 16]), None);
    }
}
