//! Columns of a terminal: Japanese characters take two.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns that `text` takes.
pub fn columns(text: &str) -> usize {
    text.width()
}

/// `text` and spaces after it, `width` columns.
pub fn left(text: &str, width: usize) -> String {
    format!("{text}{:1$}", "", width.saturating_sub(columns(text)))
}

/// Spaces and `text`, `width` columns.
pub fn right(text: &str, width: usize) -> String {
    format!("{:1$}{text}", "", width.saturating_sub(columns(text)))
}

/// At most `max` columns, the last character an ellipsis when something was cut.
pub fn shorten(text: &str, max: usize) -> String {
    if columns(text) <= max {
        return text.to_owned();
    }
    let mut room = max.saturating_sub(1);
    let fits = |c: &char| {
        let left = room.checked_sub(c.width().unwrap_or(0));
        room = left.unwrap_or(0);
        left.is_some()
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

/// Lines of at most `width` columns; a longer word keeps a line of its own. A number stays with its
/// unit, and what must not begin or end a Japanese line does not.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match words.last_mut() {
            Some(last) if ends_in_digit(last) && goes_with_number(word) => {
                last.push(' ');
                last.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    for word in &words {
        for (n, piece) in pieces(word).enumerate() {
            let len = columns(piece);
            let space = usize::from(n == 0 && used > 0);
            if used > 0 && used + space + len > width {
                lines.push(std::mem::take(&mut line));
                used = 0;
            } else if space > 0 {
                line.push(' ');
                used += 1;
            }
            line.push_str(piece);
            used += len;
        }
    }
    lines.push(line);
    lines
}

fn ends_in_digit(word: &str) -> bool {
    word.ends_with(|c: char| c.is_ascii_digit())
}

/// Units, and the next group of a number written by [`count`](super::count).
fn goes_with_number(word: &str) -> bool {
    let word = word.trim_end_matches(|c: char| c.is_ascii_punctuation());
    let digits = word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit());
    digits
        || matches!(word, "s" | "ms" | "µs" | "min" | "h" | "d" | "B")
        || word.starts_with(['秒', '分', '時', '日', '件', '個', '回', '本'])
}

/// Parts of a word between which a line may end: beside a wide character, unless one of the two
/// signs forbids it (JIS X 4051, signs that must not begin or end a line).
fn pieces(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = word;
    std::iter::from_fn(move || {
        let mut chars = rest.char_indices();
        let (_, mut before) = chars.next()?;
        let mut run = 1;
        for (at, c) in chars {
            let wide = is_wide(before) || is_wide(c);
            run = if is_katakana(before) && is_katakana(c) { run + 1 } else { 1 };
            let inside = run > 1 && run <= WORD_MAX;
            if wide && !inside && !NOT_LAST.contains(before) && !NOT_FIRST.contains(c) {
                let (piece, after) = rest.split_at(at);
                rest = after;
                return Some(piece);
            }
            before = c;
        }
        Some(std::mem::take(&mut rest))
    })
}

/// Letters of a katakana word that stay together: ロードバランサー has eight.
const WORD_MAX: usize = 16;

fn is_katakana(c: char) -> bool {
    matches!(c, '\u{30a0}'..='\u{30ff}')
}

/// Must not end a line.
const NOT_LAST: &str = " 「『（([{\"'";
/// Must not begin a line.
const NOT_FIRST: &str =
    "、。，．・：；？！?!,.:;」』）)]}\"'ーぁぃぅぇぉっゃゅょァィゥェォッャュョ々…–%";

fn is_wide(c: char) -> bool {
    c.width() == Some(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapping_keeps_every_word() {
        assert_eq!(wrap("aa bb ccccccc d", 5), ["aa bb", "ccccccc", "d"]);
        assert_eq!(wrap("is 4 310 s, or 5", 8), ["is", "4 310 s,", "or 5"]);
        assert_eq!(shorten("abcdef", 4), "abc…");
    }

    #[test]
    fn japanese_takes_two_columns_and_keeps_its_signs() {
        assert_eq!(columns("再利用 a"), 8);
        assert_eq!((left("再", 4).as_str(), right("再", 4).as_str()), ("再  ", "  再"));
        assert_eq!(shorten("再利用した", 6), "再利…");
        assert_eq!(wrap("接続を再利用。", 6), ["接続を", "再利", "用。"]);
        assert_eq!(wrap("値は「60 秒」です", 8), ["値は", "「60 秒」", "です"]);
        assert_eq!(wrap("この値はタイムアウト", 14), ["この値は", "タイムアウト"]);
        assert_eq!(wrap("path /a-b/c を見る", 11), ["path /a-b/c", "を見る"]);
    }

    #[test]
    fn no_line_is_wider_than_asked() {
        let text = "ロードバランサーが再利用した keep-alive 接続を、ターゲットが同じ瞬間に閉じた。"
            .repeat(9);
        for width in 34..90 {
            assert!(wrap(&text, width).iter().all(|line| columns(line) <= width), "{width}");
        }
    }
}
