//! What a run leaves behind: a folder that `syncscope view` opens again.
//!
//! Next to the files that [`crate::report::record`] names lies `run.json`: the clock offset, how the
//! captures went and how the run ended.

use super::error::DriveError;
use super::options::Mode;
use crate::model::app::ClockOffset;
use crate::model::units::printable;
use crate::model::{AppLog, Ns};
use crate::report::{RunEnded, RunHow, SyncStats, record};
use serde::{Deserialize, Serialize};
use std::io::{BufReader, BufWriter, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Name of the summary inside the record.
pub const RUN: &str = "run.json";

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "how", content = "message")]
pub enum RunEnd {
    /// Everything was synchronised.
    Done,
    /// The user stopped it.
    Interrupted,
    /// No sign of life from the peer; in words what TCP was doing.
    TimedOut(String),
    /// The connection broke; in words.
    Broken(String),
    /// One of the two sides could not go on: a file, a protocol error.
    Failed(String),
}

impl RunEnd {
    /// One sentence.
    pub fn sentence(&self) -> String {
        match self {
            RunEnd::Done => "done".to_owned(),
            RunEnd::Interrupted => "interrupted".to_owned(),
            RunEnd::TimedOut(m) | RunEnd::Broken(m) | RunEnd::Failed(m) => m.clone(),
        }
    }
}

/// How one side's capture went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CaptureState {
    /// Interface.
    pub device: String,
    /// Packets written to the file.
    pub frames: u64,
    /// Packets that the kernel or the library dropped.
    pub dropped: u64,
    /// Everything that this end is known to have sent and received is in it, and nothing was dropped.
    pub complete: bool,
    /// What is not in it, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Why there is none; with the command that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl CaptureState {
    /// What the capture lacks, in words that a terminal may be shown.
    pub fn remarks(&self) -> impl Iterator<Item = String> {
        let dropped =
            (self.dropped > 0).then(|| format!("{} packets were dropped by the kernel", self.dropped));
        dropped.into_iter().chain(self.missing.iter().map(|m| printable(m)))
    }
}

/// One run, as it lies on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The folder; not stored, set when opened.
    #[serde(skip)]
    pub dir: PathBuf,
    /// Which way.
    pub mode: Mode,
    /// Where the server listened.
    pub server: SocketAddr,
    /// The client's end of the data connection.
    pub client: SocketAddr,
    /// How it ended.
    pub end: RunEnd,
    /// What the sync did.
    pub stats: SyncStats,
    /// Server's clock minus client's; none where it could not be measured.
    pub clock: Option<ClockOffset>,
    /// The client's capture; none: not asked for.
    pub client_capture: Option<CaptureState>,
    /// The server's.
    pub server_capture: Option<CaptureState>,
    /// The client's system clock was stepped by this much during the run.
    pub client_clock_step: Ns,
    /// The server's.
    pub server_clock_step: Ns,
    /// What else went wrong, in words.
    pub errors: Vec<String>,
}

impl RunRecord {
    /// How it ended, for the report.
    pub fn ended(&self) -> RunEnded {
        let how = match &self.end {
            RunEnd::Done => RunHow::Done,
            RunEnd::Interrupted => RunHow::Interrupted,
            RunEnd::TimedOut(_) => RunHow::TimedOut,
            RunEnd::Broken(_) => RunHow::Broken,
            RunEnd::Failed(_) => RunHow::Failed,
        };
        let message = match &self.end {
            RunEnd::Done if self.stats.failed > 0 => self.errors.first().cloned().unwrap_or_default(),
            RunEnd::Done => String::new(),
            end => end.sentence(),
        };
        RunEnded { how, message: printable(&message) }
    }

    /// Whether a folder holds a record, or a part of one, that a new run would overwrite.
    pub fn is_in(dir: &Path) -> bool {
        use record::{CLIENT_CAPTURE, CLIENT_EVENTS, REPORT, SERVER_CAPTURE, SERVER_EVENTS};
        [REPORT, RUN, CLIENT_CAPTURE, SERVER_CAPTURE, CLIENT_EVENTS, SERVER_EVENTS]
            .iter()
            .any(|name| dir.join(name).exists())
    }

    /// Reads a record's summary.
    pub fn open(dir: &Path) -> Result<RunRecord, DriveError> {
        let path = dir.join(RUN);
        let fail = |e: &dyn std::fmt::Display| DriveError::local(path.display().to_string(), e);
        let file = std::fs::File::open(&path).map_err(|e| fail(&e))?;
        let record: RunRecord = serde_json::from_reader(BufReader::new(file)).map_err(|e| fail(&e))?;
        Ok(RunRecord { dir: dir.to_owned(), ..record })
    }

    /// Writes the summary.
    pub fn save(&self) -> Result<(), DriveError> {
        write_json(&self.dir.join(RUN), self)
    }

    /// The client's capture, if the file is there.
    pub fn client_pcapng(&self) -> Option<PathBuf> {
        self.existing(record::CLIENT_CAPTURE)
    }

    /// The server's capture, if the file is there.
    pub fn server_pcapng(&self) -> Option<PathBuf> {
        self.existing(record::SERVER_CAPTURE)
    }

    /// The client's log, if the file is there and whole.
    pub fn client_log(&self) -> Option<AppLog> {
        read_log(&self.existing(record::CLIENT_EVENTS)?).ok()
    }

    /// The server's log, if the file is there and whole.
    pub fn server_log(&self) -> Option<AppLog> {
        read_log(&self.existing(record::SERVER_EVENTS)?).ok()
    }

    fn existing(&self, name: &str) -> Option<PathBuf> {
        let path = self.dir.join(name);
        path.is_file().then_some(path)
    }
}

/// Reads an application's log.
pub fn read_log(path: &Path) -> Result<AppLog, DriveError> {
    let fail = |e: &dyn std::fmt::Display| DriveError::local(path.display().to_string(), e);
    let file = std::fs::File::open(path).map_err(|e| fail(&e))?;
    serde_json::from_reader(BufReader::new(file)).map_err(|e| fail(&e))
}

/// Writes JSON so that a reader sees the old file or the new one, never half of it.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), DriveError> {
    let fail = |e: &dyn std::fmt::Display| DriveError::local(path.display().to_string(), e);
    let part = path.with_extension("part");
    let mut out = BufWriter::new(std::fs::File::create(&part).map_err(|e| fail(&e))?);
    serde_json::to_writer(&mut out, value).map_err(|e| fail(&e))?;
    out.write_all(b"\n").and_then(|()| out.flush()).map_err(|e| fail(&e))?;
    std::fs::rename(&part, path).map_err(|e| fail(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_opens_as_it_was_saved() {
        let dir = tempfile::tempdir().unwrap();
        let record = RunRecord {
            dir: dir.path().to_owned(),
            mode: Mode::Push,
            server: "10.0.0.2:8730".parse().unwrap(),
            client: "10.0.0.1:40000".parse().unwrap(),
            end: RunEnd::TimedOut("nothing for 10 s".to_owned()),
            stats: SyncStats { files: 3, ..SyncStats::default() },
            clock: Some(ClockOffset { offset: Ns(-3), bound: Ns(40) }),
            client_capture: Some(CaptureState { frames: 12, complete: true, ..CaptureState::default() }),
            server_capture: None,
            client_clock_step: Ns(1),
            server_clock_step: Ns(0),
            errors: vec!["the server's log is missing".to_owned()],
        };
        record.save().unwrap();
        assert_eq!(RunRecord::open(dir.path()).unwrap(), record);
        assert_eq!(record.client_pcapng(), None);
    }
}
