//! `syncscope analyze`: explain a capture file.

use super::analysis::{self, SLOW_READ};
use super::logs::{self, LogArgs};
use super::view::FailOn;
use super::{CliError, ColorWhen, Format, Outcome};
use crate::correlate::BuildInputs;
use crate::diagnose::build;
use crate::model::Ns;
use crate::{applog, capture};
use std::path::PathBuf;

/// Arguments of `syncscope analyze`.
#[derive(clap::Args, Debug)]
#[command(after_long_help = applog::PATTERN_HELP)]
pub struct Args {
    /// A pcap or pcapng file, also compressed with gzip or zstd, or what tcpdump printed; `-` reads
    /// standard input. A second one shows the same traffic at another place; their clocks need not
    /// agree.
    #[arg(value_name = "FILE", required = true, num_args = 1..=2)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    logs: LogArgs,
    /// How to print the report.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// Reads at least this slow are listed.
    #[arg(long, value_name = "DURATION", value_parser = analysis::duration, default_value = SLOW_READ, env = "SYNCSCOPE_SLOW_READ")]
    slow_read: Ns,
    /// List every data segment, not only those that are not `new`.
    #[arg(long)]
    all_segments: bool,
    /// Exit with 1 where a finding is at least this severe.
    #[arg(long, value_name = "SEVERITY", default_value = "warning")]
    fail_on: FailOn,
}

/// Runs it.
pub fn run(args: Args, color: ColorWhen) -> Result<Outcome, CliError> {
    let opened = args.logs.open()?;
    let hints = logs::hints(&args.logs, &opened);
    let mut captures = Vec::new();
    for file in &args.files {
        if file.is_dir() {
            let dir = file.display();
            return Err(CliError::Message(format!(
                "{dir} is a folder: `syncscope view {dir}` opens a run record; analyze reads the captures in it"
            )));
        }
        captures.push(analysis::read_capture(&mut *capture::file::open_with(file, &hints)?, None)?);
    }
    let (logs, quality) = args.logs.bind(opened, &captures)?;
    let names: Vec<&str> = captures.iter().map(|c| c.name.as_str()).collect();
    let report = build(BuildInputs {
        title: names.join(" and "),
        slow_read: args.slow_read,
        all_segments: args.all_segments,
        captures,
        logs,
        quality,
        ..BuildInputs::default()
    });
    super::view::print(&report, args.format, color)?;
    Ok(args.fail_on.outcome(&report))
}
