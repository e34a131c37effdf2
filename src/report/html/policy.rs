//! What the page may do: run the scripts and use the styles that ship with it, nothing else.

use base64ct::{Base64, Encoding as _};
use sha2::{Digest, Sha256};

/// uPlot 1.6.32 (MIT) with its licence, then the page's own, in the order in which they need each
/// other.
pub(super) const SCRIPTS: [&str; 9] = [
    concat!(
        "/*!\n",
        include_str!("assets/uPlot.LICENSE"),
        "\n*/\n",
        include_str!("assets/uPlot.iife.min.js")
    ),
    include_str!("assets/base.js"),
    include_str!("assets/theme.js"),
    include_str!("assets/ladder.js"),
    include_str!("assets/finding.js"),
    include_str!("assets/list.js"),
    include_str!("assets/strips.js"),
    include_str!("assets/timeline.js"),
    include_str!("assets/main.js"),
];

/// uPlot's styles, then the page's own.
pub(super) const STYLES: [&str; 2] =
    [include_str!("assets/uPlot.min.css"), include_str!("assets/style.css")];

/// `Content-Security-Policy` (W3C, level 3): no resource of any origin, and of what stands in the
/// page itself only these scripts and styles, by their SHA-256. Even a text that got past the
/// escaping could not run.
pub(super) fn policy() -> String {
    format!(
        "default-src 'none'; script-src {}; style-src {}; base-uri 'none'; form-action 'none'",
        hashes(&SCRIPTS),
        hashes(&STYLES)
    )
}

fn hashes(texts: &[&str]) -> String {
    let hash = |text: &&str| format!("'sha256-{}'", Base64::encode_string(&Sha256::digest(text)));
    texts.iter().map(hash).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_one_of_the_standard() {
        // SHA-256 of the empty text (FIPS 180-4 example), in base64.
        assert_eq!(hashes(&[""]), "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='");
    }

    #[test]
    fn nothing_is_loaded_and_no_text_becomes_html() {
        for text in SCRIPTS.iter().skip(1).chain(&STYLES) {
            for wrong in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "Function(",
                "fetch(",
                "XMLHttpRequest",
                "import(",
                "@import",
                "url(",
                "http:",
                "https:",
                "</script",
                "</style",
                "<!--",
            ] {
                // The name of SVG's elements is no address.
                let text = text.replace("http://www.w3.org/2000/svg", "");
                assert!(!text.contains(wrong), "{wrong} in {}", &text[..80]);
            }
        }
        let plot = SCRIPTS[0];
        assert!(plot.contains("Copyright (c) 2022 Leon Sorokin") && plot.contains("v1.6.32"));
        for wrong in ["innerHTML", "eval(", "fetch(", "XMLHttpRequest", "</script", "<!--"] {
            assert!(!plot.contains(wrong), "{wrong}");
        }
        // The only address names its home in a comment.
        assert_eq!(plot.matches("https:").count(), 1);
        assert!(!STYLES[0].contains("url(") && !STYLES[0].contains("@import"));
    }
}
