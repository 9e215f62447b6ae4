//! Other programs' reads and writes, from what those programs or their observers wrote down, as the
//! same events that our own engine records.
//!
//! ```text
//!            ┌ events JSON (our own) ────────────────────────────────┐
//!  text ─────┼ strace ───┐                                           ├─► AppLog, one a connection
//!            └ pattern ──┴─► Parsed ── bind (which connection, day) ──┘
//! ```
//!
//! A log seldom says everything: which connection, which day, which time zone, how many bytes. What
//! it leaves open is settled in [`bind()`] from the captures and from what the user said; where that
//! does not settle it, the error lists the candidates. Pure: text in, events out.

mod bind;
mod error;
mod own;
mod pattern;
mod strace;
pub mod time;

pub use bind::{Bound, Candidate, Wanted, bind};
pub use error::AppLogError;
pub use own::each_event;
pub use pattern::{HELP as PATTERN_HELP, Pattern};

use crate::model::{AppLog, AppOp, Side, Ts};
use std::borrow::Cow;
use std::net::SocketAddr;

/// A log, read; where and when it happened may still be open.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// One for each connection (or descriptor that may be one).
    pub streams: Vec<Stream>,
    /// Times have a date.
    pub dated: bool,
    /// Times are UTC, or the log said its time zone.
    pub zoned: bool,
    /// It was read with a pattern.
    pub by_pattern: bool,
    /// Seconds east of Greenwich, where the pattern says it.
    pub zone: Option<i64>,
    /// What it lacks, in plain sentences.
    pub notes: Vec<Note>,
}

impl Parsed {
    /// The first moment, if it has a date: what undated captures may take theirs from.
    pub fn first_dated(&self) -> Option<Ts> {
        let events = self.streams.iter().flat_map(|s| &s.events).map(|e| e.start);
        let open = self.streams.iter().filter_map(|s| s.open).map(|o| o.start);
        events.chain(open).min().filter(|_| self.dated)
    }
}

/// What one connection's log holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// For messages: `descriptor 4 of process 812`.
    pub label: String,
    /// The log's own end.
    pub local: Option<SocketAddr>,
    /// The other end.
    pub peer: Option<SocketAddr>,
    /// Whether the log's own end connected.
    pub side: Option<Side>,
    /// Descriptor, where there is one.
    pub fd: Option<u32>,
    /// In order of `end`; offsets count from the first byte that the log shows.
    pub events: Vec<crate::model::AppEvent>,
    /// The log begins with the connection and gives all lengths: its offsets are the stream's.
    pub offsets_known: bool,
    /// Something that began and is not seen to end.
    pub open: Option<Open>,
}

/// A read or write that never returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Which.
    pub op: AppOp,
    /// When it began.
    pub start: Ts,
    /// The last moment at which the log shows that it still lasted.
    pub seen: Ts,
    /// The process ended then: it lasted no longer.
    pub ended: bool,
}

/// Something to know about a log, with how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What kind: `log-no-date`, …
    pub code: &'static str,
    /// How often.
    pub count: u64,
    /// One plain sentence.
    pub message: String,
}

/// A log file's content by its kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Recognised {
    /// Our own events: nothing is open.
    Own(Box<AppLog>),
    /// Another program's.
    Other(Parsed),
}

/// Reads a log of any known kind. `pattern` is for logs whose lines only their owner knows.
pub fn read(bytes: &[u8], pattern: Option<&Pattern>) -> Result<Recognised, AppLogError> {
    let text = as_text(bytes)?;
    if text.trim_start().starts_with('{') {
        match (serde_json::from_str(&text), pattern) {
            (Ok(log), _) => return Ok(Recognised::Own(Box::new(log))),
            (Err(e), None) => return Err(AppLogError::NotEvents(e.to_string())),
            // a program may log JSON, too
            (Err(_), Some(_)) => {}
        }
    } else if strace::recognise(&text) {
        return strace::read(&text).map(Recognised::Other);
    }
    match pattern {
        Some(p) => p.read(&text).map(Recognised::Other),
        None => Err(AppLogError::Unknown { line: shown(first_line(&text)) }),
    }
}

/// The bytes as text. Stray bytes of another encoding are shown as such; a NUL tells a binary file.
fn as_text(bytes: &[u8]) -> Result<Cow<'_, str>, AppLogError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(AppLogError::Empty);
    }
    match bytes.iter().position(|b| *b == 0) {
        Some(at) => {
            let line = bytes[..at].iter().filter(|b| **b == b'\n').count() as u64 + 1;
            Err(AppLogError::NotText { line })
        }
        None => Ok(String::from_utf8_lossy(bytes)),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().find(|l| !l.trim().is_empty()).unwrap_or("")
}

/// The begin of a line, fit for a message.
fn shown(line: &str) -> String {
    const WIDTH: usize = 120;
    let line = line.trim();
    let begin: String = line.chars().take(WIDTH).collect();
    let more = if begin.len() < line.len() { "…" } else { "" };
    format!("{}{more}", crate::model::units::printable(&begin))
}
