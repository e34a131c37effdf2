//! why502 reads packet captures and tells which HTTP requests behind a load balancer failed, which
//! packet killed each one, who sent it, the root cause, how sure that is, and what to change.
//!
//! # The map
//!
//! ```text
//! bytes -> Frame -> Segment -> stream bytes | gap | ended -> Exchange -> Flow -> Finding -> Report
//!  capture   packet     tcp                      tls, http       flow      cause     report
//!            `--------------------- engine ----------------------------------'
//!                                       `-> probe: which are health checks, and whose
//!                                             `-> health: what they say of each target
//!  run wires capture, packet, engine, probe, health, pattern and report together; with a second
//!  processor capture and packet have a thread of their own (`src/run/ahead.rs`), else a few frames
//!  are found before they are analysed (`src/run/turns.rs`)
//! ```
//!
//! | module | owns | must not know |
//! |---|---|---|
//! | [`time`] | capture time, frame numbers | everything else |
//! | `shorthand` | records in few bytes, for flows that rest | what they mean |
//! | `huge` | memory of large tables; the only unsafe code | what they hold |
//! | [`capture`] | file formats, compression, sets of files as one timeline, libpcap filters | what a frame carries |
//! | [`packet`] | link types, tunnels, fragments, IP and TCP headers, ICMP errors | flows |
//! | [`tcp`] | order, gaps, retransmissions, endings, Wireshark's stream numbers | HTTP, causes |
//! | [`http`] | heads, body lengths, pairing, what is outstanding | sequence numbers, causes |
//! | [`tls`] | records, handshakes, alerts, what keys open, requests that only their records show | sequence numbers, causes |
//! | [`flow`] | the facts of one flow | how they were collected |
//! | [`blind`] | the names of what could not be seen | everything else |
//! | [`probe`] | candidate checks, known probers (`probers.toml`), which traffic is health checks and whose | what the checks found out |
//! | [`cause`] | root causes: text and rule, one file each; what other flows tell | packets, formatting |
//! | [`engine`] | the order of the stages from segment to finding | files, formats |
//! | [`health`] | outcomes of checks, settings, states of targets, what to say of them | packets, how checks were recognised |
//! | [`host`] | what the host itself says: who listens, queues, counters, limits, kills | how a verdict was reached |
//! | [`join`] | what one flow cannot say: both legs of a proxy, logs beside the capture | packets, formatting |
//! | [`pattern`] | what findings have in common | how they were found |
//! | [`over_time`] | counts per span of time | what is counted |
//! | [`words`] | the languages of reports: English in the code, others in its catalogues | what is said |
//! | [`report`] | words, layout, serialised mirrors | how a verdict was reached |
//! | [`run`] | captures in, report out | any protocol rule |
//! | [`mod@slice`] | captures in, the packets that prove findings out | any protocol rule |
//! | [`live`] | interfaces in, lines and a report out as it happens; beside it evidence on disk, metrics, a full-screen view | any protocol rule |
//! | [`cli`] | what can be said on the command line | what it does |
//!
//! # What always holds
//!
//! 1. [`packet`], [`tcp`], [`tls`], [`http`], [`cause`], [`health`] and [`engine`] do no I/O, read no clock and
//!    cannot fail: they return values and count problems. Capture time is the only time. (`.clippy.toml`
//!    forbids the clocks; [`live`] reads one to tell [`run::Analysis`] how long nothing has come.)
//! 2. The same captures give the same bytes of report: no hash order, no locale beyond the choice
//!    of Unicode or ASCII, no terminal width.
//! 3. Any byte string is acceptable input. Every buffer, table and list has a named bound with its
//!    reason, and reaching it shows in the report. Memory does not grow with the file.
//! 4. No verdict rests on something that a [blind spot](blind::BlindSpot) could hide: its confidence
//!    drops instead, below the lowest to `inconclusive`, and the finding names the blind spot.
//! 5. The engine makes one pass and gives out results as soon as they are final. Only verdicts that
//!    other flows decide (a load balancer's timers, connections cut together) wait for the end.
//!
//! # Where to change what
//!
//! - A root cause: its file in `src/cause/` (text, rule and tests) and its entry in [`cause::ALL`].
//!   The first rule in the list that fits decides.
//! - A prober: its entry in `src/probe/probers.toml`, with an example request; no code. What else
//!   speaks for a check or against one: `src/probe/evidence.rs`.
//! - A kind of load balancer, its defaults and ranges: [`health::vendor::VENDORS`].
//! - The outcome of a health check: `src/health/judge*.rs` (rules) and `src/health/texts.rs` (text).
//! - An output format: its file in `src/report/` and its entry in [`report::FORMATS`]. The page's words are
//!   in `src/report/html/words.rs`, its scripts and styles in `src/report/html/assets/`.
//! - What the comments of a slice say: `src/slice/remarks.rs`.
//! - A question about the host: `src/host/triage/`; its sentence in `src/host/texts.rs`.
//! - A kind of log: its reader in `src/join/log/` and its entry in [`join::log::Kind`].
//! - A link type or tunnel: `src/packet/link.rs`, `src/packet/tunnel.rs`.
//! - How a scripted connection is judged: `tests/verdicts.rs`. How real ones are: `tests/lab/` makes
//!   them, `tests/truth.rs` compares with the proxies' own logs.

pub mod blind;
pub mod capture;
pub mod cause;
pub mod cli;
pub mod engine;
pub mod flow;
pub mod health;
pub mod host;
pub mod http;
mod huge;
pub mod join;
#[cfg(target_os = "linux")]
pub mod live;
pub mod over_time;
pub mod packet;
pub mod pattern;
pub mod probe;
pub mod report;
pub mod run;
mod shorthand;
pub mod slice;
pub mod tcp;
pub mod time;
pub mod tls;
pub mod words;
