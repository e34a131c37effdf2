//! `why502 probers`: the known health checkers, how each looks and what it does by default.

use super::text::page::{Ink, Page};
use super::{Style, words};
use crate::probe::{Basis, Catalogue, Prober};
use crate::words::Phrase;
use crate::{phrase, word};
use serde::Serialize;
use std::io::{self, Write};

/// Schema of the list.
const SCHEMA: &str = "why502.probers/1";

/// Writes the list as text.
pub fn text(catalogue: &Catalogue, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let mut page = Page::new(*style, out);
    for prober in catalogue.probers() {
        let id = page.paint(Ink::Cause, &words::clean(&prober.id));
        page.line(&format!("{id}  {}", words::clean(&page.say(&*prober.name))))?;
        let mut facts: Vec<Phrase> = vec![prober.class.id().to_owned().into()];
        facts.extend(defaults(prober));
        page.paragraph("  ", Phrase::list(facts, ", "))?;
        if !prober.looks.is_empty() {
            page.paragraph("  ", words::clean(&page.say(&*prober.looks)))?;
        }
        if let Some(example) = &prober.example {
            for line in example.lines() {
                page.line(&format!("    {}", words::clean(line)))?;
            }
        }
        let sources: Vec<_> = prober.sources.iter().map(|source| words::clean(source)).collect();
        page.hanging(&format!("  {}: ", page.say(basis(prober.basis))), sources.join("; "))?;
        page.blank()?;
    }
    page.paragraph(
        "",
        word!("--probers FILE adds your own; its form is explained in probers.toml of the source."),
    )
}

/// What a prober does by default, in words.
fn defaults(prober: &Prober) -> Vec<Phrase> {
    let defaults = &prober.defaults;
    let mut facts = Vec::new();
    if prober.veto {
        facts.push(phrase!("no health check"));
    }
    if prober.tool {
        facts.push(phrase!("possible checks at most"));
    }
    if let Some(interval) = defaults.interval {
        facts.push(phrase!("every {interval} s", interval));
    }
    if let Some(timeout) = defaults.timeout {
        facts.push(phrase!("gives up after {timeout} s", timeout));
    }
    if let Some(rise) = defaults.rise {
        facts.push(phrase!("healthy after {rise}", rise));
    }
    if let Some(fall) = defaults.fall {
        facts.push(phrase!("unhealthy after {fall}", fall));
    }
    if let Some(ok) = &defaults.ok_http {
        facts.push(phrase!("passes with {ok}", ok));
    }
    if let Some(ok) = &defaults.ok_grpc {
        facts.push(phrase!("passes with gRPC status {ok}", ok));
    }
    if defaults.tcp {
        facts.push(phrase!("has TCP checks"));
    }
    if prober.fanout {
        facts.push(phrase!("from many sources"));
    }
    if prober.external {
        facts.push(phrase!("comes through the load balancer"));
    }
    facts
}

/// How well something is known, before the list of sources.
fn basis(basis: Basis) -> &'static str {
    match basis {
        Basis::Source => word!("from its code"),
        Basis::Docs => word!("from its documentation"),
        Basis::Lab => word!("captured"),
        Basis::Secondary => word!("second hand"),
        Basis::Unverified => word!("unverified"),
    }
}

#[derive(Serialize)]
struct List<'a> {
    schema: &'static str,
    probers: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    id: &'a str,
    name: &'a str,
    class: &'static str,
    basis: &'static str,
    looks: Option<&'a str>,
    example: Option<&'a str>,
    interval_s: Option<f64>,
    timeout_s: Option<f64>,
    rise: Option<u32>,
    fall: Option<u32>,
    timer: Option<&'static str>,
    connection: Option<&'static str>,
    close: Vec<&'static str>,
    ok_http: Option<&'a str>,
    warn_http: Option<&'a str>,
    ok_grpc: Option<&'a str>,
    tcp: bool,
    fanout: bool,
    external: bool,
    veto: bool,
    tool: bool,
    sources: Vec<&'a str>,
}

/// Writes the list as JSON, schema `why502.probers/1`.
pub fn json(catalogue: &Catalogue, out: &mut dyn Write) -> io::Result<()> {
    let probers = catalogue.probers().iter().map(|prober| entry(prober)).collect();
    serde_json::to_writer_pretty(&mut *out, &List { schema: SCHEMA, probers })?;
    out.write_all(b"\n")
}

fn entry(prober: &Prober) -> Entry<'_> {
    let defaults = &prober.defaults;
    Entry {
        id: &prober.id,
        name: &prober.name,
        class: prober.class.id(),
        basis: prober.basis.id(),
        looks: (!prober.looks.is_empty()).then_some(&*prober.looks),
        example: prober.example.as_deref(),
        interval_s: defaults.interval,
        timeout_s: defaults.timeout,
        rise: defaults.rise,
        fall: defaults.fall,
        timer: defaults.timer.map(|timer| timer.id()),
        connection: defaults.connection.map(|connection| connection.id()),
        close: defaults.close.iter().map(|close| close.id()).collect(),
        ok_http: defaults.ok_http.as_deref(),
        warn_http: defaults.warn_http.as_deref(),
        ok_grpc: defaults.ok_grpc.as_deref(),
        tcp: defaults.tcp,
        fanout: prober.fanout,
        external: prober.external,
        veto: prober.veto,
        tool: prober.tool,
        sources: prober.sources.iter().map(|source| &**source).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_tells_how_each_looks_and_where_it_is_known_from() {
        let catalogue = Catalogue::built_in().unwrap();
        let mut out = Vec::new();
        text(&catalogue, &Style { ascii: true, ..Style::default() }, &mut out).unwrap();
        let page = String::from_utf8(out).unwrap();
        assert!(page.contains("aws-alb  AWS Application Load Balancer"), "{page}");
        assert!(page.contains("every 30 s, gives up after 5 s"), "{page}");
        assert!(page.contains("    User-Agent: ELB-HealthChecker/2.0"), "{page}");
        assert!(page.contains("from its documentation: https://docs.aws.amazon.com/"), "{page}");
        let fits =
            |line: &str| line.len() <= 100 || line.contains("://") || line.starts_with("    ");
        assert!(page.lines().all(fits), "{page}");
    }

    #[test]
    fn the_json_list_holds_every_prober() {
        let catalogue = Catalogue::built_in().unwrap();
        let mut out = Vec::new();
        json(&catalogue, &mut out).unwrap();
        let list: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(list["schema"], SCHEMA);
        assert_eq!(list["probers"].as_array().map(Vec::len), Some(catalogue.probers().len()));
        let haproxy = list["probers"].as_array().unwrap().iter().find(|one| one["id"] == "haproxy");
        assert_eq!(haproxy.unwrap()["ok_http"], "200-399");
    }
}
