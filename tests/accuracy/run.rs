//! One scenario with one seed: run it, analyse each capture alone and both together, score each report.

use crate::program::BINARY;
use crate::rivals::{self, Rivals};
use crate::variant::{Tape, Variant};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use syncscope::cli::analysis::read_log;
use syncscope::cli::reading::{Reading, read_capture};
use syncscope::cli::score::Known;
use syncscope::correlate::{BuildInputs, CaptureInput, LogInput};
use syncscope::diagnose::build;
use syncscope::lab::score::{Ends, Score, Truth, score};
use syncscope::model::tcp::SegmentClass;
use syncscope::model::{Ns, Side, Ts};
use syncscope::report::{Report, record};

/// What to run.
pub struct Job {
    pub name: String,
    pub file: PathBuf,
    pub seed: u64,
    /// Another congestion control than the scenario's.
    pub control: Option<String>,
    pub keep: Option<PathBuf>,
    /// Score what is kept from an earlier run.
    pub again: bool,
    /// Score it as worse captures would have it, too.
    pub worse: bool,
    /// Ask others about the same files.
    pub rivals: bool,
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
    /// What was done to the captures; none: nothing.
    pub variant: Option<Variant>,
    pub tap: Tap,
    pub score: Score,
    /// Answers that should be those of the untouched captures, and are not.
    pub differ: u64,
    pub rivals: Option<Rivals>,
    /// The run itself failed; in words.
    pub failed: Option<String>,
}

impl Row {
    /// Nothing to complain about.
    pub fn good(&self) -> bool {
        self.score.wrong() == 0 && self.differ == 0 && self.failed.is_none()
    }

    /// Nothing that the marks forbid: they leave room for what a capture without IP IDs and time stamps, or one that lacks
    /// frames, cannot know.
    pub fn will_do(&self) -> bool {
        let s = &self.score;
        let told = s.losses.said == s.losses.right && s.gaps.said == s.gaps.right;
        match self.variant {
            Some(Variant::Bare) => self.failed.is_none(),
            Some(Variant::Gaps) => told && s.misplaced == 0 && s.false_findings == 0 && self.failed.is_none(),
            _ => self.good(),
        }
    }

    /// The scenario and what was changed.
    pub fn name(&self) -> String {
        match self.variant {
            Some(v) => format!("{}+{}", self.scenario, v.name()),
            None => self.scenario.clone(),
        }
    }
}

pub fn run(job: &Job) -> Vec<Row> {
    let temp = tempfile::tempdir().unwrap();
    let scenario = match &job.control {
        Some(control) => format!("{}+{control}", job.name),
        None => job.name.clone(),
    };
    let dir = match &job.keep {
        Some(keep) => keep.join(format!("{scenario}-{}", job.seed)),
        None => temp.path().join("record"),
    };
    let row = |variant, tap| Row {
        scenario: scenario.clone(),
        seed: job.seed,
        variant,
        tap,
        score: Score::default(),
        differ: 0,
        rivals: None,
        failed: None,
    };
    let known = if job.again { Ok(()) } else { talk(job, &dir) };
    let known = match known.and_then(|()| Known::open(&dir).map_err(|e| e.to_string())) {
        Ok(k) => k,
        Err(why) => return vec![Row { failed: Some(why), ..row(None, Tap::Both) }],
    };
    let score = |mut row: Row, report: &Report, truth: Truth<'_>| {
        match score(truth, report) {
            Ok(s) => row.score = s,
            Err(e) => row.failed = Some(e.to_string()),
        }
        row
    };
    let whole = TAPS.map(|(_, name, _)| Tape::read(&dir.join(name)));
    let plain = reports(&whole, &dir, true);
    let mut rows = Vec::new();
    for (i, ((tap, report), (_, name, _))) in plain.iter().zip(TAPS.iter().chain([&TAPS[0]])).enumerate() {
        let mut row = score(row(None, *tap), report, known.truth());
        row.rivals = (i < 2 && job.rivals).then(|| rivals::ask(&dir.join(name), &known, report)).flatten();
        rows.push(row);
    }
    for variant in Variant::ALL.into_iter().filter(|_| job.worse) {
        let tapes = whole.each_ref().map(|tape| variant.of(tape, job.seed));
        if job.keep.is_some() {
            for (tape, (_, name, _)) in tapes.iter().zip(TAPS) {
                tape.write(&dir.join(format!("{}-{name}", variant.name())));
            }
        }
        let lacks = |i: usize| tapes[i].lacks(&whole[i], TAPS[i].2, known.truth().fates);
        let missed = variant.needs_packets().then(|| Some([lacks(0)?, lacks(1)?].concat()));
        let missed = match missed {
            Some(None) => continue,
            Some(Some(missed)) if variant.loses() => missed,
            _ => Vec::new(),
        };
        // What happened before the capture, and a round trip without a queue, it cannot know.
        let findings = known.truth().findings.filter(|f| f.is_empty() || variant != Variant::MidStream);
        let twice = variant == Variant::Twice;
        let ends = Ends { client: tapes[0].end(), server: tapes[1].end() };
        let truth = Truth { missed: &missed, twice, findings, ends, ..known.truth() };
        let reports = reports(&tapes, &dir, variant != Variant::MidStream);
        for ((tap, report), (_, same)) in reports.iter().zip(&plain) {
            let mut row = score(row(Some(variant), *tap), report, truth);
            if variant.says_the_same() {
                row.differ = differ(variant, report, same, &mut row.score.notes);
            }
            rows.push(row);
        }
    }
    rows
}

