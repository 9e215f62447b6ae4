//! `--retry`: after a cut the sync goes on, where it was, in a run of its own with a record of its own.

use super::CliError;
use crate::drive::{RunEnd, RunRecord};
use crate::model::units::printable;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Longest pause before the next try.
const LONGEST: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);

/// Runs until it was not cut, at most `retries` times more. What it leaves in `record` is the last run's; the others'
/// is moved beside.
pub fn with_retries(
    retries: u32,
    record: &Path,
    stop: &AtomicBool,
    mut run: impl FnMut() -> Result<RunRecord, CliError>,
) -> Result<RunRecord, CliError> {
    let mut tried = 0;
    loop {
        let result = run();
        let why = match &result {
            Ok(done) => match &done.end {
                RunEnd::TimedOut(why) | RunEnd::Broken(why) => why.clone(),
                RunEnd::Done | RunEnd::Interrupted | RunEnd::Failed(_) => return result,
            },
            // Whoever was never there is more likely a mistake in the address than a cut.
            Err(_) if tried == 0 => return result,
            Err(e) => e.to_string(),
        };
        if tried == retries {
            return result;
        }
        tried += 1;
        let pause = Duration::from_secs(1 << (tried - 1).min(5)).min(LONGEST);
        eprintln!("cut: {}", printable(&why));
        eprintln!("trying again in {} s ({tried} of {retries})", pause.as_secs());
        let until = Instant::now() + pause;
        while Instant::now() < until {
            if stop.load(Ordering::Relaxed) {
                return result;
            }
            std::thread::sleep(LOOK);
        }
        if result.is_ok() {
            let beside = beside(record);
            std::fs::rename(record, &beside)?;
            eprintln!("record of the run that was cut: {}", beside.display());
        }
    }
}

/// A name beside `record` that nothing has.
fn beside(record: &Path) -> PathBuf {
    let name = record.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let numbered = |n: u32| record.with_file_name(format!("{name}-cut-{n}"));
    (1..).map(numbered).find(|p| !p.exists()).unwrap_or_else(|| numbered(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::Mode;
    use std::collections::VecDeque;

    fn ended(end: RunEnd, dir: &Path) -> RunRecord {
        std::fs::create_dir_all(dir).unwrap();
        RunRecord {
            dir: dir.to_owned(),
            mode: Mode::Pull,
            server: ([127, 0, 0, 1], 1).into(),
            client: ([127, 0, 0, 1], 2).into(),
            end,
            stats: Default::default(),
            clock: None,
            client_capture: None,
            server_capture: None,
            client_clock_step: crate::model::Ns::ZERO,
            server_clock_step: crate::model::Ns::ZERO,
            errors: Vec::new(),
        }
    }

    /// How it ended, how often it ran, and how many records lie beside.
    fn play(retries: u32, ends: Vec<Result<RunEnd, &'static str>>) -> (Option<RunEnd>, usize, usize) {
        let dir = tempfile::tempdir().unwrap();
        let record = dir.path().join("r");
        let all = ends.len();
        let mut ends = VecDeque::from(ends);
        let result = with_retries(retries, &record, &AtomicBool::new(false), || {
            match ends.pop_front().expect("no more runs than that") {
                Ok(end) => Ok(ended(end, &record)),
                Err(e) => Err(CliError::Message(e.to_owned())),
            }
        });
        let beside = std::fs::read_dir(dir.path()).unwrap().count() - usize::from(record.exists());
        (result.ok().map(|r| r.end), all - ends.len(), beside)
    }

    #[test]
    fn only_a_cut_is_tried_again_and_no_oftener_than_asked_for() {
        let cut = || Ok(RunEnd::Broken("cut".to_owned()));
        let silent = RunEnd::TimedOut("silent".to_owned());
        assert_eq!(play(0, vec![cut(), cut()]), (Some(RunEnd::Broken("cut".to_owned())), 1, 0));
        assert_eq!(play(1, vec![cut(), Ok(silent.clone()), cut()]), (Some(silent), 2, 1));
        assert_eq!(play(5, vec![cut(), Err("nobody there"), Ok(RunEnd::Done)]), (Some(RunEnd::Done), 3, 1));
        assert_eq!(play(5, vec![Err("nobody there")]), (None, 1, 0));
        assert_eq!(play(5, vec![Ok(RunEnd::Interrupted)]), (Some(RunEnd::Interrupted), 1, 0));
        let failed = || RunEnd::Failed("no such folder".to_owned());
        assert_eq!(play(5, vec![Ok(failed())]), (Some(failed()), 1, 0));
    }

    #[test]
    fn a_stop_ends_the_pause() {
        let dir = tempfile::tempdir().unwrap();
        let (record, stop) = (dir.path().join("r"), AtomicBool::new(false));
        let result = with_retries(9, &record, &stop, || {
            stop.store(true, Ordering::Relaxed);
            Ok(ended(RunEnd::Broken("cut".to_owned()), &record))
        });
        assert!(record.exists() && result.is_ok());
    }
}
