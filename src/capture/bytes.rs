//! Integers out of captured bytes, in the byte order of the machine that captured.

/// Byte order of a pcap file or of a pcapng section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

/// A field that lies beyond the end reads as 0, so that no input can cause a panic; callers
/// check lengths where 0 would mean something.
impl Order {
    #[inline]
    pub(super) fn u16(self, bytes: &[u8], at: usize) -> u16 {
        match (bytes.get(at..).and_then(<[u8]>::first_chunk), self) {
            (Some(field), Order::Little) => u16::from_le_bytes(*field),
            (Some(field), Order::Big) => u16::from_be_bytes(*field),
            (None, _) => 0,
        }
    }

    #[inline]
    pub(super) fn u32(self, bytes: &[u8], at: usize) -> u32 {
        match (bytes.get(at..).and_then(<[u8]>::first_chunk), self) {
            (Some(field), Order::Little) => u32::from_le_bytes(*field),
            (Some(field), Order::Big) => u32::from_be_bytes(*field),
            (None, _) => 0,
        }
    }

    /// Four fields that follow each other, read at once.
    #[inline]
    pub(super) fn four(self, bytes: &[u8]) -> [u32; 4] {
        let (fields, _) = bytes.as_chunks::<4>();
        let Some(fields) = fields.first_chunk::<4>() else { return [0; 4] };
        match self {
            Order::Little => fields.map(u32::from_le_bytes),
            Order::Big => fields.map(u32::from_be_bytes),
        }
    }

    #[inline]
    pub(super) fn u64(self, bytes: &[u8], at: usize) -> u64 {
        match (bytes.get(at..).and_then(<[u8]>::first_chunk), self) {
            (Some(field), Order::Little) => u64::from_le_bytes(*field),
            (Some(field), Order::Big) => u64::from_be_bytes(*field),
            (None, _) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_orders_and_no_panic_beyond_the_end() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(Order::Little.u16(&bytes, 0), 0x0201);
        assert_eq!(Order::Big.u32(&bytes, 4), 0x0506_0708);
        assert_eq!(Order::Big.u64(&bytes, 0), 0x0102_0304_0506_0708);
        assert_eq!(Order::Little.u32(&bytes, 5), 0);
        assert_eq!(Order::Big.four(&[bytes, bytes].concat())[2..], [0x0102_0304, 0x0506_0708]);
        assert_eq!(Order::Little.four(&bytes), [0; 4]);
        assert_eq!(Order::Little.u32(&bytes, usize::MAX), 0);
    }
}
