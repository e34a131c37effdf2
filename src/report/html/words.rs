//! Every fixed word of the page, those of its scripts included, in English; a
//! catalogue has them in other languages. Texts of causes, outcomes and verdicts come from where they are defined.
//!
//! `{}` marks where a script puts in a value.

use crate::report::words;
use crate::words::{Lang, Say, translate};
use serde::Serialize;
use std::borrow::Cow;

/// A table that can be had in every language.
trait InLang {
    fn in_lang(&self, lang: Lang) -> Self;
}

impl InLang for &'static str {
    fn in_lang(&self, lang: Lang) -> &'static str {
        match translate(lang, self) {
            Cow::Borrowed(text) => text,
            // The catalogue lends its texts.
            Cow::Owned(_) => self,
        }
    }
}

impl InLang for Lang {
    fn in_lang(&self, lang: Lang) -> Lang {
        lang
    }
}

impl<const N: usize> InLang for [(&'static str, &'static str); N] {
    fn in_lang(&self, lang: Lang) -> Self {
        self.map(|(key, what)| (key, what.in_lang(lang)))
    }
}

/// A table of words, each of which is said in the language that is asked for.
macro_rules! table {
    ($(#[$about:meta])* pub(super) struct $name:ident {
        $($(#[$field_about:meta])* $seen:vis $field:ident: $kind:ty,)*
    }) => {
        $(#[$about])*
        pub(super) struct $name {
            $($(#[$field_about])* $seen $field: $kind,)*
        }

        impl InLang for $name {
            fn in_lang(&self, lang: Lang) -> $name {
                $name { $($field: self.$field.in_lang(lang),)* }
            }
        }
    };
}

table! {
    /// The words of one language.
    pub(super) struct Words {
        /// The language.
        pub(super) lang: Lang,
        pub(super) title: &'static str,
        pub(super) skip: &'static str,
        pub(super) sections: &'static str,
        pub(super) theme: &'static str,
        pub(super) print: &'static str,
        pub(super) no_script: &'static str,
        // Figures under the answer.
        pub(super) requests: &'static str,
        pub(super) encrypted: &'static str,
        pub(super) failed_requests: &'static str,
        pub(super) failed_connections: &'static str,
        pub(super) not_decidable: &'static str,
        pub(super) health_checks: &'static str,
        pub(super) failed_checks: &'static str,
        pub(super) captured: &'static str,
        // Sections.
        pub(super) causes: &'static str,
        pub(super) over_time: &'static str,
        pub(super) details: &'static str,
        pub(super) findings: &'static str,
        pub(super) targets: &'static str,
        pub(super) quality: &'static str,
        pub(super) glossary: &'static str,
        // Causes.
        pub(super) nothing_failed: &'static str,
        pub(super) count: &'static str,
        pub(super) cause: &'static str,
        pub(super) confidence: &'static str,
        pub(super) responsible: &'static str,
        pub(super) fix: &'static str,
        pub(super) in_common: &'static str,
        pub(super) typical: &'static str,
        pub(super) the_case: &'static str,
        pub(super) in_log: &'static str,
        pub(super) not_seen: &'static str,
        pub(super) wireshark: &'static str,
        pub(super) copy: &'static str,
        pub(super) and_more: &'static str,
        pub(super) show_all: &'static str,
        pub(super) what_it_means: &'static str,
        // Plots.
        pub(super) idle_plot: &'static str,
        pub(super) outstanding_plot: &'static str,
        pub(super) per_target_plot: &'static str,
        pub(super) other_targets: &'static str,
        pub(super) longer: &'static str,
        pub(super) learned: &'static str,
        pub(super) over_time_help: &'static str,
        pub(super) over_time_keys: &'static str,
        pub(super) strip_help: &'static str,
        pub(super) learned_timeout: &'static str,
        // Findings.
        pub(super) search: &'static str,
        pub(super) search_hint: &'static str,
        pub(super) any_cause: &'static str,
        pub(super) any_target: &'static str,
        pub(super) any_confidence: &'static str,
        pub(super) any_kind: &'static str,
        pub(super) kind: &'static str,
        pub(super) target: &'static str,
        pub(super) clear: &'static str,
        pub(super) in_wireshark: &'static str,
        pub(super) previous: &'static str,
        pub(super) next: &'static str,
        pub(super) keys: [(&'static str, &'static str); 5],
        // Targets.
        pub(super) no_targets: &'static str,
        pub(super) missing: &'static str,
        pub(super) checked_by: &'static str,
        pub(super) outcomes: &'static str,
        pub(super) latency: &'static str,
        pub(super) settings: &'static str,
        pub(super) states: &'static str,
        pub(super) others: &'static str,
        pub(super) notes: &'static str,
        pub(super) triage: &'static str,
        pub(super) advice: &'static str,
        pub(super) checks: &'static str,
        pub(super) more_targets: &'static str,
        pub(super) left_out: &'static str,
        // What could not be seen.
        pub(super) all_seen: &'static str,
        pub(super) files: &'static str,
        pub(super) file: &'static str,
        pub(super) format: &'static str,
        pub(super) packets: &'static str,
        pub(super) first_packet: &'static str,
        pub(super) length: &'static str,
        pub(super) limits: &'static str,
        pub(super) limits_text: &'static str,
        // Glossary.
        pub(super) what_happens: &'static str,
        pub(super) how_it_shows: &'static str,
        pub(super) who_acts: &'static str,
        pub(super) typical_status: &'static str,
        pub(super) confirm: &'static str,
        pub(super) fixes: &'static str,
        pub(super) references: &'static str,
        pub(super) terms: &'static str,
        pub(super) written_by: &'static str,
        /// For the scripts.
        pub(super) script: Script,
    }
}

table! {
    /// Words that scripts put into the page.
    #[derive(Clone, Copy, Serialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct Script {
        of_findings: &'static str,
        all_findings: &'static str,
        none_fit: &'static str,
        page: &'static str,
        between: &'static str,
        time: &'static str,
        frame: &'static str,
        flow: &'static str,
        stream: &'static str,
        no_stream: &'static str,
        captured: &'static str,
        request: &'static str,
        ordinal: &'static str,
        host: &'static str,
        trace: &'static str,
        status: &'static str,
        outstanding: &'static str,
        idle: &'static str,
        responsible: &'static str,
        confidence: &'static str,
        filter: &'static str,
        copy: &'static str,
        copied: &'static str,
        not_seen: &'static str,
        proof: &'static str,
        client: &'static str,
        server: &'static str,
        balancer: &'static str,
        target: &'static str,
        request_became: &'static str,
        guilty: &'static str,
        after: &'static str,
        ladder: &'static str,
        waiting: &'static str,
        idle_for: &'static str,
        start_not_seen: &'static str,
        end_not_seen: &'static str,
        taken_here: &'static str,
        frames_of: &'static str,
        packets_left_out: &'static str,
        without_packets: &'static str,
        everything: &'static str,
        no_failure: &'static str,
        failed_check: &'static str,
        others: &'static str,
        per: &'static str,
        strip: &'static str,
        checks: &'static str,
        check_counts: &'static str,
        state_since: &'static str,
        outcome: &'static str,
        source: &'static str,
        note: &'static str,
        latency: &'static str,
        newer: &'static str,
        more_strips: &'static str,
        light: &'static str,
        dark: &'static str,
        connection: &'static str,
        broken: &'static str,
    }
}

impl Words {
    /// The words of that language.
    pub(super) fn new(lang: Lang) -> Words {
        EN.in_lang(lang)
    }

    /// A text in the language of the page, without signs that a page must not have.
    pub(super) fn say(&self, text: impl Say) -> String {
        words::clean(&text.say(self.lang))
    }

    /// The same as the beginning of a sentence.
    pub(super) fn sentence(&self, text: impl Say) -> String {
        words::clean(&words::sentence(text, self.lang))
    }

    /// What ends a sentence.
    pub(super) fn stop(&self) -> &'static str {
        if self.lang == Lang::Ja { "。" } else { "." }
    }
}

/// English.
pub(super) static EN: Words = Words {
    lang: Lang::En,
    title: "Why requests failed",
    skip: "Skip to the answer",
    sections: "Sections",
    theme: "Light or dark",
    print: "Print",
    no_script: "Scripts are off: the list of findings, the packet diagrams and the timeline need them. All else is here.",
    requests: "Requests",
    encrypted: "Of these encrypted",
    failed_requests: "Failed requests",
    failed_connections: "Failed connections",
    not_decidable: "Not decidable",
    health_checks: "Health checks",
    failed_checks: "Failed checks",
    captured: "Captured",
    causes: "Causes",
    over_time: "Over time",
    details: "Cause by cause",
    findings: "Findings",
    targets: "Targets",
    quality: "What could not be seen",
    glossary: "Glossary",
    nothing_failed: "Nothing failed that the packets show.",
    count: "Count",
    cause: "Cause",
    confidence: "Confidence",
    responsible: "Who has to act",
    fix: "What to change",
    in_common: "In common",
    typical: "Typical case",
    the_case: "The case",
    in_log: "In the log",
    not_seen: "Not seen",
    wireshark: "Wireshark",
    copy: "Copy",
    and_more: "more",
    show_all: "Show in the list",
    what_it_means: "What it means",
    idle_plot: "Idle time until the connection was closed",
    outstanding_plot: "Time without an answer",
    per_target_plot: "Failures per target",
    other_targets: "other targets",
    longer: "longer",
    learned: "median",
    over_time_help: "Drag over the chart to look closer; the list of findings follows. Double-click shows everything again.",
    over_time_keys: "With the keyboard: + and − zoom, ← and → move, 0 shows everything.",
    strip_help: "Health checks: short green ticks passed, tall red ones failed; the line below them is the state of the target.",
    learned_timeout: "learned time-out",
    search: "Search",
    search_hint: "path, address, host, frame …",
    any_cause: "Any cause",
    any_target: "Any target",
    any_confidence: "Any confidence",
    any_kind: "Anything that failed",
    kind: "What failed",
    target: "Target",
    clear: "Clear",
    in_wireshark: "The packets of these findings alone, with a comment on each, and how to open them in Wireshark:",
    previous: "Previous",
    next: "Next",
    keys: [
        ("/", "search"),
        ("j k", "next, previous finding"),
        ("Enter", "open, close"),
        ("] [", "next, previous page"),
        ("Esc", "clear the filters"),
    ],
    no_targets: "No health checks in this capture. To be told that they are missing, name the targets with --expect-target.",
    missing: "Missing",
    checked_by: "Checked by",
    outcomes: "Outcomes",
    latency: "Latency",
    settings: "Settings",
    states: "States",
    others: "Other traffic",
    notes: "Notes",
    triage: "Triage",
    advice: "Advice",
    checks: "Checks one by one",
    more_targets: "Other targets",
    left_out: "are left out here; --format json has them",
    all_seen: "Nothing that limits a verdict.",
    files: "What was read",
    file: "File",
    format: "Format",
    packets: "Packets",
    first_packet: "First packet (UTC)",
    length: "Length",
    limits: "Bounds of this page",
    limits_text: "To stay small enough for a browser, the page holds at most 100 000 findings, the packets and headers of as many of them as fit into 40 MB, and the newest 32 768 health checks; texts from packets are cut after 300 characters. What does not fit is counted here.",
    what_happens: "What happens",
    how_it_shows: "How it shows",
    who_acts: "Who has to act",
    typical_status: "An AWS Application Load Balancer typically answers",
    confirm: "How to make sure",
    fixes: "How to fix it",
    references: "References",
    terms: "Terms",
    written_by: "Written by",
    script: Script {
        of_findings: "{} of {} findings",
        all_findings: "{} findings",
        none_fit: "No finding fits these filters.",
        page: "Page {} of {}",
        between: "between {} and {}",
        time: "Time (UTC)",
        frame: "frame {}",
        flow: "flow {}",
        stream: "tcp.stream {}",
        no_stream: "no tcp.stream",
        captured: "captured {}",
        request: "Request",
        ordinal: "request {} of its connection",
        host: "Host",
        trace: "Trace id",
        status: "Status",
        outstanding: "Request to guilty packet",
        idle: "Idle before",
        responsible: "Who has to act",
        confidence: "Confidence",
        filter: "Wireshark",
        copy: "Copy",
        copied: "Copied",
        not_seen: "Not seen",
        proof: "Proof",
        client: "client",
        server: "server",
        balancer: "load balancer",
        target: "target",
        request_became: "The request",
        guilty: "guilty",
        after: "after {}",
        ladder: "Packets between client {} and server {}, from top to bottom",
        waiting: "outstanding {}",
        idle_for: "idle for {}",
        start_not_seen: "the start is not in the capture",
        end_not_seen: "the capture ends here",
        taken_here: "captured here",
        frames_of: "frame numbers of {}",
        packets_left_out: "The packets of this finding are left out to keep the page small; --format json has them.",
        without_packets: "{} findings are listed without their packets.",
        everything: "Show everything",
        no_failure: "requests without failure",
        failed_check: "{} (checks)",
        others: "other causes",
        per: "Per {}",
        strip: "{}: {}",
        checks: "checks",
        check_counts: "{}: {} passed, {} failed, {} neither",
        state_since: "{} since {}",
        outcome: "Outcome",
        source: "From",
        note: "Note",
        latency: "Latency",
        newer: "The newest {} of {}.",
        more_strips: "{} more targets below, without a strip here.",
        light: "Light",
        dark: "Dark",
        connection: "Connection",
        broken: "This part could not be drawn: {}",
    },
};
