//! Interfaces of a pcapng section: link type, clock, drop counters.

use super::LinkType;
use super::bytes::Order;
use super::notes::{Notes, Odd};
use super::pcapng_options::options;
use crate::time::Timestamp;

const NANOS: i128 = 1_000_000_000;

/// What an Interface Description Block says.
#[derive(Clone, Debug)]
pub(super) struct Interface {
    pub(super) link: LinkType,
    /// 0: no limit.
    pub(super) snaplen: u32,
    pub(super) clock: Clock,
    pub(super) drops: Drops,
}

impl Interface {
    pub(super) fn parse(body: &[u8], order: Order, notes: &mut Notes) -> Interface {
        // Microseconds unless if_tsresol says otherwise.
        let (mut resolution, mut offset) = (6, 0);
        for option in options(body.get(8..).unwrap_or_default(), order) {
            match option {
                Ok((9, &[value, ..])) => resolution = value,
                Ok((14, value)) => offset = order.u64(value, 0) as i64,
                Ok(_) => {}
                Err(_) => notes.odd(Odd::BrokenOption),
            }
        }
        Interface {
            link: LinkType(order.u16(body, 0)),
            snaplen: order.u32(body, 4),
            clock: Clock::new(resolution, offset),
            drops: Drops::default(),
        }
    }
}

/// How the timestamps of an interface count: `if_tsresol` and `if_tsoffset`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    scale: Scale,
    offset_nanos: i128,
}

#[derive(Clone, Copy, Debug)]
enum Scale {
    /// Units of 10^-9 seconds or longer: nanoseconds in one.
    Times(u64),
    /// Units shorter than that: units in a nanosecond.
    Over(u128),
    /// Units of 2^-n seconds.
    Shift(u32),
}

impl Clock {
    /// `resolution` is the raw byte: the exponent, of 2 if the highest bit is set, else of 10.
    /// `offset` is in seconds.
    pub(super) fn new(resolution: u8, offset: i64) -> Clock {
        let exponent = u32::from(resolution & 0x7f);
        let scale = if resolution & 0x80 != 0 {
            Scale::Shift(exponent)
        } else if exponent <= 9 {
            Scale::Times(10u64.pow(9 - exponent))
        } else {
            // A unit too short for this arithmetic makes every u64 of units round to 0.
            Scale::Over(10u128.checked_pow(exponent - 9).unwrap_or(u128::MAX))
        };
        Clock { scale, offset_nanos: i128::from(offset) * NANOS }
    }

    /// Time of a packet; a time beyond the years that 64 bits of nanoseconds hold (1677 to 2262)
    /// becomes the first or last of these.
    #[inline]
    pub(super) fn time(&self, units: u64) -> Timestamp {
        let nanos = match self.scale {
            Scale::Times(factor) => i128::from(units) * i128::from(factor),
            Scale::Over(divisor) => (u128::from(units) / divisor) as i128,
            Scale::Shift(bits) => (i128::from(units) * NANOS) >> bits,
        };
        let nanos = nanos.saturating_add(self.offset_nanos);
        Timestamp(i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX }))
    }
}

impl Clock {
    /// The units that [`time`](Clock::time) turns into `at`; the nearest there are.
    pub(super) fn units(&self, at: Timestamp) -> u64 {
        let nanos = i128::from(at.0).saturating_sub(self.offset_nanos);
        let units = match self.scale {
            Scale::Times(factor) => nanos / i128::from(factor),
            Scale::Over(divisor) => {
                nanos.saturating_mul(i128::try_from(divisor).unwrap_or(i128::MAX))
            }
            // Rounded up, as the way back rounds down.
            Scale::Shift(bits) => nanos
                .checked_shl(bits)
                .filter(|units| units >> bits == nanos)
                .map_or(0, |units| units.saturating_add(NANOS - 1) / NANOS),
        };
        u64::try_from(units).unwrap_or(if units < 0 { 0 } else { u64::MAX })
    }
}

/// Packets lost at one interface. The file may count them twice: with the packet that follows
/// the loss, and as a running total in the statistics.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Drops {
    with_packets: u64,
    statistics: u64,
}

impl Drops {
    /// Drops since the last packet, `epb_dropcount`.
    pub(super) fn add(&mut self, drops: u64) {
        self.with_packets = self.with_packets.saturating_add(drops);
    }

    /// The body of an Interface Statistics Block: `isb_ifdrop` (5) and `isb_osdrop` (7) are
    /// totals since the capture began.
    pub(super) fn statistics(&mut self, body: &[u8], order: Order, notes: &mut Notes) {
        let mut total: u64 = 0;
        for option in options(body.get(12..).unwrap_or_default(), order) {
            match option {
                Ok((5 | 7, value)) => total = total.saturating_add(order.u64(value, 0)),
                Ok(_) => {}
                Err(_) => notes.odd(Odd::BrokenOption),
            }
        }
        self.statistics = self.statistics.max(total);
    }

    pub(super) fn count(&self) -> u64 {
        self.with_packets.max(self.statistics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_of_every_resolution() {
        let at = |resolution, offset, units| Clock::new(resolution, offset).time(units).0;
        assert_eq!(at(6, 0, 1_500_000), 1_500_000_000);
        assert_eq!(at(9, 0, 7), 7);
        assert_eq!(at(0, 0, 3), 3_000_000_000);
        assert_eq!(at(12, 0, 5_999), 5);
        assert_eq!(at(0x80 | 10, 0, 1_536), 1_500_000_000);
        assert_eq!(at(0x80, 0, 2), 2_000_000_000);
        assert_eq!(at(6, -1, 500_000), -500_000_000);
        assert_eq!(at(9, 1_700_000_000, 1), 1_700_000_000_000_000_001);
    }

    #[test]
    fn units_of_a_time_give_that_time() {
        for (resolution, offset, units) in
            [(6, 0, 1_500_000), (9, 0, 7), (0, 0, 3), (0x80 | 10, 0, 1_537), (6, -1, 500_000)]
        {
            let clock = Clock::new(resolution, offset);
            assert_eq!(clock.units(clock.time(units)), units, "{resolution}");
        }
    }

    #[test]
    fn no_clock_overflows() {
        for resolution in 0..=255 {
            for offset in [i64::MIN, 0, i64::MAX] {
                let clock = Clock::new(resolution, offset);
                clock.time(u64::MAX);
                for at in [i64::MIN, 0, i64::MAX] {
                    clock.units(Timestamp(at));
                }
            }
        }
        assert_eq!(Clock::new(0, 0).time(u64::MAX), Timestamp(i64::MAX));
    }

    #[test]
    fn drops_that_are_counted_twice_count_once() {
        let mut drops = Drops::default();
        drops.add(3);
        let mut body = vec![0; 12];
        body.extend([5, 0, 8, 0, 4, 0, 0, 0, 0, 0, 0, 0]);
        body.extend([7, 0, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        drops.statistics(&body, Order::Little, &mut Notes::default());
        assert_eq!(drops.count(), 5);
    }
}
