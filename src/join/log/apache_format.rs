//! A `LogFormat` of Apache, told in the variables of [`Format`](super::format::Format).
//!
//! ```text
//! %h %l %u %t "%r" %>s %b "%{X-Request-Id}i" %D
//! ```
//! <https://httpd.apache.org/docs/2.4/mod/mod_log_config.html#formats>

/// Directives of one letter that tell nothing here.
const OTHER: &str = "bBCeEfFHIikKlLnOopPRuvVX^S";

/// What stands for such a format; `None`: it is none.
pub(super) fn in_variables(text: &str) -> Option<String> {
    // As it stands in the configuration, between quotes.
    let text = text.replace("\\\"", "\"").replace("\\t", "\t");
    if text.contains('$') {
        return None;
    }
    let (mut told, mut rest, mut any) = (String::new(), text.as_str(), false);
    while let Some(at) = rest.find('%') {
        told.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            told.push('%');
            rest = after;
            continue;
        }
        // `%START_TIME%` is an operator of Envoy.
        if rest.bytes().take(3).filter(u8::is_ascii_uppercase).count() == 3 {
            return None;
        }
        let (directive, after) = directive(rest)?;
        rest = after;
        if directive.letter == 'U' && rest.starts_with("%q") {
            told.push_str("${request_uri}");
            rest = &rest[2..];
        } else {
            told.push_str(&directive.variable()?);
        }
        if directive.letter == 't' {
            rest = behind_time(rest);
        }
        any = true;
    }
    told.push_str(rest);
    any.then_some(told)
}

/// `%>s`, `%!200,304{Referer}i`: what is behind the percent sign.
struct Directive<'a> {
    /// `remote` in `%{remote}p`.
    argument: &'a str,
    letter: char,
}

fn directive(text: &str) -> Option<(Directive<'_>, &str)> {
    let conditions = |it: char| matches!(it, '<' | '>' | '!' | ',') || it.is_ascii_digit();
    let text = text.trim_start_matches(conditions);
    let (argument, text) = match text.strip_prefix('{') {
        Some(rest) => rest.split_once('}')?,
        None => ("", text),
    };
    // `%^FB`, the time to the first byte.
    let length = if text.starts_with('^') { 3 } else { 1 };
    let letter = text.chars().next()?;
    Some((Directive { argument, letter }, text.get(length..)?))
}

impl Directive<'_> {
    fn variable(&self) -> Option<String> {
        let header = |prefix: &str| {
            format!("${{{prefix}_{}}}", self.argument.to_ascii_lowercase().replace('-', "_"))
        };
        let name = match (self.letter, self.argument) {
            ('h' | 'a', "" | "c") => "remote_addr",
            ('A', _) => "ip_address",
            ('p', "remote") => "remote_port",
            ('t', "") => return Some("[${start_time}]".to_owned()),
            ('t', format) => time(format),
            ('r', "") => "request",
            ('s', "") => "status",
            ('m', "") => "request_method",
            ('U', "") => "uri",
            ('q', "") => "query_string",
            ('D', "") | ('T', "us") => "duration_us",
            ('T', "ms") => "duration_ms",
            ('T', _) => "elapsed",
            ('i', "") | ('o', "") => return None,
            ('i', _) => return Some(header("http")),
            ('o', _) => return Some(header("sent_http")),
            ('e', "UNIQUE_ID") => "unique_id",
            (letter, _) if OTHER.contains(letter) => "of_apache",
            _ => return None,
        };
        Some(format!("${{{name}}}"))
    }
}

/// Of the forms of `strftime` those that are read.
fn time(format: &str) -> &'static str {
    let (ended, format) = match format.strip_prefix("end:") {
        Some(rest) => (true, rest),
        None => (format == "end", format.strip_prefix("begin:").unwrap_or(format)),
    };
    let known = matches!(format, "sec" | "msec" | "%s")
        || ["%d/%b/%Y:%", "%Y-%m-%d", "%F"].iter().any(|it| format.starts_with(it));
    match (known, ended) {
        (false, _) => "of_apache",
        (true, true) => "end_time",
        (true, false) => "start_time",
    }
}

/// Decimals and zone behind a time, which belong to it.
fn behind_time(text: &str) -> &str {
    let decimals =
        [".%{msec_frac}t", ".%{usec_frac}t", ".%{begin:msec_frac}t", ".%{begin:usec_frac}t"];
    let strip = |text: &'_ str, parts: &[&str]| -> usize {
        parts.iter().find(|part| text.starts_with(**part)).map_or(0, |part| part.len())
    };
    let text = &text[strip(text, &decimals)..];
    &text[strip(text, &[" %{%z}t", "%{%z}t"])..]
}

#[cfg(test)]
mod tests {
    use super::super::format::Format;
    use super::*;
    use crate::packet::Endpoint;
    use crate::time::Timestamp;

    #[test]
    fn the_formats_of_the_documentation_are_read() {
        let text = b"203.0.113.7 - frank [21/Nov/2026:10:35:40 +0000] \"GET /a?b=1 HTTP/1.1\" 502 341 \"-\" \
            \"Mozilla \\\"x\\\"\" 1500250 12345678";
        let format = Format::new(
            "%h %l %u %t \\\"%r\\\" %>s %b \\\"%{Referer}i\\\" \\\"%{User-Agent}i\\\" %D %{X-Request-Id}i",
        )
        .unwrap();
        let line = format.read(text).unwrap();
        let began = Timestamp(1_795_257_340_000_000_000);
        assert_eq!(line.client, Some(Endpoint::v4([203, 0, 113, 7], 0)));
        assert_eq!((line.began, line.status, line.failed), (Some(began), Some(502), true));
        assert_eq!(line.ended, Some(began.after(1_500_250_000)));
        assert_eq!((&*line.method, &*line.path), (&b"GET"[..], &b"/a?b=1"[..]));
        assert_eq!(&*line.request_id, b"12345678");
    }

    #[test]
    fn ports_decimals_and_path_with_query() {
        let format =
            Format::new("%a:%{remote}p %{%Y-%m-%dT%T}t.%{usec_frac}t%{%z}t %m %U%q %s %{ms}T")
                .unwrap();
        let line = format
            .read(b"203.0.113.7:40001 2026-11-21T10:35:40.250001+0000 GET /a?b 200 12")
            .unwrap();
        assert_eq!(line.client, Some(Endpoint::v4([203, 0, 113, 7], 40_001)));
        assert_eq!(line.began.map(|at| at.0 % 1_000_000_000), Some(250_001_000));
        assert_eq!((&*line.path, line.without_query), (&b"/a?b"[..], false));
        assert_eq!(line.duration, Some(12_000_000));
    }

    #[test]
    fn formats_of_others_are_none() {
        for text in [
            "$remote_addr %h",
            "%START_TIME% %REQ(:METHOD)%",
            "%START_TIME%|%REQ(X)%|",
            "%ci:%cp [%tr] %ST",
            "plain",
            "%",
        ] {
            assert_eq!(in_variables(text), None, "{text}");
        }
        assert_eq!(in_variables("%%%t %>s").as_deref(), Some("%[${start_time}] ${status}"));
        assert!(Format::new("%h \"%r\" %>s").is_err());
    }
}
