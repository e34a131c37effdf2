//! Opens, drops rights, starts the threads, waits for the end.

use super::analyse::{Follower, Job, Parts, Shared};
use super::batch::Room;
use super::budget::{Shares, Wishes};
use super::capture::{self, How, Outlet, Source};
use super::choose::{ANY, Selection};
use super::evidence::{self, EvidenceError};
use super::keeper::Keeper;
use super::keys::KeyFiles;
use super::lines::{Form, Line, Lines, WAITING_MAX};
use super::link::{Links, Watched};
use super::measure;
use super::metrics::ServeError;
use super::outage::Outages;
use super::privileges::{self, Needs, User};
use super::ui::{Screen, ScreenError};
use super::view::{View, Voice};
use crate::capture::FilterError;
use crate::host::Watch;
use crate::probe::Catalogue;
use crate::report::{Report, Style};
use crate::run::{Analysis, RunError, Settings};
use jiff::tz::TimeZone;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Interfaces captured on at once; `any` takes them all.
pub(super) const INTERFACES_MAX: usize = 64;
/// Batches in the queue to the analysis; their bytes are bounded, too, so that this only bounds
/// those that tell no more than the time.
const BATCHES_MAX: usize = 1 << 12;
/// Between two looks at the deadline and at the view.
const TURN: Duration = Duration::from_millis(100);

/// The view gives the terminal back within a fifth of a second; one that hangs on a terminal that is
/// gone is not waited for.
const VIEW_ENDS: Duration = Duration::from_secs(2);

/// What to do.
pub struct Options {
    /// What to capture.
    pub selection: Selection,
    /// How to capture.
    pub how: How,
    /// How to analyse.
    pub settings: Settings,
    /// Form of the lines.
    pub form: Form,
    /// Lines go to standard error, as standard output carries the report.
    pub aside: bool,
    /// How lines look.
    pub style: Style,
    /// Whom to run as.
    pub user: User,
    /// End after so long, nanoseconds.
    pub duration: Option<Duration>,
    /// End after so many failures.
    pub stop_after: Option<u64>,
    /// Bytes of memory to get along with.
    pub memory_max: Option<u64>,
    /// Say nothing about the capture itself.
    pub quiet: bool,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
    /// Evidence to write.
    pub evidence: Option<evidence::Options>,
    /// A full-screen view, and how it looks.
    pub view: Option<Style>,
}

/// How it ended.
#[derive(Debug)]
pub struct Outcome {
    /// Everything that was found out.
    pub report: Report,
    /// Nobody reads the lines any more.
    pub closed: bool,
}

/// What the main thread is told by the others.
#[derive(Debug)]
pub(super) enum Event {
    /// A signal has come.
    Signal(i32),
    /// Enough failures.
    Enough,
    /// Something about the capture, for people.
    Trouble(String),
    /// An interface gives nothing any more.
    Over,
    /// Nobody reads the lines.
    Closed,
}

