//! Files for a lasting installation: a unit for systemd, a dashboard for Grafana, alerts for
//! Prometheus.

use clap::ValueEnum;

/// A file that `why502 live --print` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Asset {
    /// A hardened unit for systemd
    Unit,
    /// A dashboard for Grafana
    Dashboard,
    /// Alert rules for Prometheus
    Alerts,
}

impl Asset {
    /// What is in it.
    pub fn text(self) -> &'static str {
        match self {
            Asset::Unit => include_str!("assets/why502-live.service"),
            Asset::Dashboard => include_str!("assets/why502-dashboard.json"),
            Asset::Alerts => include_str!("assets/why502-alerts.yml"),
        }
    }
}
