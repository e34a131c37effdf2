//! The record layer of one direction (RFC 8446, 5.1): where records begin and end.

use crate::tcp::At;
use crate::time::Mark;

/// Content types.
pub(super) mod content {
    pub(crate) const CHANGE_CIPHER_SPEC: u8 = 20;
    pub(crate) const ALERT: u8 = 21;
    pub(crate) const HANDSHAKE: u8 = 22;
    pub(crate) const APPLICATION_DATA: u8 = 23;
    pub(crate) const HEARTBEAT: u8 = 24;
}

/// Bytes of a record header.
const HEADER: usize = 5;
/// Longest record body: 2^14 bytes and 2048 for what encryption adds (RFC 5246, 6.2.3).
pub(super) const BODY_MAX: usize = (1 << 14) + 2048;

/// Reads the records of one direction.
#[derive(Clone, Debug, Default)]
pub(super) struct Reader {
    place: Place,
    header: [u8; HEADER],
    /// Where the record began.
    from: At,
    /// The body so far, of a record that spans segments and is worth keeping.
    body: Vec<u8>,
    /// Bytes of the body were not captured.
    torn: bool,
    /// Keep the bodies of application data, too.
    pub(super) keep_data: bool,
    /// A record was read.
    pub(super) any: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// So many bytes of the header are known.
    Header(u8),
    /// So many bytes of the body are to come.
    Body(usize),
    /// Not known, until a segment begins with a record.
    Lost,
    /// Something else than TLS follows.
    Over,
}

impl Default for Place {
    fn default() -> Place {
        Place::Header(0)
    }
}

/// What came of some bytes.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// Nothing yet.
    More,
    /// Part of the body of a record.
    Part(Record<'a>),
    /// The end of a record.
    Whole(Record<'a>),
    /// No record begins here.
    Foreign,
}

/// A record, or the part of it that has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) header: [u8; HEADER],
    /// Where its header begins.
    pub(super) from: At,
    /// The frame of the last byte so far.
    pub(super) last: Mark,
    /// Offset behind the last byte so far.
    pub(super) end: u64,
    /// The body of a whole record; `None` when bytes are missing or it was not worth keeping.
    pub(super) body: Option<&'a [u8]>,
}

impl Record<'_> {
    /// Where it begins, in the frame of its last byte.
    pub(super) fn at(&self) -> At {
        At { mark: self.last, ..self.from }
    }

    /// Content type.
    pub(super) fn kind(&self) -> u8 {
        self.header[0]
    }

    /// Length of the body as the header says it.
    pub(super) fn length(&self) -> usize {
        length(self.header)
    }
}

fn length(header: [u8; HEADER]) -> usize {
    usize::from(u16::from_be_bytes([header[3], header[4]]))
}

/// Whether a record may begin like this, as far as there are bytes.
fn plausible(header: &[u8]) -> bool {
    let kind = header
        .first()
        .is_none_or(|kind| (content::CHANGE_CIPHER_SPEC..=content::HEARTBEAT).contains(kind));
    let version = header.get(1).is_none_or(|major| *major == 3)
        && header.get(2).is_none_or(|minor| *minor <= 4);
    let length = header
        .get(3..HEADER)
        .is_none_or(|length| usize::from(u16::from_be_bytes([length[0], length[1]])) <= BODY_MAX);
    kind && version && length
}

impl Reader {
    /// A reader that starts somewhere in the stream.
    pub(super) fn lost() -> Reader {
        Reader { place: Place::Lost, ..Reader::default() }
    }

