//! `syncscope analyze`: explain a capture file.

use super::analysis::{self, SLOW_READ};
use super::view::FailOn;
use super::{CliError, ColorWhen, Format, Outcome};
use crate::capture;
use crate::correlate::BuildInputs;
use crate::diagnose::build;
use crate::model::Ns;
use std::path::PathBuf;

/// Arguments of `syncscope analyze`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A pcap or pcapng file, also compressed with gzip or zstd; `-` reads standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
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
    let mut source = capture::file::open(&args.file)?;
    let input = analysis::read_capture(&mut *source, None)?;
    let report = build(BuildInputs {
        title: input.name.clone(),
        slow_read: args.slow_read,
        all_segments: args.all_segments,
        captures: vec![input],
        ..BuildInputs::default()
    });
    super::view::print(&report, args.format, color)?;
    Ok(args.fail_on.outcome(&report))
}
