//! Application logs from files: which kind each is, and what the user said about those that leave
//! something open.

use super::CliError;
use crate::applog::{self, Candidate, Pattern, Recognised, Wanted};
use crate::capture::file::{Hints, Name};
use crate::correlate::{CaptureInput, LogInput};
use crate::model::tcp::TapPosition;
use crate::model::{PerDir, Side, Span, Ts, calendar};
use crate::report::{Quality, Severity};
use crate::tcp::AckPoint;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Arguments about application logs.
#[derive(clap::Args, Debug)]
pub struct LogArgs {
    /// What an application read and wrote, and when; slow reads are then joined to the bytes they
    /// waited for. An events file of a run record, or what strace printed (best recorded with
    /// `strace -f -ttt -T -yy`), or any log with --app-log-pattern. May be given for both sides; `-`
    /// reads standard input.
    #[arg(long, value_name = "FILE")]
    app_log: Vec<PathBuf>,
    /// How the lines of a log look (see below). Given once, it is for every log of an unknown kind;
    /// else one for each of these logs, in their order.
    #[arg(long, value_name = "FILE.toml", requires = "app_log")]
    app_log_pattern: Vec<PathBuf>,
    /// Which connection a log is about that does not say it: its own address, then its peer's.
    #[arg(long, value_name = "LOCAL,PEER", value_parser = ends, requires = "app_log")]
    app_log_flow: Option<(SocketAddr, SocketAddr)>,
    /// Which descriptor is the connection, in an strace that does not say it.
    #[arg(long, value_name = "N", requires = "app_log")]
    app_log_fd: Option<u32>,
    /// The day of logs and listings whose times have no date.
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    date: Option<i64>,
    /// The time zone of logs and listings that name none, as `+08:00`.
    #[arg(long, value_name = "OFFSET", value_parser = zone, allow_hyphen_values = true)]
    time_zone: Option<i64>,
    /// What a name in a listing stands for: `--name alpha=10.0.0.2`, `--name rsync=873`.
    #[arg(long, value_name = "NAME=VALUE", value_parser = name)]
    name: Vec<(String, Name)>,
}

/// A log that is read, and not yet tied to a connection.
pub struct Opened {
    name: String,
    what: Recognised,
}

impl LogArgs {
    /// The logs.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.app_log.iter().map(PathBuf::as_path)
    }

    /// Reads every log.
    pub fn open(&self) -> Result<Vec<Opened>, CliError> {
        let mut patterns = Vec::new();
        for path in &self.app_log_pattern {
            let at = |e: &dyn std::fmt::Display| CliError::Message(format!("{}: {e}", path.display()));
            let text = std::fs::read_to_string(path).map_err(|e| at(&e))?;
            patterns.push(Pattern::new(&text).map_err(|e| at(&e))?);
        }
        let mut used = 0;
        let mut out = Vec::new();
        for path in &self.app_log {
            let at = |e: &dyn std::fmt::Display| CliError::Message(format!("{}: {e}", path.display()));
            let bytes = read(path).map_err(|e| at(&e))?;
            let pattern = if patterns.len() == 1 { patterns.first() } else { patterns.get(used) };
            let what = applog::read(&bytes, pattern).map_err(|e| at(&e))?;
            used += usize::from(matches!(&what, Recognised::Other(p) if p.by_pattern));
            out.push(Opened { name: path.display().to_string(), what });
        }
        if used < patterns.len() {
            return Err(CliError::Message(format!(
                "{} --app-log-pattern and {used} logs that need one",
                patterns.len()
            )));
        }
        Ok(out)
    }

    /// Ties each log to its connection; the second value is what to know about them.
    pub fn bind(
        &self,
        opened: Vec<Opened>,
        captures: &[CaptureInput],
    ) -> Result<(Vec<LogInput>, Vec<Quality>), CliError> {
        let flows: Vec<Candidate> = captures.iter().flat_map(candidates).collect();
        let wanted =
            Wanted { flow: self.app_log_flow, fd: self.app_log_fd, zone: self.time_zone, day: self.date };
        let (mut logs, mut quality) = (Vec::new(), Vec::new());
        for o in opened {
            match o.what {
                Recognised::Own(log) => logs.push(LogInput { name: o.name, log: *log, whole: None }),
                Recognised::Other(parsed) => {
                    let bound = applog::bind(parsed, &wanted, &flows)
                        .map_err(|e| CliError::Message(format!("{}: {e}", o.name)))?;
                    let input = u16::try_from(captures.len() + logs.len()).ok();
                    quality.extend(bound.notes.into_iter().map(|n| Quality {
                        input,
                        code: n.code.to_owned(),
                        severity: Severity::Info,
                        count: n.count,
                        message: n.message,
                    }));
                    logs.extend(bound.logs.into_iter().map(|log| LogInput {
                        name: o.name.clone(),
                        log,
                        whole: None,
                    }));
                }
            }
        }
        Ok((logs, quality))
    }
}

