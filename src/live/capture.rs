//! Captures on one interface, in a thread of its own.

use super::batch::{Batch, Drops, Room};
use super::choose::ANY;
use super::clock;
use super::outage::{self, Outages, Reason};
use super::run::{Event, LiveError};
use crate::capture::LinkType;
use crate::time::Timestamp;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pcap::{Active, Capture, Error, Linktype, Precision};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

/// How long the kernel may keep packets together before it gives them to us, milliseconds: short
/// against the second within which verdicts are promised, long enough to be woken rarely.
const TOGETHER: u16 = 100;
/// Added to it until a packet from before is no more to come, nanoseconds: what the scheduler takes.
const SCHEDULING: i64 = 50_000_000;
/// Packets of a batch.
const PACKETS: usize = 1024;
/// Packets that libpcap gives at once: it does not look at bytes, and a packet has up to 64 KiB where the
/// kernel puts segments together.
const AT_ONCE: usize = 16;
/// A batch with half so many bytes is full, whatever its packets; or with half a part of the room.
const BYTES: usize = 1 << 20;
const ROOM_PART: usize = 8;
/// When told to stop, packets that wait in the kernel are taken for so long at most, nanoseconds: on
/// a busy interface there are always more.
const LAST: i64 = 500_000_000;
/// Seconds between two attempts to open an interface that has gone.
const AGAIN: u64 = 1;
/// Attempts to open an interface that has gone: an hour of them.
const ATTEMPTS: u32 = 3600;

/// How to capture.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// Bytes of a packet that are captured.
    pub snaplen: u32,
    /// Bytes of the kernel's buffer; `None`: as usual, within its share of the memory.
    pub buffer: Option<u64>,
    /// Every packet at once, in place of many together.
    pub immediate: bool,
    /// Also packets that are not for this host.
    pub promiscuous: bool,
}

/// An interface that is being captured on.
pub(super) struct Source {
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) how: How,
    pub(super) filter: String,
    capture: Capture<Active>,
    pub(super) link: LinkType,
}

/// Link type of Linux cooked captures that name the interface of each packet.
const LINUX_SLL2: Linktype = Linktype(276);

impl Source {
    /// Opens the interface; from then on the kernel keeps packets for us.
    pub(super) fn open(
        index: usize,
        name: &str,
        how: How,
        filter: &str,
    ) -> Result<Source, LiveError> {
        let refused = |error: Error| LiveError::open(name, &error);
        let mut capture = Capture::from_device(name)
            .map_err(refused)?
            .promisc(how.promiscuous)
            .snaplen(i32::try_from(how.snaplen).unwrap_or(i32::MAX))
            .timeout(i32::from(TOGETHER))
            .immediate_mode(how.immediate)
            .precision(Precision::Nano);
        if let Some(buffer) = how.buffer {
            capture = capture.buffer_size(i32::try_from(buffer).unwrap_or(i32::MAX));
        }
        let mut capture = capture.open().map_err(refused)?;
        if name == ANY {
            // An old libpcap only has the first version, which serves as well.
            let _ = capture.set_datalink(LINUX_SLL2);
        }
        // A tag that the kernel has not taken off hides what is behind it from a filter.
        let behind_tags = format!("({filter}) or (vlan and ({filter}))");
        if capture.filter(&behind_tags, true).is_err() {
            capture
                .filter(filter, true)
                .map_err(|error| LiveError::Filter(filter.to_owned(), error.to_string()))?;
        }
        let link = LinkType(u16::try_from(capture.get_datalink().0).unwrap_or(u16::MAX));
        let link = if link.0 == RAW_DLT { LinkType(RAW) } else { link };
        let capture = capture.setnonblock().map_err(refused)?;
        let (name, filter) = (name.to_owned(), filter.to_owned());
        Ok(Source { index, name, how, filter, capture, link })
    }

    fn drops(&mut self) -> Option<Drops> {
        let stats = self.capture.stats().ok()?;
        Some(Drops { kernel: stats.dropped.into(), interface: stats.if_dropped.into() })
    }
}

/// `DLT_RAW` of Linux, which files call `LINKTYPE_RAW`: see libpcap's `pcap-common.c`.
const RAW_DLT: u16 = 12;
const RAW: u16 = 101;

/// Where a capture thread gives its packets, and what it looks at.
#[derive(Clone)]
pub(super) struct Outlet {
    pub(super) batches: SyncSender<Batch>,
    pub(super) events: Sender<Event>,
    pub(super) stop: Arc<AtomicBool>,
    /// For packets that wait for the analysis.
    pub(super) room: Room,
    /// When interfaces gave nothing.
    pub(super) outages: Outages,
}

