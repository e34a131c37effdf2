//! The command line: what can be said, not what it does.

mod host;
#[cfg(target_os = "linux")]
mod live;
#[cfg(not(target_os = "linux"))]
#[path = "cli/live_elsewhere.rs"]
mod live;
mod logs;
mod slice;
mod values;

pub use host::HostArgs;
pub use live::Live;
pub use logs::LogFlags;
pub use slice::Slice;
pub(crate) use values::CauseParser;
pub use values::{ColorChoice, ListFormat, SchemaChoice, VantageChoice};
use values::{FormatParser, csv_table, lang};

use crate::cause::Cause;
use crate::health::HealthFlags;
use crate::report::{self, CsvTable, Format};
use crate::words::Lang;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueHint};
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  why502 capture.pcap                       what failed, and why
  why502 /var/captures/                     a directory, or a rotated set, as one capture
  tcpdump -i eth0 -s 0 -w - | why502 -      from standard input, until it ends
  why502 -f 'host 10.0.2.9' lb.pcapng.gz    only what a libpcap filter lets through
  why502 --cause keepalive-race a.pcap      only this cause
  why502 --lb-type alb --expect-target 10.0.2.9:8080 a.pcap   is it checked, and healthy?
  why502 --log access.log.gz a.pcap         each failing log line beside its packets
  why502 --format json a.pcap | jq '.findings[].cause'
  sudo why502 live --port 8080              capture here and tell what fails as it happens
  why502 slice a.pcap -w proof.pcapng       the packets that prove it, with comments
  why502 explain keepalive-race             what it means and how to fix it
  why502 host --port 8080                   what this host itself says of that port
  why502 ./explain                          a capture that is called like a command

Exit codes:
  0  it ran (with --exit-code: and found nothing)
  1  with --exit-code: it ran and there are findings
  2  it could not run: wrong arguments, or an input that cannot be read";

/// Tells which HTTP requests behind a load balancer failed, and which packet killed each one
#[derive(Debug, Parser)]
#[command(
    name = "why502",
    bin_name = "why502",
    version,
    long_about = "Reads packet captures and tells which HTTP requests behind a load balancer failed, which packet \
        killed each one, who sent it, the root cause, how sure that is, and what to change.",
    after_help = "why502 --help has examples and exit codes.",
    after_long_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub struct Cli {
    /// Anything else than the analysis of captures.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What to read.
    #[command(flatten, next_help_heading = "Input")]
    pub input: Input,
    /// Another capture of the same connections, taken elsewhere
    ///
    /// For example the capture at the target beside that at the load balancer: connection time-outs
    /// are split into path and host, and a RST that its apparent sender never sent is proved. Clocks may
    /// differ; a NAT may lie between.
    #[arg(long, value_name = "CAPTURE", value_hint = ValueHint::FilePath, help_heading = "Input", hide_short_help = true)]
    pub beside: Vec<PathBuf>,
    /// Logs to compare with.
    #[command(flatten, next_help_heading = "Input")]
    pub logs: LogFlags,
    /// What is known of health checks.
    #[command(flatten, next_help_heading = "Health checks")]
    pub health: HealthFlags,
    /// What to report.
    #[command(flatten, next_help_heading = "Selection")]
    pub selection: Selection,
    /// How to report it.
    #[command(flatten, next_help_heading = "Output")]
    pub output: Output,
}