    /// Takes bytes from the start of `bytes`; says how many, and what came of them.
    pub(super) fn step<'a>(&'a mut self, at: At, bytes: &'a [u8]) -> (usize, Step<'a>) {
        match self.place {
            Place::Over => (bytes.len(), Step::More),
            Place::Lost if bytes.len() >= HEADER && plausible(&bytes[..HEADER]) => {
                self.place = Place::Header(0);
                self.head(at, bytes, 0)
            }
            Place::Lost => (bytes.len(), Step::More),
            Place::Header(known) => self.head(at, bytes, usize::from(known)),
            Place::Body(left) => self.rest(at, bytes, left),
        }
    }

    fn head<'a>(&'a mut self, at: At, bytes: &'a [u8], known: usize) -> (usize, Step<'a>) {
        if known == 0 {
            self.from = at;
            self.torn = false;
            self.body.clear();
        }
        let used = (HEADER - known).min(bytes.len());
        self.header[known..known + used].copy_from_slice(&bytes[..used]);
        if !plausible(&self.header[..known + used]) {
            self.place = Place::Over;
            return (bytes.len(), Step::Foreign);
        }
        if known + used < HEADER {
            self.place = Place::Header((known + used) as u8);
            return (used, Step::More);
        }
        self.any = true;
        let length = length(self.header);
        let Some(body) = bytes.get(used..used + length) else {
            self.place = Place::Body(length);
            // An empty step would end the caller's loop: take what is there of the body, too.
            let (more, step) =
                self.rest(At { offset: at.offset + used as u64, ..at }, &bytes[used..], length);
            return (used + more, step);
        };
        self.place = Place::Header(0);
        let used = used + length;
        let end = at.offset + used as u64;
        (used, Step::Whole(self.record(at.mark, end, Some(body))))
    }

    fn rest<'a>(&'a mut self, at: At, bytes: &'a [u8], left: usize) -> (usize, Step<'a>) {
        let used = left.min(bytes.len());
        if self.keeps() {
            self.body.extend_from_slice(&bytes[..used]);
        }
        let end = at.offset + used as u64;
        if used < left {
            self.place = Place::Body(left - used);
            return (used, Step::Part(self.record(at.mark, end, None)));
        }
        self.place = Place::Header(0);
        let whole = self.body.len() == length(self.header);
        let body = (whole && !self.torn).then_some(self.body.as_slice());
        (used, Step::Whole(self.record(at.mark, end, body)))
    }

    fn keeps(&self) -> bool {
        !self.torn && (self.header[0] != content::APPLICATION_DATA || self.keep_data)
    }

    fn record<'a>(&self, last: Mark, end: u64, body: Option<&'a [u8]>) -> Record<'a> {
        Record { header: self.header, from: self.from, last, end, body }
    }

    /// `len` bytes at `at` were not captured. Gives the record they belong to, when they are its
    /// last ones.
    pub(super) fn gap(&mut self, at: At, len: u64) -> Step<'_> {
        match self.place {
            Place::Body(left) if len <= left as u64 => {
                self.torn = true;
                self.body.clear();
                let end = at.offset + len;
                let left = left - len as usize;
                if left > 0 {
                    self.place = Place::Body(left);
                    return Step::Part(self.record(at.mark, end, None));
                }
                self.place = Place::Header(0);
                Step::Whole(self.record(at.mark, end, None))
            }
            Place::Over => Step::More,
            Place::Header(_) | Place::Body(_) | Place::Lost => {
                self.place = Place::Lost;
                self.body = Vec::new();
                Step::More
            }
        }
    }

    /// The record of which the end has not come: where it begins, and the offset behind its last byte.
    pub(super) fn unfinished(&self) -> Option<(At, u64)> {
        let come = match self.place {
            Place::Body(left) => HEADER + length(self.header) - left,
            Place::Header(known @ 1..) => usize::from(known),
            Place::Header(0) | Place::Lost | Place::Over => return None,
        };
        Some((self.from, self.from.offset + come as u64))
    }

    /// The place in the stream is lost, until a segment begins with a record.
    pub(super) fn is_lost(&self) -> bool {
        self.place == Place::Lost
    }

    /// Memory held.
    pub(super) fn buffered(&self) -> usize {
        self.body.capacity()
    }

    /// Gives up what is held.
    pub(super) fn release(&mut self) {
        let place = if self.place == Place::Over { Place::Over } else { Place::Lost };
        (self.place, self.body) = (place, Vec::new());
    }
}
