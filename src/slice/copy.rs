//! Copies frames with all that their files say of them, into one section.

use super::Extent;
use crate::capture::{Aside, BlockOptions, Original, PacketBlock, PcapngWriter};
use crate::report::{Report, answer, words};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Files that the section's comment names.
const FILES_MAX: usize = 8;

/// Type of a Name Resolution Block.
const NAMES: u32 = 4;

/// Writes the slice. The section begins with the first block, so that it can take over what the first
/// file says of itself.
pub(super) struct Copier<'a> {
    /// Until the section begins.
    out: Option<&'a mut dyn Write>,
    writer: Option<PcapngWriter<&'a mut dyn Write>>,
    summary: String,
    several: bool,
    extent: Extent,
    paths: Vec<String>,
    /// Numbers of the interfaces of each file's present section, in the output.
    interfaces: BTreeMap<u32, Vec<u32>>,
}

impl<'a> Copier<'a> {
    pub(super) fn new(out: &'a mut dyn Write, report: &Report, extent: Extent) -> Copier<'a> {
        Copier {
            out: Some(out),
            writer: None,
            summary: summary(report, extent),
            several: report.captures.len() > 1,
            extent,
            paths: report.captures.iter().map(|capture| capture.path.clone()).collect(),
            interfaces: BTreeMap::new(),
        }
    }

    /// The writer; the section begins now if it has not begun, with `options` of an older one.
    fn writer(
        &mut self,
        options: Option<&BlockOptions>,
    ) -> io::Result<&mut PcapngWriter<&'a mut dyn Write>> {
        if let Some(out) = self.out.take() {
            let mut section = BlockOptions::default();
            section.comment(&self.summary);
            match options {
                Some(options) if !options.is_empty() => section.extend(options),
                _ => section.application(concat!("why502 ", env!("CARGO_PKG_VERSION"))),
            }
            self.writer = Some(PcapngWriter::new(out, &section)?);
        }
        self.writer.as_mut().ok_or_else(|| io::Error::other("the section could not be begun"))
    }

    /// Takes over what stands between packets.
    pub(super) fn asides(&mut self, asides: Vec<(u32, Aside)>) -> io::Result<()> {
        for (file, aside) in asides {
            self.aside(file, aside)?;
        }
        Ok(())
    }

    fn aside(&mut self, file: u32, aside: Aside) -> io::Result<()> {
        match aside {
            Aside::Section { options } => {
                // Of several files none speaks for the whole.
                let options = Some(&options).filter(|_| !self.several);
                self.writer(options)?;
                self.interfaces.insert(file, Vec::new());
            }
            Aside::Interface { link, snaplen, mut options } => {
                if self.several
                    && let Some(path) = self.paths.get(file as usize)
                {
                    options.describe(path);
                }
                let number = self.writer(None)?.interface(link, snaplen, &options)?;
                self.interfaces.entry(file).or_default().push(number);
            }
            Aside::Statistics { interface, units, options } => {
                if let Some(interface) = self.number(file, interface) {
                    self.writer(None)?.statistics(interface, units, &options)?;
                }
            }
            Aside::Secrets { kind, data } => self.writer(None)?.secrets(kind, &data)?,
            Aside::Names { body } => self.writer(None)?.other(NAMES, &body)?,
            Aside::Numbered { kind, body } => {
                if self.extent == Extent::Everything {
                    self.writer(None)?.other(kind, &body)?;
                }
            }
        }
        Ok(())
    }

    fn number(&self, file: u32, interface: u32) -> Option<u32> {
        self.interfaces.get(&file)?.get(interface as usize).copied()
    }

    /// Copies a packet and adds comments.
    pub(super) fn packet(
        &mut self,
        file: u32,
        original: Original<'_>,
        comments: &[String],
    ) -> io::Result<()> {
        // Frames of an interface that their file does not declare are not read.
        let Some(interface) = self.number(file, original.interface) else {
            return Err(io::Error::other("a frame without an interface"));
        };
        let Original { units, bytes, wire_len, mut options, .. } = original;
        comments.iter().for_each(|comment| options.comment(comment));
        self.writer(None)?.packet(&PacketBlock { interface, units, wire_len, bytes, options })
    }

    /// Writes out what is left.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.writer(None)?.flush()
    }
}

/// What the section's comment says.
fn summary(report: &Report, extent: Extent) -> String {
    let findings = words::plural(report.findings.len() as u64, "finding");
    let what = match extent {
        Extent::Proof => format!("The packets that prove {findings}"),
        Extent::WholeFlows => format!("The connections of {findings}"),
        Extent::Everything => format!("All packets, with comments on those that prove {findings}"),
    };
    let files: Vec<&str> =
        report.captures.iter().take(FILES_MAX).map(|capture| capture.path.as_str()).collect();
    let more = match report.captures.len().saturating_sub(FILES_MAX) {
        0 => String::new(),
        more => format!(" and {}", words::plural(more as u64, "more file")),
    };
    let mut lines = answer(report);
    lines.push(format!("{what}, from {}{more}.", files.join(", ")));
    let mut causes: BTreeMap<&str, &str> = BTreeMap::new();
    for finding in &report.findings {
        causes.insert(finding.cause.id, finding.cause.summary);
    }
    lines.extend(causes.iter().map(|(id, summary)| format!("{id}: {summary}")));
    lines.push(
        "Display filter of the guilty packets: frame.comment contains \"guilty packet\"".to_owned(),
    );
    lines.iter().map(|line| words::clean(line)).collect::<Vec<_>>().join("\n")
}
