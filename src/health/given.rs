//! What the user says of health checks: values as written, checked against what the vendor allows.

use super::matcher::{Matcher, MatcherError};
use super::settings::{Protocol, time};
use super::vendor::{self, SECOND, VENDORS, Vendor};
use crate::packet::Endpoint;
use std::fmt;

/// Where a value stands, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A flag of the command line.
    Flag(&'static str),
    /// A key of the configuration.
    Line {
        /// As named on the command line.
        file: String,
        /// From 1.
        line: usize,
        /// Its name.
        key: &'static str,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Flag(flag) => f.write_str(flag),
            Place::Line { file, line, key } => write!(f, "{file}:{line}: {key}"),
        }
    }
}

/// A value as the user wrote it.
#[derive(Clone, Debug)]
pub struct Raw {
    /// The text.
    pub text: String,
    /// Where it stands.
    pub place: Place,
}

/// A target group as the user wrote it.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct RawGroup {
    pub name: Option<String>,
    pub lb_type: Option<Raw>,
    pub protocol: Option<Raw>,
    pub port: Option<Raw>,
    pub path: Option<Raw>,
    pub interval: Option<Raw>,
    pub timeout: Option<Raw>,
    pub healthy: Option<Raw>,
    pub unhealthy: Option<Raw>,
    pub matcher: Option<Raw>,
    pub targets: Vec<Raw>,
}

/// A value that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place} {value}: {why}")]
pub struct SettingError {
    /// Flag, or file, line and key.
    pub place: Place,
    /// As written.
    pub value: String,
    /// What is wrong, with the range where there is one.
    pub why: String,
}

/// A target group as given, every value possible.
#[derive(Clone, Debug, Default)]
pub struct TargetGroup {
    /// For people.
    pub name: Option<String>,
    /// Kind of load balancer.
    pub vendor: Option<&'static Vendor>,
    /// What checks speak.
    pub protocol: Option<Protocol>,
    /// Port that is checked.
    pub port: Option<u16>,
    /// Path of HTTP checks.
    pub path: Option<String>,
    /// Nanoseconds between checks of one prober.
    pub interval: Option<i64>,
    /// Nanoseconds after which a check has failed.
    pub timeout: Option<i64>,
    /// Passes in a row that make an unhealthy target healthy.
    pub healthy: Option<u32>,
    /// Failures in a row that make a healthy target unhealthy.
    pub unhealthy: Option<u32>,
    /// Status codes that pass.
    pub matcher: Option<Matcher>,
    /// Targets that are in the group, where traffic arrives.
    pub targets: Vec<Endpoint>,
}

/// Targets that one group may name; AWS allows 1000 per load balancer.
pub const TARGETS_MAX: usize = 4096;
/// Longest path of a check; AWS allows 1024 characters.
pub const PATH_MAX: usize = 1024;

impl Raw {
    fn refuse(&self, why: impl Into<String>) -> SettingError {
        SettingError { place: self.place.clone(), value: self.text.clone(), why: why.into() }
    }

