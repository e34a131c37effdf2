//! The page as a whole: its data, its safety, its size. `tests/browser.rs` opens it.

use super::*;
use crate::blind::BlindSpot;
use crate::cause::Finding;
use crate::report::fixture;
use crate::words::{Lang, Phrase};
use serde_json::Value;

fn page(report: &Report) -> String {
    fixture::written("html", report, &Style::default())
}

/// The data block as the scripts read it.
fn data(page: &str) -> Value {
    let (_, rest) = page.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

/// The page without its scripts and styles, which are always the same, and without its data.
fn body(page: &str) -> String {
    let (head, rest) = page.split_once("<style>").unwrap();
    let (_, rest) = rest.rsplit_once("</style>").unwrap();
    format!("{head}{}", rest.split_once("<script").unwrap().0)
}

#[test]
fn the_data_looks_as_agreed() {
    let mut report = fixture::report();
    for finding in &report.findings {
        report.requests.add(crate::report::failed_at(finding).unwrap());
    }
    let mut text = String::new();
    for (name, value) in data(&page(&report)).as_object().unwrap() {
        if name == "words" {
            continue;
        }
        text.push_str(&format!("{name}:\n"));
        match value.as_array() {
            Some(items) => items.iter().for_each(|item| text.push_str(&format!("  {item}\n"))),
            None => text.push_str(&format!("  {value}\n")),
        }
    }
    fixture::same_as_file("snapshots/page-data.txt", &text);
}

#[test]
fn the_page_says_what_the_text_report_says() {
    let report = fixture::report();
    let body = body(&page(&report));
    let text = fixture::written("text", &report, &Style::default());
    let answer = text.lines().next().unwrap();
    assert!(answer.starts_with("4 of 4 301 requests failed: 4 keepalive-race"));
    for part in [
        "<h1>4 of 4 301 requests failed: 4 keepalive-race",
        "All 4 after 5.00 s of idle",
        "Set the server's keep-alive time-out longer",
        "tcp.stream in {1..3, 7}",
        "unhealthy (Target.ResponseCodeMismatch)",
        "The start of the connection is not in the capture",
        "id=\"about-connect-refused\"",
    ] {
        assert!(body.contains(part), "{part} in\n{body}");
    }
}

/// Texts of a capture that would like to be more.
const HOSTILE: [&str; 4] = [
    "</script><script>alert(1)</script>",
    "\"><img src=x onerror=alert(2)>",
    "<!--<script>",
    "'`${alert(3)}&lt;\u{2028}\u{202e}\x1b[2J",
];

#[test]
fn a_japanese_page_has_no_english_of_its_own() {
    let style = Style { lang: Lang::Ja, ..Style::default() };
    let page = fixture::written("html", &fixture::report(), &style);
    assert!(
        page.contains("<html lang=\"ja\">") && page.contains("<h2 id=\"causes-title\">原因</h2>")
    );
    let words = data(&page)["words"].clone();
    assert_eq!(words["noneFit"], "条件に合う検出結果はない。");
    let (head, _) = page.split_once("<script type=\"application/json\"").unwrap();
    let (_, body) = head.split_once("<body>").unwrap();
    for english in ["Who has to act", "What to change", "Settings", "Checked by", "Typical case"] {
        assert!(!body.contains(english), "{english}");
    }
}

#[test]
fn texts_of_a_capture_stay_texts() {
    let plain = page(&fixture::report());
    for hostile in HOSTILE {
        let mut report = fixture::report();
        let put = |text: &mut String| *text = hostile.to_owned();
        let say = |text: &mut Phrase| *text = hostile.to_owned().into();
        for finding in &mut report.findings {
            say(&mut finding.summary);
            finding.evidence.iter_mut().for_each(|evidence| say(&mut evidence.note));
            if let Some(request) = finding.exchange.as_mut().and_then(|it| it.request.as_mut()) {
                let head = format!(
                    "GET /{hostile} HTTP/1.1\r\nHost: {hostile}\r\nX-Request-Id: {hostile}\r\n\r\n"
                );
                request.head = head.into_bytes();
            }
        }
        put(&mut report.captures[0].path);
        report.captures[0].warnings = vec![hostile.to_owned()];
        report.warnings = vec![hostile.to_owned().into()];
        report.summary.skipped.insert(hostile.to_owned(), 3);
        for target in &mut report.health.targets {
            target.group = Some(hostile.to_owned());
            target.remarks.iter_mut().for_each(|note| say(&mut note.text));
            for prober in &mut target.probers {
                put(&mut prober.name);
                prober.checks.iter_mut().for_each(|check| say(&mut check.note));
            }
        }
        let page = page(&report);
        for tag in ["<script", "</script", "<img", "<!--"] {
            let count = |page: &str| page.matches(tag).count();
            assert_eq!(count(&page), count(&plain), "{tag} of {hostile:?}");
        }
        assert!(!page.contains(['\x1b', '\u{202e}']), "{hostile:?}");
        let texts = data(&page)["texts"].to_string();
        assert!(texts.contains(&hostile[..3].replace('"', "\\\"")), "{texts}");
    }
}

#[test]
fn nothing_is_loaded() {
    for report in [fixture::report(), fixture::several_files(), Report::default()] {
        let body = body(&page(&report));
        assert!(body.contains("default-src 'none'; script-src 'sha256-"));
        for wrong in
            ["<link", "<img", "<iframe", "<object", "<base", " src=", " style=", " onclick="]
        {
            assert!(!body.contains(wrong), "{wrong}");
        }
        for address in body.split(" href=\"").skip(1) {
            let link = address.split_once('>').unwrap().0;
            let followed =
                link.starts_with("https://") && link.contains("rel=\"noreferrer noopener\"");
            assert!(link.starts_with('#') || followed, "{link}");
        }
    }
}

#[test]
fn every_place_has_its_own_name_and_every_link_a_place() {
    let body = body(&page(&fixture::several_files()));
    let mut names: Vec<&str> =
        body.split(" id=\"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0)).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
    for link in body.split(" href=\"#").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0)) {
        assert!(link.starts_with("group=") || names.contains(&link), "{link}");
    }
}

