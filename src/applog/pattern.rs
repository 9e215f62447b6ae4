//! Logs whose lines only their owner knows: which line begins a read and which ends it is told by
//! regular expressions in a TOML file.
//!
//! ```text
//! 10:00:00.100 waiting for block        ← start
//! 10:00:00.339 got block, 4096 bytes    ← end, with (?<bytes>\d+)
//! ```

use super::time::{Clock, TimeFormat};
use super::{AppLogError, Note, Open, Parsed, Stream, shown};
use crate::model::calendar;
use crate::model::{AppEvent, AppOp, Ns, Phase, Side, Ts};
use regex::{Captures, Regex, RegexBuilder};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// What `--help` says about the file.
pub const HELP: &str = "\
A pattern file (TOML) says how a log's lines look:

  time = \"%Y/%m/%d %H:%M:%S%.f\"    # as strftime; leave the date out if the log has none
  zone = \"+08:00\"                  # unless the lines say it (%z); without: --time-zone, else UTC
  local = \"10.0.0.2:5001\"          # the log's own address …
  peer = \"10.0.0.1:873\"            # … and its peer's; needed if the capture has more than one flow
  side = \"client\"                  # or say which end of the only flow wrote the log
  [read]                           # the same keys in [write]
  start = 'Read Start$'            # two lines: one begins the read,
  end = 'Read End$'                # one ends it
  bytes = 'Read (?<bytes>\\d+) bytes'  # a later line that tells the length, if `end` does not
  # line = 'read (?<bytes>\\d+) B in (?<ms>[\\d.]+) ms'   # or one line, written at the end
  first = 0                        # stream offset of the first read, if it is known
  step = 4096                      # bytes from one read to the next, if the log shows only some

Groups: bytes; s, ms, us or ns (duration); id (pairs a start with its end where several run at
once); time (where the time is, if it is not the first one in the line).";

/// The file, as written.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Raw {
    time: String,
    zone: Option<String>,
    local: Option<String>,
    peer: Option<String>,
    side: Option<Side>,
    read: Option<RawOp>,
    write: Option<RawOp>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct RawOp {
    start: Option<String>,
    end: Option<String>,
    line: Option<String>,
    bytes: Option<String>,
    first: Option<u64>,
    step: Option<u32>,
}

/// A pattern file, checked.
#[derive(Clone, Debug)]
pub struct Pattern {
    time: TimeFormat,
    zone: Option<i64>,
    local: Option<SocketAddr>,
    peer: Option<SocketAddr>,
    side: Option<Side>,
    ops: Vec<Op>,
}

#[derive(Clone, Debug)]
struct Op {
    op: AppOp,
    kind: Kind,
    bytes: Option<Regex>,
    first: Option<u64>,
    step: Option<u32>,
}

#[derive(Clone, Debug)]
enum Kind {
    Two { start: Regex, end: Regex },
    One(Regex),
}

impl Pattern {
    /// Reads and checks a pattern file; the error says which key is wrong and why.
    pub fn new(text: &str) -> Result<Pattern, AppLogError> {
        let raw: Raw =
            toml::from_str(text).map_err(|e| AppLogError::Pattern(e.to_string().trim_end().to_owned()))?;
        let wrong = |key: &str, why: String| AppLogError::Pattern(format!("{key}: {why}"));
        let address = |key: &str, value: Option<String>| match value {
            None => Ok(None),
            Some(v) => v.parse().map(Some).map_err(|_| wrong(key, format!("`{v}` is no address and port"))),
        };
        let zone = match raw.zone {
            None => None,
            Some(z) => Some(
                calendar::parse_zone(&z)
                    .ok_or_else(|| wrong("zone", format!("`{z}` is no time zone; write +08:00 or Z")))?,
            ),
        };
        let mut ops = Vec::new();
        for (key, op, raw) in [("read", AppOp::Read, raw.read), ("write", AppOp::Write, raw.write)] {
            if let Some(raw) = raw {
                ops.push(Op::new(op, raw).map_err(|(k, why)| wrong(&format!("[{key}] {k}"), why))?);
            }
        }
        if ops.is_empty() {
            return Err(wrong("[read]", "missing; a pattern needs [read] or [write]".to_owned()));
        }
        Ok(Pattern {
            time: TimeFormat::new(&raw.time).map_err(|e| wrong("time", e))?,
            zone,
            local: address("local", raw.local)?,
            peer: address("peer", raw.peer)?,
            side: raw.side,
            ops,
        })
    }

