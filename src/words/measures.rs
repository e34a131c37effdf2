//! Numbers and lengths of time.

use super::phrase::{Made, Phrase};
use crate::phrase;
use std::fmt::Write as _;

/// `4 310`: groups of three with a plain space, which survives copy and paste.
pub fn count(n: u64) -> Phrase {
    Phrase::new(digits(n, ' '), Made::Number(n))
}

/// Groups of three digits.
pub(super) fn digits(n: u64, between: char) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(between);
        }
        out.push(digit);
    }
    out
}

/// `1 request`, `4 310 requests`. Catalogues have it as `{n} request`.
pub fn plural(n: u64, noun: &'static str) -> Phrase {
    let mut english = digits(n, ' ');
    let _ = write!(english, " {noun}{}", if n == 1 { "" } else { "s" });
    Phrase::new(english, Made::Counted(n, noun))
}

/// `11 a, 1 b and 4 more causes`, cut before its English is longer than `width`; never cut to
/// nothing.
pub fn counted(items: impl IntoIterator<Item = (u64, &'static str)>, width: usize) -> Phrase {
    let parts: Vec<Phrase> =
        items.into_iter().map(|(n, what)| phrase!("{n} {what}", n = count(n), what)).collect();
    let mut shown = parts.len();
    loop {
        let more = parts.len() - shown;
        let mut out = Phrase::list(parts[..shown].to_vec(), ", ");
        if more > 0 {
            out = phrase!(
                "{causes} and {more}",
                causes = out,
                more = plural(more as u64, "more cause")
            );
        }
        if shown <= 1 || out.chars().count() <= width {
            return out;
        }
        shown -= 1;
    }
}

/// A length of time with three significant digits: `214 µs`, `31.2 ms`, `5.02 s`, `10 min 3 s`.
pub fn seconds(s: f64) -> Phrase {
    let sign = if s < 0.0 { "-" } else { "" };
    let s = s.abs();
    let number = |text: String| format!("{sign}{text}");
    if s < 0.999_5e-3 {
        phrase!("{n} µs", n = number(format!("{:.0}", s * 1e6)))
    } else if s < 0.999_5 {
        phrase!("{n} ms", n = number(three_digits(s * 1e3)))
    } else if s < 119.95 {
        phrase!("{n} s", n = number(three_digits(s)))
    } else {
        let whole = s.round() as u64;
        let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
        match (days, hours) {
            (0, 0) => phrase!("{min} min {s} s", min = number(minutes.to_string()), s = whole % 60),
            (0, _) => phrase!("{h} h {min} min", h = number(hours.to_string()), min = minutes),
            _ => phrase!("{d} d {h} h", d = number(days.to_string()), h = hours),
        }
    }
}

fn three_digits(x: f64) -> String {
    let decimals = if x < 9.995 {
        2
    } else if x < 99.95 {
        1
    } else {
        0
    };
    format!("{x:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Lang;

    #[test]
    fn numbers_are_grouped_with_plain_spaces() {
        for (n, text) in [(7, "7"), (999, "999"), (1000, "1 000"), (12_345_678, "12 345 678")] {
            assert_eq!(count(n), text);
        }
        assert_eq!(plural(1, "flow"), "1 flow");
        assert_eq!(plural(4310, "flow"), "4 310 flows");
    }

    #[test]
    fn times_keep_three_digits() {
        let cases = [
            (0.0, "0 µs", "0 µs"),
            (0.000_214, "214 µs", "214 µs"),
            (0.000_999_9, "1.00 ms", "1.00 ms"),
            (0.031_2, "31.2 ms", "31.2 ms"),
            (0.999_9, "1.00 s", "1.00 秒"),
            (5.0, "5.00 s", "5.00 秒"),
            (-60.02, "-60.0 s", "-60.0 秒"),
            (119.96, "2 min 0 s", "2 分 0 秒"),
            (603.4, "10 min 3 s", "10 分 3 秒"),
            (7_260.0, "2 h 1 min", "2 時間 1 分"),
            (180_000.0, "2 d 2 h", "2 日 2 時間"),
        ];
        for (s, english, japanese) in cases {
            assert_eq!(seconds(s), english, "{s}");
            assert_eq!(seconds(s).in_lang(Lang::Ja), japanese, "{s}");
        }
    }

    #[test]
    fn a_long_list_says_how_much_is_left_out() {
        let items = [(3, "aaaa"), (2, "bbbb"), (1, "cccc")];
        assert_eq!(counted(items, 80), "3 aaaa, 2 bbbb, 1 cccc");
        assert_eq!(counted(items, 21), "3 aaaa and 2 more causes");
    }
}
