//! `syncscope lab score`: a report against what the link knows.

use super::analysis::read_log;
use super::{CliError, Outcome};
use crate::capture::file;
use crate::correlate::sender;
use crate::lab::fate::{Fate, What};
use crate::lab::kernel::Kernel;
use crate::lab::packet::{Header, ip_offset};
use crate::lab::scenario::{self, Scenario};
use crate::lab::score::{Ends, Truth, score, text};
use crate::model::{AppLog, Dir, Ns, Side, Ts};
use crate::report::record;
use crate::view;
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// Arguments of `syncscope lab score`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:
  syncscope lab --scenario captures/scenarios/loss3.toml --record run
  syncscope analyze --all-segments --format ndjson run/client.pcapng | syncscope lab score run -

Exit code: 0 where no answer is wrong, 1 where one is.")]
pub struct Args {
    /// The record of a run over the lab, or the link's log alone (`lab --truth`). What lies beside the log
    /// is used, too: kernel counters, the applications' logs, what the scenario plans.
    #[arg(value_name = "TRUTH")]
    truth: PathBuf,
    /// A report, JSON or NDJSON, made with `--all-segments`; `-` reads standard input.
    #[arg(value_name = "REPORT")]
    report: PathBuf,
    /// Print the counts as JSON.
    #[arg(long)]
    json: bool,
}

/// All that is known about a run.
#[derive(Clone, Debug)]
pub struct Known {
    fates: Vec<Fate>,
    kernel: Option<Kernel>,
    client: Option<AppLog>,
    server: Option<AppLog>,
    scenario: Option<Scenario>,
    ends: Ends,
    sent: Vec<(Dir, u64, Ts)>,
}

impl Known {
    /// Reads a record folder, or the log of a link and what lies beside it.
    pub fn open(path: &Path) -> Result<Known, CliError> {
        let (dir, log) = if path.is_dir() {
            (path, path.join(record::TRUTH))
        } else {
            (path.parent().unwrap_or(Path::new(".")), path.to_owned())
        };
        let say = |p: &Path, e: &dyn std::fmt::Display| CliError::Message(format!("{}: {e}", p.display()));
        let file = fs::File::open(&log).map_err(|e| say(&log, &e))?;
        let mut fates = Vec::new();
        for (i, line) in BufReader::new(file).lines().enumerate() {
            let line = line.map_err(|e| say(&log, &e))?;
            let fate = serde_json::from_str(&line);
            fates.push(fate.map_err(|e| say(&log, &format!("line {}: no packet's fate: {e}", i + 1)))?);
        }
        let kernel = match fs::read(dir.join(record::KERNEL)) {
            Ok(bytes) => {
                Some(serde_json::from_slice(&bytes).map_err(|e| say(&dir.join(record::KERNEL), &e))?)
            }
            Err(_) => None,
        };
        let path = dir.join(record::SCENARIO);
        let scenario = match fs::read_to_string(&path) {
            Ok(text) => {
                Some(Scenario::parse(&path.display().to_string(), &text).map_err(|e| say(&path, &e))?)
            }
            Err(_) => None,
        };
        let client = frames(&dir.join(record::CLIENT_CAPTURE))?;
        let server = frames(&dir.join(record::SERVER_CAPTURE))?;
        let last = |seen: &Option<Vec<Seen>>| seen.iter().flatten().map(|s| s.0).max();
        Ok(Known {
            kernel,
            client: read_log(&dir.join(record::CLIENT_EVENTS))?,
            server: read_log(&dir.join(record::SERVER_EVENTS))?,
            scenario,
            ends: Ends { client: last(&client), server: last(&server) },
            sent: [(client, Side::Client), (server, Side::Server)]
                .into_iter()
                .flat_map(|(seen, side)| sent(&seen.unwrap_or_default(), side, &fates))
                .collect(),
            fates,
        })
    }

    /// As the scoring wants it.
    pub fn truth(&self) -> Truth<'_> {
        let planned = self.scenario.as_ref().filter(|s| s.talk.is_some());
        Truth {
            fates: &self.fates,
            kernel: self.kernel.as_ref(),
            client: self.client.as_ref(),
            server: self.server.as_ref(),
            expected: planned.map(|s| &*s.truth),
            findings: planned.filter(|s| s.score.is_none()).map(|s| &*s.expect),
            host_drops: planned.is_some_and(|s| {
                [Side::Client, Side::Server].iter().any(|side| s.endpoint.of(*side).drop.is_some())
            }),
            by_fates: planned.is_some_and(|s| s.score == Some(scenario::Score::Fates)),
            ends: self.ends,
            sent: &self.sent,
            ..Truth::default()
        }
    }
}

/// A frame's time, and its headers if it is the link's.
type Seen = (Ts, Option<Header>);

/// What a capture has; none where there is none.
fn frames(path: &Path) -> Result<Option<Vec<Seen>>, CliError> {
    if !path.exists() {
        return Ok(None);
    }
    let mut source = file::open(path)?;
    let mut seen = Vec::new();
    while let Some(f) = source.next_frame()? {
        let ip = ip_offset(f.link, f.data).and_then(|at| f.data.get(at..));
        seen.push((f.ts, ip.and_then(Header::read)));
    }
    Ok(Some(seen))
}

/// A packet does not wait for a busy link for longer.
const TAKEN: Ns = Ns::from_secs(1);

/// When the packets of the host at `side` came by its capture.
fn sent(seen: &[Seen], side: Side, fates: &[Fate]) -> Vec<(Dir, u64, Ts)> {
    let mut waiting = BTreeMap::<_, VecDeque<Ts>>::new();
    for (at, h) in seen.iter().filter_map(|(at, h)| Some((*at, (*h)?))) {
        let Some(t) = h.tcp else { continue };
        let ack = t.flags.ack().then_some(t.ack.0);
        let key = (h.ports.map(|p| p.0), h.id, t.seq.0, ack, h.payload, t.flags.0);
        waiting.entry(key).or_default().push_back(at);
    }
    let mine = fates.iter().filter(|f| sender(f.dir) == side && f.fate != What::Forged);
    let found = mine.filter_map(|f| {
        let queue = waiting.get_mut(&(f.sport, f.id, f.seq?, f.ack, f.len, f.flags?))?;
        let at = queue.pop_front()?;
        (f.t - TAKEN..=f.t).contains(&at).then_some((f.dir, f.index, at))
    });
    found.collect()
}

/// Runs it.
pub fn run(args: &Args) -> Result<Outcome, CliError> {
    let known = Known::open(&args.truth)?;
    let name = args.report.display();
    let text = if args.report.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(&args.report)
    };
    let text = text.map_err(|e| CliError::Message(format!("{name}: {e}")))?;
    let report = view::load(&text).map_err(|e| CliError::Message(format!("{name}: {e}")))?;
    let score = score(known.truth(), &report).map_err(|e| CliError::Message(format!("{name}: {e}")))?;
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &score).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        text::write(&score, &mut out)?;
    }
    Ok(if score.wrong() > 0 { Outcome::Findings } else { Outcome::Ok })
}
