//! The fields of a line, one after the other.

use super::text::{find, leading_endpoint, seconds, status};
use super::time::{Moment, iso, leading_iso};
use crate::packet::Endpoint;
use memchr::{memchr, memchr2};

/// What is left of a line. Fields are separated by spaces. One in double quotes, or with `brackets` in `[]`,
/// is one field, given without them.
///
/// A quote ends where a space or the end of the line follows it. Writers escape a quote inside with
/// a backslash; those that do not still give whole fields as long as no space follows it.
///
/// A field whose form is known is read where it stands: to look for its end first takes as long again.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    brackets: bool,
    unclosed: bool,
}

impl<'a> Fields<'a> {
    pub(super) fn new(line: &'a [u8], brackets: bool) -> Fields<'a> {
        Fields { rest: line, brackets, unclosed: false }
    }

    /// Whether there are no more as a quote is not closed.
    pub(super) fn is_unclosed(&self) -> bool {
        self.unclosed
    }

    /// What was not read.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// A time in the form of ISO 8601.
    pub(super) fn time(&mut self) -> Option<Moment> {
        if let Some((moment, [b' ', rest @ ..])) = leading_iso(self.rest) {
            self.rest = rest;
            return Some(moment);
        }
        iso(self.next()?)
    }

    /// An address and port; else the field as it is.
    pub(super) fn endpoint(&mut self) -> Result<Endpoint, &'a [u8]> {
        if let Some((end, [b' ', rest @ ..])) = leading_endpoint(self.rest) {
            self.rest = rest;
            return Ok(end);
        }
        Err(self.next().unwrap_or_default())
    }

    /// Decimal seconds as nanoseconds; else the field as it is.
    pub(super) fn seconds(&mut self) -> Result<i64, &'a [u8]> {
        if let [field @ .., b' '] = self.rest.first_chunk::<6>().map_or(&[][..], |it| it)
            && let Some(nanos) = seconds(field)
        {
            self.rest = &self.rest[6..];
            return Ok(nanos);
        }
        let field = self.next().unwrap_or_default();
        seconds(field).ok_or(field)
    }

    /// The field between two places; another one begins at `next`.
    #[inline(always)]
    fn take(&mut self, from: usize, to: usize, next: usize) -> &'a [u8] {
        let rest = self.rest;
        self.rest = rest.get(next..).unwrap_or_default();
        &rest[from..to]
    }

    /// A field that is no word by itself.
    #[inline(never)]
    fn other(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest;
        let to = match rest.first()? {
            b' ' => {
                self.rest = rest.trim_ascii_start();
                return self.next();
            }
            b'"' => plain_closing(rest).or_else(|| closing(rest, b'"')),
            _ if self.brackets => memchr(b']', rest),
            _ => Some(find(b' ', rest).unwrap_or(rest.len())),
        };
        let Some(to) = to else {
            (self.rest, self.unclosed) = (&[], true);
            return None;
        };
        match rest[0] {
            b'[' if !self.brackets => Some(self.take(0, to, to + 1)),
            b'[' => Some(self.take(1, to, to + 1 + usize::from(rest.get(to + 1) == Some(&b' ')))),
            _ => Some(self.take(1, to, to + 2)),
        }
    }

    /// A status code; else the field as it is.
    pub(super) fn status(&mut self) -> Result<u16, &'a [u8]> {
        let field = self.next().unwrap_or_default();
        status(field).ok_or(field)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest;
        let (to, next) = match rest {
            // Most of the fields of a load balancer say nothing.
            [b'"', b'-', b'"', b' ', ..] => return Some(self.take(1, 2, 4)),
            [b' ' | b'"' | b'[', ..] => return self.other(),
            _ => find(b' ', rest).map_or((rest.len(), rest.len()), |end| (end, end + 1)),
        };
        (!rest.is_empty()).then(|| self.take(0, to, next))
    }
}

/// All fields of a line; `false` when a quote is not closed.
pub(super) fn split<'a>(line: &'a [u8], brackets: bool, fields: &mut Vec<&'a [u8]>) -> bool {
    fields.clear();
    let mut all = Fields::new(line, brackets);
    for field in &mut all {
        fields.push(field);
    }
    !all.is_unclosed()
}

