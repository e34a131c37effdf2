//! Counts the bytes of a message body until its end (RFC 9112, 6 and 7).
//!
//! Looks only at chunk-size lines and trailers.

use super::Framing;
use memchr::memchr;

/// Where in a body the stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes are to come.
    Length(u64),
    /// Chunked coding.
    Chunked(Chunk),
    /// Until the sender closes.
    UntilClose,
    /// Bytes whose meaning is lost; they are counted, and no end is known.
    Rest,
}

/// Where in chunked coding the stream is (RFC 9112, 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// In the digits of a size.
    Size { size: u64, digits: u8 },
    /// Behind the digits, before the end of the line.
    Extension { size: u64 },
    /// So many bytes of the chunk are to come.
    Data(u64),
    /// Before the line end that follows a chunk.
    DataEnd { after_cr: bool },
    /// In a trailer line; an empty one is the end.
    Trailer { empty: bool },
}

/// What some bytes did to a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// All taken, more to come.
    More,
    /// The body ended behind so many bytes.
    Done(usize),
    /// The byte at this place breaks the framing.
    Broken(usize),
}

/// What a gap did to a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skip {
    /// It lies within the body.
    Within,
    /// It reaches exactly to the end of the body.
    Ends,
    /// It hides the end of the body and what follows.
    Beyond,
    /// It hides framing, so that the end is not known any more.
    Lost,
}

impl Body {
    /// The body that `framing` announces; `None` when there is none.
    pub(super) fn new(framing: Framing) -> Option<Body> {
        match framing {
            Framing::Unknown | Framing::None | Framing::Length(0) => None,
            Framing::Length(length) => Some(Body::Length(length)),
            Framing::Chunked => Some(Body::Chunked(Chunk::START)),
            Framing::UntilClose => Some(Body::UntilClose),
        }
    }

    /// Takes `bytes` and adds those of the content to `content`.
    pub(super) fn feed(&mut self, bytes: &[u8], content: &mut u64) -> Step {
        match self {
            Body::Length(left) => {
                let taken = (bytes.len() as u64).min(*left);
                *left -= taken;
                *content += taken;
                if *left == 0 { Step::Done(taken as usize) } else { Step::More }
            }
            Body::Chunked(chunk) => chunk.feed(bytes, content),
            Body::UntilClose | Body::Rest => {
                *content += bytes.len() as u64;
                Step::More
            }
        }
    }

    /// Whether the next `len` bytes are content, and more of it follows.
    pub(super) fn goes_on_behind(&self, len: u64) -> bool {
        match self {
            Body::Length(left) | Body::Chunked(Chunk::Data(left)) => len < *left,
            Body::UntilClose => true,
            Body::Chunked(_) | Body::Rest => false,
        }
    }

    /// Passes over `len` bytes that nobody saw.
    pub(super) fn skip(&mut self, len: u64, content: &mut u64) -> Skip {
        let left = match self {
            Body::Length(left) => left,
            Body::Chunked(Chunk::Data(left)) if len <= *left => left,
            Body::Chunked(_) => return Skip::Lost,
            Body::UntilClose | Body::Rest => {
                *content += len;
                return Skip::Within;
            }
        };
        let taken = len.min(*left);
        *left -= taken;
        *content += taken;
        match (*self, len > taken) {
            (Body::Length(0), false) => Skip::Ends,
            (Body::Length(0), true) => Skip::Beyond,
            (Body::Chunked(Chunk::Data(0)), _) => {
                *self = Body::Chunked(Chunk::DataEnd { after_cr: false });
                Skip::Within
            }
            _ => Skip::Within,
        }
    }
}

impl Chunk {
    const START: Chunk = Chunk::Size { size: 0, digits: 0 };

