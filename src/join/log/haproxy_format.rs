//! Logs of HAProxy in a form that its `log-format` gives (Configuration Manual, 8.2.4, "Custom log format").

use super::haproxy::{finish, tries};
use super::line::{Attempt, Line};
use super::text::{endpoint, host, is_none, milliseconds, number, status};
use super::time::{Moment, common};
use crate::packet::Endpoint;
use memchr::memmem;

/// Every variable of HAProxy 3.0, the clocks first.
const NAMES: [&str; 63] = [
    "tr", "trg", "trl", "t", "T", "Tl", "B", "CC", "CS", "H", "HM", "HP", "HPO", "HQ", "HU", "HV",
    "ID", "ST", "Ta", "Tc", "Td", "Th", "Ti", "TQ", "Tq", "TR", "Tr", "Ts", "Tt", "Tu", "Tw", "U",
    "ac", "b", "bc", "bi", "bp", "bq", "ci", "cp", "f", "fc", "fi", "fp", "ft", "hr", "hrl", "hs",
    "hsl", "ms", "o", "pid", "r", "rc", "rt", "s", "sc", "si", "sp", "sq", "sslc", "sslv", "ts",
];
/// How many of them are clocks.
const CLOCKS: usize = 6;

/// A form of lines: literal text and variables in turn.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    items: Vec<Item>,
}

#[derive(Clone, Debug, PartialEq)]
enum Item {
    Text(Vec<u8>),
    /// A variable; one without name, such as `%[...]`, does not matter.
    Value {
        name: &'static str,
        quoted: bool,
    },
}

/// Values by the names of their variables.
struct Values<'a>(Vec<(&'static str, &'a [u8])>);

impl<'a> Values<'a> {
    fn get(&self, name: &str) -> Option<&'a [u8]> {
        let found = self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        found.filter(|value| !is_none(value))
    }

    /// A timer in nanoseconds; `None` for a phase that was not reached (-1).
    fn timer(&self, name: &str) -> Option<i64> {
        milliseconds(self.get(name)?)
    }

    fn address(&self, ip: &str, port: &str) -> Option<Endpoint> {
        let port = self.get(port).and_then(number).and_then(|port| u16::try_from(port).ok());
        host(self.get(ip)?).map(|host| Endpoint { port: port.unwrap_or(0), ..host })
    }
}

