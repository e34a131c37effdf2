//! What the user looks at: a copy of the board, a pane, a selection in it, a filter, a pause.

use super::board::Shown;
use super::causes::{Key, Tally};
use super::findings::Listed;
use super::targets::{Strip, Target};
use crate::packet::Endpoint;
use std::sync::Arc;

/// Parts of the view, in the order of their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pane {
    Rates,
    Causes,
    Targets,
    #[default]
    Findings,
}

impl Pane {
    pub(super) const ALL: [Pane; 4] = [Pane::Rates, Pane::Causes, Pane::Targets, Pane::Findings];
}

/// Which findings are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    /// In the cause, the target, the method or the path, whatever the case of its letters.
    pub(super) text: String,
    /// Only this cause.
    pub(super) cause: Option<&'static str>,
}

impl Filter {
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.cause.is_none()
    }

    fn lets_through(&self, listed: &Listed) -> bool {
        self.cause.is_none_or(|cause| listed.finding.cause.id == cause)
            && (self.text.is_empty() || listed.text.contains(&self.text.to_lowercase()))
    }
}

/// A finding that is shown in full.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    pub(super) listed: Arc<Listed>,
    /// Lines above the first one shown; drawing bounds it.
    pub(super) scroll: usize,
    /// The list showed the newest, whichever that was, and does again when this is closed.
    pub(super) newest: bool,
}

/// A row of the targets: a server, and what one of its probers says.
pub(super) struct TargetRow<'a> {
    pub(super) server: Endpoint,
    pub(super) target: &'a Target,
    pub(super) prober: Option<(&'a str, &'a Strip)>,
    /// The first row of its server.
    pub(super) first: bool,
}

/// What the user looks at.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) shown: Shown,
    pub(super) focus: Pane,
    pub(super) filter: Filter,
    /// The filter's text is being typed; this was it before.
    pub(super) typing: Option<String>,
    /// The display stands still; findings and requests when it was stopped.
    pub(super) paused: Option<(u64, u64)>,
    /// Findings and requests that came since.
    pub(super) missed: (u64, u64),
    pub(super) help: bool,
    pub(super) opened: Option<Opened>,
    /// Number of the selected finding; `None`: the newest one, whichever that is.
    pub(super) finding: Option<u64>,
    pub(super) cause: Option<Key>,
    pub(super) target: Option<(Endpoint, String)>,
}

impl View {
    /// The board has changed. `false`: there is nothing new to see.
    pub(super) fn update(&mut self, totals: (u64, u64), shown: impl FnOnce() -> Shown) -> bool {
        match self.paused {
            Some(before) => {
                let missed = (totals.0 - before.0.min(totals.0), totals.1 - before.1.min(totals.1));
                std::mem::replace(&mut self.missed, missed) != missed
            }
            None => {
                self.shown = shown();
                self.refresh();
                true
            }
        }
    }

    /// More may be known of the finding that is shown in full.
    fn refresh(&mut self) {
        if let Some(opened) = &mut self.opened {
            let number = opened.listed.number;
            let now = self.shown.findings.newest().into_iter().find(|it| it.number == number);
            if let Some(now) = now {
                opened.listed = Arc::clone(now);
            }
        }
    }

    /// Findings that the filter lets through, the newest first.
    pub(super) fn findings(&self) -> Vec<&Arc<Listed>> {
        let newest = self.shown.findings.newest();
        newest.into_iter().filter(|listed| self.filter.lets_through(listed)).collect()
    }

    pub(super) fn causes(&self) -> Vec<&Tally> {
        self.shown.causes.sorted()
    }

