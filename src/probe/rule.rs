//! Which fingerprints a candidate fits, and what else in it speaks for a check.

use super::catalogue::{Catalogue, Rule};
use super::evidence::{Evidence, EvidenceSet};
use super::facts::{HeaderCase, ProxyCommand, RequestFacts};
use super::file::{Case, Ends, HostForm, On, Proxied};
use super::sighting::{Scope, Shape, Sighting};
use crate::flow::{Ending, EndingKind};
use crate::packet::Endpoint;
use crate::tcp::Side;
use crate::tls::Handshake;
use crate::words::Phrase;
use crate::{phrase, word};
use std::net::IpAddr;

/// What a check that closes at once needs beyond a round trip, nanoseconds.
const AT_ONCE: i64 = 20_000_000;
/// Silence after which a connection counts as opened ahead, nanoseconds.
const IDLE: i64 = 1_000_000_000;
/// Bytes of an answer from which it is large.
const LARGE: u64 = 64 << 10;

impl Sighting {
    /// What a rule has to look at.
    pub(super) fn on(&self) -> On {
        if self.request.is_some() {
            On::Http
        } else if self.is_tls() {
            On::Tls
        } else if self.payload[0] > 0 || self.proxy.is_some() {
            On::Payload
        } else {
            On::Bare
        }
    }

    /// How its connection was ended; `None` while it goes on.
    pub(super) fn ends(&self) -> Option<Ends> {
        match (self.closed_by?, self.ending(Side::Client)) {
            (Side::Server, _) => Some(Ends::ServerFirst),
            (Side::Client, Some(Ending { kind: EndingKind::Rst, .. })) => Some(Ends::Rst),
            (Side::Client, _) => Some(Ends::Fin),
        }
    }

    /// Nanoseconds from the end of the handshake to the client's close.
    pub(super) fn silence(&self) -> Option<i64> {
        let opened = self.marks.ack.or(self.marks.syn_ack)?;
        Some(self.ending(Side::Client)?.mark.at.nanos_since(opened.at))
    }

    /// What speaks for it and against it by itself.
    pub(super) fn evidence(&self) -> EvidenceSet {
        let mut found =
            self.request.as_ref().map_or_else(EvidenceSet::default, |facts| facts.signs);
        if let Some(facts) = &self.request {
            let forms = host_forms(facts, self.source, self.target);
            found.set(Evidence::HostIsTarget, forms.target);
            found.set(Evidence::OnePerConnection, self.scope == Scope::Connection);
        }
        // A PROXY header is always there to come with it.
        let opaque = matches!(self.on(), On::Payload | On::Tls) && self.proxy.is_none();
        let alone = self.ordinal == 1 || opaque;
        let rides = self.marks.ack.zip(self.marks.request_first).filter(|_| alone);
        found.set(
            Evidence::RequestRidesHandshake,
            rides.is_some_and(|(ack, request)| ack.frame == request.frame),
        );
        if let Some(response) = &self.response {
            found
                .set(Evidence::ProbeResponseHeader, response.texts.healthchecked_cluster.is_some());
            found.set(Evidence::LargeResponse, response.sent > LARGE);
        }
        let bare = self.on() == On::Bare && self.payload[1] == 0;
        let silence = self.silence().filter(|_| bare);
        let round_trip = self.round_trip.or_else(|| self.connect_time()).unwrap_or(0);
        let closes = matches!(self.shape, Shape::ConnectFin | Shape::ConnectReset);
        found.set(
            Evidence::ClosedAtOnce,
            closes && silence.is_some_and(|silence| silence <= round_trip.saturating_add(AT_ONCE)),
        );
        found.set(Evidence::IdleBeforeClose, silence.is_some_and(|silence| silence >= IDLE));
        found.set(Evidence::HandshakeReset, self.shape == Shape::HandshakeReset);
        found.set(Evidence::HalfOpen, self.shape == Shape::HalfOpen);
        found.set(Evidence::ProxyOwnAddress, self.is_proxied(Proxied::OwnAddress));
        found.set(Evidence::TlsHandshakeOnly, self.is_handshake_only());
        found
    }

    fn is_handshake_only(&self) -> bool {
        let silent = |tls: &Handshake| tls.data[0].is_none() && !tls.unread;
        self.is_tls() && self.request.is_none() && self.tls.as_deref().is_some_and(silent)
    }

