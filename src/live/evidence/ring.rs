//! How many files are kept and when the next one begins, as `--ring` says it.

use bytesize::ByteSize;
use jiff::SignedDuration;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Most files of a ring; with more, listing the directory takes longer than a person waits.
const FILES_MAX: u32 = 100_000;
/// Smallest size of a file: room for the headers and the largest packet.
const SIZE_MIN: u64 = 1_000_000;
/// Shortest time of a file, seconds.
const TIME_MIN: u64 = 1;

/// A ring of files: when one more would be too many, the oldest is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    /// Files kept, the one being written included.
    pub files: u32,
    /// The next file begins before this one grows beyond so many bytes.
    pub size: Option<u64>,
    /// The next file begins with the first packet after this one has been written to for so long.
    pub time: Option<Duration>,
}

impl Default for Ring {
    /// A gigabyte in all.
    fn default() -> Ring {
        Ring { files: 10, size: Some(100_000_000), time: None }
    }
}

/// Why a text is no ring.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text}: {why}; say how many files of which size or time, for example 10x100MB, 24x1h or \
     50x100MB/5m"
)]
pub struct RingError {
    text: String,
    why: String,
}

impl FromStr for Ring {
    type Err = RingError;

    fn from_str(text: &str) -> Result<Ring, RingError> {
        parse(text).map_err(|why| RingError { text: text.to_owned(), why })
    }
}

fn parse(text: &str) -> Result<Ring, String> {
    let Some((files, limits)) = text.trim().split_once(['x', '*', '×']) else {
        return Err("it does not say how many files".to_owned());
    };
    let files = match files.trim().parse() {
        Ok(files @ 2..=FILES_MAX) => files,
        Ok(0 | 1) => return Err("a ring needs 2 files or more".to_owned()),
        _ => return Err(format!("'{files}' is no number of files up to {FILES_MAX}")),
    };
    let mut ring = Ring { files, size: None, time: None };
    for limit in limits.split('/') {
        if let Ok(time) = limit.trim().parse::<SignedDuration>() {
            let time = Duration::try_from(time)
                .ok()
                .filter(|time| time.as_secs() >= TIME_MIN)
                .ok_or_else(|| format!("'{limit}' is less than a second"))?;
            if ring.time.replace(time).is_some() {
                return Err("it states two times".to_owned());
            }
        } else {
            let size = bytes(limit)?;
            if size < SIZE_MIN {
                return Err(format!("'{limit}' is less than 1 MB"));
            }
            if ring.size.replace(size).is_some() {
                return Err("it states two sizes".to_owned());
            }
        }
    }
    Ok(ring)
}

/// A number of bytes with its unit: `100MB` (of 1000) or `100MiB` (of 1024). `100M` is not
/// understood: to tcpdump it is 1024 squared, to dumpcap nothing, and `100m` are minutes.
pub fn bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').trim();
    if unit.is_empty() || !unit.ends_with(['B', 'b']) {
        return Err(format!("'{text}' is no number of bytes with its unit, as in 100MB or 2GiB"));
    }
    match text.parse() {
        Ok(ByteSize(bytes)) => Ok(bytes),
        Err(_) => Err(format!("'{text}' is no number of bytes, as in 100MB or 2GiB")),
    }
}

impl fmt::Display for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} files", self.files)?;
        if let Some(size) = self.size {
            write!(f, " of {}", ByteSize(size).display().si())?;
        }
        if let Some(time) = self.time {
            let time = SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
            let or = if self.size.is_some() { "or" } else { "of" };
            write!(f, " {or} {time:#}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(text: &str) -> Ring {
        text.parse().unwrap()
    }

    #[test]
    fn sizes_times_and_both() {
        let (size, time) = (Some(100_000_000), Some(Duration::from_secs(300)));
        assert_eq!(ring("10x100MB"), Ring::default());
        assert_eq!(ring("10x100MB/5m"), Ring { files: 10, size, time });
        assert_eq!(ring("10 x 5m / 100 MB"), Ring { files: 10, size, time });
        assert_eq!(ring("24x1h").time, Some(Duration::from_secs(3_600)));
        assert_eq!(ring("24x90min").time, Some(Duration::from_secs(5_400)));
        assert_eq!(ring("3x2GiB").size, Some(2 << 30));
        assert_eq!(ring("3x1.5GB").size, Some(1_500_000_000));
    }

    #[test]
    fn a_ring_says_what_it_is() {
        assert_eq!(ring("10x100MB/5m").to_string(), "10 files of 100.0 MB or 5m");
        assert_eq!(ring("24x1h").to_string(), "24 files of 1h");
    }

    #[test]
    fn what_is_no_ring_is_told_why() {
        for (text, why) in [
            ("100MB", "how many files"),
            ("1x100MB", "2 files"),
            ("0x1h", "2 files"),
            ("tenx1h", "'ten' is no number"),
            ("10x", "unit"),
            ("10x100", "unit"),
            ("10x100M", "unit"),
            ("10x100XB", "number of bytes"),
            ("10x1kB", "less than 1 MB"),
            ("10x10ms", "less than a second"),
            ("10x-5m", "less than a second"),
            ("10x1h/2h", "two times"),
            ("10x1GB/2GB", "two sizes"),
            ("99999999x1h", "up to"),
        ] {
            let error = text.parse::<Ring>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text}: ")), "{error}");
            assert!(error.contains(why) && error.contains("10x100MB"), "{text}: {error}");
        }
    }
}
