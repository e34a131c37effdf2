//! Arguments in, report out, exit code.

mod ended;

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::env;
use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use why502::capture::CaptureInfo;
use why502::cause::Finding;
use why502::cli::{self, Cli, Command, Input, ListFormat, SchemaChoice, locale_is_utf8};
use why502::flow::Flow;
use why502::health::texts::{EXPLAINED, by_id};
use why502::health::{self, HealthFlags, config};
use why502::host::{self, Addresses};
use why502::http::Exchange;
use why502::join::log::{LogSettings, Logs};
use why502::packet::Endpoint;
use why502::probe::Catalogue;
use why502::report::host as host_report;
use why502::report::output::Output;
use why502::report::probers as list;
use why502::report::{RECORD_SCHEMA, REPORT_SCHEMA, Records, Report, Style, Told, explain};
use why502::run::{Listener, Settings, analyse, two_places};
use why502::slice::{self, Destination};
use why502::words::Lang;

/// It ran, and `--exit-code` asks to tell that there are findings.
const FINDINGS: u8 = 1;
/// It could not run.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    let cli = match cli::parse(env::args_os(), &EXPLAINED) {
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
            let _ = writeln!(anstream::stderr(), "why502: {}", said(&error));
            ExitCode::from(FAILED)
        }
    }
}

/// An error and what caused it. Some say the cause themselves.
fn said(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| {
        match said.contains(&cause) {
            _ if said.is_empty() => cause,
            true => said,
            false => format!("{said}: {cause}"),
        }
    })
}