/// Index of the quote that closes the one at the start of `text`, if no other quote is inside.
fn plain_closing(text: &[u8]) -> Option<usize> {
    let end = find(b'"', text.get(1..)?)? + 1;
    let ends = text.get(end + 1).is_none_or(|next| *next == b' ');
    (ends && text[end - 1] != b'\\').then_some(end)
}

/// Index of the quote that closes the one at the start of `text`.
fn closing(text: &[u8], quote: u8) -> Option<usize> {
    let ends = |at: usize| text.get(at + 1).is_none_or(|next| *next == b' ');
    let mut at = 1;
    while let Some(found) = memchr2(quote, b'\\', &text[at..]) {
        at += found;
        match text[at] {
            b'\\' => at += 2,
            _ if ends(at) => return Some(at),
            _ => at += 1,
        }
        if at >= text.len() {
            break;
        }
    }
    // A backslash that escapes nothing.
    memchr::memchr_iter(quote, text).skip(1).find(|at| ends(*at))
}

#[cfg(test)]
mod tests {
    use super::super::text::{endpoint, milliseconds, origin_form, request_line, unescape};
    use super::*;
    use proptest::prelude::*;

    fn words(line: &str, brackets: bool) -> Vec<String> {
        let mut fields = Vec::new();
        assert!(split(line.as_bytes(), brackets, &mut fields), "{line}");
        fields.iter().map(|field| String::from_utf8_lossy(field).into_owned()).collect()
    }

    #[test]
    fn quotes_and_brackets_hold_fields_together() {
        assert_eq!(
            words(r#"a "b c" - "" [d e] "f\" g""#, true),
            ["a", "b c", "-", "", "d e", r#"f\" g"#]
        );
        assert_eq!(words("[d e]", false), ["[d", "e]"]);
        assert_eq!(words(r#""a"b" c"#, false), [r#"a"b"#, "c"]);
        assert_eq!(words(r#""C:\" d"#, false), [r"C:\", "d"]);
        assert!(!split(br#"a "b c"#, false, &mut Vec::new()));
    }

    proptest! {
        #[test]
        fn a_plain_quote_closes_where_any_does(text in "[ab\\\\\" ]{0,70}") {
            let quoted = format!("\"{text}");
            if let Some(plain) = plain_closing(quoted.as_bytes()) {
                prop_assert_eq!(Some(plain), closing(quoted.as_bytes(), b'"'));
            }
        }

        /// What is read where it stands is what its field says.
        #[test]
        fn fields_read_in_place_are_those_of_the_line(
            field in "(2026-11-21T10:3[0-9]:35.250000Z?|[0-9.-]{1,8}|10.0.0.[0-9]{1,2}:[0-9]{1,6}|\"[a ]{0,3}\"?|[a-z]{0,4})",
            more in "( {0,2}[a-z]{0,3}){0,2}",
        ) {
            let line = format!("{field}{more}");
            let start = || Fields::new(line.as_bytes(), false);
            let mut whole = start();
            let known = whole.next();
            let field = known.unwrap_or_default();
            let mut fields = start();
            prop_assert_eq!(fields.time(), known.and_then(iso));
            prop_assert_eq!(fields.clone().collect::<Vec<_>>(), whole.clone().collect::<Vec<_>>());
            let mut fields = start();
            prop_assert_eq!(fields.endpoint().or_else(|it| endpoint(it).ok_or(it)), endpoint(field).ok_or(field));
            prop_assert_eq!(fields.clone().collect::<Vec<_>>(), whole.clone().collect::<Vec<_>>());
            let mut fields = start();
            prop_assert_eq!(fields.seconds(), seconds(field).ok_or(field));
            prop_assert_eq!(fields.clone().collect::<Vec<_>>(), whole.clone().collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_can_be_read(line: Vec<u8>) {
            let mut fields = Vec::new();
            let _ = split(&line, true, &mut fields);
            for field in fields {
                let _ = (seconds(field), status(field), endpoint(field), unescape(field));
                let _ = (milliseconds(field), origin_form(request_line(field).1));
            }
        }
    }
}
