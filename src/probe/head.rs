//! What a request head says of who sent it.
//!
//! Most heads are those of users and many heads are the same. So a head is first looked at without
//! keeping anything of it; facts are made of those that may be a check's, once per distinct head.

use super::catalogue::Catalogue;
use super::evidence::{Evidence, EvidenceSet};
use super::facts::{HeaderCase, NAMES_MAX, RequestFacts, VALUE_KEPT};
use crate::http::{HEAD_KEPT, RequestHead};
use crate::packet::Address;
use foldhash::fast::{FixedState, RandomState};
use hashbrown::HashMap;
use memchr::memchr;
use memchr::memmem::Finder;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// Heads and User-Agents that are remembered; a target with its probers has some dozens. All are
/// forgotten and learned anew beyond.
const REMEMBERED: usize = 2048;

/// Different heads from which on a caller is no prober, unless what it asks for is made for checks:
/// more than one proxy has backends with checks of their own on one target.
const DIFFERENT_HEADS: u16 = 32;

/// What became of a head at a glance.
#[derive(Clone, Debug)]
pub(super) enum Glance {
    /// A user's: a browser's, forwarded, with a cookie or a body.
    User {
        /// It was forwarded by a proxy.
        forwarded: bool,
    },
    /// Possibly a check.
    Candidate(Arc<RequestFacts>),
}

/// What is known of a User-Agent: which conditions of rules hold, and whether one of them names a
/// product.
type Agent = (Arc<[u16]>, bool);

/// Looks at heads and remembers those that come again.
#[derive(Debug)]
pub(super) struct Heads {
    catalogue: Arc<Catalogue>,
    heads: HashMap<u64, (Box<[u8]>, Arc<RequestFacts>)>,
    agents: HashMap<Box<[u8]>, Agent, RandomState>,
    /// Different heads by who sends them: source and User-Agent.
    callers: HashMap<u64, u16, RandomState>,
    finder: Finder<'static>,
    /// The last User-Agent that named nobody: most of a load balancer's users have the same.
    unnamed: Vec<u8>,
}

/// The part of `User-Agent` that is written the same way by nearly everybody; names in capitals
/// throughout are found by [`Heads::glance`] only.
const AGENT: &[u8] = b"ser-";

/// The same in every run, so that a report does not depend on chance.
const HASH: FixedState = FixedState::with_seed(0x7768_7935_3032);

/// Hash of some bytes.
pub(super) fn digest(bytes: &[u8]) -> u64 {
    HASH.hash_one(bytes)
}

/// Hash of a value.
pub(super) fn hash(value: impl Hash) -> u64 {
    HASH.hash_one(value)
}

impl Heads {
    pub(super) fn new(catalogue: Arc<Catalogue>) -> Heads {
        Heads {
            catalogue,
            heads: HashMap::new(),
            agents: HashMap::default(),
            callers: HashMap::default(),
            finder: Finder::new(AGENT),
            unnamed: Vec::new(),
        }
    }

    /// What `head` is, sent by `source`. `digest` is its hash.
    pub(super) fn glance(
        &mut self,
        source: Address,
        head: &[u8],
        digest: u64,
        complete: bool,
    ) -> Glance {
        if let Some((known, facts)) = self.heads.get(&digest)
            && **known == *head
        {
            return Glance::Candidate(Arc::clone(facts));
        }
        let scan = scan(head);
        let agent = scan.agent.map(|agent| self.agent(agent));
        let named = agent.as_ref().is_some_and(|(_, named)| *named);
        if scan.user && !named {
            return Glance::User { forwarded: scan.signs.has(Evidence::Forwarded) };
        }
        if !named && self.has_much_to_say(source, scan.agent) && !self.catalogue.is_check_path(head)
        {
            return Glance::User { forwarded: false };
        }
        let mut facts = facts(head);
        facts.digest = digest;
        facts.whole = complete && head.len() < HEAD_KEPT;
        facts.signs = scan.signs.with(self.signs(&facts));
        facts.agent_rules = agent.map(|(hits, _)| hits).unwrap_or_default();
        facts.named = named;
        let facts = Arc::new(facts);
        if self.heads.len() >= REMEMBERED {
            self.heads.clear();
        }
        self.heads.insert(digest, (head.into(), Arc::clone(&facts)));
        Glance::Candidate(facts)
    }