impl Layout {
    /// Reads a format; `None` when it is none of HAProxy's, has no time, or has variables with nothing between.
    pub(super) fn new(format: &str) -> Option<Layout> {
        let (mut items, mut literal, mut rest) = (Vec::new(), String::new(), format);
        let mut always_quoted = false;
        while let Some(at) = rest.find('%') {
            literal.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                literal.push('%');
                rest = after;
                continue;
            }
            // The name that it has in JSON.
            if let Some(after) = rest.strip_prefix('(') {
                rest = after.split_once(')')?.1;
            }
            let mut quoted = always_quoted;
            if let Some(after) = rest.strip_prefix('{') {
                let (flags, after) = after.split_once('}')?;
                quoted = (quoted || flags.contains("+Q")) && !flags.contains("-Q");
                rest = after;
            }
            let name = if rest.starts_with('[') {
                rest = &rest[closing(rest)?..];
                ""
            } else {
                let end = rest.find(|it: char| !it.is_ascii_alphanumeric()).unwrap_or(rest.len());
                // `%tsc` has the state of cookies, too.
                let name = if &rest[..end] == "tsc" { "ts" } else { &rest[..end] };
                rest = &rest[end..];
                NAMES.iter().copied().find(|known| *known == name)?
            };
            if name == "o" {
                always_quoted = quoted;
                continue;
            }
            if !literal.is_empty() {
                items.push(Item::Text(std::mem::take(&mut literal).into_bytes()));
            } else if !items.is_empty() {
                return None;
            }
            items.push(Item::Value { name, quoted });
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            items.push(Item::Text(literal.into_bytes()));
        }
        let is_clock = |item: &Item| matches!(item, Item::Value { name, .. } if NAMES[..CLOCKS].contains(name));
        items.iter().any(is_clock).then_some(Layout { items })
    }

    /// What a line of this form says, with or without a syslog prefix.
    pub(super) fn read<'a>(&self, text: &'a [u8]) -> Option<Line<'a>> {
        // A prefix may look like the first value.
        let whole = |text| {
            let values = self.values(text)?;
            let nameless = values.get("ci").is_none();
            line(&values).filter(|line| nameless || line.client.is_some())
        };
        whole(text).or_else(|| whole(&text[memmem::find(text, b"]: ")? + 3..]))
    }

    fn values<'a>(&self, text: &'a [u8]) -> Option<Values<'a>> {
        // It writes none at the beginning.
        let (mut values, mut rest, mut was_empty) = (Vec::new(), text, true);
        let mut items = self.items.iter().peekable();
        while let Some(item) = items.next() {
            let (name, quoted) = match item {
                Item::Text(literal) => {
                    // HAProxy writes one space where nothing stands between two.
                    let literal = if was_empty { literal.trim_ascii_start() } else { literal };
                    rest = rest.strip_prefix(literal)?;
                    continue;
                }
                Item::Value { name, quoted } => (*name, *quoted && rest.starts_with(b"\"")),
            };
            let next = match items.peek() {
                Some(Item::Text(literal)) => Some(literal.as_slice()),
                _ => None,
            };
            let end = if quoted {
                let until = [b"\"", next.unwrap_or_default()].concat();
                match next {
                    Some(_) => 1 + memmem::find(&rest[1..], &until)?,
                    None => memchr::memrchr(b'"', rest).filter(|end| *end > 0)?,
                }
            } else if matches!(name, "hr" | "hs") && !rest.starts_with(b"{") {
                0
            } else {
                let from = match rest.starts_with(b"{") {
                    true => memchr::memchr(b'}', rest)?,
                    false => 0,
                };
                next.map_or(Some(rest.len()), |next| {
                    Some(from + memmem::find(&rest[from..], next)?)
                })?
            };
            let value = &rest[usize::from(quoted)..end];
            rest = &rest[end + usize::from(quoted)..];
            was_empty = value.is_empty() && !quoted;
            values.push((name, value));
        }
        Some(Values(values))
    }
}

/// Behind the bracket that closes the one at the start.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0_usize, None);
    for (at, it) in text.char_indices() {
        match it {
            _ if quote.is_some() => quote = quote.filter(|open| *open != it),
            '"' | '\'' => quote = Some(it),
            '[' => depth += 1,
            ']' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 && quote.is_none() {
            return Some(at + 1);
        }
    }
    None
}

