//! Items that are converted one by one while they are written.

use crate::report::Report;
use crate::report::json::spill::{Key, Lines, Spill};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::ser::{Error, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::io;

/// Items of a report, and those that wait on disk.
pub(in crate::report) struct List<'a, S, T> {
    items: &'a [S],
    convert: fn(&'a Report, &'a S) -> T,
    report: &'a Report,
    more: Option<More<'a, S>>,
}

/// Puts into a line what became known after it was written.
type Complete<'a> = dyn Fn(Key, &mut String) -> io::Result<()> + 'a;

/// What waits on disk as JSON.
struct More<'a, S> {
    lines: &'a Spill,
    /// The place of an item of the report among them.
    key: fn(&S) -> Key,
    /// Puts in what became known later.
    complete: Box<Complete<'a>>,
}

impl<'a, S, T> List<'a, S, T> {
    pub(super) fn new(
        items: &'a [S],
        convert: fn(&'a Report, &'a S) -> T,
        report: &'a Report,
    ) -> List<'a, S, T> {
        List { items, convert, report, more: None }
    }

    /// Adds what waits on disk; `key` is the place of an item of the report among its lines, `complete`
    /// puts into them what became known later.
    pub(super) fn and(
        &mut self,
        lines: &'a Spill,
        key: fn(&S) -> Key,
        complete: impl Fn(Key, &mut String) -> io::Result<()> + 'a,
    ) {
        self.more = Some(More { lines, key, complete: Box::new(complete) });
    }
}

impl<S, T: Serialize> Serialize for List<'_, S, T> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let converted = |item| (self.convert)(self.report, item);
        let Some(more) = &self.more else {
            return serializer.collect_seq(self.items.iter().map(converted));
        };
        let mut sequence = serializer.serialize_seq(None)?;
        let mut lines = more.lines.read().map_err(Error::custom)?;
        let mut json = String::new();
        for item in self.items {
            while lines.peek().is_some_and(|key| key < (more.key)(item)) {
                sequence.serialize_element(more.next(&mut lines, &mut json)?)?;
            }
            sequence.serialize_element(&converted(item))?;
        }
        while lines.peek().is_some() {
            sequence.serialize_element(more.next(&mut lines, &mut json)?)?;
        }
        sequence.end()
    }
}

impl<S> More<'_, S> {
    /// The next line, in `json`.
    fn next<'j, E: Error>(
        &self,
        lines: &mut Lines<'_>,
        json: &'j mut String,
    ) -> Result<&'j RawValue, E> {
        let key = lines.peek().unwrap_or_default();
        let mut bytes = std::mem::take(json).into_bytes();
        bytes.clear();
        lines.next(&mut bytes).map_err(E::custom)?;
        *json = String::from_utf8(bytes).map_err(E::custom)?;
        (self.complete)(key, json).map_err(E::custom)?;
        serde_json::from_str(json).map_err(E::custom)
    }
}

impl<S, T: JsonSchema> JsonSchema for List<'_, S, T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        Vec::<T>::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Vec::<T>::json_schema(generator)
    }
}
