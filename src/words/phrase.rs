//! A sentence that can be said in every language.

use super::{Lang, shorten, translate};
use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

/// A text for people: English at hand, other languages on request. Derefs to its English.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Phrase {
    english: Cow<'static, str>,
    /// How it came about, unless it is a fixed text (borrowed) or one of no language (owned).
    made: Option<Box<Made>>,
}

/// What a phrase is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// A template and what stands in it.
    Sentence(&'static str, Vec<(&'static str, Phrase)>),
    /// So many of a noun.
    Counted(u64, &'static str),
    /// A number, in groups of digits.
    Number(u64),
    /// Parts and what stands between them.
    List(Vec<Phrase>, &'static str),
    /// A text of a data file, which a catalogue may have.
    Listed(Box<str>),
    /// Cut to so many columns.
    Short(Phrase, usize),
}

/// A sentence: `phrase!("closed by RST")`, `phrase!("closed after {idle}", idle = seconds(s))`.
///
/// Its English is the key of the catalogues. A `&'static str` as a value is translated too, other
/// values of text are taken as they are.
#[macro_export]
macro_rules! phrase {
    (@value $name:ident) => { $name };
    (@value $name:ident $value:expr) => { $value };
    (@none $name:ident) => { "" };
    ($english:literal) => { $crate::words::Phrase::fixed($english) };
    ($template:literal, $($name:ident $(= $value:expr)?),+ $(,)?) => {{
        let values = vec![$((
            stringify!($name),
            $crate::words::Arg::phrase($crate::phrase!(@value $name $($value)?)),
        )),+];
        // The compiler compares the names.
        let _ = format_args!($template, $($name = $crate::phrase!(@none $name)),+);
        $crate::words::Phrase::sentence($template, values)
    }};
}

impl Phrase {
    /// A fixed text.
    pub const fn fixed(english: &'static str) -> Phrase {
        Phrase { english: Cow::Borrowed(english), made: None }
    }

    /// A template with values; what [`phrase!`](crate::phrase) makes.
    pub fn sentence(template: &'static str, values: Vec<(&'static str, Phrase)>) -> Phrase {
        let english = fill(template, &values, Lang::En);
        Phrase::new(english, Made::Sentence(template, values))
    }

    /// Parts with `between` between them, which is a text of the catalogue.
    pub fn list(parts: Vec<Phrase>, between: &'static str) -> Phrase {
        let english = joined(&parts, between, Lang::En);
        Phrase::new(english, Made::List(parts, between))
    }

    /// `a, b and c`.
    pub fn all_of(mut parts: Vec<Phrase>) -> Phrase {
        let last = parts.pop().unwrap_or_default();
        if parts.is_empty() {
            return last;
        }
        let others = Phrase::list(parts, ", ");
        crate::phrase!("{others} and {last}", others, last)
    }

    /// A text of a data file, such as the name of a prober: translated where a catalogue has it.
    pub fn listed(text: &str) -> Phrase {
        Phrase::new(text.to_owned(), Made::Listed(text.into()))
    }

    /// At most `max` columns of it.
    pub fn shortened(&self, max: usize) -> Phrase {
        Phrase::new(shorten(&self.english, max), Made::Short(self.clone(), max))
    }

    pub(super) fn new(english: String, made: Made) -> Phrase {
        Phrase { english: Cow::Owned(english), made: Some(Box::new(made)) }
    }

    /// Its English.
    pub fn as_str(&self) -> &str {
        &self.english
    }

    /// The text in that language; parts that the catalogue lacks stay English.
    pub fn in_lang(&self, lang: Lang) -> Cow<'_, str> {
        if lang == Lang::En {
            return Cow::Borrowed(&self.english);
        }
        match (&self.made, &self.english) {
            (None, Cow::Borrowed(english)) => translate(lang, english),
            (None, Cow::Owned(text)) => Cow::Borrowed(text),
            (Some(made), _) => Cow::Owned(made.in_lang(lang)),
        }
    }
}

impl Made {
    fn in_lang(&self, lang: Lang) -> String {
        match self {
            Made::Sentence(template, values) => fill(&translate(lang, template), values, lang),
            Made::Counted(n, noun) => {
                let key = format!("{{n}} {noun}");
                fill(&translate(lang, &key), &[("n", super::count(*n))], lang)
            }
            Made::Number(n) => super::measures::digits(*n, ','),
            Made::List(parts, between) => joined(parts, between, lang),
            Made::Listed(text) => translate(lang, text).into_owned(),
            Made::Short(phrase, max) => shorten(&phrase.in_lang(lang), *max),
        }
    }
}

/// `template` with each `{name}` replaced; a name without a value stays.
fn fill(template: &str, values: &[(&str, Phrase)], lang: Lang) -> String {
    let mut out = String::with_capacity(template.len() + 16 * values.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        append(&mut out, before, lang);
        let named = after.split_once('}').and_then(|(name, rest)| {
            let (_, value) = values.iter().find(|(known, _)| *known == name)?;
            Some((value, rest))
        });
        match named {
            Some((value, after)) => {
                append(&mut out, &value.in_lang(lang), lang);
                rest = after;
            }
            None => {
                out.push('{');
                rest = after;
            }
        }
    }
    append(&mut out, rest, lang);
    out
}