    /// What in a head speaks for a check and against one, beside what a glance shows.
    pub(super) fn signs(&self, facts: &RequestFacts) -> EvidenceSet {
        self.catalogue.path_signs(&facts.target).with(signs(facts))
    }

    /// Whether the User-Agent of `head` names a known prober.
    pub(super) fn is_named(&mut self, head: &[u8]) -> bool {
        let Some(agent) = agent_of(&self.finder, head) else { return false };
        if agent == self.unnamed {
            return false;
        }
        let named = self.agent(agent).1;
        if !named {
            self.unnamed.clear();
            self.unnamed.extend_from_slice(agent);
        }
        named
    }

    /// Whether a caller sends many different requests, as no check does. Counts one more.
    fn has_much_to_say(&mut self, source: Address, agent: Option<&[u8]>) -> bool {
        if self.callers.len() >= REMEMBERED {
            self.callers.clear();
        }
        let count = self.callers.entry(hash((source, agent))).or_default();
        *count = count.saturating_add(1);
        *count > DIFFERENT_HEADS
    }

    fn agent(&mut self, agent: &[u8]) -> Agent {
        if let Some(known) = self.agents.get(agent) {
            return known.clone();
        }
        let known = self.catalogue.agents(&String::from_utf8_lossy(agent));
        if self.agents.len() >= REMEMBERED {
            self.agents.clear();
        }
        self.agents.insert(agent.into(), known.clone());
        known
    }
}

/// What a glance finds.
#[derive(Default)]
struct Scan<'a> {
    signs: EvidenceSet,
    agent: Option<&'a [u8]>,
    /// What no check has.
    user: bool,
}

/// The value of User-Agent, found without reading the other headers. `finder` looks for [`AGENT`].
fn agent_of<'a>(finder: &Finder<'_>, head: &'a [u8]) -> Option<&'a [u8]> {
    finder.find_iter(head).find_map(|at| {
        let name = at.checked_sub(1)?;
        let line = head.get(name..)?;
        let begins = name > 0 && head[name - 1] == b'\n';
        let is_name = line.get(..11).is_some_and(|name| name.eq_ignore_ascii_case(b"user-agent:"));
        (begins && is_name).then(|| {
            let end = memchr(b'\n', line).unwrap_or(line.len());
            line[11..end].trim_ascii()
        })
    })
}

fn scan(head: &[u8]) -> Scan<'_> {
    let mut scan = Scan::default();
    let (mut origin, mut asks_method, mut body) = (false, false, false);
    let mut rest = head;
    let mut first = true;
    while let Some(end) = memchr(b'\n', rest) {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        if std::mem::take(&mut first) {
            continue;
        }
        let Some(colon) = memchr(b':', line) else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let begins = |known: &str| {
            name.get(..known.len()).is_some_and(|name| name.eq_ignore_ascii_case(known.as_bytes()))
        };
        let signs = &mut scan.signs;
        match name.first().map(u8::to_ascii_lowercase) {
            Some(b'a') => {
                signs.set(Evidence::BrowserHeaders, is("accept-language"));
                signs.set(Evidence::Authorization, is("authorization"));
                asks_method |= is("access-control-request-method");
            }
            Some(b'c') => {
                signs.set(Evidence::Cookie, is("cookie"));
                body |= is("content-length") && value != b"0";
            }
            Some(b'f') => signs.set(Evidence::Forwarded, is("forwarded")),
            Some(b'o') => origin |= is("origin"),
            Some(b'r') => signs.set(Evidence::BrowserHeaders, is("referer")),
            Some(b's') => {
                signs.set(Evidence::BrowserHeaders, begins("sec-fetch-") || begins("sec-ch-"));
            }
            Some(b't') => body |= is("transfer-encoding"),
            Some(b'u') => {
                if is("user-agent") {
                    scan.agent.get_or_insert(value);
                }
                signs.set(Evidence::BrowserHeaders, is("upgrade-insecure-requests"));
                signs.set(Evidence::Upgrade, is("upgrade") && !value.eq_ignore_ascii_case(b"h2c"));
            }
            Some(b'v') => signs.set(Evidence::Forwarded, is("via")),
            Some(b'x') => signs.set(Evidence::Forwarded, begins("x-forwarded-")),
            _ => {}
        }
    }
    let preflight = origin && asks_method;
    scan.signs.set(Evidence::CorsPreflight, preflight);
    scan.signs.set(Evidence::RequestBody, body);
    scan.user = preflight
        || [Evidence::BrowserHeaders, Evidence::Cookie, Evidence::Forwarded, Evidence::Upgrade]
            .into_iter()
            .any(|sign| scan.signs.has(sign))
        || (body && !is_grpc(head));
    scan
}

