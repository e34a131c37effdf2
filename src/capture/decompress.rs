//! Compressed captures: recognised by their first bytes, whatever the file is called.
//!
//! A damaged stream gives all that comes before the damage. The decoders of most crates drop
//! what they had produced in the call that fails, so gzip and zstd are driven here, step by step,
//! and xz in small pieces.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use lz4_flex::frame::FrameDecoder;
use lzma_rust2::XzReader;
use zstd::stream::raw::Operation;

use super::gzip::Gzip;

/// Compressed bytes read at a time.
const INPUT: usize = 128 << 10;

/// xz loses what it has produced in a call that fails: little is asked for in one call.
const XZ_PIECE: usize = 4096;

/// `xz -9` needs 65 MiB; a file may not ask for more than a few times that.
const XZ_MEMORY_KIB: u32 = 256 << 10;

/// A stream that has been looked into.
pub(crate) struct Opened {
    /// The decompressed bytes.
    pub(crate) stream: Box<dyn Read + Send>,
    /// `gzip`, `zstd`, `xz`, `lz4`.
    pub(crate) compression: Option<&'static str>,
}

/// Name of the compression whose magic `head` starts with.
pub(super) fn recognise(head: &[u8]) -> Option<&'static str> {
    match head {
        // RFC 1952, 2.3.1; deflate is the only method there is.
        [0x1f, 0x8b, 8, ..] => Some("gzip"),
        // RFC 8878, 3.1.1 and 3.1.2 (a skippable frame first, as pzstd writes).
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some("zstd"),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some("xz"),
        [0x04, 0x22, 0x4d, 0x18, ..] => Some("lz4"),
        _ => None,
    }
}

/// Decompresses `source` if it is compressed.
pub(crate) fn open(mut source: Box<dyn Read + Send>) -> io::Result<Opened> {
    let mut head = Vec::new();
    source.by_ref().take(6).read_to_end(&mut head)?;
    let compression = recognise(&head);
    let whole = Cursor::new(head).chain(source);
    let Some(name) = compression else {
        return Ok(Opened { stream: Box::new(whole), compression });
    };
    let input = BufReader::with_capacity(INPUT, whole);
    let decoder: Box<dyn Read + Send> = match name {
        "gzip" => Box::new(Gzip::new(input)),
        "zstd" => Box::new(Zstd::new(input)?),
        "xz" => Box::new(Pieces(XzReader::new_mem_limit(input, true, XZ_MEMORY_KIB))),
        _ => Box::new(Lz4::new(input)),
    };
    Ok(Opened { stream: Box::new(Named { name, decoder }), compression })
}

/// Says in errors which decoder they come from.
struct Named {
    name: &'static str,
    decoder: Box<dyn Read + Send>,
}

impl Read for Named {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let name = self.name;
        self.decoder.read(into).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            io::ErrorKind::UnexpectedEof => {
                io::Error::new(error.kind(), format!("the {name} data is cut short"))
            }
            kind => io::Error::new(kind, format!("the {name} data is damaged ({error})")),
        })
    }
}

/// Frames of zstd, block by block: a call gets no more input than the one that the decoder asks
/// for, so that a damaged block does not take earlier ones with it.
struct Zstd<R> {
    input: R,
    decoder: zstd::stream::raw::Decoder<'static>,
    wanted: usize,
    /// The last call had no room for all of its output.
    full: bool,
}

impl<R: BufRead> Zstd<R> {
    fn new(input: R) -> io::Result<Zstd<R>> {
        let decoder = zstd::stream::raw::Decoder::new()?;
        Ok(Zstd { input, decoder, wanted: 1, full: false })
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            let input = if self.full { &[][..] } else { self.input.fill_buf()? };
            if input.is_empty() && !self.full {
                // 0 is wanted after a frame that is complete.
                return if self.wanted == 0 {
                    Ok(0)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
            let step = input.len().min(self.wanted.max(1));
            let status = self.decoder.run_on_buffers(&input[..step], into)?;
            if !self.full {
                self.input.consume(status.bytes_read);
            }
            // Flushing at the end of a frame says 0, too; with no input it says what comes next.
            if status.bytes_read > 0 || status.remaining == 0 {
                self.wanted = status.remaining;
            }
            self.full = status.bytes_written == into.len();
            if status.bytes_written > 0 {
                return Ok(status.bytes_written);
            }
        }
    }
}

/// lz4 frames: the crate says "end" after each of several frames, and also where a block header
/// is missing.
struct Lz4<R: Read>(FrameDecoder<Tail<R>>);

impl<R: BufRead> Lz4<R> {
    fn new(input: R) -> Lz4<R> {
        Lz4(FrameDecoder::new(Tail { input, last: [0; 8] }))
    }
}

impl<R: BufRead> Read for Lz4<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.0.read(into)?;
            if count > 0 || into.is_empty() {
                return Ok(count);
            }
            let tail = self.0.get_mut();
            if tail.input.fill_buf()?.is_empty() {
                // A frame ends with a block length of zero, then perhaps a checksum.
                let ended = tail.last[..4] == [0; 4] || tail.last[4..] == [0; 4];
                return if ended { Ok(0) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }
}

/// Remembers the last bytes that were read.
struct Tail<R> {
    input: R,
    last: [u8; 8],
}

impl<R: Read> Read for Tail<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(into)?;
        let new = &into[count.saturating_sub(8)..count];
        self.last.rotate_left(new.len());
        self.last[8 - new.len()..].copy_from_slice(new);
        Ok(count)
    }
}

