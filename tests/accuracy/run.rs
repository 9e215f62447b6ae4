//! One scenario with one seed: run it, analyse each capture alone and both together, score each report.

use crate::program::BINARY;
use crate::rivals::{self, Rivals};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use syncscope::cli::analysis::{read_capture, read_log};
use syncscope::cli::score::Known;
use syncscope::correlate::{BuildInputs, CaptureInput, LogInput};
use syncscope::diagnose::build;
use syncscope::lab::score::{Score, score};
use syncscope::model::{Ns, Side};
use syncscope::report::{Report, record};

/// What to run.
pub struct Job {
    pub name: String,
    pub file: PathBuf,
    pub seed: u64,
    pub keep: Option<PathBuf>,
}

/// From where a report was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tap {
    Client,
    Server,
    Both,
}

impl std::fmt::Display for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Tap::Client => "client",
            Tap::Server => "server",
            Tap::Both => "both",
        })
    }
}

/// One report's score.
pub struct Row {
    pub scenario: String,
    pub seed: u64,
    pub tap: Tap,
    pub score: Score,
    pub rivals: Option<Rivals>,
    /// The run itself failed; in words.
    pub failed: Option<String>,
}

pub fn run(job: &Job) -> Vec<Row> {
    let temp = tempfile::tempdir().unwrap();
    let dir = match &job.keep {
        Some(keep) => keep.join(format!("{}-{}", job.name, job.seed)),
        None => temp.path().join("record"),
    };
    let (file, seed, record) = (job.file.to_str().unwrap(), job.seed.to_string(), dir.to_str().unwrap());
    let out = Command::new("timeout")
        .args(["-k", "5", "90", BINARY, "lab", "--scenario", file, "--seed", &seed, "--record", record])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let row = |tap, score, rivals, failed| Row {
        scenario: job.name.clone(),
        seed: job.seed,
        tap,
        score,
        rivals,
        failed,
    };
    // Findings are what most scenarios are for.
    if !matches!(out.status.code(), Some(0 | 1)) {
        let said = String::from_utf8_lossy(&out.stderr).trim().to_owned();
        return vec![row(Tap::Both, Score::default(), None, Some(format!("{}: {said}", out.status)))];
    }
    let known = match Known::open(&dir) {
        Ok(k) => k,
        Err(e) => return vec![row(Tap::Both, Score::default(), None, Some(e.to_string()))],
    };
    let scored = |report: &Report| match score(known.truth(), report) {
        Ok(s) => (s, None),
        Err(e) => (Score::default(), Some(e.to_string())),
    };
    let mut rows = Vec::new();
    let mut captures = Vec::new();
    for (tap, name, side) in [
        (Tap::Client, record::CLIENT_CAPTURE, Side::Client),
        (Tap::Server, record::SERVER_CAPTURE, Side::Server),
    ] {
        let path = dir.join(name);
        let alone = report(vec![capture(&path, None)], Vec::new());
        let (s, failed) = scored(&alone);
        let rivals = rivals::ask(&path, &known, &alone);
        rows.push(row(tap, s, rivals, failed));
        captures.push(capture(&path, Some(side)));
    }
    let logs = [record::CLIENT_EVENTS, record::SERVER_EVENTS].into_iter().filter_map(|name| {
        let log = read_log(&dir.join(name)).unwrap()?;
        Some(LogInput { name: name.to_owned(), log })
    });
    let (s, failed) = scored(&report(captures, logs.collect()));
    rows.push(row(Tap::Both, s, None, failed));
    rows
}

fn capture(path: &Path, side: Option<Side>) -> CaptureInput {
    let mut source = syncscope::capture::file::open(path).unwrap();
    read_capture(&mut *source, side).unwrap()
}

fn report(captures: Vec<CaptureInput>, logs: Vec<LogInput>) -> Report {
    build(BuildInputs {
        slow_read: Ns::from_millis(60),
        all_segments: true,
        captures,
        logs,
        ..BuildInputs::default()
    })
}
