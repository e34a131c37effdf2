//! Opens the protected records of one direction of a connection (RFC 8446, 5.2; RFC 5246, 6.2.3.3).
//!
//! Knows nothing of streams: its caller finds the records and says where some are missing.

use super::aead::{Aead, Attempt, EXPLICIT_LEN, KEY_MAX, NONCE_LEN, SALT_LEN, Suite};
use super::schedule::{Hash, Secret, expand_label, prf};
use crate::tcp::Side;
use std::fmt;

/// Records that [`Opener::open_after_gap`] takes for missing at most. 64 full records are a megabyte,
/// far more than a capture loses at a time, and as many failed attempts take 0.3 ms (AES-GCM) to 5 ms
/// (AES-CCM).
pub const GAP_RECORDS_MAX: u64 = 64;

/// Bytes of a record before its content: type, version and length.
const HEADER_LEN: usize = 5;
/// `application_data`, the outer type of every protected record of TLS 1.3.
const APPLICATION_DATA: u8 = 23;
/// Longest part of the key block of TLS 1.2 that is used: two keys and two initialisation vectors.
const KEY_BLOCK_MAX: usize = 2 * (KEY_MAX + NONCE_LEN);

/// Why a record was not opened. The opener is as before it was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Its type says that it is in the clear (TLS 1.3: alerts and change_cipher_spec before the
    /// peer has keys).
    #[error("not protected")]
    InTheClear,
    /// It is shorter than what every protected record has.
    #[error("too short for a protected record")]
    TooShort,
    /// The keys do not fit: they belong to another connection, direction or time, records before it
    /// are missing, or its bytes are not those that were sent.
    #[error("not of this place in this connection")]
    Refused,
    /// It opened and has no content type (RFC 8446, 5.4).
    #[error("nothing but padding")]
    OnlyPadding,
}

/// Opens the records of one direction of a connection, one after the other.
#[derive(Clone)]
pub struct Opener {
    aead: Aead,
    key: [u8; KEY_MAX],
    iv: [u8; NONCE_LEN],
    /// Number of the next record since the keys began.
    sequence: u64,
    /// TLS 1.3: where the keys come from. TLS 1.2 has none.
    traffic: Option<(Hash, Secret)>,
}

impl fmt::Debug for Opener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Opener")
            .field("aead", &self.aead)
            .field("tls13", &self.traffic.is_some())
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

impl Opener {
    /// Opens what `side` sends in a TLS 1.2 connection, from its Finished on. `None` for a suite that
    /// is not [AEAD](super::is_aead) of TLS 1.2.
    pub fn tls12(
        suite: u16,
        master_secret: &[u8; 48],
        client_random: &[u8; 32],
        server_random: &[u8; 32],
        side: Side,
    ) -> Option<Opener> {
        let Suite { tls13: false, aead, hash } = Suite::find(suite)? else { return None };
        let key_len = aead.key_len();
        let iv_len = if aead.explicit_nonce() { SALT_LEN } else { NONCE_LEN };
        let mut block = [0; KEY_BLOCK_MAX];
        let block = &mut block[..2 * (key_len + iv_len)];
        let seed = [&server_random[..], &client_random[..]];
        prf(hash, master_secret, "key expansion", seed, block);
        // The client's key, the server's key, the client's vector, the server's (RFC 5246, 6.3).
        let (keys, ivs) = block.split_at(2 * key_len);
        let place = match side {
            Side::Client => 0,
            Side::Server => 1,
        };
        let mut opener =
            Opener { aead, key: [0; KEY_MAX], iv: [0; NONCE_LEN], sequence: 0, traffic: None };
        opener.key[..key_len].copy_from_slice(&keys[place * key_len..][..key_len]);
        opener.iv[..iv_len].copy_from_slice(&ivs[place * iv_len..][..iv_len]);
        Some(opener)
    }

    /// Opens what the owner of a traffic secret sends in a TLS 1.3 connection while that secret is in
    /// use. `None` for a suite that is not [AEAD](super::is_aead) of TLS 1.3 and for a secret that
    /// is not as long as the hash of the suite.
    pub fn tls13(suite: u16, traffic_secret: &[u8]) -> Option<Opener> {
        let Suite { tls13: true, aead, hash } = Suite::find(suite)? else { return None };
        if traffic_secret.len() != hash.len() {
            return None;
        }
        let secret = Secret::new(traffic_secret)?;
        let mut opener = Opener {
            aead,
            key: [0; KEY_MAX],
            iv: [0; NONCE_LEN],
            sequence: 0,
            traffic: Some((hash, secret)),
        };
        opener.derive()?;
        Some(opener)
    }