/// Both ends' captures.
const TAPS: [(Tap, &str, Side); 2] = [
    (Tap::Client, record::CLIENT_CAPTURE, Side::Client),
    (Tap::Server, record::SERVER_CAPTURE, Side::Server),
];

/// Runs the scenario over the lab.
fn talk(job: &Job, dir: &Path) -> Result<(), String> {
    let (file, seed, record) = (job.file.to_str().unwrap(), job.seed.to_string(), dir.to_str().unwrap());
    let mut command = Command::new("timeout");
    command.args(["-k", "5", "90", BINARY, "lab", "--scenario", file, "--seed", &seed, "--record", record]);
    command.args(job.control.iter().flat_map(|c| ["--cc", c]));
    let out = command.stdin(Stdio::null()).output().unwrap();
    // Findings are what most scenarios are for.
    if matches!(out.status.code(), Some(0 | 1)) {
        return Ok(());
    }
    Err(format!("{}: {}", out.status, String::from_utf8_lossy(&out.stderr).trim()))
}

/// What is said of each capture alone, and of both together with the applications' logs.
fn reports(tapes: &[Tape; 2], dir: &Path, logs: bool) -> Vec<(Tap, Report)> {
    let capture = |i: usize, side| read_capture(&mut tapes[i].clone(), side, Reading::everything()).unwrap();
    let names = if logs { &[record::CLIENT_EVENTS, record::SERVER_EVENTS][..] } else { &[] };
    let logs = names.iter().filter_map(|name| {
        let log = read_log(&dir.join(name)).unwrap()?;
        Some(LogInput { name: (*name).to_owned(), log, whole: None })
    });
    let both = [0, 1].map(|i| capture(i, Some(TAPS[i].2)));
    vec![
        (Tap::Client, report(vec![capture(0, None)], Vec::new())),
        (Tap::Server, report(vec![capture(1, None)], Vec::new())),
        (Tap::Both, report(both.into(), logs.collect())),
    ]
}

/// How many answers differ, frame numbers and copies of frames left out; times, too, where other packets may lay
/// the two clocks on each other.
fn differ(variant: Variant, a: &Report, b: &Report, notes: &mut Vec<String>) -> u64 {
    let times = variant == Variant::OtherIsn;
    let (a, b) = (answers(a, times), answers(b, times));
    let mut all = 0;
    for (x, y) in [(&a, &b), (&b, &a)] {
        let only: Vec<&String> = x.iter().filter(|line| !y.contains(*line)).collect();
        notes.extend(
            only.iter()
                .take(5)
                .map(|line| format!("only {}: {line}", if all == 0 { "here" } else { "there" })),
        );
        all += only.len() as u64;
    }
    all
}

/// What a report says, one line an answer.
fn answers(r: &Report, times: bool) -> BTreeSet<String> {
    use SegmentClass::{CaptureDuplicate, NetworkDuplicate};
    let mut out = BTreeSet::new();
    let at = |t: Ts| times.then_some(t);
    for s in r.segments.iter().filter(|s| !matches!(s.class, CaptureDuplicate | NetworkDuplicate)) {
        let proof = s.spurious.map(|s| s.proof);
        let what = (s.class, s.cause, s.resend, proof, at(s.ts));
        out.insert(format!("{} {} {} {what:?}", s.input, s.dir, s.range()));
    }
    for l in &r.losses {
        out.insert(format!("{} {} lost {} {}", l.input, l.dir, l.range, l.location));
    }
    for h in &r.holes {
        let what = (h.filler, at(h.birth), h.death.and_then(at));
        out.insert(format!("{} {} hole {} {what:?}", h.input, h.dir, h.range));
    }
    for s in &r.stalls {
        let what = (s.owner, s.cause, at(s.start), s.end.and_then(at));
        out.insert(format!("{} {} stall {what:?}", s.input, s.dir));
    }
    for x in r.reads.iter().filter(|_| times) {
        out.insert(format!("{} read {:?} to {:?}: {:?}", x.dir, x.start, x.end, x.budget));
    }
    out.extend(r.findings.iter().map(|f| format!("finding {} {:?} {:?}", f.code, f.dir, f.count)));
    out
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