fn run(cli: &Cli) -> Result<ExitCode> {
    let Some(command) = &cli.command else { return report(cli) };
    if let Command::Slice(what) = command {
        return slice(what);
    }
    if let Command::Live(what) = command {
        return live(what);
    }
    let style = style(cli, true);
    let mut out = BufWriter::new(io::stdout().lock());
    match command {
        Command::Slice(_) | Command::Live(_) => {}
        Command::Host(args) => {
            let triage = host::look(&args.port)?;
            match args.format {
                ListFormat::Text => host_report::text(&triage, &style, &mut out)?,
                ListFormat::Json => host_report::json(&triage, &mut out)?,
            }
            if let Some(seconds) = args.watch {
                out.flush()?;
                host::follow(&args.port, (seconds > 0).then_some(seconds), |events| {
                    for event in events {
                        match args.format {
                            ListFormat::Text => host_report::event_text(event, &style, &mut out)?,
                            ListFormat::Json => host_report::event_json(event, &mut out)?,
                        }
                    }
                    out.flush()
                })?;
            }
        }
        Command::Explain { cause: None, .. } => explain::list(&EXPLAINED, &style, &mut out)?,
        Command::Explain { cause: Some(id), .. } => {
            explain::explain(by_id(id).context("no such cause")?, &style, &mut out)?;
        }
        Command::Probers { probers: files, format: ListFormat::Text, .. } => {
            list::text(&*probers(files)?, &style, &mut out)?;
        }
        Command::Probers { probers: files, format: ListFormat::Json, .. } => {
            list::json(&*probers(files)?, &mut out)?;
        }
        Command::Completions { shell } => cli::completions(*shell, &EXPLAINED, &mut out)?,
        Command::Man => cli::man(&EXPLAINED, &mut out)?,
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

/// The known probers and those of the user's files.
fn probers(files: &[PathBuf]) -> Result<Arc<Catalogue>> {
    if files.is_empty() {
        return Ok(Catalogue::built_in()?);
    }
    let texts = files
        .iter()
        .map(|path| {
            let text = fs::read_to_string(path)
                .with_context(|| format!("{}: cannot be read", path.display()))?;
            Ok((path.display().to_string(), text))
        })
        .collect::<Result<Vec<_>>>()?;
    let texts = texts.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    Ok(Arc::new(Catalogue::load(texts)?))
}

fn report(cli: &Cli) -> Result<ExitCode> {
    let format = cli.output.format;
    ensure!(
        cli.output.csv_table.is_none() || format.name == "csv",
        "--csv-table says what --format csv writes; --format is {}",
        format.name
    );
    let general = Settings {
        exchanges: cli.selection.all,
        beside: cli.beside.clone(),
        logs: cli.logs.settings(cli.selection.all),
        ..settings(&cli.input, &cli.health, &cli.selection.cause)?
    };
    let two_places = two_places(&cli.input.captures, &general);
    let (captures, beside) = match &two_places {
        Some(_) => cli.input.captures.split_at(1),
        None => (&cli.input.captures[..], &cli.beside[..]),
    };
    // What another capture point shows may change every finding.
    let stream = format.stream.filter(|_| beside.is_empty());
    let settings = Settings {
        flows: format.lists_flows && stream.is_none(),
        streamed: stream.is_some(),
        beside: beside.to_vec(),
        ..general
    };
    let mut file = match &cli.output.output {
        Some(path) => {
            ended::leave_nothing()?;
            let Cli { input, beside, logs, .. } = cli;
            let read = [&input.captures, beside, &logs.log, &input.keylog, &input.probers];
            let read = read.into_iter().flatten().chain(&input.config);
            let file = Output::refuse_inputs(path, read.map(PathBuf::as_path));
            let file = file.and_then(|()| Output::create(path));
            Some(file.with_context(|| format!("{}: cannot be written", path.display()))?)
        }
        None => None,
    };
    let style = style(cli, file.is_none());
    let mut stdout = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let out: &mut dyn Write = match &mut file {
        Some(file) => file,
        None => &mut stdout,
    };
    let prompt = cli.input.captures.iter().any(|capture| capture.as_os_str() == "-");
    let mut watcher = Watcher {
        bar: progress_bar(cli.output.quiet || cli.output.no_progress),
        stream: stream.map(|start| start(out, &style, prompt)),
    };
    let analysed = analyse(captures, &settings, &mut watcher);
    watcher.bar.finish_and_clear();
    let mut report = analysed?;
    report.warnings.extend(two_places);
    if !cli.output.quiet {
        warn(&report)?;
    }
    if let Some(stream) = watcher.stream.take() {
        stream.finish(&report)?;
    }
    drop(watcher);
    if stream.is_none() {
        let out: &mut dyn Write = match &mut file {
            Some(file) => file,
            None => &mut stdout,
        };
        (format.write)(&report, &style, out)?;
    }
    stdout.flush()?;
    if let (Some(file), Some(path)) = (file, &cli.output.output) {
        // Those of directories are known by now.
        let read = report.captures.iter().map(|capture| Path::new(&capture.path));
        let file = Output::refuse_inputs(path, read).and_then(|()| file.finish());
        file.with_context(|| format!("{}: cannot be written", path.display()))?;
    }
    Ok(code(&report, cli.output.exit_code))
}

/// How the program ends that could report. Of a capture without a whole file header nothing can be read:
/// it is told, all else is reported, and for scripts it is a failure.
fn code(report: &Report, exit_code: bool) -> ExitCode {
    if report.captures.iter().any(CaptureInfo::is_headless) {
        return ExitCode::from(FAILED);
    }
    let found = exit_code && !report.findings.is_empty();
    if found { ExitCode::from(FINDINGS) } else { ExitCode::SUCCESS }
}

/// What holds for every analysis.
fn settings(input: &Input, health: &HealthFlags, causes: &[String]) -> Result<Settings> {
    Ok(Settings {
        health: health.setup(&configuration(input.config.as_deref())?)?,
        probers: Some(probers(&input.probers)?),
        vantage: input.vantage.given(),
        local: Addresses::of_hosts(&input.local),
        causes: causes.iter().filter_map(|id| Some(by_id(id)?.id)).collect(),
        filter: input.filter.clone(),
        vxlan_ports: input.vxlan_port.clone(),
        keylogs: input.keylog.clone(),
        ..Settings::default()
    })
}

fn slice(args: &cli::Slice) -> Result<ExitCode> {
    let settings = settings(&args.input, &args.health, &args.cause)?;
    let to_stdout = args.write.as_os_str() == "-";
    ensure!(
        !to_stdout || !io::stdout().is_terminal(),
        "standard output is a terminal; name a file with -w, or pipe it into tshark -r -"
    );
    let mut stdout = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    if !to_stdout {
        ended::leave_nothing()?;
    }
    let destination = match to_stdout {
        true => Destination::Writer(&mut stdout),
        false => Destination::File(&args.write),
    };
    let mut watcher = Watcher { bar: progress_bar(args.quiet || args.no_progress), stream: None };
    let sliced =
        slice::slice(&args.input.captures, &settings, args.extent(), destination, &mut watcher);
    watcher.bar.finish_and_clear();
    let (report, sliced) = sliced?;
    if !args.quiet {
        warn(&report)?;
        slice::tell(&report, sliced, args.extent(), &args.write, &mut anstream::stderr())?;
    }
    Ok(code(&report, args.exit_code))
}

#[cfg(target_os = "linux")]
fn live(args: &cli::Live) -> Result<ExitCode> {
    let settings = Settings {
        health: args.health.setup(&configuration(args.config.as_deref())?)?,
        probers: Some(probers(&args.probers)?),
        vantage: args.vantage.given(),
        causes: args.cause.iter().filter_map(|id| Some(by_id(id)?.id)).collect(),
        vxlan_ports: args.vxlan_port.clone(),
        keylogs: args.keylog.clone(),
        logs: LogSettings { grow: true, ..args.logs.settings(args.all) },
        ..Settings::default()
    };
    let styles = [true, false].map(|terminal| of_output(&args.output, args.all, terminal));
    let Some(report) = why502::live::command(args, settings, styles)? else {
        return Ok(ExitCode::SUCCESS);
    };
    if !args.output.quiet {
        warn(&report)?;
    }
    Ok(code(&report, args.output.exit_code))
}

#[cfg(not(target_os = "linux"))]
fn live(_: &cli::Live) -> Result<ExitCode> {
    anyhow::bail!("live capture works on Linux only; read a capture of tcpdump instead")
}

/// What `--config` says.
fn configuration(path: Option<&Path>) -> Result<config::Config> {
    let Some(path) = path else { return Ok(config::Config::default()) };
    let name = path.display().to_string();
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(config::CONFIG_MAX + 1).read_to_string(&mut text))
        .with_context(|| format!("{name}: cannot be read"))?;
    ensure!(
        text.len() as u64 <= config::CONFIG_MAX,
        "{name}: longer than {} bytes",
        config::CONFIG_MAX
    );
    Ok(config::parse(&text, &name)?)
}

/// Shows progress, and passes records on to a format that is written while captures are read.
struct Watcher<'a> {
    bar: ProgressBar,
    stream: Option<Box<dyn Records + 'a>>,
}