    /// The sender goes on with its next traffic secret (KeyUpdate, RFC 8446, 7.2). Changes nothing
    /// in TLS 1.2.
    pub fn update(&mut self) {
        let Some((hash, secret)) = &mut self.traffic else { return };
        let mut next = Secret::zeros(hash.len());
        if expand_label(*hash, secret.as_bytes(), "traffic upd", next.as_mut()).is_some() {
            *secret = next;
            self.derive();
            self.sequence = 0;
        }
    }

    /// Keys of the traffic secret (RFC 8446, 7.3).
    fn derive(&mut self) -> Option<()> {
        let (hash, secret) = self.traffic.as_ref()?;
        let key = &mut self.key[..self.aead.key_len()];
        expand_label(*hash, secret.as_bytes(), "key", key)?;
        expand_label(*hash, secret.as_bytes(), "iv", &mut self.iv)
    }

    /// Opens the next record: `record` is what follows its `header`. `plain` then holds the content,
    /// and nothing after an error. Returns the type of the content.
    ///
    /// After an error the same record is still the next one: call [`skip`](Opener::skip) to go on
    /// behind it.
    pub fn open(
        &mut self,
        header: [u8; HEADER_LEN],
        record: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<u8, OpenError> {
        self.open_within(0, header, record, plain)
    }

    /// Opens a record before which up to [`GAP_RECORDS_MAX`] records may be missing.
    pub fn open_after_gap(
        &mut self,
        header: [u8; HEADER_LEN],
        record: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<u8, OpenError> {
        self.open_within(GAP_RECORDS_MAX, header, record, plain)
    }

    /// Steps over a record of which the bytes are missing or not as they were sent.
    pub fn skip(&mut self) {
        self.sequence = self.sequence.wrapping_add(1);
    }

    /// Number of the next record since its keys began, from 0.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    fn open_within(
        &mut self,
        missing_max: u64,
        header: [u8; HEADER_LEN],
        record: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<u8, OpenError> {
        plain.clear();
        let opened = if self.traffic.is_some() {
            self.open_tls13(missing_max, header, record, plain)
        } else {
            self.open_tls12(missing_max, header, record, plain)
        };
        match opened {
            Ok((content_type, missing)) => {
                self.sequence = self.sequence.wrapping_add(missing).wrapping_add(1);
                Ok(content_type)
            }
            Err(error) => {
                plain.clear();
                Err(error)
            }
        }
    }

    /// Type of the content, and records that are missing before it.
    fn open_tls13(
        &self,
        missing_max: u64,
        header: [u8; HEADER_LEN],
        record: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(u8, u64), OpenError> {
        if header[0] != APPLICATION_DATA {
            return Err(OpenError::InTheClear);
        }
        if record.len() <= self.aead.tag_len() {
            return Err(OpenError::TooShort);
        }
        let attempts = (0..=missing_max)
            .map(|missing| Attempt::new(self.nonce(self.sequence.wrapping_add(missing)), &header));
        let key = &self.key[..self.aead.key_len()];
        let missing = self.aead.open(key, record, plain, attempts).ok_or(OpenError::Refused)?;
        // The content, its type, and zeros as padding.
        let end = plain.iter().rposition(|byte| *byte != 0).ok_or(OpenError::OnlyPadding)?;
        let content_type = plain[end];
        plain.truncate(end);
        Ok((content_type, missing))
    }

    fn open_tls12(
        &self,
        missing_max: u64,
        header: [u8; HEADER_LEN],
        record: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(u8, u64), OpenError> {
        let explicit_len = if self.aead.explicit_nonce() { EXPLICIT_LEN } else { 0 };
        let (explicit, sealed) =
            record.split_at_checked(explicit_len).ok_or(OpenError::TooShort)?;
        let length = sealed.len().checked_sub(self.aead.tag_len()).ok_or(OpenError::TooShort)?;
        let length = (length as u16).to_be_bytes();
        let [content_type, major, minor, ..] = header;
        let attempts = (0..=missing_max).map(|missing| {
            let sequence = self.sequence.wrapping_add(missing);
            let nonce = if explicit.is_empty() {
                self.nonce(sequence)
            } else {
                let mut nonce = self.iv;
                nonce[SALT_LEN..].copy_from_slice(explicit);
                nonce
            };
            let mut additional = [0; 13];
            additional[..8].copy_from_slice(&sequence.to_be_bytes());
            additional[8..].copy_from_slice(&[content_type, major, minor, length[0], length[1]]);
            Attempt::new(nonce, &additional)
        });
        let key = &self.key[..self.aead.key_len()];
        let missing = self.aead.open(key, sealed, plain, attempts).ok_or(OpenError::Refused)?;
        Ok((content_type, missing))
    }

    /// The initialisation vector with the sequence number over its end (RFC 8446, 5.3; RFC 7905, 2).
    fn nonce(&self, sequence: u64) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        for (byte, of_sequence) in nonce[SALT_LEN..].iter_mut().zip(sequence.to_be_bytes()) {
            *byte ^= of_sequence;
        }
        nonce
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::hex;
    use super::*;
    use proptest::prelude::*;

    const AES_128_GCM: u16 = 0x1301;
    // RFC 8448, 3: traffic secrets, and complete records that were sent under them.
    const CLIENT_HANDSHAKE: &str =
        "b3eddb126e067f35a780b3abf45e2d8f3b1a950738f52e9600746a0e27a55a21";
    const CLIENT_FINISHED: &str = "1703030035 75ec4dc238cce60b298044a71e219c56cc77b0517fe9b93c7a4bfc44d87f\
         38f80338ac98fc46deb384bd1caeacab6867d726c40546";
    const CLIENT_TRAFFIC: &str = "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5";
    const CLIENT_DATA: &str = "1703030043 a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819\
         a8a5b46b395bd54a9a20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4";
    const CLIENT_ALERT: &str = "1703030013 c9872760655666b74d7ff1153efd6db6d0b0e3";
    const SERVER_TRAFFIC: &str = "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643";
    const SERVER_TICKET: &str = "17030300de 3a6b8f90414a97d6959c3487680de5134a2b240e6cffac116e95d41d\
         6af8f6b580dcf3d11d63c758db289a015940252f55713e061dc13e078891a38efbcf5753ad8ef170ad3c\
         7353d16d9da773b9ca7f2b9fa1b6c0d4a3d03f75e09c30ba1e62972ac46f75f7b981be63439b2999ce13\
         064615139891d5e4c5b406f16e3fc181a77ca475840025db2f0a77f81b5ab05b94c01346755f69232c86\
         519d86cbeeac87aac347d143f9605d64f650db4d023e70e952ca49fe5137121c74bc2697687e248746d6\
         df353005f3bce18696129c8153556b3b6c6779b37bf15985684f";
    const SERVER_DATA: &str = "1703030043 2e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efa\
         f97d90e6dffc602dcb501a59a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d";
    const SERVER_ALERT: &str = "1703030013 b58fd67166ebf599d24720cfbe7efa7a8864a9";

    fn parts(record: &str) -> ([u8; 5], Vec<u8>) {
        let record = hex(record);
        (record[..5].try_into().unwrap(), record[5..].to_vec())
    }

    fn open(opener: &mut Opener, record: &str) -> Result<(u8, Vec<u8>), OpenError> {
        let (header, record) = parts(record);
        let mut plain = b"of the record before".to_vec();
        let content_type = opener.open(header, &record, &mut plain)?;
        Ok((content_type, plain))
    }

    fn opener(secret: &str) -> Opener {
        Opener::tls13(AES_128_GCM, &hex(secret)).unwrap()
    }

    #[test]
    fn records_of_the_example_handshake() {
        let finished = "14000020a8ec436d677634ae525ac1fcebe11a039ec17694fac6e98527b642f2edd5ce61";
        let client = open(&mut opener(CLIENT_HANDSHAKE), CLIENT_FINISHED);
        assert_eq!(client, Ok((22, hex(finished))));

        let data: Vec<u8> = (0..50).collect();
        let mut client = opener(CLIENT_TRAFFIC);
        assert_eq!(open(&mut client, CLIENT_DATA), Ok((23, data.clone())));
        assert_eq!(open(&mut client, CLIENT_ALERT), Ok((21, vec![1, 0])));

        let mut server = opener(SERVER_TRAFFIC);
        let (content_type, ticket) = open(&mut server, SERVER_TICKET).unwrap();
        assert_eq!((content_type, &ticket[..8]), (22, &hex("040000c90000001e")[..]));
        assert_eq!(open(&mut server, SERVER_DATA), Ok((23, data)));
        assert_eq!(open(&mut server, SERVER_ALERT), Ok((21, vec![1, 0])));
        assert_eq!(server.sequence(), 3);
    }

    #[test]
    fn a_record_that_is_missing_can_be_stepped_over() {
        let mut server = opener(SERVER_TRAFFIC);
        assert_eq!(open(&mut server, SERVER_DATA), Err(OpenError::Refused));
        assert_eq!(server.sequence(), 0);
        server.skip();
        assert!(open(&mut server, SERVER_DATA).is_ok());

        let (header, record) = parts(SERVER_ALERT);
        let mut plain = Vec::new();
        let mut server = opener(SERVER_TRAFFIC);
        assert_eq!(server.open_after_gap(header, &record, &mut plain), Ok(21));
        assert_eq!((server.sequence(), &plain[..]), (3, &[1, 0][..]));
        // It does not come twice.
        assert_eq!(server.open_after_gap(header, &record, &mut plain), Err(OpenError::Refused));
        assert_eq!((server.sequence(), plain.len()), (3, 0));
    }

    #[test]
    fn what_cannot_be_opened_says_why_and_changes_nothing() {
        let mut client = opener(CLIENT_TRAFFIC);
        assert_eq!(open(&mut client, "15030300020128"), Err(OpenError::InTheClear));
        assert_eq!(open(&mut client, "140303000101"), Err(OpenError::InTheClear));
        let short = format!("1703030010{}", "00".repeat(16));
        assert_eq!(open(&mut client, &short), Err(OpenError::TooShort));
        let changed = CLIENT_DATA.replace("a23f", "a23e");
        assert_eq!(open(&mut client, &changed), Err(OpenError::Refused));
        assert_eq!(open(&mut opener(SERVER_TRAFFIC), CLIENT_DATA), Err(OpenError::Refused));
        assert!(open(&mut client, CLIENT_DATA).is_ok());

        let mut old = tls12(0x009c);
        assert_eq!(open(&mut old, "170303000100"), Err(OpenError::TooShort));
        assert_eq!(
            open(&mut old, &format!("1703030017{}", "00".repeat(23))),
            Err(OpenError::TooShort)
        );
    }

    fn tls12(suite: u16) -> Opener {
        Opener::tls12(suite, &[1; 48], &[2; 32], &[3; 32], Side::Client).unwrap()
    }

    #[test]
    fn suites_and_secrets_that_do_not_fit_give_no_opener() {
        // A CBC suite; a TLS 1.3 suite in TLS 1.2 and the other way round; a SHA-256 secret for SHA-384.
        let keys = (&[1; 48], &[2; 32], &[3; 32]);
        let tls12 = |suite| Opener::tls12(suite, keys.0, keys.1, keys.2, Side::Client).is_some();
        assert_eq!((tls12(0xc02f), tls12(0xc027), tls12(0x1301)), (true, false, false));
        let tls13 = |suite, len| Opener::tls13(suite, &vec![1; len]).is_some();
        assert_eq!((tls13(0x1302, 48), tls13(0x1302, 32), tls13(0xc02f, 32)), (true, false, false));
        assert!(!tls13(0x1301, 0) && !tls13(0x1301, 1000));
    }

    #[test]
    fn an_opener_is_small_and_keeps_its_keys_to_itself() {
        let size = size_of::<Opener>();
        assert!(size <= 112, "{size}");
        let shown = format!("{:?}", opener(CLIENT_TRAFFIC));
        assert_eq!(shown, "Opener { aead: Aes128Gcm, tls13: true, sequence: 0, .. }");
    }

    proptest! {
        #[test]
        fn arbitrary_records_never_panic(
            suite in prop::sample::select(vec![0x1301, 0x1303, 0x1305, 0xc02c, 0xc0ae, 0xcca8]),
            header in any::<[u8; 5]>(),
            application_data in any::<bool>(),
            record in prop::collection::vec(any::<u8>(), 0..200),
            gap in any::<bool>(),
        ) {
            let mut opener = match suite {
                0x1301.. if suite < 0x1400 => Opener::tls13(suite, &[7; 32]).unwrap(),
                _ => tls12(suite),
            };
            let header = if application_data { [23, 3, 3, 0, 200] } else { header };
            let mut plain = vec![1];
            let opened = if gap {
                opener.open_after_gap(header, &record, &mut plain)
            } else {
                opener.open(header, &record, &mut plain)
            };
            opener.update();
            opener.skip();
            prop_assert!(opened.is_err());
            prop_assert!(plain.is_empty());
        }
    }
}
