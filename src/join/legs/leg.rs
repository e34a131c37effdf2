//! What is kept of an exchange to find its other leg: hashes of what identifies it, not the texts.

use super::roles::Roles;
use crate::blind::BlindSpot;
use crate::flow::{Ending, EndingKind, Flow};
use crate::http::{Exchange, HEAD_KEPT, Request, RequestHead, Response, ResponseHead, State};
use crate::join::Ends;
use crate::packet::{Address, Endpoint};
use crate::tcp::Side;
use crate::time::{Mark, Timestamp};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::net::{IpAddr, Ipv6Addr};

/// Identifying headers of one request that are compared; more hardly come together.
const IDS_MAX: usize = 4;
/// Headers of a request's own that are compared, those that come first.
const OWN_MAX: usize = 4;
/// Shorter values than this are no unique ids.
const ID_MIN: usize = 8;

/// Headers whose value, or the named part of it, stays the same from leg to leg and is another for
/// each request.
const IDS: [(&str, Part); 12] = [
    ("x-request-id", Part::All),
    ("x-correlation-id", Part::All),
    ("request-id", Part::All),
    ("x-unique-id", Part::All),
    ("unique-id", Part::All),
    ("x-amzn-trace-id", Part::AmazonRoot),
    // https://www.w3.org/TR/trace-context/#traceparent-header: the second field is the trace.
    ("traceparent", Part::Dashed(1)),
    ("b3", Part::Dashed(0)),
    ("x-b3-traceid", Part::All),
    ("x-cloud-trace-context", Part::UpTo(b'/')),
    ("uber-trace-id", Part::UpTo(b':')),
    ("cf-ray", Part::All),
];

/// Headers that proxies hand on unchanged and that differ between clients.
const END_TO_END: [&str; 10] = [
    "user-agent",
    "cookie",
    "authorization",
    "content-type",
    "referer",
    "accept",
    "accept-language",
    "range",
    "if-none-match",
    "if-modified-since",
];

/// Response headers that proxies hand on unchanged and that differ between responses.
const REPLY: [&str; 8] = [
    "content-type",
    "content-length",
    "content-range",
    "etag",
    "last-modified",
    "location",
    "set-cookie",
    "x-request-id",
];

/// Which part of a value is the id.
#[derive(Clone, Copy)]
enum Part {
    All,
    /// Field of a list with dashes.
    Dashed(usize),
    UpTo(u8),
    /// `Root=` of a list with semicolons.
    AmazonRoot,
}

/// What identifies an exchange. Zero: not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sketch {
    /// The method.
    pub method: u64,
    /// HEAD.
    pub is_head: bool,
    /// Path and query.
    pub target: u64,
    /// The last part of the path, and the query.
    pub tail: u64,
    /// The capture ends within the target: [`Sketch::target`] is what came of it.
    pub cut: bool,
    /// Values of identifying headers.
    pub ids: [u64; IDS_MAX],
    /// Headers whose names programs have made up (`X-`), which proxies hand on as they are.
    pub own: [u64; OWN_MAX],
    /// Headers that differ between clients.
    pub print: u64,
    /// `Content-Length` of the request, plus one.
    pub length: u64,
    /// For whom the request was made: the last address in `X-Forwarded-For` or its like.
    pub forwarded: Option<Address>,
    /// Headers of the response that differ between responses.
    pub reply: u64,
}

/// One exchange of a host that may be a proxy.
#[derive(Clone, Debug)]
pub struct Leg {
    /// Between whom, when, and how it ended.
    pub ends: Ends,
    /// Last byte of the request seen.
    pub whole: Mark,
    /// Its response has something wrong, or came before the whole request.
    pub odd: bool,
    /// Whether the client's and the server's address are known as the capturing host's.
    pub local: [bool; 2],
    /// What identifies it.
    pub sketch: Sketch,
    /// Times that it was left for later, without its counterpart.
    pub waited: u8,
    /// When its connection was opened, where its server may be a proxy that hands on bytes and does not wait for a
    /// request: it is the first one, and its server closed without an answer.
    pub opened: Option<Timestamp>,
    /// How long its server kept the connection after a FIN of its client, which may have ended one direction only.
    pub kept: Option<Timestamp>,
    /// Those of the own headers that no other request at its server has; 0 in place of the others.
    pub unique: [u64; OWN_MAX],
}

