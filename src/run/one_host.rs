//! Recognises a proxy host whose interfaces were captured to files of their own, before the analysis.

use super::{Analysis, Listener, RunError, Settings};
use crate::capture::Timeline;
use crate::flow::Flow;
use crate::host::Addresses;
use crate::http::Exchange;
use crate::join::legs::{OneHost, Pair};
use crate::packet::Endpoint;
use crate::phrase;
use crate::words::Phrase;
use std::net::IpAddr;
use std::path::PathBuf;

/// Frames looked at: seconds of traffic on both sides of a proxy, read in less than one.
const FRAMES: u64 = 200_000;
/// Frames of one file only, after which the files are taken to follow each other.
const ALONE: u64 = 20_000;

/// Collects what [`OneHost`] compares.
#[derive(Default)]
struct Watch(OneHost);

impl Listener for Watch {
    fn flow(&mut self, flow: &Flow, _tunnels: &[String]) {
        self.0.flow(flow.id, flow.client, flow.server);
    }

    fn exchange(&mut self, flow: u64, exchange: &Exchange) {
        self.0.exchange(flow, exchange);
    }
}

/// What to say when nothing is known of the host that captured but its own requests, and its addresses
/// where they are sure.
pub(super) fn find(
    captures: &[PathBuf],
    settings: &Settings,
) -> Result<Option<(Addresses, Phrase)>, RunError> {
    // What is read twice cannot be a pipe.
    let stored = |path: &PathBuf| path.is_file() || path.is_dir();
    let several = captures.len() > 1 || captures.iter().any(|path| path.is_dir());
    if !several || !settings.local.is_empty() || !captures.iter().all(stored) {
        return Ok(None);
    }
    let settings = Settings {
        exchanges: true,
        streamed: true,
        flows: false,
        beside: Vec::new(),
        logs: Default::default(),
        early: false,
        ..settings.clone()
    };
    let mut timeline = Timeline::open(captures)?;
    let mut analysis = Analysis::new(settings.clone(), settings.filter()?)?;
    let mut watch = Watch::default();
    let (mut first, mut several) = (None, false);
    while analysis.packets() < FRAMES && (several || analysis.packets() < ALONE) {
        if !timeline.step()? {
            break;
        }
        let Some(frame) = timeline.frame() else { break };
        several |= *first.get_or_insert(frame.mark.frame.file()) != frame.mark.frame.file();
        analysis.frame(&frame, &mut watch);
    }
    if !several {
        return Ok(None);
    }
    analysis.finish(Vec::new(), Vec::new(), &mut watch);
    Ok(said(&watch.0.pairs()))
}

fn said(pairs: &[Pair]) -> Option<(Addresses, Phrase)> {
    let likeliest = pairs.first()?;
    let sure: Vec<&Pair> = pairs.iter().filter(|pair| pair.sure).collect();
    let address = |address| Endpoint { ip: address, port: 0 }.addr();
    let list = |addresses: &mut Vec<IpAddr>| -> String {
        addresses.sort_unstable();
        addresses.dedup();
        let texts: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        texts.join(",")
    };
    if sure.is_empty() {
        let mut both = vec![address(likeliest.front), address(likeliest.back)];
        let said = phrase!(
            "{n} requests from {back} lie within requests for the same at {front}: if both are addresses of one proxy, --local {both} ties them",
            n = likeliest.within,
            back = address(likeliest.back).to_string(),
            front = address(likeliest.front).to_string(),
            both = list(&mut both)
        );
        return Some((Addresses::default(), said));
    }
    let mut both: Vec<IpAddr> =
        sure.iter().flat_map(|pair| [address(pair.front), address(pair.back)]).collect();
    let said = phrase!(
        "{both}: taken for addresses of one proxy, as {n} requests of one lie within requests for the same at the other; --local says otherwise",
        both = list(&mut both),
        n = sure.iter().map(|pair| pair.within).sum::<usize>()
    );
    Some((Addresses::of_hosts(&both), said))
}