    fn vendor(&self) -> Result<&'static Vendor, SettingError> {
        vendor::by_id(&self.text.to_ascii_lowercase()).ok_or_else(|| {
            let known: Vec<&str> = VENDORS.iter().map(|vendor| vendor.id).collect();
            self.refuse(format!("no such load balancer; known are {}", known.join(", ")))
        })
    }

    fn protocol(&self, vendor: Option<&Vendor>) -> Result<Protocol, SettingError> {
        let all = vendor.map_or(&Protocol::ALL[..], |vendor| vendor.protocols);
        let ids: Vec<&str> = all.iter().map(|protocol| protocol.id()).collect();
        Protocol::by_id(&self.text).filter(|protocol| all.contains(protocol)).ok_or_else(|| {
            let whose = vendor.map_or("health checks speak", |_| "it checks with");
            self.refuse(format!("{}{whose} {}", of(vendor), ids.join(", ")))
        })
    }

    fn port(&self) -> Result<u16, SettingError> {
        self.text
            .parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| self.refuse("a port is a number from 1 to 65535"))
    }

    fn path(&self) -> Result<String, SettingError> {
        let fits = self.text.starts_with('/') && self.text.len() <= PATH_MAX;
        if fits && self.text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(self.text.clone());
        }
        Err(self.refuse(format!(
            "a path begins with / and has at most {PATH_MAX} visible ASCII characters"
        )))
    }

    fn time(
        &self,
        vendor: Option<&Vendor>,
        range: vendor::Range<i64>,
    ) -> Result<i64, SettingError> {
        let nanos = nanoseconds(&self.text).ok_or_else(|| {
            self.refuse("a time is a number of seconds, or ends in ms, s, m or h")
        })?;
        if (range.min..=range.max).contains(&nanos) {
            return Ok(nanos);
        }
        let range = match range.max {
            i64::MAX => format!("at least {}", time(range.min)),
            max => format!("from {} to {}", time(range.min), time(max)),
        };
        Err(self.refuse(format!("{}it has to be {range}", of(vendor))))
    }

    fn count(
        &self,
        vendor: Option<&Vendor>,
        range: vendor::Range<u32>,
    ) -> Result<u32, SettingError> {
        let count = self
            .text
            .parse::<u32>()
            .map_err(|_| self.refuse("a threshold is a whole number of checks"))?;
        if (range.min..=range.max).contains(&count) {
            return Ok(count);
        }
        let range = match (range.min, range.max) {
            (min, u32::MAX) => format!("at least {min}"),
            (min, max) if min == max => format!("{min}"),
            (min, max) => format!("from {min} to {max}"),
        };
        Err(self.refuse(format!("{}it has to be {range}", of(vendor))))
    }

    fn matcher(&self, vendor: Option<&Vendor>, grpc: bool) -> Result<Matcher, SettingError> {
        let matcher =
            Matcher::parse(&self.text).map_err(|why: MatcherError| self.refuse(why.to_string()))?;
        // AWS: gRPC codes 0 to 99.
        let (low, high) = match vendor {
            _ if grpc => (0, 99),
            Some(vendor) => vendor.matcher_range,
            None => (0, 599),
        };
        if matcher.within(low, high) {
            return Ok(matcher);
        }
        let range = if low == high { low.to_string() } else { format!("{low}-{high}") };
        Err(self.refuse(format!("{}the codes have to lie within {range}", of(vendor))))
    }

    /// An address and a port, as `10.0.0.1:80` or `[fd00::1]:80`.
    pub fn target(&self) -> Result<Endpoint, SettingError> {
        let socket: std::net::SocketAddr = self
            .text
            .parse()
            .map_err(|_| self.refuse("a target is IP:PORT, IPv6 in brackets: [fd00::1]:80"))?;
        if socket.port() == 0 {
            return Err(self.refuse("port 0 is no port"));
        }
        Ok(match socket.ip() {
            std::net::IpAddr::V4(ip) => Endpoint::v4(ip.octets(), socket.port()),
            std::net::IpAddr::V6(ip) => Endpoint::v6(ip.octets(), socket.port()),
        })
    }
}

fn of(vendor: Option<&Vendor>) -> String {
    vendor.map_or(String::new(), |vendor| format!("{}: ", vendor.name))
}

/// `5`, `1.5`, `500ms`, `30s`, `2m`, `1h` in nanoseconds.
fn nanoseconds(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let unit = match text[digits..].trim() {
        "" | "s" => SECOND,
        "ms" => SECOND / 1000,
        "m" => 60 * SECOND,
        "h" => 3600 * SECOND,
        _ => return None,
    };
    let number: f64 = text[..digits].parse().ok()?;
    let nanos = number * unit as f64;
    (nanos.is_finite() && nanos >= 1.0 && nanos < i64::MAX as f64).then_some(nanos.round() as i64)
}

const FREE_TIME: vendor::Range<i64> = vendor::Range { default: None, min: 1, max: i64::MAX };
const FREE_COUNT: vendor::Range<u32> = vendor::Range { default: None, min: 1, max: u32::MAX };

impl RawGroup {
    /// Whether anything was given.
    pub fn is_empty(&self) -> bool {
        let RawGroup { lb_type, protocol, port, path, interval, timeout, .. } = self;
        let none = [lb_type, protocol, port, path, interval, timeout]
            .into_iter()
            .chain([&self.healthy, &self.unhealthy, &self.matcher])
            .all(Option::is_none);
        none && self.targets.is_empty() && self.name.is_none()
    }

