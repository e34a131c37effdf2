//! `why502 slice`: the packets that prove the findings as a pcapng of their own, with comments.
//!
//! Reads twice: once for the verdicts, once to copy the frames that they name. The second time the
//! engine runs again, so that it says of each packet whose it is, as it did the first time.

mod copy;
mod remarks;
mod source;

pub(crate) use remarks::of_packets;
pub use source::{SPOOL_MAX, SourceError};

use crate::capture::{CaptureError, FilterError, Timeline};
use crate::cause::Finding;
use crate::engine::{Belongs, Engine, Output as Results};
use crate::flow::Flow;
use crate::http::Exchange;
use crate::packet::{Packet, Skip};
use crate::report::output::Output;
use crate::report::{Report, answer, words};
use crate::run::{Listener, PROGRESS_EVERY, RunError, Settings, analyse_timeline};
use crate::time::FrameId;
use copy::Copier;
use remarks::Remarks;
use source::{Sources, refuse_input};
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// How much is copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// The packets that prove findings, the requests and responses concerned, the handshakes of their
    /// connections, and fragments of TCP between their hosts.
    #[default]
    Proof,
    /// All packets of the connections with findings.
    WholeFlows,
    /// Everything that the filter lets through.
    Everything,
}

/// Where the slice goes.
pub enum Destination<'a> {
    /// A file; it appears when it is complete.
    File(&'a Path),
    /// Anything that takes bytes.
    Writer(&'a mut dyn Write),
}

/// What a slice holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sliced {
    /// Packets copied.
    pub packets: u64,
    /// Packets among them with a comment.
    pub commented: u64,
    /// Findings that they prove.
    pub findings: u64,
    /// Blocks between packets, such as key logs, that a bound kept out.
    pub lost_blocks: u64,
}

/// Why there is no slice.
#[derive(Debug, thiserror::Error)]
pub enum SliceError {
    /// The captures gave no report.
    #[error(transparent)]
    Run(#[from] RunError),
    /// What is to be read cannot be read twice.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The slice would replace what it is made from.
    #[error("{path}: is one of the captures; a slice never replaces its input, name another file")]
    OutputIsInput {
        /// As the user named it.
        path: String,
    },
    /// The slice cannot be written.
    #[error("{path}: cannot be written: {source}")]
    Write {
        /// As the user named it.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// A frame is not what it was when the captures were analysed.
    #[error(
        "{path}: frame {frame} is not the one it was a moment ago; slice a capture that is not \
         being written, or a copy of it"
    )]
    Changed {
        /// The file.
        path: String,
        /// Number of the frame.
        frame: u64,
    },
}

impl From<CaptureError> for SliceError {
    fn from(error: CaptureError) -> SliceError {
        SliceError::Run(error.into())
    }
}

impl From<FilterError> for SliceError {
    fn from(error: FilterError) -> SliceError {
        SliceError::Run(error.into())
    }
}

/// Analyses `captures` and writes what proves the findings.
pub fn slice(
    captures: &[PathBuf],
    settings: &Settings,
    extent: Extent,
    destination: Destination<'_>,
    listener: &mut dyn Listener,
) -> Result<(Report, Sliced), SliceError> {
    let path = match &destination {
        Destination::File(path) => path.display().to_string(),
        Destination::Writer(_) => "standard output".to_owned(),
    };
    let write = |source| SliceError::Write { path: path.clone(), source };
    // Before a long run; nothing is replaced before it is complete.
    let mut file = match &destination {
        Destination::File(path) => Some(Output::create(path).map_err(write)?),
        Destination::Writer(_) => None,
    };
    let filter = settings.filter()?;
    let mut sources = Sources::new(captures)?;
    let mut timeline = sources.timeline()?;
    if let Destination::File(path) = destination {
        refuse_input(path, timeline.captures())?;
    }
    let report = analyse_timeline(&mut timeline, filter, settings, listener)?;
    drop(timeline);
    let mut timeline = sources.timeline()?;
    let out: &mut dyn Write = match (&mut file, destination) {
        (Some(file), _) => file,
        (None, Destination::Writer(out)) => out,
        (None, Destination::File(_)) => return Err(write(io::ErrorKind::NotFound.into())),
    };
    let job = Job { report: &report, settings, extent, path: &path };
    let sliced = job.copy(&mut timeline, out, listener)?;
    if let Some(file) = file {
        file.finish().map_err(write)?;
    }
    Ok((report, sliced))
}

/// Tells the user what the slice at `path` holds and how to look at it.
pub fn tell(
    report: &Report,
    sliced: Sliced,
    extent: Extent,
    path: &Path,
    out: &mut dyn Write,
) -> io::Result<()> {
    for line in answer(report) {
        writeln!(out, "{line}")?;
    }
    let name = path.display().to_string();
    let Sliced { packets, commented, findings, lost_blocks } = sliced;
    if findings == 0 && extent != Extent::Everything {
        return writeln!(out, "{}: no packets, as nothing was found", words::clean(&name));
    }
    writeln!(
        out,
        "{}: {}, {} of them with comments on {}",
        words::clean(&name),
        words::plural(packets, "packet"),
        words::count(commented),
        words::plural(findings, "finding"),
    )?;
    if lost_blocks > 0 {
        let blocks = words::plural(lost_blocks, "block");
        writeln!(out, "{blocks} of names or secrets left out (a memory bound was reached)")?;
    }
    if commented > 0 && name != "-" {
        // In a slice of nothing but proof every packet has one.
        let filter = if extent == Extent::Proof { "" } else { " -Y frame.comment" };
        writeln!(out, "open it with: wireshark -r {}{filter}", words::shell(&name))?;
    }
    Ok(())
}

