//! What `analyze` and `compare` share: the options beside the files, and the way from files to a report.

use super::analysis::{self, SLOW_READ};
use super::logs::{self, LogArgs, Opened};
use super::view::FailOn;
use super::{CliError, ColorWhen, Format, Outcome};
use crate::capture;
use crate::correlate::{BuildInputs, CaptureInput};
use crate::diagnose::build;
use crate::model::Ns;
use crate::report::Report;
use std::path::PathBuf;

/// Options of every subcommand that explains files.
#[derive(clap::Args, Debug)]
pub struct OfflineArgs {
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

/// What was read, before any conclusion.
pub struct Evidence {
    /// One per file.
    pub captures: Vec<CaptureInput>,
    logs: Vec<Opened>,
}

impl OfflineArgs {
    /// Reads the captures, and the logs that were named beside them.
    pub fn read(&self, files: &[PathBuf]) -> Result<Evidence, CliError> {
        let logs = self.logs.open()?;
        let hints = logs::hints(&self.logs, &logs);
        let read = |file| analysis::read_capture(&mut *capture::file::open_with(file, &hints)?, None);
        let captures = files.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Evidence { captures, logs })
    }

    /// Ties the logs to the connections, and draws the conclusions.
    pub fn report(&self, evidence: Evidence) -> Result<Report, CliError> {
        let captures = evidence.captures;
        let (logs, quality) = self.logs.bind(evidence.logs, &captures)?;
        let names: Vec<&str> = captures.iter().map(|c| c.name.as_str()).collect();
        Ok(build(BuildInputs {
            title: names.join(" and "),
            slow_read: self.slow_read,
            all_segments: self.all_segments,
            captures,
            logs,
            quality,
            ..BuildInputs::default()
        }))
    }

    /// Prints the report; the outcome is what it comes to.
    pub fn print(&self, report: &Report, color: ColorWhen) -> Result<Outcome, CliError> {
        super::view::print(report, self.format, color)?;
        Ok(self.fail_on.outcome(report))
    }
}
