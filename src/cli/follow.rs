//! `analyze --follow`: captures that are still being written, explained again and again until the user has seen enough.
//!
//! ```text
//! file, folder, pipe ── Follow ──→ Growing ──→ report so far ─┬→ screens (terminal)
//!                                                             ├→ --output, written anew
//!                                                             └→ NDJSON: news as they come, the report at the end
//! ```

use super::offline::{OfflineArgs, Place, only_flows};
use super::reading::Growing;
use super::sync::stop_on_signals;
use super::{CliError, ColorWhen, Format, Outcome, live};
use crate::capture::file::{Follow, Hints};
use crate::capture::filter::Filter;
use crate::capture::{CaptureError, FrameSource};
use crate::correlate::BuildInputs;
use crate::diagnose::build;
use crate::model::units::{count, printable};
use crate::report::Report;
use crate::tcp::Keep;
use crate::tui::run::{LiveUpdate, live_with};
use crate::view::ndjson::News;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// How often the report is made anew, at most; and never does it take more than a third of the time.
const REFRESH: Duration = Duration::from_secs(1);
/// How long to wait where nothing has come.
const PAUSE: Duration = Duration::from_millis(100);
/// Frames between two looks at the clock.
const LOOK_EVERY: u64 = 1024;

/// Where the report so far goes.
enum To {
    /// The screens.
    Screens(Sender<LiveUpdate>),
    /// Standard output, one event a line.
    Events(News),
    /// A file.
    File,
    /// Nowhere before the end; a line on stderr says that it goes on.
    Line,
}

impl OfflineArgs {
    /// Follows captures to their end, or to that of the user's patience.
    pub fn follow(&self, files: &[PathBuf], color: ColorWhen) -> Result<Outcome, CliError> {
        self.check_follow(files)?;
        let filter = self.filter.as_deref().map_or(Ok(Filter::default()), Filter::parse)?;
        let stop = stop_on_signals()?;
        let hints = Hints { stop: Some(Arc::clone(&stop)), ..Hints::default() };
        let place: Place = files.to_vec();
        // a terminal that standard input comes from cannot be asked for keys as well, but /dev/tty can
        let theme = self.output.output.is_none().then(|| live::screens(self.format, color)).flatten();
        let (report, ended) = match theme {
            Some(theme) => {
                let (news, updates) = channel();
                let (place, hints, filter, stop) = (&place, &hints, &filter, &*stop);
                std::thread::scope(|scope| {
                    let work = scope.spawn(move || {
                        let done = self.pursue(place, hints, filter, stop, &mut To::Screens(news.clone()));
                        if let Ok((report, _)) = &done {
                            let _ = news.send(LiveUpdate::Done(Box::new(report.clone())));
                        }
                        done
                    });
                    let shown = live_with(updates, theme);
                    stop.store(true, Ordering::Relaxed);
                    let done = work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                    shown?;
                    done
                })?
            }
            None => {
                let mut to = match (self.form(), &self.output.output) {
                    (_, Some(f)) if f.as_os_str() != "-" => To::File,
                    (Format::Ndjson, _) => To::Events(News::default()),
                    _ => To::Line,
                };
                self.pursue(&place, &hints, &filter, &stop, &mut to)?
            }
        };
        self.output.print(&report, self.format, color)?;
        Ok(if ended { self.fail_on.outcome(&report) } else { Outcome::Interrupted })
    }

    fn check_follow(&self, files: &[PathBuf]) -> Result<(), CliError> {
        let no = |what: &str| {
            let message = format!(
                "--follow explains what is captured right now, without {what}; do that with the finished files"
            );
            Err(CliError::Message(message))
        };
        if files.len() > 1 && files.iter().any(|f| f.as_os_str() == "-") {
            return no("standard input beside files");
        }
        if self.logs.paths().next().is_some() {
            return no("--app-log");
        }
        if self.evidence.any() {
            return no("--annotate and --redact");
        }
        if self.form() == Format::Xplot {
            return no("xplot");
        }
        self.output.check()
    }

    /// The last report, and whether the capture ended by itself.
    fn pursue(
        &self,
        place: &Place,
        hints: &Hints,
        filter: &Filter,
        stop: &AtomicBool,
        to: &mut To,
    ) -> Result<(Report, bool), CliError> {
        let pipe = place.iter().all(|p| p.as_os_str() == "-");
        let mut source = filter.on(Box::new(Follow::new(place, hints)?));
        let mut seen = Growing::new(if self.all_segments { Keep::Everything } else { Keep::Evidence });
        let (mut told, mut pause, mut at) = (0, Duration::ZERO, Instant::now());
        loop {
            let mut some = false;
            let fault = loop {
                match source.next_frame() {
                    Ok(Some(frame)) => seen.see(&frame),
                    Ok(None) => break None,
                    Err(_) if seen.frames() == 0 && stop.load(Ordering::Relaxed) => {
                        return Err(CliError::Interrupted);
                    }
                    Err(e) if seen.frames() == 0 => return Err(e.into()),
                    Err(e) => break Some(e),
                }
                some = true;
                let look = seen.frames().is_multiple_of(LOOK_EVERY);
                if look && (stop.load(Ordering::Relaxed) || at.elapsed() >= pause) {
                    break None;
                }
            };
            let over = fault.is_some() || source.position().ended;
            if over || stop.load(Ordering::Relaxed) {
                return Ok((
                    self.so_far(&seen, &*source, filter, fault, false),
                    over && !stop.load(Ordering::Relaxed),
                ));
            }
            if at.elapsed() >= pause && seen.frames() > told {
                let began = Instant::now();
                let report = self.so_far(&seen, &*source, filter, None, true);
                self.tell(to, report, seen.frames())?;
                told = seen.frames();
                at = Instant::now();
                pause = REFRESH.max(began.elapsed() * 2);
            }
            if !some && !pipe {
                std::thread::sleep(PAUSE);
            }
        }
    }

    fn so_far(
        &self,
        seen: &Growing,
        source: &dyn FrameSource,
        filter: &Filter,
        fault: Option<CaptureError>,
        live: bool,
    ) -> Report {
        let mut notes = source.notes();
        // its writer is in the middle of it
        notes.cut_at = None;
        let mut capture = seen.so_far(notes, fault);
        only_flows(&mut capture, filter);
        build(BuildInputs {
            title: capture.name.clone(),
            slow_read: self.slow_read,
            all_segments: self.all_segments,
            live,
            captures: vec![capture],
            ..BuildInputs::default()
        })
    }

    fn tell(&self, to: &mut To, report: Report, frames: u64) -> Result<(), CliError> {
        match to {
            To::Screens(news) => {
                let line = format!("{} frames", count(frames));
                // who has left the screens is told no more
                let _ = news.send(LiveUpdate::Progress(line));
                let _ = news.send(LiveUpdate::Report(Box::new(report)));
            }
            To::Events(news) => {
                let mut out = std::io::stdout().lock();
                news.write(&report, &mut out)?;
                out.flush()?;
            }
            To::File => self.output.print(&report, self.format, ColorWhen::Never)?,
            To::Line => {
                let mut err = std::io::stderr();
                if err.is_terminal() {
                    let line = printable(&report.verdict.sentence);
                    let line: String = format!("{} frames  {line}", count(frames)).chars().take(79).collect();
                    let _ = write!(err, "\r\x1b[K{line}\r");
                }
            }
        }
        Ok(())
    }
}