    pub(super) fn targets(&self) -> Vec<TargetRow<'_>> {
        let mut rows = Vec::new();
        for (server, target) in self.shown.targets.sorted() {
            let mut first = true;
            for (id, strip) in &target.probers {
                rows.push(TargetRow { server, target, prober: Some((id, strip)), first });
                first = false;
            }
            if first {
                rows.push(TargetRow { server, target, prober: None, first });
            }
        }
        rows
    }

    /// Position of the selected row of a pane, and how many rows it has.
    pub(super) fn selected(&self, pane: Pane) -> (usize, usize) {
        let at = |found: Option<usize>, rows: usize| (found.unwrap_or(0), rows);
        match pane {
            Pane::Rates => (0, 0),
            Pane::Causes => {
                let rows = self.causes();
                let found = rows.iter().position(|tally| Some(tally.key()) == self.cause);
                at(found, rows.len())
            }
            Pane::Targets => {
                let rows = self.targets();
                at(rows.iter().position(|row| Some(row.key()) == self.target), rows.len())
            }
            Pane::Findings => {
                let rows = self.findings();
                // Numbers fall: when the selected one has left, the next older one takes its place.
                let found = self.finding.map(|selected| {
                    let newer = rows.iter().take_while(|listed| listed.number > selected).count();
                    newer.min(rows.len().saturating_sub(1))
                });
                at(found, rows.len())
            }
        }
    }

    /// Selects a row of the pane that has the focus.
    pub(super) fn select(&mut self, row: usize) {
        match self.focus {
            Pane::Rates => {}
            Pane::Causes => self.cause = self.causes().get(row).map(|tally| tally.key()),
            Pane::Targets => self.target = self.targets().get(row).map(TargetRow::key),
            Pane::Findings => {
                let number = self.findings().get(row).map(|listed| listed.number);
                self.finding = number.filter(|_| row > 0);
            }
        }
    }

    /// Shows the selected finding in full.
    pub(super) fn open(&mut self) {
        let (row, _) = self.selected(Pane::Findings);
        let listed = self.findings().get(row).map(|listed| Arc::clone(listed));
        if let Some(listed) = listed {
            let newest = self.finding.is_none();
            self.finding = Some(listed.number);
            self.opened = Some(Opened { listed, scroll: 0, newest });
        }
    }

    /// Shows the list again. Whether there was something to close.
    pub(super) fn close(&mut self) -> bool {
        let opened = self.opened.take();
        if opened.as_ref().is_some_and(|opened| opened.newest) {
            self.finding = None;
        }
        opened.is_some()
    }

    /// Shows the finding so many rows below in its place.
    pub(super) fn open_next(&mut self, rows: isize) {
        let (row, count) = self.selected(Pane::Findings);
        let next = row.saturating_add_signed(rows).min(count.saturating_sub(1));
        // Chosen from now on.
        self.finding = self.findings().get(next).map(|listed| listed.number);
        self.open();
    }

    /// The next cause in the order of their counts, then all of them.
    pub(super) fn next_cause(&mut self) {
        let mut ids: Vec<&'static str> = Vec::new();
        for tally in self.causes() {
            if !ids.contains(&tally.cause.id) {
                ids.push(tally.cause.id);
            }
        }
        let next = match self.filter.cause {
            None => 0,
            Some(cause) => ids.iter().position(|id| *id == cause).map_or(0, |at| at + 1),
        };
        self.filter.cause = ids.get(next).copied();
        self.finding = None;
    }

    /// The findings of the selected cause or target only.
    pub(super) fn narrow(&mut self) {
        match self.focus {
            Pane::Rates | Pane::Findings => {}
            Pane::Causes => {
                let (row, _) = self.selected(Pane::Causes);
                self.filter.cause = self.causes().get(row).map(|tally| tally.cause.id);
            }
            Pane::Targets => {
                let (row, _) = self.selected(Pane::Targets);
                let server = self.targets().get(row).map(|row| row.server.socket().to_string());
                self.filter.text = server.unwrap_or_default();
            }
        }
        self.focus = Pane::Findings;
        self.finding = None;
    }
}

impl TargetRow<'_> {
    /// What tells it from others.
    pub(super) fn key(&self) -> (Endpoint, String) {
        (self.server, self.prober.map_or(String::new(), |(id, _)| id.to_owned()))
    }
}
