//! Numbers, durations and times as text; wrapping and cleaning of text.
//!
//! Knows no layout, no colour, and nothing of what is counted (`terms.rs`).

use crate::time::Timestamp;
use std::fmt::Write as _;

/// `4 310`: groups of three with a plain space, which survives copy and paste.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// `1 request`, `4 310 requests`.
pub fn plural(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

/// `11 a, 1 b and 4 more causes`, cut before it is longer than `width`; never cut to nothing.
pub fn counted<'a>(items: impl IntoIterator<Item = (u64, &'a str)>, width: usize) -> String {
    let parts: Vec<String> =
        items.into_iter().map(|(n, what)| format!("{} {what}", count(n))).collect();
    let mut shown = parts.len();
    loop {
        let more = parts.len() - shown;
        let mut out = parts[..shown].join(", ");
        if more > 0 {
            let _ = write!(out, " and {}", plural(more as u64, "more cause"));
        }
        if shown <= 1 || out.chars().count() <= width {
            return out;
        }
        shown -= 1;
    }
}

/// A length of time with three significant digits: `214 µs`, `31.2 ms`, `5.02 s`, `10 min 3 s`.
pub fn seconds(s: f64) -> String {
    let sign = if s < 0.0 { "-" } else { "" };
    let s = s.abs();
    let text = if s < 0.999_5e-3 {
        format!("{:.0} µs", s * 1e6)
    } else if s < 0.999_5 {
        format!("{} ms", three_digits(s * 1e3))
    } else if s < 119.95 {
        format!("{} s", three_digits(s))
    } else {
        let whole = s.round() as u64;
        let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
        match (days, hours) {
            (0, 0) => format!("{minutes} min {} s", whole % 60),
            (0, _) => format!("{hours} h {minutes} min"),
            _ => format!("{days} d {hours} h"),
        }
    };
    format!("{sign}{text}")
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

/// `2026-11-21T10:00:00.123456Z`: microseconds, enough to find a log line.
pub fn time(at: Timestamp) -> String {
    let full = at.to_string();
    match full.rfind('.') {
        Some(dot) => format!("{}Z", &full[..(dot + 7).min(full.len())]),
        None => full,
    }
}

/// Control characters escaped, so that bytes of a packet cannot drive a terminal.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let turns_text = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns_text {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// One word for a shell.
pub fn shell(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,+@%=".contains(c);
    // A leading dash would be an option.
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
        return text.to_owned();
    }
    let dash = if text.starts_with('-') { "./" } else { "" };
    format!("'{}'", format!("{dash}{text}").replace('\'', "'\\''"))
}

/// With a capital first letter.
pub(super) fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().into_iter().flat_map(char::to_uppercase).chain(chars).collect()
}

/// At most `max` characters, the last an ellipsis when something was cut.
pub fn shorten(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max.saturating_sub(1)).chain(['…']).collect()
}

/// Lines of at most `width` characters; a longer word keeps a line of its own. A number stays with
/// its unit.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match words.last_mut() {
            Some(last)
                if last.ends_with(|c: char| c.is_ascii_digit()) && goes_with_number(word) =>
            {
                last.push(' ');
                last.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    for word in &words {
        let len = word.chars().count();
        if used > 0 && used + 1 + len > width {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += len;
    }
    lines.push(line);
    lines
}

/// Units, and the next group of a number written by [`count`].
fn goes_with_number(word: &str) -> bool {
    let word = word.trim_end_matches(|c: char| c.is_ascii_punctuation());
    let digits = word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit());
    digits || matches!(word, "s" | "ms" | "µs" | "min" | "h" | "d" | "B")
}

/// ASCII for terminals without Unicode. Only signs that reports use get a look-alike.
pub fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '→' => out.push_str("->"),
            '–' | '─' | '−' => out.push('-'),
            '│' => out.push('|'),
            '┃' => out.push('#'),
            '·' => out.push('.'),
            '▶' => out.push('>'),
            '◀' => out.push('<'),
            '…' => out.push('~'),
            'µ' => out.push('u'),
            '≥' => out.push_str(">="),
            '≤' => out.push_str("<="),
            '×' => out.push('x'),
            '’' | '‘' => out.push('\''),
            '“' | '”' => out.push('"'),
            c if c.is_ascii() => out.push(c),
            _ => out.push('?'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_with_plain_spaces() {
        assert_eq!(
            ["7", "999", "1 000", "12 345 678"].map(String::from),
            [count(7), count(999), count(1000), count(12_345_678)]
        );
        assert_eq!(
            (plural(1, "flow"), plural(4310, "flow")),
            ("1 flow".into(), "4 310 flows".into())
        );
    }

    #[test]
    fn times_keep_three_digits() {
        let cases = [
            (0.0, "0 µs"),
            (0.000_214, "214 µs"),
            (0.000_999_9, "1.00 ms"),
            (0.031_2, "31.2 ms"),
            (0.999_9, "1.00 s"),
            (5.0, "5.00 s"),
            (-60.02, "-60.0 s"),
            (119.96, "2 min 0 s"),
            (603.4, "10 min 3 s"),
            (7_260.0, "2 h 1 min"),
            (180_000.0, "2 d 2 h"),
        ];
        for (s, text) in cases {
            assert_eq!(seconds(s), text, "{s}");
        }
        assert_eq!(time(Timestamp(1_258_577_884_822_720_123)), "2009-11-18T20:58:04.822720Z");
    }

    #[test]
    fn a_long_list_says_how_much_is_left_out() {
        let items = [(3, "aaaa"), (2, "bbbb"), (1, "cccc")];
        assert_eq!(counted(items, 80), "3 aaaa, 2 bbbb, 1 cccc");
        assert_eq!(counted(items, 21), "3 aaaa and 2 more causes".to_owned());
    }

    #[test]
    fn bytes_of_packets_cannot_drive_a_terminal() {
        assert_eq!(clean("/\x1b[2J\u{202e}é"), "/\\u{1b}[2J\\u{202e}é");
    }

    #[test]
    fn wrapping_keeps_every_word() {
        assert_eq!(wrap("aa bb ccccccc d", 5), ["aa bb", "ccccccc", "d"]);
        assert_eq!(wrap("is 4 310 s, or 5", 8), ["is", "4 310 s,", "or 5"]);
        assert_eq!(shorten("abcdef", 4), "abc…");
    }

    #[test]
    fn a_word_for_a_shell_stays_one_word() {
        let words = ["a.pcap", "two words", "it's", "-w", ""].map(shell);
        assert_eq!(words, ["a.pcap", "'two words'", "'it'\\''s'", "'./-w'", "''"]);
    }

    #[test]
    fn ascii_stays_ascii() {
        assert!(ascii("│ ─▶ → µ – … 日").is_ascii());
    }
}
