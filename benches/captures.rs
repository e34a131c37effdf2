//! Writes captures for `make bench`: `captures make SCENE AMOUNT FILE`, or
//! `captures multiply COPIES FROM FILE`.

mod traffic;

use std::fs::{self, File};
use std::io::{self, BufWriter, Error, Write};
use traffic::capture::Capture;
use traffic::multiply::multiply;
use traffic::scenes;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["make", name, amount, path] => {
            let scene = scenes().into_iter().find(|scene| scene.name == name);
            let scene = scene.ok_or_else(|| Error::other("no such scene"))?;
            let mut capture = Capture::new(create(path)?)?;
            (scene.make)(&mut capture, number(amount)?)?;
            capture.into_inner().flush()
        }
        ["multiply", copies, from, path] => {
            let mut out = create(path)?;
            let copies = u16::try_from(number(copies)?).map_err(Error::other)?;
            multiply(&fs::read(from)?, copies, &mut out)?;
            out.flush()
        }
        // `cargo bench` runs every target with its own arguments.
        ["--bench", ..] => Ok(()),
        _ => {
            let known = scenes::<Vec<u8>>().map(|scene| format!("{} ({})", scene.name, scene.unit));
            Err(Error::other(format!(
                "captures make SCENE AMOUNT FILE | multiply COPIES FROM FILE; scenes: {}",
                known.join(", ")
            )))
        }
    }
}

fn number(argument: &str) -> io::Result<u64> {
    argument.parse().map_err(Error::other)
}

fn create(path: &str) -> io::Result<BufWriter<File>> {
    Ok(BufWriter::with_capacity(1 << 20, File::create(path)?))
}
