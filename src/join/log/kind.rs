//! Kinds of log, recognised by what their lines look like.

use super::combined::{Time, combined};
use super::format::Format;
use super::line::Line;
use super::{apache_error, aws, envoy, haproxy, json, nginx_error};

/// A kind of log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Access log of an AWS Application Load Balancer.
    Alb,
    /// Its connection log.
    AlbConnection,
    /// Its health check log.
    AlbHealthCheck,
    /// Access log of an AWS Classic Load Balancer.
    Clb,
    /// Access log of a TLS listener of an AWS Network Load Balancer.
    Nlb,
    /// HAProxy's `option httplog`.
    HaproxyHttp,
    /// HAProxy's `option tcplog`.
    HaproxyTcp,
    /// Envoy's default access log, or Istio's.
    Envoy,
    /// nginx's error log.
    NginxError,
    /// Apache's error log.
    ApacheError,
    /// One JSON object per line.
    Json,
    /// The form that the user gave.
    Format,
    /// Common or combined log format of nginx, Apache or another server.
    Combined,
    /// The same as nginx writes it.
    Nginx,
    /// The same as Apache writes it.
    Apache,
}

impl Kind {
    /// Every kind, in the order in which a line is tried: the most particular first.
    pub const ALL: [Kind; 15] = [
        Kind::Format,
        Kind::Alb,
        Kind::AlbHealthCheck,
        Kind::Nlb,
        Kind::Clb,
        Kind::AlbConnection,
        Kind::HaproxyHttp,
        Kind::HaproxyTcp,
        Kind::Envoy,
        Kind::NginxError,
        Kind::ApacheError,
        Kind::Json,
        Kind::Combined,
        Kind::Nginx,
        Kind::Apache,
    ];

    /// Stable id.
    pub fn id(self) -> &'static str {
        match self {
            Kind::Alb => "alb",
            Kind::AlbConnection => "alb-connection",
            Kind::AlbHealthCheck => "alb-health-check",
            Kind::Clb => "clb",
            Kind::Nlb => "nlb",
            Kind::HaproxyHttp => "haproxy",
            Kind::HaproxyTcp => "haproxy-tcp",
            Kind::Envoy => "envoy",
            Kind::NginxError => "nginx-error",
            Kind::ApacheError => "apache-error",
            Kind::Json => "json",
            Kind::Format => "format",
            Kind::Combined => "combined",
            Kind::Nginx => "nginx",
            Kind::Apache => "apache",
        }
    }

    /// What it is, for people.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Alb => "ALB access log",
            Kind::AlbConnection => "ALB connection log",
            Kind::AlbHealthCheck => "ALB health check log",
            Kind::Clb => "Classic Load Balancer access log",
            Kind::Nlb => "NLB access log",
            Kind::HaproxyHttp => "HAProxy HTTP log",
            Kind::HaproxyTcp => "HAProxy TCP log",
            Kind::Envoy => "Envoy access log",
            Kind::NginxError => "nginx error log",
            Kind::ApacheError => "Apache error log",
            Kind::Json => "JSON log",
            Kind::Format => "log of the given format",
            Kind::Combined => "combined or common log",
            Kind::Nginx => "nginx access log",
            Kind::Apache => "Apache access log",
        }
    }

    /// The kind with this id.
    pub fn by_id(id: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.id() == id)
    }

    /// Whether its lines speak of requests; those of others speak of connections.
    pub fn has_requests(self) -> bool {
        !matches!(
            self,
            Kind::ApacheError
                | Kind::AlbConnection
                | Kind::AlbHealthCheck
                | Kind::Nlb
                | Kind::HaproxyTcp
        )
    }
}

/// Reads lines of any kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    /// Forms that the user gave.
    pub(super) formats: Vec<Format>,
}

