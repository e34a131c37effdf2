//! The view over shipped captures on terminals of several sizes, and its keys.

use super::super::{Follower, Standing};
use super::board::{Board, SharedBoard};
use super::draw::draw;
use super::keys::Next;
use super::look::Look;
use super::view::{Pane, View};
use crate::cause::{Finding, Kind};
use crate::flow::Flow;
use crate::health::{Check, Entry};
use crate::http::Exchange;
use crate::packet::Endpoint;
use crate::probe::Catalogue;
use crate::run::{Listener, Settings, analyse};
use crate::time::{FrameId, Timestamp};
use crate::words::Lang;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use std::path::Path;

const DEMO: &str = "demo/nginx-demo-lb.pcap";
const CHECKED: &str = "checks-and-users/direct-fail-open-target.pcap";
/// With colours and Unicode.
const LOOK: Look = Look { color: true, ascii: false, lang: Lang::En };

/// A board that has seen a shipped capture.
fn board(capture: &str) -> Board {
    let probers = Catalogue::built_in().unwrap();
    let mut board = Board::new("eth0, tcp port 8080".into(), &["eth0".to_owned()], &probers);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures").join(capture);
    let settings = Settings { exchanges: true, streamed: true, ..Settings::default() };
    let report = analyse(&[path], &settings, &mut board).unwrap();
    let now = report.captures[0].last.unwrap();
    board.standing(&Standing {
        now: now.after(1_500_000_000),
        packets: report.summary.packets,
        queue: (3_000_000, 64_000_000),
        memory: (Some(120_000_000), Some(512_000_000)),
        ..Standing::default()
    });
    board
}

fn view(board: &Board) -> View {
    let mut view = View::default();
    view.update(board.totals(), || board.shown());
    view
}

/// What is on a terminal of that size.
fn seen(view: &mut View, look: Look, (width, height): (u16, u16)) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, view, look)).unwrap();
    let buffer = terminal.backend().buffer();
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| row(y).trim_end().to_owned()).collect()
}

/// Compares with a file of this folder; `UPDATE_SNAPSHOTS=1` rewrites it.
fn same_as_file(name: &str, screens: &[Vec<String>]) {
    let text: String = screens.iter().map(|screen| screen.join("\n") + "\n~~~\n").collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/live/ui/snapshots").join(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let shipped = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        shipped == text,
        "{name} differs; UPDATE_SNAPSHOTS=1 cargo test rewrites it. Now:\n{text}"
    );
}

fn press(view: &mut View, codes: &[KeyCode]) {
    for code in codes {
        assert_eq!(view.key(KeyEvent::from(*code), (0, 0)), Next::Go);
    }
}

fn typed(view: &mut View, text: &str) {
    text.chars().for_each(|c| press(view, &[KeyCode::Char(c)]));
}

const SIZES: [(u16, u16); 4] = [(60, 15), (80, 24), (120, 40), (200, 50)];

#[test]
fn requests_that_failed_look_as_agreed() {
    let mut view = view(&board(DEMO));
    same_as_file("demo.txt", &SIZES.map(|size| seen(&mut view, LOOK, size)));
}

#[test]
fn targets_that_are_checked_look_as_agreed() {
    let mut view = view(&board(CHECKED));
    press(&mut view, &[KeyCode::Char('3')]);
    same_as_file("checked.txt", &SIZES.map(|size| seen(&mut view, LOOK, size)));
}

#[test]
fn an_opened_finding_looks_as_agreed() {
    let mut view = view(&board(DEMO));
    press(&mut view, &[KeyCode::Down, KeyCode::Enter]);
    let mut screens: Vec<_> = SIZES.into_iter().map(|size| seen(&mut view, LOOK, size)).collect();
    press(&mut view, &[KeyCode::End]);
    screens.push(seen(&mut view, LOOK, SIZES[0]));
    same_as_file("opened.txt", &screens);
}

#[test]
fn before_the_first_packet_and_with_ascii() {
    let ascii = Look { color: false, ascii: true, lang: Lang::En };
    let mut empty = view(&Board::default());
    let mut demo = view(&board(DEMO));
    let mut screens = vec![seen(&mut empty, ascii, (80, 24)), seen(&mut demo, ascii, (80, 24))];
    press(&mut demo, &[KeyCode::Enter]);
    screens.push(seen(&mut demo, ascii, (100, 40)));
    press(&mut demo, &[KeyCode::Char('?'), KeyCode::Esc]);
    assert!(screens.iter().flatten().all(|line| line.is_ascii()), "{screens:#?}");
    same_as_file("ascii.txt", &screens);
}

