//! Which address a target has that a log names without one, as the lines show that are tied to it.

use super::entry::Entry;
use super::fit::Leg;
use super::seen::Capture;
use super::tie::Tied;
use crate::cause::Confidence;
use crate::packet::Endpoint;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::hash::BuildHasher;
use std::num::NonZeroU32;

/// Lines of one name that have to agree.
const PROOF: u32 = 8;
/// One line in so many may say otherwise: requests that are alike are taken for each other.
const OTHERWISE: u32 = 20;

/// Group and name of a target, by their digests: the same name may stand in several groups, and the same address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ServerName {
    group: NonZeroU32,
    name: NonZeroU32,
}

impl ServerName {
    pub(super) fn new((group, name): (&[u8], &[u8])) -> ServerName {
        let digest = |text: &[u8]| {
            let digest = FixedState::with_seed(502).hash_one(text) as u32;
            NonZeroU32::new(digest).unwrap_or(NonZeroU32::MIN)
        };
        ServerName { group: digest(group), name: digest(name) }
    }
}

/// Names with their addresses, as far as these are proved.
#[derive(Debug, Default)]
pub(super) struct ServerNames {
    addresses: HashMap<ServerName, Endpoint, FixedState>,
    /// The other way round, within each group.
    names: HashMap<(NonZeroU32, Endpoint), NonZeroU32, FixedState>,
}

impl ServerNames {
    /// As the lines say that are tied to requests of their targets.
    pub(super) fn of(entries: &[Entry], tied: &[Tied], capture: &Capture) -> ServerNames {
        let mut seen: HashMap<(ServerName, Endpoint), u32, FixedState> = HashMap::default();
        let mut lines: HashMap<ServerName, u32, FixedState> = HashMap::default();
        for tied in tied {
            let sure = tied.leg == Leg::Back && tied.certainty >= Confidence::Likely;
            let entry = &entries[tied.entry];
            // Attempts before the last one may have been of others.
            let Some(name) = entry.server.filter(|_| sure && !entry.failed) else { continue };
            let Some(flow) = capture.flows.get(tied.flow) else { continue };
            *seen.entry((name, flow.server)).or_default() += 1;
            *lines.entry(name).or_default() += 1;
        }
        let mut names = ServerNames::default();
        for ((name, server), many) in seen {
            let others = lines.get(&name).map_or(0, |all| all - many);
            if many >= PROOF && others * OTHERWISE <= many {
                names.addresses.insert(name, server);
                names.names.insert((name.group, server), name.name);
            }
        }
        names
    }

    /// The address of this target.
    pub(super) fn address(&self, name: ServerName) -> Option<Endpoint> {
        self.addresses.get(&name).copied()
    }

    /// Whether this target may have that address.
    pub(super) fn may_be(&self, name: ServerName, server: Endpoint) -> bool {
        let other = self.names.get(&(name.group, server)).is_some_and(|known| *known != name.name);
        self.address(name).map_or(!other, |address| address == server)
    }
}
