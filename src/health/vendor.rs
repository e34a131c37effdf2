//! What each kind of load balancer does when nothing is set, and what it lets be set.
//!
//! Facts only, each with its source. A new kind is one entry in [`VENDORS`].

use super::settings::Protocol;

/// One second in nanoseconds, the unit of every length of time in this module.
pub const SECOND: i64 = 1_000_000_000;

/// Health checks of one kind of load balancer, proxy or orchestrator.
#[derive(Debug)]
pub struct Vendor {
    /// What `--lb-type` and `lb-type` call it.
    pub id: &'static str,
    /// Its name for people.
    pub name: &'static str,
    /// Ids of the probers that are this kind's health checks.
    pub probers: &'static [&'static str],
    /// Protocols of its checks; the first is the default.
    pub protocols: &'static [Protocol],
    /// Path of an HTTP check.
    pub path: Option<&'static str>,
    /// Port that is checked when it is not the one that gets the traffic.
    pub port: Option<u16>,
    /// Time between two checks of one prober, nanoseconds.
    pub interval: Range<i64>,
    /// Time after which a check has failed, nanoseconds. The default is that of HTTP.
    pub timeout: Range<i64>,
    /// Default time-out of a check that is not plain HTTP, where it differs.
    pub timeout_other: Option<i64>,
    /// Whether it refuses a time-out that is longer than the interval.
    pub timeout_within_interval: bool,
    /// Passed checks in a row that make an unhealthy target healthy.
    pub healthy: Range<u32>,
    /// Failed checks in a row that make a healthy target unhealthy.
    pub unhealthy: Range<u32>,
    /// Passed checks in a row that end `initial`; `None`: as many as [`Vendor::healthy`].
    pub first_passes: Option<u32>,
    /// Failed checks in a row that end `initial`; `None`: as many as [`Vendor::unhealthy`].
    pub first_failures: Option<u32>,
    /// A wrong status makes the target unhealthy at once, whatever the threshold.
    pub status_is_final: bool,
    /// Status codes that pass.
    pub matcher: &'static str,
    /// Status codes that may be set to pass.
    pub matcher_range: (u16, u16),
    /// Its nodes share their results: a target gets more checks than the interval says.
    pub consensus: bool,
    /// Its states come with the reason codes of Elastic Load Balancing.
    pub reason_codes: bool,
    /// Where its own documentation says two things, per key.
    pub disagreements: &'static [(&'static str, &'static str)],
    /// Where this is from.
    pub source: &'static str,
}

/// A default and the smallest and largest value that can be set.
#[derive(Clone, Copy, Debug)]
pub struct Range<T> {
    /// `None`: it has to be set, there is no default.
    pub default: Option<T>,
    /// Smallest.
    pub min: T,
    /// Largest.
    pub max: T,
}

const fn range<T>(default: T, min: T, max: T) -> Range<T> {
    Range { default: Some(default), min, max }
}

const fn seconds(default: i64, min: i64, max: i64) -> Range<i64> {
    range(default * SECOND, min * SECOND, max * SECOND)
}

const MILLISECOND: i64 = SECOND / 1000;
/// No vendor states a bound, so none is applied.
const ANY_TIME: Range<i64> = Range { default: None, min: MILLISECOND, max: i64::MAX };
const ANY_COUNT: Range<u32> = Range { default: None, min: 1, max: u32::MAX };
const ANY_STATUS: (u16, u16) = (100, 599);

const ALB_TIMEOUT: &str = "AWS names two defaults for HTTP: 5 s (user guide) and 6 s (API reference, target groups \
    of protocol HTTP; 10 s for HTTPS)";
const NLB_TIMEOUT: &str = "AWS names two defaults for HTTP: 6 s for HTTP checks (user guide) and, in the API \
    reference, 10 s for target groups of protocol TCP, TLS or HTTPS";

