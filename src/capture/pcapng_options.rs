//! Options at the end of pcapng blocks: code, length, value padded to four bytes.

use super::Direction;
use super::bytes::Order;

/// An option whose length runs beyond its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BrokenOption;

/// The options in `bytes` as code and value, to the end mark, the end, or a broken one.
pub(super) fn options(
    mut bytes: &[u8],
    order: Order,
) -> impl Iterator<Item = Result<(u16, &[u8]), BrokenOption>> {
    std::iter::from_fn(move || {
        if bytes.len() < 4 {
            return None;
        }
        let (code, length) = (order.u16(bytes, 0), usize::from(order.u16(bytes, 2)));
        if code == 0 {
            return None;
        }
        let Some(value) = bytes.get(4..4 + length) else {
            bytes = &[];
            return Some(Err(BrokenOption));
        };
        bytes = bytes.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
        Some(Ok((code, value)))
    })
}

/// Bits 0 and 1 of `epb_flags`.
pub(super) fn direction(flags: u32) -> Direction {
    match flags & 3 {
        1 => Direction::Inbound,
        2 => Direction::Outbound,
        _ => Direction::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_beyond_the_block_ends_the_list() {
        let bytes = [1, 0, 1, 0, 9, 0, 0, 0, 2, 0, 50, 0, 1, 2, 3, 4];
        let all: Vec<_> = options(&bytes, Order::Little).collect();
        assert_eq!(all, [Ok((1, &[9][..])), Err(BrokenOption)]);
    }

    #[test]
    fn a_last_option_without_padding_is_still_one() {
        let all: Vec<_> = options(&[0, 7, 0, 2, 1, 2], Order::Big).collect();
        assert_eq!(all, [Ok((7, &[1, 2][..]))]);
    }
}