impl Leg {
    /// Of a finished exchange.
    pub fn of(exchange: &Exchange) -> Option<Leg> {
        let request = exchange.request.as_ref()?;
        let response = exchange.response.as_ref();
        Some(Leg {
            ends: Ends {
                flow: 0,
                stream: None,
                ordinal: exchange.ordinal,
                client: Endpoint::default(),
                server: Endpoint::default(),
                asked: request.first,
                answered: response.map(|response| response.first),
                over: response.map_or(request.last, |response| response.last),
                closed_by: None,
                status: response.and_then(|response| response.status),
                head_len: response.map_or(0, |response| response.head_len),
                state: exchange.state,
            },
            whole: request.last,
            odd: response
                .is_some_and(|response| is_odd(response) || may_be_early(request, response)),
            local: [false; 2],
            sketch: Sketch::of(exchange),
            waited: 0,
            opened: None,
            kept: None,
            unique: [0; OWN_MAX],
        })
    }

    /// Of a connection that failed before it carried a request.
    pub fn of_connection(flow: &Flow, roles: &Roles) -> Option<Leg> {
        if !roles.may_be_leg(flow.client.ip, flow.server) {
            return None;
        }
        let syn = flow.opening.syn.filter(|_| flow.requests == 0)?;
        let closed = flow.closed_first().is_some_and(|close| close.side == Side::Server);
        let opened = flow.opening.syn_ack.is_some() && !was_given_up(flow);
        if opened && !closed && flow.tls.is_none() {
            // A check, or one opened in advance.
            return None;
        }
        let mut leg = Leg {
            ends: Ends {
                flow: 0,
                stream: None,
                ordinal: 0,
                client: flow.client,
                server: flow.server,
                asked: syn,
                answered: None,
                over: flow.last,
                closed_by: None,
                status: None,
                head_len: 0,
                state: State::Unanswered,
            },
            whole: syn,
            odd: false,
            local: [false; 2],
            sketch: Sketch::default(),
            waited: 0,
            opened: None,
            kept: None,
            unique: [0; OWN_MAX],
        };
        leg.belongs_to(flow, roles);
        Some(leg)
    }

    /// Fills in what its connection tells.
    pub fn belongs_to(&mut self, flow: &Flow, roles: &Roles) {
        let ends = &mut self.ends;
        (ends.flow, ends.stream) = (flow.id, flow.stream);
        (ends.client, ends.server) = (flow.client, flow.server);
        self.local = [roles.knows_local(flow.client.ip), roles.knows_local(flow.server.ip)];
        // What comes behind a RST reaches nobody, whoever sent that in the server's name.
        let deaf = |it: &&Ending| {
            it.belied.is_some()
                && it.side == Side::Server
                && it.mark.at >= ends.asked.at
                && ends.answered.is_some_and(|answered| it.mark.at < answered.at)
        };
        if let Some(reset) = flow.endings.iter().find(deaf) {
            (ends.answered, ends.status, ends.head_len) = (None, None, 0);
            (ends.state, ends.closed_by, ends.over) =
                (State::Unanswered, Some(Side::Server), reset.mark);
            (self.odd, self.sketch.reply) = (false, 0);
            return;
        }
        let first = flow.closed_first().filter(|close| close.mark.at >= ends.asked.at);
        if ends.state == State::Answered {
            // Who has left does not read the rest.
            let left = first.filter(|it| it.side == Side::Client && it.mark.at < ends.over.at);
            if let Some(close) = left {
                (ends.closed_by, ends.over) = (Some(Side::Client), close.mark);
            }
            return;
        }
        ends.closed_by = first.map(|close| close.side);
        let end = first.map_or(flow.last, |close| close.mark);
        if end.at > ends.over.at {
            ends.over = end;
        }
        if let Some(syn) =
            flow.opening.last_syn().filter(|_| ends.ordinal == 0 && was_given_up(flow))
        {
            (ends.over, ends.closed_by) = (syn, None);
        }
        if ends.ordinal == 1 && ends.answered.is_none() && ends.closed_by == Some(Side::Server) {
            self.opened = flow.opening.syn.map(|syn| syn.at);
        }
        let half = |close: &&Ending| close.side == Side::Client && close.kind == EndingKind::Fin;
        if ends.answered.is_none() && first.filter(half).is_some() {
            let server = flow.endings.iter().find(|ending| ending.side == Side::Server);
            self.kept = Some(server.map_or(flow.last.at, |close| close.mark.at));
        }
    }

