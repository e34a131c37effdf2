//! Lines of text: width, indentation, colour, and ASCII where Unicode cannot be shown.

use crate::report::{Style, words};
use crate::words::{Lang, Say, columns};
use anstyle::{AnsiColor, Style as Ansi};
use std::io::{self, Write};

/// Columns that a report fits.
pub(in crate::report) const WIDTH: usize = 100;
/// Columns of a label in front of a paragraph.
pub(in crate::report) const LABEL: usize = 16;

/// What a colour stands for.
#[derive(Clone, Copy)]
pub(in crate::report) enum Ink {
    /// The answer: something failed.
    Bad,
    /// The answer: nothing failed.
    Good,
    /// The id of a cause.
    Cause,
    /// A heading or label.
    Label,
    /// The guilty packet.
    Guilty,
    /// Of less weight.
    Faint,
}

impl Ink {
    fn ansi(self) -> Ansi {
        match self {
            Ink::Bad => AnsiColor::Red.on_default().bold(),
            Ink::Good => AnsiColor::Green.on_default().bold(),
            Ink::Cause => AnsiColor::Yellow.on_default().bold(),
            Ink::Label => Ansi::new().bold(),
            Ink::Guilty => AnsiColor::Red.on_default(),
            Ink::Faint => Ansi::new().dimmed(),
        }
    }
}

/// Writes lines. Texts from packets, files or causes go through [`words::clean`] on the way in.
pub(in crate::report) struct Page<'a> {
    style: Style,
    width: usize,
    live: bool,
    out: &'a mut dyn Write,
}

impl<'a> Page<'a> {
    pub(in crate::report) fn new(style: Style, out: &'a mut dyn Write) -> Page<'a> {
        Page { style, width: WIDTH, live: false, out }
    }

    /// Of what is being captured, so that no file has its packets and stream numbers yet. It may be
    /// narrower than a report; what cannot be wrapped may still be longer.
    pub(in crate::report) fn live(width: usize, style: Style, out: &'a mut dyn Write) -> Page<'a> {
        Page { style, width: width.min(WIDTH), live: true, out }
    }

    /// Whether it is of what is being captured.
    pub(in crate::report) fn is_live(&self) -> bool {
        self.live
    }

    /// Columns that lines shall fit.
    pub(in crate::report) fn width(&self) -> usize {
        self.width
    }

    pub(in crate::report) fn lang(&self) -> Lang {
        self.style.lang
    }

    /// A text in the language of the page.
    pub(in crate::report) fn say(&self, text: impl Say) -> String {
        text.say(self.style.lang).into_owned()
    }

    /// `text` in the colour of `ink`, when colours are wanted.
    pub(in crate::report) fn paint(&self, ink: Ink, text: &str) -> String {
        if self.style.color {
            let ansi = ink.ansi();
            format!("{ansi}{text}{ansi:#}")
        } else {
            text.to_owned()
        }
    }

    /// One line as it is.
    pub(in crate::report) fn line(&mut self, text: &str) -> io::Result<()> {
        let text = text.trim_end();
        if self.style.ascii {
            self.out.write_all(words::ascii(text, self.style.lang).as_bytes())?;
        } else {
            self.out.write_all(text.as_bytes())?;
        }
        self.out.write_all(b"\n")
    }

    pub(in crate::report) fn blank(&mut self) -> io::Result<()> {
        self.line("")
    }

    pub(in crate::report) fn heading(&mut self, text: impl Say) -> io::Result<()> {
        let text = self.paint(Ink::Label, &self.say(text));
        self.line(&text)
    }

    /// Wrapped text behind the same indentation on each line.
    pub(in crate::report) fn paragraph(&mut self, indent: &str, text: impl Say) -> io::Result<()> {
        self.hanging(indent, text)
    }

    /// Paragraphs that empty lines separate.
    pub(in crate::report) fn paragraphs(&mut self, indent: &str, text: impl Say) -> io::Result<()> {
        let text = self.say(text);
        let whole = text.split("\n\n").filter(|part| !part.trim().is_empty());
        for (n, paragraph) in whole.enumerate() {
            if n > 0 {
                self.blank()?;
            }
            self.paragraph(indent, paragraph)?;
        }
        Ok(())
    }

    /// Wrapped text, its first line behind `first`, the others below it.
    pub(in crate::report) fn hanging(&mut self, first: &str, text: impl Say) -> io::Result<()> {
        self.wrapped(first, columns(first), &self.say(text))
    }

    /// The same behind a painted label, padded to `width`.
    pub(in crate::report) fn hanging_painted(
        &mut self,
        ink: Ink,
        label: &str,
        width: usize,
        text: impl Say,
    ) -> io::Result<()> {
        let pad = " ".repeat(width.saturating_sub(columns(label)));
        let first = format!("{}{pad}", self.paint(ink, label));
        self.wrapped(&first, width, &self.say(text))
    }

    /// A label and what it is, as below a cause.
    pub(in crate::report) fn field(
        &mut self,
        label: &'static str,
        text: impl Say,
    ) -> io::Result<()> {
        let label = format!("  {}", self.say(label));
        self.hanging_painted(Ink::Label, &label, LABEL, text)
    }

    fn wrapped(&mut self, first: &str, indent: usize, text: &str) -> io::Result<()> {
        // Cleaned word by word, so that line ends inside a text separate words.
        let text = text.split_whitespace().map(words::clean).collect::<Vec<_>>().join(" ");
        for (n, line) in words::wrap(&text, self.width.saturating_sub(indent)).iter().enumerate() {
            if n == 0 {
                self.line(&format!("{first}{line}"))?;
            } else {
                self.line(&format!("{:indent$}{line}", ""))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(style: Style, write: impl FnOnce(&mut Page<'_>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut Page::new(style, &mut out)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn later_lines_stand_below_the_first() {
        let text = shown(Style::default(), |page| page.field("Fix", "word ".repeat(30)));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("  Fix           word"), "{text}");
        assert!(lines[1].starts_with("                word"), "{text}");
        assert!(lines.iter().all(|line| line.len() <= WIDTH));
    }

    #[test]
    fn colour_and_ascii_only_when_wanted() {
        let say = |page: &mut Page<'_>| {
            let text = page.paint(Ink::Bad, "a → b");
            page.line(&text)
        };
        assert_eq!(shown(Style::default(), say), "a → b\n");
        assert_eq!(shown(Style { ascii: true, ..Style::default() }, say), "a -> b\n");
        let colour = shown(Style { color: true, ..Style::default() }, say);
        assert!(colour.starts_with("\x1b[") && colour.contains("a → b"), "{colour:?}");
    }
}
