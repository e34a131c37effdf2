//! Logs with one JSON object per line: nginx with `escape=json`, Envoy, HAProxy, AWS by way of a stream.

use super::format::{is_only_a_name, no_live_upstream, proxy_words};
use super::line::{Field, Line};
use super::names::field;
use serde_json::Value;
use std::borrow::Cow;

/// A line whose keys are known names; others do not matter. Bytes that are no UTF-8 are replaced.
pub(super) fn json(text: &[u8]) -> Option<Line<'static>> {
    if text.first() != Some(&b'{') {
        return None;
    }
    let object: Value = match serde_json::from_slice(text) {
        Ok(object) => object,
        Err(_) => {
            let text = String::from_utf8_lossy(text);
            serde_json::from_str(&text).or_else(|_| serde_json::from_str(&quoted(&text))).ok()?
        }
    };
    let mut line = Line::default();
    let mut query = None;
    let (mut sent_nowhere, mut named) = (false, false);
    for (key, value) in object.as_object()? {
        let value = match value {
            Value::String(text) => Cow::Owned(text.clone().into_bytes()),
            Value::Number(number) => Cow::Owned(number.to_string().into_bytes()),
            _ => continue,
        };
        let field = field(key);
        if field == Field::Query {
            query = Some(value);
            continue;
        }
        named |= key == "upstream_addr" && is_only_a_name(&value);
        sent_nowhere |= field == Field::Targets && (named || super::text::is_none(&value));
        if !line.take(field, value) {
            return None;
        }
    }
    if let Some(query) = query {
        line.take(Field::Query, query);
    }
    line.undispatched = sent_nowhere;
    line.complete();
    no_live_upstream(&mut line, named);
    proxy_words(&mut line);
    (line.is_useful() && line.status.is_some()).then_some(line)
}

/// Quotes values that stand bare and are none of JSON. In nginx a `log_format` makes the objects: where it does not
/// quote a variable, there are values such as `009`, `-`, `504, 504` and nothing at all.
fn quoted(text: &str) -> String {
    let (mut quoted, mut rest) = (String::with_capacity(text.len() + 16), text);
    while let Some(at) = rest.find([':', '"']) {
        let (before, after) = rest.split_at(at + 1);
        quoted.push_str(before);
        rest = after;
        if before.ends_with('"') {
            let (string, after) = rest.split_at(end_of_string(rest));
            quoted.push_str(string);
            rest = after;
            continue;
        }
        let value = rest.trim_ascii_start();
        if !value.starts_with(['"', '{', '[']) {
            let end = end_of_value(value);
            let (value, after) = value.split_at(end);
            let value = value.trim_ascii_end();
            match serde_json::from_str::<Value>(value) {
                Ok(_) => quoted.push_str(value),
                Err(_) => quoted.push_str(&Value::from(value).to_string()),
            }
            rest = after;
        }
    }
    quoted + rest
}

/// Where a string ends of which the first quote is left out: behind the other.
fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    let closes = |it: char| {
        let closes = it == '"' && !escaped;
        escaped = it == '\\' && !escaped;
        closes
    };
    text.find(closes).map_or(text.len(), |at| at + 1)
}

/// Where a bare value ends: before the name of the next one, or the end of the object. It may hold commas.
fn end_of_value(text: &str) -> usize {
    let ends = |(at, it): &(usize, char)| {
        *it == '}' || (*it == ',' && text[at + 1..].trim_ascii_start().starts_with('"'))
    };
    text.char_indices().find(ends).map_or(text.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Endpoint;
    use crate::time::Timestamp;

    #[test]
    fn nginx_with_its_own_names() {
        let line = json(
            br#"{"time":"2026-11-21T10:35:40+00:00","msec":"1795257340.565","remote_addr":"10.0.0.5",
            "remote_port":40000,"request":"GET /a?b=1 HTTP/1.1","status":"504","request_time":0.065,
            "upstream_addr":"10.0.0.9:80","upstream_status":"-","nested":{"a":1}}"#,
        )
        .unwrap();
        assert_eq!(line.client, Some(Endpoint::v4([10, 0, 0, 5], 40_000)));
        assert_eq!(line.ended, Some(Timestamp(1_795_257_340_565_000_000)));
        assert_eq!(line.began, Some(Timestamp(1_795_257_340_500_000_000)));
        assert_eq!((&*line.path, line.failed), (&b"/a?b=1"[..], true));
        assert_eq!(line.said.len(), 2);
    }

    #[test]
    fn path_and_query_may_be_apart_and_bytes_may_be_odd() {
        let line = json(b"{\"query_string\":\"b=1\",\"uri\":\"/a\",\"method\":\"GET\",\"ts\":1795257340.5,\"status\":200,\"ua\":\"\xff\"}").unwrap();
        assert_eq!((&*line.path, line.without_query), (&b"/a?b=1"[..], false));
    }

    #[test]
    fn bare_values_that_are_none_of_json_are_read() {
        let line = json(
            br#"{"msec":1795257340.565, "request":"GET /a?b=\":9,\" HTTP/1.1","status":009,
            "upstream_addr":"10.0.0.9:80, 10.0.0.8:80","upstream_status":504, 502,"bytes":,
            "upstream_response_time": - , "request_time":0.065}"#,
        )
        .unwrap();
        assert_eq!((line.status, line.failed), (Some(9), true));
        let answers: Vec<_> = line.attempts.iter().map(|it| it.status).collect();
        assert_eq!(answers, [Some(504), Some(502)]);
        assert_eq!(line.began, Some(Timestamp(1_795_257_340_500_000_000)));
        for text in ["{\"status\":", "{\"status\":00", "{\"a\":-}}", "{:,}", "{\"", "{a:é}"] {
            assert!(json(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn other_objects_are_none() {
        for text in
            [r#"{"level":"info"}"#, r#"{"time":"x","status":200}"#, "{", "[]", r#"{"status":200}"#]
        {
            assert!(json(text.as_bytes()).is_none(), "{text}");
        }
    }
}