    /// From when on attempts for it may have been begun.
    pub fn since(&self) -> Timestamp {
        self.opened.unwrap_or(self.ends.asked.at)
    }

    /// When the last attempt for it may have been begun.
    pub fn asked_until(&self) -> Timestamp {
        let answered = self.ends.answered.map(|answered| answered.at);
        answered
            .unwrap_or_else(|| self.kept.map_or(self.ends.over.at, |it| it.max(self.ends.over.at)))
    }

    /// Until when its proxy worked on it: until the answer began, where its client closed before.
    pub fn until(&self) -> Timestamp {
        self.asked_until().max(self.ends.over.at)
    }

    /// Its server closed the connection without an answer.
    pub fn was_dropped(&self) -> bool {
        self.ends.answered.is_none() && self.ends.closed_by == Some(Side::Server)
    }

    /// It did not end as a client likes it, or its client did not wait for the end.
    pub fn is_suspect(&self) -> bool {
        self.ends.failed() || self.odd || self.ends.closed_by.is_some()
    }

    /// Whether it was accepted at the host that opened `other`.
    pub fn at_the_host_of(&self, other: &Leg) -> bool {
        self.ends.server.ip == other.ends.client.ip || (self.local[1] && other.local[0])
    }

    /// Its request could be read.
    pub fn is_readable(&self) -> bool {
        self.sketch.target != 0
    }
}

/// A SYN-ACK came when its receiver waited no longer: it answered with the RST of a host that has no such connection.
fn was_given_up(flow: &Flow) -> bool {
    let gone = |close: &Ending| close.side == Side::Client && !close.ack_flag;
    flow.opening.ack.is_none() && flow.closed_first().is_some_and(gone)
}

/// Answered as proxies answer for themselves: kept even where no proxy is known so far.
pub fn is_gateway_error(exchange: &Exchange) -> bool {
    let status = exchange.response.as_ref().and_then(|response| response.status);
    status.is_some_and(|status| (502..=504).contains(&status))
}

/// Something that proxies may refuse.
fn is_odd(response: &Response) -> bool {
    /// The least limit of a common load balancer for response headers (ALB), bytes.
    const HEAD_LIMIT: u64 = 32 * 1024;
    response.fault.is_some() || response.unsolicited || response.head_len > HEAD_LIMIT
}

/// The answer refuses a request that was sent in parts: its target may not have read all of it.
fn may_be_early(request: &Request, response: &Response) -> bool {
    let parts = request.first.frame != request.last.frame;
    parts && (response.first.at <= request.last.at || response.status.is_some_and(|it| it >= 400))
}

