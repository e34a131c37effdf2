//! Slices of captures as they are read back, and the program that makes them.

use super::lab::shipped;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;
use why502::capture::Timeline;
use why502::cause::Finding;
use why502::engine::{Engine, Options, Output};
use why502::flow::Flow;
use why502::http::Exchange;
use why502::packet::{Decoder, DecoderOptions, Packet};

/// A frame as it was read, and the stream that it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub number: u64,
    pub at: i64,
    pub link: u16,
    pub wire_len: u32,
    pub bytes: Vec<u8>,
    pub stream: Option<u32>,
}

impl Seen {
    pub fn same_packet(&self, other: &Seen) -> bool {
        (self.at, self.link, self.wire_len, &self.bytes)
            == (other.at, other.link, other.wire_len, &other.bytes)
    }
}

pub struct Nobody;

impl Output for Nobody {
    fn flow(&mut self, _: &Flow) {}
    fn exchange(&mut self, _: u64, _: &Exchange) {}
    fn finding(&mut self, _: Finding) {}
}

pub fn seen(mut timeline: Timeline) -> Vec<Seen> {
    let mut decoder = Decoder::new(DecoderOptions::default());
    let mut engine = Engine::new(Options::default());
    let mut frames = Vec::new();
    while let Some(frame) = timeline.next_frame().unwrap() {
        let belongs = match decoder.decode(&frame) {
            Packet::Tcp(segment) => Some(engine.segment(&segment, &mut Nobody)),
            _ => None,
        };
        frames.push(Seen {
            number: frame.mark.frame.number(),
            at: frame.mark.at.0,
            link: frame.link.0,
            wire_len: frame.wire_len,
            bytes: frame.bytes.to_vec(),
            stream: belongs.and_then(|belongs| belongs.stream),
        });
    }
    assert!(timeline.captures().iter().all(|capture| capture.warnings.is_empty()));
    frames
}

pub fn seen_in(bytes: Vec<u8>) -> Vec<Seen> {
    seen(Timeline::from_reader("slice", Box::new(std::io::Cursor::new(bytes))))
}

/// Rows of tshark: the fields of each frame, or `None` when tshark is not there and may be missing.
pub fn tshark(capture: &Path, fields: &[&str], more: &[&str]) -> Option<Vec<Vec<String>>> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-r"]).arg(capture).args(["-T", "fields"]).args(more);
    command.args(fields.iter().flat_map(|field| ["-e", field]));
    let output = match command.output() {
        Ok(output) => output,
        Err(_) if std::env::var_os("WHY502_SKIP").is_none_or(|skip| skip != "never") => {
            return None;
        }
        Err(error) => panic!("tshark: {error}"),
    };
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    let complaints: Vec<&str> =
        complaints.lines().filter(|line| !line.starts_with("Running as user")).collect();
    assert!(output.status.success() && complaints.is_empty(), "{complaints:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
}

/// A folder of its own, and the program in it.
pub struct Place(pub TempDir);

impl Place {
    pub fn new() -> Place {
        Place(TempDir::new().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn put(&self, name: &str, bytes: &[u8]) -> &Place {
        fs::write(self.path(name), bytes).unwrap();
        self
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_why502"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LANG", "C.UTF-8");
        command.current_dir(self.0.path()).arg("slice").args(args).stdin(Stdio::null());
        command
    }

    /// What it says on standard error when it has done it.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert_eq!(output.stdout, b"");
        said
    }

    /// What it says when it cannot.
    #[track_caller]
    pub fn refusal(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(2), &b""[..]));
        String::from_utf8(output.stderr).unwrap()
    }

    pub fn seen(&self, name: &str) -> Vec<Seen> {
        seen(Timeline::open(&[self.path(name)]).unwrap())
    }
}

pub fn demo() -> PathBuf {
    shipped().join("demo/nginx-demo-lb.pcap")
}

/// The frames without their numbers.
pub fn packets(frames: &[Seen]) -> Vec<(i64, u32, Vec<u8>)> {
    frames.iter().map(|frame| (frame.at, frame.wire_len, frame.bytes.clone())).collect()
}
