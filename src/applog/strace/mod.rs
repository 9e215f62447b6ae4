//! strace's output as reads and writes of connections.
//!
//! ```text
//! 812 …655477 read(4<TCP:[10.0.0.2:40112->10.0.0.1:873]>, "\0\0"..., 8184) = 4 <0.000021>
//! line ──► calls, joined from their halves ──► machine (descriptors, waits) ──► one Stream a connection
//! ```
//!
//! What the program did before the first line, and what the options left out (`-f`, `-T`, `-yy`), is
//! missing; the notes say what that costs.

mod args;
mod line;
mod machine;
mod sockets;
mod unstamped;
mod waits;

use super::time::Clock;
use super::{AppLogError, Note, Parsed, shown};
use line::{Line, What, When};
use machine::Machine;

/// How to record what this room reads best.
const ADVICE: &str = "record with `strace -f -ttt -T -yy -o FILE`";

/// Calls that only strace writes as `name(…`; one of them near the begin tells its output.
const KNOWN: [&str; 20] = [
    "read",
    "write",
    "recvfrom",
    "sendto",
    "recvmsg",
    "sendmsg",
    "readv",
    "writev",
    "select",
    "pselect6",
    "poll",
    "ppoll",
    "epoll_wait",
    "epoll_pwait",
    "connect",
    "accept",
    "accept4",
    "socket",
    "close",
    "execve",
];

/// Lines looked at to recognise it.
const WINDOW: usize = 200;

/// True for text that strace wrote.
pub(super) fn recognise(text: &str) -> bool {
    text.lines().take(WINDOW).filter_map(line::parse).any(|l| match l.what {
        What::Call { name, .. } | What::Begin { name, .. } | What::Resumed { name, .. } => {
            KNOWN.contains(&name)
        }
        _ => false,
    })
}

/// Reads it all.
pub(super) fn read(text: &str) -> Result<Parsed, AppLogError> {
    let mut m = Machine::default();
    let mut clock = Clock::default();
    let mut others = 0u64;
    for (i, row) in text.lines().enumerate() {
        let no = i as u64 + 1;
        let Some(line) = line::parse(row) else {
            match line::rest_of_call(row).filter(|_| m.broken_off()) {
                Some(result) => m.rest(result),
                None => others += u64::from(!row.trim().is_empty() && !row.starts_with("strace: ")),
            }
            continue;
        };
        let ts = match line.when {
            When::At(stamp) => clock.next(stamp, 0),
            When::Missing if matches!(line.what, What::Rest { .. }) => m.now(),
            when => return Err(no_time(no, when, row, text, &line)),
        };
        m.line(line, ts);
    }
    let (dated, zoned) = (clock.dated, clock.zoned);
    let mut notes = Vec::new();
    if m.durations_missing() > 0 {
        notes.push(Note {
            code: "log-no-durations",
            count: m.durations_missing(),
            message: format!(
                "calls without a duration are taken to end where their process makes its next one, so reads may \
                 look longer than they were; {ADVICE}"
            ),
        });
    }
    if others > 0 {
        notes.push(Note {
            code: "log-other-lines",
            count: others,
            message: "lines are not strace's (the program's own output) and are left out".to_owned(),
        });
    }
    let streams = m.finish();
    if streams.is_empty() {
        let message = format!("strace shows no read, write or wait of a TCP connection; {ADVICE}");
        return Err(AppLogError::NothingInIt(message));
    }
    Ok(Parsed { streams, dated, zoned, by_pattern: false, zone: None, notes })
}

fn no_time(no: u64, when: When, row: &str, text: &str, line: &Line<'_>) -> AppLogError {
    let why = match when {
        When::Relative => "the time is relative to the line before (-r), so nothing joins it to a capture",
        When::Coarse => "the time has whole seconds only (-t), too coarse to join it to packets",
        When::At(_) | When::Missing => "no time stamp, so nothing joins it to a capture",
    };
    let mut message = format!("{why}; {ADVICE}\n  the line is `{}`", shown(row));
    if when == When::Missing && line.pid.is_none() {
        message.push_str(&unstamped::told(text));
    }
    AppLogError::Line { line: no, message }
}