/// Every kind that is known by name.
pub static VENDORS: &[Vendor] = &[
    Vendor {
        id: "alb",
        name: "AWS Application Load Balancer",
        probers: &["aws-alb", "aws-alb-grpc"],
        protocols: &[Protocol::Http, Protocol::Https, Protocol::Grpc],
        path: Some("/"),
        port: None,
        interval: seconds(30, 5, 300),
        timeout: seconds(5, 2, 120),
        timeout_other: None,
        timeout_within_interval: true,
        healthy: range(5, 2, 10),
        unhealthy: range(2, 2, 10),
        first_passes: Some(1),
        first_failures: None,
        status_is_final: false,
        matcher: "200",
        matcher_range: (200, 499),
        consensus: false,
        reason_codes: true,
        disagreements: &[("timeout", ALB_TIMEOUT)],
        source: "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html",
    },
    Vendor {
        id: "nlb",
        name: "AWS Network Load Balancer",
        probers: &["aws-nlb"],
        protocols: &[Protocol::Tcp, Protocol::Http, Protocol::Https],
        path: Some("/"),
        port: None,
        interval: seconds(30, 5, 300),
        timeout: seconds(6, 2, 120),
        timeout_other: Some(10 * SECOND),
        timeout_within_interval: true,
        healthy: range(5, 2, 10),
        unhealthy: range(2, 2, 10),
        first_passes: Some(1),
        first_failures: None,
        status_is_final: false,
        matcher: "200-399",
        matcher_range: (200, 599),
        consensus: true,
        reason_codes: true,
        disagreements: &[("timeout", NLB_TIMEOUT)],
        source: "https://docs.aws.amazon.com/elasticloadbalancing/latest/network/target-group-health-checks.html",
    },
    Vendor {
        id: "clb",
        name: "AWS Classic Load Balancer",
        probers: &["aws-clb"],
        protocols: &[Protocol::Tcp, Protocol::Http, Protocol::Https, Protocol::Tls],
        path: Some("/index.html"),
        port: None,
        interval: seconds(30, 5, 300),
        timeout: seconds(5, 2, 60),
        timeout_other: None,
        timeout_within_interval: true,
        healthy: range(10, 2, 10),
        unhealthy: range(2, 2, 10),
        first_passes: None,
        first_failures: None,
        status_is_final: false,
        matcher: "200",
        matcher_range: (200, 200),
        consensus: false,
        reason_codes: false,
        disagreements: &[],
        source: "https://docs.aws.amazon.com/elasticloadbalancing/latest/classic/elb-healthchecks.html",
    },
    Vendor {
        id: "gwlb",
        name: "AWS Gateway Load Balancer",
        probers: &[],
        protocols: &[Protocol::Tcp, Protocol::Http, Protocol::Https],
        path: Some("/"),
        port: Some(80),
        interval: seconds(10, 5, 300),
        timeout: seconds(5, 2, 120),
        timeout_other: None,
        timeout_within_interval: true,
        healthy: range(5, 2, 10),
        unhealthy: range(2, 2, 10),
        first_passes: Some(1),
        first_failures: None,
        status_is_final: false,
        matcher: "200-399",
        matcher_range: (200, 399),
        consensus: true,
        reason_codes: true,
        disagreements: &[],
        source: "https://docs.aws.amazon.com/elasticloadbalancing/latest/gateway/health-checks.html",
    },
    Vendor {
        id: "haproxy",
        name: "HAProxy",
        probers: &["haproxy"],
        protocols: &[Protocol::Tcp, Protocol::Http, Protocol::Https, Protocol::Tls],
        path: Some("/"),
        port: None,
        interval: Range { default: Some(2 * SECOND), ..ANY_TIME },
        // Without `timeout check` the interval is the time-out.
        timeout: Range { default: Some(2 * SECOND), ..ANY_TIME },
        timeout_other: None,
        timeout_within_interval: false,
        healthy: Range { default: Some(2), ..ANY_COUNT },
        unhealthy: Range { default: Some(3), ..ANY_COUNT },
        first_passes: Some(1),
        // A server starts up, and the first failed check takes it down.
        first_failures: Some(1),
        status_is_final: false,
        matcher: "200-399",
        matcher_range: ANY_STATUS,
        consensus: false,
        reason_codes: false,
        disagreements: &[],
        source: "HAProxy configuration manual, 5.2 (inter, rise, fall) and `option httpchk`",
    },
    Vendor {
        id: "envoy",
        name: "Envoy",
        probers: &["envoy"],
        protocols: &[Protocol::Http, Protocol::Tcp, Protocol::Grpc, Protocol::Https],
        path: None,
        port: None,
        interval: ANY_TIME,
        timeout: ANY_TIME,
        timeout_other: None,
        timeout_within_interval: false,
        healthy: ANY_COUNT,
        unhealthy: ANY_COUNT,
        first_passes: Some(1),
        first_failures: None,
        status_is_final: true,
        matcher: "200",
        matcher_range: ANY_STATUS,
        consensus: false,
        reason_codes: false,
        disagreements: &[],
        source: "Envoy API, config.core.v3.HealthCheck",
    },
    Vendor {
        id: "nginx",
        name: "nginx Plus",
        probers: &["nginx-plus"],
        protocols: &[Protocol::Http, Protocol::Tcp, Protocol::Grpc, Protocol::Https],
        path: Some("/"),
        port: None,
        interval: Range { default: Some(5 * SECOND), ..ANY_TIME },
        // proxy_read_timeout
        timeout: Range { default: Some(60 * SECOND), ..ANY_TIME },
        timeout_other: None,
        timeout_within_interval: false,
        healthy: Range { default: Some(1), ..ANY_COUNT },
        unhealthy: Range { default: Some(1), ..ANY_COUNT },
        first_passes: None,
        first_failures: None,
        status_is_final: false,
        matcher: "200-399",
        matcher_range: ANY_STATUS,
        consensus: false,
        reason_codes: false,
        disagreements: &[],
        source: "https://nginx.org/en/docs/http/ngx_http_upstream_hc_module.html",
    },
    Vendor {
        id: "kubelet",
        name: "Kubernetes kubelet",
        probers: &["kubelet"],
        protocols: &[Protocol::Http, Protocol::Https, Protocol::Tcp, Protocol::Grpc],
        path: Some("/"),
        port: None,
        interval: Range { default: Some(10 * SECOND), min: SECOND, max: i64::MAX },
        timeout: Range { default: Some(SECOND), min: SECOND, max: i64::MAX },
        timeout_other: None,
        timeout_within_interval: false,
        healthy: Range { default: Some(1), ..ANY_COUNT },
        unhealthy: Range { default: Some(3), ..ANY_COUNT },
        first_passes: None,
        first_failures: None,
        status_is_final: false,
        matcher: "200-399",
        matcher_range: (200, 399),
        consensus: false,
        reason_codes: false,
        disagreements: &[],
        source: "Kubernetes API, Probe v1 core",
    },
    Vendor {
        id: "gcp",
        name: "Google Cloud health checks",
        probers: &["gcp-health-check"],
        protocols: &[Protocol::Tcp, Protocol::Http, Protocol::Https, Protocol::Tls, Protocol::Grpc],
        path: Some("/"),
        port: None,
        interval: seconds(5, 1, 300),
        timeout: seconds(5, 1, 300),
        timeout_other: None,
        timeout_within_interval: true,
        healthy: range(2, 1, 10),
        unhealthy: range(2, 1, 10),
        first_passes: None,
        first_failures: None,
        status_is_final: false,
        matcher: "200",
        matcher_range: (200, 200),
        consensus: true,
        reason_codes: false,
        disagreements: &[],
        source: "https://cloud.google.com/load-balancing/docs/health-check-concepts",
    },
    Vendor {
        id: "azure",
        name: "Azure Application Gateway",
        probers: &["azure-appgw"],
        protocols: &[Protocol::Http, Protocol::Https],
        path: Some("/"),
        port: None,
        interval: seconds(30, 1, 86_400),
        timeout: seconds(30, 1, 86_400),
        timeout_other: None,
        timeout_within_interval: false,
        healthy: range(1, 1, 1),
        unhealthy: range(3, 0, 20),
        first_passes: None,
        first_failures: None,
        status_is_final: false,
        matcher: "200-399",
        matcher_range: (200, 599),
        consensus: false,
        reason_codes: false,
        disagreements: &[],
        source: "https://learn.microsoft.com/azure/application-gateway/application-gateway-probe-overview",
    },
];

