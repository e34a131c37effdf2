//! What a health check found out.

use super::texts;
use super::vendor::Vendor;
use crate::cause::Cause;

/// The outcome of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The expected answer came.
    Pass,
    /// The connection was refused.
    Refused,
    /// Nothing answered the SYN.
    ConnectTimeout,
    /// The target broke off the TLS handshake.
    TlsFailed,
    /// Nothing answered the TLS hello.
    TlsTimeout,
    /// The target closed before its answer was complete.
    Closed,
    /// The prober gave up waiting for the answer.
    Timeout,
    /// The answer had a status that does not pass.
    StatusMismatch,
    /// The answer had the wrong body. The body is the prober's to judge: packets show this outcome only where
    /// the prober acts upon it.
    BodyMismatch,
    /// The gRPC status does not pass.
    GrpcMismatch,
    /// The answer was no HTTP.
    Malformed,
    /// A connection without data beside checks that carry some: a connection test. Neither passed
    /// nor failed.
    ProbeNoData,
}

/// What an outcome means for the state of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Counts towards healthy.
    Pass,
    /// Counts towards unhealthy.
    Fail,
    /// Counts for nothing.
    None,
}

impl Outcome {
    /// Every outcome, in the order of reports.
    pub const ALL: [Outcome; 12] = [
        Outcome::Pass,
        Outcome::Refused,
        Outcome::ConnectTimeout,
        Outcome::TlsFailed,
        Outcome::TlsTimeout,
        Outcome::Closed,
        Outcome::Timeout,
        Outcome::StatusMismatch,
        Outcome::BodyMismatch,
        Outcome::GrpcMismatch,
        Outcome::Malformed,
        Outcome::ProbeNoData,
    ];

    /// Its text for people, in the form of a root cause; its rule never fits, outcomes are judged
    /// from checks only.
    pub fn cause(self) -> &'static Cause {
        match self {
            Outcome::Pass => &texts::PASS,
            Outcome::Refused => &texts::REFUSED,
            Outcome::ConnectTimeout => &texts::CONNECT_TIMEOUT,
            Outcome::TlsFailed => &texts::TLS_FAILED,
            Outcome::TlsTimeout => &texts::TLS_TIMEOUT,
            Outcome::Closed => &texts::CLOSED,
            Outcome::Timeout => &texts::TIMEOUT,
            Outcome::StatusMismatch => &texts::STATUS_MISMATCH,
            Outcome::BodyMismatch => &texts::BODY_MISMATCH,
            Outcome::GrpcMismatch => &texts::GRPC_MISMATCH,
            Outcome::Malformed => &texts::MALFORMED,
            Outcome::ProbeNoData => &texts::PROBE_NO_DATA,
        }
    }

    /// Stable id.
    pub fn id(self) -> &'static str {
        self.cause().id
    }

    /// What it means for the state of the target.
    pub fn effect(self) -> Effect {
        match self {
            Outcome::Pass => Effect::Pass,
            Outcome::ProbeNoData => Effect::None,
            _ => Effect::Fail,
        }
    }

    /// Whether the target answered in a way that no waiting explains: the program spoke.
    pub fn is_answer(self) -> bool {
        matches!(self, Outcome::StatusMismatch | Outcome::BodyMismatch | Outcome::GrpcMismatch)
    }

    /// One sign for a strip of checks.
    pub fn letter(self) -> char {
        match self {
            Outcome::Pass => '+',
            Outcome::Refused => 'R',
            Outcome::ConnectTimeout => 'C',
            Outcome::TlsFailed | Outcome::TlsTimeout => 'T',
            Outcome::Closed => 'X',
            Outcome::Timeout => 'S',
            Outcome::StatusMismatch | Outcome::BodyMismatch | Outcome::GrpcMismatch => 'M',
            Outcome::Malformed => '!',
            Outcome::ProbeNoData => '.',
        }
    }

    /// The vendor's word for why a target became unhealthy by it: a reason code of Elastic Load
    /// Balancing (`TargetHealth` in its API reference; a Network Load Balancer has only one), a
    /// check status of HAProxy (configuration manual, `%cs` and statistics), a failure type of
    /// Envoy (`HealthCheckFailureType`).
    pub fn reason(self, vendor: Option<&Vendor>) -> Option<&'static str> {
        let vendor = vendor?;
        if self.effect() != Effect::Fail {
            return None;
        }
        let timed_out =
            matches!(self, Outcome::ConnectTimeout | Outcome::TlsTimeout | Outcome::Timeout);
        match vendor.id {
            "nlb" => Some("Target.FailedHealthChecks"),
            _ if vendor.reason_codes && timed_out => Some("Target.Timeout"),
            _ if vendor.reason_codes && self.is_answer() => Some("Target.ResponseCodeMismatch"),
            _ if vendor.reason_codes => Some("Target.FailedHealthChecks"),
            "haproxy" => Some(match self {
                Outcome::Refused => "L4CON",
                Outcome::ConnectTimeout => "L4TOUT",
                Outcome::TlsFailed => "L6RSP",
                Outcome::TlsTimeout => "L6TOUT",
                Outcome::Timeout => "L7TOUT",
                Outcome::StatusMismatch => "L7STS",
                _ => "L7RSP",
            }),
            "envoy" if timed_out => Some("NETWORK_TIMEOUT"),
            "envoy" if self.is_answer() => Some("ACTIVE"),
            "envoy" => Some("NETWORK"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::vendor::by_id;
    use super::*;

    #[test]
    fn ids_are_the_agreed_vocabulary() {
        assert_eq!(
            Outcome::ALL.map(Outcome::id),
            [
                "hc-pass",
                "hc-refused",
                "hc-connect-timeout",
                "hc-tls-failed",
                "hc-tls-timeout",
                "hc-closed",
                "hc-timeout",
                "hc-status-mismatch",
                "hc-body-mismatch",
                "hc-grpc-mismatch",
                "hc-malformed",
                "hc-probe-no-data",
            ]
        );
    }

    #[test]
    fn reasons_are_the_vendors_own_words() {
        let reason = |outcome: Outcome, vendor| outcome.reason(by_id(vendor));
        assert_eq!(reason(Outcome::Timeout, "alb"), Some("Target.Timeout"));
        assert_eq!(reason(Outcome::StatusMismatch, "alb"), Some("Target.ResponseCodeMismatch"));
        assert_eq!(reason(Outcome::Refused, "alb"), Some("Target.FailedHealthChecks"));
        assert_eq!(reason(Outcome::Timeout, "nlb"), Some("Target.FailedHealthChecks"));
        assert_eq!(reason(Outcome::Refused, "haproxy"), Some("L4CON"));
        assert_eq!(reason(Outcome::StatusMismatch, "envoy"), Some("ACTIVE"));
        assert_eq!(reason(Outcome::Refused, "gcp"), None);
        assert_eq!(Outcome::Refused.reason(None), None);
        for vendor in super::super::vendor::VENDORS {
            assert_eq!(Outcome::Pass.reason(Some(vendor)), None);
            assert_eq!(Outcome::ProbeNoData.reason(Some(vendor)), None);
        }
    }
}
