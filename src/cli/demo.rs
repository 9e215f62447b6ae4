//! `syncscope demo`: a test sync over an emulated bad link, captured at both ends and explained.
//!
//! What was injected is known, so the demo checks its own diagnosis: exit 0 only when it names that
//! and nothing else.

use super::analysis::{RunView, report_run, save};
use super::lab::load_scenario;
use super::live::{self, Probe};
use super::sync::stop_on_signals;
use super::view::OutputArgs;
use super::{CliError, ColorWhen, Format, Outcome};
use crate::drive::scratch::Scratch;
use crate::drive::tree::{TreeSpec, make_tree};
use crate::drive::{Busy, DriveError, Mode, RunEnd, RunRecord, ServeOptions, Server, SyncOptions, run_sync};
use crate::lab::live::{Lab, prepare};
use crate::lab::scenario::Scenario;
use crate::model::{Ns, Side};
use crate::report::{Report, RunInfo, record};
use crate::sync::Compress;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Arguments of `syncscope demo`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// What the link does: a scenario file, `demo` or `clean`.
    #[arg(long, value_name = "FILE", default_value = "demo")]
    scenario: PathBuf,
    /// Another seed than the scenario's.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Print the report in this form instead of opening the screens.
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Folder for the run record; `runs/demo-DATE` here otherwise.
    #[arg(long, value_name = "FOLDER")]
    record: Option<PathBuf>,
}

/// What is played.
const TEST: &str = "a test sync";

/// Port of the served tree, where the scenario names none.
const PORT: u16 = 8730;

/// Runs it.
pub fn run(args: Args, color: ColorWhen) -> Result<Outcome, CliError> {
    args.format.map_or(Ok(()), Format::of_report)?;
    let mut scenario = load_scenario(&args.scenario)?;
    if let Some(seed) = args.seed {
        scenario.seed = seed;
    }
    let named = args.record.as_deref().map(super::sync::fresh_record).transpose()?;
    // Before any thread starts: a user namespace can be entered only now.
    prepare()?;
    let stop = stop_on_signals()?;
    let dir = named.unwrap_or_else(|| super::sync::record_folder("demo-"));
    std::fs::create_dir_all(&dir).map_err(|e| CliError::Message(format!("{}: {e}", dir.display())))?;
    let text = toml_of(&args.scenario)?;
    std::fs::write(dir.join(record::SCENARIO), text)?;

    let scratch = Scratch::new(None)?;
    let (source, local) = (scratch.path().join("source"), scratch.path().join("copy"));
    let spec = tree(&scenario);
    make_tree(&spec, &source, &local)?;
    eprintln!(
        "{}: {}\nsyncing {} files over it; run record: {}",
        scenario.name,
        scenario.about,
        spec.files + u32::from(spec.big > 0),
        dir.display()
    );

    let lab = Lab::start(&scenario, Some(&dir.join(record::TRUTH)))?;
    let addr = SocketAddr::new(lab.addr(Side::Server), scenario.run.port.unwrap_or(PORT));
    let served = Arc::new(AtomicBool::new(false));
    let server = {
        let (done, keep) = (Arc::clone(&served), dir.clone());
        lab.spawn_thread(Side::Server, "serve", move || {
            let options = ServeOptions { keep: Some(keep), ..ServeOptions::default() };
            Server::bind(addr, &source, options)?.run(&done)
        })?
    };
    let options = sync_options(&scenario, addr, &local, &dir);
    let probe = Probe::new(true);
    let client = {
        let (stop, mut probe) = (Arc::clone(&stop), probe.clone());
        lab.spawn_thread(Side::Client, "sync", move || run_sync(&options, &stop, &mut probe))?
    };
    let view = view_of(&scenario, &dir, TEST);
    let show = live::screens(args.format, color);
    let finish = |result: Result<RunRecord, DriveError>| {
        // The server's half of the record is whole once it has stopped.
        served.store(true, Ordering::Release);
        if let Ok(Err(e)) = server.join() {
            eprintln!("the server: {e}");
        }
        let done = result.map_err(|e| CliError::Message(e.to_string()))?;
        explain(&scenario, done)
    };
    let report = live::watch(client, probe, &dir, view, show, &stop, finish);
    served.store(true, Ordering::Release);
    lab.finish()?;
    let report = report?;

    save(&dir, &report)?;
    OutputArgs::default().print(&report, args.format, color)?;
    if stop.load(Ordering::Acquire) {
        return Ok(Outcome::Interrupted);
    }
    let named = report
        .run
        .as_ref()
        .is_some_and(|r| !r.unfinished() && r.missed.is_empty() && r.unexpected.is_empty());
    Ok(if named { Outcome::Ok } else { Outcome::Findings })
}