impl Sketch {
    fn of(exchange: &Exchange) -> Sketch {
        let mut sketch = Sketch::default();
        if exchange.blind_spots.has(BlindSpot::Encrypted) {
            return sketch;
        }
        if let Some(request) = &exchange.request {
            sketch.request(&request.head, request.head_complete);
        }
        if let Some(response) = exchange.response.as_ref().filter(|it| it.head_complete) {
            let head = ResponseHead::parse(&response.head);
            sketch.reply = print(head.headers().raw(), &REPLY, response.status);
        }
        sketch
    }

    fn request(&mut self, bytes: &[u8], complete: bool) {
        let head = RequestHead::parse(bytes);
        let target = head.target();
        let mut target = target.as_bytes();
        if !bytes.contains(&b'\n') {
            // Captured in part; a space ends the target.
            let whole = target.iter().position(|byte| *byte == b' ');
            target = whole.map_or(target, |end| &target[..end]);
            if target.is_empty() {
                return;
            }
            self.cut = whole.is_none() && head.version().is_empty();
        }
        self.method = hash(head.method().as_bytes());
        self.is_head = head.method() == "HEAD";
        let target = origin_form(target);
        self.target = hash(target);
        let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
        let from = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let has_tail = from < path.len() && !self.cut;
        self.tail = if has_tail { hash(&target[from..]) } else { 0 };
        if complete && bytes.len() < HEAD_KEPT {
            self.print = print(head.headers().raw(), &END_TO_END, None);
        }
        let (mut ids, mut own) = (0, 0);
        for (name, value) in head.headers().raw() {
            if own < OWN_MAX && is_own(name) && !value.is_empty() {
                self.own[own] = hash(&name.to_ascii_lowercase()).rotate_left(1) ^ hash(value);
                own += 1;
            }
            if let Some(id) = id(name, value)
                && ids < IDS_MAX
            {
                self.ids[ids] = id;
                ids += 1;
            }
            if name.eq_ignore_ascii_case(b"content-length") {
                let length = std::str::from_utf8(value).ok().and_then(|it| it.parse::<u64>().ok());
                self.length = length.map_or(0, |length| length.saturating_add(1));
            }
            self.forwarded = forwarded(name, value).or(self.forwarded);
        }
    }

    /// Whether both carry the same identifying value.
    pub fn shares_id(&self, other: &Sketch) -> bool {
        self.ids.iter().any(|id| *id != 0 && other.ids.contains(id))
    }
}

/// A name that a program has made up, none that proxies write.
fn is_own(name: &[u8]) -> bool {
    const PROXIES: [&[u8]; 2] = [b"x-forwarded-", b"x-real-ip"];
    let begins =
        |with: &[u8]| name.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    begins(b"x-") && !PROXIES.iter().any(|with| begins(with))
}

/// Finds out which of the headers of each request no other request at its server has.
pub(super) fn find_unique(legs: &mut [Leg]) {
    let server = |leg: &Leg| {
        let Endpoint { ip, port } = leg.ends.server;
        hash(&ip).rotate_left(u32::from(port % 64)) ^ u64::from(port)
    };
    let mut times: HashMap<u64, u32, FixedState> = HashMap::default();
    for leg in legs.iter() {
        for own in leg.sketch.own.iter().filter(|own| **own != 0) {
            *times.entry(own ^ server(leg)).or_default() += 1;
        }
    }
    for leg in legs {
        let server = server(leg);
        let once = |own: u64| own != 0 && times.get(&(own ^ server)) == Some(&1);
        leg.unique = leg.sketch.own.map(|own| if once(own) { own } else { 0 });
    }
}

/// The target without scheme and authority (RFC 9112, 3.2.2).
fn origin_form(target: &[u8]) -> &[u8] {
    let rest =
        [b"http://".as_slice(), b"https://"].into_iter().find_map(|it| target.strip_prefix(it));
    let Some(rest) = rest else { return target };
    rest.iter().position(|byte| *byte == b'/').map_or(b"/", |slash| &rest[slash..])
}

/// Never zero.
fn hash(bytes: &[u8]) -> u64 {
    let mut digest = FixedState::default().build_hasher();
    digest.write(bytes);
    digest.finish().max(1)
}

