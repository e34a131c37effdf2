//! The arguments of `why502 live`.

use super::{CauseParser, LogFlags, Output, VantageChoice};
use crate::health::HealthFlags;
use crate::live::evidence::{self, MinFree, Ring};
use crate::live::{Asset, MEMORY_MIN, metrics};
use clap::{Args, Command, ValueHint};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What to capture, and how to tell what fails.
#[derive(Args, Debug)]
pub struct Live {
    /// Capture on this interface; can be repeated; any: on all
    ///
    /// Without it, on the interface of the default route. On any, packets that pass several
    /// interfaces of this host are seen several times.
    #[arg(short, long, value_name = "NAME", help_heading = "Capture")]
    pub interface: Vec<String>,
    /// List the interfaces and exit
    #[arg(long, help_heading = "Capture")]
    pub list: bool,
    /// Print a file for a lasting installation and exit
    #[arg(long, value_enum, value_name = "WHAT", hide_short_help = true, help_heading = "Metrics")]
    pub print: Option<Asset>,
    /// Capture only this TCP port; can be repeated
    ///
    /// Without it, the ports that something on this host listens on at the start. At a load balancer
    /// name the ports of its targets. ICMP errors are captured in any case.
    #[arg(short, long, value_name = "PORT", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..), help_heading = "Capture")]
    pub port: Vec<u16>,
    /// Capture all TCP ports
    #[arg(long, conflicts_with = "port", help_heading = "Capture")]
    pub all_ports: bool,
    /// Capture what this libpcap filter lets through, in place of ports
    #[arg(short, long, value_name = "BPF", conflicts_with_all = ["port", "all_ports"], help_heading = "Capture")]
    pub filter: Option<String>,
    /// Bytes of each packet that are captured
    ///
    /// The default takes whole packets: a body has to be followed to know where it ends. With less,
    /// verdicts are less sure.
    #[arg(short, long, value_name = "BYTES", default_value_t = 262_144, value_parser = clap::value_parser!(u32).range(64..=262_144), hide_short_help = true, help_heading = "Capture")]
    pub snaplen: u32,
    /// Memory for packets that the kernel keeps until they are taken; by default 16MiB
    ///
    /// Of each interface, and within a quarter of --max-memory.
    #[arg(short = 'B', long, value_name = "SIZE", value_parser = size, hide_short_help = true, help_heading = "Capture")]
    pub buffer_size: Option<u64>,
    /// Take each packet at once; costs more of the processor
    #[arg(long, hide_short_help = true, help_heading = "Capture")]
    pub immediate: bool,
    /// Capture also packets that are for other hosts
    #[arg(long, hide_short_help = true, help_heading = "Capture")]
    pub promiscuous: bool,
    /// As root: the user to run as once the interface is open
    ///
    /// Without it, who called sudo, else nobody.
    #[arg(long, value_name = "NAME", hide_short_help = true, help_heading = "Capture")]
    pub user: Option<String>,
    /// Get along with so much memory, such as 512MiB: follow fewer connections rather than take more
    ///
    /// At least 160MiB. The program and its tables take up to 96MiB of it; of the rest, the kernel's buffers get
    /// a quarter at most, packets on their way to the analysis and --look-back an eighth each, and
    /// connections and findings what is left.
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = memory, hide_short_help = true, help_heading = "Capture")]
    pub max_memory: u64,
    /// Write evidence as a ring of pcapng files to this directory
    ///
    /// The directory has to be writable for the user that this runs as once it has given up its
    /// rights (--user); one that does not exist is made for it.
    #[arg(short, long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Evidence")]
    pub write: Option<PathBuf>,
    /// Files of the ring: how many, of which size or time, such as 10x100MB, 24x1h or 50x100MB/5m
    #[arg(
        long,
        value_name = "RING",
        default_value = "10x100MB",
        requires = "write",
        help_heading = "Evidence"
    )]
    pub ring: Ring,
    /// Write only the packets of connections that failed
    #[arg(long, requires = "write", help_heading = "Evidence")]
    pub keep_findings: bool,
    /// Memory for what came before a failure, with --keep-findings
    #[arg(long, value_name = "SIZE", default_value = "64MB", value_parser = evidence::bytes, hide_short_help = true, help_heading = "Evidence")]
    pub look_back: u64,
    /// Free space that is left to others, such as 5% or 2GiB; by default 10 %, at least 1 GiB
    #[arg(
        long,
        value_name = "SPACE",
        requires = "write",
        hide_short_help = true,
        help_heading = "Evidence"
    )]
    pub min_free: Option<MinFree>,
    /// Serve metrics for Prometheus at this address, such as 127.0.0.1:9502; a port alone: for this
    /// host only
    #[arg(long, value_name = "ADDR", value_parser = metrics::address, help_heading = "Metrics")]
    pub metrics: Option<SocketAddr>,
    /// End after so long, such as 90s, 10m or 2h
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "End")]
    pub duration: Option<Duration>,
    /// End after so many failed requests and connections
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "End")]
    pub stop_after: Option<u64>,
    /// Where this host is
    ///
    /// client: the load balancer, the side that opens connections (also: lb). server: the target
    /// (also: target). between: in the network between them. auto: tell it from timing and TTL, per
    /// connection.
    #[arg(
        long,
        value_enum,
        value_name = "WHERE",
        default_value = "auto",
        hide_default_value = true,
        help_heading = "Analysis"
    )]
    pub vantage: VantageChoice,
    /// Decrypt TLS with the keys in this key log file, which may grow; can be repeated
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, hide_short_help = true, help_heading = "Analysis")]
    pub keylog: Vec<PathBuf>,
    /// Read settings from this file: target groups and their health checks
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, hide_short_help = true, help_heading = "Analysis")]
    pub config: Option<PathBuf>,
    /// Recognise the health checkers of this file, too; can be repeated
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, hide_short_help = true, help_heading = "Analysis")]
    pub probers: Vec<PathBuf>,
    /// UDP ports that carry VXLAN, besides 4789
    #[arg(
        long,
        value_name = "PORT",
        value_delimiter = ',',
        hide_short_help = true,
        help_heading = "Analysis"
    )]
    pub vxlan_port: Vec<u16>,
    /// What is known of health checks.
    #[command(flatten, next_help_heading = "Health checks")]
    pub health: HealthFlags,
    /// What the logs say of it.
    #[command(flatten, next_help_heading = "Logs")]
    pub logs: LogFlags,
    /// Tell only this cause; can be repeated
    #[arg(long, value_name = "ID", hide_possible_values = true, help_heading = "Analysis")]
    pub cause: Vec<String>,
    /// Show it on the whole terminal; ? shows the keys
    ///
    /// Rates, causes, targets with their health checks, and findings that can be opened. The report
    /// follows on standard output when it ends.
    #[arg(long, help_heading = "Output")]
    pub ui: bool,
    /// List every finding at the end
    #[arg(long, help_heading = "Output")]
    pub all: bool,
    /// How to report it.
    #[command(flatten, next_help_heading = "Output")]
    pub output: Output,
}