/// The text of a scenario.
pub fn toml_of(path: &Path) -> Result<String, CliError> {
    match crate::lab::scenario::builtin(&path.display().to_string()) {
        Some(text) if !path.exists() => Ok(text.to_owned()),
        _ => std::fs::read_to_string(path).map_err(|e| CliError::Message(format!("{}: {e}", path.display()))),
    }
}

fn tree(scenario: &Scenario) -> TreeSpec {
    let mut spec = TreeSpec { seed: scenario.seed, ..TreeSpec::default() };
    if let Some(t) = &scenario.run.tree {
        spec.files = t.files;
        spec.bytes = t.bytes.0;
    }
    spec
}

fn sync_options(scenario: &Scenario, server: SocketAddr, local: &Path, dir: &Path) -> SyncOptions {
    let run = &scenario.run;
    let pauses =
        run.pause.iter().filter_map(|p| Some(Busy { side: Side::Server, at: p.at.0, lasts: p.lasts?.0 }));
    let mut options = SyncOptions::new(server, Mode::Pull, "", local, dir);
    options.bwlimit = run.bwlimit.map(|r| r.bytes_per_second());
    options.busy = run.busy.iter().map(|b| Busy { side: b.side, at: b.at.0, lasts: b.lasts.0 }).collect();
    options.hold = pauses.collect();
    options.fetch = false;
    options.seed = Some(scenario.seed);
    // Whether compressing pays is measured: the faults, which lie at fixed times, would find another
    // number of bytes left in each run, or none.
    options.flags.compress = Compress::Never;
    if let Some(t) = run.timeout {
        options.timeout = t.0.to_std();
    }
    options
}

/// How the record of a scenario is shown. `what`: a test sync, a scripted talk.
pub fn view_of(scenario: &Scenario, dir: &Path, what: &str) -> RunView {
    RunView {
        title: format!("{}: {what} over an emulated link", scenario.name),
        slow_read: scenario.run.slow_read.map_or(Ns::from_millis(100), |d| d.0),
        live: false,
        run: Some(RunInfo {
            scenario: scenario.name.clone(),
            seed: Some(scenario.seed),
            injected: scenario.expect.clone(),
            record: Some(dir.display().to_string()),
            ..RunInfo::default()
        }),
        clock: None,
        client_log: None,
    }
}

/// The final report, with what was injected held against what was found.
fn explain(scenario: &Scenario, done: RunRecord) -> Result<Report, CliError> {
    let mut view = view_of(scenario, &done.dir, TEST);
    view.clock = done.clock;
    if let Some(run) = &mut view.run {
        run.sync = Some(done.stats);
        run.ended = Some(done.ended());
    }
    let mut report = report_run(&done.dir, view)?;
    let found: BTreeSet<&str> = report.findings.iter().map(|f| f.code.as_str()).collect();
    let injected: BTreeSet<&str> = scenario.expect.iter().map(String::as_str).collect();
    let names = |codes: &mut dyn Iterator<Item = &&str>| codes.map(|c| (*c).to_owned()).collect::<Vec<_>>();
    let (hit, mut missed, unexpected) = (
        names(&mut found.intersection(&injected)),
        names(&mut injected.difference(&found)),
        names(&mut found.difference(&injected)),
    );
    // What had not happened yet could not be found.
    if done.end == RunEnd::Interrupted {
        missed.clear();
    }
    if let Some(run) = &mut report.run {
        (run.found, run.missed, run.unexpected) = (hit, missed, unexpected);
    }
    for capture in [("client", &done.client_capture), ("server", &done.server_capture)] {
        if let Some(problem) = capture.1.as_ref().and_then(|c| c.problem.as_ref()) {
            eprintln!("the {}'s capture: {problem}", capture.0);
        }
    }
    for e in &done.errors {
        eprintln!("{e}");
    }
    match done.end {
        RunEnd::Done | RunEnd::Interrupted => {}
        end => eprintln!("the sync did not finish: {}", end.sentence()),
    }
    Ok(report)
}
