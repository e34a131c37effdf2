//! Keys, read from the terminal itself. crossterm's own reader never returns from a terminal that is
//! gone (0.29), and a view must not outlive its terminal.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;

/// Bytes that are read at once: more keys than anybody presses between two drawings.
const BYTES: usize = 1024;
/// Milliseconds within which the rest of a key comes that is sent as several bytes.
const REST: u8 = 25;
const ESCAPE: u8 = 0x1b;

/// Where keys come from.
#[derive(Debug)]
pub(super) struct Input(File);

impl Input {
    /// Standard input where that is a terminal, else the terminal of the session.
    pub(super) fn find() -> io::Result<Input> {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            return Ok(Input(File::from(stdin.as_fd().try_clone_to_owned()?)));
        }
        OpenOptions::new().read(true).write(true).open("/dev/tty").map(Input)
    }

    /// The keys that were pressed; waits for them, at most so many milliseconds. A terminal that is
    /// gone is an error.
    pub(super) fn keys(&mut self, millis: u8) -> io::Result<Vec<KeyEvent>> {
        if !self.is_ready(millis)? {
            return Ok(Vec::new());
        }
        let mut bytes = self.read()?;
        while is_cut(&bytes) && bytes.len() < BYTES && self.is_ready(REST)? {
            bytes.extend(self.read()?);
        }
        Ok(parse(&bytes))
    }

    fn is_ready(&self, millis: u8) -> io::Result<bool> {
        let mut asked = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        match poll(&mut asked, millis) {
            // A signal: the size of the terminal may have changed.
            Err(Errno::EINTR) => return Ok(false),
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
        let found = asked[0].revents().unwrap_or(PollFlags::empty());
        match found.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL) {
            true => Err(gone()),
            false => Ok(found.contains(PollFlags::POLLIN)),
        }
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = [0; BYTES];
        match self.0.read(&mut bytes) {
            Ok(0) => Err(gone()),
            Ok(read) => Ok(bytes[..read].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the terminal is gone")
}

/// Whether the last key may not be whole. Escape alone is one, and begins others.
fn is_cut(bytes: &[u8]) -> bool {
    let Some(at) = bytes.iter().rposition(|byte| *byte == ESCAPE) else {
        return std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none());
    };
    match &bytes[at + 1..] {
        [] => true,
        [b'[' | b'O', rest @ ..] => !rest.iter().any(|byte| (0x40..=0x7e).contains(byte)),
        _ => false,
    }
}

/// The keys that these bytes stand for, as xterm and its likes send them (XTerm Control Sequences,
/// "PC-Style Function Keys"). What the view has no use for is left out.
fn parse(mut bytes: &[u8]) -> Vec<KeyEvent> {
    let mut keys = Vec::new();
    while let [first, rest @ ..] = bytes {
        bytes = rest;
        let key = match (*first, rest) {
            (ESCAPE, [b'[' | b'O', sequence @ ..]) => {
                let end = sequence.iter().position(|byte| (0x40..=0x7e).contains(byte));
                let end = end.unwrap_or(sequence.len());
                let (number, last) = (sequence.get(..end), sequence.get(end));
                bytes = sequence.get(end + 1..).unwrap_or_default();
                function(number.unwrap_or_default(), last.copied())
            }
            (ESCAPE, _) => Some(KeyCode::Esc),
            (b'\r' | b'\n', _) => Some(KeyCode::Enter),
            (b'\t', _) => Some(KeyCode::Tab),
            (0x7f | 0x08, _) => Some(KeyCode::Backspace),
            (control @ 1..=26, _) => {
                let letter = char::from(control - 1 + b'a');
                keys.push(KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL));
                None
            }
            (0..0x20, _) => None,
            (byte, _) => {
                let length = match byte {
                    0..0x80 => 1,
                    0x80..0xe0 => 2,
                    0xe0..0xf0 => 3,
                    _ => 4,
                };
                let whole: Vec<u8> = [byte].iter().chain(rest).take(length).copied().collect();
                let text = std::str::from_utf8(&whole).ok();
                if text.is_some() {
                    bytes = rest.get(length - 1..).unwrap_or_default();
                }
                text.and_then(|text| text.chars().next()).map(KeyCode::Char)
            }
        };
        keys.extend(key.map(KeyEvent::from));
    }
    keys
}

/// The key of a sequence by its number and its last byte.
fn function(number: &[u8], last: Option<u8>) -> Option<KeyCode> {
    Some(match (last?, number) {
        (b'A', _) => KeyCode::Up,
        (b'B', _) => KeyCode::Down,
        (b'C', _) => KeyCode::Right,
        (b'D', _) => KeyCode::Left,
        (b'H', _) | (b'~', b"1" | b"7") => KeyCode::Home,
        (b'F', _) | (b'~', b"4" | b"8") => KeyCode::End,
        (b'~', b"5") => KeyCode::PageUp,
        (b'~', b"6") => KeyCode::PageDown,
        (b'Z', _) => KeyCode::BackTab,
        (b'M', _) => KeyCode::Enter,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    fn codes(bytes: &[u8]) -> Vec<KeyCode> {
        parse(bytes).into_iter().map(|key| key.code).collect()
    }

    #[test]
    fn keys_are_told_apart() {
        use KeyCode::{BackTab, Backspace, Char, Down, End, Enter, Esc, Home, PageDown, Tab, Up};
        assert_eq!(codes(b"jq\r\t\x7f"), [Char('j'), Char('q'), Enter, Tab, Backspace]);
        assert_eq!(codes(b"\x1b[A\x1bOB\x1b[1~\x1b[F"), [Up, Down, Home, End]);
        assert_eq!(codes(b"\x1b[6~\x1b[Z\x1b[1;5A\x1b[200~k"), [PageDown, BackTab, Up, Char('k')]);
        assert_eq!(
            codes("\u{1b}é注\u{1b}3".as_bytes()),
            [Esc, Char('é'), Char('注'), Esc, Char('3')]
        );
        assert_eq!(codes(b"\x1b"), [Esc]);
        assert_eq!(codes(b"\xff\xe3j\x00\x1b["), [Char('j')]);
        assert_eq!(parse(b"\x03")[0], KeyEvent::new(Char('c'), KeyModifiers::CONTROL));
    }

    #[test]
    fn keys_are_waited_for_until_the_terminal_is_gone() {
        let (mut near, far) = UnixStream::pair().unwrap();
        let mut input = Input(File::from(OwnedFd::from(far)));
        assert!(input.keys(0).unwrap().is_empty());
        near.write_all(b"\x1b[Bq").unwrap();
        let expected = [KeyCode::Down, KeyCode::Char('q')].map(KeyEvent::from);
        assert_eq!(input.keys(200).unwrap(), expected);
        drop(near);
        assert_eq!(input.keys(200).unwrap_err().to_string(), "the terminal is gone");
    }

    #[test]
    fn what_is_not_whole_waits_for_its_rest() {
        for cut in [&b"\x1b"[..], b"j\x1b[", b"\x1b[1;", "注".as_bytes().get(..2).unwrap()] {
            assert!(is_cut(cut), "{cut:?}");
        }
        for whole in [&b""[..], b"j", b"\x1b[A", b"\x1bOP", b"\x1bx", b"\xff", "注".as_bytes()] {
            assert!(!is_cut(whole), "{whole:?}");
        }
    }
}
