//! Health-check settings on the command line, one target group of them.

use super::config;
use super::settings::{Place, Raw, RawGroup, SettingError};
use super::vendor::VENDORS;
use super::watch::Setup;
use clap::Args;
use clap::builder::PossibleValue;

/// What the user says of health checks. The flags describe one target group: every target that no
/// group of the configuration names.
#[derive(Args, Clone, Debug, Default)]
pub struct HealthFlags {
    /// Say why this target gets no health checks; can be repeated
    #[arg(long, value_name = "IP:PORT", help_heading = "Input", hide_short_help = true)]
    pub expect_target: Vec<String>,
    /// Kind of load balancer that checks, for its defaults and limits
    #[arg(long, value_name = "KIND", value_parser = kinds(), hide_short_help = true)]
    pub lb_type: Option<String>,
    /// What checks speak: tcp, tls, http, https, grpc
    #[arg(long, value_name = "PROTOCOL", hide_short_help = true)]
    pub hc_protocol: Option<String>,
    /// Port that is checked, where it is not the target's own
    #[arg(long, value_name = "PORT", hide_short_help = true)]
    pub hc_port: Option<String>,
    /// Path of HTTP checks
    #[arg(long, value_name = "PATH", hide_short_help = true)]
    pub hc_path: Option<String>,
    /// Time between two checks of one prober: seconds, or with a unit such as 500ms
    #[arg(long, value_name = "TIME", hide_short_help = true)]
    pub hc_interval: Option<String>,
    /// Time after which a check has failed
    #[arg(long, value_name = "TIME", hide_short_help = true)]
    pub hc_timeout: Option<String>,
    /// Passed checks in a row that make an unhealthy target healthy
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub hc_healthy: Option<String>,
    /// Failed checks in a row that make a healthy target unhealthy
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub hc_unhealthy: Option<String>,
    /// Status codes that pass, such as 200, 200,202 or 200-399
    #[arg(long, value_name = "CODES", hide_short_help = true)]
    pub hc_matcher: Option<String>,
}

fn kinds() -> Vec<PossibleValue> {
    VENDORS.iter().map(|vendor| PossibleValue::new(vendor.id).help(vendor.name)).collect()
}

impl HealthFlags {
    /// The flags and the configuration together, every value possible.
    pub fn setup(&self, config: &config::Config) -> Result<Setup, SettingError> {
        let raw = |value: &Option<String>, flag: &'static str| {
            value.as_ref().map(|text| Raw { text: text.clone(), place: Place::Flag(flag) })
        };
        let flags = RawGroup {
            name: None,
            lb_type: raw(&self.lb_type, "--lb-type"),
            protocol: raw(&self.hc_protocol, "--hc-protocol"),
            port: raw(&self.hc_port, "--hc-port"),
            path: raw(&self.hc_path, "--hc-path"),
            interval: raw(&self.hc_interval, "--hc-interval"),
            timeout: raw(&self.hc_timeout, "--hc-timeout"),
            healthy: raw(&self.hc_healthy, "--hc-healthy"),
            unhealthy: raw(&self.hc_unhealthy, "--hc-unhealthy"),
            matcher: raw(&self.hc_matcher, "--hc-matcher"),
            targets: Vec::new(),
        };
        let mut setup = Setup::default();
        for group in config.groups.iter().chain((!flags.is_empty()).then_some(&flags)) {
            setup.groups.push(group.check()?);
        }
        for target in &self.expect_target {
            let place = Place::Flag("--expect-target");
            setup.expected.push(Raw { text: target.clone(), place }.target()?);
        }
        for target in &config.expected {
            setup.expected.push(target.target()?);
        }
        Ok(setup)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_one_more_group_behind_those_of_the_configuration() {
        let config = config::parse(
            "expect-targets = [\"10.0.0.1:80\"]\n[[target-group]]\ntargets = [\"10.0.0.2:80\"]\n",
            "x",
        )
        .unwrap();
        let flags = HealthFlags {
            lb_type: Some("nlb".into()),
            expect_target: vec!["10.0.0.3:80".into()],
            ..HealthFlags::default()
        };
        let setup = flags.setup(&config).unwrap();
        assert_eq!(setup.groups.len(), 2);
        assert_eq!(setup.groups[1].vendor.unwrap().id, "nlb");
        assert_eq!(setup.expected.len(), 2);
        assert_eq!(HealthFlags::default().setup(&config).unwrap().groups.len(), 1);
    }

    #[test]
    fn a_flag_out_of_range_is_named() {
        let flags = HealthFlags {
            lb_type: Some("alb".into()),
            hc_timeout: Some("1".into()),
            ..HealthFlags::default()
        };
        assert_eq!(
            flags.setup(&config::Config::default()).unwrap_err().to_string(),
            "--hc-timeout 1: AWS Application Load Balancer: it has to be from 2 s to 120 s"
        );
    }
}