impl Listener for Watcher<'_> {
    fn progress(&mut self, read: u64, total: Option<u64>) -> bool {
        if let Some(total) = total {
            self.bar.set_length(total);
        }
        self.bar.set_position(read);
        self.stream.as_ref().is_none_or(|stream| stream.is_open())
    }

    fn flow(&mut self, flow: &Flow, tunnels: &[String]) {
        if let Some(stream) = &mut self.stream {
            stream.flow(flow, tunnels);
        }
    }

    fn exchange(&mut self, flow: u64, exchange: &Exchange) {
        if let Some(stream) = &mut self.stream {
            stream.exchange(flow, exchange);
        }
    }

    fn finding(&mut self, finding: &Finding) {
        if let Some(stream) = &mut self.stream {
            stream.finding(finding);
        }
    }

    fn unlisted(&mut self, finding: &Finding) -> bool {
        self.stream.as_mut().is_some_and(|stream| stream.unlisted(finding))
    }

    fn explained(&mut self, finding: &Finding, _: Option<Told>, logs: &Logs) {
        if let Some(stream) = &mut self.stream {
            stream.explained(finding, logs);
        }
    }

    fn check(&mut self, server: Endpoint, prober: &str, check: &health::Check) {
        if let Some(stream) = &mut self.stream {
            stream.check(server, prober, check);
        }
    }

    fn transition(&mut self, server: Endpoint, prober: &str, entry: &health::Entry) {
        if let Some(stream) = &mut self.stream {
            stream.transition(server, prober, entry);
        }
    }
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
    for (named, why) in report.logs.iter().flat_map(|logs| &logs.unused) {
        writeln!(err, "why502: the log {named}: {why}")?;
    }
    Ok(())
}

fn progress_bar(hidden: bool) -> ProgressBar {
    if hidden {
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
    Style { lang: lang(cli), ..of_output(&cli.output, cli.selection.all, terminal) }
}

/// The same by the options of a command.
fn of_output(output: &cli::Output, all: bool, terminal: bool) -> Style {
    use anstream::{AutoStream, ColorChoice};
    let color = match ColorChoice::from(output.color) {
        ColorChoice::Auto if !terminal => false,
        ColorChoice::Auto => AutoStream::choice(&io::stdout()) != ColorChoice::Never,
        choice => choice != ColorChoice::Never,
    };
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].map(env::var_os);
    let utf8 = locale_is_utf8(locale.each_ref().map(|value| value.as_deref()));
    Style {
        color,
        ascii: output.ascii || !utf8,
        lang: spoken(output.language.lang),
        all,
        csv_table: output.csv_table.unwrap_or_default(),
    }
}

/// The language of a command.
fn lang(cli: &Cli) -> Lang {
    let asked = match &cli.command {
        Some(Command::Explain { language, .. } | Command::Probers { language, .. }) => {
            language.lang
        }
        _ => cli.output.language.lang,
    };
    spoken(asked)
}

/// The language that is asked for, else that of the locale.
fn spoken(asked: Option<Lang>) -> Lang {
    let locale = ["LC_ALL", "LC_MESSAGES", "LANG"].map(env::var_os);
    asked.unwrap_or_else(|| Lang::of_locale(locale.each_ref().map(|value| value.as_deref())))
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
