//! What is left to do when a signal ends the program.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::{fs, io, thread};
use why502::report::output::remove_unfinished;

/// From now on a signal that ends the program removes files in the making first. It ends as it would have
/// without that, by the signal.
pub(crate) fn leave_nothing() -> io::Result<()> {
    let ignored = ignored(&fs::read_to_string("/proc/self/status").unwrap_or_default());
    let ends = |signal: &i32| ignored & (1 << (signal - 1)) == 0;
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM].into_iter().filter(ends))?;
    thread::Builder::new().name("signal".to_owned()).spawn(move || {
        for signal in signals.forever() {
            remove_unfinished();
            let _ = emulate_default_handler(signal);
        }
    })?;
    Ok(())
}

/// Signals that whoever started this program wants ignored, as nohup does: a bit each, from SIGHUP on
/// (proc_pid_status(5), `SigIgn`).
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nohup_is_heard() {
        let status = "Name:\twhy502\nSigIgn:\t0000000000001001\nSigCgt:\t0000000100000000\n";
        assert_eq!(ignored(status), 0x1001);
        assert_eq!(ignored(""), 0);
    }
}