/// What the user, and then the logs, tell about listings that do not say it themselves.
pub fn hints(args: &LogArgs, opened: &[Opened]) -> Hints {
    let others = || {
        opened.iter().filter_map(|o| match &o.what {
            Recognised::Own(_) => None,
            Recognised::Other(p) => Some(p),
        })
    };
    let near = opened.iter().find_map(|o| match &o.what {
        Recognised::Own(log) => log.events.first().map(|e| e.start),
        Recognised::Other(p) => p.first_dated(),
    });
    Hints {
        day: args.date,
        near,
        zone: args.time_zone.or_else(|| others().find_map(|p| p.zone)),
        names: args.name.clone(),
        ..Hints::default()
    }
}

/// A file, or standard input.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        std::io::stdin().lock().read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    std::fs::read(path)
}

fn candidates(c: &CaptureInput) -> impl Iterator<Item = Candidate> {
    let whole = c.span.unwrap_or_default();
    c.connections.iter().map(move |x| Candidate {
        client: x.client,
        server: x.server,
        span: Span { start: x.span.start, end: whole.end.max(x.span.end) },
        near: match x.tap.position {
            TapPosition::ClientHost | TapPosition::NearClient => Some(Side::Client),
            TapPosition::ServerHost | TapPosition::NearServer => Some(Side::Server),
            TapPosition::Middle | TapPosition::Unknown => None,
        },
        moved: PerDir { c2s: last_moved(&x.acks.c2s), s2c: last_moved(&x.acks.s2c) },
    })
}

/// The last time that the acknowledgement number rose.
fn last_moved(acks: &[AckPoint]) -> Option<Ts> {
    let mut highest = acks.first()?.ack;
    let mut last = None;
    for a in acks {
        if a.ack > highest {
            (highest, last) = (a.ack, Some(a.ts));
        }
    }
    last
}

fn ends(text: &str) -> Result<(SocketAddr, SocketAddr), String> {
    let both = text.split_once(',').and_then(|(l, p)| Some((l.trim().parse().ok()?, p.trim().parse().ok()?)));
    both.ok_or_else(|| format!("`{text}` is not two addresses; write 10.0.0.2:40112,10.0.0.1:873"))
}

fn name(text: &str) -> Result<(String, Name), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` has no `=`"))?;
    let port = value.parse().map(Name::Port);
    let found = port.or_else(|_| value.parse().map(Name::Address));
    found.map(|v| (name.to_owned(), v)).map_err(|_| format!("`{value}` is neither an address nor a port"))
}

fn date(text: &str) -> Result<i64, String> {
    calendar::parse_date(text).ok_or_else(|| format!("`{text}` is no date; write 2019-08-14"))
}

fn zone(text: &str) -> Result<i64, String> {
    calendar::parse_zone(text).ok_or_else(|| format!("`{text}` is no time zone; write +08:00 or Z"))
}
