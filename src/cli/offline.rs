//! What `analyze` and `compare` share: the options beside the files, and the way from files to a report.

use super::analysis::{self, SLOW_READ};
use super::annotate::{EvidenceArgs, Flows, Spool};
use super::logs::{self, LogArgs, Opened};
use super::reading::{Reading, read_capture};
use super::sync::stop_on_signals;
use super::view::{FailOn, OutputArgs};
use super::watched::{self, Watched};
use super::{CliError, ColorWhen, Format, Outcome, annotate, graphs};
use crate::capture;
use crate::capture::file::Hints;
use crate::capture::filter::Filter;
use crate::correlate::{BuildInputs, CaptureInput};
use crate::decode::redact::Mask;
use crate::diagnose::build;
use crate::model::Ns;
use crate::report::{Quality, Report, Severity, record};
use crate::tcp::Keep;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Options of every subcommand that explains files.
#[derive(clap::Args, Debug)]
pub struct OfflineArgs {
    #[command(flatten)]
    pub(super) logs: LogArgs,
    /// How to print the report; otherwise as the name of --output ends, else as text.
    #[arg(long, value_name = "FORMAT")]
    pub(super) format: Option<Format>,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    /// Analyse only what passes: an expression as tcpdump takes it, and `flow 3` (a connection's number) or
    /// `time +2s..+5s` (also absolute, `2026-11-21T12:38:17Z..`), joined by `and`.
    #[arg(long, value_name = "EXPRESSION")]
    pub(super) filter: Option<String>,
    #[command(flatten)]
    pub(super) evidence: EvidenceArgs,
    /// Reads at least this slow are listed.
    #[arg(long, value_name = "DURATION", value_parser = analysis::duration, default_value = SLOW_READ, env = "SYNCSCOPE_SLOW_READ")]
    pub(super) slow_read: Ns,
    /// List every data segment, not only those that are not `new`.
    #[arg(long)]
    pub(super) all_segments: bool,
    /// Threads that analyse; the result is the same with any number. [default: one a processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Exit with 1 where a finding is at least this severe.
    #[arg(long, value_name = "SEVERITY", default_value = "warning")]
    pub(super) fail_on: FailOn,
}

/// What one capture lies in: a file, or several files and folders.
pub type Place = Vec<PathBuf>;

/// What was read, before any conclusion.
pub struct Evidence {
    /// One per place.
    pub captures: Vec<CaptureInput>,
    logs: Vec<Opened>,
    again: Again,
}

/// How to read the captures a second time.
pub struct Again {
    places: Vec<Place>,
    hints: Hints,
    /// Holds what could be read only once.
    _spools: Vec<Spool>,
    mask: Option<Mask>,
    filter: Filter,
    /// Per place, where the filter names connections.
    flows: Vec<Flows>,
    /// Per place, how many were analysed, where that was interrupted.
    frames: Vec<u64>,
    /// Whether the user has interrupted the reading.
    interrupted: bool,
}

impl OfflineArgs {
    /// Reads the captures, and the logs that were named beside them.
    pub fn read(&self, places: &[Place]) -> Result<Evidence, CliError> {
        self.check(places)?;
        let filter = self.filter.as_deref().map_or(Ok(Filter::default()), Filter::parse)?;
        let logs = self.logs.open()?;
        let stop = stop_on_signals()?;
        let hints = Hints { stop: Some(Arc::clone(&stop)), ..logs::hints(&self.logs, &logs) };
        // A second capture and logs are joined by bytes and packets, and graphs show each of them.
        let everything =
            places.len() > 1 || !logs.is_empty() || self.all_segments || self.form() == Format::Xplot;
        let keep = if everything { Keep::Everything } else { Keep::Evidence };
        let how = Reading { keep, jobs: self.jobs() };
        let spooled = self.evidence.again().then(|| spool(places, &hints)).transpose()?;
        let (read, _spools, names) = spooled.unwrap_or_else(|| (places.to_vec(), Vec::new(), Vec::new()));
        // who has stopped a pipe wants to know what came through it
        let cut_short = stop.swap(false, Ordering::Relaxed);
        let (mut captures, mut flows) = (Vec::new(), Vec::new());
        for place in &read {
            let opened = capture::file::open_all(place, &hints);
            let source = match opened {
                Err(_) if stop.load(Ordering::Relaxed) => return Err(CliError::Interrupted),
                opened => filter.on(opened?),
            };
            let mut source = Watched::new(source, Arc::clone(&stop), everything);
            let mut c = read_capture(&mut source, None, how)?;
            if filter.flows().is_some() {
                only_flows(&mut c, &filter);
                flows.push(Flows::of(&c));
            }
            said(&mut c, &names);
            if cut_short {
                c.quality.retain(|q| q.code != "cut-file");
                c.quality.push(Quality {
                    input: None,
                    code: "interrupted".to_owned(),
                    severity: Severity::Warning,
                    count: 1,
                    message: watched::interrupted(c.frames),
                });
            }
            captures.push(c);
        }
        // what was interrupted is read again as far as it was
        let hints = Hints { stop: None, ..hints };
        let interrupted = cut_short || stop.load(Ordering::Relaxed);
        let frames = captures.iter().filter(|_| interrupted).map(|c| c.frames).collect();
        let again = Again {
            places: read,
            hints,
            _spools,
            mask: self.evidence.mask()?,
            filter,
            flows,
            frames,
            interrupted,
        };
        Ok(Evidence { captures, logs, again })
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
        self.evidence.check(places.len())?;
        match (self.form(), &self.output.output) {
            (Format::Xplot, Some(at)) => graphs::check(at),
            (Format::Xplot, None) => Err(graphs::nowhere()),
            _ => self.output.check(),
        }
    }