/// The named headers in the order of `names`. Never zero.
fn print<'a>(
    headers: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    names: &[&str],
    status: Option<u16>,
) -> u64 {
    // Sums do not depend on the order, which proxies change.
    let sum = headers.fold(u64::from(status.unwrap_or(0)), |sum, (name, value)| {
        let known = names.iter().position(|it| name.eq_ignore_ascii_case(it.as_bytes()));
        known.map_or(sum, |place| sum.wrapping_add(hash(value).rotate_left(place as u32)))
    });
    sum.max(1)
}

/// The id in a header that names the request.
fn id(name: &[u8], value: &[u8]) -> Option<u64> {
    let (_, part) = IDS.iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()))?;
    let id = match part {
        Part::All => value,
        Part::Dashed(nth) => value.split(|byte| *byte == b'-').nth(*nth)?,
        Part::UpTo(end) => value.split(|byte| byte == end).next()?,
        Part::AmazonRoot => value
            .split(|byte| *byte == b';')
            .find_map(|it| it.trim_ascii().strip_prefix(b"Root="))?,
    };
    (id.len() >= ID_MIN).then(|| hash(id))
}

/// For whom a proxy asks: the last address, which the proxy itself has added.
fn forwarded(name: &[u8], value: &[u8]) -> Option<Address> {
    let last = value.rsplit(|byte| *byte == b',').next()?.trim_ascii();
    let text = if name.eq_ignore_ascii_case(b"x-forwarded-for")
        || name.eq_ignore_ascii_case(b"x-real-ip")
    {
        last
    } else if name.eq_ignore_ascii_case(b"forwarded") {
        // RFC 7239, 4.
        let mut pairs = last.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        pairs.find_map(|it| {
            it.get(..4).filter(|key| key.eq_ignore_ascii_case(b"for=")).map(|_| &it[4..])
        })?
    } else {
        return None;
    };
    address(std::str::from_utf8(text).ok()?.trim_matches('"'))
}

