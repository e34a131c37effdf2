//! Requests of a proxy's clients that failed: what the proxy tried for them is no check.

use crate::packet::Address;
use std::collections::VecDeque;

/// Failed requests that are remembered, of 32 bytes each; the oldest are forgotten.
const REQUESTS_MAX: usize = 1 << 12;
/// Time in which a proxy goes on after a request or a failure came, nanoseconds.
const AT_ONCE: i64 = 25_000_000;
/// Nanoseconds between two attempts of HAProxy for one request (its manual, `retries`).
pub(super) const RETRY: i64 = 1_000_000_000;

/// Failed requests of all clients.
#[derive(Debug, Default)]
pub(super) struct FailedRequests {
    /// When the request came, when it was over, who asked.
    known: VecDeque<(i64, i64, Address)>,
    /// Requests that are not among them any more.
    pub(super) forgotten: u64,
}

impl FailedRequests {
    /// A request of `client` failed.
    pub(super) fn note(&mut self, client: Address, asked: i64, over: i64) {
        if self.known.len() >= REQUESTS_MAX && self.known.pop_front().is_some() {
            self.forgotten += 1;
        }
        self.known.push_back((asked, over, client));
    }

    /// Whether an attempt of `source` at `began` comes when one for such a request would: at once, or
    /// whole seconds later.
    pub(super) fn explain(&self, source: Address, began: i64) -> bool {
        self.known.iter().any(|(asked, over, client)| {
            *client != source
                && (*asked..=over.saturating_add(AT_ONCE)).contains(&began)
                && began.saturating_sub(*asked) % RETRY <= AT_ONCE
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const PROXY: Address = [1; 16];
    const CLIENT: Address = [2; 16];

    #[test]
    fn what_comes_with_a_failed_request_or_its_retries_is_explained_by_it() {
        let mut requests = FailedRequests::default();
        requests.note(CLIENT, 10 * SECOND, 13 * SECOND + 4_000_000);
        let explained = |at: i64| requests.explain(PROXY, at);
        assert!(explained(10 * SECOND + 200_000) && explained(13 * SECOND + 3_000_000));
        for at in [9 * SECOND, 10 * SECOND + SECOND / 2, 14 * SECOND] {
            assert!(!explained(at), "{at}");
        }
        assert!(!requests.explain(CLIENT, 10 * SECOND), "its own");
    }

    #[test]
    fn what_is_forgotten_is_counted() {
        let mut requests = FailedRequests::default();
        for at in 0..REQUESTS_MAX as i64 + 3 {
            requests.note(CLIENT, at * SECOND, at * SECOND);
        }
        assert_eq!((requests.forgotten, requests.known.len()), (3, REQUESTS_MAX));
        assert!(!requests.explain(PROXY, 0) && requests.explain(PROXY, 100 * SECOND));
    }
}
