//! The `html` format: one file that needs nothing else, for a browser, for print and for people who
//! never saw a packet.
//!
//! What fits on a page is written as HTML here; what is long or moves (findings, packets, checks,
//! the timeline) is a block of JSON that the scripts in `assets/` list and draw. Whatever comes
//! from packets is escaped by the template engine or by [`escape`], and the page's policy lets
//! nothing run or load but what is written here ([`policy`]).

mod causes;
mod data;
mod escape;
mod glossary;
mod histogram;
mod page;
mod policy;
mod quality;
mod series;
mod targets;
mod text;
mod words;

use super::text::groups;
use super::text::names::Names;
use super::{Format, Report, Style};
use crate::health::Target;
use std::io::{self, Write};

pub(super) const FORMAT: Format = Format {
    name: "html",
    about: "one page for a browser: charts, packet diagrams, filters; use -o FILE",
    lists_flows: false,
    stream: None,
    write,
};

fn write(report: &Report, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let words = &words::Words::new(style.lang);
    let groups = groups(report);
    let names = Names::new(&report.captures);
    let mut order: Vec<&Target> = report.health.targets.iter().collect();
    order.sort_by_key(|target| super::text::targets::rank(target));

    out.write_all(page::head(report, &groups, words).into_string().as_bytes())?;
    let body = page::body(report, &groups, &order, &names, words);
    out.write_all(body.into_string().as_bytes())?;
    out.write_all(b"<script type=\"application/json\" id=\"data\">")?;
    data::write(report, &groups, &order, &names, words, data::PACKETS_BYTES_MAX, out)?;
    out.write_all(b"</script>\n")?;
    for script in policy::SCRIPTS {
        writeln!(out, "<script>{script}</script>")?;
    }
    out.write_all(b"</body>\n</html>\n")
}

#[cfg(test)]
mod tests;
