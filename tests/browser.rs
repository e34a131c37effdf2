//! The HTML report in a browser: it opens without complaint, loads nothing, fits a phone, its
//! filters and keys work, tens of thousands of findings open at once, and texts of a capture stay
//! texts.
//!
//! Needs Chromium and Python; without them it says so and passes. `make browser` installs them.

mod support;

use std::path::Path;
use std::process::Command;
use support::wire::{OK, Wire};
use why502::packet::Flags;

/// What the browser is called, the first that is there.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// Ports of a client are 16 bits, and so many fit.
const MANY: i64 = 40_000;

fn browser() -> Option<&'static str> {
    let runs = |name: &&&str| {
        Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
    };
    BROWSERS.iter().find(runs).copied()
}

/// Requests that the target answers with RST, at a pace that nobody takes for health checks.
fn failures(count: i64, path: impl Fn(i64) -> String) -> Vec<u8> {
    let mut wire = Wire::default();
    for n in 0..count {
        let (target, ms) = ([10, 0, 2, (n % 5) as u8 + 1], n * 7 + n * n % 13);
        let asked = format!("GET {} HTTP/1.1\r\nHost: shop.example\r\n\r\n", path(n));
        let asking = wire.connect(ms, [10, 0, 1, 7], (target, 8080)).open().say(0, asked).wait(3);
        match n % 10 {
            0 => asking.say(1, OK).close().end(),
            _ => asking.flags(1, Flags::RST | Flags::ACK).end(),
        }
    }
    wire.pcap()
}

fn page(folder: &Path, name: &str, capture: &Path) {
    let output = Command::new(env!("CARGO_BIN_EXE_why502"))
        .args(["--format", "html", "--quiet", "--output"])
        .arg(folder.join(name))
        .arg(capture)
        .output()
        .expect("why502 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_reader_can_use_the_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = Command::new("python3").arg("--version").output().is_ok();
    let Some(browser) = browser().filter(|_| python) else {
        let required = std::env::var_os("WHY502_SKIP").is_some_and(|skip| skip == "never");
        assert!(!required, "chromium and python3 are needed");
        support::say("skipped: chromium or python3 is not installed (make browser installs them)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let made = |name: &str, bytes: Vec<u8>| {
        std::fs::write(folder.path().join(name), bytes).unwrap();
        folder.path().join(name)
    };
    page(folder.path(), "usual.html", &root.join("captures/demo/nginx-demo-lb.pcap"));
    let checked = root.join("captures/checks-and-users/direct-fail-open-lb.pcap");
    page(folder.path(), "checks.html", &checked);
    let many = made("many.pcap", failures(MANY, |n| format!("/item/{n}")));
    page(folder.path(), "many.html", &many);
    let hurts = ["</script><script>window.hurt=1</script>", "<img src=x onerror=window.hurt=1>"];
    let hostile = made("<b>.pcap", failures(20, |n| format!("/{}", hurts[n as usize / 5 % 2])));
    page(folder.path(), "hostile.html", &hostile);

    let output = Command::new("python3")
        .arg(root.join("tests/browser/check.py"))
        .arg(browser)
        .args(["usual.html", "checks.html", "many.html", "hostile.html"])
        .current_dir(folder.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    support::say(told.trim_end());
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    folder.close().unwrap();
}