/// gRPC asks everything by POST.
fn is_grpc(head: &[u8]) -> bool {
    head.starts_with(b"POST /grpc.health.v1.Health/Check ")
        || head.starts_with(b"POST /AWS.ALB/healthcheck ")
}

/// What the facts speak for, beside what the scan found.
fn signs(facts: &RequestFacts) -> EvidenceSet {
    let mut signs = EvidenceSet::default();
    let root = matches!(&*facts.target, "/" | "*");
    let cors = facts.header("access-control-request-method").is_some();
    signs.set(
        Evidence::OptionsRoot,
        &*facts.method == "OPTIONS" && root && !cors && facts.header("origin").is_none(),
    );
    signs.set(Evidence::HeadMethod, &*facts.method == "HEAD");
    // What is not there shows only in a head that was captured to its end.
    signs.set(Evidence::FewHeaders, facts.whole && facts.names.len() <= 2);
    signs.set(Evidence::NoUserAgent, facts.whole && facts.user_agent.is_none());
    let says = facts.user_agent.as_deref().is_some_and(|agent| {
        let agent = agent.to_ascii_lowercase();
        ["health", "probe", "check", "monitor", "uptime"]
            .into_iter()
            .any(|word| agent.contains(word))
    });
    signs.set(Evidence::AgentSaysCheck, says);
    signs
}

/// Facts of a head.
pub(super) fn facts(head: &[u8]) -> RequestFacts {
    let view = RequestHead::parse(head);
    let (mut names, mut values) = (Vec::new(), Vec::new());
    let (mut lower, mut canonical) = (true, true);
    for (name, value) in view.headers().take(NAMES_MAX) {
        lower &= !name.bytes().any(|byte| byte.is_ascii_uppercase());
        canonical &= name.split('-').all(|word| {
            let mut bytes = word.bytes();
            let first = bytes.next().is_none_or(|byte| !byte.is_ascii_lowercase());
            first && !bytes.any(|byte| byte.is_ascii_uppercase())
        });
        names.push(name.to_ascii_lowercase().into_boxed_str());
        values.push(cut(&value));
    }
    let find = |wanted: &str| -> Option<Box<str>> {
        let at = names.iter().position(|name| **name == *wanted)?;
        Some(values[at].clone())
    };
    let mut facts = RequestFacts {
        method: cut(&view.method()),
        target: cut(&view.target()),
        version: cut(&view.version()),
        host: find("host"),
        user_agent: find("user-agent"),
        connection: find("connection"),
        forwarded_for: find("x-forwarded-for"),
        forwarded_proto: find("x-forwarded-proto"),
        forwarded_port: find("x-forwarded-port"),
        case: match (names.is_empty(), lower, canonical) {
            (true, ..) => HeaderCase::None,
            (_, true, _) => HeaderCase::Lower,
            (_, _, true) => HeaderCase::Canonical,
            _ => HeaderCase::Mixed,
        },
        head_len: u32::try_from(head.len()).unwrap_or(u32::MAX),
        names: names.into(),
        values: values.into(),
        ..RequestFacts::default()
    };
    let query: Vec<&str> = facts.query_words().collect();
    facts.topic = hash((&facts.method, facts.path(), query, &facts.user_agent));
    facts.asked = hash((facts.topic, &facts.host));
    facts
}

