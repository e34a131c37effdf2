//! Two halves of the work at once.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::thread::{self, Builder};

/// Fewest lines, requests or the like for which another thread is worth its start.
const WORTH_A_THREAD: usize = 1 << 13;

/// Whether two threads do so much faster: there is another processor.
pub(super) fn pays(many: usize) -> bool {
    many >= WORTH_A_THREAD && thread::available_parallelism().map_or(1, NonZero::get) > 1
}

/// Does two things with so many items, at once where that pays, else one after the other.
pub(super) fn both<A: Send, B>(
    many: usize,
    one: impl Fn() -> A + Sync,
    other: impl FnOnce() -> B,
) -> (A, B) {
    if !pays(many) {
        return (one(), other());
    }
    thread::scope(|scope| match Builder::new().name("logs".into()).spawn_scoped(scope, &one) {
        Ok(ahead) => {
            let other = other();
            (ahead.join().unwrap_or_else(|panic| resume_unwind(panic)), other)
        }
        // No more threads can be had: a sandbox, or a limit.
        Err(_) => (one(), other()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_done() {
        let words = ["one".to_owned(), "other".to_owned()];
        for many in [1, WORTH_A_THREAD] {
            assert_eq!(both(many, || words[0].len(), || words[1].len()), (3, 5));
        }
    }

    #[test]
    #[should_panic(expected = "this one")]
    fn a_panic_of_either_is_one() {
        both(WORTH_A_THREAD, || assert!(std::hint::black_box(false), "this one"), || ());
    }
}
