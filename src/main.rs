//! Arguments in, report out, exit code.

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::env;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use why502::cause::{self, by_id};
use why502::cli::{self, Cli, Command, SchemaChoice, locale_is_utf8};
use why502::report::output::Output;
use why502::report::{RECORD_SCHEMA, REPORT_SCHEMA, Report, Style, explain};
use why502::run::{Settings, analyse};

/// It ran, and `--exit-code` asks to tell that there are findings.
const FINDINGS: u8 = 1;
/// It could not run.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    let cli = match cli::parse(env::args_os(), cause::ALL) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too; a closed pipe is no error.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(FAILED));
        }
    };
    match run(&cli) {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(anstream::stderr(), "why502: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn run(cli: &Cli) -> Result<ExitCode> {
    let Some(command) = &cli.command else { return report(cli) };
    let style = style(cli, true);
    let mut out = BufWriter::new(io::stdout().lock());
    match command {
        Command::Explain { cause: None } => explain::list(cause::ALL, &style, &mut out)?,
        Command::Explain { cause: Some(id) } => {
            explain::explain(by_id(id).context("no such cause")?, &style, &mut out)?;
        }
        Command::Completions { shell } => cli::completions(*shell, cause::ALL, &mut out)?,
        Command::Man => cli::man(cause::ALL, &mut out)?,
        Command::Schema { format: SchemaChoice::Json } => {
            out.write_all(REPORT_SCHEMA.as_bytes())?
        }
        Command::Schema { format: SchemaChoice::Ndjson } => {
            out.write_all(RECORD_SCHEMA.as_bytes())?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn report(cli: &Cli) -> Result<ExitCode> {
    let settings = Settings {
        vantage: cli.input.vantage.given(),
        flows: cli.output.format.lists_flows,
        exchanges: cli.selection.all,
        causes: cli.selection.cause.iter().filter_map(|id| Some(by_id(id)?.id)).collect(),
        filter: cli.input.filter.clone(),
        vxlan_ports: cli.input.vxlan_port.clone(),
    };
    let mut file = match &cli.output.output {
        Some(path) => Some(
            Output::create(path)
                .with_context(|| format!("{}: cannot be written", path.display()))?,
        ),
        None => None,
    };
    let bar = progress_bar(cli);
    let report = analyse(&cli.input.captures, &settings, &mut |read, total| {
        if let Some(total) = total {
            bar.set_length(total);
        }
        bar.set_position(read);
    });
    bar.finish_and_clear();
    let report = report?;
    if !cli.output.quiet {
        warn(&report)?;
    }
    let style = style(cli, file.is_none());
    match &mut file {
        Some(file) => (cli.output.format.write)(&report, &style, file)?,
        None => {
            let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
            (cli.output.format.write)(&report, &style, &mut out)?;
            out.flush()?;
        }
    }
    if let (Some(file), Some(path)) = (file, &cli.output.output) {
        file.finish().with_context(|| format!("{}: cannot be written", path.display()))?;
    }
    let found = cli.output.exit_code && !report.findings.is_empty();
    Ok(if found { ExitCode::from(FINDINGS) } else { ExitCode::SUCCESS })
}

/// What was odd about the input, on standard error, so that it is seen when the report goes to a
/// file or another program. The report says it too.
fn warn(report: &Report) -> io::Result<()> {
    let mut err = anstream::stderr();
    for warning in &report.warnings {
        writeln!(err, "why502: {warning}")?;
    }
    for capture in &report.captures {
        for warning in &capture.warnings {
            writeln!(err, "why502: {}: {warning}", capture.path)?;
        }
    }
    Ok(())
}

fn progress_bar(cli: &Cli) -> ProgressBar {
    if cli.output.quiet || cli.output.no_progress {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(10));
    let style =
        ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Colours and characters for standard output, or plain ones for a file.
fn style(cli: &Cli, terminal: bool) -> Style {
    use anstream::{AutoStream, ColorChoice};
    let color = match ColorChoice::from(cli.output.color) {
        ColorChoice::Auto if !terminal => false,
        ColorChoice::Auto => AutoStream::choice(&io::stdout()) != ColorChoice::Never,
        choice => choice != ColorChoice::Never,
    };
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].map(env::var_os);
    let utf8 = locale_is_utf8(locale.each_ref().map(|value| value.as_deref()));
    Style { color, ascii: cli.output.ascii || !utf8, all: cli.selection.all }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
