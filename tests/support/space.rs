//! `why502 live` in network namespaces of its own.

use super::say;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_why502");

/// Whether namespaces can be made here; says so if not.
pub fn can_run() -> bool {
    let ours = Command::new("unshare").args(["--net", "true"]).output();
    let can = ours.is_ok_and(|output| output.status.success());
    let required = std::env::var_os("WHY502_SKIP").is_some_and(|skip| skip == "never");
    assert!(can || !required, "no network namespace can be made");
    if !can {
        say("skipped: no network namespace can be made (root is needed)");
    }
    can
}

/// A network namespace, with a process that keeps it.
pub struct Space(Child);

impl Space {
    /// With `setup` done by a shell in it.
    pub fn new(setup: &str) -> Space {
        let script = format!("set -e; ip link set lo up; {setup}; echo ready; exec sleep 120");
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c", &script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Space(child)
    }

    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.0.id().to_string(), "-n", program]);
        command
    }

    pub fn sh(&self, script: &str) -> Output {
        let output = self.command("sh").args(["-c", script]).output().unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
        output
    }

    /// Runs a Python program.
    pub fn python(&self, program: &str, args: &[&str]) {
        let output = self.command("python3").arg("-c").arg(program).args(args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `why502 live` in a namespace.
pub struct Live {
    pub child: Child,
    /// Lines of standard output and error, the latter behind `! `.
    lines: Receiver<String>,
    pub seen: Vec<String>,
}

impl Live {
    /// Returns when it captures.
    pub fn start(space: &Space, args: &[&str]) -> Live {
        Live::of(space.command(PROGRAM).arg("live").args(args))
    }

    /// The same by a command that runs it in the end.
    pub fn of(command: &mut Command) -> Live {
        let mut child = command
            .env("LANG", "C.UTF-8")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (out, lines) = mpsc::channel();
        let said: [(Box<dyn Read + Send>, &str); 2] = [
            (Box::new(child.stdout.take().unwrap()), ""),
            (Box::new(child.stderr.take().unwrap()), "! "),
        ];
        for (stream, prefix) in said {
            let out = out.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _ = out.send(format!("{prefix}{line}"));
                }
            });
        }
        let mut live = Live { child, lines, seen: Vec::new() };
        live.wait_for("! why502: captures ");
        live
    }

    /// The first line from now on that has `text` in it.
    pub fn wait_for(&mut self, text: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(20));
            let line = line.unwrap_or_else(|error| panic!("no {text}: {error}: {:?}", self.seen));
            self.seen.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        let id = self.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Its exit code and all that it said.
    pub fn end(mut self) -> (Option<i32>, Vec<String>) {
        let code = self.child.wait().unwrap().code();
        self.seen.extend(self.lines.iter());
        (code, self.seen)
    }
}

/// Whether a line has `text` in it.
pub fn has(lines: &[String], text: &str) -> bool {
    lines.iter().any(|line| line.contains(text))
}