impl Live {
    /// What evidence is written.
    pub fn evidence(&self) -> Option<evidence::Options> {
        let directory = self.write.clone()?;
        Some(evidence::Options {
            ring: self.ring,
            min_free: self.min_free.unwrap_or(MinFree::Usual),
            keep_findings: self.keep_findings.then_some(self.look_back),
            ..evidence::Options::new(directory)
        })
    }
}

pub(super) const EXAMPLES: &str = "\
Examples:
  sudo why502 live                              the ports that are listened on, until Ctrl-C
  sudo why502 live -i any --port 8080           one port, on all interfaces
  sudo why502 live -w /var/tmp/evidence --keep-findings --ring 10x100MB
  sudo why502 live --ui                         as a full-screen view
  sudo why502 live --metrics 9502 -q            for Prometheus, at http://127.0.0.1:9502/metrics
  sudo why502 live --duration 10m -o report.html --format html
  sudo why502 live --format ndjson | jq 'select(.record == \"finding\")'
  sudo setcap cap_net_raw+ep $(which why502)    from then on without sudo

Lines go to standard output as things happen, the report follows at the end; with --format json,
html, csv or markdown and no -o, lines go to standard error. A line that says revised corrects an
earlier one. In ndjson each failure, check and state is a record; connections that went well are
none. SIGUSR1 prints how things stand.";