/// Where packets come from, and how they are read.
#[derive(Args, Debug)]
pub struct Input {
    /// Capture files, directories of them, or - for standard input
    ///
    /// pcap and pcapng, also compressed with gzip, zstd, xz or lz4. Several files are read in the
    /// order of their times, so that connections go on from one file of a rotated set to the next.
    #[arg(value_name = "CAPTURE", required = true, value_hint = ValueHint::AnyPath, help_heading = None)]
    pub captures: Vec<PathBuf>,
    /// Read only packets that this libpcap filter lets through
    ///
    /// The syntax of tcpdump, for example 'host 10.0.2.9 and port 8080'. Frame numbers stay those
    /// of the whole file.
    #[arg(short, long, value_name = "BPF")]
    pub filter: Option<String>,
    /// Decrypt TLS with the keys in this key log file; can be repeated
    ///
    /// The file that SSLKEYLOGFILE names for curl, Python and browsers, or the -keylogfile of
    /// OpenSSL's tools; it must be of the time of the capture. Opens TLS 1.2 and 1.3 with AES-GCM,
    /// AES-CCM and ChaCha20-Poly1305. Keys that a pcapng file carries are used without it.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, hide_short_help = true)]
    pub keylog: Vec<PathBuf>,
    /// Capture point
    ///
    /// client: at the load balancer, the side that opens connections (also: lb). server: at the
    /// target (also: target). between: in the network between them. auto: tell it from timing and
    /// TTL, per connection.
    #[arg(
        long,
        value_enum,
        value_name = "WHERE",
        default_value = "auto",
        hide_default_value = true
    )]
    pub vantage: VantageChoice,
    /// An address of the host where the capture was taken; can be repeated
    ///
    /// Tells the capture point of each connection of that host for certain: a SYN to this address has
    /// arrived, one from it was sent. Files that why502 live writes say it themselves.
    #[arg(long, value_name = "ADDR", value_delimiter = ',', hide_short_help = true)]
    pub local: Vec<IpAddr>,
    /// Read settings from this file: target groups and their health checks
    ///
    /// TOML, for example:
    ///
    /// [[target-group]]
    /// lb-type = "alb"
    /// targets = ["10.0.2.9:8080"]
    /// interval = 10
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, verbatim_doc_comment, hide_short_help = true)]
    pub config: Option<PathBuf>,
    /// Recognise the health checkers of this file, too; can be repeated
    ///
    /// TOML; `why502 probers` lists those that are known without it. An entry with a known id
    /// replaces that one.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, hide_short_help = true)]
    pub probers: Vec<PathBuf>,
    /// UDP ports that carry VXLAN, besides 4789
    #[arg(long, value_name = "PORT", value_delimiter = ',', hide_short_help = true)]
    pub vxlan_port: Vec<u16>,
}

/// Which findings are wanted.
#[derive(Args, Debug)]
pub struct Selection {
    /// Report only this cause; can be repeated
    ///
    /// `why502 explain` lists the causes.
    #[arg(long, value_name = "ID", hide_possible_values = true)]
    pub cause: Vec<String>,
    /// List every finding and every request, also those that went well
    #[arg(long)]
    pub all: bool,
}

/// What the report looks like and where it goes.
#[derive(Args, Debug)]
pub struct Output {
    /// Form of the report
    #[arg(long, value_name = "FORMAT", value_parser = FormatParser, default_value = report::FORMATS[0].name)]
    pub format: &'static Format,
    /// What --format csv writes: findings, flows or checks (health checks)
    #[arg(long, value_name = "TABLE", value_parser = csv_table(), hide_short_help = true)]
    pub csv_table: Option<CsvTable>,
    /// Write the report to this file; it appears when it is complete
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// When to use colours
    ///
    /// auto: on a terminal, unless NO_COLOR is set.
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true
    )]
    pub color: ColorChoice,
    /// Write ASCII only, as without a UTF-8 locale
    ///
    /// Japanese keeps its letters.
    #[arg(long)]
    pub ascii: bool,
    /// The language of texts for people
    #[command(flatten)]
    pub language: Language,
    /// Show no progress and no warnings on standard error
    #[arg(short, long)]
    pub quiet: bool,
    /// Show no progress; without a terminal there is none anyway
    #[arg(long, hide_short_help = true)]
    pub no_progress: bool,
    /// Exit with 1 when there are findings
    #[arg(long)]
    pub exit_code: bool,
}

/// The language of texts for people.
#[derive(Args, Debug, Default)]
pub struct Language {
    /// Language of text, HTML and Markdown [default: by LC_ALL, LC_MESSAGES or LANG]
    ///
    /// Ids, the other formats and the comments of slices are English in any case.
    #[arg(long, value_name = "LANG", value_parser = lang(), hide_short_help = true)]
    pub lang: Option<Lang>,
}

/// What else can be asked.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write the packets that prove the findings to a pcapng, each with a comment
    ///
    /// The comments tell the cause, what the packet proves, and its connection, file and frame
    /// number; Wireshark shows them with the display filter frame.comment. Times, interfaces, link
    /// types and TLS secrets are kept. The captures are read twice.
    #[command(after_long_help = slice::EXAMPLES)]
    Slice(Box<Slice>),
    /// Look at this host: who listens, queues, ports, limits, what was killed
    #[command(after_help = host::EXAMPLES)]
    Host(HostArgs),
    /// Capture on this host and tell what fails as it happens
    ///
    /// Follows TCP connections on the ports that something listens on, and tells each failed
    /// request, connection and health check within a second of being decidable. Ctrl-C, SIGTERM,
    /// --duration and --stop-after end it with the whole report. Needs root or cap_net_raw, which it
    /// gives up once the interface is open.
    #[command(after_long_help = live::EXAMPLES)]
    Live(Box<Live>),
    /// What a cause means and how to fix it; without argument, the list
    Explain {
        /// Id of the cause
        #[arg(value_name = "CAUSE", hide_possible_values = true)]
        cause: Option<String>,
        /// The language of the texts.
        #[command(flatten)]
        language: Language,
    },
    /// The health checkers that are recognised: how each looks, and what it does by default
    Probers {
        /// Read those of this file, too; can be repeated
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        probers: Vec<PathBuf>,
        /// Form of the list
        #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
        format: ListFormat,
        /// The language of the texts.
        #[command(flatten)]
        language: Language,
    },
    /// Print completions for a shell
    ///
    /// For example: why502 completions bash > ~/.local/share/bash-completion/completions/why502
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    ///
    /// For example: why502 man | man -l -
    Man,
    /// Print the JSON Schema of a format
    Schema {
        /// `json` for the report, `ndjson` for one of its lines
        #[arg(value_enum, default_value = "json")]
        format: SchemaChoice,
    },
}

