//! What collectors put around the lines of a log: container runtimes, `kubectl`, syslog, the journal.

use super::kind::{Kind, Lines};
use super::text::find;
use serde_json::Value;
use std::borrow::Cow;

/// Keys of JSON objects that hold a line: of Docker's json-file driver, of `journalctl -o json`, and of shippers.
const KEYS: [&str; 4] = ["log", "MESSAGE", "message", "msg"];
/// Bytes of a time of RFC 3339 up to its seconds.
const SECONDS: usize = "2026-11-21T10:35:40".len();

/// What stands around a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Wrapping {
    /// Nothing.
    #[default]
    None,
    /// `2026-11-21T10:35:40.123456789Z stdout F ` (Kubernetes, "CRI container logging": time, stream, whole or part
    /// of a line).
    Cri,
    /// `[pod/shop-6d5f/nginx] ` of `kubectl logs --prefix`.
    Pod,
    /// `nginx-1  | ` of `docker compose logs`.
    Compose,
    /// `Nov 21 10:35:40 host nginx[42]: `, with or without `<134>` before it (RFC 3164, 4.1), or with the time of
    /// RFC 3339, as rsyslog and `journalctl -o short-iso` write it.
    Syslog,
    /// `<134>1 2026-11-21T10:35:40Z host nginx 42 - - ` (RFC 5424, 6).
    Syslog5424,
    /// `2026-11-21T10:35:40Z {app="nginx"} ` of `logcli`.
    Labels,
    /// `2026-11-21T10:35:40Z ` of `kubectl logs --timestamps` and `docker logs -t`.
    Stamp,
    /// A JSON object with the line as one of [`KEYS`].
    Object,
}

impl Wrapping {
    const ALL: [Wrapping; 9] = [
        Wrapping::None,
        Wrapping::Cri,
        Wrapping::Pod,
        Wrapping::Compose,
        Wrapping::Syslog,
        Wrapping::Syslog5424,
        Wrapping::Labels,
        Wrapping::Stamp,
        Wrapping::Object,
    ];

    /// What these lines are wrapped in, and the kind of most of them if it is at least half; `forced` is the kind
    /// that the user knows.
    pub(super) fn recognise(
        lines: &Lines,
        sample: &[Vec<u8>],
        forced: Option<Kind>,
    ) -> (Wrapping, Option<Kind>) {
        let found = Wrapping::ALL.iter().find_map(|wrapping| {
            let inside = sample.iter().map(|text| wrapping.inside(text).unwrap_or_default());
            let inside: Vec<Vec<u8>> = inside.map(Cow::into_owned).collect();
            Some((*wrapping, lines.recognise(&inside, forced)?))
        });
        found.map_or((Wrapping::None, forced), |(wrapping, kind)| (wrapping, Some(kind)))
    }

    /// The line without it; `None` where it is wrapped in something else.
    pub(super) fn inside(self, text: &[u8]) -> Option<Cow<'_, [u8]>> {
        let inside = match self {
            Wrapping::None => text,
            Wrapping::Cri => {
                let (stream, rest) = word(stamped(text)?)?;
                let (part, rest) = word(rest)?;
                let known = matches!(stream, b"stdout" | b"stderr") && matches!(part, b"F" | b"P");
                known.then_some(rest)?
            }
            Wrapping::Pod => {
                let (name, rest) = until(b']', text.strip_prefix(b"[")?)?;
                name.contains(&b'/').then_some(rest)?.strip_prefix(b" ")?
            }
            Wrapping::Compose => {
                let (_name, rest) = word(text)?;
                rest.trim_ascii_start().strip_prefix(b"| ")?
            }
            Wrapping::Syslog => {
                let text = without_priority(text).unwrap_or(text);
                let rest = stamped(text).or_else(|| stamped_3164(text))?;
                let (_host, rest) = word(rest)?;
                let (tag, rest) = word(rest)?;
                tag.ends_with(b":").then_some(rest)?
            }
            Wrapping::Syslog5424 => {
                let mut rest = stamped(without_priority(text)?.strip_prefix(b"1 ")?)?;
                for _host_app_process_message in 0..4 {
                    rest = word(rest)?.1;
                }
                behind_structured_data(rest)?
            }
            Wrapping::Labels => {
                until(b'}', stamped(text)?.strip_prefix(b"{")?)?.1.strip_prefix(b" ")?
            }
            Wrapping::Stamp => stamped(text)?,
            Wrapping::Object => return held(text).map(Cow::Owned),
        };
        Some(Cow::Borrowed(inside))
    }
}

/// What stands before a byte, and behind it.
fn until(byte: u8, text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = find(byte, text)?;
    Some((&text[..end], &text[end + 1..]))
}

/// What stands before the next space, and behind it.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    until(b' ', text)
}

/// What follows a time of RFC 3339 and a space.
fn stamped(text: &[u8]) -> Option<&[u8]> {
    let (time, rest) = word(text)?;
    let shape = time.get(..SECONDS)?.iter().zip(b"0000-00-00T00:00:00");
    let same = |(byte, shape): (&u8, &u8)| match shape {
        b'0' => byte.is_ascii_digit(),
        _ => byte == shape,
    };
    shape.into_iter().all(same).then_some(rest)
}

