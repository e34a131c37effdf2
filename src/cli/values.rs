//! Values of options that are one of a list.

use crate::cause::Cause;
use crate::flow::Vantage;
use crate::report::{self, CsvTable, Format, explain};
use crate::words::Lang;
use clap::ValueEnum;
use clap::builder::{PossibleValue, PossibleValuesParser, StyledStr, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::OsStr;

/// Formats of lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum ListFormat {
    Text,
    Json,
}

/// Formats that have a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum SchemaChoice {
    Json,
    Ndjson,
}

/// Where the capture was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum VantageChoice {
    #[value(alias = "lb")]
    Client,
    #[value(alias = "target")]
    Server,
    Between,
    Auto,
}

impl VantageChoice {
    /// The vantage, when it was given.
    pub fn given(self) -> Option<Vantage> {
        match self {
            VantageChoice::Client => Some(Vantage::Client),
            VantageChoice::Server => Some(Vantage::Server),
            VantageChoice::Between => Some(Vantage::Between),
            VantageChoice::Auto => None,
        }
    }
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum ColorChoice {
    Auto,
    Always,
    Never,
}

impl From<ColorChoice> for anstream::ColorChoice {
    fn from(choice: ColorChoice) -> anstream::ColorChoice {
        match choice {
            ColorChoice::Auto => anstream::ColorChoice::Auto,
            ColorChoice::Always => anstream::ColorChoice::Always,
            ColorChoice::Never => anstream::ColorChoice::Never,
        }
    }
}

/// Values of `--lang`.
pub(super) fn lang() -> impl TypedValueParser<Value = Lang> {
    PossibleValuesParser::new(Lang::ALL.map(Lang::id))
        .map(|id| Lang::ALL.into_iter().find(|lang| lang.id() == id).unwrap_or_default())
}

/// Values of `--csv-table`.
pub(super) fn csv_table() -> impl TypedValueParser<Value = CsvTable> {
    PossibleValuesParser::new(["findings", "flows", "checks"]).map(|name| match name.as_str() {
        "flows" => CsvTable::Flows,
        "checks" => CsvTable::Checks,
        _ => CsvTable::Findings,
    })
}

/// Values of `--format`, from the list of formats.
#[derive(Clone)]
pub(super) struct FormatParser;

impl TypedValueParser for FormatParser {
    type Value = &'static Format;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<&'static Format, clap::Error> {
        let names = PossibleValuesParser::new(report::FORMATS.iter().map(|format| format.name));
        let name = names.parse_ref(command, arg, value)?;
        Ok(report::format(&name).expect("a possible value is in the list"))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(
            report::FORMATS.iter().map(|format| PossibleValue::new(format.name).help(format.about)),
        ))
    }
}

/// Ids of causes, as `explain` finds them; an unknown one is answered with those that are near.
#[derive(Clone)]
pub(crate) struct CauseParser(pub(super) &'static [&'static Cause]);

impl TypedValueParser for CauseParser {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        let unknown = match explain::find(&value.to_string_lossy(), self.0) {
            Ok(cause) => return Ok(cause.id.to_owned()),
            Err(unknown) => unknown,
        };
        let mut error = clap::Error::new(ErrorKind::InvalidValue).with_cmd(command);
        let arg = arg.map_or_else(|| "<CAUSE>".to_owned(), ToString::to_string);
        error.insert(ContextKind::InvalidArg, ContextValue::String(arg));
        error.insert(ContextKind::InvalidValue, ContextValue::String(unknown.id));
        let similar: Vec<String> = unknown.similar.iter().map(|id| (*id).to_owned()).collect();
        if similar.is_empty() {
            let tip = StyledStr::from("`why502 explain` lists the causes");
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
        } else {
            error.insert(ContextKind::SuggestedValue, ContextValue::Strings(similar));
        }
        Err(error)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().map(|cause| PossibleValue::new(cause.id).help(cause.summary))))
    }
}
