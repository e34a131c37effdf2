//! Decryption secrets that a capture carries (pcapng, Decryption Secrets Block): TLS key log lines.
//!
//! Layout: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-05.html>, 4.7. Secrets of other
//! protocols (WireGuard, SSH, ZigBee) are stepped over.

use super::bytes::Order;
use super::notes::{Notes, Odd};

/// Bytes of secrets kept between two frames, at which those of a whole file usually lie: room for
/// the keys of 16,000 sessions or more, and for any block that is read at all.
pub(super) const SECRETS_MAX: usize = 17 << 20;

/// Secrets type of lines in the format of `SSLKEYLOGFILE`.
const TLS_KEY_LOG: u32 = 0x544c_534b;

/// Key log lines that were read and not taken yet.
#[derive(Debug, Default)]
pub(super) struct Secrets(Vec<u8>);

impl Secrets {
    /// Takes in the body of a block.
    #[cold]
    pub(super) fn block(&mut self, body: &[u8], order: Order, notes: &mut Notes) {
        if order.u32(body, 0) != TLS_KEY_LOG {
            return;
        }
        let promised = order.u32(body, 4) as usize;
        let text = body.get(8..).unwrap_or_default();
        if promised > text.len() {
            notes.odd(Odd::LongerThanBlock);
        }
        if !self.add(&text[..promised.min(text.len())]) {
            notes.odd(Odd::TooManySecrets);
        }
    }

    /// Takes over those of a file; warns once if there is no room for them.
    pub(super) fn join(&mut self, of_file: &mut Secrets, warnings: &mut Vec<String>) {
        const LEFT_OUT: &str =
            "several captures hold more TLS keys than why502 keeps at once; some were left out";
        let of_file = std::mem::take(&mut of_file.0);
        if !self.add(&of_file) && !warnings.iter().any(|warning| warning == LEFT_OUT) {
            warnings.push(LEFT_OUT.to_owned());
        }
    }

    /// Whether there is nothing to take.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The lines since the last call, whole ones.
    #[inline]
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        (!self.0.is_empty()).then(|| std::mem::take(&mut self.0))
    }

    fn add(&mut self, text: &[u8]) -> bool {
        if text.is_empty() {
            return true;
        }
        if self.0.len() + text.len() >= SECRETS_MAX {
            return false;
        }
        self.0.extend_from_slice(text);
        // The last line of a block ends with it.
        if !text.ends_with(b"\n") {
            self.0.push(b'\n');
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::Timeline;
    use super::super::testing::{PcapFile, PcapngFile};
    use super::*;

    fn body(order: Order, kind: u32, promised: u32, text: &[u8]) -> Vec<u8> {
        let put = |value: u32| match order {
            Order::Little => value.to_le_bytes(),
            Order::Big => value.to_be_bytes(),
        };
        [&put(kind), &put(promised), text].concat()
    }

    #[test]
    fn lines_of_several_blocks_stay_apart() {
        let (mut secrets, mut notes) = (Secrets::default(), Notes::default());
        for order in [Order::Little, Order::Big] {
            // Padding and options follow.
            secrets.block(&body(order, TLS_KEY_LOG, 3, b"abc\0\0\0\0\0"), order, &mut notes);
            secrets.block(&body(order, TLS_KEY_LOG, 2, b"d\n"), order, &mut notes);
            // WireGuard.
            secrets.block(&body(order, 0x5747_4b4c, 3, b"xyz"), order, &mut notes);
            assert_eq!(secrets.take().as_deref(), Some(&b"abc\nd\n"[..]));
            assert_eq!(secrets.take(), None);
        }
        assert!(notes.finish(0, None).is_empty());
    }

    #[test]
    fn a_block_that_is_short_or_too_much_is_told() {
        let (mut secrets, mut notes) = (Secrets::default(), Notes::default());
        secrets.block(b"", Order::Little, &mut notes);
        secrets.block(&body(Order::Little, TLS_KEY_LOG, 0, b"")[..7], Order::Little, &mut notes);
        let block = body(Order::Little, TLS_KEY_LOG, 9, b"abc");
        secrets.block(&block, Order::Little, &mut notes);
        let mut all = Secrets(vec![b'\n'; SECRETS_MAX - 4]);
        let mut left_out = Vec::new();
        for count in [1, 1] {
            secrets.block(&block, Order::Little, &mut notes);
            all.join(&mut secrets, &mut left_out);
            assert_eq!(left_out.len(), count);
        }
        all.join(&mut secrets, &mut left_out);
        assert_eq!(all.take().map(|text| text.len()), Some(SECRETS_MAX - 4));
        let mut full = Secrets(vec![b'\n'; SECRETS_MAX - 2]);
        full.block(&block, Order::Little, &mut notes);
        let warnings = notes.finish(0, None);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[1].starts_with("1 records hold more TLS keys"), "{warnings:?}");
    }

    /// A pcapng file of frames at these seconds, and between them blocks of keys.
    fn pcapng(order: Order, items: &[Result<u32, &str>]) -> Vec<u8> {
        let file = PcapngFile::new(order).interface(1, 0, &[]);
        let add = |file: PcapngFile, item: &Result<u32, &str>| match item {
            Ok(second) => file.packet(0, u64::from(*second) * 1_000_000, &second.to_be_bytes()),
            Err(keys) => {
                let promised = keys.len() as u32;
                file.block(10, &body(order, TLS_KEY_LOG, promised, keys.as_bytes()))
            }
        };
        items.iter().fold(file, add).bytes
    }

    #[test]
    fn keys_are_known_before_the_frames_behind_them() {
        let directory = tempfile::tempdir().unwrap();
        let plain = PcapFile::new(0xa1b2_c3d4, Order::Little, 1).record(15, 0, b"15").bytes;
        for (name, bytes) in [
            (
                "a",
                pcapng(Order::Big, &[Err("a1"), Ok(10), Err("a2"), Err("a3"), Ok(30), Err("a4")]),
            ),
            (
                "b",
                pcapng(Order::Little, &[Err("b1"), Ok(20), Ok(40), Err("b2"), Ok(50), Err("b3")]),
            ),
            ("keys", pcapng(Order::Little, &[Err("only")])),
            ("plain", plain),
        ] {
            std::fs::write(directory.path().join(name), bytes).unwrap();
        }
        let mut timeline = Timeline::open(&[directory.path()]).unwrap();
        let mut seen = Vec::new();
        loop {
            let more = timeline.step().unwrap();
            let keys = timeline.take_secrets().unwrap_or_default();
            let keys = String::from_utf8(keys).unwrap();
            assert_eq!(timeline.take_secrets(), None);
            let frame = timeline.frame().map(|frame| frame.mark);
            assert_eq!(frame.is_some(), more);
            seen.push((frame.map_or(0, |mark| mark.at.0 / 1_000_000_000), keys));
            if !more {
                break;
            }
        }
        let expected = [
            (10, "only\na1\n"),
            // Read ahead of its turn: a file goes to its next frame to know when that is due.
            (15, "a2\na3\n"),
            (20, "b1\n"),
            (30, ""),
            (40, "a4\n"),
            (50, "b2\n"),
            (0, "b3\n"),
        ];
        assert_eq!(seen, expected.map(|(second, keys)| (second, keys.to_owned())));
        // Wireshark does not number them.
        assert_eq!(timeline.captures().iter().map(|info| info.packets).sum::<u64>(), 6);
        assert!(timeline.warnings().is_empty());
    }
}
