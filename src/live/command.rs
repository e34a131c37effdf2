//! `why502 live` as the command line asks for it: lines while it runs, the report at the end.

use super::capture::How;
use super::choose::{Selection, list};
use super::lines::Form;
use super::privileges::User;
use super::run::{Options, Outcome, run};
use crate::cli::{ColorChoice, Live};
use crate::report::{Report, Style, ndjson};
use crate::run::Settings;
use anyhow::{Context, Result, ensure};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, Write};
use std::net::SocketAddr;
use std::path::Path;

/// Does what `args` ask for. `None`: there was nothing to analyse. `settings` are those of the
/// analysis, `styles` those of standard output and of a file.
pub fn command(
    args: &Live,
    settings: Settings,
    [terminal, plain]: [Style; 2],
) -> Result<Option<Report>> {
    if args.list {
        let mut out = io::stdout().lock();
        for (name, what) in list()? {
            writeln!(out, "{name:<16} {what}")?;
        }
        return Ok(None);
    }
    if let Some(asset) = args.print {
        io::stdout().lock().write_all(asset.text().as_bytes())?;
        return Ok(None);
    }
    let format = args.output.format;
    ensure!(
        args.output.csv_table.is_none() || format.name == "csv",
        "--csv-table says what --format csv writes; --format is {}",
        format.name
    );
    let is_new = args.output.output.as_ref().is_some_and(|path| !path.exists());
    let file = match &args.output.output {
        Some(path) => Some((
            path,
            open(path).with_context(|| format!("{}: cannot be written", path.display()))?,
        )),
        None => None,
    };
    let lines = match (format.name, &file) {
        ("ndjson", None) if !args.ui => Form::Ndjson,
        _ if args.output.quiet || args.ui => Form::Quiet,
        _ => Form::Text,
    };
    let options = Options {
        selection: Selection {
            interfaces: args.interface.clone(),
            ports: args.port.clone(),
            all_ports: args.all_ports,
            filter: args.filter.clone(),
            own_ports: args.metrics.iter().map(SocketAddr::port).collect(),
        },
        how: How {
            snaplen: args.snaplen,
            buffer: args.buffer_size,
            immediate: args.immediate,
            promiscuous: args.promiscuous,
        },
        settings: Settings { flows: format.lists_flows && lines != Form::Ndjson, ..settings },
        form: lines,
        aside: file.is_none() && !matches!(format.name, "text" | "ndjson"),
        style: terminal,
        user: args.user.clone().map_or(User::Usual, User::Named),
        duration: args.duration,
        stop_after: args.stop_after,
        memory_max: Some(args.max_memory),
        quiet: args.output.quiet,
        evidence: args.evidence(),
        view: args.ui.then(|| view(args, terminal)),
        metrics: args.metrics,
    };
    let outcome = run(options);
    if let (Err(_), Some((path, _))) = (&outcome, &file)
        && is_new
    {
        // Nothing was captured, so that there is nothing to report.
        let _ = fs::remove_file(path);
    }
    let Outcome { report, closed } = outcome?;
    match file {
        Some((path, mut file)) => {
            let mut text = Vec::new();
            (format.write)(&report, &plain, &mut text)?;
            replace(&mut file, &text)
                .with_context(|| format!("{}: cannot be written", path.display()))?;
        }
        None if closed => {}
        None => {
            let mut out = BufWriter::new(io::stdout().lock());
            if lines == Form::Ndjson {
                ndjson::write_rest(&report, &mut out)?;
            } else {
                if format.name == "text" && lines == Form::Text {
                    writeln!(out)?;
                }
                (format.write)(&report, &terminal, &mut out)?;
            }
            out.flush()?;
        }
    }
    Ok(Some(report))
}

/// How the view looks, which has a terminal even where standard output is none.
fn view(args: &Live, terminal: Style) -> Style {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let color = match args.output.color {
        ColorChoice::Auto => !unwanted,
        ColorChoice::Always => true,
        ColorChoice::Never => false,
    };
    Style { color, ..terminal }
}

/// Opens the file of the report while there are rights to do so. What is in it stays until the
/// report is written: a name that only appears at the end would need the rights on its directory.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).open(path)
}

/// Replaces what is in the file; a pipe or a device has nothing in it.
fn replace(file: &mut File, text: &[u8]) -> io::Result<()> {
    if file.metadata()?.is_file() {
        file.set_len(0)?;
        file.rewind()?;
    }
    file.write_all(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_takes_the_place_of_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.txt");
        std::fs::write(&path, "something longer").unwrap();
        let mut file = open(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"something longer");
        replace(&mut file, b"short").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"short");
        replace(&mut open(Path::new("/dev/null")).unwrap(), b"gone").unwrap();
    }
}