impl Outlet {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Captures until told to stop.
pub(super) fn run(mut source: Source, outlet: &Outlet) {
    let mut lost = 0;
    let mut gone = Drops::default();
    loop {
        let ended = capture(&mut source, outlet, &mut lost, gone);
        gone = ended.drops;
        let Some(why) = ended.why else { break };
        outlet.outages.begin(source.index, Reason::Gone, clock::now());
        let _ = outlet.events.send(Event::Trouble(format!("{}: {why}", source.name)));
        match open_again(&source, outlet) {
            Some(opened) => {
                source = opened;
                let lasted = outlet.outages.opened(source.index, clock::now()).unwrap_or_default();
                let lasted = outage::seconds(lasted);
                let said = format!("{}: is captured on again, after {lasted}", source.name);
                let _ = outlet.events.send(Event::Trouble(said));
            }
            None => break,
        }
    }
    // The last word of the interface must not be lost: by now the analysis only has to catch up.
    let last = Batch {
        interface: source.index,
        lost,
        over: true,
        upto: clock::now(),
        drops: Some(gone),
        ..Batch::default()
    };
    let _ = outlet.batches.send(last);
    let _ = outlet.events.send(Event::Over);
}

/// How capturing ended.
struct EndOf {
    /// `None`: as we were told to.
    why: Option<String>,
    drops: Drops,
}

/// Captures until told to stop, or until the interface gives nothing any more. `before` was dropped
/// before it was opened again.
fn capture(source: &mut Source, outlet: &Outlet, lost: &mut u64, before: Drops) -> EndOf {
    let kept = i64::from(TOGETHER) * 1_000_000 + SCHEDULING;
    let mut counted = clock::now();
    let mut drops = before;
    // When we were told to stop.
    let mut told = None;
    loop {
        let over = outlet.is_over();
        let asked = clock::now();
        let bytes_max = BYTES.min(outlet.room.filled().1 / ROOM_PART);
        let mut batch = Batch {
            interface: source.index,
            link: Some(source.link),
            lost: std::mem::take(lost),
            // Memory that grows step by step leaves holes behind.
            bytes: Vec::with_capacity(bytes_max),
            ..Batch::default()
        };
        let failed = take(source, &mut batch, bytes_max);
        if failed.is_some() {
            // What the kernel still keeps together comes when its time has come.
            thread::sleep(Duration::from_nanos(kept.unsigned_abs()));
            let _ = take(source, &mut batch, bytes_max);
        }
        let idle = batch.is_empty();
        if idle {
            batch.upto = Timestamp(asked.0 - kept);
        }
        if asked.nanos_since(counted) >= 1_000_000_000 || over || failed.is_some() {
            counted = asked;
            if let Some(now) = source.drops() {
                drops = Drops {
                    kernel: before.kernel + now.kernel,
                    interface: before.interface + now.interface,
                };
                batch.drops = Some(drops);
            }
        }
        send(batch, outlet, lost);
        if over && told.is_none() {
            told = Some(asked);
        }
        let enough = told.is_some_and(|told| idle || asked.nanos_since(told) >= LAST);
        if failed.is_some() || enough {
            return EndOf { why: failed, drops };
        }
        if idle {
            let mut files = [PollFd::new(source.capture.as_fd(), PollFlags::POLLIN)];
            // An error shows in the next dispatch.
            let _ = poll(&mut files, PollTimeout::from(TOGETHER));
        }
    }
}

/// Takes packets until there are no more, or `batch` is full. `Some`: why there will be none.
fn take(source: &mut Source, batch: &mut Batch, bytes_max: usize) -> Option<String> {
    loop {
        let before = batch.packets.len();
        let taken = source.capture.dispatch(Some(AT_ONCE), |packet| {
            let header = packet.header;
            // With nanoseconds asked for, libpcap gives them in place of microseconds.
            let at = header.ts.tv_sec.saturating_mul(1_000_000_000) + header.ts.tv_usec;
            batch.push(Timestamp(at), header.len, packet.data);
        });
        match &taken {
            Ok(_) | Err(Error::TimeoutExpired | Error::NoMorePackets) => {}
            Err(Error::PcapError(text)) if text.is_empty() => {}
            Err(error) => return Some(said(error)),
        }
        let none = batch.packets.len() == before;
        if none || batch.packets.len() >= PACKETS || batch.bytes.len() >= bytes_max / 2 {
            return None;
        }
    }
}

/// Gives the batch to the analysis. What it has no room for is counted, so that it shows. One without
/// packets needs no room: others wait for what it says of the time.
fn send(mut batch: Batch, outlet: &Outlet, lost: &mut u64) {
    batch.fit();
    let fits = batch.is_empty() || {
        batch.held = outlet.room.take(batch.memory());
        batch.held.is_some()
    };
    let sent = match fits {
        true => outlet.batches.try_send(batch),
        false => Err(TrySendError::Full(batch)),
    };
    if matches!(sent, Err(TrySendError::Disconnected(_))) {
        // The analysis broke down: there is nothing to capture for.
        outlet.stop.store(true, Ordering::Relaxed);
    }
    if let Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) = sent {
        *lost += batch.lost + batch.packets.len() as u64;
    }
}

fn said(error: &Error) -> String {
    match error {
        Error::PcapError(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Tries to open the interface again until it is back.
fn open_again(source: &Source, outlet: &Outlet) -> Option<Source> {
    let mut told = false;
    for _ in 0..ATTEMPTS {
        for _ in 0..AGAIN * 10 {
            if outlet.is_over() {
                return None;
            }
            thread::sleep(Duration::from_millis(100));
            // So that the others are not waited for.
            let upto = Timestamp(clock::now().0 - SCHEDULING);
            let beat = Batch { interface: source.index, upto, ..Batch::default() };
            let _ = outlet.batches.try_send(beat);
        }
        match Source::open(source.index, &source.name, source.how, &source.filter) {
            Ok(opened) => return Some(opened),
            Err(error) if error.is_permission() => {
                let _ = outlet.events.send(Event::Trouble(format!(
                    "{}: cannot be opened again without rights, so it is given up; start again when it \
                     is there",
                    source.name
                )));
                return None;
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    let _ = outlet
                        .events
                        .send(Event::Trouble(format!("{error}; tried again every {AGAIN} s")));
                }
            }
        }
    }
    None
}
