//! From files to a report: the one path that `analyze`, `demo`, `sync` and `view` share.

use super::CliError;
use super::reading::{self, Reading};
use crate::applog::each_event;
use crate::capture;
use crate::correlate::{BuildInputs, CaptureInput, LogInput, thin};
use crate::diagnose::build;
use crate::lab::units::Dur;
use crate::model::app::ClockOffset;
use crate::model::{AppLog, Ns, Side};
use crate::report::{Quality, Report, RunInfo, Severity, record};
use crate::view;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

/// Reads slower than this are listed, unless `--slow-read` says otherwise.
pub const SLOW_READ: &str = "100ms";

/// Parses `250ms`, `1.5s`, `800us` for clap.
pub fn duration(text: &str) -> Result<Ns, String> {
    let parsed = Dur::parse(text).map(|d| d.0);
    parsed.ok_or_else(|| format!("`{text}` is no duration; write 250ms, 1.5s or 800us"))
}

/// A time-out: long enough for one lost segment.
pub fn timeout(text: &str) -> Result<Ns, String> {
    duration(text).and_then(|t| match t < Ns::from_millis(100) {
        true => {
            Err(format!("`{text}` is too short: every lost segment would end the run; write 100ms or more"))
        }
        false => Ok(t),
    })
}

/// What a run record is turned into a report with.
#[derive(Clone, Debug)]
pub struct RunView {
    /// Headline.
    pub title: String,
    /// Reads at least this slow are listed.
    pub slow_read: Ns,
    /// The run still goes on.
    pub live: bool,
    /// What was asked and injected.
    pub run: Option<RunInfo>,
    /// Server's clock minus client's, as the run measured it.
    pub clock: Option<ClockOffset>,
    /// The client's log so far, where it is not yet in the record.
    pub client_log: Option<AppLog>,
}

/// Analyses what lies in a run record folder: both captures and both logs, as far as they are there.
pub fn report_run(dir: &Path, view: RunView) -> Result<Report, CliError> {
    let mut captures = Vec::new();
    for (name, side) in [(record::CLIENT_CAPTURE, Side::Client), (record::SERVER_CAPTURE, Side::Server)] {
        let path = dir.join(name);
        if path.exists() {
            match capture::file::open(&path)
                .and_then(|mut s| reading::read_capture(&mut *s, Some(side), Reading::everything()))
            {
                Ok(c) => captures.push(CaptureInput { name: name.to_owned(), ..c }),
                // A run that has just begun has no frames yet.
                Err(_) if view.live => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
    let (mut logs, mut quality) = (Vec::new(), Vec::new());
    if captures.is_empty() && view.client_log.is_none() && EVENTS.iter().any(|name| is_long(&dir.join(name)))
    {
        (logs, quality) = thin_logs(dir, view.clock, view.slow_read)?;
    } else {
        for (name, live) in EVENTS.into_iter().zip([view.client_log, None]) {
            let log = match live {
                Some(log) => Some(log),
                None => read_log(&dir.join(name))?,
            };
            logs.extend(log.map(|log| LogInput { name: name.to_owned(), log, whole: None }));
        }
    }
    Ok(build(BuildInputs {
        title: view.title,
        slow_read: view.slow_read,
        all_segments: false,
        live: view.live,
        captures,
        logs,
        run: view.run,
        clock: view.clock,
        quality,
    }))
}

/// The logs of a record.
const EVENTS: [&str; 2] = [record::CLIENT_EVENTS, record::SERVER_EVENTS];

fn is_long(path: &Path) -> bool {
    path.metadata().is_ok_and(|m| m.len() > SHORT_LOG)
}

/// Of both logs what a report needs, so that a long run takes no more memory than a short one.
fn thin_logs(
    dir: &Path,
    clock: Option<ClockOffset>,
    slow: Ns,
) -> Result<(Vec<LogInput>, Vec<Quality>), CliError> {
    let (mut names, mut readers) = (Vec::new(), Vec::<Box<thin::Reader<'_, CliError>>>::new());
    for name in EVENTS.into_iter().filter(|name| dir.join(name).exists()) {
        let path = dir.join(name);
        names.push(name);
        readers.push(Box::new(move |each| {
            let file = std::fs::File::open(&path).map_err(|e| unreadable(&path, &e))?;
            let log = each_event(BufReader::new(file), each);
            log.map_err(|e| CliError::Message(format!("{}: not an event log: {e}", path.display())))
        }));
    }
    let (mut logs, mut quality) = (Vec::new(), Vec::new());
    for ((log, whole), name) in thin::thin(&mut readers, clock, slow)?.into_iter().zip(names) {
        let more = whole.slow.saturating_sub(thin::SLOW as u64);
        if more > 0 {
            let message = format!(
                "{name}: {} reads took at least {slow}; the {} slowest are looked at, and the slowest of each \
                 moment; --slow-read takes a longer time",
                whole.slow,
                thin::SLOW
            );
            let (code, severity) = ("slow-reads".to_owned(), Severity::Info);
            quality.push(Quality { input: None, code, severity, count: more, message });
        }
        logs.push(LogInput { name: name.to_owned(), log, whole: Some(whole) });
    }
    Ok((logs, quality))
}

fn unreadable(path: &Path, e: &std::io::Error) -> CliError {
    CliError::Message(format!("{}: {e}", path.display()))
}

/// Writes the report into the record folder.
pub fn save(dir: &Path, report: &Report) -> Result<(), CliError> {
    let path = dir.join(record::REPORT);
    let write = || -> std::io::Result<()> {
        let mut file = BufWriter::new(std::fs::File::create(&path)?);
        view::json::write(report, &mut file)?;
        file.flush()
    };
    write().map_err(|e| CliError::Message(format!("{}: {e}", path.display())))
}

/// A log up to this length is read at once, bytes: that is faster, and takes that much memory.
const SHORT_LOG: u64 = 1 << 20;

/// Reads an application's event log; none where there is no such file.
pub fn read_log(path: &Path) -> Result<Option<AppLog>, CliError> {
    let fail = |e: std::io::Error| unreadable(path, &e);
    let mut file = match std::fs::File::open(path) {
        Ok(f) => f,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(fail(e)),
    };
    let log = if is_long(path) {
        serde_json::from_reader(BufReader::new(file))
    } else {
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(fail)?;
        serde_json::from_slice(&text)
    };
    log.map(Some).map_err(|e| CliError::Message(format!("{}: not an event log: {e}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("250ms"), Ok(Ns::from_millis(250)));
        assert_eq!(duration("1.5s"), Ok(Ns::from_millis(1500)));
        assert_eq!(duration("800us"), Ok(Ns::from_micros(800)));
        for bad in ["5", "-1s", "ms", "1e400s", "nan s", ""] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
