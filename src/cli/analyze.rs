//! `syncscope analyze`: explain captures.

use super::offline::{Evidence, OfflineArgs, count_on};
use super::{CliError, ColorWhen, Outcome};
use crate::applog;
use crate::model::units::printable;
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  syncscope analyze trace.pcapng                         one capture
  syncscope analyze /var/captures/                       every capture in a folder and below, as one
  syncscope analyze trace.pcap trace.pcap1 trace.pcap2   the files of a rotating capture
  syncscope analyze near.pcapng far.pcapng               the same traffic at two places
  syncscope analyze --follow /var/captures/              while tcpdump -U writes there
  tcpdump -w - -i eth0 tcp | syncscope analyze - -o report.json";

/// Arguments of `syncscope analyze`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{}", applog::PATTERN_HELP))]
pub struct Args {
    /// A pcap or pcapng file, also compressed with gzip or zstd, or what tcpdump printed; a folder stands for the
    /// captures in it; `-` reads standard input. A second one shows the same traffic at another place; their clocks
    /// need not agree. Three or more are one capture in several files, read in order of time; and so are two whose
    /// names differ only in numbers and whose times follow each other.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// All files are one capture, also if they are two: what a rotating capture left, or several interfaces of one
    /// place.
    #[arg(long)]
    join: bool,
    /// Read on as the capture is written, until Ctrl-C: a file, a folder in which files appear (`tcpdump -C` or `-G`), or
    /// `-`. On a terminal the screens show the report so far; --output is written anew every second or so; with `--format
    /// ndjson` news come as they are known, and at the end the whole report, from its own `meta` line on.
    #[arg(long, conflicts_with = "join")]
    follow: bool,
    #[command(flatten)]
    offline: OfflineArgs,
}

/// Runs it.
pub fn run(args: Args, color: ColorWhen) -> Result<Outcome, CliError> {
    if args.follow {
        return args.offline.follow(&args.files, color);
    }
    let evidence = match args.files.as_slice() {
        [a, b] if !args.join => {
            let two = args.offline.read(&[vec![a.clone()], vec![b.clone()]])?;
            if count_on(a, b) && one_after_the_other(&two) {
                eprintln!(
                    "{} and {} follow each other in name and time, and are read as one capture",
                    printable(&a.display().to_string()),
                    printable(&b.display().to_string())
                );
                args.offline.read(std::slice::from_ref(&args.files))?
            } else {
                two
            }
        }
        _ => args.offline.read(std::slice::from_ref(&args.files))?,
    };
    let (report, again) = args.offline.report(evidence)?;
    args.offline.print(&report, again, color)
}

fn one_after_the_other(e: &Evidence) -> bool {
    let spans: Vec<_> = e.captures.iter().filter_map(|c| c.span).collect();
    matches!(spans[..], [a, b] if a.end <= b.start || b.end <= a.start)
}