    /// A bare LF ends a line here too, as nginx and HAProxy accept it.
    fn feed(&mut self, bytes: &[u8], content: &mut u64) -> Step {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match *self {
                Chunk::Size { size, digits } => {
                    *self = match (byte, digits) {
                        (b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F', 0..16) => {
                            let digit = char::from(byte).to_digit(16).unwrap_or_default();
                            Chunk::Size { size: size << 4 | u64::from(digit), digits: digits + 1 }
                        }
                        (b'\n', 1..) => Chunk::after_size(size),
                        (b'\r' | b' ' | b'\t' | b';', 1..) => Chunk::Extension { size },
                        _ => return Step::Broken(at),
                    };
                    at += 1;
                }
                Chunk::Extension { size } => match memchr(b'\n', &bytes[at..]) {
                    Some(end) => {
                        *self = Chunk::after_size(size);
                        at += end + 1;
                    }
                    None => return Step::More,
                },
                Chunk::Data(left) => {
                    let taken = left.min((bytes.len() - at) as u64);
                    *content += taken;
                    at += taken as usize;
                    *self = match left - taken {
                        0 => Chunk::DataEnd { after_cr: false },
                        left => Chunk::Data(left),
                    };
                }
                Chunk::DataEnd { after_cr } => {
                    *self = match byte {
                        b'\n' => Chunk::START,
                        b'\r' if !after_cr => Chunk::DataEnd { after_cr: true },
                        _ => return Step::Broken(at),
                    };
                    at += 1;
                }
                Chunk::Trailer { empty } => match byte {
                    b'\n' if empty => return Step::Done(at + 1),
                    b'\n' => {
                        *self = Chunk::Trailer { empty: true };
                        at += 1;
                    }
                    b'\r' => at += 1,
                    _ => {
                        *self = Chunk::Trailer { empty: false };
                        at = memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |end| at + end);
                    }
                },
            }
        }
        Step::More
    }

    fn after_size(size: u64) -> Chunk {
        if size == 0 { Chunk::Trailer { empty: true } } else { Chunk::Data(size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunked(bytes: &[u8]) -> (Step, u64) {
        let mut content = 0;
        let mut body = Body::Chunked(Chunk::START);
        let whole = body.feed(bytes, &mut content);
        // Byte by byte it must come to the same.
        let (mut single, mut again) = (Step::More, 0);
        let mut body = Body::Chunked(Chunk::START);
        for (at, byte) in bytes.iter().enumerate() {
            single = match body.feed(&[*byte], &mut again) {
                Step::More => continue,
                Step::Done(taken) => Step::Done(at + taken),
                Step::Broken(place) => Step::Broken(at + place),
            };
            break;
        }
        assert_eq!((whole, content), (single, again), "{}", bytes.escape_ascii());
        (whole, content)
    }

    #[test]
    fn chunks_with_extensions_and_trailers_end() {
        assert_eq!(chunked(b"3\r\nabc\r\n0\r\n\r\nHTTP"), (Step::Done(13), 3));
        assert_eq!(
            chunked(b"3;a=\"b\"\r\nabc\r\nA \r\n0123456789\r\n0\r\n\r\n"),
            (Step::Done(35), 13)
        );
        assert_eq!(chunked(b"0\r\nX: y\r\nZ: \r\n\r\n"), (Step::Done(16), 0));
        assert_eq!(chunked(b"3\nabc\n0\n\n"), (Step::Done(9), 3));
    }

    #[test]
    fn broken_chunks_say_where() {
        assert_eq!(chunked(b"3\r\nabc\r\nxyz\r\n"), (Step::Broken(8), 3));
        assert_eq!(chunked(b"3\r\nabcd\r\n"), (Step::Broken(6), 3));
        assert_eq!(chunked(b"\r\n"), (Step::Broken(0), 0));
        assert_eq!(chunked(b"11111111111111111\r\n"), (Step::Broken(16), 0));
    }

    #[test]
    fn a_gap_in_a_known_length_is_counted() {
        let mut content = 0;
        let mut body = Body::Length(10);
        assert_eq!(body.skip(4, &mut content), Skip::Within);
        assert_eq!(body.skip(6, &mut content), Skip::Ends);
        assert_eq!(content, 10);
        let mut body = Body::Length(10);
        assert_eq!(body.skip(11, &mut content), Skip::Beyond);
        assert_eq!(content, 20);
    }

    #[test]
    fn a_gap_in_a_chunk_is_counted_and_one_over_its_end_is_lost() {
        let mut content = 0;
        let mut body = Body::Chunked(Chunk::START);
        assert_eq!(body.feed(b"a\r\n12", &mut content), Step::More);
        assert_eq!(body.skip(8, &mut content), Skip::Within);
        assert_eq!(content, 10);
        assert_eq!(body.feed(b"\r\n0\r\n\r\n", &mut content), Step::Done(7));
        let mut body = Body::Chunked(Chunk::Data(3));
        assert_eq!(body.skip(4, &mut content), Skip::Lost);
    }
}
