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
/// What the last of so many decimals of a second stands for, nanoseconds.
const DECIMALS: [i64; 10] =
    [SECOND, 100_000_000, 10_000_000, 1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];

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
    if let Some(moment) = plain_iso(text) {
        return Some(moment);
    }
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
    if let Some(moment) = plain_common(text) {
        return Some(moment);
    }
    let zoned = memchr::memchr(b' ', text).is_some();
    let format: &[u8] = if zoned { b"%d/%b/%Y:%H:%M:%S%.f %z" } else { b"%d/%b/%Y:%H:%M:%S%.f" };
    broken_down(format, text)
}

/// `2026-11-21T10:35:33.186641Z`, as nearly all are: in a twentieth of the time. `None`: another form.
fn plain_iso(text: &[u8]) -> Option<Moment> {
    if let Some((moment, [])) = leading_iso(text) {
        return Some(moment);
    }
    let [y, y1, y2, y3, b'-', m, m1, b'-', d, d1, b'T', clock @ ..] = text else { return None };
    let clock = clock.strip_suffix(b"Z")?;
    let year = two([*y, *y1])? * 100 + two([*y2, *y3])?;
    plain(year, two([*m, *m1])?, two([*d, *d1])?, clock, 0)
}

/// `2026-11-21T10:35:33.186641Z` and what follows it.
pub(super) fn leading_iso(text: &[u8]) -> Option<(Moment, &[u8])> {
    let (time, rest) = text.split_first_chunk()?;
    let rest = rest.strip_prefix(b"Z")?;
    Some((iso_micros(time)?, rest))
}

/// `2026-11-21T10:35:33.186641`: eight bytes at a time.
fn iso_micros(text: &[u8; 26]) -> Option<Moment> {
    let word = |at: usize, shape: &[u8; 8]| {
        let bytes: [u8; 8] = *text[at..].first_chunk()?;
        pairs(bytes, *shape)
    };
    let [century, _, year, _, _, month, _, _] = word(0, b"0000-00-")?;
    let [day, _, _, hour, _, _, minute, _] = word(8, b"00T00:00")?;
    let [_, second, _, _, a, _, b, _] = word(16, b":00.0000")?;
    let c = two([text[24], text[25]])?;
    let year = century * 100 + year;
    if !exists(year, month, day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    let nanos = (a * 10_000 + b * 100 + c) * 1_000;
    Some(Moment { at: Timestamp(seconds * SECOND + nanos), resolution: 1_000 })
}

/// The numbers that each byte and the next one make, of digits where `shape` has zeros; `None` when the text has
/// not this shape.
#[inline]
fn pairs(text: [u8; 8], shape: [u8; 8]) -> Option<[i64; 8]> {
    // A digit becomes its value, what stands between them 0: what is more than 9 or 0 reaches, with this room
    // filled, the upper half of its byte.
    let room = u64::from_le_bytes(shape.map(|byte| if byte == b'0' { 6 } else { 15 }));
    let values = u64::from_le_bytes(text) ^ u64::from_le_bytes(shape);
    if (values | values.wrapping_add(room)) & (u64::MAX / 255 * 0xF0) != 0 {
        return None;
    }
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
    Some(pairs.to_le_bytes().map(i64::from))
}

/// `21/Nov/2026:10:35:33 +0000`, with or without a zone and decimals. `None`: another form.
fn plain_common(text: &[u8]) -> Option<Moment> {
    let [d, d1, b'/', month @ ..] = text else { return None };
    let [m @ b'A'..=b'Z', m1, m2, b'/', y, y1, y2, y3, b':', _, _, b':', ..] = month else {
        return None;
    };
    let month = month_of([*m, *m1, *m2])?;
    let year = two([*y, *y1])? * 100 + two([*y2, *y3])?;
    let (clock, zone) = match &text[12..] {
        [clock @ .., b' ', sign @ (b'+' | b'-'), h, h1, m, m1] => {
            let east = two([*h, *h1])? * 3_600 + two([*m, *m1])? * 60;
            (clock, if *sign == b'+' { east } else { -east })
        }
        clock => (clock, 0),
    };
    plain(year, month, two([*d, *d1])?, clock, zone)
}

/// A date, `10:35:33` with or without decimals, and seconds east of Greenwich. `None` also for dates and
/// times that do not exist, which is left to the whole parser.
fn plain(year: i64, month: i64, day: i64, clock: &[u8], east: i64) -> Option<Moment> {
    let (clock, decimals) = clock.split_at_checked(8)?;
    let [h, h1, b':', m, m1, b':', s, s1] = clock else { return None };
    let (hour, minute, second) = (two([*h, *h1])?, two([*m, *m1])?, two([*s, *s1])?);
    if !exists(year, month, day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (nanos, resolution) = match decimals {
        [] => (0, SECOND),
        [b'.', part @ ..] if !part.is_empty() => {
            let unit = *DECIMALS.get(part.len())?;
            let sum = part.iter().try_fold(0, |sum, digit| Some(sum * 10 + one(*digit)?))?;
            (sum * unit, unit)
        }
        _ => return None,
    };
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    let at = Timestamp((seconds - east) * SECOND + nanos);
    Some(Moment { at, resolution })
}

fn one(digit: u8) -> Option<i64> {
    digit.is_ascii_digit().then(|| i64::from(digit - b'0'))
}

fn two([ten, one_]: [u8; 2]) -> Option<i64> {
    Some(one(ten)? * 10 + one(one_)?)
}

/// Whether there is such a day, as far as times can be told as nanoseconds.
fn exists(year: i64, month: i64, day: i64) -> bool {
    (1970..2200).contains(&year) && (1..=days_of(year, month)).contains(&day)
}

fn month_of(name: [u8; 3]) -> Option<i64> {
    Some(match &name {
        b"Jan" => 1,
        b"Feb" => 2,
        b"Mar" => 3,
        b"Apr" => 4,
        b"May" => 5,
        b"Jun" => 6,
        b"Jul" => 7,
        b"Aug" => 8,
        b"Sep" => 9,
        b"Oct" => 10,
        b"Nov" => 11,
        b"Dec" => 12,
        _ => return None,
    })
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        1..=12 => 31,
        _ => 0,
    }
}

/// Of the Gregorian calendar.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // The year begins in March, so that the leap day is its last: each five months have 153 days.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year / 4 - year / 100 + year / 400;
    // Of 1 March of the year 0.
    const BEFORE: i64 = 719_468;
    year * 365 + leaps + (153 * month + 2) / 5 + day - 1 - BEFORE
}