#[test]
fn no_size_is_too_small() {
    let mut view = view(&board(DEMO));
    for opened in [false, true] {
        for width in [1, 2, 5, 19, 40, 139, 140, 400] {
            for height in [1, 2, 3, 4, 6, 9, 12, 21, 90] {
                let screen = seen(&mut view, LOOK, (width, height));
                let begins = if width == 1 { "" } else { "1" };
                assert!(screen[0].starts_with(begins), "{width}x{height}: {screen:?}");
            }
        }
        assert_eq!(view.opened.is_some(), opened);
        press(&mut view, &[KeyCode::Enter]);
    }
}

#[test]
fn a_terminal_that_changes_its_size_shows_the_same_view() {
    let mut view = view(&board(DEMO));
    press(&mut view, &[KeyCode::Down, KeyCode::Down]);
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    for (width, height) in [(80, 24), (60, 15), (200, 50), (80, 24)] {
        terminal.backend_mut().resize(width, height);
        terminal.draw(|frame| draw(frame, &mut view, LOOK)).unwrap();
        let buffer = terminal.backend().buffer();
        assert_eq!((buffer.area.width, buffer.area.height), (width, height));
        let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        assert_eq!(
            (0..height)
                .map(row)
                .collect::<Vec<_>>()
                .iter()
                .map(|line| line.trim_end())
                .collect::<Vec<_>>(),
            seen(&mut view, LOOK, (width, height))
        );
    }
}

#[test]
fn colours_are_used_when_they_are_wanted() {
    let mut view = view(&board(CHECKED));
    for (color, expected) in [(true, true), (false, false)] {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| draw(frame, &mut view, Look { color, ..LOOK })).unwrap();
        let cells = &terminal.backend().buffer().content;
        assert_eq!(cells.iter().any(|cell| cell.fg == Color::Red), expected);
        assert_eq!(cells.iter().any(|cell| cell.fg != Color::Reset), expected);
    }
}

#[test]
fn text_and_cause_filter_the_findings() {
    let mut view = view(&board(DEMO));
    let all = view.findings().len();
    press(&mut view, &[KeyCode::Char('/')]);
    typed(&mut view, "API/orders");
    let orders = view.findings().len();
    assert!(0 < orders && orders < all, "{orders} of {all}");
    typed(&mut view, "q?c 1");
    assert_eq!((view.findings().len(), view.help), (0, false));
    press(&mut view, &[KeyCode::Backspace; 5]);
    press(&mut view, &[KeyCode::Enter, KeyCode::Char('c')]);
    assert_eq!(view.filter.cause, Some("keepalive-race"));
    assert_eq!(view.findings().len(), orders);
    press(&mut view, &[KeyCode::Esc, KeyCode::Char('c'), KeyCode::Char('c')]);
    assert_eq!(view.filter.cause, Some("connect-refused"));
    assert_eq!(view.findings().len(), 1);
    press(&mut view, &[KeyCode::Char('c'), KeyCode::Char('c')]);
    assert!(view.filter.is_empty());
    assert_eq!(view.findings().len(), all);
    press(&mut view, &[KeyCode::Char('/')]);
    typed(&mut view, "zzz");
    assert!(seen(&mut view, LOOK, (80, 24)).iter().any(|line| line.contains("filter: zzz_")));
    press(&mut view, &[KeyCode::Esc]);
    assert!(view.filter.is_empty());
}

#[test]
fn a_cause_and_a_target_lead_to_their_findings() {
    let mut view = view(&board(DEMO));
    press(&mut view, &[KeyCode::Char('2'), KeyCode::Char('j'), KeyCode::Enter]);
    assert_eq!(view.focus, Pane::Findings);
    assert_eq!(view.findings().len(), 1);
    press(&mut view, &[KeyCode::Esc, KeyCode::Char('3'), KeyCode::Enter]);
    assert_eq!(view.filter.text, "198.51.100.20:8080");
    assert_eq!(view.findings().len() as u64, view.shown.findings.total);
}