/// As many findings as a run keeps, none like another.
fn many(count: u32) -> Report {
    let one = |n: u32| {
        let mut finding = Finding { flow: u64::from(n), stream: Some(n), ..fixture::race(2) };
        if let Some(request) = finding.exchange.as_mut().and_then(|it| it.request.as_mut()) {
            request.head = format!("GET /{n}/{} HTTP/1.1\r\n\r\n", "x".repeat(400)).into_bytes();
        }
        finding.blind_spots.add(BlindSpot::Gap);
        finding
    };
    Report { findings: (0..count).map(one).collect(), ..fixture::report() }
}

#[test]
fn the_data_stays_small_and_says_what_is_left_out() {
    let report = many(3_000);
    let groups = groups(&report);
    let names = Names::new(&report.captures);
    let written = |room: usize| {
        let mut out = Vec::new();
        data::write(&report, &groups, &[], &names, &words::EN, room, &mut out).unwrap();
        (out.len(), serde_json::from_slice::<Value>(&out).unwrap())
    };
    let (whole, all) = written(usize::MAX);
    assert_eq!(all["withoutPackets"], 0);
    let (size, some) = written(whole / 2);
    let left = some["withoutPackets"].as_u64().unwrap();
    assert!(left > 500 && left < 2_500, "{left}");
    assert!(size < whole * 3 / 4, "{size} of {whole}");
    let rows = some["findings"].as_array().unwrap();
    assert_eq!(rows.len(), 3_000);
    let without = rows.iter().filter(|row| row[1].as_array().unwrap().is_empty()).count();
    assert_eq!(without as u64, left);
    // 100 000 of them would be 40 MB of whole ones and at most 30 MB of the rest.
    assert!(size - whole / 2 < left as usize * 300, "{size} of {whole}, {left}");
}

#[test]
fn an_empty_report_is_a_page_too() {
    let page = page(&Report::default());
    assert!(body(&page).contains("<h1>No packets, so nothing to judge</h1>"));
    assert_eq!(data(&page)["time"], Value::Null);
}
