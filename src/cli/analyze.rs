//! `syncscope analyze`: explain a capture file.

use super::offline::OfflineArgs;
use super::{CliError, ColorWhen, Outcome};
use crate::applog;
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
    offline: OfflineArgs,
}

/// Runs it.
pub fn run(args: Args, color: ColorWhen) -> Result<Outcome, CliError> {
    if let Some(dir) = args.files.iter().find(|f| f.is_dir()) {
        let dir = dir.display();
        return Err(CliError::Message(format!(
            "{dir} is a folder: `syncscope view {dir}` opens a run record; analyze reads the captures in it"
        )));
    }
    let evidence = args.offline.read(&args.files)?;
    let report = args.offline.report(evidence)?;
    args.offline.print(&report, color)
}