#[test]
fn panes_and_rows_are_selected() {
    let mut view = view(&board(DEMO));
    let rows = view.findings().len();
    press(&mut view, &[KeyCode::Char('G')]);
    assert_eq!(view.selected(Pane::Findings), (rows - 1, rows));
    press(&mut view, &[KeyCode::Down, KeyCode::PageUp, KeyCode::Char('k')]);
    assert_eq!(view.selected(Pane::Findings), (rows - 12, rows));
    press(&mut view, &[KeyCode::Home]);
    assert_eq!(view.finding, None);
    for expected in [Pane::Rates, Pane::Causes, Pane::Targets, Pane::Findings] {
        press(&mut view, &[KeyCode::Tab]);
        assert_eq!(view.focus, expected);
    }
    press(&mut view, &[KeyCode::BackTab]);
    assert_eq!(view.focus, Pane::Targets);
}

#[test]
fn an_opened_finding_scrolls_and_leads_to_the_next() {
    let mut view = view(&board(DEMO));
    press(&mut view, &[KeyCode::Enter, KeyCode::PageDown, KeyCode::PageDown, KeyCode::PageDown]);
    seen(&mut view, LOOK, (80, 24));
    let first = view.opened.clone().unwrap();
    assert!(first.scroll > 0 && first.scroll < 30);
    press(&mut view, &[KeyCode::Char('n')]);
    let second = view.opened.clone().unwrap();
    assert_eq!((second.scroll, second.listed.number + 1), (0, first.listed.number));
    press(&mut view, &[KeyCode::Char('p'), KeyCode::Char('p')]);
    assert_eq!(view.opened.as_ref().unwrap().listed.number, first.listed.number);
    press(&mut view, &[KeyCode::Esc]);
    assert!(view.opened.is_none());
}

#[test]
fn the_view_ends_with_q_and_with_control_c_even_while_typing() {
    let mut view = view(&Board::default());
    assert_eq!(view.key(KeyEvent::from(KeyCode::Char('q')), (0, 0)), Next::End);
    press(&mut view, &[KeyCode::Char('/'), KeyCode::Char('q')]);
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(view.key(control_c, (0, 0)), Next::End);
}

#[test]
fn help_says_every_key_on_any_width() {
    let mut view = view(&board(DEMO));
    press(&mut view, &[KeyCode::Char('?')]);
    for size in [(30, 24), (60, 15), (80, 24), (200, 50)] {
        let screen = seen(&mut view, LOOK, size).join(" ");
        for (key, what) in super::keys::HELP {
            assert!(screen.contains(&format!("{key} {what}")), "{size:?} {key}: {screen}");
        }
    }
    press(&mut view, &[KeyCode::Esc]);
    assert!(!view.help);
}

/// Passes on the first findings, and keeps the others.
#[derive(Default)]
struct Kept(Vec<Finding>);

impl Listener for Kept {
    fn finding(&mut self, finding: &Finding) {
        self.0.push(finding.clone());
    }
}

fn findings() -> Vec<Finding> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures").join(DEMO);
    let mut kept = Kept::default();
    analyse(&[path], &Settings::default(), &mut kept).unwrap();
    kept.0
}

#[test]
fn a_pause_keeps_the_display_and_counts_what_came() {
    let findings = findings();
    let mut board = Board::default();
    findings[..3].iter().for_each(|finding| board.finding(finding));
    let mut view = view(&board);
    let before = seen(&mut view, LOOK, (80, 24));
    view.key(KeyEvent::from(KeyCode::Char(' ')), board.totals());
    findings[3..7].iter().for_each(|finding| board.finding(finding));
    assert!(view.update(board.totals(), || board.shown()));
    assert!(!view.update(board.totals(), || board.shown()), "nothing came since");
    let paused = seen(&mut view, LOOK, (80, 24));
    assert!(paused.iter().any(|line| line.contains("paused: 4 findings and 0 requests since")));
    assert_eq!(paused[0], before[0]);
    view.key(KeyEvent::from(KeyCode::Char(' ')), board.totals());
    assert!(view.update(board.totals(), || board.shown()));
    assert_eq!(view.findings().len(), 7);
}

