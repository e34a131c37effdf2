//! Large tables, in huge pages.
//!
//! A table of 30 MB comes into being by 8 000 page faults, one for each 4 KiB that are written. Asked to, Linux gives
//! 2 MiB at once instead. Beside a capture of 1 GB, a log of 250 000 lines took a tenth less time with two such tables.

#![allow(unsafe_code)]

/// Least memory for which it is worth it, bytes: several huge pages.
const LEAST: usize = 4 << 20;

/// An empty vector with room for `count` items: where that is large, in huge pages, if the system has them for those who
/// ask (`/sys/kernel/mm/transparent_hugepage/enabled` says `madvise` or `always`). What is not used takes no memory.
pub(crate) fn with_room<T>(count: usize) -> Vec<T> {
    let mut room = Vec::with_capacity(count);
    ask(room.spare_capacity_mut());
    room
}

/// Asks for huge pages behind this memory.
#[cfg(all(target_os = "linux", not(miri)))]
fn ask<T>(memory: &mut [std::mem::MaybeUninit<T>]) {
    let bytes = std::mem::size_of_val(memory);
    if bytes < LEAST {
        return;
    }
    // Whole pages, also those that the vector shares at its ends: a mapping of which only a part is told so could not
    // grow in place any more (mremap(2)).
    // SAFETY: it reads a constant of the system.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let Some(page) = usize::try_from(page).ok().filter(|page| page.is_power_of_two()) else {
        return;
    };
    let start = memory.as_mut_ptr().cast::<libc::c_void>();
    let before = start.addr() % page;
    let len = (before + bytes).next_multiple_of(page);
    // SAFETY: MADV_HUGEPAGE changes no byte and takes no page away, only what the system may back pages with
    // (madvise(2)): so it does not matter whose the rest of the first and the last page is. All of them are mapped, as
    // some of each is. Where it is refused, all is as without it.
    unsafe {
        libc::madvise(start.wrapping_byte_sub(before), len, libc::MADV_HUGEPAGE);
    }
}

/// Here the system knows best.
#[cfg(not(all(target_os = "linux", not(miri))))]
fn ask<T>(_: &mut [std::mem::MaybeUninit<T>]) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_there_stays_as_the_room_is_outgrown() {
        for count in [0, 1, 1_000, LEAST / 8, LEAST / 8 + 1, LEAST] {
            let mut room = with_room(count);
            assert!(room.is_empty() && room.capacity() >= count);
            let many = count as u64 + 70_000;
            room.extend(0..many);
            assert!(room.iter().copied().eq(0..many), "{count}");
        }
    }

    /// Whether the system was asked for huge pages behind `room`; `None` where it has none, or does not tell.
    #[cfg(target_os = "linux")]
    fn is_asked(room: &[u64]) -> Option<bool> {
        std::fs::metadata("/sys/kernel/mm/transparent_hugepage").ok()?;
        let maps = std::fs::read_to_string("/proc/self/smaps").ok()?;
        let at = room.as_ptr().addr();
        let holds = |line: &str| {
            let (from, to) = line.split(' ').next()?.split_once('-')?;
            let end = |text| usize::from_str_radix(text, 16).ok();
            Some((end(from)?..end(to)?).contains(&at))
        };
        let mut lines = maps.lines().skip_while(|line| holds(line) != Some(true));
        lines.find_map(|line| Some(line.strip_prefix("VmFlags:")?.split(' ').any(|it| it == "hg")))
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn large_room_is_in_huge_pages_also_where_it_has_grown() {
        // So large that it has a mapping of its own.
        let mut room = with_room(64 << 20 >> 3);
        room.push(1);
        assert_ne!(is_asked(&room), Some(false));
        room.reserve_exact(96 << 20 >> 3);
        assert_ne!(is_asked(&room), Some(false));
        // The file is understood.
        let other = vec![1; 64 << 20 >> 3];
        assert_ne!(is_asked(&other), Some(true));
    }

    #[test]
    fn items_without_a_size_need_no_room() {
        let mut room = with_room(LEAST);
        room.extend([(), ()]);
        assert_eq!(room.len(), 2);
    }
}
