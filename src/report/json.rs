//! The `json` format: one object, one record per line, written as it is converted.

pub(super) mod spill;
pub(super) mod stream;

use super::model::Document;
use super::{Format, Report, Style};
use serde::Serialize;
use serde_json::ser::Formatter;
use std::io::{self, Write};

/// Name and version of the contract.
pub const SCHEMA: &str = "why502.report/1";
/// JSON Schema of the `json` format.
pub const REPORT_SCHEMA: &str = include_str!("schema/why502.report.1.schema.json");
/// JSON Schema of one line of the `ndjson` format.
pub const RECORD_SCHEMA: &str = include_str!("schema/why502.record.1.schema.json");

pub(super) const FORMAT: Format = Format {
    name: "json",
    about: "one JSON object; `why502 schema` prints its JSON Schema",
    lists_flows: true,
    stream: Some(stream::start),
    write,
};

fn write(report: &Report, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let document = Document::new(report, style.all);
    document.serialize(&mut serde_json::Serializer::with_formatter(&mut *out, Lines::default()))?;
    out.write_all(b"\n")
}

/// Breaks lines between the members of the outermost object and between the items of its arrays,
/// so that `grep` and `diff` see one record per line.
#[derive(Default)]
struct Lines {
    depth: usize,
    /// The array at depth 2 has an item.
    items: bool,
}

impl Formatter for Lines {
    fn begin_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.depth += 1;
        out.write_all(b"{")
    }

    fn end_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.depth -= 1;
        out.write_all(if self.depth == 0 { b"\n}" } else { b"}" })
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if !first {
            out.write_all(b",")?;
        }
        if self.depth == 1 { out.write_all(b"\n") } else { Ok(()) }
    }

    fn begin_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.depth += 1;
        if self.depth == 2 {
            self.items = false;
        }
        out.write_all(b"[")
    }

    fn end_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        let breaks = self.depth == 2 && self.items;
        self.depth -= 1;
        out.write_all(if breaks { b"\n]" } else { b"]" })
    }

    fn begin_array_value<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if !first {
            out.write_all(b",")?;
        }
        if self.depth == 2 {
            self.items = true;
            out.write_all(b"\n")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::log::Logs;
    use crate::report::fixture;
    use crate::report::model::Record;
    use schemars::generate::SchemaSettings;
    use serde_json::Value;

    fn generate<T: schemars::JsonSchema>() -> String {
        let settings = SchemaSettings::draft2020_12().for_serialize();
        let schema = settings.into_generator().into_root_schema_for::<T>();
        let mut text = serde_json::to_string_pretty(&schema).unwrap();
        text.push('\n');
        text
    }

    #[test]
    fn the_shipped_schemas_are_those_of_the_types() {
        fixture::same_as_file("schema/why502.report.1.schema.json", &generate::<Document<'_>>());
        fixture::same_as_file("schema/why502.record.1.schema.json", &generate::<Record<'_>>());
    }

    #[test]
    fn a_report_looks_as_agreed() {
        let text =
            fixture::written("json", &fixture::report(), &Style { all: true, ..Style::default() });
        fixture::same_as_file("snapshots/report.json", &text);
    }

    #[test]
    fn a_report_obeys_its_schema() {
        let schema: Value = serde_json::from_str(REPORT_SCHEMA).unwrap();
        let mut logged = fixture::report();
        logged.logs = Some(Logs::sample(&logged.findings[0]));
        for all in [true, false] {
            for report in
                [fixture::report(), fixture::several_files(), Report::default(), logged.clone()]
            {
                let text = fixture::written("json", &report, &Style { all, ..Style::default() });
                let value: Value = serde_json::from_str(&text).unwrap();
                fixture::obeys(&value, &schema, &schema, "report");
            }
        }
    }

    #[test]
    fn the_schema_refuses_what_the_contract_does_not_allow() {
        let schema: Value = serde_json::from_str(REPORT_SCHEMA).unwrap();
        let text = fixture::written("json", &fixture::report(), &Style::default());
        let value: Value = serde_json::from_str(&text).unwrap();
        for (pointer, wrong) in [
            ("/findings/0/confidence", Value::from("sure")),
            ("/findings/0/request/frame", Value::from("7")),
            ("/flows/0/ended", Value::Null),
            ("/findings/0/blind_spots", Value::from(vec!["fog"])),
            ("/schema", Value::from("why502.report/2")),
        ] {
            let mut broken = value.clone();
            *broken.pointer_mut(pointer).unwrap() = wrong;
            let refused =
                std::panic::catch_unwind(|| fixture::obeys(&broken, &schema, &schema, "report"));
            assert!(refused.is_err(), "{pointer} was accepted");
        }
    }

    #[test]
    fn one_record_per_line() {
        let text = fixture::written("json", &fixture::report(), &Style::default());
        let findings = text
            .lines()
            .filter(|line| line.starts_with("{\"cause\":") && line.contains("\"evidence\""));
        assert_eq!(findings.count(), fixture::report().findings.len());
        assert!(
            fixture::written("json", &Report::default(), &Style::default())
                .contains("\"flows\":[],\n")
        );
    }
}