    /// Finds the reads and writes of a log.
    pub(super) fn read(&self, text: &str) -> Result<Parsed, AppLogError> {
        let mut m =
            Machine { clock: Clock::default(), found: Vec::new(), lost: 0, unmatched: None, last: None };
        let mut waiting: BTreeMap<(usize, String), Ts> = BTreeMap::new();
        for (i, line) in text.lines().enumerate() {
            let no = i as u64 + 1;
            if !self.line(no, line, &mut m, &mut waiting)? && m.unmatched.is_none() && !line.trim().is_empty()
            {
                m.unmatched = Some((no, shown(line)));
            }
        }
        if m.found.is_empty() && waiting.is_empty() {
            let (line, text) = m.unmatched.unwrap_or_default();
            return Err(AppLogError::NothingMatches { line, text });
        }
        let open = waiting.iter().min_by_key(|(_, start)| **start).map(|((i, _), &start)| Open {
            op: self.ops[*i].op,
            start,
            seen: m.last.unwrap_or(start),
            ended: false,
        });
        let mut notes = Vec::new();
        if m.lost > 0 {
            notes.push(Note {
                code: "log-unpaired",
                count: m.lost,
                message: "begins without an end, or ends without a begin, are left out".to_owned(),
            });
        }
        let (dated, zoned) = (m.clock.dated, m.clock.zoned || self.zone.is_some());
        let stream = Stream {
            label: "the log".to_owned(),
            local: self.local,
            peer: self.peer,
            side: self.side,
            fd: None,
            offsets_known: self.offsets_known(&m.found),
            events: self.events(m.found),
            open,
        };
        Ok(Parsed { streams: vec![stream], dated, zoned, by_pattern: true, zone: self.zone, notes })
    }

    /// True when the line is one of the pattern's.
    fn line(
        &self,
        no: u64,
        line: &str,
        m: &mut Machine,
        waiting: &mut BTreeMap<(usize, String), Ts>,
    ) -> Result<bool, AppLogError> {
        let mut fits = false;
        for (i, op) in self.ops.iter().enumerate() {
            if let Some(bytes) = op.bytes.as_ref().and_then(|b| b.captures(line)) {
                let len = length(&bytes, no)?;
                if let Some(f) = m.found.iter_mut().rev().find(|f| f.op == i) {
                    f.len = len.or(f.len);
                }
                fits = true;
            }
            match &op.kind {
                Kind::Two { start, end } => {
                    if let Some(c) = start.captures(line) {
                        let at = self.stamp(no, line, &c, m)?;
                        m.lost += u64::from(waiting.insert((i, id(&c)), at).is_some());
                        fits = true;
                    } else if let Some(c) = end.captures(line) {
                        let at = self.stamp(no, line, &c, m)?;
                        match waiting.remove(&(i, id(&c))) {
                            Some(start) => {
                                m.found.push(Found {
                                    op: i,
                                    start,
                                    end: at.max(start),
                                    len: length(&c, no)?,
                                });
                            }
                            None => m.lost += 1,
                        }
                        fits = true;
                    }
                }
                Kind::One(pattern) => {
                    if let Some(c) = pattern.captures(line) {
                        let end = self.stamp(no, line, &c, m)?;
                        let start = end - duration(&c, no)?;
                        m.found.push(Found { op: i, start, end, len: length(&c, no)? });
                        fits = true;
                    }
                }
            }
        }
        Ok(fits)
    }

    fn stamp(&self, no: u64, line: &str, c: &Captures<'_>, m: &mut Machine) -> Result<Ts, AppLogError> {
        let found = match c.name("time") {
            Some(t) => self.time.read(t.as_str()),
            None => self.time.find(line),
        };
        let Some(stamp) = found else {
            let message =
                format!("the pattern fits, but there is no time of the format `time` in `{}`", shown(line));
            return Err(AppLogError::Line { line: no, message });
        };
        let east = if stamp.zoned { 0 } else { self.zone.unwrap_or(0) };
        let ts = m.clock.next(stamp, east);
        m.last = m.last.max(Some(ts));
        Ok(ts)
    }

