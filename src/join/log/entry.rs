//! A log line that is kept until all flows are known.

use super::keys::Ids;
use super::kind::{Kind, Lines};
use super::line::{Attempt, Attempts, Line, Tries};
use super::servers::ServerName;
use crate::packet::Endpoint;
use crate::time::Timestamp;
use foldhash::fast::FixedState;
use std::hash::BuildHasher;

/// Bytes kept of what a failing line says.
const WORDS_MAX: usize = 600;

/// Where a line stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Index in [`Logs::files`](super::Logs::files).
    pub file: u32,
    /// From 1.
    pub line: u64,
}

/// A time, where there is one, in eight bytes: there are as many of them as lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Maybe(i64);

impl Maybe {
    /// No log has a line of the year 1677.
    pub(super) const NONE: Maybe = Maybe(i64::MIN);

    pub(super) fn get(self) -> Option<Timestamp> {
        (self != Maybe::NONE).then_some(Timestamp(self.0))
    }
}

impl From<Option<Timestamp>> for Maybe {
    fn from(at: Option<Timestamp>) -> Maybe {
        at.map_or(Maybe::NONE, |at| Maybe(at.0))
    }
}

/// What is kept of a [`Line`].
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) kind: Kind,
    pub(super) began: Maybe,
    pub(super) sent: Maybe,
    pub(super) ended: Maybe,
    pub(super) resolution: i64,
    pub(super) client: Option<Endpoint>,
    pub(super) attempts: Attempts,
    pub(super) undispatched: bool,
    pub(super) failed: bool,
    /// It or an attempt of it failed, or the capture may have its request: known once lines are compared with that.
    pub(super) wanted: bool,
    pub(super) status: Option<u16>,
    /// Digest of what was asked; 0: not known.
    pub(super) asked: u64,
    pub(super) ids: Ids,
    /// Its last target, where the log has a name of that.
    pub(super) server: Option<ServerName>,
    /// What only few lines have.
    rare: Option<Box<Rare>>,
}

#[derive(Clone, Debug, Default)]
struct Rare {
    /// From where the proxy connected to its target.
    local: Option<Endpoint>,
    /// The proxy's own address, of a line about a health check.
    node: Option<Endpoint>,
    /// The connections of a line that failed or of which some did.
    tries: Option<Tries>,
    /// What a failing line says of itself, see [`Line::own_cause`].
    own_cause: Option<&'static str>,
    /// A failing line as it stands.
    text: Option<Box<[u8]>>,
}

/// What a failing line says, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// Method and target; empty when the line has none.
    pub request: String,
    /// The fields that matter, by their names.
    pub fields: Vec<(&'static str, String)>,
}

