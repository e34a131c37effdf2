//! Handshake messages across records (RFC 8446, 5.1).

use crate::time::Mark;

/// Longest handshake message that is waited for. The longest are certificate chains: a dozen of
/// large certificates stay below.
const MESSAGE_MAX: usize = 1 << 16;

/// Puts the handshake messages of one direction together.
#[derive(Clone, Debug, Default)]
pub(super) struct Messages {
    /// The beginning of a message whose rest is to come.
    held: Vec<u8>,
    /// Where it began.
    from: Mark,
    /// Bytes were lost, or a message was too long: where one begins is not known any more.
    broken: bool,
}

/// A handshake message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    /// The frame of its first byte.
    pub(super) first: Mark,
    /// The frame of its last byte.
    pub(super) last: Mark,
    /// Its type.
    pub(super) kind: u8,
    /// What follows its header.
    pub(super) body: &'a [u8],
}

impl Messages {
    /// Takes the content of a handshake record that began in `first` and ended in `last`; gives out
    /// the messages that are complete.
    pub(super) fn add(
        &mut self,
        (first, last): (Mark, Mark),
        content: &[u8],
        mut give: impl FnMut(Message<'_>),
    ) {
        if self.broken {
            return;
        }
        let mut begun = if self.held.is_empty() { first } else { self.from };
        let mut held = std::mem::take(&mut self.held);
        let mut bytes = if held.is_empty() {
            content
        } else {
            held.extend_from_slice(content);
            &held
        };
        while let [kind, a, b, c, rest @ ..] = bytes {
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            let Some(body) = rest.get(..length) else {
                self.broken = length > MESSAGE_MAX;
                break;
            };
            give(Message { first: begun, last, kind: *kind, body });
            bytes = &rest[length..];
            begun = first;
        }
        if !self.broken && !bytes.is_empty() {
            (self.held, self.from) = (bytes.to_vec(), begun);
        }
    }

    /// A record of messages is missing.
    pub(super) fn lose(&mut self) {
        (self.held, self.broken) = (Vec::new(), true);
    }

    /// The keys have changed: a new message begins.
    pub(super) fn restart(&mut self) {
        (self.held, self.broken) = (Vec::new(), false);
    }

    /// Memory held.
    pub(super) fn buffered(&self) -> usize {
        self.held.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(records: &[&[u8]]) -> Vec<(u8, usize)> {
        let (mut messages, mut found) = (Messages::default(), Vec::new());
        for record in records {
            let marks = (Mark::default(), Mark::default());
            messages.add(marks, record, |message| found.push((message.kind, message.body.len())));
        }
        found
    }

    #[test]
    fn several_in_a_record_and_one_in_several() {
        let two = [1, 0, 0, 1, 7, 2, 0, 0, 0];
        assert_eq!(read(&[&two]), [(1, 1), (2, 0)]);
        for cut in 1..two.len() {
            assert_eq!(read(&[&two[..cut], &two[cut..]]), [(1, 1), (2, 0)], "{cut}");
        }
    }

    #[test]
    fn what_is_too_long_is_not_waited_for() {
        assert_eq!(read(&[&[1, 1, 0, 1, 0], &[14, 0, 0, 0]]), []);
    }
}
