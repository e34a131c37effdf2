//! Health-check settings: what holds for a target once estimates and defaults fill what is not given.

pub use super::given::{Place, Raw, RawGroup, SettingError, TARGETS_MAX, TargetGroup};
use super::matcher::Matcher;
use super::vendor::{self, SECOND, Vendor};
use crate::words::{Phrase, seconds};
use crate::{phrase, word};

/// What a check speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// A TCP handshake.
    Tcp,
    /// A TLS handshake.
    Tls,
    /// HTTP/1 in plain.
    Http,
    /// HTTP inside TLS.
    Https,
    /// gRPC health checking, or another gRPC method.
    Grpc,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Protocol; 5] =
        [Protocol::Tcp, Protocol::Tls, Protocol::Http, Protocol::Https, Protocol::Grpc];

    /// Stable id, as flags, the configuration and JSON write it.
    pub fn id(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Tls => "tls",
            Protocol::Http => "http",
            Protocol::Https => "https",
            Protocol::Grpc => "grpc",
        }
    }

    /// The protocol of that name in any case; `ssl` is the old name of `tls`.
    pub fn by_id(id: &str) -> Option<Protocol> {
        let id = id.to_ascii_lowercase();
        let id = if id == "ssl" { "tls" } else { &id };
        Protocol::ALL.into_iter().find(|protocol| protocol.id() == id)
    }

    /// Whether the answer carries a status code in clear.
    pub fn has_status(self) -> bool {
        matches!(self, Protocol::Http)
    }
}

/// How a value is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The user said so.
    Given,
    /// The packets suggest it.
    Estimated,
    /// The vendor's default.
    Default,
}

impl Origin {
    /// Stable id.
    pub fn id(self) -> &'static str {
        match self {
            Origin::Given => word!("given"),
            Origin::Estimated => word!("estimated"),
            Origin::Default => word!("default"),
        }
    }
}

/// A value and how it is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// How it is known.
    pub origin: Origin,
}

/// `30 s`, `500 ms`: as exact as it was written; what was measured with three digits.
pub fn time(nanos: i64) -> Phrase {
    if nanos % SECOND == 0 {
        return phrase!("{n} s", n = nanos / SECOND);
    }
    if nanos.abs() < SECOND && nanos % (SECOND / 1000) == 0 {
        return phrase!("{n} ms", n = nanos / (SECOND / 1000));
    }
    if nanos % (SECOND / 1000) == 0 {
        return phrase!("{n} s", n = (nanos as f64 / SECOND as f64).to_string());
    }
    crate::report::words::seconds(nanos as f64 / SECOND as f64)
}

/// What holds for the checks of one prober at one target. `None`: not known.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Kind of load balancer, given or by the prober.
    pub vendor: Option<&'static Vendor>,
    /// What checks speak.
    pub protocol: Option<Setting<Protocol>>,
    /// Port that is checked.
    pub port: Option<Setting<u16>>,
    /// Path of HTTP checks.
    pub path: Option<Setting<String>>,
    /// Nanoseconds between checks of one prober.
    pub interval: Option<Setting<i64>>,
    /// Nanoseconds after which a check has failed.
    pub timeout: Option<Setting<i64>>,
    /// Passes in a row that make an unhealthy target healthy.
    pub healthy: Option<Setting<u32>>,
    /// Failures in a row that make a healthy target unhealthy.
    pub unhealthy: Option<Setting<u32>>,
    /// Status codes that pass.
    pub matcher: Option<Setting<Matcher>>,
    /// What is odd about them, in words.
    pub notes: Vec<Phrase>,
}

/// What is known without the packets of the checks: of a prober that is no vendor of ours.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// Nanoseconds between two checks.
    pub interval: Option<i64>,
    /// Nanoseconds after which a check has failed.
    pub timeout: Option<i64>,
    /// Passes in a row to come up.
    pub healthy: Option<u32>,
    /// Failures in a row to go down.
    pub unhealthy: Option<u32>,
    /// Status codes that pass.
    pub matcher: Option<Matcher>,
}

/// What the packets suggest.
#[derive(Clone, Debug, Default)]
pub struct Estimates {
    /// What checks speak.
    pub protocol: Option<Protocol>,
    /// Port that is checked.
    pub port: Option<u16>,
    /// Path of HTTP checks.
    pub path: Option<String>,
    /// Nanoseconds between checks of one prober.
    pub interval: Option<i64>,
    /// Nanoseconds after which the prober gave up.
    pub timeout: Option<i64>,
}

fn choose<T>(given: Option<T>, estimated: Option<T>, default: Option<T>) -> Option<Setting<T>> {
    let with = |origin| move |value| Setting { value, origin };
    given
        .map(with(Origin::Given))
        .or(estimated.map(with(Origin::Estimated)))
        .or(default.map(with(Origin::Default)))
}

/// How far an estimate may be off before it contradicts what was given.
const TOLERANCE: f64 = 0.2;

