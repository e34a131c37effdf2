//! `why502 live --keylog` with a file that programs write into meanwhile. In a network namespace, so as
//! root; without root it says that it skips.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use serde_json::Value;
use support::space::{Live, Space, can_run};

/// A server that answers one request, and its client, which writes the keys.
const TALK: &str = r#"
cd "$1"
openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=a 2>/dev/null
openssl s_server -accept 127.0.0.1:4433 -cert cert.pem -key key.pem -www -quiet >/dev/null 2>&1 &
server=$!
for turn in $(seq 50); do
  ss -Hltn 'sport = :4433' | grep -q . && break
  sleep 0.1
done
for turn in 1 2 3 4 5 6 7 8 9 10; do
  printf 'GET /hidden HTTP/1.0\r\n\r\n' | timeout 3 openssl s_client -connect 127.0.0.1:4433 \
    -keylogfile keys -ign_eof -quiet 2>/dev/null | grep -q 'HTTP/1.0 200' && break
  sleep 0.3
done
kill $server
"#;

#[test]
fn keys_that_come_while_it_captures_open_what_comes_then() {
    if !can_run() {
        return;
    }
    let space = Space::new("true");
    let folder = tempfile::tempdir().unwrap();
    let [keys, path] = ["keys", "report.json"].map(|name| folder.path().join(name));
    std::fs::write(&keys, "").unwrap();
    let args = ["-i", "lo", "-p", "4433", "--all", "--format", "json"];
    let more = ["--keylog", keys.to_str().unwrap(), "-o", path.to_str().unwrap()];
    let live = Live::start(&space, &[&args[..], &more].concat());
    let talk =
        space.command("bash").args(["-c", TALK, "talk"]).arg(folder.path()).output().unwrap();
    assert!(talk.status.success(), "{talk:?}");
    std::thread::sleep(std::time::Duration::from_millis(500));
    live.signal("TERM");
    let (code, lines) = live.end();
    assert_eq!(code, Some(0), "{lines:#?}");
    assert!(std::fs::metadata(&keys).unwrap().len() > 0, "the client writes keys");
    let report: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(report["summary"]["exchanges"], 1, "{lines:#?}");
    assert_eq!(report["summary"]["findings"], 0, "{lines:#?}");
    let flows = report["flows"].as_array().unwrap();
    assert!(flows.iter().any(|flow| flow["tls"]["decrypted"] == true), "{flows:#?}");
}
