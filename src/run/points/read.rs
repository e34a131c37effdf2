//! Reads captures of several places.

use super::super::{RunError, Settings};
use crate::capture::{CaptureInfo, Timeline};
use crate::packet::{Packet, Segment};
use crate::time::Timestamp;
use crate::words::Phrase;
use std::path::{Path, PathBuf};

/// Names of captures, for people.
pub(super) fn named(captures: &[CaptureInfo]) -> Phrase {
    let names: Vec<&str> = captures.iter().map(|capture| capture.path.as_str()).collect();
    names.join(", ").into()
}

/// What is read several times cannot come from a pipe.
pub(super) fn stored(captures: &[PathBuf]) -> Result<(), RunError> {
    let pipe = |path: &&PathBuf| {
        let stored = |path: &Path| path.metadata().is_ok_and(|it| it.is_file() || it.is_dir());
        path.as_os_str() == "-" || (path.exists() && !stored(path))
    };
    match captures.iter().find(pipe) {
        Some(path) => Err(RunError::Pipe(path.display().to_string())),
        None => Ok(()),
    }
}

/// Files by the place that they were captured at: those of one place follow each other in time, those
/// of several are of the same time.
pub(super) fn split(beside: &[PathBuf]) -> Result<Vec<Vec<PathBuf>>, RunError> {
    if beside.len() < 2 {
        return Ok(vec![beside.to_vec()]);
    }
    let mut spans = Vec::new();
    for path in beside {
        let mut timeline = Timeline::open(std::slice::from_ref(path))?;
        let mut span: Option<(Timestamp, Timestamp)> = None;
        while let Some(frame) = timeline.next_frame()? {
            let at = frame.mark.at;
            let (first, last) = span.unwrap_or((at, at));
            span = Some((first.min(at), last.max(at)));
        }
        spans.push((span.unwrap_or_default(), path.clone()));
    }
    spans.sort();
    let mut places: Vec<(Timestamp, Vec<PathBuf>)> = Vec::new();
    for ((first, last), path) in spans {
        match places.iter_mut().find(|(until, _)| *until <= first) {
            Some((until, files)) => {
                *until = last;
                files.push(path);
            }
            None => places.push((last, vec![path])),
        }
    }
    Ok(places.into_iter().map(|(_, files)| files).collect())
}

/// Hands over all packets of captures of one place, whose files are numbered from `first`: when they were
/// captured, and the TCP segment in them.
pub(super) fn read(
    paths: &[PathBuf],
    first: u32,
    settings: &Settings,
    mut take: impl FnMut(Timestamp, Option<&Segment<'_>>),
) -> Result<Vec<CaptureInfo>, RunError> {
    let mut timeline = Timeline::open(paths)?;
    timeline.number_from(first);
    let mut decoder = settings.decoder();
    while let Some(frame) = timeline.next_frame()? {
        let at = frame.mark.at;
        match decoder.decode(&frame) {
            Packet::Tcp(segment) => take(at, Some(&segment)),
            _ => take(at, None),
        }
    }
    Ok(timeline.captures().to_vec())
}
