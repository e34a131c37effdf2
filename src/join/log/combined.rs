//! The common and the combined log format, which Apache and nginx write with different times: Apache's
//! is that of the request, nginx's that of the end of its answer.

use super::fields::split;
use super::line::{Line, is_failure};
use super::text::{endpoint, host, is_none, number, status, unescape};
use super::time::common;

/// What the time of a line stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Time {
    /// When the request came (Apache).
    Began,
    /// When its answer was out (nginx).
    Ended,
    /// One of the two.
    Either,
}

/// `client ident user [time] "request" status bytes`, then perhaps `"referer" "user agent"` and more.
pub(super) fn combined<'a>(
    text: &'a [u8],
    fields: &mut Vec<&'a [u8]>,
    time: Time,
) -> Option<Line<'a>> {
    if !split(text, true, fields) || fields.len() < 7 {
        return None;
    }
    let at = common(fields[3])?;
    let client = host(fields[0]).or_else(|| endpoint(fields[0]));
    if !is_none(fields[6]) {
        number(fields[6])?;
    }
    let mut line = Line {
        began: (time != Time::Ended).then_some(at.at),
        ended: (time != Time::Began).then_some(at.at),
        resolution: at.resolution,
        client,
        ..Line::default()
    };
    line.request(unescape(fields[4]));
    let code = status(fields[5])?;
    line.status = Some(code);
    line.failed = is_failure(code);
    if line.failed {
        line.says("status", fields[5]);
    }
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Endpoint;
    use crate::time::Timestamp;

    #[test]
    fn common_combined_and_longer_ones() {
        let common =
            "203.0.113.7 - alice [21/Nov/2026:10:35:40 +0000] \"GET /a%20b?c HTTP/1.1\" 502 150";
        for tail in ["", " \"-\" \"curl/7.88\"", " \"-\" \"a \\\"b\\\"\" 0.005 -"] {
            let text = format!("{common}{tail}");
            let mut fields = Vec::new();
            let line = combined(text.as_bytes(), &mut fields, Time::Either).unwrap();
            assert_eq!(line.client, Some(Endpoint::v4([203, 0, 113, 7], 0)));
            assert_eq!(
                (line.began, line.began),
                (line.ended, Some(Timestamp(1_795_257_340_000_000_000)))
            );
            assert_eq!((&*line.path, line.failed), (&b"/a%20b?c"[..], true));
            let line = combined(text.as_bytes(), &mut fields, Time::Ended).unwrap();
            assert_eq!(line.began, None);
        }
    }

    #[test]
    fn what_is_no_request_has_no_path() {
        let text = b"203.0.113.7 - - [21/Nov/2026:10:35:40 +0000] \"\\x16\\x03\\x01\" 400 150";
        assert!(combined(text, &mut Vec::new(), Time::Began).unwrap().path.is_empty());
        for bad in [
            "a b c d e f g",
            "1.2.3.4 - - [noon] \"GET / HTTP/1.1\" 200 1",
            "1.2.3.4 - - [21/Nov/2026:10:35:40 +0000] \"GET / HTTP/1.1\" OK 1",
        ] {
            assert!(combined(bad.as_bytes(), &mut Vec::new(), Time::Began).is_none(), "{bad}");
        }
    }
}