/// What follows `Nov 21 10:35:40 `.
fn stamped_3164(text: &[u8]) -> Option<&[u8]> {
    let (time, rest) = text.split_at_checked("Nov 21 10:35:40".len())?;
    let is_time =
        time[..3].iter().all(u8::is_ascii_alphabetic) && time[9] == b':' && time[12] == b':';
    is_time.then_some(rest)?.strip_prefix(b" ")
}

/// What follows `<134>`.
fn without_priority(text: &[u8]) -> Option<&[u8]> {
    let (priority, rest) = until(b'>', text.strip_prefix(b"<")?)?;
    let is_number = (1..=3).contains(&priority.len()) && priority.iter().all(u8::is_ascii_digit);
    is_number.then_some(rest)
}

/// What follows `- ` or `[id name="value"] `.
fn behind_structured_data(text: &[u8]) -> Option<&[u8]> {
    if let Some(rest) = text.strip_prefix(b"- ") {
        return Some(rest);
    }
    let mut rest = text;
    while let Some(element) = rest.strip_prefix(b"[") {
        rest = until(b']', element)?.1;
    }
    rest.strip_prefix(b" ")
}

/// The line that an object holds.
fn held(text: &[u8]) -> Option<Vec<u8>> {
    if text.first() != Some(&b'{') {
        return None;
    }
    let mut object: Value = serde_json::from_slice(text).ok()?;
    let line = KEYS.iter().find_map(|key| Some(object.get_mut(*key)?.take()))?;
    let mut line = match line {
        Value::String(line) => line.into_bytes(),
        // The journal writes what is no UTF-8 as numbers.
        Value::Array(bytes) => {
            bytes.iter().map(|it| u8::try_from(it.as_u64()?).ok()).collect::<Option<_>>()?
        }
        _ => return None,
    };
    line.truncate(line.trim_ascii_end().len());
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str =
        r#"203.0.113.7 - - [21/Nov/2026:10:35:40 +0000] "GET /a HTTP/1.1" 502 15 "-" "curl""#;

    #[test]
    fn what_collectors_add_is_taken_off() {
        let quoted = LINE.replace('"', "\\\"");
        let bytes: Vec<String> = LINE.bytes().map(|byte| byte.to_string()).collect();
        for (wrapping, text) in [
            (Wrapping::None, LINE.to_owned()),
            (Wrapping::Cri, format!("2026-11-21T10:35:40.123456789Z stdout F {LINE}")),
            (Wrapping::Cri, format!("2026-11-21T10:35:40.123456789+01:00 stderr F {LINE}")),
            (Wrapping::Pod, format!("[pod/shop-6d5f/nginx] {LINE}")),
            (Wrapping::Compose, format!("nginx-1  | {LINE}")),
            (Wrapping::Syslog, format!("<134>Nov  1 10:35:40 lb-1 nginx[42]: {LINE}")),
            (Wrapping::Syslog, format!("Nov 21 10:35:40 lb-1 nginx: {LINE}")),
            (Wrapping::Syslog, format!("2026-11-21T10:35:40.123456+00:00 lb-1 nginx[42]: {LINE}")),
            (Wrapping::Syslog5424, format!("<134>1 2026-11-21T10:35:40Z lb-1 nginx 42 - - {LINE}")),
            (
                Wrapping::Syslog5424,
                format!("<134>1 2026-11-21T10:35:40Z lb-1 nginx - a [b c=\"d\"][e] {LINE}"),
            ),
            (Wrapping::Labels, format!("2026-11-21T10:35:40Z {{app=\"nginx\"}} {LINE}")),
            (Wrapping::Stamp, format!("2026-11-21T10:35:40.123Z {LINE}")),
            (
                Wrapping::Object,
                format!("{{\"log\":\"{quoted}\\n\",\"stream\":\"stdout\",\"time\":\"2026\"}}"),
            ),
            (Wrapping::Object, format!("{{\"_PID\":\"4\",\"MESSAGE\":\"{quoted}\"}}")),
            (Wrapping::Object, format!("{{\"MESSAGE\":[{}]}}", bytes.join(","))),
        ] {
            let sample = [text.into_bytes()];
            let (found, kind) = Wrapping::recognise(&Lines::default(), &sample, None);
            let shown = String::from_utf8_lossy(&sample[0]);
            assert_eq!((found, kind), (wrapping, Some(Kind::Combined)), "{shown}");
            assert_eq!(found.inside(&sample[0]).unwrap(), LINE.as_bytes(), "{shown}");
            // Where the user knows the kind, too.
            let forced = Wrapping::recognise(&Lines::default(), &sample, Some(Kind::Nginx));
            assert_eq!(forced, (wrapping, Some(Kind::Nginx)), "{shown}");
        }
    }

    #[test]
    fn what_is_not_wrapped_is_left_alone() {
        for text in [
            "",
            "<",
            "<1",
            "[",
            "[a",
            "{",
            "{}",
            "{\"log\":1}",
            "Nov",
            "2026-11-21T10:35:40Z",
            "a |",
        ] {
            for wrapping in Wrapping::ALL.into_iter().filter(|it| *it != Wrapping::None) {
                assert_eq!(wrapping.inside(text.as_bytes()), None, "{wrapping:?} {text}");
            }
            let sample = [text.as_bytes().to_vec()];
            assert_eq!(
                Wrapping::recognise(&Lines::default(), &sample, None),
                (Wrapping::None, None)
            );
        }
    }
}