/// The command with the names of `causes` filled in.
pub fn command(causes: &'static [&'static Cause]) -> clap::Command {
    Cli::command()
        .mut_arg("cause", |arg| arg.value_parser(CauseParser(causes)))
        .mut_subcommand("explain", |explain| {
            explain.mut_arg("cause", |arg| arg.value_parser(CauseParser(causes)))
        })
        .mut_subcommand("slice", |slice| {
            slice.mut_arg("cause", |arg| arg.value_parser(CauseParser(causes)))
        })
        .mut_subcommand("live", |live| live::with_causes(live, CauseParser(causes)))
}

/// Reads the arguments; the first is the program's name. The error knows how to print itself and
/// with which code to exit; `--help` and `--version` are such errors too.
pub fn parse<I, T>(args: I, causes: &'static [&'static Cause]) -> Result<Cli, clap::Error>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let matches = command(causes).try_get_matches_from(args).map_err(hint)?;
    Cli::from_arg_matches(&matches)
}

/// What the hand has learnt from other programs: `why502 live eth0` means an interface, `--json` a form of the
/// report; both are values of options.
fn hint(mut error: clap::Error) -> clap::Error {
    let of_live = matches!(
        error.get(ContextKind::Usage),
        Some(ContextValue::StyledStr(usage)) if usage.to_string().contains("why502 live")
    );
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let is_form = |name: &&str| report::FORMATS.iter().any(|form| form.name == *name);
    let tip = if let Some(form) = given.strip_prefix("--").filter(is_form) {
        format!("the form of the report is an option: --format {form}")
    } else if of_live && !given.starts_with('-') {
        format!("an interface is named by an option: -i {given}")
    } else {
        return error;
    };
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(tip)]));
    error
}

/// Writes completions for a shell.
pub fn completions(
    shell: clap_complete::Shell,
    causes: &'static [&'static Cause],
    out: &mut dyn Write,
) -> io::Result<()> {
    // clap_complete panics when its writer fails, so a closed pipe must not be that writer.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(causes), "why502", &mut script);
    out.write_all(&script)
}

/// Writes the manual page.
pub fn man(causes: &'static [&'static Cause], mut out: &mut dyn Write) -> io::Result<()> {
    clap_mangen::Man::new(command(causes)).render(&mut out)
}

