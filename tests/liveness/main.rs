//! `make liveness`: what a run does when its link or its peer goes, over a link between two namespaces that is cut
//! in the middle of a file. Without arguments (as `cargo test` runs it): ours alone, time-outs of 2 s. With
//! `--all`: time-outs of 5 s, rsync's daemon and client beside it, and a table.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod cases;
#[path = "../program/mod.rs"]
mod program;
#[path = "../skip/mod.rs"]
mod skip;
mod world;

use cases::{Case, Outcome, Who, play};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// How long rsync is watched.
const CAP: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    if !program::able("liveness") {
        return ExitCode::SUCCESS;
    }
    // Before there are threads.
    syncscope::lab::live::prepare().expect("what doctor promises");
    let all = std::env::args().any(|a| a == "--all");
    let t = Duration::from_secs(if all { 5 } else { 2 });
    // The mark is a second; the ordinary tests run on machines that are busy with others.
    let slack = Duration::from_secs(if all { 1 } else { 4 });
    let cap = if all { CAP } else { t + Duration::from_secs(8) };
    let who = if all { &[Who::Ours, Who::Rsync][..] } else { &[Who::Ours] };
    // One after the other: what one of them computes must not slow the other one's clock.
    let columns: Vec<Vec<Result<Outcome, String>>> = who.iter().map(|w| column(*w, t, slack, cap)).collect();
    let version = Command::new("rsync").arg("--version").output().ok();
    let version = version.and_then(|o| String::from_utf8(o.stdout).ok()).unwrap_or_default();
    let version = version.split_whitespace().nth(2).unwrap_or("").to_owned();
    println!(
        "| what happens | syncscope |{}",
        if all { format!(" rsync {version} |") } else { String::new() }
    );
    println!("| --- | --- |{}", if all { " --- |" } else { "" });
    let mut wrong = Vec::new();
    for (i, case) in Case::ALL.iter().enumerate() {
        let title = case.title(t);
        let cells: Vec<_> = columns.iter().filter_map(|c| c.get(i)).collect();
        let text = |c: &Result<Outcome, String>| match c {
            Ok(o) => o.text.clone(),
            Err(e) => format!("not measured: {e}"),
        };
        let cells_text: Vec<String> = cells.iter().map(|c| text(c)).collect();
        println!("| {title} | {} |", cells_text.join(" | "));
        for cell in cells {
            match cell {
                Ok(o) => wrong.extend(o.wrong.iter().map(|w| format!("{title}: {w}"))),
                Err(e) => wrong.push(format!("{title}: {e}")),
            }
        }
    }
    for w in &wrong {
        eprintln!("WRONG {w}");
    }
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// All cases for one of the two, at once but for the one that computes.
fn column(who: Who, t: Duration, slack: Duration, cap: Duration) -> Vec<Result<Outcome, String>> {
    let (busy, others): (Vec<_>, Vec<_>) =
        Case::ALL.iter().partition(|c| who == Who::Rsync && **c == Case::Busy);
    [others, busy]
        .into_iter()
        .flat_map(|cases: Vec<&Case>| {
            std::thread::scope(|scope| {
                let all: Vec<_> =
                    cases.into_iter().map(|&c| scope.spawn(move || play(who, c, t, slack, cap))).collect();
                all.into_iter()
                    .map(|h| h.join().unwrap_or_else(|_| Err("it panicked".to_owned())))
                    .collect::<Vec<_>>()
            })
        })
        .collect()
}