impl Words {
    /// `elb_status_code 502, target_status_code -`.
    pub fn said(&self) -> String {
        let one = |(name, value): &(&str, String)| format!("{name} {value}");
        self.fields.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

impl Entry {
    /// `keys` are those of the line, which is left without its attempts.
    pub(super) fn keyed(
        place: Place,
        kind: Kind,
        (asked, ids): (u64, Ids),
        line: &mut Line<'_>,
    ) -> Entry {
        let tried_again = line.tries.is_some_and(|tries| tries.failed > 0);
        let is_rare = line.failed || kind == Kind::AlbHealthCheck || tried_again;
        Entry {
            place,
            kind,
            began: line.began.into(),
            sent: line.sent.into(),
            ended: line.ended.into(),
            resolution: line.resolution,
            client: line.client,
            attempts: std::mem::take(&mut line.attempts),
            undispatched: line.undispatched,
            failed: line.failed,
            wanted: false,
            status: line.status,
            asked,
            ids,
            server: line.server.map(ServerName::new),
            rare: (is_rare || line.local.is_some()).then(|| {
                let (local, node) = (line.local, line.node);
                let (tries, own_cause) = (line.tries, line.own_cause);
                Box::new(Rare { local, node, tries, own_cause, text: None })
            }),
        }
    }

    /// From where the proxy connected to its target.
    pub(super) fn local(&self) -> Option<Endpoint> {
        self.rare.as_ref()?.local
    }

    /// The proxy's own address, of a line about a health check.
    pub(super) fn node(&self) -> Option<Endpoint> {
        self.rare.as_ref()?.node
    }

    /// The connections that a line counts which failed, or of which some did.
    pub(super) fn tries(&self) -> Option<Tries> {
        self.rare.as_ref()?.tries
    }

    /// The cause that a failing line tells by itself.
    pub(super) fn own_cause(&self) -> Option<&'static str> {
        self.rare.as_ref()?.own_cause
    }

    /// A failing line as it stands, where that is kept.
    pub(super) fn text(&self) -> Option<&[u8]> {
        self.rare.as_ref()?.text.as_deref()
    }

    #[cfg(test)]
    pub(super) fn tell_cause(&mut self, cause: &'static str) {
        self.rare.get_or_insert_default().own_cause = Some(cause);
    }

    #[cfg(test)]
    pub(super) fn set_tries(&mut self, tries: Option<Tries>) {
        self.rare.get_or_insert_default().tries = tries;
    }

    /// Keeps the line as it stands.
    pub(super) fn keep_text(&mut self, text: &[u8]) {
        self.rare.get_or_insert_default().text = Some(text.into());
    }

    /// What a failing line says; `lines` read it.
    pub(super) fn words(&self, lines: &Lines) -> Option<Words> {
        let mut fields = Vec::new();
        lines.read(self.kind, self.text()?, &mut fields).as_ref().map(words)
    }

    /// The same for all lines that say the same, see [`Entry::is_same`].
    pub(super) fn digest(&self) -> u64 {
        let client = self.client.map_or(0, |client| client.port);
        let said = (self.asked, self.ids, client, self.began, self.sent, self.ended);
        FixedState::default().hash_one(said)
    }

    /// Whether both say the same, wherever they stand.
    pub(super) fn is_same(&self, other: &Entry) -> bool {
        let times = |it: &Entry| (it.began, it.sent, it.ended);
        let ends = |it: &Entry| (it.client, it.local(), it.status, it.failed, it.undispatched);
        let keys = |it: &Entry| (it.asked, it.ids, it.server);
        keys(self) == keys(other)
            && times(self) == times(other)
            && ends(self) == ends(other)
            && self.attempts == other.attempts
            && self.text() == other.text()
    }

    /// Its time, by which entries are ordered: the earliest that it has.
    pub(super) fn at(&self) -> Timestamp {
        first(self.began.get(), self.sent.get(), self.ended.get())
    }

    /// The time at which it was over.
    pub(super) fn until(&self) -> Timestamp {
        first(self.ended.get(), self.sent.get(), self.began.get())
    }

    /// The latest time that it has, also where its times are in no order.
    pub(super) fn latest(&self) -> Timestamp {
        // A time that is missing is earlier than all others.
        [self.sent, self.ended].into_iter().fold(self.began, Maybe::max).get().unwrap_or_default()
    }

    /// Whether the log names this target by its address.
    pub(super) fn names(&self, server: Endpoint) -> bool {
        self.attempts.iter().any(|attempt| attempt.target == Some(server))
    }

    /// Whether the log names its targets by their addresses at all.
    pub(super) fn names_targets(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.target.is_some())
    }

    /// What the log says that this target answered.
    pub(super) fn answer_of(&self, server: Endpoint) -> Option<u16> {
        let of = |attempt: &&Attempt| attempt.target.is_none_or(|target| target == server);
        self.attempts.iter().rev().find(of).and_then(|attempt| attempt.status)
    }

    /// The client with its port, where the log has it.
    pub(super) fn client_port(&self) -> Option<Endpoint> {
        self.client.filter(|client| client.port > 0)
    }
}

/// When a line began and when it was over.
pub(super) fn times(line: &Line<'_>) -> (Timestamp, Timestamp) {
    let (began, sent, ended) = (line.began, line.sent, line.ended);
    (first(began, sent, ended), first(ended, sent, began))
}

fn first(one: Option<Timestamp>, two: Option<Timestamp>, three: Option<Timestamp>) -> Timestamp {
    one.or(two).or(three).unwrap_or_default()
}

/// A field for people: bounded, and without control characters.
pub(super) fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(WORDS_MAX)]);
    text.chars().map(|it| if it.is_control() { '\u{fffd}' } else { it }).collect()
}

fn words(line: &Line<'_>) -> Words {
    let request = match line.path.is_empty() {
        true => String::new(),
        false => format!("{} {}", clean(&line.method), clean(&line.path)),
    };
    let fields = line.said.iter().map(|(name, value)| (*name, clean(value))).collect();
    Words { request, fields }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_lines_take_170_megabytes() {
        assert!(size_of::<Entry>() <= 168, "{}", size_of::<Entry>());
    }
}
