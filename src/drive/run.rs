//! One test run, from the client's side.

use super::error::DriveError;
use super::options::SyncOptions;
use super::record::RunRecord;
use super::recorder::LiveRun;
use crate::model::{Ns, Phase};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// How far a run is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Since the data connection was opened.
    pub elapsed: Ns,
    /// Bytes read from the data connection.
    pub read: u64,
    /// Bytes written to it.
    pub written: u64,
    /// What the client is doing.
    pub phase: Phase,
    /// The file it is at: index and name.
    pub file: Option<(u32, String)>,
    /// Files known so far.
    pub files: u32,
}

/// Who watches a run. `()` does not.
pub trait Observer {
    /// The data connection is open; `live` is the client's log as it grows.
    fn started(&mut self, live: &Arc<LiveRun>) {
        let _ = live;
    }

    /// Called about ten times a second, from the thread that moves the bytes: be quick.
    fn progress(&mut self, progress: &Progress) {
        let _ = progress;
    }
}

impl Observer for () {}

/// Runs one sync against a [`super::serve`] and writes its record.
///
/// What goes wrong once the data connection is open does not fail the run: it is told by
/// [`RunRecord::end`] and [`RunRecord::errors`], because the record is what is wanted then.
pub fn run_sync(
    options: &SyncOptions,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<RunRecord, DriveError> {
    let _ = (stop, observer);
    Err(DriveError::local(format!("sync with {}", options.server), "the engine has not landed yet"))
}