fn line<'a>(values: &Values<'a>) -> Option<Line<'a>> {
    // The request's own time, else that of its connection.
    let (of_request, of_connection) = NAMES[..CLOCKS].split_at(3);
    let clock = |names: &[&str]| names.iter().find_map(|name| common(values.get(name)?));
    let (requested, accepted) = (clock(of_request), clock(of_connection));
    let Moment { at: began, resolution } = requested.or(accepted)?;
    let total = if requested.is_some() { ["Ta", "Tt"] } else { ["Tt", "Ta"] };
    let first = if requested.is_some() { ["TR", "Tq"] } else { ["Tq", "TR"] };
    let either = |names: [&str; 2]| names.into_iter().find_map(|name| values.timer(name));
    let sent = either(first).zip(values.timer("Tw")).zip(values.timer("Tc"));
    let code = values.get("ST").and_then(status);
    let mut line = Line {
        began: Some(began),
        ended: either(total).map(|total| began.after(total)),
        sent: sent.map(|((read, wait), connect)| began.after(read + wait + connect)),
        resolution,
        client: values.address("ci", "cp"),
        local: values.address("bi", "bp"),
        status: code,
        request_id: values.get("ID").unwrap_or_default().into(),
        ..Line::default()
    };
    match values.get("r") {
        Some(request) => line.request(request.into()),
        None => {
            line.method = values.get("HM").unwrap_or_default().into();
            let path = ["HU", "HPO", "HP"].into_iter().find_map(|name| values.get(name));
            line.path = path.unwrap_or_default().into();
            line.without_query = values.get("HU").is_none();
        }
    }
    let server = values.get("s");
    let named = server.is_none_or(|it| !matches!(it, b"<NOSRV>" | b"<STATS>"));
    let state = values.get("ts");
    if named {
        let target = values.address("si", "sp").or_else(|| endpoint(values.get("si")?));
        let whole = state.is_none_or(|state| state.starts_with(b"--"));
        let answered = if values.0.iter().any(|(name, _)| *name == "Tr") {
            values.timer("Tr").is_some()
        } else {
            whole
        };
        line.attempts.push(Attempt { target, status: code.filter(|code| answered && *code > 0) });
    }
    line.undispatched = !named;
    if named && values.0.iter().any(|(name, _)| *name == "Tc") {
        let from =
            either(first).zip(values.timer("Tw")).map(|(read, wait)| began.after(read + wait));
        let (connect, retries) = (values.timer("Tc"), values.get("rc"));
        line.tries = from.zip(line.ended).and_then(|(from, ended)| {
            tries(from, connect, ended, retries?, state.unwrap_or(b"--"))
        });
    }
    line.server = values.get("b").zip(server).filter(|_| named);
    finish(&mut line, state.filter(|state| state.len() >= 2).unwrap_or(b"----"), named);
    if line.failed {
        for (name, said) in
            [("ST", "status_code"), ("ts", "termination_state"), ("b", "backend"), ("s", "server")]
        {
            if let Some(value) = values.get(name) {
                line.says(said, value);
            }
        }
        if let Some(retries) = values.get("rc").filter(|retries| *retries != b"0") {
            line.says("retries", retries);
        }
    }
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    const FORMAT: &str = "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc \
        %sq/%bq %hr %hs %{+Q}r bi=%bi:%bp %[var(txn.a),json(\"[\")] %si:%sp";

    #[test]
    fn a_format_of_ones_own() {
        let layout = Layout::new(FORMAT).unwrap();
        for (prefix, captured) in
            [("", ""), ("<134>Nov 21 10:35:40 lb1 haproxy[12]: ", "{shop|a b} ")]
        {
            let text = format!(
                "{prefix}203.0.113.7:53504 [21/Nov/2026:10:35:40.876] front back/t1 1/2/3/-1/50 502 217 - - SH-- \
                 1/1/0/0/0 0/0 {captured}\"GET /a\"b HTTP/1.1\" bi=10.0.0.5:40000 x 10.0.0.9:8080"
            );
            let line = layout.read(text.as_bytes()).unwrap();
            assert_eq!(line.client, Some(Endpoint::v4([203, 0, 113, 7], 53_504)));
            assert_eq!(line.local, Some(Endpoint::v4([10, 0, 0, 5], 40_000)));
            assert_eq!(line.sent, Some(Timestamp(1_795_257_340_882_000_000)));
            assert_eq!(line.ended, Some(Timestamp(1_795_257_340_926_000_000)));
            let target = Some(Endpoint::v4([10, 0, 0, 9], 8080));
            assert_eq!(line.attempts[..], [Attempt { target, status: None }]);
            assert_eq!((&*line.path, line.failed, line.status), (&b"/a\"b"[..], true, Some(502)));
            assert!(line.said.contains(&("termination_state", b"SH--"[..].into())));
        }
        assert!(layout.read(b"203.0.113.7:53504 [noon] front").is_none());
    }

    #[test]
    fn parts_of_a_request_and_no_server() {
        let layout = Layout::new("%{+Q}o %t %ci %HM %HU %ST %ts %s").unwrap();
        let text = b"\"21/Nov/2026:10:35:40.876\" \"203.0.113.7\" \"GET\" \"/a?b\" \"503\" \"SC\" \"<NOSRV>\"";
        let line = layout.read(text);
        let line = line.unwrap();
        assert_eq!(
            (&*line.method, &*line.path, line.without_query),
            (&b"GET"[..], &b"/a?b"[..], false)
        );
        assert_eq!((line.undispatched, line.own_cause), (true, Some("lb-no-target")));
    }

    #[test]
    fn formats_of_others_are_not_taken_for_one() {
        for format in [
            "$msec $status",
            "%START_TIME% %RESPONSE_CODE%",
            "%h %l %u %t \"%r\" %>s %b",
            "%ci %ST",
            "%tr%ST",
            "%[unclosed",
        ] {
            assert!(Layout::new(format).is_none(), "{format}");
        }
    }
}
