//! What speaks for a check and against one, beside a fingerprint, and how much.
//!
//! Weights are decibans, ten times the decimal logarithm of the odds: +10 makes a check ten times
//! as likely as before. They are judgements, held together by the tests of recognition: no single
//! one suffices, and what people and programs do in front of a load balancer stays below "likely".

use serde::Deserialize;

macro_rules! evidence {
    ($($(#[$doc:meta])* $variant:ident = $id:literal, $weight:literal, $words:literal;)+) => {
        /// A piece of evidence.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        #[repr(u8)]
        pub enum Evidence { $(#[doc = $words] #[doc = ""] $(#[$doc])* $variant,)+ }

        impl Evidence {
            /// Every piece of evidence.
            pub const ALL: &'static [Evidence] = &[$(Evidence::$variant,)+];

            /// Stable id, as files of probers spell it.
            pub fn id(self) -> &'static str {
                match self { $(Evidence::$variant => $id,)+ }
            }

            /// How much it counts, decibans.
            pub fn weight(self) -> i32 {
                match self { $(Evidence::$variant => $weight,)+ }
            }

            /// What was seen.
            pub fn words(self) -> &'static str {
                match self { $(Evidence::$variant => $words,)+ }
            }
        }
    };
}

evidence! {
    /// See `[paths]` in files of probers.
    PathStrong = "path-strong", 14, "a path made for checks";
    /// See `[paths]`.
    PathWeak = "path-weak", 5, "a path that checks use, among others";
    /// Without Origin and Access-Control-Request-Method.
    OptionsRoot = "options-root", 14, "OPTIONS for / or *, and no browser's preflight";
    /// With or without the port.
    HostIsTarget = "host-is-target", 8, "Host is the target's address";
    /// At most two.
    FewHeaders = "few-headers", 6, "hardly any header";
    NoUserAgent = "no-user-agent", 3, "no User-Agent";
    /// A word such as health, check, probe or monitor in it.
    AgentSaysCheck = "agent-says-check", 12, "the User-Agent speaks of checks";
    HeadMethod = "head-method", 3, "HEAD";
    OnePerConnection = "one-per-connection", 4, "a connection of its own";
    /// At least five times.
    DedicatedConnection = "dedicated-connection", 8, "a connection that carries nothing else";
    /// The third packet of the handshake carries the request already.
    RequestRidesHandshake = "request-rides-handshake", 4, "the request comes with the handshake's last packet";
    /// Its source sends requests with X-Forwarded-For, Forwarded or Via as well; this has none.
    UnforwardedFromForwarder = "unforwarded-from-forwarder", 12, "not forwarded, from a proxy that forwards others";
    /// Byte for byte, five or more.
    IdenticalRequests = "identical-requests", 4, "the same bytes every time";
    IdenticalResponses = "identical-responses", 3, "the same answer every time";
    /// Five checks in a regular rhythm; the next two add to it.
    Periodic = "periodic", 5, "a regular rhythm";
    /// Seven.
    PeriodicLong = "periodic-long", 7, "kept for seven times and more";
    /// Nine, and within 2 %.
    PeriodicExact = "periodic-exact", 8, "kept exactly for nine times and more";
    /// HAProxy's `inter`, `fastinter` and `downinter`.
    SeveralTimers = "several-timers", 8, "a few steps, each of them kept exactly";
    /// A period that people configure, such as 10 s.
    RoundPeriod = "round-period", 4, "a round period";
    /// Three targets and more.
    TargetSweep = "target-sweep", 8, "the same from this source at other targets";
    /// Three sources and more.
    Fleet = "fleet", 8, "the same from other sources";
    /// Connections without data beside checks, such as an NLB's TLS listener makes.
    KnownChecker = "known-checker", 18, "from a source that checks this target";
    /// Connection attempts that fail in a strict rhythm.
    RefusedPeriodic = "refused-periodic", 6, "attempts that fail in a regular rhythm";
    /// x-envoy-upstream-healthchecked-cluster.
    ProbeResponseHeader = "probe-response-header", 15, "the answer says that it answers a health check";
    /// No payload, and closed within a round trip and 20 ms of the handshake.
    ClosedAtOnce = "closed-at-once", 10, "opened and closed at once";
    /// Constant within 5 %, after a wait: a check that timed out.
    ConstantWait = "constant-wait", 4, "the same wait every time";
    /// C:SYN S:SYN-ACK C:RST-ACK.
    HandshakeReset = "handshake-reset", 14, "the SYN-ACK answered by RST with ACK";
    /// C:SYN S:SYN-ACK C:RST. Port scanners do this, too.
    HalfOpen = "half-open", 4, "the SYN-ACK answered by RST";
    /// A PROXY header of the proxy's own address.
    ProxyOwnAddress = "proxy-own-address", 30, "a PROXY header that names its sender";
    /// A handshake and no application data that its length leaves room for.
    TlsHandshakeOnly = "tls-handshake-only", 6, "a TLS handshake and no more";
    /// As many bytes either way as the others.
    EqualSizes = "equal-sizes", 6, "as many bytes as every time";
    /// Accept-Language, Referer, Sec-Fetch-*, Sec-CH-*, Upgrade-Insecure-Requests.
    BrowserHeaders = "browser-headers", -20, "headers of a browser";
    Cookie = "cookie", -12, "a cookie";
    /// Checks may carry a token.
    Authorization = "authorization", -4, "credentials";
    CorsPreflight = "cors-preflight", -40, "a browser's preflight";
    RequestBody = "request-body", -12, "a request with a body";
    /// Its source and User-Agent ask for three other paths and more.
    VariedPaths = "varied-paths", -15, "asked for among many other paths";
    Upgrade = "upgrade", -30, "asks for another protocol";
    /// Over 64 KiB.
    LargeResponse = "large-response", -4, "a large answer";
    /// See `[paths]`.
    ScrapePath = "scrape-path", -40, "a path of metrics";
    /// No payload and a second of silence before the close: opened ahead, or given up.
    IdleBeforeClose = "idle-before-close", -15, "idle before it was closed";
    /// Its source was refused at five ports of the target.
    PortSweep = "port-sweep", -40, "part of a port scan";
    /// X-Forwarded-For, Forwarded or Via.
    Forwarded = "forwarded", -8, "forwarded by a proxy";
}

/// Probability of a check before any evidence, decibans: one connection in a hundred.
pub(super) const PRIOR: i32 = -20;
/// From here on 99 % are checks.
pub(super) const CERTAIN: i32 = 20;
/// From here on 91 % are checks.
pub(super) const LIKELY: i32 = 10;
/// From here on more than half are checks.
pub(super) const POSSIBLE: i32 = 0;
/// What says nothing of whose check it is, however regular, stays at this.
pub(super) const WITHOUT_CLUE: i32 = 6;

/// What an HTTP group without fingerprint needs one of: regular are cron jobs and pollers, too, and the
/// requests of any script have few headers and its target's address as Host.
pub(super) const CLUES: EvidenceSet = EvidenceSet(
    1 << Evidence::PathStrong as u8
        | 1 << Evidence::PathWeak as u8
        | 1 << Evidence::OptionsRoot as u8
        | 1 << Evidence::AgentSaysCheck as u8
        | 1 << Evidence::HeadMethod as u8
        | 1 << Evidence::UnforwardedFromForwarder as u8
        | 1 << Evidence::ProbeResponseHeader as u8,
);

/// Those that are a check's even where the rest of the request is not known.
pub(super) const TELLING_CLUES: EvidenceSet = EvidenceSet(
    1 << Evidence::PathStrong as u8
        | 1 << Evidence::OptionsRoot as u8
        | 1 << Evidence::AgentSaysCheck as u8
        | 1 << Evidence::ProbeResponseHeader as u8,
);

/// A set of evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EvidenceSet(u64);

const _: () = assert!(Evidence::ALL.len() <= 64, "EvidenceSet has 64 bits");

impl EvidenceSet {
    /// Adds `evidence` if it `holds`.
    pub(super) fn set(&mut self, evidence: Evidence, holds: bool) {
        self.0 |= u64::from(holds) << evidence as u8;
    }

    /// Takes `evidence` out.
    pub(super) fn unset(&mut self, evidence: Evidence) {
        self.0 &= !(1 << evidence as u8);
    }

    /// Whether `evidence` is among it.
    pub fn has(self, evidence: Evidence) -> bool {
        self.0 & (1 << evidence as u8) != 0
    }

    /// Whether any of `others` is among it.
    pub(super) fn any_of(self, others: EvidenceSet) -> bool {
        self.0 & others.0 != 0
    }

    /// The union of both.
    #[must_use]
    pub(super) fn with(self, others: EvidenceSet) -> EvidenceSet {
        EvidenceSet(self.0 | others.0)
    }

    /// What is in it, in the order of [`Evidence::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Evidence> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let index = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            Evidence::ALL.get(index).copied()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_gives_back_what_was_put_in() {
        let mut set = EvidenceSet::default();
        for evidence in [Evidence::Cookie, Evidence::PathStrong, Evidence::Forwarded] {
            set.set(evidence, true);
            set.set(Evidence::Upgrade, false);
            assert!(set.has(evidence));
        }
        let listed: Vec<_> = set.iter().collect();
        assert_eq!(listed, [Evidence::PathStrong, Evidence::Cookie, Evidence::Forwarded]);
        assert!(set.any_of(CLUES) && !set.has(Evidence::Upgrade));
        assert_eq!(EvidenceSet::default().iter().count(), 0);
    }

    #[test]
    fn ids_are_as_files_spell_them() {
        for evidence in Evidence::ALL {
            let parsed: Result<std::collections::BTreeMap<String, Evidence>, _> =
                toml::from_str(&format!("needs = '{}'", evidence.id()));
            assert_eq!(parsed.unwrap().get("needs"), Some(evidence));
        }
    }
}