    fn offsets_known(&self, found: &[Found]) -> bool {
        self.ops.iter().enumerate().all(|(i, op)| {
            op.first.is_some()
                && (op.step.is_some() || found.iter().filter(|f| f.op == i).all(|f| f.len.is_some()))
        })
    }

    /// Numbers the bytes; sorted by end.
    fn events(&self, mut found: Vec<Found>) -> Vec<AppEvent> {
        found.sort_by_key(|f| (f.end, f.start));
        let mut next: Vec<u64> = self.ops.iter().map(|o| o.first.unwrap_or(0)).collect();
        found
            .iter()
            .map(|f| {
                let len = f.len.unwrap_or(0);
                let offset = next[f.op];
                next[f.op] = offset.saturating_add(u64::from(self.ops[f.op].step.unwrap_or(len)));
                AppEvent {
                    op: self.ops[f.op].op,
                    start: f.start,
                    ready: None,
                    end: f.end,
                    offset,
                    len,
                    queued: None,
                    phase: Phase::Other,
                    file: None,
                    block: None,
                }
            })
            .collect()
    }
}

impl Op {
    fn new(op: AppOp, raw: RawOp) -> Result<Op, (&'static str, String)> {
        let kind = match (raw.line, raw.start, raw.end) {
            (Some(line), None, None) => {
                let line = regex("line", &line)?;
                if op == AppOp::Read && !UNITS.iter().any(|(name, _)| has(&line, name)) {
                    return Err(("line", "needs a group s, ms, us or ns for how long it took".to_owned()));
                }
                Kind::One(line)
            }
            (None, Some(start), Some(end)) => {
                Kind::Two { start: regex("start", &start)?, end: regex("end", &end)? }
            }
            (Some(_), _, _) => return Err(("line", "excludes start and end".to_owned())),
            (None, Some(_), None) => return Err(("end", "missing".to_owned())),
            (None, None, _) => return Err(("start", "missing; either start and end, or line".to_owned())),
        };
        let bytes = raw.bytes.map(|b| regex("bytes", &b)).transpose()?;
        if bytes.as_ref().is_some_and(|b| !has(b, "bytes")) {
            return Err(("bytes", r"needs a group: (?<bytes>\d+)".to_owned()));
        }
        Ok(Op { op, kind, bytes, first: raw.first, step: raw.step })
    }
}

fn regex(key: &'static str, text: &str) -> Result<Regex, (&'static str, String)> {
    let built = RegexBuilder::new(text).size_limit(1 << 20).build();
    built.map_err(|e| (key, e.to_string()))
}

fn has(r: &Regex, group: &str) -> bool {
    r.capture_names().flatten().any(|n| n == group)
}

/// Groups for a duration, and the nanoseconds in one of them.
const UNITS: [(&str, f64); 4] = [("s", 1e9), ("ms", 1e6), ("us", 1e3), ("ns", 1.0)];

/// What has been found so far.
struct Machine {
    clock: Clock,
    found: Vec<Found>,
    lost: u64,
    unmatched: Option<(u64, String)>,
    last: Option<Ts>,
}

struct Found {
    op: usize,
    start: Ts,
    end: Ts,
    len: Option<u32>,
}

fn id(c: &Captures<'_>) -> String {
    c.name("id").map_or("", |m| m.as_str()).to_owned()
}

fn length(c: &Captures<'_>, no: u64) -> Result<Option<u32>, AppLogError> {
    let Some(m) = c.name("bytes") else { return Ok(None) };
    m.as_str().parse().map(Some).map_err(|_| AppLogError::Line {
        line: no,
        message: format!("`{}` is no number of bytes", shown(m.as_str())),
    })
}

fn duration(c: &Captures<'_>, no: u64) -> Result<Ns, AppLogError> {
    let mut sum = 0.0;
    for (name, unit) in UNITS {
        if let Some(m) = c.name(name) {
            let value = m.as_str().parse::<f64>().ok().filter(|v| v.is_finite() && *v >= 0.0);
            let Some(value) = value else {
                let message = format!("`{}` is no duration", shown(m.as_str()));
                return Err(AppLogError::Line { line: no, message });
            };
            sum += value * unit;
        }
    }
    Ok(Ns(sum.round() as i64))
}
