//! Labels with a bound on their values: what is beyond it shares one.

use std::collections::BTreeMap;

/// The value that all others share.
pub(super) const OTHER: &str = "other";

/// The values of a label, by what they stand for. First come, first named.
#[derive(Clone, Debug)]
pub(super) struct Labels<K> {
    names: BTreeMap<K, String>,
    max: usize,
}

impl<K: Ord> Labels<K> {
    /// At most `max` values beside that of the others.
    pub(super) fn new(max: usize) -> Labels<K> {
        Labels { names: BTreeMap::new(), max }
    }

    /// The value of `key`, and whether it is one of its own. `name` says what it is called when it
    /// is met for the first time.
    pub(super) fn of(&mut self, key: K, name: impl FnOnce() -> String) -> (&str, bool) {
        if self.names.len() >= self.max && !self.names.contains_key(&key) {
            return (OTHER, false);
        }
        (self.names.entry(key).or_insert_with(name), true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_late_shares_a_value() {
        let mut labels = Labels::new(2);
        let mut of = |key: u8| {
            let (name, own) = labels.of(key, || format!("target {key}"));
            (name.to_owned(), own)
        };
        for _ in 0..2 {
            assert_eq!(of(7), ("target 7".to_owned(), true));
            assert_eq!(of(8), ("target 8".to_owned(), true));
            assert_eq!(of(1), ("other".to_owned(), false));
        }
    }
}
