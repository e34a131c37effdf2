//! The full-screen view of a capture: the terminal and the board in it.

use super::run::LiveError;
use super::ui::{self, Board, Screen, SharedBoard};
use crate::probe::Catalogue;
use crate::report::Style;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A view that has the terminal and is not drawn yet.
pub(super) struct View {
    screen: Screen,
    board: SharedBoard,
    style: Style,
}

impl View {
    /// Takes the terminal. `source` says in words what is captured, on which `interfaces`.
    pub(super) fn open(
        source: String,
        interfaces: &[String],
        probers: &Catalogue,
        style: Style,
    ) -> Result<View, LiveError> {
        let board = SharedBoard::new(Board::new(source, interfaces, probers));
        Ok(View { screen: Screen::open()?, board, style })
    }

    pub(super) fn board(&self) -> SharedBoard {
        self.board.clone()
    }

    /// Draws until `stop`, or sets it when the user ends it. The terminal is given back then.
    pub(super) fn run(self, stop: &Arc<AtomicBool>) -> std::io::Result<()> {
        ui::run(self.screen, &self.board, self.style, stop)
    }
}

/// Where what is not about packets is told.
#[derive(Clone)]
pub(super) enum Voice {
    /// On standard error.
    Aloud,
    /// In the view, which has the terminal.
    Shown(SharedBoard),
}

impl Voice {
    pub(super) fn tell(&self, text: &str) {
        match self {
            Voice::Aloud => {
                let _ = writeln!(anstream::stderr(), "why502: {text}");
            }
            Voice::Shown(board) => board.lock().notice(text.to_owned()),
        }
    }
}
