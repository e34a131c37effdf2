//! What was captured at one place.

use super::clocks::Clocks;
use crate::packet::{Address, Endpoint, Segment};
use crate::time::{FrameId, Mark, Timestamp};
use hashbrown::{HashMap, HashSet};

/// Segments kept of each place; they take about 140 bytes each.
pub const SEGMENTS_MAX: usize = 1 << 20;
/// How far the places' times of a packet may lie apart beyond the clocks' difference, nanoseconds.
pub(super) const DELAY_MAX: i64 = 5_000_000_000;

/// Hosts of which is remembered what they sent, about 50 bytes each; of those beyond it is not known, so
/// that less follows from what a place does not show.
const HOSTS_MAX: usize = 1 << 20;
/// What a sender's TTL begins with, by operating system.
const TTLS: [u8; 4] = [32, 64, 128, 255];

/// The side that opened a connection, and the side that accepted it.
pub type Connection = (Endpoint, Endpoint);

/// A segment that opens or ends a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Landmark {
    pub(super) mark: Mark,
    pub(super) src: Endpoint,
    pub(super) dst: Endpoint,
    pub(super) seq: u32,
    pub(super) ack: u32,
    /// SYN, FIN, RST and ACK.
    pub(super) flags: u8,
    /// The sender's timestamp (RFC 7323, 3).
    pub(super) clock: Option<u32>,
    pub(super) ttl: u8,
}

/// What makes a landmark the same at both places.
type Exact = (Endpoint, Endpoint, u32, u32, u8, Option<u32>);
/// The same across NAT.
type Translated = (u32, u32, u8, Option<u32>);

impl Landmark {
    pub(super) fn of(segment: &Segment<'_>) -> Landmark {
        let flags = segment.flags;
        Landmark {
            mark: segment.mark,
            src: segment.src,
            dst: segment.dst,
            seq: segment.seq,
            ack: if flags.ack() { segment.ack } else { 0 },
            flags: flags.0 & 0x17,
            clock: segment.options.timestamp.map(|(value, _)| value),
            ttl: segment.ttl,
        }
    }

    fn exact(&self) -> Exact {
        (self.src, self.dst, self.seq, self.ack, self.flags, self.clock)
    }

    fn translated(&self) -> Translated {
        (self.seq, self.ack, self.flags, self.clock)
    }

    pub(super) fn is_syn(&self) -> bool {
        self.flags & 0x12 == 0x02
    }

    pub(super) fn is_syn_ack(&self) -> bool {
        self.flags & 0x12 == 0x12
    }

    pub(super) fn is_rst(&self) -> bool {
        self.flags & 0x04 != 0
    }

    /// The connection, by the side with the lower port where its SYN is not known.
    pub(super) fn connection(&self) -> Connection {
        let opens = self.is_syn() || (!self.is_syn_ack() && self.src.port > self.dst.port);
        if opens { (self.src, self.dst) } else { (self.dst, self.src) }
    }
}

/// What a host sent here. Resets are forged, and then with another TTL: they do not count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    /// The greatest that its packets have here.
    pub(super) ttl: u8,
}

/// What was captured at one place.
#[derive(Debug, Default)]
pub struct Point {
    pub(super) landmarks: Vec<Landmark>,
    by_frame: HashMap<FrameId, usize>,
    exact: HashMap<Exact, Vec<usize>>,
    translated: HashMap<Translated, Vec<usize>>,
    /// Landmarks of a connection, whichever way round.
    by_ends: HashMap<Connection, Vec<usize>>,
    /// Landmarks of all connections to a server, and to an address.
    of_server: HashMap<Endpoint, Vec<usize>>,
    of_host: HashMap<Address, Vec<usize>>,
    hosts: HashSet<Address>,
    senders: HashMap<Address, Sender>,
    span: Option<(Timestamp, Timestamp)>,
    /// Landmarks that were not kept.
    pub lost: u64,
    /// The capturing host says that it dropped packets.
    pub dropped: bool,
}

impl Point {
    /// Takes in a segment.
    pub fn segment(&mut self, segment: &Segment<'_>) {
        let flags = segment.flags;
        if !flags.rst() {
            self.hear(segment.src.ip, segment.mark.at, segment.ttl);
        }
        if !(flags.syn() || flags.fin() || flags.rst()) {
            return;
        }
        if self.landmarks.len() >= SEGMENTS_MAX {
            self.lost += 1;
            return;
        }
        self.add(Landmark::of(segment));
    }

    /// Takes in that it captured something at that time, whatever it was.
    pub fn reach(&mut self, at: Timestamp) {
        let (first, last) = self.span.unwrap_or((at, at));
        self.span = Some((first.min(at), last.max(at)));
    }

    fn hear(&mut self, host: Address, at: Timestamp, ttl: u8) {
        let full = self.senders.len() >= HOSTS_MAX;
        match self.senders.get_mut(&host) {
            Some(known) => {
                known.first = known.first.min(at);
                known.last = known.last.max(at);
                known.ttl = known.ttl.max(ttl);
            }
            None if full => {}
            None => drop(self.senders.insert(host, Sender { first: at, last: at, ttl })),
        }
    }

