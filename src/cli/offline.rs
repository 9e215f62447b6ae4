//! What `analyze` and `compare` share: the options beside the files, and the way from files to a report.

use super::analysis::{self, SLOW_READ};
use super::logs::{self, LogArgs, Opened};
use super::reading::{Reading, read_capture};
use super::view::{FailOn, OutputArgs};
use super::{CliError, ColorWhen, Format, Outcome, graphs};
use crate::capture;
use crate::correlate::{BuildInputs, CaptureInput};
use crate::diagnose::build;
use crate::model::Ns;
use crate::report::{Report, record};
use crate::tcp::Keep;
use std::path::{Path, PathBuf};

/// Options of every subcommand that explains files.
#[derive(clap::Args, Debug)]
pub struct OfflineArgs {
    #[command(flatten)]
    logs: LogArgs,
    /// How to print the report; otherwise as the name of --output ends, else as text.
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    #[command(flatten)]
    output: OutputArgs,
    /// Reads at least this slow are listed.
    #[arg(long, value_name = "DURATION", value_parser = analysis::duration, default_value = SLOW_READ, env = "SYNCSCOPE_SLOW_READ")]
    slow_read: Ns,
    /// List every data segment, not only those that are not `new`.
    #[arg(long)]
    all_segments: bool,
    /// Threads that analyse; the result is the same with any number. [default: one a processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Exit with 1 where a finding is at least this severe.
    #[arg(long, value_name = "SEVERITY", default_value = "warning")]
    fail_on: FailOn,
}

/// What one capture lies in: a file, or several files and folders.
pub type Place = Vec<PathBuf>;

/// What was read, before any conclusion.
pub struct Evidence {
    /// One per place.
    pub captures: Vec<CaptureInput>,
    logs: Vec<Opened>,
}

impl OfflineArgs {
    /// Reads the captures, and the logs that were named beside them.
    pub fn read(&self, places: &[Place]) -> Result<Evidence, CliError> {
        self.check(places)?;
        let logs = self.logs.open()?;
        let hints = logs::hints(&self.logs, &logs);
        // A second capture and logs are joined by bytes and packets, and graphs show each of them.
        let everything =
            places.len() > 1 || !logs.is_empty() || self.all_segments || self.form() == Format::Xplot;
        let keep = if everything { Keep::Everything } else { Keep::Evidence };
        let how = Reading { keep, jobs: self.jobs() };
        let read = |p: &Place| read_capture(&mut *capture::file::open_all(p, &hints)?, None, how);
        let captures = places.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Evidence { captures, logs })
    }

    /// What would fail later on is said at once.
    fn check(&self, places: &[Place]) -> Result<(), CliError> {
        let files = || places.iter().flatten();
        let stdin = files().map(PathBuf::as_path).chain(self.logs.paths()).filter(|p| p.as_os_str() == "-");
        if stdin.count() > 1 {
            let message = "`-` stands for standard input, which can be read once: name files for the others";
            return Err(CliError::Message(message.to_owned()));
        }
        let is_record =
            |d: &&PathBuf| d.join(record::REPORT).is_file() && d.join(record::CLIENT_CAPTURE).is_file();
        if let Some(dir) = files().find(is_record) {
            let dir = dir.display();
            return Err(CliError::Message(format!(
                "{dir} is a run record, which `syncscope view {dir}` opens; its captures are two, taken at two places: \
                 name {dir}/client.pcapng and {dir}/server.pcapng"
            )));
        }
        match (self.form(), &self.output.output) {
            (Format::Xplot, Some(at)) => graphs::check(at),
            (Format::Xplot, None) => Err(graphs::nowhere()),
            _ => self.output.check(),
        }
    }

    fn form(&self) -> Format {
        self.output.form(self.format)
    }

    fn jobs(&self) -> usize {
        self.jobs.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from)
    }

    /// Ties the logs to the connections, and draws the conclusions.
    pub fn report(&self, evidence: Evidence) -> Result<Report, CliError> {
        let captures = evidence.captures;
        if let (Format::Xplot, Some(at)) = (self.form(), &self.output.output) {
            graphs::write(&captures, at)?;
        }
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
        if self.form() != Format::Xplot {
            self.output.print(report, self.format, color)?;
        }
        Ok(self.fail_on.outcome(report))
    }
}

/// Whether two file names differ only in their numbers, as those of a rotating capture do: `a.pcap` and `a.pcap1`,
/// `a_00001_20261121.pcapng` and `a_00002_20261121.pcapng`.
pub fn count_on(a: &Path, b: &Path) -> bool {
    let plain = |p: &Path| -> Option<String> {
        let name = p.file_name()?.to_str()?;
        Some(name.chars().filter(|c| !c.is_ascii_digit()).collect())
    };
    a.parent() == b.parent() && a != b && plain(a).is_some() && plain(a) == plain(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_rotating_capture_count_on() {
        let yes = |a: &str, b: &str| assert!(count_on(Path::new(a), Path::new(b)), "{a} {b}");
        let no = |a: &str, b: &str| assert!(!count_on(Path::new(a), Path::new(b)), "{a} {b}");
        yes("/x/a.pcap", "/x/a.pcap1");
        yes("a_00001_20261121.pcapng", "a_00002_20261121.pcapng");
        yes("a.pcap0.gz", "a.pcap1.gz");
        no("near.pcap", "far.pcap");
        no("x/a0.pcap", "y/a1.pcap");
        no("a.pcap", "a.pcap");
        no("-", "-");
    }
}
