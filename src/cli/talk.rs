//! `syncscope lab --record`: the scripted talk of a scenario, with everything that is known about it.

use super::analysis::{report_run, save};
use super::lab::print_stats;
use super::sync::{fresh_record, stop_on_signals};
use super::{CliError, Outcome, demo};
use crate::drive::talk::{TalkRecord, run_talk};
use crate::lab::live::{Lab, prepare};
use crate::lab::scenario::Scenario;
use crate::model::Ns;
use crate::model::app::ClockOffset;
use crate::report::{RunHow, record};
use std::path::Path;
use std::sync::atomic::Ordering;

/// Both ends are stamped by one kernel's clock.
const SAME_CLOCK: ClockOffset = ClockOffset { offset: Ns(0), bound: Ns::from_micros(20) };

/// Runs it. `file`: where the scenario was read from.
pub fn run(file: &Path, scenario: &Scenario, dir: &Path) -> Result<Outcome, CliError> {
    let Some(talk) = &scenario.talk else {
        return Err(CliError::Message(format!(
            "{} has no [talk]: add one, or give a command after `--` instead of --record",
            file.display()
        )));
    };
    let dir = fresh_record(dir)?;
    // Before any thread starts: a user namespace can be entered only now.
    prepare()?;
    let stop = stop_on_signals()?;
    std::fs::create_dir_all(&dir).map_err(|e| CliError::Message(format!("{}: {e}", dir.display())))?;
    std::fs::write(dir.join(record::SCENARIO), as_played(scenario, &demo::toml_of(file)?))?;
    eprintln!("{}: {}\nrun record: {}", scenario.name, scenario.about, dir.display());

    let lab = Lab::start(scenario, Some(&dir.join(record::TRUTH)))?;
    let talked = run_talk(&lab, scenario, talk, &dir, &stop);
    let stats = lab.finish()?;
    let talked = talked.map_err(|e| CliError::Message(e.to_string()))?;
    print_stats(&stats);
    tell(&talked);
    let mut view = demo::view_of(scenario, &dir, "a scripted talk");
    view.clock = Some(SAME_CLOCK);
    if let Some(run) = &mut view.run {
        run.ended = Some(talked.ended());
    }
    let report = report_run(&dir, view)?;
    save(&dir, &report)?;
    eprintln!("{}", report.verdict.sentence);
    Ok(if stop.load(Ordering::Acquire) { Outcome::Interrupted } else { Outcome::Ok })
}

/// The scenario's text, and before it what was asked for besides.
fn as_played(scenario: &Scenario, text: &str) -> String {
    let cc = scenario.endpoint.cc.as_deref().unwrap_or("the host's");
    format!("# Played with seed {} and congestion control {cc}.\n{text}", scenario.seed)
}

/// What a person should know besides the report.
fn tell(talked: &TalkRecord) {
    for (who, end) in [("client", &talked.client), ("server", &talked.server)] {
        for remark in end.capture.problem.iter().cloned().chain(end.capture.remarks()) {
            eprintln!("the {who}'s capture: {remark}");
        }
    }
    let ended = talked.ended();
    if ended.how != RunHow::Done {
        eprintln!("{}", ended.message);
    }
}
