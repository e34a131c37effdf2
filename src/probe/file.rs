//! Files of probers, as written. What the keys mean is said at the head of `probers.toml`.

use super::evidence::Evidence;
use super::pattern::{Cidr, Expression, Hex, Statuses, Text};
use super::prober::{Basis, Class, Close, Keeps, Timer};
use super::sighting::Shape;
use serde::Deserialize;
use std::fmt;
use toml::Spanned;

/// Largest file that is read, bytes; the one that is built in has 40 000.
pub(super) const FILE_MAX: usize = 4 << 20;

/// Why a file of probers is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {what}")]
pub struct FileError {
    /// Name of the file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

/// A file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) disable: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) paths: Paths,
    #[serde(default)]
    pub(super) net: Vec<Net>,
    #[serde(default)]
    pub(super) prober: Vec<Entry>,
}

/// Paths that speak for or against a check; those of a later file are added.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Paths {
    pub(super) strong: Vec<Expression>,
    pub(super) weak: Vec<Expression>,
    pub(super) scrape: Vec<Expression>,
}

/// A network.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Net {
    pub(super) id: String,
    pub(super) cidr: Vec<Cidr>,
    pub(super) db: i32,
    #[serde(rename = "source")]
    pub(super) _source: String,
}

/// A prober.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) id: Spanned<String>,
    pub(super) extends: Option<Spanned<String>>,
    pub(super) name: Option<String>,
    pub(super) class: Option<Class>,
    pub(super) basis: Option<Basis>,
    pub(super) interval_s: Option<f64>,
    pub(super) timeout_s: Option<f64>,
    pub(super) rise: Option<u32>,
    pub(super) fall: Option<u32>,
    pub(super) timer: Option<Timer>,
    pub(super) connection: Option<Keeps>,
    pub(super) close: Option<Vec<Close>>,
    pub(super) ok_http: Option<Statuses>,
    pub(super) warn_http: Option<Statuses>,
    pub(super) ok_grpc: Option<Statuses>,
    pub(super) tcp: Option<bool>,
    pub(super) body: Option<bool>,
    pub(super) fanout: Option<bool>,
    pub(super) external: Option<bool>,
    pub(super) veto: Option<bool>,
    pub(super) tool: Option<bool>,
    pub(super) from: Option<Vec<Spanned<String>>>,
    pub(super) looks: Option<String>,
    #[serde(default)]
    pub(super) sources: Vec<String>,
    #[serde(default, rename = "match")]
    pub(super) matches: Vec<Match>,
}

/// One way to recognise a prober.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Match {
    pub(super) on: On,
    pub(super) db: i32,
    #[serde(default)]
    pub(super) rank: i32,
    pub(super) ua: Option<Text>,
    pub(super) path: Option<Text>,
    #[serde(default)]
    pub(super) method: Vec<String>,
    #[serde(default)]
    pub(super) version: Vec<String>,
    #[serde(default)]
    pub(super) host: Vec<HostForm>,
    pub(super) headers: Option<Vec<String>>,
    #[serde(default)]
    pub(super) header: Vec<HeaderIs>,
    pub(super) case: Option<Case>,
    #[serde(default)]
    pub(super) net: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) shape: Vec<Shape>,
    #[serde(default)]
    pub(super) ends: Vec<Ends>,
    pub(super) payload: Option<Hex>,
    #[serde(default)]
    pub(super) payload_ends: bool,
    pub(super) proxy: Option<Proxied>,
    #[serde(default)]
    pub(super) needs: Vec<Evidence>,
    pub(super) example: Option<Example>,
}

impl Match {
    /// Whether it leaves open what is sent.
    pub(super) fn says_anything(&self) -> bool {
        self.payload.is_none() && self.proxy.is_none()
    }
}

/// A header that must be there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeaderIs {
    pub(super) name: String,
    pub(super) value: Option<Expression>,
}

/// What a match looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum On {
    Http,
    Bare,
    Tls,
    Payload,
}

/// What a Host header is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum HostForm {
    Absent,
    Empty,
    TargetIp,
    TargetIpPort,
    SourceIp,
    SourceIpPort,
    Ip,
    IpPort,
    Loopback,
    Localhost,
    Name,
    NamePort,
}

/// How header names are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Case {
    Lower,
    Canonical,
}

/// Who ends a connection, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Ends {
    Fin,
    Rst,
    ServerFirst,
}

/// What a PROXY header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Proxied {
    Local,
    OwnAddress,
    SameTwice,
    Any,
}

/// What a match is tested with, and what `why502 probers` shows.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Example {
    pub(super) request: Option<String>,
    pub(super) payload: Option<Hex>,
    pub(super) source: Option<String>,
    pub(super) target: Option<String>,
    pub(super) every: Option<f64>,
    pub(super) steps: Vec<f64>,
    /// Application data follows the handshake.
    pub(super) data: bool,
    pub(super) shape: Option<Shape>,
    pub(super) ends: Option<Ends>,
    pub(super) proxy: Option<Proxied>,
    pub(super) rides: bool,
}

/// A file and where its lines begin.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
}

impl Source<'_> {
    pub(super) fn parse(&self) -> Result<File, FileError> {
        if self.text.len() > FILE_MAX {
            return Err(self.error(0, format!("larger than {FILE_MAX} bytes")));
        }
        toml::from_str(self.text).map_err(|error| {
            self.error(error.span().map_or(0, |span| span.start), error.message().to_owned())
        })
    }

    /// An error at the byte `at`.
    pub(super) fn error(&self, at: usize, what: impl fmt::Display) -> FileError {
        let before = self.text.as_bytes().iter().take(at);
        let line = 1 + before.filter(|byte| **byte == b'\n').count();
        FileError { file: self.name.to_owned(), line, what: what.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> (usize, String) {
        let error = Source { name: "mine.toml", text }.parse().unwrap_err();
        assert!(error.to_string().starts_with(&format!("mine.toml:{}: ", error.line)), "{error}");
        (error.line, error.what)
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let head = "[[prober]]\nid = \"a\"\n[[prober.match]]\non = \"http\"\ndb = 1\n";
        for (line, wrong, why) in [
            (6, "colour = 1", "unknown field `colour`"),
            (6, "ua = { regex = '(' }", "group without closing"),
            (6, "payload = '0g'", "hexadecimal"),
            (6, "needs = ['luck']", "unknown variant `luck`"),
            (6, "shape = ['round']", "unknown variant `round`"),
            (6, "ua = { exact = 'a', prefix = 'b' }", "one of exact"),
            (7, "\nnonsense", "expected"),
        ] {
            let (at, what) = refusal(&format!("{head}{wrong}\n"));
            assert!(what.contains(why), "{wrong}: {what}");
            assert_eq!(at, line, "{wrong}: {what}");
        }
        let (line, what) = refusal("[[prober]]\nid = 'a'\nok_http = '2xx'\n");
        assert!(line == 3 && what.contains("2xx"), "{what}");
        let (line, what) =
            refusal("[[net]]\nid = 'a'\ndb = 1\nsource = ''\ncidr = ['10.0.0.0/33']\n");
        assert!(line == 5 && what.contains("10.0.0.0/33"), "{what}");
    }

    #[test]
    fn a_huge_file_is_refused() {
        let text = "#".repeat(FILE_MAX + 1);
        assert!(refusal(&text).1.contains("larger"));
    }
}
