//! Captures at both ends of the same connections: what one end cannot decide, both together do.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use support::MS;
use support::lab::{expected, runs, shipped};
use support::wire::Wire;
use why502::capture::Timeline;
use why502::cause::{Confidence, Finding};
use why502::packet::{Decoder, DecoderOptions, Endpoint, Flags, Packet, Segment};
use why502::report::Report;
use why502::run::{Patient, Settings, analyse};
use why502::words::Lang;

fn both(capture: &Path, beside: &Path) -> Report {
    let settings = Settings { beside: vec![beside.to_owned()], ..Settings::default() };
    analyse(&[capture.to_owned()], &settings, &mut Patient).unwrap()
}

/// A copy of a capture (pcap, microseconds, of this byte order) with a clock that is `seconds` behind.
fn shifted(capture: &Path, seconds: u32) -> PathBuf {
    shifted_from(capture, seconds, 0.0)
}

/// The same from a part of its bytes on.
fn shifted_from(capture: &Path, seconds: u32, part: f64) -> PathBuf {
    let mut bytes = std::fs::read(capture).unwrap();
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!(word(&bytes, 0), 0xa1b2_c3d4, "{}", capture.display());
    let mut at = 24;
    while at < bytes.len() {
        let behind = if at as f64 >= bytes.len() as f64 * part { seconds } else { 0 };
        let time = word(&bytes, at) - behind;
        bytes[at..at + 4].copy_from_slice(&time.to_le_bytes());
        at += 16 + word(&bytes, at + 8) as usize;
    }
    let name = capture.file_name().unwrap().to_string_lossy().into_owned();
    let path = std::env::temp_dir().join(format!("why502-{}-{seconds}-{name}", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    path
}

/// The causes of connections that failed, at the load balancer with the target's capture beside it.
fn connections(report: &Report) -> Vec<(&'static str, Confidence)> {
    let found = report.findings.iter().filter(|finding| finding.exchange.is_none());
    found.map(|finding| (finding.cause.id, finding.confidence)).collect()
}

#[test]
fn a_connection_timeout_is_split_into_path_host_and_return() {
    for (folder, id) in [
        // Nothing at all came to the target: it may not have been captured.
        ("connect-timeout", ("connect-timeout-path", Confidence::Likely)),
        ("connect-timeout-host", ("connect-timeout-host", Confidence::Certain)),
        ("return-path-blocked", ("return-path-blocked", Confidence::Certain)),
    ] {
        let mut split = 0;
        for run in runs(&shipped().join(folder)) {
            for seconds in [0, 7] {
                let beside = shifted(&run.target, seconds);
                let report = both(&run.lb, &beside);
                std::fs::remove_file(&beside).unwrap();
                for found in connections(&report) {
                    assert_eq!(found, id, "{}", run.name);
                    split += 1;
                }
            }
        }
        assert!(split > 0, "{folder}");
    }
}

#[test]
fn a_reset_that_nobody_sent_is_proved() {
    let mut proved = 0;
    for run in runs(&shipped().join("injected-reset")) {
        let report = both(&run.lb, &run.target);
        let wanted = run
            .requests()
            .filter(|it| expected(&it["cause"], "lb").iter().any(|id| id == "injected-reset"));
        let found = report.findings.iter().filter(|finding| finding.cause.id == "injected-reset");
        let certain = found.filter(|finding| finding.confidence == Confidence::Certain).count();
        assert_eq!(certain, wanted.count(), "{}: {:?}", run.name, report.summary.by_cause);
        proved += certain;
    }
    assert!(proved > 0);
}

#[test]
fn a_reset_for_what_never_got_to_the_host_that_was_captured_is_not_proved() {
    let mut doubted = 0;
    for run in runs(&shipped().join("injected-reset")) {
        let asks = |it: &Segment<'_>| it.payload.starts_with(b"GET ");
        let target = only(&run.target, |it| !asks(it));
        for report in [both(&run.lb, &target), both(&target, &run.lb)] {
            for finding in report.findings.iter().filter(|it| it.cause.id == "injected-reset") {
                assert_ne!(finding.confidence, Confidence::Certain, "{}", finding.summary);
                doubted += 1;
            }
        }
        std::fs::remove_file(&target).unwrap();
    }
    assert!(doubted > 0);
}

#[test]
fn a_reset_that_was_sent_stays_what_it_is() {
    for run in runs(&shipped().join("target-rst-no-response")) {
        let report = both(&run.lb, &run.target);
        assert!(
            report.findings.iter().all(|finding| finding.cause.id != "injected-reset"),
            "{}",
            run.name
        );
        assert!(report.correlations.iter().any(|it| !it.other_vantage.is_empty()), "{}", run.name);
    }
}

/// What is told of each failure, wherever its frames are.
fn told(report: &Report) -> BTreeSet<String> {
    let guilty = |finding: &Finding| {
        let mark = finding.evidence.first().unwrap().mark.frame;
        format!("{}:{}", report.captures[mark.file() as usize].path, mark.number())
    };
    let one = |it: &Finding| {
        let kind = it.kind.id();
        format!("{} {kind} {:?} {} {}", it.cause.id, it.confidence, it.client.addr(), guilty(it))
    };
    report.findings.iter().map(one).collect()
}

/// Which file is which place follows from the packets: named in the other order, the same is told, by
/// the frames of the same file.
#[test]
fn the_order_of_the_files_does_not_matter() {
    let mut unseen = 0;
    for folder in [
        "return-path-blocked",
        "connect-timeout-host",
        "connect-timeout",
        "request-unacked",
        "injected-reset",
        "response-timeout",
        "keepalive-race",
        "healthy",
    ] {
        for run in runs(&shipped().join(folder)) {
            let (one, other) = (both(&run.lb, &run.target), both(&run.target, &run.lb));
            assert_eq!(told(&one), told(&other), "{}", run.name);
            let counts = |report: &Report| {
                let it = &report.summary;
                (it.flows, it.exchanges, it.failed_requests, it.failed_connections)
            };
            assert_eq!(counts(&one), counts(&other), "{}", run.name);
            let alone =
                analyse(std::slice::from_ref(&run.target), &Settings::default(), &mut Patient);
            unseen += one.findings.len().saturating_sub(alone.unwrap().findings.len());
        }
    }
    assert!(unseen > 0, "there are failures that never got to the target");
}

/// Frames of a capture as they are, as far as `keep` wants them.
fn only(capture: &Path, keep: impl Fn(&Segment<'_>) -> bool) -> PathBuf {
    let bytes = std::fs::read(capture).unwrap();
    let mut timeline = Timeline::open(&[capture]).unwrap();
    let mut decoder = Decoder::new(DecoderOptions::default());
    let (mut out, mut at) = (bytes[..24].to_vec(), 24);
    while let Some(frame) = timeline.next_frame().unwrap() {
        let length = 16 + frame.bytes.len();
        if matches!(decoder.decode(&frame), Packet::Tcp(segment) if keep(&segment)) {
            out.extend(&bytes[at..at + length]);
        }
        at += length;
    }
    let name = capture.file_name().unwrap().to_string_lossy().into_owned();
    let path = std::env::temp_dir().join(format!("why502-{}-only-{name}", std::process::id()));
    std::fs::write(&path, out).unwrap();
    path
}

/// Connections that the target refused, but for some of which its capture shows neither SYN nor RST:
/// these were refused on the path.
#[test]
fn a_refusal_that_the_target_does_not_show_is_nobody_elses_than_the_paths() {
    let (mut forged, mut real, mut doubted) = (0, 0, 0);
    for run in runs(&shipped().join("connect-refused")) {
        let alone =
            analyse(std::slice::from_ref(&run.lb), &Settings::default(), &mut Patient).unwrap();
        let refused = |it: &&Finding| it.cause.id == "connect-refused";
        let clients: BTreeSet<Endpoint> =
            alone.findings.iter().filter(refused).map(|it| it.client).collect();
        let dropped: BTreeSet<Endpoint> = clients.iter().copied().skip(1).step_by(2).collect();
        let hidden = |it: &Segment<'_>| dropped.contains(&it.src) || dropped.contains(&it.dst);
        let target = only(&run.target, |it| !hidden(it));
        for report in [both(&run.lb, &target), both(&target, &run.lb)] {
            for finding in report.findings.iter().filter(|it| clients.contains(&it.client)) {
                match (finding.cause.id, dropped.contains(&finding.client)) {
                    ("injected-reset", true) => {
                        // Another host with that address may have refused it.
                        assert_ne!(finding.confidence, Confidence::Certain, "{}", run.name);
                        forged += 1;
                    }
                    ("connect-refused", true) => {
                        // It may not have been captured.
                        assert_ne!(finding.confidence, Confidence::Certain, "{}", run.name);
                        doubted += 1;
                    }
                    (id, hidden) => {
                        assert_eq!((id, hidden), ("connect-refused", false), "{}", run.name);
                        assert_eq!(finding.confidence, Confidence::Certain, "{}", run.name);
                        real += 1;
                    }
                }
            }
        }
        std::fs::remove_file(&target).unwrap();
    }
    // The last one is after all that the other capture shows.
    assert!(forged > 0 && real > 0 && doubted > 0, "{forged} {doubted} {real}");
}

fn is_odd(client: Endpoint, server: Endpoint) -> bool {
    // Linux prefers even ports for connections.
    client.port.max(server.port) / 2 % 2 == 1
}

/// Of two nodes of a load balancer only one was captured: what the other one met is told by the target's
/// capture, once, and counted.
#[test]
fn what_only_one_place_shows_is_told_with_its_name() {
    let mut added = 0;
    for folder in [
        "target-rst-no-response",
        "target-own-5xx",
        "request-unacked",
        "keepalive-race",
        "target-fin-no-response",
    ] {
        for run in runs(&shipped().join(folder)) {
            let half = only(&run.lb, |it| !is_odd(it.src, it.dst));
            let alone = |path: &PathBuf| {
                analyse(std::slice::from_ref(path), &Settings::default(), &mut Patient).unwrap()
            };
            let (part, target) = (alone(&half), alone(&run.target));
            for report in [both(&half, &run.target), both(&run.target, &half)] {
                if said(&report, "nothing was compared") {
                    // All was the other node's.
                    assert_eq!(report.findings.len(), target.findings.len(), "{}", run.name);
                    continue;
                }
                let seen_only = |it: &&Finding| it.summary.contains("(seen only in");
                let merged: Vec<&Finding> = report.findings.iter().filter(seen_only).collect();
                let odd = |it: &&Finding| is_odd(it.client, it.server);
                let wanted = target.findings.iter().filter(odd).count();
                assert_eq!(merged.len(), wanted, "{}: {:?}", run.name, report.warnings);
                assert!(merged.iter().all(odd), "{}", run.name);
                assert_eq!(report.findings.len(), part.findings.len() + wanted, "{}", run.name);
                assert!(report.summary.exchanges >= target.summary.exchanges, "{}", run.name);
                let flows: BTreeSet<u64> = report.findings.iter().map(|it| it.flow).collect();
                let those: BTreeSet<u64> = merged.iter().map(|it| it.flow).collect();
                assert_eq!(flows.len() - those.len(), flows.difference(&those).count());
                for finding in merged {
                    let file = finding.evidence[0].mark.frame.file() as usize;
                    let path = &report.captures[file].path;
                    assert_eq!(Path::new(path), run.target, "{}", run.name);
                    assert!(finding.summary.ends_with(&format!("(seen only in {path})")));
                    added += 1;
                }
            }
            std::fs::remove_file(&half).unwrap();
        }
    }
    assert!(added > 10, "{added}");
}

fn said(report: &Report, part: &str) -> bool {
    report.warnings.iter().any(|it| it.contains(part))
}

/// A clock that is wrong is compared all the same and said; one that jumps is not compared.
#[test]
fn a_damaged_clock_is_said() {
    for run in runs(&shipped().join("connect-timeout-host")) {
        let (plain, months) = (both(&run.lb, &run.target), shifted(&run.target, 83 * 86_400));
        let report = both(&run.lb, &months);
        std::fs::remove_file(&months).unwrap();
        assert_eq!(connections(&report), connections(&plain), "{}", run.name);
        if said(&report, "nothing was compared") {
            continue;
        }
        assert!(said(&report, "one of the two is wrong"), "{:?}", report.warnings);
        assert!(!said(&plain, "one of the two is wrong"));
        for warning in &report.warnings {
            assert!(warning.in_lang(Lang::Ja).contains("キャプチャ"), "{warning}");
        }
    }
    let run = runs(&shipped().join("target-rst-no-response")).into_iter().next().unwrap();
    let half = shifted_from(&run.target, 83 * 86_400, 0.5);
    let report = both(&run.lb, &half);
    std::fs::remove_file(&half).unwrap();
    assert!(said(&report, "jump"), "{:?}", report.warnings);
    assert!(report.findings.iter().all(|it| it.cause.id != "injected-reset"));
}

/// The packets of one interface of a capture of all (`LINUX_SLL2`), as if only that one had been
/// captured, without which way they went.
fn interface(capture: &Path, wanted: u32) -> PathBuf {
    let mut timeline = Timeline::open(&[capture]).unwrap();
    // Nanoseconds, raw IP.
    let mut out: Vec<u8> = [0xa1b2_3c4d, 0x0004_0002, 0, 0, 262_144, 101_u32]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    while let Some(frame) = timeline.next_frame().unwrap() {
        assert_eq!(frame.link.0, 276);
        if u32::from_be_bytes(frame.bytes[4..8].try_into().unwrap()) != wanted {
            continue;
        }
        let packet = &frame.bytes[20..];
        let (at, length) = (frame.mark.at.0 as u64, packet.len() as u32);
        let time = [at / 1_000_000_000, at % 1_000_000_000].map(|part| part as u32);
        for word in [time[0], time[1], length, frame.wire_len - 20] {
            out.extend(word.to_le_bytes());
        }
        out.extend(packet);
    }
    let name = capture.file_name().unwrap().to_string_lossy().into_owned();
    let name = format!("why502-{}-{wanted}-{}", std::process::id(), name.replace(".gz", ""));
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, out).unwrap();
    path
}

/// A proxy's interfaces, captured to a file each: both legs are tied as in a capture of all.
#[test]
fn a_file_for_each_interface_of_a_proxy_is_one_host() {
    let mut told = 0;
    for proxy in ["nginx", "haproxy", "apache", "envoy"] {
        let all = shipped().join(format!("both-legs/{proxy}-two-armed-proxy.pcap.gz"));
        let mut timeline = Timeline::open(&[&all]).unwrap();
        let mut interfaces = BTreeSet::new();
        while let Some(frame) = timeline.next_frame().unwrap() {
            interfaces.insert(u32::from_be_bytes(frame.bytes[4..8].try_into().unwrap()));
        }
        let files: Vec<PathBuf> = interfaces.iter().map(|it| interface(&all, *it)).collect();
        let report = |files: &[PathBuf]| analyse(files, &Settings::default(), &mut Patient);
        let (apart, whole) = (report(&files).unwrap(), report(std::slice::from_ref(&all)).unwrap());
        files.iter().for_each(|file| std::fs::remove_file(file).unwrap());
        assert!(said(&apart, "addresses of one proxy"), "{proxy}: {:?}", apart.warnings);
        assert_eq!(apart.summary.by_cause, whole.summary.by_cause, "{proxy}");
        assert_eq!(apart.summary.back_exchanges, whole.summary.back_exchanges, "{proxy}");
        told += apart.correlations.len();
    }
    assert!(told > 100, "{told}");
}

/// Two places of the same connections, named as one set, and two that have nothing to do with each
/// other, are not taken for one host.
#[test]
fn two_files_of_other_hosts_are_no_proxy() {
    for folder in ["healthy", "target-own-5xx", "keepalive-race"] {
        let runs = runs(&shipped().join(folder));
        for pair in runs.windows(2) {
            for files in [[&pair[0].lb, &pair[0].target], [&pair[0].lb, &pair[1].lb]] {
                let files = files.map(PathBuf::clone);
                let report = analyse(&files, &Settings::default(), &mut Patient).unwrap();
                assert!(!said(&report, "one proxy"), "{files:?}: {:?}", report.warnings);
            }
        }
    }
}

/// A request that was never acknowledged: on which way it was lost, with a frame of each place.
#[test]
fn lost_segments_are_told_with_frames_of_both_places() {
    let mut told = 0;
    for run in runs(&shipped().join("request-unacked")) {
        let report = both(&run.lb, &run.target);
        for finding in report.findings.iter().filter(|it| it.cause.id == "request-unacked") {
            let files: Vec<u32> = finding.evidence.iter().map(|it| it.mark.frame.file()).collect();
            assert!(files.contains(&0) && files.contains(&1), "{}: {files:?}", run.name);
            let notes: Vec<String> =
                finding.evidence.iter().map(|it| it.note.to_string()).collect();
            assert!(
                notes.iter().any(|it| it.contains("lost on the way to the target")),
                "{notes:?}"
            );
            assert_eq!(finding.confidence, Confidence::Certain, "{}", run.name);
            assert!(finding.summary.to_string().contains("lost between the two capture points"));
            told += 1;
        }
    }
    assert!(told > 4, "{told}");
}

/// Large segments that a smaller MTU on the path swallows are missing at the other side, and only
/// these.
#[test]
fn segments_that_the_path_swallowed_are_missing_at_the_other_side() {
    let mut told = 0;
    for run in runs(&shipped().join("mtu-blackhole")) {
        for (here, beside) in [(&run.lb, &run.target), (&run.target, &run.lb)] {
            let report = both(here, beside);
            for finding in report.findings.iter().filter(|it| it.cause.id == "mtu-blackhole") {
                let lost = |it: &why502::cause::Evidence| {
                    it.note.to_string().contains(": lost on the way")
                };
                assert!(finding.evidence.iter().any(lost), "{}: {:?}", run.name, finding.evidence);
                told += 1;
            }
        }
    }
    assert!(told > 4, "{told}");
}

/// What arrived was not lost, whatever network cards make of packets.
#[test]
fn of_requests_that_failed_otherwise_nothing_was_lost() {
    for folder in
        ["target-fin-no-response", "target-rst-no-response", "response-timeout", "target-own-5xx"]
    {
        for run in runs(&shipped().join(folder)) {
            let report = both(&run.lb, &run.target);
            for finding in &report.findings {
                let lost = finding
                    .evidence
                    .iter()
                    .find(|it| it.note.to_string().contains("lost on the way"));
                assert!(lost.is_none(), "{}: {lost:?}", run.name);
            }
        }
    }
}

/// A capture in which no RST of the target's came: the load balancer waits for two seconds and resets.
fn without_resets(capture: &Path) -> PathBuf {
    let mut frames = support::capture::read(capture);
    let ttl = frames.iter().find(|it| it.sent_by_balancer()).unwrap().ip()[8];
    for frame in &mut frames {
        let Some(tcp) = frame.tcp().filter(|it| it.flags & 0x04 != 0) else { continue };
        if frame.sent_by_balancer() {
            continue;
        }
        // Turned round, so that the checksum of TCP stays right.
        let ip = frame.bytes.len() - frame.ip().len();
        frame.bytes[ip + 8] = ttl;
        let ports = ip + 20;
        assert_eq!(tcp.payload_len, 0);
        let swaps = [(ip + 12, ip + 16, 4), (ports, ports + 2, 2), (ports + 4, ports + 8, 4)];
        for (one, other, length) in swaps {
            (0..length).for_each(|n| frame.bytes.swap(one + n, other + n));
        }
        frame.at += 2_000_000_000;
    }
    frames.sort_by_key(|frame| frame.at);
    let name = capture.file_name().unwrap().to_string_lossy().into_owned();
    let path = std::env::temp_dir().join(format!("why502-{}-lost-{name}", std::process::id()));
    std::fs::write(&path, support::capture::plain(&frames)).unwrap();
    path
}

/// A RST of the target's that was lost on its way: the load balancer waits in vain, and the target's capture
/// tells why.
#[test]
fn a_close_that_was_lost_on_the_way_is_told_by_the_targets_capture() {
    let mut told = 0;
    for run in runs(&shipped().join("target-rst-no-response")) {
        let alone = |path: &PathBuf| {
            analyse(std::slice::from_ref(path), &Settings::default(), &mut Patient).unwrap()
        };
        let (wanted, lb) = (alone(&run.target).findings.len(), without_resets(&run.lb));
        let of_rst = |it: &&Finding| it.cause.id == "target-rst-no-response";
        assert_eq!(alone(&lb).findings.iter().filter(of_rst).count(), 0, "{}", run.name);
        for seconds in [0, 7] {
            let target = shifted(&run.target, seconds);
            let report = both(&lb, &target);
            let found: Vec<&Finding> = report.findings.iter().filter(of_rst).collect();
            assert_eq!(found.len(), wanted, "{}: {:?}", run.name, report.summary.by_cause);
            for finding in found {
                assert!(finding.summary.contains("never came here"), "{}", finding.summary);
                assert_eq!(finding.confidence, Confidence::Certain, "{}", run.name);
                assert_eq!(finding.evidence[0].mark.frame.file(), 1, "{}", run.name);
                let times = finding.evidence.iter().map(|it| it.mark.at);
                let apart = times.clone().max().unwrap().nanos_since(times.min().unwrap());
                assert!(apart < 5_000_000_000, "{}: by one clock", run.name);
                told += 1;
            }
            std::fs::remove_file(&target).unwrap();
        }
        std::fs::remove_file(&lb).unwrap();
    }
    assert!(told > 4, "{told}");
}

const PAGE: &str = "HTTP/1.1 502 Bad Gateway\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n";

/// A proxy behind a proxy, on a host of its own: what was captured at the first one, and at the other, which has
/// a clock that is `ahead` milliseconds ahead.
fn chain(ahead: i64) -> [PathBuf; 2] {
    let (user, inner, target) = ([10, 0, 1, 9], ([10, 0, 2, 1], 8200), ([10, 0, 3, 20], 9000));
    let asks = "GET /a HTTP/1.1\r\nHost: shop\r\nX-Request-Id: 5d2b0d3c\r\n\r\n";
    let between = |wire: &mut Wire, at: i64| {
        let it = wire.connect(at, [10, 0, 1, 254], inner).open();
        it.say(0, asks).wait(12).say(1, PAGE).close().end();
    };
    let (mut first, mut second) = (Wire::default(), Wire::default());
    first.connect(0, user, ([10, 0, 1, 254], 80)).open().say(0, asks).wait(20).say(1, PAGE).end();
    between(&mut first, 3);
    // So that ports are alike.
    second.alive(ahead);
    between(&mut second, ahead + 3);
    let failed = second.connect(ahead + 6, inner.0, target).open().say(0, asks).wait(3);
    failed.flags(1, Flags::RST | Flags::ACK).end();
    [("outer", first), ("inner", second)].map(|(name, wire)| {
        let name = format!("why502-{}-chain-{ahead}-{name}.pcap", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, wire.pcap()).unwrap();
        path
    })
}

/// What failed behind the inner proxy is why the outer one got an error: one failed request, whose cause the
/// inner proxy's capture shows and whose client the outer one's.
#[test]
fn a_proxy_behind_a_proxy_fails_no_second_request() {
    for ahead in [0, 70_000] {
        let [outer, inner] = chain(ahead);
        let (one, other) = (both(&outer, &inner), both(&inner, &outer));
        for report in [&one, &other] {
            let summary = &report.summary;
            assert_eq!((summary.failed_requests, summary.failed_attempts), (1, 0), "{ahead}");
        }
        assert_eq!(one.summary.exchanges - one.summary.back_exchanges, 1, "{ahead}");
        let [finding] = &one.findings[..] else { panic!("{:?}", one.findings) };
        assert_eq!(finding.cause.id, "target-rst-no-response");
        let joined = finding.joined.as_ref().unwrap();
        assert_eq!(joined.front.server.addr().to_string(), "10.0.1.254");
        let asked = finding.exchange.as_ref().unwrap().request.as_ref().unwrap().first.at;
        assert!((0..20 * MS).contains(&asked.nanos_since(joined.front.asked.at)), "{ahead}");
        [outer, inner].iter().for_each(|file| std::fs::remove_file(file).unwrap());
    }
}