    /// Whether a PROXY header of this kind came first.
    pub(super) fn is_proxied(&self, how: Proxied) -> bool {
        let Some(header) = self.proxy else { return false };
        match (how, header.command) {
            (Proxied::Any, _) => true,
            (Proxied::Local, command) => command == ProxyCommand::Local,
            (Proxied::OwnAddress, ProxyCommand::Proxy(source, target)) => {
                source == self.source && source != target
            }
            (Proxied::SameTwice, ProxyCommand::Proxy(source, target)) => source == target,
            _ => false,
        }
    }
}

/// What the Host header of a request is made of.
#[derive(Clone, Copy, Debug, Default)]
struct HostForms {
    absent: bool,
    empty: bool,
    ip: bool,
    port: bool,
    target: bool,
    source: bool,
    loopback: bool,
    localhost: bool,
}

fn host_forms(facts: &RequestFacts, source: Endpoint, target: Endpoint) -> HostForms {
    let mut forms = HostForms::default();
    let Some(value) = facts.host.as_deref() else { return HostForms { absent: true, ..forms } };
    let (host, port) = match value.rsplit_once(':') {
        Some((host, port))
            if !port.is_empty()
                && port.bytes().all(|byte| byte.is_ascii_digit())
                && (!host.contains(':') || host.ends_with(']')) =>
        {
            (host, true)
        }
        _ => (value, false),
    };
    forms.port = port;
    forms.empty = host.is_empty();
    forms.localhost = host.eq_ignore_ascii_case("localhost");
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    if let Some(ip) = ip {
        forms.ip = true;
        forms.loopback = ip.is_loopback();
        forms.target = ip == target.addr();
        forms.source = ip == source.addr() && source.ip != target.ip;
    }
    forms
}

impl HostForms {
    fn is(self, form: HostForm) -> bool {
        let HostForms { absent, empty, ip, port, target, source, loopback, localhost } = self;
        let name = !(absent || empty || ip || localhost);
        match form {
            HostForm::Absent => absent,
            HostForm::Empty => empty,
            HostForm::TargetIp => target && !port,
            HostForm::TargetIpPort => target && port,
            HostForm::SourceIp => source && !port,
            HostForm::SourceIpPort => source && port,
            HostForm::Ip => ip && !port,
            HostForm::IpPort => ip && port,
            HostForm::Loopback => loopback,
            HostForm::Localhost => localhost,
            HostForm::Name => name && !port,
            HostForm::NamePort => name && port,
        }
    }
}

/// What is asked, without what differs between the sources and targets of one checker.
pub(super) fn host_shape(facts: &RequestFacts, source: Endpoint, target: Endpoint) -> (u8, &str) {
    let forms = host_forms(facts, source, target);
    match facts.host.as_deref() {
        _ if forms.target => (1, ""),
        _ if forms.source => (2, ""),
        Some(host) => (3, host),
        None => (0, ""),
    }
}

impl Catalogue {
    /// Numbers of the rules that `sighting` fits, whatever it needs beside and however it ends.
    pub(super) fn fitting(&self, sighting: &Sighting) -> Vec<u16> {
        let on = sighting.on();
        let rules = self.rules.iter().enumerate();
        rules
            .filter(|(_, rule)| rule.when.on == on && self.fits(rule, sighting))
            .map(|(number, _)| number as u16)
            .collect()
    }

    fn fits(&self, rule: &Rule, sighting: &Sighting) -> bool {
        let when = &rule.when;
        // Most rules name a User-Agent, and whether that fits is known.
        if let (Some(agent), Some(facts)) = (rule.agent, &sighting.request)
            && !facts.agent_rules.contains(&(agent as u16))
        {
            return false;
        }
        if !when.shape.is_empty() && !when.shape.contains(&sighting.shape) {
            return false;
        }
        if when.proxy.is_some_and(|how| !sighting.is_proxied(how)) {
            return false;
        }
        if when
            .payload
            .as_ref()
            .is_some_and(|hex| !hex.begins(&sighting.opening, when.payload_ends))
        {
            return false;
        }
        let from =
            |nets: &[usize]| nets.iter().any(|net| self.nets[*net].holds(sighting.source.ip));
        if (!rule.inside.is_empty() && !from(&rule.inside)) || from(&rule.outside) {
            return false;
        }
        match &sighting.request {
            Some(facts) => asks(rule, facts, sighting),
            None => true,
        }
    }
}

