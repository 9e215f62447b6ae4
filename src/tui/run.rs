//! The only place that knows a terminal: raw mode, events, signals, and giving it all back.
//!
//! Screens are drawn on `/dev/tty`, so they work with stdin and stdout in pipes. However the program
//! ends – key, signal, panic – [`leave`] runs once and the terminal is as it was.

use super::keymap::{Action, Key, action};
use super::screen;
use super::state::State;
use super::theme::Theme;
use crate::report::Report;
use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use crossterm::{cursor, execute};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Once};
use std::time::Duration;

/// News from a run.
#[derive(Debug)]
pub enum LiveUpdate {
    /// The analysis so far.
    Report(Box<Report>),
    /// What the run is doing, in a few words.
    Progress(String),
    /// It is over; this is the last analysis.
    Done(Box<Report>),
}

/// How the screens were left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The run had ended.
    Done,
    /// The user left before: the run should be stopped.
    Quit,
}

/// How long to wait for a key before looking at the run again.
const TICK: Duration = Duration::from_millis(100);

/// Shows a stored report until the user leaves. `NO_COLOR` is honoured.
pub fn show(report: Report) -> io::Result<()> {
    show_with(report, theme())
}

/// As [`show`], with the colours decided elsewhere.
pub fn show_with(report: Report, theme: Theme) -> io::Result<()> {
    session(&mut State::stored(report, theme), None).map(|_| ())
}

/// Shows a run while it goes on, and its result until the user leaves. A sender that is dropped
/// without [`LiveUpdate::Done`] ends the run with the last report.
pub fn live(updates: Receiver<LiveUpdate>) -> io::Result<Exit> {
    live_with(updates, theme())
}

/// As [`live`], with the colours decided elsewhere.
pub fn live_with(updates: Receiver<LiveUpdate>, theme: Theme) -> io::Result<Exit> {
    session(&mut State::live(theme), Some(updates))
}

/// Columns of the terminal, if there is one.
pub fn terminal_width() -> Option<usize> {
    crossterm::terminal::size().ok().map(|(cols, _)| usize::from(cols)).filter(|c| *c > 0)
}

fn theme() -> Theme {
    Theme { color: std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) }
}

fn session(state: &mut State, updates: Option<Receiver<LiveUpdate>>) -> io::Result<Exit> {
    crossterm::style::force_color_output(state.theme.color);
    let stop = Arc::new(AtomicBool::new(false));
    let mut ids = Vec::new();
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT, signal_hook::consts::SIGHUP] {
        ids.push(signal_hook::flag::register(signal, Arc::clone(&stop))?);
    }
    let guard = Guard::enter()?;
    let result = pump(state, updates, &guard, &stop);
    drop(guard);
    for id in ids {
        signal_hook::low_level::unregister(id);
    }
    result
}

fn pump(
    state: &mut State,
    mut updates: Option<Receiver<LiveUpdate>>,
    guard: &Guard,
    stop: &AtomicBool,
) -> io::Result<Exit> {
    let mut terminal = guard.terminal()?;
    let mut dirty = true;
    loop {
        if let Some(rx) = &updates {
            let (news, over) = receive(state, rx);
            dirty |= news;
            if over {
                updates = None;
            }
        }
        if dirty {
            let size = terminal.size()?;
            state.resize(size.width, size.height);
            terminal.draw(|f| screen::draw(f, state))?;
            dirty = false;
        }
        if event::poll(TICK)? {
            match event::read()? {
                Event::Key(k) if k.kind != KeyEventKind::Release => {
                    match translate(&k) {
                        Some(key) if action(key) == Some(Action::Suspend) => {
                            guard.suspend()?;
                            // A new one draws every cell. (Clearing the old one would ask the
                            // terminal where its cursor is, and not all of them answer.)
                            terminal = guard.terminal()?;
                        }
                        Some(key) => state.key(key),
                        None => {}
                    }
                    dirty = true;
                }
                Event::Resize(..) => dirty = true,
                _ => {}
            }
        }
        // A panic elsewhere has given the terminal back: there is nothing left to draw on.
        let lost = !ENTERED.load(Ordering::SeqCst);
        if lost || state.quits() || stop.load(Ordering::Relaxed) {
            return Ok(if updates.is_some() { Exit::Quit } else { Exit::Done });
        }
    }
}

/// Takes all that has come in; of several reports only the newest. Says whether there was anything,
/// and whether the run is over.
fn receive(state: &mut State, rx: &Receiver<LiveUpdate>) -> (bool, bool) {
    let mut newest = None;
    let mut news = false;
    let last = loop {
        match rx.try_recv() {
            Ok(LiveUpdate::Report(r)) => newest = Some(*r),
            Ok(LiveUpdate::Progress(text)) => state.set_progress(text),
            Ok(LiveUpdate::Done(r)) => break Some(Some(*r)),
            Err(TryRecvError::Disconnected) => break Some(None),
            Err(TryRecvError::Empty) => break None,
        }
        news = true;
    };
    match last {
        Some(report) => {
            state.finish(report.or(newest));
            (true, true)
        }
        None => {
            if let Some(r) = newest {
                state.update(r);
            }
            (news, false)
        }
    }
}

fn translate(k: &event::KeyEvent) -> Option<Key> {
    Some(match k.code {
        KeyCode::Char(c) if k.modifiers.contains(KeyModifiers::CONTROL) => Key::Ctrl(c),
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Esc,
        KeyCode::Tab => Key::Tab,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        _ => return None,
    })
}

/// The terminal is ours.
static ENTERED: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// Holds the terminal; gives it back when dropped.
struct Guard {
    tty: File,
}

impl Guard {
    fn enter() -> io::Result<Guard> {
        let tty = File::options().read(true).write(true).open("/dev/tty").map_err(|e| {
            io::Error::new(
                e.kind(),
                format!(
                    "the screens need a terminal, and /dev/tty cannot be opened ({e}): use --format text"
                ),
            )
        })?;
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                leave();
                before(info);
            }));
        });
        let guard = Guard { tty };
        guard.take()?;
        Ok(guard)
    }

    fn take(&self) -> io::Result<()> {
        ENTERED.store(true, Ordering::SeqCst);
        enable_raw_mode()?;
        execute!(&self.tty, EnterAlternateScreen, cursor::Hide)
    }

    fn terminal(&self) -> io::Result<Terminal<CrosstermBackend<BufWriter<File>>>> {
        Terminal::new(CrosstermBackend::new(BufWriter::with_capacity(64 * 1024, self.tty.try_clone()?)))
    }

    /// Ctrl-Z: the shell gets the terminal as it was, and we get it again with `fg`.
    fn suspend(&self) -> io::Result<()> {
        leave();
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGTSTP)?;
        self.take()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        leave();
    }
}

/// Gives the terminal back, once, whoever calls first. Nothing useful can be done where that fails.
fn leave() {
    if !ENTERED.swap(false, Ordering::SeqCst) {
        return;
    }
    let _ = disable_raw_mode();
    if let Ok(mut tty) = File::options().write(true).open("/dev/tty") {
        let _ = execute!(tty, LeaveAlternateScreen, cursor::Show);
        let _ = tty.flush();
    }
}
