//! `make accuracy`: every scenario over the lab, several seeds each, a capture at both taps; what the
//! reports say is held against the link's log, the kernel and the applications, and beside what other
//! tools say of the same files. Without arguments (as `cargo test` runs it): a few scenarios, one seed.
//!
//! ```text
//! accuracy [--all] [--seeds N] [--first-seed N] [--jobs N] [--keep DIR [--again]] [--plain] [--verbose] [SCENARIO…]
//! ```
//!
//! Each run is then scored as worse captures would have it, too: see [`variant`]; not with `--plain`. `--again` scores what `--keep`
//! left, without the lab.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod marks;
#[path = "../program/mod.rs"]
mod program;
mod rivals;
mod run;
#[path = "../skip/mod.rs"]
mod skip;
mod table;
mod variant;

use run::{Job, Row};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;

/// One of each kind of fault: what CI has time for.
const FEW: [&str; 8] = [
    "clean",
    "several-holes",
    "lost-retransmission",
    "tail-loss",
    "reorder-large",
    "delay-spike",
    "zero-window-3s",
    "sender-pauses",
];

/// Where the congestion control makes a difference, and what is planned holds for each. They say `cubic` themselves.
const CONTROLLED: [&str; 7] =
    ["bursts", "loss3", "lost-retransmission", "policer", "queue-rate", "tail-loss", "whole-flight-loss"];

/// Those that a sender usually has, without `cubic`.
const CONTROLS: [&str; 2] = ["bbr", "reno"];

/// The scenario in which nothing happens, and with how many seeds it must be silent.
const CLEAN: (&str, u64) = ("clean", 100);

/// How often a scenario is run at most until every answer is right, where only a few are run.
const TRIES: u32 = 3;

struct Options {
    all: bool,
    seeds: u64,
    first: u64,
    jobs: usize,
    keep: Option<PathBuf>,
    again: bool,
    plain: bool,
    verbose: bool,
    names: Vec<String>,
}

impl Options {
    fn parse() -> Result<Options, String> {
        let mut o = Options {
            all: false,
            seeds: 0,
            first: 1,
            jobs: 2,
            keep: None,
            again: false,
            plain: false,
            verbose: false,
            names: Vec::new(),
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value"));
            let number = |v: String| v.parse::<u64>().map_err(|_| format!("`{v}` is no number"));
            match arg.as_str() {
                "--all" => o.all = true,
                "--verbose" => o.verbose = true,
                "--seeds" => o.seeds = number(value()?)?,
                "--first-seed" => o.first = number(value()?)?,
                "--jobs" => o.jobs = usize::try_from(number(value()?)?).unwrap_or(1).max(1),
                "--again" => o.again = true,
                "--plain" => o.plain = true,
                "--keep" => o.keep = Some(PathBuf::from(value()?)),
                // What `cargo test -- …` tells every test binary.
                flag if flag.starts_with('-') => {}
                name => o.names.push(name.to_owned()),
            }
        }
        if o.again && o.keep.is_none() {
            return Err("--again needs --keep DIR: where the runs are".to_owned());
        }
        if o.seeds == 0 {
            o.seeds = if o.all { 5 } else { 1 };
        }
        Ok(o)
    }

    fn wants(&self, name: &str) -> bool {
        if self.names.is_empty() {
            self.all || FEW.contains(&name)
        } else {
            self.names.iter().any(|n| n == name)
        }
    }
}

/// Those that this kernel has.
fn controls() -> Vec<&'static str> {
    let has = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control");
    let has = has.unwrap_or_default();
    let (here, missing): (Vec<_>, Vec<_>) =
        CONTROLS.into_iter().partition(|c| has.split_whitespace().any(|h| h == *c));
    for control in missing {
        skip::tell(&format!("accuracy with {control}"), "this kernel does not have that congestion control");
    }
    here
}

fn main() -> ExitCode {
    let options = match Options::parse() {
        Ok(o) => o,
        Err(e) => {
            eprintln!("accuracy: {e}");
            return ExitCode::from(2);
        }
    };
    if !program::able("accuracy") {
        return ExitCode::SUCCESS;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures/scenarios/accuracy");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).expect("scenarios").map(|e| e.unwrap().path()).collect();
    files.sort();
    let name = |p: &Path| p.file_stem().unwrap().to_string_lossy().into_owned();
    let mut queue: VecDeque<Job> = VecDeque::new();
    let controls = controls();
    for seed in (options.first..).take(usize::try_from(options.seeds).unwrap_or(usize::MAX)) {
        for file in files.iter().filter(|f| options.wants(&name(f))) {
            let others = controls.iter().filter(|_| options.all && CONTROLLED.contains(&&*name(file)));
            for control in std::iter::once(None).chain(others.map(|c| Some((*c).to_owned()))) {
                queue.push_back(Job {
                    name: name(file),
                    file: file.clone(),
                    seed,
                    control,
                    keep: options.keep.clone(),
                    again: options.again,
                    worse: !options.plain,
                    rivals: true,
                });
            }
        }
    }
    if let Some(file) = files.iter().find(|f| options.all && name(f) == CLEAN.0 && options.wants(CLEAN.0)) {
        queue.extend((options.first..).take(CLEAN.1 as usize).skip(options.seeds as usize).map(|seed| Job {
            name: CLEAN.0.to_owned(),
            file: file.clone(),
            seed,
            control: None,
            keep: options.keep.clone(),
            again: options.again,
            worse: false,
            rivals: false,
        }));
    }
    let total = queue.len();
    assert!(total > 0, "no such scenario in {}", folder.display());
    let (queue, rows) = (Mutex::new(queue), Mutex::new(Vec::<Row>::new()));
    std::thread::scope(|s| {
        for _ in 0..options.jobs {
            s.spawn(|| {
                loop {
                    let Some(job) = queue.lock().unwrap().pop_front() else { return };
                    let mut done = run::run(&job);
                    // A host that stands still for a moment is a fault of its own; the whole set has room
                    // for it in its marks, a few scenarios have not.
                    for _ in 1..TRIES {
                        if options.all || done.iter().all(Row::will_do) {
                            break;
                        }
                        println!("{} seed {}: trying once more", job.name, job.seed);
                        for note in done.iter().filter(|r| !r.will_do()).flat_map(|r| &r.score.notes) {
                            println!("  {note}");
                        }
                        done = run::run(&job);
                    }
                    if options.verbose {
                        for row in &done {
                            for note in &row.score.notes {
                                println!("{} seed {} {}: {note}", row.name(), row.seed, row.tap);
                            }
                        }
                    }
                    rows.lock().unwrap().append(&mut done);
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap();
    rows.sort_by_key(|r| (r.variant, r.scenario.clone(), r.tap, r.seed));
    table::print(&rows);
    if marks::judge(&rows, total) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
