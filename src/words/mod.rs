//! The languages that a report speaks. English stands in the code where a sentence is made and is the
//! key of the other languages' texts, `*.ja.yml` in this folder.
//!
//! Knows nothing of what is said. A value keeps its English; another language is asked for only where
//! text is written for people. Ids, serialised formats and the comments in slices stay English.
//!
//! - [`phrase!`](crate::phrase) makes a sentence, with named values in it or without.
//! - [`word!`](crate::word) marks a fixed text that is translated where it is shown.
//!
//! A test reads the sources for both and fails for what a catalogue lacks.

#[cfg(test)]
mod complete;
mod measures;
mod phrase;
mod width;

pub use measures::{count, counted, plural, seconds};
pub use phrase::{Arg, Phrase, Say};
pub use width::{columns, left, right, shorten, wrap};

use std::borrow::Cow;
use std::ffi::OsStr;

/// A language of reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Lang {
    /// English.
    #[default]
    En,
    /// Japanese.
    Ja,
}

impl Lang {
    /// Every language.
    pub const ALL: [Lang; 2] = [Lang::En, Lang::Ja];

    /// Its code in ISO 639, as `--lang` and the page's `lang` take it.
    pub fn id(self) -> &'static str {
        match self {
            Lang::En => "en",
            Lang::Ja => "ja",
        }
    }

    /// The language by the values of `LC_ALL`, `LC_MESSAGES` and `LANG`: the first that is not empty
    /// counts (POSIX.1-2017, 8.2).
    pub fn of_locale(values: [Option<&OsStr>; 3]) -> Lang {
        let locale = values.into_iter().flatten().find(|value| !value.is_empty());
        let locale = locale.unwrap_or_default().to_string_lossy();
        let language = locale.split(['_', '.', '@']).next().unwrap_or_default();
        Lang::ALL.into_iter().find(|lang| lang.id() == language).unwrap_or_default()
    }
}

/// A fixed text in that language; English where the catalogue has none.
pub fn translate(lang: Lang, english: &str) -> Cow<'_, str> {
    match lang {
        Lang::En => Cow::Borrowed(english),
        Lang::Ja => catalogue::find(lang.id(), english).unwrap_or(Cow::Borrowed(english)),
    }
}

/// A fixed text that is translated where it is shown: the text itself.
#[macro_export]
macro_rules! word {
    ($english:literal) => {
        $english
    };
}

/// The crate that holds the texts; its macro reads the files of this folder.
mod catalogue {
    #![allow(unreachable_pub, unused, missing_docs)]

    rust_i18n::i18n!("src/words");

    // A changed text is compiled again.
    const FILES: [&str; 7] = [
        include_str!("causes.ja.yml"),
        include_str!("health.ja.yml"),
        include_str!("logs.ja.yml"),
        include_str!("page.ja.yml"),
        include_str!("probers.ja.yml"),
        include_str!("report.ja.yml"),
        include_str!("sentences.ja.yml"),
    ];

    pub(super) fn find(lang: &str, english: &str) -> Option<std::borrow::Cow<'static, str>> {
        _rust_i18n_try_translate(lang, english)
    }

    /// Every text of a language with its English.
    #[cfg(test)]
    pub(super) fn all(lang: &str) -> Vec<(String, String)> {
        let entries = _rust_i18n_backend().messages_for_locale(lang).unwrap_or_default();
        entries.into_iter().map(|(key, text)| (key.into_owned(), text.into_owned())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_japanese_locale_speaks_japanese() {
        let lang = |values: [&str; 3]| Lang::of_locale(values.map(|value| Some(OsStr::new(value))));
        assert_eq!(lang(["", "", "ja_JP.UTF-8"]), Lang::Ja);
        assert_eq!(lang(["", "ja", "C"]), Lang::Ja);
        assert_eq!(lang(["C", "", "ja_JP.UTF-8"]), Lang::En);
        assert_eq!(lang(["", "de_DE", "ja_JP"]), Lang::En);
        assert_eq!(lang(["", "", "jam_JM"]), Lang::En);
        assert_eq!(Lang::of_locale([None; 3]), Lang::En);
    }
}