impl Settings {
    /// What was given wins over what the packets suggest, and that over the defaults.
    pub fn new(
        given: Option<&TargetGroup>,
        prober: &str,
        known: &Defaults,
        seen: &Estimates,
    ) -> Settings {
        let none = TargetGroup::default();
        let given = given.unwrap_or(&none);
        let vendor = given.vendor.or_else(|| vendor::of_prober(prober));
        let protocol = choose(
            given.protocol,
            seen.protocol,
            vendor.and_then(|vendor| vendor.protocols.first().copied()),
        );
        let speaks = protocol.as_ref().map(|setting| setting.value);
        let http = matches!(speaks, None | Some(Protocol::Http | Protocol::Https | Protocol::Grpc));
        let default_timeout = match (vendor, speaks) {
            (Some(vendor), Some(speaks)) => vendor.default_timeout(speaks),
            (Some(vendor), None) => vendor.timeout.default,
            (None, _) => known.timeout,
        };
        let matcher = match (vendor, speaks) {
            (Some(_), Some(Protocol::Grpc)) => Matcher::parse("12").ok(),
            (Some(vendor), _) => Matcher::parse(vendor.matcher).ok(),
            (None, _) => known.matcher.clone(),
        };
        let mut settings = Settings {
            vendor,
            protocol,
            port: choose(given.port, seen.port, vendor.and_then(|vendor| vendor.port)),
            path: choose(
                given.path.clone(),
                seen.path.clone(),
                vendor.and_then(|vendor| vendor.path.map(str::to_owned)),
            )
            .filter(|_| http),
            interval: choose(
                given.interval,
                seen.interval,
                vendor.map_or(known.interval, |vendor| vendor.interval.default),
            ),
            timeout: choose(given.timeout, seen.timeout, default_timeout),
            healthy: choose(
                given.healthy,
                None,
                vendor.map_or(known.healthy, |vendor| vendor.healthy.default),
            ),
            unhealthy: choose(
                given.unhealthy,
                None,
                vendor.map_or(known.unhealthy, |vendor| vendor.unhealthy.default),
            ),
            matcher: choose(given.matcher.clone(), None, matcher).filter(|_| http),
            notes: Vec::new(),
        };
        settings.note(given, seen);
        settings
    }

    fn note(&mut self, given: &TargetGroup, seen: &Estimates) {
        let is_default = self.timeout.as_ref().is_none_or(|value| value.origin == Origin::Default);
        let http = self.protocol.as_ref().is_some_and(|value| value.value == Protocol::Http);
        if let Some(text) = self.vendor.and_then(|vendor| vendor.disagreement("timeout"))
            && is_default
            && http
        {
            self.notes.push(phrase!(
                "time-out: {text}; give the real one with --hc-timeout",
                text = Phrase::fixed(text)
            ));
        }
        for (name, given, seen) in [
            (word!("interval"), given.interval, seen.interval),
            (word!("time-out"), given.timeout, seen.timeout),
        ] {
            if let (Some(given), Some(seen)) = (given, seen)
                && (given - seen).abs() as f64 > given as f64 * TOLERANCE
            {
                self.notes.push(phrase!(
                    "{name}: {given} was given, the packets show about {seen}",
                    name,
                    given = time(given),
                    seen = seconds(seen as f64 / SECOND as f64)
                ));
            }
        }
        if let (Some(given), Some(seen)) = (&given.path, &seen.path)
            && given != seen
        {
            self.notes.push(phrase!(
                "path: {given} was given, the checks ask for {seen}",
                given = given.clone(),
                seen = seen.clone()
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Option<Raw> {
        Some(Raw { text: text.to_owned(), place: Place::Flag("--hc-x") })
    }

    fn group(lb: &str) -> RawGroup {
        RawGroup { lb_type: raw(lb), ..RawGroup::default() }
    }

    #[test]
    fn given_wins_over_estimated_and_that_over_the_default() {
        let given = RawGroup { interval: raw("10"), ..group("alb") }.check().unwrap();
        let seen = Estimates {
            protocol: Some(Protocol::Http),
            interval: Some(30 * SECOND),
            path: Some("/health".into()),
            ..Estimates::default()
        };
        let settings = Settings::new(Some(&given), "aws-alb", &Defaults::default(), &seen);
        let interval = settings.interval.as_ref().unwrap();
        assert_eq!((interval.value, interval.origin), (10 * SECOND, Origin::Given));
        assert_eq!(settings.path.as_ref().unwrap().origin, Origin::Estimated);
        assert_eq!(settings.timeout.as_ref().unwrap().origin, Origin::Default);
        assert_eq!(settings.matcher.as_ref().unwrap().value.to_string(), "200");
        let notes = Phrase::list(settings.notes, "\n");
        assert!(notes.contains("10 s was given, the packets show about 30.0 s"), "{notes}");
        assert!(notes.contains("5 s (user guide) and 6 s"), "{notes}");
    }

    #[test]
    fn a_prober_that_is_no_vendor_keeps_its_own_defaults() {
        let known = Defaults { interval: Some(SECOND), unhealthy: Some(3), ..Defaults::default() };
        let settings = Settings::new(None, "consul", &known, &Estimates::default());
        assert_eq!(settings.unhealthy.unwrap().value, 3);
        assert!(settings.vendor.is_none() && settings.healthy.is_none());
        let tcp = Estimates { protocol: Some(Protocol::Tcp), ..Estimates::default() };
        let settings = Settings::new(None, "aws-nlb", &Defaults::default(), &tcp);
        assert!(settings.matcher.is_none() && settings.path.is_none());
        assert_eq!(settings.timeout.unwrap().value, 10 * SECOND);
    }
}
