//! A run and who watches it: the screens on a terminal, a line on stderr elsewhere.
//!
//! ```text
//! run (its own thread) ── Probe ──→ Seen ──→ analyst: reads the growing record every half second ──→ screens
//!                                       └──→ progress line on stderr
//! ```

use super::analysis::{RunView, report_run};
use super::view::screens_possible;
use super::{CliError, ColorWhen};
use crate::drive::{Item, LiveRun, Observer, Progress};
use crate::model::units::{bytes, printable};
use crate::report::Report;
use crate::tui::run::{Exit, LiveUpdate, live_with};
use crate::tui::theme::Theme;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the growing record is analysed, at most.
const ANALYSE_EVERY: Duration = Duration::from_millis(500);
/// How often progress is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often it is asked whether the run is over: a short one should not wait for its end to be seen.
const ASK_EVERY: Duration = Duration::from_millis(5);
/// Off a terminal one line each.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// What the run has shown so far.
#[derive(Default)]
struct Seen {
    screens: bool,
    progress: Progress,
    live: Option<Arc<LiveRun>>,
    items: Vec<Item>,
}

/// Hands a run's progress to whoever watches.
#[derive(Clone, Default)]
pub struct Probe(Arc<Mutex<Seen>>);

impl Probe {
    /// One for screens, which show the log while it grows, or for a line of progress.
    pub fn new(screens: bool) -> Probe {
        Probe(Arc::new(Mutex::new(Seen { screens, ..Seen::default() })))
    }

    fn with<T>(&self, f: impl FnOnce(&mut Seen) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was changed.
    pub fn items(&self) -> Vec<Item> {
        self.with(|seen| std::mem::take(&mut seen.items))
    }

    fn line(&self) -> String {
        self.with(|seen| {
            let p = &seen.progress;
            let at = match &p.file {
                Some((i, name)) => {
                    let name: String = printable(name).chars().take(40).collect();
                    format!("  entry {} of {} (files and folders)  {name}", i + 1, p.files)
                }
                None => String::new(),
            };
            // What a peer says that gets on is no news.
            let peer = p.peer.as_ref().map_or_else(String::new, |words| format!("  {words}"));
            format!(
                "{:.1} s  {} in  {} out  {}{at}{peer}",
                p.elapsed.as_secs_f64(),
                bytes(p.read),
                bytes(p.written),
                p.phase.as_str()
            )
        })
    }
}

impl Observer for Probe {
    fn looks(&self) -> bool {
        self.with(|seen| seen.screens)
    }

    fn started(&mut self, live: &Arc<LiveRun>) {
        self.with(|seen| seen.live = Some(Arc::clone(live)));
    }

    fn items(&mut self, items: Vec<Item>) {
        self.with(|seen| seen.items = items);
    }

    fn progress(&mut self, progress: &Progress) {
        self.with(|seen| seen.progress = progress.clone());
    }
}

/// How to show the screens; none where there is no terminal for them, or `--format` turned them off.
pub fn screens(format: Option<super::Format>, color: ColorWhen) -> Option<Theme> {
    (format.is_none() && screens_possible()).then(|| Theme { color: color.enabled() })
}

/// Waits for a run, shows it meanwhile, and turns what it left into the report.
///
/// `run` has been started with a clone of `probe`; `finish` gets what it returned. Leaving the
/// screens early sets `stop` and waits for the run to end.
pub fn watch<T: Send + 'static>(
    run: JoinHandle<T>,
    probe: Probe,
    dir: &Path,
    view: RunView,
    show: Option<Theme>,
    stop: &AtomicBool,
    finish: impl FnOnce(T) -> Result<Report, CliError> + Send,
) -> Result<Report, CliError> {
    let Some(theme) = show else {
        let result = wait_with_line(run, &probe)?;
        return finish(result);
    };
    let (news, updates) = channel();
    std::thread::scope(|scope| {
        let analyst = scope.spawn(move || {
            while !run.is_finished() {
                let began = Instant::now();
                if !tell(&news, &probe, dir, &view) {
                    break;
                }
                // An analysis never takes more than a third of the time, however long the run is.
                let pause = ANALYSE_EVERY.max(began.elapsed() * 2);
                let until = Instant::now() + pause;
                while Instant::now() < until && !run.is_finished() {
                    std::thread::sleep(LOOK_EVERY);
                    let _ = news.send(LiveUpdate::Progress(probe.line()));
                }
            }
            let report = finish(join(run)?)?;
            let _ = news.send(LiveUpdate::Done(Box::new(report.clone())));
            Ok(report)
        });
        let exit = live_with(updates, theme);
        if !matches!(exit, Ok(Exit::Done)) {
            stop.store(true, Ordering::Release);
        }
        let report = analyst.join().unwrap_or_else(|_| Err(ended_badly()));
        exit?;
        report
    })
}

/// Sends the analysis so far; false when nobody looks any more.
fn tell(news: &Sender<LiveUpdate>, probe: &Probe, dir: &Path, view: &RunView) -> bool {
    let client_log = probe.with(|seen| seen.live.clone()).map(|live| live.snapshot());
    let view = RunView { live: true, client_log, ..view.clone() };
    match report_run(dir, view) {
        Ok(report) => news.send(LiveUpdate::Report(Box::new(report))).is_ok(),
        // The record is being written; the next look will find it whole.
        Err(_) => true,
    }
}

fn wait_with_line<T>(run: JoinHandle<T>, probe: &Probe) -> Result<T, CliError> {
    let bar = std::io::stderr().is_terminal().then(bar);
    let (mut told, mut looked) = (Instant::now(), Instant::now());
    while !run.is_finished() {
        std::thread::sleep(ASK_EVERY);
        if looked.elapsed() < LOOK_EVERY || probe.with(|seen| seen.live.is_none()) {
            continue;
        }
        looked = Instant::now();
        if let Some(bar) = &bar {
            let (moved, of) = probe.with(|seen| seen.progress.moved);
            bar.set_length(of);
            bar.set_position(moved);
            bar.set_message(probe.line());
        } else if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            // Progress is a courtesy: a closed stderr must not end the run.
            let _ = writeln!(std::io::stderr(), "{}", probe.line());
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    join(run)
}

/// What is unchanged moves no bytes, so that the bar says how much there is at most.
fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:10} {bytes}/{total_bytes} {wide_msg}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn join<T>(run: JoinHandle<T>) -> Result<T, CliError> {
    run.join().map_err(|_| ended_badly())
}

fn ended_badly() -> CliError {
    CliError::Message("the run ended by a bug of syncscope's own; please report it".to_owned())
}
