//! `why502.toml`: what the user knows of target groups.
//!
//! ```toml
//! expect-targets = ["10.0.2.9:8080"]
//!
//! [[target-group]]
//! name = "web"
//! lb-type = "alb"
//! targets = ["10.0.2.9:8080", "10.0.2.10:8080"]
//! protocol = "http"
//! port = 8081
//! path = "/healthz"
//! interval = 10          # seconds, or "500ms", "1m"
//! timeout = 5
//! healthy = 3
//! unhealthy = 2
//! matcher = "200-299"
//! ```

use super::settings::{Place, Raw, RawGroup};
use serde::Deserialize;
use toml::Spanned;

/// What a configuration says.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Target groups.
    pub groups: Vec<RawGroup>,
    /// Targets of which checks are expected, in a group or not.
    pub expected: Vec<Raw>,
}

/// A configuration that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {why}")]
pub struct ConfigError {
    /// As named on the command line.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub why: String,
}

/// Longest configuration that is read; thousands of targets fit.
pub const CONFIG_MAX: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    expect_targets: Vec<Spanned<String>>,
    #[serde(default)]
    target_group: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Group {
    name: Option<String>,
    lb_type: Option<Spanned<Value>>,
    #[serde(default)]
    targets: Vec<Spanned<String>>,
    protocol: Option<Spanned<Value>>,
    port: Option<Spanned<Value>>,
    path: Option<Spanned<Value>>,
    interval: Option<Spanned<Value>>,
    timeout: Option<Spanned<Value>>,
    healthy: Option<Spanned<Value>>,
    unhealthy: Option<Spanned<Value>>,
    matcher: Option<Spanned<Value>>,
}

/// A text, or a number that is read as one.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a text or a number")]
enum Value {
    Text(String),
    Whole(i64),
    Float(f64),
}

impl Value {
    fn text(self) -> String {
        match self {
            Value::Text(text) => text,
            Value::Whole(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
        }
    }
}

/// Reads a configuration; `file` is its name for messages.
pub fn parse(text: &str, file: &str) -> Result<Config, ConfigError> {
    let line = |offset: usize| 1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count();
    let parsed: File = toml::from_str(text).map_err(|error| ConfigError {
        file: file.to_owned(),
        line: line(error.span().map_or(0, |span| span.start)),
        why: error.message().trim().replace('\n', " "),
    })?;
    let place = |offset: usize, key: &'static str| Place::Line {
        file: file.to_owned(),
        line: line(offset),
        key,
    };
    let value = |value: Option<Spanned<Value>>, key: &'static str| {
        value.map(|value| Raw {
            place: place(value.span().start, key),
            text: value.into_inner().text(),
        })
    };
    let list = |list: Vec<Spanned<String>>, key: &'static str| -> Vec<Raw> {
        list.into_iter()
            .map(|value| Raw { place: place(value.span().start, key), text: value.into_inner() })
            .collect()
    };
    let group = |group: Group| RawGroup {
        name: group.name,
        lb_type: value(group.lb_type, "lb-type"),
        protocol: value(group.protocol, "protocol"),
        port: value(group.port, "port"),
        path: value(group.path, "path"),
        interval: value(group.interval, "interval"),
        timeout: value(group.timeout, "timeout"),
        healthy: value(group.healthy, "healthy"),
        unhealthy: value(group.unhealthy, "unhealthy"),
        matcher: value(group.matcher, "matcher"),
        targets: list(group.targets, "targets"),
    };
    Ok(Config {
        expected: list(parsed.expect_targets, "expect-targets"),
        groups: parsed.target_group.into_iter().map(group).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
expect-targets = ["10.0.2.11:80"]

[[target-group]]
name = "web"
lb-type = "alb"
targets = ["10.0.2.9:8080", "[fd00::1]:8080"]
interval = 10
timeout = "2500ms"
matcher = "200,202"

[[target-group]]
lb-type = "haproxy"
interval = 0.5
"#;

    #[test]
    fn several_groups_are_read() {
        let config = parse(GOOD, "why502.toml").unwrap();
        let web = config.groups[0].check().unwrap();
        assert_eq!((web.name.as_deref(), web.targets.len()), (Some("web"), 2));
        assert_eq!((web.interval, web.timeout), (Some(10_000_000_000), Some(2_500_000_000)));
        assert_eq!(config.groups[1].check().unwrap().interval, Some(500_000_000));
        assert_eq!(config.expected[0].target().unwrap().port, 80);
        assert_eq!(parse("", "x").unwrap().groups.len(), 0);
    }

    #[test]
    fn errors_name_the_file_and_the_line() {
        let error = |text: &str| parse(text, "a.toml").unwrap_err().to_string();
        let unknown = error("[[target-group]]\nname = \"x\"\ninterwal = 3\n");
        assert!(unknown.starts_with("a.toml:3: unknown field `interwal`"), "{unknown}");
        assert!(error("a = \n").starts_with("a.toml:1: "));
        let kind = error("[[target-group]]\ninterval = [1]\n");
        assert!(kind.starts_with("a.toml:2: ") && kind.contains("text or a number"), "{kind}");
        let range = GOOD.replace("interval = 10\n", "interval = 1\n");
        let refused = parse(&range, "a.toml").unwrap().groups[0].check().unwrap_err();
        assert_eq!(
            refused.to_string(),
            "a.toml:8: interval 1: AWS Application Load Balancer: it has to be from 5 s to 300 s"
        );
    }
}