/// Why nothing was captured.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// There is no default route.
    #[error("no interface has a default route; name one with -i, or -i any (--list shows them)")]
    NoRoute,
    /// The system does not tell its interfaces.
    #[error("the interfaces cannot be listed: {0}")]
    List(String),
    /// Too many interfaces.
    #[error("more than {INTERFACES_MAX} interfaces; -i any takes all")]
    TooMany,
    /// `--max-memory` is too little.
    #[error("capturing on {interfaces} interfaces needs --max-memory {}MiB at least; -i any takes one buffer for all", needed >> 20)]
    Memory {
        /// Interfaces.
        interfaces: usize,
        /// Bytes.
        needed: u64,
    },
    /// Capturing is not allowed.
    #[error(
        "{interface}: capturing needs rights that this user lacks ({why}). Either run it as root:\n  \
         sudo {program} live ...\nor give the program the right once, then run it as anybody:\n  \
         sudo setcap cap_net_raw+ep {program}"
    )]
    Permission {
        /// The interface.
        interface: String,
        /// What libpcap says.
        why: String,
        /// Path of this program.
        program: String,
    },
    /// It cannot be opened.
    #[error("{interface}: cannot be captured on: {why} (--list shows the interfaces)")]
    Open {
        /// The interface.
        interface: String,
        /// What libpcap says.
        why: String,
    },
    /// A key log file.
    #[error("{0}: cannot be read: {1}")]
    Keys(String, io::Error),
    /// The filter expression is not one.
    #[error("'{0}' is not a libpcap filter: {1}")]
    Filter(String, String),
    /// `--user` without being root.
    #[error("--user works only as root")]
    NotRoot,
    /// There is no such user.
    #[error("{0}: no such user; name another with --user")]
    NoUser(String),
    /// Rights cannot be given up.
    #[error("rights cannot be given up: cannot {0}: {1}")]
    Privileges(&'static str, String),
    /// Metrics cannot be served.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Metrics cannot be made.
    #[error("metrics cannot be made: {0}")]
    Metrics(String),
    /// Evidence cannot be written.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// A signal cannot be waited for, or a thread not be started.
    #[error("{0}: {1}")]
    System(&'static str, io::Error),
    /// A thread broke down.
    #[error("the {0} thread broke down")]
    Thread(&'static str),
    /// There is no terminal for the view.
    #[error(transparent)]
    Screen(#[from] ScreenError),
    /// The analysis cannot begin.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The filter of the settings.
    #[error(transparent)]
    Expression(#[from] FilterError),
}

impl LiveError {
    /// `interface` cannot be opened.
    pub(super) fn open(interface: &str, error: &pcap::Error) -> LiveError {
        let why = match error {
            pcap::Error::PcapError(text) => text.clone(),
            other => other.to_string(),
        };
        let interface = interface.to_owned();
        let refused = why.contains("not permitted") || why.contains("permission");
        if refused {
            let program = std::env::current_exe().map(|path| path.display().to_string());
            let program = program.unwrap_or_else(|_| "why502".to_owned());
            return LiveError::Permission { interface, why, program };
        }
        LiveError::Open { interface, why }
    }

    /// Whether rights are missing.
    pub(super) fn is_permission(&self) -> bool {
        matches!(self, LiveError::Permission { .. })
    }
}

/// Captures until told to stop, and gives the report.
pub fn run(options: Options) -> Result<Outcome, LiveError> {
    if options.view.is_some() {
        Screen::check()?;
    }
    let chosen = options.selection.choose()?;
    if chosen.interfaces.len() > INTERFACES_MAX {
        return Err(LiveError::TooMany);
    }
    let mut evidence = options.evidence;
    let interfaces = chosen.interfaces.len();
    let wishes = Wishes {
        interfaces,
        ring: options.how.buffer,
        evidence: evidence.is_some(),
        look_back: evidence.as_ref().and_then(|evidence| evidence.keep_findings),
    };
    let shares = Shares::divide(options.memory_max, wishes)
        .map_err(|needed| LiveError::Memory { interfaces, needed })?;
    let how = How { buffer: Some(shares.ring), ..options.how };
    if let Some(evidence) = &mut evidence {
        evidence.queue = shares.evidence;
        evidence.sorted = shares.sorted;
        if let Some(look_back) = &mut evidence.keep_findings {
            *look_back = shares.look_back;
        }
    }
    let id = options.user.settle()?;
    // Before rights are dropped, all that they are needed for.
    let mut sources = Vec::new();
    for (index, name) in chosen.interfaces.iter().enumerate() {
        sources.push(Source::open(index, name, how, &chosen.filter)?);
    }
    let zone = TimeZone::system();
    let interfaces: Vec<_> =
        sources.iter().map(|source| (source.name.clone(), source.link)).collect();
    let mut settings = options.settings;
    settings.early = true;
    settings.memory = shares.connections;
    (settings.findings_max, settings.flows_max) = (shares.findings, shares.flows);
    let probers = settings.probers.clone().map_or_else(Catalogue::built_in, Ok);
    let probers = probers.map_err(RunError::from)?;
    if options.view.is_some() || options.metrics.is_some() {
        // They count requests; the report lists them only where that was asked for.
        settings.streamed |= !settings.exchanges;
        settings.exchanges = true;
    }
    // Who holds which socket is seen with the rights that there are now; the rest needs none.
    let watch = Watch::open(&options.selection.ports);
    settings.local = watch.history().addresses.clone();
    // A log that is renamed has a new file beside it.
    let folder = |path: &std::path::PathBuf| match path.is_dir() {
        true => Some(path.clone()),
        false => path.canonicalize().ok()?.parent().map(std::path::Path::to_owned),
    };
    let reads = settings.logs.files.iter().filter_map(folder).collect();
    let keys = KeyFiles::open(&mut settings.keylogs)?;
    let filter = settings.filter()?;
    let analysis = Analysis::new(settings, filter)?;
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1])
        .map_err(|error| LiveError::System("signals cannot be waited for", error))?;
    let needs = Needs {
        reopen: chosen.interfaces.iter().any(|name| name != ANY),
        host: false,
        reads,
        writes: evidence.iter().map(|evidence| evidence.directory.clone()).collect(),
        terminal: options.view.is_some(),
    };
    let outages = Outages::default();
    let mut links = watched(&chosen.interfaces);
    if links.len() > LINKS_MAX {
        let more = links.len() - LINKS_MAX;
        Voice::Aloud.tell(&format!("{more} interfaces are not watched for going down: too many"));
        links.truncate(LINKS_MAX);
    }
    let links = Links::open(links, outages.clone());
    for directory in &needs.writes {
        privileges::make_directory(directory, id.as_ref())?;
    }
    let dropped = privileges::drop(id.as_ref(), &needs)?;
    // Its files are made after rights were dropped, too, so that nothing of it may need them.
    let keeper = evidence.map(|evidence| {
        let interface = |source: &Source| evidence::Interface {
            name: source.name.clone(),
            link: source.link,
            snaplen: source.how.snaplen,
        };
        let started = Keeper::start(evidence, sources.iter().map(interface).collect());
        started.map_err(|error| error.for_user(id.as_ref().map(|id| id.name.as_str())))
    });
    let keeper = keeper.transpose()?;
    if !options.quiet {
        let on = chosen.interfaces.join(", ");
        Voice::Aloud.tell(&format!("captures {} on {on}; {dropped}", chosen.what));
        if let Some(less) = shares.less_than(&wishes) {
            Voice::Aloud.tell(&less);
        }
    }

    let names: Vec<String> = interfaces.iter().map(|(name, _)| name.clone()).collect();
    let mut followers: Vec<Box<dyn Follower + Send>> = Vec::new();
    // Its threads have what rights are left.
    let server = match options.metrics {
        Some(address) => {
            let (metrics, server) = measure::serve(address)?;
            if !options.quiet {
                Voice::Aloud.tell(&measure::words(server.address()));
            }
            followers.push(Box::new(metrics));
            Some(server)
        }
        None => None,
    };
    let mut voice = Voice::Aloud;
    let view = match options.view {
        Some(style) => {
            let source = format!("{} on {}", chosen.what, names.join(", "));
            let view = View::open(source, &names, &probers, style)?;
            followers.push(Box::new(view.board()));
            voice = Voice::Shown(view.board());
            Some(view)
        }
        None => None,
    };
    let (events, told) = mpsc::channel();
    let room = Room::new(usize::try_from(shares.queue).unwrap_or(usize::MAX));
    let shared =
        Shared { stop: Default::default(), asked: Default::default(), room: room.clone(), outages };
    let (lines_out, lines_in) = mpsc::sync_channel(WAITING_MAX);
    let writer = {
        let (events, aside, voice) = (events.clone(), options.aside, voice.clone());
        start("output", move || write(&lines_in, aside, &events, &voice))?
    };
    let lines = Lines::new(options.form, options.style, zone, names, lines_out);
    let (batches_out, batches_in) = mpsc::sync_channel(BATCHES_MAX);
    let job = Job::new(Parts {
        analysis,
        keys,
        lines,
        keeper,
        others: followers,
        host: watch.start().ok(),
        shared: shared.clone(),
        events: events.clone(),
        interfaces,
        memory_max: options.memory_max,
        stop_after: options.stop_after,
    });
    let analyst = start("analysis", move || job.run(&batches_in, Vec::new()))?;
    let outlet = Outlet {
        batches: batches_out,
        events: events.clone(),
        stop: shared.stop.clone(),
        room,
        outages: shared.outages.clone(),
    };
    let going = sources.len();
    let captures = sources
        .into_iter()
        .map(|source| {
            let outlet = outlet.clone();
            start("capture", move || capture::run(source, &outlet))
        })
        .collect::<Result<Vec<_>, _>>()?;
    drop(outlet);
    let links = links.ok().map(|links| {
        let (stop, events) = (shared.stop.clone(), events.clone());
        start("link", move || links.run(&stop, &events))
    });
    let links = links.transpose()?;
    let handle = signals.handle();
    let listener = start("signal", move || {
        for signal in signals.forever() {
            if events.send(Event::Signal(signal)).is_err() {
                break;
            }
        }
    })?;

    let view = view.map(|view| {
        let stop = shared.stop.clone();
        let (ended, end) = mpsc::channel();
        start("view", move || drop(ended.send(view.run(&stop)))).map(|_| end)
    });
    let view = view.transpose()?;

    let voice = (!options.quiet).then_some(voice);
    let closed = wait(&told, &shared, going, options.duration, voice.as_ref());
    shared.stop.store(true, Ordering::Relaxed);
    // The report comes whatever has become of the view.
    if let Some(Ok(Err(error))) = view.map(|view| view.recv_timeout(VIEW_ENDS)) {
        Voice::Aloud.tell(&format!("the view ended: {error}"));
    }
    for capture in captures {
        capture.join().map_err(|_| LiveError::Thread("capture"))?;
    }
    let report = analyst.join().map_err(|_| LiveError::Thread("analysis"))?;
    handle.close();
    if let Some(links) = links {
        links.join().map_err(|_| LiveError::Thread("link"))?;
    }
    listener.join().map_err(|_| LiveError::Thread("signal"))?;
    writer.join().map_err(|_| LiveError::Thread("output"))?;
    drop(server);
    Ok(Outcome { report, closed })
}

/// Links watched at once: a host with a thousand containers has as many.
const LINKS_MAX: usize = 4096;

/// The interfaces that packets come from; of `any` all links that are up now, as later ones come and go
/// with containers.
fn watched(interfaces: &[String]) -> Vec<Watched> {
    let running = pcap::Device::list().unwrap_or_default();
    let mut watched = Vec::new();
    for (interface, given) in interfaces.iter().enumerate() {
        let of_any = given == ANY;
        let is_one = |device: &&pcap::Device| match of_any {
            true => device.flags.is_up() && device.name != ANY,
            false => device.name == *given,
        };
        let links: Vec<&pcap::Device> = running.iter().filter(is_one).collect();
        watched.extend(links.iter().map(|device| Watched {
            name: device.name.clone(),
            interface,
            had_carrier: device.flags.is_running(),
            of_any,
        }));
        if links.is_empty() && !of_any {
            watched.push(Watched { name: given.clone(), interface, had_carrier: false, of_any });
        }
    }
    watched
}

fn start<T: Send + 'static>(
    name: &'static str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, LiveError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|error| LiveError::System("a thread cannot be started", error))
}

/// Waits for a reason to end. Whether it is that nobody reads any more.
fn wait(
    told: &Receiver<Event>,
    shared: &Shared,
    mut going: usize,
    mut left: Option<Duration>,
    voice: Option<&Voice>,
) -> bool {
    let mut looked = super::clock::now();
    while !shared.stop.load(Ordering::Relaxed) {
        let event = told.recv_timeout(left.unwrap_or(TURN).min(TURN));
        let now = super::clock::now();
        let passed = Duration::from_nanos(u64::try_from(now.nanos_since(looked)).unwrap_or(0));
        looked = now;
        if let Some(left) = &mut left {
            *left = left.saturating_sub(passed);
            if left.is_zero() {
                return false;
            }
        }
        match event {
            Ok(Event::Signal(SIGUSR1)) => shared.asked.store(true, Ordering::Relaxed),
            Ok(Event::Signal(_) | Event::Enough) => return false,
            Ok(Event::Closed) => return true,
            Ok(Event::Trouble(text)) => voice.iter().for_each(|voice| voice.tell(&text)),
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Event::Over) => {
                going = going.saturating_sub(1);
                if going == 0 {
                    return false;
                }
            }
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
    false
}

/// Writes lines until there are no more.
fn write(lines: &Receiver<Line>, aside: bool, events: &Sender<Event>, voice: &Voice) {
    let mut open = true;
    for line in lines {
        match line {
            Line::Aside(text) => voice.tell(&text),
            Line::Told(bytes) if aside => {
                let _ = io::stderr().write_all(&bytes);
            }
            Line::Told(bytes) if open => {
                let mut out = io::stdout().lock();
                if out.write_all(&bytes).and_then(|()| out.flush()).is_err() {
                    open = false;
                    let _ = events.send(Event::Closed);
                }
            }
            Line::Told(_) => {}
        }
    }
}
