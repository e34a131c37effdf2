//! Free disk space: how much must stay, and whether there is enough.

use super::ring::bytes;
use bytesize::ByteSize;
use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;

/// Free space that `--min-free` leaves when nothing is said: this share of the file system ...
const SHARE_DEFAULT: f64 = 10.0;
/// ... and at least so many bytes.
const BYTES_DEFAULT: u64 = 1 << 30;

/// Free space that there has to be more before writing goes on after it stopped, so that it does not stop
/// again at once: a quarter of what has to stay free, within these bounds, bytes.
const MORE: [u64; 2] = [1 << 20, 64 << 20];

/// Free space that is left to others, as `--min-free` says it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MinFree {
    /// Per cent of the file system.
    Percent(f64),
    /// Bytes.
    Bytes(u64),
    /// Ten per cent and at least 1 GiB.
    Usual,
}

/// Why a text is no amount of free space.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no free space to leave: say a share, as 5%, or an amount, as 2GiB")]
pub struct MinFreeError(String);

impl FromStr for MinFree {
    type Err = MinFreeError;

    fn from_str(text: &str) -> Result<MinFree, MinFreeError> {
        let error = || MinFreeError(text.to_owned());
        if let Some(percent) = text.trim().strip_suffix('%') {
            let percent: f64 = percent.trim().parse().map_err(|_| error())?;
            let usual = (0.0..100.0).contains(&percent);
            return usual.then_some(MinFree::Percent(percent)).ok_or_else(error);
        }
        bytes(text).map(MinFree::Bytes).map_err(|_| error())
    }
}

/// What is known of the file system of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Bytes that this user may still use.
    pub(super) free: u64,
    /// Bytes that have to stay free.
    pub(super) min_free: u64,
}

impl Room {
    /// Asks the file system of `directory`.
    pub(super) fn of(directory: &Path, min_free: MinFree) -> io::Result<Room> {
        let system = rustix::fs::statvfs(directory)?;
        let total = system.f_blocks.saturating_mul(system.f_frsize);
        let share = |percent: f64| (total as f64 * percent / 100.0) as u64;
        let min_free = match min_free {
            MinFree::Percent(percent) => share(percent),
            MinFree::Bytes(bytes) => bytes,
            MinFree::Usual => share(SHARE_DEFAULT).max(BYTES_DEFAULT),
        };
        Ok(Room { free: system.f_bavail.saturating_mul(system.f_frsize), min_free })
    }

    /// Whether `bytes` more may be written.
    pub(super) fn holds(self, bytes: u64) -> bool {
        self.free.saturating_sub(bytes) >= self.min_free
    }

    /// Whether writing may go on after it stopped for want of space: [`MORE`] than has to stay free, and
    /// `file` bytes beside.
    pub(super) fn holds_again(self, file: u64) -> bool {
        let [least, most] = MORE;
        let more = (self.min_free / 4).clamp(least, most);
        self.free >= self.min_free.saturating_add(more).saturating_add(file)
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [free, min_free] = [self.free, self.min_free].map(|bytes| ByteSize(bytes).display());
        write!(f, "{free} free, {min_free} have to stay free")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_amounts() {
        assert_eq!("5%".parse(), Ok(MinFree::Percent(5.0)));
        assert_eq!("2GiB".parse(), Ok(MinFree::Bytes(2 << 30)));
        assert_eq!("0B".parse(), Ok(MinFree::Bytes(0)));
        for text in ["", "5", "100%", "-1%", "NaN%", "x%", "2G"] {
            let error = text.parse::<MinFree>().unwrap_err().to_string();
            assert!(error.starts_with(text) && error.contains("2GiB"), "{error}");
        }
    }

    #[test]
    fn a_file_system_tells_its_room() {
        let here = std::env::temp_dir();
        let nothing = Room::of(&here, MinFree::Bytes(0)).unwrap();
        assert!(nothing.holds(0) && nothing.min_free == 0);
        let all = Room::of(&here, MinFree::Bytes(u64::MAX)).unwrap();
        assert!(!all.holds(0) && !all.holds_again(0));
        assert!(Room::of(&here, MinFree::Usual).unwrap().min_free >= BYTES_DEFAULT);
        assert!(Room::of(&here.join("not there"), MinFree::Usual).is_err());
    }

    #[test]
    fn it_goes_on_only_when_there_is_clearly_more() {
        let room = |mib: u64| Room { free: mib << 20, min_free: 1_000 << 20 };
        assert!(room(1_100).holds(100 << 20) && !room(1_099).holds(100 << 20));
        assert!(!room(1_063).holds_again(0) && room(1_064).holds_again(0));
        assert!(!room(1_113).holds_again(50 << 20) && room(1_114).holds_again(50 << 20));
        let full = Room { free: 0, min_free: 0 };
        assert!(full.holds(0) && !full.holds_again(0));
    }
}