#[test]
fn the_selection_stays_on_its_finding_while_others_come() {
    let findings = findings();
    let mut board = Board::default();
    findings[..3].iter().for_each(|finding| board.finding(finding));
    let mut view = view(&board);
    press(&mut view, &[KeyCode::Down]);
    let selected = view.finding;
    assert_eq!(selected, Some(2));
    findings[3..].iter().for_each(|finding| board.finding(finding));
    view.update(board.totals(), || board.shown());
    assert_eq!(view.selected(Pane::Findings).0, findings.len() - 2);
    // At the top it follows the newest.
    press(&mut view, &[KeyCode::Home]);
    board.finding(&Finding { flow: 9_999, ..findings[0].clone() });
    view.update(board.totals(), || board.shown());
    assert_eq!(view.selected(Pane::Findings).0, 0);
    // Also when it was opened from there and closed again, by whatever key.
    for closed in [KeyCode::Esc, KeyCode::Tab, KeyCode::Char('4')] {
        press(&mut view, &[KeyCode::Char('4'), KeyCode::Enter]);
        assert!(view.opened.is_some() && view.finding.is_some());
        press(&mut view, &[closed]);
        assert_eq!((view.opened.is_none(), view.finding), (true, None), "{closed:?}");
    }
    // One that was chosen stays.
    press(&mut view, &[KeyCode::Char('4'), KeyCode::Enter, KeyCode::Char('n'), KeyCode::Esc]);
    assert!(view.finding.is_some());
}

#[test]
fn an_early_verdict_is_replaced_by_the_final_one() {
    let findings = findings();
    let race = findings.iter().find(|finding| finding.cause.id == "keepalive-race").unwrap();
    let inconclusive = crate::cause::by_id("inconclusive").unwrap();
    let mut board = Board::default();
    board.early(&Finding { cause: inconclusive, ..race.clone() });
    let mut view = view(&board);
    press(&mut view, &[KeyCode::Enter]);
    let screen = seen(&mut view, LOOK, (80, 40)).join("\n");
    assert!(screen.contains("may still change") && screen.contains("inconclusive"), "{screen}");
    board.finding(race);
    board.early(&Finding { cause: inconclusive, ..race.clone() });
    view.update(board.totals(), || board.shown());
    let screen = seen(&mut view, LOOK, (80, 40)).join("\n");
    assert!(!screen.contains("inconclusive") && !screen.contains("may still change"), "{screen}");
    let shown = board.shown();
    assert_eq!(shown.summary.by_cause, [("keepalive-race", 1)].into());
    assert_eq!((shown.findings.total, shown.findings.newest().len()), (1, 1));
    assert_eq!(shown.failures.recent(shown.now, 60), 1);
}

/// Tells all findings before all checks, as if no check had been recognised in time.
#[derive(Default)]
struct ChecksLast {
    board: Board,
    checks: Vec<(Endpoint, String, Check)>,
}

impl Listener for ChecksLast {
    fn flow(&mut self, flow: &Flow, tunnels: &[String]) {
        self.board.flow(flow, tunnels);
    }
    fn exchange(&mut self, flow: u64, exchange: &Exchange) {
        self.board.exchange(flow, exchange);
    }
    fn finding(&mut self, finding: &Finding) {
        self.board.finding(&Finding { kind: Kind::Connection, ..finding.clone() });
    }
    fn check(&mut self, server: Endpoint, prober: &str, check: &Check) {
        self.checks.push((server, prober.to_owned(), check.clone()));
    }
    fn transition(&mut self, server: Endpoint, prober: &str, entry: &Entry) {
        self.board.transition(server, prober, entry);
    }
}

#[test]
fn failures_of_checks_are_no_failures_of_users() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures").join(CHECKED);
    let mut late = ChecksLast::default();
    let report = analyse(&[path], &Settings::default(), &mut late).unwrap();
    let ChecksLast { mut board, checks } = late;
    for (server, prober, check) in &checks {
        board.check(*server, prober, check);
    }
    let shown = board.shown();
    assert!(report.summary.failed_checks > 0);
    assert_eq!(shown.summary.failed_checks, report.summary.failed_checks);
    let failed = shown.summary.failed_requests + shown.summary.failed_connections;
    assert_eq!(failed, report.summary.failed_requests + report.summary.failed_connections);
    let users: u64 = shown.targets.sorted().iter().map(|(_, target)| target.failed).sum();
    assert_eq!(users, failed);
}