    pub(super) fn form(&self) -> Format {
        self.output.form(self.format)
    }

    fn jobs(&self) -> usize {
        self.jobs.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from)
    }

    /// Ties the logs to the connections, and draws the conclusions.
    pub fn report(&self, evidence: Evidence) -> Result<(Report, Again), CliError> {
        let Evidence { mut captures, logs, mut again } = evidence;
        let (mut logs, mut quality) = self.logs.bind(logs, &captures)?;
        if let Some(mask) = &mut again.mask {
            annotate::hide(mask, &mut captures, &mut logs, &mut quality);
        }
        if let (Format::Xplot, Some(at)) = (self.form(), &self.output.output) {
            graphs::write(&captures, at)?;
        }
        let names: Vec<&str> = captures.iter().map(|c| c.name.as_str()).collect();
        let report = build(BuildInputs {
            title: names.join(" and "),
            slow_read: self.slow_read,
            all_segments: self.all_segments,
            captures,
            logs,
            quality,
            ..BuildInputs::default()
        });
        Ok((report, again))
    }

    /// Prints the report and writes the evidence; the outcome is what it comes to.
    pub fn print(&self, report: &Report, mut again: Again, color: ColorWhen) -> Result<Outcome, CliError> {
        if self.form() != Format::Xplot {
            self.output.print(report, self.format, color)?;
        }
        let interrupted = again.interrupted;
        if interrupted && self.evidence.again() {
            eprintln!("interrupted: the evidence is written as far as the capture was read");
        }
        self.evidence.write(
            report,
            &again.places,
            &again.hints,
            &again.filter,
            &again.flows,
            &again.frames,
            again.mask.as_mut(),
        )?;
        Ok(if interrupted { Outcome::Interrupted } else { self.fail_on.outcome(report) })
    }
}

/// Connections that a filter names by number; those that stay are numbered anew.
pub(super) fn only_flows(c: &mut CaptureInput, filter: &Filter) {
    let Some(wanted) = filter.flows() else { return };
    let before = c.connections.len();
    c.connections.retain(|x| wanted.contains(&x.flow.0));
    let kept: Vec<String> = c.connections.iter().map(|x| x.flow.0.to_string()).collect();
    let message = match kept.len() {
        0 => format!("the filter names no connection: the capture has {before}, numbered from 0"),
        _ => format!(
            "the filter leaves {} of {before} connections: {} of the whole capture; they are numbered anew from 0",
            kept.len(),
            kept.join(", ")
        ),
    };
    let severity = if kept.is_empty() { Severity::Warning } else { Severity::Info };
    c.quality.push(Quality { input: None, code: "filtered".to_owned(), severity, count: 1, message });
}

/// What can be read only once, kept so that it can be read twice; the last value: what each is called.
#[allow(clippy::type_complexity)]
fn spool(
    places: &[Place],
    hints: &Hints,
) -> Result<(Vec<Place>, Vec<Spool>, Vec<(String, String)>), CliError> {
    let (mut spools, mut names) = (Vec::new(), Vec::new());
    let mut all = places.to_vec();
    for path in all.iter_mut().flatten() {
        let once = path.as_os_str() == "-" || path.metadata().is_ok_and(|m| !m.is_file() && !m.is_dir());
        if once {
            let failed = |e| {
                CliError::Message(format!("{}: cannot keep it for a second reading: {e}", path.display()))
            };
            let (spool, again) = Spool::new(path, hints).map_err(failed)?;
            let name = if path.as_os_str() == "-" {
                "standard input".to_owned()
            } else {
                path.display().to_string()
            };
            names.push((again.display().to_string(), name));
            spools.push(spool);
            *path = again;
        }
    }
    Ok((all, spools, names))
}

/// Names what was kept as the user named it.
fn said(c: &mut CaptureInput, names: &[(String, String)]) {
    for (again, name) in names {
        let all = c.files.iter_mut().map(|f| &mut f.name).chain(c.quality.iter_mut().map(|q| &mut q.message));
        all.chain([&mut c.name]).for_each(|n| *n = n.replace(again, name));
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
