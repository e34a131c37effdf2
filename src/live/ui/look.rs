//! Colours and characters of the view. Without colours, weight and inversion still tell apart what
//! has to be.

use crate::report::so_far::Tone;
use crate::report::{Style as Wanted, words};
use crate::words::Lang;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;

/// What the terminal can show and the user wants.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    pub(super) color: bool,
    pub(super) ascii: bool,
    /// Of the answer and of a finding in full. The names of the panes and keys are English.
    pub(super) lang: Lang,
}

impl From<Wanted> for Look {
    fn from(wanted: Wanted) -> Look {
        Look { color: wanted.color, ascii: wanted.ascii, lang: wanted.lang }
    }
}

impl Look {
    /// Text that the terminal can show.
    pub(super) fn text(self, text: &str) -> String {
        if self.ascii { words::ascii(text, self.lang) } else { text.to_owned() }
    }

    pub(super) fn span(self, text: &str, style: Style) -> Span<'static> {
        Span::styled(self.text(text), style)
    }

    pub(super) fn plain(self, text: &str) -> Span<'static> {
        self.span(text, Style::new())
    }

    fn color(self, color: Color) -> Style {
        if self.color { Style::new().fg(color) } else { Style::new() }
    }

    /// Something is wrong.
    pub(super) fn bad(self) -> Style {
        self.color(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// All is well.
    pub(super) fn good(self) -> Style {
        self.color(Color::Green)
    }

    /// The id of a cause.
    pub(super) fn cause(self) -> Style {
        self.color(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    /// A heading or label.
    pub(super) fn label(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Of less weight.
    pub(super) fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// The row that keys act on.
    pub(super) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(super) fn tone(self, tone: Tone) -> Style {
        match tone {
            Tone::Bad => self.bad(),
            Tone::Good => self.good().add_modifier(Modifier::BOLD),
            Tone::Neutral => self.label(),
        }
    }
}