#[test]
fn the_answer_and_the_counts_are_those_of_the_report() {
    for capture in [DEMO, CHECKED] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures").join(capture);
        let report = analyse(&[path], &Settings::default(), &mut crate::run::Patient).unwrap();
        let mut shown = board(capture).shown();
        shown.summary.encrypted_requests = report.summary.encrypted_requests;
        shown.summary.unknown_requests = report.summary.unknown_requests;
        assert_eq!(shown.summary.exchanges, report.summary.exchanges);
        assert_eq!(shown.summary.by_cause, report.summary.by_cause);
        assert_eq!(shown.answer(Lang::En).0, crate::report::answer(&report), "{capture}");
    }
}

#[test]
fn many_failures_stay_bounded_and_hide_no_rare_one() {
    let findings = findings();
    let rare = findings.iter().find(|finding| finding.cause.id == "connect-refused").unwrap();
    let race = findings.iter().find(|finding| finding.cause.id == "keepalive-race").unwrap();
    let mut board = Board::default();
    board.finding(rare);
    for flow in 0..20_000 {
        board.early(&Finding { flow: 100_000 + flow, ..race.clone() });
    }
    let shown = board.shown();
    assert_eq!(shown.summary.by_cause["keepalive-race"], 20_000);
    assert_eq!(shown.findings.newest().len(), super::findings::OF_CAUSE_MAX + 1);
    let mut view = view(&board);
    press(&mut view, &[KeyCode::Char('G')]);
    let screen = seen(&mut view, LOOK, (80, 24));
    assert!(screen.iter().any(|line| line.contains("101 of 20 001, the newest of each cause")));
    assert!(screen.iter().filter(|line| line.contains("connect-refused")).count() >= 3);
}

#[test]
fn frames_of_several_interfaces_are_told_apart() {
    let mut finding = findings()[0].clone();
    finding.evidence[0].mark.frame = FrameId::new(1, 77);
    let interfaces = ["eth0".to_owned(), "eth1".to_owned()];
    let mut board = Board::new(String::new(), &interfaces, &Catalogue::built_in().unwrap());
    board.finding(&finding);
    let mut view = view(&board);
    press(&mut view, &[KeyCode::Enter]);
    let screen = seen(&mut view, LOOK, (100, 40)).join("\n");
    assert!(screen.contains("│ eth1:77 <== guilty"), "{screen}");
}

#[test]
fn texts_of_packets_cannot_drive_the_terminal() {
    let mut finding = findings()[0].clone();
    finding.summary = "a\u{1b}[31m\u{7}".into();
    if let Some(request) = finding.exchange.as_mut().and_then(|it| it.request.as_mut()) {
        request.head = b"GET /\x1b]0;x\x07 HTTP/1.1\r\n\r\n".to_vec();
    }
    let probers = Catalogue::built_in().unwrap();
    let mut board = Board::new("\u{1b}[2J".into(), &["\u{1b}[2J".to_owned()], &probers);
    board.finding(&finding);
    board.notice("\u{1b}[2Jdisk full".into());
    let mut view = view(&board);
    let mut screens = seen(&mut view, LOOK, (80, 24));
    press(&mut view, &[KeyCode::Enter]);
    screens.extend(seen(&mut view, LOOK, (200, 50)));
    let text = screens.join("\n");
    assert!(text.contains("disk full") && !text.contains(['\u{1b}', '\u{7}']), "{text}");
}

#[test]
fn what_is_lost_is_said() {
    let mut board = board(DEMO);
    board.standing(&Standing {
        now: Timestamp(0),
        packets: 9,
        kernel_drops: 12,
        interface_drops: 3,
        ..Standing::default()
    });
    let mut view = view(&board);
    for size in SIZES {
        let screen = seen(&mut view, LOOK, size).join("\n");
        assert!(screen.contains("12 packets dropped by the kernel"), "{screen}");
    }
}

#[test]
fn a_shared_board_survives_the_panic_of_who_feeds_it() {
    let shared = SharedBoard::new(board(DEMO));
    let other = shared.clone();
    let feeder = std::thread::spawn(move || {
        let _lock = other.lock();
        std::panic::resume_unwind(Box::new("feeder"));
    });
    assert!(feeder.join().is_err());
    assert_eq!(shared.lock().totals(), (13, 411));
}
