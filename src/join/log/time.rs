//! Times as logs write them.

use crate::time::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::TimeZone;

static ISO: DateTimeParser = DateTimeParser::new();

/// A time and how much later it may really have been, nanoseconds: logs cut off what they do not
/// write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) at: Timestamp,
    pub(super) resolution: i64,
}

const SECOND: i64 = 1_000_000_000;

impl Moment {
    fn new(at: jiff::Timestamp, text: &[u8]) -> Option<Moment> {
        let nanos = i64::try_from(at.as_nanosecond()).ok()?;
        Some(Moment { at: Timestamp(nanos), resolution: resolution(text) })
    }
}

/// What the last decimal of a time stands for, nanoseconds.
fn resolution(text: &[u8]) -> i64 {
    let decimals = text
        .iter()
        .rposition(|byte| matches!(byte, b'.' | b','))
        .map_or(0, |dot| text[dot + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count());
    10_i64.pow(9 - decimals.min(9) as u32)
}

fn in_utc(local: DateTime) -> Option<jiff::Timestamp> {
    TimeZone::UTC.to_timestamp(local).ok()
}

/// ISO 8601. Without a zone it is taken as UTC, which is what load balancers write.
pub(super) fn iso(text: &[u8]) -> Option<Moment> {
    let at = match ISO.parse_timestamp(text) {
        Ok(at) => at,
        Err(_) => in_utc(ISO.parse_datetime(text).ok()?)?,
    };
    Moment::new(at, text)
}

/// Seconds since the epoch with decimals, or milliseconds without (13 digits).
pub(super) fn epoch(text: &[u8]) -> Option<Moment> {
    let (whole, part) = match memchr::memchr(b'.', text) {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &b""[..]),
    };
    let whole = super::text::number(whole)?;
    if part.is_empty() && (100_000_000_000..100_000_000_000_000).contains(&whole) {
        let at = Timestamp(i64::try_from(whole).ok()?.checked_mul(1_000_000)?);
        return Some(Moment { at, resolution: 1_000_000 });
    }
    let nanos = match part {
        b"" => 0,
        part => super::text::seconds(&[b"0.", part].concat())?,
    };
    let at = i64::try_from(whole).ok()?.checked_mul(SECOND)?.checked_add(nanos)?;
    Some(Moment { at: Timestamp(at), resolution: resolution(text) })
}

/// `21/Nov/2026:10:35:33 +0000` as in the common log format; without a zone, and with decimals, as
/// HAProxy writes the proxy's local time. That is taken as UTC: the offset of the clock tells it.
pub(super) fn common(text: &[u8]) -> Option<Moment> {
    let zoned = memchr::memchr(b' ', text).is_some();
    let format: &[u8] = if zoned { b"%d/%b/%Y:%H:%M:%S%.f %z" } else { b"%d/%b/%Y:%H:%M:%S%.f" };
    broken_down(format, text)
}

/// `2026/11/21 10:35:40`, the local time of nginx's error log, taken as UTC.
pub(super) fn nginx_error(text: &[u8]) -> Option<Moment> {
    broken_down(b"%Y/%m/%d %H:%M:%S", text)
}

fn broken_down(format: &[u8], text: &[u8]) -> Option<Moment> {
    let parts = BrokenDownTime::parse(format, text).ok()?;
    let at = match parts.offset() {
        Some(_) => parts.to_timestamp().ok()?,
        None => in_utc(parts.to_datetime().ok()?)?,
    };
    Moment::new(at, text)
}

/// Any of them.
pub(super) fn any(text: &[u8]) -> Option<Moment> {
    match text {
        [b'0'..=b'9', b'0'..=b'9', b'/', ..] => common(text),
        [_, _, _, _, b'/', ..] => nginx_error(text),
        [_, _, _, _, b'-', ..] => iso(text),
        _ => epoch(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_gives_the_same_instant() {
        let wanted = Timestamp(1_795_257_333_000_000_000);
        for text in [
            "2026-11-21T10:35:33Z",
            "2026-11-21T10:35:33",
            "2026-11-21T11:35:33+01:00",
            "2026-11-21 10:35:33",
            "21/Nov/2026:10:35:33 +0000",
            "21/Nov/2026:05:35:33 -0500",
            "21/Nov/2026:10:35:33",
            "2026/11/21 10:35:33",
            "1795257333",
        ] {
            let moment = any(text.as_bytes()).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((moment.at, moment.resolution), (wanted, SECOND), "{text}");
        }
    }

    #[test]
    fn decimals_say_how_exact_a_time_is() {
        let nanos = |text: &str| {
            let moment = any(text.as_bytes()).unwrap_or_else(|| panic!("{text}"));
            (moment.at.0 % SECOND, moment.resolution)
        };
        assert_eq!(nanos("2026-11-21T10:35:33.186641Z"), (186_641_000, 1_000));
        assert_eq!(nanos("21/Nov/2026:10:35:33.787"), (787_000_000, 1_000_000));
        assert_eq!(nanos("1795257333.704"), (704_000_000, 1_000_000));
        assert_eq!(nanos("1795257333704"), (704_000_000, 1_000_000));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in
            ["", "-", "yesterday", "21/Nov/2026", "99999999999999999999", "2026/21/99 00:00:00"]
        {
            assert_eq!(any(text.as_bytes()), None, "{text}");
        }
    }
}