/// `Sat Nov 21 10:35:33.087285 2026`, with or without decimals.
pub(super) fn apache_error(text: &[u8]) -> Option<Moment> {
    let (day, year) = text.split_at_checked(text.len().checked_sub(5)?)?;
    let [_, _, _, b' ', m, m1, m2, b' ', d, d1, b' ', clock @ ..] = day else { return None };
    let [b' ', y, y1, y2, y3] = year else { return None };
    let month = month_of([*m, *m1, *m2])?;
    let year = two([*y, *y1])? * 100 + two([*y2, *y3])?;
    plain(year, month, two([*d, *d1])?, clock, 0)
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
    use proptest::prelude::{prop_assert_eq, proptest};

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

    proptest! {
        /// What is read by hand says the same as the calendar.
        #[test]
        fn plain_times_are_those_of_the_calendar(
            second in 0..7_258_118_400_i64,
            nanos in 0..1_000_000_000_i32,
            east in -14..=14_i32,
        ) {
            let at = jiff::Timestamp::new(second, nanos).unwrap();
            let wanted = Timestamp(at.as_nanosecond() as i64);
            let utc = at.to_zoned(TimeZone::UTC);
            let text = utc.strftime("%Y-%m-%dT%H:%M:%S%.9fZ").to_string();
            prop_assert_eq!(plain_iso(text.as_bytes()).map(|it| it.at), Some(wanted));
            let text = utc.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
            let micros = Moment { at: Timestamp(wanted.0 / 1_000 * 1_000), resolution: 1_000 };
            prop_assert_eq!(iso_micros(text.as_bytes().first_chunk().unwrap()), Some(micros));
            prop_assert_eq!(plain_iso(text.as_bytes()), Some(micros));
            let text = utc.strftime("%d/%b/%Y:%H:%M:%S%.9f").to_string();
            prop_assert_eq!(plain_common(text.as_bytes()).map(|it| it.at), Some(wanted));
            let zone = TimeZone::fixed(jiff::tz::offset(east as i8));
            let text = at.to_zoned(zone).strftime("%d/%b/%Y:%H:%M:%S %z").to_string();
            let whole = Timestamp(second * SECOND);
            prop_assert_eq!(plain_common(text.as_bytes()).map(|it| it.at), Some(whole));
        }

        /// What is looked at eight bytes at a time is what is looked at byte by byte.
        #[test]
        fn damaged_times_are_none(at in 0..27_usize, byte: u8, more in 0..3_usize) {
            let mut text = b"2026-11-21T10:35:33.186641Z".to_vec();
            text[at] = byte;
            text.resize(25 + more, b'Z');
            let slow = ISO.parse_timestamp(&text).ok().map(|it| it.as_nanosecond() as i64);
            if let Some(moment) = plain_iso(&text) {
                prop_assert_eq!(Some(moment.at.0), slow);
            }
        }

        #[test]
        fn any_bytes_are_no_panic(text: Vec<u8>) {
            let _ = (plain_iso(&text), plain_common(&text), any(&text));
        }
    }

    #[test]
    fn days_that_do_not_exist_are_no_times() {
        for text in ["2026-02-29T00:00:00Z", "2026-11-31T00:00:00Z", "2026-11-21T24:00:00Z"] {
            assert_eq!((plain_iso(text.as_bytes()), any(text.as_bytes())), (None, None), "{text}");
        }
        assert!(plain_iso(b"2028-02-29T00:00:00Z").is_some());
        assert!(plain_common(b"21/nov/2026:10:35:33").is_none());
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
