//! The terminal: taken for the view, and given back on every way out, a panic included.

use super::input::Input;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::KeyEvent;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of a drawing that are written at once: a large terminal in full.
const BUFFER: usize = 1 << 16;

/// Why there is no view.
#[derive(Debug, thiserror::Error)]
pub enum ScreenError {
    /// Nothing to draw on.
    #[error("--ui needs a terminal, and there is none: leave it away for lines of text")]
    NoTerminal,
    /// The terminal does not do what a view needs.
    #[error("--ui cannot use this terminal: {0}")]
    Terminal(#[from] io::Error),
}

/// Where the view is drawn. Standard output is for the report, so it is used only when it is the
/// terminal anyway.
#[derive(Debug)]
enum Output {
    Stdout,
    Stderr,
    Terminal(File),
}

impl Output {
    fn find() -> Result<Output, ScreenError> {
        if io::stdout().is_terminal() {
            return Ok(Output::Stdout);
        }
        if io::stderr().is_terminal() {
            return Ok(Output::Stderr);
        }
        let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty");
        terminal.map(Output::Terminal).map_err(|_| ScreenError::NoTerminal)
    }

    fn try_clone(&self) -> io::Result<Output> {
        Ok(match self {
            Output::Stdout => Output::Stdout,
            Output::Stderr => Output::Stderr,
            Output::Terminal(file) => Output::Terminal(file.try_clone()?),
        })
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Output::Stdout => io::stdout().write(bytes),
            Output::Stderr => io::stderr().write(bytes),
            Output::Terminal(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Output::Stdout => io::stdout().flush(),
            Output::Stderr => io::stderr().flush(),
            Output::Terminal(file) => file.flush(),
        }
    }
}

/// Whether the terminal is taken; given back once.
#[derive(Debug)]
struct Taken {
    taken: AtomicBool,
    output: Output,
}

impl Taken {
    fn give_back(&self) {
        if !self.taken.swap(false, Ordering::SeqCst) {
            return;
        }
        // Nothing can be done about a terminal that is gone.
        if let Ok(mut output) = self.output.try_clone() {
            let _ = execute!(output, Clear(ClearType::All), LeaveAlternateScreen, Show);
        }
        let _ = disable_raw_mode();
    }
}

/// The terminal, taken from [`Screen::open`] until it is dropped.
#[derive(Debug)]
pub struct Screen {
    input: Input,
    terminal: Terminal<CrosstermBackend<BufWriter<Output>>>,
    taken: Arc<Taken>,
}

impl Screen {
    /// Whether there is a terminal.
    pub fn check() -> Result<(), ScreenError> {
        Output::find()?;
        Input::find().map(|_| ()).map_err(|_| ScreenError::NoTerminal)
    }

    /// Takes the terminal. From now on a panic of any thread gives it back before its message.
    pub fn open() -> Result<Screen, ScreenError> {
        let output = Output::find()?;
        let input = Input::find().map_err(|_| ScreenError::NoTerminal)?;
        let taken = Arc::new(Taken { taken: AtomicBool::new(true), output: output.try_clone()? });
        let in_panic = Arc::clone(&taken);
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            in_panic.give_back();
            others(info);
        }));
        // From here on dropping gives back what was taken so far.
        let backend = CrosstermBackend::new(BufWriter::with_capacity(BUFFER, output));
        let terminal = Terminal::new(backend).map_err(ScreenError::Terminal);
        let mut screen = match terminal {
            Ok(terminal) => Screen { input, terminal, taken },
            Err(error) => {
                taken.taken.store(false, Ordering::SeqCst);
                return Err(error);
            }
        };
        enable_raw_mode()?;
        // Without Terminal::clear, which asks standard output where the cursor is.
        execute!(screen.terminal.backend_mut(), EnterAlternateScreen, Clear(ClearType::All))?;
        Ok(screen)
    }

    /// Whether it is still the view's: not after a panic.
    pub(super) fn is_taken(&self) -> bool {
        self.taken.taken.load(Ordering::SeqCst)
    }

    /// Makes the next drawing write every cell: something else has written on the terminal.
    pub(super) fn forget(&mut self) -> io::Result<()> {
        let size = self.terminal.size()?;
        self.terminal.resize(size.into())
    }

    /// Waits for keys, at most so many milliseconds.
    pub(super) fn keys(&mut self, millis: u8) -> io::Result<Vec<KeyEvent>> {
        self.input.keys(millis)
    }

    pub(super) fn terminal(&mut self) -> &mut Terminal<CrosstermBackend<BufWriter<impl Write>>> {
        &mut self.terminal
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.terminal.backend_mut().flush();
        self.taken.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek};

    #[test]
    fn the_terminal_is_given_back_once() {
        let mut file = tempfile::tempfile().unwrap();
        let output = Output::Terminal(file.try_clone().unwrap());
        let taken = Taken { taken: AtomicBool::new(true), output };
        taken.give_back();
        taken.give_back();
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        // Clears, leaves the other screen, shows the cursor (xterm, DECSET 1049 and 25).
        assert_eq!(text, "\u{1b}[2J\u{1b}[?1049l\u{1b}[?25h");
        assert!(!taken.taken.load(Ordering::SeqCst));
    }
}
