//! Where everything goes: below each other on a narrow terminal, findings beside the rest on a wide
//! one.

use super::super::view::{Pane, View};
use super::targets;
use ratatui::layout::Rect;

/// Columns from which on findings stand beside the other panes.
const WIDE: u16 = 140;
/// Rows from which on they do.
const HIGH: u16 = 20;
/// Rows that a chart of rates takes at most when it has the focus or the place.
const CHART_MAX: u16 = 12;
/// Rows below the heading of causes and of targets that they get before the pane with the focus gets
/// more, and where there is place for all.
const FEW: u16 = 3;
const SOME: u16 = 6;

/// Places on the terminal; empty ones are not drawn.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Places {
    pub(super) answer: Rect,
    /// In the order of [`Pane::ALL`], each with its heading.
    pub(super) panes: [Rect; 4],
    /// A finding in full.
    pub(super) opened: Rect,
    pub(super) status: Rect,
}

impl Places {
    pub(super) fn of(area: Rect, answer: usize, status: usize, view: &View) -> Places {
        let take = |rows: usize, of: u16| u16::try_from(rows).unwrap_or(of).min(of);
        let answer = Rect { height: take(answer, area.height), ..area };
        let left = area.height - answer.height;
        let below = take(status, left);
        let status = Rect { y: area.bottom() - below, height: below, ..area };
        let body = Rect { y: answer.bottom(), height: left - below, ..area };
        let mut places = Places { answer, status, ..Places::default() };
        if area.width >= WIDE && body.height >= HIGH {
            let left = Rect { width: area.width * 9 / 20, ..body };
            let right = Rect { x: left.right() + 1, width: area.width - left.width - 1, ..body };
            if view.opened.is_some() {
                places.opened = right;
            } else {
                places.panes[3] = right;
            }
            places.stack(left, &[Pane::Rates, Pane::Causes, Pane::Targets], view);
        } else if view.opened.is_some() {
            places.opened = body;
        } else {
            places.stack(body, &Pane::ALL, view);
        }
        places
    }

    /// Panes below each other: each gets the least it needs, then what it can use; the one with the
    /// focus first, the last one what is left.
    fn stack(&mut self, place: Rect, panes: &[Pane], view: &View) {
        let mut panes = panes.to_vec();
        // Two rows each are the least that says something; the chart has two lines.
        let least = |pane: Pane| if pane == Pane::Rates { 3 } else { 2 };
        while panes.iter().map(|pane| least(*pane)).sum::<u16>() > place.height {
            let focus = if panes.contains(&view.focus) { view.focus } else { panes[0] };
            match panes.iter().rposition(|pane| *pane != focus) {
                Some(other) => panes.remove(other),
                None => break,
            };
        }
        let mut heights: Vec<u16> = panes.iter().map(|pane| least(*pane)).collect();
        let mut left = place.height.saturating_sub(heights.iter().sum());
        let focus = panes.iter().position(|pane| *pane == view.focus);
        let mut grow = |at: usize, to: u16, heights: &mut [u16]| {
            let more = to.saturating_sub(heights[at]).min(left);
            heights[at] += more;
            left -= more;
        };
        // Findings are what most look for: some rows before others get more.
        if let Some(at) = panes.iter().position(|pane| *pane == Pane::Findings) {
            grow(at, 5, &mut heights);
        }
        for (at, pane) in panes.iter().enumerate().filter(|(_, pane)| **pane != Pane::Rates) {
            grow(at, 1 + useful(*pane, view, FEW), &mut heights);
        }
        if let Some(at) = focus {
            grow(at, 1 + useful(panes[at], view, u16::MAX - 1), &mut heights);
        }
        for (at, pane) in panes.iter().enumerate() {
            grow(at, 1 + useful(*pane, view, SOME), &mut heights);
        }
        let last = panes.iter().rposition(|pane| *pane != Pane::Rates).unwrap_or(0);
        grow(last, u16::MAX, &mut heights);
        let mut y = place.y;
        for (pane, height) in panes.iter().zip(heights) {
            let height = height.min(place.bottom().saturating_sub(y));
            let index = Pane::ALL.iter().position(|it| it == pane).unwrap_or(0);
            self.panes[index] = Rect { y, height, ..place };
            y += height;
        }
    }
}

/// Rows below its heading that a pane can use, at most `most`.
fn useful(pane: Pane, view: &View, most: u16) -> u16 {
    let rows = match pane {
        Pane::Rates => usize::from(if most > SOME { CHART_MAX } else { 4 }),
        Pane::Causes => view.causes().len(),
        Pane::Targets => targets::rows(view),
        Pane::Findings => view.findings().len(),
    };
    u16::try_from(rows).unwrap_or(most).min(most)
}
