//! Mirror of what happened on the host that captured.

use super::Time;
use crate::host;
use schemars::JsonSchema;
use serde::Serialize;

/// What happened on the host that captured, while it did.
#[derive(Serialize, JsonSchema)]
pub(in crate::report) struct Host {
    /// The first and the last look at it; there is one every second.
    watched_from: Option<Time>,
    watched_to: Option<Time>,
    /// The ports that are watched.
    ports: Vec<Port>,
    /// What happened, by time.
    events: Vec<Happened>,
    /// Older events that were forgotten.
    events_left_out: u64,
    /// Why listeners cannot be seen; null where they can.
    unseen: Option<String>,
}

/// How a port stands at the end.
#[derive(Serialize, JsonSchema)]
struct Port {
    port: u16,
    /// Whether something listens.
    listens: bool,
    /// Since when nothing does; null where nothing ever did.
    gone: Option<Time>,
    /// The process that listens, or did last.
    process: Option<String>,
    pid: Option<i32>,
}

/// Something that happened on the host.
#[derive(Serialize, JsonSchema)]
pub(in crate::report) struct Happened {
    /// The look before it.
    from: Time,
    /// The look that found it.
    time: Time,
    /// The port that it concerns; null for the whole host.
    port: Option<u16>,
    #[schemars(extend("enum" = ["gone", "listens", "restarted", "process-ended", "process-stopped",
        "process-continued", "queue-full", "queue-free", "files-full", "files-free", "overflow",
        "oom-kill", "ports-out"]))]
    event: &'static str,
    /// What it was, with its figures.
    text: String,
}

impl Happened {
    pub(in crate::report) fn new(event: &host::Event) -> Happened {
        Happened {
            from: Time(event.from),
            time: Time(event.at),
            port: event.port,
            event: event.what.id(),
            text: event.text(),
        }
    }
}

impl Host {
    pub(in crate::report) fn new(history: &host::History) -> Host {
        let port = |(number, port): (&u16, &host::Port)| {
            let who = port.holder();
            Port {
                port: *number,
                listens: !port.listeners.is_empty(),
                gone: port.gone.map(Time),
                process: who.map(|who| who.name.clone()),
                pid: who.map(|who| who.pid),
            }
        };
        Host {
            watched_from: history.seen.map(|(first, _)| Time(first)),
            watched_to: history.seen.map(|(_, last)| Time(last)),
            ports: history.ports.iter().map(port).collect(),
            events: history.events.iter().map(Happened::new).collect(),
            events_left_out: history.forgotten,
            unseen: history.unseen.clone(),
        }
    }
}
