//! Logs to compare a capture with.

use crate::join::log::{Kind, LogSettings};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueHint};
use std::path::PathBuf;

/// Logs of load balancers and proxies.
#[derive(Args, Clone, Debug, Default)]
pub struct LogFlags {
    /// Compare with this log, or all logs in this directory; can be repeated
    ///
    /// Access logs of AWS load balancers (ALB, CLB, NLB), the ALB's connection and health check logs,
    /// HAProxy, nginx (access and error log), Envoy, Apache, and logs with one JSON object per line,
    /// also compressed or as Kubernetes, Docker, syslog or the journal wrap them. What kind a log is,
    /// is told by its lines. Each finding then names its log
    /// lines, and each failing line its flow, or why it has none. Clocks need not agree. A live capture
    /// reads what is written meanwhile, and joins it at the end.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::AnyPath, hide_short_help = true)]
    pub log: Vec<PathBuf>,
    /// What kind of log --log names, where its lines do not tell
    ///
    /// nginx and apache are their combined or common formats, which look alike: combined takes either.
    /// nginx writes the time of the end of a request, Apache that of its beginning; requests that
    /// last longer than a second tell which.
    #[arg(long, value_name = "KIND", value_parser = kind(), requires = "log", hide_short_help = true)]
    pub log_kind: Option<Kind>,
    /// Read logs of this format, too; can be repeated
    ///
    /// An nginx log_format as in its configuration, such as '$msec $remote_addr "$request" $status
    /// $upstream_addr', a log-format of HAProxy, a LogFormat of Apache, or an Envoy text format.
    #[arg(long, value_name = "FORMAT", requires = "log", hide_short_help = true)]
    pub log_format: Vec<String>,
}

impl LogFlags {
    /// What a run is told; `all`: also of requests that went well.
    pub fn settings(&self, all: bool) -> LogSettings {
        LogSettings {
            files: self.log.clone(),
            kind: self.log_kind,
            formats: self.log_format.clone(),
            all,
            grow: false,
        }
    }
}

fn kind() -> impl TypedValueParser<Value = Kind> {
    PossibleValuesParser::new(Kind::ALL.map(Kind::id))
        .map(|id| Kind::by_id(&id).unwrap_or(Kind::Combined))
}
