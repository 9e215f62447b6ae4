//! Reading that somebody watches: a line with rate and time left on a terminal, and Ctrl-C for the report so far.

use crate::capture::{CaptureError, FrameSource, Position, Remark, SourceNotes};
use crate::model::Frame;
use crate::model::units::{bytes, count};
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Shorter readings pass in silence.
const SILENT: Duration = Duration::from_secs(1);
/// How often the line changes.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// Frames between two looks at the clock.
const LOOK_EVERY: u32 = 4096;
/// What a packet takes where all of them are kept, bytes.
const KEPT: u64 = 400;
/// From so many bytes on it is said.
const HEAVY: u64 = 1 << 30;

/// A source that ends when it is told to, and shows how far it is.
pub struct Watched {
    source: Box<dyn FrameSource>,
    stop: Arc<AtomicBool>,
    terminal: bool,
    begun: Instant,
    told: Option<Instant>,
    frames: u64,
    until_look: u32,
    /// Every packet is kept: how many bytes of them were told last.
    kept: Option<u64>,
}

impl Watched {
    /// Watches `source`; `stop` ends it. `keeps_all`: every packet stays in memory.
    pub fn new(source: Box<dyn FrameSource>, stop: Arc<AtomicBool>, keeps_all: bool) -> Watched {
        Watched {
            source,
            stop,
            terminal: std::io::stderr().is_terminal(),
            begun: Instant::now(),
            told: None,
            frames: 0,
            until_look: LOOK_EVERY,
            kept: keeps_all.then_some(0),
        }
    }

    fn look(&mut self) {
        self.until_look = LOOK_EVERY;
        let size = self.frames * KEPT;
        if let Some(told) = self.kept.filter(|told| size >= HEAVY && size >= told * 2) {
            self.kept = Some(size.max(told));
            // As every message of this kind: a closed stderr must not end the reading.
            let _ = writeln!(
                std::io::stderr(),
                "syncscope: two captures, logs, --all-segments and xplot keep every packet: about {} so far; one capture \
                 alone takes 64 MiB whatever its size, and --filter reads less",
                bytes(size)
            );
        }
        if !self.terminal || self.begun.elapsed() < SILENT {
            return;
        }
        if self.told.is_none_or(|t| t.elapsed() >= TELL_EVERY) {
            self.told = Some(Instant::now());
            let position = self.source.position();
            let line = line(self.frames, position.done, position.total, self.begun.elapsed());
            // Progress is a courtesy: a closed stderr must not end the reading.
            let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.told.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

impl FrameSource for Watched {
    fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        self.until_look -= 1;
        if self.until_look == 0 {
            self.look();
        }
        if self.stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let found = self.source.next_frame();
        self.frames += u64::from(matches!(found, Ok(Some(_))));
        found
    }

    fn position(&self) -> Position {
        self.source.position()
    }

    fn notes(&self) -> SourceNotes {
        let mut notes = self.source.notes();
        if self.stop.load(Ordering::Relaxed) {
            // a pipe that was left in the middle of a record is not a file that was cut
            notes.cut_at = None;
            let message = interrupted(self.frames);
            notes.remarks.push(Remark { code: "interrupted".to_owned(), severe: true, count: 1, message });
        }
        notes
    }
}

/// What an interruption after so many frames is called.
pub fn interrupted(frames: u64) -> String {
    format!("reading was interrupted after {} frames; what comes after them is not analysed", count(frames))
}

/// ` 41 %  1.2 GiB of 2.9 GiB  12 345 678 frames  310.0 MiB/s  6 s left  Ctrl-C: report so far`.
fn line(frames: u64, done: u64, total: Option<u64>, elapsed: Duration) -> String {
    let rate = done as f64 / elapsed.as_secs_f64().max(1e-3);
    let frames = format!("{} frames  {}/s", count(frames), bytes(rate as u64));
    match total {
        Some(total) if total > 0 => {
            let left = total.saturating_sub(done) as f64 / rate.max(1.0);
            let share = (done.min(total) as f64 * 100.0 / total as f64).floor();
            format!(
                "{share:3.0} %  {} of {}  {frames}  {} left  Ctrl-C: report so far",
                bytes(done),
                bytes(total),
                clock(left)
            )
        }
        _ => format!("{}  {frames}  Ctrl-C: report so far", bytes(done)),
    }
}

/// `6 s`, `2:05`, `1:02:05`.
fn clock(seconds: f64) -> String {
    let s = seconds.ceil().min(359_999.0) as u64;
    match (s / 3600, s / 60 % 60, s % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m}:{s:02}"),
        (h, m, s) => format!("{h}:{m:02}:{s:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long() {
        let s = Duration::from_secs(2);
        assert_eq!(
            line(1_000_000, 200 << 20, Some(1000 << 20), s),
            " 20 %  200.0 MiB of 1000.0 MiB  1 000 000 frames  100.0 MiB/s  8 s left  Ctrl-C: report so far"
        );
        assert_eq!(line(5, 1024, None, s), "1.0 KiB  5 frames  512 B/s  Ctrl-C: report so far");
        assert_eq!((clock(65.0), clock(3725.0)), ("1:05".to_owned(), "1:02:05".to_owned()));
    }
}