    pub(super) fn add(&mut self, landmark: Landmark) {
        let place = self.landmarks.len();
        let server = landmark.connection().1;
        self.reach(landmark.mark.at);
        self.of_server.entry(server).or_default().push(place);
        self.of_host.entry(server.ip).or_default().push(place);
        self.hosts.extend([landmark.src.ip, landmark.dst.ip]);
        if !landmark.is_rst() {
            self.hear(landmark.src.ip, landmark.mark.at, landmark.ttl);
        }
        self.by_frame.insert(landmark.mark.frame, place);
        self.exact.entry(landmark.exact()).or_default().push(place);
        self.translated.entry(landmark.translated()).or_default().push(place);
        self.by_ends.entry(ends(landmark.src, landmark.dst)).or_default().push(place);
        self.landmarks.push(landmark);
    }

    /// The landmark in this frame.
    pub(super) fn at_frame(&self, frame: FrameId) -> Option<&Landmark> {
        self.by_frame.get(&frame).map(|place| &self.landmarks[*place])
    }

    /// Landmarks between two ends, in the order of the capture.
    pub(super) fn between(
        &self,
        one: Endpoint,
        other: Endpoint,
    ) -> impl Iterator<Item = &Landmark> {
        let places = self.by_ends.get(&ends(one, other)).into_iter().flatten();
        places.map(|place| &self.landmarks[*place])
    }

    /// The same packet here, by what is known of the clocks.
    pub(super) fn find(&self, other: &Landmark, clocks: &Clocks) -> Option<&Landmark> {
        let expected = clocks.there(other.mark.at);
        let apart = |place: &usize| self.landmarks[*place].mark.at.nanos_since(expected).abs();
        let near = |place: &&usize| apart(place) <= DELAY_MAX;
        let exact = self.exact.get(&other.exact()).into_iter().flatten();
        let found = exact.filter(near).min_by_key(|place| apart(place)).or_else(|| {
            let list = self.translated.get(&other.translated()).filter(|list| list.len() == 1)?;
            list.first().filter(near)
        });
        found.map(|place| &self.landmarks[*place])
    }

    /// The same packets here, whatever the time; those of a repeated packet in its order.
    pub(super) fn same(&self, other: &Landmark) -> &[usize] {
        let list = self.exact.get(&other.exact());
        let list = list.or_else(|| self.translated.get(&other.translated()));
        list.map_or(&[][..], Vec::as_slice)
    }

    /// Which of the packets that are the same as this one it is, if there are `many`.
    pub(super) fn rank(&self, place: usize, many: usize) -> Option<usize> {
        let same = self.exact.get(&self.landmarks[place].exact())?;
        (same.len() == many).then(|| same.iter().position(|it| *it == place)).flatten()
    }

    /// What this connection is called here, by the packets that are in both captures.
    pub fn name(&self, of: Connection, other: &Point, clocks: &Clocks) -> Option<Connection> {
        let mut known =
            other.between(of.0, of.1).filter_map(|it| Some((it, self.find(it, clocks)?)));
        known.next().map(|(there, here)| match there.src == of.0 {
            true => (here.src, here.dst),
            false => (here.dst, here.src),
        })
    }

    /// Whether this place captured at that time of its own clock, with a margin for the path.
    pub(super) fn covers(&self, at: Timestamp) -> bool {
        self.span.is_some_and(|(first, last)| first <= at && at <= last.after(DELAY_MAX))
    }

    /// From when to when it captured for sure: its first and last packet.
    pub(super) fn span(&self) -> Option<(Timestamp, Timestamp)> {
        self.span
    }

    pub(super) fn knows(&self, host: Address) -> bool {
        self.hosts.contains(&host)
    }

    /// Whether it shows connections to this address and port.
    pub(super) fn knows_server(&self, server: Endpoint) -> bool {
        self.of_server.contains_key(&server)
    }

    /// Landmarks of connections to a server, `many` before a time and `many` from then on.
    pub(super) fn of_server(&self, server: Endpoint, at: Timestamp, many: usize) -> Vec<&Landmark> {
        self.around(self.of_server.get(&server), at, many)
    }

    /// The same of connections to any port of a host.
    pub(super) fn of_host(&self, host: Address, at: Timestamp, many: usize) -> Vec<&Landmark> {
        self.around(self.of_host.get(&host), at, many)
    }

    fn around(&self, places: Option<&Vec<usize>>, at: Timestamp, many: usize) -> Vec<&Landmark> {
        let places = places.map_or(&[][..], Vec::as_slice);
        let middle = places.partition_point(|place| self.landmarks[*place].mark.at < at);
        let (from, to) = (middle.saturating_sub(many), places.len().min(middle + many));
        places[from..to].iter().map(|place| &self.landmarks[*place]).collect()
    }

    /// What this host sent here.
    pub(super) fn sender(&self, host: Address) -> Option<&Sender> {
        self.senders.get(&host)
    }

    /// Whether this place may be at that host: no router is between, as its packets have the TTL that they
    /// were sent with. `None`: there are none.
    pub(super) fn is_at(&self, host: Address) -> Option<bool> {
        self.sender(host).map(|sender| TTLS.contains(&sender.ttl))
    }

    /// Connections of which there is a SYN.
    pub fn opened(&self) -> impl Iterator<Item = Connection> {
        self.landmarks.iter().filter(|it| it.is_syn()).map(Landmark::connection)
    }
}

fn ends(one: Endpoint, other: Endpoint) -> Connection {
    if one <= other { (one, other) } else { (other, one) }
}
