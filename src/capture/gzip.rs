//! gzip with any number of members (RFC 1952), as rotation and `cat` produce it.

use std::io::{self, BufRead, Read};

use flate2::{Crc, Decompress, FlushDecompress, Status};

/// Decompresses gzip; on damage, first gives all that was decompressed before it.
pub(super) struct Gzip<R> {
    input: R,
    inflate: Decompress,
    crc: Crc,
    state: State,
    failure: Option<io::Error>,
}

enum State {
    FirstMember,
    NextMember,
    Data,
    Trailer,
}

impl<R: BufRead> Gzip<R> {
    pub(super) fn new(input: R) -> Gzip<R> {
        Gzip {
            input,
            inflate: Decompress::new(false),
            crc: Crc::new(),
            state: State::FirstMember,
            failure: None,
        }
    }

    /// RFC 1952, 2.3.
    fn header(&mut self) -> io::Result<()> {
        let mut fixed = [0; 10];
        self.input.read_exact(&mut fixed)?;
        if fixed[..3] != [0x1f, 0x8b, 8] {
            return Err(damaged("other data after the compressed part"));
        }
        let flags = fixed[3];
        if flags & 4 != 0 {
            let mut length = [0; 2];
            self.input.read_exact(&mut length)?;
            self.skip(u64::from(u16::from_le_bytes(length)))?;
        }
        // The name and the comment, each ended by a zero byte.
        for flag in [8, 16] {
            if flags & flag != 0 {
                self.input.skip_until(0)?;
            }
        }
        if flags & 2 != 0 {
            self.skip(2)?;
        }
        self.inflate.reset(false);
        self.crc.reset();
        Ok(())
    }

    fn skip(&mut self, count: u64) -> io::Result<()> {
        io::copy(&mut self.input.by_ref().take(count), &mut io::sink()).map(drop)
    }

    fn trailer(&mut self) -> io::Result<()> {
        let mut sum = [0; 8];
        self.input.read_exact(&mut sum)?;
        let mut expected = [0; 8];
        expected[..4].copy_from_slice(&self.crc.sum().to_le_bytes());
        expected[4..].copy_from_slice(&self.crc.amount().to_le_bytes());
        if sum == expected { Ok(()) } else { Err(damaged("checksum does not match")) }
    }

    /// Whether the input ends, or goes on with the zero bytes of a tape or a block device.
    fn over(&mut self) -> io::Result<bool> {
        loop {
            let input = self.input.fill_buf()?;
            if input.is_empty() {
                return Ok(true);
            }
            let zeros = input.iter().take_while(|byte| **byte == 0).count();
            if zeros == 0 {
                return Ok(false);
            }
            self.input.consume(zeros);
        }
    }
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            match self.state {
                State::FirstMember => {
                    self.header()?;
                    self.state = State::Data;
                }
                State::NextMember => {
                    if self.over()? {
                        return Ok(0);
                    }
                    self.state = State::FirstMember;
                }
                State::Data => {
                    let input = self.input.fill_buf()?;
                    if input.is_empty() {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    let before = (self.inflate.total_in(), self.inflate.total_out());
                    let status = self.inflate.decompress(input, into, FlushDecompress::None);
                    let used = (self.inflate.total_in() - before.0) as usize;
                    let made = (self.inflate.total_out() - before.1) as usize;
                    self.input.consume(used);
                    self.crc.update(&into[..made]);
                    match status {
                        Ok(Status::StreamEnd) => self.state = State::Trailer,
                        Ok(_) if used == 0 && made == 0 => {
                            self.failure = Some(damaged("no progress"));
                        }
                        Ok(_) => {}
                        Err(error) => self.failure = Some(damaged(&error.to_string())),
                    }
                    if made > 0 {
                        return Ok(made);
                    }
                }
                State::Trailer => {
                    self.trailer()?;
                    self.state = State::NextMember;
                }
            }
        }
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "hi\n" with a name, a comment, an extra field and a header checksum.
    fn with_everything() -> Vec<u8> {
        let mut bytes = vec![0x1f, 0x8b, 8, 2 | 4 | 8 | 16, 0, 0, 0, 0, 0, 3, 3, 0, 1, 2, 3];
        bytes.extend(b"name\0comment\0\x12\x34");
        bytes.extend([0xcb, 0xc8, 0xe4, 0x02, 0x00]);
        let mut crc = Crc::new();
        crc.update(b"hi\n");
        bytes.extend(crc.sum().to_le_bytes());
        bytes.extend(3u32.to_le_bytes());
        bytes
    }

    #[test]
    fn every_header_field_is_stepped_over() {
        let mut text = String::new();
        Gzip::new(&with_everything()[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text, "hi\n");
    }

    #[test]
    fn zeros_after_the_last_member_are_ignored_and_other_bytes_are_not() {
        let mut text = Vec::new();
        let zeros = [with_everything(), vec![0; 512]].concat();
        Gzip::new(&zeros[..]).read_to_end(&mut text).unwrap();
        assert_eq!(text, b"hi\n");
        let other = [with_everything(), b"something else".to_vec()].concat();
        text.clear();
        assert!(Gzip::new(&other[..]).read_to_end(&mut text).is_err());
        assert_eq!(text, b"hi\n");
    }

    #[test]
    fn a_wrong_checksum_is_reported_after_the_data() {
        let mut bytes = with_everything();
        let last = bytes.len() - 5;
        bytes[last] ^= 1;
        let mut text = Vec::new();
        assert!(Gzip::new(&bytes[..]).read_to_end(&mut text).is_err());
        assert_eq!(text, b"hi\n");
    }
}
