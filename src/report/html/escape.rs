//! JSON inside HTML: no byte of it can end the script element that holds it.

use std::io::{self, Write};

/// Writes `<` as `\u003c`, which is the same to a reader of JSON: the sign stands only in strings.
/// Without it no `</script>` and no `<!--` is left (HTML Standard, 4.12.1.3).
pub(super) struct Escaped<'a> {
    out: &'a mut dyn Write,
    /// Bytes given to it.
    pub(super) written: usize,
}

impl<'a> Escaped<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Escaped<'a> {
        Escaped { out, written: 0 }
    }
}

impl Write for Escaped<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for (n, part) in bytes.split(|byte| *byte == b'<').enumerate() {
            if n > 0 {
                self.out.write_all(b"\\u003c")?;
            }
            self.out.write_all(part)?;
        }
        self.written += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tag_survives_and_the_value_is_the_same() {
        let hostile = "</script><script>alert(1)</script><!-- <![CDATA[ \" \\ \u{2028}";
        let mut out = Vec::new();
        let mut escaped = Escaped::new(&mut out);
        serde_json::to_writer(&mut escaped, hostile).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains('<'), "{text}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), hostile);
    }
}
