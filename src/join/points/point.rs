//! What was captured at one place.

use super::clocks::Clocks;
use crate::cause::Finding;
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
/// How long a host takes to pass a packet on at most, nanoseconds: it is repeated later (RFC 6298, 2.4 and 2.1).
const PASSED_ON: i64 = 100_000_000;
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

/// How many routers a packet has passed, by the TTL that its sender likely gave it.
fn routers(ttl: u8) -> u8 {
    TTLS.into_iter().find(|initial| ttl <= *initial).map_or(0, |initial| initial - ttl)
}

/// What a host sent here. Resets are forged, and then with another TTL: they do not count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    /// The greatest that its packets have here.
    pub(super) ttl: u8,
    /// Its packets came and left again: the capture was taken at a router.
    pub(super) passed_on: bool,
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
    /// Connections that are here a second time, behind a NAT that is captured on both sides, by what they are
    /// called there; and the other way round.
    originals: HashMap<Connection, Connection>,
    renamed: HashMap<Connection, Connection>,
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

    /// No packet of any kind came there, as far as it was captured.
    pub(super) fn is_empty(&self) -> bool {
        self.span.is_none() && !self.dropped
    }

    /// Whether it has a packet of this host.
    pub(super) fn hears(&self, host: Address) -> bool {
        self.senders.contains_key(&host)
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
            None => drop(
                self.senders.insert(host, Sender { first: at, last: at, ttl, passed_on: false }),
            ),
        }
    }

    pub(super) fn add(&mut self, landmark: Landmark) {
        let latest = |places: Option<&Vec<usize>>| places?.last().map(|at| self.landmarks[*at]);
        if let Some(before) = latest(self.exact.get(&landmark.exact()))
            && passed_on((before.mark.at, before.ttl), (landmark.mark.at, landmark.ttl))
        {
            let sender = self.senders.get_mut(&landmark.src.ip).filter(|_| !landmark.is_rst());
            sender.into_iter().for_each(|sender| sender.passed_on = true);
            return;
        }
        if let Some(before) = latest(self.translated.get(&landmark.translated()))
            && landmark.is_syn()
            && passed_on((before.mark.at, before.ttl), (landmark.mark.at, landmark.ttl))
        {
            let (after, before) = ((landmark.src, landmark.dst), (before.src, before.dst));
            self.originals.insert(after, before);
            self.renamed.insert(before, after);
        }
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

    /// By what it was called when it came, where a NAT here calls it otherwise when it leaves.
    pub(super) fn original(&self, of: Connection) -> Connection {
        self.originals.get(&of).copied().unwrap_or(of)
    }

    /// The first SYN-ACK that came here in answer to this SYN, also where a NAT here got it and never sent it on.
    pub(super) fn answer(&self, syn: &Landmark) -> Option<Mark> {
        let of = (syn.src, syn.dst);
        let names = [Some(of), self.renamed.get(&of).copied()];
        let answers = names.into_iter().flatten().find_map(|(client, server)| {
            self.between(client, server)
                .find(|it| it.is_syn_ack() && it.src == server && it.ack == syn.seq.wrapping_add(1))
        });
        answers.map(|it| it.mark)
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

    /// Whether it shows connections to ports of this host on either side of this one, and to a third: nobody captures
    /// just those.
    pub(super) fn knows_ports_around(&self, server: Endpoint) -> bool {
        let host = self.of_server.keys().filter(|it| it.ip == server.ip).map(|it| it.port);
        let (below, above) = host.fold((0, 0), |(below, above), port| {
            (below + u32::from(port < server.port), above + u32::from(port > server.port))
        });
        below > 0 && above > 0 && below + above > 2
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

    /// The first evidence of the finding is a RST that was sent nearer to this place than what its sender opened, or
    /// accepted, the connection with: by something between, or by another host with the same address that is nearer.
    pub(super) fn shows_nearer_reset(&self, finding: &Finding) -> bool {
        let guilty = finding.evidence.first().and_then(|guilty| self.at_frame(guilty.mark.frame));
        guilty.filter(|it| it.is_rst()).is_some_and(|rst| {
            let opened = self.between(finding.client, finding.server);
            let mut opened =
                opened.filter(|it| it.src == rst.src && (it.is_syn() || it.is_syn_ack()));
            opened.any(|it| routers(rst.ttl) < routers(it.ttl))
        })
    }

    /// Whether this place may be at that host: no router is between, as its packets have the TTL that they
    /// were sent with. `None`: there are none.
    pub(super) fn is_at(&self, host: Address) -> Option<bool> {
        self.sender(host).map(|sender| TTLS.contains(&sender.ttl) && !sender.passed_on)
    }

    /// Connections of which there is a SYN.
    pub fn opened(&self) -> impl Iterator<Item = Connection> {
        self.landmarks.iter().filter(|it| it.is_syn()).map(Landmark::connection)
    }
}

/// Whether a packet, by time and TTL, is the copy of one before that a router had got and sent on: the capture of
/// all its interfaces has both.
pub(super) fn passed_on(before: (Timestamp, u8), after: (Timestamp, u8)) -> bool {
    (0..=PASSED_ON).contains(&after.0.nanos_since(before.0))
        && before.1 == after.1.saturating_add(1)
}

fn ends(one: Endpoint, other: Endpoint) -> Connection {
    if one <= other { (one, other) } else { (other, one) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{MS, SERVER, SYN, SYN_ACK, client, mark};
    use super::*;

    const POD: Endpoint = Endpoint::v4([10, 244, 0, 7], 8080);

    /// What a router gets and sends on: the client's SYN with `server` as its target, and the server's answer.
    fn router(server: Endpoint) -> Point {
        let mut point = Point::default();
        let mut see = |number, at, (src, dst), flags, ttl| {
            let (seq, ack) = if flags == SYN { (7, 0) } else { (500, 8) };
            let mark = mark(0, number, at);
            point.add(Landmark { mark, src, dst, seq, ack, flags, clock: Some(5), ttl });
        };
        see(1, 0, (client(1), SERVER), SYN, 64);
        see(2, MS, (client(1), server), SYN, 63);
        see(3, 2 * MS, (server, client(1)), SYN_ACK, 64);
        point
    }

    #[test]
    fn a_packet_that_a_router_passes_on_is_one() {
        let mut point = router(SERVER);
        assert_eq!(point.landmarks.len(), 2);
        assert_eq!((point.is_at(client(1).ip), point.is_at(SERVER.ip)), (Some(false), Some(true)));
        let syn = point.landmarks[0];
        // What is repeated has its time to live, or comes late.
        for (at, ttl) in [(3 * MS, 64), (400 * MS, 63)] {
            point.add(Landmark { mark: mark(0, 9, at), ttl, ..syn });
        }
        assert_eq!(point.landmarks.len(), 4);
    }

    #[test]
    fn a_connection_behind_a_nat_is_the_one_before_it() {
        let point = router(POD);
        assert_eq!(point.landmarks.len(), 3);
        assert_eq!(point.original((client(1), POD)), (client(1), SERVER));
        assert_eq!(point.answer(&point.landmarks[0]), Some(point.landmarks[2].mark));
    }
}
