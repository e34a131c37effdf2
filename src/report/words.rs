//! Numbers, durations and times as text; cleaning of text.
//!
//! Knows no layout, no colour, and nothing of what is counted (`terms.rs`).

use crate::time::Timestamp;
use crate::words::{Lang, Say};

pub use crate::words::{count, counted, plural, seconds, shorten, wrap};

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

/// With a capital first letter where the language has them.
pub(super) fn sentence(text: impl Say, lang: Lang) -> String {
    let text = text.say(lang);
    if lang == Lang::Ja {
        return text.into_owned();
    }
    let mut chars = text.chars();
    chars.next().into_iter().flat_map(char::to_uppercase).chain(chars).collect()
}

/// A sentence with its full stop.
pub(super) fn full_sentence(text: impl Say, lang: Lang) -> String {
    let stop = if lang == Lang::Ja { '。' } else { '.' };
    format!("{}{stop}", sentence(text, lang))
}

/// ASCII for terminals without Unicode, apart from the letters of a language that has no others. Only
/// signs that reports use get a look-alike.
pub fn ascii(text: &str, lang: Lang) -> String {
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
            c if c.is_ascii() || (lang == Lang::Ja && is_japanese(c)) => out.push(c),
            _ => out.push('?'),
        }
    }
    out
}

/// Japanese signs, kana, kanji, and ASCII of full width.
fn is_japanese(c: char) -> bool {
    matches!(c, '\u{3000}'..='\u{30ff}' | '\u{4e00}'..='\u{9fff}' | '\u{ff00}'..='\u{ff60}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_microseconds() {
        assert_eq!(time(Timestamp(1_258_577_884_822_720_123)), "2009-11-18T20:58:04.822720Z");
    }

    #[test]
    fn bytes_of_packets_cannot_drive_a_terminal() {
        assert_eq!(clean("/\x1b[2J\u{202e}é"), "/\\u{1b}[2J\\u{202e}é");
    }

    #[test]
    fn a_word_for_a_shell_stays_one_word() {
        let words = ["a.pcap", "two words", "it's", "-w", ""].map(shell);
        assert_eq!(words, ["a.pcap", "'two words'", "'it'\\''s'", "'./-w'", "''"]);
    }

    #[test]
    fn ascii_stays_ascii() {
        assert!(ascii("│ ─▶ → µ – … 日", Lang::En).is_ascii());
        assert_eq!(ascii("│ 再利用 → あ…", Lang::Ja), "| 再利用 -> あ~");
    }
}