/// Whether the request is as the rule says.
fn asks(rule: &Rule, facts: &RequestFacts, sighting: &Sighting) -> bool {
    let when = &rule.when;
    let among = |list: &[String], text: &str| list.is_empty() || list.iter().any(|one| one == text);
    let agent = match (rule.agent, &when.ua) {
        (Some(agent), _) => facts.agent_rules.contains(&(agent as u16)),
        (None, Some(absent)) => facts.whole && absent.holds(facts.user_agent.as_deref()),
        (None, None) => true,
    };
    agent
        && among(&when.method, &facts.method)
        && among(&when.version, version(facts))
        && when.path.as_ref().is_none_or(|path| path.holds(Some(&facts.target)))
        && when.headers.as_ref().is_none_or(|headers| {
            facts.whole && headers.iter().map(String::as_str).eq(facts.names.iter().map(|n| &**n))
        })
        && when.header.iter().all(|header| {
            facts.header(&header.name).is_some_and(|value| {
                header.value.as_ref().is_none_or(|wanted| wanted.0.is_match(value))
            })
        })
        && when.case.is_none_or(|case| {
            facts.case
                == match case {
                    Case::Lower => HeaderCase::Lower,
                    Case::Canonical => HeaderCase::Canonical,
                }
        })
        && (when.host.is_empty()
            || (facts.whole || facts.host.is_some()) && {
                let forms = host_forms(facts, sighting.source, sighting.target);
                when.host.iter().any(|form| forms.is(*form))
            })
}

/// The version as files of probers write it.
fn version(facts: &RequestFacts) -> &str {
    match &*facts.version {
        "" => "0.9",
        "HTTP/2" | "HTTP/2.0" => "2",
        version => version.strip_prefix("HTTP/").unwrap_or(version),
    }
}

/// What a rule saw, in words.
pub(super) fn words(rule: &Rule, sighting: &Sighting) -> Phrase {
    let when = &rule.when;
    let mut parts: Vec<Phrase> = Vec::new();
    if let Some(facts) = &sighting.request {
        match (&when.ua, &facts.user_agent) {
            (Some(_), Some(agent)) => parts.push(phrase!("User-Agent {agent}", agent)),
            (Some(_), None) => parts.push(phrase!("no User-Agent")),
            (None, _) => {}
        }
        if let (false, Some(host)) = (when.host.is_empty(), &facts.host) {
            let forms = host_forms(facts, sighting.source, sighting.target);
            let whose = match (forms.target, forms.source) {
                (true, _) => word!(", the target's address"),
                (_, true) => word!(", the sender's own address"),
                _ => "",
            };
            parts.push(phrase!("Host {host}{whose}", host, whose));
        }
        if when.path.is_some() || !when.method.is_empty() {
            parts.push(phrase!(
                "{method} {target}",
                method = &facts.method,
                target = &facts.target
            ));
        }
        match when.headers.as_deref() {
            Some([]) => parts.push(phrase!("no header at all")),
            Some(headers) => {
                parts.push(phrase!("only the headers {headers}", headers = headers.join(", ")))
            }
            None => {}
        }
        if when.case == Some(Case::Lower) {
            parts.push(phrase!("header names in lower case"));
        }
        parts.extend(
            when.header.iter().map(|header| phrase!("header {header}", header = &header.name)),
        );
    }
    if !when.shape.is_empty() {
        parts.push(phrase!("connection {shape}", shape = sighting.shape.id()));
    }
    if when.payload.is_some() {
        parts.push(phrase!("its first bytes"));
    }
    match when.proxy {
        Some(Proxied::Local) => parts.push(phrase!("PROXY LOCAL")),
        Some(_) => parts.push(phrase!("PROXY header of its own address")),
        None => {}
    }
    if when.ends == [Ends::Rst] {
        parts.push(phrase!("ended by RST"));
    }
    if !rule.inside.is_empty() {
        parts.push(phrase!("from {source}", source = sighting.source.addr()));
    }
    parts.extend(rule.needs.iter().map(|need| Phrase::fixed(need.words())));
    Phrase::list(parts, ", ")
}
