//! What tshark says of TLS.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// Handshake messages.
const CLIENT_HELLO: &str = "1";
const SERVER_HELLO: &str = "2";

/// What a connection shows of its TLS.
#[derive(Debug, Default, PartialEq)]
pub struct Connection {
    /// Of the last ClientHello, highest version first.
    pub offered: Vec<String>,
    pub ciphers: Vec<String>,
    pub sni: Option<String>,
    pub alpn_offered: Vec<String>,
    /// Of the last ServerHello.
    pub version: Option<String>,
    pub cipher: Option<String>,
    pub alpn: Option<String>,
    /// Those that can be read: frame, sent by the client, level, what it says.
    pub alerts: Vec<(u64, bool, u64, String)>,
}

/// HTTP inside a connection, sorted.
#[derive(Debug, Default, PartialEq)]
pub struct Inside {
    /// Method and target.
    pub requests: Vec<String>,
    /// Of whole heads, but for 100 Continue.
    pub statuses: Vec<u16>,
}

impl Inside {
    /// The same requests, and all these statuses: tshark sees no answer behind one whose body comes
    /// piece by piece.
    pub fn has(&self, theirs: &Inside) -> bool {
        let mut left = self.statuses.clone();
        let mut take = |status: &u16| {
            let at = left.iter().position(|known| known == status);
            at.map(|at| left.swap_remove(at)).is_some()
        };
        self.requests == theirs.requests && theirs.statuses.iter().all(&mut take)
    }
}

const FIELDS: [&str; 14] = [
    "frame.number",
    "tcp.stream",
    "tcp.dstport",
    "tls.handshake.type",
    "tls.handshake.version",
    "tls.handshake.extensions.supported_version",
    "tls.handshake.ciphersuite",
    "tls.handshake.extensions_server_name",
    "tls.handshake.extensions_alpn_str",
    "tls.alert_message.level",
    "tls.alert_message.desc",
    "http.request.method",
    "http.request.uri",
    "http.response.code",
];

/// Every TLS connection of a capture, and the HTTP inside; `None` when tshark is not there and may
/// be missing.
pub fn read(
    capture: &Path,
    port: u64,
    keys: Option<&Path>,
) -> Option<(BTreeMap<u64, Connection>, BTreeMap<u64, Inside>)> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-r"]).arg(capture).args(["-d", &format!("tcp.port=={port},tls")]);
    command.args(["-Y", "tls", "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=,"]);
    for preference in ["tcp.reassemble_out_of_order:TRUE", "http.desegment_body:FALSE"] {
        command.args(["-o", preference]);
    }
    if let Some(keys) = keys {
        command.arg("-o").arg(format!("tls.keylog_file:{}", keys.display()));
    }
    command.args(FIELDS.iter().flat_map(|field| ["-e", field]));
    let output = match command.output() {
        Ok(output) => output,
        Err(_) if std::env::var_os("WHY502_SKIP").is_none_or(|skip| skip != "never") => {
            return None;
        }
        Err(error) => panic!("tshark: {error}"),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (mut connections, mut inside) = (BTreeMap::new(), BTreeMap::new());
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        row(line, port, &mut connections, &mut inside);
    }
    for found in inside.values_mut() {
        let Inside { requests, statuses } = found;
        requests.sort();
        statuses.sort_unstable();
    }
    Some((connections, inside))
}

fn row(
    line: &str,
    port: u64,
    connections: &mut BTreeMap<u64, Connection>,
    inside: &mut BTreeMap<u64, Inside>,
) {
    let cells: Vec<Vec<&str>> = line
        .split('\t')
        .map(|cell| cell.split(',').filter(|value| !value.is_empty()).collect())
        .collect();
    let [frame, stream, to, types, versions, supported, ciphers, sni, alpn, levels, says, ..] =
        &cells[..]
    else {
        panic!("{line}");
    };
    let number = |cell: &[&str]| cell[0].parse::<u64>().unwrap();
    let (stream, by_client) = (number(stream), number(to) == port);
    let connection = connections.entry(stream).or_default();
    let version = |text: &str| version_name(hex(text));
    if types.contains(&CLIENT_HELLO) {
        let mut offered: Vec<u16> = supported.iter().map(|text| hex(text)).collect();
        offered.retain(|version| !is_grease(*version));
        offered.sort_by(|one, other| other.cmp(one));
        if offered.is_empty() {
            offered.extend(versions.first().map(|text| hex(text)));
        }
        connection.offered = offered.into_iter().map(version_name).collect();
        let known = ciphers.iter().filter(|suite| !is_grease(hex(suite)));
        connection.ciphers =
            known.map(|suite| value("tls.handshake.ciphersuite", hex(suite))).collect();
        connection.sni = sni.first().map(|name| (*name).to_owned());
        connection.alpn_offered = alpn.iter().map(|name| (*name).to_owned()).collect();
    } else if types.contains(&SERVER_HELLO) {
        connection.version = supported.first().or(versions.first()).map(|text| version(text));
        connection.cipher =
            ciphers.first().map(|suite| value("tls.handshake.ciphersuite", hex(suite)));
    }
    if !types.contains(&CLIENT_HELLO) && !alpn.is_empty() {
        connection.alpn = alpn.first().map(|name| (*name).to_owned());
    }
    for (level, says) in levels.iter().zip(says) {
        let name = value("tls.alert_message.desc", says.parse().unwrap());
        let name = name.to_lowercase().replace(' ', "_");
        connection.alerts.push((number(frame), by_client, level.parse().unwrap(), name));
    }
    let (methods, targets, statuses) = (&cells[11], &cells[12], &cells[13]);
    if !methods.is_empty() || !statuses.is_empty() {
        let found: &mut Inside = inside.entry(stream).or_default();
        let requests = methods.iter().zip(targets);
        found.requests.extend(requests.map(|(method, target)| format!("{method} {target}")));
        let statuses = statuses.iter().map(|status| status.parse::<u16>().unwrap());
        found.statuses.extend(statuses.filter(|status| *status != 100));
    }
}

fn hex(text: &str) -> u16 {
    u16::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
}

/// Values that clients offer to keep servers tolerant (RFC 8701).
fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}

fn version_name(version: u16) -> String {
    match version {
        0x0301..=0x0304 => format!("TLS 1.{}", version - 0x0301),
        _ => format!("{version:#06x}"),
    }
}

/// tshark's name for a value of a field.
fn value(field: &str, value: u16) -> String {
    static VALUES: OnceLock<String> = OnceLock::new();
    let values = VALUES.get_or_init(|| {
        let output = Command::new("tshark").args(["-G", "values"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let used = |line: &&str| {
            line.starts_with("V\ttls.handshake.ciphersuite\t")
                || line.starts_with("V\ttls.alert_message.desc\t")
        };
        text.lines().filter(used).map(|line| format!("{line}\n")).collect()
    });
    let line = values.lines().find_map(|line| {
        let rest = line.strip_prefix("V\t")?.strip_prefix(field)?.strip_prefix('\t')?;
        let (number, name) = rest.split_once('\t')?;
        let number = match number.strip_prefix("0x") {
            Some(digits) => u16::from_str_radix(digits, 16).ok()?,
            None => number.parse().ok()?,
        };
        (number == value).then(|| name.to_owned())
    });
    line.unwrap_or_else(|| panic!("{field}: {value}"))
}
