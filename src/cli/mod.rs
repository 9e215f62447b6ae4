//! What the user said, and what the process answers with. One file a subcommand.
//!
//! Exit codes: 0 healthy or passed · 1 findings, or the demo's diagnosis was wrong · 2 could not do
//! it · 3 inconclusive · 130 interrupted. A broken pipe is not an error.

pub mod analysis;
mod analyze;
mod annotate;
mod compare;
mod config;
mod demo;
mod doctor;
mod explain;
mod generate;
mod graphs;
mod lab;
mod live;
mod logs;
mod modules;
mod offline;
mod output;
pub mod reading;
mod retry;
pub mod score;
mod serve;
mod sync;
mod talk;
mod view;
mod watched;
mod wishes;

use crate::model::units::printable;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Why is this transfer slow or hung, and whose fault is it?
#[derive(Parser, Debug)]
#[command(name = "syncscope", version, max_term_width = 100, propagate_version = true)]
struct Cli {
    /// When to use colour.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", env = "SYNCSCOPE_COLOR")]
    color: ColorWhen,
    /// Take settings from this file; see `syncscope generate config`.
    #[arg(long = "config", global = true, value_name = "FILE", env = "SYNCSCOPE_CONFIG")]
    _config: Option<PathBuf>,
    /// Take no settings from a file.
    #[arg(long = "no-config", global = true)]
    _no_config: bool,
    #[command(subcommand)]
    command: Command,
}

/// When to use colour (`NO_COLOR` is honoured by `auto`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorWhen {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl ColorWhen {
    /// Whether text for stdout may carry colour.
    pub fn enabled(self) -> bool {
        use std::io::IsTerminal;
        match self {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto => {
                std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && std::io::stdout().is_terminal()
            }
        }
    }
}

/// How to print a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Verdict, findings and slow reads, for people.
    Text,
    /// One JSON document, `syncscope.report/1`.
    Json,
    /// One JSON object a line, meta first.
    Ndjson,
    /// A table for spreadsheets, RFC 4180; which one says --table.
    Csv,
    /// Markdown, for a ticket.
    Md,
    /// Sums for the textfile collector of Prometheus' node_exporter.
    Prom,
    /// Time-sequence graphs for xplot or jPlotter, one file a direction; --output is the folder or how their names
    /// begin.
    Xplot,
}

impl Format {
    /// Fails where a report alone does not do.
    fn of_report(self) -> Result<(), CliError> {
        match self {
            Format::Xplot => Err(CliError::Message(
                "xplot draws packets, and a report has too few: `syncscope analyze CAPTURE --format xplot -o FOLDER`"
                    .to_owned(),
            )),
            _ => Ok(()),
        }
    }

    /// What the name of a file asks for.
    fn of_name(path: &std::path::Path) -> Option<Format> {
        match path.extension()?.to_str()? {
            "txt" => Some(Format::Text),
            "json" => Some(Format::Json),
            "ndjson" | "jsonl" => Some(Format::Ndjson),
            "csv" => Some(Format::Csv),
            "md" => Some(Format::Md),
            "prom" => Some(Format::Prom),
            "xpl" => Some(Format::Xplot),
            _ => None,
        }
    }
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Show what it does: a test sync over an emulated bad link, captured and explained.
    Demo(demo::Args),
    /// Explain a capture file.
    Analyze(analyze::Args),
    /// Lay two captures of the same traffic on each other: losses between, delays, clocks.
    Compare(compare::Args),
    /// Run a test sync against a `serve`, capture it, explain it.
    Sync(sync::Args),
    /// Be the peer of a test sync.
    Serve(serve::Args),
    /// Open a run record or a stored report again.
    View(view::Args),
    /// Explain a finding code at length.
    Explain(explain::Args),
    /// Run any command over an emulated link.
    Lab(lab::Args),
    /// Say what this machine allows: capture, namespaces, TUN.
    Doctor(doctor::Args),
    /// Print what is made from the program itself: JSON schema, manual pages, completions, settings.
    Generate(generate::Args),
}

/// What a subcommand came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Exit 0.
    Ok,
    /// Exit 1: findings, or a wrong diagnosis.
    Findings,
    /// Exit 3: the evidence does not allow a verdict.
    Inconclusive,
    /// Exit 130.
    Interrupted,
    /// Whatever a wrapped command said.
    Code(u8),
}

/// Why it could not be done; printed to stderr, exit 2.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// A message for people: what, where, what to do.
    #[error("{0}")]
    Message(String),
    /// A capture could not be read or made.
    #[error(transparent)]
    Capture(#[from] crate::capture::CaptureError),
    /// A filter expression that makes no sense.
    #[error(transparent)]
    Filter(#[from] crate::capture::filter::FilterError),
    /// Output could not be written.
    #[error("cannot write output: {0}")]
    Output(#[from] std::io::Error),
}

/// Runs the program; the only place where an outcome becomes an exit code.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let result = config::apply(Cli::command(), &args).and_then(|command| {
        let cli = Cli::from_arg_matches(&command.get_matches_from(args)).unwrap_or_else(|e| e.exit());
        run(cli)
    });
    match result {
        Ok(Outcome::Ok) => ExitCode::SUCCESS,
        Ok(Outcome::Findings) => ExitCode::from(1),
        Ok(Outcome::Inconclusive) => ExitCode::from(3),
        Ok(Outcome::Interrupted) => ExitCode::from(130),
        Ok(Outcome::Code(c)) => ExitCode::from(c),
        Err(CliError::Output(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(e) => {
            // names of files and words of peers may be in it
            for (i, line) in e.to_string().lines().enumerate() {
                eprintln!("{}{}", if i == 0 { "syncscope: " } else { "" }, printable(line));
            }
            ExitCode::from(2)
        }
    }
}

fn run(cli: Cli) -> Result<Outcome, CliError> {
    match cli.command {
        Command::Demo(a) => demo::run(a, cli.color),
        Command::Analyze(a) => analyze::run(a, cli.color),
        Command::Compare(a) => compare::run(a, cli.color),
        Command::Sync(a) => sync::run(a, cli.color),
        Command::Serve(a) => serve::run(a),
        Command::View(a) => view::run(a, cli.color),
        Command::Explain(a) => explain::run(a),
        Command::Lab(a) => lab::run(a),
        Command::Doctor(a) => doctor::run(a),
        Command::Generate(a) => generate::run(a),
    }
}
