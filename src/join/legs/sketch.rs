//! What identifies an exchange: hashes of it, not the texts.

use crate::blind::BlindSpot;
use crate::http::{Exchange, HEAD_KEPT, RequestHead, ResponseHead};
use crate::packet::Address;
use foldhash::fast::FixedState;
use std::hash::{BuildHasher, Hasher};
use std::net::{IpAddr, Ipv6Addr};

/// Identifying headers of one request that are compared; more hardly come together.
const IDS_MAX: usize = 4;
/// Headers of a request's own that are compared, those that come first.
pub(super) const OWN_MAX: usize = 4;
/// Kinds of routes: by the first part of the path, and by the first two.
pub(super) const ROUTES: usize = 2;
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
    /// The host that was asked and the first parts of the path, by which proxies choose servers.
    pub routes: [u32; ROUTES],
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

impl Sketch {
    /// Of a finished exchange.
    pub fn of(exchange: &Exchange) -> Sketch {
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
        let (mut ids, mut own, mut host) = (0, 0, 0);
        for (name, value) in head.headers().raw() {
            if name.eq_ignore_ascii_case(b"host") {
                host = hash(value);
            }
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
        for (parts, route) in self.routes.iter_mut().enumerate().filter(|_| !self.cut) {
            let end = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').nth(parts + 1);
            let first = &path[..end.map_or(path.len(), |(end, _)| end)];
            *route = (hash(first) ^ host.rotate_left(1)) as u32;
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
    use crate::http::{Request, Response};
    use crate::packet::Endpoint;

    fn asked(head: &str) -> Sketch {
        let request =
            Request { head: head.as_bytes().to_vec(), head_complete: true, ..Request::default() };
        Sketch::of(&Exchange { request: Some(request), ..Exchange::default() })
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
    fn routes_are_the_host_and_the_first_parts_of_the_path() {
        let of = |target: &str, host: &str| {
            asked(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).routes
        };
        let same =
            |one: [u32; ROUTES], other: [u32; ROUTES]| [one[0] == other[0], one[1] == other[1]];
        let item = of("/shop/item/7?id=1", "a");
        assert_eq!(same(item, of("/shop/item/8", "a")), [true, true]);
        assert_eq!(same(item, of("/shop/cart", "a")), [true, false]);
        assert_eq!(same(item, of("/blog/item/7", "a")), [false, false]);
        assert_eq!(same(item, of("/shop/item/7", "b")), [false, false]);
        assert_eq!(asked("GET /shop/it").routes, [0; ROUTES]);
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