/// The kind of that name.
pub fn by_id(id: &str) -> Option<&'static Vendor> {
    VENDORS.iter().find(|vendor| vendor.id == id)
}

/// The kind whose checks that prober makes.
pub fn of_prober(prober: &str) -> Option<&'static Vendor> {
    VENDORS.iter().find(|vendor| vendor.probers.contains(&prober))
}

impl Vendor {
    /// Time-out of a check when none is set.
    pub fn default_timeout(&self, protocol: Protocol) -> Option<i64> {
        match protocol {
            Protocol::Http => self.timeout.default,
            _ => self.timeout_other.or(self.timeout.default),
        }
    }

    /// Its own contradiction about a key.
    pub fn disagreement(&self, key: &str) -> Option<&'static str> {
        self.disagreements.iter().find(|(about, _)| *about == key).map(|(_, text)| *text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::matcher::Matcher;
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_own_names_and_keeps_its_own_ranges() {
        for vendor in VENDORS {
            assert!(std::ptr::eq(by_id(vendor.id).unwrap(), vendor));
            for prober in vendor.probers {
                assert!(std::ptr::eq(of_prober(prober).unwrap(), vendor), "{prober}");
            }
            for (range, name) in [(vendor.interval, "interval"), (vendor.timeout, "timeout")] {
                let ok = range.default.is_none_or(|value| (range.min..=range.max).contains(&value));
                assert!(ok, "{}: {name}", vendor.id);
            }
            for range in [vendor.healthy, vendor.unhealthy] {
                let ok = range.default.is_none_or(|value| (range.min..=range.max).contains(&value));
                assert!(ok, "{}", vendor.id);
            }
            let (low, high) = vendor.matcher_range;
            assert!(Matcher::parse(vendor.matcher).unwrap().within(low, high), "{}", vendor.id);
            assert!(!vendor.protocols.is_empty() && !vendor.source.is_empty());
        }
    }

    #[test]
    fn the_time_out_depends_on_the_protocol_where_the_vendor_says_so() {
        let nlb = by_id("nlb").unwrap();
        assert_eq!(nlb.default_timeout(Protocol::Http), Some(6 * SECOND));
        assert_eq!(nlb.default_timeout(Protocol::Tcp), Some(10 * SECOND));
        assert!(by_id("alb").unwrap().disagreement("timeout").unwrap().contains("6 s"));
        assert_eq!(by_id("envoy").unwrap().default_timeout(Protocol::Http), None);
    }
}