/// Content type of a TLS handshake record (RFC 8446, 5.1).
const TLS_HANDSHAKE: u8 = 22;
/// TLS connections that a slice of nothing but proof keeps whole; of further ones the proof alone.
const TLS_FLOWS_MAX: usize = 1 << 16;

/// The second pass.
struct Job<'a> {
    report: &'a Report,
    settings: &'a Settings,
    extent: Extent,
    /// Of the output, for messages.
    path: &'a str,
}

impl Job<'_> {
    fn copy(
        &self,
        timeline: &mut Timeline,
        out: &mut dyn Write,
        listener: &mut dyn Listener,
    ) -> Result<Sliced, SliceError> {
        let write = |source| SliceError::Write { path: self.path.to_owned(), source };
        let (report, extent) = (self.report, self.extent);
        let mut filter = self.settings.filter()?;
        let mut decoder = self.settings.decoder();
        let mut engine = Engine::new(self.settings.engine_options());
        let mut remarks = Remarks::new(report);
        let mut copier = Copier::new(out, report, extent);
        let mut sliced = Sliced { findings: report.findings.len() as u64, ..Sliced::default() };
        timeline.keep_asides();
        let mut packets = 0_u64;
        let mut tls = BTreeSet::new();
        while let Some(frame) = timeline.next_frame()? {
            packets += 1;
            let mark = frame.mark;
            let passes = filter.as_mut().is_none_or(|filter| filter.matches(&frame));
            let packet = passes.then(|| decoder.decode(&frame));
            let mut place = Place::default();
            let mut is_fragment = false;
            match packet {
                Some(Packet::Tcp(segment)) => {
                    place.belongs = Some(engine.segment(&segment, &mut Nobody));
                    (place.opens, place.ack) = (segment.flags.syn(), segment.flags.ack());
                    place.begins_tls = matches!(segment.payload, [TLS_HANDSHAKE, 3, ..]);
                }
                Some(Packet::Icmp(error)) => place.belongs = engine.icmp(&error),
                Some(Packet::Skip(skip)) => is_fragment = skip == Skip::Fragment,
                None => {}
            }
            // A packet is read only with all of its fragments; whose it is shows with the last.
            let part = is_fragment
                && decoder.fragment_of_tcp().is_some_and(|hosts| remarks.has_hosts(hosts));
            let named = remarks.of_frame(mark, &place).map_err(|frame| self.changed(frame))?;
            let in_flow = place.belongs.is_some_and(|belongs| remarks.has_flow(belongs.flow));
            // Of TLS nothing can be read, and nothing be followed, without what came before.
            let in_tls = in_flow
                && place.belongs.is_some_and(|belongs| {
                    let fresh = place.begins_tls && tls.len() < TLS_FLOWS_MAX;
                    (fresh && tls.insert(belongs.flow)) || tls.contains(&belongs.flow)
                });
            let wanted = match extent {
                Extent::Proof => !named.is_empty() || part || (in_flow && place.opens) || in_tls,
                Extent::WholeFlows => !named.is_empty() || part || in_flow,
                Extent::Everything => passes,
            };
            let (asides, lost) = timeline.asides();
            sliced.lost_blocks += lost;
            copier.asides(asides).map_err(write)?;
            if wanted && let Some(original) = timeline.original() {
                let handshake = (extent == Extent::Proof && named.is_empty() && !part)
                    .then(|| remarks.handshake(mark, &place));
                let comments: Vec<String> = named.into_iter().chain(handshake).collect();
                sliced.packets += 1;
                sliced.commented += u64::from(!comments.is_empty());
                copier.packet(mark.frame.file(), original, &comments).map_err(write)?;
            }
            if packets.is_multiple_of(PROGRESS_EVERY) {
                let (read, total) = timeline.progress();
                listener.progress(read, total);
            }
            if extent == Extent::Proof && remarks.is_done() {
                break;
            }
        }
        if let Some(frame) = remarks.first_left() {
            return Err(self.changed(frame));
        }
        let (asides, lost) = timeline.asides();
        sliced.lost_blocks += lost;
        copier.asides(asides).map_err(write)?;
        copier.finish().map_err(write)?;
        Ok(sliced)
    }

    fn changed(&self, frame: FrameId) -> SliceError {
        let capture = self.report.captures.get(frame.file() as usize);
        let path = capture.map_or_else(|| "?".to_owned(), |capture| capture.path.clone());
        SliceError::Changed { path, frame: frame.number() }
    }
}

/// What is known of a packet.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    belongs: Option<Belongs>,
    /// SYN or SYN-ACK.
    opens: bool,
    ack: bool,
    /// Its payload is the beginning of a TLS handshake.
    begins_tls: bool,
}

/// The verdicts are known by now.
struct Nobody;

impl Results for Nobody {
    fn flow(&mut self, _: &Flow) {}
    fn exchange(&mut self, _: u64, _: &Exchange) {}
    fn finding(&mut self, _: Finding) {}
}
