//! The loop: keys in, drawings out.

use super::board::SharedBoard;
use super::draw::draw;
use super::keys::Next;
use super::look::Look;
use super::screen::Screen;
use super::view::View;
use crate::report::Style;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// Milliseconds between two drawings of what has changed by itself. A key is answered at once.
const BETWEEN: u8 = 200;

/// Sets it when dropped, whatever the reason.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Shows the board until the user ends it or `stop` is set, and sets `stop`: the capture ends with
/// the view. The terminal has been given back when it returns.
pub fn run(
    mut screen: Screen,
    board: &SharedBoard,
    style: Style,
    stop: &AtomicBool,
) -> io::Result<()> {
    let _stop = SetAtEnd(stop);
    let look = Look::from(style);
    let mut view = View::default();
    let mut seen = None;
    let mut redraw = true;
    let mut size = screen.terminal().size()?;
    while !stop.load(Ordering::SeqCst) && screen.is_taken() {
        redraw |= look_at(&mut view, board, &mut seen);
        if redraw {
            screen.terminal().draw(|frame| draw(frame, &mut view, look))?;
            redraw = false;
        }
        let keys = screen.keys(BETWEEN)?;
        let now = screen.terminal().size()?;
        redraw |= now != size || !keys.is_empty();
        size = now;
        // All that were pressed are answered by one drawing.
        for key in keys {
            seen = None;
            let totals = board.lock().totals();
            match view.key(key, totals) {
                Next::Go => {}
                Next::Redraw => screen.forget()?,
                Next::End => return Ok(()),
            }
        }
    }
    Ok(())
}

/// Copies the board when it has changed since it was last seen.
fn look_at(view: &mut View, board: &SharedBoard, seen: &mut Option<u64>) -> bool {
    let board = board.lock();
    let revision = board.revision();
    if *seen == Some(revision) {
        return false;
    }
    *seen = Some(revision);
    view.update(board.totals(), || board.shown())
}
