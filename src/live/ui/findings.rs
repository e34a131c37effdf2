//! The findings that can be opened: the newest of each cause, so that many of one do not hide the
//! few of another.

use crate::cause::Finding;
use crate::report::so_far::asked;
use hashbrown::HashMap;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Findings of one cause that are kept; with up to 9 kB each and about 40 causes at most 40 MB, and
/// 1 MB for each cause that floods.
pub const OF_CAUSE_MAX: usize = 100;
/// Findings that are known again when more is told of them. A connection is seldom over later than
/// so many failures.
pub const KNOWN_MAX: usize = 1 << 13;

/// What tells a failure from others: its connection, and the position of its request on it.
pub type Failure = (u64, u32);

/// A finding with what is needed to list it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Findings are numbered from 1 in the order in which they became known.
    pub number: u64,
    /// The finding.
    pub finding: Arc<Finding>,
    /// Its connection is not over, and its verdict may still change.
    pub early: bool,
    /// Method and target of the request.
    pub asked: String,
    /// What a text filter searches, in lower case.
    pub text: String,
}

impl Listed {
    /// What tells it from others.
    pub fn failure(&self) -> Failure {
        failure(&self.finding)
    }
}

/// What tells a failure from others.
pub fn failure(finding: &Finding) -> Failure {
    (finding.flow, finding.exchange.as_ref().map_or(0, |exchange| exchange.ordinal))
}

/// The lists.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    of_cause: BTreeMap<&'static str, VecDeque<Arc<Listed>>>,
    /// Findings so far.
    pub total: u64,
}

impl Findings {
    /// Lists a finding, in the place of `old` if there is one.
    pub fn put(&mut self, finding: Arc<Finding>, early: bool, old: Option<&Listed>) -> Arc<Listed> {
        let number = match old {
            Some(old) => {
                self.take(old);
                old.number
            }
            None => {
                self.total += 1;
                self.total
            }
        };
        let asked = finding.exchange.as_deref().map(asked).unwrap_or_default();
        let (cause, server) = (finding.cause.id, finding.server.socket());
        let text = format!("{cause} {server} {asked}").to_lowercase();
        let listed = Arc::new(Listed { number, finding, early, asked, text });
        let list = self.of_cause.entry(cause).or_default();
        let later = list.iter().take_while(|newer| newer.number > number).count();
        list.insert(later, Arc::clone(&listed));
        list.truncate(OF_CAUSE_MAX);
        listed
    }

    /// It is none, or another one.
    pub fn take(&mut self, old: &Listed) {
        if let Some(list) = self.of_cause.get_mut(old.finding.cause.id) {
            list.retain(|listed| listed.number != old.number);
        }
    }

    /// All that are kept, the newest first.
    pub fn newest(&self) -> Vec<&Arc<Listed>> {
        let mut all: Vec<&Arc<Listed>> = self.of_cause.values().flatten().collect();
        all.sort_by_key(|listed| std::cmp::Reverse(listed.number));
        all
    }
}

/// The last findings by what tells them from others.
#[derive(Debug, Default)]
pub struct Known {
    listed: HashMap<Failure, Arc<Listed>>,
    order: VecDeque<Failure>,
}

impl Known {
    /// The finding about this failure.
    pub fn get(&self, failure: Failure) -> Option<&Arc<Listed>> {
        self.listed.get(&failure)
    }

    /// It is no failure.
    pub fn forget(&mut self, failure: Failure) {
        self.listed.remove(&failure);
    }

    /// Remembers it in the place of what was known.
    pub fn put(&mut self, listed: Arc<Listed>) {
        let failure = listed.failure();
        if self.listed.insert(failure, listed).is_none() {
            self.order.push_back(failure);
        }
        if self.order.len() > KNOWN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.listed.remove(&oldest);
        }
    }
}
