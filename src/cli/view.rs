//! `syncscope view`: the screens again, or the text, of a report that was stored.

use super::{CliError, ColorWhen, Format, Outcome, output};
use crate::capture::file::is_plain_capture;
use crate::report::{Report, Severity, VerdictKind, record};
use crate::tui;
use crate::view::csv::Rows;
use crate::view::{self, TextOptions};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

/// Arguments of `syncscope view`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A run record (folder), a report file (JSON or NDJSON), or `-` for stdin.
    #[arg(value_name = "RECORD")]
    path: PathBuf,
    /// Print instead of opening the screens. Off a terminal text is printed in any case.
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    #[command(flatten)]
    output: OutputArgs,
    /// Exit with 3 where the report is inconclusive, else with 1 where a finding is at least this
    /// severe. By default showing a report succeeds whatever it says.
    #[arg(long, value_name = "SEVERITY", default_value = "never")]
    fail_on: FailOn,
}

/// Where a report goes.
#[derive(clap::Args, Debug, Default)]
pub struct OutputArgs {
    /// Write the report to this file, in the form that its name ends in (.txt .json .ndjson .csv .md .prom .xpl) unless
    /// --format says another. It appears whole or not at all; `-` is standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// What `--format csv` has a row for.
    #[arg(long, value_name = "ROWS", default_value = "flows",
          value_parser = PossibleValuesParser::new(Rows::ALL.iter().map(|r| r.as_str())).map(rows))]
    table: Option<Rows>,
}

fn rows(word: String) -> Rows {
    Rows::ALL.iter().copied().find(|r| r.as_str() == word).unwrap_or(Rows::Flows)
}

impl OutputArgs {
    fn file(&self) -> Option<&Path> {
        self.output.as_deref().filter(|f| f.as_os_str() != "-")
    }

    /// What was asked for, and without that what the name of the file asks for.
    pub fn form(&self, format: Option<Format>) -> Format {
        format.or_else(|| Format::of_name(self.file()?)).unwrap_or(Format::Text)
    }

    /// Fails early where nothing can be written: before hours are spent on reading.
    pub fn check(&self) -> Result<(), CliError> {
        self.file().map_or(Ok(()), output::check)
    }

    /// Prints a report. Every subcommand that ends in a report ends here.
    pub fn print(&self, report: &Report, format: Option<Format>, color: ColorWhen) -> Result<(), CliError> {
        let file = self.file();
        let format = self.form(format);
        format.of_report()?;
        output::to(file, |mut out| match format {
            // a run has its own story, in which two captures are one; who hands in two files asks about the path
            Format::Text => {
                let look = if file.is_none() { text_options(color) } else { in_a_file(color) };
                let options = TextOptions { comparison: report.run.is_none(), ..look };
                view::text::write(report, &mut out, options)
            }
            Format::Json => view::json::write(report, &mut out),
            Format::Ndjson => view::ndjson::write(report, &mut out),
            Format::Csv => view::csv::write(report, self.table.unwrap_or(Rows::Flows), &mut out),
            Format::Md => view::md::write(report, &mut out),
            Format::Prom => view::prom::write(report, &mut out),
            // it has said so before
            Format::Xplot => Ok(()),
        })
    }
}

/// From which severity on a finding makes the exit code 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FailOn {
    /// Any finding.
    Info,
    /// Findings that cost time.
    Warning,
    /// Findings that break or hang a transfer.
    Error,
    /// None.
    Never,
}

impl FailOn {
    /// What a report comes to under this rule.
    pub fn outcome(self, report: &Report) -> Outcome {
        let from = match self {
            FailOn::Info => Severity::Info,
            FailOn::Warning => Severity::Warning,
            FailOn::Error => Severity::Error,
            FailOn::Never => return Outcome::Ok,
        };
        if report.verdict.kind == VerdictKind::Inconclusive {
            Outcome::Inconclusive
        } else if report.findings.iter().any(|f| f.severity >= from) {
            Outcome::Findings
        } else {
            Outcome::Ok
        }
    }
}

/// Runs it.
pub fn run(args: Args, color: ColorWhen) -> Result<Outcome, CliError> {
    args.output.form(args.format).of_report()?;
    args.output.check()?;
    let report = load(&args.path)?;
    let outcome = args.fail_on.outcome(&report);
    if args.format.is_none() && args.output.output.is_none() && screens_possible() {
        show(report, color)?;
    } else {
        args.output.print(&report, args.format, color)?;
    }
    Ok(outcome)
}

/// Screens are for terminals that can do more than print.
pub fn screens_possible() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// Shows a report on the screens until the user leaves.
pub fn show(report: Report, color: ColorWhen) -> Result<(), CliError> {
    let theme = tui::theme::Theme { color: color.enabled() };
    tui::run::show_with(report, theme).map_err(|e| CliError::Message(e.to_string()))
}

/// Opens a stored report.
pub fn load(path: &Path) -> Result<Report, CliError> {
    let (name, text) = if path == Path::new("-") {
        let mut bytes = Vec::new();
        let read = std::io::stdin().lock().read_to_end(&mut bytes);
        (PathBuf::from("stdin"), read.map(|_| bytes))
    } else if path.is_dir() {
        let file = path.join(record::REPORT);
        if !file.exists() {
            return Err(CliError::Message(format!(
                "{} is a folder without {}: name a run record or a report file",
                path.display(),
                record::REPORT
            )));
        }
        let bytes = std::fs::read(&file);
        (file, bytes)
    } else {
        (path.to_owned(), std::fs::read(path))
    };
    let bytes = text.map_err(|e| CliError::Message(format!("cannot read {}: {e}", name.display())))?;
    if is_plain_capture(&bytes) {
        return Err(CliError::Message(format!(
            "{} is a capture, not a report: try `syncscope analyze {}`",
            name.display(),
            name.display()
        )));
    }
    view::load(&String::from_utf8_lossy(&bytes))
        .map_err(|e| CliError::Message(format!("cannot show {}: {e}", name.display())))
}

/// A file has no width and no colour, unless colour is asked for.
fn in_a_file(color: ColorWhen) -> TextOptions {
    TextOptions { color: color == ColorWhen::Always, ..TextOptions::default() }
}

/// How text for stdout should look: as wide as the terminal, or 100 columns off one.
pub fn text_options(color: ColorWhen) -> TextOptions {
    let width = if std::io::stdout().is_terminal() { tui::run::terminal_width() } else { None };
    let plain = TextOptions::default();
    TextOptions { color: color.enabled(), width: width.unwrap_or(plain.width), ..plain }
}
