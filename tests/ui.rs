//! `why502 live --ui` on a real terminal: tmux, in a network namespace of its own. Without tmux or
//! without root it says that it skips.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;
use support::say;

const PROGRAM: &str = env!("CARGO_BIN_EXE_why502");
/// Looks at the screen until it shows what is expected: 20 s on a busy machine.
const LOOKS: u32 = 200;
const BETWEEN: Duration = Duration::from_millis(100);

/// A terminal, with a shell in it, in a namespace.
struct Terminal {
    /// tmux's own socket.
    socket: String,
}

impl Terminal {
    /// `None` where there can be none, which is said.
    fn open(name: &str) -> Option<Terminal> {
        let terminal = Terminal { socket: format!("why502-{name}-{}", std::process::id()) };
        let opened = Command::new("unshare")
            .args(["--net", "tmux", "-L", &terminal.socket, "-f", "/dev/null"])
            .args(["new-session", "-d", "-x", "80", "-y", "24", "bash --norc --noprofile"])
            .env("LANG", "C.UTF-8")
            .env_remove("NO_COLOR")
            .output();
        if opened.is_ok_and(|output| output.status.success()) {
            terminal.tmux(&["run-shell", "ip link set lo up"]);
            return Some(terminal);
        }
        let required = std::env::var_os("WHY502_SKIP").is_some_and(|skip| skip == "never");
        assert!(!required, "tmux or the right to make a network namespace is missing");
        say("skipped: no tmux (make test installs it), or no network namespace can be made (root)");
        None
    }

    fn tmux(&self, args: &[&str]) -> String {
        let output = Command::new("tmux").args(["-L", &self.socket]).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn keys(&self, keys: &[&str]) {
        keys.iter().for_each(|key| drop(self.tmux(&["send-keys", key])));
    }

    fn resize(&self, width: &str, height: &str) {
        self.tmux(&["resize-window", "-x", width, "-y", height]);
    }

    /// The lines of the screen once `is_there` says that it is as expected.
    fn wait(&self, what: &str, is_there: impl Fn(&[&str]) -> bool) -> Vec<String> {
        let mut screen = String::new();
        for _ in 0..LOOKS {
            screen = self.tmux(&["capture-pane", "-p"]);
            let lines: Vec<&str> = screen.lines().collect();
            if is_there(&lines) {
                return lines.into_iter().map(str::to_owned).collect();
            }
            std::thread::sleep(BETWEEN);
        }
        panic!("no {what} on the screen:\n{screen}");
    }

    fn wait_for(&self, text: &str) -> Vec<String> {
        self.wait(text, |lines| lines.iter().any(|line| line.contains(text)))
    }

    /// Connections to ports of this namespace on which nobody listens. tmux would take the keys to
    /// show what a command prints, or that it failed.
    fn refused(&self, ports: &[u16]) {
        let tries: String =
            ports.iter().map(|port| format!("(exec 3<>/dev/tcp/127.0.0.1/{port}); ")).collect();
        self.tmux(&["run-shell", "-b", &format!("bash -c '{tries}' 2>/dev/null; true")]);
    }

    /// Starts the view; its report goes to `report`.
    fn live(&self, report: &Path) {
        let line = format!(
            "clear; {PROGRAM} live -i lo -p 81,82 --ui > {}; echo ended=$? $(stty -a | grep -o '.icanon')",
            report.display()
        );
        self.keys(&[&line, "Enter"]);
        self.wait_for("no request so far");
    }

    /// The program in the shell.
    fn program(&self) -> String {
        let shell = self.tmux(&["list-panes", "-F", "#{pane_pid}"]);
        let shell = shell.trim();
        std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux").args(["-L", &self.socket, "kill-server"]).output();
    }
}

#[test]
fn a_person_can_use_the_view() {
    let Some(terminal) = Terminal::open("view") else { return };
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.txt");
    terminal.live(&report);
    terminal.refused(&[81, 81, 82]);
    let screen = terminal.wait_for("3 connections failed before a request: 3 connect-refused");
    assert!(screen[0].starts_with("3 connections failed"), "the answer comes first: {screen:#?}");
    assert_eq!(screen.len(), 24);

    terminal.keys(&["Enter"]);
    let screen = terminal.wait_for("<== guilty").join("\n");
    assert!(screen.contains("RST, ACK ──") && screen.contains("Finding 1 of 3"), "{screen}");
    terminal.keys(&["Escape"]);
    terminal.wait_for("4 Findings: 3, newest first");
    terminal.keys(&["/", ":82"]);
    terminal.wait_for("filter: :82_");
    terminal.keys(&["Enter"]);
    terminal.wait_for("4 Findings: 1 of 3, with \":82\"");
    terminal.keys(&["Escape"]);
    terminal.wait_for("4 Findings: 3, newest first");

    for (width, height) in [("60", "15"), ("200", "50"), ("80", "24")] {
        terminal.resize(width, height);
        let (width, height): (usize, usize) = (width.parse().unwrap(), height.parse().unwrap());
        let screen = terminal.wait("screen of that size", |lines| {
            let keys = lines.last().is_some_and(|line| {
                line.ends_with("? keys  q end") && line.chars().count() == width
            });
            lines.len() == height && keys
        });
        assert!(screen[0].starts_with("3 connections failed"), "{screen:#?}");
        assert!(screen.iter().any(|line| line.contains("4 Findings")), "{screen:#?}");
    }

    terminal.keys(&[" "]);
    terminal.wait_for("paused: 0 findings");
    terminal.refused(&[81]);
    let screen = terminal.wait_for("paused: 1 finding ");
    assert!(screen[0].starts_with("3 connections failed"), "{screen:#?}");
    terminal.keys(&[" "]);
    terminal.wait_for("4 connections failed before a request");

    terminal.keys(&["q"]);
    terminal.wait_for("ended=0 icanon");
    let report = std::fs::read_to_string(report).unwrap();
    assert!(report.contains("4 connections failed before a request"), "{report}");
}

#[test]
fn signals_and_control_c_give_the_terminal_back() {
    let Some(terminal) = Terminal::open("signals") else { return };
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.txt");
    for signal in ["TERM", "INT", "HUP", "C-c"] {
        terminal.live(&report);
        if signal == "C-c" {
            terminal.keys(&[signal]);
        } else {
            let program = terminal.program();
            let killed = Command::new("kill").args(["-s", signal, program.trim()]).status();
            assert!(killed.unwrap().success());
        }
        let screen = terminal.wait_for("ended=0 icanon");
        assert!(!screen.iter().any(|line| line.contains("? keys")), "{signal}: {screen:#?}");
        assert!(std::fs::read_to_string(&report).unwrap().starts_with("no packets"), "{signal}");
    }
}

#[test]
fn a_terminal_that_is_gone_ends_it() {
    let Some(terminal) = Terminal::open("gone") else { return };
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.txt");
    terminal.live(&report);
    let program = format!("/proc/{}", terminal.program().trim());
    assert!(Path::new(&program).exists());
    drop(terminal);
    let is_over = || {
        std::thread::sleep(BETWEEN);
        !Path::new(&program).exists()
    };
    assert!((0..LOOKS).any(|_| is_over()), "{program} lives on");
    assert!(std::fs::read_to_string(&report).unwrap().starts_with("no packets"));
}

#[test]
fn without_a_terminal_it_says_what_to_do() {
    let output = Command::new("setsid")
        .args([PROGRAM, "live", "-i", "lo", "-p", "81", "--ui"])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(
        said,
        "why502: --ui needs a terminal, and there is none: leave it away for lines of text\n"
    );
}