/// The command with the causes that `--cause` knows.
pub(super) fn with_causes(live: Command, causes: CauseParser) -> Command {
    live.mut_arg("cause", |arg| arg.value_parser(causes))
}

/// Reads a size: bytes, or with a unit of decimal or binary multiples.
fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 9] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("K", 1 << 10),
        ("M", 1 << 20),
        ("G", 1 << 30),
    ];
    let unit = UNITS.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)));
    let (number, bytes) = unit.unwrap_or((text, 1));
    let number: u64 =
        number.trim().parse().map_err(|_| "not a size such as 512MiB or 1GB".to_owned())?;
    let size = number.checked_mul(bytes).ok_or_else(|| "too large".to_owned())?;
    let range = 1 << 20..=1 << 40;
    range.contains(&size).then_some(size).ok_or_else(|| "not from 1MiB to 1024GiB".to_owned())
}

/// Reads a limit of memory.
fn memory(text: &str) -> Result<u64, String> {
    let size = size(text)?;
    let least = MEMORY_MIN >> 20;
    (size >= MEMORY_MIN)
        .then_some(size)
        .ok_or_else(|| format!("{least}MiB at least: the program and its tables take half of that"))
}

/// Reads a duration: seconds, or with a unit.
fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 5] =
        [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let unit = UNITS.iter().find_map(|(unit, millis)| Some((text.strip_suffix(unit)?, *millis)));
    let (number, millis) = unit.unwrap_or((text, 1_000));
    let number: u64 = number.trim().parse().map_err(|_| "not a time such as 90s or 10m")?;
    match number.checked_mul(millis) {
        Some(0) => Err("no time at all".to_owned()),
        Some(millis) => Ok(Duration::from_millis(millis)),
        None => Err("too long".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause;
    use crate::cli::{self, parse};

    fn parsed(args: &str) -> Result<Live, String> {
        let args = ["why502", "live"].into_iter().chain(args.split_whitespace());
        match parse(args, cause::ALL).map_err(|error| error.to_string())?.command {
            Some(cli::Command::Live(live)) => Ok(*live),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn it_needs_nothing_and_takes_all() {
        let live = parsed("").unwrap();
        assert!(live.interface.is_empty() && live.port.is_empty() && !live.promiscuous);
        assert_eq!((live.buffer_size, live.max_memory), (None, 1 << 30));
        let live = parsed(
            "-i lo -i eth0 -p 80,8080 --duration 10m --stop-after 3 --cause connect-refused \
             --format ndjson -q --max-memory 256M --user nobody",
        )
        .unwrap();
        assert_eq!(live.interface, ["lo", "eth0"]);
        assert_eq!(live.port, [80, 8080]);
        assert_eq!(live.duration, Some(Duration::from_secs(600)));
        assert_eq!((live.stop_after, live.max_memory), (Some(3), 256 << 20));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (args, why) in [
            ("-p 0", "0 is not in"),
            ("-p 80 --all-ports", "cannot be used with"),
            ("-f tcp --all-ports", "cannot be used with"),
            ("--duration 0s", "no time at all"),
            ("--duration soon", "not a time"),
            ("--max-memory 1k", "not a size"),
            ("--max-memory 1000", "not from 1MiB"),
            ("--max-memory 159M", "160MiB at least"),
            ("--snaplen 10", "10 is not in"),
            ("--cause nonsense", "explain"),
            ("eth0", "an interface is named by an option: -i eth0"),
        ] {
            let said = parsed(args).unwrap_err();
            assert!(said.contains(why), "{args}: {said}");
        }
    }
}
