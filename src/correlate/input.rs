//! What the edges hand in: everything that one analysis may rest on.

use super::thin::Whole;
use crate::model::app::ClockOffset;
use crate::model::{AppLog, Ns, Side, Span};
use crate::report::{InputFile, Quality, RunInfo};
use crate::tcp::Connection;
use std::collections::BTreeMap;

/// All evidence for one report. Captures come first in the report's inputs, then logs; the first
/// input's clock is the report's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BuildInputs {
    /// What was analysed, for a headline.
    pub title: String,
    /// Reads at least this slow are listed.
    pub slow_read: Ns,
    /// List every segment, not only those that are not `new`.
    pub all_segments: bool,
    /// A run is still going on.
    pub live: bool,
    /// None, one (either end, or somewhere between) or two (one near each end).
    pub captures: Vec<CaptureInput>,
    /// The applications' own records.
    pub logs: Vec<LogInput>,
    /// The test run behind it, if it was one.
    pub run: Option<RunInfo>,
    /// The server's clock minus the client's, where a control connection measured it.
    pub clock: Option<ClockOffset>,
    /// What is known about the logs' own faults; `input` is filled in.
    pub quality: Vec<Quality>,
}

/// One capture, analysed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CaptureInput {
    /// File name or interface.
    pub name: String,
    /// At whose end it was taken, where that is known from outside.
    pub side: Option<Side>,
    /// Frames read.
    pub frames: u64,
    /// Of these, TCP segments.
    pub tcp: u64,
    /// First and last time stamp.
    pub span: Option<Span>,
    /// Drops that the capture program or kernel reported.
    pub dropped: Option<u64>,
    /// Frames that were not analysed, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// The files that it is made of, where these are several.
    pub files: Vec<InputFile>,
    /// Faults of the file; `input` is filled in here.
    pub quality: Vec<Quality>,
    /// What it showed.
    pub connections: Vec<Connection>,
}

/// One application's record.
#[derive(Clone, Debug, PartialEq)]
pub struct LogInput {
    /// File name, or who wrote it.
    pub name: String,
    /// Its events, on the clock of its host.
    pub log: AppLog,
    /// What it held before it was thinned, if it was.
    pub whole: Option<Whole>,
}
