//! The settings of health checks, and how each is known.

use crate::health::{Origin, Setting, Settings};
use crate::report::words;
use crate::words::Phrase;
use crate::{phrase, word};

/// A value, and how it is known where the user did not say it.
pub(super) fn with<T>(setting: &Setting<T>, show: impl Fn(&T) -> Phrase) -> Phrase {
    match setting.origin {
        Origin::Given => show(&setting.value),
        origin => phrase!("{value} ({origin})", value = show(&setting.value), origin = origin.id()),
    }
}

pub(in crate::report) fn settings(settings: &Settings) -> Phrase {
    let s = |nanos: &i64| words::seconds(*nanos as f64 / 1e9);
    let n = |n: &u32| n.to_string().into();
    let mut parts = Vec::new();
    let mut add = |name: &'static str, value: Option<Phrase>| {
        if let Some(value) = value {
            parts.push(phrase!("{name} {value}", name, value));
        }
    };
    add(
        word!("protocol"),
        settings.protocol.as_ref().map(|it| with(it, |it| it.id().to_owned().into())),
    );
    add(word!("port"), settings.port.as_ref().map(|it| with(it, |it| it.to_string().into())));
    add(word!("path"), settings.path.as_ref().map(|it| with(it, |it| it.clone().into())));
    add("interval", settings.interval.as_ref().map(|it| with(it, s)));
    add("time-out", settings.timeout.as_ref().map(|it| with(it, s)));
    add(word!("healthy after"), settings.healthy.as_ref().map(|it| with(it, n)));
    add(word!("unhealthy after"), settings.unhealthy.as_ref().map(|it| with(it, n)));
    add(word!("matcher"), settings.matcher.as_ref().map(|it| with(it, |it| it.to_string().into())));
    let thresholds = settings.healthy.is_none() || settings.unhealthy.is_none();
    if thresholds {
        parts.push(phrase!("thresholds not known, two in a row assumed"));
    }
    Phrase::list(parts, ", ")
}
