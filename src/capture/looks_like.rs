//! What a file that is not a capture may be, and what its owner can do about it.

use super::decompress;
use super::pcap::Pcap;
use super::pcapng::Pcapng;

/// First bytes that identify a format, and what to say about it.
const MAGICS: &[(&[u8], &str)] = &[
    (b"snoop\0\0\0", "a Solaris snoop capture; convert it: editcap -F pcapng IN OUT"),
    (b"btsnoop\0", "a Bluetooth snoop capture, which holds no HTTP"),
    (b"GMBU", "a Microsoft Network Monitor 2 capture; convert it: editcap -F pcapng IN OUT"),
    (b"RTSS", "a Microsoft Network Monitor 1 capture; convert it: editcap -F pcapng IN OUT"),
    (b"XCP\0", "a NetXray or Windows Sniffer .cap file; convert it: editcap -F pcapng IN OUT"),
    (b"TRSNIFF data", "a DOS Sniffer capture; convert it: editcap -F pcapng IN OUT"),
    (b"iptrace 1.0", "an AIX iptrace file; convert it: editcap -F pcapng IN OUT"),
    (b"iptrace 2.0", "an AIX iptrace file; convert it: editcap -F pcapng IN OUT"),
    (b"\x7fver", "a Savvius OmniPeek capture; convert it: editcap -F pcapng IN OUT"),
    (b"\x05VNF", "a Visual Networks capture; convert it: editcap -F pcapng IN OUT"),
    (b"\xaa\xaa\xaa\xaa", "an Accellent 5Views capture; convert it: editcap -F pcapng IN OUT"),
    (b"TR\0d", "an HP-UX nettl trace; convert it: editcap -F pcapng IN OUT"),
    (b"\x1c\0\x01\xac", "an Ixia capture; convert it: editcap -F pcapng IN OUT"),
    (b"\x1c\0\x01\xab", "an Ixia capture; convert it: editcap -F pcapng IN OUT"),
    (b"\xac\x01\0\x1c", "an Ixia capture; convert it: editcap -F pcapng IN OUT"),
    (b"\xab\x01\0\x1c", "an Ixia capture; convert it: editcap -F pcapng IN OUT"),
    (b"\xa1\xb2\x34\xcd", "a pcap variant (Mesquita) that no common tool writes"),
    (b"\xcd\x34\xb2\xa1", "a pcap variant (Mesquita) that no common tool writes"),
    (b"\x7fELF", "an ELF program or library"),
    (b"MZ", "a Windows program"),
    (b"PK\x03\x04", "a zip archive; unpack it and name the capture inside"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it and name the capture inside"),
    (b"Rar!\x1a\x07", "a rar archive; unpack it and name the capture inside"),
    (b"BZh", "bzip2 data; decompress it: bunzip2 -k FILE"),
    (b"LZIP", "lzip data; decompress it: lzip -dk FILE"),
    (b"\x5d\0\0", "lzma data (the format before xz); decompress it: xz -dk FILE"),
    (b"\x1f\x9d", "data of compress (.Z); decompress it: gzip -d FILE"),
    (b"SQLite format 3\0", "a SQLite database"),
    (b"%PDF-", "a PDF document"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"PAR1", "a Parquet file"),
    (b"version https://git-lfs", "a Git LFS pointer; fetch the file: git lfs pull"),
    (b"CLIENT_RANDOM ", "a TLS key log; give it with --keylog, and name the capture"),
    (
        b"SERVER_HANDSHAKE_TRAFFIC_SECRET ",
        "a TLS key log; give it with --keylog, and name the capture",
    ),
    (
        b"CLIENT_HANDSHAKE_TRAFFIC_SECRET ",
        "a TLS key log; give it with --keylog, and name the capture",
    ),
    (b"-----BEGIN ", "a PEM file, such as a certificate or a key"),
    (b"\xff\xfe", "text in UTF-16; name the capture it was made from"),
    (b"\xfe\xff", "text in UTF-16; name the capture it was made from"),
    (b"rpcap://", "the address of a remote capture; write it to a file first"),
];

/// One line about a file of which `sample` is the beginning, after decompression if `compression`
/// says so; `trouble` is why decompression stopped.
pub(super) fn describe(
    sample: &[u8],
    compression: Option<&'static str>,
    trouble: Option<&str>,
) -> String {
    match (compression, trouble) {
        (_, Some(trouble)) if sample.is_empty() => {
            format!("{trouble} before the first byte could be read; copy or fetch the file again")
        }
        (Some(name), _) if sample.is_empty() => format!("{name} data with nothing in it"),
        (Some(name), _) => format!("{name} data that holds {}", of(sample)),
        (None, _) if sample.is_empty() => "it is empty; if it is still being written, capture \
             with tcpdump -U so that packets reach the file at once"
            .to_owned(),
        (None, _) => format!("it looks like {}", of(sample)),
    }
}

fn of(sample: &[u8]) -> String {
    if let Some((_, what)) = MAGICS.iter().find(|(magic, _)| sample.starts_with(magic)) {
        return (*what).to_owned();
    }
    if let Some(name) = decompress::recognise(sample) {
        return format!("{name} data once more; decompress it first");
    }
    if sample.iter().all(|byte| *byte == 0) {
        return "zero bytes only, space that was reserved and never written".to_owned();
    }
    if sample.get(257..262) == Some(b"ustar") {
        return "a tar archive; unpack it and name the capture inside".to_owned();
    }
    if let Some(at) = capture_inside(sample) {
        return format!(
            "a capture with {at} bytes of something else before it, such as the output of a \
             remote shell; cut them off: tail -c +{} FILE",
            at + 1
        );
    }
    if erf(sample) {
        return "an Endace ERF capture; convert it: editcap -F pcapng IN OUT".to_owned();
    }
    match text(sample) {
        Some(text) => of_text(text).to_owned(),
        None => {
            let head: Vec<_> = sample.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            format!("data of an unknown kind (its first bytes are {})", head.join(" "))
        }
    }
}

/// Where a capture starts if something was written in front of it.
fn capture_inside(sample: &[u8]) -> Option<usize> {
    (1..sample.len().saturating_sub(24)).find(|at| {
        let rest = &sample[*at..];
        // Version 2.4 behind the magic, or the byte-order magic of a section header.
        let pcap = Pcap::recognises(rest) && matches!(rest[4..8], [0, 2, 0, 4] | [2, 0, 4, 0]);
        let magic = [[0x1a, 0x2b, 0x3c, 0x4d], [0x4d, 0x3c, 0x2b, 0x1a]];
        pcap || (Pcapng::recognises(rest) && magic.iter().any(|m| rest[8..12] == *m))
    })
}

/// ERF has no magic: two records in a row must be of a known type, with a time of this century
/// unless they are about the capture itself.
fn erf(sample: &[u8]) -> bool {
    const ABOUT_THE_CAPTURE: u8 = 27;
    let record = |at: usize| {
        let head = sample.get(at..at + 16)?;
        let seconds = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let length = usize::from(u16::from_be_bytes([head[10], head[11]]));
        let kind = head[8] & 0x7f;
        let timed = kind == ABOUT_THE_CAPTURE || seconds > 978_307_200;
        (matches!(kind, 1..=33 | 48) && length >= 16 && timed).then_some(at + length)
    };
    record(0).and_then(record).is_some()
}

/// The sample as text, if it is some; it may end inside a character.
fn text(sample: &[u8]) -> Option<&str> {
    let sample = sample.strip_prefix(b"\xef\xbb\xbf").unwrap_or(sample);
    let text = match std::str::from_utf8(sample) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&sample[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    text.chars().all(|c| !c.is_control() || c.is_whitespace() || c == '\u{1b}').then_some(text)
}

fn of_text(text: &str) -> &'static str {
    let text = text.trim_start();
    let lower = text.get(..1000.min(text.len())).unwrap_or(text).to_ascii_lowercase();
    let first = text.lines().next().unwrap_or_default();
    let starts = |words: &[&str]| words.iter().any(|word| lower.starts_with(word));
    if starts(&["<!doctype html", "<html", "<head", "<!--"]) {
        "an HTML page, perhaps a login or error page; download the capture again"
    } else if lower.contains("<pdml") || lower.contains("<psml") {
        "tshark's output as XML; name the capture it was made from"
    } else if starts(&["<?xml", "<error"]) {
        "XML, perhaps an error of an object store; download the capture again"
    } else if starts(&["http/1.", "http/2"]) {
        "an HTTP response with its header; save the body only (curl without -i)"
    } else if starts(&["{", "["]) && lower.contains("\"_source\"") {
        "tshark's output as JSON; name the capture it was made from"
    } else if starts(&["{", "["]) && lower.contains("\"log\"") {
        "JSON, perhaps a HAR file of a browser; name a packet capture"
    } else if starts(&["{\"", "{ \"", "{\n", "[{", "[\n", "{\r"]) {
        "JSON; name a packet capture"
    } else if starts(&["1moyoq", "obld1a", "ttyyoq", "obi8tq", "cg0nch", "h4si"]) {
        "a capture in base64; decode it: base64 -d IN > OUT"
    } else if hexdump(first) {
        "a hex dump; turn it back into a capture: xxd -r IN > OUT, or text2pcap IN OUT"
    } else if starts(&["tcpdump: ", "dumpcap: ", "capturing on", "dropped privs"]) {
        "messages of the capturing program; name the file that it wrote"
    } else if tcpdump_line(first) {
        "tcpdump's text output; capture again with -w FILE, and name that file"
    } else if first.starts_with("No.") && first.contains("Time") {
        "Wireshark's text export; save the packets as pcapng and name that file"
    } else if starts(&["#!"]) {
        "a script"
    } else {
        "plain text; name a file that tcpdump -w, dumpcap or Wireshark wrote"
    }
}

/// A line such as `12:34:56.789012 IP 10.0.0.1.80 > ...`, with a date or without.
fn tcpdump_line(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace().peekable();
    words.next_if(|word| word.len() == 10 && word.matches('-').count() == 2);
    let time = words.next().unwrap_or_default();
    let clock = time.matches(':').count() == 2 && time.contains('.');
    let epoch = time.contains('.') && time.len() >= 17;
    let digits = time.chars().all(|c| c.is_ascii_digit() || c == ':' || c == '.');
    digits && (clock || epoch) && words.next().is_some()
}

/// A line such as `00000000: d4c3 b2a1` (xxd) or `0000  d4 c3 b2 a1` (hexdump, tcpdump -X).
fn hexdump(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    let offset = words.next().unwrap_or_default();
    let offset = offset.strip_suffix(':').unwrap_or(offset);
    let offset = offset.strip_prefix("0x").unwrap_or(offset);
    let hex =
        |word: &str| matches!(word.len(), 2 | 4) && word.chars().all(|c| c.is_ascii_hexdigit());
    offset.len() >= 4
        && offset.chars().all(|c| c == '0')
        && words.by_ref().take(3).filter(|word| hex(word)).count() == 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn looks_like(sample: &[u8], expected: &str) {
        let said = describe(sample, None, None);
        assert!(said.contains(expected), "{said}");
        assert!(!said.contains('\n'));
    }

    #[test]
    fn says_what_the_file_is() {
        looks_like(b"", "empty");
        looks_like(b"snoop\0\0\0\0\0\0\x02", "snoop");
        looks_like(b"GMBU\0\x02", "Network Monitor");
        looks_like(b"\x7fELF\x02\x01\x01", "ELF");
        looks_like(b"\n<!DOCTYPE html><title>Sign in</title>", "HTML");
        looks_like(b"{\"log\": {\"version\": \"1.2\"}}", "HAR");
        looks_like(b"[{\"_index\": \"packets\", \"_source\": {}}]", "tshark's output as JSON");
        looks_like(b"{\"a\": 1}", "JSON");
        looks_like(b"12:34:56.789012 IP 10.0.0.1.80 > 10.0.0.2.4: Flags [S]\n", "tcpdump's text");
        looks_like(b"2026-11-21 12:34:56.789012 IP6 ::1 > ::2:\n", "tcpdump's text");
        looks_like(b"tcpdump: listening on eth0, link-type EN10MB\n", "messages");
        looks_like(b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n", "HTTP response");
        looks_like(b"00000000: d4c3 b2a1 0200 0400  ........\n", "hex dump");
        looks_like(b"1MOyoQIABAAAAAAAAAAAAAAABAABAAAA", "base64");
        looks_like(b"Cg0NChwAAABNPCsaAQAAAP//////////", "base64");
        looks_like("é".repeat(3).as_bytes(), "plain text");
        looks_like(&[0; 100], "zero bytes only");
        looks_like(b"\x01\x02\x03\xfe\xff\x90", "01 02 03 fe ff 90");
        looks_like(b"BZh91AY&SY", "bunzip2");
    }

    #[test]
    fn finds_a_capture_behind_a_message() {
        let mut bytes = b"Defaulted container \"app\"\n".to_vec();
        bytes.extend([0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0]);
        bytes.resize(100, 0);
        looks_like(&bytes, "tail -c +27");
    }

    #[test]
    fn recognises_erf_by_two_records() {
        let record = [&[0, 0, 0, 0, 0, 0, 0, 0x60, 2, 4, 0, 24, 0, 0, 0, 8], &[9u8; 8][..]];
        looks_like(&record.concat().repeat(2), "ERF");
    }

    #[test]
    fn names_the_compression_around_it() {
        assert_eq!(
            describe(b"%PDF-1.7", Some("gzip"), None),
            "gzip data that holds a PDF document"
        );
        assert_eq!(
            describe(b"", Some("xz"), Some("the xz data is cut short")),
            "the xz data is cut short before the first byte could be read; copy or fetch the \
             file again"
        );
    }
}
