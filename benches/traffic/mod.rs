//! Traffic for the benchmarks, made in memory: the same bytes in every run, with the sizes, options
//! and checksums of real stacks.
#![allow(dead_code, unreachable_pub, reason = "each benchmark uses a part")]

pub mod capture;
pub mod floods;
pub mod multiply;
pub mod ordinary;
pub mod talk;

use capture::Capture;
use std::io::{self, Write};

/// Writes traffic of one kind; the number says how much of it, in the unit of [`Scene::unit`].
type Make<W> = fn(&mut Capture<W>, u64) -> io::Result<()>;

/// One kind of traffic.
pub struct Scene<W> {
    /// What the command line calls it.
    pub name: &'static str,
    /// What its amount counts.
    pub unit: &'static str,
    /// Writes it.
    pub make: Make<W>,
}

/// Every kind of traffic.
pub fn scenes<W: Write>() -> [Scene<W>; 12] {
    let scene = |name, unit, make| Scene { name, unit, make };
    [
        scene("keep-alive", "requests", ordinary::keep_alive as Make<W>),
        scene("checks", "connections", ordinary::checks),
        scene("reordered", "responses", ordinary::reordered),
        scene("live-flows", "connections", ordinary::live_flows),
        scene("live-checks", "connections", ordinary::live_checks),
        scene("failures", "connections", ordinary::failures),
        scene("refused", "connections", ordinary::refused),
        scene("nothing", "packets", |_, _| Ok(())),
        scene("syn-flood", "packets", floods::syns),
        scene("holes", "packets", floods::holes),
        scene("endless-heads", "packets", floods::endless_heads),
        scene("pipelined", "requests", floods::pipelined),
    ]
}

/// A capture of the scene of that name; `None` when there is none.
pub fn in_memory(name: &str, amount: u64) -> Option<Vec<u8>> {
    let scene = scenes::<Vec<u8>>().into_iter().find(|scene| scene.name == name)?;
    let mut capture = Capture::new(Vec::new()).ok()?;
    (scene.make)(&mut capture, amount).ok()?;
    Some(capture.into_inner())
}