    /// The group, when every value is possible.
    pub fn check(&self) -> Result<TargetGroup, SettingError> {
        let vendor = self.lb_type.as_ref().map(Raw::vendor).transpose()?;
        let protocol = self.protocol.as_ref().map(|raw| raw.protocol(vendor)).transpose()?;
        let grpc = protocol == Some(Protocol::Grpc);
        let times = |range: fn(&Vendor) -> vendor::Range<i64>| vendor.map_or(FREE_TIME, range);
        let counts = |range: fn(&Vendor) -> vendor::Range<u32>| vendor.map_or(FREE_COUNT, range);
        let (interval, timeout) = (times(|vendor| vendor.interval), times(|vendor| vendor.timeout));
        let healthy = counts(|vendor| vendor.healthy);
        let unhealthy = counts(|vendor| vendor.unhealthy);
        let group = TargetGroup {
            name: self.name.clone(),
            vendor,
            protocol,
            port: self.port.as_ref().map(Raw::port).transpose()?,
            path: self.path.as_ref().map(Raw::path).transpose()?,
            interval: self.interval.as_ref().map(|raw| raw.time(vendor, interval)).transpose()?,
            timeout: self.timeout.as_ref().map(|raw| raw.time(vendor, timeout)).transpose()?,
            healthy: self.healthy.as_ref().map(|raw| raw.count(vendor, healthy)).transpose()?,
            unhealthy: self
                .unhealthy
                .as_ref()
                .map(|raw| raw.count(vendor, unhealthy))
                .transpose()?,
            matcher: self.matcher.as_ref().map(|raw| raw.matcher(vendor, grpc)).transpose()?,
            targets: self.targets.iter().map(Raw::target).collect::<Result<_, _>>()?,
        };
        if let Some(raw) = self.targets.get(TARGETS_MAX) {
            return Err(raw.refuse(format!("a group names at most {TARGETS_MAX} targets")));
        }
        let within = vendor.is_some_and(|vendor| vendor.timeout_within_interval);
        if let (Some(raw), true) = (&self.timeout, within)
            && let (Some(timeout), Some(interval)) = (group.timeout, group.interval)
            && timeout > interval
        {
            return Err(raw.refuse(format!(
                "{}the time-out must not be longer than the interval of {}",
                of(vendor),
                time(interval)
            )));
        }
        Ok(group)
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

    fn refused(group: &RawGroup) -> String {
        group.check().unwrap_err().to_string()
    }

    #[test]
    fn a_value_out_of_range_is_refused_with_the_range_and_the_vendor() {
        let alb = |text: &str| RawGroup { interval: raw(text), ..group("alb") };
        assert_eq!(
            refused(&alb("3")),
            "--hc-x 3: AWS Application Load Balancer: it has to be from 5 s to 300 s"
        );
        assert!(
            alb("5").check().is_ok() && alb("300s").check().is_ok() && alb("5m").check().is_ok()
        );
        assert!(refused(&alb("301")).contains("300 s"));
        assert!(refused(&alb("soon")).contains("number of seconds"));
        let clb = RawGroup { timeout: raw("61"), ..group("clb") };
        assert!(refused(&clb).contains("AWS Classic Load Balancer: it has to be from 2 s to 60 s"));
        let threshold = |text: &str| RawGroup { unhealthy: raw(text), ..group("nlb") };
        assert!(refused(&threshold("1")).contains("from 2 to 10"));
        assert!(refused(&threshold("two")).contains("whole number"));
        let matcher = |lb: &str, text: &str| RawGroup { matcher: raw(text), ..group(lb) };
        assert!(refused(&matcher("alb", "200-599")).contains("within 200-499"));
        assert!(matcher("nlb", "200-599").check().is_ok());
        assert!(refused(&matcher("clb", "200-299")).contains("within 200"));
        let kubelet = RawGroup { interval: raw("500ms"), ..group("kubelet") };
        assert!(refused(&kubelet).contains("at least 1 s"));
        let haproxy = RawGroup { interval: raw("500ms"), ..group("haproxy") };
        assert_eq!(haproxy.check().unwrap().interval, Some(SECOND / 2));
    }

    #[test]
    fn a_time_out_longer_than_the_interval_is_refused_where_the_vendor_refuses_it() {
        let long = |lb: &str| RawGroup { interval: raw("10"), timeout: raw("11"), ..group(lb) };
        assert!(refused(&long("alb")).contains("not be longer than the interval of 10 s"));
        assert!(long("haproxy").check().is_ok());
    }

    #[test]
    fn names_that_are_not_known_are_answered_with_those_that_are() {
        assert!(refused(&group("elb")).contains("known are alb, nlb, clb, gwlb, haproxy"));
        let tcp = RawGroup { protocol: raw("tcp"), ..group("alb") };
        assert!(refused(&tcp).contains("it checks with http, https, grpc"));
        let tcp = RawGroup { protocol: raw("TCP"), ..group("nlb") };
        assert_eq!(tcp.check().unwrap().protocol, Some(Protocol::Tcp));
        for target in ["10.0.0.1", "web:80", "10.0.0.1:0", "::1:80"] {
            let group = RawGroup { targets: raw(target).into_iter().collect(), ..group("alb") };
            assert!(group.check().is_err(), "{target}");
        }
        for port in ["0", "65536", "http"] {
            assert!(RawGroup { port: raw(port), ..group("alb") }.check().is_err());
        }
        assert!(RawGroup { path: raw("health"), ..group("alb") }.check().is_err());
    }
}