impl Lines {
    /// What `text` says if it is a line of that kind. `fields` is room for its parts.
    pub(super) fn read<'a>(
        &self,
        kind: Kind,
        text: &'a [u8],
        fields: &mut Vec<&'a [u8]>,
    ) -> Option<Line<'a>> {
        match kind {
            Kind::Alb => aws::alb(text, fields),
            Kind::AlbConnection => aws::connection(text, fields),
            Kind::AlbHealthCheck => aws::health_check(text, fields),
            Kind::Clb => aws::clb(text, fields),
            Kind::Nlb => aws::nlb(text, fields),
            Kind::HaproxyHttp => haproxy::http(text, fields),
            Kind::HaproxyTcp => haproxy::tcp(text, fields),
            Kind::Envoy => envoy::envoy(text, fields),
            Kind::NginxError => nginx_error::error(text),
            Kind::ApacheError => apache_error::error(text),
            Kind::Json => json::json(text),
            Kind::Format => self.formats.iter().find_map(|format| format.read(text)),
            Kind::Combined => combined(text, fields, Time::Either),
            Kind::Nginx => combined(text, fields, Time::Ended),
            Kind::Apache => combined(text, fields, Time::Began),
        }
    }

    /// The kind that most of these lines are of, if it is at least half of them; `forced` is the only one that they
    /// can be of.
    pub(super) fn recognise<'a>(
        &self,
        sample: &'a [Vec<u8>],
        forced: Option<Kind>,
    ) -> Option<Kind> {
        let mut fields: Vec<&'a [u8]> = Vec::new();
        let mut best: Option<(usize, Kind)> = None;
        for kind in Kind::ALL.into_iter().filter(|kind| forced.is_none_or(|it| it == *kind)) {
            let fits =
                sample.iter().filter(|text| self.read(kind, text, &mut fields).is_some()).count();
            if fits > best.map_or(0, |(most, _)| most) {
                best = Some((fits, kind));
            }
        }
        best.filter(|(fits, _)| fits * 2 >= sample.len()).map(|(_, kind)| kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_distinct_and_known() {
        for kind in Kind::ALL {
            assert_eq!(Kind::by_id(kind.id()), Some(kind));
        }
    }

    #[test]
    fn each_kind_is_recognised_by_its_lines() {
        let samples = [
            (
                Kind::Alb,
                "http 2026-11-21T10:35:35.250000Z app/shop/0123 203.0.113.7:40001 - -1 -1 -1 503 - 21 33 \"GET http://a:80/ HTTP/1.1\" \"-\" - - arn \"Root=1-2-3\"",
            ),
            (
                Kind::AlbConnection,
                "2026-11-21T10:35:35.514108Z 203.0.113.7 36280 443 TLSv1.2 X 4.036 \"CN=a\" NotBefore=a;NotAfter=b FE Success TID_01",
            ),
            (
                Kind::AlbHealthCheck,
                "http 2026-11-21T10:35:35.875678Z 0.019584011 10.0.0.9:80 shop PASS 200 -",
            ),
            (
                Kind::Clb,
                "2026-11-21T10:35:35.9Z shop 203.0.113.7:40001 10.0.0.9:80 0.1 0.2 0.3 200 200 0 29 \"GET http://a:80/ HTTP/1.1\" \"-\" - -",
            ),
            (
                Kind::Nlb,
                "tls 2.0 2026-11-21T10:35:40 net/shop/01 01 203.0.113.7:51341 10.0.0.5:443 5 2 98 246 - - - - tlsv12 - a - - -",
            ),
            (
                Kind::HaproxyHttp,
                "203.0.113.7:53504 [21/Nov/2026:10:35:40.876] front back/t1 0/0/50/55/105 200 982 - - ---- 1/1/0/0/0 0/0 \"GET / HTTP/1.1\"",
            ),
            (
                Kind::HaproxyTcp,
                "203.0.113.7:33313 [21/Nov/2026:10:35:40.655] fnt bck/srv1 0/0/5007 212 -- 0/0/0/0/3 0/0",
            ),
            (
                Kind::Envoy,
                "[2026-11-21T10:35:40.565Z] \"GET / HTTP/1.1\" 200 - 0 91 12 11 \"-\" \"-\" \"-\" \"-\" \"10.0.0.9:8080\"",
            ),
            (Kind::NginxError, "2026/11/21 10:35:40 [notice] 20#20: start worker processes"),
            (
                Kind::ApacheError,
                "[Sat Nov 21 10:35:40.087285 2026] [core:notice] [pid 1:tid 2] AH00094: Command line: 'apache2'",
            ),
            (Kind::Json, "{\"time\":\"2026-11-21T10:35:40Z\",\"status\":200}"),
            (
                Kind::Combined,
                "203.0.113.7 - - [21/Nov/2026:10:35:40 +0000] \"GET / HTTP/1.1\" 200 15 \"-\" \"curl\"",
            ),
        ];
        let lines = Lines::default();
        for (kind, text) in samples {
            assert_eq!(lines.recognise(&[text.as_bytes().to_vec()], None), Some(kind), "{text}");
            let damaged = text.as_bytes()[..text.len() / 3].to_vec();
            let whole = text.as_bytes().to_vec();
            assert_eq!(lines.recognise(&[damaged.clone(), whole], None), Some(kind), "{text}");
            assert_eq!(lines.recognise(&[damaged], None), None, "{text}");
        }
        assert_eq!(lines.recognise(&[b"hello world".to_vec()], None), None);
        let given = Lines { formats: vec![Format::new("$msec|$status|$request").unwrap()] };
        assert_eq!(
            given.recognise(&[b"1795257340.5|200|GET / HTTP/1.1".to_vec()], None),
            Some(Kind::Format)
        );
    }
}