/// An address, with or without a port.
fn address(text: &str) -> Option<Address> {
    let bare =
        |text: &str| text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    let with_port = || text.rsplit_once(':').and_then(|(host, _)| bare(host));
    Some(match bare(text).or_else(with_port)? {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => Ipv6Addr::octets(&ip),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Grade;
    use crate::time::Timestamp;

    /// A flow in whose opening SYN, SYN-ACK and ACK came at these milliseconds, and which ended so.
    fn flow(opening: [Option<i64>; 3], ends: &[(Side, EndingKind, bool, i64)]) -> Flow {
        let mark = |ms: i64| Mark { at: Timestamp(ms * 1_000_000), ..Mark::default() };
        let [client, server] = [1, 2].map(|host| Endpoint::v4([10, 0, 0, host], 80));
        let mut flow = Flow { client, server, last: mark(9_000), ..Flow::default() };
        let [syn, syn_ack, ack] = opening.map(|ms| ms.map(mark));
        (flow.opening.syn, flow.opening.syn_ack, flow.opening.ack) = (syn, syn_ack, ack);
        flow.endings.extend(ends.iter().map(|(side, kind, ack_flag, ms)| Ending {
            mark: mark(*ms),
            side: *side,
            kind: *kind,
            ack_flag: *ack_flag,
            offset: None,
            acked: None,
            missing: 0,
            grade: Grade::Exact,
            belied: None,
            unstamped: false,
            payload: 0,
            ttl: 64,
            ip_id: None,
            window: 0,
        }));
        flow
    }

    #[test]
    fn a_syn_ack_that_comes_when_nobody_waits_any_more_opens_nothing() {
        let mut roles = Roles::default();
        let [client, server] = [1, 2].map(|host| Endpoint::v4([10, 0, 0, host], 80));
        roles.opened(Endpoint { port: 9, ..server }, client);
        roles.opened(client, server);
        let of = |ack_flag| {
            let ends = [(Side::Client, EndingKind::Rst, ack_flag, 7_000)];
            let mut flow = flow([Some(0), Some(7_000), None], &ends);
            flow.opening.odd_mut().last_syn =
                Some(Mark { at: Timestamp(1_000_000_000), ..Mark::default() });
            Leg::of_connection(&flow, &roles)
        };
        // Its kernel has no such socket; a check that has seen enough resets its own.
        let late = of(false).unwrap();
        assert_eq!((late.ends.over.at, late.ends.closed_by), (Timestamp(1_000_000_000), None));
        assert!(of(true).is_none());
    }

    #[test]
    fn a_fin_of_the_client_leaves_the_proxy_time_until_it_closes_itself() {
        let asked = |ends: &[(Side, EndingKind, bool, i64)]| {
            let request = Request::default();
            let exchange = Exchange {
                ordinal: 1,
                request: Some(request),
                state: State::Unanswered,
                ..Exchange::default()
            };
            let mut leg = Leg::of(&exchange).unwrap();
            leg.belongs_to(&flow([Some(0), Some(1), Some(2)], ends), &Roles::default());
            (leg.opened.is_some(), leg.asked_until().0 / 1_000_000)
        };
        let (client, server) = (Side::Client, Side::Server);
        let (fin, rst) = (EndingKind::Fin, EndingKind::Rst);
        assert_eq!(asked(&[(client, fin, true, 100), (server, fin, true, 400)]), (false, 400));
        assert_eq!(asked(&[(client, rst, true, 100)]), (false, 100));
        // Dropped by its server, which may have gone on to a target when the connection was opened.
        assert_eq!(asked(&[(server, fin, true, 100)]), (true, 100));
    }

    fn asked(head: &str) -> Sketch {
        let request =
            Request { head: head.as_bytes().to_vec(), head_complete: true, ..Request::default() };
        Sketch::of(&Exchange { request: Some(request), ..Exchange::default() })
    }

    #[test]
    fn an_answer_behind_a_reset_reaches_no_proxy() {
        let at = |time| Mark { at: Timestamp(time), ..Mark::default() };
        let exchange = Exchange {
            ordinal: 1,
            request: Some(Request { first: at(10), last: at(10), ..Request::default() }),
            response: Some(Response {
                first: at(30),
                last: at(30),
                status: Some(200),
                ..Response::default()
            }),
            state: State::Answered,
            ..Exchange::default()
        };
        let ends = |belied| {
            let mut flow = Flow::default();
            flow.endings.push(Ending {
                mark: at(20),
                side: Side::Server,
                kind: EndingKind::Rst,
                ack_flag: true,
                offset: Some(0),
                acked: Some(9),
                missing: 0,
                grade: Grade::Contradicted,
                belied,
                unstamped: false,
                payload: 0,
                ttl: 64,
                ip_id: None,
                window: 0,
            });
            let mut leg = Leg::of(&exchange).unwrap();
            leg.belongs_to(&flow, &Roles::default());
            (leg.ends.status, leg.ends.state, leg.ends.closed_by, leg.ends.over)
        };
        let cut = (None, State::Unanswered, Some(Side::Server), at(20));
        assert_eq!(ends(Some(at(30))), cut);
        assert_eq!(ends(None), (Some(200), State::Answered, None, at(30)));
    }

    #[test]
    fn what_a_proxy_rewrites_leaves_the_rest_alike() {
        let front = asked(
            "GET /shop/item?id=7 HTTP/1.1\r\nHost: a\r\nUser-Agent: x\r\nX-Request-Id: 12345678\r\n\
             Accept: */*\r\n\r\n",
        );
        let back = asked(
            "GET http://b/item?id=7 HTTP/1.0\r\nAccept: */*\r\nConnection: close\r\n\
             x-request-id: 12345678\r\nX-Forwarded-For: 10.9.9.9, 10.0.0.7\r\nuser-agent: x\r\n\r\n",
        );
        assert_eq!((front.method, front.tail, front.print), (back.method, back.tail, back.print));
        assert_ne!(front.target, back.target);
        assert!(front.shares_id(&back));
        assert_eq!(back.forwarded, Some(Endpoint::v4([10, 0, 0, 7], 0).ip));
    }

    #[test]
    fn of_a_request_line_captured_in_part_the_target_is_used() {
        let whole = asked("GET /shop/item HTTP/1.1\r\nHost: a\r\n\r\n");
        let version = asked("GET /shop/item HTT");
        assert_eq!((version.target, version.tail, version.cut), (whole.target, whole.tail, false));
        let cut = asked("GET /shop/it");
        assert!(cut.cut && cut.target != 0 && cut.tail == 0);
        assert_eq!(cut.target, asked("GET /shop/it").target);
        assert_eq!(asked("GET "), Sketch::default());
    }

    #[test]
    fn other_clients_and_other_items_differ() {
        let one = asked("GET /a HTTP/1.1\r\nCookie: s=1\r\n\r\n");
        let two = asked("GET /b HTTP/1.1\r\nCookie: s=2\r\n\r\n");
        assert!(one.target != two.target && one.print != two.print && !one.shares_id(&two));
        // The same values under other names are not the same.
        let swapped = asked("GET /a HTTP/1.1\r\nReferer: s=1\r\n\r\n");
        assert_ne!(one.print, swapped.print);
    }

    #[test]
    fn parts_of_ids_are_compared() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let of = |header: &str| asked(&format!("GET / HTTP/1.1\r\n{header}\r\n\r\n"));
        let one = of(&format!("traceparent: 00-{trace}-00f067aa0ba902b7-01"));
        assert!(one.shares_id(&of(&format!("traceparent: 00-{trace}-1111111111111111-01"))));
        let root = "1-67891233-abcdef012345678912345678";
        let one = of(&format!("X-Amzn-Trace-Id: Root={root}"));
        assert!(one.shares_id(&of(&format!("X-Amzn-Trace-Id: Self=1-2;Root={root}"))));
        assert!(!of("X-Request-Id: 1").shares_id(&of("X-Request-Id: 1")));
    }

    #[test]
    fn forwarding_headers_name_the_client() {
        let ip = |a| Some(Endpoint::v4([192, 0, 2, a], 0).ip);
        assert_eq!(forwarded(b"X-Forwarded-For", b"10.0.0.1, 192.0.2.9"), ip(9));
        assert_eq!(forwarded(b"x-real-ip", b"192.0.2.8:4711"), ip(8));
        assert_eq!(
            forwarded(b"Forwarded", b"for=10.0.0.1, For=\"192.0.2.7:80\";proto=http"),
            ip(7)
        );
        let v6 = forwarded(b"X-Forwarded-For", b"[2001:db8::1]:443");
        assert_eq!(v6, forwarded(b"X-Forwarded-For", b"2001:db8::1"));
        assert!(v6.is_some() && forwarded(b"X-Forwarded-For", b"unknown").is_none());
    }

    #[test]
    fn replies_are_compared_by_what_proxies_hand_on() {
        let answered = |head: &str| {
            let response = Response {
                head: head.as_bytes().to_vec(),
                head_complete: true,
                status: Some(200),
                ..Response::default()
            };
            Sketch::of(&Exchange { response: Some(response), ..Exchange::default() }).reply
        };
        let target =
            answered("HTTP/1.1 200 OK\r\nServer: a\r\nETag: \"7\"\r\nContent-Length: 5\r\n\r\n");
        let proxy = answered(
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: b\r\nETag: \"7\"\r\nVia: x\r\n\r\n",
        );
        assert_eq!(target, proxy);
        assert_ne!(target, answered("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"));
    }
}
