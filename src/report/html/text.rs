//! Texts of the data block: each kept once, cleaned, cut and counted.

use crate::report::words;
use hashbrown::HashMap;

/// Longest text that goes from a packet into the page, characters.
pub(super) const TEXT_MAX: usize = 300;

/// Texts by number, in the order of their first use.
#[derive(Default)]
pub(super) struct Texts {
    all: Vec<String>,
    numbers: HashMap<String, i64>,
    /// Bytes of them all.
    pub(super) bytes: usize,
}

impl Texts {
    /// Number of this text.
    pub(super) fn number(&mut self, text: &str) -> i64 {
        let text = words::shorten(&words::clean(text), TEXT_MAX);
        if let Some(number) = self.numbers.get(&text) {
            return *number;
        }
        let number = self.all.len() as i64;
        self.bytes += text.len();
        self.numbers.insert(text.clone(), number);
        self.all.push(text);
        number
    }

    /// Number of this text; none when it is empty.
    pub(super) fn maybe(&mut self, text: &str) -> Option<i64> {
        (!text.is_empty()).then(|| self.number(text))
    }

    /// All of them.
    pub(super) fn all(&self) -> &[String] {
        &self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_once_and_cannot_be_long() {
        let mut texts = Texts::default();
        assert_eq!((texts.number("a"), texts.number("b\x07"), texts.number("a")), (0, 1, 0));
        assert_eq!(texts.maybe(""), None);
        texts.number(&"é".repeat(1000));
        assert_eq!(texts.all()[1], "b\\u{7}");
        assert_eq!(texts.all()[2].chars().count(), TEXT_MAX);
    }
}
