//! What happens on the host, one line each.

use crate::host::Event;
use crate::host::texts::clock;
use crate::report::model::Happened;
use crate::report::{Style, words};
use std::io::{self, Write};

/// Writes an event as a line of text.
pub fn event_text(event: &Event, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let text = format!("{}  {}", clock(event.at), words::clean(&event.text()));
    let text = if style.ascii { words::ascii(&text, style.lang) } else { text };
    writeln!(out, "{text}")
}

/// Writes an event as a line of JSON.
pub fn event_json(event: &Event, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &Happened::new(event))?;
    out.write_all(b"\n")
}