/// `text` up to what is kept of it.
pub(super) fn cut(text: &str) -> Box<str> {
    if text.len() <= VALUE_KEPT {
        return text.into();
    }
    match text.char_indices().take_while(|(at, _)| *at <= VALUE_KEPT).last() {
        Some((at, _)) => text[..at].into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glance(head: &str) -> Glance {
        let catalogue = Catalogue::built_in().unwrap();
        let head = head.replace('\n', "\r\n");
        Heads::new(catalogue).glance([1; 16], head.as_bytes(), digest(head.as_bytes()), true)
    }

    fn candidate(head: &str) -> Option<Arc<RequestFacts>> {
        match glance(head) {
            Glance::Candidate(facts) => Some(facts),
            Glance::User { .. } => None,
        }
    }

    #[test]
    fn facts_keep_order_case_and_values() {
        let facts = candidate(
            "GET /health?x=1 HTTP/1.1\nHost: 10.0.0.9:80\nUser-Agent: ELB-HealthChecker/2.0\n\
             Connection: close\n\n",
        )
        .unwrap();
        assert_eq!(
            (&*facts.method, &*facts.target, &*facts.version),
            ("GET", "/health?x=1", "HTTP/1.1")
        );
        assert_eq!(facts.path(), "/health");
        assert_eq!(
            facts.names.iter().map(|name| &**name).collect::<Vec<_>>(),
            ["host", "user-agent", "connection"]
        );
        assert_eq!(facts.connection.as_deref(), Some("close"));
        assert!(facts.whole && facts.named && facts.case == HeaderCase::Canonical);
        assert_eq!(facts.head_len, 101);
        assert!(facts.signs.has(Evidence::PathStrong) && facts.signs.has(Evidence::AgentSaysCheck));
        assert!(!facts.is_forwarded());
        let case = |head: &str| candidate(head).unwrap().case;
        assert_eq!(case("GET / HTTP/1.0\n\n"), HeaderCase::None);
        assert_eq!(case("GET / HTTP/1.1\nhost: a\nx-b: c\n\n"), HeaderCase::Lower);
        assert_eq!(case("GET / HTTP/1.1\nHost: a\nx-b: c\n\n"), HeaderCase::Mixed);
    }

    #[test]
    fn what_users_send_is_seen_at_a_glance() {
        for line in [
            "Cookie: a=b",
            "X-Forwarded-For: 192.0.2.1",
            "Via: 1.1 proxy",
            "forwarded: for=1",
            "Accept-Language: de",
            "Sec-Fetch-Mode: cors",
            "Referer: https://a/",
            "Upgrade: websocket",
            "Content-Length: 5",
            "Transfer-Encoding: chunked",
            "Origin: https://a\nAccess-Control-Request-Method: PUT",
        ] {
            assert!(
                candidate(&format!("GET /health HTTP/1.1\nHost: a\n{line}\n\n")).is_none(),
                "{line}"
            );
        }
        assert!(candidate("GET /health HTTP/1.1\nHost: a\nAccept: */*\n\n").is_some());
        let external = "GET / HTTP/1.1\nUser-Agent: Uptime-Kuma/1\nX-Forwarded-For: 192.0.2.1\n\n";
        assert!(candidate(external).unwrap().is_forwarded());
        assert!(matches!(
            glance("GET / HTTP/1.1\nx-forwarded-proto: https\n\n"),
            Glance::User { forwarded: true }
        ));
    }

    #[test]
    fn the_agent_is_found_in_its_place() {
        let agent = |head: &'static str| agent_of(&Finder::new(AGENT), head.as_bytes());
        assert_eq!(agent("GET / HTTP/1.1\r\nA: b\r\nuser-agent:  x y \r\n\r\n"), Some(&b"x y"[..]));
        assert_eq!(agent("GET / HTTP/1.1\r\nUser-Agent: x"), Some(&b"x"[..]));
        assert_eq!(agent("GET /ser-user-agent: x HTTP/1.1\r\nUser: y\r\n\r\n"), None);
        assert_eq!(agent("ser-agent: x"), None);
    }

    #[test]
    fn who_asks_for_much_is_a_user_except_where_it_asks_for_health() {
        let mut heads = Heads::new(Catalogue::built_in().unwrap());
        let mut glance = |target: &str| {
            let head = format!("GET {target} HTTP/1.1\r\nUser-Agent: app\r\n\r\n");
            let glance = heads.glance([1; 16], head.as_bytes(), digest(head.as_bytes()), true);
            matches!(glance, Glance::Candidate(_))
        };
        assert!((0..DIFFERENT_HEADS).all(|number| glance(&format!("/{number}"))));
        assert!(!glance("/another") && glance("/health"));
    }

    #[test]
    fn more_heads_than_are_remembered_do_no_harm() {
        let catalogue = Catalogue::built_in().unwrap();
        let mut heads = Heads::new(catalogue);
        for number in 0..3 * REMEMBERED {
            let head = format!("GET /{number} HTTP/1.1\r\nUser-Agent: a{number}\r\n\r\n");
            heads.glance([1; 16], head.as_bytes(), digest(head.as_bytes()), true);
            assert!(heads.heads.len() <= REMEMBERED && heads.agents.len() <= REMEMBERED);
            assert!(heads.callers.len() <= REMEMBERED);
        }
    }
}
