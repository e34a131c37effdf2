//! What keys do.

use super::view::{Pane, View};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// Rows of a page key.
const PAGE: isize = 10;
/// Longest text of a filter; what a person types.
const TEXT_MAX: usize = 80;

/// The keys, for the help line.
pub(super) const HELP: [(&str, &str); 12] = [
    ("q Ctrl-C", "end"),
    ("Tab Shift-Tab 1-4", "pane"),
    ("arrows jk PgUp PgDn", "move"),
    ("Home End g G", "first, last"),
    ("Enter", "open, filter by"),
    ("Esc", "back"),
    ("n p arrows", "next, previous"),
    ("/", "filter"),
    ("c", "by cause"),
    ("space", "pause"),
    ("Ctrl-L", "draw anew"),
    ("?", "help"),
];

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Go,
    /// The screen has to be drawn anew.
    Redraw,
    End,
}

impl View {
    /// A key was pressed. `totals` are the findings and requests so far.
    pub(super) fn key(&mut self, key: KeyEvent, totals: (u64, u64)) -> Next {
        if key.kind == KeyEventKind::Release {
            return Next::Go;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && matches!(key.code, KeyCode::Char('c')) {
            return Next::End;
        }
        if control && matches!(key.code, KeyCode::Char('l')) {
            return Next::Redraw;
        }
        if control || key.modifiers.contains(KeyModifiers::ALT) {
            return Next::Go;
        }
        if self.typing.is_some() {
            self.typed(key.code);
            return Next::Go;
        }
        match key.code {
            KeyCode::Char('q') => return Next::End,
            KeyCode::Char('?') => self.help = !self.help,
            KeyCode::Char(' ') => self.pause(totals),
            KeyCode::Char('/') => {
                self.close();
                self.focus = Pane::Findings;
                self.typing = Some(self.filter.text.clone());
            }
            KeyCode::Char('c') => self.next_cause(),
            KeyCode::Char(digit @ '1'..='4') => {
                let pane = digit as usize - '1' as usize;
                self.look_at(pane);
            }
            KeyCode::Tab => self.turn(1),
            KeyCode::BackTab => self.turn(Pane::ALL.len() - 1),
            KeyCode::Esc => self.back(),
            KeyCode::Enter if self.opened.is_none() => match self.focus {
                Pane::Findings => self.open(),
                _ => self.narrow(),
            },
            KeyCode::Char('n') | KeyCode::Right if self.opened.is_some() => self.open_next(1),
            KeyCode::Char('p') | KeyCode::Left if self.opened.is_some() => self.open_next(-1),
            KeyCode::Down | KeyCode::Char('j') => self.move_by(1),
            KeyCode::Up | KeyCode::Char('k') => self.move_by(-1),
            KeyCode::PageDown => self.move_by(PAGE),
            KeyCode::PageUp => self.move_by(-PAGE),
            KeyCode::Home | KeyCode::Char('g') => self.move_by(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.move_by(isize::MAX),
            _ => {}
        }
        Next::Go
    }

    /// A key while the filter is typed; what it lets through is shown at once.
    fn typed(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.typing = None,
            KeyCode::Esc => self.filter.text = self.typing.take().unwrap_or_default(),
            KeyCode::Backspace => {
                self.filter.text.pop();
            }
            KeyCode::Char(c) if self.filter.text.chars().count() < TEXT_MAX => {
                self.filter.text.push(c);
            }
            _ => {}
        }
        self.finding = None;
    }

    fn pause(&mut self, totals: (u64, u64)) {
        self.paused = match self.paused {
            Some(_) => None,
            None => Some(totals),
        };
        self.missed = (0, 0);
    }

    /// Closes what is open, else lifts the filter.
    fn back(&mut self) {
        if self.help {
            self.help = false;
        } else if !self.close() {
            self.filter = super::view::Filter::default();
        }
    }

    fn turn(&mut self, by: usize) {
        let now = Pane::ALL.iter().position(|pane| *pane == self.focus).unwrap_or(0);
        self.look_at((now + by) % Pane::ALL.len());
    }

    fn look_at(&mut self, pane: usize) {
        self.close();
        self.focus = Pane::ALL[pane];
    }

    /// Moves the selection, or the text that is open.
    fn move_by(&mut self, rows: isize) {
        if let Some(opened) = &mut self.opened {
            opened.scroll = opened.scroll.saturating_add_signed(rows);
            return;
        }
        let (row, count) = self.selected(self.focus);
        self.select(row.saturating_add_signed(rows).min(count.saturating_sub(1)));
    }
}