/// Whether text may hold Unicode, by the values of `LC_ALL`, `LC_CTYPE` and `LANG`: the first that
/// is set and not empty decides (POSIX, 8.2).
pub fn locale_is_utf8(variables: [Option<&OsStr>; 3]) -> bool {
    let locale = variables.into_iter().flatten().find(|value| !value.is_empty());
    let locale = locale.unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::Responsible;
    use crate::flow::Vantage;

    const fn cause(id: &'static str) -> Cause {
        Cause {
            id,
            summary: "",
            explanation: "",
            seen_as: &[],
            responsible: Responsible::Unknown,
            typical_status: None,
            confirm: &[],
            fix: &[],
            wireshark: &[],
            references: &[],
            detect: |_| None,
        }
    }

    static RACE: Cause = cause("keepalive-race");
    static REFUSED: Cause = cause("connect-refused");
    static CAUSES: [&Cause; 2] = [&RACE, &REFUSED];

    fn parsed(args: &str) -> Result<Cli, clap::Error> {
        parse(["why502"].into_iter().chain(args.split_whitespace()), &CAUSES)
    }

    fn refusal(args: &str) -> String {
        let error = parsed(args).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{args}");
        error.to_string()
    }

    #[test]
    fn clap_finds_no_fault() {
        command(&CAUSES).debug_assert();
    }

    #[test]
    fn the_contract_is_understood() {
        let cli = parsed(
            "a.pcap - dir -f tcp -o out --format ndjson --cause keepalive-race --cause connect-refused \
             --all --vantage lb --exit-code --vxlan-port 1,2 --vxlan-port 3 --color never --ascii -q",
        )
        .unwrap();
        assert_eq!(cli.input.captures, ["a.pcap", "-", "dir"].map(PathBuf::from));
        assert_eq!(cli.input.filter.as_deref(), Some("tcp"));
        assert_eq!(cli.input.vantage.given(), Some(Vantage::Client));
        assert_eq!(cli.input.vxlan_port, [1, 2, 3]);
        assert_eq!(cli.selection.cause, ["keepalive-race", "connect-refused"]);
        assert_eq!(cli.output.format.name, "ndjson");
        assert_eq!(cli.output.output, Some("out".into()));
        assert_eq!(cli.output.color, ColorChoice::Never);
        assert!(cli.selection.all && cli.output.exit_code && cli.output.ascii && cli.output.quiet);
        assert!(cli.command.is_none());
    }

    #[test]
    fn defaults() {
        let cli = parsed("a.pcap").unwrap();
        assert_eq!((cli.output.format.name, cli.input.vantage.given()), ("text", None));
        assert_eq!(
            parsed("a --vantage target").unwrap().input.vantage.given(),
            Some(Vantage::Server)
        );
    }

    #[test]
    fn a_capture_may_be_called_like_a_command() {
        assert!(matches!(
            parsed("explain").unwrap().command,
            Some(Command::Explain { cause: None, .. })
        ));
        for args in ["./explain", "./man", "./live", "a.pcap explain"] {
            let cli = parsed(args).unwrap();
            assert!(cli.command.is_none(), "{args}");
            assert_eq!(cli.input.captures.len(), args.split(' ').count(), "{args}");
        }
    }

    #[test]
    fn an_unknown_cause_is_answered_with_near_ones() {
        for args in ["--cause keepalive-rase a.pcap", "explain keepalive-rase"] {
            let text = refusal(args);
            assert!(text.contains("keepalive-rase") && text.contains("'keepalive-race'"), "{text}");
        }
        assert_eq!(parsed("--cause KEEPALIVE_RACE a").unwrap().selection.cause, ["keepalive-race"]);
    }

    #[test]
    fn files_of_probers_can_be_given_to_a_run_and_to_the_list() {
        let cli = parsed("--probers a.toml --probers b.toml c.pcap").unwrap();
        assert_eq!(cli.input.probers, ["a.toml", "b.toml"].map(PathBuf::from));
        let Some(Command::Probers { probers, format, .. }) =
            parsed("probers --probers a.toml --format json").unwrap().command
        else {
            panic!("another command");
        };
        assert_eq!((probers, format), (vec![PathBuf::from("a.toml")], ListFormat::Json));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        assert!(refusal("").contains("<CAPTURE>"));
        assert!(refusal("a --format xml").contains("possible values: text, json, ndjson"));
        assert!(refusal("a --json").contains("an option: --format json"));
        refusal("a --vxlan-port 70000");
        assert!(refusal("explain nonsense").contains("`why502 explain` lists the causes"));
    }

    #[test]
    fn short_help_fits_a_screen_and_long_help_has_examples() {
        let short = parsed("-h").unwrap_err();
        assert_eq!(short.exit_code(), 0);
        let short = short.to_string();
        assert!(short.lines().count() <= 40, "{} lines:\n{short}", short.lines().count());
        let long = parsed("--help").unwrap_err().to_string();
        assert!(long.contains("Exit codes:") && long.contains("why502 ./explain"), "{long}");
    }

    #[test]
    fn completions_and_manual_know_options_and_causes() {
        let mut script = Vec::new();
        completions(clap_complete::Shell::Bash, &CAUSES, &mut script).unwrap();
        let script = String::from_utf8(script).unwrap();
        assert!(script.contains("--vxlan-port") && script.contains("keepalive-race"));
        let mut page = Vec::new();
        man(&CAUSES, &mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        assert!(page.starts_with(".ie") && page.contains("Exit codes"), "{page}");
    }

    #[test]
    fn the_first_locale_that_is_set_decides() {
        let [utf8, c, empty] = ["de_DE.UTF-8", "C", ""].map(OsStr::new);
        assert!(locale_is_utf8([None, None, Some(utf8)]));
        assert!(locale_is_utf8([Some(empty), Some(utf8), Some(c)]));
        assert!(!locale_is_utf8([Some(c), None, Some(utf8)]));
        assert!(!locale_is_utf8([None, None, None]));
    }
}