/// Reads in small pieces, see [`XZ_PIECE`].
struct Pieces<R>(R);

impl<R: Read> Read for Pieces<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let piece = into.len().min(XZ_PIECE);
        self.0.read(&mut into[..piece])
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::bytes::Order;
    use super::super::testing::{PcapFile, read, try_read};

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        // With the checksum that the program writes, and the library does not.
        let mut writer = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        writer.include_checksum(true).unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let options = lzma_rust2::XzOptions::with_preset(0);
        let mut writer = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn lz4(bytes: &[u8]) -> Vec<u8> {
        let mut info = lz4_flex::frame::FrameInfo::new();
        info.block_size = lz4_flex::frame::BlockSize::Max64KB;
        let mut writer = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    type Compress = fn(&[u8]) -> Vec<u8>;
    const ALL: [(&str, Compress); 4] = [("gzip", gzip), ("zstd", zstd), ("xz", xz), ("lz4", lz4)];

    /// 1,000 packets that do not compress well, and their file.
    fn capture() -> Vec<u8> {
        let mut file = PcapFile::new(0xa1b2_c3d4, Order::Little, 1);
        let mut state = 1u32;
        for number in 0..1_000 {
            let bytes: Vec<u8> = (0..500)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8
                })
                .collect();
            file = file.record(1_000 + number / 100, 1, &bytes);
        }
        file.bytes
    }

    #[test]
    fn every_compression_also_in_several_parts() {
        let bytes = capture();
        let (front, back) = bytes.split_at(233_333);
        for (name, compress) in ALL {
            for stored in [compress(&bytes), [compress(front), compress(back)].concat()] {
                let size = stored.len() as u64;
                let (frames, info) = read(stored);
                assert_eq!((frames.len(), info.compression), (1_000, Some(name)));
                assert_eq!((info.bytes, info.warnings), (size, vec![]));
            }
        }
    }

    #[test]
    fn what_comes_before_a_cut_is_read() {
        let bytes = capture();
        for (name, compress) in ALL {
            let mut stored = compress(&bytes);
            stored.truncate(stored.len() / 2);
            let (frames, info) = read(stored);
            assert!(frames.len() > 240, "{name}: {}", frames.len());
            assert!(info.damaged_at.is_some());
            assert_eq!(info.warnings.len(), 1, "{name}: {:?}", info.warnings);
            assert!(info.warnings[0].contains(name), "{:?}", info.warnings);
        }
    }

    #[test]
    fn lz4_that_ends_between_two_blocks_is_cut_short() {
        let stored = lz4(&capture());
        let block = 7 + 4 + (Order::Little.u32(&stored, 7) & 0x7fff_ffff) as usize;
        let (frames, info) = read(stored[..block].to_vec());
        assert_eq!(frames.len(), (65_536 - 24) / 516);
        assert!(info.warnings[0].contains("the lz4 data is cut short"), "{:?}", info.warnings);
    }

    #[test]
    fn what_comes_before_damage_is_read() {
        let bytes = capture();
        for (name, compress) in ALL {
            let mut stored = compress(&bytes);
            let middle = stored.len() / 2;
            stored[middle..middle + 5_000].fill(0xff);
            let (frames, info) = read(stored);
            assert!(frames.len() > 240, "{name}: {}", frames.len());
            assert!(!info.warnings.is_empty(), "{name}");
        }
    }

    #[test]
    fn highly_compressed_data_before_damage_is_not_lost() {
        // The whole input fits one read of the decoder, so a failing call would lose it all.
        let mut file = PcapFile::new(0xa1b2_c3d4, Order::Little, 1);
        for number in 0..1_000 {
            file = file.record(1_000 + number / 100, 1, &[7; 500]);
        }
        for (name, compress) in ALL {
            let mut stored = compress(&file.bytes);
            let at = stored.len() * 3 / 4;
            stored[at..].fill(0xff);
            let (frames, info) = read(stored);
            assert!(frames.len() > 240, "{name}: {} {:?}", frames.len(), info.warnings);
            assert!(!info.warnings.is_empty(), "{name}");
        }
    }

    #[test]
    fn changed_bytes_never_panic() {
        let bytes = capture();
        for (_, compress) in ALL {
            let stored = compress(&bytes[..60_000]);
            for seed in 0..25usize {
                let mut changed = stored.clone();
                for n in 0..3 {
                    let at = 6 + (seed * 7_919 + n * 104_729) % (changed.len() - 6);
                    changed[at] ^= 1 << (seed % 8);
                }
                let _ = try_read(changed);
            }
        }
    }
}
