//! Whether the catalogues say all that the sources say, and nothing else.

use super::Lang;
use super::catalogue;
use crate::blind::BlindSpot;
use crate::health::texts::EXPLAINED;
use crate::health::vendor::VENDORS;
use crate::probe::{Catalogue, Evidence};
use crate::tls::alert_meaning;
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

/// A string of Rust; its text is the group of that name.
const STRING: &str = r#""(?<text>(?:\\(?s:.)|[^"\\])*)""#;
/// `{name}`, and `{}` in the words of scripts.
static PLACE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\{\w*\}").unwrap());
/// Words of the page, which are a table of their own.
const PAGE: &str = "report/html/words.rs";

/// Every text that is translated, and where it stands.
fn said() -> BTreeMap<String, String> {
    let mut said = BTreeMap::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let marked = Regex::new(&format!(r"\b(?:phrase|word)!\(\s*{STRING}")).unwrap();
    let counted =
        Regex::new(&format!(r"\bplural\((?:[^()\x22;]|\([^()]*\))*,\s*{STRING}")).unwrap();
    let any = Regex::new(STRING).unwrap();
    for path in sources(&root) {
        let place = path.strip_prefix(&root).unwrap().display().to_string();
        let code = code(&fs::read_to_string(&path).unwrap());
        for found in marked.captures_iter(&code) {
            said.insert(unescaped(&found["text"]), place.clone());
        }
        for found in counted.captures_iter(&code) {
            said.insert(format!("{{n}} {}", &found["text"]), place.clone());
        }
        if place == PAGE {
            for found in any.captures_iter(code.split("EN: Words").nth(1).unwrap()) {
                said.insert(unescaped(&found["text"]), place.clone());
            }
        }
    }
    for kind in ["request", "connection", "health check", "attempt"] {
        said.insert(format!("{{n}} {kind}"), "report/terms.rs".to_owned());
    }
    for between in [", ", "; "] {
        said.insert(between.to_owned(), "words/phrase.rs".to_owned());
    }
    let mut add = |text: &str, place: &str| {
        said.insert(text.to_owned(), place.to_owned());
    };
    for cause in EXPLAINED.iter() {
        let shown = cause.seen_as.iter().chain(cause.wireshark).map(|(_, text)| text);
        let texts = [&cause.summary, &cause.explanation].into_iter().chain(shown);
        let products = cause.seen_as.iter().map(|(product, _)| product);
        for text in texts.chain(cause.confirm).chain(cause.fix).chain(products) {
            add(text, cause.id);
        }
    }
    BlindSpot::ALL.iter().for_each(|spot| add(spot.meaning(), "blind.rs"));
    Evidence::ALL.iter().for_each(|evidence| add(evidence.words(), "probe/evidence.rs"));
    (0..=255).filter_map(alert_meaning).for_each(|text| add(text, "tls/names.rs"));
    for prober in Catalogue::built_in().unwrap().probers() {
        add(&prober.name, "probe/probers.toml");
        add(&prober.looks, "probe/probers.toml");
    }
    for vendor in VENDORS {
        vendor.disagreements.iter().for_each(|(_, text)| add(text, "health/vendor.rs"));
    }
    said
}

fn sources(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|it| it == "rs") {
            files.push(path);
        }
    }
    files
}

/// Without comments and tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn unescaped(text: &str) -> String {
    static JOINED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\\\n\s*").unwrap());
    let joined = JOINED.replace_all(text, "");
    joined.replace("\\\"", "\"").replace("\\n", "\n").replace("\\\\", "\\")
}

/// `{name}`, in no order.
fn placeholders(text: &str) -> Vec<String> {
    let mut names: Vec<String> = PLACE.find_iter(text).map(|it| it.as_str().to_owned()).collect();
    names.sort();
    names.dedup();
    names
}

/// Whether it has words of English beside its placeholders, which every language says differently.
fn has_words(text: &str) -> bool {
    static WORDS: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\b[a-z]{2,} +[a-z]{2,}\b").unwrap());
    WORDS.is_match(&PLACE.replace_all(text, ""))
}

fn texts() -> BTreeMap<String, String> {
    catalogue::all(Lang::Ja.id()).into_iter().collect()
}

#[test]
fn every_sentence_has_its_japanese() {
    let texts = texts();
    let said = said();
    assert!(said.len() > 900, "{} texts found in the sources", said.len());
    let missing: Vec<String> = said
        .iter()
        .filter(|(english, _)| has_words(english) && !texts.contains_key(*english))
        .map(|(english, place)| format!("# {place}\n{english:?}: \"\""))
        .collect();
    assert!(
        missing.is_empty(),
        "src/words/sentences.ja.yml lacks {}:\n{}",
        missing.len(),
        missing.join("\n")
    );
}

#[test]
fn a_translation_has_the_same_values() {
    for (english, japanese) in texts() {
        assert_eq!(placeholders(&english), placeholders(&japanese), "{english}");
        assert!(!japanese.trim().is_empty() || english.trim().is_empty(), "{english}");
    }
}

#[test]
fn nothing_is_translated_that_nobody_says() {
    let said: BTreeSet<String> = said().into_keys().collect();
    let unused: Vec<String> = texts().into_keys().filter(|text| !said.contains(text)).collect();
    assert!(unused.is_empty(), "nobody says {}:\n{}", unused.len(), unused.join("\n"));
}