/// Appends a part of a sentence. Japanese stands apart from Latin letters and digits by a space and
/// from Japanese by none, which a template cannot know of its values.
fn append(out: &mut String, text: &str, lang: Lang) {
    let mut text = text;
    if lang == Lang::Ja {
        let latin = |c: char| c.is_ascii_alphanumeric() || c == '/';
        let japanese = |c: char| matches!(c, '\u{3041}'..='\u{30ff}' | '\u{4e00}'..='\u{9fff}');
        let spaced = out.ends_with(' ') || text.starts_with(' ');
        let before = out.strip_suffix(' ').unwrap_or(out).chars().next_back();
        let after = text.strip_prefix(' ').unwrap_or(text).chars().next();
        match before.zip(after) {
            Some((a, b)) if spaced && japanese(a) && japanese(b) => {
                out.truncate(out.trim_end_matches(' ').len());
                text = text.trim_start_matches(' ');
            }
            Some((a, b)) if !spaced && ((latin(a) && japanese(b)) || (japanese(a) && latin(b))) => {
                out.push(' ');
            }
            _ => {}
        }
    }
    out.push_str(text);
}

fn joined(parts: &[Phrase], between: &str, lang: Lang) -> String {
    let parts: Vec<Cow<'_, str>> = parts.iter().map(|part| part.in_lang(lang)).collect();
    parts.join(&*translate(lang, between))
}

impl Deref for Phrase {
    type Target = str;

    fn deref(&self) -> &str {
        &self.english
    }
}

impl fmt::Display for Phrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.english)
    }
}

/// A text of no language: of a packet, a file, a user.
impl From<String> for Phrase {
    fn from(text: String) -> Phrase {
        Phrase { english: Cow::Owned(text), made: None }
    }
}

/// A fixed text; [`word!`](crate::word) marks it.
impl From<&'static str> for Phrase {
    fn from(text: &'static str) -> Phrase {
        Phrase::fixed(text)
    }
}

impl PartialEq<str> for Phrase {
    fn eq(&self, other: &str) -> bool {
        *self.english == *other
    }
}

impl PartialEq<&str> for Phrase {
    fn eq(&self, other: &&str) -> bool {
        *self.english == **other
    }
}

/// What can stand in a sentence.
pub trait Arg {
    /// It as a phrase.
    fn phrase(self) -> Phrase;
}

impl Arg for Phrase {
    fn phrase(self) -> Phrase {
        self
    }
}

impl Arg for &Phrase {
    fn phrase(self) -> Phrase {
        self.clone()
    }
}

impl Arg for &'static str {
    fn phrase(self) -> Phrase {
        Phrase::fixed(self)
    }
}

impl Arg for &Cow<'_, str> {
    fn phrase(self) -> Phrase {
        self.to_string().into()
    }
}

impl Arg for Cow<'_, str> {
    fn phrase(self) -> Phrase {
        self.into_owned().into()
    }
}

/// Values that no language changes.
macro_rules! as_they_are {
    ($($kind:ty),*) => {$(
        impl Arg for $kind {
            fn phrase(self) -> Phrase {
                self.to_string().into()
            }
        }
    )*};
}

as_they_are!(
    String,
    &String,
    &Box<str>,
    Box<str>,
    i32,
    u8,
    u16,
    u32,
    u64,
    usize,
    i64,
    f64,
    std::net::SocketAddr,
    std::net::IpAddr
);

/// What can be written for people.
pub trait Say {
    /// Its text in that language.
    fn say(&self, lang: Lang) -> Cow<'_, str>;
}

impl Say for Phrase {
    fn say(&self, lang: Lang) -> Cow<'_, str> {
        self.in_lang(lang)
    }
}

/// A fixed text in that language, any other text as it is.
impl Say for str {
    fn say(&self, lang: Lang) -> Cow<'_, str> {
        translate(lang, self)
    }
}

impl Say for String {
    fn say(&self, lang: Lang) -> Cow<'_, str> {
        translate(lang, self)
    }
}

impl<T: Say + ?Sized> Say for &T {
    fn say(&self, lang: Lang) -> Cow<'_, str> {
        (**self).say(lang)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::{plural, seconds};

    #[test]
    fn a_sentence_is_english_until_it_is_asked_for_another_language() {
        let idle = seconds(60.0);
        let text = crate::phrase!(
            "{idle}, {what}, {path}",
            idle,
            what = "request",
            path = "request".to_owned()
        );
        assert_eq!(text, "60.0 s, request, request");
        assert_eq!(text.in_lang(Lang::Ja), "60.0 秒, リクエスト, request");
        assert_eq!(plural(4310, "request").in_lang(Lang::Ja), "リクエスト 4,310 件");
    }

    #[test]
    fn a_list_ends_in_and() {
        let of = |n: usize| {
            Phrase::all_of(["a", "b", "c"][..n].iter().map(|it| Phrase::fixed(it)).collect())
        };
        assert_eq!(
            (of(1).as_str(), of(2).as_str(), of(3).as_str()),
            ("a", "a and b", "a, b and c")
        );
        assert_eq!(of(3).in_lang(Lang::Ja), "a、b、c");
    }

    #[test]
    fn japanese_stands_apart_from_latin_letters() {
        let of = |asked| crate::phrase!("closed without an answer to the {asked}", asked);
        assert_eq!(of("TLS hello").in_lang(Lang::Ja), "TLS hello に応答せず閉じられた");
        assert_eq!(of("request").in_lang(Lang::Ja), "リクエストに応答せず閉じられた");
        let late = |s| crate::phrase!("the prober gave up after {after}", after = seconds(s));
        assert_eq!(late(5.0).in_lang(Lang::Ja), "ヘルスチェッカーが 5.00 秒で打ち切った");
        assert_eq!(late(0.2).in_lang(Lang::Ja), "ヘルスチェッカーが 200 ms で打ち切った");
    }

    #[test]
    fn braces_in_a_value_stay() {
        let text = crate::phrase!("{a} {b}", a = "{b}".to_owned(), b = "{x".to_owned());
        assert_eq!(text, "{b} {x");
    }
}
